//! The simulated tenant by itself, met as Microsoft 365 is met: over HTTP.

use std::net::Ipv4Addr;
use std::process::Command;
use std::time::Duration;

use axum::extract::{Query, State};
use graphgate_sim::{self as sim, Scenario};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::sync::mpsc;

use crate::support::process::{Folder, GRAPHGATE, Process};

/// A tenant and somebody who calls it as its seeded application.
struct Tenant {
    running: sim::Running,
    http: reqwest::Client,
    token: String,
}

impl Tenant {
    async fn start() -> Self {
        let config = sim::Config {
            scenario: Scenario::Demo,
            request_log: crate::support::request_log(),
            ..sim::Config::default()
        };
        let running = sim::start(config).await.unwrap();
        let http = reqwest::Client::new();
        let token = crate::support::token(&running, &running.client_id, &running.client_secret).await;
        Self { running, http, token }
    }

    /// A Graph call; answers its status and body.
    async fn graph(&self, method: &str, path: &str, if_match: Option<&str>, body: Value) -> (u16, Value) {
        let url = format!("{}/{path}", self.running.graph_url);
        let mut request = self.http.request(method.parse().unwrap(), url).bearer_auth(&self.token);
        if let Some(etag) = if_match {
            request = request.header("if-match", etag).header("prefer", "return=representation");
        }
        if !body.is_null() {
            request = request.json(&body);
        }
        let answer = request.send().await.unwrap();
        (answer.status().as_u16(), answer.json().await.unwrap_or_default())
    }

    async fn control(&self, method: &str, path: &str, body: Value) -> Value {
        let url = format!("{}/{path}", self.running.control_url);
        let answer = self.http.request(method.parse().unwrap(), url).json(&body).send().await.unwrap();
        let status = answer.status();
        let text = answer.text().await.unwrap();
        assert!(status.is_success(), "{path}: {text}");
        serde_json::from_str(&text).unwrap()
    }

    /// Subscribes to a group's changes until `minutes` from the tenant's present; answers group and subscription.
    async fn subscribe(&self, receiver: &Receiver, minutes: i64) -> (String, Value) {
        let (_, groups) = self.graph("GET", "groups?$top=1&$select=id", None, Value::Null).await;
        let group = groups["value"][0]["id"].as_str().unwrap().to_owned();
        let now = self.control("GET", "clock", Value::Null).await["now"].as_str().unwrap().to_owned();
        let now = chrono::DateTime::parse_from_rfc3339(&now).unwrap();
        let body = json!({
            "changeType": "updated", "notificationUrl": receiver.url, "lifecycleNotificationUrl": receiver.url,
            "resource": format!("groups/{group}"), "clientState": "only the subscriber knows",
            "expirationDateTime": (now + chrono::TimeDelta::minutes(minutes)).to_rfc3339(),
        });
        let (status, made) = self.graph("POST", "subscriptions", None, body).await;
        assert_eq!(status, 201, "{made}");
        (group, made)
    }
}

/// A receiver of notifications that answers every handshake and passes on every body.
struct Receiver {
    url: String,
    bodies: mpsc::UnboundedReceiver<Value>,
    _server: tokio::task::JoinSet<()>,
}

#[derive(Deserialize)]
struct Handshake {
    #[serde(rename = "validationToken")]
    token: Option<String>,
}

impl Receiver {
    async fn start() -> Self {
        let (sender, bodies) = mpsc::unbounded_channel();
        let receive = |State(sender): State<mpsc::UnboundedSender<Value>>,
                       Query(handshake): Query<Handshake>,
                       body: String| async move {
            if let Some(token) = handshake.token {
                return (http::StatusCode::OK, token);
            }
            sender.send(serde_json::from_str(&body).unwrap()).unwrap();
            (http::StatusCode::ACCEPTED, String::new())
        };
        let router = axum::Router::new().route("/", axum::routing::post(receive)).with_state(sender);
        let listener = tokio::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let url = format!("http://{}/", listener.local_addr().unwrap());
        let mut server = tokio::task::JoinSet::new();
        server.spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self { url, bodies, _server: server }
    }

    async fn next(&mut self) -> Value {
        tokio::time::timeout(Duration::from_secs(10), self.bodies.recv()).await.expect("a notification").unwrap()
    }
}

#[tokio::test]
async fn simulator_batches_notifications_with_unusual_shapes_in_one_post() {
    let tenant = Tenant::start().await;
    let mut receiver = Receiver::start().await;
    let (group, made) = tenant.subscribe(&receiver, 60).await;
    let odd =
        ["no_client_state", "null_client_state", "no_subscription", "numeric_id", "unknown_members", "not_an_object"];
    tenant.control("PUT", "notifications", json!({"paused": true, "batch": 2, "odd": odd})).await;
    for _ in 0..3 {
        tenant.control("POST", "notifications", json!({"resource": format!("groups/{group}"), "id": group})).await;
    }
    tenant.control("PUT", "notifications", json!({"batch": 2, "odd": odd})).await;
    let mut sizes = Vec::new();
    for _ in 0..2 {
        let body = receiver.next().await;
        let items = body["value"].as_array().unwrap();
        let (odd, usual) = items.split_at(odd.len());
        assert!(odd[0].get("clientState").is_none() && odd[0]["subscriptionId"] == made["id"], "{odd:?}");
        assert!(odd[1].get("clientState") == Some(&Value::Null), "{odd:?}");
        assert!(odd[2].get("subscriptionId").is_none(), "{odd:?}");
        assert_eq!(odd[3]["resourceData"]["id"], 5);
        assert!(odd[4].get("sequence").is_some() && odd[4]["resourceData"]["@odata.unknown"].is_array(), "{odd:?}");
        assert!(odd[5].is_string(), "{odd:?}");
        for item in usual {
            assert_eq!((&item["subscriptionId"], &item["clientState"]), (&made["id"], &made["clientState"]));
        }
        sizes.push(usual.len());
    }
    assert_eq!(sizes, [2, 1]);
}

#[tokio::test]
async fn simulator_omits_client_state_when_a_subscription_is_read() {
    let tenant = Tenant::start().await;
    let receiver = Receiver::start().await;
    let (_, made) = tenant.subscribe(&receiver, 60).await;
    assert_eq!(made["clientState"], "only the subscriber knows");
    let id = made["id"].as_str().unwrap();
    let (_, one) = tenant.graph("GET", &format!("subscriptions/{id}"), None, Value::Null).await;
    let (_, all) = tenant.graph("GET", "subscriptions", None, Value::Null).await;
    assert_eq!(one["id"], id);
    assert_eq!(one.get("clientState"), Some(&Value::Null), "{one}");
    assert_eq!(all["value"][0].get("clientState"), Some(&Value::Null), "{all}");
}

#[tokio::test]
async fn simulator_sends_reauthorization_required_once_at_an_eighth_of_the_lifetime() {
    let tenant = Tenant::start().await;
    let mut receiver = Receiver::start().await;
    let (group, made) = tenant.subscribe(&receiver, 80).await;
    let asked = async |receiver: &mut Receiver| {
        tenant.control("POST", "notifications", json!({"resource": format!("groups/{group}"), "id": group})).await;
        let body = receiver.next().await;
        body["value"][0].get("lifecycleEvent").and_then(Value::as_str).map(str::to_owned)
    };
    assert_eq!(asked(&mut receiver).await, None, "the life is whole");
    tenant.control("PUT", "clock", json!({"advance_seconds": 71 * 60})).await;
    let body = receiver.next().await;
    assert_eq!(body["value"][0]["lifecycleEvent"], "reauthorizationRequired", "{body}");
    assert_eq!(body["value"][0]["subscriptionId"], made["id"]);
    tenant.control("PUT", "clock", json!({"advance_seconds": 60})).await;
    assert_eq!(asked(&mut receiver).await, None, "it was asked for once");
}

#[tokio::test]
async fn completing_a_recurring_task_creates_the_next_occurrence() {
    let tenant = Tenant::start().await;
    let (_, groups) = tenant.graph("GET", "groups?$select=id", None, Value::Null).await;
    let mut plan = String::new();
    for group in groups["value"].as_array().unwrap() {
        let path = format!("groups/{}/planner/plans", group["id"].as_str().unwrap());
        let (_, plans) = tenant.graph("GET", &path, None, Value::Null).await;
        if let Some(id) = plans["value"][0]["id"].as_str() {
            id.clone_into(&mut plan);
            break;
        }
    }
    let body = json!({"planId": plan, "title": "Water the plants", "dueDateTime": "2026-12-01T10:00:00Z"});
    let (status, made) = tenant.graph("POST", "planner/tasks", None, body).await;
    assert_eq!(status, 201, "{made}");
    let id = made["id"].as_str().unwrap().to_owned();
    let items = json!({"checklist": {"0f8f0a3e-7b0e-4a0e-8c0b-1d2e3f4a5b6c": {
        "@odata.type": "microsoft.graph.plannerChecklistItem", "title": "Balcony", "isChecked": true}}});
    tenant.control("POST", "colleague/edit", json!({"task_id": id, "repeat_days": 7, "details": items})).await;
    let tasks = async || {
        let (_, list) = tenant.graph("GET", &format!("planner/plans/{plan}/tasks"), None, Value::Null).await;
        let all = list["value"].as_array().unwrap().clone();
        all.into_iter().filter(|task| task["title"] == "Water the plants").collect::<Vec<_>>()
    };
    for (round, due) in ["2026-12-08T10:00:00Z", "2026-12-15T10:00:00Z"].into_iter().enumerate() {
        let open: Vec<Value> = tasks().await.into_iter().filter(|task| task["percentComplete"] == 0).collect();
        assert_eq!(open.len(), 1, "{open:?}");
        let (id, etag) = (open[0]["id"].as_str().unwrap(), open[0]["@odata.etag"].as_str());
        let path = format!("planner/tasks/{id}");
        let (status, _) = tenant.graph("PATCH", &path, etag, json!({"percentComplete": 100})).await;
        assert_eq!(status, 200);
        let all = tasks().await;
        assert_eq!(all.len(), round + 2, "{all:?}");
        let next = all.iter().find(|task| task["percentComplete"] == 0).expect("the next one");
        assert_eq!((&next["dueDateTime"], &next["completedDateTime"]), (&json!(due), &Value::Null));
        assert_eq!((&next["checklistItemCount"], &next["activeChecklistItemCount"]), (&json!(1), &json!(1)));
        let path = format!("planner/tasks/{}/details", next["id"].as_str().unwrap());
        let (_, details) = tenant.graph("GET", &path, None, Value::Null).await;
        let item = details["checklist"].as_object().unwrap().values().next().unwrap();
        assert_eq!((&item["title"], &item["isChecked"]), (&json!("Balcony"), &json!(false)));
    }
}

/// The whole program continues with a tenant that was reset under it: what it had made is gone, nothing is stopped, and
/// what people and agents do next arrives.
#[tokio::test]
async fn server_recovers_after_a_reset_of_the_simulated_tenant() {
    const PLAN: &str = "Website relaunch";
    let folder = Folder::new();
    let mut command = Command::new(GRAPHGATE);
    command.args(["dev", "--port", "0", "--sim-port", "0"]).env("REFRESH_SECONDS", "1");
    let program = Process::start(command, &folder.0.join("dev.json")).await;
    let http = reqwest::Client::new();
    let control = async |path: &str, body: Value| {
        let url = format!("{}/{path}", program.text("control_url"));
        let answer = http.post(url).json(&body).send().await.unwrap();
        assert!(answer.status().is_success(), "{path}");
        answer.json::<Value>().await.unwrap()
    };
    let call = async |tool: &str, arguments: Value| {
        let params = json!({"name": tool, "arguments": arguments});
        let body = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params});
        let request = http.post(program.text("mcp_url")).header("accept", "application/json, text/event-stream");
        let answer: Value = request.json(&body).send().await.unwrap().json().await.unwrap();
        assert_eq!(answer["result"]["isError"], false, "{tool}: {answer}");
        answer["result"]["structuredContent"].clone()
    };
    let total = async |arguments: Value| call("query_tasks", arguments).await["total"].as_u64().unwrap();
    let seeded = total(json!({"plan_id": PLAN, "fresh": true})).await;
    let completed = json!({"plan_id": PLAN, "status": "completed"});
    let before = total(completed.clone()).await;
    let open = json!({"plan_id": PLAN, "status": "open", "fields": ["id"], "limit": 100});
    let open = call("query_tasks", open).await["rows"].as_array().unwrap().clone();
    let updates: Vec<Value> = open.iter().map(|row| json!({"task_id": row[0], "status": "completed"})).collect();
    assert!(updates.len() > 60, "so many that a person who did it would be asked");
    call("bulk_update_tasks", json!({"updates": updates})).await;
    assert_eq!(total(completed.clone()).await, before + updates.len() as u64);
    control("reset", json!({})).await;
    let mut patience = 200;
    while total(completed.clone()).await != before {
        patience -= 1;
        assert!(patience > 0, "the tasks completed before the reset are still shown so");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let status = call("sync_status", json!({})).await;
    assert_ne!(status["status"], "stopped", "{status}");
    let made = call("create_task", json!({"plan_id": PLAN, "title": "Made after"})).await;
    assert_eq!(made["sync"], "synced", "{made}");
    assert_eq!(total(json!({"plan_id": PLAN, "fresh": true})).await, seeded + 1);
}
