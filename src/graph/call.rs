//! As whom, how urgently and until when a call is made.

use std::time::Duration;

use chrono::{DateTime, Utc};

use super::identity::Identity;
use crate::clock::Clock;
use crate::crash;
use crate::http_client::{Deadline, Mode};

/// A tool call's patience.
const INTERACTIVE: Duration = Duration::from_secs(25);
/// Background work's patience; what is not done by then is left to the journal.
const BACKGROUND: Duration = Duration::from_mins(2);

/// The circumstances of a call; the first argument of every function of the client.
#[derive(Debug, Clone)]
pub struct Call {
    /// In whose name.
    pub identity: Identity,
    /// Whose time it takes.
    pub mode: Mode,
    limit: Limit,
}

#[derive(Debug, Clone, Copy)]
enum Limit {
    Within(Duration),
    Until(DateTime<Utc>),
}

impl Call {
    /// A caller waits: 25 s for the whole call, pages and repeats included.
    #[must_use]
    pub const fn interactive(identity: Identity) -> Self {
        Self { identity, mode: Mode::Interactive, limit: Limit::Within(INTERACTIVE) }
    }

    /// Nobody waits: 120 s.
    #[must_use]
    pub fn background(identity: Identity) -> Self {
        let limit = crash::patience().unwrap_or(BACKGROUND);
        Self { identity, mode: Mode::Background, limit: Limit::Within(limit) }
    }

    /// The same call within another time, counted from its start.
    #[must_use]
    pub fn within(self, limit: Duration) -> Self {
        Self { limit: Limit::Within(limit), ..self }
    }

    /// The same call until an instant: for several calls that share a caller's patience.
    #[must_use]
    pub fn until(self, instant: DateTime<Utc>) -> Self {
        Self { limit: Limit::Until(instant), ..self }
    }

    pub(super) fn deadline(&self, clock: &Clock) -> Deadline {
        match self.limit {
            Limit::Within(limit) => Deadline::after(clock, limit),
            Limit::Until(instant) => Deadline::at(instant),
        }
    }
}
