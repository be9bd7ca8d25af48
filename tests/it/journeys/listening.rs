//! Clients that listen to resources, with nothing but HTTP.

use std::time::Duration;

use serde_json::{Value, json};

use crate::support::{PLAN, World};

const MODERN: &str = "2026-07-28";

/// A `subscriptions/listen` that is open.
struct Stream {
    answer: reqwest::Response,
    text: String,
}

impl Stream {
    async fn open(world: &World, uris: &[&str]) -> Self {
        let meta = json!({
            "io.modelcontextprotocol/protocolVersion": MODERN,
            "io.modelcontextprotocol/clientCapabilities": {},
        });
        let params = json!({"_meta": meta, "notifications": {"resourceSubscriptions": uris, "toolsListChanged": true}});
        let answer = reqwest::Client::new()
            .post(world.api_url().join("mcp").unwrap())
            .header("accept", "application/json, text/event-stream")
            .header("mcp-protocol-version", MODERN)
            .header("mcp-method", "subscriptions/listen")
            .json(&json!({"jsonrpc": "2.0", "id": 7, "method": "subscriptions/listen", "params": params}))
            .send()
            .await
            .unwrap();
        assert_eq!(
            (answer.status().as_u16(), &answer.headers()["content-type"]),
            (200, &"text/event-stream".parse().unwrap())
        );
        Self { answer, text: String::new() }
    }

    /// The next message; `None` at the end of the stream.
    async fn message(&mut self) -> Option<Value> {
        loop {
            while let Some((block, rest)) = self.text.split_once("\n\n") {
                let data = block.lines().find_map(|line| line.strip_prefix("data: ").filter(|data| !data.is_empty()));
                let message = data.map(|data| serde_json::from_str(data).unwrap_or_else(|_| panic!("no JSON: {data}")));
                let rest = rest.to_owned();
                self.text = rest;
                if message.is_some() {
                    return message;
                }
            }
            let chunk = tokio::time::timeout(Duration::from_secs(20), self.answer.chunk()).await;
            self.text.push_str(std::str::from_utf8(&chunk.expect("the stream says something").unwrap()?).unwrap());
        }
    }

    /// The next resource that has changed.
    async fn updated(&mut self) -> String {
        let message = self.message().await.expect("the stream goes on");
        assert_eq!(message["method"], "notifications/resources/updated", "{message}");
        assert_eq!(message["params"]["_meta"]["io.modelcontextprotocol/subscriptionId"], 7, "{message}");
        message["params"]["uri"].as_str().unwrap().to_owned()
    }

    async fn next(&mut self, count: usize) -> Vec<String> {
        let mut uris = Vec::new();
        for _ in 0..count {
            uris.push(self.updated().await);
        }
        uris
    }
}

#[tokio::test]
async fn resource_update_names_the_subscribed_resources_of_a_change() {
    let world = World::start().await;
    let (id, planner_id) = world.task("Listened to").await;
    let (other, _) = world.task("Another").await;
    let plan = world.ok("get_plan", json!({"plan_id": PLAN})).await["id"].as_str().unwrap().to_owned();
    let [summary, tasks, buckets] = ["", "/tasks", "/buckets"].map(|part| format!("planner://plans/{plan}{part}"));
    let task = format!("planner://plans/Website%20relaunch/tasks/{id}");
    let wished = [&summary, &tasks, &buckets, &task, "planner://reports/none", "planner://plans/Office%20move/tasks"];
    let mut stream = Stream::open(&world, &wished).await;
    let acknowledged = stream.message().await.unwrap();
    assert_eq!(acknowledged["method"], "notifications/subscriptions/acknowledged", "{acknowledged}");
    let granted = json!({"resourceSubscriptions": [summary, tasks, buckets, task, wished[5]]});
    assert_eq!(acknowledged["params"]["notifications"], granted, "reports never change");
    let mut first = stream.next(5).await;
    first.sort();
    assert_eq!(first.len(), 5, "each once, for what happened meanwhile: {first:?}");

    world.ok("update_task", json!({"task_id": other, "description": "only in the list"})).await;
    assert_eq!(stream.updated().await, tasks);
    world.colleague(json!({"task_id": planner_id, "set": {"percentComplete": 100}})).await;
    world.ok("get_task", json!({"task_id": id, "fresh": true})).await;
    let mut told: Vec<String> = Vec::new();
    while ![&summary, &tasks, &buckets, &task].iter().all(|uri| told.contains(uri)) {
        told.push(stream.updated().await);
    }
    assert!(!told.contains(&wished[5].to_owned()), "the other plan rests: {told:?}");
}

#[tokio::test]
async fn two_hundred_changes_are_coalesced_into_few_resource_updates() {
    let world = World::start().await;
    world.ok("get_plan", json!({"plan_id": PLAN})).await;
    let mut stream = Stream::open(&world, &["planner://plans/Website%20relaunch/tasks"]).await;
    stream.message().await.unwrap();
    stream.updated().await;
    let tasks: Vec<Value> = (0..200).map(|number| json!({"title": format!("Many {number}")})).collect();
    let made = world.ok("bulk_create_tasks", json!({"plan_id": PLAN, "tasks": tasks})).await;
    assert_eq!(made["synced"], 200);
    let mut told = 0;
    while tokio::time::timeout(Duration::from_millis(1500), stream.message()).await.is_ok() {
        told += 1;
    }
    assert!((1..=100).contains(&told), "{told} notifications");
}

#[tokio::test]
async fn resource_subscriptions_are_offered_to_modern_clients_only() {
    let world = World::start().await;
    let hello =
        json!({"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "t", "version": "1"}});
    let legacy = world.rpc("initialize", hello, &[]).await;
    assert_eq!(legacy["result"]["capabilities"]["resources"], json!({}), "{legacy}");
    let refused = world.rpc("resources/subscribe", json!({"uri": "planner://plans"}), &[]).await;
    assert_eq!(refused["error"]["code"], -32601, "{refused}");
    let meta =
        json!({"io.modelcontextprotocol/protocolVersion": MODERN, "io.modelcontextprotocol/clientCapabilities": {}});
    let headers = [("mcp-protocol-version", MODERN), ("mcp-method", "server/discover")];
    let modern = world.rpc("server/discover", json!({"_meta": meta}), &headers).await;
    assert_eq!(modern["result"]["capabilities"]["resources"], json!({"subscribe": true}), "{modern}");
}

#[tokio::test]
async fn listen_stream_closes_cleanly_when_the_server_stops() {
    let mut world = World::start().await;
    let mut stream = Stream::open(&world, &["planner://plans"]).await;
    stream.message().await.unwrap();
    assert_eq!(stream.updated().await, "planner://plans");
    let stopped = std::time::Instant::now();
    let (ended, ()) = tokio::join!(stream.message(), world.stop());
    let ended = ended.expect("a last word");
    assert_eq!((&ended["id"], &ended["result"]["resultType"]), (&json!(7), &json!("complete")), "{ended}");
    assert!(stopped.elapsed() < Duration::from_secs(5), "nobody waits for listeners");
}
