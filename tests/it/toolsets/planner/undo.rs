//! Undo, old and new values, plans and buckets that are renamed and moved.

use serde_json::{Value, json};

use crate::support::{PLAN, World};

async fn changes(world: &World, cursor: &Value) -> Vec<Value> {
    let page = world.ok("get_changes", json!({"plan_id": PLAN, "cursor": cursor})).await;
    page["changes"].as_array().unwrap().clone()
}

async fn start(world: &World) -> Value {
    world.ok("get_changes", json!({"plan_id": PLAN})).await["cursor"].clone()
}

#[tokio::test]
async fn undo_changes_reverts_the_latest_changes_in_order() {
    let world = World::start().await;
    let arguments =
        json!({"plan_id": PLAN, "title": "Undone", "checklist": ["a", "b", "c"], "assignee_ids": ["Adele Vance"]});
    let id = world.ok("create_task", arguments).await["id"].clone();
    let shown = async || world.ok("get_task", json!({"task_id": id, "fresh": true})).await;
    let first = shown().await;
    world.ok("update_task", json!({"task_id": id, "title": "Second", "description": "text"})).await;
    world.ok("update_task", json!({"task_id": id, "checklist": ["c", "d"], "assignee_ids": []})).await;
    let receipt = world.ok("undo_changes", json!({})).await;
    assert_eq!(receipt["undone"][0]["sync"], "synced", "{receipt}");
    let task = shown().await;
    assert_eq!((&task["checklist"], &task["assignees"]), (&first["checklist"], &first["assignees"]), "{task}");
    assert_eq!(task["title"], "Second");
    world.ok("undo_changes", json!({})).await;
    let task = shown().await;
    assert_eq!((&task["title"], &task["description"]), (&first["title"], &first["description"]), "{task}");
    let receipt = world.ok("undo_changes", json!({"last": 1})).await;
    assert_eq!(receipt["undone"][0]["was"], "created", "{receipt}");
    assert_eq!(world.refused("get_task", json!({"task_id": id})).await.0, "TASK_001");
    assert_eq!(world.refused("undo_changes", json!({})).await.0, "VAL_001", "everything is undone");
}

#[tokio::test]
async fn undo_changes_keeps_later_edits_of_people() {
    let world = World::start().await;
    let (id, planner_id) = world.task("Contested").await;
    world.ok("update_task", json!({"task_id": id, "title": "Mine", "priority": "urgent"})).await;
    world.colleague(json!({"task_id": planner_id, "set": {"title": "Person's"}})).await;
    world.ok("get_task", json!({"task_id": id, "fresh": true})).await;
    let receipt = world.ok("undo_changes", json!({})).await;
    assert!(receipt["undone"][0]["note"].as_str().unwrap().contains("title"), "{receipt}");
    let task = world.ok("get_task", json!({"task_id": id, "fresh": true})).await;
    assert_eq!((&task["title"], &task["priority"]), (&json!("Person's"), &json!("medium")));
    // A task a person has touched is not deleted because it is undone.
    let receipt = world.ok("undo_changes", json!({})).await;
    assert!(receipt["kept"][0]["why"].as_str().unwrap().contains("somebody has changed"), "{receipt}");
    world.ok("get_task", json!({"task_id": id})).await;
}

#[tokio::test]
async fn undo_changes_restores_a_deleted_task_by_change_id() {
    let world = World::start().await;
    let (id, _) = world.task("Deleted by mistake").await;
    world.ok("update_task", json!({"task_id": id, "description": "kept", "due_date": "2026-12-24"})).await;
    let cursor = start(&world).await;
    world.ok("delete_task", json!({"task_id": id})).await;
    let told = changes(&world, &cursor).await;
    let change = told.iter().find(|change| change["event"] == "deleted").unwrap()["id"].clone();
    let receipt = world.ok("undo_changes", json!({"changes": [change, "made-up"]})).await;
    assert_eq!(receipt["kept"][0]["id"], "made-up", "{receipt}");
    let restored = receipt["undone"][0]["task_id"].clone();
    let task = world.ok("get_task", json!({"task_id": restored, "fresh": true})).await;
    assert_eq!((&task["description"], &task["due_date"]), (&json!("kept"), &json!("2026-12-24")), "{task}");
    assert_eq!(world.tasks_called("Deleted by mistake").await.len(), 1);
    for wrong in [json!({"last": 0}), json!({"last": 21}), json!({"last": 1, "changes": ["x"]})] {
        assert_eq!(world.refused("undo_changes", wrong).await.0, "VAL_001");
    }
}
