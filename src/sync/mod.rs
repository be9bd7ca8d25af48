//! The sync engine: a replica of each plan, a journal of what agents did, and the two ways between it and Planner.
//!
//! ```text
//!   caller ── journal ──► task row + op row ── push ──►  Planner  ◄── people
//!   caller ◄── replica ◄────── task row ◄── reconcile ──────┘
//! ```
//!
//! Read top to bottom: [`model`] (what a row holds), [`merge`] (what both sides' edits make of a task), [`plan`] (what
//! to do next about a task), [`absorb`] and [`intent`] (what an answer of Planner, or the lack of one, makes of a row),
//! [`conflict`] (what is kept of a value that lost), [`journal`] (what a caller's wish makes of a row), [`replica`],
//! [`step`], [`lease`] and [`event`] (a plan in memory, its transactions, who may make them and what they tell), [`push`],
//! [`fold`] and [`reconcile`] (the two ways), [`worker`] (who drives the pushes). The engine knows Planner only through
//! [`ports`], time only through the clock, the store only as rows.

mod absorb;
mod brake;
mod conflict;
pub mod event;
mod field;
mod fold;
mod handle;
mod import;
mod intent;
pub mod journal;
mod layout;
pub mod lease;
pub mod merge;
pub mod model;
pub mod plan;
mod plan_record;
pub mod ports;
pub mod push;
pub mod reconcile;
pub mod replica;
mod send;
mod step;
#[cfg(test)]
mod tests;
pub mod worker;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use chrono::{DateTime, Utc};

use crate::clock::Clock;
use crate::ids::PlanId;
pub use handle::PlanHandle;
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

    /// When the plan's own row was last compared with Planner.
    fn plan_seen(&self, plan: &PlanId) -> Option<DateTime<Utc>> {
        self.plans_seen.lock().unwrap_or_else(PoisonError::into_inner).get(plan).copied()
    }

    fn note_plan_seen(&self, plan: &PlanId, at: DateTime<Utc>) {
        self.plans_seen.lock().unwrap_or_else(PoisonError::into_inner).insert(plan.clone(), at);
    }

    /// Makes the next pass read the plan's title, buckets and labels again.
    pub fn forget_plan(&self, plan: &PlanId) {
        self.plans_seen.lock().unwrap_or_else(PoisonError::into_inner).remove(plan);
    }
}
