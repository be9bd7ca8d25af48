//! Logs: one line an event, as text or JSON, to standard error or output, and to a file a day when one is named.
//!
//! A line of JSON has `timestamp level logger module function line message`, `trace_id` where the event belongs to a
//! trace, and the fields of the event. `function` is the innermost span's name; without a span it is left out.

use std::fmt::Write as _;
use std::io::Write;
use std::path::Path;

use chrono::SecondsFormat;
use serde_json::{Map, Value};
use tracing::field::{Field, Visit};
use tracing::{Event, Metadata, Subscriber};
use tracing_appender::non_blocking::WorkerGuard;
use tracing_subscriber::filter::{FilterExt, LevelFilter, filter_fn};
use tracing_subscriber::fmt::format::{FormatFields, Writer};
use tracing_subscriber::fmt::{FmtContext, FormatEvent};
use tracing_subscriber::layer::Filter;
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::{EnvFilter, Layer, Registry, fmt};

use super::traces;
use crate::clock::Clock;

/// Where the lines of the console go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Console {
    /// Standard output: what the Functions host reads as information.
    Output,
    /// Standard error: standard output belongs to data.
    Error,
}

/// Settings of the log.
#[derive(Debug, Clone)]
pub struct Config {
    /// The least level, or a filter in the syntax of `tracing`.
    pub level: String,
    /// JSON instead of text.
    pub json: bool,
    /// Also to this file; a new one begins every day (UTC).
    pub file: Option<String>,
    /// Where the console's lines go.
    pub console: Console,
}

impl Config {
    /// Reads `LOG_LEVEL`, `LOG_FORMAT` and `LOG_FILE`.
    pub fn read(lookup: crate::config::Lookup<'_>, console: Console) -> Self {
        Self {
            level: lookup("LOG_LEVEL").unwrap_or_else(|| "info".to_owned()),
            json: lookup("LOG_FORMAT").is_some_and(|format| format.trim().eq_ignore_ascii_case("json")),
            file: lookup("LOG_FILE"),
            console,
        }
    }
}

/// Whether a text is a level, or a filter in the syntax of `tracing`.
#[must_use]
pub fn is_level(text: &str) -> bool {
    let known = matches!(text.to_lowercase().as_str(), "error" | "warn" | "info" | "debug" | "trace" | "off");
    known || (text.contains(['=', ',']) && EnvFilter::try_new(text).is_ok())
}

/// A part of what listens to events and spans.
pub(super) type BoxedLayer = Box<dyn Layer<Registry> + Send + Sync>;

/// The layers that write lines, and what keeps the file's writer alive.
pub(super) fn layers(config: &Config) -> (Vec<BoxedLayer>, Option<WorkerGuard>) {
    let console = match config.console {
        Console::Output => layer(config, std::io::stdout),
        Console::Error => layer(config, std::io::stderr),
    };
    let file = config.file.as_deref().map(Path::new).and_then(|path| Some((path.parent()?, path.file_name()?)));
    let Some((folder, name)) = file else { return (vec![console], None) };
    let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
    make_private(folder, name);
    let (writer, guard) = tracing_appender::non_blocking(tracing_appender::rolling::daily(folder, name));
    (vec![console, layer(config, writer)], Some(guard))
}

/// What is logged. Libraries log at their own pace; unless a filter says otherwise only their warnings count.
///
/// The protocol library logs the text of calls and of refusals, in which callers may have put anything. No filter lets
/// that into the log: of that library only errors are written, however the filter is worded.
fn filter<S>(level: &str) -> impl Filter<S> + Send + Sync + 'static
where
    S: Subscriber + for<'span> LookupSpan<'span>,
{
    let wanted = if level.contains(['=', ',']) { level.to_owned() } else { format!("warn,graphgate={level}") };
    let wanted = EnvFilter::try_new(wanted).unwrap_or_else(|_| EnvFilter::new("warn,graphgate=info"));
    let of_calls = |target: &str| target.split("::").next() == Some("rmcp");
    wanted.and(filter_fn(move |event| !of_calls(event.target()) || *event.level() == tracing::Level::ERROR))
}

/// Takes the log files of former days from everybody but their owner.
fn make_private(folder: &Path, name: &std::ffi::OsStr) {
    let ours = |entry: &std::fs::DirEntry| {
        entry.file_name().to_string_lossy().starts_with(&*name.to_string_lossy())
            && entry.file_type().is_ok_and(|kind| kind.is_file())
    };
    let Ok(entries) = std::fs::read_dir(folder) else { return };
    for entry in entries.filter_map(Result::ok).filter(ours) {
        let _of_another_user = crate::os::make_private(&entry.path());
    }
}

fn layer<W>(config: &Config, writer: W) -> BoxedLayer
where
    W: for<'writer> fmt::MakeWriter<'writer> + Send + Sync + 'static,
{
    let layer = fmt::layer().with_writer(Lines(writer)).with_ansi(false).with_target(false);
    let events = filter(&config.level);
    if config.json {
        // The spans of the program are there at every level: they say to which trace a line belongs.
        let spans = filter_fn(traces::is_span).with_max_level_hint(LevelFilter::INFO);
        layer.event_format(Json(Clock::system())).fmt_fields(NoFields).with_filter(events.or(spans)).boxed()
    } else {
        layer.compact().with_filter(events.and(filter_fn(is_event))).boxed()
    }
}

fn is_event(metadata: &Metadata<'_>) -> bool {
    metadata.is_event()
}

/// A line of JSON for each event.
struct Json(Clock);

impl<S, N> FormatEvent<S, N> for Json
where
    S: Subscriber + for<'span> LookupSpan<'span>,
    N: for<'writer> FormatFields<'writer> + 'static,
{
    fn format_event(&self, context: &FmtContext<'_, S, N>, mut to: Writer<'_>, event: &Event<'_>) -> std::fmt::Result {
        let metadata = event.metadata();
        let mut line = Map::new();
        let time = self.0.now().to_rfc3339_opts(SecondsFormat::Micros, true);
        line.insert("timestamp".into(), time.into());
        line.insert("level".into(), metadata.level().as_str().into());
        line.insert("logger".into(), metadata.target().into());
        line.insert("module".into(), metadata.module_path().into());
        let span = context.lookup_current();
        if let Some(span) = &span {
            line.insert("function".into(), span.name().into());
        }
        line.insert("line".into(), metadata.line().into());
        line.insert("message".into(), Value::Null); // here, before the fields
        if let Some(trace_id) = span.and_then(|span| traces::id_of(span.scope())) {
            line.insert("trace_id".into(), trace_id.into());
        }
        event.record(&mut Fields(&mut line));
        writeln!(to, "{}", Value::Object(line))
    }
}

/// Takes the fields of an event as members of its line; none takes the place of one that every line has.
struct Fields<'a>(&'a mut Map<String, Value>);

impl Fields<'_> {
    fn put(&mut self, field: &Field, value: Value) {
        let name = field.name();
        if name == "message" || !self.0.contains_key(name) {
            self.0.insert(name.to_owned(), value);
        } else {
            self.0.insert(format!("{name}_"), value);
        }
    }
}

impl Visit for Fields<'_> {
    fn record_f64(&mut self, field: &Field, value: f64) {
        self.put(field, value.into());
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.put(field, value.into());
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.put(field, value.into());
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.put(field, value.into());
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.put(field, value.into());
    }

    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        let mut text = String::new();
        let _never_fails = write!(text, "{value:?}");
        self.put(field, text.into());
    }
}

/// Keeps no text of a span's fields: no line shows them.
struct NoFields;

impl<'writer> FormatFields<'writer> for NoFields {
    fn format_fields<R: tracing_subscriber::field::RecordFields>(&self, _: Writer<'writer>, _: R) -> std::fmt::Result {
        Ok(())
    }
}

/// Writes each event as one line in which nothing acts unseen, no matter which texts of callers it quotes.
struct Lines<W>(W);

impl<'writer, W: fmt::MakeWriter<'writer>> fmt::MakeWriter<'writer> for Lines<W> {
    type Writer = Lines<W::Writer>;

    fn make_writer(&'writer self) -> Self::Writer {
        Lines(self.0.make_writer())
    }

    fn make_writer_for(&'writer self, meta: &Metadata<'_>) -> Self::Writer {
        Lines(self.0.make_writer_for(meta))
    }
}

impl<W: Write> Write for Lines<W> {
    /// Takes an event whole, as the formatter hands it over.
    fn write(&mut self, event: &[u8]) -> std::io::Result<usize> {
        let text = String::from_utf8_lossy(event);
        let mut line = crate::text::line(text.strip_suffix('\n').unwrap_or(&text));
        line.push('\n');
        self.0.write_all(line.as_bytes())?;
        Ok(event.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.0.flush()
    }
}
