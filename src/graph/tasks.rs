//! Tasks.
//!
//! A task is two resources with a version each: the task here, its description, checklist and references in
//! `task_details`. <https://learn.microsoft.com/graph/api/resources/plannertask>

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, Utc};
use serde::de::IgnoredAny;
use serde::{Deserialize, Deserializer};

pub use super::task_details::{ChecklistItem, Reference, TaskDetails};
pub use super::task_patch::{
    AssignmentPatch, ChecklistItemPatch, DetailsPatch, FIRST, ReferencePatch, TaskBody, TaskPatch,
};

use super::call::Call;
use super::category::Category;
use super::client::Client;
use super::error::Error;
use super::identity_set::{Identities, empty_is_none, null_is_default};
use super::request::Request;
use crate::http_client::Workload;
use crate::ids::{BucketId, PlanId, PlannerTaskId, UserId};

/// A task. Version 1.0 tells neither when nor by whom it was last changed: the `ETag` is all.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Task {
    /// Its id.
    pub id: PlannerTaskId,
    /// Its plan.
    pub plan_id: PlanId,
    /// Its bucket.
    #[serde(default, deserialize_with = "empty_is_none")]
    pub bucket_id: Option<BucketId>,
    /// Its title.
    #[serde(default, deserialize_with = "null_is_default")]
    pub title: String,
    /// 0 to 100; 100 is done.
    #[serde(default, deserialize_with = "null_is_default")]
    pub percent_complete: u8,
    /// 0 (most urgent) to 10; 5 where Graph says nothing.
    #[serde(default = "medium", deserialize_with = "priority")]
    pub priority: u8,
    /// The start.
    pub start_date_time: Option<DateTime<Utc>>,
    /// The due date.
    pub due_date_time: Option<DateTime<Utc>>,
    /// When it was made.
    pub created_date_time: Option<DateTime<Utc>>,
    /// When it was completed.
    pub completed_date_time: Option<DateTime<Utc>>,
    /// Who made it.
    #[serde(default, deserialize_with = "null_is_default")]
    pub created_by: Identities,
    /// Who completed it.
    #[serde(default, deserialize_with = "null_is_default")]
    pub completed_by: Identities,
    /// Who is to do it.
    #[serde(default, rename = "assignments", deserialize_with = "assigned")]
    pub assignees: BTreeSet<UserId>,
    /// Its labels.
    #[serde(default, deserialize_with = "applied")]
    pub applied_categories: BTreeSet<Category>,
    /// Its place as the service gives it; never sent back.
    #[serde(default, deserialize_with = "null_is_default")]
    pub order_hint: String,
    /// Whether its details hold a description.
    #[serde(default, deserialize_with = "null_is_default")]
    pub has_description: bool,
    /// Checklist items.
    #[serde(default, deserialize_with = "null_is_default")]
    pub checklist_item_count: u32,
    /// Checklist items not done.
    #[serde(default, deserialize_with = "null_is_default")]
    pub active_checklist_item_count: u32,
    /// References.
    #[serde(default, deserialize_with = "null_is_default")]
    pub reference_count: u32,
    /// Its version. Of two versions of one task the ordinally greater text is the newer.
    #[serde(rename = "@odata.etag")]
    pub etag: String,
}

/// How a deletion went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Deleted {
    /// It was there and is gone.
    Deleted,
    /// It was not there (any more).
    AlreadyGone,
}

const fn medium() -> u8 {
    5
}

fn priority<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u8, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or(medium()))
}

/// The people somebody assigned; when, by whom and where it stands in their list is not used.
fn assigned<'de, D: Deserializer<'de>>(deserializer: D) -> Result<BTreeSet<UserId>, D::Error> {
    #[allow(clippy::zero_sized_map_values)] // an object is read, and of its members only the names
    let wire: Option<BTreeMap<UserId, IgnoredAny>> = Option::deserialize(deserializer)?;
    Ok(wire.unwrap_or_default().into_keys().collect())
}

/// The categories that are `true`; `@odata.type` and unknown names are skipped.
fn applied<'de, D: Deserializer<'de>>(deserializer: D) -> Result<BTreeSet<Category>, D::Error> {
    let wire: Option<BTreeMap<String, serde_json::Value>> = Option::deserialize(deserializer)?;
    let applied = wire.unwrap_or_default().into_iter().filter(|(_, value)| *value == true);
    Ok(applied.filter_map(|(key, _)| Category::parse(&key)).collect())
}

impl Client {
    /// Lists all tasks of a plan, about 400 a page; a page that fails fails the whole.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn list_plan_tasks(&self, call: &Call, plan: &PlanId) -> Result<Vec<Task>, Error> {
        let path = format!("/planner/plans/{plan}/tasks");
        self.list(call, &Request::get("list_plan_tasks", Workload::Planner, path)).await
    }

    /// Returns the task, or `None` when it does not exist.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn get_task(&self, call: &Call, task: &PlannerTaskId) -> Result<Option<Task>, Error> {
        self.find(call, &get_task(task)).await
    }

    /// Creates a task. Not repeated after an ambiguous failure.
    ///
    /// # Errors
    /// See [`Error`]; [`Error::is_ambiguous`] says whether the task may exist.
    pub async fn create_task(&self, call: &Call, body: &TaskBody) -> Result<Task, Error> {
        self.fetch(call, &create_task(body)).await
    }

    /// Changes a task that is still at `etag`, or differs from it only in other fields.
    ///
    /// # Errors
    /// See [`Error`]; on [`Error::is_stale`] read the task again.
    pub async fn update_task(
        &self,
        call: &Call,
        task: &PlannerTaskId,
        etag: &str,
        patch: &TaskPatch,
    ) -> Result<Task, Error> {
        self.change(call, &update_task(task, etag, patch), &get_task(task)).await
    }

    /// Deletes a task.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn delete_task(&self, call: &Call, task: &PlannerTaskId, etag: &str) -> Result<Deleted, Error> {
        self.remove(call, &delete_task(task, etag)).await
    }

    pub(super) async fn remove(&self, call: &Call, request: &Request) -> Result<Deleted, Error> {
        deleted(self.send(call, request).await.map(|_| ()))
    }
}

pub(super) fn deleted(outcome: Result<(), Error>) -> Result<Deleted, Error> {
    match outcome {
        Ok(()) => Ok(Deleted::Deleted),
        Err(error) if error.is_not_found() => Ok(Deleted::AlreadyGone),
        Err(error) => Err(error),
    }
}

pub(super) fn get_task(task: &PlannerTaskId) -> Request {
    Request::get("get_task", Workload::Planner, format!("/planner/tasks/{task}"))
}

pub(super) fn create_task(body: &TaskBody) -> Request {
    Request::post("create_task", Workload::Planner, "/planner/tasks", body)
}

pub(super) fn update_task(task: &PlannerTaskId, etag: &str, patch: &TaskPatch) -> Request {
    Request::patch("update_task", Workload::Planner, format!("/planner/tasks/{task}"), etag, patch)
}

pub(super) fn delete_task(task: &PlannerTaskId, etag: &str) -> Request {
    Request::delete("delete_task", Workload::Planner, format!("/planner/tasks/{task}"), etag)
}
