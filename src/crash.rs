//! Places where a test has the process end at once, as a power cut would.
//!
//! They work only where the simulated tenant is built in; in a package they are nothing at all. `graphgate serve --crash-at follow_up.committed:3` ends
//! the process when it comes to that place for the third time.

#[cfg(feature = "sim")]
use std::sync::OnceLock;
#[cfg(feature = "sim")]
use std::sync::atomic::{AtomicU32, Ordering};

/// Every place, in the order in which a write passes them, then those of a refresh of a plan.
pub const POINTS: &[&str] = &[
    "write.decided",
    "write.committed",
    "write.announced",
    "worker.taken",
    "push.begun",
    "push.decided",
    "push.noted",
    "create.before",
    "create.after",
    "update.before",
    "update.after",
    "details.before",
    "details.after",
    "delete.before",
    "delete.after",
    "reads.after",
    "push.answered",
    "follow_up.decided",
    "follow_up.committed",
    "follow_up.announced",
    "push.arrived",
    "push.ended",
    "resolve.listed",
    "resolve.done",
    "pass.begun",
    "pass.listed",
    "pass.followed",
    "pass.missing_read",
    "pass.ended",
    "outbox.before",
    "outbox.after",
];

/// Every place of a move to another plan, in the order in which it passes them.
pub const MOVES: &[&str] =
    &["move.begun", "move.copied", "move.carried", "move.removing", "move.removed", "move.ended"];

/// Every place of the refresh of a connected account, likewise.
pub const ACCOUNTS: &[&str] = &["account.leased", "account.answered", "account.kept"];

fn is_known(place: &str) -> bool {
    [POINTS, MOVES, ACCOUNTS].iter().any(|places| places.contains(&place))
}

#[cfg(feature = "sim")]
struct Armed {
    place: String,
    left: AtomicU32,
}

#[cfg(feature = "sim")]
static ARMED: OnceLock<Armed> = OnceLock::new();

/// Arms one place, named as `place` or `place:N`, for the life of the process.
///
/// # Errors
/// When there is no such place.
#[cfg(feature = "sim")]
pub fn arm(text: &str) -> Result<(), String> {
    let (place, times) = text.split_once(':').unwrap_or((text, "1"));
    let times: u32 = times.parse().map_err(|_| format!("`{times}` is no number of times"))?;
    if !is_known(place) {
        return Err(format!("there is no place `{place}`; known: {}", [POINTS, MOVES, ACCOUNTS].concat().join(", ")));
    }
    let _ = ARMED.set(Armed { place: place.to_owned(), left: AtomicU32::new(times) }); // the first word counts
    Ok(())
}

#[cfg(feature = "sim")]
static LEASE: OnceLock<chrono::TimeDelta> = OnceLock::new();

/// Makes leases of this process run out early, so that a test sees it happen often: the fence keeps order all the same.
#[cfg(feature = "sim")]
pub fn shorten_leases(milliseconds: i64) {
    let _ = LEASE.set(chrono::TimeDelta::milliseconds(milliseconds)); // the first word counts
}

/// How long a lease lasts in this process, if a test wants it otherwise than it is.
#[must_use]
pub fn lease() -> Option<chrono::TimeDelta> {
    #[cfg(feature = "sim")]
    return LEASE.get().copied();
    #[cfg(not(feature = "sim"))]
    None
}

#[cfg(feature = "sim")]
static PATIENCE: OnceLock<std::time::Duration> = OnceLock::new();

/// Makes background calls of Graph give up early in this process, so that a test of a long outage is a short one.
#[cfg(feature = "sim")]
pub fn shorten_patience(milliseconds: u64) {
    let _ = PATIENCE.set(std::time::Duration::from_millis(milliseconds)); // the first word counts
}

/// How long a background call of Graph may last in this process, where a test changes it.
#[must_use]
pub fn patience() -> Option<std::time::Duration> {
    #[cfg(feature = "sim")]
    return PATIENCE.get().copied();
    #[cfg(not(feature = "sim"))]
    None
}

/// A place. Ends the process if it is the armed one and its turn has come.
#[inline]
pub fn point(place: &'static str) {
    debug_assert!(is_known(place), "`{place}` is in the list");
    #[cfg(feature = "sim")]
    if let Some(armed) = ARMED.get()
        && armed.place == place
        && armed.left.fetch_sub(1, Ordering::Relaxed) == 1
    {
        std::process::abort();
    }
}
