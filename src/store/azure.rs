//! Rows in Azure Table Storage: the store all instances of a deployment share.
//!
//! A write is sent once. When its answer is lost, or says that a row is not as expected, the rows are read back: every
//! row carries the id of the transaction that wrote it, and one with ours proves that all of it happened. Only a
//! transaction of nothing but deletions leaves no such trace: after a lost answer, rows that are gone count as deleted
//! by us, though another writer may have been faster.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures::{StreamExt, TryStreamExt, stream};

use crate::azure::tables::{Client, Code, Config, Connector, Entity, Error, Span};
use crate::rows::{Expect, Found, Page, Row, RowVersion, StoreError, Tables, Whole, Write, check_commit};

/// Before each read of the rows of a transaction whose answer was lost: it may still be under way.
const PAUSES: [Duration; 3] = [Duration::ZERO, Duration::from_millis(200), Duration::from_secs(1)];
/// Rows read back at the same time.
const READS: usize = 8;
/// How often a transaction is sent again because rows it may find missing were missing.
const ROUNDS: usize = 5;
/// The version of a row that was written over before its version was read: no row has it.
const OVERWRITTEN: &str = "W/\"datetime'2000-01-01T00%3A00%3A00.0000000Z'\"";

/// A store in one table of a storage account.
#[derive(Debug, Clone)]
pub struct AzureTables {
    client: Client,
}

type Versions = Vec<Option<RowVersion>>;

impl AzureTables {
    /// Opens the table, creating it if need be.
    ///
    /// # Errors
    /// When the service cannot be reached, or refuses.
    pub async fn open(config: Config, connector: Connector) -> Result<Self, StoreError> {
        let client = Client::new(config, connector);
        client.ensure_table().await.map_err(|error| failure(&client, &error))?;
        Ok(Self { client })
    }

    fn failure(&self, error: &Error) -> StoreError {
        failure(&self.client, error)
    }

    async fn entity(&self, partition: &str, key: &str) -> Result<Option<Entity>, Error> {
        Ok(self.client.read(partition, Span::One(key), 1).await?.pop())
    }

    /// The rows of `keys`, in order.
    async fn entities(&self, partition: &str, keys: Vec<String>) -> Result<Vec<Option<Entity>>, Error> {
        let reads = keys.into_iter().map(|key| async move { self.entity(partition, &key).await });
        stream::iter(reads).buffered(READS).try_collect().await
    }

    /// Searches for our operation id in the rows that were to be written: the versions if it is there.
    async fn trace(&self, partition: &str, operation: &str, writes: &[Write]) -> Result<Option<Versions>, Error> {
        let keys = writes.iter().filter(|write| write.json.is_some()).map(|write| write.key.clone()).collect();
        let rows = self.entities(partition, keys).await?;
        let ours = |row: &Option<Entity>| row.as_ref().is_some_and(|row| row.operation == operation);
        if !rows.iter().any(ours) {
            return Ok(None);
        }
        let mut rows = rows.into_iter();
        let version = |row: Option<Entity>| match row {
            Some(row) if row.operation == operation => row.row.version,
            _ => RowVersion(OVERWRITTEN.into()),
        };
        Ok(Some(writes.iter().map(|write| write.json.as_ref().map(|_| version(rows.next().flatten()))).collect()))
    }

    /// After a lost answer: whether it happened after all.
    async fn settle(
        &self,
        partition: &str,
        operation: &str,
        writes: &[Write],
        reason: String,
    ) -> Result<Versions, StoreError> {
        let only_deletes = writes.iter().all(|write| write.json.is_none());
        for pause in PAUSES {
            if !pause.is_zero() {
                self.client.clock().sleep(pause).await;
            }
            let found = if only_deletes {
                let keys = writes.iter().map(|write| write.key.clone()).collect();
                let rows = self.entities(partition, keys).await;
                rows.map(|rows| rows.iter().all(Option::is_none).then(|| vec![None; writes.len()]))
            } else {
                self.trace(partition, operation, writes).await
            };
            match found {
                Ok(Some(versions)) => return Ok(versions),
                Ok(None) => {}
                Err(error) => return Err(self.failure(&error)),
            }
        }
        Err(StoreError::Unavailable { reason })
    }

    /// After a refusal because of a row: whether this very transaction made the row what it is. An answer that was lost
    /// below us (a proxy that sent the request again) looks like that.
    async fn happened(
        &self,
        partition: &str,
        operation: &str,
        writes: &[Write],
    ) -> Result<Option<Versions>, StoreError> {
        let Some(first) = writes.iter().find(|write| write.json.is_some()) else { return Ok(None) };
        let row = self.entity(partition, &first.key).await.map_err(|error| self.failure(&error))?;
        if row.is_none_or(|row| row.operation != operation) {
            return Ok(None);
        }
        self.trace(partition, operation, writes).await.map_err(|error| self.failure(&error))
    }

    /// Of the writes still to be sent, those without a deletion that has nothing to delete. The service has no deletion
    /// that takes both, so that such a row fails the whole transaction.
    async fn without_missing(
        &self,
        partition: &str,
        writes: &[Write],
        sent: &[usize],
    ) -> Result<Vec<usize>, StoreError> {
        let optional = |place: &usize| writes.get(*place).filter(|write| deletes_if_there(write));
        let keys = sent.iter().filter_map(optional).map(|write| write.key.clone()).collect();
        let found = self.entities(partition, keys).await.map_err(|error| self.failure(&error))?;
        let mut found = found.into_iter();
        let keep = |place: &usize| optional(place).is_none() || found.next().flatten().is_some();
        Ok(sent.iter().copied().filter(keep).collect())
    }

    /// Rows that must be absent and stay so. The service cannot check that within a transaction, so that it is read
    /// just before.
    async fn check_absent(&self, partition: &str, writes: &[Write]) -> Result<(), StoreError> {
        let asserted = |write: &&Write| write.json.is_none() && write.expect == Expect::Absent;
        let keys = writes.iter().filter(asserted).map(|write| write.key.clone()).collect();
        let found = self.entities(partition, keys).await.map_err(|error| self.failure(&error))?;
        match found.into_iter().flatten().next() {
            Some(entity) => Err(StoreError::Conflict { key: entity.row.key, found: Found::Exists }),
            None => Ok(()),
        }
    }
}

fn deletes_if_there(write: &Write) -> bool {
    write.json.is_none() && write.expect == Expect::Anything
}

/// What a code says of a row.
fn found(code: Code) -> Option<Found> {
    match code {
        Code::RowExists => Some(Found::Exists),
        Code::NoSuchRow => Some(Found::Nothing),
        Code::OtherVersion => Some(Found::OtherVersion),
        _ => None,
    }
}

/// A failure that is not about a row's condition.
fn failure(client: &Client, error: &Error) -> StoreError {
    let table = client.table();
    let reason = match (error, error.code()) {
        (_, Code::NoSuchTable) => format!("table `{table}` does not exist"),
        (_, Code::Unauthorized | Code::Forbidden) => format!(
            "{error} (the identity needs the role `Storage Table Data Contributor`, a SAS the rights `raud` on tables)"
        ),
        (Error::TooLarge { bytes }, _) => return StoreError::TooLarge { rows: 1, bytes: *bytes },
        (Error::Damaged { key, .. }, _) => {
            let source = <serde_json::Error as serde::de::Error>::custom(error);
            return StoreError::Damaged { key: key.clone(), source: Arc::new(source) };
        }
        _ => error.to_string(),
    };
    StoreError::Unavailable { reason: format!("Azure Table Storage: {reason}") }
}

#[async_trait]
impl Tables for AzureTables {
    fn is_remote(&self) -> bool {
        true
    }

    async fn get(&self, partition: &str, key: &str) -> Result<Option<Row>, StoreError> {
        let entity = self.entity(partition, key).await.map_err(|error| self.failure(&error))?;
        Ok(entity.map(|entity| entity.row))
    }

    async fn scan(&self, partition: &str, from: &str, to: &str, limit: usize) -> Result<Page, StoreError> {
        let limit = limit.clamp(1, 1000);
        let span = Span::Between(from, to);
        // One row more than asked for: the service's own continuation is no key, and the next page starts at a key.
        let read = self.client.read(partition, span, limit + 1).await.map_err(|error| self.failure(&error))?;
        let mut rows: Vec<Row> = read.into_iter().map(|entity| entity.row).collect();
        let next = if rows.len() > limit { rows.pop().map(|row| row.key) } else { None };
        Ok(Page { rows, next })
    }

    async fn commit(&self, partition: &str, writes: Vec<Write>) -> Result<Versions, StoreError> {
        check_commit(partition, &writes)?;
        self.check_absent(partition, &writes).await?;
        let operation = self.client.entropy().guid();
        let sendable = |write: &Write| write.json.is_some() || write.expect != Expect::Absent;
        let mut places: Vec<usize> =
            writes.iter().enumerate().filter(|(_, write)| sendable(write)).map(|(place, _)| place).collect();
        for _ in 0..ROUNDS {
            if places.is_empty() {
                return Ok(vec![None; writes.len()]);
            }
            let sent: Vec<&Write> = places.iter().filter_map(|place| writes.get(*place)).collect();
            let error = match self.client.transact(partition, &operation, &sent).await {
                Ok(versions) => return Ok(spread(&places, versions, writes.len())),
                Err(Error::Ambiguous(reason)) => {
                    return self.settle(partition, &operation, &writes, reason).await;
                }
                Err(error) => error,
            };
            let Some(found) = found(error.code()) else {
                return Err(match error {
                    Error::TooLarge { bytes } => StoreError::TooLarge { rows: writes.len(), bytes },
                    error if error.code() == Code::TooLarge => {
                        let bytes = writes.iter().filter_map(|write| write.json.as_ref()).map(|json| json.len()).sum();
                        StoreError::TooLarge { rows: writes.len(), bytes }
                    }
                    error => self.failure(&error),
                });
            };
            if let Some(versions) = self.happened(partition, &operation, &writes).await? {
                return Ok(versions);
            }
            let index = match &error {
                Error::Refused { index, .. } => *index,
                _ => None,
            };
            let Some(write) = index.and_then(|index| sent.get(index)) else { return Err(self.failure(&error)) };
            if found == Found::Nothing && deletes_if_there(write) {
                places = self.without_missing(partition, &writes, &places).await?;
                continue;
            }
            return Err(StoreError::Conflict { key: write.key.clone(), found });
        }
        Err(StoreError::Unavailable { reason: "rows to be deleted kept coming and going; nothing was written".into() })
    }
}

/// The versions of the rows that were sent, at their places among all.
fn spread(places: &[usize], versions: Versions, rows: usize) -> Versions {
    let mut all = vec![None; rows];
    for (place, version) in places.iter().zip(versions) {
        if let Some(slot) = all.get_mut(*place) {
            *slot = version;
        }
    }
    all
}

#[async_trait]
impl Whole for AzureTables {
    async fn next_partition(&self, after: &str) -> Result<Option<String>, StoreError> {
        self.client.next_partition(after).await.map_err(|error| self.failure(&error))
    }
}
