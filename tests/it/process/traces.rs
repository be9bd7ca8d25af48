//! Traces, as a collector of others sees them: the tree of spans of a call, and that a collector in trouble costs nothing.

use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::routing::post;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message;
use serde_json::{Value, json};

use super::Deployment;
use crate::support::PLAN;
use crate::support::process::GRAPHGATE;

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";

/// A collector of OTLP over HTTP.
#[derive(Clone, Default)]
struct Collector(Arc<Mutex<Vec<Span>>>);

impl Collector {
    /// Listens; answers with its address.
    async fn listen(&self) -> String {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let take = |State(Self(spans)): State<Self>, body: Bytes| async move {
            let request = ExportTraceServiceRequest::decode(body).unwrap();
            let of_scopes = request.resource_spans.into_iter().flat_map(|resource| resource.scope_spans);
            spans.lock().unwrap().extend(of_scopes.flat_map(|scope| scope.spans));
        };
        let router = Router::new().route("/v1/traces", post(take)).with_state(self.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        address
    }

    fn named(&self, name: &str) -> Option<Span> {
        self.0.lock().unwrap().iter().find(|span| span.name == name).cloned()
    }

    /// The names of the spans around one, from the outermost to itself.
    fn path(&self, span: &Span) -> Vec<String> {
        let spans = self.0.lock().unwrap();
        let mut path = vec![span.name.clone()];
        let mut inner = span.parent_span_id.clone();
        while let Some(span) = spans.iter().find(|span| span.span_id == inner) {
            path.insert(0, span.name.clone());
            inner.clone_from(&span.parent_span_id);
        }
        path
    }
}

fn command(collector: &str) -> Command {
    let mut command = Command::new(GRAPHGATE);
    command.env("OTEL_EXPORTER_OTLP_ENDPOINT", collector).env("OTEL_BSP_SCHEDULE_DELAY", "100");
    command
}

async fn post_call(deployment: &Deployment, tool: &str, arguments: Value, traceparent: &str) {
    let body =
        json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": tool, "arguments": arguments}});
    let request = deployment.http.post(deployment.server(0).text("mcp_url")).json(&body);
    let request = request.header("accept", "application/json, text/event-stream").header("traceparent", traceparent);
    assert!(request.send().await.unwrap().status().is_success());
}

#[tokio::test]
async fn otlp_collector_receives_spans_from_tool_call_to_graph_calls() {
    let collector = Collector::default();
    let address = collector.listen().await;
    let mut deployment = Deployment::tenant_alone("process").await;
    deployment.serve(command(&address)).await;
    let traceparent = format!("00-{TRACE}-00f0670010902007-01");
    post_call(&deployment, "create_task", json!({"plan_id": PLAN, "title": "Traced title"}), &traceparent).await;

    let created = eventually(|| collector.named("POST create_task")).await;
    let expected = ["POST /mcp", "tools/call create_task", "push", "POST create_task"];
    let path = eventually(|| Some(collector.path(&created)).filter(|path| path.len() == expected.len())).await;
    assert_eq!(path, expected);
    let spans = collector.0.lock().unwrap().clone();
    let of_call: Vec<&Span> = spans.iter().filter(|span| hex(&span.trace_id) == TRACE).collect();
    let request = of_call.iter().find(|span| span.name == "POST /mcp").unwrap();
    assert_eq!(hex(&request.parent_span_id), "00f0670010902007", "it goes on with the caller's trace");
    let tool = of_call.iter().find(|span| span.name == "tools/call create_task").unwrap();
    let attribute = |span: &Span, name: &str| {
        span.attributes.iter().find(|attribute| attribute.key == name).map(|attribute| format!("{:?}", attribute.value))
    };
    assert!(attribute(tool, "gen_ai.tool.name").unwrap().contains("create_task"), "{tool:?}");
    assert!(attribute(&created, "http.response.status_code").unwrap().contains("201"), "{created:?}");
    assert!(!format!("{spans:?}").contains("Traced title"), "no text of a task is in a span");

    post_call(&deployment, "get_task", json!({"plan_id": PLAN, "task_id": "no such task"}), &traceparent).await;
    let failed = eventually(|| collector.named("tools/call get_task")).await;
    assert!(attribute(&failed, "error.type").unwrap().contains("tool_error"), "{failed:?}");
    assert_eq!(failed.status.unwrap().code, 2, "an error of a tool is an error");
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn hung_otlp_collector_delays_no_call_and_no_shutdown() {
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let hangs = format!("http://{}", silent.local_addr().unwrap());
    for collector in [hangs.as_str(), "http://127.0.0.1:9"] {
        let mut deployment = Deployment::tenant_alone("process").await;
        deployment.serve(command(collector)).await;
        for number in 0..30 {
            let title = format!("Task {number}");
            deployment.call("create_task", json!({"plan_id": PLAN, "title": title})).await.unwrap();
        }
        let id = deployment.server(0).id().to_string();
        assert!(Command::new("kill").args(["-TERM", &id]).status().unwrap().success());
        let server = deployment.servers[0].as_mut().unwrap();
        for _ in 0..1000 {
            if !server.lives() {
                break;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        assert!(!server.lives(), "{collector}: it never ends");
    }
}

#[tokio::test]
async fn log_lines_carry_the_trace_id_without_an_exporter() {
    let mut deployment = Deployment::tenant_alone("process").await;
    let folder = deployment.folder.0.clone();
    let mut command = Command::new(GRAPHGATE);
    command.env("LOG_FORMAT", "json").env("LOG_LEVEL", "warn,graphgate=debug").env("LOG_FILE", folder.join("log-file"));
    deployment.serve(command).await;
    let traceparent = format!("00-{TRACE}-00f0670010902007-01");
    post_call(&deployment, "create_task", json!({"plan_id": PLAN, "title": "x"}), &traceparent).await;
    let log = std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path());
    let log = log.into_iter().find(|path| path.file_name().unwrap().to_string_lossy().starts_with("log-file")).unwrap();
    let lines = || -> Vec<Value> {
        let text = std::fs::read_to_string(&log).unwrap();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    };
    let of_call = || -> Option<Vec<Value>> {
        let of_call: Vec<Value> = lines().into_iter().filter(|line| line["trace_id"] == TRACE).collect();
        let has = |message: &str| of_call.iter().any(|line| line["message"] == message);
        (has("tool call") && has("upstream call") && has("request")).then_some(of_call)
    };
    for line in eventually(of_call).await {
        for member in ["timestamp", "level", "logger", "module", "function", "line", "message"] {
            assert!(!line[member].is_null(), "{member}: {line}");
        }
    }
    deployment.call("list_plans", json!({})).await.unwrap();
    let is_other = |line: &Value| line["message"] == "tool call" && line["trace_id"] != TRACE;
    let other = eventually(|| lines().into_iter().find(is_other)).await;
    assert_eq!(other["trace_id"].as_str().map(str::len), Some(32), "a call without a trace begins one: {other}");
}

/// What is found in the end.
async fn eventually<T>(find: impl Fn() -> Option<T>) -> T {
    for _ in 0..1000 {
        if let Some(found) = find() {
            return found;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("not within ten seconds");
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
