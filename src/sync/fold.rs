//! What Planner's answers make of a push: for each answer, the rows to commit and how the push of its task continues. Pure.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};

use super::absorb;
use super::model::{ConflictKind, FieldRef, LostCreate, Sent, Side, TaskRecord};
use super::mutant::{Mutant, is_on};
use super::places::without_places;
use super::plan::{self, Action, CheckState, Checks, SETTLE, next_action};
use super::ports::{RemoteDetails, RemoteError, RemoteErrorKind, RemoteTask};
use super::push::{Cause, Outcome};
use super::replica::Replica;
use super::step::Step;
use crate::ids::TaskId;

/// After an unexplained failure the same task waits this long at least.
pub(super) const UNKNOWN_PAUSE: Duration = Duration::from_secs(1);
/// A transaction is closed when it has more rows than this; one answer adds a few.
pub(super) const COMMIT_ROWS: usize = 60;
/// What a caller gets whose change found no task any more.
pub(super) const DELETED_THERE: &str = "the task was deleted in Planner before the change arrived";

/// The state of one task within a push.
pub(super) struct Progress {
    pub(super) checks: Checks,
    pub(super) overruled: usize,
    /// Why Planner refused some of its fields, if it did.
    refused: Option<String>,
    /// The plan was found to be there after something of it had not been found.
    pub(super) alive: bool,
    /// It tries for all tasks of a plan that may not be written.
    pub(super) tries: bool,
    /// How long Planner wants to be left alone, should the store fail before that is an outcome.
    pub(super) hold: Duration,
    pub(super) outcome: Option<Outcome>,
}

impl Progress {
    pub(super) fn new() -> Self {
        let (checks, hold) = (Checks::NONE, UNKNOWN_PAUSE);
        Self { checks, overruled: 0, refused: None, alive: false, tries: false, hold, outcome: None }
    }

    /// How a push ends that left nothing to do.
    pub(super) fn arrived(&self) -> Outcome {
        match &self.refused {
            Some(reason) => Outcome::Failed { reason: reason.clone() },
            None => Outcome::Synced { overruled: self.overruled },
        }
    }

    pub(super) fn note(&mut self, note: &Note) {
        self.overruled += note.overruled;
        self.checks.task = note.task.unwrap_or(self.checks.task);
        self.checks.details = note.details.unwrap_or(self.checks.details);
        self.checks.apart |= note.apart;
        self.refused = note.refused.clone().or(self.refused.take());
        self.outcome = match &note.end {
            None => None,
            Some(Outcome::Synced { .. }) => Some(self.arrived()),
            Some(other) => Some(other.clone()),
        };
    }
}

/// What one answer means for the push of its task.
#[derive(Default)]
pub(super) struct Note {
    task: Option<CheckState>,
    details: Option<CheckState>,
    overruled: usize,
    /// The changes are to be sent one by one.
    apart: bool,
    /// Planner refuses some of the fields, for this reason.
    refused: Option<String>,
    /// Something was not found: is the plan there at all?
    pub(super) asks: bool,
    /// Planner denies writing, in these words.
    pub(super) denied: Option<String>,
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

    fn asks() -> Self {
        Self { asks: true, ..Self::default() }
    }

    /// What was checked, and how.
    fn checked(was: Was, state: CheckState) -> Self {
        match was {
            Was::UpdateDetails | Was::ReadDetails => Self { details: Some(state), ..Self::default() },
            _ => Self { task: Some(state), ..Self::default() },
        }
    }
}

/// What a push knows of a task before an answer.
#[derive(Clone, Copy)]
pub(super) struct Known {
    pub(super) checks: Checks,
    /// The plan was found to be there since something was not found.
    pub(super) alive: bool,
}

/// When answers came, by which clock.
#[derive(Clone, Copy)]
pub(super) struct Times {
    /// When the calls were made.
    pub(super) requested_at: DateTime<Utc>,
    /// Now.
    pub(super) now: DateTime<Utc>,
    /// How far Planner's clock is ahead of ours.
    pub(super) ahead: TimeDelta,
}

/// Folds one answer into the task's row: what to commit, and what it means for the push. `checks` are those of before
/// the answer.
pub(super) fn fold(replica: &Replica, answer: &Answer, known: Known, times: Times) -> (Step, Note) {
    let Times { requested_at, now, ahead } = times;
    let Known { checks, alive } = known;
    let alive = alive || is_on(Mutant::GoneWithThePlan);
    let Some(record) = replica.task(&answer.task).map(AsRef::as_ref) else {
        return (Step::default(), Note::default());
    };
    let applied = match &answer.result {
        Ok(applied) => applied,
        Err(error) if error.kind == RemoteErrorKind::Gone && answer.was == Was::Delete && alive => &Applied::Deleted,
        Err(error) => return fold_failure(record, answer, error, alive, times),
    };
    if let (Applied::Task(task), Was::Create) = (applied, answer.was)
        && (record.remote.is_some() || replica.id_of(&task.id).is_some() || replica.is_dead(&task.id, requested_at))
    {
        // An equal create, unanswered until now, has taken this task for its own: this one searches for the other's.
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
        // Another call read something newer in the meantime; what this call left behind is searched for there.
        return (Step::default(), Note::checked(answer.was, CheckState::Unchecked));
    }
    let refused = if answer.was == Was::ReadDetails { checks.details } else { checks.task } == CheckState::Refused;
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
            let mut asked = answer.seen.fields.clone();
            if let Some(details) = &mut asked.details {
                details.checklist.retain(|key, _| answer.sent.contains(FieldRef::Checklist(key)));
            }
            let fields = without_places(&record.fields, &asked);
            let record = TaskRecord { fields, ..record.clone() };
            absorb::after_details(&record, Some(&answer.sent), details, now, doubt)
        }
        (Applied::Deleted, _) => plan::gone(record, ConflictKind::DeletedWhileEdited, "deleted here", now),
        (Applied::Gone, _) if plan::is_young(record, requested_at + ahead) => {
            return (Step::default(), Note::settling("Planner does not show the task yet"));
        }
        // With its plan a task is only hidden: a deleted group can be restored.
        (Applied::Gone, _) if !alive => return (Step::default(), Note::asks()),
        (Applied::Gone, _) => plan::gone(record, ConflictKind::GoneOnPlanner, "the task was deleted in Planner", now),
    };
    let overruled = step.conflicts.iter().filter(|conflict| conflict.winner == Side::Planner).count();
    let note = Note { overruled, ..Note::checked(answer.was, CheckState::Checked) };
    let end = match applied {
        Applied::Gone if !record.deleted => Some(Outcome::Failed { reason: DELETED_THERE.to_owned() }),
        Applied::Gone | Applied::Deleted => Some(Outcome::Synced { overruled }),
        _ => finish_if_arrived(&mut step).then_some(Outcome::Synced { overruled }),
    };
    (step, Note { end, ..note })
}

/// When the answer left nothing to do, its transaction finishes the task's operations too.
fn finish_if_arrived(step: &mut Step) -> bool {
    let Some(record) = step.put.first() else { return false };
    if next_action(record, Checks::ALL) != Action::Nothing && !is_on(Mutant::FinishedTooEarly) {
        return false;
    }
    let finished = plan::finish(record, record.revision);
    if let Some(record) = finished.put.into_iter().next() {
        step.put = vec![record];
        step.finish = finished.finish;
    }
    true
}

/// Folds a failure. What surely did not happen leaves no attempt; what may have happened keeps its own, no matter what the
/// answer says: a refusal of the repetition may be the echo of a success. Only what Planner refuses for its content is
/// given up; for what may not be done, or has no plan to be done in, the row waits.
fn fold_failure(
    record: &TaskRecord,
    answer: &Answer,
    error: &RemoteError,
    alive: bool,
    Times { now, ahead, .. }: Times,
) -> (Step, Note) {
    let creates = answer.was == Was::Create;
    let is_read = matches!(answer.was, Was::Read | Was::ReadDetails);
    let mut next = record.clone();
    let noted = next.attempts.iter().rposition(|attempt| attempt.sent == answer.sent);
    let echo = error.maybe_done && !(is_on(Mutant::AmbiguousIsStale) && error.kind != RemoteErrorKind::Unknown);
    if !echo && let Some(noted) = noted {
        next.attempts.remove(noted);
    } else if let Some(attempt) = noted.and_then(|noted| next.attempts.get_mut(noted)) {
        // It happened before now. Creates are compared with Planner's own times.
        attempt.at = if creates { now + ahead } else { now };
    }
    let put = |record: TaskRecord| Step { put: vec![record], ..Step::default() };
    let rest = |next: TaskRecord| if noted.is_some() { put(next) } else { Step::default() };
    match error.kind {
        RemoteErrorKind::Stale if creates => (rest(next), Note::default()),
        RemoteErrorKind::Stale => (rest(next), Note::checked(answer.was, CheckState::Refused)),
        RemoteErrorKind::Gone if answer.was == Was::Delete => (Step::default(), Note::asks()),
        RemoteErrorKind::Gone if !creates => (rest(next), Note { task: Some(CheckState::Refused), ..Note::default() }),
        RemoteErrorKind::Refused | RemoteErrorKind::Forbidden if is_read => {
            (Step::default(), Note::pending(UNKNOWN_PAUSE, &error.message))
        }
        // The create has been settled meanwhile: what it was asked says nothing any more.
        _ if creates && record.remote.is_some() => (Step::default(), Note::default()),
        RemoteErrorKind::Gone if !alive => (rest(next), Note::asks()),
        RemoteErrorKind::Forbidden if creates && is_on(Mutant::DeniedPostIsFinal) => (
            plan::gone(record, ConflictKind::Refused, &error.message, now),
            Note::end(Outcome::Failed { reason: error.message.clone() }),
        ),
        RemoteErrorKind::Forbidden if is_on(Mutant::DeniedIsRefused) => {
            let end = Note::end(Outcome::Failed { reason: error.message.clone() });
            (plan::refuse(&next, &error.message, now), end)
        }
        // It may have arrived before it was refused: then there is nothing to give up.
        RemoteErrorKind::Refused if echo && creates => (rest(next), Note::settling(&error.message)),
        RemoteErrorKind::Refused if echo => (rest(next), Note::checked(answer.was, CheckState::Refused)),
        RemoteErrorKind::Unknown if is_on(Mutant::LostReplyIsArrival) && answer.was == Was::Update => {
            (plan::finish(record, record.revision), Note::end(Outcome::Synced { overruled: 0 }))
        }
        RemoteErrorKind::Forbidden => {
            let note = Note::pending(UNKNOWN_PAUSE, &error.message);
            (rest(next), Note { denied: Some(error.message.clone()), ..note })
        }
        // A copy that may not be deleted now is deleted when it may: else the task would be there twice.
        RemoteErrorKind::Refused if record.copy => (rest(next), Note::settling(&error.message)),
        // Changed again since: the newer state has not been refused.
        RemoteErrorKind::Refused if record.revision != answer.seen.revision => (rest(next), Note::default()),
        RemoteErrorKind::Refused if plan::is_divisible(&answer.sent) && !creates => {
            (rest(next), Note { apart: true, ..Note::default() })
        }
        RemoteErrorKind::Refused if record.remote.is_some() && !answer.sent.is_empty() => {
            let mut step = plan::refuse_fields(&next, &answer.sent, &error.message, now);
            let end = finish_if_arrived(&mut step).then_some(Outcome::Synced { overruled: 0 });
            (step, Note { refused: Some(error.message.clone()), end, ..Note::default() })
        }
        RemoteErrorKind::Refused | RemoteErrorKind::Gone => {
            (plan::refuse(&next, &error.message, now), Note::end(Outcome::Failed { reason: error.message.clone() }))
        }
        RemoteErrorKind::NotNow(retry_after) => (rest(next), Note::pending(retry_after, &error.message)),
        RemoteErrorKind::Unknown if creates => (rest(next), Note::settling(&error.message)),
        RemoteErrorKind::Unknown => (rest(next), Note::pending(UNKNOWN_PAUSE, &error.message)),
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
    /// The fields the call carried.
    sent: Sent,
    pub(super) result: Result<Applied, RemoteError>,
}

impl Answer {
    /// Whether Planner has done what it was asked to write.
    pub(super) fn is_write_done(&self) -> bool {
        !matches!(self.was, Was::Read | Was::ReadDetails) && self.result.is_ok()
    }
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
