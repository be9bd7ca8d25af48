//! Every tool and every resource over REST: what MCP answers, refuses and notes, REST does.

use serde_json::{Value, json};
use url::Url;

use crate::support::rest::{Answer, ask, send, tell};
use crate::support::{PLAN, World};

/// Members that say when something was answered.
const TIMES: &[&str] = &["as_of", "next_cursor", "cursor", "id", "resource", "downloads", "ended", "last", "at"];

/// Sends a tool's arguments over REST.
async fn call(base: &Url, tool: &str, arguments: Value) -> Answer {
    tell(base, "POST", &format!("/api/tools/{tool}"), arguments).await
}

/// Reads a resource over REST.
async fn read(base: &Url, uri: &str) -> Answer {
    let query = url::form_urlencoded::Serializer::new(String::new()).append_pair("uri", uri).finish();
    ask(base, "GET", &format!("/api/resources?{query}")).await
}

/// An answer without what differs from call to call.
fn timeless(mut value: Value) -> Value {
    fn strip(value: &mut Value) {
        match value {
            Value::Array(items) => items.iter_mut().for_each(strip),
            Value::Object(members) => {
                members.retain(|name, _| !TIMES.contains(&name.as_str()));
                members.values_mut().for_each(strip);
            }
            _ => {}
        }
    }
    strip(&mut value);
    value
}

async fn listed(world: &World) -> Vec<Value> {
    let listed = world.rpc("tools/list", json!({}), &[("x-mcp-toolsets", "all")]).await;
    listed["result"]["tools"].as_array().unwrap().clone()
}

#[tokio::test]
async fn every_tool_answers_the_same_over_rest_and_mcp() {
    let world = World::start().await;
    let base = world.api_url();
    let (task, _) = world.task("Publish the price list").await;
    let mut answered = 0;
    for tool in listed(&world).await {
        let name = tool["name"].as_str().unwrap();
        let wrong = json!({"no_such_argument": 1});
        let refused = world.call(name, wrong.clone()).await.expect_err(name);
        let problem = call(&base, name, wrong).await;
        problem.assert_problem(400, "VAL_001");
        assert_eq!(problem.body["detail"], refused["message"], "{name}");
        assert_eq!(problem.body["hint"], refused["hint"], "{name}");
        if tool["annotations"]["readOnlyHint"] != true {
            continue;
        }
        let arguments = match name {
            "get_task" => json!({"task_id": task}),
            "get_plan" | "list_buckets" | "query_tasks" | "generate_report" => json!({"plan_id": PLAN}),
            "find_people" => json!({"search": "Adele"}),
            _ => json!({}),
        };
        let over_mcp = world.ok(name, arguments.clone()).await;
        let over_rest = call(&base, name, arguments).await;
        assert_eq!(over_rest.status, 200, "{name}: {over_rest:#?}");
        assert_eq!(timeless(over_rest.body), timeless(over_mcp), "{name}");
        answered += 1;
    }
    assert!(answered >= 10, "{answered}");
}

#[tokio::test]
async fn idempotency_key_header_makes_a_rest_tool_call_once() {
    let world = World::start().await;
    let base = world.api_url();
    let headers = [("content-type", "application/json"), ("idempotency-key", "order-66")];
    let create = async |title: &str| {
        let body = json!({"plan_id": PLAN, "title": title}).to_string();
        send(&base, "POST", "/api/tools/create_task", &headers, Some(body)).await
    };
    let made = create("Over REST").await;
    assert_eq!((made.status, &made.body["title"]), (200, &json!("Over REST")), "{made:#?}");
    assert_eq!(create("Over REST").await.body["id"], made.body["id"]);
    create("Another").await.assert_problem(409, "VAL_005");
    assert_eq!(world.tasks_called("Over REST").await.len(), 1);

    // Aliases of tools and of arguments are served.
    let moved = json!({"task_id": made.body["id"], "target_bucket_id": "Review"});
    assert_eq!(call(&base, "move_task", moved).await.body["bucket"], "Review");
    let renamed = call(&base, "rename_plan", json!({"plan_id": PLAN, "title": "Renamed"})).await;
    assert_eq!(renamed.body["title"], "Renamed", "{renamed:#?}");
    let body = json!({"plan_id": "Renamed", "title": "Again"}).to_string();
    let keyed = send(&base, "POST", "/api/tools/update_plan", &headers, Some(body)).await;
    keyed.assert_problem(400, "VAL_001").assert_says("takes no idempotency key");

    let rows = ask(&base, "GET", "/api/audit").await.body;
    let operations: Vec<&str> =
        rows["entries"].as_array().unwrap().iter().filter_map(|row| row["operation"].as_str()).collect();
    assert!(operations.contains(&"create_task") && operations.contains(&"update_plan"), "{operations:?}");
    assert!(!operations.iter().any(|operation| operation.contains("/api/tools")), "{operations:?}");
}

#[tokio::test]
async fn forbidden_tool_over_rest_is_a_problem_document() {
    let world = World::start().await;
    let base = world.api_url();
    call(&base, "no_such_tool", json!({})).await.assert_problem(404, "FIND_001").assert_says("query_tasks");
    send(&base, "POST", "/api/tools/list_plans", &[], None).await.assert_problem(415, "VAL_001");
    tell(&base, "POST", "/api/tools/list_plans?fresh=true", json!({})).await.assert_problem(400, "VAL_001");
    let narrowed = [("content-type", "application/json"), ("x-mcp-readonly", "true")];
    let refused = send(&base, "POST", "/api/tools/delete_task", &narrowed, Some("{}".to_owned())).await;
    refused.assert_problem(403, "PERM_002").assert_says("read-only");
    let narrowed = [("content-type", "application/json"), ("x-mcp-tools", "list_plans")];
    let hidden = send(&base, "POST", "/api/tools/query_tasks", &narrowed, Some("{}".to_owned())).await;
    hidden.assert_problem(404, "FIND_001");

    let reading = World::with(|config| config.mcp.offer.read_only = true).await;
    let base = reading.api_url();
    call(&base, "create_task", json!({"title": "x"})).await.assert_problem(403, "PERM_002");
    assert_eq!(call(&base, "list_plans", json!({})).await.status, 200);
    let paths = ask(&base, "GET", "/api/openapi.json").await.body["paths"].clone();
    assert!(paths.get("/api/tools/create_task").is_none() && paths.get("/api/tools/list_plans").is_some());
}

#[tokio::test]
async fn resources_are_read_over_rest() {
    let world = World::start().await;
    let base = world.api_url();
    let (task, _) = world.task("Publish the price list").await;
    let plan = world.ok("get_task", json!({"task_id": task})).await["plan_id"].as_str().unwrap().to_owned();
    for uri in [
        "planner://plans".to_owned(),
        format!("planner://plans/{plan}"),
        format!("planner://plans/{plan}/buckets"),
        format!("planner://plans/{plan}/tasks/{task}"),
    ] {
        let answer = world.rpc("resources/read", json!({"uri": uri}), &[]).await;
        let text = answer["result"]["contents"][0]["text"].as_str().unwrap();
        let over_rest = read(&base, &uri).await;
        assert_eq!(over_rest.status, 200, "{over_rest:#?}");
        assert_eq!(timeless(over_rest.body), timeless(serde_json::from_str(text).unwrap()), "{uri}");
    }
    for uri in ["planner://nothing", "http://plans", "planner://plans/%ff"] {
        read(&base, uri).await.assert_problem(404, "FIND_001").assert_says("planner://plans");
    }
    read(&base, "planner://plans/Nowhere").await.assert_problem(404, "PLAN_001");
    ask(&base, "GET", "/api/resources").await.assert_problem(400, "VAL_001").assert_says("`uri` is missing");

    let syncing = World::with(|config| config.mcp.offer.toolsets = vec!["sync".to_owned()]).await;
    read(&syncing.api_url(), "planner://plans").await.assert_problem(403, "PERM_001");
}

#[tokio::test]
async fn openapi_document_has_a_path_for_every_tool() {
    let world = World::start().await;
    let document = ask(&world.api_url(), "GET", "/api/openapi.json").await.body;
    for tool in listed(&world).await {
        let path = format!("/api/tools/{}", tool["name"].as_str().unwrap());
        let described = &document["paths"][&path]["post"];
        let content = |part: &Value| part["content"]["application/json"]["schema"].clone();
        assert_eq!(content(&described["requestBody"]), tool["inputSchema"], "{path}");
        assert_eq!(content(&described["responses"]["200"]), tool["outputSchema"], "{path}");
        assert_eq!(described["summary"], tool["description"], "{path}");
        let keyed = tool["inputSchema"]["properties"].get("idempotency_key").is_some();
        assert_eq!(described["parameters"][0]["name"] == "Idempotency-Key", keyed, "{path}");
        for word in ["\"$ref\"", "\"const\"", "\"$defs\"", "\"type\":["] {
            assert!(!content(&described["requestBody"]).to_string().contains(word), "{path}: {word}");
        }
    }
}
