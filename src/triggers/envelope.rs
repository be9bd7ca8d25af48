//! The host's envelope: `{"Data": {…}, "Metadata": {…}}`, where nearly every value is a string that holds JSON again.
//!
//! The host writes a queue message and most metadata as the JSON *encoding* of the value, inside a JSON string; objects
//! and dates it writes plainly. Its documentation shows everything plain. Both are understood.

use serde::Deserialize;
use serde_json::{Map, Value};

use crate::services::jobs::Message;

/// A timer's or a message's invocation.
#[derive(Debug, Deserialize)]
pub struct Envelope {
    #[serde(rename = "Data", default)]
    data: Map<String, Value>,
    #[serde(rename = "Metadata", default)]
    metadata: Map<String, Value>,
}

/// An envelope that holds no message.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("the envelope holds {0} inputs, not one message")]
pub struct NoMessage(usize);

impl Envelope {
    /// Whether the host fires a timer later than it was due.
    pub fn is_past_due(&self) -> bool {
        self.data.values().any(|timer| timer.get("IsPastDue").and_then(Value::as_bool).unwrap_or_default())
    }

    /// The queue's message: the one input, under any name the binding gives it.
    ///
    /// # Errors
    /// When there is not exactly one input.
    pub fn message(&self) -> Result<Message, NoMessage> {
        let mut inputs = self.data.values();
        let (Some(input), None) = (inputs.next(), inputs.next()) else { return Err(NoMessage(self.data.len())) };
        let attempt = self.metadata.get("DequeueCount").map(decoded).and_then(|count| count.parse().ok());
        Ok(Message { text: decoded(input), attempt: attempt.unwrap_or(1) })
    }
}

/// The text behind a value: one layer of encoding is taken off where there is one.
fn decoded(value: &Value) -> String {
    let Value::String(text) = value else { return value.to_string() };
    match serde_json::from_str(text) {
        Ok(Value::String(inner)) => inner,
        _ => text.clone(),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn message(envelope: Value) -> Result<Message, NoMessage> {
        serde_json::from_value::<Envelope>(envelope).unwrap().message()
    }

    #[test]
    fn host_queue_envelope_parses() {
        let envelope = json!({
            "Data": {"message": "\"{\\\"id\\\":7}\""},
            "Metadata": {"DequeueCount": "4", "Id": "\"800ae4b3\"", "id": "7", "sys": {"MethodName": "on_outbox"}},
        });
        assert_eq!(message(envelope), Ok(Message { text: "{\"id\":7}".into(), attempt: 4 }));
    }

    #[test]
    fn documented_queue_envelope_parses() {
        for data in [json!("{\"id\":7}"), json!({"id": 7})] {
            let envelope = json!({"Data": {"message": data}, "Metadata": {"DequeueCount": 2}});
            assert_eq!(message(envelope), Ok(Message { text: "{\"id\":7}".into(), attempt: 2 }));
        }
    }

    #[test]
    fn envelope_without_exactly_one_message_is_refused() {
        assert_eq!(message(json!({})), Err(NoMessage(0)));
        assert_eq!(message(json!({"Data": {"a": "1", "b": "2"}})), Err(NoMessage(2)));
    }

    #[test]
    fn timer_envelope_has_is_past_due() {
        let timer = |late: bool| json!({"Data": {"timer": {"Schedule": {"AdjustForDST": true}, "ScheduleStatus": null, "IsPastDue": late}}});
        for late in [true, false] {
            assert_eq!(serde_json::from_value::<Envelope>(timer(late)).unwrap().is_past_due(), late);
        }
    }

    proptest! {
        #[test]
        fn any_message_text_round_trips(text in ".*", property in "[a-z]{1,8}") {
            let json = json!({ property: text }).to_string();
            for text in [text, json] {
                let encoded = Value::String(text.clone()).to_string();
                let read = message(json!({"Data": {"message": encoded}, "Metadata": {}})).unwrap();
                prop_assert_eq!(read.text, text);
            }
        }
    }
}
