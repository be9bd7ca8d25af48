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

use crate::auth::Caller;
use crate::clock::Clock;
use crate::ids::digest;
use crate::rows::{Expect, Partition, StoreError, TenantTables, Write};

const INVOCATION: &str = "x-ms-invocation-id";
/// The most of an answer that is kept.
const LONGEST: usize = 256 * 1024;
/// How long answers are kept: far longer than the host keeps trying, and than a signature may be old.
const RETENTION: TimeDelta = TimeDelta::hours(1);
/// Old ones are deleted every so many requests.
const SWEEP: u32 = 50;

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
}

/// The memory of such requests.
#[derive(Clone)]
pub struct Once {
    rows: Partition,
    clock: Clock,
    count: Arc<AtomicU32>,
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
        Self { rows: tables.partition("invocations"), clock, count: Arc::default() }
    }

    /// Those that are signed.
    pub fn signed(tables: &TenantTables, clock: Clock) -> Self {
        Self { rows: tables.partition("signed-requests"), clock, count: Arc::default() }
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
        let kind = parts.headers.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
        let answer = Answer {
            status: parts.status.as_u16(),
            kind: kind.to_owned(),
            body: String::from_utf8_lossy(&body).into_owned(),
        };
        let begun = Begun { request: one.request.clone(), at: self.clock.now(), answer: Some(answer) };
        let kept = async {
            self.rows.commit(vec![Write::upsert(&*one.key, &begun)?]).await?;
            if self.count.fetch_add(1, Ordering::Relaxed).is_multiple_of(SWEEP) {
                self.sweep().await?;
            }
            Ok::<_, StoreError>(())
        };
        if let Err(error) = kept.await {
            tracing::warn!(%error, "an answer cannot be kept for a second try of the host");
        }
        Response::from_parts(parts, Body::from(body))
    }

    async fn sweep(&self) -> Result<(), StoreError> {
        let before = self.clock.now() - RETENTION;
        for row in self.rows.scan_prefix("").await? {
            if row.decode::<Begun>().map_or(true, |begun| begun.at < before) {
                self.rows.commit(vec![Write::delete(&*row.key, Expect::Anything)]).await?;
            }
        }
        Ok(())
    }
}

impl IntoResponse for Answer {
    fn into_response(self) -> Response {
        let mut response = Response::new(Body::from(self.body));
        *response.status_mut() = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        if let Ok(kind) = HeaderValue::from_str(&self.kind) {
            response.headers_mut().insert(header::CONTENT_TYPE, kind);
        }
        response
    }
}
