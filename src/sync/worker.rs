//! Who drives the pushes.
//!
//! A caller journals and hands the task's id over; the worker pushes it, twenty together where they come together,
//! never one task twice at a time, and tells whoever waits how it went. What cannot arrive yet is tried again later.
//! The worker holds no truth: what it forgets in a crash is found again in the journal by [`Pusher::resume`].

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use tokio::sync::{mpsc, oneshot};

use super::Engine;
use super::push::{GROUP, Outcome};
use super::replica::PlanHandle;
use crate::clock::Clock;
use crate::ids::{PlanId, TaskId};

/// Longest wait between two tries of the same task.
const MAX_BACKOFF: Duration = Duration::from_mins(5);

/// Most groups under way at once: as many calls as Planner is sent at a time.
const PUSHES: usize = 8;

/// A request to push a task.
struct Nudge {
    plan: Arc<PlanHandle>,
    task: TaskId,
    answer: Option<oneshot::Sender<Outcome>>,
}

/// Hands tasks to the worker.
#[derive(Clone)]
pub struct Pusher {
    nudges: mpsc::UnboundedSender<Nudge>,
    clock: Clock,
}

impl Pusher {
    /// Has a task pushed and waits for the outcome, at most `wait`. `None` when time ran out: the push goes on.
    pub async fn push(&self, plan: &Arc<PlanHandle>, task: &TaskId, wait: Duration) -> Option<Outcome> {
        let outcome = self.start(plan, task);
        self.clock.timeout(wait, outcome).await?.ok()
    }

    /// Has a task pushed; the receiver gets the outcome.
    pub fn start(&self, plan: &Arc<PlanHandle>, task: &TaskId) -> oneshot::Receiver<Outcome> {
        let (answer, outcome) = oneshot::channel();
        self.send(Nudge { plan: plan.clone(), task: task.clone(), answer: Some(answer) });
        outcome
    }

    fn send(&self, nudge: Nudge) {
        if self.nudges.send(nudge).is_err() {
            tracing::warn!("a task was journalled while the worker is stopping; the next start pushes it");
        }
    }

    /// Has every task of the plan pushed that has something to push.
    pub fn resume(&self, plan: &Arc<PlanHandle>) {
        let dirty: Vec<TaskId> =
            plan.read().records().filter(|record| record.is_dirty()).map(|record| record.id.clone()).collect();
        for task in dirty {
            self.send(Nudge { plan: plan.clone(), task, answer: None });
        }
    }
}

/// The worker's state: what waits, what is under way, what is to be tried again.
pub struct Worker {
    engine: Arc<Engine>,
    clock: Clock,
    nudges: mpsc::UnboundedReceiver<Nudge>,
    waiting: BTreeMap<PlanId, (Arc<PlanHandle>, Vec<TaskId>)>,
    under_way: HashSet<TaskId>,
    again: HashSet<TaskId>,
    listeners: HashMap<TaskId, Vec<oneshot::Sender<Outcome>>>,
    failures: HashMap<TaskId, u32>,
}

/// Something the worker waited for.
enum Event {
    Pushed(Arc<PlanHandle>, Vec<TaskId>, Vec<(TaskId, Outcome)>),
    RetryDue(Arc<PlanHandle>, TaskId),
}

impl Worker {
    /// A worker and the handle that feeds it.
    #[must_use]
    pub fn new(engine: Arc<Engine>, clock: Clock) -> (Self, Pusher) {
        let (sender, nudges) = mpsc::unbounded_channel();
        let pusher = Pusher { nudges: sender, clock: clock.clone() };
        let worker = Self {
            engine,
            clock,
            nudges,
            waiting: BTreeMap::new(),
            under_way: HashSet::new(),
            again: HashSet::new(),
            listeners: HashMap::new(),
            failures: HashMap::new(),
        };
        (worker, pusher)
    }

    /// Works until every [`Pusher`] is gone and nothing is under way.
    pub async fn run(mut self) {
        let engine = self.engine.clone();
        let clock = self.clock.clone();
        let mut events: FuturesUnordered<BoxFuture<'_, Event>> = FuturesUnordered::new();
        let mut open = true;
        let mut pushing = 0;
        while open || !self.under_way.is_empty() || !self.waiting.is_empty() {
            tokio::select! {
                nudge = self.nudges.recv(), if open => match nudge {
                    Some(nudge) => {
                        self.take(nudge);
                        while let Ok(nudge) = self.nudges.try_recv() {
                            self.take(nudge);
                        }
                    }
                    None => open = false,
                },
                Some(event) = events.next() => match event {
                    Event::Pushed(plan, pushed, outcomes) => {
                        pushing -= 1;
                        for (delay, task) in self.note(&plan, &pushed, outcomes) {
                            let (clock, plan) = (clock.clone(), plan.clone());
                            events.push(Box::pin(async move {
                                clock.sleep(delay).await;
                                Event::RetryDue(plan, task)
                            }));
                        }
                    }
                    Event::RetryDue(plan, task) => self.queue(&plan, task),
                },
            }
            for (plan, group) in self.groups(PUSHES - pushing) {
                pushing += 1;
                let engine = &engine;
                events.push(Box::pin(async move {
                    let outcomes = engine.push_group(&plan, &group).await;
                    Event::Pushed(plan, group, outcomes)
                }));
            }
        }
    }

    fn take(&mut self, nudge: Nudge) {
        if let Some(answer) = nudge.answer {
            self.listeners.entry(nudge.task.clone()).or_default().push(answer);
        }
        self.queue(&nudge.plan, nudge.task);
    }

    fn queue(&mut self, plan: &Arc<PlanHandle>, task: TaskId) {
        if self.under_way.contains(&task) {
            self.again.insert(task);
            return;
        }
        let (_, tasks) = self.waiting.entry(plan.id.clone()).or_insert_with(|| (plan.clone(), Vec::new()));
        if !tasks.contains(&task) {
            tasks.push(task);
        }
    }

    /// What waits, in groups, as many as there are places. What stays waiting meets what comes next in a fuller group.
    fn groups(&mut self, places: usize) -> Vec<(Arc<PlanHandle>, Vec<TaskId>)> {
        let mut groups = Vec::new();
        while groups.len() < places
            && let Some(mut entry) = self.waiting.first_entry()
        {
            let (plan, tasks) = entry.get_mut();
            let group: Vec<TaskId> = tasks.drain(..tasks.len().min(GROUP)).collect();
            let plan = plan.clone();
            if tasks.is_empty() {
                entry.remove();
            }
            self.under_way.extend(group.iter().cloned());
            groups.push((plan, group));
        }
        groups
    }

    /// Tells who waits; answers what is to be tried again, and when.
    fn note(
        &mut self,
        plan: &Arc<PlanHandle>,
        pushed: &[TaskId],
        outcomes: Vec<(TaskId, Outcome)>,
    ) -> Vec<(Duration, TaskId)> {
        let mut retries = Vec::new();
        for task in pushed {
            self.under_way.remove(task);
        }
        for (task, outcome) in outcomes {
            let changed_again = self.again.remove(&task);
            match &outcome {
                Outcome::Pending { retry_after, .. } => {
                    let failures = self.failures.entry(task.clone()).or_insert(0);
                    *failures += 1;
                    let backoff = Duration::from_secs(1 << (*failures).min(9)).min(MAX_BACKOFF);
                    retries.push(((*retry_after).max(backoff), task.clone()));
                }
                _ => {
                    self.failures.remove(&task);
                }
            }
            if changed_again {
                self.queue(plan, task); // whoever waits gets the outcome of the later push
                continue;
            }
            for listener in self.listeners.remove(&task).unwrap_or_default() {
                let _ = listener.send(outcome.clone()); // a caller that stopped waiting
            }
        }
        retries
    }
}
