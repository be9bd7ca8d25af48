//! Whether content comes from Graph: a token, signed by Entra, made out by Graph's publisher for our application.
//!
//! Learn: change notifications with resource data, validate the authenticity. The rules are those of callers' tokens
//! ([`Entra`]); only the publisher's are accepted.

use std::borrow::Cow;

use serde::Deserialize;
use url::Url;

use crate::auth::entra::{self, Entra, TokenError};
use crate::error::ErrorCode;
use crate::services::Error;

/// Who sends change notifications.
const PUBLISHER: &str = "0bf30f3b-4a52-48df-9a82-234910c4a086";

/// Checks the tokens that come with content.
pub struct ValidationTokens(Entra);

/// Nothing is read of such a token beyond what every token says.
#[derive(Deserialize)]
struct Nothing {}

impl ValidationTokens {
    /// What is accepted: tokens made out to Graph's publisher, for `application` in `tenant`, by the sign-in service at
    /// `authority`.
    #[must_use]
    pub fn accepted(authority: Url, tenant: String, application: String) -> entra::Config {
        let (audiences, tenants, clients) = (vec![application], vec![tenant], vec![PUBLISHER.to_owned()]);
        entra::Config { audiences, tenants, clients, authority }
    }

    /// Checks tokens by rules that accept what [`Self::accepted`] says.
    #[must_use]
    pub const fn new(rules: Entra) -> Self {
        Self(rules)
    }

    /// Checks one; the inner error says why it proves nothing.
    ///
    /// # Errors
    /// When Entra's keys cannot be had: then nothing is known, and the message has to come again.
    pub async fn check(&self, token: &str) -> Result<Result<(), Cow<'static, str>>, Error> {
        match self.0.verify::<Nothing>(token).await {
            Ok(_) => Ok(Ok(())),
            Err(refused @ (TokenError::Refused(_) | TokenError::Expired)) => {
                Ok(Err(format!("its validation token does not hold: {refused}").into()))
            }
            Err(missing @ (TokenError::NotYet(_) | TokenError::Unavailable(_))) => {
                Err(Error::new(ErrorCode::CredentialFailed, missing.to_string()))
            }
        }
    }
}
