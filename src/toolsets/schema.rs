//! JSON Schemas that every client understands: no `$ref`, no lists of types, no formats of Rust's numbers.
//!
//! Several clients drop a tool silently when its schema uses more of JSON Schema than the plain subset left here; and
//! every word of a schema is paid for by every conversation, so nothing stays that does not help.

use rmcp::model::JsonObject;
use schemars::JsonSchema;
use schemars::generate::SchemaSettings;
use serde_json::{Map, Value};

use crate::services::arguments::DOCUMENT_ONLY;

/// The longest list of words in the schema of an answer.
const MOST_WORDS: usize = 6;

/// The schema of a tool's arguments, with the descriptions that are the model's only manual. What the items of a list
/// are is said once, by the list.
#[must_use]
pub fn input<T: JsonSchema>() -> JsonObject {
    let mut schema = portable::<T>();
    if let Some(Value::Object(properties)) = schema.get_mut("properties") {
        for property in properties.values_mut() {
            if let Some(items) = property.get_mut("items") {
                strip(items, &["description"]);
            }
            if let Value::Object(property) = property
                && property.get("additionalProperties") == Some(&Value::Bool(true))
            {
                property.remove("additionalProperties");
            }
        }
    }
    schema.entry("properties").or_insert_with(|| Value::Object(Map::new()));
    schema
}

/// The schema of a tool's answer, reduced to names and types. Nothing is required: empty lists are left out, and some
/// clients hold a failure's content against the same schema.
#[must_use]
pub fn output<T: JsonSchema>() -> JsonObject {
    let mut schema = Value::Object(portable::<T>());
    strip(&mut schema, &["description", "additionalProperties", "minimum", "maximum", "required"]);
    drop_long_lists(&mut schema);
    match schema {
        Value::Object(schema) => schema,
        _ => Map::new(),
    }
}

/// Long lists of words stay with the arguments: an answer repeats what was asked for.
fn drop_long_lists(value: &mut Value) {
    match value {
        Value::Array(items) => items.iter_mut().for_each(drop_long_lists),
        Value::Object(schema) => {
            if schema.get("enum").and_then(Value::as_array).is_some_and(|words| words.len() > MOST_WORDS) {
                schema.remove("enum");
            }
            schema.values_mut().for_each(drop_long_lists);
        }
        _ => {}
    }
}

/// Takes an argument out of a schema.
pub fn take_property(schema: &mut JsonObject, name: &str) -> Option<JsonObject> {
    let Some(Value::Object(properties)) = schema.get_mut("properties") else { return None };
    match properties.remove(name) {
        Some(Value::Object(property)) => Some(property),
        _ => None,
    }
}

fn portable<T: JsonSchema>() -> JsonObject {
    let mut settings = SchemaSettings::draft2020_12();
    settings.inline_subschemas = true;
    settings.meta_schema = None;
    let mut value = settings.into_generator().into_root_schema_for::<T>().to_value();
    simplify(&mut value);
    match value {
        Value::Object(mut schema) => {
            for key in ["$schema", "title", "description", "$defs"] {
                schema.remove(key);
            }
            schema
        }
        _ => Map::new(),
    }
}

/// Rewrites a schema in place, inside out.
fn simplify(value: &mut Value) {
    match value {
        Value::Array(items) => items.iter_mut().for_each(simplify),
        Value::Object(schema) => {
            schema.remove(DOCUMENT_ONLY);
            schema.values_mut().for_each(simplify);
            drop_null(schema);
            words_to_enum(schema);
            // Items of any kind go without saying; some clients take `true` for no schema.
            if schema.get("items") == Some(&Value::Bool(true)) {
                schema.remove("items");
            }
            let number_format = schema.get("format").and_then(Value::as_str).is_some_and(|format| {
                format.starts_with("int") || format.starts_with("uint") || format == "double" || format == "float"
            });
            if number_format {
                schema.remove("format");
            }
            if schema.get("default").is_some_and(|default| default.is_null() || *default == false) {
                schema.remove("default");
            }
        }
        _ => {}
    }
}

/// `T or null` becomes `T`: a caller that means nothing leaves the field out.
fn drop_null(schema: &mut Map<String, Value>) {
    if let Some(Value::Array(types)) = schema.get("type") {
        let mut rest: Vec<Value> = types.iter().filter(|kind| *kind != "null").cloned().collect();
        if rest.len() == 1 {
            schema.insert("type".into(), rest.remove(0));
        }
    }
    if let Some(Value::Array(choices)) = schema.get("anyOf") {
        let is_null = |choice: &Value| choice.get("type").is_some_and(|kind| kind == "null");
        let rest: Vec<Value> = choices.iter().filter(|choice| !is_null(choice)).cloned().collect();
        if let [Value::Object(only)] = rest.as_slice() {
            let only = only.clone();
            schema.remove("anyOf");
            for (key, value) in only {
                schema.entry(key).or_insert(value);
            }
        }
    }
}

/// A choice of constants becomes a plain `enum` of texts.
fn words_to_enum(schema: &mut Map<String, Value>) {
    let Some(Value::Array(choices)) = schema.get("oneOf") else { return };
    let words: Option<Vec<Value>> = choices
        .iter()
        .map(|choice| choice.get("const").cloned().or_else(|| choice.get("enum")?.as_array()?.first().cloned()))
        .collect();
    if let Some(words) = words.filter(|words| words.iter().all(Value::is_string)) {
        schema.remove("oneOf");
        schema.insert("type".into(), "string".into());
        schema.insert("enum".into(), words.into());
    }
}

fn strip(value: &mut Value, keys: &[&str]) {
    match value {
        Value::Array(items) => items.iter_mut().for_each(|item| strip(item, keys)),
        Value::Object(schema) => {
            // A property may be called like a keyword: names of properties are not keywords.
            for (key, inner) in schema.iter_mut() {
                if key == "properties" {
                    if let Value::Object(properties) = inner {
                        properties.values_mut().for_each(|property| strip(property, keys));
                    }
                } else {
                    strip(inner, keys);
                }
            }
            for key in keys {
                schema.remove(*key);
            }
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::services::planner::input::{CreateTask, QueryTasks};

    fn visit(value: &Value, check: &mut impl FnMut(&Map<String, Value>)) {
        match value {
            Value::Array(items) => items.iter().for_each(|item| visit(item, check)),
            Value::Object(schema) => {
                check(schema);
                schema.values().for_each(|inner| visit(inner, check));
            }
            _ => {}
        }
    }

    #[test]
    fn tool_schemas_use_only_widely_supported_keywords() {
        for schema in [input::<CreateTask>(), input::<QueryTasks>(), output::<crate::services::planner::TaskPage>()] {
            visit(&Value::Object(schema), &mut |object| {
                for key in ["$ref", "$defs", "anyOf", "oneOf", "allOf", "$schema"] {
                    assert!(!object.contains_key(key), "{key} in {object:?}");
                }
                assert!(!matches!(object.get("type"), Some(Value::Array(_))), "a list of types in {object:?}");
            });
        }
    }

    #[test]
    fn unknown_arguments_are_refused() {
        assert_eq!(input::<CreateTask>()["additionalProperties"], false);
        assert_eq!(input::<CreateTask>()["required"], serde_json::json!(["title"]));
    }
}
