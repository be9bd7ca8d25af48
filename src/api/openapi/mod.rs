//! The description of the REST face: OpenAPI 3.0.3, the version every importer understands (API Management among them).
//!
//! The document is put together once, at the start. Schemas come from the types that are read and written; paths are
//! written by hand in [`paths`](mod@paths), and the tests ask the running server whether they are true.

mod paths;
mod reports;
mod schemas;
mod sync;
mod webhooks;

use std::sync::Arc;

use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use serde_json::{Map, Value, json};

use super::{Access, Proof};

/// `GET /openapi.json`
pub fn show(document: &Arc<str>) -> impl IntoResponse + use<> {
    ([(header::CONTENT_TYPE, "application/json")], document.to_string())
}

/// The patterns of the paths it describes.
pub fn paths(access: &Access) -> Vec<String> {
    paths::all(access).as_object().into_iter().flat_map(Map::keys).cloned().collect()
}

/// The document for a deployment: one that asks nobody says so.
pub fn document(access: &Access) -> Arc<str> {
    let security = match access.proof {
        Proof::Demanded => json!([{ "functionsKey": [] }, { "apiKey": [] }, { "bearer": [] }]),
        Proof::NotDemanded => json!([]),
    };
    let document = json!({
        "openapi": "3.0.3",
        "info": {
            "title": "GraphGate",
            "version": env!("CARGO_PKG_VERSION"),
            "license": { "name": "MIT" },
            "description": "Microsoft Planner for agents, over HTTP. The same service answers the Model Context Protocol \
                at `/mcp`. Reads come from a live replica; a write is journalled, tried at once, and `sync` says how far it has come.",
        },
        "servers": [{ "url": "/" }],
        "security": security,
        "tags": [
            { "name": "tasks", "description": "Tasks of Microsoft Planner" },
            { "name": "sync", "description": "What happens, and how the replica stands with Planner" },
            { "name": "reports", "description": "Reports on plans" },
            { "name": "metadata", "description": "What things are called" },
            { "name": "webhooks", "description": "Change notifications of Microsoft Graph" },
            { "name": "operation", "description": "Health, metrics and tokens" },
        ],
        "paths": paths::all(access),
        "components": {
            "schemas": schemas::all(),
            "responses": responses(),
            "securitySchemes": {
                "functionsKey": { "type": "apiKey", "in": "header", "name": "x-functions-key" },
                "apiKey": { "type": "apiKey", "in": "header", "name": "x-api-key" },
                "bearer": { "type": "http", "scheme": "bearer" },
            },
        },
    });
    document.to_string().into()
}

/// Every failure a call can meet: status, meaning, an example's code and text.
const FAILURES: &[(u16, &str, &str, &str)] = &[
    (
        400,
        "An argument is wrong, ambiguous or too large, or a cursor has expired",
        "VAL_001",
        "`due_date` is a time without a zone: `2026-11-30T17:00`",
    ),
    (
        401,
        "Nobody says who calls, or the key or token is not accepted",
        "AUTH_001",
        "nothing says who calls; nothing was changed",
    ),
    (
        403,
        "A permission is missing, the server is read-only, or it is not called by one of its names",
        "PERM_002",
        "this server is read-only; nothing was changed",
    ),
    (
        404,
        "Something named does not exist",
        "TASK_001",
        "task `c4tz0000000000` does not exist or was deleted; nothing was changed",
    ),
    (
        409,
        "The change collides with another, or an idempotency key was used before with other arguments",
        "VAL_005",
        "the `idempotency_key` was used before with other arguments; nothing was changed",
    ),
    (413, "The body is larger than 4 MiB", "VAL_006", "the body is larger than 4 MiB; nothing was changed"),
    (415, "The body is not announced as JSON", "VAL_001", "the body is not announced as JSON; nothing was changed"),
    (
        422,
        "Microsoft Graph refuses the call for good",
        "GRAPH_002",
        "Planner's limit `MaximumTasksInProject` is reached; nothing was changed",
    ),
    (429, "Too many calls; `Retry-After` says how long to wait", "RATE_001", "Microsoft Graph: too many requests"),
    (500, "A fault of GraphGate", "INT_001", "a fault of GraphGate; it has been logged"),
    (502, "Microsoft Graph failed, or there is no token for it", "GRAPH_001", "Microsoft Graph: internal server error"),
    (
        503,
        "Microsoft Graph cannot be reached, or the store takes no writes",
        "GRAPH_003",
        "Microsoft Graph: the circuit breaker is open",
    ),
    (504, "Time ran out", "TIME_001", "the request took longer than 200 s"),
];

fn responses() -> Map<String, Value> {
    FAILURES.iter().map(|failure| (format!("{}", failure.0), response(failure))).collect()
}

fn response((status, description, code, detail): &(u16, &str, &str, &str)) -> Value {
    let code = code.parse().unwrap_or(crate::error::ErrorCode::Internal);
    let problem = super::problem::Problem::refused(
        StatusCode::from_u16(*status).unwrap_or_default(),
        crate::services::Error::new(code, *detail),
    );
    let example =
        serde_json::to_value(problem.document(Some("0b0e4c1e-6f0a-4d53-9c1d-3f1f6b1c2a77"))).unwrap_or_default();
    let schema = json!({ "$ref": "#/components/schemas/Problem" });
    let headers = match status {
        401 => Some(json!({ "WWW-Authenticate": { "description": "`Bearer`", "schema": { "type": "string" } } })),
        429 | 503 => {
            Some(json!({ "Retry-After": { "description": "Seconds to wait", "schema": { "type": "integer" } } }))
        }
        _ => None,
    };
    let mut response = json!({
        "description": description,
        "content": { super::problem::PROBLEM_JSON: { "schema": schema, "example": example } },
    });
    if let (Some(headers), Value::Object(response)) = (headers, &mut response) {
        response.insert("headers".into(), headers);
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::Writes;

    fn read(proof: Proof) -> Value {
        let access =
            Access { proof, hosts: Vec::new(), origins: Vec::new(), networks: Vec::new(), writes: Writes::Allowed };
        serde_json::from_str(&document(&access)).unwrap()
    }

    fn references(value: &Value, found: &mut Vec<String>) {
        match value {
            Value::Array(items) => items.iter().for_each(|item| references(item, found)),
            Value::Object(object) => {
                found.extend(object.get("$ref").and_then(Value::as_str).map(str::to_owned));
                object.values().for_each(|inner| references(inner, found));
            }
            _ => {}
        }
    }

    #[test]
    fn every_reference_leads_somewhere_and_every_schema_is_used() {
        let document = read(Proof::NotDemanded);
        let mut found = Vec::new();
        references(&document, &mut found);
        for reference in &found {
            assert!(document.pointer(reference.trim_start_matches('#')).is_some(), "{reference}");
        }
        for name in document["components"]["schemas"].as_object().unwrap().keys() {
            assert!(found.contains(&format!("#/components/schemas/{name}")), "{name} is not used");
        }
    }

    #[test]
    fn only_a_deployment_with_a_key_asks_for_one() {
        let status = |document: &Value| document["paths"]["/api/agent/tasks"]["get"]["responses"]["401"].is_object();
        let (open, locked) = (read(Proof::NotDemanded), read(Proof::Demanded));
        assert_eq!((open["security"].clone(), status(&open)), (json!([]), false));
        assert_eq!((locked["security"].as_array().unwrap().len(), status(&locked)), (3, true));
        assert_eq!(locked["paths"]["/health/live"]["get"]["security"], json!([]));
    }

    #[test]
    fn unknown_fields_are_refused_by_the_schemas_too() {
        let schemas = &read(Proof::NotDemanded)["components"]["schemas"];
        for name in ["CreateTask", "TaskChange"] {
            assert_eq!(schemas[name]["additionalProperties"], false, "{name}");
        }
        assert!(schemas["TaskChange"]["properties"].get("task_id").is_none());
    }

    #[test]
    fn every_example_carries_the_status_of_its_code() {
        for (status, _, code, _) in FAILURES {
            let code: crate::error::ErrorCode = code.parse().unwrap();
            assert!(code.http_status() == *status || *status == 415, "{code}");
        }
    }
}
