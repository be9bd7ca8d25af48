//! Callers whose right has ended: what they opened ends within half a minute.

use chrono::TimeDelta;
use graphgate::app;
use graphgate::auth::{Caller, Role};
use graphgate::clock::Clock;
use graphgate::ids::Entropy;
use serde_json::json;
use std::time::Duration;

use super::callers::Gate;
use crate::support::{Leaping, PLAN, World};

/// Half a minute, and a moment.
const HALF_A_MINUTE: TimeDelta = TimeDelta::seconds(31);

/// Opens a stream of events, or one of changed resources.
async fn open(gate: &Gate, bearer: &str, resources: bool) -> reqwest::Response {
    let (http, base) = (reqwest::Client::new(), gate.world.api_url());
    let request = if resources {
        let version = "2026-07-28";
        let meta = json!({
            "io.modelcontextprotocol/protocolVersion": version,
            "io.modelcontextprotocol/clientCapabilities": {},
        });
        let params = json!({"_meta": meta, "notifications": {"resourceSubscriptions": ["planner://plans"]}});
        let message = json!({"jsonrpc": "2.0", "id": 7, "method": "subscriptions/listen", "params": params});
        http.post(base.join("mcp").unwrap())
            .header("accept", "application/json, text/event-stream")
            .header("mcp-protocol-version", version)
            .header("mcp-method", "subscriptions/listen")
            .json(&message)
    } else {
        http.get(base.join("api/events").unwrap())
    };
    request.bearer_auth(bearer).send().await.unwrap()
}

/// Reads a stream to its end, which must come soon.
async fn rest(mut stream: reqwest::Response) -> String {
    let mut text = String::new();
    let read = async {
        while let Ok(Some(chunk)) = stream.chunk().await {
            text.push_str(&String::from_utf8_lossy(&chunk));
        }
    };
    tokio::time::timeout(Duration::from_secs(20), read).await.expect("the stream ends");
    text
}

#[tokio::test]
async fn report_download_address_is_refused_after_its_key_is_revoked() {
    let time = Leaping::default();
    let gate = Gate::on(World::leaping(&time).await, |_| ()).await;
    let (key, id) = gate.key(Role::default(), 1).await;
    let made = gate.call(&key, "generate_report", json!({"plans": [PLAN], "formats": ["csv"]})).await;
    let address = &made["result"]["structuredContent"]["downloads"]["csv"];
    let address = address.as_str().unwrap_or_else(|| panic!("{made}"));
    let opened = reqwest::get(address).await.unwrap();
    assert_eq!(opened.status(), 200);
    assert!(opened.text().await.unwrap().contains("Task Name"));
    let keys = app::api_keys(&gate.config, &Clock::system(), &Entropy::system()).await.unwrap();
    keys.revoke(&Caller::local(), &id).await.unwrap().unwrap();
    time.leap(HALF_A_MINUTE);
    let refused = reqwest::get(address).await.unwrap();
    assert_eq!(refused.status(), 401);
    let text = refused.text().await.unwrap();
    assert!(text.contains("AUTH_001") && text.contains("the person who had the report made"), "{text}");
}

#[tokio::test]
async fn revoked_key_and_expired_token_end_open_streams_within_30_seconds() {
    let time = Leaping::default();
    let gate = Gate::on(World::leaping(&time).await, |_| ()).await;
    let (key, id) = gate.key(Role::default(), 1).await;
    let (other, _) = gate.key(Role::default(), 1).await;
    let soon = chrono::Utc::now().timestamp() + 60;
    let token = gate.token(json!({"roles": ["Planner.Read"], "exp": soon - 90})).await;
    let streams = [open(&gate, &key, false).await, open(&gate, &key, true).await, open(&gate, &token, false).await];
    for stream in &streams {
        assert_eq!(stream.status(), 200);
    }
    let mut kept = open(&gate, &other, false).await;
    let keys = app::api_keys(&gate.config, &Clock::system(), &Entropy::system()).await.unwrap();
    keys.revoke(&Caller::local(), &id).await.unwrap().unwrap();
    time.leap(HALF_A_MINUTE);
    for stream in streams {
        let text = rest(stream).await;
        assert!(!text.contains("After the end"), "{text}");
    }
    gate.ask("GET", "/api/agent/tasks", &key).await.assert_problem(401, "AUTH_001");
    gate.call(&other, "create_task", json!({"plan_id": PLAN, "title": "After the end"})).await;
    let mut text = String::new();
    while !text.contains("After the end") {
        let chunk = tokio::time::timeout(Duration::from_secs(20), kept.chunk()).await.expect("it goes on").unwrap();
        text.push_str(&String::from_utf8_lossy(&chunk.expect("another's stream goes on")));
    }
}

#[tokio::test]
async fn stream_limit_is_per_caller() {
    let gate = Gate::open(|_| ()).await;
    let (key, _) = gate.key(Role::default(), 1).await;
    let (other, _) = gate.key(Role::default(), 1).await;
    let mut streams = Vec::new();
    for _ in 0..32 {
        streams.push(open(&gate, &key, false).await);
        assert_eq!(streams.last().unwrap().status(), 200);
    }
    let refused = open(&gate, &key, false).await;
    assert_eq!((refused.status().as_u16(), refused.headers()["retry-after"].to_str().unwrap()), (429, "10"));
    let listening = rest(open(&gate, &key, true).await).await;
    assert!(listening.contains("\"error\"") && listening.contains("streams open"), "{listening}");
    assert_eq!(open(&gate, &other, false).await.status(), 200);
    drop(streams);
    let again = async || open(&gate, &key, false).await.status() == 200;
    gate.world.until("room comes back when a stream is closed", again).await;
}

#[tokio::test]
async fn subscription_ends_when_its_creators_key_is_revoked() {
    let time = Leaping::default();
    let gate = Gate::on(World::leaping(&time).await, |_| ()).await;
    let (key, id) = gate.key(Role::default(), 1).await;
    let made = gate.call(&key, "create_subscription", json!({"kind": "groups"})).await;
    assert_eq!(made["result"]["structuredContent"]["subscription"]["state"], "active", "{made}");
    let subscriptions = gate.world.subscriptions.as_ref().unwrap();
    assert_eq!(subscriptions.renew().await.unwrap().deleted, 0, "its maker is there");
    let keys = app::api_keys(&gate.config, &Clock::system(), &Entropy::system()).await.unwrap();
    keys.revoke(&Caller::local(), &id).await.unwrap().unwrap();
    time.leap(HALF_A_MINUTE);
    assert_eq!(subscriptions.renew().await.unwrap().deleted, 1, "and Graph has it no longer");
}
