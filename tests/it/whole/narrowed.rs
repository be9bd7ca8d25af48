//! Headers of a request that take from what its caller may see: tools and resources alike.

use serde_json::{Value, json};

use crate::support::{PLAN, World};

fn names(list: &Value, kind: &str, member: &str) -> Vec<String> {
    let items = list["result"][kind].as_array().unwrap_or_else(|| panic!("{list}"));
    items.iter().map(|item| item[member].as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn of_repeated_headers_the_narrowest_counts() {
    let world = World::start().await;
    let tools =
        async |headers: &[(&str, &str)]| names(&world.rpc("tools/list", json!({}), headers).await, "tools", "name");
    let all = tools(&[]).await;
    assert!(all.len() > 20 && all.contains(&"create_task".to_owned()));
    for headers in [
        [("x-mcp-readonly", "false"), ("x-mcp-readonly", "true")],
        [("x-mcp-readonly", "true"), ("x-mcp-readonly", "false")],
    ] {
        let left = tools(&headers).await;
        assert!(!left.contains(&"create_task".to_owned()) && left.contains(&"get_task".to_owned()), "{left:?}");
    }
    assert_eq!(
        tools(&[("x-mcp-tools", "get_task,list_plans"), ("x-mcp-tools", "list_plans, query_tasks")]).await,
        ["list_plans"]
    );
    assert_eq!(tools(&[("x-mcp-toolsets", "sync"), ("x-mcp-toolsets", "planner")]).await, Vec::<String>::new());
}

#[tokio::test]
async fn headers_narrow_resources_as_they_narrow_tools() {
    let world = World::start().await;
    let plan = world.ok("get_plan", json!({"plan_id": PLAN})).await["id"].as_str().unwrap().to_owned();
    let tasks = format!("planner://plans/{plan}/tasks");
    let read = async |uri: &str, headers: &[(&str, &str)]| {
        let answer = world.rpc("resources/read", json!({"uri": uri}), headers).await;
        answer["result"]["contents"].is_array()
    };
    assert!(read(&tasks, &[]).await && read("planner://plans", &[]).await);
    for header in [("x-mcp-tools", "list_plans"), ("x-mcp-tools", "list_plans,get_plan")] {
        assert!(!read(&tasks, &[header]).await && read("planner://plans", &[header]).await);
    }
    for header in [("x-mcp-toolsets", "sync"), ("x-mcp-tools", "sync_status")] {
        assert!(!read(&tasks, &[header]).await && !read("planner://plans", &[header]).await);
        let listed = world.rpc("resources/list", json!({}), &[header]).await;
        assert_eq!(names(&listed, "resources", "uri"), Vec::<String>::new());
        let templates = world.rpc("resources/templates/list", json!({}), &[header]).await;
        assert_eq!(names(&templates, "resourceTemplates", "uriTemplate"), Vec::<String>::new());
    }
    let listed = world.rpc("resources/list", json!({}), &[("x-mcp-tools", "list_plans")]).await;
    assert_eq!(names(&listed, "resources", "uri"), ["planner://plans"]);
}
