//! The three-way merge: what a task should be after both sides changed it. Pure.
//!
//! A task is taken apart into [`Field`]s, so that assignees, labels, checklist items and references merge by key. For
//! each field: one side changed it, take that side; both changed it to the same value, no conflict; both changed it to
//! different values, the rule decides and a [`Decision`] records both.
//!
//! The rule (last write wins, with a doubt): v1.0 of Planner tells no time of a change, so a person's edit is known
//! only to lie before the read that showed it. The agent wins only if it wrote more than the grace period after that
//! read; in every other case, and whenever the time is unknown, Planner wins.
//!
//! Long because what holds of every merge is tested here, on random tasks.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, TimeDelta, Utc};
use serde_json::Value;

use super::model::{ChecklistItem, DetailFields, Few, Field, Reference, Side, TaskFields};
use super::mutant::{Mutant, is_on};
use super::places::{moved, restore_order};
use crate::ids::BucketId;

/// Two edits closer than this count as simultaneous.
pub const GRACE: TimeDelta = TimeDelta::seconds(30);

/// A field both sides changed to different values.
#[derive(Debug, Clone, PartialEq)]
pub struct Decision {
    /// The field.
    pub field: Field,
    /// The last common value.
    pub base: Value,
    /// The agent's value.
    pub agent: Value,
    /// Planner's value.
    pub planner: Value,
    /// Who won.
    pub winner: Side,
}

/// The outcome of a merge.
#[derive(Debug, Clone, PartialEq)]
pub struct Merged {
    /// The task as both sides should have it.
    pub fields: TaskFields,
    /// What had to be decided, in field order.
    pub decisions: Vec<Decision>,
}

/// Merges `local` (the replica) and `remote` (Planner) over `base`, their last common state.
///
/// `edited` tells when each local field was last edited; `seen_at` when the read that showed `remote` was requested.
/// Where `remote` has no details (they were not read), the details stay as they are locally. Where `base` has none,
/// fields in `edited` count as changed here, all others as unchanged.
#[must_use]
pub fn merge(
    base: &TaskFields,
    local: &TaskFields,
    remote: &TaskFields,
    edited: &BTreeMap<Field, DateTime<Utc>>,
    seen_at: DateTime<Utc>,
) -> Merged {
    let (base_pieces, local_pieces, remote_pieces) = (pieces(base), pieces(local), pieces(remote));
    let fields: BTreeSet<&Field> = base_pieces.keys().chain(local_pieces.keys()).chain(remote_pieces.keys()).collect();
    let mut merged = BTreeMap::new();
    let mut decisions = Vec::new();
    for field in fields {
        let local_value = local_pieces.get(field);
        let remote_value = remote_pieces.get(field);
        let unread = field.in_details() && remote.details.is_none();
        let value = if unread || local_value == remote_value {
            local_value
        } else {
            let no_base = field.in_details() && base.details.is_none();
            let base_value = base_pieces.get(field);
            let changed_here = if no_base { edited.contains_key(field) } else { local_value != base_value };
            let changed_there = if no_base { remote_value.is_some() } else { remote_value != base_value };
            let changed_here = changed_here && !(is_on(Mutant::WholeTaskMerge) && base.title != remote.title);
            match (changed_here, changed_there) {
                (true, false) => local_value,
                (false, _) => remote_value,
                (true, true) => {
                    let winner = winner(edited.get(field), seen_at);
                    decisions.push(Decision {
                        field: field.clone(),
                        base: base_value.cloned().unwrap_or_default(),
                        agent: local_value.cloned().unwrap_or_default(),
                        planner: remote_value.cloned().unwrap_or_default(),
                        winner,
                    });
                    if winner == Side::Agent { local_value } else { remote_value }
                }
            }
        };
        if let Some(value) = value {
            merged.insert(field.clone(), value.clone());
        }
    }
    let mut fields = assemble(&merged, local.details.is_some() || remote.details.is_some());
    restore_order(&mut fields, base, remote, local);
    Merged { fields, decisions }
}

fn winner(edited: Option<&DateTime<Utc>>, seen_at: DateTime<Utc>) -> Side {
    match edited {
        Some(edited) if *edited > seen_at + GRACE => Side::Agent,
        _ => Side::Planner,
    }
}

/// The task's pieces that have a value.
#[must_use]
pub fn pieces(task: &TaskFields) -> BTreeMap<Field, Value> {
    let mut pieces = BTreeMap::new();
    pieces.insert(Field::Title, Value::from(task.title.as_str()));
    pieces.insert(Field::PercentComplete, Value::from(task.percent_complete));
    pieces.insert(Field::Priority, Value::from(task.priority));
    if let Some(bucket) = &task.bucket {
        pieces.insert(Field::Bucket, Value::from(bucket.as_str()));
    }
    if let Some(start) = task.start {
        pieces.insert(Field::Start, Value::from(start.to_rfc3339()));
    }
    if let Some(due) = task.due {
        pieces.insert(Field::Due, Value::from(due.to_rfc3339()));
    }
    for user in &task.assignees {
        pieces.insert(Field::Assignee(user.clone()), Value::Bool(true));
    }
    for category in &task.categories {
        pieces.insert(Field::Category(*category), Value::Bool(true));
    }
    if let Some(details) = &task.details {
        if !details.description.is_empty() {
            pieces.insert(Field::Description, Value::from(details.description.as_str()));
        }
        for (key, item) in &details.checklist {
            let value = serde_json::json!({"title": item.title, "checked": item.checked});
            pieces.insert(Field::Checklist(key.clone()), value);
        }
        for (url, reference) in &details.references {
            let value = serde_json::json!({"alias": reference.alias, "kind": reference.kind});
            pieces.insert(Field::Reference(url.clone()), value);
        }
    }
    pieces
}

/// Puts a task together from pieces; a piece of an unexpected shape counts as absent.
#[must_use]
pub fn assemble(pieces: &BTreeMap<Field, Value>, with_details: bool) -> TaskFields {
    let mut task = TaskFields {
        title: String::new(),
        bucket: None,
        percent_complete: 0,
        priority: 5,
        start: None,
        due: None,
        assignees: Few::new(),
        categories: Few::new(),
        details: with_details.then(Box::default),
    };
    for (field, value) in pieces {
        set_piece(&mut task, field, value);
    }
    task
}

/// Sets one piece; `null` removes it.
pub fn set_piece(task: &mut TaskFields, field: &Field, value: &Value) {
    let text = value.as_str();
    let small = |value: &Value| value.as_u64().and_then(|number| u8::try_from(number).ok());
    let time = |text: Option<&str>| text.and_then(|t| DateTime::parse_from_rfc3339(t).ok()).map(|t| t.to_utc());
    match field {
        Field::Title => text.unwrap_or_default().clone_into(&mut task.title),
        Field::Bucket => task.bucket = text.and_then(|text| BucketId::parse(text).ok()),
        Field::PercentComplete => task.percent_complete = small(value).unwrap_or(0),
        Field::Priority => task.priority = small(value).unwrap_or(5),
        Field::Start => task.start = time(text),
        Field::Due => task.due = time(text),
        Field::Assignee(user) => set_member(&mut task.assignees, user, value),
        Field::Category(category) => set_member(&mut task.categories, category, value),
        Field::Description | Field::Checklist(_) | Field::Reference(_) => {
            set_detail(task.details.get_or_insert_default(), field, value);
        }
    }
}

fn set_member<T: Ord + Clone>(set: &mut Few<T>, member: &T, value: &Value) {
    if value.as_bool().unwrap_or(false) {
        set.insert(member.clone());
    } else {
        set.remove(member);
    }
}

fn set_detail(details: &mut DetailFields, field: &Field, value: &Value) {
    let text = |name: &str| value.get(name).and_then(Value::as_str).map(str::to_owned);
    match field {
        Field::Description => value.as_str().unwrap_or_default().clone_into(&mut details.description),
        Field::Checklist(key) if value.is_object() => {
            let checked = value.get("checked").and_then(Value::as_bool).unwrap_or(false);
            let known = || details.checklist.get(key).map(|item| item.order.clone()).unwrap_or_default();
            let order = text("order").unwrap_or_else(known);
            details
                .checklist
                .insert(key.clone(), ChecklistItem { title: text("title").unwrap_or_default(), checked, order });
        }
        Field::Checklist(key) => {
            details.checklist.remove(key);
        }
        Field::Reference(url) if value.is_object() => {
            details.references.insert(url.clone(), Reference { alias: text("alias"), kind: text("kind") });
        }
        Field::Reference(url) => {
            details.references.remove(url);
        }
        _ => {}
    }
}

/// The fields in which `to` differs from `from`, details only where both know them; an item for which `to` asks for
/// another place is among them.
#[must_use]
pub fn differing(from: &TaskFields, to: &TaskFields) -> Vec<Field> {
    let (from_pieces, to_pieces) = (pieces(from), pieces(to));
    let both_details = from.details.is_some() && to.details.is_some();
    let moved = moved(from, to);
    let fields: BTreeSet<&Field> = from_pieces.keys().chain(to_pieces.keys()).collect();
    fields
        .into_iter()
        .filter(|field| both_details || !field.in_details())
        .filter(|field| from_pieces.get(field) != to_pieces.get(field) || moved.contains(field))
        .cloned()
        .collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn task(title: &str) -> TaskFields {
        let mut task = assemble(&BTreeMap::new(), true);
        task.title = title.into();
        task
    }

    fn at(seconds: i64) -> DateTime<Utc> {
        DateTime::UNIX_EPOCH + TimeDelta::seconds(seconds)
    }

    #[test]
    fn edits_of_different_fields_both_survive() {
        let base = task("a");
        let local = TaskFields { percent_complete: 100, ..task("a") };
        let remote = task("b");
        let merged = merge(&base, &local, &remote, &BTreeMap::new(), at(0));
        assert_eq!(merged.fields, TaskFields { percent_complete: 100, ..task("b") });
        assert_eq!(merged.decisions, vec![]);
    }

    #[test]
    fn planner_wins_a_tie_and_both_values_are_recorded() {
        let edited = BTreeMap::from([(Field::Title, at(30))]);
        let merged = merge(&task("a"), &task("agent"), &task("person"), &edited, at(0));
        assert_eq!(merged.fields.title, "person");
        assert_eq!(merged.decisions[0].agent, "agent");
        assert_eq!(merged.decisions[0].planner, "person");
    }

    #[test]
    fn the_agent_wins_when_it_wrote_later_by_more_than_the_grace() {
        let edited = BTreeMap::from([(Field::Title, at(31))]);
        let merged = merge(&task("a"), &task("agent"), &task("person"), &edited, at(0));
        assert_eq!(merged.fields.title, "agent");
        assert_eq!(merged.decisions[0].winner, Side::Agent);
    }

    #[test]
    fn details_that_were_not_read_stay() {
        let mut local = task("a");
        local.details = Some(Box::new(DetailFields { description: "text".into(), ..DetailFields::default() }));
        let remote = TaskFields { details: None, ..task("b") };
        let merged = merge(&local, &local, &remote, &BTreeMap::new(), at(0));
        assert_eq!(merged.fields.title, "b");
        assert_eq!(merged.fields.details, local.details);
    }

    #[test]
    fn an_edit_of_unread_details_meets_what_is_there() {
        let base = TaskFields { details: None, ..task("a") };
        let mut local = base.clone();
        set_piece(&mut local, &Field::Description, &Value::from("mine"));
        let mut remote = task("a");
        set_piece(&mut remote, &Field::Checklist("k".into()), &serde_json::json!({"title": "x", "checked": false}));
        let edited = BTreeMap::from([(Field::Description, at(0))]);
        let details = merge(&base, &local, &remote, &edited, at(0)).fields.details.unwrap();
        assert_eq!(details.description, "mine");
        assert_eq!(details.checklist.len(), 1);
    }

    prop_compose! {
        fn any_task()(
            title in "[ab]", percent in prop::sample::select(vec![0u8, 50, 100]), priority in 0u8..3,
            due in prop::option::of(0i64..3), categories in prop::collection::btree_set(1u8..4, 0..3),
            description in "[xy]?", items in prop::collection::btree_map("[kl]", ("[pq]", any::<bool>()), 0..3),
            with_details in any::<bool>(),
        ) -> TaskFields {
            let checklist = items.into_iter()
                .map(|(key, (title, checked))| (key, ChecklistItem { title, checked, order: String::new() })).collect();
            let details = DetailFields { description, checklist, references: BTreeMap::new() };
            TaskFields {
                title, bucket: None, percent_complete: percent, priority, start: None, due: due.map(at),
                assignees: Few::new(), categories: categories.into_iter().collect(),
                details: with_details.then_some(Box::new(details)),
            }
        }
    }

    proptest! {
        #[test]
        fn taking_apart_and_putting_together_loses_nothing(task in any_task()) {
            prop_assert_eq!(assemble(&pieces(&task), task.details.is_some()), task);
        }

        #[test]
        fn a_side_that_did_not_change_yields(base in any_task(), other in any_task()) {
            prop_assume!(base.details.is_some() && other.details.is_some());
            let none = BTreeMap::new();
            prop_assert_eq!(&merge(&base, &base, &other, &none, at(0)).fields, &other);
            prop_assert_eq!(&merge(&base, &other, &base, &none, at(0)).fields, &other);
        }

        #[test]
        fn every_piece_comes_from_a_side_and_every_lost_value_is_recorded(
            base in any_task(), local in any_task(), remote in any_task(), late in any::<bool>(),
        ) {
            let edited: BTreeMap<_, _> =
                pieces(&local).into_keys().map(|field| (field, at(if late { 100 } else { 0 }))).collect();
            let merged = merge(&base, &local, &remote, &edited, at(0));
            let result = pieces(&merged.fields);
            let (base_pieces, mine, theirs) = (pieces(&base), pieces(&local), pieces(&remote));
            for (field, value) in &result {
                prop_assert!(mine.get(field) == Some(value) || theirs.get(field) == Some(value));
            }
            if base.details.is_some() && local.details.is_some() && remote.details.is_some() {
                for (field, value) in &theirs {
                    let lost = base_pieces.get(field) != Some(value) && result.get(field) != Some(value);
                    prop_assert!(!lost || merged.decisions.iter().any(|d| &d.field == field));
                }
            }
        }
    }
}
