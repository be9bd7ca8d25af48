//! Answers say what is so: what was made a moment ago is found, days are days, and every total adds up.

use chrono_tz::Tz;
use serde_json::{Value, json};

use crate::support::{Leaping, PLAN, World};

fn total(page: &Value) -> u64 {
    page["total"].as_u64().expect("a total")
}

fn sum(counts: &Value) -> u64 {
    counts.as_object().expect("counts").values().filter_map(Value::as_u64).sum()
}

/// The id of [`PLAN`], and a bucket that a colleague makes in it.
async fn plan_id(world: &World) -> String {
    world.ok("get_plan", json!({"plan_id": PLAN})).await["id"].as_str().expect("an id").to_owned()
}

async fn bucket(world: &World, plan: &str, name: &str) -> String {
    let body = json!({"name": name, "planId": plan, "orderHint": " !"});
    let (status, made) = world.graph_with("POST", "planner/buckets", Some(body)).await;
    assert_eq!(status, 201, "{made}");
    made["id"].as_str().expect("an id").to_owned()
}

#[tokio::test]
async fn what_a_colleague_made_a_moment_ago_is_found_at_planner_before_it_does_not_exist() {
    let time = Leaping::default();
    let world = World::leaping(&time).await;
    let plan = plan_id(&world).await;
    let later = || time.leap(chrono::TimeDelta::seconds(15)); // the buckets of a plan are believed for minutes
    later();
    bucket(&world, &plan, "Fresh bucket").await;
    let made = world.ok("create_task", json!({"plan_id": PLAN, "title": "a", "bucket_id": "Fresh bucket"})).await;
    assert_eq!(made["bucket"], "Fresh bucket");
    later();
    let id = bucket(&world, &plan, "Second fresh bucket").await;
    let moved = world.ok("move_task", json!({"task_id": made["id"], "bucket_id": id})).await;
    assert_eq!(moved["bucket"], "Second fresh bucket");
    later();
    bucket(&world, &plan, "Third").await;
    assert_eq!(total(&world.ok("query_tasks", json!({"plan_id": PLAN, "bucket": "Third"})).await), 0);
    later();
    let there = bucket(&world, &plan, "Fourth").await;
    let same = world.ok("create_bucket", json!({"plan_id": PLAN, "name": "fourth"})).await;
    assert_eq!(same["id"], there, "no second bucket of a name that is there");

    later();
    let labels = json!({"categoryDescriptions": {"category9": "postponed"}});
    let path = format!("planner/plans/{plan}/details");
    assert!(world.graph_with("PATCH", &path, Some(labels)).await.0 < 300);
    let task = json!({"plan_id": PLAN, "title": "b", "categories": ["postponed"]});
    assert_eq!(world.ok("create_task", task).await["sync"], "synced");
    assert_eq!(total(&world.ok("query_tasks", json!({"plan_id": PLAN, "category": "postponed"})).await), 1);
}

#[tokio::test]
async fn a_bucket_that_is_not_there_is_asked_for_once_in_a_while() {
    let time = Leaping::default();
    let world = World::leaping(&time).await;
    plan_id(&world).await;
    time.leap(chrono::TimeDelta::seconds(15));
    // Names of people are read besides, whenever their time comes.
    let reads = async || {
        let stats = world.control("GET", "stats", json!({})).await;
        let of_plans = stats["by_operation"].as_object().unwrap().clone().into_iter();
        of_plans.filter(|(operation, _)| operation.contains("/planner/plans/")).collect::<serde_json::Map<_, _>>()
    };
    let wrong = json!({"plan_id": PLAN, "title": "a", "bucket_id": "Nowhere"});
    let (code, ..) = world.refused("create_task", wrong.clone()).await;
    assert_eq!(code, "BUCK_001");
    let before = reads().await;
    for _ in 0..5 {
        world.refused("create_task", wrong.clone()).await;
    }
    assert_eq!(reads().await, before, "a name that was just not found costs nothing");
}

#[tokio::test]
async fn fresh_renews_title_buckets_and_labels() {
    let world = World::start().await;
    let plan = plan_id(&world).await;
    bucket(&world, &plan, "Quite new").await;
    let path = format!("planner/plans/{plan}");
    assert!(world.graph_with("PATCH", &path, Some(json!({"title": "Renamed"}))).await.0 < 300);
    let labels = json!({"categoryDescriptions": {"category9": "postponed"}});
    assert!(world.graph_with("PATCH", &format!("{path}/details"), Some(labels)).await.0 < 300);
    let shown = world.ok("get_plan", json!({"plan_id": plan, "fresh": true})).await;
    assert_eq!(shown["title"], "Renamed");
    assert!(shown["open_by_bucket"].get("Quite new").is_some(), "{shown}");
    assert!(shown["labels"].as_array().expect("labels").contains(&json!("postponed")), "{shown}");
}

#[tokio::test]
async fn counts_hold_the_tasks_in_no_bucket_and_buckets_of_one_name() {
    let world = World::start().await;
    let made = world.ok("create_plan", json!({"title": "Counts", "group_id": "Digital", "buckets": ["A"]})).await;
    let plan = made["id"].as_str().expect("an id").to_owned();
    let twin = bucket(&world, &plan, "A").await;
    for (title, bucket) in [("one", Some(&twin)), ("two", Some(&twin)), ("three", None), ("four", None), ("five", None)]
    {
        let mut task = json!({"planId": plan, "title": title});
        if let Some(bucket) = bucket {
            task["bucketId"] = json!(bucket);
        }
        assert_eq!(world.graph_with("POST", "planner/tasks", Some(task)).await.0, 201);
    }
    let shown = world.ok("get_plan", json!({"plan_id": plan, "fresh": true})).await;
    assert_eq!(
        (&shown["tasks"], sum(&shown["by_status"]), sum(&shown["open_by_bucket"])),
        (&json!(5), 5, 5),
        "{shown}"
    );
    assert_eq!(shown["open_by_bucket"]["No bucket"], 3);
    assert_eq!(shown["open_by_bucket"][format!("A ({twin})")], 2);
    let buckets = world.ok("list_buckets", json!({"plan_id": plan})).await;
    let in_buckets: u64 =
        buckets["buckets"].as_array().expect("buckets").iter().filter_map(|bucket| bucket["tasks"].as_u64()).sum();
    assert_eq!((in_buckets, &buckets["tasks_without_bucket"]), (2, &json!(3)), "{buckets}");
    let count = async |bucket: Value| total(&world.ok("query_tasks", json!({"plan_id": plan, "bucket": bucket})).await);
    assert_eq!(count(json!("none")).await, 3);
    assert_eq!(count(json!("A")).await, 2);
    assert_eq!(count(json!(["A", "none"])).await, 5);

    let plans = world.ok("list_plans", json!({})).await;
    let item =
        |title: &str| plans["plans"].as_array().expect("plans").iter().find(|plan| plan["title"] == title).cloned();
    let counted = item("Counts").expect("the plan");
    assert_eq!(
        (&counted["tasks"], &counted["open"], &counted["late"], &counted["percent_completed"]),
        (&json!(5), &json!(5), &json!(0), &json!(0)),
        "{counted}"
    );
    assert!(item("Office move").expect("a plan").get("tasks").is_none(), "nobody has read it");
    assert!(plans["note"].as_str().expect("a note").contains("no counts"), "{plans}");
}

#[tokio::test]
async fn groups_of_one_name_are_told_apart_by_their_plans_and_addresses() {
    let world = World::start().await;
    let roles = ["Tasks.ReadWrite.All", "Group.ReadWrite.All", "User.ReadBasic.All"];
    world.control("PUT", "permissions", json!({"roles": roles})).await;
    let group = json!({
        "displayName": "Digital", "mailEnabled": true, "mailNickname": "digital-two", "securityEnabled": false,
        "groupTypes": ["Unified"],
    });
    let (status, group) = world.graph_with("POST", "groups", Some(group)).await;
    assert_eq!(status, 201, "{group}");
    let id = group["id"].as_str().expect("an id");
    world.ok("create_plan", json!({"title": "Twin's plan", "group_id": id})).await;
    let (code, _, hint) = world.refused("list_plans", json!({"group": "Digital", "fresh": true})).await;
    assert_eq!(code, "VAL_002");
    assert!(hint.contains(id) && hint.contains("Twin's plan") && hint.contains(PLAN), "{hint}");
    let (code, _, hint) = world.refused("create_plan", json!({"title": "x", "group_id": "Digital"})).await;
    assert_eq!(code, "VAL_002");
    assert!(hint.contains(id) && hint.contains("digital-two"), "{hint}");
    let only = world.ok("list_plans", json!({"group": id})).await;
    assert_eq!(only["plans"].as_array().expect("plans").len(), 1, "{only}");
}

#[tokio::test]
async fn due_days_are_days_of_the_deployments_zone_everywhere() {
    let world = World::with(|config| config.planner.time_zone = Tz::Asia__Tokyo).await;
    let plan = plan_id(&world).await;
    // Written by another client: an instant that is the next day in Tokyo.
    let task = json!({"planId": plan, "title": "By instant", "dueDateTime": "2026-03-01T15:00:00Z"});
    assert_eq!(world.graph_with("POST", "planner/tasks", Some(task)).await.0, 201);
    let day = async |query: Value| {
        let mut query = query;
        query["plan_id"] = json!(PLAN);
        query["text"] = json!("By instant");
        query["fresh"] = json!(true);
        let page = world.ok("query_tasks", query).await;
        page["rows"].as_array().expect("rows").first().map(|row| row[5].clone())
    };
    assert_eq!(day(json!({})).await, Some(json!("2026-03-02")));
    assert_eq!(day(json!({"due_on": "2026-03-02"})).await, Some(json!("2026-03-02")));
    assert_eq!(day(json!({"due_before": "2026-03-02"})).await, None);
    assert_eq!(day(json!({"time_zone": "UTC", "due_on": "2026-03-01"})).await, Some(json!("2026-03-01")));
    let id = world.ok("query_tasks", json!({"plan_id": PLAN, "text": "By instant"})).await["rows"][0][0].clone();
    let shown = world.ok("get_task", json!({"task_id": id})).await;
    assert!(shown["due_date"].as_str().expect("a date").starts_with("2026-03-02"), "{shown}");
    // The day it has is no change, and start and due on one day are fine.
    let set = json!({"task_id": id, "due_date": "2026-03-02", "start_date": "2026-03-02"});
    world.ok("update_task", set).await;
    let stored = world.tasks_called("By instant").await;
    assert_eq!(stored[0]["dueDateTime"], "2026-03-01T15:00:00Z", "{stored:?}");
    let (code, message, _) = world.refused("update_task", json!({"task_id": id, "start_date": "2026-03-03"})).await;
    assert_eq!((code.as_str(), message.contains("(2026-03-03) after it is due (2026-03-02)")), ("VAL_001", true));
    let (code, ..) = world.refused("query_tasks", json!({"time_zone": "Mars/Base"})).await;
    assert_eq!(code, "VAL_001");
}

#[tokio::test]
async fn a_date_given_with_an_offset_stays_that_date() {
    let world = World::start().await;
    for (title, given) in [("early", "2026-12-01T00:00:00+09:00"), ("late", "2026-12-01T23:59:00-08:00")] {
        world.ok("create_task", json!({"plan_id": PLAN, "title": title, "due_date": given})).await;
        assert_eq!(world.tasks_called(title).await[0]["dueDateTime"], "2026-12-01T10:00:00Z");
        let page = world.ok("query_tasks", json!({"plan_id": PLAN, "text": title, "due_on": given})).await;
        assert_eq!((total(&page), &page["rows"][0][5]), (1, &json!("2026-12-01")), "{page}");
    }
}

#[tokio::test]
async fn completed_and_changed_since_mean_planners_times_not_the_first_look() {
    let world = World::start().await;
    let count = async |query: Value| {
        let mut query = query;
        query["plan_id"] = json!(PLAN);
        world.ok("query_tasks", query).await
    };
    let completed = count(json!({"status": "completed", "fields": ["completed"], "limit": 1000})).await;
    let week_ago = (chrono::Utc::now() - chrono::TimeDelta::days(7)).to_rfc3339_opts(chrono::SecondsFormat::Secs, true);
    let times = completed["rows"].as_array().expect("rows").iter().filter_map(|row| row[0].as_str());
    let of_the_week = times.filter(|time| *time >= week_ago.as_str()).count();
    assert!(of_the_week > 0 && (of_the_week as u64) < total(&completed), "{of_the_week} of {}", total(&completed));
    assert_eq!(total(&count(json!({"completed_since": week_ago})).await), of_the_week as u64);
    let changed = count(json!({"status": "completed", "changed_since": week_ago})).await;
    assert_eq!(total(&changed), of_the_week as u64, "what was there is not news");
    assert!(changed["note"].as_str().expect("a note").contains("when GraphGate saw"), "{changed}");
    // What happens from now on is.
    let (_, planner_id) = world.task("Watched").await;
    world.colleague(json!({"task_id": planner_id, "set": {"percentComplete": 100}})).await;
    let after = count(json!({"completed_since": week_ago, "fresh": true})).await;
    assert_eq!(total(&after), of_the_week as u64 + 1);
}

#[tokio::test]
async fn a_first_look_at_a_plan_is_not_news() {
    let world = World::start().await;
    let start = world.ok("get_changes", json!({})).await;
    plan_id(&world).await;
    let page = world.ok("get_changes", json!({"plan_id": PLAN, "cursor": start["cursor"]})).await;
    assert_eq!(page["changes"], json!([]), "tasks that were there are not created");
    let body = json!({"planId": plan_id(&world).await, "title": "Really new"});
    assert_eq!(world.graph_with("POST", "planner/tasks", Some(body)).await.0, 201);
    world.ok("query_tasks", json!({"plan_id": PLAN, "fresh": true})).await;
    let page = world.ok("get_changes", json!({"plan_id": PLAN, "cursor": page["cursor"]})).await;
    let told = page["changes"].as_array().expect("changes");
    assert_eq!(
        (told.len(), &told[0]["event"], &told[0]["title"]),
        (1, &json!("created"), &json!("Really new")),
        "{page}"
    );
}

#[tokio::test]
async fn filters_take_several_values_and_tasks_have_a_link() {
    let world = World::start().await;
    let count = async |query: Value| total(&world.ok("query_tasks", query).await);
    let one = async |status: &str| count(json!({"plan_id": PLAN, "status": status})).await;
    let both = count(json!({"plan_id": PLAN, "status": ["not_started", "in_progress"]})).await;
    assert_eq!((both, one("open").await), (one("not_started").await + one("in_progress").await, both));
    assert_eq!(count(json!({"plan_id": PLAN, "status": []})).await, 200, "an empty list filters nothing");
    let task = json!({"plan_id": PLAN, "title": "Linked", "assignee_ids": ["Adele Vance"]});
    let made = world.ok("create_task", task).await;
    let adele = count(json!({"plan_id": PLAN, "assignee": "Adele Vance"})).await;
    let nobody = count(json!({"plan_id": PLAN, "assignee": "none"})).await;
    assert_eq!(count(json!({"plan_id": PLAN, "assignee": ["Adele Vance", "none"]})).await, adele + nobody);
    let shown = world.ok("get_task", json!({"task_id": made["id"]})).await;
    let link = shown["link"].as_str().expect("a link");
    assert!(
        link.starts_with("https://planner.cloud.microsoft/") && link.contains(made["planner_id"].as_str().unwrap())
    );
    let page =
        world.ok("query_tasks", json!({"plan_id": PLAN, "text": "Linked", "fields": ["link", "created_by"]})).await;
    assert_eq!(page["rows"][0][0], json!(link));
    let creator = page["rows"][0][1].as_str().map(str::to_owned);
    if let Some(creator) = creator {
        assert!(count(json!({"plan_id": PLAN, "created_by": creator})).await > 0);
    }
}

#[tokio::test]
async fn any_accept_header_that_admits_an_answer_is_served() {
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

#[tokio::test]
async fn a_report_in_another_zone_counts_the_days_of_that_zone() {
    let world = World::start().await;
    let plan = plan_id(&world).await;
    let today = chrono::Utc::now().with_timezone(&Tz::Asia__Tokyo).date_naive();
    let midnight = format!("{today}T00:00:00+09:00").parse::<chrono::DateTime<chrono::Utc>>().expect("an instant");
    let task = json!({"planId": plan, "title": "Due in Tokyo today", "dueDateTime": midnight.to_rfc3339()});
    assert_eq!(world.graph_with("POST", "planner/tasks", Some(task)).await.0, 201);
    world.ok("get_plan", json!({"plan_id": PLAN, "fresh": true})).await;
    let made = world.ok("generate_report", json!({"plans": [PLAN], "time_zone": "Asia/Tokyo"})).await;
    let read = world.rpc("resources/read", json!({"uri": made["resource"]}), &[]).await;
    let text = read["result"]["contents"][0]["text"].as_str().expect("a text");
    let report: Value = serde_json::from_str(text).expect("JSON");
    let tasks = report["tasks"].as_array().expect("tasks");
    let task = tasks.iter().find(|task| task["title"] == "Due in Tokyo today").expect("the task");
    assert_eq!((&task["due"], &task["days_late"]), (&json!(today.to_string()), &Value::Null), "{task}");
}

#[tokio::test]
async fn changes_of_people_alone_can_be_asked_for() {
    let world = World::start().await;
    let (_, planner_id) = world.task("Shared").await;
    let start = world.ok("get_changes", json!({"plan_id": PLAN})).await["cursor"].clone();
    world.task("An agent's").await;
    world.colleague(json!({"task_id": planner_id, "set": {"title": "Renamed by a person"}})).await;
    world.ok("query_tasks", json!({"plan_id": PLAN, "fresh": true})).await;
    let page = world.ok("get_changes", json!({"plan_id": PLAN, "cursor": start, "side": "planner"})).await;
    let told: Vec<_> = page["changes"].as_array().expect("changes").iter().map(|change| &change["title"]).collect();
    assert_eq!(told, [&json!("Renamed by a person")], "{page}");
    let (code, ..) = world.refused("get_changes", json!({"cursor": start, "side": "both"})).await;
    assert_eq!(code, "VAL_001");
}

#[tokio::test]
async fn a_conflict_is_listed_under_the_title_the_task_has() {
    let world = World::start().await;
    let (id, planner_id) = world.task("Contested").await;
    world.colleague(json!({"task_id": planner_id, "set": {"title": "The person's title"}})).await;
    world.call("update_task", json!({"task_id": id, "title": "The agent's title"})).await.expect("an answer");
    let url = world.api_url().join("/api/sync/conflicts").expect("an address");
    let list: Value = reqwest::get(url).await.expect("an answer").json().await.expect("JSON");
    let holds = world.ok("get_task", json!({"task_id": id})).await["title"].clone();
    let conflict = &list["conflicts"][0];
    assert_eq!((&conflict["title"], &conflict["plan"]), (&holds, &json!(PLAN)), "{list}");
}

#[tokio::test]
async fn a_task_is_not_younger_than_what_it_was_read_from() {
    let world = World::start().await;
    let (id, _) = world.task("Aged").await;
    world.ok("update_task", json!({"task_id": id, "priority": "urgent"})).await;
    let shown = world.ok("get_task", json!({"task_id": id})).await;
    assert_eq!(shown["sync"], "synced");
    assert!(shown["as_of"].as_str() >= shown["changed"].as_str(), "{shown}");
}

#[tokio::test]
async fn groups_without_plans_are_asked_seldom_but_for_a_plan_that_is_looked_for() {
    let time = Leaping::default();
    let world = World::sized("plans=2,tasks=3,groups=12", &time).await;
    let asked = async || {
        let requests = world.requests().await;
        world.control("POST", "requests/clear", json!({})).await;
        requests.iter().filter(|(_, path)| path.contains("/groups/") && path.ends_with("/planner/plans")).count()
    };
    let listed = async || world.ok("list_plans", json!({})).await["plans"].as_array().unwrap().len();
    assert_eq!((listed().await, asked().await), (2, 12));
    time.leap(chrono::TimeDelta::minutes(6));
    assert_eq!((listed().await, asked().await), (2, 2), "those that had one");
    let (code, ..) = world.refused("get_plan", json!({"plan_id": "No such plan"})).await;
    assert_eq!((code.as_str(), asked().await), ("PLAN_001", 12), "a miss is not believed from memory");
    // What is made here is known at once, and its group is one of those that are asked.
    world.ok("create_plan", json!({"title": "Made here", "group_id": "Team 12"})).await;
    assert_eq!(listed().await, 3);
    asked().await;
    time.leap(chrono::TimeDelta::minutes(6));
    assert_eq!((listed().await, asked().await), (3, 3));
    time.leap(chrono::TimeDelta::hours(7));
    assert_eq!((listed().await, asked().await), (3, 12), "sooner or later all are");
}
