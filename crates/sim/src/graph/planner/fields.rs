//! The rules for single values in Planner bodies: types, dates, ids, order hints, and the open types, whose
//! entries need an `@odata.type` and are removed by null.

use chrono::{DateTime, SecondsFormat, Utc};
use serde_json::{Map, Value};

use super::super::super::state::Object;
use super::super::error::GraphError;
use super::super::order_hint;

/// What a property may hold.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Field {
    Text,
    /// Text that has to say something.
    Title,
    Number(i64, i64),
    Date,
    Hint,
    PlannerId,
    /// One of a few words.
    Word(&'static [&'static str]),
    /// An open type: checked by its own function.
    Open,
    /// Set by the service only.
    ReadOnly,
}

/// Words of `previewType`.
pub const PREVIEW: &[&str] = &["automatic", "noPreview", "checklist", "description", "reference"];

/// The parts of a body after checking: plain values as they will be stored, open types as they came.
pub struct Checked<'a> {
    pub plain: Object,
    pub open: Vec<(&'a str, &'a Object)>,
}

/// Checks a body against the properties of a type. Planner answers 400 for unknown and read-only ones.
pub fn check<'a>(kind: &str, known: &[(&str, Field)], body: &'a Object) -> Result<Checked<'a>, GraphError> {
    let mut checked = Checked { plain: Map::new(), open: Vec::new() };
    for (name, value) in body {
        if name.contains('@') {
            continue;
        }
        let Some((_, field)) = known.iter().find(|(known, _)| known == name) else {
            return Err(GraphError::planner(format!(
                "The request is invalid: the property '{name}' does not exist on type 'microsoft.graph.{kind}'."
            )));
        };
        match (field, value) {
            (Field::Open, Value::Object(entries)) => {
                if entries.is_empty() {
                    return Err(invalid(name, "an empty open type is not allowed"));
                }
                checked.open.push((name, entries));
            }
            _ => {
                checked.plain.insert(name.clone(), plain(name, *field, value)?);
            }
        }
    }
    Ok(checked)
}

fn plain(name: &str, field: Field, value: &Value) -> Result<Value, GraphError> {
    match (field, value) {
        (Field::ReadOnly, _) => Err(invalid(name, "it is set by the service")),
        (Field::Date, Value::Null) | (Field::Text, Value::Null | Value::String(_)) => Ok(value.clone()),
        (Field::Date, Value::String(text)) => date(text)
            .map(Value::String)
            .ok_or_else(|| invalid(name, "a date needs the form 2026-05-31T17:00:00Z, with an offset")),
        (Field::Title, Value::String(text)) if !text.trim().is_empty() => Ok(value.clone()),
        (Field::Title, Value::String(_) | Value::Null) => Err(invalid(name, "it must not be empty")),
        (Field::Number(low, high), Value::Number(number)) => match number.as_i64() {
            Some(n) if (low..=high).contains(&n) => Ok(value.clone()),
            _ => Err(invalid(name, &format!("{number} is not a whole number from {low} to {high}"))),
        },
        (Field::Hint, Value::String(text)) => hint(name, text).map(Value::String),
        (Field::PlannerId, Value::String(text)) if is_planner_id(text) => Ok(value.clone()),
        (Field::PlannerId, Value::String(_)) => Err(invalid(name, "a Planner id has 28 characters")),
        (Field::Word(words), Value::String(word)) if words.contains(&word.as_str()) => Ok(value.clone()),
        (Field::Word(words), Value::String(_)) => Err(invalid(name, &format!("allowed are {}", words.join(", ")))),
        (Field::PlannerId, Value::Null) => Ok(Value::Null),
        _ => Err(invalid(name, "the value has the wrong type")),
    }
}

/// A 400 that names the property.
pub fn invalid(name: &str, why: &str) -> GraphError {
    GraphError::planner(format!("The request is invalid: the value of '{name}' is not valid: {why}."))
}

/// Turns a client's order hint into the service's value.
pub fn hint(name: &str, text: &str) -> Result<String, GraphError> {
    order_hint::place(text).ok_or_else(|| {
        invalid(
            name,
            "an order hint has the form '<previous> <next>!', and a value made by the service must not be sent back",
        )
    })
}

/// 28 characters of the URL-safe alphabet.
pub fn is_planner_id(text: &str) -> bool {
    text.len() == 28 && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
}

/// Tells whether text is a directory object id.
pub fn is_guid(text: &str) -> bool {
    text.len() == 36 && uuid::Uuid::parse_str(text).is_ok()
}

/// Normalises a date to UTC; `None` if it is no date with an offset.
pub fn date(text: &str) -> Option<String> {
    let at = DateTime::parse_from_rfc3339(text).ok()?.with_timezone(&Utc);
    Some(if at.timestamp_subsec_nanos() == 0 {
        at.to_rfc3339_opts(SecondsFormat::Secs, true)
    } else {
        super::super::super::clock::ticks(at)
    })
}

/// The entries of an open type that are not annotations.
pub fn entries(open: &Object) -> impl Iterator<Item = (&String, &Value)> {
    open.iter().filter(|(name, _)| !name.starts_with('@'))
}

/// Checks that an entry of an open type is an object of the named type; the `#` may be left out.
pub fn typed<'a>(property: &str, key: &str, value: &'a Value, wanted: &str) -> Result<&'a Object, GraphError> {
    let Value::Object(entry) = value else {
        return Err(invalid(property, &format!("the entry '{key}' is neither an object nor null")));
    };
    match entry.get("@odata.type").and_then(Value::as_str) {
        Some(name) if name.trim_start_matches('#') == format!("microsoft.graph.{wanted}") => Ok(entry),
        Some(name) => Err(invalid(
            property,
            &format!("the entry '{key}' has the @odata.type '{name}', not '#microsoft.graph.{wanted}'"),
        )),
        None => {
            Err(invalid(property, &format!("the entry '{key}' needs \"@odata.type\": \"#microsoft.graph.{wanted}\"")))
        }
    }
}
