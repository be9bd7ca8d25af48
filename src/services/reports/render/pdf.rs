//! The report for paper.
//!
//! A typesetter weighs ten times the rest of the program, so it is there only in builds with the feature `pdf`, and runs
//! in a process of its own: this program again, which reads a report and writes a PDF. Its memory goes back when it
//! ends, and a document that never ends is ended.

use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::process::Command;

use crate::clock::Clock;
use crate::error::ErrorCode;
use crate::services::Error;
use crate::services::reports::model::Report;

/// The command that sets one report: JSON on standard input, PDF on standard output.
pub const COMMAND: &str = "typeset-report";
/// The longest a document may take.
const LIMIT: Duration = Duration::from_mins(1);

/// Whether this build can set PDFs.
///
/// # Errors
/// When it cannot, with the way to one that can.
pub fn available() -> Result<(), Error> {
    if cfg!(feature = "pdf") {
        return Ok(());
    }
    Err(Error::new(ErrorCode::InvalidArgument, "this build of GraphGate sets no PDF").hint(
        "ask for `html`, which prints well; packages and containers have PDF, a build of your own with `--features pdf`",
    ))
}

/// Sets PDFs in another process.
pub struct Setter {
    /// The program; this one if not set.
    pub program: Option<PathBuf>,
    /// A folder with fonts for scripts the embedded ones lack.
    pub fonts: Option<PathBuf>,
}

impl Setter {
    /// Sets a report.
    ///
    /// # Errors
    /// When the build cannot, or setting fails or takes too long.
    pub async fn typeset(&self, report: &Report, clock: &Clock) -> Result<Vec<u8>, Error> {
        available()?;
        let text = serde_json::to_vec(report).map_err(|error| failed(&error))?;
        let program = match &self.program {
            Some(program) => program.clone(),
            None => std::env::current_exe().map_err(|error| failed(&error))?,
        };
        let mut command = Command::new(program);
        command.arg(COMMAND).env_clear().stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        if let Some(fonts) = &self.fonts {
            command.arg("--fonts").arg(fonts);
        }
        let mut process = command.kill_on_drop(true).spawn().map_err(|error| failed(&error))?;
        let stdin = process.stdin.take();
        let feed = async move {
            if let Some(mut stdin) = stdin {
                let _ = stdin.write_all(&text).await; // a process that stops reading says why at its end
            }
        };
        let work = futures::future::join(feed, process.wait_with_output());
        let Some(((), ended)) = clock.timeout(LIMIT, work).await else {
            return Err(Error::new(
                ErrorCode::TimedOut,
                format!("setting the PDF took longer than {} s", LIMIT.as_secs()),
            )
            .hint("ask for `html`, or for a report on fewer plans"));
        };
        let output = ended.map_err(|error| failed(&error))?;
        if output.status.success() && output.stdout.starts_with(b"%PDF") {
            return Ok(output.stdout);
        }
        Err(failed(&String::from_utf8_lossy(&output.stderr).trim()))
    }
}

fn failed(error: &impl std::fmt::Display) -> Error {
    tracing::error!(%error, "a PDF cannot be set");
    Error::new(ErrorCode::Internal, "the PDF cannot be set; the reason has been logged").hint("ask for `html`")
}
