//! The store as one file: a backup, and the way from one backend to another.
//!
//! The file is text, a JSON object a line: a head that says what it is, every row with its partition, and a foot with the
//! number of rows and a digest of everything before. Rows are copied as they are, byte for byte, one page in memory at a
//! time. A plan that is written to meanwhile is read again until it holds still, so that no plan is torn; between plans
//! nothing needs to agree. The keyring signs cursors and addresses of files, and is left out unless it is asked for.

use std::fs::File;
use std::io::{BufRead, BufReader, BufWriter, Read, Seek, SeekFrom, Write as _};
use std::path::Path;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use sha2::{Digest, Sha256};

use super::Error;
use crate::clock::Clock;
use crate::error::ErrorCode;
use crate::rows::{Expect, MAX_ROWS_PER_COMMIT, RowVersion, StoreError, Whole, Write};

const FORMAT: &str = "graphgate-store";
/// The version of the format; a file of a newer one is refused.
const VERSION: u32 = 1;
/// Greater than every key there is.
const AFTER_ALL: &str = "\u{fffd}";
/// Rows read at once.
const PAGE: usize = 500;
/// Bytes committed at once: far below what a store takes, however it counts characters.
const BATCH: usize = 1024 * 1024;
/// How often a partition that changes under our hands is read.
const TRIES: usize = 5;
/// The longest line: a row is at most 1 MiB, and its keys are short.
const LONGEST_LINE: u64 = 8 * 1024 * 1024;

/// Whether the keyring of the deployment goes along.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Keys {
    /// It does: the file is a secret.
    Included,
    /// It does not: the other deployment makes or has its own.
    LeftOut,
}

/// What to do with what the store already has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Existing {
    /// There must be nothing.
    Refuse,
    /// Partitions of the file take the place of those of the store; others stay.
    Replace,
}

/// What was copied.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Transferred {
    /// Partitions, such as one for each plan.
    pub partitions: usize,
    /// Rows.
    pub rows: u64,
    /// Bytes of the file.
    pub bytes: u64,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Head {
    format: String,
    version: u32,
    tenant: String,
    at: chrono::DateTime<chrono::Utc>,
}

#[derive(Serialize)]
struct Line<'a> {
    p: &'a str,
    k: &'a str,
    v: &'a RawValue,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    p: String,
    k: String,
    v: Box<RawValue>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Foot {
    rows: u64,
    sha256: String,
}

/// The store of a deployment.
pub struct Transfer {
    store: Arc<dyn Whole>,
    tenant: String,
    clock: Clock,
}

impl Transfer {
    /// The store of a tenant's deployment.
    #[must_use]
    pub fn new(store: Arc<dyn Whole>, tenant: &str, clock: Clock) -> Self {
        Self { store, tenant: tenant.to_owned(), clock }
    }

    /// Whether a server, or another such command, has the store open.
    #[must_use]
    pub fn is_in_use(&self) -> bool {
        self.store.is_open_elsewhere()
    }

    /// Writes everything to a file, which appears whole or not at all.
    ///
    /// # Errors
    /// When the store cannot be read, a plan keeps changing, or the file cannot be written.
    pub async fn export(&self, path: &Path, keys: Keys) -> Result<Transferred, Error> {
        let beside = path.with_added_extension("partial");
        let unwritable = |error: std::io::Error| cannot("written", path, &error);
        let mut out = Out::create(&beside).map_err(unwritable)?;
        let head =
            Head { format: FORMAT.to_owned(), version: VERSION, tenant: self.tenant.clone(), at: self.clock.now() };
        out.line(&head).map_err(unwritable)?;
        let (mut partitions, mut last) = (0, String::new());
        while let Some(partition) = self.store.next_partition(&last).await? {
            last.clone_from(&partition);
            if keys == Keys::Included || partition != self.keyring() {
                self.copy(&partition, &mut out, path).await?;
                partitions += 1;
            }
        }
        let foot = Foot { rows: out.rows, sha256: out.digest() };
        out.line(&foot).map_err(unwritable)?;
        let bytes = out.finish().map_err(unwritable)?;
        std::fs::rename(&beside, path).map_err(unwritable)?;
        Ok(Transferred { partitions, rows: foot.rows, bytes })
    }

    /// Copies a partition as it is at one moment.
    async fn copy(&self, partition: &str, out: &mut Out, path: &Path) -> Result<(), Error> {
        let unwritable = |error: std::io::Error| cannot("written", path, &error);
        let mark = out.mark().map_err(unwritable)?;
        for _ in 0..TRIES {
            let before = self.stamp(partition).await?;
            let mut from = Some(String::new());
            while let Some(start) = from {
                let page = self.store.scan(partition, &start, AFTER_ALL, PAGE).await?;
                for row in &page.rows {
                    let value = serde_json::from_str(&row.json)
                        .map_err(|source| StoreError::Damaged { key: row.key.clone(), source: Arc::new(source) })?;
                    out.line(&Line { p: partition, k: &row.key, v: value }).map_err(unwritable)?;
                    out.rows += 1;
                }
                from = page.next;
            }
            if before == self.stamp(partition).await? {
                return Ok(());
            }
            out.back_to(&mark).map_err(unwritable)?;
        }
        let message = format!("partition `{partition}` keeps changing; the export has stopped");
        Err(Error::new(ErrorCode::Conflict, message).hint("stop the servers, or try again when they have less to do"))
    }

    /// The version of the row that every transaction of a plan rewrites.
    async fn stamp(&self, partition: &str) -> Result<Option<RowVersion>, StoreError> {
        Ok(self.store.get(partition, "v").await?.map(|row| row.version))
    }

    fn keyring(&self) -> String {
        format!("{}|keys", self.tenant)
    }

    /// Reads a file into the store. The whole file is checked before the first row is written.
    ///
    /// # Errors
    /// When the file is damaged, of a newer version or of another tenant, the store is not empty, or it fails; after a
    /// failure of the store, repeating the import with [`Existing::Replace`] completes it.
    pub async fn import(&self, path: &Path, existing: Existing) -> Result<Transferred, Error> {
        let foot = self.check(path)?;
        if existing == Existing::Refuse && !self.is_empty().await? {
            let message = "the store is not empty";
            return Err(Error::new(ErrorCode::Conflict, message)
                .hint("`--replace` puts the file's partitions in the place of the store's"));
        }
        let mut input = In::open(path).map_err(|error| cannot("read", path, &error))?;
        input.line().map_err(|error| cannot("read", path, &error))?;
        let mut batch = Batch::default();
        let mut partitions = 0;
        for _ in 0..foot.rows {
            let line = input.line().map_err(|error| cannot("read", path, &error))?;
            let entry: Entry = serde_json::from_str(line).map_err(|_| damaged(path, "a row cannot be read"))?;
            if entry.p != batch.partition {
                self.flush(&mut batch).await?;
                self.clear(&entry.p).await?;
                batch.partition.clone_from(&entry.p);
                partitions += 1;
            }
            if !batch.takes(&entry) {
                self.flush(&mut batch).await?;
            }
            batch.push(entry);
        }
        self.flush(&mut batch).await?;
        Ok(Transferred { partitions, rows: foot.rows, bytes: input.bytes })
    }

    async fn is_empty(&self) -> Result<bool, StoreError> {
        let mut last = String::new();
        while let Some(partition) = self.store.next_partition(&last).await? {
            // A server that was started once has made itself a keyring.
            if partition != self.keyring() {
                return Ok(false);
            }
            last = partition;
        }
        Ok(true)
    }

    async fn flush(&self, batch: &mut Batch) -> Result<(), StoreError> {
        let writes = std::mem::take(&mut batch.writes);
        batch.bytes = 0;
        if !writes.is_empty() {
            self.store.commit(&batch.partition, writes).await?;
        }
        Ok(())
    }

    /// Deletes the rows of a partition.
    async fn clear(&self, partition: &str) -> Result<(), StoreError> {
        loop {
            let page = self.store.scan(partition, "", AFTER_ALL, MAX_ROWS_PER_COMMIT).await?;
            if page.rows.is_empty() {
                return Ok(());
            }
            let deletions = page.rows.into_iter().map(|row| Write::delete(row.key, Expect::Anything)).collect();
            self.store.commit(partition, deletions).await?;
        }
    }

    /// Reads the whole file once: it is ours, and as it was written.
    fn check(&self, path: &Path) -> Result<Foot, Error> {
        let unreadable = |error: std::io::Error| cannot("read", path, &error);
        let mut input = In::open(path).map_err(unreadable)?;
        let head: Head = serde_json::from_str(input.line().map_err(unreadable)?)
            .ok()
            .filter(|head: &Head| head.format == FORMAT)
            .ok_or_else(|| damaged(path, "it is no export of a store"))?;
        if head.version > VERSION {
            let why = format!("it is of version {}, and this program knows {VERSION}", head.version);
            return Err(damaged(path, &why).hint("import it with the program that wrote it, or a newer one"));
        }
        if head.tenant != self.tenant {
            let why = format!("it is of tenant `{}`, and this deployment is of `{}`", head.tenant, self.tenant);
            return Err(damaged(path, &why).hint("set `AZURE_TENANT_ID`"));
        }
        let mut rows = 0;
        loop {
            let digest = input.digest();
            let line = input.line().map_err(unreadable)?;
            if line.is_empty() {
                return Err(damaged(path, "its end is missing"));
            }
            if let Ok(foot) = serde_json::from_str::<Foot>(line) {
                let whole = foot.rows == rows && foot.sha256 == digest;
                let last = input.line().map_err(unreadable)?.is_empty();
                return if whole && last {
                    Ok(foot)
                } else {
                    Err(damaged(path, "its digest does not fit its content"))
                };
            }
            serde_json::from_str::<Entry>(line).map_err(|_| damaged(path, "a row cannot be read"))?;
            rows += 1;
        }
    }
}

/// Rows that are committed together.
#[derive(Default)]
struct Batch {
    partition: String,
    writes: Vec<Write>,
    bytes: usize,
}

impl Batch {
    fn takes(&self, entry: &Entry) -> bool {
        self.writes.len() < MAX_ROWS_PER_COMMIT && self.bytes + entry.v.get().len() <= BATCH
    }

    fn push(&mut self, entry: Entry) {
        self.bytes += entry.v.get().len();
        self.writes.push(Write { key: entry.k, expect: Expect::Anything, json: Some(entry.v.get().into()) });
    }
}

/// A file that is written, and the digest of what is in it.
struct Out {
    file: BufWriter<File>,
    digest: Sha256,
    rows: u64,
}

/// A place in a file to come back to.
struct Mark {
    place: u64,
    digest: Sha256,
    rows: u64,
}

impl Out {
    fn create(path: &Path) -> std::io::Result<Self> {
        let file = crate::os::private_file().truncate(true).open(path)?;
        Ok(Self { file: BufWriter::new(file), digest: Sha256::new(), rows: 0 })
    }

    fn line(&mut self, value: &impl Serialize) -> std::io::Result<()> {
        let mut line = serde_json::to_vec(value)?;
        line.push(b'\n');
        self.digest.update(&line);
        self.file.write_all(&line)
    }

    fn digest(&self) -> String {
        hex(&self.digest)
    }

    fn mark(&mut self) -> std::io::Result<Mark> {
        Ok(Mark { place: self.file.stream_position()?, digest: self.digest.clone(), rows: self.rows })
    }

    fn back_to(&mut self, mark: &Mark) -> std::io::Result<()> {
        self.file.seek(SeekFrom::Start(mark.place))?;
        self.file.get_ref().set_len(mark.place)?;
        (self.digest, self.rows) = (mark.digest.clone(), mark.rows);
        Ok(())
    }

    fn finish(mut self) -> std::io::Result<u64> {
        self.file.flush()?;
        self.file.get_ref().sync_all()?;
        self.file.stream_position()
    }
}

/// A file that is read, line by line.
struct In {
    file: BufReader<File>,
    digest: Sha256,
    line: String,
    bytes: u64,
}

impl In {
    fn open(path: &Path) -> std::io::Result<Self> {
        Ok(Self { file: BufReader::new(File::open(path)?), digest: Sha256::new(), line: String::new(), bytes: 0 })
    }

    /// The next line; empty at the end.
    fn line(&mut self) -> std::io::Result<&str> {
        self.line.clear();
        let read = (&mut self.file).take(LONGEST_LINE).read_line(&mut self.line)?;
        self.bytes += read as u64;
        self.digest.update(&self.line);
        Ok(self.line.trim_end_matches('\n'))
    }

    /// The digest of everything read.
    fn digest(&self) -> String {
        hex(&self.digest)
    }
}

fn hex(digest: &Sha256) -> String {
    digest.clone().finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}

fn cannot(what: &str, path: &Path, error: &std::io::Error) -> Error {
    Error::invalid(format!("`{}` cannot be {what}: {error}", path.display()))
}

fn damaged(path: &Path, why: &str) -> Error {
    Error::invalid(format!("`{}` cannot be imported: {why}", path.display()))
}
