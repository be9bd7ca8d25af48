//! Azure's wire: who we are towards Microsoft, and how the SDK reaches the network.
//!
//! Everything the SDK sends goes through the program's own connection pool, with the SDK's retries off.

pub mod blobs;
mod certificate;
pub mod credential;
pub mod queues;
pub mod storage;
pub mod tables;
mod transport;

pub use credential::{Credential, CredentialConfig, Secret, Token};
pub use transport::Loopback;
