//! Connected accounts: people who have signed in with Microsoft, each with a refresh token that is kept sealed.
//!
//! An account is one row, by the person's object id. The instance that refreshes it holds a lease in the row, so that one refresh is
//! under way among all instances: two at once are what ends sessions elsewhere. The new refresh token is written before
//! the access token is used, and the access token, sealed too, serves the other instances. A process that dies in between
//! leaves the old refresh token, which Entra still takes. Long because the way of a token from row to caller is one.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

use super::microsoft::{Granted, Microsoft, MicrosoftError, SignedIn};
use crate::azure::{CredentialError, Secret, Token, TokenProvider};
use crate::clock::Clock;
use crate::crash;
use crate::ids::{Entropy, UserId};
use crate::keyring::{Keyring, KeyringError, Sealed};
use crate::rows::{Expect, Partition, RowVersion, StoreError, Write};

/// The part of a token's life after which the next is fetched.
const REFRESH_AT: f64 = 0.8;
/// A token closer to its end than this is not used.
const MARGIN: TimeDelta = TimeDelta::seconds(30);
/// How long a refresh may take before another instance may try.
const LEASE: TimeDelta = TimeDelta::seconds(40);
/// How often an instance looks whether the refresh of another has ended.
const POLL: Duration = Duration::from_millis(150);
/// How long a failure answers later callers.
const FAILURE_LIFE: TimeDelta = TimeDelta::seconds(3);
/// How long a row is believed where nothing depends on its last change.
const LIFE: TimeDelta = TimeDelta::seconds(15);
/// How long it holds while the store does not answer.
const LAST_RESORT: TimeDelta = TimeDelta::minutes(10);
/// How long it holds that Entra let somebody sign in.
const CONFIRMED_FOR: TimeDelta = TimeDelta::minutes(5);
/// How long it holds while Entra does not answer.
const LAST_RESORT_OF_ENTRA: TimeDelta = TimeDelta::hours(24);
/// People remembered.
const CAPACITY: usize = 10_000;

/// A connected account, as it is kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Account {
    /// The person's object id.
    pub person: UserId,
    /// The directory.
    pub tenant: String,
    /// The sign-in name, as of the last sign-in or refresh.
    pub upn: String,
    /// The display name, likewise.
    pub name: String,
    /// The application's roles, likewise.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub roles: Vec<String>,
    /// Permissions of the last access token.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub permissions: Vec<String>,
    /// Counts the refresh tokens; each is sealed for its number, so that an old one cannot be put in its place.
    pub number: u64,
    /// The newest refresh token.
    refresh: Sealed,
    /// An access token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    access: Option<Held>,
    /// When the person first connected.
    pub connected_at: DateTime<Utc>,
    /// When the refresh token was last used.
    pub refreshed_at: DateTime<Utc>,
    /// Why there is no token any more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trouble: Option<Trouble>,
    /// Who refreshes it at present, and until when.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    lease: Option<Lease>,
}

/// Who refreshes an account, and until when.
type Lease = (String, DateTime<Utc>);

/// An access token that is kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Held {
    token: Sealed,
    fetched_at: DateTime<Utc>,
    expires_at: DateTime<Utc>,
}

/// A refusal that signing in again may end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Trouble {
    /// Since when.
    pub at: DateTime<Utc>,
    /// Entra's own words.
    pub reason: String,
    /// What it asks for more (a claims challenge).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub claims: Option<String>,
}

/// Why there is no token for a person.
#[derive(Debug, Clone, thiserror::Error)]
pub enum AccountError {
    /// Nobody of that id is connected.
    #[error("the account is not connected; sign in at {at}")]
    NotConnected {
        /// The page.
        at: String,
    },
    /// Entra wants the person to sign in again.
    #[error("Microsoft asks the person to sign in again, at {at} ({reason})")]
    SignIn {
        /// The page.
        at: String,
        /// Entra's words.
        reason: String,
    },
    /// Entra cannot say at present.
    #[error("{0}")]
    Microsoft(MicrosoftError),
    /// The store does not answer.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The keyring does not open what is kept.
    #[error("what is kept of the account does not open: {0}; the person signs in again")]
    Keyring(#[from] KeyringError),
}

/// What this process knows of a person.
#[derive(Default)]
struct Slot {
    known: Mutex<Known>,
    refreshing: tokio::sync::Mutex<()>,
}

#[derive(Default)]
struct Known {
    token: Option<Token>,
    rejected: Option<Secret>,
    /// What Graph asked for more when it rejected that (a claims challenge).
    challenge: Option<String>,
    failure: Option<(DateTime<Utc>, AccountError)>,
    row: Option<(Option<Arc<Account>>, DateTime<Utc>)>,
}

/// The connected accounts of a deployment. Cheap to clone.
#[derive(Clone)]
pub struct Accounts(Arc<Inner>);

struct Inner {
    rows: Partition,
    keyring: Keyring,
    clock: Clock,
    entropy: Entropy,
    microsoft: Arc<Microsoft>,
    /// Where people sign in, for messages.
    page: String,
    /// Names this process in leases.
    me: String,
    slots: Mutex<HashMap<UserId, Arc<Slot>>>,
}

impl Accounts {
    /// The accounts kept in a partition; people are told to sign in at `page`.
    #[must_use]
    pub fn new(
        rows: Partition,
        keyring: Keyring,
        microsoft: Arc<Microsoft>,
        clock: Clock,
        entropy: Entropy,
        page: String,
    ) -> Self {
        let me = entropy.guid();
        Self(Arc::new(Inner { rows, keyring, clock, entropy, microsoft, page, me, slots: Mutex::default() }))
    }

    /// The application at Entra.
    #[must_use]
    pub fn microsoft(&self) -> &Microsoft {
        &self.0.microsoft
    }

    /// Keeps the tokens of a sign-in. Somebody who was connected stays so, with what is new.
    ///
    /// # Errors
    /// When Entra sent no refresh token, or the store does not take it.
    pub async fn connect(&self, who: &SignedIn, granted: &Granted) -> Result<Account, AccountError> {
        let missing = || AccountError::Microsoft(MicrosoftError::Application("it sent no refresh token".to_owned()));
        let refresh = granted.refresh.as_ref().ok_or_else(missing)?;
        loop {
            let known = self.read(&who.person).await?;
            let now = self.0.clock.now();
            let number = known.as_ref().map_or(1, |(account, _)| account.number + 1);
            let before = known.as_ref().map_or(&[][..], |(account, _)| account.permissions.as_slice());
            let wider = before.iter().any(|permission| !granted.scopes.contains(permission));
            let account = Account {
                person: who.person.clone(),
                tenant: who.tenant.clone(),
                upn: who.upn.clone(),
                name: who.name.clone(),
                roles: who.roles.clone(),
                permissions: granted.scopes.clone(),
                number,
                refresh: self.sealed(&who.person, "refresh", number, refresh)?,
                // A sign-in for less must not take from others what was given for more: the next use asks for everything.
                access: if wider { None } else { Some(self.held(&who.person, number, granted)?) },
                connected_at: known.as_ref().map_or(now, |(account, _)| account.connected_at),
                refreshed_at: now,
                trouble: None,
                lease: None,
            };
            let expect = known.map_or(Expect::Absent, |(_, version)| Expect::Version(version));
            if self.commit(&account, expect).await?.is_some() {
                self.forget(&who.person);
                return Ok(account);
            }
        }
    }

    /// The account of a person, as it is believed to be.
    ///
    /// # Errors
    /// When the store does not answer and it was not read for a while.
    pub async fn believed(&self, person: &UserId) -> Result<Option<Arc<Account>>, StoreError> {
        let (slot, now) = (self.slot(person), self.0.clock.steady());
        let young =
            |life| slot.known.lock().row.as_ref().filter(|(_, at)| now - *at < life).map(|(row, _)| row.clone());
        if let Some(row) = young(LIFE) {
            return Ok(row);
        }
        match self.read(person).await {
            Ok(row) => {
                let row = row.map(|(account, _)| Arc::new(account));
                slot.known.lock().row = Some((row.clone(), now));
                Ok(row)
            }
            Err(error) => young(LAST_RESORT).ok_or(error),
        }
    }

    /// Every connected account, by name.
    ///
    /// # Errors
    /// When the store does not answer.
    pub async fn list(&self) -> Result<Vec<Account>, StoreError> {
        let rows = self.0.rows.scan_prefix("account|").await?;
        let mut accounts = rows.iter().map(crate::rows::Row::decode).collect::<Result<Vec<Account>, _>>()?;
        accounts.sort_by(|left, right| (&left.name, &left.person).cmp(&(&right.name, &right.person)));
        Ok(accounts)
    }

    /// Forgets a person's tokens; answers whether there were any.
    ///
    /// # Errors
    /// When the store does not take it.
    pub async fn disconnect(&self, person: &UserId) -> Result<bool, StoreError> {
        let existed = self.0.rows.get(&row_key(person)).await?.is_some();
        self.0.rows.commit(vec![Write::delete(row_key(person), Expect::Anything)]).await?;
        self.forget(person);
        Ok(existed)
    }

    /// The account of a person, read from the store.
    ///
    /// # Errors
    /// When the store does not answer.
    pub async fn current(&self, person: &UserId) -> Result<Option<Account>, StoreError> {
        Ok(self.read(person).await?.map(|(account, _)| account))
    }

    /// People whose accounts nobody has used since a time.
    ///
    /// # Errors
    /// When the store does not answer.
    pub async fn unused(&self, since: DateTime<Utc>) -> Result<Vec<UserId>, StoreError> {
        let rows = self.0.rows.scan_prefix("account|").await?;
        let accounts = rows.iter().filter_map(|row| row.decode::<Account>().ok());
        Ok(accounts.filter(|account| account.refreshed_at < since).map(|account| account.person).collect())
    }

    /// As [`Self::confirm`], for an account as it is believed to be: for what is used without a sign-in in between.
    ///
    /// # Errors
    /// As [`Self::confirm`].
    pub async fn confirm_believed(&self, account: &Account) -> Result<(), AccountError> {
        if self.0.clock.now() - account.refreshed_at < CONFIRMED_FOR {
            return Ok(());
        }
        let confirmed = self.confirm(&account.person).await;
        self.slot(&account.person).known.lock().row = None;
        confirmed
    }

    /// Asks Entra whether a person may still sign in, unless it has said so just now. While Entra does not answer, what it
    /// said last holds for a day.
    ///
    /// # Errors
    /// When the person is not connected or has to sign in again, or that cannot be found out.
    pub async fn confirm(&self, person: &UserId) -> Result<(), AccountError> {
        let page = || self.0.page.clone();
        let account = self.current(person).await?.ok_or_else(|| AccountError::NotConnected { at: page() })?;
        if let Some(trouble) = &account.trouble {
            return Err(AccountError::SignIn { at: page(), reason: trouble.reason.clone() });
        }
        let age = self.0.clock.now() - account.refreshed_at;
        if age < CONFIRMED_FOR {
            return Ok(());
        }
        match self.fetch(person, Some(account.number)).await {
            Err(AccountError::Microsoft(MicrosoftError::Outage(_))) if age < LAST_RESORT_OF_ENTRA => Ok(()),
            other => other.map(drop),
        }
    }

    /// Tokens for calls to Microsoft Graph as a person.
    #[must_use]
    pub fn provider(&self, person: &UserId) -> Arc<dyn TokenProvider> {
        Arc::new(AccountTokens { accounts: self.clone(), person: person.clone() })
    }

    /// An access token of a person for Microsoft Graph.
    ///
    /// # Errors
    /// When the person is not connected or has to sign in again, or Entra or the store do not answer.
    pub async fn token(&self, person: &UserId) -> Result<Token, AccountError> {
        let slot = self.slot(person);
        match self.at_hand(&slot) {
            Some((token, true)) => return Ok(token),
            Some((token, false)) => {
                // The next one is fetched behind the caller's back, by one of them.
                if let Ok(free) = slot.refreshing.try_lock() {
                    drop(free);
                    let (accounts, person) = (self.clone(), person.clone());
                    tokio::spawn(async move {
                        if let Err(error) = accounts.fetch(&person, None).await {
                            tracing::debug!(%error, "a token could not be refreshed ahead");
                        }
                    });
                }
                return Ok(token);
            }
            None => {}
        }
        self.fetch(person, None).await
    }

    /// The token in memory, and whether it is far from its end.
    fn at_hand(&self, slot: &Slot) -> Option<(Token, bool)> {
        let known = slot.known.lock();
        let token = known.token.clone().filter(|token| known.rejected.as_ref() != Some(&token.secret))?;
        let now = self.0.clock.now();
        (token.expires_at - MARGIN > now).then(|| {
            let fresh = is_fresh(token.fetched_at(), token.expires_at, now);
            (token, fresh)
        })
    }

    /// A token that is not at hand; one of a number after `than`, if that is given. The caller may hang up: a refresh that
    /// has begun is brought to its end.
    async fn fetch(&self, person: &UserId, than: Option<u64>) -> Result<Token, AccountError> {
        let (accounts, person) = (self.clone(), person.clone());
        let fetched = tokio::spawn(async move { accounts.fetch_alone(&person, than).await }).await;
        let ended = |_| AccountError::Microsoft(MicrosoftError::Outage("the server is stopping".to_owned()));
        fetched.unwrap_or_else(|error| Err(ended(error)))
    }

    async fn fetch_alone(&self, person: &UserId, than: Option<u64>) -> Result<Token, AccountError> {
        let slot = self.slot(person);
        let _one_at_a_time = slot.refreshing.lock().await;
        if let Some((token, true)) = self.at_hand(&slot).filter(|_| than.is_none()) {
            return Ok(token);
        }
        if let Some((at, error)) = &slot.known.lock().failure
            && self.0.clock.steady() - *at < FAILURE_LIFE
        {
            return Err(error.clone());
        }
        let outcome = self.refreshed(person, &slot, than).await;
        let mut known = slot.known.lock();
        match &outcome {
            Ok(token) => {
                known.token = Some(token.clone());
                known.challenge = None;
                known.failure = None;
            }
            Err(error) => known.failure = Some((self.0.clock.steady(), error.clone())),
        }
        outcome
    }

    /// A token from the row, or from Entra by the instance that gets the lease.
    async fn refreshed(&self, person: &UserId, slot: &Slot, than: Option<u64>) -> Result<Token, AccountError> {
        let Inner { clock, page, me, .. } = &*self.0;
        // Clocks of instances differ: a lease ends for us when we have seen it for as long as one lasts, too.
        let mut seen: Option<(Lease, DateTime<Utc>)> = None;
        loop {
            let Some((mut account, version)) = self.read(person).await? else {
                return Err(AccountError::NotConnected { at: page.clone() });
            };
            let now = clock.now();
            let rejected = slot.known.lock().rejected.clone();
            let is_wanted = |token: &Token| {
                rejected.as_ref() != Some(&token.secret) && than.is_none_or(|than| account.number > than)
            };
            if let Some(token) = self.living(&account, now)?.filter(is_wanted) {
                return Ok(token);
            }
            if let Some(trouble) = &account.trouble {
                return Err(AccountError::SignIn { at: page.clone(), reason: trouble.reason.clone() });
            }
            if let Some(lease) = account.lease.clone().filter(|(by, until)| by != me && *until > now) {
                let first = match &seen {
                    Some((known, first)) if *known == lease => *first,
                    _ => clock.steady(),
                };
                if clock.steady() - first < LEASE {
                    seen = Some((lease, first));
                    clock.sleep(POLL).await;
                    continue;
                }
            }
            let refresh = self.0.keyring.unseal(&purpose(person, "refresh", account.number), &account.refresh)?;
            account.lease = Some((me.clone(), now + LEASE));
            let Some(version) = self.commit(&account, Expect::Version(version)).await? else { continue };
            crash::point("account.leased");
            let challenge = slot.known.lock().challenge.clone();
            let answer = self.0.microsoft.refresh(&Secret::new(&refresh), challenge.as_deref()).await;
            crash::point("account.answered");
            let answer = answer.map_err(|error| error.or_challenge(challenge.as_deref()));
            if let Some(outcome) = self.settle(account, version, answer).await? {
                return outcome;
            }
        }
    }

    /// Writes down what came of a refresh; `None` where the row has changed meanwhile and is to be read again.
    async fn settle(
        &self,
        mut account: Account,
        version: RowVersion,
        answer: Result<Granted, MicrosoftError>,
    ) -> Result<Option<Result<Token, AccountError>>, AccountError> {
        let Inner { clock, page, .. } = &*self.0;
        let (person, now) = (account.person.clone(), clock.now());
        account.lease = None;
        let outcome = match answer {
            Ok(granted) => {
                account.number += 1;
                if let Some(refresh) = &granted.refresh {
                    account.refresh = self.sealed(&person, "refresh", account.number, refresh)?;
                } else {
                    let before = purpose(&person, "refresh", account.number - 1);
                    let same = Secret::new(&self.0.keyring.unseal(&before, &account.refresh)?);
                    account.refresh = self.sealed(&person, "refresh", account.number, &same)?;
                }
                if let Some(id) = &granted.id_token
                    && let Ok(who) = self.0.microsoft.signed_in(id, None).await
                    && who.person == person
                {
                    (account.upn, account.name, account.roles) = (who.upn, who.name, who.roles);
                }
                account.access = Some(self.held(&person, account.number, &granted)?);
                account.permissions.clone_from(&granted.scopes);
                account.refreshed_at = now;
                let expires_at = now + TimeDelta::from_std(granted.lives).unwrap_or_default();
                Ok(Token::new(granted.access, expires_at, now))
            }
            Err(MicrosoftError::SignIn { description, claims, .. }) => {
                account.trouble = Some(Trouble { at: now, reason: description.clone(), claims });
                account.access = None;
                Err(AccountError::SignIn { at: page.clone(), reason: description })
            }
            Err(error) => Err(AccountError::Microsoft(error)),
        };
        match self.commit(&account, Expect::Version(version)).await? {
            Some(_) => {
                crash::point("account.kept");
                self.slot(&person).known.lock().row = None;
                Ok(Some(outcome))
            }
            // Somebody signed in again or disconnected; what we were told of the old token does not count any more.
            None => Ok(None),
        }
    }

    /// The token kept in a row, if it is still good.
    fn living(&self, account: &Account, now: DateTime<Utc>) -> Result<Option<Token>, AccountError> {
        let Some(held) = account.access.as_ref().filter(|held| is_fresh(held.fetched_at, held.expires_at, now)) else {
            return Ok(None);
        };
        let text = self.0.keyring.unseal(&purpose(&account.person, "access", account.number), &held.token)?;
        Ok(Some(Token::new(Secret::new(&text), held.expires_at, held.fetched_at)))
    }

    fn held(&self, person: &UserId, number: u64, granted: &Granted) -> Result<Held, AccountError> {
        let now = self.0.clock.now();
        let token = self.sealed(person, "access", number, &granted.access)?;
        Ok(Held { token, fetched_at: now, expires_at: now + TimeDelta::from_std(granted.lives).unwrap_or_default() })
    }

    fn sealed(&self, person: &UserId, field: &str, number: u64, secret: &Secret) -> Result<Sealed, KeyringError> {
        self.0.keyring.seal(&purpose(person, field, number), secret.expose(), &self.0.entropy)
    }

    async fn read(&self, person: &UserId) -> Result<Option<(Account, RowVersion)>, StoreError> {
        let Some(row) = self.0.rows.get(&row_key(person)).await? else { return Ok(None) };
        Ok(Some((row.decode()?, row.version)))
    }

    /// Writes a row; `None` when it was changed meanwhile.
    async fn commit(&self, account: &Account, expect: Expect) -> Result<Option<RowVersion>, StoreError> {
        let write = Write::put(row_key(&account.person), expect, account)?;
        match self.0.rows.commit(vec![write]).await {
            Ok(versions) => Ok(versions.into_iter().flatten().next()),
            Err(error) if error.is_conflict() => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn slot(&self, person: &UserId) -> Arc<Slot> {
        let mut slots = self.0.slots.lock();
        if slots.len() >= CAPACITY && !slots.contains_key(person) {
            slots.retain(|_, slot| Arc::strong_count(slot) > 1);
        }
        slots.entry(person.clone()).or_default().clone()
    }

    fn forget(&self, person: &UserId) {
        self.0.slots.lock().remove(person);
    }
}

/// Whether a token is in the part of its life in which the next one is not needed yet.
fn is_fresh(fetched_at: DateTime<Utc>, expires_at: DateTime<Utc>, now: DateTime<Utc>) -> bool {
    let life = (expires_at - fetched_at).to_std().unwrap_or_default();
    let until = fetched_at + TimeDelta::from_std(life.mul_f64(REFRESH_AT)).unwrap_or_default();
    now < until && expires_at - MARGIN > now
}

/// What a text is sealed for: it opens nowhere else.
fn purpose(person: &UserId, field: &str, number: u64) -> String {
    format!("account\0{person}\0{field}\0{number}")
}

fn row_key(person: &UserId) -> String {
    format!("account|{person}")
}

/// The tokens of one connected person.
struct AccountTokens {
    accounts: Accounts,
    person: UserId,
}

impl std::fmt::Debug for AccountTokens {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("AccountTokens").field(&self.person).finish()
    }
}

#[async_trait::async_trait]
impl TokenProvider for AccountTokens {
    async fn token(&self, scope: &str) -> Result<Token, CredentialError> {
        let refused =
            |error: AccountError| CredentialError::Refused { scope: scope.to_owned(), reason: error.to_string() };
        self.accounts.token(&self.person).await.map_err(refused)
    }

    fn reject(&self, _scope: &str, token: &Token, claims: Option<&str>) -> bool {
        let slot = self.accounts.slot(&self.person);
        let mut known = slot.known.lock();
        if known.token.as_ref().is_some_and(|current| current.secret != token.secret) {
            return true; // another call has fetched the next one meanwhile
        }
        // Another of the same kind would be rejected likewise: only a challenge, or a token that has lived, is reason to ask.
        let asks = claims.is_some() || self.accounts.0.clock.now() - token.fetched_at() > TimeDelta::minutes(1);
        if asks {
            known.rejected = Some(token.secret.clone());
            known.challenge = claims.map(str::to_owned);
        }
        asks
    }
}
