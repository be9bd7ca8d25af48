//! How an application proves itself at Entra's token endpoint when it signs people in: a secret, a certificate, or a
//! managed identity that the application trusts (a federated credential), which needs no secret at all.

use super::certificate::Certificate;
use super::credential::{Credential, Error};
use super::secret::Secret;
use super::token::TokenProvider as _;
use crate::clock::Clock;
use crate::ids::Entropy;

/// What a federated credential's token is for.
/// <https://learn.microsoft.com/entra/workload-id/workload-identity-federation-config-app-trust-managed-identity>
const EXCHANGE: &str = "api://AzureADTokenExchange/.default";
/// The type of an assertion (RFC 7523, section 2.2).
const ASSERTION: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";

/// What proves the application.
pub struct ClientProof(Kind);

enum Kind {
    Secret(parking_lot::RwLock<Secret>),
    Certificate(Certificate),
    Federated(Credential),
}

impl std::fmt::Debug for ClientProof {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self.0 {
            Kind::Secret(_) => "ClientProof(secret)",
            Kind::Certificate(_) => "ClientProof(certificate)",
            Kind::Federated(_) => "ClientProof(federated)",
        })
    }
}

impl ClientProof {
    /// A secret.
    #[must_use]
    pub fn secret(secret: Secret) -> Self {
        Self(Kind::Secret(parking_lot::RwLock::new(secret)))
    }

    /// A certificate and its private key, for the application `client_id` at a token endpoint.
    ///
    /// # Errors
    /// When the PEM holds no such pair.
    pub fn certificate(
        pem: &Secret,
        client_id: &str,
        endpoint: &str,
        clock: Clock,
        entropy: Entropy,
    ) -> Result<Self, Error> {
        Ok(Self(Kind::Certificate(Certificate::parse(pem.expose(), client_id, endpoint, clock, entropy)?)))
    }

    /// The managed identity of the deployment.
    #[must_use]
    pub const fn federated(credential: Credential) -> Self {
        Self(Kind::Federated(credential))
    }

    /// Takes another secret, as after a rotation.
    pub fn rotate(&self, secret: Secret) {
        if let Kind::Secret(known) = &self.0 {
            *known.write() = secret;
        }
    }

    /// The fields of a form that prove the application.
    ///
    /// # Errors
    /// When the assertion cannot be made or fetched.
    pub async fn fields(&self) -> Result<Vec<(&'static str, Secret)>, Error> {
        let assertion = match &self.0 {
            Kind::Secret(secret) => return Ok(vec![("client_secret", secret.read().clone())]),
            Kind::Certificate(certificate) => {
                let made = certificate.assertion();
                Secret::new(&made.map_err(|_| Error::Unusable("the certificate cannot sign".to_owned()))?)
            }
            Kind::Federated(credential) => credential.token(EXCHANGE).await?.secret,
        };
        Ok(vec![("client_assertion_type", Secret::new(ASSERTION)), ("client_assertion", assertion)])
    }
}
