//! How a page of tasks is printed: as columns and rows, objects, Markdown or CSV.

use serde_json::{Map, Value};

use chrono_tz::Tz;

use super::Hit;
use crate::ids::UserId;
use crate::services::Error;
use crate::services::directory::Names as PeopleNames;
use crate::services::planner::Planner;
use crate::services::planner::days::{day_of, print_date};
use crate::services::planner::view::{SyncOutcome, TaskPage};
use crate::services::planner::words::{Status, priority_word};
use crate::services::print_time;
use crate::sync::model::{PlanRecord, TaskRecord};
use crate::text;

macro_rules! columns {
    ($($column:ident $name:literal,)*) => {
        /// A column.
        #[derive(Clone, Copy, PartialEq, Eq)]
        pub(super) enum Column {
            $($column,)*
        }

        /// Every column there is; the first seven are shown unless asked otherwise.
        pub const COLUMNS: &[&str] = &[$($name,)*];
        const ALL: &[Column] = &[$(Column::$column,)*];

        impl Column {
            fn name(self) -> &'static str {
                match self { $(Self::$column => $name,)* }
            }
        }
    };
}

columns! {
    Id "id",
    Title "title",
    Bucket "bucket",
    Status "status",
    Priority "priority",
    DueDate "due_date",
    Assignees "assignees",
    Plan "plan",
    PlannerId "planner_id",
    PercentComplete "percent_complete",
    StartDate "start_date",
    Categories "categories",
    Checklist "checklist",
    Created "created",
    CreatedBy "created_by",
    Completed "completed",
    CompletedBy "completed_by",
    Changed "changed",
    Sync "sync",
    Link "link",
}
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
pub(super) fn columns(fields: Option<&[String]>, several_plans: bool) -> Result<Vec<Column>, Error> {
    let Some(fields) = fields.filter(|fields| !fields.is_empty()) else {
        let columns = ALL.iter().take(DEFAULT_COLUMNS + usize::from(several_plans));
        return Ok(columns.copied().collect());
    };
    let column = |field: &String| {
        ALL.iter().find(|column| column.name() == field.trim()).copied().ok_or_else(|| {
            Error::invalid(format!("there is no column `{field}`")).hint(format!("columns: {}", COLUMNS.join(", ")))
        })
    };
    fields.iter().map(column).collect()
}

/// Whether every person on a page could be named.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Names {
    /// All of them.
    Known,
    /// An id stands for at least one.
    Missing,
}

impl Planner {
    /// Prints the rows of a page into the answer.
    pub(super) fn print(
        &self,
        answer: &mut TaskPage,
        page: &[Hit],
        columns: &[Column],
        format: Format,
        zone: Tz,
    ) -> Names {
        let tenant = self.tenant.as_str();
        let (rows, all_known) = self.directory.people.with_names(|names| {
            let row = |hit: &Hit| columns.iter().map(|column| column.cell(hit, format, names, zone, tenant)).collect();
            let rows: Vec<Vec<Value>> = page.iter().map(row).collect();
            (rows, names.all_known())
        });
        let titles = || columns.iter().map(|column| column.name());
        match format {
            Format::Table => {
                answer.columns = titles().collect();
                answer.rows = Some(rows);
            }
            Format::Json => {
                let object = |row: Vec<Value>| -> Map<String, Value> {
                    titles().map(str::to_owned).zip(row).filter(|(_, value)| !value.is_null()).collect()
                };
                answer.tasks = Some(rows.into_iter().map(object).collect());
            }
            Format::Markdown => answer.text = Some(markdown(&titles().collect::<Vec<_>>(), &rows)),
            Format::Csv => answer.text = Some(csv(&titles().collect::<Vec<_>>(), &rows)),
        }
        if all_known { Names::Known } else { Names::Missing }
    }
}

/// How far a task's last write has come.
pub(in crate::services::planner) fn sync_of(record: &TaskRecord) -> SyncOutcome {
    if record.is_dirty() { SyncOutcome::Pending } else { SyncOutcome::Synced }
}

impl Column {
    fn cell(self, hit: &Hit, format: Format, names: &PeopleNames<'_>, zone: Tz, tenant: &str) -> Value {
        let (record, fields) = (&hit.record, &hit.record.fields);
        let person = |user: &Option<UserId>| user.as_ref().map(|user| names.of(user)).into();
        match self {
            Self::Id => Value::from(record.id.as_str()),
            Self::Title => Value::from(fields.title.as_str()),
            Self::Bucket => {
                hit.bucket.and_then(|place| hit.plan.buckets.get(place)).map(|bucket| bucket.name.as_str()).into()
            }
            Self::Status => Value::from(Status::of(fields.percent_complete).word()),
            Self::Priority => Value::from(priority_word(fields.priority)),
            Self::DueDate => fields.due.map(|due| day_of(due, zone).to_string()).into(),
            Self::Assignees => list(fields.assignees.iter().map(|user| names.of(user)), format),
            Self::Plan => Value::from(hit.plan.title.as_str()),
            Self::PlannerId => record.planner_id().map(crate::ids::PlannerTaskId::as_str).into(),
            Self::PercentComplete => Value::from(fields.percent_complete),
            Self::StartDate => fields.start.map(|start| print_date(start, zone)).into(),
            Self::Categories => list(category_names(&hit.plan, record).iter().map(String::as_str), format),
            Self::Checklist => {
                let all = record.facts.checklist_items;
                // `1/2` would become a date in a spreadsheet program.
                let of = if format == Format::Csv { " of " } else { "/" };
                (all > 0).then(|| format!("{}{of}{all}", all - record.facts.open_checklist_items.min(all))).into()
            }
            Self::Created => record.facts.created_at.map(print_time).into(),
            Self::CreatedBy => person(&record.facts.created_by),
            Self::Completed => record.facts.completed_at.map(print_time).into(),
            Self::CompletedBy => person(&record.facts.completed_by),
            Self::Changed => Value::from(print_time(record.changed_at)),
            Self::Sync => serde_json::to_value(sync_of(record)).unwrap_or_default(),
            Self::Link => link(tenant, &hit.plan, record).into(),
        }
    }
}

/// A list in one cell: a list in JSON, joined text elsewhere.
fn list<'a>(items: impl Iterator<Item = &'a str>, format: Format) -> Value {
    if format == Format::Json {
        return items.map(Value::from).collect();
    }
    let mut text = String::new();
    for item in items {
        if !text.is_empty() {
            text.push_str("; ");
        }
        text.push_str(item);
    }
    if text.is_empty() { Value::Null } else { Value::String(text) }
}

/// Where a person sees the task in Planner; `None` before Planner has it.
pub(in crate::services::planner) fn link(tenant: &str, plan: &PlanRecord, record: &TaskRecord) -> Option<String> {
    let id = record.planner_id()?;
    Some(format!("https://planner.cloud.microsoft/webui/plan/{}/view/board/task/{id}?tid={tenant}", plan.id))
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
    let escape = |value: &Value| text::markdown(&text_of(value));
    let mut table = format!("| {} |\n|{}\n", columns.join(" | "), "---|".repeat(columns.len()));
    for row in rows {
        table.push_str(&format!("| {} |\n", row.iter().map(escape).collect::<Vec<_>>().join(" | ")));
    }
    table
}

/// CSV as spreadsheets read it; no cell is a formula.
fn csv(columns: &[&str], rows: &[Vec<Value>]) -> String {
    let cell = |value: &Value| text::cell(&text_of(value));
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
