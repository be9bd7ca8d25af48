//! The tools, resources and prompts that the official MCP conformance suite asks a server for, mounted on the very
//! stack that serves GraphGate. What the suite finds here it would find in the product, and it can call nothing else:
//! the product has no tool that returns audio, or asks the client a question.
//!
//! `fixture_server --ready-file PATH [--port N]` listens on loopback, writes `{"mcp_url": …}` and runs until stopped.
//! Names, shapes and some texts are given by the suite; four of its scenarios at 2025-11-25 cannot pass without
//! sessions, because there the server would have to call the client (see `tests/clients/baseline-fixture-*.yml`).

#![allow(deprecated)] // sampling, roots and logging: deprecated by the protocol, still asked for by its suite
#![allow(clippy::print_stderr)]

mod content;
mod jobs;
mod questions;
mod seal;
mod server;

use std::net::Ipv4Addr;
use std::path::PathBuf;

use anyhow::Context as _;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let (mut port, mut ready_file) = (0, None);
    while let Some(argument) = arguments.next() {
        let mut value = || arguments.next().with_context(|| format!("`{argument}` needs a value"));
        match argument.as_str() {
            "--port" => port = value()?.parse().context("`--port` is no number")?,
            "--ready-file" => ready_file = Some(PathBuf::from(value()?)),
            _ => anyhow::bail!("unknown argument `{argument}`; usage: fixture_server --ready-file PATH [--port N]"),
        }
    }
    let ready_file = ready_file.context("`--ready-file` is missing")?;
    let listener = tokio::net::TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await?;
    let ready = serde_json::json!({ "mcp_url": format!("http://{}/mcp", listener.local_addr()?) });
    let app = graphgate::mcp::router(server::Fixture::new(), &graphgate::mcp::Config::default());
    std::fs::write(&ready_file, ready.to_string()).with_context(|| format!("cannot write {}", ready_file.display()))?;
    axum::serve(listener, app).await?;
    Ok(())
}
