//! Every tool and every resource over HTTP, through the [`Catalogue`] that MCP uses: the same filters, roles, limits, audit
//! and deadline. The body is the tool's arguments, the answer its structured answer; a failure is a problem.

use std::sync::Arc;

use axum::extract::State as Shared;
use axum::http::HeaderMap;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Map, Value};
use tracing::Span;

use super::extract::{Id, IdempotencyKey, Json, NoQuery, Query, Shown, one_key};
use super::operation::{GRAPH, Media, Operation, Place, Tag};
use super::problem::Problem;
use super::route::{Need, Route};
use super::tasks::KeyHeader;
use crate::auth::Caller;
use crate::error::ErrorCode;
use crate::services::Error;
use crate::telemetry::traces;
use crate::toolsets::Catalogue;
use crate::toolsets::catalogue::unheard;
use crate::toolsets::inventory::Refusal;
use crate::toolsets::narrow::Narrowed;
use crate::toolsets::tool::{Effect, Tool};

/// Where tools are called.
pub const TOOL: &str = "/api/tools/{name}";
/// Where resources are read.
pub const RESOURCES: &str = "/api/resources";

/// The argument that makes a call safe to repeat, where a tool has it.
const KEY: &str = "idempotency_key";

/// The routes. What a caller may do there is decided by tool.
pub fn routes() -> Vec<Route> {
    let read = Operation::new(Tag::Tools, "read_resource", "Read a resource by its address")
        .more("As `resources/read` over MCP: plans, buckets, tasks and reports.")
        .parameters::<Address>(Place::Query)
        .sends("What the resource holds", vec![("application/json", Media::AnyObject)])
        .problems(GRAPH);
    vec![
        // The document has a path for each tool.
        Route::post(TOOL, Need::Known, call).naming("tool"),
        Route::get(RESOURCES, Need::Known, resource).described(read),
    ]
}

/// The tools that are offered, each with its path.
pub fn described(catalogue: &Catalogue) -> Vec<(String, Operation)> {
    let path = |tool: &Tool| TOOL.replace("{name}", tool.name);
    let offered = catalogue.tools().filter(|tool| catalogue.offer().serves(tool));
    let described = |tool: &Tool| {
        let call = Operation::of_tool(tool);
        if takes_key(tool) { call.parameters::<KeyHeader>(Place::Header) } else { call }
    };
    offered.map(|tool| (path(tool), described(tool))).collect()
}

/// `POST /api/tools/{name}`
async fn call(
    Shared(catalogue): Shared<Arc<Catalogue>>,
    caller: Caller,
    Id(name): Id,
    IdempotencyKey(key): IdempotencyKey,
    headers: HeaderMap,
    _: NoQuery,
    Json(mut arguments): Json<Map<String, Value>>,
) -> Result<Shown<Value>, Problem> {
    let inventory = catalogue.inventory(caller, Narrowed::of(&headers));
    let tool = catalogue.find(&inventory, &name).await.map_err(|refusal| refused(&name, refusal))?;
    if let Some(key) = key {
        put_key(tool, &mut arguments, key)?;
    }
    // A caller that hangs up ends nothing that writes: the guard lets such a call continue.
    let gone = std::future::pending();
    let span = Span::current();
    span.record("gen_ai.tool.name", tool.name);
    let answer = catalogue.call(tool, arguments.into(), inventory, unheard(), gone).await;
    if answer.is_err() {
        traces::fail(&span, "tool_error");
    }
    Ok(Shown(answer?))
}

/// Which resource.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Address {
    /// `planner://plans`, `planner://plans/{plan_id}`, `…/tasks`, `…/tasks/{task_id}`, `…/buckets`, or
    /// `planner://reports/{report_id}`
    #[schemars(example = "planner://plans")]
    uri: String,
}

/// `GET /api/resources?uri=`
async fn resource(
    Shared(catalogue): Shared<Arc<Catalogue>>,
    caller: Caller,
    headers: HeaderMap,
    Query(Address { uri }): Query<Address>,
) -> Result<Shown<Value>, Problem> {
    let inventory = catalogue.inventory(caller, Narrowed::of(&headers));
    let address = catalogue.resource(&inventory, &uri).await?;
    Ok(Shown(catalogue.read(&inventory, address).await?))
}

fn refused(name: &str, refusal: Refusal) -> Error {
    match refusal {
        Refusal::Denied(error) => error,
        Refusal::Unknown(known) => Error::new(ErrorCode::NotFound, format!("there is no tool `{name}`"))
            .hint(format!("known: {}", known.join(", "))),
    }
}

/// Whether a tool has an argument that makes a call safe to repeat.
fn takes_key(tool: &Tool) -> bool {
    tool.input.get("properties").is_some_and(|properties| properties.get(KEY).is_some())
}

/// Hands the key of the header to the tool. One that writes and takes none would do twice what is sent twice.
fn put_key(tool: &Tool, arguments: &mut Map<String, Value>, key: String) -> Result<(), Error> {
    if !takes_key(tool) {
        return match tool.effect {
            Effect::Reads => Ok(()),
            _ => Err(Error::invalid(format!("`{}` takes no idempotency key", tool.name))
                .hint("leave the header `Idempotency-Key` out")),
        };
    }
    let given = match arguments.get(KEY) {
        None | Some(Value::Null) => None,
        Some(Value::String(given)) => Some(given.clone()),
        Some(_) => return Ok(()), // the tool refuses what is no text
    };
    if let Some(key) = one_key(Some(key), given)? {
        arguments.insert(KEY.to_owned(), key.into());
    }
    Ok(())
}
