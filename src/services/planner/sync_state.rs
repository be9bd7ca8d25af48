//! The sync state of the plans, and what a person may do about it: refresh now, or confirm what was held back.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use chrono::{DateTime, TimeDelta, Utc};
use futures::StreamExt;
use parking_lot::Mutex;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::plan::group_of;
use super::{PlanEntry, Planner};
use crate::auth::Caller;
use crate::ids::PlanId;
use crate::services::Error;
use crate::services::IntoJson;
use crate::services::print_time;
use crate::sync::model::{FrozenBecause, TaskRecord};
use crate::sync::push::READ_ONLY;
use crate::sync::{PlanHandle, Pushes, RefreshError, Refreshed};

/// Plans asked about together.
const PARALLEL: usize = 8;

/// The sync state of a plan, or of all of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum SyncState {
    /// Nothing waits.
    UpToDate,
    /// Something has yet to reach Planner, and will by itself.
    Pending,
    /// The plan is not followed, or deletions are held back, until somebody acts.
    Stopped,
}

impl SyncState {
    /// The state, for people.
    #[must_use]
    pub const fn words(self) -> &'static str {
        match self {
            Self::UpToDate => "up to date",
            Self::Pending => "pending",
            Self::Stopped => "stopped",
        }
    }
}

/// The sync state of the plans.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct SyncHealth {
    /// The worst of the plans'.
    pub status: SyncState,
    /// The plans that have been used.
    pub plans: Vec<PlanHealth>,
}

/// The sync state of a plan.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct PlanHealth {
    /// The plan.
    pub plan_id: String,
    /// Its title.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub plan: Option<String>,
    /// Its sync state.
    pub status: SyncState,
    /// When Planner was last asked, as far as this instance knows.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub as_of: Option<String>,
    /// Tasks it has.
    pub tasks: usize,
    /// Operations that have yet to reach Planner.
    pub pending: usize,
    /// Tasks on their way to another plan.
    #[serde(skip_serializing_if = "is_zero")]
    pub moves: usize,
    /// Since when the oldest of all these waits.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub oldest_pending: Option<String>,
    /// Whether an instance has calls to Planner under way for it.
    pub working: bool,
    /// Why it is not followed as usual.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stopped: Option<String>,
    /// What went wrong at its last refresh, as far as this instance knows.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_error: Option<String>,
    /// What to do about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub what_to_do: Option<String>,
}

impl IntoJson for SyncHealth {}

impl PlanHealth {
    /// Counts tasks on their way to another plan, begun at these times.
    fn add_moves(&mut self, begun: &[DateTime<Utc>]) {
        self.moves = begun.len();
        self.status = self.status.max(SyncState::Pending);
        let oldest = begun.iter().min().copied().map(print_time);
        // Printed times sort as they are.
        self.oldest_pending = self.oldest_pending.take().into_iter().chain(oldest).min();
    }
}

#[allow(clippy::trivially_copy_pass_by_ref)] // the signature serde asks for
fn is_zero(number: &usize) -> bool {
    *number == 0
}

/// What went wrong at the last refresh of each plan; forgotten once a refresh goes well.
#[derive(Clone, Default)]
pub(super) struct LastErrors(Arc<Mutex<HashMap<PlanId, String>>>);

impl LastErrors {
    pub(super) fn note<T>(&self, plan: &PlanId, refreshed: &Result<T, RefreshError>) {
        let mut last_errors = self.0.lock();
        match refreshed {
            Ok(_) => last_errors.remove(plan),
            Err(error) => last_errors.insert(plan.clone(), error.to_string()),
        };
    }

    pub(super) fn of(&self, plan: &PlanId) -> Option<String> {
        self.0.lock().get(plan).cloned()
    }
}

/// Which plans to refresh. A plan, a group, a task: one of them, by id or by name.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RefreshRequest {
    /// Plan id or title
    pub plan: Option<String>,
    /// Group id or name: all of its plans that are in use
    pub group: Option<String>,
    /// Task id, ours or Planner's: its plan
    pub task: Option<String>,
}

/// What refreshing plans came to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct RefreshReport {
    /// The plans.
    pub plans: Vec<PlanRefresh>,
}

/// What refreshing a plan came to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct PlanRefresh {
    /// The plan.
    pub plan_id: String,
    /// Its title.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub plan: Option<String>,
    /// Tasks that had changed in Planner, or appeared there.
    pub changed: usize,
    /// Tasks that were gone.
    pub removed: usize,
    /// Tasks that seem to be deleted or changed all at once: nothing is followed until somebody confirms it.
    pub held_back: usize,
    /// Why Planner could not be asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

impl IntoJson for RefreshReport {}
impl IntoJson for PlanRefresh {}

impl Planner {
    /// The handles of the plans within a caller's scope that were ever used, by any instance.
    ///
    /// # Errors
    /// When the store, or what bounds the scope of plans, cannot be read.
    pub async fn followed(&self, caller: &Caller) -> Result<Vec<Arc<PlanHandle>>, Error> {
        self.within(caller, self.catalog.used().await?).await
    }

    /// As [`Self::followed`], by a list of plans that may be as old as `age`.
    ///
    /// # Errors
    /// As [`Self::followed`].
    pub async fn followed_lately(&self, caller: &Caller, age: TimeDelta) -> Result<Vec<Arc<PlanHandle>>, Error> {
        self.within(caller, self.catalog.used_lately(age).await?).await
    }

    /// Those of the handles that are within a caller's scope.
    async fn within(&self, caller: &Caller, used: Vec<Arc<PlanHandle>>) -> Result<Vec<Arc<PlanHandle>>, Error> {
        if caller.plan_scope.is_everywhere() {
            return Ok(used);
        }
        let listing = self.catalog.list(&caller.plan_scope, false).await?;
        let within = |handle: &Arc<PlanHandle>| listing.plans.iter().any(|plan| plan.id == handle.id);
        Ok(used.into_iter().filter(within).collect())
    }

    /// The plans a caller may see, by Planner's id and by the key their tasks' ids begin with; `None` are all.
    ///
    /// # Errors
    /// When the store, or what bounds the scope of plans, cannot be read.
    pub async fn visible_plans(&self, caller: &Caller) -> Result<Option<HashSet<String>>, Error> {
        if caller.plan_scope.is_everywhere() {
            return Ok(None);
        }
        let followed = self.followed(caller).await?;
        Ok(Some(followed.iter().flat_map(|plan| [plan.id.to_string(), plan.key.to_string()]).collect()))
    }

    /// Answers the sync state of the plans; asks the store alone.
    ///
    /// # Errors
    /// When there is no such plan, or the store cannot be read.
    pub async fn sync_health(&self, caller: &Caller, plan: Option<&str>) -> Result<SyncHealth, Error> {
        let handles = match plan {
            Some(plan) => vec![self.catalog.resolve(&caller.plan_scope, Some(plan)).await?],
            None => self.followed(caller).await?,
        };
        let healths = handles.into_iter().map(|handle| async move {
            handle.ensure_current().await?;
            Ok::<_, Error>(PlanHealth {
                last_error: self.last_errors.of(&handle.id),
                ..health(&handle, self.engine.pushes())
            })
        });
        let healths: Vec<_> = futures::stream::iter(healths).buffered(PARALLEL).collect().await;
        let mut plans = healths.into_iter().collect::<Result<Vec<_>, _>>()?;
        let mut moves = self.open_moves().await?;
        for plan in &mut plans {
            if let Some(begun) = PlanId::parse(&plan.plan_id).ok().and_then(|id| moves.remove(&id)) {
                plan.add_moves(&begun);
            }
        }
        plans.sort_by(|left, right| (&left.plan, &left.plan_id).cmp(&(&right.plan, &right.plan_id)));
        let status = plans.iter().map(|plan| plan.status).max().unwrap_or(SyncState::UpToDate);
        Ok(SyncHealth { status, plans })
    }

    /// Compares plans with Planner now: somebody has seen something change there. Costs nothing but calls if not.
    ///
    /// # Errors
    /// When nothing or several things are named, or there is no such plan, group or task.
    pub async fn refresh_now(&self, caller: &Caller, request: &RefreshRequest) -> Result<RefreshReport, Error> {
        let handles = match (&request.plan, &request.group, &request.task) {
            (Some(plan), None, None) => vec![self.catalog.resolve(&caller.plan_scope, Some(plan)).await?],
            (None, Some(group), None) => self.used_of_group(caller, group).await?,
            (None, None, Some(task)) => vec![self.plan_of(caller, task).await?],
            _ => {
                return Err(Error::invalid("one of `plan`, `group` and `task` is expected")
                    .hint("such as {\"plan\": \"Website relaunch\"}"));
            }
        };
        let refreshes = handles.into_iter().map(|handle| async move {
            let seen = async {
                handle.ensure_current().await?;
                let refreshed = self.engine.refresh(&handle, self.now()).await;
                self.last_errors.note(&handle.id, &refreshed);
                Ok::<_, Error>(refreshed?)
            };
            plan_refresh(&handle, seen.await)
        });
        Ok(RefreshReport { plans: futures::stream::iter(refreshes).buffered(PARALLEL).collect().await })
    }

    /// Follows what the guard held back: many tasks deleted or changed at once in Planner, which a person has checked.
    ///
    /// # Errors
    /// When there is no such plan, or Planner cannot be asked.
    pub async fn confirm(&self, caller: &Caller, plan: &str) -> Result<PlanRefresh, Error> {
        let handle = self.catalog.resolve(&caller.plan_scope, Some(plan)).await?;
        handle.ensure_current().await?;
        caller.touch("plan_id", handle.id.as_str());
        let refreshed = self.engine.confirm(&handle).await?;
        tracing::info!(plan = %handle.id, removed = refreshed.removed, by = caller.name, "a mass change is confirmed");
        Ok(plan_refresh(&handle, Ok(refreshed)))
    }

    /// The plan of a task, without asking for the task itself.
    async fn plan_of(&self, caller: &Caller, task: &str) -> Result<Arc<PlanHandle>, Error> {
        Ok(self.find(caller, task, super::Freshness::Usual).await?.handle)
    }

    async fn used_of_group(&self, caller: &Caller, group: &str) -> Result<Vec<Arc<PlanHandle>>, Error> {
        let listing = self.catalog.list(&caller.plan_scope, false).await?;
        let group = group_of(&listing, group)?;
        let plans: Vec<&PlanEntry> = listing.plans.iter().filter(|plan| plan.group.as_ref() == Some(&group)).collect();
        let used = self.followed(caller).await?;
        Ok(used.into_iter().filter(|handle| plans.iter().any(|plan| plan.id == handle.id)).collect())
    }
}

fn plan_refresh(handle: &PlanHandle, seen: Result<Refreshed, Error>) -> PlanRefresh {
    let plan = handle.plan().map(|plan| plan.title.clone());
    let plan_id = handle.id.to_string();
    match seen {
        Ok(Refreshed { changed, removed, held_back, .. }) => {
            PlanRefresh { plan_id, plan, changed, removed, held_back, error: None }
        }
        Err(error) => PlanRefresh { plan_id, plan, changed: 0, removed: 0, held_back: 0, error: Some(error.message) },
    }
}

fn health(handle: &PlanHandle, pushes: Pushes) -> PlanHealth {
    let replica = handle.read();
    let dirty = || replica.records().filter(|record| record.is_dirty());
    let pending = dirty().map(|record| record.pending.len()).sum();
    let oldest = dirty().map(|record| waiting_since(record)).min();
    let stopped = replica.state.stopped();
    let what_to_do = match (&replica.state.frozen, &replica.state.guard) {
        _ if pushes == Pushes::Held && pending > 0 => Some(READ_ONLY.to_owned()),
        (Some(frozen), _) => Some(match frozen.why {
            FrozenBecause::PermissionLost => {
                "give the application its permissions back, or let it into the group again; it is followed again by itself"
                    .to_owned()
            }
            FrozenBecause::WritesDenied => {
                "give the application the permission to write back (`Tasks.ReadWrite.All`), or let it into the group again; \
                 what waits is then written by itself"
                    .to_owned()
            }
            FrozenBecause::PlanGone => {
                "restore the plan or its group in Microsoft 365; without that nothing more is written".to_owned()
            }
        }),
        (None, Some(_)) => Some(format!(
            "check the plan in Planner; if it is right there, `POST /api/sync/plans/{}/confirm`",
            handle.id
        )),
        (None, None) => None,
    };
    let status = match (&stopped, pending) {
        (Some(_), _) => SyncState::Stopped,
        (None, 0) => SyncState::UpToDate,
        (None, _) => SyncState::Pending,
    };
    PlanHealth {
        plan_id: handle.id.to_string(),
        plan: replica.plan.as_ref().map(|plan| plan.title.clone()),
        status,
        as_of: handle.as_of().map(print_time),
        tasks: replica.live().count(),
        pending,
        moves: 0,
        oldest_pending: oldest.map(print_time),
        working: replica.is_worked_on(),
        stopped,
        last_error: None,
        what_to_do,
    }
}

/// Since when a task that has yet to reach Planner waits.
fn waiting_since(record: &TaskRecord) -> DateTime<Utc> {
    record.edited.values().copied().min().unwrap_or(record.changed_at)
}
