//! What the services of a storage account have in common: where they are, what opens them, how they fail.
//!
//! Why no official crate: there is none for tables (`azure_data_tables` ended at 0.21). Those for queues and blobs (1.1) take
//! an Entra token over HTTPS, or an address that holds a SAS: no connection string and no shared key
//! (Azure/azure-sdk-for-rust, issue 2975), which a host's `AzureWebJobsStorage` and the emulator need. They also repeat
//! calls below the caller, who then cannot tell whether a message was put once. Both ways side by side would be more code
//! than one; so all three services are spoken to through the program's own HTTP client and one signature, and nothing is
//! repeated below the caller but reads.

mod endpoint;
mod error;
pub(in crate::azure) mod wire;

pub use endpoint::{ConfigError, Endpoint, Service};
pub(in crate::azure) use error::element;
pub use error::{Code, Error};
pub use wire::Connector;
pub(in crate::azure) use wire::Wire;
