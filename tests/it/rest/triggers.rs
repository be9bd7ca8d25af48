//! The Functions host's calls, and calls of others that would like to pass for them.

use graphgate::services::planner::ReconciledBy;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::support::{PLAN, World};

/// A world whose program believes to run under the Functions host.
async fn hosted() -> World {
    World::with(|config| {
        config.host = graphgate::host::HostMode::Functions;
        config.planner.reconciled_by = ReconciledBy::Timer;
    })
    .await
}

/// Calls a function as the host does: the envelope in chunks, no length.
async fn invoke(world: &World, function: &str, envelope: &str) -> (u16, Value) {
    let chunks: Vec<_> = envelope.as_bytes().chunks(7).map(|chunk| Ok::<_, std::io::Error>(chunk.to_vec())).collect();
    let request = reqwest::Client::new()
        .post(world.api_url().join(function).unwrap())
        .header("content-type", "application/json; charset=utf-8")
        .header("user-agent", "Azure-Functions-Host/4.1048.200.26180")
        .header("x-azure-functions-invocationid", "6f9f54b8-9f5c-4a3e-9a3b-6f9f54b89f5c")
        .body(reqwest::Body::wrap_stream(futures::stream::iter(chunks)));
    let answer = request.send().await.unwrap();
    let status = answer.status().as_u16();
    assert_eq!(answer.headers()["content-type"], "application/json");
    (status, answer.json().await.expect("always a JSON object"))
}

/// A timer as a host of version 4.24 was seen to send it.
const TIMER: &str = r#"{"Data":{"timer":{"Schedule":{"AdjustForDST":true},"ScheduleStatus":null,"IsPastDue":false}},
 "Metadata":{"sys":{"MethodName":"reconcile_plans","UtcNow":"2026-11-07T11:40:45.004275Z","RandGuid":"35e6e68c"}}}"#;

#[tokio::test]
async fn reconcile_timer_finds_an_edit_made_in_planner() {
    let world = hosted().await;
    let (id, planner_id) = world.task("Drag me").await;
    world.colleague(json!({"task_id": planner_id, "set": {"percentComplete": 100}})).await;
    let (status, answer) = invoke(&world, "reconcile_plans", TIMER).await;
    assert_eq!(status, 200, "{answer}");
    assert_eq!(answer["Outputs"], json!({}));
    assert_eq!(answer["Logs"], json!([r#"reconcile_plans: {"plans":1,"failed":0}"#]));
    assert!(answer.as_object().unwrap().contains_key("ReturnValue") && answer["ReturnValue"].is_null());
    let page = world.ok("query_tasks", json!({"plan_id": PLAN, "text": "Drag me"})).await;
    assert_eq!((&page["rows"][0][0], &page["rows"][0][3]), (&json!(id), &json!("completed")));
}

#[tokio::test]
async fn run_reports_timer_delivers_a_due_report() {
    let world = World::hurried_with(|config| config.host = graphgate::host::HostMode::Functions).await;
    let recipient = format!("ZoeM@{}", graphgate_sim::DOMAIN);
    let every_minute =
        json!({"name": "Standup", "schedule": "* * * * *", "plans": [PLAN], "type": "overdue", "mail_to": [recipient]});
    world.ok("schedule_report", every_minute).await;
    let ran = async || {
        let (status, answer) = invoke(&world, "run_reports", TIMER).await;
        assert_eq!(status, 200, "{answer}");
        answer["Logs"][0].as_str().unwrap().starts_with(r#"run_reports: {"run":1,"failed":0,"taken":0"#)
    };
    world.until("the report is due and delivered", ran).await;
    let mail = world.control("GET", "mail", json!({})).await;
    assert_eq!(mail["sent"][0]["subject"], format!("Overdue tasks: {PLAN}"));
    let list = world.ok("list_report_schedules", json!({})).await;
    assert_eq!(list["schedules"][0]["last"]["ok"], true, "{list}");
}

#[tokio::test]
async fn trigger_failure_has_status_500_and_the_usual_shape() {
    let world = hosted().await;
    for nonsense in ["", "null", "[]", "{", &format!("{{\"Data\":\"{}\"}}", "x".repeat(2 * 1024 * 1024))] {
        let (status, answer) = invoke(&world, "refresh_metadata", nonsense).await;
        assert_eq!(status, 500, "{answer}");
        let line = answer["Logs"][0].as_str().unwrap();
        assert!(line.starts_with("refresh_metadata failed: VAL_00"), "{line}");
    }
    world.faults(json!([{"method": "GET", "kind": "status", "status": 403}])).await;
    let (status, answer) = invoke(&world, "refresh_metadata", TIMER).await;
    assert_eq!(status, 500, "{answer}");
}

/// An outbox message as the host sends it: JSON text, encoded twice, its property among the metadata.
fn outbox(message: &Value) -> String {
    let encoded = Value::String(Value::String(message.to_string()).to_string());
    json!({
        "Data": {"message": encoded},
        "Metadata": {"DequeueCount": "1", "Id": "\"800ae4b3\"", "plan": "\"…\"", "sys": {"MethodName": "on_outbox"}},
    })
    .to_string()
}

#[tokio::test]
async fn plan_message_pushes_pending_writes() {
    let world = World::hurried_with(|config| config.host = graphgate::host::HostMode::Functions).await;
    let plan = world.ok("get_plan", json!({"plan_id": PLAN})).await["id"].clone();
    world.faults(json!([{"method": "POST", "path_contains": "planner/tasks", "kind": "status", "status": 503}])).await;
    let made = world.ok("create_task", json!({"plan_id": PLAN, "title": "Later"})).await;
    assert_eq!(made["sync"], "pending", "{made}");
    world.heal().await;
    let (status, answer) = invoke(&world, "on_outbox", &outbox(&json!({ "plan": plan }))).await;
    assert_eq!(status, 200, "{answer}");
    assert!(answer["Logs"][0].as_str().unwrap().ends_with(r#""pending":0}"#), "{answer}");
    assert_eq!(world.tasks_called("Later").await.len(), 1);
    let (status, answer) = invoke(&world, "on_outbox", &outbox(&json!({ "plan": plan }))).await;
    assert!(status == 200 && answer["Logs"][0].as_str().unwrap().contains(r#""settled":0,"pending":0"#), "{answer}");
    let (status, answer) = invoke(&world, "on_outbox", &outbox(&json!({ "something": "else" }))).await;
    assert!(status == 500 && answer["Logs"][0].as_str().unwrap().contains("VAL_001"), "{answer}");
}

/// Sends a request line as it is, with further header lines; answers everything that came back.
async fn raw(world: &World, line: &str, headers: &str) -> String {
    let address = world.api_url();
    let mut stream =
        tokio::net::TcpStream::connect((address.host_str().unwrap(), address.port().unwrap())).await.unwrap();
    let request = format!(
        "{line} HTTP/1.1\r\nhost: localhost\r\n{headers}content-type: application/json\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{TIMER}",
        TIMER.len()
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer).await; // a refusal may be a reset
    String::from_utf8_lossy(&answer).into_owned()
}

#[tokio::test]
async fn proxied_requests_cannot_reach_a_trigger() {
    let world = hosted().await;
    let proxied = [
        "x-forwarded-for: 203.0.113.7\r\n",
        "X-Forwarded-Host: gate.example.com\r\n",
        "x-forwarded-proto: https\r\n",
        "X-MS-Invocation-Id: 6f9f54b8\r\n",
        "x-arr-log-id: 6f9f54b8\r\n",
        "DISGUISED-HOST: gate.example.com\r\n",
        "x-forwarded-for:\r\n",
    ];
    let mut tried = 0;
    for name in ["reconcile_plans", "refresh_metadata"] {
        for header in proxied {
            let forged =
                format!("{header}user-agent: Azure-Functions-Host/4.1048\r\nx-azure-functions-invocationid: 1\r\n");
            let answer = raw(&world, &format!("POST /{name}"), &forged).await;
            assert!(answer.starts_with("HTTP/1.1 404"), "{header}: {answer}");
            tried += 1;
        }
        let encoded: String = name.bytes().map(|byte| format!("%{byte:02x}")).collect();
        let upper = name.to_uppercase();
        let base = world.api_url();
        let base = base.as_str().trim_end_matches('/');
        for path in [
            format!("//{name}"),
            format!("/./{name}"),
            format!("/mcp/../{name}"),
            format!("/mcp/%2e%2e/{name}"),
            format!("/mcp/..;/{name}"),
            format!("/mcp%2f..%2f{name}"),
            format!("/%2f{name}"),
            format!("/{encoded}"),
            format!("/{}%{:02X}", &name[..name.len() - 1], name.as_bytes()[name.len() - 1]),
            format!("/{upper}"),
            format!("/{name}/"),
            format!("/{name}."),
            format!("/{name};x"),
            format!("/{name}%00"),
            format!("/{name}%20"),
            format!("/api/{name}"),
            format!("\\{name}"),
        ] {
            // Even without the proxy's headers: another spelling is another path.
            let answer = raw(&world, &format!("POST {path}"), "").await;
            assert!(!answer.contains("Outputs") && !answer.starts_with("HTTP/1.1 200"), "{path}: {answer}");
            tried += 1;
        }
        for line in
            [format!("POST {base}/{name}"), format!("POST http://gate.example.com/{name}"), format!("POST /{name}?x=1")]
        {
            let answer = raw(&world, &line, "x-forwarded-for: 203.0.113.7\r\n").await;
            assert!(!answer.contains("Outputs") && !answer.starts_with("HTTP/1.1 200"), "{line}: {answer}");
            tried += 1;
        }
        for method in ["GET", "PUT", "DELETE", "HEAD", "OPTIONS", "post"] {
            let answer = raw(&world, &format!("{method} /{name}"), "").await;
            assert!(!answer.contains("Outputs") && !answer.starts_with("HTTP/1.1 200"), "{method}: {answer}");
            tried += 1;
        }
    }
    assert_eq!(tried, 66);
}

#[tokio::test]
async fn trigger_paths_are_404_without_the_functions_host() {
    let world = World::start().await;
    let answer = raw(&world, "POST /reconcile_plans", "").await;
    assert!(answer.starts_with("HTTP/1.1 404"), "{answer}");
}
