//! What docs/tools.md promises of every answer: lists say whether they are complete and from when they are, errors whether
//! anything was changed and what to do next.

use serde_json::{Value, json};

use crate::support::{PLAN, World};

async fn tools(world: &World) -> Vec<String> {
    let listed = world.rpc("tools/list", json!({}), &[("x-mcp-toolsets", "all")]).await;
    let tools = listed["result"]["tools"].as_array().expect("tools");
    tools.iter().map(|tool| tool["name"].as_str().expect("a name").to_owned()).collect()
}

#[tokio::test]
async fn every_list_answer_has_complete_and_as_of() {
    let world = World::start().await;
    world.ok("get_plan", json!({"plan_id": PLAN})).await;
    let dated = |what: &str, list: &Value| {
        assert!(list["complete"].is_boolean(), "{what} does not say whether it is complete: {list}");
        assert!(list["as_of"].is_string(), "{what} does not say from when it is: {list}");
    };
    let mut lists = 0;
    for tool in tools(&world).await {
        if !(tool.starts_with("list_") || tool.starts_with("query_") || tool == "get_changes") {
            continue;
        }
        lists += 1;
        let answer = match world.call(&tool, json!({})).await {
            Ok(answer) => answer,
            Err(_) => world.ok(&tool, json!({"plan_id": PLAN})).await,
        };
        dated(&tool, &answer);
    }
    assert!(lists >= 6, "{lists}");
    for path in ["/api/agent/tasks", "/api/reports", "/api/sync/conflicts", "/api/sync/log"] {
        let url = world.api_url().join(path).expect("an address");
        let answer = reqwest::get(url).await.expect("an answer");
        assert_eq!(answer.status(), 200, "{path}");
        dated(path, &answer.json().await.expect("JSON"));
    }
}

#[tokio::test]
async fn every_refusal_says_nothing_was_changed_and_has_a_hint() {
    let world = World::start().await;
    let mut cases: Vec<(String, Value)> =
        tools(&world).await.into_iter().map(|tool| (tool, json!({"no_such_field": true}))).collect();
    cases.push(("create_task".into(), json!({"plan_id": PLAN, "title": " "})));
    cases.push(("create_bucket".into(), json!({"plan_id": PLAN, "name": ""})));
    cases.push(("create_plan".into(), json!({"title": "", "group_id": "Digital"})));
    cases.push(("get_task".into(), json!({"task_id": "nonsense"})));
    cases.push(("query_tasks".into(), json!({"limit": 0})));
    for (tool, arguments) in cases {
        let answer = world.rpc("tools/call", json!({"name": tool, "arguments": arguments}), &[]).await;
        let result = &answer["result"];
        assert_eq!(result["isError"], true, "{tool}: {answer}");
        let text = result["content"][0]["text"].as_str().expect("a text");
        assert!(text.contains("nothing was changed"), "{tool}: {text}");
        assert!(text.contains("\nhint: "), "{tool}: {text}");
        assert_eq!(result["structuredContent"]["error"]["changed"], "nothing", "{tool}");
    }
}

#[tokio::test]
async fn generate_report_defaults_to_summary_and_weekly_covers_a_week() {
    let world = World::start().await;
    let report = world.ok("generate_report", json!({"plans": [PLAN]})).await;
    assert!(report["title"].as_str().expect("a title").starts_with("Summary"), "{report}");
    let weekly = world.ok("generate_report", json!({"plans": [PLAN], "type": "weekly"})).await;
    let uri = weekly["resource"].as_str().expect("a resource");
    let read = world.rpc("resources/read", json!({"uri": uri}), &[]).await;
    let text = read["result"]["contents"][0]["text"].as_str().expect("a text");
    let report: Value = serde_json::from_str(text).expect("JSON");
    let day = |name: &str| report[name].as_str().expect("a day").parse::<chrono::NaiveDate>().expect("a date");
    assert_eq!((day("to") - day("from")).num_days(), 6, "{} to {}", report["from"], report["to"]);
}

#[tokio::test]
async fn accept_headers_that_admit_json_or_streams_are_served() {
    let world = World::start().await;
    let url = world.api_url().join("/mcp").expect("an address");
    let http = reqwest::Client::new();
    let ask = async |accept: &str, body: Value| {
        http.post(url.clone()).json(&body).header("accept", accept).send().await.expect("an answer")
    };
    let list = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/list", "params": {}});
    for accept in ["", "application/json", "*/*", "text/event-stream", "application/*, text/event-stream"] {
        let answer = ask(accept, list.clone()).await;
        assert_eq!(answer.status(), 200, "{accept}");
        let answer: Value = answer.json().await.expect("JSON");
        assert!(answer["result"]["tools"].is_array(), "{accept}: {answer}");
    }
    for (accept, body, status) in [("text/html", list.clone(), 406), ("*/*", json!([list]), 0)] {
        let answer = ask(accept, body).await;
        assert!(answer.status().is_client_error() && (status == 0 || answer.status() == status), "{}", answer.status());
        let answer: Value = answer.json().await.expect("JSON-RPC, not plain text");
        assert!(answer["jsonrpc"] == "2.0" && answer["error"]["message"].is_string(), "{answer}");
    }
}
