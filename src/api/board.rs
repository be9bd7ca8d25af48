//! A page that shows the replica's sync state, live: plans, events, and conflicts with a button to undo them.
//!
//! One file without outside resources and without anybody's data: it asks the REST interface beside it, as the person who opens it.

use axum::http::{HeaderName, HeaderValue, header};
use axum::response::{Html, IntoResponse};

use super::BOARD_PATH;
use super::route::{Need, Route};

/// The route. The page says nothing of anybody; what it then asks for needs what its caller may do.
pub fn routes() -> Vec<Route> {
    vec![Route::get(BOARD_PATH, Need::Nothing, show)]
}

/// Only what is in the page itself runs, and it talks to this server alone.
const POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; connect-src 'self'; img-src data:; \
                      base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// `GET /api/sync/board`
async fn show() -> impl IntoResponse {
    let headers: [(HeaderName, HeaderValue); 3] = [
        (header::CACHE_CONTROL, HeaderValue::from_static("no-cache")),
        (header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY)),
        (header::REFERRER_POLICY, HeaderValue::from_static("no-referrer")),
    ];
    (headers, Html(include_str!("board.html")))
}
