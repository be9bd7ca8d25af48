//! Planner as callers know it: plans, buckets, tasks, by id or by name.
//!
//! Reads are answered from the replica, which is refreshed first when it is too old or the caller asks for it. Writes
//! on tasks go into the journal and are waited for a moment; plans and buckets, which change seldom, are written
//! through to Planner at once.
//!
//! # What a [`Planner`] can do
//!
//! | for | methods | files |
//! |---|---|---|
//! | plans | `list_plans` `get_plan` `create_plan` `update_plan` | `plan`; found by `catalog` |
//! | buckets | `list_buckets` `create_bucket` `update_bucket` `delete_bucket` | `bucket` |
//! | tasks, read | `query` `get_task` | `query`, `task`, `lookup` |
//! | tasks, written | `create_task` `update_task` `delete_task` `move_task` `move_to_place` `bulk_create` `bulk_update` `undo_changes` | `create`, `update`, `bulk`, `moving`, `place`, `undo`; words become edits in `resolved_edit` |
//! | people and names | `find_people` `person` `find_group` `metadata` | `people`, `metadata`, over `services::directory` |
//! | conflicts | `conflicts` `restore` `restored_before` | `conflicts` |
//! | sync, as callers see it | `sync_health` `refresh_now` `confirm` `followed` `visible_plans` | `sync_state` |
//! | timers, queues and hints | `tend_plans` `reconcile_plans` `reconcile_noted` `push_noted` `refresh_names` `refresh_group` `forget_names` `replay` | `upkeep`, `reconcile_queue`, `outbox`, `refresh_group`, `replay` |
//! | reports | `facts` `kept_facts` `moves` `visibility` | `facts` |

mod background;
pub mod bucket;
mod bulk;
mod catalog;
mod checklist;
mod conflicts;
mod create;
mod cursor;
mod custom_fields;
pub mod days;
pub mod facts;
pub mod input;
mod keys;
mod lists;
mod lookup;
mod metadata;
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
mod unknown_tasks;
mod update;
mod upkeep;
mod version;
mod view;
pub mod words;

use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};

pub use bulk::Progress;
pub use catalog::{Catalog, PlanEntry, Scope};
pub use conflicts::{ConflictKindView, ConflictList, ConflictQuery, ConflictView, Winner};
pub use custom_fields::CustomFields;
pub(in crate::services) use facts::Visibility;
pub use outbox::{OUTBOX, Pushed};
pub use query::COLUMNS;
use reconcile_queue::ReconcileQueue;
pub use reconcile_queue::{RECONCILE, ReconcileOutcome, ReconciledBy};
pub use refresh_group::GroupRefreshed;
pub use remote::GraphPlanner;
pub use replay::{Replay, Replayed, ReplayedPlan};
pub use sync_state::{PlanHealth, PlanRefresh, RefreshReport, RefreshRequest, SyncHealth, SyncState};
pub use undo::{RemainingChange, UndoReceipt, UndoneChange};
pub use upkeep::{Reconciled, Renamed};
pub use view::*;

use crate::clock::Clock;
use crate::error::ErrorCode;
use crate::graph;
use crate::ids::{Entropy, GroupId, PlanId, TaskId};
use crate::queue::Queue;

use crate::services::directory::Directory;
use crate::services::names::is_close;
use crate::services::{Environment, Error};
use crate::sync::model::PlanRecord;
use crate::sync::pusher::Pusher;
use crate::sync::schedule::Pace;
use crate::sync::{Engine, PlanHandle, RefreshError, Refreshed};
use crate::telemetry::metrics::Lookups;
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
    /// How often plans are refreshed without a request.
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
    directory: Arc<Directory>,
    /// Comparisons of plans with Planner.
    refreshing: Background<PlanId, Result<Refreshed, RefreshError>>,
    /// Readings of tasks' details.
    reading: Background<TaskId, Result<(), RefreshError>>,
    /// Readings of groups' members.
    meeting: Background<GroupId, ()>,
    unknown_tasks: unknown_tasks::UnknownTasks,
    /// Reads of plans that were answered from the replica as it was, and those for which Planner was asked.
    lookups: Lookups,
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
    /// At most ten seconds old: enough to say that something is not there, and no refresh for each of many.
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
    /// Sets the service up over the engine, the directory and its queues.
    #[must_use]
    pub fn new(
        environment: &Environment,
        sync: (Arc<Engine>, Pusher),
        directory: Arc<Directory>,
        queues: Queues,
        settings: Settings,
    ) -> Self {
        let Environment { tables, clock, entropy, keyring, graph } = environment.clone();
        let (engine, pusher) = sync;
        let signer = cursor::Signer::new(keyring);
        let instance = entropy.ulid(clock.now());
        let reconcile_queue = ReconcileQueue::new(&tables, queues.reconcile, entropy.clone());
        let moves = moving::Moves::new(&tables, clock.clone(), entropy.clone());
        let keys = keys::Keys::new(&tables);
        let once = once::Once::new(&tables, clock.clone(), entropy.clone());
        let tenant = tables.tenant().to_owned();
        let catalog = Catalog::new(environment, directory.clone(), instance, &settings);
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
            directory,
            refreshing: Background::new(clock.clone()),
            reading: Background::new(clock.clone()),
            meeting: Background::new(clock.clone()),
            unknown_tasks: unknown_tasks::UnknownTasks::default(),
            lookups: Lookups::default(),
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
    pub const fn lookups(&self) -> &Lookups {
        &self.lookups
    }

    /// The company's own fields.
    #[must_use]
    pub fn custom_fields(&self) -> &CustomFields {
        &self.settings.custom_fields
    }

    fn now(&self) -> DateTime<Utc> {
        self.clock.now()
    }
}

/// The plan's own row; a caller that waited for the replica to be ready has one.
fn known_plan(plan: Option<Arc<PlanRecord>>) -> Result<Arc<PlanRecord>, Error> {
    plan.ok_or_else(|| Error::new(ErrorCode::PlanNotFound, "the plan has not been read yet"))
}

/// When Planner was last asked about a plan, as callers see it.
fn as_of(handle: &PlanHandle) -> Option<String> {
    handle.as_of().map(crate::services::print_time)
}

/// A name nothing in a list has, with what there is; what may have been meant comes first.
fn not_found(code: ErrorCode, kind: &str, text: &str, known: impl Iterator<Item = String>) -> Error {
    let error = Error::new(code, format!("there is no {kind} `{text}`"));
    let (mut close, others): (Vec<String>, Vec<String>) = known.partition(|name| is_close(name, text));
    let known: Vec<String> = close.iter().cloned().chain(others).take(30).collect();
    close.truncate(5);
    match (close.is_empty(), known.is_empty()) {
        (_, true) => error,
        (true, false) => error.hint(format!("known: {}", known.join(", "))),
        (false, false) => error.hint(format!("close: {}; known: {}", close.join(", "), known.join(", "))),
    }
}
