//! What Graph tells one of three processes, all three keep to.

use std::process::Command;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use serde_json::{Value, json};

use super::Deployment;
use crate::support::PLAN;
use crate::support::process::{Folder, GRAPHGATE};

/// What Graph asks for.
const WAIT: TimeDelta = TimeDelta::seconds(5);
/// How often each process is asked: rarely enough that the tenant, which remembers 500 requests, still knows the refusal
/// at the end, however fast the machine is.
const PACE: Duration = Duration::from_millis(250);
/// How long another process may still call: a second and one write to the store, as docs/figures.md says, on a busy machine.
const TOLERANCE: TimeDelta = TimeDelta::milliseconds(1_500);

#[tokio::test]
async fn retry_after_of_one_process_holds_for_all_three() {
    // No log of the requests: for a second, as docs/figures.md says, another may call.
    let mut deployment = Deployment::tenant_with(Folder::new(), None).await;
    let fresh = json!({"plan_id": PLAN, "fresh": true, "limit": 1});
    for server in 0..3 {
        assert!(deployment.serve_as(server, Command::new(GRAPHGATE), |_| ()).await);
        deployment.call_of(server, "query_tasks", fresh.clone()).await.unwrap().unwrap();
    }
    let refusal = json!({"method": "GET", "path_contains": "/planner/", "times": 1, "kind": "status", "status": 429,
        "retry_after": WAIT.num_seconds()});
    deployment.control("POST", "requests/clear", Value::Null).await;
    deployment.control("POST", "faults", refusal).await;
    let until = Utc::now() + WAIT + TimeDelta::seconds(6);
    let asks = async |server| {
        let mut answered = 0;
        while Utc::now() < until {
            deployment.call_of(server, "query_tasks", fresh.clone()).await.unwrap().unwrap();
            answered += 1;
            tokio::time::sleep(PACE).await;
        }
        answered
    };
    let answered = futures::future::join_all((0..3).map(asks)).await;
    assert!(answered.iter().all(|answered| *answered > 5), "all went on afterwards: {answered:?}");

    let requests = deployment.control("GET", "requests?last=500", Value::Null).await;
    let calls: Vec<(DateTime<Utc>, u64)> = requests["requests"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|request| request["path"].as_str().unwrap().contains("/planner/"))
        .map(|request| (request["time"].as_str().unwrap().parse().unwrap(), request["status"].as_u64().unwrap()))
        .collect();
    let told = calls.iter().find(|(_, status)| *status == 429).expect("one was refused").0;
    let early: Vec<_> =
        calls.iter().map(|(at, _)| *at - told).filter(|after| *after > TOLERANCE && *after < WAIT).collect();
    assert!(early.is_empty(), "calls came after {early:?}");
    assert!(calls.iter().filter(|(at, _)| *at - told >= WAIT).count() > 15, "they went on afterwards");
}
