//! `graphgate task list`: one page, or with `--all` every page as one answer.

use serde_json::{Map, Value};

use super::super::session::Session;
use crate::services::planner::input::QueryTasks;

pub const EXAMPLES: &str = "Examples:
  graphgate task list --plan \"Website relaunch\" --status late
  graphgate task list --assignee alex@contoso.com --due-before 2026-08-01 --sort due_date
  graphgate task list --plan \"Website relaunch\" --all -o csv > tasks.csv
  graphgate task list --status open --query 'tasks[?priority==`\"urgent\"`].[id, title]' -o md";

/// Filters of the list.
#[derive(Debug, Clone, clap::Args)]
pub struct Filters {
    /// Plan id or title; all plans if omitted
    #[arg(long)]
    plan: Option<String>,
    /// Bucket id or name, `none` for tasks in none; once for each
    #[arg(long)]
    bucket: Vec<String>,
    /// User id, UPN or display name, `none` for unassigned; once for each
    #[arg(long, value_name = "USER")]
    assignee: Vec<String>,
    /// `not_started`, `in_progress`, `completed`, `open` (not completed) or `late`; once for each
    #[arg(long)]
    status: Vec<String>,
    /// Due on this day
    #[arg(long, value_name = "DATE")]
    due_on: Option<String>,
    /// Due before this date
    #[arg(long, value_name = "DATE")]
    due_before: Option<String>,
    /// Due on or after this date
    #[arg(long, value_name = "DATE")]
    due_after: Option<String>,
    /// urgent, important, medium, low or 0-10
    #[arg(long)]
    priority: Option<String>,
    /// Label name
    #[arg(long, value_name = "LABEL")]
    category: Option<String>,
    /// Words in any order: title, description, checklist
    #[arg(long)]
    text: Option<String>,
    /// User id, UPN or display name of who created it
    #[arg(long, value_name = "USER")]
    created_by: Option<String>,
    /// Created at or after
    #[arg(long, value_name = "DATE")]
    created_since: Option<String>,
    /// Completed at or after
    #[arg(long, value_name = "DATE")]
    completed_since: Option<String>,
    /// Seen to change at or after
    #[arg(long, value_name = "DATE")]
    changed_since: Option<String>,
    /// `due_date`, `priority`, `title`, `bucket`, `created` or `changed`; `-` in front reverses
    #[arg(long, value_name = "COLUMN", allow_hyphen_values = true)]
    sort: Option<String>,
    /// IANA zone of the days; the server's if omitted
    #[arg(long, value_name = "ZONE")]
    time_zone: Option<String>,
    /// Columns to show, separated by commas
    #[arg(long, value_name = "COLUMNS", value_delimiter = ',')]
    fields: Vec<String>,
    /// Tasks on a page, 1-1000 (200)
    #[arg(long, value_name = "N")]
    limit: Option<u32>,
    /// Show this page, by the cursor of the one before
    #[arg(long, conflicts_with = "all")]
    cursor: Option<String>,
    /// Show all pages
    #[arg(long)]
    all: bool,
    /// Ask Planner first
    #[arg(long)]
    fresh: bool,
}

impl Filters {
    fn into_query(self, format: &str) -> QueryTasks {
        let some = |values: Vec<String>| (!values.is_empty()).then_some(values);
        QueryTasks {
            plan_id: self.plan,
            bucket: some(self.bucket),
            assignee: some(self.assignee),
            status: some(self.status),
            due_on: self.due_on,
            due_before: self.due_before,
            due_after: self.due_after,
            priority: self.priority,
            category: self.category,
            text: self.text,
            created_by: self.created_by,
            created_since: self.created_since,
            completed_since: self.completed_since,
            changed_since: self.changed_since,
            sort: self.sort,
            time_zone: self.time_zone,
            fields: some(self.fields),
            format: Some(format.to_owned()),
            limit: self.limit,
            cursor: self.cursor,
            fresh: self.fresh.then_some(true),
        }
    }
}

/// Prints the tasks.
///
/// # Errors
/// The tool's own error, or a failure of the connection.
pub async fn run(session: &Session, filters: Filters) -> anyhow::Result<()> {
    let all = filters.all;
    let mut query = filters.into_query(if session.output.wants_objects() { "json" } else { "table" });
    let mut answer = session.call("query_tasks", &query).await?;
    while let Some(cursor) = next_page(&answer).filter(|_| all) {
        query.cursor = Some(cursor);
        // One refresh serves all pages.
        query.fresh = None;
        append(&mut answer, session.call("query_tasks", &query).await?);
    }
    session.output.print(&answer)
}

fn next_page(answer: &Value) -> Option<String> {
    answer.get("cursor").and_then(Value::as_str).map(str::to_owned)
}

/// Adds a page: its tasks go to the end, and what it says of the list replaces what the one before said.
fn append(answer: &mut Value, page: Value) {
    let (Value::Object(answer), Value::Object(page)) = (answer, page) else { return };
    for member in ["cursor", "note"] {
        answer.remove(member);
    }
    for (member, value) in page {
        match (answer.get_mut(&member), value) {
            (Some(Value::Array(items)), Value::Array(more)) if member != "columns" => items.extend(more),
            (_, value) => replace(answer, member, value),
        }
    }
}

fn replace(answer: &mut Map<String, Value>, member: String, value: Value) {
    answer.insert(member, value);
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn paged_answers_are_joined() {
        let mut answer =
            json!({"columns": ["id"], "rows": [["1"]], "total": 2, "complete": false, "cursor": "c", "as_of": "a"});
        append(&mut answer, json!({"columns": ["id"], "rows": [["2"]], "total": 2, "complete": true, "as_of": "b"}));
        assert_eq!(
            answer,
            json!({"columns": ["id"], "rows": [["1"], ["2"]], "total": 2, "complete": true, "as_of": "b"})
        );
        assert_eq!(next_page(&answer), None);
    }
}
