//! The sync state in few words: what a model reads before it continues.
//!
//! Health and the conflict log say everything about every plan; here plans that are up to date are only counted, and long values are
//! cut, so that an answer about hundreds of plans still fits in a conversation.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::Events;
use crate::auth::Caller;
use crate::services::Error;
use crate::services::IntoJson;
use crate::services::planner::{ConflictKindView, ConflictQuery, ConflictView, PlanHealth, SyncState, Winner};

/// Plans shown one by one.
const PLANS: usize = 20;
/// Conflicts shown, unless asked otherwise.
const CONFLICTS: u32 = 20;
/// Characters shown of a text.
const TEXT: usize = 200;

/// What is asked about.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct StatusQuery {
    /// Plan id or title; all plans in use if omitted
    pub plan_id: Option<String>,
    /// List conflicts too whose losing value was not put back
    pub conflicts: Option<bool>,
    /// From the previous page of conflicts
    pub cursor: Option<String>,
}

/// The sync state of plans.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct SyncStatus {
    /// The worst of all plans': up_to_date, pending or stopped.
    pub status: SyncState,
    /// Plans for which nothing waits.
    pub up_to_date: usize,
    /// The other plans, and one that was asked for.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub plans: Vec<PlanHealth>,
    /// Plans not up to date that are left out here.
    #[serde(skip_serializing_if = "is_zero")]
    pub left_out: usize,
    /// Decided conflicts, the newest first.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub conflicts: Option<Vec<ConflictBrief>>,
    /// Leads to older conflicts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cursor: Option<String>,
}

impl IntoJson for SyncStatus {}

/// A conflict in brief.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct ConflictBrief {
    /// Its id, for resolve_conflict.
    pub id: String,
    /// When it was decided.
    pub at: String,
    /// The task.
    pub task_id: String,
    /// The task's title then.
    pub title: String,
    /// Why there was something to decide.
    pub kind: ConflictKindView,
    /// The field; missing where the whole task is meant.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub field: Option<String>,
    /// Whose value holds.
    pub winner: Winner,
    /// The value that holds, as text; anything but a text or nothing as JSON.
    pub holds: String,
    /// The value that lost, likewise.
    pub lost: String,
}

impl Events {
    /// Answers the sync state of plans; asks the store alone.
    ///
    /// # Errors
    /// When there is no such plan, or the store cannot be read.
    pub async fn status(&self, caller: &Caller, query: &StatusQuery) -> Result<SyncStatus, Error> {
        let health = self.planner.sync_health(caller, query.plan_id.as_deref()).await?;
        let wanted = |plan: &PlanHealth| query.plan_id.is_some() || plan.status != SyncState::UpToDate;
        let up_to_date = health.plans.iter().filter(|plan| plan.status == SyncState::UpToDate).count();
        let mut plans: Vec<PlanHealth> = health.plans.into_iter().filter(wanted).collect();
        plans.sort_by_key(|plan| std::cmp::Reverse(plan.status));
        let left_out = plans.len().saturating_sub(PLANS);
        plans.truncate(PLANS);
        let (mut conflicts, mut cursor) = (None, None);
        if query.conflicts == Some(true) {
            let query = ConflictQuery {
                plan_id: query.plan_id.clone(),
                open: Some(true),
                limit: Some(CONFLICTS),
                cursor: query.cursor.clone(),
                ..ConflictQuery::default()
            };
            let page = self.planner.conflicts(caller, &query).await?;
            (conflicts, cursor) = (Some(page.conflicts.into_iter().map(brief).collect()), page.cursor);
        }
        Ok(SyncStatus { status: health.status, up_to_date, plans, left_out, conflicts, cursor })
    }
}

fn brief(conflict: ConflictView) -> ConflictBrief {
    let (holds, lost) = match conflict.winner {
        Winner::Agent => (conflict.agent, conflict.planner),
        Winner::Planner => (conflict.planner, conflict.agent),
    };
    ConflictBrief {
        id: conflict.id,
        at: conflict.at,
        task_id: conflict.task_id,
        title: conflict.title,
        kind: conflict.kind,
        field: conflict.field,
        winner: conflict.winner,
        holds: in_words(holds),
        lost: in_words(lost),
    }
}

/// A value as text, its own texts cut; nothing is empty.
fn in_words(value: Value) -> String {
    match shortened(value) {
        Value::Null => String::new(),
        Value::String(text) => text,
        other => other.to_string(),
    }
}

/// A value whose texts are cut.
fn shortened(value: Value) -> Value {
    match value {
        Value::String(text) if text.chars().count() > TEXT => {
            Value::String(text.chars().take(TEXT).chain(['…']).collect())
        }
        Value::Array(items) => Value::Array(items.into_iter().map(shortened).collect()),
        Value::Object(members) => {
            Value::Object(members.into_iter().map(|(name, value)| (name, shortened(value))).collect())
        }
        other => other,
    }
}

#[allow(clippy::trivially_copy_pass_by_ref)] // the signature serde asks for
fn is_zero(number: &usize) -> bool {
    *number == 0
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn field_values_are_rendered_as_text() {
        assert_eq!(in_words(json!("Draft")), "Draft");
        assert_eq!(in_words(json!(50)), "50");
        assert_eq!(in_words(Value::Null), "");
        assert_eq!(in_words(json!({"title": "a", "checked": true})), r#"{"title":"a","checked":true}"#);
    }

    #[test]
    fn only_long_texts_are_truncated() {
        let long = "é".repeat(TEXT + 1);
        let cut = shortened(json!({"title": "short", "notes": [long, 5, null]}));
        assert_eq!(cut, json!({"title": "short", "notes": [format!("{}…", "é".repeat(TEXT)), 5, null]}));
    }
}
