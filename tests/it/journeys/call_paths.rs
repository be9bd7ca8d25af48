//! The call paths of `src/lib.rs`: an agent completes a task, a person edits in Planner, both edit.

use chrono::TimeDelta;
use serde_json::json;

use crate::support::{Leaping, PLAN, World};

#[tokio::test]
async fn completed_task_is_completed_in_planner() {
    let world = World::start().await;
    let (id, _) = world.task("Complete me").await;
    let done = world.ok("update_task", json!({"task_id": id, "status": "completed"})).await;
    assert_eq!((&done["sync"], &done["status"]), (&json!("synced"), &json!("completed")));
    assert_eq!(world.tasks_called("Complete me").await[0]["percentComplete"], 100);
}

#[tokio::test]
async fn fresh_query_shows_edits_and_deletions_made_in_planner() {
    let time = Leaping::default();
    let world = World::leaping(&time).await;
    let (id, planner_id) = world.task("Drag me").await;
    world.colleague(json!({"task_id": planner_id, "set": {"percentComplete": 50}})).await;
    let page = world.ok("query_tasks", json!({"plan_id": PLAN, "text": "Drag me", "fresh": true})).await;
    assert_eq!((&page["rows"][0][0], &page["rows"][0][3]), (&json!(id), &json!("in_progress")));
    // Planner may hide a young task for a while: until it must be listed, and clocks may differ, its absence proves nothing.
    world.colleague(json!({"delete": planner_id})).await;
    let rows = async || {
        let page = world.ok("query_tasks", json!({"plan_id": PLAN, "text": "Drag me", "fresh": true})).await;
        page["rows"].as_array().unwrap().len()
    };
    assert_eq!(rows().await, 1, "too young to be believed gone");
    time.leap(TimeDelta::seconds(60));
    world.control("PUT", "clock", json!({"advance_seconds": 60})).await;
    assert_eq!(rows().await, 0, "it was old enough to be listed, and is not");
    assert_eq!(world.refused("get_task", json!({"task_id": id, "fresh": true})).await.0, "TASK_001");
}

#[tokio::test]
async fn edits_of_different_fields_are_merged() {
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
async fn edit_of_the_same_field_by_a_person_wins_and_is_a_conflict() {
    let world = World::start().await;
    let (id, planner_id) = world.task("Contested").await;
    world.colleague(json!({"task_id": planner_id, "set": {"title": "The person's title"}})).await;
    let changed =
        world.ok("update_task", json!({"task_id": id, "title": "The agent's title", "priority": "low"})).await;
    assert_eq!(changed["sync"], "conflict", "{changed}");
    assert_eq!(changed["title"], "The person's title");
    assert_eq!(world.tasks_called("The person's title").await[0]["priority"], 9, "the other field still arrives");
}
