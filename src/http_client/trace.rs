//! The span of a call of Microsoft 365, from its first attempt to its last (OpenTelemetry semantic conventions for HTTP).

use tracing::Span;
use tracing::field::Empty;

use super::send::{Answer, Failure, Outgoing};
use crate::telemetry::traces;

/// The span of a call.
pub(super) fn span(call: &Outgoing) -> Span {
    tracing::info_span!(
        "upstream_call",
        otel.name = format!("{} {}", call.method, call.operation),
        otel.kind = "client",
        otel.status_code = Empty,
        http.request.method = call.method.as_str(),
        http.response.status_code = Empty,
        server.address = call.url.host_str(),
        error.r#type = Empty,
        graphgate.workload = call.workload.as_str(),
    )
}

/// Says how the call ended.
pub(super) fn record(span: &Span, sent: &Result<Answer, Failure>) {
    let kind = match sent {
        Ok(answer) => {
            span.record("http.response.status_code", answer.status.as_u16());
            if !answer.status.is_client_error() && !answer.status.is_server_error() {
                return;
            }
            answer.status.as_str()
        }
        Err(Failure::Throttled { .. }) => "throttled",
        Err(Failure::BreakerOpen { .. }) => "circuit_open",
        Err(Failure::TimedOut { .. }) => "timeout",
        Err(Failure::Unreachable { .. }) => "unreachable",
    };
    traces::fail(span, kind);
}
