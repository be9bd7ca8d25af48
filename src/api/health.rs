//! Whether the process lives, and whether it should get requests: what it rests on, each with status and age.
//!
//! The probe asks the store, and nobody else: a prober every few seconds must not become load on Microsoft Graph. What
//! it says of tokens and Graph is what calls have met. Reasons stand at `/api/tokens/status`, behind the key.

use std::time::Duration;

use axum::Extension;
use axum::extract::State as Shared;
use axum::http::{HeaderMap, StatusCode};
use chrono::{DateTime, Utc};
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::json;

use super::extract::Shown;
use super::operation::{Operation, Tag};
use super::route::{Need, Route};
use super::tokens::{self, TokenStatus};
use super::{Readiness, State};
use crate::services::Services;
use crate::services::reports::schedule::ScheduleHealth;

/// How long the store may take for one row.
const STORE_LIMIT: Duration = Duration::from_secs(2);

/// The routes.
pub fn routes() -> Vec<Route> {
    let alive = Operation::new(Tag::Operation, "get_liveness", "Whether the process answers")
        .answers::<Alive>(json!({ "status": "ok", "uptime_seconds": 3600 }));
    vec![
        Route::get("/health", Need::Nothing, ready).described(readiness("get_health")),
        Route::get("/health/live", Need::Nothing, live).described(alive),
        Route::get("/health/ready", Need::Nothing, ready).described(readiness("get_readiness")),
    ]
}

fn readiness(id: &'static str) -> Operation {
    let example = |status: &str, draining: bool| {
        json!({
            "status": status, "version": env!("CARGO_PKG_VERSION"), "uptime_seconds": 3600, "draining": draining,
            "store": { "status": "ok", "read_ms": 0 },
            "token": { "status": "ok", "expires_in_seconds": 3540 },
            "graph": { "status": "ok", "last_listing_seconds_ago": 12, "throttled": [], "resting": [] },
            "replicas": { "plans": 8, "tasks": 1200, "pending_writes": 0, "oldest_age_seconds": 14 },
            "reports": { "status": "ok", "schedules": 3, "failing": 0, "overdue": 0 },
            "queues": { "status": "ok", "poisoned": 0 },
        })
    };
    let elsewhere = "Send requests elsewhere: the process is stopping, or its store cannot be read";
    Operation::new(Tag::Operation, id, "Whether requests should be sent here, and what the process rests on")
        .answers::<Health>(example("ok", false))
        .answers_with::<Health>(503, elsewhere, example("unavailable", true))
}

/// The state of the whole or of a part.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// It works.
    Ok,
    /// It works in part: reads are answered from the replica, writes are journalled.
    Degraded,
    /// It does not work.
    Unavailable,
}

/// What `/health/live` says.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Alive {
    /// `ok`: the process answers.
    status: Status,
    /// How long it has run.
    uptime_seconds: i64,
}

/// What `/health` and `/health/ready` say.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Health {
    /// `unavailable` goes with 503.
    status: Status,
    /// The version.
    version: &'static str,
    /// How long the process has run.
    uptime_seconds: i64,
    /// Whether the process is stopping and wants no more requests.
    draining: bool,
    /// The store, read just now.
    store: StoreHealth,
    /// The tokens at hand.
    token: TokenHealth,
    /// Microsoft Graph, as calls have met it.
    graph: GraphHealth,
    /// The replicas of plans in memory; only for callers who run the deployment.
    #[serde(skip_serializing_if = "Option::is_none")]
    replicas: Option<ReplicaHealth>,
    /// Scheduled reports.
    reports: ReportHealth,
    /// Work that waits in queues.
    queues: QueuesHealth,
    /// Redis, where one is used.
    #[serde(skip_serializing_if = "Option::is_none")]
    redis: Option<RedisHealth>,
}

/// Redis.
#[derive(Debug, Serialize, JsonSchema)]
pub struct RedisHealth {
    /// `degraded` while it cannot be reached: listeners hear of other instances' changes later, within a second.
    status: Status,
    /// For how long it has been so.
    for_seconds: i64,
}

/// Work that waits in queues.
#[derive(Debug, Serialize, JsonSchema)]
pub struct QueuesHealth {
    /// `degraded` while messages lie there that were given up on.
    status: Status,
    /// How many, counted a minute ago at most; `graphgate queue poison` lists them. Only for callers who run the deployment.
    #[serde(skip_serializing_if = "Option::is_none")]
    poisoned: Option<usize>,
}

/// Scheduled reports.
#[derive(Debug, Serialize, JsonSchema)]
pub struct ReportHealth {
    /// `degraded` while a scheduled report ended badly the last time, or is due and does not run.
    status: Status,
    /// Reports on a schedule; only for callers who run the deployment.
    #[serde(skip_serializing_if = "Option::is_none")]
    schedules: Option<usize>,
    /// Those that have stopped or ended badly the last time; `list_report_schedules` says why. Only for callers who run
    /// the deployment.
    #[serde(skip_serializing_if = "Option::is_none")]
    failing: Option<usize>,
    /// Those that have been due for ten minutes and do not run: no timer works. Only for callers who run the deployment.
    #[serde(skip_serializing_if = "Option::is_none")]
    overdue: Option<usize>,
}

/// The store.
#[derive(Debug, Serialize, JsonSchema)]
pub struct StoreHealth {
    /// `unavailable` when a row cannot be read within 2 s, `degraded` when rows cannot be written or some are damaged.
    status: Status,
    /// What is wrong though rows can be read; the log says more.
    #[serde(skip_serializing_if = "Option::is_none")]
    problem: Option<&'static str>,
    /// How long reading a row took.
    read_ms: i64,
}

/// The tokens.
#[derive(Debug, Serialize, JsonSchema)]
pub struct TokenHealth {
    /// `degraded` while a token cannot be had.
    status: Status,
    /// How long the token that ends first still lives.
    #[serde(skip_serializing_if = "Option::is_none")]
    expires_in_seconds: Option<i64>,
    /// How long ago fetching one failed; `/api/tokens/status` says why.
    #[serde(skip_serializing_if = "Option::is_none")]
    failed_seconds_ago: Option<i64>,
}

/// Microsoft Graph.
#[derive(Debug, Serialize, JsonSchema)]
pub struct GraphHealth {
    /// `degraded` while a workload throttles or is given a rest after failures.
    status: Status,
    /// How long ago Planner last listed a plan.
    #[serde(skip_serializing_if = "Option::is_none")]
    last_listing_seconds_ago: Option<i64>,
    /// Workloads that throttle, and for how long they are left alone.
    throttled: Vec<Throttled>,
    /// Workloads given a rest because calls to them kept failing.
    resting: Vec<&'static str>,
}

/// A workload that throttles.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Throttled {
    /// Its name.
    workload: &'static str,
    /// How long it is left alone.
    #[serde(rename = "for_seconds")]
    seconds: u64,
}

/// The replicas.
#[derive(Debug, Clone, Copy, Serialize, JsonSchema)]
pub struct ReplicaHealth {
    /// Plans in memory.
    pub plans: usize,
    /// Their tasks.
    pub tasks: usize,
    /// Writes journalled that Planner does not have yet.
    pub pending_writes: usize,
    /// The age of the replica that was compared with Planner longest ago.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub oldest_age_seconds: Option<i64>,
    /// The age of the youngest one.
    #[serde(skip)]
    pub youngest_age_seconds: Option<i64>,
}

/// `GET /health/live`
async fn live(Shared(state): Shared<State>) -> Shown<Alive> {
    Shown(Alive { status: Status::Ok, uptime_seconds: uptime(&state) })
}

/// `GET /health` and `GET /health/ready`
async fn ready(
    Shared(state): Shared<State>,
    Extension(readiness): Extension<Readiness>,
    headers: HeaderMap,
) -> (StatusCode, Shown<Health>) {
    let mut health = examine(&state, readiness.is_draining()).await;
    // A prober proves nothing and gets an answer; how much there is here is nobody's business but the operator's.
    if !state.gate.is_operator(&headers).await {
        (health.replicas, health.reports.schedules) = (None, None);
        (health.reports.failing, health.reports.overdue) = (None, None);
        health.queues.poisoned = None;
    }
    let status = if health.status == Status::Unavailable { StatusCode::SERVICE_UNAVAILABLE } else { StatusCode::OK };
    (status, Shown(health))
}

async fn examine(state: &State, draining: bool) -> Health {
    let now = state.services.clock.now();
    let (store, replicas) = (store(state).await, replicas(&state.services, now));
    let (token, graph) = (token(state, now), graph(state, replicas.youngest_age_seconds));
    let replicas = Some(replicas);
    let (reports, queues) = (reports(state).await, queues(state).await);
    let redis = redis(state, now);
    let redis_status = redis.as_ref().map_or(Status::Ok, |redis| redis.status);
    let parts = [store.status, token.status, graph.status, reports.status, queues.status, redis_status];
    let status = verdict(draining, &parts);
    Health {
        status,
        version: env!("CARGO_PKG_VERSION"),
        uptime_seconds: uptime(state),
        draining,
        store,
        token,
        graph,
        replicas,
        reports,
        queues,
        redis,
    }
}

fn redis(state: &State, now: DateTime<Utc>) -> Option<RedisHealth> {
    let (connected, since) = state.probes.redis.as_ref()?();
    let status = if connected { Status::Ok } else { Status::Degraded };
    Some(RedisHealth { status, for_seconds: (now - since).num_seconds().max(0) })
}

/// What cannot be read in time says nothing of reports: the store's own line tells that.
async fn reports(state: &State) -> ReportHealth {
    let read = state.services.clock.timeout(STORE_LIMIT, state.services.reports.schedule_health()).await;
    let ScheduleHealth { schedules, failing, overdue } = read.and_then(Result::ok).unwrap_or_default();
    let status = if failing + overdue > 0 { Status::Degraded } else { Status::Ok };
    ReportHealth { status, schedules: Some(schedules), failing: Some(failing), overdue: Some(overdue) }
}

/// As with reports, what cannot be counted in time says nothing.
async fn queues(state: &State) -> QueuesHealth {
    let counted = state.services.clock.timeout(STORE_LIMIT, state.services.poison.count()).await;
    let poisoned = counted.and_then(Result::ok).unwrap_or_default();
    let status = if poisoned > 0 { Status::Degraded } else { Status::Ok };
    QueuesHealth { status, poisoned: Some(poisoned) }
}

/// The whole is as well as its worst part, and nobody should send requests to a process that stops.
fn verdict(draining: bool, parts: &[Status]) -> Status {
    if draining { Status::Unavailable } else { parts.iter().copied().max().unwrap_or(Status::Unavailable) }
}

async fn store(state: &State) -> StoreHealth {
    let asked_at = state.services.clock.now();
    let (status, problem) = match state.services.clock.timeout(STORE_LIMIT, (state.probes.store)()).await {
        Some(Ok(None)) => (Status::Ok, None),
        Some(Ok(Some(trouble))) => {
            tracing::error!(reason = trouble.reason, "the store is in trouble");
            (Status::Degraded, Some(trouble.summary))
        }
        Some(Err(reason)) => {
            tracing::error!(reason, "the store cannot be read");
            (Status::Unavailable, None)
        }
        None => (Status::Unavailable, None),
    };
    StoreHealth { status, problem, read_ms: (state.services.clock.now() - asked_at).num_milliseconds() }
}

fn token(state: &State, now: DateTime<Utc>) -> TokenHealth {
    let scopes = (state.probes.tokens)().scopes;
    let bad = scopes.iter().any(|scope| matches!(tokens::judge(scope, now), TokenStatus::Failing | TokenStatus::Aging));
    TokenHealth {
        status: if bad { Status::Degraded } else { Status::Ok },
        expires_in_seconds: scopes
            .iter()
            .filter_map(|scope| scope.expires_at)
            .min()
            .map(|end| (end - now).num_seconds()),
        failed_seconds_ago: scopes
            .iter()
            .filter_map(|scope| scope.last_error.as_ref())
            .map(|(at, _)| (now - *at).num_seconds())
            .min(),
    }
}

fn graph(state: &State, last_listing_seconds_ago: Option<i64>) -> GraphHealth {
    let workloads = (state.probes.upstream)();
    let closed = workloads.iter().filter(|workload| !workload.closed_for.is_zero());
    let throttled: Vec<Throttled> = closed
        .map(|workload| Throttled { workload: workload.workload, seconds: workload.closed_for.as_secs() + 1 })
        .collect();
    let resting: Vec<&str> =
        workloads.iter().filter(|workload| workload.breaker_open).map(|workload| workload.workload).collect();
    let status = if throttled.is_empty() && resting.is_empty() { Status::Ok } else { Status::Degraded };
    GraphHealth { status, last_listing_seconds_ago, throttled, resting }
}

/// Counts what is in memory.
pub fn replicas(services: &Services, now: DateTime<Utc>) -> ReplicaHealth {
    let handles = services.planner.catalog().handles();
    let (mut tasks, mut pending_writes) = (0, 0);
    for handle in &handles {
        let counts = handle.counts();
        tasks += counts.tasks;
        pending_writes += counts.pending;
    }
    let ages = || handles.iter().filter_map(|handle| handle.as_of()).map(|as_of| (now - as_of).num_seconds());
    ReplicaHealth {
        plans: handles.len(),
        tasks,
        pending_writes,
        oldest_age_seconds: ages().max(),
        youngest_age_seconds: ages().min(),
    }
}

fn uptime(state: &State) -> i64 {
    (state.services.clock.now() - state.started_at).num_seconds()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn health_status_is_the_worst_part_and_unavailable_while_stopping() {
        assert_eq!(verdict(false, &[Status::Ok; 3]), Status::Ok);
        assert_eq!(verdict(false, &[Status::Ok, Status::Degraded, Status::Ok]), Status::Degraded);
        assert_eq!(verdict(false, &[Status::Unavailable, Status::Degraded, Status::Ok]), Status::Unavailable);
        assert_eq!(verdict(true, &[Status::Ok; 3]), Status::Unavailable);
    }
}
