//! Shapes of notifications that nobody documents and that were seen or must be expected: a receiver has to take what
//! stands beside them.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// One unusual item of a POST.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Odd {
    /// Without `clientState`.
    NoClientState,
    /// `clientState` is null.
    NullClientState,
    /// Without `subscriptionId`.
    NoSubscription,
    /// `resourceData.id` is a number.
    NumericId,
    /// With members that no documentation has, on every level.
    UnknownMembers,
    /// A text in place of an object.
    NotAnObject,
}

impl Odd {
    /// An item of this shape, made from a usual one.
    fn of(self, usual: &Value) -> Value {
        let mut item = usual.clone();
        let Value::Object(members) = &mut item else { return item };
        match self {
            Self::NoClientState => drop(members.shift_remove("clientState")),
            Self::NullClientState => drop(members.insert("clientState".into(), Value::Null)),
            Self::NoSubscription => drop(members.shift_remove("subscriptionId")),
            Self::NumericId => drop(members.insert("resourceData".into(), json!({ "id": 5 }))),
            Self::UnknownMembers => {
                members.insert("sequence".into(), json!({ "number": 7, "of": [1, null] }));
                if let Some(Value::Object(data)) = members.get_mut("resourceData") {
                    data.insert("@odata.unknown".into(), json!([{ "deep": true }]));
                }
            }
            Self::NotAnObject => return "a text".into(),
        }
        item
    }
}

/// The body with one item of each shape before its own.
pub fn beside(odd: &[Odd], body: &Value) -> Value {
    let mut body = body.clone();
    if let Some(items) = body.get_mut("value").and_then(Value::as_array_mut)
        && let Some(usual) = items.first().cloned()
    {
        items.splice(0..0, odd.iter().map(|odd| odd.of(&usual)));
    }
    body
}
