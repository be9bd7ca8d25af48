//! Graph's error answers: `{"error":{"code","message","innerError":{"date","request-id","client-request-id"}}}`.
//! Planner's own refusals carry an empty code, its limits the name of the limit.

use base64::{Engine, engine::general_purpose::STANDARD};
use chrono::{DateTime, Utc};
use serde_json::json;

/// A refusal as Graph words it.
#[derive(Clone, Debug)]
pub struct GraphError {
    pub status: u16,
    pub code: String,
    pub message: String,
    pub headers: Vec<(&'static str, String)>,
}

impl GraphError {
    /// Any refusal.
    pub fn new(status: u16, code: &str, message: impl Into<String>) -> Self {
        Self { status, code: code.to_owned(), message: message.into(), headers: Vec::new() }
    }

    /// 400 of the directory (users, groups, organization).
    pub fn bad_request(message: impl Into<String>) -> Self {
        Self::new(400, "Request_BadRequest", message)
    }

    /// 400 of Planner: its code is empty.
    pub fn planner(message: impl Into<String>) -> Self {
        Self::new(400, "", message)
    }

    /// 400 for a request that never reaches a workload.
    pub fn malformed(message: impl Into<String>) -> Self {
        Self::new(400, "BadRequest", message)
    }

    /// 404 of the directory.
    pub fn no_resource(id: &str) -> Self {
        let message =
            format!("Resource '{id}' does not exist or one of its queried reference-property objects are not present.");
        Self::new(404, "Request_ResourceNotFound", message)
    }

    /// 404 of Planner.
    pub fn not_found() -> Self {
        Self::new(404, "", "The requested item is not found.")
    }

    /// 400 for a path segment that no resource has.
    pub fn no_segment(segment: &str) -> Self {
        Self::new(400, "BadRequest", format!("Resource not found for the segment '{segment}'."))
    }

    /// 405.
    pub fn method(method: &str) -> Self {
        Self::new(
            405,
            "Request_BadRequest",
            format!("Specified HTTP method '{method}' is not allowed for the request target."),
        )
    }

    /// 403 with the permissions that would do.
    pub fn forbidden(code: &str, needed: &[&str]) -> Self {
        let message = format!(
            "Insufficient privileges to complete the operation. The token needs one of: {}.",
            needed.join(", ")
        );
        Self::new(403, code, message)
    }

    /// 401 with the challenge.
    pub fn unauthenticated(message: &str) -> Self {
        let mut error = Self::new(401, "InvalidAuthenticationToken", message);
        error.headers.push((
            "www-authenticate",
            "Bearer realm=\"\", authorization_uri=\"https://login.microsoftonline.com/common/oauth2/authorize\", client_id=\"00000003-0000-0000-c000-000000000000\"".to_owned(),
        ));
        error
    }

    /// 401 with a claims challenge: the client has to bring a token from after `now`.
    pub fn challenge(code: &str, now: DateTime<Utc>) -> Self {
        let message = format!(
            "Continuous access evaluation resulted in challenge with result: InteractionRequired and code: {code}"
        );
        let mut error = Self::unauthenticated(&message);
        let claims = json!({"access_token": {"nbf": {"essential": true, "value": now.timestamp().to_string()}}});
        let claims = STANDARD.encode(claims.to_string());
        if let Some((_, header)) = error.headers.last_mut() {
            header.push_str(&format!(", error=\"insufficient_claims\", claims=\"{claims}\""));
        }
        error
    }

    /// The body of the answer.
    pub fn body(&self, date: &str, request_id: &str, client_request_id: &str) -> String {
        json!({"error": {"code": self.code, "message": self.message, "innerError": {
            "date": date, "request-id": request_id, "client-request-id": client_request_id}}})
        .to_string()
    }
}
