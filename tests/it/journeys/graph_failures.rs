//! Bad days of Microsoft Graph: nothing is lost, nothing is done twice, nobody is called too early.

use serde_json::json;

use crate::support::{PLAN, World};

#[tokio::test]
async fn write_during_a_graph_outage_is_pending_and_pushed_later() {
    let world = World::hurried().await;
    let (id, _) = world.task("Patience").await;
    world.faults(json!([{"kind": "drop_without_effect"}])).await;
    let changed = world.ok("update_task", json!({"task_id": id, "priority": "urgent"})).await;
    assert_eq!(changed["sync"], "pending", "{changed}");
    let made = world.ok("create_task", json!({"plan_id": PLAN, "title": "Born offline", "description": "d"})).await;
    assert_eq!(made["sync"], "pending", "{made}");
    assert_eq!(world.ok("get_task", json!({"task_id": made["id"]})).await["sync"], "pending", "readers see it at once");
    world.heal().await;
    world
        .until("both changes reach Planner", async || {
            let patience = world.tasks_called("Patience").await;
            let born = world.tasks_called("Born offline").await;
            patience[0]["priority"] == 1 && born.len() == 1 && born[0]["hasDescription"] == true
        })
        .await;
}

#[tokio::test]
async fn update_whose_answer_was_lost_is_recognised() {
    let world = World::hurried().await;
    let (id, _) = world.task("Echo").await;
    world.faults(json!([{"method": "PATCH", "times": 1, "kind": "drop_with_effect"}])).await;
    let changed = world.ok("update_task", json!({"task_id": id, "title": "Echoed"})).await;
    assert!(["pending", "synced"].contains(&changed["sync"].as_str().unwrap()), "{changed}");
    world
        .until("the change is settled", async || world.ok("get_task", json!({"task_id": id})).await["sync"] == "synced")
        .await;
    assert_eq!(world.tasks_called("Echoed").await.len(), 1);
}

#[tokio::test]
async fn create_whose_answer_was_lost_makes_no_duplicate() {
    let world = World::hurried().await;
    world.ok("get_plan", json!({"plan_id": PLAN})).await;
    world
        .faults(json!([{"method": "POST", "path_contains": "/planner/tasks", "times": 1, "kind": "drop_with_effect"}]))
        .await;
    let made = world.ok("create_task", json!({"plan_id": PLAN, "title": "Only one"})).await;
    assert_eq!(made["sync"], "pending", "{made}");
    let page = world.ok("query_tasks", json!({"plan_id": PLAN, "text": "Only one", "fresh": true})).await;
    assert_eq!(page["total"], 1, "the task on Planner is not taken for another one: {page}");
    world
        .until("the create is settled", async || {
            world.ok("get_task", json!({"task_id": made["id"]})).await["sync"] == "synced"
        })
        .await;
    assert_eq!(world.tasks_called("Only one").await.len(), 1);
}

#[tokio::test]
async fn throttled_calls_wait_for_retry_after_and_succeed() {
    let world = World::start().await;
    world.ok("get_plan", json!({"plan_id": PLAN})).await;
    let rule = json!({"every_nth": 2, "kind": "status", "status": 429, "retry_after": 1, "scope": "single"});
    world.control("PUT", "faults", json!({"rules": [rule], "punish_early": true})).await;
    for number in 0..5 {
        let made = world.ok("create_task", json!({"plan_id": PLAN, "title": format!("Throttled {number}")})).await;
        assert!(["synced", "pending"].contains(&made["sync"].as_str().unwrap()), "{made}");
    }
    let faults = world.control("GET", "faults", json!({})).await;
    assert_eq!(faults["early_calls"], 0, "{faults}");
}

#[tokio::test]
async fn denied_write_names_the_permission_and_is_pushed_once_granted() {
    let world = World::hurried().await;
    let (id, _) = world.task("Forbidden soon").await;
    let rule = json!({"method": "PATCH", "kind": "status", "status": 403, "message": "Missing permission Tasks.ReadWrite.All"});
    world.faults(json!([rule])).await;
    let changed = world.ok("update_task", json!({"task_id": id, "title": "Allowed again"})).await;
    assert_eq!(changed["sync"], "pending", "{changed}");
    assert!(changed["note"].as_str().unwrap().contains("Tasks.ReadWrite.All"), "{changed}");
    assert_eq!(world.tasks_called("Forbidden soon").await.len(), 1, "nothing has changed in Planner");
    world.heal().await;
    world.until("the change arrives", async || world.tasks_called("Allowed again").await.len() == 1).await;
}

#[tokio::test]
async fn planner_limit_is_named_and_the_task_is_dropped() {
    let world = World::start().await;
    world.ok("get_plan", json!({"plan_id": PLAN})).await;
    world.control("PUT", "limits", json!({"MaximumTasksInProject": 200})).await;
    let (code, message, _) = world.refused("create_task", json!({"plan_id": PLAN, "title": "Too many"})).await;
    assert_eq!(code, "GRAPH_002");
    assert!(message.contains("MaximumTasksInProject"), "{message}");
    let page = world.ok("query_tasks", json!({"plan_id": PLAN, "text": "Too many"})).await;
    assert_eq!(page["total"], 0);
}

#[tokio::test]
async fn failed_page_is_not_treated_as_the_end_of_the_list() {
    let world = World::start().await;
    world.control("PUT", "page_size", json!({"planner": 50})).await;
    world.ok("get_plan", json!({"plan_id": PLAN})).await;
    world.faults(json!([{"path_contains": "$skiptoken", "kind": "status", "status": 500}])).await;
    let page = world.ok("query_tasks", json!({"plan_id": PLAN, "fresh": true})).await;
    assert_eq!(page["total"], 200);
    assert!(page["note"].as_str().unwrap().contains("Planner could not be asked"), "{page}");
}

#[tokio::test]
async fn journalled_write_survives_a_crash() {
    let folder = std::env::temp_dir().join(format!("graphgate-{}", uuid::Uuid::new_v4()));
    let mut world = World::in_folder(&folder).await;
    let (id, _) = world.task("Survivor").await;
    world.faults(json!([{"kind": "drop_without_effect"}])).await;
    let update = json!({"task_id": id, "title": "Survived"});
    let offline =
        async { tokio::time::timeout(std::time::Duration::from_millis(500), world.call("update_task", update)).await };
    let _ = offline.await; // the caller goes away before the answer
    world.restart(&folder).await;
    world.heal().await;
    let task = world.ok("get_task", json!({"task_id": id})).await;
    assert_eq!(task["title"], "Survived");
    world.until("the change reaches Planner", async || world.tasks_called("Survived").await.len() == 1).await;
    let _ = std::fs::remove_dir_all(folder);
}
