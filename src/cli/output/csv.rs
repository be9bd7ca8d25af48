//! Rows for a spreadsheet, none of whose cells is a formula.

use serde_json::Value;

use super::cell;
use super::shape::Shape;
use crate::text::cell as inert;

/// The answer as CSV with a header.
pub fn render(shape: &Shape) -> anyhow::Result<String> {
    let mut writer = ::csv::WriterBuilder::new().flexible(true).from_writer(Vec::new());
    match shape {
        Shape::Table { columns, rows } => {
            if !columns.is_empty() {
                writer.write_record(columns.iter().map(|column| inert(column)))?;
            }
            for row in rows {
                writer.write_record(row.iter().map(field))?;
            }
        }
        Shape::Record(members) => {
            writer.write_record(members.iter().map(|(name, _)| inert(name)))?;
            writer.write_record(members.iter().map(|(_, value)| field(value)))?;
        }
        Shape::Text(text) if text.contains('\n') => return Ok(format!("{}\n", text.trim_end_matches('\n'))),
        Shape::Text(text) | Shape::Value(text) => writer.write_record([inert(text)])?,
    }
    Ok(String::from_utf8(writer.into_inner()?)?)
}

/// Numbers stay numbers, so that -5 can be summed.
fn field(value: &Value) -> String {
    let text = cell::text(value);
    if value.is_number() { text } else { inert(&text) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn csv_output_cells_are_not_formulas() {
        let answer = json!([{"title": "=HYPERLINK(1)", "n": -5}, {"title": "-1, \"two\"", "n": null}, {"title": "@x\ny", "n": 1}]);
        let csv = render(&Shape::of(&answer, &[])).unwrap();
        assert_eq!(csv, "title,n\n'=HYPERLINK(1),-5\n\"'-1, \"\"two\"\"\",\n\"'@x\ny\",1\n");
    }

    #[test]
    fn escaped_csv_cells_round_trip() {
        for text in ["=1", "-x", "'quoted'", "plain", "\tx"] {
            assert_eq!(crate::text::from_cell(&inert(text)), text);
        }
    }
}
