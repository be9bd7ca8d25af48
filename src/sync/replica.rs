//! The rows of a plan, decoded: what every decision is made on.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};

use super::fold::DELETED_THERE;
use super::held::Tasks;
use super::lease::Fence;
use super::model::{Field, LostCreate, LostEdit, PlanRecord, PlanState, TaskRecord, Tombstone};
use super::mutant::{Mutant, is_on};
use super::plan::{Doubt, SETTLE, TOMBSTONE_HOLD};
use super::step::Step;
use crate::ids::{PlannerTaskId, TaskId};
use crate::rows::RowVersion;

/// How long a create that was given up is remembered.
const LOST_RETENTION: TimeDelta = TimeDelta::days(7);
/// How long a task that is gone is remembered: with its plan it comes back at the latest when its group is restored, which
/// Microsoft 365 allows for thirty days.
const TOMBSTONE_RETENTION: TimeDelta = TimeDelta::days(31);
/// Of each, so many are forgotten in one transaction.
const FORGOTTEN: usize = 40;

/// The rows of a plan, decoded.
#[derive(Default)]
pub struct Replica {
    /// The plan, once it has been read.
    pub plan: Option<Arc<PlanRecord>>,
    pub(super) tasks: Tasks,
    pub(super) tombstones: BTreeMap<PlannerTaskId, Tombstone>,
    /// Of the latest tombstones: when this process first received each, by its own clock.
    pub(super) held_tombstones: HashMap<PlannerTaskId, DateTime<Utc>>,
    /// When each task's details were last read by this process.
    pub(super) details_seen: HashMap<TaskId, DateTime<Utc>>,
    /// Creates given up, by their row.
    pub(super) lost: BTreeMap<String, LostCreate>,
    /// Since when, by this process's clock, no call is known to be under way for a task with unanswered attempts.
    pub(super) doubts: HashMap<TaskId, DateTime<Utc>>,
    /// What keeps the plan from being followed.
    pub state: PlanState,
    pub(super) stamp: Option<RowVersion>,
    /// Transactions of the partition so far.
    pub(super) sequence: u64,
    pub(super) fence: Option<Held>,
    pub(super) loaded: bool,
}

/// The fence as this process last saw it.
pub(super) struct Held {
    pub(super) fence: Fence,
    pub(super) version: RowVersion,
    /// When this process first saw it in this version.
    pub(super) seen_at: DateTime<Utc>,
}

impl Replica {
    /// All tasks, deleted ones too, in id order.
    pub fn records(&self) -> impl Iterator<Item = &Arc<TaskRecord>> {
        self.tasks.iter().map(|entry| &entry.record)
    }

    /// The tasks callers see.
    pub fn live(&self) -> impl Iterator<Item = &Arc<TaskRecord>> {
        self.records().filter(|record| !record.deleted)
    }

    /// Whether the plan's tasks have not all been taken in yet: what a pass finds was there before.
    #[must_use]
    pub fn is_first_pass(&self) -> bool {
        self.plan.as_ref().is_some_and(|plan| plan.unlisted)
    }

    /// A task by our id.
    #[must_use]
    pub fn task(&self, id: &TaskId) -> Option<&Arc<TaskRecord>> {
        self.tasks.get(id).map(|entry| &entry.record)
    }

    /// Our id of a task of Planner.
    #[must_use]
    pub fn id_of(&self, planner_id: &PlannerTaskId) -> Option<&TaskId> {
        self.tasks.id_of(planner_id)
    }

    /// What is remembered of a task that is gone.
    #[must_use]
    pub fn tombstone(&self, planner_id: &PlannerTaskId) -> Option<&Tombstone> {
        self.tombstones.get(planner_id)
    }

    /// Whether the task is gone, even if a listing requested at `requested_at` shows it.
    #[must_use]
    pub fn is_dead(&self, planner_id: &PlannerTaskId, requested_at: DateTime<Utc>) -> bool {
        self.held_tombstones.get(planner_id).is_some_and(|heard_at| requested_at < *heard_at + TOMBSTONE_HOLD)
            && !is_on(Mutant::NoTombstones)
    }

    /// Why a task is not there any more whose last change was still on its way; `None` when an agent deleted it.
    pub(super) fn end_of(&self, task: &TaskId) -> Option<&'static str> {
        match self.tombstone_of(task) {
            Some(tombstone) if tombstone.deleted_here => None,
            Some(_) => Some(DELETED_THERE),
            None => Some("the task was deleted or refused before Planner ever had it"),
        }
    }

    /// Which edits of a task that is gone had not lasted.
    pub(super) fn lost_of(&self, task: &TaskId) -> Option<&BTreeMap<Field, LostEdit>> {
        self.tombstone_of(task).map(|tombstone| &tombstone.lost)
    }

    fn tombstone_of(&self, task: &TaskId) -> Option<&Tombstone> {
        self.tombstones.values().find(|tombstone| tombstone.task.as_ref() == Some(task))
    }

    /// How many transactions the partition has seen: the number of its newest event row.
    #[must_use]
    pub fn sequence(&self) -> u64 {
        self.sequence
    }

    /// Whether an instance has calls under way on the plan, as far as is known.
    #[must_use]
    pub fn is_worked_on(&self) -> bool {
        self.fence.as_ref().is_some_and(|held| held.fence.busy)
    }

    /// Creates given up.
    pub fn lost(&self) -> impl Iterator<Item = &LostCreate> {
        self.lost.values()
    }

    /// Forgets what has outlived its use, some of it at a time: creates given up a week ago, which cannot turn up any more,
    /// and tombstones older than thirty-one days: a deleted group can be restored for thirty.
    #[must_use]
    pub fn outlived(&self, now: DateTime<Utc>) -> Step {
        let old_tombstone = |tombstone: &Tombstone| tombstone.at.is_some_and(|at| now - at > TOMBSTONE_RETENTION);
        let tombstones =
            self.tombstones.iter().filter(|(_, tombstone)| old_tombstone(tombstone)).map(|(id, _)| id.clone());
        let lost = self.lost.values().filter(|lost| now - lost.attempt.at > LOST_RETENTION).cloned();
        Step {
            forgotten_tombstones: tombstones.take(FORGOTTEN).collect(),
            found: lost.take(FORGOTTEN).collect(),
            ..Step::default()
        }
    }

    /// Whether a read requested at `requested_at` must show what was sent for a task. Judged by this process's clock
    /// alone: from when it first saw the attempt, or from the end of its own call.
    #[must_use]
    pub fn doubt(&self, id: &TaskId, requested_at: DateTime<Utc>) -> Doubt {
        let settled = is_on(Mutant::NoSettling) || self.doubt_left(id, requested_at).is_zero();
        if settled { Doubt::Settled } else { Doubt::Open }
    }

    /// How long from `now` on until a read must show what was sent for a task: nothing once [`Self::doubt`] has ended.
    #[must_use]
    pub fn doubt_left(&self, id: &TaskId, now: DateTime<Utc>) -> Duration {
        let ends = self.doubts.get(id).map(|since| *since + SETTLE);
        ends.and_then(|ends| (ends - now).to_std().ok()).unwrap_or_default()
    }

    /// When this process last read the task's details.
    #[must_use]
    pub fn details_seen(&self, id: &TaskId) -> Option<DateTime<Utc>> {
        self.details_seen.get(id).copied()
    }

    pub(super) fn put(&mut self, record: TaskRecord, version: RowVersion, now: DateTime<Utc>) {
        let known = self.tasks.get(&record.id).map_or(0, |entry| entry.record.attempts.len());
        if record.attempts.is_empty() {
            self.doubts.remove(&record.id);
        } else if record.attempts.len() > known || !self.doubts.contains_key(&record.id) {
            self.doubts.insert(record.id.clone(), now);
        }
        self.tasks.insert(record, version);
    }

    /// Takes over what only this process knows, from the rows it had read before.
    pub(super) fn carry_over(&mut self, old: &mut Self) {
        self.details_seen = std::mem::take(&mut old.details_seen);
        self.held_tombstones.retain(|id, _| !old.tombstones.contains_key(id));
        self.held_tombstones.extend(std::mem::take(&mut old.held_tombstones));
        if let (Some(known), Some(held)) = (&old.fence, &mut self.fence)
            && known.version == held.version
        {
            held.seen_at = known.seen_at;
        }
        for (id, since) in &mut self.doubts {
            let same = match (self.tasks.get(id), old.tasks.get(id)) {
                (Some(now), Some(before)) => now.record.attempts == before.record.attempts,
                _ => false,
            };
            if let Some(before) = old.doubts.get(id).filter(|_| same) {
                *since = *before;
            }
        }
    }

    pub(super) fn remove(&mut self, id: &TaskId) {
        self.tasks.remove(id);
        self.details_seen.remove(id);
        self.doubts.remove(id);
    }
}
