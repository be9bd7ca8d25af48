//! What really happened: every value either side ever had, and every breach of an invariant seen on the way.

use std::collections::{BTreeMap, BTreeSet};

use graphgate::ids::{PlannerTaskId, TaskId};
use graphgate::sync::Outcome;
use graphgate::sync::field_value::field_values;
use graphgate::sync::lease::Fence;
use graphgate::sync::model::{
    ConflictKind, ConflictRecord, Disputed, Field, FieldChange, FieldValue, OfField, OpRecord, Sent, Side, Sides,
    TaskRecord,
};
use serde::Serialize;
use serde_json::json;

/// A value at a time.
pub type Dated = (i64, Option<FieldValue>);

/// A value as text: what is printed, and what sets of values have.
pub fn text(value: Option<&FieldValue>) -> String {
    json!(value).to_string()
}

/// The agent's value in a conflict, and Planner's.
pub fn texts(conflict: &ConflictRecord) -> [String; 2] {
    fn of<T: Serialize>(sides: &Sides<T>) -> [String; 2] {
        [&sides.agent, &sides.planner].map(|value| json!(value).to_string())
    }
    match &conflict.disputed {
        Disputed::Field(_, sides) => of(sides),
        Disputed::Task(sides) => of(sides),
    }
}

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
    /// Creates Planner answered in a way that said that nothing remains.
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
    /// I-29: what a caller gets is what became of its own fields, no matter what else was edited meanwhile. So many
    /// conflicts were decided when the call began, and when its operation had been journalled.
    pub fn check_told(
        &mut self,
        task: &TaskId,
        op: &OpRecord,
        changes: &[FieldChange],
        outcome: &Outcome,
        (began, journalled): (usize, usize),
    ) {
        let since = |decided: usize| -> Vec<&ConflictRecord> {
            let since = self.conflicts.iter().skip(decided).filter(|conflict| conflict.task == *task);
            since.filter(|conflict| conflict.winner == Side::Planner).collect()
        };
        let of_call =
            |conflict: &&&ConflictRecord| conflict.disputed.field().is_none_or(|about| op.fields.contains(about));
        let lost = |conflict: &&&ConflictRecord| {
            let Disputed::Field(about, sides) = &conflict.disputed else { return false };
            let is_it = |wish: &FieldChange| wish.field() == about.into() && wish.value() == sides.agent.as_ref();
            op.fields.contains(about) && changes.iter().any(is_it)
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
        let [agent, _] = texts(conflict);
        let known = self.ids.contains_key(&conflict.task);
        let field = conflict.disputed.field();
        if !agent.contains('!') || (field.is_none() && known) {
            let ConflictRecord { task, reason, .. } = conflict;
            self.breach(format!("I-30 {task} {field:?} {agent} is refused ({reason})"));
        }
    }

    pub fn task_of(&self, id: &PlannerTaskId) -> Option<&TaskId> {
        self.ids.iter().find(|(_, planner_id)| *planner_id == id).map(|(task, _)| task)
    }

    /// The value a history had at `at`.
    pub fn at(values: Option<&Vec<Dated>>, at: i64) -> Option<&FieldValue> {
        let found = values.and_then(|values| values.iter().rev().find(|(time, _)| *time <= at));
        found.and_then(|(_, value)| value.as_ref())
    }
    /// When a history first had `value`, at `since` or later.
    pub fn first(values: Option<&Vec<Dated>>, value: Option<&FieldValue>, since: i64) -> Option<i64> {
        if Self::at(values, since) == value {
            return Some(since);
        }
        values?.iter().find(|(time, found)| *time >= since && found.as_ref() == value).map(|(time, _)| *time)
    }
    /// Whether the conflict log has `value` as the agent's (or Planner's) loser.
    pub fn logged(&self, task: &TaskId, field: &Field, value: Option<&FieldValue>, agents: bool) -> bool {
        fn side<T>(sides: &Sides<T>, agents: bool) -> Option<&T> {
            if agents { sides.agent.as_ref() } else { sides.planner.as_ref() }
        }
        self.conflicts.iter().filter(|conflict| conflict.task == *task).any(|conflict| match &conflict.disputed {
            Disputed::Field(about, sides) => about == field && side(sides, agents) == value,
            Disputed::Task(sides) => side(sides, agents).is_some_and(|fields| field_values(fields).get(field) == value),
        })
    }

    /// Whether the log has the task as a whole.
    pub fn logged_whole(&self, task: &TaskId) -> bool {
        self.conflicts.iter().any(|conflict| conflict.task == *task && conflict.disputed.field().is_none())
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
    pub fn is_back(&self, task: &TaskId, field: &Field, value: Option<&FieldValue>, at: i64) -> bool {
        let key = (task.clone(), field.clone());
        let known = self.base.get(&key);
        let writes = self.agent.get(&key);
        let wrote =
            writes.is_some_and(|writes| writes.iter().any(|(when, wrote)| *when < at && wrote.as_ref() == value));
        Self::at(known, at) == value
            || (wrote && known.is_some_and(|known| known.iter().any(|(_, known)| known.as_ref() == value)))
    }

    /// Notes a value in a history when it differs from the last.
    pub fn note<K: Ord>(history: &mut BTreeMap<K, Vec<Dated>>, key: K, at: i64, value: Option<FieldValue>) {
        let values = history.entry(key).or_default();
        if values.last().is_none_or(|(_, last)| *last != value) {
            values.push((at, value));
        }
    }
}
