//! The audit log: who did what, to what, and how it ended. A row for every operation of a caller, in the partition of its
//! tenant and day.
//!
//! Rows hold ids and digests, never texts of people. One task writes them, many at a time; an operation that writes waits
//! until its row is kept, one that reads does not. A store that keeps nothing gets the rows of writes alone, because a
//! log of every read would only fill the memory.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Days, NaiveDate, Utc};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::sync::{mpsc, oneshot};

use super::Error;
use crate::auth::{Caller, Principal};
use crate::clock::Clock;
use crate::ids::{BucketId, Entropy, GroupId, PlanId, TaskId, digest};
use crate::rows::{Expect, MAX_ROWS_PER_COMMIT, StoreError, Tables, Write, prefix_end};

/// Rows that may wait before callers wait too.
const WAITING: usize = 2000;
/// How long rows of reads gather before they are written.
const GATHER: Duration = Duration::from_millis(250);
/// How long an operation that has happened waits for its row.
const PATIENCE: Duration = Duration::from_secs(3);
/// Waits before a failed transaction is tried again.
const TRIES: [Duration; 3] = [Duration::from_millis(200), Duration::from_secs(1), Duration::from_secs(5)];
/// Rows on a page unless asked otherwise, and most.
const PAGE: usize = 100;
const MAX_PAGE: usize = 1000;
/// Days before the oldest kept one that a sweep goes through: for so long sweeping may have failed and nothing stays.
const SWEPT_DAYS: u64 = 31;

/// Which operations are written down.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Scope {
    /// Those that write.
    Writes,
    /// All.
    #[default]
    All,
}

/// What the log holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Policy {
    /// Which operations.
    pub scope: Scope,
    /// For how many days; `None` is for ever.
    pub days: Option<u64>,
}

/// What a sweep came to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Swept {
    /// Rows deleted.
    pub rows: usize,
}

/// An operation of a caller.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Entry {
    /// The row's own id; sorts by time.
    pub id: String,
    /// When it ended.
    pub at: DateTime<Utc>,
    /// Who called.
    pub caller: String,
    /// What kind of party that is.
    pub kind: String,
    /// The tool's name, or method and path of the REST call.
    pub operation: String,
    /// Whether it was one that writes.
    pub writes: bool,
    /// The things it named, by id: names and texts of people are left out.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub target: BTreeMap<String, String>,
    /// A digest of all arguments: equal calls have equal digests.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<String>,
    /// `ok`, or the error's code.
    pub outcome: String,
    /// How long it took.
    pub ms: u64,
}

/// What there is to know of an operation.
pub struct Operation<'a> {
    /// Who called.
    pub caller: &'a Caller,
    /// The tool's name, or method and path.
    pub name: String,
    /// Whether it is one that writes.
    pub writes: bool,
    /// Its arguments.
    pub arguments: Option<&'a Value>,
    /// Ids that stand elsewhere, as in a path.
    pub ids: Vec<(&'static str, String)>,
}

impl Operation<'_> {
    /// What is kept of the arguments, taken before they are handed on.
    #[must_use]
    pub fn noted(&self) -> Noted {
        let mut target: BTreeMap<String, String> = BTreeMap::new();
        let named = self.arguments.and_then(Value::as_object).into_iter().flatten();
        for (name, value) in named {
            if let Some(text) = value.as_str().filter(|text| is_id(text)) {
                target.insert(name.clone(), text.to_owned());
            }
        }
        for (name, text) in &self.ids {
            if is_id(text) {
                target.insert((*name).to_owned(), text.clone());
            }
        }
        Noted {
            caller: self.caller.name.clone(),
            kind: self.caller.kind,
            operation: self.name.clone(),
            writes: self.writes,
            target,
            digest: self.arguments.map(|arguments| format!("{:032x}", digest(&[&arguments.to_string()]))),
        }
    }
}

/// An operation that has begun.
pub struct Noted {
    caller: String,
    kind: Principal,
    operation: String,
    writes: bool,
    target: BTreeMap<String, String>,
    digest: Option<String>,
}

fn is_id(text: &str) -> bool {
    TaskId::parse(text).is_ok()
        || PlanId::parse(text).is_ok()
        || BucketId::parse(text).is_ok()
        || GroupId::parse(text).is_ok()
}

enum Job {
    Row(Box<Entry>, Option<oneshot::Sender<()>>),
    Flush(oneshot::Sender<()>),
}

/// The log; a cheap handle.
#[derive(Clone)]
pub struct Audit {
    jobs: mpsc::Sender<Job>,
    tables: Arc<dyn Tables>,
    tenant: String,
    policy: Policy,
    clock: Clock,
    entropy: Entropy,
}

/// Writes the rows.
pub struct Writer {
    jobs: mpsc::Receiver<Job>,
    tables: Arc<dyn Tables>,
    tenant: String,
    clock: Clock,
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
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AuditQuery {
    /// The day (UTC); today without.
    pub day: Option<NaiveDate>,
    /// Only of this caller.
    pub caller: Option<String>,
    /// Only this operation.
    pub operation: Option<String>,
    /// Rows on the page.
    pub limit: Option<u32>,
    /// Where a former page ended.
    pub cursor: Option<String>,
}

impl Audit {
    /// The log of a tenant, and what writes it.
    #[must_use]
    pub fn new(
        tables: Arc<dyn Tables>,
        tenant: &str,
        policy: Policy,
        clock: Clock,
        entropy: Entropy,
    ) -> (Self, Writer) {
        let (sender, receiver) = mpsc::channel(WAITING);
        let tenant = tenant.to_owned();
        let writer = Writer { jobs: receiver, tables: tables.clone(), tenant: tenant.clone(), clock: clock.clone() };
        (Self { jobs: sender, tables, tenant, policy, clock, entropy }, writer)
    }

    /// Writes an operation down that has ended. One that writes is kept when this returns, or, should the store not
    /// answer, said to be missing in the program's own log.
    pub async fn record(&self, noted: Noted, outcome: &str, took: Duration) {
        let Noted { caller, kind, operation, writes, target, digest } = noted;
        if !writes && self.policy.scope == Scope::Writes {
            return;
        }
        let at = self.clock.now();
        let entry = Box::new(Entry {
            id: self.entropy.ulid(at),
            at,
            caller,
            kind: kind.as_str().to_owned(),
            operation,
            writes,
            target,
            digest,
            outcome: outcome.to_owned(),
            ms: u64::try_from(took.as_millis()).unwrap_or(u64::MAX),
        });
        let (done, kept) = oneshot::channel();
        let row = (writes.then_some(done), entry.id.clone());
        if self.jobs.send(Job::Row(entry, row.0)).await.is_err() {
            return; // the program is stopping
        }
        if writes && !matches!(self.clock.timeout(PATIENCE, kept).await, Some(Ok(()))) {
            tracing::error!(id = row.1, "an operation that wrote is not in the audit log yet");
        }
    }

    /// Completes once everything recorded so far is written.
    pub async fn flush(&self) {
        let (done, written) = oneshot::channel();
        if self.jobs.send(Job::Flush(done)).await.is_ok() {
            let _ = written.await; // a writer that is gone has written what it could
        }
    }

    /// Deletes the rows of days that are kept no longer.
    ///
    /// # Errors
    /// When the store fails; what was deleted until then stays deleted.
    pub async fn sweep(&self) -> Result<Swept, Error> {
        let mut swept = Swept::default();
        let Some(days) = self.policy.days else { return Ok(swept) };
        let today = self.clock.now().date_naive();
        for back in 1..=SWEPT_DAYS {
            let Some(day) = today.checked_sub_days(Days::new(days.saturating_add(back))) else { break };
            let partition = partition(&self.tenant, day);
            loop {
                let page = self.tables.scan(&partition, "a|", &prefix_end("a|"), MAX_ROWS_PER_COMMIT).await?;
                if page.rows.is_empty() {
                    break;
                }
                let rows = page.rows.iter();
                let writes: Vec<Write> = rows.map(|row| Write::delete(row.key.clone(), Expect::Anything)).collect();
                swept.rows += writes.len();
                self.tables.commit(&partition, writes).await?;
            }
        }
        Ok(swept)
    }

    /// Reads rows of a day.
    ///
    /// # Errors
    /// When the store does not answer or a row is damaged.
    pub async fn list(&self, query: &AuditQuery) -> Result<AuditPage, Error> {
        let limit = query.limit.map_or(PAGE, |limit| usize::try_from(limit).unwrap_or(MAX_PAGE).clamp(1, MAX_PAGE));
        let day = query.day.unwrap_or_else(|| self.clock.now().date_naive());
        let partition = partition(&self.tenant, day);
        let mut from = query.cursor.as_deref().filter(|text| is_row_id(text)).map_or_else(|| "a|".to_owned(), row_key);
        let mut entries = Vec::new();
        loop {
            let page = self.tables.scan(&partition, &from, &prefix_end("a|"), MAX_PAGE).await?;
            for row in &page.rows {
                let entry: Entry = row.decode()?;
                let wanted = query.caller.as_ref().is_none_or(|caller| *caller == entry.caller)
                    && query.operation.as_ref().is_none_or(|operation| *operation == entry.operation);
                if !wanted {
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
}

impl Writer {
    /// Writes what is recorded until every handle of the log is gone.
    pub async fn run(mut self) {
        while let Some(first) = self.jobs.recv().await {
            let mut rows = Vec::new();
            let mut waiting = Vec::new();
            let mut urgent = Self::take(first, &mut rows, &mut waiting);
            while rows.len() < MAX_ROWS_PER_COMMIT {
                match self.jobs.try_recv() {
                    Ok(job) => urgent |= Self::take(job, &mut rows, &mut waiting),
                    Err(_) if urgent => break,
                    Err(_) => match self.clock.timeout(GATHER, self.jobs.recv()).await {
                        Some(Some(job)) => urgent |= Self::take(job, &mut rows, &mut waiting),
                        _ => break,
                    },
                }
            }
            if self.write(&rows).await {
                for done in waiting {
                    let _ = done.send(()); // nobody waits any longer
                }
            }
        }
    }

    /// Notes a job; says whether somebody waits for it.
    fn take(job: Job, rows: &mut Vec<Entry>, waiting: &mut Vec<oneshot::Sender<()>>) -> bool {
        let done = match job {
            Job::Row(entry, done) => {
                rows.push(*entry);
                done
            }
            Job::Flush(done) => Some(done),
        };
        let waits = done.is_some();
        waiting.extend(done);
        waits
    }

    async fn write(&self, rows: &[Entry]) -> bool {
        let mut days: BTreeMap<NaiveDate, Vec<&Entry>> = BTreeMap::new();
        for row in rows {
            days.entry(row.at.date_naive()).or_default().push(row);
        }
        let mut written = true;
        for (day, rows) in days {
            let partition = partition(&self.tenant, day);
            let mut outcome = self.commit(&partition, &rows).await;
            for wait in TRIES {
                if outcome.is_ok() {
                    break;
                }
                self.clock.sleep(wait).await;
                outcome = self.commit(&partition, &rows).await;
            }
            if let Err(error) = outcome {
                tracing::error!(%error, rows = rows.len(), "rows of the audit log are lost");
                written = false;
            }
        }
        written
    }

    async fn commit(&self, partition: &str, rows: &[&Entry]) -> Result<(), StoreError> {
        // Written over, not inserted: a transaction whose answer was lost may be repeated.
        let writes = rows.iter().map(|row| Write::upsert(row_key(&row.id), row)).collect::<Result<_, _>>()?;
        self.tables.commit(partition, writes).await.map(drop)
    }
}

fn partition(tenant: &str, day: NaiveDate) -> String {
    format!("{tenant}|audit|{}", day.format("%Y-%m-%d"))
}

fn row_key(id: &str) -> String {
    format!("a|{id}")
}

fn is_row_id(text: &str) -> bool {
    text.len() == 26 && text.bytes().all(|byte| byte.is_ascii_alphanumeric())
}
