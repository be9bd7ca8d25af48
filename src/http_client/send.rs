//! The loop around one call: queue, send, learn, decide, repeat.

use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use hyper::body::Bytes;
use tracing::Instrument;
use url::Url;

use super::deadline::{Deadline, between};
use super::lane::Lane;
use super::retry::{Decision, Mode, Outcome, Repeat, Situation, decide, delay};
use super::throttle::{LONGEST_WAIT, Permit, Place};
use super::{HttpClient, Workload, redact, trace};

/// The id we give each attempt; Graph echoes it and Microsoft's support asks for it.
pub const CLIENT_REQUEST_ID: HeaderName = HeaderName::from_static("client-request-id");
const REQUEST_ID: HeaderName = HeaderName::from_static("request-id");

/// A call to be made.
#[derive(Debug, Clone)]
pub struct Outgoing {
    /// The name of the operation, for logs: `get_task`.
    pub operation: &'static str,
    /// Whose gate it passes.
    pub workload: Workload,
    /// The method.
    pub method: Method,
    /// What it is about within its workload, such as a plan, as a number: one that fails is no failure of the others.
    pub target: Option<u64>,
    /// The whole address.
    pub url: Url,
    /// All headers but `client-request-id`.
    pub headers: HeaderMap,
    /// The body as sent.
    pub body: Option<Bytes>,
    /// Whether sending it twice is harmless.
    pub repeat: Repeat,
    /// Whose time it takes.
    pub mode: Mode,
    /// When nobody waits for it any longer.
    pub deadline: Deadline,
}

/// Whether a request may have had an effect although its answer is not known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Delivery {
    /// No attempt left an open question: it was not sent, or it was answered.
    NotSent,
    /// An attempt was sent and its answer lost, or a failing server may have carried it out.
    MaybeSent,
}

/// An answer of any status.
#[derive(Debug, Clone)]
pub struct Answer {
    /// The status of the last attempt.
    pub status: StatusCode,
    /// Its headers.
    pub headers: HeaderMap,
    /// Its body.
    pub body: Bytes,
    /// The `client-request-id` of the last attempt.
    pub client_request_id: String,
    /// Whether an attempt *before* the last may have had an effect.
    pub earlier: Delivery,
}

/// An attempt that has ended, as [`HttpClient::consider`] wants to know it.
#[derive(Debug, Clone, Copy)]
pub struct Ended {
    /// Failures of this call so far, this one included, throttling aside.
    pub failures: u32,
    /// How often it was throttled so far, this time included.
    pub throttles: u32,
    /// May it be repeated?
    pub repeat: Repeat,
    /// How it ended.
    pub outcome: Outcome,
    /// What the answer's `Retry-After` says.
    pub retry_after: Option<Duration>,
    /// Whose time it is.
    pub mode: Mode,
    /// When nobody waits any longer.
    pub deadline: Deadline,
}

/// There is no answer to give.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Failure {
    /// The service asks for a longer wait than the deadline leaves.
    #[error("throttled; retry after {} s", retry_after.as_secs_f64().ceil())]
    Throttled {
        /// The wait from now.
        retry_after: Duration,
        /// Whether an earlier attempt may have had an effect.
        delivery: Delivery,
    },
    /// The service is down; calls are held back.
    #[error("calls are held back after repeated failures; retry after {} s", retry_after.as_secs_f64().ceil())]
    BreakerOpen {
        /// The wait from now.
        retry_after: Duration,
        /// Whether an earlier attempt may have had an effect.
        delivery: Delivery,
    },
    /// Time ran out.
    #[error("no answer in time")]
    TimedOut {
        /// Whether the request may have had an effect.
        delivery: Delivery,
    },
    /// No connection, or one that broke.
    #[error("{reason}")]
    Unreachable {
        /// The transport's reasons, without the URL.
        reason: String,
        /// Whether the request may have had an effect.
        delivery: Delivery,
    },
}

/// How one attempt ended, with what it brought.
enum Attempt {
    Answered(StatusCode, HeaderMap, Bytes),
    Failed(Outcome, String),
}

impl Attempt {
    fn outcome(&self) -> Outcome {
        match self {
            Self::Answered(status, ..) => Outcome::Status(status.as_u16()),
            Self::Failed(outcome, _) => *outcome,
        }
    }
}

impl HttpClient {
    /// Makes the call: waits for its turn, sends it, repeats it as [`decide`] says.
    ///
    /// A 5xx that may not be repeated (any more) comes back as an answer.
    ///
    /// # Errors
    /// When there is no answer: see [`Failure`].
    pub async fn send(&self, call: &Outgoing) -> Result<Answer, Failure> {
        if !call.workload.is_shared() {
            return self.send_until_answered(call).await;
        }
        let span = trace::span(call);
        let sent = self.send_until_answered(call).instrument(span.clone()).await;
        trace::record(&span, &sent);
        sent
    }

    async fn send_until_answered(&self, call: &Outgoing) -> Result<Answer, Failure> {
        let lane = self.lane(call.workload);
        let place = lane.throttle.place(call.mode);
        self.adopt_waits(call.workload).await;
        let (mut failures, mut throttles, mut earlier) = (0, 0, Delivery::NotSent);
        loop {
            let client_request_id = self.entropy.guid();
            let sent = self.attempt(lane, place, call, &client_request_id, failures + throttles).await;
            let (attempt, permit) = match sent {
                Ok(sent) => sent,
                Err(held) => {
                    lane.counters.not_sent.inc();
                    return Err(held.into_failure(earlier));
                }
            };
            let outcome = attempt.outcome();
            let (wait, throttled) = (named_wait(&attempt, self), outcome == Outcome::Status(429));
            failures += u32::from(!throttled);
            throttles += u32::from(throttled);
            let (repeat, mode, deadline) = (call.repeat, call.mode, call.deadline);
            let ended = Ended { failures, throttles, repeat, outcome, retry_after: wait, mode, deadline };
            let decision = self.consider(call.workload, &ended);
            self.announce_wait(call.workload).await;
            drop(permit); // not before the gate had its chance to close, or the next in line slips through
            match decision {
                Decision::RetryAfter(wait) => {
                    earlier = earlier.max(delivery(outcome));
                    if !throttled {
                        self.clock.sleep(wait).await;
                    }
                }
                Decision::FailFast(_) | Decision::Return => return hand_over(attempt, client_request_id, earlier),
            }
        }
    }

    /// Decides after an attempt (or a part of a batch), pays for the retry, and closes the workload's gate when the
    /// service asked for it: with 429, or with a 503 that names its time.
    #[must_use]
    pub fn consider(&self, workload: Workload, ended: &Ended) -> Decision {
        let lane = self.lane(workload);
        let named = ended.retry_after;
        let retry_after = named.map(|wait| wait.min(LONGEST_WAIT));
        let situation = Situation {
            failures: ended.failures,
            throttles: ended.throttles,
            repeat: ended.repeat,
            outcome: ended.outcome,
            retry_after,
            mode: ended.mode,
            budget: lane.budget(),
            time_left: ended.deadline.left(self.clock.steady()),
            jitter: self.entropy.fraction(),
        };
        let decision = decide(&situation);
        match (ended.outcome, ended.retry_after) {
            (Outcome::Status(429), _) => lane.throttled(match decision {
                Decision::RetryAfter(wait) => wait,
                _ => delay(&situation),
            }),
            (Outcome::Status(503), Some(wait)) => lane.throttle.close_for(wait),
            _ => {}
        }
        if matches!(decision, Decision::RetryAfter(_)) {
            lane.pay(ended.outcome, ended.retry_after);
        }
        decision
    }

    /// Queues and sends once.
    async fn attempt<'a>(
        &self,
        lane: &'a Lane,
        place: Place,
        call: &Outgoing,
        client_request_id: &str,
        before: u32,
    ) -> Result<(Attempt, Permit<'a>), Held> {
        lane.check().map_err(Held::Breaker)?;
        let permit = lane.throttle.acquire(place, call.deadline).await.map_err(|full| Held::Gate(full.retry_after))?;
        let admission = lane.admit().map_err(Held::Breaker)?;
        let started = self.clock.steady();
        let limit = self.attempt_limit(call.workload, call.mode).min(call.deadline.left(started));
        let sending = self.exchange(call, client_request_id);
        let attempt = match self.clock.timeout(limit, sending).await {
            Some(attempt) => attempt,
            None => Attempt::Failed(Outcome::TimedOut, "no answer in time".to_owned()),
        };
        let elapsed = between(started, self.clock.steady());
        admission.finish(attempt.outcome(), call.target);
        self.attempts.record(call, attempt.outcome(), elapsed);
        lane.counters.retries.inc_by(u64::from(before > 0));
        log(call, &attempt, elapsed, before, client_request_id);
        Ok((attempt, permit))
    }

    async fn exchange(&self, call: &Outgoing, client_request_id: &str) -> Attempt {
        let mut headers = call.headers.clone();
        if let Ok(id) = HeaderValue::from_str(client_request_id) {
            headers.insert(CLIENT_REQUEST_ID, id);
        }
        let mut request =
            self.reqwest_client(&call.url).request(call.method.clone(), call.url.clone()).headers(headers);
        request = match &call.body {
            Some(body) if !body.is_empty() => request.body(body.clone()),
            // Storage and others refuse a request that might have a body and does not say that it has none (411).
            _ if matches!(call.method, Method::POST | Method::PUT | Method::PATCH) => {
                request.header(header::CONTENT_LENGTH, 0)
            }
            _ => request,
        };
        let answer = match request.send().await {
            Ok(answer) => answer,
            Err(error) => return failed(error),
        };
        let (status, headers) = (answer.status(), answer.headers().clone());
        match answer.bytes().await {
            Ok(body) => Attempt::Answered(status, headers, body),
            // A refusal is a refusal even when its explanation got lost.
            Err(_) if status.is_client_error() => Attempt::Answered(status, headers, Bytes::new()),
            Err(error) => failed(error),
        }
    }
}

/// Why an attempt was not sent.
enum Held {
    Gate(Duration),
    Breaker(Duration),
}

impl Held {
    fn into_failure(self, delivery: Delivery) -> Failure {
        match self {
            Self::Gate(retry_after) if retry_after.is_zero() => Failure::TimedOut { delivery },
            Self::Gate(retry_after) => Failure::Throttled { retry_after, delivery },
            Self::Breaker(retry_after) => Failure::BreakerOpen { retry_after, delivery },
        }
    }
}

fn hand_over(attempt: Attempt, client_request_id: String, earlier: Delivery) -> Result<Answer, Failure> {
    match attempt {
        Attempt::Answered(status, headers, body) => Ok(Answer { status, headers, body, client_request_id, earlier }),
        Attempt::Failed(outcome @ Outcome::TimedOut, _) => {
            Err(Failure::TimedOut { delivery: earlier.max(delivery(outcome)) })
        }
        Attempt::Failed(outcome, reason) => {
            Err(Failure::Unreachable { reason, delivery: earlier.max(delivery(outcome)) })
        }
    }
}

/// Whether an attempt that ended so may have had an effect.
#[must_use]
pub const fn delivery(outcome: Outcome) -> Delivery {
    match outcome {
        Outcome::Status(408 | 500..) | Outcome::Broken | Outcome::TimedOut => Delivery::MaybeSent,
        Outcome::Status(_) | Outcome::ConnectFailed => Delivery::NotSent,
    }
}

fn failed(error: reqwest::Error) -> Attempt {
    let outcome = if error.is_connect() || error.is_builder() {
        Outcome::ConnectFailed
    } else if error.is_timeout() {
        Outcome::TimedOut
    } else {
        Outcome::Broken
    };
    Attempt::Failed(outcome, redact::transport(error))
}

fn named_wait(attempt: &Attempt, client: &HttpClient) -> Option<Duration> {
    match attempt {
        Attempt::Answered(_, headers, _) => retry_after(headers, client.clock.now()),
        Attempt::Failed(..) => None,
    }
}

/// What `Retry-After` demands: seconds, or an HTTP date, which is compared with the answer's own `Date`.
#[must_use]
pub fn retry_after(headers: &HeaderMap, now: chrono::DateTime<chrono::Utc>) -> Option<Duration> {
    let text = headers.get(header::RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(seconds) = text.parse::<u64>() {
        return Some(Duration::from_secs(seconds));
    }
    let until = httpdate::parse_http_date(text).ok()?;
    let sent = headers.get(header::DATE).and_then(|date| date.to_str().ok());
    let sent = sent.and_then(|date| httpdate::parse_http_date(date).ok()).unwrap_or_else(|| now.into());
    Some(until.duration_since(sent).unwrap_or_default())
}

/// One line per attempt: no query (it may hold names), no headers, no body.
fn log(call: &Outgoing, attempt: &Attempt, elapsed: Duration, before: u32, client_request_id: &str) {
    let (status, request_id, reason) = match attempt {
        Attempt::Answered(status, headers, _) => {
            let id = headers.get(REQUEST_ID).and_then(|id| id.to_str().ok()).unwrap_or_default();
            (status.as_u16(), id, "")
        }
        Attempt::Failed(_, reason) => (0, "", reason.as_str()),
    };
    // What went as it should is of interest to a person who searches for something; it would be most of what a deployment logs.
    let expected = matches!(status, 100..=399 | 404 | 409 | 412);
    macro_rules! line {
        ($level:ident) => {
            tracing::$level!(
                operation = call.operation,
                workload = call.workload.as_str(),
                method = call.method.as_str(),
                host = call.url.host_str().unwrap_or_default(),
                path = redact::path(&call.url),
                status,
                ms = u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX),
                attempt = before + 1,
                request_id,
                client_request_id,
                reason,
                "upstream call"
            )
        };
    }
    if expected { line!(debug) } else { line!(info) }
}
