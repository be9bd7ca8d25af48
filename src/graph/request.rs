//! One request to Graph as a value: sent alone or as part of a batch, it is the same.

use http::Method;
use serde::Serialize;
use serde_json::Value;

use crate::http_client::{Repeat, Workload};
use crate::ids::digest;

/// A request below the service root.
#[derive(Debug, Clone)]
pub struct Request {
    /// The client's function, for logs and errors: `get_task`.
    pub(super) operation: &'static str,
    pub(super) workload: Workload,
    pub(super) method: Method,
    /// Path and query below the root, beginning with `/`, encoded.
    pub(super) path: String,
    pub(super) if_match: Option<String>,
    /// Ask for the changed entity in the answer to a PATCH.
    pub(super) representation: bool,
    /// Name mail by ids that stay when it is moved between folders.
    pub(super) immutable_id: bool,
    /// Needed for directory queries with `$count` or casts.
    pub(super) eventual: bool,
    pub(super) body: Option<Value>,
    /// Sending it twice has the effect of sending it once.
    pub(super) safe: bool,
    /// It changes nothing: a GET, or one of the few POSTs that only ask.
    pub(super) only_reads: bool,
}

impl Request {
    fn new(operation: &'static str, workload: Workload, method: Method, path: String) -> Self {
        Self {
            operation,
            workload,
            // A create may not be repeated blindly: Graph has no idempotency key.
            safe: method != Method::POST,
            only_reads: method == Method::GET,
            method,
            path,
            if_match: None,
            representation: false,
            immutable_id: false,
            eventual: false,
            body: None,
        }
    }

    pub(super) fn get(operation: &'static str, workload: Workload, path: String) -> Self {
        Self::new(operation, workload, Method::GET, path)
    }

    pub(super) fn post(operation: &'static str, workload: Workload, path: &str, body: &impl Serialize) -> Self {
        Self { body: Some(json(body)), ..Self::new(operation, workload, Method::POST, path.to_owned()) }
    }

    /// A PATCH or DELETE of something that has no versions.
    pub(super) fn plain(
        operation: &'static str,
        workload: Workload,
        method: Method,
        path: String,
        body: Option<Value>,
    ) -> Self {
        Self { body, ..Self::new(operation, workload, method, path) }
    }

    /// A PATCH under `If-Match` that asks for the changed entity.
    pub(super) fn patch(
        operation: &'static str,
        workload: Workload,
        path: String,
        etag: &str,
        body: &impl Serialize,
    ) -> Self {
        Self {
            if_match: Some(etag.to_owned()),
            representation: true,
            body: Some(json(body)),
            ..Self::new(operation, workload, Method::PATCH, path)
        }
    }

    pub(super) fn delete(operation: &'static str, workload: Workload, path: String, etag: &str) -> Self {
        Self { if_match: Some(etag.to_owned()), ..Self::new(operation, workload, Method::DELETE, path) }
    }

    /// The same request, with ids of mail that stay.
    pub(super) fn immutable_id(self) -> Self {
        Self { immutable_id: true, ..self }
    }

    /// The headers that belong to the request itself, alone or in a batch.
    pub(super) fn headers(&self) -> Vec<(&'static str, String)> {
        let mut headers = Vec::new();
        if self.body.is_some() {
            headers.push(("Content-Type", "application/json".to_owned()));
        }
        if let Some(etag) = &self.if_match {
            headers.push(("If-Match", etag.clone()));
        }
        if self.representation {
            headers.push(("Prefer", "return=representation".to_owned()));
        }
        if self.immutable_id {
            headers.push(("Prefer", "IdType=\"ImmutableId\"".to_owned()));
        }
        if self.eventual {
            headers.push(("ConsistencyLevel", "eventual".to_owned()));
        }
        headers
    }

    /// What the request is about within its workload: the plan, where it names one.
    pub(super) fn target(&self) -> Option<u64> {
        let in_path =
            self.path.strip_prefix("/planner/plans/").map(|rest| rest.split(['/', '?']).next().unwrap_or(rest));
        let in_body = || self.body.as_ref()?.get("planId")?.as_str();
        let plan = in_path.or_else(in_body)?;
        u64::try_from(digest(&["plan", plan]) >> 64).ok()
    }

    pub(super) const fn repeat(&self) -> Repeat {
        if self.safe { Repeat::Safe } else { Repeat::OnlyIfUnsent }
    }
}

/// Wire types hold nothing that cannot be JSON: no map with other keys than text, no failing `Serialize`.
fn json(body: &impl Serialize) -> Value {
    serde_json::to_value(body).unwrap_or_default()
}

/// `text` as one path segment or query value.
pub(super) fn encode(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            encoded.extend(['%', digit(byte >> 4), digit(byte & 15)]);
        }
    }
    encoded
}

/// The hexadecimal digit of a number below 16.
fn digit(number: u8) -> char {
    char::from_digit(u32::from(number), 16).unwrap_or('0').to_ascii_uppercase()
}

/// `text` inside an `OData` string literal, encoded for a query: quotes doubled.
pub(super) fn literal(text: &str) -> String {
    encode(&text.replace('\'', "''"))
}
