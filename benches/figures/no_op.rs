//! The tool without work: on the same stack as GraphGate's, with an answer that is there already.
//!
//! It is the yardstick of the throughput figure: what remains of a server when nothing has to be found, sorted or
//! printed. The benchmark starts itself again as this server.

use std::path::Path;
use std::sync::Arc;

use graphgate::mcp;
use rmcp::model::{
    CallToolRequestParams, CallToolResponse, CallToolResult, ContentBlock, ServerCapabilities, ServerConfig,
};
use rmcp::service::RequestContext;
use rmcp::{ErrorData, RoleServer, ServerHandler};
use serde_json::{Value, json};

#[derive(Clone)]
struct NoOp {
    text: Arc<str>,
    value: Arc<Value>,
}

impl ServerHandler for NoOp {
    fn get_info(&self) -> ServerConfig {
        ServerConfig::new(ServerCapabilities::builder().enable_tools().build())
    }

    async fn call_tool(
        &self,
        _request: CallToolRequestParams,
        _context: RequestContext<RoleServer>,
    ) -> Result<CallToolResponse, ErrorData> {
        let mut result = CallToolResult::success(vec![ContentBlock::text(self.text.as_ref())]);
        result.structured_content = Some(Value::clone(&self.value));
        Ok(result.into())
    }
}

/// Serves the answer in a file until killed.
pub fn serve(answer: &Path, ready: &Path) -> anyhow::Result<()> {
    let value: Value = serde_json::from_slice(&std::fs::read(answer)?)?;
    let tool = NoOp { text: value.to_string().into(), value: Arc::new(value) };
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await?;
        let address = listener.local_addr()?;
        graphgate::cli::ready::write_ready(ready, &json!({ "mcp_url": format!("http://{address}/mcp") }))?;
        Ok(axum::serve(listener, mcp::router(tool, &mcp::Config::default())).await?)
    })
}
