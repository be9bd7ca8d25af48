//! Who asks for pushes: callers hand tasks to the worker, and get what became of their own operation.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tracing::Span;

use super::handle::PlanHandle;
use super::journal;
use super::model::{Field, LostEdit, OpKind, OpRecord};
use super::mutant::{Mutant, is_on};
use super::push::Outcome;
use crate::clock::Clock;
use crate::ids::TaskId;

/// A request to push a task, or to know a plan.
pub(super) struct PushRequest {
    pub(super) plan: Arc<PlanHandle>,
    pub(super) task: Option<TaskId>,
    /// No pause is kept: an operator asks.
    pub(super) now: bool,
    pub(super) answer: Option<Listener>,
}

/// Somebody who waits for a task's push.
pub(super) struct Listener {
    /// The operation it is about; `None` for the outcome of the push as a whole.
    pub(super) op: Option<OpRecord>,
    /// What it is waited for in.
    pub(super) span: Span,
    answer: oneshot::Sender<Outcome>,
}

impl Listener {
    pub(super) fn answer(self, outcome: Outcome) {
        let _ = self.answer.send(outcome); // or its caller has stopped waiting
    }
}

/// Hands tasks to the worker.
#[derive(Clone)]
pub struct Pusher {
    requests: mpsc::UnboundedSender<PushRequest>,
    clock: Clock,
}

impl Pusher {
    pub(super) fn new(requests: mpsc::UnboundedSender<PushRequest>, clock: Clock) -> Self {
        Self { requests, clock }
    }

    /// Has a task pushed for the caller of one operation, and waits for the outcome, at most `wait`: `None` when time ran
    /// out, and the push continues. The caller's answer is what became of the fields of that operation, no matter what else was
    /// edited meanwhile.
    pub async fn push_op(
        &self,
        plan: &Arc<PlanHandle>,
        task: &TaskId,
        op: Option<OpRecord>,
        wait: Duration,
    ) -> Option<Outcome> {
        let outcome = self.start_op(plan, task, op);
        self.clock.timeout(wait, outcome).await?.ok()
    }

    /// Has a task pushed; the receiver gets the outcome.
    pub fn start(&self, plan: &Arc<PlanHandle>, task: &TaskId) -> oneshot::Receiver<Outcome> {
        self.ask(plan, task, None, false)
    }

    /// As [`Self::start`], for the caller of one operation.
    pub fn start_op(&self, plan: &Arc<PlanHandle>, task: &TaskId, op: Option<OpRecord>) -> oneshot::Receiver<Outcome> {
        self.ask(plan, task, op, false)
    }

    /// As [`Self::start`], for an operator: every pause is ignored.
    pub fn start_now(&self, plan: &Arc<PlanHandle>, task: &TaskId) -> oneshot::Receiver<Outcome> {
        self.ask(plan, task, None, true)
    }

    fn ask(
        &self,
        plan: &Arc<PlanHandle>,
        task: &TaskId,
        op: Option<OpRecord>,
        now: bool,
    ) -> oneshot::Receiver<Outcome> {
        let (answer, outcome) = oneshot::channel();
        // Of a task that nobody has edited since it was made, the push is that of its creation.
        let made = || plan.read().task(task).and_then(|record| journal::creation(record));
        let answer = Some(Listener { op: op.or_else(made), span: Span::current(), answer });
        self.send(PushRequest { plan: plan.clone(), task: Some(task.clone()), now, answer });
        outcome
    }

    fn send(&self, request: PushRequest) {
        if self.requests.send(request).is_err() {
            tracing::warn!("a task was journalled while the worker is stopping; the next start pushes it");
        }
    }

    /// Has every task of the plan pushed that has something to push, now and whenever the worker sweeps.
    pub fn resume(&self, plan: &Arc<PlanHandle>) {
        self.send(PushRequest { plan: plan.clone(), task: None, now: false, answer: None });
        for task in dirty(plan) {
            self.send(PushRequest { plan: plan.clone(), task: Some(task), now: false, answer: None });
        }
    }
}

/// The tasks of a plan that have something to push.
pub(super) fn dirty(plan: &PlanHandle) -> Vec<TaskId> {
    if plan.counts().pending == 0 {
        return Vec::new();
    }
    plan.read()
        .records()
        .filter(|record| record.is_dirty() && !is_on(Mutant::NothingResumed))
        .map(|record| record.id.clone())
        .collect()
}

/// The answer to the caller of an operation once its task was pushed: what became of the fields of that operation. `None` while
/// it is open and another push follows.
pub(super) fn outcome_of(
    plan: &PlanHandle,
    task: &TaskId,
    op: Option<&OpRecord>,
    outcome: &Outcome,
    changed_again: bool,
) -> Option<Outcome> {
    let as_pushed = || (!changed_again).then(|| outcome.clone());
    let Some(op) = op.filter(|_| !is_on(Mutant::LaterPushTellsAll)) else { return as_pushed() };
    let replica = plan.read();
    let Some(record) = replica.task(task) else {
        if !matches!(outcome, Outcome::Synced { .. }) {
            return Some(outcome.clone());
        }
        let reason = replica.end_of(task).filter(|_| op.kind != OpKind::Delete);
        let reason = reason.map(str::to_owned);
        return Some(reason.map_or_else(|| of_fields(op, replica.lost_of(task)), |reason| Outcome::Failed { reason }));
    };
    if record.pending.iter().any(|sequence| *sequence <= op.sequence) {
        return as_pushed();
    }
    if op.kind == OpKind::Delete {
        let reason = "Planner refuses to delete the task; it is back".to_owned();
        let failed = matches!(outcome, Outcome::Failed { .. });
        return Some(if failed { outcome.clone() } else { Outcome::Failed { reason } });
    }
    Some(of_fields(op, Some(&record.lost)))
}

/// What became of the fields of an operation that is done, by the edits of its task that did not last.
fn of_fields(op: &OpRecord, lost: Option<&BTreeMap<Field, LostEdit>>) -> Outcome {
    let lost = op.fields.iter().filter_map(|field| Some((field, lost?.get(field)?)));
    let lost: Vec<_> = lost.filter(|(_, lost)| lost.revision >= op.sequence).collect();
    let refused = lost.iter().find_map(|(field, lost)| Some((field, lost.refused.as_ref()?)));
    match refused {
        Some((field, words)) => Outcome::Failed { reason: format!("{words} (field `{field}`)") },
        None => Outcome::Synced { overruled: lost.len() },
    }
}
