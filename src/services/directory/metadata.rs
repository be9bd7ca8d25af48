//! What users and groups are called, remembered for a day: in rows that all instances share, and for a minute in memory.
//! A change notification makes them forgotten at once.

use std::collections::HashMap;

use chrono::{DateTime, TimeDelta, Utc};
use parking_lot::Mutex;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::clock::Clock;
use crate::ids::{GroupId, UserId};
use crate::rows::{Expect, Partition, TenantTables, Write};
use crate::services::Error;
use crate::telemetry::metrics::Lookups;

/// A thing and what it is called.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Metadata {
    /// `user`, `group`, `plan` or `task`.
    #[serde(rename = "type")]
    #[schemars(extend("enum" = ["user", "group", "plan", "task"]))]
    pub kind: String,
    /// Its id.
    pub id: String,
    /// What it is called.
    pub name: String,
    /// What else is known; depends on the type.
    #[schemars(with = "serde_json::Map<String, Value>")]
    pub details: Value,
}

/// How long what was read is believed, unless a notification says otherwise.
const LIFE: TimeDelta = TimeDelta::hours(24);
/// How long an instance answers without reading the shared rows.
const MEMORY: TimeDelta = TimeDelta::minutes(1);
/// Most things an instance keeps in memory.
const CAPACITY: usize = 5000;

/// A thing and when the directory was asked for it.
type Read = (Metadata, DateTime<Utc>);

/// What is remembered of users and groups.
pub struct Cache {
    rows: Partition,
    clock: Clock,
    /// The same, with the time of the last read of the row.
    memory: Mutex<HashMap<String, (Read, DateTime<Utc>)>>,
    lookups: Lookups,
}

impl Cache {
    /// The cache of a tenant.
    #[must_use]
    pub fn new(tables: &TenantTables, clock: Clock) -> Self {
        let (memory, lookups) = (Mutex::default(), Lookups::default());
        Self { rows: tables.partition("metadata"), clock, memory, lookups }
    }

    /// Lookups answered from what is remembered, and those that asked the directory.
    #[must_use]
    pub const fn lookups(&self) -> &Lookups {
        &self.lookups
    }

    /// Who or what a key of the directory means: from memory, or else from `look_up`, whose answer is remembered.
    ///
    /// # Errors
    /// When it cannot be looked up, or the store fails.
    pub(in crate::services) async fn remembered(
        &self,
        kind: &str,
        id: &str,
        look_up: impl Future<Output = Result<Metadata, Error>>,
    ) -> Result<Metadata, Error> {
        let Some(key) = key(kind, id) else { return look_up.await };
        if let Some(known) = self.recall(&key).await? {
            self.lookups.hit();
            return Ok(known);
        }
        self.lookups.miss();
        let asked_at = self.clock.now();
        let found = look_up.await?;
        let read = (found.clone(), asked_at);
        self.rows.commit(vec![Write::upsert(&*key, &read)?]).await?;
        self.keep(key, read, asked_at);
        Ok(found)
    }

    async fn recall(&self, key: &str) -> Result<Option<Metadata>, Error> {
        let now = self.clock.now();
        let alive = |(_, at): &Read| now - *at < LIFE;
        let kept = self.memory.lock().get(key).cloned();
        if let Some((read, read_at)) = kept
            && now - read_at < MEMORY
            && alive(&read)
        {
            return Ok(Some(read.0));
        }
        let row = self.rows.get(key).await?;
        // A row of another version of the program is as good as none.
        let Some(read) = row.and_then(|row| row.decode::<Read>().ok()).filter(alive) else { return Ok(None) };
        self.keep(key.to_owned(), read.clone(), now);
        Ok(Some(read.0))
    }

    fn keep(&self, key: String, read: Read, read_at: DateTime<Utc>) {
        let mut memory = self.memory.lock();
        if memory.len() >= CAPACITY {
            memory.clear();
        }
        memory.insert(key, (read, read_at));
    }

    /// Forgets a thing, on every instance within a minute.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn forget(&self, kind: &str, id: &str) -> Result<(), Error> {
        let Some(key) = key(kind, id) else { return Ok(()) };
        self.memory.lock().remove(&key);
        self.rows.commit(vec![Write::delete(key, Expect::Anything)]).await?;
        Ok(())
    }
}

/// The row's key, for a kind that is remembered and a proper id.
fn key(kind: &str, id: &str) -> Option<String> {
    let id = id.trim().to_lowercase();
    let proper = match kind {
        "user" => UserId::parse(&id).is_ok(),
        "group" => GroupId::parse(&id).is_ok(),
        _ => false,
    };
    proper.then(|| format!("{kind}|{id}"))
}
