//! The same for agents: `sync_status`, `get_changes` and `resolve_conflict`.

use chrono::TimeDelta;
use serde_json::{Value, json};

use crate::rest::sync::conflict;
use crate::support::process::Folder;
use crate::support::{Leaping, PLAN, World};

/// Where a caller stands who wants to hear of everything from here on.
async fn here(world: &World) -> Value {
    let page = world.ok("get_changes", json!({"plan_id": PLAN})).await;
    assert_eq!((&page["changes"], &page["complete"]), (&json!([]), &json!(true)), "{page}");
    page["cursor"].clone()
}

/// What has changed since.
async fn changes(world: &World, cursor: &Value) -> Vec<Value> {
    let page = world.ok("get_changes", json!({"plan_id": PLAN, "cursor": cursor})).await;
    page["changes"].as_array().unwrap().clone()
}

fn kinds(page: &Value) -> Vec<&str> {
    page["changes"].as_array().unwrap().iter().map(|change| change["event"].as_str().unwrap()).collect()
}

#[tokio::test]
async fn get_changes_pages_in_order_without_repetition() {
    let world = World::start().await;
    let (id, planner_id) = world.task("Followed by a model").await;
    let mut cursor = here(&world).await;
    world.ok("update_task", json!({"task_id": id, "priority": "urgent"})).await;
    world.colleague(json!({"task_id": planner_id, "set": {"percentComplete": 50}})).await;
    world.ok("get_task", json!({"task_id": id, "fresh": true})).await;
    let mut told = Vec::new();
    loop {
        let page = world.ok("get_changes", json!({"plan_id": PLAN, "cursor": cursor, "limit": 1})).await;
        told.extend(page["changes"].as_array().unwrap().clone());
        cursor = page["cursor"].clone();
        if page["complete"] == true {
            break;
        }
    }
    let of = |member: &str| told.iter().map(|change| change[member].clone()).collect::<Vec<_>>();
    assert_eq!(of("event"), ["updated", "synced", "updated"], "{told:#?}");
    assert_eq!(of("side"), ["agent", "agent", "planner"]);
    assert_eq!((&told[2]["fields"], &told[2]["percent_complete"]), (&json!(["percent_complete"]), &json!(50)));
    let rest = world.ok("get_changes", json!({"cursor": cursor})).await;
    assert!(!rest["changes"].to_string().contains(&id), "nothing is told twice: {rest}");
}

#[tokio::test]
async fn get_changes_resets_an_expired_cursor() {
    let time = Leaping::default();
    let world = World::leaping(&time).await;
    let (id, _) = world.task("Long forgotten").await;
    let cursor = here(&world).await;
    world.ok("update_task", json!({"task_id": id, "priority": "urgent"})).await;
    time.leap(TimeDelta::days(8));
    let swept = world.events.as_ref().unwrap().sweep().await.unwrap();
    assert!(swept.events > 0 && swept.failed == 0, "{swept:?}");
    world.ok("update_task", json!({"task_id": id, "priority": "low"})).await;
    let page = world.ok("get_changes", json!({"plan_id": PLAN, "cursor": cursor})).await;
    let plan = world.ok("get_plan", json!({"plan_id": PLAN})).await["id"].clone();
    assert_eq!(page["reset"], json!([plan]), "{page}");
    assert_eq!(kinds(&page), ["updated", "synced"], "what is kept is told");
    let page = world.ok("get_changes", json!({"plan_id": PLAN, "cursor": page["cursor"]})).await;
    assert_eq!((&page["reset"], &page["changes"]), (&Value::Null, &json!([])), "and that once: {page}");
}

#[tokio::test]
async fn get_changes_includes_commits_of_another_process() {
    let folder = std::env::temp_dir().join(format!("graphgate-events-{}", uuid::Uuid::new_v4()));
    let world = World::in_folder(&folder).await;
    let (id, _) = world.task("Shared by two programs").await;
    let cursor = here(&world).await;
    let other = world.beside(&folder).await;
    let changed = other.ok("update_task", json!({"task_id": id, "title": "Renamed elsewhere"})).await;
    assert_eq!(changed["sync"], "synced", "{changed}");
    world
        .until("the other program's change is told", async || {
            let page = world.ok("get_changes", json!({"plan_id": PLAN, "cursor": cursor})).await;
            kinds(&page) == ["updated", "synced"] && page["changes"][0]["fields"] == json!(["title"])
        })
        .await;
    let there = other.ok("get_changes", json!({"plan_id": PLAN, "cursor": cursor})).await;
    assert_eq!(kinds(&there), ["updated", "synced"], "a cursor is good on any instance");
    other.stop().await;
    std::fs::remove_dir_all(&folder).unwrap();
}

#[tokio::test]
async fn get_changes_refuses_an_invalid_cursor() {
    let world = World::start().await;
    let (code, _, hint) = world.refused("get_changes", json!({"cursor": "garbage!"})).await;
    assert_eq!((code.as_str(), hint.as_str()), ("VAL_004", "start again without a cursor"));
}

#[tokio::test]
async fn sync_status_counts_synced_tasks_and_lists_the_others() {
    let world = World::hurried().await;
    let (id, _) = world.task("Waits for Planner").await;
    let status = world.ok("sync_status", json!({})).await;
    assert_eq!(status, json!({"status": "up_to_date", "up_to_date": 1}));
    world.faults(json!([{"kind": "drop_without_effect"}])).await;
    let changed = world.ok("update_task", json!({"task_id": id, "priority": "urgent"})).await;
    assert_eq!(changed["sync"], "pending", "{changed}");
    let status = world.ok("sync_status", json!({})).await;
    assert_eq!((&status["status"], &status["up_to_date"]), (&json!("pending"), &json!(0)));
    let plan = &status["plans"][0];
    assert_eq!((&plan["plan"], &plan["pending"]), (&json!(PLAN), &json!(1)), "{status}");
    assert!(plan["oldest_pending"].is_string(), "{status}");
    world.heal().await;
    world.until("all is in step", async || world.ok("sync_status", json!({})).await["status"] == "up_to_date").await;
    let one = world.ok("sync_status", json!({"plan_id": PLAN})).await;
    assert_eq!(one["plans"][0]["status"], "up_to_date", "a plan that is asked for is shown: {one}");
}

#[tokio::test]
async fn resolve_conflict_restores_the_losing_value() {
    let world = World::start().await;
    let (id, _, _) = conflict(&world).await;
    let status = world.ok("sync_status", json!({"plan_id": PLAN, "conflicts": true})).await;
    let found = &status["conflicts"][0];
    assert_eq!(
        (&found["task_id"], &found["field"], &found["winner"]),
        (&json!(id), &json!("title"), &json!("planner"))
    );
    assert_eq!((&found["holds"], &found["lost"]), (&json!("The person's title"), &json!("The agent's title")));
    let restored = world.ok("resolve_conflict", json!({"conflict_id": found["id"]})).await;
    assert_eq!((&restored["sync"], &restored["title"]), (&json!("synced"), &json!("The agent's title")), "{restored}");
    assert_eq!(world.tasks_called("The agent's title").await.len(), 1);
    let status = world.ok("sync_status", json!({"conflicts": true})).await;
    assert_eq!(status["conflicts"], json!([]), "what was put back is not offered again");
    let (code, message, _) = world.refused("resolve_conflict", json!({"conflict_id": found["id"]})).await;
    assert!(code == "VAL_001" && message.contains("was restored by"), "{message}");
    let (code, _, hint) = world.refused("resolve_conflict", json!({"conflict_id": "x"})).await;
    assert!(code == "FIND_001" && hint.contains("sync_status"), "{code} {hint}");
}

#[tokio::test]
async fn resolve_conflict_recreates_a_task_deleted_during_an_edit() {
    let world = World::start().await;
    let task = world.ok("query_tasks", json!({"plan_id": PLAN, "status": "open", "limit": 1, "format": "json"})).await;
    let id = task["tasks"][0]["id"].clone();
    let edit = json!({"task_id": id, "description": "who did what", "checklist": ["one", "two"], "priority": "urgent"});
    let before = world.ok("update_task", edit).await;
    assert_eq!(before["sync"], "synced", "{before}");
    world.colleague(json!({"delete": before["planner_id"]})).await;
    let (code, _, hint) = world.refused("update_task", json!({"task_id": id, "title": "Edited too late"})).await;
    assert!(code == "GRAPH_002" && hint.contains("conflict log"), "{code} {hint}");
    let status = world.ok("sync_status", json!({"conflicts": true})).await;
    let found = &status["conflicts"][0];
    assert_eq!((&found["kind"], &found["field"]), (&json!("gone_on_planner"), &Value::Null), "{status}");
    let restored = world.ok("resolve_conflict", json!({"conflict_id": found["id"]})).await;
    assert_eq!(restored["sync"], "synced", "{restored}");
    assert_ne!(restored["id"], id, "it is another task");
    let again = world.ok("get_task", json!({"task_id": restored["id"], "fresh": true})).await;
    assert_eq!((&again["title"], &again["priority"]), (&json!("Edited too late"), &json!("urgent")));
    assert_eq!((&again["description"], again["checklist"].as_array().unwrap().len()), (&json!("who did what"), 2));
    assert_eq!(world.tasks_called("Edited too late").await.len(), 1);
}

#[tokio::test]
async fn get_changes_carries_old_and_new_values() {
    let world = World::start().await;
    let arguments = json!({"plan_id": PLAN, "title": "Before", "due_date": "2026-12-01", "checklist": ["one"], "bucket_id": "Ideas"});
    let id = world.ok("create_task", arguments).await["id"].clone();
    let cursor = here(&world).await;
    let update = json!({"task_id": id, "title": "After", "due_date": "2026-12-02", "bucket_id": "Design", "priority": "urgent",
        "add_assignees": ["Adele Vance"], "tick_checklist": ["one"], "add_categories": ["SEO"]});
    world.ok("update_task", update).await;
    let told = changes(&world, &cursor).await;
    let change = told.iter().find(|change| change["event"] == "updated").unwrap();
    assert!(change["id"].is_string(), "{change}");
    for expected in [
        json!({"field": "title", "from": "Before", "to": "After"}),
        json!({"field": "bucket", "from": "Ideas", "to": "Design"}),
        json!({"field": "priority", "from": "medium", "to": "urgent"}),
        json!({"field": "due_date", "from": "2026-12-01", "to": "2026-12-02"}),
        json!({"field": "assignees", "to": "Adele Vance"}),
        json!({"field": "categories", "to": "SEO"}),
        json!({"field": "checklist", "from": "one", "to": "[x] one"}),
    ] {
        assert!(change["values"].as_array().unwrap().contains(&expected), "{expected} is not in {change:#}");
    }
}

#[tokio::test]
async fn first_import_of_a_plan_is_not_reported_as_changes() {
    let world = World::start().await;
    let start = world.ok("get_changes", json!({})).await;
    world.plan_id().await;
    let page = world.ok("get_changes", json!({"plan_id": PLAN, "cursor": start["cursor"]})).await;
    assert_eq!(page["changes"], json!([]), "tasks that were there are not created");
    let body = json!({"planId": world.plan_id().await, "title": "Really new"});
    assert_eq!(world.graph_with("POST", "planner/tasks", Some(body)).await.0, 201);
    world.ok("query_tasks", json!({"plan_id": PLAN, "fresh": true})).await;
    let page = world.ok("get_changes", json!({"plan_id": PLAN, "cursor": page["cursor"]})).await;
    let told = page["changes"].as_array().expect("changes");
    assert_eq!(
        (told.len(), &told[0]["event"], &told[0]["title"]),
        (1, &json!("created"), &json!("Really new")),
        "{page}"
    );
}

#[tokio::test]
async fn get_changes_filters_by_side() {
    let world = World::start().await;
    let (_, planner_id) = world.task("Shared").await;
    let start = world.ok("get_changes", json!({"plan_id": PLAN})).await["cursor"].clone();
    world.task("An agent's").await;
    world.colleague(json!({"task_id": planner_id, "set": {"title": "Renamed by a person"}})).await;
    world.ok("query_tasks", json!({"plan_id": PLAN, "fresh": true})).await;
    let page = world.ok("get_changes", json!({"plan_id": PLAN, "cursor": start, "side": "planner"})).await;
    let told: Vec<_> = page["changes"].as_array().expect("changes").iter().map(|change| &change["title"]).collect();
    assert_eq!(told, [&json!("Renamed by a person")], "{page}");
    let (code, ..) = world.refused("get_changes", json!({"cursor": start, "side": "both"})).await;
    assert_eq!(code, "VAL_001");
}

#[tokio::test]
async fn conflicts_show_the_current_title() {
    let world = World::start().await;
    let (id, planner_id) = world.task("Contested").await;
    world.colleague(json!({"task_id": planner_id, "set": {"title": "The person's title"}})).await;
    world.call("update_task", json!({"task_id": id, "title": "The agent's title"})).await.expect("an answer");
    let url = world.api_url().join("/api/sync/conflicts").expect("an address");
    let list: Value = reqwest::get(url).await.expect("an answer").json().await.expect("JSON");
    let holds = world.ok("get_task", json!({"task_id": id})).await["title"].clone();
    let conflict = &list["conflicts"][0];
    assert_eq!((&conflict["title"], &conflict["plan"]), (&holds, &json!(PLAN)), "{list}");
}

#[tokio::test]
async fn get_changes_cursor_is_valid_on_another_instance() {
    let folder = Folder::new();
    let world = World::in_folder(&folder.0).await;
    let (task, _) = world.task("Told elsewhere").await;
    let neighbour = world.beside(&folder.0).await;
    let mut cursor = neighbour.ok("get_changes", json!({"plan_id": PLAN})).await["cursor"].clone();
    for number in 0..20 {
        neighbour.ok("get_changes", json!({"plan_id": PLAN, "cursor": cursor})).await; // so that it need not look again
        let title = format!("Told {number}");
        world.ok("update_task", json!({"task_id": task, "title": title})).await;
        let here = world.ok("get_changes", json!({"plan_id": PLAN, "cursor": cursor})).await;
        assert!(here["changes"].to_string().contains(&title), "{here}");
        cursor = here["cursor"].clone();
        let there = neighbour.ok("get_changes", json!({"plan_id": PLAN, "cursor": cursor})).await;
        assert!(there["reset"].as_array().is_none_or(Vec::is_empty), "nothing was lost: {there}");
        assert!(!there["changes"].to_string().contains(&title), "nothing is told twice: {there}");
        cursor = there["cursor"].clone();
    }
    neighbour.stop().await;
}
