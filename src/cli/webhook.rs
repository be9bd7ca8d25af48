//! `graphgate webhook`: whether change notifications get through.

use clap::Subcommand;
use serde_json::Value;

use super::failure::Failure;
use super::session::{Common, Session};

/// `graphgate webhook`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    pub common: Common,
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Send a signed sample through the public address and follow it to the worker
    #[command(after_help = "Examples:\n  graphgate webhook test\n  graphgate webhook test -o json --query status")]
    Test,
    /// Say how notifications are doing
    #[command(after_help = "Examples:\n  graphgate webhook health\n  graphgate webhook health --query problems")]
    Health,
}

/// Runs the command.
///
/// # Errors
/// A failure of the connection, a caller who may not, or a sample that did not get through.
pub async fn run(arguments: Args) -> anyhow::Result<()> {
    let session = Session::open(&arguments.common).await?;
    match arguments.verb {
        Verb::Health => {
            let health = session.client().rest(http::Method::GET, "/api/webhook/health").await?;
            session.output.print(&health)
        }
        Verb::Test => {
            let test = session.client().rest(http::Method::POST, "/api/webhook/test").await?;
            session.output.print(&test)?;
            let text = |name: &str| test.get(name).and_then(Value::as_str).unwrap_or_default();
            if text("status") == "failing" {
                let failed = test.pointer("/steps").and_then(Value::as_array).and_then(|steps| steps.last());
                let said = |name: &str| failed.and_then(|step| step.get(name)?.as_str()).unwrap_or_default();
                let failure =
                    Failure::new(format!("the sample did not get through: {}: {}", said("step"), said("said")));
                return Err(failure.hint(text("hint")).into());
            }
            Ok(())
        }
    }
}
