//! `$batch`: any number of requests, twenty at a time, several batches in flight.
//!
//! The outer 200 says nothing: every part has a status of its own, in any order, or is missing. Each part is judged
//! and repeated by itself, under the same rules and the same gate as a request sent alone.
//!
//! <https://learn.microsoft.com/graph/json-batching>

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures::future::join_all;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use hyper::body::Bytes;
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Map, Value, json};

use super::call::Call;
use super::client::{Client, decode};
use super::error::{Error, ErrorKind};
use super::request::Request;
use crate::http_client::{
    Answer, Deadline, Decision, Delivery, Ended, Mode, Outcome, Repeat, Workload, delivery, retry_after,
};

/// The most requests Graph takes in one batch.
const SIZE: usize = 20;

/// Receives after each finished item how many are finished.
pub type Progress<'a> = &'a (dyn Fn(usize) + Sync);

/// One request of a batch, with its history.
struct Item<'a> {
    index: usize,
    request: &'a Request,
    failures: u32,
    throttles: u32,
    earlier: Delivery,
}

#[derive(Deserialize)]
struct Responses {
    responses: Vec<Part>,
}

#[derive(Deserialize)]
struct Part {
    id: String,
    status: u16,
    headers: Option<HashMap<String, String>>,
    body: Option<Box<RawValue>>,
}

impl Part {
    fn into_answer(self, client_request_id: &str, earlier: Delivery) -> Answer {
        let header = |(name, value): (String, String)| {
            Some((HeaderName::from_bytes(name.as_bytes()).ok()?, HeaderValue::from_str(&value).ok()?))
        };
        Answer {
            // a status that is none counts as a failure of the service
            status: StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR),
            headers: self.headers.unwrap_or_default().into_iter().filter_map(header).collect::<HeaderMap>(),
            body: self.body.map(|body| Bytes::from(body.get().to_owned())).unwrap_or_default(),
            client_request_id: client_request_id.to_owned(),
            earlier,
        }
    }
}

/// The answer to a batch.
struct Received {
    /// Its parts by id.
    parts: HashMap<String, Part>,
    client_request_id: String,
    /// Whether an earlier sending of the whole batch may have had an effect.
    earlier: Delivery,
}

/// What became of a part.
enum Verdict {
    Done(Result<Answer, Error>),
    Again(Duration),
}

impl Client {
    /// Makes all requests; the outcomes are in the order of the requests. All share the call's one deadline.
    pub(super) async fn batch(
        &self,
        call: &Call,
        requests: &[Request],
        progress: Progress<'_>,
    ) -> Vec<Result<Answer, Error>> {
        let deadline = self.deadline(call);
        let done = AtomicUsize::new(0);
        let finished = || progress(done.fetch_add(1, Ordering::Relaxed) + 1);
        let item = |(index, request)| Item { index, request, failures: 0, throttles: 0, earlier: Delivery::NotSent };
        let mut items = requests.iter().enumerate().map(item);
        let chunks = std::iter::from_fn(|| {
            let chunk: Vec<_> = items.by_ref().take(SIZE).collect();
            (!chunk.is_empty()).then_some(chunk)
        });
        // The workload's gate decides how many of these are in flight.
        let outcomes = join_all(chunks.map(|chunk| self.chunk(call, deadline, chunk, &finished))).await;
        let mut outcomes: Vec<_> = outcomes.into_iter().flatten().collect();
        outcomes.sort_by_key(|(index, _)| *index);
        outcomes.into_iter().map(|(_, outcome)| outcome).collect()
    }

    /// Sends up to twenty requests together until each is settled.
    async fn chunk(
        &self,
        call: &Call,
        deadline: Deadline,
        mut pending: Vec<Item<'_>>,
        finished: &(dyn Fn() + Sync),
    ) -> Vec<(usize, Result<Answer, Error>)> {
        let mut settled = Vec::with_capacity(pending.len());
        while !pending.is_empty() {
            let Received { mut parts, client_request_id, earlier } =
                match self.send_batch(call, deadline, &pending).await {
                    Ok(received) => received,
                    Err(error) => {
                        for item in pending {
                            settled.push((item.index, Err(error.for_part(item.request).with_delivery(item.earlier))));
                            finished();
                        }
                        break;
                    }
                };
            let (mut again, mut wait) = (Vec::new(), Duration::ZERO);
            for (position, mut item) in pending.drain(..).enumerate() {
                let part = parts.remove(&position.to_string());
                // A batch that was sent before without an answer may have carried out each of its parts then.
                item.earlier = item.earlier.max(earlier);
                match self.judge(call.mode, deadline, &mut item, part, &client_request_id) {
                    Verdict::Done(outcome) => {
                        settled.push((item.index, outcome));
                        finished();
                    }
                    Verdict::Again(pause) => {
                        wait = wait.max(pause);
                        again.push(item);
                    }
                }
            }
            if let Some(item) = again.first() {
                self.http().announce_wait(item.request.workload).await;
            }
            pending = again;
            if !pending.is_empty() {
                self.clock().sleep(wait).await;
            }
        }
        settled
    }

    /// Judges one part by itself.
    fn judge(&self, mode: Mode, deadline: Deadline, item: &mut Item<'_>, part: Option<Part>, outer: &str) -> Verdict {
        let Request { operation, method, workload, .. } = item.request;
        let now = self.clock().now();
        let answer = part.map(|part| part.into_answer(outer, item.earlier));
        if let Some(answer) = &answer
            && answer.status.is_success()
        {
            return Verdict::Done(Ok(answer.clone()));
        }
        // a missing part may or may not have been carried out, like an answer that got lost
        let outcome = answer.as_ref().map_or(Outcome::Broken, |answer| Outcome::Status(answer.status.as_u16()));
        let throttled = outcome == Outcome::Status(429);
        item.failures += u32::from(!throttled);
        item.throttles += u32::from(throttled);
        let ended = Ended {
            failures: item.failures,
            throttles: item.throttles,
            repeat: item.request.repeat(),
            outcome,
            retry_after: answer.as_ref().and_then(|answer| retry_after(&answer.headers, now)),
            mode,
            deadline,
        };
        if let Decision::RetryAfter(wait) = self.http().consider(*workload, &ended) {
            item.earlier = item.earlier.max(delivery(outcome));
            // after a 429 the gate makes the next batch wait
            return Verdict::Again(if throttled { Duration::ZERO } else { wait });
        }
        Verdict::Done(Err(match answer {
            Some(answer) => Error::from_answer(operation, method, &answer, now),
            None => Error::new(operation, method, ErrorKind::Unknown).with_delivery(item.earlier),
        }))
    }

    /// Sends one batch.
    async fn send_batch(&self, call: &Call, deadline: Deadline, items: &[Item<'_>]) -> Result<Received, Error> {
        let parts: Vec<_> = items.iter().enumerate().map(|(position, item)| part(position, item.request)).collect();
        let safe = items.iter().all(|item| item.request.repeat() == Repeat::Safe);
        let workload = items.first().map_or(Workload::Planner, |item| item.request.workload);
        let mut request = Request::post("batch", workload, "/$batch", &json!({ "requests": parts }));
        request.safe = safe;
        request.only_reads = items.iter().all(|item| item.request.only_reads);
        let answer = self.send_to(call, &request, self.url(&request)?, deadline).await?;
        let Responses { responses } = decode("batch", &Method::POST, &answer.body)?;
        let parts = responses.into_iter().map(|part| (part.id.clone(), part)).collect();
        Ok(Received { parts, client_request_id: answer.client_request_id, earlier: answer.earlier })
    }
}

fn part(position: usize, request: &Request) -> Value {
    let mut part = Map::new();
    part.insert("id".to_owned(), position.to_string().into());
    part.insert("method".to_owned(), request.method.as_str().into());
    part.insert("url".to_owned(), request.path.clone().into());
    let headers: Map<_, _> =
        request.headers().into_iter().map(|(name, value)| (name.to_owned(), value.into())).collect();
    if !headers.is_empty() {
        part.insert("headers".to_owned(), headers.into());
    }
    if let Some(body) = &request.body {
        part.insert("body".to_owned(), body.clone());
    }
    part.into()
}
