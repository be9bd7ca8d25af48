//! Plans made up for tests and benchmarks: always the same, and as awkward as people's own.

use chrono::{DateTime, NaiveDate, TimeDelta, Utc};

use super::history::{Change, History, Snapshot, State};
use crate::ids::Entropy;
use crate::services::planner::days::stored;
use crate::services::planner::facts::{ConflictFacts, PlanFacts, TaskFacts};

/// The instant tests happen at: a Wednesday, in the evening in Berlin.
#[must_use]
pub fn now() -> DateTime<Utc> {
    DateTime::from_timestamp(1_795_629_600, 0).unwrap_or_default()
}

/// Its day in Berlin.
#[must_use]
pub fn today() -> NaiveDate {
    now().with_timezone(&chrono_tz::Tz::Europe__Berlin).date_naive()
}

const PEOPLE: [&str; 9] = [
    "Ada Lovelace",
    "Grace Hopper",
    "Konrad Zuse",
    "José Ramón García-Ibáñez",
    "Zoë Ångström",
    "Oksana Шевченко",
    "محمد الفاسي",
    "山田 花子",
    "Maximiliane Freifrau von und zu Hohenstein-Lichtenberg",
];
const LABELS: [&str; 5] = ["Design", "Backend", "Content", "SEO", "Blocked"];
const BUCKETS: [&str; 5] = ["Ideas", "Design", "Development", "Review", "Live"];
const VERBS: [&str; 8] = ["Design", "Build", "Write copy for", "Translate", "Test", "Migrate", "Review", "Measure"];
const THINGS: [&str; 12] = [
    "the home page",
    "the product finder",
    "the pricing page",
    "the checkout",
    "the press area",
    "the Japanese pages (日本語)",
    "the cookie banner",
    "the contact form",
    "the search results",
    "the صفحة الاتصال",
    "=HYPERLINK(\"https://example.com\")",
    "a part of the site whose name is so long that no column of any report was ever made for it, which is the point <b>&amp;</b>",
];

/// A plan of so many tasks.
#[must_use]
pub fn plan(tasks: usize, today: NaiveDate) -> PlanFacts {
    make(Entropy::seeded(7), tasks, today)
}

/// A plan like [`plan()`], different for each seed.
#[must_use]
pub fn random(seed: u64, tasks: usize) -> PlanFacts {
    make(Entropy::seeded(seed), tasks, today())
}

fn make(entropy: Entropy, tasks: usize, today: NaiveDate) -> PlanFacts {
    let midday = today.and_time(chrono::NaiveTime::MIN).and_utc() + TimeDelta::hours(10);
    let mut maker = Maker { entropy, midday, today };
    PlanFacts {
        id: "mG22ATvlqed_oB26YJomLG_Zeksv".to_owned(),
        title: "Website relaunch".to_owned(),
        group: Some("Digital".to_owned()),
        buckets: BUCKETS.map(str::to_owned).to_vec(),
        tasks: (0..tasks).map(|n| maker.task(n)).collect(),
        as_of: Some(midday),
        pending: 2,
        conflicts: vec![ConflictFacts {
            at: midday - TimeDelta::days(2),
            title: "Test the checkout".to_owned(),
            field: "due".to_owned(),
            winner: "planner",
            reason: "both changed".to_owned(),
        }],
        note: None,
        sequence: 0,
    }
}

struct Maker {
    entropy: Entropy,
    midday: DateTime<Utc>,
    today: NaiveDate,
}

impl Maker {
    fn below(&mut self, limit: usize) -> usize {
        usize::try_from(self.entropy.number() % u64::try_from(limit).unwrap_or(1)).unwrap_or(0)
    }

    fn days(&mut self, limit: usize) -> TimeDelta {
        TimeDelta::days(i64::try_from(self.below(limit)).unwrap_or(0))
    }

    fn pick(&mut self, words: &[&str]) -> String {
        let place = self.below(words.len());
        words.get(place).copied().unwrap_or_default().to_owned()
    }

    fn task(&mut self, n: usize) -> TaskFacts {
        let bucket = self.below(BUCKETS.len());
        let percent = match bucket {
            0 => 0,
            4 => 100,
            _ => *[0, 50, 50, 100].get(self.below(4)).unwrap_or(&0),
        };
        let created_at = self.midday - self.days(60) - TimeDelta::minutes(1);
        let age = usize::try_from((self.midday - created_at).num_days()).unwrap_or(0);
        let completed_at = (percent == 100).then(|| created_at + self.days(age + 1));
        let mut assignees: Vec<String> = (0..self.below(3)).map(|_| self.pick(&PEOPLE)).collect();
        assignees.sort();
        assignees.dedup();
        let due = (self.below(4) > 0).then(|| self.today - TimeDelta::days(30) + self.days(75));
        let labels = (0..self.below(3)).map(|_| self.pick(&LABELS)).collect::<std::collections::BTreeSet<_>>();
        let items = u32::try_from(self.below(6)).unwrap_or(0);
        TaskFacts {
            id: format!("c4tz{n:010}"),
            planner_id: Some(format!("{n:028}")),
            title: format!("{} {}", self.pick(&VERBS), self.pick(&THINGS)),
            bucket: Some(bucket),
            percent,
            priority: *[1, 3, 5, 5, 9].get(self.below(5)).unwrap_or(&5),
            start_at: due.map(|due| stored(due - TimeDelta::days(5))),
            due_at: due.map(stored),
            start: due.map(|due| due - TimeDelta::days(5)),
            due,
            assignees,
            labels: labels.into_iter().collect(),
            created_at: Some(created_at),
            created_by: Some(self.pick(&PEOPLE)),
            completed_by: completed_at.map(|_| self.pick(&PEOPLE)),
            completed_at,
            checklist_items: items,
            open_checklist_items: if percent == 100 { 0 } else { items / 2 },
            checklist: (0..items).map(|item| format!("Step {}", item + 1)).collect(),
            description: if n.is_multiple_of(3) { "Agree on the goal.\nThen begin.".to_owned() } else { String::new() },
        }
    }
}

/// What was recorded of a plan on the twenty days before `today`.
#[must_use]
pub fn history(plan: &PlanFacts, today: NaiveDate) -> History {
    let mut history = History::default();
    let days = super::counts::Days { from: today, to: today, today, zone: chrono_tz::Tz::UTC };
    let now = Snapshot::of(plan);
    for back in 1..=20_usize {
        let day = today - TimeDelta::days(i64::try_from(back).unwrap_or(0));
        let open = super::history::reconstructed(plan, &days, day);
        let mut kept = Snapshot { not_started: open / 2, in_progress: open - open / 2, ..now.clone() };
        // The board filled from left to right.
        if let [first, .., last] = kept.buckets.as_mut_slice() {
            let moved = last.1.min(back);
            last.1 -= moved;
            first.1 += moved;
        }
        history.days.insert(day, kept);
    }
    for (n, task) in plan.tasks.iter().enumerate().take(12) {
        let state = |bucket: usize| State { bucket: plan.buckets.get(bucket).cloned(), percent: task.percent };
        let at = now_on(today) - TimeDelta::days(i64::try_from(n).unwrap_or(0));
        let change = Change { at, task: task.id.clone(), from: Some(state(n % 3)), to: Some(state(n % 3 + 1)) };
        history.changes.insert(0, change);
    }
    history
}

fn now_on(day: NaiveDate) -> DateTime<Utc> {
    day.and_time(chrono::NaiveTime::MIN).and_utc() + TimeDelta::hours(9)
}
