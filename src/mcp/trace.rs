//! The span of a request and its duration (OpenTelemetry semantic conventions for MCP).

use std::time::Duration;

use rmcp::RoleServer;
use rmcp::model::RequestId;
use rmcp::service::RequestContext;
use tracing::Span;
use tracing::field::Empty;

use crate::telemetry::metrics::{Durations, Label, Metric, Metrics, Reading};
use crate::telemetry::traces::{self, RequestSpan};

/// Requests that have ended, by method, tool and kind of error.
#[derive(Default)]
pub(super) struct Operations(Durations<3>);

impl Operations {
    /// Ends what a span stands for: a method, and the tool it calls if it calls one.
    pub(super) fn end(
        &self,
        span: &Span,
        (method, tool): (&'static str, &'static str),
        took: Duration,
        error: Option<&'static str>,
    ) {
        if let Some(kind) = error {
            traces::fail(span, kind);
        }
        self.0.record([method.into(), tool.into(), error.unwrap_or_default().into()], took);
    }

    /// Registers their duration.
    pub(super) fn register(&self, metrics: &Metrics) {
        let labels = |[method, tool, error]: &[Label; 3]| {
            let all = [("mcp.method.name", method), ("gen_ai.tool.name", tool), ("error.type", error)];
            all.into_iter().filter(|(_, value)| !value.is_empty()).map(|(name, value)| (name, value.clone())).collect()
        };
        let metric = Metric::histogram("mcp.server.operation.duration", "Duration of requests of MCP");
        metrics.durations(metric.only_exported(), &self.0, labels, Reading::Histogram);
    }
}

/// The span of a request: within the trace that its `_meta` names, else within
/// that of the HTTP request it came by, else the first of a trace.
pub(super) fn span(context: &RequestContext<RoleServer>, method: &'static str, name: &'static str) -> Span {
    let parent = context.meta.get("traceparent").and_then(|text| text.as_str()?.parse().ok());
    let parts = context.extensions.get::<http::request::Parts>();
    let request = parts.and_then(|parts| parts.extensions.get::<RequestSpan>()).map(|RequestSpan(span)| span);
    let around = request.filter(|_| parent.is_none()).and_then(Span::id);
    let goes_on = around.is_some();
    let span = tracing::info_span!(
        parent: around,
        "mcp_request",
        otel.name = format!("{method} {name}").trim_end(),
        otel.kind = "server",
        otel.status_code = Empty,
        mcp.method.name = method,
        jsonrpc.request.id = number(&context.id),
        network.transport = if parts.is_some() { "tcp" } else { "pipe" },
        gen_ai.operation.name = Empty,
        gen_ai.tool.name = Empty,
        error.r#type = Empty,
    );
    if let Some(RequestSpan(request)) = parts.and_then(|parts| parts.extensions.get()).filter(|_| !goes_on) {
        traces::link(&span, request);
    }
    if goes_on { span } else { traces::begin(span, parent) }
}

/// The id of a request, if it is a number: a text of a client may be anything, and is in no span.
fn number(id: &RequestId) -> Option<i64> {
    match id {
        RequestId::Number(number) => Some(*number),
        RequestId::String(_) => None,
    }
}
