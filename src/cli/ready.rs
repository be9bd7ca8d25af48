//! How a process that serves begins, and how it says that it answers: on standard output for people, in a file for
//! programs.

use std::io::Write as _;
use std::path::{Path, PathBuf};

use anyhow::Context as _;

use crate::os;
use crate::telemetry;

/// Prepares a process that serves, and starts its log.
#[must_use]
pub fn begin(log: &telemetry::Config) -> telemetry::Guard {
    let missing = os::prepare(); // first of all: the log is a file too
    let guard = telemetry::start(log);
    for what in missing {
        tracing::warn!("{what}");
    }
    guard
}

/// Prints to standard output; a closed pipe is nobody's loss.
pub fn say(text: &str) {
    let _ = writeln!(std::io::stdout().lock(), "{text}");
}

/// Writes a ready file: whole or not at all, so that a watcher never reads half of it, and for its owner alone, because it
/// may hold keys.
///
/// # Errors
/// When the file cannot be written.
pub fn write_ready(path: &Path, ready: &serde_json::Value) -> anyhow::Result<()> {
    let part = PathBuf::from(format!("{}.part", path.display()));
    let write = || {
        os::write_private(&part, format!("{ready:#}\n").as_bytes())?;
        std::fs::rename(&part, path)
    };
    write().with_context(|| format!("the ready file `{}` cannot be written", path.display()))
}
