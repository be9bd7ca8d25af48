//! The log as others use it: operations are recorded, rows read and deleted.

use std::collections::{BTreeSet, HashSet};
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Days, NaiveDate, TimeDelta, Utc};
use parking_lot::Mutex;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tokio::sync::{mpsc, oneshot};

use super::counts::Counts;
use super::writer::{Job, Writer};
use super::{Entry, Noted, Operation, Policy, Scope, is_row_id, row_key};
use crate::auth::Ongoing;
use crate::clock::Clock;
use crate::ids::{Entropy, TaskId};
use crate::rows::{Expect, MAX_ROWS_PER_COMMIT, Partition, TenantTables, Write, prefix_end};
use crate::services::Error;

/// Rows that may wait before callers wait too.
const WAITING: usize = 2000;
/// How long an operation that has happened waits for its row.
const PATIENCE: Duration = Duration::from_secs(3);
/// Rows on a page unless asked otherwise, and most.
const PAGE: usize = 100;
const MAX_PAGE: usize = 1000;
/// Days before the oldest kept one that a sweep goes through: for so long sweeping may have failed and nothing stays.
const SWEPT_DAYS: u64 = 31;
/// How often a reader has traces searched for.
const COLLECT_EVERY: TimeDelta = TimeDelta::seconds(2);

/// What a sweep came to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Swept {
    /// Rows deleted.
    pub rows: usize,
}

/// The log; a cheap handle.
#[derive(Clone)]
pub struct Audit {
    jobs: mpsc::Sender<Job>,
    pub(super) tables: TenantTables,
    policy: Policy,
    clock: Clock,
    entropy: Entropy,
    counts: Arc<Counts>,
    /// Partitions with traces of operations that have ended here.
    traced: Arc<Mutex<BTreeSet<String>>>,
    collected_at: Arc<Mutex<Option<DateTime<Utc>>>>,
}

/// Rows of a day, the oldest first.
#[derive(Debug, Serialize, JsonSchema)]
pub struct AuditPage {
    /// The operations.
    pub entries: Vec<Entry>,
    /// Whether this page ends the day.
    pub complete: bool,
    /// Where the next page begins.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cursor: Option<String>,
}

/// Which rows are wanted.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AuditQuery {
    /// The day (UTC); today if omitted
    pub day: Option<NaiveDate>,
    /// Only of this caller
    pub caller: Option<String>,
    /// Only this operation: a tool's name, or method and path
    pub operation: Option<String>,
    /// Rows on the page
    #[schemars(range(min = 1, max = 1000))]
    pub limit: Option<u32>,
    /// Where a former page ended
    pub cursor: Option<String>,
}

/// Whose rows a reader may see.
#[derive(Debug, Clone)]
pub enum Visible {
    /// All.
    All,
    /// Those that name plans, and only some: by Planner's id, or by the key their tasks' ids begin with.
    Plans(HashSet<String>),
}

impl Visible {
    fn shows(&self, entry: &Entry) -> bool {
        let Self::Plans(plans) = self else { return true };
        let mut named = false;
        let within = entry.target.iter().all(|(kind, ids)| {
            ids.split(' ').all(|id| {
                let plan = match kind.as_str() {
                    "plan_id" => Some(id.to_owned()),
                    _ => TaskId::parse(id).ok().map(|task| task.plan_key().to_string()),
                };
                named |= plan.is_some();
                plan.is_none_or(|plan| plans.contains(&plan))
            })
        });
        named && within
    }
}

impl Audit {
    /// The log of a tenant, and what writes it.
    #[must_use]
    pub fn new(tables: TenantTables, policy: Policy, clock: Clock, entropy: Entropy) -> (Self, Writer) {
        let (sender, jobs) = mpsc::channel(WAITING);
        let counts = Arc::new(Counts::default());
        let log = Self {
            jobs: sender,
            tables,
            policy,
            clock: clock.clone(),
            entropy,
            counts: counts.clone(),
            traced: Arc::default(),
            collected_at: Arc::default(),
        };
        let quiet = Self { jobs: mpsc::channel(1).0, ..log.clone() }; // else the writer would wait for itself
        (log, Writer { jobs, log: quiet, clock, counts })
    }

    /// The rows of a day.
    pub(super) fn day(&self, day: NaiveDate) -> Partition {
        self.tables.partition(format_args!("audit|{}", day.format("%Y-%m-%d")))
    }

    /// Begins an operation.
    #[must_use]
    pub fn begin(&self, operation: &Operation<'_>) -> Noted {
        let at = self.clock.now();
        let entry = operation.entry(self.entropy.ulid(at), at);
        let row = serde_json::to_value(&entry).unwrap_or_default();
        let ongoing = Arc::new(Ongoing::new(entry.id.clone(), row));
        Noted { entry, ongoing, always: false }
    }

    /// Writes an operation down that has ended. One that writes is kept when this returns, or, should the store not
    /// answer, said to be missing in the program's own log; what it did in the store has its row all the same.
    pub async fn record(&self, noted: Noted, outcome: &str, took: Duration) {
        let Noted { mut entry, ongoing, always } = noted;
        entry.outcome = outcome.to_owned();
        entry.ms = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
        entry.target.extend(ongoing.touched());
        let traced = ongoing.partitions();
        entry.writes |= !traced.is_empty(); // a report that is stored is a write, even if its tool only reads
        self.traced.lock().extend(traced);
        if !(entry.writes || always || self.policy.scope == Scope::All) {
            if self.policy.scope == Scope::Counted {
                self.counts.count(&entry, took, &self.entropy);
            }
            return;
        }
        let (writes, id) = (entry.writes, entry.id.clone());
        let (done, kept) = oneshot::channel();
        if self.jobs.send(Job::Row(Box::new(entry), writes.then_some(done))).await.is_err() {
            return; // the program is stopping
        }
        if writes && !matches!(self.clock.timeout(PATIENCE, kept).await, Some(Ok(()))) {
            tracing::error!(id, "an operation that wrote is not in the audit log yet");
        }
    }

    /// Writes down that a caller was not let in, or not let do something. Nobody waits for that row; of many alike within
    /// an hour most are only counted.
    pub async fn refused(&self, operation: &Operation<'_>, outcome: &str) {
        let at = self.clock.now();
        let mut entry = operation.entry(self.entropy.ulid(at), at);
        outcome.clone_into(&mut entry.outcome);
        if self.counts.is_single(&entry, &self.entropy) {
            let _ = self.jobs.send(Job::Row(Box::new(entry), None)).await; // else the program is stopping
        }
    }

    /// Completes once everything recorded so far is written, counts included.
    pub async fn flush(&self) {
        let (done, written) = oneshot::channel();
        if self.jobs.send(Job::Flush(done)).await.is_ok() {
            let _ = written.await; // a writer that is gone has written what it could
        }
    }

    /// The partitions with traces of operations that have ended; from now on there are none.
    pub(super) fn take_traced(&self) -> BTreeSet<String> {
        std::mem::take(&mut *self.traced.lock())
    }

    /// Deletes the rows of days that are kept no longer.
    ///
    /// # Errors
    /// When the store fails; what was deleted until then stays deleted.
    pub async fn sweep(&self) -> Result<Swept, Error> {
        self.collect_all().await?;
        let mut swept = Swept::default();
        let Some(days) = self.policy.days else { return Ok(swept) };
        let today = self.clock.now().date_naive();
        for back in 1..=SWEPT_DAYS {
            let Some(day) = today.checked_sub_days(Days::new(days.saturating_add(back))) else { break };
            let log = self.day(day);
            loop {
                let page = log.scan("a|", &prefix_end("a|"), MAX_ROWS_PER_COMMIT).await?;
                if page.rows.is_empty() {
                    break;
                }
                let rows = page.rows.iter();
                let writes: Vec<Write> = rows.map(|row| Write::delete(row.key.clone(), Expect::Anything)).collect();
                swept.rows += writes.len();
                log.commit(writes).await?;
            }
        }
        Ok(swept)
    }

    /// Reads rows of a day that a reader may see, those of what was interrupted among them.
    ///
    /// # Errors
    /// When the store does not answer or a row is damaged.
    pub async fn list(&self, query: &AuditQuery, visible: &Visible) -> Result<AuditPage, Error> {
        self.flush().await;
        if self.may_collect() {
            self.collect_all().await?;
        }
        let limit = query.limit.map_or(PAGE, |limit| usize::try_from(limit).unwrap_or(MAX_PAGE).clamp(1, MAX_PAGE));
        let day = query.day.unwrap_or_else(|| self.clock.now().date_naive());
        let rows = self.day(day);
        let mut from = query.cursor.as_deref().filter(|text| is_row_id(text)).map_or_else(|| "a|".to_owned(), row_key);
        let mut entries = Vec::new();
        loop {
            let page = rows.scan(&from, &prefix_end("a|"), MAX_PAGE).await?;
            for row in &page.rows {
                let entry: Entry = row.decode()?;
                let wanted = query.caller.as_ref().is_none_or(|caller| *caller == entry.caller)
                    && query.operation.as_ref().is_none_or(|operation| *operation == entry.operation);
                if !wanted || !visible.shows(&entry) {
                    continue;
                }
                if entries.len() == limit {
                    return Ok(AuditPage { entries, complete: false, cursor: Some(entry.id) });
                }
                entries.push(entry);
            }
            match page.next {
                Some(next) => from = next,
                None => return Ok(AuditPage { entries, complete: true, cursor: None }),
            }
        }
    }

    fn may_collect(&self) -> bool {
        let now = self.clock.now();
        let mut at = self.collected_at.lock();
        let due = at.is_none_or(|at| now - at >= COLLECT_EVERY);
        if due {
            *at = Some(now);
        }
        due
    }
}
