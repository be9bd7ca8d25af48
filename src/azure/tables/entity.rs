//! A row as the table service keeps it: an operation id and JSON text in chunks, because a string property holds at
//! most 64 KiB, in UTF-16.

use std::sync::Arc;

use serde_json::{Map, Value};

use crate::azure::storage::Error;
use crate::rows::{MAX_BYTES_PER_ROW, Row, RowVersion};

/// Most UTF-16 units of one string property (Learn: understanding the table service data model).
const CHUNK_UNITS: usize = 32 * 1024;
/// The property with the id of the transaction that wrote the row.
const OPERATION: &str = "op";

/// A row and the transaction it was written by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entity {
    /// The row.
    pub row: Row,
    /// The id its transaction was given.
    pub operation: String,
}

impl Entity {
    /// Reads an entity of a query's answer.
    pub(super) fn read(entity: &Map<String, Value>) -> Result<Self, Error> {
        let text = |name: &str| entity.get(name).and_then(Value::as_str);
        let key = text("RowKey").unwrap_or_default();
        let needed = |name: &str| {
            text(name).ok_or_else(|| Error::Damaged { key: key.to_owned(), reason: format!("it has no `{name}`") })
        };
        let (version, operation) = (needed("odata.etag")?, needed(OPERATION)?);
        let mut json = needed("j0")?.to_owned();
        for chunk in (1..).map_while(|number| text(&format!("j{number}"))) {
            json.push_str(chunk);
        }
        let row = Row { key: key.to_owned(), version: RowVersion(Arc::from(version)), json: json.into() };
        Ok(Self { row, operation: operation.to_owned() })
    }
}

/// The body of an insert or replacement.
pub(super) fn body(partition: &str, key: &str, operation: &str, json: &str) -> Result<String, Error> {
    let mut entity = Map::new();
    let mut put = |name: String, text: &str| entity.insert(name, Value::String(text.to_owned()));
    put("PartitionKey".to_owned(), partition);
    put("RowKey".to_owned(), key);
    put(OPERATION.to_owned(), operation);
    let (chunks, bytes) = chunks(json);
    if bytes > MAX_BYTES_PER_ROW {
        return Err(Error::TooLarge { bytes });
    }
    for (number, chunk) in chunks.into_iter().enumerate() {
        put(format!("j{number}"), chunk);
    }
    Ok(Value::Object(entity).to_string())
}

/// `text` in pieces of at most [`CHUNK_UNITS`], at least one, none ending within a character; and the bytes the service
/// counts: two for every unit.
fn chunks(text: &str) -> (Vec<&str>, usize) {
    let (mut chunks, mut rest, mut units, mut total) = (Vec::new(), text, 0, 0);
    let mut begins = 0;
    for (place, character) in text.char_indices() {
        let more = character.len_utf16();
        if units + more > CHUNK_UNITS {
            let (chunk, after) = rest.split_at(place - begins);
            chunks.push(chunk);
            (rest, begins, units) = (after, place, 0);
        }
        units += more;
        total += more;
    }
    chunks.push(rest);
    (chunks, total * 2)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn there_and_back(json: &str) -> Entity {
        let body = body("p", "k", "op-1", json).unwrap();
        let mut entity: Map<String, Value> = serde_json::from_str(&body).unwrap();
        entity.insert("odata.etag".into(), "W/\"1\"".into());
        Entity::read(&entity).unwrap()
    }

    #[test]
    fn long_text_splits_between_characters_and_joins() {
        for text in [String::new(), "x".repeat(CHUNK_UNITS), "x".repeat(CHUNK_UNITS + 1), "你".repeat(70_000)] {
            assert_eq!(&*there_and_back(&text).row.json, text);
        }
        let pairs = format!("x{}", "😀".repeat(CHUNK_UNITS)); // the first cut would fall within a surrogate pair
        let (pieces, bytes) = chunks(&pairs);
        assert!(pieces.iter().all(|piece| piece.encode_utf16().count() <= CHUNK_UNITS));
        assert_eq!((pieces.concat(), bytes), (pairs, (2 * CHUNK_UNITS + 1) * 2));
    }

    #[test]
    fn row_over_the_entity_limit_is_refused() {
        assert!(body("p", "k", "o", &"x".repeat(MAX_BYTES_PER_ROW / 2)).is_ok());
        let refused = body("p", "k", "o", &"x".repeat(MAX_BYTES_PER_ROW / 2 + 1));
        assert!(matches!(refused, Err(Error::TooLarge { bytes }) if bytes == MAX_BYTES_PER_ROW + 2));
    }

    #[test]
    fn foreign_table_row_is_recognised() {
        let foreign = Map::from_iter([("RowKey".to_owned(), Value::from("k")), ("odata.etag".to_owned(), "e".into())]);
        assert_eq!(
            Entity::read(&foreign).unwrap_err().to_string(),
            "row `k` is not one this program wrote: it has no `op`"
        );
    }
}
