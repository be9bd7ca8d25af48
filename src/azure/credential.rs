//! Tokens for Microsoft's services, cached per scope.
//!
//! The SDK fetches; this layer decides when: one fetch at a time per scope, ahead of need at 80 % of a token's life,
//! serving the old token while it lives even if fetching fails, and remembering a failure for a few seconds so that a
//! broken secret does not become a storm. The SDK's own cache is bypassed (a fresh SDK credential per fetch): it holds
//! one lock over all scopes while it waits, and calls a failed refresh an error though the token still lives.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use azure_core::cloud::{CloudConfiguration, CustomConfiguration};
use azure_core::credentials::TokenCredential;
use azure_identity::{
    ClientAssertionCredential, ClientAssertionCredentialOptions, ClientSecretCredential, ClientSecretCredentialOptions,
    DeveloperToolsCredential, ManagedIdentityCredential, ManagedIdentityCredentialOptions, UserAssignedId,
    WorkloadIdentityCredential, WorkloadIdentityCredentialOptions,
};
use chrono::{DateTime, Utc};
use parking_lot::{Mutex, MutexGuard};

use super::certificate::{Certificate, CertificateError};
use super::secret::Secret;
use super::token::{Token, TokenProvider};
use super::transport::{Loopback, options};
use crate::clock::Clock;
use crate::http_client::{HttpClient, redact};
use crate::ids::Entropy;

/// The part of a token's life after which a successor is fetched.
const REFRESH_AT: f64 = 0.8;
/// How long a failed fetch answers later callers.
const FAILURE_LIFE: Duration = Duration::from_secs(3);
/// How long a failed refresh leaves a living token alone.
const REFRESH_PAUSE: Duration = Duration::from_secs(30);
/// A token closer to its end than this is not handed out: it could expire on its way.
const MARGIN: Duration = Duration::from_secs(30);
/// The longest one fetch may take.
const FETCH_LIMIT: Duration = Duration::from_secs(20);

/// Who the program is towards Microsoft.
#[derive(Debug, Clone)]
pub enum CredentialConfig {
    /// An app registration with a secret.
    ClientSecret {
        /// Directory id or domain of the tenant.
        tenant: String,
        /// Application id.
        client_id: String,
        /// The secret's value.
        secret: Secret,
        /// The sign-in host, `https://login.microsoftonline.com` unless a national cloud is used.
        authority: Option<String>,
    },
    /// An app registration with a certificate.
    Certificate {
        /// Directory id or domain of the tenant.
        tenant: String,
        /// Application id.
        client_id: String,
        /// Certificate and RSA private key.
        pem: Secret,
        /// The sign-in host, as above.
        authority: Option<String>,
    },
    /// The identity Azure gives the Function App.
    ManagedIdentity {
        /// Application id of a user-assigned identity; `None` is the system-assigned one.
        client_id: Option<String>,
    },
    /// A service account of Kubernetes that the application trusts.
    WorkloadIdentity {
        /// The tenant's id.
        tenant: String,
        /// The application's id.
        client_id: String,
        /// The file with the account's token; it is read again when it has aged.
        token_file: PathBuf,
        /// As for a secret.
        authority: Option<String>,
    },
    /// The user who is signed in to `az` or `azd` on this machine.
    DeveloperTools,
}

impl CredentialConfig {
    /// The kind's name, for status pages and logs.
    #[must_use]
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::ClientSecret { .. } => "client_secret",
            Self::Certificate { .. } => "certificate",
            Self::ManagedIdentity { .. } => "managed_identity",
            Self::WorkloadIdentity { .. } => "workload_identity",
            Self::DeveloperTools => "developer_tools",
        }
    }
}

/// Why there is no token.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Error {
    /// The configuration cannot work; nothing was sent.
    #[error("the credential is not usable: {0}")]
    Unusable(String),
    /// The sign-in service refused or could not be reached. The text holds Entra's own (`AADSTS…`) if there is one.
    #[error("no token for `{scope}`: {reason}")]
    Refused {
        /// What the token was for.
        scope: String,
        /// The whole chain of reasons, redacted.
        reason: String,
    },
}

impl From<CertificateError> for Error {
    fn from(error: CertificateError) -> Self {
        Self::Unusable(redact::chain(&error))
    }
}

/// What is known about one scope's token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScopeStatus {
    /// What the token is for.
    pub scope: String,
    /// When the token at hand ends; `None` without one.
    pub expires_at: Option<DateTime<Utc>>,
    /// When and why the last fetch failed; `None` once one succeeded.
    pub last_error: Option<(DateTime<Utc>, String)>,
}

/// A cheap handle to the program's identity and its cached tokens.
#[derive(Clone)]
pub struct Credential(Arc<Inner>);

struct Inner {
    kind: &'static str,
    source: Box<dyn Fetch>,
    clock: Clock,
    scopes: Mutex<BTreeMap<String, Arc<Slot>>>,
}

/// One scope: what is known, and the lock that makes its fetches single.
#[derive(Default)]
struct Slot {
    known: Mutex<Known>,
    fetching: tokio::sync::Mutex<()>,
}

#[derive(Default)]
struct Known {
    token: Option<Token>,
    failure: Option<(DateTime<Utc>, Error)>,
}

/// Fetches a token and says how long it lives: the SDK, or a test's stand-in.
#[async_trait::async_trait]
trait Fetch: Send + Sync {
    async fn fetch(&self, scope: &str) -> Result<(Secret, Duration), String>;

    /// Signs in with another secret from here on.
    fn rotate(&self, secret: Secret);
}

impl Credential {
    /// Checks the configuration; nothing is sent yet.
    ///
    /// # Errors
    /// When a part is missing or malformed.
    pub fn new(
        config: CredentialConfig,
        http: &HttpClient,
        clock: Clock,
        entropy: Entropy,
        loopback: Option<Loopback>,
    ) -> Result<Self, Error> {
        let kind = config.kind();
        let rotated = Mutex::default();
        let sdk = Sdk { config, rotated, http: http.clone(), clock: clock.clone(), entropy, loopback };
        sdk.credential()?;
        Ok(Self::over(kind, Box::new(sdk), clock))
    }

    fn over(kind: &'static str, source: Box<dyn Fetch>, clock: Clock) -> Self {
        Self(Arc::new(Inner { kind, source, clock, scopes: Mutex::default() }))
    }

    /// The kind of identity, as in the configuration.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        self.0.kind
    }

    /// Signs in with another secret from here on; tokens at hand stay good.
    pub fn rotate(&self, secret: Secret) {
        self.0.source.rotate(secret);
    }

    /// What is known about every scope asked for so far.
    #[must_use]
    pub fn status(&self) -> Vec<ScopeStatus> {
        let scopes = lock(&self.0.scopes);
        let (now, steady) = (self.0.clock.now(), self.0.clock.steady());
        let shown = |at: DateTime<Utc>| now + (at - steady);
        let status = |(scope, slot): (&String, &Arc<Slot>)| {
            let known = lock(&slot.known);
            ScopeStatus {
                scope: scope.clone(),
                expires_at: known.token.as_ref().map(|token| shown(token.expires_at)),
                last_error: known.failure.as_ref().map(|(at, error)| (shown(*at), error.to_string())),
            }
        };
        scopes.iter().map(status).collect()
    }

    fn slot(&self, scope: &str) -> Arc<Slot> {
        lock(&self.0.scopes).entry(scope.to_owned()).or_default().clone()
    }

    fn at_hand(&self, slot: &Slot) -> AtHand {
        let now = self.0.clock.steady();
        let known = lock(&slot.known);
        let Some(token) = &known.token else { return AtHand::Nothing };
        let left = (token.expires_at - now).to_std().unwrap_or_default();
        let life = (token.expires_at - token.fetched_at).to_std().unwrap_or_default();
        let failed_lately =
            known.failure.as_ref().is_some_and(|(at, _)| (now - *at).to_std().unwrap_or_default() < REFRESH_PAUSE);
        if left <= MARGIN {
            AtHand::Nothing
        } else if left > life.mul_f64(1.0 - REFRESH_AT) || failed_lately {
            AtHand::Good(token.clone())
        } else {
            AtHand::Aging(token.clone())
        }
    }

    async fn fetch(&self, slot: &Slot, scope: &str) -> Result<Token, Error> {
        let fetched = self.0.clock.timeout(FETCH_LIMIT, self.0.source.fetch(scope)).await;
        let now = self.0.clock.steady();
        let mut known = lock(&slot.known);
        match fetched.unwrap_or_else(|| Err("the sign-in service did not answer in time".to_owned())) {
            Ok((secret, life)) => {
                let expires_at = now + chrono::TimeDelta::from_std(life).unwrap_or_default();
                let token = Token { secret, expires_at, fetched_at: now };
                *known = Known { token: Some(token.clone()), failure: None };
                Ok(token)
            }
            Err(reason) => {
                tracing::warn!(scope, reason, "no token");
                let error = Error::Refused { scope: scope.to_owned(), reason };
                known.failure = Some((now, error.clone()));
                Err(error)
            }
        }
    }
}

#[async_trait::async_trait]
impl TokenProvider for Credential {
    /// A token for `scope`, as in `https://graph.microsoft.com/.default`, that lives at least 30 s longer.
    async fn token(&self, scope: &str) -> Result<Token, Error> {
        let slot = self.slot(scope);
        match self.at_hand(&slot) {
            AtHand::Good(token) => return Ok(token),
            // One caller refreshes while all others use the old token.
            AtHand::Aging(token) => {
                let Ok(_turn) = slot.fetching.try_lock() else { return Ok(token) };
                return Ok(self.fetch(&slot, scope).await.unwrap_or(token));
            }
            AtHand::Nothing => {}
        }
        let _turn = slot.fetching.lock().await;
        if let AtHand::Good(token) | AtHand::Aging(token) = self.at_hand(&slot) {
            return Ok(token);
        }
        if let Some((at, error)) = &lock(&slot.known).failure
            && self.0.clock.steady() - *at < chrono::TimeDelta::from_std(FAILURE_LIFE).unwrap_or_default()
        {
            return Err(error.clone());
        }
        self.fetch(&slot, scope).await
    }

    /// Forgets a token the service did not accept, so that the next call fetches another; answers whether a call with
    /// another makes sense. A token fetched within the last minute stays: then the refusal has another reason, and
    /// fetching would be repeated for nothing.
    ///
    /// The application asks for no tokens that are evaluated continuously, so a challenge is none for it.
    fn reject(&self, scope: &str, token: &Token, _claims: Option<&str>) -> bool {
        let slot = self.slot(scope);
        let mut known = lock(&slot.known);
        let old = self.0.clock.steady() - token.fetched_at > chrono::TimeDelta::minutes(1);
        if old && known.token.as_ref().is_some_and(|known| known.secret == token.secret) {
            known.token = None;
        }
        old
    }
}

impl fmt::Debug for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credential").field("kind", &self.0.kind).finish_non_exhaustive()
    }
}

enum AtHand {
    Good(Token),
    Aging(Token),
    Nothing,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock()
}

struct Sdk {
    config: CredentialConfig,
    /// The application's secret after a rotation.
    rotated: Mutex<Option<Secret>>,
    http: HttpClient,
    clock: Clock,
    entropy: Entropy,
    loopback: Option<Loopback>,
}

/// The sign-in host of the public cloud.
pub const PUBLIC_AUTHORITY: &str = "https://login.microsoftonline.com";

impl Sdk {
    fn credential(&self) -> Result<Arc<dyn TokenCredential>, Error> {
        let mut client_options = options(&self.http, self.loopback.clone());
        let unusable = |error: azure_core::Error| Error::Unusable(redact::chain(&error));
        Ok(match &self.config {
            CredentialConfig::ClientSecret { tenant, client_id, secret, authority } => {
                client_options.cloud = Some(Arc::new(cloud(authority.as_deref())));
                let secret = lock(&self.rotated).clone().unwrap_or_else(|| secret.clone());
                let secret = azure_core::credentials::Secret::new(secret.expose().to_owned());
                let options = ClientSecretCredentialOptions { client_options };
                ClientSecretCredential::new(tenant, client_id.clone(), secret, Some(options)).map_err(unusable)?
            }
            CredentialConfig::Certificate { tenant, client_id, pem, authority } => {
                client_options.cloud = Some(Arc::new(cloud(authority.as_deref())));
                let authority = authority.as_deref().unwrap_or(PUBLIC_AUTHORITY).trim_end_matches('/');
                let endpoint = format!("{authority}/{tenant}/oauth2/v2.0/token");
                let certificate =
                    Certificate::parse(pem.expose(), client_id, &endpoint, self.clock.clone(), self.entropy.clone())?;
                let options = ClientAssertionCredentialOptions { client_options };
                ClientAssertionCredential::new(tenant.clone(), client_id.clone(), certificate, Some(options))
                    .map_err(unusable)?
            }
            CredentialConfig::ManagedIdentity { client_id } => {
                let user_assigned_id = client_id.clone().map(UserAssignedId::ClientId);
                let options = ManagedIdentityCredentialOptions { user_assigned_id, client_options };
                ManagedIdentityCredential::new(Some(options)).map_err(unusable)?
            }
            CredentialConfig::WorkloadIdentity { tenant, client_id, token_file, authority } => {
                client_options.cloud = Some(Arc::new(cloud(authority.as_deref())));
                let options = WorkloadIdentityCredentialOptions {
                    credential_options: ClientAssertionCredentialOptions { client_options },
                    client_id: Some(client_id.clone()),
                    tenant_id: Some(tenant.clone()),
                    token_file_path: Some(token_file.clone()),
                };
                WorkloadIdentityCredential::new(Some(options)).map_err(unusable)?
            }
            CredentialConfig::DeveloperTools => DeveloperToolsCredential::new(None).map_err(unusable)?,
        })
    }
}

#[async_trait::async_trait]
impl Fetch for Sdk {
    async fn fetch(&self, scope: &str) -> Result<(Secret, Duration), String> {
        let credential = self.credential().map_err(|error| error.to_string())?;
        let token = credential.get_token(&[scope], None).await.map_err(|error| redact::chain(&error))?;
        // The SDK stamps with the machine's clock; only the difference is meaningful on ours.
        let life = token.expires_on - azure_core::time::OffsetDateTime::now_utc();
        Ok((Secret::new(token.token.secret()), life.try_into().unwrap_or_default()))
    }

    fn rotate(&self, secret: Secret) {
        *lock(&self.rotated) = Some(secret);
    }
}

fn cloud(authority: Option<&str>) -> CloudConfiguration {
    let mut custom = CustomConfiguration::default();
    authority.unwrap_or(PUBLIC_AUTHORITY).clone_into(&mut custom.authority_host);
    custom.into()
}
