//! The paths: what each call takes, and every status it answers with.

use serde_json::{Map, Value, json};

use super::{reports, schemas, sync, webhooks};
use crate::api::{Access, Proof};

pub(super) const TASK: &str = "c4tz8k2m9x0q1w";

/// Failures of the guard and of any handler.
pub(super) const ANY: &[u16] = &[400, 401, 403, 429, 500, 503, 504];
/// Failures of calls that may ask Microsoft Graph.
pub(super) const GRAPH: &[u16] = &[400, 401, 403, 404, 422, 429, 500, 502, 503, 504];
/// Failures of calls that write, without a body.
pub(super) const WRITE: &[u16] = &[400, 401, 403, 404, 409, 422, 429, 500, 502, 503, 504];
/// Failures of calls that write what a body says.
pub(super) const WRITE_BODY: &[u16] = &[400, 401, 403, 404, 409, 413, 415, 422, 429, 500, 502, 503, 504];

/// All paths of a deployment.
pub fn all(access: &Access) -> Value {
    let mut paths = json!({
        "/api/agent/tasks": { "get": query_tasks(), "post": create_task() },
        "/api/agent/tasks/{id}": { "parameters": [id()], "get": get_task(), "patch": update_task(), "delete": delete_task() },
        "/api/events": { "get": sync::listen() },
        "/api/sync/health": { "get": sync::health() },
        "/api/sync/log": { "get": sync::log() },
        "/api/sync/conflicts": { "get": sync::conflicts() },
        "/api/sync/conflicts/{id}/restore": { "parameters": [sync::conflict_id()], "post": sync::restore() },
        "/api/sync/plans/{id}/confirm": { "parameters": [sync::plan_id()], "post": sync::confirm() },
        "/api/sync/replay": { "post": sync::replay() },
        "/api/planner/nudge": { "post": sync::nudge() },
        "/api/reports": { "get": reports::list(), "post": reports::create() },
        "/api/reports/{id}": { "get": reports::show() },
        "/api/report-schedules": { "get": reports::list_schedules() },
        "/api/report-schedules/{name}": { "put": reports::put_schedule(), "delete": reports::delete_schedule() },
        "/api/report-schedules/{name}/run": { "post": reports::run_schedule() },
        "/downloads/{name}": { "get": reports::download() },
        "/api/metadata": { "get": get_metadata() },
        "/api/audit": { "get": get_audit() },
        "/api/tokens/status": { "get": get_token_status() },
        "/api/webhook/health": { "get": webhooks::health() },
        "/api/webhook/log": { "get": webhooks::log() },
        "/api/webhook/test": { "post": webhooks::test() },
        "/": { "get": probe("about", "Name and addresses", &answers("About", &about(), &[])) },
        "/health": { "get": ready("get_health") },
        "/health/live": { "get": probe("get_liveness", "Whether the process answers", &answers("Alive", &json!({ "status": "ok", "uptime_seconds": 3600 }), &[])) },
        "/health/ready": { "get": ready("get_readiness") },
        "/metrics": { "get": get_metrics() },
        "/api/openapi.json": { "get": get_openapi() },
    });
    if access.proof == Proof::NotDemanded {
        forget_401(&mut paths);
    }
    // Its addresses carry their own proof, whoever else may come in.
    if let Some(paths) = paths.as_object_mut() {
        paths.insert("/downloads/{name}".to_owned(), json!({ "get": reports::download() }));
    }
    paths
}

fn query_tasks() -> Value {
    let example = json!({
        "tasks": [{ "id": TASK, "title": "Publish the price list", "bucket": "Doing", "status": "in_progress", "priority": "important", "due_date": "2026-11-30", "assignees": ["Ada Lovelace"] }],
        "total": 1, "complete": true, "as_of": "2026-11-21T09:30:00Z",
    });
    let responses = answers("TaskPage", &example, GRAPH);
    let link = json!({ "Link": { "description": "`rel=\"next\"`: the next page", "schema": { "type": "string" } } });
    let responses = change(responses, "200", |page| with(page, "headers", link));
    json!({ "Link": { "description": "`rel=\"next\"`: the next page", "schema": { "type": "string" } } });
    json!({
        "operationId": "query_tasks", "tags": ["tasks"],
        "summary": "Find tasks by any filters",
        "description": "`complete` says whether this page ends the list; else `cursor`, or the `Link` header, leads on.",
        "parameters": schemas::query_parameters(),
        "responses": responses,
    })
}

fn create_task() -> Value {
    let found = |answer: Value| {
        let location = json!({ "Location": { "description": "The task's path", "schema": { "type": "string" } } });
        with(with(answer, "headers", location), "links", links())
    };
    let mut responses = failures(WRITE_BODY);
    responses.insert("201".into(), found(answer("Planner has the task", "TaskReceipt", &receipt("synced"))));
    responses.insert("202".into(), found(accepted("TaskReceipt", &receipt("pending"))));
    let key = json!({
        "name": "Idempotency-Key", "in": "header",
        "description": "Same key, same task: safe to repeat for 24 h. The same as `idempotency_key` in the body.",
        "schema": { "type": "string", "minLength": 1, "maxLength": 200, "pattern": "^[!-~]+$" },
    });
    let example = json!({ "plan_id": "Website relaunch", "title": "Publish the price list", "due_date": "2026-11-30", "priority": "important", "checklist": ["Prices checked"] });
    json!({
        "operationId": "create_task", "tags": ["tasks"],
        "summary": "Create a task",
        "parameters": [key],
        "requestBody": body("CreateTask", &example),
        "responses": responses,
    })
}

fn get_task() -> Value {
    let example = json!({
        "id": TASK, "plan_id": "xqQg5FS2LkCp935s-FIFm2QAFkHM", "plan": "Website relaunch", "title": "Publish the price list",
        "bucket": "Doing", "status": "in_progress", "percent_complete": 50, "priority": "important", "assignees": ["Ada Lovelace"],
        "due_date": "2026-11-30", "categories": [], "changed": "2026-11-21T09:30:00Z", "sync": "synced", "version": "AbR7kQAAAAA", "as_of": "2026-11-21T09:30:00Z",
    });
    let fresh =
        json!({ "name": "fresh", "in": "query", "description": "Ask Planner first", "schema": { "type": "boolean" } });
    json!({
        "operationId": "get_task", "tags": ["tasks"],
        "summary": "Show a task with description, checklist and references",
        "parameters": [fresh],
        "responses": answers("TaskView", &example, GRAPH),
    })
}

fn update_task() -> Value {
    let responses = answers("TaskReceipt", &receipt("synced"), WRITE_BODY);
    let responses = with(responses, "202", accepted("TaskReceipt", &receipt("pending")));
    json!({
        "operationId": "update_task", "tags": ["tasks"],
        "summary": "Change the fields named, nothing else",
        "description": "`clear` empties fields; `null` is refused. `sync` is `conflict` where a person had changed the same field and kept their value.",
        "requestBody": body("TaskChange", &json!({ "status": "completed", "clear": ["due_date"] })),
        "responses": responses,
    })
}

fn delete_task() -> Value {
    let example = |sync: &str| json!({ "id": TASK, "title": "Publish the price list", "sync": sync });
    let responses = answers("Removed", &example("synced"), WRITE);
    let responses = with(responses, "202", accepted("Removed", &example("pending")));
    json!({ "operationId": "delete_task", "tags": ["tasks"], "summary": "Delete a task", "responses": responses })
}

fn get_audit() -> Value {
    let example = json!({
        "entries": [{ "id": "01kb4t7x2m0000000000000000", "at": "2026-11-21T09:30:00Z", "caller": "key:1a2b3c4d", "kind": "api_key", "operation": "delete_task", "writes": true, "target": { "task_id": TASK }, "outcome": "ok", "ms": 41 }],
        "complete": true,
    });
    let parameter = |name: &str, description: &str, schema: Value| json!({ "name": name, "in": "query", "description": description, "schema": schema });
    json!({
        "operationId": "get_audit", "tags": ["operation"],
        "summary": "Say who did what on a day, the oldest first",
        "parameters": [
            parameter("day", "The day (UTC); today without", json!({ "type": "string", "format": "date" })),
            parameter("caller", "Only of this caller", json!({ "type": "string" })),
            parameter("operation", "Only this operation: a tool's name, or method and path", json!({ "type": "string" })),
            parameter("limit", "Rows on the page", json!({ "type": "integer", "minimum": 1, "maximum": 1000 })),
            parameter("cursor", "Where a former page ended", json!({ "type": "string" })),
        ],
        "responses": answers("AuditPage", &example, ANY),
    })
}

fn get_metadata() -> Value {
    let user = "6e7b768e-07e2-4810-8459-485f84f8f204";
    let example = json!({ "type": "user", "id": user, "name": "Ada Lovelace", "details": { "id": user, "name": "Ada Lovelace", "upn": "ada@contoso.com" } });
    json!({
        "operationId": "get_metadata", "tags": ["metadata"],
        "summary": "Say what a user, group, plan or task is called",
        "parameters": [
            { "name": "type", "in": "query", "required": true, "schema": { "type": "string", "enum": ["user", "group", "plan", "task"] } },
            { "name": "id", "in": "query", "required": true, "description": "Id, or name where names are unique", "schema": { "type": "string" }, "example": user },
        ],
        "responses": answers("Metadata", &example, GRAPH),
    })
}

fn get_token_status() -> Value {
    let token = json!({ "scope": "https://graph.microsoft.com/.default", "status": "valid", "expires_at": "2026-11-21T10:30:00Z", "expires_in_seconds": 3540 });
    json!({
        "operationId": "get_token_status", "tags": ["operation"],
        "summary": "Say which tokens are at hand and why one is not",
        "responses": answers("TokenReport", &json!({ "identity": "managed_identity", "tokens": [token] }), ANY),
    })
}

fn get_metrics() -> Value {
    let text = json!({ "schema": { "type": "string" }, "example": "graphgate_tasks 1200\n# EOF\n" });
    let mut responses = failures(&[401, 403, 500]);
    responses.insert(
        "200".into(),
        json!({ "description": "OpenMetrics text", "content": { "application/openmetrics-text": text } }),
    );
    json!({ "operationId": "get_metrics", "tags": ["operation"], "summary": "Counts for Prometheus", "responses": responses })
}

fn get_openapi() -> Value {
    let mut responses = failures(&[401, 403]);
    responses.insert("200".into(), json!({ "description": "This document", "content": { "application/json": { "schema": { "type": "object" } } } }));
    json!({ "operationId": "get_openapi", "tags": ["operation"], "summary": "This document", "responses": responses })
}

fn ready(operation: &str) -> Value {
    let example = |status: &str, draining: bool| {
        json!({
            "status": status, "version": env!("CARGO_PKG_VERSION"), "uptime_seconds": 3600, "draining": draining,
            "store": { "status": "ok", "read_ms": 0 },
            "token": { "status": "ok", "expires_in_seconds": 3540 },
            "graph": { "status": "ok", "last_listing_seconds_ago": 12, "throttled": [], "resting": [] },
            "replicas": { "plans": 8, "tasks": 1200, "pending_writes": 0, "oldest_age_seconds": 14 },
            "reports": { "status": "ok", "schedules": 3, "failing": 0, "overdue": 0 },
            "queues": { "status": "ok", "poisoned": 0 },
        })
    };
    let elsewhere = "Send requests elsewhere: the process is stopping, or its store cannot be read";
    let responses = answers("Health", &example("ok", false), &[]);
    let responses = with(responses, "503", answer(elsewhere, "Health", &example("unavailable", true)));
    probe(operation, "Whether requests should be sent here, and what the process rests on", &responses)
}

/// A call without key, for probers.
fn probe(operation: &str, summary: &str, responses: &Value) -> Value {
    json!({ "operationId": operation, "tags": ["operation"], "summary": summary, "security": [], "responses": responses })
}

fn id() -> Value {
    json!({ "name": "id", "in": "path", "required": true, "description": "Our id of the task, or Planner's", "schema": { "type": "string", "pattern": "^([0-9a-hjkmnp-tv-z]{14}|[A-Za-z0-9_-]{28})$" }, "example": TASK })
}

fn about() -> Value {
    json!({ "name": "graphgate", "version": env!("CARGO_PKG_VERSION"), "mcp": "/mcp", "openapi": "/openapi.json", "docs": "…" })
}

pub(super) fn receipt(sync: &str) -> Value {
    json!({ "id": TASK, "title": "Publish the price list", "bucket": "Doing", "status": "not_started", "sync": sync })
}

pub(super) fn body(schema: &str, example: &Value) -> Value {
    json!({ "required": true, "content": { "application/json": { "schema": reference(schema), "example": example } } })
}

pub(super) fn answer(description: &str, schema: &str, example: &Value) -> Value {
    json!({ "description": description, "content": { "application/json": { "schema": reference(schema), "example": example } } })
}

pub(super) fn accepted(schema: &str, example: &Value) -> Value {
    answer("Journalled; it reaches Planner by itself, do not repeat it", schema, example)
}

/// `object` with a member more.
pub(super) fn with(mut object: Value, name: &str, member: Value) -> Value {
    if let Value::Object(object) = &mut object {
        object.insert(name.into(), member);
    }
    object
}

/// `object` with one of its members changed.
fn change(mut object: Value, name: &str, change: impl FnOnce(Value) -> Value) -> Value {
    if let Some(member) = object.get_mut(name) {
        *member = change(member.take());
    }
    object
}

/// The answer 200 and failures.
pub(super) fn answers(schema: &str, example: &Value, statuses: &[u16]) -> Value {
    let mut responses = failures(statuses);
    responses.insert("200".into(), answer("Done", schema, example));
    Value::Object(responses)
}

pub(super) fn failures(statuses: &[u16]) -> Map<String, Value> {
    let reference = |status: &u16| json!({ "$ref": format!("#/components/responses/{status}") });
    statuses.iter().map(|status| (status.to_string(), reference(status))).collect()
}

fn links() -> Value {
    let link = |operation: &str| json!({ "operationId": operation, "parameters": { "id": "$response.body#/id" } });
    json!({ "show": link("get_task"), "change": link("update_task"), "delete": link("delete_task") })
}

fn reference(schema: &str) -> Value {
    json!({ "$ref": format!("#/components/schemas/{schema}") })
}

/// A deployment without a key never answers 401.
fn forget_401(value: &mut Value) {
    if let Value::Object(object) = value {
        object.remove("401");
        object.values_mut().for_each(forget_401);
    }
}
