//! Traces: spans that belong together, and their export by OTLP, which is off by default.
//!
//! Where nothing is exported a trace has an id nonetheless, so that log lines of one request can be found together. Spans
//! carry what was done, for how long and how it ended; never arguments, texts, addresses of people or tokens. A collector
//! that is slow or gone costs nothing: spans wait in a queue of bounded length, and beyond it they are dropped
//! (OpenTelemetry specification, batching processor).

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use async_trait::async_trait;
use hyper::body::Bytes;
use opentelemetry::trace::{
    SpanContext, SpanId, TraceContextExt, TraceFlags, TraceId, TraceState, TracerProvider as _,
};
use opentelemetry_otlp::{SpanExporter, WithHttpConfig};
use opentelemetry_sdk::trace::SdkTracerProvider;
use tracing::{Metadata, Span};
use tracing_opentelemetry::OpenTelemetrySpanExt;
use tracing_subscriber::filter::{LevelFilter, filter_fn};
use tracing_subscriber::registry::{LookupSpan, Scope};
use tracing_subscriber::{Layer, Registry};

use super::collector::{self, LAST_WORDS, Signal};
use super::logs::BoxedLayer;
use crate::ids::Entropy;

/// Whether spans are exported.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Config {
    /// To the collector that the standard variables of OpenTelemetry name.
    Exported {
        /// How long one request to it may take.
        timeout: Duration,
    },
    /// Not at all.
    Off,
}

impl Config {
    /// On where `OTEL_EXPORTER_OTLP_ENDPOINT` or `OTEL_EXPORTER_OTLP_TRACES_ENDPOINT` names a collector; off in any case
    /// with `OTEL_SDK_DISABLED=true` or `OTEL_TRACES_EXPORTER=none`. `OTEL_EXPORTER_OTLP_TIMEOUT` and
    /// `OTEL_EXPORTER_OTLP_TRACES_TIMEOUT` are milliseconds.
    pub fn read(lookup: crate::config::Lookup<'_>) -> Self {
        if !Signal::Traces.is_exported(lookup) {
            return Self::Off;
        }
        Self::Exported { timeout: Signal::Traces.timeout(lookup) }
    }
}

/// Sends spans to a collector; those that still wait when it is dropped are sent for up to two seconds.
pub(super) struct Exporter(SdkTracerProvider);

impl Exporter {
    /// What hands the program's spans over.
    pub(super) fn layer(&self) -> BoxedLayer {
        let spans = filter_fn(is_span).with_max_level_hint(LevelFilter::INFO);
        let layer = tracing_opentelemetry::layer().with_tracer(self.0.tracer("graphgate"));
        let layer = layer.with_location(false).with_threads(false).with_tracked_inactivity(false).with_target(false);
        layer.with_level(false).with_filter(spans).boxed()
    }
}

impl Drop for Exporter {
    fn drop(&mut self) {
        if let Err(error) = self.0.shutdown_with_timeout(LAST_WORDS) {
            tracing::debug!(%error, "the last spans were not sent");
        }
    }
}

/// What sends spans, if they are exported.
pub(super) fn exporter(config: Config) -> Option<Exporter> {
    let Config::Exported { timeout } = config else { return None };
    // The batching processor has a thread of its own, which blocks: requests run where everything else does.
    let runtime = tokio::runtime::Handle::try_current().ok()?;
    let client = reqwest::Client::builder().timeout(timeout).build().ok()?;
    let exporter = SpanExporter::builder().with_http().with_http_client(Sender { client, runtime }).build();
    let exporter = match exporter {
        Ok(exporter) => exporter,
        Err(error) => {
            // The log has not begun.
            let _unheard = std::io::Write::write_fmt(
                &mut std::io::stderr(),
                format_args!("graphgate: spans are not exported: {error}\n"),
            );
            return None;
        }
    };
    let resource = collector::resource();
    let provider = SdkTracerProvider::builder().with_batch_exporter(exporter).with_resource(resource).build();
    Some(Exporter(provider))
}

/// Sends what the exporter has put together.
#[derive(Debug)]
struct Sender {
    client: reqwest::Client,
    runtime: tokio::runtime::Handle,
}

#[async_trait]
impl opentelemetry_http::HttpClient for Sender {
    async fn send_bytes(
        &self,
        request: http::Request<Bytes>,
    ) -> Result<http::Response<Bytes>, opentelemetry_http::HttpError> {
        let client = self.client.clone();
        let sent = self.runtime.spawn(async move {
            let answer = client.execute(request.try_into()?).await?;
            let (status, headers) = (answer.status(), answer.headers().clone());
            let mut response = http::Response::new(answer.bytes().await?);
            (*response.status_mut(), *response.headers_mut()) = (status, headers);
            Ok::<_, reqwest::Error>(response)
        });
        Ok(sent.await??)
    }
}

/// Whether spans of a place in the code are the program's own.
pub(super) fn is_span(metadata: &Metadata<'_>) -> bool {
    metadata.is_span() && metadata.target().split("::").next() == Some("graphgate")
}

/// The caller's place in a trace, as a `traceparent` of W3C Trace Context tells it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Parent {
    trace_id: u128,
    span_id: u64,
    is_sampled: bool,
}

/// A text that is no `traceparent`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("no `traceparent` of W3C Trace Context")]
pub struct NoParent;

impl FromStr for Parent {
    type Err = NoParent;

    /// Reads version 00, and of later versions what they have in common with it.
    fn from_str(text: &str) -> Result<Self, NoParent> {
        let hex = |text: &str, length: usize| {
            let is_hex = text.len() == length && text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
            if is_hex { u128::from_str_radix(text, 16).map_err(|_| NoParent) } else { Err(NoParent) }
        };
        let mut parts = text.trim().split('-');
        let mut next = |length| hex(parts.next().unwrap_or_default(), length);
        let (version, trace_id, span_id, flags) = (next(2)?, next(32)?, next(16)?, next(2)?);
        let goes_on = parts.next().is_some();
        if version == 0xff || (version == 0 && goes_on) || trace_id == 0 || span_id == 0 {
            return Err(NoParent);
        }
        let span_id = u64::try_from(span_id).map_err(|_| NoParent)?;
        Ok(Self { trace_id, span_id, is_sampled: flags & 1 == 1 })
    }
}

/// The id of a trace, kept with its first span here.
struct Id(u128);

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

/// The span of the HTTP request that something came by, in the request's extensions.
#[derive(Debug, Clone)]
pub struct RequestSpan(pub Span);

/// Makes a span the first here of a trace: of the caller's, or of a new one.
#[must_use]
pub fn begin(span: Span, parent: Option<Parent>) -> Span {
    if span.is_disabled() {
        return span;
    }
    if let Some(Parent { trace_id, span_id, is_sampled }) = parent {
        let flags = if is_sampled { TraceFlags::SAMPLED } else { TraceFlags::default() };
        let (trace_id, span_id) = (TraceId::from(trace_id), SpanId::from(span_id));
        let parent = SpanContext::new(trace_id, span_id, flags, true, TraceState::default());
        // Nothing is exported where it fails.
        let _exported = span.set_parent(opentelemetry::Context::new().with_remote_span_context(parent));
    }
    let exported = span.context().span().span_context().trace_id();
    let id = match parent {
        Some(parent) => parent.trace_id,
        None if exported != TraceId::INVALID => u128::from_be_bytes(exported.to_bytes()),
        None => {
            let entropy = Entropy::system();
            (u128::from(entropy.number()) << 64) | u128::from(entropy.number())
        }
    };
    span.with_subscriber(|(span, dispatch)| {
        if let Some(found) = dispatch.downcast_ref::<Registry>().and_then(|registry| registry.span(span)) {
            found.extensions_mut().replace(Id(id));
        }
    });
    span
}

/// Says that what a span stands for failed, and how: an error code or a status.
pub fn fail(span: &Span, kind: &str) {
    span.record("error.type", kind).record("otel.status_code", "ERROR");
}

/// Says that a span has to do with another, which may belong to another trace.
pub fn link(span: &Span, other: &Span) {
    span.add_link(other.context().span().span_context().clone());
}

/// The id of the trace that a span and those around it belong to, as 32 hexadecimal digits.
pub(super) fn id_of<'a, S: LookupSpan<'a>>(scope: Scope<'a, S>) -> Option<String> {
    scope.into_iter().find_map(|span| span.extensions().get::<Id>().map(Id::to_string))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::collector::TIMEOUT;

    #[test]
    fn traceparent_parses_and_invalid_ones_are_refused() {
        let parent: Parent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f0670010902007-01".parse().unwrap();
        let (trace_id, span_id) = (0x4bf9_2f35_77b3_4da6_a3ce_929d_0e0e_4736, 0x00f0_6700_1090_2007);
        assert_eq!(parent, Parent { trace_id, span_id, is_sampled: true });
        let later = "cc-4bf92f3577b34da6a3ce929d0e0e4736-00f0670010902007-00-what-will-be";
        assert_eq!(later.parse(), Ok(Parent { is_sampled: false, ..parent }));
        for text in [
            "",
            "00",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f0670010902007",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f0670010902007-01-more",
            "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f0670010902007-01",
            "00-00000000000000000000000000000000-00f0670010902007-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
            "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f0670010902007-01",
            "00-+bf92f3577b34da6a3ce929d0e0e4736-00f0670010902007-01",
        ] {
            assert_eq!(text.parse::<Parent>(), Err(NoParent), "{text}");
        }
    }

    #[test]
    fn spans_are_exported_only_with_a_collector_endpoint() {
        let read = |pairs: &[(&str, &str)]| {
            let lookup = |name: &str| pairs.iter().find(|pair| pair.0 == name).map(|pair| pair.1.to_owned());
            Config::read(&lookup)
        };
        let collector = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://localhost:4318");
        assert_eq!(read(&[]), Config::Off);
        assert_eq!(read(&[collector]), Config::Exported { timeout: TIMEOUT });
        let traces = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://localhost:4318/v1/traces");
        let timeouts = [("OTEL_EXPORTER_OTLP_TIMEOUT", "7"), ("OTEL_EXPORTER_OTLP_TRACES_TIMEOUT", "3000")];
        assert_eq!(read(&[traces]), Config::Exported { timeout: TIMEOUT });
        assert_eq!(read(&[collector, timeouts[0]]), Config::Exported { timeout: Duration::from_millis(7) });
        assert_eq!(read(&[traces, timeouts[0], timeouts[1]]), Config::Exported { timeout: Duration::from_secs(3) });
        assert_eq!(read(&[collector, ("OTEL_SDK_DISABLED", "TRUE")]), Config::Off);
        assert_eq!(read(&[collector, ("OTEL_TRACES_EXPORTER", "none")]), Config::Off);
        assert_eq!(read(&[("OTEL_EXPORTER_OTLP_ENDPOINT", " ")]), Config::Off);
    }
}
