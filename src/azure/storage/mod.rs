//! What the services of a storage account have in common: where they are, what opens them, how they fail.
//!
//! There is no official crate for tables, and the one for queues takes neither a connection string nor a SAS; so all of
//! them are spoken to through the program's own HTTP client, and nothing is repeated below the caller but reads.

mod endpoint;
mod error;
pub(in crate::azure) mod wire;

pub use endpoint::{ConfigError, Endpoint, Service};
pub(in crate::azure) use error::element;
pub use error::{Code, Error};
pub use wire::Connector;
pub(in crate::azure) use wire::Wire;
