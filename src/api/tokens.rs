//! The tokens GraphGate holds for Microsoft's services: how long they live, and why one could not be had. Never their text.

use axum::extract::State as Shared;
use chrono::{DateTime, Utc};
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::json;

use super::extract::{NoQuery, Shown};
use super::operation::{ANY, Operation, Tag};
use super::route::{Need, Route};
use super::{State, TokenState};

/// The route.
pub fn routes() -> Vec<Route> {
    let token = json!({ "scope": "https://graph.microsoft.com/.default", "status": "valid", "expires_at": "2026-11-21T10:30:00Z", "expires_in_seconds": 3540 });
    let summary = "Say which tokens are at hand and why one is not";
    let described = Operation::new(Tag::Operation, "get_token_status", summary)
        .answers::<TokenReport>(json!({ "identity": "managed_identity", "tokens": [token] }))
        .problems(ANY);
    vec![Route::get("/api/tokens/status", Need::Operator, status).described(described)]
}

/// Whether a token is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum TokenStatus {
    /// A living token is at hand.
    Valid,
    /// A living token is at hand, but its successor could not be fetched.
    Aging,
    /// There is none, and the last attempt to fetch one failed.
    Failing,
    /// There is none, and nobody has needed one since.
    Absent,
}

/// All tokens.
#[derive(Debug, Serialize, JsonSchema)]
pub struct TokenReport {
    /// The kind of identity: `client_secret`, `certificate`, `managed_identity`, `workload_identity` or `developer_tools`.
    identity: &'static str,
    /// One token a scope, for every scope asked for so far.
    tokens: Vec<TokenEntry>,
}

/// One token.
#[derive(Debug, Serialize, JsonSchema)]
pub struct TokenEntry {
    /// What it is for.
    scope: String,
    /// Whether it is there.
    status: TokenStatus,
    /// When it ends.
    #[serde(skip_serializing_if = "Option::is_none")]
    expires_at: Option<DateTime<Utc>>,
    /// How long it lives.
    #[serde(skip_serializing_if = "Option::is_none")]
    expires_in_seconds: Option<i64>,
    /// When the last attempt to fetch one failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    failed_at: Option<DateTime<Utc>>,
    /// Why it failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
}

/// `GET /api/tokens/status`
async fn status(Shared(state): Shared<State>, _: NoQuery) -> Shown<TokenReport> {
    let known = (state.probes.tokens)();
    let now = state.services.clock.now();
    Shown(TokenReport {
        identity: known.kind,
        tokens: known.scopes.into_iter().map(|scope| entry(scope, now)).collect(),
    })
}

/// Whether a scope's token is there.
pub fn judge(token: &TokenState, now: DateTime<Utc>) -> TokenStatus {
    match (token.expires_at.is_some_and(|end| end > now), token.last_error.is_some()) {
        (true, false) => TokenStatus::Valid,
        (true, true) => TokenStatus::Aging,
        (false, true) => TokenStatus::Failing,
        (false, false) => TokenStatus::Absent,
    }
}

fn entry(token: TokenState, now: DateTime<Utc>) -> TokenEntry {
    let status = judge(&token, now);
    let (failed_at, reason) = token.last_error.unzip();
    TokenEntry {
        scope: token.scope,
        status,
        expires_at: token.expires_at,
        expires_in_seconds: token.expires_at.map(|end| (end - now).num_seconds()),
        failed_at,
        reason,
    }
}
