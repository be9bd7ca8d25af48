//! Rules of the engine that the simulation found broken once, each in its smallest form.

use chrono::{DateTime, TimeDelta, Utc};

use super::absorb::{after_create, after_details, after_listed, after_read};
use super::intent::{Resolution, copy_of, resolve};
use super::journal::{self, Edit};
use super::model::{
    Attempt, ChecklistItem, DetailFields, Disputed, Field, FieldChange, FieldEdit, FieldRef, FieldValue, LostCreate,
    Sent, Side, TaskFacts, TaskFields, TaskRecord, Tombstone,
};
use super::plan::{
    Action, CheckState, Checks, Doubt, finish, is_divisible, is_young, next_action, refuse, refuse_fields, sent_by,
};
use super::ports::{RemoteDetails, RemoteTask, without_repeats};
use super::replica::Replica;
use crate::ids::{PlanId, PlanKey, PlannerTaskId, TaskId};

fn at(second: i64) -> DateTime<Utc> {
    DateTime::UNIX_EPOCH + TimeDelta::days(1) + TimeDelta::seconds(second)
}

fn edit(second: i64) -> Edit {
    Edit { operation: "op".into(), at: at(second), by: "test".into(), rows: Vec::new() }
}

fn fields(title: &str) -> TaskFields {
    TaskFields { title: title.into(), ..TaskFields::blank() }
}

fn title_of(title: &str) -> FieldValue {
    FieldValue::Title(title.into())
}

fn set(value: FieldValue) -> FieldEdit {
    FieldEdit::Set(value)
}

fn remote(number: u64, version: u64, title: &str, created: i64) -> RemoteTask {
    RemoteTask {
        id: PlannerTaskId::parse(&format!("{number:028}")).unwrap(),
        etag: format!("W/\"{version:09}\""),
        fields: fields(title),
        facts: TaskFacts { created_at: Some(at(created)), created_with: Some("us".into()), ..TaskFacts::default() },
    }
}

/// A create that was sent at second 0.
fn unanswered(name: &str, title: &str) -> TaskRecord {
    let plan = PlanKey::derive(&PlanId::parse("xqQg5FS2LkCp935s-FIFm2QAFkHM").unwrap(), 0);
    let mut record = journal::create(TaskId::keyed(&plan, "test", name), fields(title), edit(0)).put.remove(0);
    record.attempts.push(Attempt { at: at(0), sent: sent_by(&record, &Action::Create) });
    record
}

/// A task on Planner under `title`; its details have never been read.
fn arrived(title: &str) -> TaskRecord {
    let create = unanswered("k", title);
    let record = after_create(&create, &create.attempts[0].sent, &remote(1, 1, title, 0), at(1)).put.remove(0);
    finish(&record, 1).put.remove(0)
}

/// As [`arrived`], and on it the agent's `edited`.
fn known(title: &str, edited: &str) -> TaskRecord {
    journal::update(&arrived(title), &[set(title_of(edited))], edit(2)).unwrap().put.remove(0)
}

fn attempt(second: i64, title: &str) -> Attempt {
    Attempt { at: at(second), sent: Sent::from([FieldChange::Set(title_of(title))]) }
}

#[test]
fn reverted_unanswered_edit_is_polled_until_planner_must_show_it() {
    let mut record = known("a", "b");
    record.attempts.push(attempt(3, "b"));
    let mut record = journal::update(&record, &[set(title_of("a"))], edit(4)).unwrap().put.remove(0);
    let early = after_read(&record, &remote(1, 1, "a", 0), at(5), Doubt::Open).put.remove(0);
    assert_eq!(next_action(&early, Checks::ALL), Action::Wait, "the old state may be a stale view");
    record = after_read(&early, &remote(1, 2, "b", 0), at(6), Doubt::Open).put.remove(0);
    assert!(matches!(next_action(&record, Checks::ALL), Action::Update(_)), "our own value is no person's");
}

#[test]
fn unanswered_removal_is_recognised() {
    let mut record = known("a", "b");
    record.attempts.push(Attempt { at: at(3), sent: Sent::from([FieldChange::Clear(Field::Due)]) });
    if let Some(remote) = &mut record.remote {
        remote.base.as_mut().unwrap().due = Some(at(900));
    }
    record.fields.due = Some(at(1800));
    let step = after_read(&record, &remote(1, 2, "a", 0), at(5), Doubt::Open);
    assert_eq!(step.put[0].fields.due, Some(at(1800)));
    assert!(step.conflicts.is_empty(), "it is the answer to our own call: nobody has caused a conflict");
}

#[test]
fn lost_value_written_later_by_a_person_is_not_ours() {
    let mut record = known("a", "b");
    record.attempts.push(attempt(3, "b"));
    let record = after_read(&record, &remote(1, 2, "theirs", 0), at(5), Doubt::Open).put.remove(0);
    assert_eq!(record.fields.title, "theirs");
    let record = after_read(&record, &remote(1, 3, "b", 0), at(6), Doubt::Open).put.remove(0);
    assert_eq!(record.fields.title, "b");
}

#[test]
fn only_sent_values_count_as_ours() {
    let record = known("a", "b");
    let sent = sent_by(&record, &next_action(&record, Checks::NONE));
    assert_eq!(sent.fields().collect::<Vec<_>>(), [FieldRef::Title]);
}

#[test]
fn clearing_unread_details_reads_them_first() {
    let cleared =
        journal::update(&arrived("a"), &[FieldEdit::Clear(Field::Description)], edit(3)).unwrap().put.remove(0);
    assert_eq!(next_action(&cleared, Checks::NONE), Action::ReadDetails);
}

#[test]
fn reading_details_does_not_confirm_the_title() {
    let mut record = known("a", "b");
    record.strays.push(attempt(1, "a"));
    let found = RemoteDetails { etag: "W/\"000000002\"".into(), fields: DetailFields::default() };
    let step = after_details(&record, None, &found, at(5), Doubt::Settled);
    assert!(step.conflicts.is_empty(), "{:?}", step.conflicts);
    assert_eq!(step.put[0].fields.title, "b");
}

#[test]
fn late_effect_of_an_abandoned_change_is_ours_and_corrected() {
    let mut record = arrived("b");
    record.strays.push(attempt(1, "a"));
    let step = after_read(&record, &remote(1, 3, "a", 0), at(60), Doubt::Open);
    let next = &step.put[0];
    assert_eq!((next.fields.title.as_str(), step.conflicts[0].winner), ("b", Side::Agent));
    assert!(next.is_dirty() && next.strays.is_empty() && step.journal.len() == 1);
    assert!(matches!(next_action(next, Checks::ALL), Action::Update(_)));
}

#[test]
fn abandoned_change_cannot_apply_after_its_field_changed() {
    let mut record = arrived("b");
    record.strays.push(attempt(1, "a"));
    let record = after_read(&record, &remote(1, 3, "theirs", 0), at(60), Doubt::Open).put.remove(0);
    let step = after_read(&record, &remote(1, 4, "a", 0), at(70), Doubt::Open);
    assert_eq!((step.put[0].fields.title.as_str(), step.put[0].is_dirty()), ("a", false), "a person wrote it");
}

#[test]
fn etag_412_is_followed_by_a_read() {
    let record = known("a", "b");
    assert_eq!(next_action(&record, Checks { task: CheckState::Refused, ..Checks::NONE }), Action::Read);
}

#[test]
fn edit_by_a_person_of_a_deleted_task_is_logged() {
    let record = journal::delete(&known("a", "b"), edit(3)).put.remove(0);
    let step = after_read(&record, &remote(1, 2, "theirs", 0), at(4), Doubt::Open);
    let Disputed::Task(sides) = &step.conflicts[0].disputed else { panic!("the whole task is in dispute") };
    assert_eq!(sides.planner.as_ref().unwrap().title, "theirs");
    assert_eq!(next_action(&step.put[0], Checks::ALL), Action::Delete);
}

#[test]
fn recent_task_answered_404_is_not_deleted() {
    let record = known("a", "b");
    assert!(is_young(&record, at(49)) && !is_young(&record, at(50)));
}

#[test]
fn deleted_create_that_never_happened_leaves_no_row() {
    let mut record = journal::delete(&unanswered("k", "a"), edit(1)).put.remove(0);
    record.attempts.clear();
    let step = finish(&record, record.revision);
    assert_eq!((step.drop, step.put), (vec![record.id], vec![]));
}

#[test]
fn refused_combined_change_is_split_and_only_the_invalid_field_abandoned() {
    let edits = [title_of("bad"), FieldValue::Start(at(0)), FieldValue::Due(at(900))].map(set);
    let mut record = journal::update(&arrived("a"), &edits, edit(2)).unwrap().put.remove(0);
    assert!(is_divisible(&sent_by(&record, &next_action(&record, Checks::ALL))));
    let apart = Checks { apart: true, ..Checks::ALL };
    let sent = sent_by(&record, &next_action(&record, apart));
    assert_eq!(sent.fields().collect::<Vec<_>>(), [FieldRef::Title]);
    let step = refuse_fields(&record, &sent, "400", at(3));
    assert_eq!((step.conflicts.len(), step.conflicts[0].disputed.field()), (1, Some(&Field::Title)));
    record = step.put.into_iter().next().unwrap();
    assert_eq!((record.fields.title.as_str(), record.fields.due), ("a", Some(at(900))));
    assert_eq!(record.lost[&Field::Title].refused.as_deref(), Some("400"));
    let sent = sent_by(&record, &next_action(&record, apart));
    assert_eq!(sent.fields().collect::<Vec<_>>(), [FieldRef::Start, FieldRef::Due], "the order of the two is checked");
    assert!(!is_divisible(&sent));
}

#[test]
fn refusal_seen_by_two_instances_is_recorded_once() {
    let record = known("a", "bad");
    let sent = sent_by(&record, &next_action(&record, Checks::ALL));
    let first = refuse_fields(&record, &sent, "400", at(3));
    assert_eq!((first.conflicts.len(), first.put[0].fields.title.as_str()), (1, "a"));
    let second = refuse_fields(&first.put[0], &sent, "400", at(4));
    assert!(second.conflicts.is_empty(), "{:?}", second.conflicts);
}

/// The record with these details read from Planner at a second.
fn with_details(record: &TaskRecord, items: &[(&str, &str)], second: i64) -> TaskRecord {
    let item = |(key, order): &(&str, &str)| {
        let item = ChecklistItem { title: "item".into(), checked: false, order: (*order).to_owned() };
        ((*key).to_owned(), item)
    };
    let fields = DetailFields { checklist: items.iter().map(item).collect(), ..DetailFields::default() };
    let found = RemoteDetails { etag: format!("W/\"{second:09}\""), fields };
    after_details(record, None, &found, at(second), Doubt::Settled).put.remove(0)
}

#[test]
fn refused_checklist_order_is_abandoned() {
    let known = with_details(&arrived("a"), &[("k", "85")], 2);
    let mut record = known.clone();
    record.remote.as_mut().unwrap().base = Some(Box::new(known.fields.clone()));
    record.fields.details.as_mut().unwrap().checklist.get_mut("k").unwrap().order = "86 !".to_owned();
    let place = Field::Checklist("k".to_owned());
    record.edited.insert(place.clone(), at(3));
    record.revision += 1;
    record.pending.push(record.revision);
    let sent = sent_by(&record, &next_action(&record, Checks::ALL));
    assert_eq!(sent.fields().collect::<Vec<_>>(), [FieldRef::from(&place)]);
    let step = refuse_fields(&record, &sent, "400", at(4));
    assert_eq!(step.conflicts.len(), 1);
    assert_eq!(step.put[0].fields, known.fields);
    assert_eq!(next_action(&step.put[0], Checks::ALL), Action::Nothing, "nothing is asked for any more");
}

#[test]
fn stale_details_are_reread_until_they_match_listed_counts() {
    let mut listed = remote(1, 1, "a", 0);
    (listed.facts.checklist_items, listed.facts.open_checklist_items) = (1, 1);
    let read = with_details(&arrived("a"), &[], 2);
    let merged = after_listed(&read, &listed, at(10), None, Doubt::Settled).put.remove(0);
    let is_changed = |record: &TaskRecord| record.remote.as_ref().unwrap().details_changed;
    assert!(is_changed(&merged), "the counts changed under a known ETag");
    let older = with_details(&merged, &[], 12);
    assert!(is_changed(&older), "the read was older than the listing");
    assert!(!is_changed(&with_details(&older, &[("k", "85")], 14)));
    assert!(!is_changed(&with_details(&older, &[], 60)), "what is read so much later is believed");
    let seen = after_listed(&read, &listed, at(10), Some(at(11)), Doubt::Settled);
    assert!(seen.put.is_empty(), "details read since the listing are newer than its counts");
}

#[test]
fn lost_edit_is_reported_to_its_caller_after_later_edits() {
    let record = known("a", "b");
    let step = after_read(&record, &remote(1, 2, "theirs", 0), at(5), Doubt::Open);
    let record = journal::update(&step.put[0], &[set(FieldValue::Priority(1))], edit(6)).unwrap().put.remove(0);
    assert_eq!((record.lost[&Field::Title].revision, record.revision), (2, 3));
}

#[test]
fn refusal_keeps_polling_for_unanswered_changes() {
    let mut record = known("a", "b");
    record.attempts.push(attempt(3, "b"));
    let step = refuse(&record, "400", at(4));
    assert_eq!(step.put[0].fields.title, "a");
    assert!(step.put[0].is_dirty() && step.finish.is_empty());
}

#[test]
fn creates_adopt_the_equal_or_nearest_task() {
    let (first, mut second) = (unanswered("1", "a"), unanswered("2", "b"));
    second.attempts[0].at = at(10);
    let listing = [remote(1, 1, "renamed", 0), remote(2, 2, "b", 10)];
    let of = |record, other| resolve(record, &[other], &listing, |_| false, &[], Some("us"), |_| true);
    assert_eq!(of(&second, &first), Resolution::Adopt(&listing[1]));
    assert_eq!(of(&first, &second), Resolution::Guess(&listing[0]));
    let early = resolve(&first, &[&second], &listing[..1], |_| false, &[], Some("us"), |_| false);
    assert_eq!(early, Resolution::TooEarly, "the other's task may not be shown yet");
    let twice = without_repeats(vec![listing[1].clone(), listing[1].clone()]);
    let absent = resolve(&first, &[&second], &twice, |_| false, &[], Some("us"), |_| true);
    assert_eq!(absent, Resolution::Absent, "a task that is listed twice is one task");
    // Two seconds are no evidence between two clocks; a date that only one of them sent is.
    second.attempts[0].at = at(2);
    second.attempts[0].sent.insert(FieldChange::Set(FieldValue::Due("2026-11-28T00:00:00Z".parse().unwrap())));
    let mut edited = remote(3, 1, "renamed", 0);
    edited.fields.due = Some("2026-11-28T00:00:00Z".parse().unwrap());
    let listing = [edited];
    let of = |record, other| resolve(record, &[other], &listing, |_| false, &[], Some("us"), |_| true);
    assert_eq!(of(&second, &first), Resolution::Guess(&listing[0]));
    assert_eq!(of(&first, &second), Resolution::Absent);
}

#[test]
fn task_resembling_a_later_create_belongs_to_the_earlier() {
    let (first, mut second) = (unanswered("1", "a"), unanswered("2", "b"));
    second.attempts[0].at = at(60);
    let listing = [remote(1, 2, "b", 1), remote(2, 1, "b", 61)];
    let of = |record, other, shown| resolve(record, &[other], &listing[..shown], |_| false, &[], Some("us"), |_| true);
    assert_eq!(of(&first, &second, 1), Resolution::Guess(&listing[0]), "a person wrote `b` there");
    assert_eq!(of(&second, &first, 1), Resolution::Absent);
    assert_eq!(of(&second, &first, 2), Resolution::Adopt(&listing[1]));
}

#[test]
fn task_of_an_abandoned_create_is_not_adopted_by_the_next() {
    let mut record = unanswered("1", "b");
    record.attempts[0].at = at(40);
    let first = unanswered("1", "a").attempts.remove(0);
    let lost = LostCreate { task: record.id.clone(), attempt: first };
    let of = |listing: &[RemoteTask]| match resolve(&record, &[], listing, |_| false, &[&lost], Some("us"), |_| true) {
        Resolution::Guess(task) => Some(task.id.clone()),
        other => {
            assert_eq!(other, Resolution::Absent);
            None
        }
    };
    assert_eq!(of(&[remote(1, 1, "a", 1)]), None, "a copy of the first");
    let edited = remote(2, 1, "a", 41);
    assert_eq!(
        of(std::slice::from_ref(&edited)),
        Some(edited.id.clone()),
        "the next one's, which a person made equal the first"
    );
    let copy = |task: &RemoteTask| copy_of([&lost], task, Some("us"));
    assert_eq!((copy(&remote(1, 1, "a", 60)), copy(&remote(2, 1, "edited", 1))), (Some(&lost), None));
}

#[test]
fn create_is_resent_only_after_its_task_must_be_listed() {
    let record = unanswered("1", "a");
    let of = |second| resolve(&record, &[], &[], |_| false, &[], Some("us"), |_| second >= 30);
    assert_eq!((of(29), of(30)), (Resolution::TooEarly, Resolution::Absent));
    let foreign = [RemoteTask { facts: TaskFacts::default(), ..remote(1, 1, "other", 0) }];
    assert_eq!(resolve(&record, &[], &foreign, |_| false, &[], Some("us"), |_| true), Resolution::Absent);
}

#[test]
fn only_expired_sync_rows_are_deleted() {
    let now = at(0) + TimeDelta::days(100);
    let create = unanswered("k", "a");
    let lost = |days: i64| LostCreate {
        task: create.id.clone(),
        attempt: Attempt { at: now - TimeDelta::days(days), ..create.attempts[0].clone() },
    };
    let tombstone =
        |days: Option<i64>| Tombstone { at: days.map(|days| now - TimeDelta::days(days)), ..Tombstone::default() };
    let id = |number: u64| PlannerTaskId::parse(&format!("{number:028}")).unwrap();
    let mut replica = Replica::default();
    replica.lost.extend([lost(6), lost(8)].map(|lost| (lost.key(), lost)));
    replica.tombstones.extend([(id(1), tombstone(Some(30))), (id(2), tombstone(Some(32))), (id(3), tombstone(None))]);
    let step = replica.outlived(now);
    assert_eq!((step.forgotten_tombstones, step.found), (vec![id(2)], vec![lost(8)]));
    assert!(Replica::default().outlived(now).is_empty());
}
