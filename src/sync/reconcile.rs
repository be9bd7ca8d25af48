//! Reconciling: makes the replica follow what people do in Planner.
//!
//! Planner tells nobody of a change, so a plan's tasks are listed and their ETags compared; only what is newer is
//! merged. A task missing from a listing proves nothing: it is gone only when a read by id, requested late enough,
//! says so. A pass over an unchanged plan writes nothing.

use std::collections::BTreeMap;

use chrono::{DateTime, TimeDelta, Utc};
use futures::future::join;

use super::Engine;
use super::absorb::{after_details, after_read};
use super::intent::could_be;
use super::model::{ConflictKind, PlanRecord, Remote, TaskRecord};
use super::plan;
use super::ports::{RemoteError, RemoteErrorKind, RemotePlan, RemoteTask};
use super::replica::{PlanHandle, Replica};
use super::step::Step;
use crate::ids::{PlannerTaskId, TaskId};
use crate::rows::StoreError;

/// Rows a transaction of a pass takes before it is closed; each task adds up to two, and its conflicts.
const COMMIT_ROWS: usize = 45;
/// The brake: a pass that would delete more than this share of a plan's tasks stops and asks.
const MAX_DELETED_SHARE: f64 = 0.2;
/// ... but so few deletions are never stopped.
const MIN_DELETED: usize = 5;
/// How long the plan's title, buckets and labels may be old when a pass runs.
const PLAN_AGE: TimeDelta = TimeDelta::seconds(60);

/// Why a pass did not happen or did not finish.
#[derive(Debug, Clone, thiserror::Error)]
pub enum RefreshError {
    /// Planner did not answer as hoped.
    #[error(transparent)]
    Remote(#[from] RemoteError),
    /// The plan does not exist on Planner.
    #[error("the plan does not exist")]
    PlanGone,
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// What a pass found.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Refreshed {
    /// Tasks on Planner.
    pub listed: usize,
    /// Tasks imported or changed here.
    pub changed: usize,
    /// Tasks removed here.
    pub removed: usize,
    /// Deletions the brake stopped.
    pub held_back: usize,
}

impl Engine {
    /// Brings the replica up to Planner's present state, unless a pass requested after `not_before` has done so.
    /// Callers that wait for the same pass share it; a cancelled caller leaves the work to the next.
    ///
    /// # Errors
    /// When Planner or the store cannot be read; the replica then shows what it showed before.
    pub async fn refresh(&self, handle: &PlanHandle, not_before: DateTime<Utc>) -> Result<Refreshed, RefreshError> {
        let mut last = handle.refreshed.lock().await;
        if last.is_some_and(|requested_at| requested_at >= not_before) {
            return Ok(Refreshed::default());
        }
        let requested_at = self.clock.now();
        let refreshed = self.pass(handle, requested_at).await?;
        handle.set_as_of(requested_at);
        *last = Some(requested_at);
        Ok(refreshed)
    }

    async fn pass(&self, handle: &PlanHandle, requested_at: DateTime<Utc>) -> Result<Refreshed, RefreshError> {
        handle.ensure_current().await?;
        let plan_is_young = handle.read().plan.is_some()
            && self.plan_seen(&handle.id).is_some_and(|seen| requested_at - seen < PLAN_AGE);
        let plan = async { if plan_is_young { Ok(None) } else { self.planner.plan(&handle.id).await.map(Some) } };
        let (listing, plan) = join(self.planner.tasks(&handle.id), plan).await;
        if let Some(plan) = plan? {
            let plan = plan.ok_or(RefreshError::PlanGone)?;
            self.store_plan(handle, plan).await?;
            self.note_plan_seen(&handle.id, requested_at);
        }
        let listing = listing.map_err(|error| match error.kind {
            RemoteErrorKind::Gone => RefreshError::PlanGone,
            _ => error.into(),
        })?;
        let listing = without_repeats(listing);
        let mut refreshed = Refreshed { listed: listing.len(), ..Refreshed::default() };
        let mut rest = listing.as_slice();
        while !rest.is_empty() {
            let (read, changed) = handle
                .transact(|replica: &Replica| Ok::<_, StoreError>(self.follow(handle, replica, rest, requested_at)))
                .await?;
            refreshed.changed += changed;
            rest = rest.get(read..).unwrap_or_default();
        }
        self.remove_missing(handle, &listing, requested_at, &mut refreshed).await?;
        Ok(refreshed)
    }

    /// What a stretch of a listing changes: the step, how many tasks of the listing it covers and how many it changes.
    fn follow(
        &self,
        handle: &PlanHandle,
        replica: &Replica,
        listing: &[RemoteTask],
        requested_at: DateTime<Utc>,
    ) -> (Step, (usize, usize)) {
        let unanswered: Vec<&TaskRecord> =
            replica.records().map(AsRef::as_ref).filter(|record| record.is_unanswered()).collect();
        let application = self.settings.application_id.as_deref();
        let mut step = Step::default();
        let (mut read, mut changed) = (0, 0);
        for task in listing {
            if step.rows() >= COMMIT_ROWS {
                break;
            }
            read += 1;
            let known = replica.id_of(&task.id).and_then(|id| replica.task(id));
            let part = match known {
                Some(record) => follow_known(record, task, requested_at),
                // Not imported while it may be the result of a create of ours that was not answered yet.
                None if replica.is_dead(&task.id)
                    || unanswered.iter().any(|record| could_be(record, task, application)) =>
                {
                    Step::default()
                }
                None => Step { put: vec![import(handle, task, requested_at)], ..Step::default() },
            };
            changed += usize::from(!part.is_empty());
            step.append(part);
        }
        (step, (read, changed))
    }

    async fn store_plan(&self, handle: &PlanHandle, found: RemotePlan) -> Result<(), StoreError> {
        let record = PlanRecord {
            id: found.id,
            key: handle.key.clone(),
            title: found.title,
            etag: found.etag,
            group: found.group,
            created_at: found.created_at,
            buckets: found.buckets,
            category_names: found.category_names,
            details_etag: found.details_etag,
        };
        handle
            .transact(|replica: &Replica| {
                let same = replica.plan.as_deref() == Some(&record);
                let plan = (!same).then(|| record.clone());
                Ok::<_, StoreError>((Step { plan, ..Step::default() }, ()))
            })
            .await
    }

    /// Removes tasks that a listing lacks and a read by id does not find.
    async fn remove_missing(
        &self,
        handle: &PlanHandle,
        listing: &[RemoteTask],
        requested_at: DateTime<Utc>,
        refreshed: &mut Refreshed,
    ) -> Result<(), RefreshError> {
        let listed: std::collections::HashSet<&PlannerTaskId> = listing.iter().map(|task| &task.id).collect();
        let (missing, known) = {
            let replica = handle.read();
            let mapped = || replica.records().filter(|record| record.remote.is_some());
            let missing: Vec<(TaskId, PlannerTaskId)> = mapped()
                .filter(|record| !plan::is_young(record, requested_at))
                .filter_map(|record| Some((record.id.clone(), record.planner_id()?.clone())))
                .filter(|(_, planner_id)| !listed.contains(planner_id))
                .collect();
            (missing, mapped().count())
        };
        if missing.is_empty() {
            return Ok(());
        }
        #[allow(clippy::cast_precision_loss)] // a plan has thousands of tasks, not 2^52
        let too_many = missing.len() > MIN_DELETED && missing.len() as f64 > known as f64 * MAX_DELETED_SHARE;
        if too_many {
            tracing::warn!(plan = %handle.id, missing = missing.len(), known, "deletions held back: too many at once");
            refreshed.held_back = missing.len();
            return Ok(());
        }
        let ids: Vec<PlannerTaskId> = missing.iter().map(|(_, planner_id)| planner_id.clone()).collect();
        let found = self.planner.read(&ids).await;
        let gone: Vec<&TaskId> = missing
            .iter()
            .zip(&found)
            .filter(|(_, answer)| matches!(answer, Ok(None)))
            .map(|((id, _), _)| id)
            .collect();
        for chunk in gone.chunks(20) {
            handle
                .transact(|replica: &Replica| {
                    let mut step = Step::default();
                    for record in chunk.iter().filter_map(|id| replica.task(id)) {
                        step.append(plan::gone(
                            record,
                            ConflictKind::GoneOnPlanner,
                            "the task was deleted in Planner",
                            requested_at,
                        ));
                    }
                    Ok::<_, StoreError>((step, ()))
                })
                .await?;
        }
        refreshed.removed = gone.len();
        Ok(())
    }

    /// Reads a task's details into the replica, unless that was done after `not_before`.
    ///
    /// # Errors
    /// When Planner or the store cannot be read.
    pub async fn refresh_details(
        &self,
        handle: &PlanHandle,
        id: &TaskId,
        not_before: DateTime<Utc>,
    ) -> Result<(), RefreshError> {
        let planner_id = {
            let replica = handle.read();
            let Some(record) = replica.task(id) else { return Ok(()) };
            let known = |remote: &Remote| remote.details_etag.is_some() && !remote.details_changed;
            let known = record.remote.as_ref().is_some_and(known);
            if known && replica.details_seen(id).is_some_and(|seen| seen >= not_before) {
                return Ok(());
            }
            match record.planner_id() {
                Some(planner_id) => planner_id.clone(),
                None => return Ok(()),
            }
        };
        let requested_at = self.clock.now();
        let answer = self.planner.read_details(&[planner_id]).await.pop();
        let Some(found) = answer.transpose()?.flatten() else { return Ok(()) };
        handle
            .transact(|replica: &Replica| {
                let step = match replica.task(id) {
                    Some(record) if !is_older(&found.etag, record) => {
                        let step = after_details(record, None, &found, requested_at);
                        let same = step.put.first() == Some(record.as_ref());
                        if same { Step::default() } else { step }
                    }
                    _ => Step::default(),
                };
                Ok::<_, StoreError>((step, ()))
            })
            .await?;
        handle.note_details_seen(id, requested_at);
        Ok(())
    }
}

/// A page that was read twice counts once, in its newer state.
fn without_repeats(listing: Vec<RemoteTask>) -> Vec<RemoteTask> {
    let mut newest: BTreeMap<PlannerTaskId, RemoteTask> = BTreeMap::new();
    for task in listing {
        match newest.get(&task.id) {
            Some(known) if known.etag >= task.etag => {}
            _ => {
                newest.insert(task.id.clone(), task);
            }
        }
    }
    newest.into_values().collect()
}

/// Of two ETags of one resource the ordinally greater is the newer (Planner overview).
fn is_older(etag: &str, record: &TaskRecord) -> bool {
    let known = record.remote.as_ref().and_then(|remote| remote.details_etag.as_deref());
    known.is_some_and(|known| etag < known)
}

fn follow_known(record: &TaskRecord, found: &RemoteTask, requested_at: DateTime<Utc>) -> Step {
    match &record.remote {
        Some(remote) if found.etag > remote.etag => after_read(record, found, requested_at),
        _ => Step::default(),
    }
}

fn import(handle: &PlanHandle, task: &RemoteTask, requested_at: DateTime<Utc>) -> TaskRecord {
    TaskRecord {
        id: TaskId::imported(&handle.key, &task.id),
        fields: task.fields.clone(),
        remote: Some(Remote {
            id: task.id.clone(),
            etag: task.etag.clone(),
            details_etag: None,
            details_changed: false,
            base: None,
        }),
        facts: task.facts.clone(),
        edited: BTreeMap::new(),
        pending: Vec::new(),
        deleted: false,
        changed_at: requested_at,
        revision: 0,
        attempts: Vec::new(),
    }
}
