//! `graphgate typeset-report`: sets one report as PDF. The server runs it for each PDF; it is not for people.

use std::io::{Read, Write};
use std::path::PathBuf;

use crate::services::reports::model::Report;
use crate::services::reports::render::typeset::typeset;

/// `graphgate typeset-report`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// A folder with fonts
    #[arg(long)]
    fonts: Option<PathBuf>,
}

/// Reads a report from standard input, writes a PDF to standard output.
///
/// # Errors
/// When the input is no report, or it cannot be set.
pub fn run(arguments: &Args) -> anyhow::Result<()> {
    let mut text = Vec::new();
    std::io::stdin().lock().read_to_end(&mut text)?;
    let report: Report = serde_json::from_slice(&text)?;
    let pdf = typeset(&report, arguments.fonts.as_deref())?;
    std::io::stdout().lock().write_all(&pdf)?;
    Ok(())
}
