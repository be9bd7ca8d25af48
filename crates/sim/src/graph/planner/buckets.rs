//! Buckets: the columns of a plan. Deleting a bucket deletes the tasks in it.

use serde_json::json;

use super::super::super::state::{Object, object};
use super::super::call::{Answer, Outcome};
use super::super::error::GraphError;
use super::super::etag::Kind;
use super::super::order_hint;
use super::fields::{Field, check, invalid};
use super::write::Edit;
use super::{Desk, string, within};

const CREATE: &[(&str, Field)] =
    &[("name", Field::Title), ("planId", Field::PlannerId), ("orderHint", Field::Hint), ("id", Field::ReadOnly)];
const UPDATE: &[(&str, Field)] =
    &[("name", Field::Title), ("orderHint", Field::Hint), ("planId", Field::ReadOnly), ("id", Field::ReadOnly)];

/// GET /planner/plans/{id}/buckets
pub fn of_plan(desk: &Desk<'_>, plan: &str) -> Outcome {
    desk.find_allowed(Kind::Plan, plan)?;
    let items = desk.tenant.listing(desk.call.now, Kind::Bucket, plan);
    desk.page(Kind::Bucket, items, &format!("planner/plans('{plan}')/buckets"))
}

/// GET /planner/buckets: what the caller can see.
pub fn all(desk: &Desk<'_>) -> Outcome {
    let table = desk.tenant.planner(Kind::Bucket);
    let mine = table.all().into_iter().filter(|(id, _)| table.parent(id).is_some_and(|plan| desk.admit(plan).is_ok()));
    desk.page(Kind::Bucket, mine.map(|(id, e)| (e.order, id.to_owned(), e.clone())).collect(), "planner/buckets")
}

/// POST /planner/buckets
pub fn create(desk: &mut Desk<'_>) -> Outcome {
    let checked = check("plannerBucket", CREATE, desk.call.object()?)?;
    let name = string(&checked.plain, "name").ok_or_else(|| invalid("name", "a bucket needs a name"))?;
    let plan = string(&checked.plain, "planId").ok_or_else(|| invalid("planId", "a bucket needs a plan"))?;
    desk.find_allowed(Kind::Plan, plan)?;
    let there = desk.tenant.planner(Kind::Bucket).count(plan);
    within("MaximumBucketsInProject", desk.rules.limits.maximum_buckets_in_project, there + 1)?;
    let id = desk.tenant.rng.planner_id();
    let hint = match string(&checked.plain, "orderHint") {
        Some(hint) => hint.to_owned(),
        None => order_hint::newest(desk.call.now.timestamp_millis(), desk.tenant.order),
    };
    desk.tenant.create(desk.call.now, Kind::Bucket, &id, plan, &blank(&id, name, plan, &hint));
    desk.created(Kind::Bucket, &id, "planner/buckets/$entity")
}

/// A bucket as Planner stores it.
pub fn blank(id: &str, name: &str, plan: &str, hint: &str) -> Object {
    let bucket = json!({"name": name, "planId": plan, "orderHint": hint, "id": id});
    object(bucket)
}

/// PATCH /planner/buckets/{id}
pub fn update(desk: &mut Desk<'_>, id: &str) -> Outcome {
    desk.find_allowed(Kind::Bucket, id)?;
    let version = desk.matched(Kind::Bucket, id)?;
    let checked = check("plannerBucket", UPDATE, desk.call.object()?)?;
    let mut object = desk.tenant.planner(Kind::Bucket).get(id).ok_or_else(GraphError::not_found)?.object();
    let touched = checked.plain.keys().cloned().collect();
    object.extend(checked.plain);
    desk.write(Edit { kind: Kind::Bucket, id: id.to_owned(), object, touched }, version, "planner/buckets/$entity")
}

/// DELETE /planner/buckets/{id}
pub fn delete(desk: &mut Desk<'_>, id: &str) -> Outcome {
    let plan = desk.find_allowed(Kind::Bucket, id)?;
    desk.may_delete(Kind::Bucket, id)?;
    let inside = format!("\"bucketId\":\"{id}\"");
    let tasks: Vec<String> = desk
        .tenant
        .planner(Kind::Task)
        .of(&plan)
        .filter(|(_, task)| task.text.contains(&inside))
        .map(|(task, _)| task.to_owned())
        .collect();
    for task in tasks {
        desk.tenant.delete_task(desk.call.now, &task);
    }
    desk.tenant.delete(desk.call.now, Kind::Bucket, id);
    Ok(Answer::no_content())
}
