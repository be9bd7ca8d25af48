//! Reports over HTTP: the same service, arguments and answers as the MCP tool, and the files themselves.

use std::sync::Arc;

use axum::Extension;
use axum::extract::State as Shared;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use schemars::{JsonSchema, SchemaGenerator};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::ascii;
use super::extract::{Id, Json, NoQuery, Query, Shown, Writer, decode};
use super::once::Invocation;
use super::operation::{GRAPH, Media, Operation, Place, Rest, Tag, WRITE, WRITE_BODY};
use super::problem::Problem;
use super::route::{Need, Route};
use super::{Access, Writes};
use crate::auth::Caller;
use crate::services::Error;
use crate::services::reports::model::Report;
use crate::services::reports::schedule::{ScheduleItem, ScheduleList, ScheduleRemoved, ScheduleRequest};
use crate::services::reports::{File, Format, Keep, ReportList, ReportReceipt, ReportRequest, Reports};

/// The toolset that reports belong to.
const TOOLSET: &str = "reports";
/// Where files are fetched by signed addresses.
pub const DOWNLOAD: &str = "/downloads/{name}";
const SCHEDULE: &str = "/api/report-schedules/{name}";
/// A report's id in examples.
const REPORT: &str = "01kb4x5t0m8q7w9z3c6v1n2p4r";
const WHEN: &str = "2026-11-25T15:00:00Z";

/// The routes.
pub fn routes() -> Vec<Route> {
    [of_reports(), of_schedules()].into_iter().flatten().collect()
}

fn of_reports() -> Vec<Route> {
    let (reads, writes) = (Need::Reads(TOOLSET), Need::Writes(TOOLSET));
    let item = json!({
        "id": REPORT, "type": "weekly", "title": "Weekly report: Website relaunch",
        "plan_ids": ["xqQg5FS2LkCp935s-FIFm2QAFkHM"], "from": "2026-11-12", "to": "2026-11-25",
        "audience": "team_lead", "generated_at": WHEN, "by": "key",
    });
    let listed = Operation::new(Tag::Reports, "list_reports", "List reports, the newest first")
        .answers::<ReportList>(json!({ "reports": [item], "complete": true, "as_of": WHEN }))
        .problems(GRAPH);
    let receipt = json!({
        "id": REPORT, "title": "Weekly report: Website relaunch",
        "summary": "Website relaunch, 12 Nov to 25 Nov 2026: 200 tasks, 134 open, 66 completed (33 %).",
        "resource": format!("planner://reports/{REPORT}"),
    });
    let made = Operation::new(Tag::Reports, "create_report", "Make a report")
        .more("It is kept for a while, and written in any format when it is fetched. A read-only server answers 200 and keeps nothing.")
        .takes::<ReportRequest>(json!({ "type": "weekly", "plans": ["Website relaunch"], "time_zone": "Europe/Berlin" }))
        .answers_with::<ReportReceipt>(201, "The report is made", receipt.clone())
        .with_header("Location", "The report's path")
        .answers_with::<ReportReceipt>(200, "The report is made and not kept", receipt)
        .problems(WRITE_BODY);
    let shown = Operation::new(Tag::Reports, "get_report", "Fetch a report in a format")
        .parameters::<OneReport>(Place::Path)
        .parameters::<Wanted>(Place::Query)
        .sends("The report", files())
        .problems(GRAPH);
    let downloaded = Operation::new(Tag::Reports, "download_report", "Fetch a report's file with a signed address")
        .parameters::<OneFile>(Place::Path)
        .parameters::<Signature>(Place::Query)
        .sends("The report", files())
        .problems(&[400, 401, 404, 429, 500, 503]);
    vec![
        Route::get("/api/reports", reads, list).described(listed),
        Route::post("/api/reports", writes, create).described(made),
        Route::get("/api/reports/{id}", reads, show).naming("report_id").described(shown),
        // The address is signed, and the handler checks it: a browser that follows it has no key.
        Route::get(DOWNLOAD, Need::Nothing, download).naming("report_id").described(downloaded),
    ]
}

fn of_schedules() -> Vec<Route> {
    let (reads, writes) = (Need::Reads(TOOLSET), Need::Writes(TOOLSET));
    let schedule = json!({
        "name": "Friday report", "schedule": "0 16 * * fri", "time_zone": "Europe/Berlin", "type": "weekly",
        "plans": ["xqQg5FS2LkCp935s-FIFm2QAFkHM"], "formats": ["html"], "mail_to": ["ada@contoso.com"],
        "next": "2026-11-27T15:00:00Z",
    });
    let request = json!({
        "schedule": "0 16 * * fri", "report": { "plans": ["Website relaunch"], "time_zone": "Europe/Berlin" },
        "mail_to": ["ada@contoso.com"],
    });
    let summary = "List reports on a schedule, when they are due and how they went";
    let listed = Operation::new(Tag::Reports, "list_report_schedules", summary)
        .answers::<ScheduleList>(json!({ "schedules": [schedule], "complete": true, "as_of": WHEN }))
        .problems(GRAPH);
    let put = Operation::new(Tag::Reports, "put_report_schedule", "Deliver a report on a schedule, or change how")
        .parameters::<OneSchedule>(Place::Path)
        .takes_rest::<ScheduleRequest>("ScheduleChange", "name", Rest::Same, request)
        .answers::<ScheduleItem>(schedule.clone())
        .problems(WRITE_BODY);
    let deleted = Operation::new(Tag::Reports, "delete_report_schedule", "Remove a report's schedule")
        .parameters::<OneSchedule>(Place::Path)
        .answers::<ScheduleRemoved>(json!({ "removed": "Friday report" }))
        .problems(WRITE);
    let run = Operation::new(Tag::Reports, "run_report_schedule", "Run a scheduled report now and deliver it")
        .parameters::<OneSchedule>(Place::Path)
        .answers::<ScheduleItem>(schedule)
        .problems(WRITE);
    vec![
        Route::get("/api/report-schedules", reads, list_schedules).described(listed),
        Route::put(SCHEDULE, writes, put_schedule).naming("schedule").described(put),
        Route::delete(SCHEDULE, writes, delete_schedule).naming("schedule").described(deleted),
        Route::post("/api/report-schedules/{name}/run", writes, run_schedule).naming("schedule").described(run),
    ]
}

/// The media types of a report.
fn files() -> Vec<(&'static str, Media)> {
    let media = |format: Format| match format {
        Format::Json => Media::Json(SchemaGenerator::subschema_for::<Report>),
        Format::Pdf | Format::Xlsx => Media::Bytes,
        _ => Media::Text,
    };
    let kind = |format: Format| format.media_type().split(';').next().unwrap_or_default();
    Format::ALL.into_iter().map(|format| (kind(format), media(format))).collect()
}

/// What the path of a report names.
#[derive(JsonSchema)]
#[allow(dead_code)] // read by the document alone
struct OneReport {
    #[schemars(example = REPORT)]
    id: String,
}

/// What the path of a file names.
#[derive(JsonSchema)]
#[allow(dead_code)] // read by the document alone
struct OneFile {
    #[schemars(example = format!("{REPORT}.pdf"))]
    name: String,
}

/// What the path of a schedule names.
#[derive(JsonSchema)]
#[allow(dead_code)] // read by the document alone
struct OneSchedule {
    /// Its name
    #[schemars(length(min = 1, max = 80), example = "Friday report")]
    name: String,
}

/// `GET /api/reports`
async fn list(Shared(reports): Shared<Arc<Reports>>, caller: Caller, _: NoQuery) -> Result<Shown<ReportList>, Problem> {
    Ok(Shown(reports.list(&caller).await?))
}

/// `POST /api/reports`: makes a report. A read-only server makes it and keeps nothing of it.
async fn create(
    Shared(reports): Shared<Arc<Reports>>,
    Shared(access): Shared<Arc<Access>>,
    caller: Caller,
    _: NoQuery,
    Json(request): Json<ReportRequest>,
) -> Result<Created, Problem> {
    let keep = if access.writes == Writes::Refused { Keep::No } else { Keep::Yes };
    Ok(Created(reports.generate(&caller, &request, &[], keep).await?))
}

/// A new report and where it is.
pub struct Created(ReportReceipt);

impl IntoResponse for Created {
    fn into_response(self) -> Response {
        if self.0.resource.is_none() {
            return Shown(self.0).into_response();
        }
        let location = format!("/api/reports/{}", self.0.id);
        (StatusCode::CREATED, [(header::LOCATION, location)], Shown(self.0)).into_response()
    }
}

/// How a report is wanted.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Wanted {
    /// Default json
    #[schemars(extend("enum" = Format::ALL.map(Format::word)))]
    format: Option<String>,
}

/// `GET /api/reports/{id}`: the report in any format, JSON unless asked otherwise.
async fn show(
    Shared(reports): Shared<Arc<Reports>>,
    caller: Caller,
    Id(id): Id,
    Query(wanted): Query<Wanted>,
) -> Result<Served, Problem> {
    let format = wanted.format.as_deref().map_or(Ok(Format::Json), Format::parse)?;
    Ok(Served(reports.file(&caller, &id, format).await?))
}

/// What signs an address.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Signature {
    expires: i64,
    signature: String,
}

/// `GET /downloads/{id}.{extension}`: a report's file, for the holders of its signed address.
async fn download(
    Shared(reports): Shared<Arc<Reports>>,
    Id(name): Id,
    Query(Signature { expires, signature }): Query<Signature>,
) -> Result<Served, Problem> {
    let (id, extension) = name.rsplit_once('.').ok_or_else(|| Error::invalid("the address names no format"))?;
    let format = Format::parse(extension)?;
    Ok(Served(reports.download(id, format, expires, &signature).await?))
}

/// A file on its way to a browser. A page is shown, with a policy that lets it reach nothing; all else is saved.
pub struct Served(File);

impl Served {
    /// The file.
    pub const fn new(file: File) -> Self {
        Self(file)
    }
}

impl IntoResponse for Served {
    fn into_response(self) -> Response {
        let File { name, format, content } = self.0;
        let place = if matches!(format, Format::Html | Format::Pdf | Format::Json) { "inline" } else { "attachment" };
        let mut headers = HeaderMap::new();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(format.media_type()));
        headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("private, max-age=900"));
        headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
        headers.insert(header::CONTENT_DISPOSITION, ascii::disposition(place, &name));
        (headers, content).into_response()
    }
}

/// `GET /api/report-schedules`
async fn list_schedules(
    Shared(reports): Shared<Arc<Reports>>,
    caller: Caller,
    _: NoQuery,
) -> Result<Shown<ScheduleList>, Problem> {
    Ok(Shown(reports.list_schedules(&caller).await?))
}

/// `PUT /api/report-schedules/{name}`: adds a schedule or replaces it.
async fn put_schedule(
    Shared(reports): Shared<Arc<Reports>>,
    Writer(caller): Writer,
    Id(name): Id,
    _: NoQuery,
    Json(mut fields): Json<Map<String, Value>>,
) -> Result<Shown<ScheduleItem>, Problem> {
    if fields.insert("name".into(), name.into()).is_some() {
        return Err(Error::invalid("unknown field `name`: the path names the schedule").into());
    }
    Ok(Shown(reports.schedule(&caller, &decode::<ScheduleRequest>(Value::Object(fields))?).await?))
}

/// `DELETE /api/report-schedules/{name}`
async fn delete_schedule(
    Shared(reports): Shared<Arc<Reports>>,
    Writer(caller): Writer,
    Id(name): Id,
    _: NoQuery,
) -> Result<Shown<ScheduleRemoved>, Problem> {
    Ok(Shown(reports.unschedule(&caller, &name).await?))
}

/// `POST /api/report-schedules/{name}/run`
async fn run_schedule(
    Shared(reports): Shared<Arc<Reports>>,
    Writer(caller): Writer,
    invocation: Option<Extension<Invocation>>,
    Id(name): Id,
    _: NoQuery,
) -> Result<Shown<ScheduleItem>, Problem> {
    let by = invocation.as_ref().map(|Extension(Invocation(id))| id.as_str());
    Ok(Shown(reports.run_schedule_once(&caller, &name, by).await?))
}
