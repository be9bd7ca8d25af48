//! What the host puts a limit to: time, bodies, headers; and what it does when a limit is reached.

use serde_json::{Value, json};

use super::{Deployment, quick};
use crate::support::PLAN;
use crate::support::functions_host::KEY;

/// A host whose functions have three seconds.
fn hasty(host: &mut Value) {
    quick(host);
    host["functionTimeout"] = json!("00:00:03");
}

/// What comes of reading a stream: its text, and whether it was torn.
async fn read_to_the_end(mut stream: reqwest::Response) -> (String, bool) {
    let mut text = Vec::new();
    loop {
        match stream.chunk().await {
            Ok(Some(chunk)) => text.extend_from_slice(&chunk),
            Ok(None) => return (String::from_utf8(text).unwrap(), false),
            Err(_) => return (String::from_utf8(text).unwrap(), true),
        }
    }
}

#[tokio::test]
#[ignore = "needs AZURITE"]
async fn event_stream_beyond_the_function_timeout_is_torn_by_the_host() {
    let deployment = Deployment::on(hasty, &[]).await;
    let listen = async |query: &str| {
        let url = deployment.host.url.join(&format!("api/events?code={KEY}{query}")).unwrap();
        read_to_the_end(deployment.http.get(url).send().await.unwrap()).await
    };
    let (text, torn) = listen("&seconds=1").await;
    assert!(text.contains("event: hello") && !torn, "{text}");
    assert_eq!(deployment.host.timeouts(), [""; 0]);
    let (text, torn) = listen("").await;
    assert!(text.contains("event: hello") && torn, "{text}");
    assert_eq!(deployment.host.timeouts(), ["rest"], "an invocation that failed");
}

/// A call that waits too long for an answer has the host kill the process, and everybody else's requests with it.
#[tokio::test]
#[ignore = "needs AZURITE"]
async fn request_beyond_the_function_timeout_kills_the_process() {
    let deployment = Deployment::on(hasty, &[("WRITE_WAIT_MS", "20000")]).await;
    let made = deployment.ok("create_task", json!({"plan_id": PLAN, "title": "Slow"})).await;
    let silent = json!({"rules": [{"method": "PATCH", "kind": "timeout_without_effect", "seconds": 30}]});
    deployment.control("PUT", "faults", silent).await;
    let url = deployment.host.url.join("mcp").unwrap();
    let body = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {
        "name": "update_task", "arguments": {"task_id": made["id"], "title": "Slower"}}});
    let request = deployment.http.post(url).header("x-functions-key", KEY).json(&body);
    let answer = request.header("accept", "application/json, text/event-stream").send().await;
    let torn = match answer {
        Ok(answer) => answer.status() == 500 || answer.bytes().await.is_err(),
        Err(_) => true,
    };
    assert!(torn, "no answer comes through");
    deployment.control("DELETE", "faults", json!({})).await;
    assert_eq!(deployment.host.timeouts(), ["mcp"]);
    // What was journalled outlives the process.
    deployment.until("the change arrives", async || deployment.copies("Slower").await == 1).await;
}

#[tokio::test]
#[ignore = "needs AZURITE"]
async fn crashed_process_is_restarted_twice_and_then_ends_the_host() {
    let deployment = Deployment::start().await;
    for _ in 0..2 {
        deployment.host.ready_after("http").await.unwrap();
        deployment.host.signal("http", 9).await;
        assert_eq!(deployment.page("health/live").await["status"], "ok", "another one has taken over");
    }
    deployment.host.kill("http").await;
    assert_eq!(deployment.page("health/live").await["status"], "ok", "the host's own kill does not count");
    deployment.host.signal("http", 9).await;
    assert!(deployment.host.ready_after("http").await.unwrap_err().contains("Exceeded http worker restart"));
    assert_eq!(deployment.host.kills("http"), 0);
}

/// An answer that does not wait for the end of the body never reaches its caller.
#[tokio::test]
#[ignore = "needs AZURITE"]
async fn refusal_by_headers_reaches_a_client_that_is_still_sending() {
    let deployment = Deployment::start().await;
    let post = |path: &str, bytes: usize| {
        let request = deployment.http.post(deployment.host.url.join(path).unwrap()).header("x-functions-key", KEY);
        let request = request.header("accept", "application/json, text/event-stream");
        request.header("content-type", "application/octet-stream").body(vec![b'x'; bytes])
    };
    for (path, bytes, expected) in [
        ("api/graph_webhook", 2 * 1024 * 1024, 413),
        ("api/agent/tasks", 300_000, 415),
        ("api/nowhere", 300_000, 404),
        ("api/sync/health", 300_000, 405),
        ("api/sync/conflicts/x/restore?unknown=1", 10, 400),
        ("mcp", 300_000, 415),
        ("mcp", 4_500_000, 413),
        ("api/agent/tasks", 4_500_000, 413),
    ] {
        let answer = post(path, bytes).send().await.unwrap();
        let (status, text) = (answer.status().as_u16(), answer.text().await.unwrap());
        assert!(status == expected && !text.is_empty(), "{path}: {status} {text}");
    }
    // Many at once, as small as they are.
    let rounds = (0..400).map(|_| async {
        let mut request = deployment.http.post(deployment.host.url.join("api/nowhere").unwrap());
        request = request.header("x-functions-key", KEY).body("{}");
        request.send().await.unwrap().status().as_u16()
    });
    let statuses: Vec<u16> =
        futures::StreamExt::collect(futures::StreamExt::buffer_unordered(futures::stream::iter(rounds), 16)).await;
    assert!(statuses.iter().all(|status| *status == 404), "{statuses:?}");
}

#[tokio::test]
#[ignore = "needs AZURITE"]
async fn functions_host_refuses_bodies_far_above_the_limit() {
    let bicep = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/infra/app/function.bicep")).unwrap();
    let (_, limit) = bicep.split_once("FUNCTIONS_REQUEST_BODY_SIZE_LIMIT: '").expect("the host is told");
    let limit = limit.split_once('\'').unwrap().0;
    let deployment = Deployment::with(&[("FUNCTIONS_REQUEST_BODY_SIZE_LIMIT", limit)]).await;
    let post = async |bytes: usize| {
        let request = deployment.http.post(deployment.host.url.join("api/graph_webhook").unwrap());
        let answer = request.body(vec![b' '; bytes]).send().await.unwrap();
        (answer.status().as_u16(), answer.bytes().await.unwrap().is_empty())
    };
    assert_eq!(post(4_500_000).await, (413, false), "the program says why");
    assert_eq!(post(6_000_000).await, (500, true), "the host does not");
}

#[tokio::test]
#[ignore = "needs AZURITE"]
async fn forged_platform_headers_grant_nothing() {
    let settings = [("HOST_KEY_ROLE", "Planner.Read")];
    let deployment = Deployment::with(&settings).await;
    // An administrator, says the caller: {"auth_typ":"aad","claims":[{"typ":"roles","val":"GraphGate.Admin"},…]}
    let principal = {
        use base64::Engine as _;
        let claims = json!({"auth_typ": "aad", "role_typ": "roles", "claims": [
            {"typ": "tid", "val": deployment.tenant.text("tenant_id")}, {"typ": "roles", "val": "GraphGate.Admin"},
            {"typ": "azp", "val": "00000000-0000-0000-0000-000000000009"}]});
        base64::engine::general_purpose::STANDARD.encode(claims.to_string())
    };
    let ask = async |path: &str, headers: &[(&str, &str)]| {
        let mut request = deployment.http.get(deployment.host.url.join(path).unwrap());
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request.send().await.unwrap().status().as_u16()
    };
    let key = ("x-functions-key", KEY);
    assert_eq!(ask("api/agent/tasks", &[key]).await, 200);
    assert_eq!(ask("api/audit", &[key]).await, 403, "the key's role reads plans");
    assert_eq!(ask("api/audit", &[key, ("x-ms-client-principal", &principal)]).await, 403, "no platform signed it in");
    let twice = [key, ("authorization", "Bearer a"), ("authorization", "Bearer b")];
    assert_eq!(ask("api/agent/tasks", &twice).await, 401, "the host joins them, and nobody knows which one counts");
}

#[tokio::test]
#[ignore = "needs AZURITE"]
async fn paths_and_the_code_parameter_are_case_insensitive() {
    let deployment = Deployment::start().await;
    let status = async |path: &str| {
        let answer = deployment.http.get(deployment.host.url.join(path).unwrap()).send().await.unwrap();
        (answer.status().as_u16(), answer.text().await.unwrap())
    };
    for path in ["HEALTH/live", "Health/Ready", &format!("API/Agent/Tasks?Code={KEY}"), &format!("METRICS?CODE={KEY}")]
    {
        let (status, text) = status(path).await;
        assert_eq!(status, 200, "{path}: {text}");
    }
    assert_eq!(status(&format!("MCP?code={KEY}")).await.0, 405);
    // What a hint names is there.
    let (refused, text) = status(&format!("api/agent/tasks?limit=x&code={KEY}")).await;
    assert_eq!(refused, 400);
    assert!(!text.contains("`/openapi.json`"), "{text}");
    let (_, hint) = status(&format!("api/agent/tasks?unknown=1&code={KEY}")).await;
    assert!(hint.contains("`/api/openapi.json`"), "{hint}");
    assert_eq!(status(&format!("api/openapi.json?code={KEY}")).await.0, 200);
}

#[tokio::test]
#[ignore = "needs AZURITE"]
async fn create_subscription_retries_a_failed_one() {
    let deployment = Deployment::start().await;
    let refused =
        json!({"rules": [{"method": "POST", "path_contains": "/subscriptions", "kind": "status", "status": 400}]});
    deployment.control("PUT", "faults", refused).await;
    let wish = json!({"kind": "group", "names": ["Digital"]});
    assert_eq!(deployment.ok("create_subscription", wish.clone()).await["subscription"]["state"], "failing");
    deployment.control("DELETE", "faults", json!({})).await;
    let again = deployment.ok("create_subscription", wish).await;
    assert_eq!((&again["subscription"]["state"], &again["outcome"]), (&json!("active"), &json!("existing")), "{again}");
}

/// A queue's message that no version can read yet is not dropped.
#[tokio::test]
#[ignore = "needs AZURITE"]
async fn unreadable_notification_ends_in_the_poison_queue_and_in_health() {
    let deployment = Deployment::start().await;
    let queue = deployment.storage.named("graphgate-notifications");
    queue
        .send(&json!({"version": 99, "dequeueCount": 1, "sys": "mine", "id": true, "parcels": null}).to_string())
        .await;
    let poison = deployment.storage.named("graphgate-notifications-poison");
    deployment.until("it is set aside", async || poison.count().await == 1 && queue.count().await == 0).await;
    let tries = deployment.host.invocations().iter().filter(|one| one.function == "on_notification").count();
    assert_eq!(tries, 5);
    let health = deployment.page("api/webhook/health").await;
    assert_eq!((&health["status"], &health["queue"]["poisoned"]), (&json!("degraded"), &json!(1)), "{health:#}");
}
