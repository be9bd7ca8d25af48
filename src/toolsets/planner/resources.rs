//! Plans, buckets, tasks and reports by address, and what completes their ids.

use serde_json::Value;

use crate::error::ErrorCode;
use crate::services::Error;
use crate::services::events::EventMessage;
use crate::services::names::{plain, same_name};
use crate::services::planner::input::QueryTasks;
use crate::services::planner::{BucketList, PlanItem, PlanList, PlanView, TaskPage, TaskView};
use crate::services::reports::model::Report;
use crate::text;
use crate::toolsets::resource::{Completion, Entry, Ids, Resource, Typed};
use crate::toolsets::tool::Context;

/// Tasks of a plan that one resource holds; the rest is reached with `query_tasks`.
const TASKS: u32 = 1000;
/// Plans listed one by one.
const PLANS: usize = 100;

/// The resources.
pub fn resources() -> Vec<Resource> {
    let plans = "planner://plans";
    let plan = "planner://plans/{plan_id}";
    let tasks = "planner://plans/{plan_id}/tasks";
    let task = "planner://plans/{plan_id}/tasks/{task_id}";
    let buckets = "planner://plans/{plan_id}/buckets";
    let report = "planner://reports/{report_id}";
    vec![
        Resource::new(plans, "plans", "The plans you may use", "list_plans", list_plans)
            .heard(|_, message| message.event.as_ref().is_none_or(|event| event.event == "plan_changed")),
        Resource::new(plan, "plan", "A plan's summary", "get_plan", get_plan)
            .listing(each_plan)
            .heard(|ids, message| shows(ids, message, |change| change.task.is_none() || change.counts)),
        Resource::new(tasks, "plan_tasks", "A plan's tasks", "query_tasks", list_tasks)
            .heard(|ids, message| shows(ids, message, |change| change.task.is_some() || change.is_of_plan)),
        Resource::new(task, "task", "A task in full", "get_task", get_task)
            .heard(|ids, message| shows(ids, message, |change| change.task == ids.get("task_id") || change.is_of_plan)),
        Resource::new(buckets, "plan_buckets", "A plan's buckets", "list_buckets", list_buckets)
            .heard(|ids, message| shows(ids, message, |change| change.is_of_plan || change.counts)),
        Resource::new(report, "report", "A report whole, all its tasks included", "generate_report", get_report),
    ]
}

/// What continues ids of plans, by id or title, and of the tasks of the plan named before.
pub fn completions() -> Vec<Completion> {
    vec![
        Completion::new(&["plan_id", "plan"], "list_plans", complete_plan),
        Completion::new(&["task_id"], "query_tasks", complete_task),
    ]
}

/// What an event says of a plan.
struct PlanChange<'a> {
    task: Option<&'a str>,
    /// Whether the plan itself changed: its title, labels or buckets.
    is_of_plan: bool,
    /// Whether it changes what summaries count.
    counts: bool,
}

/// Whether what happened was to the plan that ids name, and so that `matters` holds of it.
fn shows(ids: &Ids, message: &EventMessage, matters: impl Fn(&PlanChange<'_>) -> bool) -> bool {
    let plan = ids.of("plan_id");
    let title = message.event.as_ref().and_then(|event| event.plan.as_deref());
    if plan != message.plan_id && !title.is_some_and(|title| same_name(title, plan)) {
        return false;
    }
    let Some(event) = &message.event else { return true }; // events were missed: anything may have changed
    let counted = |field: &&str| matches!(*field, "bucket" | "percent_complete" | "due_date");
    matters(&PlanChange {
        task: event.task_id.as_deref(),
        is_of_plan: event.event == "plan_changed",
        counts: matches!(event.event, "created" | "deleted") || event.fields.iter().any(counted),
    })
}

async fn list_plans(context: Context, _: Ids) -> Result<PlanList, Error> {
    context.services.planner.list_plans(&context.caller, None, None).await
}

async fn each_plan(context: Context) -> Result<Vec<Entry>, Error> {
    let plans = context.services.planner.list_plans(&context.caller, None, None).await?.plans;
    let entry = |plan: PlanItem| Entry { uri: format!("planner://plans/{}", plan.id), title: text::line(&plan.title) };
    Ok(plans.into_iter().take(PLANS).map(entry).collect())
}

async fn get_plan(context: Context, ids: Ids) -> Result<PlanView, Error> {
    context.services.planner.get_plan(&context.caller, Some(ids.of("plan_id")), None).await
}

async fn list_buckets(context: Context, ids: Ids) -> Result<BucketList, Error> {
    context.services.planner.list_buckets(&context.caller, Some(ids.of("plan_id")), None).await
}

async fn list_tasks(context: Context, ids: Ids) -> Result<TaskPage, Error> {
    let plan_id = Some(ids.of("plan_id").to_owned());
    let query = QueryTasks { plan_id, limit: Some(TASKS), ..QueryTasks::default() };
    context.services.planner.query(&context.caller, &query).await
}

async fn get_task(context: Context, ids: Ids) -> Result<TaskView, Error> {
    let (plan, task) = (ids.of("plan_id"), ids.of("task_id"));
    let found = context.services.planner.get_task(&context.caller, task, None).await?;
    if found.plan_id != plan && found.plan != plan {
        let error = Error::new(ErrorCode::NotFound, format!("the plan `{plan}` has no task `{task}`"));
        return Err(error.hint(format!("the task is of the plan `{}`", found.plan_id)));
    }
    Ok(found)
}

async fn get_report(context: Context, ids: Ids) -> Result<Report, Error> {
    context.services.reports.report(&context.caller, ids.of("report_id")).await
}

async fn complete_plan(context: Context, typed: Typed) -> Vec<String> {
    let Ok(plans) = context.services.planner.list_plans(&context.caller, None, None).await else { return Vec::new() };
    let fits = |plan: &PlanItem| continues(&typed.text, &plan.id, &plan.title);
    plans.plans.into_iter().filter(fits).map(|plan| plan.id).collect()
}

async fn complete_task(context: Context, typed: Typed) -> Vec<String> {
    let fields = Some(vec!["id".to_owned(), "title".to_owned()]);
    let query = QueryTasks { plan_id: typed.plan, limit: Some(TASKS), fields, ..QueryTasks::default() };
    let page = context.services.planner.query(&context.caller, &query).await.ok();
    let rows = page.and_then(|page| page.rows).unwrap_or_default();
    let text = |row: &[Value], place: usize| row.get(place).and_then(Value::as_str).unwrap_or_default().to_owned();
    rows.iter()
        .map(|row| (text(row, 0), text(row, 1)))
        .filter(|(id, title)| continues(&typed.text, id, title))
        .map(|(id, _)| id)
        .collect()
}

/// Whether an id or a title continues what was typed.
fn continues(typed: &str, id: &str, title: &str) -> bool {
    let typed = plain(typed.trim());
    id.to_lowercase().starts_with(&*typed) || plain(title).contains(&*typed)
}

#[cfg(test)]
mod tests {
    use crate::toolsets::{all, resource};

    #[test]
    fn only_resources_that_change_can_be_listened_to() {
        let toolsets = all();
        let can_be_heard = |uri| resource::find(&toolsets, uri).is_some_and(|address| address.resource.can_be_heard());
        for uri in ["planner://plans", "planner://plans/p/tasks/t", "planner://plans/Q4%20launch"] {
            assert!(can_be_heard(uri), "{uri}");
        }
        for uri in ["planner://reports/r", "planner://plans/p/x", "planner://", "https://example.com"] {
            assert!(!can_be_heard(uri), "{uri}");
        }
    }
}
