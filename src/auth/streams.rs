//! Open streams: how many there may be, and whether the caller of each still is who it was.
//!
//! A request is checked once, when it comes; a stream outlives what was true then. Every stream holds a [`Stream`],
//! which counts it and has its caller checked again every few seconds, so that a revoked key, an expired token and a
//! role that has changed end what they opened within half a minute: ten seconds here, fifteen in the store of keys.

use std::collections::HashMap;
use std::sync::Arc;

use chrono::{DateTime, TimeDelta, Utc};
use parking_lot::Mutex;

use super::{Caller, Denied, Gate, StoredCaller};
use crate::clock::Clock;

/// How often a stream's caller is checked again.
const CHECK: TimeDelta = TimeDelta::seconds(10);
/// Most streams of one caller, on this instance.
const MOST_OF_ONE: usize = 32;
/// Most streams of all, on this instance.
const MOST: usize = 512;

/// A caller, or all together, have as many streams as they may.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TooMany {
    /// The caller has.
    #[error("the caller has {MOST_OF_ONE} streams open, which is the most")]
    OfTheCaller,
    /// All callers together have.
    #[error("{MOST} streams are open here, which is the most")]
    OfAll,
}

/// The open streams of this instance; a cheap handle.
#[derive(Clone)]
pub struct Streams {
    gate: Arc<Gate>,
    clock: Clock,
    open: Arc<Mutex<HashMap<String, usize>>>,
}

impl Streams {
    /// None yet.
    #[must_use]
    pub fn new(gate: Arc<Gate>, clock: Clock) -> Self {
        Self { gate, clock, open: Arc::default() }
    }

    /// Counts a new stream for as long as the answer lives.
    ///
    /// # Errors
    /// When there are too many.
    pub fn open(&self, caller: &Caller) -> Result<Stream, TooMany> {
        let mut open = self.open.lock();
        if open.values().sum::<usize>() >= MOST {
            return Err(TooMany::OfAll);
        }
        let own = open.entry(caller.name.clone()).or_default();
        if *own >= MOST_OF_ONE {
            return Err(TooMany::OfTheCaller);
        }
        *own += 1;
        drop(open);
        let (identity, checked_at) = (caller.stored(), self.clock.steady());
        Ok(Stream { streams: self.clone(), caller: caller.clone(), identity, checked_at })
    }

    /// How many are open.
    #[must_use]
    pub fn count(&self) -> usize {
        self.open.lock().values().sum()
    }
}

/// An open stream of a caller.
pub struct Stream {
    streams: Streams,
    caller: Caller,
    identity: StoredCaller,
    checked_at: DateTime<Utc>,
}

impl Stream {
    /// Whether the stream may continue: its caller is still the same and has the same rights. Checked every ten seconds;
    /// while that cannot be found out, the last answer holds.
    pub async fn may_go_on(&mut self) -> bool {
        let now = self.streams.clock.now();
        if self.caller.ends_at.is_some_and(|end| end <= now) {
            return false;
        }
        let now = self.streams.clock.steady();
        if now - self.checked_at < CHECK {
            return true;
        }
        self.checked_at = now;
        match self.streams.gate.restore(&self.identity).await {
            Ok(today) => today.grant == self.caller.grant && today.plan_scope == self.caller.plan_scope,
            Err(Denied::Unavailable(_)) => true, // a paused client's streams end: it may not listen either
            Err(_) => false,
        }
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        let mut open = self.streams.open.lock();
        if let Some(own) = open.get_mut(&self.caller.name) {
            *own = own.saturating_sub(1);
            if *own == 0 {
                open.remove(&self.caller.name);
            }
        }
    }
}
