//! From a service's answer or failure to what a client gets.

use rmcp::model::{CallToolResult, ContentBlock, Resource};
use serde_json::{Value, json};

use crate::error::{ErrorClass, ErrorCode, Retry};
use crate::services::{Changed, Error};
use crate::text;

/// The answer of a tool: structured, and the same as text. Text of people is shown as a person would see it. A page printed as Markdown or CSV is its own text.
#[must_use]
pub fn success(mut value: Value) -> CallToolResult {
    text::disarm(&mut value);
    let text = match value.get("text").and_then(Value::as_str) {
        Some(text) => format!("{text}\n{}", without_text(&value)),
        None => serde_json::to_string(&value).unwrap_or_default(), // a `Value` can always be written
    };
    let mut result = CallToolResult::success(vec![ContentBlock::text(text)]);
    // An answer that is the beginning of something larger says where that is.
    if let Some(uri) = value.get("resource").and_then(Value::as_str) {
        let title = value.get("title").and_then(Value::as_str).unwrap_or(uri);
        let link = Resource::new(uri, title).with_mime_type("application/json");
        result.content.push(ContentBlock::resource_link(link));
    }
    result.structured_content = Some(value);
    result
}

fn without_text(value: &Value) -> Value {
    let mut rest = value.clone();
    if let Value::Object(rest) = &mut rest {
        rest.remove("text");
    }
    rest
}

/// A failure: what happened, whether anything was changed, what to do next.
#[must_use]
pub fn failure(error: &Error) -> CallToolResult {
    let mut text = format!("{}: {}", error.code, text::shown(&error.message));
    if error.changed == Changed::Nothing && !error.message.contains("nothing was changed") {
        text.push_str("; nothing was changed");
    }
    text.push_str(&format!("\nhint: {}", error.hint.as_deref().unwrap_or_else(|| what_next(error.code))));
    if let Some(wait) = error.retry_after {
        text.push_str(&format!("\nretry after {} s", wait.as_secs_f64().ceil()));
    }
    let mut result = CallToolResult::error(vec![ContentBlock::text(text)]);
    result.structured_content = Some(json!({ "error": body(error) }));
    result
}

/// What to do where the failure itself does not say.
fn what_next(code: ErrorCode) -> &'static str {
    match (code.class(), code.retry()) {
        (_, Retry::Worthwhile) => "repeat the call after a while",
        (ErrorClass::ValidationError, Retry::Pointless) => "correct the arguments, then repeat the call",
        (ErrorClass::AuthenticationError, Retry::Pointless) => "ask an administrator of this server for access",
        _ => "repeating the call does not help; the server's log has more",
    }
}

/// A failure as JSON: the same members in every face.
#[must_use]
pub fn body(error: &Error) -> Value {
    let mut body = json!({
        "code": error.code,
        "class": error.code.class(),
        "message": text::shown(&error.message),
        "changed": error.changed,
        "retryable": error.code.retry() == Retry::Worthwhile,
    });
    if let Value::Object(body) = &mut body {
        if let Some(hint) = &error.hint {
            body.insert("hint".into(), text::shown(hint).into());
        }
        if let Some(wait) = error.retry_after {
            body.insert("retry_after_seconds".into(), wait.as_secs_f64().ceil().into());
        }
    }
    body
}
