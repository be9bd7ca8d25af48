//! Cursors: where a page ended, signed so that nobody can make one up, good for a day.

use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chrono::{DateTime, TimeDelta, Utc};
use serde::{Deserialize, Serialize};

use crate::error::ErrorCode;
use crate::services::Error;

/// How long a cursor is good for.
const LIFE: TimeDelta = TimeDelta::hours(24);
/// Bytes of the signature that are kept: 80 bits.
const SIGNATURE: usize = 10;

/// The key cursors are signed with; shared by all instances of a deployment.
pub struct Signer(hmac::Key);

#[derive(Serialize, Deserialize)]
struct Payload {
    /// Digest of the query the cursor belongs to.
    q: String,
    /// Sort key of the last row.
    k: String,
    /// Id of the last row.
    i: String,
    /// Expiry, seconds.
    e: i64,
}

/// Where a page ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Position {
    /// Sort key of the last row.
    pub key: String,
    /// Id of the last row.
    pub id: String,
}

impl Signer {
    /// A signer with a secret of at least 32 bytes.
    #[must_use]
    pub fn new(secret: &[u8]) -> Self {
        Self(hmac::Key::new(hmac::HMAC_SHA256, secret))
    }

    /// Makes the cursor of a page's end.
    #[must_use]
    pub fn seal(&self, query: &str, position: Position, now: DateTime<Utc>) -> String {
        let payload = Payload { q: query.into(), k: position.key, i: position.id, e: (now + LIFE).timestamp() };
        let mut bytes = serde_json::to_vec(&payload).unwrap_or_default();
        let tag = hmac::sign(&self.0, &bytes);
        bytes.extend(tag.as_ref().iter().take(SIGNATURE));
        URL_SAFE_NO_PAD.encode(bytes)
    }

    /// Reads a cursor back.
    ///
    /// # Errors
    /// When it is damaged, expired, or belongs to another query.
    pub fn open(&self, query: &str, cursor: &str, now: DateTime<Utc>) -> Result<Position, Error> {
        let refuse = |message: &str| Error::new(ErrorCode::ExpiredCursor, message).hint("start again without `cursor`");
        let bytes = URL_SAFE_NO_PAD.decode(cursor).map_err(|_| refuse("the cursor is damaged"))?;
        let (payload, signature) = bytes
            .split_at_checked(bytes.len().saturating_sub(SIGNATURE))
            .ok_or_else(|| refuse("the cursor is damaged"))?;
        let tag = hmac::sign(&self.0, payload);
        let expected: Vec<u8> = tag.as_ref().iter().take(SIGNATURE).copied().collect();
        if aws_lc_rs::constant_time::verify_slices_are_equal(&expected, signature).is_err() {
            return Err(refuse("the cursor is damaged"));
        }
        let payload: Payload = serde_json::from_slice(payload).map_err(|_| refuse("the cursor is damaged"))?;
        if payload.e < now.timestamp() {
            return Err(refuse("the cursor has expired"));
        }
        if payload.q != query {
            return Err(refuse("the cursor belongs to a query with other filters"));
        }
        Ok(Position { key: payload.k, id: payload.i })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_opens_only_unchanged_in_time_and_for_its_query() {
        let signer = Signer::new(&[7; 32]);
        let now = DateTime::UNIX_EPOCH;
        let position = Position { key: "k".into(), id: "i".into() };
        let cursor = signer.seal("q", position.clone(), now);
        assert_eq!(signer.open("q", &cursor, now).unwrap(), position);
        assert_eq!(
            signer.open("q", &cursor, now + TimeDelta::hours(25)).unwrap_err().message,
            "the cursor has expired"
        );
        assert!(signer.open("other", &cursor, now).is_err());
        for place in 0..cursor.len() {
            let mut damaged = cursor.clone().into_bytes();
            damaged[place] = if damaged[place] == b'A' { b'B' } else { b'A' };
            assert!(signer.open("q", &String::from_utf8(damaged).unwrap(), now).is_err(), "place {place}");
        }
        assert!(signer.open("q", "", now).is_err());
    }
}
