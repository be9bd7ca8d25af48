//! Trying again now, because a person says that the obstacle is gone.
//!
//! What waits is tried by itself, with pauses that grow to five minutes; a replay ends the pauses. One of everything, by
//! a caller who may touch every plan, also ends the waits that Microsoft Graph asked for. What Planner refused for good is not tried by itself: its values lie in the conflict log, and
//! are written again if that is asked for.

use std::sync::Arc;

use futures::StreamExt;
use futures::stream::FuturesUnordered;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::conflicts::LARGEST_PAGE;
use super::{ConflictKindView, ConflictQuery, Planner, SyncOutcome};
use crate::auth::Caller;
use crate::services::Error;
use crate::services::IntoJson;
use crate::sync::{Outcome, PlanHandle};

/// Plans tried together.
const PARALLEL: usize = 4;
/// Refused values of a plan that one call writes again.
const REFUSED: usize = 100;
/// Messages given up on that one call sends again.
const MESSAGES: usize = 1000;

/// What is to be tried again.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Replay {
    /// Plan id or title; all plans in use if omitted
    pub plan_id: Option<String>,
    /// Write again too what Planner had refused for good
    pub refused: Option<bool>,
}

/// What a replay came to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Replayed {
    /// The plans that had something to try.
    pub plans: Vec<ReplayedPlan>,
    /// Reminders sent again that had been given up on.
    pub reminders: usize,
}

/// What a replay came to in a plan.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct ReplayedPlan {
    /// The plan.
    pub plan_id: String,
    /// Its title.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub plan: Option<String>,
    /// Tasks Planner has now.
    pub arrived: usize,
    /// Tasks it refuses; the conflict log has the values.
    pub refused: usize,
    /// Tasks that have to wait on.
    pub pending: usize,
    /// Why one of these cannot be sent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

impl IntoJson for Replayed {}

impl Planner {
    /// Tries again what has yet to reach Planner, and waits for it for a while.
    ///
    /// # Errors
    /// When there is no such plan, or the store cannot be read.
    pub async fn replay(&self, caller: &Caller, replay: &Replay) -> Result<Replayed, Error> {
        let handles = match replay.plan_id.as_deref() {
            Some(plan) => vec![self.catalog.resolve(&caller.plan_scope, Some(plan)).await?],
            None => self.followed(caller).await?,
        };
        // They are about any plan: not for a caller that may see only some.
        let everything = replay.plan_id.is_none() && caller.plan_scope.is_everywhere();
        if everything {
            self.graph.lift_waits().await;
        }
        let reminders = if everything { self.outbox.redrive(MESSAGES).await? } else { 0 };
        let tries = handles.into_iter().map(|handle| async move {
            handle.ensure_current().await?;
            self.try_again(caller, &handle, replay.refused == Some(true)).await
        });
        let tries: Vec<_> = futures::stream::iter(tries).buffered(PARALLEL).collect().await;
        let plans = tries.into_iter().collect::<Result<Vec<_>, Error>>()?;
        let had_something = |plan: &ReplayedPlan| plan.arrived + plan.refused + plan.pending > 0;
        Ok(Replayed { plans: plans.into_iter().filter(had_something).collect(), reminders })
    }

    async fn try_again(&self, caller: &Caller, handle: &Arc<PlanHandle>, refused: bool) -> Result<ReplayedPlan, Error> {
        let mut tried = ReplayedPlan {
            plan_id: handle.id.to_string(),
            plan: handle.plan().map(|plan| plan.title.clone()),
            arrived: 0,
            refused: 0,
            pending: 0,
            reason: None,
        };
        if refused {
            self.write_refused_again(caller, &mut tried).await?;
        }
        let tasks: Vec<_> = {
            let replica = handle.read();
            replica.records().filter(|record| record.is_dirty()).map(|record| record.id.clone()).collect()
        };
        tried.pending = tasks.len();
        let mut pushes: FuturesUnordered<_> = tasks.iter().map(|task| self.pusher.start_now(handle, task)).collect();
        let arrive = async {
            while let Some(outcome) = pushes.next().await {
                match outcome {
                    Ok(Outcome::Synced { .. }) => tried.arrived += 1,
                    Ok(Outcome::Failed { reason, .. }) => {
                        tried.refused += 1;
                        tried.reason = Some(reason);
                    }
                    Ok(Outcome::Pending { reason, .. }) => {
                        tried.reason = Some(reason);
                        continue;
                    }
                    Err(_) => continue, // the worker is stopping; the task stays journalled
                }
                tried.pending -= 1;
            }
        };
        let _ = self.clock.timeout(self.settings.bulk_wait, arrive).await;
        if tried.pending > 0 {
            self.remember(handle).await;
        }
        Ok(tried)
    }

    /// Puts back what Planner had refused, as edits of the caller.
    async fn write_refused_again(&self, caller: &Caller, tried: &mut ReplayedPlan) -> Result<(), Error> {
        let mut query = ConflictQuery {
            plan_id: Some(tried.plan_id.clone()),
            open: Some(true),
            limit: Some(LARGEST_PAGE),
            ..ConflictQuery::default()
        };
        let mut conflicts = Vec::new();
        loop {
            let page = self.conflicts(caller, &query).await?;
            conflicts.extend(page.conflicts.into_iter().filter(|conflict| conflict.kind == ConflictKindView::Refused));
            conflicts.truncate(REFUSED);
            if page.complete || conflicts.len() == REFUSED {
                break;
            }
            query.cursor = page.cursor;
        }
        conflicts.reverse(); // the oldest first, so that of two values for a field the later one stays
        for conflict in conflicts {
            match self.restore(caller, &conflict.id).await {
                Ok(receipt) if receipt.sync == SyncOutcome::Pending => {} // counted with all that waits
                Ok(_) => tried.arrived += 1,
                Err(error) => {
                    tried.refused += 1;
                    tried.reason = Some(error.message);
                }
            }
        }
        Ok(())
    }
}
