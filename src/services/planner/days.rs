//! Days and instants: the one place where an instant becomes a day.
//!
//! Planner keeps due and start dates as instants, people mean days. Planner's own application writes 10:00 UTC for a day,
//! other clients midnight UTC: these two name that day in every zone. Anything else is an instant, and lies on the day
//! that it has in the zone asked for. The date of what callers give is the one they wrote, with any offset.

use chrono::{DateTime, Datelike, NaiveDate, NaiveDateTime, NaiveTime, TimeDelta, TimeZone, Utc};
use chrono_tz::Tz;

use crate::services::Error;
use crate::services::print_time;

/// Seconds of a day, and those at which Planner's own application puts a date.
const DAY: i64 = 86_400;
const TEN: i64 = 36_000;

/// Whether a stored date names a day rather than an instant.
fn names_a_day(time: DateTime<Utc>) -> bool {
    matches!(time.timestamp().rem_euclid(DAY), 0 | TEN) && time.timestamp_subsec_nanos() == 0
}

/// The day a stored date means to a reader in a zone.
#[must_use]
pub fn day_of(time: DateTime<Utc>, zone: Tz) -> NaiveDate {
    if zone == Tz::UTC || names_a_day(time) { time.date_naive() } else { time.with_timezone(&zone).date_naive() }
}

/// The day it is.
#[must_use]
pub fn today(now: DateTime<Utc>, zone: Tz) -> NaiveDate {
    now.with_timezone(&zone).date_naive()
}

/// The instant Planner's own application stores for a day: the same calendar day in nearly every zone.
#[must_use]
pub fn stored(day: NaiveDate) -> DateTime<Utc> {
    day.and_time(NaiveTime::MIN).and_utc() + TimeDelta::seconds(TEN)
}

/// When a day begins in a zone; where clocks skip midnight, at the time they skip to.
#[must_use]
pub fn start_of(day: NaiveDate, zone: Tz) -> DateTime<Utc> {
    let midnight = day.and_time(NaiveTime::MIN);
    let mut times = (0..8).map(|half_hours| midnight + TimeDelta::minutes(30 * half_hours));
    let found = times.find_map(|local| zone.from_local_datetime(&local).earliest());
    found.map_or(midnight.and_utc(), |time| time.to_utc())
}

/// Reads a day: a date (`2026-11-30`), or a time with its zone, of which the date counts as it is written.
///
/// # Errors
/// When it is neither.
pub fn parse_day(name: &str, text: &str) -> Result<NaiveDate, Error> {
    match parse(name, text)? {
        Given::Day(day) => Ok(day),
        Given::Instant(time) => Ok(time.date_naive()),
    }
}

/// Reads a due or start date as it is stored: a day as Planner's own application stores one. A time is kept where it lies
/// on the date it is written with in `zone`; where it does not, the date counts.
///
/// # Errors
/// When it is neither.
pub fn parse_date(name: &str, text: &str, zone: Tz) -> Result<DateTime<Utc>, Error> {
    Ok(match parse(name, text)? {
        Given::Day(day) => stored(day),
        Given::Instant(time) if day_of(time.to_utc(), zone) == time.date_naive() => time.to_utc(),
        Given::Instant(time) => stored(time.date_naive()),
    })
}

/// A start and a due date.
type Dates<T> = (T, T);

/// The dates to set on a task where `wanted` of them are asked for and it has `known`. One that means the day it has
/// already stays as it was written, and of two on one day the start is not the later: Planner refuses that.
#[must_use]
pub fn settle(
    wanted: Dates<Option<Option<DateTime<Utc>>>>,
    known: Dates<Option<DateTime<Utc>>>,
    zone: Tz,
) -> Dates<Option<Option<DateTime<Utc>>>> {
    let same_day = |one: DateTime<Utc>, other: DateTime<Utc>| day_of(one, zone) == day_of(other, zone);
    let kept = |wanted: Option<DateTime<Utc>>, known: Option<DateTime<Utc>>| {
        let wanted = wanted?;
        Some(known.filter(|known| names_a_day(wanted) && same_day(*known, wanted)).unwrap_or(wanted))
    };
    let mut start = wanted.0.map(|start| kept(start, known.0));
    let mut due = wanted.1.map(|due| kept(due, known.1));
    if let (Some(begins), Some(ends)) = (start.unwrap_or(known.0), due.unwrap_or(known.1))
        && begins > ends
        && same_day(begins, ends)
    {
        if start.is_some() {
            start = Some(Some(ends));
        } else if due.is_some() {
            due = Some(Some(begins));
        }
    }
    (start, due)
}

/// Reads a moment: a time with its zone, or a date, which begins at midnight in `zone`.
///
/// # Errors
/// When it is neither.
pub fn parse_moment(name: &str, text: &str, zone: Tz) -> Result<DateTime<Utc>, Error> {
    Ok(match parse(name, text)? {
        Given::Day(day) => start_of(day, zone),
        Given::Instant(time) => time.to_utc(),
    })
}

enum Given {
    Day(NaiveDate),
    Instant(DateTime<chrono::FixedOffset>),
}

fn parse(name: &str, text: &str) -> Result<Given, Error> {
    let text = text.trim();
    let given = if let Ok(day) = NaiveDate::parse_from_str(text, "%Y-%m-%d") {
        Given::Day(day)
    } else if let Ok(time) = DateTime::parse_from_rfc3339(text) {
        Given::Instant(time)
    } else {
        let zoneless = ["%Y-%m-%dT%H:%M:%S%.f", "%Y-%m-%dT%H:%M", "%Y-%m-%d %H:%M:%S%.f", "%Y-%m-%d %H:%M"];
        if zoneless.iter().any(|format| NaiveDateTime::parse_from_str(text, format).is_ok()) {
            return Err(Error::invalid(format!("`{name}` is a time without a zone: `{text}`"))
                .hint("add the zone, as in `2026-11-30T17:00:00Z`, or give the date alone"));
        }
        return Err(
            Error::invalid(format!("`{name}` is no date: `{text}`")).hint("use `YYYY-MM-DD` or RFC 3339 with a zone")
        );
    };
    let year = match &given {
        Given::Day(day) => day.year(),
        Given::Instant(time) => time.year(),
    };
    if (1900..=2999).contains(&year) {
        return Ok(given);
    }
    Err(Error::invalid(format!("`{name}` lies outside the years 1900 to 2999")))
}

/// Reads the name of a time zone.
///
/// # Errors
/// When no zone is called so.
pub fn zone(text: &str) -> Result<Tz, Error> {
    text.trim().parse().map_err(|_| {
        Error::invalid(format!("`{text}` is no time zone")).hint("use an IANA name, as in `Europe/Berlin` or `UTC`")
    })
}

/// Prints a stored date so that its first ten characters are the day it means in a zone: the day alone where it names
/// one, else the instant.
#[must_use]
pub fn print_date(time: DateTime<Utc>, zone: Tz) -> String {
    if names_a_day(time) {
        return time.date_naive().to_string();
    }
    if zone == Tz::UTC {
        return print_time(time);
    }
    time.with_timezone(&zone).to_rfc3339_opts(chrono::SecondsFormat::Secs, false)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> DateTime<Utc> {
        text.parse().unwrap()
    }

    #[test]
    fn time_without_a_zone_is_refused_with_a_hint() {
        let error = parse_day("due_date", "2026-11-30T17:00").unwrap_err();
        assert_eq!(error.message, "`due_date` is a time without a zone: `2026-11-30T17:00`");
        assert!(error.hint.unwrap().contains("2026-11-30T17:00:00Z"));
    }

    #[test]
    fn dates_keep_their_day_in_every_time_zone() {
        for text in ["2026-11-30", "2026-11-30T00:00:00+09:00", "2026-11-30T23:59:00-08:00", "2026-11-30T17:00:00Z"] {
            for zone in [Tz::Pacific__Honolulu, Tz::Pacific__Kiritimati, Tz::Europe__Berlin, Tz::UTC] {
                let due = parse_date("due_date", text, zone).unwrap();
                assert_eq!(day_of(due, zone).to_string(), "2026-11-30", "{text} {zone}");
                assert!(print_date(due, zone).starts_with("2026-11-30"), "{text} {zone}");
                assert_eq!(parse_day("due_on", text).unwrap().to_string(), "2026-11-30");
            }
        }
    }

    #[test]
    fn midnight_and_10_utc_are_dates_and_other_times_are_instants() {
        for (stored, zone, day) in [
            ("2026-12-01T00:00:00Z", Tz::America__Los_Angeles, "2026-12-01"),
            ("2026-12-01T10:00:00Z", Tz::Pacific__Kiritimati, "2026-12-01"),
            ("2026-11-28T15:00:00Z", Tz::Asia__Tokyo, "2026-11-29"),
            ("2026-11-28T15:00:00Z", Tz::UTC, "2026-11-28"),
            ("2026-12-01T05:00:00Z", Tz::America__Los_Angeles, "2026-11-30"),
        ] {
            assert_eq!(day_of(at(stored), zone).to_string(), day, "{stored} {zone}");
            assert!(print_date(at(stored), zone).starts_with(day), "{stored} {zone}");
        }
    }

    #[test]
    fn start_and_due_on_the_same_day_are_valid() {
        let due = Some(at("2026-12-01T00:00:00Z"));
        let day = |text: &str| Some(Some(stored(text.parse().unwrap())));
        assert_eq!(settle((day("2026-12-01"), None), (None, due), Tz::UTC), (Some(due), None));
        assert_eq!(settle((None, day("2026-12-01")), (None, due), Tz::UTC), (None, Some(due)), "the day it has");
        assert_eq!(settle((None, day("2026-12-02")), (None, due), Tz::UTC), (None, day("2026-12-02")));
        assert_eq!(settle((Some(None), Some(None)), (due, due), Tz::UTC), (Some(None), Some(None)), "cleared");
        let afternoon = Some(at("2026-12-01T15:00:00Z"));
        assert_eq!(settle((None, day("2026-12-01")), (afternoon, None), Tz::UTC), (None, Some(afternoon)));
    }

    #[test]
    fn day_starts_at_midnight_or_after_the_dst_gap() {
        let start = |day: &str, zone| start_of(day.parse().unwrap(), zone).to_rfc3339();
        assert_eq!(start("2026-12-01", Tz::Asia__Tokyo), "2026-11-30T15:00:00+00:00");
        assert_eq!(start("2018-11-04", Tz::America__Sao_Paulo), "2018-11-04T03:00:00+00:00"); // 00:00 does not exist
        assert_eq!(parse_moment("x", "2026-12-01T01:00:00+09:00", Tz::UTC).unwrap(), at("2026-11-30T16:00:00Z"));
    }
}
