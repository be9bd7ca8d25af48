//! The three-way merge: what a task should be after both sides changed it. Pure.
//!
//! A task is taken apart into [`Field`]s, so that assignees, labels, checklist items and references merge by key. For
//! each field: one side changed it, take that side; both changed it to the same value, no conflict; both changed it to
//! different values, the rule decides and a [`Decision`] records both.
//!
//! The rule (last write wins, with a doubt): v1.0 of Planner tells no time of a change, so a person's edit is known
//! only to lie before the read that showed it. The agent wins only if it wrote more than the grace period after that
//! read; in every other case, and whenever the time is unknown, Planner wins.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, TimeDelta, Utc};

use super::field_value::{assemble, field_values};
use super::model::{Field, FieldRef, FieldValue, Side, Sides, TaskFields};
use super::mutant::{Mutant, is_on};
use super::places::{moved, restore_order};

/// Two edits closer than this count as simultaneous.
pub const GRACE: TimeDelta = TimeDelta::seconds(30);

/// A field both sides changed to different values.
#[derive(Debug, Clone, PartialEq)]
pub struct Decision {
    /// The field.
    pub field: Field,
    /// The last common value and those of both sides.
    pub sides: Sides<FieldValue>,
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
    let (base_values, local_values, remote_values) = (field_values(base), field_values(local), field_values(remote));
    let fields: BTreeSet<FieldRef<'_>> =
        base_values.fields().chain(local_values.fields()).chain(remote_values.fields()).collect();
    let mut merged = Vec::with_capacity(fields.len());
    let mut decisions = Vec::new();
    for field in fields {
        let local_value = local_values.get(field);
        let remote_value = remote_values.get(field);
        let unread = field.in_details() && remote.details.is_none();
        let value = if unread || local_value == remote_value {
            local_value
        } else {
            let no_base = field.in_details() && base.details.is_none();
            let base_value = base_values.get(field);
            let edited = edited.iter().find(|(edited, _)| FieldRef::from(*edited) == field).map(|(_, at)| at);
            let changed_here = if no_base { edited.is_some() } else { local_value != base_value };
            let changed_there = if no_base { remote_value.is_some() } else { remote_value != base_value };
            let changed_here = changed_here && !(is_on(Mutant::WholeTaskMerge) && base.title != remote.title);
            match (changed_here, changed_there) {
                (true, false) => local_value,
                (false, _) => remote_value,
                (true, true) => {
                    let winner = winner(edited, seen_at);
                    decisions.push(Decision {
                        field: field.to_field(),
                        sides: Sides {
                            base: base_value.cloned(),
                            agent: local_value.cloned(),
                            planner: remote_value.cloned(),
                        },
                        winner,
                    });
                    if winner == Side::Agent { local_value } else { remote_value }
                }
            }
        };
        merged.extend(value);
    }
    let mut fields = assemble(merged, local.details.is_some() || remote.details.is_some());
    restore_order(&mut fields, base, remote, local);
    Merged { fields, decisions }
}

fn winner(edited: Option<&DateTime<Utc>>, seen_at: DateTime<Utc>) -> Side {
    match edited {
        Some(edited) if *edited > seen_at + GRACE => Side::Agent,
        _ => Side::Planner,
    }
}

/// The fields in which `to` differs from `from`, details only where both know them; an item for which `to` asks for
/// another place is among them.
#[must_use]
pub fn differing(from: &TaskFields, to: &TaskFields) -> Vec<Field> {
    let (from_values, to_values) = (field_values(from), field_values(to));
    let both_details = from.details.is_some() && to.details.is_some();
    let moved = moved(from, to);
    let fields: BTreeSet<FieldRef<'_>> = from_values.fields().chain(to_values.fields()).collect();
    fields
        .into_iter()
        .filter(|field| both_details || !field.in_details())
        .filter(|field| from_values.get(*field) != to_values.get(*field) || moved.contains(field))
        .map(FieldRef::to_field)
        .collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::sync::field_value::set_field_value;
    use crate::sync::model::{DetailFields, OfField};
    use crate::sync::samples::any_task;

    fn task(title: &str) -> TaskFields {
        TaskFields { title: title.into(), ..TaskFields::blank().with_details() }
    }

    fn at(seconds: i64) -> DateTime<Utc> {
        DateTime::UNIX_EPOCH + TimeDelta::seconds(seconds)
    }

    #[test]
    fn edits_of_different_fields_are_merged() {
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
        let title = |text: &str| Some(FieldValue::Title(text.into()));
        assert_eq!(merged.decisions[0].sides.agent, title("agent"));
        assert_eq!(merged.decisions[0].sides.planner, title("person"));
    }

    #[test]
    fn the_agent_wins_when_it_wrote_later_by_more_than_the_grace() {
        let edited = BTreeMap::from([(Field::Title, at(31))]);
        let merged = merge(&task("a"), &task("agent"), &task("person"), &edited, at(0));
        assert_eq!(merged.fields.title, "agent");
        assert_eq!(merged.decisions[0].winner, Side::Agent);
    }

    #[test]
    fn unread_details_are_kept() {
        let mut local = task("a");
        local.details = Some(Box::new(DetailFields { description: "text".into(), ..DetailFields::default() }));
        let remote = TaskFields { details: None, ..task("b") };
        let merged = merge(&local, &local, &remote, &BTreeMap::new(), at(0));
        assert_eq!(merged.fields.title, "b");
        assert_eq!(merged.fields.details, local.details);
    }

    #[test]
    fn edit_of_unread_details_is_merged_with_the_read_ones() {
        let base = TaskFields { details: None, ..task("a") };
        let mut local = base.clone();
        set_field_value(&mut local, &FieldValue::Description("mine".into()));
        let mut remote = task("a");
        let item = FieldValue::Checklist { key: "k".into(), title: "x".into(), checked: false };
        set_field_value(&mut remote, &item);
        let edited = BTreeMap::from([(Field::Description, at(0))]);
        let details = merge(&base, &local, &remote, &edited, at(0)).fields.details.unwrap();
        assert_eq!(details.description, "mine");
        assert_eq!(details.checklist.len(), 1);
    }

    proptest! {
        #[test]
        fn unchanged_side_takes_the_other_value(base in any_task(), other in any_task()) {
            prop_assume!(base.details.is_some() && other.details.is_some());
            let none = BTreeMap::new();
            prop_assert_eq!(&merge(&base, &base, &other, &none, at(0)).fields, &other);
            prop_assert_eq!(&merge(&base, &other, &base, &none, at(0)).fields, &other);
        }

        #[test]
        fn merged_values_come_from_a_side_and_lost_ones_are_recorded(
            base in any_task(), local in any_task(), remote in any_task(), late in any::<bool>(),
        ) {
            let at = at(if late { 100 } else { 0 });
            let edited: BTreeMap<_, _> =
                field_values(&local).fields().map(|field| (field.to_field(), at)).collect();
            let merged = merge(&base, &local, &remote, &edited, self::at(0));
            let result = field_values(&merged.fields);
            let (known, mine, theirs) = (field_values(&base), field_values(&local), field_values(&remote));
            for value in &result {
                let field = value.field();
                prop_assert!(mine.get(field) == Some(value) || theirs.get(field) == Some(value));
            }
            if base.details.is_some() && local.details.is_some() && remote.details.is_some() {
                for value in &theirs {
                    let field = value.field();
                    let lost = known.get(field) != Some(value) && result.get(field) != Some(value);
                    prop_assert!(!lost || merged.decisions.iter().any(|d| FieldRef::from(&d.field) == field));
                }
            }
        }
    }
}
