//! Tasks. Completion follows `percentComplete`: at 100 the service writes completedDateTime and completedBy,
//! below it removes them. A task stays in its plan; its bucket has to be one of that plan.

use serde_json::{Map, Value, json};

use super::super::super::clock;
use super::super::super::state::{Entity, Object, object};
use super::super::call::{Answer, Outcome};
use super::super::error::GraphError;
use super::super::etag::Kind;
use super::super::order_hint;
use super::fields::{self, Field, check, entries, invalid, typed};
use super::write::Edit;
use super::{Desk, actor, string, within};

/// What can be set; `planId` at creation only.
const FIELDS: &[(&str, Field)] = &[
    ("planId", Field::PlannerId),
    ("bucketId", Field::PlannerId),
    ("title", Field::Title),
    ("orderHint", Field::Hint),
    ("assigneePriority", Field::Hint),
    ("percentComplete", Field::Number(0, 100)),
    ("priority", Field::Number(0, 10)),
    ("startDateTime", Field::Date),
    ("dueDateTime", Field::Date),
    ("conversationThreadId", Field::Text),
    ("assignments", Field::Open),
    ("appliedCategories", Field::Open),
    ("id", Field::ReadOnly),
    ("createdBy", Field::ReadOnly),
    ("createdDateTime", Field::ReadOnly),
    ("completedBy", Field::ReadOnly),
    ("completedDateTime", Field::ReadOnly),
    ("hasDescription", Field::ReadOnly),
    ("previewType", Field::ReadOnly),
    ("referenceCount", Field::ReadOnly),
    ("checklistItemCount", Field::ReadOnly),
    ("activeChecklistItemCount", Field::ReadOnly),
];

/// GET /planner/plans/{id}/tasks
pub fn of_plan(desk: &Desk<'_>, plan: &str) -> Outcome {
    desk.find_allowed(Kind::Plan, plan)?;
    desk.page(
        Kind::Task,
        desk.tenant.listing(desk.call.now, Kind::Task, plan),
        &format!("planner/plans('{plan}')/tasks"),
    )
}

/// GET /planner/buckets/{id}/tasks
pub fn of_bucket(desk: &Desk<'_>, bucket: &str) -> Outcome {
    let plan = desk.find_allowed(Kind::Bucket, bucket)?;
    let inside = format!("\"bucketId\":\"{bucket}\"");
    let mut items = desk.tenant.listing(desk.call.now, Kind::Task, &plan);
    items.retain(|(_, _, task)| task.text.contains(&inside));
    desk.page(Kind::Task, items, &format!("planner/buckets('{bucket}')/tasks"))
}

/// GET /me/planner/tasks, /users/{id}/planner/tasks: tasks assigned to a user.
pub fn of_user(desk: &Desk<'_>, user: &str) -> Outcome {
    let (user, _) = desk.tenant.find_user(user).ok_or_else(|| GraphError::no_resource(user))?;
    let items = visible(desk, |task| is_assigned(task, &user));
    desk.page(Kind::Task, items, &format!("users('{user}')/planner/tasks"))
}

/// GET /planner/tasks: for a user the tasks assigned to them, for an application all.
pub fn all(desk: &Desk<'_>) -> Outcome {
    let user = desk.call.user().map(str::to_owned);
    let items = visible(desk, |task| user.as_ref().is_none_or(|user| is_assigned(task, user)));
    desk.page(Kind::Task, items, "planner/tasks")
}

fn visible(desk: &Desk<'_>, wanted: impl Fn(&Entity) -> bool) -> Vec<(u64, String, Entity)> {
    let all = desk.tenant.planner(Kind::Task).all();
    all.into_iter().filter(|(_, task)| wanted(task)).map(|(id, e)| (e.order, id.to_owned(), e.clone())).collect()
}

fn is_assigned(task: &Entity, user: &str) -> bool {
    task.text.contains(user) && task.object().get("assignments").is_some_and(|a| a.get(user).is_some())
}

/// A task as Planner stores it, with nothing set but what it cannot be without.
pub fn blank(id: &str, plan: &str, created: &str, by: Value) -> Object {
    let task = json!({
        "planId": plan, "bucketId": null, "title": "", "orderHint": "", "assigneePriority": "",
        "percentComplete": 0, "startDateTime": null, "createdDateTime": created, "dueDateTime": null,
        "hasDescription": false, "previewType": "automatic", "completedDateTime": null, "completedBy": null,
        "referenceCount": 0, "checklistItemCount": 0, "activeChecklistItemCount": 0,
        "conversationThreadId": null, "priority": 5, "id": id, "createdBy": by,
        "appliedCategories": {}, "assignments": {},
    });
    object(task)
}

/// POST /planner/tasks
pub fn create(desk: &mut Desk<'_>) -> Outcome {
    let body = desk.call.object()?;
    let plan = match body.get("planId") {
        Some(Value::String(plan)) if fields::is_planner_id(plan) => plan.clone(),
        Some(_) => return Err(invalid("planId", "a Planner id has 28 characters")),
        None => return Err(invalid("planId", "a task needs a plan")),
    };
    desk.find_allowed(Kind::Plan, &plan)?;
    let id = desk.tenant.rng.planner_id();
    let now = desk.call.now;
    let mut task = blank(&id, &plan, &clock::ticks(now), actor(desk.call));
    let newest = order_hint::newest(now.timestamp_millis(), desk.tenant.order);
    task.insert("orderHint".to_owned(), newest.into());
    apply(desk, &mut task, body)?;
    let limits = &desk.rules.limits;
    let there = desk.tenant.planner(Kind::Task).count(&plan);
    within("MaximumTasksInProject", limits.maximum_tasks_in_project, there + 1)?;
    if there >= limits.maximum_active_tasks_in_project {
        let active =
            desk.tenant.planner(Kind::Task).of(&plan).filter(|(_, t)| !t.text.contains("\"percentComplete\":100,"));
        within("MaximumActiveTasksInProject", limits.maximum_active_tasks_in_project, active.count() + 1)?;
    }
    desk.tenant.create(now, Kind::Task, &id, &plan, &task);
    desk.tenant.create(now, Kind::TaskDetails, &id, "", &super::details::blank(&id));
    desk.created(Kind::Task, &id, "planner/tasks/$entity")
}

/// PATCH /planner/tasks/{id}
pub fn update(desk: &mut Desk<'_>, id: &str) -> Outcome {
    desk.find_allowed(Kind::Task, id)?;
    let version = desk.matched(Kind::Task, id)?;
    let body = desk.call.object()?;
    let mut object = desk.tenant.planner(Kind::Task).get(id).ok_or_else(GraphError::not_found)?.object();
    if let Some(plan) = body.get("planId")
        && Some(plan) != object.get("planId")
    {
        return Err(invalid("planId", "a task cannot move to another plan"));
    }
    let before = percent(&object);
    let touched = apply(desk, &mut object, body)?;
    let completed = before != Some(100) && percent(&object) == Some(100);
    let answer =
        desk.write(Edit { kind: Kind::Task, id: id.to_owned(), object, touched }, version, "planner/tasks/$entity")?;
    if completed {
        repeat(desk, id);
    }
    Ok(answer)
}

fn percent(task: &Object) -> Option<i64> {
    task.get("percentComplete").and_then(Value::as_i64)
}

/// Completing a task that repeats makes the next one. Graph v1.0 shows neither the rule nor the tie between the two.
/// <https://learn.microsoft.com/graph/api/resources/plannertaskrecurrence?view=graph-rest-beta>
fn repeat(desk: &mut Desk<'_>, completed: &str) {
    let Some(days) = desk.tenant.recurring.remove(completed) else { return };
    let both = (desk.tenant.planner(Kind::Task).get(completed), desk.tenant.planner(Kind::TaskDetails).get(completed));
    let (Some(task), Some(details)) = both else { return };
    let (mut task, mut details) = (task.object(), details.object());
    let (id, now) = (desk.tenant.rng.planner_id(), desk.call.now);
    for name in ["startDateTime", "dueDateTime"] {
        let date = string(&task, name).and_then(|text| chrono::DateTime::parse_from_rfc3339(text).ok());
        if let Some(date) = date {
            task.insert(name.to_owned(), clock::seconds(date.to_utc() + chrono::TimeDelta::days(days)).into());
        }
    }
    for (name, value) in [
        ("id", id.clone().into()),
        ("percentComplete", 0.into()),
        ("completedDateTime", Value::Null),
        ("completedBy", Value::Null),
        ("createdDateTime", clock::ticks(now).into()),
        ("orderHint", order_hint::newest(now.timestamp_millis(), desk.tenant.order).into()),
        ("activeChecklistItemCount", task.get("checklistItemCount").cloned().unwrap_or_default()),
    ] {
        task.insert(name.to_owned(), value);
    }
    details.insert("id".to_owned(), id.clone().into());
    if let Some(Value::Object(items)) = details.get_mut("checklist") {
        for item in items.values_mut().filter_map(Value::as_object_mut) {
            item.insert("isChecked".to_owned(), false.into());
        }
    }
    let plan = string(&task, "planId").unwrap_or_default().to_owned();
    desk.tenant.create(now, Kind::Task, &id, &plan, &task);
    desk.tenant.create(now, Kind::TaskDetails, &id, "", &details);
    desk.tenant.recurring.insert(id, days);
}

/// DELETE /planner/tasks/{id}
pub fn delete(desk: &mut Desk<'_>, id: &str) -> Outcome {
    desk.find_allowed(Kind::Task, id)?;
    desk.may_delete(Kind::Task, id)?;
    desk.tenant.delete_task(desk.call.now, id);
    Ok(Answer::no_content())
}

/// Checks a body and merges it into the task; returns the property paths it sets.
fn apply(desk: &Desk<'_>, task: &mut Object, body: &Object) -> Result<Vec<String>, GraphError> {
    let checked = check("plannerTask", FIELDS, body)?;
    let mut touched: Vec<String> = checked.plain.keys().filter(|n| *n != "planId").cloned().collect();
    if let Some(bucket) = string(&checked.plain, "bucketId") {
        let plan = string(task, "planId").unwrap_or_default();
        match desk.tenant.planner(Kind::Bucket).parent(bucket) {
            Some(of) if of == plan => {}
            Some(_) => return Err(invalid("bucketId", "the bucket belongs to another plan")),
            None => return Err(invalid("bucketId", "there is no such bucket")),
        }
    }
    let given = percent(&checked.plain);
    let before = percent(task);
    task.extend(checked.plain);
    match given {
        Some(100) if before != Some(100) => {
            task.insert("completedDateTime".to_owned(), clock::ticks(desk.call.now).into());
            task.insert("completedBy".to_owned(), actor(desk.call));
        }
        Some(0..100) => {
            task.insert("completedDateTime".to_owned(), Value::Null);
            task.insert("completedBy".to_owned(), Value::Null);
        }
        _ => {}
    }
    for (name, open) in checked.open {
        if name == "assignments" {
            assign(desk, task, open, &mut touched)?;
        } else {
            label(task, open, &mut touched)?;
        }
    }
    if let (Some(start), Some(due)) = (string(task, "startDateTime"), string(task, "dueDateTime"))
        && start > due
    {
        return Err(GraphError::planner("The request is invalid: the start date is after the due date."));
    }
    Ok(touched)
}

fn assign(desk: &Desk<'_>, task: &mut Object, open: &Object, touched: &mut Vec<String>) -> Result<(), GraphError> {
    let stored = task.entry("assignments").or_insert_with(|| Value::Object(Map::new()));
    let Value::Object(stored) = stored else { return Ok(()) };
    for (key, value) in entries(open) {
        let user = key.to_ascii_lowercase();
        touched.push(format!("assignments/{user}"));
        if value.is_null() {
            stored.shift_remove(&user);
            continue;
        }
        let entry = typed("assignments", key, value, "plannerAssignment")?;
        if desk.tenant.users.get(&user).is_none() {
            return Err(invalid("assignments", &format!("'{key}' is not the id of a user")));
        }
        let hint = match entry.get("orderHint") {
            None => stored.get(&user).and_then(|a| a.get("orderHint")).and_then(Value::as_str).unwrap_or("").to_owned(),
            Some(Value::String(text)) => fields::hint("orderHint", text)?,
            Some(_) => return Err(invalid("orderHint", "the value has the wrong type")),
        };
        let (by, at) = match stored.get(&user) {
            Some(old) => (old.get("assignedBy").cloned(), old.get("assignedDateTime").cloned()),
            None => (Some(actor(desk.call)), Some(clock::ticks(desk.call.now).into())),
        };
        let assignment = json!({"@odata.type": "#microsoft.graph.plannerAssignment", "assignedDateTime": at, "orderHint": hint, "assignedBy": by});
        stored.insert(user.clone(), assignment);
        let most = desk.rules.limits.maximum_tasks_assigned_to_user;
        if desk.tenant.planner(Kind::Task).len() >= most {
            let all = desk.tenant.planner(Kind::Task).all();
            within("MaximumTasksAssignedToUser", most, all.iter().filter(|(_, t)| is_assigned(t, &user)).count() + 1)?;
        }
    }
    within("MaximumAssigneesInTasks", desk.rules.limits.maximum_assignees_in_tasks, stored.len())
}

fn label(task: &mut Object, open: &Object, touched: &mut Vec<String>) -> Result<(), GraphError> {
    let stored = task.entry("appliedCategories").or_insert_with(|| Value::Object(Map::new()));
    let Value::Object(stored) = stored else { return Ok(()) };
    for (key, value) in entries(open) {
        let known =
            key.strip_prefix("category").and_then(|n| n.parse::<u8>().ok()).is_some_and(|n| (1..=25).contains(&n));
        touched.push(format!("appliedCategories/{key}"));
        match value {
            Value::Bool(true) if known => stored.insert(key.clone(), Value::Bool(true)),
            Value::Bool(false) | Value::Null if known => stored.shift_remove(key),
            _ if known => return Err(invalid("appliedCategories", "a label is true or false")),
            _ => {
                return Err(invalid(
                    "appliedCategories",
                    &format!("there is no '{key}', only category1 to category25"),
                ));
            }
        };
    }
    Ok(())
}
