//! How dates and numbers are written. The words of a report are English; what is easily misread is not.

use chrono::{DateTime, Datelike, NaiveDate, Utc};
use chrono_tz::Tz;

use crate::services::Error;

/// A way to write dates and numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Language(&'static Style);

#[derive(Debug, PartialEq, Eq)]
struct Style {
    code: &'static str,
    /// Day, month and year.
    date: &'static str,
    /// Day and month.
    short: &'static str,
    /// Between thousands.
    group: &'static str,
}

const fn style(code: &'static str, date: &'static str, short: &'static str, group: &'static str) -> Style {
    Style { code, date, short, group }
}

static STYLES: [Style; 12] = [
    style("en", "%-d %b %Y", "%-d %b", ","),
    style("en-us", "%b %-d, %Y", "%b %-d", ","),
    style("de", "%d.%m.%Y", "%d.%m.", "."),
    style("fr", "%d/%m/%Y", "%d/%m", "\u{202f}"),
    style("es", "%d/%m/%Y", "%d/%m", "."),
    style("it", "%d/%m/%Y", "%d/%m", "."),
    style("pt", "%d/%m/%Y", "%d/%m", "."),
    style("nl", "%d-%m-%Y", "%d-%m", "."),
    style("pl", "%d.%m.%Y", "%d.%m", "\u{a0}"),
    style("sv", "%Y-%m-%d", "%d/%m", "\u{a0}"),
    style("ja", "%Y/%m/%d", "%m/%d", ","),
    style("zh", "%Y/%m/%d", "%m/%d", ","),
];

impl Default for Language {
    fn default() -> Self {
        let [english, ..] = &STYLES;
        Self(english)
    }
}

impl Language {
    /// Reads a language tag; a region that is not known falls back to its language.
    ///
    /// # Errors
    /// When the language is not known.
    pub fn parse(text: &str) -> Result<Self, Error> {
        let tag = text.trim().to_lowercase().replace('_', "-");
        let known = |tag: &str| STYLES.iter().find(|style| style.code == tag).map(Self);
        known(&tag).or_else(|| known(tag.split('-').next().unwrap_or_default())).ok_or_else(|| {
            let known = STYLES.iter().map(|style| style.code).collect::<Vec<_>>().join(", ");
            Error::invalid(format!("`{text}` is no language reports know")).hint(format!("use one of {known}"))
        })
    }

    /// The tag.
    #[must_use]
    pub fn code(self) -> &'static str {
        self.0.code
    }

    /// A day.
    #[must_use]
    pub fn date(self, day: NaiveDate) -> String {
        day.format(self.0.date).to_string()
    }

    /// A day without its year.
    #[must_use]
    pub fn short_date(self, day: NaiveDate) -> String {
        day.format(self.0.short).to_string()
    }

    /// A period, its year said once where that is how the language writes it.
    #[must_use]
    pub fn period(self, from: NaiveDate, to: NaiveDate) -> String {
        if from.year() == to.year() && self.0.code == "en" {
            return format!("{} to {}", self.short_date(from), self.date(to));
        }
        format!("{} to {}", self.date(from), self.date(to))
    }

    /// An instant, in a zone.
    #[must_use]
    pub fn time(self, at: DateTime<Utc>, zone: Tz) -> String {
        let at = at.with_timezone(&zone);
        format!("{}, {}", self.date(at.date_naive()), at.format("%H:%M"))
    }

    /// A whole number.
    #[must_use]
    pub fn number(self, number: i64) -> String {
        let digits = number.unsigned_abs().to_string();
        let mut text = String::with_capacity(digits.len() + 4);
        for (place, digit) in digits.chars().enumerate() {
            if place > 0 && (digits.len() - place).is_multiple_of(3) {
                text.push_str(self.0.group);
            }
            text.push(digit);
        }
        if number < 0 { format!("\u{2212}{text}") } else { text }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_dates_follow_the_language() {
        let day = NaiveDate::from_ymd_opt(2026, 11, 5).unwrap();
        let write = |code: &str| {
            let language = Language::parse(code).unwrap();
            format!("{} {}", language.date(day), language.number(-1_234_567))
        };
        assert_eq!(write("en"), "5 Nov 2026 \u{2212}1,234,567");
        assert_eq!(write("de-AT"), "05.11.2026 \u{2212}1.234.567");
        assert_eq!(write("fr"), "05/11/2026 \u{2212}1\u{202f}234\u{202f}567");
        assert_eq!(write("en_US"), "Nov 5, 2026 \u{2212}1,234,567");
        assert_eq!(Language::default().number(12), "12");
    }
}
