//! The second half of a task: description, checklist, references; a resource with a version of its own.
//!
//! <https://learn.microsoft.com/graph/api/resources/plannertaskdetails>

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Deserializer};

use super::call::Call;
use super::client::Client;
use super::error::Error;
use super::identity_set::{Identities, null_is_default};
use super::reference::decode_reference_key;
use super::request::Request;
use super::task_patch::DetailsPatch;
use crate::http_client::Workload;
use crate::ids::PlannerTaskId;

/// A task's details.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TaskDetails {
    /// The task's id.
    pub id: PlannerTaskId,
    /// The description.
    #[serde(default, deserialize_with = "null_is_default")]
    pub description: String,
    /// `automatic`, `noPreview`, `checklist`, `description` or `reference`.
    #[serde(default, deserialize_with = "null_is_default")]
    pub preview_type: String,
    /// Checklist items by their GUID.
    #[serde(default, deserialize_with = "null_is_default")]
    pub checklist: BTreeMap<String, ChecklistItem>,
    /// References by their URL, decoded.
    #[serde(default, deserialize_with = "references")]
    pub references: BTreeMap<String, Reference>,
    /// Its version, unrelated to the task's.
    #[serde(rename = "@odata.etag")]
    pub etag: String,
}

/// An item of a checklist.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ChecklistItem {
    /// What to do.
    #[serde(default, deserialize_with = "null_is_default")]
    pub title: String,
    /// Whether it is done.
    #[serde(default, deserialize_with = "null_is_default")]
    pub is_checked: bool,
    /// Its place, as the service gives it; never sent back.
    #[serde(default, deserialize_with = "null_is_default")]
    pub order_hint: String,
    /// When it was last changed.
    pub last_modified_date_time: Option<DateTime<Utc>>,
    /// By whom.
    #[serde(default, deserialize_with = "null_is_default")]
    pub last_modified_by: Identities,
}

/// A link.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Reference {
    /// What it is called.
    #[serde(default, deserialize_with = "null_is_default")]
    pub alias: String,
    /// `PowerPoint`, `Excel`, `Word`, `Pdf`, `Other` and so on.
    #[serde(rename = "type", default, deserialize_with = "null_is_default")]
    pub kind: String,
    /// Its place among the previews, as the service gives it; never sent back.
    #[serde(default, deserialize_with = "null_is_default")]
    pub preview_priority: String,
    /// When it was last changed.
    pub last_modified_date_time: Option<DateTime<Utc>>,
    /// By whom.
    #[serde(default, deserialize_with = "null_is_default")]
    pub last_modified_by: Identities,
}

fn references<'de, D: Deserializer<'de>>(deserializer: D) -> Result<BTreeMap<String, Reference>, D::Error> {
    let wire: Option<BTreeMap<String, Reference>> = Option::deserialize(deserializer)?;
    Ok(wire.unwrap_or_default().into_iter().map(|(key, value)| (decode_reference_key(&key), value)).collect())
}

impl Client {
    /// Returns a task's details, or `None` when the task does not exist.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn get_task_details(&self, call: &Call, task: &PlannerTaskId) -> Result<Option<TaskDetails>, Error> {
        self.find(call, &get_task_details(task)).await
    }

    /// Changes a task's details; `etag` is the details' own.
    ///
    /// # Errors
    /// See [`Error`]; on [`Error::is_stale`] read the details again.
    pub async fn update_task_details(
        &self,
        call: &Call,
        task: &PlannerTaskId,
        etag: &str,
        patch: &DetailsPatch,
    ) -> Result<TaskDetails, Error> {
        self.change(call, &update_task_details(task, etag, patch), &get_task_details(task)).await
    }
}

pub(super) fn get_task_details(task: &PlannerTaskId) -> Request {
    Request::get("get_task_details", Workload::Planner, format!("/planner/tasks/{task}/details"))
}

pub(super) fn update_task_details(task: &PlannerTaskId, etag: &str, patch: &DetailsPatch) -> Request {
    Request::patch("update_task_details", Workload::Planner, format!("/planner/tasks/{task}/details"), etag, patch)
}
