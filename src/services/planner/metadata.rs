//! What things are called: users, groups, plans and tasks by id.

use serde_json::Value;

use super::Planner;
use super::plan::group_of;
use crate::auth::Caller;
use crate::error::ErrorCode;
use crate::ids::GroupId;
use crate::services::Error;
use crate::services::directory::Metadata;

impl Planner {
    /// Says what a user, group, plan or task is called. Users and groups are remembered; plans and tasks are answered by
    /// their replica.
    ///
    /// # Errors
    /// When the kind is unknown or there is no such thing.
    pub async fn metadata(&self, caller: &Caller, kind: &str, id: &str) -> Result<Metadata, Error> {
        // A group may have been remembered by a deployment that served more groups.
        let served = kind != "group"
            || GroupId::parse(&id.trim().to_lowercase()).is_ok_and(|group| self.catalog.serves_group(&group));
        let look_up = self.look_up(caller, kind, id);
        if served && caller.plan_scope.is_everywhere() {
            return self.directory.metadata.remembered(kind, id, look_up).await;
        }
        look_up.await
    }

    /// Looks a thing up.
    ///
    /// # Errors
    /// When the kind is unknown or there is no such thing.
    async fn look_up(&self, caller: &Caller, kind: &str, id: &str) -> Result<Metadata, Error> {
        let details = |value: serde_json::Result<Value>| value.unwrap_or_default();
        let answer = |id: String, name: String, details: Value| Metadata { kind: kind.to_owned(), id, name, details };
        match kind {
            "user" => {
                let person = self.person(caller, None, id).await?;
                Ok(answer(person.id.to_string(), person.name.clone(), details(serde_json::to_value(person.as_ref()))))
            }
            "plan" => {
                let plan = self.get_plan(caller, Some(id), None).await?;
                Ok(answer(plan.id.clone(), plan.title.clone(), details(serde_json::to_value(&plan))))
            }
            "task" => {
                let task = self.get_task(caller, id, None).await?;
                Ok(answer(task.id.clone(), task.title.clone(), details(serde_json::to_value(&task))))
            }
            "group" => {
                let listing = self.catalog.list(&caller.plan_scope, false).await?;
                let group = group_of(&listing, id)?;
                let plans: Vec<_> = listing.plans.iter().filter(|plan| plan.group.as_ref() == Some(&group)).collect();
                let Some(first) = plans.first() else {
                    return Err(Error::new(ErrorCode::TeamNotFound, format!("no group `{id}` with plans is known")));
                };
                let name = first.group_name.clone().unwrap_or_default();
                let group = first.group.as_ref().map(ToString::to_string).unwrap_or_default();
                let plans: Vec<Value> =
                    plans.iter().map(|plan| serde_json::json!({"id": plan.id, "title": plan.title})).collect();
                Ok(answer(group, name, serde_json::json!({"plans": plans})))
            }
            other => {
                Err(Error::invalid(format!("`{other}` is no kind of thing")).hint("use user, group, plan or task"))
            }
        }
    }
}
