//! Counting tasks, whole and in groups, so that the parts always make the whole.

use std::ops::{Add, AddAssign};

use chrono::{DateTime, NaiveDate, Utc};
use chrono_tz::Tz;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::request::Grouping;
use crate::services::planner::facts::{PlanFacts, TaskFacts};
use crate::services::planner::words::Status;
use crate::services::planner::words::priority_word;

/// Days ahead that count as soon.
pub const SOON: i64 = 7;

/// How many tasks are how.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Counts {
    /// All tasks.
    pub tasks: usize,
    /// Not started.
    pub not_started: usize,
    /// In progress.
    pub in_progress: usize,
    /// Completed.
    pub completed: usize,
    /// Open and past the due date.
    pub late: usize,
    /// Open and due within seven days.
    pub due_soon: usize,
    /// Open without a due date.
    pub undated: usize,
    /// Open and nobody's.
    pub unassigned: usize,
    /// Created within the period.
    pub created_in_period: usize,
    /// Completed within the period.
    pub completed_in_period: usize,
}

impl Counts {
    /// Not completed.
    #[must_use]
    pub const fn open(&self) -> usize {
        self.not_started + self.in_progress
    }

    /// Completed tasks of a hundred; 0 without any.
    #[must_use]
    pub const fn percent_completed(&self) -> usize {
        match (self.completed * 100).checked_div(self.tasks) {
            Some(percent) => percent,
            None => 0,
        }
    }
}

impl Add for Counts {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            tasks: self.tasks + other.tasks,
            not_started: self.not_started + other.not_started,
            in_progress: self.in_progress + other.in_progress,
            completed: self.completed + other.completed,
            late: self.late + other.late,
            due_soon: self.due_soon + other.due_soon,
            undated: self.undated + other.undated,
            unassigned: self.unassigned + other.unassigned,
            created_in_period: self.created_in_period + other.created_in_period,
            completed_in_period: self.completed_in_period + other.completed_in_period,
        }
    }
}

impl AddAssign for Counts {
    fn add_assign(&mut self, other: Self) {
        *self = *self + other;
    }
}

/// The days a report is about and the day it is made on, all in one time zone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Days {
    /// The first day.
    pub from: NaiveDate,
    /// The last day.
    pub to: NaiveDate,
    /// The day the report is made on: what is late is late on it.
    pub today: NaiveDate,
    /// The zone instants become days in.
    pub zone: Tz,
}

impl Days {
    /// The day of an instant.
    #[must_use]
    pub fn of(&self, at: DateTime<Utc>) -> NaiveDate {
        at.with_timezone(&self.zone).date_naive()
    }

    /// Whether an instant lies within the period.
    #[must_use]
    pub fn hold(&self, at: Option<DateTime<Utc>>) -> bool {
        at.is_some_and(|at| (self.from..=self.to).contains(&self.of(at)))
    }

    /// The days of the period, in order.
    pub fn each(&self) -> impl Iterator<Item = NaiveDate> + use<> {
        let to = self.to;
        self.from.iter_days().take_while(move |day| *day <= to)
    }
}

/// The counts of one task.
#[must_use]
pub fn count(task: &TaskFacts, days: &Days) -> Counts {
    let one = usize::from;
    let (status, open) = (task.status(), task.is_open());
    Counts {
        tasks: 1,
        not_started: one(status == Status::NotStarted),
        in_progress: one(status == Status::InProgress),
        completed: one(status == Status::Completed),
        late: one(task.days_late(days.today).is_some()),
        due_soon: one(task.is_due_within(days.today, SOON)),
        undated: one(open && task.due.is_none()),
        unassigned: one(open && task.assignees.is_empty()),
        created_in_period: one(days.hold(task.created_at)),
        completed_in_period: one(!open && days.hold(task.completed_at)),
    }
}

/// The counts of many tasks.
#[must_use]
pub fn total<'a>(tasks: impl IntoIterator<Item = &'a TaskFacts>, days: &Days) -> Counts {
    tasks.into_iter().fold(Counts::default(), |sum, task| sum + count(task, days))
}

/// A group and what is in it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Group {
    /// What its tasks have in common.
    pub name: String,
    /// Its counts.
    pub counts: Counts,
}

/// Tasks in groups. The groups' counts add up to those of all tasks and `overlap`: a task of two people is in two
/// groups, and `overlap` holds it once.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Groups {
    /// The groups: in board order, in order of rank, or the largest first.
    pub groups: Vec<Group>,
    /// What is in more than one group, for each time but the first.
    pub overlap: Counts,
}

/// What stands for tasks without the property they are grouped by.
pub const NOBODY: &str = "Unassigned";
const NO_LABEL: &str = "No label";
const NO_BUCKET: &str = "No bucket";

/// Puts the tasks of a plan in groups.
#[must_use]
pub fn group(plans: &[PlanFacts], by: Grouping, days: &Days) -> Groups {
    let mut found = Groups::default();
    let mut places = std::collections::HashMap::new();
    let several = plans.len() > 1;
    // Groups with an order of their own stand there even when they are empty.
    for name in fixed(plans, by) {
        places.entry(name.clone()).or_insert_with(|| {
            found.groups.push(Group { name, counts: Counts::default() });
            found.groups.len() - 1
        });
    }
    for plan in plans {
        for task in &plan.tasks {
            let counts = count(task, days);
            for (nth, name) in names(plan, task, by).into_iter().enumerate() {
                let place = *places.entry(name.clone()).or_insert_with(|| {
                    found.groups.push(Group { name, counts: Counts::default() });
                    found.groups.len() - 1
                });
                if let Some(group) = found.groups.get_mut(place) {
                    group.counts += counts;
                }
                if nth > 0 {
                    found.overlap += counts;
                }
            }
        }
    }
    if matches!(by, Grouping::Assignee | Grouping::Label) || (several && by == Grouping::Bucket) {
        found.groups.sort_by(|left, right| {
            let rank = |group: &Group| (group.counts.open(), group.counts.tasks);
            rank(right).cmp(&rank(left)).then_with(|| left.name.cmp(&right.name))
        });
    }
    found
}

fn fixed(plans: &[PlanFacts], by: Grouping) -> Vec<String> {
    let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect();
    match by {
        Grouping::Bucket => plans.iter().flat_map(|plan| plan.buckets.iter().cloned()).collect(),
        Grouping::Priority => words(&["Urgent", "Important", "Medium", "Low"]),
        Grouping::Status => words(&["Not started", "In progress", "Completed"]),
        _ => Vec::new(),
    }
}

/// The groups a task is in; at least one, none twice.
fn names(plan: &PlanFacts, task: &TaskFacts, by: Grouping) -> Vec<String> {
    let or = |mut names: Vec<String>, none: &str| {
        names.sort();
        names.dedup();
        if names.is_empty() { vec![none.to_owned()] } else { names }
    };
    match by {
        Grouping::None => vec!["All tasks".to_owned()],
        Grouping::Assignee => or(task.assignees.clone(), NOBODY),
        Grouping::Label => or(task.labels.clone(), NO_LABEL),
        Grouping::Bucket => vec![bucket(plan, task).unwrap_or(NO_BUCKET).to_owned()],
        Grouping::Priority => vec![priority(task.priority).to_owned()],
        Grouping::Status => vec![status(task.status()).to_owned()],
    }
}

/// The name of a task's bucket.
#[must_use]
pub fn bucket<'a>(plan: &'a PlanFacts, task: &TaskFacts) -> Option<&'a str> {
    plan.buckets.get(task.bucket?).map(String::as_str)
}

/// A priority as Planner's own board shows it.
#[must_use]
pub fn priority(priority: u8) -> &'static str {
    match priority_word(priority) {
        "urgent" => "Urgent",
        "important" => "Important",
        "medium" => "Medium",
        _ => "Low",
    }
}

/// A status as Planner's own board shows it.
#[must_use]
pub const fn status(status: Status) -> &'static str {
    match status {
        Status::NotStarted => "Not started",
        Status::InProgress => "In progress",
        Status::Completed => "Completed",
    }
}
