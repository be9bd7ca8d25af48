//! Where clients that hold no token learn whom to ask for one (RFC 9728).

use axum::extract::State as Shared;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use serde_json::Value;

use super::extract::Shown;
use super::problem::Problem;
use super::route::{Need, Route};
use super::{State, oauth};
use crate::error::ErrorCode;
use crate::services::Error;

/// The routes. They are for clients of MCP, which know them.
pub fn routes() -> Vec<Route> {
    let paths = ["/.well-known/oauth-protected-resource", "/.well-known/oauth-protected-resource/mcp"];
    let routes =
        |path| [Route::get(path, Need::Nothing, resource), Route::options(path, Need::Nothing, oauth::preflight)];
    paths.into_iter().flat_map(routes).collect()
}

/// `GET /.well-known/oauth-protected-resource` and, as clients ask for a resource with a path, the same with `/mcp`.
async fn resource(Shared(state): Shared<State>) -> Result<Response, Problem> {
    let missing = || Error::new(ErrorCode::NotFound, "this deployment takes no tokens of Entra");
    let metadata: Shown<Value> = Shown(state.gate.resource_metadata().ok_or_else(missing)?);
    Ok(([(header::ACCESS_CONTROL_ALLOW_ORIGIN, "*")], metadata).into_response())
}
