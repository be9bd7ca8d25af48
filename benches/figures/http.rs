//! A keep-alive connection that sends prepared requests and reads answers: as little work as HTTP/1.1 allows, because
//! the load generator must not be what is measured.

use anyhow::{Context as _, bail, ensure};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// A request as it goes over the wire.
#[derive(Debug, Clone)]
pub struct Request(Vec<u8>);

impl Request {
    /// Any request with an optional JSON body; `headers` end in `\r\n` each.
    pub fn new(method: &str, path: &str, headers: &str, body: Option<&Value>) -> Self {
        let body = body.map(Value::to_string).unwrap_or_default();
        let length = body.len();
        let head = format!("{method} {path} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n");
        Self(format!("{head}{headers}content-length: {length}\r\n\r\n{body}").into_bytes())
    }

    /// A request of MCP.
    pub fn mcp(method: &str, params: &Value) -> Self {
        let body = json!({ "jsonrpc": "2.0", "id": 1, "method": method, "params": params });
        let headers = "accept: application/json, text/event-stream\r\nmcp-protocol-version: 2025-11-25\r\n";
        Self::new("POST", "/mcp", headers, Some(&body))
    }

    /// A call of a tool.
    pub fn tool(name: &str, arguments: &Value) -> Self {
        Self::mcp("tools/call", &json!({ "name": name, "arguments": arguments }))
    }

    /// The bytes.
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }
}

/// A connection.
pub struct Connection {
    stream: TcpStream,
    received: Vec<u8>,
}

impl Connection {
    /// Connects to `host:port`.
    pub async fn open(address: &str) -> anyhow::Result<Self> {
        let stream = TcpStream::connect(address).await.with_context(|| format!("{address} does not answer"))?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, received: Vec::with_capacity(128 * 1024) })
    }

    /// Sends a request and reads the whole answer: its status and body.
    pub async fn send(&mut self, request: &Request) -> anyhow::Result<(u16, &[u8])> {
        self.stream.write_all(&request.0).await?;
        self.received.clear();
        let head = loop {
            ensure!(self.stream.read_buf(&mut self.received).await? > 0, "the connection was closed");
            if let Some(end) = self.received.windows(4).position(|four| four == b"\r\n\r\n") {
                break Head::parse(self.received.get(..end).unwrap_or_default(), end + 4)?;
            }
        };
        while self.received.len() < head.body + head.length {
            ensure!(self.stream.read_buf(&mut self.received).await? > 0, "the connection was closed");
        }
        Ok((head.status, self.received.get(head.body..head.body + head.length).unwrap_or_default()))
    }

    /// Sends a request whose answer is JSON of status 200.
    pub async fn json(&mut self, request: &Request) -> anyhow::Result<Value> {
        let (status, body) = self.send(request).await?;
        ensure!(status == 200, "{status}: {}", String::from_utf8_lossy(body));
        Ok(serde_json::from_slice(body)?)
    }

    /// Calls a tool and returns its structured answer.
    pub async fn call(&mut self, tool: &str, arguments: &Value) -> anyhow::Result<Value> {
        let (status, body) = self.send(&Request::tool(tool, arguments)).await?;
        check(status, body)?;
        let mut answer: Value = serde_json::from_slice(body)?;
        answer.pointer_mut("/result/structuredContent").map(Value::take).context("no structured answer")
    }
}

struct Head {
    status: u16,
    /// Where the body begins.
    body: usize,
    length: usize,
}

impl Head {
    fn parse(head: &[u8], body: usize) -> anyhow::Result<Self> {
        let text = std::str::from_utf8(head)?;
        let status = text.split(' ').nth(1).and_then(|status| status.parse().ok()).context("no status")?;
        let length = text.lines().find_map(|line| {
            let (name, value) = line.split_once(':')?;
            name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse().ok())?
        });
        let Some(length) = length else { bail!("an answer without content-length: {text}") };
        Ok(Self { status, body, length })
    }
}

/// Whether an answer is a tool's success.
///
/// Most are recognised by the first and the last bytes; only others are parsed.
pub fn check(status: u16, body: &[u8]) -> anyhow::Result<()> {
    let told = || String::from_utf8_lossy(body.get(..body.len().min(600)).unwrap_or_default()).into_owned();
    ensure!(status == 200, "HTTP {status}: {}", told());
    if body.starts_with(br#"{"jsonrpc":"2.0","id":1,"result":{"#) && body.ends_with(br#""isError":false}}"#) {
        return Ok(());
    }
    let answer: Value = serde_json::from_slice(body).with_context(told)?;
    let result = answer.get("result").with_context(told)?;
    ensure!(result.get("isError").and_then(Value::as_bool) != Some(true), "a tool failed: {}", told());
    Ok(())
}
