//! Tokens of Microsoft Entra ID: whether one is ours, unforged and alive, and whose it is.
//!
//! The library checks signature, audience and issuer; everything it leaves open is checked here: times on our clock,
//! the tenant, the version, the client, and that a token of a caller is an *access* token of a person (`scp`) or of an
//! application (`roles`, and no `scp`). Keys come from the pinned authority alone, no matter what a token's header proposes.
//! Tokens by which Graph proves that it sends a notification are checked by the same rules ([`Entra::verify`]).

mod keys;

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chrono::{DateTime, Utc};
use jsonwebtoken::{Algorithm, Validation};
use serde::Deserialize;
use serde::de::{DeserializeOwned, IgnoredAny};
use url::Url;

use self::keys::{Keys, NoKey};
use super::Caller;
use super::roles::{IMPERSONATION, Roles};
use crate::clock::Clock;
use crate::http_client::HttpClient;
use crate::ids::UserId;

/// How far clocks may differ, in seconds.
const SKEW: i64 = 60;
/// A longer text is no token of Entra.
const MAX_LENGTH: usize = 16 * 1024;

/// Whose tokens are accepted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// The application's id and its id URI: what a token must be for.
    pub audiences: Vec<String>,
    /// Directory ids of the tenants whose tokens are accepted.
    pub tenants: Vec<String>,
    /// Applications that may bring tokens; any if empty.
    pub clients: Vec<String>,
    /// The sign-in host.
    pub authority: Url,
}

impl Config {
    /// The scope a client asks for to act for a person.
    #[must_use]
    pub fn scope(&self) -> String {
        let uri = self.audiences.iter().find(|audience| audience.contains("://"));
        let id = || self.audiences.first().map(|id| format!("api://{id}")).unwrap_or_default();
        format!("{}/{IMPERSONATION}", uri.cloned().unwrap_or_else(id))
    }

    /// The issuers a client may ask for tokens.
    #[must_use]
    pub fn issuers(&self) -> Vec<String> {
        self.tenants.iter().map(|tenant| issuer(&self.authority, tenant)).collect()
    }
}

/// Who issues the tokens of a tenant (version 2).
fn issuer(authority: &Url, tenant: &str) -> String {
    format!("{}/{tenant}/v2.0", authority.as_str().trim_end_matches('/'))
}

/// Who issues version 1 tokens of a tenant, in every cloud Entra serves from here.
fn old_issuer(tenant: &str) -> String {
    format!("https://sts.windows.net/{tenant}/")
}

/// Why a token opens nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// It is not one of ours; the text says why, and never repeats the token.
    #[error("the token is not accepted: {0}")]
    Refused(&'static str),
    /// It is one of ours, and its time has passed.
    #[error("the token is not accepted: it has expired")]
    Expired,
    /// It cannot be checked before this has passed.
    #[error("the token's key is not known yet")]
    NotYet(std::time::Duration),
    /// It cannot be checked.
    #[error("{0}")]
    Unavailable(String),
}

/// What a header may say. Fields that would choose another key are only noticed, never followed.
#[derive(Deserialize)]
struct Header {
    alg: String,
    kid: String,
    typ: Option<String>,
    crit: Option<IgnoredAny>,
    jwk: Option<IgnoredAny>,
    jku: Option<IgnoredAny>,
    x5u: Option<IgnoredAny>,
    x5c: Option<IgnoredAny>,
}

/// What every token says. A field that stands twice is refused, and so is one of another type.
#[derive(Deserialize)]
pub struct Claims<T> {
    iss: String,
    aud: String,
    exp: i64,
    nbf: i64,
    tid: String,
    ver: Option<String>,
    azp: Option<String>,
    appid: Option<String>,
    /// What only some tokens say.
    #[serde(flatten)]
    rest: T,
}

impl<T> Claims<T> {
    /// The application that asked for the token: `appid` in version 1, `azp` in version 2.
    fn client(&self) -> Option<&str> {
        let client = match self.ver.as_deref() {
            Some("1.0") => self.appid.as_deref(),
            Some(_) => self.azp.as_deref(),
            None => self.azp.as_deref().or(self.appid.as_deref()),
        };
        client.filter(|client| !client.is_empty())
    }
}

/// What an access token says besides.
#[derive(Deserialize)]
struct Access {
    sub: String,
    oid: String,
    scp: Option<String>,
    roles: Option<Vec<String>>,
    idtyp: Option<String>,
    nonce: Option<IgnoredAny>,
}

/// Checks tokens.
pub struct Entra {
    config: Config,
    clock: Clock,
    keys: BTreeMap<String, Keys>,
}

impl Entra {
    /// A check against the configured tenants; nothing is fetched yet.
    #[must_use]
    pub fn new(config: Config, http: &HttpClient, clock: Clock) -> Self {
        let keys = |tenant: &String| {
            let keys = Keys::new(http.clone(), clock.clone(), config.authority.clone(), tenant.clone());
            (tenant.to_lowercase(), keys)
        };
        Self { keys: config.tenants.iter().map(keys).collect(), config, clock }
    }

    /// What is accepted.
    #[must_use]
    pub const fn config(&self) -> &Config {
        &self.config
    }

    /// Whether a text has the form of a token at all.
    #[must_use]
    pub fn looks_like_one(text: &str) -> bool {
        text.starts_with("eyJ") && text.bytes().filter(|byte| *byte == b'.').count() == 2
    }

    /// Whether a token that was checked is for an application, by its id or the id URI that Entra proposes.
    #[must_use]
    pub fn is_for(token: &str, client_id: &str) -> bool {
        #[derive(Deserialize)]
        struct Audience {
            aud: String,
        }
        let claims = token.split('.').nth(1).and_then(|claims| URL_SAFE_NO_PAD.decode(claims).ok());
        let audience = claims.and_then(|claims| serde_json::from_slice::<Audience>(&claims).ok());
        audience.is_some_and(|Audience { aud }| aud.trim_start_matches("api://").eq_ignore_ascii_case(client_id))
    }

    /// Whose token it is, and what the roles in it grant.
    ///
    /// # Errors
    /// When it is not accepted, or Entra's keys cannot be had.
    pub async fn identify(&self, token: &str, roles: &Roles) -> Result<Caller, TokenError> {
        let claims = self.verify::<Access>(token).await?;
        if claims.ver.is_none() {
            return Err(TokenError::Refused("its version is unknown"));
        }
        let ends_at = DateTime::from_timestamp(claims.exp.saturating_add(SKEW), 0);
        let caller = caller(claims, roles).map_err(TokenError::Refused)?;
        Ok(Caller { ends_at, ..caller })
    }

    /// What a token says that Entra has signed for one of the audiences, of one of the tenants, through one of the
    /// clients, and whose time is now.
    ///
    /// # Errors
    /// When it is not accepted, or Entra's keys cannot be had.
    pub async fn verify<T: DeserializeOwned>(&self, token: &str) -> Result<Claims<T>, TokenError> {
        let claims = self.verify_parties(token).await?;
        self.check_client(&claims).map_err(TokenError::Refused)?;
        Ok(claims)
    }

    /// What an id token says that Entra has signed for one of the audiences, of one of the tenants, and whose time is now.
    /// It names no client: it is for the client that asked for it, the audience.
    ///
    /// # Errors
    /// As [`Self::verify`].
    pub async fn verify_id<T: DeserializeOwned>(&self, token: &str) -> Result<(T, String), TokenError> {
        let claims = self.verify_parties::<T>(token).await?;
        if claims.ver.as_deref() != Some("2.0") {
            return Err(TokenError::Refused("its version is unknown"));
        }
        Ok((claims.rest, claims.tid))
    }

    async fn verify_parties<T: DeserializeOwned>(&self, token: &str) -> Result<Claims<T>, TokenError> {
        let refused = |why| Err(TokenError::Refused(why));
        let (kid, tenant) = peek(token)?;
        let Some(keys) = self.keys.get(&tenant.to_lowercase()) else { return refused("it is of another tenant") };
        let key = keys.get(&kid).await.map_err(|missing| match missing {
            NoKey::Unknown => TokenError::Refused("Entra does not publish the key it names"),
            NoKey::NotYet(wait) => TokenError::NotYet(wait),
            NoKey::Unavailable(_) => TokenError::Unavailable(missing.to_string()),
        })?;
        let mut validation = Validation::new(Algorithm::RS256);
        validation.set_audience(&self.config.audiences);
        validation.set_issuer(&[issuer(&self.config.authority, &tenant), old_issuer(&tenant)]);
        validation.set_required_spec_claims(&["exp", "nbf", "iss", "aud"]);
        (validation.validate_exp, validation.validate_nbf) = (false, false); // below, on our own clock
        let claims = jsonwebtoken::decode::<Claims<T>>(token, &key, &validation)
            .map_err(|error| TokenError::Refused(why(error.kind())))?
            .claims;
        self.check(&claims, self.clock.now())?;
        Ok(claims)
    }

    /// What the library does not check. A token is said to have expired when nothing else is wrong with it.
    fn check<T>(&self, claims: &Claims<T>, now: DateTime<Utc>) -> Result<(), TokenError> {
        self.check_parties(claims).map_err(TokenError::Refused)?;
        let now = now.timestamp();
        if claims.nbf.saturating_sub(SKEW) > now {
            return Err(TokenError::Refused("it is not valid yet"));
        }
        if claims.exp.saturating_add(SKEW) <= now { Err(TokenError::Expired) } else { Ok(()) }
    }

    /// Whom a token is of, and for whom.
    fn check_parties<T>(&self, claims: &Claims<T>) -> Result<(), &'static str> {
        // The library takes a list of audiences too; Entra never sends one.
        if !self.config.audiences.contains(&claims.aud) {
            return Err("it is for another audience");
        }
        let (first, second) = (old_issuer(&claims.tid), issuer(&self.config.authority, &claims.tid));
        let agrees = match claims.ver.as_deref() {
            Some("1.0") => claims.iss == first,
            Some("2.0") => claims.iss == second,
            Some(_) => return Err("its version is unknown"),
            None => claims.iss == first || claims.iss == second,
        };
        if !agrees {
            return Err("version, tenant and issuer do not agree");
        }
        Ok(())
    }

    /// Through which client a token came.
    fn check_client<T>(&self, claims: &Claims<T>) -> Result<(), &'static str> {
        let client = claims.client().ok_or("it names no client")?;
        let known = |listed: &String| listed.eq_ignore_ascii_case(client);
        if !self.config.clients.is_empty() && !self.config.clients.iter().any(known) {
            return Err("its client is not among those allowed");
        }
        Ok(())
    }
}

/// Whose token it is: a person's has a scope and perhaps roles, an application's has roles and no scope.
fn caller(claims: Claims<Access>, roles: &Roles) -> Result<Caller, &'static str> {
    let client = claims.client().unwrap_or_default().to_lowercase();
    let Claims { tid, rest: Access { sub, oid, scp, roles: held, idtyp, nonce }, .. } = claims;
    let held = held.unwrap_or_default();
    let Some(scopes) = scp else {
        if held.is_empty() {
            return Err("it has neither scope nor roles");
        }
        if sub != oid || nonce.is_some() || idtyp.is_some_and(|kind| kind != "app") {
            return Err("it is a person's without a scope");
        }
        return Ok(roles.application(&client, tid, held));
    };
    if idtyp.is_some_and(|kind| kind != "user") {
        return Err("it is an application's with a scope");
    }
    let person = UserId::parse(&oid.to_lowercase()).map_err(|_| "it names no person")?;
    let scopes: Vec<String> = scopes.split_whitespace().map(str::to_owned).collect();
    if scopes.is_empty() {
        return Err("its scope is empty");
    }
    Ok(roles.person(person, tid, scopes, held))
}

/// The key and the tenant a token names, before anything of it is believed: enough to look for the key.
fn peek(token: &str) -> Result<(String, String), TokenError> {
    #[derive(Deserialize)]
    struct Tenant {
        tid: String,
    }
    let refused = TokenError::Refused;
    if token.len() > MAX_LENGTH {
        return Err(refused("it is too long"));
    }
    let mut parts = token.split('.');
    let (Some(header), Some(claims), Some(_), None) = (parts.next(), parts.next(), parts.next(), parts.next()) else {
        return Err(refused("it has not three parts"));
    };
    let open = |part: &str| URL_SAFE_NO_PAD.decode(part).map_err(|_| refused("it is no base64"));
    let header: Header = serde_json::from_slice(&open(header)?).map_err(|_| refused("its header cannot be read"))?;
    if header.alg != "RS256" {
        return Err(refused("it is not signed with RS256"));
    }
    if header.typ.is_some_and(|kind| !matches!(kind.to_ascii_lowercase().as_str(), "jwt" | "at+jwt")) {
        return Err(refused("its type is unknown"));
    }
    let chooses = [header.crit, header.jwk, header.jku, header.x5u, header.x5c];
    if chooses.iter().any(Option::is_some) {
        return Err(refused("its header brings a key or demands an extension"));
    }
    let claims: Tenant = serde_json::from_slice(&open(claims)?).map_err(|_| refused("it names no tenant"))?;
    Ok((header.kid, claims.tid))
}

fn why(kind: &jsonwebtoken::errors::ErrorKind) -> &'static str {
    use jsonwebtoken::errors::ErrorKind as Kind;
    match kind {
        Kind::InvalidSignature => "its signature is wrong",
        Kind::InvalidAudience => "it is for another audience",
        Kind::InvalidIssuer => "it is of another issuer",
        Kind::MissingRequiredClaim(_) => "a claim is missing",
        Kind::Json(_) => "its claims cannot be read",
        _ => "it is malformed",
    }
}
