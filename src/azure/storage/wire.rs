//! One request to a storage service: address, SAS or token, one answer.

use std::time::Duration;

use http::header::AUTHORIZATION;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use hyper::body::Bytes;
use url::Url;

use super::{Endpoint, Error};
use crate::azure::{Credential, Secret, TokenProvider};
use crate::clock::Clock;
use crate::http_client::{Answer, Deadline, Delivery, Failure, HttpClient, Mode, Outgoing, Repeat, Workload, redact};
use crate::ids::Entropy;

/// What tokens for storage are asked for.
const SCOPE: &str = "https://storage.azure.com/.default";
const ERROR_CODE: HeaderName = HeaderName::from_static("x-ms-error-code");

/// The parts of the program a client is made of, besides its settings.
#[derive(Debug, Clone)]
pub struct Connector {
    /// The one outbound client.
    pub http: HttpClient,
    /// Who the program is, for an endpoint without a SAS.
    pub credential: Credential,
    /// Where operation ids come from.
    pub entropy: Entropy,
}

/// A service of a storage account, to be called.
pub(in crate::azure) struct Wire {
    connector: Connector,
    endpoint: Endpoint,
    /// The service's address, without a slash at its end.
    base: String,
}

/// A request below the service's address.
pub(in crate::azure) struct Request<'a> {
    /// The name of the operation, for logs.
    pub(in crate::azure) operation: &'static str,
    /// The method.
    pub(in crate::azure) method: Method,
    /// The path as sent, without a slash before it.
    pub(in crate::azure) path: &'a str,
    /// The query as sent, without the SAS.
    pub(in crate::azure) query: String,
    /// All headers but those of authorization.
    pub(in crate::azure) headers: HeaderMap,
    /// The body.
    pub(in crate::azure) body: Option<Bytes>,
    /// Whether sending it twice is harmless.
    pub(in crate::azure) repeat: Repeat,
    /// The longest anybody waits for the answer, repetitions included.
    pub(in crate::azure) limit: Duration,
}

impl Wire {
    pub(in crate::azure) fn new(endpoint: Endpoint, connector: Connector) -> Self {
        let base = endpoint.base();
        Self { connector, endpoint, base }
    }

    /// The program's clock.
    pub(in crate::azure) fn clock(&self) -> &Clock {
        self.connector.http.clock()
    }

    /// The program's randomness.
    pub(in crate::azure) fn entropy(&self) -> &Entropy {
        &self.connector.entropy
    }

    /// The service's address, without a slash at its end.
    pub(in crate::azure) fn base(&self) -> &str {
        &self.base
    }

    /// Sends a request; a token that is not accepted is replaced once, for then nothing was done.
    pub(in crate::azure) async fn call(&self, request: &Request<'_>) -> Result<Answer, Error> {
        match self.attempt(request).await {
            Err(error) if error.code() == super::Code::Unauthorized && self.secret().is_none() => {
                self.attempt(request).await
            }
            answered => answered,
        }
    }

    async fn attempt(&self, request: &Request<'_>) -> Result<Answer, Error> {
        let Connector { http, credential, .. } = &self.connector;
        let mut headers = request.headers.clone();
        let token = match self.secret() {
            Some(_) => None,
            None if self.endpoint.url.scheme() != "https" => {
                return Err(Error::NotSent("a token is sent over https only".to_owned()));
            }
            None => Some(credential.token(SCOPE).await.map_err(|error| Error::NotSent(redact::chain(&error)))?),
        };
        if let Some(token) = &token {
            let mut value = HeaderValue::from_str(&format!("Bearer {}", token.secret.expose()))
                .map_err(|_| Error::NotSent("the token cannot be sent".to_owned()))?;
            value.set_sensitive(true);
            headers.insert(AUTHORIZATION, value);
        }
        let call = Outgoing {
            operation: request.operation,
            workload: Workload::Storage,
            target: None,
            method: request.method.clone(),
            url: self.url(request)?,
            headers,
            body: request.body.clone(),
            repeat: request.repeat,
            mode: Mode::Interactive,
            deadline: Deadline::after(http.clock(), request.limit),
        };
        let answer = http.send(&call).await.map_err(|failure| failed(&failure))?;
        if answer.status.is_success() {
            return Ok(answer);
        }
        if answer.status == StatusCode::UNAUTHORIZED
            && let Some(token) = &token
        {
            credential.reject(SCOPE, token, None);
        }
        let header = answer.headers.get(ERROR_CODE).and_then(|value| value.to_str().ok());
        Err(Error::read(answer.status, header, &String::from_utf8_lossy(&answer.body), self.secret()))
    }

    fn url(&self, request: &Request<'_>) -> Result<Url, Error> {
        let query = match (request.query.as_str(), self.secret()) {
            (query, None) => query.to_owned(),
            ("", Some(sas)) => sas.to_owned(),
            (query, Some(sas)) => format!("{query}&{sas}"),
        };
        let mark = if query.is_empty() { "" } else { "?" };
        Url::parse(&format!("{}/{}{mark}{query}", self.base, request.path))
            .map_err(|error| Error::NotSent(error.to_string()))
    }

    fn secret(&self) -> Option<&str> {
        self.endpoint.sas.as_ref().map(Secret::expose)
    }
}

fn failed(failure: &Failure) -> Error {
    let (Failure::Throttled { delivery, .. }
    | Failure::BreakerOpen { delivery, .. }
    | Failure::TimedOut { delivery }
    | Failure::Unreachable { delivery, .. }) = failure;
    match delivery {
        Delivery::NotSent => Error::NotSent(failure.to_string()),
        Delivery::MaybeSent => Error::Ambiguous(failure.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_unsent_requests_have_no_effect() {
        let timed_out = |delivery| failed(&Failure::TimedOut { delivery });
        assert!(matches!(timed_out(Delivery::NotSent), Error::NotSent(_)));
        assert!(matches!(timed_out(Delivery::MaybeSent), Error::Ambiguous(_)));
        let reason = "connection reset".to_owned();
        let broken = failed(&Failure::Unreachable { reason, delivery: Delivery::MaybeSent });
        assert!(matches!(broken, Error::Ambiguous(reason) if reason == "connection reset"));
    }
}
