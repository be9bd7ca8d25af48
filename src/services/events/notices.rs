//! What instances say of their transactions where the store is far away: one row each, with the plans they changed lately.
//!
//! So one read tells of all plans of all instances. Nothing rests on it: a row that is late or lost only delays what
//! listeners are notified, until the plan itself is read.

use std::collections::HashMap;

use chrono::{DateTime, TimeDelta, Utc};
use serde::{Deserialize, Serialize};

use crate::clock::Clock;
use crate::ids::PlanId;
use crate::rows::{Expect, MAX_ROWS_PER_COMMIT, Partition, RowVersion, StoreError, TenantTables, Write};
use crate::sync::Committed;

/// How long a transaction is announced: longer than any reader pauses.
const RECENT: TimeDelta = TimeDelta::seconds(60);
/// Rows of instances that have long ended are deleted.
const RETENTION: TimeDelta = TimeDelta::days(1);
/// Most plans in a row; it stays far below what a row may hold.
const MOST: usize = 2_000;

/// An instance's row.
#[derive(Debug, Serialize, Deserialize)]
struct Notice {
    at: DateTime<Utc>,
    plans: Vec<(PlanId, u64)>,
}

/// The rows of a deployment's instances.
pub(super) struct Notices {
    rows: Partition,
    instance: String,
    clock: Clock,
}

/// The plans this instance changed lately: the newest transaction, and when it came.
#[derive(Debug, Default)]
pub(super) struct Recent(HashMap<PlanId, (u64, DateTime<Utc>)>);

impl Recent {
    pub(super) fn note(&mut self, committed: Committed, now: DateTime<Utc>) {
        self.0.retain(|_, (_, at)| now - *at < RECENT);
        if self.0.len() < MOST || self.0.contains_key(&committed.plan) {
            self.0.insert(committed.plan, (committed.number, now));
        }
    }
}

impl Notices {
    pub(super) fn new(tables: &TenantTables, instance: String, clock: Clock) -> Self {
        Self { rows: tables.partition("committed"), instance, clock }
    }

    /// Says which plans this instance has changed lately.
    pub(super) async fn write(&self, recent: &Recent) -> Result<(), StoreError> {
        let plans = recent.0.iter().map(|(plan, (number, _))| (plan.clone(), *number)).collect();
        let notice = Notice { at: self.clock.now(), plans };
        self.rows.commit(vec![Write::upsert(&*self.instance, &notice)?]).await.map(drop)
    }

    /// What the other instances have said since the last time.
    pub(super) async fn read(&self, seen: &mut HashMap<String, RowVersion>) -> Result<Vec<Committed>, StoreError> {
        let mut said = Vec::new();
        for row in self.rows.scan_prefix("").await? {
            if row.key == self.instance || seen.get(&row.key) == Some(&row.version) {
                continue;
            }
            let notice: Notice = row.decode()?;
            said.extend(notice.plans.into_iter().map(|(plan, number)| Committed { plan, number }));
            seen.insert(row.key, row.version);
        }
        Ok(said)
    }

    /// Deletes the rows of instances that have said nothing for a day.
    pub(super) async fn sweep(&self) -> Result<(), StoreError> {
        let before = self.clock.now() - RETENTION;
        let mut writes = Vec::new();
        for row in self.rows.scan_prefix("").await? {
            if row.decode::<Notice>().map_or(true, |notice| notice.at < before) {
                writes.push(Write::delete(&*row.key, Expect::Anything));
            }
        }
        for writes in writes.chunks(MAX_ROWS_PER_COMMIT) {
            self.rows.commit(writes.to_vec()).await?;
        }
        Ok(())
    }
}
