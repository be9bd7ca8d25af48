//! A `Retry-After` holds for every instance: the others read from the store what one received.
//!
//! Each instance reads the rows before it calls, at most once in [`READ_INTERVAL`], and writes a row when it has to wait.
//! So another instance may still send calls for [`READ_INTERVAL`] and the time of one write to the store; from then on it
//! is silent too. Clocks of two instances are not compared: a row says for how long, and an instance
//! counts from when it first sees the row, so that a wait is rather too long than too short. The row's own time only keeps a row of long ago
//! from silencing somebody who has just started.

use std::collections::HashMap;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use parking_lot::{Mutex, MutexGuard};
use serde::{Deserialize, Serialize};

use super::Workload;
use super::deadline::{between, later};
use crate::clock::Clock;
use crate::rows::{Partition, RowVersion, StoreError, TenantTables, Write};

/// How long a read of the rows counts: the tolerance between instances, together with one write to the store.
pub const READ_INTERVAL: TimeDelta = TimeDelta::seconds(1);
/// How far two clocks may be apart before a row is taken for one of long ago.
const SKEW: Duration = Duration::from_secs(30);
/// A wait that is this much longer than the one announced last is announced again.
const NEWS: TimeDelta = TimeDelta::milliseconds(500);

/// The rows of a tenant's waits.
pub(super) struct Shared {
    rows: Partition,
    clock: Clock,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    read_at: Option<DateTime<Utc>>,
    seen: HashMap<Workload, RowVersion>,
    announced: HashMap<Workload, DateTime<Utc>>,
}

/// A row's value.
#[derive(Debug, Serialize, Deserialize)]
struct WaitMessage {
    workload: Workload,
    /// For how long nothing is to be sent, counted from when the row is first seen.
    wait_ms: u64,
    /// Until when that was, by the clock of the instance that wrote it.
    until: DateTime<Utc>,
}

impl Shared {
    pub(super) fn new(tables: &TenantTables, clock: Clock) -> Self {
        Self { rows: tables.partition("throttle"), clock, state: Mutex::default() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock()
    }

    /// What others announced since the last read: workloads, and for how long they are to be left alone; zero lifts
    /// a wait.
    pub(super) async fn new_waits(&self) -> Vec<(Workload, Duration)> {
        let now = self.clock.steady();
        {
            let mut state = self.state();
            if state.read_at.is_some_and(|at| now - at < READ_INTERVAL) {
                return Vec::new();
            }
            state.read_at = Some(now); // other callers do not wait for this read
        }
        self.read().await.unwrap_or_else(|error| {
            tracing::debug!(%error, "the waits of other instances cannot be read");
            Vec::new()
        })
    }

    async fn read(&self) -> Result<Vec<(Workload, Duration)>, StoreError> {
        let rows = self.rows.scan_prefix("").await?;
        let now = self.clock.now();
        let mut heard = Vec::new();
        for row in rows {
            let message: WaitMessage = row.decode()?;
            let left = between(now, later(message.until, SKEW));
            let wait = Duration::from_millis(message.wait_ms).min(left);
            let (lifted, over) = (message.wait_ms == 0, wait.is_zero());
            let mut state = self.state();
            let news = state.seen.insert(message.workload, row.version.clone()) != Some(row.version);
            if !news || (over && !lifted) {
                continue;
            }
            // What all can read is not announced again: a third instance would take that for news, and wait twice.
            if lifted {
                state.announced.remove(&message.workload);
            } else {
                let until = later(self.clock.steady(), wait);
                let announced = state.announced.entry(message.workload).or_insert(until);
                *announced = until.max(*announced);
            }
            heard.push((message.workload, wait));
        }
        Ok(heard)
    }

    /// Announces for how long a workload is to be left alone, unless that was announced, here or by another instance.
    pub(super) async fn announce(&self, workload: Workload, wait: Duration) {
        let until = later(self.clock.steady(), wait);
        {
            let mut state = self.state();
            if state.announced.get(&workload).is_some_and(|announced| until - *announced < NEWS) {
                return;
            }
            state.announced.insert(workload, until);
        }
        self.write(workload, wait).await;
    }

    /// Announces that no instance has to wait any longer.
    pub(super) async fn lift(&self, workload: Workload) {
        self.state().announced.remove(&workload);
        self.write(workload, Duration::ZERO).await;
    }

    async fn write(&self, workload: Workload, wait: Duration) {
        let until = later(self.clock.now(), wait);
        let wait_ms = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX);
        let written = async {
            let write = Write::upsert(workload.as_str(), &WaitMessage { workload, wait_ms, until })?;
            self.rows.commit(vec![write]).await
        };
        match written.await {
            Ok(versions) => {
                if let Some(version) = versions.into_iter().next().flatten() {
                    self.state().seen.insert(workload, version); // our own row is no news
                }
            }
            Err(error) => tracing::warn!(%error, "the wait cannot be announced to other instances"),
        }
    }
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared").field("rows", &self.rows).finish_non_exhaustive()
    }
}
