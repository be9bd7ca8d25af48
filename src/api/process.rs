//! What this is: the answer at the root path, which the Functions host asks for many times a second.

use schemars::JsonSchema;
use serde::Serialize;
use serde_json::json;

use super::extract::Shown;
use super::operation::{Operation, Tag};
use super::route::{Need, Route};

/// The route.
pub fn routes() -> Vec<Route> {
    let example = json!({ "name": "graphgate", "version": env!("CARGO_PKG_VERSION"), "mcp": "/mcp", "openapi": "/api/openapi.json", "docs": "…" });
    let described = Operation::new(Tag::Operation, "about", "Name and addresses").answers::<About>(example);
    vec![Route::get("/", Need::Nothing, about).described(described)]
}

/// Name and addresses.
#[derive(Debug, Clone, Copy, Serialize, JsonSchema)]
pub struct About {
    /// `graphgate`.
    name: &'static str,
    /// The version.
    version: &'static str,
    /// Path of the MCP server.
    mcp: &'static str,
    /// Path of the OpenAPI document.
    openapi: &'static str,
    /// Where to read on.
    docs: &'static str,
}

/// `GET /`
async fn about() -> Shown<About> {
    Shown(About {
        name: "graphgate",
        version: env!("CARGO_PKG_VERSION"),
        mcp: "/mcp",
        openapi: "/api/openapi.json",
        docs: "`POST /mcp` speaks the Model Context Protocol; `/api/openapi.json` describes the REST interface",
    })
}
