//! The problems a call can meet, as answers that all calls of the document share.

use axum::http::StatusCode;
use serde_json::{Map, Value, json};

use crate::api::problem::{PROBLEM_JSON, Problem};
use crate::error::ErrorCode;
use crate::services::Error;

/// Every problem a call can meet: status, meaning, an example's code and text.
const PROBLEMS: &[(u16, &str, &str, &str)] = &[
    (
        400,
        "An argument is wrong, ambiguous or too large, or a cursor has expired",
        "VAL_001",
        "`due_date` is a time without a zone: `2026-11-30T17:00`",
    ),
    (401, "Nobody says who calls, or the key or token is not accepted", "AUTH_001", "nothing says who calls"),
    (
        403,
        "A permission is missing, the server is read-only, or it is not called by one of its names",
        "PERM_002",
        "this server is read-only",
    ),
    (404, "Something named does not exist", "TASK_001", "task `c4tz0000000000` does not exist or was deleted"),
    (
        409,
        "The change collides with another, or an idempotency key was used before with other arguments",
        "VAL_005",
        "the `idempotency_key` was used before with other arguments",
    ),
    (413, "The body is larger than 4 MiB", "VAL_006", "the body is larger than 4 MiB"),
    (415, "The body is not announced as JSON", "VAL_001", "the body is not announced as JSON"),
    (
        422,
        "Microsoft Graph refuses the call for good",
        "GRAPH_002",
        "Planner's limit `MaximumTasksInProject` is reached",
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

/// The answers, by status.
pub fn responses() -> Map<String, Value> {
    PROBLEMS.iter().map(|failure| (format!("{}", failure.0), problem(failure))).collect()
}

fn problem((status, description, code, detail): &(u16, &str, &str, &str)) -> Value {
    let code = code.parse().unwrap_or(ErrorCode::Internal);
    let problem = Problem::refused(StatusCode::from_u16(*status).unwrap_or_default(), Error::new(code, *detail));
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
        "content": { PROBLEM_JSON: { "schema": schema, "example": example } },
    });
    if let (Some(headers), Value::Object(response)) = (headers, &mut response) {
        response.insert("headers".into(), headers);
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn problem_examples_have_the_status_of_their_code() {
        for (status, _, code, _) in PROBLEMS {
            let code: ErrorCode = code.parse().unwrap();
            assert!(code.http_status() == *status || *status == 415, "{code}");
        }
    }
}
