//! Notifications that carry the changed resource: decrypted with our key, only after their signature was checked.
//!
//! Learn: change notifications with resource data. The data key comes under RSA-OAEP with SHA-1, the data under AES-CBC
//! whose first vector is the key's first 16 bytes, both signed with HMAC-SHA256 under the data key.

use std::sync::Arc;

use aws_lc_rs::cipher::{AES_256, DecryptionContext, PaddedBlockDecryptingKey, UnboundCipherKey};
use aws_lc_rs::hmac;
use aws_lc_rs::iv::FixedLength;
use aws_lc_rs::rsa::{OAEP_SHA1_MGF1SHA1, OaepPrivateDecryptingKey, PrivateDecryptingKey};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;

use super::body::Encrypted;

/// The length of the data key and of the first vector within it.
const KEY: usize = 32;
const VECTOR: usize = 16;
/// Most bytes of a decrypted resource that are read.
const MAX_PLAIN: usize = 512 * 1024;

/// A certificate and its key, for notifications with content.
#[derive(Clone)]
pub struct ContentDecryptor {
    id: String,
    certificate: String,
    key: Arc<OaepPrivateDecryptingKey>,
}

impl std::fmt::Debug for ContentDecryptor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ContentDecryptor").field("id", &self.id).finish_non_exhaustive()
    }
}

/// A certificate that cannot be used. The text repeats nothing of it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct BadCertificate(&'static str);

/// Why a notification's content is not opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Sealed {
    /// It is for another certificate.
    #[error("it is encrypted for another certificate")]
    OtherCertificate,
    /// A part is no base64, or has an impossible length.
    #[error("a part of it is malformed")]
    Malformed,
    /// The data key cannot be opened with our key.
    #[error("its key cannot be opened")]
    WrongKey,
    /// The signature is not of this data.
    #[error("its signature is wrong")]
    WrongSignature,
    /// The data do not decrypt to JSON.
    #[error("its content cannot be read")]
    Unreadable,
}

impl ContentDecryptor {
    /// Reads a PEM file that holds a certificate and its RSA private key (PKCS#8).
    ///
    /// # Errors
    /// When either is missing or the key is none of RSA.
    pub fn parse(pem: &str) -> Result<Self, BadCertificate> {
        let certificate = block(pem, "CERTIFICATE").ok_or(BadCertificate("it holds no certificate"))?;
        let der = BASE64.decode(&certificate).map_err(|_| BadCertificate("its certificate is malformed"))?;
        let key = block(pem, "PRIVATE KEY").ok_or(BadCertificate("it holds no private key in PKCS#8 form"))?;
        let key = BASE64.decode(key).map_err(|_| BadCertificate("its private key is malformed"))?;
        let key =
            PrivateDecryptingKey::from_pkcs8(&key).map_err(|_| BadCertificate("its private key is none of RSA"))?;
        let key = OaepPrivateDecryptingKey::new(key).map_err(|_| BadCertificate("its private key cannot decrypt"))?;
        let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &der);
        let id = digest.as_ref().iter().take(12).map(|byte| format!("{byte:02x}")).collect();
        Ok(Self { id, certificate, key: Arc::new(key) })
    }

    /// Id and base64 of the certificate, as a subscription names it.
    #[must_use]
    pub fn certificate(&self) -> (String, String) {
        (self.id.clone(), self.certificate.clone())
    }

    /// Opens a notification's content.
    ///
    /// # Errors
    /// When it is not for us, was changed on its way, or is no JSON. Nothing is decrypted before the signature is known to
    /// be right.
    pub fn open(&self, sealed: &Encrypted) -> Result<serde_json::Value, Sealed> {
        if sealed.encryption_certificate_id.as_deref().is_some_and(|id| id != self.id) {
            return Err(Sealed::OtherCertificate);
        }
        let decode = |text: &str| BASE64.decode(text).map_err(|_| Sealed::Malformed);
        let (wrapped, signature, mut data) =
            (decode(&sealed.data_key)?, decode(&sealed.data_signature)?, decode(&sealed.data)?);
        if data.is_empty() || data.len() % VECTOR != 0 || data.len() > MAX_PLAIN {
            return Err(Sealed::Malformed);
        }
        let mut key = vec![0; self.key.min_output_size()];
        let key =
            self.key.decrypt(&OAEP_SHA1_MGF1SHA1, &wrapped, &mut key, None).map_err(|_| Sealed::WrongKey)?.to_vec();
        hmac::verify(&hmac::Key::new(hmac::HMAC_SHA256, &key), &data, &signature)
            .map_err(|_| Sealed::WrongSignature)?;
        let vector: [u8; VECTOR] = key.get(..VECTOR).and_then(|iv| iv.try_into().ok()).ok_or(Sealed::WrongKey)?;
        if key.len() != KEY {
            return Err(Sealed::WrongKey);
        }
        let cipher = UnboundCipherKey::new(&AES_256, &key).map_err(|_| Sealed::WrongKey)?;
        let cipher = PaddedBlockDecryptingKey::cbc_pkcs7(cipher).map_err(|_| Sealed::WrongKey)?;
        let context = DecryptionContext::Iv128(FixedLength::from(vector));
        let plain = cipher.decrypt(&mut data, context).map_err(|_| Sealed::Unreadable)?;
        serde_json::from_slice(plain).map_err(|_| Sealed::Unreadable)
    }
}

/// The base64 of the first block of a kind, on one line.
fn block(pem: &str, kind: &str) -> Option<String> {
    let (_, rest) = pem.split_once(&format!("-----BEGIN {kind}-----"))?;
    let (text, _) = rest.split_once(&format!("-----END {kind}-----"))?;
    Some(text.split_whitespace().collect())
}

#[cfg(test)]
mod tests {
    use aws_lc_rs::cipher::{EncryptionContext, PaddedBlockEncryptingKey};
    use aws_lc_rs::encoding::{AsDer, Pkcs8V1Der};
    use aws_lc_rs::rsa::{KeySize, OaepPublicEncryptingKey};
    use serde_json::json;

    use super::*;

    fn pem() -> (String, PrivateDecryptingKey) {
        let key = PrivateDecryptingKey::generate(KeySize::Rsa2048).unwrap();
        let der: Pkcs8V1Der<'_> = key.as_der().unwrap();
        let text = format!(
            "-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----\n-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----\n",
            BASE64.encode(b"a certificate"),
            BASE64.encode(der.as_ref())
        );
        (text, key)
    }

    fn seal(key: &PrivateDecryptingKey, id: &str, text: &str) -> Encrypted {
        let data_key = [7_u8; KEY];
        let cipher = UnboundCipherKey::new(&AES_256, &data_key).unwrap();
        let cipher = PaddedBlockEncryptingKey::cbc_pkcs7(cipher).unwrap();
        let mut data = text.as_bytes().to_vec();
        let vector: [u8; VECTOR] = data_key[..VECTOR].try_into().unwrap();
        cipher.less_safe_encrypt(&mut data, EncryptionContext::Iv128(FixedLength::from(vector))).unwrap();
        let signature = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, &data_key), &data);
        let public = OaepPublicEncryptingKey::new(key.public_key()).unwrap();
        let mut wrapped = vec![0; public.ciphertext_size()];
        let wrapped = public.encrypt(&OAEP_SHA1_MGF1SHA1, &data_key, &mut wrapped, None).unwrap();
        Encrypted {
            data: BASE64.encode(&data),
            data_signature: BASE64.encode(signature),
            data_key: BASE64.encode(wrapped),
            encryption_certificate_id: Some(id.to_owned()),
        }
    }

    #[test]
    fn rich_content_decrypts_and_any_flipped_byte_is_refused() {
        let (pem, key) = pem();
        let decryptor = ContentDecryptor::parse(&pem).unwrap();
        let sealed = seal(&key, &decryptor.certificate().0, "{\"subject\":\"hello\"}");
        assert_eq!(decryptor.open(&sealed), Ok(json!({"subject": "hello"})));
        let flip = |text: &str, place: usize| {
            let mut bytes = BASE64.decode(text).unwrap();
            bytes[place] ^= 1;
            BASE64.encode(bytes)
        };
        for place in [0, 15, 16, 31] {
            let data = flip(&sealed.data, place);
            let changed = Encrypted { data, ..sealed.clone() };
            assert_eq!(decryptor.open(&changed), Err(Sealed::WrongSignature));
            let data_signature = flip(&sealed.data_signature, place);
            assert_eq!(decryptor.open(&Encrypted { data_signature, ..sealed.clone() }), Err(Sealed::WrongSignature));
            let data_key = flip(&sealed.data_key, place);
            assert!(decryptor.open(&Encrypted { data_key, ..sealed.clone() }).is_err());
        }
        let other = Encrypted { encryption_certificate_id: Some("other".into()), ..sealed.clone() };
        assert_eq!(decryptor.open(&other), Err(Sealed::OtherCertificate));
        let cut = Encrypted { data: BASE64.encode([1; 15]), ..sealed.clone() };
        assert_eq!(decryptor.open(&cut), Err(Sealed::Malformed));
        assert_eq!(decryptor.open(&Encrypted { data: "!".into(), ..sealed }), Err(Sealed::Malformed));
        let stranger = PrivateDecryptingKey::generate(KeySize::Rsa2048).unwrap();
        let foreign = seal(&stranger, &decryptor.certificate().0, "{}");
        assert_eq!(decryptor.open(&foreign), Err(Sealed::WrongKey));
        assert_eq!(decryptor.open(&seal(&key, &decryptor.certificate().0, "no json")), Err(Sealed::Unreadable));
    }

    #[test]
    fn pem_without_a_part_names_the_missing_part() {
        let (whole, _) = pem();
        for kind in ["CERTIFICATE", "PRIVATE KEY"] {
            let without = whole.replace(&format!("-----BEGIN {kind}"), "-----BEGIN OTHER");
            assert!(ContentDecryptor::parse(&without).is_err(), "{kind}");
        }
        assert!(!format!("{:?}", ContentDecryptor::parse(&whole).unwrap()).contains("PRIVATE"));
    }
}
