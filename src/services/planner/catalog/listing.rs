//! The list of plans: from memory while it is young, else asked of Planner, group by group.

use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use futures::StreamExt;

use super::handles::DirectoryRow;
use super::{Catalog, PlanEntry, Scope};
use crate::auth::PlanScope;
use crate::error::ErrorCode;
use crate::graph::{self, Call, Identity};
use crate::ids::GroupId;
use crate::services::directory::BELIEVED;
use crate::services::planner::background::PATIENCE;
use crate::services::planner::plan_lists::Empty;
use crate::services::{Error, graph_error};
use crate::sync::PlanHandle;

/// How long the list of plans is believed.
const LIFE: TimeDelta = TimeDelta::minutes(5);
/// How long a caller waits for a list where nothing else will do.
const LONGEST_WAIT: Duration = Duration::from_secs(20);
/// How long one waits who has a list, and answers about all of it.
const SOON: Duration = Duration::from_secs(1);
/// Groups whose plans are asked for at once.
const PARALLEL: usize = 16;

/// The list of plans at a moment.
#[derive(Debug)]
pub struct Listing {
    /// The plans, by title.
    pub plans: Vec<PlanEntry>,
    /// When Planner was asked.
    pub as_of: DateTime<Utc>,
    /// When every group was asked, those too that had no plan before; `None` before the first time.
    pub whole_as_of: Option<DateTime<Utc>>,
    /// The groups that had no plan, and when they were asked.
    pub(in crate::services::planner) empty: Empty,
}

impl Listing {
    /// The same list with some of its plans.
    pub(in crate::services::planner) fn with_plans(&self, plans: Vec<PlanEntry>, empty: Empty) -> Self {
        Self { plans, as_of: self.as_of, whole_as_of: self.whole_as_of, empty }
    }
}

impl Catalog {
    /// Makes the next [`Self::list`] ask Planner, every group.
    pub fn forget(&self) {
        self.lists.outdate();
    }

    /// Makes the next [`Self::list`] ask Planner, this group too if it had no plan.
    pub(in crate::services::planner) fn forget_group(&self, group: &GroupId) {
        self.lists.outdate_group(group);
    }

    /// Why a list is older than it should be, if it is.
    pub(in crate::services::planner) fn why_old(&self, listing: &Listing) -> Option<String> {
        let old = self.clock.now() - listing.as_of >= LIFE || self.lists.is_outdated();
        self.lists.last_error().or_else(|| old.then(|| "it has not answered yet".to_owned()))
    }

    /// Lists the plans within a caller's reach.
    ///
    /// # Errors
    /// When there is no list yet and the groups or their plans cannot be read, or the caller's own groups cannot.
    pub async fn list(&self, plan_scope: &PlanScope, fresh: bool) -> Result<Arc<Listing>, Error> {
        self.limited(plan_scope, self.all(fresh).await?).await
    }

    /// As [`Self::list`], for answers from what is known: a list to replace an old one is waited for only a second.
    ///
    /// # Errors
    /// As [`Self::list`].
    pub(in crate::services::planner) async fn list_soon(&self, plan_scope: &PlanScope) -> Result<Arc<Listing>, Error> {
        self.limited(plan_scope, self.all_of(LIFE, SOON).await?).await
    }

    /// As [`Self::list`], at most ten seconds old: enough to say that a plan is not there. However many callers look for
    /// plans that never were, Planner lists once in that time.
    ///
    /// # Errors
    /// As [`Self::list`].
    pub(in crate::services::planner) async fn list_lately(
        &self,
        plan_scope: &PlanScope,
    ) -> Result<Arc<Listing>, Error> {
        self.limited(plan_scope, self.all_of(BELIEVED, PATIENCE).await?).await
    }

    /// The plans within a caller's reach as they were last listed, by whichever process; none where no list is kept.
    ///
    /// # Errors
    /// When the store fails, or the caller's own groups cannot be read.
    pub(in crate::services::planner) async fn kept(
        &self,
        plan_scope: &PlanScope,
    ) -> Result<Vec<Arc<PlanHandle>>, Error> {
        self.lists.load().await;
        let Some(listing) = self.lists.current() else { return Ok(Vec::new()) };
        self.handles_of(&*self.limited(plan_scope, listing).await?).await
    }

    /// Groups whose plans were in the list: what another list is counted as.
    pub(in crate::services::planner) fn groups_listed(&self) -> usize {
        let groups = |listing: Arc<Listing>| {
            let with_plans: std::collections::BTreeSet<_> =
                listing.plans.iter().filter_map(|plan| plan.group.clone()).collect();
            with_plans.len()
        };
        self.lists.current().map_or(1, groups)
    }

    async fn limited(&self, plan_scope: &PlanScope, listing: Arc<Listing>) -> Result<Arc<Listing>, Error> {
        if plan_scope.is_everywhere() {
            return Ok(listing);
        }
        let memberships = self.directory.memberships.of(plan_scope).await?;
        let within = |plan: &&PlanEntry| plan_scope.allows(&plan.id, plan.group.as_ref(), &memberships);
        let plans = listing.plans.iter().filter(within).cloned().collect();
        Ok(Arc::new(listing.with_plans(plans, Empty::new())))
    }

    /// Lists all plans of the deployment, from memory while the list is young. An old list is better than none when Graph
    /// is away, and better than a long wait: it is answered while Planner is asked, unless `fresh`.
    pub(in crate::services::planner) async fn all(&self, fresh: bool) -> Result<Arc<Listing>, Error> {
        self.all_of(if fresh { TimeDelta::zero() } else { LIFE }, PATIENCE).await
    }

    /// As [`Self::all`], at most so old; an older one only where the usual age would do, after so much `patience`.
    async fn all_of(&self, life: TimeDelta, patience: Duration) -> Result<Arc<Listing>, Error> {
        let asked_at = self.clock.now();
        let (fresh, usual) = (life.is_zero(), life == LIFE);
        let as_of = |listing: &Listing| if usual { Some(listing.as_of) } else { listing.whole_as_of };
        let age = |listing: &Listing| as_of(listing).map_or(TimeDelta::MAX, |as_of| asked_at - as_of);
        let young = |listing: &Listing| {
            let usable = !self.lists.is_outdated() && (TimeDelta::zero()..life).contains(&age(listing));
            if fresh { as_of(listing) >= Some(asked_at) } else { usable }
        };
        if let Some(listing) = self.lists.current().filter(|listing| young(listing)) {
            return Ok(listing);
        }
        self.lists.load().await;
        let known = self.lists.current().filter(|_| usual);
        let patience = match &known {
            None => LONGEST_WAIT,
            Some(_) if self.lists.last_error().is_some() => Duration::ZERO,
            Some(_) => patience,
        };
        // The first answer may be to a question that was asked before.
        let mut answer = self.ask(patience, !usual).await;
        let must_be_new = !usual || self.lists.is_outdated();
        let is_old = |listing: &Listing| {
            let age = age(listing);
            self.lists.is_outdated() || if fresh { age > TimeDelta::zero() } else { age >= life }
        };
        if must_be_new && answer.as_ref().is_some_and(|answer| answer.as_ref().is_ok_and(|listing| is_old(listing))) {
            answer = self.ask(patience, !usual).await;
        }
        let error = match answer {
            Some(Ok(listing)) => return Ok(listing),
            Some(Err(error)) => error,
            None => Error::new(ErrorCode::GraphUnreachable, "Microsoft Graph has not listed the plans in time"),
        };
        if let Some(old) = known {
            tracing::warn!(%error, "the list of plans is old and is not renewed yet");
            return Ok(old);
        }
        Err(error)
    }

    /// Asks Planner for all plans: of `every` group, or of those that may have some; `None` when the answer takes longer
    /// than `patience`.
    async fn ask(&self, patience: Duration, every: bool) -> Option<Result<Arc<Listing>, Error>> {
        let every = every || self.lists.wants_every_group();
        let question = || {
            let (graph, scope, clock, lists) =
                (self.graph.clone(), self.scope.clone(), self.clock.clone(), self.lists.clone());
            let rows = self.rows.clone();
            async move {
                let _alone = lists.asking().await;
                let as_of = clock.now();
                let mut rested = if every { Empty::new() } else { lists.rested(as_of) };
                if !rested.is_empty() {
                    // Other instances have met plans in groups that had none when this one asked.
                    for row in rows.scan_prefix("p|").await? {
                        if let Some(group) = row.decode::<DirectoryRow>()?.group {
                            rested.remove(&group);
                        }
                    }
                }
                lists.take(read(&graph, &scope, as_of, every, rested).await).await
            }
        };
        self.refreshing.ask(every, patience, question).await
    }
}

/// Asks Planner for all plans, group by group, but for those that had none lately; whether that is `every` group is noted.
async fn read(
    graph: &graph::Client,
    scope: &Scope,
    as_of: DateTime<Utc>,
    every: bool,
    mut rested: Empty,
) -> Result<Listing, Error> {
    let call = Call::interactive(Identity::Application);
    let groups = if scope.groups.is_empty() {
        graph.list_groups(&call).await.map_err(graph_error)?
    } else {
        let wanted = scope.groups.iter().map(|group| graph.get_group(&call, group));
        let found = futures::future::join_all(wanted).await;
        found.into_iter().filter_map(Result::transpose).collect::<Result<_, _>>().map_err(graph_error)?
    };
    let mut empty = Empty::new();
    let mut asked = Vec::with_capacity(groups.len());
    for group in groups {
        match rested.remove(&group.id) {
            Some(asked_at) => drop(empty.insert(group.id, asked_at)),
            None => asked.push(group),
        }
    }
    let calls = asked.into_iter().map(|group| {
        let call = &call;
        async move {
            let plans = graph.list_group_plans(call, &group.id).await;
            (group, plans)
        }
    });
    let found: Vec<_> = futures::stream::iter(calls).buffer_unordered(PARALLEL).collect().await;
    let mut plans = Vec::new();
    for (group, listed) in found {
        let listed = match listed {
            Ok(listed) => listed,
            // A group may be gone or closed to us since it was listed; the others still count.
            Err(error) if is_closed(&error) => continue,
            Err(error) => return Err(graph_error(error)),
        };
        if listed.is_empty() {
            empty.insert(group.id.clone(), as_of);
        }
        plans.extend(listed.into_iter().filter(|plan| scope.allows(plan.id.as_str())).map(|plan| PlanEntry {
            id: plan.id,
            title: plan.title,
            group: Some(group.id.clone()),
            group_name: Some(group.display_name.clone()),
        }));
    }
    plans.sort_by(|left, right| (left.title.to_lowercase(), &left.id).cmp(&(right.title.to_lowercase(), &right.id)));
    Ok(Listing { plans, as_of, whole_as_of: every.then_some(as_of), empty })
}

/// Whether a group is gone, or not open to us.
pub(in crate::services::planner) fn is_closed(error: &graph::Error) -> bool {
    error.is_not_found() || matches!(error.kind, graph::ErrorKind::Forbidden { missing: None })
}
