//! Which tasks a query keeps, apart from the plan, bucket and label it names.

use chrono::{DateTime, Utc};

use crate::ids::UserId;
use crate::services::Error;
use crate::services::planner::Planner;
use crate::services::planner::input::QueryTasks;
use crate::services::planner::words::{self, Status, parse_date, parse_priority, plain, priority_word};
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

/// The filters that do not depend on a plan.
pub(super) struct Filters {
    status: Option<StatusFilter>,
    assignee: Option<AssigneeFilter>,
    due_before: Option<DateTime<Utc>>,
    due_after: Option<DateTime<Utc>>,
    created_since: Option<DateTime<Utc>>,
    changed_since: Option<DateTime<Utc>>,
    priority: Option<PriorityFilter>,
    text: Vec<String>,
    now: DateTime<Utc>,
}

enum PriorityFilter {
    Number(u8),
    Word(&'static str),
}

impl Planner {
    /// Reads the filters of a query; names of people are looked up.
    pub(super) async fn filters(&self, input: &QueryTasks) -> Result<Filters, Error> {
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
            text: input.text.as_deref().map(words::search_words).unwrap_or_default(),
            now: self.now(),
        })
    }
}

impl Filters {
    pub(super) fn match_task(&self, record: &TaskRecord) -> bool {
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
            && contains_all(record, &self.text)
    }
}

/// Whether an open task is past its due day. A task due today is not late.
pub(in crate::services::planner) fn is_late(record: &TaskRecord, now: DateTime<Utc>) -> bool {
    record.fields.percent_complete < 100 && record.fields.due.is_some_and(|due| due.date_naive() < now.date_naive())
}

/// Whether every word stands somewhere in the title, the description or the checklist.
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
