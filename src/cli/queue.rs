//! `graphgate queue`: what waits, and what was given up on. Like `keys`, it opens the deployment's own store.

use clap::Subcommand;
use serde_json::json;

use super::output::note;
use super::own;
use crate::app;

/// `graphgate queue`.
pub type Args = own::Args<Verb>;

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Verb {
    /// List the queues: what waits, and how much was given up on
    #[command(after_help = "Examples:\n  graphgate queue list")]
    List,
    /// List messages that were given up on after five tries; no text is shown
    #[command(after_help = "Examples:\n  graphgate queue poison\n  graphgate queue poison graphgate-notifications")]
    Poison {
        /// Only of this queue
        queue: Option<String>,
    },
    /// Try messages again that were given up on, once their cause is mended
    #[command(after_help = "Examples:\n  graphgate queue redrive\n  graphgate queue redrive graphgate-outbox")]
    Redrive {
        /// Only of this queue
        queue: Option<String>,
    },
}

/// Runs the command.
///
/// # Errors
/// When a setting cannot be used, the store does not answer, or there is no such queue.
pub async fn run(arguments: Args) -> anyhow::Result<()> {
    let (verb, bench) = arguments.begin()?;
    let config = bench.settings().await?;
    let poison = app::poison(&config, &bench.clock, &bench.entropy).await?;
    match verb {
        Verb::List => bench.output.print(&json!({ "queues": poison.list().await? })),
        Verb::Poison { queue } => bench.output.print(&json!({ "messages": poison.show(queue.as_deref()).await? })),
        Verb::Redrive { queue } => {
            let redriven = poison.redrive(queue.as_deref()).await?;
            if redriven.iter().all(|queue| queue.messages == 0) {
                note("nothing was given up on");
            }
            bench.output.print(&json!({ "queues": redriven }))
        }
    }
}
