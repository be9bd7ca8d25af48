//! Planner: which operation an address means, who may use it, and what all Planner lists have in common: pages
//! of a size the service chooses, `$filter`, `$orderby` and `$top` without effect, `@odata.nextLink` for the next page.

mod boards;
mod buckets;
mod details;
mod fields;
mod plans;
pub mod seed;
mod tasks;
mod write;

use serde_json::{Value, json};

use super::super::state::{Entity, Object, Tenant};
use super::call::{Answer, Call, Outcome};
use super::error::GraphError;
use super::etag::Kind;

/// Limits and habits of the service that the control API can change.
#[derive(Clone, Debug, serde::Serialize, serde::Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Rules {
    /// Items per page of every Planner list.
    pub page_size: usize,
    /// A details edit always gives the task a new ETag, not only when its counts change.
    pub details_change_task_etag: bool,
    pub limits: Limits,
}

impl Default for Rules {
    fn default() -> Self {
        Self { page_size: 400, details_change_task_etag: false, limits: Limits::default() }
    }
}

/// Planner's limits, named as in the error codes. Defaults: Microsoft's page "Planner limits".
#[derive(Clone, Debug, serde::Serialize, serde::Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "PascalCase")]
pub struct Limits {
    pub maximum_projects_owned_by_user: usize,
    pub maximum_tasks_assigned_to_user: usize,
    pub maximum_tasks_in_project: usize,
    pub maximum_active_tasks_in_project: usize,
    pub maximum_buckets_in_project: usize,
    pub maximum_users_shared_with_project: usize,
    pub maximum_references_on_task: usize,
    pub maximum_checklist_items_on_task: usize,
    pub maximum_assignees_in_tasks: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            maximum_projects_owned_by_user: 400,
            maximum_tasks_assigned_to_user: 9_000,
            maximum_tasks_in_project: 9_000,
            maximum_active_tasks_in_project: 3_000,
            maximum_buckets_in_project: 200,
            maximum_users_shared_with_project: 100,
            maximum_references_on_task: 15,
            maximum_checklist_items_on_task: 20,
            maximum_assignees_in_tasks: 20,
        }
    }
}

/// Refuses a write that goes beyond a limit: 403 with the limit's name as code.
fn within(limit: &str, most: usize, wanted: usize) -> Result<(), GraphError> {
    if wanted <= most {
        return Ok(());
    }
    Err(GraphError::new(403, limit, format!("The limit {limit} ({most}) is reached.")))
}

const READ_APP: &[&str] = &["Tasks.Read.All", "Tasks.ReadWrite.All"];
const READ_USER: &[&str] = &["Tasks.Read", "Tasks.ReadWrite", "Group.Read.All", "Group.ReadWrite.All"];
const WRITE_APP: &[&str] = &["Tasks.ReadWrite.All"];
const WRITE_USER: &[&str] = &["Tasks.ReadWrite", "Group.ReadWrite.All"];

/// What a handler works with.
pub struct Desk<'a> {
    pub call: &'a Call,
    pub tenant: &'a mut Tenant,
    pub rules: &'a Rules,
}

/// Answers a request whose path goes through `planner`.
pub fn route(call: &Call, tenant: &mut Tenant, rules: &Rules) -> Outcome {
    let (app, user): (&[&str], &[&str]) = match call.path().as_slice() {
        // The permission table knows no application permission for this one.
        ["users", _, "planner", "plans"] => (&[], READ_USER),
        _ if call.method == "GET" => (READ_APP, READ_USER),
        _ => (WRITE_APP, WRITE_USER),
    };
    call.require("Forbidden", app, user)?;
    let mut desk = Desk { call, tenant, rules };
    let path = call.path();
    let Some((verb, rest)) = Some((call.method.as_str(), path.as_slice())) else {
        return Err(GraphError::no_segment("planner"));
    };
    match (verb, rest) {
        ("GET", ["groups", group, "planner"]) => desk.planner_of("groups", group),
        ("GET", ["users", user, "planner"]) => desk.planner_of("users", user),
        ("GET", ["groups", group, "planner", "plans"]) => plans::of_group(&desk, group),
        ("GET", ["users", user, "planner", "plans"]) => plans::of_user(&desk, user),
        ("GET", ["users", user, "planner", "tasks"]) => tasks::of_user(&desk, user),
        ("GET", ["planner"]) => {
            Ok(Answer::json(200, &json!({"@odata.context": call.context("planner/$entity"), "id": ""})))
        }
        ("GET", ["planner", "plans"]) => plans::all(&desk),
        ("POST", ["planner", "plans"]) => plans::create(&mut desk),
        ("GET", ["planner", "plans", id]) => desk.read(Kind::Plan, id, "planner/plans/$entity"),
        ("PATCH", ["planner", "plans", id]) => plans::update(&mut desk, id),
        ("DELETE", ["planner", "plans", id]) => plans::delete(&mut desk, id),
        ("GET", ["planner", "plans", id, "details"]) => {
            desk.read(Kind::PlanDetails, id, "planner/plans/details/$entity")
        }
        ("PATCH", ["planner", "plans", id, "details"]) => plans::update_details(&mut desk, id),
        ("GET", ["planner", "plans", id, "buckets"]) => buckets::of_plan(&desk, id),
        ("GET", ["planner", "plans", id, "tasks"]) => tasks::of_plan(&desk, id),
        ("GET", ["planner", "buckets"]) => buckets::all(&desk),
        ("POST", ["planner", "buckets"]) => buckets::create(&mut desk),
        ("GET", ["planner", "buckets", id]) => desk.read(Kind::Bucket, id, "planner/buckets/$entity"),
        ("PATCH", ["planner", "buckets", id]) => buckets::update(&mut desk, id),
        ("DELETE", ["planner", "buckets", id]) => buckets::delete(&mut desk, id),
        ("GET", ["planner", "buckets", id, "tasks"]) => tasks::of_bucket(&desk, id),
        ("GET", ["planner", "tasks"]) => tasks::all(&desk),
        ("POST", ["planner", "tasks"]) => tasks::create(&mut desk),
        ("GET", ["planner", "tasks", id]) => desk.read(Kind::Task, id, "planner/tasks/$entity"),
        ("PATCH", ["planner", "tasks", id]) => tasks::update(&mut desk, id),
        ("DELETE", ["planner", "tasks", id]) => tasks::delete(&mut desk, id),
        ("GET", ["planner", "tasks", id, "details"]) => {
            desk.read(Kind::TaskDetails, id, "planner/tasks/details/$entity")
        }
        ("PATCH", ["planner", "tasks", id, "details"]) => details::update(&mut desk, id),
        ("GET", ["planner", "tasks", id, board]) => boards::read(&desk, id, board),
        ("PATCH", ["planner", "tasks", id, board]) => boards::update(&mut desk, id, board),
        (
            _,
            ["planner", "plans" | "buckets" | "tasks"]
            | ["planner", "plans" | "buckets" | "tasks", _]
            | ["planner", "plans" | "tasks", _, "details"],
        ) => Err(GraphError::method(verb)),
        _ => Err(GraphError::no_segment(path.last().copied().unwrap_or("planner"))),
    }
}

impl Desk<'_> {
    /// The plan a resource belongs to.
    fn plan_of(&self, kind: Kind, id: &str) -> Option<String> {
        match kind {
            Kind::Plan | Kind::PlanDetails => self.tenant.planner(Kind::Plan).get(id).map(|_| id.to_owned()),
            Kind::Bucket => self.tenant.planner(Kind::Bucket).parent(id).map(str::to_owned),
            _ => self.tenant.planner(Kind::Task).parent(id).map(str::to_owned),
        }
    }

    /// Checks that the resource exists and that the token's user may see its plan.
    fn find_allowed(&self, kind: Kind, id: &str) -> Result<String, GraphError> {
        if !fields::is_planner_id(id) {
            return Err(GraphError::planner(format!(
                "The id '{id}' is not a valid Planner id: 28 characters, case-sensitive."
            )));
        }
        let plan = self.plan_of(kind, id).ok_or_else(GraphError::not_found)?;
        self.admit(&plan)?;
        Ok(plan)
    }

    /// A user may see plans of groups they are a member of (owning is not enough) and plans shared with them.
    fn admit(&self, plan: &str) -> Result<(), GraphError> {
        match self.call.user() {
            Some(user) if !self.shared_with(plan, user) => Err(GraphError::new(
                403,
                "Forbidden",
                "You do not have the required permissions to access this item: the signed-in user is not a member of the plan's group.",
            )),
            _ => Ok(()),
        }
    }

    fn shared_with(&self, plan: &str, user: &str) -> bool {
        let group = self.tenant.group_of_plan(plan).unwrap_or_default();
        self.tenant.is_member(group, user)
            || self
                .tenant
                .planner(Kind::PlanDetails)
                .get(plan)
                .is_some_and(|d| d.object().get("sharedWith").and_then(|s| s.get(user)) == Some(&Value::Bool(true)))
    }

    fn read(&self, kind: Kind, id: &str, context: &str) -> Outcome {
        self.find_allowed(kind, id)?;
        let entity = self.tenant.planner(kind).get(id).ok_or_else(GraphError::not_found)?;
        Ok(self.call.planner(200, kind, entity, context))
    }

    /// The answer to a creation: 201 with the resource and its ETag.
    fn created(&self, kind: Kind, id: &str, context: &str) -> Outcome {
        let entity = self.tenant.planner(kind).get(id).ok_or_else(GraphError::not_found)?;
        let location = format!("{}/{}('{id}')", self.call.root, context.trim_end_matches("/$entity"));
        Ok(self.call.planner(201, kind, entity, context).with("location", location))
    }

    fn planner_of(&self, collection: &str, key: &str) -> Outcome {
        let id = if collection == "groups" {
            self.tenant.groups.get(key).map(|_| key.to_owned())
        } else {
            self.tenant.find_user(key).map(|(id, _)| id)
        };
        let id = id.ok_or_else(|| GraphError::no_resource(key))?;
        Ok(Answer::json(
            200,
            &json!({"@odata.context": self.call.context(&format!("{collection}('{id}')/planner/$entity")), "id": id}),
        ))
    }

    /// One page of a list. The page token is the place of the last item in the order of creation, so that
    /// items created or deleted meanwhile shift nothing.
    fn page(&self, kind: Kind, items: Vec<(u64, String, Entity)>, context: &str) -> Outcome {
        let after = match self.call.query.get("$skiptoken") {
            None => 0,
            Some(token) => token
                .strip_prefix("after-")
                .and_then(|n| n.parse::<u64>().ok())
                .ok_or_else(|| GraphError::planner("The skip token is not valid."))?,
        };
        let size = self.rules.page_size.max(1);
        let mut rest = items.into_iter().filter(|(order, _, _)| *order > after);
        let shown: Vec<_> = rest.by_ref().take(size).collect();
        let select = self.call.query.select();
        let mut body = format!(
            "{{\"@odata.context\":{},\"@odata.count\":{}",
            Value::String(self.call.context(context)),
            shown.len()
        );
        if let (Some(_), Some((last, _, _))) = (rest.next(), shown.last()) {
            body.push_str(&format!(",\"@odata.nextLink\":{}", Value::String(self.next_link(*last))));
        }
        body.push_str(",\"value\":[");
        for (i, (_, _, entity)) in shown.iter().enumerate() {
            if i > 0 {
                body.push(',');
            }
            match &select {
                None => body.push_str(&entity.with_etag(kind)),
                Some(names) => {
                    let mut object = self.call.pick(&entity.object(), names);
                    object.shift_insert(0, "@odata.etag".to_owned(), super::etag::write(kind, entity.version()).into());
                    body.push_str(&Value::Object(object).to_string());
                }
            }
        }
        body.push_str("]}");
        Ok(Answer::text(200, body))
    }

    fn next_link(&self, last: u64) -> String {
        let path = self.call.target.split('?').next().unwrap_or_default();
        let mut query = url::form_urlencoded::Serializer::new(String::new());
        for (name, value) in &self.call.query.0 {
            if !name.to_ascii_lowercase().contains("skiptoken") {
                query.append_pair(name, value);
            }
        }
        let kept = query.append_pair("$skiptoken", &format!("after-{last}")).finish().replace("%24", "$");
        format!("{}{path}?{kept}", self.call.root)
    }
}

/// Who acts, as Planner notes it in createdBy, completedBy, assignedBy and lastModifiedBy.
fn actor(call: &Call) -> Value {
    let application = json!({"displayName": null, "id": call.claims.client_id});
    match call.user() {
        Some(user) => json!({"user": {"displayName": null, "id": user}, "application": application}),
        None => json!({"application": application}),
    }
}

/// Parses `object[name]` as text.
fn string<'a>(object: &'a Object, name: &str) -> Option<&'a str> {
    object.get(name).and_then(Value::as_str)
}
