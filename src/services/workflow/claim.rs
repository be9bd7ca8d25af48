//! Who works on a row, until when, and when it is tried again after a failure.
//!
//! The end of a lease is an instant in the row, so that an instance that has just started can tell too. Clocks of two
//! instances may differ by seconds: a lease then ends earlier or later by as much, and the fence keeps order.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use serde::{Deserialize, Serialize};

use crate::clock::Clock;
use crate::ids::Entropy;
use crate::rows::Partition;

/// The part of a row that says who works on it. By default no instance does, and the first may.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Claim {
    /// Who works on it: another value with every claim, so that the row names its writer.
    #[serde(skip_serializing_if = "Option::is_none")]
    holder: Option<String>,
    /// When the lease ends; without a holder, when it is tried again.
    #[serde(skip_serializing_if = "Option::is_none")]
    until: Option<DateTime<Utc>>,
    /// Failures in a row.
    failures: u32,
    /// What it waits for, or what went wrong last.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

impl Claim {
    /// Failures in a row.
    #[must_use]
    pub const fn failures(&self) -> u32 {
        self.failures
    }

    /// Gives the lease back after a failure, and has the work wait. Answers how long; `None` when it has failed as often
    /// as it may, so that it is to be given up.
    pub fn put_off(&mut self, now: DateTime<Utc>, backoff: Backoff, reason: &str) -> Option<TimeDelta> {
        self.failures = self.failures.saturating_add(1);
        self.reason = Some(reason.to_owned());
        if self.failures >= backoff.tries {
            return None;
        }
        let pause = backoff.pause(self.failures);
        (self.holder, self.until) = (None, Some(now + pause));
        Some(pause)
    }

    /// Forgets failures; the lease stays.
    pub fn succeed(&mut self) {
        (self.failures, self.reason) = (0, None);
    }

    /// Ends the lease, or the wait: it may be claimed at once. Failures stay.
    pub fn release(&mut self) {
        (self.holder, self.until) = (None, None);
    }
}

/// How often, and after which pauses, work that fails is tried again.
#[derive(Debug, Clone, Copy)]
pub struct Backoff {
    first: TimeDelta,
    longest: TimeDelta,
    at_least: TimeDelta,
    tries: u32,
}

impl Backoff {
    /// Again and again: after a first pause, which doubles each time up to a longest.
    #[must_use]
    pub const fn new(first: TimeDelta, longest: TimeDelta) -> Self {
        Self { first, longest, at_least: TimeDelta::zero(), tries: u32::MAX }
    }

    /// So often in all.
    #[must_use]
    pub const fn tries(self, tries: u32) -> Self {
        Self { tries, ..self }
    }

    /// Not before the other side wants to be asked again.
    #[must_use]
    pub fn at_least(self, retry_after: Option<Duration>) -> Self {
        let after = retry_after.and_then(|after| TimeDelta::from_std(after).ok());
        Self { at_least: after.unwrap_or_default(), ..self }
    }

    fn pause(self, failures: u32) -> TimeDelta {
        let doubled = self.first * (1 << failures.saturating_sub(1).min(16));
        doubled.min(self.longest).max(self.at_least)
    }
}

/// Gives leases of one kind of work, and judges those of others.
pub struct Leases {
    clock: Clock,
    entropy: Entropy,
    length: TimeDelta,
    /// When this process began, if no other had the store open then: the holder of an older lease has died.
    alone_since: Option<DateTime<Utc>>,
}

impl Leases {
    /// Leases on rows of a partition. A lease is longer than any call made under it.
    #[must_use]
    pub fn new(rows: &Partition, clock: Clock, entropy: Entropy, length: TimeDelta) -> Self {
        let alone_since = rows.tables().was_alone().then(|| clock.now());
        Self { clock, entropy, length, alone_since }
    }

    /// Claims work for the caller, which asks [`Self::is_due`] or [`Self::is_held`] before. The claim holds once the row is
    /// written.
    pub fn take(&self, claim: &mut Claim) {
        let now = self.clock.now();
        (claim.holder, claim.until) = (Some(self.entropy.ulid(now)), Some(now + self.length));
    }

    /// Lengthens the caller's lease; one that was given back stays so.
    pub fn renew(&self, claim: &mut Claim) {
        if claim.holder.is_some() {
            claim.until = Some(self.clock.now() + self.length);
        }
    }

    /// Whether an instance works on it.
    #[must_use]
    pub fn is_held(&self, claim: &Claim) -> bool {
        claim.holder.is_some() && !self.is_due(claim)
    }

    /// Whether it may be claimed: no instance works on it, and it need not wait.
    #[must_use]
    pub fn is_due(&self, claim: &Claim) -> bool {
        let Some(until) = claim.until else { return true };
        let is_orphan = self.alone_since.is_some_and(|since| until - self.length < since);
        until <= self.clock.now() || (claim.holder.is_some() && is_orphan)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::clock::ManualClock;
    use crate::rows::TenantTables;
    use crate::store::MemoryTables;

    const LENGTH: TimeDelta = TimeDelta::seconds(90);

    fn leases() -> (Leases, Arc<ManualClock>) {
        let source = ManualClock::at(DateTime::UNIX_EPOCH);
        let tables = TenantTables::new(Arc::new(MemoryTables::default()), "t");
        let clock = Clock::from_source(source.clone());
        (Leases::new(&tables.partition("x"), clock, Entropy::seeded(1), LENGTH), source)
    }

    #[test]
    fn claim_expires_unless_renewed_or_released() {
        let (leases, clock) = leases();
        let mut claim = Claim::default();
        assert!(leases.is_due(&claim) && !leases.is_held(&claim));
        leases.take(&mut claim);
        clock.advance(Duration::from_secs(89));
        assert!(leases.is_held(&claim) && !leases.is_due(&claim));
        leases.renew(&mut claim);
        clock.advance(Duration::from_secs(89));
        assert!(leases.is_held(&claim));
        clock.advance(Duration::from_secs(1));
        assert!(leases.is_due(&claim) && !leases.is_held(&claim));
        leases.take(&mut claim);
        claim.release();
        leases.renew(&mut claim);
        assert!(leases.is_due(&claim), "what was given back is not renewed");
    }

    #[test]
    fn claim_of_an_earlier_lone_process_is_expired() {
        let (mut leases, clock) = leases();
        let mut claim = Claim::default();
        leases.take(&mut claim);
        clock.advance(Duration::from_secs(1));
        leases.alone_since = Some(leases.clock.now());
        assert!(leases.is_due(&claim));
        leases.take(&mut claim);
        assert!(leases.is_held(&claim), "its own is none of a dead one");
        claim.put_off(leases.clock.now() - LENGTH, Backoff::new(LENGTH * 2, LENGTH * 2), "failed");
        assert!(!leases.is_due(&claim), "what waits has no holder");
    }

    #[test]
    fn backoff_doubles_up_to_its_limit_and_gives_up() {
        let (leases, clock) = leases();
        let backoff = Backoff::new(TimeDelta::minutes(1), TimeDelta::minutes(30));
        let mut claim = Claim::default();
        leases.take(&mut claim);
        let now = leases.clock.now();
        assert_eq!(claim.put_off(now, backoff, "no answer"), Some(TimeDelta::minutes(1)));
        assert!(!leases.is_due(&claim) && !leases.is_held(&claim));
        clock.advance(Duration::from_mins(1));
        assert!(leases.is_due(&claim));
        let mut pauses = (1..8).map(|_| claim.put_off(now, backoff, "no answer").unwrap().num_minutes());
        assert!(pauses.by_ref().eq([2, 4, 8, 16, 30, 30, 30]));
        let asked = backoff.at_least(Some(Duration::from_hours(1)));
        assert_eq!(claim.put_off(now, asked, "throttled"), Some(TimeDelta::hours(1)));
        assert_eq!(claim.put_off(now, backoff.tries(10), "no answer"), None, "ten times is enough");
        claim.succeed();
        assert_eq!((claim.failures(), claim.reason), (0, None));
    }
}
