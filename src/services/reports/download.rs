//! Addresses that open one report in one format for a quarter of an hour, without a key: for a browser, or an agent that
//! must not carry the file through its context.

use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chrono::{DateTime, TimeDelta, Utc};

use super::request::Format;
use crate::error::ErrorCode;
use crate::ids::Entropy;
use crate::rows::{StoreError, Tables, Write};
use crate::services::Error;

/// How long an address opens anything.
pub const LIFE: TimeDelta = TimeDelta::minutes(15);
/// How long an address in a message opens anything: people read mail days later.
pub const LIFE_IN_MESSAGE: TimeDelta = TimeDelta::days(14);
/// Bytes of the signature that are kept: 128 bits.
const SIGNATURE: usize = 16;

/// Makes and checks addresses.
pub struct Signer(hmac::Key);

impl Signer {
    /// The key addresses are signed with: made once, kept in the store, the same on every instance.
    ///
    /// # Errors
    /// When the store cannot be read or take the key.
    pub async fn open(tables: &dyn Tables, tenant: &str, entropy: &Entropy) -> Result<Self, StoreError> {
        let partition = format!("{tenant}|keys");
        for _ in 0..3 {
            if let Some(row) = tables.get(&partition, "download").await? {
                return Ok(Self(hmac::Key::new(hmac::HMAC_SHA256, row.decode::<String>()?.as_bytes())));
            }
            let secret: String = (0..4).map(|_| format!("{:016x}", entropy.number())).collect();
            match tables.commit(&partition, vec![Write::insert("download", &secret)?]).await {
                Ok(_) | Err(StoreError::Conflict { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        Err(StoreError::Unavailable { reason: "the key of downloads cannot be kept".into() })
    }

    fn tag(&self, id: &str, format: Format, expires: i64) -> Vec<u8> {
        let text = format!("download\0{id}\0{}\0{expires}", format.word());
        hmac::sign(&self.0, text.as_bytes()).as_ref().iter().take(SIGNATURE).copied().collect()
    }

    /// The path and query that open a report until `expires`.
    #[must_use]
    pub fn address(&self, id: &str, format: Format, expires: DateTime<Utc>) -> String {
        let expires = expires.timestamp();
        let signature = URL_SAFE_NO_PAD.encode(self.tag(id, format, expires));
        format!("/downloads/{id}.{}?expires={expires}&signature={signature}", format.extension())
    }

    /// Checks an address.
    ///
    /// # Errors
    /// When nobody signed it, or its time has passed.
    pub fn check(
        &self,
        id: &str,
        format: Format,
        expires: i64,
        signature: &str,
        now: DateTime<Utc>,
    ) -> Result<(), Error> {
        let refuse = |message: &str| {
            Error::new(ErrorCode::Unauthenticated, message)
                .hint("ask for a new address with `generate_report` or `GET /api/reports`")
        };
        let given = URL_SAFE_NO_PAD.decode(signature).map_err(|_| refuse("the address is damaged"))?;
        if aws_lc_rs::constant_time::verify_slices_are_equal(&self.tag(id, format, expires), &given).is_err() {
            return Err(refuse("the address is damaged"));
        }
        if expires < now.timestamp() {
            return Err(refuse("the address was good for a short time, which has passed"));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::MemoryTables;

    #[tokio::test]
    async fn an_address_opens_what_it_was_signed_for_and_no_longer_than_that() {
        let tables = MemoryTables::default();
        let signer = Signer::open(&tables, "t", &Entropy::seeded(1)).await.unwrap();
        let again = Signer::open(&tables, "t", &Entropy::seeded(2)).await.unwrap();
        let now = DateTime::from_timestamp(1_800_000_000, 0).unwrap();
        let address = signer.address("id", Format::Pdf, now + LIFE);
        let (_, query) = address.split_once("expires=").unwrap();
        let (expires, signature) = query.split_once("&signature=").unwrap();
        let expires: i64 = expires.parse().unwrap();
        assert!(again.check("id", Format::Pdf, expires, signature, now).is_ok(), "the same on every instance");
        for (id, format, expires, at) in [
            ("other", Format::Pdf, expires, now),
            ("id", Format::Csv, expires, now),
            ("id", Format::Pdf, expires + 1, now),
            ("id", Format::Pdf, expires, now + LIFE + TimeDelta::seconds(1)),
        ] {
            assert!(signer.check(id, format, expires, signature, at).is_err(), "{id} {format:?} {expires} {at}");
        }
        assert!(signer.check("id", Format::Pdf, expires, "", now).is_err());
    }
}
