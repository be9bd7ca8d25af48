//! Reconciling: makes the replica follow what people do in Planner.
//!
//! Planner announces no change, so a plan's tasks are listed and their ETags compared; only what is newer is
//! merged. A task missing from a listing proves nothing: it is gone only when a read by id, requested late enough,
//! says so. A pass over an unchanged plan writes nothing. Long because one pass reads from top to bottom.

use chrono::{DateTime, TimeDelta, Utc};
use futures::future::join;

use super::Engine;
use super::absorb::after_listed;
use super::details::folded;
use super::handle::{PlanHandle, Work};
use super::import::{import, remove_copy, revive};
use super::intent::{copy_of, could_be};
use super::lease::{Then, WorkError};
use super::mass_change::survey;
use super::model::{ConflictKind, Frozen, FrozenBecause, MassChangeGuard, PlanRecord, PlanState, Remote, TaskRecord};
use super::mutant::{Mutant, is_on};
use super::plan;
use super::ports::{RemoteError, RemoteErrorKind, RemotePlan, RemoteResult, RemoteTask, without_repeats};
use super::replica::Replica;
use super::step::Step;
use crate::crash;
use crate::ids::{BucketId, PlannerTaskId, TaskId};
use crate::rows::StoreError;

/// Rows a transaction of a pass takes before it is closed; each task adds up to two, and its conflicts.
const COMMIT_ROWS: usize = 45;
/// How long the plan's title, buckets and labels may be old when a pass runs, unless a task is in an unknown bucket.
const PLAN_AGE: TimeDelta = TimeDelta::minutes(10);

/// Why a pass did not happen or did not finish.
#[derive(Debug, Clone, thiserror::Error)]
pub enum RefreshError {
    /// Planner did not answer as hoped.
    #[error(transparent)]
    Remote(#[from] RemoteError),
    /// The plan does not exist on Planner.
    #[error("the plan does not exist")]
    PlanGone,
    /// Another instance has calls under way on the plan.
    #[error("another instance is working on the plan")]
    Held,
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl From<WorkError> for RefreshError {
    fn from(error: WorkError) -> Self {
        match error {
            WorkError::Held => Self::Held,
            WorkError::Store(error) => Self::Store(error),
        }
    }
}

/// Whether a pass stops when it finds too much gone or changed at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Guarding {
    On,
    /// A person has checked, and confirms it.
    Off,
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
    /// Deletions and changes the guard stopped.
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
        // A pass that was requested at an instant to come was requested before the machine's time was set back.
        if last.is_some_and(|requested_at| requested_at >= not_before && requested_at <= self.clock.now()) {
            return Ok(Refreshed::default());
        }
        let refreshed = self.pass_or_freeze(handle, Guarding::On).await?;
        *last = handle.as_of();
        Ok(refreshed)
    }

    /// As [`Self::refresh`], now, and without the guard: for somebody who has seen what it held back.
    ///
    /// # Errors
    /// As [`Self::refresh`].
    pub async fn confirm(&self, handle: &PlanHandle) -> Result<Refreshed, RefreshError> {
        let mut last = handle.refreshed.lock().await;
        let refreshed = self.pass_or_freeze(handle, Guarding::Off).await?;
        *last = handle.as_of();
        Ok(refreshed)
    }

    /// A pass; a plan that cannot be read is frozen by it, and one that can be is not.
    async fn pass_or_freeze(&self, handle: &PlanHandle, guarding: Guarding) -> Result<Refreshed, RefreshError> {
        let requested_at = self.clock.now();
        let work = handle.work();
        let passed = self.pass(handle, &work, requested_at, guarding).await;
        handle.note(|activity| {
            activity.reconciled_at = Some(requested_at);
            activity.first_reconciled_at.get_or_insert(requested_at);
            activity.failures = if passed.is_ok() { 0 } else { activity.failures.saturating_add(1) };
            if passed.as_ref().is_ok_and(|found| found.changed + found.removed > 0) {
                activity.changed_at = Some(requested_at);
            }
        });
        let frozen = match &passed {
            Ok(_) => None,
            Err(RefreshError::PlanGone) => Some((FrozenBecause::PlanGone, "404".to_owned())),
            Err(RefreshError::Remote(error)) if error.kind == RemoteErrorKind::Forbidden => {
                Some((FrozenBecause::PermissionLost, error.message.clone()))
            }
            Err(_) => return passed,
        };
        match frozen {
            Some((why, reason)) => self.freeze(handle, &work, why, &reason, requested_at).await?,
            // That it can be read does not say that it can be written, as long as something is to be.
            None => {
                let waits = handle.read().records().any(|record| record.is_dirty());
                let stays = |known: &&Frozen| known.why == FrozenBecause::WritesDenied && waits;
                self.set_frozen(handle, &work, |known| known.filter(stays).cloned()).await?;
            }
        }
        if passed.is_ok() {
            handle.set_as_of(requested_at);
        }
        crash::point("pass.ended");
        passed
    }

    async fn pass(
        &self,
        handle: &PlanHandle,
        work: &Work<'_>,
        requested_at: DateTime<Utc>,
        guarding: Guarding,
    ) -> Result<Refreshed, RefreshError> {
        handle.ensure_current().await?;
        crash::point("pass.begun");
        let plan_is_young = handle.read().plan.is_some()
            && self.plan_seen(&handle.id).is_some_and(|seen| requested_at - seen < PLAN_AGE);
        let plan = async { if plan_is_young { Ok(None) } else { self.planner.plan(&handle.id).await.map(Some) } };
        let (listing, plan) = join(self.planner.tasks(&handle.id), plan).await;
        crash::point("pass.listed");
        if let Some(plan) = plan? {
            let plan = plan.ok_or(RefreshError::PlanGone)?;
            self.store_plan(handle, work, plan, requested_at).await?;
            self.note_plan_seen(&handle.id, requested_at);
        }
        let listing = listing.map_err(|error| match error.kind {
            RemoteErrorKind::Gone => RefreshError::PlanGone,
            _ => error.into(),
        })?;
        if plan_is_young && has_unknown_bucket(&handle.read(), &listing) {
            let plan = self.planner.plan(&handle.id).await?.ok_or(RefreshError::PlanGone)?;
            self.store_plan(handle, work, plan, requested_at).await?;
            self.note_plan_seen(&handle.id, requested_at);
        }
        let listing = without_repeats(listing);
        let mut refreshed = Refreshed { listed: listing.len(), ..Refreshed::default() };
        let (missing, guard) = survey(&handle.read(), &listing, requested_at, self.ahead());
        let guard = guard.filter(|_| guarding == Guarding::On && !is_on(Mutant::NoMassChangeGuard));
        if let Some(guard) = &guard {
            tracing::warn!(plan = %handle.id, %guard, "a pass is held back until somebody confirms it");
            refreshed.held_back = guard.missing + guard.changed;
        }
        self.note_guard(handle, work, guard.as_ref()).await?;
        let mut changed = Vec::new();
        let mut rest = if guard.as_ref().is_some_and(|guard| guard.changed > 0) { &[] } else { listing.as_slice() };
        while !rest.is_empty() {
            let (read, parts) = handle
                .follow_up(work, Then::Rests, |replica: &Replica| self.follow(handle, replica, rest, requested_at))
                .await?;
            crash::point("pass.followed");
            refreshed.changed += parts.len();
            changed.extend(parts);
            rest = rest.get(read..).unwrap_or_default();
        }
        if guard.is_none() && handle.read().is_first_pass() {
            self.end_first_pass(handle, work).await?;
        }
        if guard.is_none() {
            refreshed.removed = self.remove_missing(handle, work, &missing, requested_at).await?;
            self.follow_details(handle, &changed, requested_at).await?;
        }
        Ok(refreshed)
    }

    /// Notes that all of the plan's tasks have been taken in: what appears from now on is news.
    async fn end_first_pass(&self, handle: &PlanHandle, work: &Work<'_>) -> Result<(), WorkError> {
        handle
            .follow_up(work, Then::Rests, |replica: &Replica| {
                let listed = replica.plan.as_deref().filter(|plan| plan.unlisted);
                let plan = listed.map(|plan| PlanRecord { unlisted: false, ..plan.clone() });
                (Step { plan, ..Step::default() }, ())
            })
            .await
    }

    /// Remembers what is held back, or that nothing is any more.
    async fn note_guard(
        &self,
        handle: &PlanHandle,
        work: &Work<'_>,
        guard: Option<&MassChangeGuard>,
    ) -> Result<(), WorkError> {
        handle
            .follow_up(work, Then::Rests, |replica: &Replica| {
                let same = replica.state.guard.is_some() == guard.is_some();
                let state = (!same).then(|| PlanState { guard: guard.cloned(), ..replica.state.clone() });
                (Step { state, ..Step::default() }, ())
            })
            .await
    }

    /// What a stretch of a listing changes: the step, how many tasks of the listing it covers and which it changes.
    fn follow(
        &self,
        handle: &PlanHandle,
        replica: &Replica,
        listing: &[RemoteTask],
        requested_at: DateTime<Utc>,
    ) -> (Step, (usize, Vec<TaskId>)) {
        let unanswered: Vec<&TaskRecord> =
            replica.records().map(AsRef::as_ref).filter(|record| record.is_unanswered()).collect();
        let application = self.settings.application_id.as_deref();
        let mut step = Step::default();
        let (mut read, mut changed) = (0, Vec::new());
        for task in listing {
            if step.rows() >= COMMIT_ROWS {
                break;
            }
            read += 1;
            let known = replica.id_of(&task.id).and_then(|id| replica.task(id));
            let part = match known {
                Some(record) => {
                    let seen = replica.details_seen(&record.id);
                    after_listed(record, task, requested_at, seen, replica.doubt(&record.id, requested_at))
                }
                // A listing may be older than the task's end.
                None if replica.is_dead(&task.id, requested_at) => Step::default(),
                None => match replica.tombstone(&task.id) {
                    Some(tombstone) => revive(import(&handle.key, task, requested_at), tombstone, requested_at),
                    // Not imported while it may be the result of a create of ours that was not answered yet.
                    None if unanswered.iter().any(|record| could_be(record, task, application)) => Step::default(),
                    None => {
                        let record = import(&handle.key, task, requested_at);
                        let lost = replica.lost().filter(|lost| !step.found.contains(lost));
                        match copy_of(lost, task, application) {
                            Some(lost) => remove_copy(record, lost.clone(), requested_at),
                            None if replica.is_first_pass() => {
                                // What was there before changed when Planner says it did, as far as it does.
                                let known = record.facts.completed_at.max(record.facts.created_at);
                                let changed_at = known.unwrap_or(requested_at);
                                Step { put: vec![TaskRecord { changed_at, ..record }], ..Step::default() }
                            }
                            None => Step { put: vec![record], ..Step::default() },
                        }
                    }
                },
            };
            changed.extend(part.put.first().map(|record| record.id.clone()));
            step.append(part);
        }
        (step, (read, changed))
    }

    async fn store_plan(
        &self,
        handle: &PlanHandle,
        work: &Work<'_>,
        found: RemotePlan,
        requested_at: DateTime<Utc>,
    ) -> Result<(), WorkError> {
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
            recent: Vec::new(),
            unlisted: false,
        };
        handle
            .follow_up(work, Then::Rests, |replica: &Replica| {
                let unlisted = replica.plan.as_ref().is_none_or(|known| known.unlisted);
                let record = PlanRecord { unlisted, ..record.clone() };
                let record = record.over(replica.plan.as_deref(), requested_at);
                let same = replica.plan.as_deref() == Some(&record);
                let plan = (!same).then_some(record);
                (Step { plan, ..Step::default() }, ())
            })
            .await
    }

    /// Removes tasks that a listing lacks and a read by id does not find; answers how many.
    async fn remove_missing(
        &self,
        handle: &PlanHandle,
        work: &Work<'_>,
        missing: &[(TaskId, PlannerTaskId)],
        requested_at: DateTime<Utc>,
    ) -> Result<usize, RefreshError> {
        if missing.is_empty() {
            return Ok(0);
        }
        let mut gone = missing.to_vec();
        // Once more after the plan was seen: with its plan a task is only hidden.
        for once_more in [false, true] {
            if is_on(Mutant::AbsenceIsDeletion) || gone.is_empty() || (once_more && is_on(Mutant::GoneWithThePlan)) {
                break;
            }
            if once_more && self.planner.plan(&handle.id).await?.is_none() {
                return Err(RefreshError::PlanGone);
            }
            let ids: Vec<PlannerTaskId> = gone.iter().map(|(_, planner_id)| planner_id.clone()).collect();
            let found = self.planner.read(&ids).await;
            crash::point("pass.missing_read");
            let is_gone = |answer: &RemoteResult<Option<RemoteTask>>| matches!(answer, Ok(None));
            gone = gone.into_iter().zip(&found).filter(|(_, answer)| is_gone(answer)).map(|(task, _)| task).collect();
        }
        let gone: Vec<TaskId> = gone.into_iter().map(|(id, _)| id).collect();
        for chunk in gone.chunks(20) {
            handle
                .follow_up(work, Then::Rests, |replica: &Replica| {
                    let mut step = Step::default();
                    for record in chunk.iter().filter_map(|id| replica.task(id)) {
                        step.append(plan::gone(
                            record,
                            ConflictKind::GoneOnPlanner,
                            "the task was deleted in Planner",
                            requested_at,
                        ));
                    }
                    (step, ())
                })
                .await?;
        }
        Ok(gone.len())
    }

    /// Reads a task's details into the replica, unless that was done after `not_before`. A caller waits for it, so it does
    /// not wait for the lease: the row it is folded into is guarded by its version.
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
            .transact(|replica: &Replica| Ok::<_, StoreError>((folded(replica, id, &found, requested_at), ())))
            .await?;
        handle.note_details_seen(id, requested_at);
        Ok(())
    }
}

/// Whether a task lies in a bucket that was made since the plan was read.
fn has_unknown_bucket(replica: &Replica, listing: &[RemoteTask]) -> bool {
    let Some(plan) = &replica.plan else { return true };
    let known = |bucket: &BucketId| plan.buckets.iter().any(|known| known.id == *bucket);
    listing.iter().filter_map(|task| task.fields.bucket.as_ref()).any(|bucket| !known(bucket))
}

/// Of two ETags of one resource the ordinally greater is the newer (Planner overview).
pub(super) fn is_older(etag: &str, record: &TaskRecord) -> bool {
    let known = record.remote.as_ref().and_then(|remote| remote.details_etag.as_deref());
    known.is_some_and(|known| etag < known)
}
