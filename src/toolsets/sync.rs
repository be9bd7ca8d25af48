//! Tools on the replica's sync state: what waits, what has happened, what was decided.

use schemars::JsonSchema;
use serde::Deserialize;

use crate::services::Error;
use crate::services::events::{ChangePage, StatusQuery, SyncStatus};
use crate::services::planner::TaskReceipt;
use crate::toolsets::tool::{Context, Effect, READ_TASKS, Tool, WRITE_TASKS};
use crate::toolsets::{Presence, Toolset};

/// The toolset.
pub fn toolset() -> Toolset {
    let tools = vec![
        Tool::new(
            "sync_status",
            "Say what has yet to reach Planner, which plans are stopped and why, and which conflicts were decided.",
            Effect::Reads,
            READ_TASKS,
            sync_status,
        ),
        Tool::new(
            "get_changes",
            "List what people and agents changed since a cursor. Without one: where to start from.",
            Effect::Reads,
            READ_TASKS,
            get_changes,
        ),
        Tool::new(
            "resolve_conflict",
            "Put the losing value of a conflict back into its task, in Planner too; a task that is gone is created again.",
            Effect::Changes,
            WRITE_TASKS,
            resolve_conflict,
        ),
    ];
    Toolset {
        name: "sync",
        description: "What waits for Planner, what has changed, what was decided",
        instructions: "Follow: get_changes shows what others did since your cursor; sync_status what is still on its way.",
        presence: Presence::Listed,
        tools,
        aliases: &[],
        resources: Vec::new(),
        completions: Vec::new(),
        prompts: &[],
    }
}

async fn sync_status(context: Context, query: StatusQuery) -> Result<SyncStatus, Error> {
    context.services.events.status(&context.caller, &query).await
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct GetChanges {
    /// Plan id or title; all plans in use if omitted
    plan_id: Option<String>,
    /// From the previous call
    cursor: Option<String>,
    /// planner (people) or agent
    side: Option<String>,
    /// Changes wanted (100)
    #[schemars(range(min = 1, max = 500))]
    limit: Option<u32>,
}

async fn get_changes(context: Context, arguments: GetChanges) -> Result<ChangePage, Error> {
    let GetChanges { plan_id, cursor, side, limit } = arguments;
    let (plan, cursor) = (plan_id.as_deref(), cursor.as_deref());
    context.services.events.changes(&context.caller, plan, cursor, side.as_deref(), limit).await
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct ResolveConflict {
    /// Id from sync_status
    conflict_id: String,
}

async fn resolve_conflict(context: Context, arguments: ResolveConflict) -> Result<TaskReceipt, Error> {
    context.services.planner.restore(&context.caller, &arguments.conflict_id).await
}
