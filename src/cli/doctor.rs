//! `graphgate doctor`: what a deployment rests on, checked from where it runs.

use serde_json::json;

use super::failure::Failure;
use super::output::{Format, Output, OutputOptions};
use crate::app::doctor::{self, Check, Finding};
use crate::clock::Clock;
use crate::config;
use crate::error::ErrorCode;
use crate::ids::Entropy;

/// `graphgate doctor`. Settings come from the environment, as for `serve`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  graphgate doctor\n  graphgate doctor -o json --query \"checks[?status=='failed']\""
)]
pub struct Args {
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
/// When a check failed; the report is printed before.
pub async fn run(arguments: Args) -> anyhow::Result<()> {
    let output = Output::new(&arguments.output)?;
    let checks = doctor::examine(&config::environment, &Clock::system(), &Entropy::system(), |_| ()).await;
    output.print(&json!({ "checks": checks }))?;
    verdict(&checks)
}

/// Ends with the exit code of the first check that failed.
fn verdict(checks: &[Check]) -> anyhow::Result<()> {
    let failed: Vec<&Check> = checks.iter().filter(|check| check.status == Finding::Failed).collect();
    let Some(first) = failed.first() else { return Ok(()) };
    let code = match first.check {
        "credential" => ErrorCode::CredentialFailed,
        "permissions" => ErrorCode::PermissionMissing,
        "store" | "queue" => ErrorCode::StoreFailed,
        "graph" => ErrorCode::GraphFailed,
        _ => ErrorCode::Configuration,
    };
    let message = format!("{} of {} checks failed, `{}` first", failed.len(), checks.len(), first.check);
    Err(Failure::coded(code, message).hint("the report says what to do about each").into())
}
