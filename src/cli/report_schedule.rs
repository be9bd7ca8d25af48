//! `graphgate report-schedule`: add, list, remove, run.

use clap::Subcommand;
use serde_json::json;

use super::report::{Audience, Format, Grouping, Kind};
use super::session::{Common, Confirmation, Session, confirm};

/// `graphgate report-schedule`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    pub common: Common,
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Deliver a report on a schedule; one of the same name is replaced
    #[command(
        after_help = "Examples:\n  graphgate report-schedule add \"Friday report\" --schedule \"0 16 * * fri\" --time-zone Europe/Berlin --plan \"Website relaunch\" --format pdf --mail ada@contoso.com\n  graphgate report-schedule add Standup --schedule \"0 9 * * mon-fri\" --plan Support --type overdue --days 1 --webhook \"https://…\""
    )]
    Add(Box<Add>),
    /// List scheduled reports, when they are due and how they went
    #[command(after_help = "Examples:\n  graphgate report-schedule list")]
    List,
    /// Remove a scheduled report
    #[command(after_help = "Examples:\n  graphgate report-schedule remove \"Friday report\" --force")]
    Remove {
        /// Its name
        name: String,
        #[command(flatten)]
        confirmation: Confirmation,
    },
    /// Run a scheduled report now and deliver it
    #[command(after_help = "Examples:\n  graphgate report-schedule run \"Friday report\"")]
    Run {
        /// Its name
        name: String,
    },
}

#[derive(Debug, clap::Args)]
struct Add {
    /// A name of your choice
    name: String,
    /// Cron: minute, hour, day of month, month, day of week
    #[arg(long, value_name = "CRON")]
    schedule: String,
    /// IANA time zone of the schedule and of the report's days
    #[arg(long, value_name = "ZONE")]
    time_zone: Option<String>,
    /// Plan id or title, may be given several times
    #[arg(long)]
    plan: Vec<String>,
    /// What about
    #[arg(long = "type", value_enum, value_name = "TYPE", default_value = "weekly")]
    kind: Kind,
    /// Days it looks back; 14 if omitted
    #[arg(long)]
    days: Option<u32>,
    /// Form of the files, may be given several times; HTML if omitted
    #[arg(long, value_enum)]
    format: Vec<Format>,
    /// Mail address, may be given several times
    #[arg(long, value_name = "ADDRESS")]
    mail: Vec<String>,
    /// Teams Workflows address a card is posted to
    #[arg(long, value_name = "URL")]
    webhook: Option<String>,
    /// What tasks are put together by
    #[arg(long, value_enum)]
    group_by: Option<Grouping>,
    /// Whom it is for; clients see no names
    #[arg(long, value_enum)]
    audience: Option<Audience>,
    /// Of dates and numbers, such as de or en-US
    #[arg(long, value_name = "TAG")]
    language: Option<String>,
}

/// Runs the command.
///
/// # Errors
/// The tool's own error, a failure of the connection, or an unconfirmed removal.
pub async fn run(arguments: Args) -> anyhow::Result<()> {
    let Args { common, verb } = arguments;
    if let Verb::Remove { name, confirmation } = &verb {
        confirm(*confirmation, &format!("remove the scheduled report `{name}`"))?;
    }
    let session = Session::open(&common).await?;
    match verb {
        Verb::Add(add) => {
            let Add {
                name,
                schedule,
                time_zone,
                plan,
                kind,
                days,
                format,
                mail,
                webhook,
                group_by,
                audience,
                language,
            } = *add;
            let some = |list: Vec<String>| (!list.is_empty()).then_some(list);
            let arguments = json!({
                "name": name, "schedule": schedule, "time_zone": time_zone, "type": kind.word(), "plans": some(plan), "days": days,
                "formats": some(format.into_iter().map(Format::word).collect()), "mail_to": some(mail), "webhook_url": webhook,
                "group_by": group_by.map(Grouping::word), "audience": audience.map(Audience::word), "language": language,
            });
            session.show("schedule_report", arguments).await
        }
        Verb::List => session.show("list_report_schedules", json!({})).await,
        Verb::Remove { name, .. } => session.show("remove_report_schedule", json!({ "name": name })).await,
        Verb::Run { name } => session.show("run_report_schedule", json!({ "name": name })).await,
    }
}
