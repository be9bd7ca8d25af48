//! Plans and plan details. A plan lives in a Microsoft 365 group; a user must be a member of that group to make
//! one, owning it is not enough. The container cannot change.

use serde_json::{Map, Value, json};

use super::super::super::clock;
use super::super::super::state::{Entity, Object, object};
use super::super::call::{Answer, Outcome};
use super::super::error::GraphError;
use super::super::etag::Kind;
use super::fields::{self, Field, check, entries, invalid};
use super::write::Edit;
use super::{Desk, actor, string, within};

const CREATE: &[(&str, Field)] = &[("title", Field::Title), ("container", Field::Open), ("owner", Field::Text)];
const UPDATE: &[(&str, Field)] = &[
    ("title", Field::Title),
    ("container", Field::ReadOnly),
    ("owner", Field::ReadOnly),
    ("id", Field::ReadOnly),
    ("createdBy", Field::ReadOnly),
    ("createdDateTime", Field::ReadOnly),
];
const DETAILS: &[(&str, Field)] =
    &[("categoryDescriptions", Field::Open), ("sharedWith", Field::Open), ("id", Field::ReadOnly)];

type Listed = Vec<(u64, String, Entity)>;

/// GET /groups/{id}/planner/plans
pub fn of_group(desk: &Desk<'_>, group: &str) -> Outcome {
    if desk.tenant.groups.get(group).is_none() {
        return Err(GraphError::no_resource(group));
    }
    if let Some(user) = desk.call.user()
        && !desk.tenant.is_member(group, user)
    {
        return Err(GraphError::new(
            403,
            "Forbidden",
            "You do not have the required permissions to access this item: the signed-in user is not a member of the group.",
        ));
    }
    desk.page(
        Kind::Plan,
        desk.tenant.listing(desk.call.now, Kind::Plan, group),
        &format!("groups('{group}')/planner/plans"),
    )
}

/// GET /me/planner/plans, /users/{id}/planner/plans: plans shared with a user.
pub fn of_user(desk: &Desk<'_>, user: &str) -> Outcome {
    let (user, _) = desk.tenant.find_user(user).ok_or_else(|| GraphError::no_resource(user))?;
    let shown = every_plan(desk).into_iter().filter(|(_, id, _)| desk.shared_with(id, &user)).collect();
    desk.page(Kind::Plan, shown, &format!("users('{user}')/planner/plans"))
}

/// GET /planner/plans: what the caller can see.
pub fn all(desk: &Desk<'_>) -> Outcome {
    let shown = every_plan(desk).into_iter().filter(|(_, id, _)| desk.admit(id).is_ok()).collect();
    desk.page(Kind::Plan, shown, "planner/plans")
}

fn every_plan(desk: &Desk<'_>) -> Listed {
    let all = desk.tenant.planner(Kind::Plan).all();
    all.into_iter().map(|(id, entity)| (entity.order, id.to_owned(), entity.clone())).collect()
}

/// POST /planner/plans
pub fn create(desk: &mut Desk<'_>) -> Outcome {
    let body = desk.call.object()?;
    let checked = check("plannerPlan", CREATE, body)?;
    if !checked.plain.contains_key("title") {
        return Err(invalid("title", "a plan needs a title"));
    }
    let group = container(body)?;
    if desk.tenant.groups.get(&group).is_none() {
        return Err(GraphError::new(404, "", format!("The group '{group}' was not found.")));
    }
    if let Some(user) = desk.call.user()
        && !desk.tenant.is_member(&group, user)
    {
        return Err(GraphError::new(
            403,
            "Forbidden",
            "The user must be a member of the group that will contain the plan.",
        ));
    }
    let most = desk.rules.limits.maximum_projects_owned_by_user;
    within("MaximumProjectsOwnedByUser", most, desk.tenant.planner(Kind::Plan).count(&group) + 1)?;
    let id = desk.tenant.rng.planner_id();
    let title = string(&checked.plain, "title").unwrap_or_default();
    let plan = blank(&id, title, &group, &clock::ticks(desk.call.now), actor(desk.call));
    desk.tenant.create(desk.call.now, Kind::Plan, &id, &group, &plan);
    desk.tenant.create(desk.call.now, Kind::PlanDetails, &id, &id, &blank_details(&id));
    desk.created(Kind::Plan, &id, "planner/plans/$entity")
}

/// The group named by `container` (url, or containerId with type) or by the deprecated `owner`.
fn container(body: &Object) -> Result<String, GraphError> {
    let id = match body.get("container") {
        Some(Value::Object(container)) => {
            if let Some(kind) = string(container, "type")
                && kind != "group"
            {
                return Err(invalid("container", &format!("a container of type '{kind}' is not supported")));
            }
            let from_url = string(container, "url").map(|url| {
                let tail = url.rsplit_once("/groups").map_or("", |(_, tail)| tail);
                tail.trim_matches(|c| matches!(c, '/' | '(' | ')' | '\'')).to_owned()
            });
            from_url.or_else(|| string(container, "containerId").map(str::to_owned))
        }
        _ => string(body, "owner").map(str::to_owned),
    };
    match id {
        Some(id) if fields::is_guid(&id) => Ok(id.to_ascii_lowercase()),
        Some(_) => Err(invalid("container", "it does not name a group")),
        None => Err(invalid(
            "container",
            "a plan needs a container: {\"url\": \"https://graph.microsoft.com/v1.0/groups/{id}\"}",
        )),
    }
}

/// A plan as Planner stores it.
pub fn blank(id: &str, title: &str, group: &str, created: &str, by: Value) -> Object {
    let plan = json!({
        "createdDateTime": created, "owner": group, "title": title, "id": id, "createdBy": by,
        "container": {"containerId": group, "type": "group", "url": format!("https://graph.microsoft.com/v1.0/groups/{group}")},
    });
    object(plan)
}

/// Plan details without names for labels.
pub fn blank_details(id: &str) -> Object {
    let mut names = Map::new();
    for n in 1..=25 {
        names.insert(format!("category{n}"), Value::Null);
    }
    let mut details = Map::new();
    details.insert("id".to_owned(), id.into());
    details.insert("sharedWith".to_owned(), json!({}));
    details.insert("categoryDescriptions".to_owned(), Value::Object(names));
    details
}

/// PATCH /planner/plans/{id}
pub fn update(desk: &mut Desk<'_>, id: &str) -> Outcome {
    desk.find_allowed(Kind::Plan, id)?;
    let version = desk.matched(Kind::Plan, id)?;
    let checked = check("plannerPlan", UPDATE, desk.call.object()?)?;
    let mut object = desk.tenant.planner(Kind::Plan).get(id).ok_or_else(GraphError::not_found)?.object();
    let touched = checked.plain.keys().cloned().collect();
    object.extend(checked.plain);
    desk.write(Edit { kind: Kind::Plan, id: id.to_owned(), object, touched }, version, "planner/plans/$entity")
}

/// DELETE /planner/plans/{id}
pub fn delete(desk: &mut Desk<'_>, id: &str) -> Outcome {
    desk.find_allowed(Kind::Plan, id)?;
    desk.may_delete(Kind::Plan, id)?;
    desk.tenant.delete_plan(desk.call.now, id);
    Ok(Answer::no_content())
}

/// PATCH /planner/plans/{id}/details
pub fn update_details(desk: &mut Desk<'_>, id: &str) -> Outcome {
    desk.find_allowed(Kind::PlanDetails, id)?;
    let version = desk.matched(Kind::PlanDetails, id)?;
    let checked = check("plannerPlanDetails", DETAILS, desk.call.object()?)?;
    let mut object = desk.tenant.planner(Kind::PlanDetails).get(id).ok_or_else(GraphError::not_found)?.object();
    let mut touched = Vec::new();
    for (name, open) in checked.open {
        let Some(Value::Object(stored)) = object.get_mut(name) else {
            continue;
        };
        for (key, value) in entries(open) {
            touched.push(format!("{name}/{key}"));
            match (name, value) {
                ("sharedWith", Value::Bool(true)) if fields::is_guid(key) => {
                    stored.insert(key.to_ascii_lowercase(), Value::Bool(true));
                }
                ("sharedWith", Value::Bool(false) | Value::Null) if fields::is_guid(key) => {
                    stored.shift_remove(&key.to_ascii_lowercase());
                }
                ("categoryDescriptions", Value::String(_) | Value::Null) if stored.contains_key(key) => {
                    stored.insert(key.clone(), value.clone());
                }
                _ => return Err(invalid(name, &format!("the entry '{key}' is not valid"))),
            }
        }
        if name == "sharedWith" {
            within("MaximumUsersSharedWithProject", desk.rules.limits.maximum_users_shared_with_project, stored.len())?;
        }
    }
    let edit = Edit { kind: Kind::PlanDetails, id: id.to_owned(), object, touched };
    desk.write(edit, version, "planner/plans/details/$entity")
}
