//! Plans and their details.
//!
//! <https://learn.microsoft.com/graph/api/resources/plannerplan>

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::call::Call;
use super::category::Category;
use super::client::Client;
use super::error::Error;
use super::identity_set::{Identities, null_is_default};
use super::request::Request;
use super::tasks::Deleted;
use crate::http_client::Workload;
use crate::ids::{GroupId, PlanId};

/// A plan.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Plan {
    /// Its id.
    pub id: PlanId,
    /// Its title.
    #[serde(default, deserialize_with = "null_is_default")]
    pub title: String,
    /// What holds it; `None` only for plans of old.
    pub container: Option<Container>,
    /// The owning group in the deprecated spelling; [`Plan::group`] reads both.
    pub owner: Option<String>,
    /// When it was made.
    pub created_date_time: Option<DateTime<Utc>>,
    /// Who made it.
    #[serde(default, deserialize_with = "null_is_default")]
    pub created_by: Identities,
    /// Its version.
    #[serde(rename = "@odata.etag")]
    pub etag: String,
}

impl Plan {
    /// The group that holds the plan; `None` for personal plans and rosters.
    #[must_use]
    pub fn group(&self) -> Option<GroupId> {
        let contained = self.container.as_ref().filter(|container| container.kind.as_deref() == Some("group"));
        let id = contained.and_then(|container| container.container_id.as_deref()).or(self.owner.as_deref());
        id.and_then(|id| GroupId::parse(id).ok())
    }
}

/// What holds a plan.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Container {
    /// The id of the group or other container.
    pub container_id: Option<String>,
    /// `group`, `roster` or another kind.
    #[serde(rename = "type")]
    pub kind: Option<String>,
    /// The container's address in Graph.
    pub url: Option<String>,
}

/// The part of a plan with a version of its own.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PlanDetails {
    /// What the categories are called; unnamed ones hold `None`.
    #[serde(default, deserialize_with = "categories")]
    pub category_descriptions: BTreeMap<Category, Option<String>>,
    /// Its version.
    #[serde(rename = "@odata.etag")]
    pub etag: String,
}

/// Skips what is no category (`@odata.type`, and what Microsoft may add).
fn categories<'de, D: serde::Deserializer<'de>>(
    deserializer: D,
) -> Result<BTreeMap<Category, Option<String>>, D::Error> {
    let wire: Option<BTreeMap<String, Option<String>>> = Option::deserialize(deserializer)?;
    let known = |(key, name): (String, _)| Category::parse(&key).map(|category| (category, name));
    Ok(wire.unwrap_or_default().into_iter().filter_map(known).collect())
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct DetailsPatch<'a> {
    category_descriptions: &'a BTreeMap<Category, Option<String>>,
}

impl Client {
    /// Lists the plans of a group: the only list of plans that works without a user.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn list_group_plans(&self, call: &Call, group: &GroupId) -> Result<Vec<Plan>, Error> {
        let path = format!("/groups/{group}/planner/plans");
        self.list(call, &Request::get("list_group_plans", Workload::Planner, path)).await
    }

    /// Returns the plan, or `None` when it does not exist.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn get_plan(&self, call: &Call, plan: &PlanId) -> Result<Option<Plan>, Error> {
        self.find(call, &get_plan(plan)).await
    }

    /// Returns the plan's details, or `None` when the plan does not exist.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn get_plan_details(&self, call: &Call, plan: &PlanId) -> Result<Option<PlanDetails>, Error> {
        self.find(call, &get_plan_details(plan)).await
    }

    /// Creates a plan in a group. Not repeated after an ambiguous failure.
    ///
    /// # Errors
    /// See [`Error`]; [`Error::is_ambiguous`] says whether the plan may exist.
    pub async fn create_plan(&self, call: &Call, title: &str, group: &GroupId) -> Result<Plan, Error> {
        let body = json!({ "title": title, "container": { "containerId": group, "type": "group" } });
        self.fetch(call, &Request::post("create_plan", Workload::Planner, "/planner/plans", &body)).await
    }

    /// Renames a plan.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn update_plan(&self, call: &Call, plan: &PlanId, etag: &str, title: &str) -> Result<Plan, Error> {
        let path = format!("/planner/plans/{plan}");
        let body = json!({ "title": title });
        let request = Request::patch("update_plan", Workload::Planner, path, etag, &body);
        self.change(call, &request, &get_plan(plan)).await
    }

    /// Names categories; `None` takes a name away.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn update_plan_details(
        &self,
        call: &Call,
        plan: &PlanId,
        etag: &str,
        category_descriptions: &BTreeMap<Category, Option<String>>,
    ) -> Result<PlanDetails, Error> {
        let path = format!("/planner/plans/{plan}/details");
        let body = DetailsPatch { category_descriptions };
        let request = Request::patch("update_plan_details", Workload::Planner, path, etag, &body);
        self.change(call, &request, &get_plan_details(plan)).await
    }

    /// Deletes a plan with everything in it.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn delete_plan(&self, call: &Call, plan: &PlanId, etag: &str) -> Result<Deleted, Error> {
        let path = format!("/planner/plans/{plan}");
        self.remove(call, &Request::delete("delete_plan", Workload::Planner, path, etag)).await
    }
}

fn get_plan(plan: &PlanId) -> Request {
    Request::get("get_plan", Workload::Planner, format!("/planner/plans/{plan}"))
}

fn get_plan_details(plan: &PlanId) -> Request {
    Request::get("get_plan_details", Workload::Planner, format!("/planner/plans/{plan}/details"))
}
