//! The three task board formats: where a task stands in the views "assigned to", "bucket" and "progress".
//! They are stored once somebody moves a card; until then they follow from the task.

use serde_json::{Map, Value, json};

use super::super::super::state::{Entity, Object};
use super::super::call::Outcome;
use super::super::error::GraphError;
use super::super::etag::Kind;
use super::fields::{self, Field, check, entries, invalid};
use super::write::Edit;
use super::{Desk, string};

fn kind_of(board: &str) -> Result<(Kind, &'static str), GraphError> {
    match board {
        "assignedToTaskBoardFormat" => Ok((Kind::AssignedBoard, "plannerAssignedToTaskBoardTaskFormat")),
        "bucketTaskBoardFormat" => Ok((Kind::BucketBoard, "plannerBucketTaskBoardTaskFormat")),
        "progressTaskBoardFormat" => Ok((Kind::ProgressBoard, "plannerProgressTaskBoardTaskFormat")),
        _ => Err(GraphError::no_segment(board)),
    }
}

/// GET /planner/tasks/{id}/…TaskBoardFormat
pub fn read(desk: &Desk<'_>, id: &str, board: &str) -> Outcome {
    let (kind, _) = kind_of(board)?;
    desk.find_allowed(Kind::Task, id)?;
    let entity = stored(desk, kind, id).ok_or_else(GraphError::not_found)?;
    Ok(desk.call.planner(200, kind, &entity, &format!("planner/tasks('{id}')/{board}/$entity")))
}

/// PATCH /planner/tasks/{id}/…TaskBoardFormat
pub fn update(desk: &mut Desk<'_>, id: &str, board: &str) -> Outcome {
    let (kind, name) = kind_of(board)?;
    desk.find_allowed(Kind::Task, id)?;
    let entity = stored(desk, kind, id).ok_or_else(GraphError::not_found)?;
    if desk.tenant.planner(kind).get(id).is_none() {
        desk.tenant.create(desk.call.now, kind, id, "", &entity.object());
        desk.tenant.keep_version(kind, id, entity.version());
    }
    let version = desk.matched(kind, id)?;
    let known: &[(&str, Field)] = match kind {
        Kind::AssignedBoard => {
            &[("unassignedOrderHint", Field::Hint), ("orderHintsByAssignee", Field::Open), ("id", Field::ReadOnly)]
        }
        _ => &[("orderHint", Field::Hint), ("id", Field::ReadOnly)],
    };
    let checked = check(name, known, desk.call.object()?)?;
    let mut object = entity.object();
    let mut touched: Vec<String> = checked.plain.keys().cloned().collect();
    object.extend(checked.plain);
    for (name, open) in checked.open {
        let stored = object.entry(name).or_insert_with(|| Value::Object(Map::new()));
        let Value::Object(stored) = stored else { continue };
        for (user, value) in entries(open) {
            touched.push(format!("{name}/{user}"));
            match value {
                Value::String(text) if fields::is_guid(user) => {
                    stored.insert(user.clone(), fields::hint(name, text)?.into());
                }
                Value::Null => {
                    stored.shift_remove(user);
                }
                _ => return Err(invalid(name, &format!("the entry '{user}' is not valid"))),
            }
        }
    }
    let edit = Edit { kind, id: id.to_owned(), object, touched };
    desk.write(edit, version, &format!("planner/tasks('{id}')/{board}/$entity"))
}

fn stored(desk: &Desk<'_>, kind: Kind, id: &str) -> Option<Entity> {
    if let Some(entity) = desk.tenant.planner(kind).get(id) {
        return Some(entity.clone());
    }
    let task = desk.tenant.planner(Kind::Task).get(id)?;
    let object = derived(kind, &task.object(), id);
    // A board that nobody touched has the version its task was created with.
    let versions = task.versions.iter().copied().take(1).collect();
    Some(Entity { text: super::super::super::state::text(&object), versions, touched: Vec::new(), order: task.order })
}

fn derived(kind: Kind, task: &Object, id: &str) -> Object {
    let hint = string(task, "orderHint").unwrap_or_default();
    let board = if kind == Kind::AssignedBoard {
        let hints: Object = task
            .get("assignments")
            .and_then(Value::as_object)
            .into_iter()
            .flatten()
            .map(|(user, a)| (user.clone(), a.get("orderHint").cloned().unwrap_or_default()))
            .collect();
        json!({"unassignedOrderHint": hint, "orderHintsByAssignee": hints, "id": id})
    } else {
        json!({"orderHint": hint, "id": id})
    };
    board.as_object().cloned().unwrap_or_default()
}
