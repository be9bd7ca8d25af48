//! Requests of machine callers that are signed: the key stays at home, and what was signed can be neither changed nor
//! sent again to another effect.
//!
//! The scheme is that of Standard Webhooks (<https://www.standardwebhooks.com>) with method and path in the signed text,
//! under names of its own, because a call of ours has no address that is fixed beforehand:
//!
//! ```text
//! X-GraphGate-Key: 1a2b3c4d
//! X-GraphGate-Request-Id: 0d9f…              once for each request, and again where it is repeated
//! X-GraphGate-Timestamp: 1792000000          seconds since 1970
//! X-GraphGate-Signature: v1,BASE64 …         HMAC-SHA256(key, "v1\n" id "\n" timestamp "\n" METHOD "\n" path?query "\n" body)
//! ```

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use chrono::{DateTime, TimeDelta, Utc};
use http::HeaderMap;

use crate::azure::Secret;

const KEY: &str = "x-graphgate-key";
const ID: &str = "x-graphgate-request-id";
const TIMESTAMP: &str = "x-graphgate-timestamp";
const SIGNATURE: &str = "x-graphgate-signature";
const VERSION: &str = "v1";

/// How far the clock of a caller may be ahead.
pub const AHEAD: TimeDelta = TimeDelta::seconds(60);
/// Signatures that are looked at: two keys may be valid at once.
const MOST: usize = 4;

/// What a request says of its signature.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signature {
    /// The id of the key.
    pub key: String,
    /// The id of the request.
    pub request: String,
    /// When it was signed, in seconds since 1970.
    timestamp: i64,
    /// The signatures of the version we know.
    tags: Vec<Vec<u8>>,
}

/// Whether a request claims to be signed.
#[must_use]
pub fn is_signed(headers: &HeaderMap) -> bool {
    headers.contains_key(SIGNATURE)
}

impl Signature {
    /// The signature of a request; `None` when it is not whole.
    #[must_use]
    pub fn read(headers: &HeaderMap) -> Option<Self> {
        let one = |name: &str| {
            let mut values = headers.get_all(name).iter();
            let value = values.next()?.to_str().ok()?;
            values.next().is_none().then_some(value)
        };
        let request = one(ID).filter(|id| {
            let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
            (1..=128).contains(&id.len()) && id.bytes().all(plain)
        })?;
        let timestamp = one(TIMESTAMP)?;
        let digits = (1..=12).contains(&timestamp.len()) && timestamp.bytes().all(|byte| byte.is_ascii_digit());
        let tags: Vec<Vec<u8>> = one(SIGNATURE)?
            .split_ascii_whitespace()
            .take(MOST)
            .filter_map(|text| STANDARD.decode(text.strip_prefix(VERSION)?.strip_prefix(',')?).ok())
            .collect();
        Some(Self {
            key: one(KEY)?.to_owned(),
            request: request.to_owned(),
            timestamp: timestamp.parse().ok().filter(|_| digits)?,
            tags,
        })
    }

    /// Whether it was made lately: no longer ago than `window`, and not ahead of us by more than [`AHEAD`].
    #[must_use]
    pub fn is_timely(&self, now: DateTime<Utc>, window: TimeDelta) -> bool {
        let age = now.timestamp() - self.timestamp;
        (-AHEAD.num_seconds()..=window.num_seconds()).contains(&age)
    }

    /// Whether one of the keys made it, for this method, path with query, and body.
    #[must_use]
    pub fn holds(&self, keys: &[Secret], method: &str, target: &str, body: &[u8]) -> bool {
        let head = format!("{VERSION}\n{}\n{}\n{method}\n{target}\n", self.request, self.timestamp);
        let made = |key: &Secret| {
            let mut context = hmac::Context::with_key(&hmac::Key::new(hmac::HMAC_SHA256, key.expose().as_bytes()));
            context.update(head.as_bytes());
            context.update(body);
            context.sign()
        };
        let is_it = |tag: &hmac::Tag| self.tags.iter().any(|sent| verify_slices_are_equal(sent, tag.as_ref()).is_ok());
        keys.iter().map(made).any(|tag| is_it(&tag))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sign(key: &str, id: &str, timestamp: i64, method: &str, target: &str, body: &str) -> String {
        let key = hmac::Key::new(hmac::HMAC_SHA256, key.as_bytes());
        let text = format!("v1\n{id}\n{timestamp}\n{method}\n{target}\n{body}");
        format!("v1,{}", STANDARD.encode(hmac::sign(&key, text.as_bytes())))
    }

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(*name, value.parse().unwrap());
        }
        headers
    }

    #[test]
    fn signature_holds_for_what_was_signed_and_for_nothing_else() {
        let tag = sign("secret", "r-1", 1_000, "POST", "/api/x?a=1", "{}");
        let both = format!("v2,AAAA v1,!! {} {tag}", sign("older", "r-1", 1_000, "POST", "/api/x?a=1", "{}"));
        for value in [&tag, &both] {
            let read =
                Signature::read(&headers(&[(KEY, "1a2b3c4d"), (ID, "r-1"), (TIMESTAMP, "1000"), (SIGNATURE, value)]))
                    .unwrap();
            let keys = [Secret::new("next"), Secret::new("secret")];
            assert!(read.holds(&keys, "POST", "/api/x?a=1", b"{}"));
            for (method, target, body) in [
                ("PUT", "/api/x?a=1", "{}"),
                ("POST", "/api/x?a=2", "{}"),
                ("POST", "/api/x", "{}"),
                ("POST", "/API/x?a=1", "{}"),
                ("POST", "/api/x?a=1", "{ }"),
                ("POST", "/api/x?a=1\n", "{}"),
            ] {
                assert!(!read.holds(&keys, method, target, body.as_bytes()), "{method} {target} {body}");
            }
            assert!(!read.holds(&[Secret::new("other")], "POST", "/api/x?a=1", b"{}"));
            assert!(!read.holds(&[], "POST", "/api/x?a=1", b"{}"));
            for changed in [Signature { request: "r-2".into(), ..read.clone() }, Signature { timestamp: 1_001, ..read }]
            {
                assert!(!changed.holds(&keys, "POST", "/api/x?a=1", b"{}"), "{changed:?}");
            }
        }
    }

    #[test]
    fn signature_that_is_not_whole_is_none() {
        let whole = [(KEY, "1a2b3c4d"), (ID, "r-1"), (TIMESTAMP, "1000"), (SIGNATURE, "v1,AAAA")];
        assert!(Signature::read(&headers(&whole)).is_some());
        for left_out in 0..whole.len() {
            let some: Vec<_> =
                whole.iter().enumerate().filter(|(at, _)| *at != left_out).map(|(_, one)| *one).collect();
            assert_eq!(Signature::read(&headers(&some)), None, "{left_out}");
            let twice: Vec<_> = whole.iter().chain([&whole[left_out]]).copied().collect();
            assert_eq!(Signature::read(&headers(&twice)), None, "{left_out} twice");
        }
        let long = "x".repeat(129);
        for (name, value) in
            [(ID, ""), (ID, "a b"), (ID, long.as_str()), (TIMESTAMP, "-1"), (TIMESTAMP, "+1"), (TIMESTAMP, "1e3")]
        {
            let changed: Vec<_> = whole.iter().map(|(n, v)| (*n, if *n == name { value } else { *v })).collect();
            assert_eq!(Signature::read(&headers(&changed)), None, "{name} {value}");
        }
    }

    #[test]
    fn signature_ages_back_by_the_window_and_forward_by_a_minute() {
        let read = |timestamp| Signature { key: String::new(), request: String::new(), timestamp, tags: Vec::new() };
        let now = DateTime::from_timestamp(10_000, 0).unwrap();
        for (timestamp, timely) in
            [(9_699, false), (9_700, true), (10_000, true), (10_060, true), (10_061, false), (0, false)]
        {
            assert_eq!(read(timestamp).is_timely(now, TimeDelta::seconds(300)), timely, "{timestamp}");
        }
    }
}
