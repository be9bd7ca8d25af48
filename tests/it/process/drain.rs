//! How a terminated server leaves: first it says so, then it closes.

use std::process::Command;
use std::time::Duration;

use serde_json::{Value, json};

use super::Deployment;
use crate::support::PLAN;

#[cfg(unix)]
#[tokio::test]
async fn sigterm_reports_unhealthy_drains_requests_and_closes() {
    let mut deployment = Deployment::start().await;
    let mut command = Command::new(env!("CARGO_BIN_EXE_graphgate"));
    command.env("DRAIN_SECONDS", "2");
    deployment.serve(command).await;
    let server = deployment.server(0);
    let base = server.text("api_url").to_owned();
    let get = async |path: &str| deployment.http.get(format!("{base}{path}")).send().await;
    assert_eq!(get("health/ready").await.unwrap().status(), 200);
    let id = server.id().to_string();
    assert!(Command::new("kill").args(["-TERM", &id]).status().unwrap().success());
    let mut red = false;
    for _ in 0..100 {
        let Ok(answer) = get("health/ready").await else { break };
        red = answer.status() == 503;
        if red {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert!(red, "readiness is red while the listener is open");
    let made = deployment.call("create_task", json!({"plan_id": PLAN, "title": "In the last minute"})).await.unwrap();
    assert_eq!(made["sync"], Value::from("synced"), "what still comes in is served: {made}");
    for _ in 0..1000 {
        if get("").await.is_err() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("it never closes");
}
