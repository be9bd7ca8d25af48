//! Azure Key Vault: secrets by name, through the official client, on our own connections and tokens.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use azure_core::credentials::{AccessToken, TokenCredential, TokenRequestOptions};
use azure_core::error::{Error as SdkError, ErrorKind};
use azure_core::http::StatusCode;
use azure_core::time::OffsetDateTime;
use azure_security_keyvault_secrets::models::SetSecretParameters;
use azure_security_keyvault_secrets::{SecretClient, SecretClientOptions};
use url::Url;

use super::transport::{Loopback, options};
use super::{Credential, Secret, TokenProvider};
use crate::clock::Clock;
use crate::http_client::{HttpClient, redact};

/// The longest anybody waits for a vault, repetitions included.
const LIMIT: Duration = Duration::from_secs(15);

/// Why a vault did not do what it was asked. The text never holds a secret.
#[derive(Debug, Clone, thiserror::Error)]
#[error("the vault `{vault}`: {reason}")]
pub struct VaultError {
    /// The vault's host.
    vault: String,
    /// Its own words, redacted.
    reason: String,
}

/// A cheap handle to a vault.
#[derive(Clone)]
pub struct Vault {
    client: Arc<SecretClient>,
    clock: Clock,
    host: String,
}

/// Hands our tokens to the official client.
struct Tokens(Credential);

impl fmt::Debug for Tokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Tokens")
    }
}

#[async_trait::async_trait]
impl TokenCredential for Tokens {
    async fn get_token(
        &self,
        scopes: &[&str],
        _options: Option<TokenRequestOptions<'_>>,
    ) -> azure_core::Result<AccessToken> {
        let refused = |error: String| SdkError::with_message(ErrorKind::Credential, error);
        let scope = scopes.first().copied().ok_or_else(|| refused("no scope was asked for".to_owned()))?;
        let token = self.0.token(scope).await.map_err(|error| refused(error.to_string()))?;
        let expires_on = OffsetDateTime::from_unix_timestamp(token.expires_at.timestamp())
            .map_err(|error| refused(error.to_string()))?;
        Ok(AccessToken::new(token.secret.expose().to_owned(), expires_on))
    }
}

impl Vault {
    /// A vault at an address such as `https://NAME.vault.azure.net`; nothing is sent yet.
    ///
    /// # Errors
    /// When the address cannot be one.
    pub fn new(
        url: &Url,
        http: &HttpClient,
        credential: Credential,
        loopback: Option<Loopback>,
    ) -> Result<Self, VaultError> {
        let host = url.host_str().unwrap_or_default().to_owned();
        let settings =
            SecretClientOptions { client_options: options(http, loopback), ..SecretClientOptions::default() };
        let client = SecretClient::new(url.as_str(), Arc::new(Tokens(credential)), Some(settings));
        let client = client.map_err(|error| VaultError { vault: host.clone(), reason: redact::chain(&error) })?;
        Ok(Self { client: Arc::new(client), clock: http.clock().clone(), host })
    }

    /// The vault's host.
    #[must_use]
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The newest version of a secret; `None` when the vault has none of that name.
    ///
    /// # Errors
    /// When the vault cannot be reached or refuses.
    pub async fn get(&self, name: &str) -> Result<Option<Secret>, VaultError> {
        let found = match self.in_time(self.client.get_secret(name, None)).await? {
            Ok(answer) => answer.into_model(),
            Err(error) if error.http_status() == Some(StatusCode::NotFound) => return Ok(None),
            Err(error) => Err(error),
        };
        Ok(found.map_err(|error| self.failed(&error))?.value.map(|value| Secret::new(&value)))
    }

    /// Sets a secret: its newest version from here on.
    ///
    /// # Errors
    /// When the vault cannot be reached or refuses.
    pub async fn set(&self, name: &str, value: &Secret) -> Result<(), VaultError> {
        let parameters =
            SetSecretParameters { value: Some(value.expose().to_owned()), ..SetSecretParameters::default() };
        let parameters = parameters.try_into().map_err(|error: SdkError| self.failed(&error))?;
        let set = self.in_time(self.client.set_secret(name, parameters, None)).await?;
        set.map(drop).map_err(|error| self.failed(&error))
    }

    /// Waits for a call, and not for ever: a start would hang with it.
    async fn in_time<T>(&self, call: impl Future<Output = T>) -> Result<T, VaultError> {
        let late = || VaultError { vault: self.host.clone(), reason: "no answer in time".to_owned() };
        self.clock.timeout(LIMIT, call).await.ok_or_else(late)
    }

    /// The official client's text would print the whole answer: status and code say enough.
    fn failed(&self, error: &SdkError) -> VaultError {
        let reason = match error.kind() {
            ErrorKind::HttpResponse { status, error_code, .. } => {
                format!("{} {}", u16::from(*status), error_code.as_deref().unwrap_or_default())
            }
            _ => redact::chain(error),
        };
        VaultError { vault: self.host.clone(), reason: reason.trim().to_owned() }
    }
}
