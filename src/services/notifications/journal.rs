//! What was received, for people; and what was done, so that a repetition is known for one.

use chrono::{DateTime, TimeDelta, Utc};
use serde::{Deserialize, Serialize};

use crate::ids::Entropy;
use crate::rows::{Expect, MAX_ROWS_PER_COMMIT, Partition, StoreError, TenantTables, Write, prefix_end};

/// How long a notification is remembered so that its repetitions are dropped.
const REMEMBERED: TimeDelta = TimeDelta::hours(24);
/// How long the log is kept.
const RETENTION: TimeDelta = TimeDelta::days(7);

/// What became of a notification.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// It led to a refresh.
    Done,
    /// The same one was dealt with before.
    Repeated,
    /// Another one of the same resource covered it.
    Merged,
    /// It is not from Graph, or not for us.
    Refused,
}

/// A line of the log. It never holds content or secrets.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// When it was received.
    pub received_at: DateTime<Utc>,
    /// When it was dealt with.
    pub done_at: DateTime<Utc>,
    /// Our key of the subscription; empty where none is known.
    pub subscription: String,
    /// `updated`, `missed` and the like.
    pub change: String,
    /// What became of it.
    pub outcome: Outcome,
    /// What was done, or why it was not.
    pub note: String,
}

/// The rows.
#[derive(Clone)]
pub struct Journal {
    rows: Partition,
    entropy: Entropy,
}

/// Keys that sort the latest first.
fn log_key(at: DateTime<Utc>, entropy: &Entropy) -> String {
    format!("{}{:08x}", log_from(at), entropy.number() >> 32)
}

fn log_from(at: DateTime<Utc>) -> String {
    format!("l|{:013}|", 9_999_999_999_999_i64.saturating_sub(at.timestamp_millis()))
}

fn day(at: DateTime<Utc>) -> i64 {
    at.timestamp().div_euclid(86_400)
}

fn seen_key(day: i64, identity: &str) -> String {
    format!("n|{day:06}|{identity}")
}

impl Journal {
    /// The journal of a tenant.
    #[must_use]
    pub fn new(tables: &TenantTables, entropy: Entropy) -> Self {
        Self { rows: tables.partition("notifications"), entropy }
    }

    /// Whether the notification of this identity was dealt with within a day.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn seen(&self, identity: &str, now: DateTime<Utc>) -> Result<bool, StoreError> {
        for day in [day(now), day(now) - 1] {
            if let Some(row) = self.rows.get(&seen_key(day, identity)).await? {
                return Ok(now - row.decode::<DateTime<Utc>>()? < REMEMBERED);
            }
        }
        Ok(false)
    }

    /// Notes what was done, after it was done: a crash in between does it once more, and never not at all.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn note(&self, identities: &[String], entries: &[Entry], now: DateTime<Utc>) -> Result<(), StoreError> {
        let mut writes = Vec::new();
        let mut identities = identities.to_vec();
        identities.sort();
        identities.dedup();
        for identity in &identities {
            writes.push(Write::upsert(seen_key(day(now), identity), &now)?);
        }
        for entry in entries {
            writes.push(Write::upsert(log_key(entry.done_at, &self.entropy), entry)?);
        }
        while !writes.is_empty() {
            let rest = writes.split_off(writes.len().min(MAX_ROWS_PER_COMMIT));
            self.rows.commit(writes).await?;
            writes = rest;
        }
        Ok(())
    }

    /// The latest entries, the latest first.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn latest(&self, limit: usize) -> Result<Vec<Entry>, StoreError> {
        let page = self.rows.scan("l|", &prefix_end("l|"), limit).await?;
        page.rows.iter().map(crate::rows::Row::decode).collect()
    }

    /// Forgets what is too old to matter; answers how many rows.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn sweep(&self, now: DateTime<Utc>) -> Result<usize, StoreError> {
        let spans = [("n|".to_owned(), seen_key(day(now) - 1, "")), (log_from(now - RETENTION), prefix_end("l|"))];
        let mut swept = 0;
        for (from, to) in spans {
            loop {
                let page = self.rows.scan(&from, &to, MAX_ROWS_PER_COMMIT).await?;
                let writes: Vec<Write> =
                    page.rows.iter().map(|row| Write::delete(&*row.key, Expect::Anything)).collect();
                if writes.is_empty() {
                    break;
                }
                swept += writes.len();
                self.rows.commit(writes).await?;
            }
        }
        Ok(swept)
    }
}
