//! Finds rows and columns in an answer, no matter which tool or query it came from.

use serde_json::{Map, Value};

/// An answer, ready to be laid out.
#[derive(Debug, PartialEq)]
pub enum Shape {
    /// Items with the same members.
    Table {
        /// The members' names.
        columns: Vec<String>,
        /// One row for each item.
        rows: Vec<Vec<Value>>,
    },
    /// One thing and its members.
    Record(Vec<(String, Value)>),
    /// A single value.
    Value(String),
    /// Text that the server has laid out.
    Text(String),
}

/// Members that say something about a list; an answer with one list and only these beside it is that list.
const ABOUT_A_LIST: &[&str] = &["complete", "cursor", "total", "as_of", "note", "plan_id"];

impl Shape {
    /// The shape of an answer; of lists, only `members` of each item if any are given.
    pub fn of(answer: &Value, members: &[&str]) -> Self {
        match answer {
            Value::Array(items) => list(items, members),
            Value::Object(object) => Self::of_object(object, members),
            other => Self::Value(super::cell::text(other)),
        }
    }

    fn of_object(object: &Map<String, Value>, members: &[&str]) -> Self {
        if let (Some(Value::Array(columns)), Some(Value::Array(rows))) = (object.get("columns"), object.get("rows")) {
            return page(columns, rows);
        }
        if let Some(Value::String(text)) =
            object.get("text").filter(|_| object.keys().all(|key| key == "text" || is_about_a_list(key)))
        {
            return Self::Text(text.clone());
        }
        let mut lists = object.iter().filter(|(key, _)| !is_about_a_list(key));
        match (lists.next(), lists.next()) {
            (Some((_, Value::Array(items))), None) if items.iter().all(Value::is_object) => list(items, members),
            _ => Self::Record(object.iter().map(|(key, value)| (key.clone(), value.clone())).collect()),
        }
    }
}

fn is_about_a_list(member: &str) -> bool {
    ABOUT_A_LIST.contains(&member)
}

/// A page of tasks: `columns`, and `rows` of the same length.
fn page(columns: &[Value], rows: &[Value]) -> Shape {
    let row = |row: &Value| row.as_array().cloned().unwrap_or_default();
    Shape::Table { columns: columns.iter().map(super::cell::text).collect(), rows: rows.iter().map(row).collect() }
}

fn list(items: &[Value], members: &[&str]) -> Shape {
    if !items.is_empty() && items.iter().all(Value::is_array) {
        return rows_without_names(items);
    }
    if !items.iter().any(Value::is_object) {
        let rows = items.iter().map(|item| vec![item.clone()]).collect();
        return Shape::Table { columns: vec!["value".into()], rows };
    }
    let wanted: Vec<String> = if members.is_empty() {
        all_members(items)
    } else {
        members.iter().map(|member| (*member).to_owned()).collect()
    };
    let rows = items.iter().map(|item| wanted.iter().map(|member| at(item, member, members)).collect()).collect();
    let columns = wanted.iter().map(|member| member.rsplit('.').next().unwrap_or(member).to_owned()).collect();
    Shape::Table { columns, rows }
}

/// A query such as `tasks[].[id, title]` gives rows without names.
fn rows_without_names(items: &[Value]) -> Shape {
    let rows: Vec<Vec<Value>> = items.iter().filter_map(Value::as_array).cloned().collect();
    let longest = rows.iter().map(Vec::len).max().unwrap_or(0);
    Shape::Table { columns: (1..=longest).map(|number| number.to_string()).collect(), rows }
}

fn all_members(items: &[Value]) -> Vec<String> {
    let mut members: Vec<String> = Vec::new();
    for member in items.iter().filter_map(Value::as_object).flat_map(Map::keys) {
        if !members.contains(member) {
            members.push(member.clone());
        }
    }
    members
}

/// Only the members a command names are paths; those of an answer may have dots in their names.
fn at(item: &Value, member: &str, paths: &[&str]) -> Value {
    if paths.is_empty() {
        return item.get(member).cloned().unwrap_or_default();
    }
    member.split('.').try_fold(item, |value, step| value.get(step)).cloned().unwrap_or_default()
}

/// What the user should know beside the rows.
pub fn remarks(answer: &Value) -> Vec<String> {
    let mut remarks = Vec::new();
    let list = |member: &str| answer.get(member).and_then(Value::as_array).map(Vec::len);
    if let (Some(shown), Some(total)) =
        (list("rows").or_else(|| list("tasks")), answer.get("total").and_then(Value::as_u64))
    {
        if answer.get("complete") == Some(&Value::Bool(false)) {
            remarks.push(format!("{shown} of {total} tasks; `task list --all` shows all of them"));
        } else if shown == 0 {
            remarks.push("no task matches".to_owned());
        }
    } else if answer.get("rows").is_none() && answer.get("complete") == Some(&Value::Bool(false)) {
        remarks.push("the list is not complete".to_owned());
    }
    // Of a single thing the note is one of its members and is in the table already.
    if let (true, Some(note)) = (answer.get("complete").is_some(), answer.get("note").and_then(Value::as_str)) {
        remarks.push(note.to_owned());
    }
    remarks
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn table(columns: &[&str], rows: Value) -> Shape {
        let rows = serde_json::from_value(rows).unwrap();
        Shape::Table { columns: columns.iter().map(|column| (*column).to_owned()).collect(), rows }
    }

    #[test]
    fn task_page_prints_as_table() {
        let page = json!({"columns": ["id", "title"], "rows": [["1", "a"]], "total": 9, "complete": false, "cursor": "c", "note": "stale"});
        assert_eq!(Shape::of(&page, &[]), table(&["id", "title"], json!([["1", "a"]])));
        assert_eq!(remarks(&page), ["1 of 9 tasks; `task list --all` shows all of them", "stale"]);
    }

    #[test]
    fn answer_with_one_list_prints_as_list() {
        let plans =
            json!({"plans": [{"id": "p", "title": "t"}, {"id": "q", "group": "g"}], "complete": true, "as_of": "now"});
        assert_eq!(
            Shape::of(&plans, &[]),
            table(&["id", "title", "group"], json!([["p", "t", null], ["q", null, "g"]]))
        );
    }

    #[test]
    fn object_with_a_list_prints_as_object() {
        let receipt = json!({"synced": 2, "ids": ["a"], "attention": [{"index": 1}]});
        assert!(matches!(Shape::of(&receipt, &[]), Shape::Record(members) if members.len() == 3));
    }

    #[test]
    fn columns_are_selected_by_path() {
        let tools = json!({"tools": [{"name": "x", "annotations": {"readOnlyHint": true}}]});
        assert_eq!(
            Shape::of(&tools, &["name", "annotations.readOnlyHint"]),
            table(&["name", "readOnlyHint"], json!([["x", true]]))
        );
    }

    #[test]
    fn every_query_result_has_a_shape() {
        assert_eq!(Shape::of(&json!(["a", 1]), &[]), table(&["value"], json!([["a"], [1]])));
        assert_eq!(Shape::of(&json!([["a", 1]]), &[]), table(&["1", "2"], json!([["a", 1]])));
        assert_eq!(Shape::of(&json!("a"), &[]), Shape::Value("a".into()));
        assert_eq!(Shape::of(&json!(null), &[]), Shape::Value(String::new()));
        assert_eq!(
            Shape::of(&json!({"text": "| a |", "total": 1, "complete": true}), &[]),
            Shape::Text("| a |".into())
        );
    }
}
