//! A JSON value as the text of one cell.

use serde_json::{Map, Value};

/// The value in one line; items of a list are separated by `; `.
pub fn text(value: &Value) -> String {
    lines(value).join("; ")
}

/// The value as lines: one for each item of a list, one otherwise.
pub fn lines(value: &Value) -> Vec<String> {
    match value {
        Value::Null => vec![String::new()],
        Value::String(text) => vec![text.clone()],
        Value::Array(items) => items.iter().map(text).collect(),
        Value::Object(object) => vec![members(object)],
        Value::Bool(_) | Value::Number(_) => vec![value.to_string()],
    }
}

fn members(object: &Map<String, Value>) -> String {
    let text_of = |member: &str| object.get(member).and_then(Value::as_str);
    if let (Some(title), Some(checked)) = (text_of("title"), object.get("checked").and_then(Value::as_bool)) {
        return format!("[{}] {title}", if checked { 'x' } else { ' ' });
    }
    if let Some(url) = text_of("url").filter(|_| object.keys().all(|key| key == "url" || key == "title")) {
        return text_of("title").map_or_else(|| url.to_owned(), |title| format!("{title} <{url}>"));
    }
    let member = |(key, value): (&String, &Value)| format!("{key}: {}", text(value));
    object.iter().map(member).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn nested_values_print_as_text() {
        assert_eq!(text(&json!(["Ana", "Bo"])), "Ana; Bo");
        assert_eq!(
            text(&json!([{"title": "ring", "checked": true}, {"title": "write", "checked": false}])),
            "[x] ring; [ ] write"
        );
        assert_eq!(
            text(&json!([{"url": "https://x", "title": "X"}, {"url": "https://y"}])),
            "X <https://x>; https://y"
        );
        assert_eq!(text(&json!({"Backlog": 3, "Doing": 4})), "Backlog: 3, Doing: 4");
        assert_eq!(
            (text(&json!(null)), text(&json!(5)), text(&json!(false))),
            (String::new(), "5".into(), "false".into())
        );
    }
}
