//! How a page of tasks is printed: as columns and rows, objects, Markdown or CSV.

use serde_json::{Map, Value};

use super::Hit;
use crate::ids::UserId;
use crate::services::Error;
use crate::services::planner::Planner;
use crate::services::planner::view::{SyncOutcome, TaskPage};
use crate::services::planner::words::{Status, print_date, print_day, print_time, priority_word};
use crate::sync::model::{PlanRecord, TaskRecord};

/// Every column there is; the first seven are shown unless asked otherwise.
pub const COLUMNS: &[&str] = &[
    "id",
    "title",
    "bucket",
    "status",
    "priority",
    "due_date",
    "assignees",
    "plan",
    "planner_id",
    "percent_complete",
    "start_date",
    "categories",
    "checklist",
    "created",
    "created_by",
    "completed",
    "completed_by",
    "changed",
    "sync",
];
const DEFAULT_COLUMNS: usize = 7;

/// How a page is printed.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Format {
    Table,
    Json,
    Markdown,
    Csv,
}

impl Format {
    /// Reads the name of a format.
    pub(super) fn parse(text: Option<&str>) -> Result<Self, Error> {
        match text.unwrap_or("table") {
            "table" => Ok(Self::Table),
            "json" => Ok(Self::Json),
            "markdown" | "md" => Ok(Self::Markdown),
            "csv" => Ok(Self::Csv),
            other => Err(Error::invalid(format!("`{other}` is no format")).hint("use table, json, markdown or csv")),
        }
    }
}

/// The columns a query names, or the usual ones.
pub(super) fn columns(fields: Option<&[String]>, several_plans: bool) -> Result<Vec<&'static str>, Error> {
    let Some(fields) = fields.filter(|fields| !fields.is_empty()) else {
        let columns = COLUMNS.iter().take(DEFAULT_COLUMNS + usize::from(several_plans));
        return Ok(columns.copied().collect());
    };
    let column = |field: &String| {
        COLUMNS.iter().find(|column| **column == field.trim()).copied().ok_or_else(|| {
            Error::invalid(format!("there is no column `{field}`")).hint(format!("columns: {}", COLUMNS.join(", ")))
        })
    };
    fields.iter().map(column).collect()
}

impl Planner {
    /// Prints the rows of a page into the answer.
    pub(super) fn print(&self, answer: &mut TaskPage, page: &[&Hit], columns: &[&'static str], format: Format) {
        let cells = |hit: &&Hit, name: &dyn Fn(&UserId) -> String| -> Vec<Value> {
            columns.iter().map(|column| cell(hit, column, format, name)).collect()
        };
        let rows: Vec<Vec<Value>> = self.people.with_names(|name| page.iter().map(|hit| cells(hit, name)).collect());
        match format {
            Format::Table => {
                answer.columns = columns.to_vec();
                answer.rows = Some(rows);
            }
            Format::Json => {
                let object = |row: Vec<Value>| -> Map<String, Value> {
                    columns
                        .iter()
                        .map(|column| (*column).to_owned())
                        .zip(row)
                        .filter(|(_, value)| !value.is_null())
                        .collect()
                };
                answer.tasks = Some(rows.into_iter().map(object).collect());
            }
            Format::Markdown => answer.text = Some(markdown(columns, &rows)),
            Format::Csv => answer.text = Some(csv(columns, &rows)),
        }
    }
}

/// How far a task's last write has come.
pub(in crate::services::planner) fn sync_of(record: &TaskRecord) -> SyncOutcome {
    if record.is_dirty() { SyncOutcome::Pending } else { SyncOutcome::Synced }
}

fn cell(hit: &Hit, column: &str, format: Format, name: &dyn Fn(&UserId) -> String) -> Value {
    let (record, fields) = (&hit.record, &hit.record.fields);
    let list = |items: Vec<String>| match (format, items.is_empty()) {
        (Format::Json, _) => Value::from(items),
        (_, true) => Value::Null,
        (_, false) => Value::from(items.join("; ")),
    };
    let person = |user: &Option<UserId>| user.as_ref().map(name).into();
    match column {
        "id" => Value::from(record.id.as_str()),
        "title" => Value::from(fields.title.as_str()),
        "bucket" => bucket_name(&hit.plan, record).into(),
        "status" => Value::from(Status::of(fields.percent_complete).word()),
        "priority" => Value::from(priority_word(fields.priority)),
        "due_date" => fields.due.map(print_day).into(),
        "assignees" => list(fields.assignees.iter().map(name).collect()),
        "plan" => Value::from(hit.plan.title.as_str()),
        "planner_id" => record.planner_id().map(crate::ids::PlannerTaskId::as_str).into(),
        "percent_complete" => Value::from(fields.percent_complete),
        "start_date" => fields.start.map(print_date).into(),
        "categories" => list(category_names(&hit.plan, record)),
        "checklist" => {
            let all = record.facts.checklist_items;
            (all > 0).then(|| format!("{}/{all}", all - record.facts.open_checklist_items.min(all))).into()
        }
        "created" => record.facts.created_at.map(print_time).into(),
        "created_by" => person(&record.facts.created_by),
        "completed" => record.facts.completed_at.map(print_time).into(),
        "completed_by" => person(&record.facts.completed_by),
        "changed" => Value::from(print_time(record.changed_at)),
        "sync" => serde_json::to_value(sync_of(record)).unwrap_or_default(),
        _ => Value::Null,
    }
}

/// The name of a task's bucket.
pub(in crate::services::planner) fn bucket_name(plan: &PlanRecord, record: &TaskRecord) -> Option<String> {
    let id = record.fields.bucket.as_ref()?;
    plan.buckets.iter().find(|bucket| bucket.id == *id).map(|bucket| bucket.name.clone())
}

/// The names of a task's labels; `category7` for one without a name.
pub(in crate::services::planner) fn category_names(plan: &PlanRecord, record: &TaskRecord) -> Vec<String> {
    let name = |number: &u8| plan.category_names.get(number).cloned().unwrap_or_else(|| format!("category{number}"));
    record.fields.categories.iter().map(name).collect()
}

fn text_of(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

fn markdown(columns: &[&str], rows: &[Vec<Value>]) -> String {
    let escape = |value: &Value| text_of(value).replace('\\', "\\\\").replace('|', "\\|").replace(['\n', '\r'], " ");
    let mut text = format!("| {} |\n|{}\n", columns.join(" | "), "---|".repeat(columns.len()));
    for row in rows {
        text.push_str(&format!("| {} |\n", row.iter().map(escape).collect::<Vec<_>>().join(" | ")));
    }
    text
}

/// CSV as spreadsheets read it; a cell that would start a formula is given a quote in front.
fn csv(columns: &[&str], rows: &[Vec<Value>]) -> String {
    let cell = |value: &Value| {
        let text = text_of(value);
        if text.starts_with(['=', '+', '-', '@', '\t', '\r']) { format!("'{text}") } else { text }
    };
    let mut writer = csv::WriterBuilder::new().from_writer(Vec::new());
    let lines = std::iter::once(columns.iter().map(|column| (*column).to_owned()).collect::<Vec<_>>())
        .chain(rows.iter().map(|row| row.iter().map(cell).collect()));
    for line in lines {
        if writer.write_record(line).is_err() {
            break; // writing to memory does not fail
        }
    }
    String::from_utf8(writer.into_inner().unwrap_or_default()).unwrap_or_default()
}
