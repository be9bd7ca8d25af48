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
use crate::services::events::{Events, Feed};
use crate::services::planner::Planner;
use crate::toolsets::Catalogue;
use crate::toolsets::resource::Address;

/// Resources a client may listen to on one stream.
const MOST: usize = 100;
/// How soon a stream notices that the process is stopping.
const POLL_INTERVAL: Duration = Duration::from_secs(1);
/// How long changes are gathered into one notification.
const TOGETHER: usize = 500;

/// The part of a request that can be granted: resources that change.
pub fn accepted(catalogue: &Catalogue, requested: &SubscriptionFilter) -> SubscriptionFilter {
    let wanted = requested.resource_subscriptions.iter().flatten();
    let can_be_heard = |uri: &str| catalogue.address(uri).is_some_and(|address| address.resource.can_be_heard());
    SubscriptionFilter::builder()
        .resource_subscriptions(wanted.filter(|uri| can_be_heard(uri)).take(MOST).cloned())
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
    /// What it listens to.
    pub listened: &'a [Address<'a>],
}

impl Listener<'_> {
    /// Tells a client of changes until it goes away, time is up or the process ends.
    ///
    /// # Errors
    /// When the caller has too many streams, or the events cannot be read.
    pub async fn run(&self, context: &SubscriptionContext) -> Result<(), ErrorData> {
        // A client that goes on listening proves again who it is.
        let ends_at = self.clock.now() + TimeDelta::seconds(i64::from(self.events.life(None)));
        let mut open = self.streams.open(self.caller).map_err(|many| {
            let error = Error::new(ErrorCode::Throttled, format!("{many}; nothing was opened"));
            broken(&error.hint("close one, or listen to all resources on one stream"))
        })?;
        let mut feed = self.events.listen(self.caller, None, None).await.map_err(|error| broken(&error))?;
        self.follow().await;
        // What happened while the stream was set up is not in it.
        let mut changed: BTreeSet<&str> = self.listened.iter().map(|listened| listened.uri.as_str()).collect();
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
                changed = changes(&mut feed, self.listened) => changed?,
                () = context.cancelled() => return Ok(()),
                () = self.stop.cancelled() => return Ok(()),
            };
        }
    }

    /// Has the plans refreshed that are listened to: one that nobody has used yet would never change here.
    async fn follow(&self) {
        let plans: BTreeSet<&str> = self.listened.iter().filter_map(|listened| listened.ids.get("plan_id")).collect();
        for plan in plans {
            if let Err(error) = self.planner.get_plan(self.caller, Some(plan), None).await {
                tracing::debug!(%error, "a plan that is listened to cannot be read");
            }
        }
    }
}

/// The resources that show what happens next; none when nothing does for a moment.
async fn changes<'a>(feed: &mut Feed, listened: &'a [Address<'_>]) -> Result<BTreeSet<&'a str>, ErrorData> {
    let mut changed = BTreeSet::new();
    let mut patience = POLL_INTERVAL;
    for _ in 0..TOGETHER {
        let Some(message) = feed.next(patience).await.map_err(|error| broken(&error))? else { break };
        changed.extend(
            listened
                .iter()
                .filter(|listened| listened.resource.shows(&listened.ids, &message))
                .map(|listened| listened.uri.as_str()),
        );
        patience = Duration::ZERO;
    }
    Ok(changed)
}

fn broken(error: &Error) -> ErrorData {
    tracing::warn!(%error, "a stream of changes ends early; its listener comes back");
    ErrorData::internal_error(error.sentence(), Some(json!({ "error": error.members() })))
}
