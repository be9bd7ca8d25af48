//! The real binary as a process of its own: what only a process can show.
//!
//! `graphgate serve`, as it is deployed, on a simulated tenant that another process serves over HTTPS with a private
//! certificate authority, because the credentials of the real program insist on https.

mod canary;
mod drain;
mod kills;
mod notified;
mod trouble;

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::{Value, json};

/// A folder of a test, gone at its end.
pub struct Folder(pub PathBuf);

impl Folder {
    pub fn new() -> Self {
        let path = std::env::temp_dir().join(format!("graphgate-{}", uuid::Uuid::new_v4()));
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// A running `graphgate`; killed when dropped, as by `kill -9`.
pub struct Process {
    child: Child,
    ready: Value,
}

impl Process {
    pub async fn start(command: Command, ready_file: &Path) -> Self {
        Self::try_start(command, ready_file).await.expect("the program lives until it is ready")
    }

    /// As [`Self::start`]; `None` if the program ends before it is ready.
    pub async fn try_start(mut command: Command, ready_file: &Path) -> Option<Self> {
        let _ = std::fs::remove_file(ready_file);
        let mut child = command.arg("--ready-file").arg(ready_file).stdout(Stdio::null()).spawn().unwrap();
        for _ in 0..1000 {
            if let Ok(text) = std::fs::read_to_string(ready_file) {
                return Some(Self { child, ready: serde_json::from_str(&text).unwrap() });
            }
            if child.try_wait().unwrap().is_some() {
                return None;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("the program is not ready after ten seconds");
    }

    /// Memory that is resident, in KiB.
    #[cfg(target_os = "linux")]
    pub fn resident(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        line.trim().trim_end_matches(" kB").parse().unwrap()
    }

    /// Whether it has not ended.
    pub fn lives(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    pub fn text(&self, name: &str) -> &str {
        self.ready[name].as_str().unwrap_or_else(|| panic!("no `{name}` in {}", self.ready))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A tenant in one process and a server on it in another.
struct Deployment {
    folder: Folder,
    tenant: Process,
    server: Option<Process>,
    http: reqwest::Client,
}

impl Deployment {
    async fn start() -> Self {
        let folder = Folder::new();
        let mut command = Command::new(env!("CARGO_BIN_EXE_graphgate"));
        command.args(["sim", "--port", "0", "--tls"]).arg(&folder.0);
        if let Some(logs) = std::env::var_os("GRAPH_LOG_DIR") {
            command.arg("--request-log").arg(Path::new(&logs).join(format!("process-{}.jsonl", uuid::Uuid::new_v4())));
        }
        let tenant = Process::start(command, &folder.0.join("tenant.json")).await;
        let mut deployment = Self { folder, tenant, server: None, http: reqwest::Client::new() };
        deployment.serve(Command::new(env!("CARGO_BIN_EXE_graphgate"))).await;
        deployment
    }

    /// Starts the server with a command that ends in the binary; one that runs is killed first.
    async fn serve(&mut self, mut command: Command) {
        self.server = None;
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
        self.server = Some(Process::start(command, &self.folder.0.join("server.json")).await);
    }

    async fn call(&self, tool: &str, arguments: Value) -> Result<Value, Value> {
        let server = self.server.as_ref().expect("a server runs");
        let body = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": tool, "arguments": arguments}});
        let request = self.http.post(server.text("mcp_url")).header("accept", "application/json, text/event-stream");
        let answer: Value = request.json(&body).send().await.unwrap().json().await.unwrap();
        let content = answer["result"]["structuredContent"].clone();
        if answer["result"]["isError"] == true { Err(content["error"].clone()) } else { Ok(content) }
    }

    async fn control(&self, method: &str, path: &str, body: Value) {
        let url = format!("{}/{path}", self.tenant.text("control_url"));
        let answer = self.http.request(method.parse().unwrap(), url).json(&body).send().await.unwrap();
        assert!(answer.status().is_success(), "{path}: {}", answer.text().await.unwrap());
    }

    /// Titles of the tasks the tenant itself has, with how often each occurs.
    async fn titles(&self) -> std::collections::BTreeMap<String, usize> {
        let url = format!("{}/snapshot", self.tenant.text("control_url"));
        let snapshot: Value = self.http.get(url).send().await.unwrap().json().await.unwrap();
        let mut titles = std::collections::BTreeMap::new();
        collect_titles(&snapshot, &mut titles);
        titles
    }
}

/// Every object with a `planId` and a `title` is a task.
pub fn collect_titles(value: &Value, titles: &mut std::collections::BTreeMap<String, usize>) {
    match value {
        Value::Array(items) => items.iter().for_each(|item| collect_titles(item, titles)),
        Value::Object(object) => {
            if let (Some(Value::String(title)), true) = (object.get("title"), object.contains_key("planId")) {
                *titles.entry(title.clone()).or_default() += 1;
            }
            object.values().for_each(|inner| collect_titles(inner, titles));
        }
        _ => {}
    }
}
