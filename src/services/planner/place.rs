//! A task's place among the tasks of its bucket.
//!
//! Planner works out places itself ("Using order hints in Planner"): one sends between which neighbours an item is to stand
//! and is answered a value of its own. A place is therefore no field that can be journalled: it is set by a call of its
//! own, once everything else has arrived. It is the order of Planner's lists (`orderHint` of a task).

use std::sync::Arc;

use super::remote::remote_task;
use super::view::{SyncOutcome, TaskReceipt};
use super::{Freshness, Planner, known_plan, task};
use crate::auth::Caller;
use crate::error::ErrorCode;
use crate::graph::tasks::TaskPatch;
use crate::graph::{Call, Identity};
use crate::ids::{BucketId, TaskId};
use crate::services::Error;
use crate::services::graph_error;
use crate::services::names::same_name;
use crate::sync::absorb::after_listed;
use crate::sync::model::TaskRecord;
use crate::sync::{Outcome, PlanHandle, Replica};

/// How often the call is repeated after somebody else changed the task.
const TRIES: usize = 3;

/// Where in its bucket a task is to stand.
pub(super) enum Place {
    First,
    Last,
    Behind(TaskId),
}

impl Planner {
    /// Moves a task as [`Self::move_task`] does, and then to a place in its bucket: behind the task that `after` names, or
    /// to the `first` or `last`.
    ///
    /// # Errors
    /// When `after` means no task or several of the bucket, and as [`Self::move_task`].
    pub async fn move_to_place(
        &self,
        caller: &Caller,
        id: &str,
        bucket: Option<&str>,
        plan: Option<&str>,
        after: &str,
    ) -> Result<TaskReceipt, Error> {
        let target = match plan {
            Some(plan) => Some(self.catalog.resolve(&caller.plan_scope, Some(plan)).await?),
            None => None,
        };
        // A task that has been moved to the plan is not found any more: then the move is repeated.
        let found = self.find(caller, id, Freshness::Lately).await;
        let (handle, own) = match (target, found) {
            (Some(target), Ok(found)) if found.handle.id == target.id => (target, Some(found.record)),
            (Some(target), _) => (target, None),
            (None, found) => found.map(|found| (found.handle, Some(found.record)))?,
        };
        self.ready(&handle, Freshness::Lately).await?;
        let record = self.plan_with(&handle, known_plan(handle.plan())?, bucket, None).await?;
        let there = match (bucket, &own) {
            (Some(text), _) => Some(self.bucket(&caller.plan_scope, &record, text)?),
            (None, Some(own)) => own.fields.bucket.clone(),
            (None, None) => record.buckets.first().map(|bucket| bucket.id.clone()),
        };
        let place = place(&handle.read(), there.as_ref(), own.as_ref().map(|own| &own.id), after)?;
        let stays = own.filter(|own| own.fields.bucket == there);
        let was_moved = stays.is_none();
        let receipt = match stays {
            Some(own) => {
                let arrived = (own.remote.is_some() && !own.is_dirty()).then_some(Outcome::Synced { overruled: 0 });
                Self::receipt(&handle, &own.id, arrived)?
            }
            None => self.move_task(caller, id, bucket, plan).await?,
        };
        if receipt.sync == SyncOutcome::Pending {
            let note = "its place was not set, because Planner does not have the task there yet: repeat the call once \
                        `sync` says synced";
            return Ok(TaskReceipt { note: task::joined(receipt.note, Some(note.to_owned())), ..receipt });
        }
        caller.touch("plan_id", handle.id.as_str());
        caller.touch("task_id", &receipt.id);
        match self.put_in_place(caller, &handle, &receipt.id, &place).await {
            Ok(()) => Ok(receipt),
            // The move itself has been made.
            Err(error) if was_moved => {
                let note = format!("its place was not set ({}): repeat the call", error.message);
                Ok(TaskReceipt { note: task::joined(receipt.note, Some(note)), ..receipt })
            }
            Err(error) => Err(error),
        }
    }

    async fn put_in_place(
        &self,
        caller: &Caller,
        handle: &Arc<PlanHandle>,
        id: &str,
        place: &Place,
    ) -> Result<(), Error> {
        for _ in 0..TRIES {
            self.ready(handle, Freshness::Now).await?;
            let id = &self.find(caller, id, Freshness::Usual).await?.record.id;
            let wanted = {
                let replica = handle.read();
                let record = replica.task(id).filter(|record| !record.deleted);
                let remote = record.and_then(|record| Some((record, record.remote.as_ref()?)));
                let Some((record, remote)) = remote else {
                    return Err(Error::new(ErrorCode::TaskNotFound, "the task is gone"));
                };
                hint(&replica, record, place)?.map(|hint| (remote.id.clone(), remote.etag.clone(), hint))
            };
            let Some((planner_id, etag, hint)) = wanted else { return Ok(()) };
            let patch = TaskPatch { order_hint: Some(hint), ..TaskPatch::default() };
            let now = self.now();
            match self.graph.update_task(&Call::interactive(Identity::Application), &planner_id, &etag, &patch).await {
                Ok(found) => {
                    let found = remote_task(found);
                    let taken = |replica: &Replica| {
                        let known = replica.task(id).map(|known| {
                            after_listed(known, &found, now, replica.details_seen(id), replica.doubt(id, now))
                        });
                        Ok::<_, Error>((known.unwrap_or_default(), ()))
                    };
                    return handle.transact(taken).await;
                }
                Err(error) if error.is_stale() => {}
                Err(error) => return Err(graph_error(error)),
            }
        }
        Err(Error::new(ErrorCode::Conflict, "the task keeps changing; its place was not set").hint("repeat the call"))
    }
}

/// The tasks that Planner has in a bucket, in its order, but for one.
fn neighbours<'a>(replica: &'a Replica, bucket: Option<&BucketId>, but: Option<&TaskId>) -> Vec<&'a TaskRecord> {
    let mut tasks: Vec<&TaskRecord> = replica
        .live()
        .map(AsRef::as_ref)
        .filter(|record| Some(&record.id) != but)
        .filter(|record| record.base().is_some_and(|there| there.bucket.as_ref() == bucket))
        .collect();
    tasks.sort_by(|left, right| (&left.facts.order_hint, &left.id).cmp(&(&right.facts.order_hint, &right.id)));
    tasks
}

/// What a caller means by `after`, in a bucket where the moved task itself does not count.
fn place(replica: &Replica, bucket: Option<&BucketId>, moved: Option<&TaskId>, after: &str) -> Result<Place, Error> {
    let after = after.trim();
    match after {
        "first" => return Ok(Place::First),
        "last" => return Ok(Place::Last),
        _ => {}
    }
    let is_meant = |record: &TaskRecord| {
        record.id.as_str() == after || record.planner_id().is_some_and(|planner_id| planner_id.as_str() == after)
    };
    let tasks: Vec<&TaskRecord> = replica
        .live()
        .map(AsRef::as_ref)
        .filter(|record| record.fields.bucket.as_ref() == bucket && Some(&record.id) != moved)
        .collect();
    let by_id = tasks.iter().filter(|record| is_meant(record));
    let mut named: Vec<&&TaskRecord> = by_id.collect();
    if named.is_empty() {
        named = tasks.iter().filter(|record| same_name(&record.fields.title, after)).collect();
    }
    match named.as_slice() {
        [only] if only.base().is_none_or(|there| there.bucket.as_ref() != bucket) => {
            let message = format!("Planner does not have the task `{after}` in that bucket yet");
            Err(Error::new(ErrorCode::Conflict, message).hint("repeat the call once it is synced"))
        }
        [only] => Ok(Place::Behind(only.id.clone())),
        [] if moved
            .and_then(|id| replica.task(id))
            .is_some_and(|own| is_meant(own) || same_name(&own.fields.title, after)) =>
        {
            Err(Error::invalid("`after` is the task itself").hint("name another task of the bucket, `first` or `last`"))
        }
        [] => Err(Error::new(ErrorCode::TaskNotFound, format!("`after` names no other task of the bucket: `{after}`"))
            .hint("give the id or title of a task in that bucket, `first` or `last`")),
        several => {
            let ids: Vec<String> = several.iter().map(|record| format!("`{}`", record.id)).collect();
            let message = format!("`{after}` is the title of several tasks of the bucket");
            Err(Error::new(ErrorCode::AmbiguousName, message).hint(format!("give the id of one: {}", ids.join(", "))))
        }
    }
}

/// The order hint that asks for a place (`previous next!`); `None` where the task stands there.
///
/// # Errors
/// When the task it was to stand behind has left the bucket.
fn hint(replica: &Replica, moved: &TaskRecord, place: &Place) -> Result<Option<String>, Error> {
    let tasks = neighbours(replica, moved.fields.bucket.as_ref(), Some(&moved.id));
    let next = match place {
        Place::First => 0,
        Place::Last => tasks.len(),
        Place::Behind(id) => {
            let before = tasks.iter().position(|record| record.id == *id);
            before.map(|before| before + 1).ok_or_else(|| {
                Error::new(
                    ErrorCode::TaskNotFound,
                    "the task named in `after` has left the bucket; its place was not set",
                )
            })?
        }
    };
    let hints: Vec<&str> = tasks.iter().map(|record| record.facts.order_hint.as_str()).collect();
    let (previous, following) = around(&hints, next);
    let own = moved.facts.order_hint.as_str();
    if previous.is_none_or(|previous| previous < own) && following.is_none_or(|following| own < following) {
        return Ok(None);
    }
    Ok(Some(between(previous, following)))
}

/// The order hints on both sides of a place among others.
pub(super) fn around<'a>(hints: &[&'a str], place: usize) -> (Option<&'a str>, Option<&'a str>) {
    let at = |place: usize| hints.get(place).copied();
    (place.checked_sub(1).and_then(at), at(place))
}

/// What is sent to Planner for a place between two order hints; a missing neighbour stays empty.
pub(super) fn between(previous: Option<&str>, following: Option<&str>) -> String {
    format!("{} {}!", previous.unwrap_or_default(), following.unwrap_or_default())
}
