//! The calls: create the queue, send, receive, delete, change visibility, count.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use hyper::body::Bytes;

use super::Config;
use crate::azure::storage::{Code, Connector, Error, Wire, element, wire};
use crate::clock::Clock;
use crate::http_client::{Answer, Repeat};

/// Nobody waits longer for a call, repetitions included.
const LIMIT: Duration = Duration::from_secs(10);
/// The longest a message may stay unseen (Learn: put message, update message).
const LONGEST_DELAY: Duration = Duration::from_hours(7 * 24 - 1);

const VERSION: HeaderName = HeaderName::from_static("x-ms-version");
const COUNT: HeaderName = HeaderName::from_static("x-ms-approximate-messages-count");

/// A message as received.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Received {
    /// The service's id of it.
    pub id: String,
    /// Its text.
    pub text: String,
    /// How often it was received, this time included.
    pub dequeue_count: u32,
    /// When it was sent.
    pub inserted_at: DateTime<Utc>,
    /// What deleting it needs; empty for one that was only peeked at.
    pub receipt: String,
}

/// What the service says about a queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Metadata {
    /// Messages in it, about, unseen ones included.
    pub count: usize,
}

/// A cheap handle to one queue.
#[derive(Clone)]
pub struct Client(Arc<Inner>);

struct Inner {
    wire: Wire,
    name: String,
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Client").field(&self.0.name).finish()
    }
}

impl Client {
    /// A client for the queue `name`; nothing is sent yet.
    #[must_use]
    pub fn new(config: Config, name: &str, connector: Connector) -> Self {
        Self(Arc::new(Inner { wire: Wire::new(config.endpoint, connector), name: name.to_owned() }))
    }

    /// The queue's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.0.name
    }

    /// The program's clock.
    #[must_use]
    pub fn clock(&self) -> &Clock {
        self.0.wire.clock()
    }

    /// Creates the queue unless it is there. Asks first, because an identity may use a queue it may not create.
    ///
    /// # Errors
    /// When it is not there and cannot be created.
    pub async fn ensure(&self) -> Result<(), Error> {
        match self.metadata().await {
            Err(error) if error.code() == Code::NoSuchQueue => {}
            answered => return answered.map(drop),
        }
        match self.call("create_queue", Method::PUT, "", String::new(), None).await {
            Err(error) if error.code() == Code::QueueExists => Ok(()), // another instance was faster
            created => created.map(drop),
        }
    }

    /// Sends a message, to be seen after `delay`. Sent once.
    ///
    /// # Errors
    /// After [`Error::Ambiguous`] it may have been sent all the same.
    pub async fn send(&self, text: &str, delay: Duration) -> Result<(), Error> {
        let query = format!("visibilitytimeout={}", seconds(delay));
        let body = format!("<QueueMessage><MessageText>{}</MessageText></QueueMessage>", escaped(text));
        self.call("send_message", Method::POST, "/messages", query, Some(body)).await.map(drop)
    }

    /// Receives up to `limit` messages and hides them for `visibility`.
    ///
    /// # Errors
    /// When the answer is lost: what was received comes back after `visibility`.
    pub async fn receive(&self, limit: usize, visibility: Duration) -> Result<Vec<Received>, Error> {
        let query = format!("numofmessages={}&visibilitytimeout={}", limit.clamp(1, 32), seconds(visibility).max(1));
        messages(&self.call("receive_messages", Method::GET, "/messages", query, None).await?)
    }

    /// Peeks at up to `limit` messages that would be received next.
    ///
    /// # Errors
    /// When the service cannot be asked.
    pub async fn peek(&self, limit: usize) -> Result<Vec<Received>, Error> {
        let query = format!("peekonly=true&numofmessages={}", limit.clamp(1, 32));
        messages(&self.call("peek_messages", Method::GET, "/messages", query, None).await?)
    }

    /// Deletes a message.
    ///
    /// # Errors
    /// [`Code::NoSuchMessage`] when it is gone or somebody else has received it since.
    pub async fn delete(&self, id: &str, receipt: &str) -> Result<(), Error> {
        let path = format!("/messages/{}", encoded(id));
        let query = format!("popreceipt={}", encoded(receipt));
        self.call("delete_message", Method::DELETE, &path, query, None).await.map(drop)
    }

    /// Makes a message visible again after `delay`; its receipt is void then.
    ///
    /// # Errors
    /// As [`Self::delete`].
    pub async fn postpone(&self, id: &str, receipt: &str, delay: Duration) -> Result<(), Error> {
        let path = format!("/messages/{}", encoded(id));
        let query = format!("popreceipt={}&visibilitytimeout={}", encoded(receipt), seconds(delay));
        self.call("postpone_message", Method::PUT, &path, query, None).await.map(drop)
    }

    /// Asks how many messages there are.
    ///
    /// # Errors
    /// When the service cannot be asked, or there is no such queue.
    pub async fn metadata(&self) -> Result<Metadata, Error> {
        let answer = self.call("queue_metadata", Method::GET, "", "comp=metadata".to_owned(), None).await?;
        let count = answer.headers.get(&COUNT).and_then(|count| count.to_str().ok()?.parse().ok());
        Ok(Metadata { count: count.unwrap_or_default() })
    }

    async fn call(
        &self,
        operation: &'static str,
        method: Method,
        below: &str,
        query: String,
        body: Option<String>,
    ) -> Result<Answer, Error> {
        let mut headers = HeaderMap::new();
        headers.insert(VERSION, HeaderValue::from_static("2020-12-06"));
        if body.is_some() {
            headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/xml"));
        }
        // Deleting twice finds nothing the second time; receiving twice hides messages nobody has.
        let repeat = match (&method, query.as_str()) {
            (&Method::DELETE | &Method::PUT, _) | (&Method::GET, "comp=metadata") => Repeat::Safe,
            _ => Repeat::OnlyIfUnsent,
        };
        let path = format!("{}{below}", self.0.name);
        let body = body.map(Bytes::from);
        let request = wire::Request { operation, method, path: &path, query, headers, body, repeat, limit: LIMIT };
        self.0.wire.call(&request).await
    }
}

/// Whole seconds, upwards: a message must not be seen too early.
fn seconds(duration: Duration) -> u64 {
    let duration = duration.min(LONGEST_DELAY);
    duration.as_secs() + u64::from(duration.subsec_nanos() > 0)
}

fn encoded(text: &str) -> String {
    url::form_urlencoded::byte_serialize(text.as_bytes()).collect::<String>().replace('+', "%20")
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

/// The messages of a listing: a flat document the service writes without attributes, comments or sections.
fn messages(answer: &Answer) -> Result<Vec<Received>, Error> {
    let body = String::from_utf8_lossy(&answer.body);
    body.split("<QueueMessage>").skip(1).map(message).collect()
}

fn message(xml: &str) -> Result<Received, Error> {
    let text = |name: &str| element(xml, &[name]);
    let needed = |name: &str| text(name).ok_or_else(|| Error::Ambiguous(format!("a message without `{name}`")));
    let time = needed("InsertionTime")?;
    let inserted_at = httpdate::parse_http_date(&time)
        .map_err(|_| Error::Ambiguous(format!("a message's time cannot be read: `{time}`")))?;
    Ok(Received {
        id: needed("MessageId")?,
        text: text("MessageText").unwrap_or_default(),
        dequeue_count: needed("DequeueCount")?.parse().unwrap_or(1),
        inserted_at: inserted_at.into(),
        receipt: text("PopReceipt").unwrap_or_default(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queue_message_is_read_from_xml() {
        let xml = "<MessageId>5974b586</MessageId><InsertionTime>Fri, 09 Oct 2026 21:04:30 GMT</InsertionTime>\
            <ExpirationTime>Fri, 16 Oct 2026 21:04:30 GMT</ExpirationTime><PopReceipt>YzQ4Yzg1MDI=</PopReceipt>\
            <TimeNextVisible>Fri, 09 Oct 2026 23:29:20 GMT</TimeNextVisible><DequeueCount>2</DequeueCount>\
            <MessageText>{\"a\":\"&lt;b&gt; &amp;amp; \\\"c\\\"\"}</MessageText></QueueMessage>";
        let read = message(xml).unwrap();
        assert_eq!(read.text, "{\"a\":\"<b> &amp; \\\"c\\\"\"}");
        assert_eq!((read.dequeue_count, read.receipt.as_str()), (2, "YzQ4Yzg1MDI="));
        assert_eq!(read.inserted_at.to_rfc3339(), "2026-10-09T21:04:30+00:00");
        assert!(message("<MessageId>1</MessageId>").is_err());
    }

    #[test]
    fn queue_delay_is_rounded_up_and_capped() {
        assert_eq!(seconds(Duration::from_millis(1)), 1);
        assert_eq!(seconds(Duration::from_secs(2)), 2);
        assert_eq!(seconds(Duration::from_hours(400)), 601_200);
    }
}
