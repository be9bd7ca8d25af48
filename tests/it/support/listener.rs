//! A listener on the stream of events, over HTTP alone.

use std::time::Duration;

use serde_json::Value;
use url::Url;

use super::World;

/// A listener on a stream of events.
pub struct Listener {
    answer: reqwest::Response,
    text: String,
}

/// An event as it came over the wire.
#[derive(Debug, Clone)]
pub struct Heard {
    pub name: String,
    pub id: Option<String>,
    pub data: Value,
}

impl Listener {
    pub async fn open(world: &World, query: &str, last: Option<&str>) -> Self {
        Self::at(&world.api_url(), query, last).await
    }

    /// As [`Self::open`], at any instance.
    pub async fn at(base: &Url, query: &str, last: Option<&str>) -> Self {
        let url = base.join(&format!("api/events{query}")).unwrap();
        let mut request = reqwest::Client::new().get(url);
        if let Some(last) = last {
            request = request.header("last-event-id", last);
        }
        let answer = request.send().await.unwrap();
        assert_eq!(answer.status(), 200);
        assert_eq!(answer.headers()["content-type"], "text/event-stream");
        Self { answer, text: String::new() }
    }

    /// The next event; `None` at the end of the stream.
    pub async fn hear(&mut self) -> Option<Heard> {
        loop {
            while let Some((block, rest)) = self.text.split_once("\n\n") {
                let field = |name: &str| {
                    block.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": ").map(str::to_owned))
                };
                let heard = field("event").map(|name| Heard {
                    name,
                    id: field("id"),
                    data: serde_json::from_str(&field("data").unwrap()).unwrap(),
                });
                let rest = rest.to_owned();
                self.text = rest;
                if heard.is_some() {
                    return heard;
                }
            }
            let chunk = tokio::time::timeout(Duration::from_secs(20), self.answer.chunk()).await;
            let chunk = chunk.expect("the stream says something").unwrap()?;
            self.text.push_str(std::str::from_utf8(&chunk).unwrap());
        }
    }

    /// The next event of a kind about a task.
    pub async fn hear_of(&mut self, name: &str, task: &str) -> Heard {
        loop {
            let heard = self.hear().await.expect("the stream goes on");
            if heard.name == name && heard.data["task_id"] == task {
                return heard;
            }
        }
    }
}
