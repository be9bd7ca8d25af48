//! All state of one workload: gate, breaker, retry budget, counts.

use std::time::Duration;

use parking_lot::{Mutex, MutexGuard};

use super::breaker::{Breaker, Rest, Ticket, Verdict};
use super::counters::Counters;
use super::retry::{Outcome, cost};
use super::targets::Targets;
use super::throttle::Throttle;
use crate::clock::Clock;

/// Tokens of a full retry budget; a repeated failure costs some, a success gives one back.
const BUDGET: u32 = 500;

#[derive(Debug)]
pub(super) struct Lane {
    pub(super) throttle: Throttle,
    pub(super) counters: Counters,
    clock: Clock,
    health: Mutex<Health>,
}

#[derive(Debug)]
struct Health {
    breaker: Breaker,
    targets: Targets,
    budget: u32,
}

impl Lane {
    pub(super) fn new(clock: Clock, (places, cap): (u32, u32), rest: Rest) -> Self {
        let (breaker, targets) = (Breaker::new(rest), Targets::default());
        let health = Mutex::new(Health { breaker, targets, budget: BUDGET });
        Self { throttle: Throttle::new(clock.clone(), places, cap), counters: Counters::default(), clock, health }
    }

    pub(super) fn check(&self) -> Result<(), Duration> {
        self.health().breaker.check(self.clock.steady())
    }

    pub(super) fn admit(&self) -> Result<Admission<'_>, Duration> {
        let ticket = self.health().breaker.admit(self.clock.steady())?;
        Ok(Admission { lane: self, ticket, verdict: Verdict::Unknown })
    }

    pub(super) fn budget(&self) -> u32 {
        self.health().budget
    }

    pub(super) fn pay(&self, outcome: Outcome, retry_after: Option<Duration>) {
        let mut health = self.health();
        health.budget = health.budget.saturating_sub(cost(outcome, retry_after));
    }

    pub(super) fn throttled(&self, wait: Duration) {
        self.throttle.shrink();
        self.throttle.close_for(wait);
    }

    /// Forgets waits and failures: the next call goes at once.
    pub(super) fn lift(&self) {
        self.throttle.open();
        let mut health = self.health();
        health.breaker.close();
        health.budget = BUDGET;
    }

    /// Whether the circuit breaker refuses calls.
    pub(super) fn is_open(&self) -> bool {
        self.health().breaker.is_open()
    }

    fn health(&self) -> MutexGuard<'_, Health> {
        self.health.lock()
    }
}

/// One attempt let through by the breaker. Dropped without an outcome, it counts as never made.
pub(super) struct Admission<'a> {
    lane: &'a Lane,
    ticket: Ticket,
    verdict: Verdict,
}

impl Admission<'_> {
    /// Notes how the attempt ended; `target` is what it was about within the workload.
    pub(super) fn finish(mut self, outcome: Outcome, target: Option<u64>) {
        let verdict = match outcome {
            Outcome::Status(status) if status >= 500 || status == 408 => Verdict::Failure,
            Outcome::Status(status) if status >= 400 => Verdict::Alive,
            Outcome::Status(_) => Verdict::Success,
            Outcome::ConnectFailed | Outcome::Broken | Outcome::TimedOut => Verdict::Failure,
        };
        if verdict == Verdict::Success {
            self.lane.throttle.grow();
        }
        let now = self.lane.clock.steady();
        let mut health = self.lane.health();
        if verdict == Verdict::Success {
            health.budget = (health.budget + 1).min(BUDGET);
        }
        self.verdict = health.targets.judge(now, target, verdict);
    }
}

impl Drop for Admission<'_> {
    fn drop(&mut self) {
        let now = self.lane.clock.steady();
        self.lane.health().breaker.record(now, self.ticket, self.verdict);
    }
}
