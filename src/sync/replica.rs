//! A plan in memory, and its partition in the store.
//!
//! A [`PlanHandle`] keeps the decoded rows of one plan. It is a cache: the partition's version row, which every
//! transaction rewrites, tells with one point read whether the cache still holds. All changes go through
//! [`PlanHandle::transact`], which decides on current rows, commits, and only then changes the memory.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::hash::{BuildHasher, Hasher};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use super::model::{ConflictRecord, PlanRecord, TaskRecord};
use super::step::Step;
use crate::ids::{PlanId, PlanKey, PlannerTaskId, TaskId};
use crate::rows::{Expect, Row, RowVersion, StoreError, Tables, Write, scan_prefix};

/// How often a transaction is tried again after another writer was faster.
const MAX_TRIES: usize = 20;

/// The rows of a plan, decoded.
#[derive(Default)]
pub struct Replica {
    /// The plan, once it has been read.
    pub plan: Option<Arc<PlanRecord>>,
    tasks: BTreeMap<TaskId, Entry>,
    by_planner_id: HashMap<PlannerTaskId, TaskId>,
    tombstones: BTreeSet<PlannerTaskId>,
    /// When each task's details were last read by this process.
    details_seen: HashMap<TaskId, DateTime<Utc>>,
    stamp: Option<RowVersion>,
    loaded: bool,
}

struct Entry {
    record: Arc<TaskRecord>,
    version: RowVersion,
}

impl Replica {
    /// All tasks, deleted ones too, in id order.
    pub fn records(&self) -> impl Iterator<Item = &Arc<TaskRecord>> {
        self.tasks.values().map(|entry| &entry.record)
    }

    /// The tasks callers see.
    pub fn live(&self) -> impl Iterator<Item = &Arc<TaskRecord>> {
        self.records().filter(|record| !record.deleted)
    }

    /// A task by our id.
    #[must_use]
    pub fn task(&self, id: &TaskId) -> Option<&Arc<TaskRecord>> {
        self.tasks.get(id).map(|entry| &entry.record)
    }

    /// Our id of a task of Planner.
    #[must_use]
    pub fn id_of(&self, planner_id: &PlannerTaskId) -> Option<&TaskId> {
        self.by_planner_id.get(planner_id)
    }

    /// Whether the task is known to have been deleted.
    #[must_use]
    pub fn is_dead(&self, planner_id: &PlannerTaskId) -> bool {
        self.tombstones.contains(planner_id)
    }

    /// When this process last read the task's details.
    #[must_use]
    pub fn details_seen(&self, id: &TaskId) -> Option<DateTime<Utc>> {
        self.details_seen.get(id).copied()
    }

    fn put(&mut self, record: TaskRecord, version: RowVersion) {
        if let Some(id) = record.planner_id() {
            self.by_planner_id.insert(id.clone(), record.id.clone());
        }
        self.tasks.insert(record.id.clone(), Entry { record: Arc::new(record), version });
    }

    fn remove(&mut self, id: &TaskId) {
        if let Some(entry) = self.tasks.remove(id)
            && let Some(planner_id) = entry.record.planner_id()
        {
            self.by_planner_id.remove(planner_id);
        }
        self.details_seen.remove(id);
    }
}

/// One plan: its partition and its rows in memory.
pub struct PlanHandle {
    /// Planner's id of the plan.
    pub id: PlanId,
    /// The key in its task ids.
    pub key: PlanKey,
    partition: String,
    tables: Arc<dyn Tables>,
    /// Tells this handle's transactions from equal ones of another instance. Only ever compared.
    writer: u64,
    replica: RwLock<Replica>,
    commits: tokio::sync::Mutex<()>,
    /// Held by whoever is refreshing; the time its listing was requested.
    pub(super) refreshed: tokio::sync::Mutex<Option<DateTime<Utc>>>,
    as_of: RwLock<Option<DateTime<Utc>>>,
}

impl PlanHandle {
    /// A handle on a plan's partition; nothing is read yet.
    pub fn new(tenant: &str, id: PlanId, key: PlanKey, tables: Arc<dyn Tables>) -> Self {
        Self {
            partition: format!("{tenant}|{id}"),
            id,
            key,
            tables,
            writer: std::hash::RandomState::new().build_hasher().finish(),
            replica: RwLock::default(),
            commits: tokio::sync::Mutex::default(),
            refreshed: tokio::sync::Mutex::default(),
            as_of: RwLock::default(),
        }
    }

    /// The rows in memory. Hold the guard for synchronous work only.
    pub fn read(&self) -> RwLockReadGuard<'_, Replica> {
        self.replica.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> std::sync::RwLockWriteGuard<'_, Replica> {
        self.replica.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// When the listing this replica rests on was requested from Planner; `None` before the first.
    #[must_use]
    pub fn as_of(&self) -> Option<DateTime<Utc>> {
        *self.as_of.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn set_as_of(&self, as_of: DateTime<Utc>) {
        *self.as_of.write().unwrap_or_else(PoisonError::into_inner) = Some(as_of);
    }

    pub(super) fn note_details_seen(&self, id: &TaskId, at: DateTime<Utc>) {
        self.write().details_seen.insert(id.clone(), at);
    }

    /// Makes the rows in memory those of the store: one point read when nothing has changed.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn ensure_current(&self) -> Result<(), StoreError> {
        let stamp = self.tables.get(&self.partition, "v").await?.map(|row| row.version);
        {
            let replica = self.read();
            if replica.loaded && replica.stamp == stamp {
                return Ok(());
            }
        }
        let _commits = self.commits.lock().await;
        self.load().await
    }

    /// Reads the whole partition. The version row is read first: a commit in between makes the next check fail, and
    /// the partition is read again.
    async fn load(&self) -> Result<(), StoreError> {
        let tables = self.tables.as_ref();
        let stamp = tables.get(&self.partition, "v").await?.map(|row| row.version);
        let mut loaded = Replica { stamp, loaded: true, ..Replica::default() };
        if loaded.stamp.is_some() {
            for row in scan_prefix(tables, &self.partition, "t|").await? {
                let record: TaskRecord = row.decode()?;
                loaded.put(record, row.version);
            }
            for row in scan_prefix(tables, &self.partition, "d|").await? {
                if let Some(id) = row.key.strip_prefix("d|").and_then(|id| PlannerTaskId::parse(id).ok()) {
                    loaded.tombstones.insert(id);
                }
            }
            if let Some(row) = tables.get(&self.partition, "p").await? {
                loaded.plan = Some(Arc::new(row.decode()?));
            }
        }
        let mut replica = self.write();
        loaded.details_seen = std::mem::take(&mut replica.details_seen);
        *replica = loaded;
        Ok(())
    }

    /// Decides on current rows and commits the decision as one entity-group transaction; when another writer was
    /// faster, reads again and decides again. `decide` may run several times and must be pure.
    ///
    /// # Errors
    /// What `decide` refuses, and what the store refuses; then nothing was written.
    pub async fn transact<T, E: From<StoreError>>(
        &self,
        mut decide: impl FnMut(&Replica) -> Result<(Step, T), E>,
    ) -> Result<T, E> {
        let mut tries = 0;
        loop {
            self.ensure_current().await?;
            let _commits = self.commits.lock().await;
            let (step, answer, writes, commit) = {
                let replica = self.read();
                let (step, answer) = decide(&replica)?;
                // A task that is to be created and exists: an earlier try of this call made it, or one with its key.
                if step.is_empty() || step.created().any(|id| replica.task(id).is_some()) {
                    return Ok(answer);
                }
                let (writes, commit) = self.writes(&replica, &step)?;
                (step, answer, writes, commit)
            };
            match self.tables.commit(&self.partition, writes).await {
                Ok(versions) => {
                    self.apply(step, &versions);
                    return Ok(answer);
                }
                Err(error @ (StoreError::Conflict { .. } | StoreError::Unavailable { .. })) => {
                    // The answer may be that of a repetition, or have been lost: the version row tells who was last.
                    if self.is_last(&commit).await? {
                        self.load().await?;
                        return Ok(answer);
                    }
                    // A key row tells of another call with the same idempotency key: trying again cannot help.
                    let hopeless = matches!(&error, StoreError::Conflict { key, .. } if key.starts_with("k|"));
                    if hopeless || !error.is_conflict() || tries == MAX_TRIES {
                        return Err(error.into());
                    }
                    tries += 1;
                    self.load().await?;
                }
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Whether the partition's newest transaction is the one with this digest.
    async fn is_last(&self, commit: &str) -> Result<bool, StoreError> {
        let row = self.tables.get(&self.partition, "v").await?;
        Ok(row.map(|row| row.decode::<Stamp>()).transpose()?.is_some_and(|stamp| stamp.commit == commit))
    }

    /// The rows of a step. Tasks come first and the version row directly after them: [`Self::apply`] counts on it.
    fn writes(&self, replica: &Replica, step: &Step) -> Result<(Vec<Write>, String), StoreError> {
        let expect = |id: &TaskId| match replica.tasks.get(id) {
            Some(entry) => Expect::Version(entry.version.clone()),
            None => Expect::Absent,
        };
        let mut writes = Vec::with_capacity(step.rows() + 8);
        for record in &step.put {
            writes.push(Write::put(format!("t|{}", record.id), expect(&record.id), record)?);
        }
        let stamp = replica.stamp.clone().map_or(Expect::Absent, Expect::Version);
        let version_row = writes.len();
        for record in &step.put {
            if let Some(planner_id) = record.planner_id()
                && replica.id_of(planner_id) != Some(&record.id)
            {
                writes.push(Write::insert(format!("x|{planner_id}"), &record.id)?);
            }
        }
        for id in &step.drop {
            writes.push(Write::delete(format!("t|{id}"), expect(id)));
            if let Some(planner_id) = replica.task(id).and_then(|record| record.planner_id()) {
                writes.push(Write::delete(format!("x|{planner_id}"), Expect::Anything));
            }
        }
        for planner_id in &step.bury {
            writes.push(Write::upsert(format!("d|{planner_id}"), &serde_json::json!({}))?);
        }
        for (task, op) in &step.journal {
            writes.push(Write::insert(op_key(task, op.sequence), op)?);
        }
        for (task, sequence) in &step.finish {
            writes.push(Write::delete(op_key(task, *sequence), Expect::Anything));
        }
        for conflict in &step.conflicts {
            writes.push(Write::upsert(format!("c|{}", conflict.id), conflict)?);
        }
        if let Some(plan) = &step.plan {
            writes.push(Write::upsert("p", plan)?);
        }
        writes.extend(step.rows.iter().cloned());
        let commit = digest(self.writer, &writes, replica.stamp.as_ref());
        writes.insert(version_row, Write::put("v", stamp, &Stamp { plan: self.id.clone(), commit: commit.clone() })?);
        Ok((writes, commit))
    }

    fn apply(&self, step: Step, versions: &[Option<RowVersion>]) {
        let mut replica = self.write();
        let tasks = step.put.len();
        for (record, version) in step.put.into_iter().zip(versions) {
            if let Some(version) = version {
                replica.put(record, version.clone());
            }
        }
        for id in &step.drop {
            replica.remove(id);
        }
        replica.tombstones.extend(step.bury);
        if let Some(plan) = step.plan {
            replica.plan = Some(Arc::new(plan));
        }
        replica.stamp = versions.get(tasks).cloned().flatten();
    }

    /// Reads one row of the partition.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn row(&self, key: &str) -> Result<Option<Row>, StoreError> {
        self.tables.get(&self.partition, key).await
    }

    /// The conflicts of the plan, oldest first.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn conflicts(&self) -> Result<Vec<ConflictRecord>, StoreError> {
        scan_prefix(self.tables.as_ref(), &self.partition, "c|").await?.iter().map(Row::decode).collect()
    }
}

/// The version row of a partition.
#[derive(Serialize, Deserialize)]
struct Stamp {
    plan: PlanId,
    /// Which transaction wrote it: a digest of its writer, its writes and the version it replaced.
    #[serde(default)]
    commit: String,
}

fn digest(writer: u64, writes: &[Write], stamp: Option<&RowVersion>) -> String {
    use sha2::Digest;
    let mut hasher = sha2::Sha256::new();
    hasher.update(writer.to_be_bytes());
    for write in writes {
        hasher.update(write.key.as_bytes());
        hasher.update([0]);
        hasher.update(write.json.as_deref().unwrap_or_default().as_bytes());
        hasher.update([0]);
    }
    hasher.update(stamp.map_or("", |stamp| &stamp.0).as_bytes());
    hasher.finalize().iter().take(12).map(|byte| format!("{byte:02x}")).collect()
}

/// Operations of one task sort by their sequence.
fn op_key(task: &TaskId, sequence: u64) -> String {
    format!("o|{task}|{sequence:010}")
}
