//! `graphgate permissions`: the Graph permissions the application needs, from the table of tools.

use serde_json::json;

use super::output::{Format, Output, OutputOptions};
use crate::config;
use crate::mcp;

/// `graphgate permissions`. Without options the settings of the environment decide.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  graphgate permissions\n  graphgate permissions --read-only -o json --query 'permissions[].permission'"
)]
pub struct Args {
    /// Only these toolsets
    #[arg(long, value_name = "NAME,…", value_delimiter = ',')]
    toolsets: Option<Vec<String>>,
    /// Only tools that change nothing
    #[arg(long)]
    read_only: bool,
    #[command(flatten)]
    output: OutputOptions,
}

impl Args {
    /// The format asked for.
    pub fn format(&self) -> Option<Format> {
        self.output.output
    }
}

/// Runs the command.
///
/// # Errors
/// When a setting cannot be used, or the answer cannot be printed.
pub fn run(arguments: Args) -> anyhow::Result<()> {
    let output = Output::new(&arguments.output)?;
    let (offered, watched) = config::offered(&config::environment)?;
    let offered = mcp::Offer {
        toolsets: arguments.toolsets.unwrap_or(offered.toolsets),
        read_only: arguments.read_only || offered.read_only,
        ..offered
    };
    output.print(&json!({ "permissions": mcp::permissions::needed(&offered, &watched) }))
}
