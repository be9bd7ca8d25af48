//! One task: find, read, create, change, move, delete.

use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use serde::{Deserialize, Serialize};

use super::input::{CreateTask, UpdateTask};
use super::query::{bucket_name, category_names, sync_of};
use super::view::{ChecklistView, ReferenceView, Removed, SyncOutcome, TaskReceipt, TaskView};
use super::wishes::Wish;
use super::words::{Status, print_date, print_time, priority_word};
use super::{Freshness, Planner, remote};
use crate::auth::Caller;
use crate::error::ErrorCode;
use crate::graph::Call;
use crate::ids::{PlannerTaskId, TaskId};
use crate::rows::{Expect, Row, StoreError, Write};
use crate::services::{Changed, Error};
use crate::sync::journal::{self, Edit};
use crate::sync::model::{PlanRecord, TaskRecord};
use crate::sync::{Outcome, PlanHandle, Replica};

/// How long an idempotency key is remembered.
const KEY_LIFE: TimeDelta = TimeDelta::hours(24);

/// The memory of an idempotency key: a `k|` row, written in the transaction of its effect.
#[derive(Serialize, Deserialize)]
struct KeyRow {
    /// Digest of the arguments.
    digest: String,
    task: TaskId,
    at: DateTime<Utc>,
}

/// A task that is known to exist, with what frames it.
pub(super) struct Found {
    pub handle: Arc<PlanHandle>,
    pub record: Arc<TaskRecord>,
    pub note: Option<String>,
}

impl Planner {
    /// Finds a task by our id or by Planner's.
    ///
    /// # Errors
    /// When the text is no id, or no such task exists or may be seen.
    pub(super) async fn find(&self, text: &str, freshness: Freshness) -> Result<Found, Error> {
        let text = text.trim();
        let gone = || {
            Error::new(
                ErrorCode::TaskNotFound,
                format!("task `{text}` does not exist or was deleted; nothing was changed"),
            )
            .hint("find the task with `query_tasks`")
        };
        if let Ok(id) = TaskId::parse(text) {
            let Some(handle) = self.catalog.handle_by_key(&id.plan_key()).await? else { return Err(gone()) };
            let mut note = self.ready(&handle, freshness).await?;
            if handle.read().task(&id).is_none() && freshness == Freshness::Usual {
                note = self.ready(&handle, Freshness::Now).await?;
            }
            let record = handle.read().task(&id).filter(|record| !record.deleted).cloned();
            return record.map(|record| Found { handle, record, note }).ok_or_else(gone);
        }
        let Ok(planner_id) = PlannerTaskId::parse(text) else {
            return Err(
                Error::invalid(format!("`{text}` is no task id")).hint("find the task and its id with `query_tasks`")
            );
        };
        let known = self.catalog.handles().into_iter().find(|handle| handle.read().id_of(&planner_id).is_some());
        let handle = match known {
            Some(handle) => handle,
            None => {
                let found =
                    self.graph.get_task(&Call::interactive(), &planner_id).await.map_err(remote::graph_error)?;
                let plan = found.ok_or_else(gone)?.plan_id;
                self.catalog.resolve(Some(plan.as_str())).await.map_err(|_| gone())?
            }
        };
        let mut note = self.ready(&handle, freshness).await?;
        if handle.read().id_of(&planner_id).is_none() {
            note = self.ready(&handle, Freshness::Now).await?;
        }
        let record = {
            let replica = handle.read();
            replica.id_of(&planner_id).and_then(|id| replica.task(id)).filter(|record| !record.deleted).cloned()
        };
        record.map(|record| Found { handle, record, note }).ok_or_else(gone)
    }

    /// A task in full. The details are read from Planner when they are unknown or older than the configured age.
    ///
    /// # Errors
    /// When the task does not exist, or Planner does not answer and nothing is known of it yet.
    pub async fn get_task(&self, id: &str, fresh: Option<bool>) -> Result<TaskView, Error> {
        let freshness = Freshness::from(fresh);
        let asked_at = self.now();
        let found = self.find(id, freshness).await?;
        let age = match freshness {
            Freshness::Now => TimeDelta::zero(),
            Freshness::Usual => TimeDelta::from_std(self.settings.max_age).unwrap_or(TimeDelta::MAX),
        };
        let mut note = found.note;
        if let Err(error) = self.engine.refresh_details(&found.handle, &found.record.id, asked_at - age).await {
            if found.record.fields.details.is_none() {
                return Err(error.into());
            }
            note = Some(format!("the details could not be read again: {error}"));
        }
        let (record, plan) = self.present(&found.handle, &found.record.id)?;
        self.people
            .meet(record.fields.assignees.iter().chain(&record.facts.created_by).chain(&record.facts.completed_by))
            .await;
        Ok(self.view(&found.handle, &record, &plan, note))
    }

    fn present(&self, handle: &PlanHandle, id: &TaskId) -> Result<(Arc<TaskRecord>, Arc<PlanRecord>), Error> {
        let replica = handle.read();
        match (replica.task(id), &replica.plan) {
            (Some(record), Some(plan)) => Ok((record.clone(), plan.clone())),
            _ => Err(Error::new(ErrorCode::TaskNotFound, format!("task `{id}` has just been deleted"))),
        }
    }

    fn view(&self, handle: &PlanHandle, record: &TaskRecord, plan: &PlanRecord, note: Option<String>) -> TaskView {
        let fields = &record.fields;
        let custom = &self.settings.custom_fields;
        let details = fields.details.as_ref();
        let checklist = details.filter(|details| !details.checklist.is_empty()).map(|details| {
            let mut items: Vec<_> = details.checklist.values().collect();
            items.sort_by(|left, right| left.order.cmp(&right.order));
            items.into_iter().map(|item| ChecklistView { title: item.title.clone(), checked: item.checked }).collect()
        });
        let references = details.filter(|details| !details.references.is_empty()).map(|details| {
            let view = |(url, reference): (&String, &crate::sync::model::Reference)| ReferenceView {
                url: url.clone(),
                title: reference.alias.clone(),
            };
            details.references.iter().map(view).collect()
        });
        let description =
            details.map(|details| custom.text(&details.description).into_owned()).filter(|text| !text.is_empty());
        self.people.with_names(|name| TaskView {
            id: record.id.to_string(),
            planner_id: record.planner_id().map(ToString::to_string),
            plan_id: handle.id.to_string(),
            plan: plan.title.clone(),
            title: fields.title.clone(),
            bucket: bucket_name(plan, record),
            status: Status::of(fields.percent_complete).word().to_owned(),
            percent_complete: fields.percent_complete,
            priority: priority_word(fields.priority).to_owned(),
            assignees: fields.assignees.iter().map(name).collect(),
            start_date: fields.start.map(print_date),
            due_date: fields.due.map(print_date),
            categories: category_names(plan, record),
            description,
            checklist,
            references,
            custom_fields: custom.read(&fields.categories, details),
            created: record.facts.created_at.map(print_time),
            created_by: record.facts.created_by.as_ref().map(name),
            completed: record.facts.completed_at.map(print_time),
            completed_by: record.facts.completed_by.as_ref().map(name),
            changed: print_time(record.changed_at),
            sync: sync_of(record),
            as_of: self.as_of(handle),
            note,
        })
    }

    /// The plan's replica and row, for a write.
    pub(super) async fn for_write(&self, plan: Option<&str>) -> Result<(Arc<PlanHandle>, Arc<PlanRecord>), Error> {
        let handle = self.catalog.resolve(plan).await?;
        self.ready(&handle, Freshness::Usual).await?;
        let plan = handle.read().plan.clone();
        let plan = plan.ok_or_else(|| Error::new(ErrorCode::PlanNotFound, "the plan has not been read yet"))?;
        Ok((handle, plan))
    }

    pub(super) fn edit(&self, caller: &Caller) -> Edit {
        let at = self.now();
        Edit { operation: self.entropy.ulid(at), at, by: caller.name.clone() }
    }

    /// Creates a task: journalled at once, then waited for.
    ///
    /// A repetition with the same `idempotency_key` and arguments answers with the task of the first call.
    ///
    /// # Errors
    /// Bad arguments (nothing was changed), or Planner refuses the task for good (nothing of it remains).
    pub async fn create_task(&self, caller: &Caller, input: &CreateTask) -> Result<TaskReceipt, Error> {
        let (handle, plan) = self.for_write(input.plan_id.as_deref()).await?;
        let wish = self.creation(&plan, input).await?;
        let id = self.journal_create(caller, &handle, input, &wish).await?;
        let outcome = self.pusher.push(&handle, &id, self.settings.write_wait).await;
        self.receipt(&handle, &id, outcome)
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
        let id = match &key {
            Some(key) => TaskId::keyed(&handle.key, &caller.name, &key.text),
            None => TaskId::random(&handle.key, &self.entropy),
        };
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

    /// Changes a task: only the fields named, everything else stays.
    ///
    /// # Errors
    /// Bad arguments (nothing was changed), or Planner refuses the change for good (the task went back to its values).
    pub async fn update_task(&self, caller: &Caller, input: &UpdateTask) -> Result<TaskReceipt, Error> {
        let (handle, id) = self.journal_update(caller, input).await?;
        let outcome = self.pusher.push(&handle, &id, self.settings.write_wait).await;
        self.receipt(&handle, &id, outcome)
    }

    /// Journals a change and answers the task's id.
    pub(super) async fn journal_update(
        &self,
        caller: &Caller,
        input: &UpdateTask,
    ) -> Result<(Arc<PlanHandle>, TaskId), Error> {
        let found = self.find(&input.task_id, Freshness::Usual).await?;
        let handle = found.handle;
        let plan = handle.read().plan.clone();
        let plan = plan.ok_or_else(|| Error::new(ErrorCode::PlanNotFound, "the plan has not been read yet"))?;
        let wish = self.change(&plan, input).await?;
        let id = found.record.id.clone();
        self.know_details(&handle, &id, &wish).await?;
        let edit = self.edit(caller);
        let settings = &self.settings;
        handle
            .transact(|replica: &Replica| {
                let Some(record) = replica.task(&id).filter(|record| !record.deleted) else {
                    return Err(Error::new(
                        ErrorCode::TaskNotFound,
                        format!("task `{id}` has just been deleted; nothing was changed"),
                    ));
                };
                let pieces = wish.pieces(&record.fields, &settings.custom_fields, &settings.limits, &self.entropy)?;
                Ok((journal::update(record, &pieces, edit.clone()).unwrap_or_default(), ()))
            })
            .await?;
        Ok((handle, id))
    }

    /// A list that replaces another one, or a block inside a text, needs to know what is there.
    async fn know_details(&self, handle: &PlanHandle, id: &TaskId, wish: &Wish) -> Result<(), Error> {
        let unread = handle.read().task(id).is_some_and(|record| record.fields.details.is_none());
        let custom = !self.settings.custom_fields.is_empty();
        if unread && (wish.needs_details() || (custom && wish.touches_details())) {
            self.engine.refresh_details(handle, id, DateTime::UNIX_EPOCH).await?;
        }
        Ok(())
    }

    /// Moves a task to another bucket of its plan, or to another plan: there it is created anew, with everything
    /// Planner lets an application copy, and the original is deleted once the copy has arrived.
    ///
    /// # Errors
    /// As [`Self::update_task`]; when the copy does not arrive the original stays.
    pub async fn move_task(
        &self,
        caller: &Caller,
        id: &str,
        bucket: Option<&str>,
        plan: Option<&str>,
    ) -> Result<TaskReceipt, Error> {
        let target = match plan {
            Some(plan) => Some(self.catalog.resolve(Some(plan)).await?),
            None => None,
        };
        let found = self.find(id, Freshness::Usual).await?;
        match target.filter(|target| target.id != found.handle.id) {
            Some(target) => self.move_to_plan(caller, &found, &target, bucket).await,
            None => {
                let Some(bucket) = bucket else {
                    return Err(
                        Error::invalid("`bucket_id` is missing").hint("name the bucket, or another plan in `plan_id`")
                    );
                };
                let input = UpdateTask {
                    task_id: found.record.id.to_string(),
                    bucket_id: Some(bucket.to_owned()),
                    ..UpdateTask::default()
                };
                self.update_task(caller, &input).await
            }
        }
    }

    async fn move_to_plan(
        &self,
        caller: &Caller,
        found: &Found,
        target: &Arc<PlanHandle>,
        bucket: Option<&str>,
    ) -> Result<TaskReceipt, Error> {
        let view = self.get_task(found.record.id.as_str(), None).await?;
        let (_, plan) = self.for_write(Some(target.id.as_str())).await?;
        // Labels belong to a plan: those the target has by the same name go along.
        let (kept, lost): (Vec<String>, Vec<String>) =
            view.categories.into_iter().partition(|name| super::wishes::category(&plan, name).is_ok());
        let item = |item: ChecklistView| super::input::ChecklistInput { title: item.title, checked: item.checked };
        let link = |link: ReferenceView| super::input::ReferenceInput { url: link.url, title: link.title };
        let input = CreateTask {
            plan_id: Some(target.id.to_string()),
            title: view.title,
            bucket_id: bucket.map(str::to_owned),
            description: found
                .handle
                .read()
                .task(&found.record.id)
                .and_then(|record| Some(record.fields.details.as_ref()?.description.clone())),
            assignee_ids: Some(found.record.fields.assignees.iter().map(ToString::to_string).collect()),
            start_date: found.record.fields.start.map(print_time),
            due_date: found.record.fields.due.map(print_time),
            priority: Some(found.record.fields.priority.to_string()),
            checklist: view.checklist.map(|items| items.into_iter().map(item).collect()),
            references: view.references.map(|links| links.into_iter().map(link).collect()),
            categories: Some(kept),
            custom_fields: None,
            idempotency_key: Some(format!("move {} {}", found.record.id, found.record.revision)),
        };
        let mut receipt = self.create_task(caller, &input).await?;
        if receipt.sync == SyncOutcome::Pending {
            receipt.note = Some(format!(
                "the copy has not reached Planner yet; the original `{}` stays: repeat the call later",
                found.record.id
            ));
            return Ok(receipt);
        }
        if found.record.fields.percent_complete > 0 {
            let progress = UpdateTask {
                task_id: receipt.id.clone(),
                percent_complete: Some(found.record.fields.percent_complete),
                ..UpdateTask::default()
            };
            receipt = self.update_task(caller, &progress).await?;
        }
        let removed = self.delete_task(caller, found.record.id.as_str()).await?;
        let mut notes =
            vec![format!("moved from task `{}`; Planner gives a moved task a new id and creation time", removed.id)];
        if !lost.is_empty() {
            notes.push(format!("labels the target plan does not have were left behind: {}", lost.join(", ")));
        }
        receipt.note = Some(notes.join("; "));
        Ok(receipt)
    }

    /// Deletes a task, here at once and in Planner as soon as it answers.
    ///
    /// # Errors
    /// When the task does not exist, or Planner refuses for good (the task is back).
    pub async fn delete_task(&self, caller: &Caller, id: &str) -> Result<Removed, Error> {
        let found = self.find(id, Freshness::Usual).await?;
        let id = found.record.id.clone();
        let edit = self.edit(caller);
        found
            .handle
            .transact(|replica: &Replica| {
                let step = replica.task(&id).map(|record| journal::delete(record, edit.clone()));
                Ok::<_, StoreError>((step.unwrap_or_default(), ()))
            })
            .await?;
        let outcome = self.pusher.push(&found.handle, &id, self.settings.write_wait).await;
        let (sync, note) = self.settle(outcome)?;
        Ok(Removed { id: id.to_string(), title: found.record.fields.title.clone(), sync, note })
    }

    /// What a push's outcome means for the caller.
    ///
    /// # Errors
    /// When Planner refused for good.
    pub(super) fn settle(&self, outcome: Option<Outcome>) -> Result<(SyncOutcome, Option<String>), Error> {
        Ok(match outcome {
            Some(Outcome::Synced { overruled: 0 }) => (SyncOutcome::Synced, None),
            Some(Outcome::Synced { overruled }) => {
                let note = format!(
                    "{overruled} field(s) had been changed in Planner as well and kept that value; yours is in the conflict log"
                );
                (SyncOutcome::Conflict, Some(note))
            }
            Some(Outcome::Pending { reason, .. }) => {
                (SyncOutcome::Pending, Some(format!("journalled; it reaches Planner as soon as possible ({reason})")))
            }
            None => (SyncOutcome::Pending, Some("journalled; Planner has not answered yet".to_owned())),
            Some(Outcome::Failed { reason, forbidden }) => {
                let code = if forbidden { ErrorCode::PermissionMissing } else { ErrorCode::GraphRefused };
                let error = Error::new(code, format!("{reason}; nothing was changed"));
                return Err(if forbidden {
                    error.hint("an administrator grants the application the permission named")
                } else {
                    error.hint("correct the call; the refused values are in the conflict log")
                });
            }
        })
    }

    pub(super) fn receipt(
        &self,
        handle: &PlanHandle,
        id: &TaskId,
        outcome: Option<Outcome>,
    ) -> Result<TaskReceipt, Error> {
        let (sync, note) = self.settle(outcome)?;
        let (record, plan) = self.present(handle, id)?;
        Ok(TaskReceipt {
            id: id.to_string(),
            planner_id: record.planner_id().map(ToString::to_string),
            title: record.fields.title.clone(),
            bucket: bucket_name(&plan, &record),
            status: Status::of(record.fields.percent_complete).word().to_owned(),
            sync,
            note,
        })
    }

    /// How long a single write waits.
    #[must_use]
    pub fn write_wait(&self) -> Duration {
        self.settings.write_wait
    }
}

/// An idempotency key as it is stored.
pub(super) struct Key {
    text: String,
    row: String,
    digest: String,
}

impl Key {
    fn new(caller: &Caller, text: &str, arguments: &impl Serialize) -> Result<Self, Error> {
        if text.is_empty() || text.len() > 200 {
            return Err(Error::invalid("`idempotency_key` has 1 to 200 characters"));
        }
        let hash = |parts: &[&str]| -> String {
            use sha2::Digest;
            let mut hasher = sha2::Sha256::new();
            for part in parts {
                hasher.update(part.as_bytes());
                hasher.update([0]);
            }
            hasher.finalize().iter().take(16).map(|byte| format!("{byte:02x}")).collect()
        };
        let arguments = serde_json::to_string(arguments).unwrap_or_default();
        Ok(Self {
            text: text.to_owned(),
            row: format!("k|{}", hash(&[&caller.name, text])),
            digest: hash(&[&arguments]),
        })
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
