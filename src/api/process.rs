//! What this is: the answer to whoever knocks at the root, the Functions host many times a second among them.

use schemars::JsonSchema;
use serde::Serialize;

use super::extract::Shown;

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
pub async fn about() -> Shown<About> {
    Shown(About {
        name: "graphgate",
        version: env!("CARGO_PKG_VERSION"),
        mcp: "/mcp",
        openapi: "/api/openapi.json",
        docs: "`POST /mcp` speaks the Model Context Protocol; `/api/openapi.json` describes the REST face",
    })
}
