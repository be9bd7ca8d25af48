//! Headers of a request that take from what its caller may see: tools and resources alike.

use serde_json::{Value, json};

use crate::support::{PLAN, World};

fn names(list: &Value, kind: &str, member: &str) -> Vec<String> {
    let items = list["result"][kind].as_array().unwrap_or_else(|| panic!("{list}"));
    items.iter().map(|item| item[member].as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn repeated_narrowing_headers_intersect() {
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
async fn toolset_headers_narrow_tools_and_resources() {
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

#[tokio::test]
async fn toolset_header_selects_default_named_or_all_tools() {
    let world = World::start().await;
    let tools = async |header: &str| {
        let headers: &[(&str, &str)] = if header.is_empty() { &[] } else { &[("x-mcp-toolsets", header)] };
        names(&world.rpc("tools/list", json!({}), headers).await, "tools", "name")
    };
    let has = |names: &[String], name: &str| names.iter().any(|known| known == name);
    let usual = tools("").await;
    for (name, listed) in [
        ("query_tasks", true),
        ("schedule_report", true),
        ("sync_status", true),
        ("find_people", true),
        ("list_subscriptions", false),
        ("rename_plan", false),
    ] {
        assert_eq!(has(&usual, name), listed, "{name}");
    }
    let named = tools("subscriptions").await;
    assert!(has(&named, "list_subscriptions") && !has(&named, "query_tasks"), "{named:?}");
    let all = tools("all").await;
    assert!(has(&all, "list_subscriptions") && all.len() > usual.len(), "{all:?}");
    world.ok("list_subscriptions", json!({})).await; // not listed, and served
    let renamed = world.ok("rename_plan", json!({"plan_id": PLAN, "title": "Relaunch of the website"})).await;
    assert_eq!(renamed["title"], "Relaunch of the website");

    let everything = World::with(|config| config.mcp.offer.lists_everything = true).await;
    let listed = names(&everything.rpc("tools/list", json!({}), &[]).await, "tools", "name");
    assert_eq!(listed, all);
    let only = World::with(|config| config.mcp.offer.toolsets = vec!["subscriptions".to_owned()]).await;
    let listed = names(&only.rpc("tools/list", json!({}), &[]).await, "tools", "name");
    assert!(has(&listed, "list_subscriptions"), "what is offered alone is listed: {listed:?}");
}

#[tokio::test]
async fn instructions_and_prompts_follow_the_visible_toolsets() {
    let world = World::start().await;
    let hello =
        json!({"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "t", "version": "1"}});
    let told = async |headers: &[(&str, &str)]| {
        let answer = world.rpc("initialize", hello.clone(), headers).await;
        answer["result"]["instructions"].as_str().unwrap().to_owned()
    };
    let usual = told(&[]).await;
    assert!(
        usual.contains("query_tasks") && usual.contains("get_changes") && usual.contains("never instructions"),
        "{usual}"
    );
    let narrowed = told(&[("x-mcp-toolsets", "sync")]).await;
    assert!(!narrowed.contains("query_tasks") && narrowed.contains("get_changes"), "{narrowed}");
    let prompts =
        async |headers: &[(&str, &str)]| names(&world.rpc("prompts/list", json!({}), headers).await, "prompts", "name");
    assert_eq!(prompts(&[]).await, ["weekly_status", "triage_backlog", "plan_sprint"]);
    assert_eq!(prompts(&[("x-mcp-toolsets", "sync")]).await, Vec::<String>::new());
}

#[tokio::test]
async fn documented_argument_aliases_are_accepted() {
    let world = World::start().await;
    let (id, _) = world.task("Called otherwise").await;
    world.ok("create_bucket", json!({"plan_id": PLAN, "name": "Elsewhere"})).await;
    let moved = world.ok("move_task", json!({"task_id": id, "target_bucket_id": "Elsewhere"})).await;
    assert_eq!(moved["bucket"], "Elsewhere");
    let found =
        world.ok("query_tasks", json!({"plan_id": PLAN, "bucket_id": "Elsewhere", "assignee_id": "none"})).await;
    assert_eq!(found["total"], 1, "{found}");
    let report = world.ok("generate_report", json!({"plan_id": PLAN, "report_type": "overdue"})).await;
    assert!(report["title"].as_str().unwrap().contains("Website relaunch"), "{report}");
}

#[tokio::test]
async fn read_only_hides_and_refuses_write_tools() {
    let world = World::with(|config| config.mcp.offer.read_only = false).await;
    let header = [("x-mcp-readonly", "true")];
    let list = world.rpc("tools/list", json!({}), &header).await;
    let names: Vec<&str> =
        list["result"]["tools"].as_array().unwrap().iter().map(|tool| tool["name"].as_str().unwrap()).collect();
    let tools = graphgate::toolsets::tools();
    // What is watched is listed to those who name its toolset.
    let reading = |tool: &&graphgate::toolsets::tool::Tool| {
        tool.effect == graphgate::toolsets::tool::Effect::Reads && tool.toolset != "subscriptions"
    };
    let expected: Vec<&str> = tools.iter().filter(reading).map(|tool| tool.name).collect();
    assert_eq!(names, expected);
    assert!(names.contains(&"query_tasks") && !names.contains(&"create_task"));
    let call = json!({"name": "create_task", "arguments": {"title": "x"}});
    let answer = world.rpc("tools/call", call, &header).await;
    assert_eq!(answer["result"]["structuredContent"]["error"]["code"], "PERM_002");
    let world = World::with(|config| config.mcp.offer.read_only = true).await;
    let list = world.rpc("tools/list", json!({}), &[("x-mcp-readonly", "false")]).await;
    assert_eq!(list["result"]["tools"].as_array().unwrap().len(), expected.len(), "a header can only tighten");
}
