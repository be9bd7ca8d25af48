//! Messages that were given up on after five tries: reported, shown, and tried again.
//!
//! What an outage has used up the tries of comes back by itself, until it is over. What failed for a reason that does not
//! pass is noted when it fails; it stays until a person has it tried again. No text of a message is shown, because
//! notifications carry the secret of their subscription.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use chrono::{DateTime, TimeDelta, Utc};
use parking_lot::Mutex;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Error;
use crate::clock::Clock;
use crate::error::ErrorCode;
use crate::ids::digest;
use crate::queue::{MAX_RECEIVE, Poisoned, Queue};
use crate::rows::{Expect, Partition, Row, StoreError, TenantTables, Write};
use crate::services::print_time;

/// How long a count is good enough for health.
const COUNTED: TimeDelta = TimeDelta::seconds(60);

/// How often a message comes back by itself: for a day, at a quarter of an hour each.
const MOST_RETURNS: u32 = 96;
/// Notes are kept longer than a storage service keeps messages, which is a week.
const NOTED: TimeDelta = TimeDelta::days(8);

/// What is known of a message that failed.
#[derive(Debug, Serialize, Deserialize)]
struct Note {
    /// It failed for a reason that does not pass.
    hopeless: bool,
    /// How often it has come back by itself.
    returns: u32,
    at: DateTime<Utc>,
}

/// The poison sides of all queues.
pub struct Poison {
    queues: Vec<Arc<dyn Queue>>,
    rows: Partition,
    counted: Mutex<Option<(DateTime<Utc>, usize)>>,
    clock: Clock,
}

/// A queue.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct QueueView {
    /// Its name.
    pub queue: String,
    /// Messages that wait, about; 1000 means at least that many.
    pub waiting: usize,
    /// When the oldest of them was sent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub oldest_at: Option<String>,
    /// Messages given up on.
    pub poisoned: usize,
}

/// A message that was given up on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct PoisonView {
    /// The queue it was in.
    pub queue: String,
    /// Its id.
    pub id: String,
    /// When it was sent, or, where the host has moved it, when that was.
    pub at: String,
    /// How long it is.
    pub bytes: usize,
}

/// What a queue's messages came to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Redriven {
    /// The queue.
    pub queue: String,
    /// Messages that are tried again.
    pub messages: usize,
}

/// What a sweep of all queues found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Swept {
    /// Messages given up on, in all queues.
    pub poisoned: usize,
    /// Messages that an outage had used up the tries of, and that are tried again.
    pub returned: usize,
}

impl Poison {
    /// The service over queues; what is known of failed messages is kept in `tables`.
    #[must_use]
    pub fn new(queues: Vec<Arc<dyn Queue>>, tables: &TenantTables, clock: Clock) -> Self {
        Self { queues, rows: tables.partition("failed"), counted: Mutex::default(), clock }
    }

    /// Notes that a message failed for a reason that does not pass. A note that cannot be written costs a few tries.
    pub async fn note_hopeless(&self, queue: &str, text: &str) {
        let note = Note { hopeless: true, returns: 0, at: self.clock.now() };
        let write = async { self.rows.commit(vec![Write::upsert(key(queue, text), &note)?]).await };
        if let Err(error) = write.await {
            tracing::warn!(queue, %error, "a failed message cannot be noted");
        }
    }

    async fn notes(&self) -> Result<Vec<(Row, Note)>, StoreError> {
        let rows = self.rows.scan_prefix("").await?;
        let read = |row: Row| {
            let note: Note = row.decode()?;
            Ok::<_, StoreError>((row, note))
        };
        rows.into_iter().map(read).collect()
    }

    /// Has what an outage used up the tries of tried again; answers how many messages.
    async fn send_back(&self) -> Result<usize, Error> {
        let now = self.clock.now();
        let notes = self.notes().await?;
        let stay: HashSet<&str> = notes
            .iter()
            .filter(|(_, note)| note.hopeless || note.returns >= MOST_RETURNS)
            .map(|(row, _)| row.key.as_str())
            .collect();
        let returns: HashMap<&str, u32> = notes.iter().map(|(row, note)| (row.key.as_str(), note.returns)).collect();
        let mut returned = 0;
        for queue in &self.queues {
            let moved: Mutex<Vec<String>> = Mutex::default();
            let wanted = |text: &str| {
                let key = key(queue.name(), text);
                let wanted = !stay.contains(key.as_str());
                if wanted {
                    moved.lock().push(key);
                }
                wanted
            };
            let mut all = queue.state().await?.poisoned;
            while all > 0 {
                let count = queue.redrive(MAX_RECEIVE.min(all), &wanted).await?;
                if count == 0 {
                    break;
                }
                (all, returned) = (all.saturating_sub(count), returned + count);
            }
            for key in moved.into_inner() {
                let returns = returns.get(key.as_str()).copied().unwrap_or_default() + 1;
                let note = Note { hopeless: false, returns, at: now };
                self.rows.commit(vec![Write::upsert(key, &note)?]).await?;
            }
        }
        self.forget(notes.iter().filter(|(_, note)| now - note.at > NOTED).map(|(row, _)| row.key.as_str())).await?;
        Ok(returned)
    }

    async fn forget(&self, keys: impl Iterator<Item = &str>) -> Result<(), StoreError> {
        for key in keys {
            self.rows.commit(vec![Write::delete(key, Expect::Anything)]).await?;
        }
        Ok(())
    }

    /// Has what an outage used up the tries of tried again, and tells of what was given up on for good: what the timer
    /// calls. The log line is what alerts listen for.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn sweep(&self) -> Result<Swept, Error> {
        let returned = self.send_back().await?;
        if returned > 0 {
            tracing::warn!(messages = returned, "messages that an outage had used up the tries of are tried again");
        }
        let mut poisoned = 0;
        for queue in self.list().await?.into_iter().filter(|queue| queue.poisoned > 0) {
            poisoned += queue.poisoned;
            tracing::error!(
                queue = queue.queue,
                messages = queue.poisoned,
                "messages lie in the poison queue; `graphgate queue redrive` tries them again"
            );
        }
        Ok(Swept { poisoned, returned })
    }

    /// How many messages were given up on, counted a minute ago at most.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn count(&self) -> Result<usize, Error> {
        let now = self.clock.steady();
        let known = *self.counted.lock();
        if let Some((_, count)) = known.filter(|(at, _)| now - *at < COUNTED) {
            return Ok(count);
        }
        let count = self.list().await?.iter().map(|queue| queue.poisoned).sum();
        *self.counted.lock() = Some((now, count));
        Ok(count)
    }

    /// All queues.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn list(&self) -> Result<Vec<QueueView>, Error> {
        let mut views = Vec::with_capacity(self.queues.len());
        for queue in &self.queues {
            let state = queue.state().await?;
            views.push(QueueView {
                queue: queue.name().to_owned(),
                waiting: state.waiting,
                oldest_at: state.oldest_at.map(print_time),
                poisoned: state.poisoned,
            });
        }
        Ok(views)
    }

    /// Messages given up on, of one queue or of all; at most 32 of each.
    ///
    /// # Errors
    /// When there is no such queue, or the store fails.
    pub async fn show(&self, queue: Option<&str>) -> Result<Vec<PoisonView>, Error> {
        let mut views = Vec::new();
        for queue in self.named(queue)? {
            let view = |Poisoned { id, at, bytes }| PoisonView {
                queue: queue.name().to_owned(),
                id,
                at: print_time(at),
                bytes,
            };
            views.extend(queue.poisoned(MAX_RECEIVE).await?.into_iter().map(view));
        }
        Ok(views)
    }

    /// Tries what was given up on again, of one queue or of all.
    ///
    /// # Errors
    /// When there is no such queue, or the store fails; what was moved until then stays moved.
    pub async fn redrive(&self, queue: Option<&str>) -> Result<Vec<Redriven>, Error> {
        let mut redriven = Vec::new();
        for queue in self.named(queue)? {
            let notes = self.notes().await?;
            let first = format!("{}|", queue.name());
            self.forget(notes.iter().map(|(row, _)| row.key.as_str()).filter(|key| key.starts_with(&first))).await?;
            let (mut messages, all) = (0, queue.state().await?.poisoned);
            // What fails again meanwhile is not tried a second time.
            while messages < all {
                let moved = queue.redrive(MAX_RECEIVE.min(all - messages), &|_| true).await?;
                if moved == 0 {
                    break;
                }
                messages += moved;
            }
            redriven.push(Redriven { queue: queue.name().to_owned(), messages });
        }
        *self.counted.lock() = None;
        Ok(redriven)
    }

    fn named(&self, name: Option<&str>) -> Result<Vec<&Arc<dyn Queue>>, Error> {
        let Some(name) = name else { return Ok(self.queues.iter().collect()) };
        let found: Vec<_> = self.queues.iter().filter(|queue| queue.name() == name).collect();
        if found.is_empty() {
            let names: Vec<&str> = self.queues.iter().map(|queue| queue.name()).collect();
            return Err(Error::new(ErrorCode::NotFound, format!("there is no queue `{name}`"))
                .hint(format!("one of: {}", names.join(", "))));
        }
        Ok(found)
    }
}

/// The key of a message's note: no text is kept.
fn key(queue: &str, text: &str) -> String {
    format!("{queue}|{:032x}", digest(&[text]))
}
