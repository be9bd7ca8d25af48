//! Texts of callers forge no line of the log and steer no terminal that shows it.

use serde_json::json;

use super::Deployment;
use crate::support::PLAN;
use crate::support::process::GRAPHGATE;

const FORGED: &str = "x\r\n2026-01-01T00:00:00Z ERROR forged\u{1b}[31m\u{202e}\u{2028}forged";

#[tokio::test]
async fn user_text_cannot_start_a_log_line() {
    for format in ["text", "json"] {
        let mut deployment = Deployment::tenant_alone("process").await;
        let folder = deployment.folder.0.clone();
        let mut command = std::process::Command::new(GRAPHGATE);
        command.env("LOG_LEVEL", "trace").env("LOG_FORMAT", format).env("LOG_FILE", folder.join("log-file"));
        deployment.serve(command).await;
        let base = deployment.server(0).text("api_url").trim_end_matches('/').to_owned();
        let encoded = url::form_urlencoded::byte_serialize(FORGED.as_bytes()).collect::<String>();
        for path in ["api/agent/tasks", "api/reports", "downloads", "nowhere"] {
            let url = format!("{base}/{path}/{encoded}?x={encoded}");
            deployment.http.get(url).header("x-request-id", "a forged id").send().await.unwrap();
        }
        for arguments in [json!({"plan_id": FORGED}), json!({"plan_id": PLAN, "text": FORGED})] {
            let _ = deployment.call("query_tasks", arguments).await;
        }
        let _ =
            deployment.call("create_task", json!({"plan_id": PLAN, "title": FORGED, "idempotency_key": FORGED})).await;
        let _ =
            deployment.call("schedule_report", json!({"name": FORGED, "schedule": "* * * * *", "plans": [PLAN]})).await;
        let body = json!({"value": [{"subscriptionId": FORGED, "clientState": FORGED, "resource": FORGED}]});
        deployment.http.post(format!("{base}/api/graph_webhook")).json(&body).send().await.unwrap();
        deployment.http.get(format!("{base}/health")).send().await.unwrap();
        let log = std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path());
        let log =
            log.into_iter().find(|path| path.file_name().unwrap().to_string_lossy().starts_with("log-file")).unwrap();
        let log = std::fs::read_to_string(log).unwrap();
        assert!(log.lines().count() > 10, "{log}");
        for line in log.lines() {
            let is_ours = if format == "json" {
                serde_json::from_str::<serde_json::Value>(line).is_ok_and(|line| line["timestamp"].is_string())
            } else {
                line.starts_with("20") && !line.starts_with("2026-01-01T00:00:00Z")
            };
            assert!(is_ours, "{format}: {line:?}");
            assert!(!line.contains(['\u{1b}', '\u{202e}', '\u{2028}', '\r']), "{format}: {line:?}");
        }
    }
}
