//! What is made once: buckets and plans by name, tasks by idempotency key; for any number of callers, on any instance.

use std::collections::BTreeSet;

use chrono::TimeDelta;
use futures::future::join_all;
use serde_json::{Value, json};

use crate::support::process::Folder;
use crate::support::{Leaping, PLAN, World};

const THERE: &str = "Office move";

fn ids(answers: &[Value]) -> BTreeSet<&str> {
    answers.iter().map(|answer| answer["id"].as_str().unwrap()).collect()
}

/// Names of the buckets the tenant itself has in a plan.
async fn buckets(world: &World, plan: &str) -> Vec<String> {
    let plan = world.ok("get_plan", json!({"plan_id": plan})).await["id"].as_str().unwrap().to_owned();
    let (_, found) = world.graph("GET", &format!("planner/plans/{plan}/buckets")).await;
    found["value"].as_array().unwrap().iter().map(|bucket| bucket["name"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn concurrent_create_bucket_on_two_instances_creates_one() {
    let folder = Folder::new();
    let world = World::in_folder(&folder.0).await;
    let beside = world.beside(&folder.0).await;
    world.ok("get_plan", json!({"plan_id": PLAN})).await;
    beside.ok("get_plan", json!({"plan_id": PLAN})).await;
    let bucket = json!({"plan_id": PLAN, "name": "Blocked"});
    let here = join_all((0..10).map(|_| world.ok("create_bucket", bucket.clone())));
    let there = join_all((0..10).map(|_| beside.ok("create_bucket", bucket.clone())));
    let (mut answers, others) = tokio::join!(here, there);
    answers.extend(others);
    assert_eq!(ids(&answers).len(), 1, "{answers:?}");
    assert_eq!(buckets(&world, PLAN).await.iter().filter(|name| *name == "Blocked").count(), 1);
    beside.stop().await;
}

#[tokio::test]
async fn created_bucket_is_known_while_listings_are_stale() {
    let world = World::start().await;
    world.ok("get_plan", json!({"plan_id": PLAN})).await;
    world.control("PUT", "stale_reads", json!({"seconds": 20})).await;
    let bucket = json!({"plan_id": PLAN, "name": "Blocked"});
    let made = world.ok("create_bucket", bucket.clone()).await;
    world.ok("query_tasks", json!({"plan_id": PLAN, "fresh": true})).await;
    assert_eq!(world.ok("create_bucket", bucket).await["id"], made["id"]);
    let task = world.ok("create_task", json!({"plan_id": PLAN, "title": "Into it", "bucket_id": "Blocked"})).await;
    assert_eq!(task["bucket"], "Blocked", "{task}");
    let listed = world.ok("list_buckets", json!({"plan_id": PLAN, "fresh": true})).await;
    assert!(listed["buckets"].as_array().unwrap().iter().any(|bucket| bucket["id"] == made["id"]), "{listed}");

    world.ok("update_bucket", json!({"plan_id": PLAN, "bucket_id": "Blocked", "name": "Waiting"})).await;
    let listed = world.ok("list_buckets", json!({"plan_id": PLAN, "fresh": true})).await;
    let names: Vec<&str> =
        listed["buckets"].as_array().unwrap().iter().map(|bucket| bucket["name"].as_str().unwrap()).collect();
    assert!(names.contains(&"Waiting") && !names.contains(&"Blocked"), "{names:?}");
    world.control("PUT", "stale_reads", json!({"seconds": 0})).await;
    assert_eq!(buckets(&world, PLAN).await.iter().filter(|name| *name == "Waiting").count(), 1);
}

#[tokio::test]
async fn unanswered_create_bucket_is_not_repeated_before_listings_must_show_it() {
    let world = World::start().await;
    world.ok("get_plan", json!({"plan_id": PLAN})).await;
    world.control("PUT", "stale_reads", json!({"seconds": 20})).await;
    world.faults(json!([{"method": "POST", "path_contains": "planner/buckets", "kind": "drop_with_effect"}])).await;
    let bucket = json!({"plan_id": PLAN, "name": "Blocked"});
    let error = world.call("create_bucket", bucket.clone()).await.unwrap_err();
    assert_eq!(error["changed"], "unknown", "{error}");
    world.heal().await;
    let error = world.call("create_bucket", bucket.clone()).await.unwrap_err();
    assert_eq!(error["changed"], "unknown", "it may yet show up: {error}");
    world.control("PUT", "stale_reads", json!({"seconds": 0})).await;
    world.ok("create_bucket", bucket).await;
    assert_eq!(buckets(&world, PLAN).await.iter().filter(|name| *name == "Blocked").count(), 1);
}

#[tokio::test]
async fn concurrent_create_plan_on_two_instances_creates_one() {
    let folder = Folder::new();
    let world = World::in_folder(&folder.0).await;
    let beside = world.beside(&folder.0).await;
    let plans = world.ok("list_plans", json!({})).await;
    let group = plans["plans"][0]["group"].as_str().unwrap().to_owned();
    world.control("PUT", "stale_reads", json!({"seconds": 10})).await;
    let plan = json!({"title": "Autumn", "group_id": group, "buckets": ["a", "b"]});
    let here = join_all((0..5).map(|_| world.call("create_plan", plan.clone())));
    let there = join_all((0..5).map(|_| beside.call("create_plan", plan.clone())));
    let (mut answers, others) = tokio::join!(here, there);
    answers.extend(others);
    let made: Vec<Value> = answers.iter().filter_map(|answer| answer.clone().ok()).collect();
    assert!(!made.is_empty() && ids(&made).len() == 1, "{answers:?}");
    world.control("PUT", "stale_reads", json!({"seconds": 0})).await;
    let listed = world.ok("list_plans", json!({"fresh": true})).await;
    let titles = listed["plans"].as_array().unwrap().iter().filter(|plan| plan["title"] == "Autumn").count();
    assert_eq!(titles, 1, "{listed}");
    assert_eq!(buckets(&world, made[0]["id"].as_str().unwrap()).await, ["a", "b"]);
    beside.stop().await;
}

#[tokio::test]
async fn idempotency_key_is_unique_across_plans_and_tools() {
    let world = World::start().await;
    let create = |plan: &str| json!({"plan_id": plan, "title": "Keyed", "idempotency_key": "one"});
    let made = world.ok("create_task", create(PLAN)).await;
    assert_eq!(world.refused("create_task", create(THERE)).await.0, "VAL_005");
    let bulk = json!({"plan_id": PLAN, "tasks": [{"title": "Keyed"}], "idempotency_key": "one"});
    assert_eq!(world.refused("bulk_create_tasks", bulk).await.0, "VAL_005");
    assert_eq!(world.ok("create_task", create(PLAN)).await["id"], made["id"]);
    assert_eq!(world.tasks_called("Keyed").await.len(), 1);
}

#[tokio::test]
async fn bulk_create_with_a_used_idempotency_key_creates_nothing() {
    let world = World::start().await;
    let bulk = |titles: &[&str]| {
        let tasks: Vec<Value> = titles.iter().map(|title| json!({"title": title})).collect();
        json!({"plan_id": PLAN, "tasks": tasks, "idempotency_key": "batch"})
    };
    let made = world.ok("bulk_create_tasks", bulk(&["k1", "k2", "k3"])).await;
    let (code, message, _) = world.refused("bulk_create_tasks", bulk(&["k0", "k1", "k2", "k3"])).await;
    assert!(code == "VAL_005" && message.contains("nothing was changed"), "{code} {message}");
    assert_eq!(world.ok("bulk_create_tasks", bulk(&["k1", "k2", "k3"])).await["ids"], made["ids"]);
    for (title, copies) in [("k0", 0), ("k1", 1), ("k2", 1), ("k3", 1)] {
        assert_eq!(world.tasks_called(title).await.len(), copies, "{title}");
    }
}

#[tokio::test]
async fn concurrent_bulk_create_with_one_idempotency_key_creates_tasks_once() {
    let folder = Folder::new();
    let world = World::in_folder(&folder.0).await;
    let beside = world.beside(&folder.0).await;
    let tasks: Vec<Value> = (0..20).map(|number| json!({"title": format!("Twin {number}")})).collect();
    let bulk = json!({"plan_id": PLAN, "tasks": tasks, "idempotency_key": "twins"});
    let (here, there) =
        tokio::join!(world.ok("bulk_create_tasks", bulk.clone()), beside.ok("bulk_create_tasks", bulk.clone()));
    assert_eq!(here["ids"], there["ids"]);
    for number in 0..20 {
        assert_eq!(world.tasks_called(&format!("Twin {number}")).await.len(), 1);
    }
    beside.stop().await;
}

#[tokio::test]
async fn idempotency_key_expires_after_a_day() {
    let time = Leaping::default();
    let world = World::leaping(&time).await;
    let create = async |title: &str| {
        let call = json!({"plan_id": PLAN, "title": title, "idempotency_key": "nightly"});
        world.call("create_task", call).await
    };
    let monday = create("Monday's").await.unwrap();
    assert_eq!(create("Monday's").await.unwrap()["id"], monday["id"]);
    assert_eq!(create("Tuesday's").await.unwrap_err()["code"], "VAL_005");
    time.leap(TimeDelta::hours(25));
    let tuesday = create("Tuesday's").await.unwrap();
    assert_ne!(tuesday["id"], monday["id"]);
    assert_eq!(create("Tuesday's").await.unwrap()["id"], tuesday["id"], "and is remembered from there on");
    for title in ["Monday's", "Tuesday's"] {
        assert_eq!(world.tasks_called(title).await.len(), 1, "{title}");
    }
}

#[tokio::test]
async fn hundred_calls_with_one_idempotency_key_create_one_task() {
    let world = World::start().await;
    world.ok("get_plan", json!({"plan_id": PLAN})).await;
    let call = || world.ok("create_task", json!({"plan_id": PLAN, "title": "Unique", "idempotency_key": "k-1"}));
    let answers: Vec<Value> = join_all((0..100).map(|_| call())).await;
    assert!(answers.iter().all(|answer| answer["id"] == answers[0]["id"]));
    assert_eq!(world.tasks_called("Unique").await.len(), 1);
    let (code, _, _) =
        world.refused("create_task", json!({"plan_id": PLAN, "title": "Other", "idempotency_key": "k-1"})).await;
    assert_eq!(code, "VAL_005");
}
