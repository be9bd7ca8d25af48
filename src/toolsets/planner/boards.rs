//! Tools on plans and buckets.

use schemars::JsonSchema;
use serde::Deserialize;

use crate::services::Error;
use crate::services::planner::bucket::Contents;
use crate::services::planner::{BucketList, BucketView, PlanList, PlanView, Removed};
use crate::toolsets::tool::{Context, Effect, READ_TASKS, Tool, WRITE_TASKS};

/// The tools that read.
pub fn reading() -> Vec<Tool> {
    vec![
        Tool::new("list_plans", "List the plans you may use.", Effect::Reads, READ_TASKS, list_plans),
        Tool::new(
            "get_plan",
            "Summarise a plan: tasks by status, late ones, open ones by bucket, labels.",
            Effect::Reads,
            READ_TASKS,
            get_plan,
        ),
        Tool::new(
            "list_buckets",
            "List a plan's buckets (columns) in board order.",
            Effect::Reads,
            READ_TASKS,
            list_buckets,
        ),
    ]
}

/// The tools that write.
pub fn writing() -> Vec<Tool> {
    vec![
        Tool::new(
            "create_plan",
            "Create a plan in a group, with buckets. One of that title is answered as it is, and nothing is changed.",
            Effect::AddsOnce,
            WRITE_TASKS,
            create_plan,
        ),
        Tool::new("create_bucket", "Add a bucket to a plan.", Effect::AddsOnce, WRITE_TASKS, create_bucket),
        Tool::new("update_plan", "Rename a plan or name its labels.", Effect::Changes, WRITE_TASKS, update_plan),
        Tool::new("update_bucket", "Rename or move a bucket.", Effect::Changes, WRITE_TASKS, update_bucket),
        Tool::new(
            "delete_bucket",
            "Delete a bucket; one with tasks only if delete_tasks is true.",
            Effect::Removes,
            WRITE_TASKS,
            delete_bucket,
        ),
    ]
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct ListPlans {
    /// Group id or name
    group: Option<String>,
    /// Ask Planner first
    fresh: Option<bool>,
}

async fn list_plans(context: Context, arguments: ListPlans) -> Result<PlanList, Error> {
    context.services.planner.list_plans(&context.caller, arguments.group.as_deref(), arguments.fresh).await
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct OnePlan {
    /// Plan id or title
    plan_id: Option<String>,
    /// Ask Planner first
    fresh: Option<bool>,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct GetPlan {
    /// Plan id or title
    plan_id: Option<String>,
    /// IANA zone of the days
    time_zone: Option<String>,
    /// Ask Planner first
    fresh: Option<bool>,
}

async fn get_plan(context: Context, arguments: GetPlan) -> Result<PlanView, Error> {
    let GetPlan { plan_id, time_zone, fresh } = arguments;
    context.services.planner.get_plan_in(&context.caller, plan_id.as_deref(), fresh, time_zone.as_deref()).await
}

async fn list_buckets(context: Context, arguments: OnePlan) -> Result<BucketList, Error> {
    context.services.planner.list_buckets(&context.caller, arguments.plan_id.as_deref(), arguments.fresh).await
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct CreatePlan {
    /// Title
    title: String,
    /// Group id or name
    group_id: String,
    /// Names in order; `To do` if omitted
    buckets: Option<Vec<String>>,
}

async fn create_plan(context: Context, arguments: CreatePlan) -> Result<PlanView, Error> {
    let CreatePlan { title, group_id, buckets } = arguments;
    context.services.planner.create_plan(&context.caller, &title, &group_id, &buckets.unwrap_or_default()).await
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct CreateBucket {
    /// Plan id or title
    plan_id: Option<String>,
    /// Name
    name: String,
}

async fn create_bucket(context: Context, arguments: CreateBucket) -> Result<BucketView, Error> {
    context.services.planner.create_bucket(&context.caller, arguments.plan_id.as_deref(), &arguments.name).await
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct UpdateBucket {
    /// Plan id or title
    plan_id: Option<String>,
    /// Bucket id or name
    bucket_id: String,
    /// New name
    name: Option<String>,
    /// Bucket to stand behind, or first or last
    after: Option<String>,
}

async fn update_bucket(context: Context, arguments: UpdateBucket) -> Result<BucketView, Error> {
    let UpdateBucket { plan_id, bucket_id, name, after } = arguments;
    let (plan, name, after) = (plan_id.as_deref(), name.as_deref(), after.as_deref());
    context.services.planner.update_bucket(&context.caller, plan, &bucket_id, name, after).await
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct UpdatePlan {
    /// Plan id or title
    plan_id: Option<String>,
    /// New title
    title: Option<String>,
    /// Labels to name
    labels: Option<Vec<LabelName>>,
}

/// What a label is to be called; nothing takes its name away.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct LabelName {
    #[schemars(range(min = 1, max = 25))]
    number: u8,
    name: Option<String>,
}

async fn update_plan(context: Context, arguments: UpdatePlan) -> Result<PlanView, Error> {
    let UpdatePlan { plan_id, title, labels } = arguments;
    let labels = labels.unwrap_or_default().into_iter().map(|label| (label.number, label.name.unwrap_or_default()));
    let labels: Vec<_> = labels.collect();
    context.services.planner.update_plan(&context.caller, plan_id.as_deref(), title.as_deref(), &labels).await
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct DeleteBucket {
    /// Plan id or title
    plan_id: Option<String>,
    /// Bucket id or name
    bucket_id: String,
    /// Delete its tasks too
    delete_tasks: Option<bool>,
}

async fn delete_bucket(context: Context, arguments: DeleteBucket) -> Result<Removed, Error> {
    let DeleteBucket { plan_id, bucket_id, delete_tasks } = arguments;
    let contents = if delete_tasks == Some(true) { Contents::DeleteToo } else { Contents::MustBeEmpty };
    context.services.planner.delete_bucket(&context.caller, plan_id.as_deref(), &bucket_id, contents).await
}
