//! A task's place in its bucket: `move_task` with `after`.

use serde_json::{Value, json};

use crate::support::rest::tell;
use crate::support::{PLAN, World};

/// A bucket of its own with tasks called so, in this order.
async fn bucket(world: &World, plan: &str, titles: &[&str]) -> (String, Vec<String>) {
    let bucket = world.ok("create_bucket", json!({"plan_id": plan, "name": "Places"})).await;
    let bucket = bucket["id"].as_str().unwrap().to_owned();
    let mut ids = Vec::new();
    for title in titles {
        let made = world.ok("create_task", json!({"plan_id": plan, "title": title, "bucket_id": bucket})).await;
        let id = made["id"].as_str().unwrap().to_owned();
        world.ok("move_task", json!({"task_id": id, "after": "last"})).await;
        ids.push(id);
    }
    (bucket, ids)
}

/// The titles of a bucket's tasks as Planner itself orders them.
async fn order(world: &World, bucket: &str) -> Vec<String> {
    let (_, tasks) = world.graph("GET", &format!("planner/buckets/{bucket}/tasks")).await;
    let mut tasks = tasks["value"].as_array().unwrap().clone();
    tasks.sort_by_key(|task| task["orderHint"].as_str().unwrap().to_owned());
    tasks.iter().map(|task| task["title"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn move_task_after_places_first_last_or_behind_another() {
    let world = World::start().await;
    let (bucket, ids) = bucket(&world, PLAN, &["One", "Two", "Three"]).await;
    assert_eq!(order(&world, &bucket).await, ["One", "Two", "Three"]);
    let step = async |task: &str, after: &str| {
        let moved = world.ok("move_task", json!({"task_id": task, "after": after})).await;
        assert_eq!((&moved["sync"], &moved["note"]), (&json!("synced"), &Value::Null), "{moved}");
        order(&world, &bucket).await
    };
    assert_eq!(step(&ids[2], "first").await, ["Three", "One", "Two"]);
    assert_eq!(step(&ids[2], &ids[0]).await, ["One", "Three", "Two"]);
    assert_eq!(step(&ids[0], "two").await, ["Three", "Two", "One"], "by title, however it is written");
    assert_eq!(step(&ids[1], "last").await, ["Three", "One", "Two"]);
    world.control("POST", "requests/clear", Value::Null).await;
    assert_eq!(step(&ids[1], "One").await, ["Three", "One", "Two"]);
    let writes = world.requests().await.into_iter().filter(|(method, _)| method == "PATCH").count();
    assert_eq!(writes, 0, "it stands there already");
}

#[tokio::test]
async fn move_task_after_works_across_buckets_and_plans() {
    let world = World::start().await;
    let (there, _) = bucket(&world, PLAN, &["One", "Two"]).await;
    let (id, _) = world.task("Comes over").await;
    let moved = world.ok("move_task", json!({"task_id": id, "bucket_id": "Places", "after": "One"})).await;
    assert_eq!(moved["bucket"], "Places");
    assert_eq!(order(&world, &there).await, ["One", "Comes over", "Two"]);

    let (far, _) = bucket(&world, "Office move", &["Alpha", "Beta"]).await;
    let call = json!({"task_id": id, "plan_id": "Office move", "bucket_id": "Places", "after": "Alpha"});
    let moved = world.ok("move_task", call.clone()).await;
    assert_eq!(order(&world, &far).await, ["Alpha", "Comes over", "Beta"]);
    assert_eq!(world.ok("move_task", call).await["id"], moved["id"], "a repeated call is answered alike");
    assert_eq!(order(&world, &far).await, ["Alpha", "Comes over", "Beta"]);
}

#[tokio::test]
async fn move_task_after_an_invalid_neighbour_changes_nothing() {
    let world = World::start().await;
    let (there, ids) = bucket(&world, PLAN, &["One", "Two", "Two"]).await;
    let (id, planner_id) = world.task("Stays").await;
    for (after, code) in [("Nobody's", "TASK_001"), ("Two", "VAL_002")] {
        let (refused, message, _) =
            world.refused("move_task", json!({"task_id": id, "bucket_id": "Places", "after": after})).await;
        assert!(refused == code && message.contains("nothing was changed"), "{refused} {message}");
    }
    let (_, message, _) = world.refused("move_task", json!({"task_id": ids[0], "after": "One"})).await;
    assert!(message.contains("the task itself"), "{message}");
    assert_eq!(order(&world, &there).await, ["One", "Two", "Two"]);
    let stays = world.planner_tasks().await.into_iter().find(|task| task["id"] == planner_id.as_str()).unwrap();
    assert_ne!(stays["bucketId"], there.as_str());
}

#[tokio::test]
async fn move_task_reports_a_refused_place_beside_the_completed_move() {
    let world = World::start().await;
    let (there, ids) = bucket(&world, PLAN, &["One", "Two"]).await;
    let (id, _) = world.task("Half").await;
    let refuses = json!([{"method": "PATCH", "path_contains": "planner/tasks/", "every_nth": 2, "kind": "status", "status": 400}]);
    world.faults(refuses).await;
    let moved = world.ok("move_task", json!({"task_id": id, "bucket_id": "Places", "after": "One"})).await;
    let note = moved["note"].as_str().unwrap();
    assert!(moved["bucket"] == "Places" && note.contains("its place was not set"), "{moved}");
    world.heal().await;
    world
        .faults(json!([{"method": "PATCH", "path_contains": "planner/tasks/", "kind": "status", "status": 400}]))
        .await;
    let (code, message, _) = world.refused("move_task", json!({"task_id": ids[1], "after": "first"})).await;
    assert!(code == "GRAPH_002", "{code} {message}");
    world.heal().await;
    world.ok("move_task", json!({"task_id": id, "after": "first"})).await;
    assert_eq!(order(&world, &there).await, ["Half", "One", "Two"]);
}

#[tokio::test]
async fn move_task_after_a_pending_task_is_refused() {
    let world = World::start().await;
    let (there, ids) = bucket(&world, PLAN, &["One", "Two"]).await;
    let (moved, _) = world.task("On its way").await;
    let down = json!([{"method": "POST", "path_contains": "planner/tasks", "kind": "status", "status": 503},
        {"method": "PATCH", "path_contains": "planner/tasks/", "kind": "status", "status": 503}]);
    world.faults(down).await;
    let create = json!({"plan_id": PLAN, "title": "Waits", "bucket_id": "Places"});
    assert_eq!(world.ok("create_task", create).await["sync"], "pending");
    let (code, message, _) = world.refused("move_task", json!({"task_id": ids[0], "after": "Waits"})).await;
    assert!(code == "CONF_001" && message.contains("nothing was changed"), "{code} {message}");
    let call = json!({"task_id": moved, "bucket_id": "Places", "after": "One"});
    for _ in 0..2 {
        let answer = world.ok("move_task", call.clone()).await;
        let note = answer["note"].as_str().unwrap_or_default();
        assert!(answer["sync"] == "pending" && note.contains("its place was not set"), "{answer}");
    }
    world.heal().await;
    tell(&world.api_url(), "POST", "/api/sync/replay", json!({})).await; // what waits need not wait for its turn
    let arrived = async || world.ok("get_task", json!({"task_id": moved})).await["sync"] == "synced";
    world.until("the moved task is on Planner", arrived).await;
    assert_eq!(world.ok("move_task", call).await["sync"], "synced");
    let order = order(&world, &there).await;
    let place = |title: &str| order.iter().position(|known| known == title).unwrap();
    assert_eq!(place("On its way"), place("One") + 1, "{order:?}");
}
