//! What people and agents hear of each other: the stream of events, the logs, a conflict undone.

mod listen;
mod relay;
mod tools;

use std::time::Duration;

use serde_json::{Value, json};
use url::Url;

use crate::api::{ask, tell};
use crate::process::Folder;
use crate::support::{PLAN, World};

/// Writes of each of two instances.
const WRITES: usize = 40;

/// A listener on a stream of events.
pub struct Listener {
    answer: reqwest::Response,
    text: String,
}

/// An event as it came over the wire.
#[derive(Debug, Clone)]
pub struct Heard {
    pub name: String,
    pub id: Option<String>,
    pub data: Value,
}

impl Listener {
    pub async fn open(world: &World, query: &str, last: Option<&str>) -> Self {
        Self::at(&world.api_url(), query, last).await
    }

    /// As [`Self::open`], at any instance.
    pub async fn at(base: &Url, query: &str, last: Option<&str>) -> Self {
        let url = base.join(&format!("api/events{query}")).unwrap();
        let mut request = reqwest::Client::new().get(url);
        if let Some(last) = last {
            request = request.header("last-event-id", last);
        }
        let answer = request.send().await.unwrap();
        assert_eq!(answer.status(), 200);
        assert_eq!(answer.headers()["content-type"], "text/event-stream");
        Self { answer, text: String::new() }
    }

    /// The next event; `None` at the end of the stream.
    pub async fn hear(&mut self) -> Option<Heard> {
        loop {
            while let Some((block, rest)) = self.text.split_once("\n\n") {
                let field = |name: &str| {
                    block.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": ").map(str::to_owned))
                };
                let heard = field("event").map(|name| Heard {
                    name,
                    id: field("id"),
                    data: serde_json::from_str(&field("data").unwrap()).unwrap(),
                });
                let rest = rest.to_owned();
                self.text = rest;
                if heard.is_some() {
                    return heard;
                }
            }
            let chunk = tokio::time::timeout(Duration::from_secs(20), self.answer.chunk()).await;
            let chunk = chunk.expect("the stream says something").unwrap()?;
            self.text.push_str(std::str::from_utf8(&chunk).unwrap());
        }
    }

    /// The next event of a kind about a task.
    async fn hear_of(&mut self, name: &str, task: &str) -> Heard {
        loop {
            let heard = self.hear().await.expect("the stream goes on");
            if heard.name == name && heard.data["task_id"] == task {
                return heard;
            }
        }
    }
}

async fn nudge(world: &World) -> Value {
    let answer = tell(&world.api_url(), "POST", "/api/planner/refresh", json!({"plan": PLAN})).await;
    assert_eq!(answer.status, 200, "{answer:#?}");
    answer.body["plans"][0].clone()
}

#[tokio::test]
async fn a_person_edits_in_planner_and_a_waiting_listener_hears() {
    let world = World::start().await;
    let (id, planner_id) = world.task("Heard of").await;
    let mut listener = Listener::open(&world, "", None).await;
    assert_eq!(listener.hear().await.unwrap().name, "hello");
    world.colleague(json!({"task_id": planner_id, "set": {"percentComplete": 100}})).await;
    assert_eq!(nudge(&world).await["changed"], 1);
    let heard = listener.hear_of("updated", &id).await;
    assert_eq!(heard.data["fields"], json!(["percent_complete"]), "{heard:?}");
    assert_eq!((&heard.data["side"], &heard.data["percent_complete"]), (&json!("planner"), &json!(100)));
    assert_eq!((&heard.data["title"], &heard.data["plan"]), (&json!("Heard of"), &json!(PLAN)));
}

#[tokio::test]
async fn a_listener_cut_off_within_a_transaction_hears_the_rest_of_it_once() {
    let world = World::start().await;
    let plan = world.ok("get_plan", json!({"plan_id": PLAN})).await["id"].as_str().unwrap().to_owned();
    let hello = Listener::open(&world, "", None).await.hear().await.unwrap();
    let titles: Vec<String> = (0..6).map(|number| format!("Together {number}")).collect();
    for title in &titles {
        world.colleague(json!({"create": {"planId": plan, "title": title}})).await;
    }
    assert_eq!(nudge(&world).await["changed"], 6, "one pass, and one transaction");
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
async fn whoever_comes_back_has_missed_nothing_and_hears_nothing_twice() {
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
async fn while_two_instances_write_a_listener_hears_each_write_once_and_never_starts_anew() {
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
async fn a_cursor_that_is_none_is_refused() {
    let world = World::start().await;
    let answer = ask(&world.api_url(), "GET", "/api/events?cursor=garbage!").await;
    answer.assert_problem(400, "VAL_004").assert_says("start again without a cursor");
}

#[tokio::test]
async fn what_was_written_while_a_server_was_down_is_heard_after_its_restart() {
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

/// Both sides change a title; answers the task, its id on Planner, and the conflict.
async fn conflict(world: &World) -> (String, String, Value) {
    let (id, planner_id) = world.task("Contested").await;
    world.colleague(json!({"task_id": planner_id, "set": {"title": "The person's title"}})).await;
    let changed = world.ok("update_task", json!({"task_id": id, "title": "The agent's title"})).await;
    assert_eq!(changed["sync"], "conflict", "{changed}");
    let listed = ask(&world.api_url(), "GET", &format!("/api/sync/conflicts?task_id={id}")).await;
    assert_eq!(listed.body["conflicts"].as_array().unwrap().len(), 1, "{listed:#?}");
    (id, planner_id, listed.body["conflicts"][0].clone())
}

#[tokio::test]
async fn the_losing_value_of_a_conflict_is_put_back_with_one_call_and_once() {
    let world = World::start().await;
    let (id, _, conflict) = conflict(&world).await;
    assert_eq!((&conflict["field"], &conflict["winner"]), (&json!("title"), &json!("planner")));
    assert_eq!(conflict["agent"], "The agent's title");
    let path = format!("/api/sync/conflicts/{}/restore", conflict["id"].as_str().unwrap());
    let restored = ask(&world.api_url(), "POST", &path).await;
    assert_eq!((restored.status, &restored.body["sync"]), (200, &json!("synced")), "{restored:#?}");
    assert_eq!(world.tasks_called("The agent's title").await.len(), 1);
    let again = ask(&world.api_url(), "POST", &path).await;
    again.assert_problem(400, "VAL_001").assert_says("was restored by");
    let listed = ask(&world.api_url(), "GET", &format!("/api/sync/conflicts?task_id={id}")).await;
    assert!(listed.body["conflicts"][0]["restored"].is_string(), "{listed:#?}");
}

#[tokio::test]
async fn a_conflict_that_is_none_is_not_found() {
    let world = World::start().await;
    for id in ["x", "1795511400000-c4tz8k2m9x0q1w-0a1b2c3d4e5f", "1-%2F-2"] {
        let answer = ask(&world.api_url(), "POST", &format!("/api/sync/conflicts/{id}/restore")).await;
        answer.assert_problem(404, "FIND_001");
    }
}

#[tokio::test]
async fn the_log_lists_the_newest_first_page_by_page() {
    let world = World::start().await;
    let (id, _) = world.task("Logged").await;
    for priority in ["urgent", "low", "medium"] {
        world.ok("update_task", json!({"task_id": id, "priority": priority})).await;
    }
    let mut path = format!("/api/sync/log?task_id={id}&limit=3");
    let mut names = Vec::new();
    loop {
        let page = ask(&world.api_url(), "GET", &path).await;
        assert_eq!(page.status, 200, "{page:#?}");
        names.extend(page.body["events"].as_array().unwrap().iter().map(|event| event["event"].clone()));
        let Some(cursor) = page.body["cursor"].as_str() else { break };
        path = format!("/api/sync/log?task_id={id}&limit=3&cursor={cursor}");
    }
    let expected = ["synced", "updated", "synced", "updated", "synced", "updated", "synced", "created"];
    assert_eq!(names, expected);
    let created = ask(&world.api_url(), "GET", &format!("/api/sync/log?task_id={id}&event=created")).await;
    assert_eq!(created.body["events"].as_array().unwrap().len(), 1, "{created:#?}");
    let wrong = ask(&world.api_url(), "GET", "/api/sync/log?event=moved").await;
    wrong.assert_problem(400, "VAL_001").assert_says("one of: created");
}

#[tokio::test]
async fn a_plan_that_is_held_back_says_so_and_is_followed_once_confirmed() {
    let world = World::start().await;
    world.ok("get_plan", json!({"plan_id": PLAN})).await;
    let health = ask(&world.api_url(), "GET", "/api/sync/health").await;
    assert_eq!(health.body["status"], "up_to_date", "{health:#?}");
    let plan = health.body["plans"][0]["plan_id"].as_str().unwrap().to_owned();
    let ids: Vec<Value> = world.planner_tasks().await.into_iter().map(|task| task["id"].clone()).collect();
    for id in ids.iter().take(60) {
        world.colleague(json!({"delete": id})).await;
    }
    assert!(nudge(&world).await["held_back"].as_u64().unwrap() >= 60);
    let health = ask(&world.api_url(), "GET", "/api/sync/health").await;
    let stopped = &health.body["plans"][0];
    assert_eq!((&health.body["status"], &stopped["tasks"]), (&json!("stopped"), &json!(200)), "{health:#?}");
    assert!(stopped["what_to_do"].as_str().unwrap().contains("/confirm"), "{stopped}");
    let confirmed = ask(&world.api_url(), "POST", &format!("/api/sync/plans/{plan}/confirm")).await;
    assert_eq!((confirmed.status, &confirmed.body["removed"]), (200, &json!(60)), "{confirmed:#?}");
    let health = ask(&world.api_url(), "GET", "/api/sync/health").await;
    assert_eq!((&health.body["status"], &health.body["plans"][0]["tasks"]), (&json!("up_to_date"), &json!(140)));
}

#[tokio::test]
async fn what_went_wrong_at_the_last_look_is_told_until_one_goes_well() {
    let world = World::start().await;
    world.ok("get_plan", json!({"plan_id": PLAN})).await;
    world.faults(json!([{"path_contains": "/tasks", "times": 1, "kind": "status", "status": 403}])).await;
    assert!(nudge(&world).await["error"].is_string());
    let health = ask(&world.api_url(), "GET", "/api/sync/health").await;
    assert!(health.body["plans"][0]["last_error"].is_string(), "{health:#?}");
    world.heal().await;
    assert!(nudge(&world).await["error"].is_null());
    let health = ask(&world.api_url(), "GET", "/api/sync/health").await;
    assert!(health.body["plans"][0]["last_error"].is_null(), "{health:#?}");
}

#[tokio::test]
async fn the_board_is_one_page_that_asks_this_server_alone() {
    let world = World::start().await;
    let page = ask(&world.api_url(), "GET", "/api/sync/board").await;
    assert_eq!((page.status, page.header("content-type")), (200, "text/html; charset=utf-8"));
    let policy = page.header("content-security-policy");
    assert!(policy.starts_with("default-src 'none'") && policy.contains("connect-src 'self'"), "{policy}");
    assert!(!page.text.contains("http://") && !page.text.contains("https://"), "no outside resources");
}

#[tokio::test]
async fn a_nudge_names_one_thing() {
    let world = World::start().await;
    let base = world.api_url();
    tell(&base, "POST", "/api/planner/refresh", json!({})).await.assert_problem(400, "VAL_001");
    let old = tell(&base, "POST", "/api/planner/nudge", json!({"plan": PLAN})).await;
    assert_eq!((old.status, old.header("link")), (200, "</api/planner/refresh>; rel=\"successor-version\""));
    assert!(old.header("deprecation").starts_with('@'));
    tell(&base, "POST", "/api/planner/refresh", json!({"plan": PLAN, "task": "x"}))
        .await
        .assert_problem(400, "VAL_001");
    tell(&base, "POST", "/api/planner/refresh", json!({"plan": "Nowhere"})).await.assert_problem(404, "PLAN_001");
    tell(&base, "POST", "/api/planner/refresh", json!({"group": "Nobody"})).await.assert_problem(404, "TEAM_002");
}
