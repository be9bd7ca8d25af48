//! Conflict records: what the log keeps of a value that lost. Pure.

use chrono::{DateTime, Utc};
use serde_json::Value;

use super::merge::Decision;
use super::model::{ConflictKind, ConflictRecord, Field, Side, TaskFields, TaskRecord};

const RULE: &str =
    "both sides changed the field; Planner wins unless the agent wrote more than 30 s after the last look";

/// The records of a merge's decisions.
pub(super) fn conflicts(record: &TaskRecord, decisions: Vec<Decision>, at: DateTime<Utc>) -> Vec<ConflictRecord> {
    decisions
        .into_iter()
        .map(|decision| ConflictRecord {
            id: conflict_id(record, &decision.field, &decision.planner, at),
            task: record.id.clone(),
            title: record.fields.title.clone(),
            kind: ConflictKind::BothChanged,
            field: decision.field.to_string(),
            base: decision.base,
            agent: decision.agent,
            planner: decision.planner,
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
    base: Value,
    agent: Value,
    reason: &str,
    at: DateTime<Utc>,
) -> ConflictRecord {
    ConflictRecord {
        id: conflict_id(record, field, &agent, at),
        task: record.id.clone(),
        title: record.fields.title.clone(),
        kind: ConflictKind::Refused,
        field: field.to_string(),
        planner: base.clone(),
        base,
        agent,
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
    let value = |fields: Option<&TaskFields>| serde_json::to_value(fields).unwrap_or_default();
    ConflictRecord {
        id: conflict_id(record, &"", &Value::Null, at),
        task: record.id.clone(),
        title: record.fields.title.clone(),
        kind,
        field: String::new(),
        base: value(record.base()),
        agent: value(Some(&record.fields)),
        planner: Value::Null,
        winner: Side::Planner,
        reason: reason.to_owned(),
        at,
        restored: None,
    }
}

/// The record of a create that was matched with a task unlike what was sent.
pub(super) fn guessed(record: &TaskRecord, found: &TaskFields, at: DateTime<Utc>) -> ConflictRecord {
    let planner = serde_json::to_value(found).unwrap_or_default();
    let reason = "the answer to the create was lost and a person has edited its result, or what looks like it";
    ConflictRecord {
        id: conflict_id(record, &"created", &planner, at),
        planner,
        ..whole_task_conflict(record, ConflictKind::BothChanged, reason, at)
    }
}

/// Conflict rows sort by time; the same decision made twice has the same id.
pub(super) fn conflict_id(
    record: &TaskRecord,
    field: &dyn std::fmt::Display,
    planner: &Value,
    at: DateTime<Utc>,
) -> String {
    use sha2::Digest;
    let digest = sha2::Sha256::digest(format!("{}|{}|{field}|{planner}", record.id, record.revision));
    let suffix: String = digest.iter().take(6).map(|byte| format!("{byte:02x}")).collect();
    format!("{:013}-{}-{suffix}", at.timestamp_millis(), record.id)
}
