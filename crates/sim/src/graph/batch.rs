//! `POST /$batch`: up to 20 calls in one. Each is answered, throttled and failed by itself; a failed dependency
//! makes 424. Only a malformed batch as a whole is a 400.

use std::collections::HashMap;
use std::sync::Arc;

use serde_json::value::RawValue;
use serde_json::{Map, Value};

use super::super::faults::{Candidate, Service};
use super::super::simulator::Simulator;
use super::call::{self, Answer, Call, Outcome, Query};
use super::error::GraphError;
use super::{Attempt, Ids, JSON, attempt_boxed};

const MOST: usize = 20;

/// One call of the batch.
struct Item<'a> {
    id: &'a str,
    method: String,
    url: String,
    headers: Vec<(String, String)>,
    body: Option<&'a Value>,
    depends_on: Vec<&'a str>,
}

/// Runs the calls in their order; a call waits for those it depends on, which come before it.
pub async fn run(simulator: &Simulator, call: &Call, ids: &Ids) -> Outcome {
    if call.method != "POST" {
        return Err(GraphError::method(&call.method));
    }
    let requests = match call.object()?.get("requests") {
        Some(Value::Array(requests)) if !requests.is_empty() => requests,
        _ => {
            return Err(GraphError::malformed(
                "Invalid batch payload format: the body has to be {\"requests\":[…]} with at least one request.",
            ));
        }
    };
    if requests.len() > MOST {
        return Err(GraphError::new(
            400,
            "MaximumValueExceeded",
            format!("Number of batch request steps exceeds the maximum value of {MOST}."),
        ));
    }
    let items = requests.iter().map(read).collect::<Result<Vec<_>, _>>()?;
    check(&items)?;
    let mut done: HashMap<String, u16> = HashMap::new();
    let mut responses = Vec::new();
    for item in &items {
        let failed = item.depends_on.iter().any(|d| done.get(&d.to_ascii_lowercase()).is_some_and(|s| *s >= 400));
        let answer = if failed { dependency_failed(ids) } else { single(simulator, call, item, ids).await };
        let status = answer.status.unwrap_or(504);
        done.insert(item.id.to_ascii_lowercase(), status);
        responses.push(shown(item, status, answer));
    }
    Ok(Answer::text(200, format!("{{\"responses\":[{}]}}", responses.join(","))))
}

fn read(request: &Value) -> Result<Item<'_>, GraphError> {
    let malformed = |why: &str| GraphError::malformed(format!("Invalid batch payload format: {why}."));
    let Value::Object(request) = request else {
        return Err(malformed("each request is an object"));
    };
    // The documentation's examples spell dependsOn in two ways.
    let member = |name: &str| request.iter().find(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, v)| v);
    let text = |name: &str| member(name).and_then(Value::as_str).filter(|t| !t.is_empty());
    let id = text("id").ok_or_else(|| malformed("each request needs an id"))?;
    let method = text("method").ok_or_else(|| malformed("each request needs a method"))?.to_ascii_uppercase();
    let url = text("url").ok_or_else(|| malformed("each request needs a url"))?;
    if url.contains("://") {
        return Err(malformed(&format!("the url '{url}' has to be relative to the version root")));
    }
    let headers = match member("headers") {
        Some(Value::Object(headers)) => {
            headers.iter().map(|(n, v)| (n.clone(), v.as_str().map_or_else(|| v.to_string(), str::to_owned))).collect()
        }
        Some(Value::Null) | None => Vec::new(),
        Some(_) => return Err(malformed("headers is an object")),
    };
    let depends_on = match member("dependsOn") {
        Some(Value::Array(list)) => list.iter().filter_map(Value::as_str).collect(),
        Some(Value::String(one)) => vec![one.as_str()],
        _ => Vec::new(),
    };
    let body = member("body").filter(|b| !b.is_null());
    Ok(Item { id, method, url: format!("/{}", url.trim().trim_start_matches('/')), headers, body, depends_on })
}

fn check(items: &[Item<'_>]) -> Result<(), GraphError> {
    let mut seen: Vec<String> = Vec::new();
    for item in items {
        let id = item.id.to_ascii_lowercase();
        if seen.contains(&id) {
            return Err(GraphError::malformed(format!("Request Id '{}' has been used more than once.", item.id)));
        }
        if let Some(unknown) = item.depends_on.iter().find(|d| !seen.contains(&d.to_ascii_lowercase())) {
            return Err(GraphError::malformed(format!(
                "Request '{}' depends on '{unknown}', which does not come before it.",
                item.id
            )));
        }
        seen.push(id);
    }
    Ok(())
}

async fn single(simulator: &Simulator, outer: &Call, item: &Item<'_>, ids: &Ids) -> Attempt {
    let has_type = item.headers.iter().any(|(n, _)| n.eq_ignore_ascii_case("content-type"));
    if item.body.is_some() && !has_type {
        let why = "A Content-Type header is required for a request with a body.";
        return super::failure(&GraphError::malformed(why), ids);
    }
    let (path, query) = item.url.split_once('?').unwrap_or((&item.url, ""));
    let inner = Call {
        method: item.method.clone(),
        target: item.url.clone(),
        segments: call::split(path),
        query: Query::parse(query),
        headers: item.headers.clone(),
        body: None,
        claims: Arc::clone(&outer.claims),
        root: outer.root.clone(),
        now: simulator.clock.now(),
    };
    let body = item.body.map(Value::to_string).unwrap_or_default();
    let candidate = Candidate { service: Service::Graph, method: &item.method, path, in_batch: true, is_batch: false };
    let boxed: futures::future::BoxFuture<'_, Attempt> =
        attempt_boxed(simulator, inner, body.as_bytes(), candidate, outer.now, ids);
    boxed.await
}

fn dependency_failed(ids: &Ids) -> Attempt {
    super::failure(&GraphError::new(424, "FailedDependency", "A request that this one depends on has failed."), ids)
}

fn shown(item: &Item<'_>, status: u16, attempt: Attempt) -> String {
    let mut headers = Map::new();
    for (name, value) in &attempt.headers {
        let name = match *name {
            "retry-after" => "Retry-After",
            "location" => "Location",
            "etag" => "ETag",
            "www-authenticate" => "WWW-Authenticate",
            other => other,
        };
        headers.insert(name.to_owned(), value.clone().into());
    }
    let mut text = format!("{{\"id\":{},\"status\":{status}", Value::String(item.id.to_owned()));
    if attempt.body.is_some() {
        headers.insert("Content-Type".to_owned(), JSON.into());
    }
    text.push_str(&format!(",\"headers\":{}", Value::Object(headers)));
    if let Some(body) = attempt.body {
        // Handlers answer JSON text; anything else would break the batch, so it is quoted.
        let body = match serde_json::from_str::<&RawValue>(&body) {
            Ok(raw) => raw.get().to_owned(),
            Err(_) => Value::String(body).to_string(),
        };
        text.push_str(&format!(",\"body\":{body}"));
    }
    text.push('}');
    text
}
