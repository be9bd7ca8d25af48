//! The MCP client: one connection, and from its ways of failing to words a person can act on.
//!
//! Redirects are not followed, since they would carry the key to another server, and a server on this machine is
//! called without the proxy of the environment.

use std::error::Error as StdError;
use std::time::Duration;

use http::{HeaderName, HeaderValue, StatusCode};
use rmcp::model::{
    CallToolRequestParams, ClientCapabilities, ClientConfig, GetPromptRequestParams, GetPromptResult, Implementation,
    JsonObject, ProgressNotificationParam, Prompt, ProtocolVersion, ReadResourceRequestParams, Resource,
    ResourceContents, ResourceTemplate, Tool,
};
use rmcp::service::{NotificationContext, RunningService};
use rmcp::transport::StreamableHttpClientTransport;
use rmcp::transport::streamable_http_client::{StreamableHttpClientTransportConfig, StreamableHttpError};
use rmcp::{ClientHandler, ClientLifecycleMode, ClientServiceExt, RoleClient, ServiceError};
use serde_json::{Value, json};

use super::connection::Address;
use super::failure::Failure;
use super::progress::Progress;
use super::unreachable::Unreachable;
use crate::error::ErrorCode;

const CONNECT_LIMIT: Duration = Duration::from_secs(5);
/// Longer than any call may take: Azure's front end ends requests after 230 s.
const CALL_LIMIT: Duration = Duration::from_mins(4);

/// A connection to a server.
pub struct Client {
    service: RunningService<RoleClient, ProgressHandler>,
    address: Address,
}

/// What the server sees of us, and where its progress goes.
struct ProgressHandler {
    progress: Progress,
}

impl ClientHandler for ProgressHandler {
    async fn on_progress(&self, progress: ProgressNotificationParam, _context: NotificationContext<RoleClient>) {
        self.progress.report(progress.progress);
    }

    fn get_info(&self) -> ClientConfig {
        ClientConfig::new(
            ClientCapabilities::default(),
            Implementation::new("graphgate-cli", env!("CARGO_PKG_VERSION")),
        )
    }
}

impl Client {
    /// Connects; progress the server reports moves `progress`.
    ///
    /// # Errors
    /// When nothing answers at the address, or what answers is no GraphGate, or wants a key.
    pub async fn connect(address: Address, progress: Progress) -> Result<Self, Failure> {
        if address.exposes_key() {
            super::output::note(&format!("the key travels unencrypted to `{}`", address.url));
        }
        let transport = transport(&address)?;
        let lifecycle = ClientLifecycleMode::Discover { preferred_versions: vec![ProtocolVersion::V_2026_07_28] };
        match (ProgressHandler { progress }).serve_with_lifecycle(transport, lifecycle).await {
            Ok(service) => Ok(Self { service, address }),
            Err(error) => Err(explained(cause(&error), &address)),
        }
    }

    /// Calls a tool and returns its structured answer, or `{"text": …}` when it has none.
    ///
    /// # Errors
    /// The tool's own error, or a failure of the connection.
    pub async fn call(&self, tool: &str, arguments: JsonObject) -> Result<Value, Failure> {
        tracing::info!(tool, "calling");
        let request = CallToolRequestParams::new(tool.to_owned()).with_arguments(arguments);
        let result = self.service.call_tool(request).await.map_err(|error| self.service_failure(&error))?;
        let said = || {
            result
                .content
                .iter()
                .filter_map(|block| block.as_text())
                .map(|text| text.text.as_str())
                .collect::<Vec<_>>()
                .join("\n")
        };
        if result.is_error == Some(true) {
            return Err(Failure::from_tool(result.structured_content.as_ref(), &said()));
        }
        Ok(result.structured_content.clone().unwrap_or_else(|| serde_json::json!({ "text": said() })))
    }

    /// Fetches a file the server has signed an address for. No matter which host the server takes for its own, the one
    /// that answers here is asked.
    ///
    /// # Errors
    /// When the file is gone or cannot be written, or the connection fails.
    pub async fn download(&self, address: &str) -> Result<Vec<u8>, Failure> {
        let wrong = || Failure::new(format!("the server gave an address that is none: {address}"));
        let base = self.address.url.join("/").map_err(|_| wrong())?;
        let named = base.join(address).map_err(|_| wrong())?;
        let mut url = base;
        url.set_path(named.path());
        url.set_query(named.query());
        let client = http_client(&self.address)?;
        let answer = client.get(url).send().await.map_err(|error| explained(of_reqwest(&error), &self.address))?;
        let status = answer.status();
        let content = answer.bytes().await.map_err(|error| explained(of_reqwest(&error), &self.address))?;
        if status.is_success() {
            return Ok(content.to_vec());
        }
        Err(refused(&self.address.url, status, serde_json::from_slice(&content).ok().as_ref()))
    }

    /// Calls a path of the REST interface without a body.
    ///
    /// # Errors
    /// When the caller may not, the call fails, or the connection does.
    pub async fn rest(&self, method: http::Method, path: &str) -> Result<Value, Failure> {
        let url = self.address.url.join(path).map_err(|_| Failure::new(format!("`{path}` is no path")))?;
        let mut request = http_client(&self.address)?.request(method, url);
        if let Some(key) = &self.address.api_key {
            request = request.header("x-functions-key", key);
        }
        let answer = request.send().await.map_err(|error| explained(of_reqwest(&error), &self.address))?;
        let status = answer.status();
        let said = answer.json().await.map_err(|error| explained(of_reqwest(&error), &self.address));
        match (status.is_success(), said) {
            (true, said) => said,
            (false, said) => Err(explained(Cause::Refused(status, said.ok()), &self.address)),
        }
    }

    /// All tools.
    ///
    /// # Errors
    /// When the connection fails.
    pub async fn tools(&self) -> Result<Vec<Tool>, Failure> {
        self.service.list_all_tools().await.map_err(|error| self.service_failure(&error))
    }

    /// All resources and templates of resources.
    ///
    /// # Errors
    /// When the connection fails.
    pub async fn resources(&self) -> Result<(Vec<Resource>, Vec<ResourceTemplate>), Failure> {
        let resources = self.service.list_all_resources().await.map_err(|error| self.service_failure(&error))?;
        let templates =
            self.service.list_all_resource_templates().await.map_err(|error| self.service_failure(&error))?;
        Ok((resources, templates))
    }

    /// The contents of a resource.
    ///
    /// # Errors
    /// When it does not exist or the connection fails.
    pub async fn read(&self, uri: &str) -> Result<Vec<ResourceContents>, Failure> {
        let answer = self.service.read_resource(ReadResourceRequestParams::new(uri)).await;
        Ok(answer.map_err(|error| self.service_failure(&error))?.contents)
    }

    /// All prompts.
    ///
    /// # Errors
    /// When the connection fails.
    pub async fn prompts(&self) -> Result<Vec<Prompt>, Failure> {
        self.service.list_all_prompts().await.map_err(|error| self.service_failure(&error))
    }

    /// A prompt, filled in.
    ///
    /// # Errors
    /// When it does not exist, an argument is missing, or the connection fails.
    pub async fn prompt(&self, name: &str, arguments: JsonObject) -> Result<GetPromptResult, Failure> {
        let request = GetPromptRequestParams::new(name).with_arguments(arguments);
        self.service.get_prompt(request).await.map_err(|error| self.service_failure(&error))
    }

    fn service_failure(&self, error: &ServiceError) -> Failure {
        match error {
            ServiceError::McpError(error) => rpc_failure(error),
            other => match cause(other) {
                Cause::Other(why) => Failure::new(format!("the connection to {} broke: {why}", self.address.url))
                    .hint("if this was a change, check whether it was made before you repeat it"),
                known => explained(known, &self.address),
            },
        }
    }
}

pub(super) fn http_client(address: &Address) -> Result<reqwest::Client, Failure> {
    let mut builder = reqwest::Client::builder()
        .connect_timeout(CONNECT_LIMIT)
        .timeout(CALL_LIMIT)
        .redirect(reqwest::redirect::Policy::none());
    if address.is_loopback() {
        builder = builder.no_proxy();
    }
    builder.build().map_err(|error| Failure::new(format!("cannot prepare the connection: {}", chain(&error))))
}

fn transport(address: &Address) -> Result<StreamableHttpClientTransport<reqwest::Client>, Failure> {
    let client = http_client(address)?;
    let mut config = StreamableHttpClientTransportConfig::with_uri(address.url.as_str());
    config.custom_headers.extend(key_header(address)?);
    Ok(StreamableHttpClientTransport::with_client(client, config))
}

/// The header with the key, if there is one.
pub(super) fn key_header(address: &Address) -> Result<Option<(HeaderName, HeaderValue)>, Failure> {
    let Some(key) = &address.api_key else { return Ok(None) };
    let value =
        HeaderValue::from_str(key).map_err(|_| Failure::invalid("the key has characters no header may have"))?;
    Ok(Some((HeaderName::from_static("x-functions-key"), value)))
}

/// An error of the protocol. The codes are those of MCP; a server may put its own error beside them.
fn rpc_failure(error: &rmcp::ErrorData) -> Failure {
    if error.data.as_ref().is_some_and(|data| data.get("error").is_some()) {
        return Failure::from_tool(error.data.as_ref(), &error.message);
    }
    let message = error.message.to_string();
    match error.code {
        rmcp::model::ErrorCode::INVALID_PARAMS => Failure::invalid(message),
        rmcp::model::ErrorCode::RESOURCE_NOT_FOUND => Failure::coded(ErrorCode::NotFound, message),
        _ => Failure::new(message),
    }
}

/// A failure of the connection in words.
pub(super) fn explained(cause: Cause, address: &Address) -> Failure {
    let url = &address.url;
    match cause {
        Cause::Unreachable(why) => why.explained(url),
        Cause::TookTooLong => Failure::coded(ErrorCode::TimedOut, format!("{url} did not answer in time")),
        Cause::Refused(status @ StatusCode::UNAUTHORIZED, Some(said))
            if said.get("code") == Some(&ErrorCode::TokenExpired.as_str().into()) =>
        {
            refused(url, status, Some(&said))
        }
        Cause::Refused(StatusCode::UNAUTHORIZED, _) => {
            let failure = Failure::coded(ErrorCode::Unauthenticated, format!("{url} does not accept this caller"));
            failure.hint(match address.api_key {
                Some(_) => "the key is wrong or was replaced",
                None => "give the key with `--api-key` or `GRAPHGATE_API_KEY`",
            })
        }
        Cause::Refused(StatusCode::NOT_FOUND, _) => not_ours(url, "it answered 404 Not Found"),
        Cause::Refused(status, said) => refused(url, status, said.as_ref()),
        Cause::Other(why) => not_ours(url, &why),
    }
}

/// A refusal with a status. A GraphGate says in the body which error of the table it is; a proxy in front does not.
pub(super) fn refused(url: &url::Url, status: StatusCode, said: Option<&Value>) -> Failure {
    let members = said.and_then(|said| Some((said, said.get("details")?.as_object()?.clone())));
    if let Some((said, mut members)) = members {
        // The members of a failure, as over MCP: those beside `details` are of the problem document.
        for member in ["class", "message"] {
            members.extend(said.get(member).map(|value| (member.to_owned(), value.clone())));
        }
        return Failure::from_tool(Some(&json!({ "error": members })), "");
    }
    let text = |member: &str| said.and_then(|said| said.get(member)).and_then(Value::as_str);
    let code = text("code").and_then(|code| code.parse().ok()).or(match status {
        StatusCode::FORBIDDEN => Some(ErrorCode::PermissionMissing),
        StatusCode::TOO_MANY_REQUESTS => Some(ErrorCode::Throttled),
        StatusCode::PAYLOAD_TOO_LARGE => Some(ErrorCode::BodyTooLarge),
        _ => None,
    });
    let Some(code) = code else { return not_ours(url, &format!("it answered {status}")) };
    let message = text("detail").map_or_else(|| format!("{url} answered {status}"), str::to_owned);
    match text("hint") {
        Some(hint) => Failure::coded(code, message).hint(hint),
        None => Failure::coded(code, message),
    }
}

fn not_ours(url: &url::Url, why: &str) -> Failure {
    Failure::new(format!("{url} does not answer like a GraphGate: {why}"))
        .hint("the address of a GraphGate ends in `/mcp`")
}

/// What a failure of the connection comes down to.
#[derive(Debug, PartialEq)]
pub(super) enum Cause {
    Unreachable(Unreachable),
    TookTooLong,
    /// Refused with this status, and perhaps JSON that says why.
    Refused(StatusCode, Option<Value>),
    Other(String),
}

fn cause(error: &(dyn StdError + 'static)) -> Cause {
    use rmcp::service::ClientInitializeError::JsonRpcError;
    tracing::debug!(error = chain(error), "the connection failed");
    for error in sources(error) {
        if let Some(error) = error.downcast_ref::<reqwest::Error>() {
            return of_reqwest(error);
        }
        if let Some(JsonRpcError(error)) = error.downcast_ref() {
            return of_words(&error.message);
        }
        match error.downcast_ref::<StreamableHttpError<reqwest::Error>>() {
            Some(StreamableHttpError::AuthRequired(_)) => return Cause::Refused(StatusCode::UNAUTHORIZED, None),
            Some(StreamableHttpError::InsufficientScope(_)) => return Cause::Refused(StatusCode::FORBIDDEN, None),
            Some(StreamableHttpError::Client(error)) => return of_reqwest(error),
            Some(StreamableHttpError::HttpStatus(error)) => {
                return Cause::Refused(StatusCode::from_u16(error.status).unwrap_or_default(), None);
            }
            Some(StreamableHttpError::UnexpectedServerResponse(words)) => return of_words(words),
            _ => {}
        }
    }
    Cause::Other(chain(error))
}

pub(super) fn of_reqwest(error: &reqwest::Error) -> Cause {
    match error.status() {
        Some(status) => Cause::Refused(status, None),
        None if error.is_connect() => Cause::Unreachable(Unreachable::of(error)),
        None if error.is_timeout() => Cause::TookTooLong,
        None => Cause::Other(chain(error)),
    }
}

/// The client library gives most refusals only in words: `… HTTP 403 Forbidden: {body}`.
fn of_words(words: &str) -> Cause {
    let status = words.split_once("HTTP ").and_then(|(_, rest)| rest.get(..3)).and_then(|status| status.parse().ok());
    let body = words.split_once(": {").and_then(|(_, body)| serde_json::from_str(&format!("{{{body}")).ok());
    status.map_or_else(|| Cause::Other(words.to_owned()), |status| Cause::Refused(status, body))
}

pub(super) fn sources<'a>(error: &'a (dyn StdError + 'static)) -> impl Iterator<Item = &'a (dyn StdError + 'static)> {
    std::iter::successors(Some(error), |error| source(*error))
}

/// What is behind an error. The client library hides the transport's own error from `source` in two places.
fn source<'a>(error: &'a (dyn StdError + 'static)) -> Option<&'a (dyn StdError + 'static)> {
    use rmcp::service::ClientInitializeError::TransportError;
    if let Some(TransportError { error, .. }) = error.downcast_ref() {
        return Some(&*error.error);
    }
    if let Some(ServiceError::TransportSend(error)) = error.downcast_ref() {
        return Some(&*error.error);
    }
    error.source()
}

pub(super) fn chain(error: &(dyn StdError + 'static)) -> String {
    sources(error).map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn unauthorized_error_is_recognised_in_text_of_the_client_library() {
        let words =
            r#"server/discover rejected with HTTP 403 Forbidden: {"code":"PERM_002","detail":"read-only","hint":"no"}"#;
        let said = json!({"code": "PERM_002", "detail": "read-only", "hint": "no"});
        assert_eq!(of_words(words), Cause::Refused(StatusCode::FORBIDDEN, Some(said.clone())));
        let failure = refused(&"http://x/mcp".parse().unwrap(), StatusCode::FORBIDDEN, Some(&said));
        assert_eq!((failure.to_string().as_str(), failure.exit_code()), ("read-only", 5));
        assert_eq!(
            of_words("HTTP 500 Internal Server Error: oops"),
            Cause::Refused(StatusCode::INTERNAL_SERVER_ERROR, None)
        );
        assert_eq!(of_words("no status"), Cause::Other("no status".into()));
    }

    #[test]
    fn refusing_proxy_is_distinguished_from_the_server() {
        let failure = refused(&"http://x/mcp".parse().unwrap(), StatusCode::BAD_GATEWAY, None);
        assert_eq!(failure.to_string(), "http://x/mcp does not answer like a GraphGate: it answered 502 Bad Gateway");
    }
}
