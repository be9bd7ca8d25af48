//! The pictures: numbers by group and by day.

use chrono::NaiveDate;

use super::Matter;
use crate::services::reports::counts::{self, Counts, Group};
use crate::services::reports::history;
use crate::services::reports::model::{Body, Chart, Section, Series, Shape, Tone, whole};
use crate::services::reports::request::Grouping;

/// Groups a chart shows by name; of the rest the note tells.
const MOST_GROUPS: usize = 12;
/// Buckets that get a colour of their own.
const MOST_HUES: usize = 7;

/// A part of every bar: its name, its colour and what it counts.
type Part<'a> = (&'a str, Tone, fn(&Counts) -> usize);

fn series(name: &str, tone: Tone, values: Vec<Option<i64>>) -> Series {
    Series { name: name.to_owned(), tone, dashed: false, values }
}

/// The groups with the most open tasks in their order, and how many others there are with what.
fn shown(groups: &[Group]) -> (Vec<Group>, usize, Counts) {
    let groups: Vec<Group> = groups.iter().filter(|group| group.counts.tasks > 0).cloned().collect();
    if groups.len() <= MOST_GROUPS + 1 {
        return (groups, 0, Counts::default());
    }
    let mut ranked: Vec<usize> = (0..groups.len()).collect();
    let open = |place: &usize| groups.get(*place).map_or(0, |group| group.counts.open());
    ranked.sort_by_key(|place| std::cmp::Reverse(open(place)));
    ranked.truncate(MOST_GROUPS);
    let (mut named, mut others, mut number) = (Vec::new(), Counts::default(), 0);
    for (place, group) in groups.into_iter().enumerate() {
        if ranked.contains(&place) {
            named.push(group);
        } else {
            others += group.counts;
            number += 1;
        }
    }
    (named, number, others)
}

fn by_group(id: &str, title: &str, groups: &[Group], parts: &[Part<'_>]) -> Section {
    let (groups, number, others) = shown(groups);
    let values = |of: fn(&Counts) -> usize| groups.iter().map(|group| Some(whole(of(&group.counts)))).collect();
    let words = |counts: &Counts| {
        let parts = parts.iter().map(|(name, _, of)| format!("{} {}", of(counts), name.to_lowercase()));
        parts.collect::<Vec<_>>().join(", ")
    };
    // As a bar of their own they would dwarf everybody who has a name.
    let note = (number > 0).then(|| format!("{number} others together: {}.", words(&others)));
    let text = groups.iter().map(|group| format!("{}: {}", group.name, words(&group.counts)));
    let chart = Chart {
        shape: Shape::Bars,
        unit: "Tasks".to_owned(),
        text: format!("{title}. {}.", text.chain(note.clone()).collect::<Vec<_>>().join("; ").trim_end_matches('.')),
        categories: groups.iter().map(|group| group.name.clone()).collect(),
        series: parts.iter().map(|(name, tone, of)| series(name, *tone, values(*of))).collect(),
    };
    Section { id: id.to_owned(), title: title.to_owned(), note, body: Body::Chart { chart } }
}

/// How far the tasks of each group are.
pub(super) fn progress(groups: &[Group], title: &str) -> Section {
    let parts: [Part<'_>; 3] = [
        ("Completed", Tone::Done, |counts| counts.completed),
        ("In progress", Tone::Moving, |counts| counts.in_progress),
        ("Not started", Tone::Waiting, |counts| counts.not_started),
    ];
    by_group("progress", title, groups, &parts)
}

/// Who has how many open tasks.
pub(super) fn workload(matter: &Matter<'_>) -> Section {
    let groups = counts::group(matter.plans, Grouping::Assignee, &matter.options.days).groups;
    let open: Vec<Group> = groups.into_iter().filter(|group| group.counts.open() > 0).collect();
    let parts: [Part<'_>; 2] =
        [("Late", Tone::Bad, |counts| counts.late), ("Not late", Tone::Moving, |counts| counts.open() - counts.late)];
    by_group("workload", "Open tasks by person", &open, &parts)
}

/// What is done and what comes in, day by day.
pub(super) fn flow(matter: &Matter<'_>) -> Section {
    let days = matter.options.days;
    let each: Vec<NaiveDate> = days.each().filter(|day| *day <= days.today).collect();
    let mut created = vec![0_i64; each.len()];
    let mut done = vec![0_i64; each.len()];
    let mut tally = |at: Option<chrono::DateTime<chrono::Utc>>, into: Flow| {
        let Some(day) = at.map(|at| days.of(at)) else { return };
        let place = usize::try_from((day - days.from).num_days()).unwrap_or(usize::MAX);
        let counts = if into == Flow::In { &mut created } else { &mut done };
        if let Some(count) = counts.get_mut(place) {
            *count += 1;
        }
    };
    for task in matter.plans.iter().flat_map(|plan| &plan.tasks) {
        tally(task.created_at, Flow::In);
        if !task.is_open() {
            tally(task.completed_at, Flow::Out);
        }
    }
    // Tasks deleted since have no dates any more, but the journal remembers them.
    let mut gone = 0;
    for (plan, history) in matter.plans.iter().zip(matter.histories) {
        for past in history.gone(plan) {
            tally(past.created_at, Flow::In);
            tally(past.completed_at, Flow::Out);
            gone += usize::from(days.hold(past.created_at) || days.hold(past.completed_at));
        }
    }
    let note = match gone {
        0 => None,
        1 => Some("One task deleted since is among them.".to_owned()),
        tasks => Some(format!("{} tasks deleted since are among them.", matter.options.language.number(whole(tasks)))),
    };
    let (sum_in, sum_out) = (created.iter().sum::<i64>(), done.iter().sum::<i64>());
    let some = |values: Vec<i64>| values.into_iter().map(Some).collect();
    let chart = Chart {
        shape: Shape::Pairs,
        unit: "Tasks a day".to_owned(),
        categories: each.iter().map(|day| matter.options.language.short_date(*day)).collect(),
        text: format!("In the period {sum_in} tasks were created and {sum_out} completed."),
        series: vec![series("Created", Tone::Hue(1), some(created)), series("Completed", Tone::Done, some(done))],
    };
    let title = "Created and completed".to_owned();
    Section { id: "flow".to_owned(), title, note, body: Body::Chart { chart } }
}

#[derive(PartialEq)]
enum Flow {
    In,
    Out,
}

/// Open tasks, day by day: as recorded, and before that as far as the tasks' own dates tell.
pub(super) fn burndown(matter: &Matter<'_>) -> Section {
    let (days, language) = (matter.options.days, matter.options.language);
    let each: Vec<NaiveDate> = days.each().filter(|day| *day <= days.today).collect();
    let now = |day: NaiveDate| (day == days.today).then(|| matter.counts.open());
    let recorded = |day: NaiveDate| -> Option<usize> {
        now(day).or_else(|| {
            matter.histories.iter().map(|history| history.days.get(&day).map(history::Snapshot::open)).sum()
        })
    };
    let measured: Vec<Option<i64>> = each.iter().map(|day| recorded(*day).map(whole)).collect();
    let first = measured.iter().position(Option::is_some).unwrap_or(each.len());
    // The first recorded day belongs to both lines, so that they meet where they agree.
    let estimate = |(place, day): (usize, &NaiveDate)| {
        let open = || matter.plans.iter().map(|plan| history::reconstructed(plan, &days, *day)).sum::<usize>();
        (place <= first).then(|| whole(open()))
    };
    let estimated: Vec<Option<i64>> =
        if first == 0 { Vec::new() } else { each.iter().enumerate().map(estimate).collect() };
    let note = (first > 0).then(|| match each.get(first) {
        Some(day) => format!("Estimated before {}, from the dates of tasks that still exist.", language.date(*day)),
        None => "Estimated from the dates of tasks that still exist; these days were not recorded.".to_owned(),
    });
    let note = with_zone(matter, note);
    let ends = |values: &[Option<i64>]| {
        let mut known = values.iter().flatten();
        known.next().map(|first| (*first, *known.next_back().unwrap_or(first)))
    };
    let text = match ends(&estimated).or_else(|| ends(&measured)).zip(ends(&measured).or_else(|| ends(&estimated))) {
        Some(((from, _), (_, to))) => format!("Open tasks went from {from} to {to}."),
        None => "No day of the period has passed yet.".to_owned(),
    };
    let mut lines = vec![series("Recorded", Tone::Moving, measured)];
    if !estimated.is_empty() {
        lines.push(Series { dashed: true, ..series("Estimated from dates", Tone::Plain, estimated) });
    }
    let chart = Chart {
        shape: Shape::Lines,
        unit: "Open tasks".to_owned(),
        categories: each.iter().map(|day| language.short_date(*day)).collect(),
        text,
        series: lines,
    };
    Section { id: "burndown".to_owned(), title: "Open tasks".to_owned(), note, body: Body::Chart { chart } }
}

/// Says when recorded days end, where that is not when the report's do.
fn with_zone(matter: &Matter<'_>, note: Option<String>) -> Option<String> {
    let zone = matter.options.recorded_in;
    let ends = (zone != matter.options.days.zone).then(|| format!("Days are recorded as of midnight in {zone}."));
    note.into_iter().chain(ends).reduce(|note, ends| format!("{note} {ends}"))
}

/// Tasks in each bucket, day by day, as recorded.
pub(super) fn buckets_by_day(matter: &Matter<'_>) -> Section {
    let (days, language) = (matter.options.days, matter.options.language);
    let each: Vec<NaiveDate> = days.each().filter(|day| *day <= days.today).collect();
    let current: Vec<(String, usize)> =
        matter.plans.iter().flat_map(|plan| history::Snapshot::of(plan).buckets).collect();
    let mut names: Vec<String> = Vec::new();
    for (name, _) in &current {
        if !names.contains(name) {
            names.push(name.clone());
        }
    }
    let of_day = |day: NaiveDate| -> Option<Vec<(String, usize)>> {
        if day == days.today {
            return Some(current.clone());
        }
        let days = matter.histories.iter().map(|history| history.days.get(&day).map(|kept| kept.buckets.clone()));
        days.collect::<Option<Vec<_>>>().filter(|days| !days.is_empty()).map(|days| days.concat())
    };
    let kept: Vec<Option<Vec<(String, usize)>>> = each.iter().map(|day| of_day(*day)).collect();
    let mut bands: Vec<Series> = Vec::new();
    let count = |keep: &dyn Fn(&str) -> bool| -> Vec<Option<i64>> {
        let sum = |buckets: &Vec<(String, usize)>| {
            whole(buckets.iter().filter(|(name, _)| keep(name)).map(|(_, tasks)| tasks).sum())
        };
        kept.iter().map(|day| day.as_ref().map(sum)).collect()
    };
    let named = if names.len() > MOST_HUES { MOST_HUES - 1 } else { names.len() };
    for (hue, name) in names.iter().take(named).enumerate() {
        let tone = Tone::Hue(u8::try_from(hue).unwrap_or(0));
        bands.push(series(name, tone, count(&|other| other == name)));
    }
    let rest = count(&|other| !names.iter().take(named).any(|name| name == other));
    if rest.iter().flatten().any(|tasks| *tasks > 0) {
        bands.push(series("Other buckets", Tone::Waiting, rest));
    }
    let missing = kept.iter().filter(|day| day.is_none()).count();
    let chart = Chart {
        shape: Shape::Columns,
        unit: "Tasks".to_owned(),
        categories: each.iter().map(|day| language.short_date(*day)).collect(),
        text: format!("Tasks in {} buckets on {} recorded days.", names.len(), each.len() - missing),
        series: bands,
    };
    let note =
        (missing > 0).then(|| format!("{missing} of {} days were not recorded; they are left empty.", each.len()));
    let note = with_zone(matter, note);
    let title = "Tasks by bucket, day by day".to_owned();
    Section { id: "bucket_flow".to_owned(), title, note, body: Body::Chart { chart } }
}

/// Late tasks by how late they are.
pub(super) fn ages(matter: &Matter<'_>) -> Section {
    const SPANS: [(&str, i64, i64); 5] = [
        ("1 to 3 days", 1, 3),
        ("4 to 7 days", 4, 7),
        ("8 to 14 days", 8, 14),
        ("15 to 30 days", 15, 30),
        ("Over 30 days", 31, i64::MAX),
    ];
    let today = matter.options.days.today;
    let days: Vec<i64> =
        matter.plans.iter().flat_map(|plan| &plan.tasks).filter_map(|task| task.days_late(today)).collect();
    let count = |from: i64, to: i64| whole(days.iter().filter(|days| (from..=to).contains(*days)).count());
    let values: Vec<i64> = SPANS.iter().map(|(_, from, to)| count(*from, *to)).collect();
    let text = SPANS.iter().zip(&values).map(|((name, ..), tasks)| format!("{name}: {tasks}"));
    let chart = Chart {
        shape: Shape::Bars,
        unit: "Tasks".to_owned(),
        text: format!("Late tasks by how late they are. {}.", text.collect::<Vec<_>>().join("; ")),
        categories: SPANS.iter().map(|(name, ..)| (*name).to_owned()).collect(),
        series: vec![series("Late", Tone::Bad, values.into_iter().map(Some).collect())],
    };
    Section { id: "ages".to_owned(), title: "How late".to_owned(), note: None, body: Body::Chart { chart } }
}
