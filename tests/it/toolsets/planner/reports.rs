//! `generate_report`: summary, resource and files.

use chrono_tz::Tz;
use serde_json::{Value, json};

use crate::support::{PLAN, World};

async fn fetch(url: &str) -> (u16, String, Vec<u8>) {
    let answer = reqwest::get(url).await.expect("an answer");
    let status = answer.status().as_u16();
    let kind = answer.headers().get("content-type").map(|kind| kind.to_str().unwrap().to_owned()).unwrap_or_default();
    (status, kind, answer.bytes().await.unwrap().to_vec())
}

#[tokio::test]
async fn generate_report_answers_summary_resource_and_downloads() {
    let world = World::start().await;
    let made = world
        .ok("generate_report", json!({"plans": [PLAN], "formats": ["json", "csv", "markdown", "html", "xlsx"]}))
        .await;
    assert!(made["summary"].as_str().unwrap().starts_with("Website relaunch, "), "{made}");
    let answer = world.rpc("resources/read", json!({"uri": made["resource"]}), &[]).await;
    let whole: Value = serde_json::from_str(answer["result"]["contents"][0]["text"].as_str().unwrap()).unwrap();
    assert_eq!(whole["counts"]["tasks"], 200);
    assert_eq!(whole["tasks"].as_array().unwrap().len(), 200);
    for (format, begin) in [
        ("json", &b"{\n"[..]),
        ("csv", b"\xef\xbb\xbfTask ID,"),
        ("markdown", b"# Summary"),
        ("html", b"<!doctype"),
        ("xlsx", b"PK"),
    ] {
        let url = made["downloads"][format].as_str().unwrap();
        let (status, kind, content) = fetch(url).await;
        assert_eq!(status, 200, "{format}");
        assert!(content.starts_with(begin), "{format} {kind}");
        // The address opens this file and no other.
        assert_eq!(fetch(&url.replace("signature=", "signature=A")).await.0, 401);
        assert_eq!(fetch(&url.replace("expires=1", "expires=2")).await.0, 401);
    }
    let url = world.api_url().join("api/reports").unwrap();
    let list: Value = serde_json::from_slice(&fetch(url.as_str()).await.2).unwrap();
    assert_eq!((list["complete"].clone(), list["reports"][0]["id"].clone()), (json!(true), made["id"].clone()));
}

#[tokio::test]
async fn generate_report_over_rest_equals_mcp() {
    let world = World::start().await;
    let url = world.api_url().join("api/reports").unwrap();
    let request = json!({"type": "summary", "plans": [PLAN], "group_by": "priority"});
    let answer = reqwest::Client::new().post(url.clone()).json(&request).send().await.unwrap();
    assert_eq!(answer.status(), 201);
    let path = answer.headers()["location"].to_str().unwrap().to_owned();
    let made: Value = answer.json().await.unwrap();
    let whole = fetch(url.join(&path).unwrap().as_str()).await;
    let whole: Value = serde_json::from_slice(&whole.2).unwrap();
    assert_eq!(whole["id"], made["id"]);
    let open = |value: &Value| value["not_started"].as_u64().unwrap() + value["in_progress"].as_u64().unwrap();
    let groups: u64 = whole["groups"].as_array().unwrap().iter().map(|group| open(&group["counts"])).sum();
    assert_eq!(groups, open(&whole["counts"]));
    let (status, kind, text) = fetch(url.join(&format!("{path}?format=md")).unwrap().as_str()).await;
    assert_eq!((status, kind.as_str()), (200, "text/markdown; charset=utf-8"));
    assert!(String::from_utf8(text).unwrap().contains("| Urgent |"));
    assert_eq!(fetch(url.join("/api/reports/01kb4x5t0m8q7w9z3c6v1n2p4r").unwrap().as_str()).await.0, 404);
    assert_eq!(fetch(url.join(&format!("{path}?format=doc")).unwrap().as_str()).await.0, 400);
}

#[tokio::test]
async fn generate_report_refuses_invalid_arguments_with_a_hint() {
    let world = World::start().await;
    let (code, message, hint) = world.refused("generate_report", json!({"plans": ["Nowhere"]})).await;
    assert!(code == "PLAN_001" && message.contains("Nowhere") && hint.contains("Website relaunch"), "{hint}");
    let (_, message, hint) = world.refused("generate_report", json!({"plans": [PLAN], "from": "2026-13-01"})).await;
    assert!(message.contains("no date") && hint.contains("YYYY"), "{message}");
    if !cfg!(feature = "pdf") {
        let (_, message, hint) = world.refused("generate_report", json!({"plans": [PLAN], "formats": ["pdf"]})).await;
        assert!(message.contains("sets no PDF") && hint.contains("--features pdf"), "{message}: {hint}");
    }
}

/// Both moves lie between two records: no record has the bucket in the middle, but the plan's journal has.
#[tokio::test]
async fn bucket_flow_report_counts_every_move() {
    let world = World::start().await;
    let task = world.ok("create_task", json!({"plan_id": PLAN, "title": "Wanderer", "bucket_id": "Ideas"})).await;
    let moves = async || {
        let made = world.ok("generate_report", json!({"plans": [PLAN], "type": "bucket_flow"})).await;
        let answer = world.rpc("resources/read", json!({"uri": made["resource"]}), &[]).await;
        let report: Value = serde_json::from_str(answer["result"]["contents"][0]["text"].as_str().unwrap()).unwrap();
        let sections = report["sections"].as_array().unwrap();
        sections.iter().find(|section| section["id"] == "moves").unwrap()["body"]["rows"].clone()
    };
    assert_eq!(moves().await, json!([]), "recording begins");
    for bucket in ["Review", "Live"] {
        world.ok("move_task", json!({"task_id": task["id"], "bucket_id": bucket})).await;
    }
    assert_eq!(moves().await, json!([["Ideas", "Review", 1], ["Review", "Live", 1]]));
    world.ok("delete_task", json!({"task_id": task["id"]})).await;
    assert_eq!(moves().await, json!([["Ideas", "Review", 1], ["Live", "(gone)", 1], ["Review", "Live", 1]]));
}

#[tokio::test]
async fn report_is_readable_after_its_plan_is_deleted() {
    let world = World::start().await;
    let made = world.ok("generate_report", json!({"plans": ["Office move"], "type": "weekly"})).await;
    let plan = world.ok("get_plan", json!({"plan_id": "Office move"})).await["id"].as_str().unwrap().to_owned();
    let (status, told) = world.graph("DELETE", &format!("planner/plans/{plan}")).await;
    assert_eq!(status, 204, "{told}");
    let plans = world.ok("list_plans", json!({"fresh": true})).await;
    assert!(!plans.to_string().contains(&plan), "it is gone");
    let listed = fetch(world.api_url().join("api/reports").unwrap().as_str()).await.2;
    let listed = String::from_utf8(listed).unwrap();
    assert!(listed.contains(made["id"].as_str().unwrap()), "{listed}");
    let read = world.rpc("resources/read", json!({"uri": made["resource"]}), &[]).await;
    assert!(read["result"]["contents"][0]["text"].as_str().unwrap().contains("Office move"), "{read}");
}

#[tokio::test]
async fn report_time_zone_decides_the_days_counted() {
    let world = World::start().await;
    let plan = world.plan_id().await;
    let today = chrono::Utc::now().with_timezone(&Tz::Asia__Tokyo).date_naive();
    let midnight = format!("{today}T00:00:00+09:00").parse::<chrono::DateTime<chrono::Utc>>().expect("an instant");
    let task = json!({"planId": plan, "title": "Due in Tokyo today", "dueDateTime": midnight.to_rfc3339()});
    assert_eq!(world.graph_with("POST", "planner/tasks", Some(task)).await.0, 201);
    world.ok("get_plan", json!({"plan_id": PLAN, "fresh": true})).await;
    let made = world.ok("generate_report", json!({"plans": [PLAN], "time_zone": "Asia/Tokyo"})).await;
    let read = world.rpc("resources/read", json!({"uri": made["resource"]}), &[]).await;
    let text = read["result"]["contents"][0]["text"].as_str().expect("a text");
    let report: Value = serde_json::from_str(text).expect("JSON");
    let tasks = report["tasks"].as_array().expect("tasks");
    let task = tasks.iter().find(|task| task["title"] == "Due in Tokyo today").expect("the task");
    assert_eq!((&task["due"], &task["days_late"]), (&json!(today.to_string()), &Value::Null), "{task}");
}
