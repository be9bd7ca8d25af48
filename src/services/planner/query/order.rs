//! In which order a query shows its tasks, and where a page of it ends.
//!
//! Two numbers decide nearly always; a text is compared only where they tie, and the id last, so that the order is the
//! same on every page and every instance.

use std::cmp::Ordering;

use chrono::{DateTime, Datelike, Utc};
use chrono_tz::Tz;

use super::Hit;
use crate::services::Error;
use crate::services::planner::cursor::Position;
use crate::services::planner::days::day_of;
use crate::sync::model::TaskRecord;

/// An order of tasks.
#[derive(Clone, Copy)]
pub(super) struct Order {
    sort: Sort,
    reversed: bool,
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

/// The numbers a task is sorted by.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Rank(i64, i64);

impl Order {
    /// Reads the name of an order; `-` in front reverses it.
    pub(super) fn parse(text: Option<&str>) -> Result<Self, Error> {
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
                return Err(Error::invalid(format!("tasks cannot be sorted by `{name}`")).hint(
                    "use due_date, priority, title, bucket, created or changed, with `-` in front for the reverse",
                ));
            }
        };
        Ok(Self { sort, reversed })
    }

    /// The rank of a task; missing dates and buckets come last. Due dates count as days of `zone`.
    pub(super) fn rank(self, record: &TaskRecord, bucket: Option<usize>, zone: Tz) -> Rank {
        let date = |time: Option<DateTime<Utc>>| time.map_or(i64::MAX, |time| time.timestamp_millis());
        let due = record.fields.due.map_or(i64::MAX, |due| i64::from(day_of(due, zone).num_days_from_ce()));
        let priority = i64::from(record.fields.priority);
        match self.sort {
            Sort::Due => Rank(due, priority),
            Sort::Priority => Rank(priority, due),
            Sort::Title => Rank(0, 0),
            Sort::Bucket => Rank(bucket.and_then(|place| i64::try_from(place).ok()).unwrap_or(i64::MAX), 0),
            Sort::Created => Rank(date(record.facts.created_at), 0),
            Sort::Changed => Rank(date(Some(record.changed_at)), 0),
        }
    }

    /// What decides between equal ranks: Planner's own order within a bucket, else the title.
    fn text(self, record: &TaskRecord) -> &str {
        if matches!(self.sort, Sort::Bucket) { &record.facts.order_hint } else { &record.fields.title }
    }

    /// Compares two tasks.
    pub(super) fn compare(self, left: &Hit, right: &Hit) -> Ordering {
        let key = (right.rank, self.text(&right.record), right.record.id.as_str());
        self.compare_with(left, key)
    }

    fn compare_with(self, hit: &Hit, (rank, text, id): (Rank, &str, &str)) -> Ordering {
        let order = hit
            .rank
            .cmp(&rank)
            .then_with(|| match self.sort {
                Sort::Bucket => self.text(&hit.record).cmp(text),
                _ => compare_folded(self.text(&hit.record), text),
            })
            .then_with(|| hit.record.id.as_str().cmp(id));
        if self.reversed { order.reverse() } else { order }
    }

    /// Where a page ends that ends with this task; whether it or an earlier one is `lacking` plans.
    pub(super) fn position(self, hit: &Hit, lacking: bool) -> Position {
        let Rank(first, second) = hit.rank;
        Position { key: format!("{first}|{second}|{}", self.text(&hit.record)), id: hit.record.id.to_string(), lacking }
    }

    /// Whether a task comes after the end of a page. The task the page ended with may have changed or gone since.
    fn is_after(self, hit: &Hit, end: &End<'_>) -> bool {
        self.compare_with(hit, (end.0, end.1, end.2)) == Ordering::Greater
    }
}

/// Where a page ends: rank, text and id of its last task.
struct End<'a>(Rank, &'a str, &'a str);

impl<'a> End<'a> {
    fn of(position: &'a Position) -> Self {
        let mut parts = position.key.splitn(3, '|');
        let mut number = || parts.next().and_then(|part| part.parse().ok()).unwrap_or(i64::MIN);
        let rank = Rank(number(), number());
        Self(rank, parts.next().unwrap_or_default(), &position.id)
    }
}

/// The tasks of a page, picked out of any number: no more than a few pages of them are held at a time.
pub(super) struct Picked<'a> {
    pub order: Order,
    limit: usize,
    after: Option<End<'a>>,
    hits: Vec<Hit>,
    /// Tasks seen.
    pub total: usize,
    /// Of these, those of earlier pages.
    pub before: usize,
}

impl<'a> Picked<'a> {
    /// For the page of at most `limit` tasks that comes `after` another.
    pub(super) fn new(order: Order, limit: usize, after: Option<&'a Position>) -> Self {
        Self { order, limit, after: after.map(End::of), hits: Vec::new(), total: 0, before: 0 }
    }

    pub(super) fn see(&mut self, hit: Hit) {
        self.total += 1;
        if self.after.as_ref().is_some_and(|end| !self.order.is_after(&hit, end)) {
            self.before += 1;
            return;
        }
        self.hits.push(hit);
        if self.hits.len() > 4 * self.limit + 64 {
            let order = self.order;
            self.hits.select_nth_unstable_by(self.limit, |left, right| order.compare(left, right));
            self.hits.truncate(self.limit);
        }
    }

    /// The tasks of the page, in order.
    pub(super) fn page(mut self) -> Vec<Hit> {
        self.hits.sort_unstable_by(|left, right| self.order.compare(left, right));
        self.hits.truncate(self.limit);
        self.hits
    }
}

/// Compares as a reader would: letter case does not count.
fn compare_folded(left: &str, right: &str) -> Ordering {
    if left.is_ascii() && right.is_ascii() {
        let fold = |byte: u8| byte.to_ascii_lowercase();
        return left.bytes().map(fold).cmp(right.bytes().map(fold));
    }
    left.chars().flat_map(char::to_lowercase).cmp(right.chars().flat_map(char::to_lowercase))
}
