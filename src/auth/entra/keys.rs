//! Entra's signing keys: fetched by discovery when a token names one we do not have, and kept.
//!
//! Keys roll at any time, so an unknown `kid` is looked up; forged ones cannot make us hammer Entra, because in five
//! minutes only three are. A key that was not looked up is not called unknown: its caller comes again a little later, so
//! forged tokens keep nobody out whose key has just been rolled. When Entra does not answer, known keys keep working for
//! a day. No key at all is our fault and not the caller's: it is never answered with "unauthenticated".

use std::collections::HashMap;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use futures::StreamExt;
use jsonwebtoken::DecodingKey;
use parking_lot::{Mutex, MutexGuard};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use url::Url;

use crate::clock::Clock;
use crate::http_client::{HttpClient, redact};

/// Keys older than this are fetched again, behind the back of callers whose key is known.
const REFRESH_AFTER: TimeDelta = TimeDelta::hours(1);
/// How long a key that was not found is not looked up again.
const COOLDOWN: TimeDelta = TimeDelta::minutes(5);
/// The most unknown keys that are looked up in that time.
const LOOKUPS: usize = 3;
/// The least time between two fetches for unknown keys.
const PAUSE: TimeDelta = TimeDelta::seconds(5);
/// How long known keys work without being confirmed.
const LAST_RESORT: TimeDelta = TimeDelta::hours(25);
/// The longest one request to Entra may take.
const LIMIT: Duration = Duration::from_secs(10);
/// The largest answer that is read.
const MAX_BYTES: usize = 1024 * 1024;

/// Why there is no key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NoKey {
    /// Entra does not publish it.
    #[error("the token is signed with a key Entra does not publish")]
    Unknown,
    /// It is not known, and nobody asks Entra for it before the time named.
    #[error("the token is signed with a key that is not known yet")]
    NotYet(Duration),
    /// Entra's keys cannot be had.
    #[error("the signing keys cannot be fetched: {0}")]
    Unavailable(String),
}

/// The keys of one tenant.
pub struct Keys {
    http: HttpClient,
    clock: Clock,
    authority: Url,
    tenant: String,
    known: Mutex<Known>,
    fetching: tokio::sync::Mutex<()>,
}

#[derive(Default)]
struct Known {
    keys: HashMap<String, DecodingKey>,
    fetched_at: Option<DateTime<Utc>>,
    tried_at: Option<DateTime<Utc>>,
    /// Keys that were looked up and are not published, and when.
    missing: Vec<(String, DateTime<Utc>)>,
    failure: Option<String>,
}

#[derive(Deserialize)]
struct Discovery {
    issuer: String,
    jwks_uri: Url,
}

#[derive(Deserialize)]
struct Published {
    keys: Vec<Jwk>,
}

#[derive(Deserialize)]
struct Jwk {
    kty: String,
    kid: Option<String>,
    #[serde(rename = "use")]
    purpose: Option<String>,
    n: Option<String>,
    e: Option<String>,
}

impl Keys {
    /// The keys a tenant's tokens are signed with; nothing is fetched yet.
    #[must_use]
    pub fn new(http: HttpClient, clock: Clock, authority: Url, tenant: String) -> Self {
        Self { http, clock, authority, tenant, known: Mutex::default(), fetching: tokio::sync::Mutex::default() }
    }

    /// The key with an id.
    ///
    /// # Errors
    /// When Entra publishes none of that id, or its keys cannot be had.
    pub async fn get(&self, kid: &str) -> Result<DecodingKey, NoKey> {
        if let Some(key) = self.at_hand(kid) {
            // One caller confirms the keys while all others use them.
            if self.is_aging()
                && let Ok(_turn) = self.fetching.try_lock()
                && self.is_aging()
            {
                self.fetch().await;
                return self.at_hand(kid).ok_or(NoKey::Unknown);
            }
            return Ok(key);
        }
        let _turn = self.fetching.lock().await;
        if let Some(key) = self.at_hand(kid) {
            return Ok(key);
        }
        self.may_look_up(kid)?;
        self.fetch().await;
        self.at_hand(kid).ok_or_else(|| self.not_found(kid))
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock()
    }

    fn at_hand(&self, kid: &str) -> Option<DecodingKey> {
        let known = self.known();
        let now = self.clock.steady();
        known.fetched_at.filter(|at| now - *at < LAST_RESORT)?;
        known.keys.get(kid).cloned()
    }

    fn is_aging(&self) -> bool {
        let known = self.known();
        let now = self.clock.steady();
        known.fetched_at.is_some_and(|at| now - at > REFRESH_AFTER)
            && known.tried_at.is_none_or(|at| now - at > COOLDOWN)
    }

    /// Whether Entra may be asked for an unknown key now.
    fn may_look_up(&self, kid: &str) -> Result<(), NoKey> {
        let now = self.clock.steady();
        let mut known = self.known();
        known.missing.retain(|(_, at)| now - *at < COOLDOWN);
        let asked_just_now = known.tried_at.is_some_and(|at| now - at < PAUSE);
        let is_full = known.missing.len() >= LOOKUPS;
        match &known.failure {
            Some(failure) if asked_just_now || is_full => return Err(NoKey::Unavailable(failure.clone())),
            _ if asked_just_now || known.missing.iter().any(|(missing, _)| missing == kid) => {
                return Err(NoKey::Unknown);
            }
            _ => {}
        }
        match known.missing.first() {
            Some((_, first)) if is_full => Err(NoKey::NotYet((*first + COOLDOWN - now).to_std().unwrap_or_default())),
            _ => Ok(()),
        }
    }

    /// Notes that a key was looked up in vain, and says why there is none.
    fn not_found(&self, kid: &str) -> NoKey {
        let now = self.clock.steady();
        let mut known = self.known();
        match known.failure.clone() {
            Some(failure) => {
                if known.fetched_at.is_some() {
                    known.missing.push((String::new(), now)); // it is not known whether it is published
                }
                NoKey::Unavailable(failure)
            }
            None => {
                known.missing.push((kid.to_owned(), now));
                NoKey::Unknown
            }
        }
    }

    async fn fetch(&self) {
        let fetched = self.clock.timeout(LIMIT, self.read()).await;
        let now = self.clock.steady();
        let mut known = self.known();
        known.tried_at = Some(now);
        match fetched.unwrap_or_else(|| Err("Entra did not answer in time".to_owned())) {
            Ok(keys) => {
                let missing = std::mem::take(&mut known.missing);
                *known = Known { keys, fetched_at: Some(now), tried_at: Some(now), missing, failure: None };
            }
            Err(reason) => {
                tracing::warn!(tenant = self.tenant, reason, "Entra's signing keys cannot be fetched");
                known.failure = Some(reason);
            }
        }
    }

    async fn read(&self) -> Result<HashMap<String, DecodingKey>, String> {
        let issuer = super::issuer(&self.authority, &self.tenant);
        let address = format!("{issuer}/.well-known/openid-configuration");
        let address = Url::parse(&address).map_err(|error| error.to_string())?;
        let found: Discovery = self.document(address).await?;
        if found.issuer != issuer {
            return Err(format!("the discovery document is of another issuer: `{}`", found.issuer));
        }
        if found.jwks_uri.origin() != self.authority.origin() {
            return Err("the discovery document names keys on another host".to_owned());
        }
        let published: Published = self.document(found.jwks_uri).await?;
        let keys: HashMap<_, _> = published.keys.into_iter().filter_map(usable).collect();
        if keys.is_empty() { Err("no signing keys are published".to_owned()) } else { Ok(keys) }
    }

    async fn document<T: DeserializeOwned>(&self, url: Url) -> Result<T, String> {
        let shown = redact::url(&url);
        let answer = self.http.reqwest_client(&url).get(url).send().await.map_err(redact::transport)?;
        let status = answer.status();
        if !status.is_success() {
            return Err(format!("`{shown}` answered {}", status.as_u16()));
        }
        let mut body = Vec::new();
        let mut chunks = answer.bytes_stream();
        while let Some(chunk) = chunks.next().await {
            body.extend_from_slice(&chunk.map_err(redact::transport)?);
            if body.len() > MAX_BYTES {
                return Err(format!("`{shown}` answered more than {MAX_BYTES} bytes"));
            }
        }
        serde_json::from_slice(&body).map_err(|error| format!("`{shown}` cannot be read: {error}"))
    }
}

/// An RSA key for signatures, by its id. Anything else that is published is left aside.
fn usable(jwk: Jwk) -> Option<(String, DecodingKey)> {
    let signs = jwk.kty == "RSA" && jwk.purpose.as_deref() != Some("enc");
    let key = DecodingKey::from_rsa_components(&jwk.n?, &jwk.e?).ok()?;
    signs.then_some((jwk.kid?, key))
}
