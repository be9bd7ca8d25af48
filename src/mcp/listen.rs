//! Clients that listen to resources are notified when one has changed (`subscriptions/listen`, revision 2026-07-28).
//!
//! The stream of events says what happened; here is only which resources show it. A client is notified *that* something
//! changed and reads it again, so changes that happen together are one notification. Older clients would need a session,
//! which this server does not keep: to them it does not offer to listen.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use chrono::TimeDelta;
use rmcp::ErrorData;
use rmcp::model::SubscriptionFilter;
use rmcp::service::SubscriptionContext;
use serde_json::json;
use tokio_util::sync::CancellationToken;

use crate::auth::{Caller, Streams};
use crate::clock::Clock;
use crate::error::ErrorCode;
use crate::services::Error;
use crate::services::events::{EventMessage, Events, Feed};
use crate::services::planner::Planner;
use crate::services::planner::words::same_name;
use crate::toolsets::resources::segments;

/// Resources a client may listen to on one stream.
const MOST: usize = 100;
/// How soon a stream notices that the process is stopping.
const POLL_INTERVAL: Duration = Duration::from_secs(1);
/// How long changes are gathered into one notification.
const TOGETHER: usize = 500;

/// The part of a request that can be granted: resources of plans.
pub fn accepted(requested: &SubscriptionFilter) -> SubscriptionFilter {
    let wanted = requested.resource_subscriptions.iter().flatten();
    SubscriptionFilter::builder()
        .resource_subscriptions(wanted.filter(|uri| Listened::parse(uri).is_some()).take(MOST).cloned())
        .build()
}

/// What a listener needs.
pub struct Listener<'a> {
    pub planner: &'a Arc<Planner>,
    pub events: &'a Arc<Events>,
    pub streams: &'a Streams,
    pub caller: &'a Caller,
    pub clock: &'a Clock,
    /// Ends when the process does.
    pub stop: &'a CancellationToken,
}

impl Listener<'_> {
    /// Tells a client of changes until it goes away, time is up or the process ends.
    ///
    /// # Errors
    /// When the caller may not read plans, or the events cannot be read.
    pub async fn run(&self, context: &SubscriptionContext) -> Result<(), ErrorData> {
        let accepted = context.accepted().resource_subscriptions.clone().unwrap_or_default();
        let listened: Vec<Listened> = accepted.iter().filter_map(|uri| Listened::parse(uri)).collect();
        // A client that keeps listening proves again who it is.
        let ends_at = self.clock.now() + TimeDelta::seconds(i64::from(self.events.life(None)));
        let mut open = self.streams.open(self.caller).map_err(|many| {
            let error = Error::new(ErrorCode::Throttled, format!("{many}; nothing was opened"));
            broken(&error.hint("close one, or listen to all resources on one stream"))
        })?;
        let mut feed = self.events.listen(self.caller, None, None).await.map_err(|error| broken(&error))?;
        self.follow(&listened).await;
        // What happened while the stream was set up is not in it.
        let mut changed: BTreeSet<&str> = listened.iter().map(|listened| listened.uri.as_str()).collect();
        loop {
            for uri in std::mem::take(&mut changed) {
                if context.sink().notify_resource_updated(uri).await.is_err() {
                    return Ok(()); // the client is gone
                }
            }
            if self.clock.now() >= ends_at || !open.may_go_on().await {
                return Ok(());
            }
            changed = tokio::select! {
                changed = changes(&mut feed, &listened) => changed?,
                () = context.cancelled() => return Ok(()),
                () = self.stop.cancelled() => return Ok(()),
            };
        }
    }

    /// Has the plans refreshed that are listened to: one that nobody has used yet would never change here.
    async fn follow(&self, listened: &[Listened]) {
        let plans: BTreeSet<&str> = listened.iter().filter_map(|listened| listened.plan.as_deref()).collect();
        for plan in plans {
            if let Err(error) = self.planner.get_plan(self.caller, Some(plan), None).await {
                tracing::debug!(%error, "a plan that is listened to cannot be read");
            }
        }
    }
}

/// The resources that show what happens next; none when nothing does for a moment.
async fn changes<'a>(feed: &mut Feed, listened: &'a [Listened]) -> Result<BTreeSet<&'a str>, ErrorData> {
    let mut changed = BTreeSet::new();
    let mut patience = POLL_INTERVAL;
    for _ in 0..TOGETHER {
        let Some(told) = feed.next(patience).await.map_err(|error| broken(&error))? else { break };
        changed.extend(listened.iter().filter(|listened| listened.shows(&told)).map(|listened| listened.uri.as_str()));
        patience = Duration::ZERO;
    }
    Ok(changed)
}

fn broken(error: &Error) -> ErrorData {
    tracing::warn!(%error, "a stream of changes ends early; its listener comes back");
    ErrorData::internal_error(error.sentence(), Some(json!({ "error": error.members() })))
}

/// A resource somebody listens to.
#[derive(Debug, PartialEq, Eq)]
struct Listened {
    uri: String,
    /// Id or title; none for the list of plans.
    plan: Option<String>,
    part: Part,
}

#[derive(Debug, PartialEq, Eq)]
enum Part {
    Plans,
    Summary,
    Buckets,
    Tasks,
    Task(String),
}

impl Listened {
    fn parse(uri: &str) -> Option<Self> {
        let parts = segments(uri)?;
        let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
        let (plan, part) = match parts.as_slice() {
            ["plans"] => (None, Part::Plans),
            ["plans", plan] => (Some(*plan), Part::Summary),
            ["plans", plan, "buckets"] => (Some(*plan), Part::Buckets),
            ["plans", plan, "tasks"] => (Some(*plan), Part::Tasks),
            ["plans", plan, "tasks", task] => (Some(*plan), Part::Task((*task).to_owned())),
            _ => return None,
        };
        Some(Self { uri: uri.to_owned(), plan: plan.map(str::to_owned), part })
    }

    /// Whether a client that reads the resource may see what happened.
    fn shows(&self, told: &EventMessage) -> bool {
        let title = told.event.as_ref().and_then(|event| event.plan.as_deref());
        let meant = |plan: &str| plan == told.plan_id || title.is_some_and(|title| same_name(title, plan));
        if !self.plan.as_deref().is_none_or(meant) {
            return false;
        }
        let Some(event) = &told.event else { return true }; // events were missed: anything may have changed
        let task = event.task_id.as_deref();
        let counts = matches!(event.event, "created" | "deleted")
            || event.fields.iter().any(|field| matches!(*field, "bucket" | "percent_complete" | "due_date"));
        match &self.part {
            Part::Plans => event.event == "plan_changed",
            Part::Summary => task.is_none() || counts,
            Part::Buckets => event.event == "plan_changed" || counts,
            Part::Tasks => task.is_some() || event.event == "plan_changed",
            Part::Task(id) => task == Some(id) || event.event == "plan_changed",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_can_change_is_listened_to() {
        let wanted = [
            "planner://plans",
            "planner://plans/p/tasks/t",
            "planner://plans/Q4%20launch",
            "planner://reports/r",
            "planner://plans/p/x",
            "planner://",
            "https://example.com",
        ];
        let accepted =
            accepted(&SubscriptionFilter::builder().resource_subscriptions(wanted).tools_list_changed().build());
        assert_eq!(accepted.resource_subscriptions.unwrap(), wanted[..3]);
        assert_eq!(accepted.tools_list_changed, None, "tools change with a deployment alone");
        let title = Listened::parse("planner://plans/Q4%20launch").unwrap();
        assert_eq!(title.plan.as_deref(), Some("Q4 launch"));
    }
}
