//! Names in settings that only the tenant can know: the default plan, groups and people to watch.

use super::Check;
use crate::config::Config;
use crate::graph::{self, Call, Identity};
use crate::services::names::same_name;
use crate::services::subscriptions::Kind;

/// Whether the plan meant when a call names none exists; nothing where none is named.
pub(super) async fn default_plan(graph: &graph::Client, config: &Config) -> Option<Check> {
    let name = config.planner.scope.default_plan.as_deref()?;
    let call = Call::interactive(Identity::Application);
    let failed = |error: graph::Error| Check::failed("default_plan", error.to_string(), "check the permissions");
    let groups = match graph.list_groups(&call).await {
        Ok(groups) => groups,
        Err(error) => return Some(failed(error)),
    };
    let mut found = 0;
    for group in groups {
        let Ok(plans) = graph.list_group_plans(&call, &group.id).await else { continue };
        found += plans.iter().filter(|plan| plan.id.as_str() == name || same_name(&plan.title, name)).count();
    }
    Some(match found {
        1 => Check::ok("default_plan", format!("`{name}`")),
        0 => Check::failed(
            "default_plan",
            format!("no plan has the id or the title `{name}`"),
            "correct `DEFAULT_PLANNER_PLAN_ID`",
        ),
        _ => Check::failed(
            "default_plan",
            format!("{found} plans have the title `{name}`"),
            "put the id of one into `DEFAULT_PLANNER_PLAN_ID`",
        ),
    })
}

/// Whether the groups and people that `SUBSCRIPTIONS` names exist; nothing where it names none.
pub(super) async fn watched(graph: &graph::Client, config: &Config) -> Option<Check> {
    let specs = &config.subscriptions.specs;
    if specs.is_empty() {
        return None;
    }
    let call = Call::interactive(Identity::Application);
    let failed = |error: graph::Error| Some(Check::failed("subscriptions", error.to_string(), "check the permissions"));
    let groups = if specs.iter().any(|spec| spec.kind == Kind::Group) {
        match graph.list_groups(&call).await {
            Ok(groups) => groups,
            Err(error) => return failed(error),
        }
    } else {
        Vec::new()
    };
    let mut missing = Vec::new();
    for spec in specs {
        let Some(name) = spec.names.first() else { continue };
        let there = match spec.kind {
            Kind::Group => {
                Ok(groups.iter().any(|group| group.id.as_str() == name || same_name(&group.display_name, name)))
            }
            Kind::User | Kind::Mail | Kind::Events | Kind::Contacts | Kind::Todo => {
                graph.get_user(&call, name).await.map(|user| user.is_some())
            }
            _ => continue,
        };
        match there {
            Ok(true) => {}
            Ok(false) => missing.push(format!("`{name}`")),
            Err(error) => return failed(error),
        }
    }
    Some(if missing.is_empty() {
        Check::ok("subscriptions", format!("{} watched", specs.len()))
    } else {
        Check::failed("subscriptions", format!("not in the tenant: {}", missing.join(", ")), "correct `SUBSCRIPTIONS`")
    })
}
