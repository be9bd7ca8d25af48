//! The instant by which a call must have ended, queueing and repeating included.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};

use crate::clock::Clock;

/// An instant of [`Clock::steady`] after which nobody waits for the answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Deadline(DateTime<Utc>);

impl Deadline {
    /// The deadline `limit` from the present.
    #[must_use]
    pub fn after(clock: &Clock, limit: Duration) -> Self {
        Self(later(clock.steady(), limit))
    }

    /// The deadline at an instant of [`Clock::steady`].
    #[must_use]
    pub const fn at(instant: DateTime<Utc>) -> Self {
        Self(instant)
    }

    /// The instant itself.
    #[must_use]
    pub const fn instant(self) -> DateTime<Utc> {
        self.0
    }

    /// Time left at `now`; zero once it has passed.
    #[must_use]
    pub fn left(self, now: DateTime<Utc>) -> Duration {
        between(now, self.0)
    }
}

/// `instant` plus `duration`, at most the end of time.
pub(crate) fn later(instant: DateTime<Utc>, duration: Duration) -> DateTime<Utc> {
    TimeDelta::from_std(duration)
        .ok()
        .and_then(|delta| instant.checked_add_signed(delta))
        .unwrap_or(DateTime::<Utc>::MAX_UTC)
}

/// The time from `from` until `to`; zero when `to` is not later.
pub(crate) fn between(from: DateTime<Utc>, to: DateTime<Utc>) -> Duration {
    (to - from).to_std().unwrap_or_default()
}
