//! The rows of runs: claimed, leased, noted, ended, swept.
//!
//! | row | holds |
//! |---|---|
//! | `r\|kind\|id` | a run |
//! | `o\|kind\|id` | that it has not ended: what is looked through for work |

use parking_lot::Mutex;
use std::collections::HashMap;
use std::marker::PhantomData;

use chrono::{DateTime, TimeDelta, Utc};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::{Progress, Run};
use crate::clock::Clock;
use crate::rows::{Expect, Partition, Row, RowVersion, StoreError, TenantTables, Write};
use crate::sync::lease;

/// How many leases of a plan a holder of a run may be silent before others take over: a step may wait for several calls.
const LEASES: i32 = 3;
/// How long a run that has ended is remembered, so that a repeated call hears how it ended.
const KEPT: TimeDelta = TimeDelta::days(7);

/// The runs of one kind of workflow.
pub struct Runs<W> {
    clock: Clock,
    rows: Partition,
    kind: &'static str,
    started_at: DateTime<Utc>,
    /// When this process first saw a held run in its present version: leases compare no clocks of two instances.
    seen: Mutex<HashMap<String, (RowVersion, DateTime<Utc>)>>,
    work: PhantomData<fn() -> W>,
}

/// The right to work on a run, and the run.
pub struct Lease<W> {
    /// The run's id.
    pub id: String,
    /// The run as it is stored, with changes that [`Runs::note`] stores.
    pub run: Run<W>,
    version: RowVersion,
}

/// What came of reaching for a run.
pub enum Taken<W> {
    /// It is the caller's to work on.
    Mine(Box<Lease<W>>),
    /// Somebody else is at it.
    Held(Run<W>),
    /// It has ended.
    Ended(Run<W>),
    /// There is none.
    Absent,
}

impl<W: Serialize + DeserializeOwned + Clone> Runs<W> {
    /// The runs of a kind in a tenant.
    #[must_use]
    pub fn new(tables: &TenantTables, clock: Clock, kind: &'static str) -> Self {
        Self {
            started_at: clock.now(),
            clock,
            rows: tables.partition("workflow"),
            kind,
            seen: Mutex::default(),
            work: PhantomData,
        }
    }

    fn row(&self, id: &str) -> String {
        format!("r|{}|{id}", self.kind)
    }

    fn open_row(&self, id: &str) -> String {
        format!("o|{}|{id}", self.kind)
    }

    /// Claims work under an id. `None` when another run under that id has not ended, or has ended with `keep`.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn claim(
        &self,
        id: &str,
        work: W,
        by: &str,
        holder: String,
        keep: impl Fn(&Run<W>) -> bool,
    ) -> Result<Option<Box<Lease<W>>>, StoreError> {
        let known = self.rows.get(&self.row(id)).await?;
        let mut token = 1;
        let expect = match &known {
            None => Expect::Absent,
            Some(row) => {
                let run: Run<W> = row.decode()?;
                if run.ended_at.is_none() || keep(&run) {
                    return Ok(None);
                }
                token = run.token + 1;
                Expect::Version(row.version.clone())
            }
        };
        let run = Run {
            work,
            progress: Progress::default(),
            by: by.to_owned(),
            begun_at: self.clock.now(),
            ended_at: None,
            reason: None,
            holder: Some(holder),
            token,
        };
        let open = Write::upsert(self.open_row(id), &())?;
        Ok(self.put(id, run, expect, Some(open)).await?.map(Box::new))
    }

    /// Commits a run; `None` when another writer was faster.
    async fn put(
        &self,
        id: &str,
        run: Run<W>,
        expect: Expect,
        index: Option<Write>,
    ) -> Result<Option<Lease<W>>, StoreError> {
        let key = self.row(id);
        let write = Write::put(&key, expect, &run)?;
        let json = write.json.clone();
        let lease = |version| Lease { id: id.to_owned(), run, version };
        match self.rows.commit(std::iter::once(write).chain(index).collect()).await {
            Ok(versions) => Ok(versions.into_iter().flatten().next().map(lease)),
            Err(error @ (StoreError::Conflict { .. } | StoreError::Unavailable { .. })) => {
                // The answer may be that of a repetition, or have been lost: the row names its writer.
                match self.rows.get(&key).await? {
                    Some(row) if Some(&row.json) == json.as_ref() => Ok(Some(lease(row.version))),
                    _ if error.is_conflict() => Ok(None),
                    _ => Err(error),
                }
            }
            Err(error) => Err(error),
        }
    }

    /// Reads a run.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn read(&self, id: &str) -> Result<Option<Run<W>>, StoreError> {
        let row = self.rows.get(&self.row(id)).await?;
        row.map(|row| row.decode()).transpose()
    }

    /// Takes the lease of a run that waits, or whose holder has been silent too long.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn take(&self, id: &str, holder: String) -> Result<Taken<W>, StoreError> {
        let Some(row) = self.rows.get(&self.row(id)).await? else { return Ok(Taken::Absent) };
        let mut run: Run<W> = row.decode()?;
        if run.ended_at.is_some() {
            return Ok(Taken::Ended(run));
        }
        if run.holder.is_some() && !self.is_silent(id, &row, &run) {
            return Ok(Taken::Held(run));
        }
        let before = run.clone();
        (run.holder, run.token) = (Some(holder), run.token + 1);
        Ok(match self.put(id, run, Expect::Version(row.version), None).await? {
            Some(lease) => Taken::Mine(Box::new(lease)),
            None => Taken::Held(before),
        })
    }

    /// Whether this process has seen the row unchanged for the length of a lease, or its holder must have died before
    /// this process began.
    fn is_silent(&self, id: &str, row: &Row, run: &Run<W>) -> bool {
        let now = self.clock.steady();
        let mut seen = self.seen.lock();
        match seen.get(id) {
            Some((version, since)) if *version == row.version => now - *since >= lease::length() * LEASES,
            _ => {
                let first = !seen.contains_key(id);
                seen.insert(id.to_owned(), (row.version.clone(), now));
                first && self.rows.tables().was_alone() && run.begun_at < self.started_at
            }
        }
    }

    /// Stores what has changed of a run. `false` when the holder was overtaken: it has to stop.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn note(&self, lease: &mut Lease<W>) -> Result<bool, StoreError> {
        let (id, version) = (lease.id.clone(), lease.version.clone());
        let noted = self.put(&id, lease.run.clone(), Expect::Version(version), None).await?;
        Ok(noted.map(|noted| *lease = noted).is_some())
    }

    /// Gives the lease back while the run waits.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn rest(&self, lease: &mut Lease<W>, reason: &str) -> Result<(), StoreError> {
        (lease.run.holder, lease.run.reason) = (None, Some(reason.to_owned()));
        self.note(lease).await.map(drop)
    }

    /// Ends a run. `false` when the holder was overtaken.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn end(&self, lease: &mut Lease<W>) -> Result<bool, StoreError> {
        (lease.run.holder, lease.run.ended_at) = (None, Some(self.clock.now()));
        let closed = Write::delete(self.open_row(&lease.id), Expect::Anything);
        let (id, version) = (lease.id.clone(), lease.version.clone());
        let ended = self.put(&id, lease.run.clone(), Expect::Version(version), Some(closed)).await?;
        self.seen.lock().remove(&id);
        Ok(ended.map(|ended| *lease = ended).is_some())
    }

    /// The ids of the runs that have not ended.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn open(&self) -> Result<Vec<String>, StoreError> {
        let prefix = self.open_row("");
        let rows = self.rows.scan_prefix(&prefix).await?;
        Ok(rows.iter().filter_map(|row| Some(row.key.strip_prefix(&prefix)?.to_owned())).collect())
    }

    /// Forgets runs that ended long ago; answers them.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn sweep(&self) -> Result<Vec<(String, Run<W>)>, StoreError> {
        let (prefix, now) = (self.row(""), self.clock.now());
        let mut swept = Vec::new();
        for row in self.rows.scan_prefix(&prefix).await? {
            let run: Run<W> = row.decode()?;
            if run.ended_at.is_some_and(|ended_at| now - ended_at > KEPT) {
                let gone = Write::delete(&row.key, Expect::Version(row.version.clone()));
                match self.rows.commit(vec![gone]).await {
                    Ok(_) => swept.push((row.key.strip_prefix(&prefix).unwrap_or_default().to_owned(), run)),
                    Err(error) if error.is_conflict() => {}
                    Err(error) => return Err(error),
                }
            }
        }
        Ok(swept)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::clock::ManualClock;
    use crate::store::MemoryTables;

    fn runs(tables: &TenantTables, source: &Arc<ManualClock>) -> Runs<String> {
        Runs::new(tables, Clock::from_source(source.clone()), "test")
    }

    fn store() -> (TenantTables, Arc<ManualClock>) {
        (TenantTables::new(Arc::new(MemoryTables::default()), "t"), ManualClock::at(DateTime::UNIX_EPOCH))
    }

    #[tokio::test]
    async fn second_claim_of_a_run_finds_the_first_ones_work() {
        let (tables, clock) = store();
        let (first, second) = (runs(&tables, &clock), runs(&tables, &clock));
        assert!(first.claim("x", "a".into(), "me", "1".into(), |_| true).await.unwrap().is_some());
        assert!(second.claim("x", "b".into(), "me", "2".into(), |_| true).await.unwrap().is_none());
        assert_eq!(second.read("x").await.unwrap().unwrap().work, "a");
        assert_eq!(second.open().await.unwrap(), ["x"]);
    }

    #[tokio::test]
    async fn expired_claim_is_taken_over_and_its_late_write_is_refused() {
        let (tables, clock) = store();
        let (first, second) = (runs(&tables, &clock), runs(&tables, &clock));
        let mut stalled = first.claim("x", "a".into(), "me", "1".into(), |_| true).await.unwrap().unwrap();
        assert!(matches!(second.take("x", "2".into()).await.unwrap(), Taken::Held(_)));
        clock.advance((lease::length() * LEASES).to_std().unwrap());
        let Taken::Mine(mut taken) = second.take("x", "2".into()).await.unwrap() else { panic!("still held") };
        assert_eq!(taken.run.token, 2);
        stalled.run.progress.attempt();
        assert!(!first.note(&mut stalled).await.unwrap(), "the holder was overtaken");
        taken.run.progress.done();
        assert!(second.note(&mut taken).await.unwrap());
    }

    #[tokio::test]
    async fn ended_workflow_run_is_kept_for_a_week() {
        let (tables, clock) = store();
        let runs = runs(&tables, &clock);
        let mut lease = runs.claim("x", "a".into(), "me", "1".into(), |_| true).await.unwrap().unwrap();
        assert!(runs.end(&mut lease).await.unwrap());
        assert!(runs.open().await.unwrap().is_empty());
        assert!(matches!(runs.take("x", "2".into()).await.unwrap(), Taken::Ended(_)));
        assert!(runs.claim("x", "b".into(), "me", "2".into(), |_| true).await.unwrap().is_none());
        clock.advance(std::time::Duration::from_hours(24 * 7 + 1));
        assert_eq!(runs.sweep().await.unwrap().len(), 1);
        assert!(runs.claim("x", "b".into(), "me", "3".into(), |_| true).await.unwrap().is_some());
    }
}
