//! Microsoft Graph v1.0: takes a request from the socket, checks its token, lets the fault plan have its way,
//! finds the handler, and writes down what happened. Handlers know nothing of faults, latency or the log.

mod batch;
mod call;
mod consents;
mod deleted;
mod directory;
mod drives;
mod error;
pub mod etag;
mod filter;
mod groups;
mod licences;
pub mod mail;
mod odata;
pub mod order_hint;
mod organization;
mod planner;
mod reference_key;
mod subscriptions;
mod users;

use std::sync::Arc;
use std::time::Instant;

use serde_json::Value;

use super::entra::{self, Claims};
use super::faults::{Candidate, Fault, FaultKind, Service, usual_code};
use super::http::{Reply, Request};
use super::log::Line;
use super::notify;
use super::simulator::Simulator;

pub use call::{Call, Outcome, Query, decode};
pub use error::GraphError;
pub use organization::invited;
pub use planner::{Rules, route as planner_route, seed};

const JSON: &str = "application/json;odata.metadata=minimal;odata.streaming=true;IEEE754Compatible=false;charset=utf-8";

/// What became of one attempt.
pub struct Attempt {
    pub status: Option<u16>,
    pub headers: Vec<(&'static str, String)>,
    pub body: Option<String>,
    pub fault: Option<Fault>,
}

/// Answers a Graph request; `below` is its path and query under `/v1.0`.
pub async fn serve(simulator: &Simulator, request: &Request, below: &str) -> Reply {
    let arrived = simulator.clock.now();
    let started = Instant::now();
    simulator.stats(|s| {
        s.in_flight += 1;
        s.max_concurrency = s.max_concurrency.max(s.in_flight);
    });
    let _leaving = Leaving(simulator);
    let claims = simulator.entra.authenticate(request.header("authorization"), arrived).await;
    let claims = claims.and_then(|claims| entra::evaluate(simulator, &claims, arrived).map(|()| claims));
    let delay = simulator.delay();
    if !delay.is_zero() {
        tokio::time::sleep(delay).await;
    }
    let path = below.split('?').next().unwrap_or_default();
    let ids = Ids::of(request, arrived);
    let attempt = match &claims {
        Err(error) => failure(error, &ids),
        Ok(claims) => {
            let is_batch = path.trim_matches('/').eq_ignore_ascii_case("$batch");
            let candidate =
                Candidate { service: Service::Graph, method: &request.method, path: below, in_batch: false, is_batch };
            let call = Call {
                method: request.method.clone(),
                target: below.to_owned(),
                segments: call::split(path),
                query: Query::parse(below.split_once('?').map_or("", |(_, q)| q)),
                headers: request.headers.clone(),
                body: None,
                claims: Arc::clone(claims),
                root: format!("{}/v1.0", request.origin),
                now: simulator.clock.now(),
            };
            attempt(simulator, call, &request.body, candidate, arrived, &ids).await
        }
    };
    finish(simulator, request, claims.ok().as_deref(), attempt, &ids, arrived, started)
}

/// Counts a request out, also when the client went away in the middle.
struct Leaving<'a>(&'a Simulator);

impl Drop for Leaving<'_> {
    fn drop(&mut self) {
        self.0.stats(|s| s.in_flight -= 1);
    }
}

/// The ids that an answer and its errors carry.
pub struct Ids {
    pub request: String,
    pub client: String,
    pub date: String,
}

impl Ids {
    fn of(request: &Request, now: chrono::DateTime<chrono::Utc>) -> Self {
        let id = uuid::Uuid::new_v4().to_string();
        let client = request.header("client-request-id").map_or_else(|| id.clone(), str::to_owned);
        Self { request: id, client, date: now.format("%Y-%m-%dT%H:%M:%S").to_string() }
    }
}

/// One attempt, alone or inside a batch: the fault plan first, then the handler.
pub async fn attempt(
    simulator: &Simulator,
    mut call: Call,
    body: &[u8],
    candidate: Candidate<'_>,
    arrived: chrono::DateTime<chrono::Utc>,
    ids: &Ids,
) -> Attempt {
    let fault = simulator.faults(|f| f.decide(arrived, candidate));
    let operation = operation(&call.method, &call.segments);
    let wants_effect = fault.as_ref().is_none_or(|f| f.kind.has_effect());
    if let Some(late) = fault.as_ref().filter(|f| f.kind == FaultKind::Delay) {
        tokio::time::sleep(late.time()).await;
    }
    let real = if wants_effect {
        let outcome = match parse(body) {
            Ok(parsed) => {
                call.body = parsed;
                let (method, segments) = (call.method.clone(), call.segments.clone());
                let outcome = dispatch(simulator, call, candidate.in_batch, ids).await;
                if let Ok(answer) = &outcome {
                    notify::after_call(simulator, &method, &segments, answer.body.as_deref()).await;
                }
                outcome
            }
            Err(error) => Err(error),
        };
        Some(match outcome {
            Ok(answer) => {
                Attempt { status: Some(answer.status), headers: answer.headers, body: answer.body, fault: None }
            }
            Err(error) => failure(&error, ids),
        })
    } else {
        None
    };
    let mut attempt = match (fault, real) {
        (Some(late), Some(real)) if late.kind == FaultKind::Delay => Attempt { fault: Some(late), ..real },
        (Some(fault), _) => faulted(fault, ids),
        (None, Some(real)) => real,
        (None, None) => failure(&GraphError::new(500, "InternalServerError", "The call was not made."), ids),
    };
    if candidate.in_batch && attempt.status.is_none() {
        // Inside a batch a lost call shows as a gateway timeout of that item.
        let fault = attempt.fault.take();
        attempt = failure(&GraphError::new(504, "GatewayTimeout", "The request timed out."), ids);
        attempt.fault = fault;
    }
    let retry_after = attempt.headers.iter().find(|(n, _)| *n == "retry-after").and_then(|(_, v)| v.parse().ok());
    if let Some(seconds) = retry_after {
        simulator.faults(|f| f.refused(simulator.clock.now(), candidate.path, seconds));
    }
    simulator.stats(|s| {
        s.calls += 1;
        s.faults += u64::from(attempt.fault.is_some());
        let status = attempt.status.map_or_else(|| "none".to_owned(), |s| s.to_string());
        *s.by_operation.entry(operation).or_default().entry(status).or_default() += 1;
    });
    attempt
}

/// [`attempt`] as a value, which ends the recursion of batches in the types.
pub fn attempt_boxed<'a>(
    simulator: &'a Simulator,
    call: Call,
    body: &'a [u8],
    candidate: Candidate<'a>,
    arrived: chrono::DateTime<chrono::Utc>,
    ids: &'a Ids,
) -> futures::future::BoxFuture<'a, Attempt> {
    Box::pin(attempt(simulator, call, body, candidate, arrived, ids))
}

fn parse(body: &[u8]) -> Result<Option<Value>, GraphError> {
    if body.is_empty() {
        return Ok(None);
    }
    serde_json::from_slice(body).map(Some).map_err(|error| {
        GraphError::malformed(format!("Unable to read JSON request payload. Please ensure Content-Type header is set and payload is of valid JSON format. ({error})"))
    })
}

fn failure(error: &GraphError, ids: &Ids) -> Attempt {
    let body = error.body(&ids.date, &ids.request, &ids.client);
    Attempt { status: Some(error.status), headers: error.headers.clone(), body: Some(body), fault: None }
}

fn faulted(fault: Fault, ids: &Ids) -> Attempt {
    match fault.kind {
        FaultKind::Status | FaultKind::EffectThenStatus => {
            let code = fault.code.clone().unwrap_or_else(|| usual_code(fault.status).to_owned());
            let message = fault
                .message
                .clone()
                .unwrap_or_else(|| "The fault plan of the simulated tenant answers this call.".to_owned());
            let mut attempt = failure(&GraphError::new(fault.status, &code, message), ids);
            if let Some(seconds) = fault.retry_after {
                attempt.headers.push(("retry-after", seconds.to_string()));
            }
            attempt.fault = Some(fault);
            attempt
        }
        _ => Attempt { status: None, headers: Vec::new(), body: None, fault: Some(fault) },
    }
}

fn finish(
    simulator: &Simulator,
    request: &Request,
    claims: Option<&Claims>,
    mut attempt: Attempt,
    ids: &Ids,
    arrived: chrono::DateTime<chrono::Utc>,
    started: Instant,
) -> Reply {
    attempt.headers.push(("date", arrived.format("%a, %d %b %Y %H:%M:%S GMT").to_string()));
    attempt.headers.push(("request-id", ids.request.clone()));
    attempt.headers.push(("client-request-id", ids.client.clone()));
    if attempt.body.is_some() {
        attempt.headers.push(("content-type", JSON.to_owned()));
    }
    let fault = attempt.fault.as_ref().map(Fault::name);
    simulator.log.write(&Line {
        method: &request.method,
        path: &request.target,
        headers: &request.headers,
        body: &request.body,
        status: attempt.status,
        response: attempt.body.as_deref(),
        response_headers: &attempt.headers,
        time: arrived,
        app_only: claims.map(|c| c.user.is_none()),
        permissions: claims.map_or(&[], |c| &c.permissions),
        took_ms: started.elapsed().as_secs_f64() * 1e3,
        fault: fault.as_deref(),
    });
    match (attempt.status, attempt.fault) {
        (Some(status), _) => Reply::new(status, &attempt.headers, attempt.body.unwrap_or_default()),
        (None, Some(fault)) if matches!(fault.kind, FaultKind::DropWithEffect | FaultKind::DropWithoutEffect) => {
            Reply::Drop
        }
        (None, Some(fault)) => Reply::Hold(fault.time()),
        (None, None) => Reply::Drop,
    }
}

/// Finds the handler.
async fn dispatch(simulator: &Simulator, mut call: Call, in_batch: bool, ids: &Ids) -> Outcome {
    if !matches!(call.method.as_str(), "GET" | "POST" | "PATCH" | "PUT" | "DELETE") {
        return Err(GraphError::method(&call.method));
    }
    if call.segments.first().is_some_and(|s| s == "me") {
        let Some(user) = call.user().map(str::to_owned) else {
            return Err(GraphError::malformed("/me request is only valid with delegated authentication flow."));
        };
        call.segments.splice(..1, ["users".to_owned(), user]);
    }
    let path = call.path();
    match path.as_slice() {
        ["$batch"] if in_batch => Err(GraphError::malformed("A batch request cannot contain another batch request.")),
        ["$batch"] => batch::run(simulator, &call, ids).await,
        ["subscriptions", ..] => subscriptions::route(simulator, &call).await,
        ["planner", ..] | ["groups" | "users", _, "planner", ..] => {
            let rules = simulator.knobs(|k| k.rules.clone());
            simulator.write(|tenant| planner::route(&call, tenant, &rules))
        }
        ["drives", ..] | ["users" | "groups", _, "drive" | "drives", ..] => {
            simulator.read(|tenant| drives::route(&call, tenant))
        }
        path if mail::is_mail(path) => simulator.write(|tenant| mail::route(&call, tenant)),
        ["teams", _, "channels", _, "messages"] if call.method == "POST" => mail::channel_message(&call),
        ["users", ..] => simulator.write(|tenant| users::route(&call, tenant)),
        ["groups" | "groupSettings" | "groupSettingTemplates", ..] => {
            simulator.write(|tenant| groups::route(&call, tenant))
        }
        ["directory", "deletedItems", ..] => simulator.write(|tenant| deleted::route(&call, tenant)),
        ["oauth2PermissionGrants", ..] => simulator.write(|tenant| consents::route(&call, tenant)),
        ["organization" | "domains" | "subscribedSkus" | "teams" | "directoryObjects" | "invitations", ..] => {
            simulator.write(|tenant| organization::route(&call, tenant))
        }
        _ => Err(GraphError::no_segment(path.first().copied().unwrap_or("/"))),
    }
}

/// The operation's name in the statistics: ids are replaced.
fn operation(method: &str, segments: &[String]) -> String {
    let mut name = method.to_owned() + " ";
    for (i, segment) in segments.iter().enumerate() {
        let is_id = segment.contains('@') && !segment.starts_with('@')
            || segment.len() == 28
            || segment.len() == 36
            || (i == 1
                && matches!(segments.first().map(String::as_str), Some("users" | "groups" | "subscriptions"))
                && !segment.starts_with('$')
                && segment != "delta");
        name.push('/');
        name.push_str(if is_id { "{id}" } else { segment });
    }
    name
}
