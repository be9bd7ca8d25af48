//! Tools for reports that make themselves.

use schemars::JsonSchema;
use serde::Deserialize;

use crate::services::Error;
use crate::services::reports::request::{Audience, Grouping, Kind};
use crate::services::reports::schedule::{ScheduleItem, ScheduleList, ScheduleRemoved, ScheduleRequest};
use crate::services::reports::{Format, ReportRequest};
use crate::toolsets::tool::{Context, Effect, RunsAs, Tool};
use crate::toolsets::{Presence, Toolset};

/// Graph permissions of reports that are mailed.
const SEND: RunsAs =
    RunsAs::Application(&["Mail.Send", "Mail.ReadWrite", "Tasks.Read.All", "Group.Read.All", "User.ReadBasic.All"]);
/// Graph permissions of what only reads definitions.
const READS: RunsAs = RunsAs::Application(&["Group.Read.All"]);

/// The toolset.
pub fn toolset() -> Toolset {
    let tools = vec![
        Tool::new(
            "list_report_schedules",
            "List scheduled reports: when each is due next and how its last run ended.",
            Effect::Reads,
            READS,
            list,
        ),
        Tool::new(
            "schedule_report",
            "Deliver a report on a schedule, by mail or to a Teams workflow. Replaces the one of its name.",
            Effect::Changes,
            SEND,
            schedule,
        ),
        Tool::new("run_report_schedule", "Run a scheduled report now and deliver it.", Effect::Adds, SEND, run),
        Tool::new("remove_report_schedule", "Remove a scheduled report.", Effect::Removes, READS, remove),
    ];
    Toolset {
        name: "reports",
        description: "Reports that make themselves and are delivered by mail or to Teams",
        instructions: "",
        presence: Presence::Listed,
        tools,
        aliases: &[],
        resources: Vec::new(),
        completions: Vec::new(),
        prompts: &[],
    }
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Nothing {}

async fn list(context: Context, _: Nothing) -> Result<ScheduleList, Error> {
    context.services.reports.list_schedules(&context.caller).await
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct ScheduleReport {
    /// A name of your choice
    name: String,
    /// Cron in the time zone: `0 16 * * fri`
    schedule: String,
    /// IANA time zone
    time_zone: Option<String>,
    /// What about; default summary
    r#type: Option<Kind>,
    /// Plan ids or titles
    plans: Option<Vec<String>>,
    /// Days it looks back; default 14, weekly 7
    #[schemars(range(min = 1, max = 366))]
    days: Option<u32>,
    /// Default bucket
    group_by: Option<Grouping>,
    /// Default team_lead; client names nobody
    audience: Option<Audience>,
    /// Of dates and numbers: en, de, fr …
    language: Option<String>,
    /// Files; default html
    formats: Option<Vec<Format>>,
    /// Mail addresses
    mail_to: Option<Vec<String>>,
    /// Teams Workflows address a card is posted to
    webhook_url: Option<String>,
}

async fn schedule(context: Context, arguments: ScheduleReport) -> Result<ScheduleItem, Error> {
    let ScheduleReport {
        name,
        schedule,
        time_zone,
        r#type: kind,
        plans,
        days,
        group_by,
        audience,
        language,
        formats,
        mail_to,
        webhook_url,
    } = arguments;
    let report = ReportRequest { kind, plans, from: None, to: None, time_zone, group_by, audience, language };
    let request = ScheduleRequest { name, schedule, report, days, formats, mail_to, webhook_url };
    context.services.reports.schedule(&context.caller, &request).await
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Named {
    /// Its name
    name: String,
}

async fn run(context: Context, arguments: Named) -> Result<ScheduleItem, Error> {
    context.services.reports.run_schedule(&context.caller, &arguments.name).await
}

async fn remove(context: Context, arguments: Named) -> Result<ScheduleRemoved, Error> {
    context.services.reports.unschedule(&context.caller, &arguments.name).await
}
