//! What Graph posts, read without trust: only known fields, of known types, of bounded length and number.

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

/// Most notifications of one POST that are accepted.
pub const MAX_ITEMS: usize = 1000;
/// The longest text of a field, in bytes; ids and resources are far shorter.
const MAX_TEXT: usize = 4096;

/// A POST.
#[derive(Debug, Clone, PartialEq)]
pub struct Body {
    /// The notifications that could be read.
    pub value: Vec<Notification>,
    /// How many could not: of another shape, or with a field that is too long.
    pub unreadable: usize,
    /// Validation tokens of who sends it, when it carries resources.
    pub validation_tokens: Option<Vec<String>>,
}

/// A POST whose notifications are still to be read, one by one: Graph puts those of several subscriptions into one.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Envelope<'a> {
    #[serde(borrow)]
    value: Vec<&'a RawValue>,
    #[serde(default)]
    validation_tokens: Option<Vec<String>>,
}

/// A notification. The same on the wire and in our queue.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Notification {
    /// Graph's id of the notification; often missing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// The subscription it belongs to.
    pub subscription_id: String,
    /// The secret of that subscription.
    pub client_state: String,
    /// The tenant it comes from; older notifications lack it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tenant_id: Option<String>,
    /// What changed, as Graph names it. Never followed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resource: Option<String>,
    /// `created`, `updated` or `deleted`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub change_type: Option<String>,
    /// What happened to the subscription itself, in a lifecycle notification.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lifecycle_event: Option<String>,
    /// A little of the resource.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resource_data: Option<ResourceData>,
    /// The resource, encrypted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub encrypted_content: Option<Encrypted>,
}

/// A little of what changed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ResourceData {
    /// Its id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// Its version.
    #[serde(rename = "@odata.etag", default, skip_serializing_if = "Option::is_none")]
    pub etag: Option<String>,
}

/// An encrypted resource.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Encrypted {
    /// AES-CBC of the resource, base64.
    pub data: String,
    /// HMAC-SHA256 of it, base64.
    pub data_signature: String,
    /// The key of both, RSA-OAEP, base64.
    pub data_key: String,
    /// Which certificate it is encrypted for.
    #[serde(default)]
    pub encryption_certificate_id: Option<String>,
}

/// Why a body is not accepted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// It is no JSON of this shape.
    #[error("the body is no list of notifications: {0}")]
    Shape(String),
    /// It has too many items.
    #[error("the body holds {0} notifications; at most {MAX_ITEMS} are taken")]
    Many(usize),
}

/// Reads a body. Each notification is read alone, so that an odd one costs no other: Graph would send all of them again
/// for hours, and slow down.
///
/// # Errors
/// When it is no list of notifications, or one of too many.
pub fn parse(bytes: &[u8]) -> Result<Body, Malformed> {
    let envelope: Envelope<'_> = serde_json::from_slice(bytes).map_err(|error| Malformed::Shape(error.to_string()))?;
    let all = envelope.value.len();
    if all > MAX_ITEMS {
        return Err(Malformed::Many(all));
    }
    let read = envelope.value.iter().filter_map(|item| serde_json::from_str::<Notification>(item.get()).ok());
    let value: Vec<Notification> = read.filter(Notification::is_bounded).collect();
    Ok(Body { unreadable: all - value.len(), value, validation_tokens: envelope.validation_tokens })
}

impl Notification {
    fn is_bounded(&self) -> bool {
        let data = self.resource_data.as_ref();
        let texts = [
            self.id.as_deref(),
            Some(self.subscription_id.as_str()),
            Some(self.client_state.as_str()),
            self.tenant_id.as_deref(),
            self.resource.as_deref(),
            self.change_type.as_deref(),
            self.lifecycle_event.as_deref(),
            data.and_then(|data| data.id.as_deref()),
            data.and_then(|data| data.etag.as_deref()),
        ];
        texts.into_iter().flatten().all(|text| text.len() <= MAX_TEXT)
    }

    /// What tells it from any other, if anything does: two changes of a resource without versions are alike.
    #[must_use]
    pub fn identity(&self) -> Option<String> {
        let data = self.resource_data.as_ref();
        let etag = data.and_then(|data| data.etag.as_deref());
        let own = self.id.as_deref().filter(|id| !id.is_empty());
        let telling = own.or(etag)?;
        let resource = data.and_then(|data| data.id.as_deref()).or(self.resource.as_deref()).unwrap_or_default();
        let parts = [self.subscription_id.as_str(), resource, self.change_type.as_deref().unwrap_or_default(), telling];
        Some(format!("{:032x}", crate::ids::digest(&parts)))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    #[test]
    fn documented_notification_body_is_parsed() {
        let body = json!({"value": [{"id": "lsgTZMr9KwAAA", "subscriptionId": "7f105c7d", "clientState": "s",
            "subscriptionExpirationDateTime": "2026-11-20T18:23:45.9356913Z", "changeType": "updated",
            "resource": "groups/1", "tenantId": "t", "encryptedContent": null,
            "resourceData": {"@odata.type": "#Microsoft.Graph.Group", "@odata.id": "Groups/1",
                "@odata.etag": "W/\"1\"", "id": "1"}}], "validationTokens": null});
        let read = parse(body.to_string().as_bytes()).unwrap();
        assert_eq!(read.value[0].resource_data.as_ref().unwrap().id.as_deref(), Some("1"));
        let again = parse(&serde_json::to_vec(&json!({ "value": read.value })).unwrap()).unwrap();
        assert_eq!(again.value, read.value);
    }

    #[test]
    fn notification_without_distinguishing_fields_has_no_identity() {
        let read = |value| parse(json!({ "value": [value] }).to_string().as_bytes()).unwrap().value.remove(0);
        let bare = json!({"subscriptionId": "a", "clientState": "s", "changeType": "updated", "resource": "groups/1"});
        assert_eq!(read(bare.clone()).identity(), None);
        let mut full = bare;
        full["id"] = "n1".into();
        let first = read(full.clone());
        assert_eq!(first.identity(), read(full.clone()).identity());
        full["subscriptionId"] = "b".into();
        assert_ne!(first.identity(), read(full).identity());
    }

    #[test]
    fn invalid_notification_does_not_drop_the_others() {
        let good = json!({"subscriptionId": "a", "clientState": "s", "changeType": "updated", "resource": "groups/1"});
        let mut odd = vec![json!(null), json!(7), json!([]), json!({})];
        for (name, value) in [("clientState", json!(null)), ("resourceData", json!({"id": 5})), ("tenantId", json!(1))]
        {
            let mut item = good.clone();
            item[name] = value;
            odd.push(item);
        }
        let body = json!({"value": [good, odd[0], odd[1], odd[2], odd[3], odd[4], odd[5], odd[6], good]});
        let read = parse(body.to_string().as_bytes()).unwrap();
        assert_eq!((read.value.len(), read.unreadable), (2, 7));
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic_the_parser(bytes in prop::collection::vec(any::<u8>(), 0..512)) {
            let _ = parse(&bytes);
        }

        #[test]
        fn arbitrary_json_never_panics_the_parser(text in "[\\[\\]{}\",:a-z0-9 ]{0,200}") {
            let _ = parse(text.as_bytes());
            let _ = parse(format!("{{\"value\":[{text}]}}").as_bytes());
        }
    }
}
