//! Planner as callers know it: plans, buckets, tasks, by id or by name.
//!
//! Reads are answered from the replica, which is refreshed first when it is too old or the caller asks for it. Writes
//! on tasks go into the journal and are waited for a moment; plans and buckets, which change seldom, are written
//! through to Planner at once.

mod background;
pub mod bucket;
mod budget;
mod bulk;
mod catalog;
mod checklist;
mod conflicts;
mod create;
mod cursor;
mod custom_fields;
pub mod days;
mod directory;
mod facts;
pub mod input;
mod keys;
mod lists;
mod lookup;
mod membership;
mod moving;
mod once;
mod outbox;
mod people;
mod place;
mod plan;
mod plan_lists;
mod query;
mod ready;
mod reconcile_queue;
mod refresh_group;
mod remote;
mod replay;
mod resolved_edit;
mod sync_state;
mod task;
mod undo;
mod update;
mod upkeep;
mod version;
mod view;
pub mod words;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};

pub use bulk::Progress;
pub use catalog::{Catalog, PlanEntry, Scope};
pub use conflicts::{ConflictKindView, ConflictList, ConflictQuery, ConflictView, Winner};
pub use custom_fields::CustomFields;
pub use directory::{PeopleFound, PersonView};
pub(in crate::services) use facts::Visibility;
pub use outbox::{OUTBOX, Pushed};
pub use people::{People, Person};
pub(in crate::services) use plan::group_of;
pub use query::COLUMNS;
use reconcile_queue::ReconcileQueue;
pub use reconcile_queue::{RECONCILE, ReconcileOutcome, ReconciledBy};
pub use refresh_group::GroupRefreshed;
pub use remote::{GraphPlanner, graph_error};
pub use replay::{Replay, Replayed, ReplayedPlan};
pub use sync_state::{PlanHealth, PlanRefresh, RefreshReport, RefreshRequest, SyncHealth, SyncState};
pub use undo::{KeptChange, UndoReceipt, UndoneChange};
pub use upkeep::{Reconciled, Renamed};
pub use view::*;

use crate::clock::Clock;
use crate::error::ErrorCode;
use crate::graph;
use crate::ids::{Entropy, GroupId, PlanId, TaskId};
use crate::queue::Queue;

use crate::services::{Environment, Error};
use crate::sync::model::PlanRecord;
use crate::sync::pusher::Pusher;
use crate::sync::schedule::Pace;
use crate::sync::{Engine, PlanHandle, RefreshError, Refreshed};
use background::Background;

/// Limits of Planner that are checked before anything is journalled. They change without notice, hence settings
/// (Planner limits; the older, smaller figure where two are published).
#[derive(Debug, Clone)]
pub struct Limits {
    /// Longest title, in characters.
    pub title: usize,
    /// Most assignees of a task.
    pub assignees: usize,
    /// Most checklist items of a task.
    pub checklist: usize,
    /// Most references of a task.
    pub references: usize,
    /// Most items of a bulk call.
    pub bulk: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { title: 255, assignees: 20, checklist: 20, references: 10, bulk: 500 }
    }
}

/// Settings of the Planner service.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Which plans may be touched.
    pub scope: Scope,
    /// A replica older than this is refreshed before it answers.
    pub max_age: Duration,
    /// Bytes that the tasks of all plans may take in memory, about, before some are put away.
    pub replica_memory: usize,
    /// How often plans are looked at without being asked.
    pub pace: Pace,
    /// Who decides when that is.
    pub reconciled_by: ReconciledBy,
    /// How long a write waits for Planner before it answers `pending`.
    pub write_wait: Duration,
    /// How long a bulk call waits for Planner before it answers with what is still pending.
    pub bulk_wait: Duration,
    /// The zone whose days count where a call names none.
    pub time_zone: chrono_tz::Tz,
    /// The company's own fields.
    pub custom_fields: CustomFields,
    /// Limits of Planner.
    pub limits: Limits,
    /// Requests to Graph a minute that a caller may cause by looking for what is not known; 0 is no limit.
    pub lookups_per_minute: u32,
}

/// The Planner service.
pub struct Planner {
    engine: Arc<Engine>,
    pusher: Pusher,
    outbox: outbox::Outbox,
    reconcile_queue: ReconcileQueue,
    moves: moving::Moves,
    keys: keys::Keys,
    once: once::Once,
    graph: graph::Client,
    catalog: Catalog,
    people: Arc<People>,
    /// Comparisons of plans with Planner.
    refreshing: Background<PlanId, Result<Refreshed, RefreshError>>,
    /// Readings of tasks' details.
    reading: Background<TaskId, Result<(), RefreshError>>,
    /// Readings of groups' members.
    meeting: Background<GroupId, ()>,
    budget: budget::Budget,
    /// Reads of plans that were answered from the replica as it was, and those for which Planner was asked.
    hits: AtomicU64,
    misses: AtomicU64,
    clock: Clock,
    entropy: Entropy,
    signer: cursor::Signer,
    last_errors: sync_state::LastErrors,
    rounds: upkeep::Rounds,
    /// The directory id of the tenant.
    tenant: String,
    settings: Settings,
}

/// The queues of the Planner service.
#[derive(Clone)]
pub struct Queues {
    /// Journalled writes that wait for Planner.
    pub outbox: Arc<dyn Queue>,
    /// Plans that are due.
    pub reconcile: Arc<dyn Queue>,
}

/// How fresh an answer has to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Freshness {
    /// No older than the configured age.
    Usual,
    /// At most ten seconds old: enough to say that something is not there, and no look for each of many.
    Lately,
    /// As Planner has it at the time of the call.
    Now,
}

impl Freshness {
    /// How old an answer may be, where the usual age is `usual`.
    fn age(self, usual: Duration) -> TimeDelta {
        match self {
            Self::Usual => TimeDelta::from_std(usual).unwrap_or(TimeDelta::MAX),
            Self::Lately => TimeDelta::seconds(10),
            Self::Now => TimeDelta::zero(),
        }
    }
}

impl From<Option<bool>> for Freshness {
    fn from(fresh: Option<bool>) -> Self {
        if fresh == Some(true) { Self::Now } else { Self::Usual }
    }
}

impl Planner {
    /// Sets the service up over the engine, Microsoft Graph and its queues.
    #[must_use]
    pub fn new(
        environment: &Environment,
        sync: (Arc<Engine>, Pusher),
        graph: graph::Client,
        queues: Queues,
        settings: Settings,
    ) -> Self {
        let Environment { tables, clock, entropy, keyring } = environment.clone();
        let (engine, pusher) = sync;
        let signer = cursor::Signer::new(keyring);
        let instance = entropy.ulid(clock.now());
        let reconcile_queue = ReconcileQueue::new(&tables, queues.reconcile, entropy.clone());
        let moves = moving::Moves::new(&tables, clock.clone(), entropy.clone());
        let keys = keys::Keys::new(&tables);
        let once = once::Once::new(&tables, clock.clone(), entropy.clone());
        let tenant = tables.tenant().to_owned();
        let catalog = Catalog::new(graph.clone(), tables, clock.clone(), instance, &settings);
        let people = Arc::new(People::new(graph.clone(), clock.clone()));
        let outbox = outbox::Outbox::new(queues.outbox, clock.clone());
        Self {
            engine,
            pusher,
            outbox,
            reconcile_queue,
            moves,
            keys,
            once,
            graph,
            catalog,
            people,
            refreshing: Background::new(clock.clone()),
            reading: Background::new(clock.clone()),
            meeting: Background::new(clock.clone()),
            budget: budget::Budget::new(settings.lookups_per_minute),
            hits: AtomicU64::new(0),
            misses: AtomicU64::new(0),
            clock,
            entropy,
            signer,
            last_errors: sync_state::LastErrors::default(),
            rounds: upkeep::Rounds::default(),
            tenant,
            settings,
        }
    }

    /// The plans of the deployment.
    #[must_use]
    pub fn catalog(&self) -> &Catalog {
        &self.catalog
    }

    /// Reads of plans that were answered from the replica as it was, and those for which Planner was asked.
    #[must_use]
    pub fn hits_and_misses(&self) -> (u64, u64) {
        (self.hits.load(Ordering::Relaxed), self.misses.load(Ordering::Relaxed))
    }

    /// The company's own fields.
    #[must_use]
    pub fn custom_fields(&self) -> &CustomFields {
        &self.settings.custom_fields
    }

    /// The people GraphGate has met.
    #[must_use]
    pub fn people(&self) -> &People {
        &self.people
    }

    fn now(&self) -> DateTime<Utc> {
        self.clock.now()
    }
}

/// The plan's own row; whoever waited for the replica to be ready has one.
fn known_plan(plan: Option<Arc<PlanRecord>>) -> Result<Arc<PlanRecord>, Error> {
    plan.ok_or_else(|| Error::new(ErrorCode::PlanNotFound, "the plan has not been read yet"))
}

/// When Planner was last asked about a plan, as callers see it.
fn as_of(handle: &PlanHandle) -> Option<String> {
    handle.as_of().map(words::print_time)
}

/// A name nothing in a list has, with what there is; what may have been meant comes first.
fn not_found(code: ErrorCode, kind: &str, text: &str, known: impl Iterator<Item = String>) -> Error {
    let error = Error::new(code, format!("there is no {kind} `{text}`"));
    let (mut close, others): (Vec<String>, Vec<String>) = known.partition(|name| words::is_close(name, text));
    let known: Vec<String> = close.iter().cloned().chain(others).take(30).collect();
    close.truncate(5);
    match (close.is_empty(), known.is_empty()) {
        (_, true) => error,
        (true, false) => error.hint(format!("known: {}", known.join(", "))),
        (false, false) => error.hint(format!("close: {}; known: {}", close.join(", "), known.join(", "))),
    }
}
