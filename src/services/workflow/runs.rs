//! Runs in rows of their own: claimed, noted, ended, swept.
//!
//! | row | holds |
//! |---|---|
//! | `r\|kind\|id` | a run |
//! | `o\|kind\|id` | that it has not ended: what is looked through for work |

use std::marker::PhantomData;

use chrono::{DateTime, TimeDelta, Utc};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::{Backoff, Claim, Leases, Versioned};
use crate::clock::Clock;
use crate::ids::Entropy;
use crate::rows::{Expect, Partition, StoreError, TenantTables, Write};

/// How long a run that has ended is remembered, so that a repeated call hears how it ended.
const KEPT: TimeDelta = TimeDelta::days(7);

/// A run: the value of its row.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Run<W> {
    /// What is to be done, and how far it has come.
    pub work: W,
    /// Who works on it. Its reason is what the run waits for, or why it was taken back.
    pub claim: Claim,
    /// For whom: the caller's name.
    pub by: String,
    /// When it was begun.
    pub begun_at: DateTime<Utc>,
    /// When it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended_at: Option<DateTime<Utc>>,
}

/// The runs of one kind of workflow.
pub struct Runs<W> {
    clock: Clock,
    rows: Partition,
    kind: &'static str,
    leases: Leases,
    work: PhantomData<fn() -> W>,
}

/// What came of reaching for a run.
pub enum Taken<W> {
    /// It is the caller's to work on.
    Mine(Box<Versioned<Run<W>>>),
    /// Another instance works on it.
    Held,
    /// It has ended.
    Ended,
    /// There is none.
    Absent,
}

impl<W: Serialize + DeserializeOwned + Clone> Runs<W> {
    /// The runs of a kind in a tenant, and how long a holder may be silent: longer than a step takes.
    #[must_use]
    pub fn new(
        tables: &TenantTables,
        clock: Clock,
        entropy: Entropy,
        (kind, lease): (&'static str, TimeDelta),
    ) -> Self {
        let rows = tables.partition("workflow");
        let leases = Leases::new(&rows, clock.clone(), entropy, lease);
        Self { clock, rows, kind, leases, work: PhantomData }
    }

    fn row(&self, id: &str) -> String {
        format!("r|{}|{id}", self.kind)
    }

    fn open_row(&self, id: &str) -> String {
        format!("o|{}|{id}", self.kind)
    }

    async fn get(&self, id: &str) -> Result<Option<Versioned<Run<W>>>, StoreError> {
        Versioned::get(&self.rows, &self.row(id)).await
    }

    /// Begins a run under an id, claimed for the caller. `None` when another one under that id has not ended, or has
    /// ended with `keep`.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn begin(
        &self,
        id: &str,
        work: W,
        by: &str,
        keep: impl Fn(&Run<W>) -> bool,
    ) -> Result<Option<Versioned<Run<W>>>, StoreError> {
        let mut claim = Claim::default();
        self.leases.take(&mut claim);
        let run = Run { work, claim, by: by.to_owned(), begun_at: self.clock.now(), ended_at: None };
        let open = Write::upsert(self.open_row(id), &())?;
        let Some(mut known) = self.get(id).await? else {
            return Versioned::insert(&self.rows, self.row(id), run, vec![open]).await;
        };
        if known.record.ended_at.is_none() || keep(&known.record) {
            return Ok(None);
        }
        known.record = run;
        Ok(known.write(&self.rows, vec![open]).await?.then_some(known))
    }

    /// Reads a run.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn read(&self, id: &str) -> Result<Option<Run<W>>, StoreError> {
        Ok(self.get(id).await?.map(|run| run.record))
    }

    /// Claims a run that no instance holds. One that waits is claimed too, and its failures are forgotten: a caller that
    /// asks for it does not wait, and pauses begin short again.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn take(&self, id: &str) -> Result<Taken<W>, StoreError> {
        let Some(mut run) = self.get(id).await? else { return Ok(Taken::Absent) };
        if run.record.ended_at.is_some() {
            return Ok(Taken::Ended);
        }
        if self.leases.is_held(&run.record.claim) {
            return Ok(Taken::Held);
        }
        if !self.is_due(&run.record) {
            run.record.claim.succeed();
        }
        self.leases.take(&mut run.record.claim);
        let taken = run.write(&self.rows, Vec::new()).await?;
        Ok(if taken { Taken::Mine(Box::new(run)) } else { Taken::Held })
    }

    /// Whether a run may be claimed: no instance works on it, and it need not wait.
    #[must_use]
    pub fn is_due(&self, run: &Run<W>) -> bool {
        self.leases.is_due(&run.claim)
    }

    /// Stores what has changed of a run, and lengthens the lease. `false` when the holder was overtaken: it has to stop.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn note(&self, run: &mut Versioned<Run<W>>) -> Result<bool, StoreError> {
        self.leases.renew(&mut run.record.claim);
        run.write(&self.rows, Vec::new()).await
    }

    /// Gives the lease back and has the run wait; answers how long. `None` when it has failed as often as it may: it stays
    /// the caller's, to turn it back or end it.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn put_off(
        &self,
        run: &mut Versioned<Run<W>>,
        backoff: Backoff,
        reason: &str,
    ) -> Result<Option<TimeDelta>, StoreError> {
        let pause = run.record.claim.put_off(self.clock.now(), backoff, reason);
        if pause.is_some() {
            run.write(&self.rows, Vec::new()).await?;
        }
        Ok(pause)
    }

    /// Ends a run. `false` when the holder was overtaken.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn end(&self, run: &mut Versioned<Run<W>>) -> Result<bool, StoreError> {
        run.record.claim.release();
        run.record.ended_at = Some(self.clock.now());
        let prefix = self.row("");
        let id = run.key().strip_prefix(&prefix).unwrap_or_default();
        let closed = Write::delete(self.open_row(id), Expect::Anything);
        run.write(&self.rows, vec![closed]).await
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
    pub async fn sweep(&self) -> Result<Vec<Run<W>>, StoreError> {
        let now = self.clock.now();
        let mut swept = Vec::new();
        for run in Versioned::<Run<W>>::scan(&self.rows, &self.row("")).await? {
            if run.record.ended_at.is_some_and(|ended_at| now - ended_at > KEPT) {
                match self.rows.commit(vec![run.deletion()]).await {
                    Ok(_) => swept.push(run.record),
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

    const LEASE: TimeDelta = TimeDelta::seconds(30);

    fn runs(tables: &TenantTables, source: &Arc<ManualClock>, instance: u64) -> Runs<String> {
        Runs::new(tables, Clock::from_source(source.clone()), Entropy::seeded(instance), ("test", LEASE))
    }

    fn store() -> (TenantTables, Arc<ManualClock>) {
        (TenantTables::new(Arc::new(MemoryTables::default()), "t"), ManualClock::at(DateTime::UNIX_EPOCH))
    }

    #[tokio::test]
    async fn second_claim_of_a_run_finds_the_first_ones_work() {
        let (tables, clock) = store();
        let (first, second) = (runs(&tables, &clock, 1), runs(&tables, &clock, 2));
        assert!(first.begin("x", "a".into(), "me", |_| true).await.unwrap().is_some());
        assert!(second.begin("x", "b".into(), "me", |_| true).await.unwrap().is_none());
        assert_eq!(second.read("x").await.unwrap().unwrap().work, "a");
        assert_eq!(second.open().await.unwrap(), ["x"]);
    }

    #[tokio::test]
    async fn expired_claim_is_taken_over_and_its_late_write_is_refused() {
        let (tables, clock) = store();
        let (first, second) = (runs(&tables, &clock, 1), runs(&tables, &clock, 2));
        let mut stalled = first.begin("x", "a".into(), "me", |_| true).await.unwrap().unwrap();
        assert!(matches!(second.take("x").await.unwrap(), Taken::Held));
        clock.advance(LEASE.to_std().unwrap());
        let Taken::Mine(mut taken) = second.take("x").await.unwrap() else { panic!("still held") };
        stalled.record.work = "attempted".into();
        assert!(!first.note(&mut stalled).await.unwrap(), "the holder was overtaken");
        taken.record.work = "done".into();
        assert!(second.note(&mut taken).await.unwrap());
    }

    #[tokio::test]
    async fn postponed_run_is_due_later_and_can_be_taken_at_once() {
        let (tables, clock) = store();
        let runs = runs(&tables, &clock, 1);
        let mut run = runs.begin("x", "a".into(), "me", |_| true).await.unwrap().unwrap();
        runs.put_off(&mut run, Backoff::new(LEASE, LEASE), "no answer").await.unwrap();
        assert!(!runs.is_due(&run.record));
        assert!(matches!(runs.take("x").await.unwrap(), Taken::Mine(_)));
        clock.advance(LEASE.to_std().unwrap());
        assert!(runs.is_due(&run.record));
    }

    #[tokio::test]
    async fn ended_workflow_run_is_kept_for_a_week() {
        let (tables, clock) = store();
        let runs = runs(&tables, &clock, 1);
        let mut run = runs.begin("x", "a".into(), "me", |_| true).await.unwrap().unwrap();
        assert!(runs.end(&mut run).await.unwrap());
        assert!(runs.open().await.unwrap().is_empty());
        assert!(matches!(runs.take("x").await.unwrap(), Taken::Ended));
        assert!(runs.begin("x", "b".into(), "me", |_| true).await.unwrap().is_none());
        clock.advance(std::time::Duration::from_hours(24 * 7 + 1));
        assert_eq!(runs.sweep().await.unwrap().len(), 1);
        assert!(runs.begin("x", "b".into(), "me", |_| true).await.unwrap().is_some());
    }
}
