//! The REST interface: tasks for agents, metadata, health, metrics, and the description of all of it.
//!
//! Each noun's file declares its [routes](mod@route) beside their handlers; [`router`], the guard, the audit log and the
//! OpenAPI document read these. [`guard()`] is in front of every route of the process, MCP's too: request id, log line,
//! host, key, body size, panics. Failures are problem documents (RFC 9457) and made in one place, [`problem`]. What is
//! reported about other parts comes from [`Probes`], so that this module depends on services and toolsets alone.

mod ascii;
mod audit;
mod events;
mod extract;
mod graph_webhook;
mod guard;
mod health;
mod host;
mod intake;
mod metadata;
mod metrics;
mod oauth;
mod once;
mod openapi;
mod operation;
mod pages;
mod probes;
pub mod problem;
mod process;
mod refusal;
mod remainder;
mod reports;
mod route;
mod signed;
mod starting;
mod status;
mod step_up;
mod sync;
mod tasks;
mod tokens;
mod tools;
mod well_known;

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use axum::Router;
use axum::extract::FromRef;
use chrono::{DateTime, Utc};
use ipnet::IpNet;
use tokio_util::task::TaskTracker;

pub use guard::guard;
pub use probes::{Probe, Probes, StoreTrouble, TokenState, Tokens, Upstream};
pub use remainder::read_to_the_end;
pub use starting::Front;

use self::route::{Declared, Route};
use crate::auth::{Gate, Streams};
use crate::clock::Clock;
use crate::rows::TenantTables;
use crate::services::Services;
use crate::services::events::Events;
use crate::services::notifications::Notifications;
use crate::services::planner::Planner;
use crate::services::reports::Reports;
use crate::telemetry::metrics::Metrics;
use crate::toolsets::Catalogue;

/// The largest request body, in bytes.
pub const MAX_BODY: usize = 4 * 1024 * 1024;

/// Whether the interface may change anything.
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
    /// The tools and resources.
    catalogue: Arc<Catalogue>,
    probes: Arc<Probes>,
    access: Arc<Access>,
    gate: Arc<Gate>,
    streams: Streams,
    started_at: DateTime<Utc>,
    metrics: Metrics,
    requests: metrics::Requests,
    /// Bodies that are on their way.
    intake: intake::Intake,
    /// Handlers that write: they continue when their callers hang up.
    writes: TaskTracker,
    /// What the Functions host may send twice; `None` elsewhere.
    once: Option<once::Once>,
    /// What is signed and may be sent twice.
    signed: Option<once::Once>,
    /// What routes declare.
    declared: Declared,
    /// The OpenAPI document.
    document: Arc<str>,
}

impl State {
    /// Handlers that write and are under way.
    #[must_use]
    pub fn writes(&self) -> TaskTracker {
        self.writes.clone()
    }

    /// Puts the parts together; the process counts as started now. What the interface counts is registered with `metrics`,
    /// all of which it shows.
    #[must_use]
    pub fn new(
        catalogue: Arc<Catalogue>,
        gate: Arc<Gate>,
        streams: Streams,
        access: Access,
        probes: Probes,
        metrics: Metrics,
    ) -> Self {
        let services = catalogue.services().clone();
        let started_at = services.clock.now();
        let requests = metrics::Requests::default();
        requests.register(&metrics);
        metrics::register(&services, started_at, &metrics);
        let routes = all_routes();
        let document = openapi::document(&routes, &tools::described(&catalogue), &access);
        Self {
            declared: Declared::of(&routes),
            document,
            catalogue,
            services,
            probes: Arc::new(probes),
            access: Arc::new(access),
            gate,
            streams,
            started_at,
            metrics,
            requests,
            intake: intake::Intake::default(),
            writes: TaskTracker::new(),
            once: None,
            signed: None,
        }
    }

    /// The same with a memory of the requests that are signed.
    #[must_use]
    pub fn with_signed(mut self, tables: &TenantTables) -> Self {
        self.signed = Some(once::Once::signed(tables, self.services.clock.clone()));
        self
    }

    /// The same behind the Functions host, which may send a request twice.
    #[must_use]
    pub fn hosted(mut self, tables: &TenantTables) -> Self {
        self.once = Some(once::Once::new(tables, self.services.clock.clone()));
        self
    }
}

impl FromRef<State> for Arc<Catalogue> {
    fn from_ref(state: &State) -> Self {
        state.catalogue.clone()
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

/// The routes of all nouns: the whole URL space but `/mcp`.
fn all_routes() -> Vec<Route> {
    let nouns = [
        process::routes(),
        tasks::routes(),
        reports::routes(),
        events::routes(),
        sync::routes(),
        metadata::routes(),
        audit::routes(),
        tokens::routes(),
        status::routes(),
        graph_webhook::routes(),
        health::routes(),
        metrics::routes(),
        tools::routes(),
        openapi::routes(),
        well_known::routes(),
        oauth::routes(),
        pages::routes(),
    ];
    nouns.into_iter().flatten().collect()
}

/// The patterns of all paths, as `/api/agent/tasks/{id}`: for those who take them in any letter case.
#[must_use]
pub fn paths(state: &State) -> Vec<String> {
    state.declared.patterns().chain(["/mcp"]).map(str::to_owned).collect()
}

/// The router of everything but `/mcp`.
pub fn router(state: State, ready: Readiness) -> Router {
    route::router(all_routes())
        .method_not_allowed_fallback(problem::wrong_method)
        .fallback(problem::unknown_path)
        .layer(axum::Extension(ready))
        .with_state(state)
}
