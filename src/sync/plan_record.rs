//! What the engine remembers of a plan as a whole: the rows of its partition that are no task's.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

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
}

/// What keeps a plan from being followed: the value of its `h` row, written only when it changes.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlanState {
    /// The plan cannot be read: nothing is written to either side until it can be read again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub frozen: Option<Frozen>,
    /// A pass found so much gone or changed at once that somebody has to confirm it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub brake: Option<Brake>,
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
        frozen.or_else(|| self.brake.as_ref().map(ToString::to_string))
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
pub struct Brake {
    /// Tasks that seem to be deleted.
    pub missing: usize,
    /// Tasks that seem to have changed.
    pub changed: usize,
    /// Tasks known in all.
    pub known: usize,
    /// Since when.
    pub since: DateTime<Utc>,
}

impl std::fmt::Display for Brake {
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
pub struct Grave {
    /// Our id of it, which it gets back should it come back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub task: Option<TaskId>,
    /// When it was found gone; `None` in rows of older versions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at: Option<DateTime<Utc>>,
    /// It was an agent that deleted it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub deleted_here: bool,
}
