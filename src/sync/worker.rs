//! Who drives the pushes.
//!
//! A caller journals and hands the task's id over; the worker pushes it, twenty together where they come together,
//! never one task twice at a time, and answers the callers that wait. What cannot arrive yet is tried again later,
//! never before the time Planner named. While nothing of a plan gets through, one task at a time tries for all of them
//! ([`outage`](super::outage)): a day without Graph costs some hundred calls a plan, however much waits. The worker holds no truth: what it forgets in a crash is found again in the
//! rows by [`Pusher::resume`], and what a caller journalled without handing it over by a sweep every minute.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use futures::StreamExt;
use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use tokio::sync::mpsc;
use tracing::{Instrument, Span};

use super::Engine;
use super::fold::settle;
use super::handle::PlanHandle;
use super::mutant::{Mutant, is_on};
use super::outage::{MAX_BACKOFF, ON_TRIAL, OUTAGE, PlanFailures, backoff};
use super::push::{Cause, GROUP, Outcome};
use super::pusher::{Listener, PushRequest, Pusher, dirty, outcome_of};
use crate::clock::Clock;
use crate::crash;
use crate::ids::{PlanId, TaskId};
use crate::telemetry::traces;

/// How often the rows of the known plans are searched for tasks that no push has.
const SWEEP: Duration = Duration::from_mins(1);

/// Most groups under way at once. How many of their calls Planner is sent at a time, the outbound client decides.
const PUSHES: usize = 64;
/// Most groups of one plan under way at once, so that a plan that hangs leaves capacity for the others.
const PUSHES_OF_A_PLAN: usize = 16;

/// A longer wait that Planner asks for is tried after this time all the same: one senseless answer must not stop a plan
/// for days.
const MAX_RETRY_AFTER: Duration = Duration::from_mins(10);

/// The worker's state: what waits, what is under way, what is to be tried again.
pub struct Worker {
    engine: Arc<Engine>,
    clock: Clock,
    requests: mpsc::UnboundedReceiver<PushRequest>,
    plans: BTreeMap<PlanId, Arc<PlanHandle>>,
    waiting: BTreeMap<PlanId, (Arc<PlanHandle>, Vec<TaskId>)>,
    /// The plans of `waiting`, each once: the one that was served longest ago first.
    turns: VecDeque<PlanId>,
    /// Groups of each plan under way.
    pushing: HashMap<PlanId, usize>,
    /// The tasks that wait, of all plans.
    queued: HashSet<TaskId>,
    /// Tasks with a retry ahead, and the time before which Planner does not want them.
    retries: HashMap<TaskId, DateTime<Utc>>,
    under_way: HashSet<TaskId>,
    again: HashSet<TaskId>,
    listeners: HashMap<TaskId, Vec<Listener>>,
    failures: HashMap<TaskId, u32>,
    /// Plans of which the latest group failed as a whole.
    failing: HashMap<PlanId, PlanFailures>,
}

/// Something the worker waited for.
enum Event {
    Pushed(Arc<PlanHandle>, Vec<TaskId>, Vec<(TaskId, Outcome)>),
    RetryDue(Arc<PlanHandle>, TaskId),
    SweepDue,
    /// A plan with an outage is tried again.
    TrialDue,
}

impl Worker {
    /// A worker and the handle that feeds it.
    #[must_use]
    pub fn new(engine: Arc<Engine>, clock: Clock) -> (Self, Pusher) {
        let (sender, requests) = mpsc::unbounded_channel();
        let pusher = Pusher::new(sender, clock.clone());
        let worker = Self {
            engine,
            clock,
            requests,
            plans: BTreeMap::new(),
            waiting: BTreeMap::new(),
            turns: VecDeque::new(),
            pushing: HashMap::new(),
            queued: HashSet::new(),
            retries: HashMap::new(),
            under_way: HashSet::new(),
            again: HashSet::new(),
            listeners: HashMap::new(),
            failures: HashMap::new(),
            failing: HashMap::new(),
        };
        (worker, pusher)
    }

    /// Works until every [`Pusher`] is gone and nothing is under way.
    pub async fn run(mut self) {
        let engine = self.engine.clone();
        let clock = self.clock.clone();
        let mut events: FuturesUnordered<BoxFuture<'_, Event>> = FuturesUnordered::new();
        events.push(after(&clock, SWEEP, Event::SweepDue));
        let mut open = true;
        let mut pushing = 0;
        // What waits in an outage is journalled: the next start continues with it.
        while open || !self.under_way.is_empty() || self.waiting.keys().any(|plan| self.places(plan) > 0) {
            let mut later = Vec::new();
            tokio::select! {
                biased; // the order of two simultaneous events is the same in every run of a simulation
                request = self.requests.recv(), if open => match request {
                    Some(request) => {
                        later.extend(self.take(request));
                        while let Ok(request) = self.requests.try_recv() {
                            later.extend(self.take(request));
                        }
                    }
                    None => open = false,
                },
                Some(event) = events.next() => match event {
                    Event::Pushed(plan, pushed, outcomes) => {
                        pushing -= 1;
                        self.note_pushed(&plan.id);
                        if let Some(pause) = self.weigh(&plan.id, &outcomes) {
                            events.push(after(&clock, pause, Event::TrialDue));
                        }
                        later = self.note(&plan, &pushed, outcomes);
                    }
                    Event::RetryDue(plan, task) => {
                        if self.retries.get(&task).is_some_and(|not_before| *not_before <= clock.steady()) {
                            self.retries.remove(&task);
                        }
                        later.extend(self.queue(&plan, task));
                    }
                    Event::SweepDue => {
                        later = self.sweep();
                        events.push(after(&clock, SWEEP, Event::SweepDue));
                    }
                    Event::TrialDue => {}
                },
            }
            for Later { plan, task, delay } in later {
                events.push(after(&clock, delay, Event::RetryDue(plan, task)));
            }
            for (plan, group) in self.groups(PUSHES - pushing) {
                pushing += 1;
                let (engine, span) = (&engine, self.span(&plan, &group));
                let push = async move {
                    let outcomes = engine.push_group(&plan, &group).await;
                    Event::Pushed(plan, group, outcomes)
                };
                events.push(Box::pin(push.instrument(span)));
            }
        }
    }

    fn take(&mut self, request: PushRequest) -> Option<Later> {
        crash::point("worker.taken");
        self.plans.entry(request.plan.id.clone()).or_insert_with(|| request.plan.clone());
        let task = request.task?;
        if request.now {
            let now = self.clock.steady();
            self.retries.remove(&task);
            self.failing
                .entry(request.plan.id.clone())
                .and_modify(|failures| failures.try_at = failures.try_at.min(now));
        }
        if let Some(answer) = request.answer {
            let outage = self.failing.get(&request.plan.id).filter(|failures| failures.is_outage());
            let left = outage.and_then(|failures| (failures.try_at - self.clock.steady()).to_std().ok());
            match (outage, left) {
                (Some(failures), Some(left)) if !left.is_zero() => {
                    answer.answer(failures.outcome(left.min(MAX_BACKOFF))); // it will not be tried before
                }
                _ => self.listeners.entry(task.clone()).or_default().push(answer),
            }
        }
        self.queue(&request.plan, task)
    }

    /// Has a task pushed at the next opportunity; answers when it must wait for that.
    fn queue(&mut self, plan: &Arc<PlanHandle>, task: TaskId) -> Option<Later> {
        if self.under_way.contains(&task) {
            self.again.insert(task);
            return None;
        }
        let now = self.clock.steady();
        if let Some(not_before) = self.retries.get(&task).filter(|not_before| **not_before > now) {
            let delay = (*not_before - now).to_std().unwrap_or_default();
            return Some(Later { plan: plan.clone(), task, delay });
        }
        if self.queued.insert(task.clone()) {
            if !self.waiting.contains_key(&plan.id) {
                self.turns.push_back(plan.id.clone());
            }
            let (_, tasks) = self.waiting.entry(plan.id.clone()).or_insert_with(|| (plan.clone(), Vec::new()));
            tasks.push(task);
        }
        None
    }

    /// Queues what is dirty though nobody pushes it: its caller went away between journalling and handing over.
    fn sweep(&mut self) -> Vec<Later> {
        let plans: Vec<Arc<PlanHandle>> = self.plans.values().cloned().collect();
        let mut later = Vec::new();
        for plan in plans {
            for task in dirty(&plan) {
                if !self.queued.contains(&task) && !self.under_way.contains(&task) && !self.retries.contains_key(&task)
                {
                    later.extend(self.queue(&plan, task));
                }
            }
        }
        later
    }

    /// What waits, in groups, as many as there are places; one of each plan in turn, in no order of ids. What stays
    /// waiting meets what comes next in a fuller group.
    fn groups(&mut self, places: usize) -> Vec<(Arc<PlanHandle>, Vec<TaskId>)> {
        let mut groups = Vec::new();
        while groups.len() < places
            && let Some(turn) = self.turns.iter().position(|plan| self.places(plan) > 0)
            && let Some(id) = self.turns.remove(turn)
            && let Some((plan, mut tasks)) = self.waiting.remove(&id)
        {
            let rest = tasks.split_off(tasks.len().min(self.places(&id))); // before this group counts as one
            *self.pushing.entry(id.clone()).or_insert(0) += 1;
            if let Some(failures) = self.failing.get_mut(&id).filter(|failures| failures.is_outage()) {
                failures.try_at = ON_TRIAL;
            }
            for task in &tasks {
                self.queued.remove(task);
            }
            self.under_way.extend(tasks.iter().cloned());
            if !rest.is_empty() {
                self.turns.push_back(id.clone());
                self.waiting.insert(id, (plan.clone(), rest));
            }
            groups.push((plan, tasks));
        }
        groups
    }

    /// The span of a push: within what the first who waits for it does, or the first of a trace.
    fn span(&self, plan: &PlanHandle, group: &[TaskId]) -> Span {
        let waiting = group.iter().find_map(|task| self.listeners.get(task)?.first());
        let parent = waiting.and_then(|listener| listener.span.id());
        let has_parent = parent.is_some();
        let span = tracing::info_span!(
            parent: parent,
            "push",
            otel.kind = "internal",
            graphgate.plan_id = plan.id.as_str(),
            graphgate.tasks = group.len(),
        );
        if has_parent { span } else { traces::begin(span, None) }
    }

    /// How many tasks of a plan may be pushed together now.
    fn places(&self, plan: &PlanId) -> usize {
        if self.pushing.get(plan).is_some_and(|groups| *groups >= PUSHES_OF_A_PLAN) {
            return 0;
        }
        match self.failing.get(plan).filter(|failures| failures.is_outage()) {
            None => GROUP,
            Some(failures) if failures.try_at <= self.clock.steady() => 1,
            Some(_) => 0,
        }
    }

    /// Notes whether a group got through. Answers how long an outage of its plan lasts at least, if there is one, and
    /// tells those who wait for other tasks of the plan.
    fn weigh(&mut self, plan: &PlanId, outcomes: &[(TaskId, Outcome)]) -> Option<Duration> {
        let failed = |outcome: &Outcome| match outcome {
            Outcome::Pending { cause: Cause::Failure, reason, .. } => Some(reason.clone()),
            _ => None,
        };
        let reasons: Option<Vec<String>> = outcomes.iter().map(|(_, outcome)| failed(outcome)).collect();
        let Some(reason) = reasons.and_then(|reasons| reasons.into_iter().next()) else {
            self.failing.remove(plan);
            return None;
        };
        let now = self.clock.steady();
        let failures = self.failing.entry(plan.clone()).or_insert(PlanFailures {
            failures: 0,
            reason: String::new(),
            try_at: now,
        });
        failures.reason = reason;
        if failures.is_outage() && failures.try_at != ON_TRIAL {
            return None; // one that was sent before the outage was known
        }
        failures.failures += 1;
        if !failures.is_outage() {
            return None;
        }
        let pause = backoff(failures.failures - OUTAGE + 1);
        failures.try_at = now + TimeDelta::from_std(pause).unwrap_or(TimeDelta::MAX);
        let outcome = failures.outcome(pause);
        let waiting = self.waiting.get(plan).map(|(_, tasks)| tasks.as_slice()).unwrap_or_default();
        for task in waiting {
            for listener in self.listeners.remove(task).unwrap_or_default() {
                listener.answer(outcome.clone());
            }
        }
        Some(pause)
    }

    /// A group of a plan has ended.
    fn note_pushed(&mut self, plan: &PlanId) {
        if let Some(groups) = self.pushing.get_mut(plan) {
            *groups -= 1;
            if *groups == 0 {
                self.pushing.remove(plan);
            }
        }
    }

    /// Answers the callers that wait; returns what is to be tried again, and when.
    fn note(&mut self, plan: &Arc<PlanHandle>, pushed: &[TaskId], outcomes: Vec<(TaskId, Outcome)>) -> Vec<Later> {
        let mut later = Vec::new();
        for task in pushed {
            self.under_way.remove(task);
        }
        for (task, outcome) in outcomes {
            let changed_again = self.again.remove(&task);
            if let Some((delay, not_before)) = self.pause(plan, &task, &outcome) {
                let not_before = TimeDelta::from_std(not_before).unwrap_or(TimeDelta::MAX);
                self.retries.insert(task.clone(), self.clock.steady() + not_before);
                later.push(Later { plan: plan.clone(), task: task.clone(), delay });
            }
            if changed_again {
                later.extend(self.queue(plan, task.clone()));
            }
            for listener in self.listeners.remove(&task).unwrap_or_default() {
                match outcome_of(plan, &task, listener.op.as_ref(), &outcome, changed_again) {
                    Some(outcome) => listener.answer(outcome),
                    None => self.listeners.entry(task.clone()).or_default().push(listener),
                }
            }
        }
        later
    }

    /// When a task is tried again, if it has to be, and how long not even a new edit may be sent.
    fn pause(&mut self, plan: &PlanHandle, task: &TaskId, outcome: &Outcome) -> Option<(Duration, Duration)> {
        if let Outcome::Pending { retry_after, cause: Cause::Settling, .. } = outcome {
            return Some((*retry_after, *retry_after));
        }
        let longest = if is_on(Mutant::RetryAfterForEver) { Duration::from_hours(24 * 30) } else { MAX_RETRY_AFTER };
        if is_on(Mutant::NoRetry) && matches!(outcome, Outcome::Pending { .. }) {
            return None;
        }
        if let Outcome::Pending { retry_after, .. } = outcome {
            let retry_after =
                if is_on(Mutant::RetryAfterIgnored) { Duration::ZERO } else { (*retry_after).min(longest) };
            let failures = self.failures.entry(task.clone()).or_insert(0);
            *failures += 1;
            return Some((retry_after.max(backoff(*failures)), retry_after));
        }
        self.failures.remove(task);
        self.retries.remove(task);
        // A push that failed may leave something to find out: whether a denied create happened after all.
        let unsettled = plan.read().task(task).is_some_and(|record| record.is_dirty());
        unsettled.then_some((settle(), Duration::ZERO))
    }
}

/// A task that is to be queued after a while.
struct Later {
    plan: Arc<PlanHandle>,
    task: TaskId,
    delay: Duration,
}

fn after(clock: &Clock, pause: Duration, event: Event) -> BoxFuture<'static, Event> {
    let pause = clock.sleep(pause);
    Box::pin(async move {
        pause.await;
        event
    })
}
