//! The integration tests: one binary, so that it links once.
//!
//! | folder | what is tested, and against what |
//! |---|---|
//! | `toolsets` | every tool, by its toolset: the whole program over MCP on the simulated tenant |
//! | `rest`, `auth`, `cli` | the routes, who is let in, the commands |
//! | `journeys` | call paths through several of these, and what becomes of them when something fails |
//! | `graph_wire` | the client of Microsoft Graph, against scripted answers |
//! | `store` | one suite, every backend |
//! | `process` | the real binary: kills, limits, secrets, start and end |
//! | `host` | the real binary under a stand-in for the Functions host |
//! | `contract` | what is written in several places says the same everywhere |

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, clippy::disallowed_methods)]
#![allow(clippy::unnecessary_wraps)] // builders of scripted answers share one shape

mod auth;
mod cli;
mod contract;
mod graph_wire;
#[cfg(unix)]
mod host;
mod journeys;
mod process;
mod rest;
mod store;
mod support;
mod toolsets;
