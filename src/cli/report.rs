//! `graphgate report`: make a report and save it.

use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::ValueEnum;
use indicatif::ProgressBar;
use serde_json::{Value, json};

use super::failure::Failure;
use super::output::Format as OutputFormat;
use super::session::{Common, Session};

/// `graphgate report`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  graphgate report --plan \"Website relaunch\"
  graphgate report --plan \"Website relaunch\" --type weekly --format pdf --out weekly.pdf
  graphgate report --type portfolio --audience executive --out portfolio.html
  graphgate report --plan Support --type overdue --group-by assignee --format csv > overdue.csv")]
pub struct Args {
    /// Plan id or title, may be given several times; the default plan if omitted
    #[arg(long)]
    plan: Vec<String>,
    /// What about
    #[arg(long = "type", value_enum, value_name = "TYPE", default_value = "summary")]
    kind: Kind,
    /// Form of the file; what `--out` ends with, or Markdown
    #[arg(long, value_enum)]
    format: Option<Format>,
    /// File to write; standard output if omitted
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// First day, YYYY-MM-DD; 14 days in all if omitted, 7 for weekly
    #[arg(long, value_name = "DATE")]
    from: Option<String>,
    /// Last day; today if omitted
    #[arg(long, value_name = "DATE")]
    to: Option<String>,
    /// IANA time zone of the days
    #[arg(long, value_name = "ZONE")]
    time_zone: Option<String>,
    /// What tasks are put together by
    #[arg(long, value_enum)]
    group_by: Option<Grouping>,
    /// Whom it is for; clients see no names
    #[arg(long, value_enum)]
    audience: Option<Audience>,
    /// Of dates and numbers, such as de or en-US
    #[arg(long, value_name = "TAG")]
    language: Option<String>,
    // Last, because its options are under headings of their own.
    #[command(flatten)]
    pub common: Common,
}

/// A word of the tool's, offered as it is spelt there but for `-`.
macro_rules! words {
    ($(#[$doc:meta])* $name:ident { $($(#[$variant_doc:meta])* $variant:ident),* $(,)? }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
        pub enum $name { $($(#[$variant_doc])* $variant),* }

        impl $name {
            /// The word the tool takes.
            pub fn word(self) -> String {
                self.to_possible_value().map(|value| value.get_name().replace('-', "_")).unwrap_or_default()
            }
        }
    };
}

words!(
    /// What a report is about.
    Kind {
        /// Where a plan stands
        Summary,
        /// What was done, is late, comes next
        Weekly,
        /// Who has how much
        Workload,
        /// What is late, how long, whose
        Overdue,
        /// How the open tasks go down
        Burndown,
        /// How tasks move over the board
        BucketFlow,
        /// Several plans side by side
        Portfolio,
        /// Whether the replica is up to date
        SyncHealth,
    }
);
words!(
    /// The form of the file.
    Format {
        /// For machines
        Json,
        /// The tasks, in Planner's own columns
        Csv,
        /// For a chat
        Markdown,
        /// For a browser
        Html,
        /// For a spreadsheet program
        Xlsx,
        /// For paper
        Pdf,
    }
);
words!(
    /// What tasks are put together by.
    Grouping {
        /// Not at all
        None,
        /// Who does them
        Assignee,
        /// Column of the board
        Bucket,
        /// Priority
        Priority,
        /// Progress
        Status,
        /// Label
        Label,
    }
);
words!(
    /// Whom a report is for.
    Audience {
        /// The outcome on a page
        Executive,
        /// Everything
        TeamLead,
        /// What to do next comes first
        Contributor,
        /// Nobody is named
        Client,
    }
);

impl Format {
    fn of(path: &Path) -> Option<Self> {
        Some(match path.extension()?.to_str()?.to_lowercase().as_str() {
            "json" => Self::Json,
            "csv" => Self::Csv,
            "md" | "markdown" => Self::Markdown,
            "html" | "htm" => Self::Html,
            "xlsx" => Self::Xlsx,
            "pdf" => Self::Pdf,
            _ => return None,
        })
    }
}

impl Args {
    /// The tool's arguments, but for the formats.
    fn request(&self) -> Value {
        json!({
            "type": self.kind.word(),
            "plans": (!self.plan.is_empty()).then_some(&self.plan),
            "from": self.from,
            "to": self.to,
            "time_zone": self.time_zone,
            "group_by": self.group_by.map(Grouping::word),
            "audience": self.audience.map(Audience::word),
            "language": self.language,
        })
    }
}

/// Runs the command.
///
/// # Errors
/// The tool's own error, a failure of the connection, or a file that cannot be written.
pub async fn run(arguments: Args) -> anyhow::Result<()> {
    let format = arguments.format.or_else(|| arguments.out.as_deref().and_then(Format::of)).unwrap_or(Format::Markdown);
    if let Some((path, named)) = arguments.out.as_deref().and_then(|path| Some((path, Format::of(path)?)))
        && named != format
    {
        let refused = format!("`{}` names {}, `--format` {}", path.display(), named.word(), format.word());
        return Err(Failure::invalid(refused).hint("leave `--format` out, or name the file for the format").into());
    }
    let binary = matches!(format, Format::Pdf | Format::Xlsx);
    if binary && arguments.out.is_none() && std::io::stdout().is_terminal() {
        let refused = Failure::invalid(format!("a terminal cannot show a report as {}", format.word()));
        return Err(refused.hint("add `--out FILE`").into());
    }
    let waiting = ProgressBar::new_spinner().with_message("making the report");
    waiting.enable_steady_tick(Duration::from_millis(100));
    let session = Session::open(&arguments.common).await?;
    let mut request = arguments.request();
    if let Value::Object(request) = &mut request {
        request.insert("formats".into(), json!([format.word()]));
    }
    let made = session.call("generate_report", request).await;
    let made = made.inspect_err(|_| waiting.finish_and_clear())?;
    waiting.set_message("fetching the file");
    let address = made.pointer(&format!("/downloads/{}", format.word())).and_then(Value::as_str);
    let address = address.ok_or_else(|| Failure::new("the server answered without an address of the file"))?;
    let content = session.client().download(address).await;
    waiting.finish_and_clear();
    let content = content?;
    match &arguments.out {
        None => session.output.write_bytes(&content),
        Some(path) => {
            std::fs::write(path, &content)
                .map_err(|error| Failure::new(format!("`{}` cannot be written: {error}", path.display())))?;
            super::output::note(&format!("{} bytes in {}", content.len(), path.display()));
            if arguments.common.format() == Some(OutputFormat::Json) {
                session.output.print(&made)?;
            }
            Ok(())
        }
    }
}
