//! Buckets: list, create, rename, delete. They change seldom and are written through to Planner at once.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::place::{around, between};
use super::view::{BucketList, BucketView, Removed, SyncOutcome};
use super::{Freshness, Planner, known_plan};
use crate::auth::Caller;
use crate::error::ErrorCode;
use crate::graph::buckets::BucketPatch;
use crate::graph::{Call, Identity};
use crate::ids::BucketId;
use crate::rows::StoreError;
use crate::services::Error;
use crate::services::graph_error;
use crate::services::names::same_name;
use crate::sync::model::{Bucket, PlanRecord};
use crate::sync::{PlanHandle, Replica, Step};

/// How often a change is repeated after somebody else changed the bucket.
pub(super) const TRIES: usize = 3;

impl Planner {
    /// Lists the buckets of a plan in board order.
    ///
    /// # Errors
    /// When no plan or several are meant, or Planner does not answer and nothing is known yet.
    pub async fn list_buckets(
        &self,
        caller: &Caller,
        plan: Option<&str>,
        fresh: Option<bool>,
    ) -> Result<BucketList, Error> {
        let handle = self.catalog.resolve(&caller.plan_scope, plan).await?;
        self.ready(&handle, Freshness::from(fresh)).await?;
        let replica = handle.read();
        let plan = known_plan(replica.plan.clone())?;
        let mut tasks: BTreeMap<&str, usize> = BTreeMap::new();
        let mut all = 0;
        for record in replica.live() {
            all += 1;
            if let Some(bucket) = &record.fields.bucket {
                *tasks.entry(bucket.as_str()).or_default() += 1;
            }
        }
        let view = |bucket: &Bucket| BucketView {
            id: bucket.id.to_string(),
            name: bucket.name.clone(),
            tasks: tasks.get(bucket.id.as_str()).copied().unwrap_or(0),
        };
        let buckets: Vec<BucketView> = plan.buckets.iter().map(view).collect();
        Ok(BucketList {
            plan_id: handle.id.to_string(),
            tasks_without_bucket: all - buckets.iter().map(|bucket| bucket.tasks).sum::<usize>(),
            buckets,
            complete: true,
            as_of: super::as_of(&handle),
        })
    }

    /// Creates a bucket at the end of the board; one of the same name is answered instead of a second one.
    ///
    /// # Errors
    /// When no plan or several are meant, the name is empty, or Planner refuses.
    pub async fn create_bucket(&self, caller: &Caller, plan: Option<&str>, name: &str) -> Result<BucketView, Error> {
        let name = checked_name(name)?;
        let (handle, plan) = self.for_write(caller, plan).await?;
        self.plan_with(&handle, plan, Some(name), None).await?;
        let bucket = self.add_bucket(&handle, name).await?;
        caller.touch("plan_id", handle.id.as_str());
        caller.touch("bucket_id", bucket.id.as_str());
        Ok(shown(&handle, bucket.id.to_string(), bucket.name))
    }

    /// The bucket of a name, made at the end of the board where there is none. Of several calls at a time, on any
    /// instance, one makes it.
    pub(super) async fn add_bucket(&self, handle: &Arc<PlanHandle>, name: &str) -> Result<Bucket, Error> {
        let known = |plan: &PlanRecord| plan.buckets.iter().find(|bucket| same_name(&bucket.name, name)).cloned();
        let now = || known_plan(handle.plan());
        if let Some(bucket) = known(&*now()?) {
            return Ok(bucket);
        }
        let turn = self.once.turn("bucket", handle.id.as_str(), name).await?;
        // The caller that held the lock before has stored what it made; an unanswered create shows in a list alone.
        let current = if turn.is_in_doubt() {
            self.read_again(handle).await.map(drop)
        } else {
            self.ready(handle, Freshness::Lately).await.map(drop)
        };
        if let Err(error) = current {
            turn.pass().await;
            return Err(error);
        }
        if let Some(bucket) = now().ok().as_deref().and_then(known) {
            turn.pass().await;
            return Ok(bucket);
        }
        let turn = turn.may_create().await?;
        let last = now().ok().and_then(|plan| Some(plan.buckets.last()?.order_hint.clone())).unwrap_or_default();
        match self
            .graph
            .create_bucket(
                &Call::interactive(Identity::Application),
                &handle.id,
                name,
                &between(Some(last.as_str()), None),
            )
            .await
        {
            Ok(made) => {
                let made = super::remote::bucket(made);
                self.note_bucket(handle, &made.id, Some(&made)).await;
                turn.pass().await;
                Ok(made)
            }
            // It may have happened: read before saying so.
            Err(error) if error.is_ambiguous() => match self.read_again(handle).await.ok().as_deref().and_then(known) {
                Some(bucket) => {
                    turn.pass().await;
                    Ok(bucket)
                }
                None => {
                    turn.lost_answer().await;
                    Err(graph_error(error))
                }
            },
            Err(error) => {
                turn.pass().await;
                Err(graph_error(error))
            }
        }
    }

    /// Remembers a bucket as it was just made or changed here, or that it was deleted: a list may be older than that.
    /// Best effort: the next pass reads the buckets.
    async fn note_bucket(&self, handle: &Arc<PlanHandle>, id: &BucketId, bucket: Option<&Bucket>) {
        let at = self.now();
        let noted = handle
            .transact(|replica: &Replica| {
                let plan = replica.plan.as_ref().map(|plan| plan.with_bucket(id, bucket, at));
                Ok::<_, StoreError>((Step { plan, ..Step::default() }, ()))
            })
            .await;
        if let Err(error) = noted {
            tracing::warn!(plan = %handle.id, %error, "a bucket's change cannot be noted");
        }
        self.engine.forget_plan(&handle.id);
    }

    /// Renames a bucket, or moves it: behind another one, or to the `first` or `last` place of the board.
    ///
    /// # Errors
    /// When no bucket or several are meant, nothing is named that should change, or Planner refuses.
    pub async fn update_bucket(
        &self,
        caller: &Caller,
        plan: Option<&str>,
        bucket: &str,
        name: Option<&str>,
        after: Option<&str>,
    ) -> Result<BucketView, Error> {
        let name = name.map(checked_name).transpose()?;
        if name.is_none() && after.is_none() {
            return Err(Error::invalid("no field is named that should change")
                .hint("give a `name`, or in `after` the bucket before it, `first` or `last`"));
        }
        let (handle, plan) = self.for_write(caller, plan).await?;
        let plan =
            self.plan_with(&handle, plan, after.filter(|after| !matches!(*after, "first" | "last")), None).await?;
        let mut plan = self.plan_with(&handle, plan, Some(bucket), None).await?;
        for _ in 0..TRIES {
            let found = self.named(caller, &plan, bucket)?;
            let order_hint = after.map(|after| self.place(caller, &plan, found, after)).transpose()?;
            let patch = BucketPatch { name: name.map(str::to_owned), order_hint };
            match self
                .graph
                .update_bucket(&Call::interactive(Identity::Application), &found.id, &found.etag, &patch)
                .await
            {
                Ok(changed) => {
                    caller.touch("plan_id", handle.id.as_str());
                    caller.touch("bucket_id", found.id.as_str());
                    let changed = super::remote::bucket(changed);
                    self.note_bucket(&handle, &changed.id, Some(&changed)).await;
                    return Ok(shown(&handle, changed.id.to_string(), changed.name));
                }
                Err(error) if error.is_stale() => plan = self.read_again(&handle).await?,
                Err(error) => return Err(graph_error(error)),
            }
        }
        Err(Error::new(ErrorCode::Conflict, "the bucket keeps changing").hint("repeat the call"))
    }

    /// Deletes a bucket that has no tasks, or, with `and_tasks`, the bucket and its tasks.
    ///
    /// # Errors
    /// When no bucket or several are meant, it has tasks and they were not named, or Planner refuses.
    pub async fn delete_bucket(
        &self,
        caller: &Caller,
        plan: Option<&str>,
        bucket: &str,
        with: Contents,
    ) -> Result<Removed, Error> {
        let (handle, _) = self.for_write(caller, plan).await?;
        self.ready(&handle, Freshness::Now).await?;
        let mut plan = known_plan(handle.plan())?;
        for _ in 0..TRIES {
            let found = self.named(caller, &plan, bucket)?.clone();
            let tasks = handle.read().live().filter(|record| record.fields.bucket.as_ref() == Some(&found.id)).count();
            if tasks > 0 && with == Contents::MustBeEmpty {
                return Err(Error::invalid(format!("bucket `{}` has {tasks} task(s)", found.name))
                    .hint("move them first with `bulk_update_tasks`, or set `delete_tasks` to delete them too"));
            }
            match self.graph.delete_bucket(&Call::interactive(Identity::Application), &found.id, &found.etag).await {
                Ok(_) => {
                    caller.touch("plan_id", handle.id.as_str());
                    caller.touch("bucket_id", found.id.as_str());
                    self.note_bucket(&handle, &found.id, None).await;
                    let _stale = self.read_again(&handle).await; // the next refresh shows it
                    let note = (tasks > 0).then(|| format!("{tasks} task(s) were deleted with it"));
                    return Ok(Removed {
                        id: found.id.to_string(),
                        title: found.name,
                        sync: SyncOutcome::Synced,
                        note,
                    });
                }
                Err(error) if error.is_stale() => plan = self.read_again(&handle).await?,
                Err(error) => return Err(graph_error(error)),
            }
        }
        Err(Error::new(ErrorCode::Conflict, "the bucket keeps changing").hint("repeat the call"))
    }

    /// The order hint for a place on the board (Planner: `previous next!`).
    fn place(&self, caller: &Caller, plan: &PlanRecord, moved: &Bucket, after: &str) -> Result<String, Error> {
        let others: Vec<&Bucket> = plan.buckets.iter().filter(|bucket| bucket.id != moved.id).collect();
        let next = match after.trim() {
            "first" => 0,
            "last" => others.len(),
            after => {
                let before = self.named(caller, plan, after)?;
                let place = others.iter().position(|bucket| bucket.id == before.id);
                place.map(|place| place + 1).ok_or_else(|| {
                    Error::invalid(format!("`after` is the bucket `{}` itself", moved.name))
                        .hint("name another bucket, `first` or `last`")
                })?
            }
        };
        let hints: Vec<&str> = others.iter().map(|bucket| bucket.order_hint.as_str()).collect();
        let (previous, following) = around(&hints, next);
        Ok(between(previous, following))
    }

    fn named<'a>(&self, caller: &Caller, plan: &'a PlanRecord, text: &str) -> Result<&'a Bucket, Error> {
        let id = self.bucket(&caller.plan_scope, plan, text)?;
        plan.buckets
            .iter()
            .find(|bucket| bucket.id == id)
            .ok_or_else(|| Error::new(ErrorCode::BucketNotFound, "the bucket is gone"))
    }

    pub(super) async fn read_again(&self, handle: &Arc<PlanHandle>) -> Result<Arc<PlanRecord>, Error> {
        self.ready(handle, Freshness::Now).await?;
        let plan = handle.plan();
        plan.ok_or_else(|| Error::new(ErrorCode::PlanNotFound, "the plan is gone"))
    }
}

/// What is to happen to a bucket's tasks when it is deleted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Contents {
    /// A bucket with tasks is not deleted.
    MustBeEmpty,
    /// The tasks are deleted with it.
    DeleteToo,
}

pub(super) fn checked_name(name: &str) -> Result<&str, Error> {
    let name = name.trim();
    if name.is_empty() {
        return Err(Error::invalid("`name` is empty").hint("give the bucket a name"));
    }
    if name.chars().count() > 255 {
        return Err(Error::new(ErrorCode::LimitExceeded, "`name` has more than 255 characters"));
    }
    Ok(name)
}

/// A bucket as callers see it.
fn shown(handle: &PlanHandle, id: String, name: String) -> BucketView {
    let in_bucket = |record: &&Arc<crate::sync::model::TaskRecord>| {
        record.fields.bucket.as_ref().is_some_and(|bucket| bucket.as_str() == id)
    };
    let tasks = handle.read().live().filter(in_bucket).count();
    BucketView { id, name, tasks }
}
