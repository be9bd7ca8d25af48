//! What callers prove themselves with, and what else they send along, stays here: Graph gets our own token alone.

use serde_json::{Value, json};

use super::Deployment;
use crate::support::PLAN;
use crate::support::process::{Folder, GRAPHGATE};

#[tokio::test]
async fn caller_tokens_and_headers_are_not_passed_to_graph() {
    let folder = Folder::new();
    let file = folder.0.join("requests.jsonl");
    let mut deployment = Deployment::tenant_with(folder, Some(file.clone())).await;
    let mut command = std::process::Command::new(GRAPHGATE);
    command.env("GRAPHGATE_API_KEY", "inbound-deployment-key");
    deployment.serve(command).await;
    let base = deployment.server(0).text("api_url").trim_end_matches('/').to_owned();
    let send = async |method: &str, path: &str, body: Value| {
        let mut request = deployment.http.request(method.parse().unwrap(), format!("{base}{path}"));
        for (name, value) in [
            ("authorization", "Bearer inbound-deployment-key"),
            ("cookie", "session=inbound-cookie"),
            ("x-api-key", "inbound-deployment-key"),
            ("x-functions-key", "inbound-functions-key"),
            ("x-ms-client-principal", "inbound-principal"),
            ("x-ms-token-aad-access-token", "inbound-platform-token"),
            ("x-forwarded-for", "inbound-address"),
            ("x-forwarded-host", "inbound-host"),
            ("forwarded", "for=inbound-forwarded"),
            ("client-request-id", "inbound-id"),
            ("x-request-id", "inbound-request"),
            ("prefer", "inbound-preference"),
            ("consistencylevel", "inbound-level"),
            ("if-match", "inbound-etag"),
            ("user-agent", "inbound-agent"),
            ("accept-language", "inbound-language"),
            ("traceparent", "inbound-trace"),
            ("x-inbound", "inbound-anything"),
        ] {
            request = request.header(name, value);
        }
        let answer = request.header("accept", "application/json, text/event-stream").json(&body).send().await.unwrap();
        assert!(answer.status().is_success(), "{method} {path}: {}", answer.text().await.unwrap());
    };
    send("GET", "/api/agent/tasks?fresh=true&limit=1", json!({})).await;
    send("POST", "/api/agent/tasks", json!({"plan_id": PLAN, "title": "a task"})).await;
    for (tool, arguments) in [
        ("list_plans", json!({"fresh": true})),
        ("create_task", json!({"plan_id": PLAN, "title": "another", "assignee_ids": ["Adele Vance"]})),
        ("query_tasks", json!({"plan_id": PLAN, "fresh": true})),
    ] {
        let call = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": tool, "arguments": arguments}});
        send("POST", "/mcp", call).await;
    }
    let log = std::fs::read_to_string(&file).unwrap();
    let requests: Vec<Value> = log.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert!(requests.len() >= 5 && requests.iter().any(|request| request["method"] == "POST"), "{log}");
    for request in &requests {
        assert_eq!(request["auth"], "app", "our own token, for which the tenant answers: {request}");
        assert!(!request["headers"].to_string().to_lowercase().contains("inbound"), "{}", request["headers"]);
        assert!(!request["path"].to_string().contains("inbound") && !request["body"].to_string().contains("inbound"));
    }
}
