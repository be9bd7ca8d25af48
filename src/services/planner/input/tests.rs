//! How arguments are read as clients send them.

use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::*;
use crate::services::arguments::read;

fn refused<T: DeserializeOwned + std::fmt::Debug>(value: Value) -> (String, String) {
    let error = read::<T>(value, "manual").unwrap_err();
    (error.sentence(), error.hint.clone().unwrap_or_default())
}

#[test]
fn floats_without_fraction_are_integers() {
    let query: QueryTasks = read(json!({"limit": 3.0, "priority": 5.0}), "").unwrap();
    assert_eq!((query.limit, query.priority.as_deref()), (Some(3), Some("5")));
    let update: UpdateTask = read(json!({"task_id": "t", "percent_complete": 50.0}), "").unwrap();
    assert_eq!(update.percent_complete, Some(50));
}

#[test]
fn json_text_is_parsed_where_a_list_is_expected() {
    let task: CreateTask = read(
        json!({"title": "[1]", "assignee_ids": "[\"Adele\"]", "checklist": ["{\"title\":\"one\",\"checked\":true}"],
            "references": ["{\"url\":\"https://a.example\",\"title\":\"A\"}"], "custom_fields": "{\"Risk\":2.0}"}),
        "",
    )
    .unwrap();
    assert_eq!(task.title, "[1]", "a text stays one where a text is expected");
    assert_eq!(task.assignee_ids, Some(vec!["Adele".to_owned()]));
    let item = &task.checklist.unwrap()[0];
    assert_eq!((item.title.as_str(), item.checked), ("one", true));
    assert_eq!(task.references.unwrap()[0].title.as_deref(), Some("A"));
    assert_eq!(task.custom_fields.unwrap()["Risk"], json!(2));
}

#[test]
fn null_in_an_update_is_refused_with_the_clear_hint() {
    let (message, hint) = refused::<UpdateTask>(json!({"task_id": "t", "due_date": null}));
    assert_eq!(message, "`due_date` is null, which empties nothing; nothing was changed");
    assert!(hint.contains("clear: [\"due_date\"]"), "{hint}");
    for field in ["title", "assignee_ids", "priority", "checklist", "add_assignees", "percent_complete", "clear"] {
        let (message, hint) = refused::<UpdateTask>(json!({"task_id": "t", field: null}));
        assert!(message.starts_with(&format!("`{field}` is null")) && hint.contains("`clear`"), "{message} {hint}");
    }
    let custom: UpdateTask = read(json!({"task_id": "t", "custom_fields": {"Risk": null}}), "").unwrap();
    assert_eq!(custom.custom_fields.unwrap()["Risk"], Value::Null);
    read::<CreateTask>(json!({"title": "t", "due_date": null, "checklist": null}), "").unwrap();
}

#[test]
fn error_messages_name_no_rust_types() {
    let cases = [
        (
            refused::<QueryTasks>(json!({"limit": "3"})).0,
            "`limit`: a whole number, 0 or more is expected, not the text \"3\"; nothing was changed",
        ),
        (
            refused::<QueryTasks>(json!({"limit": 2.5})).0,
            "`limit`: a whole number, 0 or more is expected, not the number 2.5; nothing was changed",
        ),
        (
            refused::<QueryTasks>(json!({"limit": -1})).0,
            "`limit`: a whole number, 0 or more is expected, not the number -1; nothing was changed",
        ),
        (
            refused::<CreateTask>(json!({"title": 7})).0,
            "`title`: a text is expected, not the number 7; nothing was changed",
        ),
        (
            refused::<CreateTask>(json!({"title": "t", "assignee_ids": "Adele"})).0,
            "`assignee_ids`: a list is expected, not the text \"Adele\"; nothing was changed",
        ),
        (refused::<CreateTask>(json!({})).0, "`title` is missing; nothing was changed"),
        (
            refused::<CreateTask>(json!({"title": "t", "checklist": [{"title": "x", "done": true}]})).0,
            "`checklist[0]`: a checklist item is a text or an object with `title` and `checked`; nothing was changed",
        ),
    ];
    for (message, expected) in cases {
        assert_eq!(message, expected);
    }
}
