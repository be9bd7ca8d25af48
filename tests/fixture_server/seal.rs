//! Tickets: state that travels through the client and must come back unchanged.

use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as CODE;

/// Signs and checks tickets with a key that lives as long as the process.
pub struct Seal(hmac::Key);

impl Seal {
    pub fn new() -> Self {
        let mut key = [0; 32];
        rand::fill(&mut key);
        Self(hmac::Key::new(hmac::HMAC_SHA256, &key))
    }

    /// A ticket that says `text` for calls of `name`.
    pub fn write(&self, name: &str, text: &str) -> String {
        let tag = hmac::sign(&self.0, Self::signed(name, text).as_bytes());
        format!("{}.{}", CODE.encode(text), CODE.encode(tag))
    }

    /// What a ticket says, if this process wrote it for calls of `name`.
    pub fn read(&self, name: &str, ticket: &str) -> Option<String> {
        let (text, tag) = ticket.split_once('.')?;
        let text = String::from_utf8(CODE.decode(text).ok()?).ok()?;
        let tag = CODE.decode(tag).ok()?;
        hmac::verify(&self.0, Self::signed(name, &text).as_bytes(), &tag).ok()?;
        Some(text)
    }

    fn signed(name: &str, text: &str) -> String {
        format!("{name}\n{text}")
    }
}
