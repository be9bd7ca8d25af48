//! What Planner's answers make of a push: for each answer, the rows to commit and how the push of its task goes on. Pure.

use std::time::Duration;

use chrono::{DateTime, Utc};

use super::absorb;
use super::merge::without_places;
use super::model::{ConflictKind, LostCreate, Sent, Side, TaskRecord};
use super::mutant::{Mutant, is_on};
use super::plan::{self, Action, Look, Looks, SETTLE, next_action};
use super::ports::{RemoteDetails, RemoteError, RemoteErrorKind, RemoteTask};
use super::push::{Cause, Outcome};
use super::replica::Replica;
use super::step::Step;
use crate::ids::TaskId;

/// After an unexplained failure the same task waits this long at least.
pub(super) const UNKNOWN_PAUSE: Duration = Duration::from_secs(1);
/// A transaction is closed when it has more rows than this; one answer adds a few.
pub(super) const COMMIT_ROWS: usize = 60;

/// The state of one task within a push.
pub(super) struct Progress {
    pub(super) looks: Looks,
    pub(super) overruled: usize,
    /// How long Planner wants to be left alone, should the store fail before that is an outcome.
    pub(super) hold: Duration,
    pub(super) outcome: Option<Outcome>,
}

impl Progress {
    pub(super) fn new() -> Self {
        Self { looks: Looks::NONE, overruled: 0, hold: UNKNOWN_PAUSE, outcome: None }
    }

    pub(super) fn note(&mut self, note: &Note) {
        self.overruled += note.overruled;
        self.looks.task = note.task.unwrap_or(self.looks.task);
        self.looks.details = note.details.unwrap_or(self.looks.details);
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
    task: Option<Look>,
    details: Option<Look>,
    overruled: usize,
    end: Option<Outcome>,
}

impl Note {
    fn end(end: Outcome) -> Self {
        Self { end: Some(end), ..Self::default() }
    }

    fn pending(retry_after: Duration, reason: &str) -> Self {
        Self::end(Outcome::Pending { retry_after, cause: Cause::Failure, reason: reason.to_owned() })
    }

    fn settling(reason: &str) -> Self {
        Self::end(Outcome::Pending { retry_after: settle(), cause: Cause::Settling, reason: reason.to_owned() })
    }

    /// What was looked at, and how.
    fn look(was: Was, look: Look) -> Self {
        match was {
            Was::UpdateDetails | Was::ReadDetails => Self { details: Some(look), ..Self::default() },
            _ => Self { task: Some(look), ..Self::default() },
        }
    }
}

/// Folds one answer into the task's row: what to commit, and what it means for the push. `looks` are those of before
/// the answer.
pub(super) fn fold(
    replica: &Replica,
    answer: &Answer,
    looks: Looks,
    requested_at: DateTime<Utc>,
    now: DateTime<Utc>,
) -> (Step, Note) {
    let Some(record) = replica.task(&answer.task).map(AsRef::as_ref) else {
        return (Step::default(), Note::default());
    };
    let applied = match &answer.result {
        Ok(applied) => applied,
        Err(error) => return fold_failure(record, answer, error, now),
    };
    if let (Applied::Task(task), Was::Create) = (applied, answer.was)
        && (record.remote.is_some() || replica.id_of(&task.id).is_some() || replica.is_dead(&task.id, requested_at))
    {
        // An equal create, unanswered until now, has taken this task for its own: this one looks for the other's.
        return (Step::default(), Note::pending(UNKNOWN_PAUSE, "an equal task is being created"));
    }
    let seen = answer.seen.remote.as_ref();
    let known = record.remote.as_ref();
    let (older, same) = match applied {
        Applied::Task(task) if answer.was != Was::Create => {
            (known.is_some_and(|known| task.etag < known.etag), seen.is_some_and(|seen| task.etag == seen.etag))
        }
        Applied::Details(details) => (
            known.is_some_and(|known| known.details_etag.as_ref().is_some_and(|known| details.etag < *known)),
            seen.is_some_and(|seen| seen.details_etag.as_ref() == Some(&details.etag)),
        ),
        _ => (false, false),
    };
    let is_read = matches!(answer.was, Was::Read | Was::ReadDetails);
    let older = older && !is_on(Mutant::StaleReadsApplied);
    if older && !is_read {
        // Somebody read something newer in the meantime; what this call left behind is looked for there.
        return (Step::default(), Note::look(answer.was, Look::Unchecked));
    }
    let refused = if answer.was == Was::ReadDetails { looks.details } else { looks.task } == Look::Refused;
    if older || (is_read && same && refused) {
        return (Step::default(), Note::pending(UNKNOWN_PAUSE, "Planner still shows an earlier state of the task"));
    }
    let doubt = replica.doubt(&answer.task, requested_at);
    let mut step = match (applied, answer.was) {
        (Applied::Task(task), Was::Create) => {
            let mut step = absorb::after_create(record, &answer.sent, task, now);
            // An instance that took over meanwhile may have given this very try up.
            if !record.attempts.iter().any(|attempt| attempt.sent == answer.sent) {
                let given_up = |lost: &&LostCreate| lost.task == record.id && lost.attempt.sent == answer.sent;
                step.found = replica.lost().find(given_up).cloned().into_iter().collect();
            }
            step
        }
        (Applied::Task(task), Was::Read) => absorb::after_read(record, task, requested_at, doubt),
        (Applied::Task(task), _) => absorb::after_update(record, &answer.sent, task, now),
        (Applied::Details(details), Was::ReadDetails) => {
            absorb::after_details(record, None, details, requested_at, doubt)
        }
        (Applied::Details(details), _) => {
            let fields = without_places(&record.fields, &answer.seen.fields);
            let record = TaskRecord { fields, ..record.clone() };
            absorb::after_details(&record, Some(&answer.sent), details, now, doubt)
        }
        (Applied::Deleted, _) => plan::gone(record, ConflictKind::DeletedWhileEdited, "deleted here", now),
        (Applied::Gone, _) if plan::is_young(record, requested_at) => {
            return (Step::default(), Note::settling("Planner does not show the task yet"));
        }
        (Applied::Gone, _) => plan::gone(record, ConflictKind::GoneOnPlanner, "the task was deleted in Planner", now),
    };
    let overruled = step.conflicts.iter().filter(|conflict| conflict.winner == Side::Planner).count();
    let note = Note { overruled, ..Note::look(answer.was, Look::Checked) };
    let end = match applied {
        Applied::Gone if !record.deleted => {
            let reason = "the task was deleted in Planner before the change arrived".to_owned();
            Some(Outcome::Failed { reason, forbidden: false })
        }
        Applied::Gone | Applied::Deleted => Some(Outcome::Synced { overruled }),
        _ => finish_if_arrived(&mut step).then_some(Outcome::Synced { overruled }),
    };
    (step, Note { end, ..note })
}

/// When the answer left nothing to do, its transaction finishes the task's operations too.
fn finish_if_arrived(step: &mut Step) -> bool {
    let Some(record) = step.put.first() else { return false };
    if next_action(record, Looks::ALL) != Action::Nothing && !is_on(Mutant::FinishedTooEarly) {
        return false;
    }
    let finished = plan::finish(record, record.revision);
    if let Some(record) = finished.put.into_iter().next() {
        step.put = vec![record];
        step.finish = finished.finish;
    }
    true
}

fn fold_failure(record: &TaskRecord, answer: &Answer, error: &RemoteError, now: DateTime<Utc>) -> (Step, Note) {
    let put = |record: TaskRecord| Step { put: vec![record], ..Step::default() };
    // What surely did not happen leaves no attempt.
    let mut without = record.clone();
    let noted = without.attempts.iter().rposition(|attempt| attempt.sent == answer.sent);
    if let Some(noted) = noted {
        without.attempts.remove(noted);
    }
    let undo = || if noted.is_some() { put(without.clone()) } else { Step::default() };
    // What may have happened did so before now.
    let mut dated = record.clone();
    if let Some(attempt) = noted.and_then(|noted| dated.attempts.get_mut(noted)) {
        attempt.at = now;
    }
    let keep = || if noted.is_some() { put(dated.clone()) } else { Step::default() };
    let is_read = matches!(answer.was, Was::Read | Was::ReadDetails);
    match error.kind {
        RemoteErrorKind::Stale if answer.was == Was::Create => (keep(), Note::default()),
        RemoteErrorKind::Stale => (undo(), Note::look(answer.was, Look::Refused)),
        RemoteErrorKind::Gone if answer.was != Was::Create => {
            (undo(), Note { task: Some(Look::Refused), ..Note::default() })
        }
        RemoteErrorKind::Refused | RemoteErrorKind::Forbidden if is_read => {
            (Step::default(), Note::pending(UNKNOWN_PAUSE, &error.message))
        }
        // The create has been settled meanwhile: what it was asked says nothing any more.
        _ if answer.was == Was::Create && record.remote.is_some() => (Step::default(), Note::default()),
        RemoteErrorKind::Forbidden if answer.was == Was::Create && is_on(Mutant::DeniedPostIsFinal) => (
            plan::gone(record, ConflictKind::Refused, &error.message, now),
            Note::end(Outcome::Failed { reason: error.message.clone(), forbidden: true }),
        ),
        RemoteErrorKind::Unknown if is_on(Mutant::LostReplyIsArrival) && answer.was == Was::Update => {
            (plan::finish(record, record.revision), Note::end(Outcome::Synced { overruled: 0 }))
        }
        RemoteErrorKind::Forbidden if answer.was == Was::Create => (
            plan::take_back(&dated, &error.message, now),
            Note::end(Outcome::Failed { reason: error.message.clone(), forbidden: true }),
        ),
        // A copy that may not be deleted now is deleted when it may: else the task would be there twice.
        RemoteErrorKind::Refused | RemoteErrorKind::Forbidden if record.copy => {
            (undo(), Note::settling(&error.message))
        }
        // Changed again since: the newer state has not been refused.
        RemoteErrorKind::Refused if record.revision != answer.seen.revision => (undo(), Note::default()),
        RemoteErrorKind::Refused | RemoteErrorKind::Forbidden | RemoteErrorKind::Gone => {
            let forbidden = error.kind == RemoteErrorKind::Forbidden;
            let note = Note::end(Outcome::Failed { reason: error.message.clone(), forbidden });
            (plan::refuse(&without, &error.message, now), note)
        }
        RemoteErrorKind::NotNow(retry_after) => (undo(), Note::pending(retry_after, &error.message)),
        RemoteErrorKind::Unknown => {
            let note = match answer.was {
                Was::Create => Note::settling(&error.message),
                _ => Note::pending(UNKNOWN_PAUSE, &error.message),
            };
            (keep(), note)
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
    /// The row as it was when the call was decided.
    seen: TaskRecord,
    /// The pieces the call carried.
    sent: Sent,
    pub(super) result: Result<Applied, RemoteError>,
}

/// Which call it was.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Was {
    Create,
    Update,
    UpdateDetails,
    Delete,
    Read,
    ReadDetails,
}

pub(super) enum Applied {
    Task(Box<RemoteTask>),
    Details(RemoteDetails),
    Deleted,
    Gone,
}

/// Puts each answer beside the task and the action it belongs to.
pub(super) fn pair<T>(
    was: Was,
    wanted: &[&(TaskRecord, Action)],
    answers: Vec<Result<T, RemoteError>>,
    apply: impl Fn(T) -> Applied,
) -> Vec<Answer> {
    let answer = |(asked, answer): (&&(TaskRecord, Action), Result<T, RemoteError>)| Answer {
        task: asked.0.id.clone(),
        was,
        seen: asked.0.clone(),
        sent: plan::sent_by(&asked.0, &asked.1),
        result: answer.map(&apply),
    };
    wanted.iter().zip(answers).map(answer).collect()
}
