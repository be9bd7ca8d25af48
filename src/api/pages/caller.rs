//! Who opens a page: somebody who is signed in to the pages, or whom the request proves otherwise (App Service's sign-in, or
//! a server that asks nobody).

use axum::http::HeaderMap;
use axum::response::Response;

use super::{MessagePage, ask_to_sign_in, checked, page, refused, session};
use crate::api::State;
use crate::api::problem::Problem;
use crate::api::refusal::refusal;
use crate::auth::authorization_server::{Form, OAuthError};
use crate::auth::{Caller, Denied};
use crate::services::Error;
use crate::services::audit::Operation;

/// Somebody who opens a page.
pub struct Visitor {
    /// What the visitor may do, and as whom.
    pub caller: Caller,
    /// The name to show.
    pub name: String,
    /// The session's cookie; `None` where the request proves itself.
    cookie: Option<String>,
}

impl Visitor {
    /// What a form of the page has to bring.
    pub fn form_token(&self, state: &State) -> String {
        let token = self.cookie.as_ref().zip(state.gate.server()).map(|(cookie, server)| server.form_token(cookie));
        token.unwrap_or_default()
    }

    /// An operation of the visitor, for the audit log.
    pub fn operation(&self, name: &str, writes: bool, ids: Vec<(&'static str, String)>) -> Operation<'_> {
        Operation { caller: &self.caller, name: name.to_owned(), writes, arguments: None, ids }
    }

    /// Lets a form pass that one of our pages has sent. Where no cookie says who it is, the origin was checked on the way in.
    pub fn check(&self, state: &State, form: &Form) -> Result<(), OAuthError> {
        match (&self.cookie, state.gate.server()) {
            (Some(cookie), Some(server)) => checked(server, cookie, form),
            _ => Ok(()),
        }
    }
}

/// Who opens a page, or the page that asks who it is.
pub async fn visitor(state: &State, headers: &HeaderMap) -> Result<Visitor, Box<Response>> {
    let wrong = |error: OAuthError| Box::new(refused(&error));
    if let Some(server) = state.gate.server()
        && let Some((session, cookie)) = session(server, headers).await.map_err(wrong)?
    {
        let caller = state.gate.visitor(&session.person).await.map_err(|denied| Box::new(shown(&denied)))?;
        return Ok(Visitor { caller, name: session.name, cookie: Some(cookie) });
    }
    match (state.gate.admit(headers, None).await, state.gate.server()) {
        (Ok(caller), _) => Ok(Visitor { name: caller.name.clone(), caller, cookie: None }),
        (Err(Denied::Missing), Some(server)) => Err(Box::new(ask_to_sign_in(server, headers))),
        (Err(denied), _) => Err(Box::new(shown(&denied))),
    }
}

fn shown(denied: &Denied) -> Response {
    let status = refusal(denied).status();
    let text = match denied {
        Denied::Missing => {
            "People do not sign in to this server, so it does not know who you are. What this page shows is there for programs too, with a key, below /api; an operator who sets SIGN_IN_CLIENT_ID opens it to people.".to_owned()
        }
        denied => denied.to_string(),
    };
    page(status, &MessagePage { title: "Not shown", text: &text, code: "", back: None }, &[])
}

/// Does what a visitor asks, with its row in the audit log.
pub async fn audited<T, F>(
    state: &State,
    operation: &Operation<'_>,
    act: impl FnOnce(Caller) -> F,
) -> Result<T, Problem>
where
    F: Future<Output = Result<T, Error>>,
{
    let started_at = state.services.clock.now();
    let noted = state.services.audit.begin(operation);
    let done = act(noted.of(operation.caller.clone())).await;
    let outcome = done.as_ref().map_or_else(|error| error.code.as_str(), |_| "ok");
    let took = (state.services.clock.now() - started_at).to_std().unwrap_or_default();
    state.services.audit.record(noted, outcome, took).await;
    done.map_err(Problem::from)
}

/// The page of what is refused or fails.
pub fn failed(problem: impl Into<Problem>) -> Response {
    let problem = problem.into();
    let text = problem.sentence();
    page(problem.status(), &MessagePage { title: "This does not work", text: &text, code: "", back: None }, &[])
}
