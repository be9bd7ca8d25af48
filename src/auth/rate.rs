//! How many calls a caller may make: one number for every caller, counted by each instance alone.
//!
//! The tolerance follows from that: with N instances a caller may make up to N times as many. What one instance counts
//! is exact to one call. Kept as a single instant a caller (the generic cell rate algorithm), so that it costs nothing.

use std::collections::HashMap;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use parking_lot::Mutex;

/// Callers remembered before those at rest are forgotten.
const CAPACITY: usize = 10_000;

/// A budget of calls a minute for every caller; a whole minute's may be used at once.
pub struct Rate {
    /// The time one call takes of the budget; `None` is no limit.
    share: Option<TimeDelta>,
    /// For each caller, when its budget is whole again.
    whole_at: Mutex<HashMap<String, DateTime<Utc>>>,
}

impl Rate {
    /// A budget of `calls` a minute; 0 is no limit.
    #[must_use]
    pub fn per_minute(calls: u32) -> Self {
        let share = (calls > 0).then(|| TimeDelta::microseconds(60_000_000 / i64::from(calls.max(1))));
        Self { share, whole_at: Mutex::default() }
    }

    /// Takes one call out of a caller's budget.
    ///
    /// # Errors
    /// With the time after which the next call fits.
    pub fn take(&self, caller: &str, now: DateTime<Utc>) -> Result<(), Duration> {
        self.take_some(caller, 1, now)
    }

    /// Takes several calls out of a caller's budget at once, or none.
    ///
    /// # Errors
    /// With the time after which they fit; more than a whole minute's never do, and are taken where the budget is whole.
    pub fn take_some(&self, caller: &str, calls: u32, now: DateTime<Utc>) -> Result<(), Duration> {
        let Some(share) = self.share else { return Ok(()) };
        let mut whole_at = self.whole_at.lock();
        if whole_at.len() >= CAPACITY {
            whole_at.retain(|_, at| *at > now);
        }
        let before = whole_at.get(caller).copied().unwrap_or(now).max(now);
        let at = before + share * i32::try_from(calls).unwrap_or(i32::MAX);
        let over = at - now - TimeDelta::minutes(1);
        if over > TimeDelta::zero() && before > now {
            return Err(over.to_std().unwrap_or_default());
        }
        whole_at.insert(caller.to_owned(), at);
        Ok(())
    }
}

impl Rate {
    /// How long a caller whose budget is used up has to wait; `None` while there is some left. Nothing is taken.
    #[must_use]
    pub fn wait(&self, caller: &str, now: DateTime<Utc>) -> Option<Duration> {
        let share = self.share?;
        let whole_at = self.whole_at.lock();
        let over = *whole_at.get(caller)? + share - now - TimeDelta::minutes(1);
        (over > TimeDelta::zero()).then(|| over.to_std().unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rate_limit_allows_exactly_the_budget_per_minute() {
        let rate = Rate::per_minute(60);
        let start = DateTime::UNIX_EPOCH;
        assert!((0..60).all(|_| rate.take("a", start).is_ok()));
        assert_eq!(rate.take("a", start), Err(Duration::from_secs(1)));
        assert!(rate.take("b", start).is_ok(), "callers do not share");
        assert!(rate.take("a", start + TimeDelta::seconds(1)).is_ok());
        assert!(rate.take("a", start + TimeDelta::seconds(1)).is_err());
        assert!(Rate::per_minute(0).take("a", start).is_ok());
    }

    #[test]
    fn rate_limit_mean_over_an_hour_is_the_budget() {
        let rate = Rate::per_minute(600);
        let passed = (0..36_000 * 2)
            .filter(|half| rate.take("a", DateTime::UNIX_EPOCH + TimeDelta::milliseconds(50 * half)).is_ok());
        let passed = passed.count();
        assert!((36_000..=36_601).contains(&passed), "{passed}");
    }
}
