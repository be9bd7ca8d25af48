//! What callers get to see.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value;

use crate::services::IntoJson;

#[allow(clippy::trivially_copy_pass_by_ref)] // serde passes a reference
fn is_zero(number: &usize) -> bool {
    *number == 0
}

impl IntoJson for TaskReceipt {}
impl IntoJson for BulkReceipt {}
impl IntoJson for TaskView {}
impl IntoJson for PlanList {}
impl IntoJson for PlanView {}
impl IntoJson for BucketView {}
impl IntoJson for BucketList {}
impl IntoJson for Removed {}

impl IntoJson for TaskPage {
    /// The rows are JSON already: they are moved, not copied.
    fn into_json(mut self) -> serde_json::Result<Value> {
        let rows = self.rows.take();
        let mut value = serde_json::to_value(self)?;
        if let (Value::Object(page), Some(rows)) = (&mut value, rows) {
            let rows = rows.into_iter().map(Value::Array).collect();
            page.shift_insert(1, "rows".to_owned(), Value::Array(rows));
        }
        Ok(value)
    }
}

/// How far a write has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum SyncOutcome {
    /// Planner has it.
    Synced,
    /// It is journalled and will reach Planner.
    Pending,
    /// Planner has it, but for fields a person had changed too: those kept the person's value.
    Conflict,
    /// Planner refused it; nothing of it remains.
    Failed,
}

/// The answer to a write on a task.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct TaskReceipt {
    /// Our id of the task.
    pub id: String,
    /// Planner's id, once there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub planner_id: Option<String>,
    /// The title.
    pub title: String,
    /// The bucket's name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bucket: Option<String>,
    /// The status word.
    pub status: String,
    /// How far the write has come.
    pub sync: SyncOutcome,
    /// What a reader should know beyond that.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
}

/// One item of a bulk call.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct BulkItem {
    /// Its place in the call, from 0.
    pub index: usize,
    /// Our id of the task.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// How far it has come.
    pub sync: SyncOutcome,
    /// Why it failed or waits.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
}

/// The answer to a bulk call.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct BulkReceipt {
    /// Items Planner has.
    pub synced: usize,
    /// Items journalled that will reach Planner.
    pub pending: usize,
    /// Items where a person's value won.
    pub conflict: usize,
    /// Items refused; nothing of them remains.
    pub failed: usize,
    /// The ids of the tasks, in the order of the call; empty for an item that failed.
    pub ids: Vec<String>,
    /// The items that need attention.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub attention: Vec<BulkItem>,
}

/// A checklist item.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct ChecklistView {
    /// Its id, where another item has the same text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// Its text.
    pub title: String,
    /// Whether it is ticked.
    pub checked: bool,
}

/// A reference.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct ReferenceView {
    /// Its address.
    pub url: String,
    /// Its text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
}

/// A task in full.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct TaskView {
    /// Our id.
    pub id: String,
    /// Planner's id.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub planner_id: Option<String>,
    /// The plan's id.
    pub plan_id: String,
    /// The plan's title.
    pub plan: String,
    /// The title.
    pub title: String,
    /// The bucket's name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bucket: Option<String>,
    /// The status word.
    pub status: String,
    /// 0 to 100.
    pub percent_complete: u8,
    /// The priority word.
    pub priority: String,
    /// Who does it.
    pub assignees: Vec<String>,
    /// When work starts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub start_date: Option<String>,
    /// When it is due.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub due_date: Option<String>,
    /// The labels' names.
    pub categories: Vec<String>,
    /// The description.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// The checklist in order.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub checklist: Option<Vec<ChecklistView>>,
    /// The references.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub references: Option<Vec<ReferenceView>>,
    /// Configured fields that have a value.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub custom_fields: BTreeMap<String, Value>,
    /// When it was created.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub created: Option<String>,
    /// Who created it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub created_by: Option<String>,
    /// When it was completed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub completed: Option<String>,
    /// Who completed it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub completed_by: Option<String>,
    /// When the replica last changed.
    pub changed: String,
    /// Whether Planner has all of this.
    pub sync: SyncOutcome,
    /// Send it along with a whole list, so that what others changed since is kept.
    pub version: String,
    /// Where a person sees it in Planner.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub link: Option<String>,
    /// When Planner was last asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub as_of: Option<String>,
    /// What a reader should know beyond that.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
}

/// A page of tasks.
#[derive(Debug, Clone, Default, PartialEq, Serialize, JsonSchema)]
pub struct TaskPage {
    /// The columns of `rows`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub columns: Vec<&'static str>,
    /// Tasks, one row each.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rows: Option<Vec<Vec<Value>>>,
    /// Tasks as objects (format `json`).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tasks: Option<Vec<serde_json::Map<String, Value>>>,
    /// Tasks as text (formats `markdown` and `csv`).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
    /// Tasks that match, on all pages.
    pub total: usize,
    /// Whether this page ends the list.
    pub complete: bool,
    /// Ask with this for the next page.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cursor: Option<String>,
    /// When Planner was last asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub as_of: Option<String>,
    /// What a reader should know beyond that.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
}

/// A plan in a list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct PlanItem {
    /// Planner's id.
    pub id: String,
    /// The title.
    pub title: String,
    /// The owning group's name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,
    /// The owning group's id.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub group_id: Option<String>,
    /// Its tasks, where they have been read.
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    pub counts: Option<PlanCounts>,
}

/// How far a plan is, from what was read last.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct PlanCounts {
    /// All tasks.
    pub tasks: usize,
    /// Those not completed.
    pub open: usize,
    /// Those of them past their due date.
    pub late: usize,
    /// Completed tasks in percent of all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub percent_completed: Option<usize>,
    /// When the tasks were last read from Planner.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub counted: Option<String>,
}

/// The plans a caller may use.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct PlanList {
    /// The plans, by title.
    pub plans: Vec<PlanItem>,
    /// Whether these are all.
    pub complete: bool,
    /// When Planner was asked.
    pub as_of: String,
    /// What a reader should know beyond that.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
}

/// A plan and its state.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct PlanView {
    /// Planner's id.
    pub id: String,
    /// The title.
    pub title: String,
    /// The owning group's name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,
    /// All tasks.
    pub tasks: usize,
    /// Tasks by status.
    pub by_status: BTreeMap<&'static str, usize>,
    /// Open tasks past their due date.
    pub late: usize,
    /// Open tasks by bucket, in board order; of two buckets with one name each has its id behind it.
    pub open_by_bucket: serde_json::Map<String, Value>,
    /// The labels' names.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub labels: Vec<String>,
    /// When Planner was last asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub as_of: Option<String>,
    /// What a reader should know beyond that.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
}

/// A bucket.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct BucketView {
    /// Planner's id.
    pub id: String,
    /// The name.
    pub name: String,
    /// Tasks in it.
    pub tasks: usize,
}

/// The buckets of a plan.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct BucketList {
    /// The plan's id.
    pub plan_id: String,
    /// The buckets in board order.
    pub buckets: Vec<BucketView>,
    /// Tasks in none of them.
    #[serde(skip_serializing_if = "is_zero")]
    pub tasks_without_bucket: usize,
    /// Whether these are all.
    pub complete: bool,
    /// When Planner was last asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub as_of: Option<String>,
}

/// The answer to a removal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Removed {
    /// What was removed.
    pub id: String,
    /// Its name or title.
    pub title: String,
    /// How far the removal has come.
    pub sync: SyncOutcome,
    /// What a reader should know beyond that.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
}
