//! Claims challenges: what Entra or a service asks for more than a token that lives, such as a second factor or a fresh
//! sign-in, and the word by which a client says that it understands them (continuous access evaluation).
//!
//! <https://learn.microsoft.com/entra/identity-platform/claims-challenge>

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use http::{HeaderMap, header};
use serde_json::{Map, Value, json};

/// The largest challenge that is passed on, in bytes: Entra's have a few hundred.
const MAX_BYTES: usize = 4096;

/// What a 401 asks for, as JSON: the claims of its `WWW-Authenticate`.
#[must_use]
pub fn challenge(headers: &HeaderMap) -> Option<String> {
    let asked = headers.get_all(header::WWW_AUTHENTICATE).iter().filter_map(|value| value.to_str().ok());
    let text = asked.filter(|text| text.contains("insufficient_claims")).find_map(|text| {
        let (_, rest) = text.split_once("claims=\"")?;
        rest.split('"').next()
    })?;
    let bytes = STANDARD.decode(text).or_else(|_| URL_SAFE_NO_PAD.decode(text.trim_end_matches('='))).ok()?;
    String::from_utf8(bytes).ok().filter(|text| object(text).is_some())
}

/// The parameter `claims` of a request for tokens: that we understand challenges (`cp1`), together with one to be met.
#[must_use]
pub fn parameter(challenge: Option<&str>) -> String {
    let mut claims = challenge.and_then(object).unwrap_or_default();
    let of_access = claims.entry("access_token").or_insert_with(|| json!({}));
    if !of_access.is_object() {
        *of_access = json!({});
    }
    of_access["xms_cc"] = json!({ "values": ["cp1"] });
    Value::Object(claims).to_string()
}

/// A challenge as `WWW-Authenticate` passes it on.
#[must_use]
pub fn encoded(challenge: &str) -> String {
    STANDARD.encode(challenge)
}

fn object(text: &str) -> Option<Map<String, Value>> {
    serde_json::from_str(text).ok().filter(|_| text.len() <= MAX_BYTES)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(value: &str) -> Option<String> {
        let mut headers = HeaderMap::new();
        headers.insert(header::WWW_AUTHENTICATE, value.parse().unwrap());
        challenge(&headers)
    }

    #[test]
    fn claims_challenge_is_read_from_the_header_and_nothing_else_is_one() {
        let claims = r#"{"access_token":{"nbf":{"essential":true,"value":"1"}}}"#;
        let header = |claims: &str| format!(r#"Bearer realm="", error="insufficient_claims", claims="{claims}""#);
        assert_eq!(asked(&header(&encoded(claims))).as_deref(), Some(claims));
        assert_eq!(asked(&header(&URL_SAFE_NO_PAD.encode(claims))).as_deref(), Some(claims));
        for other in [r#"Bearer realm="""#, &header("!"), &header(&encoded("[]")), &header("")] {
            assert_eq!(asked(other), None, "{other}");
        }
        assert_eq!(asked(&header(&encoded(&format!(r#"{{"a":"{}"}}"#, "x".repeat(MAX_BYTES))))), None);
    }

    #[test]
    fn claims_parameter_keeps_the_challenge_beside_the_capability() {
        let met: Value = serde_json::from_str(&parameter(Some(r#"{"access_token":{"acrs":{"value":"c1"}}}"#))).unwrap();
        assert_eq!(met, json!({"access_token": {"acrs": {"value": "c1"}, "xms_cc": {"values": ["cp1"]}}}));
        let alone = json!({"access_token": {"xms_cc": {"values": ["cp1"]}}});
        for nothing in [None, Some("no JSON"), Some("[]"), Some(r#"{"access_token":1}"#)] {
            assert_eq!(serde_json::from_str::<Value>(&parameter(nothing)).unwrap(), alone, "{nothing:?}");
        }
    }
}
