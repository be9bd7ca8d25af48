//! A Markdown table, for an issue or a chat.

use serde_json::Value;

use super::cell;
use super::shape::Shape;
use crate::text::{markdown, shown};

/// The answer as Markdown.
pub fn render(shape: &Shape) -> String {
    match shape {
        Shape::Table { columns, .. } if columns.is_empty() => String::new(),
        Shape::Table { columns, rows } => {
            let cells = |row: &Vec<Value>| row.iter().map(cell::text).collect();
            table(columns, rows.iter().map(cells))
        }
        Shape::Record(members) => {
            let row = |(name, value): &(String, Value)| vec![name.clone(), cell::text(value)];
            table(&["field".to_owned(), "value".to_owned()], members.iter().map(row))
        }
        Shape::Value(text) => format!("{}\n", escaped(text)),
        Shape::Text(text) => format!("{}\n", text.trim_end_matches('\n')),
    }
}

fn table(columns: &[String], rows: impl Iterator<Item = Vec<String>>) -> String {
    let mut text = line(columns) + "|" + &"---|".repeat(columns.len()) + "\n";
    rows.for_each(|row| text.push_str(&line(&row)));
    text
}

fn line(cells: &[String]) -> String {
    let cells: Vec<String> = cells.iter().map(|cell| escaped(cell)).collect();
    format!("| {} |\n", cells.join(" | "))
}

fn escaped(text: &str) -> String {
    shown(text).split('\n').map(markdown).collect::<Vec<_>>().join("<br>")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn markdown_cells_are_escaped() {
        let answer = json!([{"title": "a|b\nc", "n": 1}]);
        assert_eq!(render(&Shape::of(&answer, &[])), "| title | n |\n|---|---|\n| a\\|b<br>c | 1 |\n");
    }
}
