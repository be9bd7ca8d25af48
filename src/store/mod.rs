//! Backends that keep rows: in memory, in a file, in Azure Table Storage. What the rows mean is known only to those
//! who write them.

mod azure;
mod embedded;
mod memory;

use std::path::PathBuf;
use std::sync::Arc;

pub use azure::AzureTables;
pub use embedded::EmbeddedTables;
pub use memory::MemoryTables;

use crate::azure::tables;
use crate::rows::{StoreError, Tables};

/// Where a deployment keeps what it remembers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Config {
    /// Nowhere: gone when the process ends.
    Memory,
    /// In a folder on this machine.
    Folder(PathBuf),
    /// In a table of a storage account.
    Azure(tables::Config),
}

/// Opens the configured backend.
///
/// # Errors
/// When the folder cannot be used, or the storage account cannot be reached or refuses.
pub async fn open(config: &Config, connector: tables::Connector) -> Result<Arc<dyn Tables>, StoreError> {
    Ok(match config {
        Config::Memory => Arc::new(MemoryTables::default()),
        Config::Folder(folder) => Arc::new(EmbeddedTables::open(folder)?),
        Config::Azure(config) => Arc::new(AzureTables::open(config.clone(), connector).await?),
    })
}
