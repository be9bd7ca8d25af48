//! Requests and replies between the socket and the parts of the tenant, with bodies in memory.

use std::time::Duration;

use axum::body::Body;
use axum::http::{HeaderName, HeaderValue, Response, StatusCode};

/// A request as it arrived.
pub struct Request {
    pub method: String,
    /// Path without query, as sent.
    pub path: String,
    /// Path with query, as sent.
    pub target: String,
    pub headers: Vec<(String, String)>,
    pub body: axum::body::Bytes,
    /// Scheme and authority the client used, for links: `http://127.0.0.1:7072`.
    pub origin: String,
}

impl Request {
    /// A header's value.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, v)| v.as_str())
    }

    /// The parameters of the query.
    pub fn query(&self) -> Form {
        Form::parse(self.target.split_once('?').map_or("", |(_, query)| query).as_bytes())
    }

    /// The fields of a form in the body.
    pub fn form(&self) -> Form {
        Form::parse(&self.body)
    }
}

/// Decoded name-value pairs.
pub struct Form(Vec<(String, String)>);

impl Form {
    fn parse(bytes: &[u8]) -> Self {
        Self(url::form_urlencoded::parse(bytes).into_owned().collect())
    }

    /// The first value of a name.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(n, _)| n == name).map(|(_, v)| v.as_str())
    }
}

/// What goes back over the socket.
pub enum Reply {
    Answer(Response<Body>),
    /// The connection is closed without an answer.
    Drop,
    /// No answer for this long, then the connection is closed.
    Hold(Duration),
}

impl Reply {
    /// Any answer.
    pub fn new(status: u16, headers: &[(&'static str, String)], body: impl Into<Body>) -> Self {
        let mut response = Response::new(body.into());
        *response.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        for (name, value) in headers {
            if let Ok(value) = HeaderValue::from_str(value) {
                response.headers_mut().insert(HeaderName::from_static(name), value);
            }
        }
        Self::Answer(response)
    }

    /// A JSON answer.
    pub fn json(status: u16, body: &impl serde::Serialize) -> Self {
        let text = serde_json::to_string(body).unwrap_or_default();
        Self::new(status, &[("content-type", "application/json; charset=utf-8".to_owned())], text)
    }

    /// A plain text answer.
    pub fn text(status: u16, body: String) -> Self {
        Self::new(status, &[("content-type", "text/plain; charset=utf-8".to_owned())], body)
    }

    /// A page.
    pub fn html(status: u16, body: String) -> Self {
        Self::new(status, &[("content-type", "text/html; charset=utf-8".to_owned())], body)
    }

    /// Adds a header.
    pub fn with(mut self, name: &'static str, value: impl Into<String>) -> Self {
        if let (Self::Answer(response), Ok(value)) = (&mut self, HeaderValue::from_str(&value.into())) {
            response.headers_mut().insert(HeaderName::from_static(name), value);
        }
        self
    }
}
