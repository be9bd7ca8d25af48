//! What a transaction changed, for those who listen.
//!
//! The events of a transaction are one row of it, numbered by the plan's own count of transactions: a listener of a
//! plan sees every change once, in order, on every instance, no matter what the clocks say.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::field_value::field_values;
use super::handle::PlanHandle;
use super::layout::{LARGEST_NUMBER, event_key};
use super::merge::differing;
use super::model::{ConflictKind, Field, FieldValue, OpRecord, Side, THE_ENGINE, TaskFields, TaskRecord};
use super::replica::Replica;
use super::step::Step;
use crate::ids::{BucketId, TaskId};
use crate::rows::{Expect, StoreError, Write, prefix_end};

/// Events deleted in one transaction, which may hold one row more.
const SWEEP_ROWS: usize = 99;

/// The value of an `e|` row: everything one transaction changed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct EventRecord {
    /// When it was committed, by the clock of the instance that did.
    pub at: DateTime<Utc>,
    /// The transaction, as its version row named it: a writer that lost the answer to a commit finds it here.
    #[serde(default)]
    pub commit: String,
    /// What changed, in the order of the tasks.
    pub changes: Vec<Change>,
}

/// What happened to a task, or to the plan.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ChangeKind {
    /// The task appeared: an agent made it, or it was found in Planner.
    Created,
    /// Fields of it changed.
    Updated,
    /// It is gone.
    Deleted,
    /// Everything an agent wrote to it has arrived in Planner.
    Synced,
    /// Both sides had changed it; the conflict log has both values.
    Conflict,
    /// Planner refused what an agent wrote; the conflict log has it.
    Refused,
    /// The plan's title, buckets or labels changed.
    PlanChanged,
    /// The plan is not followed any more, or deletions are held back, until somebody checks.
    Stopped,
    /// The plan is followed again.
    Resumed,
}

/// One change.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "StoredChange")]
pub struct Change {
    /// What happened.
    pub kind: ChangeKind,
    /// The task; `None` for the plan itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub task: Option<TaskId>,
    /// The task's title, or the plan's, after the change.
    #[serde(default)]
    pub title: String,
    /// The fields that changed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub fields: Vec<Field>,
    /// Which side did it.
    pub side: Side,
    /// The caller, where an agent did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<String>,
    /// Progress before and after, where it changed: what reports count.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub percent_complete: Option<(u8, u8)>,
    /// Bucket before and after, where it changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bucket: Option<(Option<BucketId>, Option<BucketId>)>,
    /// Why, in words, for what was refused or stopped.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The operation, where an agent did it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub operation: Option<String>,
    /// The values of `fields` before and after, in their order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub values: Vec<(Option<FieldValue>, Option<FieldValue>)>,
    /// What only an undo needs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before: Option<Box<Before>>,
}

/// A change as its row has it: a value says only beside its field what it is.
#[derive(Deserialize)]
struct StoredChange {
    kind: ChangeKind,
    task: Option<TaskId>,
    #[serde(default)]
    title: String,
    #[serde(default)]
    fields: Vec<Field>,
    side: Side,
    by: Option<String>,
    percent_complete: Option<(u8, u8)>,
    bucket: Option<(Option<BucketId>, Option<BucketId>)>,
    reason: Option<String>,
    operation: Option<String>,
    #[serde(default)]
    values: Vec<(Value, Value)>,
    before: Option<Box<Before>>,
}

impl TryFrom<StoredChange> for Change {
    type Error = String;
    fn try_from(stored: StoredChange) -> Result<Self, String> {
        let StoredChange { kind, task, title, fields, side, by, percent_complete, bucket, .. } = stored;
        let StoredChange { reason, operation, values, before, .. } = stored;
        if !values.is_empty() && values.len() != fields.len() {
            return Err(format!("there are values of {} fields, and {} fields", values.len(), fields.len()));
        }
        let value = |field, json| FieldValue::from_json(field, json).map_err(|error| error.to_string());
        let values = fields.iter().zip(values).map(|(field, (from, to))| Ok((value(field, from)?, value(field, to)?)));
        let values = values.collect::<Result<_, String>>()?;
        Ok(Self { kind, task, title, fields, side, by, percent_complete, bucket, reason, operation, values, before })
    }
}

/// What a task was before a change, as far as its fields' values do not tell.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Before {
    /// The whole task, where it is gone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub task: Option<TaskFields>,
    /// The keys of its checklist in order, where that changed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub checklist: Vec<String>,
    /// Its details had not been read: their values before are not known.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub unread: bool,
}

impl Change {
    fn of(kind: ChangeKind, record: &TaskRecord, side: Side) -> Self {
        Self {
            kind,
            task: Some(record.id.clone()),
            title: record.fields.title.clone(),
            fields: Vec::new(),
            side,
            by: None,
            percent_complete: None,
            bucket: None,
            reason: None,
            operation: None,
            values: Vec::new(),
            before: None,
        }
    }

    /// As it was done under an agent's operation, if it was.
    fn done_by(self, op: Option<&OpRecord>) -> Self {
        Self { by: op.map(|op| op.by.clone()), operation: op.map(|op| op.id.clone()), ..self }
    }

    fn of_plan(kind: ChangeKind, title: &str, reason: Option<String>) -> Self {
        Self {
            kind,
            task: None,
            title: title.to_owned(),
            fields: Vec::new(),
            side: Side::Planner,
            by: None,
            percent_complete: None,
            bucket: None,
            reason,
            operation: None,
            values: Vec::new(),
            before: None,
        }
    }
}

impl PlanHandle {
    /// The events of the transactions after `after` and up to `up_to`, oldest first, at most `limit` rows; the number of
    /// each is that of its transaction. The store may hold more than this process has received: who speaks of what is
    /// in memory goes no further than that.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn events(&self, after: u64, up_to: u64, limit: usize) -> Result<Vec<(u64, EventRecord)>, StoreError> {
        let (mut from, to) = (event_key(after + 1), event_key(up_to + 1));
        let mut events = Vec::new();
        while events.len() < limit {
            let page = self.rows.scan(&from, &to, limit - events.len()).await?;
            for row in &page.rows {
                let number = row.key.strip_prefix("e|").and_then(|number| number.parse().ok()).unwrap_or(0);
                events.push((number, row.decode()?));
            }
            match page.next {
                Some(next) => from = next,
                None => break,
            }
        }
        Ok(events)
    }

    /// The number of the oldest event that is kept; `None` when there is none.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn first_event(&self) -> Result<Option<u64>, StoreError> {
        let page = self.rows.scan("e|", &prefix_end("e|"), 1).await?;
        Ok(page.rows.first().and_then(|row| row.key.strip_prefix("e|")?.parse().ok()))
    }

    /// Deletes events committed before a moment, oldest first; a row keeps the number of the newest one deleted, so that
    /// a listener before it can be notified that it has missed something.
    ///
    /// # Errors
    /// When the store fails; what was deleted until then stays deleted.
    pub async fn sweep_events(&self, before: DateTime<Utc>) -> Result<usize, StoreError> {
        let mut swept = 0;
        loop {
            let events = self.events(0, LARGEST_NUMBER, SWEEP_ROWS).await?;
            let old: Vec<u64> =
                events.iter().take_while(|(_, event)| event.at < before).map(|(number, _)| *number).collect();
            let Some(newest) = old.last() else { return Ok(swept) };
            let mut writes = vec![Write::upsert("w", newest)?];
            writes.extend(old.iter().map(|number| Write::delete(event_key(*number), Expect::Anything)));
            self.rows.commit(writes).await?;
            swept += old.len();
            if old.len() < SWEEP_ROWS {
                return Ok(swept);
            }
        }
    }

    /// Forgets what has outlived its use ([`Replica::outlived`]); answers how many rows that was.
    ///
    /// # Errors
    /// When the store fails; what was forgotten until then stays so.
    pub async fn forget_outlived(&self, now: DateTime<Utc>) -> Result<usize, StoreError> {
        let mut forgotten = 0;
        loop {
            let rows = self
                .transact(|replica: &Replica| {
                    let step = replica.outlived(now);
                    let rows = step.rows();
                    Ok::<_, StoreError>((step, rows))
                })
                .await?;
            forgotten += rows;
            if rows == 0 {
                return Ok(forgotten);
            }
        }
    }
}

/// What a step changes, compared with the replica it was decided on.
#[must_use]
pub fn changes(replica: &Replica, step: &Step) -> Vec<Change> {
    let mut changes = Vec::new();
    // What a plan has when it is first read is no news: neither its title nor its tasks.
    let first = replica.is_first_pass();
    if let Some(plan) = step.plan.as_ref().filter(|_| !first && replica.plan.is_some()) {
        changes.push(Change::of_plan(ChangeKind::PlanChanged, &plan.title, None));
    }
    if let Some(state) = &step.state {
        let title = replica.plan.as_ref().map_or("", |plan| plan.title.as_str());
        changes.push(match state.stopped() {
            Some(reason) => Change::of_plan(ChangeKind::Stopped, title, Some(reason)),
            None => Change::of_plan(ChangeKind::Resumed, title, None),
        });
    }
    for record in &step.put {
        let before = replica.task(&record.id).map(AsRef::as_ref);
        let was_there = first && before.is_none() && side_of(step, &record.id) == Side::Planner;
        if !was_there {
            task_changes(before, record, step, &mut changes);
        }
    }
    for id in &step.drop {
        // One that was deleted by its agent was announced as deleted then.
        if let Some(record) = replica.task(id).filter(|record| !record.deleted) {
            let change = Change::of(ChangeKind::Deleted, record, side_of(step, id));
            changes.push(Change { before: Some(whole(record)), ..change }.done_by(callers(step, id).next()));
        }
    }
    // The conflict's own title may be the one that lost.
    let titles =
        |task: &TaskId| step.put.iter().find(|record| record.id == *task).map(|record| record.fields.title.clone());
    for conflict in &step.conflicts {
        let kind = if conflict.kind == ConflictKind::Refused { ChangeKind::Refused } else { ChangeKind::Conflict };
        changes.push(Change {
            kind,
            task: Some(conflict.task.clone()),
            title: titles(&conflict.task).unwrap_or_else(|| conflict.title.clone()),
            fields: conflict.disputed.field().cloned().into_iter().collect(),
            side: conflict.winner,
            by: None,
            percent_complete: None,
            bucket: None,
            reason: Some(conflict.reason.clone()),
            operation: None,
            values: Vec::new(),
            before: None,
        });
    }
    changes
}

fn task_changes(before: Option<&TaskRecord>, after: &TaskRecord, step: &Step, changes: &mut Vec<Change>) {
    let side = side_of(step, &after.id);
    let op = callers(step, &after.id).next();
    let Some(before) = before else {
        if after.copy {
            return;
        }
        let mut change = Change::of(ChangeKind::Created, after, side).done_by(op);
        change.percent_complete = Some((0, after.fields.percent_complete));
        change.bucket = Some((None, after.fields.bucket.clone()));
        changes.push(change);
        return;
    };
    if after.deleted != before.deleted {
        let kind = if after.deleted { ChangeKind::Deleted } else { ChangeKind::Created };
        let mut change = Change::of(kind, after, side).done_by(op);
        if after.deleted {
            change.before = Some(whole(before));
        }
        changes.push(change);
        return;
    }
    let mut fields = differing(&before.fields, &after.fields);
    // An edit of details nobody has read yet shows in its operation alone.
    let journalled = callers(step, &after.id).flat_map(|op| &op.fields);
    fields.extend(journalled.filter(|field| field.in_details()).cloned());
    fields.sort();
    fields.dedup();
    if !fields.is_empty() {
        let (was, is) = (&before.fields, &after.fields);
        let mut change = Change::of(ChangeKind::Updated, after, side).done_by(op);
        change.percent_complete =
            (was.percent_complete != is.percent_complete).then_some((was.percent_complete, is.percent_complete));
        change.bucket = (was.bucket != is.bucket).then(|| (was.bucket.clone(), is.bucket.clone()));
        let (mut from, mut to) = (field_values(was), field_values(is));
        change.values = fields.iter().map(|field| (from.take(field), to.take(field))).collect();
        change.before = kept_for_undo(was, &fields);
        change.fields = fields;
        changes.push(change);
    }
    if before.is_dirty() && !after.is_dirty() {
        changes.push(Change::of(ChangeKind::Synced, after, Side::Agent));
    }
}

/// The author of a journalled operation is an agent; every other change comes from Planner.
fn side_of(step: &Step, task: &TaskId) -> Side {
    if callers(step, task).next().is_some() { Side::Agent } else { Side::Planner }
}

/// A task that is gone, for those who may want it back.
fn whole(record: &TaskRecord) -> Box<Before> {
    Box::new(Before { task: Some(record.fields.clone()), ..Before::default() })
}

/// What an undo of changes of `fields` needs besides their values.
fn kept_for_undo(was: &TaskFields, fields: &[Field]) -> Option<Box<Before>> {
    let unread = was.details.is_none() && fields.iter().any(Field::in_details);
    let listed = fields.iter().any(|field| matches!(field, Field::Checklist(_)));
    let checklist = was.details.as_ref().filter(|_| listed).map(|details| {
        let mut items: Vec<_> = details.checklist.iter().map(|(key, item)| (&item.order, key)).collect();
        items.sort();
        items.into_iter().map(|(_, key)| key.clone()).collect::<Vec<String>>()
    });
    let before = Before { task: None, checklist: checklist.unwrap_or_default(), unread };
    (before != Before::default()).then(|| Box::new(before))
}

/// What callers do to a task in a step.
fn callers<'a>(step: &'a Step, task: &'a TaskId) -> impl Iterator<Item = &'a OpRecord> {
    step.journal.iter().filter(move |(id, op)| id == task && op.by != THE_ENGINE).map(|(_, op)| op)
}
