//! `graphgate dev`: the whole program on the built-in simulated tenant, in one process and one command.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Parser;
use graphgate_sim as sim;

use crate::app::App;
use crate::auth::Caller;
use crate::cli::ready::{begin, say, write_ready};
use crate::clock::Clock;
use crate::config::{self, Config};
use crate::ids::Entropy;
use crate::services::planner::Planner;
use crate::telemetry::{self, Console};

/// Run everything on a simulated Microsoft 365 tenant: no account, nothing to configure.
#[derive(Debug, Parser)]
pub struct Args {
    /// Port of GraphGate; 0 takes a free one
    #[arg(long, default_value_t = 7071)]
    port: u16,
    /// Port of the simulated tenant; 0 takes a free one
    #[arg(long, default_value_t = 7072)]
    sim_port: u16,
    /// Keep the replica in this folder instead of in memory
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// Have callers sign in as people of the simulated tenant
    #[arg(long)]
    sign_in: bool,
    /// Take metadata of clients from this address too, though it is on this machine: `127.0.0.1:8000`
    #[arg(long, value_name = "HOST:PORT", requires = "sign_in")]
    client_documents: Vec<String>,
    #[command(flatten)]
    tenant: crate::cli::sim::Options,
    /// Write all addresses and credentials to this file as JSON once everything answers
    #[arg(long, value_name = "PATH")]
    ready_file: Option<PathBuf>,
}

/// Runs until stopped.
///
/// # Errors
/// When a port is taken, the scenario cannot be read or the folder cannot be used.
pub async fn run(args: Args) -> anyhow::Result<()> {
    let _log = begin(&telemetry::Config::read(
        &|name| config::environment(name).or_else(|| (name == "LOG_LEVEL").then(|| "warn".to_owned())),
        Console::Error,
    ));
    let mut tenant = args.tenant.config()?;
    tenant.port = args.sim_port;
    let tenant = sim::start(tenant).await?;
    // What is signed names the address, so that it is known before anything listens.
    let port = if args.sign_in && args.port == 0 { free_port()? } else { args.port };
    let public_url = args.sign_in.then(|| format!("http://127.0.0.1:{port}/"));
    let mut settings = settings(&tenant, args.data.as_deref(), public_url.as_deref())?;
    settings.port = port;
    if let (Some(sign_in), Some(public_url)) = (&mut settings.sign_in, public_url) {
        sign_in.admitted = args.client_documents;
        tenant.add_redirect_uri(sim::Platform::Web, &format!("{public_url}oauth/callback"));
    }
    // The command line's own variable is the server's too: who has it set is asked for the key.
    let api_key = settings.auth.key.as_ref().map(|key| key.expose().to_owned());
    let wants_key = api_key.is_some();
    let app = App::build(settings, Clock::system(), Entropy::system()).await?;
    let planner = app.services.planner.clone();
    let running = app.listen().await?;
    let base = format!("http://{}", running.address);
    if let Some(path) = &args.ready_file {
        let mut ready = crate::cli::sim::facts(&tenant);
        if let serde_json::Value::Object(ready) = &mut ready {
            ready.insert("mcp_url".into(), format!("{base}/mcp").into());
            ready.insert("api_url".into(), format!("{base}/").into());
            ready.insert("api_key".into(), api_key.into());
        }
        write_ready(path, &ready)?;
    }
    say(&greeting(&base, &tenant, wants_key));
    match planner.list_plans(&Caller::local(), None, None).await {
        Ok(list) => {
            let lines: Vec<String> = list
                .plans
                .iter()
                .map(|plan| format!("    {}  {}  ({})", plan.id, plan.title, plan.group.as_deref().unwrap_or("-")))
                .collect();
            say(&format!("  Plans\n{}\n\n  Stop with Ctrl-C.", lines.join("\n")));
        }
        Err(error) => tracing::warn!(%error, "the seeded plans cannot be listed"),
    }
    tokio::select! {
        () = running.wait() => {}
        () = follow_resets(&planner, tenant.resets.clone()) => {}
    }
    tenant.stop().await;
    Ok(())
}

/// How often, and how many times, the plans of a tenant that was reset are read. A task that was made just before is
/// not believed gone for some minutes.
const READ_AFTER_RESET: (Duration, usize) = (Duration::from_secs(30), 12);

/// After a reset of the tenant tasks are gone and changed by the hundred, which no person did: the plans are read
/// again and their mass changes confirmed, so that the program continues with the tenant as it is.
async fn follow_resets(planner: &Planner, mut resets: tokio::sync::watch::Receiver<u64>) {
    let (caller, clock) = (Caller::local(), Clock::system());
    let mut left = 0;
    loop {
        tokio::select! {
            changed = resets.changed() => match changed {
                Ok(()) => left = READ_AFTER_RESET.1,
                Err(_) => break,
            },
            () = clock.sleep(READ_AFTER_RESET.0), if left > 0 => left -= 1,
        }
        let plans = match planner.sync_health(&caller, None).await {
            Ok(health) => health.plans,
            Err(error) => {
                tracing::warn!(%error, "the tenant was reset; its plans cannot be read");
                continue;
            }
        };
        for plan in plans {
            if let Err(error) = planner.confirm(&caller, plan.plan_id.as_str()).await {
                tracing::warn!(plan = %plan.plan_id, %error, "the tenant was reset; this plan cannot be read");
            }
        }
    }
    std::future::pending::<()>().await;
}

/// Settings for a simulated tenant; what the environment says of anything else holds.
///
/// # Errors
/// When a setting of the environment cannot be used.
pub fn config(tenant: &sim::Running, data: Option<&Path>) -> anyhow::Result<Config> {
    settings(tenant, data, None)
}

/// As [`config()`]; with an address people sign in there.
fn settings(tenant: &sim::Running, data: Option<&Path>, public_url: Option<&str>) -> anyhow::Result<Config> {
    let mut fixed: HashMap<&str, String> = HashMap::from([
        ("AZURE_TENANT_ID", tenant.tenant_id.clone()),
        ("AZURE_CLIENT_ID", tenant.client_id.clone()),
        ("AZURE_CLIENT_SECRET", tenant.client_secret.clone()),
        ("GRAPH_BASE_URL", tenant.graph_url.to_string()),
        ("REPORT_SENDER", format!("AdeleV@{}", sim::DOMAIN)),
        ("REPORT_WEBHOOK_HOSTS", tenant.address.to_string()),
        ("DATA_DIR", data.map_or_else(|| ":memory:".to_owned(), |folder| folder.display().to_string())),
    ]);
    if let Some(public_url) = public_url {
        fixed.insert("PUBLIC_URL", public_url.to_owned());
        fixed.insert("SIGN_IN_CLIENT_ID", tenant.client_id.clone());
    }
    let never = [
        "SIGN_IN_CLIENT_ID",
        "SIGN_IN_CLIENT_SECRET",
        "AZURE_AUTHORITY_HOST",
        "AZURE_CLIENT_CERTIFICATE_PATH",
        "AZURE_FEDERATED_TOKEN_FILE",
        "FUNCTIONS_CUSTOMHANDLER_PORT",
        "WEBSITE_AUTH_ENABLED",
        "AZURE_TABLES_ENDPOINT",
        "AzureWebJobsStorage",
        "AzureWebJobsStorage__tableServiceUri",
        "AzureWebJobsStorage__blobServiceUri",
        "AZURE_BLOBS_ENDPOINT",
        "AZURE_QUEUES_ENDPOINT",
        "PUBLIC_URL",
        "WEBSITE_HOSTNAME",
        "AzureWebJobsStorage__queueServiceUri",
    ];
    let lookup = |name: &str| {
        fixed.get(name).cloned().or_else(|| if never.contains(&name) { None } else { config::environment(name) })
    };
    let mut config = Config::read(&lookup)?;
    config.loopback_authority = Some(tenant.authority_url.clone());
    config.drain_notice = Duration::ZERO; // no load balancer sends requests here
    if let Some(entra) = &mut config.auth.entra {
        entra.authority = tenant.authority_url.clone();
    }
    Ok(config)
}

/// A port that nothing listens on at this moment.
fn free_port() -> std::io::Result<u16> {
    Ok(std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}

fn greeting(base: &str, tenant: &sim::Running, wants_key: bool) -> String {
    let mcp = format!("{base}/mcp");
    // The variable, not its value: what is printed ends up in histories and screenshots.
    let (claude, code, curl) = if wants_key {
        (
            " --header \"x-api-key: $GRAPHGATE_API_KEY\"",
            ",\"headers\":{\"x-api-key\":\"${env:GRAPHGATE_API_KEY}\"}",
            " -H \"x-api-key: $GRAPHGATE_API_KEY\"",
        )
    } else {
        ("", "", "")
    };
    format!(
        "\nGraphGate {version} on a simulated Microsoft 365 tenant\n\n\
         \x20 MCP        {mcp}\n\
         \x20 REST       {base}/api/agent/tasks   (OpenAPI: {base}/openapi.json)\n\
         \x20 Sync       {base}/pages/sync   (what waits, what happened, conflicts)\n\
         \x20 Tenant     {page}   (boards and requests, live)\n\
         \x20 Control    {control}   (faults, latency, clock, a colleague's edits)\n\n\
         \x20 Connect\n\
         \x20   Claude Code   claude mcp add --transport http graphgate {mcp}{claude}\n\
         \x20   VS Code       .vscode/mcp.json: {{\"servers\":{{\"graphgate\":{{\"type\":\"http\",\"url\":\"{mcp}\"{code}}}}}}}\n\
         \x20   curl          curl -s {mcp} -H 'content-type: application/json' -H 'accept: application/json, text/event-stream'{curl} \\\n\
         \x20                   -d '{{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"tools/call\",\"params\":{{\"name\":\"list_plans\",\"arguments\":{{}}}}}}'\n",
        version = env!("CARGO_PKG_VERSION"),
        page = tenant.page_url,
        control = tenant.control_url,
    )
}
