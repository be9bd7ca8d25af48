//! What things are called: users, groups, plans and tasks by id, from what GraphGate remembers.

use std::sync::Arc;

use serde::Serialize;
use serde_json::Value;

use super::Error;
use super::planner::Planner;
use crate::auth::Caller;
use crate::error::ErrorCode;

/// A thing and what it is called.
#[derive(Debug, Clone, Serialize)]
pub struct Metadata {
    /// `user`, `group`, `plan` or `task`.
    #[serde(rename = "type")]
    pub kind: String,
    /// Its id.
    pub id: String,
    /// What it is called.
    pub name: String,
    /// What else is known.
    pub details: Value,
}

/// Looks a thing up.
///
/// # Errors
/// When the kind is unknown or there is no such thing.
pub async fn lookup(planner: &Arc<Planner>, caller: &Caller, kind: &str, id: &str) -> Result<Metadata, Error> {
    let details = |value: serde_json::Result<Value>| value.unwrap_or_default();
    let answer = |id: String, name: String, details: Value| Metadata { kind: kind.to_owned(), id, name, details };
    match kind {
        "user" => {
            let person = planner.people().resolve(id).await?;
            Ok(answer(person.id.to_string(), person.name.clone(), details(serde_json::to_value(person.as_ref()))))
        }
        "plan" => {
            let plan = planner.get_plan(caller, Some(id), None).await?;
            Ok(answer(plan.id.clone(), plan.title.clone(), details(serde_json::to_value(&plan))))
        }
        "task" => {
            let task = planner.get_task(caller, id, None).await?;
            Ok(answer(task.id.clone(), task.title.clone(), details(serde_json::to_value(&task))))
        }
        "group" => {
            let listing = planner.catalog().list(&caller.reach, false).await?;
            let of_group = |plan: &&super::planner::PlanEntry| {
                plan.group.as_ref().is_some_and(|group| group.as_str() == id)
                    || plan.group_name.as_deref().is_some_and(|name| super::planner::words::same_name(name, id))
            };
            let plans: Vec<_> = listing.plans.iter().filter(of_group).collect();
            let Some(first) = plans.first() else {
                return Err(Error::new(ErrorCode::TeamNotFound, format!("no group `{id}` with plans is known")));
            };
            let name = first.group_name.clone().unwrap_or_default();
            let group = first.group.as_ref().map(ToString::to_string).unwrap_or_default();
            let plans: Vec<Value> =
                plans.iter().map(|plan| serde_json::json!({"id": plan.id, "title": plan.title})).collect();
            Ok(answer(group, name, serde_json::json!({"plans": plans})))
        }
        other => Err(Error::invalid(format!("`{other}` is no kind of thing")).hint("use user, group, plan or task")),
    }
}
