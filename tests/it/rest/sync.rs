//! `/api/sync` and `/api/planner/refresh`: the state of the replica, its log, conflicts and their way back, the board.

use serde_json::{Value, json};

use crate::support::rest::{ask, tell};
use crate::support::{PLAN, World};

/// Refreshes [`PLAN`]; answers what the interface says of it.
pub async fn refresh(world: &World) -> Value {
    let answer = tell(&world.api_url(), "POST", "/api/planner/refresh", json!({"plan": PLAN})).await;
    assert_eq!(answer.status, 200, "{answer:#?}");
    answer.body["plans"][0].clone()
}

/// Both sides change a title; answers the task, its id on Planner, and the conflict.
pub async fn conflict(world: &World) -> (String, String, Value) {
    let (id, planner_id) = world.task("Contested").await;
    world.colleague(json!({"task_id": planner_id, "set": {"title": "The person's title"}})).await;
    let changed = world.ok("update_task", json!({"task_id": id, "title": "The agent's title"})).await;
    assert_eq!(changed["sync"], "conflict", "{changed}");
    let listed = ask(&world.api_url(), "GET", &format!("/api/sync/conflicts?task_id={id}")).await;
    assert_eq!(listed.body["conflicts"].as_array().unwrap().len(), 1, "{listed:#?}");
    (id, planner_id, listed.body["conflicts"][0].clone())
}

#[tokio::test]
async fn restore_conflict_writes_the_losing_value_once() {
    let world = World::start().await;
    let (id, _, conflict) = conflict(&world).await;
    assert_eq!((&conflict["field"], &conflict["winner"]), (&json!("title"), &json!("planner")));
    assert_eq!(conflict["agent"], "The agent's title");
    let path = format!("/api/sync/conflicts/{}/restore", conflict["id"].as_str().unwrap());
    let restored = ask(&world.api_url(), "POST", &path).await;
    assert_eq!((restored.status, &restored.body["sync"]), (200, &json!("synced")), "{restored:#?}");
    assert_eq!(world.tasks_called("The agent's title").await.len(), 1);
    let again = ask(&world.api_url(), "POST", &path).await;
    again.assert_problem(400, "VAL_001").assert_says("was restored by");
    let listed = ask(&world.api_url(), "GET", &format!("/api/sync/conflicts?task_id={id}")).await;
    assert!(listed.body["conflicts"][0]["restored"].is_string(), "{listed:#?}");
}

#[tokio::test]
async fn restore_of_an_unknown_conflict_is_404() {
    let world = World::start().await;
    for id in ["x", "1795511400000-c4tz8k2m9x0q1w-0a1b2c3d4e5f", "1-%2F-2"] {
        let answer = ask(&world.api_url(), "POST", &format!("/api/sync/conflicts/{id}/restore")).await;
        answer.assert_problem(404, "FIND_001");
    }
}

#[tokio::test]
async fn sync_log_pages_newest_first() {
    let world = World::start().await;
    let (id, _) = world.task("Logged").await;
    for priority in ["urgent", "low", "medium"] {
        world.ok("update_task", json!({"task_id": id, "priority": priority})).await;
    }
    let mut path = format!("/api/sync/log?task_id={id}&limit=3");
    let mut names = Vec::new();
    loop {
        let page = ask(&world.api_url(), "GET", &path).await;
        assert_eq!(page.status, 200, "{page:#?}");
        names.extend(page.body["events"].as_array().unwrap().iter().map(|event| event["event"].clone()));
        let Some(cursor) = page.body["cursor"].as_str() else { break };
        path = format!("/api/sync/log?task_id={id}&limit=3&cursor={cursor}");
    }
    let expected = ["synced", "updated", "synced", "updated", "synced", "updated", "synced", "created"];
    assert_eq!(names, expected);
    let created = ask(&world.api_url(), "GET", &format!("/api/sync/log?task_id={id}&event=created")).await;
    assert_eq!(created.body["events"].as_array().unwrap().len(), 1, "{created:#?}");
    let wrong = ask(&world.api_url(), "GET", "/api/sync/log?event=moved").await;
    wrong.assert_problem(400, "VAL_001").assert_says("one of: created");
}

#[tokio::test]
async fn mass_change_guard_stops_a_plan_until_confirmed() {
    let world = World::start().await;
    world.ok("get_plan", json!({"plan_id": PLAN})).await;
    let health = ask(&world.api_url(), "GET", "/api/sync/health").await;
    assert_eq!(health.body["status"], "up_to_date", "{health:#?}");
    let plan = health.body["plans"][0]["plan_id"].as_str().unwrap().to_owned();
    let ids: Vec<Value> = world.planner_tasks().await.into_iter().map(|task| task["id"].clone()).collect();
    for id in ids.iter().take(60) {
        world.colleague(json!({"delete": id})).await;
    }
    assert!(refresh(&world).await["held_back"].as_u64().unwrap() >= 60);
    let health = ask(&world.api_url(), "GET", "/api/sync/health").await;
    let stopped = &health.body["plans"][0];
    assert_eq!((&health.body["status"], &stopped["tasks"]), (&json!("stopped"), &json!(200)), "{health:#?}");
    assert!(stopped["what_to_do"].as_str().unwrap().contains("/confirm"), "{stopped}");
    let confirmed = ask(&world.api_url(), "POST", &format!("/api/sync/plans/{plan}/confirm")).await;
    assert_eq!((confirmed.status, &confirmed.body["removed"]), (200, &json!(60)), "{confirmed:#?}");
    let health = ask(&world.api_url(), "GET", "/api/sync/health").await;
    assert_eq!((&health.body["status"], &health.body["plans"][0]["tasks"]), (&json!("up_to_date"), &json!(140)));
}

#[tokio::test]
async fn sync_health_shows_last_error_until_a_refresh_succeeds() {
    let world = World::start().await;
    world.ok("get_plan", json!({"plan_id": PLAN})).await;
    world.faults(json!([{"path_contains": "/tasks", "times": 1, "kind": "status", "status": 403}])).await;
    assert!(refresh(&world).await["error"].is_string());
    let health = ask(&world.api_url(), "GET", "/api/sync/health").await;
    assert!(health.body["plans"][0]["last_error"].is_string(), "{health:#?}");
    world.heal().await;
    assert!(refresh(&world).await["error"].is_null());
    let health = ask(&world.api_url(), "GET", "/api/sync/health").await;
    assert!(health.body["plans"][0]["last_error"].is_null(), "{health:#?}");
}

#[tokio::test]
async fn sync_board_loads_nothing_from_other_hosts() {
    let world = World::start().await;
    let base = world.api_url();
    let old = ask(&base, "GET", "/api/sync/board").await;
    assert!(old.status == 200 && old.text.contains("<h1>Sync</h1>"), "it leads to the page: {}", old.text);
    world.ok("create_task", json!({"plan_id": PLAN, "title": "Seen <b>here</b>"})).await;
    for (path, part) in [("/pages/sync", "Seen &#60;b&#62;here"), ("/pages/reports", "On a schedule")] {
        let page = ask(&base, "GET", path).await;
        assert_eq!((page.status, page.header("content-type")), (200, "text/html; charset=utf-8"));
        let policy = page.header("content-security-policy");
        assert!(policy.starts_with("default-src 'none'") && !policy.contains("script-src"), "{policy}");
        assert!(!page.text.contains("http://") && !page.text.contains("https://"), "no outside resources");
        assert!(page.text.contains(part), "{}", page.text);
    }
}

#[tokio::test]
async fn refresh_takes_exactly_one_target() {
    let world = World::start().await;
    let base = world.api_url();
    tell(&base, "POST", "/api/planner/refresh", json!({})).await.assert_problem(400, "VAL_001");
    let old = tell(&base, "POST", "/api/planner/nudge", json!({"plan": PLAN})).await;
    assert_eq!((old.status, old.header("link")), (200, "</api/planner/refresh>; rel=\"successor-version\""));
    assert!(old.header("deprecation").starts_with('@'));
    tell(&base, "POST", "/api/planner/refresh", json!({"plan": PLAN, "task": "x"}))
        .await
        .assert_problem(400, "VAL_001");
    tell(&base, "POST", "/api/planner/refresh", json!({"plan": "Nowhere"})).await.assert_problem(404, "PLAN_001");
    tell(&base, "POST", "/api/planner/refresh", json!({"group": "Nobody"})).await.assert_problem(404, "TEAM_002");
}
