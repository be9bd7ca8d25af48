//! The integration tests: one binary, so that it links once.

mod graph_wire;
mod store;
mod support;
mod whole;
