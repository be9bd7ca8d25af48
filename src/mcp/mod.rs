//! The MCP face: tools, resources and prompts on one address, for clients of both protocol eras, without sessions.
//!
//! [`inventory`] says what a caller sees of the [`toolsets`], [`server`] dispatches: one deadline and one
//! guard against panics for every call. Whatever has a rule is in the services; here is only translation.

pub mod answer;
mod inventory;
mod listen;
mod narrow;
pub mod permissions;
mod prompts;
mod resources;
pub mod server;
mod transport;

use std::sync::Arc;

use axum::Router;
use rmcp::ServerHandler;
use rmcp::transport::streamable_http_server::StreamableHttpService;
use rmcp::transport::streamable_http_server::session::never::NeverSessionManager;
use rmcp::transport::streamable_http_server::tower::StreamableHttpServerConfig;

pub use self::narrow::ALL;
use crate::auth::{Grant, Mode};
use crate::toolsets::tool::{Effect, Tool};
use crate::toolsets::{self, Presence, Toolset};
pub use server::{Counters, Server};

/// Settings of the face.
#[derive(Debug, Clone)]
pub struct Config {
    /// Host headers that are answered; loopback names are always among them.
    pub allowed_hosts: Vec<String>,
    /// Origins of browser pages that are answered, as `https://host:port`.
    pub allowed_origins: Vec<String>,
    /// Refuse every tool that writes.
    pub read_only: bool,
    /// Only these toolsets; all if empty.
    pub toolsets: Vec<String>,
    /// Whether all toolsets that are offered are listed to clients that name none.
    pub lists_everything: bool,
    /// Only these tools; all if empty.
    pub tools: Vec<String>,
    /// The largest request body, in bytes.
    pub max_body: usize,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            allowed_hosts: Vec::new(),
            allowed_origins: Vec::new(),
            read_only: false,
            toolsets: Vec::new(),
            lists_everything: false,
            tools: Vec::new(),
            max_body: 4 * 1024 * 1024,
        }
    }
}

impl Config {
    /// Whether a tool is among those offered, leaving aside whether the server is read-only.
    pub(crate) fn offers(&self, tool: &Tool) -> bool {
        let listed = |names: &[String], name: &str| names.is_empty() || names.iter().any(|listed| listed == name);
        listed(&self.toolsets, tool.toolset) && listed(&self.tools, tool.name)
    }

    /// Whether permissions of a toolset's tools are asked for: where none is named, those of toolsets that are there
    /// without being named.
    pub(crate) fn grants(&self, toolset: &Toolset) -> bool {
        let named = !self.toolsets.is_empty() || self.lists_everything;
        named || toolset.presence != Presence::OnRequest
    }

    /// The most any caller may do on any face: the toolsets of which a tool is offered, and to write with those of which
    /// one that writes is. `None` where all tools are.
    #[must_use]
    pub fn most(&self) -> Option<Grant> {
        if self.toolsets.is_empty() && self.tools.is_empty() {
            return None;
        }
        let offered = toolsets::tools().into_iter().filter(|tool| self.offers(tool));
        let grant = |tool: Tool| {
            Grant::toolsets([tool.toolset], if tool.effect == Effect::Reads { Mode::Read } else { Mode::Write })
        };
        Some(offered.map(grant).fold(Grant::nothing(), |all, one| all.or(&one)).and_operate())
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
