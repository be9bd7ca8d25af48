//! Local edits: what a caller's edits make of a task's row and which operation it journals. Pure.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use thin_vec::{ThinVec, thin_vec};

use super::field_value::{edit_field, field_values};
use super::model::{Field, FieldEdit, FieldRef, OpKind, OpRecord, TaskFacts, TaskFields, TaskRecord};
use super::places::moved;
use super::step::Step;
use crate::ids::TaskId;
use crate::rows::Write;

/// Who edits, when, and under which operation id.
#[derive(Debug, Clone)]
pub struct Edit {
    /// The operation's id.
    pub operation: String,
    /// The time of the edit.
    pub at: DateTime<Utc>,
    /// The caller's name.
    pub by: String,
    /// Rows that go with it, such as the audit log's: written in the same transaction, and not without the edit.
    pub rows: Vec<Write>,
}

impl Edit {
    fn op(self, sequence: u64, kind: OpKind, fields: Vec<Field>) -> OpRecord {
        OpRecord { id: self.operation, sequence, kind, fields, at: self.at, by: self.by }
    }
}

/// A new task: its row and the operation that will create it on Planner.
#[must_use]
pub fn create(id: TaskId, fields: TaskFields, edit: Edit) -> Step {
    let details = fields.details.clone().unwrap_or_default();
    let count = |items: usize| u32::try_from(items).unwrap_or(u32::MAX);
    let record = TaskRecord {
        id: id.clone(),
        facts: TaskFacts {
            created_at: Some(edit.at),
            checklist_items: count(details.checklist.len()),
            open_checklist_items: count(details.checklist.values().filter(|item| !item.checked).count()),
            references: count(details.references.len()),
            has_description: !details.description.is_empty(),
            ..TaskFacts::default()
        },
        edited: field_values(&fields).fields().map(|field| (field.to_field(), edit.at)).collect(),
        fields,
        remote: None,
        pending: thin_vec![1],
        deleted: false,
        copy: false,
        changed_at: edit.at,
        revision: 1,
        attempts: ThinVec::new(),
        strays: ThinVec::new(),
        lost: BTreeMap::new(),
    };
    let touched = record.edited.keys().cloned().collect();
    let rows = edit.rows.clone();
    Step { put: vec![record], journal: vec![(id, edit.op(1, OpKind::Create, touched))], rows, ..Step::default() }
}

/// The operation that made a task which is still as it was made, and has yet to reach Planner.
#[must_use]
pub fn creation(record: &TaskRecord) -> Option<OpRecord> {
    let is_new = record.remote.is_none() && record.revision == 1 && record.pending == [1];
    is_new.then(|| OpRecord {
        id: String::new(),
        sequence: 1,
        kind: OpKind::Create,
        fields: record.edited.keys().cloned().collect(),
        at: record.changed_at,
        by: String::new(),
    })
}

/// Edits fields of a task. Returns `None` when that changes nothing.
#[must_use]
pub fn update(record: &TaskRecord, edits: &[FieldEdit], edit: Edit) -> Option<Step> {
    let mut next = record.clone();
    for edit in edits {
        edit_field(&mut next.fields, edit);
    }
    let (before, after) = (field_values(&record.fields), field_values(&next.fields));
    let details_unread = record.fields.details.is_none();
    let moved = moved(&record.fields, &next.fields);
    let is_touched = |field: FieldRef<'_>| {
        before.get(field) != after.get(field) || moved.contains(&field) || (details_unread && field.in_details())
    };
    let fields = edits.iter().map(FieldEdit::field);
    let touched: Vec<Field> = fields.filter(|field| is_touched(*field)).map(FieldRef::to_field).collect();
    if touched.is_empty() {
        return None;
    }
    for field in &touched {
        next.edited.insert(field.clone(), edit.at);
    }
    keep_base(&mut next, record);
    let sequence = begin(&mut next, edit.at);
    Some(Step {
        rows: edit.rows.clone(),
        journal: vec![(next.id.clone(), edit.op(sequence, OpKind::Update, touched))],
        put: vec![next],
        ..Step::default()
    })
}

/// Marks a task as deleted; that is journalled once. One that was never sent to Planner goes at once.
#[must_use]
pub fn delete(record: &TaskRecord, edit: Edit) -> Step {
    if record.deleted {
        return Step::default();
    }
    if record.remote.is_none() && record.attempts.is_empty() {
        let finish = record.pending.iter().map(|sequence| (record.id.clone(), *sequence)).collect();
        return Step { drop: vec![record.id.clone()], finish, rows: edit.rows, ..Step::default() };
    }
    let mut next = record.clone();
    next.deleted = true;
    let sequence = begin(&mut next, edit.at);
    Step {
        rows: edit.rows.clone(),
        journal: vec![(next.id.clone(), edit.op(sequence, OpKind::Delete, Vec::new()))],
        put: vec![next],
        ..Step::default()
    }
}

/// A clean task is its own base; from its first edit on the base stands beside it.
fn keep_base(next: &mut TaskRecord, record: &TaskRecord) {
    if let Some(remote) = &mut next.remote
        && remote.base.is_none()
    {
        remote.base = Some(Box::new(record.fields.clone()));
    }
}

fn begin(record: &mut TaskRecord, at: DateTime<Utc>) -> u64 {
    record.revision += 1;
    record.pending.push(record.revision);
    record.changed_at = at;
    record.revision
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::{Entropy, PlanId, PlanKey};
    use crate::sync::model::FieldValue;

    fn edit(second: i64) -> Edit {
        Edit {
            operation: "op".into(),
            at: DateTime::UNIX_EPOCH + chrono::TimeDelta::seconds(second),
            by: "test".into(),
            rows: Vec::new(),
        }
    }

    fn created() -> TaskRecord {
        let plan = PlanKey::derive(&PlanId::parse("xqQg5FS2LkCp935s-FIFm2QAFkHM").unwrap(), 0);
        let fields = TaskFields { title: "a".into(), ..TaskFields::blank().with_details() };
        create(TaskId::random(&plan, &Entropy::seeded(1)), fields, edit(0)).put.remove(0)
    }

    #[test]
    fn unchanged_value_journals_nothing() {
        assert!(update(&created(), &[FieldEdit::Set(FieldValue::Title("a".into()))], edit(1)).is_none());
    }

    #[test]
    fn journalled_edit_keeps_its_time() {
        let step = update(&created(), &[FieldEdit::Set(FieldValue::Title("b".into()))], edit(7)).unwrap();
        assert_eq!(step.put[0].edited[&Field::Title], edit(7).at);
        assert_eq!(step.put[0].pending, vec![1, 2]);
    }

    #[test]
    fn deleting_an_unsent_create_leaves_no_row() {
        let record = created();
        let step = delete(&record, edit(1));
        assert_eq!(step.drop, vec![record.id.clone()]);
        assert_eq!(step.finish, vec![(record.id, 1)]);
    }
}
