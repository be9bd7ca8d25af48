//! A queue kept as rows: durable in the embedded store, forgetful in memory, and at hand wherever rows are.
//!
//! A row's key starts with the instant from which its message may be seen, so that receiving is a scan up to the present.
//! Handing a message out moves its row to a later instant, in one transaction with a condition on the version: of two
//! receivers one gets it.
//!
//! The instants are of the machine's time of day, because other processes read them. Where that was set back, messages
//! would be hidden for as long; so the first receipt of a process, and the first after the time was set back, brings
//! those forward that are hidden for longer than they were meant to be.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use chrono::{DateTime, TimeDelta, Utc};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

use crate::clock::Clock;
use crate::ids::Entropy;
use crate::queue::{MAX_DEQUEUES, MAX_RECEIVE, Message, Poisoned, Queue, QueueState, Wanted, check_message};
use crate::rows::{Expect, Row, RowVersion, StoreError, Tables, Write};

/// How often receiving starts over because others were faster.
const ROUNDS: usize = 10;
/// Most rows counted for a queue's state.
const COUNTED: usize = 1000;
/// A time of day that lags this much further behind than before was set back.
const SET_BACK: TimeDelta = TimeDelta::seconds(1);
/// Most messages brought forward in one transaction.
const TOGETHER: usize = 32;

/// A queue in a store of rows.
pub struct RowQueue {
    tables: Arc<dyn Tables>,
    name: String,
    partition: String,
    clock: Clock,
    entropy: Entropy,
    /// Receivers of one process take turns: they would only steal each other's messages.
    receiving: tokio::sync::Mutex<()>,
    /// How far the time of day lagged behind steady time when messages were last brought forward.
    lag: Mutex<Option<TimeDelta>>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
struct Stored {
    id: String,
    text: String,
    count: u32,
    sent_at: DateTime<Utc>,
    /// For how long the row hides it.
    #[serde(default)]
    hidden_ms: Option<i64>,
}

impl RowQueue {
    /// The queue `name` in `tables`.
    pub fn new(tables: Arc<dyn Tables>, name: &str, clock: Clock, entropy: Entropy) -> Self {
        let partition = format!("queue|{name}");
        Self {
            tables,
            name: name.to_owned(),
            partition,
            clock,
            entropy,
            receiving: tokio::sync::Mutex::default(),
            lag: Mutex::default(),
        }
    }

    async fn rows(&self, prefix: &str, until: &str, limit: usize) -> Result<Vec<Row>, StoreError> {
        let mut rows = Vec::new();
        let mut from = prefix.to_owned();
        while rows.len() < limit {
            let page = self.tables.scan(&self.partition, &from, until, limit - rows.len()).await?;
            rows.extend(page.rows);
            match page.next {
                Some(next) => from = next,
                None => break,
            }
        }
        Ok(rows)
    }

    /// One round of receiving: `None` when another receiver was faster.
    async fn take(&self, limit: usize, visibility: Duration) -> Result<Option<Vec<Message>>, StoreError> {
        let now = self.clock.now();
        let rows = self.rows(SEEN, &seen_from(now, 1), limit).await?;
        let (mut writes, mut taken) = (Vec::new(), Vec::new());
        for row in rows {
            let mut stored: Stored = row.decode()?;
            writes.push(Write::delete(&*row.key, Expect::Version(row.version.clone())));
            if stored.count >= MAX_DEQUEUES {
                writes.push(Write::insert(format!("{POISON}{}", stored.id), &stored)?);
                continue;
            }
            stored.count += 1;
            stored.hidden_ms = Some(millis(visibility));
            let key = key(now, visibility, &stored.id);
            taken.push((writes.len(), key.clone(), stored.clone()));
            writes.push(Write::insert(key, &stored)?);
        }
        if writes.is_empty() {
            return Ok(Some(Vec::new()));
        }
        let versions = match self.tables.commit(&self.partition, writes).await {
            Ok(versions) => versions,
            Err(StoreError::Conflict { .. }) => return Ok(None),
            Err(error) => return Err(error),
        };
        let message = |(place, key, stored): (usize, String, Stored)| {
            let version = versions.get(place)?.as_ref()?;
            Some(Message {
                id: stored.id,
                text: stored.text,
                dequeue_count: stored.count,
                sent_at: stored.sent_at,
                receipt: format!("{key} {}", version.0).into(),
            })
        };
        Ok(Some(taken.into_iter().filter_map(message).collect()))
    }

    /// Brings messages forward that are hidden for longer than they were meant to be.
    async fn bring_forward(&self) -> Result<(), StoreError> {
        let lag = self.clock.steady() - self.clock.now();
        let known = || self.lag.lock();
        if known().is_some_and(|known| lag - known < SET_BACK) {
            return Ok(());
        }
        let now = self.clock.now();
        let hidden = self.rows(&seen_from(now, 1), &crate::rows::prefix_end(SEEN), COUNTED).await?;
        let mut writes = Vec::new();
        for row in hidden {
            let stored: Stored = row.decode()?;
            let Some(meant) = stored.hidden_ms else { continue };
            if row.key > seen_from(now, meant.saturating_add(SET_BACK.num_milliseconds())) {
                writes.push(Write::delete(&*row.key, Expect::Version(row.version.clone())));
                writes.push(Write::insert(format!("{}|{}", seen_from(now, meant), stored.id), &stored)?);
            }
        }
        for writes in writes.chunks(2 * TOGETHER) {
            self.settle(writes.to_vec()).await?;
        }
        *known() = Some(lag);
        Ok(())
    }

    async fn settle(&self, writes: Vec<Write>) -> Result<(), StoreError> {
        match self.tables.commit(&self.partition, writes).await {
            Ok(_) | Err(StoreError::Conflict { .. }) => Ok(()), // somebody else has it now
            Err(error) => Err(error),
        }
    }
}

/// The keys of messages: by the instant from which they may be seen.
const SEEN: &str = "m|";
const POISON: &str = "x|";

/// The start of the keys of messages that may be seen `later` milliseconds after `now`.
fn seen_from(now: DateTime<Utc>, later: i64) -> String {
    format!("{SEEN}{:015}", now.timestamp_millis().saturating_add(later).max(0))
}

fn key(now: DateTime<Utc>, delay: Duration, id: &str) -> String {
    format!("{}|{id}", seen_from(now, millis(delay)))
}

fn millis(delay: Duration) -> i64 {
    i64::try_from(delay.as_millis()).unwrap_or(i64::MAX)
}

fn receipt(message: &Message) -> Option<(&str, RowVersion)> {
    let (key, version) = message.receipt.split_once(' ')?;
    Some((key, RowVersion(version.into())))
}

#[async_trait]
impl Queue for RowQueue {
    fn name(&self) -> &str {
        &self.name
    }

    async fn send(&self, text: &str, delay: Duration) -> Result<(), StoreError> {
        check_message(text)?;
        let now = self.clock.now();
        let hidden_ms = Some(millis(delay));
        let stored = Stored { id: self.entropy.ulid(now), text: text.to_owned(), count: 0, sent_at: now, hidden_ms };
        let row = Write::insert(key(now, delay, &stored.id), &stored)?;
        self.tables.commit(&self.partition, vec![row]).await.map(drop)
    }

    async fn receive(&self, limit: usize, visibility: Duration) -> Result<Vec<Message>, StoreError> {
        let _turn = self.receiving.lock().await;
        self.bring_forward().await?;
        for _ in 0..ROUNDS {
            if let Some(messages) = self.take(limit.clamp(1, MAX_RECEIVE), visibility).await? {
                return Ok(messages);
            }
        }
        Ok(Vec::new())
    }

    async fn delete(&self, message: &Message) -> Result<(), StoreError> {
        let Some((key, version)) = receipt(message) else { return Ok(()) };
        self.settle(vec![Write::delete(key, Expect::Version(version))]).await
    }

    async fn postpone(&self, message: &Message, delay: Duration) -> Result<(), StoreError> {
        let Some((old, version)) = receipt(message) else { return Ok(()) };
        let new = key(self.clock.now(), delay, &message.id);
        let Message { id, text, dequeue_count: count, sent_at, .. } = message.clone();
        let stored = Stored { id, text, count, sent_at, hidden_ms: Some(millis(delay)) };
        if new == old {
            return self.settle(vec![Write::replace(new, &version, &stored)?]).await;
        }
        self.settle(vec![Write::delete(old, Expect::Version(version)), Write::insert(new, &stored)?]).await
    }

    async fn state(&self) -> Result<QueueState, StoreError> {
        let waiting = self.rows(SEEN, &crate::rows::prefix_end(SEEN), COUNTED).await?;
        let poisoned = self.rows(POISON, &crate::rows::prefix_end(POISON), COUNTED).await?;
        let due = seen_from(self.clock.now(), 1);
        let seen = waiting.iter().take_while(|row| row.key < due);
        let oldest_at = seen.filter_map(|row| Some(row.decode::<Stored>().ok()?.sent_at)).min();
        Ok(QueueState { waiting: waiting.len(), oldest_at, poisoned: poisoned.len() })
    }

    async fn poisoned(&self, limit: usize) -> Result<Vec<Poisoned>, StoreError> {
        let rows = self.rows(POISON, &crate::rows::prefix_end(POISON), limit.clamp(1, MAX_RECEIVE)).await?;
        let shown = rows.iter().map(|row| {
            let stored: Stored = row.decode()?;
            Ok(Poisoned { id: stored.id, at: stored.sent_at, bytes: stored.text.len() })
        });
        shown.collect()
    }

    async fn redrive(&self, limit: usize, wanted: Wanted<'_>) -> Result<usize, StoreError> {
        let rows = self.rows(POISON, &crate::rows::prefix_end(POISON), COUNTED).await?;
        let (now, mut count) = (self.clock.now(), 0);
        let mut writes = Vec::new();
        for row in rows {
            let mut stored: Stored = row.decode()?;
            if count == limit.clamp(1, MAX_RECEIVE) {
                break;
            }
            if !wanted(&stored.text) {
                continue;
            }
            count += 1;
            stored.count = 0;
            writes.push(Write::delete(&*row.key, Expect::Version(row.version.clone())));
            writes.push(Write::insert(key(now, Duration::ZERO, &stored.id), &stored)?);
        }
        if writes.is_empty() {
            return Ok(0);
        }
        match self.tables.commit(&self.partition, writes).await {
            Ok(_) => Ok(count),
            Err(StoreError::Conflict { .. }) => Ok(0), // another instance does it
            Err(error) => Err(error),
        }
    }
}
