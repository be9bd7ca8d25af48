//! What the engine remembers of a plan as a whole: the rows of its partition that are no task's.

use std::collections::BTreeMap;

use chrono::{DateTime, TimeDelta, Utc};
use serde::{Deserialize, Serialize};

use super::model::{Field, LostEdit};
use crate::ids::{BucketId, GroupId, PlanId, PlanKey, TaskId};

/// A bucket of a plan.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bucket {
    /// Planner's id.
    pub id: BucketId,
    /// Its name.
    pub name: String,
    /// Planner's order among the buckets.
    pub order_hint: String,
    /// Its ETag.
    pub etag: String,
}

/// A plan: the value of the `p` row of its partition.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlanRecord {
    /// Planner's id.
    pub id: PlanId,
    /// The key in our task ids.
    pub key: PlanKey,
    /// Its title.
    pub title: String,
    /// The plan's ETag.
    pub etag: String,
    /// The owning group, where the container is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<GroupId>,
    /// When it was created.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created_at: Option<DateTime<Utc>>,
    /// Its buckets in board order.
    pub buckets: Vec<Bucket>,
    /// Names of the labels 1 to 25 that have one.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub category_names: BTreeMap<u8, String>,
    /// The ETag of the plan's details.
    #[serde(default)]
    pub details_etag: String,
    /// Buckets changed here a moment ago, which a list may not show yet.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub recent: Vec<RecentBucket>,
    /// Its tasks have not all been taken in yet: those that a pass finds were there before, and are no news.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub unlisted: bool,
}

/// A bucket that was changed here.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecentBucket {
    /// Planner's id.
    pub id: BucketId,
    /// The bucket as Planner answered; `None` when it was deleted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bucket: Option<Bucket>,
    /// When.
    pub at: DateTime<Utc>,
}

/// How long a list may be older than what was changed here.
const RECENT: TimeDelta = TimeDelta::minutes(2);

impl PlanRecord {
    /// The plan with a bucket as Planner answered a change of it, or without one that was deleted.
    #[must_use]
    pub fn with_bucket(&self, id: &BucketId, bucket: Option<&Bucket>, at: DateTime<Utc>) -> Self {
        let mut next = self.clone();
        next.recent.retain(|recent| recent.id != *id);
        next.recent.push(RecentBucket { id: id.clone(), bucket: bucket.cloned(), at });
        next.apply_recent();
        next
    }

    /// What a list that was requested at `requested_at` shows, with what was changed here since.
    #[must_use]
    pub fn over(mut self, known: Option<&Self>, requested_at: DateTime<Utc>) -> Self {
        let recent = known.map(|known| known.recent.as_slice()).unwrap_or_default();
        self.recent = recent.iter().filter(|recent| requested_at - recent.at < RECENT).cloned().collect();
        self.apply_recent();
        self
    }

    /// Of two states of a bucket the one with the greater ETag is newer (Planner overview).
    fn apply_recent(&mut self) {
        for recent in &self.recent {
            let listed = self.buckets.iter().position(|bucket| bucket.id == recent.id);
            match (&recent.bucket, listed.and_then(|place| self.buckets.get_mut(place))) {
                (Some(bucket), Some(listed)) if listed.etag < bucket.etag => listed.clone_from(bucket),
                (Some(bucket), None) => self.buckets.push(bucket.clone()),
                (None, Some(_)) => self.buckets.retain(|bucket| bucket.id != recent.id),
                _ => {}
            }
        }
        self.buckets.sort_by(|left, right| left.order_hint.cmp(&right.order_hint));
    }
}

/// What keeps a plan from being followed: the value of its `h` row, written only when it changes.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlanState {
    /// The plan cannot be read: nothing is written to either side until it can be read again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub frozen: Option<Frozen>,
    /// A pass found so much gone or changed at once that somebody has to confirm it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub guard: Option<MassChangeGuard>,
}

impl PlanState {
    /// Whether the plan is read as usual, but may not be written.
    #[must_use]
    pub fn is_read_only(&self) -> bool {
        self.frozen.as_ref().is_some_and(|frozen| frozen.why == FrozenBecause::WritesDenied)
    }

    /// Why the plan is not followed as usual, in words.
    #[must_use]
    pub fn stopped(&self) -> Option<String> {
        let frozen = self.frozen.as_ref().map(|frozen| format!("{}: {}", frozen.why, frozen.reason));
        frozen.or_else(|| self.guard.as_ref().map(ToString::to_string))
    }
}

/// Why a plan is frozen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FrozenBecause {
    /// Planner refuses to show the plan.
    PermissionLost,
    /// Planner refuses every change of it; it is read all the same.
    WritesDenied,
    /// The plan, or its group, is deleted.
    PlanGone,
}

impl std::fmt::Display for FrozenBecause {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::PermissionLost => "the permission to read the plan was lost",
            Self::WritesDenied => "the permission to write to the plan was lost",
            Self::PlanGone => "the plan is gone from Planner",
        })
    }
}

/// A frozen plan.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Frozen {
    /// Why.
    pub why: FrozenBecause,
    /// Planner's words.
    pub reason: String,
    /// Since when.
    pub since: DateTime<Utc>,
}

/// A pass that was stopped: too much at once.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MassChangeGuard {
    /// Tasks that seem to be deleted.
    pub missing: usize,
    /// Tasks that seem to have changed.
    pub changed: usize,
    /// Tasks known in all.
    pub known: usize,
    /// Since when.
    pub since: DateTime<Utc>,
}

impl std::fmt::Display for MassChangeGuard {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { missing, changed, known, .. } = self;
        match (missing, changed) {
            (missing, 0) => write!(f, "{missing} of {known} tasks are missing in Planner at once"),
            (0, changed) => write!(f, "{changed} of {known} tasks were changed in Planner at once"),
            (missing, changed) => {
                write!(f, "{missing} of {known} tasks are missing and {changed} were changed in Planner at once")
            }
        }
    }
}

/// What is remembered of a task that is gone, so that no old listing brings it back: the value of a `d|` row.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tombstone {
    /// Our id of it, which it gets back should it come back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub task: Option<TaskId>,
    /// When it was found gone; `None` in rows of older versions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at: Option<DateTime<Utc>>,
    /// It was an agent that deleted it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub deleted_here: bool,
    /// Its edits that had not lasted, for callers who still wait, on any instance.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub lost: BTreeMap<Field, LostEdit>,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bucket(id: &str, name: &str, etag: &str) -> Bucket {
        let id = BucketId::parse(&format!("{id}{}", "x".repeat(28 - id.len()))).unwrap();
        Bucket { id, name: name.into(), order_hint: name.into(), etag: etag.into() }
    }

    fn plan(buckets: Vec<Bucket>) -> PlanRecord {
        let id = PlanId::parse("xqQg5FS2LkCp935s-FIFm2QAFkHM").unwrap();
        PlanRecord {
            key: PlanKey::derive(&id, 0),
            id,
            title: "Plan".into(),
            etag: String::new(),
            group: None,
            created_at: None,
            buckets,
            category_names: BTreeMap::new(),
            details_etag: String::new(),
            recent: Vec::new(),
            unlisted: false,
        }
    }

    fn at(second: i64) -> DateTime<Utc> {
        DateTime::UNIX_EPOCH + TimeDelta::seconds(second)
    }

    fn names(plan: &PlanRecord) -> Vec<&str> {
        plan.buckets.iter().map(|bucket| bucket.name.as_str()).collect()
    }

    #[test]
    fn stale_listing_does_not_remove_a_created_bucket() {
        let (old, made) = (bucket("a", "old", "1"), bucket("b", "young", "1"));
        let known = plan(vec![old.clone()]).with_bucket(&made.id, Some(&made), at(100));
        assert_eq!(names(&known), ["old", "young"]);
        assert_eq!(names(&plan(vec![old.clone()]).over(Some(&known), at(130))), ["old", "young"]);
        assert_eq!(names(&plan(vec![old]).over(Some(&known), at(300))), ["old"], "by then it is gone");
    }

    #[test]
    fn stale_listing_restores_no_deleted_bucket_and_no_former_name() {
        let (gone, before) = (bucket("a", "gone", "1"), bucket("b", "before", "1"));
        let after = Bucket { name: "renamed".into(), etag: "2".into(), ..before.clone() };
        let known = plan(vec![gone.clone(), before.clone()]).with_bucket(&gone.id, None, at(100));
        let known = known.with_bucket(&after.id, Some(&after), at(100));
        let seen = plan(vec![gone, before]).over(Some(&known), at(110));
        assert_eq!(names(&seen), ["renamed"]);
        let newest = Bucket { name: "by a person".into(), etag: "3".into(), ..after };
        assert_eq!(names(&plan(vec![newest]).over(Some(&seen), at(120))), ["by a person"]);
    }
}
