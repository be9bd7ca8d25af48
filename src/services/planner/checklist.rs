//! A checklist given whole or changed item by item, in the order wanted. Pure.
//!
//! Items are known by title or id. As many as possible keep their place in Planner; the others ask for one.

use std::collections::{BTreeMap, BTreeSet};

use super::input::ChecklistInput;
use super::lists::Changes;
use super::version::ReadLists;
use crate::error::ErrorCode;
use crate::ids::Entropy;
use crate::services::Error;
use crate::sync::model::{ChecklistItem, DetailFields, Field, FieldEdit, FieldValue};
use crate::text::shown;

/// How a checklist is to change.
#[derive(Debug, Clone)]
pub(super) enum ChecklistEdit {
    /// It is given whole, in order.
    Whole(Vec<ChecklistInput>),
    /// Single items, by title or id.
    Single { add: Vec<ChecklistInput>, tick: Vec<String>, untick: Vec<String>, remove: Vec<String> },
}

/// An item where it is to stand; one without a key is new.
#[derive(Debug, Clone, PartialEq)]
struct Placed {
    key: Option<String>,
    title: String,
    checked: bool,
}

impl Placed {
    fn known(key: &str, item: &ChecklistItem) -> Self {
        Self { key: Some(key.to_owned()), title: item.title.clone(), checked: item.checked }
    }
}

/// Items of a checklist, in order.
type Known<'a> = Vec<(&'a String, &'a ChecklistItem)>;

/// A checklist in the order in which it is shown. A place that is asked for sorts between the neighbours it names: the
/// `!` at its end comes after everything, as nothing after the last item does.
pub(super) fn in_order(checklist: &BTreeMap<String, ChecklistItem>) -> Known<'_> {
    fn rank(order: &str) -> impl Iterator<Item = u8> {
        order.bytes().map(|byte| if byte == b'!' { u8::MAX } else { byte })
    }
    let mut items: Known<'_> = checklist.iter().collect();
    items.sort_by(|left, right| rank(&left.1.order).cmp(rank(&right.1.order)).then_with(|| left.0.cmp(right.0)));
    items
}

impl ChecklistEdit {
    /// Whether it depends on what is not known here when only so many items are `changed`: where something is added stands
    /// below everything else, and what is named may be so already; a list given whole is merged for a caller who `has_read`
    /// it.
    pub(super) fn repeats(&self, changed: usize, has_read: bool) -> bool {
        match self {
            Self::Whole(_) => has_read && changed == 0,
            Self::Single { add, tick, untick, remove } => {
                !add.is_empty() || changed < tick.len() + untick.len() + remove.len()
            }
        }
    }

    /// The edits that make a checklist what is wanted of it, and the titles of items that are dropped without
    /// having been named.
    ///
    /// # Errors
    /// When an item that is named is not there, or several have its title.
    pub(super) fn apply(
        &self,
        details: &DetailFields,
        read: Option<&ReadLists>,
        entropy: &Entropy,
    ) -> Result<Changes, Error> {
        let current = in_order(&details.checklist);
        let target = match self {
            Self::Whole(wanted) => match read.filter(|read| read.knows_details()) {
                Some(read) => merged(&current, wanted, read),
                None => matched(&current, wanted),
            },
            Self::Single { add, tick, untick, remove } => single(&current, add, tick, untick, remove)?,
        };
        let kept: BTreeSet<&str> = target.iter().filter_map(|item| item.key.as_deref()).collect();
        let gone: Known<'_> = current.iter().filter(|(key, _)| !kept.contains(key.as_str())).copied().collect();
        let mut edits = placed(&current, &target, entropy);
        edits.extend(gone.iter().map(|(key, _)| FieldEdit::Clear(Field::Checklist((*key).clone()))));
        let dropped = match self {
            Self::Whole(_) => gone.into_iter().map(|(_, item)| item.title.clone()).collect(),
            Self::Single { .. } => Vec::new(),
        };
        Ok((edits, dropped))
    }
}

/// Whether two items have the title that callers are shown of both.
fn same_title(left: &str, right: &str) -> bool {
    left == right || shown(left) == shown(right)
}

/// A whole list: each item is the first one of its title that is left.
fn matched(current: &Known<'_>, wanted: &[ChecklistInput]) -> Vec<Placed> {
    let mut left = current.clone();
    let place = |item: &ChecklistInput| {
        let exact = left.iter().position(|(_, known)| known.title == item.title);
        let place = exact.or_else(|| left.iter().position(|(_, known)| same_title(&known.title, &item.title)));
        // One that is named by what was shown of it keeps the title it has.
        let (key, title) = match place.map(|place| left.remove(place)) {
            Some((key, known)) => (Some(key.clone()), known.title.clone()),
            None => (None, item.title.clone()),
        };
        Placed { key, title, checked: item.checked }
    };
    wanted.iter().map(place).collect()
}

/// A whole list, merged with what others did since it was read.
fn merged(current: &Known<'_>, wanted: &[ChecklistInput], read: &ReadLists) -> Vec<Placed> {
    let mut left = current.clone();
    let mut unread: Vec<_> = read.checklist.iter().collect();
    let mut target: Vec<Placed> = Vec::new();
    for item in wanted {
        let was = unread.iter().position(|was| was.has_title(&item.title)).map(|place| unread.remove(place));
        let Some(was) = was else {
            // Of the caller's own: or somebody has added the same since.
            let same =
                left.iter().position(|(key, known)| same_title(&known.title, &item.title) && !read.has_item(key));
            let key = same.map(|place| left.remove(place).0.clone());
            target.push(Placed { key, title: item.title.clone(), checked: item.checked });
            continue;
        };
        // One that somebody has removed since stays removed.
        if let Some(place) = left.iter().position(|(key, _)| was.has_key(key)) {
            let (key, known) = left.remove(place);
            let checked = if item.checked == was.checked { known.checked } else { item.checked };
            target.push(Placed { key: Some(key.clone()), title: known.title.clone(), checked });
        }
    }
    // What others have added stays behind the item it stands behind.
    for (place, (key, item)) in current.iter().enumerate() {
        if !read.has_item(key) && !target.iter().any(|known| known.key.as_ref() == Some(*key)) {
            let mut before = current.iter().take(place).rev();
            let behind = before
                .find_map(|(before, _)| target.iter().position(|known| known.key.as_ref() == Some(*before)))
                .map_or(0, |place| place + 1);
            target.insert(behind, Placed::known(key, item));
        }
    }
    target
}

fn single(
    current: &Known<'_>,
    add: &[ChecklistInput],
    tick: &[String],
    untick: &[String],
    remove: &[String],
) -> Result<Vec<Placed>, Error> {
    let mut target: Vec<Placed> = current.iter().map(|(key, item)| Placed::known(key, item)).collect();
    for (names, checked) in [(tick, true), (untick, false)] {
        for name in names {
            let key = item_called(current, name)?;
            for item in target.iter_mut().filter(|item| item.key.as_ref() == Some(key)) {
                item.checked = checked;
            }
        }
    }
    for name in remove {
        let key = item_called(current, name)?;
        target.retain(|item| item.key.as_ref() != Some(key));
    }
    for item in add {
        // A call that is repeated adds nothing twice.
        match target.iter_mut().find(|known| same_title(&known.title, &item.title)) {
            Some(known) => known.checked |= item.checked,
            None => target.push(Placed { key: None, title: item.title.clone(), checked: item.checked }),
        }
    }
    Ok(target)
}

/// The key of the item that an id or a title means.
fn item_called<'a>(current: &Known<'a>, name: &str) -> Result<&'a String, Error> {
    if let Some((key, _)) = current.iter().find(|(key, _)| key.as_str() == name.trim()) {
        return Ok(key);
    }
    let named: Known<'a> = current.iter().filter(|(_, item)| item.title.trim() == name.trim()).copied().collect();
    let loosely = || -> Known<'a> {
        current.iter().filter(|(_, item)| crate::services::names::same_name(&item.title, name)).copied().collect()
    };
    let named = if named.is_empty() { loosely() } else { named };
    match named.as_slice() {
        [(key, _)] => Ok(key),
        [] => {
            let known = current.iter().map(|(_, item)| format!("`{}`", item.title));
            Err(super::not_found(ErrorCode::NotFound, "checklist item", name, known))
        }
        several => {
            let ids: Vec<&str> = several.iter().map(|(key, _)| key.as_str()).collect();
            let message = format!("`{name}` is the title of several checklist items");
            Err(Error::new(ErrorCode::AmbiguousName, message).hint(format!("give the id of one: {}", ids.join(", "))))
        }
    }
}

/// The edits that put items where they are to stand. As many as possible keep their place; each of the others
/// asks for the place between its neighbours (Planner: order hints, `previous next!`).
fn placed(current: &Known<'_>, target: &[Placed], entropy: &Entropy) -> Vec<FieldEdit> {
    let rank = |item: &Placed| {
        let key = item.key.as_ref()?;
        current.iter().position(|(known, _)| *known == key)
    };
    let stays = longest_rising(&target.iter().map(rank).collect::<Vec<_>>());
    let order = |place: usize| {
        let known = target.get(place).and_then(rank).and_then(|rank| current.get(rank));
        known.map(|(_, item)| item.order.as_str()).unwrap_or_default()
    };
    let mut previous = String::new();
    let mut edits = Vec::with_capacity(target.len());
    for (place, item) in target.iter().enumerate() {
        let key = item.key.clone().unwrap_or_else(|| entropy.guid());
        let (title, checked) = (item.title.clone(), item.checked);
        if stays.contains(&place) {
            order(place).clone_into(&mut previous);
            edits.push(FieldEdit::Set(FieldValue::Checklist { key, title, checked }));
        } else {
            let next = stays.range(place..).next().map(|place| order(*place)).unwrap_or_default();
            previous = format!("{previous} {next}!");
            edits.push(FieldEdit::Place { key, item: ChecklistItem { title, checked, order: previous.clone() } });
        }
    }
    edits
}

/// The edits that bring the items of `wanted` back into the order of `keys`; items that are not among those stay
/// behind the item they stand behind now.
pub(super) fn back_in_order(
    now: &DetailFields,
    wanted: &DetailFields,
    keys: &[String],
    entropy: &Entropy,
) -> Vec<FieldEdit> {
    let current = in_order(&now.checklist);
    let mut target: Vec<Placed> =
        keys.iter().filter_map(|key| Some(Placed::known(key, wanted.checklist.get(key)?))).collect();
    let is_there = |target: &[Placed], key: &String| target.iter().position(|item| item.key.as_ref() == Some(key));
    for (place, (key, _)) in current.iter().enumerate() {
        let Some(item) = wanted.checklist.get(*key).filter(|_| is_there(&target, key).is_none()) else { continue };
        let mut before = current.iter().take(place).rev();
        let behind = before.find_map(|(before, _)| is_there(&target, before)).map_or(0, |place| place + 1);
        target.insert(behind, Placed::known(key, item));
    }
    placed(&current, &target, entropy)
}

/// The places of a longest series of rising numbers.
fn longest_rising(numbers: &[Option<usize>]) -> BTreeSet<usize> {
    // For each place: how long the longest series is that ends there, and the place before it.
    let mut best: Vec<(usize, Option<usize>)> = Vec::with_capacity(numbers.len());
    for (place, number) in numbers.iter().enumerate() {
        let before = numbers.iter().take(place).zip(&best).enumerate();
        let longest = before
            .filter(|(_, (earlier, _))| earlier.is_some() && *earlier < number)
            .max_by_key(|(_, (_, (length, _)))| *length)
            .map(|(place, (_, (length, _)))| (*length, place));
        best.push(match (number, longest) {
            (None, _) => (0, None),
            (Some(_), Some((length, place))) => (length + 1, Some(place)),
            (Some(_), None) => (1, None),
        });
    }
    let mut places = BTreeSet::new();
    let end = best.iter().enumerate().max_by_key(|(_, (length, _))| *length).filter(|(_, (length, _))| *length > 0);
    let mut at = end.map(|(place, _)| place);
    while let Some(place) = at {
        places.insert(place);
        at = best.get(place).and_then(|(_, before)| *before);
    }
    places
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::ids::TaskId;
    use crate::sync::field_value::edit_field;
    use crate::sync::model::TaskFields;

    fn items(titles: &[&str]) -> Vec<ChecklistInput> {
        titles.iter().map(|title| ChecklistInput { title: (*title).to_owned(), checked: false }).collect()
    }

    fn titles(details: &DetailFields) -> Vec<String> {
        let shown = in_order(&details.checklist).into_iter();
        shown.map(|(_, item)| format!("{}{}", item.title, if item.checked { "*" } else { "" })).collect()
    }

    fn with(fields: &TaskFields, edits: &[FieldEdit]) -> TaskFields {
        let mut fields = fields.clone();
        for edit in edits {
            edit_field(&mut fields, edit);
        }
        fields
    }

    fn edited(task: &TaskFields, edit: &ChecklistEdit, read: Option<&ReadLists>) -> TaskFields {
        let details = task.details.clone().unwrap_or_default();
        with(task, &edit.apply(&details, read, &Entropy::seeded(7)).unwrap().0)
    }

    /// A task whose items have hints as Planner makes them.
    fn task(titles: &[&str]) -> TaskFields {
        let mut task = TaskFields::blank().with_details();
        let details = task.details.get_or_insert_default();
        for (place, title) in titles.iter().enumerate() {
            let item = ChecklistItem { title: (*title).to_owned(), checked: false, order: format!("85{place:03}P") };
            details.checklist.insert(format!("{}-{place}", 9 - place), item);
        }
        task
    }

    proptest! {
        #[test]
        fn whole_checklist_is_stored_in_the_given_order(
            before in prop::collection::vec("[abc]", 0..8), wanted in prop::collection::vec("[abcdef]", 0..12),
        ) {
            let before: Vec<&str> = before.iter().map(String::as_str).collect();
            let list: Vec<&str> = wanted.iter().map(String::as_str).collect();
            let first = edited(&task(&before), &ChecklistEdit::Whole(items(&list)), None);
            prop_assert_eq!(titles(first.details.as_ref().unwrap()), wanted.clone());
            // Again before Planner has answered: places asked for are neighbours like any other.
            let reversed: Vec<&str> = list.iter().rev().copied().collect();
            let second = edited(&first, &ChecklistEdit::Whole(items(&reversed)), None);
            prop_assert_eq!(titles(second.details.as_ref().unwrap()), reversed);
        }

        #[test]
        fn checklist_reorder_moves_as_few_items_as_possible(order in Just((0..6usize).collect::<Vec<_>>()).prop_shuffle()) {
            let stays = longest_rising(&order.iter().copied().map(Some).collect::<Vec<_>>());
            let kept: Vec<usize> = stays.iter().map(|place| order[*place]).collect();
            prop_assert!(kept.is_sorted() && !kept.is_empty());
        }
    }

    #[test]
    fn whole_checklist_with_version_keeps_additions_and_removals_of_people() {
        let read = task(&["one", "two", "three"]);
        let id = TaskId::parse("00000000000000").unwrap();
        let version = ReadLists::of(&read).print(&id);
        let lists = ReadLists::parse(&version, &id).unwrap();
        // A person adds one behind `one`, renames `two` and removes `three`.
        let mut now = read.clone();
        let details = now.details.as_mut().unwrap();
        details.checklist.remove("7-2");
        details.checklist.get_mut("8-1").unwrap().title = "two of them".to_owned();
        let added = ChecklistItem { title: "person's".to_owned(), checked: false, order: "85000Q".to_owned() };
        details.checklist.insert("p".to_owned(), added);
        let mut wanted = items(&["four", "two", "one", "three"]);
        wanted[2].checked = true;
        let merged = edited(&now, &ChecklistEdit::Whole(wanted.clone()), Some(&lists));
        assert_eq!(titles(merged.details.as_ref().unwrap()), ["four", "two of them", "one*", "person's"]);
        let blind = edited(&now, &ChecklistEdit::Whole(wanted), None);
        assert_eq!(titles(blind.details.as_ref().unwrap()), ["four", "two", "one*", "three"]);
    }

    #[test]
    fn checklist_items_are_ticked_added_and_removed_by_title_or_id() {
        let list = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>();
        let edit = ChecklistEdit::Single {
            add: items(&["four", "one"]),
            tick: list(&["one", "7-2"]),
            untick: list(&[]),
            remove: list(&["TWO"]),
        };
        let after = edited(&task(&["one", "two", "three"]), &edit, None);
        assert_eq!(titles(after.details.as_ref().unwrap()), ["one*", "three*", "four"]);
        let remove = |name: &str| ChecklistEdit::Single {
            add: vec![],
            tick: vec![],
            untick: vec![],
            remove: vec![name.to_owned()],
        };
        let twins = task(&["a", "a"]).details.unwrap();
        let ambiguous = remove("a").apply(&twins, None, &Entropy::seeded(1)).unwrap_err();
        assert!(ambiguous.hint.unwrap().contains("9-0, 8-1"));
        let unknown = remove("b").apply(&twins, None, &Entropy::seeded(1)).unwrap_err();
        assert_eq!(unknown.code, ErrorCode::NotFound);
    }
}
