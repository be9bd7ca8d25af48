//! What callers may ask for. The same types are the arguments of the tools, the bodies of the REST calls and what the
//! command line sends. Unknown fields are refused by name. `null` is the same as leaving a field out, but in a change,
//! where it might mean that a field is to be emptied: there it is refused.

mod lenient;

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize};

pub use self::lenient::one_or_more;
use self::lenient::{given, given_word_or_number, object_in, word_or_number};

/// Fields `clear` may name.
pub const CLEARABLE: &[&str] = &[
    "description",
    "assignee_ids",
    "start_date",
    "due_date",
    "checklist",
    "references",
    "categories",
    "custom_fields",
];

/// How tasks are sorted, for the document.
const SORTS: &[&str] = &[
    "due_date",
    "-due_date",
    "priority",
    "-priority",
    "title",
    "-title",
    "bucket",
    "-bucket",
    "created",
    "-created",
    "changed",
    "-changed",
];

/// Arguments of `query_tasks`.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct QueryTasks {
    /// Plan id or title; all plans if omitted
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub plan_id: Option<String>,
    /// Bucket ids or names; `none` for without
    #[serde(default, alias = "bucket_id", deserialize_with = "one_or_more", skip_serializing_if = "Option::is_none")]
    pub bucket: Option<Vec<String>>,
    /// User ids, UPNs or display names; `none` for unassigned
    #[serde(default, alias = "assignee_id", deserialize_with = "one_or_more", skip_serializing_if = "Option::is_none")]
    pub assignee: Option<Vec<String>>,
    /// not_started, in_progress, completed, open (not completed) or late
    #[schemars(extend("x-document" = {"items": {"enum": ["not_started", "in_progress", "completed", "open", "late"]}}))]
    #[serde(default, deserialize_with = "one_or_more", skip_serializing_if = "Option::is_none")]
    pub status: Option<Vec<String>>,
    /// Due on this day
    #[schemars(extend("x-document" = {"example": "2026-11-30"}))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub due_on: Option<String>,
    /// Due before this date
    #[schemars(extend("x-document" = {"example": "2026-11-30"}))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub due_before: Option<String>,
    /// Due on or after this date
    #[schemars(extend("x-document" = {"example": "2026-11-30"}))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub due_after: Option<String>,
    /// urgent, important, medium, low or 0-10
    #[serde(default, deserialize_with = "word_or_number", skip_serializing_if = "Option::is_none")]
    pub priority: Option<String>,
    /// Label name
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub category: Option<String>,
    /// Words in any order: title, description, checklist
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
    /// User id, UPN or display name
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created_by: Option<String>,
    /// Created at or after
    #[schemars(extend("x-document" = {"example": "2026-11-30"}))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created_since: Option<String>,
    /// Completed at or after
    #[schemars(extend("x-document" = {"example": "2026-11-30"}))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub completed_since: Option<String>,
    /// Seen to change at or after
    #[schemars(extend("x-document" = {"example": "2026-11-30"}))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub changed_since: Option<String>,
    /// due_date, priority, title, bucket, created or changed; `-` in front reverses
    #[schemars(extend("x-document" = {"enum": SORTS}))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sort: Option<String>,
    /// IANA zone of the days
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub time_zone: Option<String>,
    /// Columns to return
    #[schemars(extend("x-document" = {"minItems": 1, "items": {"enum": super::COLUMNS}}))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fields: Option<Vec<String>>,
    /// Default table
    #[schemars(extend(
        "enum" = ["table", "json", "markdown", "csv"],
        "x-document" = {"default": "json", "description": "json (default), table, markdown or csv"}
    ))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub format: Option<String>,
    /// Rows per page (200)
    #[schemars(range(min = 1, max = 1000), extend("x-document" = {"default": 200}))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<u32>,
    /// From the previous page
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cursor: Option<String>,
    /// Ask Planner first
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fresh: Option<bool>,
}

/// A checklist item; plain text stands for one that is not ticked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
#[schemars(extend("x-document" = {"additionalProperties": false, "or": {"type": "string"}}))]
pub struct ChecklistInput {
    /// Text
    pub title: String,
    /// Ticked
    #[serde(default)]
    #[schemars(extend("x-document" = {"nullable": true}))]
    pub checked: bool,
}

impl<'de> Deserialize<'de> for ChecklistInput {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Item {
            title: String,
            checked: Option<bool>,
        }
        #[derive(Deserialize)]
        #[serde(untagged, expecting = "a checklist item is a text or an object with `title` and `checked`")]
        enum Either {
            Text(String),
            Item(Item),
        }
        Ok(match Either::deserialize(deserializer)? {
            Either::Text(text) if text.starts_with('{') => match object_in::<Item>(&text).map_err(D::Error::custom)? {
                Some(item) => Self { title: item.title, checked: item.checked.unwrap_or(false) },
                None => Self { title: text, checked: false },
            },
            Either::Text(title) => Self { title, checked: false },
            Either::Item(item) => Self { title: item.title, checked: item.checked.unwrap_or(false) },
        })
    }
}

/// A link attached to a task; a plain URL stands for one without a title.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
#[schemars(extend("x-document" = {"additionalProperties": false, "or": {"type": "string"}}))]
pub struct ReferenceInput {
    /// http(s) address
    pub url: String,
    /// Text shown
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
}

impl<'de> Deserialize<'de> for ReferenceInput {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Link {
            url: String,
            title: Option<String>,
        }
        #[derive(Deserialize)]
        #[serde(untagged, expecting = "a reference is a URL or an object with `url` and `title`")]
        enum Either {
            Url(String),
            Link(Link),
        }
        Ok(match Either::deserialize(deserializer)? {
            Either::Url(text) if text.starts_with('{') => match object_in::<Link>(&text).map_err(D::Error::custom)? {
                Some(link) => Self { url: link.url, title: link.title },
                None => Self { url: text, title: None },
            },
            Either::Url(url) => Self { url, title: None },
            Either::Link(link) => Self { url: link.url, title: link.title },
        })
    }
}

/// Arguments of `create_task`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CreateTask {
    /// Plan id or title; the default plan if omitted
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub plan_id: Option<String>,
    /// Title
    #[schemars(extend("x-document" = {"minLength": 1, "maxLength": 255}))]
    pub title: String,
    /// Bucket id or name; the first bucket if omitted
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bucket_id: Option<String>,
    /// Default not_started
    #[schemars(extend("enum" = ["not_started", "in_progress", "completed"]))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<String>,
    /// Plain text
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// User ids, UPNs or display names
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub assignee_ids: Option<Vec<String>>,
    /// YYYY-MM-DD or RFC 3339 with zone
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start_date: Option<String>,
    /// YYYY-MM-DD or RFC 3339 with zone
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub due_date: Option<String>,
    /// urgent, important, medium, low or 0-10
    #[schemars(extend("x-document" = {"or": {"type": "integer", "minimum": 0, "maximum": 10}}))]
    #[serde(default, deserialize_with = "word_or_number", skip_serializing_if = "Option::is_none")]
    pub priority: Option<String>,
    /// Items in order
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub checklist: Option<Vec<ChecklistInput>>,
    /// Links
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub references: Option<Vec<ReferenceInput>>,
    /// Label names
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub categories: Option<Vec<String>>,
    /// Configured fields by name
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub custom_fields: Option<BTreeMap<String, serde_json::Value>>,
    /// Same key, same task: safe to repeat for 24 h
    #[schemars(extend("x-document" = {"minLength": 1, "maxLength": 200}))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub idempotency_key: Option<String>,
    /// Progress, for programs that know Graph's names; served and not listed, since `status` says the same in a word.
    #[schemars(skip)]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub percent_complete: Option<u8>,
}

/// Arguments of `update_task`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct UpdateTask {
    /// Task id
    pub task_id: String,
    /// New title
    #[schemars(extend("x-document" = {"minLength": 1, "maxLength": 255}))]
    #[serde(default, deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
    /// Bucket id or name
    #[serde(default, deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    pub bucket_id: Option<String>,
    /// Plain text
    #[serde(default, deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// All assignees; to add or remove single ones use add_… and remove_…, as for every list
    #[serde(default, deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    pub assignee_ids: Option<Vec<String>>,
    /// YYYY-MM-DD or RFC 3339 with zone
    #[serde(default, deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    pub start_date: Option<String>,
    /// YYYY-MM-DD or RFC 3339 with zone
    #[serde(default, deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    pub due_date: Option<String>,
    /// urgent, important, medium, low or 0-10
    #[schemars(extend("x-document" = {"or": {"type": "integer", "minimum": 0, "maximum": 10}}))]
    #[serde(default, deserialize_with = "given_word_or_number", skip_serializing_if = "Option::is_none")]
    pub priority: Option<String>,
    /// Keeps the progress where it fits
    #[schemars(extend("enum" = ["not_started", "in_progress", "completed"]))]
    #[serde(default, deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    pub status: Option<String>,
    /// Progress
    #[schemars(range(min = 0, max = 100))]
    #[serde(default, deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    pub percent_complete: Option<u8>,
    /// All items in order
    #[serde(default, deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    pub checklist: Option<Vec<ChecklistInput>>,
    /// All links
    #[serde(default, deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    pub references: Option<Vec<ReferenceInput>>,
    /// All labels
    #[serde(default, deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    pub categories: Option<Vec<String>>,
    /// Configured fields by name; null clears one
    #[serde(default, deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    pub custom_fields: Option<BTreeMap<String, serde_json::Value>>,
    /// Fields to empty, e.g. due_date
    #[serde(default, deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    pub clear: Option<Vec<String>>,
    /// Ids, UPNs or display names
    #[serde(default, deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    pub add_assignees: Option<Vec<String>>,
    /// As add_assignees
    #[serde(default, deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    pub remove_assignees: Option<Vec<String>>,
    /// Label names
    #[serde(default, deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    pub add_categories: Option<Vec<String>>,
    /// Label names
    #[serde(default, deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    pub remove_categories: Option<Vec<String>>,
    /// Items to append
    #[serde(default, deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    pub add_checklist: Option<Vec<ChecklistInput>>,
    /// Titles or ids of items
    #[serde(default, deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    pub tick_checklist: Option<Vec<String>>,
    /// Titles or ids of items
    #[serde(default, deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    pub untick_checklist: Option<Vec<String>>,
    /// Titles or ids of items
    #[serde(default, deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    pub remove_checklist: Option<Vec<String>>,
    /// Links to add
    #[serde(default, deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    pub add_references: Option<Vec<ReferenceInput>>,
    /// URLs or titles
    #[serde(default, deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    pub remove_references: Option<Vec<String>>,
    /// From get_task: keeps what others added to lists since
    #[serde(default, deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
}

impl UpdateTask {
    /// Whether no field is named that could change.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        let nothing = Self { task_id: self.task_id.clone(), version: self.version.clone(), ..Self::default() };
        *self == nothing
    }
}

#[cfg(test)]
mod tests;
