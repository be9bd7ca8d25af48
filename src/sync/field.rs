//! The pieces a task is merged by, and their names in logs and conflict records.

use serde::{Deserialize, Serialize};

use crate::ids::UserId;

/// One mergeable piece of a task; collections are pieces by key.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Field {
    /// The title.
    Title,
    /// The bucket.
    Bucket,
    /// The progress.
    PercentComplete,
    /// The priority.
    Priority,
    /// The start.
    Start,
    /// The due date.
    Due,
    /// One assignee.
    Assignee(UserId),
    /// One label.
    Category(u8),
    /// The description.
    Description,
    /// One checklist item.
    Checklist(String),
    /// One reference.
    Reference(String),
}

impl Field {
    /// Whether it is an entry of a list.
    #[must_use]
    pub const fn is_entry(&self) -> bool {
        matches!(self, Self::Assignee(_) | Self::Category(_) | Self::Checklist(_) | Self::Reference(_))
    }

    /// Whether the piece lives in the details resource.
    #[must_use]
    pub fn in_details(&self) -> bool {
        matches!(self, Self::Description | Self::Checklist(_) | Self::Reference(_))
    }
}

impl std::fmt::Display for Field {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Title => f.write_str("title"),
            Self::Bucket => f.write_str("bucket"),
            Self::PercentComplete => f.write_str("percent_complete"),
            Self::Priority => f.write_str("priority"),
            Self::Start => f.write_str("start_date"),
            Self::Due => f.write_str("due_date"),
            Self::Assignee(user) => write!(f, "assignee/{user}"),
            Self::Category(number) => write!(f, "category/{number}"),
            Self::Description => f.write_str("description"),
            Self::Checklist(key) => write!(f, "checklist/{key}"),
            Self::Reference(url) => write!(f, "reference/{url}"),
        }
    }
}

impl std::str::FromStr for Field {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let unknown = || format!("`{text}` names no field");
        Ok(match text.split_once('/') {
            None => match text {
                "title" => Self::Title,
                "bucket" => Self::Bucket,
                "percent_complete" => Self::PercentComplete,
                "priority" => Self::Priority,
                "start_date" => Self::Start,
                "due_date" => Self::Due,
                "description" => Self::Description,
                _ => return Err(unknown()),
            },
            Some(("assignee", user)) => Self::Assignee(UserId::parse(user).map_err(|error| error.to_string())?),
            Some(("category", number)) => Self::Category(number.parse().map_err(|_| unknown())?),
            Some(("checklist", key)) => Self::Checklist(key.to_owned()),
            Some(("reference", url)) => Self::Reference(url.to_owned()),
            Some(_) => return Err(unknown()),
        })
    }
}

impl Serialize for Field {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Field {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}
