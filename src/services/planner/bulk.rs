//! Many tasks in one call: every item is journalled and pushed by itself, so one bad item costs no other.
//!
//! Items are journalled one after another while the worker is already pushing the first ones, twenty to a batch and
//! several batches at once. A caller that goes away loses nothing: what is journalled reaches Planner.

use std::collections::BTreeMap;
use std::sync::Arc;

use futures::StreamExt;
use futures::stream::FuturesUnordered;
use tokio::sync::oneshot;

use super::create::Keyed;
use super::input::{CreateTask, UpdateTask};
use super::keys::{Claim, Key};
use super::task::{joined, settle};
use super::view::{BulkItem, BulkReceipt, SyncOutcome};
use super::{Limits, Planner};
use crate::auth::Caller;
use crate::error::ErrorCode;
use crate::ids::TaskId;
use crate::services::Error;
use crate::services::arguments::Item;
use crate::sync::{Outcome, PlanHandle};

/// Receives how many items of how many are done.
pub type Progress<'a> = &'a (dyn Fn(usize, usize) + Send + Sync);

/// An item on its way: journalled, or refused.
type Started = Result<(Arc<PlanHandle>, TaskId, oneshot::Receiver<Outcome>, Option<String>), Error>;

impl Planner {
    /// Creates up to 500 tasks in one plan.
    ///
    /// The key is the call's: with it every item gets a key of its own, so that repeating the call creates only what is
    /// missing, and a call with other items is refused as a whole.
    ///
    /// # Errors
    /// When the plan is unknown, there are no or too many items, or the key belongs to another call; nothing was changed
    /// then.
    pub async fn bulk_create(
        &self,
        caller: &Caller,
        plan: Option<&str>,
        items: &[Item<CreateTask>],
        key: Option<&str>,
        progress: Progress<'_>,
    ) -> Result<BulkReceipt, Error> {
        check_count(items.len(), &self.settings.limits)?;
        let (handle, plan) = self.for_write(caller, plan).await?;
        let mut names: Vec<String> = Vec::new();
        for item in items.iter().filter_map(|item| item.0.as_ref().ok()) {
            names.extend(item.assignee_ids.iter().flatten().cloned());
        }
        self.meet_people(caller, plan.group.as_ref(), &names).await?;
        let key = match key {
            Some(text) => {
                let key = Key::new(caller, text)?;
                let asked: Vec<_> = items.iter().map(|item| item.0.as_ref().map_err(|error| &error.message)).collect();
                let claim = self.keys.claim(&key, ("bulk_create_tasks", &handle.id, &asked), None, self.now()).await?;
                Some((key, claim))
            }
            None => None,
        };
        let mut started = Vec::with_capacity(items.len());
        for (index, item) in items.iter().enumerate() {
            let of_call =
                |(key, claim): &(Key, Claim), item: &CreateTask| Keyed::new(&key.item(index), item, None, claim.at);
            started.push(match &item.0 {
                Ok(item) => {
                    let keyed = key.as_ref().map(|key| of_call(key, item));
                    self.start_create(caller, &handle, &plan, (index, item), keyed).await
                }
                Err(error) => Err(error.clone()),
            });
        }
        Ok(self.gather(started, progress).await)
    }

    async fn start_create(
        &self,
        caller: &Caller,
        handle: &Arc<PlanHandle>,
        plan: &Arc<crate::sync::model::PlanRecord>,
        (index, item): (usize, &CreateTask),
        of_call: Option<Keyed>,
    ) -> Started {
        if let Some(other) = &item.plan_id
            && other.trim() != handle.id.as_str()
            && !crate::services::names::same_name(other, &plan.title)
        {
            return Err(
                Error::invalid(format!("item {index} names another plan than the call")).hint("one call, one plan")
            );
        }
        let (bucket, labels) = (item.bucket_id.as_deref(), item.categories.as_deref());
        let plan = self.plan_with(handle, plan.clone(), bucket, labels).await?;
        let wanted = self.creation(caller, &plan, item).await?;
        let keyed = self.own_key(caller, handle, item).await?.or(of_call);
        let id = self.journal_create(caller, handle, &wanted, keyed).await?;
        let outcome = self.pusher.start(handle, &id);
        let note = plan.buckets.is_empty().then(|| super::create::NO_BUCKET.to_owned());
        Ok((handle.clone(), id, outcome, note))
    }

    /// Changes up to 500 tasks, of any plans.
    ///
    /// # Errors
    /// When there are no or too many items; nothing was changed then.
    pub async fn bulk_update(
        &self,
        caller: &Caller,
        items: &[Item<UpdateTask>],
        progress: Progress<'_>,
    ) -> Result<BulkReceipt, Error> {
        check_count(items.len(), &self.settings.limits)?;
        let (mut ids, mut names): (Vec<String>, Vec<String>) = (Vec::new(), Vec::new());
        for item in items.iter().filter_map(|item| item.0.as_ref().ok()) {
            ids.push(item.task_id.clone());
            names.extend(item.assignee_ids.iter().chain(&item.add_assignees).flatten().cloned());
        }
        self.meet_tasks(caller, &ids).await?;
        self.meet_people(caller, None, &names).await?;
        let asked_at = self.now();
        let mut started = Vec::with_capacity(items.len());
        for item in items {
            let journalled = match &item.0 {
                Ok(item) => self.journal_update(caller, item, asked_at).await,
                Err(error) => Err(error.clone()),
            };
            started.push(journalled.map(|(handle, id, op, note)| {
                let outcome = self.pusher.start_op(&handle, &id, op);
                (handle, id, outcome, note)
            }));
        }
        Ok(self.gather(started, progress).await)
    }

    /// Waits for what was started, at most the configured time, and counts.
    async fn gather(&self, started: Vec<Started>, progress: Progress<'_>) -> BulkReceipt {
        let total = started.len();
        let mut items: Vec<BulkItem> = Vec::with_capacity(total);
        let mut plans: BTreeMap<usize, Arc<PlanHandle>> = BTreeMap::new();
        let mut waiting = FuturesUnordered::new();
        for (index, start) in started.into_iter().enumerate() {
            match start {
                Ok((handle, id, outcome, note)) => {
                    plans.insert(index, handle);
                    items.push(BulkItem { index, id: Some(id.to_string()), sync: SyncOutcome::Pending, note });
                    waiting.push(async move { (index, outcome.await.ok()) });
                }
                Err(error) => items.push(failed(index, &error)),
            }
        }
        let mut done = total - waiting.len();
        progress(done, total);
        let arrive = async {
            while let Some((index, outcome)) = waiting.next().await {
                done += 1;
                progress(done, total);
                if let Some(item) = items.get_mut(index) {
                    match settle(outcome) {
                        Ok((sync, note)) => (item.sync, item.note) = (sync, joined(note, item.note.take())),
                        Err(error) => *item = failed(index, &error),
                    }
                }
            }
        };
        // What has not arrived by then stays journalled and is reported as pending.
        let _ = self.clock.timeout(self.settings.bulk_wait, arrive).await;
        for item in items.iter().filter(|item| item.sync == SyncOutcome::Pending) {
            if let Some(handle) = plans.get(&item.index) {
                self.remember(handle).await; // once a plan: what was just sent is not sent again
            }
        }
        count(items)
    }
}

fn failed(index: usize, error: &Error) -> BulkItem {
    let hint = error.hint.as_ref().map(|hint| format!(" ({hint})")).unwrap_or_default();
    BulkItem {
        index,
        id: None,
        sync: SyncOutcome::Failed,
        note: Some(format!("{}: {}{hint}", error.code, error.sentence())),
    }
}

fn check_count(count: usize, limits: &Limits) -> Result<(), Error> {
    if count == 0 {
        return Err(Error::invalid("the list is empty"));
    }
    if count > limits.bulk {
        let message = format!("{count} items are more than one call takes ({})", limits.bulk);
        return Err(Error::new(ErrorCode::LimitExceeded, message).hint("split the list into several calls"));
    }
    Ok(())
}

fn count(items: Vec<BulkItem>) -> BulkReceipt {
    let of = |sync: SyncOutcome| items.iter().filter(|item| item.sync == sync).count();
    BulkReceipt {
        synced: of(SyncOutcome::Synced),
        pending: of(SyncOutcome::Pending),
        conflict: of(SyncOutcome::Conflict),
        failed: of(SyncOutcome::Failed),
        ids: items.iter().map(|item| item.id.clone().unwrap_or_default()).collect(),
        attention: items.into_iter().filter(|item| item.sync != SyncOutcome::Synced || item.note.is_some()).collect(),
    }
}
