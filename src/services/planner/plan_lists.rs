//! The list of plans as it is known: in memory, and in the store for a process that starts while Graph is away.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use chrono::{DateTime, TimeDelta, Utc};
use parking_lot::{Mutex, MutexGuard, RwLock};
use serde::{Deserialize, Serialize};
use tokio::sync::OnceCell;

use super::catalog::{Listing, PlanEntry, Scope};
use crate::clock::Clock;
use crate::ids::{GroupId, PlanId};
use crate::rows::{Partition, StoreError, Write};
use crate::services::Error;

/// Plans in a row: some hundred bytes each, and a row takes less than a megabyte.
const PLANS_IN_A_ROW: usize = 500;
/// Groups without a plan in a row.
const GROUPS_IN_A_ROW: usize = 2_000;
/// Rows written at once, a few megabytes at most.
const ROWS_AT_ONCE: usize = 20;
/// How long a group that had no plan is believed to have none, at the least; up to twice as long, so that not all are asked
/// at once. A notification of the group, a plan made here and a plan that is asked for and not known end it.
const EMPTY_FOR: TimeDelta = TimeDelta::hours(3);
/// For so long after a notification of a group Planner may not show the change.
const SETTLE: TimeDelta = TimeDelta::minutes(5);
/// How often the instant of an unchanged list is written.
const RETENTION: TimeDelta = TimeDelta::minutes(15);
const HEAD: &str = "list";

/// Groups that had no plan, and when they were asked.
pub(super) type Empty = BTreeMap<GroupId, DateTime<Utc>>;

/// Says how many rows hold the list, and for which settings it was made.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Head {
    as_of: DateTime<Utc>,
    whole_as_of: Option<DateTime<Utc>>,
    rows: usize,
    #[serde(default)]
    empty_rows: usize,
    groups: Vec<GroupId>,
    plans: Vec<PlanId>,
}

/// Something happened that the list does not show.
#[derive(Debug, Clone, Copy)]
struct Outdated {
    at: DateTime<Utc>,
    /// It may be in any group.
    every_group: bool,
}

/// The list of a deployment's plans.
pub(super) struct PlanLists {
    rows: Partition,
    scope: Scope,
    clock: Clock,
    current: RwLock<Option<Arc<Listing>>>,
    /// What happened that the list does not show.
    outdated: Mutex<Option<Outdated>>,
    /// Groups that changed, and when that was noticed.
    changed: Mutex<HashMap<GroupId, DateTime<Utc>>>,
    asking: tokio::sync::Mutex<()>,
    /// Why the last attempt to renew it failed.
    last_error: Mutex<Option<String>>,
    loaded: OnceCell<()>,
    kept: tokio::sync::Mutex<Option<Head>>,
}

impl PlanLists {
    pub(super) fn new(rows: Partition, scope: Scope, clock: Clock) -> Self {
        Self {
            rows,
            scope,
            clock,
            current: RwLock::default(),
            outdated: Mutex::default(),
            changed: Mutex::default(),
            asking: tokio::sync::Mutex::default(),
            last_error: Mutex::default(),
            loaded: OnceCell::new(),
            kept: tokio::sync::Mutex::default(),
        }
    }

    /// What is known, if anything is.
    pub(super) fn current(&self) -> Option<Arc<Listing>> {
        self.current.read().clone()
    }

    fn outdated(&self) -> MutexGuard<'_, Option<Outdated>> {
        self.outdated.lock()
    }

    pub(super) fn is_outdated(&self) -> bool {
        self.outdated().is_some()
    }

    pub(super) fn wants_every_group(&self) -> bool {
        self.outdated().is_some_and(|outdated| outdated.every_group)
    }

    /// Makes the next question ask Planner, every group.
    pub(super) fn outdate(&self) {
        *self.outdated() = Some(Outdated { at: self.clock.now(), every_group: true });
    }

    /// Makes the next question ask Planner, this group too if it had no plan.
    pub(super) fn outdate_group(&self, group: &GroupId) {
        self.changed.lock().insert(group.clone(), self.clock.now());
        self.outdate_some();
    }

    /// Held by the caller that asks Planner, so that no answer overtakes a later one.
    pub(super) async fn asking(&self) -> tokio::sync::MutexGuard<'_, ()> {
        self.asking.lock().await
    }

    /// The groups that had no plan a while ago and need not be asked now.
    pub(super) fn rested(&self, now: DateTime<Utc>) -> Empty {
        let Some(current) = self.current() else { return Empty::new() };
        let changed = self.changed.lock();
        let rests = |(group, asked_at): &(&GroupId, &DateTime<Utc>)| {
            (TimeDelta::zero()..life_of_empty(group)).contains(&(now - **asked_at))
                && changed.get(*group).is_none_or(|changed_at| *changed_at + SETTLE < **asked_at)
        };
        current.empty.iter().filter(rests).map(|(group, asked_at)| (group.clone(), *asked_at)).collect()
    }

    /// Makes the next question ask Planner.
    fn outdate_some(&self) {
        let mut outdated = self.outdated();
        let every_group = outdated.is_some_and(|outdated| outdated.every_group);
        *outdated = Some(Outdated { at: self.clock.now(), every_group });
    }

    /// Takes a plan that is gone off the list.
    pub(super) fn remove(&self, id: &PlanId) {
        let mut current = self.current.write();
        if let Some(listing) = current.as_ref().filter(|listing| listing.plans.iter().any(|plan| plan.id == *id)) {
            let plans = listing.plans.iter().filter(|plan| plan.id != *id).cloned().collect();
            *current = Some(Arc::new(listing.with_plans(plans, listing.empty.clone())));
        }
        drop(current);
        self.outdate_some();
    }

    /// Why the list could not be renewed the last time that was tried.
    pub(super) fn last_error(&self) -> Option<String> {
        self.last_error.lock().clone()
    }

    /// Takes the outcome of a question to Planner over, and keeps a new list in the store.
    pub(super) async fn take(&self, read: Result<Listing, Error>) -> Result<Arc<Listing>, Error> {
        *self.last_error.lock() = read.as_ref().err().map(|error| error.message.clone());
        let mut listing = read?;
        if let (None, Some(known)) = (listing.whole_as_of, self.current()) {
            listing.whole_as_of = known.whole_as_of;
        }
        let listing = Arc::new(listing);
        let old = self.current.write().replace(listing.clone());
        self.settle(&listing);
        let same = old.is_some_and(|old| old.plans == listing.plans && old.empty == listing.empty);
        if let Err(error) = self.keep(&listing, same).await {
            tracing::warn!(%error, "the list of plans cannot be kept");
        }
        Ok(listing)
    }

    /// Notes what a new list shows of what had happened.
    fn settle(&self, listing: &Listing) {
        self.outdated().take_if(|outdated| {
            let asked_at = if outdated.every_group { listing.whole_as_of } else { Some(listing.as_of) };
            asked_at >= Some(outdated.at)
        });
        self.changed.lock().retain(|_, at| *at + SETTLE > listing.as_of);
    }

    async fn keep(&self, listing: &Listing, same: bool) -> Result<(), StoreError> {
        let mut kept = self.kept.lock().await;
        let head = Head {
            as_of: listing.as_of,
            whole_as_of: listing.whole_as_of,
            rows: listing.plans.len().div_ceil(PLANS_IN_A_ROW),
            empty_rows: listing.empty.len().div_ceil(GROUPS_IN_A_ROW),
            groups: self.scope.groups.clone(),
            plans: self.scope.plans.clone(),
        };
        if same
            && kept.as_ref().is_some_and(|kept| (head.as_of - kept.as_of).abs() < RETENTION && kept.rows == head.rows)
        {
            return Ok(());
        }
        let rows = listing.plans.chunks(PLANS_IN_A_ROW).enumerate();
        let mut writes =
            rows.map(|(number, plans)| Write::upsert(row_key(number), &plans)).collect::<Result<Vec<_>, _>>()?;
        let empty: Vec<(&GroupId, &DateTime<Utc>)> = listing.empty.iter().collect();
        for (number, groups) in empty.chunks(GROUPS_IN_A_ROW).enumerate() {
            writes.push(Write::upsert(empty_key(number), &groups)?);
        }
        writes.push(Write::upsert(HEAD, &head)?);
        for writes in writes.chunks(ROWS_AT_ONCE) {
            self.rows.commit(writes.to_vec()).await?;
        }
        *kept = Some(head);
        Ok(())
    }

    /// Takes over, once, what a former process knew.
    pub(super) async fn load(&self) {
        let load = async || {
            match self.read().await {
                Ok(Some((head, plans, empty))) => {
                    let mut current = self.current.write();
                    if current.is_none() {
                        let now = self.clock.now();
                        let (as_of, whole_as_of) = (head.as_of.min(now), head.whole_as_of.map(|at| at.min(now)));
                        *current = Some(Arc::new(Listing { plans, as_of, whole_as_of, empty }));
                        drop(current);
                        self.outdate_some(); // plans may have come and gone since
                    }
                }
                Ok(None) => {}
                Err(error) => tracing::warn!(%error, "the list of plans a former process knew cannot be read"),
            }
        };
        self.loaded.get_or_init(load).await;
    }

    async fn read(&self) -> Result<Option<(Head, Vec<PlanEntry>, Empty)>, StoreError> {
        let Some(head) = self.rows.get(HEAD).await? else { return Ok(None) };
        let head: Head = head.decode()?;
        let mut plans: Vec<PlanEntry> = Vec::new();
        for number in 0..head.rows {
            if let Some(row) = self.rows.get(&row_key(number)).await? {
                plans.extend(row.decode::<Vec<PlanEntry>>()?);
            }
        }
        let mut empty = Empty::new();
        for number in 0..head.empty_rows {
            if let Some(row) = self.rows.get(&empty_key(number)).await? {
                empty.extend(row.decode::<Vec<(GroupId, DateTime<Utc>)>>()?);
            }
        }
        // The settings may have been narrowed since.
        let groups = &self.scope.groups;
        let in_groups =
            |plan: &PlanEntry| groups.is_empty() || plan.group.as_ref().is_some_and(|id| groups.contains(id));
        plans.retain(|plan| self.scope.allows(plan.id.as_str()) && in_groups(plan));
        Ok(Some((head, plans, empty)))
    }
}

/// How long a group that had no plan is not asked again: always the same for a group.
fn life_of_empty(group: &GroupId) -> TimeDelta {
    let spread = group.as_str().bytes().fold(0_i32, |sum, byte| (sum * 31 + i32::from(byte)) % 1_000);
    EMPTY_FOR + EMPTY_FOR * spread / 1_000
}

fn empty_key(number: usize) -> String {
    format!("empty|{number:05}")
}

fn row_key(number: usize) -> String {
    format!("list|{number:05}")
}
