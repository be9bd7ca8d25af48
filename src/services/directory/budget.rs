//! What callers may have asked of Microsoft Graph by looking things up: how much, how often, and about whom.
//!
//! What is there is answered from memory and costs nothing. What is not, or has to be fresh, is asked for; a caller who
//! asks for what never was, again and again, would have the tenant throttled for everybody. So a miss is believed for ten
//! seconds, and every caller has a budget of requests by the minute.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::Arc;

use chrono::{DateTime, TimeDelta, Utc};
use parking_lot::Mutex;

use super::Directory;
use super::people::{Person, unknown};
use crate::auth::{Caller, Rate};
use crate::clock::Clock;
use crate::error::ErrorCode;
use crate::ids::GroupId;
use crate::services::Error;

/// How long a miss is believed.
pub(in crate::services) const BELIEVED: TimeDelta = TimeDelta::seconds(10);
/// Answers remembered; with one more, those that are old are forgotten.
const CAPACITY: usize = 10_000;

/// Answers of the last ten seconds.
pub(in crate::services) struct Recent<K, V>(Mutex<HashMap<K, (V, DateTime<Utc>)>>);

impl<K, V> Default for Recent<K, V> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<K: Hash + Eq, V: Clone> Recent<K, V> {
    /// The answer that was noted for a key less than ten seconds ago.
    pub(in crate::services) fn recall(&self, key: &K, now: DateTime<Utc>) -> Option<V> {
        let known = self.0.lock();
        known.get(key).filter(|(_, at)| now - *at < BELIEVED).map(|(answer, _)| answer.clone())
    }

    /// Notes an answer.
    pub(in crate::services) fn note(&self, key: K, answer: V, now: DateTime<Utc>) {
        let mut known = self.0.lock();
        if known.len() >= CAPACITY {
            known.retain(|_, (_, at)| now - *at < BELIEVED);
        }
        if known.len() < CAPACITY {
            known.insert(key, (answer, now));
        }
    }
}

/// What callers may ask Microsoft Graph for by naming what is not known here.
pub struct LookupBudget {
    requests: Rate,
    clock: Clock,
    /// People nobody is called; the text as it was given.
    strangers: Recent<String, ()>,
}

impl LookupBudget {
    /// So many requests a minute for every caller; 0 is no limit.
    pub(super) fn new(per_minute: u32, clock: Clock) -> Self {
        Self { requests: Rate::per_minute(per_minute), clock, strangers: Recent::default() }
    }

    /// Takes requests to Graph out of a caller's budget.
    ///
    /// # Errors
    /// When it is used up.
    pub(in crate::services) fn spend(&self, caller: &Caller, requests: usize) -> Result<(), Error> {
        let requests = u32::try_from(requests).unwrap_or(u32::MAX);
        self.requests.take_some(&caller.name, requests, self.clock.steady()).map_err(|wait| {
            let message = "you have asked for too much that is not known here";
            let error = Error::new(ErrorCode::Throttled, message).hint(
                "leave `fresh` out, use ids that answers gave you; `LOOKUPS_PER_MINUTE` sets how much a caller may ask",
            );
            Error { retry_after: Some(wait), ..error }
        })
    }
}

impl Directory {
    /// The one person a text means: an id, an address or a display name, which means a member of `group` before anybody
    /// else. For callers who may learn of everybody in the tenant.
    ///
    /// # Errors
    /// When nobody or several people are meant, the caller's budget is used up, or the directory cannot be asked.
    pub async fn person(&self, caller: &Caller, group: Option<&GroupId>, text: &str) -> Result<Arc<Person>, Error> {
        if self.people.knows(text) {
            return self.people.resolve_in(text, group).await;
        }
        let key = text.trim().to_lowercase();
        let now = || self.budget.clock.steady();
        if self.budget.strangers.recall(&key, now()).is_some() {
            return Err(unknown(text, &[]));
        }
        self.budget.spend(caller, 1)?;
        let found = self.people.resolve_in(text, group).await;
        if found.as_ref().is_err_and(|error| error.code == ErrorCode::UserNotFound) {
            self.budget.strangers.note(key, (), now());
        }
        found
    }
}
