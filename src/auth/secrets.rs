//! Texts that are handed out and come back: random ones, known again by their digest, and signed ones, which say what
//! they stand for.

use std::fmt::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Digest, Sha256};

use crate::ids::Entropy;
use crate::keyring::{Keyring, Version};

/// Bytes of a signature.
const TAG: usize = 32;

/// A random text of 64 bits a word, in hex.
#[must_use]
pub fn random(entropy: &Entropy, words: usize) -> String {
    (0..words).fold(String::new(), |mut text, _| {
        let _ = write!(text, "{:016x}", entropy.number()); // a `String` takes everything
        text
    })
}

/// SHA-256, in hex.
#[must_use]
pub fn digest(text: &str) -> String {
    digest_of(text.as_bytes())
}

/// SHA-256 of any bytes, in hex.
#[must_use]
pub fn digest_of(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().fold(String::new(), |mut hex, byte| {
        let _ = write!(hex, "{byte:02x}");
        hex
    })
}

/// Whether two texts are equal, in a time that tells nothing about them.
#[must_use]
pub fn same(one: &str, other: &str) -> bool {
    aws_lc_rs::constant_time::verify_slices_are_equal(one.as_bytes(), other.as_bytes()).is_ok()
}

/// A message with a signature, as a text that begins with `prefix`: what is signed under one prefix proves nothing under
/// another.
#[must_use]
pub fn signed(keyring: &Keyring, prefix: &str, message: &[u8]) -> String {
    let (version, tag) = keyring.sign(prefix, message);
    let proof = [&version.to_be_bytes()[..], &tag].concat();
    format!("{prefix}{}.{}", URL_SAFE_NO_PAD.encode(message), URL_SAFE_NO_PAD.encode(proof))
}

/// The message of a text that [`signed`] made.
#[must_use]
pub fn opened(keyring: &Keyring, prefix: &str, text: &str) -> Option<Vec<u8>> {
    let (message, proof) = text.strip_prefix(prefix)?.split_once('.')?;
    let (message, proof) = (URL_SAFE_NO_PAD.decode(message).ok()?, URL_SAFE_NO_PAD.decode(proof).ok()?);
    let (version, tag) = proof.split_first_chunk::<2>()?;
    let holds = tag.len() == TAG && keyring.verify(prefix, Version::from_be_bytes(*version), &message, tag);
    holds.then_some(message)
}
