//! What one caller may cost everybody: files, schedules, questions to Microsoft Graph, guesses at keys; and what a
//! stranger, or a caller of some plans, may learn.

use futures::StreamExt as _;
use graphgate::auth::Role;
use graphgate::ids::PlanId;
use serde_json::{Value, json};

use super::callers::{Gate, error_of};
use crate::support::rest::{ask, send};
use crate::support::{PLAN, World};

fn made(answer: &Value) -> Value {
    answer["result"]["structuredContent"].clone()
}

#[tokio::test]
async fn read_only_key_gets_a_report_without_a_stored_file() {
    let gate = Gate::open(|_| ()).await;
    let (reader, _) = gate.key(Role { read_only: true, ..Role::default() }, 1).await;
    let (writer, _) = gate.key(Role::default(), 1).await;
    let asked = json!({"plans": [PLAN], "formats": ["json"]});
    let answer = made(&gate.call(&reader, "generate_report", asked.clone()).await);
    assert!(answer["summary"].as_str().is_some_and(|text| text.len() > 20), "{answer}");
    assert!(answer.get("downloads").is_none() && answer.get("resource").is_none(), "{answer}");
    assert!(answer["notes"].to_string().contains("not kept"), "{answer}");
    let kept = gate.ask("GET", "/api/reports", &writer).await;
    assert_eq!(kept.body["reports"], json!([]), "{kept:#?}");
    let answer = made(&gate.call(&writer, "generate_report", asked).await);
    assert!(answer["downloads"]["json"].is_string() && answer["resource"].is_string(), "{answer}");
    let world = World::with(|config| config.mcp.offer.read_only = true).await;
    world.ok("generate_report", json!({"plans": [PLAN]})).await;
    assert_eq!(ask(&world.api_url(), "GET", "/api/reports").await.body["reports"], json!([]));
}

#[tokio::test]
async fn report_schedules_are_limited_per_caller() {
    let gate = Gate::open(|_| ()).await;
    let (key, _) = gate.key(Role::default(), 1).await;
    let (other, _) = gate.key(Role::default(), 1).await;
    let schedule = |name: &str| json!({"name": name, "schedule": "0 16 * * fri", "plans": [PLAN]});
    for number in 0..50 {
        let answer = gate.call(&key, "schedule_report", schedule(&number.to_string())).await;
        assert_eq!(answer["result"]["isError"], false, "{answer}");
    }
    let (code, message) = error_of(&gate.call(&key, "schedule_report", schedule("one more")).await);
    assert_eq!(code, "VAL_003", "{message}");
    assert_eq!(gate.call(&other, "schedule_report", schedule("another's")).await["result"]["isError"], false);
}

#[tokio::test]
async fn schedule_names_of_other_callers_are_not_disclosed() {
    let gate = Gate::open(|_| ()).await;
    let (all, _) = gate.key(Role::default(), 1).await;
    let plan = PlanId::parse(&gate.plans(&all).await[0].0).unwrap();
    let limited = Role { plans: [plan.clone()].into(), ..Role::default() };
    let (one, _) = gate.key(limited.clone(), 1).await;
    let (two, _) = gate.key(limited, 1).await;
    let schedule = json!({"name": "Secret merger", "schedule": "0 16 * * fri", "plans": [plan.as_str()]});
    for key in [&all, &one, &two] {
        let answer = gate.call(key, "schedule_report", schedule.clone()).await;
        assert_eq!(answer["result"]["isError"], false, "each has a name of its own: {answer}");
    }
    let removed = gate.call(&one, "remove_report_schedule", json!({"name": "Secret merger"})).await;
    assert_eq!(removed["result"]["isError"], false, "{removed}");
    let left = made(&gate.call(&two, "list_report_schedules", json!({})).await);
    assert_eq!(left["schedules"].as_array().unwrap().len(), 1, "{left}");
}

/// Requests to Graph since the last count.
async fn asked(gate: &Gate) -> Vec<(String, String)> {
    let requests = gate.world.requests().await;
    gate.world.control("POST", "requests/clear", json!({})).await;
    requests
}

#[tokio::test]
async fn repeated_lookups_of_unknown_names_cause_few_graph_calls() {
    let gate = Gate::open(|_| ()).await;
    let (key, _) = gate.key(Role { read_only: true, ..Role::default() }, 1).await;
    let (writer, _) = gate.key(Role::default(), 1).await;
    gate.call(&writer, "get_plan", json!({"plan_id": PLAN})).await;
    asked(&gate).await;
    let calls = (0..40).map(|number| {
        let plan = format!("{number:028}");
        let key = key.clone();
        let gate = &gate;
        async move { error_of(&gate.call(&key, "get_plan", json!({"plan_id": plan})).await).0 }
    });
    let codes = futures::future::join_all(calls).await;
    assert!(codes.iter().all(|code| code == "PLAN_001"), "{codes:?}");
    let lists = asked(&gate).await.iter().filter(|(_, path)| path.contains("/groups?")).count();
    assert!(lists <= 1, "{lists} lists of groups for forty plans that never were");
    for _ in 0..5 {
        gate.call(&key, "query_tasks", json!({"plan_id": PLAN, "assignee": "Nobody Atall"})).await;
        gate.call(&key, "get_task", json!({"task_id": "zzzzzzzzzzzzzzzzzzzzzzzzzzzz"})).await;
    }
    let requests = asked(&gate).await;
    let of = |part: &str| requests.iter().filter(|(_, path)| path.contains(part)).count();
    // One by the whole name, and one for each beginning of its words, to offer who may have been meant.
    assert!((1..=5).contains(&of("/users")), "{requests:?}");
    assert_eq!(of("/planner/tasks/zzzz"), 1, "{requests:?}");
    let tasks: Vec<Value> =
        (0..40).map(|n| json!({"title": format!("Task {n}"), "assignee_ids": ["Never Was"]})).collect();
    gate.call(&writer, "bulk_create_tasks", json!({"plan_id": PLAN, "tasks": tasks})).await;
    let requests = asked(&gate).await;
    let people = requests.iter().filter(|(_, path)| path.contains("/users")).count();
    assert!((1..=5).contains(&people), "{requests:?}");
    let tasks: Vec<Value> = (0..40).map(|n| json!({"task_id": format!("{n:028}"), "title": "x"})).collect();
    gate.call(&writer, "bulk_update_tasks", json!({"updates": tasks})).await;
    let requests = asked(&gate).await;
    let singles = requests.iter().filter(|(_, path)| path.contains("/planner/tasks/")).count();
    let batches = requests.iter().filter(|(_, path)| path.ends_with("$batch")).count();
    assert!(batches == 2 || singles == 40, "in batches: {requests:?}");
}

#[tokio::test]
async fn lookups_count_against_the_callers_own_budget() {
    let gate = Gate::open(|config| config.lookups_per_minute = 6).await;
    let (key, _) = gate.key(Role::default(), 1).await;
    let (other, _) = gate.key(Role::default(), 1).await;
    let look = async |key: &str, name: &str| {
        error_of(&gate.call(key, "query_tasks", json!({"plan_id": PLAN, "assignee": name})).await).0
    };
    let mut codes = Vec::new();
    for number in 0..9 {
        codes.push(look(&key, &format!("Nobody {number}")).await);
    }
    assert_eq!(&codes[..6], ["USER_002"; 6], "{codes:?}");
    assert_eq!(&codes[7..], ["RATE_001"; 2], "{codes:?}");
    assert_eq!(look(&other, "Nobody at all").await, "USER_002", "another's budget is whole");
    let group = gate.ask("GET", "/api/metadata?type=group&id=Digital", &other).await.body["id"].clone();
    let members = gate.world.graph("GET", &format!("groups/{}/members", group.as_str().unwrap())).await.1;
    let member = &members["value"][0]["displayName"];
    let known = gate.call(&key, "query_tasks", json!({"plan_id": PLAN, "assignee": member, "limit": 1})).await;
    assert_eq!(known["result"]["isError"], false, "what is known costs nothing: {known}");
}

#[tokio::test]
async fn key_limited_to_a_plan_finds_only_members_of_its_group() {
    let gate = Gate::open(|_| ()).await;
    let (all, _) = gate.key(Role::default(), 1).await;
    let plans = gate.plans(&all).await;
    let directory = gate.world.graph("GET", "users?$top=100").await.1;
    let people = directory["value"].as_array().unwrap().clone();
    let plan = PlanId::parse(&plans.iter().find(|(_, group)| group == "Digital").unwrap().0).unwrap();
    let (narrow, _) = gate.key(Role { plans: [plan].into(), read_only: true, ..Role::default() }, 1).await;
    let group = gate.ask("GET", "/api/metadata?type=group&id=Digital", &narrow).await;
    let members =
        gate.world.graph("GET", &format!("groups/{}/members?$top=100", group.body["id"].as_str().unwrap())).await.1;
    let is_member = |id: &Value| members["value"].as_array().unwrap().iter().any(|member| member["id"] == *id);
    let (mut inside, mut outside) = (0, 0);
    for person in &people {
        let id = person["id"].as_str().unwrap();
        for text in [id, person["userPrincipalName"].as_str().unwrap()] {
            let path: String = url::form_urlencoded::byte_serialize(text.as_bytes()).collect();
            let path = format!("/api/metadata?type=user&id={path}");
            // What others have looked up is no way in either.
            gate.ask("GET", &path, &all).await;
            let found = gate.ask("GET", &path, &narrow).await;
            assert_eq!(found.status == 200, is_member(&person["id"]), "{text}: {found:#?}");
        }
        if is_member(&person["id"]) { inside += 1 } else { outside += 1 }
    }
    assert!(inside > 2 && outside > 2, "{inside} {outside}");
    for letter in "abcdefghijklmnopqrstuvwxyz".chars() {
        let hint = gate.call(&narrow, "query_tasks", json!({"assignee": letter.to_string()})).await.to_string();
        for person in people.iter().filter(|person| !is_member(&person["id"])) {
            let upn = person["userPrincipalName"].as_str().unwrap();
            assert!(!hint.contains(upn), "{letter}: {hint}");
        }
    }
}

#[tokio::test]
async fn wrong_keys_are_throttled_and_right_keys_are_not() {
    // Side by side, so that the minute over which they are counted does not pass meanwhile.
    let guess = async |gate: &Gate, keys: Vec<String>| {
        let base = gate.world.api_url();
        let sent = keys.into_iter().map(|key| {
            let base = base.clone();
            async move { send(&base, "GET", "/api/agent/tasks?limit=1", &[("x-api-key", &key)], None).await }
        });
        let answers: Vec<_> = futures::stream::iter(sent).buffer_unordered(32).collect().await;
        let slowed = answers.iter().filter(|answer| answer.status == 429).collect::<Vec<_>>();
        for answer in &slowed {
            answer.assert_problem(429, "RATE_001");
        }
        assert!(answers.iter().all(|answer| [401, 429].contains(&answer.status)), "{answers:?}");
        slowed.len()
    };
    let gate = Gate::open(|_| ()).await;
    let slowed = guess(&gate, (0..300).map(|number| format!("gg_{number:08x}_0000000000000000")).collect()).await;
    assert!(slowed >= 40, "{slowed} of 300 were slowed down");
    // A key that has been used is known, however many are guessed meanwhile.
    let gate = Gate::open(|_| ()).await;
    let (mine, _) = gate.key(Role::default(), 1).await;
    assert_eq!(gate.ask("GET", "/api/agent/tasks?limit=1", &mine).await.status, 200);
    let slowed = guess(&gate, (0..900).map(|number| format!("wrong {number}")).collect()).await;
    assert!(slowed >= 40, "{slowed} of 900 were slowed down");
    assert_eq!(gate.ask("GET", "/api/agent/tasks?limit=1", &mine).await.status, 200);
}

#[tokio::test]
async fn empty_functions_key_is_not_a_credential() {
    let gate = Gate::open(|config| config.auth.host_key_role = Some("Planner.Read".into())).await;
    let base = gate.world.api_url();
    for (path, headers) in [
        ("/api/agent/tasks", vec![("x-functions-key", ""), ("x-ms-invocation-id", "1")]),
        ("/api/agent/tasks?code=", vec![("x-ms-invocation-id", "1")]),
    ] {
        send(&base, "GET", path, &headers, None).await.assert_problem(401, "AUTH_001");
    }
}

#[tokio::test]
async fn health_shows_status_to_anyone_and_details_to_operators() {
    let gate = Gate::open(|_| ()).await;
    let (operator, _) = gate.key(Role { operator: true, ..Role::default() }, 1).await;
    let (agent, _) = gate.key(Role::default(), 1).await;
    for path in ["/health", "/health/ready"] {
        let told = gate.ask("GET", path, &operator).await.body;
        assert!(told["replicas"]["plans"].is_number() && told["reports"]["schedules"].is_number(), "{told:#}");
        for answer in [ask(&gate.world.api_url(), "GET", path).await, gate.ask("GET", path, &agent).await] {
            let told = answer.body;
            assert!(told["status"].is_string() && told["reports"]["status"].is_string(), "{told:#}");
            for count in ["replicas", "schedules", "failing", "poisoned"] {
                assert!(!told.to_string().contains(&format!("\"{count}\"")), "{count}: {told:#}");
            }
        }
    }
}

#[tokio::test]
async fn allowed_ips_apply_to_all_routes_except_health_and_webhook() {
    for (network, inside) in [("10.0.0.0/8", false), ("127.0.0.1/32", true)] {
        let world = World::with(|config| config.networks = vec![network.parse().unwrap()]).await;
        let base = world.api_url();
        for path in ["/api/agent/tasks?limit=1", "/metrics", "/openapi.json", "/api/sync/board", "/.well-known/x"] {
            let answer = ask(&base, "GET", path).await;
            assert_eq!(answer.status != 403, inside, "{network} {path}: {answer:#?}");
        }
        let message = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/list", "params": {}}).to_string();
        let headers = [("content-type", "application/json"), ("accept", "application/json, text/event-stream")];
        let listed = send(&base, "POST", "/mcp", &headers, Some(message)).await;
        assert_eq!(listed.status == 200, inside, "{network}: {listed:#?}");
        for path in ["/health", "/health/live", "/"] {
            assert_eq!(ask(&base, "GET", path).await.status, 200, "{network} {path}");
        }
        let handshake = send(&base, "POST", "/api/graph_webhook?validationToken=hello", &[], None).await;
        assert_eq!((handshake.status, handshake.text.as_str()), (200, "hello"), "{network}");
    }
}
