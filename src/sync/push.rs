//! Pushing: brings up to twenty tasks of a plan to Planner together.
//!
//! Round by round, every task takes its [`next_action`]; equal actions travel as one batch. What is about to be sent
//! is written down first (so that a lost answer is recognised later), what came back is committed before the next
//! round. A crash at any point leaves a row from which the next push goes on.

use std::collections::BTreeMap;
use std::time::Duration;

use chrono::{DateTime, Utc};
use futures::future::join4;

use super::Engine;
use super::absorb::after_create;
use super::conflict::guessed;
use super::fold::{Answer, Applied, COMMIT_ROWS, Progress, UNKNOWN_PAUSE, Was, fold, pair, settle};
use super::intent::{Resolution, resolve};
use super::model::{Attempt, TaskFields, TaskRecord};
use super::plan::{self, Action, Looks, next_action, sent_by};
use super::ports::{DetailChanges, RemoteErrorKind, RemoteTask, TaskChanges};
use super::replica::{PlanHandle, Replica};
use super::step::Step;
use crate::ids::{PlannerTaskId, TaskId};
use crate::rows::StoreError;

/// Most tasks pushed together: what one batch holds.
pub const GROUP: usize = 20;
/// Most rounds for one group; enough for create, read details, write details and two merges.
const MAX_ROUNDS: usize = 8;

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
        /// What stood in the way.
        reason: String,
    },
    /// Planner refuses it for good; the replica went back to Planner's values.
    Failed {
        /// Planner's words.
        reason: String,
        /// Whether it was for lack of a permission.
        forbidden: bool,
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
        for _ in 0..MAX_ROUNDS {
            match self.round(handle, &mut group).await {
                Ok(()) if group.values().all(|progress| progress.outcome.is_some()) => break,
                Ok(()) => {}
                Err(error) => {
                    tracing::error!(plan = %handle.id, %error, "a push stopped at the store");
                    settle_open(&mut group, &format!("the store failed: {error}"));
                    break;
                }
            }
        }
        settle_open(&mut group, "the task keeps changing");
        group.into_iter().filter_map(|(id, progress)| Some((id, progress.outcome?))).collect()
    }

    async fn round(&self, handle: &PlanHandle, group: &mut BTreeMap<TaskId, Progress>) -> Result<(), StoreError> {
        handle.ensure_current().await?;
        let mut actions: Vec<(TaskRecord, Action)> = Vec::new();
        {
            let replica = handle.read();
            for (id, progress) in group.iter_mut().filter(|(_, progress)| progress.outcome.is_none()) {
                match replica.task(id) {
                    Some(record) => actions.push((record.as_ref().clone(), next_action(record, progress.looks))),
                    None => progress.outcome = Some(Outcome::Synced { overruled: progress.overruled }),
                }
            }
        }
        self.finish_arrived(handle, group, &mut actions).await?;
        if actions.is_empty() {
            return Ok(());
        }
        for (record, _) in actions.iter().filter(|(_, action)| *action == Action::Wait) {
            if let Some(progress) = group.get_mut(&record.id) {
                let reason = "waiting for Planner to show an unanswered change".to_owned();
                progress.outcome = Some(Outcome::Pending { retry_after: settle(), cause: Cause::Settling, reason });
            }
        }
        self.note_attempts(handle, &mut actions).await?;
        if actions.iter().any(|(_, action)| *action == Action::Resolve) {
            self.resolve_creates(handle, group, &actions).await?;
        }
        let requested_at = self.clock.now();
        let (created, updated, detailed, deleted) = join4(
            self.send_creates(handle, &actions),
            self.send_updates(&actions),
            self.send_details(&actions),
            self.send_deletes(&actions),
        )
        .await;
        let reads = self.send_reads(&actions).await;
        let answers: Vec<Answer> = [created, updated, detailed, deleted, reads].into_iter().flatten().collect();
        self.commit_answers(handle, group, &answers, requested_at).await
    }

    /// Tasks with nothing left to do are done.
    async fn finish_arrived(
        &self,
        handle: &PlanHandle,
        group: &mut BTreeMap<TaskId, Progress>,
        actions: &mut Vec<(TaskRecord, Action)>,
    ) -> Result<(), StoreError> {
        let (arrived, open): (Vec<_>, Vec<_>) =
            std::mem::take(actions).into_iter().partition(|(_, action)| *action == Action::Nothing);
        *actions = open;
        if arrived.is_empty() {
            return Ok(());
        }
        let done = handle
            .transact(|replica: &Replica| {
                let mut step = Step::default();
                let mut done = Vec::new();
                for (seen, _) in &arrived {
                    let Some(record) = replica.task(&seen.id) else { continue };
                    if record.revision == seen.revision && next_action(record, Looks::ALL) == Action::Nothing {
                        step.append(plan::finish(record, seen.revision));
                        done.push(seen.id.clone());
                    }
                }
                Ok::<_, StoreError>((step, done))
            })
            .await?;
        for id in done {
            if let Some(progress) = group.get_mut(&id) {
                progress.outcome = Some(Outcome::Synced { overruled: progress.overruled });
            }
        }
        Ok(())
    }

    /// Writes down what is about to be sent, before it is sent. What has changed meanwhile is not sent: the next round
    /// decides again.
    async fn note_attempts(
        &self,
        handle: &PlanHandle,
        actions: &mut Vec<(TaskRecord, Action)>,
    ) -> Result<(), StoreError> {
        let at = self.clock.now();
        let sends = |action: &Action| matches!(action, Action::Create | Action::Update(_) | Action::UpdateDetails(_));
        if !actions.iter().any(|(_, action)| sends(action)) {
            return Ok(());
        }
        let overtaken = handle
            .transact(|replica: &Replica| {
                let mut step = Step::default();
                let mut overtaken = Vec::new();
                for (seen, action) in actions.iter().filter(|(_, action)| sends(action)) {
                    match replica.task(&seen.id) {
                        Some(record) if record.as_ref() == seen => {
                            let mut next = seen.clone();
                            next.attempts.push(Attempt { at, sent: sent_by(seen, action) });
                            step.put.push(next);
                        }
                        _ => overtaken.push(seen.id.clone()),
                    }
                }
                Ok::<_, StoreError>((step, overtaken))
            })
            .await?;
        actions.retain(|(seen, _)| !overtaken.contains(&seen.id));
        Ok(())
    }

    async fn send_creates(&self, handle: &PlanHandle, actions: &[(TaskRecord, Action)]) -> Vec<Answer> {
        let wanted: Vec<_> = actions.iter().filter(|(_, action)| *action == Action::Create).collect();
        if wanted.is_empty() {
            return Vec::new();
        }
        let fields: Vec<TaskFields> = wanted.iter().map(|(record, _)| record.fields.clone()).collect();
        let answers = self.planner.create(&handle.id, &fields).await;
        pair(Was::Create, &wanted, answers, |task| Applied::Task(Box::new(task)))
    }

    async fn send_updates(&self, actions: &[(TaskRecord, Action)]) -> Vec<Answer> {
        let mut wanted = Vec::new();
        let mut changes: Vec<(PlannerTaskId, String, TaskChanges)> = Vec::new();
        for asked in actions {
            if let (Action::Update(change), Some(remote)) = (&asked.1, &asked.0.remote) {
                wanted.push(asked);
                changes.push((remote.id.clone(), remote.etag.clone(), change.clone()));
            }
        }
        if wanted.is_empty() {
            return Vec::new();
        }
        let answers = self.planner.update(&changes).await;
        pair(Was::Update, &wanted, answers, |task| Applied::Task(Box::new(task)))
    }

    async fn send_details(&self, actions: &[(TaskRecord, Action)]) -> Vec<Answer> {
        let mut wanted = Vec::new();
        let mut changes: Vec<(PlannerTaskId, String, DetailChanges)> = Vec::new();
        for asked in actions {
            if let (Action::UpdateDetails(change), Some(remote)) = (&asked.1, &asked.0.remote) {
                wanted.push(asked);
                changes.push((remote.id.clone(), remote.details_etag.clone().unwrap_or_default(), change.clone()));
            }
        }
        if wanted.is_empty() {
            return Vec::new();
        }
        let answers = self.planner.update_details(&changes).await;
        pair(Was::UpdateDetails, &wanted, answers, Applied::Details)
    }

    async fn send_deletes(&self, actions: &[(TaskRecord, Action)]) -> Vec<Answer> {
        let mut wanted = Vec::new();
        let mut tasks = Vec::new();
        for asked in actions {
            if let (Action::Delete, Some(remote)) = (&asked.1, &asked.0.remote) {
                wanted.push(asked);
                tasks.push((remote.id.clone(), remote.etag.clone()));
            }
        }
        if wanted.is_empty() {
            return Vec::new();
        }
        let answers = self.planner.delete(&tasks).await;
        pair(Was::Delete, &wanted, answers, |()| Applied::Deleted)
    }

    async fn send_reads(&self, actions: &[(TaskRecord, Action)]) -> Vec<Answer> {
        let select = |wanted: &Action| -> (Vec<&(TaskRecord, Action)>, Vec<PlannerTaskId>) {
            actions
                .iter()
                .filter(|(_, action)| action == wanted)
                .filter_map(|asked| Some((asked, asked.0.planner_id()?.clone())))
                .unzip()
        };
        let (tasks, task_ids) = select(&Action::Read);
        let (details, details_ids) = select(&Action::ReadDetails);
        let mut answers = Vec::new();
        if !tasks.is_empty() {
            let found = self.planner.read(&task_ids).await;
            let apply = |task: Option<RemoteTask>| task.map_or(Applied::Gone, |task| Applied::Task(Box::new(task)));
            answers.extend(pair(Was::Read, &tasks, found, apply));
        }
        if !details.is_empty() {
            let found = self.planner.read_details(&details_ids).await;
            answers
                .extend(pair(Was::ReadDetails, &details, found, |found| found.map_or(Applied::Gone, Applied::Details)));
        }
        answers
    }

    /// Commits what the answers mean, as many in one transaction as fit, and notes what they mean for the push.
    async fn commit_answers(
        &self,
        handle: &PlanHandle,
        group: &mut BTreeMap<TaskId, Progress>,
        answers: &[Answer],
        requested_at: DateTime<Utc>,
    ) -> Result<(), StoreError> {
        for answer in answers {
            if let (Err(error), Some(progress)) = (&answer.result, group.get_mut(&answer.task))
                && let RemoteErrorKind::NotNow(pause) = error.kind
            {
                progress.hold = progress.hold.max(pause);
            }
        }
        let mut rest = answers;
        while !rest.is_empty() {
            let now = self.clock.now();
            let looks = |answer: &Answer| group.get(&answer.task).map_or(Looks::NONE, |progress| progress.looks);
            let notes = handle
                .transact(|replica: &Replica| {
                    let mut step = Step::default();
                    let mut notes = Vec::new();
                    for answer in rest {
                        let (part, note) = fold(replica, answer, looks(answer), requested_at, now);
                        step.append(part);
                        notes.push(note);
                        if step.rows() > COMMIT_ROWS {
                            break;
                        }
                    }
                    Ok::<_, StoreError>((step, notes))
                })
                .await?;
            for (answer, note) in rest.iter().zip(&notes) {
                if let Ok(Applied::Details(_)) = &answer.result {
                    handle.note_details_seen(&answer.task, requested_at);
                }
                if let Some(progress) = group.get_mut(&answer.task) {
                    progress.note(note);
                }
            }
            rest = rest.get(notes.len()..).unwrap_or_default();
        }
        Ok(())
    }

    /// Looks for the tasks whose create was sent without an answer.
    async fn resolve_creates(
        &self,
        handle: &PlanHandle,
        group: &mut BTreeMap<TaskId, Progress>,
        actions: &[(TaskRecord, Action)],
    ) -> Result<(), StoreError> {
        let requested_at = self.clock.now();
        let listing = match self.planner.tasks(&handle.id).await {
            Ok(listing) => listing,
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
        let application = self.settings.application_id.as_deref();
        for (seen, _) in actions.iter().filter(|(_, action)| *action == Action::Resolve) {
            let outcome = handle
                .transact(|replica: &Replica| {
                    let Some(record) = replica.task(&seen.id) else { return Ok((Step::default(), None)) };
                    let others: Vec<&TaskRecord> = replica
                        .records()
                        .map(AsRef::as_ref)
                        .filter(|other| other.id != seen.id && other.is_unanswered())
                        .collect();
                    let known = |task: &RemoteTask| replica.id_of(&task.id).is_some() || replica.is_dead(&task.id);
                    Ok::<_, StoreError>(match resolve(record, &others, &listing, known, application, requested_at) {
                        Resolution::Adopt(task) => (after_create(record, task, requested_at), None),
                        Resolution::Guess(task) => {
                            let mut step = after_create(record, task, requested_at);
                            step.conflicts.push(guessed(record, &task.fields, requested_at));
                            (step, None)
                        }
                        Resolution::Absent => {
                            let mut next = record.as_ref().clone();
                            next.attempts.clear();
                            (Step { put: vec![next], ..Step::default() }, None)
                        }
                        Resolution::TooEarly => {
                            (Step::default(), Some("waiting for Planner to show an unanswered create"))
                        }
                    })
                })
                .await?;
            if let (Some(reason), Some(progress)) = (outcome, group.get_mut(&seen.id)) {
                progress.outcome =
                    Some(Outcome::Pending { retry_after: settle(), cause: Cause::Settling, reason: reason.into() });
            }
        }
        Ok(())
    }
}

fn settle_open(group: &mut BTreeMap<TaskId, Progress>, reason: &str) {
    for progress in group.values_mut().filter(|progress| progress.outcome.is_none()) {
        progress.outcome =
            Some(Outcome::Pending { retry_after: progress.hold, cause: Cause::Failure, reason: reason.to_owned() });
    }
}
