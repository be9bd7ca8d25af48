//! Where clients that hold no token learn whom to ask for one (RFC 9728).

use axum::extract::State as Shared;
use serde_json::Value;

use super::State;
use super::extract::Shown;
use super::problem::Problem;
use crate::error::ErrorCode;
use crate::services::Error;

/// `GET /.well-known/oauth-protected-resource` and, as clients ask for a resource with a path, the same with `/mcp`.
pub async fn resource(Shared(state): Shared<State>) -> Result<Shown<Value>, Problem> {
    let missing = || Error::new(ErrorCode::NotFound, "this deployment takes no tokens of Entra");
    Ok(Shown(state.gate.resource_metadata().ok_or_else(missing)?))
}
