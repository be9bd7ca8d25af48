//! The figures, a file a group. Each starts processes of its own, so that none leaves traces in the next.

pub mod bulk;
pub mod cold;
pub mod fresh;
pub mod memory;
pub mod reports;
pub mod scale;
pub mod start;
pub mod sync;
pub mod telemetry;
pub mod throttled;
pub mod throughput;
pub mod webhooks;
