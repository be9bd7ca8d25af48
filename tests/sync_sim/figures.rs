//! `--figures`: what following Planner costs, counted in virtual time on a simulated Planner.
//!
//! Every item of a call counts as one call, as Planner counts the parts of a batch; a plan with its labels and buckets
//! counts as three.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use chrono::{DateTime, TimeDelta, Utc};
use graphgate::clock::Clock;
use graphgate::http_client::breaker::{Breaker, Verdict};
use graphgate::ids::{Entropy, PlanId, PlanKey, PlannerTaskId, TaskId};
use graphgate::rows::{StoreError, TenantTables};
use graphgate::store::MemoryTables;
use graphgate::sync::journal::{self, Edit};
use graphgate::sync::model::{Bucket, DetailFields, FieldEdit, FieldValue, TaskFacts, TaskFields};
use graphgate::sync::ports::{
    DetailChanges, Planner, RemoteDetails, RemoteError, RemoteErrorKind, RemotePlan, RemoteResult, RemoteTask,
    TaskChanges,
};
use graphgate::sync::pusher::Pusher;
use graphgate::sync::schedule::{Pace, due};
use graphgate::sync::worker::Worker;
use graphgate::sync::{Engine, Outcome, PlanHandle, Replica, Settings};

use super::exec::{Executor, Owner, Rng, Time};
use super::world::bucket_id;

const SECOND: i64 = 1_000;
const HOUR: i64 = 3_600 * SECOND;
/// How long a call takes, in ms.
const LATENCY: i64 = 100;

/// The tasks of a plan, with their details.
type Tasks = BTreeMap<PlannerTaskId, (RemoteTask, RemoteDetails)>;

/// A Planner of several plans that counts, behind the breaker of the real client.
struct Counting {
    time: Arc<Time>,
    clock: Clock,
    down: AtomicBool,
    reads: AtomicU64,
    writes: AtomicU64,
    breaker: Mutex<Breaker>,
    plans: Mutex<BTreeMap<PlanId, Tasks>>,
    versions: AtomicU64,
}

impl Counting {
    fn new(time: &Arc<Time>) -> Arc<Self> {
        Arc::new(Self {
            time: time.clone(),
            clock: time.clock_ahead(0),
            down: AtomicBool::new(false),
            reads: AtomicU64::new(0),
            writes: AtomicU64::new(0),
            breaker: Mutex::default(),
            plans: Mutex::default(),
            versions: AtomicU64::new(1),
        })
    }

    fn version(&self) -> u64 {
        self.versions.fetch_add(1, Ordering::Relaxed)
    }

    fn etag(&self) -> String {
        format!("W/\"{:012}\"", self.version())
    }

    fn calls(&self) -> u64 {
        self.reads.load(Ordering::Relaxed) + self.writes.load(Ordering::Relaxed)
    }

    /// One call of so many items: what the breaker lets through is counted, and takes its time.
    async fn call(&self, counter: &AtomicU64, items: usize) -> RemoteResult<()> {
        let ticket = self.breaker.lock().unwrap().admit(self.clock.now());
        let ticket = ticket.map_err(|wait| not_now(wait, "calls are held back"))?;
        counter.fetch_add(items as u64, Ordering::Relaxed);
        self.time.wait(LATENCY).await;
        let down = self.down.load(Ordering::Relaxed);
        let verdict = if down { Verdict::Failure } else { Verdict::Success };
        self.breaker.lock().unwrap().record(self.clock.now(), ticket, verdict);
        if down { Err(not_now(Duration::from_secs(2), "503")) } else { Ok(()) }
    }

    fn with<T>(&self, id: &PlannerTaskId, change: impl FnOnce(&mut RemoteTask, &mut RemoteDetails) -> T) -> Option<T> {
        let mut plans = self.plans.lock().unwrap();
        let (task, details) = plans.values_mut().find_map(|tasks| tasks.get_mut(id))?;
        Some(change(task, details))
    }

    /// A new task of a plan.
    fn add(&self, plan: &PlanId, fields: TaskFields) -> RemoteTask {
        let (etag, number) = (self.etag(), self.version());
        let id = PlannerTaskId::parse(&format!("{number:028}")).unwrap();
        let fields = TaskFields { details: None, ..fields };
        let task = RemoteTask { id: id.clone(), etag: etag.clone(), fields, facts: TaskFacts::default() };
        let details = RemoteDetails { etag, fields: DetailFields::default() };
        self.plans.lock().unwrap().entry(plan.clone()).or_default().insert(id, (task.clone(), details));
        task
    }
}

fn not_now(wait: Duration, text: &str) -> RemoteError {
    RemoteError::new(RemoteErrorKind::NotNow(wait), text)
}

fn all<T>(count: usize, error: &RemoteError) -> Vec<RemoteResult<T>> {
    (0..count).map(|_| Err(error.clone())).collect()
}

#[async_trait]
impl Planner for Counting {
    async fn plan(&self, plan: &PlanId) -> RemoteResult<Option<RemotePlan>> {
        self.call(&self.reads, 3).await?;
        let bucket = Bucket { id: bucket_id(0), name: "b".into(), order_hint: String::new(), etag: "1".into() };
        Ok(Some(RemotePlan {
            id: plan.clone(),
            title: "plan".into(),
            etag: "1".into(),
            group: None,
            created_at: None,
            buckets: vec![bucket],
            category_names: BTreeMap::new(),
            details_etag: "1".into(),
        }))
    }

    async fn tasks(&self, plan: &PlanId) -> RemoteResult<Vec<RemoteTask>> {
        self.call(&self.reads, 1).await?;
        let plans = self.plans.lock().unwrap();
        Ok(plans.get(plan).into_iter().flatten().map(|(_, (task, _))| task.clone()).collect())
    }

    async fn read(&self, ids: &[PlannerTaskId]) -> Vec<RemoteResult<Option<RemoteTask>>> {
        match self.call(&self.reads, ids.len()).await {
            Ok(()) => ids.iter().map(|id| Ok(self.with(id, |task, _| task.clone()))).collect(),
            Err(error) => all(ids.len(), &error),
        }
    }

    async fn read_details(&self, ids: &[PlannerTaskId]) -> Vec<RemoteResult<Option<RemoteDetails>>> {
        match self.call(&self.reads, ids.len()).await {
            Ok(()) => ids.iter().map(|id| Ok(self.with(id, |_, details| details.clone()))).collect(),
            Err(error) => all(ids.len(), &error),
        }
    }

    async fn create(&self, plan: &PlanId, tasks: &[TaskFields]) -> Vec<RemoteResult<RemoteTask>> {
        match self.call(&self.writes, tasks.len()).await {
            Ok(()) => tasks.iter().map(|fields| Ok(self.add(plan, fields.clone()))).collect(),
            Err(error) => all(tasks.len(), &error),
        }
    }

    async fn update(&self, changes: &[(PlannerTaskId, String, TaskChanges)]) -> Vec<RemoteResult<RemoteTask>> {
        if let Err(error) = self.call(&self.writes, changes.len()).await {
            return all(changes.len(), &error);
        }
        let apply = |(id, _, change): &(PlannerTaskId, String, TaskChanges)| {
            let etag = self.etag();
            let changed = self.with(id, |task, _| {
                task.etag = etag;
                task.fields.title = change.title.clone().unwrap_or(task.fields.title.clone());
                task.fields.percent_complete = change.percent_complete.unwrap_or(task.fields.percent_complete);
                task.clone()
            });
            changed.ok_or(RemoteError::new(RemoteErrorKind::Gone, "404"))
        };
        changes.iter().map(apply).collect()
    }

    async fn update_details(
        &self,
        changes: &[(PlannerTaskId, String, DetailChanges)],
    ) -> Vec<RemoteResult<RemoteDetails>> {
        if let Err(error) = self.call(&self.writes, changes.len()).await {
            return all(changes.len(), &error);
        }
        let apply = |(id, _, change): &(PlannerTaskId, String, DetailChanges)| {
            let etag = self.etag();
            let changed = self.with(id, |task, details| {
                details.etag = etag;
                details.fields.description = change.description.clone().unwrap_or_default();
                task.facts.has_description = !details.fields.description.is_empty(); // listed with the ETag it had
                details.clone()
            });
            changed.ok_or(RemoteError::new(RemoteErrorKind::Gone, "404"))
        };
        changes.iter().map(apply).collect()
    }

    async fn delete(&self, tasks: &[(PlannerTaskId, String)]) -> Vec<RemoteResult<()>> {
        match self.call(&self.writes, tasks.len()).await {
            Ok(()) => tasks.iter().map(|_| Ok(())).collect(),
            Err(error) => all(tasks.len(), &error),
        }
    }
}

fn fields(title: String) -> TaskFields {
    TaskFields { title, bucket: Some(bucket_id(0)), ..TaskFields::blank().with_details() }
}

fn edit(at: DateTime<Utc>, number: u64) -> Edit {
    Edit { operation: format!("op{number}"), at, by: "agent".into(), rows: Vec::new() }
}

/// The program's parts over a Planner that counts.
struct Deployment {
    time: Arc<Time>,
    clock: Clock,
    planner: Arc<Counting>,
    engine: Arc<Engine>,
    pusher: Pusher,
    plans: Vec<Arc<PlanHandle>>,
    executor: Executor,
}

impl Deployment {
    fn new(plans: usize) -> Self {
        let time = Time::new();
        let clock = time.clock_ahead(0);
        let planner = Counting::new(&time);
        let engine = Arc::new(Engine::new(planner.clone(), clock.clone(), Settings::default()));
        let (worker, pusher) = Worker::new(engine.clone(), clock.clone());
        let tables = TenantTables::new(Arc::new(MemoryTables::default()), "tenant");
        let handle = |number: usize| {
            let id = PlanId::parse(&format!("plan{number:024}")).unwrap();
            let key = PlanKey::derive(&id, 0);
            Arc::new(PlanHandle::new(&tables, id, key, clock.clone(), "only".into()))
        };
        let plans = (0..plans).map(handle).collect();
        let executor = Executor::new(time.clone());
        time.start(Owner::World, worker.run());
        Self { time, clock, planner, engine, pusher, plans, executor }
    }

    /// Refreshes each plan when it is due.
    fn refresh(&self) {
        for plan in &self.plans {
            let (time, clock, engine, plan) =
                (self.time.clone(), self.clock.clone(), self.engine.clone(), plan.clone());
            self.time.start(Owner::World, async move {
                loop {
                    let now = clock.now();
                    if due(&plan.activity(), Pace::default(), now) <= now {
                        let _ = engine.refresh(&plan, now).await; // a failure is counted by the plan's activity
                    }
                    time.wait(2 * SECOND).await;
                }
            });
        }
    }

    fn run_until(&mut self, millis: i64) {
        let rng = Mutex::new(Rng(1));
        assert!(!self.executor.run(&rng, millis, u64::MAX), "time was reached");
    }
}

/// A figure: its name, the demand, what was counted, and whether it holds.
type Line = (String, String, String, bool);

/// 20 plans of 200 tasks, 4 of them active; 100 edits of people and 300 of agents an hour, for six hours.
fn reference_load() -> Vec<Line> {
    let mut deployment = Deployment::new(20);
    for plan in &deployment.plans {
        for number in 0..200 {
            deployment.planner.add(&plan.id, fields(format!("Task {number}")));
        }
    }
    deployment.refresh();
    deployment.run_until(4 * HOUR); // until quiet plans are known to be quiet
    let (reads, writes) =
        (deployment.planner.reads.load(Ordering::Relaxed), deployment.planner.writes.load(Ordering::Relaxed));
    let staleness: Arc<Mutex<Vec<i64>>> = Arc::default();
    let mut rng = Rng(7);
    const HOURS: i64 = 6;
    let moment = |rng: &mut Rng| 4 * HOUR + rng.below((HOURS * HOUR) as u64) as i64;
    for number in 0..100 * HOURS {
        let (at, plan, task) = (moment(&mut rng), rng.below(4) as usize, rng.below(200) as usize);
        let (time, planner, plan, seen) =
            (deployment.time.clone(), deployment.planner.clone(), deployment.plans[plan].clone(), staleness.clone());
        deployment.time.start(Owner::World, async move {
            time.wait(at - time.millis()).await;
            let title = format!("Person {number}");
            let id = planner.plans.lock().unwrap()[&plan.id].keys().nth(task).unwrap().clone();
            let etag = planner.etag();
            planner.with(&id, |task, _| (task.etag, task.fields.title) = (etag, title.clone()));
            let here = || plan.read().id_of(&id).and_then(|id| Some(plan.read().task(id)?.fields.title.clone()));
            let from = time.millis();
            while here().as_ref() != Some(&title) && time.millis() < from + HOUR {
                time.wait(500).await;
                // Overwritten by a later edit: what matters is that something newer than before is shown.
                if here().is_some_and(|shown| shown.starts_with("Person") && shown > title) {
                    break;
                }
            }
            seen.lock().unwrap().push(time.millis() - from);
        });
    }
    for number in 0..300 * HOURS as u64 {
        let (at, plan, task) = (moment(&mut rng), rng.below(4) as usize, rng.below(200) as usize);
        let (time, clock, engine, pusher, plan) = (
            deployment.time.clone(),
            deployment.clock.clone(),
            deployment.engine.clone(),
            deployment.pusher.clone(),
            deployment.plans[plan].clone(),
        );
        deployment.time.start(Owner::World, async move {
            time.wait(at - time.millis()).await;
            plan.note(|activity| activity.used_at = Some(clock.now()));
            // As the service does it: an answer rests on a refresh of the last half minute.
            let oldest = clock.now() - TimeDelta::seconds(30);
            if plan.as_of().is_none_or(|as_of| as_of < oldest) {
                let _ = engine.refresh(&plan, oldest).await;
            }
            let id: TaskId = plan.read().records().nth(task).unwrap().id.clone();
            let wish = FieldEdit::Set(if number.is_multiple_of(5) {
                FieldValue::Description(format!("Text {number}"))
            } else {
                FieldValue::PercentComplete([0, 50, 100][number as usize % 3])
            });
            let written = plan
                .transact(|replica: &Replica| {
                    let step = replica
                        .task(&id)
                        .and_then(|task| journal::update(task, std::slice::from_ref(&wish), edit(clock.now(), number)));
                    Ok::<_, StoreError>((step.unwrap_or_default(), ()))
                })
                .await;
            written.unwrap();
            let _ = pusher.push_op(&plan, &id, None, Duration::from_secs(5)).await;
        });
    }
    deployment.run_until((4 + HOURS) * HOUR + HOUR / 4); // the last ones get their time
    let hours = HOURS as f64;
    let reads = (deployment.planner.reads.load(Ordering::Relaxed) - reads) as f64 / hours;
    let writes = (deployment.planner.writes.load(Ordering::Relaxed) - writes) as f64 / hours;
    let each_task = 20.0 * 200.0 * 120.0;
    let each_plan = 20.0 * 120.0;
    let mut seen = staleness.lock().unwrap().clone();
    seen.sort_unstable();
    assert_eq!(seen.len() as i64, 100 * HOURS, "every edit is followed");
    let p95 = seen[seen.len() * 95 / 100] as f64 / 1_000.0;
    // Reading counts: what agents write costs the same for any way to follow Planner.
    let fewer = |than: f64| 100.0 * (1.0 - reads / than);
    vec![
        (
            "reading calls an hour at the reference load, against one GET a task every 30 s".into(),
            "≥ 95 % fewer".into(),
            format!("{reads:.0} instead of {each_task:.0}: {:.1} % fewer ({writes:.0} writes)", fewer(each_task)),
            fewer(each_task) >= 95.0,
        ),
        (
            "the same, against listing every plan every 30 s".into(),
            "≥ 50 % fewer".into(),
            format!("{reads:.0} instead of {each_plan:.0}: {:.1} % fewer", fewer(each_plan)),
            fewer(each_plan) >= 50.0,
        ),
        (
            "age of a person's edit when it is shown, active plans, p95".into(),
            "≤ 30 s".into(),
            format!("{p95:.1} s of {} edits", seen.len()),
            p95 <= 30.0,
        ),
    ]
}

/// Graph is down for a day while 10,000 creates wait in ten plans.
fn outage() -> Vec<Line> {
    const EACH: u64 = 1_000;
    let mut deployment = Deployment::new(10);
    deployment.refresh();
    deployment.run_until(HOUR);
    let before = deployment.planner.calls();
    deployment.planner.down.store(true, Ordering::Relaxed);
    let arrived = Arc::new(AtomicU64::new(0));
    for (place, plan) in deployment.plans.iter().enumerate() {
        let (time, clock, pusher, plan, arrived) = (
            deployment.time.clone(),
            deployment.clock.clone(),
            deployment.pusher.clone(),
            plan.clone(),
            arrived.clone(),
        );
        deployment.time.start(Owner::World, async move {
            let entropy = Entropy::seeded(place as u64 + 1);
            for number in 0..EACH {
                let id = TaskId::random(&plan.key, &entropy);
                let wanted = fields(format!("Task {number}"));
                let written = plan.transact(|_: &Replica| {
                    let step = journal::create(id.clone(), wanted.clone(), edit(clock.now(), number));
                    Ok::<_, StoreError>((step, ()))
                });
                written.await.unwrap();
                let outcome = pusher.start(&plan, &id);
                let arrived = arrived.clone();
                time.start(Owner::World, async move {
                    if matches!(outcome.await, Ok(Outcome::Synced { .. })) {
                        arrived.fetch_add(1, Ordering::Relaxed);
                    }
                });
                time.wait(SECOND).await;
            }
        });
    }
    deployment.run_until(25 * HOUR);
    let during = deployment.planner.calls() - before;
    deployment.planner.down.store(false, Ordering::Relaxed);
    let mut minutes = 0;
    let pending = |deployment: &Deployment| -> usize {
        deployment.plans.iter().map(|plan| plan.read().records().filter(|record| record.is_dirty()).count()).sum()
    };
    while pending(&deployment) > 0 && minutes < 60 {
        minutes += 1;
        deployment.run_until(25 * HOUR + minutes * 60 * SECOND);
    }
    let there: usize = deployment.planner.plans.lock().unwrap().values().map(BTreeMap::len).sum();
    let calls = deployment.planner.calls() - before;
    let necessary = 10 * EACH;
    let ratio = calls as f64 / necessary as f64;
    vec![
        (
            "Graph down for a day with 10,000 creates waiting: tasks on Planner afterwards".into(),
            "10,000, each once".into(),
            format!("{there}, {} waiting, after {minutes} min", pending(&deployment)),
            there == 10_000 && pending(&deployment) == 0,
        ),
        (
            "the same: calls, looks included, against the necessary ones".into(),
            "≤ 1.2".into(),
            format!("{ratio:.3} ({during} of {calls} during the outage)"),
            ratio <= 1.2,
        ),
    ]
}

/// Prints all figures; answers how the process ends.
pub fn run() -> i32 {
    let lines: Vec<Line> = [reference_load(), outage()].into_iter().flatten().collect();
    println!("| figure | demanded | counted | holds |\n|---|---|---|---|");
    for (name, demanded, counted, holds) in &lines {
        println!("| {name} | {demanded} | {counted} | {} |", if *holds { "yes" } else { "**no**" });
    }
    i32::from(lines.iter().any(|line| !line.3))
}
