//! How often things happened and how long they took, in series by labels.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::{Mutex, MutexGuard};

use super::{Label, Labels};

/// Upper bounds in seconds: a replica read, a write that waits for Planner, a bulk call.
pub const BUCKETS: [f64; 9] = [0.001, 0.005, 0.025, 0.1, 0.5, 1.0, 2.5, 10.0, 60.0];

/// Series that one [`Durations`] keeps (OpenTelemetry SDK specification, cardinality limit); the rest is one series.
const MOST_SERIES: usize = 2_000;
/// Every label of the series of what came after [`MOST_SERIES`].
const OVERFLOW: &str = "other";

/// Durations in buckets of [`BUCKETS`].
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Histogram {
    count: u64,
    seconds: f64,
    /// By upper bound; what exceeds the last bound is in `count` alone.
    buckets: [u64; BUCKETS.len()],
}

impl Histogram {
    /// How many there are.
    #[must_use]
    pub fn count(self) -> u64 {
        self.count
    }

    /// Their sum in seconds.
    #[must_use]
    pub fn seconds(self) -> f64 {
        self.seconds
    }

    fn record(&mut self, seconds: f64) {
        self.count += 1;
        self.seconds += seconds;
        if let Some((bucket, _)) = self.buckets.iter_mut().zip(BUCKETS).find(|(_, bound)| seconds <= *bound) {
            *bucket += 1;
        }
    }

    fn add(&mut self, other: &Self) {
        self.count += other.count;
        self.seconds += other.seconds;
        for (bucket, more) in self.buckets.iter_mut().zip(other.buckets) {
            *bucket += more;
        }
    }

    /// How many are in each bucket, and beyond the last.
    pub(super) fn all_buckets(&self) -> impl Iterator<Item = u64> {
        let beyond = self.count - self.buckets.iter().sum::<u64>();
        self.buckets.into_iter().chain([beyond])
    }
}

/// How often something happened and how long it took, in series by `N` labels. A handle: clones count together.
#[derive(Debug, Clone)]
pub struct Durations<const N: usize>(Arc<Mutex<BTreeMap<[Label; N], Histogram>>>);

impl<const N: usize> Default for Durations<N> {
    fn default() -> Self {
        Self(Arc::default())
    }
}

impl<const N: usize> Durations<N> {
    /// Counts something that happened and took its time.
    pub fn record(&self, labels: [Label; N], took: Duration) {
        let mut series = self.lock();
        let has_room = series.len() < MOST_SERIES || series.contains_key(&labels);
        let labels = if has_room { labels } else { [const { Cow::Borrowed(OVERFLOW) }; N] };
        series.entry(labels).or_default().record(took.as_secs_f64());
    }

    /// What the series have in all of which `belongs` says so.
    pub fn total(&self, belongs: impl Fn(&[Label; N]) -> bool) -> Histogram {
        let mut total = Histogram::default();
        self.lock().iter().filter(|(labels, _)| belongs(labels)).for_each(|(_, found)| total.add(found));
        total
    }

    /// The series by what `labels` makes of their labels; those that are alike then are one.
    pub(super) fn grouped(&self, labels: impl Fn(&[Label; N]) -> Labels) -> BTreeMap<Labels, Histogram> {
        let mut groups = BTreeMap::<Labels, Histogram>::new();
        for (own, found) in &*self.lock() {
            groups.entry(labels(own)).or_default().add(found);
        }
        groups
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<[Label; N], Histogram>> {
        self.0.lock()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_strangers_fill_no_memory() {
        let calls = Durations::<1>::default();
        for number in 0..MOST_SERIES + 500 {
            calls.record([number.to_string().into()], Duration::ZERO);
        }
        assert_eq!(calls.lock().len(), MOST_SERIES + 1);
        assert_eq!(calls.total(|[name]| name == OVERFLOW).count(), 500);
        calls.record(["7".into()], Duration::ZERO);
        assert_eq!(calls.total(|[name]| name == "7").count(), 2, "what is known is still told apart");
    }
}
