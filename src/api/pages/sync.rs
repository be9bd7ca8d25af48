//! *Sync*: the replica's plans, what was decided between two values, and what happened. The losing value of a conflict is put
//! back by a button.

use askama::Template;
use axum::body::Bytes;
use axum::extract::State as Shared;
use axum::http::{HeaderMap, Method, StatusCode};
use axum::response::{IntoResponse, Redirect, Response};
use serde_json::Value;

use super::caller::{Visitor, audited, failed, visitor};
use super::{MAX_FORM, page, refused};
use crate::api::State;
use crate::api::oauth::fields_of;
use crate::api::problem::Problem;
use crate::api::route::{Need, Route};
use crate::services::events::{EventView, LogQuery};
use crate::services::planner::{ConflictQuery, ConflictView, PlanHealth, Winner};

/// Conflicts and events that are shown.
const SHOWN: u32 = 40;
/// Characters of a value that are shown.
const LONGEST: usize = 160;
/// The toolset that the replica's state belongs to.
const TOOLSET: &str = "planner";

/// The routes.
pub fn routes() -> Vec<Route> {
    vec![
        Route::get("/pages/sync", Need::Nothing, show),
        Route::post("/pages/sync/restore", Need::Nothing, restore).with_bodies_up_to(MAX_FORM),
        Route::get("/api/sync/board", Need::Nothing, moved),
    ]
}

/// `GET /api/sync/board`, where the page was.
async fn moved() -> Redirect {
    Redirect::permanent("/pages/sync")
}

/// A decided conflict, as it is shown.
struct Conflict {
    id: String,
    task: String,
    plan: String,
    what: String,
    holds: String,
    lost: String,
    reason: String,
}

impl From<ConflictView> for Conflict {
    fn from(conflict: ConflictView) -> Self {
        let kind = serde_json::to_value(conflict.kind).ok();
        let kind = kind.as_ref().and_then(Value::as_str).unwrap_or_default().replace('_', " ");
        let (agent, planner) = (shown(&conflict.agent), shown(&conflict.planner));
        let (holds, lost) = match conflict.winner {
            Winner::Agent => (agent, planner),
            Winner::Planner => (planner, agent),
        };
        Self {
            id: conflict.id,
            task: conflict.title,
            plan: conflict.plan.unwrap_or_default(),
            what: conflict.field.unwrap_or(kind),
            holds,
            lost,
            reason: conflict.reason,
        }
    }
}

/// A value of a field, for people.
fn shown(value: &Value) -> String {
    let text = match value {
        Value::Null => return "nothing".to_owned(),
        Value::String(text) if text.is_empty() => return "empty".to_owned(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    match text.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}

/// An event, as it is shown.
struct Event {
    at: String,
    what: String,
    task: String,
    fields: String,
    by: String,
}

impl From<EventView> for Event {
    fn from(event: EventView) -> Self {
        Self {
            at: event.at,
            what: event.event.replace('_', " "),
            task: event.title.or(event.plan).unwrap_or_default(),
            fields: event.fields.join(", "),
            by: event.by.unwrap_or_else(|| event.side.to_owned()),
        }
    }
}

/// A plan, as it is shown.
struct Plan {
    name: String,
    status: &'static str,
    tasks: usize,
    pending: usize,
    oldest: String,
    as_of: String,
    to_do: String,
}

impl From<PlanHealth> for Plan {
    fn from(plan: PlanHealth) -> Self {
        let told = [plan.stopped, plan.last_error, plan.what_to_do];
        Self {
            name: plan.plan.unwrap_or(plan.plan_id),
            status: plan.status.words(),
            tasks: plan.tasks,
            pending: plan.pending,
            oldest: plan.oldest_pending.unwrap_or_default(),
            as_of: plan.as_of.unwrap_or_default(),
            to_do: told.into_iter().flatten().collect::<Vec<_>>().join("; "),
        }
    }
}

#[derive(Template)]
#[template(path = "sync.html", config = "src/api/pages/askama.toml")]
struct SyncPage<'a> {
    who: &'a str,
    signs_in: bool,
    status: &'static str,
    plans: Vec<Plan>,
    conflicts: Vec<Conflict>,
    events: Vec<Event>,
    may_write: bool,
    token: String,
}

/// `GET /pages/sync`
async fn show(Shared(state): Shared<State>, headers: HeaderMap) -> Response {
    match visitor(&state, &headers).await {
        Ok(visitor) => shown_to(&state, &visitor).await.unwrap_or_else(failed),
        Err(answer) => *answer,
    }
}

async fn shown_to(state: &State, visitor: &Visitor) -> Result<Response, Problem> {
    let caller = &visitor.caller;
    Need::Reads(TOOLSET).check(caller, &Method::GET)?;
    let health = state.services.planner.sync_health(caller, None).await?;
    let query = ConflictQuery { open: Some(true), limit: Some(SHOWN), ..ConflictQuery::default() };
    let conflicts = state.services.planner.conflicts(caller, &query).await?;
    let query = LogQuery { limit: Some(SHOWN), ..LogQuery::default() };
    let events = state.services.events.log(caller, &query).await?;
    let template = SyncPage {
        who: &visitor.name,
        signs_in: state.gate.server().is_some(),
        status: health.status.words(),
        plans: health.plans.into_iter().map(Plan::from).collect(),
        conflicts: conflicts.conflicts.into_iter().map(Conflict::from).collect(),
        events: events.events.into_iter().map(Event::from).collect(),
        may_write: caller.may_write(TOOLSET),
        token: visitor.form_token(state),
    };
    Ok(page(StatusCode::OK, &template, &[]))
}

/// `POST /pages/sync/restore`: puts the losing value of a conflict back.
async fn restore(Shared(state): Shared<State>, headers: HeaderMap, body: Bytes) -> Response {
    let visitor = match visitor(&state, &headers).await {
        Ok(visitor) => visitor,
        Err(answer) => return *answer,
    };
    let form = match fields_of(&body).and_then(|form| visitor.check(&state, &form).map(|()| form)) {
        Ok(form) => form,
        Err(error) => return refused(&error),
    };
    let restored = async {
        Need::Writes(TOOLSET).check(&visitor.caller, &Method::POST)?;
        let id = form.get("conflict").map(String::as_str).unwrap_or_default();
        let planner = state.services.planner.clone();
        let operation = visitor.operation("POST /pages/sync/restore", true, vec![("conflict_id", id.to_owned())]);
        let restored = audited(&state, &operation, |caller| async move { planner.restore(&caller, id).await });
        restored.await?;
        Ok(Redirect::to("/pages/sync").into_response())
    };
    restored.await.unwrap_or_else(|problem: Problem| failed(problem))
}
