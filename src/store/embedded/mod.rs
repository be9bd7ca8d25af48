//! Rows in one SQLite file: the store of a standalone server.
//!
//! One thread writes and groups what waits into one synced transaction, because a sync costs milliseconds; readers
//! have a connection of their own and never wait for it. Every acknowledged commit survives `kill -9` and power loss
//! (`synchronous=FULL`, write-ahead log).
//!
//! A change of a task touches half a dozen small rows in as many places, and every page that is touched is written, twice
//! in the end. So a new file has small pages, new rows lie side by side in the order in which they came, with the index
//! beside them, and the log grows for a while before it is folded into the file.

mod file;
mod writer;

use std::path::{Path, PathBuf};
use std::sync::mpsc;

use async_trait::async_trait;
use parking_lot::Mutex;
use rusqlite::{Connection, OptionalExtension, params};
use tokio::sync::oneshot;

use self::file::{Others, Place, RESTORE, Side, announce, classify, connect, make_private, migrate};
use self::writer::{Job, write_loop};
use crate::os;
use crate::rows::{Page, Row, RowVersion, StoreError, Tables, Whole, Write, check_commit};

/// A store in a folder on this machine.
pub struct EmbeddedTables {
    /// Locked, shared with other processes, for as long as this one has the store open.
    _open: Option<std::fs::File>,
    others: Others,
    file: PathBuf,
    reader: Mutex<Side>,
    writer: mpsc::Sender<Job>,
}

impl EmbeddedTables {
    /// Opens `graphgate.db` in `folder`, creating both if need be.
    ///
    /// # Errors
    /// When the folder cannot be written or the file is not ours or of a newer version.
    pub fn open(folder: &Path) -> Result<Self, StoreError> {
        os::create_private_folder(folder).map_err(|error| StoreError::ReadOnly {
            reason: format!("cannot create folder `{}`: {error}", folder.display()),
        })?;
        make_private(folder);
        let (open, others) = announce(&folder.join("graphgate.lock"));
        let file = folder.join("graphgate.db");
        let mut connection = connect(&file)?;
        migrate(&mut connection, others)?;
        let reader = Side::new(connect(&file)?);
        let writing = Side::new(connection);
        let place = Place::of(&file);
        let (writer, jobs) = mpsc::channel();
        std::thread::Builder::new()
            .name("store-writer".into())
            .spawn(move || write_loop(writing, &place, &jobs))
            .map_err(|error| StoreError::Unavailable { reason: error.to_string() })?;
        Ok(Self { _open: open, others, file, reader: Mutex::new(reader), writer })
    }

    /// Reads of a partition; nothing where it has never had a row.
    fn read<T: Default>(
        &self,
        partition: &str,
        read: impl FnOnce(&Connection, i64) -> rusqlite::Result<T>,
    ) -> Result<T, StoreError> {
        let mut side = self.reader.lock();
        let found = match side.partition(partition) {
            Ok(Some(number)) => read(&side.connection, number),
            Ok(None) => Ok(T::default()),
            Err(error) => Err(error),
        };
        drop(side);
        found.map_err(|error| classify(&error))
    }
}

fn decode_row(row: &rusqlite::Row<'_>) -> rusqlite::Result<Row> {
    let version: i64 = row.get(1)?;
    let json = row.get_ref(2)?.as_str()?;
    Ok(Row { key: row.get(0)?, version: RowVersion(version.to_string().into()), json: json.into() })
}

#[async_trait]
impl Tables for EmbeddedTables {
    fn was_alone(&self) -> bool {
        self.others == Others::None
    }

    async fn verify(&self) -> Result<(), StoreError> {
        let file = self.file.clone();
        let check = move || {
            let connection = connect(&file)?;
            let found: String = connection
                .query_row("PRAGMA quick_check(1)", [], |row| row.get(0))
                .map_err(|error| classify(&error))?;
            if found == "ok" {
                return Ok(());
            }
            let reason = format!("the store's file is damaged ({})", found.lines().next().unwrap_or_default());
            Err(StoreError::Broken { reason, remedy: RESTORE })
        };
        let checked = tokio::task::spawn_blocking(check).await;
        checked.map_err(|error| StoreError::Unavailable { reason: error.to_string() })?
    }

    async fn get(&self, partition: &str, key: &str) -> Result<Option<Row>, StoreError> {
        // Tens of microseconds from the page cache: cheaper than a hop to another thread.
        self.read(partition, |connection, partition| {
            connection
                .prepare_cached("SELECT key, version, json FROM stored WHERE partition=?1 AND key=?2")?
                .query_row(params![partition, key], decode_row)
                .optional()
        })
    }

    async fn scan(&self, partition: &str, from: &str, to: &str, limit: usize) -> Result<Page, StoreError> {
        let limit = limit.clamp(1, 1000);
        let mut rows = self.read(partition, |connection, partition| {
            let mut query = connection.prepare_cached(
                "SELECT key, version, json FROM stored WHERE partition=?1 AND key>=?2 AND key<?3 ORDER BY key LIMIT ?4",
            )?;
            let limit = i64::try_from(limit + 1).unwrap_or(i64::MAX);
            query.query_map(params![partition, from, to, limit], decode_row)?.collect::<rusqlite::Result<Vec<_>>>()
        })?;
        let next = if rows.len() > limit { rows.pop().map(|row| row.key) } else { None };
        Ok(Page { rows, next })
    }

    async fn commit(&self, partition: &str, writes: Vec<Write>) -> Result<Vec<Option<RowVersion>>, StoreError> {
        check_commit(partition, &writes)?;
        let (answer, result) = oneshot::channel();
        let job = Job { partition: partition.to_owned(), writes, answer };
        let gone = || StoreError::Unavailable { reason: "the writer has stopped".into() };
        self.writer.send(job).map_err(|_| gone())?;
        result.await.map_err(|_| gone())?
    }
}

#[async_trait]
impl Whole for EmbeddedTables {
    async fn next_partition(&self, after: &str) -> Result<Option<String>, StoreError> {
        let side = self.reader.lock();
        let next = "SELECT name FROM partitions WHERE name>?1 AND EXISTS (SELECT 1 FROM stored WHERE partition=id)
             ORDER BY name LIMIT 1";
        let query = side.connection.prepare_cached(next);
        let found = query.and_then(|mut query| query.query_row([after], |row| row.get(0)).optional());
        found.map_err(|error| classify(&error))
    }

    fn is_open_elsewhere(&self) -> bool {
        self.others == Others::Some
    }
}
