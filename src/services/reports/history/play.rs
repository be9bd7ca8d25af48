//! From one record of a plan to the next: what happened between them; pure.

use chrono::{DateTime, NaiveDate, Utc};
use chrono_tz::Tz;
use futures::future::BoxFuture;

use super::{Change, Last, Snapshot, State, States};
use crate::rows::StoreError;
use crate::services::planner::facts::{Move, PlanFacts, Step};

/// Reads a plan's moves behind a transaction, oldest first, as far as they are kept.
pub type Journal<'a> = &'a (dyn Fn(u64) -> BoxFuture<'a, Result<Vec<Move>, StoreError>> + Send + Sync);

/// What a record adds to the past.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Played {
    /// Days that ended since the record before, with the counts they ended with.
    pub(super) ended: Vec<(NaiveDate, Snapshot)>,
    pub(super) changes: Vec<Change>,
}

/// Plays the moves since the last record, and adds what they do not explain; pure. `now` belongs to today.
pub(super) fn play(
    last: &Last,
    moves: &[Move],
    plan: &PlanFacts,
    seen: &States,
    zone: Tz,
    now: DateTime<Utc>,
) -> Played {
    let day = |at: DateTime<Utc>| at.with_timezone(&zone).date_naive();
    let (mut played, mut tasks, mut time) = (Played::default(), last.tasks.clone(), last.at.min(now));
    for step in moves.iter().filter(|step| step.number > last.sequence && step.number <= plan.sequence) {
        let before = tasks.get(&step.task).cloned();
        let after = match &step.step {
            Step::Gone => None,
            // One that came back without a word of how is as it is seen now.
            Step::Became { percent, bucket } => {
                let known = before.as_ref().or_else(|| seen.get(&step.task));
                let percent = percent.or(known.map(|state| state.percent));
                let bucket = bucket.clone().unwrap_or_else(|| known.and_then(|state| state.bucket.clone()));
                percent.map(|percent| State { bucket, percent })
            }
        };
        if before == after {
            continue;
        }
        // Clocks of instances differ a little: time does not run backwards here, nor past the present.
        let at = step.at.clamp(time, now);
        if day(at) > day(time) {
            played.ended.push((day(time), Snapshot::counted(&tasks, &plan.buckets)));
        }
        time = at;
        match &after {
            Some(state) => tasks.insert(step.task.clone(), state.clone()),
            None => tasks.remove(&step.task),
        };
        played.changes.push(Change { at, task: step.task.clone(), from: before, to: after });
    }
    if !played.changes.is_empty() && day(now) > day(time) {
        played.ended.push((day(time), Snapshot::counted(&tasks, &plan.buckets)));
    }
    played.changes.extend(difference(&tasks, seen, now));
    played
}

/// What changed between two records; pure.
pub(super) fn difference(before: &States, now: &States, at: DateTime<Utc>) -> Vec<Change> {
    let gone = before.iter().filter(|(task, _)| !now.contains_key(*task));
    let gone = gone.map(|(task, state)| Change { at, task: task.clone(), from: Some(state.clone()), to: None });
    let other = now.iter().filter(|(task, state)| before.get(*task) != Some(*state));
    let other = other.map(|(task, state)| Change {
        at,
        task: task.clone(),
        from: before.get(task).cloned(),
        to: Some(state.clone()),
    });
    gone.chain(other).collect()
}
