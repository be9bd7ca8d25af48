//! Creating a task, once for every idempotency key.

use chrono::{DateTime, TimeDelta, Utc};
use serde::{Deserialize, Serialize};

use super::Planner;
use super::input::CreateTask;
use super::task::joined;
use super::view::TaskReceipt;
use super::wishes::Wish;
use crate::auth::Caller;
use crate::error::ErrorCode;
use crate::ids::{TaskId, digest};
use crate::rows::{Expect, Row, Write};
use crate::services::{Changed, Error};
use crate::sync::PlanHandle;
use crate::sync::journal;

/// How long an idempotency key is remembered.
const KEY_LIFE: TimeDelta = TimeDelta::hours(24);

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

impl Planner {
    /// Creates a task: journalled at once, then waited for.
    ///
    /// A repetition with the same `idempotency_key` and arguments answers with the task of the first call.
    ///
    /// # Errors
    /// Bad arguments (nothing was changed), or Planner refuses the task for good (nothing of it remains).
    pub async fn create_task(&self, caller: &Caller, input: &CreateTask) -> Result<TaskReceipt, Error> {
        let (handle, plan) = self.for_write(caller, input.plan_id.as_deref()).await?;
        let wish = self.creation(caller, &plan, input).await?;
        let id = self.journal_create(caller, &handle, input, &wish).await?;
        let outcome = self.push(&handle, &id).await;
        let mut receipt = Self::receipt(&handle, &id, outcome)?;
        if receipt.bucket.is_none() {
            receipt.note = joined(receipt.note, Some(NO_BUCKET.to_owned()));
        }
        Ok(receipt)
    }

    /// The task an earlier call with the key of `input` made, however long ago, and whether that call was this one.
    pub(super) async fn made_before(
        &self,
        caller: &Caller,
        handle: &PlanHandle,
        input: &CreateTask,
    ) -> Result<Option<(TaskId, bool)>, Error> {
        let Some(text) = input.idempotency_key.as_deref() else { return Ok(None) };
        let key = Key::new(caller, text, input)?;
        let Some(row) = handle.row(&key.row).await? else { return Ok(None) };
        let memory: KeyRow = row.decode()?;
        Ok(Some((memory.task, memory.digest == key.digest)))
    }

    /// Journals a new task and answers its id; the task of an earlier call with the same key counts.
    pub(super) async fn journal_create(
        &self,
        caller: &Caller,
        handle: &PlanHandle,
        input: &CreateTask,
        wish: &Wish,
    ) -> Result<TaskId, Error> {
        let fields = wish.task(&self.settings.custom_fields, &self.settings.limits, &self.entropy)?;
        let key = input.idempotency_key.as_deref().map(|key| Key::new(caller, key, input)).transpose()?;
        // Random with a key too: the key's row decides which call wins, and names its task.
        let id = TaskId::random(&handle.key, &self.entropy);
        let edit = self.edit(caller);
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
                    Write::put(
                        &key.row,
                        expect.clone(),
                        &KeyRow { digest: key.digest.clone(), task: id.clone(), at: edit.at },
                    )
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
        Err(Error::new(ErrorCode::Conflict, "calls with the same `idempotency_key` collide; nothing was changed")
            .hint("repeat the call"))
    }
}

/// An idempotency key as it is stored.
struct Key {
    row: String,
    digest: String,
}

impl Key {
    fn new(caller: &Caller, text: &str, arguments: &impl Serialize) -> Result<Self, Error> {
        if text.is_empty() || text.len() > 200 {
            return Err(Error::invalid("`idempotency_key` has 1 to 200 characters"));
        }
        let hash = |parts: &[&str]| format!("{:032x}", digest(parts));
        let arguments = serde_json::to_string(arguments).unwrap_or_default();
        Ok(Self { row: format!("k|{}", hash(&[&caller.name, text])), digest: hash(&[&arguments]) })
    }

    /// The task of the earlier call; `None` when the memory has expired.
    fn recall(&self, row: &Row, now: DateTime<Utc>) -> Result<Option<TaskId>, Error> {
        let memory: KeyRow = row.decode()?;
        if now - memory.at > KEY_LIFE {
            return Ok(None);
        }
        if memory.digest != self.digest {
            return Err(Error::new(
                ErrorCode::KeyReused,
                "the `idempotency_key` was used before with other arguments; nothing was changed",
            )
            .hint("use a new key for a new task"));
        }
        Ok(Some(memory.task))
    }
}
