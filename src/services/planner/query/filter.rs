//! Which tasks a query keeps, apart from the plan, bucket and label it names.

use chrono::{DateTime, NaiveDate, Utc};
use chrono_tz::Tz;

use crate::auth::Caller;
use crate::ids::UserId;
use crate::services::Error;
use crate::services::names::plain;
use crate::services::planner::Planner;
use crate::services::planner::days::{self, day_of, parse_day, parse_moment};
use crate::services::planner::input::QueryTasks;
use crate::services::planner::words::{self, Status, parse_priority, priority_word};
use crate::sync::model::TaskRecord;

enum StatusFilter {
    Is(Status),
    Open,
    Late,
}

enum AssigneeFilter {
    Nobody,
    User(UserId),
}

/// The filters that do not depend on a plan. Of a list any may fit; an empty one keeps everything.
pub(super) struct Filters {
    status: Vec<StatusFilter>,
    assignee: Vec<AssigneeFilter>,
    due_on: Option<NaiveDate>,
    due_before: Option<NaiveDate>,
    due_after: Option<NaiveDate>,
    created_by: Option<UserId>,
    created_since: Option<DateTime<Utc>>,
    completed_since: Option<DateTime<Utc>>,
    changed_since: Option<DateTime<Utc>>,
    priority: Option<PriorityFilter>,
    text: Vec<String>,
    today: NaiveDate,
    zone: Tz,
}

enum PriorityFilter {
    Number(u8),
    Word(&'static str),
}

impl Planner {
    /// Reads the filters of a query; names of people are looked up, days are those of `zone`.
    pub(super) async fn filters(&self, caller: &Caller, input: &QueryTasks, zone: Tz) -> Result<Filters, Error> {
        let day = |name: &str, text: &Option<String>| text.as_deref().map(|text| parse_day(name, text)).transpose();
        let since =
            |name: &str, text: &Option<String>| text.as_deref().map(|text| parse_moment(name, text, zone)).transpose();
        let mut assignee = Vec::new();
        for name in input.assignee.iter().flatten() {
            assignee.push(match name.as_str() {
                "none" => AssigneeFilter::Nobody,
                name => AssigneeFilter::User(self.person(caller, None, name).await?.id.clone()),
            });
        }
        Ok(Filters {
            status: input.status.iter().flatten().map(|text| status_filter(text)).collect::<Result<_, _>>()?,
            assignee,
            due_on: day("due_on", &input.due_on)?,
            due_before: day("due_before", &input.due_before)?,
            due_after: day("due_after", &input.due_after)?,
            created_by: match input.created_by.as_deref() {
                Some(name) => Some(self.person(caller, None, name).await?.id.clone()),
                None => None,
            },
            created_since: since("created_since", &input.created_since)?,
            completed_since: since("completed_since", &input.completed_since)?,
            changed_since: since("changed_since", &input.changed_since)?,
            priority: input.priority.as_deref().map(priority_filter).transpose()?,
            text: input.text.as_deref().map(crate::services::names::search_words).unwrap_or_default(),
            today: days::today(self.now(), zone),
            zone,
        })
    }
}

impl Filters {
    pub(super) fn match_task(&self, record: &TaskRecord) -> bool {
        let fields = &record.fields;
        let status = |filter: &StatusFilter| match filter {
            StatusFilter::Is(status) => Status::of(fields.percent_complete) == *status,
            StatusFilter::Open => fields.percent_complete < 100,
            StatusFilter::Late => is_late(record, self.today, self.zone),
        };
        let assignee = |filter: &AssigneeFilter| match filter {
            AssigneeFilter::Nobody => fields.assignees.is_empty(),
            AssigneeFilter::User(user) => fields.assignees.contains(user),
        };
        let priority = match &self.priority {
            None => true,
            Some(PriorityFilter::Number(number)) => fields.priority == *number,
            Some(PriorityFilter::Word(word)) => priority_word(fields.priority) == *word,
        };
        (self.status.is_empty() || self.status.iter().any(status))
            && (self.assignee.is_empty() || self.assignee.iter().any(assignee))
            && priority
            && self.is_due_then(record)
            && self.created_by.as_ref().is_none_or(|user| record.facts.created_by.as_ref() == Some(user))
            && self.created_since.is_none_or(|limit| created_at(record).is_some_and(|at| at >= limit))
            && self.completed_since.is_none_or(|limit| completed_at(record).is_some_and(|at| at >= limit))
            && self.changed_since.is_none_or(|limit| record.changed_at >= limit)
            && contains_all(record, &self.text)
    }

    fn is_due_then(&self, record: &TaskRecord) -> bool {
        if self.due_on.is_none() && self.due_before.is_none() && self.due_after.is_none() {
            return true;
        }
        let Some(due) = record.fields.due.map(|due| day_of(due, self.zone)) else { return false };
        self.due_on.is_none_or(|day| due == day)
            && self.due_before.is_none_or(|limit| due < limit)
            && self.due_after.is_none_or(|limit| due >= limit)
    }
}

/// Whether an open task is past its due day. A task due today is not late.
pub(in crate::services::planner) fn is_late(record: &TaskRecord, today: NaiveDate, zone: Tz) -> bool {
    record.fields.percent_complete < 100 && record.fields.due.is_some_and(|due| day_of(due, zone) < today)
}

/// When Planner says the task was created; of one that Planner does not have yet, when it was here.
fn created_at(record: &TaskRecord) -> Option<DateTime<Utc>> {
    record.facts.created_at.or_else(|| record.remote.is_none().then_some(record.changed_at))
}

/// When Planner says a completed task was; when that was seen where Planner has yet to say.
fn completed_at(record: &TaskRecord) -> Option<DateTime<Utc>> {
    (record.fields.percent_complete == 100).then(|| record.facts.completed_at.unwrap_or(record.changed_at))
}

/// Whether every word is somewhere in the title, the description or the checklist.
fn contains_all(record: &TaskRecord, wanted: &[String]) -> bool {
    if wanted.is_empty() {
        return true;
    }
    let title = plain(&record.fields.title);
    let mut missing = wanted.iter().filter(|word| !title.contains(word.as_str())).peekable();
    if missing.peek().is_none() {
        return true;
    }
    let Some(details) = &record.fields.details else { return false };
    let items = details.checklist.values().map(|item| item.title.as_str());
    let texts: Vec<_> = std::iter::once(details.description.as_str()).chain(items).map(plain).collect();
    missing.all(|word| texts.iter().any(|text| text.contains(word.as_str())))
}

fn status_filter(text: &str) -> Result<StatusFilter, Error> {
    Ok(match words::fold(text).as_str() {
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
