//! Pages for people, rendered here: consent, sign-in, connected accounts. They work without script, take nothing from
//! elsewhere, and are told so by their content security policy.

mod accounts;
mod caller;
mod reports;
mod sync;

use askama::Template;
use axum::body::Bytes;
use axum::extract::State as Shared;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{Html, IntoResponse, Redirect, Response};
use chrono::{DateTime, Utc};
use url::Url;

use super::State;
use super::oauth::{fields_of, server};
use super::problem::Problem;
use super::route::{Need, Route};
use crate::auth::authorization_server::{Consent, Form, OAuthError, Page, Session};
use crate::auth::{AuthorizationServer, Mode};
use crate::toolsets;

const STYLE: &str = include_str!("style.css");
/// The largest form, in bytes.
const MAX_FORM: usize = 16 * 1024;
/// How long a browser keeps the cookie of a sign-in that is under way, in seconds.
const BROWSER_SECONDS: u32 = 3600;

/// The routes.
pub fn routes() -> Vec<Route> {
    let mut routes = vec![
        Route::get("/pages/style.css", Need::Nothing, style),
        Route::post("/pages/sign-in", Need::Nothing, sign_in).with_bodies_up_to(MAX_FORM),
        Route::post("/pages/sign-out", Need::Nothing, sign_out).with_bodies_up_to(MAX_FORM),
    ];
    routes.extend(accounts::routes());
    routes.extend(sync::routes());
    routes.extend(reports::routes());
    routes
}

/// A browser, known by a cookie while a sign-in is under way.
pub struct Browser {
    /// The cookie's text.
    pub cookie: String,
}

/// The browser that sends a request; one without a cookie gets one.
pub fn browser(server: &AuthorizationServer, headers: &HeaderMap) -> Browser {
    match cookie(headers, &name(server, "browser")) {
        Some(cookie) => Browser { cookie: cookie.to_owned() },
        None => Browser { cookie: server.cookie() },
    }
}

fn is_https(server: &AuthorizationServer) -> bool {
    server.config().public_url.scheme() == "https"
}

/// A cookie's name. With `__Host-` browsers see to it that it is of this very host, over https.
fn name(server: &AuthorizationServer, what: &str) -> String {
    if is_https(server) { format!("__Host-graphgate-{what}") } else { format!("graphgate-{what}") }
}

fn cookie<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    let pairs =
        headers.get_all(header::COOKIE).iter().filter_map(|value| value.to_str().ok()).flat_map(|text| text.split(';'));
    let mut named = pairs.filter_map(|pair| pair.trim().split_once('=')).filter(|(found, _)| *found == name);
    let (_, value) = named.next()?;
    let is_plain = value.bytes().all(|byte| byte.is_ascii_alphanumeric()) && (16..=128).contains(&value.len());
    (is_plain && named.next().is_none()).then_some(value)
}

fn set_cookie(
    server: &AuthorizationServer,
    what: &str,
    value: &str,
    seconds: u32,
    from_elsewhere: bool,
) -> (HeaderName, String) {
    let name = name(server, what);
    // Entra's page posts to us from elsewhere, with cookies only if they are said to be for that.
    let scope = match (is_https(server), from_elsewhere) {
        (true, true) => "; Secure; SameSite=None",
        (true, false) => "; Secure; SameSite=Lax",
        (false, _) => "; SameSite=Lax",
    };
    (header::SET_COOKIE, format!("{name}={value}; Path=/; HttpOnly; Max-Age={seconds}{scope}"))
}

/// A page, with what browsers are told of it. Forms lead to ourselves and, by redirects, to `forms`.
fn page(status: StatusCode, template: &impl Template, forms: &[String]) -> Response {
    let html = match template.render() {
        Ok(html) => html,
        Err(error) => {
            tracing::error!(%error, "a page cannot be rendered");
            return StatusCode::INTERNAL_SERVER_ERROR.into_response();
        }
    };
    let forms = forms.join(" ");
    let policy = format!(
        "default-src 'none'; style-src 'self'; img-src 'self' data:; form-action 'self' {forms}; base-uri 'none'; frame-ancestors 'none'"
    );
    let mut answer = (status, Html(html)).into_response();
    let headers = answer.headers_mut();
    for (name, value) in [
        (header::CONTENT_SECURITY_POLICY, policy.trim_end()),
        (header::CACHE_CONTROL, "no-store"),
        // With `no-referrer` a browser would hide the origin of our own forms as well.
        (header::REFERRER_POLICY, "same-origin"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::X_FRAME_OPTIONS, "DENY"),
    ] {
        headers.extend(HeaderValue::from_str(value).ok().map(|value| (name, value)));
    }
    answer
}

/// A time, for people.
fn day(at: DateTime<Utc>) -> String {
    at.format("%-d %B %Y, %H:%M UTC").to_string()
}

/// Where Entra's sign-in is, in the words of a policy.
fn entra(server: &AuthorizationServer) -> String {
    server.config().microsoft.authority.origin().ascii_serialization()
}

fn with_cookies(mut answer: Response, cookies: impl IntoIterator<Item = (HeaderName, String)>) -> Response {
    for (name, value) in cookies {
        answer.headers_mut().extend(HeaderValue::from_str(&value).ok().map(|value| (name, value)));
    }
    answer
}

#[derive(Template)]
#[template(path = "message.html", config = "src/api/pages/askama.toml")]
struct MessagePage<'a> {
    title: &'a str,
    text: &'a str,
    code: &'a str,
    back: Option<(&'a str, &'a str)>,
}

/// The page of a refusal.
pub fn refused(error: &OAuthError) -> Response {
    message(error, None)
}

/// The page that says what came of something.
pub fn said(title: &str, text: &str) -> Response {
    page(StatusCode::OK, &MessagePage { title, text, code: "", back: None }, &[])
}

/// The page of a refusal that a client is to learn of, if the person follows the link.
pub fn refused_with_a_way_back(error: &OAuthError, url: &Url, goes_to: &str) -> Response {
    message(error, Some((url.as_str(), goes_to)))
}

fn message(error: &OAuthError, back: Option<(&str, &str)>) -> Response {
    let title = if error.status.is_server_error() { "Not now" } else { "This does not work" };
    let status = if error.status == StatusCode::UNAUTHORIZED { StatusCode::BAD_REQUEST } else { error.status };
    page(status, &MessagePage { title, text: &error.error_description, code: error.error, back }, &[])
}

/// A toolset as a person is asked about it.
struct Asked {
    name: &'static str,
    description: &'static str,
    writes: bool,
}

#[derive(Template)]
#[template(path = "consent.html", config = "src/api/pages/askama.toml")]
struct ConsentPage<'a> {
    client: &'a str,
    id: Option<&'a str>,
    goes_to: &'a str,
    host: &'a str,
    asked: Vec<Asked>,
    ticket: &'a str,
}

/// The page that asks a person about a client.
pub fn consent(server: &AuthorizationServer, consent: &Consent, browser: &Browser) -> Response {
    let asked = toolsets::all().into_iter().filter_map(|toolset| {
        let (_, mode) = consent.asks.iter().find(|(name, _)| name == toolset.name)?;
        Some(Asked { name: toolset.name, description: toolset.description, writes: *mode == Mode::Write })
    });
    let template = ConsentPage {
        client: &consent.client_name,
        id: Some(consent.client_id.as_str()).filter(|id| id.contains("://")),
        goes_to: &consent.goes_to,
        host: server.config().public_url.host_str().unwrap_or_default(),
        asked: asked.collect(),
        ticket: &consent.ticket,
    };
    let answer = page(StatusCode::OK, &template, &[entra(server), consent.redirect_source.clone()]);
    with_cookies(answer, [set_cookie(server, "browser", &browser.cookie, BROWSER_SECONDS, true)])
}

/// The person has signed in to a page.
pub fn signed_in(server: &AuthorizationServer, page: Page, session: &str) -> Response {
    let to = server.config().address(page.path().trim_start_matches('/'));
    with_cookies(Redirect::to(&to).into_response(), [set_cookie(server, "session", session, 8 * 3600, false)])
}

/// `GET /pages/style.css`
async fn style() -> impl IntoResponse {
    ([(header::CONTENT_TYPE, "text/css; charset=utf-8"), (header::CACHE_CONTROL, "max-age=3600")], STYLE)
}

#[derive(Template)]
#[template(path = "sign-in.html", config = "src/api/pages/askama.toml")]
struct SignInPage<'a> {
    host: &'a str,
}

/// The page for somebody who is not signed in.
fn ask_to_sign_in(server: &AuthorizationServer, headers: &HeaderMap) -> Response {
    let browser = browser(server, headers);
    let host = server.config().public_url.host_str().unwrap_or_default();
    let answer = page(StatusCode::OK, &SignInPage { host }, &[entra(server)]);
    with_cookies(answer, [set_cookie(server, "browser", &browser.cookie, BROWSER_SECONDS, true)])
}

/// Who is signed in to the pages, with the cookie that says so.
async fn session(server: &AuthorizationServer, headers: &HeaderMap) -> Result<Option<(Session, String)>, OAuthError> {
    let Some(cookie) = cookie(headers, &name(server, "session")) else { return Ok(None) };
    Ok(server.session(cookie).await?.map(|session| (session, cookie.to_owned())))
}

/// `POST /pages/sign-in`
async fn sign_in(Shared(state): Shared<State>, headers: HeaderMap) -> Result<Response, Problem> {
    let server = server(&state)?;
    let browser = browser(server, &headers);
    let url = server.sign_in(&browser.cookie, Page::Accounts).await;
    Ok(match url {
        Ok(url) => {
            let cookie = set_cookie(server, "browser", &browser.cookie, BROWSER_SECONDS, true);
            with_cookies(Redirect::to(url.as_str()).into_response(), [cookie])
        }
        Err(error) => refused(&error),
    })
}

/// `POST /pages/sign-out`
async fn sign_out(Shared(state): Shared<State>, headers: HeaderMap, body: Bytes) -> Result<Response, Problem> {
    let server = server(&state)?;
    let done = async {
        if let Some((_, cookie)) = session(server, &headers).await? {
            checked(server, &cookie, &fields_of(&body)?)?;
            server.sign_out(&cookie).await?;
        }
        let gone = set_cookie(server, "session", "", 0, false);
        Ok(with_cookies(Redirect::to(&server.config().address("pages/accounts")).into_response(), [gone]))
    };
    Ok(done.await.unwrap_or_else(|error: OAuthError| refused(&error)))
}

/// Lets a form pass that one of our pages has sent.
fn checked(server: &AuthorizationServer, cookie: &str, form: &Form) -> Result<(), OAuthError> {
    let token = form.get("token").map(String::as_str).unwrap_or_default();
    let wrong = || OAuthError::invalid_request("the form is not of this session; open the page again");
    if server.is_form_token(token, cookie) { Ok(()) } else { Err(wrong()) }
}
