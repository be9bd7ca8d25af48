//! Where checklist items stand. Order hints take no part in a merge: Planner's own are values of Planner's, ours ask for a
//! place until Planner has answered. Pure.

use std::collections::BTreeSet;

use super::model::{ChecklistItem, FieldRef, TaskFields};

/// The merged checklist has Planner's order hints, or else ours. A place asked for here holds until Planner has moved the
/// item: it is no value of its own, and where both sides moved an item the person's place stands.
pub(super) fn restore_order(merged: &mut TaskFields, base: &TaskFields, remote: &TaskFields, local: &TaskFields) {
    let Some(details) = &mut merged.details else { return };
    for (key, item) in &mut details.checklist {
        let order = |side: &TaskFields| {
            let order = &side.details.as_ref()?.checklist.get(key)?.order;
            (!order.is_empty()).then(|| order.clone())
        };
        let (there, here) = (order(remote), order(local));
        let asked = here.clone().filter(|order| is_asked(order) && (there.is_none() || there == order_of(base, key)));
        if let Some(order) = asked.or(there).or(here) {
            item.order = order;
        }
    }
}

fn order_of(task: &TaskFields, key: &str) -> Option<String> {
    Some(task.details.as_ref()?.checklist.get(key)?.order.clone())
}

/// Whether an order hint asks for a place: Planner's own hints never end in `!`.
fn is_asked(order: &str) -> bool {
    order.ends_with('!')
}

/// Whether `wanted` asks for another place than `known` has.
#[must_use]
pub(super) fn asks_for_place(known: &ChecklistItem, wanted: &ChecklistItem) -> bool {
    is_asked(&wanted.order) && known.order != wanted.order
}

/// The task without the places that `asked` asked for: Planner has answered them.
#[must_use]
pub(super) fn without_places(task: &TaskFields, asked: &TaskFields) -> TaskFields {
    let mut task = task.clone();
    let asked = asked.details.as_ref();
    for (key, item) in task.details.iter_mut().flat_map(|details| &mut details.checklist) {
        let same = asked.and_then(|details| details.checklist.get(key)).is_some_and(|asked| asked.order == item.order);
        if same && is_asked(&item.order) {
            item.order.clear();
        }
    }
    task
}

/// Checklist items for which `to` asks for another place than they have in `from`.
pub(super) fn moved<'a>(from: &TaskFields, to: &'a TaskFields) -> BTreeSet<FieldRef<'a>> {
    let (Some(from), Some(to)) = (&from.details, &to.details) else { return BTreeSet::new() };
    let is_moved = |(key, item): &(&String, &ChecklistItem)| {
        from.checklist.get(*key).is_some_and(|known| asks_for_place(known, item))
    };
    to.checklist.iter().filter(is_moved).map(|(key, _)| FieldRef::Checklist(key)).collect()
}
