//! The tenant's clock: the real one, shifted, or frozen. Every date the simulated tenant writes, every token
//! lifetime and every `Retry-After` deadline follows it, so a test can jump over an expiry.

use std::sync::Mutex;

use chrono::{DateTime, SecondsFormat, TimeDelta, Utc};

#[derive(Clone, Copy)]
enum Mode {
    Shifted(TimeDelta),
    Frozen(DateTime<Utc>),
}

/// A settable clock.
pub struct Clock(Mutex<Mode>);

impl Clock {
    /// A clock that shows real time.
    pub fn real() -> Self {
        Self(Mutex::new(Mode::Shifted(TimeDelta::zero())))
    }

    fn mode(&self) -> std::sync::MutexGuard<'_, Mode> {
        self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// Returns the tenant's present.
    pub fn now(&self) -> DateTime<Utc> {
        match *self.mode() {
            Mode::Shifted(by) => wall() + by,
            Mode::Frozen(at) => at,
        }
    }

    /// Sets the present; it runs on from there, or stands still when `frozen`.
    pub fn set(&self, now: DateTime<Utc>, running: Running) {
        *self.mode() = match running {
            Running::On => Mode::Shifted(now - wall()),
            Running::Frozen => Mode::Frozen(now),
        };
    }

    /// Moves the present forward (or back) by `by`.
    pub fn advance(&self, by: TimeDelta) {
        let mut mode = self.mode();
        *mode = match *mode {
            Mode::Shifted(old) => Mode::Shifted(old + by),
            Mode::Frozen(at) => Mode::Frozen(at + by),
        };
    }

    /// Goes back to real time.
    pub fn reset(&self) {
        *self.mode() = Mode::Shifted(TimeDelta::zero());
    }

    /// Tells whether the clock stands still, and whether it shows something else than real time.
    pub fn describe(&self) -> (bool, bool) {
        match *self.mode() {
            Mode::Shifted(by) => (false, !by.is_zero()),
            Mode::Frozen(_) => (true, true),
        }
    }
}

/// Whether a set clock runs on.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Running {
    On,
    Frozen,
}

/// The one place of this module that reads the machine's time.
#[allow(clippy::disallowed_methods)]
fn wall() -> DateTime<Utc> {
    Utc::now()
}

/// Writes an instant as Planner does: seven digits of fraction.
pub fn ticks(at: DateTime<Utc>) -> String {
    let hundreds = at.timestamp_subsec_nanos() / 100;
    format!("{}.{hundreds:07}Z", at.format("%Y-%m-%dT%H:%M:%S"))
}

/// Writes an instant as the directory does: whole seconds.
pub fn seconds(at: DateTime<Utc>) -> String {
    at.to_rfc3339_opts(SecondsFormat::Secs, true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frozen_clock_moves_only_when_told() {
        let clock = Clock::real();
        let at = DateTime::parse_from_rfc3339("2026-03-01T10:00:00Z").unwrap().to_utc();
        clock.set(at, Running::Frozen);
        clock.advance(TimeDelta::seconds(90));
        assert_eq!(seconds(clock.now()), "2026-03-01T10:01:30Z");
        assert_eq!(ticks(clock.now()), "2026-03-01T10:01:30.0000000Z");
    }
}
