//! The plans a deployment may touch, their names, and a handle on each.
//!
//! Every lookup on behalf of a caller takes the caller's [`PlanScope`] and answers as if nothing else existed; this is the
//! one place where it is applied. Plans are found through their groups: an application cannot list plans in any other way. The directory partition
//! gives every plan its four-character key once and for all, so that a task id leads to its plan on any instance.
//!
//! [`listing`] asks for the list, [`handles`] opens plans; names are resolved and scopes applied here.

mod handles;
mod listing;

use std::collections::HashMap;
use std::sync::Arc;

use chrono::{DateTime, Utc};
use parking_lot::{Mutex, RwLock};
use serde::{Deserialize, Serialize};
use tokio::sync::broadcast;

pub use self::listing::Listing;
pub(in crate::services::planner) use self::listing::is_closed;
use super::Settings;
use super::background::Background;
use super::plan_lists::PlanLists;
use crate::auth::PlanScope;
use crate::clock::Clock;
use crate::error::ErrorCode;
use crate::graph;
use crate::ids::{GroupId, PlanId};
use crate::rows::{Partition, TenantTables};
use crate::services::directory::Directory;
use crate::services::names::{is_close, same_name};
use crate::services::{Environment, Error};
use crate::sync::memory::Memory;
use crate::sync::{Committed, PlanHandle};

/// Transactions remembered for the relay, which tells other instances of them.
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
    pub(in crate::services::planner) fn allows(&self, plan: &str) -> bool {
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
    directory: Arc<Directory>,
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
    pub(in crate::services::planner) fn new(
        environment: &Environment,
        directory: Arc<Directory>,
        instance: String,
        settings: &Settings,
    ) -> Self {
        let Environment { tables, clock, graph, .. } = environment.clone();
        let scope = settings.scope.clone();
        Self {
            lists: Arc::new(PlanLists::new(tables.partition("plans"), scope.clone(), clock.clone())),
            refreshing: Background::new(clock.clone()),
            directory,
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
        Ok(plan_scope.allows_group(group, self.directory.memberships.of(plan_scope).await?.as_ref()))
    }

    pub(in crate::services::planner) fn allows(&self, plan: &PlanId) -> bool {
        self.scope.allows(plan.as_str())
    }

    /// Whether the deployment serves named plans alone, so that no other can be added.
    pub(in crate::services::planner) const fn is_fixed(&self) -> bool {
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
