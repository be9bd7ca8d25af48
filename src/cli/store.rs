//! The store as one file: `graphgate store export|import`. Like `keys`, it opens the deployment's own store.

use std::path::PathBuf;

use clap::Subcommand;

use super::output::{Format, Output, OutputOptions, note};
use super::session::{Confirmation, confirm};
use crate::app;
use crate::clock::Clock;
use crate::config;
use crate::ids::Entropy;
use crate::services::transfer::{Existing, Keys};

/// `graphgate store`.
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
    /// Write every row of the deployment's store to a file; the server may run
    #[command(
        after_help = "Examples:\n  graphgate store export backup.jsonl\n  AZURE_TABLES_ENDPOINT=https://NAME.table.core.windows.net graphgate store export backup.jsonl"
    )]
    Export {
        /// The file
        file: PathBuf,
        /// The keyring too: whoever has the file can then sign as the deployment does
        #[arg(long)]
        with_keyring: bool,
    },
    /// Read a file into the deployment's store, of whichever backend; the server must not run
    #[command(
        after_help = "Examples:\n  graphgate store import backup.jsonl\n  graphgate store import backup.jsonl --replace --force"
    )]
    Import {
        /// The file
        file: PathBuf,
        /// Put the file's partitions in the place of the store's
        #[arg(long)]
        replace: bool,
        #[command(flatten)]
        confirmation: Confirmation,
    },
}

/// Runs the command.
///
/// # Errors
/// When a setting cannot be used, or the store or the file cannot be read or written.
pub async fn run(arguments: Args) -> anyhow::Result<()> {
    let output = Output::new(&arguments.output)?;
    let (clock, entropy) = (Clock::system(), Entropy::system());
    let config = app::secrets::settings(&config::environment, &clock, &entropy).await?;
    if let Verb::Import { replace: true, confirmation, .. } = &arguments.verb {
        confirm(*confirmation, "replace what the store has")?;
    }
    let transfer = app::transfer(&config, &clock, &entropy).await?;
    let done = match arguments.verb {
        Verb::Export { file, with_keyring } => {
            let keys = if with_keyring { Keys::Included } else { Keys::LeftOut };
            let done = transfer.export(&file, keys).await?;
            note("the file holds what people wrote into tasks: keep it as you keep the store");
            done
        }
        Verb::Import { file, replace, .. } => {
            let existing = if replace { Existing::Replace } else { Existing::Refuse };
            transfer.import(&file, existing).await?
        }
    };
    output.print(&serde_json::to_value(done)?)
}
