//! *Reports*: those that are kept, in every format, and those on a schedule.

use askama::Template;
use axum::extract::{Path, State as Shared};
use axum::http::{HeaderMap, Method, StatusCode};
use axum::response::{IntoResponse, Response};

use super::caller::{Visitor, audited, failed, visitor};
use super::page;
use crate::api::State;
use crate::api::problem::Problem;
use crate::api::reports::Served;
use crate::api::route::{Need, Route};
use crate::services::reports::Format;
use crate::services::reports::schedule::ScheduleItem;

/// The toolset that reports belong to.
const TOOLSET: &str = "reports";

/// The routes.
pub fn routes() -> Vec<Route> {
    vec![
        Route::get("/pages/reports", Need::Nothing, show),
        Route::get("/pages/reports/{id}/{format}", Need::Nothing, file).naming("report_id"),
    ]
}

/// A report, as it is shown.
struct Report {
    id: String,
    title: String,
    made: String,
    by: String,
}

/// A report on a schedule, as it is shown.
struct Schedule {
    name: String,
    when: String,
    next: String,
    to: String,
    trouble: String,
}

impl From<ScheduleItem> for Schedule {
    fn from(item: ScheduleItem) -> Self {
        let last = item.last.map(|last| last.problems.join("; "));
        Self {
            name: item.name,
            when: format!("{} ({})", item.schedule, item.time_zone),
            next: super::day(item.next),
            to: item.mail_to.into_iter().chain(item.webhook_host).collect::<Vec<_>>().join(", "),
            trouble: item.stopped.or(last).unwrap_or_default(),
        }
    }
}

/// The formats this program writes.
fn written() -> impl Iterator<Item = Format> {
    Format::ALL.into_iter().filter(|format| *format != Format::Pdf || cfg!(feature = "pdf"))
}

#[derive(Template)]
#[template(path = "reports.html", config = "src/api/pages/askama.toml")]
struct ReportsPage<'a> {
    who: &'a str,
    signs_in: bool,
    reports: Vec<Report>,
    formats: Vec<&'static str>,
    schedules: Vec<Schedule>,
}

/// `GET /pages/reports`
async fn show(Shared(state): Shared<State>, headers: HeaderMap) -> Response {
    match visitor(&state, &headers).await {
        Ok(visitor) => shown_to(&state, &visitor).await.unwrap_or_else(failed),
        Err(answer) => *answer,
    }
}

async fn shown_to(state: &State, visitor: &Visitor) -> Result<Response, Problem> {
    let caller = &visitor.caller;
    Need::Reads(TOOLSET).check(caller, &Method::GET)?;
    let reports = state.services.reports.list(caller).await?;
    let schedules = state.services.reports.list_schedules(caller).await?;
    let report = |item: crate::services::reports::ReportItem| Report {
        id: item.id,
        title: item.title,
        made: super::day(item.generated_at),
        by: item.by,
    };
    let template = ReportsPage {
        who: &visitor.name,
        signs_in: state.gate.server().is_some(),
        reports: reports.reports.into_iter().map(report).collect(),
        formats: written().map(Format::extension).collect(),
        schedules: schedules.schedules.into_iter().map(Schedule::from).collect(),
    };
    Ok(page(StatusCode::OK, &template, &[]))
}

/// `GET /pages/reports/{id}/{format}`: a report's file.
async fn file(
    Shared(state): Shared<State>,
    Path((id, format)): Path<(String, String)>,
    headers: HeaderMap,
) -> Response {
    let visitor = match visitor(&state, &headers).await {
        Ok(visitor) => visitor,
        Err(answer) => return *answer,
    };
    let opened = async {
        Need::Reads(TOOLSET).check(&visitor.caller, &Method::GET)?;
        let format = Format::parse(&format)?;
        let reports = state.services.reports.clone();
        let operation = visitor.operation("GET /pages/reports/{id}/{format}", false, vec![("report_id", id.clone())]);
        let file = audited(&state, &operation, |caller| async move { reports.file(&caller, &id, format).await });
        Ok(Served::new(file.await?).into_response())
    };
    opened.await.unwrap_or_else(|problem: Problem| failed(problem))
}
