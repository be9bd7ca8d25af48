//! Signed requests: proven by their body, carried out once. One that comes again under the id that was signed gets the
//! first one's answer, so that neither a lost answer nor somebody who listened has it done twice.

use std::sync::Arc;

use axum::body::{Body, to_bytes};
use axum::extract::Request;
use axum::http::{StatusCode, header};
use axum::middleware::Next;
use axum::response::Response;

use super::guard;
use super::once::{Once, Start, Try};
use super::problem::Problem;
use super::refusal::refusal;
use super::{MAX_BODY, State};
use crate::auth::gate::Claimed;
use crate::error::ErrorCode;
use crate::services::Error;

pub use crate::auth::signed::is_signed;

/// A request whose signature held, and that may change something.
#[derive(Clone)]
struct Proven(Arc<Try>);

/// Whether the signature of a request held that may change something.
pub fn is_proven(request: &Request) -> bool {
    request.extensions().get::<Proven>().is_some()
}

/// The request with the caller who signed it; one that claims nothing of the kind stays as it is.
pub async fn prove(state: &State, mut request: Request) -> Result<Request, Problem> {
    let Some(claimed) = request.extensions_mut().remove::<Arc<Claimed>>() else { return Ok(request) };
    let Some(claimed) = Arc::into_inner(claimed) else { return Ok(request) };
    let (mut parts, body) = request.into_parts();
    let unread = |_| {
        let error = Error::invalid(format!("the body could not be read, or is larger than {MAX_BODY} bytes"));
        Problem::refused(StatusCode::PAYLOAD_TOO_LARGE, error)
    };
    let body = to_bytes(body, MAX_BODY).await.map_err(unread)?;
    let target = parts.uri.path_and_query().map_or("/", |target| target.as_str()).to_owned();
    let id = claimed.request_id().to_owned();
    let admitted = state.gate.admit_signed(claimed, parts.method.as_str(), &target, &body);
    let caller = admitted.map_err(|denied| refusal(&denied))?;
    let one = Once::of_signed(&caller.name, &id, &parts.method, &target, &body);
    // What only reads has no effect that could come twice.
    if !parts.method.is_safe() {
        parts.extensions.insert(Proven(Arc::new(one)));
    }
    parts.extensions.insert(caller);
    Ok(Request::from_parts(parts, Body::from(body)))
}

/// Runs the handler of a proven request, once for each id.
pub async fn handle(state: State, route: String, request: Request, next: Next) -> Response {
    let one = request.extensions().get::<Proven>().map(|Proven(one)| one.clone());
    let Some((one, once)) = one.zip(state.signed.clone()) else {
        return guard::handle(state, route, request, next).await;
    };
    match once.begin(&one).await {
        Ok(Start::First) => {}
        Ok(Start::Answered(response)) => return response,
        Ok(Start::Again) => {
            let error = Error::new(ErrorCode::Conflict, "a request with this id was begun, and its answer is not kept");
            let hint =
                "it is under way, or its answer was a stream or too long; look what it did before another id is used";
            return Problem::from(error.hint(hint).perhaps_changed()).respond(None);
        }
        Ok(Start::Other) => {
            let error = Error::new(ErrorCode::Conflict, "another request has this id; this one was not carried out");
            return Problem::from(error.hint("every request has an id of its own")).respond(None);
        }
        Err(error) => return Problem::from(Error::from(error)).respond(None),
    }
    let mut response = guard::handle(state, route, request, next).await;
    if is_stream(&response) {
        return response;
    }
    let problem = response.extensions_mut().remove::<Problem>();
    if let Some(problem) = problem.as_ref().filter(|problem| problem.changed_nothing()) {
        once.forget(&one).await;
        response.extensions_mut().insert(problem.clone());
        return response;
    }
    let mut response = once.answer(&one, false, response).await;
    if let Some(problem) = problem {
        response.extensions_mut().insert(problem);
    }
    response
}

/// Answers that come bit by bit cannot be kept.
fn is_stream(response: &Response) -> bool {
    let kind = response.headers().get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    kind.starts_with("text/event-stream")
}
