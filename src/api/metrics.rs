//! Counts for Prometheus, in the `OpenMetrics` text format.
//!
//! Requests are counted here as they pass; everything else is counted by the part it happens in and read at the scrape.

use std::fmt;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use axum::extract::State as Shared;
use axum::http::{Method, header};
use axum::response::IntoResponse;
use prometheus_client::encoding::{EncodeLabelSet, text};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};

use super::operation::{Media, Operation, Tag};
use super::problem::Problem;
use super::route::{Need, Route};
use super::{State, health};
use crate::error::ErrorCode;
use crate::services::Error;

const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
/// Upper bounds in seconds: a replica read, a write that waits for Planner, a bulk call.
const BUCKETS: [f64; 9] = [0.001, 0.005, 0.025, 0.1, 0.5, 1.0, 2.5, 10.0, 60.0];

/// The route.
pub fn routes() -> Vec<Route> {
    let example = Media::Example("graphgate_tasks 1200\n# EOF\n".to_owned());
    let described = Operation::new(Tag::Operation, "get_metrics", "Counts for Prometheus")
        .sends("OpenMetrics text", vec![("application/openmetrics-text", example)])
        .problems(&[401, 403, 500]);
    vec![Route::get(METRICS_PATH, Need::Operator, show).described(described)]
}

/// Where the counts are; no audit row is written for reading them.
pub const METRICS_PATH: &str = "/metrics";

type Labels = Vec<(&'static str, String)>;
type Seconds = Counter<f64, AtomicU64>;
type Level = Gauge<f64, AtomicU64>;

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Request {
    method: String,
    route: String,
    status: u16,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfRoute {
    route: String,
}

/// Requests answered since the start.
#[derive(Clone)]
pub struct Requests {
    answered: Family<Request, Counter>,
    seconds: Family<OfRoute, Histogram, fn() -> Histogram>,
}

impl Default for Requests {
    fn default() -> Self {
        let seconds = Family::new_with_constructor((|| Histogram::new(BUCKETS)) as fn() -> Histogram);
        Self { answered: Family::default(), seconds }
    }
}

impl Requests {
    /// Counts an answer. Methods nobody defined count as one, so that a stranger cannot fill the memory with names.
    pub fn count(&self, method: &Method, route: &str, status: u16, took: Duration) {
        let known =
            [Method::GET, Method::POST, Method::PATCH, Method::DELETE, Method::PUT, Method::HEAD, Method::OPTIONS];
        let method = if known.contains(method) { method.as_str() } else { "other" }.to_owned();
        self.answered.get_or_create(&Request { method, route: route.to_owned(), status }).inc();
        self.seconds.get_or_create(&OfRoute { route: route.to_owned() }).observe(took.as_secs_f64());
    }
}

/// `GET /metrics`
async fn show(Shared(state): Shared<State>) -> Result<impl IntoResponse, Problem> {
    let page = page(&state).map_err(|_| Error::new(ErrorCode::Internal, "the metrics cannot be written"))?;
    Ok(([(header::CONTENT_TYPE, OPEN_METRICS)], page))
}

fn page(state: &State) -> Result<String, fmt::Error> {
    let mut registry = Registry::with_prefix("graphgate");
    let Requests { answered, seconds } = state.requests.clone();
    registry.register("http_requests", "Requests answered", answered);
    registry.register_with_unit("http_request_duration", "Time to an answer", Unit::Seconds, seconds);
    tools(&mut registry, state);
    upstream(&mut registry, state);
    caches(&mut registry, state);
    notifications(&mut registry, state);
    replicas(&mut registry, state);
    process(&mut registry, state);
    let mut page = String::new();
    text::encode(&mut page, &registry)?;
    Ok(page)
}

fn tools(registry: &mut Registry, state: &State) {
    let (calls, seconds) = (Family::<Labels, Counter>::default(), Family::<Labels, Seconds>::default());
    for tool in (state.probes.tools)() {
        let labels = vec![("tool", tool.tool.to_owned()), ("outcome", tool.outcome.to_owned())];
        calls.get_or_create(&labels).inc_by(tool.calls);
        seconds.get_or_create(&labels).inc_by(tool.elapsed.as_secs_f64());
    }
    registry.register("tool_calls", "Calls of MCP tools", calls);
    registry.register_with_unit("tool_call_duration", "Time in calls of MCP tools", Unit::Seconds, seconds);
}

fn upstream(registry: &mut Registry, state: &State) {
    let (calls, retries) = (Family::<Labels, Counter>::default(), Family::<Labels, Counter>::default());
    let (seconds, closed) = (Family::<Labels, Seconds>::default(), Family::<Labels, Level>::default());
    let (in_flight, breaker) = (Family::<Labels, Gauge>::default(), Family::<Labels, Gauge>::default());
    for workload in (state.probes.upstream)() {
        let labels = vec![("workload", workload.workload.to_owned())];
        for (class, attempts) in workload.attempts {
            let of_class = [labels.as_slice(), &[("class", class.to_owned())]].concat();
            calls.get_or_create(&of_class).inc_by(attempts);
        }
        retries.get_or_create(&labels).inc_by(workload.retries);
        seconds.get_or_create(&labels).inc_by(workload.elapsed.as_secs_f64());
        closed.get_or_create(&labels).set(workload.closed_for.as_secs_f64());
        in_flight.get_or_create(&labels).set(i64::from(workload.in_flight));
        breaker.get_or_create(&labels).set(i64::from(workload.breaker_open));
    }
    registry.register("graph_calls", "Attempts upstream by class of outcome", calls);
    registry.register("graph_retries", "Attempts that repeated an earlier one", retries);
    registry.register_with_unit("graph_call_duration", "Time in attempts upstream", Unit::Seconds, seconds);
    registry.register_with_unit("graph_throttled", "How long the workload is still left alone", Unit::Seconds, closed);
    registry.register("graph_in_flight", "Requests in flight", in_flight);
    registry.register("graph_breaker_open", "1 while calls are refused after failures", breaker);
}

/// What is answered without asking Microsoft 365: people by name, what lies behind notifications, and plans.
fn caches(registry: &mut Registry, state: &State) {
    let (hits, misses) = (Family::<Labels, Counter>::default(), Family::<Labels, Counter>::default());
    let (mut answered, mut asked) = (0, 0);
    for (cache, (hit, missed)) in [
        ("people", state.services.directory.people.hits_and_misses()),
        ("metadata", state.services.directory.metadata.hits_and_misses()),
        ("replica", state.services.planner.hits_and_misses()),
    ] {
        let labels = vec![("cache", cache.to_owned())];
        hits.get_or_create(&labels).inc_by(hit);
        misses.get_or_create(&labels).inc_by(missed);
        (answered, asked) = (answered + hit, asked + hit + missed);
    }
    registry.register("cache_hits", "Reads answered without asking Microsoft 365", hits);
    registry.register("cache_misses", "Reads that asked Microsoft 365", misses);
    #[allow(clippy::cast_precision_loss)] // a ratio
    let ratio = if asked == 0 { 1.0 } else { answered as f64 / asked as f64 };
    let help = "Part of the reads of all caches that was answered without asking";
    registry.register_with_unit("cache_hit", help, Unit::Ratios, level(ratio));
}

fn notifications(registry: &mut Registry, state: &State) {
    let counts = &state.services.notifications.receiver.counts;
    let outcomes = Family::<Labels, Counter>::default();
    for (outcome, counter) in [
        ("kept", &counts.kept),
        ("refused", &counts.refused),
        ("malformed", &counts.malformed),
        ("not_taken", &counts.not_taken),
    ] {
        let labels = vec![("outcome", outcome.to_owned())];
        outcomes.get_or_create(&labels).inc_by(counter.load(std::sync::atomic::Ordering::Relaxed));
    }
    registry.register("notifications", "Change notifications received", outcomes);
}

fn replicas(registry: &mut Registry, state: &State) {
    let replicas = health::replicas(state, state.services.clock.now());
    let count = |number: usize| i64::try_from(number).unwrap_or(i64::MAX);
    gauge(registry, "plans", "Plans in memory", count(replicas.plans));
    gauge(registry, "tasks", "Tasks in memory", count(replicas.tasks));
    gauge(registry, "pending_writes", "Journalled writes Planner does not have yet", count(replicas.pending_writes));
    if let Some(age) = replicas.oldest_age_seconds {
        let name = "oldest_replica_age";
        registry.register_with_unit(name, "Age of the replica compared longest ago", Unit::Seconds, level_of(age));
    }
}

fn process(registry: &mut Registry, state: &State) {
    let uptime = state.services.clock.now() - state.started_at;
    let started = state.started_at.timestamp();
    registry.register_with_unit("process_start_time", "Start, in Unix time", Unit::Seconds, level_of(started));
    registry.register_with_unit(
        "process_uptime",
        "Time since the start",
        Unit::Seconds,
        level_of(uptime.num_seconds()),
    );
    if let Some(bytes) = resident_bytes() {
        let resident = Gauge::<i64>::default();
        resident.set(bytes);
        registry.register_with_unit("process_resident_memory", "Resident memory", Unit::Bytes, resident);
    }
}

fn gauge(registry: &mut Registry, name: &str, help: &str, value: i64) {
    let gauge = Gauge::<i64>::default();
    gauge.set(value);
    registry.register(name, help, gauge);
}

fn level(value: f64) -> Level {
    let level = Level::default();
    level.set(value);
    level
}

fn level_of(seconds: i64) -> Gauge {
    let gauge = Gauge::<i64>::default();
    gauge.set(seconds);
    gauge
}

/// What the kernel says of this process; `None` off Linux.
fn resident_bytes() -> Option<i64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.trim().strip_suffix("kB")?.trim().parse::<i64>().ok()?.checked_mul(1024)
}
