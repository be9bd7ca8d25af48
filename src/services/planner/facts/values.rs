//! A plan at a moment and what became of its tasks, as plain values: what reports are computed from.

use chrono::{DateTime, NaiveDate, Utc};
use chrono_tz::Tz;

use crate::services::planner::days::day_of;
use crate::services::planner::words::Status;

/// A plan and its tasks at a moment.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PlanFacts {
    /// Planner's id.
    pub id: String,
    /// The title.
    pub title: String,
    /// The owning group's name.
    pub group: Option<String>,
    /// The buckets' names, in board order.
    pub buckets: Vec<String>,
    /// The tasks callers see.
    pub tasks: Vec<TaskFacts>,
    /// When Planner was last asked.
    pub as_of: Option<DateTime<Utc>>,
    /// Journalled writes Planner does not have yet.
    pub pending: usize,
    /// Decided conflicts, oldest first.
    pub conflicts: Vec<ConflictFacts>,
    /// What a reader should know of the data's age.
    pub note: Option<String>,
    /// The newest transaction of the plan that is part of it.
    pub sequence: u64,
}

impl PlanFacts {
    /// Makes the days of the tasks those of a zone.
    pub fn set_zone(&mut self, zone: Tz) {
        for task in &mut self.tasks {
            task.start = task.start_at.map(|at| day_of(at, zone));
            task.due = task.due_at.map(|at| day_of(at, zone));
        }
    }
}

/// A task.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TaskFacts {
    /// Our id.
    pub id: String,
    /// Planner's id, once there is one.
    pub planner_id: Option<String>,
    /// The title.
    pub title: String,
    /// The place of its bucket on the board.
    pub bucket: Option<usize>,
    /// 0 to 100.
    pub percent: u8,
    /// 0 (highest) to 10.
    pub priority: u8,
    /// When work starts, as Planner has it.
    pub start_at: Option<DateTime<Utc>>,
    /// When it is due, as Planner has it.
    pub due_at: Option<DateTime<Utc>>,
    /// The day work starts, see [`PlanFacts::set_zone`].
    pub start: Option<NaiveDate>,
    /// The day it is due, see [`PlanFacts::set_zone`].
    pub due: Option<NaiveDate>,
    /// Names of those who do it.
    pub assignees: Vec<String>,
    /// Names of its labels.
    pub labels: Vec<String>,
    /// When it was created.
    pub created_at: Option<DateTime<Utc>>,
    /// Who created it.
    pub created_by: Option<String>,
    /// When it was completed.
    pub completed_at: Option<DateTime<Utc>>,
    /// Who completed it.
    pub completed_by: Option<String>,
    /// Checklist items in all.
    pub checklist_items: u32,
    /// Checklist items not ticked.
    pub open_checklist_items: u32,
    /// The checklist items' texts, where the details have been read.
    pub checklist: Vec<String>,
    /// The description, where the details have been read.
    pub description: String,
}

impl TaskFacts {
    /// How far it is.
    #[must_use]
    pub fn status(&self) -> Status {
        Status::of(self.percent)
    }

    /// Whether it is not completed.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.status() != Status::Completed
    }

    /// Whole days past its due date on `today`; `None` unless it is open and late.
    #[must_use]
    pub fn days_late(&self, today: NaiveDate) -> Option<i64> {
        let days = (today - self.due?).num_days();
        (self.is_open() && days > 0).then_some(days)
    }

    /// Whether it is open and due from `today` to `days` days later.
    #[must_use]
    pub fn is_due_within(&self, today: NaiveDate, days: i64) -> bool {
        self.is_open() && self.due.is_some_and(|due| (0..=days).contains(&(due - today).num_days()))
    }
}

/// A decided conflict.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConflictFacts {
    /// When it was decided.
    pub at: DateTime<Utc>,
    /// The task's title.
    pub title: String,
    /// The field, empty for the whole task.
    pub field: String,
    /// `agent` or `planner`.
    pub winner: &'static str,
    /// The rule, or Planner's words.
    pub reason: String,
}

/// What happened to a task, as the plan's journal tells it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Move {
    /// The number of its transaction: moves are played in this order, no matter what the clocks said.
    pub number: u64,
    /// When it was committed.
    pub at: DateTime<Utc>,
    /// Our id of the task.
    pub task: String,
    /// What became of it.
    pub step: Step,
}

/// A step of a task. What is `None` did not change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// It came to be so, or came back.
    Became {
        /// Progress.
        percent: Option<u8>,
        /// The name of its bucket, if it is in one that is still there.
        bucket: Option<Option<String>>,
    },
    /// It was deleted.
    Gone,
}
