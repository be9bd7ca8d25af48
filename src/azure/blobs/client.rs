//! The calls: create the container, write, read, delete, list.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use hyper::body::Bytes;

use crate::azure::storage::{Code, ConfigError, Connector, Endpoint, Error, Service, Wire, element, wire};
use crate::http_client::{Answer, Repeat};

/// Nobody waits longer for a call, repetitions included: a file may have some megabytes.
const LIMIT: Duration = Duration::from_mins(1);
const VERSION: HeaderName = HeaderName::from_static("x-ms-version");
const BLOB_TYPE: HeaderName = HeaderName::from_static("x-ms-blob-type");

/// The container and how to get at it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// Address and SAS of the blob service.
    pub endpoint: Endpoint,
    /// The container's name.
    pub container: String,
}

impl Config {
    /// Reads an endpoint, as [`Endpoint::parse`] does.
    ///
    /// # Errors
    /// When it is none, or the container's name none the service takes.
    pub fn from_endpoint(text: &str, container: &str) -> Result<Self, ConfigError> {
        Self::new(Endpoint::parse(text)?, container)
    }

    /// Reads a connection string, as [`Endpoint::from_connection_string`] does.
    ///
    /// # Errors
    /// When a part is missing or malformed, or the container's name none the service takes.
    pub fn from_connection_string(text: &str, container: &str) -> Result<Self, ConfigError> {
        Self::new(Endpoint::from_connection_string(text, Service::Blobs)?, container)
    }

    fn new(endpoint: Endpoint, container: &str) -> Result<Self, ConfigError> {
        let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        let fits = (3..=63).contains(&container.len())
            && container.bytes().all(plain)
            && !container.starts_with('-')
            && !container.ends_with('-')
            && !container.contains("--");
        if !fits {
            return Err(ConfigError("a container's name has 3 to 63 lower-case letters, digits and single `-`"));
        }
        Ok(Self { endpoint, container: container.to_owned() })
    }
}

/// A cheap handle to one container.
#[derive(Clone)]
pub struct Client(Arc<Inner>);

struct Inner {
    wire: Wire,
    container: String,
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Client").field(&self.0.container).finish()
    }
}

impl Client {
    /// A client for the configured container; nothing is sent yet.
    #[must_use]
    pub fn new(config: Config, connector: Connector) -> Self {
        Self(Arc::new(Inner { wire: Wire::new(config.endpoint, connector), container: config.container }))
    }

    /// Creates the container unless it is there. Asks first, because an identity may use one it may not create.
    ///
    /// # Errors
    /// When it is not there and cannot be created.
    pub async fn ensure(&self) -> Result<(), Error> {
        let asked = self.call("list_blobs", Method::GET, "", "restype=container&comp=list&maxresults=1", None).await;
        match asked {
            Err(error) if error.code() == Code::NoSuchContainer => {}
            answered => return answered.map(drop),
        }
        match self.call("create_container", Method::PUT, "", "restype=container", None).await {
            Err(error) if error.code() == Code::ContainerExists => Ok(()), // another instance was faster
            created => created.map(drop),
        }
    }

    /// Writes a blob whole.
    ///
    /// # Errors
    /// When the service cannot be reached or refuses.
    pub async fn put(&self, name: &str, content: Vec<u8>, media_type: &str) -> Result<(), Error> {
        self.call("put_blob", Method::PUT, name, "", Some((content.into(), media_type))).await.map(drop)
    }

    /// Reads a blob whole; `None` when there is none of that name.
    ///
    /// # Errors
    /// When the service cannot be reached or refuses.
    pub async fn get(&self, name: &str) -> Result<Option<Bytes>, Error> {
        match self.call("get_blob", Method::GET, name, "", None).await {
            Ok(answer) => Ok(Some(answer.body)),
            Err(error) if error.code() == Code::NoSuchBlob => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Deletes a blob; one that is gone already counts as deleted.
    ///
    /// # Errors
    /// When the service cannot be reached or refuses.
    pub async fn delete(&self, name: &str) -> Result<(), Error> {
        match self.call("delete_blob", Method::DELETE, name, "", None).await {
            Err(error) if error.code() != Code::NoSuchBlob => Err(error),
            _ => Ok(()),
        }
    }

    /// The names of blobs that begin with `prefix`, in order.
    ///
    /// # Errors
    /// When a page cannot be read.
    pub async fn list(&self, prefix: &str) -> Result<Vec<String>, Error> {
        let (mut names, mut marker) = (Vec::new(), String::new());
        loop {
            let mut query = format!("restype=container&comp=list&prefix={}", encoded(prefix));
            if !marker.is_empty() {
                query.push_str(&format!("&marker={}", encoded(&marker)));
            }
            let answer = self.call("list_blobs", Method::GET, "", &query, None).await?;
            let body = String::from_utf8_lossy(&answer.body);
            // Our names hold nothing that XML would escape, and the service writes one `Name` a blob.
            names.extend(body.split("<Blob>").skip(1).filter_map(|blob| element(blob, &["Name"])));
            marker = element(&body, &["NextMarker"]).unwrap_or_default();
            if marker.is_empty() {
                return Ok(names);
            }
        }
    }

    async fn call(
        &self,
        operation: &'static str,
        method: Method,
        name: &str,
        query: &str,
        content: Option<(Bytes, &str)>,
    ) -> Result<Answer, Error> {
        let mut headers = HeaderMap::new();
        headers.insert(VERSION, HeaderValue::from_static("2020-12-06"));
        if let Some((_, media_type)) = &content {
            headers.insert(BLOB_TYPE, HeaderValue::from_static("BlockBlob"));
            if let Ok(value) = HeaderValue::from_str(media_type) {
                headers.insert(CONTENT_TYPE, value);
            }
        }
        let container = &self.0.container;
        let path = if name.is_empty() { container.clone() } else { format!("{container}/{name}") };
        // A file is written whole, so writing it twice is writing it once.
        let request = wire::Request {
            operation,
            method,
            path: &path,
            query: query.to_owned(),
            headers,
            body: content.map(|(bytes, _)| bytes),
            repeat: Repeat::Safe,
            limit: LIMIT,
        };
        self.0.wire.call(&request).await
    }
}

fn encoded(text: &str) -> String {
    url::form_urlencoded::byte_serialize(text.as_bytes()).collect::<String>().replace('+', "%20")
}
