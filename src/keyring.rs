//! The deployment's keyring: what signs the things we hand out and want back unchanged, and seals what we keep and nobody
//! else shall read.
//!
//! A ring has versions. The newest signs, all verify, and every output names the version it was made with, so that
//! rotation breaks nothing that is still on its way. From a version's secret a key is derived for each tenant and
//! purpose: what one purpose signs proves nothing for another. A ring is made by a deployment (`graphgate keys init`) or
//! at the first start of a server that keeps its own data, never by a request.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use parking_lot::RwLock;
use serde::{Deserialize, Serialize};

use crate::ids::Entropy;

/// Bytes of a version's secret.
const LENGTH: usize = 32;

/// The version of a ring; part of every output.
pub type Version = u16;

/// A text as it is kept: sealed for its purpose, with the version of the ring that opens it. Never printed.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Sealed(String);

impl fmt::Debug for Sealed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Sealed(…)")
    }
}

/// A ring that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the keyring cannot be used: {0}")]
pub struct KeyringError(&'static str);

#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Ring {
    /// The version that signs.
    current: Version,
    /// Each version's secret, in base64.
    keys: BTreeMap<Version, String>,
}

/// A tenant's keyring; a cheap handle whose content may be replaced while it is used.
#[derive(Clone)]
pub struct Keyring(Arc<RwLock<Arc<Open>>>);

/// A ring, ready for use.
struct Open {
    current: Version,
    tenant: String,
    secrets: BTreeMap<Version, Vec<u8>>,
}

impl fmt::Debug for Keyring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Keyring(version {})", self.open().current)
    }
}

/// The text of a new ring with one version.
#[must_use]
pub fn generate(entropy: &Entropy) -> String {
    text(&Ring { current: 1, keys: BTreeMap::from([(1, secret(entropy))]) })
}

/// The text of a ring with one version more, which signs from there on.
///
/// # Errors
/// When `ring` is the text of none, or has no room for another version.
pub fn rotate(ring: &str, entropy: &Entropy) -> Result<String, KeyringError> {
    let mut ring = parse(ring)?;
    ring.current = ring.current.checked_add(1).ok_or(KeyringError("it has no room for another version"))?;
    ring.keys.insert(ring.current, secret(entropy));
    Ok(text(&ring))
}

/// The version of a ring's text that signs.
///
/// # Errors
/// When `ring` is the text of none.
pub fn version(ring: &str) -> Result<Version, KeyringError> {
    parse(ring).map(|ring| ring.current)
}

fn secret(entropy: &Entropy) -> String {
    let bytes: Vec<u8> = (0..LENGTH / 8).flat_map(|_| entropy.number().to_be_bytes()).collect();
    STANDARD.encode(bytes)
}

fn text(ring: &Ring) -> String {
    serde_json::to_string(ring).unwrap_or_default() // numbers and texts can always be written
}

fn parse(text: &str) -> Result<Ring, KeyringError> {
    serde_json::from_str(text).map_err(|_| KeyringError("it is not what `graphgate keys init` writes"))
}

fn open(text: &str, tenant: &str) -> Result<Open, KeyringError> {
    let ring = parse(text)?;
    let mut secrets = BTreeMap::new();
    for (version, secret) in ring.keys {
        let secret = STANDARD.decode(secret).ok().filter(|secret| secret.len() >= LENGTH);
        secrets.insert(version, secret.ok_or(KeyringError("a version's secret is damaged or too short"))?);
    }
    if !secrets.contains_key(&ring.current) {
        return Err(KeyringError("its current version is missing"));
    }
    Ok(Open { current: ring.current, tenant: tenant.to_owned(), secrets })
}

impl Keyring {
    /// A tenant's keyring from a ring's text.
    ///
    /// # Errors
    /// When the text is no ring's.
    pub fn parse(text: &str, tenant: &str) -> Result<Self, KeyringError> {
        Ok(Self(Arc::new(RwLock::new(Arc::new(open(text, tenant)?)))))
    }

    /// Takes over another ring, as after a rotation; one that cannot be used changes nothing.
    ///
    /// # Errors
    /// When the text is no ring's.
    pub fn replace(&self, text: &str) -> Result<(), KeyringError> {
        let tenant = self.open().tenant.clone();
        let ring = Arc::new(open(text, &tenant)?);
        *self.0.write() = ring;
        Ok(())
    }

    /// Signs a message for a purpose; answers the version that signed and the tag (HMAC-SHA256).
    #[must_use]
    pub fn sign(&self, purpose: &str, message: &[u8]) -> (Version, Vec<u8>) {
        let ring = self.open();
        let key = ring.derive(ring.current, purpose);
        let tag = key.map(|key| hmac::sign(&key, message).as_ref().to_vec()).unwrap_or_default();
        (ring.current, tag)
    }

    /// Whether a tag, or its beginning of at least ten bytes, was made by this version for this purpose and message.
    #[must_use]
    pub fn verify(&self, purpose: &str, version: Version, message: &[u8], tag: &[u8]) -> bool {
        let Some(key) = self.open().derive(version, purpose) else { return false };
        let whole = hmac::sign(&key, message);
        let expected = whole.as_ref().get(..tag.len()).filter(|_| tag.len() >= 10);
        expected.is_some_and(|expected| aws_lc_rs::constant_time::verify_slices_are_equal(expected, tag).is_ok())
    }

    /// Seals a text for a purpose (AES-256-GCM).
    ///
    /// # Errors
    /// When the ring has no current version, which no ring that was opened lacks.
    pub fn seal(&self, purpose: &str, text: &str, entropy: &Entropy) -> Result<Sealed, KeyringError> {
        let failed = KeyringError("it cannot seal");
        let ring = self.open();
        let key = ring.sealing(ring.current, purpose).ok_or(failed.clone())?;
        let mut nonce = [0; NONCE_LEN];
        let random = entropy.number().to_be_bytes().into_iter().chain(entropy.number().to_be_bytes());
        nonce.iter_mut().zip(random).for_each(|(byte, random)| *byte = random);
        let mut sealed = text.as_bytes().to_vec();
        let version = ring.current.to_be_bytes();
        key.seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), Aad::from(version), &mut sealed)
            .map_err(|_| failed)?;
        Ok(Sealed(STANDARD.encode([&version[..], &nonce, &sealed].concat())))
    }

    /// Opens what was sealed for a purpose.
    ///
    /// # Errors
    /// When it is damaged, was sealed for something else, or by a version that is not in the ring any more.
    pub fn unseal(&self, purpose: &str, sealed: &Sealed) -> Result<String, KeyringError> {
        let unseal = || {
            let bytes = STANDARD.decode(&sealed.0).ok()?;
            let (version, rest) = bytes.split_first_chunk::<2>()?;
            let (nonce, rest) = rest.split_first_chunk::<NONCE_LEN>()?;
            let key = self.open().sealing(Version::from_be_bytes(*version), purpose)?;
            let mut rest = rest.to_vec();
            let nonce = Nonce::assume_unique_for_key(*nonce);
            let text = key.open_in_place(nonce, Aad::from(*version), &mut rest).ok()?;
            String::from_utf8(text.to_vec()).ok()
        };
        unseal().ok_or(KeyringError("it does not open what was sealed"))
    }

    fn open(&self) -> Arc<Open> {
        self.0.read().clone()
    }
}

impl Open {
    fn derive(&self, version: Version, purpose: &str) -> Option<hmac::Key> {
        Some(hmac::Key::new(hmac::HMAC_SHA256, self.derived(version, purpose)?.as_ref()))
    }

    fn sealing(&self, version: Version, purpose: &str) -> Option<LessSafeKey> {
        let derived = self.derived(version, &format!("sealed\0{purpose}"))?;
        UnboundKey::new(&AES_256_GCM, derived.as_ref()).ok().map(LessSafeKey::new)
    }

    /// 32 bytes that belong to the tenant, the version and the purpose alone.
    fn derived(&self, version: Version, purpose: &str) -> Option<hmac::Tag> {
        let secret = hmac::Key::new(hmac::HMAC_SHA256, self.secrets.get(&version)?);
        Some(hmac::sign(&secret, format!("graphgate\0{}\0{purpose}", self.tenant).as_bytes()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ring() -> (String, Keyring) {
        let text = generate(&Entropy::seeded(1));
        let keyring = Keyring::parse(&text, "tenant").unwrap();
        (text, keyring)
    }

    #[test]
    fn signature_is_bound_to_purpose_tenant_version_and_message() {
        let (text, keyring) = ring();
        let (version, tag) = keyring.sign("cursor", b"message");
        assert!(keyring.verify("cursor", version, b"message", &tag));
        assert!(keyring.verify("cursor", version, b"message", &tag[..10]), "a shortened tag");
        assert!(!keyring.verify("cursor", version, b"message", &tag[..9]), "too short to mean anything");
        assert!(!keyring.verify("download", version, b"message", &tag));
        assert!(!keyring.verify("cursor", version + 1, b"message", &tag));
        assert!(!keyring.verify("cursor", version, b"massage", &tag));
        assert!(!Keyring::parse(&text, "other").unwrap().verify("cursor", version, b"message", &tag));
    }

    #[test]
    fn signatures_of_a_former_key_are_valid_after_rotation() {
        let (text, keyring) = ring();
        let (first, tag) = keyring.sign("cursor", b"message");
        keyring.replace(&rotate(&text, &Entropy::seeded(2)).unwrap()).unwrap();
        assert!(keyring.verify("cursor", first, b"message", &tag));
        let (second, newer) = keyring.sign("cursor", b"message");
        assert!(second == first + 1 && newer != tag);
    }

    #[test]
    fn sealed_values_open_for_their_purpose_and_tenant_and_after_rotation() {
        let (text, keyring) = ring();
        let entropy = Entropy::seeded(3);
        let seal = || keyring.seal("webhook", "https://example.com/?sig=secret", &entropy).unwrap();
        let (sealed, again) = (seal(), seal());
        assert_ne!(sealed, again, "a nonce each");
        assert!(!format!("{sealed:?} {}", sealed.0).contains("secret"));
        keyring.replace(&rotate(&text, &Entropy::seeded(2)).unwrap()).unwrap();
        assert_eq!(keyring.unseal("webhook", &sealed).unwrap(), "https://example.com/?sig=secret");
        assert!(keyring.unseal("template", &sealed).is_err());
        assert!(Keyring::parse(&text, "other").unwrap().unseal("webhook", &sealed).is_err());
        for place in 0..sealed.0.len() {
            let mut damaged = sealed.0.clone().into_bytes();
            damaged[place] = if damaged[place] == b'A' { b'B' } else { b'A' };
            let damaged = Sealed(String::from_utf8(damaged).unwrap());
            assert!(keyring.unseal("webhook", &damaged).is_err(), "place {place}");
        }
        assert!(keyring.unseal("webhook", &Sealed(String::new())).is_err());
    }

    #[test]
    fn damaged_keyring_is_refused_and_the_current_one_kept() {
        let (_, keyring) = ring();
        let (version, tag) = keyring.sign("cursor", b"message");
        for text in ["", "{}", r#"{"current":2,"keys":{"1":"AAAA"}}"#, r#"{"current":1,"keys":{"1":"AAAA"}}"#] {
            assert!(keyring.replace(text).is_err(), "{text}");
        }
        assert!(keyring.verify("cursor", version, b"message", &tag));
        assert!(!format!("{keyring:?}").contains("AAAA"));
    }
}
