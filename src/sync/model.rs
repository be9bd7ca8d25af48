//! What the engine remembers of a plan and its tasks: the values of the rows in a plan's partition.
//!
//! The last confirmed state of a task (its *base*) is in the task's own row, and only while it differs from what
//! the replica shows: a clean task is its own base. One row a task keeps a step atomic and an import cheap.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use thin_vec::ThinVec;

pub use super::by_field::{ByField, OfField};
pub use super::conflict::{ConflictKind, ConflictRecord, Disputed, Restored, Sides};
pub use super::few::Few;
pub use super::field::{Field, FieldRef};
pub use super::field_value::{FieldChange, FieldEdit, FieldValue, FieldValues, Sent};
pub use super::plan_record::{
    Bucket, Frozen, FrozenBecause, MassChangeGuard, PlanRecord, PlanState, RecentBucket, Tombstone,
};
use crate::ids::{BucketId, PlannerTaskId, TaskId, UserId};

/// The fields of a task that both sides may change.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaskFields {
    /// The title.
    pub title: String,
    /// The bucket; Planner allows none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bucket: Option<BucketId>,
    /// Progress, 0 to 100; 100 is completed.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub percent_complete: u8,
    /// Priority, 0 (highest) to 10.
    pub priority: u8,
    /// When work starts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start: Option<DateTime<Utc>>,
    /// When the task is due.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub due: Option<DateTime<Utc>>,
    /// Who does it.
    #[serde(default, skip_serializing_if = "<[_]>::is_empty")]
    pub assignees: Few<UserId>,
    /// Labels: 1 to 25, named by the plan.
    #[serde(default, skip_serializing_if = "<[_]>::is_empty")]
    pub categories: Few<u8>,
    /// The task's second resource; `None` until it has been read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub details: Option<Box<DetailFields>>,
}

/// The priority of a task for which none is chosen: Planner's "medium".
const MEDIUM: u8 = 5;

impl TaskFields {
    /// A task in which nothing is filled in; its details are not known.
    #[must_use]
    pub fn blank() -> Self {
        Self {
            title: String::new(),
            bucket: None,
            percent_complete: 0,
            priority: MEDIUM,
            start: None,
            due: None,
            assignees: Few::new(),
            categories: Few::new(),
            details: None,
        }
    }

    /// The same with details, empty where they were not known.
    #[must_use]
    pub fn with_details(mut self) -> Self {
        self.details.get_or_insert_default();
        self
    }
}

/// The fields of the task's second resource, which has an ETag of its own.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DetailFields {
    /// The description, plain text.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub description: String,
    /// Checklist items by their GUID.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub checklist: BTreeMap<String, ChecklistItem>,
    /// References by their URL (not encoded).
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub references: BTreeMap<String, Reference>,
}

/// An item of a checklist.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChecklistItem {
    /// Its text.
    pub title: String,
    /// Whether it is ticked.
    #[serde(default, skip_serializing_if = "is_false")]
    pub checked: bool,
    /// Where it stands: Planner's order hint, or the one we ask for.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub order: String,
}

/// A link attached to a task.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reference {
    /// The text shown for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub alias: Option<String>,
    /// What it is, in Planner's words: `Word`, `Excel`, `Other` ...
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
}

#[allow(clippy::trivially_copy_pass_by_ref)] // the signature serde asks for
fn is_zero(number: &u8) -> bool {
    *number == 0
}
#[allow(clippy::trivially_copy_pass_by_ref)]
fn is_false(flag: &bool) -> bool {
    !flag
}

/// What Planner alone decides about a task; shown, never written.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaskFacts {
    /// When the task was created.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created_at: Option<DateTime<Utc>>,
    /// Who created it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created_by: Option<UserId>,
    /// The application it was created with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created_with: Option<String>,
    /// When it was completed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub completed_at: Option<DateTime<Utc>>,
    /// Who completed it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub completed_by: Option<UserId>,
    /// Planner's order within the bucket.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub order_hint: String,
    /// Checklist items in all.
    #[serde(default, skip_serializing_if = "is_none_or_zero")]
    pub checklist_items: u32,
    /// Checklist items not ticked.
    #[serde(default, skip_serializing_if = "is_none_or_zero")]
    pub open_checklist_items: u32,
    /// References in all.
    #[serde(default, skip_serializing_if = "is_none_or_zero")]
    pub references: u32,
    /// Whether there is a description.
    #[serde(default, skip_serializing_if = "is_false")]
    pub has_description: bool,
}

impl TaskFacts {
    /// Whether they say that the task has a description, a checklist or references.
    #[must_use]
    pub fn tell_of_details(&self) -> bool {
        self.has_description || self.checklist_items > 0 || self.references > 0
    }
}

#[allow(clippy::trivially_copy_pass_by_ref)]
fn is_none_or_zero(number: &u32) -> bool {
    *number == 0
}

/// What is known of the task on Planner.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Remote {
    /// Planner's id.
    pub id: PlannerTaskId,
    /// The task's ETag.
    pub etag: String,
    /// The details' ETag, once they have been read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub details_etag: Option<String>,
    /// The counts Planner lists show that the details have changed since.
    #[serde(default, skip_serializing_if = "is_false")]
    pub details_changed: bool,
    /// Values last known to have been on Planner, while they differ from the replica's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base: Option<Box<TaskFields>>,
}

/// A task of the replica: the value of a `t|` row.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaskRecord {
    /// Our id.
    pub id: TaskId,
    /// What callers see and change.
    pub fields: TaskFields,
    /// Planner's side; `None` until the task has been created there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub remote: Option<Remote>,
    /// What Planner alone decides.
    #[serde(default)]
    pub facts: TaskFacts,
    /// When each field that is not yet on Planner was last edited here.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub edited: BTreeMap<Field, DateTime<Utc>>,
    /// Journalled operations that have not reached Planner, oldest first.
    #[serde(default, skip_serializing_if = "ThinVec::is_empty")]
    pub pending: ThinVec<u64>,
    /// Deleted here; Planner has yet to follow.
    #[serde(default, skip_serializing_if = "is_false")]
    pub deleted: bool,
    /// A second copy of another task, on its way out: nobody asked for it, and nobody has ever seen it.
    #[serde(default, skip_serializing_if = "is_false")]
    pub copy: bool,
    /// When the replica last changed, by either side.
    pub changed_at: DateTime<Utc>,
    /// Counts the local edits; the sequence number of the newest operation.
    #[serde(default)]
    pub revision: u64,
    /// Values sent to Planner whose arrival is not confirmed.
    #[serde(default, skip_serializing_if = "ThinVec::is_empty")]
    pub attempts: ThinVec<Attempt>,
    /// Attempts that were given up: a process that stood still may yet send them.
    #[serde(default, skip_serializing_if = "ThinVec::is_empty")]
    pub strays: ThinVec<Attempt>,
    /// Fields of which the latest edit here did not last: what the caller's answer says, no matter who decided it and what
    /// was edited since.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub lost: BTreeMap<Field, LostEdit>,
}

/// An edit that did not last.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LostEdit {
    /// The revision of the row when that was decided: it concerns the operations up to it.
    pub revision: u64,
    /// Planner's words, where Planner refused it; else a person had changed the field and won.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refused: Option<String>,
}

impl TaskRecord {
    /// Values last known to have been on Planner; `None` for a task that has never been there.
    #[must_use]
    pub fn base(&self) -> Option<&TaskFields> {
        self.remote.as_ref().map(|remote| remote.base.as_deref().unwrap_or(&self.fields))
    }

    /// Planner's id, once there is one.
    #[must_use]
    pub fn planner_id(&self) -> Option<&PlannerTaskId> {
        self.remote.as_ref().map(|remote| &remote.id)
    }

    /// Whether a create was sent and nobody knows whether it happened.
    #[must_use]
    pub fn is_unanswered(&self) -> bool {
        self.remote.is_none() && !self.attempts.is_empty()
    }

    /// Whether something of this task has yet to reach Planner.
    #[must_use]
    pub fn is_dirty(&self) -> bool {
        !self.pending.is_empty()
    }
}

/// A change we may have put on Planner without hearing so.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attempt {
    /// When it was about to be sent, or when its failure was received: it took effect before, or soon after.
    pub at: DateTime<Utc>,
    /// The fields that were sent, and no others.
    pub sent: Sent,
}

impl Attempt {
    /// Whether it went to the details.
    #[must_use]
    pub fn in_details(&self) -> bool {
        self.sent.fields().any(FieldRef::in_details)
    }
}

/// A create that was given up because Planner did not show its result in time: the value of an `l|` row. It outlives the
/// task, so that a copy which turns up late is known for what it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LostCreate {
    /// The task it was to create.
    pub task: TaskId,
    /// What was sent, and when.
    pub attempt: Attempt,
}

impl LostCreate {
    /// The row it is kept in.
    #[must_use]
    pub fn key(&self) -> String {
        format!("l|{}|{:013}", self.task, self.attempt.at.timestamp_millis())
    }
}

/// What a journalled operation does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OpKind {
    /// Creates the task.
    Create,
    /// Changes fields of the task.
    Update,
    /// Deletes the task.
    Delete,
}

/// A journalled operation: the value of an `o|` row. What it changes is in the task's row.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OpRecord {
    /// Its id, in logs and answers.
    pub id: String,
    /// Its place in the order of the task's operations.
    pub sequence: u64,
    /// What it does.
    pub kind: OpKind,
    /// The fields it touches.
    pub fields: Vec<Field>,
    /// When it was journalled.
    pub at: DateTime<Utc>,
    /// For whom: the caller's name, or [`THE_ENGINE`].
    pub by: String,
}

/// For whom the engine does what no caller asked for: deletes a second copy, puts a value right.
pub const THE_ENGINE: &str = "graphgate";

/// Which side a decision favoured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Side {
    /// The replica: what an agent wrote.
    Agent,
    /// Planner: what a person did there.
    Planner,
}
