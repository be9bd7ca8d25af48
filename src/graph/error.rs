//! What went wrong in a call to Graph.
//!
//! A failed write leaves a question: did it happen? [`Error::is_ambiguous`] answers it from method, status and the
//! way the connection ended. The rule is there; merging and reading again are the caller's part.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use http::{HeaderMap, Method};
use serde::Deserialize;

use super::request::Request;
use crate::azure::credential;
use crate::http_client::{Answer, Delivery, Failure, retry_after};

/// Whether a request without a usable answer may have had an effect.
pub use crate::http_client::Delivery as Sent;

/// A failed call.
#[derive(Debug, Clone)]
pub struct Error {
    /// The client's function: `update_task`.
    pub operation: &'static str,
    /// What kind of failure it is.
    pub kind: ErrorKind,
    /// The rest of what is known.
    pub context: Box<Context>,
}

/// Circumstances of a failed call.
#[derive(Debug, Clone, Default)]
pub struct Context {
    /// The HTTP status; `None` without an answer.
    pub status: Option<u16>,
    /// Graph's error code; Planner often sends none.
    pub code: String,
    /// Graph's message.
    pub message: String,
    /// Graph's id of the request, for Microsoft's support.
    pub request_id: Option<String>,
    /// Our id of the request.
    pub client_request_id: Option<String>,
    creates: bool,
    writes: bool,
    delivery: Option<Delivery>,
}

/// The kinds of failure.
#[derive(Debug, Clone, thiserror::Error)]
pub enum ErrorKind {
    /// 404.
    #[error("it does not exist")]
    NotFound,
    /// 409: the change collides with a newer one.
    #[error("it was changed meanwhile (conflict)")]
    Conflict,
    /// 412: the version (`ETag`) names no current version.
    #[error("it was changed meanwhile (precondition)")]
    PreconditionFailed,
    /// 403 without the name of a limit.
    #[error("access is denied{}", missing.as_ref().map(|name| format!("; the permission `{name}` is missing")).unwrap_or_default())]
    Forbidden {
        /// The permission Graph's text names, if it names one.
        missing: Option<String>,
    },
    /// 403 with the name of a Planner limit, as in `MaximumTasksInProject`: permanent for this request.
    #[error("the limit `{name}` is reached")]
    Limit {
        /// The limit's name.
        name: String,
    },
    /// 401.
    #[error("the token was not accepted")]
    Unauthorized,
    /// Any other 4xx.
    #[error("the request was refused: {0}")]
    BadRequest(String),
    /// 424: a request of the same batch on which this one depends failed.
    #[error("a request it depends on failed")]
    FailedDependency,
    /// 429, or a wait longer than the deadline allows.
    #[error("throttled; retry after {} s", retry_after.as_secs_f64().ceil())]
    Throttled {
        /// The wait from now.
        retry_after: Duration,
    },
    /// 408 or 5xx.
    #[error("the service is unavailable")]
    Unavailable,
    /// No answer in time.
    #[error("no answer in time")]
    Timeout {
        /// Whether the request may have had an effect.
        sent: Sent,
    },
    /// No connection, or one that broke.
    #[error("unreachable: {0}")]
    Unreachable(String),
    /// An answer that is not what Graph documents.
    #[error("unexpected answer at `{path}`: {reason}")]
    Decode {
        /// Where in the JSON.
        path: String,
        /// What is wrong there.
        reason: String,
    },
    /// A batch answered without this request's part: it may or may not have been carried out.
    #[error("the batch's answer does not hold it")]
    Unknown,
    /// The deployment is read-only and this would change something: it was not sent.
    #[error("the deployment is read-only (`READ_ONLY`)")]
    ReadOnly,
    /// No token.
    #[error("no token for Microsoft Graph")]
    Credential(#[source] Arc<credential::Error>),
    /// The service failed repeatedly; calls are held back.
    #[error("held back after repeated failures; retry after {} s", retry_after.as_secs_f64().ceil())]
    BreakerOpen {
        /// The wait from now.
        retry_after: Duration,
    },
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}` failed: {}", self.operation, self.kind)
    }
}

impl std::error::Error for Error {
    /// The kind is part of the text, so its own source comes next.
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.kind.source()
    }
}

impl Error {
    pub(super) fn new(operation: &'static str, method: &Method, kind: ErrorKind) -> Self {
        let context = Context { creates: method == Method::POST, writes: method != Method::GET, ..Context::default() };
        Self { operation, kind, context: Box::new(context) }
    }

    pub(super) fn from_failure(operation: &'static str, method: &Method, failure: Failure) -> Self {
        let (kind, delivery) = match failure {
            Failure::Throttled { retry_after, delivery } => (ErrorKind::Throttled { retry_after }, delivery),
            Failure::BreakerOpen { retry_after, delivery } => (ErrorKind::BreakerOpen { retry_after }, delivery),
            Failure::TimedOut { delivery } => (ErrorKind::Timeout { sent: delivery }, delivery),
            Failure::Unreachable { reason, delivery } => (ErrorKind::Unreachable(reason), delivery),
        };
        Self::new(operation, method, kind).with_delivery(delivery)
    }

    /// The error an answer with a status other than 2xx stands for.
    pub(super) fn from_answer(operation: &'static str, method: &Method, answer: &Answer, now: DateTime<Utc>) -> Self {
        let said = Said::read(&answer.body);
        let wait = retry_after(&answer.headers, now);
        let kind = kind(answer.status.as_u16(), &said, wait);
        let mut error = Self::new(operation, method, kind).with_delivery(answer.earlier);
        let context = &mut error.context;
        context.status = Some(answer.status.as_u16());
        context.request_id = header(&answer.headers, "request-id").or(said.request_id);
        context.client_request_id = Some(answer.client_request_id.clone()).filter(|id| !id.is_empty());
        (context.code, context.message) = (said.code, said.message);
        error
    }

    /// The failure of a whole batch, seen from one of its requests.
    pub(super) fn for_part(&self, request: &Request) -> Self {
        let mut error = self.clone();
        error.operation = request.operation;
        error.context.creates = request.method == Method::POST;
        error.context.writes = request.method != Method::GET;
        error
    }

    /// A failure that followed a write which Graph has confirmed, such as reading what it made of it.
    pub(super) fn after_write(mut self) -> Self {
        self.context.writes = true;
        self.with_delivery(Delivery::MaybeSent)
    }

    pub(super) fn with_delivery(mut self, delivery: Delivery) -> Self {
        self.context.delivery = self.context.delivery.max(Some(delivery));
        self
    }

    /// Whether the write may have been carried out although the call failed.
    ///
    /// - A GET never changes anything.
    /// - Everything that left a sent request unanswered (broken connection, timeout, missing part of a batch), in this attempt
    ///   or in one before: yes. So a 409, 412 or 404 after such an attempt may be the echo of our own success.
    /// - 2xx with an unreadable body: yes, it was carried out.
    /// - 408 and 5xx: yes.
    /// - A create answered 403 without the name of a limit, or with 409: yes; a plan whose creation was answered with
    ///   403 did exist afterwards (<https://github.com/microsoftgraph/msgraph-sdk-dotnet/issues/504>).
    /// - 400, 401, 404, 412, 413, 422, 424, 429, a limit's 403, a refused connection, no token: no.
    #[must_use]
    pub fn is_ambiguous(&self) -> bool {
        if !self.context.writes {
            return false;
        }
        if self.context.delivery == Some(Delivery::MaybeSent) {
            return true;
        }
        match self.kind {
            ErrorKind::Unavailable | ErrorKind::Decode { .. } | ErrorKind::Unknown => true,
            ErrorKind::Forbidden { .. } | ErrorKind::Conflict => self.context.creates,
            _ => false,
        }
    }

    /// How long to wait before trying again, where the service or the breaker says so.
    #[must_use]
    pub const fn retry_after(&self) -> Option<Duration> {
        match &self.kind {
            ErrorKind::Throttled { retry_after } | ErrorKind::BreakerOpen { retry_after } => Some(*retry_after),
            _ => None,
        }
    }

    /// Whether the resource was not found.
    #[must_use]
    pub const fn is_not_found(&self) -> bool {
        matches!(self.kind, ErrorKind::NotFound)
    }

    /// Whether the resource has to be read again before the change is repeated: 409 and 412 mean the same for Planner.
    #[must_use]
    pub const fn is_stale(&self) -> bool {
        matches!(self.kind, ErrorKind::Conflict | ErrorKind::PreconditionFailed)
    }
}

fn kind(status: u16, said: &Said, wait: Option<Duration>) -> ErrorKind {
    match status {
        401 => ErrorKind::Unauthorized,
        403 if said.code.starts_with("Maximum") => ErrorKind::Limit { name: said.code.clone() },
        403 => ErrorKind::Forbidden { missing: permission(&said.message) },
        404 => ErrorKind::NotFound,
        409 => ErrorKind::Conflict,
        412 => ErrorKind::PreconditionFailed,
        424 => ErrorKind::FailedDependency,
        429 => ErrorKind::Throttled { retry_after: wait.unwrap_or(Duration::from_secs(8)) },
        408 | 500.. => ErrorKind::Unavailable,
        400..500 => ErrorKind::BadRequest(said.message.clone()),
        _ => ErrorKind::Decode { path: ".".to_owned(), reason: format!("status {status}") },
    }
}

/// The first permission named in Graph's text, as in `Tasks.ReadWrite.All`.
fn permission(message: &str) -> Option<String> {
    let verbs = ["Read", "ReadWrite", "ReadBasic", "Create", "Send", "Manage", "Write", "Invite"];
    message
        .split(|character: char| !character.is_ascii_alphanumeric() && !".-".contains(character))
        .map(|word| word.trim_matches(['.', '-']))
        .find(|word| word.split('.').skip(1).any(|part| verbs.contains(&part)))
        .map(str::to_owned)
}

/// What Graph's error body says; empty when it is none.
#[derive(Default)]
struct Said {
    code: String,
    message: String,
    request_id: Option<String>,
}

impl Said {
    fn read(body: &[u8]) -> Self {
        #[derive(Deserialize)]
        struct Body {
            error: Inner,
        }
        #[derive(Deserialize)]
        struct Inner {
            code: Option<String>,
            message: Option<String>,
            #[serde(rename = "innerError", alias = "innererror")]
            ids: Option<Ids>,
        }
        #[derive(Deserialize)]
        struct Ids {
            #[serde(rename = "request-id")]
            request_id: Option<String>,
        }
        let Ok(Body { error }) = serde_json::from_slice(body) else { return Self::default() };
        Self {
            code: error.code.unwrap_or_default(),
            message: error.message.unwrap_or_default(),
            request_id: error.ids.and_then(|ids| ids.request_id),
        }
    }
}

fn header(headers: &HeaderMap, name: &str) -> Option<String> {
    headers.get(name).and_then(|value| value.to_str().ok()).map(str::to_owned)
}
