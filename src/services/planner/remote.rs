//! Planner for the sync engine, over Microsoft Graph: the engine's words on one side, wire types on the other.

use std::collections::BTreeMap;
use std::time::Duration;

use async_trait::async_trait;
use chrono::TimeDelta;
use futures::future::try_join3;

use crate::error::ErrorCode;
use crate::graph::tasks::{
    self, AssignmentPatch, ChecklistItemPatch, Deleted, DetailsPatch, ReferencePatch, Task, TaskBody, TaskDetails,
    TaskPatch,
};
use crate::graph::{self, Call, Category, ErrorKind, Identity};
use crate::ids::{PlanId, PlannerTaskId};
use crate::services::{Changed, Error};
use crate::sync::model::{Bucket, ChecklistItem, DetailFields, Reference, TaskFacts, TaskFields};
use crate::sync::ports::{
    DetailChanges, Planner, RemoteDetails, RemoteError, RemoteErrorKind, RemotePlan, RemoteResult, RemoteTask,
    TaskChanges,
};

/// Waiting time when a service is down and says no time itself.
const PAUSE: Duration = Duration::from_secs(2);

/// [`Planner`] over Graph.
pub struct GraphPlanner(pub graph::Client);

#[async_trait]
impl Planner for GraphPlanner {
    async fn plan(&self, plan: &PlanId) -> RemoteResult<Option<RemotePlan>> {
        let call = Call::interactive(Identity::Application);
        let graph = &self.0;
        let all = try_join3(
            graph.get_plan(&call, plan),
            graph.get_plan_details(&call, plan),
            graph.list_buckets(&call, plan),
        );
        let (found, details, mut buckets) = match all.await {
            Ok(all) => all,
            Err(error) if error.is_not_found() => return Ok(None),
            Err(error) => return Err(remote_error(&error)),
        };
        let (Some(found), Some(details)) = (found, details) else { return Ok(None) };
        buckets.sort_by(|left, right| left.order_hint.cmp(&right.order_hint));
        let names = details.category_descriptions.into_iter();
        Ok(Some(RemotePlan {
            group: found.group(),
            id: found.id,
            title: found.title,
            etag: found.etag,
            created_at: found.created_date_time,
            buckets: buckets.into_iter().map(bucket).collect(),
            category_names: names.filter_map(|(category, name)| Some((category.number(), name?))).collect(),
            details_etag: details.etag,
        }))
    }

    async fn tasks(&self, plan: &PlanId) -> RemoteResult<Vec<RemoteTask>> {
        let tasks = self
            .0
            .list_plan_tasks(&Call::interactive(Identity::Application), plan)
            .await
            .map_err(|error| remote_error(&error))?;
        Ok(tasks.into_iter().map(remote_task).collect())
    }

    async fn read(&self, ids: &[PlannerTaskId]) -> Vec<RemoteResult<Option<RemoteTask>>> {
        let call = Call::interactive(Identity::Application);
        let answers = match ids {
            [id] => vec![self.0.get_task(&call, id).await],
            ids => self.0.batch_get_tasks(&call, ids, &|_| ()).await,
        };
        convert(answers, |task| task.map(remote_task))
    }

    async fn read_details(&self, ids: &[PlannerTaskId]) -> Vec<RemoteResult<Option<RemoteDetails>>> {
        let call = Call::interactive(Identity::Application);
        let answers = match ids {
            [id] => vec![self.0.get_task_details(&call, id).await],
            ids => self.0.batch_get_details(&call, ids, &|_| ()).await,
        };
        convert(answers, |details| details.map(remote_details))
    }

    async fn create(&self, plan: &PlanId, tasks: &[TaskFields]) -> Vec<RemoteResult<RemoteTask>> {
        let call = Call::interactive(Identity::Application);
        let bodies: Vec<TaskBody> = tasks.iter().map(|task| body(plan, task)).collect();
        let answers = match bodies.as_slice() {
            [body] => vec![self.0.create_task(&call, body).await],
            bodies => self.0.batch_create_tasks(&call, bodies, &|_| ()).await,
        };
        convert(answers, remote_task)
    }

    async fn update(&self, changes: &[(PlannerTaskId, String, TaskChanges)]) -> Vec<RemoteResult<RemoteTask>> {
        let call = Call::interactive(Identity::Application);
        let patches: Vec<_> =
            changes.iter().map(|(id, etag, changes)| (id.clone(), etag.clone(), patch(changes))).collect();
        let answers = match patches.as_slice() {
            [(id, etag, patch)] => vec![self.0.update_task(&call, id, etag, patch).await],
            patches => self.0.batch_update_tasks(&call, patches, &|_| ()).await,
        };
        convert(answers, remote_task)
    }

    async fn update_details(
        &self,
        changes: &[(PlannerTaskId, String, DetailChanges)],
    ) -> Vec<RemoteResult<RemoteDetails>> {
        let call = Call::interactive(Identity::Application);
        let patches: Vec<_> =
            changes.iter().map(|(id, etag, changes)| (id.clone(), etag.clone(), details_patch(changes))).collect();
        let answers = match patches.as_slice() {
            [(id, etag, patch)] => vec![self.0.update_task_details(&call, id, etag, patch).await],
            patches => self.0.batch_update_details(&call, patches, &|_| ()).await,
        };
        convert(answers, remote_details)
    }

    async fn delete(&self, tasks: &[(PlannerTaskId, String)]) -> Vec<RemoteResult<()>> {
        let call = Call::interactive(Identity::Application);
        let answers = match tasks {
            [(id, etag)] => vec![self.0.delete_task(&call, id, etag).await],
            tasks => self.0.batch_delete_tasks(&call, tasks, &|_| ()).await,
        };
        let gone = || RemoteError::new(RemoteErrorKind::Gone, "Microsoft Graph: it does not exist");
        let found = |answer: RemoteResult<Deleted>| match answer {
            Ok(Deleted::Deleted) => Ok(()),
            Ok(Deleted::AlreadyGone) => Err(gone()),
            Err(error) => Err(error),
        };
        convert(answers, |deleted| deleted).into_iter().map(found).collect()
    }

    fn ahead(&self) -> TimeDelta {
        self.0.ahead()
    }
}

fn convert<T, U>(answers: Vec<Result<T, graph::Error>>, value: impl Fn(T) -> U) -> Vec<RemoteResult<U>> {
    answers.into_iter().map(|answer| answer.map(&value).map_err(|error| remote_error(&error))).collect()
}

/// What a failure of Graph means for the engine, and whether it may have happened all the same.
fn remote_error(error: &graph::Error) -> RemoteError {
    let kind = match &error.kind {
        ErrorKind::NotFound => RemoteErrorKind::Gone,
        ErrorKind::Conflict | ErrorKind::PreconditionFailed => RemoteErrorKind::Stale,
        ErrorKind::BadRequest(_) | ErrorKind::Limit { .. } => RemoteErrorKind::Refused,
        ErrorKind::Forbidden { .. } => RemoteErrorKind::Forbidden,
        ErrorKind::Throttled { retry_after } | ErrorKind::BreakerOpen { retry_after } => {
            RemoteErrorKind::NotNow(*retry_after)
        }
        _ if error.is_ambiguous() => RemoteErrorKind::Unknown,
        _ => RemoteErrorKind::NotNow(PAUSE),
    };
    RemoteError { kind, message: describe(error), maybe_done: error.is_ambiguous() }
}

/// What happened, in a sentence for callers: Graph's own words where they help, and the request's id.
fn describe(error: &graph::Error) -> String {
    let said = error.context.message.trim();
    let mut text = match &error.kind {
        ErrorKind::Limit { name } => format!("Planner's limit `{name}` is reached"),
        ErrorKind::Forbidden { missing: Some(permission) } => {
            format!("Microsoft Graph denies access: the permission `{permission}` is missing")
        }
        ErrorKind::BadRequest(reason) => format!("Planner refuses the request: {reason}"),
        ErrorKind::ReadOnly => "the deployment is read-only (`READ_ONLY`): nothing was sent".to_owned(),
        ErrorKind::Credential(source) => format!("GraphGate gets no token for Microsoft Graph: {source}"),
        kind if said.is_empty() => format!("Microsoft Graph: {kind}"),
        kind => format!("Microsoft Graph: {kind} ({said})"),
    };
    if let Some(id) = &error.context.request_id {
        text.push_str(&format!(" [request {id}]"));
    }
    text
}

/// A failure of Graph outside the engine, as callers get it.
#[allow(clippy::needless_pass_by_value)] // made for `map_err`
pub fn graph_error(error: graph::Error) -> Error {
    let code = match &error.kind {
        ErrorKind::NotFound => ErrorCode::NotFound,
        ErrorKind::Conflict | ErrorKind::PreconditionFailed => ErrorCode::Conflict,
        ErrorKind::Forbidden { .. } => ErrorCode::PermissionMissing,
        ErrorKind::ReadOnly => ErrorCode::ReadOnly,
        ErrorKind::Limit { .. } | ErrorKind::BadRequest(_) => ErrorCode::GraphRefused,
        ErrorKind::Credential(_) | ErrorKind::Unauthorized => ErrorCode::CredentialFailed,
        ErrorKind::Throttled { .. } => ErrorCode::Throttled,
        ErrorKind::Timeout { .. } | ErrorKind::Unreachable(_) | ErrorKind::BreakerOpen { .. } => {
            ErrorCode::GraphUnreachable
        }
        _ => ErrorCode::GraphFailed,
    };
    let hint = match code {
        ErrorCode::Conflict => Some("somebody changed it at the same time: repeat the call"),
        ErrorCode::PermissionMissing => Some("an administrator grants the application the permission named"),
        ErrorCode::CredentialFailed => Some("check tenant, client id and secret of the deployment"),
        ErrorCode::Throttled | ErrorCode::GraphUnreachable => {
            Some("repeat the call later; reads without `fresh` are answered from the replica")
        }
        _ if error.is_ambiguous() => Some("it may have happened: check before repeating the call"),
        _ => None,
    };
    Error {
        code,
        message: describe(&error),
        hint: hint.map(str::to_owned),
        changed: if error.is_ambiguous() { Changed::Unknown } else { Changed::Nothing },
        retry_after: error.retry_after(),
    }
}

pub(super) fn bucket(bucket: graph::buckets::Bucket) -> Bucket {
    Bucket { id: bucket.id, name: bucket.name, order_hint: bucket.order_hint, etag: bucket.etag }
}

pub(super) fn remote_task(task: Task) -> RemoteTask {
    RemoteTask {
        facts: TaskFacts {
            created_at: task.created_date_time,
            created_by: task.created_by.user,
            created_with: task.created_by.application,
            completed_at: task.completed_date_time,
            completed_by: task.completed_by.user,
            order_hint: task.order_hint,
            checklist_items: task.checklist_item_count,
            open_checklist_items: task.active_checklist_item_count,
            references: task.reference_count,
            has_description: task.has_description,
        },
        fields: TaskFields {
            title: task.title,
            bucket: task.bucket_id,
            percent_complete: task.percent_complete,
            priority: task.priority,
            start: task.start_date_time,
            due: task.due_date_time,
            assignees: task.assignees.into_iter().collect(),
            categories: task.applied_categories.iter().map(|category| category.number()).collect(),
            details: None,
        },
        id: task.id,
        etag: task.etag,
    }
}

fn remote_details(details: TaskDetails) -> RemoteDetails {
    let item = |item: tasks::ChecklistItem| ChecklistItem {
        title: item.title,
        checked: item.is_checked,
        order: item.order_hint,
    };
    let some = |text: String| Some(text).filter(|text| !text.is_empty());
    let reference =
        |reference: tasks::Reference| Reference { alias: some(reference.alias), kind: some(reference.kind) };
    RemoteDetails {
        etag: details.etag,
        fields: DetailFields {
            description: details.description,
            checklist: details.checklist.into_iter().map(|(key, value)| (key, item(value))).collect(),
            references: details.references.into_iter().map(|(url, value)| (url, reference(value))).collect(),
        },
    }
}

fn body(plan: &PlanId, task: &TaskFields) -> TaskBody {
    let (changes, _) = crate::sync::ports::changes(&TaskFields::blank(), task);
    let fields = TaskPatch { title: None, ..changes.as_ref().map(patch).unwrap_or_default() };
    TaskBody { plan_id: plan.clone(), title: task.title.clone(), fields }
}

fn patch(changes: &TaskChanges) -> TaskPatch {
    TaskPatch {
        title: changes.title.clone(),
        bucket_id: changes.bucket.clone(),
        percent_complete: changes.percent_complete,
        priority: changes.priority,
        start_date_time: changes.start,
        due_date_time: changes.due,
        assignments: changes
            .assignees
            .iter()
            .map(|(user, assigned)| (user.clone(), assigned.then(AssignmentPatch::default)))
            .collect(),
        applied_categories: changes
            .categories
            .iter()
            .filter_map(|(number, applied)| Some((Category::new(*number)?, *applied)))
            .collect::<BTreeMap<_, _>>(),
        ..TaskPatch::default()
    }
}

fn details_patch(changes: &DetailChanges) -> DetailsPatch {
    let item = |item: &ChecklistItem| ChecklistItemPatch {
        title: Some(item.title.clone()),
        is_checked: Some(item.checked),
        // A hint of ours ends in `!`; Planner's own must never be sent back.
        order_hint: Some(item.order.clone()).filter(|order| order.ends_with('!')),
    };
    let reference = |reference: &Reference| ReferencePatch {
        alias: reference.alias.clone(),
        kind: reference.kind.clone(),
        preview_priority: None,
    };
    DetailsPatch {
        description: changes.description.clone(),
        preview_type: None,
        checklist: changes.checklist.iter().map(|(key, value)| (key.clone(), value.as_ref().map(item))).collect(),
        references: changes
            .references
            .iter()
            .map(|(url, value)| (url.clone(), value.as_ref().map(reference)))
            .collect(),
    }
}
