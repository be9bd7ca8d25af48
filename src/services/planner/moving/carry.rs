//! What a move takes from the original to its copy. Pure.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::ids::{BucketId, TaskId};
use crate::services::planner::lookup::category;
use crate::sync::field_value::field_values;
use crate::sync::model::{
    ChecklistItem, Field, FieldEdit, FieldRef, FieldValue, PlanRecord, Sides, TaskFields, TaskRecord,
};

/// What of an original its copy has: the value of the `m|` row in the copy's plan. What is carried replaces it in the
/// transaction that changes the copy, so that of two instances that carry the same edit one is refused.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Carried {
    /// The copy.
    pub copy: TaskId,
    /// The original's fields.
    pub fields: TaskFields,
    /// The original's revision.
    pub revision: u64,
}

impl Carried {
    pub(super) fn of(original: &TaskRecord, copy: &TaskId) -> Self {
        let mut fields = original.fields.clone();
        fields.details.get_or_insert_default();
        Self { copy: copy.clone(), fields, revision: original.revision }
    }

    /// The row for the original in the copy's plan.
    pub(super) fn row(original: &TaskId) -> String {
        format!("m|{original}")
    }

    /// Whether the original has nothing that was not carried.
    pub(super) fn is_all_of(&self, original: &TaskRecord) -> bool {
        original.revision == self.revision
            && field_values(&Self::of(original, &self.copy).fields) == field_values(&self.fields)
    }
}

/// The two plans of a move.
#[derive(Clone, Copy)]
pub(super) struct Plans<'a> {
    pub from: &'a PlanRecord,
    pub to: &'a PlanRecord,
}

impl Plans<'_> {
    fn name(&self, label: u8) -> String {
        self.from.category_names.get(&label).cloned().unwrap_or_else(|| format!("category{label}"))
    }

    /// The names of an original's labels that the target plan does not have.
    pub(super) fn left_behind(&self, original: &TaskFields) -> Vec<String> {
        let names = original.categories.iter().map(|label| self.name(*label));
        names.filter(|name| category(self.to, name).is_err()).collect()
    }

    /// An original's fields as they are in the target plan. Labels belong to a plan: those the target has by the same
    /// name go along.
    pub(super) fn translated(&self, original: &TaskFields, bucket: Option<&BucketId>) -> TaskFields {
        let categories = original.categories.iter().filter_map(|label| category(self.to, &self.name(*label)).ok());
        TaskFields { bucket: bucket.cloned(), categories: categories.collect(), ..original.clone() }
    }
}

/// The fields of the copy at its creation: each checklist item goes behind the one before it (Planner: order hints).
pub(super) fn for_creation(mut fields: TaskFields) -> TaskFields {
    if let Some(details) = &mut fields.details {
        let mut items: Vec<_> = details.checklist.values_mut().collect();
        items.sort_by(|left, right| left.order.cmp(&right.order));
        let mut last = String::new();
        for item in items {
            last.push_str(" !");
            item.order.clone_from(&last);
        }
    }
    fields
}

/// What the original has since it was carried.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Later {
    /// To be done to the copy.
    pub set: Vec<FieldEdit>,
    /// Changed on both to different values: the value carried is the base, the original's the agent's, the copy's Planner's.
    pub clashes: Vec<(Field, Sides<FieldValue>)>,
}

/// Compares three states of the task, all in the words of the copy's plan: as it was carried, as the original is now,
/// and the copy. A field that was changed on the copy too keeps the copy's value.
pub(super) fn later(carried: &TaskFields, original: &TaskFields, copy: &TaskFields) -> Later {
    let orders = |fields: &TaskFields| -> BTreeMap<String, String> {
        let items = fields.details.iter().flat_map(|details| &details.checklist);
        items.map(|(key, item)| (key.clone(), item.order.clone())).collect()
    };
    let (in_original, in_copy) = (orders(original), orders(copy));
    let mut last = in_copy.values().max().cloned().unwrap_or_default();
    let (carried, original, copy) = (field_values(carried), field_values(original), field_values(copy));
    let fields: BTreeSet<FieldRef<'_>> = carried.fields().chain(original.fields()).collect();
    let mut fields: Vec<FieldRef<'_>> = fields.into_iter().collect();
    fields.sort_by_key(|field| if let FieldRef::Checklist(key) = field { in_original.get(*key) } else { None });
    let mut later = Later::default();
    for field in fields {
        let (was, now, there) = (carried.get(field), original.get(field), copy.get(field));
        if was == now || there == now {
            continue;
        }
        if there == was {
            later.set.push(placed(field, now, &in_copy, &mut last));
        } else {
            let sides = Sides { base: was.cloned(), agent: now.cloned(), planner: there.cloned() };
            later.clashes.push((field.to_field(), sides));
        }
    }
    later
}

/// An item of the checklist stays where it is in the copy, or goes behind the others, of which `last` is the last;
/// where an item stands is no part of its value.
fn placed(
    field: FieldRef<'_>,
    value: Option<&FieldValue>,
    in_copy: &BTreeMap<String, String>,
    last: &mut String,
) -> FieldEdit {
    let Some(FieldValue::Checklist { key, title, checked }) = value else {
        return FieldEdit::of(&field.to_field(), value.cloned());
    };
    let order = in_copy.get(key).cloned().unwrap_or_else(|| {
        last.push_str(" !");
        last.clone()
    });
    FieldEdit::Place { key: key.clone(), item: ChecklistItem { title: title.clone(), checked: *checked, order } }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn title(text: &str) -> FieldValue {
        FieldValue::Title(text.to_owned())
    }

    fn task(title: &str, text: &str) -> TaskFields {
        let mut fields = TaskFields::blank().with_details();
        title.clone_into(&mut fields.title);
        fields.details.get_or_insert_default().description = text.to_owned();
        fields
    }

    #[test]
    fn edit_of_the_original_is_carried_to_the_copy() {
        let found = later(&task("a", "x"), &task("b", "x"), &task("a", "x"));
        assert_eq!(found, Later { set: vec![FieldEdit::Set(title("b"))], clashes: vec![] });
    }

    #[test]
    fn cleared_field_of_the_original_is_cleared_on_the_copy() {
        let found = later(&task("a", "x"), &task("a", ""), &task("a", "x"));
        assert_eq!(found.set, [FieldEdit::Clear(Field::Description)]);
    }

    #[test]
    fn field_edited_on_both_keeps_the_value_of_the_copy_and_is_reported() {
        let found = later(&task("a", "x"), &task("b", "x"), &task("c", "y"));
        let sides = Sides { base: Some(title("a")), agent: Some(title("b")), planner: Some(title("c")) };
        assert_eq!(found, Later { set: vec![], clashes: vec![(Field::Title, sides)] });
    }

    #[test]
    fn edit_of_the_copy_is_kept() {
        assert_eq!(later(&task("a", "x"), &task("a", "x"), &task("c", "y")), Later::default());
    }
}
