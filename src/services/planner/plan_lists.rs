//! The list of plans as it is known: in memory, and in the store for a process that starts while Graph is away.

use std::sync::{Arc, Mutex, PoisonError, RwLock};

use chrono::{DateTime, TimeDelta, Utc};
use serde::{Deserialize, Serialize};
use tokio::sync::OnceCell;

use super::catalog::{Listing, PlanEntry, Scope};
use crate::clock::Clock;
use crate::ids::{GroupId, PlanId};
use crate::rows::{StoreError, Tables, Write};
use crate::services::Error;

/// Plans in a row: some hundred bytes each, and a row takes less than a megabyte.
const PLANS_IN_A_ROW: usize = 500;
/// Rows written at once, a few megabytes at most.
const ROWS_AT_ONCE: usize = 20;
/// How often the instant of an unchanged list is written.
const KEPT_FOR: TimeDelta = TimeDelta::minutes(15);
const HEAD: &str = "list";

/// Says how many rows hold the list, and for which settings it was made.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Head {
    as_of: DateTime<Utc>,
    rows: usize,
    groups: Vec<GroupId>,
    plans: Vec<PlanId>,
}

/// The list of a deployment's plans.
pub(super) struct PlanLists {
    tables: Arc<dyn Tables>,
    partition: String,
    scope: Scope,
    clock: Clock,
    current: RwLock<Option<Arc<Listing>>>,
    /// When something happened that the list does not show.
    outdated_at: Mutex<Option<DateTime<Utc>>>,
    /// Why the last attempt to renew it failed.
    trouble: Mutex<Option<String>>,
    loaded: OnceCell<()>,
    kept: tokio::sync::Mutex<Option<Head>>,
}

impl PlanLists {
    pub(super) fn new(tables: Arc<dyn Tables>, partition: String, scope: Scope, clock: Clock) -> Self {
        Self {
            tables,
            partition,
            scope,
            clock,
            current: RwLock::default(),
            outdated_at: Mutex::default(),
            trouble: Mutex::default(),
            loaded: OnceCell::new(),
            kept: tokio::sync::Mutex::default(),
        }
    }

    /// What is known, if anything is.
    pub(super) fn current(&self) -> Option<Arc<Listing>> {
        self.current.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) fn is_outdated(&self) -> bool {
        self.outdated_at.lock().unwrap_or_else(PoisonError::into_inner).is_some()
    }

    /// Makes the next question ask Planner.
    pub(super) fn outdate(&self) {
        *self.outdated_at.lock().unwrap_or_else(PoisonError::into_inner) = Some(self.clock.now());
    }

    /// Takes a plan that is gone off the list.
    pub(super) fn remove(&self, id: &PlanId) {
        let mut current = self.current.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(listing) = current.as_ref().filter(|listing| listing.plans.iter().any(|plan| plan.id == *id)) {
            let plans = listing.plans.iter().filter(|plan| plan.id != *id).cloned().collect();
            *current = Some(Arc::new(Listing { plans, as_of: listing.as_of }));
        }
        self.outdate();
    }

    /// Why the list could not be renewed the last time that was tried.
    pub(super) fn trouble(&self) -> Option<String> {
        self.trouble.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Takes the outcome of a question to Planner over, and keeps a new list in the store.
    pub(super) async fn take(&self, read: Result<Listing, Error>) -> Result<Arc<Listing>, Error> {
        let outcome = read.map(Arc::new);
        *self.trouble.lock().unwrap_or_else(PoisonError::into_inner) =
            outcome.as_ref().err().map(|error| error.message.clone());
        let listing = outcome?;
        let old = self.current.write().unwrap_or_else(PoisonError::into_inner).replace(listing.clone());
        self.outdated_at
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take_if(|outdated_at| listing.as_of >= *outdated_at);
        let same = old.is_some_and(|old| old.plans == listing.plans);
        if let Err(error) = self.keep(&listing, same).await {
            tracing::warn!(%error, "the list of plans cannot be kept");
        }
        Ok(listing)
    }

    async fn keep(&self, listing: &Listing, same: bool) -> Result<(), StoreError> {
        let mut kept = self.kept.lock().await;
        let head = Head {
            as_of: listing.as_of,
            rows: listing.plans.len().div_ceil(PLANS_IN_A_ROW),
            groups: self.scope.groups.clone(),
            plans: self.scope.plans.clone(),
        };
        if same
            && kept.as_ref().is_some_and(|kept| (head.as_of - kept.as_of).abs() < KEPT_FOR && kept.rows == head.rows)
        {
            return Ok(());
        }
        let rows = listing.plans.chunks(PLANS_IN_A_ROW).enumerate();
        let mut writes =
            rows.map(|(number, plans)| Write::upsert(row_key(number), &plans)).collect::<Result<Vec<_>, _>>()?;
        writes.push(Write::upsert(HEAD, &head)?);
        for writes in writes.chunks(ROWS_AT_ONCE) {
            self.tables.commit(&self.partition, writes.to_vec()).await?;
        }
        *kept = Some(head);
        Ok(())
    }

    /// Takes over, once, what a former process knew.
    pub(super) async fn load(&self) {
        let load = async || {
            match self.read().await {
                Ok(Some((head, plans))) => {
                    let mut current = self.current.write().unwrap_or_else(PoisonError::into_inner);
                    if current.is_none() {
                        *current = Some(Arc::new(Listing { plans, as_of: head.as_of.min(self.clock.now()) }));
                        drop(current);
                        self.outdate(); // plans may have come and gone since
                    }
                }
                Ok(None) => {}
                Err(error) => tracing::warn!(%error, "the list of plans a former process knew cannot be read"),
            }
        };
        self.loaded.get_or_init(load).await;
    }

    async fn read(&self) -> Result<Option<(Head, Vec<PlanEntry>)>, StoreError> {
        let Some(head) = self.tables.get(&self.partition, HEAD).await? else { return Ok(None) };
        let head: Head = head.decode()?;
        let mut plans: Vec<PlanEntry> = Vec::new();
        for number in 0..head.rows {
            if let Some(row) = self.tables.get(&self.partition, &row_key(number)).await? {
                plans.extend(row.decode::<Vec<PlanEntry>>()?);
            }
        }
        // The settings may have been narrowed since.
        let groups = &self.scope.groups;
        let in_groups =
            |plan: &PlanEntry| groups.is_empty() || plan.group.as_ref().is_some_and(|id| groups.contains(id));
        plans.retain(|plan| self.scope.allows(plan.id.as_str()) && in_groups(plan));
        Ok(Some((head, plans)))
    }
}

fn row_key(number: usize) -> String {
    format!("list|{number:05}")
}
