//! What happens to every request before and after its handler: one wrapper, so that no route can forget it.
//!
//! Probes (`/`, `/health…`) pass without key and host check: a platform's prober has neither, and they tell no secrets.

use std::panic::AssertUnwindSafe;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{DefaultBodyLimit, MatchedPath, Request, State as Shared};
use axum::http::{HeaderMap, HeaderName, HeaderValue, header};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::Response;
use futures::{FutureExt, StreamExt};

use super::problem::Problem;
use super::{MAX_BODY, State, host};
use crate::auth::Caller;
use crate::error::ErrorCode;
use crate::services::Error;

/// The longest a request may take: the front end of the Functions host ends it after 230 s.
const DEADLINE: Duration = Duration::from_secs(200);
/// How much of a body that is too large is read to its end, so that the sender reads the answer instead of a broken pipe.
const DRAIN_BYTES: usize = 8 * MAX_BODY;
const DRAIN_TIME: Duration = Duration::from_secs(5);
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Puts the guard before every route of `router`.
pub fn guard(router: Router, state: &State) -> Router {
    router.layer(DefaultBodyLimit::max(MAX_BODY)).layer(from_fn_with_state(state.clone(), pass))
}

async fn pass(Shared(state): Shared<State>, request: Request, next: Next) -> Response {
    let started_at = state.clock.now();
    let id = request_id(request.headers()).unwrap_or_else(|| state.entropy.guid());
    let method = request.method().clone();
    let route = route(&request);
    let mut response = match admit(&state, request).await {
        Ok(request) => run(&state, &route, request, next).await,
        Err(problem) => problem.respond(None),
    };
    let problem = response.extensions_mut().remove::<Problem>();
    let code = problem.as_ref().map_or("", |problem| problem.code().as_str());
    if let Some(problem) = problem {
        let allow = response.headers_mut().remove(header::ALLOW);
        response = problem.respond(Some(&id));
        response.headers_mut().extend(allow.map(|allow| (header::ALLOW, allow)));
    }
    if let Ok(id) = HeaderValue::from_str(&id) {
        response.headers_mut().insert(REQUEST_ID, id);
    }
    let took = (state.clock.now() - started_at).to_std().unwrap_or_default();
    let status = response.status().as_u16();
    state.requests.count(&method, &route, status, took);
    let ms = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
    // A call over MCP has a line of its own, with the tool's name.
    if is_probe(&route) || (route == "/mcp" && status < 400) {
        tracing::debug!(%method, route, status, ms, code, request_id = id, "request");
    } else {
        tracing::info!(%method, route, status, ms, code, request_id = id, "request");
    }
    response
}

/// Checks host, key and size, and notes who calls.
async fn admit(state: &State, mut request: Request) -> Result<Request, Problem> {
    let caller = if is_probe(request.uri().path()) {
        Caller::local()
    } else if request.uri().path().starts_with("/downloads/") {
        // The address is signed, and the handler checks it: a browser that follows it has no key.
        host::check(&state.access, request.uri(), request.headers())?;
        Caller::nobody()
    } else {
        host::check(&state.access, request.uri(), request.headers())?;
        authenticate(state, request.headers())?
    };
    let announced =
        request.headers().get(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse::<usize>().ok());
    if announced.is_some_and(|length| length > MAX_BODY) {
        let _ = state.clock.timeout(DRAIN_TIME, drain(request.into_body())).await;
        return Err(too_large());
    }
    request.extensions_mut().insert(caller);
    Ok(request)
}

fn authenticate(state: &State, headers: &HeaderMap) -> Result<Caller, Problem> {
    match &state.access.key {
        None => Ok(Caller::local()),
        Some(key) if key.is_in(headers) => Ok(Caller::key_holder()),
        Some(_) => Err(Error::new(ErrorCode::Unauthenticated, "the key is missing or wrong; nothing was changed")
            .hint("send the deployment's key as `x-functions-key`, `x-api-key` or `Authorization: Bearer`")
            .into()),
    }
}

/// Runs the handler; a panic and an endless wait are answers too. MCP keeps the deadline by itself, per tool.
async fn run(state: &State, route: &str, request: Request, next: Next) -> Response {
    let work = AssertUnwindSafe(next.run(request)).catch_unwind();
    let outcome = if route == "/mcp" { Some(work.await) } else { state.clock.timeout(DEADLINE, work).await };
    let error = match outcome {
        Some(Ok(response)) => return response,
        Some(Err(_)) => {
            tracing::error!(route, "a handler panicked");
            Error::new(ErrorCode::Internal, "a fault of GraphGate; it has been logged")
                .hint("repeating the call will not help")
        }
        None => Error::new(ErrorCode::TimedOut, format!("the request took longer than {} s", DEADLINE.as_secs()))
            .hint("what was journalled still reaches Planner; `GET /api/agent/tasks` shows it"),
    };
    Problem::from(error).respond(None)
}

/// The refusal of a body that is too large.
pub fn too_large() -> Problem {
    Error::new(
        ErrorCode::BodyTooLarge,
        format!("the body is larger than {} MiB; nothing was changed", MAX_BODY / 1024 / 1024),
    )
    .hint("split the call")
    .into()
}

async fn drain(body: Body) {
    let mut chunks = body.into_data_stream();
    let mut read = 0;
    while let Some(Ok(chunk)) = chunks.next().await {
        read += chunk.len();
        if read > DRAIN_BYTES {
            return;
        }
    }
}

/// The path's pattern, for logs and counts: ids in paths would make every request its own route.
fn route(request: &Request) -> String {
    let path = request.uri().path();
    if path == "/mcp" || path.starts_with("/mcp/") {
        return "/mcp".into();
    }
    request.extensions().get::<MatchedPath>().map_or_else(|| "unknown".into(), |route| route.as_str().into())
}

fn is_probe(path: &str) -> bool {
    matches!(path, "/" | "/health" | "/health/live" | "/health/ready")
}

/// The id the caller gave the request, if it is one that can be logged.
fn request_id(headers: &HeaderMap) -> Option<String> {
    let id = headers.get(REQUEST_ID)?.to_str().ok()?;
    let plain = id.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.'));
    (plain && (1..=64).contains(&id.len())).then(|| id.to_owned())
}
