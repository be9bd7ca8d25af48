//! What things are called: users, groups, plans and tasks by id, from what GraphGate remembers.
//!
//! Users and groups are remembered for a day, in rows that all instances share and for a minute in memory; a change
//! notification makes them forgotten at once. Plans and tasks are answered by their replica.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use chrono::{DateTime, TimeDelta, Utc};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::Error;
use super::planner::Planner;
use crate::auth::Caller;
use crate::clock::Clock;
use crate::error::ErrorCode;
use crate::ids::{GroupId, UserId};
use crate::rows::{Expect, Partition, TenantTables, Write};

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
    hits: AtomicU64,
    misses: AtomicU64,
}

impl Cache {
    /// The cache of a tenant.
    #[must_use]
    pub fn new(tables: &TenantTables, clock: Clock) -> Self {
        let (memory, hits, misses) = (Mutex::default(), AtomicU64::new(0), AtomicU64::new(0));
        Self { rows: tables.partition("metadata"), clock, memory, hits, misses }
    }

    /// Lookups answered from what is remembered, and those that asked the directory.
    #[must_use]
    pub fn hits_and_misses(&self) -> (u64, u64) {
        (self.hits.load(Ordering::Relaxed), self.misses.load(Ordering::Relaxed))
    }

    /// Looks a thing up, remembered or not.
    ///
    /// # Errors
    /// As [`lookup`].
    pub async fn lookup(
        &self,
        planner: &Arc<Planner>,
        caller: &Caller,
        kind: &str,
        id: &str,
    ) -> Result<Metadata, Error> {
        // A group may have been remembered by a deployment that served more groups.
        let served = kind != "group"
            || GroupId::parse(&id.trim().to_lowercase()).is_ok_and(|group| planner.catalog().serves_group(&group));
        let Some(key) = key(kind, id).filter(|_| served && caller.plan_scope.is_everywhere()) else {
            return lookup(planner, caller, kind, id).await;
        };
        if let Some(known) = self.recall(&key).await? {
            self.hits.fetch_add(1, Ordering::Relaxed);
            return Ok(known);
        }
        self.misses.fetch_add(1, Ordering::Relaxed);
        let asked_at = self.clock.now();
        let found = lookup(planner, caller, kind, id).await?;
        let read = (found.clone(), asked_at);
        self.rows.commit(vec![Write::upsert(&*key, &read)?]).await?;
        self.keep(key, read, asked_at);
        Ok(found)
    }

    async fn recall(&self, key: &str) -> Result<Option<Metadata>, Error> {
        let now = self.clock.now();
        let alive = |(_, at): &Read| now - *at < LIFE;
        let kept = self.memory.lock().unwrap_or_else(PoisonError::into_inner).get(key).cloned();
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
        let mut memory = self.memory.lock().unwrap_or_else(PoisonError::into_inner);
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
        self.memory.lock().unwrap_or_else(PoisonError::into_inner).remove(&key);
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

/// Looks a thing up.
///
/// # Errors
/// When the kind is unknown or there is no such thing.
async fn lookup(planner: &Arc<Planner>, caller: &Caller, kind: &str, id: &str) -> Result<Metadata, Error> {
    let details = |value: serde_json::Result<Value>| value.unwrap_or_default();
    let answer = |id: String, name: String, details: Value| Metadata { kind: kind.to_owned(), id, name, details };
    match kind {
        "user" => {
            let person = planner.person(caller, None, id).await?;
            Ok(answer(person.id.to_string(), person.name.clone(), details(serde_json::to_value(person.as_ref()))))
        }
        "plan" => {
            let plan = planner.get_plan(caller, Some(id), None).await?;
            Ok(answer(plan.id.clone(), plan.title.clone(), details(serde_json::to_value(&plan))))
        }
        "task" => {
            let task = planner.get_task(caller, id, None).await?;
            Ok(answer(task.id.clone(), task.title.clone(), details(serde_json::to_value(&task))))
        }
        "group" => {
            let listing = planner.catalog().list(&caller.plan_scope, false).await?;
            let group = super::planner::group_of(&listing, id)?;
            let plans: Vec<_> = listing.plans.iter().filter(|plan| plan.group.as_ref() == Some(&group)).collect();
            let Some(first) = plans.first() else {
                return Err(Error::new(ErrorCode::TeamNotFound, format!("no group `{id}` with plans is known")));
            };
            let name = first.group_name.clone().unwrap_or_default();
            let group = first.group.as_ref().map(ToString::to_string).unwrap_or_default();
            let plans: Vec<Value> =
                plans.iter().map(|plan| serde_json::json!({"id": plan.id, "title": plan.title})).collect();
            Ok(answer(group, name, serde_json::json!({"plans": plans})))
        }
        other => Err(Error::invalid(format!("`{other}` is no kind of thing")).hint("use user, group, plan or task")),
    }
}
