//! *Accounts*: the clients that act in a person's name, and the person's keys; for an administrator everybody's.

use askama::Template;
use axum::body::Bytes;
use axum::extract::State as Shared;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Redirect, Response};
use chrono::{DateTime, TimeDelta, Utc};

use super::{MAX_FORM, ask_to_sign_in, checked, day, entra, page, refused, session};
use crate::api::State;
use crate::api::oauth::{fields_of, note, noted, server};
use crate::api::problem::Problem;
use crate::api::route::{Need, Route};
use crate::auth::authorization_server::authorizations::{Authorization, Ending, Of};
use crate::auth::authorization_server::{Form, OAuthError, Session, scopes};
use crate::auth::delegated::accounts::Account;
use crate::auth::roles::ADMIN;
use crate::auth::{ActsFor, AuthorizationServer, KeyRow, Mode, NewKey, Role};
use crate::error::ErrorCode;
use crate::ids::UserId;
use crate::text;
use crate::toolsets::tool::Effect;
use crate::toolsets::{self, Toolset};

/// The longest name of a key, in characters.
const LONGEST_NAME: usize = 100;
/// Keys that a person may have at once.
const MOST_KEYS: usize = 20;
/// Days a key may live that is made here.
const DAYS: [i64; 4] = [7, 30, 90, 365];

/// The routes.
pub fn routes() -> Vec<Route> {
    vec![
        Route::get("/pages/accounts", Need::Nothing, accounts),
        Route::post("/pages/accounts/disconnect", Need::Nothing, disconnect).with_bodies_up_to(MAX_FORM),
        Route::post("/pages/accounts/keys", Need::Nothing, make_key).with_bodies_up_to(MAX_FORM),
        Route::post("/pages/accounts/keys/revoke", Need::Nothing, revoke_key).with_bodies_up_to(MAX_FORM),
    ]
}

/// A client that may act for a person.
struct Connection {
    id: String,
    client: String,
    may: Vec<(String, String)>,
    since: String,
    used: String,
}

/// Somebody else's account, for an administrator.
struct Other {
    person: String,
    name: String,
    upn: String,
    since: String,
    refreshed: String,
    trouble: Option<String>,
    clients: usize,
}

#[derive(Template)]
#[template(path = "accounts.html", config = "src/api/pages/askama.toml")]
struct AccountsPage<'a> {
    who: &'a str,
    signs_in: bool,
    name: &'a str,
    upn: &'a str,
    person: &'a str,
    trouble: Option<&'a str>,
    connected: bool,
    connections: Vec<Connection>,
    keys: Vec<Key>,
    toolsets: Vec<Toolset>,
    days: [i64; 4],
    others: Option<Vec<Other>>,
    token: String,
    mcp: String,
}

fn connection(authorization: Authorization) -> Connection {
    Connection {
        id: authorization.id,
        client: authorization.client_name,
        may: tools_of(&authorization.scopes),
        since: day(authorization.created_at),
        used: day(authorization.used_at),
    }
}

/// Scopes as the tools they open, by toolset.
fn tools_of(scopes: &scopes::Scopes) -> Vec<(String, String)> {
    let of = |toolset: Toolset| {
        let opens = |mode| scopes.contains(&scopes::scope(toolset.name, mode));
        let (reads, writes) = (opens(Mode::Read), opens(Mode::Write));
        let tools = toolset.tools.iter().filter(|tool| writes || (reads && tool.effect == Effect::Reads));
        let names: Vec<&str> = tools.map(|tool| tool.name).collect();
        let what = if writes { "read and change" } else { "read" };
        (reads || writes).then(|| (format!("{} ({what})", toolset.name), names.join(", ")))
    };
    toolsets::all().into_iter().filter_map(of).collect()
}

/// The toolsets of the deployment.
fn offered(server: &AuthorizationServer) -> Vec<Toolset> {
    toolsets::all().into_iter().filter(|toolset| server.config().toolsets.contains_key(toolset.name)).collect()
}

/// The keys of a person that have not ended.
async fn keys_of(state: &State, person: &UserId) -> Result<Vec<KeyRow>, OAuthError> {
    let now = state.services.clock.now();
    let rows = state.gate.keys().list().await?.into_iter();
    let since = match state.gate.server() {
        Some(server) => server.accounts().believed(person).await?.map(|account| account.connected_at),
        None => None,
    };
    let own =
        |row: &KeyRow| row.acts_for.as_ref().is_some_and(|of| of.person == *person && Some(of.connected_at) == since);
    Ok(rows.filter(|row| own(row) && row.state(now) == "active").collect())
}

fn key(row: &KeyRow) -> Key {
    let toolsets =
        row.role.toolsets.as_ref().map(|names| names.iter().map(String::as_str).collect::<Vec<_>>().join(", "));
    let what = if row.role.read_only { "read" } else { "read and change" };
    Key {
        id: row.id.clone(),
        name: row.name.clone(),
        may: format!("{what}: {}", toolsets.unwrap_or_else(|| "everything".to_owned())),
        until: row.expires_at.map_or_else(|| "for ever".to_owned(), day),
    }
}

/// A key of the person.
struct Key {
    id: String,
    name: String,
    may: String,
    until: String,
}

/// `GET /pages/accounts`
async fn accounts(Shared(state): Shared<State>, headers: HeaderMap) -> Result<Response, Problem> {
    let server = server(&state)?;
    let shown = async {
        let Some((session, cookie)) = session(server, &headers).await? else {
            return Ok(ask_to_sign_in(server, &headers));
        };
        shown(&state, &session, &cookie).await
    };
    Ok(shown.await.unwrap_or_else(|error: OAuthError| refused(&error)))
}

async fn shown(state: &State, session: &Session, cookie: &str) -> Result<Response, OAuthError> {
    let Some(server) = state.gate.server() else { return Err(OAuthError::access_denied("people do not sign in here")) };
    let own = server.accounts().believed(&session.person).await?;
    let connections = server.authorizations().list(Of::Person(&session.person)).await?;
    let others = if session.roles.iter().any(|role| role == ADMIN) {
        Some(others(server, &session.person).await?)
    } else {
        None
    };
    let template = AccountsPage {
        who: &session.name,
        signs_in: true,
        name: &session.name,
        upn: &session.upn,
        person: session.person.as_str(),
        trouble: own.as_ref().and_then(|account| account.trouble.as_ref()).map(|trouble| trouble.reason.as_str()),
        connected: own.is_some(),
        connections: connections.into_iter().map(connection).collect(),
        keys: keys_of(state, &session.person).await?.iter().map(key).collect(),
        toolsets: offered(server),
        days: DAYS,
        others,
        token: server.form_token(cookie),
        mcp: server.config().address("mcp"),
    };
    Ok(page(StatusCode::OK, &template, &[entra(server)]))
}

async fn others(server: &AuthorizationServer, me: &UserId) -> Result<Vec<Other>, OAuthError> {
    let authorizations = server.authorizations().list(Of::All).await?;
    let accounts = server.accounts().list().await?.into_iter().filter(|account| account.person != *me);
    let other = |account: Account| Other {
        clients: authorizations.iter().filter(|one| one.person.as_ref() == Some(&account.person)).count(),
        person: account.person.to_string(),
        name: account.name,
        upn: account.upn,
        since: day(account.connected_at),
        refreshed: day(account.refreshed_at),
        trouble: account.trouble.map(|trouble| trouble.reason),
    };
    Ok(accounts.map(other).collect())
}

/// `POST /pages/accounts/disconnect`: a client of one's own, or a whole account.
async fn disconnect(Shared(state): Shared<State>, headers: HeaderMap, body: Bytes) -> Result<Response, Problem> {
    let server = server(&state)?;
    let done = async {
        let Some((session, cookie)) = session(server, &headers).await? else {
            return Ok(ask_to_sign_in(server, &headers));
        };
        let form = fields_of(&body)?;
        checked(server, &cookie, &form)?;
        let is_admin = session.roles.iter().any(|role| role == ADMIN);
        if let Some(id) = form.get("authorization") {
            server.authorizations().end(id, Of::Person(&session.person), Ending::Person).await?;
            note(&state, &session.person, "disconnect_client", &session.person).await;
        } else if let Some(person) = form.get("person").and_then(|text| UserId::parse(text).ok()) {
            let own = person == session.person;
            if !own && !is_admin {
                return Err(OAuthError::access_denied("only an administrator disconnects others"));
            }
            server.disconnect(&person, if own { Ending::Person } else { Ending::Administrator }).await?;
            note(&state, &session.person, "disconnect_account", &person).await;
        }
        Ok(Redirect::to(&server.config().address("pages/accounts")).into_response())
    };
    Ok(done.await.unwrap_or_else(|error: OAuthError| refused(&error)))
}

#[derive(Template)]
#[template(path = "key.html", config = "src/api/pages/askama.toml")]
struct KeyPage<'a> {
    name: &'a str,
    key: &'a str,
    until: String,
}

/// What a person asks for who makes a key.
fn wanted(server: &AuthorizationServer, form: &Form, now: DateTime<Utc>) -> Result<NewKey, OAuthError> {
    let name = form.get("name").map(|name| name.trim()).unwrap_or_default();
    if name.is_empty() || name.chars().count() > LONGEST_NAME || text::line(name) != name {
        return Err(OAuthError::invalid_request(format!("the key needs a name of at most {LONGEST_NAME} characters")));
    }
    let days = form.get("days").and_then(|days| days.parse().ok()).filter(|days| DAYS.contains(days));
    let days = days.ok_or_else(|| OAuthError::invalid_request("how long the key lives is not one of the choices"))?;
    let is_on = |name: &str| form.get(name).map(String::as_str) == Some("on");
    let named = offered(server).into_iter().map(|toolset| toolset.name.to_owned());
    let toolsets: std::collections::BTreeSet<String> = named.filter(|name| is_on(&format!("use.{name}"))).collect();
    if toolsets.is_empty() {
        return Err(OAuthError::invalid_request("the key would open nothing: choose what it is for"));
    }
    let role = Role { toolsets: Some(toolsets), read_only: is_on("read_only"), ..Role::default() };
    Ok(NewKey { name: name.to_owned(), role, expires_at: Some(now + TimeDelta::days(days)), acts_for: None })
}

/// What the audit log says of an operation on the store.
fn outcome(is_ok: bool) -> &'static str {
    if is_ok { "ok" } else { ErrorCode::StoreFailed.as_str() }
}

/// `POST /pages/accounts/keys`: a key that acts for the person. It is shown this once.
async fn make_key(Shared(state): Shared<State>, headers: HeaderMap, body: Bytes) -> Result<Response, Problem> {
    let server = server(&state)?;
    let done = async {
        let Some((session, cookie)) = session(server, &headers).await? else {
            return Ok(ask_to_sign_in(server, &headers));
        };
        let form = fields_of(&body)?;
        checked(server, &cookie, &form)?;
        let account = server.accounts().current(&session.person).await?;
        let account = account.ok_or_else(|| OAuthError::access_denied("the account is not connected any more"))?;
        if keys_of(&state, &session.person).await?.len() >= MOST_KEYS {
            let why = format!("{MOST_KEYS} keys act in your name already; revoke one first");
            return Err(OAuthError::invalid_request(why));
        }
        let acts_for = ActsFor { person: session.person.clone(), connected_at: account.connected_at };
        let key = NewKey { acts_for: Some(acts_for), ..wanted(server, &form, state.services.clock.now())? };
        let (name, until) = (key.name.clone(), key.expires_at.map(day).unwrap_or_default());
        let (caller, noted) = noted(&state, &session.person, "create_key", &session.person);
        let made = state.gate.keys().create(&noted.of(caller), &state.services.entropy, key).await;
        state.services.audit.record(noted, outcome(made.is_ok()), std::time::Duration::ZERO).await;
        let (text, _) = made?;
        Ok(page(StatusCode::OK, &KeyPage { name: &name, key: &text, until }, &[]))
    };
    Ok(done.await.unwrap_or_else(|error: OAuthError| refused(&error)))
}

/// `POST /pages/accounts/keys/revoke`: ends a key of one's own.
async fn revoke_key(Shared(state): Shared<State>, headers: HeaderMap, body: Bytes) -> Result<Response, Problem> {
    let server = server(&state)?;
    let done = async {
        let Some((session, cookie)) = session(server, &headers).await? else {
            return Ok(ask_to_sign_in(server, &headers));
        };
        let form = fields_of(&body)?;
        checked(server, &cookie, &form)?;
        let id = form.get("key").map(String::as_str).unwrap_or_default();
        if keys_of(&state, &session.person).await?.iter().any(|key| key.id == id) {
            let (caller, noted) = noted(&state, &session.person, "revoke_key", &session.person);
            let ended = state.gate.keys().revoke(&noted.of(caller), id).await;
            state.services.audit.record(noted, outcome(ended.is_ok()), std::time::Duration::ZERO).await;
            ended?;
        }
        Ok(Redirect::to(&server.config().address("pages/accounts")).into_response())
    };
    Ok(done.await.unwrap_or_else(|error: OAuthError| refused(&error)))
}
