//! The report in a few sentences: at most some 150 tokens, for a model that only needs to know how things are.

use super::Matter;
use crate::services::planner::facts::TaskFacts;
use crate::services::reports::counts::{NOBODY, SOON};
use crate::services::reports::model::whole;
use crate::services::reports::request::{Grouping, Kind};

/// Characters of a title that are quoted.
const TITLE: usize = 60;

pub(super) fn write(matter: &Matter<'_>) -> String {
    let Matter { options, plans, counts, .. } = matter;
    let n = |number: usize| options.language.number(whole(number));
    let period = options.language.period(options.days.from, options.days.to);
    let subject = match plans {
        [only] => clip(&only.title),
        plans => format!("{} plans", n(plans.len())),
    };
    if options.kind == Kind::SyncHealth {
        return sync(matter, &subject);
    }
    let mut text = format!(
        "{subject}, {period}: {}, {} open, {} completed ({} %).",
        if counts.tasks == 1 { "1 task".to_owned() } else { format!("{} tasks", n(counts.tasks)) },
        n(counts.open()),
        n(counts.completed),
        counts.percent_completed()
    );
    text.push_str(&format!(
        " In the period {} were completed and {} created.",
        n(counts.completed_in_period),
        n(counts.created_in_period)
    ));
    match options.kind {
        Kind::Burndown => text.push_str(&burning(matter)),
        Kind::Workload => text.push_str(&busiest(matter)),
        _ => {}
    }
    let late = matter.late();
    if late.is_empty() {
        text.push_str(" Nothing is late.");
    } else {
        let urgent = late.iter().filter(|(_, task)| task.priority <= 4).count();
        text.push_str(&format!(" {} late, {} of them urgent or important", n(late.len()), n(urgent)));
        let worst = matter.groups.groups.iter().filter(|group| group.counts.late > 0);
        if options.group_by != Grouping::None
            && let Some(worst) = worst.max_by_key(|group| group.counts.late)
        {
            text.push_str(&format!(
                "; most {} {} ({})",
                preposition(options.group_by),
                clip(&worst.name),
                n(worst.counts.late)
            ));
        }
        text.push('.');
        if let Some((_, task)) = matter.latest().first() {
            text.push_str(&format!(" Late the longest: {}.", late_line(matter, task)));
        }
    }
    text.push_str(&format!(
        " {} due within {SOON} days; {} open tasks belong to nobody, {} have no due date.",
        n(counts.due_soon),
        n(counts.unassigned),
        n(counts.undated)
    ));
    text
}

/// Whether the open tasks become fewer, and how long the rest takes at that pace.
fn burning(matter: &Matter<'_>) -> String {
    let Matter { options, counts, .. } = matter;
    let n = |number: usize| options.language.number(whole(number));
    let fewer = counts.completed_in_period.saturating_sub(counts.created_in_period);
    let more = counts.created_in_period.saturating_sub(counts.completed_in_period);
    let days = usize::try_from((options.days.to - options.days.from).num_days() + 1).unwrap_or(1);
    match (fewer, more) {
        (0, 0) => " As many are open as before.".to_owned(),
        (0, more) => format!(" {} more are open than before.", n(more)),
        (fewer, _) if counts.open() == 0 => format!(" {} fewer are open than before: none.", n(fewer)),
        (fewer, _) => {
            let rest = n((counts.open() * days).div_ceil(fewer));
            format!(" {} fewer are open than before; at this pace the rest takes {rest} days.", n(fewer))
        }
    }
}

/// Who has the most to do.
fn busiest(matter: &Matter<'_>) -> String {
    let options = matter.options;
    let groups = matter.groups.groups.iter().filter(|group| group.name != NOBODY);
    let busiest = groups.max_by_key(|group| group.counts.open());
    let busiest = busiest.filter(|group| options.group_by != Grouping::None && group.counts.open() > 0);
    busiest.map_or_else(String::new, |group| {
        let open = options.language.number(whole(group.counts.open()));
        format!(" Most open tasks {} {} ({open}).", preposition(options.group_by), clip(&group.name))
    })
}

/// The word before the name of a group.
const fn preposition(by: Grouping) -> &'static str {
    match by {
        Grouping::Assignee => "with",
        _ => "in",
    }
}

fn late_line(matter: &Matter<'_>, task: &TaskFacts) -> String {
    let days = task.days_late(matter.options.days.today).unwrap_or_default();
    let days = if days == 1 { "1 day".to_owned() } else { format!("{} days", matter.options.language.number(days)) };
    let whose = task.assignees.first().filter(|_| matter.options.audience.names_people());
    let whose = whose.map(|name| format!(", {}", clip(name))).unwrap_or_default();
    format!("“{}” ({days}{whose})", clip(&task.title))
}

fn sync(matter: &Matter<'_>, subject: &str) -> String {
    let Matter { options, plans, counts, .. } = matter;
    let n = |number: usize| options.language.number(whole(number));
    let pending: usize = plans.iter().map(|plan| plan.pending).sum();
    let recent = plans.iter().flat_map(|plan| &plan.conflicts).filter(|conflict| options.days.hold(Some(conflict.at)));
    let oldest = plans.iter().filter_map(|plan| plan.as_of).min();
    let age = oldest.map_or_else(
        || "never compared with Planner".to_owned(),
        |at| format!("oldest replica {} s old", options.language.number((options.now - at).num_seconds().max(0))),
    );
    format!(
        "Sync of {subject}: {} tasks, {age}, {} writes on their way to Planner, {} conflicts decided in the period.",
        n(counts.tasks),
        n(pending),
        n(recent.count())
    )
}

/// Text of people, short enough to be quoted on one line.
fn clip(text: &str) -> String {
    let line: String = text.split_whitespace().collect::<Vec<_>>().join(" ");
    if line.chars().count() <= TITLE {
        return line;
    }
    format!("{}…", line.chars().take(TITLE - 1).collect::<String>().trim_end())
}
