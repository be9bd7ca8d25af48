//! Requests that the Functions host sends twice: one without a body goes to the next process when the first one died,
//! under the same invocation id. Its effect must happen once, and the second try gets the first one's answer.
//!
//! The invocation id is the host's own: what a caller sends under that name never gets here. Requests that are
//! [signed](super::signed) are kept by the same means, under the id that the caller signed. Nothing is noted of others.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use axum::body::{Body, HttpBody, to_bytes};
use axum::extract::Request;
use axum::http::{HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use chrono::{DateTime, TimeDelta, Utc};

use serde::{Deserialize, Serialize};
use tokio::sync::Mutex;

use crate::auth::Caller;
use crate::clock::Clock;
use crate::ids::digest;
use crate::rows::{Expect, Partition, StoreError, TenantTables, Write, prefix_end};

const INVOCATION: &str = "x-ms-invocation-id";
/// The most of an answer that is kept.
const LONGEST: usize = 256 * 1024;
/// How long answers are kept: far longer than the host keeps trying, and than a signature may be old.
const RETENTION: TimeDelta = TimeDelta::hours(1);
/// Old ones are deleted every so many requests.
const SWEEP: u32 = 50;
/// Rows read and deleted together.
const PAGE: usize = 50;

/// Which try of the host this is: the invocation's id, for those who begin what takes long.
#[derive(Debug, Clone)]
pub struct Invocation(pub String);

/// The first try of the request began and never answered: what it did is kept.
#[derive(Debug, Clone, Copy)]
pub struct Again;

/// What is known of a request that was begun.
#[derive(Serialize, Deserialize)]
struct Begun {
    /// Digest of caller, method and path: no other request gets its answer.
    request: String,
    at: DateTime<Utc>,
    answer: Option<Answer>,
}

#[derive(Serialize, Deserialize)]
struct Answer {
    status: u16,
    kind: String,
    body: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    location: Option<String>,
}

/// The memory of such requests.
#[derive(Clone)]
pub struct Once {
    rows: Partition,
    clock: Clock,
    count: Arc<AtomicU32>,
    sweeping: Arc<Mutex<()>>,
}

/// A request that is to happen once.
pub struct Try {
    key: String,
    request: String,
    deletes: bool,
}

/// How a try begins.
pub enum Start {
    /// Nobody was here before.
    First,
    /// The first try began and never answered.
    Again,
    /// The first try's answer.
    Answered(Response),
    /// Another request has that id.
    Other,
}

impl Once {
    /// Those that the Functions host sends.
    pub fn new(tables: &TenantTables, clock: Clock) -> Self {
        Self { rows: tables.partition("invocations"), clock, count: Arc::default(), sweeping: Arc::default() }
    }

    /// Those that are signed.
    pub fn signed(tables: &TenantTables, clock: Clock) -> Self {
        Self { rows: tables.partition("signed-requests"), clock, count: Arc::default(), sweeping: Arc::default() }
    }

    /// The try of a signed request, by its caller and the id it signed.
    pub fn of_signed(caller: &str, id: &str, method: &Method, target: &str, body: &[u8]) -> Try {
        let key = format!("{:032x}", digest(&[caller, id]));
        let body = crate::auth::secrets::digest_of(body);
        let request = format!("{:032x}", digest(&[caller, method.as_str(), target, &body]));
        Try { key, request, deletes: false }
    }

    /// The try a request is, if the host may send it twice.
    pub fn of(request: &mut Request) -> Option<Try> {
        let key = request.headers().get(INVOCATION)?.to_str().ok()?.to_owned();
        let plain =
            key.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-') && (1..=64).contains(&key.len());
        if !plain || !request.body().is_end_stream() {
            return None;
        }
        let caller = request.extensions().get::<Caller>().map_or("", |caller| caller.name.as_str());
        let target = request.uri().path_and_query().map_or("", |target| target.as_str());
        let request_digest = format!("{:032x}", digest(&[caller, request.method().as_str(), target]));
        let deletes = request.method() == Method::DELETE;
        request.extensions_mut().insert(Invocation(key.clone()));
        Some(Try { key, request: request_digest, deletes })
    }

    /// Notes that a try begins.
    pub async fn begin(&self, one: &Try) -> Result<Start, StoreError> {
        let begun = Begun { request: one.request.clone(), at: self.clock.now(), answer: None };
        match self.rows.commit(vec![Write::insert(&*one.key, &begun)?]).await {
            Ok(_) => return Ok(Start::First),
            Err(error) if error.is_conflict() => {}
            Err(error) => return Err(error),
        }
        let Some(row) = self.rows.get(&one.key).await? else { return Ok(Start::First) };
        let known: Begun = row.decode()?;
        if known.at < self.clock.now() - RETENTION {
            // Nobody repeats a request that long: it is another one, whose id was used before.
            return match self.rows.commit(vec![Write::replace(&*one.key, &row.version, &begun)?]).await {
                Ok(_) => Ok(Start::First),
                Err(error) if error.is_conflict() => Ok(Start::Again),
                Err(error) => Err(error),
            };
        }
        if known.request != one.request {
            return Ok(Start::Other);
        }
        Ok(known.answer.map_or(Start::Again, |answer| Start::Answered(answer.into_response())))
    }

    /// Keeps a try's answer for the next one, and gives it back.
    pub async fn answer(&self, one: &Try, again: bool, response: Response) -> Response {
        if again && one.deletes && response.status() == StatusCode::NOT_FOUND {
            return StatusCode::NO_CONTENT.into_response(); // the first try has deleted it
        }
        let (parts, body) = response.into_parts();
        if body.size_hint().upper().is_none_or(|bytes| bytes > LONGEST as u64) {
            return Response::from_parts(parts, body);
        }
        let Ok(body) = to_bytes(body, LONGEST).await else { return StatusCode::INTERNAL_SERVER_ERROR.into_response() };
        let of = |name| parts.headers.get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
        let Ok(text) = String::from_utf8(body.to_vec()) else {
            return Response::from_parts(parts, Body::from(body)); // a file: only texts are kept
        };
        let answer = Answer {
            status: parts.status.as_u16(),
            kind: of(header::CONTENT_TYPE).unwrap_or_default(),
            body: text,
            location: of(header::LOCATION),
        };
        let begun = Begun { request: one.request.clone(), at: self.clock.now(), answer: Some(answer) };
        let kept = async {
            self.rows.commit(vec![Write::upsert(&*one.key, &begun)?]).await?;
            if self.count.fetch_add(1, Ordering::Relaxed).is_multiple_of(SWEEP) {
                let once = self.clone();
                tokio::spawn(async move {
                    if let Err(error) = once.sweep().await {
                        tracing::warn!(%error, "answers of long ago cannot be deleted");
                    }
                });
            }
            Ok::<_, StoreError>(())
        };
        if let Err(error) = kept.await {
            tracing::warn!(%error, "an answer cannot be kept for a second try of the host");
        }
        Response::from_parts(parts, Body::from(body))
    }

    /// Forgets a try that changed nothing: the same may be tried again.
    pub async fn forget(&self, one: &Try) {
        if let Err(error) = self.rows.commit(vec![Write::delete(&*one.key, Expect::Anything)]).await {
            tracing::warn!(%error, "a request that failed cannot be forgotten; its id stays used");
        }
    }

    /// Deletes the answers of long ago, a page at a time; nothing where that is under way already.
    async fn sweep(&self) -> Result<(), StoreError> {
        let Ok(_one_at_a_time) = self.sweeping.try_lock() else { return Ok(()) };
        let before = self.clock.now() - RETENTION;
        let (mut from, end) = (String::new(), prefix_end(""));
        loop {
            let page = self.rows.scan(&from, &end, PAGE).await?;
            let old = page.rows.into_iter().filter(|row| row.decode::<Begun>().map_or(true, |begun| begun.at < before));
            let gone: Vec<Write> = old.map(|row| Write::delete(row.key, Expect::Anything)).collect();
            if !gone.is_empty() {
                self.rows.commit(gone).await?;
            }
            match page.next {
                Some(next) => from = next,
                None => return Ok(()),
            }
        }
    }
}

impl IntoResponse for Answer {
    fn into_response(self) -> Response {
        let mut response = Response::new(Body::from(self.body));
        *response.status_mut() = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        if let Ok(kind) = HeaderValue::from_str(&self.kind) {
            response.headers_mut().insert(header::CONTENT_TYPE, kind);
        }
        if let Some(location) = self.location.and_then(|location| HeaderValue::from_str(&location).ok()) {
            response.headers_mut().insert(header::LOCATION, location);
        }
        response
    }
}
