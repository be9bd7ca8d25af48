//! What the architecture promises, told from the outside.

use serde_json::json;

use crate::support::{PLAN, World};

#[tokio::test]
async fn create_task_stores_every_field() {
    let world = World::start().await;
    let given = json!({
        "plan_id": PLAN, "title": "Grüße 你好 🚀", "bucket_id": "Design", "description": "two\nlines", "priority": 3,
        "start_date": "2026-12-01", "due_date": "2026-12-24T18:00:00+01:00", "assignee_ids": ["Adele Vance"],
        "checklist": ["first", {"title": "second", "checked": true}, "third"],
        "references": [{"url": "https://example.com/a?b=c#d", "title": "spec"}], "categories": ["SEO"],
    });
    let id = world.ok("create_task", given).await["id"].clone();
    let task = world.ok("get_task", json!({"task_id": id, "fresh": true})).await;
    insta::assert_json_snapshot!(task, {
        ".id" => "[id]", ".planner_id" => "[id]", ".plan_id" => "[id]", ".created" => "[time]", ".changed" => "[time]",
        ".as_of" => "[time]", ".version" => "[version]", ".link" => "[link]",
    }, @r#"
    {
      "id": "[id]",
      "planner_id": "[id]",
      "plan_id": "[id]",
      "plan": "Website relaunch",
      "title": "Grüße 你好 🚀",
      "bucket": "Design",
      "status": "not_started",
      "percent_complete": 0,
      "priority": "important",
      "assignees": [
        "Adele Vance"
      ],
      "start_date": "2026-12-01",
      "due_date": "2026-12-24T17:00:00Z",
      "categories": [
        "SEO"
      ],
      "description": "two\nlines",
      "checklist": [
        {
          "title": "first",
          "checked": false
        },
        {
          "title": "second",
          "checked": true
        },
        {
          "title": "third",
          "checked": false
        }
      ],
      "references": [
        {
          "url": "https://example.com/a?b=c#d",
          "title": "spec"
        }
      ],
      "created": "[time]",
      "changed": "[time]",
      "sync": "synced",
      "version": "[version]",
      "link": "[link]",
      "as_of": "[time]"
    }
    "#);
}

#[tokio::test]
async fn update_task_to_the_known_value_overwrites_an_unseen_edit() {
    let world = World::start().await;
    let (id, planner_id) = world.task("Half done").await;
    let there = async || world.tasks_called("Half done").await[0].clone();
    let half = json!({"task_id": id, "percent_complete": 50});
    let listings = async || {
        let requests = world.requests().await;
        requests.iter().filter(|(method, path)| method == "GET" && path.ends_with("/tasks")).count()
    };
    assert_eq!(world.ok("update_task", half.clone()).await["sync"], "synced");
    world.colleague(json!({"task_id": planner_id, "set": {"percentComplete": 75}})).await;
    assert_eq!(world.ok("update_task", half.clone()).await["sync"], "synced");
    assert_eq!(there().await["percentComplete"], 50, "as the answer says");

    // A word or a part of what is asked, and many at once, for which Planner is read once.
    world.colleague(json!({"task_id": planner_id, "set": {"percentComplete": 0, "priority": 9}})).await;
    let both = json!({"task_id": id, "status": "in_progress", "priority": "medium", "title": "Half done"});
    let before = listings().await;
    let changed = world.ok("bulk_update_tasks", json!({"updates": [both, half]})).await;
    assert_eq!((&changed["synced"], listings().await - before), (&json!(2), 1), "{changed}");
    assert_eq!((&there().await["percentComplete"], &there().await["priority"]), (&json!(50), &json!(5)));

    // Beside something that does change, and for a member that is there as far as is known.
    world.colleague(json!({"task_id": planner_id, "set": {"percentComplete": 0}})).await;
    let status = json!({"task_id": id, "status": "in_progress", "priority": "low"});
    assert_eq!(world.ok("update_task", status).await["sync"], "synced");
    assert_eq!((&there().await["percentComplete"], &there().await["priority"]), (&json!(50), &json!(9)));
    let ticked = json!({"task_id": id, "add_checklist": ["a", "b"]});
    world.ok("update_task", ticked).await;
    let before = listings().await;
    world.ok("update_task", json!({"task_id": id, "tick_checklist": ["a"]})).await;
    assert_eq!(listings().await, before, "what differs from what is known needs no look");

    // Where Planner cannot be asked, the answer claims nothing.
    world.faults(json!([{"path_contains": "/planner/", "kind": "status", "status": 503}])).await;
    let unasked = world.ok("update_task", half).await;
    assert!(unasked["note"].as_str().is_some_and(|note| note.contains("could not be asked")), "{unasked}");
}
