//! One history: an instance of the engine, an agent, people, a scheduler, crashes; then peace, and the checks.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use chrono::TimeDelta;
use graphgate::clock::Clock;
use graphgate::ids::{Entropy, PlanKey, PlannerTaskId, TaskId, UserId};
use graphgate::rows::{StoreError, Tables, TenantTables, Write};
use graphgate::sync::field_value::change_field;
use graphgate::sync::journal::{self, Edit};
use graphgate::sync::model::{
    Field, FieldChange, FieldEdit, FieldValue, OfField, OpKind, OpRecord, Reference, TaskFields,
};
use graphgate::sync::pusher::Pusher;
use graphgate::sync::worker::Worker;
use graphgate::sync::{Engine, Outcome, PlanHandle, RefreshError, Replica, Settings};

use super::check;
use super::exec::{Executor, Owner, Rng, Time, instant};
use super::faults::{Faults, Shape, Sweep};
use super::tables::SimTables;
use super::truth::text;
use super::world::{APP, FakePlanner, LONGEST_PAUSE, PlanTrouble, Sim, State, bucket_id, plan_id};

/// Longer than any answer of Planner is under way, in ms.
const SLOWEST_ANSWER: i64 = 5_000;
/// How long after the last fault everything must have arrived (I-25), in ms: five minutes and Planner's settle time.
const PEACE: i64 = 5 * 60_000 + 30_000;
/// The plan's partition.
pub const PARTITION: &str = "tenant|plan000000000000000000000000";

/// What a history showed.
pub struct Report {
    pub breaches: Vec<String>,
    pub seen: BTreeMap<&'static str, u64>,
    pub hash: u64,
    pub steps: u64,
    pub trace: Vec<String>,
}

/// The running instance, as its callers see it.
#[derive(Clone)]
struct Instance {
    engine: Arc<Engine>,
    pusher: Pusher,
    handle: Arc<PlanHandle>,
    clock: Clock,
}

/// The instances that run.
type Slots = Arc<Mutex<Vec<Instance>>>;

impl Instance {
    /// Makes the plan answerable, as the Planner service does.
    async fn ready(&self, max_age: i64) -> Result<(), StoreError> {
        self.handle.ensure_current().await?;
        let oldest = self.clock.now() - TimeDelta::milliseconds(max_age);
        let first = self.handle.as_of().is_none();
        let now = self.clock.now();
        self.handle.note(|activity| activity.used_at = Some(now));
        if self.handle.as_of().is_some_and(|as_of| as_of >= oldest) {
            return Ok(());
        }
        let _ = self.engine.refresh(&self.handle, oldest).await;
        if self.handle.sequence().is_multiple_of(4) {
            self.handle.put_away(); // as where memory is used up
        }
        if first {
            self.pusher.resume(&self.handle);
        }
        Ok(())
    }
}

fn start_instance(number: usize, sim: &Arc<Sim>, tables: &Arc<SimTables>, slots: &Slots) {
    let skew = sim.state().shape.skews.get(number).copied().unwrap_or(0);
    let planner = FakePlanner { sim: sim.clone(), skew };
    let clock = sim.time.clock_ahead(skew);
    let settings = Settings { application_id: Some(APP.to_owned()), ..Settings::default() };
    let engine = Arc::new(Engine::new(Arc::new(planner), clock.clone(), settings));
    let (worker, pusher) = Worker::new(engine.clone(), clock.clone());
    let key = PlanKey::derive(&plan_id(), 0);
    let name = format!("instance {number}, started at step {}", sim.state().starts);
    sim.state().starts += 1;
    let store = tables.clone() as Arc<dyn Tables>;
    let handle = Arc::new(PlanHandle::new(&TenantTables::new(store, "tenant"), plan_id(), key, clock.clone(), name));
    let instance = Instance { engine, pusher, handle, clock };
    let mut running = slots.lock().unwrap();
    match running.get_mut(number) {
        Some(slot) => *slot = instance.clone(),
        None => running.push(instance.clone()),
    }
    drop(running);
    sim.time.start(Owner::Instance(number), worker.run());
    let interval = sim.state().shape.interval;
    let time = sim.time.clone();
    sim.time.start(Owner::Instance(number), async move {
        loop {
            let _ = instance.ready(0).await;
            time.wait(interval).await;
        }
    });
}

fn user(number: u64) -> UserId {
    UserId::parse(&format!("00000000-0000-4000-8000-{number:012}")).unwrap()
}

/// A change of a field. With small values both sides often write the same; else every value is unique.
fn draw(sim: &Sim, who: &str) -> FieldChange {
    let (small, insistent) = {
        let state = sim.state();
        (state.shape.small_values, state.shape.insistent)
    };
    let mut rng = sim.rng();
    let unique = rng.next() % 1_000_000;
    let set = FieldChange::Set;
    let change = |field: Field, value: Option<FieldValue>| value.map_or_else(|| FieldChange::Clear(field), set);
    let item = |key: &str, title: String, checked: bool| FieldValue::Checklist { key: key.into(), title, checked };
    if insistent {
        let title = format!("{who}{unique}");
        return match rng.below(6) {
            0..3 => set(FieldValue::Title(title)),
            3 => set(item("k0", title, false)),
            4 => set(item("k1", title, false)),
            _ => FieldChange::Clear(Field::Checklist("k0".into())),
        };
    }
    let word = |rng: &mut Rng| if small { (*rng.pick(&["A", "B", "C"])).to_owned() } else { format!("{who}{unique}") };
    match rng.below(if small { 11 } else { 6 }) {
        0 | 1 => set(FieldValue::Title(word(&mut rng))),
        2 if rng.chance(25) => FieldChange::Clear(Field::Due),
        2 => {
            let at = if small { rng.below(3) as i64 * 86_400_000 } else { unique as i64 * 1000 };
            set(FieldValue::Due(instant(at)))
        }
        3 if rng.chance(20) => FieldChange::Clear(Field::Description),
        3 => set(FieldValue::Description(word(&mut rng))),
        4 | 5 => {
            let key = format!("k{}", rng.below(2));
            if rng.chance(25) {
                return FieldChange::Clear(Field::Checklist(key));
            }
            let title = word(&mut rng);
            set(item(&key, title, rng.chance(30)))
        }
        6 => set(FieldValue::PercentComplete(*rng.pick(&[0, 50, 100]))),
        7 => set(FieldValue::Priority(*rng.pick(&[1, 5, 9]))),
        8 => set(FieldValue::Bucket(bucket_id(rng.below(2)))),
        9 if rng.chance(50) => {
            let number = rng.below(2) as u8 + 1;
            change(Field::Category(number), rng.chance(50).then_some(FieldValue::Category(number)))
        }
        9 => {
            let user = user(rng.below(2));
            change(Field::Assignee(user.clone()), rng.chance(50).then_some(FieldValue::Assignee(user)))
        }
        _ => {
            let url = "https://a.example".to_owned();
            if rng.chance(30) {
                return FieldChange::Clear(Field::Reference(url));
            }
            let reference = Reference { alias: Some(word(&mut rng)), kind: None };
            set(FieldValue::Reference { url, reference })
        }
    }
}

fn draw_task(sim: &Sim, who: &str) -> TaskFields {
    let mut fields = TaskFields::blank();
    fields.bucket = Some(bucket_id(0));
    let small = sim.state().shape.small_values;
    let unique = sim.rng().next() % 1_000_000;
    fields.title = if small { sim.rng().pick(&["A", "B", "C"]).to_string() } else { format!("{who}{unique}") };
    for _ in 0..sim.below(3) {
        let change = draw(sim, who);
        if change.value().is_some() && (who == "a" || !change.field().in_details()) {
            change_field(&mut fields, &change);
        }
    }
    fields
}

struct Agent {
    sim: Arc<Sim>,
    instance: Instance,
    entropy: Entropy,
    number: u64,
}

impl Agent {
    fn edit(&self) -> Edit {
        let at = self.instance.clock.now();
        Edit { operation: self.entropy.ulid(at), at, by: "agent".into(), rows: Vec::new() }
    }

    async fn act(self) {
        if self.instance.ready(60_000).await.is_err() {
            return;
        }
        let tasks: Vec<TaskId> = self.instance.handle.read().live().map(|record| record.id.clone()).collect();
        let kind = self.sim.below(100);
        let insistent = self.sim.state().shape.insistent;
        if insistent && let Some(id) = tasks.first() {
            return self.update(id).await;
        }
        if tasks.is_empty() || kind < 20 {
            return self.create().await;
        }
        let id = self.sim.rng().pick(&tasks).clone();
        match kind {
            20..30 => self.delete(&id).await,
            30..40 => {
                let not_before = self.instance.clock.now() - TimeDelta::seconds(self.sim.below(20) as i64);
                let _ = self.instance.engine.refresh_details(&self.instance.handle, &id, not_before).await;
            }
            40..45 => {
                let _ = self.instance.ready(0).await;
            }
            _ => self.update(&id).await,
        }
    }

    async fn create(&self) {
        let began = self.sim.state().truth.conflicts.len();
        let mut fields = draw_task(&self.sim, "a");
        let refused = self.sim.state().shape.faults.refused;
        if self.sim.chance(refused) {
            fields.title.push('!');
        }
        let handle = &self.instance.handle;
        let keyed = self.sim.chance(30);
        let row = format!("k|{}", self.number);
        let id =
            if keyed { TaskId::keyed(&handle.key, "agent", &row) } else { TaskId::random(&handle.key, &self.entropy) };
        let edit = self.edit();
        for _ in 0..2 {
            if keyed && !matches!(handle.row(&row).await, Ok(None)) {
                break;
            }
            let memory = keyed.then(|| Write::insert(row.clone(), &id).unwrap());
            let done = handle
                .transact(|_: &Replica| {
                    let mut step = journal::create(id.clone(), fields.clone(), edit.clone());
                    step.rows.extend(memory.clone());
                    Ok::<_, StoreError>((step, ()))
                })
                .await;
            self.sim.say(|| format!("agent creates {id} {:?}: {done:?}", fields.title));
            match done {
                Ok(()) => break,
                Err(_) if keyed => {} // the same key makes the same task
                Err(_) => return,
            }
        }
        let op = journal::create(id.clone(), fields, edit).journal.pop().map(|(_, op)| op);
        self.push(&id, op, Vec::new(), began).await;
    }

    async fn update(&self, id: &TaskId) {
        let began = self.sim.state().truth.conflicts.len();
        let mut changes: Vec<FieldChange> = (0..=self.sim.below(2)).map(|_| draw(&self.sim, "a")).collect();
        let refused = self.sim.state().shape.faults.refused;
        if self.sim.chance(refused) {
            changes.push(FieldChange::Set(FieldValue::Title("no!".to_owned())));
        }
        let edit = self.edit();
        let edits: Vec<FieldEdit> = changes.iter().cloned().map(FieldEdit::from).collect();
        let handle = &self.instance.handle;
        let done = handle
            .transact(|replica: &Replica| {
                let record = replica.task(id).filter(|record| !record.deleted);
                let step = record.and_then(|record| journal::update(record, &edits, edit.clone())).unwrap_or_default();
                let op = step.journal.first().map(|(_, op)| op.clone());
                Ok::<_, StoreError>((step, op))
            })
            .await;
        self.sim.say(|| format!("agent updates {id} {changes:?}: {done:?}"));
        if let Ok(op) = done {
            self.push(id, op, changes, began).await;
        }
    }

    async fn delete(&self, id: &TaskId) {
        let began = self.sim.state().truth.conflicts.len();
        let edit = self.edit();
        let done = self
            .instance
            .handle
            .transact(|replica: &Replica| {
                let step = replica.task(id).map(|record| journal::delete(record, edit.clone())).unwrap_or_default();
                let op = step.journal.first().map(|(_, op)| op.clone());
                Ok::<_, StoreError>((step, op))
            })
            .await;
        self.sim.say(|| format!("agent deletes {id}: {done:?}"));
        if let Ok(op) = done {
            let now = self.sim.time.millis();
            self.sim.state().truth.agent_deleted.entry(id.clone()).or_insert(now);
            self.push(id, op, Vec::new(), began).await;
        }
    }

    /// Waits for an operation and checks what its caller hears (I-29); so many conflicts were decided when the call began.
    async fn push(&self, id: &TaskId, op: Option<OpRecord>, changes: Vec<FieldChange>, began: usize) {
        let decided = (began, self.sim.state().truth.conflicts.len());
        let created = op.as_ref().is_some_and(|op| op.kind == OpKind::Create);
        let wait = Duration::from_secs(5);
        let outcome = self.instance.pusher.push_op(&self.instance.handle, id, op.clone(), wait).await;
        self.sim.say(|| format!("agent hears of {id}: {outcome:?}"));
        let mut state = self.sim.state();
        let truth = &mut state.truth;
        if let (Some(outcome), Some(op)) = (&outcome, &op) {
            truth.check_told(id, op, &changes, outcome, decided);
        }
        if created && matches!(outcome, Some(Outcome::Failed { .. })) {
            truth.told_failed.insert(id.clone());
            truth.sometimes("a create failed for good");
        }
    }
}

async fn agent(sim: Arc<Sim>, slots: Slots, seed: u64) {
    let (ops, pace, cancelled) = {
        let state = sim.state();
        (state.shape.agent_ops, state.shape.pace, state.shape.faults.cancelled)
    };
    let entropy = Entropy::seeded(seed);
    for number in 0..ops {
        sim.time.wait(sim.below(pace as u64) as i64).await;
        let (at, instance) = {
            let running = slots.lock().unwrap();
            let at = sim.below(running.len() as u64) as usize;
            (at, running[at].clone())
        };
        let agent = Agent { sim: sim.clone(), instance, entropy: entropy.clone(), number };
        let patience = if sim.chance(cancelled) { sim.below(300) as i64 } else { 60_000 };
        let gone = sim.time.wait(patience);
        sim.time.start(Owner::Instance(at), async move {
            futures::future::select(Box::pin(agent.act()), gone).await;
        });
    }
}

async fn people(sim: Arc<Sim>) {
    let (ops, pace) = {
        let state = sim.state();
        (state.shape.human_ops, state.shape.pace)
    };
    for _ in 0..ops {
        sim.time.wait(sim.below(pace as u64) as i64).await;
        let hidden = sim.state().plan == PlanTrouble::Deleted; // nobody can edit what is deleted
        if hidden {
            continue;
        }
        let live: Vec<PlannerTaskId> = {
            let state = sim.state();
            state.tasks.iter().filter(|(_, task)| task.deleted.is_none()).map(|(id, _)| id.clone()).collect()
        };
        let kind = sim.below(100);
        if live.is_empty() || kind < 10 {
            let fields = draw_task(&sim, "h");
            let id = sim.person_creates(&fields);
            sim.say(|| format!("person creates {id} {:?}", fields.title));
            continue;
        }
        let id = sim.rng().pick(&live).clone();
        if kind < 18 {
            sim.say(|| format!("person deletes {id}"));
            sim.person_deletes(&id);
        } else {
            let change = draw(&sim, "h");
            sim.say(|| format!("person sets {id} {} = {}", change.field(), text(change.value())));
            sim.person_sets(&id, &change);
        }
    }
}

/// Somebody takes the plan out of sight for a while: a permission is revoked, a group deleted and restored.
async fn trouble_with_the_plan(sim: Arc<Sim>) {
    let (faults, span) = {
        let state = sim.state();
        (state.shape.faults.clone(), state.shape.pace * 4)
    };
    let troubles = [
        (faults.denials, PlanTrouble::Denied),
        (faults.deletions, PlanTrouble::Deleted),
        (faults.revocations, PlanTrouble::ReadOnly),
    ];
    for (times, trouble) in troubles {
        for _ in 0..times {
            sim.time.wait(sim.below(span as u64) as i64).await;
            if sim.state().peace {
                return;
            }
            sim.say(|| format!("the plan: {trouble:?}"));
            sim.state().plan = trouble;
            sim.time.wait(1_000 + sim.below(40_000) as i64).await;
            sim.say(|| "the plan is back".into());
            sim.state().plan = PlanTrouble::None;
        }
    }
}

/// Somebody deletes or edits nearly everything at once; an operator who is asked confirms it.
async fn sweep(sim: Arc<Sim>, slots: Slots, sweep: Sweep) {
    sim.time.wait(5_000 + sim.below(10_000) as i64).await;
    let tasks: Vec<PlannerTaskId> = {
        let state = sim.state();
        state.tasks.iter().filter(|(_, task)| task.deleted.is_none()).map(|(id, _)| id.clone()).collect()
    };
    sim.say(|| format!("somebody sweeps {} tasks: {sweep:?}", tasks.len()));
    for (number, id) in tasks.iter().enumerate() {
        match sweep {
            Sweep::Deletes if number > 0 => sim.person_deletes(id),
            Sweep::Deletes => {}
            Sweep::Edits => sim.person_sets(id, &FieldChange::Set(FieldValue::Title(format!("swept {number}")))),
        }
    }
    for _ in 0..40 {
        sim.time.wait(10_000).await;
        let instance = slots.lock().unwrap()[0].clone();
        let stopped = instance.handle.read().state.guard.is_some();
        if stopped {
            let sim = sim.clone();
            sim.clone().time.start(Owner::Instance(0), async move {
                let confirmed = instance.engine.confirm(&instance.handle).await;
                sim.say(|| format!("an operator confirms: {confirmed:?}"));
            });
        }
    }
}

/// What befalls an instance.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Blow {
    Crash,
    Stall,
}

/// Runs the history of a seed with so many instances.
pub fn run(seed: u64, instances: usize, traced: bool) -> Report {
    let mut rng = Rng(seed.wrapping_mul(0x2545_f491_4f6c_dd1d) ^ 0x1234_5678);
    let shape = Shape { instances, ..Shape::draw(&mut rng) };
    let time = Time::new();
    let blows: Vec<(u64, Blow)> = {
        let crashes = (0..shape.faults.crashes).map(|_| Blow::Crash);
        let stalls = (0..shape.faults.stalls).map(|_| Blow::Stall);
        let mut blows: Vec<(u64, Blow)> = crashes.chain(stalls).map(|blow| (20 + rng.below(1_500), blow)).collect();
        blows.sort_unstable_by_key(|(step, _)| *step);
        blows
    };
    let state = State::new(shape.clone(), traced);
    let sim = Arc::new(Sim { time: time.clone(), rng: Mutex::new(rng), state: Mutex::new(state) });
    sim.say(|| format!("{shape:?}"));
    for _ in 0..shape.tasks {
        let fields = draw_task(&sim, "h");
        sim.person_creates(&fields);
    }
    let tables = Arc::new(SimTables::new(sim.clone()));
    let slots: Slots = Arc::default();
    let mut executor = Executor::new(time.clone());
    for number in 0..shape.instances {
        start_instance(number, &sim, &tables, &slots);
    }
    time.start(Owner::World, agent(sim.clone(), slots.clone(), seed));
    time.start(Owner::World, people(sim.clone()));
    time.start(Owner::World, trouble_with_the_plan(sim.clone()));
    if let Some(kind) = shape.sweep {
        time.start(Owner::World, sweep(sim.clone(), slots.clone(), kind));
    }
    let trouble = shape.pace * shape.agent_ops.max(shape.human_ops) as i64 + 20_000;
    for (step, blow) in blows {
        if !executor.run(&sim.rng, trouble, step) {
            break;
        }
        if blow == Blow::Stall {
            let (number, millis) = (sim.below(shape.instances as u64) as usize, 10_000 + sim.below(50_000) as i64);
            sim.say(|| format!("instance {number} stands still for {millis} ms"));
            sim.state().truth.sometimes("an instance stands still");
            executor.stall(number, millis);
            continue;
        }
        sim.say(|| "CRASH".into());
        {
            let mut state = sim.state();
            state.truth.sometimes("crash");
            state.not_before.clear(); // waiting times live in memory
        }
        let number = sim.below(shape.instances as u64) as usize;
        executor.crash(number);
        if shape.faults.jumps {
            let jump = sim.below(7_200_001) as i64 - 3_600_000;
            sim.state().shape.skews[number] = jump;
            sim.state().truth.sometimes("a clock has jumped");
        }
        start_instance(number, &sim, &tables, &slots);
    }
    executor.run(&sim.rng, trouble, u64::MAX);
    sim.say(|| "peace".into());
    executor.wake();
    {
        let mut state = sim.state();
        state.shape.faults = Faults::default();
        state.plan = PlanTrouble::None;
        state.peace = true;
        state.shape.interval = 10_000;
    }
    let instance = slots.lock().unwrap()[0].clone();
    let since = time.millis().max(trouble);
    let mut longest = PEACE;
    if shape.faults.endless > 0 {
        if shape.operator {
            // An operator who is asked to wait by an answer still under way asks once that has come.
            executor.run(&sim.rng, since + SLOWEST_ANSWER, u64::MAX);
            sim.state().not_before.clear();
            for instance in slots.lock().unwrap().iter() {
                replay(instance);
            }
        } else {
            longest += LONGEST_PAUSE as i64;
        }
    }
    let mut end = since;
    let mut arrived = false;
    while end < since + longest && !arrived {
        end += 10_000;
        executor.run(&sim.rng, end, u64::MAX);
        arrived = check::arrived(&sim.state());
    }
    let mut breaches = Vec::new();
    if arrived {
        // Time alone brings everything; then nothing is left to write, neither here nor there.
        settle(&sim, &mut executor, &instance, 4);
        let before = {
            let state = sim.state();
            (state.writes, state.store_commits)
        };
        settle(&sim, &mut executor, &instance, 1);
        let after = {
            let state = sim.state();
            (state.writes, state.store_commits)
        };
        if before != after {
            breaches.push(format!(
                "I-13 an extra pass wrote {} times to Planner and {} times to the store",
                after.0 - before.0,
                after.1 - before.1
            ));
        }
    } else {
        breaches.push("I-25 not at rest five minutes after the last fault".to_owned());
    }
    (0..shape.instances).for_each(|number| executor.crash(number));
    let mut state = sim.state();
    if arrived {
        check::finally(&mut state, &tables.inner);
    }
    breaches.append(&mut state.truth.breaches);
    let seen = std::mem::take(&mut state.truth.seen);
    let trace = state.trace.take().unwrap_or_default();
    Report { breaches, seen, hash: executor.hash, steps: executor.steps, trace }
}

/// An operator has everything tried now that waits.
fn replay(instance: &Instance) {
    let replica = instance.handle.read();
    for record in replica.records().filter(|record| record.is_dirty()) {
        drop(instance.pusher.start_now(&instance.handle, &record.id));
    }
}

/// Passes a minute apart, while somebody wants to know all texts: what is in details is followed by time alone.
fn settle(sim: &Arc<Sim>, executor: &mut Executor, instance: &Instance, passes: usize) {
    let instance = instance.clone();
    let time = sim.time.clone();
    sim.time.start(Owner::Instance(0), async move {
        for _ in 0..passes {
            instance.ready(0).await.expect("the store works");
            instance.handle.note_details_wanted(instance.clock.now());
            // A lease that outlived its holder runs out.
            while let Err(error) = instance.engine.refresh(&instance.handle, instance.clock.now()).await {
                assert!(matches!(error, RefreshError::Held), "Planner works: {error}");
                time.wait(1_000).await;
            }
            let read = instance.engine.read_all_details(&instance.handle, None, Duration::from_secs(30)).await;
            assert_eq!(read.ok(), Some(0), "Planner and the store work");
            instance.pusher.resume(&instance.handle);
            time.wait(60_000).await;
        }
    });
    let end = sim.time.millis() + 120_000 * passes as i64;
    executor.run(&sim.rng, end, u64::MAX);
}
