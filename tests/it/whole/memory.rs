//! A deployment whose memory holds one plan at a time answers as one that has room for all.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::support::World;

/// Every task in a picture of the tenant.
fn tasks_of(picture: &Value) -> Vec<Value> {
    match picture {
        Value::Object(task) if task.contains_key("planId") && task.contains_key("percentComplete") => {
            vec![picture.clone()]
        }
        Value::Object(object) => object.values().flat_map(tasks_of).collect(),
        Value::Array(items) => items.iter().flat_map(tasks_of).collect(),
        _ => Vec::new(),
    }
}

#[tokio::test]
async fn plans_put_away_are_read_searched_and_changed_like_all_others() {
    let world = World::with(|config| config.planner.replica_memory = 0).await;
    let there = tasks_of(&world.control("GET", "snapshot", Value::Null).await);
    let everything = json!({"fields": ["id", "title", "plan"], "sort": "title", "limit": 100});
    let page = world.ok("query_tasks", everything.clone()).await;
    assert_eq!(page["total"], there.len(), "all tasks are counted");
    assert_eq!(world.ok("query_tasks", everything).await["rows"], page["rows"], "and are the same when asked again");

    let plans = world.ok("list_plans", json!({})).await["plans"].as_array().unwrap().clone();
    let counted: u64 = plans.iter().map(|plan| plan["tasks"].as_u64().expect("it is known")).sum();
    assert_eq!(counted, there.len() as u64);

    // One task of each plan, by the id that Planner gives it.
    let mut of_plans: BTreeMap<&str, &Value> = BTreeMap::new();
    for task in &there {
        of_plans.entry(task["planId"].as_str().unwrap()).or_insert(task);
    }
    assert!(of_plans.len() > 2, "there are several plans");
    let mut ids = Vec::new();
    for task in of_plans.values() {
        let found = world.ok("get_task", json!({"task_id": task["id"]})).await;
        assert_eq!(found["title"], task["title"]);
        ids.push(found["id"].clone());
    }
    for (number, id) in ids.iter().enumerate() {
        let title = format!("Zebra{number} while others are away");
        let changed = world.ok("update_task", json!({"task_id": id, "title": title})).await;
        assert_eq!(changed["sync"], "synced", "{changed:#}");
    }
    for number in 0..ids.len() {
        let title = format!("Zebra{number} while others are away");
        let there = tasks_of(&world.control("GET", "snapshot", Value::Null).await);
        assert_eq!(there.iter().filter(|task| task["title"] == title).count(), 1, "{title} is on Planner");
        let found = world.ok("query_tasks", json!({"text": title, "limit": 5})).await;
        assert_eq!(found["total"], 1, "{found:#}");
    }
}
