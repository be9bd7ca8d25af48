//! GraphGate.
pub mod auth;
pub mod azure;
pub mod clock;
pub mod error;
pub mod graph;
pub mod http_client;
pub mod ids;
pub mod mcp;
pub mod rows;
pub mod services;
pub mod store;
pub mod sync;
