//! What keeps the replica true without being asked: the work of timers.

use std::sync::Arc;

use futures::StreamExt;
use serde::Serialize;

use super::{LooksBy, Planner};
use crate::services::Error;
use crate::sync::PlanHandle;
use crate::sync::schedule::due;

/// Plans looked at together.
const PARALLEL: usize = 4;

/// What a look at the plans came to.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Reconciled {
    /// Plans compared with Planner.
    pub plans: usize,
    /// Plans that could not be; the log says why.
    pub failed: usize,
}

/// What a look at the names came to.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Renamed {
    /// Plans listed.
    pub plans: usize,
    /// Groups whose members are known.
    pub groups: usize,
}

impl Planner {
    /// Compares every plan that was ever used with Planner, and goes on with what is journalled and was left behind.
    ///
    /// # Errors
    /// When the directory of plans cannot be read.
    pub async fn reconcile_plans(&self) -> Result<Reconciled, Error> {
        self.look_at_those(|_| true).await
    }

    /// What the timer of plans does: as [`LooksBy`] says, it looks at those that are due, at those whose message got lost,
    /// or at all.
    ///
    /// # Errors
    /// When the directory of plans or the store cannot be read.
    pub async fn tend_plans(&self) -> Result<Reconciled, Error> {
        match self.settings.looks {
            LooksBy::Scheduler => self.look_at_due_plans().await,
            LooksBy::Timer => self.reconcile_plans().await,
            LooksBy::Messages => {
                let looks = self.catalog.used().await?.into_iter().map(|handle| self.look_at_if_overdue(handle));
                let outcomes: Vec<_> = futures::stream::iter(looks).buffer_unordered(PARALLEL).collect().await;
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

    /// As [`Self::reconcile_plans`], for the plans that are due for a look; one this process has not looked at yet is.
    ///
    /// # Errors
    /// When the directory of plans cannot be read.
    pub async fn look_at_due_plans(&self) -> Result<Reconciled, Error> {
        let (pace, now) = (self.settings.pace, self.clock.now());
        self.look_at_those(|handle| due(&handle.activity(), pace, now) <= now).await
    }

    async fn look_at_those(&self, wanted: impl Fn(&PlanHandle) -> bool) -> Result<Reconciled, Error> {
        let looks = self.catalog.used().await?.into_iter().filter(|handle| wanted(handle));
        let looks = looks.map(|handle| self.look_at(handle));
        let outcomes: Vec<bool> = futures::stream::iter(looks).buffer_unordered(PARALLEL).collect().await;
        let failed = outcomes.iter().filter(|fine| !**fine).count();
        Ok(Reconciled { plans: outcomes.len() - failed, failed })
    }

    pub(super) async fn look_at(&self, handle: Arc<PlanHandle>) -> bool {
        let first = handle.as_of().is_none();
        let refreshed = match handle.ensure_current().await {
            Ok(()) => self.engine.refresh(&handle, self.clock.now()).await.map(drop),
            Err(error) => Err(error.into()),
        };
        self.troubles.note(&handle.id, &refreshed);
        if first {
            self.pusher.resume(&handle);
        }
        if handle.read().records().any(|record| record.is_dirty()) {
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
        let listing = self.catalog.all(true).await?;
        let mut groups: Vec<_> = listing.plans.iter().filter_map(|plan| plan.group.as_ref()).collect();
        groups.sort_unstable();
        groups.dedup();
        for group in &groups {
            self.people.meet_group(group).await;
        }
        Ok(Renamed { plans: listing.plans.len(), groups: groups.len() })
    }
}
