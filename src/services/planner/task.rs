//! One task: find, read, create, change, move, delete.

use std::sync::Arc;
use std::time::Duration;

use super::background::PATIENCE;
use super::checklist::in_order;
use super::days::print_date;
use super::query::{bucket_name, category_names, link, sync_of};
use super::version::ReadLists;
use super::view::{ChecklistView, ReferenceView, Removed, SyncOutcome, TaskReceipt, TaskView};
use super::words::{Status, priority_word};
use super::{Freshness, Planner};
use crate::auth::Caller;
use crate::error::ErrorCode;
use crate::ids::{PlannerTaskId, TaskId};
use crate::rows::StoreError;
use crate::services::Error;
use crate::services::directory::A_FEW;
use crate::services::print_time;
use crate::sync::journal::{self, Edit};
use crate::sync::model::{ChecklistItem, OpRecord, PlanRecord, TaskRecord};
use crate::sync::{Outcome, PlanHandle, Replica};
use crate::text::shown;

/// How long a caller who asks for Planner's own state waits for a task's details.
const LONGEST_WAIT: Duration = Duration::from_secs(30);

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
    pub(super) async fn find(&self, caller: &Caller, text: &str, freshness: Freshness) -> Result<Found, Error> {
        let text = text.trim();
        let gone = || {
            Error::new(ErrorCode::TaskNotFound, format!("task `{text}` does not exist or was deleted"))
                .hint("find the task with `query_tasks`")
        };
        if let Ok(id) = TaskId::parse(text) {
            let Some(handle) = self.catalog.handle_by_key(&caller.plan_scope, &id.plan_key()).await? else {
                return Err(gone());
            };
            let mut note = self.ready(&handle, freshness).await?;
            if handle.read().task(&id).is_none() && freshness == Freshness::Usual {
                note = self.ready(&handle, Freshness::Lately).await?;
            }
            let record = handle.read().task(&id).filter(|record| !record.deleted).cloned();
            let Some(record) = record else {
                return Err(match self.moved_to(&caller.plan_scope, &id).await {
                    Some(copy) => gone().hint(format!("it was moved to another plan: there it is task `{copy}`")),
                    None => gone(),
                });
            };
            return Ok(Found { handle, record, note });
        }
        let Ok(planner_id) = PlannerTaskId::parse(text) else {
            return Err(
                Error::invalid(format!("`{text}` is no task id")).hint("find the task and its id with `query_tasks`")
            );
        };
        let known = self.catalog.handles().into_iter().find(|handle| handle.id_of(&planner_id).is_some());
        let within = match known {
            Some(handle) => self.catalog.within(&caller.plan_scope, handle).await?,
            None => None,
        };
        let handle = match within {
            Some(handle) => handle,
            // What is known but beyond the caller's plans is asked for all the same: a quick refusal would tell it exists.
            None => {
                let plan = self.plan_of_unknown_task(caller, &planner_id).await?.ok_or_else(gone)?;
                self.catalog.resolve(&caller.plan_scope, Some(plan.as_str())).await.map_err(|_| gone())?
            }
        };
        let mut note = self.ready(&handle, freshness).await?;
        if handle.id_of(&planner_id).is_none() {
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
    pub async fn get_task(&self, caller: &Caller, id: &str, fresh: Option<bool>) -> Result<TaskView, Error> {
        let freshness = Freshness::from(fresh);
        let asked_at = self.now();
        let found = self.find(caller, id, freshness).await?;
        let age = freshness.age(self.settings.max_age);
        let mut note = found.note;
        let patience = match self.last_errors.of(&found.handle.id) {
            _ if freshness == Freshness::Now => LONGEST_WAIT,
            Some(_) => Duration::ZERO,
            None => PATIENCE,
        };
        let why = match self.refresh_details(&found.handle, &found.record.id, asked_at - age, patience).await {
            Some(Ok(())) => None,
            Some(Err(error)) => Some(error.to_string()),
            None => Some("Planner has not answered yet".to_owned()),
        };
        if let Some(why) = why {
            note = Some(match found.record.fields.details {
                Some(_) => format!("the details could not be read again: {why}"),
                None => format!("description, checklist and references are not known yet: {why}"),
            });
        }
        let (record, plan) = present(&found.handle, &found.record.id)?;
        let makers = record.facts.created_by.iter().chain(&record.facts.completed_by);
        self.directory.people.meet(record.fields.assignees.iter().chain(makers), A_FEW).await;
        Ok(self.view(&found.handle, &record, &plan, note))
    }

    fn view(&self, handle: &PlanHandle, record: &TaskRecord, plan: &PlanRecord, note: Option<String>) -> TaskView {
        let fields = &record.fields;
        let custom = &self.settings.custom_fields;
        let details = fields.details.as_deref();
        let checklist = details.filter(|details| !details.checklist.is_empty()).map(|details| {
            let items = in_order(&details.checklist);
            let twin = |title: &str| items.iter().filter(|(_, item)| shown(&item.title) == shown(title)).count() > 1;
            let view = |(key, item): &(&String, &ChecklistItem)| ChecklistView {
                id: twin(&item.title).then(|| (*key).clone()),
                title: item.title.clone(),
                checked: item.checked,
            };
            items.iter().map(view).collect()
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
        self.directory.people.with_names(|names| TaskView {
            id: record.id.to_string(),
            planner_id: record.planner_id().map(ToString::to_string),
            plan_id: handle.id.to_string(),
            plan: plan.title.clone(),
            title: fields.title.clone(),
            bucket: bucket_name(plan, record),
            status: Status::of(fields.percent_complete).word().to_owned(),
            percent_complete: fields.percent_complete,
            priority: priority_word(fields.priority).to_owned(),
            assignees: fields.assignees.iter().map(|user| names.of(user).to_owned()).collect(),
            start_date: fields.start.map(|date| print_date(date, self.settings.time_zone)),
            due_date: fields.due.map(|date| print_date(date, self.settings.time_zone)),
            categories: category_names(plan, record),
            description,
            checklist,
            references,
            custom_fields: custom.read(&fields.categories, details),
            created: record.facts.created_at.map(print_time),
            created_by: record.facts.created_by.as_ref().map(|user| names.of(user).to_owned()),
            completed: record.facts.completed_at.map(print_time),
            completed_by: record.facts.completed_by.as_ref().map(|user| names.of(user).to_owned()),
            changed: print_time(record.changed_at),
            sync: sync_of(record),
            version: ReadLists::of(fields).print(&record.id),
            link: link(&self.tenant, plan, record),
            // What Planner has of a task it has in full was read no earlier than it changed here.
            as_of: handle
                .as_of()
                .map(|at| if record.is_dirty() { at } else { at.max(record.changed_at) })
                .map(print_time),
            note,
        })
    }

    /// The plan's replica and row, for a write.
    pub(super) async fn for_write(
        &self,
        caller: &Caller,
        plan: Option<&str>,
    ) -> Result<(Arc<PlanHandle>, Arc<PlanRecord>), Error> {
        let handle = self.catalog.resolve(&caller.plan_scope, plan).await?;
        self.ready(&handle, Freshness::Usual).await?;
        let plan = super::known_plan(handle.plan())?;
        Ok((handle, plan))
    }

    /// An edit of a task by a caller, with the row that tells the audit log of it.
    pub(super) fn edit(&self, caller: &Caller, handle: &PlanHandle, task: &TaskId) -> Result<Edit, StoreError> {
        let at = self.now();
        let trace = caller.trace(handle.partition(), &[("plan_id", handle.id.as_str()), ("task_id", task.as_str())])?;
        Ok(Edit { operation: self.entropy.ulid(at), at, by: caller.name.clone(), rows: trace.into_iter().collect() })
    }

    /// Has the details of all tasks of a plan read that are not known, with `fresh` also those that are; answers how many
    /// could not be.
    pub(super) async fn know_all_details(
        &self,
        handle: &PlanHandle,
        fresh: bool,
        limit: Duration,
    ) -> Result<usize, Error> {
        let not_before = fresh.then(|| self.now());
        Ok(self.engine.read_all_details(handle, not_before, limit).await?)
    }

    /// Deletes a task, here at once and in Planner as soon as it answers.
    ///
    /// # Errors
    /// When the task does not exist, or Planner refuses for good (the task is back).
    pub async fn delete_task(&self, caller: &Caller, id: &str) -> Result<Removed, Error> {
        let found = self.find(caller, id, Freshness::Usual).await?;
        let id = found.record.id.clone();
        let edit = self.edit(caller, &found.handle, &id)?;
        let op = found
            .handle
            .transact(|replica: &Replica| {
                let step = replica.task(&id).map(|record| journal::delete(record, edit.clone())).unwrap_or_default();
                let op = step.op();
                Ok::<_, StoreError>((step, op))
            })
            .await?;
        let outcome = self.push_op(&found.handle, &id, op).await;
        let (sync, note) = settle(outcome)?;
        Ok(Removed { id: id.to_string(), title: found.record.fields.title.clone(), sync, note })
    }

    /// Has a task pushed and waits a moment; what has not arrived by then is remembered beyond this process.
    pub(super) async fn push(&self, handle: &Arc<PlanHandle>, id: &TaskId) -> Option<Outcome> {
        self.push_op(handle, id, None).await
    }

    /// As [`Self::push`], for an operation: the outcome is that of its fields, not of other edits meanwhile.
    pub(super) async fn push_op(&self, handle: &Arc<PlanHandle>, id: &TaskId, op: Option<OpRecord>) -> Option<Outcome> {
        let outcome = self.pusher.push_op(handle, id, op, self.settings.write_wait).await;
        if matches!(outcome, None | Some(Outcome::Pending { .. })) {
            self.remember(handle).await;
        }
        outcome
    }

    pub(super) fn receipt(handle: &PlanHandle, id: &TaskId, outcome: Option<Outcome>) -> Result<TaskReceipt, Error> {
        let (sync, note) = settle(outcome)?;
        let (record, plan) = present(handle, id)?;
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

/// Two notes as one.
pub(super) fn joined(first: Option<String>, second: Option<String>) -> Option<String> {
    match (first, second) {
        (Some(first), Some(second)) => Some(format!("{first}; {second}")),
        (first, second) => first.or(second),
    }
}

/// A task and its plan as they are now.
fn present(handle: &PlanHandle, id: &TaskId) -> Result<(Arc<TaskRecord>, Arc<PlanRecord>), Error> {
    let replica = handle.read();
    match (replica.task(id), &replica.plan) {
        (Some(record), Some(plan)) => Ok((record.clone(), plan.clone())),
        _ => Err(Error::new(ErrorCode::TaskNotFound, format!("task `{id}` has just been deleted"))),
    }
}

/// What a push's outcome means for the caller.
///
/// # Errors
/// When Planner refused for good.
pub(super) fn settle(outcome: Option<Outcome>) -> Result<(SyncOutcome, Option<String>), Error> {
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
        Some(Outcome::Failed { reason }) => {
            let error =
                Error::new(ErrorCode::GraphRefused, format!("{reason}; fields that Planner takes have arrived"));
            return Err(error.hint("correct the call; the refused values are in the conflict log"));
        }
    })
}
