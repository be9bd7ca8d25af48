//! From a report to what the template sets: words and numbers, ready to be printed.

use serde_json::{Value, json};

use super::fonts::{FAMILY, Fonts};
use crate::services::reports::language::Language;
use crate::services::reports::model::{Body, Cell, Report, Section, TaskLine, whole};
use crate::services::reports::render::chart::{Frame, svg};
use crate::services::reports::render::html::stands_beside;
use crate::services::reports::render::{head, language, palette, plain, when};

const FULL: Frame = Frame { width: 660.0, font: 12.0, family: FAMILY };
const HALF: Frame = Frame { width: 320.0, font: 11.5, family: FAMILY };
/// Characters without a gap after which a line may break: a column is not as wide as every word.
const LONGEST_WORD: usize = 24;
/// The same in the narrow columns of names.
const LONGEST_NAME: usize = 13;
/// Characters of a task's title that are printed; the other formats have all of them.
const LONGEST_TITLE: usize = 110;
/// What stands for writing that cannot be printed.
const GAP: &str = "[…]";

/// What is set.
pub struct Paper {
    /// The data of the template.
    pub data: Value,
    /// The charts, by name.
    pub pictures: Vec<(String, String)>,
}

/// Puts a report in order for the template.
pub fn lay_out(report: &Report, fonts: &Fonts) -> Paper {
    let mut ink = Ink::new(report, fonts);
    let mut pictures = Vec::new();
    let mut groups: Vec<Vec<Value>> = Vec::new();
    let mut sections = report.sections.iter().peekable();
    while let Some(section) = sections.next() {
        let next = sections.next_if(|next| stands_beside(section) && stands_beside(next));
        let frame = if next.is_some() { HALF } else { FULL };
        let group = std::iter::once(section).chain(next);
        groups.push(group.map(|section| part(section, frame, report, &mut ink, &mut pictures)).collect());
    }
    let mut notes: Vec<String> = report.notes.iter().map(|note| ink.print(note)).collect();
    let (title, summary) = (ink.print(&report.title), ink.print(&report.summary));
    if ink.lacking {
        notes.push(
            "[…] stands for writing that the fonts at hand cannot show; with REPORT_FONT_DIR set to a folder of fonts it is printed. HTML shows it as it is."
                .to_owned(),
        );
    }
    let data = json!({
        "title": title, "head": head(report), "summary": summary, "fonts": fonts.families,
        "groups": groups, "notes": notes,
    });
    Paper { data, pictures }
}

/// Text as these fonts can print it.
struct Ink<'a> {
    fonts: &'a Fonts,
    lacking: bool,
    /// Names in charts that cannot be printed at all, where there are several, and what stands for each, so that they can
    /// be told apart; the longest first.
    alike: Vec<(&'a str, String)>,
}

impl<'a> Ink<'a> {
    fn new(report: &'a Report, fonts: &'a Fonts) -> Self {
        let mut ink = Self { fonts, lacking: false, alike: Vec::new() };
        let charts = report.sections.iter().filter_map(|section| match &section.body {
            Body::Chart { chart } => Some(chart),
            _ => None,
        });
        let mut alike: Vec<&str> = Vec::new();
        for name in charts.flat_map(|chart| &chart.categories) {
            if ink.print(name) == GAP && !alike.contains(&name.as_str()) {
                alike.push(name);
            }
        }
        if alike.len() > 1 {
            ink.alike = alike.into_iter().zip(1..).map(|(name, number)| (name, format!("[… {number}]"))).collect();
            ink.alike.sort_by_key(|(name, _)| std::cmp::Reverse(name.len()));
        }
        ink
    }

    /// A text with nothing in it that would come out as a box, and with places to break in very long words.
    fn print(&mut self, text: &str) -> String {
        self.print_within(text, LONGEST_WORD)
    }

    fn print_within(&mut self, text: &str, longest: usize) -> String {
        let mut out = String::with_capacity(text.len());
        let (mut gap, mut word) = (false, 0);
        let text = self.alike.iter().fold(plain(text), |text, (name, mark)| text.replace(name, mark));
        for c in text.chars() {
            if !is_invisible(c) && !self.fonts.cover(c) {
                self.lacking = true;
                if !gap {
                    out.push_str(GAP);
                }
                gap = true;
                continue;
            }
            gap = false;
            word = if c.is_whitespace() || c == '-' { 0 } else { word + 1 };
            if word > longest {
                out.push('\u{200b}');
                word = 0;
            }
            out.push(c);
        }
        let mut out = out.split_whitespace().collect::<Vec<_>>().join(" ");
        // Words that cannot be printed, one after another, are one gap.
        while self.lacking && out.contains("[…] […]") {
            out = out.replace("[…] […]", "[…]");
        }
        out.replace("[…] ,", "[…],")
    }
}

/// Characters that print nothing by themselves.
fn is_invisible(c: char) -> bool {
    matches!(c, ' ' | '\u{200b}'..='\u{200f}' | '\u{2060}' | '\u{fe00}'..='\u{fe0f}' | '\u{feff}' | '\u{ad}')
}

fn part(
    section: &Section,
    frame: Frame,
    report: &Report,
    ink: &mut Ink<'_>,
    pictures: &mut Vec<(String, String)>,
) -> Value {
    let language = language(report);
    let mut value = match &section.body {
        Body::Figures { figures } => {
            let figure = |figure: &crate::services::reports::model::Figure| {
                let value = format!("{}{}", language.number(figure.value), figure.unit);
                json!({ "label": figure.label, "value": value, "tone": palette::of(figure.tone).class })
            };
            json!({ "kind": "figures", "figures": figures.iter().map(figure).collect::<Vec<_>>() })
        }
        Body::Tasks { tasks, none, .. } => task_table(tasks, none, report, ink),
        Body::Table { columns, rows } => table(columns, rows, language, ink),
        Body::Chart { chart } => {
            let mut chart = chart.clone();
            chart.categories.iter_mut().for_each(|name| *name = ink.print(name).replace('\u{200b}', ""));
            chart.series.iter_mut().for_each(|series| series.name = ink.print(&series.name).replace('\u{200b}', ""));
            let name = format!("/chart{}.svg", pictures.len());
            pictures.push((name.clone(), svg(&chart, frame, language)));
            json!({ "kind": "chart", "picture": name, "alt": ink.print(&chart.text) })
        }
    };
    let more = match &section.body {
        Body::Tasks { tasks, more, .. } if *more > 0 => {
            format!("{} of {}", tasks.len(), language.number(whole(tasks.len() + more)))
        }
        _ => String::new(),
    };
    if let Value::Object(value) = &mut value {
        value.insert("title".into(), ink.print(&section.title).into());
        value.insert("note".into(), section.note.as_deref().map(|note| ink.print(note)).unwrap_or_default().into());
        value.insert("more".into(), more.into());
    }
    value
}

fn table(columns: &[String], rows: &[Vec<Cell>], language: Language, ink: &mut Ink<'_>) -> Value {
    let numeric = |place: usize| rows.iter().any(|row| matches!(row.get(place), Some(Cell::Number(_))));
    let numeric: Vec<bool> = (0..columns.len()).map(numeric).collect();
    let mut cell = |cell: &Cell| match cell {
        Cell::Number(number) => language.number(*number),
        Cell::Text(text) => ink.print(text),
    };
    let rows: Vec<Vec<String>> = rows.iter().map(|row| row.iter().map(&mut cell).collect()).collect();
    json!({ "kind": "table", "columns": columns, "numeric": numeric, "rows": rows })
}

/// A title that does not fill half a page.
fn clip(title: &str) -> String {
    if title.chars().count() <= LONGEST_TITLE {
        return title.to_owned();
    }
    format!("{}…", title.chars().take(LONGEST_TITLE - 1).collect::<String>().trim_end())
}

fn task_table(tasks: &[TaskLine], none: &str, report: &Report, ink: &mut Ink<'_>) -> Value {
    let plans = tasks.iter().any(|task| task.plan.is_some());
    let people = tasks.iter().any(|task| !task.assignees.is_empty());
    let columns = [
        ("Task", "1.2fr", true),
        ("When", "24mm", true),
        ("Who", "1fr", people),
        ("Priority", "19mm", true),
        ("Bucket", "27mm", !plans),
        ("Plan", "27mm", plans),
    ];
    let row = |task: &TaskLine| {
        let texts = [
            clip(&task.title),
            when(task, report),
            task.assignees.join(", "),
            task.priority.clone(),
            task.bucket.clone().unwrap_or_default(),
            task.plan.clone().unwrap_or_default(),
        ];
        let shown = texts.iter().zip(&columns).filter(|(_, (.., shown))| *shown);
        let longest = |name: &str| if matches!(name, "Bucket" | "Plan") { LONGEST_NAME } else { LONGEST_WORD };
        let cells: Vec<String> = shown.map(|(text, (name, ..))| ink.print_within(text, longest(name))).collect();
        json!({ "late": task.days_late.is_some(), "cells": cells })
    };
    let rows: Vec<Value> = tasks.iter().map(row).collect();
    let shown = || columns.iter().filter(|(.., shown)| *shown);
    json!({
        "kind": "tasks", "none": none, "rows": rows,
        "columns": shown().map(|(name, ..)| *name).collect::<Vec<_>>(),
        "widths": shown().map(|(_, width, _)| *width).collect::<Vec<_>>(),
    })
}
