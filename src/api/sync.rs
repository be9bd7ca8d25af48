//! How the replica stands with Planner, what has happened and was decided, and what a person may do about it.

use std::sync::Arc;

use axum::Extension;
use axum::extract::State as Shared;
use axum::http::StatusCode;
use serde::Deserialize;

use super::extract::{Id, Json, NoQuery, Query, Shown, Writer};
use super::once::Again;
use super::problem::Problem;
use crate::auth::Caller;
use crate::services::events::{Events, LogPage, LogQuery};
use crate::services::planner::{
    ConflictList, ConflictQuery, Looked, LookedAt, Nudge, Planner, Replay, Replayed, SyncHealth, SyncOutcome,
    TaskReceipt,
};

/// Which plan is meant.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OnePlan {
    plan_id: Option<String>,
}

/// `GET /api/sync/health`
pub async fn health(
    Shared(planner): Shared<Arc<Planner>>,
    caller: Caller,
    Query(OnePlan { plan_id }): Query<OnePlan>,
) -> Result<Shown<SyncHealth>, Problem> {
    Ok(Shown(planner.sync_health(&caller, plan_id.as_deref()).await?))
}

/// `GET /api/sync/log`
pub async fn log(
    Shared(events): Shared<Arc<Events>>,
    caller: Caller,
    Query(query): Query<LogQuery>,
) -> Result<Shown<LogPage>, Problem> {
    Ok(Shown(events.log(&caller, &query).await?))
}

/// `GET /api/sync/conflicts`
pub async fn conflicts(
    Shared(planner): Shared<Arc<Planner>>,
    caller: Caller,
    Query(query): Query<ConflictQuery>,
) -> Result<Shown<ConflictList>, Problem> {
    Ok(Shown(planner.conflicts(&caller, &query).await?))
}

/// `POST /api/sync/conflicts/{id}/restore`: 200 once Planner has the value, 202 while it is on its way.
pub async fn restore(
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
pub async fn confirm(
    Shared(planner): Shared<Arc<Planner>>,
    Writer(caller): Writer,
    Id(id): Id,
    _: NoQuery,
) -> Result<Shown<LookedAt>, Problem> {
    Ok(Shown(planner.confirm(&caller, &id).await?))
}

/// `POST /api/sync/replay`
pub async fn replay(
    Shared(planner): Shared<Arc<Planner>>,
    Writer(caller): Writer,
    _: NoQuery,
    Json(replay): Json<Replay>,
) -> Result<Shown<Replayed>, Problem> {
    Ok(Shown(planner.replay(&caller, &replay).await?))
}

/// `POST /api/planner/nudge`: it changes nothing in Planner, so a read-only server does it too.
pub async fn nudge(
    Shared(planner): Shared<Arc<Planner>>,
    caller: Caller,
    _: NoQuery,
    Json(nudge): Json<Nudge>,
) -> Result<Shown<Looked>, Problem> {
    Ok(Shown(planner.nudge(&caller, &nudge).await?))
}
