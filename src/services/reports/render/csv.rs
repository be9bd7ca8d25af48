//! The tasks, in the columns of Planner's own Excel export, as importers of such files expect them.

use chrono::NaiveDate;

use crate::services::reports::model::{Report, TaskLine};
use crate::text;

/// Planner's columns, in its order.
pub const COLUMNS: [&str; 18] = [
    "Task ID",
    "Task Name",
    "Bucket Name",
    "Progress",
    "Priority",
    "Assigned To",
    "Created By",
    "Created Date",
    "Start date",
    "Due date",
    "Is Recurring",
    "Late",
    "Completed Date",
    "Completed By",
    "Completed Checklist Items",
    "Checklist Items",
    "Labels",
    "Description",
];

/// Tells spreadsheet programs on Windows that the file is UTF-8.
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// The cells of a task, in the order of [`COLUMNS`], with days as `print` prints them.
pub fn cells(task: &TaskLine, print: impl Fn(NaiveDate) -> String) -> [String; 18] {
    let day = |day: Option<NaiveDate>| day.map(&print).unwrap_or_default();
    let optional = |text: &Option<String>| text.clone().unwrap_or_default();
    [
        task.id.clone(),
        task.title.clone(),
        optional(&task.bucket),
        task.status.clone(),
        task.priority.clone(),
        task.assignees.join(";"),
        optional(&task.created_by),
        day(task.created),
        day(task.start),
        day(task.due),
        String::new(), // Graph v1.0 does not say whether a task recurs
        task.days_late.is_some().to_string(),
        day(task.completed),
        optional(&task.completed_by),
        // `1/2` would become a date in a spreadsheet program.
        task.checklist_done.as_deref().unwrap_or_default().replace('/', " of "),
        task.checklist.join(";"),
        task.labels.join(";"),
        task.description.clone(),
    ]
}

pub fn write(report: &Report) -> Result<Vec<u8>, csv::Error> {
    // Planner's own export has one plan; of several each row says which, in a column after Planner's.
    let several = report.plans.len() > 1;
    let mut writer = csv::WriterBuilder::new().terminator(csv::Terminator::CRLF).from_writer(BYTE_ORDER_MARK.to_vec());
    writer.write_record(COLUMNS.iter().copied().chain(several.then_some("Plan Name")))?;
    for task in &report.tasks {
        let row = cells(task, |day| day.to_string());
        let plan = several.then(|| task.plan.clone().unwrap_or_default());
        writer.write_record(row.into_iter().chain(plan).map(|cell| text::cell(&cell)))?;
    }
    writer.into_inner().map_err(|error| error.into_error().into())
}
