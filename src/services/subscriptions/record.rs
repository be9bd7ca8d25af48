//! What is remembered of subscriptions: one row for each thing watched, one for each gap.
//!
//! A record is changed only under its version: of three instances that want to act on it, one does.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use sha2::Digest as _;

use super::target::Target;
use crate::auth::StoredCaller;
use crate::ids::Entropy;
use crate::rows::{Expect, Partition, StoreError, TenantTables, Write};
use crate::services::workflow::{Claim, Versioned};

/// How many secrets of former attempts still open notifications: an attempt whose answer was lost may have worked.
const SECRETS: usize = 4;

/// Who wants a subscription.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Origin {
    /// The deployment's settings; it goes when they no longer name it.
    Settings,
    /// A caller, until one takes it back.
    Caller(String),
}

/// Whether a subscription should be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Wanted {
    /// It should.
    Yes,
    /// It should be deleted, and its record with it.
    No,
}

/// Graph's side of a record.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Live {
    /// Graph's id.
    pub id: String,
    /// Where its notifications go.
    pub url: String,
    /// When it was granted or renewed.
    pub granted_at: DateTime<Utc>,
    /// When it ends.
    pub expires_at: DateTime<Utc>,
}

/// Why notifications may have been missed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Cause {
    /// It ended before it was renewed.
    Expired,
    /// Graph does not have it any more.
    Gone,
    /// Graph said that it removed it.
    Removed,
    /// Graph said that it dropped notifications.
    Missed,
    /// Nobody here was there to receive for longer than Graph repeats.
    Outage,
    /// It went to another address.
    Moved,
}

/// A time from which notifications may be missing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Gap {
    /// The record's key.
    pub record: String,
    /// Why.
    pub cause: Cause,
    /// The last instant at which all was well.
    pub began_at: DateTime<Utc>,
    /// When notifications came again.
    pub ended_at: Option<DateTime<Utc>>,
    /// When the look at the world began that made up for it: later than `ended_at`.
    pub resynced_at: Option<DateTime<Utc>>,
}

/// Something that is, or is to be, watched.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// What.
    pub target: Target,
    /// What people call it.
    pub label: String,
    /// Who wants it.
    pub origin: Origin,
    /// Who that is, of a caller: when what that one may do has ended, so has this.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub maker: Option<StoredCaller>,
    /// Whether it should be.
    pub wanted: Wanted,
    /// SHA-256 of the secrets its notifications may carry, the newest last.
    pub secrets: Vec<String>,
    /// Whether an attempt to make one may have worked without our knowing.
    #[serde(default)]
    pub in_doubt: bool,
    /// Graph's side, once there is one.
    pub live: Option<Live>,
    /// The gap that is open: key and content.
    pub gap: Option<(String, Gap)>,
    /// Since when a resync is needed, because changes before were not notified.
    pub resync_since: Option<DateTime<Utc>>,
    /// When the last such look began.
    pub resynced_at: Option<DateTime<Utc>>,
    /// Graph asked for a renewal.
    pub reauthorize: bool,
    /// Who acts on it, when it is tried again, and what went wrong last.
    pub claim: Claim,
    /// When it was declared.
    pub created_at: DateTime<Utc>,
}

impl Record {
    /// A record of something that is to be watched.
    #[must_use]
    pub fn new(target: Target, label: String, origin: Origin, now: DateTime<Utc>) -> Self {
        Self {
            target,
            label,
            origin,
            maker: None,
            wanted: Wanted::Yes,
            secrets: Vec::new(),
            in_doubt: false,
            live: None,
            gap: None,
            resync_since: None,
            resynced_at: None,
            reauthorize: false,
            claim: Claim::default(),
            created_at: now,
        }
    }

    /// Notes that notifications may be missing since `began_at`. A gap that is not made up for yet grows instead.
    pub fn open_gap(&mut self, cause: Cause, began_at: DateTime<Utc>, now: DateTime<Utc>, entropy: &Entropy) {
        if let Some((_, gap)) = &mut self.gap {
            gap.ended_at = None;
            gap.began_at = gap.began_at.min(began_at);
            return;
        }
        let gap = Gap { record: self.target.key(), cause, began_at, ended_at: None, resynced_at: None };
        self.gap = Some((entropy.ulid(now), gap));
    }

    /// Notes that notifications come in again, so that a resync has to begin at `now` or later.
    pub fn end_gap(&mut self, now: DateTime<Utc>) {
        self.resync_since = Some(now);
        if let Some((_, gap)) = &mut self.gap
            && gap.ended_at.is_none()
        {
            gap.ended_at = Some(now);
        }
    }

    /// Makes a secret for the next attempt and remembers its hash.
    pub fn make_secret(&mut self, entropy: &Entropy) -> String {
        let secret = format!("{:016x}{:016x}{:016x}", entropy.number(), entropy.number(), entropy.number());
        self.secrets.push(hash(&secret));
        let surplus = self.secrets.len().saturating_sub(SECRETS);
        self.secrets.drain(..surplus);
        secret
    }

    /// Whether `text` is one of its secrets; takes the same time whichever and however wrong it is.
    #[must_use]
    pub fn opens(&self, text: &str) -> bool {
        self.has(&hash(text))
    }

    /// What stands for a secret in a message of ours; a reader cannot tell the secret.
    #[must_use]
    pub fn hashed(text: &str) -> String {
        hash(text)
    }

    /// Whether `text` is what [`Self::hashed`] makes of one of its secrets.
    #[must_use]
    pub fn has(&self, text: &str) -> bool {
        let same = |known: &String| {
            aws_lc_rs::constant_time::verify_slices_are_equal(known.as_bytes(), text.as_bytes()).is_ok()
        };
        self.secrets.iter().fold(false, |found, known| same(known) | found)
    }

    /// Whether notifications come in at `now`.
    #[must_use]
    pub fn is_active(&self, now: DateTime<Utc>) -> bool {
        self.live.as_ref().is_some_and(|live| live.expires_at > now)
    }
}

/// SHA-256 as text.
fn hash(text: &str) -> String {
    sha2::Sha256::digest(text.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The rows.
#[derive(Clone)]
pub struct SubscriptionStore {
    pub(super) rows: Partition,
}

const RECORD: &str = "s|";
const GAP: &str = "g|";
/// When the reconciler last checked everything.
const LOOKED: &str = "looked";

impl SubscriptionStore {
    /// The book of a tenant.
    #[must_use]
    pub fn new(tables: &TenantTables) -> Self {
        Self { rows: tables.partition("subscriptions") }
    }

    /// Every record.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn all(&self) -> Result<Vec<Versioned<Record>>, StoreError> {
        Versioned::scan(&self.rows, RECORD).await
    }

    /// The record of a key.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn get(&self, key: &str) -> Result<Option<Versioned<Record>>, StoreError> {
        Versioned::get(&self.rows, &format!("{RECORD}{key}")).await
    }

    /// Writes a record that must not exist.
    ///
    /// # Errors
    /// A conflict when it does.
    pub async fn insert(&self, record: &Record) -> Result<(), StoreError> {
        let write = Write::insert(format!("{RECORD}{}", record.target.key()), record)?;
        self.rows.commit(vec![write]).await.map(drop)
    }

    /// Writes a record over the version that was read, with the gaps that changed with it. `None` when another instance was
    /// faster.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn replace(
        &self,
        kept: &Versioned<Record>,
        gaps: &[(String, Gap)],
    ) -> Result<Option<Versioned<Record>>, StoreError> {
        let gaps = gaps.iter().map(|(key, gap)| Write::upsert(format!("{GAP}{key}"), gap));
        let mut kept = kept.clone();
        Ok(kept.write(&self.rows, gaps.collect::<Result<_, _>>()?).await?.then_some(kept))
    }

    /// Removes a record in the version that was read.
    ///
    /// # Errors
    /// A conflict when another instance was faster.
    pub async fn remove(&self, kept: &Versioned<Record>) -> Result<(), StoreError> {
        self.rows.commit(vec![kept.deletion()]).await.map(drop)
    }

    /// Every gap, the oldest first.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn gaps(&self) -> Result<Vec<Gap>, StoreError> {
        let rows = self.rows.scan_prefix(GAP).await?;
        rows.iter().map(crate::rows::Row::decode).collect()
    }

    /// Removes gaps that were made up for and began before `time`.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn forget_gaps(&self, time: DateTime<Utc>, entropy: &Entropy) -> Result<(), StoreError> {
        let until: String = entropy.ulid(time).chars().take(10).collect();
        let page = self.rows.scan(GAP, &format!("{GAP}{until}"), 100).await?;
        let over = page.rows.iter().filter(|row| row.decode::<Gap>().is_ok_and(|gap| gap.resynced_at.is_some()));
        let writes: Vec<Write> = over.map(|row| Write::delete(&*row.key, Expect::Anything)).collect();
        if writes.is_empty() {
            return Ok(());
        }
        self.rows.commit(writes).await.map(drop)
    }

    /// When everything was last checked.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn checked_at(&self) -> Result<Option<DateTime<Utc>>, StoreError> {
        self.rows.get(LOOKED).await?.map(|row| row.decode()).transpose()
    }

    /// Notes that everything was checked.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn look(&self, now: DateTime<Utc>) -> Result<(), StoreError> {
        self.rows.commit(vec![Write::upsert(LOOKED, &now)?]).await.map(drop)
    }
}

#[cfg(test)]
mod tests {
    use super::super::target::{Content, Kind};
    use super::*;

    #[test]
    fn client_states_of_late_attempts_are_accepted_and_no_others() {
        let target = Target::new(Kind::Users, Vec::new(), Content::Without).unwrap();
        let mut record = Record::new(target, "users".into(), Origin::Settings, DateTime::UNIX_EPOCH);
        assert!(!record.opens(""), "without a secret nothing opens");
        let entropy = Entropy::seeded(1);
        let secrets: Vec<String> = (0..=SECRETS).map(|_| record.make_secret(&entropy)).collect();
        assert!(!record.opens(&secrets[0]) && secrets[1..].iter().all(|secret| record.opens(secret)));
        for wrong in ["", &secrets[1][1..], &format!("{}x", secrets[1]), &record.secrets[0]] {
            assert!(!record.opens(wrong), "{wrong}");
        }
        assert!(!serde_json::to_string(&record).unwrap().contains(&secrets[2]), "no secret is kept");
    }
}
