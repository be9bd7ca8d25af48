//! What a process answers that has not got all it needs yet: that it lives, and what it waits for.
//!
//! It listens before anything slow is tried. A platform that starts it waits for the first answer and gives up on a
//! process that ends (Azure/azure-functions-host `DefaultHttpWorkerService`), and a client learns more from a 503 with
//! `Retry-After` than from a port nobody listens on. Once everything is there, the whole router takes over.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::{HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use chrono::{DateTime, Utc};
use hyper::service::Service as _;
use hyper_util::service::TowerToHyperService;
use parking_lot::Mutex;
use schemars::JsonSchema;
use serde::Serialize;
use tokio::sync::SetOnce;
use tokio_util::sync::CancellationToken;

use super::extract::Shown;
use super::health::Status;
use super::problem::Problem;
use crate::clock::Clock;
use crate::error::ErrorCode;
use crate::services::Error;
use crate::services::jobs::CONSUMERS;

/// How long a queue message is held for the start to finish: handed back at once it would be given up on after five
/// times, within minutes.
const HOLD: Duration = Duration::from_mins(4);
/// How long any other request is held while nothing has failed yet: the request that wakes a process on Azure has its answer.
const PATIENCE: Duration = Duration::from_secs(3);
/// When a caller should come again while nothing has been tried yet.
const SOON: Duration = Duration::from_secs(2);

/// What a starting process waits for.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct WaitingFor {
    /// What it cannot do without: `store`, `secrets`, `keyring` or `queues`.
    pub what: &'static str,
    /// Why the last try failed; absent while the first one is under way.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// How often it was tried in vain.
    pub tries: u32,
    /// When it is tried again.
    #[serde(skip)]
    pub again_in: Duration,
}

/// What a starting process says of itself.
#[derive(Serialize)]
struct Starting {
    status: Status,
    version: &'static str,
    uptime_seconds: i64,
    waiting_for: WaitingFor,
}

/// Stands before the router until that is there, and hands every request on from then on.
#[derive(Clone)]
pub struct Front(Arc<Inner>);

struct Inner {
    router: SetOnce<TowerToHyperService<Router>>,
    waiting: Mutex<WaitingFor>,
    /// Cancelled once something that is waited for was tried in vain.
    failed: CancellationToken,
    started_at: DateTime<Utc>,
    clock: Clock,
}

impl Front {
    /// A front with nothing behind it yet.
    #[must_use]
    pub fn new(clock: Clock) -> Self {
        let waiting = WaitingFor { what: "settings", reason: None, tries: 0, again_in: SOON };
        let started_at = clock.steady();
        let (waiting, failed) = (Mutex::new(waiting), CancellationToken::new());
        Self(Arc::new(Inner { router: SetOnce::new(), waiting, failed, started_at, clock }))
    }

    /// What is being tried from here on.
    pub fn tries(&self, what: &'static str) {
        let mut waiting = self.0.waiting.lock();
        if waiting.what != what {
            (waiting.what, waiting.reason) = (what, None);
        }
    }

    /// Notes why a try failed, and when the next one is.
    pub fn failed(&self, what: &'static str, reason: String, again_in: Duration) {
        let mut waiting = self.0.waiting.lock();
        *waiting = WaitingFor { what, reason: Some(reason), tries: waiting.tries + 1, again_in };
        self.0.failed.cancel();
    }

    /// Hands every request to `router` from here on; the first router counts.
    pub fn take_over(&self, router: Router) {
        let _ = self.0.router.set(TowerToHyperService::new(router));
    }

    /// The router to listen with.
    pub fn router(&self) -> Router {
        Router::new().fallback(answer).with_state(self.clone())
    }

    fn waiting(&self) -> WaitingFor {
        self.0.waiting.lock().clone()
    }

    fn explain(&self, request: &Request) -> Response {
        let waiting = self.waiting();
        let path = request.uri().path().trim_start_matches('/').to_owned();
        let reads = matches!(*request.method(), Method::GET | Method::HEAD);
        let status = match path.as_str() {
            "" | "health/live" if reads => StatusCode::OK,
            "health" | "health/ready" if reads => StatusCode::SERVICE_UNAVAILABLE,
            _ => return refusal(&waiting).respond(None),
        };
        let retry_after = HeaderValue::from(seconds(waiting.again_in));
        let starting = Starting {
            status: if status == StatusCode::OK { Status::Ok } else { Status::Unavailable },
            version: env!("CARGO_PKG_VERSION"),
            uptime_seconds: (self.0.clock.steady() - self.0.started_at).num_seconds(),
            waiting_for: waiting,
        };
        let mut response = (status, Shown(starting)).into_response();
        if status != StatusCode::OK {
            response.headers_mut().insert(header::RETRY_AFTER, retry_after);
        }
        response
    }
}

async fn answer(State(front): State<Front>, request: Request) -> Response {
    let Inner { router, failed, clock, .. } = &*front.0;
    let router = match router.get() {
        Some(router) => Some(router),
        None if is_probe(&request) => None,
        None if is_message(&request) => clock.timeout(HOLD, router.wait()).await,
        None => clock.timeout(PATIENCE, failed.run_until_cancelled(router.wait())).await.flatten(),
    };
    let Some(router) = router else { return front.explain(&request) };
    match router.call(request).await {
        Ok(response) => response,
        Err(never) => match never {},
    }
}

fn is_probe(request: &Request) -> bool {
    matches!(request.uri().path(), "/" | "/health" | "/health/live" | "/health/ready") && request.method().is_safe()
}

/// Whether the Functions host delivers a message of a queue.
fn is_message(request: &Request) -> bool {
    let name = request.uri().path().strip_prefix('/').unwrap_or_default();
    request.method() == Method::POST && CONSUMERS.contains(&name)
}

fn refusal(waiting: &WaitingFor) -> Problem {
    let WaitingFor { what, reason, again_in, .. } = waiting;
    let why = reason.as_ref().map(|reason| format!(" ({reason})")).unwrap_or_default();
    let error = Error::new(ErrorCode::StoreFailed, format!("the server is starting and waits for the {what}{why}"));
    let error = Error { retry_after: Some(Duration::from_secs(seconds(*again_in))), ..error };
    let hint = "repeat the call; `GET /health/live` says what is waited for, `graphgate doctor` what is missing";
    Problem::refused(StatusCode::SERVICE_UNAVAILABLE, error.hint(hint))
}

/// At least one, so that nobody asks again at once.
fn seconds(wait: Duration) -> u64 {
    wait.as_secs() + 1
}
