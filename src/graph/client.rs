//! The client: turns a [`Request`] into a call, and its answer into a value or an error.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use chrono::{DateTime, TimeDelta, Utc};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use serde::de::DeserializeOwned;
use url::Url;

use super::call::Call;
use super::error::{Error, ErrorKind};
use super::identity::Identity;
use super::request::Request;
use crate::azure::{Credential, TokenProvider, claims};
use crate::clock::Clock;
use crate::http_client::{Answer, Deadline, HttpClient, Outgoing};

/// A cheap handle to Microsoft Graph.
#[derive(Debug, Clone)]
pub struct Client(Arc<Inner>, Access);

/// What a client may ask of Graph.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Everything.
    Write,
    /// Requests that change nothing: any other is refused here, before it is sent.
    ReadOnly,
}

#[derive(Debug)]
struct Inner {
    http: HttpClient,
    credential: Credential,
    base: Url,
    scope: String,
    clock: Clock,
    /// Milliseconds by which the service's clock is ahead of ours.
    ahead: AtomicI64,
}

/// What a `Date` and the time an answer takes leave open, in milliseconds.
const DATE_PRECISION: i64 = 2_000;

impl Client {
    /// A client for the service at `base_url`, as in `https://graph.microsoft.com/v1.0`.
    ///
    /// The token's scope is that host's `/.default`; this machine (a simulated tenant) asks for the public one.
    #[must_use]
    pub fn new(http: HttpClient, credential: Credential, base_url: Url, clock: Clock) -> Self {
        let own_host = match base_url.host() {
            Some(url::Host::Domain(name)) if name != "localhost" => Some(name),
            _ => None,
        };
        let scope = format!("https://{}/.default", own_host.unwrap_or("graph.microsoft.com"));
        Self(
            Arc::new(Inner { http, credential, base: base_url, scope, clock, ahead: AtomicI64::new(0) }),
            Access::Write,
        )
    }

    /// The same client, limited to an access.
    #[must_use]
    pub fn with_access(self, access: Access) -> Self {
        Self(self.0, access)
    }

    /// What this client may ask of Graph.
    #[must_use]
    pub const fn access(&self) -> Access {
        self.1
    }

    /// The scope of the tokens this client uses.
    #[must_use]
    pub fn scope(&self) -> &str {
        &self.0.scope
    }

    /// Ends the waits that services have asked for, here and at the other instances.
    pub async fn lift_waits(&self) {
        self.0.http.lift().await;
    }

    pub(super) fn http(&self) -> &HttpClient {
        &self.0.http
    }

    pub(super) fn clock(&self) -> &Clock {
        &self.0.clock
    }

    pub(super) fn deadline(&self, call: &Call) -> Deadline {
        call.deadline(&self.0.clock)
    }

    /// Makes a request and reads its answer.
    pub(super) async fn fetch<T: DeserializeOwned>(&self, call: &Call, request: &Request) -> Result<T, Error> {
        let answer = self.send(call, request).await?;
        decode(request.operation, &request.method, &answer.body).map_err(|error| error.with_delivery(answer.earlier))
    }

    /// Makes a request for one resource; `None` when it does not exist.
    pub(super) async fn find<T: DeserializeOwned>(&self, call: &Call, request: &Request) -> Result<Option<T>, Error> {
        match self.fetch(call, request).await {
            Ok(found) => Ok(Some(found)),
            Err(error) if error.is_not_found() => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Makes a PATCH whose answer is the changed entity, or reads it with `again` when Graph sends none (204).
    pub(super) async fn change<T: DeserializeOwned>(
        &self,
        call: &Call,
        request: &Request,
        again: &Request,
    ) -> Result<T, Error> {
        let answer = self.send(call, request).await?;
        if answer.status == StatusCode::NO_CONTENT || answer.body.is_empty() {
            return self.fetch(call, again).await.map_err(Error::after_write);
        }
        decode(request.operation, &request.method, &answer.body)
    }

    /// Makes a request below the service root; any status but 2xx is an error.
    pub(super) async fn send(&self, call: &Call, request: &Request) -> Result<Answer, Error> {
        let url = self.url(request)?;
        self.send_to(call, request, url, self.deadline(call)).await
    }

    /// Makes a request at a full address, which must have come from [`Client::url`] or [`Client::own_link`].
    pub(super) async fn send_to(
        &self,
        call: &Call,
        request: &Request,
        url: Url,
        deadline: Deadline,
    ) -> Result<Answer, Error> {
        let Request { operation, workload, method, body, .. } = request;
        if self.1 == Access::ReadOnly && !request.only_reads {
            return Err(Error::new(operation, method, ErrorKind::ReadOnly));
        }
        let tokens = self.tokens(&call.identity);
        let mut replaced = false;
        let answer = loop {
            let token = tokens.token(&self.0.scope).await;
            let token = token.map_err(|error| Error::new(operation, method, ErrorKind::Credential(Arc::new(error))))?;
            let mut bearer = HeaderValue::from_str(&format!("Bearer {}", token.secret.expose()))
                .map_err(|_| Error::new(operation, method, ErrorKind::Unauthorized))?;
            bearer.set_sensitive(true);
            let outgoing = Outgoing {
                operation,
                workload: *workload,
                target: request.target(),
                method: method.clone(),
                url: url.clone(),
                headers: headers(request, &bearer),
                body: body.as_ref().map(|body| body.to_string().into()),
                repeat: request.repeat(),
                mode: call.mode,
                deadline,
            };
            let sent = self.0.http.send(&outgoing).await;
            let answer = sent.map_err(|failure| Error::from_failure(operation, method, failure))?;
            // A token that is not accepted is replaced once, for then nothing was done; a young one is not, and ends this.
            let again = answer.status == StatusCode::UNAUTHORIZED
                && tokens.reject(&self.0.scope, &token, claims::challenge(&answer.headers).as_deref());
            if !again || replaced {
                break answer;
            }
            replaced = true;
        };
        self.note_time(&answer.headers);
        if answer.status.is_success() {
            return Ok(answer);
        }
        Err(Error::from_answer(operation, method, &answer, self.0.clock.now()))
    }

    /// How far the service's clock is ahead of ours, by the `Date` of its latest answer; zero within the precision of that.
    #[must_use]
    pub fn ahead(&self) -> TimeDelta {
        TimeDelta::milliseconds(self.0.ahead.load(Ordering::Relaxed))
    }

    fn note_time(&self, headers: &HeaderMap) {
        let date = headers.get(header::DATE).and_then(|date| date.to_str().ok());
        let Some(date) = date.and_then(|date| httpdate::parse_http_date(date).ok()) else { return };
        // It names a whole second, which is half over on average.
        let there = DateTime::<Utc>::from(date) + TimeDelta::milliseconds(500);
        let ahead = (there - self.0.clock.now()).num_milliseconds();
        self.0.ahead.store(if ahead.abs() > DATE_PRECISION { ahead } else { 0 }, Ordering::Relaxed);
    }

    /// The address of a request.
    pub(super) fn url(&self, request: &Request) -> Result<Url, Error> {
        let base = self.0.base.as_str().trim_end_matches('/');
        Url::parse(&format!("{base}{}", request.path))
            .map_err(|error| Error::new(request.operation, &request.method, ErrorKind::BadRequest(error.to_string())))
    }

    /// A link from an answer, if it leads to this very service: the token goes nowhere else.
    pub(super) fn own_link(&self, link: &str) -> Option<Url> {
        let base = &self.0.base;
        let url = Url::parse(link).ok()?;
        let root = base.path().trim_end_matches('/');
        let below = url.path().strip_prefix(root).is_some_and(|rest| rest.starts_with('/'));
        (url.origin() == base.origin() && below && url.username().is_empty()).then_some(url)
    }

    /// Where the tokens of an identity come from.
    fn tokens<'a>(&'a self, identity: &'a Identity) -> &'a dyn TokenProvider {
        match identity {
            Identity::Application => &self.0.credential,
            Identity::Person(person) => &*person.tokens,
        }
    }
}

fn headers(request: &Request, bearer: &HeaderValue) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert(header::AUTHORIZATION, bearer.clone());
    headers.insert(header::ACCEPT, HeaderValue::from_static("application/json"));
    for (name, value) in request.headers() {
        if let (Ok(name), Ok(value)) = (HeaderName::from_bytes(name.as_bytes()), HeaderValue::from_str(&value)) {
            headers.insert(name, value);
        }
    }
    headers
}

/// Reads a JSON answer; an error names the place in the JSON.
pub(super) fn decode<T: DeserializeOwned>(operation: &'static str, method: &Method, body: &[u8]) -> Result<T, Error> {
    serde_json::from_slice(body).map_err(|error| {
        // Keeping track of the place takes as long as reading, so it is done only for an answer that cannot be read.
        let tracked: Result<T, _> = serde_path_to_error::deserialize(&mut serde_json::Deserializer::from_slice(body));
        let (path, reason) = match tracked {
            Ok(_) => (".".to_owned(), error.to_string()), // text follows the answer's end
            Err(tracked) => (tracked.path().to_string(), tracked.into_inner().to_string()),
        };
        Error::new(operation, method, ErrorKind::Decode { path, reason })
    })
}
