//! What to do next about a task. Pure.
//!
//! A task's row tells everything: what it should be (`fields`), what Planner is known to have (`base`) and what may
//! have been sent without an answer (`attempts`). [`next_action`] compares them; [`super::absorb`] folds an answer
//! into the row. Pushing a task is repeating the two until there is nothing to do.

use std::borrow::Cow;

use chrono::{DateTime, TimeDelta, Utc};
use thin_vec::ThinVec;

use super::absorb::tidy;
use super::conflict::{refused, whole_task_conflict};
use super::field_value::{clear_field, field_values, set_field_value};
use super::merge::differing;
use super::model::{ConflictKind, Field, FieldChange, FieldRef, LostEdit, Sent, TaskFields, TaskRecord, Tombstone};
use super::mutant::{Mutant, is_on};
use super::ports::{DetailChanges, TaskChanges, changes};
use super::step::Step;

/// How long Planner may hide a change from reads: guards decisions that rest on something not being there.
pub const SETTLE: TimeDelta = TimeDelta::seconds(30);

/// How far two clocks may be apart: Planner's and ours, or those of two instances.
pub const CLOCKS_APART: TimeDelta = TimeDelta::seconds(20);

/// Whether Planner must show by now what was sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Doubt {
    /// A call was under way too recently.
    Open,
    /// What was sent has had time to show.
    Settled,
}

/// The next call a task needs.
#[derive(Debug, Clone, PartialEq)]
pub enum Action {
    /// Planner has what the replica has.
    Nothing,
    /// Create it.
    Create,
    /// Find out whether an earlier create happened.
    Resolve,
    /// Read the task and merge.
    Read,
    /// Read the details and merge.
    ReadDetails,
    /// Send the task's changes.
    Update(TaskChanges),
    /// Send the details' changes.
    UpdateDetails(DetailChanges),
    /// Delete it.
    Delete,
    /// Nothing to send, but an unanswered change may still turn up.
    Wait,
}

/// How far a push has checked one of a task's two resources.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CheckState {
    /// Not at all: it has to be read first if changes are unanswered.
    Unchecked,
    /// It was read or written: what is known of it holds.
    Checked,
    /// Planner refused the known ETag.
    Refused,
}

/// How far a push has checked a task.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Checks {
    /// The task itself.
    pub task: CheckState,
    /// Its details.
    pub details: CheckState,
    /// Planner has refused several changes that were sent together: each is sent by itself, so that the good ones arrive.
    pub apart: bool,
}

impl Checks {
    /// The state at the start of a push.
    pub const NONE: Self = Self { task: CheckState::Unchecked, details: CheckState::Unchecked, apart: false };
    /// The state in which nothing has to be read.
    pub const ALL: Self = Self { task: CheckState::Checked, details: CheckState::Checked, apart: false };
}

/// Decides the next call.
#[must_use]
pub fn next_action(record: &TaskRecord, checks: Checks) -> Action {
    let Some(remote) = &record.remote else {
        return match (record.attempts.is_empty(), record.deleted) {
            (false, false) if is_on(Mutant::PostAgainWithoutResolving) => Action::Create,
            (false, _) => Action::Resolve,
            (true, true) => Action::Nothing,
            (true, false) => Action::Create,
        };
    };
    let unanswered = |details: bool| record.attempts.iter().any(|attempt| attempt.in_details() == details);
    let must_read = |state: CheckState, details: bool| match state {
        CheckState::Unchecked => unanswered(details),
        CheckState::Checked => false,
        CheckState::Refused => true,
    };
    if must_read(checks.task, false) {
        return Action::Read;
    }
    if record.deleted {
        return Action::Delete;
    }
    if must_read(checks.details, true) {
        return Action::ReadDetails;
    }
    let base = remote.base.as_deref().unwrap_or(&record.fields);
    let known = remote.details_etag.is_some() && base.details.is_some();
    let wanted =
        if checks.apart { Cow::Owned(first_change(base, &record.fields)) } else { Cow::Borrowed(&record.fields) };
    match changes(base, &wanted) {
        (Some(task), _) => Action::Update(task),
        (None, Some(_)) if !known => Action::ReadDetails,
        (None, Some(_)) if remote.details_changed && checks.details == CheckState::Unchecked => Action::ReadDetails,
        (None, Some(details)) => Action::UpdateDetails(details),
        // What was cleared before it was ever read differs from nothing that is known.
        (None, None) if !known && record.edited.keys().any(Field::in_details) => Action::ReadDetails,
        (None, None) if !record.attempts.is_empty() => Action::Wait,
        (None, None) => Action::Nothing,
    }
}

/// `base` with the first change that leads to `wanted`. Start and due date are one: the order of the two is checked.
fn first_change(base: &TaskFields, wanted: &TaskFields) -> TaskFields {
    let open = differing(base, wanted);
    let Some(first) = open.first() else { return wanted.clone() };
    let mut next = base.clone();
    for field in open.iter().filter(|field| unit((*field).into()) == unit(first.into())) {
        take(&mut next, field, wanted);
    }
    next
}

/// Makes one field of a task what it is in another, the place of a checklist item included.
fn take(task: &mut TaskFields, field: &Field, from: &TaskFields) {
    let item = match field {
        Field::Checklist(key) => from.details.as_ref().and_then(|details| Some((key, details.checklist.get(key)?))),
        _ => None,
    };
    match item {
        Some((key, item)) => {
            task.details.get_or_insert_default().checklist.insert(key.clone(), item.clone());
        }
        None => match field_values(from).get(field) {
            Some(value) => set_field_value(task, value),
            None => clear_field(task, field.into()),
        },
    }
}

/// Of fields that are sent together even when changes are sent one by one: the one that stands for them.
const fn unit(field: FieldRef<'_>) -> FieldRef<'_> {
    match field {
        FieldRef::Due => FieldRef::Start,
        field => field,
    }
}

/// Whether Planner can be asked for parts of what was sent.
#[must_use]
pub fn is_divisible(sent: &Sent) -> bool {
    let mut units: Vec<FieldRef<'_>> = sent.fields().map(unit).collect();
    units.dedup();
    units.len() > 1 && !is_on(Mutant::RefusalTakesAll)
}

/// The fields an action puts on Planner; none for those that write no fields.
#[must_use]
pub fn sent_by(record: &TaskRecord, action: &Action) -> Sent {
    let fields = match action {
        Action::Create => {
            let values = field_values(&TaskFields { details: None, ..record.fields.clone() });
            return values.into_iter().map(FieldChange::Set).collect();
        }
        Action::Update(changes) => changes.fields(),
        Action::UpdateDetails(changes) => changes.fields(),
        _ => return Sent::new(),
    };
    let mut values = field_values(&record.fields);
    let change = |field: Field| values.take(&field).map_or_else(|| FieldChange::Clear(field), FieldChange::Set);
    fields.into_iter().map(change).collect()
}

/// For how many revisions of a row it is remembered which edit did not last: longer than any caller waits.
const LOST_EDITS: u64 = 100;

/// Finishes the operations of a task that has arrived, up to `revision`.
#[must_use]
pub fn finish(record: &TaskRecord, revision: u64) -> Step {
    let mut next = record.clone();
    let (done, open): (ThinVec<u64>, ThinVec<u64>) =
        record.pending.iter().copied().partition(|sequence| *sequence <= revision);
    if done.is_empty() {
        return Step::default();
    }
    next.pending = open;
    if next.pending.is_empty() {
        next.lost.retain(|_, lost| lost.revision + LOST_EDITS > next.revision);
    }
    tidy(&mut next);
    let mut step =
        Step { finish: done.into_iter().map(|sequence| (record.id.clone(), sequence)).collect(), ..Step::default() };
    if next.remote.is_none() && next.deleted {
        step.drop.push(next.id); // deleted before Planner ever had it
    } else {
        step.put.push(next);
    }
    step
}

/// Removes a task that is gone from Planner; edits that had not arrived are kept in the conflict log.
#[must_use]
pub fn gone(record: &TaskRecord, kind: ConflictKind, reason: &str, at: DateTime<Utc>) -> Step {
    let mut step = Step { drop: vec![record.id.clone()], ..Step::default() };
    step.finish = record.pending.iter().map(|sequence| (record.id.clone(), *sequence)).collect();
    let (task, lost) = (Some(record.id.clone()), record.lost.clone());
    let tombstone = Tombstone { task, at: Some(at), deleted_here: record.deleted, lost };
    step.tombstones = record.planner_id().map(|id| (id.clone(), tombstone)).into_iter().collect();
    let lost = record.base().is_none_or(|base| *base != record.fields);
    if lost && !record.deleted && !is_on(Mutant::GoneNotLogged) {
        step.conflicts.push(whole_task_conflict(record, kind, reason, at));
    }
    step
}

/// How long a task that is gone is kept out, even if a listing shows it: longer than any listing is old. What a listing
/// shows later is there again: a deleted group brings its plans back when it is restored.
pub const TOMBSTONE_HOLD: TimeDelta = TimeDelta::minutes(2);

/// Whether Planner may not show a task yet, so that a read that does not find it proves nothing. Both
/// times are Planner's own.
#[must_use]
pub fn is_young(record: &TaskRecord, requested_at: DateTime<Utc>) -> bool {
    !is_on(Mutant::YoungIsGone) && record.facts.created_at.is_some_and(|at| at + SETTLE + CLOCKS_APART > requested_at)
}

/// Gives up what Planner will never take: the row goes back to Planner's values, the agent's are in the conflict log.
#[must_use]
pub fn refuse(record: &TaskRecord, reason: &str, at: DateTime<Utc>) -> Step {
    let Some(remote) = &record.remote else {
        return gone(record, ConflictKind::Refused, reason, at);
    };
    let mut next = record.clone();
    if let Some(base) = &remote.base {
        next.fields = base.as_ref().clone();
    }
    (next.deleted, next.copy) = (false, false);
    next.edited.clear();
    next.changed_at = at;
    // Unanswered changes may still turn up: until then the operations stay open, so that they are searched for.
    let mut step = if next.attempts.is_empty() {
        finish(&next, record.revision)
    } else {
        Step { put: vec![next], ..Step::default() }
    };
    step.conflicts.push(whole_task_conflict(record, ConflictKind::Refused, reason, at));
    step
}

/// Gives up the changes of some fields, which Planner will never take: they go back to Planner's values, the agent's
/// are in the conflict log, and everything else stays on its way.
#[must_use]
pub fn refuse_fields(record: &TaskRecord, sent: &Sent, reason: &str, at: DateTime<Utc>) -> Step {
    let mut next = record.clone();
    let kept = record.base().unwrap_or(&record.fields);
    let (known, ours) = (field_values(kept), field_values(&record.fields));
    // A field that does not wait was given up by another instance, which received the same refusal.
    let waiting = differing(kept, &record.fields);
    let mut step = Step::default();
    for field in waiting.iter().filter(|field| sent.contains(*field)) {
        let (base, agent) = (known.get(field).cloned(), ours.get(field).cloned());
        take(&mut next.fields, field, kept);
        next.edited.remove(field);
        next.lost.insert(field.clone(), LostEdit { revision: record.revision, refused: Some(reason.to_owned()) });
        step.conflicts.push(refused(record, field, base, agent, reason, at));
    }
    next.changed_at = at;
    tidy(&mut next);
    step.put.push(next);
    step
}
