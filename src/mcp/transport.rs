//! What the transport library is strict about and clients are not: the `Accept` header, and answers that are not JSON-RPC.
//!
//! The server answers JSON to every call. The library refuses a call whose `Accept` does not name both JSON and event
//! streams, in plain text; many clients name one, `*/*` or nothing.

use axum::body::{Body, to_bytes};
use axum::extract::Request;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use serde_json::json;

/// What the library expects.
const BOTH: HeaderValue = HeaderValue::from_static("application/json, text/event-stream");
/// The longest refusal of the library that is passed on.
const LONGEST: usize = 16 * 1024;
/// JSON-RPC: the request is not a valid one.
const INVALID_REQUEST: i32 = -32_600;

/// Serves clients that can take JSON or an event stream, and makes refusals JSON-RPC.
pub(super) async fn lenient(mut request: Request, next: Next) -> Response {
    if !accepts(request.headers()) {
        return refuse(
            StatusCode::NOT_ACCEPTABLE,
            "`Accept` admits neither `application/json` nor `text/event-stream`",
        );
    }
    request.headers_mut().insert(header::ACCEPT, BOTH);
    let response = next.run(request).await;
    let kind = response.headers().get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    if !response.status().is_client_error() || kind.starts_with("application/json") {
        return response;
    }
    let (mut parts, body) = response.into_parts();
    let text = to_bytes(body, LONGEST).await.unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let text = if text.trim().is_empty() { parts.status.canonical_reason().unwrap_or("refused") } else { text.trim() };
    parts.headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    parts.headers.remove(header::CONTENT_LENGTH);
    Response::from_parts(parts, Body::from(message(text)))
}

/// Whether a client can take JSON or an event stream (RFC 9110, 12.5.1). No header means anything.
fn accepts(headers: &HeaderMap) -> bool {
    let mut ranges = headers.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok()).peekable();
    if ranges.peek().is_none_or(|first| first.trim().is_empty()) {
        return true;
    }
    ranges.flat_map(|value| value.split(',')).any(|range| {
        let mut parts = range.split(';').map(str::trim);
        let kind = parts.next().unwrap_or_default().to_ascii_lowercase();
        let refused =
            parts.any(|part| part.strip_prefix("q=").is_some_and(|q| q.parse::<f32>().is_ok_and(|q| q <= 0.0)));
        !refused
            && matches!(kind.as_str(), "application/json" | "text/event-stream" | "application/*" | "text/*" | "*/*")
    })
}

fn message(text: &str) -> String {
    json!({"jsonrpc": "2.0", "id": null, "error": {"code": INVALID_REQUEST, "message": text}}).to_string()
}

fn refuse(status: StatusCode, text: &str) -> Response {
    let kind = HeaderValue::from_static("application/json");
    (status, [(header::CONTENT_TYPE, kind)], message(text)).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accept_headers_that_admit_json_or_streams_or_anything() {
        let accepted =
            |text: &str| accepts(&[(header::ACCEPT, HeaderValue::from_str(text).unwrap())].into_iter().collect());
        assert!(accepts(&HeaderMap::new()));
        for text in
            ["application/json", "*/*", "text/event-stream", "application/*, text/event-stream", "text/html, */*;q=0.8"]
        {
            assert!(accepted(text), "{text}");
        }
        for text in ["text/html", "application/json;q=0", "image/*"] {
            assert!(!accepted(text), "{text}");
        }
    }
}
