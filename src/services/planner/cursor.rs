//! Cursors: where a page ended, signed so that nobody can make one up, good for a day.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chrono::{DateTime, TimeDelta, Utc};
use serde::{Deserialize, Serialize};

use crate::error::ErrorCode;
use crate::keyring::{Keyring, Version};
use crate::services::Error;

/// How long a cursor is good for.
const LIFE: TimeDelta = TimeDelta::hours(24);
/// Bytes of the signature that are kept: 80 bits.
const SIGNATURE: usize = 10;

/// What the keyring signs cursors for.
const PURPOSE: &str = "cursor";
/// Bytes that name the keyring's version.
const VERSION: usize = 2;

/// Signs cursors with the deployment's keyring, which all its instances share.
pub struct Signer(Keyring);

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
    /// Some plan is missing so far.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    m: bool,
}

/// Where a page ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Position {
    /// Sort key of the last row.
    pub key: String,
    /// Id of the last row.
    pub id: String,
    /// Whether this page or an earlier one lacks plans of which nothing was known.
    pub lacking: bool,
}

impl Signer {
    /// A signer over a keyring.
    #[must_use]
    pub const fn new(keyring: Keyring) -> Self {
        Self(keyring)
    }

    /// Makes the cursor of a page's end.
    #[must_use]
    pub fn seal(&self, query: &str, position: Position, now: DateTime<Utc>) -> String {
        let Position { key, id, lacking } = position;
        let payload = Payload { q: query.into(), k: key, i: id, e: (now + LIFE).timestamp(), m: lacking };
        let mut bytes = serde_json::to_vec(&payload).unwrap_or_default();
        let (version, tag) = self.0.sign(PURPOSE, &bytes);
        bytes.extend(version.to_be_bytes());
        bytes.extend(tag.iter().take(SIGNATURE));
        URL_SAFE_NO_PAD.encode(bytes)
    }

    /// Reads a cursor back.
    ///
    /// # Errors
    /// When it is damaged, expired, or belongs to another query.
    pub fn open(&self, query: &str, cursor: &str, now: DateTime<Utc>) -> Result<Position, Error> {
        let refuse = |message: &str| Error::new(ErrorCode::ExpiredCursor, message).hint("start again without `cursor`");
        let bytes = URL_SAFE_NO_PAD.decode(cursor).map_err(|_| refuse("the cursor is damaged"))?;
        let (payload, proof) = bytes
            .split_at_checked(bytes.len().saturating_sub(VERSION + SIGNATURE))
            .ok_or_else(|| refuse("the cursor is damaged"))?;
        let (version, signature) = proof.split_at_checked(VERSION).ok_or_else(|| refuse("the cursor is damaged"))?;
        let version = version.iter().fold(0, |version: Version, byte| version << 8 | Version::from(*byte));
        if signature.len() != SIGNATURE || !self.0.verify(PURPOSE, version, payload, signature) {
            return Err(refuse("the cursor is damaged"));
        }
        let payload: Payload = serde_json::from_slice(payload).map_err(|_| refuse("the cursor is damaged"))?;
        if payload.e < now.timestamp() {
            return Err(refuse("the cursor has expired"));
        }
        if payload.q != query {
            return Err(refuse("the cursor belongs to a query with other filters"));
        }
        Ok(Position { key: payload.k, id: payload.i, lacking: payload.m })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cursor_is_valid_only_unchanged_unexpired_and_for_its_query() {
        let ring = crate::keyring::generate(&crate::ids::Entropy::seeded(1));
        let signer = Signer::new(Keyring::parse(&ring, "tenant").unwrap());
        let now = DateTime::UNIX_EPOCH;
        let position = Position { key: "k".into(), id: "i".into(), lacking: true };
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
