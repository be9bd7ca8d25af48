//! The replica's sync state, what has happened and was decided, and what a person may do about it.

use std::sync::Arc;

use axum::Extension;
use axum::extract::State as Shared;
use axum::http::StatusCode;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Value, json};

use super::extract::{Id, Json, NoQuery, Query, Shown, Writer};
use super::once::Again;
use super::operation::{ACCEPTED, GRAPH, Operation, Place, Tag, WRITE, WRITE_BODY};
use super::problem::Problem;
use super::route::{Need, Route};
use super::tasks::{TASK, receipt};
use crate::auth::Caller;
use crate::services::events::{Events, LogPage, LogQuery};
use crate::services::planner::{
    ConflictList, ConflictQuery, PlanRefresh, Planner, RefreshReport, RefreshRequest, Replay, Replayed, SyncHealth,
    SyncOutcome, TaskReceipt,
};

/// The toolset that the replica's state belongs to.
const TOOLSET: &str = "planner";
const PLAN: &str = "xqQg5FS2LkCp935s-FIFm2QAFkHM";
const CONFLICT: &str = "1795511400000-c4tz8k2m9x0q1w-0a1b2c3d4e5f";
const WHEN: &str = "2026-11-25T15:00:00Z";

/// Where plans are read from Planner now.
const REFRESH: &str = "/api/planner/refresh";

/// The routes.
pub fn routes() -> Vec<Route> {
    [of_reading(), of_acting()].into_iter().flatten().collect()
}

fn of_reading() -> Vec<Route> {
    let reads = Need::Reads(TOOLSET);
    let plan = json!({
        "plan_id": PLAN, "plan": "Website relaunch", "status": "up_to_date", "as_of": WHEN,
        "tasks": 200, "pending": 0, "working": false,
    });
    let conflict = json!({
        "id": CONFLICT, "at": WHEN, "plan_id": PLAN, "task_id": TASK,
        "title": "Publish the price list", "kind": "both_changed", "field": "title",
        "base": "Price list", "agent": "Publish prices", "planner": "Publish the price list", "winner": "planner",
        "reason": "both sides changed the field",
    });
    let summary = "Show the sync state of the plans, and what to do where one is stopped";
    let health_said = Operation::new(Tag::Sync, "get_sync_health", summary)
        .parameters::<OnePlan>(Place::Query)
        .answers::<SyncHealth>(json!({ "status": "up_to_date", "plans": [plan] }))
        .problems(GRAPH);
    let logged = Operation::new(Tag::Sync, "get_sync_log", "List what has happened, the newest first")
        .parameters::<LogQuery>(Place::Query)
        .answers::<LogPage>(json!({ "events": [event()], "complete": true, "as_of": WHEN }))
        .problems(GRAPH);
    let summary = "List what was decided between two values, the newest first";
    let decided = Operation::new(Tag::Sync, "list_conflicts", summary)
        .parameters::<ConflictQuery>(Place::Query)
        .answers::<ConflictList>(json!({ "conflicts": [conflict], "complete": true, "as_of": WHEN }))
        .problems(GRAPH);
    vec![
        Route::get("/api/sync/health", reads, health).described(health_said),
        Route::get("/api/sync/log", reads, log).described(logged),
        Route::get("/api/sync/conflicts", reads, conflicts).described(decided),
    ]
}

fn of_acting() -> Vec<Route> {
    let writes = Need::Writes(TOOLSET);
    let refreshed = |changed: u32, removed: u32| json!({ "plan_id": PLAN, "plan": "Website relaunch", "changed": changed, "removed": removed, "held_back": 0 });
    let restored = Operation::new(Tag::Sync, "restore_conflict", "Put the losing value of a conflict back")
        .more("As an edit like any other; once for each conflict. A task that is gone is created again.")
        .parameters::<Conflict>(Place::Path)
        .answers::<TaskReceipt>(receipt("synced"))
        .answers_with::<TaskReceipt>(202, ACCEPTED, receipt("pending"))
        .problems(WRITE);
    let confirmed = Operation::new(Tag::Sync, "confirm_plan", "Follow a mass deletion or change that was held back")
        .parameters::<Plan>(Place::Path)
        .answers::<PlanRefresh>(refreshed(0, 120))
        .problems(WRITE);
    let replayed = json!({ "plan_id": PLAN, "plan": "Website relaunch", "arrived": 3, "refused": 0, "pending": 0 });
    let tried = Operation::new(Tag::Sync, "replay", "Try again now what has yet to reach Planner")
        .more("Pauses between tries end, but for those Planner asked for. `refused` writes again too what it had refused for good.")
        .takes::<Replay>(json!({ "plan_id": "Website relaunch" }))
        .answers::<Replayed>(json!({ "plans": [replayed], "reminders": 0 }))
        .problems(WRITE_BODY);
    let refreshed = Operation::new(Tag::Sync, "refresh_plans", "Read plans from Planner now")
        .more("For a caller that sees a change first, such as a Power Automate flow. Name a plan, a group or a task.")
        .takes::<RefreshRequest>(json!({ "plan": "Website relaunch" }))
        .answers::<RefreshReport>(json!({ "plans": [refreshed(1, 0)] }))
        .problems(WRITE_BODY);
    vec![
        Route::post("/api/sync/conflicts/{id}/restore", writes, restore).naming("conflict_id").described(restored),
        Route::post("/api/sync/plans/{id}/confirm", writes, confirm).naming("plan_id").described(confirmed),
        Route::post("/api/sync/replay", writes, replay).described(tried),
        Route::post(REFRESH, writes, refresh).described(refreshed),
        Route::post("/api/planner/nudge", writes, refresh).replaced_by(REFRESH),
    ]
}

/// An event in examples.
pub fn event() -> Value {
    json!({
        "event": "updated", "at": WHEN, "plan_id": PLAN, "plan": "Website relaunch",
        "task_id": TASK, "title": "Publish the price list", "fields": ["percent_complete"], "percent_complete": 100,
        "side": "planner",
    })
}

/// What the path of a conflict names.
#[derive(JsonSchema)]
#[allow(dead_code)] // read by the document alone
struct Conflict {
    /// The conflict's id
    #[schemars(example = CONFLICT)]
    id: String,
}

/// What the path of a plan names.
#[derive(JsonSchema)]
#[allow(dead_code)] // read by the document alone
struct Plan {
    /// The plan's id or title
    #[schemars(example = PLAN)]
    id: String,
}

/// Which plan is meant.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct OnePlan {
    /// Plan id or title; all plans in use if omitted
    plan_id: Option<String>,
}

/// `GET /api/sync/health`
async fn health(
    Shared(planner): Shared<Arc<Planner>>,
    caller: Caller,
    Query(OnePlan { plan_id }): Query<OnePlan>,
) -> Result<Shown<SyncHealth>, Problem> {
    Ok(Shown(planner.sync_health(&caller, plan_id.as_deref()).await?))
}

/// `GET /api/sync/log`
async fn log(
    Shared(events): Shared<Arc<Events>>,
    caller: Caller,
    Query(query): Query<LogQuery>,
) -> Result<Shown<LogPage>, Problem> {
    Ok(Shown(events.log(&caller, &query).await?))
}

/// `GET /api/sync/conflicts`
async fn conflicts(
    Shared(planner): Shared<Arc<Planner>>,
    caller: Caller,
    Query(query): Query<ConflictQuery>,
) -> Result<Shown<ConflictList>, Problem> {
    Ok(Shown(planner.conflicts(&caller, &query).await?))
}

/// `POST /api/sync/conflicts/{id}/restore`: 200 once Planner has the value, 202 while it is on its way.
async fn restore(
    Shared(planner): Shared<Arc<Planner>>,
    Writer(caller): Writer,
    again: Option<Extension<Again>>,
    Id(id): Id,
    _: NoQuery,
) -> Result<(StatusCode, Shown<TaskReceipt>), Problem> {
    let done = if again.is_some() { planner.restored_before(&caller, &id).await? } else { None };
    let receipt = match done {
        Some(receipt) => receipt,
        None => planner.restore(&caller, &id).await?,
    };
    let status = if receipt.sync == SyncOutcome::Pending { StatusCode::ACCEPTED } else { StatusCode::OK };
    Ok((status, Shown(receipt)))
}

/// `POST /api/sync/plans/{id}/confirm`
async fn confirm(
    Shared(planner): Shared<Arc<Planner>>,
    Writer(caller): Writer,
    Id(id): Id,
    _: NoQuery,
) -> Result<Shown<PlanRefresh>, Problem> {
    Ok(Shown(planner.confirm(&caller, &id).await?))
}

/// `POST /api/sync/replay`
async fn replay(
    Shared(planner): Shared<Arc<Planner>>,
    Writer(caller): Writer,
    _: NoQuery,
    Json(replay): Json<Replay>,
) -> Result<Shown<Replayed>, Problem> {
    Ok(Shown(planner.replay(&caller, &replay).await?))
}

/// `POST /api/planner/refresh`: it changes nothing in Planner, so a read-only server does it too.
async fn refresh(
    Shared(planner): Shared<Arc<Planner>>,
    caller: Caller,
    _: NoQuery,
    Json(request): Json<RefreshRequest>,
) -> Result<Shown<RefreshReport>, Problem> {
    Ok(Shown(planner.refresh_now(&caller, &request).await?))
}
