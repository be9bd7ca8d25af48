//! `/api/events`: what people and agents change, as a stream of server-sent events.

use serde_json::json;

use super::sync::refresh;
use crate::support::listener::Listener;
use crate::support::process::Folder;
use crate::support::rest::ask;
use crate::support::{PLAN, World};

/// Writes of each of two instances.
const WRITES: usize = 40;

#[tokio::test]
async fn edit_in_planner_reaches_a_waiting_event_listener() {
    let world = World::start().await;
    let (id, planner_id) = world.task("Heard of").await;
    let mut listener = Listener::open(&world, "", None).await;
    assert_eq!(listener.hear().await.unwrap().name, "hello");
    world.colleague(json!({"task_id": planner_id, "set": {"percentComplete": 100}})).await;
    assert_eq!(refresh(&world).await["changed"], 1);
    let heard = listener.hear_of("updated", &id).await;
    assert_eq!(heard.data["fields"], json!(["percent_complete"]), "{heard:?}");
    assert_eq!((&heard.data["side"], &heard.data["percent_complete"]), (&json!("planner"), &json!(100)));
    assert_eq!((&heard.data["title"], &heard.data["plan"]), (&json!("Heard of"), &json!(PLAN)));
}

#[tokio::test]
async fn listener_resumes_within_a_transaction_without_loss_or_repetition() {
    let world = World::start().await;
    let plan = world.ok("get_plan", json!({"plan_id": PLAN})).await["id"].as_str().unwrap().to_owned();
    let hello = Listener::open(&world, "", None).await.hear().await.unwrap();
    let titles: Vec<String> = (0..6).map(|number| format!("Together {number}")).collect();
    for title in &titles {
        world.colleague(json!({"create": {"planId": plan, "title": title}})).await;
    }
    assert_eq!(refresh(&world).await["changed"], 6, "one pass, and one transaction");
    let (mut heard, mut last) = (Vec::new(), hello.id);
    for _ in &titles {
        // Each listener hears one event and is cut off.
        let mut listener = Listener::open(&world, "", last.as_deref()).await;
        assert_eq!(listener.hear().await.unwrap().name, "hello");
        let event = listener.hear().await.unwrap();
        heard.push(event.data["title"].as_str().unwrap().to_owned());
        last = event.id;
    }
    heard.sort();
    assert_eq!(heard, titles);
}

#[tokio::test]
async fn last_event_id_resumes_without_loss_or_repetition() {
    let world = World::start().await;
    let (id, _) = world.task("Followed").await;
    let mut listener = Listener::open(&world, "", None).await;
    let hello = listener.hear().await.unwrap();
    drop(listener);
    for priority in ["urgent", "low"] {
        world.ok("update_task", json!({"task_id": id, "priority": priority})).await;
    }
    let mut again = Listener::open(&world, &format!("?plan={}", PLAN.replace(' ', "%20")), hello.id.as_deref()).await;
    let mut names = Vec::new();
    let mut last = None;
    again.hear().await.unwrap();
    while names.len() < 4 {
        let heard = again.hear().await.unwrap();
        last = heard.id.or(last);
        names.push(heard.name);
    }
    assert_eq!(names, ["updated", "synced", "updated", "synced"]);
    drop(again);
    let mut third = Listener::open(&world, "?seconds=1", last.as_deref()).await;
    assert_eq!(third.hear().await.unwrap().name, "hello");
    let rest = third.hear().await;
    assert!(rest.is_none(), "everything had been heard: {rest:?}");
}

#[tokio::test]
async fn listener_gets_writes_of_two_instances_once_each_without_reset() {
    let folder = Folder::new();
    let world = World::in_folder(&folder.0).await;
    let (ours, _) = world.task("Ours").await;
    let (theirs, _) = world.task("Theirs").await;
    let neighbour = world.beside(&folder.0).await;
    let mut listener = Listener::at(&neighbour.api_url(), "", None).await;
    assert_eq!(listener.hear().await.unwrap().name, "hello");
    let title = |task: &str, number: usize| json!({"task_id": task, "title": format!("Write {number}")});
    let writes = async {
        for number in 0..WRITES {
            futures::future::join(
                world.ok("update_task", title(&ours, number)),
                neighbour.ok("update_task", title(&theirs, number)),
            )
            .await;
        }
    };
    let hears = async {
        let mut heard = Vec::new();
        while heard.len() < 2 * WRITES {
            let event = listener.hear().await.unwrap();
            assert_ne!(event.name, "reset", "{event:?} after {} writes", heard.len());
            if event.name == "updated" {
                heard.push((event.data["task_id"].as_str().unwrap().to_owned(), event.data["title"].clone()));
            }
        }
        heard
    };
    let ((), heard) = futures::future::join(writes, hears).await;
    for task in [ours, theirs] {
        let titles = heard.iter().filter(|(of, _)| *of == task).map(|(_, title)| title.as_str().unwrap().to_owned());
        assert!(titles.eq((0..WRITES).map(|number| format!("Write {number}"))), "{heard:?}");
    }
}

#[tokio::test]
async fn invalid_event_cursor_is_refused() {
    let world = World::start().await;
    let answer = ask(&world.api_url(), "GET", "/api/events?cursor=garbage!").await;
    answer.assert_problem(400, "VAL_004").assert_says("start again without a cursor");
}

#[tokio::test]
async fn events_written_before_a_restart_are_delivered_after_it() {
    let folder = std::env::temp_dir().join(format!("graphgate-events-{}", uuid::Uuid::new_v4()));
    let mut world = World::in_folder(&folder).await;
    let (id, _) = world.task("Before").await;
    let mut listener = Listener::open(&world, "", None).await;
    let hello = listener.hear().await.unwrap();
    world.ok("update_task", json!({"task_id": id, "title": "After"})).await;
    drop(listener);
    world.restart(&folder).await;
    let mut listener = Listener::open(&world, "", hello.id.as_deref()).await;
    let heard = listener.hear_of("updated", &id).await;
    assert_eq!(heard.data["fields"], json!(["title"]));
    assert_eq!(heard.data["side"], "agent");
    std::fs::remove_dir_all(&folder).unwrap();
}
