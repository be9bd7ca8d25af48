//! Tasks a listing shows and no row knows: people's, restored ones, and second copies of our own. Pure.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use thin_vec::{ThinVec, thin_vec};

use super::conflict::whole_task_conflict;
use super::model::{ConflictKind, LostCreate, OpKind, OpRecord, Remote, THE_ENGINE, TaskRecord, Tombstone};
use super::mutant::{Mutant, is_on};
use super::ports::RemoteTask;
use super::step::Step;
use crate::ids::{PlanKey, TaskId};

/// A task that was gone is there again: a person restored it, or the group it was deleted with.
pub(super) fn revive(mut record: TaskRecord, tombstone: &Tombstone, at: DateTime<Utc>) -> Step {
    record.id = tombstone.task.clone().unwrap_or(record.id);
    let mut step = Step { forgotten_tombstones: record.planner_id().cloned().into_iter().collect(), ..Step::default() };
    if tombstone.deleted_here {
        let reason = "deleted here, and there again in Planner";
        step.conflicts.push(whole_task_conflict(&record, ConflictKind::DeletedWhileEdited, reason, at));
    }
    step.put.push(record);
    step
}

/// The second copy of a task is taken in as one that is to be deleted; the conflict log keeps what it held.
pub(super) fn remove_copy(mut record: TaskRecord, lost: LostCreate, at: DateTime<Utc>) -> Step {
    let reason = format!("a second copy of `{}`, made by a create whose answer was lost", lost.task);
    let conflict = whole_task_conflict(&record, ConflictKind::SecondCopy, &reason, at);
    let operation = format!("copy-{}", record.id);
    record.deleted = true;
    record.copy = true;
    record.revision = 1;
    record.pending = thin_vec![1];
    let op =
        OpRecord { id: operation, sequence: 1, kind: OpKind::Delete, fields: Vec::new(), at, by: THE_ENGINE.into() };
    Step {
        journal: vec![(record.id.clone(), op)],
        conflicts: vec![conflict],
        found: vec![lost],
        put: vec![record],
        ..Step::default()
    }
}

/// Takes a task in that Planner shows and no row knows: under the same id on every instance, at any time.
#[must_use]
pub fn import(plan: &PlanKey, task: &RemoteTask, requested_at: DateTime<Utc>) -> TaskRecord {
    TaskRecord {
        id: if is_on(Mutant::RandomImportId) {
            TaskId::keyed(plan, task.id.as_str(), &requested_at.to_rfc3339())
        } else {
            TaskId::imported(plan, &task.id)
        },
        fields: task.fields.clone(),
        remote: Some(Remote {
            id: task.id.clone(),
            etag: task.etag.clone(),
            details_etag: None,
            details_changed: false,
            base: None,
        }),
        facts: task.facts.clone(),
        edited: BTreeMap::new(),
        pending: ThinVec::new(),
        deleted: false,
        copy: false,
        changed_at: requested_at,
        revision: 0,
        attempts: ThinVec::new(),
        strays: ThinVec::new(),
        lost: BTreeMap::new(),
    }
}
