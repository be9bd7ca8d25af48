//! What a plan looked like on earlier days: a snapshot a day and every change that was seen, kept in a partition of
//! their own, so that keeping them never disturbs the plan's.
//!
//! | row | what |
//! |---|---|
//! | `l` | the state of every task when it was last looked at |
//! | `d\|2026-11-25` | the counts of a day, as of the last look on it |
//! | `m\|{milliseconds}` | what had changed between two looks |
//!
//! A look is one transaction that rests on the version of `l`: of two instances that look at once, one finds the
//! other's look done and nothing left to write. Nothing is known of the days before the first look, and nothing is made
//! up for them.

use std::collections::BTreeMap;
use std::sync::Arc;

use chrono::{DateTime, NaiveDate, Utc};
use serde::{Deserialize, Serialize};

use super::counts::{self, bucket};
use super::facts::{PlanFacts, Status};
use crate::rows::{Expect, Row, StoreError, Tables, Write, prefix_end, scan_prefix};

/// How often a look is tried again after another instance was faster.
const MAX_TRIES: usize = 5;
/// Changes in one row: some 100 bytes each, of the 900 KB a row may have.
const CHANGES_IN_ROW: usize = 4000;

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
    /// Open and past the due date.
    pub late: usize,
    /// Tasks by bucket, in board order, completed ones too.
    pub buckets: Vec<(String, usize)>,
}

impl Snapshot {
    /// The counts of a plan on `today`.
    #[must_use]
    pub fn of(plan: &PlanFacts, today: NaiveDate) -> Self {
        let mut snapshot =
            Self { buckets: plan.buckets.iter().map(|name| (name.clone(), 0)).collect(), ..Self::default() };
        for task in &plan.tasks {
            match task.status() {
                Status::NotStarted => snapshot.not_started += 1,
                Status::InProgress => snapshot.in_progress += 1,
                Status::Completed => snapshot.completed += 1,
            }
            snapshot.late += usize::from(task.days_late(today).is_some());
            if let Some((_, tasks)) = task.bucket.and_then(|place| snapshot.buckets.get_mut(place)) {
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
    /// Changes in the order they were seen, with the time of the look.
    pub changes: Vec<(DateTime<Utc>, Change)>,
}

/// The state of all tasks at the last look, by id.
type States = BTreeMap<String, State>;

/// The last look: the value of the `l` row.
#[derive(Serialize, Deserialize)]
struct Last {
    /// Counts the looks that wrote something: two looks within a millisecond keep rows of their own.
    looks: u64,
    tasks: States,
}

/// What changed between two looks; pure.
#[must_use]
pub fn difference(before: &States, now: &States) -> Vec<Change> {
    let gone = before.iter().filter(|(task, _)| !now.contains_key(*task));
    let gone = gone.map(|(task, state)| Change { task: task.clone(), from: Some(state.clone()), to: None });
    let other = now.iter().filter(|(task, state)| before.get(*task) != Some(*state));
    let other = other.map(|(task, state)| Change {
        task: task.clone(),
        from: before.get(task).cloned(),
        to: Some(state.clone()),
    });
    gone.chain(other).collect()
}

fn states(plan: &PlanFacts) -> States {
    let state =
        |task: &super::facts::TaskFacts| State { bucket: bucket(plan, task).map(str::to_owned), percent: task.percent };
    plan.tasks.iter().map(|task| (task.id.clone(), state(task))).collect()
}

/// What was done at a look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Looked {
    /// The same as before on the same day.
    NothingNew,
    /// Something was written.
    Recorded,
}

/// Keeps and reads the past.
#[derive(Clone)]
pub struct Recorder {
    tables: Arc<dyn Tables>,
    tenant: String,
}

impl Recorder {
    /// A recorder on the store.
    #[must_use]
    pub fn new(tables: Arc<dyn Tables>, tenant: &str) -> Self {
        Self { tables, tenant: tenant.to_owned() }
    }

    fn partition(&self, plan: &str) -> String {
        format!("{}|{plan}|history", self.tenant)
    }

    /// Looks at a plan: keeps the counts of `today` and whatever changed since the last look. Looking again is harmless.
    ///
    /// # Errors
    /// When the store fails, or other instances keep looking at the same moment.
    pub async fn look(&self, plan: &PlanFacts, today: NaiveDate, now: DateTime<Utc>) -> Result<Looked, StoreError> {
        let partition = self.partition(&plan.id);
        let (seen, snapshot, day) = (states(plan), Snapshot::of(plan, today), format!("d|{today}"));
        let mut tries = 0;
        loop {
            let row = self.tables.get(&partition, "l").await?;
            let last = row.as_ref().map(Row::decode::<Last>).transpose()?;
            let changes = match &last {
                Some(last) => difference(&last.tasks, &seen),
                None => Vec::new(), // the first look knows nothing of what came before
            };
            if last.is_some() && changes.is_empty() {
                let kept = self.tables.get(&partition, &day).await?;
                if kept.map(|row| row.decode::<Snapshot>()).transpose()?.as_ref() == Some(&snapshot) {
                    return Ok(Looked::NothingNew);
                }
            }
            let expect = row.map_or(Expect::Absent, |row| Expect::Version(row.version));
            let looks = last.map_or(0, |last| last.looks) + 1;
            let last = Last { looks, tasks: seen.clone() };
            let mut writes = vec![Write::put("l", expect, &last)?, Write::upsert(day.clone(), &snapshot)?];
            for (nth, part) in changes.chunks(CHANGES_IN_ROW).enumerate() {
                let key = format!("m|{:013}|{looks:010}|{nth}", now.timestamp_millis());
                writes.push(Write::insert(key, &part)?);
            }
            match self.tables.commit(&partition, writes).await {
                Ok(_) => return Ok(Looked::Recorded),
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
        let partition = self.partition(plan);
        let mut history = History::default();
        for row in scan_prefix(self.tables.as_ref(), &partition, "d|").await? {
            if let Some(day) = day_of(&row) {
                history.days.insert(day, row.decode()?);
            }
        }
        let from = since.and_time(chrono::NaiveTime::MIN).and_utc().timestamp_millis() - 86_400_000;
        let mut from = format!("m|{:013}", from.max(0));
        loop {
            let page = self.tables.scan(&partition, &from, &prefix_end("m|"), 1000).await?;
            for row in &page.rows {
                let at = row.key.split('|').nth(1).and_then(|millis| millis.parse().ok());
                let Some(at) = at.and_then(DateTime::from_timestamp_millis) else { continue };
                history.changes.extend(row.decode::<Vec<Change>>()?.into_iter().map(|change| (at, change)));
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
        let partition = self.partition(plan);
        let millis = since.and_time(chrono::NaiveTime::MIN).and_utc().timestamp_millis().max(0);
        let spans = [("d|".to_owned(), format!("d|{since}")), ("m|".to_owned(), format!("m|{millis:013}"))];
        let mut forgotten = 0;
        for (from, to) in spans {
            loop {
                let page = self.tables.scan(&partition, &from, &to, crate::rows::MAX_ROWS_PER_COMMIT).await?;
                if page.rows.is_empty() {
                    break;
                }
                forgotten += page.rows.len();
                let delete = |row: Row| Write::delete(row.key, Expect::Anything);
                self.tables.commit(&partition, page.rows.into_iter().map(delete).collect()).await?;
            }
        }
        Ok(forgotten)
    }
}

fn day_of(row: &Row) -> Option<NaiveDate> {
    row.key.strip_prefix("d|")?.parse().ok()
}

/// Open tasks day by day as far as creation and completion dates of today's tasks tell: without those deleted since.
#[must_use]
pub fn reconstructed(plan: &PlanFacts, days: &counts::Days, day: NaiveDate) -> usize {
    let was_open = |task: &&super::facts::TaskFacts| {
        let created = task.created_at.is_none_or(|at| days.of(at) <= day);
        let done = !task.is_open() && task.completed_at.is_none_or(|at| days.of(at) <= day);
        created && !done
    };
    plan.tasks.iter().filter(was_open).count()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::services::reports::sample;
    use crate::store::MemoryTables;

    fn day(n: i64) -> NaiveDate {
        NaiveDate::from_ymd_opt(2026, 3, 1).unwrap() + chrono::TimeDelta::days(n)
    }

    fn noon(day: NaiveDate) -> DateTime<Utc> {
        day.and_hms_opt(12, 0, 0).unwrap().and_utc()
    }

    #[tokio::test]
    async fn looking_twice_is_looking_once() {
        let recorder = Recorder::new(Arc::new(MemoryTables::default()), "t");
        let mut plan = sample::plan(20, day(0));
        assert_eq!(recorder.look(&plan, day(0), noon(day(0))).await.unwrap(), Looked::Recorded);
        assert_eq!(recorder.look(&plan, day(0), noon(day(0))).await.unwrap(), Looked::NothingNew);
        plan.tasks[3].percent = 100 - plan.tasks[3].percent.min(99);
        plan.tasks.remove(5);
        recorder.look(&plan, day(1), noon(day(1))).await.unwrap();
        recorder.look(&plan, day(1), noon(day(1))).await.unwrap();
        let history = recorder.read(&plan.id, day(0)).await.unwrap();
        assert_eq!((history.days.len(), history.changes.len()), (2, 2));
        assert_eq!(recorder.forget_before(&plan.id, day(1)).await.unwrap(), 1);
        assert_eq!(recorder.read(&plan.id, day(0)).await.unwrap().days.len(), 1);
    }

    #[tokio::test]
    async fn of_many_instances_that_look_at_once_the_change_is_kept_once() {
        let recorder = Recorder::new(Arc::new(MemoryTables::default()), "t");
        let mut plan = sample::plan(20, day(0));
        recorder.look(&plan, day(0), noon(day(0))).await.unwrap();
        plan.tasks[3].bucket = plan.tasks[3].bucket.map(|place| (place + 1) % plan.buckets.len());
        let looks = (0..20).map(|n| recorder.look(&plan, day(1), noon(day(1)) + chrono::TimeDelta::milliseconds(n)));
        for look in futures::future::join_all(looks).await {
            look.unwrap();
        }
        assert_eq!(recorder.read(&plan.id, day(0)).await.unwrap().changes.len(), 1);
    }

    proptest! {
        /// Played forward from the first look, the changes give every recorded day's counts: a burndown drawn from the
        /// days cannot contradict the journal of changes.
        #[test]
        fn the_days_never_contradict_the_changes(edits in prop::collection::vec((0usize..12, 0u8..=100, 0usize..4, any::<bool>()), 1..60)) {
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            let recorder = Recorder::new(Arc::new(MemoryTables::default()), "t");
            let mut plan = sample::plan(12, day(0));
            let mut known = states(&plan);
            runtime.block_on(recorder.look(&plan, day(0), noon(day(0)))).unwrap();
            for (n, (place, percent, bucket, delete)) in edits.into_iter().enumerate() {
                let today = day(i64::try_from(n / 3).unwrap() + 1);
                match plan.tasks.get_mut(place) {
                    Some(_) if delete => { plan.tasks.remove(place); }
                    Some(task) => { task.percent = percent; task.bucket = Some(bucket); }
                    None => plan.tasks.extend(sample::plan(1, today).tasks.into_iter().map(|mut task| { task.id = format!("n{n}"); task })),
                }
                let at = noon(today) + chrono::TimeDelta::minutes(i64::try_from(n).unwrap());
                runtime.block_on(recorder.look(&plan, today, at)).unwrap();
            }
            let history = runtime.block_on(recorder.read(&plan.id, day(0))).unwrap();
            let mut changes = history.changes.iter().peekable();
            for (date, snapshot) in &history.days {
                while let Some((_, change)) = changes.next_if(|(at, _)| at.date_naive() <= *date) {
                    prop_assert_eq!(known.get(&change.task), change.from.as_ref());
                    match &change.to {
                        Some(state) => { known.insert(change.task.clone(), state.clone()); }
                        None => { known.remove(&change.task); }
                    }
                }
                prop_assert_eq!(snapshot.open(), known.values().filter(|state| state.percent < 100).count());
                for (name, tasks) in &snapshot.buckets {
                    prop_assert_eq!(*tasks, known.values().filter(|state| state.bucket.as_ref() == Some(name)).count());
                }
            }
        }
    }
}
