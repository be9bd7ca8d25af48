//! What an answer of Planner makes of a task's row. Pure.
//!
//! Two rules keep both sides' edits: what is older than what is known is ignored, and a value found on Planner that
//! we once sent without an answer is ours, not a person's. What was given up is remembered as a *stray*; found after all it
//! is a guess, so whenever the agent's newer value replaces such a one, both are in the conflict log: a process that was stalled while another took over may yet send it, and Planner takes it as long as
//! nothing has changed the field since the ETag it carries (Learn: planner-overview).

use std::collections::BTreeMap;

use chrono::{DateTime, TimeDelta, Utc};
use thin_vec::ThinVec;

use super::conflict::{conflicts, edited_while_deleted};
use super::field_value::{assemble, change_field, field_values};
use super::merge::{Decision, Merged, differing, merge};
use super::model::{
    Attempt, ConflictRecord, DetailFields, Field, FieldRef, FieldValue, FieldValues, LostCreate, LostEdit, OfField,
    OpKind, OpRecord, Remote, Sent, Side, Sides, THE_ENGINE, TaskFacts, TaskFields, TaskRecord,
};
use super::mutant::{Mutant, is_on};
use super::plan::{Doubt, SETTLE};
use super::ports::{RemoteDetails, RemoteTask};
use super::step::Step;
use crate::ids::TaskId;

/// Folds the created task into the row; `sent` is what created it.
#[must_use]
pub fn after_create(record: &TaskRecord, sent: &Sent, created: &RemoteTask, now: DateTime<Utc>) -> Step {
    let mut next = record.clone();
    let base = assemble(sent.values(), false);
    let base =
        if is_on(Mutant::BaseFromRowAtAdoption) { TaskFields { details: None, ..record.fields.clone() } } else { base };
    next.remote = Some(Remote {
        id: created.id.clone(),
        etag: created.etag.clone(),
        details_etag: None,
        details_changed: false,
        base: Some(Box::new(base.clone())),
    });
    // Every other try may have made, or may yet make, a copy.
    let mut others = std::mem::take(&mut next.attempts);
    if let Some(answered) = others.iter().rposition(|attempt| attempt.sent == *sent) {
        others.remove(answered);
    }
    let mut step = absorb(next, &base, &BTreeMap::new(), created, now);
    step.lost = others.into_iter().map(|attempt| LostCreate { task: record.id.clone(), attempt }).collect();
    step
}

/// Folds the task as it is on Planner into the row.
#[must_use]
pub fn after_read(record: &TaskRecord, found: &RemoteTask, seen_at: DateTime<Utc>, doubt: Doubt) -> Step {
    let mut next = record.clone();
    let found_values = field_values(&found.fields);
    forget_attempts(&mut next, &found_values, false, seen_at, doubt);
    let mut base = record.base().cloned().unwrap_or_else(|| record.fields.clone());
    outdate_strays(&mut next, &found_values, false);
    let echoes = recognise_echoes(record, &mut base, &found_values, false, seen_at);
    absorb(next, &base, &echoes, found, seen_at)
}

/// Folds the task that an update answered into the row: what was sent is on Planner, and nothing is unanswered.
#[must_use]
pub fn after_update(record: &TaskRecord, sent: &Sent, found: &RemoteTask, now: DateTime<Utc>) -> Step {
    let mut next = record.clone();
    retire_attempts(&mut next, sent, false, now);
    let mut base = record.base().cloned().unwrap_or_else(|| record.fields.clone());
    let found_values = field_values(&found.fields);
    outdate_strays(&mut next, &found_values, false);
    let mut echoes = recognise_echoes(record, &mut base, &found_values, false, now);
    for change in sent {
        change_field(&mut base, change);
    }
    echoes.retain(|field, _| !sent.contains(field));
    absorb(next, &base, &echoes, found, now)
}

/// Folds a read or written task into the row: `base` is what was known to be on Planner before `found` was read, with
/// our own values of `echoes` in it.
fn absorb(
    mut next: TaskRecord,
    base: &TaskFields,
    echoes: &Echoes,
    found: &RemoteTask,
    seen_at: DateTime<Utc>,
) -> Step {
    let mut merged = merge(base, &next.fields, &found.fields, &next.edited, seen_at);
    log_doubtful(&mut merged, echoes);
    let details = next.base().and_then(|base| base.details.clone());
    let changed_there = differing(base, &found.fields);
    let content_changed = next.fields != merged.fields || next.facts != found.facts;
    let mut conflicts = conflicts(&next, merged.decisions, seen_at);
    if next.deleted && !changed_there.is_empty() {
        conflicts = vec![edited_while_deleted(&next, &found.fields, seen_at)];
        if is_on(Mutant::ResurrectionNotLogged) {
            conflicts.clear();
        }
    }
    forget_overruled(&mut next, &merged.fields, false);
    note_lost(&mut next, &conflicts);
    next.fields = merged.fields;
    next.facts = found.facts.clone();
    if content_changed {
        next.changed_at = next.changed_at.max(seen_at);
    }
    if let Some(remote) = &mut next.remote {
        remote.id = found.id.clone();
        remote.etag.clone_from(&found.etag);
        if is_on(Mutant::OneEtagForBoth) && remote.details_etag.is_some() {
            remote.details_etag = Some(found.etag.clone());
        }
        remote.base = Some(Box::new(TaskFields { details, ..found.fields.clone() }));
    }
    tidy(&mut next);
    note_counts(&mut next);
    Step { journal: put_right(&mut next, seen_at), put: vec![next], conflicts, ..Step::default() }
}

/// What a listing says of a task that is known. The ETag orders what it says of the task itself; the counts of its details
/// may change without one, and only tell that details have to be read: nothing where they were, `details_seen`, at the
/// time of the listing or since.
#[must_use]
pub fn after_listed(
    record: &TaskRecord,
    found: &RemoteTask,
    seen_at: DateTime<Utc>,
    details_seen: Option<DateTime<Utc>>,
    doubt: Doubt,
) -> Step {
    let Some(remote) = &record.remote else { return Step::default() };
    let tells = details_seen.is_none_or(|details_seen| details_seen < seen_at);
    if found.etag > remote.etag || is_on(Mutant::StaleReadsApplied) {
        let facts = if tells { found.facts.clone() } else { with_counts(&found.facts, &record.facts) };
        return after_read(record, &RemoteTask { facts, ..found.clone() }, seen_at, doubt);
    }
    let facts = with_counts(&record.facts, &found.facts);
    if found.etag != remote.etag || !tells || facts == record.facts || is_on(Mutant::CountsIgnored) {
        return Step::default();
    }
    let mut next = TaskRecord { facts, changed_at: record.changed_at.max(seen_at), ..record.clone() };
    note_counts(&mut next);
    Step { put: vec![next], ..Step::default() }
}

/// Facts with the counts of details that others tell.
fn with_counts(facts: &TaskFacts, counts: &TaskFacts) -> TaskFacts {
    TaskFacts {
        checklist_items: counts.checklist_items,
        open_checklist_items: counts.open_checklist_items,
        references: counts.references,
        has_description: counts.has_description,
        ..facts.clone()
    }
}

/// The counts that Planner will show of details.
fn counts_of(details: &DetailFields) -> TaskFacts {
    let count = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
    TaskFacts {
        checklist_items: count(details.checklist.len()),
        open_checklist_items: count(details.checklist.values().filter(|item| !item.checked).count()),
        references: count(details.references.len()),
        has_description: !details.description.is_empty(),
        ..TaskFacts::default()
    }
}

/// Folds details as they are on Planner into the row; `sent` is what an update just put there.
#[must_use]
pub fn after_details(
    record: &TaskRecord,
    sent: Option<&Sent>,
    found: &RemoteDetails,
    seen_at: DateTime<Utc>,
    doubt: Doubt,
) -> Step {
    let mut next = record.clone();
    let mut base = record.base().cloned().unwrap_or_else(|| record.fields.clone());
    let remote_fields = TaskFields { details: Some(Box::new(found.fields.clone())), ..base.clone() };
    let found_values = field_values(&remote_fields);
    let mut echoes = Echoes::new();
    if base.details.is_some() {
        echoes = recognise_echoes(record, &mut base, &found_values, true, seen_at);
    }
    match sent {
        Some(sent) => {
            retire_attempts(&mut next, sent, true, seen_at);
            echoes.retain(|field, _| !sent.contains(field));
            for change in sent {
                change_field(&mut base, change);
                // Where the item stands by now is our doing too: a place asked for since is asked for next.
                if let FieldRef::Checklist(key) = change.field()
                    && let Some(item) = base.details.as_mut().and_then(|details| details.checklist.get_mut(key))
                    && let Some(found) = found.fields.checklist.get(key)
                {
                    item.order.clone_from(&found.order);
                }
            }
        }
        None => forget_attempts(&mut next, &found_values, true, seen_at, doubt),
    }
    outdate_strays(&mut next, &found_values, true);
    // The task's own part takes no part in this merge.
    let local = TaskFields { details: next.fields.details.clone(), ..base.clone() };
    let mut merged = merge(&base, &local, &remote_fields, &next.edited, seen_at);
    log_doubtful(&mut merged, &echoes);
    let conflicts = conflicts(&next, merged.decisions, seen_at);
    if next.fields.details.is_some() && next.fields.details != merged.fields.details {
        next.changed_at = next.changed_at.max(seen_at);
    }
    forget_overruled(&mut next, &merged.fields, true);
    note_lost(&mut next, &conflicts);
    next.fields.details = merged.fields.details;
    if let Some(remote) = &mut next.remote {
        remote.details_etag = Some(found.etag.clone());
        let known = remote.base.get_or_insert_with(|| Box::new(record.fields.clone()));
        known.details = Some(Box::new(found.fields.clone()));
    }
    tidy(&mut next);
    // What was read may be older than the counts a listing has shown. An answer to a write is not, and what was read long
    // after them is not either.
    if sent.is_some() {
        next.facts = with_counts(&next.facts, &counts_of(&found.fields));
    }
    let contradicts = counts_differ(&next) && seen_at < record.changed_at + SETTLE;
    if let Some(remote) = &mut next.remote {
        remote.details_changed = contradicts;
    }
    Step { journal: put_right(&mut next, seen_at), put: vec![next], conflicts, ..Step::default() }
}

/// Remembers for the callers concerned which edits lost against a person's.
fn note_lost(record: &mut TaskRecord, conflicts: &[ConflictRecord]) {
    let lost = conflicts.iter().filter(|conflict| conflict.winner == Side::Planner);
    for field in lost.filter_map(|conflict| conflict.disputed.field()) {
        record.lost.insert(field.clone(), LostEdit { revision: record.revision, refused: None });
    }
}

/// Where an older value of the agent's has come over what had arrived, nothing is on its way any more: opens an operation
/// of ours that puts it right.
fn put_right(record: &mut TaskRecord, at: DateTime<Utc>) -> Vec<(TaskId, OpRecord)> {
    let Some(base) = record.remote.as_ref().and_then(|remote| remote.base.as_ref()) else { return Vec::new() };
    if !record.pending.is_empty() {
        return Vec::new();
    }
    let fields = differing(base, &record.fields).into_iter().collect();
    record.revision += 1;
    record.pending.push(record.revision);
    let (id, sequence) = (format!("again-{}-{}", record.id, record.revision), record.revision);
    vec![(record.id.clone(), OpRecord { id, sequence, kind: OpKind::Update, fields, at, by: THE_ENGINE.into() })]
}

/// Drops what a clean task need not carry: a base equal to its fields, times of edits that have arrived.
pub(super) fn tidy(record: &mut TaskRecord) {
    let Some(base) = record.remote.as_ref().and_then(|remote| remote.base.as_ref()) else { return };
    let open = differing(base, &record.fields);
    let unread = base.details.is_none() && record.fields.details.is_some();
    record.edited.retain(|field, _| open.contains(field) || (unread && field.in_details()));
    let same = open.is_empty() && base.details.is_some() == record.fields.details.is_some();
    if same
        && let Some(base) = record.remote.as_mut().and_then(|remote| remote.base.take())
        && let (Some(base), Some(ours)) = (base.details, &mut record.fields.details)
    {
        *ours = base; // equal but for order hints, where Planner's hold
    }
}

/// Has the details read again where the counts Planner lists contradict those we have.
fn note_counts(record: &mut TaskRecord) {
    let changed = counts_differ(record);
    if let Some(remote) = &mut record.remote {
        remote.details_changed |= changed;
    }
}

/// Whether the counts Planner lists contradict the details we have.
fn counts_differ(record: &TaskRecord) -> bool {
    let details = record.base().and_then(|base| base.details.as_ref());
    details.is_some_and(|details| with_counts(&record.facts, &counts_of(details)) != record.facts)
}

/// Fields whose value on Planner is taken for one of ours though that is in doubt: what was known to be there before, and
/// what was found.
type Echoes = BTreeMap<Field, (Option<FieldValue>, Option<FieldValue>)>;

/// Puts into `base` what was found on Planner and had been sent without an answer; what had been given up before is in
/// doubt.
fn recognise_echoes(
    record: &TaskRecord,
    base: &mut TaskFields,
    found: &FieldValues,
    details: bool,
    seen_at: DateTime<Utc>,
) -> Echoes {
    let mut echoes = Echoes::new();
    if is_on(Mutant::EchoNotRecognised) || (record.attempts.is_empty() && record.strays.is_empty()) {
        return echoes;
    }
    let before = field_values(base);
    let ours = record.attempts.iter().map(|attempt| (attempt, false));
    let strays = record.strays.iter().filter(|stray| seen_at < stray.at + STRAY).map(|stray| (stray, true));
    for (attempt, is_stray) in ours.chain(strays).filter(|(attempt, _)| attempt.in_details() == details) {
        for change in &attempt.sent {
            let field = change.field();
            let (known, there) = (before.get(field), found.get(field));
            if there == change.value() && there != known {
                // A call of ours is unanswered, and what it sent is there: that is an answer.
                let is_certain = !is_stray || field_values(base).get(field) == there;
                change_field(base, change);
                if !is_certain || is_on(Mutant::OwnValueIsConflict) {
                    echoes.insert(field.to_field(), (known.cloned(), there.cloned()));
                }
            }
        }
    }
    echoes
}

/// What a stray had sent may have been a person's value after all: where the agent's replaces it, the log has both.
fn log_doubtful(merged: &mut Merged, echoes: &Echoes) {
    if echoes.is_empty() {
        return;
    }
    let result = field_values(&merged.fields);
    for (field, (known, there)) in echoes {
        let ours = result.get(field);
        if ours != there.as_ref() && !merged.decisions.iter().any(|decision| decision.field == *field) {
            merged.decisions.push(Decision {
                field: field.clone(),
                sides: Sides { base: known.clone(), agent: ours.cloned(), planner: there.clone() },
                winner: Side::Agent,
            });
        }
    }
}

/// Forgets what was sent of fields that follow Planner: a newer value there shows that ours came before it, if at all.
fn forget_overruled(record: &mut TaskRecord, merged: &TaskFields, details: bool) {
    if record.attempts.is_empty() {
        return;
    }
    let (ours, result) = (field_values(&record.fields), field_values(merged));
    for attempt in record.attempts.iter_mut().filter(|attempt| attempt.in_details() == details) {
        attempt.sent.retain(|change| ours.get(change.field()) == result.get(change.field()));
    }
    record.attempts.retain(|attempt| !attempt.sent.is_empty());
}

/// How long a stray is remembered: longer than a process stands still.
const STRAY: TimeDelta = TimeDelta::hours(24);
/// Most strays a task remembers.
const MAX_STRAYS: usize = 8;

/// Forgets the attempts that are found to have arrived, and gives up those that would have been seen if they had.
fn forget_attempts(record: &mut TaskRecord, found: &FieldValues, details: bool, seen_at: DateTime<Utc>, doubt: Doubt) {
    let arrived = |attempt: &Attempt| attempt.sent.iter().all(|change| found.get(change.field()) == change.value());
    let (gone, kept): (ThinVec<Attempt>, ThinVec<Attempt>) = std::mem::take(&mut record.attempts)
        .into_iter()
        .partition(|attempt| attempt.in_details() == details && (doubt == Doubt::Settled || arrived(attempt)));
    record.attempts = kept;
    remember_strays(record, gone.into_iter().filter(|attempt| !arrived(attempt)).collect(), seen_at);
}

/// Ends the attempts of one resource: `sent` has arrived, the others are given up.
fn retire_attempts(record: &mut TaskRecord, sent: &Sent, details: bool, now: DateTime<Utc>) {
    let (gone, kept): (ThinVec<Attempt>, ThinVec<Attempt>) =
        std::mem::take(&mut record.attempts).into_iter().partition(|attempt| attempt.in_details() == details);
    record.attempts = kept;
    remember_strays(record, gone.into_iter().filter(|attempt| attempt.sent != *sent).collect(), now);
}

/// Forgets strays of fields that have changed on Planner since what the row knows: their ETag would be refused.
fn outdate_strays(record: &mut TaskRecord, found: &FieldValues, details: bool) {
    if record.strays.is_empty() {
        return;
    }
    let known = field_values(record.base().unwrap_or(&record.fields));
    for stray in record.strays.iter_mut().filter(|stray| stray.in_details() == details) {
        stray.sent.retain(|change| known.get(change.field()) == found.get(change.field()));
    }
    record.strays.retain(|stray| !stray.sent.is_empty());
}

fn remember_strays(record: &mut TaskRecord, given_up: Vec<Attempt>, now: DateTime<Utc>) {
    if is_on(Mutant::NoStrays) {
        return;
    }
    record.strays.retain(|stray| now < stray.at + STRAY);
    record.strays.extend(given_up.into_iter().map(|attempt| Attempt { at: now, ..attempt }));
    let excess = record.strays.len().saturating_sub(MAX_STRAYS);
    record.strays.drain(..excess);
}
