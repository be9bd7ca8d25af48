//! The past of plans that were made up: what is recorded, and whether it can contradict itself.

use proptest::prelude::*;

use super::*;
use crate::services::planner::facts::{Move, Step};
use crate::services::reports::build::build;
use crate::services::reports::counts::Days;
use crate::services::reports::model::Body;
use crate::services::reports::request::{Kind, ReportRequest};
use crate::services::reports::sample;
use crate::store::MemoryTables;

const ZONE: Tz = Tz::Europe__Berlin;

/// Midnight in Berlin at the start of a day.
fn midnight(n: i64) -> DateTime<Utc> {
    let day = day(n).and_time(chrono::NaiveTime::MIN);
    day.and_local_timezone(ZONE).single().unwrap().to_utc()
}

fn day(n: i64) -> NaiveDate {
    NaiveDate::from_ymd_opt(2026, 3, 20).unwrap() + chrono::TimeDelta::days(n) // the clocks change on the 29th
}

fn noon(n: i64) -> DateTime<Utc> {
    midnight(n) + chrono::TimeDelta::hours(12)
}

fn recorder() -> Recorder {
    Recorder::new(TenantTables::new(std::sync::Arc::new(MemoryTables::default()), "t"))
}

async fn record(recorder: &Recorder, plan: &PlanFacts, moves: &[Move], now: DateTime<Utc>) -> Outcome {
    let journal = |after| -> futures::future::BoxFuture<'_, Result<Vec<Move>, StoreError>> {
        let kept = moves.iter().filter(|step| step.number > after && step.number <= plan.sequence);
        Box::pin(std::future::ready(Ok(kept.cloned().collect())))
    };
    recorder.record(plan, &journal, ZONE, now).await.unwrap()
}

#[tokio::test]
async fn recording_a_day_twice_changes_nothing() {
    let recorder = recorder();
    let mut plan = sample::plan(20, day(0));
    assert_eq!(record(&recorder, &plan, &[], noon(0)).await, Outcome::Recorded);
    assert_eq!(record(&recorder, &plan, &[], noon(0)).await, Outcome::NothingNew);
    plan.tasks[3].percent = 100 - plan.tasks[3].percent.min(99);
    plan.tasks.remove(5);
    plan.sequence = 2;
    record(&recorder, &plan, &[], noon(1)).await;
    assert_eq!(record(&recorder, &plan, &[], noon(1)).await, Outcome::NothingNew);
    let history = recorder.read(&plan.id, day(0)).await.unwrap();
    assert_eq!((history.days.len(), history.changes.len()), (2, 2));
    let older = PlanFacts { sequence: 1, ..sample::plan(20, day(0)) };
    assert_eq!(record(&recorder, &older, &[], noon(1)).await, Outcome::NothingNew, "what is known is newer");
    assert_eq!(recorder.forget_before(&plan.id, day(1)).await.unwrap(), 1);
    assert_eq!(recorder.read(&plan.id, day(0)).await.unwrap().days.len(), 1);
}

#[tokio::test]
async fn concurrent_recorders_store_a_change_once() {
    let recorder = recorder();
    let mut plan = sample::plan(20, day(0));
    record(&recorder, &plan, &[], noon(0)).await;
    plan.tasks[3].bucket = plan.tasks[3].bucket.map(|place| (place + 1) % plan.buckets.len());
    let records = (0..20).map(|n| record(&recorder, &plan, &[], noon(1) + chrono::TimeDelta::milliseconds(n)));
    futures::future::join_all(records).await;
    assert_eq!(recorder.read(&plan.id, day(0)).await.unwrap().changes.len(), 1);
}

/// A task that went through two buckets between two records, on the evening before: each move keeps its hour, and the day
/// that ended meanwhile has the counts it ended with.
#[tokio::test]
async fn history_includes_journal_changes_between_recordings() {
    let recorder = recorder();
    let mut plan = sample::plan(6, day(0));
    for task in &mut plan.tasks {
        (task.bucket, task.percent) = (Some(0), 0);
    }
    record(&recorder, &plan, &[], noon(0)).await;
    let (task, to) = (plan.tasks[2].id.clone(), |place: usize| Some(plan.buckets.get(place).cloned()));
    let evening = midnight(1) - chrono::TimeDelta::minutes(20);
    let moved = |number, minutes, bucket, percent| Move {
        number,
        at: evening + chrono::TimeDelta::minutes(minutes),
        task: task.clone(),
        step: Step::Became { percent, bucket },
    };
    let moves = [moved(1, 0, to(2), None), moved(2, 10, to(3), Some(100)), moved(3, 60, to(4), None)];
    let mut later = PlanFacts { sequence: 3, ..plan.clone() };
    (later.tasks[2].bucket, later.tasks[2].percent) = (Some(4), 100);
    record(&recorder, &later, &moves, noon(1)).await;
    let history = recorder.read(&plan.id, day(0)).await.unwrap();
    assert_eq!(history.changes.iter().map(|change| change.at).collect::<Vec<_>>(), moves.clone().map(|step| step.at));
    let buckets = |n: i64| history.days[&day(n)].buckets.iter().map(|(_, tasks)| *tasks).collect::<Vec<_>>();
    assert_eq!((buckets(0), history.days[&day(0)].open()), (vec![5, 0, 0, 1, 0], 5), "as the day ended");
    assert_eq!((buckets(1), history.days[&day(1)].open()), (vec![5, 0, 0, 0, 1], 5));
}

/// Something that happens to a plan: minutes after what came before, to which task, and what.
#[derive(Debug, Clone)]
struct Deed {
    minutes: i64,
    place: usize,
    percent: u8,
    bucket: usize,
    what: u8,
    records: bool,
    swept: bool,
}

prop_compose! {
    fn deed()(
        minutes in 1i64..1500, place in 0usize..14, percent in prop::sample::select(vec![0u8, 50, 100]),
        bucket in 0usize..5, what in 0u8..8, records in prop::bool::weighted(0.3), swept in prop::bool::weighted(0.02),
    ) -> Deed {
        Deed { minutes, place, percent, bucket, what, records, swept }
    }
}

/// A plan that lives, and its journal.
struct Life {
    plan: PlanFacts,
    journal: Vec<Move>,
    made: usize,
}

impl Life {
    fn live(&mut self, deed: &Deed, at: DateTime<Utc>) {
        let Deed { place, percent, bucket, what, .. } = *deed;
        let name = |buckets: &[String]| Some(Some(buckets[bucket].clone()));
        let (task, step) = match (what, self.plan.tasks.get_mut(place)) {
            (0, Some(_)) => (self.plan.tasks.remove(place).id, Step::Gone),
            (1, _) | (_, None) => {
                self.made += 1;
                let mut task = sample::plan(1, day(0)).tasks.remove(0);
                task.id = format!("made{}", self.made);
                (task.percent, task.bucket, task.created_at) = (percent, Some(bucket), Some(at));
                task.completed_at = (percent == 100).then_some(at);
                self.plan.tasks.push(task.clone());
                (task.id, Step::Became { percent: Some(percent), bucket: name(&self.plan.buckets) })
            }
            (_, Some(task)) => {
                let moved = (task.bucket != Some(bucket)).then(|| name(&self.plan.buckets)).flatten();
                let went = (task.percent != percent).then_some(percent);
                if went.is_some() {
                    task.completed_at = (percent == 100).then_some(at);
                }
                (task.percent, task.bucket) = (percent, Some(bucket));
                (task.id.clone(), Step::Became { percent: went, bucket: moved })
            }
        };
        self.plan.sequence += 1;
        self.journal.push(Move { number: self.plan.sequence, at, task, step });
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    /// However seldom and late a plan is recorded, a burndown says of every recorded day what the journal says of its end; and
    /// the changes that were kept lead from each recorded day to the next. Where events are lost, the changes still do.
    #[test]
    fn burndown_agrees_with_the_journal(deeds in prop::collection::vec(deed(), 1..80)) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let recorder = recorder();
        let mut life = Life { plan: sample::plan(12, day(0)), journal: Vec::new(), made: 0 };
        let first = states(&life.plan);
        let (mut now, mut whole) = (noon(0), true);
        runtime.block_on(record(&recorder, &life.plan, &[], now));
        // What was open at the end of each day, straight from the plan's life.
        let mut ends: BTreeMap<NaiveDate, usize> = BTreeMap::new();
        let today = |now: DateTime<Utc>| now.with_timezone(&ZONE).date_naive();
        for deed in &deeds {
            let open = life.plan.tasks.iter().filter(|task| task.is_open()).count();
            let then = now + chrono::TimeDelta::minutes(deed.minutes);
            today(now).iter_days().take_while(|day| *day < today(then)).for_each(|day| { ends.insert(day, open); });
            now = then;
            life.live(deed, now);
            if deed.swept {
                life.journal.clear();
                whole = false;
            }
            if deed.records {
                runtime.block_on(record(&recorder, &life.plan, &life.journal, now));
            }
        }
        runtime.block_on(record(&recorder, &life.plan, &life.journal, now));
        let history = runtime.block_on(recorder.read(&life.plan.id, day(0))).unwrap();

        let (mut known, mut changes) = (first, history.changes.iter().peekable());
        for (date, snapshot) in &history.days {
            while let Some(change) = changes.next_if(|change| today(change.at) <= *date) {
                prop_assert_eq!(known.get(&change.task), change.from.as_ref());
                match &change.to {
                    Some(state) => { known.insert(change.task.clone(), state.clone()); }
                    None => { known.remove(&change.task); }
                }
            }
            prop_assert_eq!(snapshot, &Snapshot::counted(&known, &life.plan.buckets));
        }
        prop_assert!(changes.next().is_none());
        if !whole {
            return Ok(());
        }

        let request = ReportRequest { kind: Some(Kind::Burndown), from: Some(day(0).to_string()), ..ReportRequest::default() };
        let options = request.understand(now, ZONE).unwrap();
        let Days { from, to, .. } = options.days;
        let open_now = life.plan.tasks.iter().filter(|task| task.is_open()).count();
        let report = build("r".into(), &options, &[life.plan], &[history]);
        let burndown = report.sections.iter().find(|section| section.id == "burndown").unwrap();
        let Body::Chart { chart } = &burndown.body else { panic!("a chart") };
        let drawn = &chart.series.iter().find(|series| !series.dashed).unwrap().values;
        for (day, value) in from.iter_days().take_while(|day| *day <= to).zip(drawn) {
            let end = ends.get(&day).copied().unwrap_or(open_now);
            prop_assert!(value.is_none_or(|value| value == i64::try_from(end).unwrap()), "{day}: {value:?}, not {end}");
        }
        prop_assert_eq!(drawn.last().copied().flatten(), i64::try_from(open_now).ok());
    }
}

#[test]
fn history_of_the_largest_plan_fits_the_row_limits() {
    const MOST_UNITS: usize = 491_520; // of a row in Table Storage
    let name = |bucket: usize| format!("{bucket:02} {}", "ж".repeat(250));
    let state = |nth: usize| State { bucket: Some(name(nth % 50)), percent: 50 };
    let tasks: States = (0..12_000).map(|nth| (format!("abcd{nth:010}"), state(nth))).collect();
    let text = serde_json::to_string(&Packed::of(1, 2, noon(0), &tasks)).unwrap();
    assert!(text.encode_utf16().count() < MOST_UNITS, "{}", text.len());
    assert_eq!(serde_json::from_str::<Last>(&text).unwrap().tasks, tasks);
    let older = r#"{"records":1,"tasks":{"abcd1":{"b":"To do","p":50},"abcd2":{"p":0}}}"#;
    let older: Last = serde_json::from_str(older).unwrap();
    assert_eq!((older.tasks["abcd1"].bucket.as_deref(), older.tasks["abcd2"].bucket.as_deref()), (Some("To do"), None));

    let change = |(task, state): (&String, &State)| Change {
        at: noon(0),
        task: task.clone(),
        from: Some(state.clone()),
        to: Some(State { bucket: Some("Waiting for customer".to_owned()), percent: 50 }),
    };
    let changes: Vec<Change> = tasks.iter().map(change).collect();
    let rows: Vec<&[Change]> = rows_of(&changes).collect();
    assert_eq!(rows.concat(), changes, "none is left out");
    for row in rows {
        assert!(serde_json::to_string(row).unwrap().encode_utf16().count() < MOST_UNITS);
    }
    assert_eq!(rows_of(&[]).count(), 0);
}
