//! `graphgate serve`: the server on a real tenant, standalone or under the Functions host.

use std::path::{Path, PathBuf};

use clap::Parser;

use crate::app::{self, App, secrets};
use crate::clock::Clock;
use crate::config;
use crate::ids::Entropy;
use crate::telemetry::{self, Console};

/// Serve MCP and REST on your tenant. Settings come from the environment; see the README.
#[derive(Debug, Parser)]
pub struct Args {
    /// Port to listen on; 0 takes a free one
    #[arg(long, env = "PORT")]
    pub port: Option<u16>,
    /// Write the server's addresses to this file as JSON once it answers
    #[arg(long, value_name = "PATH")]
    pub ready_file: Option<PathBuf>,
    /// End the process at a place, as a power cut would: for tests
    #[cfg(feature = "sim")]
    #[arg(long, value_name = "PLACE:TIMES", hide = true, value_parser = crate::crash::arm)]
    pub crash_at: Option<()>,
    /// Let leases expire after this many milliseconds: for tests
    #[cfg(feature = "sim")]
    #[arg(long, value_name = "MS", hide = true)]
    pub lease: Option<i64>,
    /// Hold messages that meet an outage for so many milliseconds: for tests
    #[cfg(feature = "sim")]
    #[arg(long, value_name = "MS", hide = true)]
    pub hold: Option<u64>,
    /// Let background calls of Graph give up after so many milliseconds: for tests
    #[cfg(feature = "sim")]
    #[arg(long, value_name = "MS", hide = true)]
    pub patience: Option<u64>,
}

/// Runs until told to stop.
///
/// # Errors
/// When a setting cannot be used, the store cannot be opened or the port is taken.
pub async fn run(args: Args) -> anyhow::Result<()> {
    let _log = telemetry::start(&telemetry::Config::read(&config::environment, Console::Output));
    let mut config = secrets::settings(&config::environment, &Clock::system(), &Entropy::system()).await?;
    #[cfg(feature = "sim")]
    if let Some(milliseconds) = args.lease {
        crate::crash::shorten_leases(milliseconds);
    }
    #[cfg(feature = "sim")]
    if let Some(milliseconds) = args.patience {
        crate::crash::shorten_patience(milliseconds);
    }
    #[cfg(feature = "sim")]
    if let Some(milliseconds) = args.hold {
        config.hold = std::time::Duration::from_millis(milliseconds);
    }
    if let Some(port) = args.port
        && config::environment("FUNCTIONS_CUSTOMHANDLER_PORT").is_none()
    {
        config.port = port;
    }
    app::doubt_host_keys(&mut config, &app_folder())?;
    let app = App::build(config, Clock::system(), Entropy::system()).await?;
    let running = app.listen().await?;
    tracing::info!(mcp = %format!("http://{}/mcp", running.address), "ready");
    if let Some(path) = &args.ready_file {
        let ready = serde_json::json!({
            "mcp_url": format!("http://{}/mcp", running.address),
            "api_url": format!("http://{}/", running.address),
        });
        super::ready::write_ready(path, &ready)?;
    }
    running.wait().await;
    Ok(())
}

/// Where the functions lie: beside the program, as in a package, or where it was started, as the Functions host does.
fn app_folder() -> PathBuf {
    let beside = std::env::current_exe().ok().and_then(|program| program.parent().map(Path::to_path_buf));
    beside.filter(|folder| folder.join("host.json").exists()).unwrap_or_else(|| PathBuf::from("."))
}
