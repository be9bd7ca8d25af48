//! The audit log: who did what, to what, and how it ended, in the partition of its tenant and day.
//!
//! Rows hold ids and digests, never texts of people. An operation that writes has a row of its own, and what it does in
//! the store is written together with a row that says so ([`traces`]): a process that dies in between leaves no effect
//! without one. Operations that read are counted, by caller and hour, unless a row for each is wanted ([`counts`]). One
//! task writes all of it, many rows at a time ([`writer`]).

mod counts;
mod log;
mod traces;
mod writer;

use std::collections::BTreeMap;
use std::sync::Arc;

use chrono::{DateTime, Utc};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

pub use log::{Audit, AuditPage, AuditQuery, Swept, Visible};
pub use writer::Writer;

use crate::auth::{Caller, Ongoing, Principal};
use crate::ids::{BucketId, GroupId, PlanId, TaskId, digest};

/// What is said of an operation that had an effect and of whose end nothing is known: the process ended before.
pub const UNFINISHED: &str = "unfinished";

/// Which operations have rows of their own.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Scope {
    /// Those that write; nothing is said of reading.
    Writes,
    /// Those that write; reading is counted.
    #[default]
    Counted,
    /// All.
    All,
}

/// What the log holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Policy {
    /// Which operations.
    pub scope: Scope,
    /// For how many days; `None` is for ever.
    pub days: Option<u64>,
}

/// An operation of a caller, or several alike.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Entry {
    /// The row's own id; sorts by time.
    pub id: String,
    /// When it began; of several, when their hour did.
    pub at: DateTime<Utc>,
    /// Who called.
    pub caller: String,
    /// What kind of party that is.
    pub kind: String,
    /// The tool's name, or method and path of the REST call.
    pub operation: String,
    /// Whether it was one that writes.
    pub writes: bool,
    /// The things it named or made, by id: names and texts of people are left out. Several ids of a kind are separated by
    /// spaces.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub target: BTreeMap<String, String>,
    /// A digest of all arguments: equal calls have equal digests.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<String>,
    /// `ok`, the error's code, or `unfinished`.
    pub outcome: String,
    /// How long it took; of several, all together.
    pub ms: u64,
    /// How many operations the row stands for, where it is not one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub count: Option<u64>,
}

/// What there is to know of an operation.
pub struct Operation<'a> {
    /// Who called.
    pub caller: &'a Caller,
    /// The tool's name, or method and path.
    pub name: String,
    /// Whether it is one that writes.
    pub writes: bool,
    /// Its arguments.
    pub arguments: Option<&'a Value>,
    /// Ids that stand elsewhere, as in a path.
    pub ids: Vec<(&'static str, String)>,
}

impl Operation<'_> {
    /// The row, before the operation has ended.
    fn entry(&self, id: String, at: DateTime<Utc>) -> Entry {
        let mut target: BTreeMap<String, String> = BTreeMap::new();
        let named = self.arguments.and_then(Value::as_object).into_iter().flatten();
        for (name, value) in named.filter(|(name, _)| name.ends_with("id")) {
            if let Some(text) = value.as_str().filter(|text| is_id(text)) {
                target.insert(name.clone(), text.to_owned());
            }
        }
        let fine = |kind: &str, text: &str| match kind {
            "schedule" | "subscription" => text.len() <= 200,
            "conflict_id" => text.len() <= 64 && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-'),
            _ => is_id(text),
        };
        let ids = self.ids.iter().filter(|(kind, id)| fine(kind, id));
        target.extend(ids.map(|(kind, id)| ((*kind).to_owned(), id.clone())));
        Entry {
            id,
            at,
            caller: self.caller.name.clone(),
            kind: self.caller.kind.as_str().to_owned(),
            operation: self.name.clone(),
            writes: self.writes,
            target,
            digest: self.arguments.map(|arguments| format!("{:032x}", digest(&[&arguments.to_string()]))),
            outcome: UNFINISHED.to_owned(),
            ms: 0,
            count: None,
        }
    }
}

/// An operation that has begun.
pub struct Noted {
    entry: Entry,
    ongoing: Arc<Ongoing>,
    always: bool,
}

impl Noted {
    /// The caller, whose effects are written down as this operation's from now on.
    #[must_use]
    pub fn of(&self, caller: Caller) -> Caller {
        Caller { operation: Some(self.ongoing.clone()), ..caller }
    }

    /// The same, with a row of its own although it reads.
    #[must_use]
    pub fn always(self) -> Self {
        Self { always: true, ..self }
    }
}

/// A name for who follows a signed address, which proves nothing but that they have it.
#[must_use]
pub fn link_holder() -> Caller {
    Caller { name: "link".to_owned(), kind: Principal::Local, ..Caller::nobody() }
}

fn is_id(text: &str) -> bool {
    TaskId::parse(text).is_ok()
        || PlanId::parse(text).is_ok()
        || BucketId::parse(text).is_ok()
        || GroupId::parse(text).is_ok()
        || is_row_id(text)
}

fn row_key(id: &str) -> String {
    format!("a|{id}")
}

/// Whether a text has the form of a row's id, or of a report's.
fn is_row_id(text: &str) -> bool {
    text.len() == 26 && text.bytes().all(|byte| byte.is_ascii_alphanumeric())
}
