//! What a move takes from the original to its copy. Pure.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::ids::{BucketId, TaskId};
use crate::services::planner::lookup::category;
use crate::sync::merge::pieces;
use crate::sync::model::{Field, PlanRecord, TaskFields, TaskRecord};

/// What of an original its copy has: the value of the `m|` row in the copy's plan. Whatever is carried replaces it in the
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
        original.revision == self.revision && pieces(&Self::of(original, &self.copy).fields) == pieces(&self.fields)
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
    /// To be set on the copy.
    pub set: Vec<(Field, Value)>,
    /// Changed on both to different values: the field, the value carried, the original's and the copy's.
    pub clashes: Vec<(Field, Value, Value, Value)>,
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
    let (carried, original, copy) = (pieces(carried), pieces(original), pieces(copy));
    let fields: BTreeSet<&Field> = carried.keys().chain(original.keys()).collect();
    let mut fields: Vec<&Field> = fields.into_iter().collect();
    fields.sort_by_key(|field| if let Field::Checklist(key) = field { in_original.get(key) } else { None });
    let mut later = Later::default();
    for field in fields.into_iter().filter(|field| carried.get(*field) != original.get(*field)) {
        let value = |of: Option<&Value>| of.cloned().unwrap_or_default();
        let (was, now, there) = (value(carried.get(field)), value(original.get(field)), value(copy.get(field)));
        if there == now {
            continue;
        }
        if there == was {
            later.set.push((field.clone(), placed(field, now, &in_copy, &mut last)));
        } else {
            later.clashes.push((field.clone(), was, now, there));
        }
    }
    later
}

/// An item of the checklist stays where it is in the copy, or goes behind the others, of which `last` is the last;
/// where an item stands is no part of its value.
fn placed(field: &Field, mut value: Value, in_copy: &BTreeMap<String, String>, last: &mut String) -> Value {
    if let (Field::Checklist(key), Value::Object(item)) = (field, &mut value) {
        let order = in_copy.get(key).cloned().unwrap_or_else(|| {
            last.push_str(" !");
            last.clone()
        });
        item.insert("order".to_owned(), Value::from(order));
    }
    value
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::sync::merge::assemble;

    fn task(title: &str, text: &str) -> TaskFields {
        let mut fields = assemble(&BTreeMap::new(), true);
        title.clone_into(&mut fields.title);
        fields.details.get_or_insert_default().description = text.to_owned();
        fields
    }

    #[test]
    fn an_edit_of_the_original_is_set_on_the_copy() {
        let found = later(&task("a", "x"), &task("b", "x"), &task("a", "x"));
        assert_eq!(found, Later { set: vec![(Field::Title, json!("b"))], clashes: vec![] });
    }

    #[test]
    fn what_the_original_cleared_is_cleared_on_the_copy() {
        let found = later(&task("a", "x"), &task("a", ""), &task("a", "x"));
        assert_eq!(found.set, [(Field::Description, Value::Null)]);
    }

    #[test]
    fn a_field_changed_on_both_keeps_the_value_of_the_copy_and_is_reported() {
        let found = later(&task("a", "x"), &task("b", "x"), &task("c", "y"));
        assert_eq!(found, Later { set: vec![], clashes: vec![(Field::Title, json!("a"), json!("b"), json!("c"))] });
    }

    #[test]
    fn an_edit_of_the_copy_alone_stays() {
        assert_eq!(later(&task("a", "x"), &task("a", "x"), &task("c", "y")), Later::default());
    }
}
