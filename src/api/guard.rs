//! What happens to every request before and after its handler: one wrapper, so that no route can forget it.
//!
//! Probes (`/`, `/health…`) pass without proof and host check: a platform's prober has neither, and they tell no secrets.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{DefaultBodyLimit, MatchedPath, Request, State as Shared};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, header};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::Response;
use futures::{FutureExt, StreamExt};
use tracing::Instrument;
use tracing::field::Empty;

use super::ascii;
use super::metrics::METRICS_PATH;
use super::once::{Again, Once, Start};
use super::problem::Problem;
use super::refusal::refusal;
use super::reports::DOWNLOAD;
use super::route::Need;
use super::tools::{RESOURCES, TOOL};
use super::{MAX_BODY, Peer, State, graph_webhook, host, oauth, signed, step_up};
use crate::auth::Caller;
use crate::error::ErrorCode;
use crate::services::Error;
use crate::services::audit::{self, Noted, Operation};
use crate::telemetry::traces::{self, RequestSpan};

/// The longest a request may take: the front end of the Functions host ends it after 230 s.
const DEADLINE: Duration = Duration::from_secs(200);
/// The route of everything that speaks MCP; what a caller may do there is decided by tool.
const MCP: &str = "/mcp";
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Puts the guard before every route of `router`.
pub fn guard(router: Router, state: &State) -> Router {
    router.layer(DefaultBodyLimit::max(MAX_BODY)).layer(from_fn_with_state(state.clone(), pass))
}

async fn pass(Shared(state): Shared<State>, mut request: Request, next: Next) -> Response {
    let route = route(&request);
    if is_probe(&route) || route == METRICS_PATH {
        return answer(state, route, request, next).await;
    }
    let method = verb(request.method());
    let span = tracing::info_span!(
        "request",
        otel.name = format!("{method} {route}"),
        otel.kind = "server",
        otel.status_code = Empty,
        http.request.method = method,
        http.route = route,
        http.response.status_code = Empty,
        gen_ai.tool.name = Empty,
        error.r#type = Empty,
    );
    let parent = request.headers().get("traceparent").and_then(|text| text.to_str().ok()?.parse().ok());
    let span = traces::begin(span, parent);
    request.extensions_mut().insert(RequestSpan(span.clone()));
    let response = answer(state, route, request, next).instrument(span.clone()).await;
    let status = response.status();
    span.record("http.response.status_code", status.as_u16());
    if status.is_server_error() {
        traces::fail(&span, status.as_str());
    }
    response
}

/// A method by its name, if it is one of those there are: it may be any word, and the log is no place for a stranger's.
fn verb(method: &Method) -> &str {
    if method.is_safe() || matches!(method.as_str(), "POST" | "PUT" | "PATCH" | "DELETE") {
        method.as_str()
    } else {
        "other"
    }
}

async fn answer(state: State, route: String, request: Request, next: Next) -> Response {
    let started_at = state.services.clock.now();
    let id = request_id(request.headers()).unwrap_or_else(|| state.services.entropy.guid());
    let method = request.method().clone();
    let mut challenge = None;
    let mut refused = None;
    let mut share = None;
    let admitted = async {
        let request = admit(&state, request, &route, &mut challenge).await?;
        let (request, taken) = state.intake.meter(request, &state.services.clock);
        share = Some(taken);
        let request = signed::prove(&state, request).await?;
        // Whoever is proven only now is checked only now.
        let caller = request.extensions().get::<Caller>().cloned().unwrap_or_else(Caller::nobody);
        if let Err(problem) = need(&state, &route, request.method()).check(&caller, request.method()) {
            refused = Some(caller);
            return Err(problem);
        }
        let asked = step_up::check(&state, &route, request, &mut challenge).await;
        if asked.is_err() {
            refused = Some(caller);
        }
        asked
    };
    let admitted = admitted.await;
    let mut response = match admitted {
        // A write continues when its caller hangs up, so that it is finished and noted.
        Ok(request) if signed::is_proven(&request) => {
            let handled = signed::handle(state.clone(), route.clone(), request, next).in_current_span();
            state.writes.spawn(handled).await.unwrap_or_else(|_| stopping())
        }
        Ok(request) if writes(&method, &route) => {
            let handled =
                state.writes.spawn(handle_once(state.clone(), route.clone(), request, next).in_current_span());
            handled.await.unwrap_or_else(|_| stopping())
        }
        Ok(request) => handle(state.clone(), route.clone(), request, next).await,
        Err(problem) => {
            let caller = refused.unwrap_or_else(Caller::nobody);
            let name = format!("{} {route}", verb(&method));
            let operation = Operation { caller: &caller, name, writes: false, arguments: None, ids: Vec::new() };
            if is_refusal(problem.code()) {
                state.services.audit.refused(&operation, problem.code().as_str()).await;
            }
            problem.respond(None)
        }
    };
    // A body that was not waited for is why the handler could not begin.
    if let Some(refused) = share.and_then(|share| share.refused()) {
        response = refused.respond(None);
    }
    let problem = response.extensions_mut().remove::<Problem>();
    let code = problem.as_ref().map_or("", |problem| problem.code().as_str());
    if let Some(problem) = problem {
        let allow = response.headers_mut().remove(header::ALLOW);
        response = problem.respond(Some(&id));
        response.headers_mut().extend(allow.map(|allow| (header::ALLOW, allow)));
        response.headers_mut().extend(challenge.map(|challenge| (header::WWW_AUTHENTICATE, challenge)));
    }
    if let Ok(id) = HeaderValue::from_str(&id) {
        response.headers_mut().insert(REQUEST_ID, id);
    }
    let took = (state.services.clock.now() - started_at).to_std().unwrap_or_default();
    let status = response.status().as_u16();
    state.requests.count(&method, &route, status, took);
    let ms = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
    // A call of a tool has a line of its own, with the tool's name.
    let logged_elsewhere = matches!(&*route, MCP | TOOL) || graph_webhook::is_endpoint(&route);
    if is_probe(&route) || (logged_elsewhere && status < 400) {
        tracing::debug!(method = verb(&method), route, status, ms, code, request_id = id, "request");
    } else {
        tracing::info!(method = verb(&method), route, status, ms, code, request_id = id, "request");
    }
    ascii::made(response)
}

/// The server stops while a request is worked on.
fn stopping() -> Response {
    let error = Error::new(ErrorCode::Cancelled, "the server is stopping").perhaps_changed();
    Problem::from(error).respond(None)
}

/// Whether a request may change something here; what comes for MCP says so by tool.
fn writes(method: &Method, route: &str) -> bool {
    !method.is_safe() && route != MCP
}

/// Whether a route makes sure by itself that what the host sends twice happens once: its answers are kept nowhere, because
/// they hold secrets, or because there are too many.
fn keeps_its_own_order(route: &str) -> bool {
    graph_webhook::is_endpoint(route) || oauth::is_endpoint(route) || route.starts_with("/pages/")
}

/// As [`handle()`], once for everything that the Functions host sends twice.
async fn handle_once(state: State, route: String, mut request: Request, next: Next) -> Response {
    let one = state.once.clone().and_then(|once| Some((Once::of(&mut request)?, once)));
    let Some((one, once)) = one.filter(|_| !keeps_its_own_order(&route)) else {
        return handle(state, route, request, next).await;
    };
    let again = match once.begin(&one).await {
        Ok(Start::First | Start::Other) => false,
        Ok(Start::Again) => {
            request.extensions_mut().insert(Again);
            true
        }
        Ok(Start::Answered(response)) => return response,
        Err(error) => return Problem::from(Error::from(error)).respond(None),
    };
    let mut response = handle(state, route, request, next).await;
    let problem = response.extensions_mut().remove::<Problem>();
    let mut response = once.answer(&one, again, response).await;
    // Problems are made into documents further out; one that was mended is none.
    if let Some(problem) = problem.filter(|_| !response.status().is_success()) {
        response.extensions_mut().insert(problem);
    }
    response
}

/// Runs the handler and notes what came of it.
pub async fn handle(state: State, route: String, mut request: Request, next: Next) -> Response {
    let started_at = state.services.clock.now();
    let noted = note(&state, &mut request, &route);
    let response = run(&state, &route, request, next).await;
    if let Some(noted) = noted {
        let problem = response.extensions().get::<Problem>();
        let outcome = problem.map_or("ok", |problem| problem.code().as_str());
        let took = (state.services.clock.now() - started_at).to_std().unwrap_or_default();
        state.services.audit.record(noted, outcome, took).await;
    }
    response
}

/// Checks host, caller and size, and notes who calls. A refusal may come with a challenge.
async fn admit(
    state: &State,
    mut request: Request,
    route: &str,
    challenge: &mut Option<HeaderValue>,
) -> Result<Request, Problem> {
    let need = need(state, route, request.method());
    let path = request.uri().path();
    // Graph calls the deployment under any of its names.
    if !is_probe(path) && !graph_webhook::is_endpoint(path) {
        let peer = request.extensions().get::<Peer>().copied();
        if !state.access.admits(peer) {
            let error = Error::new(ErrorCode::PermissionMissing, "calls from this address are not answered");
            return Err(error.hint("an operator adds the network to `ALLOWED_IPS`").into());
        }
        let origin = if oauth::takes_any_origin(path) { host::Origin::Any } else { host::Origin::Known };
        host::check(&state.access, request.uri(), request.headers(), origin)?;
    }
    let caller = if need == Need::Nothing {
        Caller::nobody()
    } else if signed::is_signed(request.headers()) {
        let claimed = state.gate.claimed(request.headers()).await.map_err(|denied| refusal(&denied))?;
        request.extensions_mut().insert(Arc::new(claimed));
        Caller::nobody()
    } else {
        let admitted = state.gate.admit(request.headers(), request.uri().query()).await;
        admitted.map_err(|denied| {
            let text = state.gate.challenge(&denied, request.headers());
            *challenge = text.and_then(|text| HeaderValue::from_str(&text).ok());
            refusal(&denied)
        })?
    };
    let announced =
        request.headers().get(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse::<usize>().ok());
    let most = if graph_webhook::is_endpoint(request.uri().path()) { graph_webhook::MAX_BODY } else { MAX_BODY };
    if announced.is_some_and(|length| length > most) {
        return Err(too_large(most)); // what is left of a body is read to its end further out
    }
    request.extensions_mut().insert(caller);
    Ok(request)
}

/// Whether the catalogue of tools answers a route: it keeps the deadline, writes the audit row and logs by itself.
fn is_dispatched(route: &str) -> bool {
    matches!(route, MCP | TOOL | RESOURCES)
}

/// What a request asks of its caller.
fn need(state: &State, route: &str, method: &Method) -> Need {
    if route == MCP { Need::Known } else { state.declared.need(route, method) }
}

/// Whether a code is that of a caller who was not let in, or not let do it.
fn is_refusal(code: ErrorCode) -> bool {
    use ErrorCode::{PermissionMissing, ReadOnly, TokenExpired, Unauthenticated};
    matches!(code, Unauthenticated | TokenExpired | PermissionMissing | ReadOnly)
}

/// Begins the operation a request is, for the audit log, and hands it to the handler with its caller. Nothing is said of
/// probes and metrics; MCP notes its calls by itself.
fn note(state: &State, request: &mut Request, route: &str) -> Option<Noted> {
    let path = request.uri().path().to_owned();
    let by_link = route == DOWNLOAD;
    let caller = if by_link { audit::link_holder() } else { request.extensions().get::<Caller>()?.clone() };
    if !by_link && (need(state, route, request.method()) <= Need::Known || route == METRICS_PATH) {
        return None;
    }
    let noted = state.services.audit.begin(&Operation {
        caller: &caller,
        name: format!("{} {route}", verb(request.method())),
        writes: !request.method().is_safe(),
        arguments: None,
        ids: named(state, route, &path),
    });
    request.extensions_mut().insert(noted.of(caller));
    Some(if by_link { noted.always() } else { noted })
}

/// What a path names, by what it is: the segment that stands where the route has a name in braces.
fn named(state: &State, route: &str, path: &str) -> Vec<(&'static str, String)> {
    let at = route.split('/').position(|segment| segment.starts_with('{'));
    let named = at.and_then(|at| path.split('/').nth(at));
    let (Some(kind), Some(named)) = (state.declared.names(route), named) else { return Vec::new() };
    let named = percent_decode(if kind == "report_id" { named.split('.').next().unwrap_or(named) } else { named });
    vec![(kind, named)]
}

fn percent_decode(text: &str) -> String {
    // A path's segment is no form: a plus stands for itself.
    let form = format!("x={}", text.replace('+', "%2B"));
    url::form_urlencoded::parse(form.as_bytes()).next().map(|(_, value)| value.into_owned()).unwrap_or_default()
}

/// Runs the handler; a panic and an endless wait are answers too. The catalogue of tools keeps the deadline by itself, once
/// the request has come.
async fn run(state: &State, route: &str, request: Request, next: Next) -> Response {
    let writes = writes(request.method(), route);
    let outcome = if is_dispatched(route) {
        match state.services.clock.timeout(DEADLINE, arrived(request)).await {
            Some(Ok(request)) => Some(AssertUnwindSafe(next.run(request)).catch_unwind().await),
            Some(Err(problem)) => return problem.respond(None),
            None => None,
        }
    } else {
        state.services.clock.timeout(DEADLINE, AssertUnwindSafe(next.run(request)).catch_unwind()).await
    };
    let error = match outcome {
        Some(Ok(response)) => return response,
        Some(Err(_)) => {
            tracing::error!(route, "a handler panicked");
            Error::new(ErrorCode::Internal, "a fault of GraphGate; it has been logged")
                .hint("repeating the call will not help")
        }
        None => Error::new(ErrorCode::TimedOut, format!("the request took longer than {} s", DEADLINE.as_secs()))
            .hint("what was journalled still reaches Planner; `GET /api/agent/tasks` shows it"),
    };
    // Its work may have been done up to there.
    Problem::from(if writes { error.perhaps_changed() } else { error }).respond(None)
}

/// The request with its whole body.
async fn arrived(request: Request) -> Result<Request, Problem> {
    let (parts, body) = request.into_parts();
    let (mut chunks, mut whole) = (body.into_data_stream(), Vec::new());
    while let Some(chunk) = chunks.next().await {
        let chunk = chunk.map_err(|_| broke_off())?;
        if whole.len() + chunk.len() > MAX_BODY {
            return Err(too_large(MAX_BODY));
        }
        whole.extend_from_slice(&chunk);
    }
    Ok(Request::from_parts(parts, whole.into()))
}

/// The refusal of a body that ended before its end.
pub fn broke_off() -> Problem {
    Error::invalid("the body broke off").into()
}

/// The refusal of a body that is too large.
pub fn too_large(most: usize) -> Problem {
    Error::new(ErrorCode::BodyTooLarge, format!("the body is larger than {} MiB", most / 1024 / 1024))
        .hint("split the call")
        .into()
}

/// The path's pattern, for logs and counts: ids in paths would make every request its own route.
fn route(request: &Request) -> String {
    let path = request.uri().path();
    if path == "/mcp" || path.starts_with("/mcp/") {
        return MCP.into();
    }
    request.extensions().get::<MatchedPath>().map_or_else(|| "unknown".into(), |route| route.as_str().into())
}

fn is_probe(path: &str) -> bool {
    matches!(path, "/" | "/health" | "/health/live" | "/health/ready")
}

/// The id the caller gave the request, if it is one that can be logged.
fn request_id(headers: &HeaderMap) -> Option<String> {
    let id = headers.get(REQUEST_ID)?.to_str().ok()?;
    let plain = id.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.'));
    (plain && (1..=64).contains(&id.len())).then(|| id.to_owned())
}
