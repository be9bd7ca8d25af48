//! Counts of upstream calls, for the metrics.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::Workload;
use super::retry::Outcome;

/// Counts of one workload since the start of the process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    /// Attempts answered 2xx or 3xx.
    pub succeeded: u64,
    /// Attempts answered 4xx, 429 aside.
    pub refused: u64,
    /// Attempts answered 429.
    pub throttled: u64,
    /// Attempts answered 5xx.
    pub failed: u64,
    /// Attempts without an answer: connection refused or broken.
    pub broken: u64,
    /// Attempts without an answer in time.
    pub timed_out: u64,
    /// Attempts that repeated an earlier one.
    pub retries: u64,
    /// Calls not sent: gate closed beyond the deadline, breaker open, or budget empty.
    pub not_sent: u64,
    /// Time spent in all attempts.
    pub elapsed: Duration,
}

/// [`Counts`] of a named workload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WorkloadCounts {
    /// The workload.
    pub workload: Workload,
    /// Its counts.
    pub counts: Counts,
    /// Requests in flight at this moment.
    pub in_flight: u32,
    /// Whether the circuit breaker refuses calls.
    pub breaker_open: bool,
}

#[derive(Debug, Default)]
pub(super) struct Counters {
    succeeded: AtomicU64,
    refused: AtomicU64,
    throttled: AtomicU64,
    failed: AtomicU64,
    broken: AtomicU64,
    timed_out: AtomicU64,
    retries: AtomicU64,
    not_sent: AtomicU64,
    micros: AtomicU64,
}

impl Counters {
    pub(super) fn attempt(&self, outcome: Outcome, elapsed: Duration, repeated: bool) {
        let class = match outcome {
            Outcome::Status(429) => &self.throttled,
            Outcome::Status(status) if status >= 500 => &self.failed,
            Outcome::Status(status) if status >= 400 => &self.refused,
            Outcome::Status(_) => &self.succeeded,
            Outcome::ConnectFailed | Outcome::Broken => &self.broken,
            Outcome::TimedOut => &self.timed_out,
        };
        class.fetch_add(1, Ordering::Relaxed);
        self.retries.fetch_add(u64::from(repeated), Ordering::Relaxed);
        self.micros.fetch_add(u64::try_from(elapsed.as_micros()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    pub(super) fn not_sent(&self) {
        self.not_sent.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn read(&self) -> Counts {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Counts {
            succeeded: read(&self.succeeded),
            refused: read(&self.refused),
            throttled: read(&self.throttled),
            failed: read(&self.failed),
            broken: read(&self.broken),
            timed_out: read(&self.timed_out),
            retries: read(&self.retries),
            not_sent: read(&self.not_sent),
            elapsed: Duration::from_micros(read(&self.micros)),
        }
    }
}
