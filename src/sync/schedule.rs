//! When to refresh a plan. Pure.
//!
//! Planner announces no change, so plans are polled: busy ones often, quiet ones seldom. (A hint from outside has a plan
//! refreshed without asking here.) A plan counts as busy while somebody uses it here or changes it there. The pace
//! is chosen so that what a person does on a busy plan is seen within half a minute, for less than half of what polling
//! at every plan every half minute would cost.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};

/// How often plans are refreshed, at the most and at the least.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pace {
    /// Shortest pause between two refreshes of one plan.
    pub fastest: Duration,
    /// Pause while a plan is busy.
    pub busy: Duration,
    /// Longest pause, for a plan nobody has touched for long.
    pub slowest: Duration,
}

impl Default for Pace {
    fn default() -> Self {
        Self { fastest: Duration::from_secs(5), busy: Duration::from_secs(25), slowest: Duration::from_mins(15) }
    }
}

/// How long after the last sign of life a plan still counts as busy.
const BUSY_FOR: TimeDelta = TimeDelta::minutes(10);
/// A plan that nobody has read or written for so long, here or in Planner, is idle.
const IDLE_AFTER: TimeDelta = TimeDelta::days(1);
/// Pause of an idle plan. A notification, a read or a write ends it.
const IDLE: TimeDelta = TimeDelta::hours(4);
/// A quiet plan is refreshed after this share of the time it has been quiet for.
const SHARE: i32 = 8;

/// What is known of the life of a plan.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Activity {
    /// When the latest refresh was requested.
    pub reconciled_at: Option<DateTime<Utc>>,
    /// When the first refresh of this process was requested.
    pub first_reconciled_at: Option<DateTime<Utc>>,
    /// When a refresh last found something changed in Planner.
    pub changed_at: Option<DateTime<Utc>>,
    /// When a caller last read or wrote the plan.
    pub used_at: Option<DateTime<Utc>>,
    /// When a caller last wanted the plan's texts, or followed its changes.
    pub texts_wanted_at: Option<DateTime<Utc>>,
    /// Refreshes in a row that failed.
    pub failures: u32,
}

impl Activity {
    /// When somebody last read or changed the plan, as far as is known.
    fn alive_at(&self) -> Option<DateTime<Utc>> {
        [self.changed_at, self.used_at].into_iter().flatten().max()
    }

    /// Whether the plan is in use, here or in Planner.
    #[must_use]
    pub fn is_busy(&self, now: DateTime<Utc>) -> bool {
        self.alive_at().is_some_and(|alive_at| now - alive_at < BUSY_FOR)
    }
}

/// When the plan is due for its next refresh; at once if it was never refreshed.
#[must_use]
pub fn due(activity: &Activity, pace: Pace, now: DateTime<Utc>) -> DateTime<Utc> {
    // A refresh at an instant to come was made before the machine's time was set back.
    let Some(reconciled_at) = activity.reconciled_at.filter(|reconciled_at| *reconciled_at <= now) else { return now };
    let [fastest, busy, slowest] =
        [pace.fastest, pace.busy, pace.slowest].map(|pause| TimeDelta::from_std(pause).unwrap_or(TimeDelta::MAX));
    if activity.failures > 0 {
        let pause = fastest.checked_mul(1 << activity.failures.min(10)).unwrap_or(slowest);
        return reconciled_at + pause.clamp(fastest, slowest);
    }
    let alive_at = activity.alive_at();
    if alive_at.or(activity.first_reconciled_at).is_some_and(|since| now - since > IDLE_AFTER) {
        return reconciled_at + slowest.max(IDLE);
    }
    let quiet_for = alive_at.map_or(TimeDelta::MAX, |alive_at| now - alive_at);
    let pause = if quiet_for < BUSY_FOR { busy } else { quiet_for / SHARE };
    reconciled_at + pause.clamp(fastest, slowest)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(second: i64) -> DateTime<Utc> {
        DateTime::UNIX_EPOCH + TimeDelta::seconds(second)
    }

    fn reconciled(second: i64) -> Activity {
        Activity { reconciled_at: Some(at(second)), ..Activity::default() }
    }

    #[test]
    fn plan_without_a_reconcile_is_due_at_once() {
        assert_eq!(due(&Activity::default(), Pace::default(), at(7)), at(7));
    }

    #[test]
    fn plan_is_due_at_once_after_the_clock_was_set_back() {
        assert_eq!(due(&reconciled(7_200), Pace::default(), at(7)), at(7));
    }

    #[test]
    fn plan_in_use_is_reconciled_within_30_seconds_and_quiet_ones_rarely() {
        let used = Activity { used_at: Some(at(90)), ..reconciled(100) };
        assert_eq!(due(&used, Pace::default(), at(100)), at(125));
        let quiet = Activity { used_at: Some(at(0)), ..reconciled(3600) };
        assert_eq!(due(&quiet, Pace::default(), at(3600)), at(3600 + 450));
        assert_eq!(due(&reconciled(0), Pace::default(), at(0)), at(900));
    }

    #[test]
    fn plan_untouched_for_a_day_is_reconciled_every_four_hours() {
        let day = 24 * 3600;
        let touched = Activity { used_at: Some(at(0)), ..reconciled(day) };
        assert_eq!(due(&touched, Pace::default(), at(day)), at(day + 900));
        assert_eq!(due(&touched, Pace::default(), at(day + 1)), at(day + 4 * 3600));
        let never = Activity { first_reconciled_at: Some(at(0)), ..reconciled(day) };
        assert_eq!(due(&never, Pace::default(), at(day + 1)), at(day + 4 * 3600));
    }

    #[test]
    fn failures_double_the_reconcile_pause() {
        let failing = |failures| Activity { failures, used_at: Some(at(99)), ..reconciled(100) };
        assert_eq!(due(&failing(1), Pace::default(), at(100)), at(110));
        assert_eq!(due(&failing(3), Pace::default(), at(100)), at(140));
        assert_eq!(due(&failing(30), Pace::default(), at(100)), at(1000));
    }

    proptest! {
        #[test]
        fn reconcile_pace_stays_between_fastest_and_slowest(
            reconciled_at in 0i64..10_000, changed in prop::option::of(0i64..10_000), used in prop::option::of(0i64..10_000),
            failures in 0u32..40, later in 0i64..10_000,
        ) {
            let activity = Activity {
                reconciled_at: Some(at(reconciled_at)), changed_at: changed.map(at), used_at: used.map(at),
                failures, first_reconciled_at: None, texts_wanted_at: None,
            };
            let due = due(&activity, Pace::default(), at(reconciled_at + later));
            prop_assert!(due >= at(reconciled_at + 5) && due <= at(reconciled_at + 900));
        }
    }
}
