//! Who may come in: key, host, origin, read-only.

use graphgate::azure::Secret;
use serde_json::json;
use url::Url;

use crate::support::rest::{ask, send, tell};
use crate::support::{PLAN, World};

const TASKS: &str = "/api/agent/tasks";

/// A deployment with a key lets nobody in without it, but for probes.
pub async fn the_key_opens(base: &Url, key: &str) {
    let bearer = format!("Bearer {key}");
    for (name, value) in [("x-functions-key", key), ("x-api-key", key), ("authorization", &bearer)] {
        assert_eq!(send(base, "GET", "/api/tokens/status", &[(name, value)], None).await.status, 200, "{name}");
    }
    for headers in [&[][..], &[("x-api-key", "wrong")][..], &[("authorization", "Basic c2VjcmV0")][..]] {
        for (method, path) in
            [("GET", TASKS), ("GET", "/metrics"), ("GET", "/openapi.json"), ("POST", "/mcp"), ("GET", "/nowhere")]
        {
            let answer = send(base, method, path, headers, None).await;
            answer.assert_problem(401, "AUTH_001");
            assert_eq!(answer.header("www-authenticate"), "Bearer");
        }
    }
    for path in ["/", "/health", "/health/live", "/health/ready"] {
        assert_eq!(ask(base, "GET", path).await.status, 200, "{path}");
    }
}

/// A page that made its own name point here stays outside; probes pass by any name.
pub async fn foreign_names_are_refused(base: &Url) {
    for headers in [("host", "evil.example.com"), ("origin", "https://evil.example.com"), ("origin", "null")] {
        send(base, "GET", TASKS, &[headers], None).await.assert_problem(403, "PERM_001").assert_says("is not answered");
        assert_eq!(send(base, "GET", "/health/live", &[headers], None).await.status, 200);
    }
    assert_eq!(send(base, "GET", "/metrics", &[("origin", "http://localhost:5173")], None).await.status, 200);
}

/// Every answer carries an id; a caller's own is kept if it can be logged.
pub async fn requests_have_ids(base: &Url) {
    let id = |given: &'static str| async move { send(base, "GET", "/", &[("x-request-id", given)], None).await };
    assert_eq!(id("build-7.2").await.header("x-request-id"), "build-7.2");
    for unfit in ["two words", "<script>", &"x".repeat(65)] {
        let answer = send(base, "GET", "/", &[("x-request-id", unfit)], None).await;
        assert_eq!(answer.header("x-request-id").len(), 36, "{answer:#?}");
    }
}

#[tokio::test]
async fn routes_take_plan_names_and_ids() {
    let world = World::start().await;
    foreign_names_are_refused(&world.api_url()).await;
    requests_have_ids(&world.api_url()).await;
}

#[tokio::test]
async fn requests_without_the_api_key_get_401() {
    let world = World::with(|config| config.auth.key = Some(Secret::new("open sesame"))).await;
    the_key_opens(&world.api_url(), "open sesame").await;
}

#[tokio::test]
async fn read_only_server_refuses_rest_writes() {
    let world = World::with(|config| config.mcp.offer.read_only = true).await;
    let base = world.api_url();
    let path = format!("{TASKS}/00000000000000");
    tell(&base, "POST", TASKS, json!({"plan_id": PLAN, "title": "x"})).await.assert_problem(403, "PERM_002");
    tell(&base, "PATCH", &path, json!({"title": "x"})).await.assert_problem(403, "PERM_002");
    ask(&base, "DELETE", &path).await.assert_problem(403, "PERM_002");
    assert_eq!(ask(&base, "GET", "/api/agent/tasks?limit=1").await.status, 200);
}
