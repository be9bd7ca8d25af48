//! Moves to another plan: they end by themselves, one destination wins, no edit is lost, and no twin remains.

use serde_json::{Value, json};

use crate::support::process::Folder;
use crate::support::{PLAN, World};

const THERE: &str = "Office move";

/// Ids of the tasks of a plan that are called so, as Planner has them now.
async fn called(world: &World, plan: &str, title: &str) -> Vec<String> {
    let query = json!({"plan_id": plan, "text": title, "fresh": true});
    let page = world.ok("query_tasks", query).await;
    page["rows"].as_array().unwrap().iter().map(|row| row[0].as_str().unwrap().to_owned()).collect()
}

/// Has Planner refuse to list the tasks of [`PLAN`]: a copy can arrive, but the original cannot be read again.
async fn blind(world: &World) {
    let plan = world.ok("get_plan", json!({"plan_id": PLAN})).await["id"].as_str().unwrap().to_owned();
    let listing = format!("planner/plans/{plan}/tasks");
    world.faults(json!([{"method": "GET", "path_contains": listing, "kind": "status", "status": 503}])).await;
}

#[tokio::test]
async fn move_carries_edits_made_between_copy_and_deletion() {
    let world = World::start().await;
    let made = json!({"plan_id": PLAN, "title": "Later edits", "description": "first", "checklist": ["a", "b"]});
    let made = world.ok("create_task", made).await;
    let there = json!({"task_id": made["id"], "plan_id": THERE});
    blind(&world).await;
    let moved = world.ok("move_task", there.clone()).await;
    assert_eq!(moved["sync"], "pending", "{moved}");
    let status = world.ok("sync_status", json!({"plan_id": PLAN})).await;
    assert_eq!((&status["status"], &status["plans"][0]["moves"]), (&json!("pending"), &json!(1)), "{status}");

    world.heal().await;
    let edit =
        json!({"task_id": made["id"], "description": "second", "status": "in_progress", "checklist": ["b", "c"]});
    assert_eq!(world.ok("update_task", edit).await["sync"], "synced");
    world.colleague(json!({"task_id": made["planner_id"], "set": {"priority": 1}})).await;
    let moved = world.ok("move_task", there.clone()).await;
    assert_eq!(moved["sync"], "synced", "{moved}");
    let task = world.ok("get_task", json!({"task_id": moved["id"], "fresh": true})).await;
    assert_eq!((&task["description"], &task["status"]), (&json!("second"), &json!("in_progress")), "{task}");
    assert_eq!(task["priority"], "urgent", "the person's edit too: {task}");
    let items: Vec<&str> =
        task["checklist"].as_array().unwrap().iter().map(|item| item["title"].as_str().unwrap()).collect();
    assert_eq!(items, ["b", "c"]);
    assert!(called(&world, PLAN, "Later edits").await.is_empty());
    assert_eq!(called(&world, THERE, "Later edits").await, [moved["id"].as_str().unwrap()]);
    let status = world.ok("sync_status", json!({})).await;
    assert_eq!(status["status"], "up_to_date", "{status}");

    assert_eq!(world.ok("move_task", there).await, moved, "a repeated call is answered alike");
    let (code, _, hint) = world.refused("update_task", json!({"task_id": made["id"], "title": "x"})).await;
    assert!(code == "TASK_001" && hint.contains(moved["id"].as_str().unwrap()), "{code} {hint}");
}

#[tokio::test]
async fn interrupted_move_is_resumed() {
    let world = World::with(|config| config.reconciles = true).await;
    let (id, _) = world.task("By itself").await;
    blind(&world).await;
    let moved = world.ok("move_task", json!({"task_id": id, "plan_id": THERE})).await;
    assert_eq!(moved["sync"], "pending", "{moved}");
    world.heal().await;
    world
        .until("the original is deleted", async || {
            called(&world, PLAN, "By itself").await.is_empty() && called(&world, THERE, "By itself").await.len() == 1
        })
        .await;
}

#[tokio::test]
async fn concurrent_moves_to_two_plans_end_in_one() {
    let folder = Folder::new();
    let world = World::in_folder(&folder.0).await;
    let beside = world.beside(&folder.0).await;
    let plans = world.ok("list_plans", json!({})).await;
    let titles = plans["plans"].as_array().unwrap().iter().map(|plan| plan["title"].as_str().unwrap());
    let titles: Vec<&str> = titles.filter(|title| ![PLAN, THERE].contains(title)).collect();
    let third = titles[0];
    for plan in [PLAN, THERE, third] {
        world.ok("get_plan", json!({"plan_id": plan})).await;
        beside.ok("get_plan", json!({"plan_id": plan})).await;
    }
    for round in 0..6 {
        let title = format!("Torn {round}");
        let (id, _) = world.task(&title).await;
        beside.ok("get_task", json!({"task_id": id})).await;
        let (one, other) = tokio::join!(
            world.call("move_task", json!({"task_id": id, "plan_id": THERE})),
            beside.call("move_task", json!({"task_id": id, "plan_id": third})),
        );
        let won: Vec<&Value> = [&one, &other].into_iter().filter_map(|answer| answer.as_ref().ok()).collect();
        assert_eq!(won.len(), 1, "one is moved, one refused: {one:?} {other:?}");
        assert_eq!(won[0]["sync"], "synced", "{won:?}");
        let mut all = Vec::new();
        for plan in [PLAN, THERE, third] {
            all.extend(called(&world, plan, &title).await);
        }
        assert_eq!(all, [won[0]["id"].as_str().unwrap()], "{one:?} {other:?}");
    }
    beside.stop().await;
}

#[tokio::test]
async fn equal_concurrent_moves_are_one_move() {
    let world = World::start().await;
    let (id, _) = world.task("Once").await;
    let there = json!({"task_id": id, "plan_id": THERE});
    let calls = (0..8).map(|_| world.call("move_task", there.clone()));
    let answers = futures::future::join_all(calls).await;
    let ids: std::collections::BTreeSet<&str> =
        answers.iter().map(|answer| answer.as_ref().unwrap()["id"].as_str().unwrap()).collect();
    assert_eq!(ids.len(), 1, "{answers:?}");
    assert_eq!(called(&world, THERE, "Once").await.len(), 1);
    assert!(called(&world, PLAN, "Once").await.is_empty());
}

#[tokio::test]
async fn move_of_a_deleted_original_deletes_the_copy() {
    let world = World::start().await;
    let (id, _) = world.task("Unwanted").await;
    let there = json!({"task_id": id, "plan_id": THERE});
    blind(&world).await;
    assert_eq!(world.ok("move_task", there.clone()).await["sync"], "pending");
    world.heal().await;
    world.ok("delete_task", json!({"task_id": id})).await;
    assert_eq!(world.refused("move_task", there).await.0, "TASK_001");
    assert!(called(&world, THERE, "Unwanted").await.is_empty());
    assert_eq!(world.ok("sync_status", json!({})).await["status"], "up_to_date");
}

#[tokio::test]
async fn move_with_a_deleted_copy_keeps_the_original_and_can_be_repeated() {
    let world = World::start().await;
    let (id, _) = world.task("Wanted").await;
    let there = json!({"task_id": id, "plan_id": THERE});
    blind(&world).await;
    let copy = world.ok("move_task", there.clone()).await;
    world.heal().await;
    world.ok("delete_task", json!({"task_id": copy["id"]})).await;
    let (code, message, _) = world.refused("move_task", there.clone()).await;
    assert!(code == "GRAPH_002" && message.contains("nothing was changed"), "{code} {message}");
    assert_eq!(called(&world, PLAN, "Wanted").await, [id.as_str()]);
    let moved = world.ok("move_task", there).await;
    assert_eq!(called(&world, THERE, "Wanted").await, [moved["id"].as_str().unwrap()]);
    assert!(called(&world, PLAN, "Wanted").await.is_empty());
}

#[tokio::test]
async fn move_refused_by_planner_is_reverted() {
    let world = World::start().await;
    let (id, _) = world.task("Refused").await;
    let refuse = json!([{"method": "POST", "path_contains": "planner/tasks", "kind": "status", "status": 400}]);
    world.faults(refuse).await;
    let (code, message, _) = world.refused("move_task", json!({"task_id": id, "plan_id": THERE})).await;
    assert!(code == "GRAPH_002" && message.contains("nothing was changed"), "{code} {message}");
    world.heal().await;
    assert_eq!(called(&world, PLAN, "Refused").await, [id.as_str()]);
    assert!(called(&world, THERE, "Refused").await.is_empty());
    assert_eq!(world.ok("sync_status", json!({})).await["status"], "up_to_date");
}

#[tokio::test]
async fn move_stays_pending_while_the_deletion_is_refused() {
    let world = World::start().await;
    let (id, _) = world.task("Halfway").await;
    let there = json!({"task_id": id, "plan_id": THERE});
    let refuse = json!([{"method": "DELETE", "path_contains": "planner/tasks", "kind": "status", "status": 400}]);
    world.faults(refuse).await;
    let waits = world.ok("move_task", there.clone()).await;
    assert_eq!(waits["sync"], "pending", "{waits}");
    assert_eq!(world.ok("sync_status", json!({"plan_id": PLAN})).await["plans"][0]["moves"], 1);
    world.heal().await;
    let moved = world.ok("move_task", there).await;
    assert_eq!((&moved["sync"], &moved["id"]), (&json!("synced"), &waits["id"]), "{moved}");
    assert_eq!(called(&world, THERE, "Halfway").await.len(), 1);
    assert!(called(&world, PLAN, "Halfway").await.is_empty());
}

#[tokio::test]
async fn move_task_changes_bucket_and_plan() {
    let world = World::start().await;
    let made = world
        .ok("create_task", json!({"plan_id": PLAN, "title": "Wanderer", "description": "luggage", "checklist": ["x"]}))
        .await;
    let moved = world.ok("move_task", json!({"task_id": made["id"], "bucket_id": "Live"})).await;
    assert_eq!((&moved["bucket"], &moved["sync"]), (&json!("Live"), &json!("synced")));
    let moved = world.ok("move_task", json!({"task_id": made["id"], "plan_id": "Office move"})).await;
    let task = world.ok("get_task", json!({"task_id": moved["id"]})).await;
    assert_eq!((&task["plan"], &task["description"]), (&json!("Office move"), &json!("luggage")));
    assert_eq!(task["checklist"][0]["title"], "x");
    assert_eq!(world.refused("get_task", json!({"task_id": made["id"]})).await.0, "TASK_001");
    assert!(world.tasks_called("Wanderer").await.is_empty(), "the original is gone from its plan");
}
