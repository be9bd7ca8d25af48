//! People as far as plans have to do with them: who is meant, whom a caller may learn of, who works in a plan's group.

use std::collections::BTreeSet;
use std::sync::Arc;

use futures::StreamExt;

use super::catalog::Listing;
use super::{Freshness, Planner, known_plan};
use crate::auth::Caller;
use crate::error::ErrorCode;
use crate::graph::Identity;
use crate::ids::{GroupId, PlanId, UserId};
use crate::services::Error;
use crate::services::directory::{MANY, PeopleFound, PeopleQuery, Person};

/// People looked up at once.
const AT_ONCE: usize = 10;

impl Planner {
    /// Finds people by name, or lists the members of a plan's group. A caller who may not touch every plan finds the
    /// members of the groups of its own.
    ///
    /// # Errors
    /// When neither a search nor a plan is given, the cursor is damaged, or the directory cannot be read.
    pub async fn find_people(
        &self,
        caller: &Caller,
        plan: Option<&str>,
        query: PeopleQuery<'_>,
    ) -> Result<PeopleFound, Error> {
        let groups = self.groups_to_search(caller, plan).await?;
        self.directory.find_people(caller, groups.as_deref(), query).await
    }

    /// The groups whose members are searched; `None` for the whole directory.
    async fn groups_to_search(&self, caller: &Caller, plan: Option<&str>) -> Result<Option<Vec<GroupId>>, Error> {
        if plan.is_some() {
            let handle = self.catalog.resolve(&caller.plan_scope, plan).await?;
            self.ready(&handle, Freshness::Usual).await?;
            let group = known_plan(handle.plan())?.group.clone();
            return Ok(Some(group.into_iter().collect()));
        }
        // A person who calls with rights of their own sees the directory as Microsoft shows it to them.
        let is_person = matches!(caller.identity, Identity::Person(_)) && !caller.plan_scope.is_listed();
        if caller.plan_scope.is_everywhere() || is_person {
            return Ok(None);
        }
        let listing = self.catalog.list(&caller.plan_scope, false).await?;
        let mut groups: Vec<GroupId> = listing.plans.iter().filter_map(|plan| plan.group.clone()).collect();
        groups.sort();
        groups.dedup();
        Ok(Some(groups))
    }

    /// The person a caller names: `me`, an id, an address or a display name, which means a member of the plan's `group`
    /// before anybody else.
    ///
    /// # Errors
    /// When nobody or several people are meant, or the directory cannot be read.
    pub(super) async fn assignee(
        &self,
        caller: &Caller,
        group: Option<&GroupId>,
        text: &str,
    ) -> Result<Arc<Person>, Error> {
        if !text.trim().eq_ignore_ascii_case("me") {
            return self.person(caller, group, text).await;
        }
        match &caller.object_id {
            Some(id) => self.directory.people.resolve(id.as_str()).await,
            None => Err(Error::new(ErrorCode::UserNotFound, "`me` is nobody: the caller is no person")
                .hint("give a sign-in name or a display name; `find_people` finds them")),
        }
    }

    /// The one person a text means, a member of `group` before anybody else, among those the caller may learn of: a
    /// caller with a list of plans learns of nobody but the members of their groups and those their tasks are assigned to.
    ///
    /// # Errors
    /// When nobody or several people are meant, the caller's budget is used up, or the directory cannot be asked.
    pub async fn person(&self, caller: &Caller, group: Option<&GroupId>, text: &str) -> Result<Arc<Person>, Error> {
        if !caller.plan_scope.is_listed() {
            return self.directory.person(caller, group, text).await;
        }
        let listing = self.catalog.list(&caller.plan_scope, false).await?;
        let groups: BTreeSet<&GroupId> = listing.plans.iter().filter_map(|plan| plan.group.as_ref()).collect();
        for group in &groups {
            self.directory.people.meet_group(group).await;
        }
        let found = self.directory.people.resolve_among(text, &groups, &BTreeSet::new());
        if !found.as_ref().is_err_and(|error| error.code == ErrorCode::UserNotFound) {
            return found;
        }
        // Whom the caller's own plans show, it may name: a task is moved or changed with its assignees.
        let shown = self.shown_on(&listing);
        self.directory.people.meet(&shown, MANY).await;
        self.directory.people.resolve_among(text, &groups, &shown)
    }

    /// The people assigned to tasks of plans, as far as these are in memory.
    fn shown_on(&self, listing: &Listing) -> BTreeSet<UserId> {
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
