//! Tasks, for agents that speak HTTP: the same service, arguments and answers as the MCP tools.

use std::sync::Arc;

use axum::extract::State as Shared;
use axum::http::{HeaderMap, HeaderValue, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use serde_json::{Map, Value};
use url::form_urlencoded;

use super::extract::{Id, IdempotencyKey, Json, NoQuery, Query, Shown, Writer, decode};
use super::problem::Problem;
use crate::auth::Caller;
use crate::services::Error;
use crate::services::planner::input::{CreateTask, QueryTasks, UpdateTask};
use crate::services::planner::{Planner, Removed, SyncOutcome, TaskPage, TaskReceipt, TaskView};

/// How a task is to be shown.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Showing {
    fresh: Option<bool>,
}

/// `GET /api/agent/tasks`
pub async fn list(
    Shared(planner): Shared<Arc<Planner>>,
    caller: Caller,
    uri: Uri,
    Query(mut query): Query<QueryTasks>,
) -> Result<(HeaderMap, Shown<TaskPage>), Problem> {
    query.format.get_or_insert_with(|| "json".to_owned());
    let page = planner.query(&caller, &query).await?;
    let link = page.cursor.as_deref().and_then(|cursor| next_link(&uri, cursor));
    Ok((link.map(|link| (header::LINK, link)).into_iter().collect(), Shown(page)))
}

/// `POST /api/agent/tasks`: 201 once Planner has the task, 202 while it is on its way.
pub async fn create(
    Shared(planner): Shared<Arc<Planner>>,
    Writer(caller): Writer,
    IdempotencyKey(key): IdempotencyKey,
    _: NoQuery,
    Json(mut input): Json<CreateTask>,
) -> Result<Created, Problem> {
    input.idempotency_key = one_key(key, input.idempotency_key)?;
    Ok(Created(planner.create_task(&caller, &input).await?))
}

/// `GET /api/agent/tasks/{id}`
pub async fn show(
    Shared(planner): Shared<Arc<Planner>>,
    caller: Caller,
    Id(id): Id,
    Query(showing): Query<Showing>,
) -> Result<Shown<TaskView>, Problem> {
    Ok(Shown(planner.get_task(&caller, &id, showing.fresh).await?))
}

/// `PATCH /api/agent/tasks/{id}`: only the fields named change.
pub async fn update(
    Shared(planner): Shared<Arc<Planner>>,
    Writer(caller): Writer,
    Id(id): Id,
    _: NoQuery,
    Json(changes): Json<Map<String, Value>>,
) -> Result<(StatusCode, Shown<TaskReceipt>), Problem> {
    let receipt = planner.update_task(&caller, &change_of(id, changes)?).await?;
    Ok((accepted_or_ok(receipt.sync), Shown(receipt)))
}

/// `DELETE /api/agent/tasks/{id}`
pub async fn delete(
    Shared(planner): Shared<Arc<Planner>>,
    Writer(caller): Writer,
    Id(id): Id,
    _: NoQuery,
) -> Result<(StatusCode, Shown<Removed>), Problem> {
    let removed = planner.delete_task(&caller, &id).await?;
    Ok((accepted_or_ok(removed.sync), Shown(removed)))
}

/// A new task and where it is.
pub struct Created(TaskReceipt);

impl IntoResponse for Created {
    fn into_response(self) -> Response {
        let status = if self.0.sync == SyncOutcome::Pending { StatusCode::ACCEPTED } else { StatusCode::CREATED };
        (status, [(header::LOCATION, format!("/api/agent/tasks/{}", self.0.id))], Shown(self.0)).into_response()
    }
}

fn accepted_or_ok(sync: SyncOutcome) -> StatusCode {
    if sync == SyncOutcome::Pending { StatusCode::ACCEPTED } else { StatusCode::OK }
}

/// The key of header and body, which may both name it but not two different ones.
fn one_key(header: Option<String>, body: Option<String>) -> Result<Option<String>, Error> {
    match (header, body) {
        (Some(header), Some(body)) if header != body => {
            Err(Error::invalid("`Idempotency-Key` and `idempotency_key` differ; nothing was changed")
                .hint("send one of them"))
        }
        (header, body) => Ok(header.or(body)),
    }
}

/// The arguments of a change: the body's fields, and the task the path names.
fn change_of(id: String, mut fields: Map<String, Value>) -> Result<UpdateTask, Problem> {
    if fields.contains_key("task_id") {
        return Err(Error::invalid("unknown field `task_id`: the path names the task; nothing was changed").into());
    }
    fields.insert("task_id".into(), id.into());
    decode(Value::Object(fields))
}

/// The address of the next page: this one's, with the cursor in place of the old one (RFC 8288).
fn next_link(uri: &Uri, cursor: &str) -> Option<HeaderValue> {
    let mut query = form_urlencoded::Serializer::new(String::new());
    query.extend_pairs(
        form_urlencoded::parse(uri.query().unwrap_or("").as_bytes()).filter(|(name, _)| name != "cursor"),
    );
    let query = query.append_pair("cursor", cursor).finish();
    HeaderValue::from_str(&format!("<{}?{query}>; rel=\"next\"", uri.path())).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_next_page_keeps_the_filters_and_swaps_the_cursor() {
        let uri = Uri::from_static("/api/agent/tasks?plan_id=Web%20shop&cursor=old&limit=2");
        let link = next_link(&uri, "new").unwrap();
        assert_eq!(link, "</api/agent/tasks?plan_id=Web+shop&limit=2&cursor=new>; rel=\"next\"");
    }

    #[test]
    fn two_different_keys_are_refused() {
        let key = |text: &str| Some(text.to_owned());
        assert_eq!(one_key(key("a"), key("a")).unwrap(), key("a"));
        assert_eq!(one_key(None, key("b")).unwrap(), key("b"));
        assert!(one_key(key("a"), key("b")).is_err());
    }
}
