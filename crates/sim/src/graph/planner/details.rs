//! Task details: description, checklist, references. They are a resource of their own with an ETag of its own;
//! an edit gives the task a new ETag only when the counts or the flag it shows change.

use serde_json::{Map, Value, json};

use super::super::super::clock;
use super::super::super::state::{Object, object};
use super::super::call::Outcome;
use super::super::error::GraphError;
use super::super::etag::Kind;
use super::super::reference_key;
use super::fields::{self, Field, PREVIEW, check, entries, invalid, typed};
use super::write::Edit;
use super::{Desk, actor, string, within};

const FIELDS: &[(&str, Field)] = &[
    ("description", Field::Text),
    ("previewType", Field::Word(PREVIEW)),
    ("checklist", Field::Open),
    ("references", Field::Open),
    ("id", Field::ReadOnly),
];

/// Details of a new task.
pub fn blank(id: &str) -> Object {
    let details = json!({"description": "", "previewType": "automatic", "id": id, "references": {}, "checklist": {}});
    object(details)
}

/// PATCH /planner/tasks/{id}/details
pub fn update(desk: &mut Desk<'_>, id: &str) -> Outcome {
    desk.find_allowed(Kind::TaskDetails, id)?;
    let version = desk.matched(Kind::TaskDetails, id)?;
    let checked = check("plannerTaskDetails", FIELDS, desk.call.object()?)?;
    let mut object = desk.tenant.planner(Kind::TaskDetails).get(id).ok_or_else(GraphError::not_found)?.object();
    let mut touched: Vec<String> = checked.plain.keys().cloned().collect();
    object.extend(checked.plain);
    for (name, open) in checked.open {
        let stored = object.entry(name).or_insert_with(|| Value::Object(Map::new()));
        let Value::Object(stored) = stored else { continue };
        for (key, value) in entries(open) {
            match name {
                "checklist" => check_item(desk, stored, key, value, &mut touched)?,
                _ => reference(desk, stored, key, value, &mut touched)?,
            }
        }
        let limits = &desk.rules.limits;
        match name {
            "checklist" => within("MaximumChecklistItemsOnTask", limits.maximum_checklist_items_on_task, stored.len())?,
            _ => within("MaximumReferencesOnTask", limits.maximum_references_on_task, stored.len())?,
        }
    }
    let shown = object.clone();
    let edit = Edit { kind: Kind::TaskDetails, id: id.to_owned(), object, touched };
    let answer = desk.write(edit, version, "planner/tasks/details/$entity")?;
    show_on_task(desk, id, &shown);
    Ok(answer)
}

fn check_item(
    desk: &Desk<'_>,
    stored: &mut Object,
    key: &str,
    value: &Value,
    touched: &mut Vec<String>,
) -> Result<(), GraphError> {
    // Keys are made by the client; the service only asks that they identify the item.
    if key.is_empty() || key.len() > 64 {
        return Err(invalid("checklist", &format!("'{key}' is not a usable item id")));
    }
    if value.is_null() {
        stored.shift_remove(key);
        touched.push(format!("checklist/{key}"));
        return Ok(());
    }
    let entry = typed("checklist", key, value, "plannerChecklistItem")?;
    let mut item = match stored.get(key) {
        Some(Value::Object(old)) => old.clone(),
        _ => Map::from_iter([
            ("@odata.type".to_owned(), "#microsoft.graph.plannerChecklistItem".into()),
            ("isChecked".to_owned(), false.into()),
            ("title".to_owned(), "".into()),
            ("orderHint".to_owned(), last_hint(stored).into()),
        ]),
    };
    for (name, value) in entries(entry) {
        touched.push(format!("checklist/{key}/{name}"));
        let value = match (name.as_str(), value) {
            ("title", Value::String(text)) if !text.is_empty() => value.clone(),
            ("isChecked", Value::Bool(_)) => value.clone(),
            ("orderHint", Value::String(text)) => fields::hint(name, text)?.into(),
            ("title" | "isChecked" | "orderHint", _) => return Err(invalid(name, "the value has the wrong type")),
            _ => {
                return Err(invalid("checklist", &format!("an item has no property '{name}' that can be set")));
            }
        };
        item.insert(name.clone(), value);
    }
    stamp(desk, &mut item);
    stored.insert(key.to_owned(), Value::Object(item));
    Ok(())
}

/// The value behind the last item, for one that came without an order hint.
fn last_hint(stored: &Object) -> String {
    let last = stored.values().filter_map(|i| i.get("orderHint")?.as_str()).max().unwrap_or_default();
    super::super::order_hint::between(last, "")
}

fn reference(
    desk: &Desk<'_>,
    stored: &mut Object,
    key: &str,
    value: &Value,
    touched: &mut Vec<String>,
) -> Result<(), GraphError> {
    if let Some(problem) = reference_key::problem(key) {
        return Err(invalid("references", &format!("in the key '{key}' {problem}")));
    }
    if value.is_null() {
        stored.shift_remove(key);
        touched.push(format!("references/{key}"));
        return Ok(());
    }
    let entry = typed("references", key, value, "plannerExternalReference")?;
    let mut item = match stored.get(key) {
        Some(Value::Object(old)) => old.clone(),
        _ => Map::from_iter([
            ("@odata.type".to_owned(), "#microsoft.graph.plannerExternalReference".into()),
            ("alias".to_owned(), Value::Null),
            ("type".to_owned(), "Other".into()),
            ("previewPriority".to_owned(), "8585775972".into()),
        ]),
    };
    for (name, value) in entries(entry) {
        touched.push(format!("references/{key}/{name}"));
        let value = match (name.as_str(), value) {
            ("alias" | "type", Value::String(_) | Value::Null) => value.clone(),
            ("previewPriority", Value::String(text)) => fields::hint(name, text)?.into(),
            ("alias" | "type" | "previewPriority", _) => return Err(invalid(name, "the value has the wrong type")),
            _ => {
                return Err(invalid("references", &format!("a reference has no property '{name}' that can be set")));
            }
        };
        item.insert(name.clone(), value);
    }
    stamp(desk, &mut item);
    stored.insert(key.to_owned(), Value::Object(item));
    Ok(())
}

fn stamp(desk: &Desk<'_>, item: &mut Object) {
    item.insert("lastModifiedDateTime".to_owned(), clock::ticks(desk.call.now).into());
    item.insert("lastModifiedBy".to_owned(), actor(desk.call));
}

/// Carries counts, preview and the description flag over to the task.
fn show_on_task(desk: &mut Desk<'_>, id: &str, details: &Object) {
    let Some(task) = desk.tenant.planner(Kind::Task).get(id) else {
        return;
    };
    let before = task.object();
    let mut after = before.clone();
    after.extend(summary(details));
    if after != before || desk.rules.details_change_task_etag {
        desk.tenant.change(desk.call.now, Kind::Task, id, &after, &[]);
    }
}

/// The properties of a task that are derived from its details.
pub fn summary(details: &Object) -> Object {
    let empty = Map::new();
    let part = |name: &str| details.get(name).and_then(Value::as_object).unwrap_or(&empty);
    let checklist = part("checklist");
    let open = checklist.values().filter(|i| i.get("isChecked") != Some(&Value::Bool(true))).count();
    Map::from_iter([
        ("hasDescription".to_owned(), string(details, "description").is_some_and(|d| !d.is_empty()).into()),
        ("previewType".to_owned(), details.get("previewType").cloned().unwrap_or("automatic".into())),
        ("referenceCount".to_owned(), part("references").len().into()),
        ("checklistItemCount".to_owned(), checklist.len().into()),
        ("activeChecklistItemCount".to_owned(), open.into()),
    ])
}
