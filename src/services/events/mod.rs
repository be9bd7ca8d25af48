//! What has happened, for listeners and readers: events as they come, and the log of those that came.
//!
//! Events are rows, written in the transaction of their effect, so nothing here can be lost or invented: a listener
//! reads the rows behind its cursor, in the order of each plan. It is woken by this process's own commits, and by one
//! tail for all listeners, which finds those of other instances within a second. A cursor names the last transaction
//! received in every plan, and is good on any instance.

mod cursor;
mod feed;
mod life;
mod log;
mod notices;
mod status;
mod tail;
mod view;

use std::collections::HashMap;
use std::sync::{Arc, Weak};

use chrono::{DateTime, TimeDelta, Utc};
use futures::StreamExt;
use parking_lot::Mutex;
use serde::Serialize;
use tokio::sync::broadcast;

pub use cursor::Cursor;
pub use feed::{EventMessage, Feed};
pub use life::{LONGEST, LONGEST_HOSTED};
pub use log::{LogPage, LogQuery};
pub use status::{ConflictBrief, StatusQuery, SyncStatus};
pub use view::{ChangePage, EventView};

use super::Error;
use super::directory::Directory;
use super::planner::Planner;
use crate::auth::Caller;
use crate::clock::Clock;
use crate::host::HostMode;
use crate::ids::{Entropy, PlanId};
use crate::rows::{StoreError, TenantTables};
pub use crate::sync::Committed;
use crate::sync::PlanHandle;

/// How long a read of a plan's version row counts, for all listeners.
const FRESH: TimeDelta = TimeDelta::milliseconds(900);
/// How long events are kept.
const RETENTION: TimeDelta = TimeDelta::days(7);
/// Plans swept together.
const PARALLEL: usize = 4;

/// The service.
pub struct Events {
    planner: Arc<Planner>,
    directory: Arc<Directory>,
    clock: Clock,
    /// When each plan's version row was last read, for all listeners together.
    reads: Mutex<HashMap<PlanId, DateTime<Utc>>>,
    lives: life::Lives,
    /// What instances say of their transactions, where the store is far away.
    notices: Option<notices::Notices>,
    /// Whether anybody listens, and with it the tail.
    listening: Mutex<Weak<tail::Listening>>,
}

/// What a sweep came to.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Swept {
    /// Events deleted.
    pub events: usize,
    /// Rows about tasks long gone deleted.
    pub forgotten: usize,
    /// Plans that could not be swept; the log says why.
    pub failed: usize,
}

impl Events {
    /// The service over the plans.
    #[must_use]
    pub fn new(planner: Arc<Planner>, directory: Arc<Directory>, clock: Clock) -> Self {
        Self {
            planner,
            directory,
            clock,
            reads: Mutex::default(),
            lives: life::Lives::default(),
            notices: None,
            listening: Mutex::default(),
        }
    }

    /// The same on a store that instances share: where it is far away, they say there what they changed.
    #[must_use]
    pub fn on(mut self, tables: &TenantTables, entropy: &Entropy) -> Self {
        let instance = entropy.ulid(self.clock.now());
        self.notices = tables.tables().is_remote().then(|| notices::Notices::new(tables, instance, self.clock.clone()));
        self
    }

    /// The same under a host: under the Functions host a stream has to end before the host ends it.
    #[must_use]
    pub fn under(mut self, host: HostMode) -> Self {
        self.lives = life::Lives::new(host);
        self
    }

    /// How many seconds a stream that begins now may live, of those its listener wants.
    #[must_use]
    pub fn life(&self, wanted: Option<u32>) -> u32 {
        self.lives.next(wanted)
    }

    /// The plans a caller may follow: one by id or title, or all that were ever used.
    async fn plans(&self, caller: &Caller, plan: Option<&str>) -> Result<Vec<Arc<PlanHandle>>, Error> {
        match plan {
            Some(plan) => Ok(vec![self.planner.catalog().resolve(&caller.plan_scope, Some(plan)).await?]),
            None => self.planner.followed(caller).await,
        }
    }

    /// As [`Self::plans`], read once for all who listen.
    async fn plans_lately(
        &self,
        caller: &Caller,
        plan: Option<&str>,
        age: TimeDelta,
    ) -> Result<Vec<Arc<PlanHandle>>, Error> {
        match plan {
            Some(_) => self.plans(caller, plan).await,
            None => self.planner.followed_lately(caller, age).await,
        }
    }

    /// Makes what is known of a plan at most a second old, and, where another instance has announced a transaction that is
    /// not known here, as old as now: the number of its newest transaction.
    async fn newest(&self, handle: &PlanHandle, announced: u64) -> Result<u64, StoreError> {
        let now = self.clock.now();
        let is_fresh =
            |reads: &HashMap<PlanId, DateTime<Utc>>| reads.get(&handle.id).is_some_and(|at| now - *at < FRESH);
        let ahead = announced > handle.sequence();
        if ahead || !is_fresh(&self.reads.lock()) {
            handle.ensure_current().await?;
            self.reads.lock().insert(handle.id.clone(), now);
        }
        Ok(handle.sequence())
    }

    /// The transactions of this process from now on, of all plans.
    #[must_use]
    pub fn commits(&self) -> broadcast::Receiver<Committed> {
        self.planner.catalog().commits()
    }

    /// Another instance says that it has committed something: listeners here are notified at once. Answers whether anything
    /// was read for it.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn heard(&self, committed: &Committed) -> Result<bool, StoreError> {
        match self.planner.catalog().known_handle(&committed.plan) {
            Some(handle) => handle.heard(committed.number).await,
            None => Ok(false), // a listener of a plan has opened it
        }
    }

    /// Deletes events older than a week, and what has outlived its use about tasks long gone.
    ///
    /// # Errors
    /// When the directory of plans cannot be read.
    pub async fn sweep(&self) -> Result<Swept, Error> {
        let now = self.clock.now();
        let before = now - RETENTION;
        if let Some(notices) = &self.notices {
            notices.sweep().await?;
        }
        let sweeps = self.planner.catalog().used().await?.into_iter().map(|handle| async move {
            let swept = async { Ok((handle.sweep_events(before).await?, handle.forget_outlived(now).await?)) };
            let swept: Result<_, StoreError> = swept.await;
            swept.inspect_err(|error| tracing::warn!(plan = %handle.id, %error, "old events cannot be deleted"))
        });
        let outcomes: Vec<_> = futures::stream::iter(sweeps).buffer_unordered(PARALLEL).collect().await;
        let failed = outcomes.iter().filter(|outcome| outcome.is_err()).count();
        let (events, forgotten): (Vec<usize>, Vec<usize>) = outcomes.into_iter().flatten().unzip();
        Ok(Swept { events: events.iter().sum(), forgotten: forgotten.iter().sum(), failed })
    }
}
