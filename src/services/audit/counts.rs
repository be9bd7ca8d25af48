//! Operations that have no row of their own, counted: one row for all alike of an hour, written now and then.

use std::collections::HashMap;
use std::time::Duration;

use chrono::{DateTime, DurationRound, TimeDelta, Utc};
use parking_lot::Mutex;

use super::Entry;
use crate::ids::Entropy;

/// Refusals of an hour and caller, alike, that have rows of their own before they are counted: a client that calls all
/// day long must not fill the disk.
const SINGLE_REFUSALS: u64 = 20;

/// What operations have in common that are counted together: their hour, caller, kind, operation, plan and outcome.
type Alike = (DateTime<Utc>, String, String, String, Option<String>, String);

struct Counted {
    row: Entry,
    /// Whether the row in the store says less.
    changed: bool,
}

/// The counts of this process.
#[derive(Default)]
pub struct Counts {
    counts: Mutex<HashMap<Alike, Counted>>,
    /// Refusals that had rows of their own.
    singles: Mutex<HashMap<Alike, u64>>,
}

impl Counts {
    /// Notes a refusal; answers whether it has a row of its own. Those beyond the first of their hour are counted.
    pub fn is_single(&self, entry: &Entry, entropy: &Entropy) -> bool {
        let mut singles = self.singles.lock();
        let alike = alike(entry);
        let hour = alike.0;
        singles.retain(|(of, ..), _| *of >= hour);
        let seen = singles.entry(alike).or_default();
        *seen += 1;
        let single = *seen <= SINGLE_REFUSALS;
        drop(singles);
        if !single {
            self.count(entry, Duration::ZERO, entropy);
        }
        single
    }

    /// Counts an operation.
    pub fn count(&self, entry: &Entry, took: Duration, entropy: &Entropy) {
        let alike = alike(entry);
        let (hour, plan) = (alike.0, alike.4.clone());
        let mut counts = self.counts.lock();
        let counted = counts.entry(alike).or_insert_with(|| {
            let target = plan.into_iter().map(|plan| ("plan_id".to_owned(), plan)).collect();
            let row = Entry { id: entropy.ulid(hour), at: hour, target, digest: None, ms: 0, ..entry.clone() };
            Counted { row: Entry { count: Some(0), ..row }, changed: false }
        });
        counted.row.count = Some(counted.row.count.unwrap_or_default() + 1);
        counted.row.ms += u64::try_from(took.as_millis()).unwrap_or_default();
        counted.changed = true;
    }

    /// The rows that say more than before; those of former hours are forgotten.
    pub fn changed(&self, now: DateTime<Utc>) -> Vec<Entry> {
        let mut counts = self.counts.lock();
        let news = |counted: &mut Counted| std::mem::take(&mut counted.changed).then(|| counted.row.clone());
        let rows = counts.values_mut().filter_map(news).collect();
        counts.retain(|(hour, ..), _| now - *hour < TimeDelta::hours(1));
        rows
    }

    /// How many rows wait to be written.
    pub fn waiting(&self) -> usize {
        self.counts.lock().values().filter(|counted| counted.changed).count()
    }
}

fn alike(entry: &Entry) -> Alike {
    let hour = entry.at.duration_trunc(TimeDelta::hours(1)).unwrap_or(entry.at);
    // A plan that is not there is anything a caller may think of.
    let plan = entry.target.get("plan_id").filter(|_| entry.outcome == "ok").cloned();
    (hour, entry.caller.clone(), entry.kind.clone(), entry.operation.clone(), plan, entry.outcome.clone())
}
