//! Rows in memory: for `graphgate dev` without a folder, and for tests. Forgets everything when the process ends.

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use parking_lot::Mutex;

use crate::rows::{Expect, Found, Page, Row, RowVersion, StoreError, Tables, Whole, Write, check_commit};

/// An empty store in memory.
#[derive(Default)]
pub struct MemoryTables {
    content: Mutex<Content>,
}

#[derive(Default)]
struct Content {
    partitions: BTreeMap<String, BTreeMap<String, (RowVersion, Arc<str>)>>,
    versions: u64,
}

#[async_trait]
impl Tables for MemoryTables {
    async fn get(&self, partition: &str, key: &str) -> Result<Option<Row>, StoreError> {
        let content = self.content.lock();
        let found = content.partitions.get(partition).and_then(|rows| rows.get(key));
        Ok(found.map(|(version, json)| Row { key: key.to_owned(), version: version.clone(), json: json.clone() }))
    }

    async fn scan(&self, partition: &str, from: &str, to: &str, limit: usize) -> Result<Page, StoreError> {
        let content = self.content.lock();
        let limit = limit.clamp(1, 1000);
        let mut page = Page::default();
        let Some(rows) = content.partitions.get(partition) else { return Ok(page) };
        if from >= to {
            return Ok(page);
        }
        for (key, (version, json)) in rows.range(from.to_owned()..to.to_owned()) {
            if page.rows.len() == limit {
                page.next = Some(key.clone());
                break;
            }
            page.rows.push(Row { key: key.clone(), version: version.clone(), json: json.clone() });
        }
        Ok(page)
    }

    async fn commit(&self, partition: &str, writes: Vec<Write>) -> Result<Vec<Option<RowVersion>>, StoreError> {
        check_commit(partition, &writes)?;
        let mut content = self.content.lock();
        let content = &mut *content;
        let rows = content.partitions.entry(partition.to_owned()).or_default();
        for write in &writes {
            let found = match (&write.expect, rows.get(&write.key)) {
                (Expect::Anything, _) | (Expect::Absent, None) => continue,
                (Expect::Absent, Some(_)) => Found::Exists,
                (Expect::Version(_), None) => Found::Nothing,
                (Expect::Version(expected), Some((version, _))) if expected == version => continue,
                (Expect::Version(_), Some(_)) => Found::OtherVersion,
            };
            return Err(StoreError::Conflict { key: write.key.clone(), found });
        }
        let mut versions = Vec::with_capacity(writes.len());
        for write in writes {
            content.versions += 1;
            let version = RowVersion(content.versions.to_string().into());
            match write.json {
                Some(json) => {
                    rows.insert(write.key, (version.clone(), json));
                    versions.push(Some(version));
                }
                None => {
                    rows.remove(&write.key);
                    versions.push(None);
                }
            }
        }
        Ok(versions)
    }
}

#[async_trait]
impl Whole for MemoryTables {
    async fn next_partition(&self, after: &str) -> Result<Option<String>, StoreError> {
        let content = self.content.lock();
        let later = content.partitions.iter().filter(|(partition, _)| partition.as_str() > after);
        Ok(later.filter(|(_, rows)| !rows.is_empty()).map(|(partition, _)| partition.clone()).next())
    }
}
