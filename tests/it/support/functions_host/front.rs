//! What stands between the public and the process: routes, keys, and a proxy that passes the request on as the real one
//! does, faults included.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes, to_bytes};
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use futures::{StreamExt, stream};

use super::{Inner, KEY, MASTER_KEY, TRACE, VERSION, routes};

/// What the proxy keeps for itself, in both directions (YARP `RequestUtilities`).
const DROPPED: [&str; 14] = [
    "connection",
    "transfer-encoding",
    "upgrade",
    "te",
    "trailer",
    "proxy-authenticate",
    "keep-alive",
    "proxy-connection",
    "proxy-authorization",
    "upgrade-insecure-requests",
    "alt-svc",
    "http2-settings",
    "forwarded",
    "host",
];
/// How often, and at what distances, a request without a body is sent to a process that is not there.
const ATTEMPTS: u32 = 10;
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_millis(250);
/// How long the same takes in vain when there is a body, which can be sent only once.
const IN_VAIN: Duration = Duration::from_secs(2);
/// A body is sent in two parts, so that an answer that does not wait for the second is seen for certain.
const BETWEEN_PARTS: Duration = Duration::from_millis(10);

pub fn router(inner: Arc<Inner>) -> Router {
    Router::new().fallback(pass).with_state(inner)
}

/// The host's own failures have no body.
fn failure() -> Response {
    StatusCode::INTERNAL_SERVER_ERROR.into_response()
}

async fn pass(State(inner): State<Arc<Inner>>, request: Request) -> Response {
    let Some(path) = routes::decoded(request.uri().path()) else { return StatusCode::BAD_REQUEST.into_response() };
    if let Some(function) = path.strip_prefix("/admin/functions/") {
        return administration(&inner, function, &request);
    }
    let Some((name, trigger)) = routes::chosen(&inner.app, request.method().as_str(), &path) else {
        // The home page is switched off.
        return if path == "/" { StatusCode::NO_CONTENT } else { StatusCode::NOT_FOUND }.into_response();
    };
    if trigger["authLevel"] != "anonymous" && ![Some(KEY), Some(MASTER_KEY)].contains(&key(&request).as_deref()) {
        return StatusCode::UNAUTHORIZED.into_response(); // empty, and without a challenge
    }
    if request.headers().values().any(|value| !is_ascii(value)) {
        return failure();
    }
    forward(inner.clone(), name, path, request).await
}

/// Functions by name are for the holder of the master key alone.
fn administration(inner: &Inner, function: &str, request: &Request) -> Response {
    match key(request).as_deref() {
        Some(MASTER_KEY) if inner.app.functions.contains_key(function) => StatusCode::ACCEPTED,
        Some(MASTER_KEY) => StatusCode::NOT_FOUND,
        Some(KEY) => StatusCode::FORBIDDEN,
        _ => StatusCode::UNAUTHORIZED,
    }
    .into_response()
}

/// The key of a request: its header, even when that is wrong, else the query's `code`, in any case.
fn key(request: &Request) -> Option<String> {
    if let Some(key) = request.headers().get("x-functions-key") {
        return key.to_str().ok().map(str::to_owned);
    }
    let query = request.uri().query().unwrap_or_default();
    let found = url::form_urlencoded::parse(query.as_bytes()).find(|(name, _)| name.eq_ignore_ascii_case("code"));
    found.map(|(_, key)| key.into_owned())
}

fn is_ascii(value: &HeaderValue) -> bool {
    value.as_bytes().iter().all(|byte| matches!(byte, b'\t' | 0x20..=0x7e))
}

/// A proxied request: an invocation like any other, which has to end before `functionTimeout`.
async fn forward(inner: Arc<Inner>, function: &str, path: String, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    // Every body is read to its end before the function runs.
    let Ok(body) = to_bytes(body, inner.body_limit).await else { return failure() };
    let has_body = !body.is_empty();
    let id = uuid::Uuid::new_v4().to_string();
    let query = parts.uri.query().map(|query| format!("?{query}")).unwrap_or_default();
    let target = format!("{}{query}", routes::encoded(&path));
    let headers = onward(&parts.headers, &id);
    let invocation = inner.clone().watched(function, "http");
    let answered = async {
        let mut pause = FIRST_PAUSE;
        for _ in 0..if has_body { 1 } else { ATTEMPTS } {
            let Ok((port, _)) = inner.groups["http"].ready().await else { return None };
            let whole = Arc::new(AtomicBool::new(!has_body));
            let mut onward = inner.http.request(parts.method.clone(), format!("http://127.0.0.1:{port}{target}"));
            onward = onward.headers(headers.clone());
            if has_body {
                onward = onward.header(header::CONTENT_LENGTH, body.len());
                onward = onward.body(reqwest::Body::wrap_stream(in_two_parts(&body, whole.clone())));
            }
            match onward.send().await {
                // The rest of the body meets a closed connection: the answer is lost.
                Ok(_) if !whole.load(Ordering::SeqCst) => break,
                Ok(answer) => return Some(answer),
                Err(_) if has_body => break,
                Err(_) => tokio::time::sleep(pause).await,
            }
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
        if has_body {
            tokio::time::sleep(IN_VAIN).await;
        }
        None
    };
    tokio::select! {
        answer = answered => match answer {
            Some(answer) if answer.headers().values().all(is_ascii) => {
                let mut response = Response::builder().status(answer.status());
                *response.headers_mut().unwrap() = kept(answer.headers());
                let torn = invocation.torn.clone();
                let pieces = answer.bytes_stream().take_until(async move { torn.cancelled().await });
                // What has begun is torn off at the end of the function's time, not ended.
                let torn = invocation.torn.clone();
                let end = stream::once(async move {
                    let invocation = invocation; // it lasts as long as its answer
                    if torn.is_cancelled() { Some(Err(std::io::Error::other("torn"))) } else { drop(invocation); None }
                });
                let pieces = pieces.map(|piece| piece.map_err(std::io::Error::other));
                response.body(Body::from_stream(pieces.chain(end.filter_map(std::future::ready)))).unwrap()
            }
            _ => failure(),
        },
        () = invocation.killed.cancelled() => failure(),
    }
}

fn in_two_parts(
    body: &Bytes,
    whole: Arc<AtomicBool>,
) -> impl futures::Stream<Item = Result<Bytes, Infallible>> + Send + use<> {
    let middle = body.len() / 2;
    let (first, second) = (body.slice(..middle), body.slice(middle..));
    stream::iter([Ok(first)]).chain(stream::once(async move {
        tokio::time::sleep(BETWEEN_PARTS).await;
        whole.store(true, Ordering::SeqCst);
        Ok(second)
    }))
}

/// The headers the process sees: repeated ones joined, the host's own in place of what the caller made up.
fn onward(given: &HeaderMap, id: &str) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for name in kept(given).keys() {
        let values: Vec<&str> = given.get_all(name).iter().map(|value| value.to_str().unwrap()).collect();
        let between = if name == header::COOKIE { "; " } else { ", " };
        headers.insert(name.clone(), values.join(between).parse().unwrap());
    }
    headers.remove(header::CONTENT_LENGTH);
    let forwarded: Vec<HeaderName> =
        headers.keys().filter(|name| name.as_str().starts_with("x-forwarded-")).cloned().collect();
    for name in forwarded {
        headers.remove(name);
    }
    let public = given.get(header::HOST).cloned().unwrap_or_else(|| HeaderValue::from_static("localhost"));
    for (name, value) in [
        ("x-azure-functions-hostversion", VERSION),
        ("x-azure-functions-invocationid", id),
        ("x-ms-invocation-id", id),
        ("x-forwarded-for", "127.0.0.1"),
        ("x-forwarded-proto", "http"),
    ] {
        headers.insert(name, value.parse().unwrap());
    }
    headers.insert("x-forwarded-host", public);
    headers.entry("traceparent").or_insert(HeaderValue::from_static(TRACE));
    headers
}

fn kept(headers: &HeaderMap) -> HeaderMap {
    let mut headers = headers.clone();
    for name in DROPPED {
        headers.remove(name);
    }
    headers
}
