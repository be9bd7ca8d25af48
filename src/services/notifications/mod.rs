//! Change notifications of Microsoft Graph: taken, checked, worked on.
//!
//! [`Receiver`] is the endpoint and only keeps; [`Notifications::work`] is called with what was kept, by the Functions
//! host's queue trigger or by our own pump. Losing every notification costs only time: plans are compared anyway.

mod body;
mod health;
mod journal;
mod receiver;
mod rich;
mod sample;
mod validation_tokens;
mod worker;

use std::sync::Arc;

pub use body::{Body, Encrypted, MAX_ITEMS, Malformed, Notification, ResourceData, parse};
pub use health::{LoggedNotification, NotificationLog, QueueHealth, WebhookHealth};
pub use journal::{Entry, Journal, Outcome};
pub use receiver::{Batch, Counts, Received, Receiver, validation_token};
pub use rich::{BadCertificate, ContentDecryptor, Sealed};
pub use sample::{PostSelfTest, SAMPLE, Samples, TestStep, WebhookTest};
pub use validation_tokens::ValidationTokens;
pub use worker::Worked;

use self::worker::{KeyedLocks, Refreshes};
use super::directory::Directory;
use super::planner::Planner;
use super::subscriptions::Subscriptions;
use super::{Environment, Error};
use crate::clock::Clock;
use crate::ids::Entropy;
use crate::queue::Mailbox;

/// The queue's name.
pub const QUEUE: &str = "graphgate-notifications";

/// The service.
pub struct Notifications {
    /// The endpoint.
    pub receiver: Receiver,
    mailbox: Mailbox,
    journal: Journal,
    subscriptions: Arc<Subscriptions>,
    planner: Arc<Planner>,
    directory: Arc<Directory>,
    validation_tokens: Option<ValidationTokens>,
    decryptor: Option<ContentDecryptor>,
    samples: Arc<Samples>,
    refreshes: Refreshes,
    locks: KeyedLocks,
    post_self_test: PostSelfTest,
    clock: Clock,
    entropy: Entropy,
}

/// What the service is built from.
pub struct Parts {
    /// Where what was received waits.
    pub mailbox: Mailbox,
    /// What is watched.
    pub subscriptions: Arc<Subscriptions>,
    /// What is refreshed.
    pub planner: Arc<Planner>,
    /// What is forgotten.
    pub directory: Arc<Directory>,
    /// What checks that content comes from Graph.
    pub validation_tokens: Option<ValidationTokens>,
    /// What opens content.
    pub decryptor: Option<ContentDecryptor>,
    /// What knows our own samples.
    pub samples: Samples,
    /// The way out, for samples.
    pub post_self_test: PostSelfTest,
}

impl Notifications {
    /// The service; nothing is read yet.
    #[must_use]
    pub fn new(environment: &Environment, parts: Parts) -> Self {
        let Environment { tables, clock, entropy, .. } = environment.clone();
        let Parts { mailbox, subscriptions, planner, directory, validation_tokens, decryptor, samples, post_self_test } =
            parts;
        let journal = Journal::new(&tables, entropy.clone());
        let tenant = tables.tenant().to_owned();
        let samples = Arc::new(samples);
        let store = subscriptions.store().clone();
        let receiver = Receiver::new(store, mailbox.clone(), tenant, samples.clone(), clock.clone());
        let (refreshes, locks) = (Refreshes::default(), KeyedLocks::default());
        Self {
            receiver,
            mailbox,
            journal,
            subscriptions,
            planner,
            directory,
            validation_tokens,
            decryptor,
            samples,
            refreshes,
            locks,
            post_self_test,
            clock,
            entropy,
        }
    }

    /// Where what was received waits.
    #[must_use]
    pub fn mailbox(&self) -> &Mailbox {
        &self.mailbox
    }

    /// Forgets what is too old to matter: what the timer calls.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn sweep(&self) -> Result<usize, Error> {
        let now = self.clock.now();
        let batches = self.mailbox.sweep(now - chrono::TimeDelta::days(8)).await?;
        Ok(batches + self.journal.sweep(now).await?)
    }
}
