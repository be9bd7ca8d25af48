//! What a write on a list leaves: exactly what was asked for, and what a person did meanwhile.

use graphgate::ids::Entropy;
use serde_json::{Value, json};

use crate::support::{PLAN, World};

/// The titles of a task's checklist as `get_task` shows them.
async fn shown(world: &World, id: &str) -> Vec<String> {
    let task = world.ok("get_task", json!({"task_id": id, "fresh": true})).await;
    let items = task["checklist"].as_array().cloned().unwrap_or_default();
    items.iter().map(|item| item["title"].as_str().unwrap().to_owned()).collect()
}

/// The titles of a task's checklist in Planner's own order.
async fn on_planner(world: &World, planner_id: &str) -> Vec<String> {
    let (_, details) = world.graph("GET", &format!("planner/tasks/{planner_id}/details")).await;
    let mut items: Vec<Value> = details["checklist"].as_object().unwrap().values().cloned().collect();
    items.sort_by_key(|item| item["orderHint"].as_str().unwrap().to_owned());
    items.iter().map(|item| item["title"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn update_task_reorders_the_checklist_as_given() {
    let world = World::start().await;
    let first = json!({"plan_id": PLAN, "title": "Ordered", "checklist": ["one", "two", "three"]});
    let made = world.ok("create_task", first).await;
    let (id, planner_id) = (made["id"].as_str().unwrap(), made["planner_id"].as_str().unwrap());
    assert_eq!(shown(&world, id).await, ["one", "two", "three"]);
    let mut lists = vec![vec!["zero", "three", "two", "one"], vec![], vec!["a"], vec!["b", "a"], vec!["a", "a", "b"]];
    // Every order of four, with something new and something gone each time.
    let all = ["one", "two", "three", "four", "five", "six"];
    let entropy = Entropy::seeded(5);
    for _ in 0..25 {
        let mut left = all.to_vec();
        let length = 1 + usize::try_from(entropy.number() % 6).unwrap();
        let pick = |left: &mut Vec<&'static str>| left.remove(usize::try_from(entropy.number()).unwrap() % left.len());
        lists.push((0..length).map(|_| pick(&mut left)).collect());
    }
    for list in lists {
        let answer = world.ok("update_task", json!({"task_id": id, "checklist": list})).await;
        assert_eq!(answer["sync"], "synced", "{answer}");
        assert_eq!(shown(&world, id).await, list);
        assert_eq!(on_planner(&world, planner_id).await, list);
    }
}

#[tokio::test]
async fn checklist_reordered_twice_while_pending_ends_in_the_last_order() {
    let world = World::hurried().await;
    let made = world.ok("create_task", json!({"plan_id": PLAN, "title": "Twice", "checklist": ["a", "b", "c"]})).await;
    let (id, planner_id) = (made["id"].as_str().unwrap(), made["planner_id"].as_str().unwrap());
    world.faults(json!([{"path_contains": "planner/tasks", "kind": "status", "status": 503, "retry_after": 1}])).await;
    for list in [["c", "b", "a"], ["b", "a", "c"], ["c", "a", "b"]] {
        let answer = world.ok("update_task", json!({"task_id": id, "checklist": list})).await;
        assert_eq!(answer["sync"], "pending", "{answer}");
    }
    world.heal().await;
    world.until("the order arrives", async || on_planner(&world, planner_id).await == ["c", "a", "b"]).await;
    assert_eq!(shown(&world, id).await, ["c", "a", "b"]);
}

/// A task with a checklist, an assignee, a label and a link, and a person who then adds one of each.
async fn edited_by_a_person(world: &World) -> (String, String, Value) {
    let arguments = json!({"plan_id": PLAN, "title": "Shared", "checklist": ["a", "b"], "assignee_ids": ["Adele Vance"],
        "categories": ["Design"], "references": ["https://a.example"]});
    let made = world.ok("create_task", arguments).await;
    let (id, planner_id) = (made["id"].as_str().unwrap().to_owned(), made["planner_id"].as_str().unwrap().to_owned());
    let read = world.ok("get_task", json!({"task_id": id, "fresh": true})).await;
    let (_, people) = world.graph("GET", "users?$top=999").await;
    let alex = people["value"].as_array().unwrap().iter().find(|user| user["displayName"] == "Alex Wilber").unwrap();
    let assignment = json!({"@odata.type": "#microsoft.graph.plannerAssignment", "orderHint": " !"});
    let item = json!({"@odata.type": "#microsoft.graph.plannerChecklistItem", "title": "person's", "isChecked": false});
    let link = json!({"@odata.type": "#microsoft.graph.plannerExternalReference", "alias": "P", "type": "Other"});
    world
        .colleague(json!({"task_id": planner_id,
            "set": {"assignments": {alex["id"].as_str().unwrap(): assignment}, "appliedCategories": {"category25": true}},
            "details": {"checklist": {"00000000-0000-0000-0000-00000000beef": item}, "references": {"https%3A//p%2Eexample": link}}}))
        .await;
    // The replica has read it, as it does every few seconds.
    world.ok("get_task", json!({"task_id": id, "fresh": true})).await;
    (id, planner_id, read)
}

/// What an agent sends that ticks `a` and adds somebody, with whole lists.
fn whole(id: &str, version: Option<&Value>) -> Value {
    let mut call = json!({"task_id": id, "assignee_ids": ["Adele Vance", "Søren Kjærgaard"], "categories": ["Design", "SEO"],
        "checklist": [{"title": "a", "checked": true}, "b"], "references": ["https://a.example", "https://b.example"]});
    if let Some(version) = version {
        call["version"] = version.clone();
    }
    call
}

#[tokio::test]
async fn list_with_version_keeps_entries_added_by_a_person() {
    let world = World::start().await;
    let (id, planner_id, read) = edited_by_a_person(&world).await;
    let answer = world.ok("update_task", whole(&id, Some(&read["version"]))).await;
    assert_eq!((&answer["sync"], &answer["note"]), (&json!("synced"), &Value::Null), "{answer}");
    let task = world.ok("get_task", json!({"task_id": id, "fresh": true})).await;
    let titles: Vec<&str> =
        task["checklist"].as_array().unwrap().iter().map(|i| i["title"].as_str().unwrap()).collect();
    assert_eq!(titles, ["a", "b", "person's"], "{task}");
    assert_eq!(task["checklist"][0]["checked"], true);
    let text = task.to_string();
    for name in
        ["Adele Vance", "Alex Wilber", "Søren", "Design", "SEO", "category25", "https://p.example", "https://b.example"]
    {
        assert!(text.contains(name), "{name} is missing: {text}");
    }
    assert_eq!(on_planner(&world, &planner_id).await, ["a", "b", "person's"]);
    let (code, message, _) = world.refused("update_task", whole(&id, Some(&json!("made-up")))).await;
    assert_eq!((code.as_str(), message.as_str()), ("VAL_001", "`version` is damaged; nothing was changed"));
}

#[tokio::test]
async fn list_without_version_names_the_entries_it_removes() {
    let world = World::start().await;
    let (id, _, _) = edited_by_a_person(&world).await;
    let answer = world.ok("update_task", whole(&id, None)).await;
    let note = answer["note"].as_str().unwrap();
    for name in ["Alex Wilber", "category25", "person's", "https://p.example"] {
        assert!(note.contains(&format!("`{name}`")), "{note}");
    }
    let bulk = world.ok("bulk_update_tasks", json!({"updates": [{"task_id": id, "checklist": ["b"]}]})).await;
    assert!(bulk["attention"][0]["note"].as_str().unwrap().contains("`a`"), "{bulk}");
}

#[tokio::test]
async fn single_list_entries_are_added_ticked_and_removed() {
    let world = World::start().await;
    let (id, _, _) = edited_by_a_person(&world).await;
    let call = json!({"task_id": id, "add_assignees": ["Søren Kjærgaard"], "remove_assignees": ["Adele Vance"],
        "add_categories": ["SEO"], "remove_categories": ["Design"], "add_checklist": ["c", {"title": "d", "checked": true}],
        "tick_checklist": ["a"], "remove_checklist": ["B"], "add_references": ["https://b.example"],
        "remove_references": ["https://a.example"]});
    for _ in 0..2 {
        // A call that is repeated because its answer was lost adds nothing twice.
        let mut call = call.clone();
        if world.ok("get_task", json!({"task_id": id})).await["checklist"][1]["title"] != "b" {
            call.as_object_mut().unwrap().retain(|name, _| name.starts_with("add") || name.starts_with('t'));
        }
        let bulk = world.ok("bulk_update_tasks", json!({"updates": [call]})).await;
        assert_eq!(bulk["synced"], 1, "{bulk}");
    }
    let task = world.ok("get_task", json!({"task_id": id, "fresh": true})).await;
    let items: Vec<(&str, bool)> = task["checklist"]
        .as_array()
        .unwrap()
        .iter()
        .map(|item| (item["title"].as_str().unwrap(), item["checked"].as_bool().unwrap()))
        .collect();
    assert_eq!(items, [("a", true), ("person's", false), ("c", false), ("d", true)]);
    let mut assignees: Vec<&str> = task["assignees"].as_array().unwrap().iter().map(|n| n.as_str().unwrap()).collect();
    assignees.sort_unstable();
    assert_eq!(assignees.len(), 2, "{assignees:?}");
    assert!(assignees[0] == "Alex Wilber" && assignees[1].starts_with("Søren"), "{assignees:?}");
    let links: Vec<&str> = task["references"].as_array().unwrap().iter().map(|l| l["url"].as_str().unwrap()).collect();
    assert_eq!(links, ["https://b.example", "https://p.example"]);
    let untick = world.ok("update_task", json!({"task_id": id, "untick_checklist": ["A"]})).await;
    assert_eq!(untick["sync"], "synced");
    let (code, message, hint) = world.refused("update_task", json!({"task_id": id, "tick_checklist": ["z"]})).await;
    assert_eq!((code.as_str(), message.as_str()), ("FIND_001", "there is no checklist item `z`; nothing was changed"));
    assert!(hint.contains("`person's`"), "{hint}");
    let both = json!({"task_id": id, "checklist": ["a"], "add_checklist": ["b"]});
    assert!(world.refused("update_task", both).await.1.contains("given whole and changed entry by entry"));
}

#[tokio::test]
async fn status_in_progress_keeps_percent_complete() {
    let world = World::start().await;
    let made = world.ok("create_task", json!({"plan_id": PLAN, "title": "Nearly", "status": "in_progress"})).await;
    let (id, planner_id) = (made["id"].clone(), made["planner_id"].as_str().unwrap());
    assert_eq!(made["status"], "in_progress");
    world.colleague(json!({"task_id": planner_id, "set": {"percentComplete": 75}})).await;
    let percent =
        async || world.ok("get_task", json!({"task_id": id, "fresh": true})).await["percent_complete"].clone();
    assert_eq!(percent().await, 75);
    world.ok("update_task", json!({"task_id": id, "status": "in_progress"})).await;
    assert_eq!(percent().await, 75);
    world.ok("update_task", json!({"task_id": id, "percent_complete": 30.0})).await;
    assert_eq!(percent().await, 30);
    world.ok("update_task", json!({"task_id": id, "status": "completed"})).await;
    assert_eq!(percent().await, 100);
}

#[tokio::test]
async fn invalid_bulk_item_does_not_fail_the_others() {
    let world = World::start().await;
    let tasks = json!([{"title": "Fits"}, {"title": null}, "{\"title\": \"Sent as text\"}", 7, {"title": "x", "colour": "red"}]);
    let answer = world.ok("bulk_create_tasks", json!({"plan_id": PLAN, "tasks": tasks})).await;
    assert_eq!((&answer["synced"], &answer["failed"]), (&json!(2), &json!(3)), "{answer}");
    let notes: Vec<&str> =
        answer["attention"].as_array().unwrap().iter().map(|i| i["note"].as_str().unwrap()).collect();
    assert!(
        notes[0].contains("`title`") && notes[1].contains("no object") && notes[2].contains("`colour`"),
        "{notes:?}"
    );
    let id = answer["ids"][0].clone();
    let updates = json!([{"task_id": id, "due_date": null}, {"task_id": id, "priority": "urgent"}, {"task_id": id}]);
    let answer = world.ok("bulk_update_tasks", json!({"updates": updates})).await;
    assert_eq!((&answer["synced"], &answer["failed"]), (&json!(1), &json!(2)), "{answer}");
}

#[tokio::test]
async fn update_task_merges_checklists_by_item() {
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
