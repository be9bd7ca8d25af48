//! The progress bar of bulk work, on stderr. It draws nothing when stderr is no terminal.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

/// How far a command has come, over all of its calls.
#[derive(Clone)]
pub struct Progress {
    bar: ProgressBar,
    /// Items earlier calls dealt with; a server only counts those of the call at hand.
    before: Arc<AtomicU64>,
}

impl Progress {
    /// Nothing to show.
    pub fn hidden() -> Self {
        Self { bar: ProgressBar::hidden(), before: Arc::default() }
    }

    /// A bar for `total` items.
    pub fn of(total: usize, doing: &'static str) -> Self {
        let bar = ProgressBar::new(total as u64).with_message(doing);
        if let Ok(style) = ProgressStyle::with_template("{spinner} {msg} [{bar:30}] {pos}/{len} {elapsed}") {
            bar.set_style(style.progress_chars("=> "));
        }
        bar.enable_steady_tick(Duration::from_millis(100));
        Self { bar, before: Arc::default() }
    }

    /// Moves to where the server says the call at hand is.
    #[allow(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a count of items, a few hundred at most"
    )]
    pub fn report(&self, done: f64) {
        self.bar.set_position(self.before.load(Ordering::Relaxed) + done.max(0.0) as u64);
    }

    /// A call has ended; `done` items are dealt with by it and those before.
    pub fn call_ended(&self, done: usize) {
        self.before.store(done as u64, Ordering::Relaxed);
        self.bar.set_position(done as u64);
    }

    /// Takes the bar away.
    pub fn clear(&self) {
        self.bar.finish_and_clear();
    }
}
