//! Every kind of wrong call is a problem document that says what is wrong and that nothing was changed.

use serde_json::{Value, json};
use url::Url;

use crate::support::rest::{ask, send, tell};
use crate::support::{PLAN, World};

const TASKS: &str = "/api/agent/tasks";
const JSON: &[(&str, &str)] = &[("content-type", "application/json")];

/// Bodies that cannot be read, or say what cannot be.
pub async fn bodies_are_checked(base: &Url) {
    let cases: &[(Value, u16, &str, &str)] = &[
        (json!({"plan_id": PLAN}), 400, "VAL_001", "title"),
        (json!({"plan_id": PLAN, "title": 5}), 400, "VAL_001", "`title`: a text is expected"),
        (json!({"plan_id": PLAN, "titel": "x"}), 400, "VAL_001", "unknown field `titel`"),
        (
            json!({"plan_id": PLAN, "title": "x", "checklist": [{"title": "a", "done": true}]}),
            400,
            "VAL_001",
            "checklist",
        ),
        (json!({"plan_id": PLAN, "title": "x", "due_date": "2026-11-30T17:00"}), 400, "VAL_001", "zone"),
        (json!({"plan_id": PLAN, "title": "x", "priority": 11}), 400, "VAL_001", "priority"),
        (json!({"plan_id": "No such plan", "title": "x"}), 404, "PLAN_001", "No such plan"),
        (json!({"plan_id": PLAN, "title": "x", "bucket_id": "Nowhere"}), 404, "BUCK_001", "Nowhere"),
        (json!({"plan_id": PLAN, "title": "x", "assignee_ids": ["Nobody Nowhere"]}), 404, "USER_002", "Nobody Nowhere"),
        (json!([]), 400, "VAL_001", "an object is expected"),
        (json!("text"), 400, "VAL_001", "an object is expected"),
    ];
    for (body, status, code, says) in cases {
        tell(base, "POST", TASKS, body.clone()).await.assert_problem(*status, code).assert_says(says);
    }
    for body in ["", "{", "{} {}", "{\"title\": \"\\ud800\"}", "nonsense", &"[".repeat(2000)] {
        send(base, "POST", TASKS, JSON, Some(body.to_owned())).await.assert_problem(400, "VAL_001");
    }
    let body = || Some(json!({"plan_id": PLAN, "title": "x"}).to_string());
    for headers in [&[][..], &[("content-type", "text/plain")][..], &[("content-type", "application/jsonx")][..]] {
        send(base, "POST", TASKS, headers, body()).await.assert_problem(415, "VAL_001");
    }
    let twice = send(base, "POST", TASKS, JSON, Some("{\"title\":\"a\",\"title\":\"b\"}".to_owned())).await;
    twice.assert_problem(400, "VAL_001").assert_says("duplicate field");
}

/// Changes: unknown fields by name, the task only in the path.
pub async fn changes_are_checked(base: &Url) {
    let made = tell(base, "POST", TASKS, json!({"plan_id": PLAN, "title": "Checked"})).await;
    let path = format!("{TASKS}/{}", made.body["id"].as_str().expect("an id"));
    let cases: &[(Value, &str)] = &[
        (json!({"task_id": "x", "title": "y"}), "unknown field `task_id`"),
        (json!({"owner": "x"}), "unknown field `owner`"),
        (json!({"percent_complete": "half"}), "`percent_complete`"),
        (json!({"percent_complete": 101}), "percent_complete"),
        (json!({"status": "almost"}), "almost"),
        (json!({"start_date": "2026-12-02", "due_date": "2026-12-01"}), "start"),
        (json!([]), "an object is expected"),
    ];
    for (body, says) in cases {
        tell(base, "PATCH", &path, body.clone()).await.assert_problem(400, "VAL_001").assert_says(says);
    }
    assert_eq!(ask(base, "GET", &path).await.body["title"], "Checked");
}

/// Addresses: unknown parameters by name, wrong values, wrong ids, wrong methods, unknown paths.
pub async fn addresses_are_checked(base: &Url) {
    let cases: &[(&str, &str, u16, &str, &str)] = &[
        ("GET", "/api/agent/tasks?owner=x", 400, "VAL_001", "unknown field `owner`"),
        ("GET", "/api/agent/tasks?limit=many", 400, "VAL_001", "`limit` is `many`"),
        ("GET", "/api/agent/tasks?limit=0", 400, "VAL_001", "limit"),
        ("GET", "/api/agent/tasks?limit=1&limit=2", 400, "VAL_001", "`limit` is given twice"),
        ("GET", "/api/agent/tasks?fresh=1", 400, "VAL_001", "`true` or `false`"),
        ("GET", "/api/agent/tasks?fields=id,colour", 400, "VAL_001", "colour"),
        ("GET", "/api/agent/tasks?cursor=damaged", 400, "VAL_004", "start again"),
        ("GET", "/api/agent/tasks?plan_id=Nowhere", 404, "PLAN_001", "Nowhere"),
        ("POST", "/api/agent/tasks?plan_id=x", 400, "VAL_001", "unknown parameter `plan_id`"),
        ("GET", "/api/agent/tasks/abc", 400, "VAL_001", "`abc` is no task id"),
        ("GET", "/api/agent/tasks/%ff", 400, "VAL_001", "UTF-8"),
        ("GET", "/api/agent/tasks/00000000000000", 404, "TASK_001", "00000000000000"),
        ("DELETE", "/api/agent/tasks/00000000000000?force=true", 400, "VAL_001", "unknown parameter `force`"),
        ("GET", "/api/metadata", 400, "VAL_001", "`type`"),
        ("GET", "/api/metadata?type=user", 400, "VAL_001", "`id`"),
        ("GET", "/api/metadata?type=chair&id=1", 400, "VAL_001", "chair"),
        ("GET", "/api/metadata?type=user&id=nobody@nowhere.example", 404, "USER_002", "nobody"),
        ("GET", "/api/metadata?type=group&id=Nowhere", 404, "TEAM_002", "Nowhere"),
        ("GET", "/api/tokens/status?all=1", 400, "VAL_001", "unknown parameter `all`"),
        ("GET", "/api/agent/tasks/", 404, "FIND_001", "openapi.json"),
        ("GET", "/nowhere", 404, "FIND_001", "/nowhere"),
        ("PUT", "/api/agent/tasks", 405, "VAL_001", "does not take `PUT`"),
        ("POST", "/health", 405, "VAL_001", "does not take `POST`"),
    ];
    for (method, path, status, code, says) in cases {
        let answer = ask(base, method, path).await;
        answer.assert_problem(*status, code).assert_says(says);
        assert_eq!(answer.header("allow").is_empty(), *status != 405, "{answer:#?}");
    }
}

/// A body of 5 MB is refused whole, announced or not, and the sender gets to read why.
pub async fn large_bodies_are_refused(base: &Url) {
    let body = || json!({"title": "x".repeat(5_000_000)}).to_string();
    for path in [TASKS, "/mcp"] {
        let accept = [("content-type", "application/json"), ("accept", "application/json, text/event-stream")];
        let answer = send(base, "POST", path, &accept, Some(body())).await;
        answer.assert_problem(413, "VAL_006").assert_says("4 MiB");
        let chunks = futures::stream::iter([Ok::<_, std::io::Error>(body())]);
        let mut request = reqwest::Client::new().post(base.join(path).expect("an address"));
        for (name, value) in accept {
            request = request.header(name, value);
        }
        let answer = request.body(reqwest::Body::wrap_stream(chunks)).send().await.expect("an answer");
        assert_eq!(answer.status(), 413, "{path}");
        let problem: Value = answer.json().await.expect("JSON");
        assert_eq!(problem["code"], "VAL_006", "{path}: {problem}");
    }
}

#[tokio::test]
async fn invalid_requests_are_problem_documents() {
    let world = World::start().await;
    let base = world.api_url();
    bodies_are_checked(&base).await;
    changes_are_checked(&base).await;
    addresses_are_checked(&base).await;
    large_bodies_are_refused(&base).await;
}

#[tokio::test]
async fn graph_failures_are_problems_with_hint_and_retry_after() {
    let world = World::start().await;
    let base = world.api_url();
    world.faults(json!([{"path_contains": "users/", "kind": "status", "status": 403}])).await;
    let denied = ask(&base, "GET", "/api/metadata?type=user&id=stranger@nowhere.example").await;
    denied.assert_problem(403, "PERM_001").assert_says("an administrator grants");
    world.faults(json!([{"path_contains": "groups", "kind": "status", "status": 503}])).await;
    let down = ask(&base, "GET", "/api/agent/tasks").await;
    assert!(matches!(down.status, 502 | 503), "{down:#?}");
    assert_eq!(down.body["retryable"], true, "{down:#?}");
    world.faults(json!([{"path_contains": "users/", "kind": "status", "status": 429, "retry_after": 100_000}])).await;
    let throttled = ask(&base, "GET", "/api/metadata?type=user&id=another@nowhere.example").await;
    throttled.assert_problem(429, "RATE_001").assert_says("repeat the call later");
    let wait = throttled.body["retry_after_seconds"].as_u64().expect("how long to wait");
    assert!((99_000..=100_000).contains(&wait), "{wait}");
    assert_eq!(throttled.header("retry-after"), wait.to_string());
}
