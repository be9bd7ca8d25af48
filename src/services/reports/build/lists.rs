//! Tasks, picked and put in order.

use std::cmp::Reverse;

use chrono::NaiveDate;

use super::Matter;
use crate::services::planner::facts::{PlanFacts, TaskFacts};
use crate::services::reports::counts::{self, SOON};
use crate::services::reports::model::{Body, TaskLine};
use crate::services::reports::request::Audience;

type Picked<'a> = (&'a PlanFacts, &'a TaskFacts);

impl<'a> Matter<'a> {
    fn picked(&self, keep: impl Fn(&TaskFacts) -> bool) -> Vec<Picked<'a>> {
        let tasks = self.plans.iter().flat_map(|plan| plan.tasks.iter().map(move |task| (plan, task)));
        tasks.filter(|(_, task)| keep(task)).collect()
    }

    /// Open tasks past their due date: the gravest first.
    pub(super) fn late(&self) -> Vec<Picked<'a>> {
        let today = self.options.days.today;
        let mut tasks = self.picked(|task| task.days_late(today).is_some());
        tasks
            .sort_by_cached_key(|(_, task)| (class(task.priority), Reverse(task.days_late(today)), task.title.clone()));
        tasks
    }

    /// Open tasks past their due date: the longest first.
    pub(super) fn latest(&self) -> Vec<Picked<'a>> {
        let today = self.options.days.today;
        let mut tasks = self.picked(|task| task.days_late(today).is_some());
        tasks.sort_by_cached_key(|(_, task)| (Reverse(task.days_late(today)), task.priority, task.title.clone()));
        tasks
    }

    /// Tasks completed within the period: the last first.
    pub(super) fn done(&self) -> Vec<Picked<'a>> {
        let days = self.options.days;
        let mut tasks = self.picked(|task| !task.is_open() && days.hold(task.completed_at));
        tasks.sort_by_cached_key(|(_, task)| (Reverse(task.completed_at), task.title.clone()));
        tasks
    }

    /// Open tasks due within a week: the first first.
    pub(super) fn next(&self) -> Vec<Picked<'a>> {
        let today = self.options.days.today;
        let mut tasks = self.picked(|task| task.is_due_within(today, SOON));
        tasks.sort_by_cached_key(|(_, task)| (task.due, task.priority, task.title.clone()));
        tasks
    }

    /// A list, cut to what the audience reads.
    pub(super) fn list(&self, tasks: &[Picked<'_>], limit: usize, none: &str) -> Body {
        Body::Tasks {
            tasks: tasks.iter().take(limit).map(|(plan, task)| self.line(plan, task)).collect(),
            more: tasks.len().saturating_sub(limit),
            none: none.to_owned(),
        }
    }

    /// A task as the audience may see it.
    pub(super) fn line(&self, plan: &PlanFacts, task: &TaskFacts) -> TaskLine {
        let Self { options, plans, .. } = self;
        let named = options.audience.names_people();
        let day = |at: Option<chrono::DateTime<chrono::Utc>>| -> Option<NaiveDate> { at.map(|at| options.days.of(at)) };
        let all = task.checklist_items;
        TaskLine {
            id: task.planner_id.clone().unwrap_or_else(|| task.id.clone()),
            title: task.title.clone(),
            plan: (plans.len() > 1).then(|| plan.title.clone()),
            bucket: counts::bucket(plan, task).map(str::to_owned),
            status: counts::status(task.status()).to_owned(),
            priority: counts::priority(task.priority).to_owned(),
            assignees: if named { task.assignees.clone() } else { Vec::new() },
            start: task.start,
            due: task.due,
            days_late: task.days_late(options.days.today),
            created: day(task.created_at),
            created_by: task.created_by.clone().filter(|_| named),
            completed: day(task.completed_at).filter(|_| !task.is_open()),
            completed_by: task.completed_by.clone().filter(|_| named && !task.is_open()),
            checklist_done: (all > 0).then(|| format!("{}/{all}", all - task.open_checklist_items.min(all))),
            checklist: task.checklist.clone(),
            labels: task.labels.clone(),
            // A description is written for colleagues and may name them.
            description: if options.audience == Audience::Client { String::new() } else { task.description.clone() },
        }
    }
}

/// Urgent, important and the rest: finer differences say less than how late something is.
fn class(priority: u8) -> u8 {
    match priority {
        0..=1 => 0,
        2..=4 => 1,
        _ => 2,
    }
}

/// All tasks, plan by plan in board order, the earliest due first.
pub(super) fn all(matter: &Matter<'_>) -> Vec<TaskLine> {
    let mut lines = Vec::with_capacity(matter.counts.tasks);
    for plan in matter.plans {
        let mut tasks: Vec<&TaskFacts> = plan.tasks.iter().collect();
        let place = |task: &TaskFacts| task.bucket.unwrap_or(usize::MAX);
        let due = |task: &TaskFacts| task.due.unwrap_or(NaiveDate::MAX);
        tasks.sort_by(|left, right| {
            (place(left), due(left), &left.title, &left.id).cmp(&(place(right), due(right), &right.title, &right.id))
        });
        lines.extend(tasks.into_iter().map(|task| matter.line(plan, task)));
    }
    lines
}
