//! The REST interface of the server, for what is no tool: the logs, a confirmation, the stream of events.

use std::time::Duration;

use reqwest::header::{CONTENT_LENGTH, HeaderMap};
use reqwest::{Method, RequestBuilder, Response};
use serde_json::Value;
use url::Url;

use super::client::{self, explained, of_reqwest, refused};
use super::connection::Address;
use super::failure::Failure;
use super::output::note;

/// Longer than a server lets a stream live.
const STREAM_LIMIT: Duration = Duration::from_mins(15);

/// A server's REST interface.
pub struct Rest {
    http: reqwest::Client,
    address: Address,
    base: Url,
}

impl Rest {
    /// The interface beside an MCP address; nothing is asked yet.
    ///
    /// # Errors
    /// When the key cannot be sent.
    pub fn new(address: Address) -> Result<Self, Failure> {
        if address.exposes_key() {
            note(&format!("the key travels unencrypted to `{}`", address.url));
        }
        let mut base = address.url.clone();
        let path = base.path().trim_end_matches('/').to_owned();
        base.set_path(&path);
        base.set_query(None);
        Ok(Self { http: client::http_client(&address)?, address, base })
    }

    /// Reads something.
    ///
    /// # Errors
    /// What the server says, or a failure of the connection.
    pub async fn get(&self, path: &str, query: &[(&str, Option<&str>)]) -> Result<Value, Failure> {
        read(self.send(self.request(Method::GET, path, query)?).await?, &self.address).await
    }

    /// Does something.
    ///
    /// # Errors
    /// As [`Rest::get`].
    pub async fn post(&self, path: &str, body: Option<&Value>) -> Result<Value, Failure> {
        let request = self.request(Method::POST, path, &[])?;
        let request = match body {
            Some(body) => request.json(body),
            None => request.header(CONTENT_LENGTH, 0),
        };
        read(self.send(request).await?, &self.address).await
    }

    /// Opens a stream of events, behind the last one heard.
    ///
    /// # Errors
    /// As [`Rest::get`].
    pub async fn stream(
        &self,
        path: &str,
        query: &[(&str, Option<&str>)],
        last: Option<&str>,
    ) -> Result<Response, Failure> {
        let request = self.request(Method::GET, path, query)?.timeout(STREAM_LIMIT);
        let request = match last {
            Some(last) => request.header("last-event-id", last),
            None => request,
        };
        let answer = self.send(request).await?;
        if answer.status().is_success() { Ok(answer) } else { Err(failed(answer, &self.address).await) }
    }

    fn request(&self, method: Method, path: &str, query: &[(&str, Option<&str>)]) -> Result<RequestBuilder, Failure> {
        let wrong = |error: url::ParseError| Failure::new(format!("`{path}` cannot be asked for: {error}"));
        let mut url = self.base.join(path).map_err(wrong)?;
        for (name, value) in query {
            if let Some(value) = value {
                url.query_pairs_mut().append_pair(name, value);
            }
        }
        let mut headers = HeaderMap::new();
        if let Some((name, value)) = client::key_header(&self.address)? {
            headers.insert(name, value);
        }
        Ok(self.http.request(method, url).headers(headers))
    }

    async fn send(&self, request: RequestBuilder) -> Result<Response, Failure> {
        request.send().await.map_err(|error| explained(of_reqwest(&error), &self.address))
    }
}

/// One segment of a path.
pub fn segment(text: &str) -> String {
    let kept = |byte: &u8| byte.is_ascii_alphanumeric() || b"-._~".contains(byte);
    text.bytes().map(|byte| if kept(&byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") }).collect()
}

async fn read(answer: Response, address: &Address) -> Result<Value, Failure> {
    if !answer.status().is_success() {
        return Err(failed(answer, address).await);
    }
    answer.json().await.map_err(|error| explained(of_reqwest(&error), address))
}

async fn failed(answer: Response, address: &Address) -> Failure {
    let status = answer.status();
    let said: Option<Value> = answer.json().await.ok();
    match said.as_ref().and_then(|said| said.get("code")) {
        Some(_) => refused(&address.url, status, said.as_ref()),
        None => explained(client::Cause::Refused(status, said), address),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rest_paths_are_relative_to_the_mcp_url() {
        for (address, wanted) in [
            ("http://127.0.0.1:7071/mcp", "http://127.0.0.1:7071/api/sync/health?plan_id=a+b"),
            ("https://gate.example/tools/mcp/", "https://gate.example/tools/api/sync/health?plan_id=a+b"),
        ] {
            let rest = Rest::new(Address::parse(address, None).unwrap()).unwrap();
            let query = [("plan_id", Some("a b")), ("cursor", None)];
            let request = rest.request(Method::GET, "api/sync/health", &query).unwrap().build().unwrap();
            assert_eq!(request.url().as_str(), wanted);
        }
    }

    #[test]
    fn plan_title_is_encoded_as_one_path_segment() {
        assert_eq!(segment("Q3/Q4 plän?"), "Q3%2FQ4%20pl%C3%A4n%3F");
    }
}
