//! What within a workload fails: one plan that answers 500 is no outage of all. Pure, driven under the lane's mutex.
//!
//! A call may name its target, such as a plan. While others succeed, failures count for the workload's breaker only when
//! several targets fail; those of a single one are left to its caller, who waits longer after each.

use std::collections::HashMap;

use chrono::{DateTime, TimeDelta, Utc};

use super::breaker::Verdict;

/// How long a failure of a target is remembered.
const FAILED: TimeDelta = TimeDelta::seconds(30);
/// How long a success says that the workload as a whole is up.
const UP: TimeDelta = TimeDelta::seconds(10);
/// So many failing targets are the workload's failure.
const SEVERAL: usize = 2;

/// The targets of a workload that failed of late.
#[derive(Debug, Default)]
pub(super) struct Targets {
    failed: HashMap<u64, DateTime<Utc>>,
    succeeded_at: Option<DateTime<Utc>>,
}

impl Targets {
    /// What an attempt says of the workload as a whole.
    pub(super) fn judge(&mut self, now: DateTime<Utc>, target: Option<u64>, verdict: Verdict) -> Verdict {
        match verdict {
            Verdict::Success => {
                self.succeeded_at = Some(now);
                if let Some(target) = target {
                    self.failed.remove(&target);
                }
                verdict
            }
            Verdict::Failure => {
                self.failed.retain(|_, at| now - *at < FAILED);
                if let Some(target) = target {
                    self.failed.insert(target, now);
                }
                let up = self.succeeded_at.is_some_and(|at| now - at < UP);
                let alone = self.failed.len() < SEVERAL && !self.failed.is_empty();
                if up && alone { Verdict::Unknown } else { verdict }
            }
            Verdict::Alive | Verdict::Unknown => verdict,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> DateTime<Utc> {
        DateTime::UNIX_EPOCH + TimeDelta::seconds(seconds)
    }

    #[test]
    fn failures_of_one_target_do_not_open_the_breaker_while_others_succeed() {
        let mut targets = Targets::default();
        for second in 0..100 {
            assert_eq!(targets.judge(at(second), Some(1), Verdict::Success), Verdict::Success);
            assert_eq!(targets.judge(at(second), Some(2), Verdict::Failure), Verdict::Unknown);
            // A call that names no target may belong to the one that fails.
            assert_eq!(targets.judge(at(second), None, Verdict::Failure), Verdict::Unknown);
        }
    }

    #[test]
    fn failures_of_several_targets_open_the_breaker() {
        let mut targets = Targets::default();
        targets.judge(at(0), Some(1), Verdict::Success);
        assert_eq!(targets.judge(at(1), Some(2), Verdict::Failure), Verdict::Unknown);
        assert_eq!(targets.judge(at(2), Some(3), Verdict::Failure), Verdict::Failure);
        assert_eq!(targets.judge(at(3), Some(2), Verdict::Failure), Verdict::Failure);
    }

    #[test]
    fn without_successes_every_failure_counts() {
        let mut targets = Targets::default();
        assert_eq!(targets.judge(at(0), Some(2), Verdict::Failure), Verdict::Failure);
        targets.judge(at(1), Some(1), Verdict::Success);
        assert_eq!(targets.judge(at(5), Some(2), Verdict::Failure), Verdict::Unknown);
        assert_eq!(targets.judge(at(11), Some(2), Verdict::Failure), Verdict::Failure);
    }

    #[test]
    fn without_targets_every_failure_counts() {
        let mut targets = Targets::default();
        targets.judge(at(0), None, Verdict::Success);
        assert_eq!(targets.judge(at(1), None, Verdict::Failure), Verdict::Failure);
    }
}
