//! One file a format. Each writes the same report and computes nothing: every figure is in the model.

pub mod chart;
mod csv;
pub mod html;
mod markdown;
mod palette;
pub mod pdf;
#[cfg(feature = "pdf")]
pub mod typeset;
mod xlsx;

use super::language::Language;
use super::model::{Report, TaskLine};
use super::request::Format;
use crate::error::ErrorCode;
use crate::services::Error;
use crate::text::{html as escape, line as plain};

pub use csv::COLUMNS;

/// Writes a report in a format that needs no typesetter.
///
/// # Errors
/// For [`Format::Pdf`], which `pdf::typeset` writes; and when a format cannot hold the report.
pub fn write(report: &Report, format: Format) -> Result<Vec<u8>, Error> {
    match format {
        Format::Json => json(report).map_err(|error| failed(format, &error)),
        Format::Csv => csv::write(report).map_err(|error| failed(format, &error)),
        Format::Markdown => Ok(markdown::write(report).into_bytes()),
        Format::Html => Ok(html::write(report).into_bytes()),
        Format::Xlsx => xlsx::write(report).map_err(|error| failed(format, &error)),
        Format::Pdf => Err(Error::new(ErrorCode::Internal, "a PDF is set, not written")),
    }
}

fn json(report: &Report) -> serde_json::Result<Vec<u8>> {
    let mut value = serde_json::to_value(report)?;
    crate::text::disarm(&mut value);
    serde_json::to_vec_pretty(&value)
}

fn failed(format: Format, error: &impl std::fmt::Display) -> Error {
    tracing::error!(format = format.word(), %error, "a report cannot be written");
    Error::new(ErrorCode::Internal, format!("the report cannot be written as {}", format.word()))
}

/// How the report writes dates and numbers.
fn language(report: &Report) -> Language {
    Language::parse(&report.language).unwrap_or_default()
}

/// The report's zone, days and age, in a line.
fn head(report: &Report) -> String {
    let language = language(report);
    let zone = report.time_zone.parse().unwrap_or(chrono_tz::Tz::UTC);
    let mut line =
        format!("{}. Made {}", language.period(report.from, report.to), language.time(report.generated_at, zone));
    if let Some(as_of) = report.as_of {
        line.push_str(&format!(" from Planner as of {}", language.time(as_of, zone)));
    }
    line.push_str(&format!(" ({}).", report.time_zone));
    line
}

/// When a task is or was due, or done, in a few words.
fn when(line: &TaskLine, report: &Report) -> String {
    use chrono::Datelike;
    let language = language(report);
    // The year goes without saying where it is the report's.
    let date = |day: chrono::NaiveDate| {
        if day.year() == report.to.year() { language.short_date(day) } else { language.date(day) }
    };
    match (line.completed, line.due, line.days_late) {
        (Some(done), ..) => format!("done {}", date(done)),
        (_, Some(_), Some(1)) => "1 day late".to_owned(),
        (_, Some(_), Some(days)) => format!("{} days late", language.number(days)),
        (_, Some(due), _) => format!("due {}", date(due)),
        _ => "no due date".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use calamine::{DataType, Reader};

    use super::*;
    use crate::services::reports::build::build;
    use crate::services::reports::request::ReportRequest;
    use crate::services::reports::sample;

    /// A hundred thousand cells that would be formulas, in every place of a task a person can write to, as other programs
    /// read them.
    #[test]
    fn spreadsheet_cells_are_never_formulas() {
        let mut plan = sample::plan(20_000, sample::today());
        for (n, task) in plan.tasks.iter_mut().enumerate() {
            let start = ["=", "+", "-", "@", "\t=", "\r=", " =", "＝"][n % 8];
            let evil = format!("{start}cmd|' /C calc'!A{n}");
            task.title.clone_from(&evil);
            task.labels = vec![evil.clone()];
            task.assignees = vec![evil.clone()];
            task.description.clone_from(&evil);
            task.checklist = vec![evil];
        }
        let options = ReportRequest::default().understand(sample::now(), chrono_tz::Tz::UTC).unwrap();
        let report = build("r".into(), &options, &[plan], &[]);
        let csv = write(&report, Format::Csv).unwrap();
        let mut cells = 0;
        for record in ::csv::Reader::from_reader(&csv[..]).records() {
            for cell in &record.unwrap() {
                cells += 1;
                assert!(!cell.trim_start().starts_with(['=', '+', '-', '@', '＝']), "{cell:?}");
            }
        }
        assert!(cells >= 100_000, "{cells}");
        let mut book = calamine::Xlsx::new(Cursor::new(write(&report, Format::Xlsx).unwrap())).unwrap();
        let mut evil = 0;
        for sheet in book.sheet_names() {
            let formulas = book.worksheet_formula(&sheet).unwrap();
            assert_eq!(formulas.used_cells().next(), None, "{sheet}");
            let cells = book.worksheet_range(&sheet).unwrap();
            evil +=
                cells.used_cells().filter(|(.., cell)| cell.get_string().is_some_and(crate::text::is_formula)).count();
        }
        assert!(evil >= 100_000, "{evil} cells are still what people wrote");
    }

    #[test]
    fn user_text_is_escaped_in_every_format() {
        let evil = "<script>alert(1)</script>\"' & \u{202e}\u{0}";
        assert_eq!(escape(evil), "&lt;script&gt;alert(1)&lt;/script&gt;&quot;&#39; &amp; �");
        let mut plan = sample::plan(30, sample::today());
        for task in &mut plan.tasks {
            task.title = evil.into();
        }
        plan.title = evil.into();
        let options = ReportRequest::default().understand(sample::now(), chrono_tz::Tz::UTC).unwrap();
        let report = build("r".into(), &options, &[plan], &[]);
        let html = String::from_utf8(write(&report, Format::Html).unwrap()).unwrap();
        assert_eq!(html.matches("<script").count(), 1, "its own");
        let markdown = String::from_utf8(write(&report, Format::Markdown).unwrap()).unwrap();
        assert!(!markdown.contains("<script"), "{markdown}");
    }
}
