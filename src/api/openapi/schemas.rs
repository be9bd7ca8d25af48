//! Schemas of what the face reads and writes, from the types themselves.
//!
//! Where reading is more generous than a derived schema can say (a number for a word, a text for an object), the schema
//! is widened here; a limit Planner sets is added where it makes the schema a better manual.

use schemars::generate::SchemaSettings;
use serde_json::{Map, Value, json};

use crate::api::problem::Document;
use crate::api::{health, process, tokens};
use crate::services::audit::AuditPage;
use crate::services::events::LogPage;
use crate::services::notifications::{NotificationLog, WebhookHealth, WebhookTest};
use crate::services::planner::input::{CreateTask, QueryTasks, UpdateTask};
use crate::services::planner::{
    COLUMNS, ConflictList, Looked, Nudge, Removed, Replay, Replayed, SyncHealth, TaskPage, TaskReceipt, TaskView,
};
use crate::services::reports::model::Report;
use crate::services::reports::schedule::{ScheduleItem, ScheduleList, ScheduleRemoved, ScheduleRequest};
use crate::services::reports::{ReportList, ReportReceipt, ReportRequest};

/// All named schemas.
pub fn all() -> Map<String, Value> {
    let mut reading = SchemaSettings::openapi3().into_generator();
    reading.subschema_for::<CreateTask>();
    reading.subschema_for::<UpdateTask>();
    reading.subschema_for::<ReportRequest>();
    reading.subschema_for::<ScheduleRequest>();
    reading.subschema_for::<Nudge>();
    reading.subschema_for::<Replay>();
    let mut all = reading.take_definitions(true);
    widen(&mut all);
    let mut writing = SchemaSettings::openapi3().for_serialize().into_generator();
    writing.subschema_for::<TaskReceipt>();
    writing.subschema_for::<WebhookHealth>();
    writing.subschema_for::<NotificationLog>();
    writing.subschema_for::<WebhookTest>();
    writing.subschema_for::<TaskView>();
    writing.subschema_for::<TaskPage>();
    writing.subschema_for::<Removed>();
    writing.subschema_for::<SyncHealth>();
    writing.subschema_for::<LogPage>();
    writing.subschema_for::<ConflictList>();
    writing.subschema_for::<Looked>();
    writing.subschema_for::<Replayed>();
    writing.subschema_for::<ReportReceipt>();
    writing.subschema_for::<ReportList>();
    writing.subschema_for::<Report>();
    writing.subschema_for::<ScheduleItem>();
    writing.subschema_for::<ScheduleList>();
    writing.subschema_for::<ScheduleRemoved>();
    writing.subschema_for::<health::Alive>();
    writing.subschema_for::<health::Health>();
    writing.subschema_for::<tokens::TokenReport>();
    writing.subschema_for::<AuditPage>();
    writing.subschema_for::<process::About>();
    writing.subschema_for::<Document<'_>>();
    all.extend(writing.take_definitions(true));
    all.insert("Metadata".into(), metadata());
    all.values_mut().for_each(drop_foreign_formats);
    all
}

/// The filters of a query, as parameters of the address.
pub fn query_parameters() -> Vec<Value> {
    let mut reading = SchemaSettings::openapi3().into_generator();
    reading.subschema_for::<QueryTasks>();
    let query = reading.take_definitions(true).remove("QueryTasks").unwrap_or_default();
    let Some(Value::Object(properties)) = query.get("properties").cloned() else { return Vec::new() };
    properties.into_iter().map(|(name, schema)| query_parameter(&name, schema)).collect()
}

fn query_parameter(name: &str, mut schema: Value) -> Value {
    drop_foreign_formats(&mut schema);
    let mut description = Value::Null;
    if let Value::Object(schema) = &mut schema {
        schema.remove("nullable"); // an address has no `null`
        schema.remove("default");
        description = schema.remove("description").unwrap_or_default();
        schema.extend(query_limits(name));
    }
    if name == "format" {
        description = "json (default), table, markdown or csv".into();
    }
    // Columns are written with commas; names may hold one, so that such a parameter is repeated.
    if schema.get("type").is_some_and(|kind| kind == "array") {
        return json!({
            "name": name, "in": "query", "description": description, "schema": schema, "style": "form", "explode": name != "fields",
        });
    }
    json!({ "name": name, "in": "query", "description": description, "schema": schema })
}

/// What a derived schema cannot know of a parameter.
fn query_limits(name: &str) -> Map<String, Value> {
    let sorts = ["due_date", "priority", "title", "bucket", "created", "changed"];
    let limits = match name {
        "format" => json!({ "enum": ["json", "table", "markdown", "csv"], "default": "json" }),
        "status" => json!({
            "items": { "type": "string", "enum": ["not_started", "in_progress", "completed", "open", "late"] },
        }),
        "sort" => {
            json!({ "enum": sorts.iter().flat_map(|sort| [(*sort).to_owned(), format!("-{sort}")]).collect::<Vec<_>>() })
        }
        "fields" => json!({ "minItems": 1, "items": { "type": "string", "enum": COLUMNS } }),
        "limit" => json!({ "minimum": 1, "maximum": 1000, "default": 200 }),
        "due_on" | "due_before" | "due_after" | "created_since" | "completed_since" | "changed_since" => {
            json!({ "example": "2026-11-30" })
        }
        _ => json!({}),
    };
    match limits {
        Value::Object(limits) => limits,
        _ => Map::new(),
    }
}

/// Says what reading accepts beyond the derived schemas. `UpdateTask` becomes `TaskChange`: the path names the task.
fn widen(all: &mut Map<String, Value>) {
    let checklist = json!({ "title": { "type": "string" }, "checked": { "type": "boolean", "nullable": true } });
    let reference = json!({ "url": { "type": "string" }, "title": { "type": "string", "nullable": true } });
    all.insert(
        "ChecklistInput".into(),
        text_or("A checklist item; plain text stands for one that is not ticked.", "title", &checklist),
    );
    all.insert(
        "ReferenceInput".into(),
        text_or("A link; a plain URL stands for one without a title.", "url", &reference),
    );
    if let Some(Value::Object(mut change)) = all.remove("UpdateTask") {
        change.insert("description".into(), "The fields to change; all others stay.".into());
        change.remove("required");
        if let Some(Value::Object(properties)) = change.get_mut("properties") {
            properties.remove("task_id");
        }
        all.insert("TaskChange".into(), change.into());
    }
    if let Some(Value::Object(mut change)) = all.remove("ScheduleRequest") {
        // The path names the schedule.
        change.insert("required".into(), json!(["schedule"]));
        if let Some(Value::Object(properties)) = change.get_mut("properties") {
            properties.remove("name");
        }
        all.insert("ScheduleChange".into(), change.into());
    }
    for name in ["CreateTask", "TaskChange"] {
        let Some(Value::Object(properties)) = all.get_mut(name).and_then(|schema| schema.get_mut("properties")) else {
            continue;
        };
        let nullable = name == "CreateTask"; // in a change, `null` is refused
        for schema in properties.values_mut().filter_map(Value::as_object_mut).filter(|_| !nullable) {
            schema.remove("nullable");
        }
        let mut limit = |field: &str, limits: Value| {
            if let (Some(Value::Object(schema)), Value::Object(limits)) = (properties.get_mut(field), limits) {
                schema.extend(limits);
            }
        };
        limit("title", json!({ "minLength": 1, "maxLength": 255 }));
        limit("percent_complete", json!({ "maximum": 100 }));
        limit("idempotency_key", json!({ "minLength": 1, "maxLength": 200 }));
        if let Some(Value::Object(priority)) = properties.get_mut("priority") {
            priority.retain(|key, _| key == "description");
            priority.insert(
                "anyOf".into(),
                json!([{ "type": "string", "nullable": nullable }, { "type": "integer", "minimum": 0, "maximum": 10 }]),
            );
        }
    }
}

fn text_or(description: &str, required: &str, properties: &Value) -> Value {
    let object =
        json!({ "type": "object", "additionalProperties": false, "required": [required], "properties": properties });
    json!({ "description": description, "anyOf": [{ "type": "string" }, object] })
}

fn metadata() -> Value {
    json!({
        "type": "object",
        "description": "A thing and what it is called.",
        "required": ["type", "id", "name", "details"],
        "properties": {
            "type": { "type": "string", "enum": ["user", "group", "plan", "task"] },
            "id": { "type": "string" },
            "name": { "type": "string" },
            "details": { "type": "object", "description": "What else is known; depends on the type." },
        },
    })
}

/// Removes Rust's names of number formats; OpenAPI knows `int32`, `int64`, `float` and `double`.
fn drop_foreign_formats(value: &mut Value) {
    match value {
        Value::Array(items) => items.iter_mut().for_each(drop_foreign_formats),
        Value::Object(schema) => {
            if schema
                .get("format")
                .and_then(Value::as_str)
                .is_some_and(|format| format.starts_with("uint") || format == "int")
            {
                schema.remove("format");
            }
            schema.values_mut().for_each(drop_foreign_formats);
        }
        _ => {}
    }
}
