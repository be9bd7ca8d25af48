//! Traces and metrics, as a collector of others sees them: the tree of spans of a call, what is counted of it, and that a
//! collector in trouble costs nothing.

use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::routing::post;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::{KeyValue, any_value};
use opentelemetry_proto::tonic::metrics::v1::{AggregationTemporality, HistogramDataPoint, metric, number_data_point};
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message;
use serde_json::{Value, json};

use super::Deployment;
use crate::support::PLAN;
use crate::support::process::GRAPHGATE;

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";

/// A collector of OTLP over HTTP: all spans, and the metrics as they were sent last.
#[derive(Clone, Default)]
struct Collector {
    spans: Arc<Mutex<Vec<Span>>>,
    metrics: Arc<Mutex<ExportMetricsServiceRequest>>,
}

impl Collector {
    /// Listens; answers with its address.
    async fn listen(&self) -> String {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let take = |State(Self { spans, .. }): State<Self>, body: Bytes| async move {
            let request = ExportTraceServiceRequest::decode(body).unwrap();
            let of_scopes = request.resource_spans.into_iter().flat_map(|resource| resource.scope_spans);
            spans.lock().unwrap().extend(of_scopes.flat_map(|scope| scope.spans));
        };
        let take_metrics = |State(Self { metrics, .. }): State<Self>, body: Bytes| async move {
            *metrics.lock().unwrap() = ExportMetricsServiceRequest::decode(body).unwrap();
        };
        let router = Router::new().route("/v1/traces", post(take)).route("/v1/metrics", post(take_metrics));
        let router = router.with_state(self.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        address
    }

    fn named(&self, name: &str) -> Option<Span> {
        self.spans.lock().unwrap().iter().find(|span| span.name == name).cloned()
    }

    /// The data of a metric.
    fn metric(&self, name: &str) -> Option<metric::Data> {
        let metrics = self.metrics.lock().unwrap();
        let of_scopes = metrics.resource_metrics.iter().flat_map(|resource| &resource.scope_metrics);
        of_scopes.flat_map(|scope| &scope.metrics).find(|metric| metric.name == name)?.data.clone()
    }

    /// The series of a histogram that has these attributes, among others.
    fn series(&self, name: &str, with: &[(&str, &str)]) -> Option<HistogramDataPoint> {
        let metric::Data::Histogram(histogram) = self.metric(name)? else { panic!("`{name}` is no histogram") };
        assert_eq!(histogram.aggregation_temporality(), AggregationTemporality::Cumulative);
        histogram.data_points.into_iter().find(|point| has(&point.attributes, with))
    }

    /// The names of the spans around one, from the outermost to itself.
    fn path(&self, span: &Span) -> Vec<String> {
        let spans = self.spans.lock().unwrap();
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
    command.env("OTEL_EXPORTER_OTLP_ENDPOINT", collector);
    command.env("OTEL_BSP_SCHEDULE_DELAY", "100").env("OTEL_METRIC_EXPORT_INTERVAL", "100");
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
    let spans = collector.spans.lock().unwrap().clone();
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

#[tokio::test]
async fn a_collector_gets_the_metrics_of_a_tool_call_under_the_names_of_the_conventions() {
    let collector = Collector::default();
    let address = collector.listen().await;
    let mut deployment = Deployment::tenant_alone("process").await;
    deployment.serve(command(&address)).await;
    deployment.call("create_task", json!({"plan_id": PLAN, "title": "Counted title"})).await.unwrap();
    deployment.call("get_task", json!({"plan_id": PLAN, "task_id": "no such task"})).await.unwrap_err();

    let tool = [("mcp.method.name", "tools/call"), ("gen_ai.tool.name", "create_task")];
    let operation = eventually(|| collector.series("mcp.server.operation.duration", &tool)).await;
    assert_eq!(operation.count, 1, "{operation:?}");
    assert!(!has(&operation.attributes, &[("error.type", "tool_error")]), "{operation:?}");
    let failed = [("gen_ai.tool.name", "get_task"), ("error.type", "tool_error")];
    eventually(|| collector.series("mcp.server.operation.duration", &failed)).await;
    let request = [("http.request.method", "POST"), ("http.route", "/mcp"), ("http.response.status_code", "200")];
    let request =
        eventually(|| collector.series("http.server.request.duration", &request).filter(|found| found.count == 2))
            .await;
    assert_eq!(request.bucket_counts.iter().sum::<u64>(), 2, "{request:?}");
    assert_eq!(request.bucket_counts.len(), request.explicit_bounds.len() + 1);
    assert!(request.time_unix_nano > request.start_time_unix_nano, "{request:?}");
    let created =
        [("http.response.status_code", "201"), ("graphgate.workload", "planner"), ("server.address", "localhost")];
    eventually(|| collector.series("http.client.request.duration", &created)).await;
    let Some(metric::Data::Sum(calls)) = collector.metric("graphgate.tool_calls") else { panic!("no sum") };
    let call = calls.data_points.iter().find(|point| has(&point.attributes, &[("tool", "create_task")])).unwrap();
    assert!(calls.is_monotonic, "{calls:?}");
    assert_eq!(call.value, Some(number_data_point::Value::AsInt(1)));
    assert!(matches!(collector.metric("process.memory.usage"), Some(metric::Data::Gauge(_))));
    assert_eq!(collector.metric("graphgate.http_requests"), None, "it is there under the name of the conventions");

    let sent = collector.metrics.lock().unwrap().clone();
    let resource = sent.resource_metrics[0].resource.clone().unwrap();
    assert!(has(&resource.attributes, &[("service.name", "graphgate")]), "{resource:?}");
    assert!(resource.attributes.iter().any(|attribute| attribute.key == "service.instance.id"), "{resource:?}");
    assert!(!format!("{sent:?}").contains("Counted title"), "no text of a task is in a metric");
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn what_was_counted_last_is_sent_at_the_end() {
    let collector = Collector::default();
    let mut command = command(&collector.listen().await);
    command.env("OTEL_METRIC_EXPORT_INTERVAL", "3600000");
    let mut deployment = Deployment::tenant_alone("process").await;
    deployment.serve(command).await;
    deployment.call("list_plans", json!({})).await.unwrap();
    assert_eq!(collector.metric("graphgate.tool_calls"), None, "it is not time yet");
    let id = deployment.server(0).id().to_string();
    assert!(Command::new("kill").args(["-TERM", &id]).status().unwrap().success());
    let tool = [("gen_ai.tool.name", "list_plans")];
    assert_eq!(eventually(|| collector.series("mcp.server.operation.duration", &tool)).await.count, 1);
}

#[tokio::test]
async fn no_call_is_lost_while_the_collector_hangs() {
    const CLIENTS: usize = 8;
    const CALLS: usize = 100; // of each client
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut command = command(&format!("http://{}", silent.local_addr().unwrap()));
    // What waits for the collector is soon more than there is room for.
    command.env("OTEL_BSP_MAX_QUEUE_SIZE", "64").env("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "64");
    let mut deployment = Deployment::tenant_alone("process").await;
    deployment.serve(command).await;
    let deployment = &deployment;
    let client = |_| async move {
        for _ in 0..CALLS {
            deployment.call("query_tasks", json!({"plan_id": PLAN, "limit": 1})).await.unwrap();
        }
    };
    futures::future::join_all((0..CLIENTS).map(client)).await;
    let url = deployment.server(0).text("api_url").to_owned() + "metrics";
    let page = deployment.http.get(url).send().await.unwrap().text().await.unwrap();
    let line = format!("graphgate_tool_calls_total{{tool=\"query_tasks\",outcome=\"ok\"}} {}\n", CLIENTS * CALLS);
    assert!(page.contains(&line), "{page}");
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

/// Whether attributes have these values, numbers as text.
fn has(attributes: &[KeyValue], wanted: &[(&str, &str)]) -> bool {
    let text = |attribute: &KeyValue| match attribute.value.as_ref().and_then(|value| value.value.as_ref()) {
        Some(any_value::Value::StringValue(text)) => text.clone(),
        Some(any_value::Value::IntValue(number)) => number.to_string(),
        other => panic!("{other:?}"),
    };
    wanted.iter().all(|(name, value)| attributes.iter().any(|found| found.key == *name && text(found) == *value))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
