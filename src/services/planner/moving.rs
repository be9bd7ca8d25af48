//! Moving a task: within its plan a change like any other, to another plan a copy and a deletion.

use std::sync::Arc;

use super::input::{ChecklistInput, CreateTask, ReferenceInput, UpdateTask};
use super::task::Found;
use super::view::{ChecklistView, ReferenceView, SyncOutcome, TaskReceipt};
use super::words::print_time;
use super::{Freshness, Planner, lookup};
use crate::auth::Caller;
use crate::error::ErrorCode;
use crate::ids::TaskId;
use crate::services::Error;
use crate::sync::PlanHandle;

impl Planner {
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
            Some(plan) => Some(self.catalog.resolve(&caller.reach, Some(plan)).await?),
            None => None,
        };
        let found = self.find(caller, id, Freshness::Usual).await?;
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
        let view = self.get_task(caller, found.record.id.as_str(), None).await?;
        let (_, plan) = self.for_write(caller, Some(target.id.as_str())).await?;
        // Labels belong to a plan: those the target has by the same name go along.
        let (kept, lost): (Vec<String>, Vec<String>) =
            view.categories.into_iter().partition(|name| lookup::category(&plan, name).is_ok());
        let item = |item: ChecklistView| ChecklistInput { title: item.title, checked: item.checked };
        let link = |link: ReferenceView| ReferenceInput { url: link.url, title: link.title };
        let mut input = CreateTask {
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
            status: None,
            custom_fields: None,
            idempotency_key: Some(format!("move {}", found.record.id)),
        };
        let mut receipt = match self.copy_at(caller, found, target, &mut input).await? {
            Some(copy) => {
                let outcome = self.push(target, &copy).await;
                Self::receipt(target, &copy, outcome)?
            }
            None => self.create_task(caller, &input).await?,
        };
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
            receipt = self.update_task(caller, &progress).await.map_err(|error| halfway(error, found, &receipt))?;
        }
        let removed = self.delete_task(caller, found.record.id.as_str()).await;
        let removed = removed.map_err(|error| halfway(error, found, &receipt))?;
        let mut notes =
            vec![format!("moved from task `{}`; Planner gives a moved task a new id and creation time", removed.id)];
        if !lost.is_empty() {
            notes.push(format!("labels the target plan does not have were left behind: {}", lost.join(", ")));
        }
        receipt.note = Some(notes.join("; "));
        Ok(receipt)
    }

    /// The copy an earlier call made at the target, to go on with; where there is none any more, `input` gets a key for
    /// another.
    ///
    /// # Errors
    /// When the original or the place asked for has changed since: what each of the two has that the other lacks, only
    /// a person can tell.
    async fn copy_at(
        &self,
        caller: &Caller,
        found: &Found,
        target: &Arc<PlanHandle>,
        input: &mut CreateTask,
    ) -> Result<Option<TaskId>, Error> {
        while let Some((copy, same)) = self.made_before(caller, target, input).await? {
            let is_there = target.read().task(&copy).is_some_and(|record| !record.deleted);
            if is_there && !same {
                let message = format!(
                    "an earlier call copied `{}` to `{copy}`, and the original or the place asked for has changed since; nothing was changed now",
                    found.record.id
                );
                return Err(Error::new(ErrorCode::Conflict, message)
                    .hint("delete the copy and repeat the call, or keep the copy and delete the original"));
            }
            if is_there {
                return Ok(Some(copy));
            }
            input.idempotency_key = Some(format!("move {} after {copy}", found.record.id));
        }
        Ok(None)
    }
}

/// A failure after the copy was made: both tasks are there.
fn halfway(error: Error, found: &Found, copy: &TaskReceipt) -> Error {
    let hint =
        format!("the copy `{}` is there, and so is the original `{}`: repeat the call", copy.id, found.record.id);
    error.perhaps_changed().hint(hint)
}
