//! Time, as a value that is passed as an argument.
//!
//! Everything that decides by time takes a [`Clock`]; nothing else in the program asks the system. A test or a
//! simulation passes a [`ManualClock`] and owns every instant and every wait.
//!
//! [`Clock::now`] is the time of day: what is shown, stored and compared with other people's instants. A machine's time of
//! day can be set back, so how long something took, or has to wait, is measured by [`Clock::steady`], which cannot.

use std::collections::BinaryHeap;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant};

use chrono::{DateTime, TimeDelta, Utc};
use futures::future::BoxFuture;
use parking_lot::Mutex;
use tokio::sync::oneshot;

/// What a clock is made of: the present, and waiting for the future.
pub trait TimeSource: Send + Sync + 'static {
    /// The present instant.
    fn now(&self) -> DateTime<Utc>;
    /// As [`Self::now`], but never less than it was before in this process.
    fn steady(&self) -> DateTime<Utc> {
        self.now()
    }
    /// Completes once `duration` has passed on this clock.
    fn sleep(&self, duration: Duration) -> BoxFuture<'static, ()>;
}

/// A cheap handle to the program's one clock.
#[derive(Clone)]
pub struct Clock(Arc<dyn TimeSource>);

impl Clock {
    /// The machine's clock and the async runtime's timer.
    #[must_use]
    pub fn system() -> Self {
        Self(Arc::new(SystemTime { started: Instant::now(), ahead: AtomicI64::new(i64::MIN) }))
    }

    /// A clock from any other source of time.
    pub fn from_source(source: Arc<dyn TimeSource>) -> Self {
        Self(source)
    }

    /// The present instant.
    #[must_use]
    pub fn now(&self) -> DateTime<Utc> {
        self.0.now()
    }

    /// An instant to measure with inside this process: it never goes back when the machine's time is set back, and
    /// follows when that is set forward or the machine has slept. It is not shown, stored, or compared with
    /// [`Self::now`].
    #[must_use]
    pub fn steady(&self) -> DateTime<Utc> {
        self.0.steady()
    }

    /// Completes once `duration` has passed on this clock.
    pub fn sleep(&self, duration: Duration) -> BoxFuture<'static, ()> {
        self.0.sleep(duration)
    }

    /// Runs `future`, giving up after `limit`. Returns `None` when time ran out; the future is then dropped.
    pub async fn timeout<F: Future>(&self, limit: Duration, future: F) -> Option<F::Output> {
        let sleep = self.sleep(limit);
        tokio::pin!(future);
        match futures::future::select(future, sleep).await {
            futures::future::Either::Left((output, _)) => Some(output),
            futures::future::Either::Right(((), _)) => None,
        }
    }
}

impl std::fmt::Debug for Clock {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Clock({})", self.now())
    }
}

struct SystemTime {
    started: Instant,
    /// The most microseconds the time of day has been ahead of the time since the start.
    ahead: AtomicI64,
}

impl TimeSource for SystemTime {
    #[allow(clippy::disallowed_methods)] // the one place that may ask the system
    fn now(&self) -> DateTime<Utc> {
        Utc::now()
    }

    fn steady(&self) -> DateTime<Utc> {
        let elapsed = i64::try_from(self.started.elapsed().as_micros()).unwrap_or(i64::MAX);
        let ahead = self.now().timestamp_micros().saturating_sub(elapsed);
        let ahead = self.ahead.fetch_max(ahead, Ordering::Relaxed).max(ahead);
        DateTime::from_timestamp_micros(ahead.saturating_add(elapsed)).unwrap_or(DateTime::<Utc>::MAX_UTC)
    }

    #[allow(clippy::disallowed_methods)]
    fn sleep(&self, duration: Duration) -> BoxFuture<'static, ()> {
        Box::pin(tokio::time::sleep(duration))
    }
}

/// A clock that moves only when told to.
pub struct ManualClock(Mutex<Manual>);

struct Manual {
    now: DateTime<Utc>,
    steady: DateTime<Utc>,
    sleepers: BinaryHeap<Sleeper>,
}

struct Sleeper {
    until: DateTime<Utc>,
    wake: oneshot::Sender<()>,
}

impl PartialEq for Sleeper {
    fn eq(&self, other: &Self) -> bool {
        self.until == other.until
    }
}
impl Eq for Sleeper {}
impl PartialOrd for Sleeper {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for Sleeper {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        other.until.cmp(&self.until) // earliest first in a max-heap
    }
}

impl ManualClock {
    /// A clock standing at `now`.
    #[must_use]
    pub fn at(now: DateTime<Utc>) -> Arc<Self> {
        Arc::new(Self(Mutex::new(Manual { now, steady: now, sleepers: BinaryHeap::new() })))
    }

    /// Moves time forward and wakes every sleeper that is due.
    pub fn advance(&self, duration: Duration) {
        let mut manual = self.0.lock();
        let passed = TimeDelta::from_std(duration).unwrap_or(TimeDelta::MAX);
        manual.now += passed;
        manual.steady += passed;
        let steady = manual.steady;
        while manual.sleepers.peek().is_some_and(|s| s.until <= steady) {
            if let Some(sleeper) = manual.sleepers.pop() {
                let _ = sleeper.wake.send(()); // the sleeper may have been dropped
            }
        }
    }

    /// Sets the time of day back, as an administrator or a time server may: nothing that waits notices.
    pub fn set_back(&self, by: Duration) {
        let mut manual = self.0.lock();
        manual.now -= TimeDelta::from_std(by).unwrap_or(TimeDelta::MAX);
    }
}

impl TimeSource for ManualClock {
    fn now(&self) -> DateTime<Utc> {
        self.0.lock().now
    }

    fn steady(&self) -> DateTime<Utc> {
        self.0.lock().steady
    }

    fn sleep(&self, duration: Duration) -> BoxFuture<'static, ()> {
        let mut manual = self.0.lock();
        let until = manual.steady + TimeDelta::from_std(duration).unwrap_or(TimeDelta::MAX);
        let (wake, woken) = oneshot::channel();
        manual.sleepers.push(Sleeper { until, wake });
        Box::pin(async move {
            let _ = woken.await; // a dropped clock ends every wait
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn manual_clock_wakes_sleepers_at_their_time() {
        let source = ManualClock::at(DateTime::UNIX_EPOCH);
        let clock = Clock::from_source(source.clone());
        let mut sleep = clock.sleep(Duration::from_secs(10));
        source.advance(Duration::from_secs(9));
        assert!(futures::poll!(&mut sleep).is_pending());
        source.advance(Duration::from_secs(1));
        assert!(futures::poll!(&mut sleep).is_ready());
    }

    #[tokio::test]
    async fn steady_time_continues_when_the_clock_is_set_back() {
        let source = ManualClock::at(DateTime::UNIX_EPOCH + TimeDelta::days(2));
        let clock = Clock::from_source(source.clone());
        let before = clock.steady();
        let mut sleep = clock.sleep(Duration::from_secs(10));
        source.set_back(Duration::from_hours(24));
        source.advance(Duration::from_secs(10));
        assert_eq!(clock.steady() - before, TimeDelta::seconds(10));
        assert_eq!(clock.now(), DateTime::UNIX_EPOCH + TimeDelta::days(1) + TimeDelta::seconds(10));
        assert!(futures::poll!(&mut sleep).is_ready());
    }

    #[test]
    fn system_steady_time_equals_the_clock() {
        let clock = Clock::system();
        let (before, now) = (clock.steady(), clock.now());
        assert!((now - before).abs() < TimeDelta::seconds(5) && clock.steady() >= before);
    }
}
