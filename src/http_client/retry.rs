//! The retry decision: a pure function from what happened to what to do next.
//!
//! There is one retry layer in the program, this one; the SDK's own is off. A wait the service names is honoured as
//! long as the caller's deadline allows and costs nothing; repeating a failure costs tokens of the workload's budget.

use std::time::Duration;

/// Whose time is being spent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Mode {
    /// A caller waits: few retries, a short deadline, precedence in the queue.
    Interactive,
    /// Nobody waits: more patience, at most 70 % of the places.
    Background,
}

impl Mode {
    /// How often a *failure* is repeated; waiting out a 429 does not count.
    #[must_use]
    pub const fn max_retries(self) -> u32 {
        match self {
            Self::Interactive => 2,
            Self::Background => 4,
        }
    }

    /// The time one attempt at storage or a vault may take before it counts as a timeout.
    #[must_use]
    pub const fn attempt_limit(self) -> Duration {
        match self {
            Self::Interactive => Duration::from_secs(15),
            Self::Background => Duration::from_mins(1),
        }
    }
}

/// Whether sending a request twice has the effect of sending it once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Repeat {
    /// GET, DELETE, and PATCH under `If-Match`.
    Safe,
    /// A create: repeated only when the first one certainly had no effect.
    OnlyIfUnsent,
}

/// How an attempt ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// An answer with this status.
    Status(u16),
    /// No connection came about; nothing was sent.
    ConnectFailed,
    /// The connection broke after something may have been sent.
    Broken,
    /// The attempt took too long; something may have been sent.
    TimedOut,
}

/// All that [`decide`] depends on.
#[derive(Debug, Clone, Copy)]
pub struct Situation {
    /// Failures of this call so far, this one included, throttling aside.
    pub failures: u32,
    /// How often this call was throttled so far, this time included.
    pub throttles: u32,
    /// May the request be repeated?
    pub repeat: Repeat,
    /// What just happened.
    pub outcome: Outcome,
    /// What the answer's `Retry-After` says.
    pub retry_after: Option<Duration>,
    /// Whose time it is.
    pub mode: Mode,
    /// Tokens left in the workload's retry budget.
    pub budget: u32,
    /// Time until the caller's deadline.
    pub time_left: Duration,
    /// A random number in `0.0..1.0`.
    pub jitter: f64,
}

/// What to do next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    /// Hand the outcome to the caller.
    Return,
    /// Send again, not before this much time has passed.
    RetryAfter(Duration),
    /// Give up although a retry would be allowed.
    FailFast(Reason),
}

/// Why a permitted retry does not take place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// The service demands a longer wait than the deadline leaves.
    Throttled {
        /// The wait demanded.
        retry_after: Duration,
    },
    /// The workload's retry budget is empty: more retries would only add load.
    BudgetEmpty,
    /// The next attempt would start after the deadline.
    DeadlineTooClose,
}

/// Tokens one repeated failure costs.
pub const RETRY_COST: u32 = 5;
/// Tokens one repeated timeout costs.
pub const TIMEOUT_COST: u32 = 10;

/// What repeating after `outcome` costs. Waiting as long as the service asked is free: it set the pace itself.
#[must_use]
pub const fn cost(outcome: Outcome, retry_after: Option<Duration>) -> u32 {
    match outcome {
        Outcome::Status(429) => 0,
        Outcome::Status(503) if retry_after.is_some() => 0,
        Outcome::TimedOut => TIMEOUT_COST,
        _ => RETRY_COST,
    }
}

/// Decides after an attempt.
///
/// Repeated are connect failures and 429 for every request; 408, 500, 502, 503, 504, 507, 509, broken connections and
/// timeouts for requests that are safe to repeat. Everything else is the caller's answer.
#[must_use]
pub fn decide(situation: &Situation) -> Decision {
    let throttled = situation.outcome == Outcome::Status(429);
    let repeatable = match situation.outcome {
        Outcome::Status(429) | Outcome::ConnectFailed => true,
        Outcome::Status(408 | 500 | 502 | 503 | 504 | 507 | 509) | Outcome::Broken | Outcome::TimedOut => {
            situation.repeat == Repeat::Safe
        }
        Outcome::Status(_) => false,
    };
    if !repeatable || (!throttled && situation.failures > situation.mode.max_retries()) {
        return Decision::Return;
    }
    let delay = delay(situation);
    if delay >= situation.time_left {
        return Decision::FailFast(if throttled {
            Reason::Throttled { retry_after: delay }
        } else {
            Reason::DeadlineTooClose
        });
    }
    if situation.budget < cost(situation.outcome, situation.retry_after) {
        return Decision::FailFast(Reason::BudgetEmpty);
    }
    Decision::RetryAfter(delay)
}

/// The wait before the next attempt: `max(Retry-After, uniform(d/2, d))` with `d = min(2ⁿ, 300)` seconds.
///
/// `n` counts the retries. A 429 or 503 without `Retry-After` starts at 3, since some services never send the header
/// and early retries count against the caller. A 429 *with* the header stays at 1: the service knows better than a
/// growing guess, which would use up the caller's deadline.
#[must_use]
pub fn delay(situation: &Situation) -> Duration {
    let exponent = match (situation.outcome, situation.retry_after) {
        (Outcome::Status(429), Some(named)) if !named.is_zero() => return named,
        (Outcome::Status(429), _) => situation.throttles.saturating_add(2),
        (Outcome::Status(503), None) => situation.failures.saturating_add(2),
        _ => situation.failures,
    };
    let ceiling = 2_f64.powi(i32::try_from(exponent.min(9)).unwrap_or(9)).min(300.0);
    let backoff = Duration::from_secs_f64(ceiling * (0.5 + situation.jitter.clamp(0.0, 1.0) / 2.0));
    backoff.max(situation.retry_after.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn failed(outcome: Outcome) -> Situation {
        Situation {
            failures: 1,
            throttles: 1,
            repeat: Repeat::Safe,
            outcome,
            retry_after: None,
            mode: Mode::Interactive,
            budget: 500,
            time_left: Duration::from_secs(25),
            jitter: 0.0,
        }
    }

    #[test]
    fn post_is_retried_only_if_it_had_no_effect() {
        for outcome in
            [Outcome::Status(500), Outcome::Status(503), Outcome::Status(408), Outcome::Broken, Outcome::TimedOut]
        {
            let create = Situation { repeat: Repeat::OnlyIfUnsent, ..failed(outcome) };
            assert_eq!(decide(&create), Decision::Return, "{outcome:?}");
            assert!(matches!(decide(&failed(outcome)), Decision::RetryAfter(_)), "{outcome:?}");
        }
        for outcome in [Outcome::Status(429), Outcome::ConnectFailed] {
            let create = Situation { repeat: Repeat::OnlyIfUnsent, ..failed(outcome) };
            assert!(matches!(decide(&create), Decision::RetryAfter(_)), "{outcome:?}");
        }
    }

    #[test]
    fn client_errors_are_never_retried() {
        for status in [400, 401, 403, 404, 409, 412, 413, 422, 424, 501] {
            assert_eq!(decide(&failed(Outcome::Status(status))), Decision::Return, "{status}");
        }
    }

    #[test]
    fn failures_are_retried_twice_and_429_without_limit() {
        let exhausted = Situation { failures: 3, ..failed(Outcome::Status(502)) };
        assert_eq!(decide(&exhausted), Decision::Return);
        let waiting = Situation {
            throttles: 20,
            failures: 3,
            retry_after: Some(Duration::from_secs(1)),
            ..failed(Outcome::Status(429))
        };
        assert_eq!(decide(&waiting), Decision::RetryAfter(Duration::from_secs(1)));
    }

    #[test]
    fn retry_after_beyond_the_deadline_is_returned_to_the_caller() {
        let long = Situation { retry_after: Some(Duration::from_secs(30)), ..failed(Outcome::Status(429)) };
        let expected = Reason::Throttled { retry_after: Duration::from_secs(30) };
        assert_eq!(decide(&long), Decision::FailFast(expected));
    }

    #[test]
    fn empty_retry_budget_stops_retries_of_failures_but_not_of_429() {
        let broke = Situation { budget: 4, ..failed(Outcome::Status(500)) };
        assert_eq!(decide(&broke), Decision::FailFast(Reason::BudgetEmpty));
        let waiting =
            Situation { budget: 0, retry_after: Some(Duration::from_secs(2)), ..failed(Outcome::Status(429)) };
        assert_eq!(decide(&waiting), Decision::RetryAfter(Duration::from_secs(2)));
    }

    #[test]
    fn throttling_429_without_retry_after_backs_off_from_a_high_start() {
        assert_eq!(delay(&failed(Outcome::Status(429))), Duration::from_secs(4));
        assert_eq!(delay(&Situation { jitter: 1.0, ..failed(Outcome::Status(503)) }), Duration::from_secs(8));
    }

    proptest! {
        #[test]
        fn retry_delay_is_never_below_retry_after_or_the_backoff(
            failures in 1_u32..40, throttles in 1_u32..40, jitter in 0.0..1.0_f64,
            status in prop::sample::select(vec![429_u16, 500, 502, 503, 504]), after in prop::option::of(0_u64..1000),
        ) {
            let situation = Situation {
                failures, throttles, jitter, retry_after: after.map(Duration::from_secs), ..failed(Outcome::Status(status))
            };
            let delay = delay(&situation);
            prop_assert!(delay >= situation.retry_after.unwrap_or_default());
            if status != 429 || after.unwrap_or_default() == 0 {
                prop_assert!(delay.as_secs_f64() >= 2_f64.powi(i32::try_from(failures.min(throttles)).unwrap()).min(300.0) / 2.0);
                prop_assert!(delay <= Duration::from_mins(5).max(situation.retry_after.unwrap_or_default()));
            }
        }
    }
}
