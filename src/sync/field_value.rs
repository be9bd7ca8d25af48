//! The values of a task's fields, each of its field's own type: what is merged, sent, journalled and logged.
//!
//! A value knows its field, so none can be taken for another field's. What it is in rows and answers, [`super::field_json`]
//! tells.

use chrono::{DateTime, Utc};

use super::by_field::{ByField, OfField};
use super::field::{Field, FieldRef};
use super::model::{ChecklistItem, DetailFields, Reference, TaskFields};
use crate::ids::{BucketId, UserId};

/// A field that has a value, with that value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FieldValue {
    /// The title.
    Title(String),
    /// The bucket.
    Bucket(BucketId),
    /// The progress, 0 to 100.
    PercentComplete(u8),
    /// The priority, 0 to 10.
    Priority(u8),
    /// The start.
    Start(DateTime<Utc>),
    /// The due date.
    Due(DateTime<Utc>),
    /// One assignee, who is among them.
    Assignee(UserId),
    /// One label, which is set.
    Category(u8),
    /// The description.
    Description(String),
    /// One checklist item. Where it stands is no part of its value.
    Checklist {
        /// Its GUID.
        key: String,
        /// Its text.
        title: String,
        /// Whether it is ticked.
        checked: bool,
    },
    /// One reference.
    Reference {
        /// Its URL (not encoded).
        url: String,
        /// What is shown for it.
        reference: Reference,
    },
}

/// Field values of a task.
pub type FieldValues = ByField<FieldValue>;

/// What one call sends: the fields it changes, and no others.
pub type Sent = ByField<FieldChange>;

/// What becomes of a field.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FieldChange {
    /// It gets a value.
    Set(FieldValue),
    /// It gets what it has in a blank task; an entry of a list is removed.
    Clear(Field),
}

/// What a caller makes of a field.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FieldEdit {
    /// It gets a value; a checklist item stays where it is.
    Set(FieldValue),
    /// A checklist item gets a value and asks for a place.
    Place {
        /// Its GUID.
        key: String,
        /// Its value, and as its order the place.
        item: ChecklistItem,
    },
    /// It gets what it has in a blank task; an entry of a list is removed.
    Clear(Field),
}

impl OfField for FieldValue {
    fn field(&self) -> FieldRef<'_> {
        match self {
            Self::Title(_) => FieldRef::Title,
            Self::Bucket(_) => FieldRef::Bucket,
            Self::PercentComplete(_) => FieldRef::PercentComplete,
            Self::Priority(_) => FieldRef::Priority,
            Self::Start(_) => FieldRef::Start,
            Self::Due(_) => FieldRef::Due,
            Self::Assignee(user) => FieldRef::Assignee(user),
            Self::Category(number) => FieldRef::Category(*number),
            Self::Description(_) => FieldRef::Description,
            Self::Checklist { key, .. } => FieldRef::Checklist(key),
            Self::Reference { url, .. } => FieldRef::Reference(url),
        }
    }
}

impl OfField for FieldChange {
    fn field(&self) -> FieldRef<'_> {
        match self {
            Self::Set(value) => value.field(),
            Self::Clear(field) => field.into(),
        }
    }
}

impl FieldChange {
    /// The value the field gets.
    #[must_use]
    pub const fn value(&self) -> Option<&FieldValue> {
        match self {
            Self::Set(value) => Some(value),
            Self::Clear(_) => None,
        }
    }
}

impl FieldEdit {
    /// The field.
    #[must_use]
    pub fn field(&self) -> FieldRef<'_> {
        match self {
            Self::Set(value) => value.field(),
            Self::Place { key, .. } => FieldRef::Checklist(key),
            Self::Clear(field) => field.into(),
        }
    }

    /// Gives `field` a value of its own, or none.
    #[must_use]
    pub fn of(field: &Field, value: Option<FieldValue>) -> Self {
        debug_assert!(value.as_ref().is_none_or(|value| value.field() == field.into()), "a value of another field");
        value.map_or_else(|| Self::Clear(field.clone()), Self::Set)
    }
}

impl From<FieldChange> for FieldEdit {
    fn from(change: FieldChange) -> Self {
        match change {
            FieldChange::Set(value) => Self::Set(value),
            FieldChange::Clear(field) => Self::Clear(field),
        }
    }
}

impl Sent {
    /// The values that are set.
    pub fn values(&self) -> impl Iterator<Item = &FieldValue> {
        self.iter().filter_map(FieldChange::value)
    }
}

/// The fields of a task that have a value.
#[must_use]
pub fn field_values(task: &TaskFields) -> FieldValues {
    let details = task.details.as_deref();
    let entries = details.map_or(0, |details| details.checklist.len() + details.references.len());
    let mut values = Vec::with_capacity(7 + task.assignees.len() + task.categories.len() + entries);
    values.push(FieldValue::Title(task.title.clone()));
    values.extend(task.bucket.clone().map(FieldValue::Bucket));
    values.push(FieldValue::PercentComplete(task.percent_complete));
    values.push(FieldValue::Priority(task.priority));
    values.extend(task.start.map(FieldValue::Start));
    values.extend(task.due.map(FieldValue::Due));
    values.extend(task.assignees.iter().cloned().map(FieldValue::Assignee));
    values.extend(task.categories.iter().copied().map(FieldValue::Category));
    if let Some(details) = details {
        if !details.description.is_empty() {
            values.push(FieldValue::Description(details.description.clone()));
        }
        values.extend(details.checklist.iter().map(|(key, item)| item_value(key, item)));
        values.extend(
            details
                .references
                .iter()
                .map(|(url, reference)| FieldValue::Reference { url: url.clone(), reference: reference.clone() }),
        );
    }
    FieldValues::in_order(values)
}

fn item_value(key: &str, item: &ChecklistItem) -> FieldValue {
    FieldValue::Checklist { key: key.to_owned(), title: item.title.clone(), checked: item.checked }
}

/// Puts a task together from field values; what they do not tell is as in a blank task.
#[must_use]
pub fn assemble<'a>(values: impl IntoIterator<Item = &'a FieldValue>, with_details: bool) -> TaskFields {
    let mut task = TaskFields::blank();
    if with_details {
        task = task.with_details();
    }
    for value in values {
        set_field_value(&mut task, value);
    }
    task
}

/// Gives a field of a task its value. A checklist item that is there stays where it is.
pub fn set_field_value(task: &mut TaskFields, value: &FieldValue) {
    match value {
        FieldValue::Title(title) => task.title.clone_from(title),
        FieldValue::Bucket(bucket) => task.bucket = Some(bucket.clone()),
        FieldValue::PercentComplete(percent) => task.percent_complete = *percent,
        FieldValue::Priority(priority) => task.priority = *priority,
        FieldValue::Start(start) => task.start = Some(*start),
        FieldValue::Due(due) => task.due = Some(*due),
        FieldValue::Assignee(user) => {
            task.assignees.insert(user.clone());
        }
        FieldValue::Category(number) => {
            task.categories.insert(*number);
        }
        FieldValue::Description(text) => details(task).description.clone_from(text),
        FieldValue::Checklist { key, title, checked } => {
            let checklist = &mut details(task).checklist;
            match checklist.get_mut(key) {
                Some(item) => {
                    item.title.clone_from(title);
                    item.checked = *checked;
                }
                None => {
                    let item = ChecklistItem { title: title.clone(), checked: *checked, order: String::new() };
                    checklist.insert(key.clone(), item);
                }
            }
        }
        FieldValue::Reference { url, reference } => {
            details(task).references.insert(url.clone(), reference.clone());
        }
    }
}

/// Gives a field what it has in a blank task; an entry of a list is removed.
pub fn clear_field(task: &mut TaskFields, field: FieldRef<'_>) {
    let blank = TaskFields::blank();
    match field {
        FieldRef::Title => task.title = blank.title,
        FieldRef::Bucket => task.bucket = blank.bucket,
        FieldRef::PercentComplete => task.percent_complete = blank.percent_complete,
        FieldRef::Priority => task.priority = blank.priority,
        FieldRef::Start => task.start = blank.start,
        FieldRef::Due => task.due = blank.due,
        FieldRef::Assignee(user) => {
            task.assignees.remove(user);
        }
        FieldRef::Category(number) => {
            task.categories.remove(&number);
        }
        FieldRef::Description => details(task).description.clear(),
        FieldRef::Checklist(key) => {
            details(task).checklist.remove(key);
        }
        FieldRef::Reference(url) => {
            details(task).references.remove(url);
        }
    }
}

/// Makes a change of a field.
pub fn change_field(task: &mut TaskFields, change: &FieldChange) {
    match change {
        FieldChange::Set(value) => set_field_value(task, value),
        FieldChange::Clear(field) => clear_field(task, field.into()),
    }
}

/// Makes a caller's edit of a field.
pub fn edit_field(task: &mut TaskFields, edit: &FieldEdit) {
    match edit {
        FieldEdit::Set(value) => set_field_value(task, value),
        FieldEdit::Place { key, item } => {
            details(task).checklist.insert(key.clone(), item.clone());
        }
        FieldEdit::Clear(field) => clear_field(task, field.into()),
    }
}

fn details(task: &mut TaskFields) -> &mut DetailFields {
    task.details.get_or_insert_default()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use proptest::strategy::ValueTree;
    use proptest::test_runner::TestRunner;

    use super::*;
    use crate::sync::samples::any_task;

    /// The kinds of fields among some, by a name of each.
    fn kinds<'a>(fields: impl Iterator<Item = FieldRef<'a>>) -> std::collections::BTreeSet<String> {
        fields.map(|field| field.to_string().split('/').next().unwrap().to_owned()).collect()
    }

    #[test]
    fn random_tasks_reach_every_field() {
        let mut runner = TestRunner::deterministic();
        let mut reached = std::collections::BTreeSet::new();
        for _ in 0..200 {
            let task = any_task().new_tree(&mut runner).unwrap().current();
            reached.extend(kinds(field_values(&task).fields()));
        }
        let user = UserId::parse("00000000-0000-4000-8000-000000000001").unwrap();
        let all = [
            FieldRef::Title,
            FieldRef::Bucket,
            FieldRef::PercentComplete,
            FieldRef::Priority,
            FieldRef::Start,
            FieldRef::Due,
            FieldRef::Assignee(&user),
            FieldRef::Category(1),
            FieldRef::Description,
            FieldRef::Checklist("k"),
            FieldRef::Reference("https://a"),
        ];
        // A field that is added does not compile here: it belongs into the list.
        for field in all {
            match field {
                FieldRef::Title
                | FieldRef::Bucket
                | FieldRef::PercentComplete
                | FieldRef::Priority
                | FieldRef::Start
                | FieldRef::Due
                | FieldRef::Assignee(_)
                | FieldRef::Category(_)
                | FieldRef::Description
                | FieldRef::Checklist(_)
                | FieldRef::Reference(_) => {}
            }
        }
        assert_eq!(reached, kinds(all.into_iter()));
    }

    #[test]
    fn clearing_a_field_makes_it_blank() {
        let mut runner = TestRunner::deterministic();
        for _ in 0..50 {
            let mut task = any_task().new_tree(&mut runner).unwrap().current();
            let blank = if task.details.is_some() { TaskFields::blank().with_details() } else { TaskFields::blank() };
            for field in field_values(&task).fields() {
                clear_field(&mut task, field);
            }
            assert_eq!(task, blank);
        }
    }

    #[test]
    fn a_checklist_item_keeps_its_place_unless_another_is_asked_for() {
        let mut task = TaskFields::blank();
        let order = |task: &TaskFields| task.details.as_ref().unwrap().checklist["k"].order.clone();
        let item = |title: &str| ChecklistItem { title: title.into(), checked: false, order: "85 !".into() };
        edit_field(&mut task, &FieldEdit::Place { key: "k".into(), item: item("a") });
        let value = FieldValue::Checklist { key: "k".into(), title: "b".into(), checked: true };
        edit_field(&mut task, &FieldEdit::Set(value.clone()));
        assert_eq!((order(&task).as_str(), field_values(&task).get(value.field())), ("85 !", Some(&value)));
    }

    proptest! {
        #[test]
        fn splitting_and_joining_a_task_loses_no_field(task in any_task()) {
            prop_assert_eq!(assemble(&field_values(&task), task.details.is_some()), task);
        }

        #[test]
        fn applying_all_values_of_a_task_makes_an_equal_task(
            from in any_task(), to in any_task(),
        ) {
            let (from, to) = (from.with_details(), to.with_details());
            let (known, wanted) = (field_values(&from), field_values(&to));
            let mut task = from.clone();
            for value in &wanted {
                set_field_value(&mut task, value);
            }
            for field in known.fields().filter(|field| !wanted.contains(*field)) {
                clear_field(&mut task, field);
            }
            prop_assert_eq!(task, to);
        }

        #[test]
        fn field_values_are_ordered_by_field(task in any_task()) {
            let values = field_values(&task);
            let fields: Vec<Field> = values.fields().map(FieldRef::to_field).collect();
            prop_assert!(fields.is_sorted());
            for (value, field) in values.iter().zip(&fields) {
                prop_assert_eq!(values.get(field), Some(value));
            }
            let shuffled: FieldValues = values.iter().rev().cloned().collect();
            prop_assert_eq!(shuffled, values);
        }
    }
}
