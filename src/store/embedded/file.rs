//! The file of an embedded store: how it is opened, what is in it, whose it is, and what its failures mean.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::{Connection, OptionalExtension, TransactionBehavior};

use crate::os;
use crate::rows::StoreError;

/// The version of the file's schema. A file of a newer version is refused, an older one is migrated.
const SCHEMA_VERSION: i64 = 2;
/// What a file of that version has. The view is for people who read the file with other tools.
const SCHEMA: &str = "
    CREATE TABLE partitions (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE) STRICT;
    CREATE TABLE stored (
      partition INTEGER NOT NULL, key TEXT NOT NULL, version INTEGER NOT NULL, json TEXT NOT NULL,
      UNIQUE (partition, key)) STRICT;
    CREATE VIEW rows AS
      SELECT name AS partition, key, version, json FROM stored JOIN partitions ON id = stored.partition;
    CREATE TABLE IF NOT EXISTS counter (only INTEGER PRIMARY KEY CHECK (only = 1), version INTEGER NOT NULL) STRICT;
    INSERT OR IGNORE INTO counter VALUES (1, 0);
    PRAGMA user_version=2;";
/// Takes over the rows of a file of version 1, which named the partition in each.
const FROM_VERSION_1: &str = "
    INSERT INTO partitions (name) SELECT DISTINCT partition FROM former ORDER BY partition;
    INSERT INTO stored
      SELECT id, key, version, json FROM former JOIN partitions ON name = former.partition ORDER BY id, key;
    DROP TABLE former;";
/// Bytes of a page of a new file. An existing file keeps its own.
const PAGE: usize = 1_024;
/// Bytes of the log that are folded into the file at once.
const CHECKPOINT: i64 = 16_000_000;
/// How long a writer waits for another process to finish its transaction.
const BUSY_TIMEOUT: Duration = Duration::from_secs(10);
/// What an operator does about content that is damaged.
pub(super) const RESTORE: &str =
    "stop the server, move the data folder away, and bring a backup back with `graphgate store import`";

/// One side of the store: a connection, and the numbers of the partitions it has met. They never change.
pub(super) struct Side {
    pub(super) connection: Connection,
    pub(super) partitions: HashMap<String, i64>,
}

impl Side {
    pub(super) fn new(connection: Connection) -> Self {
        Self { connection, partitions: HashMap::new() }
    }

    /// The number of a partition; `None` while it has never had a row.
    pub(super) fn partition(&mut self, name: &str) -> rusqlite::Result<Option<i64>> {
        if let Some(number) = self.partitions.get(name) {
            return Ok(Some(*number));
        }
        let mut read = self.connection.prepare_cached("SELECT id FROM partitions WHERE name=?1")?;
        let found = read.query_row([name], |row| row.get(0)).optional()?;
        if let Some(number) = found {
            self.partitions.insert(name.to_owned(), number);
        }
        Ok(found)
    }
}

/// The files of a store; SQLite makes those beside the first with its mode.
const FILES: [&str; 4] = ["graphgate.db", "graphgate.db-wal", "graphgate.db-shm", "graphgate.lock"];

/// Takes the store from everybody but its owner: in it are the tenant's tasks and what signs download links. One on a disk
/// that has no modes, or that belongs to another user, is used as it is.
pub(super) fn make_private(folder: &Path) {
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
pub(super) enum Others {
    None,
    Some,
    /// The file system has no locks, or is read-only.
    Unknown,
}

/// Takes a shared lock that lasts as long as the process, and tells whether somebody else had one.
pub(super) fn announce(file: &Path) -> (Option<std::fs::File>, Others) {
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
/// continues as if nothing had happened.
pub(super) struct Place {
    file: PathBuf,
    identity: Option<(u64, u64)>,
}

impl Place {
    pub(super) fn of(file: &Path) -> Self {
        Self { file: file.to_owned(), identity: identity(file) }
    }

    pub(super) fn check(&self) -> Result<(), StoreError> {
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

pub(super) fn connect(file: &Path) -> Result<Connection, StoreError> {
    let connection = Connection::open(file).map_err(|error| classify(&error))?;
    connection.busy_timeout(BUSY_TIMEOUT).map_err(|error| classify(&error))?;
    let settings =
        format!("PRAGMA page_size={PAGE}; PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL; PRAGMA cache_size=-2000;");
    let set = connection.execute_batch(&settings).and_then(|()| {
        // A file that was made before has pages of its own size.
        let page: i64 = connection.query_row("PRAGMA page_size", [], |row| row.get(0))?;
        connection.execute_batch(&format!("PRAGMA wal_autocheckpoint={};", CHECKPOINT / page.max(512)))
    });
    set.map_err(|error| classify(&error))?;
    Ok(connection)
}

/// The version of a file's schema; 0 for a new one.
fn version(connection: &Connection) -> Result<i64, StoreError> {
    connection.query_row("PRAGMA user_version", [], |row| row.get(0)).map_err(|error| classify(&error))
}

/// Makes the file one of this version.
///
/// # Errors
/// When it is of a newer one, or of an older one that another process still uses.
pub(super) fn migrate(connection: &mut Connection, others: Others) -> Result<(), StoreError> {
    let found = version(connection)?;
    if (1..SCHEMA_VERSION).contains(&found) && others == Others::Some {
        return Err(StoreError::Broken {
            reason: format!("the store is of an older version (schema {found}) and another process has it open"),
            remedy: "stop every server and session that uses this data folder, then start again",
        });
    }
    if found > SCHEMA_VERSION {
        return Err(StoreError::Broken {
            reason: format!(
                "the store was written by a newer version (schema {found}, this program knows {SCHEMA_VERSION})"
            ),
            remedy: "run that version, or bring back a backup made before it",
        });
    }
    if found < SCHEMA_VERSION {
        // Another process may have done it by now.
        let transaction =
            connection.transaction_with_behavior(TransactionBehavior::Immediate).map_err(|error| classify(&error))?;
        let steps = match version(&transaction)? {
            SCHEMA_VERSION.. => String::new(),
            1 => format!("ALTER TABLE rows RENAME TO former; {SCHEMA} {FROM_VERSION_1}"),
            _ => SCHEMA.to_owned(),
        };
        transaction.execute_batch(&steps).map_err(|error| classify(&error))?;
        transaction.commit().map_err(|error| classify(&error))?;
    }
    Ok(())
}

/// Says what SQLite's failure means for the caller.
pub(super) fn classify(error: &rusqlite::Error) -> StoreError {
    use rusqlite::ErrorCode::{CannotOpen, DatabaseCorrupt, DiskFull, NotADatabase, PermissionDenied, ReadOnly};
    match error.sqlite_error_code() {
        Some(DatabaseCorrupt | NotADatabase) => {
            StoreError::Broken { reason: format!("the store's file is damaged ({error})"), remedy: RESTORE }
        }
        Some(DiskFull | ReadOnly | CannotOpen | PermissionDenied) => StoreError::ReadOnly { reason: error.to_string() },
        _ => StoreError::Unavailable { reason: error.to_string() },
    }
}
