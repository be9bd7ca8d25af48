//! `graphgate queue`: what waits, and what was given up on. Like `keys`, it opens the deployment's own store.

use clap::Subcommand;
use serde_json::json;

use super::output::{Format, Output, OutputOptions, note};
use crate::app;
use crate::clock::Clock;
use crate::config;
use crate::ids::Entropy;

/// `graphgate queue`.
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
    let output = Output::new(&arguments.output)?;
    let (clock, entropy) = (Clock::system(), Entropy::system());
    let config = app::secrets::settings(&config::environment, &clock, &entropy).await?;
    let poison = app::poison(&config, &clock, &entropy).await?;
    match arguments.verb {
        Verb::List => output.print(&json!({ "queues": poison.list().await? })),
        Verb::Poison { queue } => output.print(&json!({ "messages": poison.show(queue.as_deref()).await? })),
        Verb::Redrive { queue } => {
            let redriven = poison.redrive(queue.as_deref()).await?;
            if redriven.iter().all(|queue| queue.messages == 0) {
                note("nothing was given up on");
            }
            output.print(&json!({ "queues": redriven }))
        }
    }
}
