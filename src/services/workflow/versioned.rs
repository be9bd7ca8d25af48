//! A row's content with the version in which it was read: what is written back is refused once others have written.

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::rows::{Expect, Partition, Row, RowVersion, StoreError, Write};

/// A row as read, to be written under the condition that it has not changed since.
#[derive(Debug, Clone)]
pub struct Versioned<T> {
    /// What the row says, with changes that [`Self::write`] stores.
    pub record: T,
    key: String,
    version: RowVersion,
}

impl<T: Serialize + DeserializeOwned> Versioned<T> {
    /// Reads a row.
    ///
    /// # Errors
    /// When the store fails, or the row was written by another version of the program.
    pub async fn get(rows: &Partition, key: &str) -> Result<Option<Self>, StoreError> {
        rows.get(key).await?.map(Self::decode).transpose()
    }

    /// Reads all rows whose key starts with `prefix`.
    ///
    /// # Errors
    /// As [`Self::get`].
    pub async fn scan(rows: &Partition, prefix: &str) -> Result<Vec<Self>, StoreError> {
        rows.scan_prefix(prefix).await?.into_iter().map(Self::decode).collect()
    }

    fn decode(row: Row) -> Result<Self, StoreError> {
        Ok(Self { record: row.decode()?, key: row.key, version: row.version })
    }

    /// Writes a row that must not exist, and other rows of the partition with it, or none. `None` when it exists.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn insert(
        rows: &Partition,
        key: String,
        record: T,
        beside: Vec<Write>,
    ) -> Result<Option<Self>, StoreError> {
        let version = commit(rows, &key, Expect::Absent, &record, beside).await?;
        Ok(version.map(|version| Self { record, key, version }))
    }

    /// Stores what has changed, and other rows of the partition with it, or nothing. `false` when another writer was
    /// faster: who has claimed the row was overtaken, and has to stop.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn write(&mut self, rows: &Partition, beside: Vec<Write>) -> Result<bool, StoreError> {
        let expect = Expect::Version(self.version.clone());
        let version = commit(rows, &self.key, expect, &self.record, beside).await?;
        Ok(version.map(|version| self.version = version).is_some())
    }

    /// What deletes the row, as long as it has not changed since.
    #[must_use]
    pub fn deletion(&self) -> Write {
        Write::delete(&*self.key, Expect::Version(self.version.clone()))
    }

    /// The row's key.
    #[must_use]
    pub fn key(&self) -> &str {
        &self.key
    }
}

/// Commits a row with others; `None` when another writer was faster.
async fn commit(
    rows: &Partition,
    key: &str,
    expect: Expect,
    record: &impl Serialize,
    beside: Vec<Write>,
) -> Result<Option<RowVersion>, StoreError> {
    let write = Write::put(key, expect, record)?;
    let json = write.json.clone();
    match rows.commit(std::iter::once(write).chain(beside).collect()).await {
        Ok(versions) => match versions.into_iter().next().flatten() {
            Some(version) => Ok(Some(version)),
            None => Err(StoreError::Unavailable { reason: "a write without a version".to_owned() }),
        },
        Err(error @ (StoreError::Conflict { .. } | StoreError::Unavailable { .. })) => {
            // The answer may be that of a repetition, or have been lost: the row tells whether it was written.
            match rows.get(key).await? {
                Some(row) if Some(&row.json) == json.as_ref() => Ok(Some(row.version)),
                _ if error.is_conflict() => Ok(None),
                _ => Err(error),
            }
        }
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};

    use async_trait::async_trait;

    use super::*;
    use crate::rows::{Page, Tables, TenantTables};
    use crate::store::MemoryTables;

    /// A store whose next answer is lost, though it did what it was asked.
    #[derive(Default)]
    struct Lossy(MemoryTables, AtomicBool);

    #[async_trait]
    impl Tables for Lossy {
        async fn get(&self, partition: &str, key: &str) -> Result<Option<Row>, StoreError> {
            self.0.get(partition, key).await
        }

        async fn scan(&self, partition: &str, from: &str, to: &str, limit: usize) -> Result<Page, StoreError> {
            self.0.scan(partition, from, to, limit).await
        }

        async fn commit(&self, partition: &str, writes: Vec<Write>) -> Result<Vec<Option<RowVersion>>, StoreError> {
            let answer = self.0.commit(partition, writes).await;
            let lost = self.1.swap(false, Ordering::Relaxed);
            if lost { Err(StoreError::Unavailable { reason: "no answer".to_owned() }) } else { answer }
        }
    }

    #[tokio::test]
    async fn second_writer_is_refused_and_a_lost_answer_is_found() {
        let tables = Arc::new(Lossy::default());
        let rows = TenantTables::new(tables.clone(), "t").partition("x");
        let mut mine = Versioned::insert(&rows, "a".to_owned(), 1, Vec::new()).await.unwrap().unwrap();
        assert!(Versioned::insert(&rows, "a".to_owned(), 2, Vec::new()).await.unwrap().is_none());
        let mut theirs = Versioned::<i32>::get(&rows, "a").await.unwrap().unwrap();
        mine.record = 3;
        tables.1.store(true, Ordering::Relaxed);
        assert!(mine.write(&rows, Vec::new()).await.unwrap(), "it was written");
        theirs.record = 4;
        assert!(!theirs.write(&rows, Vec::new()).await.unwrap());
        mine.record = 5;
        assert!(mine.write(&rows, Vec::new()).await.unwrap(), "the version was found too");
        assert_eq!(Versioned::<i32>::scan(&rows, "a").await.unwrap()[0].record, 5);
    }
}
