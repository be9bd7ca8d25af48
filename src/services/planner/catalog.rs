//! The plans a deployment may touch, their names, and a handle on each.
//!
//! Every lookup on behalf of a caller takes the caller's [`PlanScope`] and answers as if nothing else existed; this is the
//! one place where it is applied. Plans are found through their groups: an application cannot list plans in any other way. The directory partition
//! gives every plan its four-character key once and for all, so that a task id leads to its plan on any instance.
//! Long because whatever leads to a plan stands here, where the reach is applied.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use futures::StreamExt;
use serde::{Deserialize, Serialize};
use tokio::sync::broadcast;

use super::Settings;
use super::background::{Background, PATIENCE};
use super::budget::BELIEVED;
use super::membership::Memberships;
use super::plan_lists::{Empty, PlanLists};
use super::remote::graph_error;
use super::words::{is_close, same_name};
use crate::auth::PlanScope;
use crate::clock::Clock;
use crate::error::ErrorCode;
use crate::graph::{self, Call, Identity};
use crate::ids::{GroupId, PlanId, PlanKey};
use crate::rows::{Partition, Row, StoreError, TenantTables, Write};
use crate::services::Error;
use crate::sync::memory::Memory;
use crate::sync::{Committed, PlanHandle};

/// How long the list of plans is believed.
const LIFE: TimeDelta = TimeDelta::minutes(5);
/// How long a caller waits for a list where nothing else will do.
const LONGEST_WAIT: Duration = Duration::from_secs(20);
/// How long one waits who has a list, and answers about all of it.
const SOON: Duration = Duration::from_secs(1);
/// Groups whose plans are asked for at once.
const PARALLEL: usize = 16;
/// Transactions remembered for whoever tells other instances of them.
const COMMITS: usize = 1_024;

/// Which plans a deployment may touch.
#[derive(Debug, Clone, Default)]
pub struct Scope {
    /// Only plans of these groups; all groups if empty.
    pub groups: Vec<GroupId>,
    /// Only these plans; all if empty.
    pub plans: Vec<PlanId>,
    /// The plan meant when a call names none.
    pub default_plan: Option<String>,
}

impl Scope {
    /// Whether a plan is among those named, or none are.
    pub(super) fn allows(&self, plan: &str) -> bool {
        self.plans.is_empty() || self.plans.iter().any(|named| named.as_str() == plan)
    }

    /// Whether a group is among those named, or none are.
    fn allows_group(&self, group: Option<&GroupId>) -> bool {
        self.groups.is_empty() || group.is_some_and(|group| self.groups.contains(group))
    }
}

/// A plan in the list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlanEntry {
    /// Planner's id.
    pub id: PlanId,
    /// The title.
    pub title: String,
    /// The owning group.
    pub group: Option<GroupId>,
    /// Its name.
    pub group_name: Option<String>,
}

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
    pub(super) empty: Empty,
}

impl Listing {
    /// The same list with some of its plans.
    pub(super) fn with_plans(&self, plans: Vec<PlanEntry>, empty: Empty) -> Self {
        Self { plans, as_of: self.as_of, whole_as_of: self.whole_as_of, empty }
    }
}

#[derive(Serialize, Deserialize)]
struct DirectoryRow {
    plan: PlanId,
    key: PlanKey,
    /// The owning group: whether a deployment limited to groups serves the plan is known without asking Planner.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    group: Option<GroupId>,
}

/// The plans of the deployment.
pub struct Catalog {
    graph: graph::Client,
    tables: TenantTables,
    /// The plans that were ever used, by id and by key.
    rows: Partition,
    clock: Clock,
    /// Names this instance in the leases it takes.
    instance: String,
    scope: Scope,
    memory: Arc<Memory>,
    memberships: Memberships,
    lists: Arc<PlanLists>,
    /// Questions under way, by whether every group is asked.
    refreshing: Background<bool, Result<Arc<Listing>, Error>>,
    handles: RwLock<HashMap<PlanId, Arc<PlanHandle>>>,
    /// Told of every transaction of this process.
    commits: broadcast::Sender<Committed>,
    /// Told of the same, and of those of other instances that were heard of.
    news: broadcast::Sender<Committed>,
    /// The plans in use as last read, for those who need not know better.
    used: Mutex<Option<(DateTime<Utc>, Vec<PlanId>)>>,
}

impl Catalog {
    pub(super) fn new(
        graph: graph::Client,
        tables: TenantTables,
        clock: Clock,
        instance: String,
        settings: &Settings,
    ) -> Self {
        let scope = settings.scope.clone();
        Self {
            lists: Arc::new(PlanLists::new(tables.partition("plans"), scope.clone(), clock.clone())),
            refreshing: Background::new(clock.clone()),
            memberships: Memberships::new(graph.clone(), clock.clone()),
            graph,
            rows: tables.partition("directory"),
            tables,
            clock,
            instance,
            scope,
            memory: Memory::new(settings.replica_memory),
            handles: RwLock::default(),
            commits: broadcast::channel(COMMITS).0,
            news: broadcast::channel(COMMITS).0,
            used: Mutex::default(),
        }
    }

    /// Makes the next [`Self::list`] ask Planner, every group.
    pub fn forget(&self) {
        self.lists.outdate();
    }

    /// Makes the next [`Self::list`] ask Planner, this group too if it had no plan.
    pub(super) fn forget_group(&self, group: &GroupId) {
        self.lists.outdate_group(group);
    }

    /// Why a list is older than it should be, if it is.
    pub(super) fn why_old(&self, listing: &Listing) -> Option<String> {
        let old = self.clock.now() - listing.as_of >= LIFE || self.lists.is_outdated();
        self.lists.trouble().or_else(|| old.then(|| "it has not answered yet".to_owned()))
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
    pub(super) async fn list_soon(&self, plan_scope: &PlanScope) -> Result<Arc<Listing>, Error> {
        self.limited(plan_scope, self.all_of(LIFE, SOON).await?).await
    }

    /// As [`Self::list`], at most ten seconds old: enough to say that a plan is not there. However many callers look for
    /// plans that never were, Planner lists once in that time.
    ///
    /// # Errors
    /// As [`Self::list`].
    pub(super) async fn list_lately(&self, plan_scope: &PlanScope) -> Result<Arc<Listing>, Error> {
        self.limited(plan_scope, self.all_of(BELIEVED, PATIENCE).await?).await
    }

    /// The plans within a caller's reach as they were last listed, by whichever process; none where no list is kept.
    ///
    /// # Errors
    /// When the store fails, or the caller's own groups cannot be read.
    pub(super) async fn kept(&self, plan_scope: &PlanScope) -> Result<Vec<Arc<PlanHandle>>, Error> {
        self.lists.load().await;
        let Some(listing) = self.lists.current() else { return Ok(Vec::new()) };
        self.handles_of(&*self.limited(plan_scope, listing).await?).await
    }

    /// The handles of all plans of a list.
    ///
    /// # Errors
    /// When the store fails, or the deployment does not serve one of them.
    pub(super) async fn handles_of(&self, listing: &Listing) -> Result<Vec<Arc<PlanHandle>>, Error> {
        let mut handles = Vec::with_capacity(listing.plans.len());
        for plan in &listing.plans {
            handles.push(self.handle(plan).await?);
        }
        Ok(handles)
    }

    /// Groups whose plans were in the list: what another list is counted as.
    pub(super) fn groups_listed(&self) -> usize {
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
        let memberships = self.memberships.of(plan_scope).await?;
        let within = |plan: &&PlanEntry| plan_scope.allows(&plan.id, plan.group.as_ref(), &memberships);
        let plans = listing.plans.iter().filter(within).cloned().collect();
        Ok(Arc::new(listing.with_plans(plans, Empty::new())))
    }

    /// Whether a plan is within a caller's reach.
    async fn reaches(&self, plan_scope: &PlanScope, plan: &PlanId) -> Result<bool, Error> {
        let listed = |listing: Arc<Listing>| listing.plans.iter().any(|known| known.id == *plan);
        Ok(plan_scope.is_everywhere()
            || listed(self.list(plan_scope, false).await?)
            || (!listed(self.all(false).await?) && listed(self.list_lately(plan_scope).await?)))
    }

    /// Whether plans of a group are among those the deployment serves.
    pub fn serves_group(&self, group: &GroupId) -> bool {
        self.scope.allows_group(Some(group))
    }

    /// Whether a caller may make plans in a group.
    ///
    /// # Errors
    /// When the caller's own groups cannot be read.
    pub async fn reaches_group(&self, plan_scope: &PlanScope, group: &GroupId) -> Result<bool, Error> {
        let deployment = self.serves_group(group);
        if !deployment || plan_scope.is_everywhere() {
            return Ok(deployment);
        }
        Ok(plan_scope.allows_group(group, self.memberships.of(plan_scope).await?.as_ref()))
    }

    /// Lists all plans of the deployment, from memory while the list is young. An old list is better than none when Graph
    /// is away, and better than a long wait: it is answered while Planner is asked, unless `fresh`.
    pub(super) async fn all(&self, fresh: bool) -> Result<Arc<Listing>, Error> {
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
            Some(_) if self.lists.trouble().is_some() => Duration::ZERO,
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

    pub(super) fn allows(&self, plan: &PlanId) -> bool {
        self.scope.allows(plan.as_str())
    }

    /// Whether the deployment serves named plans alone, so that no other can be added.
    pub(super) const fn is_fixed(&self) -> bool {
        !self.scope.plans.is_empty()
    }

    /// The plan an id or a title means; without either the default plan.
    ///
    /// # Errors
    /// When no plan or several are meant; the candidates are named.
    pub async fn resolve(&self, plan_scope: &PlanScope, text: Option<&str>) -> Result<Arc<PlanHandle>, Error> {
        let Some(text) = text.map(str::trim).filter(|text| !text.is_empty()).or(self.scope.default_plan.as_deref())
        else {
            return self.only_plan(plan_scope).await;
        };
        if let Ok(id) = PlanId::parse(text) {
            if plan_scope.is_everywhere()
                && let Some(handle) = self.known_handle(&id)
            {
                return Ok(handle);
            }
            let listing = self.list(plan_scope, false).await?;
            let listing = if listing.plans.iter().any(|plan| plan.id == id) {
                listing
            } else {
                self.list_lately(plan_scope).await?
            };
            if let Some(plan) = listing.plans.iter().find(|plan| plan.id == id) {
                return self.handle(plan).await;
            }
        }
        let mut listing = self.list(plan_scope, false).await?;
        let mut named: Vec<&PlanEntry> = listing.plans.iter().filter(|plan| same_name(&plan.title, text)).collect();
        if named.is_empty() {
            listing = self.list_lately(plan_scope).await?;
            named = listing.plans.iter().filter(|plan| same_name(&plan.title, text)).collect();
        }
        match named.as_slice() {
            [only] => self.handle(only).await,
            [] => Err(unknown_plan(text, &listing)),
            several => Err(Error::new(ErrorCode::AmbiguousName, format!("`{text}` is the title of several plans"))
                .hint(format!("give the id of one: {}", listed(several.iter().copied())))),
        }
    }

    async fn only_plan(&self, plan_scope: &PlanScope) -> Result<Arc<PlanHandle>, Error> {
        let listing = self.list(plan_scope, false).await?;
        match listing.plans.as_slice() {
            [only] => self.handle(only).await,
            plans => Err(Error::invalid("`plan_id` is missing and no default plan is configured")
                .hint(format!("give the id or title of one: {}", listed(plans.iter())))),
        }
    }

    /// The handle on a plan, if it was ever used in this process.
    pub fn known_handle(&self, id: &PlanId) -> Option<Arc<PlanHandle>> {
        self.handles.read().unwrap_or_else(PoisonError::into_inner).get(id).cloned()
    }

    /// The transactions of this process from now on.
    #[must_use]
    pub fn commits(&self) -> broadcast::Receiver<Committed> {
        self.commits.subscribe()
    }

    /// The transactions of all instances as far as they are heard of here, from now on.
    #[must_use]
    pub fn news(&self) -> broadcast::Receiver<Committed> {
        self.news.subscribe()
    }

    /// The handles in use, whoever uses them: for the machinery. What a caller may hear of has passed
    /// [`Self::within`]; all are of plans that the deployment serves.
    #[must_use]
    pub fn handles(&self) -> Vec<Arc<PlanHandle>> {
        self.handles.read().unwrap_or_else(PoisonError::into_inner).values().cloned().collect()
    }

    /// A handle, if its plan is within a caller's reach.
    ///
    /// # Errors
    /// When the plans or the caller's own groups cannot be read.
    pub async fn within(
        &self,
        plan_scope: &PlanScope,
        handle: Arc<PlanHandle>,
    ) -> Result<Option<Arc<PlanHandle>>, Error> {
        Ok(self.reaches(plan_scope, &handle.id).await?.then_some(handle))
    }

    /// The handles of all plans that were ever used, by any instance, and that the deployment serves.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn used(&self) -> Result<Vec<Arc<PlanHandle>>, Error> {
        let mut used = Vec::new();
        for row in self.rows.scan_prefix("p|").await? {
            used.extend(self.open_known(row.decode()?).await?);
        }
        let ids = used.iter().map(|handle| handle.id.clone()).collect();
        *self.used.lock().unwrap_or_else(PoisonError::into_inner) = Some((self.clock.now(), ids));
        Ok(used)
    }

    /// As [`Self::used`], by a list that may be as old as `age`, and by what is used in this process.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn used_lately(&self, age: TimeDelta) -> Result<Vec<Arc<PlanHandle>>, Error> {
        let known = self.used.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let Some((_, ids)) = known.filter(|(at, _)| self.clock.now() - *at < age) else { return self.used().await };
        let mut used = self.handles();
        used.retain(|handle| self.allows(&handle.id));
        for id in ids {
            if !used.iter().any(|handle| handle.id == id) {
                used.extend(self.served(&id).await?);
            }
        }
        Ok(used)
    }

    /// Forgets a plan that is gone.
    pub fn drop_plan(&self, id: &PlanId) {
        self.handles.write().unwrap_or_else(PoisonError::into_inner).remove(id);
        self.lists.remove(id);
    }

    /// The handle of a plan of the list.
    ///
    /// # Errors
    /// When the store fails, or the deployment does not serve the plan.
    pub async fn handle(&self, plan: &PlanEntry) -> Result<Arc<PlanHandle>, Error> {
        self.open(&plan.id, plan.group.as_ref())
            .await?
            .ok_or_else(|| Error::new(ErrorCode::PlanNotFound, format!("there is no plan `{}` you may use", plan.id)))
    }

    /// As [`Self::served`], for work on a plan that has begun.
    ///
    /// # Errors
    /// When the store fails, or the deployment does not serve the plan any more.
    pub async fn handle_of(&self, id: &PlanId) -> Result<Arc<PlanHandle>, Error> {
        self.served(id).await?.ok_or_else(|| {
            Error::new(ErrorCode::PlanNotFound, format!("this deployment does not serve the plan `{id}` any more"))
        })
    }

    /// The handle of a plan that was used before, by any instance; `None` when it was not, or the deployment does not
    /// serve it.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn served(&self, id: &PlanId) -> Result<Option<Arc<PlanHandle>>, Error> {
        if let Some(handle) = self.known_handle(id) {
            return Ok(Some(handle));
        }
        match self.rows.get(&format!("p|{id}")).await? {
            Some(row) => self.open_known(row.decode()?).await,
            None => Ok(None),
        }
    }

    /// The handle of a plan in the directory, if the deployment serves it.
    async fn open_known(&self, row: DirectoryRow) -> Result<Option<Arc<PlanHandle>>, Error> {
        let mut group = row.group;
        if group.is_none() && !self.scope.groups.is_empty() && self.allows(&row.plan) {
            // Without a list that says otherwise, the plan counts as none of the deployment's.
            let listing = self.all(false).await.ok();
            let listed = listing.as_ref().and_then(|listing| listing.plans.iter().find(|plan| plan.id == row.plan));
            group = listed.and_then(|plan| plan.group.clone());
        }
        self.open(&row.plan, group.as_ref()).await
    }

    /// The handle of a plan of a group, if the deployment serves it. There is no other way to a handle, so what the
    /// deployment does not serve is neither read nor refreshed nor written.
    async fn open(&self, id: &PlanId, group: Option<&GroupId>) -> Result<Option<Arc<PlanHandle>>, Error> {
        if !self.allows(id) || !self.scope.allows_group(group) {
            return Ok(None);
        }
        if let Some(handle) = self.known_handle(id) {
            return Ok(Some(handle));
        }
        let key = self.key(id, group).await?;
        let mut handles = self.handles.write().unwrap_or_else(PoisonError::into_inner);
        let (clock, instance) = (self.clock.clone(), self.instance.clone());
        let new = || {
            let handle = PlanHandle::new(&self.tables, id.clone(), key, clock, instance);
            let handle = handle.telling(self.commits.clone(), self.news.clone()).within(self.memory.clone());
            let handle = Arc::new(handle);
            self.memory.admit(&handle);
            handle
        };
        Ok(Some(handles.entry(id.clone()).or_insert_with(new).clone()))
    }

    /// The handle of the plan whose tasks carry a key.
    ///
    /// # Errors
    /// When the store fails; `Ok(None)` when no plan within reach has the key.
    pub async fn handle_by_key(&self, plan_scope: &PlanScope, key: &PlanKey) -> Result<Option<Arc<PlanHandle>>, Error> {
        if let Some(handle) = self.handles().into_iter().find(|handle| handle.key == *key) {
            return self.within(plan_scope, handle).await;
        }
        let row = self.rows.get(&format!("k|{key}")).await?;
        let Some(found) = row.map(|row| row.decode::<DirectoryRow>()).transpose()? else { return Ok(None) };
        match self.open_known(found).await? {
            Some(handle) => self.within(plan_scope, handle).await,
            None => Ok(None),
        }
    }

    /// The plan's key, given out on first use. Two plans never share one: the key's row can be inserted only once.
    async fn key(&self, id: &PlanId, group: Option<&GroupId>) -> Result<PlanKey, StoreError> {
        let read = |row: Option<Row>| row.map(|row| row.decode::<DirectoryRow>()).transpose();
        if let Some(mut found) = read(self.rows.get(&format!("p|{id}")).await?)? {
            if found.group.is_none() && group.is_some() {
                found.group = group.cloned();
                let key = format!("k|{}", found.key);
                let writes = vec![Write::upsert(format!("p|{id}"), &found)?, Write::upsert(key, &found)?];
                self.rows.commit(writes).await?;
            }
            return Ok(found.key);
        }
        let mut attempt = 0;
        loop {
            let key = PlanKey::derive(id, attempt);
            let row = DirectoryRow { plan: id.clone(), key: key.clone(), group: group.cloned() };
            let writes = vec![Write::insert(format!("p|{id}"), &row)?, Write::insert(format!("k|{key}"), &row)?];
            match self.rows.commit(writes).await {
                Ok(_) => return Ok(key),
                Err(StoreError::Conflict { .. }) => {
                    if let Some(found) = read(self.rows.get(&format!("p|{id}")).await?)? {
                        return Ok(found.key); // another instance was faster
                    }
                    attempt += 1;
                }
                Err(error) => return Err(error),
            }
        }
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
pub(super) fn is_closed(error: &graph::Error) -> bool {
    error.is_not_found() || matches!(error.kind, graph::ErrorKind::Forbidden { missing: None })
}

fn listed<'a>(plans: impl Iterator<Item = &'a PlanEntry>) -> String {
    plans
        .take(20)
        .map(|plan| {
            let group = plan.group_name.as_ref().map(|name| format!(", group {name}")).unwrap_or_default();
            format!("`{}` ({}{group})", plan.title, plan.id)
        })
        .collect::<Vec<_>>()
        .join(", ")
}

fn unknown_plan(text: &str, listing: &Listing) -> Error {
    let error = Error::new(ErrorCode::PlanNotFound, format!("there is no plan `{text}` you may use"));
    let close = |plan: &&PlanEntry| is_close(&plan.title, text);
    if listing.plans.iter().any(|plan| close(&plan)) {
        let others = listing.plans.iter().filter(|plan| !close(plan));
        let (close, others) = (listed(listing.plans.iter().filter(close)), listed(others));
        return error.hint(format!("close: {close}; plans: {others}"));
    }
    error.hint(format!("plans: {}", listed(listing.plans.iter())))
}
