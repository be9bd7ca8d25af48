//! A fake Planner with the rules that matter: per-field versions, ETags that sort, a tolerant PATCH, details as a
//! resource of their own, reads that are up to 20 s old, and every way to fail.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use async_trait::async_trait;
use graphgate::ids::{BucketId, PlanId, PlannerTaskId};
use graphgate::sync::field_value::{change_field, field_values};
use graphgate::sync::model::{
    Bucket, DetailFields, Field, FieldChange, FieldValue, OfField, Sent, TaskFacts, TaskFields,
};
use graphgate::sync::ports::{
    DetailChanges, Planner, RemoteDetails, RemoteError, RemoteErrorKind, RemotePlan, RemoteResult, RemoteTask,
    TaskChanges,
};

use super::exec::{Rng, Time, instant};
use super::faults::Shape;
use super::truth::{Truth, text};

/// A longer pause than this one need not be kept, in ms.
pub const LONGEST_PAUSE: u64 = 600_000;

pub const APP: &str = "00000000-0000-4000-8000-00000000a001";

/// A task on Planner: all its states, by time.
#[derive(Default)]
pub struct WorldTask {
    pub by_app: bool,
    pub created: i64,
    pub deleted: Option<i64>,
    states: Vec<(i64, u64, TaskFields)>,
    details: Vec<(i64, u64, DetailFields)>,
    versions: BTreeMap<Field, u64>,
}

impl WorldTask {
    /// All fields as they are.
    pub fn fields(&self) -> TaskFields {
        TaskFields {
            details: self.details.last().map(|state| Box::new(state.2.clone())),
            ..self.states.last().unwrap().2.clone()
        }
    }
    fn etag(&self) -> u64 {
        self.states.last().unwrap().1
    }
    fn details_etag(&self) -> u64 {
        self.details.last().unwrap().1
    }
}

pub struct State {
    pub shape: Shape,
    pub tasks: BTreeMap<PlannerTaskId, WorldTask>,
    pub truth: Truth,
    version: u64,
    /// Writes that arrived from the engine.
    pub writes: u64,
    pub store_commits: u64,
    /// Instances started so far.
    pub starts: u64,
    /// What is wrong with the plan as a whole.
    pub plan: PlanTrouble,
    /// The last fault is over.
    pub peace: bool,
    /// When Planner wants to hear of a task again at the earliest.
    pub not_before: BTreeMap<PlannerTaskId, i64>,
    pub trace: Option<Vec<String>>,
}

/// Whether the plan can be seen.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PlanTrouble {
    None,
    /// The permission to read is gone.
    Denied,
    /// The permission to write is gone.
    ReadOnly,
    /// The group is deleted, and with it the plan.
    Deleted,
}

/// Everything a history shares.
pub struct Sim {
    pub time: Arc<Time>,
    pub rng: Mutex<Rng>,
    pub state: Mutex<State>,
}

pub fn plan_id() -> PlanId {
    PlanId::parse("plan000000000000000000000000").unwrap()
}
pub fn bucket_id(number: u64) -> BucketId {
    BucketId::parse(&format!("bucket{number:022}")).unwrap()
}
fn task_id(number: u64) -> PlannerTaskId {
    PlannerTaskId::parse(&format!("{number:028}")).unwrap()
}
fn tag(version: u64) -> String {
    format!("W/\"{version:012}\"")
}
fn version(tag: &str) -> u64 {
    if tag == "*" {
        return u64::MAX;
    }
    tag.chars().filter(char::is_ascii_digit).collect::<String>().parse().unwrap_or(0)
}
fn error(kind: RemoteErrorKind, text: &str) -> RemoteError {
    RemoteError::new(kind, text)
}

/// What becomes of one call.
#[derive(Clone, Copy, PartialEq, Debug)]
enum Fate {
    Fine,
    LostAfter,
    LostBefore,
    NotNow,
    Stale,
    ForbiddenAfter,
    ForbiddenBefore,
    /// The layer below repeats a call whose answer it lost, and hands over what the repetition came to.
    Repeated,
    /// The same, and the repetition is put off.
    RepeatedNotNow,
}

impl Sim {
    pub fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }
    pub fn rng(&self) -> MutexGuard<'_, Rng> {
        self.rng.lock().unwrap()
    }
    pub fn below(&self, bound: u64) -> u64 {
        self.rng().below(bound)
    }
    pub fn chance(&self, percent: u64) -> bool {
        percent > 0 && self.rng().chance(percent)
    }
    pub fn say(&self, text: impl FnOnce() -> String) {
        let mut state = self.state();
        let now = self.time.millis();
        if let Some(trace) = &mut state.trace {
            trace.push(format!("{:>9.3} {}", now as f64 / 1000.0, text()));
        }
    }
    /// Lets others run, and time pass.
    pub async fn pause(&self) {
        let millis = {
            let slow = self.state().shape.faults.slow;
            let mut rng = self.rng();
            if rng.chance(slow) {
                rng.below(4_000)
            } else if rng.chance(60) {
                0
            } else {
                rng.below(120)
            }
        };
        self.time.wait(millis as i64).await;
    }

    fn fate(&self, creating: bool) -> Fate {
        let (faults, plan) = {
            let state = self.state();
            (state.shape.faults.clone(), state.plan)
        };
        if plan == PlanTrouble::ReadOnly {
            return Fate::ForbiddenBefore;
        }
        let mut rng = self.rng();
        let kinds = [
            (faults.lost_with_effect, Fate::LostAfter),
            (faults.lost_without_effect, Fate::LostBefore),
            (faults.not_now, Fate::NotNow),
            (faults.stale, Fate::Stale),
            (if creating { faults.forbidden_with_effect } else { 0 }, Fate::ForbiddenAfter),
            (
                if creating { faults.forbidden_without_effect } else { faults.forbidden_without_effect / 4 },
                Fate::ForbiddenBefore,
            ),
            // A create is never repeated blindly.
            (if creating { 0 } else { faults.repeated }, Fate::Repeated),
            (if creating { 0 } else { faults.repeated / 4 }, Fate::RepeatedNotNow),
        ];
        kinds.into_iter().find(|(percent, _)| *percent > 0 && rng.chance(*percent)).map_or(Fate::Fine, |kind| kind.1)
    }

    /// The instant a read shows.
    fn view(&self) -> i64 {
        let (lag, lagging) = {
            let state = self.state();
            (state.shape.faults.lag, state.shape.faults.lagging)
        };
        let now = self.time.millis();
        if lag > 0 && self.chance(lagging) { now - self.below(lag as u64 + 1) as i64 } else { now }
    }

    /// Runs a write with its fate: the effect, and what the caller hears.
    fn answer<T>(
        &self,
        what: &str,
        id: Option<&PlannerTaskId>,
        fate: Fate,
        effect: impl Fn(&mut State, i64) -> RemoteResult<T>,
    ) -> RemoteResult<T> {
        let creating = id.is_none();
        let now = self.time.millis();
        if let Some(id) = id {
            let mut state = self.state();
            if state.shape.instances == 1 && state.not_before.get(id).is_some_and(|earliest| now < *earliest) {
                state.truth.breach(format!("I-18 {id} is called before its time"));
            }
        }
        let failed = match fate {
            Fate::LostBefore => Some(error(RemoteErrorKind::Unknown, "lost")),
            Fate::NotNow => Some(self.not_now(id, now)),
            Fate::Stale => Some(error(RemoteErrorKind::Stale, "412 for no reason")),
            Fate::ForbiddenBefore => Some(error(RemoteErrorKind::Forbidden, "403")),
            _ => None,
        };
        // Of a create these answers leave open whether it happened.
        let failed = failed.map(|failed| if creating && fate != Fate::NotNow { failed.maybe_done() } else { failed });
        let answer = match failed {
            Some(failed) => Err(failed),
            None => {
                let mut state = self.state();
                state.writes += 1;
                if fate == Fate::Repeated {
                    let first = effect(&mut state, now);
                    let second = effect(&mut state, now).map_err(RemoteError::maybe_done);
                    if first.is_ok() && second.is_err() {
                        state.truth.sometimes("a repeated call is refused for its own success");
                    }
                    second
                } else {
                    effect(&mut state, now)
                }
            }
        };
        let done = answer.is_ok();
        let answer = match fate {
            Fate::LostAfter if done => Err(error(RemoteErrorKind::Unknown, "lost after it happened")),
            Fate::ForbiddenAfter if done => {
                Err(error(RemoteErrorKind::Forbidden, "403 after it happened").maybe_done())
            }
            Fate::RepeatedNotNow => Err(self.not_now(id, now).maybe_done()),
            _ => answer,
        };
        if fate == Fate::LostAfter && done {
            self.state().truth.sometimes("lost reply with effect");
        }
        self.say(|| {
            format!(
                "planner {what}: {fate:?} -> {}",
                answer.as_ref().map_or_else(|e| format!("{:?} {e}", e.kind), |_| "ok".into())
            )
        });
        answer
    }

    /// Planner wants to be left alone for a while; now and then for days, which nobody keeps.
    fn not_now(&self, id: Option<&PlannerTaskId>, now: i64) -> RemoteError {
        let long = self.state().shape.faults.endless;
        let pause = if self.chance(long) { 7 * 86_400_000 } else { 500 + self.below(20_000) };
        if let Some(id) = id {
            self.state().not_before.insert(id.clone(), now + pause.min(LONGEST_PAUSE) as i64);
        }
        error(RemoteErrorKind::NotNow(Duration::from_millis(pause)), "not now")
    }

    /// A person's edit, straight into Planner.
    pub fn person_sets(&self, id: &PlannerTaskId, change: &FieldChange) {
        let now = self.time.millis();
        let mut state = self.state();
        let state = &mut *state;
        // The same value as an unanswered call of ours: nobody can tell the two apart.
        let ours = state.truth.task_of(id).and_then(|task| state.truth.last.get(task));
        if ours.is_some_and(|record| {
            record.attempts.iter().any(|attempt| attempt.sent.get(change.field()) == Some(change))
        }) {
            state.truth.unanswered.insert((id.clone(), change.field().to_field(), text(change.value())));
        }
        if state.write(id, now, &Sent::from([change.clone()])) {
            let key = (id.clone(), change.field().to_field());
            state.truth.human.entry(key).or_default().push((now, change.value().cloned()));
        }
    }
    pub fn person_deletes(&self, id: &PlannerTaskId) {
        let now = self.time.millis();
        let mut state = self.state();
        state.tasks.get_mut(id).unwrap().deleted = Some(now);
        state.truth.human_deleted.insert(id.clone(), now);
    }
    pub fn person_creates(&self, fields: &TaskFields) -> PlannerTaskId {
        let now = self.time.millis();
        let mut state = self.state();
        let id = state.insert(fields, false, now);
        for value in field_values(&TaskFields { details: None, ..fields.clone() }) {
            let field = value.field().to_field();
            state.truth.human.entry((id.clone(), field)).or_default().push((now, Some(value)));
        }
        id
    }
}

impl State {
    pub fn new(shape: Shape, traced: bool) -> Self {
        Self {
            shape,
            tasks: BTreeMap::new(),
            truth: Truth::default(),
            version: 1,
            writes: 0,
            store_commits: 0,
            starts: 0,
            plan: PlanTrouble::None,
            peace: false,
            not_before: BTreeMap::new(),
            trace: traced.then(Vec::new),
        }
    }

    fn insert(&mut self, fields: &TaskFields, by_app: bool, now: i64) -> PlannerTaskId {
        self.version += 1;
        let id = task_id(self.tasks.len() as u64 + 1);
        let fields = TaskFields { details: None, ..fields.clone() };
        for value in field_values(&fields) {
            let field = value.field().to_field();
            Truth::note(&mut self.truth.planner, (id.clone(), field), now, Some(value));
        }
        let details = vec![(now, self.version, DetailFields::default())];
        let task = WorldTask {
            by_app,
            created: now,
            states: vec![(now, self.version, fields)],
            details,
            ..WorldTask::default()
        };
        self.tasks.insert(id.clone(), task);
        id
    }

    /// Changes fields; `false` when that changes nothing.
    fn write(&mut self, id: &PlannerTaskId, now: i64, changes: &Sent) -> bool {
        let task = self.tasks.get_mut(id).unwrap();
        let before = task.fields();
        let mut after = before.clone();
        for change in changes {
            change_field(&mut after, change);
        }
        for (key, item) in &mut after.details.as_mut().unwrap().checklist {
            let known = before.details.as_ref().unwrap().checklist.get(key);
            item.order = known.map_or_else(|| format!("{:06}", self.version), |item| item.order.clone());
        }
        let (old, new) = (field_values(&before), field_values(&after));
        let fields = changes.fields().filter(|field| old.get(*field) != new.get(*field));
        let changed: Vec<Field> = fields.map(|field| field.to_field()).collect();
        if changed.is_empty() {
            return false;
        }
        self.version += 1;
        for field in &changed {
            task.versions.insert(field.clone(), self.version);
            let value = new.get(field).cloned();
            Truth::note(&mut self.truth.planner, (id.clone(), field.clone()), now, value);
        }
        if changed.iter().any(|field| field.in_details()) {
            task.details.push((now, self.version, *after.details.clone().unwrap()));
        }
        if self.shape.details_touch_task || changed.iter().any(|field| !field.in_details()) {
            task.states.push((now, self.version, TaskFields { details: None, ..after }));
        }
        true
    }

    /// An engine's PATCH: taken unless a field of it changed after the ETag.
    fn patch(&mut self, id: &PlannerTaskId, etag: &str, now: i64, changes: &Sent) -> RemoteResult<()> {
        let known = version(etag);
        let deleted = self.plan == PlanTrouble::Deleted;
        let Some(task) = self.tasks.get(id).filter(|task| task.deleted.is_none() && !deleted) else {
            return Err(error(RemoteErrorKind::Gone, "404"));
        };
        let version_of = |change: &FieldChange| task.versions.get(&change.field().to_field()).copied().unwrap_or(0);
        if changes.iter().any(|change| version_of(change) > known) {
            self.truth.sometimes("412 on PATCH");
            return Err(error(RemoteErrorKind::Stale, "412"));
        }
        let is_bad = |value: &FieldValue| match value {
            FieldValue::Title(text) | FieldValue::Description(text) => text.contains('!'),
            _ => false,
        };
        if changes.values().any(is_bad) {
            return Err(error(RemoteErrorKind::Refused, "400"));
        }
        let held = field_values(&task.fields());
        let known = self.truth.task_of(id).cloned();
        for change in changes {
            let (field, value) = (&change.field().to_field(), change.value());
            let Some(task) = &known else {
                self.truth.breach(format!("I-21 a PATCH for an unknown task {id}"));
                continue;
            };
            let key = (task.clone(), field.clone());
            let undone = self.truth.logged_whole(task); // a refusal takes the unanswered back, too
            if !undone
                && !self
                    .truth
                    .agent
                    .get(&key)
                    .is_some_and(|writes| writes.iter().any(|(_, wrote)| wrote.as_ref() == value))
            {
                self.truth.breach(format!("I-16 PATCH {task} {field} = {}: no agent wrote that", text(value)));
            }
            self.check_overwritten(&key.0, id, field, held.get(field), value);
        }
        self.write(id, now, changes);
        Ok(())
    }

    /// I-04: a person's value the replica never showed is in the log before it is overwritten.
    fn check_overwritten(
        &mut self,
        task: &graphgate::ids::TaskId,
        id: &PlannerTaskId,
        field: &Field,
        held: Option<&FieldValue>,
        value: Option<&FieldValue>,
    ) {
        let last = self.truth.human.get(&(id.clone(), field.clone())).and_then(|writes| writes.last().cloned());
        let Some((at, wrote)) = last else { return };
        if wrote.as_ref() != held || held == value {
            return;
        }
        let key = (task.clone(), field.clone());
        let back = self.truth.is_back(task, field, held, at);
        // Both wrote the same, and ours was unanswered: nothing of the person's is lost that the agent had not written too.
        if self.truth.unanswered.contains(&(id.clone(), field.clone(), text(held))) {
            return;
        }
        let shown = back || Truth::first(self.truth.replica.get(&key), held, at).is_some();
        if !shown && !self.truth.logged(task, field, held, false) {
            let (held, value) = (text(held), text(value));
            self.truth
                .breach(format!("I-04 {task} {field}: a person's {held} is overwritten by {value} without a log"));
        }
    }

    fn read(&self, id: &PlannerTaskId, at: i64) -> Option<RemoteTask> {
        let task = self.tasks.get(id).filter(|_| self.plan != PlanTrouble::Deleted)?;
        if task.deleted.is_some_and(|deleted| deleted <= at) {
            return None;
        }
        let (_, etag, fields) = task.states.iter().rev().find(|state| state.0 <= at)?;
        let (_, _, details) = task.details.iter().rev().find(|state| state.0 <= at)?;
        let facts = TaskFacts {
            created_at: Some(instant(task.created + self.shape.skew)),
            created_with: Some(if task.by_app { APP.to_owned() } else { "somebody".to_owned() }),
            checklist_items: details.checklist.len() as u32,
            open_checklist_items: details.checklist.values().filter(|item| !item.checked).count() as u32,
            references: details.references.len() as u32,
            has_description: !details.description.is_empty(),
            ..TaskFacts::default()
        };
        Some(RemoteTask { id: id.clone(), etag: tag(*etag), fields: fields.clone(), facts })
    }

    fn read_details(&self, id: &PlannerTaskId, at: i64) -> Option<RemoteDetails> {
        let task = self.tasks.get(id).filter(|_| self.plan != PlanTrouble::Deleted)?;
        if task.deleted.is_some_and(|deleted| deleted <= at) {
            return None;
        }
        let (_, etag, fields) = task.details.iter().rev().find(|state| state.0 <= at)?;
        Some(RemoteDetails { etag: tag(*etag), fields: fields.clone() })
    }
}

/// What becomes of a field that gets a value, or none.
fn change(field: Field, value: Option<FieldValue>) -> FieldChange {
    value.map_or_else(|| FieldChange::Clear(field), FieldChange::Set)
}

fn sent_to_task(changes: &TaskChanges) -> Sent {
    let single = [
        changes.title.clone().map(|title| FieldChange::Set(FieldValue::Title(title))),
        changes.bucket.clone().map(|bucket| FieldChange::Set(FieldValue::Bucket(bucket))),
        changes.percent_complete.map(|percent| FieldChange::Set(FieldValue::PercentComplete(percent))),
        changes.priority.map(|priority| FieldChange::Set(FieldValue::Priority(priority))),
        changes.start.map(|start| change(Field::Start, start.map(FieldValue::Start))),
        changes.due.map(|due| change(Field::Due, due.map(FieldValue::Due))),
    ];
    let assignees = changes
        .assignees
        .iter()
        .map(|(user, set)| change(Field::Assignee(user.clone()), set.then(|| FieldValue::Assignee(user.clone()))));
    let categories = changes
        .categories
        .iter()
        .map(|(number, set)| change(Field::Category(*number), set.then_some(FieldValue::Category(*number))));
    single.into_iter().flatten().chain(assignees).chain(categories).collect()
}

fn sent_to_details(changes: &DetailChanges) -> Sent {
    let description = changes.description.iter().map(|text| {
        let value = (!text.is_empty()).then(|| FieldValue::Description(text.clone()));
        change(Field::Description, value)
    });
    let checklist = changes.checklist.iter().map(|(key, item)| {
        let value = item.as_ref().map(|item| FieldValue::Checklist {
            key: key.clone(),
            title: item.title.clone(),
            checked: item.checked,
        });
        change(Field::Checklist(key.clone()), value)
    });
    let references = changes.references.iter().map(|(url, reference)| {
        let value = reference.clone().map(|reference| FieldValue::Reference { url: url.clone(), reference });
        change(Field::Reference(url.clone()), value)
    });
    description.chain(checklist).chain(references).collect()
}

/// The fake as the engine sees it.
pub struct FakePlanner {
    pub sim: Arc<Sim>,
    /// How far the engine's clock is ahead of the true one, in ms.
    pub skew: i64,
}

#[async_trait]
impl Planner for FakePlanner {
    async fn plan(&self, plan: &PlanId) -> RemoteResult<Option<RemotePlan>> {
        self.sim.pause().await;
        match self.sim.state().plan {
            PlanTrouble::None | PlanTrouble::ReadOnly => {}
            PlanTrouble::Denied => return Err(error(RemoteErrorKind::Forbidden, "403")),
            PlanTrouble::Deleted => return Ok(None),
        }
        let bucket = |number| Bucket {
            id: bucket_id(number),
            name: format!("b{number}"),
            order_hint: String::new(),
            etag: tag(1),
        };
        Ok(Some(RemotePlan {
            id: plan.clone(),
            title: "plan".into(),
            etag: tag(1),
            group: None,
            created_at: None,
            buckets: vec![bucket(0), bucket(1)],
            category_names: BTreeMap::new(),
            details_etag: tag(1),
        }))
    }

    async fn tasks(&self, _: &PlanId) -> RemoteResult<Vec<RemoteTask>> {
        let sim = &self.sim;
        sim.pause().await;
        let fails = sim.state().shape.faults.listing_fails;
        if sim.chance(fails) {
            return Err(error(RemoteErrorKind::NotNow(Duration::from_secs(1)), "a page is missing"));
        }
        match sim.state().plan {
            PlanTrouble::None | PlanTrouble::ReadOnly => {}
            PlanTrouble::Denied => return Err(error(RemoteErrorKind::Forbidden, "403")),
            PlanTrouble::Deleted => return Err(error(RemoteErrorKind::Gone, "404")),
        }
        let at = sim.view();
        let mut listing: Vec<RemoteTask> = {
            let state = sim.state();
            state.tasks.keys().filter_map(|id| state.read(id, at)).collect()
        };
        let repeats = sim.state().shape.faults.listing_repeats;
        if !listing.is_empty() && sim.chance(repeats) {
            // A page that was read twice, once earlier.
            let id = listing[sim.below(listing.len() as u64) as usize].id.clone();
            let earlier = sim.view().min(at);
            listing.extend(sim.state().read(&id, earlier));
        }
        let now = sim.time.millis();
        if repeats > 0 && now % 5 == 0 {
            // A row that is missing says nothing of a task a person made.
            let missed = listing.iter().position(|task| task.facts.created_with.as_deref() != Some(APP));
            missed.map(|missed| listing.remove(missed));
        }
        sim.say(|| format!("planner lists {} tasks as of {at}", listing.len()));
        sim.pause().await;
        Ok(listing)
    }

    async fn read(&self, ids: &[PlannerTaskId]) -> Vec<RemoteResult<Option<RemoteTask>>> {
        let sim = &self.sim;
        sim.pause().await;
        let mut answers = Vec::new();
        for id in ids {
            let at = sim.view();
            let found = sim.state().read(id, at);
            let fails = sim.state().shape.faults.listing_fails;
            sim.say(|| format!("planner reads {id} as of {at}: {:?}", found.as_ref().map(|found| &found.etag)));
            answers.push(if sim.chance(fails) { Err(error(RemoteErrorKind::Unknown, "no answer")) } else { Ok(found) });
        }
        sim.pause().await;
        answers
    }

    async fn read_details(&self, ids: &[PlannerTaskId]) -> Vec<RemoteResult<Option<RemoteDetails>>> {
        let sim = &self.sim;
        sim.pause().await;
        let mut answers = Vec::new();
        for id in ids {
            let at = sim.view();
            let found = sim.state().read_details(id, at);
            let fails = sim.state().shape.faults.listing_fails;
            sim.say(|| format!("planner reads details {id} as of {at}: {:?}", found.as_ref().map(|found| &found.etag)));
            answers.push(if sim.chance(fails) { Err(error(RemoteErrorKind::Unknown, "no answer")) } else { Ok(found) });
        }
        sim.pause().await;
        answers
    }

    async fn create(&self, _: &PlanId, tasks: &[TaskFields]) -> Vec<RemoteResult<RemoteTask>> {
        let sim = &self.sim;
        sim.pause().await;
        let mut answers = Vec::new();
        for task in tasks {
            let fate = sim.fate(true);
            answers.push(sim.answer(&format!("creates {:?}", task.title), None, fate, |state, now| {
                if state.plan == PlanTrouble::Deleted {
                    return Err(error(RemoteErrorKind::Gone, "404 for lack of a plan"));
                }
                if task.title.contains('!') {
                    return Err(error(RemoteErrorKind::Refused, "400"));
                }
                let values = field_values(&TaskFields { details: None, ..task.clone() });
                state.truth.check_noted(None, &values.into_iter().map(FieldChange::Set).collect());
                let id = state.insert(task, true, now);
                if fate == Fate::ForbiddenAfter {
                    state.truth.sometimes("403 on a POST that happened");
                }
                Ok(state.read(&id, now).unwrap())
            }));
        }
        sim.pause().await;
        answers
    }

    async fn update(&self, changes: &[(PlannerTaskId, String, TaskChanges)]) -> Vec<RemoteResult<RemoteTask>> {
        let sim = &self.sim;
        sim.pause().await;
        let mut answers = Vec::new();
        for (id, etag, changes) in changes {
            let sent = sent_to_task(changes);
            answers.push(sim.answer(
                &format!("updates {id} {etag} {sent:?}"),
                Some(id),
                sim.fate(false),
                |state, now| {
                    state.truth.check_noted(Some(id), &sent);
                    state.patch(id, etag, now, &sent)?;
                    Ok(state.read(id, now).unwrap())
                },
            ));
        }
        sim.pause().await;
        answers
    }

    async fn update_details(
        &self,
        changes: &[(PlannerTaskId, String, DetailChanges)],
    ) -> Vec<RemoteResult<RemoteDetails>> {
        let sim = &self.sim;
        sim.pause().await;
        let mut answers = Vec::new();
        for (id, etag, changes) in changes {
            let sent = sent_to_details(changes);
            answers.push(sim.answer(
                &format!("updates details {id} {etag} {sent:?}"),
                Some(id),
                sim.fate(false),
                |state, now| {
                    state.truth.check_noted(Some(id), &sent);
                    state.patch(id, etag, now, &sent)?;
                    Ok(state.read_details(id, now).unwrap())
                },
            ));
        }
        sim.pause().await;
        answers
    }

    async fn delete(&self, tasks: &[(PlannerTaskId, String)]) -> Vec<RemoteResult<()>> {
        let sim = &self.sim;
        sim.pause().await;
        let mut answers = Vec::new();
        for (id, etag) in tasks {
            answers.push(sim.answer(&format!("deletes {id} {etag}"), Some(id), sim.fate(false), |state, now| {
                if state.plan == PlanTrouble::Deleted {
                    return Err(error(RemoteErrorKind::Gone, "404 for lack of a plan"));
                }
                if !state.truth.task_of(id).is_some_and(|task| {
                    state.truth.agent_deleted.contains_key(task) || state.truth.hidden.contains(task)
                }) {
                    state.truth.breach(format!("I-22 {id} is deleted though no row says so"));
                }
                let Some(task) = state.tasks.get_mut(id).filter(|task| task.deleted.is_none()) else {
                    return Err(error(RemoteErrorKind::Gone, "404"));
                };
                if version(etag) != u64::MAX && task.etag() != version(etag) {
                    state.truth.sometimes("412 on DELETE");
                    return Err(error(RemoteErrorKind::Stale, "412"));
                }
                let _ = task.details_etag();
                task.deleted = Some(now);
                Ok(())
            }));
        }
        sim.pause().await;
        answers
    }

    /// As the `Date` of an answer tells it: to the second, some time after it was written.
    fn ahead(&self) -> chrono::TimeDelta {
        let ahead = self.sim.state().shape.skew - self.skew;
        chrono::TimeDelta::milliseconds(if ahead.abs() > 2_000 { ahead - ahead.rem_euclid(700) } else { 0 })
    }
}
