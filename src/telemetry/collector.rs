//! The collector of OpenTelemetry: what spans and metrics have in common on their way to it.

use std::time::Duration;

use opentelemetry::{Key, KeyValue};
use opentelemetry_sdk::Resource;

/// How long the end of the program waits for the last request.
pub(super) const LAST_WORDS: Duration = Duration::from_secs(2);

/// How long a request may take where no variable says it (OpenTelemetry specification, OTLP exporter).
pub(super) const TIMEOUT: Duration = Duration::from_secs(10);

/// What is exported.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Signal {
    Traces,
    Metrics,
}

impl Signal {
    /// Its name in variables.
    const fn name(self) -> &'static str {
        match self {
            Self::Traces => "TRACES",
            Self::Metrics => "METRICS",
        }
    }

    /// Whether the variables name a collector for it, and none forbids it.
    pub(super) fn is_exported(self, lookup: crate::config::Lookup<'_>) -> bool {
        let says = |name: &str, value: &str| lookup(name).is_some_and(|text| text.trim().eq_ignore_ascii_case(value));
        let names = |name: &str| lookup(name).is_some_and(|text| !text.trim().is_empty());
        let (own, signal) = (format!("OTEL_EXPORTER_OTLP_{}_ENDPOINT", self.name()), self.name());
        let is_off = says("OTEL_SDK_DISABLED", "true") || says(&format!("OTEL_{signal}_EXPORTER"), "none");
        (names("OTEL_EXPORTER_OTLP_ENDPOINT") || names(&own)) && !is_off
    }

    /// How long one request may take: `OTEL_EXPORTER_OTLP_TIMEOUT` or the signal's own variable, in milliseconds.
    pub(super) fn timeout(self, lookup: crate::config::Lookup<'_>) -> Duration {
        let milliseconds = |name: &str| lookup(name)?.trim().parse().ok();
        let own = milliseconds(&format!("OTEL_EXPORTER_OTLP_{}_TIMEOUT", self.name()));
        own.or_else(|| milliseconds("OTEL_EXPORTER_OTLP_TIMEOUT")).map_or(TIMEOUT, Duration::from_millis)
    }
}

/// What the program is, for the collector: name, version, and what `OTEL_RESOURCE_ATTRIBUTES` adds.
pub(super) fn resource() -> Resource {
    let resource = Resource::builder().with_attribute(KeyValue::new("service.version", env!("CARGO_PKG_VERSION")));
    let is_named = Resource::builder()
        .build()
        .get(&Key::from_static_str("service.name"))
        .is_some_and(|name| !name.as_str().starts_with("unknown_service"));
    let resource = if is_named { resource } else { resource.with_service_name("graphgate") };
    resource.build()
}
