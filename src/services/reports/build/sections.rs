//! Which parts a report has, and in which order they are read.

use std::collections::BTreeMap;

use super::{Matter, charts};
use crate::services::planner::facts::{PlanFacts, TaskFacts};
use crate::services::planner::words::Status;
use crate::services::reports::counts::{self, Counts, Group, SOON};
use crate::services::reports::history::{Change, State};
use crate::services::reports::model::{Body, Cell, Figure, Section, Tone, whole};
use crate::services::reports::request::{Audience, Grouping, Kind};

/// Late tasks the weekly report and the portfolio show at most, and tasks of other lists: so they stay at two pages.
const WEEKLY: usize = 8;
const BESIDES: usize = 6;
/// The same for other reports.
const USUAL: usize = 12;
/// Conflicts that are shown.
const CONFLICTS: usize = 20;

pub(super) fn of(matter: &Matter<'_>) -> Vec<Section> {
    let mut sections = match matter.options.kind {
        Kind::Summary => summary(matter),
        Kind::Weekly => weekly(matter),
        Kind::Workload => vec![figures(matter), charts::workload(matter), people(matter), late(matter, USUAL)],
        Kind::Overdue => overdue(matter),
        Kind::Burndown => vec![figures(matter), charts::burndown(matter), charts::flow(matter), by_group(matter)],
        Kind::BucketFlow => vec![figures(matter), charts::buckets_by_day(matter), moves(matter), buckets(matter)],
        Kind::Portfolio => portfolio(matter),
        Kind::SyncHealth => sync_health(matter),
    };
    sections.retain(|section| suits(section, matter.options.audience));
    sections
}

/// What an audience does not get: executives no long tables, clients nothing about people or what is at risk.
fn suits(section: &Section, audience: Audience) -> bool {
    match audience {
        Audience::TeamLead | Audience::Contributor => true,
        Audience::Executive => !matches!(section.id.as_str(), "groups" | "conflicts"),
        Audience::Client => !matches!(section.id.as_str(), "workload" | "people" | "risks" | "conflicts"),
    }
}

fn summary(matter: &Matter<'_>) -> Vec<Section> {
    let by = matter.options.group_by;
    let title = if by == Grouping::None {
        "Progress".to_owned()
    } else {
        format!("Progress by {}", by.heading().to_lowercase())
    };
    vec![
        figures(matter),
        charts::progress(&matter.groups.groups, &title),
        charts::burndown(matter),
        charts::flow(matter),
        late(matter, USUAL),
        next(matter, USUAL),
        risks(matter),
        by_group(matter),
    ]
}

fn weekly(matter: &Matter<'_>) -> Vec<Section> {
    let mut parts = vec![figures(matter), charts::burndown(matter), charts::flow(matter)];
    let [late, done, next] = [late(matter, WEEKLY), done(matter, BESIDES), next(matter, BESIDES)];
    match matter.options.audience {
        Audience::Contributor => parts.extend([next, late, done]),
        Audience::Client => parts.extend([done, next, late]),
        Audience::Executive | Audience::TeamLead => parts.extend([late, done, next]),
    }
    parts.extend([risks(matter), charts::workload(matter)]);
    parts
}

fn overdue(matter: &Matter<'_>) -> Vec<Section> {
    let late = matter.latest();
    let list = matter.list(&late, matter.options.audience.list_limit(), "Nothing is late.");
    let mut parts = vec![figures(matter), charts::ages(matter), section("late", "Late tasks, the longest first", list)];
    if matter.options.audience.names_people() {
        parts.push(people(matter));
    }
    parts.push(by_group(matter));
    parts
}

fn section(id: &str, title: &str, body: Body) -> Section {
    Section { id: id.to_owned(), title: title.to_owned(), note: None, body }
}

fn figures(matter: &Matter<'_>) -> Section {
    let counts = matter.counts;
    let figure = |label: &str, value: usize, tone: Tone| Figure {
        label: label.to_owned(),
        value: whole(value),
        unit: String::new(),
        tone,
    };
    let bad = |value: usize| if value > 0 { Tone::Bad } else { Tone::Plain };
    let figures = vec![
        figure("Tasks", counts.tasks, Tone::Plain),
        figure("Open", counts.open(), Tone::Plain),
        Figure { unit: " %".to_owned(), ..figure("Completed", counts.percent_completed(), Tone::Done) },
        figure("Late", counts.late, bad(counts.late)),
        figure(&format!("Due in {SOON} days"), counts.due_soon, Tone::Plain),
        figure("Done in period", counts.completed_in_period, Tone::Done),
    ];
    section("figures", "At a glance", Body::Figures { figures })
}

fn limit(matter: &Matter<'_>, usual: usize) -> usize {
    usual.min(matter.options.audience.list_limit())
}

fn late(matter: &Matter<'_>, usual: usize) -> Section {
    let late = matter.late();
    let title = if matter.options.audience.names_people() { "Late, and whose" } else { "Late" };
    section("late", title, matter.list(&late, limit(matter, usual), "Nothing is late."))
}

fn done(matter: &Matter<'_>, usual: usize) -> Section {
    let done = matter.done();
    section(
        "done",
        "Done in the period",
        matter.list(&done, limit(matter, usual), "Nothing was completed in the period."),
    )
}

fn next(matter: &Matter<'_>, usual: usize) -> Section {
    let next = matter.next();
    let title = format!("Due in the next {SOON} days");
    section("next", &title, matter.list(&next, limit(matter, usual), "Nothing is due."))
}

/// What may go wrong, as far as a board tells.
fn risks(matter: &Matter<'_>) -> Section {
    let days = matter.options.days;
    let tasks = || matter.plans.iter().flat_map(|plan| &plan.tasks);
    let count = |keep: &dyn Fn(&TaskFacts) -> bool| tasks().filter(|task| keep(task)).count();
    let blocked = |task: &TaskFacts| task.labels.iter().any(|label| label.trim().eq_ignore_ascii_case("blocked"));
    let rows = [
        ("Urgent or important, and late", count(&|task| task.priority <= 4 && task.days_late(days.today).is_some())),
        ("Late by more than 14 days", count(&|task| task.days_late(days.today).is_some_and(|late| late > 14))),
        (
            "Due within seven days and not started",
            count(&|task| task.status() == Status::NotStarted && task.is_due_within(days.today, SOON)),
        ),
        ("Open and labelled as blocked", count(&|task| task.is_open() && blocked(task))),
        ("Open and nobody’s", matter.counts.unassigned),
        ("Open without a due date", matter.counts.undated),
    ];
    let rows = rows.into_iter().filter(|(_, tasks)| *tasks > 0);
    let rows: Vec<Vec<Cell>> = rows.map(|(name, tasks)| vec![name.into(), tasks.into()]).collect();
    section("risks", "Risks", Body::Table { columns: words(&["Risk", "Tasks"]), rows })
}

fn words(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}

fn group_rows(groups: &[Group]) -> Vec<Vec<Cell>> {
    let row = |group: &Group| {
        let Counts { tasks, not_started, in_progress, completed, late, due_soon, completed_in_period, .. } =
            group.counts;
        let numbers = [tasks, not_started, in_progress, completed, late, due_soon, completed_in_period];
        std::iter::once(Cell::from(group.name.as_str())).chain(numbers.map(Cell::from)).collect()
    };
    groups.iter().map(row).collect()
}

fn group_columns(first: &str) -> Vec<String> {
    words(&[first, "Tasks", "Not started", "In progress", "Completed", "Late", "Due soon", "Done in period"])
}

fn by_group(matter: &Matter<'_>) -> Section {
    let by = matter.options.group_by;
    let title =
        if by == Grouping::None { "All tasks".to_owned() } else { format!("By {}", by.heading().to_lowercase()) };
    let rows = group_rows(&matter.groups.groups);
    section("groups", &title, Body::Table { columns: group_columns(by.heading()), rows })
}

fn people(matter: &Matter<'_>) -> Section {
    let groups = counts::group(matter.plans, Grouping::Assignee, &matter.options.days).groups;
    section("people", "By person", Body::Table { columns: group_columns("Person"), rows: group_rows(&groups) })
}

fn buckets(matter: &Matter<'_>) -> Section {
    let groups = counts::group(matter.plans, Grouping::Bucket, &matter.options.days).groups;
    section("groups", "By bucket", Body::Table { columns: group_columns("Bucket"), rows: group_rows(&groups) })
}

/// What moved where within the period, as it was seen.
fn moves(matter: &Matter<'_>) -> Section {
    const NOWHERE: &str = "No bucket";
    let place = |state: &Option<State>, otherwise: &str| match state {
        Some(state) => state.bucket.clone().unwrap_or_else(|| NOWHERE.to_owned()),
        None => otherwise.to_owned(),
    };
    let mut found: BTreeMap<(String, String), usize> = BTreeMap::new();
    let seen = matter.histories.iter().flat_map(|history| &history.changes);
    for Change { from, to, .. } in seen.filter(|change| matter.options.days.hold(Some(change.at))) {
        let (from, to) = (place(from, "(new)"), place(to, "(gone)"));
        if from != to {
            *found.entry((from, to)).or_default() += 1;
        }
    }
    let mut rows: Vec<((String, String), usize)> = found.into_iter().collect();
    rows.sort_by(|left, right| right.1.cmp(&left.1).then_with(|| left.0.cmp(&right.0)));
    let rows =
        rows.into_iter().take(20).map(|((from, to), tasks)| vec![from.into(), to.into(), tasks.into()]).collect();
    let note = "As seen since recording began; a task that moved twice counts twice.".to_owned();
    let body = Body::Table { columns: words(&["From", "To", "Tasks"]), rows };
    Section { note: Some(note), ..section("moves", "Moves in the period", body) }
}

fn portfolio(matter: &Matter<'_>) -> Vec<Section> {
    let days = &matter.options.days;
    let group = |plan: &PlanFacts| Group { name: plan.title.clone(), counts: counts::total(&plan.tasks, days) };
    let plans: Vec<Group> = matter.plans.iter().map(group).collect();
    let table = Body::Table { columns: group_columns("Plan"), rows: group_rows(&plans) };
    vec![
        figures(matter),
        charts::progress(&plans, "Progress by plan"),
        section("plans", "Plans", table),
        charts::burndown(matter),
        charts::flow(matter),
        late(matter, WEEKLY),
        charts::workload(matter),
        risks(matter),
    ]
}

fn sync_health(matter: &Matter<'_>) -> Vec<Section> {
    let (options, language) = (matter.options, matter.options.language);
    let recent =
        |plan: &PlanFacts| plan.conflicts.iter().filter(|conflict| options.days.hold(Some(conflict.at))).count();
    let pending: usize = matter.plans.iter().map(|plan| plan.pending).sum();
    let conflicts: usize = matter.plans.iter().map(recent).sum();
    let figure = |label: &str, value: usize, bad: bool| Figure {
        label: label.to_owned(),
        value: whole(value),
        unit: String::new(),
        tone: if bad && value > 0 { Tone::Bad } else { Tone::Plain },
    };
    let figures = vec![
        figure("Plans", matter.plans.len(), false),
        figure("Tasks", matter.counts.tasks, false),
        figure("Writes on their way", pending, false),
        figure("Conflicts in the period", conflicts, true),
    ];
    let rows = matter.plans.iter().map(|plan| {
        let compared = plan.as_of.map_or_else(|| "never".to_owned(), |at| language.time(at, options.days.zone));
        vec![
            plan.title.as_str().into(),
            plan.tasks.len().into(),
            compared.into(),
            plan.pending.into(),
            recent(plan).into(),
        ]
    });
    let columns = words(&["Plan", "Tasks", "Compared with Planner", "On their way", "Conflicts"]);
    let mut decided: Vec<_> =
        matter.plans.iter().flat_map(|plan| plan.conflicts.iter().map(move |conflict| (plan, conflict))).collect();
    decided.retain(|(_, conflict)| options.days.hold(Some(conflict.at)));
    decided.sort_by_key(|(_, conflict)| std::cmp::Reverse(conflict.at));
    let decided = decided.into_iter().take(CONFLICTS).map(|(plan, conflict)| {
        vec![
            language.time(conflict.at, options.days.zone).into(),
            plan.title.as_str().into(),
            conflict.title.as_str().into(),
            if conflict.field.is_empty() { "the whole task" } else { conflict.field.as_str() }.into(),
            conflict.winner.into(),
        ]
    });
    vec![
        section("figures", "At a glance", Body::Figures { figures }),
        section("plans", "Replicas", Body::Table { columns, rows: rows.collect() }),
        section(
            "conflicts",
            "Decided conflicts, the newest first",
            Body::Table { columns: words(&["When", "Plan", "Task", "Field", "Kept"]), rows: decided.collect() },
        ),
    ]
}
