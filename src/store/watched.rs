//! A store whose last errors are remembered, so that health reports them: a full disk lets every row be read and none be
//! written, and a damaged page is met only by those who read it.

use std::sync::Arc;

use async_trait::async_trait;
use chrono::{DateTime, TimeDelta, Utc};
use parking_lot::Mutex;

use crate::clock::Clock;
use crate::rows::{Page, Row, RowVersion, StoreError, Tables, Write};

/// How long a write that succeeded proves that writes are taken.
const PROVES: TimeDelta = TimeDelta::minutes(1);
/// The row that is read and written to see how the store is.
const ROW: &str = "health";

/// A store, watched.
pub struct Watched {
    tables: Arc<dyn Tables>,
    clock: Clock,
    met: Mutex<Met>,
}

/// What calls have met.
#[derive(Default)]
struct Met {
    /// Why the last write failed; `None` once one succeeded.
    failed: Option<StoreError>,
    wrote_at: Option<DateTime<Utc>>,
    /// Why the content cannot be relied upon; it holds until the next start.
    broken: Option<StoreError>,
}

impl Watched {
    /// Watches a store.
    #[must_use]
    pub fn new(tables: Arc<dyn Tables>, clock: Clock) -> Self {
        Self { tables, clock, met: Mutex::default() }
    }

    /// What is wrong with a store that answers; `None` if nothing is. Reads a row, and writes one unless a write has
    /// succeeded within the last minute.
    ///
    /// # Errors
    /// When the row cannot be read.
    pub async fn trouble(&self, partition: &str) -> Result<Option<StoreError>, StoreError> {
        self.get(partition, ROW).await?;
        let now = self.clock.steady();
        let proven = {
            let met = self.met();
            met.failed.is_none() && met.wrote_at.is_some_and(|at| now - at < PROVES)
        };
        if !proven {
            let _ = self.commit(partition, vec![Write::upsert(ROW, &"alive")?]).await; // what it met is noted
        }
        let met = self.met();
        Ok(met.broken.clone().or_else(|| met.failed.clone()))
    }

    fn met(&self) -> parking_lot::MutexGuard<'_, Met> {
        self.met.lock()
    }

    fn note<T>(&self, outcome: Result<T, StoreError>) -> Result<T, StoreError> {
        if let Err(error @ StoreError::Broken { .. }) = &outcome {
            self.met().broken.get_or_insert_with(|| error.clone());
        }
        outcome
    }
}

#[async_trait]
impl Tables for Watched {
    async fn get(&self, partition: &str, key: &str) -> Result<Option<Row>, StoreError> {
        self.note(self.tables.get(partition, key).await)
    }

    async fn scan(&self, partition: &str, from: &str, to: &str, limit: usize) -> Result<Page, StoreError> {
        self.note(self.tables.scan(partition, from, to, limit).await)
    }

    async fn commit(&self, partition: &str, writes: Vec<Write>) -> Result<Vec<Option<RowVersion>>, StoreError> {
        let outcome = self.note(self.tables.commit(partition, writes).await);
        match &outcome {
            Ok(_) => {
                let mut met = self.met();
                (met.failed, met.wrote_at) = (None, Some(self.clock.steady()));
            }
            Err(error @ (StoreError::ReadOnly { .. } | StoreError::Unavailable { .. } | StoreError::Broken { .. })) => {
                self.met().failed = Some(error.clone());
            }
            Err(_) => {} // the caller's own
        }
        outcome
    }

    fn was_alone(&self) -> bool {
        self.tables.was_alone()
    }

    fn is_remote(&self) -> bool {
        self.tables.is_remote()
    }

    async fn verify(&self) -> Result<(), StoreError> {
        self.note(self.tables.verify().await)
    }
}
