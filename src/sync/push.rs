//! Pushing: brings up to twenty tasks of a plan to Planner together.
//!
//! Round by round, every task takes its [`next_action`]; equal actions travel as one batch. What is about to be sent
//! is written down first (so that a lost answer is recognised later), what came back is committed before the next
//! round. A crash at any point leaves a row from which the next push continues. Long because one round reads from top to
//! bottom.

use std::collections::BTreeMap;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use futures::future::join4;

use super::absorb::after_create;
use super::conflict::guessed;
use super::fold::{Answer, Applied, COMMIT_ROWS, Known, Progress, Times, UNKNOWN_PAUSE, fold, settle};
use super::handle::{PlanHandle, Work};
use super::intent::{Resolution, resolve, sent_for};
use super::lease::{Then, WorkError};
use super::model::{Attempt, FrozenBecause, LostCreate, TaskRecord};
use super::mutant::{Mutant, is_on};
use super::plan::{self, Action, Checks, Doubt, next_action, sent_by};
use super::ports::{RemoteErrorKind, RemoteTask, without_repeats};
use super::replica::Replica;
use super::step::Step;
use super::{Engine, Pushes};
use crate::crash;
use crate::ids::TaskId;

/// Most tasks pushed together: what one batch holds.
pub const GROUP: usize = 20;
/// Most rounds for one group; enough for create, read details, write details and two merges.
const MAX_ROUNDS: usize = 8;
/// ... and where changes are sent one by one.
const MAX_ROUNDS_APART: usize = 40;

/// How long a create waits at least for what another unanswered one of the plan comes to.
const OTHERS_PAUSE: Duration = Duration::from_secs(3);

/// Why tasks of a read-only deployment wait.
pub const READ_ONLY: &str = "the deployment is read-only (`READ_ONLY`): what is journalled is sent once it may write";

/// How a push of one task ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// Planner has it. `overruled` counts the fields where Planner's value won over the agent's.
    Synced {
        /// Fields of the agent that lost.
        overruled: usize,
    },
    /// Not yet; it will be tried again after `retry_after`.
    Pending {
        /// When at the earliest.
        retry_after: Duration,
        /// Whether it failed, or only has to wait.
        cause: Cause,
        /// Why it failed.
        reason: String,
    },
    /// Planner refuses it for good, for what it contains, or the task is gone: the conflict log has the values. Fields
    /// that Planner takes have arrived all the same.
    Failed {
        /// Planner's words.
        reason: String,
    },
}

/// Why a push has not ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cause {
    /// A call or the store failed: each failure in a row doubles the pause.
    Failure,
    /// Planner needs time to show what happened.
    Settling,
}

impl Engine {
    /// Pushes tasks of a plan, at most [`GROUP`]; answers an outcome for each that was dirty.
    pub(super) async fn push_group(&self, handle: &PlanHandle, ids: &[TaskId]) -> Vec<(TaskId, Outcome)> {
        let mut group: BTreeMap<TaskId, Progress> = ids.iter().map(|id| (id.clone(), Progress::new())).collect();
        let work = handle.work();
        crash::point("push.begun");
        for round in 0..MAX_ROUNDS_APART {
            if round >= MAX_ROUNDS && !group.values().any(|progress| progress.checks.apart) {
                break;
            }
            match self.round(handle, &work, &mut group).await {
                Ok(()) if group.values().all(|progress| progress.outcome.is_some()) => break,
                Ok(()) => {}
                Err(WorkError::Held) => {
                    settle_open(&mut group, Cause::Settling, "another instance is working on the plan");
                    break;
                }
                Err(WorkError::Store(error)) => {
                    tracing::error!(plan = %handle.id, %error, "a push stopped at the store");
                    settle_open(&mut group, Cause::Failure, &format!("the store failed: {error}"));
                    break;
                }
            }
        }
        crash::point("push.ended");
        // Nothing waits any more for what might not be written.
        let is_idle = || handle.read().records().all(|record| !record.is_dirty());
        let thaws = handle.read().state.is_read_only() && is_idle();
        if thaws && let Err(error) = self.thaw(handle, &work).await {
            tracing::warn!(plan = %handle.id, %error, "the plan counts as read-only until the next refresh");
        }
        settle_open(&mut group, Cause::Failure, "the task keeps changing");
        group.into_iter().filter_map(|(id, progress)| Some((id, progress.outcome?))).collect()
    }

    async fn round(
        &self,
        handle: &PlanHandle,
        work: &Work<'_>,
        group: &mut BTreeMap<TaskId, Progress>,
    ) -> Result<(), WorkError> {
        handle.ensure_current().await?;
        if self.pushes() == Pushes::Held {
            for progress in group.values_mut() {
                progress.waits_for_thaw(READ_ONLY);
            }
            return Ok(());
        }
        if self.is_frozen(handle, group) {
            return Ok(());
        }
        let mut actions: Vec<(TaskRecord, Action)> = Vec::new();
        {
            let replica = handle.read();
            for (id, progress) in group.iter_mut().filter(|(_, progress)| progress.outcome.is_none()) {
                match replica.task(id) {
                    Some(record) => actions.push((record.as_ref().clone(), next_action(record, progress.checks))),
                    None => progress.outcome = Some(progress.arrived()),
                }
            }
        }
        crash::point("push.decided");
        self.finish_arrived(handle, work, group, &mut actions).await?;
        if actions.is_empty() {
            return Ok(());
        }
        for (record, _) in actions.iter().filter(|(_, action)| *action == Action::Wait) {
            if let Some(progress) = group.get_mut(&record.id) {
                let reason = "waiting for Planner to show an unanswered change".to_owned();
                progress.outcome = Some(Outcome::Pending { retry_after: settle(), cause: Cause::Settling, reason });
            }
        }
        self.note_attempts(handle, work, &mut actions).await?;
        crash::point("push.noted");
        if actions.iter().any(|(_, action)| *action == Action::Resolve) {
            self.resolve_creates(handle, work, group, &actions).await?;
        }
        let requested_at = self.clock.now();
        let (created, updated, detailed, deleted) = join4(
            self.send_creates(handle, &actions),
            self.send_updates(&actions),
            self.send_details(&actions),
            self.send_deletes(&actions),
        )
        .await;
        handle.note_calls_ended(actions.iter().filter(|(_, action)| notes(action)).map(|(record, _)| &record.id));
        let reads = self.send_reads(&actions).await;
        let answers: Vec<Answer> = [created, updated, detailed, deleted, reads].into_iter().flatten().collect();
        crash::point("push.answered");
        self.commit_answers(handle, work, group, &answers, requested_at).await
    }

    /// Tasks with nothing left to do are done.
    async fn finish_arrived(
        &self,
        handle: &PlanHandle,
        work: &Work<'_>,
        group: &mut BTreeMap<TaskId, Progress>,
        actions: &mut Vec<(TaskRecord, Action)>,
    ) -> Result<(), WorkError> {
        let (arrived, open): (Vec<_>, Vec<_>) =
            std::mem::take(actions).into_iter().partition(|(_, action)| *action == Action::Nothing);
        *actions = open;
        if arrived.is_empty() {
            return Ok(());
        }
        let done = handle
            .follow_up(work, Then::Rests, |replica: &Replica| {
                let mut step = Step::default();
                let mut done = Vec::new();
                for (seen, _) in &arrived {
                    let Some(record) = replica.task(&seen.id) else { continue };
                    if record.revision == seen.revision && next_action(record, Checks::ALL) == Action::Nothing {
                        step.append(plan::finish(record, seen.revision));
                        done.push(seen.id.clone());
                    }
                }
                (step, done)
            })
            .await?;
        crash::point("push.arrived");
        for id in done {
            if let Some(progress) = group.get_mut(&id) {
                progress.outcome = Some(progress.arrived());
            }
        }
        Ok(())
    }

    /// Writes down what is about to be sent, before it is sent, and with it takes or checks the lease. What has changed
    /// meanwhile is not sent: the next round decides again. A delete needs no note but the row that asks for it.
    async fn note_attempts(
        &self,
        handle: &PlanHandle,
        work: &Work<'_>,
        actions: &mut Vec<(TaskRecord, Action)>,
    ) -> Result<(), WorkError> {
        let now = self.clock.now();
        let sends = |action: &Action| notes(action) || *action == Action::Delete;
        if !actions.iter().any(|(_, action)| sends(action)) {
            return Ok(());
        }
        let overtaken = handle
            .follow_up(work, Then::Calls, |replica: &Replica| {
                let mut step = Step::default();
                let mut overtaken = Vec::new();
                for (seen, action) in actions.iter().filter(|(_, action)| sends(action)) {
                    match replica.task(&seen.id) {
                        Some(record) if record.as_ref() == seen => {
                            if notes(action) {
                                let mut next = seen.clone();
                                if is_on(Mutant::OnlyLastAttempt) {
                                    next.attempts.clear();
                                }
                                let ahead = if *action == Action::Create { self.ahead() } else { TimeDelta::zero() };
                                next.attempts.push(Attempt { at: now + ahead, sent: sent_by(seen, action) });
                                if is_on(Mutant::BaseBeforePatch)
                                    && let Some(remote) = &mut next.remote
                                {
                                    remote.base = Some(Box::new(next.fields.clone()));
                                }
                                step.put.push(next);
                            }
                        }
                        _ => overtaken.push(seen.id.clone()),
                    }
                }
                (step, overtaken)
            })
            .await?;
        actions.retain(|(seen, _)| !overtaken.contains(&seen.id));
        Ok(())
    }

    /// Commits what the answers mean, as many in one transaction as fit, and notes what they mean for the push.
    async fn commit_answers(
        &self,
        handle: &PlanHandle,
        work: &Work<'_>,
        group: &mut BTreeMap<TaskId, Progress>,
        answers: &[Answer],
        requested_at: DateTime<Utc>,
    ) -> Result<(), WorkError> {
        for answer in answers {
            if let (Err(error), Some(progress)) = (&answer.result, group.get_mut(&answer.task))
                && let RemoteErrorKind::NotNow(pause) = error.kind
            {
                progress.hold = progress.hold.max(pause);
            }
        }
        let wrote = answers.iter().any(Answer::is_write_done);
        let thaws = wrote && handle.read().state.is_read_only();
        if wrote {
            handle.note_written(self.clock.now());
        }
        let (mut asks, mut denied) = (Vec::new(), Vec::new());
        let mut rest = answers;
        while !rest.is_empty() {
            let times = Times { requested_at, now: self.clock.now(), ahead: self.ahead() };
            let known = |answer: &Answer| {
                let unknown = Known { checks: Checks::NONE, alive: false };
                group
                    .get(&answer.task)
                    .map_or(unknown, |progress| Known { checks: progress.checks, alive: progress.alive })
            };
            let notes = handle
                .follow_up(work, Then::Rests, |replica: &Replica| {
                    let mut step = Step::default();
                    let mut notes = Vec::new();
                    for answer in rest {
                        let (part, note) = fold(replica, answer, known(answer), times);
                        step.append(part);
                        notes.push(note);
                        if step.rows() > COMMIT_ROWS {
                            break;
                        }
                    }
                    (step, notes)
                })
                .await?;
            for (answer, note) in rest.iter().zip(&notes) {
                if let Ok(Applied::Details(_)) = &answer.result {
                    handle.note_details_seen(&answer.task, requested_at);
                }
                if let Some(progress) = group.get_mut(&answer.task) {
                    progress.note(note);
                }
                if note.asks {
                    asks.push(answer.task.clone());
                }
                denied.extend(note.denied.clone().map(|words| (answer.task.clone(), words)));
            }
            rest = rest.get(notes.len()..).unwrap_or_default();
        }
        if thaws {
            self.thaw(handle, work).await?;
        }
        if let Some((_, words)) = denied.first().filter(|_| !handle.has_written(requested_at)) {
            self.freeze(handle, work, FrozenBecause::WritesDenied, words, requested_at).await?;
            for (id, words) in &denied {
                group.entry(id.clone()).and_modify(|progress| progress.waits_for_thaw(words));
            }
        }
        self.find_plan(handle, work, group, &asks).await
    }

    /// Finds the tasks whose create was sent without an answer.
    async fn resolve_creates(
        &self,
        handle: &PlanHandle,
        work: &Work<'_>,
        group: &mut BTreeMap<TaskId, Progress>,
        actions: &[(TaskRecord, Action)],
    ) -> Result<(), WorkError> {
        let requested_at = self.clock.now();
        let listing = match self.planner.tasks(&handle.id).await {
            Ok(listing) => without_repeats(listing),
            Err(error) => {
                for (record, _) in actions.iter().filter(|(_, action)| *action == Action::Resolve) {
                    if let Some(progress) = group.get_mut(&record.id) {
                        let reason = error.message.clone();
                        progress.outcome =
                            Some(Outcome::Pending { retry_after: UNKNOWN_PAUSE, cause: Cause::Failure, reason });
                    }
                }
                return Ok(());
            }
        };
        crash::point("resolve.listed");
        let application = self.settings.application_id.as_deref();
        for (seen, _) in actions.iter().filter(|(_, action)| *action == Action::Resolve) {
            let outcome = handle
                .follow_up(work, Then::Rests, |replica: &Replica| {
                    let Some(record) = replica.task(&seen.id) else { return (Step::default(), None) };
                    let others: Vec<&TaskRecord> = replica
                        .records()
                        .map(AsRef::as_ref)
                        .filter(|other| other.id != seen.id && other.is_unanswered())
                        .collect();
                    let known =
                        |task: &RemoteTask| replica.id_of(&task.id).is_some() || replica.tombstone(&task.id).is_some();
                    let lost: Vec<&LostCreate> = replica.lost().collect();
                    let settled = |create: &TaskRecord| replica.doubt(&create.id, requested_at) == Doubt::Settled;
                    match resolve(record, &others, &listing, known, &lost, application, settled) {
                        Resolution::Adopt(task) => {
                            (after_create(record, &sent_for(record, task), task, requested_at), None)
                        }
                        Resolution::Guess(task) => {
                            let mut step = after_create(record, &sent_for(record, task), task, requested_at);
                            step.conflicts.push(guessed(record, &task.fields, requested_at));
                            (step, None)
                        }
                        Resolution::Absent => {
                            let mut next = record.as_ref().clone();
                            let task = record.id.clone();
                            let given_up = std::mem::take(&mut next.attempts).into_iter();
                            let lost = given_up.map(|attempt| LostCreate { task: task.clone(), attempt }).collect();
                            (Step { put: vec![next], lost, ..Step::default() }, None)
                        }
                        // What another create waits for may be known in a moment.
                        Resolution::TooEarly => {
                            (Step::default(), Some(replica.doubt_left(&record.id, requested_at).max(OTHERS_PAUSE)))
                        }
                    }
                })
                .await?;
            crash::point("resolve.done");
            if let (Some(retry_after), Some(progress)) = (outcome, group.get_mut(&seen.id)) {
                let reason = "waiting for Planner to show an unanswered create".to_owned();
                progress.outcome = Some(Outcome::Pending { retry_after, cause: Cause::Settling, reason });
            }
        }
        Ok(())
    }
}

/// Whether an action puts values on Planner, which have to be noted first.
fn notes(action: &Action) -> bool {
    matches!(action, Action::Create | Action::Update(_) | Action::UpdateDetails(_))
}

fn settle_open(group: &mut BTreeMap<TaskId, Progress>, cause: Cause, reason: &str) {
    for progress in group.values_mut().filter(|progress| progress.outcome.is_none()) {
        progress.outcome = Some(Outcome::Pending { retry_after: progress.hold, cause, reason: reason.to_owned() });
    }
}
