//! A `Retry-After` is for every instance: what one was told, the others learn from the store.
//!
//! Each instance looks before it calls, at most once in [`LOOK`], and writes a row when it was told to wait. So another
//! instance may still send calls for as long as [`LOOK`] and one write to the store after the first was told; from then
//! on it is silent too. Clocks of two instances are not compared: a row says for how long, and whoever sees it first
//! counts from then, so that a wait is rather too long than too short. The row's own time only keeps a row of long ago
//! from silencing somebody who has just started.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use serde::{Deserialize, Serialize};

use super::Workload;
use super::deadline::{between, later};
use crate::clock::Clock;
use crate::rows::{Partition, RowVersion, StoreError, TenantTables, Write};

/// How long a look at the rows counts: the tolerance between instances, together with one write to the store.
pub const LOOK: TimeDelta = TimeDelta::seconds(1);
/// How far two clocks may be apart before a row is taken for one of long ago.
const SKEW: Duration = Duration::from_secs(30);
/// A wait this much longer than the one told last is told again.
const NEWS: TimeDelta = TimeDelta::milliseconds(500);

/// The rows of a tenant's waits.
pub(super) struct Shared {
    rows: Partition,
    clock: Clock,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    looked_at: Option<DateTime<Utc>>,
    seen: HashMap<Workload, RowVersion>,
    told: HashMap<Workload, DateTime<Utc>>,
}

/// A row's value.
#[derive(Debug, Serialize, Deserialize)]
struct WaitMessage {
    workload: Workload,
    /// For how long nothing is to be sent, counted from when the row is first seen.
    wait_ms: u64,
    /// Until when that was, by the clock of whoever wrote it.
    until: DateTime<Utc>,
}

impl Shared {
    pub(super) fn new(tables: &TenantTables, clock: Clock) -> Self {
        Self { rows: tables.partition("throttle"), clock, state: Mutex::default() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What others have been told since the last look: workloads, and for how long they are to be left alone; zero lifts
    /// a wait.
    pub(super) async fn hear(&self) -> Vec<(Workload, Duration)> {
        let now = self.clock.steady();
        {
            let mut state = self.state();
            if state.looked_at.is_some_and(|at| now - at < LOOK) {
                return Vec::new();
            }
            state.looked_at = Some(now); // who comes meanwhile does not wait for this look
        }
        self.look().await.unwrap_or_else(|error| {
            tracing::debug!(%error, "the waits of other instances cannot be read");
            Vec::new()
        })
    }

    async fn look(&self) -> Result<Vec<(Workload, Duration)>, StoreError> {
        let rows = self.rows.scan_prefix("").await?;
        let now = self.clock.now();
        let mut heard = Vec::new();
        for row in rows {
            let told: WaitMessage = row.decode()?;
            let news = self.state().seen.insert(told.workload, row.version.clone()) != Some(row.version);
            let left = between(now, later(told.until, SKEW));
            let wait = Duration::from_millis(told.wait_ms).min(left);
            if news && (told.wait_ms == 0 || !wait.is_zero()) {
                heard.push((told.workload, wait));
            }
        }
        Ok(heard)
    }

    /// Tells the others for how long a workload is to be left alone, unless they have been told.
    pub(super) async fn tell(&self, workload: Workload, wait: Duration) {
        let until = later(self.clock.steady(), wait);
        {
            let mut state = self.state();
            if state.told.get(&workload).is_some_and(|told| until - *told < NEWS) {
                return;
            }
            state.told.insert(workload, until);
        }
        self.write(workload, wait).await;
    }

    /// Tells the others that nobody has to wait any longer.
    pub(super) async fn lift(&self, workload: Workload) {
        self.state().told.remove(&workload);
        self.write(workload, Duration::ZERO).await;
    }

    async fn write(&self, workload: Workload, wait: Duration) {
        let until = later(self.clock.now(), wait);
        let wait_ms = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX);
        let told = async {
            let write = Write::upsert(workload.as_str(), &WaitMessage { workload, wait_ms, until })?;
            self.rows.commit(vec![write]).await
        };
        match told.await {
            Ok(versions) => {
                if let Some(version) = versions.into_iter().next().flatten() {
                    self.state().seen.insert(workload, version); // our own word is no news
                }
            }
            Err(error) => tracing::warn!(%error, "other instances cannot be told to wait"),
        }
    }
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared").field("rows", &self.rows).finish_non_exhaustive()
    }
}
