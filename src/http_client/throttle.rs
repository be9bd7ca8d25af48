//! The gate in front of one workload: when calls may go, and how many at a time.
//!
//! A `Retry-After` closes the gate for *every* call of the workload, because the service counts calls that come too
//! early. No wait is believed beyond [`LONGEST_WAIT`]: then one call at a time goes to see. Waiting calls keep their place: who came first goes first, also after having been throttled, callers before
//! background work. The number of places shrinks when the service throttles and grows back with every success.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use futures::future::select;
use parking_lot::{Mutex, MutexGuard};
use tokio::sync::Notify;

use super::deadline::{Deadline, between, later};
use super::retry::Mode;
use crate::clock::Clock;

/// The longest wait that is obeyed; after it a probe goes.
pub const LONGEST_WAIT: Duration = Duration::from_mins(10);
/// Factor by which a throttled workload's places shrink.
const SHRINK: f64 = 0.75;
/// Places gained back by one success.
const GROW: f64 = 0.5;
/// Background work leaves at least 30 % of the places free, so that callers get through.
const BACKGROUND_SHARE: f64 = 0.7;

/// The gate of one workload.
#[derive(Debug)]
pub struct Throttle {
    clock: Clock,
    cap: f64,
    gate: Mutex<Gate>,
}

#[derive(Debug)]
struct Gate {
    not_before: Option<DateTime<Utc>>,
    /// Places at present, `1.0..=cap`; only whole places count.
    limit: f64,
    in_flight: u32,
    background: u32,
    next_number: u64,
    /// Interactive before background, then by number.
    waiting: BTreeMap<(Mode, u64), Arc<Notify>>,
}

/// A call's place in the queue, kept while the call is repeated.
#[derive(Debug, Clone, Copy)]
pub struct Place(Mode, u64);

/// The right to have one request in flight; given back on drop.
#[derive(Debug)]
pub struct Permit<'a> {
    throttle: &'a Throttle,
    mode: Mode,
}

/// Time ran out before the gate opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Full {
    /// When trying again makes sense; zero when only the queue was too long.
    pub retry_after: Duration,
}

impl Throttle {
    /// A gate with `places` at first, which grow up to `cap` while the service allows.
    #[must_use]
    pub fn new(clock: Clock, places: u32, cap: u32) -> Self {
        let gate = Gate {
            not_before: None,
            limit: f64::from(places.min(cap)),
            in_flight: 0,
            background: 0,
            next_number: 0,
            waiting: BTreeMap::new(),
        };
        Self { clock, cap: f64::from(cap), gate: Mutex::new(gate) }
    }

    /// Draws a place in the queue.
    #[must_use]
    pub fn place(&self, mode: Mode) -> Place {
        let mut gate = self.lock();
        gate.next_number += 1;
        Place(mode, gate.next_number)
    }

    /// Waits until a request may be sent.
    ///
    /// # Errors
    /// [`Full`] at once when the gate stays closed beyond the deadline, or when the deadline passes in the queue.
    pub async fn acquire(&self, place: Place, deadline: Deadline) -> Result<Permit<'_>, Full> {
        let waiter = Waiter::enter(self, place);
        loop {
            let now = self.clock.steady();
            let pause = {
                let mut gate = self.lock();
                let closed = gate.closed_for(now);
                if closed >= deadline.left(now) {
                    return Err(Full { retry_after: closed });
                }
                if closed.is_zero() && gate.may_go(place) {
                    gate.in_flight += 1;
                    gate.background += u32::from(place.0 == Mode::Background);
                    drop(gate);
                    drop(waiter); // wakes the next in line, which may be admitted as well
                    return Ok(Permit { throttle: self, mode: place.0 });
                }
                if closed.is_zero() { deadline.left(now) } else { closed }
            };
            let woken = std::pin::pin!(waiter.bell.notified());
            select(woken, self.clock.sleep(pause)).await;
        }
    }

    /// Closes the gate for `wait`, [`LONGEST_WAIT`] at most, unless it is closed for longer already.
    pub fn close_for(&self, wait: Duration) {
        let until = later(self.clock.steady(), wait.min(LONGEST_WAIT));
        let mut gate = self.lock();
        if wait >= LONGEST_WAIT {
            gate.limit = 1.0;
        }
        gate.not_before = Some(gate.not_before.map_or(until, |earlier| earlier.max(until)));
    }

    /// Opens the gate, and gives all places back.
    pub fn open(&self) {
        let mut gate = self.lock();
        gate.not_before = None;
        gate.limit = self.cap;
        for bell in gate.waiting.values() {
            bell.notify_one();
        }
    }

    /// Takes places away after a 429; several in one closed period count once.
    pub fn shrink(&self) {
        let now = self.clock.steady();
        let mut gate = self.lock();
        if gate.closed_for(now).is_zero() {
            gate.limit = (gate.limit * SHRINK).max(1.0);
        }
    }

    /// Gives places back after a success.
    pub fn grow(&self) {
        let mut gate = self.lock();
        gate.limit = (gate.limit + GROW).min(self.cap);
    }

    /// How long the gate stays closed.
    #[must_use]
    pub fn closed_for(&self) -> Duration {
        let now = self.clock.steady();
        self.lock().closed_for(now)
    }

    /// Requests in flight.
    #[must_use]
    pub fn in_flight(&self) -> u32 {
        self.lock().in_flight
    }

    fn lock(&self) -> MutexGuard<'_, Gate> {
        self.gate.lock()
    }
}

impl Gate {
    fn closed_for(&self, now: DateTime<Utc>) -> Duration {
        self.not_before.map(|until| between(now, until)).unwrap_or_default()
    }

    /// Whether the call at `place` is the next one and may be sent.
    fn may_go(&self, place: Place) -> bool {
        let background = f64::from(self.background + 1);
        let fits = match place.0 {
            Mode::Interactive => true,
            Mode::Background => background <= (self.limit * BACKGROUND_SHARE).max(1.0),
        };
        let first = self.waiting.keys().next().is_none_or(|head| *head >= (place.0, place.1));
        first && fits && f64::from(self.in_flight + 1) <= self.limit
    }

    fn wake_next(&self) {
        if let Some(bell) = self.waiting.values().next() {
            bell.notify_one();
        }
    }
}

/// A call in the queue; leaves it on drop, also when the caller gave up.
struct Waiter<'a> {
    throttle: &'a Throttle,
    place: Place,
    bell: Arc<Notify>,
}

impl<'a> Waiter<'a> {
    fn enter(throttle: &'a Throttle, place: Place) -> Self {
        let bell = Arc::new(Notify::new());
        throttle.lock().waiting.insert((place.0, place.1), bell.clone());
        Self { throttle, place, bell }
    }
}

impl Drop for Waiter<'_> {
    fn drop(&mut self) {
        let mut gate = self.throttle.lock();
        gate.waiting.remove(&(self.place.0, self.place.1));
        gate.wake_next();
    }
}

impl Drop for Permit<'_> {
    fn drop(&mut self) {
        let mut gate = self.throttle.lock();
        gate.in_flight = gate.in_flight.saturating_sub(1);
        gate.background = gate.background.saturating_sub(u32::from(self.mode == Mode::Background));
        gate.wake_next();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::ManualClock;

    fn gate(cap: u32) -> (Arc<ManualClock>, Arc<Throttle>) {
        let source = ManualClock::at(DateTime::UNIX_EPOCH);
        let throttle = Throttle::new(Clock::from_source(source.clone()), cap, cap);
        (source, Arc::new(throttle))
    }

    fn soon(throttle: &Throttle) -> Deadline {
        Deadline::after(&throttle.clock, Duration::from_secs(25))
    }

    #[tokio::test]
    async fn closed_throttle_gate_holds_calls_until_its_time() {
        let (time, throttle) = gate(8);
        throttle.close_for(Duration::from_secs(10));
        let mut call = Box::pin(throttle.acquire(throttle.place(Mode::Interactive), soon(&throttle)));
        assert!(futures::poll!(&mut call).is_pending());
        time.advance(Duration::from_millis(9_999));
        assert!(futures::poll!(&mut call).is_pending());
        time.advance(Duration::from_millis(1));
        assert!(futures::poll!(&mut call).is_ready());
    }

    #[tokio::test]
    async fn throttle_wait_beyond_the_deadline_fails_at_once_with_the_wait() {
        let (_, throttle) = gate(8);
        throttle.close_for(Duration::from_mins(1));
        let refused = throttle.acquire(throttle.place(Mode::Interactive), soon(&throttle)).await.unwrap_err();
        assert_eq!(refused.retry_after, Duration::from_mins(1));
    }

    #[tokio::test]
    async fn throttle_wait_of_a_week_is_probed_after_ten_minutes() {
        let (time, throttle) = gate(8);
        throttle.close_for(Duration::from_hours(7 * 24));
        assert_eq!(throttle.closed_for(), LONGEST_WAIT);
        time.advance(LONGEST_WAIT);
        let probe = throttle.acquire(throttle.place(Mode::Interactive), soon(&throttle)).await.unwrap();
        let mut second = Box::pin(throttle.acquire(throttle.place(Mode::Interactive), soon(&throttle)));
        assert!(futures::poll!(&mut second).is_pending());
        drop(probe);
        assert!(futures::poll!(&mut second).is_ready());
    }

    #[tokio::test]
    async fn clock_set_back_lengthens_no_throttle_wait() {
        let (time, throttle) = gate(8);
        throttle.close_for(Duration::from_secs(10));
        time.set_back(Duration::from_hours(24));
        assert_eq!(throttle.closed_for(), Duration::from_secs(10));
        time.advance(Duration::from_secs(10));
        assert!(throttle.acquire(throttle.place(Mode::Interactive), soon(&throttle)).await.is_ok());
    }

    #[tokio::test]
    async fn reopened_gate_releases_waiting_calls() {
        let (_, throttle) = gate(8);
        throttle.close_for(Duration::from_secs(10));
        let mut call = Box::pin(throttle.acquire(throttle.place(Mode::Interactive), soon(&throttle)));
        assert!(futures::poll!(&mut call).is_pending());
        throttle.open();
        assert!(futures::poll!(&mut call).is_ready());
    }

    #[tokio::test]
    async fn interactive_calls_precede_background_work() {
        let (_, throttle) = gate(8);
        let mut held = Vec::new();
        for _ in 0..5 {
            held.push(throttle.acquire(throttle.place(Mode::Background), soon(&throttle)).await.unwrap());
        }
        let mut sixth = Box::pin(throttle.acquire(throttle.place(Mode::Background), soon(&throttle)));
        assert!(futures::poll!(&mut sixth).is_pending());
        for _ in 0..3 {
            held.push(throttle.acquire(throttle.place(Mode::Interactive), soon(&throttle)).await.unwrap());
        }
        let mut caller = Box::pin(throttle.acquire(throttle.place(Mode::Interactive), soon(&throttle)));
        assert!(futures::poll!(&mut caller).is_pending());
        held.remove(0);
        assert!(futures::poll!(&mut sixth).is_pending());
        assert!(futures::poll!(&mut caller).is_ready());
    }

    #[tokio::test]
    async fn retried_call_keeps_its_concurrency_slot() {
        let (_, throttle) = gate(1);
        let old = throttle.place(Mode::Interactive);
        let held = throttle.acquire(throttle.place(Mode::Interactive), soon(&throttle)).await.unwrap();
        let mut young = Box::pin(throttle.acquire(throttle.place(Mode::Interactive), soon(&throttle)));
        assert!(futures::poll!(&mut young).is_pending());
        let mut again = Box::pin(throttle.acquire(old, soon(&throttle)));
        assert!(futures::poll!(&mut again).is_pending());
        drop(held);
        assert!(futures::poll!(&mut young).is_pending());
        assert!(futures::poll!(&mut again).is_ready());
    }

    #[tokio::test]
    async fn cancelled_waiter_does_not_block_the_queue() {
        let (_, throttle) = gate(1);
        let held = throttle.acquire(throttle.place(Mode::Interactive), soon(&throttle)).await.unwrap();
        let mut first = Box::pin(throttle.acquire(throttle.place(Mode::Interactive), soon(&throttle)));
        let mut second = Box::pin(throttle.acquire(throttle.place(Mode::Interactive), soon(&throttle)));
        assert!(futures::poll!(&mut first).is_pending());
        assert!(futures::poll!(&mut second).is_pending());
        drop(held);
        drop(first);
        assert!(futures::poll!(&mut second).is_ready());
    }

    #[test]
    fn concurrency_shrinks_once_per_throttle_period_and_recovers() {
        let (_, throttle) = gate(8);
        for _ in 0..5 {
            throttle.shrink();
            throttle.close_for(Duration::from_secs(1));
        }
        assert!((throttle.lock().limit - 6.0).abs() < f64::EPSILON);
        for _ in 0..10 {
            throttle.grow();
        }
        assert!((throttle.lock().limit - 8.0).abs() < f64::EPSILON);
    }

    #[test]
    fn concurrency_grows_beyond_its_start_while_calls_succeed() {
        let throttle = Throttle::new(Clock::from_source(ManualClock::at(DateTime::UNIX_EPOCH)), 8, 64);
        assert!((throttle.lock().limit - 8.0).abs() < f64::EPSILON);
        for _ in 0..200 {
            throttle.grow();
        }
        assert!((throttle.lock().limit - 64.0).abs() < f64::EPSILON);
        throttle.shrink();
        assert!((throttle.lock().limit - 48.0).abs() < f64::EPSILON);
    }
}
