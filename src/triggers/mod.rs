//! The interface of the Functions host: timers and queue messages, each a `POST /{function}` with an envelope.
//!
//! The host sends them to the very port that serves public HTTP, so this interface is in front of everything else and takes
//! only what cannot have come from outside: an exact name, POST, and none of the headers the host's proxy and Azure's
//! front end put on public requests. Every answer is a JSON object: for anything else the host waits until the
//! function's time is over. Without the host there are no such paths.

mod case;
mod envelope;

use std::path::Path;
use std::sync::Arc;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::{Request, State};
use axum::http::uri::PathAndQuery;
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, Uri, header};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

use crate::clock::Clock;
use crate::error::ErrorCode;
use crate::services::Error;
use crate::services::jobs::{Consumer, Jobs, Report, Timer};
use envelope::Envelope;

/// The largest envelope: a message of 64 KiB, encoded twice, and its properties once more among the metadata.
const MAX_ENVELOPE: usize = 1024 * 1024;

/// What only requests from outside carry (Azure/azure-functions-host `DefaultHttpProxyService`, YARP, App Service).
const PUBLIC: [&str; 6] = [
    "x-ms-invocation-id",
    "x-forwarded-for",
    "x-forwarded-host",
    "x-forwarded-proto",
    "x-arr-log-id",
    "disguised-host",
];

/// The functions whose callers the host asks for a key: those of `/mcp`, `/metrics` and `/api`.
pub const GUARDED: [&str; 3] = ["mcp", "metrics", "rest"];

/// Whether the host asks for a key before it passes on what comes for them: the functions in the app's folder say so. A key is proof of nothing where it does not.
///
/// # Errors
/// When a function lets everybody through, or does not say.
pub fn keys_are_checked(folder: &Path) -> Result<(), String> {
    for function in GUARDED {
        let path = folder.join(function).join("function.json");
        let read = std::fs::read(&path).map_err(|error| format!("`{}` cannot be read: {error}", path.display()))?;
        let function: Value =
            serde_json::from_slice(&read).map_err(|error| format!("`{}`: {error}", path.display()))?;
        let bindings = function.get("bindings").and_then(Value::as_array).into_iter().flatten();
        let mut levels =
            bindings.filter(|binding| binding["type"] == "httpTrigger").map(|binding| &binding["authLevel"]);
        if !levels.any(|level| level == "function" || level == "admin") {
            return Err(format!("`{}` lets everybody through", path.display()));
        }
    }
    Ok(())
}

/// Puts the triggers before a router with routes of these patterns, which are taken in any letter case.
pub fn before(router: Router, jobs: Arc<Jobs>, clock: Clock, patterns: Vec<String>) -> Router {
    let triggers = Triggers { jobs, clock, patterns: patterns.into() };
    Router::new().fallback_service(router).layer(from_fn_with_state(triggers, pass))
}

#[derive(Clone)]
struct Triggers {
    jobs: Arc<Jobs>,
    clock: Clock,
    patterns: Arc<[String]>,
}

enum Job<'a> {
    Timer(&'a Timer),
    Consumer(&'a Consumer),
}

async fn pass(State(triggers): State<Triggers>, mut request: Request, next: Next) -> Response {
    let Some(job) = find(&triggers.jobs, request.uri().path()) else {
        move_key(&mut request);
        if let Some(routed) = case::as_routed(request.uri().path(), &triggers.patterns) {
            let query = request.uri().query().map(|query| format!("?{query}")).unwrap_or_default();
            set_target(&mut request, &format!("{routed}{query}"));
        }
        return next.run(request).await;
    };
    if request.method() != Method::POST || is_public(request.headers()) {
        tracing::warn!(path = request.uri().path(), "a request from outside names a trigger; refused");
        return StatusCode::NOT_FOUND.into_response();
    }
    let started_at = triggers.clock.now();
    let (name, report) = match job {
        Job::Timer(timer) => (timer.name, fire(timer, &triggers.clock, request.into_body()).await),
        Job::Consumer(consumer) => (consumer.name, deliver(&triggers, consumer, request.into_body()).await),
    };
    let ms = (triggers.clock.now() - started_at).num_milliseconds();
    match &report {
        Ok(status) => tracing::info!(function = name, ms, %status, "invocation"),
        Err(error) => tracing::error!(function = name, ms, code = error.code.as_str(), %error, "invocation"),
    }
    answer(name, &report)
}

fn find<'a>(jobs: &'a Jobs, path: &str) -> Option<Job<'a>> {
    let name = path.strip_prefix('/')?;
    let timer = jobs.timers.iter().find(|timer| timer.name == name).map(Job::Timer);
    timer.or_else(|| jobs.consumers.iter().find(|consumer| consumer.name == name).map(Job::Consumer))
}

fn is_public(headers: &HeaderMap) -> bool {
    PUBLIC.iter().any(|name| headers.contains_key(*name))
}

/// Moves the host's key from the query to its header, where callers may put it as well: to the interfaces it would be a
/// parameter they do not know, and addresses are logged.
fn move_key(request: &mut Request) {
    let is_key = |pair: &str| pair.split_once('=').is_some_and(|(name, _)| name.eq_ignore_ascii_case("code"));
    let query = request.uri().query().unwrap_or_default();
    let Some(pair) = query.split('&').find(|pair| is_key(pair)) else { return };
    let key = url::form_urlencoded::parse(pair.as_bytes()).next();
    let key = key.and_then(|(_, key)| HeaderValue::from_str(&key).ok());
    let kept: Vec<&str> = query.split('&').filter(|pair| !is_key(pair)).collect();
    let path = request.uri().path();
    let target = if kept.is_empty() { path.to_owned() } else { format!("{path}?{}", kept.join("&")) };
    if let Some(key) = key
        && set_target(request, &target)
    {
        request.headers_mut().entry("x-functions-key").or_insert(key);
    }
}

/// Gives a request another path and query; answers whether they can be ones.
fn set_target(request: &mut Request, target: &str) -> bool {
    let Ok(target) = target.parse::<PathAndQuery>() else { return false };
    let mut parts = request.uri().clone().into_parts();
    parts.path_and_query = Some(target);
    match Uri::from_parts(parts) {
        Ok(uri) => {
            *request.uri_mut() = uri;
            true
        }
        Err(_) => false,
    }
}

async fn fire(timer: &Timer, clock: &Clock, body: Body) -> Report {
    if read(body).await?.is_past_due() {
        tracing::warn!(function = timer.name, "the timer is late");
    }
    timer.run(clock).await
}

async fn deliver(triggers: &Triggers, consumer: &Consumer, body: Body) -> Report {
    let message = read(body).await?.message().map_err(|error| Error::invalid(error.to_string()))?;
    triggers.jobs.deliver(consumer, &triggers.clock, message).await
}

async fn read(body: Body) -> Result<Envelope, Error> {
    let bytes = to_bytes(body, MAX_ENVELOPE)
        .await
        .map_err(|error| Error::new(ErrorCode::BodyTooLarge, format!("the envelope cannot be read: {error}")))?;
    // By way of an object: an array would do for a struct, too.
    serde_json::from_slice(&bytes)
        .and_then(|object| serde_json::from_value(Value::Object(object)))
        .map_err(|error| Error::invalid(format!("this is no envelope: {error}")))
}

/// The host logs `Logs` with the invocation; the body of a failure it drops, so failures are logged here as well.
fn answer(name: &str, report: &Report) -> Response {
    let (status, line) = match report {
        Ok(status) => (StatusCode::OK, format!("{name}: {status}")),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, format!("{name} failed: {} {error}", error.code)),
    };
    let body = json!({"Outputs": {}, "Logs": [line], "ReturnValue": Value::Null}).to_string();
    (status, [(header::CONTENT_TYPE, "application/json")], body).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn functions_key_in_the_query_becomes_a_header() {
        for (given, left, key) in [
            ("/api/x?code=hush", "/api/x", Some("hush")),
            ("/api/x?a=1&code=hush%3D%3D&b=code", "/api/x?a=1&b=code", Some("hush==")),
            ("http://h/api/x?code=hush&barcode=1", "http://h/api/x?barcode=1", Some("hush")),
            ("/api/x?CODE=hush&a=1", "/api/x?a=1", Some("hush")),
            ("/api/x?barcode=1", "/api/x?barcode=1", None),
            ("/api/x", "/api/x", None),
        ] {
            let mut request = Request::builder().uri(given).body(Body::empty()).unwrap();
            move_key(&mut request);
            assert_eq!(request.uri().to_string(), left);
            assert_eq!(request.headers().get("x-functions-key").map(|key| key.to_str().unwrap()), key);
        }
    }
}
