//! Tokens for Microsoft's services, and where those of an identity come from.

use std::fmt;

use chrono::{DateTime, Utc};

use super::credential::Error as CredentialError;
use super::secret::Secret;

/// A bearer token.
#[derive(Debug, Clone)]
pub struct Token {
    /// Its text.
    pub secret: Secret,
    /// When it ends.
    pub expires_at: DateTime<Utc>,
    /// When it was fetched.
    pub(super) fetched_at: DateTime<Utc>,
}

impl Token {
    /// A token that was fetched at a time of a steady clock.
    #[must_use]
    pub const fn new(secret: Secret, expires_at: DateTime<Utc>, fetched_at: DateTime<Utc>) -> Self {
        Self { secret, expires_at, fetched_at }
    }

    /// When it was fetched.
    #[must_use]
    pub const fn fetched_at(&self) -> DateTime<Utc> {
        self.fetched_at
    }
}

/// Where the tokens of one identity come from.
#[async_trait::async_trait]
pub trait TokenProvider: fmt::Debug + Send + Sync {
    /// A token for `scope`, as in `https://graph.microsoft.com/.default`, that lives long enough for a call.
    ///
    /// # Errors
    /// When there is no living token and none can be had.
    async fn token(&self, scope: &str) -> Result<Token, CredentialError>;

    /// Forgets a token the service did not accept; answers whether a call with another makes sense. `claims` is what the
    /// service asks for more (a claims challenge), as JSON.
    fn reject(&self, scope: &str, token: &Token, claims: Option<&str>) -> bool;
}

/// A token that a caller brought, for the time of a call: there is no other where it is not accepted.
#[derive(Debug)]
pub struct BroughtToken(Token);

impl BroughtToken {
    /// The token with that text.
    #[must_use]
    pub fn new(secret: Secret, expires_at: DateTime<Utc>) -> Self {
        Self(Token { secret, expires_at, fetched_at: expires_at })
    }
}

#[async_trait::async_trait]
impl TokenProvider for BroughtToken {
    async fn token(&self, _scope: &str) -> Result<Token, CredentialError> {
        Ok(self.0.clone())
    }

    fn reject(&self, _scope: &str, _token: &Token, _claims: Option<&str>) -> bool {
        false
    }
}
