//! What bounds a whole deployment: the groups it serves, and that it is read-only.

use graphgate::app::App;
use graphgate::clock::Clock;
use graphgate::ids::{Entropy, GroupId};
use serde_json::{Value, json};
use std::sync::Arc;

use crate::support::process::Folder;
use crate::support::rest::{ask, tell};
use crate::support::{Leaping, PLAN, World};

/// A plan of another group than [`PLAN`].
const OTHER: &str = "IT service desk";

/// The id of the group that owns a plan.
async fn group_of(world: &World, plan: &str) -> GroupId {
    let listed = world.ok("list_plans", json!({})).await;
    let plans = listed["plans"].as_array().unwrap().iter();
    let name = plans.into_iter().find(|found| found["title"] == plan).unwrap()["group"].as_str().unwrap().to_owned();
    let url = format!("/api/metadata?type=group&id={}", name.replace(' ', "%20"));
    let found = ask(&world.api_url(), "GET", &url).await;
    GroupId::parse(found.body["id"].as_str().unwrap_or_else(|| panic!("{name}: {found:#?}"))).unwrap()
}

#[tokio::test]
async fn planner_group_ids_limits_reads_writes_events_and_background_work() {
    let folder = Folder::new();
    let mut world = World::in_folder(&folder.0).await;
    let mine = group_of(&world, PLAN).await;
    let plan = world.ok("get_plan", json!({"plan_id": OTHER})).await["id"].as_str().unwrap().to_owned();
    let made = world.ok("create_task", json!({"plan_id": OTHER, "title": "Outside the scope"})).await;
    let [task, planner_id] = ["id", "planner_id"].map(|name| made[name].as_str().unwrap().to_owned());
    // A conflict and a write that has not arrived, so that every kind of answer has something to leak.
    world.colleague(json!({"task_id": planner_id, "set": {"title": "Outside, a person's"}})).await;
    world.ok("update_task", json!({"task_id": task, "title": "Outside, an agent's"})).await;
    let conflicts = world.ok("sync_status", json!({"conflicts": true})).await;
    let conflict = conflicts["conflicts"][0]["id"].as_str().unwrap_or_else(|| panic!("{conflicts}")).to_owned();
    world
        .faults(json!([{"method": "PATCH", "path_contains": "/planner/tasks", "kind": "status", "status": 503}]))
        .await;
    let waiting = world.ok("update_task", json!({"task_id": task, "title": "Outside and waiting"})).await;
    assert_eq!(waiting["sync"], "pending", "{waiting}");

    world.restart_with(&folder.0, |config| config.planner.scope.groups = vec![mine.clone()]).await;
    world.heal().await;
    world.control("POST", "requests/clear", json!({})).await;
    let base = world.api_url();
    // Twice: an answer to one call must not open the plan to the next.
    for _ in 0..2 {
        for (tool, arguments) in [
            ("get_task", json!({"task_id": task})),
            ("get_task", json!({"task_id": planner_id})),
            ("get_plan", json!({"plan_id": plan})),
            ("get_plan", json!({"plan_id": OTHER})),
            ("list_buckets", json!({"plan_id": plan})),
            ("query_tasks", json!({"plan_id": plan})),
            ("generate_report", json!({"plans": [plan]})),
            ("create_task", json!({"plan_id": plan, "title": "Written outside"})),
            ("create_bucket", json!({"plan_id": plan, "name": "Written outside"})),
            ("update_task", json!({"task_id": task, "title": "Written outside"})),
            ("delete_task", json!({"task_id": task})),
            ("move_task", json!({"task_id": task, "plan_id": PLAN})),
            ("resolve_conflict", json!({"conflict_id": conflict})),
            ("get_changes", json!({"plan_id": plan, "cursor": "-"})),
            ("sync_status", json!({"plan_id": plan})),
        ] {
            let refused = world.call(tool, arguments.clone()).await;
            assert!(refused.is_err(), "{tool} {arguments}: {refused:?}");
        }
        for (tool, arguments) in [
            ("get_changes", json!({"cursor": "-", "limit": 500})),
            ("sync_status", json!({"conflicts": true})),
            ("query_tasks", json!({"text": "Outside"})),
            ("list_plans", json!({"fresh": true})),
        ] {
            let seen = world.ok(tool, arguments).await.to_string();
            assert!(!seen.contains("Outside") && !seen.contains(&plan), "{tool}: {seen}");
        }
        for path in ["/api/sync/health", "/api/sync/log", "/api/sync/conflicts", "/api/agent/tasks?limit=500"] {
            let answer = ask(&base, "GET", path).await;
            assert_eq!(answer.status, 200, "{answer:#?}");
            assert!(!answer.text.contains("Outside") && !answer.text.contains(&plan), "{path}: {}", answer.text);
        }
        for path in [
            format!("/api/agent/tasks/{task}"),
            format!("/api/metadata?type=task&id={task}"),
            format!("/api/metadata?type=plan&id={plan}"),
            format!("/api/sync/log?plan_id={plan}"),
            format!("/api/events?plan={plan}&cursor=-"),
        ] {
            assert_eq!(ask(&base, "GET", &path).await.status, 404, "{path}");
        }
        for (path, body) in [
            (format!("/api/sync/plans/{plan}/confirm"), json!({})),
            (format!("/api/sync/conflicts/{conflict}/restore"), json!({})),
            ("/api/sync/replay".to_owned(), json!({"plan_id": plan})),
        ] {
            let answer = tell(&base, "POST", &path, body).await;
            assert!((400..500).contains(&answer.status), "{path}: {answer:#?}");
        }
    }
    // What works by itself leaves the plan alone, too.
    let mut config = graphgate::cli::dev::config(&world.tenant, Some(&folder.0)).unwrap();
    config.planner.scope.groups = vec![mine];
    config.planner.reconciled_by = graphgate::services::planner::ReconciledBy::Timer;
    let app = App::build(config, Clock::system(), Entropy::system()).await.unwrap();
    for timer in app.jobs().timers {
        timer.run(&Clock::system()).await.unwrap();
    }
    let note = json!({"plan": plan}).to_string();
    let pushed = app.services.planner.push_noted(&note).await.unwrap();
    assert_eq!((pushed.settled, pushed.pending), (0, 0));
    let asked = world.requests().await;
    let touches = |(method, path): &&(String, String)| {
        path.contains(&plan) || (path.contains(&planner_id) && method != "GET") || (method == "PATCH")
    };
    let outside: Vec<_> = asked.iter().filter(touches).collect();
    assert!(outside.is_empty(), "{outside:?}");

    world.restart(&folder.0).await;
    let arrived = async || world.tasks_titled(OTHER, "Outside and waiting").await;
    world.ok("get_plan", json!({"plan_id": OTHER, "fresh": true})).await;
    world.until("what waited arrives once the plan is served again", async || arrived().await == 1).await;
}

/// Requests that may have changed something: all but GETs, and the one POST that only asks.
async fn changing(world: &World) -> Vec<(String, String)> {
    let mut asked = world.requests().await;
    asked.retain(|(method, path)| method != "GET" && !path.ends_with("getMemberGroups"));
    asked
}

#[tokio::test]
async fn read_only_deployment_sends_no_changing_request_to_graph() {
    let folder = Folder::new();
    let mut world = World::leaping(&Leaping::default()).await; // as its clock and that of the program will differ
    world.restart(&folder.0).await;
    let watched = world.ok("create_subscription", json!({"kind": "groups"})).await;
    assert_eq!(watched["subscription"]["state"], "active", "{watched}");
    world.faults(json!([{"path_contains": "/planner/tasks", "kind": "status", "status": 503}])).await;
    let journalled = world.ok("create_task", json!({"plan_id": PLAN, "title": "Journalled"})).await;
    assert_eq!(journalled["sync"], "pending");
    let schedule = json!({
        "name": "Every minute", "schedule": "* * * * *", "plans": [PLAN], "formats": ["json"],
        "mail_to": [format!("MohammedH@{}", graphgate_sim::DOMAIN)],
        "webhook_url": format!("http://{}/workflows/digital", world.tenant.address),
    });
    world.ok("schedule_report", schedule).await;
    world.restart_with(&folder.0, |config| config.mcp.offer.read_only = true).await;
    world.heal().await;
    world.control("POST", "requests/clear", json!({})).await;

    // Three days pass: subscriptions run out, the schedule is due, everything journalled is tried again.
    let time = Leaping::default();
    time.leap(chrono::TimeDelta::days(3));
    let clock = Clock::from_source(Arc::new(time));
    let run_all = async |read_only: bool| {
        let mut config = graphgate::cli::dev::config(&world.tenant, Some(&folder.0)).unwrap();
        config.mcp.offer.read_only = read_only;
        let app = App::build(config, clock.clone(), Entropy::system()).await.unwrap();
        app.services.subscriptions.listens_at("127.0.0.1:9".parse().unwrap());
        for timer in app.jobs().timers {
            let ran = tokio::time::timeout(std::time::Duration::from_secs(30), timer.run(&clock)).await;
            let ran = ran.unwrap_or_else(|_| panic!("{} does not end", timer.name));
            ran.unwrap_or_else(|error| panic!("{}: {error}", timer.name));
        }
        app.services.planner.push_noted(&json!({"plan": plan_id(&world).await}).to_string()).await.unwrap()
    };
    let pushed = run_all(true).await;
    assert_eq!((pushed.settled, pushed.pending), (0, 1), "it waits");
    assert_eq!(changing(&world).await, [], "nothing that changes anything leaves");
    let health = ask(&world.api_url(), "GET", "/api/sync/health").await;
    assert!(health.text.contains("READ_ONLY"), "what waits says why: {}", health.text);
    let schedules = ask(&world.api_url(), "GET", "/api/report-schedules").await;
    assert!(schedules.text.contains("READ_ONLY"), "{}", schedules.text);
    let sent = |told: &Value| told["sent"].as_array().unwrap().len();
    assert_eq!(sent(&world.control("GET", "mail", json!(null)).await), 0);

    run_all(false).await;
    let arrived = async || world.tasks_called("Journalled").await.len() == 1;
    world.until("it arrives once the deployment may write", arrived).await;
    assert_eq!(sent(&world.control("GET", "mail", json!(null)).await), 1);
}

async fn plan_id(world: &World) -> String {
    world.ok("get_plan", json!({"plan_id": PLAN})).await["id"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn read_only_server_refuses_write_tools_before_calling_graph() {
    let world = World::with(|config| config.mcp.offer.read_only = true).await;
    world.control("POST", "requests/clear", json!({})).await;
    for (tool, arguments) in [
        ("create_task", json!({"plan_id": PLAN, "title": "x"})),
        ("create_plan", json!({"title": "x", "group_id": "Digital"})),
        ("create_bucket", json!({"plan_id": PLAN, "name": "x"})),
        ("bulk_create_tasks", json!({"plan_id": PLAN, "tasks": [{"title": "x"}]})),
        ("create_subscription", json!({"kind": "groups"})),
    ] {
        assert_eq!(world.refused(tool, arguments).await.0, "PERM_002", "{tool}");
    }
    world.ok("query_tasks", json!({"plan_id": PLAN, "fresh": true, "limit": 1})).await;
    assert_eq!(changing(&world).await, []);
}
