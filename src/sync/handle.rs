//! A plan: its partition in the store, and its rows in memory.
//!
//! A [`PlanHandle`] keeps the decoded rows of one plan; of plans that are seldom used its tasks may be put away, compressed
//! ([`super::memory`]). It is a cache: the partition's version row, which every
//! transaction rewrites, tells with one point read whether the cache still holds. All changes go through
//! [`PlanHandle::transact`], which decides on current rows, commits, and only then changes the memory. Long because
//! every read and write of a plan's rows passes here.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use futures::future::{try_join3, try_join4};
use parking_lot::{Mutex, RwLock, RwLockReadGuard, RwLockWriteGuard};
use tokio::sync::watch;

use super::announce::OfAll;
use super::details::DetailReads;
use super::event::EventRecord;
use super::frozen::Writing;
use super::held::Counts;
use super::layout::{SHAPE, Stamp, event_key, writes};
use super::lease::{self, Fence, Then, WorkError};
use super::memory::Memory;
use super::model::{ConflictRecord, PlanRecord, TaskRecord};
use super::plan::TOMBSTONE_HOLD;
use super::replica::{Held, Replica};
use super::schedule::Activity;
use super::step::Step;
use crate::clock::Clock;
use crate::crash;
use crate::ids::{PlanId, PlanKey, PlannerTaskId, TaskId};
use crate::rows::{Partition, Row, RowVersion, StoreError, TenantTables};

/// How often a transaction is tried again after another writer was faster.
const MAX_TRIES: usize = 20;
/// How often, and at what distance, a holder that has calls under way is asked again.
const PATIENCE: (usize, Duration) = (8, Duration::from_millis(250));

/// One plan: its partition and its rows in memory.
pub struct PlanHandle {
    /// Planner's id of the plan.
    pub id: PlanId,
    /// The key in its task ids.
    pub key: PlanKey,
    pub(super) rows: Partition,
    /// Names this instance in the lease, and tells its transactions from equal ones of another.
    writer: String,
    clock: Clock,
    /// Pieces of work on the plan under way.
    works: AtomicUsize,
    /// Receives the number of each transaction of this process.
    pub(super) committed: watch::Sender<u64>,
    /// Receives the same, for all plans together.
    pub(super) of_all: Option<OfAll>,
    replica: RwLock<Replica>,
    /// The budget that what is in memory counts against.
    memory: Option<Arc<Memory>>,
    /// The number of its last use, as the budget counts them.
    used: AtomicU64,
    commits: tokio::sync::Mutex<()>,
    /// Held by the caller that is refreshing; the time its listing was requested.
    pub(super) refreshed: tokio::sync::Mutex<Option<DateTime<Utc>>>,
    as_of: RwLock<Option<DateTime<Utc>>>,
    activity: Mutex<Activity>,
    pub(super) writing: Mutex<Writing>,
    pub(super) details: DetailReads,
}

impl PlanHandle {
    /// A handle on a plan's partition; nothing is read yet. `writer` is a name no other instance has.
    pub fn new(tables: &TenantTables, id: PlanId, key: PlanKey, clock: Clock, writer: String) -> Self {
        Self {
            rows: tables.partition(&id),
            id,
            key,
            writer,
            clock,
            works: AtomicUsize::new(0),
            committed: watch::channel(0).0,
            of_all: None,
            replica: RwLock::default(),
            memory: None,
            used: AtomicU64::new(0),
            commits: tokio::sync::Mutex::default(),
            refreshed: tokio::sync::Mutex::default(),
            as_of: RwLock::default(),
            activity: Mutex::default(),
            writing: Mutex::default(),
            details: DetailReads::default(),
        }
    }

    /// The partition of the plan's rows.
    #[must_use]
    pub fn partition(&self) -> &str {
        self.rows.name()
    }

    /// The same handle, whose rows in memory count against a budget, which has to [`Memory::admit`] it.
    #[must_use]
    pub fn within(mut self, memory: Arc<Memory>) -> Self {
        self.memory = Some(memory);
        self
    }

    /// The rows in memory. Tasks that were put away are taken back, which takes milliseconds. Hold the guard for synchronous
    /// work only, and never that of another plan with it.
    pub fn read(&self) -> RwLockReadGuard<'_, Replica> {
        let replica = self.head();
        if !replica.tasks.is_away() {
            return replica;
        }
        drop(replica);
        let replica = RwLockWriteGuard::downgrade(self.write());
        self.weigh(&replica);
        self.make_room();
        replica
    }

    /// Somebody asks for this very plan: its tasks are kept at hand for longer than those of others.
    pub fn note_asked_for(&self) {
        if let Some(memory) = &self.memory {
            self.used.store(memory.next_use(), Ordering::Relaxed);
            drop(self.read());
        }
    }

    /// The rows in memory but for the tasks, which may be away.
    pub(super) fn head(&self) -> RwLockReadGuard<'_, Replica> {
        self.replica.read()
    }

    /// The plan, once it has been read.
    #[must_use]
    pub fn plan(&self) -> Option<Arc<PlanRecord>> {
        self.head().plan.clone()
    }

    /// How many transactions the partition has seen, as far as is known: the number of its newest event row.
    #[must_use]
    pub fn sequence(&self) -> u64 {
        self.head().sequence
    }

    /// The tasks callers see, for questions about many plans: tasks that were put away are read and stay away, and the plan
    /// does not count as asked for.
    #[must_use]
    pub fn tasks_in_passing(&self) -> Vec<Arc<TaskRecord>> {
        let read = self.head().tasks.all();
        let mut tasks = read.unwrap_or_else(|_| self.read().records().cloned().collect());
        tasks.retain(|record| !record.deleted);
        tasks
    }

    /// What is counted of the tasks.
    #[must_use]
    pub fn counts(&self) -> Counts {
        self.head().tasks.counts()
    }

    /// Our id of a task of Planner, if the plan has it.
    #[must_use]
    pub fn id_of(&self, planner_id: &PlannerTaskId) -> Option<TaskId> {
        let replica = self.head();
        if !replica.tasks.is_away() {
            return replica.id_of(planner_id).cloned();
        }
        let may_have = replica.tasks.may_have(planner_id);
        drop(replica);
        if may_have { self.read().id_of(planner_id).cloned() } else { None }
    }

    /// Puts the tasks away if nothing of them is on its way to Planner and nobody is at them.
    pub fn put_away(&self) {
        let Some(mut replica) = self.replica.try_write() else { return };
        let rests = replica.doubts.is_empty() && replica.tasks.counts().pending == 0;
        if rests && replica.tasks.put_away() {
            self.weigh(&replica);
        }
    }

    /// Whether the tasks are at hand; not where somebody changes them, or is about to.
    pub(super) fn is_at_hand(&self) -> bool {
        self.replica.try_read().is_some_and(|replica| !replica.tasks.is_away())
    }

    pub(super) fn last_use(&self) -> u64 {
        self.used.load(Ordering::Relaxed)
    }

    /// Reports to the budget what the rows in memory take now. The guard is still held, so it is exact.
    fn weigh(&self, replica: &Replica) {
        if let Some(memory) = &self.memory {
            memory.enter(&self.id, replica.tasks.bytes());
        }
    }

    /// Has others put away where all plans together take too much.
    fn make_room(&self) {
        if let Some(memory) = &self.memory {
            memory.make_room(&self.id);
        }
    }

    /// Whether the rows were ever read.
    #[must_use]
    pub fn is_loaded(&self) -> bool {
        self.head().loaded
    }

    /// The rows in memory, to be changed, but for the tasks, which may be away.
    pub(super) fn head_mut(&self) -> RwLockWriteGuard<'_, Replica> {
        self.replica.write()
    }

    fn write(&self) -> RwLockWriteGuard<'_, Replica> {
        let mut replica = self.head_mut();
        if let Err(error) = replica.tasks.take_back() {
            tracing::error!(plan = %self.id, error, "tasks in memory cannot be read; they are read from the store again");
            replica.loaded = false;
        }
        replica
    }

    /// When the listing this replica rests on was requested from Planner; `None` before the first.
    #[must_use]
    pub fn as_of(&self) -> Option<DateTime<Utc>> {
        *self.as_of.read()
    }

    pub(super) fn set_as_of(&self, as_of: DateTime<Utc>) {
        *self.as_of.write() = Some(as_of);
    }

    /// What is known of the life of the plan: what its next refresh depends on.
    #[must_use]
    pub fn activity(&self) -> Activity {
        *self.activity.lock()
    }

    /// Notes a sign of life, or the lack of one.
    pub fn note(&self, note: impl FnOnce(&mut Activity)) {
        note(&mut self.activity.lock());
    }

    /// Calls for these tasks have ended, with any outcome: what they sent shows soon, or never.
    pub(super) fn note_calls_ended<'a>(&self, ids: impl Iterator<Item = &'a TaskId>) {
        let now = self.clock.now();
        let mut replica = self.head_mut();
        for id in ids {
            if let Some(since) = replica.doubts.get_mut(id) {
                *since = now;
            }
        }
    }

    /// Makes the rows in memory those of the store: one point read when nothing has changed.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn ensure_current(&self) -> Result<(), StoreError> {
        let stamp = self.rows.get("v").await?.map(|row| row.version);
        {
            let replica = self.head();
            if replica.loaded && replica.stamp == stamp {
                return Ok(());
            }
        }
        let _commits = self.commits.lock().await;
        self.load().await
    }

    /// Reads the whole partition. The version row is read first, then all the rest at once: a commit in between makes
    /// the next check fail, and the partition is read again.
    async fn load(&self) -> Result<(), StoreError> {
        let now = self.clock.now();
        let stamp = self.rows.get("v").await?;
        let mut loaded = Replica { loaded: true, ..Replica::default() };
        if let Some(row) = stamp {
            let stamp: Stamp = row.decode()?;
            if stamp.shape > SHAPE {
                let reason = format!("plan `{}` was written by a newer version of the program", self.id);
                return Err(StoreError::ReadOnly { reason });
            }
            loaded.sequence = stamp.sequence;
            loaded.stamp = Some(row.version);
            let rows = |prefix| self.rows.scan_prefix(prefix);
            let row = |key| self.rows.get(key);
            let (tasks, tombstones, lost, (plan, state, fence)) =
                try_join4(rows("t|"), rows("d|"), rows("l|"), try_join3(row("p"), row("h"), row("f"))).await?;
            for row in tasks {
                let record: TaskRecord = row.decode()?;
                loaded.put(record, row.version, now);
            }
            for row in tombstones {
                if let Some(id) = row.key.strip_prefix("d|").and_then(|id| PlannerTaskId::parse(id).ok()) {
                    loaded.held_tombstones.insert(id.clone(), now);
                    loaded.tombstones.insert(id, row.decode()?);
                }
            }
            for row in lost {
                loaded.lost.insert(row.key.clone(), row.decode()?);
            }
            if let Some(row) = plan {
                loaded.plan = Some(Arc::new(row.decode()?));
            }
            if let Some(row) = state {
                loaded.state = row.decode()?;
            }
            if let Some(row) = fence {
                let fence = row.decode()?;
                let dead = !self.is_loaded() && self.rows.tables().was_alone();
                let seen_at = if dead { now - lease::length() } else { now };
                loaded.fence = Some(Held { fence, version: row.version, seen_at });
            }
        }
        let mut replica = self.head_mut();
        loaded.carry_over(&mut replica);
        *replica = loaded;
        self.weigh(&replica);
        drop(replica);
        self.make_room();
        Ok(())
    }

    /// Decides on current rows and commits the decision as one entity-group transaction; when another writer was
    /// faster, reads again and decides again. `decide` may run several times and must be pure. For callers' own
    /// writes: what follows up on Planner goes through [`Self::follow_up`].
    ///
    /// # Errors
    /// What `decide` refuses, and what the store refuses; then nothing was written.
    pub async fn transact<T, E: From<StoreError>>(
        &self,
        decide: impl FnMut(&Replica) -> Result<(Step, T), E>,
    ) -> Result<T, E> {
        self.note_asked_for();
        match self.commit(None, decide).await? {
            Some(answer) => Ok(answer),
            None => Err(StoreError::Unavailable { reason: "a caller's write met a lease".into() }.into()),
        }
    }

    /// As [`Self::transact`], under the plan's lease: refused while another instance has calls under way.
    ///
    /// # Errors
    /// [`WorkError::Held`] when another instance works on the plan, and what the store refuses; then nothing was
    /// written.
    pub(super) async fn follow_up<T>(
        &self,
        work: &Work<'_>,
        then: Then,
        mut decide: impl FnMut(&Replica) -> (Step, T),
    ) -> Result<T, WorkError> {
        debug_assert!(std::ptr::eq(work.0, self), "the work is on another plan");
        for _ in 0..PATIENCE.0 {
            let done = self.commit(Some(then), |replica: &Replica| Ok::<_, StoreError>(decide(replica))).await?;
            match done {
                Some(answer) => return Ok(answer),
                None => self.clock.sleep(PATIENCE.1).await,
            }
        }
        Err(WorkError::Held)
    }

    /// Announces work on the plan: while it lasts, a transaction that rests does not give the lease away.
    pub(super) fn work(&self) -> Work<'_> {
        self.works.fetch_add(1, Ordering::Relaxed);
        Work(self)
    }

    /// Commits a decision, under the lease where `then` says what follows. `None` while another instance holds it.
    async fn commit<T, E: From<StoreError>>(
        &self,
        then: Option<Then>,
        mut decide: impl FnMut(&Replica) -> Result<(Step, T), E>,
    ) -> Result<Option<T>, E> {
        let mut tries = 0;
        loop {
            self.ensure_current().await?;
            let _commits = self.commits.lock().await;
            drop(self.read());
            if !self.is_loaded() {
                self.load().await?; // what was put away could not be taken back
            }
            let (step, answer, writes, commit, fence) = {
                let replica = self.read();
                let (step, answer) = decide(&replica)?;
                // A task that is to be created and exists: an earlier try of this call made it, or one with its key.
                if step.created().any(|id| replica.task(id).is_some()) {
                    return Ok(Some(answer));
                }
                let fence = match then {
                    None => None,
                    Some(then) => match self.claim(&replica, then) {
                        Some(fence) => Some(fence),
                        None if step.is_empty() && then == Then::Rests => return Ok(Some(answer)),
                        None => return Ok(None),
                    },
                };
                let gives_back = fence.as_ref().is_some_and(|fence| {
                    !fence.busy
                        && replica
                            .fence
                            .as_ref()
                            .is_some_and(|held| held.fence.busy && held.fence.holder == self.writer)
                });
                if step.is_empty() && then != Some(Then::Calls) && !gives_back {
                    return Ok(Some(answer));
                }
                let now = self.clock.now();
                let (writes, commit) = writes(&self.id, &self.writer, &replica, &step, fence.as_ref(), now)?;
                (step, answer, writes, commit, fence)
            };
            match then {
                None => crash::point("write.decided"),
                Some(_) => crash::point("follow_up.decided"),
            }
            match self.rows.commit(writes).await {
                Ok(versions) => {
                    match then {
                        None => crash::point("write.committed"),
                        Some(_) => crash::point("follow_up.committed"),
                    }
                    self.apply(step, fence, &versions);
                    match then {
                        None => crash::point("write.announced"),
                        Some(_) => crash::point("follow_up.announced"),
                    }
                    return Ok(Some(answer));
                }
                Err(error @ (StoreError::Conflict { .. } | StoreError::Unavailable { .. })) => {
                    // The answer may be that of a repetition, or have been lost: the version row tells who was last.
                    if self.happened(&commit).await? {
                        self.load().await?;
                        self.announce_own();
                        return Ok(Some(answer));
                    }
                    // Another call has the same idempotency key, or another instance continues the move.
                    let is_taken = |key: &str| key.starts_with("k|") || key.starts_with("m|");
                    let hopeless = matches!(&error, StoreError::Conflict { key, .. } if is_taken(key));
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

    /// The fence this instance may write now.
    fn claim(&self, replica: &Replica, then: Then) -> Option<Fence> {
        let held = replica.fence.as_ref();
        let unchanged_for = held.map_or(TimeDelta::zero(), |held| self.clock.now() - held.seen_at);
        let busy = then == Then::Calls || self.works.load(Ordering::Relaxed) > 1;
        lease::claim(held.map(|held| &held.fence), &self.writer, unchanged_for, busy)
    }

    /// Whether a transaction whose answer was lost happened: it is the newest, or the event with its number is its own.
    async fn happened(&self, commit: &str) -> Result<bool, StoreError> {
        let row = self.rows.get("v").await?;
        if row.map(|row| row.decode::<Stamp>()).transpose()?.is_some_and(|stamp| stamp.commit == commit) {
            return Ok(true);
        }
        let number = self.sequence() + 1;
        let row = self.rows.get(&event_key(number)).await?;
        Ok(row.map(|row| row.decode::<EventRecord>()).transpose()?.is_some_and(|event| event.commit == commit))
    }

    fn apply(&self, step: Step, fence: Option<Fence>, versions: &[Option<RowVersion>]) {
        let now = self.clock.now();
        let mut replica = self.write();
        let tasks = step.put.len();
        for (record, version) in step.put.into_iter().zip(versions) {
            if let Some(version) = version {
                replica.put(record, version.clone(), now);
            }
        }
        for id in &step.drop {
            replica.remove(id);
        }
        replica.held_tombstones.retain(|_, heard_at| now < *heard_at + TOMBSTONE_HOLD);
        replica.held_tombstones.extend(step.tombstones.iter().map(|(id, _)| (id.clone(), now)));
        replica.tombstones.extend(step.tombstones);
        for planner_id in &step.forgotten_tombstones {
            replica.tombstones.remove(planner_id);
        }
        replica.lost.extend(step.lost.into_iter().map(|create| (create.key(), create)));
        for create in &step.found {
            replica.lost.remove(&create.key());
        }
        if let Some(plan) = step.plan {
            replica.plan = Some(Arc::new(plan));
        }
        if let Some(state) = step.state {
            replica.state = state;
        }
        replica.stamp = versions.get(tasks).cloned().flatten();
        replica.sequence += 1;
        if let (Some(fence), Some(version)) = (fence, versions.get(tasks + 1).cloned().flatten()) {
            replica.fence = Some(Held { fence, version, seen_at: now });
        }
        self.weigh(&replica);
        drop(replica);
        self.make_room();
        self.announce_own();
    }

    /// Reads one row of the partition.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn row(&self, key: &str) -> Result<Option<Row>, StoreError> {
        self.rows.get(key).await
    }

    /// The conflicts of the plan, oldest first.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn conflicts(&self) -> Result<Vec<ConflictRecord>, StoreError> {
        self.rows.scan_prefix("c|").await?.iter().map(Row::decode).collect()
    }
}

/// Work on a plan that may make calls; ends when it is dropped.
pub(super) struct Work<'a>(&'a PlanHandle);

impl Drop for Work<'_> {
    fn drop(&mut self) {
        self.0.works.fetch_sub(1, Ordering::Relaxed);
    }
}
