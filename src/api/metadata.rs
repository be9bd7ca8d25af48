//! What things are called.

use std::sync::Arc;

use axum::extract::State as Shared;
use serde::Deserialize;

use super::extract::{Query, Shown};
use super::problem::Problem;
use crate::auth::Caller;
use crate::services::metadata::{Cache, Metadata};
use crate::services::planner::Planner;

/// Which thing.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Which {
    #[serde(rename = "type")]
    kind: String,
    id: String,
}

/// `GET /api/metadata?type=user|group|plan|task&id=`
pub async fn show(
    Shared(planner): Shared<Arc<Planner>>,
    Shared(cache): Shared<Arc<Cache>>,
    caller: Caller,
    Query(which): Query<Which>,
) -> Result<Shown<Metadata>, Problem> {
    Ok(Shown(cache.lookup(&planner, &caller, &which.kind, &which.id).await?))
}
