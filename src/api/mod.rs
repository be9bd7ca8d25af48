//! The REST face: tasks for agents, metadata, health, metrics, and the description of all of it.
//!
//! [`router`] is the whole URL space on one page. [`guard()`] stands before every route of the process, MCP's too: request
//! id, log line, host, key, body size, panics. Failures are problem documents (RFC 9457) and made in one place,
//! [`problem`]. What the face reports about other parts it learns from [`Probes`], so that it depends on services alone.

mod ascii;
mod audit;
mod board;
mod events;
mod extract;
mod graph_webhook;
mod guard;
mod health;
mod host;
mod intake;
mod metadata;
mod metrics;
mod need;
mod once;
mod openapi;
mod probes;
pub mod problem;
mod process;
mod remainder;
mod reports;
mod starting;
mod sync;
mod tasks;
mod tokens;
mod well_known;

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use axum::Router;
use axum::extract::{DefaultBodyLimit, FromRef};
use axum::routing::{get, post, put};
use chrono::{DateTime, Utc};
use ipnet::IpNet;
use tokio_util::task::TaskTracker;

pub use guard::guard;
pub use probes::{Probe, Probes, StoreTrouble, TokenState, Tokens, ToolCalls, Upstream};
pub use remainder::read_to_the_end;
pub use starting::Front;

use crate::auth::{Gate, Streams};
use crate::clock::Clock;
use crate::rows::TenantTables;
use crate::services::Services;
use crate::services::events::Events;
use crate::services::metadata::Cache;
use crate::services::notifications::Notifications;
use crate::services::planner::Planner;
use crate::services::reports::Reports;
use crate::services::subscriptions::{LIFECYCLE_PATH, NOTIFICATIONS_PATH};

/// The largest request body, in bytes.
pub const MAX_BODY: usize = 4 * 1024 * 1024;

/// Whether the face may change anything.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Writes {
    /// It may.
    Allowed,
    /// Every call that writes is refused.
    Refused,
}

/// Whether callers have to prove who they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Proof {
    /// They have to.
    Demanded,
    /// Everybody is let in.
    NotDemanded,
}

/// Which requests are answered.
#[derive(Debug, Clone)]
pub struct Access {
    /// Whether callers have to prove who they are.
    pub proof: Proof,
    /// Host headers that are answered besides the loopback names, as `name` or `name:port`.
    pub hosts: Vec<String>,
    /// Origins of browser pages that are answered besides loopback ones, as `https://host:port`.
    pub origins: Vec<String>,
    /// The networks calls may come from; all if empty.
    pub networks: Vec<IpNet>,
    /// Whether callers may write.
    pub writes: Writes,
}

/// The address at the other end of a request's connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Peer(pub IpAddr);

impl Access {
    /// Whether a request may come from where it comes from.
    fn admits(&self, peer: Option<Peer>) -> bool {
        let within = |Peer(address): Peer| {
            let address = address.to_canonical();
            self.networks.iter().any(|network| network.contains(&address))
        };
        self.networks.is_empty() || peer.is_some_and(within)
    }
}

/// Whether requests should still be sent here.
#[derive(Clone, Default)]
pub struct Readiness(Arc<AtomicBool>);

impl Readiness {
    /// Turns readiness red for good: the process is stopping.
    pub fn drain(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    fn is_draining(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// What the handlers and the guard are built from; cheap to clone.
#[derive(Clone)]
pub struct State {
    services: Services,
    probes: Arc<Probes>,
    access: Arc<Access>,
    gate: Arc<Gate>,
    streams: Streams,
    started_at: DateTime<Utc>,
    requests: metrics::Requests,
    /// Bodies that are on their way.
    intake: intake::Intake,
    /// Handlers that write: they go on though their callers hang up.
    writes: TaskTracker,
    /// What the Functions host may send twice; `None` elsewhere.
    once: Option<once::Once>,
}

impl State {
    /// Handlers that write and are under way.
    #[must_use]
    pub fn writes(&self) -> TaskTracker {
        self.writes.clone()
    }

    /// Puts the parts together; the process counts as started now.
    #[must_use]
    pub fn new(services: Services, gate: Arc<Gate>, streams: Streams, access: Access, probes: Probes) -> Self {
        let started_at = services.clock.now();
        let requests = metrics::Requests::default();
        Self {
            services,
            probes: Arc::new(probes),
            access: Arc::new(access),
            gate,
            streams,
            started_at,
            requests,
            intake: intake::Intake::default(),
            writes: TaskTracker::new(),
            once: None,
        }
    }

    /// The same behind the Functions host, which may send a request twice.
    #[must_use]
    pub fn hosted(mut self, tables: &TenantTables) -> Self {
        self.once = Some(once::Once::new(tables, self.services.clock.clone()));
        self
    }
}

impl FromRef<State> for Arc<Planner> {
    fn from_ref(state: &State) -> Self {
        state.services.planner.clone()
    }
}

impl FromRef<State> for Arc<Reports> {
    fn from_ref(state: &State) -> Self {
        state.services.reports.clone()
    }
}

impl FromRef<State> for Arc<Notifications> {
    fn from_ref(state: &State) -> Self {
        state.services.notifications.clone()
    }
}

impl FromRef<State> for Arc<Cache> {
    fn from_ref(state: &State) -> Self {
        state.services.metadata.clone()
    }
}

impl FromRef<State> for Arc<Events> {
    fn from_ref(state: &State) -> Self {
        state.services.events.clone()
    }
}

impl FromRef<State> for Streams {
    fn from_ref(state: &State) -> Self {
        state.streams.clone()
    }
}

impl FromRef<State> for Clock {
    fn from_ref(state: &State) -> Self {
        state.services.clock.clone()
    }
}

impl FromRef<State> for Arc<Access> {
    fn from_ref(state: &State) -> Self {
        state.access.clone()
    }
}

/// Where the page on the sync state is.
pub const BOARD_PATH: &str = "/api/sync/board";

/// The patterns of all paths, as `/api/agent/tasks/{id}`: for those who take them in any letter case.
#[must_use]
pub fn paths(state: &State) -> Vec<String> {
    let documented = openapi::paths(&state.access);
    let others = [
        BOARD_PATH,
        NOTIFICATIONS_PATH,
        LIFECYCLE_PATH,
        "/mcp",
        "/.well-known/oauth-protected-resource",
        "/.well-known/oauth-protected-resource/mcp",
    ];
    documented.into_iter().chain(others.map(str::to_owned)).collect()
}

/// Where Graph knocks.
fn door() -> axum::routing::MethodRouter<State> {
    post(graph_webhook::receive).layer(DefaultBodyLimit::max(graph_webhook::MAX_BODY))
}

/// The whole URL space but `/mcp`.
pub fn router(state: State, ready: Readiness) -> Router {
    let document = openapi::document(&state.access);
    // Under the Functions host only what begins with `/api/` gets here: that address works everywhere.
    let (described, below_api) = (document.clone(), document);
    Router::new()
        .route("/", get(process::about))
        .route("/api/agent/tasks", get(tasks::list).post(tasks::create))
        .route("/api/agent/tasks/{id}", get(tasks::show).patch(tasks::update).delete(tasks::delete))
        .route("/api/reports", get(reports::list).post(reports::create))
        .route("/api/reports/{id}", get(reports::show))
        .route("/api/report-schedules", get(reports::list_schedules))
        .route("/api/report-schedules/{name}", put(reports::put_schedule).delete(reports::delete_schedule))
        .route("/api/report-schedules/{name}/run", post(reports::run_schedule))
        .route("/downloads/{name}", get(reports::download))
        .route("/api/events", get(events::listen))
        .route(BOARD_PATH, get(board::show))
        .route("/api/sync/health", get(sync::health))
        .route("/api/sync/log", get(sync::log))
        .route("/api/sync/conflicts", get(sync::conflicts))
        .route("/api/sync/conflicts/{id}/restore", post(sync::restore))
        .route("/api/sync/plans/{id}/confirm", post(sync::confirm))
        .route("/api/sync/replay", post(sync::replay))
        .route("/api/planner/nudge", post(sync::nudge))
        .route("/api/metadata", get(metadata::show))
        .route("/api/audit", get(audit::list))
        .route("/api/tokens/status", get(tokens::status))
        .route(NOTIFICATIONS_PATH, door())
        .route(LIFECYCLE_PATH, door())
        .route("/api/webhook/health", get(graph_webhook::health))
        .route("/api/webhook/log", get(graph_webhook::log))
        .route("/api/webhook/test", post(graph_webhook::test))
        .route("/health", get(health::ready))
        .route("/health/live", get(health::live))
        .route("/health/ready", get(health::ready))
        .route("/metrics", get(metrics::show))
        .route("/openapi.json", get(move || std::future::ready(openapi::show(&described))))
        .route("/api/openapi.json", get(move || std::future::ready(openapi::show(&below_api))))
        .route("/.well-known/oauth-protected-resource", get(well_known::resource))
        .route("/.well-known/oauth-protected-resource/mcp", get(well_known::resource))
        .method_not_allowed_fallback(problem::wrong_method)
        .fallback(problem::unknown_path)
        .layer(axum::Extension(ready))
        .with_state(state)
}
