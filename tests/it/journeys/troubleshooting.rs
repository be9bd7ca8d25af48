//! The symptoms of docs/troubleshooting.md: what the health report says of each, and that everything arrives once it is over.

use std::sync::Arc;

use chrono::TimeDelta;
use graphgate::clock::Clock;
use serde_json::{Value, json};

use crate::support::process::Folder;
use crate::support::rest::{ask, tell};
use crate::support::{Leaping, PLAN, World};

/// What the health report says of [`PLAN`].
async fn standing(world: &World) -> Value {
    let health = ask(&world.api_url(), "GET", "/api/sync/health").await;
    let plans = health.body["plans"].as_array().unwrap_or_else(|| panic!("{health:#?}"));
    plans.iter().find(|plan| plan["plan"] == PLAN).unwrap_or_else(|| panic!("{health:#?}")).clone()
}

/// Has the plan compared with Planner now.
async fn look(world: &World) -> Value {
    tell(&world.api_url(), "POST", "/api/planner/refresh", json!({"plan": PLAN})).await.body["plans"][0].clone()
}

async fn until_in_step(world: &World) {
    world.until("nothing waits", async || standing(world).await["status"] == "up_to_date").await;
}

async fn update(world: &World, id: &str, change: Value) -> Value {
    let mut arguments = json!({"task_id": id});
    for (name, value) in change.as_object().unwrap() {
        arguments[name] = value.clone();
    }
    world.ok("update_task", arguments).await
}

#[tokio::test]
async fn throttled_writes_are_pending_and_retry_after_is_respected() {
    let world = World::hurried().await;
    let (id, _) = world.task("Throttled").await;
    world.faults(json!([{"path_contains": "/planner/", "kind": "status", "status": 429, "retry_after": 100}])).await;
    assert_eq!(update(&world, &id, json!({"priority": "urgent"})).await["sync"], "pending");
    let waiting = standing(&world).await;
    assert_eq!((&waiting["status"], &waiting["pending"]), (&json!("pending"), &json!(1)), "{waiting}");
    assert!(waiting["oldest_pending"].is_string(), "{waiting}");
    let health = ask(&world.api_url(), "GET", "/health").await.body;
    assert_eq!(health["graph"]["status"], "degraded", "{health}");
    let throttled = &health["graph"]["throttled"][0];
    assert!(throttled["for_seconds"].as_u64() > Some(50), "it is told for how long: {throttled}");
    let calls = async || world.control("GET", "stats", Value::Null).await["by_operation"].to_string();
    let before = calls().await;
    for _ in 0..10 {
        update(&world, &id, json!({"percent_complete": 50})).await;
        look(&world).await;
    }
    assert_eq!(calls().await, before, "nothing is sent before the time Graph named");
    world.heal().await;
    until_in_step(&world).await;
    let there = &world.tasks_called("Throttled").await[0];
    assert_eq!((&there["priority"], &there["percentComplete"]), (&json!(1), &json!(50)));
}

#[tokio::test]
async fn update_applied_despite_503_is_recognised_and_not_repeated() {
    let world = World::hurried().await;
    let (id, planner_id) = world.task("Doubtful").await;
    world.faults(json!([{"method": "PATCH", "times": 1, "kind": "effect_then_status", "status": 503}])).await;
    update(&world, &id, json!({"title": "Certain", "percent_complete": 50})).await;
    until_in_step(&world).await;
    let there = world.tasks_called("Certain").await;
    assert_eq!((there.len(), &there[0]["id"], &there[0]["percentComplete"]), (1, &json!(planner_id), &json!(50)));
    let conflicts = ask(&world.api_url(), "GET", "/api/sync/conflicts").await;
    assert_eq!(conflicts.body["conflicts"], json!([]), "our own change is no person's");
    let writes = world.control("GET", "stats", Value::Null).await["by_operation"].to_string();
    assert!(!writes.contains("\"412\""), "it was read before anything was sent again: {writes}");
}

#[tokio::test]
async fn create_applied_despite_403_is_found_without_duplicate() {
    let world = World::hurried().await;
    world.ok("get_plan", json!({"plan_id": PLAN})).await;
    let refusal = json!({"method": "POST", "path_contains": "/planner/tasks", "times": 1,
        "kind": "effect_then_status", "status": 403});
    world.faults(json!([refusal])).await;
    let made = world.ok("create_task", json!({"plan_id": PLAN, "title": "Refused, it says"})).await;
    assert_eq!(made["sync"], "pending", "{made}");
    until_in_step(&world).await;
    assert_eq!(world.tasks_called("Refused, it says").await.len(), 1);
    assert_eq!(conflicts(&world).await, json!([]));
}

/// What the conflict log holds.
async fn conflicts(world: &World) -> Value {
    ask(&world.api_url(), "GET", "/api/sync/conflicts").await.body["conflicts"].clone()
}

/// Journals updates, creates and a deletion while Graph takes no writes; answers the ids of the updated and the deleted.
async fn journal_some(world: &World) -> (Vec<String>, String) {
    let mut ids = Vec::new();
    for number in 0..4 {
        ids.push(world.task(&format!("Waits {number}")).await.0);
    }
    let doomed = ids.pop().unwrap();
    let paths = json!([{"path_contains": "/planner/tasks", "kind": "status", "status": 503}]);
    world.faults(paths).await;
    for (number, id) in ids.iter().enumerate() {
        assert_eq!(update(world, id, json!({"title": format!("Arrived {number}")})).await["sync"], "pending");
        let title = format!("Born {number}");
        let made = world.ok("create_task", json!({"plan_id": PLAN, "title": title, "description": "d"})).await;
        assert_eq!(made["sync"], "pending", "{made}");
    }
    assert_eq!(world.ok("delete_task", json!({"task_id": doomed})).await["sync"], "pending");
    (ids, doomed)
}

/// Everything that [`journal_some`] journalled is there, and nothing was given up.
async fn assert_all_arrived(world: &World) {
    for number in 0..3 {
        for title in [format!("Arrived {number}"), format!("Born {number}")] {
            assert_eq!(world.tasks_called(&title).await.len(), 1, "{title}");
        }
    }
    assert!(world.tasks_called("Waits 3").await.is_empty(), "the deletion has arrived, too");
    assert_eq!(conflicts(world).await, json!([]));
}

#[tokio::test]
async fn pending_writes_survive_a_temporary_loss_of_write_permission() {
    let world = World::hurried().await;
    journal_some(&world).await;
    let denied =
        |method: &str| json!({"method": method, "path_contains": "/planner/tasks", "kind": "status", "status": 403});
    world.faults(json!([denied("PATCH"), denied("POST"), denied("DELETE")])).await;
    world
        .until("the plan says that it may not be written", async || {
            let plan = standing(&world).await;
            let stopped = plan["stopped"].as_str().unwrap_or_default();
            stopped.starts_with("the permission to write to the plan was lost") && plan["what_to_do"].is_string()
        })
        .await;
    let waiting = standing(&world).await;
    assert_eq!((&waiting["status"], &waiting["pending"]), (&json!("stopped"), &json!(7)), "{waiting}");
    world
        .colleague(json!({"task_id": world.tasks_called("Waits 0").await[0]["id"], "set": {"percentComplete": 50}}))
        .await;
    look(&world).await;
    let page = world
        .ok("query_tasks", json!({"plan_id": PLAN, "text": "Arrived 0", "fields": ["title", "percent_complete"]}))
        .await;
    assert!(page.to_string().contains("50"), "the plan is read all the same: {page}");
    world.heal().await;
    until_in_step(&world).await;
    assert_all_arrived(&world).await;
}

#[tokio::test]
async fn pending_writes_survive_deletion_and_restore_of_the_plan() {
    let world = World::hurried().await;
    let plan = world.ok("get_plan", json!({"plan_id": PLAN})).await["id"].as_str().unwrap().to_owned();
    journal_some(&world).await;
    let whole = world.control("GET", "snapshot", Value::Null).await;
    assert_eq!(world.graph("DELETE", &format!("planner/plans/{plan}")).await.0, 204);
    world.heal().await;
    world
        .until("the plan counts as gone", async || {
            standing(&world).await["stopped"].as_str().is_some_and(|why| why.starts_with("the plan is gone"))
        })
        .await;
    assert_eq!(conflicts(&world).await, json!([]), "nothing is given up with the plan");
    world.control("PUT", "snapshot", whole).await;
    world
        .until("the plan is followed again", async || {
            look(&world).await;
            standing(&world).await["status"] == "up_to_date"
        })
        .await;
    assert_all_arrived(&world).await;
}

#[tokio::test]
async fn refused_change_does_not_block_other_changes() {
    let world = World::hurried().await;
    let (id, _) = world.task("Three good changes and a bad one").await;
    let made = world.ok("create_bucket", json!({"plan_id": PLAN, "name": "Doomed"})).await;
    world.faults(json!([{"method": "PATCH", "kind": "status", "status": 503}])).await;
    update(&world, &id, json!({"title": "Good"})).await;
    update(&world, &id, json!({"bucket_id": "Doomed"})).await;
    update(&world, &id, json!({"priority": "urgent", "due_date": "2027-01-15", "description": "good as well"})).await;
    let bucket = made["bucket"]["id"].as_str().or(made["id"].as_str()).unwrap_or_else(|| panic!("{made}")).to_owned();
    assert_eq!(world.graph("DELETE", &format!("planner/buckets/{bucket}")).await.0, 204);
    world.heal().await;
    until_in_step(&world).await;
    let there = &world.tasks_called("Good").await[0];
    assert_eq!((&there["priority"], &there["hasDescription"]), (&json!(1), &json!(true)), "{there:#}");
    assert!(there["dueDateTime"].is_string(), "{there:#}");
    let log = conflicts(&world).await;
    assert_eq!(log.as_array().map(Vec::len), Some(1), "{log:#}");
    assert_eq!((&log[0]["kind"], &log[0]["field"]), (&json!("refused"), &json!("bucket")), "{log:#}");
}

#[tokio::test]
async fn conflict_is_reported_despite_later_edits_of_other_fields() {
    for round in 0..6 {
        let world = World::start().await;
        let (id, planner_id) = world.task("Contested").await;
        world.colleague(json!({"task_id": planner_id, "set": {"title": "The person's"}})).await;
        let (contested, other) = futures::join!(
            update(&world, &id, json!({"title": "The agent's"})),
            update(&world, &id, json!({"priority": "low"})),
        );
        assert_eq!(contested["sync"], "conflict", "round {round}: {contested}");
        assert_eq!(other["sync"], "synced", "round {round}: {other}");
    }
}

#[tokio::test]
async fn text_search_finds_a_description_edited_in_planner() {
    let world = World::start().await;
    let (id, planner_id) = world.task("Has a text").await;
    let search =
        async |text: &str| world.ok("query_tasks", json!({"plan_id": PLAN, "text": text, "fresh": true})).await;
    update(&world, &id, json!({"description": "before"})).await;
    assert_eq!(search("before").await["total"], 1);
    world.colleague(json!({"task_id": planner_id, "details": {"description": "afterwards"}})).await;
    assert_eq!(search("afterwards").await["total"], 1);
    assert_eq!(search("before").await["total"], 0);
}

#[tokio::test]
async fn text_search_counts_unread_descriptions() {
    let world = World::start().await;
    let there = world.planner_tasks().await.iter().filter(|task| task["hasDescription"] == true).count();
    assert!(there > 20);
    let rule = json!({"path_contains": "/details", "kind": "status", "status": 500});
    world.faults(json!([rule])).await;
    let search = json!({"plan_id": PLAN, "text": "keep the checklist up to date"});
    let unread = world.ok("query_tasks", search.clone()).await;
    assert_eq!(unread["complete"], false, "{unread}");
    assert!(unread["note"].as_str().unwrap().contains("could not be read"), "{unread}");
    world.heal().await;
    let found = world.ok("query_tasks", search).await;
    assert_eq!((&found["total"], &found["complete"]), (&json!(there), &json!(true)), "{found}");
}

#[tokio::test]
async fn lost_create_answers_make_no_duplicates_with_a_tenant_clock_an_hour_behind() {
    let world = World::hurried().await;
    world.control("PUT", "clock", json!({"advance_seconds": -3_600})).await;
    world.ok("get_plan", json!({"plan_id": PLAN})).await;
    let lost = json!({"method": "POST", "path_contains": "/planner/tasks", "times": 4, "kind": "drop_with_effect"});
    world.faults(json!([lost])).await;
    for number in 0..4 {
        world.ok("create_task", json!({"plan_id": PLAN, "title": format!("Behind {number}")})).await;
    }
    until_in_step(&world).await;
    look(&world).await;
    for number in 0..4 {
        assert_eq!(world.tasks_called(&format!("Behind {number}")).await.len(), 1, "task {number}");
    }
    assert_eq!(conflicts(&world).await, json!([]));
}

#[tokio::test]
async fn incomplete_or_stale_listing_changes_nothing() {
    let world = World::start().await;
    let (id, _) = world.task("Too new for the listing").await;
    update(&world, &id, json!({"percent_complete": 50})).await;
    world.control("PUT", "stale_reads", json!({"seconds": 3_600})).await;
    assert_eq!(update(&world, &id, json!({"priority": "low"})).await["sync"], "synced");
    let looked = look(&world).await;
    assert_eq!((&looked["changed"], &looked["removed"], &looked["held_back"]), (&json!(0), &json!(0), &json!(0)));
    let task = world.ok("get_task", json!({"task_id": id})).await;
    assert_eq!((&task["percent_complete"], &task["priority"]), (&json!(50), &json!("low")), "{task}");
    assert_eq!(standing(&world).await["status"], "up_to_date");
}

#[tokio::test]
async fn instances_with_clocks_hours_apart_lose_no_edit() {
    let folder = Folder::new();
    let world = World::in_folder(&folder.0).await;
    let ahead = Leaping::default();
    ahead.leap(TimeDelta::hours(3));
    let clock = Clock::from_source(Arc::new(ahead));
    let neighbour = world.beside_at(&folder.0, clock, |_| ()).await;
    let (id, _) = world.task("Timeless").await;
    for round in 0..3 {
        update(&world, &id, json!({"percent_complete": 10 * round})).await;
        neighbour.ok("update_task", json!({"task_id": id, "title": format!("Timeless {round}")})).await;
    }
    world.ok("create_task", json!({"plan_id": PLAN, "title": "Made by the slow clock"})).await;
    neighbour.ok("create_task", json!({"plan_id": PLAN, "title": "Made by the fast clock"})).await;
    until_in_step(&world).await;
    let there = world.tasks_called("Timeless 2").await;
    assert_eq!((there.len(), &there[0]["percentComplete"]), (1, &json!(20)), "{there:#?}");
    for title in ["Made by the slow clock", "Made by the fast clock"] {
        assert_eq!(world.tasks_called(title).await.len(), 1, "{title}");
    }
    let conflicts = ask(&world.api_url(), "GET", "/api/sync/conflicts").await;
    assert_eq!(conflicts.body["conflicts"], json!([]));
    neighbour.stop().await;
}

#[tokio::test]
async fn deleted_plan_stops_and_resumes_after_restore() {
    let world = World::hurried().await;
    let (id, _) = world.task("Buried alive").await;
    let plan = world.ok("get_plan", json!({"plan_id": PLAN})).await["id"].as_str().unwrap().to_owned();
    let whole = world.control("GET", "snapshot", Value::Null).await;
    assert_eq!(world.graph("DELETE", &format!("planner/plans/{plan}")).await.0, 204);
    look(&world).await;
    let stopped = standing(&world).await;
    assert_eq!(stopped["status"], "stopped", "{stopped}");
    assert!(stopped["stopped"].as_str().unwrap().starts_with("the plan is gone from Planner"), "{stopped}");
    assert!(stopped["what_to_do"].as_str().unwrap().contains("restore"), "{stopped}");
    assert_eq!(stopped["tasks"], 201, "nothing was deleted here");
    assert_eq!(update(&world, &id, json!({"title": "Risen"})).await["sync"], "pending");
    world.control("PUT", "snapshot", whole).await;
    world
        .until("the plan is followed again", async || {
            look(&world).await;
            standing(&world).await["status"] == "up_to_date"
        })
        .await;
    assert_eq!(world.tasks_called("Risen").await.len(), 1, "what was journalled meanwhile has arrived");
}

#[tokio::test]
async fn lost_group_permission_stops_the_plan_until_restored() {
    let world = World::hurried().await;
    let (id, _) = world.task("Locked out").await;
    world.faults(json!([{"path_contains": "/planner/", "kind": "status", "status": 403}])).await;
    look(&world).await;
    let stopped = standing(&world).await;
    assert_eq!(stopped["status"], "stopped", "{stopped}");
    assert!(stopped["stopped"].as_str().unwrap().starts_with("the permission to read the plan was lost"), "{stopped}");
    assert!(stopped["what_to_do"].is_string(), "{stopped}");
    assert_eq!(update(&world, &id, json!({"title": "Let in again"})).await["sync"], "pending");
    world.heal().await;
    world
        .until("the plan is followed again", async || {
            look(&world).await;
            standing(&world).await["status"] == "up_to_date"
        })
        .await;
    assert_eq!(world.tasks_called("Let in again").await.len(), 1);
}

#[tokio::test]
async fn refused_token_is_reported_and_pending_writes_arrive_with_the_next() {
    let world = World::hurried().await;
    let (id, _) = world.task("Unknown to the doorman").await;
    world.faults(json!([{"path_contains": "/planner/", "kind": "status", "status": 401}])).await;
    assert_eq!(update(&world, &id, json!({"title": "Known again"})).await["sync"], "pending");
    look(&world).await;
    let waiting = standing(&world).await;
    assert_eq!((&waiting["status"], &waiting["pending"]), (&json!("pending"), &json!(1)), "{waiting}");
    let error = waiting["last_error"].as_str().unwrap_or_else(|| panic!("{waiting}"));
    assert!(error.contains("token"), "{error}");
    world.heal().await;
    until_in_step(&world).await;
    assert_eq!(world.tasks_called("Known again").await.len(), 1);
    look(&world).await;
    assert!(standing(&world).await["last_error"].is_null());
}

#[tokio::test]
async fn retry_after_of_a_week_is_probed_after_ten_minutes_and_replay_all_ends_it() {
    let world = World::leaping(&Leaping::default()).await; // as an operator asks before the week is over
    let (id, _) = world.task("Held up").await;
    let week =
        json!([{"path_contains": "/planner/", "kind": "status", "status": 429, "retry_after": 604_800, "times": 1}]);
    world.faults(week).await;
    assert_eq!(update(&world, &id, json!({"priority": "urgent"})).await["sync"], "pending");
    let health = ask(&world.api_url(), "GET", "/health").await.body;
    let seconds = health["graph"]["throttled"][0]["for_seconds"].as_u64().unwrap();
    assert!((590..=600).contains(&seconds), "{health}");
    let replayed = tell(&world.api_url(), "POST", "/api/sync/replay", json!({})).await;
    assert_eq!(replayed.status, 200, "{replayed:?}");
    let looked = look(&world).await;
    assert!(looked["plan_id"].is_string() && looked["error"].is_null(), "Planner is asked again: {looked}");
    let health = ask(&world.api_url(), "GET", "/health").await.body;
    assert_eq!(health["graph"]["throttled"], json!([]), "{health}");
}

#[tokio::test]
async fn removed_data_folder_is_reported_to_callers_and_in_health() {
    let folder = Folder::new();
    let world = World::in_folder(&folder.0).await;
    let (id, _) = world.task("Kept").await;
    std::fs::remove_dir_all(&folder.0).unwrap();
    let (code, message, hint) = world.refused("update_task", json!({"task_id": id, "priority": "urgent"})).await;
    assert_eq!(code, "STORE_001", "{message}");
    assert!(message.contains("was removed or replaced") && message.contains("nothing was changed"), "{message}");
    assert!(hint.contains("put the data folder"), "{hint}");
    let health = ask(&world.api_url(), "GET", "/health").await;
    assert_eq!((&health.body["status"], &health.body["store"]["status"]), (&json!("degraded"), &json!("degraded")));
    assert_eq!(health.body["store"]["problem"], "it is damaged, or its folder was removed");
}

/// What is read while Graph does not answer, from which every plan was known before; each within a second.
async fn reads_are_answered(world: &World, id: &str) {
    for round in 0..2 {
        let began = std::time::Instant::now();
        let plans = world.ok("list_plans", json!({})).await;
        assert!(plans["plans"].as_array().unwrap().iter().any(|plan| plan["title"] == PLAN), "{plans}");
        let page = world.ok("query_tasks", json!({"plan_id": PLAN, "limit": 1})).await;
        assert!(page["total"].as_u64() >= Some(200), "{page}");
        let task = world.ok("get_task", json!({"task_id": id})).await;
        assert_eq!(task["title"], "Known before", "{task}");
        if round == 1 {
            for answer in [&plans, &page, &task] {
                assert!(answer["note"].is_string(), "it is said that Planner was not asked: {answer}");
            }
            assert!(began.elapsed() < std::time::Duration::from_secs(1), "{:?}", began.elapsed());
        }
    }
}

#[tokio::test]
async fn known_tasks_are_read_at_once_during_a_graph_outage_and_after_restart() {
    for kind in ["drop_without_effect", "timeout_without_effect"] {
        let (folder, time) = (Folder::new(), Leaping::default());
        let mut world = World::leaping(&time).await;
        world.restart(&folder.0).await;
        world.ok("list_plans", json!({})).await;
        let (id, _) = world.task("Known before").await;
        world.faults(json!([{"kind": kind}])).await;
        time.leap(TimeDelta::minutes(10));
        reads_are_answered(&world, &id).await;
        world.restart(&folder.0).await;
        reads_are_answered(&world, &id).await;
    }
}

#[tokio::test]
async fn clock_set_back_by_a_day_does_not_delay_edits_of_people() {
    let time = Leaping::default();
    let world = World::leaping(&time).await;
    let (id, planner_id) = world.task("Before").await;
    let fresh = json!({"plan_id": PLAN, "fresh": true, "limit": 1});
    world.ok("query_tasks", fresh.clone()).await;
    time.leap(TimeDelta::days(-1));
    for title in ["After", "And once more"] {
        world.colleague(json!({"task_id": planner_id, "set": {"title": title}})).await;
        world.ok("query_tasks", fresh.clone()).await;
        assert_eq!(world.ok("get_task", json!({"task_id": id})).await["title"], title);
        assert_eq!(update(&world, &id, json!({"percent_complete": 50})).await["sync"], "synced");
    }
}
