//! When something is due: the five fields of cron, in a time zone whose clocks change twice a year.
//!
//! A local time that is skipped when clocks go forward is due at the moment they do; one that comes twice when they go
//! back is due once, the first time.

use chrono::{DateTime, Datelike, Days, NaiveDate, NaiveDateTime, TimeDelta, TimeZone, Timelike, Utc};
use chrono_tz::Tz;

use crate::services::Error;

/// Days ahead that are looked through: a 29 February may be eight years away.
const HORIZON: u64 = 366 * 8 + 2;
/// The longest gap any zone has had, in minutes: a day, where the date line moved.
const LONGEST_GAP: i64 = 24 * 60 + 1;

/// A pattern: minute, hour, day of the month, month, day of the week.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cron {
    minutes: u64,
    hours: u64,
    days: u64,
    months: u64,
    weekdays: u64,
    /// With both days given, either will do, as cron has always had it.
    either_day: bool,
}

const MONTHS: [&str; 12] = ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"];
const WEEKDAYS: [&str; 7] = ["sun", "mon", "tue", "wed", "thu", "fri", "sat"];

impl Cron {
    /// Reads a pattern, as in `0 16 * * fri`.
    ///
    /// # Errors
    /// When it is none, or never comes due.
    pub fn parse(text: &str) -> Result<Self, Error> {
        let wrong = |why: &str| {
            Error::invalid(format!("`{}` is no schedule: {why}", text.chars().take(80).collect::<String>()))
                .hint("five fields: minute, hour, day of month, month, day of week; `0 16 * * fri` is Fridays at 16:00")
        };
        let fields: Vec<&str> = text.split_whitespace().collect();
        let [minutes, hours, days, months, weekdays] = fields.as_slice() else {
            return Err(wrong("five fields expected"));
        };
        let read = |name: &str, field: &str, from: u32, to: u32, words: &[&str]| {
            set(field, from, to, words).ok_or_else(|| wrong(&format!("the {name} `{field}` cannot be read")))
        };
        let mut weekday_set = read("day of the week", weekdays, 0, 7, &WEEKDAYS)?;
        if weekday_set & (1 << 7) != 0 {
            weekday_set |= 1; // 7 is Sunday too
        }
        let cron = Self {
            minutes: read("minute", minutes, 0, 59, &[])?,
            hours: read("hour", hours, 0, 23, &[])?,
            days: read("day of the month", days, 1, 31, &[])?,
            months: read("month", months, 1, 12, &MONTHS)?,
            weekdays: weekday_set,
            either_day: !days.starts_with('*') && !weekdays.starts_with('*'),
        };
        if cron.next_after(DateTime::from_timestamp(1_767_225_600, 0).unwrap_or_default(), Tz::UTC).is_none() {
            return Err(wrong("it never comes due"));
        }
        Ok(cron)
    }

    fn is_due_on(&self, day: NaiveDate) -> bool {
        let month = self.months & (1 << day.month()) != 0;
        let day_of_month = self.days & (1 << day.day()) != 0;
        let weekday = self.weekdays & (1 << day.weekday().num_days_from_sunday()) != 0;
        month && if self.either_day { day_of_month || weekday } else { day_of_month && weekday }
    }

    /// The first time due after an instant, in a zone; `None` when there is none within eight years.
    #[must_use]
    pub fn next_after(&self, after: DateTime<Utc>, zone: Tz) -> Option<DateTime<Utc>> {
        // The day before, because a zone's clock may have been set back over midnight.
        let first = after.with_timezone(&zone).date_naive().checked_sub_days(Days::new(1))?;
        for day in first.iter_days().take(usize::try_from(HORIZON).unwrap_or(usize::MAX)) {
            if !self.is_due_on(day) {
                continue;
            }
            for hour in (0..24).filter(|hour| self.hours & (1 << hour) != 0) {
                for minute in (0..60).filter(|minute| self.minutes & (1 << minute) != 0) {
                    let local = day.and_hms_opt(hour, minute, 0)?;
                    if let Some(at) = instant(local, zone).filter(|at| *at > after) {
                        return Some(at);
                    }
                }
            }
        }
        None
    }
}

/// The instant a zone's clocks show a local time, or first show a later one.
fn instant(local: NaiveDateTime, zone: Tz) -> Option<DateTime<Utc>> {
    if let Some(at) = zone.from_local_datetime(&local).earliest() {
        return Some(at.to_utc());
    }
    // Skipped: the first minute that exists is the moment the clocks go forward.
    (1..=LONGEST_GAP)
        .find_map(|minutes| zone.from_local_datetime(&(local + TimeDelta::minutes(minutes))).earliest())
        .map(|at| {
            let at = at.to_utc();
            at - TimeDelta::seconds(i64::from(at.second()))
        })
}

/// The numbers a field names: `*`, `5`, `1-5`, `mon-fri`, `*/15`, `10-40/10`, and lists of these.
fn set(field: &str, from: u32, to: u32, words: &[&str]) -> Option<u64> {
    let number = |text: &str| -> Option<u32> {
        let word = words.iter().position(|word| word.eq_ignore_ascii_case(text));
        let value = match word {
            Some(place) => u32::try_from(place).ok()? + from.min(1),
            None => text.parse().ok().filter(|_| text.bytes().all(|byte| byte.is_ascii_digit()))?,
        };
        (from..=to).contains(&value).then_some(value)
    };
    let mut found = 0;
    for part in field.split(',') {
        let (range, step) = match part.split_once('/') {
            Some((range, step)) => (range, step.parse::<u32>().ok().filter(|step| *step > 0)?),
            None => (part, 1),
        };
        let (first, last) = match range.split_once('-') {
            _ if range == "*" => (from, to),
            Some((first, last)) => (number(first)?, number(last)?),
            None if part.contains('/') => (number(range)?, to),
            None => (number(range)?, number(range)?),
        };
        if first > last {
            return None;
        }
        let step = usize::try_from(step).ok()?;
        found |= (first..=last).step_by(step).fold(0, |set, value| set | 1_u64 << value);
    }
    Some(found)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn times(pattern: &str, zone: Tz, after: &str, count: usize) -> Vec<String> {
        let cron = Cron::parse(pattern).unwrap();
        let mut at: DateTime<Utc> = after.parse().unwrap();
        let mut next = || {
            at = cron.next_after(at, zone).unwrap();
            at.with_timezone(&zone).format("%a %d %b %H:%M %z").to_string()
        };
        (0..count).map(|_| next()).collect()
    }

    #[test]
    fn cron_keeps_local_time_across_dst() {
        let zone = Tz::Europe__Berlin;
        let around_spring = times("0 16 * * fri", zone, "2026-03-20T00:00:00Z", 3);
        assert_eq!(around_spring, ["Fri 20 Mar 16:00 +0100", "Fri 27 Mar 16:00 +0100", "Fri 03 Apr 16:00 +0200"]);
        let around_autumn = times("0 16 * * 5", zone, "2026-10-22T00:00:00Z", 2);
        assert_eq!(around_autumn, ["Fri 23 Oct 16:00 +0200", "Fri 30 Oct 16:00 +0100"]);
    }

    #[test]
    fn cron_in_the_dst_gap_is_due_at_the_change() {
        let days = times("30 2 * * *", Tz::Europe__Berlin, "2026-03-28T00:00:00Z", 3);
        assert_eq!(days, ["Sat 28 Mar 02:30 +0100", "Sun 29 Mar 03:00 +0200", "Mon 30 Mar 02:30 +0200"]);
        // Several times within the gap are one.
        let often = times("*/20 2 29 3 *", Tz::Europe__Berlin, "2026-03-01T00:00:00Z", 2);
        assert_eq!(often, ["Sun 29 Mar 03:00 +0200", "Mon 29 Mar 02:00 +0200"]);
    }

    #[test]
    fn cron_in_the_repeated_dst_hour_is_due_once() {
        let days = times("30 2 * * *", Tz::Europe__Berlin, "2026-10-24T10:00:00Z", 2);
        assert_eq!(days, ["Sun 25 Oct 02:30 +0200", "Mon 26 Oct 02:30 +0100"]);
        // Between the two passes nothing is due that was due in the first.
        let between = times("30 2 * * *", Tz::Europe__Berlin, "2026-10-25T00:45:00Z", 1);
        assert_eq!(between, ["Mon 26 Oct 02:30 +0100"]);
    }

    #[test]
    fn cron_handles_zones_with_unusual_offsets() {
        // Half an hour of summer time, and a day that never was.
        let lord_howe = times("15 2 * * *", Tz::Australia__Lord_Howe, "2026-10-03T00:00:00Z", 2);
        assert_eq!(lord_howe, ["Sun 04 Oct 02:30 +1100", "Mon 05 Oct 02:15 +1100"]);
        let samoa = times("0 12 30 12 *", Tz::Pacific__Apia, "2011-12-01T00:00:00Z", 1);
        assert_eq!(samoa, ["Sat 31 Dec 00:00 +1400"]);
    }

    #[test]
    fn cron_patterns_parse_as_in_vixie_cron() {
        let zone = Tz::UTC;
        assert_eq!(
            times("0 9 1,15 * *", zone, "2026-11-02T00:00:00Z", 2),
            ["Sun 15 Nov 09:00 +0000", "Tue 01 Dec 09:00 +0000"]
        );
        assert_eq!(
            times("0 9 13 * fri", zone, "2026-11-02T00:00:00Z", 2),
            ["Fri 06 Nov 09:00 +0000", "Fri 13 Nov 09:00 +0000"]
        );
        assert_eq!(times("0 9 29 2 *", zone, "2026-11-02T00:00:00Z", 1), ["Tue 29 Feb 09:00 +0000"]);
        assert_eq!(
            times("5-20/15 0 * jan mon-wed", zone, "2026-12-30T00:00:00Z", 2),
            ["Mon 04 Jan 00:05 +0000", "Mon 04 Jan 00:20 +0000"]
        );
        assert_eq!(
            Cron::parse("0 9 * * 7")
                .unwrap()
                .next_after("2026-11-25T00:00:00Z".parse().unwrap(), zone)
                .unwrap()
                .to_string(),
            "2026-11-29 09:00:00 UTC"
        );
        for wrong in [
            "",
            "* * * *",
            "60 * * * *",
            "* 24 * * *",
            "* * 0 * *",
            "* * * 13 *",
            "* * * * 8",
            "5-1 * * * *",
            "*/0 * * * *",
            "+5 * * * *",
            "0 0 30 2 *",
            "a b c d e",
            "@daily",
        ] {
            assert!(Cron::parse(wrong).is_err(), "{wrong}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        /// Times go strictly forward, none is left out between two, in every zone and season.
        #[test]
        fn cron_next_is_later_and_skips_no_match(start in 1_700_000_000_i64..1_900_000_000, place in 0_usize..400, hour in 0_u32..24, minute in 0_u32..60) {
            let zone = chrono_tz::TZ_VARIANTS[place % chrono_tz::TZ_VARIANTS.len()];
            let cron = Cron::parse(&format!("{minute} {hour} * * *")).unwrap();
            let start = DateTime::from_timestamp(start, 0).unwrap();
            let first = cron.next_after(start, zone).unwrap();
            let second = cron.next_after(first, zone).unwrap();
            prop_assert!(start < first && first < second);
            prop_assert_eq!(cron.next_after(first - TimeDelta::seconds(1), zone), Some(first));
            let hours = (second - first).num_hours();
            prop_assert!((21..=49).contains(&hours), "{} {} {}", zone, first, second);
        }
    }
}
