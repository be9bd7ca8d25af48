//! The progress bar of bulk work, on stderr. It draws nothing when stderr is no terminal.

use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

/// A bar for `total` items.
pub fn bar(total: usize, doing: &'static str) -> ProgressBar {
    let bar = ProgressBar::new(total as u64).with_message(doing);
    if let Ok(style) = ProgressStyle::with_template("{spinner} {msg} [{bar:30}] {pos}/{len} {elapsed}") {
        bar.set_style(style.progress_chars("=> "));
    }
    bar.enable_steady_tick(Duration::from_millis(100));
    bar
}

/// Moves the bar to where the server says it is; what earlier calls did is the bar's offset in `length - total`.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "counts of items, at most some thousands")]
pub fn advance(bar: &ProgressBar, done: f64, total: Option<f64>) {
    let (Some(length), Some(total)) = (bar.length(), total) else { return };
    let (done, total) = (done.max(0.0) as u64, total.max(0.0) as u64);
    bar.set_position(bar.position().max(done).min(length.max(total)));
}
