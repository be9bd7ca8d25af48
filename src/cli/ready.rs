//! How a server says that it answers: on standard output for people, in a file for programs.

use std::io::Write as _;
use std::path::{Path, PathBuf};

use anyhow::Context as _;

/// Prints to standard output; a closed pipe is nobody's loss.
pub fn say(text: &str) {
    let _ = writeln!(std::io::stdout().lock(), "{text}");
}

/// Writes a ready file: whole or not at all, so that a watcher never reads half of it.
///
/// # Errors
/// When the file cannot be written.
pub fn write_ready(path: &Path, ready: &serde_json::Value) -> anyhow::Result<()> {
    let part = PathBuf::from(format!("{}.part", path.display()));
    let write = || {
        std::fs::write(&part, format!("{ready:#}\n"))?;
        std::fs::rename(&part, path)
    };
    write().with_context(|| format!("the ready file `{}` cannot be written", path.display()))
}
