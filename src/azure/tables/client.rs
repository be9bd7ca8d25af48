//! The calls: create the table, read a span of rows, commit a transaction.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use http::header::{ACCEPT, CONTENT_TYPE};
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use hyper::body::Bytes;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::batch::{self, encoded};
use super::config::Config;
use super::entity::Entity;
use crate::azure::storage::{Code, Connector, Endpoint, Error, Wire, wire};
use crate::clock::Clock;
use crate::http_client::{Answer, Repeat};
use crate::ids::Entropy;
use crate::rows::{RowVersion, Write};

/// Nobody waits longer for a read, repeated ones included.
const READ_LIMIT: Duration = Duration::from_secs(10);
/// Nobody waits longer for a transaction; it is sent once.
const WRITE_LIMIT: Duration = Duration::from_secs(15);
/// Most rows the service gives at once.
const MAX_PAGE: usize = 1000;

const VERSION: HeaderName = HeaderName::from_static("x-ms-version");
const PREFER: HeaderName = HeaderName::from_static("prefer");
const NEXT_PARTITION: HeaderName = HeaderName::from_static("x-ms-continuation-nextpartitionkey");
const NEXT_ROW: HeaderName = HeaderName::from_static("x-ms-continuation-nextrowkey");

/// Rows to read, in key order.
#[derive(Debug, Clone, Copy)]
pub enum Span<'a> {
    /// The row with this key.
    One(&'a str),
    /// Rows with `from <= key < to`.
    Between(&'a str, &'a str),
}

/// Where a query continues: opaque, the service's own.
#[derive(Debug, Clone)]
struct Continuation {
    partition: String,
    row: Option<String>,
}

/// A cheap handle to one table.
#[derive(Clone)]
pub struct Client(Arc<Inner>);

struct Inner {
    wire: Wire,
    config: Config,
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Client").field(&self.0.config).finish()
    }
}

#[derive(Deserialize)]
struct Listing {
    value: Vec<Map<String, Value>>,
}

impl Client {
    /// A client for the configured table; nothing is sent yet.
    #[must_use]
    pub fn new(config: Config, connector: Connector) -> Self {
        let endpoint = Endpoint { url: config.endpoint.clone(), sas: config.sas.clone() };
        Self(Arc::new(Inner { wire: Wire::new(endpoint, connector), config }))
    }

    /// The table's name.
    #[must_use]
    pub fn table(&self) -> &str {
        &self.0.config.table
    }

    /// The program's clock.
    #[must_use]
    pub fn clock(&self) -> &Clock {
        self.0.wire.clock()
    }

    /// The program's randomness.
    #[must_use]
    pub fn entropy(&self) -> &Entropy {
        self.0.wire.entropy()
    }

    /// Creates the table unless it is there. Asks first, because an identity may read and write a table it may not create.
    ///
    /// # Errors
    /// When it is not there and cannot be created: no right, or a table of that name is still being deleted.
    pub async fn ensure_table(&self) -> Result<(), Error> {
        match self.page("", Span::One(""), 1, None).await {
            Err(error) if error.code() == Code::NoSuchTable => {}
            answered => return answered.map(drop),
        }
        let mut headers = headers("application/json;odata=minimalmetadata");
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.insert(PREFER, HeaderValue::from_static("return-no-content"));
        let body = json!({"TableName": self.table()}).to_string();
        let request = Request { method: Method::POST, path: "Tables", query: String::new(), headers, body: Some(body) };
        match self.call("create_table", request).await {
            Err(error) if error.code() == Code::TableExists => Ok(()), // another instance was faster
            created => created.map(drop),
        }
    }

    /// Reads rows in key order, at most `limit` of them. Fewer than `limit` means that there are no more: pages that end
    /// early, empty ones included, are followed up.
    ///
    /// # Errors
    /// When a page cannot be read, or a row is not one of ours.
    pub async fn read(&self, partition: &str, span: Span<'_>, limit: usize) -> Result<Vec<Entity>, Error> {
        let mut entities = Vec::new();
        let mut from = None;
        while entities.len() < limit {
            let wanted = (limit - entities.len()).min(MAX_PAGE);
            let (page, next) = self.page(partition, span, wanted, from.as_ref()).await?;
            entities.extend(page);
            from = next;
            if from.is_none() {
                break;
            }
        }
        Ok(entities)
    }

    /// Commits an entity-group transaction whose rows carry `operation`; answers the versions in order, `None` for a
    /// deleted row. Sent once. The writes have passed [`crate::rows::check_commit`].
    ///
    /// # Errors
    /// [`Error::Refused`] names the operation at fault and [`Error::TooLarge`] means the same: nothing was written.
    /// After [`Error::Ambiguous`] the rows have to be read.
    pub async fn transact(
        &self,
        partition: &str,
        operation: &str,
        writes: &[&Write],
    ) -> Result<Vec<Option<RowVersion>>, Error> {
        let target = batch::Target { base: self.0.wire.base(), table: self.table(), partition, operation };
        let (boundary, body) = batch::request(&target, writes)?;
        let mut headers = headers("application/json");
        let content_type = HeaderValue::from_str(&format!("multipart/mixed; boundary={boundary}"));
        headers.insert(CONTENT_TYPE, content_type.map_err(|error| Error::NotSent(error.to_string()))?);
        let request = Request { method: Method::POST, path: "$batch", query: String::new(), headers, body: Some(body) };
        let answer = self.call("table_transaction", request).await?;
        let content_type = answer.headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
        batch::answer(content_type, &String::from_utf8_lossy(&answer.body), writes, self.secret())
    }

    async fn page(
        &self,
        partition: &str,
        span: Span<'_>,
        top: usize,
        from: Option<&Continuation>,
    ) -> Result<(Vec<Entity>, Option<Continuation>), Error> {
        let filter = match span {
            Span::One(key) => format!("PartitionKey eq '{}' and RowKey eq '{}'", quoted(partition), quoted(key)),
            Span::Between(from, to) => {
                let (from, to) = (quoted(from), quoted(&printable_end(to)));
                format!("PartitionKey eq '{}' and RowKey ge '{from}' and RowKey lt '{to}'", quoted(partition))
            }
        };
        let (rows, next) = self.query(&filter, top, from).await?;
        Ok((rows.iter().map(Entity::read).collect::<Result<Vec<_>, _>>()?, next))
    }

    /// The first partition after `after` that has rows.
    ///
    /// # Errors
    /// When the service cannot be asked.
    pub async fn next_partition(&self, after: &str) -> Result<Option<String>, Error> {
        let filter = format!("PartitionKey gt '{}'", quoted(after));
        let mut from = None;
        loop {
            let (rows, next) = self.query(&filter, 1, from.as_ref()).await?;
            let found = rows.first().and_then(|row| row.get("PartitionKey")?.as_str().map(str::to_owned));
            if found.is_some() || next.is_none() {
                return Ok(found);
            }
            from = next; // an empty page may have a successor
        }
    }

    async fn query(
        &self,
        filter: &str,
        top: usize,
        from: Option<&Continuation>,
    ) -> Result<(Vec<Map<String, Value>>, Option<Continuation>), Error> {
        let mut query = format!("$filter={}&$top={top}", encoded(filter));
        if let Some(Continuation { partition, row }) = from {
            query.push_str(&format!("&NextPartitionKey={}", encoded(partition)));
            if let Some(row) = row {
                query.push_str(&format!("&NextRowKey={}", encoded(row)));
            }
        }
        let headers = headers("application/json;odata=minimalmetadata");
        let path = format!("{}()", self.table());
        let answer =
            self.call("read_table", Request { method: Method::GET, path: &path, query, headers, body: None }).await?;
        let listing: Listing = serde_json::from_slice(&answer.body)
            .map_err(|error| Error::Ambiguous(format!("the answer to a query cannot be read: {error}")))?;
        let header = |name: &HeaderName| answer.headers.get(name)?.to_str().ok().map(str::to_owned);
        let next = header(&NEXT_PARTITION).map(|partition| Continuation { partition, row: header(&NEXT_ROW) });
        Ok((listing.value, next))
    }

    async fn call(&self, operation: &'static str, request: Request<'_>) -> Result<Answer, Error> {
        let Request { method, path, query, headers, body } = request;
        let reads = method == Method::GET;
        let (repeat, limit) = if reads { (Repeat::Safe, READ_LIMIT) } else { (Repeat::OnlyIfUnsent, WRITE_LIMIT) };
        let body = body.map(Bytes::from);
        self.0.wire.call(&wire::Request { operation, method, path, query, headers, body, repeat, limit }).await
    }

    fn secret(&self) -> Option<&str> {
        self.0.config.sas.as_ref().map(crate::azure::Secret::expose)
    }
}

struct Request<'a> {
    method: Method,
    path: &'a str,
    query: String,
    headers: HeaderMap,
    body: Option<String>,
}

fn headers(accept: &'static str) -> HeaderMap {
    let pairs = [
        (ACCEPT, accept),
        (VERSION, "2020-12-06"),
        (HeaderName::from_static("dataserviceversion"), "3.0;"),
        (HeaderName::from_static("maxdataserviceversion"), "3.0;NetFx"),
    ];
    pairs.into_iter().map(|(name, value)| (name, HeaderValue::from_static(value))).collect()
}

/// A literal within a filter: quotes are doubled.
fn quoted(text: &str) -> String {
    text.replace('\'', "''")
}

/// The end of a prefix scan is a control character, which no key holds and the service may not take within a filter. The
/// first character after those has the same keys before it.
fn printable_end(to: &str) -> String {
    match to.strip_suffix('\u{7f}') {
        Some(prefix) => format!("{prefix}\u{a0}"),
        None => to.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn table_filters_contain_no_control_characters() {
        assert_eq!(printable_end(&crate::rows::prefix_end("t|")), "t|\u{a0}");
        assert_eq!(encoded(&quoted("o'b c")), "o%27%27b%20c");
    }
}
