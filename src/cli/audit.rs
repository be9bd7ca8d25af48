//! The audit log: `graphgate audit list`. Like `keys`, it opens the deployment's own store.

use chrono::NaiveDate;
use clap::Subcommand;

use super::output::{Format, Output, OutputOptions};
use crate::app;
use crate::clock::Clock;
use crate::config;
use crate::ids::Entropy;
use crate::services::audit::AuditQuery;

/// `graphgate audit`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    output: OutputOptions,
    #[command(subcommand)]
    verb: Verb,
}

impl Args {
    /// The format asked for.
    pub fn format(&self) -> Option<Format> {
        self.output.output
    }
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// List the operations of a day
    #[command(
        after_help = "Examples:\n  graphgate audit list --operation delete_task\n  graphgate audit list --day 2026-11-20 --caller key:1a2b3c4d -o csv"
    )]
    List {
        /// The day (UTC); today without
        #[arg(long, value_name = "YYYY-MM-DD")]
        day: Option<NaiveDate>,
        /// Only of this caller
        #[arg(long, value_name = "NAME")]
        caller: Option<String>,
        /// Only this operation
        #[arg(long, value_name = "NAME")]
        operation: Option<String>,
        /// Most rows; `cursor` in the answer leads on
        #[arg(long, value_name = "N")]
        limit: Option<u32>,
        /// Where a former page ended
        #[arg(long, value_name = "CURSOR")]
        cursor: Option<String>,
    },
}

/// Runs the command.
///
/// # Errors
/// When a setting cannot be used or the store does not answer.
pub async fn run(arguments: Args) -> anyhow::Result<()> {
    let output = Output::new(&arguments.output)?;
    let (clock, entropy) = (Clock::system(), Entropy::system());
    let config = app::secrets::settings(&config::environment, &clock, &entropy).await?;
    let audit = app::audit(&config, &clock, &entropy).await?;
    let Verb::List { day, caller, operation, limit, cursor } = arguments.verb;
    let page = audit.list(&AuditQuery { day, caller, operation, limit, cursor }).await?;
    output.print(&serde_json::to_value(page)?)
}
