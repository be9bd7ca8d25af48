//! The audit log, for whoever runs the deployment.

use axum::extract::State as Shared;

use super::State;
use super::extract::{Query, Shown};
use super::problem::Problem;
use crate::auth::Caller;
use crate::services::audit::{AuditPage, AuditQuery, Visible};

/// `GET /api/audit?day=&caller=&operation=&limit=&cursor=`
///
/// An operator who may touch only some plans sees what names these alone.
pub async fn list(
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
