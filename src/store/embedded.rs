//! Rows in one SQLite file: the store of a standalone server.
//!
//! One thread writes and groups what waits into one synced transaction, because a sync costs milliseconds; readers
//! have a connection of their own and never wait for it. Every acknowledged commit survives `kill -9` and power loss
//! (`synchronous=FULL`, write-ahead log).

use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError, mpsc};
use std::time::Duration;

use async_trait::async_trait;
use rusqlite::{Connection, OptionalExtension, TransactionBehavior, params};
use tokio::sync::oneshot;

use crate::os;
use crate::rows::{Expect, Found, Page, Row, RowVersion, StoreError, Tables, Whole, Write, check_commit};

/// The version of the file's schema. A file of a newer version is refused, an older one is migrated.
const SCHEMA_VERSION: i64 = 1;
/// Most commits grouped into one synced transaction.
const MAX_GROUP: usize = 64;
/// How long a writer waits for another process to finish its transaction.
const BUSY_TIMEOUT: Duration = Duration::from_secs(10);
/// What an operator does about content that is damaged.
const RESTORE: &str =
    "stop the server, move the data folder away, and bring a backup back with `graphgate store import`";

/// A store in a folder on this machine.
pub struct EmbeddedTables {
    /// Locked, shared with other processes, for as long as this one has the store open.
    _open: Option<std::fs::File>,
    others: Others,
    file: PathBuf,
    reader: Mutex<Connection>,
    writer: mpsc::Sender<Job>,
}

struct Job {
    partition: String,
    writes: Vec<Write>,
    answer: oneshot::Sender<Result<Vec<Option<RowVersion>>, StoreError>>,
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
        migrate(&mut connection)?;
        let reader = connect(&file)?;
        let place = Place::of(&file);
        let (writer, jobs) = mpsc::channel();
        std::thread::Builder::new()
            .name("store-writer".into())
            .spawn(move || write_loop(connection, &place, &jobs))
            .map_err(|error| StoreError::Unavailable { reason: error.to_string() })?;
        Ok(Self { _open: open, others, file, reader: Mutex::new(reader), writer })
    }
}

/// The files of a store; SQLite makes those beside the first with its mode.
const FILES: [&str; 4] = ["graphgate.db", "graphgate.db-wal", "graphgate.db-shm", "graphgate.lock"];

/// Takes the store from everybody but its owner: in it are the tenant's tasks and what signs download links. One on a disk
/// that has no modes, or that belongs to another user, is used as it is.
fn make_private(folder: &Path) {
    let _unwritable = os::private_file().open(folder.join("graphgate.db")); // SQLite says why
    let files = FILES.iter().map(|name| folder.join(name)).filter(|file| file.exists());
    for path in files.chain([folder.to_path_buf()]) {
        if let Err(error) = os::make_private(&path) {
            tracing::warn!(path = %path.display(), %error, "other users of this machine may read the store");
        }
    }
}

/// Whether other processes had the store open when this one opened it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Others {
    None,
    Some,
    /// The file system has no locks, or is read-only.
    Unknown,
}

/// Takes a shared lock that lasts as long as the process, and tells whether somebody else had one.
fn announce(file: &Path) -> (Option<std::fs::File>, Others) {
    let Ok(file) = os::private_file().open(file) else { return (None, Others::Unknown) };
    let others = match file.try_lock() {
        Ok(()) if file.unlock().is_ok() => Others::None,
        Err(std::fs::TryLockError::WouldBlock) => Others::Some,
        _ => Others::Unknown,
    };
    match file.lock_shared() {
        Ok(()) => (Some(file), others),
        Err(_) => (None, Others::Unknown),
    }
}

/// Where the file is, and which file it is: a folder that is removed or replaced takes its writes with it, and SQLite
/// goes on as if nothing had happened.
struct Place {
    file: PathBuf,
    identity: Option<(u64, u64)>,
}

impl Place {
    fn of(file: &Path) -> Self {
        Self { file: file.to_owned(), identity: identity(file) }
    }

    fn check(&self) -> Result<(), StoreError> {
        if identity(&self.file) == self.identity {
            return Ok(());
        }
        Err(StoreError::Broken {
            reason: format!("`{}` was removed or replaced while the server runs", self.file.display()),
            remedy: "stop the server, put the data folder or a backup of it back, and start again",
        })
    }
}

/// What tells a file from another one at the same place.
#[cfg(unix)]
fn identity(file: &Path) -> Option<(u64, u64)> {
    use std::os::unix::fs::MetadataExt as _;
    std::fs::metadata(file).ok().map(|metadata| (metadata.dev(), metadata.ino()))
}

#[cfg(not(unix))]
fn identity(file: &Path) -> Option<(u64, u64)> {
    file.exists().then_some((0, 0))
}

fn connect(file: &Path) -> Result<Connection, StoreError> {
    let connection = Connection::open(file).map_err(|error| classify(&error))?;
    connection.busy_timeout(BUSY_TIMEOUT).map_err(|error| classify(&error))?;
    connection
        .execute_batch("PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL; PRAGMA cache_size=-2000;")
        .map_err(|error| classify(&error))?;
    Ok(connection)
}

fn migrate(connection: &mut Connection) -> Result<(), StoreError> {
    let found: i64 =
        connection.query_row("PRAGMA user_version", [], |row| row.get(0)).map_err(|error| classify(&error))?;
    if found > SCHEMA_VERSION {
        return Err(StoreError::Broken {
            reason: format!(
                "the store was written by a newer version (schema {found}, this program knows {SCHEMA_VERSION})"
            ),
            remedy: "run that version, or bring back a backup made before it",
        });
    }
    if found < 1 {
        connection
            .execute_batch(
                "BEGIN IMMEDIATE;
                 CREATE TABLE IF NOT EXISTS rows (
                   partition TEXT NOT NULL, key TEXT NOT NULL, version INTEGER NOT NULL, json TEXT NOT NULL,
                   PRIMARY KEY (partition, key)) WITHOUT ROWID, STRICT;
                 CREATE TABLE IF NOT EXISTS counter (only INTEGER PRIMARY KEY CHECK (only = 1), version INTEGER NOT NULL) STRICT;
                 INSERT OR IGNORE INTO counter VALUES (1, 0);
                 PRAGMA user_version=1;
                 COMMIT;",
            )
            .map_err(|error| classify(&error))?;
    }
    Ok(())
}

/// Commits what waits until every sender is gone. Jobs of one group share a sync; each is a savepoint of its own, so
/// a failed condition undoes that job alone.
fn write_loop(mut connection: Connection, place: &Place, jobs: &mpsc::Receiver<Job>) {
    while let Ok(first) = jobs.recv() {
        let mut group = vec![first];
        while group.len() < MAX_GROUP
            && let Ok(job) = jobs.try_recv()
        {
            group.push(job);
        }
        let outcome = place.check().and_then(|()| apply_group(&mut connection, &group));
        match outcome {
            Ok(results) => {
                for (job, result) in group.into_iter().zip(results) {
                    let _ = job.answer.send(result); // the caller may have gone; the commit stands
                }
            }
            Err(error) => {
                for job in group {
                    let _ = job.answer.send(Err(error.clone()));
                }
            }
        }
    }
}

type JobResult = Result<Vec<Option<RowVersion>>, StoreError>;

fn apply_group(connection: &mut Connection, group: &[Job]) -> Result<Vec<JobResult>, StoreError> {
    let mut transaction =
        connection.transaction_with_behavior(TransactionBehavior::Immediate).map_err(|error| classify(&error))?;
    let mut results = Vec::with_capacity(group.len());
    for job in group {
        let savepoint = transaction.savepoint().map_err(|error| classify(&error))?;
        let result = apply(&savepoint, job);
        match &result {
            Ok(_) => savepoint.commit().map_err(|error| classify(&error))?,
            Err(StoreError::Conflict { .. }) => drop(savepoint), // rolls back
            Err(fatal) => return Err(fatal.clone()),
        }
        results.push(result);
    }
    transaction.commit().map_err(|error| classify(&error))?;
    Ok(results)
}

fn apply(connection: &Connection, job: &Job) -> JobResult {
    let sql = |error: rusqlite::Error| classify(&error);
    let partition = &job.partition;
    let mut read = connection.prepare_cached("SELECT version FROM rows WHERE partition=?1 AND key=?2").map_err(sql)?;
    for write in &job.writes {
        let found = match &write.expect {
            Expect::Anything => continue,
            expect => {
                let version: Option<i64> =
                    read.query_row(params![partition, write.key], |row| row.get(0)).optional().map_err(sql)?;
                match (expect, version) {
                    (Expect::Absent, Some(_)) => Found::Exists,
                    (Expect::Version(_), None) => Found::Nothing,
                    (Expect::Version(expected), Some(version)) if *expected.0 != *version.to_string() => {
                        Found::OtherVersion
                    }
                    _ => continue,
                }
            }
        };
        return Err(StoreError::Conflict { key: write.key.clone(), found });
    }
    let mut next = connection.prepare_cached("UPDATE counter SET version=version+1 RETURNING version").map_err(sql)?;
    let mut put = connection
        .prepare_cached("INSERT INTO rows VALUES (?1,?2,?3,?4) ON CONFLICT DO UPDATE SET version=excluded.version, json=excluded.json")
        .map_err(sql)?;
    let mut delete = connection.prepare_cached("DELETE FROM rows WHERE partition=?1 AND key=?2").map_err(sql)?;
    let mut versions = Vec::with_capacity(job.writes.len());
    for write in &job.writes {
        if let Some(json) = &write.json {
            let version: i64 = next.query_row([], |row| row.get(0)).map_err(sql)?;
            put.execute(params![partition, write.key, version, json.as_ref()]).map_err(sql)?;
            versions.push(Some(RowVersion(version.to_string().into())));
        } else {
            delete.execute(params![partition, write.key]).map_err(sql)?;
            versions.push(None);
        }
    }
    Ok(versions)
}

/// Says what SQLite's failure means for the caller.
fn classify(error: &rusqlite::Error) -> StoreError {
    use rusqlite::ErrorCode::{CannotOpen, DatabaseCorrupt, DiskFull, NotADatabase, PermissionDenied, ReadOnly};
    match error.sqlite_error_code() {
        Some(DatabaseCorrupt | NotADatabase) => {
            StoreError::Broken { reason: format!("the store's file is damaged ({error})"), remedy: RESTORE }
        }
        Some(DiskFull | ReadOnly | CannotOpen | PermissionDenied) => StoreError::ReadOnly { reason: error.to_string() },
        _ => StoreError::Unavailable { reason: error.to_string() },
    }
}

fn decode_row(row: &rusqlite::Row<'_>) -> rusqlite::Result<Row> {
    let version: i64 = row.get(1)?;
    let json: String = row.get(2)?;
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
        let reader = self.reader.lock().unwrap_or_else(PoisonError::into_inner);
        let mut query = reader
            .prepare_cached("SELECT key, version, json FROM rows WHERE partition=?1 AND key=?2")
            .map_err(|error| classify(&error))?;
        query.query_row(params![partition, key], decode_row).optional().map_err(|error| classify(&error))
    }

    async fn scan(&self, partition: &str, from: &str, to: &str, limit: usize) -> Result<Page, StoreError> {
        let limit = limit.clamp(1, 1000);
        let mut rows = {
            let reader = self.reader.lock().unwrap_or_else(PoisonError::into_inner);
            let mut query = reader
                .prepare_cached(
                    "SELECT key, version, json FROM rows WHERE partition=?1 AND key>=?2 AND key<?3 ORDER BY key LIMIT ?4",
                )
                .map_err(|error| classify(&error))?;
            let limit = i64::try_from(limit + 1).unwrap_or(i64::MAX);
            let found =
                query.query_map(params![partition, from, to, limit], decode_row).map_err(|error| classify(&error))?;
            found.collect::<Result<Vec<_>, _>>().map_err(|error| classify(&error))?
        };
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
        let reader = self.reader.lock().unwrap_or_else(PoisonError::into_inner);
        let mut query = reader
            .prepare_cached("SELECT partition FROM rows WHERE partition>?1 ORDER BY partition LIMIT 1")
            .map_err(|error| classify(&error))?;
        query.query_row(params![after], |row| row.get(0)).optional().map_err(|error| classify(&error))
    }

    fn is_open_elsewhere(&self) -> bool {
        self.others == Others::Some
    }
}
