//! Changes of tasks and their details, serialised exactly as Planner wants them.
//!
//! `None` leaves a field alone, `Some(None)` clears it; in maps `None` removes the entry. An open type without entries
//! is refused by Planner, so an empty map is not sent at all.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};
use serde_json::{Map, Value};

use super::category::Category;
use super::reference::encode_reference_key;
use crate::ids::{BucketId, PlanId, UserId};

/// The order hint of a first or only item.
pub const FIRST: &str = " !";

/// A task to be created.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct TaskBody {
    /// The plan; it cannot be changed later.
    pub plan_id: PlanId,
    /// The title.
    pub title: String,
    /// The fields a task may also be changed in.
    #[serde(flatten)]
    pub fields: TaskPatch,
}

/// A change of a task.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct TaskPatch {
    /// The title. In a [`TaskBody`] it stays `None`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
    /// The bucket, which must be of the same plan.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bucket_id: Option<BucketId>,
    /// 0 to 100.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub percent_complete: Option<u8>,
    /// 0 (most urgent) to 10.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub priority: Option<u8>,
    /// The start; not after the due date.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "instant")]
    pub start_date_time: Option<Option<DateTime<Utc>>>,
    /// The due date.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "instant")]
    pub due_date_time: Option<Option<DateTime<Utc>>>,
    /// People to assign (with the order hint of the assignment) or, with `None`, to unassign.
    #[serde(skip_serializing_if = "BTreeMap::is_empty", serialize_with = "assignments")]
    pub assignments: BTreeMap<UserId, Option<AssignmentPatch>>,
    /// Categories to apply (`true`) or to take off (`false`).
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub applied_categories: BTreeMap<Category, bool>,
    /// The place in the list, `"<previous> <next>!"`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub order_hint: Option<String>,
    /// The place among the assignee's tasks.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub assignee_priority: Option<String>,
    /// The conversation about the task.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub conversation_thread_id: Option<String>,
}

/// An assignment to be made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AssignmentPatch {
    /// The place of the task in the assignee's list.
    pub order_hint: String,
}

impl Default for AssignmentPatch {
    fn default() -> Self {
        Self { order_hint: FIRST.to_owned() }
    }
}

/// A change of a task's details.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct DetailsPatch {
    /// The description; an empty text clears it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// `automatic`, `noPreview`, `checklist`, `description` or `reference`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub preview_type: Option<String>,
    /// Checklist items by their GUID.
    #[serde(skip_serializing_if = "BTreeMap::is_empty", serialize_with = "checklist")]
    pub checklist: BTreeMap<String, Option<ChecklistItemPatch>>,
    /// References by their URL (not encoded).
    #[serde(skip_serializing_if = "BTreeMap::is_empty", serialize_with = "references")]
    pub references: BTreeMap<String, Option<ReferencePatch>>,
}

/// A checklist item to be added or changed; of an existing item, `None` leaves a field alone.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ChecklistItemPatch {
    /// What to do; needed for a new item.
    pub title: Option<String>,
    /// Whether it is done.
    pub is_checked: Option<bool>,
    /// The place in the list; a new item goes first without one.
    pub order_hint: Option<String>,
}

/// A reference to be added or changed.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ReferencePatch {
    /// What the link is called.
    pub alias: Option<String>,
    /// `PowerPoint`, `Excel`, `Word`, `Pdf`, `Other` and so on.
    pub kind: Option<String>,
    /// The place among the previews.
    pub preview_priority: Option<String>,
}

/// Planner keeps whole UTC times with `Z`.
#[allow(clippy::option_option, clippy::ref_option)] // serde hands over the field as it is
fn instant<S: Serializer>(value: &Option<Option<DateTime<Utc>>>, serializer: S) -> Result<S::Ok, S::Error> {
    value.flatten().map(|time| time.to_rfc3339_opts(chrono::SecondsFormat::AutoSi, true)).serialize(serializer)
}

fn assignments<S: Serializer>(
    map: &BTreeMap<UserId, Option<AssignmentPatch>>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    let entry = |(user, patch): (&UserId, &Option<AssignmentPatch>)| {
        let hint =
            |patch: &AssignmentPatch| typed("plannerAssignment", [("orderHint", Some(patch.order_hint.clone()))]);
        (user.to_string(), patch.as_ref().map(hint))
    };
    open_type(map.iter().map(entry), serializer)
}

fn checklist<S: Serializer>(
    map: &BTreeMap<String, Option<ChecklistItemPatch>>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    let item = |patch: &ChecklistItemPatch| {
        let mut item =
            typed("plannerChecklistItem", [("title", patch.title.clone()), ("orderHint", patch.order_hint.clone())]);
        if let Some(checked) = patch.is_checked {
            item.insert("isChecked".to_owned(), checked.into());
        }
        item
    };
    open_type(map.iter().map(|(id, patch)| (id.clone(), patch.as_ref().map(item))), serializer)
}

fn references<S: Serializer>(map: &BTreeMap<String, Option<ReferencePatch>>, serializer: S) -> Result<S::Ok, S::Error> {
    let reference = |patch: &ReferencePatch| {
        typed(
            "plannerExternalReference",
            [
                ("alias", patch.alias.clone()),
                ("type", patch.kind.clone()),
                ("previewPriority", patch.preview_priority.clone()),
            ],
        )
    };
    let entry =
        |(url, patch): (&String, &Option<ReferencePatch>)| (encode_reference_key(url), patch.as_ref().map(reference));
    open_type(map.iter().map(entry), serializer)
}

/// An object with its `@odata.type` and those texts that are given.
fn typed<const N: usize>(name: &str, texts: [(&str, Option<String>); N]) -> Map<String, Value> {
    let kind = ("@odata.type".to_owned(), Value::from(format!("#microsoft.graph.{name}")));
    let texts = texts.into_iter().filter_map(|(key, text)| Some((key.to_owned(), text?.into())));
    std::iter::once(kind).chain(texts).collect()
}

fn open_type<S: Serializer>(
    entries: impl Iterator<Item = (String, Option<Map<String, Value>>)>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    let mut map = serializer.serialize_map(None)?;
    for (key, value) in entries {
        map.serialize_entry(&key, &value)?;
    }
    map.end()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn patch_contains_only_changed_fields_and_null_removes() {
        let user = UserId::parse("fbab97d0-4932-4511-b675-204639209557").unwrap();
        let other = UserId::parse("aaab97d0-4932-4511-b675-204639209557").unwrap();
        let patch = TaskPatch {
            due_date_time: Some(None),
            start_date_time: Some(Some(DateTime::UNIX_EPOCH)),
            assignments: [(user, Some(AssignmentPatch::default())), (other, None)].into(),
            applied_categories: [(Category::new(3).unwrap(), true), (Category::new(4).unwrap(), false)].into(),
            ..TaskPatch::default()
        };
        let expected = json!({
            "startDateTime": "1970-01-01T00:00:00Z",
            "dueDateTime": null,
            "assignments": {
                "aaab97d0-4932-4511-b675-204639209557": null,
                "fbab97d0-4932-4511-b675-204639209557":
                    { "@odata.type": "#microsoft.graph.plannerAssignment", "orderHint": " !" },
            },
            "appliedCategories": { "category3": true, "category4": false },
        });
        assert_eq!(serde_json::to_value(&patch).unwrap(), expected);
        assert_eq!(serde_json::to_value(TaskPatch::default()).unwrap(), json!({}));
    }

    #[test]
    fn details_patch_has_odata_types_and_encoded_keys() {
        let patch = DetailsPatch {
            checklist: [
                ("a1".to_owned(), Some(ChecklistItemPatch { is_checked: Some(true), ..Default::default() })),
                ("a2".to_owned(), None),
            ]
            .into(),
            references: [(
                "http://a.b/c".to_owned(),
                Some(ReferencePatch { alias: Some("c".to_owned()), ..Default::default() }),
            )]
            .into(),
            ..DetailsPatch::default()
        };
        let expected = json!({
            "checklist": {
                "a1": { "@odata.type": "#microsoft.graph.plannerChecklistItem", "isChecked": true },
                "a2": null,
            },
            "references": {
                "http%3A//a%2Eb/c": { "@odata.type": "#microsoft.graph.plannerExternalReference", "alias": "c" },
            },
        });
        assert_eq!(serde_json::to_value(&patch).unwrap(), expected);
    }
}
