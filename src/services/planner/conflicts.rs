//! The conflict log: what was decided between two values, and how the loser is put back.

use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{Planner, TaskReceipt};
use crate::auth::Caller;
use crate::error::ErrorCode;
use crate::ids::TaskId;
use crate::rows::{Row, Write};
use crate::services::IntoJson;
use crate::services::print_time;
use crate::services::{Changed, Error};
use crate::sync::field_value::field_values;
use crate::sync::journal::{self, Edit};
use crate::sync::model::{
    ConflictKind, ConflictRecord, Disputed, FieldEdit, FieldRef, FieldValue, OfField, PlanRecord, Restored, Side,
    Sides, TaskFields,
};
use crate::sync::{PlanHandle, Replica, Step};

/// Conflicts of a page, unless asked otherwise.
const PAGE: u32 = 50;
pub(super) const LARGEST_PAGE: u32 = 500;
/// Where a checklist item of a task that is created again goes: behind the one before it (Planner: order hints).
const LAST: &str = " !";

/// Which conflicts are wanted.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ConflictQuery {
    /// Plan id or title; all plans if omitted
    pub plan_id: Option<String>,
    /// Only this task
    pub task_id: Option<String>,
    /// Only those whose losing value was not put back
    #[schemars(extend("default" = false))]
    pub open: Option<bool>,
    /// Conflicts per page, 1-500 (50)
    #[schemars(range(min = 1, max = 500), extend("default" = PAGE))]
    pub limit: Option<u32>,
    /// From the previous page
    pub cursor: Option<String>,
}

/// A page of the conflict log.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct ConflictList {
    /// The conflicts, the newest first.
    pub conflicts: Vec<ConflictView>,
    /// Whether the log ends here.
    pub complete: bool,
    /// When the list was read.
    pub as_of: String,
    /// Leads to older conflicts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cursor: Option<String>,
}

/// A decided conflict.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct ConflictView {
    /// Its id.
    pub id: String,
    /// When it was decided.
    pub at: String,
    /// The plan.
    pub plan_id: String,
    /// Its title.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub plan: Option<String>,
    /// The task.
    pub task_id: String,
    /// The task's title; of a task that is gone, its last.
    pub title: String,
    /// both_changed, refused (by Planner), deleted_while_edited, gone_on_planner or second_copy.
    pub kind: ConflictKindView,
    /// The field; missing where the whole task is meant.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub field: Option<String>,
    /// The last value both sides agreed on.
    pub base: Value,
    /// The agent's value.
    pub agent: Value,
    /// Planner's value.
    pub planner: Value,
    /// Whose value holds.
    pub winner: Winner,
    /// The rule, or Planner's words.
    pub reason: String,
    /// When the losing value was put back.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub restored: Option<String>,
    /// By whom.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub restored_by: Option<String>,
}

/// Why a value lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ConflictKindView {
    /// Both sides changed the field.
    BothChanged,
    /// Planner refused the value for good.
    Refused,
    /// One side deleted the task while the other edited it.
    DeletedWhileEdited,
    /// The task was found gone on Planner.
    GoneOnPlanner,
    /// A second copy of a task, which is removed.
    SecondCopy,
}

/// Whose value holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Winner {
    /// The agent's.
    Agent,
    /// Planner's.
    Planner,
}

impl IntoJson for ConflictList {}

impl Planner {
    /// Lists decided conflicts, the newest first.
    ///
    /// # Errors
    /// When there is no such plan, the task's id is none, or the store cannot be read.
    pub async fn conflicts(&self, caller: &Caller, query: &ConflictQuery) -> Result<ConflictList, Error> {
        let limit = query.limit.unwrap_or(PAGE).clamp(1, LARGEST_PAGE) as usize;
        let no_task = |text: &str| {
            Error::invalid(format!("`{text}` is no task id")).hint("find the task and its id with `query_tasks`")
        };
        let task = query.task_id.as_deref().map(|text| TaskId::parse(text.trim()).map_err(|_| no_task(text)));
        let task = task.transpose()?;
        let handles = match query.plan_id.as_deref() {
            Some(plan) => vec![self.catalog.resolve(&caller.plan_scope, Some(plan)).await?],
            None => self.followed(caller).await?,
        };
        let mut found = Vec::new();
        for handle in handles {
            let conflicts = handle.conflicts().await?.into_iter();
            let wanted = conflicts.filter(|conflict| {
                task.as_ref().is_none_or(|task| conflict.task == *task)
                    && (query.open != Some(true) || conflict.restored.is_none())
                    && query.cursor.as_ref().is_none_or(|cursor| conflict.id < *cursor)
            });
            found.extend(wanted.map(|conflict| view(&handle, conflict)));
        }
        // An id begins with the time of the decision.
        found.sort_by(|left, right| right.id.cmp(&left.id));
        let complete = found.len() <= limit;
        found.truncate(limit);
        let cursor = found.last().filter(|_| !complete).map(|last| last.id.clone());
        Ok(ConflictList { conflicts: found, complete, as_of: print_time(self.now()), cursor })
    }

    /// Puts the losing value of a conflict back, as an edit of the caller like any other: it is journalled, and pushed.
    /// Only what that side had changed is set, so that later edits of other fields stay. A task that is gone is made
    /// again. Each conflict can be restored once: its row is changed in the transaction of the edit.
    ///
    /// # Errors
    /// When there is no such conflict, it was restored before, the task has the value anyway, or Planner refuses it for
    /// good.
    pub async fn restore(&self, caller: &Caller, id: &str) -> Result<TaskReceipt, Error> {
        let (handle, _) = self.conflict(caller, id).await?;
        self.ready(&handle, super::Freshness::Usual).await?;
        let row = format!("c|{id}");
        for _ in 0..3 {
            let (_, stored) = self.conflict(caller, id).await?;
            let conflict: ConflictRecord = stored.decode()?;
            if let Some(restored) = &conflict.restored {
                let message = format!("conflict `{id}` was restored by `{}` before", restored.by);
                let hint = format!("the value is in task `{}`; `update_task` sets any other", restored.task);
                return Err(Error::invalid(message).hint(hint));
            }
            if touches_details(&conflict) {
                let unread = handle.read().task(&conflict.task).is_some_and(|task| task.fields.details.is_none());
                if unread {
                    self.engine.refresh_details(&handle, &conflict.task, chrono::DateTime::UNIX_EPOCH).await?;
                }
            }
            let new_id = TaskId::random(&handle.key, &self.entropy);
            let edit = self.edit(caller, &handle, &conflict.task)?;
            let written = handle
                .transact(|replica: &Replica| {
                    let (mut step, task) = undo(replica, &conflict, &new_id, edit.clone())?;
                    let restored = Restored { at: edit.at, by: edit.by.clone(), task: task.clone() };
                    let noted = ConflictRecord { restored: Some(restored), ..conflict.clone() };
                    step.rows.push(Write::replace(&row, &stored.version, &noted)?);
                    let op = step.op();
                    Ok::<_, Error>((step, (task, op)))
                })
                .await;
            match written {
                Ok((task, op)) => {
                    caller.touch("task_id", task.as_str());
                    let outcome = self.push_op(&handle, &task, op).await;
                    return Self::receipt(&handle, &task, outcome);
                }
                // Somebody else has restored it at the same time: the next round says so.
                Err(error) if error.code == ErrorCode::StoreFailed && error.changed == Changed::Nothing => {}
                Err(error) => return Err(error),
            }
        }
        Err(Error::new(ErrorCode::Conflict, "the plan kept changing").hint("repeat the call"))
    }

    /// What a restoration came to that this caller has made before; `None` without one.
    ///
    /// # Errors
    /// When there is no such conflict, or the store cannot be read.
    pub async fn restored_before(&self, caller: &Caller, id: &str) -> Result<Option<TaskReceipt>, Error> {
        let (handle, stored) = self.conflict(caller, id).await?;
        let conflict: ConflictRecord = stored.decode()?;
        let Some(restored) = conflict.restored.filter(|restored| restored.by == caller.name) else { return Ok(None) };
        handle.ensure_current().await?;
        let outcome = self.push(&handle, &restored.task).await;
        Self::receipt(&handle, &restored.task, outcome).map(Some)
    }

    /// A conflict's plan and row.
    async fn conflict(&self, caller: &Caller, id: &str) -> Result<(Arc<PlanHandle>, Row), Error> {
        let missing = || {
            Error::new(ErrorCode::NotFound, format!("there is no conflict `{id}`"))
                .hint("`sync_status` with `conflicts`, or `GET /api/sync/conflicts`, lists them")
        };
        let task = id.split('-').nth(1).and_then(|task| TaskId::parse(task).ok()).ok_or_else(missing)?;
        let plain = id.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
        if !plain || id.len() > 64 {
            return Err(missing());
        }
        let handle = self.catalog.handle_by_key(&caller.plan_scope, &task.plan_key()).await?.ok_or_else(missing)?;
        let row = handle.row(&format!("c|{id}")).await?.ok_or_else(missing)?;
        Ok((handle, row))
    }
}

/// Whether putting the loser back changes what has to be read first.
fn touches_details(conflict: &ConflictRecord) -> bool {
    match &conflict.disputed {
        Disputed::Field(field, _) => field.in_details(),
        Disputed::Task(sides) => sides.lost(conflict.winner).is_some_and(|lost| lost.details.is_some()),
    }
}

/// The step that puts the losing value back, and the task that then has it.
fn undo(replica: &Replica, conflict: &ConflictRecord, new_id: &TaskId, edit: Edit) -> Result<(Step, TaskId), Error> {
    let plan = super::known_plan(replica.plan.clone())?;
    let record = replica.task(&conflict.task).filter(|record| !record.deleted);
    let alive = record.filter(|_| conflict.kind != ConflictKind::SecondCopy);
    let Some(record) = alive else {
        let Disputed::Task(sides) = &conflict.disputed else {
            let message = format!("task `{}` does not exist any more", conflict.task);
            return Err(Error::new(ErrorCode::TaskNotFound, message).hint(
                "restore the conflict about the whole task, if there is one, or create the task with that value",
            ));
        };
        let fields = sides.lost(conflict.winner).ok_or_else(|| nothing_lost(conflict))?;
        return Ok((journal::create(new_id.clone(), recreated(fields.clone(), &plan), edit), new_id.clone()));
    };
    let mut edits = match &conflict.disputed {
        Disputed::Field(field, sides) => vec![FieldEdit::of(field, sides.lost(conflict.winner).cloned())],
        Disputed::Task(sides) => {
            lost_edits(sides, conflict.winner, &record.fields).ok_or_else(|| nothing_lost(conflict))?
        }
    };
    let gone = edits.iter().find_map(|edit| match edit {
        FieldEdit::Set(FieldValue::Bucket(id)) if plan.buckets.iter().all(|bucket| bucket.id != *id) => {
            Some(id.clone())
        }
        _ => None,
    });
    if let Some(bucket) = gone {
        // The rest of what was lost is as good as it was.
        edits.retain(|edit| edit.field() != FieldRef::Bucket);
        if edits.is_empty() {
            let message = format!("the bucket `{bucket}` does not exist any more");
            return Err(Error::new(ErrorCode::BucketNotFound, message).hint("move the task with `move_task`"));
        }
    }
    match journal::update(record, &edits, edit) {
        Some(step) => Ok((step, record.id.clone())),
        None => Err(nothing_lost(conflict)),
    }
}

fn nothing_lost(conflict: &ConflictRecord) -> Error {
    let message = format!("task `{}` has the losing value already", conflict.task);
    Error::invalid(message).hint("`get_task` shows it")
}

/// What the losing side had changed: its values where they differ from the common base, or from the task as it is where
/// there was none.
fn lost_edits(sides: &Sides<TaskFields>, winner: Side, current: &TaskFields) -> Option<Vec<FieldEdit>> {
    let lost = sides.lost(winner)?;
    let base = sides.base.as_ref().unwrap_or(current);
    let details_known = lost.details.is_some() && base.details.is_some();
    let (lost, base) = (field_values(lost), field_values(base));
    let put_in = lost.iter().filter(|value| base.get(value.field()) != Some(value));
    let put_in = put_in.cloned().map(FieldEdit::Set);
    let taken_out = base.fields().filter(|field| !lost.contains(*field));
    // Details one side has not read are no difference.
    let taken_out = taken_out.filter(|field| details_known || !field.in_details());
    Some(put_in.chain(taken_out.map(|field| FieldEdit::Clear(field.to_field()))).collect())
}

/// The fields of a task that is created again: what is gone from the plan since is left out.
pub(super) fn recreated(mut fields: TaskFields, plan: &PlanRecord) -> TaskFields {
    if !plan.buckets.iter().any(|bucket| Some(&bucket.id) == fields.bucket.as_ref()) {
        fields.bucket = plan.buckets.first().map(|bucket| bucket.id.clone());
    }
    for item in fields.details.get_or_insert_default().checklist.values_mut() {
        LAST.clone_into(&mut item.order);
    }
    fields
}

/// The last common value, the agent's and Planner's.
fn shown<T: Serialize>(sides: &Sides<T>) -> [Value; 3] {
    [&sides.base, &sides.agent, &sides.planner].map(|value| json!(value))
}

fn view(handle: &PlanHandle, conflict: ConflictRecord) -> ConflictView {
    let (restored, restored_by) = conflict.restored.map(|restored| (print_time(restored.at), restored.by)).unzip();
    let replica = handle.read();
    let title = replica.task(&conflict.task).map(|record| record.fields.title.clone());
    let field = conflict.disputed.field().map(ToString::to_string);
    let [base, agent, planner] = match &conflict.disputed {
        Disputed::Field(_, sides) => shown(sides),
        Disputed::Task(sides) => shown(sides),
    };
    ConflictView {
        id: conflict.id,
        at: print_time(conflict.at),
        plan_id: handle.id.to_string(),
        plan: replica.plan.as_ref().map(|plan| plan.title.clone()),
        task_id: conflict.task.to_string(),
        title: title.unwrap_or(conflict.title),
        kind: match conflict.kind {
            ConflictKind::BothChanged => ConflictKindView::BothChanged,
            ConflictKind::Refused => ConflictKindView::Refused,
            ConflictKind::DeletedWhileEdited => ConflictKindView::DeletedWhileEdited,
            ConflictKind::GoneOnPlanner => ConflictKindView::GoneOnPlanner,
            ConflictKind::SecondCopy => ConflictKindView::SecondCopy,
        },
        field,
        base,
        agent,
        planner,
        winner: match conflict.winner {
            Side::Agent => Winner::Agent,
            Side::Planner => Winner::Planner,
        },
        reason: conflict.reason,
        restored,
        restored_by,
    }
}
