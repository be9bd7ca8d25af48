//! The audit log, for the operator of the deployment.

use axum::extract::State as Shared;

use serde_json::json;

use super::State;
use super::extract::{Query, Shown};
use super::operation::{ANY, Operation, Place, Tag};
use super::problem::Problem;
use super::route::{Need, Route};
use super::tasks::TASK;
use crate::auth::Caller;
use crate::services::audit::{AuditPage, AuditQuery, Visible};

/// The route.
pub fn routes() -> Vec<Route> {
    let entry = json!({
        "id": "01kb4t7x2m0000000000000000", "at": "2026-11-21T09:30:00Z", "caller": "key:1a2b3c4d", "kind": "api_key",
        "operation": "delete_task", "writes": true, "target": { "task_id": TASK }, "outcome": "ok", "ms": 41,
    });
    let described = Operation::new(Tag::Operation, "get_audit", "Say who did what on a day, the oldest first")
        .parameters::<AuditQuery>(Place::Query)
        .answers::<AuditPage>(json!({ "entries": [entry], "complete": true }))
        .problems(ANY);
    vec![Route::get("/api/audit", Need::Operator, list).described(described)]
}

/// `GET /api/audit?day=&caller=&operation=&limit=&cursor=`
///
/// An operator who may touch only some plans sees what names these alone.
async fn list(
    Shared(state): Shared<State>,
    caller: Caller,
    Query(query): Query<AuditQuery>,
) -> Result<Shown<AuditPage>, Problem> {
    let visible = match state.services.planner.visible_plans(&caller).await? {
        None => Visible::All,
        Some(plans) => Visible::Plans(plans),
    };
    Ok(Shown(state.services.audit.list(&query, &visible).await?))
}
