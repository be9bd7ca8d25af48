//! Conflict records: what the log keeps of a value that lost. Pure.

use chrono::{DateTime, Utc};
use serde::ser::SerializeStruct;
use serde::{Deserialize, Serialize, Serializer};
use serde_json::{Value, json};

use super::field_value::FieldValue;
use super::merge::Decision;
use super::model::{Field, Side, TaskFields, TaskRecord};
use crate::ids::TaskId;

/// Why a value lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ConflictKind {
    /// Both sides changed the field.
    BothChanged,
    /// Planner refused the value for good.
    Refused,
    /// One side deleted the task while the other edited it.
    DeletedWhileEdited,
    /// The task was found gone on Planner.
    GoneOnPlanner,
    /// A create whose answer was lost had made a second copy, which is removed.
    SecondCopy,
}

/// A decided conflict: the value of a `c|` row, written before the losing value is overwritten anywhere.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ConflictRecord {
    /// Its id.
    pub id: String,
    /// The task.
    pub task: TaskId,
    /// Its title when it happened.
    pub title: String,
    /// Why.
    pub kind: ConflictKind,
    /// What it is about, and the values.
    #[serde(flatten)]
    pub disputed: Disputed,
    /// Who won.
    pub winner: Side,
    /// The rule, or Planner's words.
    pub reason: String,
    /// When it was decided.
    pub at: DateTime<Utc>,
    /// Who has put the losing value back, which can be done once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub restored: Option<Restored>,
}

/// That a conflict's losing value was put back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Restored {
    /// When.
    pub at: DateTime<Utc>,
    /// The caller.
    pub by: String,
    /// The task that has the value: another one than the conflict's where that is gone.
    pub task: TaskId,
}

/// What a conflict is about. In the row it is the field's name, empty for the whole task, with three JSON values.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "StoredDisputed")]
pub enum Disputed {
    /// One field.
    Field(Field, Box<Sides<FieldValue>>),
    /// The whole task.
    Task(Box<Sides<TaskFields>>),
}

/// What each side has, and what both had last; `None` where there is nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sides<T> {
    /// The last value both sides agreed on.
    pub base: Option<T>,
    /// The agent's value.
    pub agent: Option<T>,
    /// Planner's value.
    pub planner: Option<T>,
}

impl<T> Sides<T> {
    /// The value that lost against that of `winner`.
    #[must_use]
    pub const fn lost(&self, winner: Side) -> Option<&T> {
        match winner {
            Side::Planner => self.agent.as_ref(),
            Side::Agent => self.planner.as_ref(),
        }
    }
}

impl Disputed {
    /// The field; `None` where the whole task is meant.
    #[must_use]
    pub const fn field(&self) -> Option<&Field> {
        match self {
            Self::Field(field, _) => Some(field),
            Self::Task(_) => None,
        }
    }
}

/// What a row has of [`Disputed`].
#[derive(Deserialize)]
struct StoredDisputed {
    field: String,
    base: Value,
    agent: Value,
    planner: Value,
}

impl TryFrom<StoredDisputed> for Disputed {
    type Error = String;
    fn try_from(stored: StoredDisputed) -> Result<Self, String> {
        let StoredDisputed { field, base, agent, planner } = stored;
        if field.is_empty() {
            let task = |json| serde_json::from_value(json).map_err(|error| error.to_string());
            let sides = Sides { base: task(base)?, agent: task(agent)?, planner: task(planner)? };
            return Ok(Self::Task(Box::new(sides)));
        }
        let field: Field = field.parse()?;
        let value = |json| FieldValue::from_json(&field, json).map_err(|error| error.to_string());
        let sides = Sides { base: value(base)?, agent: value(agent)?, planner: value(planner)? };
        Ok(Self::Field(field, Box::new(sides)))
    }
}

impl Serialize for Disputed {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        fn all<T: Serialize, S: Serializer>(field: &str, sides: &Sides<T>, serializer: S) -> Result<S::Ok, S::Error> {
            let mut stored = serializer.serialize_struct("Disputed", 4)?;
            stored.serialize_field("field", field)?;
            stored.serialize_field("base", &sides.base)?;
            stored.serialize_field("agent", &sides.agent)?;
            stored.serialize_field("planner", &sides.planner)?;
            stored.end()
        }
        match self {
            Self::Field(field, sides) => all(&field.to_string(), sides, serializer),
            Self::Task(sides) => all("", sides, serializer),
        }
    }
}

const RULE: &str =
    "both sides changed the field; Planner wins unless the agent wrote more than 30 s after the last refresh";

/// The records of a merge's decisions.
pub(super) fn conflicts(record: &TaskRecord, decisions: Vec<Decision>, at: DateTime<Utc>) -> Vec<ConflictRecord> {
    decisions
        .into_iter()
        .map(|decision| ConflictRecord {
            id: conflict_id(record, &decision.field, &decision.sides.planner, at),
            task: record.id.clone(),
            title: record.fields.title.clone(),
            kind: ConflictKind::BothChanged,
            disputed: Disputed::Field(decision.field, Box::new(decision.sides)),
            winner: decision.winner,
            reason: RULE.into(),
            at,
            restored: None,
        })
        .collect()
}

/// The record of one field that Planner refuses.
pub(super) fn refused(
    record: &TaskRecord,
    field: &Field,
    base: Option<FieldValue>,
    agent: Option<FieldValue>,
    reason: &str,
    at: DateTime<Utc>,
) -> ConflictRecord {
    ConflictRecord {
        id: conflict_id(record, field, &agent, at),
        task: record.id.clone(),
        title: record.fields.title.clone(),
        kind: ConflictKind::Refused,
        disputed: Disputed::Field(field.clone(), Box::new(Sides { planner: base.clone(), base, agent })),
        winner: Side::Planner,
        reason: reason.to_owned(),
        at,
        restored: None,
    }
}

/// The record of a task that loses as a whole.
pub(super) fn whole_task_conflict(
    record: &TaskRecord,
    kind: ConflictKind,
    reason: &str,
    at: DateTime<Utc>,
) -> ConflictRecord {
    whole_task(record, kind, None, reason, at)
}

fn whole_task(
    record: &TaskRecord,
    kind: ConflictKind,
    found: Option<&TaskFields>,
    reason: &str,
    at: DateTime<Utc>,
) -> ConflictRecord {
    let sides = Sides { base: record.base().cloned(), agent: Some(record.fields.clone()), planner: found.cloned() };
    ConflictRecord {
        id: conflict_id(record, &"", &sides.planner, at),
        task: record.id.clone(),
        title: record.fields.title.clone(),
        kind,
        disputed: Disputed::Task(Box::new(sides)),
        winner: Side::Planner,
        reason: reason.to_owned(),
        at,
        restored: None,
    }
}

/// The record of a create that was matched with a task unlike what was sent.
pub(super) fn guessed(record: &TaskRecord, found: &TaskFields, at: DateTime<Utc>) -> ConflictRecord {
    let reason = "the answer to the create was lost and a person has edited its result, or what looks like it";
    ConflictRecord {
        id: conflict_id(record, &"created", &found, at),
        ..whole_task(record, ConflictKind::BothChanged, Some(found), reason, at)
    }
}

/// A person's change of a task that was deleted here.
pub(super) fn edited_while_deleted(record: &TaskRecord, found: &TaskFields, at: DateTime<Utc>) -> ConflictRecord {
    let reason = "deleted here while a person edited it";
    ConflictRecord {
        id: conflict_id(record, &Field::Title, &found, at),
        winner: Side::Agent,
        ..whole_task(record, ConflictKind::DeletedWhileEdited, Some(found), reason, at)
    }
}

/// Conflict rows sort by time; the same decision made twice has the same id.
fn conflict_id(
    record: &TaskRecord,
    field: &dyn std::fmt::Display,
    planner: &impl Serialize,
    at: DateTime<Utc>,
) -> String {
    use sha2::Digest;
    let planner = json!(planner);
    let digest = sha2::Sha256::digest(format!("{}|{}|{field}|{planner}", record.id, record.revision));
    let suffix: String = digest.iter().take(6).map(|byte| format!("{byte:02x}")).collect();
    format!("{:013}-{}-{suffix}", at.timestamp_millis(), record.id)
}

#[cfg(test)]
mod tests {
    use super::*;

    const STORED: &str = r#"{"id":"1-t-2","task":"TASK","title":"a","kind":"both_changed","field":"due_date","base":null,"agent":"2026-11-28T00:00:00+00:00","planner":null,"winner":"planner","reason":"r","at":"2026-11-28T00:00:00Z"}"#;

    fn stored() -> String {
        let plan = crate::ids::PlanKey::derive(&crate::ids::PlanId::parse("xqQg5FS2LkCp935s-FIFm2QAFkHM").unwrap(), 0);
        STORED.replace("TASK", TaskId::keyed(&plan, "test", "k").as_str())
    }

    #[test]
    fn conflict_row_round_trips() {
        let conflict: ConflictRecord = serde_json::from_str(&stored()).unwrap();
        let Disputed::Field(field, sides) = &conflict.disputed else { panic!("a field is in dispute") };
        assert_eq!((field, sides.base.as_ref()), (&Field::Due, None));
        assert_eq!(serde_json::to_string(&conflict).unwrap(), stored());
        let whole = ConflictRecord {
            disputed: Disputed::Task(Box::new(Sides { base: None, agent: Some(TaskFields::blank()), planner: None })),
            ..conflict
        };
        let text = serde_json::to_string(&whole).unwrap();
        assert!(text.contains(r#""field":"","base":null,"agent":{"title":"","priority":5},"planner":null"#), "{text}");
        assert_eq!(serde_json::from_str::<ConflictRecord>(&text).unwrap(), whole);
    }

    #[test]
    fn conflict_row_with_a_value_of_another_field_is_refused() {
        let row = crate::rows::Row {
            key: "c|1".into(),
            version: crate::rows::RowVersion("1".into()),
            json: stored().replace("due_date", "priority").into(),
        };
        let error = row.decode::<ConflictRecord>().unwrap_err();
        assert_eq!(error.to_string(), "row `c|1` cannot be read or written");
        let source = std::error::Error::source(&error).unwrap().to_string();
        assert!(source.contains("`priority` cannot be null"), "{source}");
    }
}
