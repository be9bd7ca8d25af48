//! The deployment's key: how it is sent and how it is compared.
//!
//! Only its digest is kept, so that nothing can print it and comparing tells nothing about its length.

use std::fmt;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use http::HeaderMap;
use http::header::AUTHORIZATION;
use sha2::{Digest, Sha256};

/// Headers a key may stand in by itself. Azure Functions calls its keys by the first name.
const HEADERS: [&str; 2] = ["x-functions-key", "x-api-key"];

/// A key every caller must send.
#[derive(Clone, PartialEq, Eq)]
pub struct ApiKey([u8; 32]);

impl ApiKey {
    /// Takes the key's text.
    #[must_use]
    pub fn new(text: &str) -> Self {
        Self(Sha256::digest(text.as_bytes()).into())
    }

    /// Whether the request carries this key in `x-functions-key`, `x-api-key` or as bearer token; in constant time.
    #[must_use]
    pub fn is_in(&self, headers: &HeaderMap) -> bool {
        presented(headers).is_some_and(|text| verify_slices_are_equal(&self.0, &Self::new(text).0).is_ok())
    }
}

impl fmt::Debug for ApiKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ApiKey(…)")
    }
}

fn presented(headers: &HeaderMap) -> Option<&str> {
    let alone = HEADERS.iter().find_map(|name| headers.get(*name)?.to_str().ok());
    alone.or_else(|| {
        let (scheme, token) = headers.get(AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
        scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sent(name: &'static str, value: &'static str) -> HeaderMap {
        HeaderMap::from_iter([(http::HeaderName::from_static(name), http::HeaderValue::from_static(value))])
    }

    #[test]
    fn the_key_is_found_in_each_of_its_places() {
        let key = ApiKey::new("secret");
        for headers in
            [sent("x-functions-key", "secret"), sent("x-api-key", "secret"), sent("authorization", "bearer secret")]
        {
            assert!(key.is_in(&headers), "{headers:?}");
        }
    }

    #[test]
    fn anything_else_is_not_the_key() {
        let key = ApiKey::new("secret");
        for headers in
            [HeaderMap::new(), sent("x-api-key", "secre"), sent("authorization", "Basic secret"), sent("x-api-key", "")]
        {
            assert!(!key.is_in(&headers), "{headers:?}");
        }
        assert!(!format!("{key:?}").contains("secret"));
    }
}
