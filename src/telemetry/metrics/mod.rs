//! Metrics: what the parts of the program count and measure, in one registry.
//!
//! A part holds its counters and [`Durations`], counts with them, and registers them under a name; what is a state and
//! no count, such as the number of tasks in memory, is read when the registry is. [`Metrics::page`] prints all of it as
//! OpenMetrics text, [`export`] sends it to a collector. Where OpenTelemetry's conventions have a metric of their own for
//! something, the page and the export show the same series under different names and labels.

mod durations;
pub mod export;

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use parking_lot::RwLock;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, MetricEncoder, NoLabelSet, text};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::exemplar::Exemplar;
use prometheus_client::registry::Registry;

pub use durations::{BUCKETS, Durations, Histogram};
pub use prometheus_client::metrics::counter::Counter;
pub use prometheus_client::registry::Unit;

/// The value of a label.
pub type Label = Cow<'static, str>;

/// The labels of a series.
pub type Labels = Vec<(&'static str, Label)>;

/// What kind of number a metric is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// Only grows while the process lives.
    Counter,
    /// Goes up and down.
    Gauge,
    /// A distribution.
    Histogram,
}

/// What a metric is called and means.
#[derive(Debug, Clone)]
pub struct Metric {
    name: &'static str,
    help: &'static str,
    kind: Kind,
    unit: Option<Unit>,
    is_on_page: bool,
    exported: Option<Cow<'static, str>>,
}

impl Metric {
    /// A number that only grows; `name` is without the prefix of the program, unit and `_total`.
    #[must_use]
    pub fn counter(name: &'static str, help: &'static str) -> Self {
        Self::new(Kind::Counter, name, help)
    }

    /// A number that goes up and down.
    #[must_use]
    pub fn gauge(name: &'static str, help: &'static str) -> Self {
        Self::new(Kind::Gauge, name, help)
    }

    /// A distribution of durations.
    #[must_use]
    pub fn histogram(name: &'static str, help: &'static str) -> Self {
        Self::new(Kind::Histogram, name, help).in_unit(Unit::Seconds)
    }

    fn new(kind: Kind, name: &'static str, help: &'static str) -> Self {
        let exported = Some(Cow::Owned(format!("graphgate.{name}")));
        Self { name, help, kind, unit: None, is_on_page: true, exported }
    }

    /// The same, in a unit, which ends its name on the page.
    #[must_use]
    pub fn in_unit(self, unit: Unit) -> Self {
        Self { unit: Some(unit), ..self }
    }

    /// The same, exported under the name that a convention gives it.
    #[must_use]
    pub fn exported_as(self, name: &'static str) -> Self {
        Self { exported: Some(Cow::Borrowed(name)), ..self }
    }

    /// The same, not exported: a convention has another metric for it.
    #[must_use]
    pub fn only_on_page(self) -> Self {
        Self { exported: None, ..self }
    }

    /// The same, exported under its name as it is: it is the metric of a convention.
    #[must_use]
    pub fn only_exported(self) -> Self {
        Self { is_on_page: false, exported: Some(Cow::Borrowed(self.name)), ..self }
    }
}

/// What a series is at a moment.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Reading {
    /// A whole number.
    Whole(u64),
    /// Any number.
    Fraction(f64),
    /// A distribution of durations.
    Histogram(Histogram),
}

/// A series at a moment.
#[derive(Debug, Clone, PartialEq)]
pub struct Sample {
    /// What tells it from other series of its metric.
    pub labels: Labels,
    /// What it is.
    pub value: Reading,
}

impl Sample {
    /// The only series of a metric.
    #[must_use]
    pub fn only(value: Reading) -> Vec<Self> {
        vec![Self { labels: Labels::new(), value }]
    }
}

/// What a cache answered by itself, and what it had to ask for. A handle: clones count together.
#[derive(Debug, Clone, Default)]
pub struct Lookups {
    hits: Counter,
    misses: Counter,
}

impl Lookups {
    /// Counts a lookup that was answered.
    pub fn hit(&self) {
        self.hits.inc();
    }

    /// Counts one for which somebody had to be asked.
    pub fn miss(&self) {
        self.misses.inc();
    }

    /// Registers the counters of several caches, and the part of all lookups that was answered without asking.
    pub fn register(caches: Vec<(&'static str, Self)>, metrics: &Metrics) {
        let (hits, misses) = ("Reads answered without asking Microsoft 365", "Reads that asked Microsoft 365");
        for (cache, lookups) in &caches {
            let labels = vec![("cache", Label::Borrowed(*cache))];
            metrics.count(Metric::counter("cache_hits", hits), labels.clone(), &lookups.hits);
            metrics.count(Metric::counter("cache_misses", misses), labels, &lookups.misses);
        }
        let help = "Part of the reads of all caches that was answered without asking";
        metrics.read(Metric::gauge("cache_hit", help).in_unit(Unit::Ratios), move || {
            let hits: u64 = caches.iter().map(|(_, lookups)| lookups.hits.get()).sum();
            let misses: u64 = caches.iter().map(|(_, lookups)| lookups.misses.get()).sum();
            #[allow(clippy::cast_precision_loss)] // a ratio
            let ratio = if hits + misses == 0 { 1.0 } else { hits as f64 / (hits + misses) as f64 };
            Sample::only(Reading::Fraction(ratio))
        });
    }
}

type Read = Box<dyn Fn() -> Vec<Sample> + Send + Sync>;

/// A metric and what reads its series.
type Registered = (Metric, Vec<Read>);

/// The registry: every metric of the process. Cheap to clone; the wiring makes one.
#[derive(Clone, Default)]
pub struct Metrics(Arc<RwLock<Vec<Registered>>>);

impl Metrics {
    /// Registers what `read` finds when the registry is read. A name that is there already gets further series.
    pub fn read(&self, metric: Metric, read: impl Fn() -> Vec<Sample> + Send + Sync + 'static) {
        let mut metrics = self.0.write();
        match metrics.iter_mut().find(|(known, _)| known.name == metric.name) {
            Some((_, reads)) => reads.push(Box::new(read)),
            None => metrics.push((metric, vec![Box::new(read)])),
        }
    }

    /// Registers a counter as a series.
    pub fn count(&self, metric: Metric, labels: Labels, counter: &Counter) {
        let counter = counter.clone();
        self.read(metric, move || vec![Sample { labels: labels.clone(), value: Reading::Whole(counter.get()) }]);
    }

    /// Registers what `value` makes of durations, in series by what `labels` makes of theirs.
    pub fn durations<const N: usize>(
        &self,
        metric: Metric,
        durations: &Durations<N>,
        labels: fn(&[Label; N]) -> Labels,
        value: fn(Histogram) -> Reading,
    ) {
        let durations = durations.clone();
        let sample = move |(labels, found)| Sample { labels, value: value(found) };
        self.read(metric, move || durations.grouped(labels).into_iter().map(sample).collect());
    }

    /// All of it as OpenMetrics text.
    ///
    /// # Errors
    /// When the text cannot be written.
    pub fn page(&self) -> Result<String, fmt::Error> {
        let mut registry = Registry::with_prefix("graphgate");
        registry.register_collector(Box::new(self.clone()));
        let mut page = String::new();
        text::encode(&mut page, &registry)?;
        Ok(page)
    }

    /// Calls `visit` with every metric and its series at this moment.
    fn visit<E>(&self, mut visit: impl FnMut(&Metric, Vec<Sample>) -> Result<(), E>) -> Result<(), E> {
        let metrics = self.0.read();
        metrics.iter().try_for_each(|(metric, reads)| visit(metric, reads.iter().flat_map(|read| read()).collect()))
    }
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let metrics = self.0.read();
        f.debug_list().entries(metrics.iter().map(|(metric, _)| metric.name)).finish()
    }
}

impl Collector for Metrics {
    fn encode(&self, mut encoder: DescriptorEncoder) -> fmt::Result {
        self.visit(|metric, samples| {
            if !metric.is_on_page || samples.is_empty() {
                return Ok(());
            }
            let kind = match metric.kind {
                Kind::Counter => MetricType::Counter,
                Kind::Gauge => MetricType::Gauge,
                Kind::Histogram => MetricType::Histogram,
            };
            let help = format!("{}.", metric.help);
            let mut encoder = encoder.encode_descriptor(metric.name, &help, metric.unit.as_ref(), kind)?;
            for Sample { labels, value } in samples {
                if labels.is_empty() {
                    write(&mut encoder, kind, value)?;
                } else {
                    write(&mut encoder.encode_family(&labels)?, kind, value)?;
                }
            }
            Ok(())
        })
    }
}

fn write(encoder: &mut MetricEncoder<'_>, kind: MetricType, value: Reading) -> fmt::Result {
    const NO_EXEMPLAR: Option<&Exemplar<NoLabelSet, f64>> = None;
    match (kind, value) {
        (MetricType::Counter, Reading::Whole(count)) => encoder.encode_counter(&count, NO_EXEMPLAR),
        (MetricType::Counter, Reading::Fraction(sum)) => encoder.encode_counter(&sum, NO_EXEMPLAR),
        (_, Reading::Whole(level)) => encoder.encode_gauge(&level),
        (_, Reading::Fraction(level)) => encoder.encode_gauge(&level),
        (_, Reading::Histogram(histogram)) => {
            let bounds = BUCKETS.into_iter().chain([f64::INFINITY]);
            let buckets: Vec<_> = bounds.zip(histogram.all_buckets()).collect();
            encoder.encode_histogram::<NoLabelSet>(histogram.seconds(), histogram.count(), &buckets, None)
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn by_tool([tool, _]: &[Label; 2]) -> Labels {
        vec![("tool", tool.clone())]
    }

    #[test]
    fn the_page_is_openmetrics_text_with_every_series() {
        let (metrics, counter, calls) = (Metrics::default(), Counter::default(), Durations::<2>::default());
        metrics.count(Metric::counter("retries", "Repeated"), vec![("workload", "planner".into())], &counter);
        metrics.count(Metric::counter("retries", "Repeated"), vec![("workload", "a\"b".into())], &Counter::default());
        metrics.durations(Metric::histogram("call", "Time"), &calls, by_tool, Reading::Histogram);
        metrics.read(Metric::gauge("tasks", "In memory"), || Sample::only(Reading::Whole(7)));
        metrics.durations(Metric::histogram("rpc.duration", "x").only_exported(), &calls, by_tool, Reading::Histogram);
        counter.inc_by(2);
        for (outcome, seconds) in [("ok", 0.02), ("ok", 0.3), ("timed_out", 200.0)] {
            calls.record(["list".into(), outcome.into()], Duration::from_secs_f64(seconds));
        }
        let expected = "\
# HELP graphgate_retries Repeated.
# TYPE graphgate_retries counter
graphgate_retries_total{workload=\"planner\"} 2
graphgate_retries_total{workload=\"a\\\"b\"} 0
# HELP graphgate_call_seconds Time.
# TYPE graphgate_call_seconds histogram
# UNIT graphgate_call_seconds seconds
graphgate_call_seconds_sum{tool=\"list\"} 200.32
graphgate_call_seconds_count{tool=\"list\"} 3
graphgate_call_seconds_bucket{le=\"0.001\",tool=\"list\"} 0
graphgate_call_seconds_bucket{le=\"0.005\",tool=\"list\"} 0
graphgate_call_seconds_bucket{le=\"0.025\",tool=\"list\"} 1
graphgate_call_seconds_bucket{le=\"0.1\",tool=\"list\"} 1
graphgate_call_seconds_bucket{le=\"0.5\",tool=\"list\"} 2
graphgate_call_seconds_bucket{le=\"1.0\",tool=\"list\"} 2
graphgate_call_seconds_bucket{le=\"2.5\",tool=\"list\"} 2
graphgate_call_seconds_bucket{le=\"10.0\",tool=\"list\"} 2
graphgate_call_seconds_bucket{le=\"60.0\",tool=\"list\"} 2
graphgate_call_seconds_bucket{le=\"+Inf\",tool=\"list\"} 3
# HELP graphgate_tasks In memory.
# TYPE graphgate_tasks gauge
graphgate_tasks 7
# EOF
";
        assert_eq!(metrics.page().unwrap(), expected);
    }

    #[test]
    fn caches_that_nobody_asked_missed_nothing() {
        let (metrics, lookups) = (Metrics::default(), Lookups::default());
        Lookups::register(vec![("people", lookups.clone()), ("replica", Lookups::default())], &metrics);
        assert!(metrics.page().unwrap().contains("graphgate_cache_hit_ratios 1"), "{}", metrics.page().unwrap());
        (0..3).for_each(|_| lookups.hit());
        lookups.miss();
        let page = metrics.page().unwrap();
        assert!(page.contains("graphgate_cache_hits_total{cache=\"people\"} 3\n"), "{page}");
        assert!(page.contains("graphgate_cache_hit_ratios 0.75\n"), "{page}");
    }
}
