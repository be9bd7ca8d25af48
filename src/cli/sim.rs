//! `graphgate sim`: the simulated tenant alone, for testing any program that speaks Microsoft Graph.

use std::path::PathBuf;

use clap::Parser;
use graphgate_sim::{self as sim, Scenario, TlsConfig};

use crate::config;
use crate::telemetry::{self, Console};

/// Options of the simulated tenant, alone and within `dev`.
#[derive(Debug, Clone, Parser)]
pub struct Options {
    /// What the tenant holds at first: demo, empty, or a snapshot file
    #[arg(long, default_value = "demo")]
    pub scenario: String,
    /// Write every Graph request and answer to this file as JSON lines
    #[arg(long, value_name = "PATH")]
    pub request_log: Option<PathBuf>,
    /// Serve HTTPS as well, with a certificate authority written to this folder
    #[arg(long, value_name = "DIR")]
    pub tls: Option<PathBuf>,
    /// Port of the HTTPS side; 0 takes a free one
    #[arg(long, default_value_t = 0)]
    pub tls_port: u16,
}

impl Default for Options {
    fn default() -> Self {
        Self { scenario: "demo".into(), request_log: None, tls: None, tls_port: 0 }
    }
}

impl Options {
    /// The simulator's configuration, on a free port.
    ///
    /// # Errors
    /// When the scenario is none.
    pub fn config(&self) -> anyhow::Result<sim::Config> {
        let scenario: Scenario =
            self.scenario.parse().map_err(|error| anyhow::anyhow!("`--scenario {}`: {error}", self.scenario))?;
        let tls = self.tls.clone().map(|directory| TlsConfig { port: self.tls_port, directory });
        Ok(sim::Config { port: 0, tls, scenario, request_log: self.request_log.clone() })
    }
}

/// Run the simulated tenant alone: Entra sign-in, Microsoft Graph and a page to watch it.
#[derive(Debug, Parser)]
pub struct Args {
    /// Port to listen on; 0 takes a free one
    #[arg(long, default_value_t = 7072)]
    pub port: u16,
    #[command(flatten)]
    options: Options,
    /// Write the tenant's addresses and credentials to this file as JSON once it answers
    #[arg(long, value_name = "PATH")]
    pub ready_file: Option<PathBuf>,
}

/// Runs until stopped.
///
/// # Errors
/// When the port is taken or the scenario cannot be read.
pub async fn run(args: Args) -> anyhow::Result<()> {
    let _log = super::ready::begin(&telemetry::Config::read(&config::environment, Console::Error));
    let tenant = sim::start(sim::Config { port: args.port, ..args.options.config()? }).await?;
    let facts = facts(&tenant);
    super::ready::say(&format!(
        "Simulated Microsoft 365 tenant\n\n  Graph      {}\n  Sign-in    {}{}/oauth2/v2.0/token\n  Client     {}\n  Secret     {}\n  Page       {}\n  Control    {}\n",
        tenant.graph_url,
        tenant.authority_url,
        tenant.tenant_id,
        tenant.client_id,
        tenant.client_secret,
        tenant.page_url,
        tenant.control_url,
    ));
    if let Some(https) = &tenant.https {
        super::ready::say(&format!(
            "  Over HTTPS, as `graphgate serve` wants it:\n\n  SSL_CERT_FILE={} \\\n  GRAPH_BASE_URL={} AZURE_AUTHORITY_HOST={} \\\n  AZURE_TENANT_ID={} AZURE_CLIENT_ID={} AZURE_CLIENT_SECRET={} \\\n  graphgate serve\n",
            https.ca_pem.display(),
            https.graph_url,
            https.authority_url,
            tenant.tenant_id,
            tenant.client_id,
            tenant.client_secret,
        ));
    }
    if let Some(path) = &args.ready_file {
        super::ready::write_ready(path, &facts)?;
    }
    let _ = tokio::signal::ctrl_c().await;
    tenant.stop().await;
    Ok(())
}

/// What a program needs to know to use the tenant.
pub fn facts(tenant: &sim::Running) -> serde_json::Value {
    let mut facts = serde_json::json!({
        "graph_url": tenant.graph_url,
        "authority_url": tenant.authority_url,
        "tenant_id": tenant.tenant_id,
        "client_id": tenant.client_id,
        "client_secret": tenant.client_secret,
        "page_url": tenant.page_url,
        "request_log": tenant.request_log,
        "control_url": tenant.control_url,
        "identity_endpoint": tenant.identity_endpoint,
        "identity_header": tenant.identity_header,
    });
    if let (Some(https), serde_json::Value::Object(facts)) = (&tenant.https, &mut facts) {
        facts.insert("https_graph_url".into(), https.graph_url.as_str().into());
        facts.insert("https_authority_url".into(), https.authority_url.as_str().into());
        facts.insert("ca_pem".into(), https.ca_pem.display().to_string().into());
    }
    facts
}
