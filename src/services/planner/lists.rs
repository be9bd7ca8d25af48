//! The lists of a task: assignees, labels, references, and in `checklist` the one with an order. Pure.
//!
//! A list is given whole, or changed entry by entry. A whole list sent with the version that `get_task` gave is merged
//! three ways: what the caller left out is removed, what others added or removed since stays as they left it.

use std::collections::BTreeMap;

use super::input::ReferenceInput;
use super::version::ReadLists;
use crate::error::ErrorCode;
use crate::services::Error;
use crate::sync::model::{DetailFields, Few, Field, FieldEdit, FieldValue, Reference};

/// How a list without order is to change.
#[derive(Debug, Clone)]
pub(super) enum Members<T> {
    /// It is given whole.
    Whole(Few<T>),
    /// Single members.
    Single { add: Few<T>, remove: Few<T> },
}

impl<T: Ord + Clone> Members<T> {
    /// Whether it names a member that is there already, or one to remove that is not; of a list given whole, whether it is
    /// that list and its caller `has_read` it.
    pub(super) fn repeats(&self, current: &Few<T>, has_read: bool) -> bool {
        match self {
            Self::Whole(wanted) => has_read && wanted == current,
            Self::Single { add, remove } => {
                add.iter().any(|member| current.contains(member))
                    || remove.iter().any(|member| !current.contains(member))
            }
        }
    }

    /// What the list is to be; `was_read` tells what the caller had seen in it, where that is known.
    pub(super) fn result(&self, current: &Few<T>, was_read: Option<impl Fn(&T) -> bool>) -> Few<T> {
        match (self, was_read) {
            (Self::Single { add, remove }, _) => {
                current.iter().chain(add).filter(|member| !remove.contains(member)).cloned().collect()
            }
            (Self::Whole(wanted), None) => wanted.clone(),
            (Self::Whole(wanted), Some(was_read)) => {
                let removed_since = |member: &&T| was_read(member) && !current.contains(member);
                let added_since = current.iter().filter(|member| !was_read(member));
                wanted.iter().filter(|member| !removed_since(member)).chain(added_since).cloned().collect()
            }
        }
    }

    /// Members that are there and will not be, though the caller has named none of them.
    pub(super) fn dropped(&self, current: &Few<T>, result: &Few<T>) -> Vec<T> {
        match self {
            Self::Whole(_) => current.iter().filter(|member| !result.contains(member)).cloned().collect(),
            Self::Single { .. } => Vec::new(),
        }
    }
}

/// Edits of fields, and entries that are dropped though nobody has named them.
pub(super) type Changes = (Vec<FieldEdit>, Vec<String>);

/// How references are to change. Planner keeps no order of them.
#[derive(Debug, Clone)]
pub(super) enum ReferencesEdit {
    /// All of them.
    Whole(Vec<ReferenceInput>),
    /// Single ones; those to remove by address or title.
    Single { add: Vec<ReferenceInput>, remove: Vec<String> },
}

impl ReferencesEdit {
    /// Whether some of what it names is so already when only so many are `changed`; a list given whole is merged for a
    /// caller who `has_read` it.
    pub(super) fn repeats(&self, changed: usize, has_read: bool) -> bool {
        match self {
            Self::Whole(_) => has_read && changed == 0,
            Self::Single { add, remove } => changed < add.len() + remove.len(),
        }
    }

    /// The edits that make the references what is wanted of them, and the addresses of those that are dropped
    /// without having been named.
    ///
    /// # Errors
    /// When a reference that is named is not there.
    pub(super) fn apply(&self, details: &DetailFields, read: Option<&ReadLists>) -> Result<Changes, Error> {
        let known = &details.references;
        let mut edits = Vec::new();
        let mut dropped = Vec::new();
        match self {
            Self::Single { add, remove } => {
                for name in remove {
                    edits.push(FieldEdit::Clear(Field::Reference(reference_called(known, name)?.clone())));
                }
                edits.extend(add.iter().map(|link| set(known, link)));
            }
            Self::Whole(wanted) => {
                let read = read.filter(|read| read.knows_details());
                for url in known.keys().filter(|url| !wanted.iter().any(|link| link.url == **url)) {
                    if read.is_none_or(|read| read.reference(url).is_some()) {
                        edits.push(FieldEdit::Clear(Field::Reference(url.clone())));
                        dropped.push(url.clone());
                    }
                }
                for link in wanted {
                    let was = read.and_then(|read| read.reference(&link.url));
                    let removed_since = was.is_some() && !known.contains_key(&link.url);
                    let as_read = was.is_some_and(|was| was.has_title(link.title.as_deref()));
                    if !removed_since && !as_read {
                        edits.push(set(known, link));
                    }
                }
            }
        }
        Ok((edits, dropped))
    }
}

/// A link as it is to be; one without a title keeps the one it has.
fn set(known: &BTreeMap<String, Reference>, link: &ReferenceInput) -> FieldEdit {
    let there = known.get(&link.url);
    let alias = link.title.clone().or_else(|| there.and_then(|there| there.alias.clone()));
    let kind = there.and_then(|there| there.kind.clone()).unwrap_or_else(|| "Other".to_owned());
    let reference = Reference { alias, kind: Some(kind) };
    FieldEdit::Set(FieldValue::Reference { url: link.url.clone(), reference })
}

fn reference_called<'a>(known: &'a BTreeMap<String, Reference>, name: &str) -> Result<&'a String, Error> {
    let name = name.trim();
    if let Some((url, _)) = known.get_key_value(name) {
        return Ok(url);
    }
    let is_called = |reference: &Reference| {
        reference.alias.as_deref().is_some_and(|alias| crate::services::names::same_name(alias, name))
    };
    let named: Vec<&String> = known.iter().filter(|(_, reference)| is_called(reference)).map(|(url, _)| url).collect();
    match named.as_slice() {
        [only] => Ok(only),
        [] => {
            let known = known.keys().map(|url| format!("`{url}`"));
            Err(super::not_found(ErrorCode::NotFound, "reference", name, known))
        }
        several => {
            let urls = several.iter().map(|url| url.as_str()).collect::<Vec<_>>().join(", ");
            let message = format!("`{name}` is the title of several references");
            Err(Error::new(ErrorCode::AmbiguousName, message).hint(format!("give the address of one: {urls}")))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sync::field_value::edit_field;
    use crate::sync::model::TaskFields;

    #[test]
    fn versioned_member_list_keeps_additions_and_removals_of_others() {
        let set = |names: &[&'static str]| names.iter().copied().collect::<Few<_>>();
        let read = set(&["adele", "alex"]);
        let now = set(&["adele", "person's"]); // somebody removed alex
        let wanted = Members::Whole(set(&["soren", "alex"]));
        let result = wanted.result(&now, Some(|member: &&str| read.contains(member)));
        assert_eq!(result, set(&["soren", "person's"]));
        assert_eq!(wanted.result(&now, None::<fn(&&str) -> bool>), set(&["soren", "alex"]));
        let single = Members::Single { add: set(&["soren"]), remove: set(&["adele"]) };
        assert_eq!(single.result(&now, None::<fn(&&str) -> bool>), set(&["soren", "person's"]));
    }

    #[test]
    fn versioned_reference_list_keeps_titles_and_links_of_people() {
        let mut task = TaskFields::blank().with_details();
        let link = |url: &str, title: Option<&str>| ReferenceInput { url: url.into(), title: title.map(str::to_owned) };
        let a = Reference { alias: Some("A".into()), kind: Some("Word".into()) };
        task.details.as_mut().unwrap().references.insert("https://a".into(), a.clone());
        let read = ReadLists::of(&task);
        task.details.as_mut().unwrap().references.insert("https://p".into(), a);
        let whole = ReferencesEdit::Whole(vec![link("https://a", None), link("https://b", Some("B"))]);
        let details = task.details.clone().unwrap();
        let mut after = task.clone();
        for edit in whole.apply(&details, Some(&read)).unwrap().0 {
            edit_field(&mut after, &edit);
        }
        let after = after.details.unwrap();
        assert_eq!(after.references.keys().collect::<Vec<_>>(), ["https://a", "https://b", "https://p"]);
        assert_eq!(after.references["https://a"].alias.as_deref(), Some("A"));
        let (_, dropped) = whole.apply(&details, None).unwrap();
        assert_eq!(dropped, ["https://p"]);
    }
}
