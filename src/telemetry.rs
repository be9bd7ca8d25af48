//! Logs: one line an event, as text or JSON, to standard error or output, and to a file a day when one is named.

use std::io::Write;
use std::path::Path;

use tracing_appender::non_blocking::WorkerGuard;
use tracing_subscriber::filter::{FilterExt, filter_fn};
use tracing_subscriber::layer::{Filter, SubscriberExt};
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer, Registry, fmt};

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

/// Keeps the file's writer alive; lines still waiting are written when it is dropped.
pub struct Guard(#[allow(dead_code)] Option<WorkerGuard>);

/// Starts logging for the whole process. A second call changes nothing.
#[must_use]
pub fn start(config: &Config) -> Guard {
    let console = match config.console {
        Console::Output => layer(config.json, std::io::stdout).with_filter(filter(&config.level)).boxed(),
        Console::Error => layer(config.json, std::io::stderr).with_filter(filter(&config.level)).boxed(),
    };
    let (file, guard) =
        match config.file.as_deref().map(Path::new).and_then(|path| Some((path.parent()?, path.file_name()?))) {
            Some((folder, name)) => {
                let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
                make_private(folder, name);
                let (writer, guard) = tracing_appender::non_blocking(tracing_appender::rolling::daily(folder, name));
                (Some(layer(config.json, writer).with_filter(filter(&config.level)).boxed()), Some(guard))
            }
            None => (None, None),
        };
    let _ = tracing_subscriber::registry()
        .with(vec![Some(console), file].into_iter().flatten().collect::<Vec<_>>())
        .try_init();
    Guard(guard)
}

/// What is logged. Libraries log at their own pace; unless a filter says otherwise only their warnings count.
///
/// The protocol library logs the text of calls and of refusals, in which callers may have put anything. No filter lets
/// that into the log: of that library only errors are written, however the filter is worded.
fn filter<S>(level: &str) -> impl Filter<S> + Send + Sync + 'static
where
    S: tracing::Subscriber + for<'span> tracing_subscriber::registry::LookupSpan<'span>,
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

fn layer<W>(json: bool, writer: W) -> Box<dyn Layer<Registry> + Send + Sync>
where
    W: for<'writer> fmt::MakeWriter<'writer> + Send + Sync + 'static,
{
    let layer = fmt::layer().with_writer(Lines(writer)).with_ansi(false).with_target(false);
    if json { layer.json().flatten_event(true).boxed() } else { layer.compact().boxed() }
}

/// Writes each event as one line in which nothing acts unseen, whatever texts of callers it quotes.
struct Lines<W>(W);

impl<'writer, W: fmt::MakeWriter<'writer>> fmt::MakeWriter<'writer> for Lines<W> {
    type Writer = Lines<W::Writer>;

    fn make_writer(&'writer self) -> Self::Writer {
        Lines(self.0.make_writer())
    }

    fn make_writer_for(&'writer self, meta: &tracing::Metadata<'_>) -> Self::Writer {
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
