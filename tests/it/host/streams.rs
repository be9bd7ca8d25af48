//! What listeners cost where the store is far away.

use std::time::Duration;

use serde_json::json;

use super::Deployment;
use crate::support::PLAN;
use crate::support::functions_host::KEY;

/// For how long is counted.
const SPAN: Duration = Duration::from_secs(20);

/// Calls of storage in the lines of the process that answers people, and the bytes of those lines.
fn calls(lines: &[(&'static str, String)]) -> (usize, usize) {
    let calls = lines.iter().filter(|(_, line)| line.contains("upstream call") && line.contains("127.0.0.1"));
    calls.fold((0, 0), |(count, bytes), (_, line)| (count + 1, bytes + line.len() + 1))
}

#[tokio::test]
#[ignore = "needs AZURITE"]
async fn event_listeners_cost_one_storage_read_a_second_together() {
    let settings = [("LOG_LEVEL", "info,graphgate::http_client=debug"), ("REFRESH_SECONDS", "0")];
    let deployment = Deployment::with(&settings).await;
    let plans = deployment.ok("list_plans", json!({})).await["plans"].as_array().unwrap().clone();
    for plan in &plans {
        deployment.ok("get_plan", json!({"plan_id": plan["id"]})).await;
    }
    assert!(plans.len() >= 8);
    let url = deployment.host.url.join(&format!("api/events?code={KEY}")).unwrap();
    let mut listeners = Vec::new();
    for _ in 0..5 {
        let mut listener = deployment.http.get(url.clone()).send().await.unwrap();
        assert!(listener.chunk().await.unwrap().unwrap().starts_with(b"event: hello"));
        listeners.push(listener);
    }
    tokio::time::sleep(Duration::from_secs(2)).await; // what their beginning costs is not meant
    let before = deployment.host.output_of("http").len();
    tokio::time::sleep(SPAN).await;
    let lines = deployment.host.output_of("http").split_off(before);
    let (reads, bytes) = calls(&lines);
    let minute = |count: usize| count * 60 / usize::try_from(SPAN.as_secs()).unwrap();
    println!(
        "5 streams, {} plans: {} reads a minute together; at the level debug {} bytes of log a minute, at info none",
        plans.len(),
        minute(reads),
        minute(bytes)
    );
    // One a second, a plan every ten, the list of plans every ten.
    assert!((15..=28).contains(&reads), "{reads} in {SPAN:?}: {lines:#?}");
    // What another instance does is heard all the same.
    let elsewhere = deployment.scaled_out().await;
    let body = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {
        "name": "create_task", "arguments": {"plan_id": PLAN, "title": "Made elsewhere"}}});
    let request = deployment.http.post(elsewhere.url.join("mcp").unwrap()).header("x-functions-key", KEY);
    let made = request.header("accept", "application/json, text/event-stream").json(&body).send().await.unwrap();
    assert_eq!(made.status(), 200);
    for mut listener in listeners {
        let mut text = String::new();
        while !text.contains("Made elsewhere") {
            let chunk = tokio::time::timeout(Duration::from_secs(5), listener.chunk()).await;
            text.push_str(std::str::from_utf8(&chunk.expect("it is heard").unwrap().unwrap()).unwrap());
        }
    }
}

/// A deployment that nobody uses, and one that somebody listens to, write nothing about it.
#[tokio::test]
#[ignore = "needs AZURITE"]
async fn successful_upstream_calls_are_not_logged_at_info() {
    let deployment = Deployment::start().await;
    deployment.ok("create_task", json!({"plan_id": PLAN, "title": "Quiet"})).await;
    let lines: Vec<_> =
        deployment.host.output().into_iter().filter(|(_, line)| line.contains("upstream call")).collect();
    assert!(lines.is_empty(), "{lines:#?}");
}

/// What a day costs on which nothing happens: every timer as often as it is due.
#[tokio::test]
#[ignore = "needs AZURITE"]
async fn idle_day_costs_bounded_storage_reads_and_log_lines() {
    let settings = [("LOG_LEVEL", "info,graphgate::http_client=debug"), ("REFRESH_SECONDS", "0")];
    let deployment = Deployment::with(&settings).await;
    deployment.ok("get_plan", json!({"plan_id": PLAN})).await;
    let timers = [
        ("reconcile_plans", 288),
        ("run_reports", 288),
        ("renew_subscriptions", 96),
        ("refresh_metadata", 48),
        ("sweep_poison", 96),
        ("sweep_sign_ins", 24),
        ("sweep_events", 24),
        ("sweep_audit", 24),
    ];
    let (mut reads, mut lines, mut bytes) = (0, 0, 0);
    for (timer, times) in timers {
        assert!(deployment.host.fire(timer).await.succeeded, "{timer}"); // with what a start costs
        let group = format!("function:{timer}");
        let before = deployment.host.output_of(&group).len();
        assert!(deployment.host.fire(timer).await.succeeded, "{timer}");
        tokio::time::sleep(Duration::from_millis(100)).await; // its lines come through a pipe
        let written = deployment.host.output_of(&group).split_off(before);
        let (calls, of_calls) = calls(&written);
        let all: usize = written.iter().map(|(_, line)| line.len() + 1).sum();
        let graph = written.iter().filter(|(_, line)| line.contains("upstream call")).count() - calls;
        println!(
            "{timer}: {calls} calls of storage, {graph} of Graph and sign-in, {} other bytes of log",
            all - of_calls
        );
        reads += calls * times;
        lines += written.iter().filter(|(_, line)| !line.contains("upstream call")).count() * times;
        bytes += written
            .iter()
            .filter(|(_, line)| !line.contains("upstream call"))
            .map(|(_, line)| line.len() + 1)
            .sum::<usize>()
            * times;
    }
    println!("a day: {reads} calls of storage, {lines} lines of log, {} kB", bytes / 1000);
    assert!(reads < 20_000 && lines < 5_000 && bytes < 2_000_000, "{reads} {lines} {bytes}");
}
