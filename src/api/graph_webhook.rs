//! Where Microsoft Graph sends change notifications, and pages that tell how that goes.
//!
//! The door has no key: Graph sends none. What proves a notification is the secret of its subscription.

use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::{RawQuery, State as Shared};
use axum::http::{HeaderName, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;

use super::extract::{NoQuery, Query, Shown};
use super::problem::Problem;
use crate::services::notifications::{
    NotificationLog, Notifications, Received, WebhookHealth, WebhookTest, validation_token,
};

/// The largest body that is taken.
pub const MAX_BODY: usize = 1024 * 1024;

const NOSNIFF: (HeaderName, &str) = (header::X_CONTENT_TYPE_OPTIONS, "nosniff");
const PLAIN: (HeaderName, &str) = (header::CONTENT_TYPE, "text/plain; charset=utf-8");

/// `POST /api/graph_webhook` and `POST /api/graph_webhook/lifecycle`: the handshake, or notifications of either kind.
pub async fn receive(
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
pub async fn health(
    Shared(notifications): Shared<Arc<Notifications>>,
    _: NoQuery,
) -> Result<Shown<WebhookHealth>, Problem> {
    Ok(Shown(notifications.health().await?))
}

/// How much of the log.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Page {
    limit: Option<usize>,
}

/// `GET /api/webhook/log?limit=`
pub async fn log(
    Shared(notifications): Shared<Arc<Notifications>>,
    Query(page): Query<Page>,
) -> Result<Shown<NotificationLog>, Problem> {
    Ok(Shown(notifications.log(page.limit.unwrap_or(50)).await?))
}

/// `POST /api/webhook/test`: 200 however the sample fared; the body says how.
pub async fn test(
    Shared(notifications): Shared<Arc<Notifications>>,
    _: NoQuery,
) -> Result<Shown<WebhookTest>, Problem> {
    Ok(Shown(notifications.test().await?))
}

/// Whether a path is the door.
#[must_use]
pub fn is_door(path: &str) -> bool {
    use crate::services::subscriptions::{LIFECYCLE_PATH, NOTIFICATIONS_PATH};
    path == NOTIFICATIONS_PATH || path == LIFECYCLE_PATH
}
