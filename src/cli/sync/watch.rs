//! `graphgate sync watch`: a line for each event, over disconnections and restarts of the server.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use serde_json::{Value, json};

use super::stream::{Heard, Reader};
use crate::cli::failure::Failure;
use crate::cli::output::{Output, Written, note};
use crate::cli::rest::Rest;
use crate::clock::Clock;

/// Pause before the listener comes back; doubled with each failure in a row.
const COME_BACK: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// What is watched.
#[derive(Debug, clap::Args)]
pub struct Options {
    /// Plan id or title; all plans if omitted
    #[arg(long)]
    plan: Option<String>,
    /// Begin behind this cursor: the `cursor` of an event, or of the tool `get_changes`
    #[arg(long, value_name = "CURSOR")]
    since: Option<String>,
    /// Stop after so long; for ever without
    #[arg(long, value_name = "N")]
    seconds: Option<u32>,
}

/// Follows events until time is up or nobody reads them.
///
/// # Errors
/// When the server cannot be reached at first, or refuses the listener.
pub async fn run(rest: &Rest, output: &Output, options: Options) -> anyhow::Result<()> {
    let clock = Clock::system();
    let ends_at = options.seconds.map(|seconds| clock.now() + TimeDelta::seconds(seconds.into()));
    let mut watch = Watch { rest, output, clock, plan: options.plan, last: options.since, ends_at };
    let mut met = false;
    let mut pause = COME_BACK;
    while watch.goes_on() {
        match watch.listen(&mut met).await {
            Ok(Ended::Stream) => pause = COME_BACK,
            Ok(Ended::Watch) => return Ok(()),
            // A listener resumes when the server is back; a refusal says what is wrong, and is final.
            Err(failure) if met && !failure.is_refusal() => {
                note(&format!("{failure}; trying again"));
                pause = (pause * 2).min(LONGEST_PAUSE);
            }
            Err(failure) => return Err(failure.into()),
        }
        watch.pause(pause).await;
    }
    Ok(())
}

struct Watch<'a> {
    rest: &'a Rest,
    output: &'a Output,
    clock: Clock,
    plan: Option<String>,
    /// The last place between two transactions that was received.
    last: Option<String>,
    ends_at: Option<DateTime<Utc>>,
}

/// What has come to its end.
enum Ended {
    /// The connection, as all do after some minutes.
    Stream,
    /// The time, or the reader of the output.
    Watch,
}

impl Watch<'_> {
    fn left(&self) -> Option<Duration> {
        self.ends_at.map(|end| (end - self.clock.now()).to_std().unwrap_or_default())
    }

    fn goes_on(&self) -> bool {
        self.left().is_none_or(|left| !left.is_zero())
    }

    async fn pause(&self, pause: Duration) {
        self.clock.sleep(self.left().map_or(pause, |left| left.min(pause))).await;
    }

    async fn listen(&mut self, met: &mut bool) -> Result<Ended, Failure> {
        let query = [("plan", self.plan.as_deref())];
        let mut answer = self.rest.stream("api/events", &query, self.last.as_deref()).await?;
        *met = true;
        let mut reader = Reader::default();
        loop {
            let chunk = match self.left() {
                None => answer.chunk().await,
                Some(left) => match self.clock.timeout(left, answer.chunk()).await {
                    Some(chunk) => chunk,
                    None => return Ok(Ended::Watch),
                },
            };
            // A connection that broke is one that has ended: what was not received is sent again.
            let Ok(Some(chunk)) = chunk else { return Ok(Ended::Stream) };
            for heard in reader.take(&chunk) {
                if self.print(&heard)? == Written::NobodyReads {
                    return Ok(Ended::Watch);
                }
            }
        }
    }

    fn print(&mut self, heard: &Heard) -> Result<Written, Failure> {
        if heard.id.is_some() {
            self.last.clone_from(&heard.id);
        }
        if heard.event == "hello" {
            return Ok(Written::Yes);
        }
        let mut event: Value = serde_json::from_str(&heard.data).unwrap_or_else(|_| json!({ "event": heard.event }));
        if let (Some(members), Some(id)) = (event.as_object_mut(), &heard.id) {
            members.insert("cursor".into(), json!(id));
        }
        self.output.print_line(&event, &line(&event))
    }
}

/// An event for people.
fn line(event: &Value) -> String {
    let text = |member: &str| event.get(member).and_then(Value::as_str).unwrap_or_default();
    let mut line = format!("{}  {:<12}  {}", text("at"), text("event"), text("plan"));
    if text("event") == "reset" {
        return format!("{line}{}: events since then are not kept any more; read the plan again", text("plan_id"));
    }
    if !text("title").is_empty() {
        line.push_str(&format!(": {}", text("title")));
    }
    let fields: Vec<&str> =
        event.get("fields").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str).collect();
    if !fields.is_empty() {
        line.push_str(&format!(" ({})", fields.join(", ")));
    }
    if !text("side").is_empty() {
        line.push_str(&format!("  by {}", if text("by").is_empty() { text("side") } else { text("by") }));
    }
    if !text("reason").is_empty() {
        line.push_str(&format!("  {}", text("reason")));
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn event_prints_as_one_line() {
        let event = json!({
            "event": "updated", "at": "2026-11-25T15:00:00Z", "plan": "Website", "title": "Ship it",
            "fields": ["title", "bucket"], "side": "agent", "by": "key:1a2b",
        });
        assert_eq!(line(&event), "2026-11-25T15:00:00Z  updated       Website: Ship it (title, bucket)  by key:1a2b");
        let reset = json!({"event": "reset", "plan_id": "p"});
        assert!(line(&reset).ends_with("p: events since then are not kept any more; read the plan again"));
    }
}
