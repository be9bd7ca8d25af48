//! The sync engine: a replica of each plan, a journal of what agents did, and the two ways between it and Planner.
//!
//! ```text
//!   agents ── journal ──► t| task row, o| operation ── push ───────────►  Planner  ◄── people
//!     ▲                     │  one transaction                            │
//!     └── events, reads ◄───┤  a step: rows, base, conflict, event        │ list, compare ETags,
//!                           └◄──────────── reconcile ◄────────────────────┘ read what is newer
//!                                          under a lease (f|) with a fencing token
//! ```
//!
//! # What it promises
//!
//! What was acknowledged as journalled arrives in Planner once, or is in the conflict log with its value;
//! what a person does in Planner is seen here, or is in the log too. That holds no matter which process dies when, with
//! several instances at work, with answers lost in both directions, and with reads that show the past.
//!
//! # How
//!
//! *A write is a fact before it is a call.* A caller's edit becomes a new task row and an operation in one entity-group
//! transaction ([`journal`], [`handle`]); a failure to tell Planner is then only a delay.
//!
//! *One row tells all about a task.* What it should be (`fields`), what Planner is known to have (`base`, only while it
//! differs) and what may have been sent without an answer (`attempts`). [`plan::next_action`] compares the three and
//! says what to do next; [`absorb`] makes of an answer a new row; a push ([`push`], [`send`], [`fold`]) repeats the two
//! until nothing is left to do. What is sent is noted before it is sent: found on Planner later, it is known as ours.
//! So is what a call leaves there after it was given up; what that overwrote is put right by an operation of our own.
//!
//! *Both sides are merged by field* over the last common state ([`merge`]). Only where both changed the same field does
//! a rule decide, and then the log has both values before either is overwritten ([`conflict`]).
//!
//! *Creating has no key.* A create whose answer was lost is searched for among what our application made ([`intent`]); it is
//! sent again only when Planner must have shown it. What it leaves behind after all is recognised as a second copy and
//! removed ([`import`]).
//!
//! *Absence proves nothing.* A task missing from a listing is gone only when a read by id, late enough, does not find it
//! ([`reconcile`]), and the plan itself is there ([`frozen`]). A plan that cannot be read or written is frozen: what is
//! journalled waits, and only what Planner refuses for its content is given up; if very much is gone or changed at once, a guard waits for
//! a person to check ([`mass_change`]). What a restored group brings back is taken in again.
//!
//! *Several instances need no luck.* Following up on Planner takes the plan's lease ([`lease`]), whose row is part of each
//! such transaction, so the store itself refuses a holder that was overtaken. No decision compares two instances'
//! clocks. Reads need no lease: one point read of the version row tells whether memory is current ([`layout`]).
//!
//! *A day without Graph costs little.* Once nothing of a plan gets through, one task tries for all of them ([`outage`]); the
//! others wait in the journal, and their callers get `pending` at once.
//!
//! *A listener misses nothing.* Each transaction that changes something carries an event with the plan's own number
//! ([`event`]). When to refresh a plan is [`schedule`]'s decision.
//!
//! The engine knows Planner only through [`ports`], time only through the clock, the store only as rows: the simulation
//! in `tests/sync_sim` runs this very code against a world that fails in every known way, and checks with seeded bugs
//! ([`mutant`]) that it would notice.
//!
//! To read it all: [`model`], [`merge`], [`plan`], [`absorb`], [`push`], [`reconcile`].

pub mod absorb;
mod announce;
mod by_field;
mod conflict;
pub mod details;
pub mod event;
mod few;
mod field;
mod field_json;
pub mod field_value;
mod fold;
mod frozen;
mod handle;
mod held;
pub mod import;
mod intent;
pub mod journal;
mod layout;
pub mod lease;
mod mass_change;
pub mod memory;
pub mod merge;
pub mod model;
pub mod mutant;
mod outage;
mod places;
pub mod plan;
mod plan_record;
pub mod ports;
pub mod push;
pub mod pusher;
pub mod reconcile;
pub mod replica;
#[cfg(test)]
mod samples;
pub mod schedule;
mod send;
mod step;
#[cfg(test)]
mod tests;
pub mod worker;

use std::collections::HashMap;
use std::sync::Arc;

use chrono::{DateTime, TimeDelta, Utc};
use parking_lot::Mutex;

use crate::clock::Clock;
use crate::ids::PlanId;
pub use announce::Committed;
pub use handle::PlanHandle;
pub use held::Counts;
pub use lease::WorkError;
pub use push::Outcome;
pub use reconcile::{RefreshError, Refreshed};
pub use replica::Replica;
pub use step::Step;

/// Settings of the engine.
#[derive(Debug, Clone, Default)]
pub struct Settings {
    /// The id of our application in the directory: Planner names it in the tasks we create.
    pub application_id: Option<String>,
    /// Whether what is journalled is sent.
    pub pushes: Pushes,
}

/// Whether what is journalled is sent.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Pushes {
    /// It is.
    #[default]
    Sent,
    /// It waits: the deployment is read-only.
    Held,
}

/// The engine. One per process, shared.
pub struct Engine {
    planner: Arc<dyn ports::Planner>,
    clock: Clock,
    settings: Settings,
    plans_seen: Mutex<HashMap<PlanId, DateTime<Utc>>>,
}

impl Engine {
    /// An engine over a Planner.
    pub fn new(planner: Arc<dyn ports::Planner>, clock: Clock, settings: Settings) -> Self {
        Self { planner, clock, settings, plans_seen: Mutex::default() }
    }

    /// How far Planner's clock is ahead of ours.
    fn ahead(&self) -> TimeDelta {
        if mutant::is_on(mutant::Mutant::PlannersClockIgnored) { TimeDelta::zero() } else { self.planner.ahead() }
    }

    /// Whether what is journalled is sent.
    #[must_use]
    pub const fn pushes(&self) -> Pushes {
        self.settings.pushes
    }

    /// When the plan's title, buckets and labels were last read from Planner by this process.
    #[must_use]
    pub fn plan_seen(&self, plan: &PlanId) -> Option<DateTime<Utc>> {
        self.plans_seen.lock().get(plan).copied()
    }

    fn note_plan_seen(&self, plan: &PlanId, at: DateTime<Utc>) {
        self.plans_seen.lock().insert(plan.clone(), at);
    }

    /// Makes the next pass read the plan's title, buckets and labels again.
    pub fn forget_plan(&self, plan: &PlanId) {
        self.plans_seen.lock().remove(plan);
    }
}
