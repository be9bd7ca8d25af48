//! The paths of reports.

use serde_json::{Value, json};

use super::paths::{GRAPH, WRITE, WRITE_BODY, answer, answers, body, failures, with};

const REPORT: &str = "01kb4x5t0m8q7w9z3c6v1n2p4r";

fn item() -> Value {
    json!({
        "id": REPORT, "type": "weekly", "title": "Weekly report: Website relaunch",
        "plan_ids": ["xqQg5FS2LkCp935s-FIFm2QAFkHM"], "from": "2026-11-12", "to": "2026-11-25",
        "audience": "team_lead", "generated_at": "2026-11-25T15:00:00Z", "by": "key",
    })
}

/// `GET /api/reports`
pub fn list() -> Value {
    json!({
        "operationId": "list_reports", "tags": ["reports"],
        "summary": "List reports, the newest first",
        "responses": answers("ReportList", &json!({ "reports": [item()], "complete": true, "as_of": "2026-11-25T15:00:00Z" }), GRAPH),
    })
}

/// `POST /api/reports`
pub fn create() -> Value {
    let example = json!({
        "id": REPORT, "title": "Weekly report: Website relaunch",
        "summary": "Website relaunch, 12 Nov to 25 Nov 2026: 200 tasks, 134 open, 66 completed (33 %).",
        "resource": format!("planner://reports/{REPORT}"),
    });
    let location = json!({ "Location": { "description": "The report's path", "schema": { "type": "string" } } });
    let mut responses = failures(WRITE_BODY);
    responses.insert("201".into(), with(answer("The report is made", "ReportReceipt", &example), "headers", location));
    let request = json!({ "type": "weekly", "plans": ["Website relaunch"], "time_zone": "Europe/Berlin" });
    json!({
        "operationId": "create_report", "tags": ["reports"],
        "summary": "Make a report",
        "description": "It is kept for a while, and written in any format when it is fetched.",
        "requestBody": body("ReportRequest", &request),
        "responses": responses,
    })
}

/// The answer 200 of a report in any format.
fn file(statuses: &[u16]) -> Value {
    let text = |kind: &str| (kind.to_owned(), json!({ "schema": { "type": "string" } }));
    let bytes = |kind: &str| (kind.to_owned(), json!({ "schema": { "type": "string", "format": "binary" } }));
    let mut content: serde_json::Map<String, Value> = [
        text("text/csv"),
        text("text/markdown"),
        text("text/html"),
        bytes("application/pdf"),
        bytes("application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"),
    ]
    .into_iter()
    .collect();
    let schema = json!({ "$ref": "#/components/schemas/Report" });
    content.insert("application/json".into(), json!({ "schema": schema }));
    let mut responses = failures(statuses);
    responses.insert("200".into(), json!({ "description": "The report", "content": content }));
    Value::Object(responses)
}

/// `GET /api/reports/{id}`
pub fn show() -> Value {
    let formats = crate::services::reports::Format::ALL.map(crate::services::reports::Format::word);
    json!({
        "operationId": "get_report", "tags": ["reports"],
        "summary": "Fetch a report in a format",
        "parameters": [
            { "name": "id", "in": "path", "required": true, "schema": { "type": "string" }, "example": REPORT },
            { "name": "format", "in": "query", "description": "Default json", "schema": { "type": "string", "enum": formats } },
        ],
        "responses": file(GRAPH),
    })
}

/// `GET /downloads/{name}`
pub fn download() -> Value {
    json!({
        "operationId": "download_report", "tags": ["reports"], "security": [],
        "summary": "Fetch a report's file with a signed address",
        "parameters": [
            { "name": "name", "in": "path", "required": true, "schema": { "type": "string" }, "example": format!("{REPORT}.pdf") },
            { "name": "expires", "in": "query", "required": true, "schema": { "type": "integer", "format": "int64" } },
            { "name": "signature", "in": "query", "required": true, "schema": { "type": "string" } },
        ],
        "responses": file(&[400, 401, 404, 429, 500, 503]),
    })
}

fn schedule() -> Value {
    json!({
        "name": "Friday report", "schedule": "0 16 * * fri", "time_zone": "Europe/Berlin", "type": "weekly",
        "plans": ["xqQg5FS2LkCp935s-FIFm2QAFkHM"], "formats": ["html"], "mail_to": ["ada@contoso.com"],
        "next": "2026-11-27T15:00:00Z",
    })
}

fn name() -> Value {
    json!({ "name": "name", "in": "path", "required": true, "description": "Its name", "schema": { "type": "string", "minLength": 1, "maxLength": 80 }, "example": "Friday report" })
}

/// `GET /api/report-schedules`
pub fn list_schedules() -> Value {
    json!({
        "operationId": "list_report_schedules", "tags": ["reports"],
        "summary": "List reports on a schedule, when they are due and how they went",
        "responses": answers("ScheduleList", &json!({ "schedules": [schedule()], "complete": true, "as_of": "2026-11-25T15:00:00Z" }), GRAPH),
    })
}

/// `PUT /api/report-schedules/{name}`
pub fn put_schedule() -> Value {
    let request = json!({
        "schedule": "0 16 * * fri", "report": { "plans": ["Website relaunch"], "time_zone": "Europe/Berlin" },
        "mail_to": ["ada@contoso.com"],
    });
    json!({
        "operationId": "put_report_schedule", "tags": ["reports"],
        "summary": "Deliver a report on a schedule, or change how",
        "parameters": [name()],
        "requestBody": body("ScheduleChange", &request),
        "responses": answers("ScheduleItem", &schedule(), WRITE_BODY),
    })
}

/// `DELETE /api/report-schedules/{name}`
pub fn delete_schedule() -> Value {
    json!({
        "operationId": "delete_report_schedule", "tags": ["reports"],
        "summary": "Remove a report's schedule",
        "parameters": [name()],
        "responses": answers("ScheduleRemoved", &json!({ "removed": "Friday report" }), WRITE),
    })
}

/// `POST /api/report-schedules/{name}/run`
pub fn run_schedule() -> Value {
    json!({
        "operationId": "run_report_schedule", "tags": ["reports"],
        "summary": "Run a scheduled report now and deliver it",
        "parameters": [name()],
        "responses": answers("ScheduleItem", &schedule(), WRITE),
    })
}
