//! Plans, buckets, tasks and reports as resources: what a person attaches to a conversation.

use std::sync::Arc;

use rmcp::ErrorData;
use rmcp::model::{ReadResourceResult, Resource, ResourceContents, ResourceTemplate};
use serde::Serialize;
use serde_json::json;

use crate::auth::Caller;
use crate::error::ErrorCode;
use crate::services::Error;
use crate::services::planner::Planner;
use crate::services::planner::input::QueryTasks;
use crate::services::planner::words::plain;
use crate::services::reports::Reports;
use crate::text;

const JSON: &str = "application/json";
/// Tasks of a plan that one resource holds; the rest is reached with `query_tasks`.
const TASKS: u32 = 1000;
/// Plans listed one by one.
const PLANS: usize = 100;

/// The toolset whose tools show what resources show.
pub const TOOLSET: &str = "planner";

/// The resource that lists the plans.
pub const PLANS_URI: &str = "planner://plans";

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

/// The resources that need no filling in. A tenant that cannot be asked has only the list of plans.
pub async fn list(planner: &Arc<Planner>, caller: &Caller) -> Vec<Resource> {
    let mut resources = vec![
        Resource::new(PLANS_URI, "plans")
            .with_title("Plans")
            .with_description("The plans you may use")
            .with_mime_type(JSON),
    ];
    match planner.list_plans(caller, None, None).await {
        Ok(plans) => resources.extend(plans.plans.into_iter().take(PLANS).map(|plan| {
            let title = text::line(&plan.title);
            Resource::new(format!("planner://plans/{}", plan.id), title.clone()).with_title(title).with_mime_type(JSON)
        })),
        Err(error) => tracing::warn!(%error, "the plans cannot be listed as resources"),
    }
    resources
}

/// The templates.
pub fn templates() -> Vec<ResourceTemplate> {
    let template = |uri: &str, name: &str, description: &str| {
        ResourceTemplate::new(uri, name).with_description(description).with_mime_type(JSON)
    };
    vec![
        template("planner://plans/{plan_id}", "plan", "A plan's summary"),
        template("planner://plans/{plan_id}/tasks", "plan_tasks", "A plan's tasks"),
        template("planner://plans/{plan_id}/tasks/{task_id}", "task", "A task in full"),
        template("planner://plans/{plan_id}/buckets", "plan_buckets", "A plan's buckets"),
        template("planner://reports/{report_id}", "report", "A report whole, all its tasks included"),
    ]
}

/// Reads a resource.
///
/// # Errors
/// When the address means nothing (with the address in `data.uri`), or the service fails.
pub async fn read(
    planner: &Arc<Planner>,
    reports: &Reports,
    caller: &Caller,
    uri: &str,
) -> Result<ReadResourceResult, ErrorData> {
    let missing =
        || ErrorData::resource_not_found(format!("there is no resource `{uri}`"), Some(json!({ "uri": uri })));
    let parts = segments(uri).ok_or_else(missing)?;
    let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
    let fail = |error: Error| failed(&error, uri);
    match parts.as_slice() {
        ["plans"] => contents(uri, &planner.list_plans(caller, None, None).await.map_err(fail)?),
        ["plans", plan] => contents(uri, &planner.get_plan(caller, Some(plan), None).await.map_err(fail)?),
        ["plans", plan, "buckets"] => {
            contents(uri, &planner.list_buckets(caller, Some(plan), None).await.map_err(fail)?)
        }
        ["reports", report] => contents(uri, &reports.report(caller, report).await.map_err(fail)?),
        ["plans", plan, "tasks"] => {
            let query = QueryTasks { plan_id: Some((*plan).to_owned()), limit: Some(TASKS), ..QueryTasks::default() };
            contents(uri, &planner.query(caller, &query).await.map_err(fail)?)
        }
        ["plans", plan, "tasks", task] => {
            let found = planner.get_task(caller, task, None).await.map_err(fail)?;
            if found.plan_id != *plan && found.plan != *plan {
                return Err(missing());
            }
            contents(uri, &found)
        }
        _ => Err(missing()),
    }
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

fn contents(uri: &str, value: &impl Serialize) -> Result<ReadResourceResult, ErrorData> {
    let mut value = serde_json::to_value(value).map_err(|error| ErrorData::internal_error(error.to_string(), None))?;
    text::disarm(&mut value);
    let text = value.to_string();
    Ok(ReadResourceResult::new(vec![ResourceContents::text(text, uri).with_mime_type(JSON)]))
}

fn failed(error: &Error, uri: &str) -> ErrorData {
    let data = json!({ "uri": uri, "error": super::answer::body(error) });
    let message = text::shown(&error.message).into_owned();
    match error.code {
        ErrorCode::PlanNotFound | ErrorCode::TaskNotFound | ErrorCode::NotFound | ErrorCode::InvalidArgument => {
            ErrorData::resource_not_found(message, Some(data))
        }
        _ => ErrorData::internal_error(message, Some(data)),
    }
}

/// Ids that continue what was typed: plans by id or title, tasks of the plan named before by id or title.
pub async fn complete(
    planner: &Arc<Planner>,
    caller: &Caller,
    argument: &str,
    typed: &str,
    plan: Option<String>,
) -> Vec<String> {
    let typed = plain(typed.trim());
    let fits = |id: &str, title: &str| id.to_lowercase().starts_with(&*typed) || plain(title).contains(&*typed);
    match argument {
        "plan_id" | "plan" => match planner.list_plans(caller, None, None).await {
            Ok(plans) => {
                plans.plans.into_iter().filter(|plan| fits(&plan.id, &plan.title)).map(|plan| plan.id).collect()
            }
            Err(_) => Vec::new(),
        },
        "task_id" => {
            let fields = Some(vec!["id".to_owned(), "title".to_owned()]);
            let query = QueryTasks { plan_id: plan, limit: Some(TASKS), fields, ..QueryTasks::default() };
            let rows = planner.query(caller, &query).await.ok().and_then(|page| page.rows).unwrap_or_default();
            let text = |row: &[serde_json::Value], place: usize| {
                row.get(place).and_then(|cell| cell.as_str()).unwrap_or_default().to_owned()
            };
            rows.iter()
                .map(|row| (text(row, 0), text(row, 1)))
                .filter(|(id, title)| fits(id, title))
                .map(|(id, _)| id)
                .collect()
        }
        _ => Vec::new(),
    }
}
