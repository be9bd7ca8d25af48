//! How long a stream of events lives: it ends by itself, and its listener comes back with its last cursor.
//!
//! Under the Functions host a stream is an invocation: at `functionTimeout` the host tears it, calls it failed, and kills
//! the process with everybody else's requests if it does not end at once. So it ends a minute earlier, and streams that
//! began together end one after another.

use std::sync::atomic::{AtomicU32, Ordering};

use crate::host::HostMode;

/// The longest life of a stream, in seconds.
pub const LONGEST: u32 = 600;
/// The same under the Functions host: a minute less than `functionTimeout` in `host.json`.
pub const LONGEST_HOSTED: u32 = 540;
/// The ends of streams that began together are spread over this many seconds.
const SPREAD: u32 = 30;
/// Two streams after another end this far apart; it shares no factor with [`SPREAD`].
const STEP: u32 = 7;

/// Gives every stream its life.
pub(super) struct Lives {
    longest: u32,
    begun: AtomicU32,
}

impl Default for Lives {
    fn default() -> Self {
        Self::new(HostMode::default())
    }
}

impl Lives {
    pub(super) fn new(host: HostMode) -> Self {
        Self { longest: if host.is_functions() { LONGEST_HOSTED } else { LONGEST }, begun: AtomicU32::new(0) }
    }

    /// The life of the next stream, in seconds.
    pub(super) fn next(&self, wanted: Option<u32>) -> u32 {
        let number = self.begun.fetch_add(1, Ordering::Relaxed) % SPREAD;
        let most = self.longest - number * STEP % SPREAD;
        wanted.unwrap_or(most).clamp(1, most)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn streams_end_before_the_limit_with_jitter() {
        for (host, longest) in [(HostMode::Standalone, LONGEST), (HostMode::Functions, LONGEST_HOSTED)] {
            let lives = Lives::new(host);
            let given: BTreeSet<u32> = (0..SPREAD).map(|_| lives.next(None)).collect();
            assert_eq!((given.len(), given.last()), (SPREAD as usize, Some(&longest)), "every second one");
            assert_eq!(lives.next(Some(5)), 5);
            assert!((1..1_000).all(|_| lives.next(Some(u32::MAX)) <= longest));
            assert_eq!(lives.next(Some(0)), 1);
        }
    }
}
