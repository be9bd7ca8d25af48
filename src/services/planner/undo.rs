//! Undoing what a caller did last. A change is taken back as an edit of the caller like any other, field by field, and only
//! where the field still has the value that the change gave it: what a person has changed since stays.
//!
//! The events of a plan tell what was changed, by whom, and what was there before. The operation of an undo names the
//! operation it takes back, so that nothing is taken back twice and an undo is not the next one's last change.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use chrono::{DateTime, Utc};
use schemars::JsonSchema;
use serde::Serialize;

use super::conflicts::recreated;
use super::view::SyncOutcome;
use super::{Planner, checklist};
use crate::auth::Caller;
use crate::ids::{BucketId, Entropy, TaskId};
use crate::services::Error;
use crate::services::IntoJson;
use crate::sync::event::{Change, ChangeKind};
use crate::sync::field_value::{edit_field, field_values};
use crate::sync::journal;
use crate::sync::model::{Field, FieldEdit, FieldRef, FieldValue, Side, TaskFields};
use crate::sync::{PlanHandle, Replica, Step};

/// Most changes undone in one call.
const MOST: u32 = 20;
/// Transactions of a plan that are searched, from its last.
const SEARCHED: usize = 500;
/// How the operation of an undo begins; the operation it takes back follows.
const UNDO: &str = "undo-";

/// What an undo did.
#[derive(Debug, Clone, Default, PartialEq, Serialize, JsonSchema)]
pub struct UndoReceipt {
    /// Changes that were taken back, the newest first.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub undone: Vec<UndoneChange>,
    /// Changes that were not undone, and why.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub kept: Vec<RemainingChange>,
}

impl IntoJson for UndoReceipt {}

/// A change that was taken back.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct UndoneChange {
    /// The change's id.
    pub id: String,
    /// The task; a new one where the change had deleted it.
    pub task_id: String,
    /// Its title.
    pub title: String,
    /// What the change had done: created, updated or deleted.
    pub was: &'static str,
    /// How far the undo has come.
    pub sync: SyncOutcome,
    /// What a reader should know beyond that.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
}

/// A change that was not undone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct RemainingChange {
    /// The change's id.
    pub id: String,
    /// The task's title.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
    /// Why it was not undone.
    pub why: String,
}

/// A change a caller made.
struct Made {
    handle: Arc<PlanHandle>,
    number: u64,
    at: DateTime<Utc>,
    id: String,
    task: TaskId,
    change: Change,
    /// Whether somebody else has changed the task after it.
    touched_since: bool,
}

impl Planner {
    /// Takes back the caller's last changes of tasks, or those that are named.
    ///
    /// # Errors
    /// When both or too many are asked for, the caller has changed nothing lately, or the store fails. A change that
    /// cannot be taken back is no error of the others: the answer says why.
    pub async fn undo_changes(
        &self,
        caller: &Caller,
        last: Option<u32>,
        ids: Option<&[String]>,
    ) -> Result<UndoReceipt, Error> {
        let ids = ids.unwrap_or_default();
        if last.is_some() && !ids.is_empty() {
            return Err(Error::invalid("`last` and `changes` are both given").hint("give one of them"));
        }
        let last = last.unwrap_or(1);
        if !(1..=MOST).contains(&last) || ids.len() > MOST as usize {
            return Err(Error::invalid(format!("more than {MOST} changes, or none, are asked for"))
                .hint(format!("undo 1 to {MOST} at a time")));
        }
        let mut made = self.made_by(caller).await?;
        made.sort_by_key(|made| std::cmp::Reverse((made.at, made.number)));
        let mut receipt = UndoReceipt::default();
        let chosen: Vec<Made> = if ids.is_empty() {
            made.into_iter().take(last as usize).collect()
        } else {
            for id in ids.iter().filter(|id| !made.iter().any(|made| made.id == **id)) {
                let why = "no change of yours of that id can be undone: it is too old, undone already, or another's";
                receipt.kept.push(RemainingChange { id: id.clone(), title: None, why: why.to_owned() });
            }
            made.into_iter().filter(|made| ids.contains(&made.id)).collect()
        };
        if chosen.is_empty() && receipt.kept.is_empty() {
            return Err(Error::invalid("you have changed no task lately")
                .hint("`get_changes` shows what happened; its ids go into `changes`"));
        }
        for made in chosen {
            match self.take_back(caller, &made).await? {
                Ok(undone) => receipt.undone.push(undone),
                Err(why) => {
                    receipt.kept.push(RemainingChange { id: made.id, title: Some(made.change.title), why });
                }
            }
        }
        Ok(receipt)
    }

    /// The caller's changes of tasks that have not been taken back.
    async fn made_by(&self, caller: &Caller) -> Result<Vec<Made>, Error> {
        let mut found = Vec::new();
        let mut undone: BTreeSet<String> = BTreeSet::new();
        for handle in self.followed(caller).await? {
            handle.ensure_current().await?;
            let newest = handle.sequence();
            let oldest = newest.saturating_sub(SEARCHED as u64);
            let mut touched: BTreeMap<TaskId, u64> = BTreeMap::new();
            let mut here: Vec<Made> = Vec::new();
            for (number, event) in handle.events(oldest, newest, SEARCHED).await? {
                for change in event.changes {
                    let Some(task) = change.task.clone() else { continue };
                    let is_edit =
                        matches!(change.kind, ChangeKind::Created | ChangeKind::Updated | ChangeKind::Deleted);
                    let is_own = change.side == Side::Agent && change.by.as_deref() == Some(caller.name.as_str());
                    match change.operation.clone() {
                        Some(id) if is_edit && is_own => match id.strip_prefix(UNDO) {
                            Some(original) => {
                                undone.insert(original.to_owned());
                            }
                            None => here.push(Made {
                                handle: handle.clone(),
                                number,
                                at: event.at,
                                id,
                                task,
                                change,
                                touched_since: false,
                            }),
                        },
                        _ if is_edit => {
                            touched.insert(task, number);
                        }
                        _ => {}
                    }
                }
            }
            for made in &mut here {
                made.touched_since = touched.get(&made.task).is_some_and(|number| *number > made.number);
            }
            found.extend(here);
        }
        found.retain(|made| !undone.contains(&made.id));
        Ok(found)
    }

    /// Takes one change back; within, why it was not.
    async fn take_back(&self, caller: &Caller, made: &Made) -> Result<Result<UndoneChange, String>, Error> {
        let (handle, change) = (&made.handle, &made.change);
        self.ready(handle, super::Freshness::Usual).await?;
        let unread = handle.read().task(&made.task).is_some_and(|record| record.fields.details.is_none());
        if unread && change.fields.iter().any(Field::in_details) {
            self.engine.refresh_details(handle, &made.task, DateTime::UNIX_EPOCH).await?;
        }
        let mut edit = self.edit(caller, handle, &made.task)?;
        edit.operation = format!("{UNDO}{}", made.id);
        let new_id = TaskId::random(&handle.key, &self.entropy);
        let decided = handle
            .transact(|replica: &Replica| {
                let (step, outcome) = match undo(replica, made, &new_id, &edit, &self.entropy)? {
                    Ok((step, note)) => (step, Ok(note)),
                    Err(why) => (Step::default(), Err(why)),
                };
                Ok::<_, Error>((step, outcome))
            })
            .await?;
        let note = match decided {
            Ok(note) => note,
            Err(why) => return Ok(Err(why)),
        };
        let task = if change.kind == ChangeKind::Deleted { &new_id } else { &made.task };
        caller.touch("task_id", task.as_str());
        let was = match change.kind {
            ChangeKind::Created => "created",
            ChangeKind::Deleted => "deleted",
            _ => "updated",
        };
        let (sync, pushed) = match super::task::settle(self.push(handle, task).await) {
            Ok(settled) => settled,
            Err(error) => return Ok(Err(error.message)),
        };
        Ok(Ok(UndoneChange {
            id: made.id.clone(),
            task_id: task.to_string(),
            title: change.title.clone(),
            was,
            sync,
            note: super::task::joined(pushed, note),
        }))
    }
}

/// A step that takes a change back with a note on what remains, or why the whole change does.
type Undo = Result<(Step, Option<String>), String>;

fn undo(
    replica: &Replica,
    made: &Made,
    new_id: &TaskId,
    edit: &journal::Edit,
    entropy: &Entropy,
) -> Result<Undo, Error> {
    let plan = super::known_plan(replica.plan.clone())?;
    let record = replica.task(&made.task).filter(|record| !record.deleted);
    Ok(match (made.change.kind, record) {
        (ChangeKind::Deleted, _) => match made.change.before.as_ref().and_then(|before| before.task.clone()) {
            Some(fields) => {
                let note = "the task is there again under a new id".to_owned();
                Ok((journal::create(new_id.clone(), recreated(fields, &plan), edit.clone()), Some(note)))
            }
            None => Err("what the task was is not known any more".to_owned()),
        },
        (_, None) => Err("the task does not exist any more".to_owned()),
        (ChangeKind::Created, Some(_)) if made.touched_since => {
            Err("somebody has changed the task since; `delete_task` deletes it all the same".to_owned())
        }
        (ChangeKind::Created, Some(record)) => Ok((journal::delete(record, edit.clone()), None)),
        (_, Some(record)) => {
            let exists = |id: &BucketId| plan.buckets.iter().any(|bucket| bucket.id == *id);
            let (edits, kept) = put_back(&record.fields, &made.change, exists, entropy);
            let kept: BTreeSet<String> = kept.iter().map(list_of).collect();
            let kept = kept.into_iter().collect::<Vec<_>>().join(", ");
            match journal::update(record, &edits, edit.clone()) {
                Some(step) if kept.is_empty() => Ok((step, None)),
                Some(step) => Ok((step, Some(format!("changed since, and kept: {kept}")))),
                None if kept.is_empty() => Err("the task has the earlier values already".to_owned()),
                None => Err(format!("changed since, or not known before: {kept}")),
            }
        }
    })
}

/// The name of a field, that of the list for an entry.
fn list_of(field: &Field) -> String {
    field.to_string().split('/').next().unwrap_or_default().to_owned()
}

/// The edits that take a change back, and the fields that remain because they have changed since.
fn put_back(
    now: &TaskFields,
    change: &Change,
    bucket_exists: impl Fn(&BucketId) -> bool,
    entropy: &Entropy,
) -> (Vec<FieldEdit>, Vec<Field>) {
    let current = field_values(now);
    let before = change.before.as_deref().cloned().unwrap_or_default();
    let (mut edits, mut kept) = (Vec::new(), Vec::new());
    for (field, (from, to)) in change.fields.iter().zip(&change.values) {
        let here = current.get(field);
        let unknown = before.unread && field.in_details();
        let exists = match from {
            Some(FieldValue::Bucket(bucket)) => bucket_exists(bucket),
            None => *field != Field::Bucket, // Planner takes no task out of its bucket
            Some(_) => true,
        };
        if unknown || here != to.as_ref() || !exists {
            if here != from.as_ref() || unknown {
                kept.push(field.clone());
            }
        } else {
            edits.push(FieldEdit::of(field, from.clone()));
        }
    }
    // Items that come back or were moved go to the places they had.
    if edits.iter().any(|edit| matches!(edit.field(), FieldRef::Checklist(_)))
        && let Some(details) = &now.details
    {
        let mut after = now.clone();
        for edit in &edits {
            edit_field(&mut after, edit);
        }
        let after = after.details.unwrap_or_default();
        edits.extend(checklist::back_in_order(details, &after, &before.checklist, entropy));
    }
    (edits, kept)
}
