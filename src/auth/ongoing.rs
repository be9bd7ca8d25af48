//! An operation in progress: what its effects are written down with, in the very transactions that have them.

use std::collections::{BTreeMap, BTreeSet};

use parking_lot::Mutex;
use serde_json::{Value, json};

use super::Caller;
use crate::rows::{StoreError, Write};

/// Where rows of effects begin, in any partition that has an effect.
pub const TRACES: &str = "a|";

/// An operation of a caller that has begun.
#[derive(Debug)]
pub struct Ongoing {
    /// The id of its row in the audit log.
    pub id: String,
    /// The row, as far as it is known at the beginning.
    pub entry: Value,
    touched: Mutex<BTreeMap<&'static str, BTreeSet<String>>>,
    partitions: Mutex<BTreeSet<String>>,
}

impl PartialEq for Ongoing {
    fn eq(&self, other: &Self) -> bool {
        self.id == other.id
    }
}

impl Eq for Ongoing {}

impl Ongoing {
    /// One that has touched nothing yet.
    #[must_use]
    pub fn new(id: String, entry: Value) -> Self {
        Self { id, entry, touched: Mutex::default(), partitions: Mutex::default() }
    }

    /// The ids of what it has touched, by what they are; several of a kind are separated by spaces.
    #[must_use]
    pub fn touched(&self) -> BTreeMap<String, String> {
        let touched = self.touched.lock();
        let joined = |ids: &BTreeSet<String>| ids.iter().map(String::as_str).collect::<Vec<_>>().join(" ");
        touched.iter().map(|(kind, ids)| ((*kind).to_owned(), joined(ids))).collect()
    }

    /// The partitions that hold rows of its effects.
    #[must_use]
    pub fn partitions(&self) -> BTreeSet<String> {
        self.partitions.lock().clone()
    }
}

impl Caller {
    /// Notes an id the caller's operation has touched, for the audit log.
    pub fn touch(&self, kind: &'static str, id: &str) {
        if let Some(operation) = &self.operation {
            let mut touched = operation.touched.lock();
            touched.entry(kind).or_default().insert(id.to_owned());
        }
    }

    /// The row that says in a partition that the caller's operation had an effect there, for the transaction that has it:
    /// should the process end then, the audit log finds it. None where no log is kept.
    ///
    /// # Errors
    /// When the row cannot be written as JSON.
    pub fn trace(&self, partition: &str, ids: &[(&'static str, &str)]) -> Result<Option<Write>, StoreError> {
        let Some(operation) = &self.operation else { return Ok(None) };
        let mut entry = operation.entry.clone();
        let mut target = entry.get("target").and_then(Value::as_object).cloned().unwrap_or_default();
        let mut key = format!("{TRACES}{}", operation.id);
        for (kind, id) in ids {
            self.touch(kind, id);
            target.insert((*kind).to_owned(), json!(id));
        }
        if let Some(entry) = entry.as_object_mut() {
            entry.insert("target".to_owned(), Value::Object(target));
        }
        if let Some((_, id)) = ids.last() {
            key.push('|');
            key.push_str(id);
        }
        operation.partitions.lock().insert(partition.to_owned());
        Write::upsert(key, &entry).map(Some)
    }
}
