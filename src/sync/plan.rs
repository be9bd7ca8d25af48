//! What to do next about a task, and what an answer of Planner makes of it. Pure.
//!
//! A task's row tells everything: what it should be (`fields`), what Planner is known to have (`base`) and what may
//! have been sent without an answer (`attempts`). [`next_action`] compares them; the `after_*` functions fold an
//! answer into the row. Pushing a task is repeating the two until there is nothing to do.

use chrono::{DateTime, TimeDelta, Utc};

use super::merge::{Decision, differing, merge, pieces, set_piece};
use super::model::{ConflictKind, ConflictRecord, Field, Remote, Side, TaskFields, TaskRecord};
use super::ports::{DetailChanges, RemoteDetails, RemoteTask, TaskChanges, changes};
use super::replica::Step;

/// How long Planner may hide a change from reads: guards decisions that rest on something not being there.
pub const SETTLE: TimeDelta = TimeDelta::seconds(30);
/// How far Planner's clock may be behind ours when a task's creation time is compared.
const CLOCK_TOLERANCE: TimeDelta = TimeDelta::minutes(5);

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
}

/// Decides the next call. `stale` says that Planner refused the known ETag.
#[must_use]
pub fn next_action(record: &TaskRecord, stale: Stale) -> Action {
    let Some(remote) = &record.remote else {
        return match (record.attempts.is_empty(), record.deleted) {
            (false, _) => Action::Resolve,
            (true, true) => Action::Nothing,
            (true, false) => Action::Create,
        };
    };
    if stale == Stale::Task || (!record.attempts.is_empty() && stale == Stale::No) {
        return Action::Read;
    }
    if record.deleted {
        return Action::Delete;
    }
    if stale == Stale::Details {
        return Action::ReadDetails;
    }
    let base = remote.base.as_ref().unwrap_or(&record.fields);
    match changes(base, &record.fields) {
        (Some(task), _) => Action::Update(task),
        (None, Some(_)) if remote.details_etag.is_none() || base.details.is_none() => Action::ReadDetails,
        (None, Some(details)) => Action::UpdateDetails(details),
        (None, None) => Action::Nothing,
    }
}

/// Which resource's known version Planner no longer takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stale {
    /// None.
    No,
    /// None, and the attempts have been compared with what is there.
    Checked,
    /// The task.
    Task,
    /// The details.
    Details,
}

/// Folds the created task into the row.
#[must_use]
pub fn after_create(record: &TaskRecord, created: &RemoteTask, now: DateTime<Utc>) -> Step {
    let mut next = record.clone();
    let sent = record.attempts.last().map_or(&record.fields, |attempt| &attempt.fields);
    let base = TaskFields { details: None, ..sent.clone() };
    next.remote = Some(Remote {
        id: created.id.clone(),
        etag: created.etag.clone(),
        details_etag: None,
        base: Some(created.fields.clone()),
    });
    next.attempts.clear();
    next.facts.created_at = created.facts.created_at;
    absorb(&mut next, &base, created, now)
}

/// Folds a read or written task into the row: `base` is what was known to be on Planner before `found` was read.
fn absorb(next: &mut TaskRecord, base: &TaskFields, found: &RemoteTask, seen_at: DateTime<Utc>) -> Step {
    let merged = merge(base, &next.fields, &found.fields, &next.edited, seen_at);
    let details = next.base().and_then(|base| base.details.clone());
    let content_changed = next.fields != merged.fields || next.facts != found.facts;
    let conflicts = conflicts(next, merged.decisions, seen_at);
    next.fields = merged.fields;
    next.facts = found.facts.clone();
    if content_changed {
        next.changed_at = next.changed_at.max(seen_at);
    }
    if let Some(remote) = &mut next.remote {
        remote.id = found.id.clone();
        remote.etag.clone_from(&found.etag);
        remote.base = Some(TaskFields { details, ..found.fields.clone() });
    }
    tidy(next);
    Step { put: vec![next.clone()], conflicts, ..Step::default() }
}

/// Drops what a clean task need not carry: a base equal to its fields, times of edits that have arrived.
fn tidy(record: &mut TaskRecord) {
    let Some(base) = record.remote.as_ref().and_then(|remote| remote.base.as_ref()) else { return };
    let open = differing(base, &record.fields);
    let unread = base.details.is_none() && record.fields.details.is_some();
    record.edited.retain(|field, _| open.contains(field) || (unread && field.in_details()));
    let same = open.is_empty() && base.details.is_some() == record.fields.details.is_some();
    if same && let Some(remote) = &mut record.remote {
        remote.base = None;
    }
}

fn conflicts(record: &TaskRecord, decisions: Vec<Decision>, at: DateTime<Utc>) -> Vec<ConflictRecord> {
    let reason = "both sides changed the field; Planner wins unless the agent wrote more than 30 s after the last look";
    decisions
        .into_iter()
        .map(|decision| ConflictRecord {
            id: conflict_id(record, &decision.field.to_string(), at),
            task: record.id.clone(),
            title: record.fields.title.clone(),
            kind: ConflictKind::BothChanged,
            field: decision.field.to_string(),
            base: decision.base,
            agent: decision.agent,
            planner: decision.planner,
            winner: decision.winner,
            reason: reason.into(),
            at,
        })
        .collect()
}

/// Conflict rows sort by time; the same decision made twice has the same id.
fn conflict_id(record: &TaskRecord, field: &str, at: DateTime<Utc>) -> String {
    use sha2::Digest;
    let digest = sha2::Sha256::digest(format!("{}|{}|{field}", record.id, record.revision));
    let suffix: String = digest.iter().take(4).map(|byte| format!("{byte:02x}")).collect();
    format!("{:013}-{}-{suffix}", at.timestamp_millis(), record.id)
}

/// Folds the task as it is on Planner into the row. `before` are the attempts that may have arrived: a value found
/// there that we once sent is ours, not a person's.
#[must_use]
pub fn after_read(record: &TaskRecord, found: &RemoteTask, seen_at: DateTime<Utc>) -> Step {
    let mut next = record.clone();
    let mut base = record.base().cloned().unwrap_or_else(|| record.fields.clone());
    recognise_echoes(record, &mut base, &pieces(&found.fields));
    if let Some(remote) = &mut next.remote
        && remote.base.is_none()
    {
        remote.base = Some(record.fields.clone());
    }
    // The details resource of an attempt is settled by reading the details.
    if !next.attempts.iter().any(|attempt| attempt.fields.details.is_some()) || record.pending.is_empty() {
        next.attempts.clear();
    }
    let mut step = absorb(&mut next, &base, found, seen_at);
    if counts_differ(&next) {
        // The listing shows that the details changed: what we know of them no longer holds.
        if let Some(record) = step.put.first_mut()
            && let Some(remote) = &mut record.remote
        {
            remote.details_etag = None;
        }
    }
    step
}

/// Whether the counts Planner lists contradict the details we have.
fn counts_differ(record: &TaskRecord) -> bool {
    let Some(details) = record.base().and_then(|base| base.details.as_ref()) else { return false };
    let open = details.checklist.values().filter(|item| !item.checked).count();
    let facts = &record.facts;
    let count = |number: u32| usize::try_from(number).unwrap_or(usize::MAX);
    count(facts.checklist_items) != details.checklist.len()
        || count(facts.open_checklist_items) != open
        || count(facts.references) != details.references.len()
        || facts.has_description == details.description.is_empty()
}

fn recognise_echoes(
    record: &TaskRecord,
    base: &mut TaskFields,
    found: &std::collections::BTreeMap<Field, serde_json::Value>,
) {
    for attempt in &record.attempts {
        let sent = pieces(&attempt.fields);
        for (field, value) in found {
            if sent.get(field) == Some(value) {
                set_piece(base, field, value);
            }
        }
    }
}

/// Folds the task that an update answered into the row: what was sent is on Planner now.
#[must_use]
pub fn after_update(record: &TaskRecord, sent: &TaskFields, found: &RemoteTask, now: DateTime<Utc>) -> Step {
    let mut next = record.clone();
    next.attempts.clear();
    let base = TaskFields { details: next.base().and_then(|base| base.details.clone()), ..sent.clone() };
    absorb(&mut next, &base, found, now)
}

/// Folds details as they are on Planner into the row; `sent` is what an update just put there.
#[must_use]
pub fn after_details(
    record: &TaskRecord,
    sent: Option<&TaskFields>,
    found: &RemoteDetails,
    seen_at: DateTime<Utc>,
) -> Step {
    let mut next = record.clone();
    let mut base = next.base().cloned().unwrap_or_else(|| next.fields.clone());
    let remote_fields = TaskFields { details: Some(found.fields.clone()), ..base.clone() };
    if let Some(sent) = sent {
        base.details.clone_from(&sent.details);
    } else {
        if next.remote.as_ref().is_some_and(|remote| remote.base.is_none()) && !next.is_dirty() {
            base.details.clone_from(&next.fields.details);
        }
        recognise_echoes(record, &mut base, &pieces(&remote_fields));
    }
    next.attempts.clear();
    let merged = merge(&base, &next.fields, &remote_fields, &next.edited, seen_at);
    let conflicts = conflicts(&next, merged.decisions, seen_at);
    if next.fields.details.is_some() && next.fields != merged.fields {
        next.changed_at = next.changed_at.max(seen_at);
    }
    next.fields.details = merged.fields.details;
    if let Some(remote) = &mut next.remote {
        remote.details_etag = Some(found.etag.clone());
        let known = remote.base.take().unwrap_or_else(|| record.fields.clone());
        remote.base = Some(TaskFields { details: Some(found.fields.clone()), ..known });
    }
    tidy(&mut next);
    Step { put: vec![next], conflicts, ..Step::default() }
}

/// Finishes the operations of a task that has arrived, up to `revision`.
#[must_use]
pub fn finish(record: &TaskRecord, revision: u64) -> Step {
    let mut next = record.clone();
    let (done, open): (Vec<u64>, Vec<u64>) = record.pending.iter().partition(|sequence| **sequence <= revision);
    if done.is_empty() {
        return Step::default();
    }
    next.pending = open;
    if next.pending.is_empty() {
        next.attempts.clear();
    }
    tidy(&mut next);
    Step {
        finish: done.into_iter().map(|sequence| (record.id.clone(), sequence)).collect(),
        put: vec![next],
        ..Step::default()
    }
}

/// Removes a task that is gone from Planner; edits that had not arrived are kept in the conflict log.
#[must_use]
pub fn gone(record: &TaskRecord, kind: ConflictKind, reason: &str, at: DateTime<Utc>) -> Step {
    let mut step = Step { drop: vec![record.id.clone()], ..Step::default() };
    step.finish = record.pending.iter().map(|sequence| (record.id.clone(), *sequence)).collect();
    step.bury = record.planner_id().cloned().into_iter().collect();
    let lost = record.base().is_none_or(|base| *base != record.fields);
    if lost && !record.deleted {
        step.conflicts.push(whole_task_conflict(record, kind, reason, at));
    }
    step
}

/// Gives up what Planner will never take: the row goes back to Planner's values, the agent's stand in the conflict log.
#[must_use]
pub fn refuse(record: &TaskRecord, reason: &str, at: DateTime<Utc>) -> Step {
    let Some(remote) = &record.remote else {
        return gone(record, ConflictKind::Refused, reason, at);
    };
    let mut next = record.clone();
    if let Some(base) = &remote.base {
        let details = base.details.clone();
        next.fields = TaskFields { details, ..base.clone() };
    }
    next.deleted = false;
    next.edited.clear();
    next.attempts.clear();
    next.changed_at = at;
    let conflict = whole_task_conflict(record, ConflictKind::Refused, reason, at);
    let mut step = finish(&next, record.revision);
    step.conflicts.push(conflict);
    step
}

fn whole_task_conflict(record: &TaskRecord, kind: ConflictKind, reason: &str, at: DateTime<Utc>) -> ConflictRecord {
    let value = |fields: Option<&TaskFields>| serde_json::to_value(fields).unwrap_or_default();
    ConflictRecord {
        id: conflict_id(record, "", at),
        task: record.id.clone(),
        title: record.fields.title.clone(),
        kind,
        field: String::new(),
        base: value(record.base()),
        agent: value(Some(&record.fields)),
        planner: serde_json::Value::Null,
        winner: Side::Planner,
        reason: reason.to_owned(),
        at,
    }
}

/// What a listing says about a create whose answer was lost.
#[derive(Debug, PartialEq)]
pub enum Resolution<'a> {
    /// It happened: this is the task.
    Adopt(&'a RemoteTask),
    /// It did not happen, and Planner has had time to show it.
    Absent,
    /// Planner may not show it yet.
    TooEarly,
    /// Several tasks could be it; a person has to look.
    Ambiguous,
}

/// Looks for a task whose create was sent without an answer: made with our application, not before the attempt, with a
/// title that was sent, and not known as another task. Equal tasks may be adopted in any order.
pub fn resolve<'a>(
    record: &TaskRecord,
    listing: &'a [RemoteTask],
    is_known: impl Fn(&RemoteTask) -> bool,
    application: Option<&str>,
    requested_at: DateTime<Utc>,
) -> Resolution<'a> {
    let mut candidates: Vec<&RemoteTask> =
        listing.iter().filter(|task| !is_known(task) && could_be(record, task, application)).collect();
    candidates.sort_by_key(|task| task.facts.created_at);
    match candidates.as_slice() {
        [] => {
            let last = record.attempts.iter().map(|attempt| attempt.at).max();
            if last.is_none_or(|last| requested_at >= last + SETTLE) {
                Resolution::Absent
            } else {
                Resolution::TooEarly
            }
        }
        [first, rest @ ..] if rest.iter().all(|other| other.fields == first.fields) => Resolution::Adopt(first),
        _ => Resolution::Ambiguous,
    }
}

/// Whether a task of a listing could be the result of an unanswered create of `record`.
#[must_use]
pub fn could_be(record: &TaskRecord, task: &RemoteTask, application: Option<&str>) -> bool {
    record.remote.is_none()
        && application
            .is_none_or(|application| task.facts.created_with.as_deref().is_none_or(|with| with == application))
        && record.attempts.iter().any(|attempt| {
            attempt.fields.title == task.fields.title
                && task.facts.created_at.is_none_or(|created| created + CLOCK_TOLERANCE >= attempt.at)
        })
}
