//! What Planner's answers make of a push: for each answer, the rows to commit and how the push of its task goes on. Pure.

use std::time::Duration;

use chrono::{DateTime, Utc};

use super::model::{ConflictKind, Side, TaskFields, TaskRecord};
use super::plan::{self, Action, SETTLE, Stale, next_action};
use super::ports::{RemoteDetails, RemoteError, RemoteErrorKind, RemoteTask};
use super::push::Outcome;
use super::replica::Step;
use crate::ids::TaskId;

/// After an unexplained failure the same task waits this long at least.
pub(super) const UNKNOWN_PAUSE: Duration = Duration::from_secs(1);

/// The state of one task within a push.
pub(super) struct Progress {
    pub(super) stale: Stale,
    pub(super) overruled: usize,
    pub(super) outcome: Option<Outcome>,
}

impl Progress {
    pub(super) fn note(&mut self, note: &Note) {
        self.overruled += note.overruled;
        if let Some(stale) = note.stale {
            self.stale = stale;
        }
        self.outcome = match &note.end {
            None => None,
            Some(Outcome::Synced { .. }) => Some(Outcome::Synced { overruled: self.overruled }),
            Some(other) => Some(other.clone()),
        };
    }
}

/// What one answer means for the push of its task.
#[derive(Default)]
pub(super) struct Note {
    stale: Option<Stale>,
    overruled: usize,
    end: Option<Outcome>,
}

/// A transaction is closed when it has more rows than this; one answer adds a few.
pub(super) const COMMIT_ROWS: usize = 60;

/// Folds one answer into the task's row: what to commit, and what it means for the push.
pub(super) fn fold(
    record: Option<&TaskRecord>,
    answer: &Answer,
    requested_at: DateTime<Utc>,
    now: DateTime<Utc>,
) -> (Step, Note) {
    let Some(record) = record else { return (Step::default(), Note::default()) };
    let applied = match &answer.result {
        Ok(applied) => applied,
        Err(error) => return fold_failure(record, answer.was, error, now),
    };
    let mut step = match applied {
        Applied::Created(task) => plan::after_create(record, task, now),
        Applied::Updated { sent, task } => plan::after_update(record, sent, task, now),
        Applied::Read(task) => plan::after_read(record, task, requested_at),
        Applied::Details { sent, details } => plan::after_details(record, sent.as_ref(), details, requested_at),
        Applied::Deleted => plan::gone(record, ConflictKind::DeletedWhileEdited, "deleted here", now),
        Applied::Gone => plan::gone(record, ConflictKind::GoneOnPlanner, "the task was deleted in Planner", now),
    };
    let overruled = step.conflicts.iter().filter(|conflict| conflict.winner == Side::Planner).count();
    let end = match applied {
        Applied::Gone if record.deleted => Some(Outcome::Synced { overruled }),
        Applied::Gone => {
            let reason = "the task was deleted in Planner before the change arrived".to_owned();
            Some(Outcome::Failed { reason, forbidden: false })
        }
        Applied::Deleted => Some(Outcome::Synced { overruled }),
        _ => finish_if_arrived(&mut step).then_some(Outcome::Synced { overruled }),
    };
    let stale = match applied {
        Applied::Read(_) | Applied::Details { .. } => Some(Stale::Checked),
        Applied::Updated { .. } | Applied::Created(_) => Some(Stale::No),
        Applied::Deleted | Applied::Gone => None,
    };
    (step, Note { stale, overruled, end })
}

/// When the answer left nothing to do, its transaction finishes the task's operations too.
fn finish_if_arrived(step: &mut Step) -> bool {
    let Some(record) = step.put.first() else { return false };
    if next_action(record, Stale::Checked) != Action::Nothing {
        return false;
    }
    let finished = plan::finish(record, record.revision);
    if let Some(record) = finished.put.into_iter().next() {
        step.put = vec![record];
        step.finish = finished.finish;
    }
    true
}

fn fold_failure(record: &TaskRecord, was: Was, error: &RemoteError, now: DateTime<Utc>) -> (Step, Note) {
    let ended = |end: Outcome| Note { end: Some(end), ..Note::default() };
    match error.kind {
        RemoteErrorKind::Stale => {
            let stale = if was == Was::Details { Stale::Details } else { Stale::Task };
            (Step::default(), Note { stale: Some(stale), ..Note::default() })
        }
        RemoteErrorKind::Gone if was != Was::Create => {
            (Step::default(), Note { stale: Some(Stale::Task), ..Note::default() })
        }
        RemoteErrorKind::Refused | RemoteErrorKind::Forbidden | RemoteErrorKind::Gone => {
            let forbidden = error.kind == RemoteErrorKind::Forbidden;
            let note = ended(Outcome::Failed { reason: error.message.clone(), forbidden });
            (plan::refuse(record, &error.message, now), note)
        }
        RemoteErrorKind::NotNow(retry_after) => {
            // Nothing happened: what was noted as sent was not.
            let mut next = record.clone();
            let step = match next.attempts.pop() {
                Some(_) => Step { put: vec![next], ..Step::default() },
                None => Step::default(),
            };
            (step, ended(Outcome::Pending { retry_after, reason: error.message.clone() }))
        }
        RemoteErrorKind::Unknown => {
            let retry_after = if was == Was::Create { settle() } else { UNKNOWN_PAUSE };
            (Step::default(), ended(Outcome::Pending { retry_after, reason: error.message.clone() }))
        }
    }
}

/// The settle time as a wait.
pub(super) fn settle() -> Duration {
    SETTLE.to_std().unwrap_or(Duration::from_secs(30))
}

/// What one call answered about one task.
pub(super) struct Answer {
    pub(super) task: TaskId,
    was: Was,
    pub(super) result: Result<Applied, RemoteError>,
}

/// Which call it was, where a failure means different things.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Was {
    Create,
    Task,
    Details,
}

pub(super) enum Applied {
    Created(Box<RemoteTask>),
    Updated { sent: TaskFields, task: Box<RemoteTask> },
    Read(Box<RemoteTask>),
    Details { sent: Option<TaskFields>, details: RemoteDetails },
    Deleted,
    Gone,
}

pub(super) fn pair<T>(
    was: Was,
    wanted: &[&TaskRecord],
    answers: Vec<Result<T, RemoteError>>,
    apply: impl Fn(&TaskRecord, T) -> Applied,
) -> Vec<Answer> {
    let answer = |(record, answer): (&&TaskRecord, Result<T, RemoteError>)| Answer {
        task: record.id.clone(),
        was,
        result: answer.map(|value| apply(record, value)),
    };
    wanted.iter().zip(answers).map(answer).collect()
}
