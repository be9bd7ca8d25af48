//! `key=value` on the command line.

use rmcp::model::JsonObject;
use serde_json::{Map, Value};

use super::failure::Failure;

/// Splits `key=value`.
///
/// # Errors
/// When there is no `=` or nothing before it.
pub fn split(text: &str) -> Result<(String, String), Failure> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err(Failure::invalid(format!("`{text}` is not of the form key=value"))),
    }
}

/// Arguments of a tool from its input schema: what the schema calls text stays text, the rest is read as JSON.
///
/// # Errors
/// When a pair is malformed.
pub fn typed(pairs: &[String], schema: &JsonObject) -> Result<JsonObject, Failure> {
    let mut arguments = Map::new();
    for pair in pairs {
        let (key, text) = split(pair)?;
        let value = if is_text(schema, &key) {
            Value::String(text)
        } else {
            serde_json::from_str(&text).unwrap_or(Value::String(text))
        };
        arguments.insert(key, value);
    }
    Ok(arguments)
}

fn is_text(schema: &JsonObject, key: &str) -> bool {
    let kind =
        schema.get("properties").and_then(|properties| properties.get(key)).and_then(|property| property.get("type"));
    kind.and_then(Value::as_str) == Some("string")
}

/// Arguments of a prompt, which are all text.
///
/// # Errors
/// When a pair is malformed.
pub fn texts(pairs: &[String]) -> Result<JsonObject, Failure> {
    pairs.iter().map(|pair| split(pair).map(|(key, value)| (key, Value::String(value)))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn key_value_arguments_are_typed_by_the_schema() {
        let Value::Object(schema) = json!({"properties": {"title": {"type": "string"}, "limit": {"type": "integer"}}})
        else {
            unreachable!()
        };
        let pairs = ["title=123", "limit=5", "fields=[\"id\"]", "other=word", "empty="].map(str::to_owned);
        let arguments = Value::Object(typed(&pairs, &schema).unwrap());
        assert_eq!(arguments, json!({"title": "123", "limit": 5, "fields": ["id"], "other": "word", "empty": ""}));
        assert_eq!(
            typed(&["title".to_owned()], &schema).unwrap_err().to_string(),
            "`title` is not of the form key=value"
        );
    }
}
