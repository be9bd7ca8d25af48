//! Keys in requests: where they are and how they are compared.
//!
//! Only digests are compared, in constant time, so that comparing tells nothing about a key or its length.

use std::fmt;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use http::HeaderMap;
use http::header::AUTHORIZATION;
use sha2::{Digest, Sha256};

/// Headers that hold a key alone. Azure Functions calls its keys by the second name.
const HEADERS: [&str; 2] = ["x-api-key", "x-functions-key"];

/// A key to compare others with.
#[derive(Clone, PartialEq, Eq)]
pub struct ApiKey([u8; 32]);

impl ApiKey {
    /// Takes the key's text.
    #[must_use]
    pub fn new(text: &str) -> Self {
        Self(Sha256::digest(text.as_bytes()).into())
    }

    /// Whether a text is this key.
    #[must_use]
    pub fn is(&self, text: &str) -> bool {
        verify_slices_are_equal(&self.0, &Self::new(text).0).is_ok()
    }
}

impl fmt::Debug for ApiKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ApiKey(…)")
    }
}

/// The keys in headers of their own.
pub fn alone(headers: &HeaderMap) -> Vec<&str> {
    HEADERS.iter().filter_map(|name| headers.get(*name)?.to_str().ok()).filter(|key| !key.is_empty()).collect()
}

/// Whether a request says twice how it is authorised. A proxy may have joined two headers to one: a comma between two
/// schemes. Which of them was meant nobody can say.
pub fn says_twice(headers: &HeaderMap) -> bool {
    let mut values = headers.get_all(AUTHORIZATION).iter();
    let first = values.next().and_then(|value| value.to_str().ok()).unwrap_or_default();
    let is_bearer = |text: &str| text.trim_start().get(..7).is_some_and(|start| start.eq_ignore_ascii_case("bearer "));
    let joined = first.contains(',') && first.split(',').any(is_bearer);
    values.next().is_some() || joined
}

/// The bearer token: a token of Entra, or a key.
pub fn bearer(headers: &HeaderMap) -> Option<&str> {
    let (scheme, token) = headers.get(AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sent(name: &'static str, value: &'static str) -> HeaderMap {
        HeaderMap::from_iter([(http::HeaderName::from_static(name), http::HeaderValue::from_static(value))])
    }

    #[test]
    fn api_key_is_read_from_every_header_and_parameter() {
        for name in HEADERS {
            assert_eq!(alone(&sent(name, "secret")), ["secret"], "{name}");
        }
        assert_eq!(bearer(&sent("authorization", "bearer secret")), Some("secret"));
        assert_eq!(bearer(&sent("authorization", "Basic secret")), None);
        assert_eq!(bearer(&sent("authorization", "secret")), None);
        assert!(alone(&sent("x-api-key", "")).is_empty());
    }

    #[test]
    fn joined_authorization_headers_are_detected() {
        for (value, twice) in [
            ("Bearer a", false),
            ("Bearer a, Bearer b", true),
            ("Bearer a,b", true),
            ("Basic x, bearer b", true),
            ("Digest username=\"u\", realm=\"r\"", false),
        ] {
            assert_eq!(says_twice(&sent("authorization", value)), twice, "{value}");
        }
        let mut headers = sent("authorization", "Bearer a");
        headers.append("authorization", http::HeaderValue::from_static("Basic b"));
        assert!(says_twice(&headers));
    }

    #[test]
    fn api_key_compares_exactly_and_is_never_printed() {
        let key = ApiKey::new("secret");
        assert!(key.is("secret") && !key.is("secre") && !key.is("") && !key.is("secret "));
        assert!(!format!("{key:?}").contains("secret"));
    }
}
