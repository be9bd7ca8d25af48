//! Resources: plans, buckets, tasks and reports by address, as a person attaches them to a conversation.

use std::sync::Arc;

use serde::Serialize;
use serde_json::Value;

use crate::auth::Caller;
use crate::error::ErrorCode;
use crate::services::Error;
use crate::services::planner::Planner;
use crate::services::planner::input::QueryTasks;
use crate::services::reports::Reports;
use crate::text;

/// Tasks of a plan that one resource holds; the rest is reached with `query_tasks`.
pub const TASKS: u32 = 1000;

/// The toolset whose tools show what resources show.
pub const TOOLSET: &str = "planner";

/// The resource that lists the plans.
pub const PLANS_URI: &str = "planner://plans";

/// Addresses with names in braces, what each is called, and what it shows.
pub const TEMPLATES: &[(&str, &str, &str)] = &[
    ("planner://plans/{plan_id}", "plan", "A plan's summary"),
    ("planner://plans/{plan_id}/tasks", "plan_tasks", "A plan's tasks"),
    ("planner://plans/{plan_id}/tasks/{task_id}", "task", "A task in full"),
    ("planner://plans/{plan_id}/buckets", "plan_buckets", "A plan's buckets"),
    ("planner://reports/{report_id}", "report", "A report whole, all its tasks included"),
];

/// The tool that shows what a resource, or the resources of a template, show.
pub fn tool(uri: &str) -> &'static str {
    let parts: Vec<&str> = uri.strip_prefix("planner://").unwrap_or_default().split('/').collect();
    match parts.as_slice() {
        ["plans"] => "list_plans",
        ["plans", _] => "get_plan",
        ["plans", _, "buckets"] => "list_buckets",
        ["plans", _, "tasks"] => "query_tasks",
        ["reports", ..] => "generate_report",
        _ => "get_task",
    }
}

/// Reads a resource.
///
/// # Errors
/// When the address means nothing, or the service fails.
pub async fn read(planner: &Arc<Planner>, reports: &Reports, caller: &Caller, uri: &str) -> Result<Value, Error> {
    let missing = || {
        let error = Error::new(ErrorCode::NotFound, format!("there is no resource `{uri}`"));
        error.hint(format!("begin with `{PLANS_URI}`, which lists the plans"))
    };
    let parts = segments(uri).ok_or_else(missing)?;
    let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
    match parts.as_slice() {
        ["plans"] => content(&planner.list_plans(caller, None, None).await?),
        ["plans", plan] => content(&planner.get_plan(caller, Some(plan), None).await?),
        ["plans", plan, "buckets"] => content(&planner.list_buckets(caller, Some(plan), None).await?),
        ["reports", report] => content(&reports.report(caller, report).await?),
        ["plans", plan, "tasks"] => {
            let query = QueryTasks { plan_id: Some((*plan).to_owned()), limit: Some(TASKS), ..QueryTasks::default() };
            content(&planner.query(caller, &query).await?)
        }
        ["plans", plan, "tasks", task] => {
            let found = planner.get_task(caller, task, None).await?;
            if found.plan_id != *plan && found.plan != *plan {
                return Err(missing());
            }
            content(&found)
        }
        _ => Err(missing()),
    }
}

/// What a resource holds, with text of people as a person would see it.
fn content(value: &impl Serialize) -> Result<Value, Error> {
    let mut value = serde_json::to_value(value).map_err(|error| {
        tracing::error!(%error, "a resource cannot be written as JSON");
        Error::new(ErrorCode::Internal, "the resource cannot be written as JSON")
    })?;
    text::disarm(&mut value);
    Ok(value)
}

/// The ids of plan and task that an address names.
pub fn ids(uri: &str) -> Vec<(&'static str, String)> {
    let parts = segments(uri).unwrap_or_default();
    let id = |pair: &[String]| match pair {
        [kind, id] if kind == "plans" => Some(("plan_id", id.clone())),
        [kind, id] if kind == "tasks" => Some(("task_id", id.clone())),
        _ => None,
    };
    parts.chunks(2).filter_map(id).collect()
}

/// The segments of an address of ours; `None` when it is none.
pub fn segments(uri: &str) -> Option<Vec<String>> {
    uri.strip_prefix("planner://")?.split('/').map(decode).collect()
}

/// Undoes percent-encoding; `None` when it is damaged or no UTF-8.
fn decode(part: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(part.len());
    let mut rest = part.bytes();
    while let Some(byte) = rest.next() {
        if byte == b'%' {
            let digits = [rest.next()?, rest.next()?];
            bytes.push(u8::from_str_radix(std::str::from_utf8(&digits).ok()?, 16).ok()?);
        } else {
            bytes.push(byte);
        }
    }
    String::from_utf8(bytes).ok()
}
