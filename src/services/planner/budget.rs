//! What callers may have asked of Microsoft Graph by looking things up: how much, how often, and about whom.
//!
//! What is there is answered from memory and costs nothing. What is not, or has to be fresh, is asked for; a caller who
//! asks for what never was, again and again, would have the tenant throttled for everybody. So a miss is believed for ten
//! seconds, and every caller has a budget of requests by the minute.

use std::collections::{BTreeSet, HashMap};
use std::hash::Hash;
use std::sync::{Arc, Mutex, PoisonError};

use chrono::{DateTime, TimeDelta, Utc};
use futures::StreamExt;

use super::{Person, Planner};
use crate::auth::{Caller, Rate};
use crate::error::ErrorCode;
use crate::graph::Call;
use crate::ids::{GroupId, PlanId, PlannerTaskId, UserId};
use crate::services::Error;

/// How long a miss is believed.
pub(super) const BELIEVED: TimeDelta = TimeDelta::seconds(10);
/// Answers remembered; with one more, those that are old are forgotten.
const CAPACITY: usize = 10_000;

/// Answers of the last ten seconds.
pub(super) struct Recent<K, V>(Mutex<HashMap<K, (V, DateTime<Utc>)>>);

impl<K, V> Default for Recent<K, V> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<K: Hash + Eq, V: Clone> Recent<K, V> {
    fn recall(&self, key: &K, now: DateTime<Utc>) -> Option<V> {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.get(key).filter(|(_, at)| now - *at < BELIEVED).map(|(answer, _)| answer.clone())
    }

    fn note(&self, key: K, answer: V, now: DateTime<Utc>) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= CAPACITY {
            known.retain(|_, (_, at)| now - *at < BELIEVED);
        }
        if known.len() < CAPACITY {
            known.insert(key, (answer, now));
        }
    }
}

/// What callers have asked for.
pub(super) struct Budget {
    requests: Rate,
    /// People nobody is called; the text as it was given.
    strangers: Recent<String, ()>,
    /// The plans of Planner's task ids; `None` where there is no such task.
    tasks: Recent<PlannerTaskId, Option<PlanId>>,
}

impl Budget {
    /// So many requests a minute for every caller; 0 is no limit.
    pub fn new(per_minute: u32) -> Self {
        Self { requests: Rate::per_minute(per_minute), strangers: Recent::default(), tasks: Recent::default() }
    }
}

impl Planner {
    /// Takes requests to Graph out of a caller's budget.
    ///
    /// # Errors
    /// When it is used up.
    pub(super) fn spend(&self, caller: &Caller, requests: usize) -> Result<(), Error> {
        let requests = u32::try_from(requests).unwrap_or(u32::MAX);
        self.budget.requests.take_some(&caller.name, requests, self.clock.steady()).map_err(|wait| {
            let message = "you have asked for too much that is not known here";
            let error = Error::new(ErrorCode::Throttled, message).hint(
                "leave `fresh` out, use ids that answers gave you; `LOOKUPS_PER_MINUTE` sets how much a caller may ask",
            );
            Error { retry_after: Some(wait), ..error }
        })
    }

    /// The plan of a task that no replica knows, by Planner's id; `None` where there is no such task.
    ///
    /// # Errors
    /// When the caller's budget is used up, or Graph cannot be asked.
    pub(super) async fn plan_of_stranger(&self, caller: &Caller, id: &PlannerTaskId) -> Result<Option<PlanId>, Error> {
        if let Some(known) = self.budget.tasks.recall(id, self.clock.steady()) {
            return Ok(known);
        }
        self.spend(caller, 1)?;
        let found = self.graph.get_task(&Call::interactive(caller.identity.clone()), id).await;
        let plan = found.map_err(super::graph_error)?.map(|task| task.plan_id);
        self.budget.tasks.note(id.clone(), plan.clone(), self.clock.steady());
        Ok(plan)
    }

    /// Asks for many tasks that no replica knows at once, so that [`Self::plan_of_stranger`] knows them.
    ///
    /// # Errors
    /// When the caller's budget is used up.
    pub(super) async fn meet_tasks(&self, caller: &Caller, ids: &[String]) -> Result<(), Error> {
        let handles = self.catalog.handles();
        let is_new = |id: &PlannerTaskId| {
            self.budget.tasks.recall(id, self.clock.steady()).is_none()
                && !handles.iter().any(|handle| handle.id_of(id).is_some())
        };
        let new: BTreeSet<PlannerTaskId> =
            ids.iter().filter_map(|id| PlannerTaskId::parse(id.trim()).ok()).filter(is_new).collect();
        let new: Vec<PlannerTaskId> = new.into_iter().collect();
        if new.len() < 2 {
            return Ok(());
        }
        self.spend(caller, new.len())?;
        let found = self.graph.batch_get_tasks(&Call::interactive(caller.identity.clone()), &new, &|_| ()).await;
        for (id, answer) in new.into_iter().zip(found) {
            // One that could not be asked for is asked for by itself.
            if let Ok(task) = answer {
                self.budget.tasks.note(id, task.map(|task| task.plan_id), self.clock.steady());
            }
        }
        Ok(())
    }

    /// The one person a text means, a member of `group` before anybody else, among those the caller may learn of: a
    /// caller with a list of plans learns of nobody but the members of their groups and those their tasks are assigned to.
    ///
    /// # Errors
    /// When nobody or several people are meant, the caller's budget is used up, or the directory cannot be asked.
    pub async fn person(&self, caller: &Caller, group: Option<&GroupId>, text: &str) -> Result<Arc<Person>, Error> {
        if caller.plan_scope.is_listed() {
            let listing = self.catalog.list(&caller.plan_scope, false).await?;
            let groups: BTreeSet<&GroupId> = listing.plans.iter().filter_map(|plan| plan.group.as_ref()).collect();
            for group in &groups {
                self.people.meet_group(group).await;
            }
            let found = self.people.resolve_among(text, &groups, &BTreeSet::new());
            if !found.as_ref().is_err_and(|error| error.code == ErrorCode::UserNotFound) {
                return found;
            }
            // Whom the caller's own plans show, it may name: a task is moved or changed with its assignees.
            let shown = self.shown_on(&listing);
            self.people.meet(&shown, super::people::MANY).await;
            return self.people.resolve_among(text, &groups, &shown);
        }
        if self.people.knows(text) {
            return self.people.resolve_in(text, group).await;
        }
        let key = text.trim().to_lowercase();
        if self.budget.strangers.recall(&key, self.clock.steady()).is_some() {
            return Err(super::people::unknown(text, &[]));
        }
        self.spend(caller, 1)?;
        let found = self.people.resolve_in(text, group).await;
        if found.as_ref().is_err_and(|error| error.code == ErrorCode::UserNotFound) {
            self.budget.strangers.note(key, (), self.clock.steady());
        }
        found
    }

    /// The people assigned to tasks of plans, as far as these are in memory.
    fn shown_on(&self, listing: &super::catalog::Listing) -> BTreeSet<UserId> {
        let mut shown = BTreeSet::new();
        let listed = |id: &PlanId| listing.plans.iter().any(|plan| plan.id == *id);
        for handle in self.catalog.handles().iter().filter(|handle| listed(&handle.id)) {
            shown.extend(handle.tasks_in_passing().iter().flat_map(|record| record.fields.assignees.iter().cloned()));
        }
        shown
    }

    /// Looks many people up at once, so that [`Self::person`] knows them, or that there are none.
    ///
    /// # Errors
    /// When the caller's budget is used up.
    pub(super) async fn meet_people(
        &self,
        caller: &Caller,
        group: Option<&GroupId>,
        names: &[String],
    ) -> Result<(), Error> {
        let names: BTreeSet<String> = names
            .iter()
            .map(|name| name.trim().to_lowercase())
            .filter(|name| !name.is_empty() && name != "me")
            .collect();
        let mut lookups = Vec::with_capacity(names.len());
        for name in &names {
            lookups.push(Box::pin(self.person(caller, group, name)));
        }
        let answers: Vec<_> = futures::stream::iter(lookups).buffer_unordered(AT_ONCE).collect().await;
        let refused = answers.into_iter().filter_map(Result::err).find(|error| error.code == ErrorCode::Throttled);
        refused.map_or(Ok(()), Err)
    }
}

/// People looked up at once.
const AT_ONCE: usize = 10;
