//! A queue in Azure Storage Queues, whose messages the Functions host hands to triggers.

use std::time::Duration;

use async_trait::async_trait;

use crate::azure::queues::{Client, Config, Received};
use crate::azure::storage::{Code, Connector, Error};
use crate::queue::{MAX_DEQUEUES, MAX_RECEIVE, Message, Poisoned, Queue, QueueState, Wanted, check_message};
use crate::rows::StoreError;

/// What the Functions host adds to a queue's name for its poison side.
const POISON: &str = "-poison";
/// How long a message that moves from one queue to the other is hidden meanwhile.
const MOVING: Duration = Duration::from_secs(30);

/// A queue in a storage account, and its poison side.
#[derive(Debug, Clone)]
pub struct AzureQueue {
    client: Client,
    poison: Client,
}

impl AzureQueue {
    /// Opens the queue `name` and its poison side, creating them if need be.
    ///
    /// # Errors
    /// When the service cannot be reached, or refuses.
    pub async fn open(config: Config, name: &str, connector: Connector) -> Result<Self, StoreError> {
        let client = Client::new(config.clone(), name, connector.clone());
        let poison = Client::new(config, &format!("{name}{POISON}"), connector);
        for queue in [&client, &poison] {
            queue.ensure().await.map_err(|error| failure(queue, &error))?;
        }
        Ok(Self { client, poison })
    }

    /// Sends a message on and removes it where it was; a crash in between leaves it at both places.
    async fn transfer(from: &Client, to: &Client, message: &Received) -> Result<(), StoreError> {
        to.send(&message.text, Duration::ZERO).await.map_err(|error| failure(to, &error))?;
        settled(from, from.delete(&message.id, &message.receipt).await)
    }
}

/// A message that is gone, or somebody else's by now, is none of ours.
fn settled(queue: &Client, result: Result<(), Error>) -> Result<(), StoreError> {
    match result {
        Err(error) if error.code() != Code::NoSuchMessage => Err(failure(queue, &error)),
        _ => Ok(()),
    }
}

fn failure(queue: &Client, error: &Error) -> StoreError {
    let name = queue.name();
    let reason = match (error, error.code()) {
        (_, Code::NoSuchQueue) => format!("queue `{name}` does not exist"),
        (_, Code::Unauthorized | Code::Forbidden) => format!(
            "{error} (the identity needs the role `Storage Queue Data Contributor`, a SAS the rights `rwdaup` on queues)"
        ),
        (Error::TooLarge { bytes }, _) => return StoreError::TooLarge { rows: 1, bytes: *bytes },
        _ => error.to_string(),
    };
    StoreError::Unavailable { reason: format!("Azure Storage Queues: {reason}") }
}

#[async_trait]
impl Queue for AzureQueue {
    fn name(&self) -> &str {
        self.client.name()
    }

    async fn send(&self, text: &str, delay: Duration) -> Result<(), StoreError> {
        check_message(text)?;
        self.client.send(text, delay).await.map_err(|error| failure(&self.client, &error))
    }

    async fn receive(&self, limit: usize, visibility: Duration) -> Result<Vec<Message>, StoreError> {
        let limit = limit.clamp(1, MAX_RECEIVE);
        let received = self.client.receive(limit, visibility).await.map_err(|error| failure(&self.client, &error))?;
        let mut messages = Vec::with_capacity(received.len());
        for message in received {
            if message.dequeue_count > MAX_DEQUEUES {
                Self::transfer(&self.client, &self.poison, &message).await?;
                continue;
            }
            let Received { id, text, dequeue_count, inserted_at: sent_at, receipt } = message;
            messages.push(Message { id, text, dequeue_count, sent_at, receipt: receipt.into() });
        }
        Ok(messages)
    }

    async fn delete(&self, message: &Message) -> Result<(), StoreError> {
        settled(&self.client, self.client.delete(&message.id, &message.receipt).await)
    }

    async fn postpone(&self, message: &Message, delay: Duration) -> Result<(), StoreError> {
        settled(&self.client, self.client.postpone(&message.id, &message.receipt, delay).await)
    }

    async fn state(&self) -> Result<QueueState, StoreError> {
        let count = async |queue: &Client| queue.metadata().await.map_err(|error| failure(queue, &error));
        let oldest = self.client.peek(1).await.map_err(|error| failure(&self.client, &error))?;
        Ok(QueueState {
            waiting: count(&self.client).await?.count,
            oldest_at: oldest.first().map(|message| message.inserted_at),
            poisoned: count(&self.poison).await?.count,
        })
    }

    async fn poisoned(&self, limit: usize) -> Result<Vec<Poisoned>, StoreError> {
        let peeked =
            self.poison.peek(limit.clamp(1, MAX_RECEIVE)).await.map_err(|error| failure(&self.poison, &error))?;
        let shown = |message: Received| Poisoned { id: message.id, at: message.inserted_at, bytes: message.text.len() };
        Ok(peeked.into_iter().map(shown).collect())
    }

    async fn redrive(&self, limit: usize, wanted: Wanted<'_>) -> Result<usize, StoreError> {
        let limit = limit.clamp(1, MAX_RECEIVE);
        let (mut moved, mut left) = (0, Vec::new());
        while moved < limit {
            let received =
                self.poison.receive(limit - moved, MOVING).await.map_err(|error| failure(&self.poison, &error))?;
            if received.is_empty() {
                break;
            }
            for message in received {
                if wanted(&message.text) {
                    Self::transfer(&self.poison, &self.client, &message).await?;
                    moved += 1;
                } else {
                    left.push(message);
                }
            }
        }
        for message in &left {
            let shown = self.poison.postpone(&message.id, &message.receipt, Duration::ZERO).await;
            settled(&self.poison, shown)?;
        }
        Ok(moved)
    }
}
