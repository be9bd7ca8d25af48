//! From facts, history and what is asked for to a report; pure.

mod charts;
mod lists;
mod sections;
mod summary;

use super::counts::{self, Counts, Groups};
use super::history::History;
use super::model::{PlanName, Report};
use super::request::{Grouping, Options};
use crate::services::planner::facts::PlanFacts;

/// What sections are made of.
pub(super) struct Matter<'a> {
    options: &'a Options,
    plans: &'a [PlanFacts],
    histories: &'a [History],
    counts: Counts,
    groups: Groups,
}

/// Makes a report. `histories` are in the order of `plans`.
#[must_use]
pub fn build(id: String, options: &Options, plans: &[PlanFacts], histories: &[History]) -> Report {
    let days = &options.days;
    let counts = counts::total(plans.iter().flat_map(|plan| &plan.tasks), days);
    let groups = counts::group(plans, options.group_by, days);
    let matter = Matter { options, plans, histories, counts, groups };
    let sections = sections::of(&matter);
    let summary = summary::write(&matter);
    let subject = match plans {
        [only] => only.title.clone(),
        plans => format!("{} plans", options.language.number(super::model::whole(plans.len()))),
    };
    let mut notes: Vec<String> = plans.iter().filter_map(|plan| plan.note.clone()).collect();
    notes.sort();
    notes.dedup();
    if matter.groups.overlap.tasks > 0 && options.group_by != Grouping::None {
        notes.push(format!(
            "Tasks of several {} are in each of their groups; the total counts them once.",
            if options.group_by == Grouping::Label { "labels" } else { "people" }
        ));
    }
    Report {
        id,
        kind: options.kind,
        title: format!("{}: {subject}", options.kind.heading()),
        plans: plans.iter().map(name).collect(),
        from: days.from,
        to: days.to,
        time_zone: days.zone.name().to_owned(),
        language: options.language.code().to_owned(),
        audience: options.audience,
        group_by: options.group_by,
        generated_at: options.now,
        as_of: plans.iter().filter_map(|plan| plan.as_of).min(),
        summary,
        counts,
        groups: matter.groups.groups.clone(),
        overlap: matter.groups.overlap,
        sections,
        notes,
        tasks: lists::all(&matter),
    }
}

fn name(plan: &PlanFacts) -> PlanName {
    PlanName { id: plan.id.clone(), title: plan.title.clone(), group: plan.group.clone() }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use chrono::NaiveDate;
    use proptest::prelude::*;

    use super::*;
    use crate::services::reports::model::Body;
    use crate::services::reports::request::{Audience, Kind, ReportRequest};
    use crate::services::reports::sample;

    fn report(plans: &[PlanFacts], request: &ReportRequest) -> Report {
        let options = request.understand(sample::now(), chrono_tz::Tz::Europe__Berlin).unwrap();
        let histories: Vec<History> = plans.iter().map(|plan| sample::history(plan, options.days.today)).collect();
        build("r".into(), &options, plans, &histories)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]

        /// For all tasks and groupings, the groups make the whole: for every counter, not for tasks alone.
        #[test]
        fn group_counts_sum_to_the_total_in_every_grouping(seed in any::<u64>(), tasks in 0usize..300, plans in 1usize..4) {
            let plans: Vec<PlanFacts> = (0..plans).map(|n| sample::random(seed.wrapping_add(n as u64), tasks)).collect();
            for group_by in Grouping::ALL {
                let request = ReportRequest { group_by: Some(group_by), kind: Some(Kind::Summary), ..ReportRequest::default() };
                let report = report(&plans, &request);
                let sum = report.groups.iter().fold(Counts::default(), |sum, group| sum + group.counts);
                prop_assert_eq!(sum, report.counts + report.overlap, "{:?}", group_by);
                let counts = report.counts;
                prop_assert_eq!(counts.open() + counts.completed, counts.tasks);
                prop_assert_eq!(report.tasks.len(), counts.tasks);
            }
        }
    }

    #[test]
    fn every_report_type_and_audience_has_its_sections_and_a_summary_with_the_counts() {
        let plans = [sample::plan(200, sample::today()), sample::plan(0, sample::today())];
        for kind in Kind::ALL {
            for audience in [Audience::Executive, Audience::TeamLead, Audience::Contributor, Audience::Client] {
                if kind == Kind::Workload && audience == Audience::Client {
                    continue;
                }
                let request = ReportRequest { kind: Some(kind), audience: Some(audience), ..ReportRequest::default() };
                for plans in [&plans[..1], &plans[1..], &plans[..]] {
                    let report = report(plans, &request);
                    assert!(!report.sections.is_empty(), "{kind:?} {audience:?}");
                    let words = report.summary.split_whitespace().count();
                    assert!((8..=90).contains(&words), "{words}: {}", report.summary);
                    let ids: BTreeSet<&str> = report.sections.iter().map(|section| section.id.as_str()).collect();
                    assert_eq!(ids.len(), report.sections.len(), "{kind:?} {audience:?}: a section comes twice");
                    if kind != Kind::SyncHealth {
                        let (tasks, open) = (report.counts.tasks, report.counts.open());
                        let counted = format!("{tasks} task{}, {open} open", if tasks == 1 { "" } else { "s" });
                        assert!(report.summary.contains(&counted), "{counted}: {}", report.summary);
                        assert_eq!(tasks, plans.iter().map(|plan| plan.tasks.len()).sum::<usize>());
                    }
                }
            }
        }
    }

    #[test]
    fn client_reports_contain_no_assignee_names() {
        let plans = [sample::plan(200, sample::today())];
        let names: Vec<&String> = plans[0].tasks.iter().flat_map(|task| &task.assignees).collect();
        assert!(!names.is_empty());
        for kind in Kind::ALL.into_iter().filter(|kind| *kind != Kind::Workload) {
            let request =
                ReportRequest { kind: Some(kind), audience: Some(Audience::Client), ..ReportRequest::default() };
            let text = serde_json::to_string(&report(&plans, &request)).unwrap();
            for name in &names {
                assert!(!text.contains(name.as_str()), "{kind:?} names {name}");
            }
        }
    }

    #[test]
    fn burndown_marks_days_before_recording_as_not_recorded() {
        let plan = sample::plan(50, sample::today());
        let request = ReportRequest { kind: Some(Kind::Burndown), ..ReportRequest::default() };
        let options = request.understand(sample::now(), chrono_tz::Tz::UTC).unwrap();
        let first: NaiveDate = options.days.from + chrono::TimeDelta::days(5);
        let mut history = sample::history(&plan, options.days.today);
        history.days.retain(|day, _| *day >= first);
        let report = build("r".into(), &options, &[plan], &[history]);
        let chart = report.sections.iter().find_map(|section| match &section.body {
            Body::Chart { chart } if section.id == "burndown" => Some((chart, section.note.clone())),
            _ => None,
        });
        let (chart, note) = chart.unwrap();
        let recorded = chart.series.iter().find(|series| !series.dashed).unwrap();
        let dashed = chart.series.iter().find(|series| series.dashed).unwrap();
        assert!(recorded.values[..5].iter().all(Option::is_none) && recorded.values[5].is_some());
        assert!(dashed.values[..5].iter().all(Option::is_some) && dashed.values[6].is_none());
        assert!(note.unwrap().starts_with("Estimated before"));
    }
}
