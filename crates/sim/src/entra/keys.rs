//! The signing key of the tenant: RSA 2048, made at start, published as a JWK. Tokens are signed here directly,
//! as three base64 parts, because nothing but RS256 is ever needed.

use anyhow::{Context, anyhow};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{KeyPair, RSA_PKCS1_2048_8192_SHA256, RSA_PKCS1_SHA256, RsaKeyPair, UnparsedPublicKey};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::{Value, json};

/// A key pair with its published parts.
pub struct Keys {
    pair: RsaKeyPair,
    public: Vec<u8>,
    modulus: Vec<u8>,
    exponent: Vec<u8>,
    id: String,
}

impl Keys {
    /// Makes a pair; takes a tenth of a second or more.
    pub fn generate() -> anyhow::Result<Self> {
        let pair = RsaKeyPair::generate(KeySize::Rsa2048).map_err(|_| anyhow!("no RSA key could be made"))?;
        let public = pair.public_key().as_ref().to_vec();
        let (modulus, exponent) = numbers(&public).context("the public key has an unexpected form")?;
        let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &public);
        let id = URL_SAFE_NO_PAD.encode(digest.as_ref().get(..20).unwrap_or_default());
        Ok(Self { pair, public, modulus, exponent, id })
    }

    /// The public key as published.
    pub fn jwk(&self) -> Value {
        json!({
            "kty": "RSA", "use": "sig", "alg": "RS256", "kid": self.id, "x5t": self.id,
            "n": URL_SAFE_NO_PAD.encode(&self.modulus), "e": URL_SAFE_NO_PAD.encode(&self.exponent),
        })
    }

    /// Signs claims as a JWT.
    pub fn sign(&self, claims: &Value) -> anyhow::Result<String> {
        self.sign_text(&self.header().to_string(), &claims.to_string())
    }

    /// The header of tokens signed with this key.
    pub fn header(&self) -> Value {
        json!({"typ": "JWT", "alg": "RS256", "kid": self.id, "x5t": self.id})
    }

    /// Signs any texts in the places of header and claims.
    pub fn sign_text(&self, header: &str, claims: &str) -> anyhow::Result<String> {
        let text = format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(claims));
        let mut signature = vec![0; self.pair.public_modulus_len()];
        self.pair
            .sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), text.as_bytes(), &mut signature)
            .map_err(|_| anyhow!("the token could not be signed"))?;
        Ok(format!("{text}.{}", URL_SAFE_NO_PAD.encode(signature)))
    }

    /// Checks the signature of a JWT and returns its claims.
    pub fn open(&self, token: &str) -> Option<Value> {
        let (text, signature) = token.rsplit_once('.')?;
        let signature = URL_SAFE_NO_PAD.decode(signature).ok()?;
        let key = UnparsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, &self.public);
        key.verify(text.as_bytes(), &signature).ok()?;
        claims_of(token)
    }
}

/// Reads the claims of a JWT without checking its signature.
pub fn claims_of(token: &str) -> Option<Value> {
    let mut parts = token.split('.');
    let (_, claims, _) = (parts.next()?, parts.next()?, parts.next()?);
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(claims).ok()?).ok()
}

/// Modulus and exponent out of a DER RSAPublicKey: SEQUENCE { INTEGER, INTEGER }.
fn numbers(der: &[u8]) -> Option<(Vec<u8>, Vec<u8>)> {
    let (sequence, _) = element(der, 0x30)?;
    let (modulus, rest) = element(sequence, 0x02)?;
    let (exponent, _) = element(rest, 0x02)?;
    let bare = |number: &[u8]| number.iter().copied().skip_while(|b| *b == 0).collect();
    Some((bare(modulus), bare(exponent)))
}

/// The content of the DER element in front, and what follows it.
fn element(der: &[u8], tag: u8) -> Option<(&[u8], &[u8])> {
    let (&first, rest) = der.split_first()?;
    let (&short, rest) = rest.split_first()?;
    let (length, rest) = match short {
        0..0x80 => (usize::from(short), rest),
        _ => {
            let (bytes, rest) = rest.split_at_checked(usize::from(short & 0x7f))?;
            (bytes.iter().fold(0, |n, b| n << 8 | usize::from(*b)), rest)
        }
    };
    (first == tag).then_some(())?;
    rest.split_at_checked(length)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn simulated_token_is_valid_only_unchanged() {
        let keys = Keys::generate().unwrap();
        let token = keys.sign(&json!({"aud": "x"})).unwrap();
        assert_eq!(keys.open(&token), Some(json!({"aud": "x"})));
        let forged = format!("{}A", token.get(..token.len() - 1).unwrap());
        assert!(keys.open(&format!("{token}A")).is_none() && (forged == token || keys.open(&forged).is_none()));
        assert_eq!(keys.jwk()["e"], "AQAB");
    }
}
