//! Addresses that open one report in one format for a quarter of an hour, without a key: for a browser, or an agent that
//! must not carry the file through its context.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chrono::{DateTime, TimeDelta, Utc};

use super::request::Format;
use crate::error::ErrorCode;
use crate::keyring::{Keyring, Version};
use crate::services::Error;

/// How long an address opens anything.
pub const LIFE: TimeDelta = TimeDelta::minutes(15);
/// How long an address in a message opens anything: people read mail days later.
pub const LIFE_IN_MESSAGE: TimeDelta = TimeDelta::days(14);
/// Bytes of the signature that are kept: 128 bits.
const SIGNATURE: usize = 16;
/// What the keyring signs addresses for.
const PURPOSE: &str = "download";

/// Makes and checks addresses, with the deployment's keyring, which all its instances share.
pub struct Signer(Keyring);

impl Signer {
    /// A signer over a keyring.
    #[must_use]
    pub const fn new(keyring: Keyring) -> Self {
        Self(keyring)
    }

    /// The path and query that open a report until `expires`.
    #[must_use]
    pub fn address(&self, id: &str, format: Format, expires: DateTime<Utc>) -> String {
        let expires = expires.timestamp();
        let (version, tag) = self.0.sign(PURPOSE, &message(id, format, expires));
        let signature: Vec<u8> = version.to_be_bytes().into_iter().chain(tag.into_iter().take(SIGNATURE)).collect();
        let signature = URL_SAFE_NO_PAD.encode(signature);
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
        let (version, tag) = given.split_first_chunk::<2>().ok_or_else(|| refuse("the address is damaged"))?;
        let signed = self.0.verify(PURPOSE, Version::from_be_bytes(*version), &message(id, format, expires), tag);
        if !signed || tag.len() != SIGNATURE {
            return Err(refuse("the address is damaged"));
        }
        if expires < now.timestamp() {
            return Err(refuse("the address was good for a short time, which has passed"));
        }
        Ok(())
    }
}

fn message(id: &str, format: Format, expires: i64) -> Vec<u8> {
    format!("{id}\0{}\0{expires}", format.word()).into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::Entropy;
    use crate::keyring::generate;

    #[test]
    fn signed_download_address_is_valid_for_its_report_until_it_expires() {
        let ring = generate(&Entropy::seeded(1));
        let open = || Signer::new(Keyring::parse(&ring, "t").unwrap());
        let (signer, again) = (open(), open());
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
        for signature in ["", "AAE", &signature[..signature.len() - 2]] {
            assert!(signer.check("id", Format::Pdf, expires, signature, now).is_err(), "{signature}");
        }
    }
}
