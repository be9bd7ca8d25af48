//! Pushes that outlive the instance that was asked: a delayed message a plan, for any instance that runs when it is due.
//!
//! The worker of this process continues a push after its caller got `pending`; but on Azure the process may be
//! gone a second later. So before a caller gets `pending`, a message about the plan is in the queue. It says *that*
//! there may be something to push, never what: what is journalled is in the plan's rows. A message too many finds
//! nothing to do; one that got lost is sent again by `reconcile_plans`.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use futures::StreamExt;
use futures::stream::FuturesUnordered;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

use super::Planner;
use crate::clock::Clock;
use crate::crash;
use crate::ids::PlanId;
use crate::queue::Queue;
use crate::rows::StoreError;
use crate::services::Error;
use crate::sync::{Outcome, PlanHandle, Pushes};

/// The queue's name.
pub const OUTBOX: &str = "graphgate-outbox";
/// When another instance checks first: this one's worker is at it meanwhile.
const FIRST_CHECK: Duration = Duration::from_secs(20);
/// Longest pause between two checks of a plan that does not get through.
const LONGEST_PAUSE: Duration = Duration::from_mins(5);
/// How long one check waits for Planner.
const CHECK_WAIT: Duration = Duration::from_mins(2);

/// What a message says.
#[derive(Debug, Deserialize)]
struct Note {
    plan: PlanId,
}

/// What a check of a plan's journal came to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Pushed {
    /// The plan.
    pub plan: PlanId,
    /// Tasks that have arrived, or were refused for good.
    pub settled: usize,
    /// Tasks that have to wait; another message is on its way.
    pub pending: usize,
}

/// The queue, and what this process has put there lately.
pub(super) struct Outbox {
    queue: Arc<dyn Queue>,
    clock: Clock,
    due: Mutex<HashMap<PlanId, DateTime<Utc>>>,
}

impl Outbox {
    pub(super) fn new(queue: Arc<dyn Queue>, clock: Clock) -> Self {
        Self { queue, clock, due: Mutex::default() }
    }

    /// Sends reminders again that were given up on; answers how many.
    pub(super) async fn redrive(&self, limit: usize) -> Result<usize, StoreError> {
        self.queue.redrive(limit, &|_| true).await
    }

    /// Has an instance check the plan after `delay`, unless a message of ours is still to be seen.
    async fn send(&self, plan: &PlanId, delay: Duration) -> Result<(), StoreError> {
        let now = self.clock.steady();
        let due = || self.due.lock();
        if due().get(plan).is_some_and(|due| *due > now) {
            return Ok(());
        }
        crash::point("outbox.before");
        self.queue.send(&serde_json::json!({ "plan": plan }).to_string(), delay).await?;
        crash::point("outbox.after");
        due().insert(plan.clone(), now + TimeDelta::from_std(delay).unwrap_or_default());
        Ok(())
    }
}

impl Planner {
    /// Makes sure that what is journalled for the plan is pushed even if this process ends.
    pub(super) async fn remember(&self, handle: &PlanHandle) {
        if let Err(error) = self.outbox.send(&handle.id, FIRST_CHECK).await {
            tracing::warn!(plan = %handle.id, %error, "a reminder cannot be sent; `reconcile_plans` sends it");
        }
    }

    /// Pushes what is journalled for the plan that a message names, and sends another message if something has to wait.
    ///
    /// # Errors
    /// When the message is none of ours or the store fails.
    pub async fn push_noted(&self, message: &str) -> Result<Pushed, Error> {
        let note: Note = serde_json::from_str(message)
            .map_err(|error| Error::invalid(format!("a message of the outbox cannot be read: {error}")))?;
        let Some(handle) = self.catalog.served(&note.plan).await? else {
            return Ok(Pushed { plan: note.plan, settled: 0, pending: 0 }); // since it was sent, the settings were narrowed
        };
        handle.ensure_current().await?;
        let tasks: Vec<_> = {
            let replica = handle.read();
            replica.records().filter(|record| record.is_dirty()).map(|record| record.id.clone()).collect()
        };
        // A deployment that may not write waits for nothing.
        let (checked, mut pause) = match self.engine.pushes() {
            Pushes::Sent => (tasks.as_slice(), FIRST_CHECK),
            Pushes::Held => (&[][..], LONGEST_PAUSE),
        };
        let mut pushes: FuturesUnordered<_> = checked.iter().map(|task| self.pusher.start(&handle, task)).collect();
        let mut settled = 0;
        let arrive = async {
            while let Some(outcome) = pushes.next().await {
                match outcome {
                    Ok(Outcome::Pending { retry_after, .. }) => pause = pause.max(retry_after),
                    Ok(_) => settled += 1,
                    Err(_) => {} // the worker is stopping; the task stays journalled
                }
            }
        };
        let _ = self.clock.timeout(CHECK_WAIT, arrive).await;
        let pending = tasks.len() - settled + self.resume_moves(Some(&note.plan)).await?;
        if pending > 0 {
            self.outbox.send(&note.plan, pause.min(LONGEST_PAUSE)).await?;
        }
        Ok(Pushed { plan: note.plan, settled, pending })
    }
}
