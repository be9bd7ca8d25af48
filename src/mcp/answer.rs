//! From a service's answer or failure to what a client gets.

use rmcp::model::{CallToolResult, ContentBlock, Resource};
use serde_json::{Value, json};

use crate::error::{ErrorClass, ErrorCode, Retry};
use crate::services::{Details, Error, Members};
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
    let Members { message, same: Details { code, hint, retry_after_seconds, .. }, .. } = error.members();
    let hint = hint.unwrap_or_else(|| what_next(code).to_owned());
    let mut text = format!("{code}: {message}\nhint: {hint}");
    if let Some(wait) = retry_after_seconds {
        text.push_str(&format!("\nretry after {wait} s"));
    }
    let mut result = CallToolResult::error(vec![ContentBlock::text(text)]);
    result.structured_content = Some(json!({ "error": error.members() }));
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
