//! T-21: a canary in every input, header and setting, and the real binary at debug level. It may appear in an answer to
//! from any sender, and as a task's own text; nowhere else, and a secret not even there.

use std::path::Path;
use std::process::Command;

use serde_json::json;

use super::Deployment;
use crate::support::PLAN;

const KEY: &str = "canary-deployment-key-5e1f";

/// Everything the server has written down about itself.
fn written(folder: &Path) -> String {
    let mut text = String::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("log")) {
            text.push_str(&String::from_utf8_lossy(&std::fs::read(path).unwrap()));
        }
    }
    text
}

/// Whether a file of the store holds a text.
fn store_holds(folder: &Path, text: &str) -> bool {
    let files = std::fs::read_dir(folder.join("data")).unwrap();
    files.into_iter().any(|file| {
        let bytes = std::fs::read(file.unwrap().path()).unwrap_or_default();
        bytes.windows(text.len()).any(|window| window == text.as_bytes())
    })
}

#[cfg(unix)]
#[tokio::test]
async fn secrets_and_user_text_appear_in_no_output() {
    no_canary_appears_with("debug").await;
}

#[cfg(unix)]
#[tokio::test]
async fn user_text_is_not_logged_at_any_log_level() {
    for filter in ["info,graphgate=debug", "debug,hyper=info", "trace,", "warn,rmcp=trace,rmcp::service=trace"] {
        no_canary_appears_with(filter).await;
    }
}

#[cfg(unix)]
async fn no_canary_appears_with(filter: &str) {
    let mut deployment = Deployment::start().await;
    let folder = deployment.folder.0.clone();
    let mut command = Command::new("bash");
    command
        .args(["-c", "exec \"$0\" \"$@\" >\"$LOGS/log-out\" 2>\"$LOGS/log-err\"", env!("CARGO_BIN_EXE_graphgate")])
        .env("LOGS", &folder)
        .env("LOG_LEVEL", filter)
        .env("LOG_FILE", folder.join("log-file"))
        .env("GRAPHGATE_API_KEY", KEY)
        .env("ENTRA_AUDIENCE", "api://canary-audience-is-public")
        .env("RUST_BACKTRACE", "1");
    deployment.serve(command).await;
    let base = deployment.server(0).text("api_url").trim_end_matches('/').to_owned();
    let http = reqwest::Client::new();
    let jwt = "eyJhbGciOiJSUzI1NiIsImtpZCI6ImNhbmFyeS1raWQifQ.eyJ0aWQiOiJjYW5hcnktdGlkIiwibmFtZSI6ImNhbmFyeSJ9.canary-signature";
    let mut answers = String::new();
    for (name, value) in [
        ("authorization", format!("Bearer {KEY}")),
        ("authorization", "Bearer canary-bearer".to_owned()),
        ("authorization", format!("Bearer {jwt}")),
        ("authorization", "Basic canary-basic".to_owned()),
        ("x-api-key", "canary-api-key".to_owned()),
        ("x-api-key", "gg_1a2b3c4d_canary0secret".to_owned()),
        ("x-functions-key", "canary-functions-key".to_owned()),
        ("cookie", "session=canary-cookie".to_owned()),
        ("x-ms-client-principal", "canary-principal".to_owned()),
        ("x-ms-token-aad-access-token", "canary-platform-token".to_owned()),
        ("traceparent", "canary-trace".to_owned()),
    ] {
        for path in ["/api/agent/tasks?limit=1&code=canary-code", "/metrics?code=canary-code", "/canary-path", "/mcp"] {
            let answer = http.get(format!("{base}{path}")).header(name, &value).send().await.unwrap();
            if !path.contains("canary-path") {
                answers.push_str(&answer.text().await.unwrap());
            }
        }
    }
    let send = |method: &str, path: &str, body: String| {
        http.request(method.parse().unwrap(), format!("{base}{path}"))
            .header("x-api-key", KEY)
            .header("content-type", "application/json")
            .header("accept", "application/json, text/event-stream")
            .header("idempotency-key", "canary-idempotency")
            .body(body)
            .send()
    };
    let whole = json!({"plan_id": PLAN, "title": "canary-title", "description": "canary-text", "categories": [], "checklist": [{"title": "canary-item"}], "references": [{"url": "https://canary.example/x?sig=canary-sig"}]});
    let made: serde_json::Value =
        send("POST", "/api/agent/tasks", whole.to_string()).await.unwrap().json().await.unwrap();
    let id = made["id"].as_str().unwrap_or_else(|| panic!("{made}")).to_owned();
    for (method, path, body) in [
        ("POST", "/api/agent/tasks".to_owned(), "{\"canary-field\": \"canary\"}".to_owned()),
        ("POST", "/api/agent/tasks".to_owned(), "{canary-broken".to_owned()),
        ("POST", "/api/agent/tasks".to_owned(), json!({"plan_id": "canary-plan", "title": "canary"}).to_string()),
        ("POST", "/api/agent/tasks".to_owned(), json!({"plan_id": PLAN, "title": "canary", "assignee_ids": ["canary@canary.example"]}).to_string()),
        ("PATCH", format!("/api/agent/tasks/{id}"), json!({"title": "canary-retitled"}).to_string()),
        ("PATCH", "/api/agent/tasks/canary-id".to_owned(), "{}".to_owned()),
        ("GET", "/api/metadata?type=user&id=canary@canary.example".to_owned(), String::new()),
        ("POST", "/mcp".to_owned(), json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "canary_tool", "arguments": {"canary": "canary"}}}).to_string()),
        ("POST", "/mcp".to_owned(), json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "query_tasks", "arguments": {"plan_id": PLAN, "text": "canary-search"}}}).to_string()),
        ("POST", "/mcp".to_owned(), json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "get_task", "arguments": {"task_id": "canary"}}}).to_string()),
        ("POST", "/mcp".to_owned(), json!({"jsonrpc": "2.0", "id": 1, "method": "resources/read", "params": {"uri": "planner://canary"}}).to_string()),
        ("POST", "/mcp".to_owned(), "{canary".to_owned()),
    ] {
        send(method, &path, body).await.unwrap().bytes().await.unwrap();
    }
    // Trouble upstream: texts of people in Graph's answers, calls that fail.
    deployment.control("POST", "colleague/edit", json!({"set": {"title": "canary-of-a-colleague"}})).await;
    deployment
        .control(
            "PUT",
            "faults",
            json!({"rules": [{"kind": "status", "status": 500, "times": 6, "message": "canary-of-graph"}]}),
        )
        .await;
    send("GET", "/api/agent/tasks?fresh=true&limit=1", String::new()).await.unwrap().bytes().await.unwrap();
    send("PATCH", &format!("/api/agent/tasks/{id}"), json!({"title": "canary-in-trouble"}).to_string()).await.unwrap();
    let pages = ["/metrics", "/health/ready", "/api/tokens/status", "/openapi.json", "/api/audit", "/"];
    for page in pages {
        answers.push_str(&send("GET", page, String::new()).await.unwrap().text().await.unwrap());
    }
    tokio::time::sleep(std::time::Duration::from_secs(2)).await;
    let logs = written(&folder);
    assert!(filter.starts_with("warn") || logs.lines().count() > 50, "the log is there: {logs}");
    let leaks = logs.lines().filter(|line| line.to_lowercase().contains("canary") || line.contains("eyJ"));
    let leaks: Vec<&str> = leaks.collect();
    assert!(leaks.is_empty(), "in the log at `{filter}`:\n{}", leaks.join("\n"));
    for secret in [
        KEY,
        "canary-bearer",
        "canary-api-key",
        "canary-functions-key",
        "canary-signature",
        "canary-code",
        "canary-cookie",
        "canary-principal",
        "canary-platform-token",
        "canary0secret",
    ] {
        assert!(!answers.contains(secret), "`{secret}` in an answer");
        assert!(!store_holds(&folder, secret), "`{secret}` in the store");
    }
    let client_secret = deployment.tenant.text("client_secret").to_owned();
    assert!(
        !logs.contains(&client_secret) && !answers.contains(&client_secret) && !store_holds(&folder, &client_secret)
    );
}
