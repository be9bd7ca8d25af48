//! The words callers use for priorities, progress and dates, and what they mean in Planner.

use chrono::{DateTime, NaiveDate, NaiveTime, Utc};

use crate::services::Error;

/// Planner's own application writes dates as 10:00 UTC, which is the same calendar day in nearly every time zone.
const DAY_TIME: NaiveTime = match NaiveTime::from_hms_opt(10, 0, 0) {
    Some(time) => time,
    None => NaiveTime::MIN,
};

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

/// Reads a date (`2026-11-30`) or a time with its zone (`2026-11-30T17:00:00+01:00`).
///
/// # Errors
/// When it is neither; a time without a zone is refused because it names no instant.
pub fn parse_date(name: &str, text: &str) -> Result<DateTime<Utc>, Error> {
    let text = text.trim();
    if let Ok(date) = NaiveDate::parse_from_str(text, "%Y-%m-%d") {
        return in_range(name, date.and_time(DAY_TIME).and_utc());
    }
    if let Ok(time) = DateTime::parse_from_rfc3339(text) {
        return in_range(name, time.to_utc());
    }
    let zoneless = ["%Y-%m-%dT%H:%M:%S%.f", "%Y-%m-%dT%H:%M", "%Y-%m-%d %H:%M:%S%.f", "%Y-%m-%d %H:%M"];
    if zoneless.iter().any(|format| chrono::NaiveDateTime::parse_from_str(text, format).is_ok()) {
        return Err(Error::invalid(format!("`{name}` is a time without a zone: `{text}`"))
            .hint("add the zone, as in `2026-11-30T17:00:00Z`, or give the date alone"));
    }
    Err(Error::invalid(format!("`{name}` is no date: `{text}`")).hint("use `YYYY-MM-DD` or RFC 3339 with a zone"))
}

fn in_range(name: &str, time: DateTime<Utc>) -> Result<DateTime<Utc>, Error> {
    use chrono::Datelike;
    if (1900..=2999).contains(&time.year()) {
        return Ok(time);
    }
    Err(Error::invalid(format!("`{name}` lies outside the years 1900 to 2999")))
}

/// Prints a date as short as it can be read back: the day alone where the time says nothing.
#[must_use]
pub fn print_date(time: DateTime<Utc>) -> String {
    if time.time() == DAY_TIME || time.time() == NaiveTime::MIN { print_day(time) } else { print_time(time) }
}

/// Prints the day, in UTC.
#[must_use]
pub fn print_day(time: DateTime<Utc>) -> String {
    time.date_naive().to_string()
}

/// Prints an instant with seconds.
#[must_use]
pub fn print_time(time: DateTime<Utc>) -> String {
    time.to_rfc3339_opts(chrono::SecondsFormat::Secs, true)
}

/// Text as it is compared: lower case, without spaces, `-` and `_`.
#[must_use]
pub fn fold(text: &str) -> String {
    text.chars().filter(|c| !c.is_whitespace() && *c != '-' && *c != '_').flat_map(char::to_lowercase).collect()
}

/// Whether two names are the same to a person: letter case and outer space do not count.
#[must_use]
pub fn same_name(left: &str, right: &str) -> bool {
    left.trim().to_lowercase() == right.trim().to_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_without_a_zone_is_refused_with_the_way_out() {
        let error = parse_date("due_date", "2026-11-30T17:00").unwrap_err();
        assert_eq!(error.message, "`due_date` is a time without a zone: `2026-11-30T17:00`");
        assert!(error.hint.unwrap().contains("2026-11-30T17:00:00Z"));
    }

    #[test]
    fn a_date_is_the_same_day_from_honolulu_to_auckland() {
        let due = parse_date("due_date", "2026-11-30").unwrap();
        for zone in [chrono_tz::Pacific::Honolulu, chrono_tz::Pacific::Auckland, chrono_tz::Europe::Berlin] {
            assert_eq!(due.with_timezone(&zone).date_naive().to_string(), "2026-11-30", "{zone}");
        }
        assert_eq!(print_date(due), "2026-11-30");
    }

    #[test]
    fn priorities_read_as_words_and_numbers() {
        assert_eq!(parse_priority("Urgent").unwrap(), 1);
        assert_eq!(parse_priority("7").unwrap(), 7);
        assert!(parse_priority("11").is_err());
        assert!(parse_priority("-1").is_err());
        assert_eq!(priority_word(4), "important");
    }
}
