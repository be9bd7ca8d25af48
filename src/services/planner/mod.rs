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
mod looks;
mod lookup;
mod membership;
mod moving;
mod nudge;
mod once;
mod outbox;
mod people;
mod plan;
mod plan_lists;
mod query;
mod remote;
mod replay;
mod several;
mod standing;
mod task;
mod undo;
mod upkeep;
mod version;
mod view;
mod wishes;
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
pub(in crate::services) use facts::Sight;
pub use looks::{LOOKS, LookedNow, LooksBy};
pub use nudge::Nudged;
pub use outbox::{OUTBOX, Pushed};
pub use people::{People, Person};
pub(in crate::services) use plan::group_of;
pub use query::COLUMNS;
pub use remote::{GraphPlanner, graph_error};
pub use replay::{Replay, Replayed, ReplayedPlan};
pub use standing::{Looked, LookedAt, Nudge, PlanHealth, Standing, SyncHealth};
pub use undo::{KeptChange, UndoReceipt, UndoneChange};
pub use upkeep::{Reconciled, Renamed};
pub use view::*;

use crate::clock::Clock;
use crate::error::ErrorCode;
use crate::graph;
use crate::ids::{Entropy, GroupId, PlanId, TaskId};
use crate::keyring::Keyring;
use crate::queue::Queue;
use crate::rows::Tables;
use crate::services::Error;
use crate::sync::model::PlanRecord;
use crate::sync::pusher::Pusher;
use crate::sync::schedule::Pace;
use crate::sync::{Engine, PlanHandle, RefreshError, Refreshed, Replica};
use background::{Background, PATIENCE};
use several::Deadlines;

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
    /// The directory id of the tenant; part of every storage key.
    pub tenant: String,
    /// Which plans may be touched.
    pub scope: Scope,
    /// A replica older than this is refreshed before it answers.
    pub max_age: Duration,
    /// How often plans are looked at without being asked.
    pub pace: Pace,
    /// Who decides when that is.
    pub looks: LooksBy,
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
    looks: looks::Looks,
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
    troubles: standing::Troubles,
    rounds: upkeep::Rounds,
    settings: Settings,
}

/// How far ahead of ours the clock of another instance may be.
const AHEAD: TimeDelta = TimeDelta::minutes(1);

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
    /// Sets the service up over its parts.
    #[must_use]
    #[allow(clippy::too_many_arguments)] // each part once, from the wiring alone
    pub fn new(
        engine: Arc<Engine>,
        pusher: Pusher,
        outbox: Arc<dyn Queue>,
        looks: Arc<dyn Queue>,
        graph: graph::Client,
        tables: Arc<dyn Tables>,
        clock: Clock,
        entropy: Entropy,
        keyring: Keyring,
        settings: Settings,
    ) -> Self {
        let signer = cursor::Signer::new(keyring);
        let (tenant, instance) = (settings.tenant.clone(), entropy.ulid(clock.now()));
        let looks = looks::Looks::new(tables.clone(), looks, &tenant, entropy.clone());
        let moves = moving::Moves::new(tables.clone(), clock.clone(), &tenant);
        let keys = keys::Keys::new(tables.clone(), &tenant);
        let once = once::Once::new(tables.clone(), clock.clone(), entropy.clone(), &tenant);
        let catalog = Catalog::new(graph.clone(), tables, clock.clone(), tenant, instance, settings.scope.clone());
        let people = Arc::new(People::new(graph.clone(), clock.clone()));
        let outbox = outbox::Outbox::new(outbox, clock.clone());
        Self {
            engine,
            pusher,
            outbox,
            looks,
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
            troubles: standing::Troubles::default(),
            rounds: upkeep::Rounds::default(),
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

    /// Makes a plan's replica answerable; returns a note when it is older than wished because Planner did not answer.
    ///
    /// # Errors
    /// When the plan is gone, or Planner does not answer and nothing is known of the plan yet.
    async fn ready(&self, handle: &Arc<PlanHandle>, freshness: Freshness) -> Result<Option<String>, Error> {
        self.ready_until(handle, freshness, None).await
    }

    /// As [`Self::ready`], for one of several plans, which must be answered in time together.
    ///
    /// # Errors
    /// As [`Self::ready`], and when time ran out and nothing is known of the plan yet.
    async fn ready_until(
        &self,
        handle: &Arc<PlanHandle>,
        freshness: Freshness,
        deadlines: Option<Deadlines>,
    ) -> Result<Option<String>, Error> {
        handle.ensure_current().await?;
        let now = self.clock.now();
        self.note_use(handle).await;
        let oldest = now - freshness.age(self.settings.max_age);
        let first = handle.as_of().is_none();
        // An instant that has yet to come was noted before the machine's time was set back, and says nothing.
        if handle.as_of().is_some_and(|as_of| (oldest..=now + AHEAD).contains(&as_of)) {
            self.hits.fetch_add(1, Ordering::Relaxed);
            return Ok(None);
        }
        self.misses.fetch_add(1, Ordering::Relaxed);
        if freshness == Freshness::Now {
            self.engine.forget_plan(&handle.id); // title, buckets and labels are part of the answer
        }
        // What is known is answered soon; only where nothing is, or Planner's own state is asked for, is Planner waited for.
        let known = handle.read().plan.is_some() && freshness != Freshness::Now;
        let left = |until: DateTime<Utc>| (until - self.clock.steady()).to_std().unwrap_or_default();
        let patience = match self.troubles.of(&handle.id) {
            Some(_) if known => Duration::ZERO,
            _ => deadlines.map_or(PATIENCE, |deadlines| left(deadlines.known).min(PATIENCE)),
        };
        let refreshed = match deadlines {
            _ if known => self.look(handle, oldest, patience).await,
            Some(deadlines) => self.look(handle, oldest, left(deadlines.unknown)).await,
            None => {
                let refreshed = self.engine.refresh(handle, oldest).await;
                self.troubles.note(&handle.id, &refreshed);
                Some(refreshed)
            }
        };
        if first {
            self.pusher.resume(handle); // what a former process left behind
        }
        self.meet_members(handle, patience).await;
        let Some(refreshed) = refreshed else {
            let why = self.troubles.of(&handle.id).unwrap_or_else(|| "it has not answered yet".to_owned());
            if handle.read().plan.is_none() {
                return Err(Error::new(ErrorCode::GraphUnreachable, format!("Planner could not be asked ({why})")));
            }
            return Ok(Some(format!("Planner could not be asked ({why}): this is the replica's last state")));
        };
        match refreshed {
            Ok(refreshed) if refreshed.held_back > 0 => {
                let brake = handle.read().state.brake.as_ref().map(ToString::to_string).unwrap_or_default();
                Ok(Some(format!("{brake}; that is not followed until somebody confirms it")))
            }
            Ok(_) => Ok(None),
            Err(RefreshError::PlanGone) => {
                self.catalog.drop_plan(&handle.id);
                Err(RefreshError::PlanGone.into())
            }
            Err(error) if handle.read().plan.is_some() => {
                tracing::warn!(plan = %handle.id, %error, "a plan cannot be refreshed");
                let error = Error::from(error);
                Ok(Some(format!("Planner could not be asked ({}): this is the replica's last state", error.message)))
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Has a plan looked at unless that was done since `oldest`; `None` while Planner has yet to answer.
    async fn look(
        &self,
        handle: &Arc<PlanHandle>,
        oldest: DateTime<Utc>,
        patience: Duration,
    ) -> Option<Result<Refreshed, RefreshError>> {
        let answer = self.join_look(handle, oldest, patience).await;
        if matches!(answer, Some(Ok(_))) && handle.as_of().is_none_or(|as_of| as_of < oldest) {
            return self.join_look(handle, oldest, patience).await; // that was the answer to an earlier question
        }
        answer
    }

    /// As [`Self::look`], or what comes of the look that is under way.
    async fn join_look(
        &self,
        handle: &Arc<PlanHandle>,
        oldest: DateTime<Utc>,
        patience: Duration,
    ) -> Option<Result<Refreshed, RefreshError>> {
        let question = || {
            let (engine, troubles, handle) = (self.engine.clone(), self.troubles.clone(), handle.clone());
            async move {
                let refreshed = engine.refresh(&handle, oldest).await;
                troubles.note(&handle.id, &refreshed);
                refreshed
            }
        };
        self.refreshing.ask(handle.id.clone(), patience, question).await
    }

    /// Makes sure that the members of a plan's group are known by name.
    async fn meet_members(&self, handle: &PlanHandle, patience: Duration) {
        let group = handle.read().plan.as_ref().and_then(|plan| plan.group.clone());
        if let Some(group) = group.filter(|group| !self.people.has_met_group(group)) {
            let people = self.people.clone();
            let question = || {
                let group = group.clone();
                async move { people.meet_group(&group).await }
            };
            self.meeting.ask(group.clone(), patience, question).await;
        }
    }

    fn now(&self) -> DateTime<Utc> {
        self.clock.now()
    }
}

/// The plan's own row; whoever waited for the replica to be ready has one.
fn known_plan(replica: &Replica) -> Result<Arc<PlanRecord>, Error> {
    let plan = replica.plan.clone();
    plan.ok_or_else(|| Error::new(ErrorCode::PlanNotFound, "the plan has not been read yet"))
}

/// When Planner was last asked about a plan, as callers see it.
fn as_of(handle: &PlanHandle) -> Option<String> {
    handle.as_of().map(words::print_time)
}

/// A name nothing in a list has, with what there is; what may have been meant comes first.
fn not_found(code: ErrorCode, kind: &str, text: &str, known: impl Iterator<Item = String>) -> Error {
    let error = Error::new(code, format!("there is no {kind} `{text}`; nothing was changed"));
    let (mut close, others): (Vec<String>, Vec<String>) = known.partition(|name| words::is_close(name, text));
    let known: Vec<String> = close.iter().cloned().chain(others).take(30).collect();
    close.truncate(5);
    match (close.is_empty(), known.is_empty()) {
        (_, true) => error,
        (true, false) => error.hint(format!("known: {}", known.join(", "))),
        (false, false) => error.hint(format!("close: {}; known: {}", close.join(", "), known.join(", "))),
    }
}
