//! `graphgate serve`: the server on a real tenant, standalone or under the Functions host.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Parser;

use crate::app::startup::{self, Ended};
use crate::app::{self, Running};
use crate::config::{self, Config};
use crate::telemetry::{self, Console};

/// The exit code after which the Functions host starts the program again, and counts no failure. After 0 it never does.
const START_AGAIN: u8 = 200;

/// Serve MCP and REST on your tenant. Settings come from the environment; see docs/settings.md.
#[derive(Debug, Parser)]
pub struct Args {
    /// Port to listen on, in place of the setting PORT; 0 takes a free one
    #[arg(long)]
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

/// Runs until stopped; answers what the process ends with.
///
/// # Errors
/// When a setting cannot be right, the data folder cannot be used or the port is taken.
pub async fn run(args: Args) -> anyhow::Result<ExitCode> {
    let _log = super::ready::begin(&telemetry::Config::read(&config::environment, Console::Output));
    #[cfg(feature = "sim")]
    if let Some(milliseconds) = args.lease {
        crate::crash::shorten_leases(milliseconds);
    }
    #[cfg(feature = "sim")]
    if let Some(milliseconds) = args.patience {
        crate::crash::shorten_patience(milliseconds);
    }
    let port = args.port.map(|port| port.to_string());
    let lookup = |name: &str| match name {
        "PORT" => port.clone().or_else(|| config::environment(name)),
        _ => config::environment(name),
    };
    let change = |config: &mut Config| {
        #[cfg(feature = "sim")]
        if let Some(milliseconds) = args.hold {
            config.hold = std::time::Duration::from_millis(milliseconds);
        }
        app::doubt_host_keys(config, &app_folder())
    };
    let ready = |running: &Running| match &args.ready_file {
        Some(path) => super::ready::write_ready(path, &addresses(running)),
        None => Ok(()),
    };
    Ok(match startup::serve(&lookup, change, ready).await? {
        Ended::Asked => ExitCode::SUCCESS,
        Ended::AskedByHost => ExitCode::from(START_AGAIN),
    })
}

fn addresses(running: &Running) -> serde_json::Value {
    serde_json::json!({
        "mcp_url": format!("http://{}/mcp", running.address),
        "api_url": format!("http://{}/", running.address),
    })
}

/// Where the functions lie: beside the program, as in a package, or where it was started, as the Functions host does.
fn app_folder() -> PathBuf {
    let beside = std::env::current_exe().ok().and_then(|program| program.parent().map(Path::to_path_buf));
    beside.filter(|folder| folder.join("host.json").exists()).unwrap_or_else(|| PathBuf::from("."))
}
