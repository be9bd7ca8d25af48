//! `query_tasks`: filter, sort, page and print, all from memory.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::sync::Arc;

use chrono::{DateTime, Utc};
use serde_json::{Map, Value};

use super::cursor::Position;
use super::input::QueryTasks;
use super::view::{SyncOutcome, TaskPage};
use super::words::{Status, parse_date, parse_priority, print_date, print_day, print_time, priority_word};
use super::{Freshness, Planner, wishes};
use crate::ids::{BucketId, UserId};
use crate::services::Error;
use crate::sync::PlanHandle;
use crate::sync::model::{PlanRecord, TaskRecord};

/// Rows on a page unless asked otherwise.
const DEFAULT_LIMIT: usize = 200;
/// Most rows on a page.
const MAX_LIMIT: u32 = 1000;
/// Plans refreshed at once when a query names none.
const PARALLEL_PLANS: usize = 8;

/// Every column there is; the first seven are shown unless asked otherwise.
pub const COLUMNS: &[&str] = &[
    "id",
    "title",
    "bucket",
    "status",
    "priority",
    "due_date",
    "assignees",
    "plan",
    "planner_id",
    "percent_complete",
    "start_date",
    "categories",
    "checklist",
    "created",
    "created_by",
    "completed",
    "completed_by",
    "changed",
    "sync",
];
const DEFAULT_COLUMNS: usize = 7;

/// How a page is printed.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Format {
    Table,
    Json,
    Markdown,
    Csv,
}

#[derive(Clone, Copy)]
enum Sort {
    Due,
    Priority,
    Title,
    Bucket,
    Created,
    Changed,
}

enum StatusFilter {
    Is(Status),
    Open,
    Late,
}

enum AssigneeFilter {
    Nobody,
    User(UserId),
}

/// The filters that do not depend on a plan.
struct Filters {
    status: Option<StatusFilter>,
    assignee: Option<AssigneeFilter>,
    due_before: Option<DateTime<Utc>>,
    due_after: Option<DateTime<Utc>>,
    created_since: Option<DateTime<Utc>>,
    changed_since: Option<DateTime<Utc>>,
    priority: Option<PriorityFilter>,
    text: Option<String>,
    now: DateTime<Utc>,
}

enum PriorityFilter {
    Number(u8),
    Word(&'static str),
}

/// A task that matched, with what its row needs.
struct Hit {
    key: String,
    record: Arc<TaskRecord>,
    plan: Arc<PlanRecord>,
}

impl Planner {
    /// Answers a query from the replica.
    ///
    /// # Errors
    /// Unknown names, malformed dates, a foreign or expired cursor; or Planner does not answer and nothing is known yet.
    pub async fn query(&self, input: &QueryTasks) -> Result<TaskPage, Error> {
        let format = format(input.format.as_deref())?;
        let (sort, reversed) = sort(input.sort.as_deref())?;
        let limit = limit(input.limit)?;
        let digest = digest(input);
        let after = input.cursor.as_deref().map(|cursor| self.signer.open(&digest, cursor, self.now())).transpose()?;
        let handles = self.plans_of(input.plan_id.as_deref()).await?;
        let columns = columns(input.fields.as_deref(), handles.len() > 1)?;
        let mut notes = Vec::new();
        let asked: Vec<_> = {
            use futures::StreamExt;
            let freshness = Freshness::from(input.fresh);
            let mut ready = Vec::with_capacity(handles.len());
            for handle in &handles {
                ready.push(Box::pin(self.ready(handle, freshness)));
            }
            futures::stream::iter(ready).buffered(PARALLEL_PLANS).collect().await
        };
        for note in asked {
            notes.extend(note?);
        }
        let filters = self.filters(input).await?;
        let (mut hits, known_places) = collect(&handles, input, &filters, sort)?;
        check_places(input, &known_places)?;
        hits.sort_by(|left, right| {
            let order = (&left.key, &left.record.id).cmp(&(&right.key, &right.record.id));
            if reversed { order.reverse() } else { order }
        });
        let total = hits.len();
        let start = after.map_or(0, |after| hits.partition_point(|hit| is_before(hit, &after, reversed)));
        let page: Vec<&Hit> = hits.iter().skip(start).take(limit).collect();
        let complete = start + page.len() == total;
        let cursor = page.last().filter(|_| !complete).map(|hit| {
            let position = Position { key: hit.key.clone(), id: hit.record.id.to_string() };
            self.signer.seal(&digest, position, self.now())
        });
        self.meet_strangers(&page, &columns).await;
        let mut answer = TaskPage {
            total,
            complete,
            cursor,
            as_of: handles.iter().filter_map(|handle| handle.as_of()).min().map(print_time),
            note: (!notes.is_empty()).then(|| notes.join("; ")),
            ..TaskPage::default()
        };
        self.print(&mut answer, &page, &columns, format);
        Ok(answer)
    }

    async fn plans_of(&self, plan: Option<&str>) -> Result<Vec<Arc<PlanHandle>>, Error> {
        if plan.is_some() || self.settings.scope.default_plan.is_some() {
            return Ok(vec![self.catalog.resolve(plan).await?]);
        }
        let listing = self.catalog.list(false).await?;
        let mut handles = Vec::with_capacity(listing.plans.len());
        for plan in &listing.plans {
            handles.push(self.catalog.handle(&plan.id).await?);
        }
        Ok(handles)
    }

    async fn filters(&self, input: &QueryTasks) -> Result<Filters, Error> {
        let date = |name: &str, text: &Option<String>| text.as_deref().map(|text| parse_date(name, text)).transpose();
        // A day begins at midnight: `due_after: 2026-11-30` includes the tasks due on that day.
        let day = |name: &str, text: &Option<String>| -> Result<Option<DateTime<Utc>>, Error> {
            let parsed = date(name, text)?;
            let is_day = text.as_ref().is_some_and(|text| !text.contains('T') && !text.trim().contains(' '));
            Ok(parsed.map(|time| if is_day { time - (time.time() - chrono::NaiveTime::MIN) } else { time }))
        };
        Ok(Filters {
            status: input.status.as_deref().map(status_filter).transpose()?,
            assignee: match input.assignee.as_deref() {
                None => None,
                Some("none") => Some(AssigneeFilter::Nobody),
                Some(name) => Some(AssigneeFilter::User(self.people.resolve(name).await?.id.clone())),
            },
            due_before: day("due_before", &input.due_before)?,
            due_after: day("due_after", &input.due_after)?,
            created_since: day("created_since", &input.created_since)?,
            changed_since: day("changed_since", &input.changed_since)?,
            priority: input.priority.as_deref().map(priority_filter).transpose()?,
            text: input.text.as_ref().map(|text| text.to_lowercase()).filter(|text| !text.is_empty()),
            now: self.now(),
        })
    }

    /// People outside the plan's group are looked up before their names are shown.
    async fn meet_strangers(&self, page: &[&Hit], columns: &[&'static str]) {
        if columns.contains(&"assignees") {
            self.people.meet(page.iter().flat_map(|hit| &hit.record.fields.assignees)).await;
        }
    }

    fn print(&self, answer: &mut TaskPage, page: &[&Hit], columns: &[&'static str], format: Format) {
        let cells = |hit: &&Hit, name: &dyn Fn(&UserId) -> String| -> Vec<Value> {
            columns.iter().map(|column| cell(hit, column, format, name)).collect()
        };
        let rows: Vec<Vec<Value>> = self.people.with_names(|name| page.iter().map(|hit| cells(hit, name)).collect());
        match format {
            Format::Table => {
                answer.columns = columns.to_vec();
                answer.rows = Some(rows);
            }
            Format::Json => {
                let object = |row: Vec<Value>| -> Map<String, Value> {
                    columns
                        .iter()
                        .map(|column| (*column).to_owned())
                        .zip(row)
                        .filter(|(_, value)| !value.is_null())
                        .collect()
                };
                answer.tasks = Some(rows.into_iter().map(object).collect());
            }
            Format::Markdown => answer.text = Some(markdown(columns, &rows)),
            Format::Csv => answer.text = Some(csv(columns, &rows)),
        }
    }
}

/// The tasks that match, and the buckets and labels that the named ones were found in.
fn collect(
    handles: &[Arc<PlanHandle>],
    input: &QueryTasks,
    filters: &Filters,
    sort: Sort,
) -> Result<(Vec<Hit>, Places), Error> {
    let mut hits = Vec::new();
    let mut places = Places::default();
    for handle in handles {
        let replica = handle.read();
        let Some(plan) = replica.plan.clone() else { continue };
        let bucket = input.bucket.as_deref().map(|text| bucket_of(&plan, text));
        let category = input.category.as_deref().map(|text| wishes::category(&plan, text).ok());
        if let Some(found) = &bucket {
            places.bucket |= found.is_some();
            places.buckets.extend(plan.buckets.iter().map(|bucket| bucket.name.clone()));
        }
        if let Some(found) = &category {
            places.category |= found.is_some();
            places.categories.extend(plan.category_names.values().cloned());
        }
        if matches!(bucket, Some(None)) || matches!(category, Some(None)) {
            continue;
        }
        let (bucket, category) = (bucket.flatten(), category.flatten());
        let order: BTreeMap<&BucketId, usize> =
            plan.buckets.iter().enumerate().map(|(place, bucket)| (&bucket.id, place)).collect();
        for record in replica.live() {
            let fields = &record.fields;
            let here = bucket.as_ref().is_none_or(|bucket| fields.bucket.as_ref() == Some(bucket))
                && category.is_none_or(|category| fields.categories.contains(&category));
            if here && filters.match_task(record) {
                let key = sort_key(record, sort, &order);
                hits.push(Hit { key, record: record.clone(), plan: plan.clone() });
            }
        }
    }
    Ok((hits, places))
}

/// Which of the named places exist in any of the plans, and what there is.
#[derive(Default)]
struct Places {
    bucket: bool,
    buckets: std::collections::BTreeSet<String>,
    category: bool,
    categories: std::collections::BTreeSet<String>,
}

fn check_places(input: &QueryTasks, places: &Places) -> Result<(), Error> {
    use crate::error::ErrorCode;
    if let Some(bucket) = input.bucket.as_deref().filter(|_| !places.bucket) {
        let known = places.buckets.iter().map(|name| format!("`{name}`"));
        return Err(super::not_found(ErrorCode::BucketNotFound, "bucket", bucket, known));
    }
    if let Some(category) = input.category.as_deref().filter(|_| !places.category) {
        let known = places.categories.iter().map(|name| format!("`{name}`"));
        return Err(super::not_found(ErrorCode::NotFound, "label", category, known));
    }
    Ok(())
}

fn bucket_of(plan: &PlanRecord, text: &str) -> Option<BucketId> {
    let by_id = plan.buckets.iter().find(|bucket| bucket.id.as_str() == text);
    by_id
        .or_else(|| plan.buckets.iter().find(|bucket| super::words::same_name(&bucket.name, text)))
        .map(|bucket| bucket.id.clone())
}

impl Filters {
    fn match_task(&self, record: &TaskRecord) -> bool {
        let fields = &record.fields;
        let status = match &self.status {
            None => true,
            Some(StatusFilter::Is(status)) => Status::of(fields.percent_complete) == *status,
            Some(StatusFilter::Open) => fields.percent_complete < 100,
            Some(StatusFilter::Late) => is_late(record, self.now),
        };
        let assignee = match &self.assignee {
            None => true,
            Some(AssigneeFilter::Nobody) => fields.assignees.is_empty(),
            Some(AssigneeFilter::User(user)) => fields.assignees.contains(user),
        };
        let priority = match &self.priority {
            None => true,
            Some(PriorityFilter::Number(number)) => fields.priority == *number,
            Some(PriorityFilter::Word(word)) => priority_word(fields.priority) == *word,
        };
        status
            && assignee
            && priority
            && self.due_before.is_none_or(|limit| fields.due.is_some_and(|due| due < limit))
            && self.due_after.is_none_or(|limit| fields.due.is_some_and(|due| due >= limit))
            && self.created_since.is_none_or(|limit| record.facts.created_at.is_some_and(|at| at >= limit))
            && self.changed_since.is_none_or(|limit| record.changed_at >= limit)
            && self.text.as_ref().is_none_or(|text| contains(record, text))
    }
}

/// Whether an open task is past its due day. A task due today is not late.
pub(super) fn is_late(record: &TaskRecord, now: DateTime<Utc>) -> bool {
    record.fields.percent_complete < 100 && record.fields.due.is_some_and(|due| due.date_naive() < now.date_naive())
}

fn contains(record: &TaskRecord, text: &str) -> bool {
    record.fields.title.to_lowercase().contains(text)
        || record.fields.details.as_ref().is_some_and(|details| details.description.to_lowercase().contains(text))
}

fn status_filter(text: &str) -> Result<StatusFilter, Error> {
    Ok(match super::words::fold(text).as_str() {
        "open" => StatusFilter::Open,
        "late" | "overdue" => StatusFilter::Late,
        _ => StatusFilter::Is(
            Status::parse(text).map_err(|error| error.hint("use not_started, in_progress, completed, open or late"))?,
        ),
    })
}

fn priority_filter(text: &str) -> Result<PriorityFilter, Error> {
    let number = parse_priority(text)?;
    let is_number = text.trim().parse::<u8>().is_ok();
    Ok(if is_number { PriorityFilter::Number(number) } else { PriorityFilter::Word(priority_word(number)) })
}

fn format(text: Option<&str>) -> Result<Format, Error> {
    match text.unwrap_or("table") {
        "table" => Ok(Format::Table),
        "json" => Ok(Format::Json),
        "markdown" | "md" => Ok(Format::Markdown),
        "csv" => Ok(Format::Csv),
        other => Err(Error::invalid(format!("`{other}` is no format")).hint("use table, json, markdown or csv")),
    }
}

fn sort(text: Option<&str>) -> Result<(Sort, bool), Error> {
    let text = text.unwrap_or("due_date").trim();
    let (name, reversed) = text.strip_prefix('-').map_or((text, false), |name| (name, true));
    let sort = match name {
        "due_date" | "due" => Sort::Due,
        "priority" => Sort::Priority,
        "title" => Sort::Title,
        "bucket" => Sort::Bucket,
        "created" => Sort::Created,
        "changed" => Sort::Changed,
        _ => {
            return Err(Error::invalid(format!("tasks cannot be sorted by `{name}`"))
                .hint("use due_date, priority, title, bucket, created or changed, with `-` in front for the reverse"));
        }
    };
    Ok((sort, reversed))
}

fn limit(limit: Option<u32>) -> Result<usize, Error> {
    match limit {
        None => Ok(DEFAULT_LIMIT),
        Some(limit @ 1..=MAX_LIMIT) => Ok(usize::try_from(limit).unwrap_or(DEFAULT_LIMIT)),
        Some(limit) => {
            Err(Error::invalid(format!("`limit` is {limit}")).hint(format!("use 1 to {MAX_LIMIT}; page with `cursor`")))
        }
    }
}

fn columns(fields: Option<&[String]>, several_plans: bool) -> Result<Vec<&'static str>, Error> {
    let Some(fields) = fields.filter(|fields| !fields.is_empty()) else {
        let columns = COLUMNS.iter().take(DEFAULT_COLUMNS + usize::from(several_plans));
        return Ok(columns.copied().collect());
    };
    let column = |field: &String| {
        COLUMNS.iter().find(|column| **column == field.trim()).copied().ok_or_else(|| {
            Error::invalid(format!("there is no column `{field}`")).hint(format!("columns: {}", COLUMNS.join(", ")))
        })
    };
    fields.iter().map(column).collect()
}

/// What a cursor is bound to: everything that decides which rows there are and in which order.
fn digest(input: &QueryTasks) -> String {
    use sha2::Digest;
    let QueryTasks { fields: _, format: _, limit: _, cursor: _, fresh: _, .. } = input;
    let bound = QueryTasks { fields: None, format: None, limit: None, cursor: None, fresh: None, ..input.clone() };
    let text = serde_json::to_string(&bound).unwrap_or_default();
    sha2::Sha256::digest(text).iter().take(6).map(|byte| format!("{byte:02x}")).collect()
}

/// A text that sorts as the tasks shall: missing dates last, ties by title.
fn sort_key(record: &TaskRecord, sort: Sort, buckets: &BTreeMap<&BucketId, usize>) -> String {
    let fields = &record.fields;
    let date =
        |time: Option<DateTime<Utc>>| time.map_or_else(|| "~".to_owned(), |time| format!("{:012}", time.timestamp()));
    let title = || fields.title.to_lowercase();
    match sort {
        Sort::Due => format!("{}|{:02}|{}", date(fields.due), fields.priority, title()),
        Sort::Priority => format!("{:02}|{}|{}", fields.priority, date(fields.due), title()),
        Sort::Title => title(),
        Sort::Bucket => {
            let place = fields.bucket.as_ref().and_then(|bucket| buckets.get(bucket)).copied().unwrap_or(usize::MAX);
            format!("{place:020}|{}", record.facts.order_hint)
        }
        Sort::Created => date(record.facts.created_at),
        Sort::Changed => date(Some(record.changed_at)),
    }
}

fn is_before(hit: &Hit, position: &Position, reversed: bool) -> bool {
    let order = (hit.key.as_str(), hit.record.id.as_str()).cmp(&(position.key.as_str(), position.id.as_str()));
    let order = if reversed { order.reverse() } else { order };
    order != Ordering::Greater
}

/// How far a task's last write has come.
pub(super) fn sync_of(record: &TaskRecord) -> SyncOutcome {
    if record.is_dirty() { SyncOutcome::Pending } else { SyncOutcome::Synced }
}

fn cell(hit: &Hit, column: &str, format: Format, name: &dyn Fn(&UserId) -> String) -> Value {
    let (record, fields) = (&hit.record, &hit.record.fields);
    let list = |items: Vec<String>| match (format, items.is_empty()) {
        (Format::Json, _) => Value::from(items),
        (_, true) => Value::Null,
        (_, false) => Value::from(items.join("; ")),
    };
    let person = |user: &Option<UserId>| user.as_ref().map(name).into();
    match column {
        "id" => Value::from(record.id.as_str()),
        "title" => Value::from(fields.title.as_str()),
        "bucket" => bucket_name(&hit.plan, record).into(),
        "status" => Value::from(Status::of(fields.percent_complete).word()),
        "priority" => Value::from(priority_word(fields.priority)),
        "due_date" => fields.due.map(print_day).into(),
        "assignees" => list(fields.assignees.iter().map(name).collect()),
        "plan" => Value::from(hit.plan.title.as_str()),
        "planner_id" => record.planner_id().map(|id| id.as_str()).into(),
        "percent_complete" => Value::from(fields.percent_complete),
        "start_date" => fields.start.map(print_date).into(),
        "categories" => list(category_names(&hit.plan, record)),
        "checklist" => {
            let all = record.facts.checklist_items;
            (all > 0).then(|| format!("{}/{all}", all - record.facts.open_checklist_items.min(all))).into()
        }
        "created" => record.facts.created_at.map(print_time).into(),
        "created_by" => person(&record.facts.created_by),
        "completed" => record.facts.completed_at.map(print_time).into(),
        "completed_by" => person(&record.facts.completed_by),
        "changed" => Value::from(print_time(record.changed_at)),
        "sync" => serde_json::to_value(sync_of(record)).unwrap_or_default(),
        _ => Value::Null,
    }
}

/// The name of a task's bucket.
pub(super) fn bucket_name(plan: &PlanRecord, record: &TaskRecord) -> Option<String> {
    let id = record.fields.bucket.as_ref()?;
    plan.buckets.iter().find(|bucket| bucket.id == *id).map(|bucket| bucket.name.clone())
}

/// The names of a task's labels; `category7` for one without a name.
pub(super) fn category_names(plan: &PlanRecord, record: &TaskRecord) -> Vec<String> {
    let name = |number: &u8| plan.category_names.get(number).cloned().unwrap_or_else(|| format!("category{number}"));
    record.fields.categories.iter().map(name).collect()
}

fn text_of(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

fn markdown(columns: &[&str], rows: &[Vec<Value>]) -> String {
    let escape = |value: &Value| text_of(value).replace('\\', "\\\\").replace('|', "\\|").replace(['\n', '\r'], " ");
    let mut text = format!("| {} |\n|{}\n", columns.join(" | "), "---|".repeat(columns.len()));
    for row in rows {
        text.push_str(&format!("| {} |\n", row.iter().map(escape).collect::<Vec<_>>().join(" | ")));
    }
    text
}

/// CSV as spreadsheets read it; a cell that would start a formula is given a quote in front.
fn csv(columns: &[&str], rows: &[Vec<Value>]) -> String {
    let cell = |value: &Value| {
        let text = text_of(value);
        if text.starts_with(['=', '+', '-', '@', '\t', '\r']) { format!("'{text}") } else { text }
    };
    let mut writer = csv::WriterBuilder::new().from_writer(Vec::new());
    let lines = std::iter::once(columns.iter().map(|column| (*column).to_owned()).collect::<Vec<_>>())
        .chain(rows.iter().map(|row| row.iter().map(cell).collect()));
    for line in lines {
        if writer.write_record(line).is_err() {
            break; // writing to memory does not fail
        }
    }
    String::from_utf8(writer.into_inner().unwrap_or_default()).unwrap_or_default()
}
