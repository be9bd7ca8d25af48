//! The audit log: `graphgate audit list`. Like `keys`, it opens the deployment's own store.

use chrono::NaiveDate;
use clap::Subcommand;

use super::own;
use crate::app;
use crate::services::audit::{AuditQuery, Visible};

/// `graphgate audit`.
pub type Args = own::Args<Verb>;

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Verb {
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
    let (verb, bench) = arguments.begin()?;
    let config = bench.settings().await?;
    let (audit, writer) = app::audit(&config, &bench.clock, &bench.entropy).await?;
    drop(writer); // nothing is written down but what was left unfinished
    let Verb::List { day, caller, operation, limit, cursor } = verb;
    let page = audit.list(&AuditQuery { day, caller, operation, limit, cursor }, &Visible::All).await?;
    bench.output.print(&serde_json::to_value(page)?)
}
