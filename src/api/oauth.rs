//! The authorization server's endpoints: what clients and browsers ask of [`crate::auth::authorization_server`], as HTTP.
//!
//! Programs get JSON; people get [`super::pages`]. Endpoints for programs answer pages of any origin, because a client
//! in a browser has one, and no cookie counts there.

use std::time::Duration;

use axum::body::Bytes;
use axum::extract::{RawQuery, State as Shared};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Redirect, Response};
use serde_json::{Value, json};

use super::State;
use super::extract::Shown;
use super::pages;
use super::problem::Problem;
use super::route::{Need, Route};
use crate::auth::authorization_server::clients::Metadata;
use crate::auth::authorization_server::{Form, Landed, OAuthError, Refusal, fields};
use crate::auth::{AuthorizationServer, Caller, Principal};
use crate::error::ErrorCode;
use crate::ids::UserId;
use crate::services::Error;
use crate::services::audit::{Noted, Operation};

/// The largest form, in bytes: an assertion with a chain of certificates fits.
const MAX_FORM: usize = 64 * 1024;

/// The endpoint to which Entra sends people back, below `PUBLIC_URL`.
pub const CALLBACK: &str = "/oauth/callback";
/// Endpoints that programs ask, from any origin.
const FOR_PROGRAMS: &[&str] = &["/oauth/token", "/oauth/register", "/oauth/revoke"];

/// The routes. They are for clients of MCP and for browsers, which find them by the metadata.
pub fn routes() -> Vec<Route> {
    let mut routes = vec![
        Route::get("/oauth/authorize", Need::Nothing, authorize),
        Route::post("/oauth/authorize", Need::Nothing, authorize_by_form).with_bodies_up_to(MAX_FORM),
        Route::post("/oauth/consent", Need::Nothing, consent).with_bodies_up_to(MAX_FORM),
        Route::get(CALLBACK, Need::Nothing, consented),
        Route::post(CALLBACK, Need::Nothing, callback).with_bodies_up_to(MAX_FORM),
        Route::post("/oauth/token", Need::Nothing, token).with_bodies_up_to(MAX_FORM),
        Route::post("/oauth/register", Need::Nothing, register).with_bodies_up_to(MAX_FORM),
        Route::post("/oauth/revoke", Need::Nothing, revoke).with_bodies_up_to(MAX_FORM),
    ];
    // Clients that look for the metadata of a resource with a path put the path behind it (RFC 8414, section 3.1).
    for path in ["/.well-known/oauth-authorization-server", "/.well-known/oauth-authorization-server/mcp"] {
        routes.push(Route::get(path, Need::Nothing, metadata));
        routes.push(Route::options(path, Need::Nothing, preflight));
    }
    routes.extend(FOR_PROGRAMS.iter().map(|path| Route::options(path, Need::Nothing, preflight)));
    routes
}

/// Whether a route is one of these.
pub fn is_endpoint(route: &str) -> bool {
    route.starts_with("/oauth/")
}

/// Whether a request may come from a page of any origin: it is for programs, or comes from Entra's own page, which proves
/// itself by the sign-in it belongs to.
pub fn takes_any_origin(path: &str) -> bool {
    path == CALLBACK || FOR_PROGRAMS.contains(&path) || path.starts_with("/.well-known/")
}

/// The server, where people sign in here.
pub fn server(state: &State) -> Result<&AuthorizationServer, Problem> {
    let missing = || Error::new(ErrorCode::NotFound, "people do not sign in here");
    let hint = "an operator sets `SIGN_IN_CLIENT_ID` and `PUBLIC_URL`";
    state.gate.server().ok_or_else(|| missing().hint(hint).into())
}

/// The answers of programs' endpoints are nobody's to keep, and may be read by a page of any origin.
fn for_programs(answer: impl IntoResponse) -> Response {
    let mut answer = answer.into_response();
    let headers = answer.headers_mut();
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
    answer
}

/// A refusal for a program (RFC 6749, section 5.2).
fn refused(error: &OAuthError) -> Response {
    let mut answer = for_programs((error.status, Shown(error)));
    if error.status == StatusCode::UNAUTHORIZED {
        let challenge = HeaderValue::from_static("Basic realm=\"graphgate\"");
        answer.headers_mut().insert(header::WWW_AUTHENTICATE, challenge);
    }
    if matches!(error.status, StatusCode::SERVICE_UNAVAILABLE | StatusCode::TOO_MANY_REQUESTS) {
        answer.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("30"));
    }
    answer
}

/// The fields of a form.
fn form(headers: &HeaderMap, body: &Bytes) -> Result<Form, OAuthError> {
    let kind = headers.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    let kind = kind.split(';').next().unwrap_or_default().trim();
    if !kind.eq_ignore_ascii_case("application/x-www-form-urlencoded") {
        return Err(OAuthError::invalid_request("application/x-www-form-urlencoded expected"));
    }
    fields_of(body)
}

/// The fields of a form's body, each given once.
pub fn fields_of(body: &Bytes) -> Result<Form, OAuthError> {
    let text = std::str::from_utf8(body).map_err(|_| OAuthError::invalid_request("the form is no UTF-8"))?;
    fields(text)
}

/// `OPTIONS`: what a page may send (Fetch, *CORS protocol*).
pub async fn preflight() -> Response {
    let headers: [(HeaderName, &str); 3] = [
        (header::ACCESS_CONTROL_ALLOW_METHODS, "GET, POST, OPTIONS"),
        (header::ACCESS_CONTROL_ALLOW_HEADERS, "authorization, content-type, mcp-protocol-version"),
        (header::ACCESS_CONTROL_MAX_AGE, "86400"),
    ];
    for_programs((StatusCode::NO_CONTENT, headers))
}

/// `GET /.well-known/oauth-authorization-server`
async fn metadata(Shared(state): Shared<State>) -> Result<Response, Problem> {
    let metadata = Shown(server(&state)?.metadata());
    Ok(([(header::ACCESS_CONTROL_ALLOW_ORIGIN, "*")], metadata).into_response())
}

/// `GET /oauth/authorize`
async fn authorize(
    Shared(state): Shared<State>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let query = query.unwrap_or_default();
    asked(&state, fields(&query), &headers).await
}

/// `POST /oauth/authorize`, which OpenID Connect has clients use for long requests.
async fn authorize_by_form(Shared(state): Shared<State>, headers: HeaderMap, body: Bytes) -> Result<Response, Problem> {
    asked(&state, form(&headers, &body), &headers).await
}

async fn asked(state: &State, fields: Result<Form, OAuthError>, headers: &HeaderMap) -> Result<Response, Problem> {
    let server = server(state)?;
    let browser = pages::browser(server, headers);
    let begun = match fields {
        Ok(fields) => server.begin(&fields, &browser.cookie).await,
        Err(error) => Err(Refusal::Page(error)),
    };
    Ok(match begun {
        Ok(consent) => pages::consent(server, &consent, &browser),
        Err(Refusal::Redirect(url)) => onwards(url.as_str()),
        Err(Refusal::Link { error, url, goes_to }) => pages::refused_with_a_way_back(&error, &url, &goes_to),
        Err(Refusal::Page(error)) => pages::refused(&error),
    })
}

/// A redirect that no cache keeps and that has the browser use GET.
fn onwards(url: &str) -> Response {
    ([(header::CACHE_CONTROL, "no-store"), (header::REFERRER_POLICY, "no-referrer")], Redirect::to(url)).into_response()
}

/// `POST /oauth/consent`: the person has chosen.
async fn consent(Shared(state): Shared<State>, headers: HeaderMap, body: Bytes) -> Result<Response, Problem> {
    let server = server(&state)?;
    let browser = pages::browser(server, &headers).cookie;
    let chosen = async {
        let form = form(&headers, &body)?;
        let ticket = form.get("ticket").map(String::as_str).unwrap_or_default();
        if form.get("answer").map(String::as_str) != Some("allow") {
            return server.deny(ticket, &browser);
        }
        let scopes = form.iter().filter(|(_, value)| *value == "on").map(|(name, _)| name.clone()).collect();
        server.approve(ticket, &browser, &scopes).await
    };
    Ok(match chosen.await {
        Ok(url) => onwards(url.as_str()),
        Err(error) => pages::refused(&error),
    })
}

/// `GET /oauth/callback`: an administrator has consented for everybody, or not
/// (<https://learn.microsoft.com/entra/identity-platform/v2-admin-consent>).
async fn consented(RawQuery(query): RawQuery) -> Response {
    let query = fields(&query.unwrap_or_default()).unwrap_or_default();
    let given = query.get("admin_consent").is_some_and(|text| text.eq_ignore_ascii_case("true"));
    if given && !query.contains_key("error") {
        return pages::said("Consent is given", "People of this organization need not be asked for it again.");
    }
    // Anybody can make such an address: none of its words are shown but a code.
    let is_code = |text: &&String| {
        (1..=40).contains(&text.len()) && text.bytes().all(|byte| byte == b'_' || byte.is_ascii_lowercase())
    };
    let code = query.get("error").filter(is_code).map_or("access_denied", String::as_str);
    pages::refused(&OAuthError::access_denied(format!("nothing was consented to; Microsoft says `{code}`")))
}

/// `POST /oauth/callback`: Entra sends a browser back.
async fn callback(Shared(state): Shared<State>, headers: HeaderMap, body: Bytes) -> Result<Response, Problem> {
    let server = server(&state)?;
    let browser = pages::browser(server, &headers).cookie;
    let landed = async { server.land(&form(&headers, &body)?, &browser).await };
    Ok(match landed.await {
        Ok(Landed::Client(url, person)) => {
            if let Some(person) = person {
                note(&state, &person, "sign_in", &person).await;
            }
            onwards(url.as_str())
        }
        Ok(Landed::Page(page, cookie, person)) => {
            note(&state, &person, "sign_in", &person).await;
            pages::signed_in(server, page, &cookie)
        }
        Ok(Landed::Entra(url)) => onwards(url.as_str()),
        Err(error) => pages::refused(&error),
    })
}

/// Writes down what a person did here, for the audit log: to whom, if not to themselves.
pub async fn note(state: &State, by: &UserId, what: &str, whom: &UserId) {
    let (_, noted) = noted(state, by, what, whom);
    state.services.audit.record(noted, "ok", Duration::ZERO).await;
}

/// A person as a caller, and the operation that begins, to be recorded when it ends.
pub fn noted(state: &State, by: &UserId, what: &str, whom: &UserId) -> (Caller, Noted) {
    let name = format!("user:{by}");
    let caller = Caller { name, kind: Principal::User, object_id: Some(by.clone()), ..Caller::nobody() };
    let ids = vec![("person", whom.to_string())];
    let operation = Operation { caller: &caller, name: what.to_owned(), writes: true, arguments: None, ids };
    let noted = state.services.audit.begin(&operation);
    (caller, noted)
}

/// `POST /oauth/token`
async fn token(Shared(state): Shared<State>, headers: HeaderMap, body: Bytes) -> Result<Response, Problem> {
    let server = server(&state)?;
    let answered = async { server.token(&form(&headers, &body)?, authorization(&headers)).await };
    Ok(match answered.await {
        Ok(answer) => for_programs(Shown(answer)),
        Err(error) => refused(&error),
    })
}

/// `POST /oauth/revoke`
async fn revoke(Shared(state): Shared<State>, headers: HeaderMap, body: Bytes) -> Result<Response, Problem> {
    let server = server(&state)?;
    let answered = async { server.revoke(&form(&headers, &body)?, authorization(&headers)).await };
    Ok(match answered.await {
        Ok(()) => for_programs(StatusCode::OK),
        Err(error) => refused(&error),
    })
}

fn authorization(headers: &HeaderMap) -> Option<&str> {
    headers.get(header::AUTHORIZATION)?.to_str().ok()
}

/// `POST /oauth/register`
async fn register(Shared(state): Shared<State>, body: Bytes) -> Result<Response, Problem> {
    let server = server(&state)?;
    let registered = async {
        let metadata: Metadata = serde_json::from_slice(&body)
            .map_err(|_| OAuthError::invalid_client_metadata("the body is not the JSON of a client"))?;
        server.clients().register(metadata).await
    };
    Ok(match registered.await {
        Ok(client) => {
            let answer: Value = json!({
                "client_id": client.id,
                "client_id_issued_at": client.created_at.timestamp(),
                "client_name": client.name,
                "redirect_uris": client.redirect_uris,
                "grant_types": ["authorization_code", "refresh_token"],
                "response_types": ["code"],
                "token_endpoint_auth_method": "none",
            });
            for_programs((StatusCode::CREATED, Shown(answer)))
        }
        Err(error) => refused(&error),
    })
}
