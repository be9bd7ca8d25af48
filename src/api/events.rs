//! Events as they come, as a stream of server-sent events (HTML standard, section 9.2).
//!
//! A stream lives for a while and ends; the listener comes back with the id of the last event it has received, as browsers
//! do by themselves, and misses nothing.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::State as Shared;
use axum::http::{HeaderMap, HeaderName, HeaderValue, header};
use axum::response::sse::{Event, Sse};
use axum::response::{IntoResponse, Response};
use axum::{BoxError, Extension};
use chrono::{DateTime, TimeDelta, Utc};
use futures::stream;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::json;

use super::Readiness;
use super::extract::Query;
use super::operation::{GRAPH, Media, Operation, Place, Tag};
use super::problem::Problem;
use super::route::{Need, Route};
use super::sync;
use crate::auth::{Caller, Stream, Streams};
use crate::clock::Clock;
use crate::error::ErrorCode;
use crate::services::Error;
use crate::services::events::{EventMessage, Events, Feed};

/// How often a silent stream says that it lives; front ends end a response that says nothing for some minutes.
const HEARTBEAT: TimeDelta = TimeDelta::seconds(15);
/// How soon a stream notices that the process is stopping.
const POLL_INTERVAL: Duration = Duration::from_secs(1);
/// How long a listener waits for whom there was no room.
const COME_BACK_LATER: Duration = Duration::from_secs(10);
/// How long a listener waits before it comes back.
const COME_BACK: Duration = Duration::from_secs(1);

/// What comes, in the words of the document.
const STREAM: &str = "Server-sent events: `hello` first, then created, updated, deleted, synced, conflict, refused, plan_changed, stopped, resumed, each with an `EventView` as data, and `reset` where events since the cursor are not kept any more";

/// The route.
pub fn routes() -> Vec<Route> {
    let example = format!("event: updated\nid: c4tz118\ndata: {}\n\n", sync::event());
    let described = Operation::new(Tag::Sync, "listen_to_events", "Listen to what happens, as it happens")
        .more("The stream ends after some minutes; come back with `Last-Event-ID` and nothing is missed. In one plan events come in order.")
        .parameters::<Wanted>(Place::Query)
        .parameters::<Heard>(Place::Header)
        .sends(STREAM, vec![("text/event-stream", Media::Example(example))])
        .problems(GRAPH);
    vec![Route::get("/api/events", Need::Reads("planner"), listen).described(described)]
}

/// What a listener wants.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Wanted {
    /// Plan id or title; all plans if omitted
    plan: Option<String>,
    /// The id of the last event received; from now on if omitted
    cursor: Option<String>,
    /// End the stream after so long
    #[schemars(range(min = 1, max = 600), extend("default" = 600))]
    seconds: Option<u32>,
}

/// What a listener has received.
#[derive(JsonSchema)]
#[allow(dead_code)] // read by the document alone
struct Heard {
    /// The id of the last event received; wins over `cursor`
    #[schemars(rename = "Last-Event-ID")]
    last: Option<String>,
}

/// `GET /api/events`
async fn listen(
    Shared(events): Shared<Arc<Events>>,
    Shared(clock): Shared<Clock>,
    Extension(ready): Extension<Readiness>,
    Shared(streams): Shared<Streams>,
    caller: Caller,
    headers: HeaderMap,
    Query(wanted): Query<Wanted>,
) -> Result<Response, Problem> {
    // A browser that comes back repeats the address it was first given: what it says it has received is newer.
    let last = match headers.get("last-event-id").filter(|last| !last.is_empty()) {
        Some(last) => Some(last.to_str().map_err(|_| Error::invalid("`Last-Event-ID` is not plain ASCII"))?.to_owned()),
        None => wanted.cursor,
    };
    // Its time began when the request came, not after the first poll.
    let ends_at = clock.now() + TimeDelta::seconds(i64::from(events.life(wanted.seconds)));
    let open = streams.open(&caller).map_err(|many| {
        let error = Error::new(ErrorCode::Throttled, format!("{many}; nothing was opened"));
        Error { retry_after: Some(COME_BACK_LATER), ..error.hint("close one, or listen to all plans on one stream") }
    })?;
    let feed = events.listen(&caller, wanted.plan.as_deref(), last.as_deref()).await?;
    let stream = Streamed { feed, open, clock, ready, ends_at, spoke_at: None };
    let headers = [
        (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
        // A proxy in front would otherwise collect events before it passes them on.
        (HeaderName::from_static("x-accel-buffering"), HeaderValue::from_static("no")),
    ];
    Ok((headers, Sse::new(stream.events())).into_response())
}

struct Streamed {
    feed: Feed,
    open: Stream,
    clock: Clock,
    ready: Readiness,
    ends_at: DateTime<Utc>,
    /// When the listener last received something; `None` before its first event.
    spoke_at: Option<DateTime<Utc>>,
}

impl Streamed {
    fn events(self) -> impl stream::Stream<Item = Result<Event, BoxError>> {
        stream::try_unfold(
            self,
            |mut streamed| async move { Ok(streamed.next().await?.map(|event| (event, streamed))) },
        )
    }

    /// The next event; `None` at the end of the stream.
    async fn next(&mut self) -> Result<Option<Event>, BoxError> {
        if self.spoke_at.is_none() {
            self.spoke_at = Some(self.clock.now());
            // A listener that is cut off before anything happens knows where to resume.
            return Ok(Some(Event::default().event("hello").id(self.feed.cursor()).retry(COME_BACK).data("{}")));
        }
        loop {
            let now = self.clock.now();
            if now >= self.ends_at || self.ready.is_draining() || !self.open.may_go_on().await {
                return Ok(None);
            }
            let message = self.feed.next(POLL_INTERVAL).await.inspect_err(|error| {
                tracing::warn!(%error, "a stream of events ends early; its listener comes back");
            })?;
            let silent = self.spoke_at.is_none_or(|at| now - at >= HEARTBEAT);
            match message {
                Some(message) => {
                    self.spoke_at = Some(now);
                    return Ok(Some(event(&message)?));
                }
                None if silent => {
                    self.spoke_at = Some(now);
                    return Ok(Some(Event::default().comment("still here")));
                }
                None => {}
            }
        }
    }
}

fn event(message: &EventMessage) -> Result<Event, axum::Error> {
    let event = match &message.event {
        Some(view) => {
            let mut data = serde_json::to_value(view).map_err(axum::Error::new)?;
            crate::text::disarm(&mut data);
            Event::default().event(view.event).json_data(data)?
        }
        None => Event::default().event("reset").json_data(json!({ "event": "reset", "plan_id": message.plan_id }))?,
    };
    Ok(event.id(&message.place))
}
