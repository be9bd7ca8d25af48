//! How notifications are doing, at a glance.

use chrono::TimeDelta;
use schemars::JsonSchema;
use serde::Serialize;

use super::journal::Outcome;
use super::{Counts, Notifications};
use crate::queue::QueueState;
use crate::services::Error;
use crate::services::print_time;
use crate::services::subscriptions::{ShownGap, Wanted};

/// Work older than this means that nobody works.
const LATE: TimeDelta = TimeDelta::minutes(5);
/// The reconciler runs every quarter of an hour.
const RECONCILER_LATE: TimeDelta = TimeDelta::minutes(40);
/// What could not be read counts as a problem for this long.
const MISREAD: TimeDelta = TimeDelta::hours(1);
/// Most gaps shown.
const GAPS: usize = 20;

/// How notifications are doing.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct WebhookHealth {
    /// `ok`, `degraded` (something is late or failing) or `failing` (something watched is not).
    pub status: String,
    /// What is wrong, in words.
    pub problems: Vec<String>,
    /// Where Graph sends.
    pub public_url: Option<String>,
    /// Things that should be watched.
    pub wanted: usize,
    /// Things that are.
    pub active: usize,
    /// When the first subscription ends unless renewed.
    pub next_expiry: Option<String>,
    /// When subscriptions were last reconciled.
    pub looked_after_at: Option<String>,
    /// What waits.
    pub queue: QueueHealth,
    /// When a notification was last worked on.
    pub last_notification_at: Option<String>,
    /// Counts of this instance since its start.
    pub received: ReceivedCounts,
    /// Times from which notifications may be missing, the latest first.
    pub gaps: Vec<ShownGap>,
}

/// What waits to be worked on.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct QueueHealth {
    /// Messages, about.
    pub waiting: usize,
    /// When the oldest was received.
    pub oldest_at: Option<String>,
    /// Messages given up on.
    pub poisoned: usize,
}

/// What an instance received.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct ReceivedCounts {
    /// POSTs.
    pub posts: u64,
    /// Notifications kept.
    pub kept: u64,
    /// Notifications refused: wrong secret, unknown subscription, other tenant.
    pub refused: u64,
    /// POSTs that were no notifications.
    pub malformed: u64,
    /// Notifications of another shape, which count as refused too.
    pub unreadable: u64,
    /// POSTs that could not be kept, so that Graph sends them again.
    pub not_taken: u64,
}

impl From<&Counts> for ReceivedCounts {
    fn from(counts: &Counts) -> Self {
        Self {
            posts: counts.posts.get(),
            kept: counts.kept.get(),
            refused: counts.refused.get(),
            malformed: counts.malformed.get(),
            unreadable: counts.unreadable.get(),
            not_taken: counts.not_taken.get(),
        }
    }
}

/// A line of the notification log.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct LoggedNotification {
    /// When it was received.
    pub received_at: String,
    /// How long it waited and was worked on, in milliseconds.
    pub took_ms: i64,
    /// The subscription; empty for one that is none of ours.
    pub subscription: String,
    /// The change, or the lifecycle event.
    pub change: String,
    /// `done`, `merged`, `repeated` or `refused`.
    pub outcome: Outcome,
    /// What was done, or why it was not.
    pub note: String,
}

/// The notification log, the latest first.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct NotificationLog {
    /// Its lines.
    pub notifications: Vec<LoggedNotification>,
}

impl JsonSchema for Outcome {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Outcome".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({"type": "string", "enum": ["done", "merged", "repeated", "refused"]})
    }
}

impl Notifications {
    /// How everything is doing.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn health(&self) -> Result<WebhookHealth, Error> {
        let now = self.clock.now();
        let store = self.subscriptions.store();
        let kept = store.all().await?;
        let wanted: Vec<_> =
            kept.iter().map(|kept| &kept.record).filter(|record| record.wanted == Wanted::Yes).collect();
        let active = wanted.iter().filter(|record| record.is_active(now)).count();
        let reconciled_at = store.checked_at().await?;
        let queue = self.mailbox.queue().state().await?;
        let last = self.journal.latest(1).await?.pop();
        let mut gaps = store.gaps().await?;
        gaps.reverse();
        gaps.truncate(GAPS);
        let mut problems = Vec::new();
        for record in &wanted {
            if let Some(error) = &record.claim.reason {
                problems.push(format!("`{}`: {error}", record.target.key()));
            } else if !record.is_active(now) {
                problems.push(format!("`{}` is not subscribed yet", record.target.key()));
            }
        }
        let since = reconciled_at.or_else(|| wanted.iter().map(|record| record.created_at).min());
        if !wanted.is_empty() && since.is_some_and(|at| now - at > RECONCILER_LATE) {
            problems.push("the subscriptions are not reconciled: does the timer `renew_subscriptions` run?".to_owned());
        }
        if queue.oldest_at.is_some_and(|at| now - at > LATE) {
            problems.push("messages wait too long: does `on_notification` run?".to_owned());
        }
        if queue.poisoned > 0 {
            problems.push(format!("{} messages were given up on", queue.poisoned));
        }
        let counts = &self.receiver.counts;
        if let Some(at) = counts.misread_at().filter(|at| now - *at < MISREAD) {
            let (posts, items) = (counts.malformed.get(), counts.unreadable.get());
            problems.push(format!(
                "{posts} POSTs and {items} notifications had another shape and were refused, the last at {}: does Graph send them?",
                print_time(at)
            ));
        }
        let status = match (active < wanted.len(), problems.is_empty()) {
            (true, _) => "failing",
            (false, false) => "degraded",
            (false, true) => "ok",
        };
        Ok(WebhookHealth {
            status: status.to_owned(),
            problems,
            public_url: self.subscriptions.public_url().map(ToString::to_string),
            wanted: wanted.len(),
            active,
            next_expiry: wanted
                .iter()
                .filter_map(|record| Some(record.live.as_ref()?.expires_at))
                .min()
                .map(print_time),
            looked_after_at: reconciled_at.map(print_time),
            queue: queue.into(),
            last_notification_at: last.map(|entry| print_time(entry.done_at)),
            received: (&self.receiver.counts).into(),
            gaps: gaps.iter().map(ShownGap::from).collect(),
        })
    }

    /// The latest notifications.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn log(&self, limit: usize) -> Result<NotificationLog, Error> {
        let entries = self.journal.latest(limit.clamp(1, 500)).await?;
        let logged = entries.into_iter().map(|entry| LoggedNotification {
            received_at: print_time(entry.received_at),
            took_ms: (entry.done_at - entry.received_at).num_milliseconds(),
            subscription: entry.subscription,
            change: entry.change,
            outcome: entry.outcome,
            note: entry.note,
        });
        Ok(NotificationLog { notifications: logged.collect() })
    }
}

impl From<QueueState> for QueueHealth {
    fn from(state: QueueState) -> Self {
        Self { waiting: state.waiting, oldest_at: state.oldest_at.map(print_time), poisoned: state.poisoned }
    }
}
