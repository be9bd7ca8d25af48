//! A simulated tenant and a `serve` in front of it, as two processes.

use std::path::Path;

use anyhow::Context as _;
use serde_json::{Value, json};
use url::Url;

use crate::cores::Cores;
use crate::http::{Connection, Request};
use crate::process::{GRAPHGATE, Process};

/// The plan of 200 tasks in the demo tenant.
pub const PLAN: &str = "Website relaunch";

/// `host:port` of an address.
pub fn authority(url: &str) -> anyhow::Result<String> {
    Ok(Url::parse(url)?.authority().to_owned())
}

/// The simulated tenant.
pub struct Tenant {
    process: Process,
    address: String,
}

impl Tenant {
    /// Starts a tenant that holds a scenario: `demo`, or a file.
    pub fn start(scenario: &str, cores: Cores) -> anyhow::Result<Self> {
        let arguments = ["sim", "--port", "0", "--scenario", scenario];
        let process = Process::ready(Path::new(GRAPHGATE), &arguments, &[], cores)?;
        let address = authority(&process.said("graph_url")?)?;
        Ok(Self { process, address })
    }

    /// Where it listens.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// Steers it: `PUT /_control/latency` and the like; returns the new state.
    pub async fn control(&self, method: &str, path: &str, body: Option<&Value>) -> anyhow::Result<Value> {
        let request = Request::new(method, &format!("/_control/{path}"), "", body);
        Connection::open(&self.address).await?.json(&request).await
    }

    /// Delays every Graph call.
    pub async fn delay(&self, ms: u64) -> anyhow::Result<()> {
        self.control("PUT", "latency", Some(&json!({ "ms": ms }))).await.map(drop)
    }

    /// A token for calls to Graph past GraphGate.
    pub async fn token(&self) -> anyhow::Result<String> {
        let headers = format!("x-identity-header: {}\r\n", self.process.said("identity_header")?);
        let path = "/msi/token?api-version=2019-08-01&resource=https%3A%2F%2Fgraph.microsoft.com";
        let answer = Connection::open(&self.address).await?.json(&Request::new("GET", path, &headers, None)).await?;
        answer.get("access_token").and_then(Value::as_str).map(str::to_owned).context("no token")
    }

    /// The settings with which `serve` uses this tenant: as on Azure, by a managed identity.
    fn variables(&self) -> anyhow::Result<Vec<(&'static str, String)>> {
        Ok(vec![
            ("AZURE_TENANT_ID", self.process.said("tenant_id")?),
            ("AZURE_CLIENT_ID", self.process.said("client_id")?),
            ("IDENTITY_ENDPOINT", self.process.said("identity_endpoint")?),
            ("IDENTITY_HEADER", self.process.said("identity_header")?),
            ("GRAPH_BASE_URL", self.process.said("graph_url")?),
            ("DATA_DIR", "{folder}/data".to_owned()),
        ])
    }
}

/// A GraphGate.
pub struct Server {
    /// Its process.
    pub process: Process,
    /// Where it listens.
    pub address: String,
}

impl Server {
    /// Starts `serve` in front of a tenant, with the defaults of production.
    pub fn start(tenant: &Tenant, cores: Cores) -> anyhow::Result<Self> {
        Self::start_on(tenant, cores, &[])
    }

    /// As [`Server::start`], with further settings.
    pub fn start_on(tenant: &Tenant, cores: Cores, further: &[(&'static str, String)]) -> anyhow::Result<Self> {
        let variables = [tenant.variables()?, further.to_vec()].concat();
        Self::of(Process::ready(Path::new(GRAPHGATE), &["serve", "--port", "0"], &variables, cores)?)
    }

    /// As [`Server::start`], with further settings and arguments of `serve`.
    pub fn start_with(tenant: &Tenant, arguments: &[&str], further: &[(&'static str, String)]) -> anyhow::Result<Self> {
        let variables = [tenant.variables()?, further.to_vec()].concat();
        let arguments = [&["serve"], arguments].concat();
        Self::of(Process::ready(Path::new(GRAPHGATE), &arguments, &variables, Cores::All)?)
    }

    /// Starts `dev`, which brings its own tenant.
    pub fn dev(cores: Cores) -> anyhow::Result<Self> {
        let arguments = ["dev", "--port", "0", "--sim-port", "0"];
        Self::of(Process::ready(Path::new(GRAPHGATE), &arguments, &[], cores)?)
    }

    /// Any MCP server with a ready file.
    pub fn of(process: Process) -> anyhow::Result<Self> {
        let address = authority(&process.said("mcp_url")?)?;
        Ok(Self { process, address })
    }

    /// Connects.
    pub async fn connect(&self) -> anyhow::Result<Connection> {
        Connection::open(&self.address).await
    }

    /// Fills the replica of the plan and returns the answer of `query_tasks`.
    pub async fn warm_up(&self) -> anyhow::Result<Value> {
        let answer = self.connect().await?.call("query_tasks", &json!({ "plan_id": PLAN })).await;
        answer.with_context(|| format!("the server says:\n{}", self.process.log()))
    }
}
