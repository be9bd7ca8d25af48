//! The Functions host's face: timers and queue messages, each a `POST /{function}` with an envelope.
//!
//! The host sends them to the very port that serves public HTTP, so this face stands before everything else and takes
//! only what cannot have come from outside: an exact name, POST, and none of the headers the host's proxy and Azure's
//! front end put on public requests. Every answer is a JSON object: for anything else the host waits until the
//! function's time is over. Without the host there are no such paths.

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

/// Whether the host asks for a key before it passes on what comes for `/mcp` and `/api`: the functions in the app's folder
/// say so. A key is proof of nothing where it does not.
///
/// # Errors
/// When a function lets everybody through, or does not say.
pub fn keys_are_checked(folder: &Path) -> Result<(), String> {
    for function in ["mcp", "api"] {
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

/// Puts the triggers before a router.
pub fn before(router: Router, jobs: Arc<Jobs>, clock: Clock) -> Router {
    router.layer(from_fn_with_state(Triggers { jobs, clock }, pass))
}

#[derive(Clone)]
struct Triggers {
    jobs: Arc<Jobs>,
    clock: Clock,
}

enum Job<'a> {
    Timer(&'a Timer),
    Consumer(&'a Consumer),
}

async fn pass(State(triggers): State<Triggers>, mut request: Request, next: Next) -> Response {
    let Some(job) = find(&triggers.jobs, request.uri().path()) else {
        move_key(&mut request);
        return next.run(request).await;
    };
    if request.method() != Method::POST || is_public(request.headers()) {
        tracing::warn!(path = request.uri().path(), "a request from outside names a trigger; refused");
        return StatusCode::NOT_FOUND.into_response();
    }
    let started_at = triggers.clock.now();
    let (name, report) = match job {
        Job::Timer(timer) => (timer.name, fire(timer, &triggers.clock, request.into_body()).await),
        Job::Consumer(consumer) => (consumer.name, deliver(consumer, &triggers.clock, request.into_body()).await),
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

/// Moves the host's key from the query to its header, where callers may put it as well: to the faces it would be a
/// parameter they do not know, and addresses are logged.
fn move_key(request: &mut Request) {
    let Some(query) = request.uri().query().filter(|query| query.contains("code=")) else { return };
    let key = url::form_urlencoded::parse(query.as_bytes()).find(|(name, _)| name == "code");
    let key = key.and_then(|(_, key)| HeaderValue::from_str(&key).ok());
    let kept: Vec<&str> = query.split('&').filter(|pair| !pair.starts_with("code=")).collect();
    let path = request.uri().path();
    let target = if kept.is_empty() { path.to_owned() } else { format!("{path}?{}", kept.join("&")) };
    let (Some(key), Ok(target)) = (key, target.parse::<PathAndQuery>()) else { return };
    let mut parts = request.uri().clone().into_parts();
    parts.path_and_query = Some(target);
    if let Ok(uri) = Uri::from_parts(parts) {
        *request.uri_mut() = uri;
        request.headers_mut().entry("x-functions-key").or_insert(key);
    }
}

async fn fire(timer: &Timer, clock: &Clock, body: Body) -> Report {
    if read(body).await?.is_past_due() {
        tracing::warn!(function = timer.name, "the timer is late");
    }
    timer.run(clock).await
}

async fn deliver(consumer: &Consumer, clock: &Clock, body: Body) -> Report {
    let message = read(body).await?.message().map_err(|error| Error::invalid(error.to_string()))?;
    consumer.run(clock, message).await
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
    fn the_hosts_key_moves_from_the_query_to_its_header() {
        for (given, left, key) in [
            ("/api/x?code=hush", "/api/x", Some("hush")),
            ("/api/x?a=1&code=hush%3D%3D&b=code", "/api/x?a=1&b=code", Some("hush==")),
            ("http://h/api/x?code=hush&barcode=1", "http://h/api/x?barcode=1", Some("hush")),
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
