//! Many tasks in one call: `bulk_create_tasks` and `bulk_update_tasks`.

use serde_json::{Value, json};

use crate::support::{PLAN, World};

#[tokio::test]
async fn bulk_calls_send_two_hundred_tasks_in_batches() {
    let world = World::start().await;
    world.ok("get_plan", json!({"plan_id": PLAN})).await;
    world.control("DELETE", "stats", json!({})).await;
    let tasks: Vec<Value> = (0..200).map(|number| json!({"title": format!("Bulk {number}")})).collect();
    let made = world.ok("bulk_create_tasks", json!({"plan_id": PLAN, "tasks": tasks, "idempotency_key": "once"})).await;
    assert_eq!((&made["synced"], &made["failed"]), (&json!(200), &json!(0)), "{made}");
    let again =
        world.ok("bulk_create_tasks", json!({"plan_id": PLAN, "tasks": tasks, "idempotency_key": "once"})).await;
    assert_eq!(again["ids"], made["ids"], "the same key means the same tasks");
    let page = world.ok("query_tasks", json!({"plan_id": PLAN, "text": "Bulk ", "limit": 500, "fresh": true})).await;
    assert_eq!((&page["total"], &page["complete"]), (&json!(200), &json!(true)));
    let updates: Vec<Value> =
        made["ids"].as_array().unwrap().iter().map(|id| json!({"task_id": id, "status": "completed"})).collect();
    let done = world.ok("bulk_update_tasks", json!({"updates": updates})).await;
    assert_eq!(done["synced"], 200, "{done}");
    let requests = world.requests().await;
    let sent =
        |verb: &str, part: &str| requests.iter().filter(|(method, path)| method == verb && path.contains(part)).count();
    // A worker that has just one task at hand sends it by itself.
    let single = sent("POST", "/planner/tasks") + sent("PATCH", "/planner/tasks/");
    assert!(sent("POST", "/$batch") >= 20 && single <= 60, "400 writes, twenty in a batch: {requests:?}");
}
