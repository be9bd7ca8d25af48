//! Values as clients send them: JSON in a text, one where a list is meant, a number where a word is.

use serde::de::Error as _;
use serde::{Deserialize, Deserializer};

use super::CLEARABLE;
use crate::services::arguments::NULL_REFUSED;

/// Why a `null` is refused, with the fields that can be cleared: [`arguments`](crate::services::arguments) makes a hint of it.
fn null_refused() -> String {
    format!("{NULL_REFUSED}{}", CLEARABLE.join(" "))
}

/// Reads a field of a change: a value, never `null`.
pub(super) fn given<'de, D: Deserializer<'de>, T: Deserialize<'de>>(deserializer: D) -> Result<Option<T>, D::Error> {
    Option::<T>::deserialize(deserializer)?.map(Some).ok_or_else(|| D::Error::custom(null_refused()))
}

/// As [`given`], for what is a word or a number.
pub(super) fn given_word_or_number<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    word_or_number(deserializer)?.map(Some).ok_or_else(|| D::Error::custom(null_refused()))
}

/// The object a text contains, as some clients send one; `None` where it is only a text that begins like one.
pub(super) fn object_in<T: serde::de::DeserializeOwned>(text: &str) -> Result<Option<T>, serde_json::Error> {
    match serde_json::from_str::<serde_json::Value>(text) {
        Ok(object @ serde_json::Value::Object(_)) => serde_json::from_value(object).map(Some),
        _ => Ok(None),
    }
}

/// Accepts one text where a list of one is meant.
///
/// # Errors
/// When it is neither.
pub fn one_or_more<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Vec<String>>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged, expecting = "a text or a list of texts")]
    enum Either {
        One(String),
        More(Vec<String>),
    }
    Ok(Option::<Either>::deserialize(deserializer)?.map(|either| match either {
        Either::One(text) => vec![text],
        Either::More(texts) => texts,
    }))
}

/// Accepts `5` where `"5"` is meant.
pub(super) fn word_or_number<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged, expecting = "a word or a whole number is expected")]
    enum Either {
        Number(i64),
        Word(String),
    }
    Ok(Option::<Either>::deserialize(deserializer)?.map(|either| match either {
        Either::Number(number) => number.to_string(),
        Either::Word(word) => word,
    }))
}
