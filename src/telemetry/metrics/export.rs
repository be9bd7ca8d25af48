//! Sends the registry to a collector by OTLP over HTTP, which is off by default.
//!
//! One task wakes at every interval, puts all series together and posts them. Counters go on from the start of the
//! process, so an attempt that fails or takes too long loses nothing: the next one says it all. Nobody else waits.

use std::time::Duration;

use chrono::{DateTime, Utc};
use http::{HeaderMap, HeaderName, HeaderValue, header};
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::common::v1::{AnyValue, InstrumentationScope, KeyValue, any_value};
use opentelemetry_proto::tonic::metrics::v1::{
    AggregationTemporality, Gauge, HistogramDataPoint, Metric, NumberDataPoint, ResourceMetrics, ScopeMetrics, Sum,
    metric::Data, number_data_point,
};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::transform::common::tonic::ResourceAttributesWithSchema;
use percent_encoding::percent_decode_str;
use prost::Message;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::{BUCKETS, Kind, Labels, Metrics, Reading, Sample, Unit};
use crate::clock::Clock;
use crate::telemetry::collector::{self, LAST_WORDS, Signal};

/// How often metrics are sent where no variable says it (OpenTelemetry specification, periodic exporting reader).
const INTERVAL: Duration = Duration::from_mins(1);

/// Whether metrics are exported.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Config {
    /// To the collector that the standard variables of OpenTelemetry name.
    Exported(Box<Target>),
    /// Not at all.
    Off,
}

/// Where metrics go, and how often.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// The address they are posted to.
    pub endpoint: String,
    /// Further headers, as `Authorization`; their values are secret.
    pub headers: HeaderMap,
    /// How long one request may take.
    pub timeout: Duration,
    /// The time between two requests.
    pub interval: Duration,
}

impl Config {
    /// On where `OTEL_EXPORTER_OTLP_ENDPOINT` or `OTEL_EXPORTER_OTLP_METRICS_ENDPOINT` names a collector; off in any case
    /// with `OTEL_SDK_DISABLED=true` or `OTEL_METRICS_EXPORTER=none`. `OTEL_METRIC_EXPORT_INTERVAL` is milliseconds.
    pub fn read(lookup: crate::config::Lookup<'_>) -> Self {
        if !Signal::Metrics.is_exported(lookup) {
            return Self::Off;
        }
        let text = |name: &str| lookup(name).map(|text| text.trim().to_owned()).filter(|text| !text.is_empty());
        // Only the address for all signals is completed (OpenTelemetry specification, OTLP exporter).
        let endpoint = text("OTEL_EXPORTER_OTLP_METRICS_ENDPOINT").or_else(|| {
            let base = text("OTEL_EXPORTER_OTLP_ENDPOINT")?;
            Some(format!("{}/v1/metrics", base.trim_end_matches('/')))
        });
        let Some(endpoint) = endpoint else { return Self::Off };
        let headers = text("OTEL_EXPORTER_OTLP_METRICS_HEADERS").or_else(|| text("OTEL_EXPORTER_OTLP_HEADERS"));
        let interval = text("OTEL_METRIC_EXPORT_INTERVAL").and_then(|text| text.parse().ok()).filter(|ms| *ms > 0);
        Self::Exported(Box::new(Target {
            endpoint,
            headers: headers.map(|text| parse_headers(&text)).unwrap_or_default(),
            timeout: Signal::Metrics.timeout(lookup),
            interval: interval.map_or(INTERVAL, Duration::from_millis),
        }))
    }
}

/// Reads `name=value,name=value` with percent-encoded values, as in W3C Baggage; what is no header is left out.
fn parse_headers(text: &str) -> HeaderMap {
    let header = |pair: &str| {
        let (name, value) = pair.split_once('=')?;
        let value = percent_decode_str(value.trim()).decode_utf8().ok()?;
        let mut value = HeaderValue::from_str(&value).ok()?;
        value.set_sensitive(true);
        Some((HeaderName::try_from(name.trim()).ok()?, value))
    };
    text.split(',').filter_map(header).collect()
}

/// Sends the registry at every interval until it is told to end.
pub struct Exporter {
    stop: CancellationToken,
    task: JoinHandle<()>,
}

impl Exporter {
    /// Begins, if metrics are exported; `instance` tells this process from others of the deployment.
    #[must_use]
    pub fn start(config: &Config, metrics: Metrics, clock: Clock, instance: String) -> Option<Self> {
        let Config::Exported(target) = config else { return None };
        let client = match reqwest::Client::builder().timeout(target.timeout).build() {
            Ok(client) => client,
            Err(error) => {
                tracing::error!(%error, "metrics are not exported");
                return None;
            }
        };
        let target = Target::clone(target);
        let sending = Sending { client, target, metrics, started_at: clock.now(), clock, instance, is_failing: false };
        let stop = CancellationToken::new();
        Some(Self { task: tokio::spawn(sending.run(stop.clone())), stop })
    }

    /// Sends what was counted last, for two seconds at most.
    pub async fn end(self) {
        self.stop.cancel();
        let _ = self.task.await;
    }
}

struct Sending {
    client: reqwest::Client,
    target: Target,
    metrics: Metrics,
    clock: Clock,
    started_at: DateTime<Utc>,
    instance: String,
    /// Whether the last attempt failed: of many failures the first is logged.
    is_failing: bool,
}

impl Sending {
    async fn run(mut self, stop: CancellationToken) {
        let clock = self.clock.clone();
        let interval = self.target.interval;
        let round = async {
            loop {
                clock.sleep(interval).await;
                self.send().await;
            }
        };
        stop.run_until_cancelled(round).await;
        let _ = tokio::time::timeout(LAST_WORDS, self.send()).await;
    }

    async fn send(&mut self) {
        let request = self.client.post(&self.target.endpoint).headers(self.target.headers.clone());
        let request = request.header(header::CONTENT_TYPE, "application/x-protobuf").body(self.body());
        let sent = request.send().await.and_then(reqwest::Response::error_for_status);
        let failure = sent.err().map(reqwest::Error::without_url); // the address may hold a key
        match (&failure, self.is_failing) {
            (Some(error), false) => tracing::warn!(%error, "metrics are not exported; the next attempt sends them all"),
            (None, true) => tracing::info!("metrics are exported again"),
            _ => {}
        }
        self.is_failing = failure.is_some();
    }

    fn body(&self) -> Vec<u8> {
        let mut resource = ResourceAttributesWithSchema::from(&collector::resource()).attributes.0;
        if !resource.iter().any(|attribute| attribute.key == INSTANCE_ID) {
            resource.push(attribute(INSTANCE_ID, &self.instance));
        }
        let scope = InstrumentationScope {
            name: "graphgate".to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            ..InstrumentationScope::default()
        };
        let metrics = exported(&self.metrics, (nanoseconds(self.started_at), nanoseconds(self.clock.now())));
        let of_scope = ScopeMetrics { scope: Some(scope), metrics, ..ScopeMetrics::default() };
        let resource = Resource { attributes: resource, ..Resource::default() };
        let of_resource =
            ResourceMetrics { resource: Some(resource), scope_metrics: vec![of_scope], ..ResourceMetrics::default() };
        ExportMetricsServiceRequest { resource_metrics: vec![of_resource] }.encode_to_vec()
    }
}

/// What tells processes of one service apart: without it their counters would be taken for one.
const INSTANCE_ID: &str = "service.instance.id";

/// The time since which counters have counted, and the time they are read, in nanoseconds since 1970.
type Times = (u64, u64);

fn exported(metrics: &Metrics, times: Times) -> Vec<Metric> {
    let mut found = Vec::new();
    let Ok(()) = metrics.visit::<std::convert::Infallible>(|metric, samples| {
        if let Some(name) = metric.exported.as_deref().filter(|_| !samples.is_empty()) {
            found.push(Metric {
                name: name.to_owned(),
                description: metric.help.to_owned(),
                unit: unit(metric.unit.as_ref()).to_owned(),
                data: Some(data(metric.kind, samples, times)),
                ..Metric::default()
            });
        }
        Ok(())
    });
    found
}

fn data(kind: Kind, samples: Vec<Sample>, times: Times) -> Data {
    let aggregation_temporality = AggregationTemporality::Cumulative.into();
    if kind == Kind::Histogram {
        let data_points = samples.into_iter().filter_map(|sample| distribution(sample, times)).collect();
        return Data::Histogram(opentelemetry_proto::tonic::metrics::v1::Histogram {
            data_points,
            aggregation_temporality,
        });
    }
    let data_points = samples.into_iter().filter_map(|sample| number(sample, times)).collect();
    match kind {
        Kind::Counter => Data::Sum(Sum { data_points, aggregation_temporality, is_monotonic: true }),
        Kind::Gauge | Kind::Histogram => Data::Gauge(Gauge { data_points }),
    }
}

fn number(Sample { labels, value }: Sample, (since, at): Times) -> Option<NumberDataPoint> {
    let value = match value {
        Reading::Whole(number) => number_data_point::Value::AsInt(i64::try_from(number).unwrap_or(i64::MAX)),
        Reading::Fraction(number) => number_data_point::Value::AsDouble(number),
        Reading::Histogram(_) => return None,
    };
    Some(NumberDataPoint {
        attributes: attributes(&labels),
        start_time_unix_nano: since,
        time_unix_nano: at,
        value: Some(value),
        ..NumberDataPoint::default()
    })
}

fn distribution(Sample { labels, value }: Sample, (since, at): Times) -> Option<HistogramDataPoint> {
    let Reading::Histogram(histogram) = value else { return None };
    Some(HistogramDataPoint {
        attributes: attributes(&labels),
        start_time_unix_nano: since,
        time_unix_nano: at,
        count: histogram.count(),
        sum: Some(histogram.seconds()),
        bucket_counts: histogram.all_buckets().collect(),
        explicit_bounds: BUCKETS.to_vec(),
        ..HistogramDataPoint::default()
    })
}

fn attributes(labels: &Labels) -> Vec<KeyValue> {
    labels.iter().map(|(name, value)| attribute(name, value)).collect()
}

/// An attribute; those that the conventions have as numbers are numbers.
fn attribute(name: &str, value: &str) -> KeyValue {
    let number = matches!(name, "http.response.status_code" | "server.port").then(|| value.parse().ok()).flatten();
    let value = number.map_or_else(|| any_value::Value::StringValue(value.to_owned()), any_value::Value::IntValue);
    KeyValue { key: name.to_owned(), value: Some(AnyValue { value: Some(value) }), ..KeyValue::default() }
}

/// A unit as UCUM writes it.
fn unit(unit: Option<&Unit>) -> &str {
    match unit {
        None => "",
        Some(Unit::Seconds) => "s",
        Some(Unit::Bytes) => "By",
        Some(Unit::Ratios) => "1",
        Some(other) => other.as_str(),
    }
}

fn nanoseconds(at: DateTime<Utc>) -> u64 {
    at.timestamp_nanos_opt().and_then(|nanoseconds| nanoseconds.try_into().ok()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::collector::TIMEOUT;
    use crate::telemetry::metrics::{Durations, Metric as Described};

    fn read(pairs: &[(&str, &str)]) -> Config {
        let lookup = |name: &str| pairs.iter().find(|pair| pair.0 == name).map(|pair| pair.1.to_owned());
        Config::read(&lookup)
    }

    #[test]
    fn metrics_are_exported_only_where_a_collector_is_named_and_nothing_forbids_it() {
        let collector = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://localhost:4318/");
        assert_eq!(read(&[]), Config::Off);
        assert_eq!(read(&[("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://localhost:4318")]), Config::Off);
        assert_eq!(read(&[collector, ("OTEL_SDK_DISABLED", "true")]), Config::Off);
        assert_eq!(read(&[collector, ("OTEL_METRICS_EXPORTER", "none")]), Config::Off);
        let endpoint = "http://localhost:4318/v1/metrics".to_owned();
        let usual = Target { endpoint, headers: HeaderMap::new(), timeout: TIMEOUT, interval: INTERVAL };
        assert_eq!(read(&[collector]), Config::Exported(Box::new(usual.clone())));
        let own = [
            collector,
            ("OTEL_EXPORTER_OTLP_METRICS_ENDPOINT", "http://other:1/as/it/is"),
            ("OTEL_METRIC_EXPORT_INTERVAL", "250"),
            ("OTEL_EXPORTER_OTLP_METRICS_TIMEOUT", "3000"),
        ];
        let (timeout, interval) = (Duration::from_secs(3), Duration::from_millis(250));
        let told = Target { endpoint: "http://other:1/as/it/is".to_owned(), timeout, interval, ..usual };
        assert_eq!(read(&own), Config::Exported(Box::new(told)));
    }

    #[test]
    fn headers_are_decoded_and_never_shown() {
        let collector = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://localhost:4318");
        let config =
            read(&[collector, ("OTEL_EXPORTER_OTLP_HEADERS", "authorization=Basic%20a+b=, X-Team = one ,none")]);
        let Config::Exported(target) = &config else { panic!("it is off") };
        assert_eq!(target.headers["authorization"], "Basic a+b=");
        assert_eq!((target.headers["x-team"].to_str().unwrap(), target.headers.len()), ("one", 2));
        assert!(!format!("{config:?}").contains("a+b"), "{config:?}");
    }

    #[test]
    fn series_are_told_with_the_names_and_units_of_the_conventions() {
        let (metrics, calls) = (Metrics::default(), Durations::<1>::default());
        let labels = |[status]: &[super::super::Label; 1]| vec![("http.response.status_code", status.clone())];
        let of_page = Described::counter("http_requests", "Answered").only_on_page();
        metrics.durations(of_page, &calls, labels, |found| Reading::Whole(found.count()));
        let of_export = Described::histogram("http.server.request.duration", "Time").only_exported();
        metrics.durations(of_export, &calls, labels, Reading::Histogram);
        metrics.read(Described::gauge("age", "Age").in_unit(Unit::Seconds), || Sample::only(Reading::Fraction(1.5)));
        calls.record(["200".into()], Duration::from_millis(20));
        let [served, age] = &exported(&metrics, (1, 2))[..] else { panic!("two are exported") };
        assert_eq!((&*served.name, &*served.unit), ("http.server.request.duration", "s"));
        let Some(Data::Histogram(histogram)) = &served.data else { panic!("{served:?}") };
        let [point] = &histogram.data_points[..] else { panic!("{histogram:?}") };
        assert_eq!((point.count, point.start_time_unix_nano, point.time_unix_nano), (1, 1, 2));
        assert_eq!(point.bucket_counts, [0, 0, 1, 0, 0, 0, 0, 0, 0, 0]);
        let status = point.attributes[0].value.as_ref().unwrap().value.as_ref().unwrap();
        assert_eq!(*status, any_value::Value::IntValue(200));
        assert_eq!((&*age.name, &*age.unit), ("graphgate.age", "s"));
        assert!(matches!(&age.data, Some(Data::Gauge(_))), "{age:?}");
    }
}
