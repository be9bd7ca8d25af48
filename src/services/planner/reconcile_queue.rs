//! Who reconciles a plan next, where processes come and go: a delayed message a plan.
//!
//! Under the Functions host no process lives long enough to keep a timetable. So each plan that was ever used has one
//! message on its way, due when [`due`] says; the instance that gets it refreshes the plan and sends the next. A row names the message that
//! counts, so that a caller may bring the refresh forward with another one: the older then finds that it does not count
//! and ends. A message that got lost leaves its row overdue, which the timer finds. The row also carries
//! what processes cannot tell each other: when somebody last used the plan, and when something last changed.

use std::collections::HashMap;
use std::sync::Arc;

use chrono::{DateTime, TimeDelta, Utc};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

use super::Planner;
use crate::ids::{Entropy, PlanId};
use crate::queue::Queue;
use crate::rows::{Partition, RowVersion, StoreError, TenantTables, Write};
use crate::services::Error;
use crate::sync::PlanHandle;
use crate::sync::schedule::{Activity, due};

/// The queue's name.
pub const RECONCILE: &str = "graphgate-reconcile";
/// A refresh that is this late is taken for one whose message got lost.
const OVERDUE: TimeDelta = TimeDelta::minutes(2);
/// How often one process says that a plan is in use.
const IN_USE: TimeDelta = TimeDelta::minutes(1);

/// Who decides when plans are refreshed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum ReconciledBy {
    /// This process, which lives long.
    #[default]
    Scheduler,
    /// A message a plan.
    Messages,
    /// The host's timer alone, which refreshes all of them.
    Timer,
}

/// What a message says.
#[derive(Debug, Deserialize)]
struct Note {
    plan: PlanId,
    /// The message's id.
    #[serde(rename = "look")]
    id: String,
}

/// What a message that has a plan refreshed came to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ReconcileOutcome {
    /// The plan.
    pub plan: PlanId,
    /// Whether the message was the one that counts; another is on its way then.
    pub counted: bool,
}

/// The value of a plan's row.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Pending {
    /// The message that counts.
    message: String,
    /// When it is due.
    at: DateTime<Utc>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    reconciled_at: Option<DateTime<Utc>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    changed_at: Option<DateTime<Utc>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    used_at: Option<DateTime<Utc>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    texts_wanted_at: Option<DateTime<Utc>>,
    #[serde(default)]
    failures: u32,
}

impl Pending {
    fn of(activity: &Activity, message: String, at: DateTime<Utc>) -> Self {
        let Activity { reconciled_at, changed_at, used_at, texts_wanted_at, failures, .. } = *activity;
        Self { message, at, reconciled_at, changed_at, used_at, texts_wanted_at, failures }
    }

    /// Adds what other processes know of the plan's life.
    fn add_to(&self, activity: &mut Activity) {
        activity.reconciled_at = activity.reconciled_at.max(self.reconciled_at);
        activity.changed_at = activity.changed_at.max(self.changed_at);
        activity.used_at = activity.used_at.max(self.used_at);
        activity.texts_wanted_at = activity.texts_wanted_at.max(self.texts_wanted_at);
        activity.failures = activity.failures.max(self.failures);
    }
}

/// The rows, and what this process has said lately.
pub(super) struct ReconcileQueue {
    rows: Partition,
    queue: Arc<dyn Queue>,
    entropy: Entropy,
    said: Mutex<HashMap<PlanId, DateTime<Utc>>>,
}

impl ReconcileQueue {
    pub(super) fn new(tables: &TenantTables, queue: Arc<dyn Queue>, entropy: Entropy) -> Self {
        Self { rows: tables.partition("reconcile"), queue, entropy, said: Mutex::default() }
    }

    async fn read(&self, plan: &PlanId) -> Result<Option<(Pending, RowVersion)>, StoreError> {
        let row = self.rows.get(plan.as_str()).await?;
        row.map(|row| Ok((row.decode()?, row.version))).transpose()
    }

    /// Makes another message the one that counts, unless somebody else did meanwhile.
    async fn replace(
        &self,
        plan: &PlanId,
        known: Option<&RowVersion>,
        activity: &Activity,
        at: DateTime<Utc>,
        now: DateTime<Utc>,
    ) -> Result<(), StoreError> {
        let pending = Pending::of(activity, self.entropy.ulid(now), at);
        let write = match known {
            Some(version) => Write::replace(plan.as_str(), version, &pending)?,
            None => Write::insert(plan.as_str(), &pending)?,
        };
        match self.rows.commit(vec![write]).await {
            Ok(_) => {}
            Err(error) if error.is_conflict() => return Ok(()),
            Err(error) => return Err(error),
        }
        let message = serde_json::json!({ "plan": plan, "look": pending.message }).to_string();
        self.queue.send(&message, (at - now).to_std().unwrap_or_default()).await
    }
}

impl Planner {
    /// Notes that a caller uses a plan, and brings its next refresh forward if that is far off.
    pub(super) async fn note_use(&self, handle: &PlanHandle) {
        let now = self.clock.now();
        handle.note(|activity| activity.used_at = Some(now));
        if self.settings.reconciled_by != ReconciledBy::Messages {
            return;
        }
        {
            let mut said = self.reconcile_queue.said.lock();
            if said.get(&handle.id).is_some_and(|at| now - *at < IN_USE) {
                return;
            }
            said.insert(handle.id.clone(), now);
        }
        self.bring_forward(handle).await;
    }

    /// Replaces the plan's message by an earlier one where its row is not due as early as it should be.
    async fn bring_forward(&self, handle: &PlanHandle) {
        let now = self.clock.now();
        let done = async {
            let known = self.reconcile_queue.read(&handle.id).await?;
            let mut activity = handle.activity();
            if let Some((pending, _)) = &known {
                pending.add_to(&mut activity);
            }
            let at = due(&activity, self.settings.pace, now).max(now);
            if known.as_ref().is_some_and(|(pending, _)| pending.at <= at && pending.at > now - OVERDUE) {
                return Ok(());
            }
            self.reconcile_queue
                .replace(&handle.id, known.as_ref().map(|(_, version)| version), &activity, at, now)
                .await
        };
        if let Err(error) = done.await {
            let error: StoreError = error;
            tracing::warn!(plan = %handle.id, %error, "the next refresh cannot be brought forward; the timer makes it");
        }
    }

    /// Refreshes the plan that a message names, and sends the next message.
    ///
    /// # Errors
    /// When the message is none of ours, or the store or the queue fails; then it comes again, or the timer refreshes the plan.
    pub async fn reconcile_noted(&self, message: &str) -> Result<ReconcileOutcome, Error> {
        let Note { plan, id } = serde_json::from_str(message).map_err(|error| {
            Error::invalid(format!("a message that asks for a reconciliation cannot be read: {error}"))
        })?;
        let known = self.reconcile_queue.read(&plan).await?.filter(|(known, _)| known.message == id);
        let handle = match &known {
            Some(_) => self.catalog.served(&plan).await?, // none if the settings were narrowed since it was sent
            None => None,
        };
        let counted = handle.is_some();
        if let Some(handle) = handle {
            self.reconcile_and_requeue(handle, known).await?;
        }
        Ok(ReconcileOutcome { plan, counted })
    }

    /// Refreshes a plan and sends its next message.
    async fn reconcile_and_requeue(
        &self,
        handle: Arc<PlanHandle>,
        known: Option<(Pending, RowVersion)>,
    ) -> Result<bool, Error> {
        if let Some((pending, _)) = &known {
            handle.note(|activity| pending.add_to(activity));
        }
        let fine = self.reconcile(handle.clone()).await;
        let now = self.clock.now();
        let at = due(&handle.activity(), self.settings.pace, now).max(now);
        let version = known.as_ref().map(|(_, version)| version);
        self.reconcile_queue.replace(&handle.id, version, &handle.activity(), at, now).await?;
        Ok(fine)
    }

    /// Refreshes a plan whose message got lost, or that never had one; answers whether that went well, `None` if there was
    /// no need.
    ///
    /// # Errors
    /// When the store or the queue fails.
    pub(super) async fn reconcile_if_overdue(&self, handle: Arc<PlanHandle>) -> Result<Option<bool>, Error> {
        let known = self.reconcile_queue.read(&handle.id).await?;
        let now = self.clock.now();
        if known.as_ref().is_some_and(|(pending, _)| pending.at > now - OVERDUE) {
            return Ok(None);
        }
        self.reconcile_and_requeue(handle, known).await.map(Some)
    }
}
