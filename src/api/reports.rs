//! Reports over HTTP: the same service, arguments and answers as the MCP tool, and the files themselves.

use std::sync::Arc;

use axum::Extension;
use axum::extract::State as Shared;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use serde_json::{Map, Value};

use super::ascii;
use super::extract::{Id, Json, NoQuery, Query, Shown, Writer, decode};
use super::once::Invocation;
use super::problem::Problem;
use super::{Access, Writes};
use crate::auth::Caller;
use crate::services::Error;
use crate::services::reports::schedule::{ScheduleItem, ScheduleList, ScheduleRemoved, ScheduleRequest};
use crate::services::reports::{File, Format, Keep, ReportList, ReportReceipt, ReportRequest, Reports};

/// `GET /api/reports`
pub async fn list(
    Shared(reports): Shared<Arc<Reports>>,
    caller: Caller,
    _: NoQuery,
) -> Result<Shown<ReportList>, Problem> {
    Ok(Shown(reports.list(&caller).await?))
}

/// `POST /api/reports`: makes a report. A read-only server makes it and keeps nothing of it.
pub async fn create(
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
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Wanted {
    format: Option<String>,
}

/// `GET /api/reports/{id}`: the report in any format, JSON unless asked otherwise.
pub async fn show(
    Shared(reports): Shared<Arc<Reports>>,
    caller: Caller,
    Id(id): Id,
    Query(wanted): Query<Wanted>,
) -> Result<Served, Problem> {
    let format = wanted.format.as_deref().map_or(Ok(Format::Json), Format::parse)?;
    Ok(Served(reports.file(&caller, &id, format).await?))
}

/// What signs an address.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Signature {
    expires: i64,
    signature: String,
}

/// `GET /downloads/{id}.{extension}`: a report's file, for whoever has its signed address.
pub async fn download(
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
pub async fn list_schedules(
    Shared(reports): Shared<Arc<Reports>>,
    caller: Caller,
    _: NoQuery,
) -> Result<Shown<ScheduleList>, Problem> {
    Ok(Shown(reports.list_schedules(&caller).await?))
}

/// `PUT /api/report-schedules/{name}`: adds a schedule or replaces it.
pub async fn put_schedule(
    Shared(reports): Shared<Arc<Reports>>,
    Writer(caller): Writer,
    Id(name): Id,
    _: NoQuery,
    Json(mut fields): Json<Map<String, Value>>,
) -> Result<Shown<ScheduleItem>, Problem> {
    if fields.insert("name".into(), name.into()).is_some() {
        return Err(Error::invalid("unknown field `name`: the path names the schedule; nothing was changed").into());
    }
    Ok(Shown(reports.schedule(&caller, &decode::<ScheduleRequest>(Value::Object(fields))?).await?))
}

/// `DELETE /api/report-schedules/{name}`
pub async fn delete_schedule(
    Shared(reports): Shared<Arc<Reports>>,
    Writer(caller): Writer,
    Id(name): Id,
    _: NoQuery,
) -> Result<Shown<ScheduleRemoved>, Problem> {
    Ok(Shown(reports.unschedule(&caller, &name).await?))
}

/// `POST /api/report-schedules/{name}/run`
pub async fn run_schedule(
    Shared(reports): Shared<Arc<Reports>>,
    Writer(caller): Writer,
    invocation: Option<Extension<Invocation>>,
    Id(name): Id,
    _: NoQuery,
) -> Result<Shown<ScheduleItem>, Problem> {
    let by = invocation.as_ref().map(|Extension(Invocation(id))| id.as_str());
    Ok(Shown(reports.run_schedule_once(&caller, &name, by).await?))
}
