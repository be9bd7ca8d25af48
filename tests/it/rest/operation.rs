//! What operators read: root, health, metrics, tokens, names.

use serde_json::json;
use url::Url;

use crate::support::World;
use crate::support::rest::ask;

/// The root and the probes answer at once.
pub async fn probes_answer(base: &Url) {
    let about = ask(base, "GET", "/").await;
    assert_eq!((about.status, about.body["name"].as_str()), (200, Some("graphgate")), "{about:#?}");
    let live = ask(base, "GET", "/health/live").await;
    assert_eq!((live.status, live.body["status"].as_str()), (200, Some("ok")), "{live:#?}");
    for path in ["/health", "/health/ready"] {
        let ready = ask(base, "GET", path).await;
        assert_eq!((ready.status, ready.body["status"].as_str()), (200, Some("ok")), "{ready:#?}");
        for part in ["store", "token", "graph"] {
            assert_eq!(ready.body[part]["status"], "ok", "{ready:#?}");
        }
    }
}

/// Names by id, of all four kinds.
pub async fn things_have_names(base: &Url) {
    let name = async |kind: &str, id: &str| {
        let answer = ask(base, "GET", &format!("/api/metadata?type={kind}&id={id}")).await;
        assert_eq!((answer.status, answer.body["type"].as_str()), (200, Some(kind)), "{answer:#?}");
        answer.body["name"].as_str().expect("a name").to_owned()
    };
    let page = ask(base, "GET", "/api/agent/tasks?plan_id=Website%20relaunch&limit=1").await;
    let id = page.body["tasks"][0]["id"].as_str().expect("a task").to_owned();
    let task = ask(base, "GET", &format!("/api/agent/tasks/{id}")).await.body;
    assert_eq!(name("task", &id).await, task["title"]);
    assert_eq!(name("plan", task["plan_id"].as_str().expect("an id")).await, "Website relaunch");
    assert_eq!(name("group", "Digital").await, "Digital");
    let people = ask(base, "GET", "/api/agent/tasks?plan_id=Website%20relaunch&fields=assignees").await.body;
    let mut assigned =
        people["tasks"].as_array().expect("tasks").iter().filter_map(|task| task["assignees"][0].as_str());
    let person = assigned.next().expect("somebody").to_owned();
    assert_eq!(name("user", &person.replace(' ', "%20")).await, person);
}

/// Tokens are reported, never shown.
pub async fn tokens_are_reported(base: &Url) {
    let report = ask(base, "GET", "/api/tokens/status").await;
    assert_eq!((report.status, report.body["identity"].as_str()), (200, Some("client_secret")), "{report:#?}");
    let token = &report.body["tokens"][0];
    assert_eq!(token["status"], "valid", "{report:#?}");
    assert!(token["expires_in_seconds"].as_i64().is_some_and(|seconds| seconds > 0), "{report:#?}");
    assert!(!report.text.contains("eyJ"), "a token is shown");
}

/// Metrics count what happens.
pub async fn metrics_count(base: &Url) {
    let page = ask(base, "GET", "/metrics").await;
    assert_eq!(page.status, 200);
    assert!(page.header("content-type").starts_with("application/openmetrics-text"), "{page:#?}");
    for series in [
        "graphgate_http_requests_total{method=\"GET\",route=\"/api/metadata\",status=\"200\"}",
        "graphgate_http_request_duration_seconds_count{route=\"/api/agent/tasks/{id}\"}",
        "graphgate_tool_calls_total{tool=\"list_plans\",outcome=\"ok\"} 1",
        "graphgate_graph_calls_total{workload=\"planner\",class=\"succeeded\"}",
        "graphgate_graph_retries_total{workload=\"planner\"} 0",
        "graphgate_graph_throttled_seconds{workload=\"planner\"} 0",
        "graphgate_cache_hits_total{cache=\"replica\"}",
        "graphgate_cache_misses_total{cache=\"people\"}",
        "graphgate_cache_hit_ratio",
        "graphgate_plans ",
        "graphgate_tasks ",
        "graphgate_pending_writes 0",
        "graphgate_process_start_time_seconds",
        "graphgate_process_uptime_seconds",
        "# EOF",
    ] {
        assert!(page.text.contains(series), "{series} in {}", page.text);
    }
    if cfg!(target_os = "linux") {
        assert!(page.text.contains("graphgate_process_resident_memory_bytes "), "{}", page.text);
    }
}

#[tokio::test]
async fn operation_routes_show_state_to_operators() {
    let world = World::start().await;
    let base = world.api_url();
    probes_answer(&base).await;
    world.ok("list_plans", json!({})).await;
    things_have_names(&base).await;
    tokens_are_reported(&base).await;
    metrics_count(&base).await;
    probes_answer(&base).await;
}

#[tokio::test]
async fn graph_token_failure_is_shown_in_health() {
    let world = World::with(|config| {
        if let graphgate::azure::CredentialConfig::ClientSecret { secret, .. } = &mut config.credential {
            *secret = graphgate::azure::Secret::new("wrong");
        }
    })
    .await;
    let base = world.api_url();
    ask(&base, "GET", "/api/agent/tasks").await.assert_problem(502, "AUTH_003").assert_says("AADSTS");
    let report = ask(&base, "GET", "/api/tokens/status").await;
    assert_eq!(report.body["tokens"][0]["status"], "failing", "{report:#?}");
    assert!(report.body["tokens"][0]["reason"].as_str().is_some_and(|reason| reason.contains("AADSTS")), "{report:#?}");
    let ready = ask(&base, "GET", "/health/ready").await;
    assert_eq!((ready.status, ready.body["token"]["status"].as_str()), (200, Some("degraded")), "{ready:#?}");
    assert!(!ready.text.contains("AADSTS"), "reasons stay behind the key");
}
