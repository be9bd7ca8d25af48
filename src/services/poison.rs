//! Messages that were given up on after five tries: told of, shown, and tried again when somebody says so.
//!
//! Nothing is tried again by itself: what failed five times fails a sixth unless its cause is mended. No text of a
//! message is shown, because notifications carry the secret of their subscription.

use std::sync::{Arc, Mutex, PoisonError};

use chrono::{DateTime, TimeDelta, Utc};
use schemars::JsonSchema;
use serde::Serialize;

use super::Error;
use super::planner::words::print_time;
use crate::clock::Clock;
use crate::error::ErrorCode;
use crate::queue::{MAX_RECEIVE, Poisoned, Queue};

/// How long a count is good enough for health.
const COUNTED: TimeDelta = TimeDelta::seconds(60);

/// The poison sides of all queues.
pub struct Poison {
    queues: Vec<Arc<dyn Queue>>,
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

/// What a look at all queues found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Swept {
    /// Messages given up on, in all queues.
    pub poisoned: usize,
}

impl Poison {
    /// The service over queues.
    #[must_use]
    pub fn new(queues: Vec<Arc<dyn Queue>>, clock: Clock) -> Self {
        Self { queues, counted: Mutex::default(), clock }
    }

    /// Tells of what was given up on: what the timer calls. The log line is what alerts listen for.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn sweep(&self) -> Result<Swept, Error> {
        let mut poisoned = 0;
        for queue in self.list().await?.into_iter().filter(|queue| queue.poisoned > 0) {
            poisoned += queue.poisoned;
            tracing::error!(
                queue = queue.queue,
                messages = queue.poisoned,
                "messages lie in the poison queue; `graphgate queue redrive` tries them again"
            );
        }
        Ok(Swept { poisoned })
    }

    /// How many messages were given up on, counted a minute ago at most.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn count(&self) -> Result<usize, Error> {
        let now = self.clock.now();
        let known = *self.counted.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, count)) = known.filter(|(at, _)| now - *at < COUNTED) {
            return Ok(count);
        }
        let count = self.list().await?.iter().map(|queue| queue.poisoned).sum();
        *self.counted.lock().unwrap_or_else(PoisonError::into_inner) = Some((now, count));
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
            let (mut messages, all) = (0, queue.state().await?.poisoned);
            // What fails again meanwhile is not tried a second time.
            while messages < all {
                let moved = queue.redrive(MAX_RECEIVE.min(all - messages)).await?;
                if moved == 0 {
                    break;
                }
                messages += moved;
            }
            redriven.push(Redriven { queue: queue.name().to_owned(), messages });
        }
        *self.counted.lock().unwrap_or_else(PoisonError::into_inner) = None;
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
