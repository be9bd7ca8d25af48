//! Commands that open the deployment's own store, with the settings a server would have, and ask no server.

use clap::Subcommand;

use super::output::{Format, Output, OutputOptions};
use crate::app;
use crate::clock::Clock;
use crate::config::{self, Config};
use crate::ids::Entropy;

/// The arguments of such a command: what to do, and how to show it.
#[derive(Debug, clap::Args)]
pub struct Args<V: Subcommand> {
    #[command(flatten)]
    output: OutputOptions,
    #[command(subcommand)]
    verb: V,
}

/// What such a command works with.
pub struct Bench {
    /// Where the answer goes.
    pub output: Output,
    /// The time.
    pub clock: Clock,
    /// Chance.
    pub entropy: Entropy,
}

impl<V: Subcommand> Args<V> {
    /// The format asked for.
    pub fn format(&self) -> Option<Format> {
        self.output.output
    }

    /// What to do, and with what; nothing is read yet.
    ///
    /// # Errors
    /// When the answer cannot be shown as asked for.
    pub fn begin(self) -> anyhow::Result<(V, Bench)> {
        let output = Output::new(&self.output)?;
        Ok((self.verb, Bench { output, clock: Clock::system(), entropy: Entropy::system() }))
    }
}

impl Bench {
    /// The deployment's settings.
    ///
    /// # Errors
    /// When one of them cannot be used.
    pub async fn settings(&self) -> anyhow::Result<Config> {
        app::secrets::settings(&config::environment, &self.clock, &self.entropy).await
    }
}
