//! The store as one file: `graphgate store export|import`. Like `keys`, it opens the deployment's own store.

use std::path::PathBuf;

use clap::Subcommand;

use super::failure::Failure;
use super::output::note;
use super::own;
use super::session::{Confirmation, confirm};
use crate::app;
use crate::error::ErrorCode;
use crate::services::transfer::{Existing, Keys};

/// `graphgate store`.
pub type Args = own::Args<Verb>;

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Write every row of the deployment's store to a file; the server may run
    #[command(
        after_help = "Examples:\n  graphgate store export backup.jsonl\n  AZURE_TABLES_ENDPOINT=https://NAME.table.core.windows.net graphgate store export backup.jsonl"
    )]
    Export {
        /// The file
        file: PathBuf,
        /// The keyring too: a holder of the file can then sign as the deployment does
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
    let (verb, bench) = arguments.begin()?;
    let config = bench.settings().await?;
    if let Verb::Import { replace: true, confirmation, .. } = &verb {
        confirm(*confirmation, "replace what the store has")?;
    }
    let transfer = app::transfer(&config, &bench.clock, &bench.entropy).await?;
    let done = match verb {
        Verb::Export { file, with_keyring } => {
            let keys = if with_keyring { Keys::Included } else { Keys::LeftOut };
            let done = transfer.export(&file, keys).await?;
            note("the file holds what people wrote into tasks: keep it as you keep the store");
            done
        }
        Verb::Import { .. } if transfer.is_in_use() => {
            let message = "a server, or another command, has this data folder open; nothing was changed";
            return Err(Failure::coded(ErrorCode::Conflict, message).hint("stop it, then repeat the command").into());
        }
        Verb::Import { file, replace, .. } => {
            let existing = if replace { Existing::Replace } else { Existing::Refuse };
            transfer.import(&file, existing).await?
        }
    };
    bench.output.print(&serde_json::to_value(done)?)
}
