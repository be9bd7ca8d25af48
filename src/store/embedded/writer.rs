//! The thread that writes: it groups what waits into one synced transaction.

use std::sync::mpsc;

use rusqlite::{Connection, OptionalExtension, params};
use tokio::sync::oneshot;

use super::file::{Place, Side, classify};
use crate::rows::{Expect, Found, RowVersion, StoreError, Write};

/// Most commits grouped into one synced transaction.
const MAX_GROUP: usize = 64;

pub(super) struct Job {
    pub(super) partition: String,
    pub(super) writes: Vec<Write>,
    pub(super) answer: oneshot::Sender<Result<Vec<Option<RowVersion>>, StoreError>>,
}

/// Commits what waits until every sender is gone. Jobs of one group share a sync.
pub(super) fn write_loop(mut side: Side, place: &Place, jobs: &mpsc::Receiver<Job>) {
    while let Ok(first) = jobs.recv() {
        let mut group = vec![first];
        while group.len() < MAX_GROUP
            && let Ok(job) = jobs.try_recv()
        {
            group.push(job);
        }
        let outcome = place.check().and_then(|()| apply_group(&mut side, &group).map_err(|error| classify(&error)));
        match outcome {
            Ok(results) => {
                for (job, result) in group.into_iter().zip(results) {
                    let _ = job.answer.send(result); // the caller may have gone; the commit stands
                }
            }
            Err(error) => {
                side.partitions.clear(); // new ones are undone with the transaction
                for job in group {
                    let _ = job.answer.send(Err(error.clone()));
                }
            }
        }
    }
}

type JobResult = Result<Vec<Option<RowVersion>>, StoreError>;

/// Commits a group: each job whose conditions hold, and the number of the newest row once for all of them.
fn apply_group(side: &mut Side, group: &[Job]) -> rusqlite::Result<Vec<JobResult>> {
    side.connection.execute_batch("BEGIN IMMEDIATE")?;
    let applied = apply_jobs(side, group).and_then(|results| {
        side.connection.execute_batch("COMMIT")?;
        Ok(results)
    });
    if applied.is_err() && !side.connection.is_autocommit() {
        side.connection.execute_batch("ROLLBACK")?;
    }
    applied
}

fn apply_jobs(side: &mut Side, group: &[Job]) -> rusqlite::Result<Vec<JobResult>> {
    let before: i64 = side.connection.prepare_cached("SELECT version FROM counter")?.query_row([], |row| row.get(0))?;
    let mut newest = before;
    let mut results = Vec::with_capacity(group.len());
    for job in group {
        let partition = side.partition(&job.partition)?;
        results.push(match unmet(&side.connection, partition, job)? {
            Some((key, found)) => Err(StoreError::Conflict { key: key.to_owned(), found }),
            None => Ok(apply(side, partition, job, &mut newest)?),
        });
    }
    if newest != before {
        side.connection.prepare_cached("UPDATE counter SET version=?1")?.execute([newest])?;
    }
    Ok(results)
}

/// The first condition of a job that does not hold. A job is checked whole before any of it is written, so one that is
/// refused leaves nothing to undo.
fn unmet<'a>(
    connection: &Connection,
    partition: Option<i64>,
    job: &'a Job,
) -> rusqlite::Result<Option<(&'a str, Found)>> {
    let mut read = connection.prepare_cached("SELECT version FROM stored WHERE partition=?1 AND key=?2")?;
    for write in &job.writes {
        if write.expect == Expect::Anything {
            continue;
        }
        let version: Option<i64> = match partition {
            Some(partition) => read.query_row(params![partition, write.key], |row| row.get(0)).optional()?,
            None => None,
        };
        let found = match (&write.expect, version) {
            (Expect::Absent, Some(_)) => Found::Exists,
            (Expect::Version(_), None) => Found::Nothing,
            (Expect::Version(expected), Some(version)) if *expected.0 != *version.to_string() => Found::OtherVersion,
            _ => continue,
        };
        return Ok(Some((&write.key, found)));
    }
    Ok(None)
}

/// Writes a job's rows, each with the next number as its version.
fn apply(
    side: &mut Side,
    partition: Option<i64>,
    job: &Job,
    newest: &mut i64,
) -> rusqlite::Result<Vec<Option<RowVersion>>> {
    let partition = match partition {
        Some(partition) => partition,
        None => {
            side.connection.prepare_cached("INSERT INTO partitions (name) VALUES (?1)")?.execute([&job.partition])?;
            let number = side.connection.last_insert_rowid();
            side.partitions.insert(job.partition.clone(), number);
            number
        }
    };
    let mut put = side.connection.prepare_cached(
        "INSERT INTO stored VALUES (?1,?2,?3,?4) ON CONFLICT DO UPDATE SET version=excluded.version, json=excluded.json",
    )?;
    let mut delete = side.connection.prepare_cached("DELETE FROM stored WHERE partition=?1 AND key=?2")?;
    let mut versions = Vec::with_capacity(job.writes.len());
    for write in &job.writes {
        if let Some(json) = &write.json {
            *newest += 1;
            put.execute(params![partition, write.key, *newest, json.as_ref()])?;
            versions.push(Some(RowVersion(newest.to_string().into())));
        } else {
            delete.execute(params![partition, write.key])?;
            versions.push(None);
        }
    }
    Ok(versions)
}
