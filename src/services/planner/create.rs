//! Creating a task, once for every idempotency key.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use super::Planner;
use super::input::CreateTask;
use super::keys::{KEY_LIFE, Key, hash, reused};
use super::resolved_edit::ResolvedEdit;
use super::task::joined;
use super::view::TaskReceipt;
use crate::auth::Caller;
use crate::error::ErrorCode;
use crate::ids::TaskId;
use crate::rows::{Expect, Row, Write};
use crate::services::{Changed, Error};
use crate::sync::PlanHandle;
use crate::sync::journal;

/// What is said of a task that is made in a plan without buckets.
pub(super) const NO_BUCKET: &str = "the plan has no bucket, so the task is in none; `create_bucket` makes one";

/// The memory of an idempotency key: a `k|` row, written in the transaction of its effect.
#[derive(Serialize, Deserialize)]
struct KeyRow {
    /// Digest of the arguments.
    digest: String,
    task: TaskId,
    at: DateTime<Utc>,
}

/// What is known of a call's key: its row in the plan, and the task it makes.
pub(super) struct Keyed {
    row: String,
    digest: String,
    /// The task an earlier try of the call was about to make.
    task: Option<TaskId>,
    at: DateTime<Utc>,
}

impl Planner {
    /// Creates a task: journalled at once, then waited for.
    ///
    /// A repetition with the same `idempotency_key` and arguments answers with the task of the first call.
    ///
    /// # Errors
    /// Bad arguments (nothing was changed), or Planner refuses the task for good (nothing of it remains).
    pub async fn create_task(&self, caller: &Caller, input: &CreateTask) -> Result<TaskReceipt, Error> {
        let (handle, plan) = self.for_write(caller, input.plan_id.as_deref()).await?;
        let (bucket, labels) = (input.bucket_id.as_deref(), input.categories.as_deref());
        let plan = self.plan_with(&handle, plan, bucket, labels).await?;
        let wanted = self.creation(caller, &plan, input).await?;
        let keyed = self.own_key(caller, &handle, input).await?;
        let id = self.journal_create(caller, &handle, &wanted, keyed).await?;
        let outcome = self.push(&handle, &id).await;
        let mut receipt = Self::receipt(&handle, &id, outcome)?;
        if receipt.bucket.is_none() {
            receipt.note = joined(receipt.note, Some(NO_BUCKET.to_owned()));
        }
        Ok(receipt)
    }

    /// Claims the key a creation names itself.
    ///
    /// # Errors
    /// When it belongs to another call.
    pub(super) async fn own_key(
        &self,
        caller: &Caller,
        handle: &PlanHandle,
        input: &CreateTask,
    ) -> Result<Option<Keyed>, Error> {
        let Some(text) = input.idempotency_key.as_deref() else { return Ok(None) };
        let (key, task) = (Key::new(caller, text)?, TaskId::random(&handle.key, &self.entropy));
        let claim = self.keys.claim(&key, ("create_task", &handle.id, input), Some(task), self.now()).await?;
        Ok(Some(Keyed::new(&key, input, claim.task, claim.at)))
    }

    /// Journals a new task and answers its id; the task of an earlier call with the same key counts.
    pub(super) async fn journal_create(
        &self,
        caller: &Caller,
        handle: &PlanHandle,
        wanted: &ResolvedEdit,
        key: Option<Keyed>,
    ) -> Result<TaskId, Error> {
        let fields = wanted.task(&self.settings.custom_fields, &self.settings.limits, &self.entropy)?;
        let claimed = key.as_ref().and_then(|key| key.task.clone());
        let id = claimed.unwrap_or_else(|| TaskId::random(&handle.key, &self.entropy));
        let edit = self.edit(caller, handle, &id)?;
        let mut expect = Expect::Absent;
        for _ in 0..3 {
            if let Some(key) = &key
                && let Some(row) = handle.row(&key.row).await?
            {
                match key.recall(&row, edit.at)? {
                    Some(task) => return Ok(task),
                    None => expect = Expect::Version(row.version),
                }
            }
            let memory = key
                .as_ref()
                .map(|key| {
                    let memory = KeyRow { digest: key.digest.clone(), task: id.clone(), at: key.at };
                    Write::put(&key.row, expect.clone(), &memory)
                })
                .transpose()?;
            let journalled = handle
                .transact(|_| {
                    let mut step = journal::create(id.clone(), fields.clone(), edit.clone());
                    step.rows.extend(memory.clone());
                    Ok::<_, Error>((step, ()))
                })
                .await;
            match journalled {
                Ok(()) => return Ok(id),
                // Another call with the same key was faster: its task is ours.
                Err(error)
                    if key.is_some() && error.code == ErrorCode::StoreFailed && error.changed == Changed::Nothing => {}
                Err(error) => return Err(error),
            }
        }
        Err(Error::new(ErrorCode::Conflict, "calls with the same `idempotency_key` collide").hint("repeat the call"))
    }
}

impl Keyed {
    /// A key that was claimed at `at`, for a call with these arguments.
    pub(super) fn new(key: &Key, arguments: &impl Serialize, task: Option<TaskId>, at: DateTime<Utc>) -> Self {
        let arguments = serde_json::to_string(arguments).unwrap_or_default();
        Self { row: format!("k|{}", key.name), digest: hash(&[&arguments]), task, at }
    }

    /// The task of the earlier call; `None` when the memory has expired.
    fn recall(&self, row: &Row, now: DateTime<Utc>) -> Result<Option<TaskId>, Error> {
        let memory: KeyRow = row.decode()?;
        if now - memory.at > KEY_LIFE {
            return Ok(None);
        }
        if memory.digest != self.digest {
            return Err(reused());
        }
        Ok(Some(memory.task))
    }
}
