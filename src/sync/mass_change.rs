//! The mass-change guard of a pass: what may be a mass deletion, or a rewrite of everything, is not followed before
//! somebody has confirmed it. Pure.

use std::collections::HashSet;

use chrono::{DateTime, TimeDelta, Utc};

use super::merge::differing;
use super::model::MassChangeGuard;
use super::plan;
use super::ports::RemoteTask;
use super::replica::Replica;
use crate::ids::{PlannerTaskId, TaskId};

/// The guard: a pass that would delete more than this share of a plan's tasks stops and asks.
const MAX_DELETED_SHARE: f64 = 0.2;
/// ... but so few deletions are never stopped.
const MIN_DELETED: usize = 5;
/// The same: a pass that sees every one of at least so many tasks changed.
const MIN_ALL_CHANGED: usize = 20;

/// What a listing lacks of what the replica has, and whether so much is gone or changed that a pass must stop.
#[must_use]
pub fn survey(
    replica: &Replica,
    listing: &[RemoteTask],
    requested_at: DateTime<Utc>,
    ahead: TimeDelta,
) -> (Vec<(TaskId, PlannerTaskId)>, Option<MassChangeGuard>) {
    let listed: HashSet<&PlannerTaskId> = listing.iter().map(|task| &task.id).collect();
    let mapped = || replica.records().filter(|record| record.remote.is_some());
    let missing: Vec<(TaskId, PlannerTaskId)> = mapped()
        .filter(|record| !plan::is_young(record, requested_at + ahead))
        .filter_map(|record| Some((record.id.clone(), record.planner_id()?.clone())))
        .filter(|(_, planner_id)| !listed.contains(planner_id))
        .collect();
    let known = mapped().count();
    #[allow(clippy::cast_precision_loss)] // a plan has thousands of tasks, not 2^52
    let too_many = missing.len() > MIN_DELETED && missing.len() as f64 > known as f64 * MAX_DELETED_SHARE;
    let changed = || {
        let is_changed = |task: &&RemoteTask| {
            let record = replica.id_of(&task.id).and_then(|id| replica.task(id));
            let base = record.filter(|record| record.remote.as_ref().is_some_and(|it| task.etag > it.etag));
            base.and_then(|record| record.base()).is_some_and(|base| !differing(base, &task.fields).is_empty())
        };
        listing.iter().filter(is_changed).count()
    };
    let all_changed = if known >= MIN_ALL_CHANGED { Some(changed()).filter(|changed| *changed == known) } else { None };
    let guard = (too_many || all_changed.is_some()).then(|| MassChangeGuard {
        missing: if too_many { missing.len() } else { 0 },
        changed: all_changed.unwrap_or(0),
        known,
        since: requested_at,
    });
    (missing, guard)
}
