//! Events as callers see them.

use schemars::JsonSchema;
use serde::Serialize;

use crate::services::IntoJson;
use crate::services::directory::People;
use crate::services::planner::days::print_date;
use crate::services::planner::words::priority_word;
use crate::services::print_time;
use crate::sync::PlanHandle;
use crate::sync::event::{Change, ChangeKind, EventRecord};
use crate::sync::model::{Field, FieldRef, FieldValue, PlanRecord, Side};

/// Something that happened to a task or to a plan.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct EventView {
    /// created, updated, deleted, synced (everything an agent wrote has arrived), conflict, refused, plan_changed,
    /// stopped or resumed.
    pub event: &'static str,
    /// When it was committed.
    pub at: String,
    /// The plan.
    pub plan_id: String,
    /// Its title.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub plan: Option<String>,
    /// The task; missing where the plan itself is meant.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub task_id: Option<String>,
    /// Its title.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
    /// The change's id, for undo_changes; only of what an agent did.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// The fields that changed.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub fields: Vec<&'static str>,
    /// The values before and after; of a list, each entry that changed.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub values: Vec<ValueChange>,
    /// Progress after the change, where it changed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub percent_complete: Option<u8>,
    /// Name of the bucket after the change, where it changed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bucket: Option<String>,
    /// Who did it, or whose value holds: `agent` or `planner`.
    pub side: &'static str,
    /// The caller, where an agent did it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub by: Option<String>,
    /// Why, for what was refused, decided or stopped.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// A value before and after.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct ValueChange {
    /// The field.
    pub field: &'static str,
    /// The value before; missing where there was none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// The value after; missing where there is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub to: Option<String>,
}

/// What has happened since a cursor.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct ChangePage {
    /// What happened, in the order of each plan.
    pub changes: Vec<EventView>,
    /// Give it to the next call.
    pub cursor: String,
    /// Whether that is all for now.
    pub complete: bool,
    /// When the list was read.
    pub as_of: String,
    /// Plans whose events since the cursor are not kept any more: read them again.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub reset: Vec<String>,
}

impl IntoJson for ChangePage {}

/// The changes of a transaction.
pub(super) fn views(handle: &PlanHandle, event: &EventRecord, people: &People) -> Vec<EventView> {
    event.changes.iter().map(|change| view(handle, event, change, people)).collect()
}

fn view(handle: &PlanHandle, event: &EventRecord, change: &Change, people: &People) -> EventView {
    let plan = handle.plan();
    let bucket = change.bucket.as_ref().and_then(|(_, after)| {
        let after = after.as_ref()?;
        let known = plan.as_ref()?.buckets.iter().find(|bucket| bucket.id == *after);
        Some(known.map_or_else(|| after.to_string(), |bucket| bucket.name.clone()))
    });
    let mut fields: Vec<&'static str> = change.fields.iter().map(field).collect();
    fields.dedup(); // they are sorted, so that entries of one list are adjacent
    let values = values(change, plan.as_deref(), people);
    EventView {
        id: change.operation.clone(),
        values,
        event: word(change.kind),
        at: print_time(event.at),
        plan_id: handle.id.to_string(),
        plan: plan.map(|plan| plan.title.clone()),
        task_id: change.task.as_ref().map(ToString::to_string),
        title: change.task.as_ref().map(|_| change.title.clone()),
        fields,
        percent_complete: change.percent_complete.map(|(_, after)| after),
        bucket,
        side: side(change.side),
        by: change.by.clone(),
        reason: change.reason.clone(),
    }
}

/// Characters shown of a value.
const SHOWN: usize = 200;

/// The values of an update, in the words of the tools.
fn values(change: &Change, plan: Option<&PlanRecord>, people: &People) -> Vec<ValueChange> {
    let unread = change.before.as_ref().is_some_and(|before| before.unread);
    let fields = change.fields.iter().zip(&change.values).filter(|(field, _)| !(unread && field.in_details()));
    let shown = fields.map(|(of, (from, to))| ValueChange {
        field: field(of),
        from: from.as_ref().map(|value| in_words(value, plan, people)),
        to: to.as_ref().map(|value| in_words(value, plan, people)),
    });
    shown.filter(|change| change.from != change.to).collect()
}

fn in_words(value: &FieldValue, plan: Option<&PlanRecord>, people: &People) -> String {
    let words = match value {
        FieldValue::Title(text) | FieldValue::Description(text) => text.clone(),
        FieldValue::Bucket(bucket) => {
            let known = plan.and_then(|plan| plan.buckets.iter().find(|known| known.id == *bucket));
            known.map_or_else(|| bucket.to_string(), |bucket| bucket.name.clone())
        }
        FieldValue::PercentComplete(percent) => percent.to_string(),
        FieldValue::Priority(priority) => priority_word(*priority).to_owned(),
        FieldValue::Start(time) | FieldValue::Due(time) => print_date(*time, chrono_tz::Tz::UTC),
        FieldValue::Assignee(user) => people.name(user),
        FieldValue::Category(number) => {
            let name = plan.and_then(|plan| plan.category_names.get(number).cloned());
            name.unwrap_or_else(|| format!("category{number}"))
        }
        FieldValue::Checklist { title, checked, .. } => format!("{}{title}", if *checked { "[x] " } else { "" }),
        FieldValue::Reference { url, reference } => {
            format!("{url} {}", reference.alias.as_deref().unwrap_or_default()).trim_end().to_owned()
        }
    };
    let cut = words.chars().nth(SHOWN).is_some();
    if cut { format!("{}…", words.chars().take(SHOWN).collect::<String>()) } else { words }
}

/// The name of a kind of event.
#[must_use]
pub(super) const fn word(kind: ChangeKind) -> &'static str {
    match kind {
        ChangeKind::Created => "created",
        ChangeKind::Updated => "updated",
        ChangeKind::Deleted => "deleted",
        ChangeKind::Synced => "synced",
        ChangeKind::Conflict => "conflict",
        ChangeKind::Refused => "refused",
        ChangeKind::PlanChanged => "plan_changed",
        ChangeKind::Stopped => "stopped",
        ChangeKind::Resumed => "resumed",
    }
}

/// Every kind of event.
pub(super) const KINDS: &[ChangeKind] = &[
    ChangeKind::Created,
    ChangeKind::Updated,
    ChangeKind::Deleted,
    ChangeKind::Synced,
    ChangeKind::Conflict,
    ChangeKind::Refused,
    ChangeKind::PlanChanged,
    ChangeKind::Stopped,
    ChangeKind::Resumed,
];

const fn side(side: Side) -> &'static str {
    match side {
        Side::Agent => "agent",
        Side::Planner => "planner",
    }
}

/// The name of a field as the tools call it; entries of a list are all called as the list.
fn field(field: &Field) -> &'static str {
    match field {
        Field::Assignee(_) => "assignees",
        Field::Category(_) => "categories",
        Field::Reference(_) => "references",
        _ => FieldRef::from(field).name(),
    }
}
