//! The paths of events, the sync log and the conflict log.

use serde_json::{Value, json};

use super::paths::{GRAPH, TASK, WRITE, WRITE_BODY, accepted, answers, body, failures, receipt, with};

const PLAN: &str = "xqQg5FS2LkCp935s-FIFm2QAFkHM";
const CONFLICT: &str = "1795511400000-c4tz8k2m9x0q1w-0a1b2c3d4e5f";

fn parameter(name: &str, description: &str, schema: &Value) -> Value {
    json!({ "name": name, "in": "query", "description": description, "schema": schema })
}

fn text(name: &str, description: &str) -> Value {
    parameter(name, description, &json!({ "type": "string" }))
}

fn limit(usual: u32) -> Value {
    parameter(
        "limit",
        "Entries per page",
        &json!({ "type": "integer", "minimum": 1, "maximum": 500, "default": usual }),
    )
}

/// The id of a conflict in a path.
pub fn conflict_id() -> Value {
    json!({ "name": "id", "in": "path", "required": true, "description": "The conflict's id", "schema": { "type": "string" }, "example": CONFLICT })
}

/// The id of a plan in a path.
pub fn plan_id() -> Value {
    json!({ "name": "id", "in": "path", "required": true, "description": "The plan's id or title", "schema": { "type": "string" }, "example": PLAN })
}

fn event() -> Value {
    json!({
        "event": "updated", "at": "2026-11-25T15:00:00Z", "plan_id": PLAN, "plan": "Website relaunch",
        "task_id": TASK, "title": "Publish the price list", "fields": ["percent_complete"], "percent_complete": 100,
        "side": "planner",
    })
}

/// `GET /api/events`
pub fn listen() -> Value {
    let example = format!("event: updated\nid: c4tz118\ndata: {}\n\n", event());
    let mut responses = failures(GRAPH);
    responses.insert(
        "200".into(),
        json!({
            "description": "Server-sent events: `hello` first, then created, updated, deleted, synced, conflict, refused, plan_changed, stopped, resumed, each with an `EventView` as data, and `reset` where events since the cursor are not kept any more",
            "content": { "text/event-stream": { "schema": { "type": "string" }, "example": example } },
        }),
    );
    let seconds = json!({ "type": "integer", "minimum": 1, "maximum": 600, "default": 600 });
    let last = json!({
        "name": "Last-Event-ID", "in": "header", "description": "The id of the last event heard; wins over `cursor`",
        "schema": { "type": "string" },
    });
    json!({
        "operationId": "listen_to_events", "tags": ["sync"],
        "summary": "Hear of what happens, as it happens",
        "description": "The stream ends after some minutes; come back with `Last-Event-ID` and nothing is missed. In one plan events come in order.",
        "parameters": [
            text("plan", "Plan id or title; all plans if omitted"),
            text("cursor", "The id of the last event heard; from now on if omitted"),
            parameter("seconds", "End the stream after so long", &seconds),
            last,
        ],
        "responses": responses,
    })
}

/// `GET /api/sync/health`
pub fn health() -> Value {
    let plan = json!({
        "plan_id": PLAN, "plan": "Website relaunch", "status": "in_step", "as_of": "2026-11-25T15:00:00Z",
        "tasks": 200, "pending": 0, "working": false,
    });
    json!({
        "operationId": "get_sync_health", "tags": ["sync"],
        "summary": "Say how the plans stand with Planner, and what to do where one is stopped",
        "parameters": [text("plan_id", "Plan id or title; all plans in use if omitted")],
        "responses": answers("SyncHealth", &json!({ "status": "in_step", "plans": [plan] }), GRAPH),
    })
}

/// `GET /api/sync/log`
pub fn log() -> Value {
    let kinds =
        ["created", "updated", "deleted", "synced", "conflict", "refused", "plan_changed", "stopped", "resumed"];
    json!({
        "operationId": "get_sync_log", "tags": ["sync"],
        "summary": "List what has happened, the newest first",
        "parameters": [
            text("plan_id", "Plan id or title; all plans if omitted"),
            text("task_id", "Only this task"),
            parameter("event", "Only this kind", &json!({ "type": "string", "enum": kinds })),
            limit(100),
            text("cursor", "From the previous page"),
        ],
        "responses": answers("LogPage", &json!({ "events": [event()], "complete": true, "as_of": "2026-11-25T15:00:00Z" }), GRAPH),
    })
}

/// `GET /api/sync/conflicts`
pub fn conflicts() -> Value {
    let conflict = json!({
        "id": CONFLICT, "at": "2026-11-25T15:00:00Z", "plan_id": PLAN, "task_id": TASK,
        "title": "Publish the price list", "kind": "both_changed", "field": "title",
        "base": "Price list", "agent": "Publish prices", "planner": "Publish the price list", "winner": "planner",
        "reason": "both sides changed the field",
    });
    json!({
        "operationId": "list_conflicts", "tags": ["sync"],
        "summary": "List what was decided between two values, the newest first",
        "parameters": [
            text("plan_id", "Plan id or title; all plans if omitted"),
            text("task_id", "Only this task"),
            parameter(
                "open",
                "Only those whose losing value was not put back",
                &json!({ "type": "boolean", "default": false }),
            ),
            limit(50),
            text("cursor", "From the previous page"),
        ],
        "responses": answers("ConflictList", &json!({ "conflicts": [conflict], "complete": true, "as_of": "2026-11-25T15:00:00Z" }), GRAPH),
    })
}

/// `POST /api/sync/conflicts/{id}/restore`
pub fn restore() -> Value {
    let responses = answers("TaskReceipt", &receipt("synced"), WRITE);
    json!({
        "operationId": "restore_conflict", "tags": ["sync"],
        "summary": "Put the losing value of a conflict back",
        "description": "As an edit like any other; once for each conflict. A task that is gone is made anew.",
        "responses": with(responses, "202", accepted("TaskReceipt", &receipt("pending"))),
    })
}

/// `POST /api/sync/plans/{id}/confirm`
pub fn confirm() -> Value {
    let example = json!({ "plan_id": PLAN, "plan": "Website relaunch", "changed": 0, "removed": 120, "held_back": 0 });
    json!({
        "operationId": "confirm_plan", "tags": ["sync"],
        "summary": "Follow a mass deletion or change that was held back",
        "responses": answers("LookedAt", &example, WRITE),
    })
}

/// `POST /api/sync/replay`
pub fn replay() -> Value {
    let plan = json!({ "plan_id": PLAN, "plan": "Website relaunch", "arrived": 3, "refused": 0, "pending": 0 });
    json!({
        "operationId": "replay", "tags": ["sync"],
        "summary": "Try again now what has yet to reach Planner",
        "description": "Pauses between tries end, but for those Planner asked for. `refused` writes again too what it had refused for good.",
        "requestBody": body("Replay", &json!({ "plan_id": "Website relaunch" })),
        "responses": answers("Replayed", &json!({ "plans": [plan], "reminders": 0 }), WRITE_BODY),
    })
}

/// `POST /api/planner/nudge`
pub fn nudge() -> Value {
    let looked = json!({ "plan_id": PLAN, "plan": "Website relaunch", "changed": 1, "removed": 0, "held_back": 0 });
    json!({
        "operationId": "nudge", "tags": ["sync"],
        "summary": "Compare plans with Planner now",
        "description": "For whoever sees a change first, such as a Power Automate flow. Name a plan, a group or a task.",
        "requestBody": body("Nudge", &json!({ "plan": "Website relaunch" })),
        "responses": answers("Looked", &json!({ "plans": [looked] }), WRITE_BODY),
    })
}
