//! The report for a spreadsheet program: the figures, the tasks with filters and real dates, and the charts' numbers
//! with charts on them. No cell is a formula: text is written as text, and stays text when somebody edits the cell.

use std::collections::HashSet;

use chrono::{Datelike, NaiveDate, Timelike};
use rust_xlsxwriter::{
    Chart as Picture, ChartType, DocProperties, ExcelDateTime, Format, FormatAlign, Workbook, Worksheet, XlsxError,
};

use super::csv::{COLUMNS, cells};
use super::{head, plain};
use crate::services::reports::model::{Body, Cell, Chart, Report, Shape, whole};
use crate::text::{is_formula, shown};

/// The longest text a cell holds, in UTF-16 units.
const MOST_UNITS: usize = 32_767;
/// Planner's columns that are days.
const DAYS: [usize; 4] = [7, 8, 9, 12];

struct Styles {
    title: Format,
    head: Format,
    text: Format,
    quoted: Format,
    day: Format,
    number: Format,
    wrapped: Format,
}

impl Styles {
    fn new() -> Self {
        let text = Format::new().set_align(FormatAlign::Top);
        Self {
            title: Format::new().set_bold().set_font_size(16),
            head: Format::new()
                .set_bold()
                .set_background_color("#E4E9EF")
                .set_border_bottom(rust_xlsxwriter::FormatBorder::Thin),
            quoted: text.clone().set_quote_prefix(),
            // Number 14 is the short date of the reader's locale.
            day: text.clone().set_num_format_index(14),
            number: text.clone().set_num_format("#,##0"),
            wrapped: text.clone().set_text_wrap(),
            text,
        }
    }
}

pub fn write(report: &Report) -> Result<Vec<u8>, XlsxError> {
    let styles = Styles::new();
    let mut book = Workbook::new();
    let at = report.generated_at;
    let made = ExcelDateTime::from_ymd(u16::try_from(at.year()).unwrap_or(1900), two(at.month()), two(at.day()))?
        .and_hms(u16::try_from(at.hour()).unwrap_or(0), two(at.minute()), f64::from(at.second()))?;
    book.set_properties(&DocProperties::new().set_title(plain(&report.title)).set_creation_datetime(&made));
    overview(book.add_worksheet(), report, &styles)?;
    tasks(book.add_worksheet(), report, &styles)?;
    charts(book.add_worksheet(), report, &styles)?;
    book.save_to_buffer()
}

fn two(number: u32) -> u8 {
    u8::try_from(number).unwrap_or(1)
}

fn text(sheet: &mut Worksheet, row: u32, column: u16, text: &str, styles: &Styles) -> Result<(), XlsxError> {
    if text.is_empty() {
        return Ok(());
    }
    let mut text = shown(text).into_owned();
    if text.encode_utf16().count() > MOST_UNITS {
        text = text.chars().take(MOST_UNITS / 2 - 1).chain(['…']).collect();
    }
    let style = if is_formula(&text) { &styles.quoted } else { &styles.text };
    sheet.write_string_with_format(row, column, text, style)?;
    Ok(())
}

fn cell(sheet: &mut Worksheet, row: u32, column: u16, value: &Cell, styles: &Styles) -> Result<(), XlsxError> {
    match value {
        Cell::Number(number) => number_cell(sheet, row, column, *number, styles),
        Cell::Text(value) => text(sheet, row, column, value, styles),
    }
}

#[allow(clippy::cast_precision_loss)] // counts of tasks
fn number_cell(sheet: &mut Worksheet, row: u32, column: u16, number: i64, styles: &Styles) -> Result<(), XlsxError> {
    sheet.write_number_with_format(row, column, number as f64, &styles.number)?;
    Ok(())
}

fn column(place: usize) -> u16 {
    u16::try_from(place).unwrap_or(u16::MAX)
}

/// The head, the figures and every table and list of the report.
fn overview(sheet: &mut Worksheet, report: &Report, styles: &Styles) -> Result<(), XlsxError> {
    sheet.set_name("Report")?.set_column_width(0, 48)?;
    for place in 1..8 {
        sheet.set_column_width(place, 16)?;
    }
    sheet.write_string_with_format(0, 0, plain(&report.title), &styles.title)?;
    text(sheet, 1, 0, &head(report), styles)?;
    sheet.merge_range(2, 0, 2, 7, &plain(&report.summary), &styles.wrapped)?;
    sheet.set_row_height(2, 64)?;
    let mut row = 4;
    for section in &report.sections {
        let start = row;
        match &section.body {
            Body::Figures { figures } => {
                for figure in figures {
                    row += 1;
                    text(sheet, row, 0, &format!("{}{}", figure.label, figure.unit), styles)?;
                    number_cell(sheet, row, 1, figure.value, styles)?;
                }
            }
            Body::Table { columns, rows } => {
                row += 1;
                for (place, name) in columns.iter().enumerate() {
                    sheet.write_string_with_format(row, column(place), plain(name), &styles.head)?;
                }
                for line in rows {
                    row += 1;
                    for (place, value) in line.iter().enumerate() {
                        cell(sheet, row, column(place), value, styles)?;
                    }
                }
            }
            Body::Tasks { tasks, more, none } => {
                for task in tasks {
                    row += 1;
                    let who = task.assignees.join(", ");
                    for (place, value) in [task.title.as_str(), &task.priority, &who].into_iter().enumerate() {
                        text(sheet, row, column(place), value, styles)?;
                    }
                    if let Some(day) = task.completed.or(task.due) {
                        write_day(sheet, row, 3, day, styles)?;
                    }
                }
                row += 1;
                match (tasks.is_empty(), more) {
                    (true, _) => text(sheet, row, 0, none, styles)?,
                    (_, 0) => row -= 1,
                    (_, more) => text(sheet, row, 0, &format!("and {} more", whole(*more)), styles)?,
                }
            }
            Body::Chart { .. } => continue, // the third sheet
        }
        sheet.write_string_with_format(start, 0, plain(&section.title), &styles.head)?;
        row += 2;
    }
    for note in &report.notes {
        text(sheet, row, 0, note, styles)?;
        row += 1;
    }
    Ok(())
}

fn write_day(sheet: &mut Worksheet, row: u32, column: u16, day: NaiveDate, styles: &Styles) -> Result<(), XlsxError> {
    // Excel knows no day before 1900.
    let Some(year) = u16::try_from(day.year()).ok().filter(|year| *year >= 1900) else {
        return text(sheet, row, column, &day.to_string(), styles);
    };
    sheet.write_datetime_with_format(
        row,
        column,
        &ExcelDateTime::from_ymd(year, two(day.month()), two(day.day()))?,
        &styles.day,
    )?;
    Ok(())
}

fn tasks(sheet: &mut Worksheet, report: &Report, styles: &Styles) -> Result<(), XlsxError> {
    let several = report.plans.len() > 1;
    let heads: Vec<&str> = COLUMNS.into_iter().chain(several.then_some("Plan Name")).collect();
    sheet.set_name("Tasks")?.set_freeze_panes(1, 2)?;
    for (place, name) in heads.iter().enumerate() {
        sheet.write_string_with_format(0, column(place), *name, &styles.head)?;
        let width = match place {
            1 => 48,
            2 | 5 | 6 | 13 | 15..=18 => 24,
            _ => 14,
        };
        sheet.set_column_width(column(place), width)?;
    }
    for (row, task) in (1..).zip(&report.tasks) {
        let days = [task.created, task.start, task.due, task.completed];
        for (place, value) in cells(task, |_| String::new()).iter().enumerate() {
            text(sheet, row, column(place), value, styles)?;
        }
        for (place, day) in DAYS.into_iter().zip(days) {
            if let Some(day) = day {
                write_day(sheet, row, column(place), day, styles)?;
            }
        }
        if let Some(plan) = task.plan.as_ref().filter(|_| several) {
            text(sheet, row, column(COLUMNS.len()), plan, styles)?;
        }
    }
    let last = u32::try_from(report.tasks.len()).unwrap_or(u32::MAX);
    sheet.autofilter(0, 0, last, column(heads.len() - 1))?;
    Ok(())
}

/// The numbers of every chart, and the chart beside them.
fn charts(sheet: &mut Worksheet, report: &Report, styles: &Styles) -> Result<(), XlsxError> {
    sheet.set_name("Charts")?.set_column_width(0, 28)?;
    let mut row = 0;
    let mut seen = HashSet::new();
    for section in &report.sections {
        let Body::Chart { chart } = &section.body else { continue };
        if !seen.insert(&section.id) {
            continue;
        }
        sheet.write_string_with_format(row, 0, plain(&section.title), &styles.head)?;
        for (place, series) in chart.series.iter().enumerate() {
            sheet.write_string_with_format(row, column(place + 1), plain(&series.name), &styles.head)?;
        }
        let first = row + 1;
        for (place, name) in chart.categories.iter().enumerate() {
            row += 1;
            text(sheet, row, 0, name, styles)?;
            for (nth, series) in chart.series.iter().enumerate() {
                if let Some(number) = series.values.get(place).copied().flatten() {
                    number_cell(sheet, row, column(nth + 1), number, styles)?;
                }
            }
        }
        if row >= first {
            draw(sheet, chart, &section.title, (first, row))?;
        }
        row = (row + 3).max(first + 18);
    }
    Ok(())
}

fn draw(sheet: &mut Worksheet, chart: &Chart, title: &str, (first, last): (u32, u32)) -> Result<(), XlsxError> {
    let mut picture = Picture::new(match chart.shape {
        Shape::Bars => ChartType::BarStacked,
        Shape::Columns => ChartType::ColumnStacked,
        Shape::Pairs => ChartType::Column,
        Shape::Lines => ChartType::Line,
    });
    picture.title().set_name(&plain(title));
    for (nth, series) in chart.series.iter().enumerate() {
        let place = column(nth + 1);
        picture
            .add_series()
            .set_name(("Charts", first - 1, place))
            .set_categories(("Charts", first, 0, last, 0))
            .set_values(("Charts", first, place, last, place))
            .set_format(
                rust_xlsxwriter::ChartFormat::new()
                    .set_solid_fill(
                        rust_xlsxwriter::ChartSolidFill::new().set_color(super::palette::of(series.tone).fill),
                    )
                    .set_line(rust_xlsxwriter::ChartLine::new().set_color(super::palette::of(series.tone).fill)),
            );
    }
    if chart.shape == Shape::Bars {
        picture.y_axis().set_reverse(); // the first on top, as on the page
    }
    sheet.insert_chart(first - 1, column(chart.series.len() + 2), &picture)?;
    Ok(())
}
