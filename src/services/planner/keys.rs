//! Idempotency keys: one scope per caller, over all plans and tools of the deployment.
//!
//! A key is claimed before its call takes effect: a row outside the plans says which call it belongs to, and which task
//! that call makes. The effect itself is guarded by a row in the plan's own partition, in the transaction that has it.
//! So a call that died in between is repeated under the same task id, and one with another plan or other arguments is
//! refused before anything happens.

use parking_lot::Mutex;

use chrono::{DateTime, TimeDelta, Utc};
use serde::{Deserialize, Serialize};

use crate::auth::Caller;
use crate::error::ErrorCode;
use crate::ids::{PlanId, TaskId, digest};
use crate::rows::{Expect, Partition, StoreError, TenantTables, Write};
use crate::services::Error;

/// How long an idempotency key is remembered.
pub(super) const KEY_LIFE: TimeDelta = TimeDelta::hours(24);
/// How often keys that are forgotten are swept.
const SWEEP: TimeDelta = TimeDelta::hours(1);
/// Keys swept in one transaction.
const SWEPT: usize = 90;

/// What a key was claimed for: the value of its row.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Claim {
    /// Digest of tool, plan and arguments.
    digest: String,
    /// The task the call makes, if it makes one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub task: Option<TaskId>,
    /// When.
    pub at: DateTime<Utc>,
}

/// A key as it is stored.
pub(super) struct Key {
    /// Digest of caller and key.
    pub name: String,
}

impl Key {
    /// A caller's key.
    ///
    /// # Errors
    /// When it is empty or too long.
    pub(super) fn new(caller: &Caller, text: &str) -> Result<Self, Error> {
        if text.is_empty() || text.len() > 200 {
            return Err(Error::invalid("`idempotency_key` has 1 to 200 characters"));
        }
        Ok(Self { name: hash(&[&caller.name, text]) })
    }

    /// The key of an item of a bulk call that has this key.
    pub(super) fn item(&self, index: usize) -> Self {
        Self { name: hash(&[&self.name, "item", &index.to_string()]) }
    }
}

pub(super) fn hash(parts: &[&str]) -> String {
    format!("{:032x}", digest(parts))
}

/// That a key belongs to another call.
pub(super) fn reused() -> Error {
    Error::new(ErrorCode::KeyReused, "the `idempotency_key` was used before with other arguments")
        .hint("use a new key for a new task")
}

/// The keys of the deployment.
pub(super) struct Keys {
    rows: Partition,
    swept_at: Mutex<Option<DateTime<Utc>>>,
}

impl Keys {
    pub(super) fn new(tables: &TenantTables) -> Self {
        Self { rows: tables.partition("keys"), swept_at: Mutex::default() }
    }

    /// Claims a key for a call; answers the claim that counts, which is an earlier one where the call is repeated.
    ///
    /// # Errors
    /// When the key belongs to another call, or the store fails; nothing was changed.
    pub(super) async fn claim(
        &self,
        key: &Key,
        (tool, plan, arguments): (&str, &PlanId, &impl Serialize),
        task: Option<TaskId>,
        now: DateTime<Utc>,
    ) -> Result<Claim, Error> {
        let arguments = serde_json::to_string(arguments).unwrap_or_default();
        let claim = Claim { digest: hash(&[tool, plan.as_str(), &arguments]), task, at: now };
        let row = format!("k|{}", key.name);
        for _ in 0..3 {
            let known = self.rows.get(&row).await?;
            let expect = match &known {
                None => Expect::Absent,
                Some(row) => {
                    let known: Claim = row.decode()?;
                    if now - known.at <= KEY_LIFE {
                        return if known.digest == claim.digest { Ok(known) } else { Err(reused()) };
                    }
                    Expect::Version(row.version.clone())
                }
            };
            match self.rows.commit(vec![Write::put(&row, expect, &claim)?]).await {
                Ok(_) => return Ok(claim),
                // Somebody was faster, or it is not known whether it was written: the next round reads it.
                Err(StoreError::Conflict { .. } | StoreError::Unavailable { .. }) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Err(Error::new(ErrorCode::StoreFailed, "the `idempotency_key` cannot be noted").hint("repeat the call"))
    }

    /// Forgets keys that are older than they are remembered, at most once an hour.
    pub(super) async fn sweep(&self, now: DateTime<Utc>) -> Result<(), StoreError> {
        {
            let mut swept_at = self.swept_at.lock();
            if swept_at.is_some_and(|at| now - at < SWEEP) {
                return Ok(());
            }
            *swept_at = Some(now);
        }
        let mut old = Vec::new();
        for row in self.rows.scan_prefix("k|").await? {
            if now - row.decode::<Claim>()?.at > KEY_LIFE {
                old.push(Write::delete(row.key, Expect::Version(row.version)));
            }
        }
        for writes in old.chunks(SWEPT) {
            match self.rows.commit(writes.to_vec()).await {
                // One of them was claimed again meanwhile: the next sweep takes the rest.
                Ok(_) | Err(StoreError::Conflict { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}
