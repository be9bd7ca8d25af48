//! The tasks of a plan in memory: at hand, or put away.
//!
//! A task at hand takes about a kilobyte, put away a tenth of that: all tasks of a plan as one compressed text, which is
//! taken apart again when somebody asks for one. What is counted of them is known either way.

use std::collections::{BTreeMap, HashMap};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

use super::model::TaskRecord;
use crate::ids::{PlannerTaskId, TaskId};
use crate::rows::RowVersion;

/// What a task takes beside its record and its texts: its ids and versions as texts, its places in the two maps, what
/// allocating costs, and its share of what a plan takes. As measured on a thousand plans of two hundred tasks.
const OVERHEAD: usize = 750;

/// A task and the version of its row.
pub(super) struct Entry {
    pub(super) record: Arc<TaskRecord>,
    pub(super) version: RowVersion,
}

/// What is counted of a plan's tasks.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Tasks callers see.
    pub tasks: usize,
    /// Operations that have not reached Planner.
    pub pending: usize,
}

/// The tasks of a plan.
#[derive(Default)]
pub(super) struct Tasks {
    entries: BTreeMap<TaskId, Entry>,
    by_planner_id: HashMap<PlannerTaskId, TaskId>,
    counts: Counts,
    /// Bytes they take, about.
    bytes: usize,
    away: Option<Away>,
}

/// Tasks put away.
struct Away {
    /// Records and versions, as compressed JSON.
    packed: Vec<u8>,
    /// Which of Planner's tasks are among them, as hashes in order.
    marks: Vec<u32>,
}

impl Away {
    fn rows(&self) -> Result<Vec<(TaskRecord, Arc<str>)>, String> {
        let json = lz4_flex::decompress_size_prepended(&self.packed).map_err(|error| error.to_string())?;
        serde_json::from_slice(&json).map_err(|error| error.to_string())
    }
}

impl Tasks {
    pub(super) fn get(&self, id: &TaskId) -> Option<&Entry> {
        self.entries.get(id)
    }

    /// All of them, in the order of their ids.
    pub(super) fn iter(&self) -> impl Iterator<Item = &Entry> {
        self.entries.values()
    }

    /// Our id of a task of Planner.
    pub(super) fn id_of(&self, planner_id: &PlannerTaskId) -> Option<&TaskId> {
        self.by_planner_id.get(planner_id)
    }

    pub(super) fn insert(&mut self, record: TaskRecord, version: RowVersion) {
        self.remove(&record.id);
        self.count(&record, true);
        if let Some(id) = record.planner_id() {
            self.by_planner_id.insert(id.clone(), record.id.clone());
        }
        self.entries.insert(record.id.clone(), Entry { record: Arc::new(record), version });
    }

    pub(super) fn remove(&mut self, id: &TaskId) {
        let Some(entry) = self.entries.remove(id) else { return };
        self.count(&entry.record, false);
        if let Some(planner_id) = entry.record.planner_id() {
            self.by_planner_id.remove(planner_id);
        }
    }

    fn count(&mut self, record: &TaskRecord, comes: bool) {
        let change = |total: &mut usize, by: usize| {
            *total = if comes { *total + by } else { total.saturating_sub(by) };
        };
        change(&mut self.counts.tasks, usize::from(!record.deleted));
        change(&mut self.counts.pending, record.pending.len());
        change(&mut self.bytes, weight(record));
    }

    /// What is counted of them, put away or not.
    pub(super) const fn counts(&self) -> Counts {
        self.counts
    }

    /// Bytes they take now, about.
    pub(super) fn bytes(&self) -> usize {
        self.away.as_ref().map_or(self.bytes, |away| away.packed.len() + 4 * away.marks.len())
    }

    pub(super) const fn is_away(&self) -> bool {
        self.away.is_some()
    }

    /// Whether a task of Planner may be among those put away.
    pub(super) fn may_have(&self, planner_id: &PlannerTaskId) -> bool {
        self.away.as_ref().is_some_and(|away| away.marks.binary_search(&mark(planner_id)).is_ok())
    }

    /// Puts all of them away; answers whether that was done.
    pub(super) fn put_away(&mut self) -> bool {
        if self.is_away() || self.entries.is_empty() {
            return false;
        }
        let rows: Vec<(&TaskRecord, &str)> =
            self.entries.values().map(|entry| (entry.record.as_ref(), entry.version.0.as_ref())).collect();
        let Ok(json) = serde_json::to_vec(&rows) else { return false };
        let mut marks: Vec<u32> = self.by_planner_id.keys().map(mark).collect();
        marks.sort_unstable();
        self.away = Some(Away { packed: lz4_flex::compress_prepend_size(&json), marks });
        self.entries = BTreeMap::new();
        self.by_planner_id = HashMap::new();
        true
    }

    /// All of them, in the order of their ids; those put away stay so.
    ///
    /// # Errors
    /// As [`Self::take_back`].
    pub(super) fn all(&self) -> Result<Vec<Arc<TaskRecord>>, String> {
        let Some(away) = &self.away else { return Ok(self.iter().map(|entry| entry.record.clone()).collect()) };
        Ok(away.rows()?.into_iter().map(|(record, _)| Arc::new(record)).collect())
    }

    /// Takes all of them back.
    ///
    /// # Errors
    /// When they cannot be read, which only a fault of this program or of the machine's memory explains.
    pub(super) fn take_back(&mut self) -> Result<(), String> {
        let Some(away) = self.away.take() else { return Ok(()) };
        (self.counts, self.bytes) = (Counts::default(), 0);
        for (record, version) in away.rows()? {
            self.insert(record, RowVersion(version));
        }
        Ok(())
    }
}

/// Bytes a task takes at hand, about.
fn weight(record: &TaskRecord) -> usize {
    let texts = |task: &super::model::TaskFields| {
        let details = task.details.as_ref().map_or(0, |details| {
            let items = details.checklist.iter().map(|(key, item)| key.len() + item.title.len() + 120).sum::<usize>();
            let links = details.references.keys().map(|url| url.len() + 120).sum::<usize>();
            size_of_val(details.as_ref()) + details.description.len() + items + links
        });
        task.title.len() + 36 * task.assignees.len() + details
    };
    let base = record.remote.as_ref().and_then(|remote| remote.base.as_ref());
    size_of::<TaskRecord>()
        + OVERHEAD
        + texts(&record.fields)
        + base.map_or(0, |base| size_of_val(base.as_ref()) + texts(base))
}

fn mark(planner_id: &PlannerTaskId) -> u32 {
    let mut hasher = DefaultHasher::new();
    planner_id.hash(&mut hasher);
    let [a, b, c, d, ..] = hasher.finish().to_le_bytes();
    u32::from_le_bytes([a, b, c, d])
}

#[cfg(test)]
mod tests {
    use chrono::{DateTime, Utc};

    use super::*;
    use crate::ids::{PlanId, PlanKey};
    use crate::sync::import::import;
    use crate::sync::model::{DetailFields, TaskFacts, TaskFields};
    use crate::sync::ports::RemoteTask;

    fn planner_id(number: usize) -> PlannerTaskId {
        PlannerTaskId::parse(&format!("{number:028}")).unwrap()
    }

    fn tasks(count: usize) -> Tasks {
        let key = PlanKey::derive(&PlanId::parse("xqQg5FS2LkCp935s-FIFm2QAFkHM").unwrap(), 0);
        let mut tasks = Tasks::default();
        for number in 0..count {
            let blank = TaskFields::blank();
            let blank = if number % 2 == 0 { blank.with_details() } else { blank };
            let fields = TaskFields { title: format!("Täsk {number} 🗂"), ..blank };
            let (id, etag) = (planner_id(number), format!("W/\"{number}\""));
            let task = RemoteTask { id, etag, fields, facts: TaskFacts::default() };
            let mut record = import(&key, &task, DateTime::<Utc>::UNIX_EPOCH);
            record.deleted = number % 10 == 0;
            tasks.insert(record, RowVersion(number.to_string().into()));
        }
        tasks
    }

    fn all(tasks: &Tasks) -> Vec<(TaskRecord, RowVersion)> {
        tasks.iter().map(|entry| (entry.record.as_ref().clone(), entry.version.clone())).collect()
    }

    #[test]
    fn evicted_task_round_trips() {
        let mut tasks = tasks(200);
        let (before, counts, bytes) = (all(&tasks), tasks.counts(), tasks.bytes());
        assert_eq!(counts, Counts { tasks: 180, pending: 0 });
        assert!(tasks.put_away());
        assert!(!tasks.put_away(), "they are away");
        assert_eq!((tasks.iter().count(), tasks.counts()), (0, counts));
        assert!(tasks.bytes() * 5 < bytes, "{} of {bytes} bytes are left", tasks.bytes());
        assert!((0..200).all(|number| tasks.may_have(&planner_id(number))));
        assert!((200..400).filter(|number| tasks.may_have(&planner_id(*number))).count() < 5);
        tasks.take_back().unwrap();
        assert_eq!((all(&tasks), tasks.counts(), tasks.bytes()), (before, counts, bytes));
        assert_eq!(
            tasks.id_of(&planner_id(7)),
            Some(&TaskId::imported(&tasks.iter().next().unwrap().record.id.plan_key(), &planner_id(7)))
        );
    }

    #[test]
    fn memory_accounting_follows_changes_and_removals() {
        let mut tasks = tasks(2);
        let before = (tasks.counts(), tasks.bytes());
        let mut record = tasks.iter().nth(1).unwrap().record.as_ref().clone();
        let was = record.clone();
        record.pending.push(1);
        record.fields.details =
            Some(Box::new(DetailFields { description: "x".repeat(10_000), ..DetailFields::default() }));
        tasks.insert(record.clone(), RowVersion("3".into()));
        assert_eq!(tasks.counts().pending, 1);
        assert!(tasks.bytes() >= before.1 + 10_000);
        tasks.insert(was, RowVersion("4".into()));
        assert_eq!((tasks.counts(), tasks.bytes()), before);
        for id in tasks.iter().map(|entry| entry.record.id.clone()).collect::<Vec<_>>() {
            tasks.remove(&id);
        }
        assert_eq!((tasks.counts(), tasks.bytes()), (Counts::default(), 0));
        assert!(!tasks.put_away(), "there is nothing");
    }
}
