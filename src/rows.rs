//! The shape of what a store keeps: rows in partitions, changed by entity-group transactions.
//!
//! This is the vocabulary of Azure Table Storage, which every backend speaks: a transaction touches one partition, at
//! most 100 rows, each once, under 4 MiB, and happens whole or not at all. The engine that writes rows (`sync`) and
//! the backends that keep them (`store`) meet here and nowhere else.

use std::sync::Arc;

use async_trait::async_trait;
use serde::Serialize;
use serde::de::DeserializeOwned;

/// Most rows one transaction may touch (Azure Tables: performing entity group transactions).
pub const MAX_ROWS_PER_COMMIT: usize = 100;
/// Most bytes one transaction may carry (same source), less an allowance for the multipart envelope.
pub const MAX_BYTES_PER_COMMIT: usize = 4 * 1024 * 1024 - 256 * 1024;
/// Most bytes of one row (Azure Tables: an entity is at most 1 MiB), less an allowance for keys and property names.
pub const MAX_BYTES_PER_ROW: usize = 1024 * 1024 - 64 * 1024;
/// Longest partition or row key, in UTF-16 units (Azure Tables).
pub const MAX_KEY_UNITS: usize = 512;

/// The version of a row, opaque: sent back as it came.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct RowVersion(pub Arc<str>);

/// A row as read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// The row key.
    pub key: String,
    /// The version at the time of reading.
    pub version: RowVersion,
    /// The content: JSON text.
    pub json: Arc<str>,
}

impl Row {
    /// Decodes the content.
    ///
    /// # Errors
    /// When the content is not the JSON of a `T`: the row was written by another version or is damaged.
    pub fn decode<T: DeserializeOwned>(&self) -> Result<T, StoreError> {
        serde_json::from_str(&self.json)
            .map_err(|source| StoreError::Damaged { key: self.key.clone(), source: Arc::new(source) })
    }
}

/// What must hold for a write to happen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Expect {
    /// The row does not exist.
    Absent,
    /// The row exists in this version.
    Version(RowVersion),
    /// Nothing: write over any row that is there.
    Anything,
}

/// One row's part in a transaction.
#[derive(Debug, Clone)]
pub struct Write {
    /// The row key.
    pub key: String,
    /// The condition.
    pub expect: Expect,
    /// The content, or `None` to delete the row. Deleting a row that is not there fails unless nothing is expected.
    pub json: Option<Arc<str>>,
}

impl Write {
    /// Creates a row that must not exist.
    pub fn insert(key: impl Into<String>, value: &impl Serialize) -> Result<Self, StoreError> {
        Self::put(key, Expect::Absent, value)
    }

    /// Replaces a row that must still have `version`.
    pub fn replace(key: impl Into<String>, version: &RowVersion, value: &impl Serialize) -> Result<Self, StoreError> {
        Self::put(key, Expect::Version(version.clone()), value)
    }

    /// Writes a row over any that was there.
    pub fn upsert(key: impl Into<String>, value: &impl Serialize) -> Result<Self, StoreError> {
        Self::put(key, Expect::Anything, value)
    }

    /// Writes a row under any condition.
    ///
    /// # Errors
    /// When the value cannot be written as JSON.
    pub fn put(key: impl Into<String>, expect: Expect, value: &impl Serialize) -> Result<Self, StoreError> {
        let key = key.into();
        let json = serde_json::to_string(value)
            .map_err(|source| StoreError::Damaged { key: key.clone(), source: Arc::new(source) })?;
        Ok(Self { key, expect, json: Some(json.into()) })
    }

    /// Deletes a row under a condition.
    pub fn delete(key: impl Into<String>, expect: Expect) -> Self {
        Self { key: key.into(), expect, json: None }
    }
}

/// A page of a scan, in key order.
#[derive(Debug, Clone, Default)]
pub struct Page {
    /// The rows. An empty page may have a successor.
    pub rows: Vec<Row>,
    /// Where the next page starts; `None` at the end.
    pub next: Option<String>,
}

/// Why a store did not do what it was asked.
#[derive(Debug, Clone, thiserror::Error)]
pub enum StoreError {
    /// A condition of a transaction did not hold; nothing was written.
    #[error("row `{key}` is not as expected: {found}")]
    Conflict {
        /// The first row whose condition failed.
        key: String,
        /// What was found instead.
        found: Found,
    },
    /// The transaction is larger than a store takes; nothing was written.
    #[error("a transaction of {rows} rows and {bytes} bytes is too large")]
    TooLarge {
        /// Its rows.
        rows: usize,
        /// Its bytes.
        bytes: usize,
    },
    /// A key has characters or a length no store takes.
    #[error("`{key}` cannot be a key")]
    InvalidKey {
        /// The key.
        key: String,
    },
    /// A row's content is not what this version of the program writes.
    #[error("row `{key}` cannot be read or written")]
    Damaged {
        /// The row.
        key: String,
        /// Where and why.
        source: Arc<serde_json::Error>,
    },
    /// The store takes no writes: the medium is read-only or full.
    #[error("the store takes no writes: {reason}")]
    ReadOnly {
        /// The medium's own words.
        reason: String,
    },
    /// The content cannot be used as it is, and repeating does not help: it is damaged, gone, or of a newer version.
    /// Nothing was written.
    #[error("{reason}: {remedy}")]
    Broken {
        /// What is wrong.
        reason: String,
        /// What an operator can do.
        remedy: &'static str,
    },
    /// The store failed; whether a write happened is unknown.
    #[error("the store failed: {reason}")]
    Unavailable {
        /// The medium's own words.
        reason: String,
    },
}

/// What a failed condition met.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Found {
    /// The row exists already.
    Exists,
    /// The row does not exist.
    Nothing,
    /// The row has another version.
    OtherVersion,
}

impl std::fmt::Display for Found {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Exists => "it exists already",
            Self::Nothing => "it does not exist",
            Self::OtherVersion => "it has changed",
        })
    }
}

impl StoreError {
    /// Whether another writer was faster, so that reading again and trying again makes sense.
    #[must_use]
    pub fn is_conflict(&self) -> bool {
        matches!(self, Self::Conflict { .. })
    }
}

/// A backend that keeps rows.
#[async_trait]
pub trait Tables: Send + Sync + 'static {
    /// Reads one row.
    async fn get(&self, partition: &str, key: &str) -> Result<Option<Row>, StoreError>;

    /// Reads rows with `from <= key < to` in key order, at most `limit` (and at most 1,000) of them.
    async fn scan(&self, partition: &str, from: &str, to: &str, limit: usize) -> Result<Page, StoreError>;

    /// Commits one entity-group transaction; answers the new versions in the order of the writes (deleted rows: `None`).
    ///
    /// # Errors
    /// [`StoreError::Conflict`] names the first row whose condition failed; then nothing was written.
    async fn commit(&self, partition: &str, writes: Vec<Write>) -> Result<Vec<Option<RowVersion>>, StoreError>;

    /// Whether nobody else had the store open when this process opened it, so that every lease in it is a dead one's.
    /// Only for economy: the fence stops a writer that is wrong about it.
    fn was_alone(&self) -> bool {
        false
    }

    /// Whether every read is a call over the network, with a price and a line in a log: then one read that serves many
    /// is worth a write.
    fn is_remote(&self) -> bool {
        false
    }

    /// Reads through everything to see whether it is whole; may take long.
    ///
    /// # Errors
    /// [`StoreError::Broken`] when it is not.
    async fn verify(&self) -> Result<(), StoreError> {
        Ok(())
    }
}

/// A backend whose content can be gone through as a whole, for a backup.
#[async_trait]
pub trait Whole: Tables {
    /// The first partition after `after` that has rows; `None` at the end.
    async fn next_partition(&self, after: &str) -> Result<Option<String>, StoreError>;

    /// Whether another process on this machine has it open, as far as that can be known.
    fn is_open_elsewhere(&self) -> bool {
        false
    }
}

/// Reads all rows whose key starts with `prefix`, page by page.
///
/// # Errors
/// When a page cannot be read; a short list is never returned.
pub async fn scan_prefix(tables: &dyn Tables, partition: &str, prefix: &str) -> Result<Vec<Row>, StoreError> {
    let end = prefix_end(prefix);
    let mut from = prefix.to_owned();
    let mut rows = Vec::new();
    loop {
        let page = tables.scan(partition, &from, &end, 1000).await?;
        rows.extend(page.rows);
        match page.next {
            Some(next) => from = next,
            None => return Ok(rows),
        }
    }
}

/// The rows of one tenant, in partitions whose names begin with the tenant's id. Cheap to clone.
#[derive(Clone)]
pub struct TenantTables {
    tables: Arc<dyn Tables>,
    tenant: Arc<str>,
}

impl TenantTables {
    /// The rows of a tenant in a store.
    #[must_use]
    pub fn new(tables: Arc<dyn Tables>, tenant: &str) -> Self {
        Self { tables, tenant: tenant.into() }
    }

    /// The directory id of the tenant.
    #[must_use]
    pub fn tenant(&self) -> &str {
        &self.tenant
    }

    /// The store.
    #[must_use]
    pub fn tables(&self) -> &Arc<dyn Tables> {
        &self.tables
    }

    /// A partition of the tenant.
    pub fn partition(&self, name: impl std::fmt::Display) -> Partition {
        Partition { tables: self.tables.clone(), name: format!("{}|{name}", self.tenant) }
    }
}

/// One partition of a store: what [`Tables`] does, within it.
#[derive(Clone)]
pub struct Partition {
    tables: Arc<dyn Tables>,
    name: String,
}

impl std::fmt::Debug for Partition {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Partition").field(&self.name).finish()
    }
}

impl Partition {
    /// Its name, the tenant's id included.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The store.
    #[must_use]
    pub fn tables(&self) -> &Arc<dyn Tables> {
        &self.tables
    }

    /// As [`Tables::get`].
    ///
    /// # Errors
    /// When the store fails.
    pub async fn get(&self, key: &str) -> Result<Option<Row>, StoreError> {
        self.tables.get(&self.name, key).await
    }

    /// As [`Tables::scan`].
    ///
    /// # Errors
    /// When the store fails.
    pub async fn scan(&self, from: &str, to: &str, limit: usize) -> Result<Page, StoreError> {
        self.tables.scan(&self.name, from, to, limit).await
    }

    /// As [`scan_prefix`].
    ///
    /// # Errors
    /// When the store fails.
    pub async fn scan_prefix(&self, prefix: &str) -> Result<Vec<Row>, StoreError> {
        scan_prefix(self.tables.as_ref(), &self.name, prefix).await
    }

    /// As [`Tables::commit`].
    ///
    /// # Errors
    /// As there.
    pub async fn commit(&self, writes: Vec<Write>) -> Result<Vec<Option<RowVersion>>, StoreError> {
        self.tables.commit(&self.name, writes).await
    }
}

/// The smallest key greater than every key that starts with `prefix`. Keys are ASCII where their order matters.
#[must_use]
pub fn prefix_end(prefix: &str) -> String {
    format!("{prefix}\u{7f}")
}

/// Checks what every backend refuses alike, before anything is sent.
///
/// # Errors
/// When the transaction has too many or repeated rows, too many bytes, or a key no store takes.
pub fn check_commit(partition: &str, writes: &[Write]) -> Result<(), StoreError> {
    check_key(partition)?;
    let mut seen = std::collections::BTreeSet::new();
    let mut bytes = 0;
    for write in writes {
        check_key(&write.key)?;
        let size = write.json.as_ref().map_or(0, |json| json.len());
        if size > MAX_BYTES_PER_ROW {
            return Err(StoreError::TooLarge { rows: 1, bytes: size });
        }
        bytes += size + write.key.len();
        if !seen.insert(write.key.as_str()) {
            return Err(StoreError::InvalidKey { key: write.key.clone() });
        }
    }
    if writes.len() > MAX_ROWS_PER_COMMIT || bytes > MAX_BYTES_PER_COMMIT {
        return Err(StoreError::TooLarge { rows: writes.len(), bytes });
    }
    Ok(())
}

/// Refuses keys with `/ \ # ?`, control characters or more than 512 UTF-16 units (Azure Tables: characters disallowed
/// in key fields).
fn check_key(key: &str) -> Result<(), StoreError> {
    let bad = key.chars().any(|c| matches!(c, '/' | '\\' | '#' | '?') || c.is_control());
    if bad || key.encode_utf16().count() > MAX_KEY_UNITS {
        return Err(StoreError::InvalidKey { key: key.to_owned() });
    }
    Ok(())
}
