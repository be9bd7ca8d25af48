//! Tasks, for agents that speak HTTP: the same service, arguments and answers as the MCP tools.

use std::sync::Arc;

use axum::extract::State as Shared;
use axum::http::{HeaderMap, HeaderValue, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use url::form_urlencoded;

use super::extract::{Id, IdempotencyKey, Json, NoQuery, Query, Shown, Writer, decode, one_key};
use super::operation::{ACCEPTED, GRAPH, Operation, Place, Rest, Tag, WRITE, WRITE_BODY};
use super::problem::Problem;
use super::route::{Need, Route};
use crate::auth::Caller;
use crate::services::Error;
use crate::services::planner::input::{CreateTask, QueryTasks, UpdateTask};
use crate::services::planner::{Planner, Removed, SyncOutcome, TaskPage, TaskReceipt, TaskView};

/// A task's id in examples.
pub const TASK: &str = "c4tz8k2m9x0q1w";

/// The toolset that tasks belong to.
const TOOLSET: &str = "planner";
const ONE: &str = "/api/agent/tasks/{id}";

/// The routes.
pub fn routes() -> Vec<Route> {
    let (reads, writes) = (Need::Reads(TOOLSET), Need::Writes(TOOLSET));
    let removed = |sync: &str| json!({ "id": TASK, "title": "Publish the price list", "sync": sync });
    let found = Operation::new(Tag::Tasks, "query_tasks", "Find tasks by any filters")
        .more("`complete` says whether this page ends the list; else `cursor`, or the `Link` header, leads on.")
        .parameters::<QueryTasks>(Place::Query)
        .answers::<TaskPage>(json!({
            "tasks": [{ "id": TASK, "title": "Publish the price list", "bucket": "Doing", "status": "in_progress", "priority": "important", "due_date": "2026-11-30", "assignees": ["Ada Lovelace"] }],
            "total": 1, "complete": true, "as_of": "2026-11-21T09:30:00Z",
        }))
        .with_header("Link", "`rel=\"next\"`: the next page")
        .problems(GRAPH);
    let created = Operation::new(Tag::Tasks, "create_task", "Create a task")
        .parameters::<KeyHeader>(Place::Header)
        .takes::<CreateTask>(json!({ "plan_id": "Website relaunch", "title": "Publish the price list", "due_date": "2026-11-30", "priority": "important", "checklist": ["Prices checked"] }))
        .answers_with::<TaskReceipt>(201, "Planner has the task", receipt("synced"))
        .with_header("Location", "The task's path")
        .with_links(LINKS)
        .answers_with::<TaskReceipt>(202, ACCEPTED, receipt("pending"))
        .with_header("Location", "The task's path")
        .with_links(LINKS)
        .problems(WRITE_BODY);
    let shown = Operation::new(Tag::Tasks, "get_task", "Show a task with description, checklist and references")
        .parameters::<Named>(Place::Path)
        .parameters::<Showing>(Place::Query)
        .answers::<TaskView>(json!({
            "id": TASK, "plan_id": "xqQg5FS2LkCp935s-FIFm2QAFkHM", "plan": "Website relaunch", "title": "Publish the price list",
            "bucket": "Doing", "status": "in_progress", "percent_complete": 50, "priority": "important", "assignees": ["Ada Lovelace"],
            "due_date": "2026-11-30", "categories": [], "changed": "2026-11-21T09:30:00Z", "sync": "synced", "version": "AbR7kQAAAAA", "as_of": "2026-11-21T09:30:00Z",
        }))
        .problems(GRAPH);
    let changed = Operation::new(Tag::Tasks, "update_task", "Change the fields named, nothing else")
        .more("`clear` empties fields; `null` is refused. `sync` is `conflict` where a person had changed the same field and kept their value.")
        .parameters::<Named>(Place::Path)
        .takes_rest::<UpdateTask>("TaskChange", "task_id", Rest::Changes, json!({ "status": "completed", "clear": ["due_date"] }))
        .answers::<TaskReceipt>(receipt("synced"))
        .answers_with::<TaskReceipt>(202, ACCEPTED, receipt("pending"))
        .problems(WRITE_BODY);
    let deleted = Operation::new(Tag::Tasks, "delete_task", "Delete a task")
        .parameters::<Named>(Place::Path)
        .answers::<Removed>(removed("synced"))
        .answers_with::<Removed>(202, ACCEPTED, removed("pending"))
        .problems(WRITE);
    vec![
        Route::get("/api/agent/tasks", reads, list).described(found),
        Route::post("/api/agent/tasks", writes, create).described(created),
        Route::get(ONE, reads, show).naming("task_id").described(shown),
        Route::patch(ONE, writes, update).naming("task_id").described(changed),
        Route::delete(ONE, writes, delete).naming("task_id").described(deleted),
    ]
}

/// What leads on from a new task.
const LINKS: &[(&str, &str)] = &[("show", "get_task"), ("change", "update_task"), ("delete", "delete_task")];

/// A receipt in examples.
pub fn receipt(sync: &str) -> Value {
    json!({ "id": TASK, "title": "Publish the price list", "bucket": "Doing", "status": "not_started", "sync": sync })
}

/// What the path names.
#[derive(JsonSchema)]
#[allow(dead_code)] // read by the document alone
struct Named {
    /// Our id of the task, or Planner's
    #[schemars(regex(pattern = "^([0-9a-hjkmnp-tv-z]{14}|[A-Za-z0-9_-]{28})$"), example = TASK)]
    id: String,
}

/// The header that makes a call safe to repeat.
#[derive(JsonSchema)]
#[allow(dead_code)] // read by the document alone
pub struct KeyHeader {
    /// Same key, same effect: safe to repeat for 24 h. The same as `idempotency_key` in the body.
    #[schemars(rename = "Idempotency-Key", length(min = 1, max = 200), regex(pattern = "^[!-~]+$"))]
    idempotency_key: Option<String>,
}

/// How a task is to be shown.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Showing {
    /// Ask Planner first
    fresh: Option<bool>,
}

/// `GET /api/agent/tasks`
async fn list(
    Shared(planner): Shared<Arc<Planner>>,
    caller: Caller,
    uri: Uri,
    Query(filters): Query<Map<String, Value>>,
) -> Result<(HeaderMap, Shown<TaskPage>), Problem> {
    let mut query: QueryTasks = decode(Value::Object(ours(with_status(filters)?, FILTERS)?))?;
    query.format.get_or_insert_with(|| "json".to_owned());
    let page = planner.query(&caller, &query).await?;
    let link = page.cursor.as_deref().and_then(|cursor| next_link(&uri, cursor));
    Ok((link.map(|link| (header::LINK, link)).into_iter().collect(), Shown(page)))
}

/// `POST /api/agent/tasks`: 201 once Planner has the task, 202 while it is on its way.
async fn create(
    Shared(planner): Shared<Arc<Planner>>,
    Writer(caller): Writer,
    IdempotencyKey(key): IdempotencyKey,
    _: NoQuery,
    Json(fields): Json<Map<String, Value>>,
) -> Result<Created, Problem> {
    let mut input: CreateTask = decode(Value::Object(ours(fields, FIELDS)?))?;
    input.idempotency_key = one_key(key, input.idempotency_key)?;
    Ok(Created(planner.create_task(&caller, &input).await?))
}

/// `GET /api/agent/tasks/{id}`
async fn show(
    Shared(planner): Shared<Arc<Planner>>,
    caller: Caller,
    Id(id): Id,
    Query(showing): Query<Showing>,
) -> Result<Shown<TaskView>, Problem> {
    Ok(Shown(planner.get_task(&caller, &id, showing.fresh).await?))
}

/// `PATCH /api/agent/tasks/{id}`: only the fields named change.
async fn update(
    Shared(planner): Shared<Arc<Planner>>,
    Writer(caller): Writer,
    Id(id): Id,
    _: NoQuery,
    Json(changes): Json<Map<String, Value>>,
) -> Result<(StatusCode, Shown<TaskReceipt>), Problem> {
    let receipt = planner.update_task(&caller, &change_of(id, changes)?).await?;
    Ok((accepted_or_ok(receipt.sync), Shown(receipt)))
}

/// `DELETE /api/agent/tasks/{id}`
async fn delete(
    Shared(planner): Shared<Arc<Planner>>,
    Writer(caller): Writer,
    Id(id): Id,
    _: NoQuery,
) -> Result<(StatusCode, Shown<Removed>), Problem> {
    let removed = planner.delete_task(&caller, &id).await?;
    Ok((accepted_or_ok(removed.sync), Shown(removed)))
}

/// A new task and where it is.
pub struct Created(TaskReceipt);

impl IntoResponse for Created {
    fn into_response(self) -> Response {
        let status = if self.0.sync == SyncOutcome::Pending { StatusCode::ACCEPTED } else { StatusCode::CREATED };
        (status, [(header::LOCATION, format!("/api/agent/tasks/{}", self.0.id))], Shown(self.0)).into_response()
    }
}

fn accepted_or_ok(sync: SyncOutcome) -> StatusCode {
    if sync == SyncOutcome::Pending { StatusCode::ACCEPTED } else { StatusCode::OK }
}

/// The arguments of a change: the body's fields, and the task the path names.
fn change_of(id: String, fields: Map<String, Value>) -> Result<UpdateTask, Problem> {
    if fields.contains_key("task_id") {
        return Err(Error::invalid("unknown field `task_id`: the path names the task").into());
    }
    let mut fields = ours(fields, FIELDS)?;
    fields.insert("task_id".into(), id.into());
    decode(Value::Object(fields))
}

/// Graph's names of fields, and ours. They are served for programs that know Graph, and the document lists ours alone.
const FIELDS: &[(&str, &str)] = &[
    ("planId", "plan_id"),
    ("bucketId", "bucket_id"),
    ("percentComplete", "percent_complete"),
    ("dueDateTime", "due_date"),
    ("startDateTime", "start_date"),
    ("assigneeIds", "assignee_ids"),
];

/// The same of filters.
const FILTERS: &[(&str, &str)] =
    &[("planId", "plan_id"), ("bucketId", "bucket"), ("dueDateTime", "due_on"), ("assigneeIds", "assignee")];

/// Filters with the status that stands for Graph's per cent.
fn with_status(mut filters: Map<String, Value>) -> Result<Map<String, Value>, Error> {
    let Some(percent) = filters.remove("percentComplete") else { return Ok(filters) };
    let status = match percent.as_str().and_then(|text| text.parse::<u8>().ok()) {
        Some(0) => "not_started",
        Some(100) => "completed",
        Some(1..100) => "in_progress",
        _ => return Err(Error::invalid(format!("`percentComplete` is {percent}")).hint("use 0 to 100")),
    };
    if filters.insert("status".to_owned(), status.into()).is_some() {
        return Err(Error::invalid("`percentComplete` and `status` are one filter").hint("send one of them"));
    }
    Ok(filters)
}

/// Fields by our names.
fn ours(mut fields: Map<String, Value>, names: &[(&str, &str)]) -> Result<Map<String, Value>, Error> {
    for (graph, ours) in names {
        let Some(value) = fields.remove(*graph) else { continue };
        if fields.insert((*ours).to_owned(), value).is_some() {
            return Err(Error::invalid(format!("`{graph}` and `{ours}` are one field")).hint("send one of them"));
        }
    }
    Ok(fields)
}

/// The address of the next page: this one's, with the cursor in place of the old one (RFC 8288).
fn next_link(uri: &Uri, cursor: &str) -> Option<HeaderValue> {
    let mut query = form_urlencoded::Serializer::new(String::new());
    query.extend_pairs(
        form_urlencoded::parse(uri.query().unwrap_or("").as_bytes()).filter(|(name, _)| name != "cursor"),
    );
    let query = query.append_pair("cursor", cursor).finish();
    HeaderValue::from_str(&format!("<{}?{query}>; rel=\"next\"", uri.path())).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn next_page_link_keeps_filters_and_replaces_the_cursor() {
        let uri = Uri::from_static("/api/agent/tasks?plan_id=Web%20shop&cursor=old&limit=2");
        let link = next_link(&uri, "new").unwrap();
        assert_eq!(link, "</api/agent/tasks?plan_id=Web+shop&limit=2&cursor=new>; rel=\"next\"");
    }
}
