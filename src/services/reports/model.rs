//! The report itself: what every format is written from.
//!
//! A report is a head, counts, and sections in reading order. A section's body is one of four things, so that a format
//! is one function over four shapes, for every kind of report.

use chrono::{DateTime, NaiveDate, Utc};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::counts::{Counts, Group};
use super::request::{Audience, Grouping, Kind};

/// A report.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Report {
    /// Its id.
    pub id: String,
    /// What it is about.
    #[serde(rename = "type")]
    pub kind: Kind,
    /// Its title.
    pub title: String,
    /// The plans it is about.
    pub plans: Vec<PlanName>,
    /// The first day.
    pub from: NaiveDate,
    /// The last day.
    pub to: NaiveDate,
    /// The zone of its days.
    pub time_zone: String,
    /// How dates and numbers are written.
    pub language: String,
    /// Whom it is for.
    pub audience: Audience,
    /// What tasks are put together by.
    pub group_by: Grouping,
    /// When it was made.
    pub generated_at: DateTime<Utc>,
    /// When Planner was last asked; of several plans the earliest.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub as_of: Option<DateTime<Utc>>,
    /// The report in a few sentences.
    pub summary: String,
    /// All its tasks, counted.
    pub counts: Counts,
    /// The same in groups.
    pub groups: Vec<Group>,
    /// What is in more than one group: the groups add up to `counts` and this.
    pub overlap: Counts,
    /// Its parts, in reading order.
    pub sections: Vec<Section>,
    /// What a reader should know of the data.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
    /// All its tasks.
    pub tasks: Vec<TaskLine>,
}

/// A plan.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PlanName {
    /// Planner's id.
    pub id: String,
    /// The title.
    pub title: String,
    /// The owning group's name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,
}

/// A part of a report.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Section {
    /// A stable name.
    pub id: String,
    /// Its title.
    pub title: String,
    /// What to know beside it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
    /// What it holds.
    pub body: Body,
}

/// What a section holds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Body {
    /// A few numbers, large.
    Figures {
        /// The numbers.
        figures: Vec<Figure>,
    },
    /// A list of tasks.
    Tasks {
        /// The tasks, the most important first.
        tasks: Vec<TaskLine>,
        /// Tasks that belong here and are left out.
        more: usize,
        /// What is said when there are none.
        none: String,
    },
    /// Rows and columns.
    Table {
        /// The titles of the columns.
        columns: Vec<String>,
        /// The rows.
        rows: Vec<Vec<Cell>>,
    },
    /// A picture of numbers.
    Chart {
        /// The numbers.
        chart: Chart,
    },
}

/// A number worth a large type.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Figure {
    /// What it counts.
    pub label: String,
    /// The number.
    pub value: i64,
    /// What follows the number, such as `%`.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub unit: String,
    /// Whether it is good or bad news.
    pub tone: Tone,
}

/// What a number or a colour stands for; the formats choose the colour, and never colour alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Tone {
    /// Neither good nor bad.
    Plain,
    /// Something waits: not started.
    Waiting,
    /// Something moves: in progress.
    Moving,
    /// Something is done.
    Done,
    /// Something is wrong: late.
    Bad,
    /// One of several things of equal rank, by number.
    #[serde(rename = "hue")]
    Hue(u8),
}

/// A cell of a table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum Cell {
    /// A whole number.
    Number(i64),
    /// A text.
    Text(String),
}

impl From<usize> for Cell {
    fn from(number: usize) -> Self {
        Self::Number(whole(number))
    }
}

impl From<&str> for Cell {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<String> for Cell {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

/// A count as the signed number formats write.
#[must_use]
pub fn whole(number: usize) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// A picture of numbers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Chart {
    /// How they are drawn.
    pub shape: Shape,
    /// What the numbers count: the axis title.
    pub unit: String,
    /// The names along the other axis.
    pub categories: Vec<String>,
    /// The numbers, one series a colour.
    pub series: Vec<Series>,
    /// The picture in words.
    pub text: String,
}

/// How a chart is drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Shape {
    /// A lying bar a category, the series one after another.
    Bars,
    /// A standing column a category, the series on top of each other; a category without any number is marked as a gap.
    Columns,
    /// A standing column a series, side by side.
    Pairs,
    /// A line a series; a missing number interrupts it.
    Lines,
}

/// Numbers of one colour.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Series {
    /// What they count.
    pub name: String,
    /// What they stand for.
    pub tone: Tone,
    /// Drawn as not measured.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub dashed: bool,
    /// A number a category; `null` where none is known.
    pub values: Vec<Option<i64>>,
}

/// A task as reports show it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TaskLine {
    /// Planner's id; ours until Planner has the task.
    pub id: String,
    /// The title.
    pub title: String,
    /// The plan's title, where a report is about several.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub plan: Option<String>,
    /// The bucket's name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bucket: Option<String>,
    /// As Planner's board says it.
    pub status: String,
    /// As Planner's board says it.
    pub priority: String,
    /// Who does it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub assignees: Vec<String>,
    /// The day work starts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start: Option<NaiveDate>,
    /// The day it is due.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub due: Option<NaiveDate>,
    /// Days past the due date.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub days_late: Option<i64>,
    /// The day it was created.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created: Option<NaiveDate>,
    /// Who created it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created_by: Option<String>,
    /// The day it was completed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub completed: Option<NaiveDate>,
    /// Who completed it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub completed_by: Option<String>,
    /// Ticked and all checklist items, as `2/5`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub checklist_done: Option<String>,
    /// The checklist items.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub checklist: Vec<String>,
    /// The labels' names.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub labels: Vec<String>,
    /// The description.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub description: String,
}
