//! Tools on tasks.

use schemars::JsonSchema;
use serde::Deserialize;

use crate::services::Error;
use crate::services::arguments::Item;
use crate::services::planner::input::{CreateTask, QueryTasks, UpdateTask};
use crate::services::planner::{BulkReceipt, Removed, TaskPage, TaskReceipt, TaskView, UndoReceipt};
use crate::toolsets::tool::{Context, Effect, READ_TASKS, Tool, WRITE_TASKS};

/// The tools.
pub fn all() -> Vec<Tool> {
    vec![
        Tool::new(
            "query_tasks",
            "Find tasks by any filters. Says `complete`, or gives a `cursor` for the rest.",
            Effect::Reads,
            READ_TASKS,
            query_tasks,
        ),
        Tool::new(
            "get_task",
            "Show a task with description, checklist and references.",
            Effect::Reads,
            READ_TASKS,
            get_task,
        ),
        Tool::new(
            "create_task",
            "Create a task. `sync` says whether Planner has it already (synced) or will get it (pending).",
            Effect::Adds,
            WRITE_TASKS,
            create_task,
        ),
        Tool::new(
            "update_task",
            "Change the fields you name, nothing else; complete a task with status completed.",
            Effect::Changes,
            WRITE_TASKS,
            update_task,
        ),
        Tool::new(
            "move_task",
            "Move a task to another bucket or plan, or to a place in its bucket.",
            Effect::Changes,
            WRITE_TASKS,
            move_task,
        ),
        Tool::new("delete_task", "Delete a task.", Effect::Removes, WRITE_TASKS, delete_task),
        Tool::new(
            "bulk_create_tasks",
            "Create up to 500 tasks in a plan.",
            Effect::Adds,
            WRITE_TASKS,
            bulk_create_tasks,
        ),
        Tool::new(
            "bulk_update_tasks",
            "Change up to 500 tasks: complete, assign, move, relabel.",
            Effect::Changes,
            WRITE_TASKS,
            bulk_update_tasks,
        ),
        Tool::new(
            "undo_changes",
            "Undo your own last changes of tasks, where nobody has changed the same since.",
            Effect::Reverts,
            WRITE_TASKS,
            undo_changes,
        ),
    ]
}

async fn query_tasks(context: Context, arguments: QueryTasks) -> Result<TaskPage, Error> {
    context.services.planner.query(&context.caller, &arguments).await
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct GetTask {
    /// Task id
    task_id: String,
    /// Ask Planner first
    fresh: Option<bool>,
}

async fn get_task(context: Context, arguments: GetTask) -> Result<TaskView, Error> {
    context.services.planner.get_task(&context.caller, &arguments.task_id, arguments.fresh).await
}

async fn create_task(context: Context, arguments: CreateTask) -> Result<TaskReceipt, Error> {
    context.services.planner.create_task(&context.caller, &arguments).await
}

async fn update_task(context: Context, arguments: UpdateTask) -> Result<TaskReceipt, Error> {
    context.services.planner.update_task(&context.caller, &arguments).await
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[allow(clippy::struct_field_names)] // the names are the tool's arguments
struct MoveTask {
    /// Task id
    task_id: String,
    /// Bucket id or name
    #[serde(alias = "target_bucket_id")]
    bucket_id: Option<String>,
    /// Plan id or title, to move to another plan
    plan_id: Option<String>,
    /// Task it stands behind, `first` or `last`
    after: Option<String>,
}

async fn move_task(context: Context, arguments: MoveTask) -> Result<TaskReceipt, Error> {
    let MoveTask { task_id, bucket_id, plan_id, after } = arguments;
    let (planner, bucket, plan) = (&context.services.planner, bucket_id.as_deref(), plan_id.as_deref());
    match after {
        Some(after) => planner.move_to_place(&context.caller, &task_id, bucket, plan, &after).await,
        None => planner.move_task(&context.caller, &task_id, bucket, plan).await,
    }
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct DeleteTask {
    /// Task id
    task_id: String,
}

async fn delete_task(context: Context, arguments: DeleteTask) -> Result<Removed, Error> {
    context.services.planner.delete_task(&context.caller, &arguments.task_id).await
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct BulkCreate {
    /// Plan id or title
    plan_id: Option<String>,
    /// Tasks, with all fields of create_task
    #[schemars(with = "Vec<NewTask>")]
    tasks: Vec<Item<CreateTask>>,
    /// Same key, same tasks: safe to repeat for 24 h
    idempotency_key: Option<String>,
}

async fn bulk_create_tasks(context: Context, arguments: BulkCreate) -> Result<BulkReceipt, Error> {
    let BulkCreate { plan_id, tasks, idempotency_key } = arguments;
    let progress = context.progress.as_ref();
    context
        .services
        .planner
        .bulk_create(&context.caller, plan_id.as_deref(), &tasks, idempotency_key.as_deref(), progress)
        .await
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct BulkUpdate {
    /// Changes, with all fields of update_task
    #[schemars(with = "Vec<TaskChange>")]
    updates: Vec<Item<UpdateTask>>,
}

async fn bulk_update_tasks(context: Context, arguments: BulkUpdate) -> Result<BulkReceipt, Error> {
    context.services.planner.bulk_update(&context.caller, &arguments.updates, context.progress.as_ref()).await
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct UndoChanges {
    /// How many, the newest first (1)
    #[schemars(range(min = 1, max = 20))]
    last: Option<u32>,
    /// Or these: ids from get_changes
    changes: Option<Vec<String>>,
}

async fn undo_changes(context: Context, arguments: UndoChanges) -> Result<UndoReceipt, Error> {
    context.services.planner.undo_changes(&context.caller, arguments.last, arguments.changes.as_deref()).await
}

/// The main fields of `create_task` in the schema of many: to describe all of them twice would cost every conversation.
#[derive(JsonSchema)]
#[allow(dead_code)]
struct NewTask {
    title: String,
    bucket_id: Option<String>,
    assignee_ids: Option<Vec<String>>,
    due_date: Option<String>,
    priority: Option<String>,
}

/// The main fields of `update_task`, as [`NewTask`].
#[derive(JsonSchema)]
#[allow(dead_code)]
struct TaskChange {
    task_id: String,
    status: Option<String>,
    bucket_id: Option<String>,
    due_date: Option<String>,
    add_assignees: Option<Vec<String>>,
}
