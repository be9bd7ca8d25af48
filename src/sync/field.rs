//! The fields a task is merged by, and their names in logs and conflict records. What values they have is in
//! [`super::field_value`].

use serde::{Deserialize, Serialize};

use crate::ids::UserId;

/// One field of a task; each entry of a list is a field of its own.
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
    /// Whether it lives in the details resource.
    #[must_use]
    pub fn in_details(&self) -> bool {
        FieldRef::from(self).in_details()
    }
}

/// A field whose key is borrowed: what values are found and compared by. In the order of [`Field`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[allow(missing_docs)] // as in `Field`
pub enum FieldRef<'a> {
    Title,
    Bucket,
    PercentComplete,
    Priority,
    Start,
    Due,
    Assignee(&'a UserId),
    Category(u8),
    Description,
    Checklist(&'a str),
    Reference(&'a str),
}

impl FieldRef<'_> {
    /// Whether it is an entry of a list.
    #[must_use]
    pub const fn is_entry(self) -> bool {
        matches!(self, Self::Assignee(_) | Self::Category(_) | Self::Checklist(_) | Self::Reference(_))
    }

    /// Whether it lives in the details resource.
    #[must_use]
    pub const fn in_details(self) -> bool {
        matches!(self, Self::Description | Self::Checklist(_) | Self::Reference(_))
    }

    /// The name without the key of an entry.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Title => "title",
            Self::Bucket => "bucket",
            Self::PercentComplete => "percent_complete",
            Self::Priority => "priority",
            Self::Start => "start_date",
            Self::Due => "due_date",
            Self::Assignee(_) => "assignee",
            Self::Category(_) => "category",
            Self::Description => "description",
            Self::Checklist(_) => "checklist",
            Self::Reference(_) => "reference",
        }
    }

    /// The field with a key of its own.
    #[must_use]
    pub fn to_field(self) -> Field {
        match self {
            Self::Title => Field::Title,
            Self::Bucket => Field::Bucket,
            Self::PercentComplete => Field::PercentComplete,
            Self::Priority => Field::Priority,
            Self::Start => Field::Start,
            Self::Due => Field::Due,
            Self::Assignee(user) => Field::Assignee(user.clone()),
            Self::Category(number) => Field::Category(number),
            Self::Description => Field::Description,
            Self::Checklist(key) => Field::Checklist(key.to_owned()),
            Self::Reference(url) => Field::Reference(url.to_owned()),
        }
    }
}

impl<'a> From<&'a Field> for FieldRef<'a> {
    fn from(field: &'a Field) -> Self {
        match field {
            Field::Title => Self::Title,
            Field::Bucket => Self::Bucket,
            Field::PercentComplete => Self::PercentComplete,
            Field::Priority => Self::Priority,
            Field::Start => Self::Start,
            Field::Due => Self::Due,
            Field::Assignee(user) => Self::Assignee(user),
            Field::Category(number) => Self::Category(*number),
            Field::Description => Self::Description,
            Field::Checklist(key) => Self::Checklist(key),
            Field::Reference(url) => Self::Reference(url),
        }
    }
}

impl std::fmt::Display for Field {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        FieldRef::from(self).fmt(f)
    }
}

impl std::fmt::Display for FieldRef<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let name = self.name();
        match self {
            Self::Assignee(user) => write!(f, "{name}/{user}"),
            Self::Category(number) => write!(f, "{name}/{number}"),
            Self::Checklist(key) | Self::Reference(key) => write!(f, "{name}/{key}"),
            _ => f.write_str(name),
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
