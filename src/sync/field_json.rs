//! Field values as JSON, in rows and answers: a plain value beside the name of its field. What is no value of that field is
//! an error of the row and never counts as absent.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use serde::de::Error as _;
use serde::ser::{SerializeMap, SerializeStruct};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value;

use super::by_field::OfField;
use super::field::{Field, FieldRef};
use super::field_value::{FieldChange, FieldValue, Sent};
use super::model::Reference;
use crate::ids::BucketId;

/// JSON that is no value of its field. The value itself is the text of somebody's task, and left out.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{field}` cannot be {found}")]
pub struct WrongValue {
    /// The field, as lists are called for entries of one.
    field: &'static str,
    /// What was found.
    found: &'static str,
}

impl FieldValue {
    /// The value as rows and answers have it.
    #[must_use]
    pub fn to_json(&self) -> Value {
        serde_json::json!(self)
    }

    /// Reads a value of `field`; `null` is none.
    ///
    /// # Errors
    /// When the field cannot have that value, or cannot be without one.
    pub fn from_json(field: &Field, json: Value) -> Result<Option<Self>, WrongValue> {
        let found = kind_of(&json);
        let wrong = || WrongValue { field: FieldRef::from(field).name(), found };
        let read = match (field, json) {
            (Field::Title | Field::PercentComplete | Field::Priority, Value::Null) => None,
            (_, Value::Null) => return Ok(None),
            (Field::Title, Value::String(text)) => Some(Self::Title(text)),
            (Field::Bucket, Value::String(id)) => BucketId::parse(&id).ok().map(Self::Bucket),
            (Field::PercentComplete, json) => small(&json).map(Self::PercentComplete),
            (Field::Priority, json) => small(&json).map(Self::Priority),
            (Field::Start, json) => time(&json).map(Self::Start),
            (Field::Due, json) => time(&json).map(Self::Due),
            (Field::Assignee(user), Value::Bool(true)) => Some(Self::Assignee(user.clone())),
            (Field::Category(number), Value::Bool(true)) => Some(Self::Category(*number)),
            (Field::Description, Value::String(text)) => Some(Self::Description(text)),
            (Field::Checklist(key), json) => {
                let item: Option<ItemValue> = serde_json::from_value(json).ok();
                item.map(|item| Self::Checklist { key: key.clone(), title: item.title, checked: item.checked })
            }
            (Field::Reference(url), json) => {
                let value: Option<ReferenceValue> = serde_json::from_value(json).ok();
                let reference = value.map(|value| Reference { alias: value.alias, kind: value.kind });
                reference.map(|reference| Self::Reference { url: url.clone(), reference })
            }
            _ => None,
        };
        read.map(Some).ok_or_else(wrong)
    }
}

/// A checklist item as JSON.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ItemValue {
    title: String,
    checked: bool,
}

/// A reference as JSON.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ReferenceValue {
    alias: Option<String>,
    kind: Option<String>,
}

fn small(json: &Value) -> Option<u8> {
    json.as_u64().and_then(|number| u8::try_from(number).ok())
}

fn time(json: &Value) -> Option<DateTime<Utc>> {
    DateTime::parse_from_rfc3339(json.as_str()?).ok().map(|time| time.to_utc())
}

const fn kind_of(json: &Value) -> &'static str {
    match json {
        Value::Null => "null",
        Value::Bool(_) => "this truth value",
        Value::Number(_) => "this number",
        Value::String(_) => "this text",
        Value::Array(_) => "a list",
        Value::Object(_) => "this object",
    }
}

/// The JSON text.
impl std::fmt::Display for FieldValue {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.to_json().fmt(f)
    }
}

impl Serialize for FieldValue {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Title(text) | Self::Description(text) => serializer.serialize_str(text),
            Self::Bucket(bucket) => serializer.serialize_str(bucket.as_str()),
            Self::PercentComplete(number) | Self::Priority(number) => serializer.serialize_u8(*number),
            Self::Start(time) | Self::Due(time) => serializer.serialize_str(&time.to_rfc3339()),
            Self::Assignee(_) | Self::Category(_) => serializer.serialize_bool(true),
            Self::Checklist { key: _, title, checked } => {
                let mut item = serializer.serialize_struct("ItemValue", 2)?;
                item.serialize_field("title", title)?;
                item.serialize_field("checked", checked)?;
                item.end()
            }
            Self::Reference { url: _, reference } => {
                let mut value = serializer.serialize_struct("ReferenceValue", 2)?;
                value.serialize_field("alias", &reference.alias)?;
                value.serialize_field("kind", &reference.kind)?;
                value.end()
            }
        }
    }
}

/// An object from the names of the fields to their values, `null` for one that is cleared.
impl Serialize for Sent {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.len()))?;
        for change in self {
            map.serialize_key(&format_args!("{}", change.field()))?;
            map.serialize_value(&change.value())?;
        }
        map.end()
    }
}

impl<'de> Deserialize<'de> for Sent {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let stored = BTreeMap::<Field, Value>::deserialize(deserializer)?;
        let change = |(field, json): (Field, Value)| {
            let value = FieldValue::from_json(&field, json)?;
            Ok(value.map_or_else(|| FieldChange::Clear(field), FieldChange::Set))
        };
        stored.into_iter().map(change).collect::<Result<Self, WrongValue>>().map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;
    use crate::sync::event::Change;
    use crate::sync::field::FieldRef;
    use crate::sync::field_value::field_values;
    use crate::sync::samples::any_task;

    fn read(field: &str, json: Value) -> Result<Option<FieldValue>, WrongValue> {
        FieldValue::from_json(&field.parse().unwrap(), json)
    }

    /// Every field, with values as rows have them.
    fn stored() -> Vec<(&'static str, Value)> {
        vec![
            ("title", json!("Paint")),
            ("bucket", json!("0000000000000000000000000001")),
            ("percent_complete", json!(50)),
            ("priority", json!(5)),
            ("start_date", json!("2026-11-28T00:00:00+00:00")),
            ("due_date", json!("2026-11-28T00:00:00.500+00:00")),
            ("assignee/00000000-0000-4000-8000-000000000001", json!(true)),
            ("category/7", json!(true)),
            ("description", json!("Twice")),
            ("checklist/k", json!({"title": "x", "checked": false})),
            ("reference/https://a/b", json!({"alias": "A", "kind": null})),
        ]
    }

    #[test]
    fn stored_field_value_round_trips() {
        for (field, json) in stored() {
            let value = read(field, json.clone()).unwrap().unwrap();
            assert_eq!((value.field().to_string().as_str(), value.to_json()), (field, json));
        }
    }

    #[test]
    fn invalid_json_is_an_error_for_every_field() {
        let wrong = [
            json!(false),
            json!(-1),
            json!(256),
            json!(1.5),
            json!([]),
            json!({}),
            json!({"title": "x"}),
            json!({"title": "x", "checked": "yes"}),
            json!({"title": "x", "checked": true, "order": "85"}),
            json!({"alias": 1, "kind": null}),
        ];
        for (field, own) in stored() {
            let of_reference = field.starts_with("reference");
            for json in wrong.iter().filter(|json| !of_reference || **json != json!({})) {
                assert!(read(field, json.clone()).is_err(), "{field}: {json}");
            }
            // Nor is it a value of any other kind of field, unless both are of one type.
            for (_, other) in stored().into_iter().filter(|(_, other)| kind_of(other) != kind_of(&own)) {
                assert!(read(field, other.clone()).is_err(), "{field}: {other}");
            }
        }
        for (field, text) in [("bucket", "no id"), ("start_date", "tomorrow"), ("due_date", "2026-11-28")] {
            assert!(read(field, json!(text)).is_err(), "{field}: {text}");
        }
        assert_eq!(
            read("checklist/k", json!({"alias": "secret"})).unwrap_err().to_string(),
            "`checklist` cannot be this object"
        );
    }

    #[test]
    fn only_optional_fields_accept_null() {
        let required: Vec<&str> =
            stored().iter().map(|(field, _)| *field).filter(|field| read(field, Value::Null).is_err()).collect();
        assert_eq!(required, ["title", "percent_complete", "priority"]);
    }

    #[test]
    fn sent_values_are_stored_by_field_name() {
        let text = r#"{"title":"a","due_date":null,"category/3":true}"#;
        let sent: Sent = serde_json::from_str(text).unwrap();
        assert_eq!(sent.get(FieldRef::Due), Some(&FieldChange::Clear(Field::Due)));
        assert_eq!(serde_json::to_string(&sent).unwrap(), text);
        let error = serde_json::from_str::<Sent>(r#"{"title":"a","due_date":7}"#).unwrap_err();
        assert!(error.to_string().starts_with("`due_date` cannot be this number"), "{error}");
    }

    #[test]
    fn event_values_match_its_fields() {
        let change = |fields: &str, values: &str| {
            let text =
                format!(r#"{{"kind":"updated","title":"a","fields":{fields},"side":"agent","values":{values}}}"#);
            (serde_json::from_str::<Change>(&text).map_err(|error| error.to_string()), text)
        };
        let (read, text) = change(r#"["title","due_date"]"#, r#"[["b","a"],["2026-11-28T00:00:00+00:00",null]]"#);
        assert_eq!(serde_json::to_string(&read.unwrap()).unwrap(), text);
        let wrong = |fields, values| change(fields, values).0.unwrap_err();
        assert!(wrong(r#"["title"]"#, r#"[["b",7]]"#).starts_with("`title` cannot be this number"));
        assert!(
            wrong(r#"["title","bucket"]"#, r#"[["b","a"]]"#).starts_with("there are values of 1 fields, and 2 fields")
        );
        assert_eq!(change(r#"["title"]"#, "[]").0.unwrap().values, [], "a conflict tells no values");
    }

    proptest! {
        #[test]
        fn field_values_round_trip_through_json(task in any_task()) {
            for value in &field_values(&task) {
                let read = FieldValue::from_json(&value.field().to_field(), value.to_json());
                prop_assert_eq!(read, Ok(Some(value.clone())));
            }
        }
    }
}
