//! Plans and buckets: `list_plans`, `get_plan`, `create_plan`, `update_plan`, and the same of buckets.

use graphgate::ids::PlanId;
use serde_json::{Value, json};

use crate::support::{Leaping, PLAN, World};

#[tokio::test]
async fn plans_and_buckets_are_created_once_renamed_and_deleted() {
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
async fn update_plan_renames_the_plan_and_its_labels() {
    let world = World::start().await;
    let labels = json!([{"number": 24, "name": "Postponed"}, {"number": 1}]);
    let plan = world.ok("update_plan", json!({"plan_id": PLAN, "title": "Website launch", "labels": labels})).await;
    assert_eq!(plan["title"], "Website launch", "{plan}");
    assert!(plan["labels"].as_array().unwrap().contains(&json!("Postponed")), "{plan}");
    let made = json!({"plan_id": "Website launch", "title": "x", "categories": ["Postponed"]});
    assert_eq!(world.ok("create_task", made).await["sync"], "synced");
    let (_, plans) = world.graph("GET", &format!("planner/plans/{}", plan["id"].as_str().unwrap())).await;
    assert_eq!(plans["title"], "Website launch");
    for wrong in [json!({}), json!({"title": " "}), json!({"labels": [{"number": 26, "name": "x"}]})] {
        let mut call = wrong;
        call["plan_id"] = plan["id"].clone();
        assert_eq!(world.refused("update_plan", call).await.0, "VAL_001");
    }
}

#[tokio::test]
async fn update_bucket_places_first_last_or_behind_another() {
    let world = World::start().await;
    let names = async || -> Vec<String> {
        let list = world.ok("list_buckets", json!({"plan_id": PLAN, "fresh": true})).await;
        list["buckets"].as_array().unwrap().iter().map(|bucket| bucket["name"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(names().await[..3], ["Ideas", "Design", "Development"]);
    let put = async |bucket: &str, after: &str| {
        world.ok("update_bucket", json!({"plan_id": PLAN, "bucket_id": bucket, "after": after})).await
    };
    put("Development", "first").await;
    assert_eq!(names().await[..3], ["Development", "Ideas", "Design"]);
    put("Development", "Ideas").await;
    assert_eq!(names().await[..3], ["Ideas", "Development", "Design"]);
    put("Ideas", "last").await;
    assert_eq!(names().await.last().unwrap(), "Ideas");
    let both = json!({"plan_id": PLAN, "bucket_id": "Ideas", "after": "first", "name": "Thoughts"});
    world.ok("update_bucket", both).await;
    assert_eq!(names().await[0], "Thoughts");
    for wrong in [json!({}), json!({"after": "Thoughts"})] {
        let mut call = wrong;
        (call["plan_id"], call["bucket_id"]) = (json!(PLAN), json!("Thoughts"));
        assert_eq!(world.refused("update_bucket", call).await.0, "VAL_001");
    }
}

#[tokio::test]
async fn plans_outside_planner_plan_ids_cannot_be_opened_or_created() {
    let open = World::start().await;
    let ids = open.ok("list_plans", json!({})).await;
    let only = PlanId::parse(ids["plans"][0]["id"].as_str().unwrap()).unwrap();
    let world = World::with(move |config| config.planner.scope.plans = vec![only]).await;
    world.ok("list_plans", json!({})).await;
    for title in ["Office move", "Brand new"] {
        let (code, told, _) = world.refused("create_plan", json!({"title": title, "group_id": "Digital"})).await;
        assert!(code == "PERM_001" && told.contains("PLANNER_PLAN_IDS"), "{code} {told}");
    }
    let stats = world.control("GET", "stats", json!({})).await["by_operation"].to_string();
    assert!(stats.contains("GET") && !stats.contains("POST /planner"), "{stats}");
}

#[tokio::test]
async fn create_plan_reports_buckets_that_were_not_created() {
    let world = World::start().await;
    let make = |buckets: Value| json!({"title": "Halfway plan", "group_id": "Digital", "buckets": buckets});
    let error = world.call("create_plan", make(json!(["Backlog", " "]))).await.unwrap_err();
    assert_eq!((&error["code"], &error["changed"]), (&json!("VAL_001"), &json!("nothing")), "{error}");
    assert!(!world.ok("list_plans", json!({"fresh": true})).await.to_string().contains("Halfway plan"));
    world
        .faults(json!([{"method": "POST", "path_contains": "planner/buckets", "kind": "status", "status": 400}]))
        .await;
    let error = world.call("create_plan", make(json!(["Backlog"]))).await.unwrap_err();
    assert_eq!(error["changed"], "unknown", "the plan is there: {error}");
    world.heal().await;
    let again = world.ok("create_plan", make(json!(["Backlog", "Done"]))).await;
    assert!(again["note"].as_str().unwrap().starts_with("the plan exists already; nothing was changed"), "{again}");
    assert_eq!(again["open_by_bucket"], json!({}), "an existing plan stays as it is");
}

#[tokio::test]
async fn create_plan_of_an_existing_title_changes_nothing() {
    let world = World::start().await;
    let before = world.ok("list_buckets", json!({"plan_id": PLAN})).await["buckets"].clone();
    let arguments = json!({"title": PLAN, "group_id": "Digital", "buckets": ["A", "B"]});
    let answer = world.ok("create_plan", arguments).await;
    assert!(answer["note"].as_str().unwrap().contains("nothing was changed"), "{answer}");
    assert_eq!(world.ok("list_buckets", json!({"plan_id": PLAN, "fresh": true})).await["buckets"], before);
    let made =
        world.ok("create_plan", json!({"title": "Bare plan", "group_id": "Digital", "buckets": ["A", "B", "a"]})).await;
    assert_eq!(made["open_by_bucket"], json!({"A": 0, "B": 0}), "{made}");
    let bare = world.ok("create_plan", json!({"title": "Barer plan", "group_id": "Digital"})).await;
    assert_eq!(bare["open_by_bucket"], json!({"To do": 0}), "{bare}");
    world.ok("delete_bucket", json!({"plan_id": bare["id"], "bucket_id": "To do"})).await;
    let task = world.ok("create_task", json!({"plan_id": bare["id"], "title": "Nowhere"})).await;
    assert!(task["note"].as_str().unwrap().contains("the plan has no bucket"), "{task}");
}

#[tokio::test]
async fn groups_of_equal_name_are_distinguished_by_plans_and_mail() {
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
async fn groups_without_plans_are_listed_rarely_except_for_a_named_plan() {
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

#[tokio::test]
async fn unknown_bucket_lookups_are_rate_limited() {
    let time = Leaping::default();
    let world = World::leaping(&time).await;
    world.plan_id().await;
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
