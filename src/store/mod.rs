//! Backends that keep rows and queues: in memory, in a file, in a storage account. What rows and messages mean is known
//! only to those who write them.

mod azure;
mod azure_blobs;
mod azure_queue;
mod blobs;
mod embedded;
mod memory;
mod row_queue;
pub mod secrets;
mod watched;

use std::path::PathBuf;
use std::sync::Arc;

pub use azure::AzureTables;
pub use azure_blobs::AzureBlobs;
pub use azure_queue::AzureQueue;
pub use blobs::{FolderBlobs, MemoryBlobs};
pub use embedded::EmbeddedTables;
pub use memory::MemoryTables;
pub use row_queue::RowQueue;
pub use watched::Watched;

use crate::azure::{blobs as azure_files, queues, tables};
use crate::blobs::Blobs;
use crate::queue::Queue;
use crate::rows::{StoreError, Tables, Whole};

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
    Ok(open_whole(config, connector).await?)
}

/// As [`open`], for commands that go through everything.
///
/// # Errors
/// As [`open`].
pub async fn open_whole(config: &Config, connector: tables::Connector) -> Result<Arc<dyn Whole>, StoreError> {
    Ok(match config {
        Config::Memory => Arc::new(MemoryTables::default()),
        Config::Folder(folder) => Arc::new(EmbeddedTables::open(folder)?),
        Config::Azure(config) => Arc::new(AzureTables::open(config.clone(), connector).await?),
    })
}

/// Where a deployment keeps its queues.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum QueueConfig {
    /// Beside everything else, as rows.
    Rows,
    /// In the queue service of a storage account, where the Functions host's triggers poll.
    Azure(queues::Config),
}

/// Opens the queue `name` of the configured backend; `tables` are the store's.
///
/// # Errors
/// When the storage account cannot be reached or refuses.
pub async fn open_queue(
    config: &QueueConfig,
    name: &str,
    tables: &Arc<dyn Tables>,
    connector: tables::Connector,
) -> Result<Arc<dyn Queue>, StoreError> {
    Ok(match config {
        QueueConfig::Rows => {
            let (clock, entropy) = (connector.http.clock().clone(), connector.entropy.clone());
            Arc::new(RowQueue::new(tables.clone(), name, clock, entropy))
        }
        QueueConfig::Azure(config) => Arc::new(AzureQueue::open(config.clone(), name, connector).await?),
    })
}

/// Where a deployment keeps its files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BlobConfig {
    /// Nowhere: gone when the process ends.
    Memory,
    /// In a folder on this machine.
    Folder(PathBuf),
    /// In a container of a storage account.
    Azure(azure_files::Config),
}

/// Opens the configured backend for files; nothing is read or written yet.
#[must_use]
pub fn open_blobs(config: &BlobConfig, connector: tables::Connector) -> Arc<dyn Blobs> {
    match config {
        BlobConfig::Azure(config) => Arc::new(AzureBlobs::new(config.clone(), connector)),
        BlobConfig::Memory => Arc::new(MemoryBlobs::default()),
        BlobConfig::Folder(folder) => Arc::new(FolderBlobs::new(folder.clone())),
    }
}
