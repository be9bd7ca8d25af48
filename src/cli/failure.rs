//! What the command line says when something went wrong, and the exit code it leaves with.
//!
//! Every failure becomes one [`Failure`]: those a server reported keep its code, hint and other members; anything else
//! has no code and ends with 1. The text goes to stderr, so that a pipe only ever carries data.

use std::fmt::Write as _;
use std::io::Write as _;
use std::process::ExitCode;

use serde_json::{Map, Value, json};

use super::output::{Format, plain};
use super::wording;
use crate::error::ErrorCode;

/// As when a call runs out of time: a script that waits for a server treats both alike.
const UNREACHABLE: u8 = 10;

/// A failure as the user sees it.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[error("{message}")]
pub struct Failure {
    code: Option<ErrorCode>,
    message: String,
    hint: Option<String>,
    /// What the process ends with where no code says it.
    exit: u8,
    /// Whether a server has said it.
    from_server: bool,
    /// The other members of the server's error, such as `changed` or `retry_after_seconds`, as they came.
    more: Box<Map<String, Value>>,
}

impl Failure {
    /// A failure that is in no table; ends with exit code 1.
    pub fn new(message: impl Into<String>) -> Self {
        Self { code: None, message: message.into(), hint: None, exit: 1, from_server: false, more: Box::default() }
    }

    /// A failure with a code of the table, which decides the exit code.
    pub fn coded(code: ErrorCode, message: impl Into<String>) -> Self {
        Self { code: Some(code), ..Self::new(message) }
    }

    /// No server answers; nothing says which error of the table it would have been.
    pub fn unreachable(message: impl Into<String>) -> Self {
        Self { exit: UNREACHABLE, ..Self::new(message) }
    }

    /// A wrong argument.
    pub fn invalid(message: impl Into<String>) -> Self {
        Self::coded(ErrorCode::InvalidArgument, message)
    }

    /// Adds the way out.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Adds a member to the error's JSON.
    #[must_use]
    pub fn with(mut self, member: &str, value: impl Into<Value>) -> Self {
        self.more.insert(member.to_owned(), value.into());
        self
    }

    /// Puts what the failure interrupted in front of the message.
    #[must_use]
    pub fn while_doing(mut self, circumstance: &str) -> Self {
        self.message = format!("{circumstance}: {}", self.message);
        self
    }

    /// Reads the error a tool answered with; `said` is the text beside it, used when the structure is missing.
    #[must_use]
    pub fn from_tool(answer: Option<&Value>, said: &str) -> Self {
        let Some(Value::Object(error)) = answer.and_then(|answer| answer.get("error")) else {
            return Self::new(said);
        };
        let text = |member: &str| error.get(member).and_then(Value::as_str);
        let mut more = Box::new(error.clone());
        // `details` says the other members once more.
        more.retain(|member, _| !matches!(member.as_str(), "code" | "message" | "hint" | "details"));
        Self {
            code: text("code").and_then(|code| code.parse().ok()),
            message: text("message").unwrap_or(said).to_owned(),
            hint: text("hint").map(str::to_owned),
            from_server: true,
            more,
            ..Self::new("")
        }
    }

    /// The same failure in the words of the command line: a server speaks of the arguments of tools.
    #[must_use]
    pub fn in_flags(mut self) -> Self {
        if !self.from_server {
            return self;
        }
        self.message = wording::in_flags(&self.message);
        self.hint = self.hint.map(|hint| wording::in_flags(&hint));
        self
    }

    /// The exit code: the table's, or 1.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        self.code.map_or(self.exit, ErrorCode::exit_code)
    }

    /// Whether a server has said so, for good: repeating the call cannot help.
    #[must_use]
    pub fn is_refusal(&self) -> bool {
        self.code.is_some_and(|code| code.retry() == crate::error::Retry::Pointless)
    }

    fn to_json(&self) -> Value {
        let mut error = Map::new();
        error.insert("code".into(), json!(self.code));
        error.insert("message".into(), json!(self.message));
        if let Some(hint) = &self.hint {
            error.insert("hint".into(), json!(hint));
        }
        error.extend(*self.more.clone());
        json!({ "error": error })
    }

    fn to_text(&self) -> String {
        // Later lines are indented, so that none of them can pass for a hint.
        let mut text = "error: ".to_owned();
        for (number, line) in self.message.lines().enumerate() {
            let indent = if number == 0 || line.starts_with("  ") { "" } else { "  " };
            let _ = writeln!(text, "{indent}{}", plain(line));
        }
        if self.message.is_empty() {
            text.push('\n');
        }
        if let Some(hint) = &self.hint {
            let _ = writeln!(text, "hint: {}", plain(hint));
        }
        if let Some(seconds) = self.more.get("retry_after_seconds").and_then(Value::as_f64) {
            let _ = writeln!(text, "hint: repeat the command after {seconds} s");
        }
        text
    }

    /// Prints the failure to stderr and returns what the process ends with.
    pub fn report(&self, format: Option<Format>) -> ExitCode {
        let text = if format == Some(Format::Json) { format!("{}\n", self.to_json()) } else { self.to_text() };
        // Nobody is left to tell when stderr itself is gone.
        let _ = std::io::stderr().lock().write_all(text.as_bytes());
        ExitCode::from(self.exit_code())
    }
}

impl From<anyhow::Error> for Failure {
    fn from(error: anyhow::Error) -> Self {
        if let Some(service) = error.downcast_ref::<crate::services::Error>() {
            let said = Self::from_tool(Some(&json!({ "error": service.members() })), "");
            return Self { from_server: false, ..said };
        }
        match error.downcast::<Self>() {
            Ok(failure) => failure,
            Err(other) => {
                let code = crate::app::startup::error_code(&other);
                Self { code, ..Self::new(format!("{other:#}")) }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exit_code_follows_the_error_code() {
        let answer = json!({"error": {"code": "TASK_001", "message": "task `x` does not exist", "hint": "list them", "changed": false}});
        let failure = Failure::from_tool(Some(&answer), "");
        assert_eq!(failure.exit_code(), 3);
        assert_eq!(failure.to_text(), "error: task `x` does not exist\nhint: list them\n");
        assert_eq!(
            failure.to_json().to_string(),
            r#"{"error":{"code":"TASK_001","message":"task `x` does not exist","hint":"list them","changed":false}}"#
        );
    }

    #[test]
    fn unstructured_error_keeps_its_message() {
        let failure = Failure::from_tool(None, "no such luck");
        assert_eq!((failure.exit_code(), failure.to_text().as_str()), (1, "error: no such luck\n"));
    }

    #[test]
    fn error_messages_contain_no_terminal_codes() {
        assert_eq!(Failure::new("a\u{1b}[2Jb").to_text(), "error: a\u{fffd}[2Jb\n");
        assert_eq!(Failure::new("a\nhint: b").to_text(), "error: a\n  hint: b\n");
    }

    #[test]
    fn failure_survives_anyhow() {
        let failure = Failure::invalid("bad").hint("good");
        assert_eq!(Failure::from(anyhow::Error::from(failure.clone())), failure);
        assert_eq!(Failure::from(anyhow::anyhow!("low").context("high")).to_text(), "error: high: low\n");
    }
}
