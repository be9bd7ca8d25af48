//! What really happened: every value either side ever had, and every breach of an invariant seen on the way.

use std::collections::{BTreeMap, BTreeSet};

use graphgate::ids::{PlannerTaskId, TaskId};
use graphgate::sync::Outcome;
use graphgate::sync::lease::Fence;
use graphgate::sync::merge::pieces;
use graphgate::sync::model::{ConflictKind, ConflictRecord, Field, OpRecord, Sent, Side, TaskFields, TaskRecord};
use serde_json::Value;

/// A value at a time; absent is null.
pub type Dated = (i64, Value);

#[derive(Default)]
pub struct Truth {
    /// What agents journalled, by task and field.
    pub agent: BTreeMap<(TaskId, Field), Vec<Dated>>,
    pub agent_deleted: BTreeMap<TaskId, i64>,
    /// Fields agents last set to what Planner was known to have.
    pub idle: BTreeSet<(TaskId, Field)>,
    /// Tasks agents created.
    pub creates: BTreeSet<TaskId>,
    /// Rows removed before they were ever sent.
    pub dropped: BTreeSet<TaskId>,
    /// Creates Planner answered in a way that told the caller nothing remains.
    pub told_failed: BTreeSet<TaskId>,
    /// What people wrote in Planner.
    pub human: BTreeMap<(PlannerTaskId, Field), Vec<Dated>>,
    pub human_deleted: BTreeMap<PlannerTaskId, i64>,
    /// Every value a field had on Planner, by the time it got it.
    pub planner: BTreeMap<(PlannerTaskId, Field), Vec<Dated>>,
    /// Every value a field had in the replica.
    pub replica: BTreeMap<(TaskId, Field), Vec<Dated>>,
    /// Every value the engine knew a field to have on Planner.
    pub base: BTreeMap<(TaskId, Field), Vec<Dated>>,
    pub ids: BTreeMap<TaskId, PlannerTaskId>,
    pub last: BTreeMap<TaskId, TaskRecord>,
    pub conflicts: Vec<ConflictRecord>,
    /// What was ever noted before it was sent.
    pub notes: Vec<Sent>,
    /// What was ever given up as unanswered: found later, it may be a person's.
    pub strays: BTreeSet<(TaskId, Field, String)>,
    /// What a person wrote while a call of ours with the same value was unanswered.
    pub unanswered: BTreeSet<(PlannerTaskId, Field, String)>,
    /// Rows that ever asked for their task's deletion.
    pub hidden: BTreeSet<TaskId>,
    /// The fence as it was committed last.
    pub fence: Option<Fence>,
    /// The number of the newest event.
    pub events: u64,
    pub breaches: Vec<String>,
    pub seen: BTreeMap<&'static str, u64>,
}

impl Truth {
    pub fn breach(&mut self, text: String) {
        if self.breaches.len() < 20 {
            self.breaches.push(text);
        }
    }
    pub fn sometimes(&mut self, what: &'static str) {
        *self.seen.entry(what).or_insert(0) += 1;
    }
    /// I-22: what reaches Planner was written down before.
    pub fn check_noted(&mut self, id: Option<&PlannerTaskId>, sent: &Sent) {
        if !self.notes.contains(sent) {
            self.breach(format!(
                "I-22 {} {sent:?} was sent and never noted",
                id.map_or("a create of", |id| id.as_str())
            ));
        }
    }
    /// I-29: what a caller hears is what became of its own fields, whatever else was edited meanwhile. So many
    /// conflicts were decided when the call began, and when its operation had been journalled.
    pub fn check_told(
        &mut self,
        task: &TaskId,
        op: &OpRecord,
        wishes: &[(Field, Value)],
        outcome: &Outcome,
        (began, journalled): (usize, usize),
    ) {
        let since = |decided: usize| -> Vec<&ConflictRecord> {
            let since = self.conflicts.iter().skip(decided).filter(|conflict| conflict.task == *task);
            since.filter(|conflict| conflict.winner == Side::Planner).collect()
        };
        let of_call = |conflict: &&&ConflictRecord| {
            conflict.field.is_empty() || op.fields.iter().any(|field| field.to_string() == conflict.field)
        };
        let lost = |conflict: &&&ConflictRecord| {
            op.fields.iter().any(|field| field.to_string() == conflict.field)
                && wishes.iter().any(|(field, value)| field.to_string() == conflict.field && *value == conflict.agent)
        };
        let refused = |conflict: &&&ConflictRecord| conflict.kind == ConflictKind::Refused;
        let breach = match outcome {
            Outcome::Synced { overruled: 0 } => {
                since(journalled).iter().find(lost).map(|conflict| format!("lost {conflict:?}"))
            }
            Outcome::Synced { .. } => {
                let has_lost = since(began).iter().any(|conflict| of_call(&conflict));
                (!has_lost).then(|| "has lost nothing".to_owned())
            }
            Outcome::Failed { .. } => {
                let is_over =
                    !self.last.contains_key(task) || since(began).iter().filter(refused).any(|it| of_call(&it));
                (!is_over).then(|| "was refused nothing".to_owned())
            }
            Outcome::Pending { .. } => None,
        };
        if let Some(breach) = breach {
            self.breach(format!("I-29 {task} {:?}: told {outcome:?}, and it {breach}", op.fields));
        }
    }

    /// I-30: only what Planner refuses for its content is refused, and nothing with it.
    pub fn check_refused(&mut self, conflict: &ConflictRecord) {
        let is_bad = |value: &Value| value.to_string().contains('!');
        let known = self.ids.contains_key(&conflict.task);
        if !is_bad(&conflict.agent) || (conflict.field.is_empty() && known) {
            let ConflictRecord { task, field, agent, reason, .. } = conflict;
            self.breach(format!("I-30 {task} `{field}` {agent} is refused ({reason})"));
        }
    }

    pub fn task_of(&self, id: &PlannerTaskId) -> Option<&TaskId> {
        self.ids.iter().find(|(_, planner_id)| *planner_id == id).map(|(task, _)| task)
    }

    /// The value a history had at `at`.
    pub fn at(values: Option<&Vec<Dated>>, at: i64) -> Value {
        let found = values.and_then(|values| values.iter().rev().find(|(time, _)| *time <= at));
        found.map(|(_, value)| value.clone()).unwrap_or_default()
    }
    /// When a history first had `value`, at `since` or later.
    pub fn first(values: Option<&Vec<Dated>>, value: &Value, since: i64) -> Option<i64> {
        if Self::at(values, since) == *value {
            return Some(since);
        }
        values?.iter().find(|(time, found)| *time >= since && found == value).map(|(time, _)| *time)
    }
    /// Whether the conflict log has `value` as the agent's (or Planner's) loser.
    pub fn logged(&self, task: &TaskId, field: &Field, value: &Value, agents: bool) -> bool {
        self.conflicts.iter().filter(|conflict| conflict.task == *task).any(|conflict| {
            let side = if agents { &conflict.agent } else { &conflict.planner };
            if conflict.field == field.to_string() {
                return side == value;
            }
            conflict.field.is_empty()
                && serde_json::from_value::<TaskFields>(side.clone())
                    .is_ok_and(|fields| pieces(&fields).get(field).cloned().unwrap_or_default() == *value)
        })
    }

    /// Whether the log has the task as a whole.
    pub fn logged_whole(&self, task: &TaskId) -> bool {
        self.conflicts.iter().any(|conflict| conflict.task == *task && conflict.field.is_empty())
    }

    /// Whether the task adopted what another create had made: its creation was not that of its row, in value or time.
    pub fn is_swapped(&self, task: &TaskId) -> bool {
        let Some(id) = self.ids.get(task) else { return false };
        let ours = self.agent.get(&(task.clone(), Field::Title)).and_then(|writes| writes.first());
        let theirs = self.planner.get(&(id.clone(), Field::Title)).and_then(|values| values.first());
        let Some(((sent, ours), (made, theirs))) = ours.zip(theirs) else { return false };
        self.creates.contains(task) && (ours != theirs || made < sent)
    }

    /// Whether a person's value is what the engine knew, or itself put there: back to it, there is no change to tell of.
    pub fn is_back(&self, task: &TaskId, field: &Field, value: &Value, at: i64) -> bool {
        let key = (task.clone(), field.clone());
        let known = self.base.get(&key);
        let wrote =
            self.agent.get(&key).is_some_and(|writes| writes.iter().any(|(when, wrote)| *when < at && wrote == value));
        Self::at(known, at) == *value
            || (wrote && known.is_some_and(|known| known.iter().any(|(_, known)| known == value)))
    }

    /// Notes a value in a history when it differs from the last.
    pub fn note<K: Ord>(history: &mut BTreeMap<K, Vec<Dated>>, key: K, at: i64, value: Value) {
        let values = history.entry(key).or_default();
        if values.last().map_or(Value::Null, |(_, value)| value.clone()) != value || values.is_empty() {
            values.push((at, value));
        }
    }
}
