//! The circuit breaker: a pure state machine, driven under the lane's mutex.
//!
//! It opens when a workload is down, so that callers fail at once and the service is left alone. Throttling never
//! opens it (that sets a `not_before`), and refusals (4xx) do not count: they prove the service alive.

use std::collections::VecDeque;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};

use super::deadline::{between, later};

const WINDOW: TimeDelta = TimeDelta::seconds(30);
const MIN_CALLS: u32 = 20;
const MAX_IN_A_ROW: u32 = 5;
/// The wait a caller gets while a probe is under way.
const PROBE_WAIT: Duration = Duration::from_secs(1);

/// What an attempt says about the health of the service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It worked.
    Success,
    /// A timeout, a broken or refused connection, or 5xx.
    Failure,
    /// A refusal (4xx, 429 included): alive, but no evidence of health.
    Alive,
    /// The attempt was dropped before anything was known.
    Unknown,
}

/// Permission for one attempt; handed back with the verdict.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ticket {
    generation: u64,
    probe: bool,
}

/// How long a workload that is down is left alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rest {
    /// After it was found down.
    pub first: Duration,
    /// At most, after probes that failed; each doubles the rest.
    pub longest: Duration,
}

impl Rest {
    /// For a service that many others use: it recovers sooner when it is left alone.
    pub const LONG: Self = Self { first: Duration::from_secs(30), longest: Duration::from_mins(5) };
    /// For what every call rests on: it is back as soon as the service is.
    pub const SHORT: Self = Self { first: Duration::from_millis(500), longest: Duration::from_secs(2) };
}

/// A breaker for one workload.
#[derive(Debug)]
pub struct Breaker {
    rest: Rest,
    state: State,
    /// Counts the changes of state, so that answers to older attempts are distinguished from new ones.
    generation: u64,
}

#[derive(Debug)]
enum State {
    Closed { seconds: VecDeque<Second>, in_a_row: u32 },
    Open { until: DateTime<Utc>, wait: Duration },
    HalfOpen { probing: bool, wait: Duration },
}

impl Default for State {
    fn default() -> Self {
        Self::Closed { seconds: VecDeque::new(), in_a_row: 0 }
    }
}

#[derive(Debug)]
struct Second {
    begins: DateTime<Utc>,
    calls: u32,
    failures: u32,
}

impl Default for Breaker {
    fn default() -> Self {
        Self::new(Rest::LONG)
    }
}

impl Breaker {
    /// A closed breaker.
    #[must_use]
    pub fn new(rest: Rest) -> Self {
        Self { rest, state: State::default(), generation: 0 }
    }

    /// Whether an attempt would be refused at `now`, and for how long; changes nothing.
    ///
    /// # Errors
    /// The time after which asking again makes sense.
    pub fn check(&self, now: DateTime<Utc>) -> Result<(), Duration> {
        match self.state {
            State::Open { until, .. } if now < until => Err(between(now, until)),
            State::HalfOpen { probing: true, .. } => Err(PROBE_WAIT),
            _ => Ok(()),
        }
    }

    /// Admits an attempt that starts at once.
    ///
    /// # Errors
    /// The time after which asking again makes sense.
    pub fn admit(&mut self, now: DateTime<Utc>) -> Result<Ticket, Duration> {
        self.check(now)?;
        if let State::Open { wait, .. } = self.state {
            self.enter(State::HalfOpen { probing: false, wait });
        }
        let probe = if let State::HalfOpen { probing, .. } = &mut self.state {
            *probing = true;
            true
        } else {
            false
        };
        Ok(Ticket { generation: self.generation, probe })
    }

    /// Learns how an admitted attempt ended. An answer to an attempt from before the last change of state is ignored.
    pub fn record(&mut self, now: DateTime<Utc>, ticket: Ticket, verdict: Verdict) {
        if ticket.generation != self.generation {
            return;
        }
        let rest = self.rest;
        let next = match &mut self.state {
            State::Closed { seconds, in_a_row } => {
                let opens = count(seconds, in_a_row, now, verdict);
                opens.then(|| State::Open { until: later(now, rest.first), wait: rest.first })
            }
            State::HalfOpen { probing, wait } if ticket.probe => match verdict {
                Verdict::Success | Verdict::Alive => Some(State::default()),
                Verdict::Failure => {
                    let wait = wait.saturating_mul(2).min(rest.longest);
                    Some(State::Open { until: later(now, wait), wait })
                }
                Verdict::Unknown => {
                    *probing = false;
                    None
                }
            },
            State::HalfOpen { .. } | State::Open { .. } => None,
        };
        if let Some(next) = next {
            self.enter(next);
        }
    }

    /// Forgets what it has learnt.
    pub fn close(&mut self) {
        self.enter(State::default());
    }

    /// Whether attempts are being refused or probed.
    #[must_use]
    pub const fn is_open(&self) -> bool {
        !matches!(self.state, State::Closed { .. })
    }

    fn enter(&mut self, state: State) {
        self.state = state;
        self.generation += 1;
    }
}

/// Counts one verdict; returns whether the breaker has to open.
fn count(seconds: &mut VecDeque<Second>, in_a_row: &mut u32, now: DateTime<Utc>, verdict: Verdict) -> bool {
    let failed = match verdict {
        Verdict::Success => false,
        Verdict::Failure => true,
        Verdict::Alive | Verdict::Unknown => return false,
    };
    *in_a_row = if failed { *in_a_row + 1 } else { 0 };
    while seconds.front().is_some_and(|second| now - second.begins >= WINDOW) {
        seconds.pop_front();
    }
    match seconds.back_mut() {
        Some(second) if now - second.begins < TimeDelta::seconds(1) => {
            second.calls += 1;
            second.failures += u32::from(failed);
        }
        _ => seconds.push_back(Second { begins: now, calls: 1, failures: u32::from(failed) }),
    }
    let calls: u32 = seconds.iter().map(|second| second.calls).sum();
    let failures: u32 = seconds.iter().map(|second| second.failures).sum();
    *in_a_row >= MAX_IN_A_ROW || (calls >= MIN_CALLS && failures * 2 >= calls)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn at(seconds: i64) -> DateTime<Utc> {
        DateTime::UNIX_EPOCH + TimeDelta::seconds(seconds)
    }

    fn run(breaker: &mut Breaker, now: DateTime<Utc>, verdicts: &[Verdict]) {
        for verdict in verdicts {
            let ticket = breaker.admit(now).unwrap();
            breaker.record(now, ticket, *verdict);
        }
    }

    fn opened() -> Breaker {
        let mut breaker = Breaker::new(Rest::LONG);
        run(&mut breaker, at(0), &[Verdict::Failure; 5]);
        breaker
    }

    #[test]
    fn breaker_opens_after_five_consecutive_failures() {
        let mut breaker = Breaker::new(Rest::LONG);
        run(&mut breaker, at(0), &[Verdict::Failure; 4]);
        run(&mut breaker, at(0), &[Verdict::Success]);
        run(&mut breaker, at(0), &[Verdict::Failure; 4]);
        assert!(!breaker.is_open());
        run(&mut breaker, at(0), &[Verdict::Failure]);
        assert_eq!(breaker.check(at(1)), Err(Duration::from_secs(29)));
    }

    #[test]
    fn breaker_opens_when_half_of_twenty_calls_fail_within_30_seconds() {
        let pair = [Verdict::Success, Verdict::Failure];
        let mut slow = Breaker::new(Rest::LONG);
        let mut quick = Breaker::new(Rest::LONG);
        for second in 0..10 {
            run(&mut slow, at(second * 5), &pair);
            run(&mut quick, at(second), &pair);
        }
        assert!(!slow.is_open());
        assert!(quick.is_open());
    }

    #[test]
    fn half_open_breaker_allows_one_probe_and_closes_on_success() {
        let mut breaker = opened();
        assert!(breaker.admit(at(29)).is_err());
        let probe = breaker.admit(at(30)).unwrap();
        assert!(breaker.admit(at(30)).is_err());
        breaker.record(at(31), probe, Verdict::Success);
        assert!(!breaker.is_open());
    }

    #[test]
    fn failed_probe_doubles_the_breaker_wait_up_to_five_minutes() {
        let mut breaker = opened();
        let mut now = at(30);
        for wait in [60, 120, 240, 300, 300] {
            let probe = breaker.admit(now).unwrap();
            breaker.record(now, probe, Verdict::Failure);
            assert_eq!(breaker.check(now), Err(Duration::from_secs(wait)));
            now += TimeDelta::seconds(i64::try_from(wait).unwrap());
        }
    }

    #[test]
    fn breaker_with_short_waits_probes_every_two_seconds() {
        let mut breaker = Breaker::new(Rest::SHORT);
        run(&mut breaker, at(0), &[Verdict::Failure; 5]);
        for second in 1..600 {
            if let Ok(probe) = breaker.admit(at(second)) {
                breaker.record(at(second), probe, Verdict::Failure);
            }
        }
        assert!(breaker.check(at(599)).unwrap_err() <= Duration::from_secs(2));
    }

    #[test]
    fn cancelled_probe_allows_another() {
        let mut breaker = opened();
        let probe = breaker.admit(at(30)).unwrap();
        breaker.record(at(30), probe, Verdict::Unknown);
        assert!(breaker.admit(at(30)).is_ok());
    }

    #[test]
    fn late_answer_from_before_the_opening_does_not_change_the_breaker() {
        let mut breaker = Breaker::new(Rest::LONG);
        let late = breaker.admit(at(0)).unwrap();
        run(&mut breaker, at(0), &[Verdict::Failure; 5]);
        let probe = breaker.admit(at(30)).unwrap();
        breaker.record(at(30), late, Verdict::Success);
        assert!(breaker.is_open());
        breaker.record(at(30), probe, Verdict::Success);
        assert!(!breaker.is_open());
    }

    proptest! {
        #[test]
        fn breaker_opens_on_failures_only_and_allows_one_probe(
            steps in prop::collection::vec((0_i64..40, 0_u8..3, any::<bool>()), 1..200),
        ) {
            let mut breaker = Breaker::new(Rest::LONG);
            let (mut now, mut pending, mut failed) = (at(0), Vec::<Ticket>::new(), false);
            for (wait, verdict, finish) in steps {
                now += TimeDelta::seconds(wait);
                if let Ok(ticket) = breaker.admit(now) {
                    pending.push(ticket);
                }
                let probes = pending.iter().filter(|t| t.probe && t.generation == breaker.generation).count();
                prop_assert!(probes <= 1);
                if finish && let Some(ticket) = pending.pop() {
                    let verdict = [Verdict::Success, Verdict::Failure, Verdict::Alive][usize::from(verdict)];
                    failed |= verdict == Verdict::Failure;
                    breaker.record(now, ticket, verdict);
                }
                prop_assert!(failed || !breaker.is_open());
            }
        }
    }
}
