//! On behalf of: a caller's own token of Entra, exchanged for one of Microsoft Graph. Nothing is stored.
//!
//! Each token is exchanged once and what came of it kept in memory, by the token's digest, until the token ends: so a
//! caller whom Entra asks for more is told so again without asking Entra again, and a caller who comes with a new token
//! starts afresh.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use parking_lot::Mutex;
use sha2::{Digest, Sha256};

use super::microsoft::{Microsoft, MicrosoftError};
use crate::azure::{CredentialError, Secret, Token, TokenProvider};
use crate::clock::Clock;

/// A token closer to its end than this is not used.
const MARGIN: TimeDelta = TimeDelta::seconds(30);
/// How long a refusal of the person answers later calls with the same token: consent may be given meanwhile.
const REFUSAL_LIFE: TimeDelta = TimeDelta::seconds(30);
/// How long an outage does.
const OUTAGE_LIFE: TimeDelta = TimeDelta::seconds(30);
/// How long a call waits for it to be known whether Entra asks for more: most calls need nothing of Entra.
const ADMISSION: Duration = Duration::from_secs(5);
/// Tokens remembered.
const CAPACITY: usize = 10_000;

/// Exchanges tokens. Cheap to clone.
#[derive(Clone)]
pub struct OnBehalfOf(Arc<Inner>);

struct Inner {
    microsoft: Arc<Microsoft>,
    clock: Clock,
    slots: Mutex<HashMap<[u8; 32], Arc<Slot>>>,
}

/// What is known of one token of a caller.
struct Slot {
    /// When the caller's token ends.
    ends_at: DateTime<Utc>,
    known: Mutex<Known>,
    asking: tokio::sync::Mutex<()>,
}

#[derive(Default)]
struct Known {
    token: Option<Token>,
    /// What Graph asked for more when it rejected the last one.
    challenge: Option<String>,
    failure: Option<(DateTime<Utc>, MicrosoftError)>,
}

impl Known {
    fn usable(&self, now: DateTime<Utc>) -> Option<Token> {
        self.token.clone().filter(|token| token.expires_at - MARGIN > now)
    }

    fn remembered(&self, now: DateTime<Utc>) -> Option<MicrosoftError> {
        let (at, error) = self.failure.as_ref()?;
        let life = if matches!(error, MicrosoftError::Outage(_)) { OUTAGE_LIFE } else { REFUSAL_LIFE };
        (now - *at < life).then(|| error.clone())
    }
}

/// Entra lets nobody act for the person by this token: the person signs in again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Again {
    /// What the next token has to show (a claims challenge), as JSON.
    pub challenge: Option<String>,
    /// Entra's words.
    pub reason: String,
}

/// A caller with a token of Entra, and what it was exchanged for.
pub struct Caller {
    exchange: OnBehalfOf,
    assertion: Secret,
    slot: Arc<Slot>,
}

impl OnBehalfOf {
    /// Exchanges as the application people sign in to.
    #[must_use]
    pub fn new(microsoft: Arc<Microsoft>, clock: Clock) -> Self {
        Self(Arc::new(Inner { microsoft, clock, slots: Mutex::default() }))
    }

    /// Tokens for calls to Microsoft Graph as the person whose checked `token` it is, which ends at `ends_at`.
    #[must_use]
    pub fn caller(&self, token: &str, ends_at: DateTime<Utc>) -> Caller {
        let digest: [u8; 32] = Sha256::digest(token).into();
        let now = self.0.clock.now();
        let mut slots = self.0.slots.lock();
        if slots.len() >= CAPACITY && !slots.contains_key(&digest) {
            slots.retain(|_, slot| slot.ends_at > now);
            if slots.len() >= CAPACITY {
                slots.clear(); // each is exchanged once more
            }
        }
        let fresh = || Arc::new(Slot { ends_at, known: Mutex::default(), asking: tokio::sync::Mutex::default() });
        let slot = slots.entry(digest).or_insert_with(fresh).clone();
        drop(slots);
        Caller { exchange: self.clone(), assertion: Secret::new(token), slot }
    }
}

impl Caller {
    /// Exchanges the token, unless that is done.
    ///
    /// # Errors
    /// When another token is needed. Any other failure is for the call that needs this one.
    pub async fn admit(&self) -> Result<(), Again> {
        let clock = &self.exchange.0.clock;
        match clock.timeout(ADMISSION, self.obtain()).await {
            Some(Err(MicrosoftError::SignIn { consent: false, claims, description })) => {
                Err(Again { challenge: claims, reason: description })
            }
            Some(_) => Ok(()),
            None => {
                let late = MicrosoftError::Outage("no answer in time".to_owned());
                self.slot.known.lock().failure = Some((clock.now(), late));
                Ok(())
            }
        }
    }

    /// Exchanges the token, unless that is done.
    ///
    /// # Errors
    /// When Entra does not answer or refuses.
    pub async fn obtain(&self) -> Result<Token, MicrosoftError> {
        let clock = &self.exchange.0.clock;
        if let Some(token) = self.slot.known.lock().usable(clock.now()) {
            return Ok(token);
        }
        let _one_at_a_time = self.slot.asking.lock().await;
        let challenge = {
            let known = self.slot.known.lock();
            let now = clock.now();
            if let Some(token) = known.usable(now) {
                return Ok(token);
            }
            if let Some(error) = known.remembered(now) {
                return Err(error);
            }
            known.challenge.clone()
        };
        let granted = self.exchange.0.microsoft.on_behalf_of(&self.assertion, challenge.as_deref()).await;
        let mut known = self.slot.known.lock();
        let now = clock.now();
        match granted {
            Ok(granted) => {
                let expires_at = now + TimeDelta::from_std(granted.lives).unwrap_or_default();
                let token = Token::new(granted.access, expires_at, now);
                *known = Known { token: Some(token.clone()), ..Known::default() };
                Ok(token)
            }
            Err(error) => {
                let error = error.or_challenge(challenge.as_deref());
                known.failure = Some((now, error.clone()));
                Err(error)
            }
        }
    }
}

impl std::fmt::Debug for Caller {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Caller").field("ends_at", &self.slot.ends_at).finish_non_exhaustive()
    }
}

#[async_trait::async_trait]
impl TokenProvider for Caller {
    async fn token(&self, scope: &str) -> Result<Token, CredentialError> {
        let refused =
            |error: MicrosoftError| CredentialError::Refused { scope: scope.to_owned(), reason: error.to_string() };
        self.obtain().await.map_err(refused)
    }

    fn reject(&self, _scope: &str, token: &Token, claims: Option<&str>) -> bool {
        // Another of the same kind would be rejected likewise: only a challenge, or a token that has lived, is reason to ask.
        let asks = claims.is_some() || self.exchange.0.clock.now() - token.fetched_at() > TimeDelta::minutes(1);
        let mut known = self.slot.known.lock();
        if asks && known.token.as_ref().is_some_and(|known| known.secret == token.secret) {
            *known = Known { challenge: claims.map(str::to_owned), ..Known::default() };
        }
        asks
    }
}
