//! Reports that were made: a row each to list them by, and a file each with the whole report, from which every format
//! is written when somebody asks for it. So no two formats of a report can say different things.

use std::collections::HashMap;
use std::sync::Arc;

use chrono::{DateTime, NaiveDate, TimeDelta, Utc};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::model::Report;
use super::request::{Audience, Kind};
use crate::auth::{Caller, StoredCaller};
use crate::blobs::Blobs;
use crate::error::ErrorCode;
use crate::rows::{Expect, Partition, Row, StoreError, TenantTables, Write};
use crate::services::Error;

/// A report in a list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ReportItem {
    /// Its id.
    pub id: String,
    /// What it is about.
    #[serde(rename = "type")]
    pub kind: Kind,
    /// Its title.
    pub title: String,
    /// Planner's ids of its plans.
    pub plan_ids: Vec<String>,
    /// The first day.
    pub from: NaiveDate,
    /// The last day.
    pub to: NaiveDate,
    /// Whom it is for.
    pub audience: Audience,
    /// When it was made.
    pub generated_at: DateTime<Utc>,
    /// For whom it was made: a caller, or a schedule.
    pub by: String,
    /// How large its file is, in bytes.
    #[serde(default)]
    pub bytes: u64,
}

/// The row of a report.
#[derive(Serialize, Deserialize)]
pub struct Stored {
    #[serde(flatten)]
    item: ReportItem,
    /// Who had it made: its address opens it as long as that one could.
    #[serde(default)]
    pub maker: Option<StoredCaller>,
}

/// Most reports kept of one caller or schedule: with one more the oldest goes.
const MOST_OF_ONE: usize = 500;
/// Most bytes of them.
const BYTES_OF_ONE: u64 = 128 * 1024 * 1024;
/// Most bytes of all: with one more none is kept any more, until some are deleted by age.
const BYTES: u64 = 4 * 1024 * 1024 * 1024;
/// How long what is kept is believed; this instance's own reports are counted at once.
const BELIEVED: TimeDelta = TimeDelta::minutes(5);

/// What is kept: reports and bytes, of each caller or schedule.
#[derive(Default)]
struct Usage {
    read_at: Option<DateTime<Utc>>,
    of: HashMap<String, (usize, u64)>,
}

/// Keeps reports.
pub struct Archive {
    rows: Partition,
    blobs: Arc<dyn Blobs>,
    /// Where the tenant's files are.
    folder: String,
    usage: tokio::sync::Mutex<Usage>,
}

impl Archive {
    /// An archive on the store.
    #[must_use]
    pub fn new(tables: &TenantTables, blobs: Arc<dyn Blobs>) -> Self {
        let folder = format!("reports/{}", tables.tenant().to_lowercase());
        Self { rows: tables.partition("reports"), blobs, folder, usage: tokio::sync::Mutex::default() }
    }

    fn file(&self, id: &str) -> String {
        format!("{}/{id}.json", self.folder)
    }

    /// Keeps a report: first the file, then the row, so that every listed report can be read.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn keep(&self, caller: &Caller, report: &Report, by: &str) -> Result<ReportItem, Error> {
        let text = serde_json::to_vec(report).map_err(|error| {
            tracing::error!(%error, "a report cannot be written as JSON");
            Error::new(ErrorCode::Internal, "the report cannot be written as JSON")
        })?;
        let bytes = text.len() as u64;
        self.make_room(by, bytes, report.generated_at).await?;
        self.blobs.put(&self.file(&report.id), text, "application/json").await?;
        let item = ReportItem {
            id: report.id.clone(),
            kind: report.kind,
            title: report.title.clone(),
            plan_ids: report.plans.iter().map(|plan| plan.id.clone()).collect(),
            from: report.from,
            to: report.to,
            audience: report.audience,
            generated_at: report.generated_at,
            by: by.to_owned(),
            bytes,
        };
        for plan in &item.plan_ids {
            caller.touch("plan_id", plan);
        }
        let trace = caller.trace(self.rows.name(), &[("report_id", &item.id)])?;
        let kept = Stored { item, maker: Some(caller.stored()) };
        let writes = std::iter::once(Write::upsert(format!("r|{}", kept.item.id), &kept)?).chain(trace).collect();
        self.rows.commit(writes).await?;
        Ok(kept.item)
    }

    /// Makes room for a report: the oldest of the same caller or schedule give way.
    ///
    /// # Errors
    /// When all together take all the space, or the store fails.
    async fn make_room(&self, by: &str, bytes: u64, now: DateTime<Utc>) -> Result<(), Error> {
        let mut usage = self.usage.lock().await;
        let (count, held) = usage.of.get(by).copied().unwrap_or_default();
        let old = usage.read_at.is_none_or(|at| now - at > BELIEVED);
        if old || count >= MOST_OF_ONE || held + bytes > BYTES_OF_ONE {
            let all = self.list().await?;
            usage.of.clear();
            usage.read_at = Some(now);
            for item in &all {
                let (count, held) = usage.of.entry(item.by.clone()).or_default();
                (*count, *held) = (*count + 1, *held + item.bytes);
            }
            let mut own = all.iter().filter(|item| item.by == by).rev();
            let (mut count, mut held) = usage.of.get(by).copied().unwrap_or_default();
            while count >= MOST_OF_ONE || held + bytes > BYTES_OF_ONE {
                let Some(oldest) = own.next() else { break };
                self.forget(&oldest.id).await?;
                (count, held) = (count - 1, held.saturating_sub(oldest.bytes));
            }
            usage.of.insert(by.to_owned(), (count, held));
        }
        if usage.of.values().map(|(_, held)| held).sum::<u64>() + bytes > BYTES {
            return Err(Error::new(
                ErrorCode::LimitExceeded,
                "the reports of this deployment take all the space they may; nothing was stored",
            )
            .hint("reports are deleted after `REPORT_KEEP_DAYS`; an operator may shorten it"));
        }
        let (count, held) = usage.of.entry(by.to_owned()).or_default();
        (*count, *held) = (*count + 1, *held + bytes);
        Ok(())
    }

    /// What is said of a report in lists.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn item(&self, id: &str) -> Result<Option<ReportItem>, StoreError> {
        Ok(self.row(id).await?.map(|kept| kept.item))
    }

    /// The row of a report.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn row(&self, id: &str) -> Result<Option<Stored>, StoreError> {
        if !is_id(id) {
            return Ok(None);
        }
        self.rows.get(&format!("r|{id}")).await?.map(|row| row.decode()).transpose()
    }

    /// A report whole.
    ///
    /// # Errors
    /// When the store fails, or the file is not one of ours.
    pub async fn read(&self, id: &str) -> Result<Option<Report>, StoreError> {
        if !is_id(id) {
            return Ok(None);
        }
        let Some(text) = self.blobs.get(&self.file(id)).await? else { return Ok(None) };
        let damaged = |source| StoreError::Damaged { key: id.to_owned(), source: Arc::new(source) };
        serde_json::from_slice(&text).map(Some).map_err(damaged)
    }

    /// All reports, the newest first: ids sort by time.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn list(&self) -> Result<Vec<ReportItem>, StoreError> {
        let rows = self.rows.scan_prefix("r|").await?;
        rows.iter().rev().map(Row::decode).collect()
    }

    /// Forgets a report: first the row, then the file.
    ///
    /// # Errors
    /// When the store fails; then it may be listed no more and its file still be there, which the next sweep deletes.
    pub async fn forget(&self, id: &str) -> Result<(), StoreError> {
        self.rows.commit(vec![Write::delete(format!("r|{id}"), Expect::Anything)]).await?;
        self.blobs.delete(&self.file(id)).await
    }

    /// Forgets reports made before `since`, and files no row speaks of. Answers how many.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn sweep(&self, since: DateTime<Utc>) -> Result<usize, StoreError> {
        let mut forgotten = 0;
        let mut kept = std::collections::HashSet::new();
        for item in self.list().await? {
            if item.generated_at < since {
                self.forget(&item.id).await?;
                forgotten += 1;
            } else {
                kept.insert(self.file(&item.id));
            }
        }
        // The id of a file tells its age: one that is just being written is left alone.
        let oldest = crate::ids::Entropy::seeded(0).ulid(since);
        let age = |name: &str| name.rsplit('/').next().map(|file| file.chars().take(10).collect::<String>());
        for name in self.blobs.list(&self.file("").replace(".json", "")).await? {
            if !kept.contains(&name)
                && age(&name).is_some_and(|made| made.as_str() < oldest.get(..10).unwrap_or_default())
            {
                self.blobs.delete(&name).await?;
            }
        }
        Ok(forgotten)
    }
}

/// Whether a text has the form of a report's id.
fn is_id(text: &str) -> bool {
    text.len() == 26 && text.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit())
}
