//! Every mistake gets a sentence that says what is wrong and what to do, and changes nothing.

use serde_json::{Value, json};

use crate::support::{PLAN, World};

#[tokio::test]
async fn invalid_arguments_are_refused_with_message_and_hint() {
    let world = World::start().await;
    let office = world.ok("list_buckets", json!({"plan_id": "Office move"})).await["buckets"][0]["id"].clone();
    let items: Vec<String> = (0..26).map(|number| format!("item {number}")).collect();
    let many: Vec<Value> = (0..600).map(|number| json!({"title": format!("{number}")})).collect();
    let cases = [
        ("create_task", json!({"plan_id": PLAN, "title": " "})),
        ("create_task", json!({"plan_id": PLAN, "title": "x".repeat(300)})),
        ("create_task", json!({"plan_id": PLAN, "title": "x", "bucket_id": "Nowhere"})),
        ("create_task", json!({"plan_id": PLAN, "title": "x", "due_date": "2026-11-30T10:00"})),
        ("create_task", json!({"plan_id": PLAN, "title": "x", "due_date": "tomorrow"})),
        ("create_task", json!({"plan_id": PLAN, "title": "x", "start_date": "2026-12-02", "due_date": "2026-12-01"})),
        ("create_task", json!({"plan_id": PLAN, "title": "x", "checklist": items})),
        ("create_task", json!({"plan_id": PLAN, "title": "x", "assignee_ids": ["Nobody Atall"]})),
        ("create_task", json!({"plan_id": PLAN, "title": "x", "priority": 11})),
        ("create_task", json!({"plan_id": PLAN, "title": "x", "references": ["ftp://example.com"]})),
        ("create_task", json!({"plan_id": PLAN, "title": 7})),
        ("create_task", json!({"plan_id": PLAN, "title": "x", "colour": "red"})),
        ("create_task", json!({"plan_id": PLAN, "title": "x", "custom_fields": {"Customer": "ACME"}})),
        ("create_task", json!({"plan_id": PLAN})),
        ("bulk_create_tasks", json!({"plan_id": PLAN, "tasks": many})),
        ("bulk_create_tasks", json!({"plan_id": PLAN, "tasks": []})),
        ("update_task", json!({"task_id": "nonsense", "title": "x"})),
        ("update_task", json!({"task_id": "00000000000000", "title": "x"})),
        ("update_task", json!({"task_id": "00000000000000"})),
        ("update_task", json!({"task_id": "00000000000000", "due_date": null})),
        ("update_task", json!({"task_id": "00000000000000", "title": null})),
        ("update_task", json!({"task_id": "00000000000000", "percent_complete": "50"})),
        ("query_tasks", json!({"plan_id": PLAN, "status": "asleep"})),
        ("query_tasks", json!({"plan_id": PLAN, "limit": "3"})),
        ("create_task", json!({"plan_id": PLAN, "title": "x", "checklist": [{"text": "x"}]})),
        ("create_task", json!({"plan_id": PLAN, "title": "x", "categories": "Design"})),
        ("create_subscription", json!({"kind": "planets"})),
        ("query_tasks", json!({"plan_id": PLAN, "sort": "colour"})),
        ("query_tasks", json!({"plan_id": PLAN, "fields": ["id", "colour"]})),
        ("query_tasks", json!({"plan_id": PLAN, "limit": 5000})),
        ("query_tasks", json!({"plan_id": PLAN, "cursor": "made-up"})),
        ("query_tasks", json!({"plan_id": PLAN, "category": "Nolabel"})),
    ];
    let mut told = Vec::new();
    for (tool, arguments) in cases {
        let (code, message, hint) = world.refused(tool, arguments).await;
        told.push(format!("{code} {message}\n     -> {hint}"));
    }
    let foreign = world.refused("create_task", json!({"plan_id": PLAN, "title": "x", "bucket_id": office})).await;
    assert!(foreign.1.contains("belongs to the plan `Office move`"), "{foreign:?}");
    insta::assert_snapshot!(told.join("\n"));
    let page = world.ok("query_tasks", json!({"plan_id": PLAN, "fresh": true})).await;
    assert_eq!(page["total"], 200, "nothing was changed");
}

#[tokio::test]
async fn null_argument_equals_an_omitted_one() {
    let world = World::start().await;
    let arguments = json!({
        "plan_id": PLAN, "title": "Nulls", "bucket_id": null, "description": null, "assignee_ids": null, "due_date": null,
        "priority": null, "checklist": null, "references": null, "categories": null, "custom_fields": null,
        "idempotency_key": null,
    });
    assert_eq!(world.ok("create_task", arguments).await["sync"], "synced");
    assert_eq!(
        world.ok("query_tasks", json!({"plan_id": PLAN, "status": null, "cursor": null, "text": "Nulls"})).await["total"],
        1
    );
}

#[tokio::test]
async fn ambiguous_name_is_refused_with_candidates() {
    let world = World::start().await;
    world.ok("create_plan", json!({"title": "Office move", "group_id": "Digital"})).await;
    let (code, message, hint) = world.refused("get_plan", json!({"plan_id": "office move"})).await;
    assert_eq!(
        (code.as_str(), message.as_str()),
        ("VAL_002", "`office move` is the title of several plans; nothing was changed")
    );
    assert!(hint.contains("Digital") && hint.contains("Operations"), "{hint}");
}
