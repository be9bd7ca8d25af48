//! The version of a task that `get_task` gives: what the reader saw of the task's lists, in a short text.
//!
//! It holds digests, no content, so that nothing has to be remembered for it and it stays short. It decides only what
//! counts as read; a version of another task is refused.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use crate::ids::{TaskId, UserId, digest};
use crate::services::Error;
use crate::sync::model::TaskFields;
use crate::text::shown;

/// The first byte of a version of this shape.
const SHAPE: u8 = 1;
/// The bit beside those of the labels that tells that the details were read.
const DETAILS: u32 = 1 << 31;

/// A digest short enough for a handful of entries.
type Mark = [u8; 3];

/// What was read of a task's lists.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct ReadLists {
    /// A bit for each label, and [`DETAILS`].
    bits: u32,
    assignees: Vec<Mark>,
    /// The checklist's items.
    pub(super) checklist: Vec<ReadItem>,
    references: Vec<ReadReference>,
}

/// A checklist item as it was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ReadItem {
    key: Mark,
    title: Mark,
    /// Whether it was ticked.
    pub(super) checked: bool,
}

impl ReadItem {
    /// Whether it is the item of a key.
    pub(super) fn has_key(&self, key: &str) -> bool {
        self.key == mark(key)
    }

    /// Whether it had a title.
    pub(super) fn has_title(&self, title: &str) -> bool {
        self.title == title_mark(title)
    }
}

/// A reference as it was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ReadReference {
    url: Mark,
    title: Mark,
}

impl ReadReference {
    /// Whether it had a title; none given means the one it had.
    pub(super) fn has_title(&self, title: Option<&str>) -> bool {
        title.is_none_or(|title| self.title == mark(title))
    }
}

fn mark(text: &str) -> Mark {
    // Of what callers were shown, which is what they send back.
    let [first, second, third, ..] = digest(&["mark", &shown(text)]).to_be_bytes();
    [first, second, third]
}

/// A mark with one bit free.
fn title_mark(title: &str) -> Mark {
    let [first, second, third] = mark(title);
    [first, second, third & !1]
}

impl ReadLists {
    /// What a reader of a task sees of its lists.
    pub(super) fn of(task: &TaskFields) -> Self {
        let labels = task.categories.iter().fold(0, |bits, number| bits | 1 << u32::from(*number).min(30));
        let details = task.details.as_ref();
        Self {
            bits: labels | if details.is_some() { DETAILS } else { 0 },
            assignees: task.assignees.iter().map(|user| mark(user.as_str())).collect(),
            checklist: details
                .iter()
                .flat_map(|details| &details.checklist)
                .map(|(key, item)| ReadItem { key: mark(key), title: title_mark(&item.title), checked: item.checked })
                .collect(),
            references: details
                .iter()
                .flat_map(|details| &details.references)
                .map(|(url, link)| ReadReference {
                    url: mark(url),
                    title: mark(link.alias.as_deref().unwrap_or_default()),
                })
                .collect(),
        }
    }

    /// The version's text.
    pub(super) fn print(&self, task: &TaskId) -> String {
        let count = |length: usize| u8::try_from(length).unwrap_or(u8::MAX);
        let mut bytes = vec![SHAPE];
        bytes.extend(mark(task.as_str()));
        bytes.extend(self.bits.to_be_bytes());
        bytes.push(count(self.assignees.len()));
        bytes.extend(self.assignees.iter().take(255).flatten());
        bytes.push(count(self.checklist.len()));
        for item in self.checklist.iter().take(255) {
            let [first, second, third] = item.title;
            bytes.extend(item.key);
            bytes.extend([first, second, third | u8::from(item.checked)]);
        }
        for link in self.references.iter().take(255) {
            bytes.extend(link.url);
            bytes.extend(link.title);
        }
        URL_SAFE_NO_PAD.encode(bytes)
    }

    /// Reads a version of a task.
    ///
    /// # Errors
    /// When the text is none, or one of another task.
    pub(super) fn parse(text: &str, task: &TaskId) -> Result<Self, Error> {
        let wrong = |what: &str| {
            Error::invalid(format!("`version` is {what}"))
                .hint("read the task with `get_task` and send the `version` it answers, or leave it out")
        };
        let bytes = URL_SAFE_NO_PAD.decode(text.trim()).map_err(|_| wrong("damaged"))?;
        let mut rest = bytes.as_slice();
        let read = Self::take(&mut rest, task).ok_or_else(|| wrong("damaged"))?;
        read.ok_or_else(|| wrong("that of another task"))
    }

    /// `None` when the bytes are no version; within, `None` when they are another task's.
    fn take(rest: &mut &[u8], task: &TaskId) -> Option<Option<Self>> {
        if *rest.split_off_first()? != SHAPE {
            return None;
        }
        let owner = three(rest)?;
        let (bits, after) = rest.split_first_chunk::<4>()?;
        *rest = after;
        let mut lists = Self { bits: u32::from_be_bytes(*bits), ..Self::default() };
        for _ in 0..*rest.split_off_first()? {
            lists.assignees.push(three(rest)?);
        }
        for _ in 0..*rest.split_off_first()? {
            let key = three(rest)?;
            let [first, second, third] = three(rest)?;
            lists.checklist.push(ReadItem { key, title: [first, second, third & !1], checked: third & 1 == 1 });
        }
        while !rest.is_empty() {
            lists.references.push(ReadReference { url: three(rest)?, title: three(rest)? });
        }
        Some((owner == mark(task.as_str())).then_some(lists))
    }

    /// Whether checklist and references were read too.
    pub(super) fn knows_details(&self) -> bool {
        self.bits & DETAILS != 0
    }

    /// Whether somebody was assigned.
    pub(super) fn has_assignee(&self, user: &UserId) -> bool {
        self.assignees.contains(&mark(user.as_str()))
    }

    /// Whether a label was set.
    pub(super) fn has_category(&self, number: u8) -> bool {
        self.bits & (1 << u32::from(number).min(30)) != 0
    }

    /// Whether the checklist had the item of a key.
    pub(super) fn has_item(&self, key: &str) -> bool {
        self.checklist.iter().any(|item| item.has_key(key))
    }

    /// The reference of an address.
    pub(super) fn reference(&self, url: &str) -> Option<&ReadReference> {
        let url = mark(url);
        self.references.iter().find(|link| link.url == url)
    }
}

fn three(rest: &mut &[u8]) -> Option<Mark> {
    let (mark, after) = rest.split_first_chunk::<3>()?;
    *rest = after;
    Some(*mark)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn damaged_or_foreign_task_version_is_refused() {
        let task = TaskId::parse("00000000000000").unwrap();
        let other = TaskId::parse("00000000000001").unwrap();
        let version = ReadLists::default().print(&task);
        assert_eq!(ReadLists::parse(&version, &task).unwrap(), ReadLists::default());
        let refusal = |text: &str, task: &TaskId| ReadLists::parse(text, task).unwrap_err().sentence();
        assert_eq!(refusal(&version, &other), "`version` is that of another task; nothing was changed");
        for text in ["", "!", "AAAA", &version[..version.len() - 2], &format!("{version}AA")] {
            assert_eq!(refusal(text, &task), "`version` is damaged; nothing was changed");
        }
    }
}
