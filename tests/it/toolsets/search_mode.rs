//! Search mode: two tools in place of all, with the same rights, audit and answers.

use serde_json::{Value, json};

use crate::support::{PLAN, World};

const SEARCH: (&str, &str) = ("x-mcp-mode", "search");

/// Calls a tool in search mode; the structured answer, or the error.
async fn call(world: &World, name: &str, arguments: Value, more: &[(&'static str, &str)]) -> Result<Value, Value> {
    let headers: Vec<(&'static str, &str)> = [SEARCH].into_iter().chain(more.iter().copied()).collect();
    let answer = world.rpc("tools/call", json!({"name": name, "arguments": arguments}), &headers).await;
    let content = answer["result"]["structuredContent"].clone();
    if answer["result"]["isError"] == true { Err(content["error"].clone()) } else { Ok(content) }
}

fn names(answer: &Value) -> Vec<&str> {
    answer["tools"].as_array().unwrap().iter().map(|tool| tool["name"].as_str().unwrap()).collect()
}

#[tokio::test]
async fn search_mode_finds_a_tool_by_words_and_calls_it() {
    let world = World::start().await;
    let listed = world.rpc("tools/list", json!({}), &[SEARCH]).await;
    assert_eq!(names(&listed["result"]), ["find_tools", "call_tool"]);
    let prompts = world.rpc("prompts/list", json!({}), &[SEARCH]).await;
    assert!(!prompts["result"]["prompts"].as_array().unwrap().is_empty(), "prompts stay");

    let found = call(&world, "find_tools", json!({"words": "query tasks", "limit": 3}), &[]).await.unwrap();
    assert_eq!(names(&found)[0], "query_tasks");
    assert_eq!(names(&found).len(), 3);
    let schema = &found["tools"][0]["input_schema"];
    assert!(schema["properties"]["plan_id"].is_object(), "{found}");
    let all = call(&world, "find_tools", json!({}), &[]).await.unwrap();
    assert!(names(&all).contains(&"create_subscription") && all["tools"][0]["input_schema"].is_null(), "{all}");

    let arguments = json!({"plan_id": PLAN, "limit": 5, "fields": ["title"]});
    let through = call(&world, "call_tool", json!({"name": "query_tasks", "arguments": arguments}), &[]).await.unwrap();
    let by_name = call(&world, "query_tasks", arguments, &[]).await.unwrap();
    assert_eq!(through["rows"], by_name["rows"]);
    assert_eq!(through["rows"].as_array().unwrap().len(), 5);
}

#[tokio::test]
async fn search_mode_refuses_hidden_tools() {
    let world = World::start().await;
    let read_only = [("x-mcp-readonly", "true")];
    let all = call(&world, "find_tools", json!({}), &read_only).await.unwrap();
    assert!(names(&all).contains(&"query_tasks") && !names(&all).contains(&"create_task"), "{all}");
    let create = json!({"name": "create_task", "arguments": {"plan_id": PLAN, "title": "Not made"}});
    let refused = call(&world, "call_tool", create.clone(), &read_only).await.unwrap_err();
    assert_eq!(refused["code"], "PERM_002");
    let planner = [("x-mcp-toolsets", "sync")];
    let refused = call(&world, "call_tool", create, &planner).await.unwrap_err();
    assert_eq!(refused["code"], "FIND_001");
    let odd = call(&world, "call_tool", json!({"name": "no_such_tool"}), &[]).await.unwrap_err();
    assert!(odd["hint"].as_str().unwrap().contains("find_tools"), "{odd}");
    let wrong = call(&world, "call_tool", json!({"tool": "query_tasks"}), &[]).await.unwrap_err();
    assert_eq!(wrong["code"], "VAL_001");
    let unknown = world.rpc("tools/list", json!({}), &[("x-mcp-mode", "quick")]).await;
    assert!(unknown["error"]["message"].as_str().unwrap().contains("search"), "{unknown}");
}
