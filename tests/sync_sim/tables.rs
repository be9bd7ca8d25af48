//! A store that fails before and after its effect, and remembers for the checks what was committed.

use std::sync::Arc;

use async_trait::async_trait;
use futures::FutureExt;
use graphgate::ids::{PlannerTaskId, TaskId};
use graphgate::rows::{Found, Page, Row, RowVersion, StoreError, Tables, Write};
use graphgate::store::MemoryTables;
use graphgate::sync::field_value::field_values;
use graphgate::sync::lease::Fence;
use graphgate::sync::model::{
    ConflictKind, ConflictRecord, Field, FrozenBecause, OfField, OpKind, OpRecord, PlanState, THE_ENGINE, TaskRecord,
};

use super::truth::{Truth, text, texts};
use super::world::{Sim, State};

pub struct SimTables {
    sim: Arc<Sim>,
    pub inner: MemoryTables,
}

impl SimTables {
    pub fn new(sim: Arc<Sim>) -> Self {
        Self { sim, inner: MemoryTables::default() }
    }
    fn unavailable() -> StoreError {
        StoreError::Unavailable { reason: "the disk sulks".into() }
    }
    async fn before(&self) -> Result<(), StoreError> {
        self.sim.pause().await;
        let percent = self.sim.state().shape.faults.store_before;
        if self.sim.chance(percent) { Err(Self::unavailable()) } else { Ok(()) }
    }
}

#[async_trait]
impl Tables for SimTables {
    async fn get(&self, partition: &str, key: &str) -> Result<Option<Row>, StoreError> {
        self.before().await?;
        self.inner.get(partition, key).await
    }

    async fn scan(&self, partition: &str, from: &str, to: &str, limit: usize) -> Result<Page, StoreError> {
        self.before().await?;
        let limit = limit.min(1 + self.sim.below(4) as usize); // small pages are pages too
        self.inner.scan(partition, from, to, limit).await
    }

    async fn commit(&self, partition: &str, writes: Vec<Write>) -> Result<Vec<Option<RowVersion>>, StoreError> {
        self.before().await?;
        let answer = self.inner.commit(partition, writes.clone()).now_or_never().expect("memory answers at once");
        self.sim.say(|| {
            let keys: Vec<String> = writes
                .iter()
                .map(|write| format!("{}{}", if write.json.is_none() { "-" } else { "" }, write.key))
                .collect();
            format!("store {} -> {}", keys.join(" "), answer.as_ref().map_or_else(ToString::to_string, |_| "ok".into()))
        });
        if let Err(StoreError::Conflict { key, .. }) = &answer
            && let Some(fence) = writes.iter().find(|write| write.key == "f")
        {
            let mut state = self.sim.state();
            let ours: Fence = decode(fence);
            if state.truth.fence.as_ref().is_some_and(|fence| fence.holder != ours.holder && fence.token >= ours.token)
            {
                state.truth.sometimes("a stale holder is refused");
            } else if key == "v" {
                state.truth.sometimes("a follow-up meets a caller's write");
            }
        }
        if let Err(error) = &answer
            && !error.is_conflict()
        {
            self.sim.state().truth.breach(format!("I-10 a transaction no store takes: {error}"));
        }
        let happened = answer.is_ok();
        if happened {
            let now = self.sim.time.millis();
            let mut state = self.sim.state();
            check_brake(&mut state, &writes);
            state.store_commits += u64::from(writes.iter().any(|write| !matches!(write.key.as_str(), "v" | "f")));
            for write in &writes {
                observe(&mut state, write, now);
            }
            journalled(&mut state, &writes, now);
        }
        self.sim.pause().await;
        let faults = self.sim.state().shape.faults.clone();
        if happened && self.sim.chance(faults.store_after) {
            self.sim.say(|| "store: ... but the caller hears of a failure".into());
            self.sim.state().truth.sometimes("store failed after its effect");
            return Err(Self::unavailable());
        }
        if happened && self.sim.chance(faults.store_lies) {
            self.sim.say(|| "store: ... but the caller hears of a conflict".into());
            self.sim.state().truth.sometimes("a retried commit meets itself");
            let key = writes.first().map(|write| write.key.clone()).unwrap_or_default();
            return Err(StoreError::Conflict { key, found: Found::OtherVersion });
        }
        answer
    }
}

fn decode<T: serde::de::DeserializeOwned>(write: &Write) -> T {
    serde_json::from_str(write.json.as_ref().unwrap()).unwrap()
}

/// I-20: no transaction of a pass removes more than a fifth of the plan, and five tasks, before the guard held it back.
fn check_brake(state: &mut State, writes: &[Write]) {
    let buried = writes.iter().filter(|write| write.key.starts_with("d|") && write.json.is_some()).count();
    if buried > 5
        && buried * 5 > state.truth.last.len()
        && !state.truth.seen.contains_key("the mass-change guard holds back")
    {
        state.truth.breach(format!("I-20 {buried} tasks went at once without a guard"));
    }
}

/// What a committed row shows, and the invariants it can break.
fn observe(state: &mut State, write: &Write, now: i64) {
    match (write.key.as_str(), &write.json) {
        ("f", Some(_)) => {
            let fence: Fence = decode(write);
            if let Some(last) = &state.truth.fence
                && (fence.token < last.token || (fence.token == last.token && fence.holder != last.holder))
            {
                state.truth.breach(format!("I-11 {fence:?} was written after {last:?}"));
            }
            if state.truth.fence.as_ref().is_some_and(|last| last.busy && last.holder != fence.holder) {
                state.truth.sometimes("a silent holder is overtaken");
            }
            state.truth.fence = Some(fence);
        }
        ("h", Some(_)) => {
            let plan: PlanState = decode(write);
            if plan.guard.is_some() {
                state.truth.sometimes("the mass-change guard holds back");
            }
            if let Some(frozen) = plan.frozen {
                state.truth.sometimes(match frozen.why {
                    FrozenBecause::PermissionLost => "a plan is frozen for lack of a permission",
                    FrozenBecause::PlanGone => "a plan is frozen because it is gone",
                    FrozenBecause::WritesDenied => "a plan is frozen because it may not be written",
                });
            }
        }
        _ => {}
    }
    let Some((kind, rest)) = write.key.split_once('|') else { return };
    match (kind, write.json.is_some()) {
        ("t", true) => {
            let record: TaskRecord = decode(write);
            if let Some(trace) = &mut state.trace {
                trace.push(format!("            {}", write.json.as_deref().unwrap_or_default()));
            }
            state.truth.notes.extend(record.attempts.last().map(|attempt| attempt.sent.clone()));
            if record.deleted {
                state.truth.hidden.insert(record.id.clone());
            }
            for stray in &record.strays {
                let sent = stray
                    .sent
                    .iter()
                    .map(|change| (record.id.clone(), change.field().to_field(), text(change.value())));
                state.truth.strays.extend(sent);
            }
            observe_task(state, &record, now);
            state.truth.last.insert(record.id.clone(), record);
        }
        ("t", false) => {
            let id = TaskId::parse(rest).unwrap();
            let record = state.truth.last.remove(&id);
            if record.is_some_and(|record| record.remote.is_none() && record.attempts.is_empty()) {
                state.truth.dropped.insert(id); // deleted before it was sent, or refused: then a conflict follows
            }
        }
        ("d", true) => {
            let id = PlannerTaskId::parse(rest).unwrap();
            let lives = state.tasks.get(&id).is_some_and(|task| task.deleted.is_none());
            if lives {
                state.truth.breach(format!("I-07 {id} is buried while it lives"));
            }
        }
        ("l", true) => state.truth.sometimes("a create is given up"),
        ("e", true) => {
            let number = rest.parse().unwrap();
            if number <= state.truth.events {
                state.truth.breach(format!("event {number} comes after {}", state.truth.events));
            }
            state.truth.events = number;
        }
        ("c", true) => {
            let conflict: ConflictRecord = decode(write);
            if let Some(trace) = &mut state.trace {
                let [agent, planner] = texts(&conflict);
                let field = conflict.disputed.field().map(ToString::to_string).unwrap_or_default();
                trace.push(format!(
                    "          conflict {} `{field}` agent {agent} planner {planner} winner {:?}: {}",
                    conflict.task, conflict.winner, conflict.reason
                ));
            }
            if conflict.kind == ConflictKind::SecondCopy {
                state.truth.sometimes("a second copy is removed");
            }
            if conflict.kind == ConflictKind::Refused {
                state.truth.check_refused(&conflict);
            }
            state.truth.conflicts.push(conflict);
        }
        _ => {}
    }
}

fn observe_task(state: &mut State, record: &TaskRecord, now: i64) {
    let truth = &mut state.truth;
    let values = field_values(&record.fields);
    // Every field that was ever shown: what the task lacks of them it has lost, be it while it was gone.
    let known: Vec<Field> = truth
        .replica
        .range((record.id.clone(), Field::Title)..)
        .take_while(|((id, _), _)| *id == record.id)
        .map(|((_, field), _)| field.clone())
        .collect();
    for field in values.fields().chain(known.iter().map(Into::into)) {
        if !record.deleted && (record.fields.details.is_some() || !field.in_details()) {
            let value = values.get(field).cloned();
            Truth::note(&mut truth.replica, (record.id.clone(), field.to_field()), now, value);
        }
    }
    let Some(remote) = &record.remote else { return };
    if let Some(other) = truth.task_of(&remote.id)
        && *other != record.id
    {
        let other = other.clone();
        truth.breach(format!("I-02 {} belongs to {other} and to {}", remote.id, record.id));
    }
    truth.ids.insert(record.id.clone(), remote.id.clone());
    if let Some(last) = truth.last.get(&record.id).and_then(|last| last.remote.clone())
        && (last.etag > remote.etag || (remote.details_etag.is_some() && last.details_etag > remote.details_etag))
    {
        truth.breach(format!("I-08 {} goes back from {} to {}", record.id, last.etag, remote.etag));
    }
    let base = record.base().unwrap();
    let values = field_values(base);
    for field in values.fields().chain(known.iter().map(Into::into)) {
        if base.details.is_some() || !field.in_details() {
            let value = values.get(field).cloned();
            Truth::note(&mut truth.base, (record.id.clone(), field.to_field()), now, value);
        }
    }
    for value in &values {
        let field = value.field().to_field();
        let history = truth.planner.get(&(remote.id.clone(), field.clone()));
        if !history.is_some_and(|history| history.iter().any(|(_, found)| found.as_ref() == Some(value))) {
            truth.breach(format!("I-09 {} {field} = {value} in the base was never on Planner", record.id));
        }
    }
}

/// The agents' writes are those that were journalled.
fn journalled(state: &mut State, writes: &[Write], now: i64) {
    for write in writes.iter().filter(|write| write.key.starts_with("o|") && write.json.is_some()) {
        let op: OpRecord = decode(write);
        let task = TaskId::parse(write.key.split('|').nth(1).unwrap()).unwrap();
        let Some(row) = writes.iter().find(|write| write.key == format!("t|{task}")) else { continue };
        let record: TaskRecord = decode(row);
        if op.kind == OpKind::Create {
            state.truth.creates.insert(task.clone());
        }
        if op.kind == OpKind::Delete {
            state.truth.agent_deleted.insert(task.clone(), now);
            continue;
        }
        if op.by == THE_ENGINE {
            continue; // an older value is put right: nobody wrote anything, and nothing shows
        }
        if !record.deleted && !writes.iter().any(|write| write.key.starts_with("e|")) {
            state.truth.breach(format!("{task}: {:?} was journalled without an event", op.kind));
        }
        let values = field_values(&record.fields);
        for field in op.fields {
            let value = values.get(&field).cloned();
            let known = record.remote.is_some().then(|| record.base().map(field_values)).flatten();
            let idle = known.is_some_and(|known| known.get(&field) == value.as_ref());
            if idle {
                state.truth.idle.insert((task.clone(), field.clone()));
            } else {
                state.truth.idle.remove(&(task.clone(), field.clone()));
            }
            state.truth.agent.entry((task.clone(), field)).or_default().push((now, value));
        }
    }
}
