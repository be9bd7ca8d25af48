//! Who a caller is here, and whether Microsoft 365 answers in its name: for a client, or a person, that wonders.

use axum::extract::State as Shared;
use axum::http::HeaderMap;
use chrono::{DateTime, Utc};
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::json;

use super::State;
use super::extract::{NoQuery, Shown};
use super::operation::{ANY, Operation, Tag};
use super::problem::Problem;
use super::route::{Need, Route};
use crate::auth::Caller;
use crate::services::Error;
use crate::toolsets::narrow::Narrowed;

/// The route.
pub fn routes() -> Vec<Route> {
    let summary = "Say who calls, whether an account is connected, and with which tools";
    let described = Operation::new(Tag::Operation, "get_caller_status", summary)
        .answers::<CallerStatus>(json!({
            "caller": "user:6e7b768e-07e2-4810-8459-485f84f8f204",
            "kind": "user",
            "connected": true,
            "account": { "id": "6e7b768e-07e2-4810-8459-485f84f8f204", "name": "Ada Lovelace", "upn": "ada@contoso.com" },
            "scopes": ["planner.Read"],
            "tools": ["list_plans"],
            "ms365": { "connected": true, "as": "ada@contoso.com", "tools_count": 1, "tools": ["list_plans"], "since": "2026-11-20T15:00:00Z" }
        }))
        .problems(ANY);
    vec![Route::get("/mcp/status", Need::Known, status).described(described)]
}

/// Who a caller is.
#[derive(Debug, Serialize, JsonSchema)]
pub struct CallerStatus {
    /// The name in the audit log.
    caller: String,
    /// What kind of party it is.
    kind: &'static str,
    /// Whether calls can be made with a person's own rights.
    connected: bool,
    /// The person whose account is connected.
    #[serde(skip_serializing_if = "Option::is_none")]
    account: Option<ConnectedAccount>,
    /// Where a person connects or disconnects, in a browser.
    #[serde(skip_serializing_if = "Option::is_none")]
    accounts_page: Option<String>,
    /// What the caller was let do, in the words of roles.
    scopes: Vec<String>,
    /// When what it proves itself with ends.
    #[serde(skip_serializing_if = "Option::is_none")]
    expires_at: Option<DateTime<Utc>>,
    /// The tools it can call.
    tools: Vec<&'static str>,
    /// The connection to Microsoft 365 of the person who calls.
    #[serde(skip_serializing_if = "Option::is_none")]
    ms365: Option<Connection>,
}

/// The connection to Microsoft 365 of a person, in the words of programs that keep one for each of their users.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Connection {
    /// Whether calls are answered in the person's name.
    connected: bool,
    /// The person's sign-in name, or object id where no account is kept here.
    r#as: String,
    /// How many tools the caller can call.
    tools_count: usize,
    /// Their names.
    tools: Vec<&'static str>,
    /// Since when the account is connected.
    #[serde(skip_serializing_if = "Option::is_none")]
    since: Option<DateTime<Utc>>,
    /// Why calls fail at present.
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

/// A person whose account is connected.
#[derive(Debug, Serialize, JsonSchema)]
pub struct ConnectedAccount {
    /// The object id.
    id: String,
    /// The display name.
    name: String,
    /// The sign-in name.
    upn: String,
    /// Why the person has to sign in again, if that is so.
    #[serde(skip_serializing_if = "Option::is_none")]
    trouble: Option<String>,
}

/// `GET /mcp/status`
async fn status(
    Shared(state): Shared<State>,
    caller: Caller,
    headers: HeaderMap,
    _: NoQuery,
) -> Result<Shown<CallerStatus>, Problem> {
    let server = state.gate.server();
    let account = match (server, &caller.object_id) {
        (Some(server), Some(person)) => server.accounts().believed(person).await.map_err(Error::from)?,
        _ => None,
    };
    let inventory = state.catalogue.inventory(caller.clone(), Narrowed::of(&headers));
    let tools: Vec<&'static str> = inventory.callable_tools().map(|tool| tool.name).collect();
    let ms365 = caller.object_id.as_ref().map(|person| {
        let trouble = account.as_ref().and_then(|account| account.trouble.as_ref());
        // Who brings a token of Entra is connected by it; nothing is kept of such a person.
        let acts = caller.acts_as_person();
        Connection {
            connected: trouble.is_none() && (acts || account.is_some()),
            r#as: account.as_ref().map_or_else(|| person.to_string(), |account| account.upn.clone()),
            tools_count: tools.len(),
            tools: tools.clone(),
            since: account.as_ref().map(|account| account.connected_at),
            error: trouble.map(|trouble| trouble.reason.clone()),
        }
    });
    let account = account.map(|account| ConnectedAccount {
        id: account.person.to_string(),
        name: account.name.clone(),
        upn: account.upn.clone(),
        trouble: account.trouble.as_ref().map(|trouble| trouble.reason.clone()),
    });
    Ok(Shown(CallerStatus {
        tools,
        ms365,
        kind: caller.kind.as_str(),
        connected: account.as_ref().is_some_and(|account| account.trouble.is_none()),
        account,
        accounts_page: server.map(|server| server.config().address("pages/accounts")),
        scopes: caller.scopes,
        expires_at: caller.ends_at,
        caller: caller.name,
    }))
}
