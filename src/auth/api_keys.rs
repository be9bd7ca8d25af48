//! Keys for callers, kept in the store: a digest, what the key may do, and until when. The key itself is shown once.
//!
//! A key is `gg_ID_SECRET`; the id finds the row, the digest of the whole proves it. A *signing key* (`ggsk_ID_SECRET`)
//! never travels: it [signs requests](super::signed), so its text is kept, sealed. Rows are believed for fifteen seconds,
//! so a revoked key works that long at most (open streams: half a minute, see [`super::Streams`]); while the store does not
//! answer, ten minutes.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use chrono::{DateTime, TimeDelta, Utc};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

use super::rate::Rate;
use super::roles::Role;
use super::secrets::{digest, random};
use super::{Caller, PlanScope, Principal};
use crate::azure::Secret;
use crate::clock::Clock;
use crate::graph::Identity;
use crate::ids::{Entropy, UserId};
use crate::keyring::{Keyring, KeyringError, Sealed};
use crate::rows::{Partition, StoreError, TenantTables, Write};

/// What every key begins with, so that one can be recognised wherever it leaks to.
pub const PREFIX: &str = "gg_";
/// What every signing key begins with.
pub const SIGNING_PREFIX: &str = "ggsk_";
/// Signing keys of one row that are valid at once.
const AT_ONCE: usize = 2;
/// How long a row is believed.
const LIFE: TimeDelta = TimeDelta::seconds(15);
/// How long it holds while the store does not answer.
const LAST_RESORT: TimeDelta = TimeDelta::minutes(10);
/// Ids that lead nowhere which are asked for in a minute, each a read of the store.
const GUESSES: u32 = 120;
/// The one budget of all who guess: who they are is not known.
const ALL: &str = "guesses";
/// Rows remembered; ids that lead nowhere are among them.
const CAPACITY: usize = 1000;

/// A key, as it is kept: everything but the key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyRow {
    /// The part of the key that is no secret.
    pub id: String,
    /// What people call it.
    pub name: String,
    /// SHA-256 of the whole key, in hex; empty for a signing key. The key has 192 random bits: nothing slower is needed.
    digest: String,
    /// The signing keys that are valid, the newest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    signing: Vec<Sealed>,
    /// The person it acts for, and since when that person's account is connected; with another connection it ends.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub acts_for: Option<ActsFor>,
    /// What it may do.
    pub role: Role,
    /// When it was made.
    pub created_at: DateTime<Utc>,
    /// When it ends by itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<DateTime<Utc>>,
    /// When somebody ended it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revoked_at: Option<DateTime<Utc>>,
}

/// A person a key acts for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ActsFor {
    /// The person's object id.
    pub person: UserId,
    /// When the account was connected of which the key was made.
    pub connected_at: DateTime<Utc>,
}

/// A key to be made.
#[derive(Debug, Clone, Default)]
pub struct NewKey {
    /// What people call it.
    pub name: String,
    /// What it may do.
    pub role: Role,
    /// When it ends by itself.
    pub expires_at: Option<DateTime<Utc>>,
    /// The person it acts for.
    pub acts_for: Option<ActsFor>,
}

impl KeyRow {
    /// Whether it signs requests.
    #[must_use]
    pub fn signs(&self) -> bool {
        !self.signing.is_empty()
    }

    /// `active`, `expired` or `revoked`.
    #[must_use]
    pub fn state(&self, now: DateTime<Utc>) -> &'static str {
        match (self.revoked_at, self.expires_at) {
            (Some(_), _) => "revoked",
            (None, Some(end)) if end <= now => "expired",
            _ => "active",
        }
    }

    fn caller(&self) -> Caller {
        Caller {
            name: format!("key:{}", self.id),
            kind: Principal::ApiKey,
            tenant: None,
            object_id: self.acts_for.as_ref().map(|of| of.person.clone()),
            scopes: Vec::new(),
            roles: Vec::new(),
            operation: None,
            authorization: None,
            ends_at: self.expires_at,
            grant: self.role.grant(),
            plan_scope: PlanScope::everywhere().within(self.role.limit()),
            identity: Identity::Application,
        }
    }
}

/// Why a key opens nothing.
#[derive(Debug, Clone, thiserror::Error)]
pub enum KeyError {
    /// It is none of ours, or has ended.
    #[error("the key is unknown, expired or revoked")]
    Refused,
    /// It is one of ours, and its time has passed.
    #[error("the key has expired")]
    Expired,
    /// Too many ids that lead nowhere were asked for: one that is not known yet has to wait.
    #[error("too many unknown keys were tried")]
    TooMany(Duration),
    /// The store does not answer.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A signing key is kept sealed, and the keyring does not open it.
    #[error("the signing key does not open: {0}")]
    Keyring(#[from] KeyringError),
}

/// A key that holds: its caller, and for whom it acts.
pub type Holder = (Caller, Option<ActsFor>);

/// A row, or that there is none, and when it was read.
type Read = (Option<Arc<KeyRow>>, DateTime<Utc>);

/// The keys of a deployment.
pub struct ApiKeys {
    rows: Partition,
    clock: Clock,
    known: Mutex<HashMap<String, Read>>,
    /// Ids asked for that lead nowhere.
    guesses: Rate,
}

impl ApiKeys {
    /// The keys of a tenant.
    #[must_use]
    pub fn new(tables: &TenantTables, clock: Clock) -> Self {
        Self { rows: tables.partition("callers"), clock, known: Mutex::default(), guesses: Rate::per_minute(GUESSES) }
    }

    /// Makes a key for a caller whose operation is noted in the audit log, and answers it with its row; it cannot be shown
    /// a second time.
    ///
    /// # Errors
    /// When the store does not take it.
    pub async fn create(
        &self,
        caller: &Caller,
        entropy: &Entropy,
        key: NewKey,
    ) -> Result<(String, KeyRow), StoreError> {
        let id = new_id(entropy);
        let text = format!("{PREFIX}{id}_{}", random(entropy, 3));
        let row = self.begun(id, key, digest(&text), Vec::new());
        self.insert(caller, &row).await?;
        Ok((text, row))
    }

    /// Makes a signing key, likewise. It acts for nobody but itself.
    ///
    /// # Errors
    /// When the store does not take it, or the keyring cannot seal.
    pub async fn create_signing(
        &self,
        caller: &Caller,
        entropy: &Entropy,
        keyring: &Keyring,
        key: NewKey,
    ) -> Result<(String, KeyRow), KeyError> {
        let id = new_id(entropy);
        let (text, sealed) = signing_key(&id, keyring, entropy)?;
        let row = self.begun(id, key, String::new(), vec![sealed]);
        self.insert(caller, &row).await?;
        Ok((text, row))
    }

    /// Makes the next signing key of a row; the one before stays valid beside it, older ones end. `None` when there is no
    /// such signing key, or it has ended.
    ///
    /// # Errors
    /// When the store does not answer, or the keyring cannot seal.
    pub async fn renew(
        &self,
        caller: &Caller,
        entropy: &Entropy,
        keyring: &Keyring,
        id: &str,
    ) -> Result<Option<(String, KeyRow)>, KeyError> {
        let (text, sealed) = signing_key(id, keyring, entropy)?;
        let now = self.clock.now();
        let renewed = self.change(caller, id, |key| {
            if !key.signs() || key.state(now) != "active" {
                return false;
            }
            key.signing.insert(0, sealed.clone());
            key.signing.truncate(AT_ONCE);
            true
        });
        Ok(renewed.await?.filter(|(_, changed)| *changed).map(|(row, _)| (text, row)))
    }

    fn begun(&self, id: String, key: NewKey, digest: String, signing: Vec<Sealed>) -> KeyRow {
        let NewKey { name, role, expires_at, acts_for } = key;
        let created_at = self.clock.now();
        KeyRow { id, name, digest, signing, acts_for, role, created_at, expires_at, revoked_at: None }
    }

    async fn insert(&self, caller: &Caller, row: &KeyRow) -> Result<(), StoreError> {
        let trace = caller.trace(self.rows.name(), &[("key_id", &row.id)])?;
        let writes = std::iter::once(Write::insert(row_key(&row.id), row)?).chain(trace).collect();
        self.rows.commit(writes).await.map(drop)
    }

    /// All keys, the oldest first.
    ///
    /// # Errors
    /// When the store does not answer.
    pub async fn list(&self) -> Result<Vec<KeyRow>, StoreError> {
        let rows = self.rows.scan_prefix("k|").await?;
        let mut keys: Vec<KeyRow> = rows.iter().map(crate::rows::Row::decode).collect::<Result<_, _>>()?;
        keys.sort_by(|left, right| (left.created_at, &left.id).cmp(&(right.created_at, &right.id)));
        Ok(keys)
    }

    /// Ends a key for good, for a caller whose operation is noted in the audit log; `None` when there is no such key. One
    /// that has ended already stays as it is.
    ///
    /// # Errors
    /// When the store does not answer.
    pub async fn revoke(&self, caller: &Caller, id: &str) -> Result<Option<KeyRow>, StoreError> {
        let now = self.clock.now();
        let ended = self.change(caller, id, |key| {
            let first = key.revoked_at.is_none();
            key.revoked_at.get_or_insert(now);
            first
        });
        Ok(ended.await?.map(|(row, _)| row))
    }

    /// Changes a row, unless `change` says that there is nothing to change; answers the row, and whether it was changed.
    async fn change(
        &self,
        caller: &Caller,
        id: &str,
        change: impl Fn(&mut KeyRow) -> bool,
    ) -> Result<Option<(KeyRow, bool)>, StoreError> {
        for _ in 0..3 {
            let Some(row) = self.rows.get(&row_key(id)).await? else { return Ok(None) };
            let mut key: KeyRow = row.decode()?;
            if !change(&mut key) {
                return Ok(Some((key, false)));
            }
            let trace = caller.trace(self.rows.name(), &[("key_id", id)])?;
            let writes = std::iter::once(Write::replace(row_key(id), &row.version, &key)?).chain(trace).collect();
            match self.rows.commit(writes).await {
                Ok(_) => {
                    self.known.lock().remove(id);
                    return Ok(Some((key, true)));
                }
                Err(error) if error.is_conflict() => {}
                Err(error) => return Err(error),
            }
        }
        Err(StoreError::Unavailable { reason: "the key keeps changing".into() })
    }

    /// Whose key a text is.
    ///
    /// # Errors
    /// When it is nobody's, or has ended, or the store does not answer.
    pub async fn identify(&self, text: &str) -> Result<Holder, KeyError> {
        let id = text.strip_prefix(PREFIX).and_then(|rest| rest.split('_').next()).filter(|id| is_id(id));
        let key = self.row(id.ok_or(KeyError::Refused)?).await?.ok_or(KeyError::Refused)?;
        let proven = verify_slices_are_equal(digest(text).as_bytes(), key.digest.as_bytes()).is_ok();
        match key.state(self.clock.now()) {
            "active" if proven => Ok((key.caller(), key.acts_for.clone())),
            // Only the holder of the key learns it.
            "expired" if proven => Err(KeyError::Expired),
            _ => Err(KeyError::Refused),
        }
    }

    /// The caller whose key has an id, without the key: for work that continues after the call.
    ///
    /// # Errors
    /// When there is no such key, or it has ended, or the store does not answer.
    pub async fn by_id(&self, id: &str) -> Result<Holder, KeyError> {
        let key = self.active(id).await?;
        Ok((key.caller(), key.acts_for.clone()))
    }

    /// The valid signing keys of an id, with the caller that signs with them.
    ///
    /// # Errors
    /// When there are none, or the store or the keyring do not give them.
    pub async fn signing(&self, id: &str, keyring: &Keyring) -> Result<(Caller, Vec<Secret>), KeyError> {
        let key = self.active(id).await?;
        if !key.signs() {
            return Err(KeyError::Refused);
        }
        let opened = |sealed| keyring.unseal(&purpose(id), sealed).map(|text| Secret::new(&text));
        let keys = key.signing.iter().map(opened).collect::<Result<_, _>>()?;
        Ok((key.caller(), keys))
    }

    async fn active(&self, id: &str) -> Result<Arc<KeyRow>, KeyError> {
        let key = self.row(Some(id).filter(|id| is_id(id)).ok_or(KeyError::Refused)?).await?;
        key.filter(|key| key.state(self.clock.now()) == "active").ok_or(KeyError::Refused)
    }

    async fn row(&self, id: &str) -> Result<Option<Arc<KeyRow>>, KeyError> {
        let now = self.clock.steady();
        let known = || self.known.lock().get(id).cloned();
        let young = |life| known().filter(|(_, at)| now - *at < life).map(|(row, _)| row);
        if let Some(row) = young(LIFE) {
            return Ok(row);
        }
        if let Some(wait) = self.guesses.wait(ALL, now).filter(|_| known().is_none()) {
            return Err(KeyError::TooMany(wait));
        }
        match self.rows.get(&row_key(id)).await {
            Ok(row) => {
                let row = row.map(|row| row.decode::<KeyRow>()).transpose()?.map(Arc::new);
                if row.is_none() {
                    let _counted = self.guesses.take(ALL, now);
                }
                let mut known = self.known.lock();
                if known.len() >= CAPACITY {
                    known.retain(|_, (row, at)| row.is_some() && now - *at < LAST_RESORT);
                }
                known.insert(id.to_owned(), (row.clone(), now));
                Ok(row)
            }
            Err(error) => young(LAST_RESORT).ok_or(KeyError::Store(error)),
        }
    }
}

fn new_id(entropy: &Entropy) -> String {
    random(entropy, 1).chars().take(8).collect()
}

/// A new signing key, and the same sealed.
fn signing_key(id: &str, keyring: &Keyring, entropy: &Entropy) -> Result<(String, Sealed), KeyringError> {
    let text = format!("{SIGNING_PREFIX}{id}_{}", random(entropy, 4));
    let sealed = keyring.seal(&purpose(id), &text, entropy)?;
    Ok((text, sealed))
}

/// What a signing key is sealed for: it opens in no other row.
fn purpose(id: &str) -> String {
    format!("signing-key\0{id}")
}

fn row_key(id: &str) -> String {
    format!("k|{id}")
}

fn is_id(text: &str) -> bool {
    text.len() == 8 && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}
