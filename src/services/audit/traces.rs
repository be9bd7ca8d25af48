//! Rows of effects, as they are in the partitions of the effects until the log has them.
//!
//! An operation that ends well has a row in the log, and its traces are only tidied away. One whose process ended before
//! has traces alone: they become its row. So an operation that is still under way may have an `unfinished` row for a
//! moment, which its end writes over.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;

use super::log::Audit;
use super::{Entry, row_key};
use crate::auth::TRACES;
use crate::rows::{Expect, MAX_ROWS_PER_COMMIT, Partition, StoreError, Write, prefix_end};

/// Traces read together.
const WINDOW: usize = 1000;
/// Tries while others write rows of the same operations.
const TRIES: usize = 5;

#[derive(Deserialize)]
struct InDirectory {
    plan: String,
}

impl Audit {
    /// Makes rows of the log of all traces left anywhere.
    ///
    /// # Errors
    /// When the store fails; then traces stay for the next time.
    pub(super) async fn collect_all(&self) -> Result<(), StoreError> {
        let mut partitions: BTreeSet<String> = ["reports", "schedules", "callers"]
            .iter()
            .map(|name| self.tables.partition(name).name().to_owned())
            .collect();
        for row in self.tables.partition("directory").scan_prefix("p|").await? {
            partitions.insert(self.tables.partition(row.decode::<InDirectory>()?.plan).name().to_owned());
        }
        self.collect(&partitions).await
    }

    /// As [`Self::collect_all`], of traces in some partitions.
    pub(super) async fn collect(&self, partitions: &BTreeSet<String>) -> Result<(), StoreError> {
        for place in partitions {
            loop {
                let page = self.tables.tables().scan(place, TRACES, &prefix_end(TRACES), WINDOW).await?;
                let mut operations: BTreeMap<String, Entry> = BTreeMap::new();
                for row in &page.rows {
                    let entry: Entry = row.decode()?;
                    match operations.get_mut(&entry.id) {
                        Some(known) => merge(known, entry),
                        None => drop(operations.insert(entry.id.clone(), entry)),
                    }
                }
                self.keep(operations.into_values().collect()).await?;
                for rows in page.rows.chunks(MAX_ROWS_PER_COMMIT) {
                    let writes = rows.iter().map(|row| Write::delete(row.key.clone(), Expect::Anything)).collect();
                    self.tables.tables().commit(place, writes).await?;
                }
                if page.next.is_none() {
                    break;
                }
            }
        }
        Ok(())
    }

    /// Makes rows of operations that have none.
    async fn keep(&self, operations: Vec<Entry>) -> Result<(), StoreError> {
        let mut days: BTreeMap<_, Vec<Entry>> = BTreeMap::new();
        for entry in operations {
            days.entry(entry.at.date_naive()).or_default().push(entry);
        }
        for (day, mut entries) in days {
            let log = self.day(day);
            entries.sort_by(|left, right| left.id.cmp(&right.id));
            for some in entries.chunks(MAX_ROWS_PER_COMMIT) {
                self.keep_some(&log, some).await?;
            }
        }
        Ok(())
    }

    async fn keep_some(&self, log: &Partition, entries: &[Entry]) -> Result<(), StoreError> {
        let mut tries = 0;
        loop {
            let mut missing = Vec::new();
            for entry in entries {
                // Rows of the log are seldom missing, and reading one is cheap.
                if log.get(&row_key(&entry.id)).await?.is_none() {
                    missing.push(Write::insert(row_key(&entry.id), entry)?);
                }
            }
            if missing.is_empty() {
                return Ok(());
            }
            match log.commit(missing).await {
                Ok(_) => return Ok(()),
                Err(error) if error.is_conflict() && tries < TRIES => tries += 1, // its end was written meanwhile
                Err(error) => return Err(error),
            }
        }
    }
}

/// Adds what another trace of the same operation names.
fn merge(known: &mut Entry, other: Entry) {
    for (kind, ids) in other.target {
        let all = known.target.entry(kind).or_default();
        for id in ids.split(' ').filter(|id| !id.is_empty()) {
            if !all.split(' ').any(|known| known == id) {
                if !all.is_empty() {
                    all.push(' ');
                }
                all.push_str(id);
            }
        }
    }
}
