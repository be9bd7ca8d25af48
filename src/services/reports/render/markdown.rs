//! The report for a chat: short lines, plain tables, nothing that needs a picture.

use super::{head, language, when};
use crate::services::reports::language::Language;
use crate::services::reports::model::{Body, Cell, Report, Section, Shape, TaskLine};
use crate::text::markdown as inert;

pub fn write(report: &Report) -> String {
    let mut text = format!("# {}\n\n{}\n\n{}\n", inert(&report.title), inert(&head(report)), inert(&report.summary));
    for section in &report.sections {
        text.push_str(&part(section, report));
    }
    for note in &report.notes {
        text.push_str(&format!("\n> {}\n", inert(note)));
    }
    text
}

fn part(section: &Section, report: &Report) -> String {
    let language = language(report);
    let mut text = match &section.body {
        // The sentences at the top say the same.
        Body::Figures { figures } => {
            let figure = |figure: &crate::services::reports::model::Figure| {
                format!("{} **{}{}**", figure.label, language.number(figure.value), figure.unit)
            };
            return format!("\n{}\n", figures.iter().map(figure).collect::<Vec<_>>().join(" · "));
        }
        Body::Tasks { tasks, more, none } => {
            let mut list: String = tasks.iter().map(|task| item(task, report)).collect();
            if tasks.is_empty() {
                list.push_str(&format!("{none}\n"));
            }
            if *more > 0 {
                list.push_str(&format!("- … and {} more\n", language.number(i64::try_from(*more).unwrap_or(i64::MAX))));
            }
            list
        }
        Body::Table { rows, .. } if rows.is_empty() => "None.\n".to_owned(),
        Body::Table { columns, rows } => table(columns, rows, language),
        Body::Chart { chart } if chart.shape == Shape::Bars && !chart.categories.is_empty() => {
            let columns: Vec<String> =
                std::iter::once(String::new()).chain(chart.series.iter().map(|series| series.name.clone())).collect();
            let row = |(place, name): (usize, &String)| {
                let number = |series: &crate::services::reports::model::Series| {
                    Cell::Number(series.values.get(place).copied().flatten().unwrap_or(0))
                };
                std::iter::once(Cell::Text(name.clone())).chain(chart.series.iter().map(number)).collect()
            };
            table(&columns, &chart.categories.iter().enumerate().map(row).collect::<Vec<_>>(), language)
        }
        Body::Chart { chart } => format!("{}\n", inert(&chart.text)),
    };
    if let Some(note) = &section.note {
        text.push_str(&format!("\n{}\n", inert(note)));
    }
    format!("\n## {}\n\n{text}", inert(&section.title))
}

fn item(task: &TaskLine, report: &Report) -> String {
    let mut about = vec![when(task, report)];
    if matches!(task.priority.as_str(), "Urgent" | "Important") {
        about.push(task.priority.to_lowercase());
    }
    if !task.assignees.is_empty() {
        about.push(inert(&task.assignees.join(", ")));
    }
    about.extend(task.plan.iter().chain(&task.bucket).map(|name| inert(name)));
    format!("- **{}**: {}\n", inert(&task.title), about.join(", "))
}

fn table(columns: &[String], rows: &[Vec<Cell>], language: Language) -> String {
    let numeric = |place: usize| rows.iter().all(|row| matches!(row.get(place), Some(Cell::Number(_))));
    let cell = |cell: &Cell| match cell {
        Cell::Number(number) => language.number(*number),
        Cell::Text(text) => inert(text),
    };
    let heads: Vec<String> = columns.iter().map(|column| inert(column)).collect();
    let rule: String = (0..columns.len()).map(|place| if numeric(place) { "---:|" } else { "---|" }).collect();
    let mut text = format!("| {} |\n|{rule}\n", heads.join(" | "));
    for row in rows {
        text.push_str(&format!("| {} |\n", row.iter().map(cell).collect::<Vec<_>>().join(" | ")));
    }
    text
}
