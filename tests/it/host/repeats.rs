//! What the host sends a second time, because the process that had it died.

use std::time::Duration;

use serde_json::json;

use super::Deployment;
use crate::support::PLAN;
use crate::support::functions_host::KEY;

#[tokio::test]
#[ignore = "needs AZURITE"]
async fn interrupted_report_run_resumes_at_the_second_try() {
    let sender = format!("AdeleV@{}", graphgate_sim::DOMAIN);
    let deployment = Deployment::with(&[("REPORT_SENDER", &sender)]).await;
    let definition = json!({
        "name": "w", "schedule": "0 8 * * 1", "plans": [PLAN], "formats": ["html"],
        "mail_to": [format!("ZoeM@{}", graphgate_sim::DOMAIN)],
    });
    deployment.ok("schedule_report", definition).await;
    // The mail takes long enough for the process to be killed in the midst of it.
    let slow = json!({"rules": [{"method": "POST", "kind": "timeout_without_effect", "seconds": 3, "path_contains": "Mail"},
        {"method": "POST", "kind": "timeout_without_effect", "seconds": 3, "path_contains": "messages"}]});
    deployment.control("PUT", "faults", slow).await;
    let run = || {
        let url = deployment.host.url.join("api/report-schedules/w/run").unwrap();
        deployment.http.post(url).header("x-functions-key", KEY).send()
    };
    let killed = async {
        tokio::time::sleep(Duration::from_millis(1_500)).await;
        deployment.host.kill("http").await;
        deployment.control("DELETE", "faults", json!({})).await;
    };
    let (answer, ()) = tokio::join!(run(), killed);
    let answer = answer.unwrap();
    let (status, text) = (answer.status().as_u16(), answer.text().await.unwrap());
    assert_eq!(status, 200, "{text}");
    let item: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!(item["last"]["ok"], true, "the second try went on with the run: {item}");
    assert_eq!(deployment.see("mail").await["sent"].as_array().unwrap().len(), 1, "it is mailed once");
}

/// The same request under the same id has the same answer, and its effect happens once.
#[tokio::test]
#[ignore = "needs AZURITE"]
async fn repeated_request_gets_the_first_answer() {
    let deployment = Deployment::start().await;
    let made = deployment.ok("create_task", json!({"plan_id": PLAN, "title": "Gone once"})).await;
    let port = deployment.host.port_of("http").await;
    let path = format!("http://127.0.0.1:{port}/api/agent/tasks/{}", made["id"].as_str().unwrap());
    let delete = async |id: &str| {
        let request = deployment.http.delete(&path).header("x-functions-key", KEY).header("x-ms-invocation-id", id);
        let answer = request.send().await.unwrap();
        (answer.status().as_u16(), answer.text().await.unwrap())
    };
    let first = delete("6f9f54b8-0001").await;
    assert_eq!(first.0, 200, "{first:?}");
    assert_eq!(delete("6f9f54b8-0001").await, first, "the host's second try");
    assert_eq!(delete("6f9f54b8-0002").await.0, 404, "another request");
    assert_eq!(deployment.copies("Gone once").await, 0);
}
