//! Reports that were made: a row each to list them by, and a file each with the whole report, from which every format
//! is written when somebody asks for it. So no two formats of a report can say different things.

use std::sync::Arc;

use chrono::{DateTime, NaiveDate, Utc};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::model::Report;
use super::request::{Audience, Kind};
use crate::blobs::Blobs;
use crate::error::ErrorCode;
use crate::rows::{Expect, Row, StoreError, Tables, Write, scan_prefix};
use crate::services::Error;

/// A report in a list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ReportItem {
    /// Its id.
    pub id: String,
    /// What it is about.
    #[serde(rename = "type")]
    pub kind: Kind,
    /// What stands over it.
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
}

/// Keeps reports.
pub struct Archive {
    tables: Arc<dyn Tables>,
    blobs: Arc<dyn Blobs>,
    tenant: String,
}

impl Archive {
    /// An archive on the store.
    #[must_use]
    pub fn new(tables: Arc<dyn Tables>, blobs: Arc<dyn Blobs>, tenant: &str) -> Self {
        Self { tables, blobs, tenant: tenant.to_owned() }
    }

    fn partition(&self) -> String {
        format!("{}|reports", self.tenant)
    }

    fn file(&self, id: &str) -> String {
        format!("reports/{}/{id}.json", self.tenant.to_lowercase())
    }

    /// Keeps a report: first the file, then the row, so that whatever is listed can be read.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn keep(&self, report: &Report, by: &str) -> Result<ReportItem, Error> {
        let text = serde_json::to_vec(report).map_err(|error| {
            tracing::error!(%error, "a report cannot be written as JSON");
            Error::new(ErrorCode::Internal, "the report cannot be written as JSON")
        })?;
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
        };
        self.tables.commit(&self.partition(), vec![Write::upsert(format!("r|{}", item.id), &item)?]).await?;
        Ok(item)
    }

    /// The row of a report.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn item(&self, id: &str) -> Result<Option<ReportItem>, StoreError> {
        if !is_id(id) {
            return Ok(None);
        }
        self.tables.get(&self.partition(), &format!("r|{id}")).await?.map(|row| row.decode()).transpose()
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
        let rows = scan_prefix(self.tables.as_ref(), &self.partition(), "r|").await?;
        rows.iter().rev().map(Row::decode).collect()
    }

    /// Forgets a report: first the row, then the file.
    ///
    /// # Errors
    /// When the store fails; then it may be listed no more and its file still be there, which the next sweep deletes.
    pub async fn forget(&self, id: &str) -> Result<(), StoreError> {
        self.tables.commit(&self.partition(), vec![Write::delete(format!("r|{id}"), Expect::Anything)]).await?;
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
