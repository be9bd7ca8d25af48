//! Reading arguments: one way for every tool and every body of a REST call.
//!
//! Clients send what JSON allows and models make up: a whole number as `3.0`, a list as a text that contains one. What
//! has one meaning is read. Everything else is refused with its place, in words without the types of a programming
//! language.

use serde::Deserialize;
use serde::de::{DeserializeOwned, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};
use serde_path_to_error::{Path, Segment};

use crate::services::Error;

/// Most texts opened in one call because they contain the list or object that is expected there.
const OPENED: usize = 32;
/// Beyond this a floating point number no longer holds every whole number.
const EXACT: f64 = 9_007_199_254_740_992.0;

/// The keyword under which a type's schema says what is for the OpenAPI document alone: a tool's schema leaves it out,
/// for every word there is paid for by every conversation. `or` in it is another schema that fits as well.
pub const DOCUMENT_ONLY: &str = "x-document";

/// How a type says that it takes no `null`: [`read`] puts the way out beside it.
pub const NULL_REFUSED: &str = "null empties nothing; fields that can be cleared: ";

/// Reads a value as `T`; `manual` says where the arguments are described.
///
/// # Errors
/// When the value does not fit; nothing was changed.
pub fn read<T: DeserializeOwned>(mut value: Value, manual: &str) -> Result<T, Error> {
    make_whole(&mut value);
    for _ in 0..OPENED {
        let error = match serde_path_to_error::deserialize::<_, T>(&value) {
            Ok(read) => return Ok(read),
            Err(error) => error,
        };
        let (path, reason) = (error.path().clone(), error.inner().to_string());
        if !opened(&mut value, &path, &reason) {
            return Err(refusal(&path, &reason, manual));
        }
    }
    Err(Error::invalid("too many lists are sent as texts").hint("send lists, not texts"))
}

/// Writes whole numbers as such, which JSON does not tell from `3.0`.
fn make_whole(value: &mut Value) {
    match value {
        Value::Array(items) => items.iter_mut().for_each(make_whole),
        Value::Object(members) => members.values_mut().for_each(make_whole),
        Value::Number(number) if number.is_f64() => {
            if let Some(float) = number.as_f64().filter(|float| float.fract() == 0.0 && float.abs() < EXACT) {
                #[allow(clippy::cast_possible_truncation)] // whole, and within what 64 bits hold
                let whole = float as i64;
                *number = Number::from(whole);
            }
        }
        _ => {}
    }
}

/// Puts the list or object in place of a text that contains it, where one is expected.
fn opened(value: &mut Value, path: &Path, reason: &str) -> bool {
    let is_text = reason.starts_with("invalid type: string");
    let expects =
        |what: &str| reason.rsplit_once(", expected ").is_some_and(|(_, expected)| expected.starts_with(what));
    let Some(place) = at(value, path).filter(|_| is_text) else { return false };
    let inner = place.as_str().and_then(|text| serde_json::from_str::<Value>(text).ok());
    match inner {
        Some(inner)
            if (inner.is_array() && expects("a sequence"))
                || (inner.is_object() && (expects("struct") || expects("a map"))) =>
        {
            *place = inner;
            make_whole(place);
            true
        }
        _ => false,
    }
}

fn at<'v>(value: &'v mut Value, path: &Path) -> Option<&'v mut Value> {
    path.iter().try_fold(value, |value, segment| match segment {
        Segment::Seq { index } => value.get_mut(*index),
        Segment::Map { key } => value.get_mut(key.as_str()),
        Segment::Enum { .. } | Segment::Unknown => None,
    })
}

/// A refusal in plain words.
fn refusal(path: &Path, reason: &str, manual: &str) -> Error {
    let place = path.to_string();
    let field = path.iter().rev().find_map(|segment| match segment {
        Segment::Map { key } => Some(key.as_str()),
        _ => None,
    });
    if let Some(clearable) = reason.strip_prefix(NULL_REFUSED) {
        let named = field.filter(|field| clearable.split_whitespace().any(|known| known == *field));
        let example = named.or(clearable.split_whitespace().next()).unwrap_or_default();
        return Error::invalid(format!("`{place}` is null, which empties nothing"))
            .hint(format!("to empty a field, name it in `clear`, as in `clear: [\"{example}\"]`; else leave it out"));
    }
    let reason = plain(reason);
    let message =
        if place == "." || reason.contains(&format!("`{place}`")) { reason } else { format!("`{place}`: {reason}") };
    Error::invalid(message).hint(manual)
}

/// What serde says, without the names of types.
#[must_use]
pub fn plain(reason: &str) -> String {
    let wrong = reason.strip_prefix("invalid type: ").or_else(|| reason.strip_prefix("invalid value: "));
    if let Some((found, expected)) = wrong.and_then(|rest| rest.rsplit_once(", expected ")) {
        return format!("{} is expected, not {}", expected_words(expected), found_words(found));
    }
    if let Some((found, known)) =
        reason.strip_prefix("unknown variant `").and_then(|rest| rest.split_once("`, expected "))
    {
        let known = known.strip_prefix("one of ").unwrap_or(known);
        return format!("`{found}` is not known: use {known}");
    }
    if let Some(field) = reason.strip_prefix("missing field ") {
        return format!("{field} is missing");
    }
    if reason.starts_with("invalid length") {
        return "an object is expected, not a list".to_owned();
    }
    reason.to_owned()
}

fn expected_words(expected: &str) -> &str {
    match expected.split([' ', '<']).next().unwrap_or_default() {
        "u8" => "a whole number from 0 to 255",
        "u16" | "u32" | "u64" | "usize" => "a whole number, 0 or more",
        "i8" | "i16" | "i32" | "i64" | "isize" => "a whole number",
        "f32" | "f64" => "a number",
        "struct" => "an object",
        "string" | "enum" | "variant" => "a word",
        "unit" => "nothing",
        _ => match expected {
            "a string" | "a borrowed string" => "a text",
            "a boolean" => "true or false",
            "a sequence" => "a list",
            "a map" => "an object",
            other => other,
        },
    }
}

fn found_words(found: &str) -> String {
    let (kind, rest) = found.split_once(' ').unwrap_or((found, ""));
    let value = rest.trim_start_matches("point ").trim_matches('`');
    match kind {
        "integer" | "floating" => format!("the number {value}"),
        "string" => format!("the text {value}"),
        "boolean" => value.to_owned(),
        "sequence" => "a list".to_owned(),
        "map" => "an object".to_owned(),
        "null" | "unit" | "Option" => "null".to_owned(),
        _ => found.to_owned(),
    }
}

/// An item of a list that is read by itself, so that one that does not fit costs no other.
#[derive(Debug, Clone)]
pub struct Item<T>(pub Result<T, Error>);

impl<'de, T: DeserializeOwned> Deserialize<'de> for Item<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let value = match Value::deserialize(deserializer)? {
            Value::String(text) => serde_json::from_str(&text).unwrap_or(Value::String(text)),
            other => other,
        };
        if !value.is_object() {
            return Ok(Self(Err(Error::invalid("the item is no object with the fields of a task"))));
        }
        Ok(Self(read(value, "correct the item and send it again, alone")))
    }
}

/// JSON in which no object names a member twice: which of the two was meant, nobody can tell.
pub struct Unique(pub Value);

impl<'de> Deserialize<'de> for Unique {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Any;
        impl<'de> Visitor<'de> for Any {
            type Value = Value;
            fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                formatter.write_str("JSON")
            }
            fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
                Ok(value.into())
            }
            fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
                Ok(value.into())
            }
            fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
                Ok(value.into())
            }
            fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
                Ok(value.into())
            }
            fn visit_str<E>(self, value: &str) -> Result<Value, E> {
                Ok(value.into())
            }
            fn visit_string<E>(self, value: String) -> Result<Value, E> {
                Ok(value.into())
            }
            fn visit_unit<E>(self) -> Result<Value, E> {
                Ok(Value::Null)
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
                let mut list = Vec::new();
                while let Some(Unique(item)) = items.next_element()? {
                    list.push(item);
                }
                Ok(list.into())
            }
            fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Value, A::Error> {
                let mut object = Map::new();
                while let Some((name, Unique(value))) = members.next_entry::<String, Unique>()? {
                    if object.contains_key(&name) {
                        return Err(serde::de::Error::custom(format!("duplicate field `{name}`")));
                    }
                    object.insert(name, value);
                }
                Ok(object.into())
            }
        }
        deserializer.deserialize_any(Any).map(Self)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn duplicate_json_members_are_refused() {
        let twice = serde_json::from_str::<Unique>(r#"{"a": [{"b": 1, "b": 2}]}"#);
        assert!(twice.err().is_some_and(|error| error.to_string().starts_with("duplicate field `b`")));
        assert_eq!(serde_json::from_str::<Unique>("[1, null, \"x\"]").unwrap().0, json!([1, null, "x"]));
    }
}
