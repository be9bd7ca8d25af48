//! What people let clients do, and the tokens that stand for it.
//!
//! An [`Authorization`] is one row. Its access tokens are signed with the keyring and live for minutes; every instance
//! accepts them without asking anybody, and reads the row every fifteen seconds to see whether it has ended. Its refresh
//! tokens are signed too and numbered: each one redeemed is followed by the next. The last one redeemed may be redeemed
//! once more until its successor has been, and brings the same successor, so that a lost answer signs nobody out; an older
//! one was stolen or copied, and ends the authorization (RFC 9700, section 4.14). Long because tokens and their row are read
//! together.

use std::collections::HashMap;
use std::sync::Arc;

use chrono::{DateTime, TimeDelta, Utc};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

use super::error::OAuthError;
use super::scopes::Scopes;
use crate::auth::secrets::{digest, opened, random, signed};
use crate::clock::Clock;
use crate::ids::{Entropy, UserId};
use crate::keyring::Keyring;
use crate::rows::{Expect, Partition, RowVersion, StoreError, Write};

/// What every access token begins with.
pub const ACCESS: &str = "ggat_";
/// What every refresh token begins with.
pub const REFRESH: &str = "ggrt_";
/// How long a row is believed.
const LIFE: TimeDelta = TimeDelta::seconds(15);
/// How long it holds while the store does not answer.
const LAST_RESORT: TimeDelta = TimeDelta::minutes(10);
/// Rows remembered.
const CAPACITY: usize = 10_000;
/// How precisely it is noted when an authorization was last used.
const USE_NOTED: TimeDelta = TimeDelta::hours(1);

/// Why an authorization has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ending {
    /// The client gave it back.
    Client,
    /// The person ended it.
    Person,
    /// An administrator ended it.
    Administrator,
    /// A refresh token or a code came a second time.
    Replay,
    /// Microsoft has ended the person's session.
    Microsoft,
}

/// What a person let a client do, or what a client may do as itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Authorization {
    /// Its id.
    pub id: String,
    /// The client.
    pub client_id: String,
    /// What the client was called when the person consented.
    pub client_name: String,
    /// The person; `None` where a client acts as itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub person: Option<UserId>,
    /// The scopes that were consented to.
    pub scopes: Scopes,
    /// When it was given.
    pub created_at: DateTime<Utc>,
    /// When it was last refreshed, to the hour.
    pub used_at: DateTime<Utc>,
    /// When it ends by itself, unless it is used before.
    pub expires_at: DateTime<Utc>,
    /// The number of the newest refresh token.
    pub refresh: u64,
    /// When and why it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended: Option<(DateTime<Utc>, Ending)>,
}

impl Authorization {
    /// Whether it holds at a time.
    #[must_use]
    pub fn holds(&self, now: DateTime<Utc>) -> bool {
        self.ended.is_none() && self.expires_at > now
    }
}

/// What an access token says. Short names, because it travels with every call.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Claims {
    /// The authorization.
    a: String,
    /// The client.
    c: String,
    /// The person.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    p: Option<UserId>,
    /// The scopes, separated by spaces.
    s: String,
    /// The resource it is for.
    r: String,
    /// When it ends, in seconds since 1970.
    e: i64,
}

/// An access token that is ours and alive, of an authorization that holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Access {
    /// The authorization.
    pub authorization: Arc<Authorization>,
    /// The scopes of the token.
    pub scopes: Scopes,
    /// When it ends.
    pub ends_at: DateTime<Utc>,
}

/// Why a token opens nothing.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Closed {
    /// It is none of ours, or what it stands for has ended.
    #[error("the token is not accepted: {0}")]
    Refused(&'static str),
    /// It is one of ours, and its time has passed.
    #[error("the token has expired")]
    Expired,
    /// It holds, but an operator has paused its client.
    #[error("an operator has paused the client; nothing is lost, repeat the call later")]
    Paused,
    /// The store does not answer.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// What came of redeeming a refresh token.
#[derive(Debug, PartialEq, Eq)]
pub enum Redeemed {
    /// The authorization, whose newest refresh token is the successor.
    Followed(Box<Authorization>),
    /// It came a second time: the authorization has ended.
    Replayed(Box<Authorization>),
}

type Read = (Option<Arc<Authorization>>, DateTime<Utc>);

/// The authorizations of a deployment.
pub struct Authorizations {
    rows: Partition,
    keyring: Keyring,
    clock: Clock,
    entropy: Entropy,
    /// The one resource tokens are for.
    resource: String,
    /// How long an authorization that nobody uses holds.
    idle: TimeDelta,
    known: Mutex<HashMap<String, Read>>,
}

impl Authorizations {
    /// The authorizations kept in a partition, for one resource; one that is not used for `idle` ends.
    #[must_use]
    pub fn new(
        rows: Partition,
        keyring: Keyring,
        clock: Clock,
        entropy: Entropy,
        resource: String,
        idle: TimeDelta,
    ) -> Self {
        Self { rows, keyring, clock, entropy, resource, idle, known: Mutex::default() }
    }

    /// A new authorization, not kept yet.
    #[must_use]
    pub fn begun(&self, client: (&str, &str), person: Option<UserId>, scopes: Scopes) -> Authorization {
        let now = self.clock.now();
        Authorization {
            id: random(&self.entropy, 2),
            client_id: client.0.to_owned(),
            client_name: client.1.to_owned(),
            person,
            scopes,
            created_at: now,
            used_at: now,
            expires_at: now + self.idle,
            refresh: 1,
            ended: None,
        }
    }

    /// Keeps a new authorization.
    ///
    /// # Errors
    /// When the store does not take it.
    pub async fn keep(&self, authorization: &Authorization) -> Result<(), StoreError> {
        self.rows.commit(vec![Write::insert(row_key(&authorization.id), authorization)?]).await.map(drop)
    }

    /// An access token for scopes of an authorization, for `life`.
    #[must_use]
    pub fn access_token(&self, authorization: &Authorization, scopes: &Scopes, life: TimeDelta) -> String {
        let claims = Claims {
            a: authorization.id.clone(),
            c: authorization.client_id.clone(),
            p: authorization.person.clone(),
            s: super::scopes::joined(scopes),
            r: self.resource.clone(),
            e: (self.clock.now() + life).timestamp(),
        };
        signed(&self.keyring, ACCESS, &serde_json::to_vec(&claims).unwrap_or_default()) // texts can always be written
    }

    /// The newest refresh token of an authorization. It is made, not kept: the same number is always the same text.
    #[must_use]
    pub fn refresh_token(&self, authorization: &Authorization) -> String {
        signed(&self.keyring, REFRESH, format!("{}.{}", authorization.id, authorization.refresh).as_bytes())
    }

    /// What an access token opens.
    ///
    /// # Errors
    /// When it is not accepted, or the store does not answer.
    pub async fn open(&self, token: &str) -> Result<Access, Closed> {
        let refused = Closed::Refused("it is none of ours");
        let message = opened(&self.keyring, ACCESS, token).ok_or(refused.clone())?;
        let claims: Claims = serde_json::from_slice(&message).map_err(|_| refused.clone())?;
        if claims.r != self.resource {
            return Err(Closed::Refused("it is for another resource"));
        }
        let ends_at = DateTime::from_timestamp(claims.e, 0).ok_or(refused)?;
        let now = self.clock.now();
        if ends_at <= now {
            return Err(Closed::Expired);
        }
        let known = self.believed(&claims.a).await?.ok_or(Closed::Refused("what it stands for is unknown"))?;
        if !known.holds(now) {
            return Err(Closed::Refused("what it stands for has ended"));
        }
        if known.client_id != claims.c || known.person != claims.p {
            return Err(Closed::Refused("it is of somebody else"));
        }
        let scopes = claims.s.split(' ').filter(|scope| known.scopes.contains(*scope)).map(str::to_owned).collect();
        Ok(Access { authorization: known, scopes, ends_at })
    }

    /// The authorization of an id, as it is believed to be.
    ///
    /// # Errors
    /// When the store does not answer and it was not read for a while.
    pub async fn believed(&self, id: &str) -> Result<Option<Arc<Authorization>>, StoreError> {
        let now = self.clock.steady();
        let young = |life| self.known.lock().get(id).filter(|(_, at)| now - *at < life).map(|(row, _)| row.clone());
        if let Some(row) = young(LIFE) {
            return Ok(row);
        }
        match self.read(id).await {
            Ok(row) => {
                let row = row.map(|(row, _)| Arc::new(row));
                let mut known = self.known.lock();
                if known.len() >= CAPACITY {
                    known.retain(|_, (_, at)| now - *at < LIFE);
                }
                known.insert(id.to_owned(), (row.clone(), now));
                Ok(row)
            }
            Err(error) => young(LAST_RESORT).ok_or(error),
        }
    }

    /// The authorization of a client that acts as itself: its scopes are those of the client's role now. One that was ended
    /// stays so; the next has another id.
    ///
    /// # Errors
    /// When the store does not take it.
    pub async fn standing(&self, client: (&str, &str), scopes: Scopes) -> Result<Authorization, StoreError> {
        let mut number = 0_u32;
        loop {
            let id: String = digest(&format!("client\0{}\0{number}", client.0)).chars().take(32).collect();
            let known = self.read(&id).await?;
            let now = self.clock.now();
            let as_wanted =
                |row: &Authorization| row.holds(now) && row.scopes == scopes && now - row.used_at < USE_NOTED;
            match &known {
                Some((row, _)) if row.ended.is_some() => {
                    number += 1;
                    continue;
                }
                Some((row, _)) if as_wanted(row) => return Ok(row.clone()),
                _ => {}
            }
            let row = Authorization { id: id.clone(), ..self.begun(client, None, scopes.clone()) };
            let expect = known.map_or(Expect::Absent, |(_, version)| Expect::Version(version));
            match self.rows.commit(vec![Write::put(row_key(&id), expect, &row)?]).await {
                Err(error) if error.is_conflict() => {}
                Err(error) => return Err(error),
                Ok(_) => {
                    self.forget(&id);
                    return Ok(row);
                }
            }
        }
    }

    /// The rows, for who sweeps them.
    pub(super) const fn rows(&self) -> &Partition {
        &self.rows
    }

    async fn read(&self, id: &str) -> Result<Option<(Authorization, RowVersion)>, StoreError> {
        let Some(row) = self.rows.get(&row_key(id)).await? else { return Ok(None) };
        Ok(Some((row.decode()?, row.version)))
    }

    /// Redeems a refresh token of a client.
    ///
    /// # Errors
    /// When it is none of the client's, its authorization has ended, or the store does not answer.
    pub async fn redeem(&self, token: &str, client_id: &str) -> Result<Redeemed, OAuthError> {
        let unknown = || {
            OAuthError::invalid_grant("the refresh token is unknown, or what it stands for has ended; sign in again")
        };
        let (id, number) =
            opened(&self.keyring, REFRESH, token).and_then(|message| numbered(&message)).ok_or_else(unknown)?;
        loop {
            let Some((mut row, version)) = self.read(&id).await? else { return Err(unknown()) };
            let now = self.clock.now();
            if row.client_id != client_id || !row.holds(now) || number > row.refresh {
                return Err(unknown());
            }
            let replayed = number + 1 < row.refresh;
            // Its successor has not been used: the answer was lost, and is given again.
            let again = number + 1 == row.refresh;
            if again {
                tracing::info!(
                    client = row.client_id,
                    authorization = row.id,
                    "a refresh token is redeemed again before its successor"
                );
            }
            if replayed {
                row.ended = Some((now, Ending::Replay));
            } else {
                row.refresh = number + 1;
                row.expires_at = now + self.idle;
                if again && now - row.used_at < USE_NOTED {
                    return Ok(Redeemed::Followed(Box::new(row)));
                }
                row.used_at = now;
            }
            match self.rows.commit(vec![Write::replace(row_key(&id), &version, &row)?]).await {
                Err(error) if error.is_conflict() => {}
                Err(error) => return Err(error.into()),
                Ok(_) if replayed => {
                    self.forget(&id);
                    return Ok(Redeemed::Replayed(Box::new(row)));
                }
                Ok(_) => return Ok(Redeemed::Followed(Box::new(row))),
            }
        }
    }

    /// The authorization of one of our tokens, expired or not.
    #[must_use]
    pub fn of_token(&self, token: &str) -> Option<String> {
        if token.starts_with(REFRESH) {
            return opened(&self.keyring, REFRESH, token).and_then(|message| numbered(&message)).map(|(id, _)| id);
        }
        let message = opened(&self.keyring, ACCESS, token)?;
        serde_json::from_slice::<Claims>(&message).ok().map(|claims| claims.a)
    }

    /// Ends all authorizations of somebody.
    ///
    /// # Errors
    /// When the store does not take it; those ended by then stay so.
    pub async fn end_all(&self, of: Of<'_>, why: Ending) -> Result<(), StoreError> {
        for authorization in self.list(of).await? {
            self.end(&authorization.id, of, why).await?;
        }
        Ok(())
    }

    /// Ends an authorization, if it is one of a client or of a person; answers it, or `None` where there is no such one.
    ///
    /// # Errors
    /// When the store does not take it.
    pub async fn end(&self, id: &str, of: Of<'_>, why: Ending) -> Result<Option<Authorization>, StoreError> {
        loop {
            let Some((mut row, version)) = self.read(id).await? else { return Ok(None) };
            if !of.covers(&row) {
                return Ok(None);
            }
            if row.ended.is_none() {
                row.ended = Some((self.clock.now(), why));
                match self.rows.commit(vec![Write::replace(row_key(id), &version, &row)?]).await {
                    Err(error) if error.is_conflict() => continue,
                    Err(error) => return Err(error),
                    Ok(_) => {}
                }
            }
            self.forget(id);
            return Ok(Some(row));
        }
    }

    fn forget(&self, id: &str) {
        self.known.lock().remove(id);
    }

    /// All authorizations that hold, the newest first: everybody's, a person's or a client's.
    ///
    /// # Errors
    /// When the store does not answer.
    pub async fn list(&self, of: Of<'_>) -> Result<Vec<Authorization>, StoreError> {
        let now = self.clock.now();
        let rows = self.rows.scan_prefix("authorization|").await?;
        let all = rows.iter().map(crate::rows::Row::decode).collect::<Result<Vec<Authorization>, _>>()?;
        let mut holding: Vec<_> = all.into_iter().filter(|row| row.holds(now) && of.covers(row)).collect();
        holding.sort_by_key(|row| std::cmp::Reverse(row.created_at));
        Ok(holding)
    }
}

/// Whose authorizations are meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Of<'a> {
    /// Everybody's.
    All,
    /// A client's.
    Client(&'a str),
    /// A person's.
    Person(&'a UserId),
}

impl Of<'_> {
    fn covers(self, row: &Authorization) -> bool {
        match self {
            Self::All => true,
            Self::Client(id) => row.client_id == id,
            Self::Person(person) => row.person.as_ref() == Some(person),
        }
    }
}

fn row_key(id: &str) -> String {
    format!("authorization|{id}")
}

/// Id and number of a refresh token.
fn numbered(message: &[u8]) -> Option<(String, u64)> {
    let text = std::str::from_utf8(message).ok()?;
    let (id, number) = text.split_once('.')?;
    Some((id.to_owned(), number.parse().ok()?))
}
