//! How answers, instants and failures are written. A failure has one rendering: MCP, REST and the command line show these members, each in an envelope of its own.
//!
//! Programs that were promised a class, a message and details find the other members under `details` too.

use std::time::Duration;

use chrono::{DateTime, Utc};
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value;

use super::{Changed, Error};
use crate::error::{ErrorClass, ErrorCode, Retry};
use crate::text;

/// An answer that becomes JSON.
pub trait IntoJson: Serialize + Sized {
    /// The answer as a JSON value.
    ///
    /// # Errors
    /// When it cannot be written as JSON.
    fn into_json(self) -> serde_json::Result<Value> {
        serde_json::to_value(self)
    }
}

/// Prints an instant with seconds.
#[must_use]
pub fn print_time(time: DateTime<Utc>) -> String {
    time.to_rfc3339_opts(chrono::SecondsFormat::Secs, true)
}

/// How a sentence ends that tells of a failure without effect.
const NOTHING: &str = "; nothing was changed";

/// A failure as callers see it.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct Members {
    /// Who has to act.
    pub class: ErrorClass,
    /// What happened, and that nothing was changed where that is so.
    pub message: String,
    /// The members beside class and message once more.
    pub details: Details,
    /// The same.
    #[serde(flatten)]
    pub same: Details,
}

/// What a program acts on.
#[derive(Debug, Clone, Serialize, JsonSchema)]
#[schemars(rename = "ErrorDetails")]
pub struct Details {
    /// The stable error code.
    #[schemars(with = "String", extend("enum" = ErrorCode::ALL))]
    pub code: ErrorCode,
    /// What to do next.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
    /// Whether anything was changed.
    pub changed: Changed,
    /// Whether the same call may succeed later.
    pub retryable: bool,
    /// When a repetition makes sense at the earliest.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retry_after_seconds: Option<u64>,
}

impl Error {
    /// What happened, and that nothing was changed where that is so.
    #[must_use]
    pub fn sentence(&self) -> String {
        let end = if self.changed == Changed::Nothing { NOTHING } else { "" };
        format!("{}{end}", self.message)
    }

    /// The failure as callers see it. Text of people in it is shown as a person would see it.
    #[must_use]
    pub fn members(&self) -> Members {
        let details = Details {
            code: self.code,
            hint: self.hint.as_deref().map(|hint| text::shown(hint).into_owned()),
            changed: self.changed,
            retryable: self.code.retry() == Retry::Worthwhile,
            retry_after_seconds: self.retry_after.map(whole_seconds),
        };
        let message = text::shown(&self.sentence()).into_owned();
        Members { class: self.code.class(), message, details: details.clone(), same: details }
    }
}

/// Whole seconds, rounded up: nobody should come back too early.
#[must_use]
pub fn whole_seconds(wait: Duration) -> u64 {
    wait.as_secs() + u64::from(wait.subsec_nanos() > 0)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn nothing_was_changed_is_rendered_from_the_field() {
        let error = Error::new(ErrorCode::Conflict, "the plan kept changing").hint("repeat the call");
        assert_eq!(error.sentence(), "the plan kept changing; nothing was changed");
        assert_eq!(error.clone().perhaps_changed().sentence(), "the plan kept changing");
        let details = json!({ "code": "CONF_001", "hint": "repeat the call", "changed": "nothing", "retryable": true });
        let mut members = json!({
            "class": "SERVICE_ERROR", "message": "the plan kept changing; nothing was changed", "details": details,
        });
        members.as_object_mut().unwrap().extend(details.as_object().unwrap().clone());
        assert_eq!(serde_json::to_value(error.members()).unwrap(), members);
    }

    #[test]
    fn retry_after_is_rounded_up_to_seconds() {
        let error = Error { retry_after: Some(Duration::from_millis(1200)), ..Error::invalid("x") };
        assert_eq!(error.members().same.retry_after_seconds, Some(2));
    }
}
