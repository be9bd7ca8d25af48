//! The report for a browser: one file that loads nothing, reads without script, and lets columns be sorted with one.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use sha2::{Digest, Sha256};

use super::chart::{Frame, svg};
use super::{escape, head, language, palette, when};
use crate::services::reports::language::Language;
use crate::services::reports::model::{Body, Cell, Chart, Report, Section, TaskLine};

const STYLE: &str = include_str!("report.css");
const SCRIPT: &str = include_str!("report.js");
/// Tasks the page lists; the other formats have all of them.
const MOST_TASKS: usize = 1000;

/// Writes the page.
pub fn write(report: &Report) -> String {
    let style = format!("{STYLE}@media (prefers-color-scheme:dark){{{}}}", palette::on_dark());
    let policy = format!(
        "default-src 'none'; img-src data:; style-src 'sha256-{}'; script-src 'sha256-{}'; base-uri 'none'; form-action 'none'",
        digest(&style),
        digest(SCRIPT)
    );
    let mut page = format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>{title}</title>\
         <meta http-equiv=\"Content-Security-Policy\" content=\"{policy}\">\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\"><meta name=\"color-scheme\" content=\"light dark\">\
         <style>{style}</style></head>\n<body><main>\n<header><h1 dir=\"auto\">{title}</h1><p class=\"head\">{}</p><p class=\"summary\" dir=\"auto\">{}</p></header>\n",
        escape(&head(report)),
        escape(&report.summary),
        title = escape(&report.title),
    );
    let language = language(report);
    let mut sections = report.sections.iter().peekable();
    while let Some(section) = sections.next() {
        // Two pictures of days in a row are side by side.
        match sections.next_if(|next| stands_beside(section) && stands_beside(next)) {
            Some(next) => page.push_str(&format!(
                "<div class=\"beside\">{}{}</div>\n",
                part(section, HALF, report),
                part(next, HALF, report)
            )),
            None => page.push_str(&part(section, FULL, report)),
        }
    }
    page.push_str(&all_tasks(report, language));
    if !report.notes.is_empty() {
        page.push_str("<footer>");
        report.notes.iter().for_each(|note| page.push_str(&format!("<p>{}</p>", escape(note))));
        page.push_str("</footer>");
    }
    page.push_str(&format!("</main><script>{SCRIPT}</script></body></html>\n"));
    page
}

const FAMILY: &str = "inherit";
const FULL: Frame = Frame { width: 900.0, font: 14.0, family: FAMILY };
const HALF: Frame = Frame { width: 440.0, font: 13.0, family: FAMILY };

fn digest(text: &str) -> String {
    BASE64.encode(Sha256::digest(text))
}

/// Whether a section is a picture that is readable at half the width.
pub fn stands_beside(section: &Section) -> bool {
    use crate::services::reports::model::Shape;
    matches!(&section.body, Body::Chart { chart } if matches!(chart.shape, Shape::Lines | Shape::Pairs) && chart.categories.len() <= 35)
}

fn part(section: &Section, frame: Frame, report: &Report) -> String {
    let language = language(report);
    let id = escape(&section.id);
    let body = match &section.body {
        Body::Figures { figures } => {
            let figure = |figure: &crate::services::reports::model::Figure| {
                format!(
                    "<div class=\"t-{}\"><dt>{}</dt><dd>{}{}</dd></div>",
                    palette::of(figure.tone).class,
                    escape(&figure.label),
                    language.number(figure.value),
                    escape(&figure.unit)
                )
            };
            format!("<dl class=\"figures\">{}</dl>", figures.iter().map(figure).collect::<String>())
        }
        Body::Tasks { tasks, none, .. } if tasks.is_empty() => format!("<p class=\"none\">{}</p>", escape(none)),
        Body::Tasks { tasks, more, .. } => {
            let more = if *more > 0 {
                format!("<p class=\"more\">and {} more</p>", language.number(i64::try_from(*more).unwrap_or(i64::MAX)))
            } else {
                String::new()
            };
            format!("{}{more}", task_table(tasks, &id, report))
        }
        Body::Table { rows, .. } if rows.is_empty() => "<p class=\"none\">None.</p>".to_owned(),
        Body::Table { columns, rows } => table(columns, rows, &id, language),
        Body::Chart { chart } => picture(chart, &id, frame, language),
    };
    let note = section.note.as_ref().map(|note| format!("<p class=\"note\">{}</p>", escape(note))).unwrap_or_default();
    format!(
        "<section aria-labelledby=\"{id}-h\"><h2 id=\"{id}-h\">{}</h2>{body}{note}</section>\n",
        escape(&section.title)
    )
}

/// The picture, and its numbers for readers who cannot see it.
fn picture(chart: &Chart, id: &str, frame: Frame, language: Language) -> String {
    let columns: Vec<String> =
        std::iter::once(chart.unit.clone()).chain(chart.series.iter().map(|series| series.name.clone())).collect();
    let row = |(place, name): (usize, &String)| {
        let number =
            |series: &crate::services::reports::model::Series| match series.values.get(place).copied().flatten() {
                Some(number) => Cell::Number(number),
                None => Cell::Text("–".to_owned()),
            };
        std::iter::once(Cell::Text(name.clone())).chain(chart.series.iter().map(number)).collect()
    };
    let rows: Vec<Vec<Cell>> = chart.categories.iter().enumerate().map(row).collect();
    let drawn = svg(chart, frame, language).replacen("<svg ", "<svg aria-hidden=\"true\" focusable=\"false\" ", 1);
    format!(
        "<figure tabindex=\"0\"><div role=\"img\" aria-label=\"{}\">{drawn}</div></figure><details><summary>Numbers</summary>{}</details>",
        escape(&chart.text),
        table(&columns, &rows, &format!("{id}-n"), language)
    )
}

/// A name as a class.
fn slug(name: &str) -> String {
    name.chars().filter(char::is_ascii_alphanumeric).collect::<String>().to_lowercase()
}

fn open_table(id: &str, kind: &str, columns: impl Iterator<Item = (String, bool)>) -> String {
    let heads: String = columns
        .map(|(name, number)| {
            // Where columns are known by name, the style sheet gives them the same width in every list.
            let class = if number { "n".to_owned() } else { format!("k-{}", slug(&name)) };
            format!("<th scope=\"col\" class=\"{class}\">{}</th>", escape(&name))
        })
        .collect();
    format!(
        "<div class=\"wide{kind}\" tabindex=\"0\" role=\"group\" aria-label=\"Table {id}\"><table><thead><tr>{heads}</tr></thead><tbody>"
    )
}

fn table(columns: &[String], rows: &[Vec<Cell>], id: &str, language: Language) -> String {
    let number = |place: usize| place > 0 && rows.iter().any(|row| matches!(row.get(place), Some(Cell::Number(_))));
    let kind = if columns.len() <= 3 { " narrow" } else { "" };
    let mut text = open_table(id, kind, columns.iter().enumerate().map(|(place, name)| (name.clone(), number(place))));
    for row in rows {
        text.push_str("<tr>");
        for (place, cell) in row.iter().enumerate() {
            let (value, class) = match cell {
                Cell::Number(value) => (format!(" data-v=\"{value}\">{}", language.number(*value)), " class=\"n\""),
                Cell::Text(value) => {
                    (format!(" dir=\"auto\">{}", escape(value)), if number(place) { " class=\"n\"" } else { "" })
                }
            };
            text.push_str(&if place == 0 {
                format!("<th scope=\"row\"{value}</th>")
            } else {
                format!("<td{class}{value}</td>")
            });
        }
        text.push_str("</tr>");
    }
    text + "</tbody></table></div>"
}

fn task_table(tasks: &[TaskLine], id: &str, report: &Report) -> String {
    let any = |has: fn(&TaskLine) -> bool| tasks.iter().any(has);
    let plans = any(|task| task.plan.is_some());
    let people = any(|task| !task.assignees.is_empty());
    let columns =
        [("Task", true), ("When", true), ("Who", people), ("Priority", true), ("Bucket", true), ("Plan", plans)];
    let shown = columns.into_iter().filter(|(_, shown)| *shown).map(|(name, _)| (name.to_owned(), false));
    let mut text = open_table(id, " tasks", shown);
    for task in tasks {
        let late = if task.days_late.is_some() { " late" } else { "" };
        let order = task.completed.or(task.due).map(|day| day.to_string()).unwrap_or_default();
        text.push_str(&format!(
            "<tr><th scope=\"row\" dir=\"auto\">{}</th><td class=\"when{late}\" data-v=\"{order}\">{}</td>",
            escape(&task.title),
            escape(&when(task, report))
        ));
        // On a phone a row is a card, and its lines bear the names of the columns.
        let mut cell = |name: &str, value: &str| {
            text.push_str(&format!("<td data-l=\"{name}\" dir=\"auto\">{}</td>", escape(value)));
        };
        if people {
            cell("Who", &task.assignees.join(", "));
        }
        cell("Priority", &task.priority);
        cell("Bucket", task.bucket.as_deref().unwrap_or_default());
        if plans {
            cell("Plan", task.plan.as_deref().unwrap_or_default());
        }
        text.push_str("</tr>");
    }
    text + "</tbody></table></div>"
}

fn all_tasks(report: &Report, language: Language) -> String {
    if report.tasks.is_empty() {
        return String::new();
    }
    let number = language.number(i64::try_from(report.tasks.len()).unwrap_or(i64::MAX));
    let shown = report.tasks.get(..MOST_TASKS).unwrap_or(&report.tasks);
    let rest = report.tasks.len() - shown.len();
    let rest = if rest > 0 {
        format!(
            "<p class=\"more\">and {} more; the CSV and the workbook list all of them</p>",
            language.number(i64::try_from(rest).unwrap_or(i64::MAX))
        )
    } else {
        String::new()
    };
    format!(
        "<section class=\"all\" aria-labelledby=\"all-h\"><h2 id=\"all-h\">All tasks</h2><details><summary>Show {number} tasks</summary>{}{rest}</details></section>\n",
        task_table(shown, "all", report)
    )
}
