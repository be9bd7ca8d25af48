//! The call paths of `src/lib.rs`: an agent completes a task, a person edits in Planner, both edit.

use serde_json::{Value, json};

use crate::support::{PLAN, World};

#[tokio::test]
async fn an_agent_completes_a_task_and_planner_has_it() {
    let world = World::start().await;
    let (id, _) = world.task("Complete me").await;
    let done = world.ok("update_task", json!({"task_id": id, "status": "completed"})).await;
    assert_eq!((&done["sync"], &done["status"]), (&json!("synced"), &json!("completed")));
    assert_eq!(world.tasks_called("Complete me").await[0]["percentComplete"], 100);
}

#[tokio::test]
async fn what_a_person_does_in_planner_is_seen_by_the_next_fresh_read() {
    let world = World::start().await;
    let (id, planner_id) = world.task("Drag me").await;
    world.colleague(json!({"task_id": planner_id, "set": {"percentComplete": 50}})).await;
    let page = world.ok("query_tasks", json!({"plan_id": PLAN, "text": "Drag me", "fresh": true})).await;
    assert_eq!((&page["rows"][0][0], &page["rows"][0][3]), (&json!(id), &json!("in_progress")));
    world.colleague(json!({"delete": planner_id})).await;
    // Planner may hide a young task for a while, so its absence proves nothing until it is thirty seconds old.
    world.control("PUT", "clock", json!({"advance_seconds": 60})).await;
}

#[tokio::test]
async fn edits_of_different_fields_both_survive() {
    let world = World::start().await;
    let (id, planner_id) = world.task("Shared").await;
    world.colleague(json!({"task_id": planner_id, "set": {"title": "Shared and renamed"}})).await;
    let changed =
        world.ok("update_task", json!({"task_id": id, "status": "completed", "due_date": "2026-12-31"})).await;
    assert_eq!((&changed["sync"], &changed["title"]), (&json!("synced"), &json!("Shared and renamed")));
    let planner = &world.tasks_called("Shared and renamed").await[0];
    assert_eq!(planner["percentComplete"], 100);
    assert_eq!(planner["dueDateTime"], "2026-12-31T10:00:00Z");
}

#[tokio::test]
async fn where_both_touch_the_same_field_the_person_wins_and_the_caller_is_told() {
    let world = World::start().await;
    let (id, planner_id) = world.task("Contested").await;
    world.colleague(json!({"task_id": planner_id, "set": {"title": "The person's title"}})).await;
    let changed =
        world.ok("update_task", json!({"task_id": id, "title": "The agent's title", "priority": "low"})).await;
    assert_eq!(changed["sync"], "conflict", "{changed}");
    assert_eq!(changed["title"], "The person's title");
    assert_eq!(world.tasks_called("The person's title").await[0]["priority"], 9, "the other field still arrives");
}
