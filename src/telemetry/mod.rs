//! What the program tells of itself while it runs: log lines ([`logs`]), metrics ([`metrics`]) and traces ([`traces`]).

mod collector;
pub mod logs;
pub mod metrics;
pub mod traces;

use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

pub use logs::{Console, is_level};

/// Settings of log and traces.
#[derive(Debug, Clone)]
pub struct Config {
    /// What the log holds, and where it goes.
    pub logs: logs::Config,
    /// Whether spans are exported.
    pub traces: traces::Config,
}

impl Config {
    /// Reads the settings of [`logs::Config`] and [`traces::Config`].
    pub fn read(lookup: crate::config::Lookup<'_>, console: Console) -> Self {
        Self { logs: logs::Config::read(lookup, console), traces: traces::Config::read(lookup) }
    }
}

/// Keeps writers and exporters alive; what still waits is written and sent when it is dropped.
pub struct Guard {
    _file: Option<tracing_appender::non_blocking::WorkerGuard>,
    _exporter: Option<traces::Exporter>,
}

/// Starts log and traces for the whole process. A second call changes nothing.
#[must_use]
pub fn start(config: &Config) -> Guard {
    let (mut layers, file) = logs::layers(&config.logs);
    let exporter = traces::exporter(config.traces);
    layers.extend(exporter.as_ref().map(traces::Exporter::layer));
    let _second_call = tracing_subscriber::registry().with(layers).try_init();
    Guard { _file: file, _exporter: exporter }
}
