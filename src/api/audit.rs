//! The audit log, for whoever runs the deployment.

use axum::Json;
use axum::extract::State as Shared;

use super::State;
use super::extract::Query;
use super::problem::Problem;
use crate::services::audit::{AuditPage, AuditQuery};

/// `GET /api/audit?day=&caller=&operation=&limit=&cursor=`
pub async fn list(Shared(state): Shared<State>, Query(query): Query<AuditQuery>) -> Result<Json<AuditPage>, Problem> {
    Ok(Json(state.audit.list(&query).await?))
}
