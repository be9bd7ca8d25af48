//! Where clients that hold no token learn whom to ask for one (RFC 9728).

use axum::extract::State as Shared;
use serde_json::Value;

use super::State;
use super::extract::Shown;
use super::problem::Problem;
use super::route::{Need, Route};
use crate::error::ErrorCode;
use crate::services::Error;

/// The routes. They are for clients of MCP, which know them.
pub fn routes() -> Vec<Route> {
    ["/.well-known/oauth-protected-resource", "/.well-known/oauth-protected-resource/mcp"]
        .map(|path| Route::get(path, Need::Nothing, resource))
        .into()
}

/// `GET /.well-known/oauth-protected-resource` and, as clients ask for a resource with a path, the same with `/mcp`.
async fn resource(Shared(state): Shared<State>) -> Result<Shown<Value>, Problem> {
    let missing = || Error::new(ErrorCode::NotFound, "this deployment takes no tokens of Entra");
    Ok(Shown(state.gate.resource_metadata().ok_or_else(missing)?))
}
