//! The real binary as a process of its own: what only a process can show.
//!
//! `graphgate serve`, as it is deployed, on a simulated tenant that another process serves over HTTPS with a private
//! certificate authority, because the credentials of the real program insist on https.

mod canary;
mod drain;
mod dying;
#[cfg(target_os = "linux")]
mod exhaustion;
mod identity;
mod kills;
mod log_lines;
mod moves;
mod notified;
mod passthrough;
#[cfg(unix)]
mod private;
mod simulator;
#[cfg(unix)]
mod startup;
mod throttled;
mod traces;
mod trouble;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use serde_json::{Value, json};

use crate::support::process::{Folder, GRAPHGATE, Process, Tasks, tasks_in};

/// A tenant in one process, and servers on it and on one store in others.
struct Deployment {
    folder: Folder,
    tenant: Process,
    servers: Vec<Option<Process>>,
    http: reqwest::Client,
}

impl Deployment {
    /// The tenant and one server.
    async fn start() -> Self {
        let mut deployment = Self::tenant_alone("process").await;
        deployment.serve(Command::new(GRAPHGATE)).await;
        deployment
    }

    /// The tenant; `name` begins the name of the file of its requests, where those are kept.
    async fn tenant_alone(name: &str) -> Self {
        let logs = std::env::var_os("GRAPH_LOG_DIR");
        let file = |logs| Path::new(&logs).join(format!("{name}-{}.jsonl", uuid::Uuid::new_v4()));
        Self::tenant_with(Folder::new(), logs.map(file)).await
    }

    /// The tenant, which writes the requests it receives to a file if one is named.
    async fn tenant_with(folder: Folder, requests: Option<PathBuf>) -> Self {
        let mut command = Command::new(GRAPHGATE);
        command.args(["sim", "--port", "0", "--tls"]).arg(&folder.0);
        if let Some(file) = requests {
            command.arg("--request-log").arg(file);
        }
        let tenant = Process::start(command, &folder.0.join("tenant.json")).await;
        Self { folder, tenant, servers: Vec::new(), http: reqwest::Client::new() }
    }

    /// Starts the first server with a command that ends in the binary; one that runs is killed first.
    async fn serve(&mut self, command: Command) {
        assert!(self.serve_as(0, command, |_| ()).await, "the program lives until it is ready");
    }

    /// As [`Self::serve`], for any server, with further arguments and settings; answers whether it lived until it was
    /// ready.
    async fn serve_as(&mut self, number: usize, mut command: Command, change: impl FnOnce(&mut Command)) -> bool {
        self.servers.resize_with(self.servers.len().max(number + 1), || None);
        self.servers[number] = None;
        let setting = |name: &str| self.tenant.text(name).to_owned();
        command
            .args(["serve", "--port", "0"])
            .env("AZURE_TENANT_ID", setting("tenant_id"))
            .env("AZURE_CLIENT_ID", setting("client_id"))
            .env("AZURE_CLIENT_SECRET", setting("client_secret"))
            .env("AZURE_AUTHORITY_HOST", setting("https_authority_url"))
            .env("GRAPH_BASE_URL", setting("https_graph_url"))
            .env("SSL_CERT_FILE", setting("ca_pem"))
            .env("DATA_DIR", self.folder.0.join("data"))
            .env("REFRESH_SECONDS", "1");
        change(&mut command);
        let ready = self.folder.0.join(format!("server-{number}.json"));
        self.servers[number] = Process::try_start(command, &ready).await;
        self.servers[number].is_some()
    }

    /// A server that runs.
    fn server(&self, number: usize) -> &Process {
        self.servers[number].as_ref().expect("the server runs")
    }

    /// Calls a tool of the first server.
    async fn call(&self, tool: &str, arguments: Value) -> Result<Value, Value> {
        self.call_of(0, tool, arguments).await.expect("the server answers")
    }

    /// As [`Self::call`], of any server; `None` if it does not answer.
    async fn call_of(&self, number: usize, tool: &str, arguments: Value) -> Option<Result<Value, Value>> {
        let url = self.servers[number].as_ref()?.text("mcp_url");
        let body = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": tool, "arguments": arguments}});
        let request = self.http.post(url).header("accept", "application/json, text/event-stream");
        let answer = request.timeout(Duration::from_mins(1)).json(&body).send().await.ok()?;
        let answer: Value = answer.json().await.ok()?;
        let content = answer["result"]["structuredContent"].clone();
        Some(if answer["result"]["isError"] == true { Err(content["error"].clone()) } else { Ok(content) })
    }

    /// Steers the tenant, or asks it.
    async fn control(&self, method: &str, path: &str, body: Value) -> Value {
        let url = format!("{}/{path}", self.tenant.text("control_url"));
        let answer = self.http.request(method.parse().unwrap(), url).json(&body).send().await.unwrap();
        let status = answer.status();
        let text = answer.text().await.unwrap();
        assert!(status.is_success(), "{path}: {text}");
        serde_json::from_str(&text).unwrap_or_default()
    }

    /// The tasks the tenant itself has.
    async fn tasks(&self) -> Tasks {
        tasks_in(&self.control("GET", "snapshot", Value::Null).await)
    }
}
