//! Plans, buckets, tasks and reports as resources of the protocol; what each holds is said in
//! [`toolsets::resources`](crate::toolsets::resources).

use std::sync::Arc;

use rmcp::ErrorData;
use rmcp::model::{ReadResourceResult, Resource, ResourceContents, ResourceTemplate};
use serde_json::{Value, json};

use crate::auth::Caller;
use crate::error::ErrorCode;
use crate::services::Error;
use crate::services::planner::Planner;
use crate::services::planner::input::QueryTasks;
use crate::services::planner::words::plain;
use crate::text;
use crate::toolsets::resources::{PLANS_URI, TASKS, TEMPLATES};

const JSON: &str = "application/json";
/// Plans listed one by one.
const PLANS: usize = 100;

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
    let template = |(uri, name, description): &(&str, &str, &str)| {
        ResourceTemplate::new(*uri, *name).with_description(*description).with_mime_type(JSON)
    };
    TEMPLATES.iter().map(template).collect()
}

/// What a resource holds, as the protocol has it.
///
/// # Errors
/// When there is none of that address (with the address in `data.uri`), or the service failed.
pub fn contents(uri: &str, read: Result<Value, Error>) -> Result<ReadResourceResult, ErrorData> {
    let value = read.map_err(|error| failed(&error, uri))?;
    Ok(ReadResourceResult::new(vec![ResourceContents::text(value.to_string(), uri).with_mime_type(JSON)]))
}

fn failed(error: &Error, uri: &str) -> ErrorData {
    let members = error.members();
    let message = members.message.clone();
    let data = json!({ "uri": uri, "error": members });
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
            let text = |row: &[Value], place: usize| {
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
