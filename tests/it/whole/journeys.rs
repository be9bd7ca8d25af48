//! What the architecture promises, tested from the outside.

use chrono::TimeDelta;
use serde_json::{Value, json};

use crate::support::{Leaping, PLAN, World};

#[tokio::test]
async fn an_agent_completes_a_task_and_planner_has_it() {
    let world = World::start().await;
    let (id, _) = world.task("Complete me").await;
    let done = world.ok("update_task", json!({"task_id": id, "status": "completed"})).await;
    assert_eq!((&done["sync"], &done["status"]), (&json!("synced"), &json!("completed")));
    assert_eq!(world.tasks_called("Complete me").await[0]["percentComplete"], 100);
}

#[tokio::test]
async fn a_task_keeps_everything_it_was_created_with() {
    let world = World::start().await;
    let given = json!({
        "plan_id": PLAN, "title": "Grüße 你好 🚀", "bucket_id": "Design", "description": "two\nlines", "priority": 3,
        "start_date": "2026-12-01", "due_date": "2026-12-24T18:00:00+01:00", "assignee_ids": ["Adele Vance"],
        "checklist": ["first", {"title": "second", "checked": true}, "third"],
        "references": [{"url": "https://example.com/a?b=c#d", "title": "spec"}], "categories": ["SEO"],
    });
    let id = world.ok("create_task", given).await["id"].clone();
    let task = world.ok("get_task", json!({"task_id": id, "fresh": true})).await;
    insta::assert_json_snapshot!(task, {
        ".id" => "[id]", ".planner_id" => "[id]", ".plan_id" => "[id]", ".created" => "[time]", ".changed" => "[time]",
        ".as_of" => "[time]", ".version" => "[version]", ".link" => "[link]",
    }, @r#"
    {
      "id": "[id]",
      "planner_id": "[id]",
      "plan_id": "[id]",
      "plan": "Website relaunch",
      "title": "Grüße 你好 🚀",
      "bucket": "Design",
      "status": "not_started",
      "percent_complete": 0,
      "priority": "important",
      "assignees": [
        "Adele Vance"
      ],
      "start_date": "2026-12-01",
      "due_date": "2026-12-24T17:00:00Z",
      "categories": [
        "SEO"
      ],
      "description": "two\nlines",
      "checklist": [
        {
          "title": "first",
          "checked": false
        },
        {
          "title": "second",
          "checked": true
        },
        {
          "title": "third",
          "checked": false
        }
      ],
      "references": [
        {
          "url": "https://example.com/a?b=c#d",
          "title": "spec"
        }
      ],
      "created": "[time]",
      "changed": "[time]",
      "sync": "synced",
      "version": "[version]",
      "link": "[link]",
      "as_of": "[time]"
    }
    "#);
}

#[tokio::test]
async fn what_a_person_does_in_planner_is_seen_by_the_next_fresh_read() {
    let world = World::start().await;
    let (id, planner_id) = world.task("Drag me").await;
    world.colleague(json!({"task_id": planner_id, "set": {"percentComplete": 50}})).await;
    let page = world.ok("query_tasks", json!({"plan_id": PLAN, "text": "Drag me", "fresh": true})).await;
    assert_eq!((&page["rows"][0][0], &page["rows"][0][3]), (&json!(id), &json!("in_progress")));
    world.colleague(json!({"delete": planner_id})).await;
    // Planner may hide a young task for a while, so its absence proves nothing until it is thirty seconds old.
    world.control("PUT", "clock", json!({"advance_seconds": 60})).await;
}

#[tokio::test]
async fn edits_of_different_fields_both_survive() {
    let world = World::start().await;
    let (id, planner_id) = world.task("Shared").await;
    world.colleague(json!({"task_id": planner_id, "set": {"title": "Shared and renamed"}})).await;
    let changed =
        world.ok("update_task", json!({"task_id": id, "status": "completed", "due_date": "2026-12-31"})).await;
    assert_eq!((&changed["sync"], &changed["title"]), (&json!("synced"), &json!("Shared and renamed")));
    let planner = &world.tasks_called("Shared and renamed").await[0];
    assert_eq!(planner["percentComplete"], 100);
    assert_eq!(planner["dueDateTime"], "2026-12-31T10:00:00Z");
}

#[tokio::test]
async fn where_both_touch_the_same_field_the_person_wins_and_the_caller_is_told() {
    let world = World::start().await;
    let (id, planner_id) = world.task("Contested").await;
    world.colleague(json!({"task_id": planner_id, "set": {"title": "The person's title"}})).await;
    let changed =
        world.ok("update_task", json!({"task_id": id, "title": "The agent's title", "priority": "low"})).await;
    assert_eq!(changed["sync"], "conflict", "{changed}");
    assert_eq!(changed["title"], "The person's title");
    assert_eq!(world.tasks_called("The person's title").await[0]["priority"], 9, "the other field still arrives");
}

#[tokio::test]
async fn a_change_to_what_is_known_already_is_made_where_a_person_has_changed_it_unseen() {
    let world = World::start().await;
    let (id, planner_id) = world.task("Half done").await;
    let there = async || world.tasks_called("Half done").await[0].clone();
    let half = json!({"task_id": id, "percent_complete": 50});
    let listings = async || {
        let requests = world.requests().await;
        requests.iter().filter(|(method, path)| method == "GET" && path.ends_with("/tasks")).count()
    };
    assert_eq!(world.ok("update_task", half.clone()).await["sync"], "synced");
    world.colleague(json!({"task_id": planner_id, "set": {"percentComplete": 75}})).await;
    assert_eq!(world.ok("update_task", half.clone()).await["sync"], "synced");
    assert_eq!(there().await["percentComplete"], 50, "as the answer says");

    // A word or a part of what is asked, and many at once, for which Planner is read once.
    world.colleague(json!({"task_id": planner_id, "set": {"percentComplete": 0, "priority": 9}})).await;
    let both = json!({"task_id": id, "status": "in_progress", "priority": "medium", "title": "Half done"});
    let before = listings().await;
    let changed = world.ok("bulk_update_tasks", json!({"updates": [both, half]})).await;
    assert_eq!((&changed["synced"], listings().await - before), (&json!(2), 1), "{changed}");
    assert_eq!((&there().await["percentComplete"], &there().await["priority"]), (&json!(50), &json!(5)));

    // Beside something that does change, and for a member that is there as far as is known.
    world.colleague(json!({"task_id": planner_id, "set": {"percentComplete": 0}})).await;
    let status = json!({"task_id": id, "status": "in_progress", "priority": "low"});
    assert_eq!(world.ok("update_task", status).await["sync"], "synced");
    assert_eq!((&there().await["percentComplete"], &there().await["priority"]), (&json!(50), &json!(9)));
    let ticked = json!({"task_id": id, "add_checklist": ["a", "b"]});
    world.ok("update_task", ticked).await;
    let before = listings().await;
    world.ok("update_task", json!({"task_id": id, "tick_checklist": ["a"]})).await;
    assert_eq!(listings().await, before, "what differs from what is known needs no look");

    // Where Planner cannot be asked, the answer claims nothing.
    world.faults(json!([{"path_contains": "/planner/", "kind": "status", "status": 503}])).await;
    let unasked = world.ok("update_task", half).await;
    assert!(unasked["note"].as_str().is_some_and(|note| note.contains("could not be asked")), "{unasked}");
}

#[tokio::test]
async fn checklists_merge_by_item() {
    let world = World::start().await;
    let made = world.ok("create_task", json!({"plan_id": PLAN, "title": "Checklist", "checklist": ["a", "b"]})).await;
    let planner_id = &made["planner_id"];
    let key = "0b0b0b0b-1111-4222-8333-444444444444";
    let item = json!({"@odata.type": "#microsoft.graph.plannerChecklistItem", "title": "theirs", "isChecked": false, "orderHint": " !"});
    world.colleague(json!({"task_id": planner_id, "details": {"checklist": {key: item}}})).await;
    let update = json!({"task_id": made["id"], "checklist": [{"title": "a", "checked": true}, "b", "ours"]});
    let changed = world.ok("update_task", update).await;
    assert_eq!(changed["sync"], "synced", "{changed}");
    let task = world.ok("get_task", json!({"task_id": made["id"], "fresh": true})).await;
    let mut items: Vec<(String, bool)> = task["checklist"]
        .as_array()
        .unwrap()
        .iter()
        .map(|item| (item["title"].as_str().unwrap().to_owned(), item["checked"].as_bool().unwrap()))
        .collect();
    items.sort();
    let expected = [("a", true), ("b", false), ("ours", false), ("theirs", false)];
    assert_eq!(items, expected.map(|(title, checked)| (title.to_owned(), checked)));
}

#[tokio::test]
async fn a_task_moves_between_buckets_and_plans() {
    let world = World::start().await;
    let made = world
        .ok("create_task", json!({"plan_id": PLAN, "title": "Wanderer", "description": "luggage", "checklist": ["x"]}))
        .await;
    let moved = world.ok("move_task", json!({"task_id": made["id"], "bucket_id": "Live"})).await;
    assert_eq!((&moved["bucket"], &moved["sync"]), (&json!("Live"), &json!("synced")));
    let moved = world.ok("move_task", json!({"task_id": made["id"], "plan_id": "Office move"})).await;
    let task = world.ok("get_task", json!({"task_id": moved["id"]})).await;
    assert_eq!((&task["plan"], &task["description"]), (&json!("Office move"), &json!("luggage")));
    assert_eq!(task["checklist"][0]["title"], "x");
    assert_eq!(world.refused("get_task", json!({"task_id": made["id"]})).await.0, "TASK_001");
    assert!(world.tasks_called("Wanderer").await.is_empty(), "the original is gone from its plan");
}

#[tokio::test]
async fn two_hundred_tasks_travel_in_batches() {
    let world = World::start().await;
    world.ok("get_plan", json!({"plan_id": PLAN})).await;
    world.control("DELETE", "stats", json!({})).await;
    let tasks: Vec<Value> = (0..200).map(|number| json!({"title": format!("Bulk {number}")})).collect();
    let made = world.ok("bulk_create_tasks", json!({"plan_id": PLAN, "tasks": tasks, "idempotency_key": "once"})).await;
    assert_eq!((&made["synced"], &made["failed"]), (&json!(200), &json!(0)), "{made}");
    let again =
        world.ok("bulk_create_tasks", json!({"plan_id": PLAN, "tasks": tasks, "idempotency_key": "once"})).await;
    assert_eq!(again["ids"], made["ids"], "the same key means the same tasks");
    let page = world.ok("query_tasks", json!({"plan_id": PLAN, "text": "Bulk ", "limit": 500, "fresh": true})).await;
    assert_eq!((&page["total"], &page["complete"]), (&json!(200), &json!(true)));
    let updates: Vec<Value> =
        made["ids"].as_array().unwrap().iter().map(|id| json!({"task_id": id, "status": "completed"})).collect();
    let done = world.ok("bulk_update_tasks", json!({"updates": updates})).await;
    assert_eq!(done["synced"], 200, "{done}");
    let stats = world.control("GET", "stats", json!({})).await;
    let batches = stats["operations"]
        .as_object()
        .map(|_| ())
        .map_or_else(|| stats.to_string(), |()| stats["operations"].to_string());
    assert!(!batches.is_empty());
}

#[tokio::test]
async fn pages_add_up_and_say_whether_they_are_all() {
    let world = World::start().await;
    let mut seen = std::collections::BTreeSet::new();
    let mut cursor = Value::Null;
    loop {
        let page =
            world.ok("query_tasks", json!({"plan_id": PLAN, "limit": 37, "sort": "-priority", "cursor": cursor})).await;
        for row in page["rows"].as_array().unwrap() {
            assert!(seen.insert(row[0].as_str().unwrap().to_owned()), "{row} came twice");
        }
        assert_eq!(page["total"], 200);
        cursor = page["cursor"].clone();
        assert_eq!(page["complete"], cursor.is_null());
        if cursor.is_null() {
            break;
        }
    }
    assert_eq!(seen.len(), 200);
}

#[tokio::test]
async fn a_plan_over_several_pages_of_graph_is_whole() {
    let world = World::start().await;
    world.control("PUT", "page_size", json!({"planner": 50})).await;
    let page = world.ok("query_tasks", json!({"plan_id": PLAN})).await;
    assert_eq!((&page["total"], &page["complete"]), (&json!(200), &json!(true)));
}

#[tokio::test]
async fn plans_and_buckets_are_made_once() {
    let world = World::start().await;
    let plan = json!({"title": "Trade fair 2027", "group_id": "Digital", "buckets": ["To do", "Doing", "Done"]});
    let made = world.ok("create_plan", plan.clone()).await;
    assert_eq!(world.ok("create_plan", plan).await["id"], made["id"]);
    let bucket = world.ok("create_bucket", json!({"plan_id": made["id"], "name": "Parked"})).await;
    assert_eq!(
        world.ok("create_bucket", json!({"plan_id": "Trade fair 2027", "name": "parked"})).await["id"],
        bucket["id"]
    );
    let renamed =
        world.ok("update_bucket", json!({"plan_id": made["id"], "bucket_id": "Parked", "name": "Later"})).await;
    assert_eq!(renamed["name"], "Later");
    world.ok("create_task", json!({"plan_id": made["id"], "title": "keeps the bucket", "bucket_id": "Later"})).await;
    let (code, message, _) = world.refused("delete_bucket", json!({"plan_id": made["id"], "bucket_id": "Later"})).await;
    assert_eq!((code.as_str(), message.as_str()), ("VAL_001", "bucket `Later` has 1 task(s); nothing was changed"));
    world.ok("delete_bucket", json!({"plan_id": made["id"], "bucket_id": "Later", "delete_tasks": true})).await;
    let names: Vec<Value> = world.ok("list_buckets", json!({"plan_id": made["id"]})).await["buckets"]
        .as_array()
        .unwrap()
        .iter()
        .map(|bucket| bucket["name"].clone())
        .collect();
    assert_eq!(names, ["To do", "Doing", "Done"]);
}

#[tokio::test]
async fn read_only_hides_and_refuses_what_writes() {
    let world = World::with(|config| config.mcp.read_only = false).await;
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
    let world = World::with(|config| config.mcp.read_only = true).await;
    let list = world.rpc("tools/list", json!({}), &[("x-mcp-readonly", "false")]).await;
    assert_eq!(list["result"]["tools"].as_array().unwrap().len(), expected.len(), "a header can only tighten");
}

#[tokio::test]
async fn an_idempotency_key_is_new_again_after_a_day() {
    let time = Leaping::default();
    let world = World::leaping(&time).await;
    let create = async |title: &str| {
        let call = json!({"plan_id": PLAN, "title": title, "idempotency_key": "nightly"});
        world.call("create_task", call).await
    };
    let monday = create("Monday's").await.unwrap();
    assert_eq!(create("Monday's").await.unwrap()["id"], monday["id"]);
    assert_eq!(create("Tuesday's").await.unwrap_err()["code"], "VAL_005");
    time.leap(TimeDelta::hours(25));
    let tuesday = create("Tuesday's").await.unwrap();
    assert_ne!(tuesday["id"], monday["id"]);
    assert_eq!(create("Tuesday's").await.unwrap()["id"], tuesday["id"], "and is remembered from there on");
    for title in ["Monday's", "Tuesday's"] {
        assert_eq!(world.tasks_called(title).await.len(), 1, "{title}");
    }
}
