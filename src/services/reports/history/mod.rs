//! The state of a plan on earlier days: a snapshot a day and every change, kept in a partition of their own, so that
//! keeping them never disturbs the plan's.
//!
//! | row | what |
//! |---|---|
//! | `l` | the state of every task when it was last recorded |
//! | `d\|2026-11-25` | the counts at the end of a day, or as of the last record on it |
//! | `m\|{milliseconds}` | what had changed between two records |
//!
//! Recording plays the plan's journal forward from the record before: each change keeps its own time, and each day that ended
//! meanwhile gets the counts it ended with, no matter when it is recorded. What the journal does not explain, such as a renamed
//! bucket or events that are kept no more, is the difference of the two records. The rows of a record are written
//! together and rest on the version of `l`: of two instances that record at once, one finds the other's record. Nothing is
//! known of the days before the first record, and nothing is made up for them.

mod play;

use std::collections::{BTreeMap, BTreeSet, HashSet};

use chrono::{DateTime, NaiveDate, Utc};
use chrono_tz::Tz;
use serde::{Deserialize, Serialize};

pub use self::play::Journal;
use self::play::{Played, play};
use super::counts::{self, bucket};
use crate::rows::{Expect, Partition, Row, StoreError, TenantTables, Write, prefix_end};
use crate::services::planner::facts::{PlanFacts, TaskFacts};
use crate::services::planner::words::Status;

/// How often recording is tried again after another instance was faster.
const MAX_TRIES: usize = 5;
/// Changes in one row at most, and their characters: a row in Table Storage has half a million UTF-16 units at most.
const CHANGES_IN_ROW: usize = 4000;
const CHARACTERS_IN_ROW: usize = 200_000;
/// Days one record adds at most; the rest of a transaction is for changes.
const MOST_DAYS: usize = 60;

/// The state of a task, as far as history keeps it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct State {
    /// The name of its bucket at that time.
    #[serde(rename = "b", default, skip_serializing_if = "Option::is_none")]
    pub bucket: Option<String>,
    /// Its progress.
    #[serde(rename = "p")]
    pub percent: u8,
}

/// A change of one task: seen first without `from`, gone without `to`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    /// When it happened; when it was seen, where the journal does not tell.
    #[serde(rename = "a", with = "chrono::serde::ts_milliseconds")]
    pub at: DateTime<Utc>,
    /// Our id of the task.
    #[serde(rename = "t")]
    pub task: String,
    /// What it was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<State>,
    /// What it became.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<State>,
}

/// The counts of a day.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Snapshot {
    /// Not started.
    pub not_started: usize,
    /// In progress.
    pub in_progress: usize,
    /// Completed.
    pub completed: usize,
    /// Tasks by bucket, in board order, completed ones too.
    pub buckets: Vec<(String, usize)>,
}

impl Snapshot {
    /// The counts of a plan.
    #[must_use]
    pub fn of(plan: &PlanFacts) -> Self {
        Self::counted(&states(plan), &plan.buckets)
    }

    fn counted(tasks: &States, buckets: &[String]) -> Self {
        let mut snapshot = Self { buckets: buckets.iter().map(|name| (name.clone(), 0)).collect(), ..Self::default() };
        for state in tasks.values() {
            match Status::of(state.percent) {
                Status::NotStarted => snapshot.not_started += 1,
                Status::InProgress => snapshot.in_progress += 1,
                Status::Completed => snapshot.completed += 1,
            }
            let counted = |(name, _): &&mut (String, usize)| state.bucket.as_ref() == Some(name);
            // Of two buckets with one name the first has the tasks of both: the board's columns are known by name.
            if let Some((_, tasks)) = snapshot.buckets.iter_mut().find(counted) {
                *tasks += 1;
            }
        }
        snapshot
    }

    /// Not completed.
    #[must_use]
    pub const fn open(&self) -> usize {
        self.not_started + self.in_progress
    }
}

/// Everything known of a plan's past.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct History {
    /// The recorded days.
    pub days: BTreeMap<NaiveDate, Snapshot>,
    /// Changes in order, each with its time: the journal's, or that of the record that found it.
    pub changes: Vec<Change>,
}

/// What is known of a task that is there no more.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Past {
    /// When it was seen to appear, if that was recorded.
    pub created_at: Option<DateTime<Utc>>,
    /// When it was completed for the last time, if it was when it went.
    pub completed_at: Option<DateTime<Utc>>,
}

impl History {
    /// The tasks that went, and did not come back.
    #[must_use]
    pub fn gone(&self, plan: &PlanFacts) -> Vec<Past> {
        let there: HashSet<&str> = plan.tasks.iter().map(|task| task.id.as_str()).collect();
        let mut pasts: BTreeMap<&str, Past> = BTreeMap::new();
        let is_done = |state: &Option<State>| state.as_ref().is_some_and(|state| state.percent == 100);
        for change in self.changes.iter().filter(|change| !there.contains(change.task.as_str())) {
            let past = pasts.entry(&change.task).or_default();
            if change.from.is_none() {
                past.created_at = Some(change.at);
            }
            match (is_done(&change.from), is_done(&change.to)) {
                (false, true) => past.completed_at = Some(change.at),
                (true, false) if change.to.is_some() => past.completed_at = None,
                _ => {}
            }
        }
        pasts.into_values().collect()
    }
}

/// The state of all tasks at the last record, by id.
type States = BTreeMap<String, State>;

/// The last record: the value of the `l` row.
#[derive(Deserialize)]
#[serde(from = "Packed")]
struct Last {
    /// Counts the records that wrote something: two within a millisecond have rows of their own.
    records: u64,
    /// The newest transaction of the plan that is part of it.
    sequence: u64,
    /// When it was.
    at: DateTime<Utc>,
    tasks: States,
}

/// It as it is kept: each name of a bucket once, so that the tasks of the largest plan fit in a row.
#[derive(Serialize, Deserialize)]
struct Packed {
    records: u64,
    #[serde(default)]
    sequence: u64,
    #[serde(default)]
    at: DateTime<Utc>,
    #[serde(default)]
    buckets: Vec<String>,
    tasks: BTreeMap<String, PackedState>,
}

/// The place of the bucket's name, and the progress; a state by itself in rows of former versions.
#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum PackedState {
    Placed(Option<usize>, u8),
    Whole(State),
}

impl From<Packed> for Last {
    fn from(packed: Packed) -> Self {
        let Packed { records, sequence, at, buckets, tasks } = packed;
        let state = |kept| match kept {
            PackedState::Placed(place, percent) => {
                State { bucket: place.and_then(|place| buckets.get(place).cloned()), percent }
            }
            PackedState::Whole(state) => state,
        };
        Self { records, sequence, at, tasks: tasks.into_iter().map(|(task, kept)| (task, state(kept))).collect() }
    }
}

impl Packed {
    fn of(records: u64, sequence: u64, at: DateTime<Utc>, tasks: &States) -> Self {
        let names: BTreeSet<&String> = tasks.values().filter_map(|state| state.bucket.as_ref()).collect();
        let buckets: Vec<String> = names.into_iter().cloned().collect();
        let placed = |state: &State| {
            let place = state.bucket.as_ref().and_then(|name| buckets.binary_search(name).ok());
            PackedState::Placed(place, state.percent)
        };
        let tasks = tasks.iter().map(|(task, state)| (task.clone(), placed(state))).collect();
        Self { records, sequence, at, buckets, tasks }
    }
}

fn states(plan: &PlanFacts) -> States {
    let state = |task: &TaskFacts| State { bucket: bucket(plan, task).map(str::to_owned), percent: task.percent };
    plan.tasks.iter().map(|task| (task.id.clone(), state(task))).collect()
}

/// What recording came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// The same as before on the same day.
    NothingNew,
    /// Something was written.
    Recorded,
}

/// Keeps and reads the past.
#[derive(Clone)]
pub struct Recorder {
    tables: TenantTables,
}

impl Recorder {
    /// A recorder on the store.
    #[must_use]
    pub fn new(tables: TenantTables) -> Self {
        Self { tables }
    }

    fn rows(&self, plan: &str) -> Partition {
        self.tables.partition(format_args!("{plan}|history"))
    }

    /// Records the counts of the day, and what changed since the last record. Recording again is harmless.
    ///
    /// # Errors
    /// When the store fails, or other instances keep recording at the same moment.
    pub async fn record(
        &self,
        plan: &PlanFacts,
        journal: Journal<'_>,
        zone: Tz,
        now: DateTime<Utc>,
    ) -> Result<Outcome, StoreError> {
        let rows = self.rows(&plan.id);
        let today = now.with_timezone(&zone).date_naive();
        let (seen, snapshot, day) = (states(plan), Snapshot::of(plan), format!("d|{today}"));
        let mut tries = 0;
        loop {
            let row = rows.get("l").await?;
            let last = row.as_ref().map(Row::decode::<Last>).transpose()?;
            let played = match &last {
                // Another instance has recorded a later state of the plan meanwhile.
                Some(last) if last.sequence > plan.sequence => return Ok(Outcome::NothingNew),
                Some(last) if last.sequence == plan.sequence => play(last, &[], plan, &seen, zone, now),
                Some(last) => play(last, &journal(last.sequence).await?, plan, &seen, zone, now),
                None => Played::default(), // the first record knows nothing of what came before
            };
            if last.is_some() && played == Played::default() {
                let kept = rows.get(&day).await?;
                if kept.map(|row| row.decode::<Snapshot>()).transpose()?.as_ref() == Some(&snapshot) {
                    return Ok(Outcome::NothingNew);
                }
            }
            let expect = row.map_or(Expect::Absent, |row| Expect::Version(row.version));
            let records = last.map_or(0, |last| last.records) + 1;
            let last = Packed::of(records, plan.sequence, now, &seen);
            let mut writes = vec![Write::put("l", expect, &last)?, Write::upsert(day.clone(), &snapshot)?];
            // The last days matter most, should a record after months have more changes than a transaction holds.
            for (ended, counts) in played.ended.iter().rev().take(MOST_DAYS) {
                writes.push(Write::upsert(format!("d|{ended}"), counts)?);
            }
            for (nth, part) in rows_of(&played.changes).enumerate() {
                let key = format!("m|{:013}|{records:010}|{nth}", now.timestamp_millis());
                writes.push(Write::insert(key, &part)?);
            }
            match rows.commit(writes).await {
                Ok(_) => return Ok(Outcome::Recorded),
                Err(error) if error.is_conflict() && tries < MAX_TRIES => tries += 1,
                Err(error) => return Err(error),
            }
        }
    }

    /// The past of a plan from `since` on.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn read(&self, plan: &str, since: NaiveDate) -> Result<History, StoreError> {
        let rows = self.rows(plan);
        let mut history = History::default();
        for row in rows.scan_prefix("d|").await? {
            if let Some(day) = day_of(&row) {
                history.days.insert(day, row.decode()?);
            }
        }
        let from = since.and_time(chrono::NaiveTime::MIN).and_utc().timestamp_millis() - 86_400_000;
        let mut from = format!("m|{:013}", from.max(0));
        loop {
            let page = rows.scan(&from, &prefix_end("m|"), 1000).await?;
            for row in &page.rows {
                history.changes.extend(row.decode::<Vec<Change>>()?);
            }
            match page.next {
                Some(next) => from = next,
                None => return Ok(history),
            }
        }
    }

    /// Forgets days and changes before `since`.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn forget_before(&self, plan: &str, since: NaiveDate) -> Result<usize, StoreError> {
        let rows = self.rows(plan);
        let millis = since.and_time(chrono::NaiveTime::MIN).and_utc().timestamp_millis().max(0);
        let spans = [("d|".to_owned(), format!("d|{since}")), ("m|".to_owned(), format!("m|{millis:013}"))];
        let mut forgotten = 0;
        for (from, to) in spans {
            loop {
                let page = rows.scan(&from, &to, crate::rows::MAX_ROWS_PER_COMMIT).await?;
                if page.rows.is_empty() {
                    break;
                }
                forgotten += page.rows.len();
                let delete = |row: Row| Write::delete(row.key, Expect::Anything);
                rows.commit(page.rows.into_iter().map(delete).collect()).await?;
            }
        }
        Ok(forgotten)
    }
}

/// Changes in the order they came, cut where a row is full.
fn rows_of(changes: &[Change]) -> impl Iterator<Item = &[Change]> {
    let length = |change: &Change| {
        let state =
            |state: &Option<State>| state.as_ref().and_then(|state| state.bucket.as_ref()).map_or(0, String::len);
        120 + state(&change.from) + state(&change.to)
    };
    let mut rest = changes;
    std::iter::from_fn(move || {
        let mut characters = 0;
        let fits = |change: &&Change| {
            characters += length(change);
            characters <= CHARACTERS_IN_ROW
        };
        let fitting = rest.iter().take(CHANGES_IN_ROW).take_while(fits).count().max(1);
        let (row, after) = rest.split_at_checked(fitting)?;
        rest = after;
        Some(row)
    })
}

fn day_of(row: &Row) -> Option<NaiveDate> {
    row.key.strip_prefix("d|")?.parse().ok()
}

/// Open tasks day by day as far as creation and completion dates of today's tasks tell: without those deleted since.
#[must_use]
pub fn reconstructed(plan: &PlanFacts, days: &counts::Days, day: NaiveDate) -> usize {
    let was_open = |task: &&TaskFacts| {
        let created = task.created_at.is_none_or(|at| days.of(at) <= day);
        let done = !task.is_open() && task.completed_at.is_none_or(|at| days.of(at) <= day);
        created && !done
    };
    plan.tasks.iter().filter(was_open).count()
}

#[cfg(test)]
mod tests;
