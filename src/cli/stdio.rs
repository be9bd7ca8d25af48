//! `graphgate stdio`: the MCP server over standard input and output, for clients that speak nothing else.

use clap::Parser;

use crate::app::{App, secrets};
use crate::clock::Clock;
use crate::config;
use crate::ids::Entropy;
use crate::telemetry::{self, Console};

/// Serve MCP over standard input and output on your tenant. Settings come from the environment.
#[derive(Debug, Parser)]
pub struct Args {
    /// Use the built-in simulated tenant instead of your own
    #[cfg(feature = "sim")]
    #[arg(long)]
    pub dev: bool,
}

/// Runs until the client closes the connection.
///
/// # Errors
/// When a setting cannot be used or the store cannot be opened.
pub async fn run(args: Args) -> anyhow::Result<()> {
    let _log = super::ready::begin(&telemetry::Config::read(&config::environment, Console::Error));
    #[cfg(feature = "sim")]
    if args.dev {
        let sim = graphgate_sim::start(super::sim::Options::default().config()?).await?;
        let app = App::build(super::dev::config(&sim, None)?, Clock::system(), Entropy::system()).await?;
        return Box::pin(app.talk()).await;
    }
    #[cfg(not(feature = "sim"))]
    let Args {} = args;
    let settings = secrets::settings(&config::environment, &Clock::system(), &Entropy::system()).await?;
    let app = App::build(settings, Clock::system(), Entropy::system()).await?;
    Box::pin(app.talk()).await
}
