//! Whether content comes from Graph: a token, signed by Entra, made out by Graph's publisher for our application.
//!
//! Learn: change notifications with resource data, validate the authenticity. The key is looked up by the token's key id
//! among those Entra publishes for our tenant, no matter what else the token's header proposes.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, Validation};
use serde::Deserialize;
use url::Url;

use super::super::Error;
use crate::auth::entra::{self, Keys, NoKey};
use crate::clock::Clock;
use crate::error::ErrorCode;

/// Who sends change notifications.
const PUBLISHER: &str = "0bf30f3b-4a52-48df-9a82-234910c4a086";
/// How far clocks may differ, in seconds.
const SKEW: i64 = 60;
/// A longer text is no token of Entra.
const MAX_LENGTH: usize = 16 * 1024;

/// Checks validation tokens.
pub struct ValidationTokens {
    keys: Keys,
    authority: Url,
    tenant: String,
    application: String,
    clock: Clock,
}

#[derive(Deserialize)]
struct Claims {
    iss: String,
    aud: String,
    exp: i64,
    nbf: i64,
    tid: String,
    azp: Option<String>,
    appid: Option<String>,
}

/// Whether a token's header has fields that have to be understood, of which we understand none (RFC 7515, `crit`).
fn demands(token: &str) -> bool {
    #[derive(Deserialize)]
    struct Header {
        crit: Option<serde::de::IgnoredAny>,
    }
    let header = token.split('.').next().and_then(|part| URL_SAFE_NO_PAD.decode(part).ok());
    header.and_then(|bytes| serde_json::from_slice::<Header>(&bytes).ok()).is_none_or(|header| header.crit.is_some())
}

impl ValidationTokens {
    /// Checks validation tokens made out for `application` in `tenant` by the sign-in service at `authority`, whose keys these are.
    #[must_use]
    pub fn new(keys: Keys, authority: Url, tenant: String, application: String, clock: Clock) -> Self {
        Self { keys, authority, tenant, application, clock }
    }

    /// Checks one; the inner error says why it is not genuine.
    ///
    /// # Errors
    /// When Entra's keys cannot be had: then nothing is known, and the message has to come again.
    pub async fn check(&self, token: &str) -> Result<Result<(), &'static str>, Error> {
        if token.len() > MAX_LENGTH {
            return Ok(Err("its validation token is too long"));
        }
        let Ok(header) = jsonwebtoken::decode_header(token) else { return Ok(Err("its validation token is no token")) };
        // Nothing that the header proposes is followed; what demands to be understood is refused.
        let plain = header.alg == Algorithm::RS256 && header.jwk.is_none() && header.jku.is_none() && !demands(token);
        let Some(id) = header.kid.filter(|_| plain) else {
            return Ok(Err("its validation token is not signed as Entra signs"));
        };
        let key = match self.keys.get(&id).await {
            Ok(key) => key,
            Err(NoKey::Unknown) => return Ok(Err("its validation token is signed with an unknown key")),
            Err(missing @ (NoKey::NotYet(_) | NoKey::Unavailable(_))) => {
                return Err(Error::new(ErrorCode::CredentialFailed, missing.to_string()));
            }
        };
        let mut validation = Validation::new(Algorithm::RS256);
        validation.set_audience(&[&self.application]);
        validation.set_required_spec_claims(&["exp", "nbf", "iss", "aud"]);
        (validation.validate_exp, validation.validate_nbf) = (false, false); // below, on our own clock
        let Ok(token) = jsonwebtoken::decode::<Claims>(token, &key, &validation) else {
            return Ok(Err("its validation token is forged or for another application"));
        };
        Ok(self.check_claims(&token.claims))
    }

    fn check_claims(&self, claims: &Claims) -> Result<(), &'static str> {
        let now = self.clock.now().timestamp();
        if claims.aud != self.application {
            return Err("its validation token is for another application");
        }
        if claims.exp.saturating_add(SKEW) <= now || claims.nbf.saturating_sub(SKEW) > now {
            return Err("its validation token has expired, or is not valid yet");
        }
        let tenant = &self.tenant;
        let issuers = [entra::issuer(&self.authority, tenant), format!("https://sts.windows.net/{tenant}/")];
        if !claims.tid.eq_ignore_ascii_case(tenant) || !issuers.contains(&claims.iss) {
            return Err("its validation token is of another tenant");
        }
        if claims.azp.as_deref().or(claims.appid.as_deref()) != Some(PUBLISHER) {
            return Err("its validation token is not made out by Graph");
        }
        Ok(())
    }
}
