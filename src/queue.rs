//! The shape of work that waits: messages in a queue, handed out again until somebody says they are done.
//!
//! This is the vocabulary of Azure Storage Queues, which every backend speaks: a message is handed out at least once,
//! in no promised order, is invisible for a while after that, and comes back unless it is deleted. After
//! [`MAX_DEQUEUES`] times it goes to the queue's poison side, where it waits for [`Queue::redrive`]. Those who send and
//! receive (`services`) and the backends (`store`) meet here and nowhere else.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::clock::Clock;
use crate::ids::Entropy;
use crate::rows::{Expect, StoreError, Tables, Write, scan_prefix};

/// Most bytes of a message (Learn: about Azure Storage Queues).
pub const MAX_MESSAGE: usize = 64 * 1024;
/// How often a message is handed out before it counts as poison: the Functions host's default, too.
pub const MAX_DEQUEUES: u32 = 5;
/// Most messages received at once (same source as [`MAX_MESSAGE`]).
pub const MAX_RECEIVE: usize = 32;

/// A message that was handed out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// Its id, the same every time it is handed out.
    pub id: String,
    /// The content: JSON text.
    pub text: String,
    /// How often it was handed out, this time included.
    pub dequeue_count: u32,
    /// When it was sent.
    pub sent_at: DateTime<Utc>,
    /// Proves to the queue that this receiver has it; void once it is handed out again.
    pub receipt: Arc<str>,
}

/// How a queue is doing.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct QueueState {
    /// Messages not done yet, about; 1,000 means at least that many.
    pub waiting: usize,
    /// When the oldest of those that can be received was sent.
    pub oldest_at: Option<DateTime<Utc>>,
    /// Messages given up on, about.
    pub poisoned: usize,
}

/// A message that was given up on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Poisoned {
    /// Its id.
    pub id: String,
    /// When it was sent, or, where the backend has moved it to another queue, when that was.
    pub at: DateTime<Utc>,
    /// How long its text is.
    pub bytes: usize,
}

/// A backend that keeps one queue.
#[async_trait]
pub trait Queue: Send + Sync + 'static {
    /// Its name.
    fn name(&self) -> &str;

    /// Sends a message, to be seen after `delay`. When this returns, the message survives a crash.
    ///
    /// # Errors
    /// [`StoreError::TooLarge`] above [`MAX_MESSAGE`]. After [`StoreError::Unavailable`] it may have been sent all the same.
    async fn send(&self, text: &str, delay: Duration) -> Result<(), StoreError>;

    /// Hands out up to `limit` messages (at most [`MAX_RECEIVE`]); nobody else gets them for `visibility`.
    async fn receive(&self, limit: usize, visibility: Duration) -> Result<Vec<Message>, StoreError>;

    /// Says that a message is done. One that was handed out to somebody else meanwhile stays theirs.
    async fn delete(&self, message: &Message) -> Result<(), StoreError>;

    /// Gives a message back, to be seen again after `delay`. One that was handed out to somebody else stays theirs.
    async fn postpone(&self, message: &Message, delay: Duration) -> Result<(), StoreError>;

    /// How the queue is doing.
    async fn state(&self) -> Result<QueueState, StoreError>;

    /// Peeks at up to `limit` poisoned messages (at most [`MAX_RECEIVE`]).
    async fn poisoned(&self, limit: usize) -> Result<Vec<Poisoned>, StoreError>;

    /// Sends up to `limit` poisoned messages again whose texts are wanted, as if they were new; answers how many.
    async fn redrive(&self, limit: usize, wanted: Wanted<'_>) -> Result<usize, StoreError>;
}

/// Which texts are wanted.
pub type Wanted<'a> = &'a (dyn Fn(&str) -> bool + Send + Sync);

/// Checks what every backend refuses alike.
///
/// # Errors
/// When the text is longer than [`MAX_MESSAGE`].
pub fn check_message(text: &str) -> Result<(), StoreError> {
    if text.len() > MAX_MESSAGE { Err(StoreError::TooLarge { rows: 1, bytes: text.len() }) } else { Ok(()) }
}

/// Texts longer than this are kept as rows, and the message points at them: the service counts escaped characters.
const LONGEST_INLINE: usize = 48 * 1024;
/// Bytes of one such row: a store counts two for every character, and JSON escapes some.
const MOST_BYTES: usize = 96 * 1024;

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Pointer {
    overflow: String,
}

/// A queue for texts of any length: the long ones lie beside it, as rows.
///
/// A trigger that delivers messages itself calls [`Self::open`] instead of [`Self::receive`] with what it was handed, and
/// [`Self::discard`] once done.
#[derive(Clone)]
pub struct Mailbox {
    queue: Arc<dyn Queue>,
    tables: Arc<dyn Tables>,
    clock: Clock,
    entropy: Entropy,
}

impl Mailbox {
    /// A mailbox over a queue, with long texts kept in `tables`.
    pub fn new(queue: Arc<dyn Queue>, tables: Arc<dyn Tables>, clock: Clock, entropy: Entropy) -> Self {
        Self { queue, tables, clock, entropy }
    }

    /// The queue itself.
    #[must_use]
    pub fn queue(&self) -> &Arc<dyn Queue> {
        &self.queue
    }

    fn partition(&self) -> String {
        format!("overflow|{}", self.queue.name())
    }

    /// Sends a JSON text, to be seen after `delay`.
    ///
    /// # Errors
    /// As [`Queue::send`].
    pub async fn send(&self, text: &str, delay: Duration) -> Result<(), StoreError> {
        if text.len() <= LONGEST_INLINE {
            return self.queue.send(text, delay).await;
        }
        let id = self.entropy.ulid(self.clock.now());
        let mut rows = Vec::new();
        for (place, part) in parts(text).into_iter().enumerate() {
            rows.push(Write::insert(format!("{id}|{place:03}"), &part)?);
        }
        self.tables.commit(&self.partition(), rows).await?;
        let pointer = serde_json::json!({ "overflow": id }).to_string();
        self.queue.send(&pointer, delay).await
    }

    /// Hands out messages, long texts in full. A message whose text is gone has been dealt with and is deleted.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn receive(&self, limit: usize, visibility: Duration) -> Result<Vec<Message>, StoreError> {
        let mut messages = Vec::new();
        for message in self.queue.receive(limit, visibility).await? {
            match self.open(&message.text).await? {
                Some(text) => messages.push(Message { text, ..message }),
                None => self.queue.delete(&message).await?,
            }
        }
        Ok(messages)
    }

    /// The whole text of a message as the queue handed it out; `None` when it was discarded before.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn open(&self, text: &str) -> Result<Option<String>, StoreError> {
        let Some(id) = pointer(text) else { return Ok(Some(text.to_owned())) };
        let rows = scan_prefix(self.tables.as_ref(), &self.partition(), &format!("{id}|")).await?;
        if rows.is_empty() {
            return Ok(None);
        }
        rows.iter().map(crate::rows::Row::decode::<String>).collect::<Result<String, _>>().map(Some)
    }

    /// Removes what lies beside a message that is done.
    ///
    /// # Errors
    /// When the store fails; what is left over is swept later.
    pub async fn discard(&self, text: &str) -> Result<(), StoreError> {
        let Some(id) = pointer(text) else { return Ok(()) };
        self.remove(&format!("{id}|")).await.map(drop)
    }

    /// Removes texts kept since before `time`, whose messages are long gone; answers how many rows.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn sweep(&self, time: DateTime<Utc>) -> Result<usize, StoreError> {
        let end: String = self.entropy.ulid(time).chars().take(10).collect();
        let page = self.tables.scan(&self.partition(), "", &end, crate::rows::MAX_ROWS_PER_COMMIT).await?;
        let writes: Vec<Write> = page.rows.iter().map(|row| Write::delete(&*row.key, Expect::Anything)).collect();
        let count = writes.len();
        if count > 0 {
            self.tables.commit(&self.partition(), writes).await?;
        }
        Ok(count)
    }

    async fn remove(&self, prefix: &str) -> Result<usize, StoreError> {
        let rows = scan_prefix(self.tables.as_ref(), &self.partition(), prefix).await?;
        let writes: Vec<Write> = rows.iter().map(|row| Write::delete(&*row.key, Expect::Anything)).collect();
        let count = writes.len();
        if count > 0 {
            self.tables.commit(&self.partition(), writes).await?;
        }
        Ok(count)
    }
}

fn pointer(text: &str) -> Option<String> {
    if !text.starts_with("{\"overflow\":") {
        return None;
    }
    let Pointer { overflow } = serde_json::from_str(text).ok()?;
    Some(overflow).filter(|id| id.bytes().all(|byte| byte.is_ascii_alphanumeric()))
}

/// `text` in parts of at most [`MOST_BYTES`] bytes, none ending within a character.
fn parts(text: &str) -> Vec<&str> {
    let (mut parts, mut rest) = (Vec::new(), text);
    while !rest.is_empty() {
        let (part, left) = rest.split_at(rest.floor_char_boundary(MOST_BYTES));
        parts.push(part);
        rest = left;
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn message_parts_join_to_the_text() {
        let text = "é任😀".repeat(60_000);
        let parts = parts(&text);
        assert!(parts.len() > 4 && parts.iter().all(|part| part.len() <= MOST_BYTES));
        assert_eq!(parts.concat(), text);
    }

    #[test]
    fn only_overflow_pointers_parse_as_pointers() {
        assert_eq!(pointer("{\"overflow\":\"01h\"}").as_deref(), Some("01h"));
        for text in ["{\"overflow\":\"a|b\"}", "{\"overflow\":\"a\",\"x\":1}", "{\"x\":1}", "{\"overflow\":"] {
            assert_eq!(pointer(text), None, "{text}");
        }
    }
}
