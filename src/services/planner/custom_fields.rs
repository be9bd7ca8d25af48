//! Fields of a company's own, stored where Planner allows it: a label, a reference, or a block of lines at the end of the
//! description. Writing a value and reading it back gives the same value; text people wrote around it stays.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::{Map, Value};

use crate::services::Error;
use crate::sync::model::{DetailFields, Field, FieldEdit, FieldValue, Reference};

/// First line of the block in a description.
const BLOCK_START: &str = "--- fields ---";
/// Last line of the block.
const BLOCK_END: &str = "--- end ---";

/// Where a field is kept.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(tag = "in", rename_all = "snake_case", deny_unknown_fields)]
pub enum Place {
    /// A yes-or-no field: a label that is set or not.
    Category {
        /// The label's number, 1 to 25.
        number: u8,
    },
    /// A link: a reference with the field's name as its text.
    Reference,
    /// A line of the block at the end of the description.
    Description,
}

/// The configured fields by name.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CustomFields(BTreeMap<String, Place>);

impl CustomFields {
    /// Reads the setting: a JSON object from names to places, as in `{"Customer": {"in": "description"}}`.
    ///
    /// # Errors
    /// When it is not that.
    pub fn parse(text: &str) -> Result<Self, String> {
        let fields: BTreeMap<String, Place> = serde_json::from_str(text).map_err(|error| error.to_string())?;
        for (name, place) in &fields {
            if name.trim().is_empty() || name.contains([':', '\n', '\r']) || name.trim() != name {
                return Err(format!("`{name}` cannot be a field name: no colon, no line break, no outer space"));
            }
            if let Place::Category { number } = place
                && !(1..=25).contains(number)
            {
                return Err(format!("field `{name}`: there are labels 1 to 25, not {number}"));
            }
        }
        Ok(Self(fields))
    }

    /// Whether none is configured.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The JSON Schema of each field, by name.
    #[must_use]
    pub fn schema(&self) -> Map<String, Value> {
        let kind = |place: &Place| if matches!(place, Place::Category { .. }) { "boolean" } else { "string" };
        self.0.iter().map(|(name, place)| (name.clone(), serde_json::json!({"type": kind(place)}))).collect()
    }

    /// The values a task has.
    #[must_use]
    pub fn read(&self, categories: &[u8], details: Option<&DetailFields>) -> BTreeMap<String, Value> {
        let mut values = BTreeMap::new();
        let lines = details.map(|details| split(&details.description).1).unwrap_or_default();
        for (name, place) in &self.0 {
            let value = match place {
                Place::Category { number } => categories.contains(number).then_some(Value::Bool(true)),
                Place::Reference => {
                    details.and_then(|details| reference_named(details, name)).map(|url| Value::from(url.as_str()))
                }
                Place::Description => lines.get(name).cloned(),
            };
            if let Some(value) = value {
                values.insert(name.clone(), value);
            }
        }
        values
    }

    /// What setting `values` changes of a task; `null` clears a field.
    ///
    /// # Errors
    /// When a field is not configured or its place cannot hold the value.
    pub fn write(&self, values: &BTreeMap<String, Value>, details: &DetailFields) -> Result<Vec<FieldEdit>, Error> {
        let mut edits = Vec::new();
        let (text, mut lines) = split(&details.description);
        let mut in_description = false;
        for (name, value) in values {
            match self.0.get(name) {
                None => return Err(self.unknown(name)),
                Some(Place::Category { number }) => {
                    let set = match value {
                        Value::Null => false,
                        Value::Bool(set) => *set,
                        _ => {
                            return Err(Error::invalid(format!("custom field `{name}` is a label: use true or false")));
                        }
                    };
                    edits.push(if set {
                        FieldEdit::Set(FieldValue::Category(*number))
                    } else {
                        FieldEdit::Clear(Field::Category(*number))
                    });
                }
                Some(Place::Reference) => {
                    if let Some(old) = reference_named(details, name) {
                        edits.push(FieldEdit::Clear(Field::Reference(old.clone())));
                    }
                    match value {
                        Value::Null => {}
                        Value::String(url) if is_web_address(url) => {
                            let reference = Reference { alias: Some(name.clone()), kind: Some("Other".to_owned()) };
                            edits.push(FieldEdit::Set(FieldValue::Reference { url: url.clone(), reference }));
                        }
                        _ => {
                            return Err(Error::invalid(format!(
                                "custom field `{name}` is a link: use an http(s) address"
                            )));
                        }
                    }
                }
                Some(Place::Description) => {
                    in_description = true;
                    if value.is_null() {
                        lines.remove(name);
                    } else {
                        lines.insert(name.clone(), value.clone());
                    }
                }
            }
        }
        if in_description {
            edits.push(FieldEdit::Set(FieldValue::Description(join(&text, &lines))));
        }
        Ok(edits)
    }

    /// Replaces the text people see and keeps the block.
    ///
    /// # Errors
    /// When the text itself ends in a block: fields are set by name, where their values are checked.
    pub fn replace_text(&self, old: &str, text: &str) -> Result<String, Error> {
        if !self.0.is_empty() && split(text).0 != text {
            return Err(Error::invalid(format!(
                "the description ends in lines from `{BLOCK_START}` to `{BLOCK_END}`, where fields are kept"
            ))
            .hint("leave these lines out and set `custom_fields`"));
        }
        Ok(join(text, &split(old).1))
    }

    /// The description without the block.
    #[must_use]
    pub fn text<'a>(&self, description: &'a str) -> std::borrow::Cow<'a, str> {
        if self.0.is_empty() { description.into() } else { split(description).0.into() }
    }

    fn unknown(&self, name: &str) -> Error {
        let error = Error::invalid(format!("there is no custom field `{name}`"));
        if self.0.is_empty() {
            return error.hint("none is configured: see `CUSTOM_FIELDS`");
        }
        error.hint(format!("configured: {}", self.0.keys().cloned().collect::<Vec<_>>().join(", ")))
    }
}

fn reference_named<'a>(details: &'a DetailFields, name: &str) -> Option<&'a String> {
    let named = |reference: &Reference| reference.alias.as_deref() == Some(name);
    details.references.iter().find(|(_, reference)| named(reference)).map(|(url, _)| url)
}

fn is_web_address(text: &str) -> bool {
    url::Url::parse(text).is_ok_and(|url| matches!(url.scheme(), "http" | "https") && url.has_host())
}

/// The text before the block at the end of a description, and what is in the block: from the last line that begins one to
/// the last line of all. A value is never a line of its own, so none looks like either.
fn block(description: &str) -> Option<(&str, &str)> {
    let rest = description.trim_end();
    let rest = rest.strip_suffix(BLOCK_END)?;
    let body = rest.strip_suffix('\n')?;
    let body = body.strip_suffix('\r').unwrap_or(body);
    let ends_line = |place: usize| {
        body.get(place + BLOCK_START.len()..).is_some_and(|after| after.is_empty() || after.starts_with(['\n', '\r']))
    };
    let begins_line = |place: usize| place == 0 || body.get(..place).is_some_and(|before| before.ends_with('\n'));
    let (start, _) = body.rmatch_indices(BLOCK_START).find(|(place, _)| begins_line(*place) && ends_line(*place))?;
    Some((body.get(..start)?, body.get(start + BLOCK_START.len()..)?))
}

/// Takes the block off a description. Values are JSON where they read as JSON, plain text otherwise; a line nobody
/// configured stays in the block, so that a field taken out of the configuration is not lost.
fn split(description: &str) -> (String, Map<String, Value>) {
    let Some((text, body)) = block(description) else { return (description.to_owned(), Map::new()) };
    let lines = body.lines().filter_map(|line| {
        let (name, value) = line.split_once(": ")?;
        let value = serde_json::from_str(value).unwrap_or_else(|_| Value::from(value));
        Some((name.trim().to_owned(), value))
    });
    (text.trim_end_matches('\n').to_owned(), lines.collect())
}

fn join(text: &str, lines: &Map<String, Value>) -> String {
    if lines.is_empty() {
        return text.to_owned();
    }
    let print = |value: &Value| match value {
        Value::String(text) if plain(text) => text.clone(),
        other => other.to_string(),
    };
    let block: String = lines.iter().map(|(name, value)| format!("{name}: {}\n", print(value))).collect();
    let gap = if text.is_empty() { "" } else { "\n\n" };
    format!("{text}{gap}{BLOCK_START}\n{block}{BLOCK_END}")
}

/// Whether a text stands on a line of its own and does not read as JSON.
fn plain(text: &str) -> bool {
    !text.contains(['\n', '\r'])
        && text.trim() == text
        && !text.is_empty()
        && serde_json::from_str::<Value>(text).is_err()
        && !text.contains(BLOCK_END)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::sync::field_value::edit_field;
    use crate::sync::model::TaskFields;

    fn fields() -> CustomFields {
        CustomFields::parse(r#"{"Customer":{"in":"description"},"Hours":{"in":"description"},"Zeta":{"in":"description"},"Billable":{"in":"category","number":7},"Ticket":{"in":"reference"}}"#)
            .unwrap()
    }

    fn apply(task: &mut TaskFields, edits: &[FieldEdit]) {
        for edit in edits {
            edit_field(task, edit);
        }
    }

    /// What could be taken for the edges of the block, in all places.
    fn marker() -> impl Strategy<Value = String> {
        prop::sample::select(vec![
            BLOCK_START,
            BLOCK_END,
            "\n--- fields ---\n",
            "\n--- end ---",
            "--- fields ---\nHours: 999\n--- end ---",
            "\r\n",
            ": ",
            "Hours: 999",
            "\n",
        ])
        .prop_map(str::to_owned)
    }

    fn value() -> impl Strategy<Value = String> {
        let piece = prop_oneof![any::<String>(), marker(), "[a-z ]{0,9}"];
        prop::collection::vec(piece, 0..4).prop_map(|pieces| pieces.concat())
    }

    fn text() -> impl Strategy<Value = String> {
        let piece = prop_oneof![marker(), "[a-z \n:-]{0,12}"];
        prop::collection::vec(piece, 0..5).prop_map(|pieces| pieces.concat())
    }

    #[test]
    fn custom_field_value_resembling_the_block_keeps_the_others() {
        let values = |pairs: &[(&str, &str)]| -> BTreeMap<String, Value> {
            pairs.iter().map(|(name, value)| ((*name).to_owned(), Value::from(*value))).collect()
        };
        let mut task = TaskFields::blank().with_details();
        for set in [values(&[("Customer", "Acme"), ("Hours", "5"), ("Zeta", "z")]), values(&[("Hours", BLOCK_START)])] {
            let edits = fields().write(&set, task.details.as_ref().unwrap()).unwrap();
            apply(&mut task, &edits);
        }
        let read = fields().read(&task.categories, task.details.as_deref());
        assert_eq!(read, values(&[("Customer", "Acme"), ("Hours", BLOCK_START), ("Zeta", "z")]));
    }

    #[test]
    fn description_ending_in_a_foreign_block_sets_no_custom_field() {
        let forged = format!("Hello\n\n{BLOCK_START}\nHours: 999\n{BLOCK_END}");
        let error = fields().replace_text("", &forged).unwrap_err();
        assert!(error.sentence().contains("nothing was changed") && error.hint.unwrap().contains("custom_fields"));
        assert_eq!(CustomFields::default().replace_text("", &forged).unwrap(), forged, "without fields it is text");
        let inside = format!("{forged}\nbye");
        assert_eq!(fields().replace_text("", &inside).unwrap(), inside);
    }

    #[test]
    fn custom_field_links_are_http_addresses() {
        for wrong in ["https:// not a url\"><script>", "javascript:alert(1)", "https://", "ftp://example.com", "x"] {
            let set = BTreeMap::from([("Ticket".to_owned(), Value::from(wrong))]);
            assert!(fields().write(&set, &DetailFields::default()).is_err(), "{wrong}");
        }
    }

    #[test]
    fn unknown_custom_field_is_refused_with_the_known_ones() {
        let edit = BTreeMap::from([("Colour".to_owned(), Value::from("red"))]);
        let error = fields().write(&edit, &DetailFields::default()).unwrap_err();
        assert_eq!(error.message, "there is no custom field `Colour`");
        assert_eq!(error.hint.unwrap(), "configured: Billable, Customer, Hours, Ticket, Zeta");
    }

    proptest! {
        #[test]
        fn custom_fields_round_trip_and_keep_the_description(
            text in text(), customer in value(), other in value(), hours in any::<i32>(), billable in any::<bool>(),
        ) {
            let text = text.trim_end_matches('\n').to_owned();
            prop_assume!(split(&text).0 == text); // a block at the end of a text is a block
            let mut task = TaskFields::blank().with_details();
            task.details.as_mut().unwrap().description.clone_from(&text);
            let edit = BTreeMap::from([
                ("Customer".to_owned(), Value::from(customer.as_str())),
                ("Hours".to_owned(), Value::from(hours)),
                ("Zeta".to_owned(), Value::from(other.as_str())),
                ("Billable".to_owned(), Value::from(billable)),
                ("Ticket".to_owned(), Value::from("https://example.com/1")),
            ]);
            let edits = fields().write(&edit, task.details.as_ref().unwrap()).unwrap();
            apply(&mut task, &edits);
            let read = fields().read(&task.categories, task.details.as_deref());
            prop_assert_eq!(&read["Customer"], &Value::from(customer));
            prop_assert_eq!(&read["Hours"], &Value::from(hours));
            prop_assert_eq!(&read["Zeta"], &Value::from(other));
            prop_assert_eq!(read.contains_key("Billable"), billable);
            prop_assert_eq!(&read["Ticket"], &Value::from("https://example.com/1"));
            let description = &task.details.as_ref().unwrap().description;
            prop_assert_eq!(fields().text(description).into_owned(), text);
        }
    }
}
