//! The log: events that came, the newest first.

use std::sync::Arc;

use chrono::{DateTime, Utc};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::view::{KINDS, views, word};
use super::{Cursor, EventView, Events};
use crate::auth::Caller;
use crate::ids::TaskId;
use crate::services::Error;
use crate::services::IntoJson;
use crate::services::directory::People;
use crate::services::print_time;
use crate::sync::PlanHandle;
use crate::sync::event::EventRecord;

/// Entries of a page, unless asked otherwise.
const PAGE: u32 = 100;
const LARGEST_PAGE: u32 = 500;
/// Transactions read together.
const WINDOW: u64 = 200;
/// Transactions of a plan read for one page, so that a filter nothing fits does not read a week's rows.
const MOST_TRANSACTIONS: u64 = 5_000;

/// Which events are wanted.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LogQuery {
    /// Plan id or title; all plans if omitted
    pub plan_id: Option<String>,
    /// Only this task
    pub task_id: Option<String>,
    /// Only this kind of event
    #[schemars(extend("enum" = KINDS))]
    pub event: Option<String>,
    /// Entries per page, 1-500 (100); what one call did is not torn apart
    #[schemars(range(min = 1, max = 500), extend("default" = PAGE))]
    pub limit: Option<u32>,
    /// From the previous page
    pub cursor: Option<String>,
}

/// A page of the log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct LogPage {
    /// Events, the newest first.
    pub events: Vec<EventView>,
    /// Whether the log ends here.
    pub complete: bool,
    /// When the list was read.
    pub as_of: String,
    /// Leads to older events.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cursor: Option<String>,
}

impl IntoJson for LogPage {}

/// One transaction that fits.
struct Entry {
    at: DateTime<Utc>,
    number: u64,
    plan: usize,
    events: Vec<EventView>,
}

impl Events {
    /// Lists events, the newest first.
    ///
    /// # Errors
    /// When there is no such plan, the query is wrong, or the store cannot be read.
    pub async fn log(&self, caller: &Caller, query: &LogQuery) -> Result<LogPage, Error> {
        let limit = query.limit.unwrap_or(PAGE).clamp(1, LARGEST_PAGE) as usize;
        let filter = Filter::of(query)?;
        let mut cursor = query.cursor.as_deref().map(str::parse::<Cursor>).transpose()?.unwrap_or_default();
        let plans = self.plans(caller, query.plan_id.as_deref()).await?;
        let mut entries = Vec::new();
        // Down to where each plan has been read.
        let mut floors = Vec::with_capacity(plans.len());
        for (place, handle) in plans.iter().enumerate() {
            handle.ensure_current().await?;
            let below = cursor.at(&handle.key).unwrap_or_else(|| handle.sequence() + 1);
            floors.push(read_back(handle, below, &filter, &self.directory.people, limit, place, &mut entries).await?);
        }
        entries.sort_by_key(|entry: &Entry| std::cmp::Reverse((entry.at, entry.number)));
        let mut page = Vec::new();
        let mut complete = floors.iter().all(|floor| *floor <= 1);
        for (handle, floor) in plans.iter().zip(&floors) {
            cursor.move_to(&handle.key, *floor);
        }
        let mut full = false;
        for entry in entries {
            // What one call did stays together; where it does not fit it begins the next page.
            if page.is_empty() || (!full && page.len() + entry.events.len() <= limit) {
                page.extend(entry.events);
                continue;
            }
            full = true;
            if let Some(handle) = plans.get(entry.plan) {
                // Left for the next page: within a plan the entries are in order, so the first one left is the newest.
                let reached = cursor.at(&handle.key).unwrap_or(0);
                cursor.move_to(&handle.key, reached.max(entry.number + 1));
                complete = false;
            }
        }
        let as_of = print_time(self.clock.now());
        Ok(LogPage { events: page, complete, as_of, cursor: (!complete).then(|| cursor.to_string()) })
    }
}

/// Collects what fits of a plan's events below a number, the newest first, until there is enough; answers down to where
/// it read.
async fn read_back(
    handle: &Arc<PlanHandle>,
    below: u64,
    filter: &Filter,
    people: &People,
    enough: usize,
    place: usize,
    entries: &mut Vec<Entry>,
) -> Result<u64, Error> {
    let oldest = handle.first_event().await?.unwrap_or(below);
    let (mut below, mut found) = (below, 0);
    let bottom = below.saturating_sub(MOST_TRANSACTIONS);
    while below > oldest && below > bottom && found < enough {
        let after = below.saturating_sub(WINDOW + 1);
        let rows = handle.events(after, below - 1, usize::try_from(WINDOW).unwrap_or(usize::MAX)).await?;
        for (number, event) in rows.into_iter().rev() {
            let events = filter.pick(handle, &event, people);
            if !events.is_empty() {
                found += events.len();
                entries.push(Entry { at: event.at, number, plan: place, events });
            }
        }
        below = after + 1;
    }
    Ok(if below <= oldest { 0 } else { below })
}

struct Filter {
    task: Option<TaskId>,
    event: Option<&'static str>,
}

impl Filter {
    fn of(query: &LogQuery) -> Result<Self, Error> {
        let wrong = |text: &str| {
            Error::invalid(format!("`{text}` is no task id")).hint("find the task and its id with `query_tasks`")
        };
        let task = query.task_id.as_deref().map(|text| TaskId::parse(text.trim()).map_err(|_| wrong(text)));
        let known = || KINDS.iter().map(|kind| word(*kind));
        let event = query.event.as_deref().map(|text| {
            known().find(|word| *word == text).ok_or_else(|| {
                let words: Vec<&str> = known().collect();
                Error::invalid(format!("`{text}` is no kind of event")).hint(format!("one of: {}", words.join(", ")))
            })
        });
        Ok(Self { task: task.transpose()?, event: event.transpose()? })
    }

    fn pick(&self, handle: &PlanHandle, event: &EventRecord, people: &People) -> Vec<EventView> {
        let fits = |view: &EventView| {
            self.event.is_none_or(|word| view.event == word)
                && self.task.as_ref().is_none_or(|task| view.task_id.as_deref() == Some(task.as_str()))
        };
        views(handle, event, people).into_iter().filter(fits).collect()
    }
}
