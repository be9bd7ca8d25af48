//! The journeys of the product, deployed: the staged package under the Functions host, Azure's storage, a tenant over TLS.
//!
//! `GRAPHGATE_DIST` names the package; without it the program under test takes its place. Without a storage emulator
//! (`AZURITE`) there is no deployment, and the tests say so and pass.

mod journeys;
mod lifecycle;
mod limits;
mod outage;
mod repeats;
mod streams;

use std::process::Command;

use serde_json::{Value, json};

use crate::process::{Folder, Process, tasks_in};
use crate::store::azurite::{Azurite, KEY as ACCOUNT_KEY};
use crate::support::functions_host::{FunctionsHost, KEY, StorageQueue, staged};

/// Messages that failed come back at once.
fn quick(host: &mut Value) {
    host["extensions"]["queues"]["visibilityTimeout"] = json!("00:00:00");
}

/// A deployment in a resource group of its own.
struct Deployment {
    host: FunctionsHost,
    storage: StorageQueue,
    tenant: Process,
    settings: Vec<(String, String)>,
    http: reqwest::Client,
    _azurite: Azurite,
    folder: Folder,
}

impl Deployment {
    /// Deploys; `None` where there is no storage emulator.
    async fn start() -> Option<Self> {
        Self::with(&[]).await
    }

    /// As [`Self::start`], with further app settings.
    async fn with(further: &[(&str, &str)]) -> Option<Self> {
        Self::on(quick, further).await
    }

    /// As [`Self::with`], on a host whose `host.json` is changed.
    async fn on(change: impl FnOnce(&mut Value), further: &[(&str, &str)]) -> Option<Self> {
        let azurite = Azurite::start()?;
        let folder = Folder::new();
        let mut command = Command::new(env!("CARGO_BIN_EXE_graphgate"));
        command.args(["sim", "--port", "0", "--tls"]).arg(&folder.0);
        if let Some(logs) = std::env::var_os("GRAPH_LOG_DIR") {
            let name = format!("host-{}.jsonl", uuid::Uuid::new_v4());
            command.arg("--request-log").arg(std::path::Path::new(&logs).join(name));
        }
        let tenant = Process::start(command, &folder.0.join("tenant.json")).await;
        let mut settings = vec![
            ("AzureWebJobsStorage".to_owned(), azurite.connection_string()),
            ("HOST_KEY_ROLE".to_owned(), "GraphGate.Admin".to_owned()),
        ];
        for (name, ready) in [
            ("AZURE_TENANT_ID", "tenant_id"),
            ("AZURE_CLIENT_ID", "client_id"),
            ("AZURE_CLIENT_SECRET", "client_secret"),
            ("AZURE_AUTHORITY_HOST", "https_authority_url"),
            ("GRAPH_BASE_URL", "https_graph_url"),
            ("SSL_CERT_FILE", "ca_pem"),
        ] {
            settings.push((name.to_owned(), tenant.text(ready).to_owned()));
        }
        settings.extend(further.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
        let mut host = FunctionsHost::start(&staged(&folder.0), &settings, change).await;
        let storage = StorageQueue::emulator(azurite.queue_port, "devstoreaccount1", ACCOUNT_KEY);
        host.poll(&storage);
        Some(Self { host, storage, tenant, settings, http: reqwest::Client::new(), _azurite: azurite, folder })
    }

    /// The same app scaled out: instances that share nothing with the others but the storage. Nobody polls its queues.
    async fn scaled_out(&self) -> FunctionsHost {
        FunctionsHost::start(&staged(&self.folder.0), &self.settings, quick).await
    }

    /// The same app from the staged folder as it is now, with further app settings.
    async fn host_of_staged(&self, further: &[(&str, &str)]) -> FunctionsHost {
        let further = further.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        let settings: Vec<_> = self.settings.iter().cloned().chain(further).collect();
        FunctionsHost::start(&self.folder.0.join("dist"), &settings, quick).await
    }

    /// Calls a tool as a client with the app's key does.
    async fn call(&self, tool: &str, arguments: Value) -> Result<Value, Value> {
        let body = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": tool, "arguments": arguments}});
        let request = self.http.post(self.host.url.join("mcp").unwrap()).header("x-functions-key", KEY);
        let answer = request.header("accept", "application/json, text/event-stream").json(&body).send().await.unwrap();
        let text = answer.text().await.unwrap();
        let answer: Value = serde_json::from_str(&text).unwrap_or_else(|_| panic!("no JSON: {text}"));
        let content = answer["result"]["structuredContent"].clone();
        if answer["result"]["isError"] == true { Err(content["error"].clone()) } else { Ok(content) }
    }

    /// Calls a tool that must succeed.
    async fn ok(&self, tool: &str, arguments: Value) -> Value {
        self.call(tool, arguments)
            .await
            .unwrap_or_else(|error| panic!("`{tool}` failed: {error:#}\n{:#?}", self.host.output()))
    }

    /// A page of the REST interface, as the holder of the key sees it.
    async fn page(&self, path: &str) -> Value {
        let request = self.http.get(self.host.url.join(path).unwrap()).header("x-functions-key", KEY);
        request.send().await.unwrap().json().await.unwrap()
    }

    /// What a page of the tenant's control shows.
    async fn see(&self, path: &str) -> Value {
        let url = format!("{}/{path}", self.tenant.text("control_url"));
        self.http.get(url).send().await.unwrap().json().await.unwrap()
    }

    /// Steers the tenant.
    async fn control(&self, method: &str, path: &str, body: Value) -> Value {
        let url = format!("{}/{path}", self.tenant.text("control_url"));
        let answer = self.http.request(method.parse().unwrap(), url).json(&body).send().await.unwrap();
        let (status, text) = (answer.status(), answer.text().await.unwrap());
        assert!(status.is_success(), "{path}: {text}");
        serde_json::from_str(&text).unwrap()
    }

    /// How often the tenant itself has a task.
    async fn copies(&self, title: &str) -> usize {
        tasks_in(&self.see("snapshot").await).get(title).map_or(0, Vec::len)
    }

    /// Waits until a condition holds; fails after two minutes, with what the processes wrote.
    async fn until<F: Future<Output = bool>>(&self, what: &str, condition: impl Fn() -> F) {
        for _ in 0..1200 {
            if condition().await {
                return;
            }
            tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        }
        panic!("never happened: {what}\n{:#?}\n{:#?}", self.host.invocations(), self.host.output());
    }
}
