//! A step: everything one decision about a plan writes, in the engine's words.

use super::model::{ConflictRecord, LostCreate, OpKind, OpRecord, PlanRecord, PlanState, TaskRecord, Tombstone};
use crate::ids::{PlannerTaskId, TaskId};
use crate::rows::Write;

/// One transaction on a plan, in the engine's words. Nothing in it is optional once committed.
#[derive(Default)]
pub struct Step {
    /// Tasks written.
    pub put: Vec<TaskRecord>,
    /// Tasks removed.
    pub drop: Vec<TaskId>,
    /// Planner ids that no old listing may bring back.
    pub tombstones: Vec<(PlannerTaskId, Tombstone)>,
    /// Planner ids of tasks that are there again.
    pub forgotten_tombstones: Vec<PlannerTaskId>,
    /// Operations journalled, with their task.
    pub journal: Vec<(TaskId, OpRecord)>,
    /// Operations finished.
    pub finish: Vec<(TaskId, u64)>,
    /// Conflicts decided.
    pub conflicts: Vec<ConflictRecord>,
    /// Creates given up.
    pub lost: Vec<LostCreate>,
    /// Creates given up whose result has turned up, or which are too old to.
    pub found: Vec<LostCreate>,
    /// The plan's own row.
    pub plan: Option<PlanRecord>,
    /// What keeps the plan from being followed, where that changes.
    pub state: Option<PlanState>,
    /// Rows of the caller, such as the memory of an idempotency key.
    pub rows: Vec<Write>,
}

impl Step {
    /// Whether there is nothing to commit.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.rows() == 0
    }

    /// How many rows the step writes, its version, fence, event and reverse-map rows not counted.
    #[must_use]
    pub fn rows(&self) -> usize {
        self.put.len()
            + self.drop.len()
            + self.tombstones.len()
            + self.forgotten_tombstones.len()
            + self.journal.len()
            + self.finish.len()
            + self.conflicts.len()
            + self.lost.len()
            + self.found.len()
            + usize::from(self.plan.is_some())
            + usize::from(self.state.is_some())
            + self.rows.len()
    }

    /// The operation it journals, where it is a caller's.
    #[must_use]
    pub fn op(&self) -> Option<OpRecord> {
        self.journal.first().map(|(_, op)| op.clone())
    }

    /// The tasks the step creates.
    pub(super) fn created(&self) -> impl Iterator<Item = &TaskId> {
        self.journal.iter().filter(|(_, op)| op.kind == OpKind::Create).map(|(id, _)| id)
    }

    /// Adds what another step does.
    pub fn append(&mut self, other: Self) {
        self.put.extend(other.put);
        self.drop.extend(other.drop);
        self.tombstones.extend(other.tombstones);
        self.forgotten_tombstones.extend(other.forgotten_tombstones);
        self.journal.extend(other.journal);
        self.finish.extend(other.finish);
        self.conflicts.extend(other.conflicts);
        self.lost.extend(other.lost);
        self.found.extend(other.found);
        self.plan = other.plan.or(self.plan.take());
        self.state = other.state.or(self.state.take());
        self.rows.extend(other.rows);
    }
}
