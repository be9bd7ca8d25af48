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
async fn bucket(world: &World, plan: &str, name: &str) -> String {
    let body = json!({"name": name, "planId": plan, "orderHint": " !"});
    let (status, made) = world.graph_with("POST", "planner/buckets", Some(body)).await;
    assert_eq!(status, 201, "{made}");
    made["id"].as_str().expect("an id").to_owned()
}

#[tokio::test]
async fn unknown_bucket_or_label_is_refreshed_before_not_found() {
    let time = Leaping::default();
    let world = World::leaping(&time).await;
    let plan = world.plan_id().await;
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
async fn fresh_read_renews_title_buckets_and_labels() {
    let world = World::start().await;
    let plan = world.plan_id().await;
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
async fn counts_include_tasks_without_bucket_and_buckets_of_equal_name() {
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
async fn due_filters_use_days_of_the_configured_time_zone() {
    let world = World::with(|config| config.planner.time_zone = Tz::Asia__Tokyo).await;
    let plan = world.plan_id().await;
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
async fn date_with_an_offset_keeps_its_date() {
    let world = World::start().await;
    for (title, given) in
        [("Due in Seoul", "2026-12-01T00:00:00+09:00"), ("Due in Seattle", "2026-12-01T23:59:00-08:00")]
    {
        world.ok("create_task", json!({"plan_id": PLAN, "title": title, "due_date": given})).await;
        assert_eq!(world.tasks_called(title).await[0]["dueDateTime"], "2026-12-01T10:00:00Z");
        let page = world.ok("query_tasks", json!({"plan_id": PLAN, "text": title, "due_on": given})).await;
        assert_eq!((total(&page), &page["rows"][0][5]), (1, &json!("2026-12-01")), "{page}");
    }
}

#[tokio::test]
async fn completed_since_and_changed_since_use_planner_times() {
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
async fn query_tasks_filters_take_several_values_and_rows_have_a_link() {
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
async fn task_as_of_is_not_later_than_its_listing() {
    let world = World::start().await;
    let (id, _) = world.task("Aged").await;
    world.ok("update_task", json!({"task_id": id, "priority": "urgent"})).await;
    let shown = world.ok("get_task", json!({"task_id": id})).await;
    assert_eq!(shown["sync"], "synced");
    assert!(shown["as_of"].as_str() >= shown["changed"].as_str(), "{shown}");
}

#[tokio::test]
async fn query_tasks_pages_are_complete_and_disjoint() {
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
async fn plan_of_several_graph_pages_is_read_completely() {
    let world = World::start().await;
    world.control("PUT", "page_size", json!({"planner": 50})).await;
    let page = world.ok("query_tasks", json!({"plan_id": PLAN})).await;
    assert_eq!((&page["total"], &page["complete"]), (&json!(200), &json!(true)));
}
