//! Changing a task: what a caller names, and nothing else.

use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};

use super::background::PATIENCE;
use super::input::UpdateTask;
use super::resolved_edit::{Dropped, ResolvedEdit};
use super::task::joined;
use super::view::TaskReceipt;
use super::{Freshness, Planner};
use crate::auth::Caller;
use crate::error::ErrorCode;
use crate::ids::TaskId;
use crate::services::Error;
use crate::sync::journal;
use crate::sync::model::{OpRecord, PlanRecord};
use crate::sync::{PlanHandle, Replica, Step};

/// How long one call waits for Planner before it changes what is so already.
const REFRESH_WAIT: TimeDelta = TimeDelta::seconds(10);
/// Said where a change repeats what is known here and Planner cannot be asked whether it is still so.
const UNSEEN: &str = "Planner could not be asked whether the task is still as it is known here; of what the call names, only \
    what differs from that was changed";

impl Planner {
    /// Changes a task: only the fields named, everything else stays.
    ///
    /// # Errors
    /// Bad arguments (nothing was changed), or Planner refuses the change for good (the task went back to its values).
    pub async fn update_task(&self, caller: &Caller, input: &UpdateTask) -> Result<TaskReceipt, Error> {
        let (handle, id, op, note) = self.journal_update(caller, input, self.now()).await?;
        let outcome = self.push_op(&handle, &id, op).await;
        let mut receipt = Self::receipt(&handle, &id, outcome)?;
        receipt.note = joined(receipt.note, note);
        Ok(receipt)
    }

    /// Journals a change that was asked for at `asked_at`; answers the task's id, the operation unless nothing changes, and
    /// what the caller should know beyond that.
    ///
    /// What is to become as it is here already may have been changed by a person since the last refresh. To say
    /// that it is so would be false, so Planner is read once more before.
    pub(super) async fn journal_update(
        &self,
        caller: &Caller,
        input: &UpdateTask,
        asked_at: DateTime<Utc>,
    ) -> Result<(Arc<PlanHandle>, TaskId, Option<OpRecord>, Option<String>), Error> {
        let found = self.find(caller, &input.task_id, Freshness::Usual).await?;
        let handle = found.handle;
        let plan = super::known_plan(handle.plan())?;
        let lists = [&input.categories, &input.add_categories, &input.remove_categories];
        let labels: Vec<String> = lists.into_iter().flatten().flatten().cloned().collect();
        let plan = self.plan_with(&handle, plan, input.bucket_id.as_deref(), Some(&labels)).await?;
        let id = found.record.id.clone();
        let wanted = self.change(caller, &plan, &id, input).await?;
        self.know_details(&handle, &id, &wanted).await?;
        let edit = self.edit(caller, &handle, &id)?;
        let settings = &self.settings;
        let (mut has_refreshed, mut unseen) = (false, None);
        let (op, dropped) = loop {
            let journalled = handle
                .transact(|replica: &Replica| {
                    let Some(record) = replica.task(&id).filter(|record| !record.deleted) else {
                        return Err(Error::new(ErrorCode::TaskNotFound, format!("task `{id}` has just been deleted")));
                    };
                    let (edits, dropped) =
                        wanted.edits(&record.fields, &settings.custom_fields, &settings.limits, &self.entropy)?;
                    let step = journal::update(record, &edits, edit.clone()).unwrap_or_default();
                    let op = step.op();
                    let changed = op.as_ref().map_or(&[][..], |op| &op.fields);
                    if !has_refreshed && wanted.repeats(&record.fields, &edits, changed) {
                        return Ok((Step::default(), None));
                    }
                    Ok((step, Some((op, dropped))))
                })
                .await?;
            match journalled {
                Some(journalled) => break journalled,
                None => unseen = self.refresh_once_more(&handle, &id, &wanted, asked_at).await,
            }
            has_refreshed = true;
        };
        let note = joined(unseen, self.name_dropped(&plan, &dropped));
        Ok((handle, id, op, note))
    }

    /// Refreshes a plan, and what an edit touches of one of its tasks, unless that was done since `asked_at`; answers what
    /// the caller should know where Planner does not say.
    async fn refresh_once_more(
        &self,
        handle: &Arc<PlanHandle>,
        id: &TaskId,
        wanted: &ResolvedEdit,
        asked_at: DateTime<Utc>,
    ) -> Option<String> {
        // A call for many tasks waits for all of them together.
        let left = (asked_at + REFRESH_WAIT - self.now()).to_std().unwrap_or_default();
        let patience = if self.last_errors.of(&handle.id).is_some() { Duration::ZERO } else { PATIENCE.min(left) };
        let refreshed = self.refresh_since(handle, asked_at, patience).await;
        let mut seen = matches!(refreshed, Some(Ok(_)));
        if seen && wanted.touches_details() {
            seen = matches!(self.refresh_details(handle, id, asked_at, patience).await, Some(Ok(())));
        }
        (!seen).then(|| UNSEEN.to_owned())
    }

    /// Says what a list that was sent whole has removed.
    fn name_dropped(&self, plan: &PlanRecord, dropped: &Dropped) -> Option<String> {
        let label = |number: &u8| {
            plan.category_names.get(number).map_or_else(|| format!("category{number}"), ToString::to_string)
        };
        let mut names: Vec<String> = dropped.assignees.iter().map(|user| self.directory.people.name(user)).collect();
        names.extend(dropped.categories.iter().map(label));
        names.extend(dropped.checklist.iter().cloned());
        names.extend(dropped.references.iter().cloned());
        (!names.is_empty()).then(|| {
            let names = names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ");
            format!(
                "removed from the lists: {names}; `undo_changes` puts it back; with the `version` of `get_task` what others added stays"
            )
        })
    }

    /// A list that replaces another one, or a block inside a text, needs to know what is there.
    async fn know_details(&self, handle: &PlanHandle, id: &TaskId, wanted: &ResolvedEdit) -> Result<(), Error> {
        let unread = handle.read().task(id).is_some_and(|record| record.fields.details.is_none());
        let custom = !self.settings.custom_fields.is_empty();
        if unread && (wanted.needs_details() || (custom && wanted.touches_details())) {
            self.engine.refresh_details(handle, id, DateTime::UNIX_EPOCH).await?;
        }
        Ok(())
    }
}
