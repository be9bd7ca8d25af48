//! Where Microsoft Graph sends change notifications, and pages that tell how that goes.
//!
//! The endpoint has no key: Graph sends none. What proves a notification is the secret of its subscription.

use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::{RawQuery, State as Shared};
use axum::http::{HeaderName, StatusCode, header};
use axum::response::{IntoResponse, Response};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::json;

use super::extract::{NoQuery, Query, Shown};
use super::operation::{ANY, Operation, Place, Tag};
use super::problem::Problem;
use super::route::{Need, Route};
use crate::services::notifications::{
    NotificationLog, Notifications, Received, WebhookHealth, WebhookTest, validation_token,
};
use crate::services::subscriptions::{LIFECYCLE_PATH, NOTIFICATIONS_PATH};

const RECEIVED_AT: &str = "2026-11-21T09:30:00Z";

/// The routes. Where Graph sends notifications is no call for anybody else, so the document says nothing of it.
pub fn routes() -> Vec<Route> {
    let gap = json!({
        "subscription": "group-0a1b2c3d4e5f6", "cause": "missed", "began_at": "2026-11-20T21:00:00Z",
        "ended_at": "2026-11-20T21:04:00Z", "resynced_at": "2026-11-20T21:04:01Z",
    });
    let summary = "Say whether everything that should be watched is, and what waits";
    let health_said = Operation::new(Tag::Webhooks, "get_webhook_health", summary)
        .answers::<WebhookHealth>(json!({
            "status": "ok", "problems": [], "public_url": "https://graphgate.example.com/", "wanted": 3, "active": 3,
            "next_expiry": "2026-12-19T09:30:00Z", "looked_after_at": RECEIVED_AT,
            "queue": { "waiting": 0, "poisoned": 0 }, "last_notification_at": RECEIVED_AT,
            "received": { "posts": 210, "kept": 230, "refused": 0, "malformed": 0, "unreadable": 0, "not_taken": 0 }, "gaps": [gap],
        }))
        .problems(ANY);
    let line = json!({
        "received_at": RECEIVED_AT, "took_ms": 420, "subscription": "group-0a1b2c3d4e5f6", "change": "updated",
        "outcome": "done", "note": "2 plans compared",
    });
    let summary = "List the latest notifications and what became of them";
    let logged = Operation::new(Tag::Webhooks, "get_webhook_log", summary)
        .parameters::<Page>(Place::Query)
        .answers::<NotificationLog>(json!({ "notifications": [line] }))
        .problems(ANY);
    let step = |step: &str, ms: i64, said: &str| json!({ "step": step, "ok": true, "ms": ms, "said": said });
    let steps =
        [step("handshake", 41, "the token came back"), step("delivery", 38, "taken"), step("work", 640, "worked on")];
    let address = "https://graphgate.example.com/api/graph_webhook";
    let summary = "Send a signed sample through the public address and follow it to the worker";
    let tested = Operation::new(Tag::Webhooks, "test_webhook", summary)
        .answers::<WebhookTest>(json!({ "status": "ok", "address": address, "steps": steps }))
        .problems(ANY);
    vec![
        Route::post(NOTIFICATIONS_PATH, Need::Nothing, receive).with_bodies_up_to(MAX_BODY),
        Route::post(LIFECYCLE_PATH, Need::Nothing, receive).with_bodies_up_to(MAX_BODY),
        Route::get("/api/webhook/health", Need::Operator, health).described(health_said),
        Route::get("/api/webhook/log", Need::Operator, log).described(logged),
        Route::post("/api/webhook/test", Need::Operator, test).described(tested),
    ]
}

/// The largest body that is taken.
pub const MAX_BODY: usize = 1024 * 1024;

const NOSNIFF: (HeaderName, &str) = (header::X_CONTENT_TYPE_OPTIONS, "nosniff");
const PLAIN: (HeaderName, &str) = (header::CONTENT_TYPE, "text/plain; charset=utf-8");

/// `POST /api/graph_webhook` and `POST /api/graph_webhook/lifecycle`: the handshake, or notifications of either kind.
async fn receive(
    Shared(notifications): Shared<Arc<Notifications>>,
    RawQuery(query): RawQuery,
    body: Bytes,
) -> Response {
    match validation_token(query.as_deref().unwrap_or_default()) {
        Some(Some(token)) => return (StatusCode::OK, [PLAIN, NOSNIFF], token).into_response(),
        Some(None) => return (StatusCode::BAD_REQUEST, [PLAIN, NOSNIFF], "this is no token of Graph").into_response(),
        None => {}
    }
    match notifications.receiver.receive(&body).await {
        Received::Taken { .. } => StatusCode::ACCEPTED.into_response(),
        Received::Malformed(why) => (StatusCode::BAD_REQUEST, [PLAIN, NOSNIFF], why).into_response(),
        Received::NotNow => {
            (StatusCode::SERVICE_UNAVAILABLE, [(header::RETRY_AFTER, "10")], "not kept; send it again").into_response()
        }
    }
}

/// `GET /api/webhook/health`
async fn health(
    Shared(notifications): Shared<Arc<Notifications>>,
    _: NoQuery,
) -> Result<Shown<WebhookHealth>, Problem> {
    Ok(Shown(notifications.health().await?))
}

/// How much of the log.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Page {
    /// How many lines, the latest first
    #[schemars(range(min = 1, max = 500), extend("default" = 50))]
    limit: Option<usize>,
}

/// `GET /api/webhook/log?limit=`
async fn log(
    Shared(notifications): Shared<Arc<Notifications>>,
    Query(page): Query<Page>,
) -> Result<Shown<NotificationLog>, Problem> {
    Ok(Shown(notifications.log(page.limit.unwrap_or(50)).await?))
}

/// `POST /api/webhook/test`: 200 however the sample fared; the body says how.
async fn test(Shared(notifications): Shared<Arc<Notifications>>, _: NoQuery) -> Result<Shown<WebhookTest>, Problem> {
    Ok(Shown(notifications.test().await?))
}

/// Whether a path is the endpoint of notifications.
#[must_use]
pub fn is_endpoint(path: &str) -> bool {
    path == NOTIFICATIONS_PATH || path == LIFECYCLE_PATH
}
