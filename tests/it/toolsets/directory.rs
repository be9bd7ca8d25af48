//! People by name: whom a call means does not depend on what was asked before, and nobody has to spell like the directory.

use graphgate::ids::GroupId;
use serde_json::{Value, json};

use crate::support::process::Folder;
use crate::support::{PLAN, World};

/// A user of the directory beside those of the demo tenant.
async fn add_user(world: &World, name: &str, upn: &str) {
    let user = json!({"displayName": name, "userPrincipalName": upn, "mailNickname": upn.split('@').next().unwrap(),
        "accountEnabled": true, "passwordProfile": {"password": "Pa55word-of-a-test!"}});
    let (status, answer) = world.graph_with("POST", "users", Some(user)).await;
    assert_eq!(status, 201, "{answer}");
}

async fn domain(world: &World) -> String {
    let (_, people) = world.graph("GET", "users?$top=1").await;
    people["value"][0]["userPrincipalName"].as_str().unwrap().split_once('@').unwrap().1.to_owned()
}

#[tokio::test]
async fn ambiguous_person_stays_ambiguous_after_earlier_lookups() {
    let world = World::start().await;
    let domain = domain(&world).await;
    for number in ["one", "two"] {
        add_user(&world, "Оксана Шевчук", &format!("oksana.{number}@{domain}")).await;
    }
    let create = json!({"plan_id": PLAN, "title": "x", "assignee_ids": ["Оксана Шевчук"]});
    let (code, _, hint) = world.refused("create_task", create.clone()).await;
    assert!(code == "VAL_002" && hint.contains("oksana.one") && hint.contains("oksana.two"), "{code} {hint}");
    // One of them is met: she is known now, and her namesake is not.
    let one = json!({"plan_id": PLAN, "title": "y", "assignee_ids": [format!("oksana.one@{domain}")]});
    world.ok("create_task", one).await;
    assert_eq!(world.refused("create_task", create).await.0, "VAL_002");
}

#[tokio::test]
async fn assignee_name_prefers_members_of_the_plans_group() {
    let world = World::start().await;
    let members = world.ok("find_people", json!({"plan_id": PLAN})).await;
    let member = &members["people"][0];
    let upn = format!("namesake@{}", domain(&world).await);
    add_user(&world, member["name"].as_str().unwrap(), &upn).await;
    let call = json!({"plan_id": PLAN, "title": "x", "assignee_ids": [member["name"]]});
    // Whether the namesake has been met or not.
    for _ in 0..2 {
        let made = world.ok("create_task", call.clone()).await;
        let (_, task) = world.graph("GET", &format!("planner/tasks/{}", made["planner_id"].as_str().unwrap())).await;
        let assigned: Vec<&String> = task["assignments"].as_object().unwrap().keys().collect();
        assert_eq!(assigned, [member["id"].as_str().unwrap()]);
        world.ok("create_task", json!({"plan_id": PLAN, "title": "y", "assignee_ids": [upn]})).await;
    }
}

#[tokio::test]
async fn misspelt_person_is_refused_with_the_candidate() {
    let world = World::start().await;
    for (typed, name) in [
        ("Jose Nunez", "José Núñez"),
        ("José Nuñez", "José Núñez"),
        ("Soren Kjaergaard", "Søren Kjærgaard"),
        ("Zoe Muller-Ludenscheidt", "Zoë Müller-Lüdenscheidt"),
        ("Patrick O’Malley", "Patrick O'Malley"),
        ("Adel Vance", "Adele Vance"),
        ("Vance, Adele", "Adele Vance"),
        ("Adele Vanec", "Adele Vance"),
    ] {
        let found = world.ok("find_people", json!({"search": typed})).await;
        assert_eq!(found["people"][0]["name"], name, "{typed}: {found}");
        let call = json!({"plan_id": PLAN, "title": "x", "assignee_ids": [typed]});
        let (code, _, hint) = world.refused("create_task", call).await;
        assert!(code == "USER_002" && hint.contains(name), "{typed}: {code} {hint}");
    }
    let (code, message, hint) =
        world.refused("create_task", json!({"plan_id": PLAN, "title": "x", "assignee_ids": ["me"]})).await;
    assert!(code == "USER_002" && message.contains("the caller is no person"), "{message}");
    assert!(hint.contains("find_people"), "{hint}");
}

#[tokio::test]
async fn find_people_pages_through_members_of_a_plans_group() {
    let world = World::start().await;
    let mut names: Vec<String> = Vec::new();
    let mut cursor = Value::Null;
    loop {
        let page = world.ok("find_people", json!({"plan_id": PLAN, "limit": 3, "cursor": cursor})).await;
        let people = page["people"].as_array().unwrap();
        assert!(people.len() <= 3);
        names.extend(people.iter().map(|person| person["upn"].as_str().unwrap().to_owned()));
        cursor = page["cursor"].clone();
        assert_eq!(page["complete"] == true, cursor.is_null(), "{page}");
        if cursor.is_null() {
            break;
        }
    }
    let all = world.ok("find_people", json!({"plan_id": PLAN, "limit": 100})).await["people"].as_array().unwrap().len();
    assert!(all > 3 && names.len() == all, "{names:?}");
    names.dedup();
    assert_eq!(names.len(), all, "nobody twice");
    let (code, message, _) = world.refused("find_people", json!({})).await;
    assert!(code == "VAL_001" && message.contains("`search`"), "{message}");
    assert_eq!(world.refused("find_people", json!({"search": "a", "cursor": "x"})).await.0, "VAL_004");
    let nobody = world.ok("find_people", json!({"search": "Qqqxzw"})).await;
    assert!(nobody["note"].as_str().unwrap().contains("nobody"), "{nobody}");
}

#[tokio::test]
async fn unknown_people_are_looked_up_once() {
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
