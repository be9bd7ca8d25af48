//! The public door: routes, methods, keys, and a proxy that passes the request on with the headers the real one adds.

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderName, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::Value;

use super::{Inner, KEY, VERSION};

/// What stays between two neighbours.
const HOP_BY_HOP: [HeaderName; 6] = [
    header::CONNECTION,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
    header::TE,
    header::TRAILER,
    header::PROXY_AUTHENTICATE,
];

pub fn router(inner: Arc<Inner>) -> Router {
    Router::new().fallback(pass).with_state(inner)
}

async fn pass(State(inner): State<Arc<Inner>>, request: Request) -> Response {
    let Some(trigger) = route(&inner, request.uri().path()) else { return StatusCode::NOT_FOUND.into_response() };
    let method = request.method().as_str().to_lowercase();
    if !trigger["methods"].as_array().unwrap().iter().any(|allowed| allowed == method.as_str()) {
        return StatusCode::NOT_FOUND.into_response(); // the method is a constraint of the route
    }
    if trigger["authLevel"] != "anonymous" && !has_key(&request) {
        return StatusCode::UNAUTHORIZED.into_response();
    }
    match inner.groups["http"].ready().await {
        Ok((port, _)) => forward(&inner, port, request).await,
        Err(reason) => (StatusCode::SERVICE_UNAVAILABLE, reason).into_response(),
    }
}

/// The function of a path: escapes are undone and dots walked first, then the most literal route wins, in any case.
fn route<'a>(inner: &'a Inner, path: &str) -> Option<&'a Value> {
    let path = normal(path)?;
    let path: Vec<&str> = path.trim_start_matches('/').trim_end_matches('/').split('/').collect();
    let fits = |route: &str| {
        let mut segments = route.split('/');
        let literal = segments.clone().filter(|segment| !segment.starts_with('{')).count();
        let rest = segments.any(|segment| segment.starts_with("{*"));
        let matches = route.split('/').take(literal).zip(&path).all(|(a, b)| a.eq_ignore_ascii_case(b));
        (matches && path.len() >= literal && (rest || path.len() == literal)).then_some(literal)
    };
    let functions = inner.app.of_kind("httpTrigger");
    let fitting = functions.filter_map(|(_, trigger)| Some((fits(trigger["route"].as_str().unwrap())?, trigger)));
    fitting.max_by_key(|(literal, _)| *literal).map(|(_, trigger)| trigger)
}

/// As Kestrel does it: every escape but `%2F` is decoded, `.` and `..` are walked; above the root there is nothing.
fn normal(path: &str) -> Option<String> {
    let mut decoded = Vec::new();
    let mut bytes = path.bytes();
    while let Some(byte) = bytes.next() {
        let escape = || Some((bytes.clone().next()? as char, bytes.clone().nth(1)? as char));
        let value = (byte == b'%')
            .then(escape)
            .flatten()
            .and_then(|(high, low)| u8::try_from(high.to_digit(16)? * 16 + low.to_digit(16)?).ok());
        match value {
            Some(b'/') | None => decoded.push(byte),
            Some(value) => {
                decoded.push(value);
                let _ = bytes.nth(1);
            }
        }
    }
    let mut segments = Vec::new();
    for segment in String::from_utf8(decoded).ok()?.split('/').skip(1) {
        match segment {
            "." => {}
            ".." => drop(segments.pop()?),
            other => segments.push(other.to_owned()),
        }
    }
    Some(format!("/{}", segments.join("/")))
}

fn has_key(request: &Request) -> bool {
    let header = request.headers().get("x-functions-key").and_then(|key| key.to_str().ok());
    let query = || request.uri().query().unwrap_or_default().split('&').find_map(|pair| pair.strip_prefix("code="));
    header.or_else(query) == Some(KEY)
}

async fn forward(inner: &Inner, port: u16, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let target = parts.uri.path_and_query().map_or("/", |target| target.as_str());
    let id = uuid::Uuid::new_v4().to_string();
    let mut headers = passed_on(&parts.headers);
    let public = headers.remove(header::HOST).unwrap_or_else(|| "localhost".parse().unwrap());
    for (name, value) in [
        ("x-azure-functions-hostversion", VERSION),
        ("x-azure-functions-invocationid", id.as_str()),
        ("x-ms-invocation-id", id.as_str()),
        ("x-forwarded-for", "127.0.0.1"),
        ("x-forwarded-proto", "http"),
    ] {
        headers.insert(name, value.parse().unwrap());
    }
    headers.insert("x-forwarded-host", public);
    let mut onward = inner.http.request(parts.method, format!("http://127.0.0.1:{port}{target}")).headers(headers);
    if parts.headers.contains_key(header::CONTENT_LENGTH) || parts.headers.contains_key(header::TRANSFER_ENCODING) {
        onward = onward.body(reqwest::Body::wrap_stream(body.into_data_stream()));
    }
    match onward.send().await {
        Ok(answer) => {
            let mut response = Response::builder().status(answer.status());
            *response.headers_mut().unwrap() = passed_on(answer.headers());
            response.body(Body::from_stream(answer.bytes_stream())).unwrap()
        }
        Err(error) => (StatusCode::BAD_GATEWAY, error.to_string()).into_response(),
    }
}

fn passed_on(headers: &HeaderMap) -> HeaderMap {
    let mut headers = headers.clone();
    for name in HOP_BY_HOP {
        headers.remove(name);
    }
    headers
}
