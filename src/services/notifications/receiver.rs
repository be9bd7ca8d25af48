//! Taking a POST: shape, secret, one durable message, an answer. Nobody else is asked on this path.
//!
//! The secrets' hashes are at hand in memory, read from the store again when they are old or when a subscription is
//! unknown. A bad notification is dropped and counted; when the store does not take a good one in time, Graph keeps it
//! and sends it again.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

use super::body::{self, Notification};
use super::sample::{SAMPLE, Samples};
use crate::clock::Clock;
use crate::queue::Mailbox;
use crate::rows::StoreError;
use crate::services::subscriptions::{Record, SubscriptionStore, Wanted};
use crate::telemetry::metrics::{Counter, Metric, Metrics};

/// How long the records in memory are believed.
const LIFE: TimeDelta = TimeDelta::seconds(30);
/// An unknown subscription has the records read again at most this often, for all senders together.
const AGAIN: TimeDelta = TimeDelta::seconds(1);
/// The store has this long to take a message: Graph waits three seconds for an answer and counts the slow ones.
const PATIENCE: Duration = Duration::from_secs(1);

/// A POST as it waits in the queue.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Batch {
    /// When it was received.
    pub received_at: DateTime<Utc>,
    /// What passed the first checks.
    pub notifications: Vec<Notification>,
    /// Validation tokens of who sent it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tokens: Vec<String>,
}

/// How a POST ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Received {
    /// It waits in the queue, or held nothing for us: Graph need not send it again.
    Taken {
        /// Notifications that wait.
        kept: usize,
        /// Notifications that were dropped.
        dropped: usize,
    },
    /// It is no list of notifications.
    Malformed(String),
    /// The store did not take it: Graph must send it again.
    NotNow,
}

/// What was counted since the start.
#[derive(Debug, Default)]
pub struct Counts {
    /// POSTs.
    pub posts: Counter,
    /// Notifications that went to the queue.
    pub kept: Counter,
    /// Notifications of unknown subscriptions, with wrong secrets or of other tenants.
    pub refused: Counter,
    /// POSTs of another shape.
    pub malformed: Counter,
    /// Notifications of another shape; they count as refused too.
    pub unreadable: Counter,
    /// When something of another shape last came, in milliseconds since 1970; 0 for never.
    misread_at: AtomicI64,
    /// POSTs the store did not take.
    pub not_taken: Counter,
}

impl Counts {
    /// Registers what came, by outcome.
    pub fn register(&self, metrics: &Metrics) {
        for (outcome, counter) in [
            ("kept", &self.kept),
            ("refused", &self.refused),
            ("malformed", &self.malformed),
            ("not_taken", &self.not_taken),
        ] {
            let metric = Metric::counter("notifications", "Change notifications received");
            metrics.count(metric, vec![("outcome", outcome.into())], counter);
        }
    }

    fn misread(&self, at: DateTime<Utc>) {
        self.misread_at.store(at.timestamp_millis(), Ordering::Relaxed);
    }

    /// When something of another shape last came.
    pub(super) fn misread_at(&self) -> Option<DateTime<Utc>> {
        let millis = self.misread_at.load(Ordering::Relaxed);
        DateTime::from_timestamp_millis(millis).filter(|_| millis > 0)
    }
}

struct Snapshot {
    records: HashMap<String, Record>,
    /// Records that are being made: their subscription's id is not known yet.
    unnamed: Vec<Record>,
    read_at: DateTime<Utc>,
}

/// The receiver.
pub struct Receiver {
    store: SubscriptionStore,
    mailbox: Mailbox,
    tenant: String,
    samples: Arc<Samples>,
    clock: Clock,
    snapshot: Mutex<Option<Arc<Snapshot>>>,
    reading: tokio::sync::Mutex<()>,
    /// What was counted.
    pub counts: Counts,
}

impl Receiver {
    /// A receiver of a tenant's notifications.
    #[must_use]
    pub fn new(
        store: SubscriptionStore,
        mailbox: Mailbox,
        tenant: String,
        samples: Arc<Samples>,
        clock: Clock,
    ) -> Self {
        let (snapshot, reading) = (Mutex::default(), tokio::sync::Mutex::default());
        Self { store, mailbox, tenant, samples, clock, snapshot, reading, counts: Counts::default() }
    }

    /// Takes a POST.
    pub async fn receive(&self, bytes: &[u8]) -> Received {
        self.counts.posts.inc();
        let body = match body::parse(bytes) {
            Ok(body) => body,
            Err(error) => {
                self.counts.malformed.inc();
                self.counts.misread(self.clock.now());
                return Received::Malformed(error.to_string());
            }
        };
        let all = body.value.len() + body.unreadable;
        if body.unreadable > 0 {
            count(&self.counts.unreadable, body.unreadable);
            self.counts.misread(self.clock.now());
        }
        let taken = self.clock.timeout(PATIENCE, self.take(body)).await;
        match taken.unwrap_or_else(|| Err(StoreError::Unavailable { reason: "it takes too long".into() })) {
            Ok(kept) => {
                let dropped = all - kept;
                count(&self.counts.kept, kept);
                count(&self.counts.refused, dropped);
                if dropped > 0 {
                    tracing::warn!(
                        dropped,
                        kept,
                        "notifications of another shape, with a wrong secret or of no subscription of ours"
                    );
                }
                Received::Taken { kept, dropped }
            }
            Err(error) => {
                self.counts.not_taken.inc();
                tracing::error!(%error, "a notification could not be kept; Graph will send it again");
                Received::NotNow
            }
        }
    }

    async fn take(&self, body: body::Body) -> Result<usize, StoreError> {
        let mut kept = Vec::with_capacity(body.value.len());
        for mut notification in body.value {
            if self.is_ours(&notification).await? {
                // The secret has done its work: no queue keeps it in the clear.
                if notification.subscription_id != SAMPLE {
                    notification.client_state = Record::hashed(&notification.client_state);
                }
                kept.push(notification);
            }
        }
        if kept.is_empty() {
            return Ok(0);
        }
        let count = kept.len();
        let tokens = body.validation_tokens.unwrap_or_default();
        let batch = Batch { received_at: self.clock.now(), notifications: kept, tokens };
        let text = serde_json::to_string(&batch)
            .map_err(|error| StoreError::Damaged { key: "notification".into(), source: Arc::new(error) })?;
        self.mailbox.send(&text, Duration::ZERO).await?;
        Ok(count)
    }

    /// Whether a notification carries the secret of the subscription it names.
    async fn is_ours(&self, notification: &Notification) -> Result<bool, StoreError> {
        if notification.tenant_id.as_deref().is_some_and(|tenant| !tenant.eq_ignore_ascii_case(&self.tenant)) {
            return Ok(false);
        }
        if notification.subscription_id == SAMPLE {
            return Ok(self.samples.knows(notification));
        }
        let known = self.snapshot(LIFE).await?;
        if known.opens(notification) {
            return Ok(true);
        }
        if known.records.contains_key(&notification.subscription_id) {
            return Ok(false); // known, and the secret is wrong
        }
        Ok(self.snapshot(AGAIN).await?.opens(notification))
    }

    /// The records, not older than `life`.
    async fn snapshot(&self, life: TimeDelta) -> Result<Arc<Snapshot>, StoreError> {
        let young = || self.current().filter(|snapshot| self.clock.steady() - snapshot.read_at < life);
        if let Some(snapshot) = young() {
            return Ok(snapshot);
        }
        let _one_at_a_time = self.reading.lock().await;
        if let Some(snapshot) = young() {
            return Ok(snapshot);
        }
        let read_at = self.clock.steady();
        match self.store.all().await {
            Ok(kept) => {
                let (mut records, mut unnamed) = (HashMap::new(), Vec::new());
                for record in kept.into_iter().map(|kept| kept.record).filter(|record| record.wanted == Wanted::Yes) {
                    match &record.live {
                        Some(live) => drop(records.insert(live.id.clone(), record)),
                        None => unnamed.push(record),
                    }
                }
                let snapshot = Arc::new(Snapshot { records, unnamed, read_at });
                *self.snapshot.lock() = Some(snapshot.clone());
                Ok(snapshot)
            }
            // Old records are better than none; without any, no subscription is known.
            Err(error) => self.current().ok_or(error),
        }
    }

    fn current(&self) -> Option<Arc<Snapshot>> {
        self.snapshot.lock().clone()
    }
}

impl Snapshot {
    fn opens(&self, notification: &Notification) -> bool {
        match self.records.get(&notification.subscription_id) {
            Some(record) => record.opens(&notification.client_state),
            None => self.unnamed.iter().any(|record| record.opens(&notification.client_state)),
        }
    }
}

fn count(counter: &Counter, by: usize) {
    counter.inc_by(u64::try_from(by).unwrap_or(u64::MAX));
}

/// The token of Graph's handshake, to be sent back byte for byte; `None` when nothing Graph would send.
///
/// The caller chooses the text, so nothing is sent back that a browser could take for markup.
#[must_use]
pub fn validation_token(query: &str) -> Option<Option<String>> {
    const LONGEST: usize = 8 * 1024;
    let mut tokens = url::form_urlencoded::parse(query.as_bytes()).filter(|(name, _)| name == "validationToken");
    let (_, token) = tokens.next()?;
    let once = tokens.next().is_none();
    let plain = !token.is_empty()
        && token.len() <= LONGEST
        && !token.contains(['<', '>', '\u{fffd}'])
        && !token.chars().any(char::is_control);
    Some((once && plain).then(|| token.into_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn validation_token_is_echoed_byte_for_byte() {
        let echoed = |query: &str| validation_token(query).flatten();
        assert_eq!(echoed("validationToken=Validation%3a+Testing%20a%2Bb").as_deref(), Some("Validation: Testing a+b"));
        assert_eq!(echoed("x=1&validationToken=%C3%A4%E4%BB%BB").as_deref(), Some("ä任"));
        assert_eq!(echoed(&format!("validationToken={}", "a".repeat(4096))).map(|token| token.len()), Some(4096));
        assert_eq!(validation_token("other=1"), None);
    }

    #[test]
    fn validation_token_with_markup_is_refused() {
        for query in [
            "validationToken=%3Cscript%3E",
            "validationToken=",
            "validationToken=a%00b",
            "validationToken=a%0D%0Ab",
            "validationToken=%FF",
            "validationToken=a&validationToken=b",
            &format!("validationToken={}", "a".repeat(9000)),
        ] {
            assert_eq!(validation_token(query), Some(None), "{query}");
        }
    }
}
