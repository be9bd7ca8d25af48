//! One Graph request on its way through the handlers, whether it came alone or inside a `$batch`.

use std::sync::Arc;

use chrono::{DateTime, Utc};
use serde_json::Value;

use super::super::entra::Claims;
use super::super::state::{Entity, Object};
use super::error::GraphError;
use super::etag::Kind;

/// What a handler answers.
pub type Outcome = Result<Answer, GraphError>;

/// A successful answer; the body is JSON text, because that is what the wire, the log and a batch want.
#[derive(Clone, Debug, Default)]
pub struct Answer {
    pub status: u16,
    pub headers: Vec<(&'static str, String)>,
    pub body: Option<String>,
}

impl Answer {
    /// 204.
    pub fn no_content() -> Self {
        Self { status: 204, ..Self::default() }
    }

    /// A JSON body.
    pub fn json(status: u16, body: &impl serde::Serialize) -> Self {
        Self { status, headers: Vec::new(), body: serde_json::to_string(body).ok() }
    }

    /// A body that is JSON text already.
    pub fn text(status: u16, body: String) -> Self {
        Self { status, headers: Vec::new(), body: Some(body) }
    }

    /// Adds a header.
    pub fn with(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }
}

/// One request.
pub struct Call {
    pub method: String,
    /// Path and query as sent, below the version root.
    pub target: String,
    /// Decoded path segments; `users('x')` is split into `users`, `x`.
    pub segments: Vec<String>,
    pub query: Query,
    pub headers: Vec<(String, String)>,
    pub body: Option<Value>,
    pub claims: Arc<Claims>,
    /// Service root as the client addressed it, for links: `http://127.0.0.1:7072/v1.0`.
    pub root: String,
    pub now: DateTime<Utc>,
}

impl Call {
    /// A request header.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, v)| v.as_str())
    }

    /// The body, which has to be a JSON object.
    pub fn object(&self) -> Result<&Object, GraphError> {
        match &self.body {
            Some(Value::Object(object)) => Ok(object),
            _ => Err(GraphError::malformed(
                "Unable to read JSON request payload. Please ensure Content-Type header is set and payload is of valid JSON format.",
            )),
        }
    }

    /// The path as string slices, for matching.
    pub fn path(&self) -> Vec<&str> {
        self.segments.iter().map(String::as_str).collect()
    }

    /// True if the client asked for the changed resource (`Prefer: return=representation`).
    pub fn wants_representation(&self) -> bool {
        self.header("prefer").is_some_and(|p| p.to_ascii_lowercase().contains("return=representation"))
    }

    /// The user of a delegated token; an app-only token has none.
    pub fn user(&self) -> Option<&str> {
        self.claims.user.as_deref()
    }

    /// Refuses a token without one of these permissions.
    pub fn require(&self, code: &str, application: &[&str], delegated: &[&str]) -> Result<(), GraphError> {
        let needed = if self.claims.user.is_some() { delegated } else { application };
        if needed.iter().any(|n| self.claims.permissions.iter().any(|p| p == n)) {
            Ok(())
        } else if needed.is_empty() {
            Err(GraphError::new(
                403,
                code,
                "This operation does not support application permissions: it needs a signed-in user.",
            ))
        } else {
            Err(GraphError::forbidden(code, needed))
        }
    }

    /// `@odata.context` for this request.
    pub fn context(&self, of: &str) -> String {
        format!("{}/$metadata#{of}", self.root)
    }

    /// A stored Planner resource as answer, its ETag in the body and in the header.
    pub fn planner(&self, status: u16, kind: Kind, entity: &Entity, context: &str) -> Answer {
        let etag = super::etag::write(kind, entity.version());
        Answer::text(status, self.planner_body(kind, entity, context)).with("etag", etag)
    }

    /// A stored Planner resource as answer body, honouring `$select`.
    fn planner_body(&self, kind: Kind, entity: &Entity, context: &str) -> String {
        let mut text = match self.query.select() {
            None => entity.with_etag(kind),
            Some(select) => {
                let mut object = self.pick(&entity.object(), &select);
                object.shift_insert(0, "@odata.etag".to_owned(), super::etag::write(kind, entity.version()).into());
                Value::Object(object).to_string()
            }
        };
        text.insert_str(1, &format!("\"@odata.context\":{},", Value::String(self.context(context))));
        text
    }

    /// The selected properties of an object.
    pub fn pick(&self, object: &Object, select: &[String]) -> Object {
        let keep = |name: &str| name == "@odata.type" || select.iter().any(|s| s.eq_ignore_ascii_case(name));
        object.iter().filter(|(name, _)| keep(name)).map(|(n, v)| (n.clone(), v.clone())).collect()
    }
}

/// The query options of a request, decoded, in order.
#[derive(Clone, Debug, Default)]
pub struct Query(pub Vec<(String, String)>);

impl Query {
    /// Parses the text behind `?`.
    pub fn parse(text: &str) -> Self {
        Self(url::form_urlencoded::parse(text.as_bytes()).into_owned().collect())
    }

    /// An option; names compare without case and `$` is optional, as Graph has it.
    pub fn get(&self, name: &str) -> Option<&str> {
        let bare = |n: &str| n.trim_start_matches('$').to_ascii_lowercase();
        self.0.iter().find(|(n, _)| bare(n) == bare(name)).map(|(_, v)| v.as_str())
    }

    /// The names in `$select`; `None` without the option or with `*`.
    pub fn select(&self) -> Option<Vec<String>> {
        let text = self.get("$select")?;
        let names: Vec<String> = text.split(',').map(|n| n.trim().to_owned()).filter(|n| !n.is_empty()).collect();
        if names.is_empty() || names.iter().any(|n| n == "*") { None } else { Some(names) }
    }
}

/// Splits a path into decoded segments.
pub fn split(path: &str) -> Vec<String> {
    let mut segments = Vec::new();
    for part in path.split('/').filter(|p| !p.is_empty()) {
        let part = decode(part);
        match part.split_once("('").and_then(|(name, rest)| Some((name, rest.strip_suffix("')")?))) {
            Some((name, key)) if !key.contains('=') && !name.is_empty() => {
                segments.push(name.to_owned());
                segments.push(key.replace("''", "'"));
            }
            _ => segments.push(part.trim_end_matches("()").to_owned()),
        }
    }
    segments
}

/// Decodes percent-encoding; `+` stays a plus.
pub fn decode(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut i = 0;
    while let Some(&byte) = bytes.get(i) {
        let code = (byte == b'%').then(|| text.get(i + 1..i + 3)).flatten();
        match code.and_then(|c| u8::from_str_radix(c, 16).ok()) {
            Some(value) => {
                out.push(value);
                i += 3;
            }
            None => {
                out.push(byte);
                i += 1;
            }
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}
