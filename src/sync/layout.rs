//! Which rows a plan's partition holds, and what a step makes of them.
//!
//! | row | holds |
//! |---|---|
//! | `v` | the version stamp every transaction rewrites; counts them |
//! | `f` | the lease: who may follow up on Planner |
//! | `p` | the plan: title, buckets, labels |
//! | `h` | what keeps the plan from being followed |
//! | `t\|id` | a task, and what Planner is known to have of it where that differs |
//! | `o\|id\|n` | an operation that has not arrived |
//! | `l\|id\|time` | a create given up |
//! | `d\|planner id` | a task that is gone |
//! | `c\|time-…` | a conflict decided |
//! | `e\|n` | what transaction n changed |
//! | `w` | up to which number events have been deleted |
//! | `a\|id…` | that an operation of a caller did something here, until the audit log has its row |
//! | `k\|key` | what a call with an idempotency key did |
//! | `m\|id` | what of a task of another plan, which is being moved here, its copy has |
//!
//! No row leads from an id of Planner to ours: every transaction rewrites `v`, so none is decided on rows in which a task
//! of Planner has no task here while it has one. (Older versions kept such rows, `x|planner id`; they are not read.)

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use super::event::{self, EventRecord};
use super::lease::Fence;
use super::model::{ConflictRecord, Side};
use super::mutant::{Mutant, is_on};
use super::replica::Replica;
use super::step::Step;
use crate::ids::{PlanId, TaskId};
use crate::rows::{Expect, RowVersion, StoreError, Write};

/// The shape of the rows this program writes; a partition of a newer shape is refused.
pub(super) const SHAPE: u32 = 1;

/// The version row of a partition.
#[derive(Serialize, Deserialize)]
pub(super) struct Stamp {
    pub(super) plan: PlanId,
    /// Which transaction wrote it: a digest of its writer, its writes and the version it replaced.
    #[serde(default)]
    pub(super) commit: String,
    /// Counts the transactions.
    #[serde(default)]
    pub(super) sequence: u64,
    /// The shape of the partition's rows.
    #[serde(default)]
    pub(super) shape: u32,
}

/// The rows of a step. Tasks come first, then the version row and the fence: [`super::PlanHandle`] counts on it.
pub(super) fn writes(
    plan: &PlanId,
    writer: &str,
    replica: &Replica,
    step: &Step,
    fence: Option<&Fence>,
    now: DateTime<Utc>,
) -> Result<(Vec<Write>, String), StoreError> {
    let expect = |id: &TaskId| match replica.tasks.get(id) {
        _ if is_on(Mutant::NoVersionCheck) => Expect::Anything,
        Some(entry) => Expect::Version(entry.version.clone()),
        None => Expect::Absent,
    };
    let mut writes = Vec::with_capacity(step.rows() + 8);
    for record in &step.put {
        writes.push(Write::put(format!("t|{}", record.id), expect(&record.id), record)?);
    }
    let stamp = replica.stamp.clone().map_or(Expect::Absent, Expect::Version);
    let stamp = if is_on(Mutant::NoVersionCheck) { Expect::Anything } else { stamp };
    let version_row = writes.len();
    for id in &step.drop {
        writes.push(Write::delete(format!("t|{id}"), expect(id)));
    }
    for (planner_id, tombstone) in step.tombstones.iter().filter(|_| !is_on(Mutant::NoTombstones)) {
        writes.push(Write::upsert(format!("d|{planner_id}"), tombstone)?);
    }
    for planner_id in &step.forgotten_tombstones {
        writes.push(Write::delete(format!("d|{planner_id}"), Expect::Anything));
    }
    for (task, op) in step.journal.iter().filter(|_| !is_on(Mutant::NoJournalRow)) {
        writes.push(Write::insert(op_key(task, op.sequence), op)?);
    }
    for (task, sequence) in &step.finish {
        writes.push(Write::delete(op_key(task, *sequence), Expect::Anything));
    }
    let logged = |conflict: &&ConflictRecord| {
        !(is_on(Mutant::NoConflictLog) || (is_on(Mutant::NoLogWherePlannerWins) && conflict.winner == Side::Planner))
    };
    for conflict in step.conflicts.iter().filter(logged) {
        writes.push(Write::upsert(format!("c|{}", conflict.id), conflict)?);
    }
    for create in &step.lost {
        writes.push(Write::upsert(create.key(), create)?);
    }
    for create in &step.found {
        writes.push(Write::delete(create.key(), Expect::Anything));
    }
    if let Some(plan) = &step.plan {
        writes.push(Write::upsert("p", plan)?);
    }
    if let Some(state) = &step.state {
        writes.push(Write::upsert("h", state)?);
    }
    writes.extend(step.rows.iter().cloned());
    let commit = digest(writer, &writes, replica.stamp.as_ref());
    let sequence = replica.sequence + 1;
    let changes = event::changes(replica, step);
    if !changes.is_empty() && !is_on(Mutant::NoEvents) {
        let event = EventRecord { at: now, commit: commit.clone(), changes };
        writes.push(Write::insert(event_key(sequence), &event)?);
    }
    if let Some(fence) = fence {
        let known = replica.fence.as_ref().map_or(Expect::Absent, |held| Expect::Version(held.version.clone()));
        let known = if is_on(Mutant::NoFence) { Expect::Anything } else { known };
        writes.insert(version_row, Write::put("f", known, fence)?);
    }
    let next = Stamp { plan: plan.clone(), commit: commit.clone(), sequence, shape: SHAPE };
    writes.insert(version_row, Write::put("v", stamp, &next)?);
    Ok((writes, commit))
}

pub(super) fn digest(writer: &str, writes: &[Write], stamp: Option<&RowVersion>) -> String {
    use sha2::Digest;
    let mut hasher = sha2::Sha256::new();
    hasher.update(writer);
    for write in writes {
        hasher.update(write.key.as_bytes());
        hasher.update([0]);
        hasher.update(write.json.as_deref().unwrap_or_default().as_bytes());
        hasher.update([0]);
    }
    hasher.update(stamp.map_or("", |stamp| &stamp.0).as_bytes());
    hasher.finalize().iter().take(12).map(|byte| format!("{byte:02x}")).collect()
}

/// More transactions than a plan will ever have: the largest number whose successor has a key of an event, too.
pub(super) const LARGEST_NUMBER: u64 = 999_999_999_998;

/// Events of a plan sort by the transaction they belong to.
pub(super) fn event_key(sequence: u64) -> String {
    format!("e|{sequence:012}")
}

/// Operations of one task sort by their sequence.
pub(super) fn op_key(task: &TaskId, sequence: u64) -> String {
    format!("o|{task}|{sequence:010}")
}
