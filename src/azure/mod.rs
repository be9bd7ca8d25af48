//! Azure's wire: who we are towards Microsoft, and how the SDK sends requests.
//!
//! Everything the SDK sends goes through the program's own connection pool, with the SDK's retries off.

pub mod blobs;
mod certificate;
pub mod claims;
mod client_proof;
pub mod credential;
pub mod queues;
mod secret;
pub mod storage;
pub mod tables;
mod token;
mod transport;
mod vault;

pub use certificate::CertificateError;
pub use client_proof::ClientProof;
pub use credential::{Credential, CredentialConfig, Error as CredentialError};
pub use secret::Secret;
pub use token::{BroughtToken, Token, TokenProvider};
pub use transport::Loopback;
pub use vault::{Vault, VaultError};
