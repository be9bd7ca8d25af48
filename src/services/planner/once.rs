//! Things that are made once by name: a bucket in a plan, a plan in a group.
//!
//! Planner makes twins where two callers check and then create. So a caller that is about to create takes the name's lock: in
//! this process a lock, across instances a row. The row also remembers what lists may not show yet: what was just made,
//! and a create whose answer was lost, which is not sent again before Planner must have shown it.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use tokio::sync::OwnedMutexGuard;

use crate::clock::Clock;
use crate::error::ErrorCode;
use crate::ids::{Entropy, digest};
use crate::rows::{Expect, Partition, RowVersion, StoreError, TenantTables, Write};
use crate::services::Error;
use crate::services::names::name_key;
use crate::sync::lease;
use crate::sync::plan::SETTLE;

/// How long a caller waits for its turn.
const PATIENCE: TimeDelta = TimeDelta::seconds(20);
/// How often the row is read meanwhile.
const POLL_INTERVAL: Duration = Duration::from_millis(100);
/// How long what was made is believed although a list does not show it.
const FRESH: TimeDelta = TimeDelta::minutes(2);

/// The value of a name's row.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Named {
    /// Who is at it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    holder: Option<String>,
    /// The id of what was made, and when.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    made: Option<(String, DateTime<Utc>)>,
    /// When a create was sent that was not answered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    unanswered: Option<DateTime<Utc>>,
}

/// The names of the deployment.
pub(super) struct Once {
    clock: Clock,
    entropy: Entropy,
    rows: Partition,
    here: Mutex<BTreeMap<String, Arc<tokio::sync::Mutex<()>>>>,
    /// When this process first saw a held row in its present version.
    seen: Mutex<HashMap<String, (RowVersion, DateTime<Utc>)>>,
}

/// The turn of a name: nobody else creates it meanwhile.
pub(super) struct Turn<'a> {
    once: &'a Once,
    key: String,
    row: Named,
    version: RowVersion,
    _here: OwnedMutexGuard<()>,
}

impl Once {
    pub(super) fn new(tables: &TenantTables, clock: Clock, entropy: Entropy) -> Self {
        Self { clock, entropy, rows: tables.partition("names"), here: Mutex::default(), seen: Mutex::default() }
    }

    /// Takes the turn of a name within a scope: a plan's id, a group's.
    ///
    /// # Errors
    /// When somebody else is at it for long, or the store fails; nothing was changed.
    pub(super) async fn turn(&self, kind: &str, scope: &str, name: &str) -> Result<Turn<'_>, Error> {
        let key = format!("{kind}|{:032x}", digest(&[scope, &name_key(name)]));
        let here = self.lock(&key).await;
        let until = self.clock.steady() + PATIENCE;
        let mine = self.entropy.ulid(self.clock.now());
        loop {
            let known = self.rows.get(&key).await?;
            let (mut row, expect) = match &known {
                None => (Named::default(), Expect::Absent),
                Some(row) => (row.decode::<Named>()?, Expect::Version(row.version.clone())),
            };
            let held = row.holder.is_some() && row.holder.as_deref() != Some(mine.as_str());
            let silent = known.as_ref().is_some_and(|known| self.is_silent(&key, &known.version));
            if held && silent {
                // It died in the middle: whether its create happened is not known.
                row.unanswered = Some(self.clock.now());
            }
            if !held || silent {
                row.holder = Some(mine.clone());
                let write = Write::put(&key, expect, &row)?;
                match self.rows.commit(vec![write]).await {
                    Ok(versions) => {
                        if let Some(version) = versions.into_iter().flatten().next() {
                            return Ok(Turn { once: self, key, row, version, _here: here });
                        }
                    }
                    // Another instance was faster, or the answer was lost: the row tells.
                    Err(StoreError::Conflict { .. } | StoreError::Unavailable { .. }) => {}
                    Err(error) => return Err(error.into()),
                }
            }
            if self.clock.steady() > until {
                let message = "another call is making one of that name";
                return Err(Error::new(ErrorCode::Conflict, message).hint("repeat the call in a moment"));
            }
            self.clock.sleep(POLL_INTERVAL).await;
        }
    }

    async fn lock(&self, key: &str) -> OwnedMutexGuard<()> {
        let lock = {
            let mut here = self.here.lock();
            here.retain(|_, lock| Arc::strong_count(lock) > 1);
            here.entry(key.to_owned()).or_default().clone()
        };
        lock.lock_owned().await
    }

    /// Whether this process has seen the row unchanged for the length of a lease.
    fn is_silent(&self, key: &str, version: &RowVersion) -> bool {
        let now = self.clock.steady();
        let mut seen = self.seen.lock();
        match seen.get(key) {
            Some((known, since)) if known == version => now - *since >= lease::length(),
            _ => {
                seen.retain(|_, (_, since)| now - *since < PATIENCE * 2);
                seen.insert(key.to_owned(), (version.clone(), now));
                false
            }
        }
    }
}

impl Turn<'_> {
    /// The id of what was made under the name a moment ago, whether lists show it or not.
    pub(super) fn made(&self) -> Option<&str> {
        let now = self.once.clock.now();
        self.row.made.as_ref().filter(|(_, at)| now - *at < FRESH).map(|(id, _)| id.as_str())
    }

    /// Whether an earlier create under the name was not answered.
    pub(super) const fn is_in_doubt(&self) -> bool {
        self.row.unanswered.is_some()
    }

    /// Notes what was made, and ends the turn.
    pub(super) async fn made_it(self, id: &str) {
        let made = Some((id.to_owned(), self.once.clock.now()));
        self.end(Named { made, ..Named::default() }).await;
    }

    /// Ends the turn without a word: the name is taken, or nothing happened.
    pub(super) async fn pass(self) {
        let row = Named { holder: None, ..self.row.clone() };
        self.end(row).await;
    }

    /// Notes that a create was sent whose answer was lost, and ends the turn.
    pub(super) async fn lost_answer(self) {
        let unanswered = Some(self.once.clock.now());
        self.end(Named { unanswered, ..Named::default() }).await;
    }

    /// Refuses to create while an earlier create may still show up. To be asked after a read of a list that does not
    /// have it.
    ///
    /// # Errors
    /// When it is too early.
    pub(super) async fn may_create(self) -> Result<Self, Error> {
        let left = self.row.unanswered.and_then(|at| (at + SETTLE - self.once.clock.now()).to_std().ok());
        let Some(left) = left.filter(|left| !left.is_zero()) else { return Ok(self) };
        self.pass().await;
        let message = "an earlier call for that name was not answered by Planner, and may yet show its effect";
        Err(Error { retry_after: Some(left), ..Error::new(ErrorCode::GraphFailed, message).perhaps_changed() }
            .hint(format!("repeat the call in {} s", left.as_secs() + 1)))
    }

    async fn end(self, row: Named) {
        let expect = Expect::Version(self.version.clone());
        let write = if row == Named::default() {
            Ok(Write::delete(&self.key, expect))
        } else {
            Write::put(&self.key, expect, &row)
        };
        let ended = async { self.once.rows.commit(vec![write?]).await };
        if let Err(error) = ended.await {
            // Others wait until they have seen it unchanged for the length of a lease.
            tracing::debug!(%error, "the turn of a name cannot be given back");
        }
    }
}
