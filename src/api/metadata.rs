//! What things are called.

use std::sync::Arc;

use axum::extract::State as Shared;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::json;

use super::extract::{Query, Shown};
use super::operation::{GRAPH, Operation, Place, Tag};
use super::problem::Problem;
use super::route::{Need, Route};
use crate::auth::Caller;
use crate::services::directory::Metadata;
use crate::services::planner::Planner;

const USER: &str = "6e7b768e-07e2-4810-8459-485f84f8f204";

/// The route.
pub fn routes() -> Vec<Route> {
    let details = json!({ "id": USER, "name": "Ada Lovelace", "upn": "ada@contoso.com" });
    let described = Operation::new(Tag::Metadata, "get_metadata", "Say what a user, group, plan or task is called")
        .parameters::<Which>(Place::Query)
        .answers::<Metadata>(json!({ "type": "user", "id": USER, "name": "Ada Lovelace", "details": details }))
        .problems(GRAPH);
    vec![Route::get("/api/metadata", Need::Reads("planner"), show).described(described)]
}

/// Which thing.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Which {
    #[serde(rename = "type")]
    #[schemars(extend("enum" = ["user", "group", "plan", "task"]))]
    kind: String,
    /// Id, or name where names are unique
    #[schemars(example = USER)]
    id: String,
}

/// `GET /api/metadata?type=user|group|plan|task&id=`
async fn show(
    Shared(planner): Shared<Arc<Planner>>,
    caller: Caller,
    Query(which): Query<Which>,
) -> Result<Shown<Metadata>, Problem> {
    Ok(Shown(planner.metadata(&caller, &which.kind, &which.id).await?))
}
