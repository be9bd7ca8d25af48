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
use super::fold::{Answer, Applied, COMMIT_ROWS, Progress, UNKNOWN_PAUSE, Was, fold, pair, settle};
use super::model::{Attempt, TaskFields, TaskRecord};
use super::plan::{self, Action, Resolution, Stale, next_action};
use super::ports::{DetailChanges, RemoteTask, TaskChanges};
use super::replica::{PlanHandle, Replica, Step};
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

impl Engine {
    /// Pushes tasks of a plan, at most [`GROUP`]; answers an outcome for each that was dirty.
    pub(super) async fn push_group(&self, handle: &PlanHandle, ids: &[TaskId]) -> Vec<(TaskId, Outcome)> {
        let mut group: BTreeMap<TaskId, Progress> =
            ids.iter().map(|id| (id.clone(), Progress { stale: Stale::No, overruled: 0, outcome: None })).collect();
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
                    Some(record) => actions.push((record.as_ref().clone(), next_action(record, progress.stale))),
                    None => progress.outcome = Some(Outcome::Synced { overruled: progress.overruled }),
                }
            }
        }
        self.finish_arrived(handle, group, &mut actions).await?;
        if actions.is_empty() {
            return Ok(());
        }
        self.note_attempts(handle, &actions).await?;
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
                    if record.revision == seen.revision && next_action(record, Stale::Checked) == Action::Nothing {
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

    /// Writes down what is about to be sent, before it is sent.
    async fn note_attempts(&self, handle: &PlanHandle, actions: &[(TaskRecord, Action)]) -> Result<(), StoreError> {
        let at = self.clock.now();
        let sends = |action: &Action| matches!(action, Action::Create | Action::Update(_) | Action::UpdateDetails(_));
        handle
            .transact(|replica: &Replica| {
                let mut step = Step::default();
                for (seen, _) in actions.iter().filter(|(_, action)| sends(action)) {
                    if let Some(record) = replica.task(&seen.id) {
                        let mut next = record.as_ref().clone();
                        next.attempts.push(Attempt { at, fields: seen.fields.clone() });
                        step.put.push(next);
                    }
                }
                Ok::<_, StoreError>((step, ()))
            })
            .await
    }

    async fn send_creates(&self, handle: &PlanHandle, actions: &[(TaskRecord, Action)]) -> Vec<Answer> {
        let wanted: Vec<&TaskRecord> =
            actions.iter().filter(|(_, action)| *action == Action::Create).map(|(record, _)| record).collect();
        if wanted.is_empty() {
            return Vec::new();
        }
        let fields: Vec<TaskFields> = wanted.iter().map(|record| record.fields.clone()).collect();
        let answers = self.planner.create(&handle.id, &fields).await;
        pair(Was::Create, &wanted, answers, |_, task| Applied::Created(Box::new(task)))
    }

    async fn send_updates(&self, actions: &[(TaskRecord, Action)]) -> Vec<Answer> {
        let mut wanted = Vec::new();
        let mut changes: Vec<(PlannerTaskId, String, TaskChanges)> = Vec::new();
        for (record, action) in actions {
            if let (Action::Update(change), Some(remote)) = (action, &record.remote) {
                wanted.push(record);
                changes.push((remote.id.clone(), remote.etag.clone(), change.clone()));
            }
        }
        if wanted.is_empty() {
            return Vec::new();
        }
        let answers = self.planner.update(&changes).await;
        pair(Was::Task, &wanted, answers, |record, task| Applied::Updated {
            sent: record.fields.clone(),
            task: Box::new(task),
        })
    }

    async fn send_details(&self, actions: &[(TaskRecord, Action)]) -> Vec<Answer> {
        let mut wanted = Vec::new();
        let mut changes: Vec<(PlannerTaskId, String, DetailChanges)> = Vec::new();
        for (record, action) in actions {
            if let (Action::UpdateDetails(change), Some(remote)) = (action, &record.remote) {
                wanted.push(record);
                changes.push((remote.id.clone(), remote.details_etag.clone().unwrap_or_default(), change.clone()));
            }
        }
        if wanted.is_empty() {
            return Vec::new();
        }
        let answers = self.planner.update_details(&changes).await;
        pair(Was::Details, &wanted, answers, |record, details| Applied::Details {
            sent: Some(record.fields.clone()),
            details,
        })
    }

    async fn send_deletes(&self, actions: &[(TaskRecord, Action)]) -> Vec<Answer> {
        let mut wanted = Vec::new();
        let mut tasks = Vec::new();
        for (record, action) in actions {
            if let (Action::Delete, Some(remote)) = (action, &record.remote) {
                wanted.push(record);
                tasks.push((remote.id.clone(), remote.etag.clone()));
            }
        }
        if wanted.is_empty() {
            return Vec::new();
        }
        let answers = self.planner.delete(&tasks).await;
        pair(Was::Task, &wanted, answers, |_, ()| Applied::Deleted)
    }

    async fn send_reads(&self, actions: &[(TaskRecord, Action)]) -> Vec<Answer> {
        let select = |wanted: &Action| -> (Vec<&TaskRecord>, Vec<PlannerTaskId>) {
            actions
                .iter()
                .filter(|(_, action)| action == wanted)
                .filter_map(|(record, _)| Some((record, record.planner_id()?.clone())))
                .unzip()
        };
        let (tasks, task_ids) = select(&Action::Read);
        let (details, details_ids) = select(&Action::ReadDetails);
        let mut answers = Vec::new();
        if !tasks.is_empty() {
            let found = self.planner.read(&task_ids).await;
            answers.extend(pair(Was::Task, &tasks, found, |_, task| {
                task.map_or(Applied::Gone, |task| Applied::Read(Box::new(task)))
            }));
        }
        if !details.is_empty() {
            let found = self.planner.read_details(&details_ids).await;
            answers.extend(pair(Was::Details, &details, found, |_, details| match details {
                Some(details) => Applied::Details { sent: None, details },
                None => Applied::Gone,
            }));
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
        let mut rest = answers;
        while !rest.is_empty() {
            let now = self.clock.now();
            let notes = handle
                .transact(|replica: &Replica| {
                    let mut step = Step::default();
                    let mut notes = Vec::new();
                    for answer in rest {
                        let (part, note) =
                            fold(replica.task(&answer.task).map(AsRef::as_ref), answer, requested_at, now);
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
                if let Ok(Applied::Details { .. }) = &answer.result {
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
                        progress.outcome = Some(Outcome::Pending { retry_after: UNKNOWN_PAUSE, reason });
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
                    let known = |task: &RemoteTask| replica.id_of(&task.id).is_some();
                    Ok::<_, StoreError>(match plan::resolve(record, &listing, known, application, requested_at) {
                        Resolution::Adopt(task) => (plan::after_create(record, task, requested_at), None),
                        Resolution::Absent => {
                            let mut next = record.as_ref().clone();
                            next.attempts.clear();
                            (Step { put: vec![next], ..Step::default() }, None)
                        }
                        Resolution::TooEarly => {
                            (Step::default(), Some("waiting for Planner to show an unanswered create"))
                        }
                        Resolution::Ambiguous => {
                            (Step::default(), Some("several tasks could be the one that was created"))
                        }
                    })
                })
                .await?;
            if let (Some(reason), Some(progress)) = (outcome, group.get_mut(&seen.id)) {
                progress.outcome = Some(Outcome::Pending { retry_after: settle(), reason: reason.into() });
            }
        }
        Ok(())
    }
}

fn settle_open(group: &mut BTreeMap<TaskId, Progress>, reason: &str) {
    for progress in group.values_mut().filter(|progress| progress.outcome.is_none()) {
        progress.outcome = Some(Outcome::Pending { retry_after: UNKNOWN_PAUSE, reason: reason.to_owned() });
    }
}
