//! Following details: descriptions, checklists and references, which Planner lists with no task.
//!
//! They are read twenty at a time when somebody first needs them all, and kept with their ETag. What listings show of them
//! (their counts, and the task's own ETag) has them read again; so does time, for a plan that is used: a text that a person
//! has rewritten changes no count. That costs a call for each task, so it is done often only while somebody wants the texts.
//! Who cannot wait for that asks for details read after a given moment.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use futures::StreamExt;
use parking_lot::Mutex;

use super::Engine;
use super::absorb::after_details;
use super::handle::PlanHandle;
use super::model::{Remote, TaskRecord};
use super::mutant::{Mutant, is_on};
use super::ports::RemoteDetails;
use super::push::GROUP;
use super::reconcile::{RefreshError, is_older};
use super::replica::Replica;
use super::step::Step;
use crate::ids::{PlannerTaskId, TaskId};
use crate::rows::StoreError;

/// Batches of details read at once.
const PARALLEL: usize = 4;
/// How often some details of a plan are read whose texts or changes somebody reads, those first that were not for
/// longest.
const ROTATION: TimeDelta = TimeDelta::minutes(1);
/// How often, where the plan is used for other things.
const SLOW_ROTATION: TimeDelta = TimeDelta::minutes(30);
/// How long after the last caller a plan counts as in use, and its texts as wanted.
const IN_USE: TimeDelta = TimeDelta::minutes(10);

/// What this process knows of reading a plan's details.
#[derive(Default)]
pub(super) struct DetailReads {
    /// Held by the caller that reads those of all tasks.
    all: tokio::sync::Mutex<()>,
    /// When some were last read for no other reason than time.
    read_at: Mutex<Option<DateTime<Utc>>>,
}

/// Whether Planner shows that a task has details which are not known as they are.
#[must_use]
pub fn is_unread(record: &TaskRecord) -> bool {
    let unknown = |remote: &Remote| remote.details_etag.is_none() && record.facts.tell_of_details();
    record.remote.as_ref().is_some_and(|remote| remote.details_changed || unknown(remote))
}

/// Whether a task has any details as far as is known, so that they may have been rewritten.
fn has_details(record: &TaskRecord) -> bool {
    let kept = record.fields.details.as_ref();
    let kept =
        kept.is_some_and(|it| !it.description.is_empty() || !it.checklist.is_empty() || !it.references.is_empty());
    record.remote.is_some() && (kept || record.facts.tell_of_details() || is_unread(record))
}

/// The tasks whose details have to be read before all of them are known as they were at `not_before`, or later.
fn to_read(handle: &PlanHandle, not_before: Option<DateTime<Utc>>) -> Vec<(TaskId, PlannerTaskId)> {
    let tasks = handle.tasks_in_passing();
    let replica = handle.head();
    let is_old = |record: &TaskRecord| {
        not_before.is_some_and(|since| {
            has_details(record) && replica.details_seen(&record.id).is_none_or(|seen| seen < since)
        })
    };
    tasks
        .iter()
        .filter(|record| is_unread(record) || is_old(record))
        .filter_map(|record| Some((record.id.clone(), record.planner_id()?.clone())))
        .collect()
}

impl PlanHandle {
    pub(super) fn note_details_seen(&self, id: &TaskId, at: DateTime<Utc>) {
        self.head_mut().details_seen.insert(id.clone(), at);
    }

    /// Notes that somebody reads the plan's texts, or follows its changes.
    pub fn note_details_wanted(&self, now: DateTime<Utc>) {
        self.note(|activity| activity.texts_wanted_at = Some(now));
    }

    /// How long a read of some details is followed by none, unless Planner shows a reason; `None` where nobody cares.
    fn rotation(&self, now: DateTime<Utc>) -> Option<TimeDelta> {
        let activity = self.activity();
        let lately = |at: Option<DateTime<Utc>>| at.is_some_and(|at| now - at < IN_USE);
        match (lately(activity.texts_wanted_at), lately(activity.used_at)) {
            (true, _) => Some(ROTATION),
            (false, true) => Some(SLOW_ROTATION),
            (false, false) => None,
        }
    }

    /// Whether it is time to read some details; then the next time is a `pause` later.
    fn details_are_due(&self, now: DateTime<Utc>, pause: TimeDelta) -> bool {
        let mut last = self.details.read_at.lock();
        let is_due = last.is_none_or(|last| now >= last + pause || now < last);
        if is_due {
            *last = Some(now);
        }
        is_due
    }
}

impl Engine {
    /// Reads the details of all tasks of a plan that are not known, or were read before `not_before`, for as long as
    /// `limit`; answers how many are left. Callers that need the same wait for one another.
    ///
    /// # Errors
    /// When the store fails. What Planner does not answer is left.
    pub async fn read_all_details(
        &self,
        handle: &PlanHandle,
        not_before: Option<DateTime<Utc>>,
        limit: Duration,
    ) -> Result<usize, RefreshError> {
        let began = self.clock.now();
        handle.note_details_wanted(began);
        if to_read(handle, not_before).is_empty() {
            return Ok(0);
        }
        let all = async {
            let _alone = handle.details.all.lock().await;
            let wanted = to_read(handle, not_before);
            let groups: Vec<_> = wanted.chunks(GROUP).map(<[_]>::to_vec).collect();
            let mut reads = Vec::with_capacity(groups.len());
            for group in groups {
                reads.push(Box::pin(async move { self.read_details_of(handle, &group).await }));
            }
            let mut reads = futures::stream::iter(reads).buffer_unordered(PARALLEL);
            while let Some(read) = reads.next().await {
                // Where one group gets no answer, the others would wait for theirs as long.
                if read? == 0 {
                    break;
                }
            }
            Ok::<_, RefreshError>(())
        };
        self.clock.timeout(limit, all).await.transpose()?;
        // What was read now and has to be read again, as a listing shows other counts, is known as well as it can be.
        let left = to_read(handle, not_before);
        let replica = handle.head();
        Ok(left.iter().filter(|(id, _)| replica.details_seen(id).is_none_or(|seen| seen < began)).count())
    }

    /// Reads some details of a plan after a pass: those of tasks that the pass found changed, and of a plan in use those
    /// that were not read for longest. What is not answered is read another time.
    pub(super) async fn follow_details(
        &self,
        handle: &PlanHandle,
        changed: &[TaskId],
        requested_at: DateTime<Utc>,
    ) -> Result<(), RefreshError> {
        let wanted: Vec<(TaskId, PlannerTaskId)> = {
            let replica = handle.read();
            let is_known = |record: &TaskRecord| {
                record.remote.as_ref().is_some_and(|remote| remote.details_etag.is_some()) && !record.deleted
            };
            let mut known: Vec<_> = replica.records().filter(|record| is_known(record)).collect();
            let rotates =
                handle.rotation(requested_at).is_some_and(|pause| handle.details_are_due(requested_at, pause));
            let seen = |id: &TaskId| replica.details_seen(id);
            let is_first = |record: &TaskRecord| {
                changed.contains(&record.id) || record.remote.as_ref().is_some_and(|it| it.details_changed)
            };
            if rotates {
                known.retain(|record| is_first(record) || has_details(record));
            } else {
                known.retain(|record| is_first(record));
            }
            known.sort_by_key(|record| (!is_first(record), seen(&record.id)));
            let ids = known.into_iter().filter_map(|record| Some((record.id.clone(), record.planner_id()?.clone())));
            ids.take(GROUP).collect()
        };
        if !wanted.is_empty() && !is_on(Mutant::DetailsNotFollowed) {
            self.read_details_of(handle, &wanted).await?;
        }
        Ok(())
    }

    /// Reads the details of some tasks into the replica; answers of how many.
    async fn read_details_of(
        &self,
        handle: &PlanHandle,
        wanted: &[(TaskId, PlannerTaskId)],
    ) -> Result<usize, RefreshError> {
        let requested_at = self.clock.now();
        let ids: Vec<PlannerTaskId> = wanted.iter().map(|(_, planner_id)| planner_id.clone()).collect();
        let answers = self.planner.read_details(&ids).await;
        let found: Vec<(&TaskId, RemoteDetails)> =
            wanted.iter().zip(answers).filter_map(|((id, _), answer)| Some((id, answer.ok()??))).collect();
        handle
            .transact(|replica: &Replica| {
                let mut step = Step::default();
                for (id, found) in &found {
                    step.append(folded(replica, id, found, requested_at));
                }
                Ok::<_, StoreError>((step, ()))
            })
            .await?;
        for (id, _) in &found {
            handle.note_details_seen(id, requested_at);
        }
        Ok(found.len())
    }
}

/// What details that were read make of a task's row; nothing where it has newer ones, or the same.
pub(super) fn folded(replica: &Replica, id: &TaskId, found: &RemoteDetails, requested_at: DateTime<Utc>) -> Step {
    let Some(record) = replica.task(id).filter(|record| record.remote.is_some() && !is_older(&found.etag, record))
    else {
        return Step::default();
    };
    let step = after_details(record, None, found, requested_at, replica.doubt(id, requested_at));
    if step.put.first() == Some(record.as_ref()) { Step::default() } else { step }
}
