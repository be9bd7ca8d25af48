//! Failures as problem documents (RFC 9457): the one place where an error becomes an answer. What is said of a failure is
//! its [`Members`], as on every interface.
//!
//! A problem travels in the answer's extensions as well, and the guard writes it again with the request's id, which
//! handlers do not know.

use axum::http::{HeaderValue, Method, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use schemars::JsonSchema;
use serde::Serialize;

use crate::error::{ErrorClass, ErrorCode};
use crate::services::{Changed, Error, Members};

/// The media type of a problem document.
pub const PROBLEM_JSON: &str = "application/problem+json";

/// A failure as an HTTP answer.
#[derive(Debug, Clone)]
pub struct Problem {
    status: StatusCode,
    error: Error,
}

/// The document a client reads.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Problem")]
pub struct Document<'a> {
    /// Names the kind of problem: `urn:graphgate:error:` and the code.
    #[serde(rename = "type")]
    kind: String,
    /// The kind of problem in words.
    title: &'static str,
    /// The HTTP status.
    status: u16,
    /// What happened in this case: the message.
    detail: String,
    /// Who has to act: the class.
    error: ErrorClass,
    /// What every interface says of a failure.
    #[serde(flatten)]
    members: Members,
    /// The request's id, as in the `x-request-id` header and the log.
    #[serde(skip_serializing_if = "Option::is_none")]
    request_id: Option<&'a str>,
}

impl Problem {
    /// A wrong request that has a status of its own.
    pub fn refused(status: StatusCode, error: Error) -> Self {
        Self { status, error }
    }

    /// What happened, whether anything was changed, and what to do next, for people.
    pub fn sentence(&self) -> String {
        self.error.sentence()
    }

    /// Whether it is known that nothing was changed.
    pub fn changed_nothing(&self) -> bool {
        self.error.changed == Changed::Nothing
    }

    /// The status of the answer.
    #[must_use]
    pub const fn status(&self) -> StatusCode {
        self.status
    }

    /// The error's code.
    #[must_use]
    pub fn code(&self) -> ErrorCode {
        self.error.code
    }

    /// The answer, with the request's id if it is known.
    #[must_use]
    pub fn respond(self, request_id: Option<&str>) -> Response {
        let document = self.document(request_id);
        let wait = document.members.same.retry_after_seconds;
        let body = serde_json::to_vec(&document).unwrap_or_default(); // what it holds can always be written
        let mut response = (self.status, [(header::CONTENT_TYPE, PROBLEM_JSON)], body).into_response();
        let headers = response.headers_mut();
        if let Some(seconds) = wait {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        response.extensions_mut().insert(self);
        response
    }

    /// The document itself.
    pub fn document<'a>(&self, request_id: Option<&'a str>) -> Document<'a> {
        let (code, members) = (self.error.code, self.error.members());
        Document {
            kind: format!("urn:graphgate:error:{code}"),
            title: title(code),
            status: self.status.as_u16(),
            detail: members.message.clone(),
            error: members.class,
            members,
            request_id,
        }
    }
}

impl From<Error> for Problem {
    fn from(error: Error) -> Self {
        let status = StatusCode::from_u16(error.code.http_status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        Self { status, error }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        self.respond(None)
    }
}

/// Answers a method a path does not know; the router adds `Allow`.
pub async fn wrong_method(method: Method, uri: Uri) -> Problem {
    let error = Error::invalid(format!("`{}` does not take `{method}`", uri.path()));
    Problem::refused(StatusCode::METHOD_NOT_ALLOWED, error.hint("the `Allow` header lists the methods"))
}

/// Answers a path nobody serves.
pub async fn unknown_path(uri: Uri) -> Problem {
    Error::new(ErrorCode::NotFound, format!("there is no `{}` here", uri.path()))
        .hint("`/openapi.json` lists the paths; MCP is at `/mcp`")
        .into()
}

const fn title(code: ErrorCode) -> &'static str {
    match code {
        ErrorCode::InvalidArgument => "Invalid argument",
        ErrorCode::AmbiguousName => "Ambiguous name",
        ErrorCode::LimitExceeded => "Limit exceeded",
        ErrorCode::ExpiredCursor => "Expired cursor",
        ErrorCode::KeyReused => "Idempotency key reused",
        ErrorCode::BodyTooLarge => "Request body too large",
        ErrorCode::PlanNotFound => "Plan not found",
        ErrorCode::BucketNotFound => "Bucket not found",
        ErrorCode::TaskNotFound => "Task not found",
        ErrorCode::UserExists => "User exists",
        ErrorCode::UserNotFound => "User not found",
        ErrorCode::NameTaken => "Name taken",
        ErrorCode::TeamNotFound => "Group not found",
        ErrorCode::TemplateNotFound => "Template not found",
        ErrorCode::NotFound => "Not found",
        ErrorCode::Unauthenticated => "Not authenticated",
        ErrorCode::TokenExpired => "Token or key expired",
        ErrorCode::CredentialFailed => "No token for Microsoft 365",
        ErrorCode::PermissionMissing => "Not permitted",
        ErrorCode::ReadOnly => "Read-only",
        ErrorCode::Conflict => "Conflict",
        ErrorCode::Throttled => "Too many calls",
        ErrorCode::GraphFailed => "Microsoft Graph failed",
        ErrorCode::GraphRefused => "Microsoft Graph refused",
        ErrorCode::GraphUnreachable => "Microsoft Graph unreachable",
        ErrorCode::StoreFailed => "Store failed",
        ErrorCode::TimedOut => "Out of time",
        ErrorCode::Cancelled => "Cancelled",
        ErrorCode::Configuration => "Configuration error",
        ErrorCode::Internal => "Internal error",
    }
}
