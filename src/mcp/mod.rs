//! The MCP interface: tools, resources and prompts on one address, for clients of both protocol versions, without sessions.
//!
//! What a caller sees and how a tool is called is the [`Catalogue`](toolsets::Catalogue)'s, which REST shares. A rule is in the services; here
//! is only translation.

pub mod answer;
mod listen;
pub mod permissions;
mod prompts;
mod resources;
mod search;
pub mod server;
mod trace;
mod transport;

use std::sync::Arc;

use axum::Router;
use rmcp::ServerHandler;
use rmcp::transport::streamable_http_server::StreamableHttpService;
use rmcp::transport::streamable_http_server::session::never::NeverSessionManager;
use rmcp::transport::streamable_http_server::tower::StreamableHttpServerConfig;

use crate::toolsets;
pub use crate::toolsets::Offer;
pub use crate::toolsets::narrow::ALL;
pub use search::Mode;
pub use server::Server;

/// Settings of the interface.
#[derive(Debug, Clone)]
pub struct Config {
    /// What the server calls itself to its clients.
    pub name: String,
    /// Host headers that are answered; loopback names are always among them.
    pub allowed_hosts: Vec<String>,
    /// Origins of browser pages that are answered, as `https://host:port`.
    pub allowed_origins: Vec<String>,
    /// What of the toolsets is offered, on every interface.
    pub offer: Offer,
    /// Which tools clients are offered that do not say it themselves.
    pub mode: Mode,
    /// The largest request body, in bytes.
    pub max_body: usize,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            name: "graphgate".to_owned(),
            allowed_hosts: Vec::new(),
            allowed_origins: Vec::new(),
            offer: Offer::default(),
            mode: Mode::List,
            max_body: 4 * 1024 * 1024,
        }
    }
}

/// The names of all toolsets.
#[must_use]
pub fn toolset_names() -> Vec<&'static str> {
    toolsets::all().iter().map(|toolset| toolset.name).collect()
}

/// The names of all tools.
#[must_use]
pub fn tool_names() -> Vec<&'static str> {
    toolsets::tools().iter().map(|tool| tool.name).collect()
}

/// Mounts a server at `/mcp`: stateless, JSON answers, with checks of `Host` and `Origin` against DNS rebinding.
pub fn router<H: ServerHandler + Clone>(server: H, config: &Config) -> Router {
    let loopback = ["localhost", "127.0.0.1", "::1", "[::1]"].map(str::to_owned);
    let origins = ["http://localhost:*", "http://127.0.0.1:*", "http://[::1]:*"].map(str::to_owned);
    let settings = StreamableHttpServerConfig::default()
        .with_legacy_session_mode(false)
        .with_json_response(true)
        .with_allowed_hosts(loopback.into_iter().chain(config.allowed_hosts.iter().cloned()))
        .with_allowed_origins(origins.into_iter().chain(config.allowed_origins.iter().cloned()))
        .with_max_request_body_bytes(config.max_body);
    let service =
        StreamableHttpService::new(move || Ok(server.clone()), Arc::new(NeverSessionManager::default()), settings);
    Router::new().nest_service("/mcp", service).route_layer(axum::middleware::from_fn(transport::lenient))
}
