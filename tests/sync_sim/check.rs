//! What must hold when everything has come to rest.

use std::collections::BTreeSet;

use futures::FutureExt;
use graphgate::ids::{PlannerTaskId, TaskId};
use graphgate::rows::scan_prefix;
use graphgate::store::MemoryTables;
use graphgate::sync::field_value::field_values;
use graphgate::sync::model::{ConflictKind, Disputed, Field, FieldValue, TaskFields, TaskRecord};

use super::history::PARTITION;
use super::truth::{Truth, text};
use super::world::State;

/// Whether both sides show the same tasks with the same fields, the details aside, and nothing is under way.
pub fn arrived(state: &State) -> bool {
    let records: Vec<&TaskRecord> = state.truth.last.values().collect();
    let live = state.tasks.values().filter(|task| task.deleted.is_none()).count();
    records.len() == live
        && records.iter().all(|record| {
            let Some(remote) = &record.remote else { return false };
            let Some(task) = state.tasks.get(&remote.id).filter(|task| task.deleted.is_none()) else { return false };
            let same =
                TaskFields { details: None, ..record.fields.clone() } == TaskFields { details: None, ..task.fields() };
            record.pending.is_empty() && record.attempts.is_empty() && !record.deleted && same
        })
}

/// The invariants of the end.
pub fn finally(state: &mut State, tables: &MemoryTables) {
    let mut breaches = Vec::new();
    let mut breach = |text: String| breaches.push(text);
    let scan = |prefix: &str| {
        scan_prefix(tables, PARTITION, prefix).now_or_never().expect("memory answers at once").expect("memory works")
    };
    let records: Vec<TaskRecord> = scan("t|").iter().map(|row| row.decode().unwrap()).collect();
    let mut mapped: BTreeSet<PlannerTaskId> = BTreeSet::new();
    for record in &records {
        let Some(id) = record.planner_id() else {
            breach(format!("I-01 {} is not on Planner", record.id));
            continue;
        };
        if !mapped.insert(id.clone()) {
            breach(format!("I-02 {id} has two tasks"));
        }
        let Some(task) = state.tasks.get(id).filter(|task| task.deleted.is_none()) else {
            breach(format!("I-01 {} is gone from Planner", record.id));
            continue;
        };
        let (ours, theirs) = (field_values(&record.fields), field_values(&task.fields()));
        for field in ours.fields().chain(theirs.fields()).collect::<BTreeSet<_>>() {
            if ours.get(field) != theirs.get(field) {
                breach(format!(
                    "I-01 {} {field}: replica {:?}, Planner {:?}",
                    record.id,
                    ours.get(field),
                    theirs.get(field)
                ));
            }
        }
        // A second copy that a person has edited is a task of its own.
        let edited = state.truth.human.keys().any(|(edited, _)| edited == id);
        if task.by_app && !edited && record.id == TaskId::imported(&record.id.plan_key(), id) {
            breach(format!("I-02 {id}, created by us, was imported as {}: a twin", record.id));
        }
        if record.remote.as_ref().is_some_and(|remote| remote.base.is_some()) || !record.edited.is_empty() {
            breach(format!("I-26 {} carries a base or edit times at rest", record.id));
        }
    }
    for (id, _) in state.tasks.iter().filter(|(_, task)| task.deleted.is_none()) {
        if !mapped.contains(id) {
            breach(format!("I-01 {id} is not in the replica"));
        }
    }
    let ops = scan("o|");
    if let Some(op) = ops.first() {
        breach(format!("I-26 the journal is not empty: {}", op.key));
    }
    for id in &state.truth.told_failed {
        let updated = state.truth.conflicts.iter().any(|conflict| conflict.task == *id);
        if !updated && records.iter().any(|record| record.id == *id) {
            breach(format!("a create that was answered as failed remains: {id}"));
        }
    }
    let live: BTreeSet<TaskId> = records.iter().map(|record| record.id.clone()).collect();
    for id in state.truth.agent_deleted.keys() {
        if live.contains(id) && !state.truth.logged_whole(id) {
            breach(format!("I-06 {id} was deleted by the agent and lives"));
        }
    }
    lost_agent_writes(state, &records, &mut breach);
    lost_human_writes(state, &records, &mut breach);
    invented_conflicts(state, &mut breach);
    for conflict in &state.truth.conflicts.clone() {
        state.truth.sometimes(match conflict.winner {
            graphgate::sync::model::Side::Agent => "the agent wins a conflict",
            graphgate::sync::model::Side::Planner => "Planner wins a conflict",
        });
    }
    for text in breaches {
        state.truth.breach(text);
    }
}

fn value_of(record: Option<&TaskRecord>, field: &Field) -> Option<FieldValue> {
    record.and_then(|record| field_values(&record.fields).take(field))
}

/// I-03, the agent's side: a write arrived, was superseded by the agent, or is in the log.
fn lost_agent_writes(state: &State, records: &[TaskRecord], breach: &mut impl FnMut(String)) {
    let truth = &state.truth;
    for ((task, field), writes) in &truth.agent {
        if truth.agent_deleted.contains_key(task) || truth.dropped.contains(task) || truth.told_failed.contains(task) {
            continue;
        }
        let Some((at, value)) = writes.last() else { continue };
        let value = value.as_ref();
        let id = truth.ids.get(task);
        let planner = id.and_then(|id| truth.planner.get(&(id.clone(), field.clone())));
        if truth.idle.contains(&(task.clone(), field.clone())) {
            continue; // back to what Planner was known to have: no change
        }
        let seen = || Truth::first(truth.base.get(&(task.clone(), field.clone())), value, *at);
        // A person had written the same, which an older view still showed: then both agreed on it.
        if id.is_some() && Truth::first(planner, value, *at).is_none() && seen().is_some() {
            continue;
        }
        let arrived = id.and_then(|_| Truth::first(planner, value, *at));
        if writes.len() == 1 && truth.is_swapped(task) {
            continue; // it took the task of an equal create, which took this one's: both are there
        }
        if truth.logged(task, field, value, true) {
            continue;
        }
        let Some(arrived) = arrived else {
            breach(format!("I-03 the agent's {task} {field} = {} never arrived and is not logged", text(value)));
            continue;
        };
        let record = records.iter().find(|record| record.id == *task);
        let held = value_of(record, field);
        if record.is_none() || held.as_ref() == value {
            continue;
        }
        let people = id.and_then(|id| truth.human.get(&(id.clone(), field.clone())));
        if !people.is_some_and(|writes| writes.iter().any(|(at, wrote)| *at >= arrived && *wrote == held)) {
            breach(format!(
                "I-03 the agent's {task} {field} = {} was undone: it is {}, which nobody wrote later",
                text(value),
                text(held.as_ref())
            ));
        }
    }
}

/// I-03, the people's side.
fn lost_human_writes(state: &State, records: &[TaskRecord], breach: &mut impl FnMut(String)) {
    let truth = &state.truth;
    for ((id, field), writes) in &truth.human {
        if truth.human_deleted.contains_key(id) {
            continue;
        }
        let Some((at, value)) = writes.last() else { continue };
        let value = value.as_ref();
        let Some(task) = truth.task_of(id) else {
            breach(format!("I-01 {id} never came into the replica"));
            continue;
        };
        let record = records.iter().find(|record| record.id == *task);
        if record.is_none() && field.in_details() {
            continue; // a delete does not read the details first
        }
        if truth.logged(task, field, value, false) {
            continue;
        }
        if truth.is_back(task, field, value, *at) {
            continue;
        }
        if truth.unanswered.contains(&(id.clone(), field.clone(), text(value))) {
            continue; // both wrote the same, and the agent wrote again
        }
        let Some(shown) = Truth::first(truth.replica.get(&(task.clone(), field.clone())), value, *at) else {
            breach(format!("I-03 a person's {task} {field} = {} was never shown and is not logged", text(value)));
            continue;
        };
        let held = value_of(record, field);
        if record.is_none() || held.as_ref() == value {
            continue;
        }
        let agents = truth.agent.get(&(task.clone(), field.clone()));
        if !agents.is_some_and(|writes| writes.iter().any(|(at, wrote)| *at >= shown && *wrote == held)) {
            breach(format!(
                "I-03 a person's {task} {field} = {} was undone: it is {}, which no agent wrote later",
                text(value),
                text(held.as_ref())
            ));
        }
    }
}

/// I-05: what Planner is said to have had in a conflict was written by a person, not by us.
fn invented_conflicts(state: &State, breach: &mut impl FnMut(String)) {
    let truth = &state.truth;
    for conflict in &truth.conflicts {
        let Disputed::Field(field, sides) = &conflict.disputed else { continue };
        let planner = text(sides.planner.as_ref());
        if conflict.kind != ConflictKind::BothChanged || truth.is_swapped(&conflict.task) {
            continue;
        }
        // What had been given up and is found after all may have been a person's.
        let stray = (conflict.task.clone(), field.clone(), planner.clone());
        if conflict.winner == graphgate::sync::model::Side::Agent && truth.strays.contains(&stray) {
            continue;
        }
        let Some(id) = truth.ids.get(&conflict.task) else { continue };
        let people = truth.human.get(&(id.clone(), field.clone()));
        if !people.is_some_and(|writes| writes.iter().any(|(_, wrote)| *wrote == sides.planner)) {
            breach(format!("I-05 {} {field}: {planner} is taken for a person's", conflict.task));
        }
    }
}
