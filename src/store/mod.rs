//! Backends that keep rows: in memory, in a file. What the rows mean is known only to those who write them.

mod embedded;
mod memory;

use std::path::PathBuf;
use std::sync::Arc;

pub use embedded::EmbeddedTables;
pub use memory::MemoryTables;

use crate::rows::{StoreError, Tables};

/// Where a deployment keeps what it remembers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Config {
    /// Nowhere: gone when the process ends.
    Memory,
    /// In a folder on this machine.
    Folder(PathBuf),
}

/// Opens the configured backend.
///
/// # Errors
/// When the folder cannot be used.
pub fn open(config: &Config) -> Result<Arc<dyn Tables>, StoreError> {
    Ok(match config {
        Config::Memory => Arc::new(MemoryTables::default()),
        Config::Folder(folder) => Arc::new(EmbeddedTables::open(folder)?),
    })
}
