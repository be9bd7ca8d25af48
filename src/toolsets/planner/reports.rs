//! Tools that make reports.

use schemars::JsonSchema;
use serde::Deserialize;

use crate::services::Error;
use crate::services::planner::input::one_or_more;
use crate::services::reports::request::{Audience, Grouping, Kind};
use crate::services::reports::{Format, Keep, ReportReceipt, ReportRequest};
use crate::toolsets::tool::{Context, Effect, READ_TASKS, Tool};

/// All of them.
pub fn all() -> Vec<Tool> {
    vec![Tool::new(
        "generate_report",
        "Report on plans: a summary, a resource with all figures, files.",
        Effect::Reads,
        READ_TASKS,
        generate_report,
    )]
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct GenerateReport {
    /// Default summary
    #[serde(alias = "report_type")]
    r#type: Option<Kind>,
    /// Plan ids or titles
    #[serde(default, alias = "plan_id", deserialize_with = "one_or_more")]
    plans: Option<Vec<String>>,
    /// First day
    from: Option<String>,
    /// Last day
    to: Option<String>,
    /// IANA
    time_zone: Option<String>,
    /// Default bucket
    group_by: Option<Grouping>,
    /// client names nobody
    audience: Option<Audience>,
    /// Of dates and numbers
    language: Option<String>,
    /// Files wanted
    formats: Option<Vec<Format>>,
}

async fn generate_report(context: Context, arguments: GenerateReport) -> Result<ReportReceipt, Error> {
    let GenerateReport { r#type: kind, plans, from, to, time_zone, group_by, audience, language, formats } = arguments;
    let request = ReportRequest { kind, plans, from, to, time_zone, group_by, audience, language };
    let keep = if context.may_write { Keep::Yes } else { Keep::No };
    context.services.reports.generate(&context.caller, &request, &formats.unwrap_or_default(), keep).await
}
