//! What the engine needs besides rows and time: Planner, in the engine's own terms.
//!
//! The program implements [`Planner`] over Microsoft Graph, a simulation over a world of its own. Every call takes
//! many items, because twenty travel as one request; outcomes come back in the order of the items.

use std::collections::BTreeMap;
use std::time::Duration;

use async_trait::async_trait;
use chrono::{DateTime, TimeDelta, Utc};

use super::model::{Bucket, ChecklistItem, DetailFields, Few, Field, Reference, TaskFacts, TaskFields};
use super::places::asks_for_place;
use crate::ids::{BucketId, GroupId, PlanId, PlannerTaskId, UserId};

/// A task as Planner has it, without its details.
#[derive(Debug, Clone, PartialEq)]
pub struct RemoteTask {
    /// Planner's id.
    pub id: PlannerTaskId,
    /// Its version; of two of one task the greater is the newer.
    pub etag: String,
    /// The synced fields; `details` is `None`.
    pub fields: TaskFields,
    /// What Planner alone decides.
    pub facts: TaskFacts,
}

/// The tasks of a listing: a page that was read twice counts once, in its newer state.
pub(super) fn without_repeats(listing: Vec<RemoteTask>) -> Vec<RemoteTask> {
    let mut newest: BTreeMap<PlannerTaskId, RemoteTask> = BTreeMap::new();
    for task in listing {
        match newest.get(&task.id) {
            Some(known) if known.etag >= task.etag => {}
            _ => {
                newest.insert(task.id.clone(), task);
            }
        }
    }
    newest.into_values().collect()
}

/// A task's details as Planner has them.
#[derive(Debug, Clone, PartialEq)]
pub struct RemoteDetails {
    /// Their version.
    pub etag: String,
    /// The synced fields.
    pub fields: DetailFields,
}

/// A plan as Planner has it, with what frames its tasks.
#[derive(Debug, Clone, PartialEq)]
pub struct RemotePlan {
    /// Planner's id.
    pub id: PlanId,
    /// Its title.
    pub title: String,
    /// Its version.
    pub etag: String,
    /// The owning group, where the container is one.
    pub group: Option<GroupId>,
    /// When it was created.
    pub created_at: Option<DateTime<Utc>>,
    /// Its buckets in board order.
    pub buckets: Vec<Bucket>,
    /// Names of the labels 1 to 25 that have one.
    pub category_names: BTreeMap<u8, String>,
    /// The version of the plan's details.
    pub details_etag: String,
}

/// What to change of a task; `None` and absent keys stay as they are.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct TaskChanges {
    /// New title.
    pub title: Option<String>,
    /// New bucket.
    pub bucket: Option<BucketId>,
    /// New progress.
    pub percent_complete: Option<u8>,
    /// New priority.
    pub priority: Option<u8>,
    /// New start; `Some(None)` clears it.
    pub start: Option<Option<DateTime<Utc>>>,
    /// New due date; `Some(None)` clears it.
    pub due: Option<Option<DateTime<Utc>>>,
    /// Assignees added (`true`) and removed.
    pub assignees: BTreeMap<UserId, bool>,
    /// Labels added (`true`) and removed.
    pub categories: BTreeMap<u8, bool>,
}

/// What to change of a task's details; absent keys stay as they are.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct DetailChanges {
    /// New description.
    pub description: Option<String>,
    /// Checklist items set, or removed (`None`).
    pub checklist: BTreeMap<String, Option<ChecklistItem>>,
    /// References set, or removed (`None`).
    pub references: BTreeMap<String, Option<Reference>>,
}

/// Why Planner did not do what it was asked, as far as the engine acts on it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct RemoteError {
    /// What to do about it.
    pub kind: RemoteErrorKind,
    /// What happened, for people.
    pub message: String,
    /// It may have been carried out all the same: by this call, or by an earlier sending of it whose answer was lost. A
    /// refusal of the repetition may then be the echo of our own success.
    pub maybe_done: bool,
}

impl RemoteError {
    /// A failure that changed nothing, unless its kind says that nobody knows.
    #[must_use]
    pub fn new(kind: RemoteErrorKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), maybe_done: kind == RemoteErrorKind::Unknown }
    }

    /// The same, but it may have been carried out all the same.
    #[must_use]
    pub fn maybe_done(self) -> Self {
        Self { maybe_done: true, ..self }
    }
}

/// What a failure of Planner means for the engine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RemoteErrorKind {
    /// Something newer is there (409, 412): read again and merge.
    Stale,
    /// The thing does not exist (404), or its plan or group does not.
    Gone,
    /// Planner will never take this for what it contains (400, a limit of the service).
    Refused,
    /// We may not do this (403): a permission is missing, which somebody can give back.
    Forbidden,
    /// Not now. Retry after the given time at the earliest.
    NotNow(Duration),
    /// Nobody knows whether it happened.
    Unknown,
}

/// The result of one item.
pub type RemoteResult<T> = Result<T, RemoteError>;

/// Planner.
#[async_trait]
pub trait Planner: Send + Sync + 'static {
    /// Reads the plan, its buckets and its labels; `None` when it does not exist.
    async fn plan(&self, plan: &PlanId) -> RemoteResult<Option<RemotePlan>>;
    /// Lists all tasks of the plan; a missing page is an error, never a short list.
    async fn tasks(&self, plan: &PlanId) -> RemoteResult<Vec<RemoteTask>>;
    /// Reads tasks by id; `None` when one does not exist.
    async fn read(&self, ids: &[PlannerTaskId]) -> Vec<RemoteResult<Option<RemoteTask>>>;
    /// Reads details of tasks by id; `None` when the task does not exist.
    async fn read_details(&self, ids: &[PlannerTaskId]) -> Vec<RemoteResult<Option<RemoteDetails>>>;
    /// Creates tasks, without details.
    async fn create(&self, plan: &PlanId, tasks: &[TaskFields]) -> Vec<RemoteResult<RemoteTask>>;
    /// Changes tasks; answers their new state.
    async fn update(&self, changes: &[(PlannerTaskId, String, TaskChanges)]) -> Vec<RemoteResult<RemoteTask>>;
    /// Changes details; answers their new state.
    async fn update_details(
        &self,
        changes: &[(PlannerTaskId, String, DetailChanges)],
    ) -> Vec<RemoteResult<RemoteDetails>>;
    /// Deletes tasks; [`RemoteErrorKind::Gone`] where there is no such task, or its plan is gone.
    async fn delete(&self, tasks: &[(PlannerTaskId, String)]) -> Vec<RemoteResult<()>>;
    /// How far Planner's clock is ahead of this process's, as far as its answers tell.
    fn ahead(&self) -> TimeDelta {
        TimeDelta::zero()
    }
}

impl TaskChanges {
    /// The fields it changes.
    #[must_use]
    pub fn fields(&self) -> Vec<Field> {
        let single = [
            (self.title.is_some(), Field::Title),
            (self.bucket.is_some(), Field::Bucket),
            (self.percent_complete.is_some(), Field::PercentComplete),
            (self.priority.is_some(), Field::Priority),
            (self.start.is_some(), Field::Start),
            (self.due.is_some(), Field::Due),
        ];
        let single = single.into_iter().filter_map(|(is_set, field)| is_set.then_some(field));
        let assignees = self.assignees.keys().cloned().map(Field::Assignee);
        single.chain(assignees).chain(self.categories.keys().copied().map(Field::Category)).collect()
    }
}

impl DetailChanges {
    /// The fields it changes.
    #[must_use]
    pub fn fields(&self) -> Vec<Field> {
        let description = self.description.iter().map(|_| Field::Description);
        let checklist = self.checklist.keys().cloned().map(Field::Checklist);
        description.chain(checklist).chain(self.references.keys().cloned().map(Field::Reference)).collect()
    }
}

/// What must be sent to bring Planner from `from` to `to`: the task's part and the details' part.
#[must_use]
pub fn changes(from: &TaskFields, to: &TaskFields) -> (Option<TaskChanges>, Option<DetailChanges>) {
    fn set<T: PartialEq + Clone>(from: &T, to: &T) -> Option<T> {
        (from != to).then(|| to.clone())
    }
    fn members<T: Ord + Clone>(from: &Few<T>, to: &Few<T>) -> BTreeMap<T, bool> {
        from.differing(to).map(|member| (member.clone(), to.contains(member))).collect()
    }
    fn entries<V: Clone>(
        from: &BTreeMap<String, V>,
        to: &BTreeMap<String, V>,
        same: impl Fn(&V, &V) -> bool,
    ) -> BTreeMap<String, Option<V>> {
        let removed = from.keys().filter(|key| !to.contains_key(*key)).map(|key| (key.clone(), None));
        let put = to.iter().filter(|(key, value)| !from.get(*key).is_some_and(|known| same(known, value)));
        removed.chain(put.map(|(key, value)| (key.clone(), Some(value.clone())))).collect()
    }
    let task = TaskChanges {
        title: set(&from.title, &to.title),
        bucket: to.bucket.as_ref().filter(|bucket| from.bucket.as_ref() != Some(bucket)).cloned(),
        percent_complete: set(&from.percent_complete, &to.percent_complete),
        priority: set(&from.priority, &to.priority),
        start: set(&from.start, &to.start),
        due: set(&from.due, &to.due),
        assignees: members(&from.assignees, &to.assignees),
        categories: members(&from.categories, &to.categories),
    };
    let details = to.details.as_ref().map(|to| {
        let none = DetailFields::default();
        let from = from.details.as_deref().unwrap_or(&none);
        DetailChanges {
            description: set(&from.description, &to.description),
            // Planner's own order hints are no change of ours: taken out and put back, an item is as it was.
            checklist: entries(&from.checklist, &to.checklist, |known, wanted| {
                (&known.title, known.checked) == (&wanted.title, wanted.checked) && !asks_for_place(known, wanted)
            }),
            references: entries(&from.references, &to.references, PartialEq::eq),
        }
    });
    (Some(task).filter(|task| *task != TaskChanges::default()), details.filter(|d| *d != DetailChanges::default()))
}
