//! Answers that are lost after the change has happened: the caller below repeats the change, Planner refuses the
//! repetition, and an agent has edited the same field again meanwhile. The second value stays.

use std::collections::BTreeMap;

use futures::StreamExt;
use serde_json::{Value, json};

use crate::support::rest::ask;
use crate::support::{PLAN, World};

/// Every task of [`PLAN`]: our id and Planner's.
async fn all(world: &World) -> Vec<(String, String)> {
    let fields = json!(["id", "planner_id"]);
    let page =
        world.ok("query_tasks", json!({"plan_id": PLAN, "limit": 1000, "fields": fields, "format": "json"})).await;
    let text = |task: &Value, name: &str| task[name].as_str().unwrap_or_else(|| panic!("{task}")).to_owned();
    let tasks = page["tasks"].as_array().unwrap_or_else(|| panic!("{page}"));
    tasks.iter().map(|task| (text(task, "id"), text(task, "planner_id"))).collect()
}

/// Sets a field of each task twice in a row, while a third of all changes loses its answer.
async fn edit_twice(world: &World, tasks: &[(String, String)], first: Value, second: Value) {
    let rule = json!({"method": "PATCH", "probability": 0.3, "kind": "drop_with_effect", "scope": "any"});
    world.faults(json!([rule])).await;
    let edits = tasks.iter().map(|(id, _)| {
        let with = |change: &Value| {
            let mut arguments = change.clone();
            arguments["task_id"] = json!(id);
            arguments
        };
        let (first, second) = (with(&first), with(&second));
        async move {
            world.ok("update_task", first).await;
            world.ok("update_task", second).await;
        }
    });
    futures::stream::iter(edits).buffer_unordered(16).collect::<Vec<()>>().await;
}

async fn settled(world: &World) {
    world.heal().await;
    world
        .until("nothing waits", async || {
            let health = ask(&world.api_url(), "GET", "/api/sync/health").await;
            let plans = health.body["plans"].as_array().cloned().unwrap_or_default();
            plans.iter().any(|plan| plan["plan"] == PLAN && plan["status"] == "up_to_date")
        })
        .await;
    let conflicts = ask(&world.api_url(), "GET", "/api/sync/conflicts").await;
    assert_eq!(conflicts.body["conflicts"], json!([]), "no person has done anything");
}

async fn on_planner(world: &World) -> BTreeMap<String, Value> {
    let tasks = world.planner_tasks().await.into_iter();
    tasks.map(|task| (task["id"].as_str().unwrap_or_default().to_owned(), task)).collect()
}

#[tokio::test]
async fn second_edit_of_a_field_wins_after_a_lost_answer() {
    let world = World::hurried().await;
    let tasks = all(&world).await;
    assert_eq!(tasks.len(), 200);
    edit_twice(&world, &tasks, json!({"title": "first"}), json!({"title": "second"})).await;
    edit_twice(&world, &tasks, json!({"percent_complete": 50}), json!({"percent_complete": 100})).await;
    settled(&world).await;
    let there = on_planner(&world).await;
    let wrong: Vec<_> = there.values().filter(|it| it["title"] != "second" || it["percentComplete"] != 100).collect();
    assert!(wrong.is_empty(), "{} of {}: {:#}", wrong.len(), there.len(), wrong[0]);
}

#[tokio::test]
async fn second_edit_of_a_list_wins_after_a_lost_answer() {
    let world = World::hurried().await;
    let tasks: Vec<_> = all(&world).await.into_iter().take(100).collect();
    let list = |items: Value| json!({"checklist": items});
    edit_twice(&world, &tasks, list(json!(["a", "b"])), list(json!(["c"]))).await;
    let people = |name: &str| json!({"assignee_ids": [name]});
    edit_twice(&world, &tasks, people("Alex Wilber"), people("Adele Vance")).await;
    settled(&world).await;
    let there = on_planner(&world).await;
    for (_, planner_id) in &tasks {
        let people = there[planner_id]["assignments"].as_object().map_or(0, serde_json::Map::len);
        assert_eq!(people, 1, "one is assigned, not both: {:#}", there[planner_id]);
        let (_, details) = world.graph("GET", &format!("planner/tasks/{planner_id}/details")).await;
        let items = details["checklist"].as_object().unwrap_or_else(|| panic!("{details:#}"));
        let titles: Vec<_> = items.values().map(|item| &item["title"]).collect();
        assert_eq!(titles, [&json!("c")], "{details:#}");
    }
}

#[tokio::test]
async fn second_bulk_edit_wins_after_lost_batch_answers() {
    let world = World::hurried().await;
    let tasks = all(&world).await;
    let bulk = |change: Value| {
        let item = |(id, _): &(String, String)| {
            let mut item = change.clone();
            item["task_id"] = json!(id);
            item
        };
        json!({"updates": tasks.iter().map(item).collect::<Vec<_>>()})
    };
    let parts = json!({"method": "PATCH", "scope": "batch"});
    let whole = json!({"path_contains": "$batch", "scope": "single"});
    for (scope, mut rule) in [("parts", parts), ("the whole", whole)] {
        for (name, value) in
            [("probability", json!(0.3)), ("kind", json!("effect_then_status")), ("status", json!(503))]
        {
            rule[name] = value;
        }
        world.faults(json!([rule])).await;
        world.ok("bulk_update_tasks", bulk(json!({"title": format!("first of {scope}")}))).await;
        world.ok("bulk_update_tasks", bulk(json!({"title": format!("second of {scope}")}))).await;
        settled(&world).await;
        let there = on_planner(&world).await;
        let wrong = there.values().filter(|it| it["title"] != format!("second of {scope}")).count();
        assert_eq!(wrong, 0, "{scope}");
    }
}
