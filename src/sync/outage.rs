//! When nothing of a plan gets through: how long to wait, and until when one task tries for all. Pure.

use std::time::Duration;

use chrono::{DateTime, Utc};

use super::push::{Cause, Outcome};

/// Longest wait between two tries of the same task.
pub(super) const MAX_BACKOFF: Duration = Duration::from_mins(5);
/// So many groups of one plan in a row that fail as a whole are an outage.
pub(super) const OUTAGE: u32 = 5;

/// When a plan is tried again whose trial is under way: not before that has ended.
pub(super) const ON_TRIAL: DateTime<Utc> = DateTime::<Utc>::MAX_UTC;

/// A plan of which nothing gets through: how often in a row, why, and when it is tried again.
pub(super) struct PlanFailures {
    pub(super) failures: u32,
    pub(super) reason: String,
    pub(super) try_at: DateTime<Utc>,
}

impl PlanFailures {
    /// Whether it has lasted long enough for one task to try for all.
    pub(super) const fn is_outage(&self) -> bool {
        self.failures >= OUTAGE
    }

    /// The outcome for callers that wait for a task of the plan.
    pub(super) fn outcome(&self, retry_after: Duration) -> Outcome {
        Outcome::Pending { retry_after, cause: Cause::Failure, reason: self.reason.clone() }
    }
}

/// How long after the `failures`th failure in a row.
pub(super) fn backoff(failures: u32) -> Duration {
    Duration::from_secs(1 << failures.min(9)).min(MAX_BACKOFF)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outage_pauses_double_up_to_five_minutes() {
        let seconds: Vec<u64> = (1..=12).map(|failures| backoff(failures).as_secs()).collect();
        assert_eq!(seconds, [2, 4, 8, 16, 32, 64, 128, 256, 300, 300, 300, 300]);
    }
}
