//! Finding the task a create made whose answer was lost: Planner takes no key that would tell. Pure.
//!
//! A task that our application made in the plan and no row knows is the result of some unanswered create. A task equal
//! to what was sent is ours. One that a person has edited since goes to the create sent nearest to its creation (of
//! several sent at about that time, to the one it is still most like), and the conflict log keeps what was sent: a
//! create that waited for a person to decide would keep the agent's task from Planner for as long.

use chrono::TimeDelta;

use super::field_value::{assemble, field_values};
use super::model::{Attempt, LostCreate, OfField, Sent, TaskRecord};
use super::mutant::{Mutant, is_on};
use super::plan::CLOCKS_APART;
use super::ports::RemoteTask;
use crate::ids::TaskId;

/// How far Planner's clock may be behind ours when a task's creation time is compared.
const CLOCK_TOLERANCE: TimeDelta = TimeDelta::minutes(5);

/// Seconds within which the times of calls say nothing: Planner's clock and those of several instances are not one.
const SKEW: i64 = 10;

/// What a listing says about a create whose answer was lost.
#[derive(Debug, PartialEq)]
pub enum Resolution<'a> {
    /// It happened: this task is equal to what was sent.
    Adopt(&'a RemoteTask),
    /// It did not happen, and Planner has had time to show it.
    Absent,
    /// Planner may not show it yet.
    TooEarly,
    /// It happened as far as one can tell: a person has edited the task since, or made ours equal another create's.
    Guess(&'a RemoteTask),
}

/// Finds a task whose create was sent without an answer, in a listing without repeats. `others` are the other
/// unanswered creates of the plan. Equal tasks may be adopted in any order. What is more likely the copy of a create that
/// was given up (`lost`) is not what this one made. `has_settled` tells whether the listing must show what a create sent.
pub fn resolve<'a>(
    record: &TaskRecord,
    others: &[&TaskRecord],
    listing: &'a [RemoteTask],
    is_known: impl Fn(&RemoteTask) -> bool,
    lost: &[&LostCreate],
    application: Option<&str>,
    has_settled: impl Fn(&TaskRecord) -> bool,
) -> Resolution<'a> {
    let mut candidates: Vec<&RemoteTask> =
        listing.iter().filter(|task| !is_known(task) && could_be(record, task, application)).collect();
    candidates.sort_by_key(|task| (task.facts.created_at, &task.id));
    // Of equal creates each takes the task nearest to it: another one's may be all that is shown yet.
    let creates: Vec<&TaskRecord> = others.iter().copied().chain([record]).collect();
    let fits = |create: &TaskRecord, task: &RemoteTask| is_equal(create, task) && !is_foreign(create, &creates, task);
    let equal: Vec<&RemoteTask> = candidates.iter().copied().filter(|task| fits(record, task)).collect();
    let is_rival = |create: &&TaskRecord| create.id == record.id || equal.iter().any(|task| fits(create, task));
    let rivals: Vec<&TaskRecord> = creates.iter().copied().filter(is_rival).collect();
    if let Some(task) = nearest(record, &rivals, &equal) {
        return Resolution::Adopt(task);
    }
    let all_settled = has_settled(record) && (candidates.is_empty() || others.iter().all(|other| has_settled(other)));
    // Every other create keeps the task that is equal to it.
    let mut open = Vec::new();
    for other in others {
        match candidates.iter().rposition(|task| fits(other, task)) {
            Some(reserved) => drop(candidates.remove(reserved)),
            None => open.push(*other),
        }
    }
    candidates.retain(|task| !is_given_up(record, lost, task, application));
    let is_claimed = |task: &RemoteTask| open.iter().any(|other| could_be(other, task, application));
    match candidates.as_slice() {
        [task] if !is_claimed(task) && (all_settled || has_title(record, task)) => Resolution::Guess(task),
        _ if !all_settled => Resolution::TooEarly,
        [] => Resolution::Absent,
        tasks => {
            open.push(record);
            nearest(record, &open, tasks).map_or(Resolution::Absent, Resolution::Guess)
        }
    }
}

/// The create given up of which a task nobody knows is the second copy: made with our application, after the attempt, and
/// exactly as it was sent. One that a person has edited is a task of its own. How long after says nothing: a process may
/// have stood still with the call in its hands.
#[must_use]
pub fn copy_of<'a>(
    lost: impl IntoIterator<Item = &'a LostCreate>,
    task: &RemoteTask,
    application: Option<&str>,
) -> Option<&'a LostCreate> {
    let is_ours = application.is_some() && task.facts.created_with.as_deref() == application;
    let made = |lost: &LostCreate| {
        let in_time = |created| created + CLOCK_TOLERANCE >= lost.attempt.at;
        task.facts.created_at.is_none_or(in_time) && differing(&lost.attempt, task) == 0
    };
    lost.into_iter().find(|lost| is_ours && !is_on(Mutant::CopiesStay) && made(lost))
}

/// Whether a task that is equal to what a create sent was made before that was sent, and when another was, which sent
/// something else: a person has made it equal this one.
fn is_foreign(create: &TaskRecord, creates: &[&TaskRecord], task: &RemoteTask) -> bool {
    let first = create.attempts.iter().map(|attempt| attempt.at).min();
    let made_before = task.facts.created_at.zip(first).is_some_and(|(made, first)| made + CLOCKS_APART < first);
    let is_nearer = |other: &&TaskRecord| !is_equal(other, task) && far(other, task).0 < far(create, task).0;
    made_before && creates.iter().any(is_nearer)
}

/// Whether a task is more likely the copy of a create given up than what this one made and a person edited since.
fn is_given_up(record: &TaskRecord, lost: &[&LostCreate], task: &RemoteTask, application: Option<&str>) -> bool {
    copy_of(lost.iter().copied(), task, application)
        .is_some_and(|copy| distance(&copy.attempt, task).0 <= far(record, task).0)
}

/// How far a task is from what a try made, for comparing: in time where that tells, in fields, in seconds.
fn distance(attempt: &Attempt, task: &RemoteTask) -> (i64, usize, i64) {
    let seconds = task.facts.created_at.map_or(i64::MAX, |made| (made - attempt.at).num_seconds().abs());
    (seconds / SKEW, differing(attempt, task), seconds)
}

/// The distance of a task from the nearest of a create's tries.
fn far(create: &TaskRecord, task: &RemoteTask) -> (i64, usize, i64) {
    create.attempts.iter().map(|attempt| distance(attempt, task)).min().unwrap_or((i64::MAX, 0, 0))
}

/// Gives each task to the create that was sent nearest to its creation, nearest first, and where that says little to the
/// one of which a person has left the most; answers what `record` gets.
fn nearest<'a>(record: &TaskRecord, creates: &[&TaskRecord], tasks: &[&'a RemoteTask]) -> Option<&'a RemoteTask> {
    let mut pairs: Vec<((i64, usize, i64), &TaskId, &'a RemoteTask)> = Vec::new();
    for create in creates {
        pairs.extend(tasks.iter().map(|task| (far(create, task), &create.id, *task)));
    }
    pairs.sort_by_key(|(distance, create, task)| (*distance, *create, &task.id));
    while let Some((_, create, task)) = pairs.first().copied() {
        if *create == record.id {
            return Some(task);
        }
        pairs.retain(|(_, other, taken)| *other != create && taken.id != task.id);
    }
    None
}

/// Whether a task of a listing could be the result of an unanswered create of `record`: made with our application
/// (or, when that is not known, under a title that was sent) and not before the attempt.
#[must_use]
pub fn could_be(record: &TaskRecord, task: &RemoteTask, application: Option<&str>) -> bool {
    let is_ours = match (application, task.facts.created_with.as_deref()) {
        (Some(application), Some(with)) => with == application,
        _ => has_title(record, task),
    };
    let first = record.attempts.iter().map(|attempt| attempt.at).min();
    record.is_unanswered()
        && is_ours
        && first.is_none_or(|first| task.facts.created_at.is_none_or(|created| created + CLOCK_TOLERANCE >= first))
}

/// Which of a create's tries made a task: the one equal to it, or else the latest.
#[must_use]
pub fn sent_for(record: &TaskRecord, task: &RemoteTask) -> Sent {
    let equal = |attempt: &&Attempt| differing(attempt, task) == 0;
    let attempt = record.attempts.iter().find(equal).or(record.attempts.last());
    attempt.map(|attempt| attempt.sent.clone()).unwrap_or_default()
}

/// In how many fields a task differs from what a try sent.
fn differing(attempt: &Attempt, task: &RemoteTask) -> usize {
    let (sent, found) = (field_values(&assemble(attempt.sent.values(), false)), field_values(&task.fields));
    let changed = sent.iter().filter(|value| found.get(value.field()) != Some(value)).count();
    changed + found.fields().filter(|field| !sent.contains(*field)).count()
}

fn is_equal(record: &TaskRecord, task: &RemoteTask) -> bool {
    record.attempts.iter().any(|attempt| differing(attempt, task) == 0)
}

fn has_title(record: &TaskRecord, task: &RemoteTask) -> bool {
    record.attempts.iter().any(|attempt| assemble(attempt.sent.values(), false).title == task.fields.title)
}
