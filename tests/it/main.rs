//! The integration tests: one binary, so that it links once.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, clippy::disallowed_methods)]
#![allow(clippy::unnecessary_wraps)] // builders of scripted answers share one shape

mod api;
mod auth;
mod cli;
mod contract;
mod events;
mod graph_wire;
#[cfg(unix)]
mod host;
mod notifications;
mod process;
mod reports;
mod simulator;
mod store;
mod support;
mod triggers;
mod whole;
