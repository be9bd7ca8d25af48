//! Every mistake gets a sentence that says what is wrong and what to do, and changes nothing.

use graphgate::ids::{GroupId, PlanId};
use serde_json::{Value, json};

use crate::process::Folder;
use crate::support::{PLAN, World};

#[tokio::test]
async fn mistakes_are_told_in_plain_words() {
    let world = World::start().await;
    let office = world.ok("list_buckets", json!({"plan_id": "Office move"})).await["buckets"][0]["id"].clone();
    let items: Vec<String> = (0..26).map(|number| format!("item {number}")).collect();
    let many: Vec<Value> = (0..600).map(|number| json!({"title": format!("{number}")})).collect();
    let cases = [
        ("create_task", json!({"plan_id": PLAN, "title": " "})),
        ("create_task", json!({"plan_id": PLAN, "title": "x".repeat(300)})),
        ("create_task", json!({"plan_id": PLAN, "title": "x", "bucket_id": "Nowhere"})),
        ("create_task", json!({"plan_id": PLAN, "title": "x", "due_date": "2026-11-30T10:00"})),
        ("create_task", json!({"plan_id": PLAN, "title": "x", "due_date": "tomorrow"})),
        ("create_task", json!({"plan_id": PLAN, "title": "x", "start_date": "2026-12-02", "due_date": "2026-12-01"})),
        ("create_task", json!({"plan_id": PLAN, "title": "x", "checklist": items})),
        ("create_task", json!({"plan_id": PLAN, "title": "x", "assignee_ids": ["Nobody Atall"]})),
        ("create_task", json!({"plan_id": PLAN, "title": "x", "priority": 11})),
        ("create_task", json!({"plan_id": PLAN, "title": "x", "references": ["ftp://example.com"]})),
        ("create_task", json!({"plan_id": PLAN, "title": 7})),
        ("create_task", json!({"plan_id": PLAN, "title": "x", "colour": "red"})),
        ("create_task", json!({"plan_id": PLAN, "title": "x", "custom_fields": {"Customer": "ACME"}})),
        ("create_task", json!({"plan_id": PLAN})),
        ("bulk_create_tasks", json!({"plan_id": PLAN, "tasks": many})),
        ("bulk_create_tasks", json!({"plan_id": PLAN, "tasks": []})),
        ("update_task", json!({"task_id": "nonsense", "title": "x"})),
        ("update_task", json!({"task_id": "00000000000000", "title": "x"})),
        ("update_task", json!({"task_id": "00000000000000"})),
        ("update_task", json!({"task_id": "00000000000000", "due_date": null})),
        ("update_task", json!({"task_id": "00000000000000", "title": null})),
        ("update_task", json!({"task_id": "00000000000000", "percent_complete": "50"})),
        ("query_tasks", json!({"plan_id": PLAN, "status": "asleep"})),
        ("query_tasks", json!({"plan_id": PLAN, "limit": "3"})),
        ("create_task", json!({"plan_id": PLAN, "title": "x", "checklist": [{"text": "x"}]})),
        ("create_task", json!({"plan_id": PLAN, "title": "x", "categories": "Design"})),
        ("create_subscription", json!({"kind": "planets"})),
        ("query_tasks", json!({"plan_id": PLAN, "sort": "colour"})),
        ("query_tasks", json!({"plan_id": PLAN, "fields": ["id", "colour"]})),
        ("query_tasks", json!({"plan_id": PLAN, "limit": 5000})),
        ("query_tasks", json!({"plan_id": PLAN, "cursor": "made-up"})),
        ("query_tasks", json!({"plan_id": PLAN, "category": "Nolabel"})),
    ];
    let mut told = Vec::new();
    for (tool, arguments) in cases {
        let (code, message, hint) = world.refused(tool, arguments).await;
        told.push(format!("{code} {message}\n     -> {hint}"));
    }
    let foreign = world.refused("create_task", json!({"plan_id": PLAN, "title": "x", "bucket_id": office})).await;
    assert!(foreign.1.contains("belongs to the plan `Office move`"), "{foreign:?}");
    insta::assert_snapshot!(told.join("\n"));
    let page = world.ok("query_tasks", json!({"plan_id": PLAN, "fresh": true})).await;
    assert_eq!(page["total"], 200, "nothing was changed");
}

#[tokio::test]
async fn null_is_the_same_as_leaving_a_field_out() {
    let world = World::start().await;
    let arguments = json!({
        "plan_id": PLAN, "title": "Nulls", "bucket_id": null, "description": null, "assignee_ids": null, "due_date": null,
        "priority": null, "checklist": null, "references": null, "categories": null, "custom_fields": null,
        "idempotency_key": null,
    });
    assert_eq!(world.ok("create_task", arguments).await["sync"], "synced");
    assert_eq!(
        world.ok("query_tasks", json!({"plan_id": PLAN, "status": null, "cursor": null, "text": "Nulls"})).await["total"],
        1
    );
}

#[tokio::test]
async fn an_ambiguous_name_is_refused_with_the_candidates() {
    let world = World::start().await;
    world.ok("create_plan", json!({"title": "Office move", "group_id": "Digital"})).await;
    let (code, message, hint) = world.refused("get_plan", json!({"plan_id": "office move"})).await;
    assert_eq!(
        (code.as_str(), message.as_str()),
        ("VAL_002", "`office move` is the title of several plans; nothing was changed")
    );
    assert!(hint.contains("Digital") && hint.contains("Operations"), "{hint}");
}

#[tokio::test]
async fn no_plan_is_opened_beside_those_a_deployment_serves() {
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
async fn a_plan_is_made_with_all_its_buckets_or_says_how_far_it_came() {
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
async fn people_the_directory_does_not_have_are_asked_for_once() {
    let folder = Folder::new();
    let mut world = World::in_folder(&folder.0).await;
    let ids = |page: &Value| {
        let people = page["value"].as_array().unwrap().iter();
        people.map(|person| person["id"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    let plan = world.ok("get_plan", json!({"plan_id": PLAN})).await["id"].as_str().unwrap().to_owned();
    let container = world.graph("GET", &format!("planner/plans/{plan}")).await.1["container"].clone();
    let group = GroupId::parse(container["containerId"].as_str().unwrap()).unwrap();
    let members = ids(&world.graph("GET", &format!("groups/{group}/members?$top=999")).await.1);
    let everybody = ids(&world.graph("GET", "users?$top=999").await.1);
    let gone = everybody.iter().find(|id| !members.contains(id)).unwrap().as_str();
    // The members of no other group are known before anybody asks for them.
    world.restart_with(&folder.0, |config| config.planner.scope.groups = vec![group]).await;
    let (id, planner_id) = world.task("Left by everybody").await;
    let assignment = json!({"@odata.type": "#microsoft.graph.plannerAssignment", "orderHint": " !"});
    world.colleague(json!({"task_id": planner_id, "set": {"assignments": {gone: assignment}}})).await;
    world.faults(json!([{"path_contains": format!("users/{gone}"), "kind": "status", "status": 404}])).await;
    let lookups = async || {
        let stats = world.control("GET", "stats", json!({})).await;
        stats["by_operation"]["GET /users/{id}"]["404"].as_u64().unwrap_or(0)
    };
    let shown = world.ok("get_task", json!({"task_id": id, "fresh": true})).await;
    assert!(shown.to_string().contains(gone), "the id stands for the name: {shown}");
    let asked = lookups().await;
    assert!(asked > 0, "somebody was looked for");
    for _ in 0..3 {
        world.ok("get_task", json!({"task_id": id})).await;
    }
    assert_eq!(lookups().await, asked);
}
