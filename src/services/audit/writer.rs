//! Writes the rows: one task, many rows at a time.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use chrono::NaiveDate;
use tokio::sync::{mpsc, oneshot};

use super::counts::Counts;
use super::log::Audit;
use super::{Entry, row_key};
use crate::clock::Clock;
use crate::rows::{MAX_ROWS_PER_COMMIT, Partition, StoreError, Write};

/// How long rows nobody waits for gather before they are written.
const GATHER: Duration = Duration::from_millis(250);
/// How often counts are written, and traces tidied away.
const EVERY: Duration = Duration::from_mins(1);
/// Counts beyond which they are written before their time.
const MANY_COUNTS: usize = 5000;
/// Waits before a failed transaction is tried again.
const TRIES: [Duration; 3] = [Duration::from_millis(200), Duration::from_secs(1), Duration::from_secs(5)];

pub(super) enum Job {
    Row(Box<Entry>, Option<oneshot::Sender<()>>),
    Flush(oneshot::Sender<()>),
}

/// Writes the rows.
pub struct Writer {
    pub(super) jobs: mpsc::Receiver<Job>,
    pub(super) log: Audit,
    pub(super) clock: Clock,
    pub(super) counts: Arc<Counts>,
}

/// What was taken from the channel.
#[derive(Default)]
struct Taken {
    rows: Vec<Entry>,
    waiting: Vec<oneshot::Sender<()>>,
    /// Whether somebody asked for everything to be written.
    flush: bool,
}

impl Taken {
    /// Notes a job; says whether somebody waits for it.
    fn take(&mut self, job: Job) -> bool {
        let done = match job {
            Job::Row(entry, done) => {
                self.rows.push(*entry);
                done
            }
            Job::Flush(done) => {
                self.flush = true;
                Some(done)
            }
        };
        let waits = done.is_some();
        self.waiting.extend(done);
        waits
    }
}

impl Writer {
    /// Writes what is recorded until every handle of the log is gone.
    pub async fn run(mut self) {
        let mut last = self.clock.now();
        loop {
            let elapsed = (self.clock.now() - last).to_std().unwrap_or_default();
            let job = self.clock.timeout(EVERY.saturating_sub(elapsed), self.jobs.recv()).await;
            let ended = matches!(job, Some(None));
            let mut taken = Taken::default();
            if let Some(Some(job)) = job {
                let urgent = taken.take(job);
                self.gather(&mut taken, urgent).await;
            }
            let due = self.clock.now() - last >= chrono::TimeDelta::from_std(EVERY).unwrap_or_default();
            if ended || due || taken.flush || self.counts.waiting() > MANY_COUNTS {
                taken.rows.extend(self.counts.changed(self.clock.now()));
            }
            if self.write(&taken.rows).await {
                for done in taken.waiting {
                    let _ = done.send(()); // nobody waits any longer
                }
            }
            if due {
                last = self.clock.now();
                let traced = self.log.take_traced();
                if let Err(error) = self.log.collect(&traced).await {
                    tracing::warn!(%error, "traces of the audit log cannot be tidied away; the next sweep does it");
                }
            }
            if ended {
                return;
            }
        }
    }

    /// Takes more jobs, for a moment where nobody waits.
    async fn gather(&mut self, taken: &mut Taken, mut urgent: bool) {
        while taken.rows.len() < MAX_ROWS_PER_COMMIT {
            match self.jobs.try_recv() {
                Ok(job) => urgent |= taken.take(job),
                Err(_) if urgent => break,
                Err(_) => match self.clock.timeout(GATHER, self.jobs.recv()).await {
                    Some(Some(job)) => urgent |= taken.take(job),
                    _ => break,
                },
            }
        }
    }

    async fn write(&self, rows: &[Entry]) -> bool {
        let mut days: BTreeMap<NaiveDate, Vec<&Entry>> = BTreeMap::new();
        for row in rows {
            days.entry(row.at.date_naive()).or_default().push(row);
        }
        let mut written = true;
        for (day, rows) in days {
            let partition = self.log.day(day);
            for rows in rows.chunks(MAX_ROWS_PER_COMMIT) {
                let mut outcome = self.commit(&partition, rows).await;
                for wait in TRIES {
                    if outcome.is_ok() {
                        break;
                    }
                    self.clock.sleep(wait).await;
                    outcome = self.commit(&partition, rows).await;
                }
                if let Err(error) = outcome {
                    tracing::error!(%error, rows = rows.len(), "rows of the audit log are lost");
                    written = false;
                }
            }
        }
        written
    }

    async fn commit(&self, partition: &Partition, rows: &[&Entry]) -> Result<(), StoreError> {
        // Written over, not inserted: a transaction whose answer was lost may be repeated.
        let writes = rows.iter().map(|row| Write::upsert(row_key(&row.id), row)).collect::<Result<_, _>>()?;
        partition.commit(writes).await.map(drop)
    }
}
