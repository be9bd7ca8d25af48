//! Step-up: a client that signed a person in for less than a call needs is told what to ask the person for, with 403 and
//! `insufficient_scope` (MCP, *Authorization*, scope challenge handling), before the call is begun.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use axum::body::{Body, to_bytes};
use axum::extract::Request;
use axum::http::{HeaderValue, Method};
use serde::Deserialize;

use super::problem::Problem;
use super::tools::TOOL;
use super::{MAX_BODY, State};
use crate::auth::{Caller, Mode};
use crate::error::ErrorCode;
use crate::services::Error;
use crate::toolsets;
use crate::toolsets::narrow::Narrowed;
use crate::toolsets::tool::Effect;

/// The toolset and the mode of every tool.
static TOOLS: LazyLock<BTreeMap<&'static str, (&'static str, Mode)>> = LazyLock::new(|| {
    let toolsets = toolsets::all();
    let of = |toolset: &toolsets::Toolset| {
        let name = toolset.name;
        let mode = |effect: Effect| if effect == Effect::Reads { Mode::Read } else { Mode::Write };
        toolset.tools.iter().map(|tool| (tool.name, (name, mode(tool.effect)))).collect::<Vec<_>>()
    };
    toolsets.iter().flat_map(of).collect()
});

/// As much of a message as names the tool it calls.
#[derive(Deserialize)]
struct Message {
    method: String,
    params: Option<Params>,
}

#[derive(Deserialize)]
struct Params {
    name: Option<String>,
}

/// Lets a request pass unless it calls a tool for which its client has to ask the person first.
pub async fn check(
    state: &State,
    route: &str,
    request: Request,
    challenge: &mut Option<HeaderValue>,
) -> Result<Request, Problem> {
    let caller = request.extensions().get::<Caller>().filter(|caller| caller.object_id.is_some()).cloned();
    let Some(caller) = caller.filter(|caller| caller.authorization.is_some() && request.method() == Method::POST)
    else {
        return Ok(request);
    };
    let (request, tool) = match route {
        TOOL => {
            let name = request.uri().path().rsplit('/').next().map(str::to_owned);
            (request, name)
        }
        "/mcp" => named(request).await?,
        _ => return Ok(request),
    };
    let Some((name, &(toolset, mode))) = tool.as_deref().and_then(|name| TOOLS.get_key_value(name)) else {
        return Ok(request);
    };
    let Some((text, wider)) = state.gate.step_up(&caller, toolset, mode) else { return Ok(request) };
    // Asking would help nothing where the deployment, or the request itself, leaves the tool out.
    let inventory = state.catalogue.inventory(wider, Narrowed::of(request.headers()));
    if !inventory.callable_tools().any(|tool| tool.name == *name) {
        return Ok(request);
    }
    *challenge = HeaderValue::from_str(&text).ok();
    let what = if mode == Mode::Read { "reading" } else { "writing" };
    let error = Error::new(
        ErrorCode::PermissionMissing,
        format!("the person has not let this client do that: {what} in `{toolset}`"),
    );
    Err(error.hint("sign the person in again with the scopes of `WWW-Authenticate`").into())
}

/// The tool that a message of MCP calls. What cannot be read is for the server to refuse.
async fn named(request: Request) -> Result<(Request, Option<String>), Problem> {
    let (parts, body) = request.into_parts();
    let unread =
        |_| Problem::from(Error::invalid(format!("the body could not be read, or is larger than {MAX_BODY} bytes")));
    let body = to_bytes(body, MAX_BODY).await.map_err(unread)?;
    let message = serde_json::from_slice::<Message>(&body).ok().filter(|message| message.method == "tools/call");
    let name = message.and_then(|message| message.params?.name);
    Ok((Request::from_parts(parts, Body::from(body)), name))
}
