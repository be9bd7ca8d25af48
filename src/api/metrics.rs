//! Metrics: what this interface counts, and the page with what all parts have registered, in the `OpenMetrics` text format.

use std::time::Duration;

use axum::extract::State as Shared;
use axum::http::{Method, header};
use axum::response::IntoResponse;
use chrono::{DateTime, Utc};

use super::operation::{Media, Operation, Tag};
use super::problem::Problem;
use super::route::{Need, Route};
use super::{State, health};
use crate::error::ErrorCode;
use crate::services::{Error, Services};
use crate::telemetry::metrics::{Durations, Label, Labels, Metric, Metrics, Reading, Sample, Unit};

const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
/// The methods there are; others count as one, so that a stranger cannot fill the memory with names.
const METHODS: [&str; 7] = ["GET", "POST", "PATCH", "DELETE", "PUT", "HEAD", "OPTIONS"];

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

/// Requests answered since the start, by method, route and status.
#[derive(Clone, Default)]
pub struct Requests(Durations<3>);

impl Requests {
    /// Counts an answer.
    pub fn count(&self, method: &Method, route: &str, status: u16, took: Duration) {
        let method = METHODS.into_iter().find(|known| *known == method.as_str()).unwrap_or("other");
        self.0.record([method.into(), route.to_owned().into(), status.to_string().into()], took);
    }

    /// Registers them.
    pub fn register(&self, metrics: &Metrics) {
        let all = |[method, route, status]: &[Label; 3]| {
            vec![("method", method.clone()), ("route", route.clone()), ("status", status.clone())]
        };
        let answered = Metric::counter("http_requests", "Requests answered").only_on_page();
        metrics.durations(answered, &self.0, all, |found| Reading::Whole(found.count()));
        let by_route = |[_, route, _]: &[Label; 3]| vec![("route", route.clone())];
        let took = Metric::histogram("http_request_duration", "Time to an answer").only_on_page();
        metrics.durations(took, &self.0, by_route, Reading::Histogram);
        let exported = Metric::histogram("http.server.request.duration", "Duration of HTTP server requests");
        metrics.durations(exported.only_exported(), &self.0, conventional, Reading::Histogram);
    }
}

/// The attributes of a request (OpenTelemetry semantic conventions for HTTP). TLS ends in front of the program.
fn conventional([method, route, status]: &[Label; 3]) -> Labels {
    let method = if method == "other" { "_OTHER".into() } else { method.clone() };
    let labels = [("http.request.method", method), ("http.route", route.clone()), ("url.scheme", "http".into())];
    let error = status.starts_with('5').then(|| ("error.type", status.clone()));
    labels.into_iter().chain([("http.response.status_code", status.clone())]).chain(error).collect()
}

/// `GET /metrics`
async fn show(Shared(state): Shared<State>) -> Result<impl IntoResponse, Problem> {
    let page = state.metrics.page().map_err(|_| Error::new(ErrorCode::Internal, "the metrics cannot be written"))?;
    Ok(([(header::CONTENT_TYPE, OPEN_METRICS)], page))
}

/// Registers the state of replicas and of the process, which counts as started at `started_at`.
pub fn register(services: &Services, started_at: DateTime<Utc>, metrics: &Metrics) {
    let replicas = |metric: Metric, value: fn(health::ReplicaHealth) -> Option<Reading>| {
        let services = services.clone();
        let value = move || value(health::replicas(&services, services.clock.now()));
        metrics.read(metric, move || value().map(Sample::only).unwrap_or_default());
    };
    replicas(Metric::gauge("plans", "Plans in memory"), |found| Some(whole(found.plans)));
    replicas(Metric::gauge("tasks", "Tasks in memory"), |found| Some(whole(found.tasks)));
    let pending = Metric::gauge("pending_writes", "Journalled writes Planner does not have yet");
    replicas(pending, |found| Some(whole(found.pending_writes)));
    let oldest = Metric::gauge("oldest_replica_age", "Age of the replica compared longest ago").in_unit(Unit::Seconds);
    replicas(oldest, |found| found.oldest_age_seconds.map(seconds));

    let started = Metric::gauge("process_start_time", "Start, in Unix time").in_unit(Unit::Seconds).only_on_page();
    metrics.read(started, move || Sample::only(seconds(started_at.timestamp())));
    let uptime = Metric::gauge("process_uptime", "Time since the start").in_unit(Unit::Seconds);
    let clock = services.clock.clone();
    metrics.read(uptime.exported_as("process.uptime"), move || {
        Sample::only(seconds((clock.now() - started_at).num_seconds()))
    });
    let resident = Metric::gauge("process_resident_memory", "Resident memory").in_unit(Unit::Bytes);
    metrics.read(resident.exported_as("process.memory.usage"), || {
        resident_bytes().map(Reading::Whole).map(Sample::only).unwrap_or_default()
    });
}

fn whole(number: usize) -> Reading {
    Reading::Whole(u64::try_from(number).unwrap_or(u64::MAX))
}

/// Whole seconds; a clock that was set back counts as zero.
fn seconds(seconds: i64) -> Reading {
    Reading::Whole(u64::try_from(seconds).unwrap_or_default())
}

/// What the kernel says of this process; `None` off Linux.
fn resident_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
}
