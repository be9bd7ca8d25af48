//! Callers that go away before they are answered.

use std::time::Duration;

use serde_json::json;

use crate::support::{PLAN, World};

/// Tasks of a call.
const TASKS: usize = 40;

#[tokio::test]
async fn write_completes_after_the_client_disconnects_over_stream_and_json() {
    let world = World::start().await;
    for (title, meta) in [("Left as JSON", json!({})), ("Left as a stream", json!({"progressToken": "p"}))] {
        // Long enough to be left in the midst of it.
        world
            .faults(json!([{"method": "POST", "path_contains": "planner/tasks", "every_nth": 10, "times": 3,
            "kind": "status", "status": 429, "retry_after": 1}]))
            .await;
        let tasks: Vec<_> = (0..TASKS).map(|_| json!({ "title": title })).collect();
        let call = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {
            "name": "bulk_create_tasks", "arguments": {"plan_id": PLAN, "tasks": tasks}, "_meta": meta}});
        let client = reqwest::Client::builder().timeout(Duration::from_millis(300)).build().unwrap();
        let request = client
            .post(world.api_url().join("mcp").unwrap())
            .json(&call)
            .header("accept", "application/json, text/event-stream");
        let answer = async { request.send().await?.bytes().await };
        assert!(answer.await.is_err_and(|error| error.is_timeout()), "the caller leaves before the end");
        world.heal().await;
        world.until("all are made", async || world.tasks_called(title).await.len() == TASKS).await;
    }
}
