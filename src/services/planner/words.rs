//! The words callers use for priorities and progress, and what they mean in Planner.

use crate::services::Error;

/// How far a task is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Status {
    /// Nothing done.
    NotStarted,
    /// Some done.
    InProgress,
    /// All done.
    Completed,
}

impl Status {
    /// All words.
    pub const WORDS: &'static [&'static str] = &["not_started", "in_progress", "completed"];

    /// The status of a progress in percent (plannerTask: 100 is completed).
    #[must_use]
    pub fn of(percent: u8) -> Self {
        match percent {
            0 => Self::NotStarted,
            1..=99 => Self::InProgress,
            _ => Self::Completed,
        }
    }

    /// The word.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::NotStarted => "not_started",
            Self::InProgress => "in_progress",
            Self::Completed => "completed",
        }
    }

    /// The progress Planner's own application writes for it.
    #[must_use]
    pub fn percent(self) -> u8 {
        match self {
            Self::NotStarted => 0,
            Self::InProgress => 50,
            Self::Completed => 100,
        }
    }

    /// Reads a word, forgiving about case, spaces and the usual synonyms.
    ///
    /// # Errors
    /// When the word is none of them.
    pub fn parse(text: &str) -> Result<Self, Error> {
        match fold(text).as_str() {
            "notstarted" | "todo" | "new" => Ok(Self::NotStarted),
            "inprogress" | "started" | "doing" | "active" => Ok(Self::InProgress),
            "completed" | "complete" | "done" | "closed" => Ok(Self::Completed),
            _ => Err(Error::invalid(format!("`{text}` is no status"))
                .hint("use `not_started`, `in_progress` or `completed`")),
        }
    }
}

/// The word for a priority (plannerTask: 0-1 urgent, 2-4 important, 5-7 medium, 8-10 low).
#[must_use]
pub fn priority_word(priority: u8) -> &'static str {
    match priority {
        0..=1 => "urgent",
        2..=4 => "important",
        5..=7 => "medium",
        _ => "low",
    }
}

/// Reads a priority: a word, as Planner's own application writes it, or a number from 0 to 10.
///
/// # Errors
/// When the text is neither.
pub fn parse_priority(text: &str) -> Result<u8, Error> {
    match fold(text).as_str() {
        "urgent" => Ok(1),
        "important" | "high" => Ok(3),
        "medium" | "normal" => Ok(5),
        "low" => Ok(9),
        _ => text.trim().parse().ok().filter(|number| *number <= 10).ok_or_else(|| {
            Error::invalid(format!("`{text}` is no priority"))
                .hint("use `urgent`, `important`, `medium`, `low` or 0 to 10")
        }),
    }
}

/// A word of ours as it is compared: lower case, without spaces, `-` and `_`.
#[must_use]
pub fn fold(text: &str) -> String {
    text.chars().filter(|c| !c.is_whitespace() && *c != '-' && *c != '_').flat_map(char::to_lowercase).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn priorities_parse_as_words_and_numbers() {
        assert_eq!(parse_priority("Urgent").unwrap(), 1);
        assert_eq!(parse_priority("7").unwrap(), 7);
        assert!(parse_priority("11").is_err());
        assert!(parse_priority("-1").is_err());
        assert_eq!(priority_word(4), "important");
    }
}
