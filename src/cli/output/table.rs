//! Aligned columns for people; a single thing as name and value.

use serde_json::Value;

use super::cell;
use super::shape::Shape;
use super::width::{cut, width};
use crate::text::{line as plain, shown};

const GAP: &str = "  ";
/// A column is never cut below this.
const NARROWEST: usize = 8;
/// What a thing is called is cut last, and never below this.
const NARROWEST_NAME: usize = 24;

/// Lays the answer out; lines are cut to `limit` cells if there is one.
pub fn render(shape: &Shape, limit: Option<usize>) -> String {
    match shape {
        Shape::Table { columns, rows } if columns.is_empty() && rows.is_empty() => String::new(),
        // A list of single values that has none has no columns either.
        Shape::Table { columns, rows } if rows.is_empty() && columns.iter().eq(["value"]) => "none\n".to_owned(),
        Shape::Table { columns, rows } => table(columns, rows, limit),
        Shape::Record(members) => record(members),
        Shape::Text(text) | Shape::Value(text) if text.is_empty() => String::new(),
        Shape::Text(text) | Shape::Value(text) => format!("{}\n", shown(text).trim_end_matches('\n')),
    }
}

fn table(columns: &[String], rows: &[Vec<Value>], limit: Option<usize>) -> String {
    let empty = Value::Null;
    let cells = |row: &Vec<Value>| -> Vec<String> {
        columns.iter().enumerate().map(|(place, _)| plain(&cell::text(row.get(place).unwrap_or(&empty)))).collect()
    };
    let header: Vec<String> = columns.iter().map(|column| plain(column)).collect();
    let cells: Vec<Vec<String>> = rows.iter().map(cells).collect();
    let mut widths: Vec<usize> = header.iter().map(|name| width(name)).collect();
    for row in &cells {
        for (widest, cell) in widths.iter_mut().zip(row) {
            *widest = (*widest).max(width(cell));
        }
    }
    let mut places: Vec<usize> = (0..columns.len()).collect();
    if let Some(limit) = limit {
        places = narrow(&mut widths, columns, limit);
    }
    let numeric: Vec<bool> = (0..columns.len()).map(|place| is_numeric(rows, place)).collect();
    let rule: Vec<String> = widths.iter().map(|width| "-".repeat(*width)).collect();
    let lines = [&header, &rule].into_iter().chain(&cells).map(|row| line(row, &places, &widths, &numeric));
    let left_out: Vec<&str> = columns
        .iter()
        .enumerate()
        .filter(|(place, _)| !places.contains(place))
        .map(|(_, name)| name.as_str())
        .collect();
    let note = match left_out.as_slice() {
        [] => String::new(),
        names => format!("left out, as the window is narrow: {}; `-o json` has all\n", plain(&names.join(", "))),
    };
    lines.chain(std::iter::once(note)).collect()
}

/// Makes the line fit: takes from the widest columns, from what things are called last, then leaves columns out, those on the
/// right first, and cuts names further only when nothing else is left. Answers which columns stay. Ids and dates stay whole:
/// a cut one cannot be used.
fn narrow(widths: &mut [usize], columns: &[String], limit: usize) -> Vec<usize> {
    let mut places: Vec<usize> = (0..columns.len()).collect();
    let is_name = |place: usize| columns.get(place).is_some_and(|name| matches!(name.as_str(), "title" | "name"));
    let is_whole = |place: usize| columns.get(place).is_some_and(|name| is_whole(name));
    loop {
        let wide = places.iter().filter_map(|place| widths.get(*place)).sum::<usize>();
        if wide + GAP.len() * places.len().saturating_sub(1) <= limit {
            return places;
        }
        let widest = |names: bool, least: usize| {
            let cut = |place: &&usize| {
                is_name(**place) == names && !is_whole(**place) && widths.get(**place).is_some_and(|it| *it > least)
            };
            places.iter().filter(cut).max_by_key(|place| widths.get(**place)).copied()
        };
        let last = places.iter().rposition(|place| !is_name(*place) && columns.get(*place).is_none_or(|it| it != "id"));
        if let Some(place) = widest(false, NARROWEST).or_else(|| widest(true, NARROWEST_NAME)) {
            widths.iter_mut().skip(place).take(1).for_each(|width| *width -= 1);
        } else if let Some(last) = last.filter(|_| places.len() > 2) {
            places.remove(last);
        } else if let Some(place) = widest(true, NARROWEST) {
            widths.iter_mut().skip(place).take(1).for_each(|width| *width -= 1);
        } else {
            return places;
        }
    }
}

fn is_whole(column: &str) -> bool {
    matches!(column, "id" | "uri") || column.ends_with("_id") || column.ends_with("_date")
}

fn is_numeric(rows: &[Vec<Value>], place: usize) -> bool {
    let mut values = rows.iter().filter_map(|row| row.get(place)).filter(|value| !value.is_null()).peekable();
    values.peek().is_some() && values.all(Value::is_number)
}

fn line(cells: &[String], places: &[usize], widths: &[usize], numeric: &[bool]) -> String {
    let of = |place: &usize| Some(((cells.get(*place)?, widths.get(*place)?), numeric.get(*place)?));
    let padded = places.iter().filter_map(of).map(|((cell, limit), numeric)| {
        let cell = cut(cell, *limit);
        let room = " ".repeat(limit.saturating_sub(width(&cell)));
        if *numeric { room + &cell } else { cell + &room }
    });
    let line = padded.collect::<Vec<_>>().join(GAP);
    format!("{}\n", line.trim_end())
}

fn record(members: &[(String, Value)]) -> String {
    let longest = members.iter().map(|(name, _)| width(name)).max().unwrap_or(0);
    let mut text = String::new();
    for (name, value) in members {
        let margin = " ".repeat(longest + GAP.len());
        let lines: Vec<String> =
            cell::lines(value).iter().map(|line| shown(line).replace('\n', &format!("\n{margin}"))).collect();
        let name = format!("{}{}", plain(name), " ".repeat(longest + GAP.len() - width(name)));
        text.push_str(format!("{name}{}", lines.join(&format!("\n{margin}"))).trim_end());
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn shown(answer: &Value, limit: Option<usize>) -> String {
        render(&Shape::of(answer, &[]), limit)
    }

    #[test]
    fn table_columns_align_for_wide_characters() {
        let answer = json!([{"id": "1", "title": "日本", "tasks": 5}, {"id": "22", "title": "Łódź", "tasks": 12}]);
        insta::assert_snapshot!(shown(&answer, None), @r"
        id  title  tasks
        --  -----  -----
        1   日本       5
        22  Łódź      12
        ");
    }

    #[test]
    fn cells_are_truncated_on_terminals_only_and_ids_never() {
        let answer = json!([{"id": "AbCdEfGhIjKlMnOp", "title": "a rather long title of a task"}]);
        assert_eq!(shown(&answer, Some(30)).lines().last().unwrap(), "AbCdEfGhIjKlMnOp  a rather lo…");
        assert_eq!(shown(&answer, Some(5)).lines().last().unwrap(), "AbCdEfGhIjKlMnOp  a rathe…");
    }

    #[test]
    fn narrow_terminal_drops_right_columns() {
        let answer = json!([{"id": "AbCdEfGhIjKlMn", "title": "Check contrast on the cookie banner", "status": "in_progress",
            "priority": "important", "due_date": "2026-11-28", "assignees": "Adele Vance; Alex Wilber", "plan": "Website relaunch"}]);
        let text = shown(&answer, Some(80));
        assert!(text.contains("Check contrast on the c…") && text.lines().all(|line| width(line) <= 80), "{text}");
        assert!(text.ends_with("left out, as the window is narrow: assignees, plan; `-o json` has all\n"), "{text}");
        assert_eq!(shown(&json!([]), Some(80)), "none\n");
    }

    #[test]
    fn object_prints_as_names_and_values() {
        let answer = json!({"id": "1", "description": "one\ntwo", "checklist": [{"title": "a", "checked": true}, {"title": "b", "checked": false}], "due_date": null});
        insta::assert_snapshot!(shown(&answer, None), @r"
        id           1
        description  one
                     two
        checklist    [x] a
                     [ ] b
        due_date
        ");
    }
}
