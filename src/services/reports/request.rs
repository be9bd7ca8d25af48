//! What a caller asks of a report: the words, and what they mean.

use chrono::{DateTime, NaiveDate, TimeDelta, Utc};
use chrono_tz::Tz;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::counts::Days;
use super::language::Language;
use crate::services::Error;
pub use crate::services::planner::days::zone;

/// Days a report is about unless asked otherwise, and a weekly one.
const USUAL_DAYS: i64 = 14;
const WEEK: i64 = 7;
/// The longest period.
const MAX_DAYS: i64 = 366;

/// What a report is about.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// The state of a plan.
    #[default]
    Summary,
    /// What was done, what is late, what is next.
    Weekly,
    /// Who has how much.
    Workload,
    /// What is late, for how long, and whose.
    Overdue,
    /// How the open tasks go down.
    Burndown,
    /// How tasks move over the board.
    BucketFlow,
    /// Several plans side by side.
    Portfolio,
    /// Whether the replica is up to date.
    SyncHealth,
}

impl Kind {
    /// All kinds.
    pub const ALL: [Self; 8] = [
        Self::Summary,
        Self::Weekly,
        Self::Workload,
        Self::Overdue,
        Self::Burndown,
        Self::BucketFlow,
        Self::Portfolio,
        Self::SyncHealth,
    ];

    /// The word in arguments.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Summary => "summary",
            Self::Weekly => "weekly",
            Self::Workload => "workload",
            Self::Overdue => "overdue",
            Self::Burndown => "burndown",
            Self::BucketFlow => "bucket_flow",
            Self::Portfolio => "portfolio",
            Self::SyncHealth => "sync_health",
        }
    }

    /// The title of a report.
    #[must_use]
    pub const fn heading(self) -> &'static str {
        match self {
            Self::Summary => "Summary",
            Self::Weekly => "Weekly report",
            Self::Workload => "Workload",
            Self::Overdue => "Overdue tasks",
            Self::Burndown => "Burndown",
            Self::BucketFlow => "Bucket flow",
            Self::Portfolio => "Portfolio",
            Self::SyncHealth => "Sync health",
        }
    }

    /// Whether it is about all plans when none is named.
    #[must_use]
    pub const fn spans_plans(self) -> bool {
        matches!(self, Self::Portfolio | Self::SyncHealth)
    }
}

/// What tasks are put together by.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Grouping {
    /// Not at all.
    None,
    /// By who does them.
    Assignee,
    /// By column of the board.
    #[default]
    Bucket,
    /// By priority.
    Priority,
    /// By progress.
    Status,
    /// By label.
    Label,
}

impl Grouping {
    /// All groupings.
    pub const ALL: [Self; 6] = [Self::None, Self::Assignee, Self::Bucket, Self::Priority, Self::Status, Self::Label];

    /// The title of a column of group names.
    #[must_use]
    pub const fn heading(self) -> &'static str {
        match self {
            Self::None => "Tasks",
            Self::Assignee => "Assignee",
            Self::Bucket => "Bucket",
            Self::Priority => "Priority",
            Self::Status => "Status",
            Self::Label => "Label",
        }
    }
}

/// Whom a report is for, and so what it shows.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Audience {
    /// The outcome on a page: figures, charts, the few tasks that matter most.
    Executive,
    /// Everything.
    #[default]
    TeamLead,
    /// What to do next comes first.
    Contributor,
    /// Nobody is named.
    Client,
}

impl Audience {
    /// Whether people are named.
    #[must_use]
    pub const fn names_people(self) -> bool {
        !matches!(self, Self::Client)
    }

    /// Tasks a list of the report shows at most.
    #[must_use]
    pub const fn list_limit(self) -> usize {
        match self {
            Self::Executive => 5,
            Self::Client => 15,
            Self::TeamLead | Self::Contributor => 25,
        }
    }
}

/// The form a report is written in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Format {
    /// The report itself, for machines.
    Json,
    /// The tasks, in the columns of Planner's own export.
    Csv,
    /// For a chat.
    Markdown,
    /// For a browser: one file with charts.
    Html,
    /// For a spreadsheet program.
    Xlsx,
    /// For paper; offered where the program can set type.
    #[cfg_attr(not(feature = "pdf"), schemars(skip))]
    Pdf,
}

impl Format {
    /// All formats.
    pub const ALL: [Self; 6] = [Self::Json, Self::Csv, Self::Markdown, Self::Html, Self::Xlsx, Self::Pdf];

    /// The word in arguments.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Json => "json",
            Self::Csv => "csv",
            Self::Markdown => "markdown",
            Self::Html => "html",
            Self::Xlsx => "xlsx",
            Self::Pdf => "pdf",
        }
    }

    /// Reads a word, or the end of a file's name.
    ///
    /// # Errors
    /// When it is no format.
    pub fn parse(text: &str) -> Result<Self, Error> {
        let text = text.trim().to_lowercase();
        let found = Self::ALL.into_iter().find(|format| format.word() == text || format.extension() == text);
        found.ok_or_else(|| {
            let known = Self::ALL.map(|format| format!("`{}`", format.word())).join(", ");
            Error::invalid(format!("`{text}` is no format of a report")).hint(format!("use {known}"))
        })
    }

    /// How a file's name ends.
    #[must_use]
    pub const fn extension(self) -> &'static str {
        match self {
            Self::Markdown => "md",
            other => other.word(),
        }
    }

    /// Its media type.
    #[must_use]
    pub const fn media_type(self) -> &'static str {
        match self {
            Self::Json => "application/json",
            Self::Csv => "text/csv; charset=utf-8",
            Self::Markdown => "text/markdown; charset=utf-8",
            Self::Html => "text/html; charset=utf-8",
            Self::Xlsx => "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
            Self::Pdf => "application/pdf",
        }
    }
}

/// The arguments of a report. `null` and absent fields mean the usual.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ReportRequest {
    /// What about; summary if omitted
    #[serde(rename = "type")]
    pub kind: Option<Kind>,
    /// Plan ids or titles; portfolio and sync_health take all if omitted
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub plans: Option<Vec<String>>,
    /// First day; 14 days in all if omitted, 7 for weekly
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// Last day; today if omitted
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<String>,
    /// IANA zone of the days
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub time_zone: Option<String>,
    /// Default bucket
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group_by: Option<Grouping>,
    /// Default team_lead; client names nobody
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub audience: Option<Audience>,
    /// Of dates and numbers: en, de, fr …
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub language: Option<String>,
}

/// A request, understood.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Options {
    /// What it is about.
    pub kind: Kind,
    /// The days.
    pub days: Days,
    /// What tasks are put together by.
    pub group_by: Grouping,
    /// Whom it is for.
    pub audience: Audience,
    /// How dates and numbers are written.
    pub language: Language,
    /// When it is made.
    pub now: DateTime<Utc>,
    /// The zone whose days are recorded: the deployment's.
    pub recorded_in: Tz,
}

impl ReportRequest {
    /// Understands the request; `usual_zone` is meant when it names none.
    ///
    /// # Errors
    /// Words that mean nothing, a period that ends before it begins or is too long, and what a client must not see.
    pub fn understand(&self, now: DateTime<Utc>, usual_zone: Tz) -> Result<Options, Error> {
        let zone = self.time_zone.as_deref().map(zone).transpose()?.unwrap_or(usual_zone);
        let today = now.with_timezone(&zone).date_naive();
        let to = self.to.as_deref().map(|text| day("to", text)).transpose()?.unwrap_or(today);
        let usual_days = if self.kind == Some(Kind::Weekly) { WEEK } else { USUAL_DAYS };
        let usual_from = to - TimeDelta::days(usual_days - 1);
        let from = self.from.as_deref().map(|text| day("from", text)).transpose()?.unwrap_or(usual_from);
        if from > to {
            return Err(Error::invalid(format!("`from` {from} is after `to` {to}")));
        }
        if (to - from).num_days() >= MAX_DAYS {
            return Err(Error::invalid(format!("the period is longer than {MAX_DAYS} days")));
        }
        let (kind, audience) = (self.kind.unwrap_or_default(), self.audience.unwrap_or_default());
        let usual_group = if kind == Kind::Workload { Grouping::Assignee } else { Grouping::default() };
        let group_by = self.group_by.unwrap_or(usual_group);
        if !audience.names_people() && (group_by == Grouping::Assignee || kind == Kind::Workload) {
            return Err(Error::invalid("a report for clients names nobody, so it cannot be about people")
                .hint("choose another `audience`, `type` or `group_by`"));
        }
        let language = self.language.as_deref().map(Language::parse).transpose()?.unwrap_or_default();
        Ok(Options {
            kind,
            days: Days { from, to, today, zone },
            group_by,
            audience,
            language,
            now,
            recorded_in: usual_zone,
        })
    }
}

fn day(name: &str, text: &str) -> Result<NaiveDate, Error> {
    let day = NaiveDate::parse_from_str(text.trim(), "%Y-%m-%d").ok();
    day.filter(|day| (1900..=2999).contains(&chrono::Datelike::year(day)))
        .ok_or_else(|| Error::invalid(format!("`{name}` is no date: `{text}`")).hint("use `YYYY-MM-DD`"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> DateTime<Utc> {
        text.parse().unwrap()
    }

    #[test]
    fn default_report_period_is_fourteen_days_ending_today_in_the_zone() {
        let request = ReportRequest { time_zone: Some("Pacific/Auckland".into()), ..ReportRequest::default() };
        let options = request.understand(at("2026-11-25T18:00:00Z"), Tz::UTC).unwrap();
        let Days { from, to, today, .. } = options.days;
        assert_eq!((from.to_string(), to.to_string(), today), ("2026-11-13".into(), "2026-11-26".into(), to));
    }

    #[test]
    fn invalid_report_request_is_refused_with_a_hint() {
        let now = at("2026-11-25T18:00:00Z");
        let refused = |request: ReportRequest| request.understand(now, Tz::UTC).unwrap_err().message;
        let text = |text: &str| Some(text.to_owned());
        let base = ReportRequest::default;
        assert!(refused(ReportRequest { time_zone: text("Mars/Base"), ..base() }).contains("no time zone"));
        assert!(refused(ReportRequest { from: text("2026-12-01"), ..base() }).contains("is after"));
        assert!(refused(ReportRequest { from: text("yesterday"), ..base() }).contains("no date"));
        assert!(refused(ReportRequest { from: text("2020-01-01"), ..base() }).contains("longer than 366 days"));
        assert!(refused(ReportRequest { language: text("tlh"), ..base() }).contains("no language"));
        let client = ReportRequest { audience: Some(Audience::Client), group_by: Some(Grouping::Assignee), ..base() };
        assert!(refused(client).contains("names nobody"));
    }
}
