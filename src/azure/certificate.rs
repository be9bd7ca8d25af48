//! Signing in with a certificate: the client assertion Entra asks for, without OpenSSL.
//!
//! <https://learn.microsoft.com/entra/identity-platform/certificate-credentials>

use std::fmt;

use azure_core::error::{Error, ErrorKind};
use azure_core::http::ClientMethodOptions;
use azure_identity::ClientAssertion;
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde::Serialize;
use sha2::{Digest, Sha256};

use crate::clock::Clock;
use crate::ids::Entropy;

/// How long an assertion is valid; Entra recommends minutes.
const LIFE_SECONDS: i64 = 600;

/// The certificate's PEM is unusable.
#[derive(Debug, thiserror::Error)]
pub enum CertificateError {
    /// No `BEGIN CERTIFICATE` block.
    #[error("the PEM holds no certificate")]
    NoCertificate,
    /// The block is not base64.
    #[error("the certificate in the PEM is damaged")]
    Damaged(#[from] base64::DecodeError),
    /// No usable RSA key.
    #[error("the PEM holds no RSA private key")]
    NoKey(#[from] jsonwebtoken::errors::Error),
}

/// Makes a signed assertion for each token request.
pub(super) struct Certificate {
    client_id: String,
    audience: String,
    thumbprint: String,
    key: EncodingKey,
    clock: Clock,
    entropy: Entropy,
}

#[derive(Serialize)]
struct Claims<'a> {
    aud: &'a str,
    iss: &'a str,
    sub: &'a str,
    jti: String,
    nbf: i64,
    iat: i64,
    exp: i64,
}

impl Certificate {
    /// Reads certificate and private key (PKCS#8 or PKCS#1, RSA) from one PEM text.
    pub(super) fn parse(
        pem: &str,
        client_id: &str,
        token_endpoint: &str,
        clock: Clock,
        entropy: Entropy,
    ) -> Result<Self, CertificateError> {
        let (der, key) = (first_certificate(pem)?, EncodingKey::from_rsa_pem(key_block(pem).as_bytes())?);
        Ok(Self {
            client_id: client_id.to_owned(),
            audience: token_endpoint.to_owned(),
            thumbprint: URL_SAFE_NO_PAD.encode(Sha256::digest(der)),
            key,
            clock,
            entropy,
        })
    }

    pub(super) fn assertion(&self) -> Result<String, jsonwebtoken::errors::Error> {
        let now = self.clock.now().timestamp();
        let claims = Claims {
            aud: &self.audience,
            iss: &self.client_id,
            sub: &self.client_id,
            jti: self.entropy.guid(),
            nbf: now,
            iat: now,
            exp: now + LIFE_SECONDS,
        };
        let header = Header { x5t_s256: Some(self.thumbprint.clone()), ..Header::new(Algorithm::PS256) };
        jsonwebtoken::encode(&header, &claims, &self.key)
    }
}

/// The first certificate block: the leaf, whose thumbprint Entra looks up.
fn first_certificate(pem: &str) -> Result<Vec<u8>, CertificateError> {
    let block = pem.split_once("-----BEGIN CERTIFICATE-----").and_then(|(_, rest)| rest.split_once("-----END"));
    let (body, _) = block.ok_or(CertificateError::NoCertificate)?;
    let body: String = body.split_whitespace().collect();
    Ok(STANDARD.decode(body)?)
}

/// The private-key block alone, as the JWT crate reads the first block only.
fn key_block(pem: &str) -> String {
    let mut lines = Vec::new();
    let mut inside = false;
    for line in pem.lines() {
        let marker = line.contains("PRIVATE KEY-----");
        inside |= marker && line.contains("BEGIN");
        if inside {
            lines.push(line.trim());
        }
        if marker && line.contains("END") {
            break;
        }
    }
    lines.join("\n")
}

impl fmt::Debug for Certificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Certificate").field("client_id", &self.client_id).finish_non_exhaustive()
    }
}

#[async_trait::async_trait]
impl ClientAssertion for Certificate {
    async fn secret(&self, _: Option<ClientMethodOptions<'_>>) -> azure_core::Result<String> {
        self.assertion()
            .map_err(|error| Error::with_error(ErrorKind::Credential, error, "the assertion cannot be signed"))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    /// A self-signed certificate, then its RSA key.
    fn pem() -> String {
        let key = rcgen::KeyPair::generate_rsa_for(&rcgen::PKCS_RSA_SHA256, rcgen::RsaKeySize::_2048).unwrap();
        let certificate = rcgen::CertificateParams::default().self_signed(&key).unwrap();
        format!("{}\n{}", certificate.pem(), key.serialize_pem())
    }

    #[test]
    fn client_assertion_has_the_claims_entra_checks() {
        let endpoint = "https://login.microsoftonline.com/t/oauth2/v2.0/token";
        let clock = Clock::from_source(crate::clock::ManualClock::at(chrono::DateTime::UNIX_EPOCH));
        let certificate = Certificate::parse(&pem(), "app", endpoint, clock, Entropy::seeded(1)).unwrap();
        let assertion = certificate.assertion().unwrap();
        let header = jsonwebtoken::decode_header(&assertion).unwrap();
        assert_eq!(header.alg, Algorithm::PS256);
        assert_eq!(header.x5t_s256.unwrap().len(), 43);
        let payload = URL_SAFE_NO_PAD.decode(assertion.split('.').nth(1).unwrap()).unwrap();
        let claims: serde_json::Value = serde_json::from_slice(&payload).unwrap();
        assert_eq!(claims["aud"], endpoint);
        assert_eq!((&claims["iss"], &claims["sub"]), (&"app".into(), &"app".into()));
        assert_eq!(claims["exp"], 600);
    }

    #[test]
    fn pem_without_key_or_certificate_is_refused_by_name() {
        let parse = |pem| {
            Certificate::parse(pem, "app", "https://e", Clock::system(), Entropy::seeded(1)).unwrap_err().to_string()
        };
        assert_eq!(parse("x"), "the PEM holds no certificate");
        let pem = pem();
        let (certificate, _) = pem.split_once("-----BEGIN PRIVATE KEY").unwrap();
        assert_eq!(parse(certificate), "the PEM holds no RSA private key");
    }
}
