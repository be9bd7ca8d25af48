//! The MCP client: one connection, and from its ways of failing to words a person can act on.
//!
//! Redirects are not followed, since they would carry the key to another server, and a server on this machine is
//! reached without the proxy of the environment.

use std::error::Error as StdError;
use std::time::Duration;

use http::{HeaderName, HeaderValue, StatusCode};
use indicatif::ProgressBar;
use rmcp::model::{
    CallToolRequestParams, ClientConfig, GetPromptRequestParams, GetPromptResult, Implementation, JsonObject, ProgressNotificationParam, Prompt,
    ProtocolVersion, ReadResourceRequestParams, Resource, ResourceContents, ResourceTemplate, Tool,
};
use rmcp::service::{NotificationContext, RunningService};
use rmcp::transport::StreamableHttpClientTransport;
use rmcp::transport::streamable_http_client::{HttpStatusError, StreamableHttpClientTransportConfig, StreamableHttpError};
use rmcp::{ClientHandler, ClientLifecycleMode, ClientServiceExt, RoleClient, ServiceError};
use serde_json::Value;

use super::connection::Address;
use super::failure::Failure;
use crate::error::ErrorCode;

const CONNECT_LIMIT: Duration = Duration::from_secs(5);
/// Longer than any call may take: Azure's front end ends requests after 230 s.
const CALL_LIMIT: Duration = Duration::from_secs(240);

/// A connection to a server.
pub struct Client {
    service: RunningService<RoleClient, Face>,
    address: Address,
}

/// What the server sees of us, and where its progress goes.
struct Face {
    bar: ProgressBar,
}

impl ClientHandler for Face {
    async fn on_progress(&self, progress: ProgressNotificationParam, _context: NotificationContext<RoleClient>) {
        super::progress::advance(&self.bar, progress.progress, progress.total);
    }

    fn get_info(&self) -> ClientConfig {
        ClientConfig::new(Default::default(), Implementation::new("graphgate-cli", env!("CARGO_PKG_VERSION")))
    }
}

impl Client {
    /// Connects; progress the server reports moves `bar`.
    ///
    /// # Errors
    /// When nothing answers at the address, or what answers is no GraphGate, or wants a key.
    pub async fn connect(address: Address, bar: ProgressBar) -> Result<Self, Failure> {
        if address.exposes_key() {
            super::output::note(&format!("the key travels unencrypted to `{}`", address.url));
        }
        let transport = transport(&address)?;
        let lifecycle = ClientLifecycleMode::Discover { preferred_versions: vec![ProtocolVersion::V_2026_07_28] };
        match (Face { bar }).serve_with_lifecycle(transport, lifecycle).await {
            Ok(service) => Ok(Self { service, address }),
            Err(error) => Err(explained(&error, &address)),
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
        let said = || result.content.iter().filter_map(|block| block.as_text()).map(|text| text.text.as_str()).collect::<Vec<_>>().join("\n");
        if result.is_error == Some(true) {
            return Err(Failure::from_tool(result.structured_content.as_ref(), &said()));
        }
        Ok(result.structured_content.clone().unwrap_or_else(|| serde_json::json!({ "text": said() })))
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
        let templates = self.service.list_all_resource_templates().await.map_err(|error| self.service_failure(&error))?;
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
            other => explained(other, &self.address),
        }
    }
}

fn transport(address: &Address) -> Result<StreamableHttpClientTransport<reqwest::Client>, Failure> {
    let mut builder = reqwest::Client::builder().connect_timeout(CONNECT_LIMIT).timeout(CALL_LIMIT).redirect(reqwest::redirect::Policy::none());
    if address.is_loopback() {
        builder = builder.no_proxy();
    }
    let client = builder.build().map_err(|error| Failure::new(format!("cannot prepare the connection: {}", chain(&error))))?;
    let mut config = StreamableHttpClientTransportConfig::with_uri(address.url.as_str());
    if let Some(key) = &address.api_key {
        let value = HeaderValue::from_str(key).map_err(|_| Failure::invalid("the key has characters no header may have"))?;
        config.custom_headers.insert(HeaderName::from_static("x-functions-key"), value);
    }
    Ok(StreamableHttpClientTransport::with_client(client, config))
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
fn explained(error: &(dyn StdError + 'static), address: &Address) -> Failure {
    tracing::debug!(error = chain(error), "the connection failed");
    let url = &address.url;
    match cause(error) {
        Cause::Unreachable => {
            let failure = Failure::new(format!("no GraphGate answers at {url}"));
            failure.hint("start one with `graphgate dev`, or name another with `--server` or `--profile`")
        }
        Cause::TookTooLong => Failure::coded(ErrorCode::TimedOut, format!("{url} did not answer in time")),
        Cause::Status(StatusCode::UNAUTHORIZED) => {
            let failure = Failure::coded(ErrorCode::Unauthenticated, format!("{url} does not accept this caller"));
            failure.hint(if address.api_key.is_some() { "the key is wrong or was replaced" } else { "give the key with `--api-key` or `GRAPHGATE_API_KEY`" })
        }
        Cause::Status(StatusCode::FORBIDDEN) => Failure::coded(ErrorCode::PermissionMissing, format!("{url} refuses this caller")),
        Cause::Status(StatusCode::TOO_MANY_REQUESTS) => Failure::coded(ErrorCode::Throttled, format!("{url} asks to call less often")),
        Cause::Status(StatusCode::PAYLOAD_TOO_LARGE) => Failure::coded(ErrorCode::BodyTooLarge, format!("{url} does not accept a request this large")),
        Cause::Status(status) => not_ours(url, &format!("it answered {status}")),
        Cause::Other(why) => not_ours(url, &why),
    }
}

fn not_ours(url: &url::Url, why: &str) -> Failure {
    Failure::new(format!("{url} does not answer like a GraphGate: {why}")).hint("the address of a GraphGate ends in `/mcp`")
}

/// What a failure of the connection comes down to.
enum Cause {
    Unreachable,
    TookTooLong,
    Status(StatusCode),
    Other(String),
}

fn cause(error: &(dyn StdError + 'static)) -> Cause {
    for error in sources(error) {
        if let Some(error) = error.downcast_ref::<reqwest::Error>() {
            return of_reqwest(error);
        }
        if let Some(HttpStatusError { status, .. }) = error.downcast_ref::<HttpStatusError>() {
            return Cause::Status(StatusCode::from_u16(*status).unwrap_or_default());
        }
        match error.downcast_ref::<StreamableHttpError<reqwest::Error>>() {
            Some(StreamableHttpError::AuthRequired(_)) => return Cause::Status(StatusCode::UNAUTHORIZED),
            Some(StreamableHttpError::InsufficientScope(_)) => return Cause::Status(StatusCode::FORBIDDEN),
            Some(StreamableHttpError::Client(error)) => return of_reqwest(error),
            Some(StreamableHttpError::HttpStatus(error)) => return Cause::Status(StatusCode::from_u16(error.status).unwrap_or_default()),
            Some(StreamableHttpError::UnexpectedServerResponse(text)) => return unexpected(text),
            _ => {}
        }
    }
    Cause::Other(chain(error))
}

fn of_reqwest(error: &reqwest::Error) -> Cause {
    match error.status() {
        Some(status) => Cause::Status(status),
        None if error.is_connect() => Cause::Unreachable,
        None if error.is_timeout() => Cause::TookTooLong,
        None => Cause::Other(chain(error)),
    }
}

/// The client library gives some statuses only in words: `HTTP 401 Unauthorized: …`.
fn unexpected(text: &str) -> Cause {
    let status = text.split_whitespace().nth(1).filter(|_| text.starts_with("HTTP ")).and_then(|status| status.trim_end_matches(':').parse().ok());
    status.map_or_else(|| Cause::Other(text.to_owned()), Cause::Status)
}

fn sources<'a>(error: &'a (dyn StdError + 'static)) -> impl Iterator<Item = &'a (dyn StdError + 'static)> {
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

fn chain(error: &(dyn StdError + 'static)) -> String {
    sources(error).map(ToString::to_string).collect::<Vec<_>>().join(": ")
}
