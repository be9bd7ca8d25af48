//! Tasks from a JSON or CSV file, checked item by item before anything is sent.
//!
//! The columns of a CSV file are the fields of the tools; the names Planner's own export and `task list` use are
//! understood too, in any letter case. An empty cell leaves its field alone, and an unknown column is refused rather
//! than dropped.

use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};

use super::super::failure::Failure;
use super::fields::{checklist_item, reference};
use crate::services::arguments;
use crate::text::from_cell;

/// Most items of a file that are named because they do not fit.
const SHOWN: usize = 10;

/// The file's items as arguments of a tool; `list` is the member of a JSON object that may hold them.
///
/// # Errors
/// When the file is neither JSON nor CSV, or an item does not fit; the message names the item and the field.
pub fn items<T: DeserializeOwned>(text: &str, list: &str) -> Result<Vec<T>, Failure> {
    let items = if text.trim_start().starts_with(['[', '{']) { from_json(text, list)? } else { from_csv(text)? };
    if items.is_empty() {
        return Err(Failure::invalid("the file has no tasks"));
    }
    let mut read = Vec::with_capacity(items.len());
    let mut wrong: Vec<Failure> = Vec::new();
    for (place, item) in items.into_iter().enumerate() {
        match typed(place + 1, item) {
            Ok(item) => read.push(item),
            Err(failure) => wrong.push(failure),
        }
    }
    match wrong.as_slice() {
        [] => Ok(read),
        [only] => Err(only.clone()),
        several => {
            let shown: Vec<String> = several.iter().take(SHOWN).map(ToString::to_string).collect();
            let more = several.len().saturating_sub(SHOWN);
            let rest = if more > 0 { format!("; and {more} more") } else { String::new() };
            Err(Failure::invalid(format!("{}{rest}", shown.join("; ")))
                .hint("nothing was sent: correct them all at once"))
        }
    }
}

fn typed<T: DeserializeOwned>(number: usize, item: Value) -> Result<T, Failure> {
    if !item.is_object() {
        return Err(Failure::invalid(format!("task {number} is no object with the fields of a task")));
    }
    serde_path_to_error::deserialize(item).map_err(|error| {
        let field = error.path().to_string();
        let place = if field == "." { String::new() } else { format!(", `{field}`") };
        Failure::invalid(format!("task {number}{place}: {}", arguments::plain(&error.inner().to_string())))
    })
}

fn from_json(text: &str, list: &str) -> Result<Vec<Value>, Failure> {
    let no_json = |error: serde_json::Error| Failure::invalid(format!("the file is no JSON: {error}"));
    match serde_json::from_str(text).map_err(no_json)? {
        Value::Array(items) => Ok(items),
        Value::Object(mut object) => match object.remove(list) {
            Some(Value::Array(items)) => Ok(items),
            _ => Err(Failure::invalid(format!("the file has no list `{list}`"))
                .hint(format!("write a JSON array, or an object with `{list}`"))),
        },
        _ => Err(Failure::invalid("the file is no list of tasks")),
    }
}

fn from_csv(text: &str) -> Result<Vec<Value>, Failure> {
    let no_csv = |error: csv::Error| Failure::invalid(format!("the file is no CSV: {error}"));
    let delimiter = if text.lines().next().is_some_and(|header| header.contains(';') && !header.contains(',')) {
        b';'
    } else {
        b','
    };
    let mut reader = csv::ReaderBuilder::new().delimiter(delimiter).from_reader(text.as_bytes());
    let columns = reader.headers().map_err(no_csv)?.iter().map(column).collect::<Result<Vec<_>, _>>()?;
    let mut items = Vec::new();
    for record in reader.records() {
        let record = record.map_err(no_csv)?;
        let mut item = Map::new();
        for (column, cell) in columns.iter().zip(&record).filter(|(_, cell)| !cell.trim().is_empty()) {
            column.put(&mut item, from_cell(cell));
        }
        if !item.is_empty() {
            items.push(Value::Object(item));
        }
    }
    Ok(items)
}

/// What a column holds.
enum Column {
    Text(&'static str),
    Number(&'static str),
    List(&'static str),
    Status,
    Checklist(&'static str),
    References(&'static str),
    Custom(String),
}

const KNOWN: &str = "task_id, plan_id, title, bucket_id, description, assignee_ids, start_date, due_date, priority, status, \
                     percent_complete, checklist, references, categories, clear, idempotency_key, custom_fields.NAME; for changes also \
                     add_ and remove_ before assignees, categories, checklist and references, tick_checklist, untick_checklist";

fn column(name: &str) -> Result<Column, Failure> {
    let name = name.trim();
    if let Some(field) = name.strip_prefix("custom_fields.") {
        return Ok(Column::Custom(field.to_owned()));
    }
    Ok(match name.to_lowercase().replace([' ', '-'], "_").as_str() {
        "task_id" | "id" => Column::Text("task_id"),
        "plan_id" => Column::Text("plan_id"),
        "title" | "task_name" => Column::Text("title"),
        "bucket_id" | "bucket" | "bucket_name" => Column::Text("bucket_id"),
        "description" | "notes" => Column::Text("description"),
        "assignee_ids" | "assignees" | "assigned_to" => Column::List("assignee_ids"),
        "start_date" => Column::Text("start_date"),
        "due_date" => Column::Text("due_date"),
        "priority" => Column::Text("priority"),
        "status" | "progress" => Column::Status,
        "percent_complete" => Column::Number("percent_complete"),
        "checklist" | "checklist_items" => Column::Checklist("checklist"),
        "references" => Column::References("references"),
        "add_checklist" => Column::Checklist("add_checklist"),
        "add_references" => Column::References("add_references"),
        "add_assignees" => Column::List("add_assignees"),
        "remove_assignees" => Column::List("remove_assignees"),
        "add_categories" => Column::List("add_categories"),
        "remove_categories" => Column::List("remove_categories"),
        "tick_checklist" => Column::List("tick_checklist"),
        "untick_checklist" => Column::List("untick_checklist"),
        "remove_checklist" => Column::List("remove_checklist"),
        "remove_references" => Column::List("remove_references"),
        "categories" | "labels" => Column::List("categories"),
        "clear" => Column::List("clear"),
        "idempotency_key" => Column::Text("idempotency_key"),
        _ => {
            return Err(Failure::invalid(format!("there is no field for the column `{name}`"))
                .hint(format!("columns: {KNOWN}")));
        }
    })
}

impl Column {
    fn put(&self, item: &mut Map<String, Value>, cell: &str) {
        let parts = || cell.split(';').map(str::trim).filter(|part| !part.is_empty());
        match self {
            Self::Text(field) => item.insert((*field).to_owned(), cell.trim().into()),
            Self::Number(field) => {
                let number = cell.trim().parse::<i64>();
                item.insert((*field).to_owned(), number.map_or_else(|_| cell.into(), Value::from))
            }
            Self::List(field) => item.insert((*field).to_owned(), parts().collect::<Vec<_>>().into()),
            Self::Status => item.insert("status".to_owned(), cell.trim().to_lowercase().replace(' ', "_").into()),
            Self::Checklist(field) => {
                item.insert((*field).to_owned(), json!(parts().map(checklist_item).collect::<Vec<_>>()))
            }
            Self::References(field) => {
                item.insert((*field).to_owned(), json!(parts().map(reference).collect::<Vec<_>>()))
            }
            Self::Custom(field) => {
                let fields = item.entry("custom_fields").or_insert_with(|| json!({}));
                fields.as_object_mut().and_then(|fields| fields.insert(field.clone(), cell.into()))
            }
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::services::planner::input::{CreateTask, UpdateTask};

    #[test]
    fn json_task_file_is_a_list_or_tool_arguments() {
        for text in [r#"[{"title": "a", "priority": 5}]"#, r#"{"tasks": [{"title": "a", "priority": "5"}]}"#] {
            let tasks: Vec<CreateTask> = items(text, "tasks").unwrap();
            assert_eq!((tasks[0].title.as_str(), tasks[0].priority.as_deref()), ("a", Some("5")));
        }
    }

    #[test]
    fn csv_columns_are_matched_by_common_names() {
        let text = "Task Name,Bucket Name,Assigned To,Due date,Labels,Checklist Items,custom_fields.Risk\n\
                    '=1+1,Doing,Ana Silva;bo@x.com,2026-09-01,,[x] one; two,high\n";
        let tasks: Vec<CreateTask> = items(text, "tasks").unwrap();
        insta::assert_snapshot!(serde_json::to_string(&tasks).unwrap(), @r#"[{"title":"=1+1","bucket_id":"Doing","assignee_ids":["Ana Silva","bo@x.com"],"due_date":"2026-09-01","checklist":[{"title":"one","checked":true},{"title":"two","checked":false}],"custom_fields":{"Risk":"high"}}]"#);
    }

    #[test]
    fn csv_may_use_semicolons() {
        let updates: Vec<UpdateTask> =
            items("id;Progress;percent_complete\nt;In progress;\nu;;50\n", "updates").unwrap();
        assert_eq!((updates[0].status.as_deref(), updates[1].percent_complete), (Some("in_progress"), Some(50)));
    }

    #[test]
    fn invalid_task_file_error_names_the_place() {
        let refused = |text: &str| items::<CreateTask>(text, "tasks").unwrap_err().to_string();
        assert_eq!(refused("title,colour\na,red\n"), "there is no field for the column `colour`");
        assert!(refused(r#"[{"title": "a"}, {"titel": "b"}]"#).starts_with("task 2, `titel`: unknown field `titel`"));
        let both = refused("title,priority\n,urgent\nb,low\n,low\n");
        assert_eq!(both, "task 1: `title` is missing; task 3: `title` is missing");
        assert!(refused("[{]").starts_with("the file is no JSON"));
        assert_eq!(refused(r#"{"updates": []}"#), "the file has no list `tasks`");
        assert_eq!(refused("title\n"), "the file has no tasks");
    }
}
