//! What is counted of upstream calls.

use std::time::Duration;

use super::retry::Outcome;
use super::{HttpClient, Outgoing, Workload};
use crate::telemetry::metrics::{Counter, Durations, Label, Labels, Metric, Metrics, Reading, Sample, Unit};

/// How attempts end.
const CLASSES: [&str; 6] = ["succeeded", "refused", "throttled", "failed", "broken", "timed_out"];

/// One workload since the start of the process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WorkloadCounts {
    /// The workload.
    pub workload: Workload,
    /// Attempts answered 5xx.
    pub failed: u64,
    /// Attempts that repeated an earlier one.
    pub retries: u64,
    /// Requests in flight at this moment.
    pub in_flight: u32,
    /// Whether the circuit breaker refuses calls.
    pub breaker_open: bool,
}

/// Attempts of all workloads, by workload, class of outcome, method, host, port, status and kind of error.
#[derive(Debug, Clone, Default)]
pub(super) struct Attempts(Durations<7>);

impl Attempts {
    pub(super) fn record(&self, call: &Outgoing, outcome: Outcome, elapsed: Duration) {
        let (class, status, error) = match outcome {
            Outcome::Status(status) => {
                let class = match status {
                    429 => "throttled",
                    500.. => "failed",
                    400.. => "refused",
                    _ => "succeeded",
                };
                let text: Label = status.to_string().into();
                (class, text.clone(), if status >= 400 { text } else { Label::default() })
            }
            Outcome::ConnectFailed => ("broken", Label::default(), "connect".into()),
            Outcome::Broken => ("broken", Label::default(), "broken".into()),
            Outcome::TimedOut => ("timed_out", Label::default(), "timeout".into()),
        };
        let host = call.url.host_str().unwrap_or_default().to_owned();
        let port = call.url.port_or_known_default().map(|port| port.to_string()).unwrap_or_default();
        let method = call.method.as_str().to_owned();
        let workload = call.workload.as_str();
        self.0.record([workload.into(), class.into(), method.into(), host.into(), port.into(), status, error], elapsed);
    }

    /// How many attempts of a workload ended in a class.
    fn count(&self, workload: Workload, class: &str) -> u64 {
        self.0.total(|[of, ended, ..]| of == workload.as_str() && ended == class).count()
    }
}

/// What one workload counts besides its attempts.
#[derive(Debug, Default)]
pub(super) struct Counters {
    /// Attempts that repeated an earlier one.
    pub(super) retries: Counter,
    /// Calls not sent: gate closed beyond the deadline, breaker open, or budget empty.
    pub(super) not_sent: Counter,
}

impl HttpClient {
    /// Counts, by workload.
    #[must_use]
    pub fn counts(&self) -> Vec<WorkloadCounts> {
        let counts = |workload| {
            let lane = self.lane(workload);
            let (failed, retries) = (self.attempts.count(workload, "failed"), lane.counters.retries.get());
            let (in_flight, breaker_open) = (lane.throttle.in_flight(), lane.is_open());
            WorkloadCounts { workload, failed, retries, in_flight, breaker_open }
        };
        Workload::ALL.into_iter().map(counts).collect()
    }

    /// Registers what is counted and the state of every workload.
    pub fn register(&self, metrics: &Metrics) {
        let calls = || Metric::counter("graph_calls", "Attempts upstream by class of outcome").only_on_page();
        let retries = || Metric::counter("graph_retries", "Attempts that repeated an earlier one");
        let attempts = self.attempts.clone();
        metrics.read(calls(), move || {
            let of_class = |workload: Workload, class| {
                let labels = vec![("workload", workload.as_str().into()), ("class", Label::Borrowed(class))];
                Sample { labels, value: Reading::Whole(attempts.count(workload, class)) }
            };
            Workload::ALL.iter().flat_map(|workload| CLASSES.map(|class| of_class(*workload, class))).collect()
        });
        for workload in Workload::ALL {
            let (labels, counters) = (of(workload), &self.lane(workload).counters);
            let not_sent = [labels.as_slice(), &[("class", "not_sent".into())]].concat();
            metrics.count(calls(), not_sent, &counters.not_sent);
            metrics.count(retries(), labels, &counters.retries);
        }
        let attempts = self.attempts.clone();
        let spent = Metric::counter("graph_call_duration", "Time in attempts upstream").in_unit(Unit::Seconds);
        metrics.read(spent.only_on_page(), move || {
            let seconds = |workload: Workload| attempts.0.total(|[of, ..]| of == workload.as_str()).seconds();
            let sample = |workload| Sample { labels: of(workload), value: Reading::Fraction(seconds(workload)) };
            Workload::ALL.into_iter().map(sample).collect()
        });
        let exported = Metric::histogram("http.client.request.duration", "Duration of HTTP client requests");
        metrics.durations(exported.only_exported(), &self.attempts.0, conventional, Reading::Histogram);
        let closed = Metric::gauge("graph_throttled", "How long the workload is still left alone");
        self.observe(metrics, closed.in_unit(Unit::Seconds), |client, workload| {
            Reading::Fraction(client.closed_for(workload).as_secs_f64())
        });
        self.observe(metrics, Metric::gauge("graph_in_flight", "Requests in flight"), |client, workload| {
            Reading::Whole(client.lane(workload).throttle.in_flight().into())
        });
        let breaker = Metric::gauge("graph_breaker_open", "1 while calls are refused after failures");
        self.observe(metrics, breaker, |client, workload| Reading::Whole(client.lane(workload).is_open().into()));
    }

    /// Registers a state of every workload.
    fn observe(&self, metrics: &Metrics, metric: Metric, state: fn(&Self, Workload) -> Reading) {
        let client = self.clone();
        metrics.read(metric, move || {
            let sample = |workload| Sample { labels: of(workload), value: state(&client, workload) };
            Workload::ALL.into_iter().map(sample).collect()
        });
    }
}

fn of(workload: Workload) -> Labels {
    vec![("workload", workload.as_str().into())]
}

/// The attributes of a request (OpenTelemetry semantic conventions for HTTP).
fn conventional([workload, _, method, host, port, status, error]: &[Label; 7]) -> Labels {
    let all = [
        ("graphgate.workload", workload),
        ("http.request.method", method),
        ("server.address", host),
        ("server.port", port),
        ("http.response.status_code", status),
        ("error.type", error),
    ];
    all.into_iter().filter(|(_, value)| !value.is_empty()).map(|(name, value)| (name, value.clone())).collect()
}
