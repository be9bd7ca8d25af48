//! What keeps the replica true without being asked: the work of timers.

use std::collections::HashSet;
use std::sync::Arc;

use chrono::{DateTime, TimeDelta, Utc};
use futures::StreamExt;
use parking_lot::Mutex;
use serde::Serialize;

use super::{Planner, ReconciledBy};
use crate::ids::PlanId;
use crate::services::Error;
use crate::sync::PlanHandle;
use crate::sync::schedule::{Activity, due};

/// Plans refreshed together.
const PARALLEL: usize = 16;
/// Plans not in use that one process compares with Planner in a minute, at most: about four calls each.
const QUIET_A_MINUTE: u32 = 12;

/// What the rounds of a process share: they overlap, so that a plan that hangs holds up no other.
#[derive(Default)]
pub(super) struct Rounds {
    /// Plans being compared.
    under_way: Arc<Mutex<HashSet<PlanId>>>,
    /// Since when the present minute lasts, and how many plans not in use were compared in it.
    quiet: Mutex<(Option<DateTime<Utc>>, u32)>,
}

impl Rounds {
    /// Marks a plan as being compared; `None` when it is.
    fn begin(&self, plan: &PlanId) -> Option<UnderWay> {
        let begun = self.under_way.lock().insert(plan.clone());
        begun.then(|| UnderWay { plans: self.under_way.clone(), plan: plan.clone() })
    }

    /// Takes a place for a plan not in use in the present minute.
    fn take_quiet(&self, now: DateTime<Utc>) -> bool {
        let mut quiet = self.quiet.lock();
        if quiet.0.is_none_or(|since| now - since >= TimeDelta::minutes(1) || now < since) {
            *quiet = (Some(now), 0);
        }
        quiet.1 += 1;
        quiet.1 <= QUIET_A_MINUTE
    }
}

/// A plan being compared; until it is dropped.
struct UnderWay {
    plans: Arc<Mutex<HashSet<PlanId>>>,
    plan: PlanId,
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.plans.lock().remove(&self.plan);
    }
}

/// What refreshing the plans came to.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Reconciled {
    /// Plans compared with Planner.
    pub plans: usize,
    /// Plans that could not be; the log says why.
    pub failed: usize,
}

/// What refreshing the names came to.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Renamed {
    /// Plans listed.
    pub plans: usize,
    /// Groups whose members are known.
    pub groups: usize,
}

impl Planner {
    /// Compares every plan that was ever used with Planner, and pushes what is journalled and was left behind.
    ///
    /// # Errors
    /// When the directory of plans cannot be read.
    pub async fn reconcile_plans(&self) -> Result<Reconciled, Error> {
        self.reconcile_handles(self.catalog.used().await?).await
    }

    /// What the timer of plans does: as [`ReconciledBy`] says, it refreshes those that are due, those whose message got lost,
    /// or all. Before that it resumes moves that were cut off.
    ///
    /// # Errors
    /// When the directory of plans or the store cannot be read.
    pub async fn run_plan_timer(&self) -> Result<Reconciled, Error> {
        self.resume_moves(None).await?;
        if let Err(error) = self.keys.sweep(self.now()).await {
            tracing::warn!(%error, "idempotency keys that are forgotten cannot be swept");
        }
        match self.settings.reconciled_by {
            ReconciledBy::Scheduler => self.reconcile_due_plans().await,
            ReconciledBy::Timer => self.reconcile_plans().await,
            ReconciledBy::Messages => {
                let reconciliations =
                    self.catalog.used().await?.into_iter().map(|handle| self.reconcile_if_overdue(handle));
                let outcomes: Vec<_> =
                    futures::stream::iter(reconciliations).buffer_unordered(PARALLEL).collect().await;
                let mut reconciled = Reconciled::default();
                for outcome in outcomes {
                    match outcome? {
                        Some(true) => reconciled.plans += 1,
                        Some(false) => reconciled.failed += 1,
                        None => {}
                    }
                }
                Ok(reconciled)
            }
        }
    }

    /// As [`Self::reconcile_plans`], for the plans that are due; one this process has not compared yet is. Of plans not
    /// in use a few a minute, the longest overdue first.
    ///
    /// # Errors
    /// When the directory of plans cannot be read.
    pub async fn reconcile_due_plans(&self) -> Result<Reconciled, Error> {
        let (pace, now) = (self.settings.pace, self.clock.now());
        let mut handles: Vec<_> =
            self.catalog.used().await?.into_iter().map(|handle| (handle.activity(), handle)).collect();
        handles.retain(|(activity, _)| due(activity, pace, now) <= now);
        handles.sort_by_key(|(activity, _)| due(activity, pace, now));
        let wanted = |activity: &Activity| {
            activity.is_busy(now) || activity.reconciled_at.is_none() || self.rounds.take_quiet(now)
        };
        handles.retain(|(activity, _)| wanted(activity));
        self.reconcile_handles(handles.into_iter().map(|(_, handle)| handle).collect()).await
    }

    async fn reconcile_handles(&self, handles: Vec<Arc<PlanHandle>>) -> Result<Reconciled, Error> {
        let mut reconciliations = Vec::new();
        for handle in handles {
            if let Some(under_way) = self.rounds.begin(&handle.id) {
                reconciliations.push(self.reconcile_marked(handle, under_way));
            }
        }
        let outcomes: Vec<bool> = futures::stream::iter(reconciliations).buffer_unordered(PARALLEL).collect().await;
        let failed = outcomes.iter().filter(|fine| !**fine).count();
        Ok(Reconciled { plans: outcomes.len() - failed, failed })
    }

    async fn reconcile_marked(&self, handle: Arc<PlanHandle>, under_way: UnderWay) -> bool {
        let fine = self.reconcile(handle).await;
        drop(under_way);
        fine
    }

    pub(super) async fn reconcile(&self, handle: Arc<PlanHandle>) -> bool {
        let first = handle.as_of().is_none();
        let refreshed = match handle.ensure_current().await {
            Ok(()) => self.engine.refresh(&handle, self.clock.now()).await.map(drop),
            Err(error) => Err(error.into()),
        };
        self.last_errors.note(&handle.id, &refreshed);
        if first {
            self.pusher.resume(&handle);
        }
        if handle.counts().pending > 0 {
            self.remember(&handle).await;
        }
        if let Err(error) = &refreshed {
            tracing::warn!(plan = %handle.id, %error, "a plan cannot be refreshed");
        }
        refreshed.is_ok()
    }

    /// Reads the list of plans and their people again where what is remembered has grown old.
    ///
    /// # Errors
    /// When the plans cannot be listed.
    pub async fn refresh_names(&self) -> Result<Renamed, Error> {
        let listing = self.catalog.all(false).await?;
        let mut groups: Vec<_> = listing.plans.iter().filter_map(|plan| plan.group.as_ref()).collect();
        groups.sort_unstable();
        groups.dedup();
        for group in &groups {
            self.directory.people.meet_group(group).await;
        }
        Ok(Renamed { plans: listing.plans.len(), groups: groups.len() })
    }
}
