//! Charts as SVG: one pure function a shape, the same picture on a page and on paper.
//!
//! Every number that is drawn is also written, or stands at an axis; a colour never says anything alone. Long because
//! the four shapes share one frame of measures.

use super::palette;
use super::{escape, plain};
use crate::services::reports::language::Language;
use crate::services::reports::model::{Chart, Series, Shape};

/// The room a chart has.
#[derive(Debug, Clone, Copy)]
pub struct Frame {
    /// Its width; the height follows.
    pub width: f64,
    /// The size of its text.
    pub font: f64,
    /// The typeface.
    pub family: &'static str,
}

/// Draws a chart.
#[must_use]
pub fn svg(chart: &Chart, frame: Frame, language: Language) -> String {
    let mut canvas = Canvas { frame, language, body: String::new() };
    let top = canvas.legend(chart);
    let height = match chart.shape {
        Shape::Bars => canvas.bars(chart, top),
        Shape::Columns | Shape::Pairs | Shape::Lines => canvas.standing(chart, top),
    };
    let Frame { width, font, family } = frame;
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height:.1}\" width=\"{width}\" height=\"{height:.1}\" \
         font-family=\"{family}\" font-size=\"{font}\" fill=\"currentColor\">{}</svg>",
        canvas.body
    )
}

/// How wide a text is, roughly: enough to keep labels apart.
fn measure(text: &str, font: f64) -> f64 {
    let wide = |c: char| matches!(u32::from(c), 0x1100..=0x115f | 0x2e80..=0xa4cf | 0xac00..=0xd7a3 | 0xf900..=0xfaff | 0xfe30..=0xfe6f | 0xff00..=0xff60 | 0x1f300..=0x1faff);
    text.chars()
        .map(|c| {
            if wide(c) {
                1.02
            } else if c.is_uppercase() || c == 'm' || c == 'w' {
                0.68
            } else {
                0.54
            }
        })
        .sum::<f64>()
        * font
}

/// A text that fits into a width.
fn fit(text: &str, font: f64, width: f64) -> String {
    let text = plain(text);
    if measure(&text, font) <= width {
        return text;
    }
    let mut short = String::new();
    for c in text.chars() {
        if measure(&short, font) + font * 1.6 > width {
            break;
        }
        short.push(c);
    }
    format!("{}…", short.trim_end())
}

#[allow(clippy::cast_precision_loss)] // counts of tasks
fn real(number: i64) -> f64 {
    number as f64
}

#[allow(clippy::cast_precision_loss)] // places in a list
fn place(number: usize) -> f64 {
    number as f64
}

/// The step between marks at an axis: 1, 2 or 5 with zeros, at most five marks.
fn step(most: i64) -> i64 {
    let mut step = 1;
    loop {
        for factor in [1, 2, 5] {
            if step * factor * 5 >= most {
                return step * factor;
            }
        }
        step *= 10;
    }
}

struct Canvas {
    frame: Frame,
    language: Language,
    body: String,
}

/// Where a text begins or ends.
#[derive(Clone, Copy)]
enum Anchor {
    Start,
    Middle,
    End,
}

impl Canvas {
    fn text(&mut self, x: f64, y: f64, anchor: Anchor, text: &str, extra: &str) {
        let anchor = match anchor {
            Anchor::Start => "start",
            Anchor::Middle => "middle",
            Anchor::End => "end",
        };
        self.body.push_str(&format!(
            "<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\"{extra}>{}</text>",
            escape(text)
        ));
    }

    fn rect(&mut self, x: f64, y: f64, width: f64, height: f64, series: &Series) {
        let colour = palette::of(series.tone);
        self.body.push_str(&format!(
            "<rect class=\"c-{}\" x=\"{x:.1}\" y=\"{y:.1}\" width=\"{:.1}\" height=\"{:.1}\" fill=\"{}\"/>",
            colour.class,
            width.max(0.0),
            height.max(0.0),
            colour.fill
        ));
    }

    /// Says which colour is what; answers where the picture begins.
    fn legend(&mut self, chart: &Chart) -> f64 {
        let Frame { width, font, .. } = self.frame;
        if chart.series.len() < 2 {
            return font * 0.6;
        }
        let (mut x, mut y) = (0.0, font);
        for series in &chart.series {
            let name = fit(&series.name, font, width - font * 2.5);
            let wide = font * 1.4 + measure(&name, font) + font * 1.2;
            if x > 0.0 && x + wide > width {
                x = 0.0;
                y += font * 1.6;
            }
            if chart.shape == Shape::Lines {
                let colour = palette::of(series.tone);
                let dash = if series.dashed { " stroke-dasharray=\"3 3\"" } else { "" };
                self.body.push_str(&format!(
                    "<line class=\"s-{}\" x1=\"{x:.1}\" x2=\"{:.1}\" y1=\"{:.1}\" y2=\"{:.1}\" stroke=\"{}\" stroke-width=\"2.5\"{dash}/>",
                    colour.class, x + font, y - font * 0.35, y - font * 0.35, colour.fill
                ));
            } else {
                self.rect(x, y - font * 0.8, font * 0.95, font * 0.95, series);
            }
            self.text(x + font * 1.4, y, Anchor::Start, &name, "");
            x += wide;
        }
        y + font * 0.9
    }

    /// Lying bars, a line each, with every number written.
    fn bars(&mut self, chart: &Chart, top: f64) -> f64 {
        let Frame { width, font, .. } = self.frame;
        let totals: Vec<i64> = (0..chart.categories.len())
            .map(|row| chart.series.iter().filter_map(|series| series.values.get(row).copied().flatten()).sum())
            .collect();
        if totals.is_empty() {
            self.text(width / 2.0, top + font * 2.0, Anchor::Middle, "Nothing to show", " opacity=\"0.7\"");
            return top + font * 3.5;
        }
        let label_room = width * 0.34;
        let longest = chart.categories.iter().map(|name| measure(name, font)).fold(0.0, f64::max);
        let left = longest.min(label_room) + font * 0.8;
        let most = totals.iter().copied().max().unwrap_or(1).max(1);
        let right = measure(&self.language.number(most), font) + font;
        let scale = (width - left - right) / real(most);
        let (height, line) = (font * 1.5, font * 2.05);
        for (row, (name, total)) in chart.categories.iter().zip(&totals).enumerate() {
            let y = top + place(row) * line;
            let base = y + height * 0.5 + font * 0.36;
            self.text(left - font * 0.6, base, Anchor::End, &fit(name, font, left - font * 0.8), "");
            let mut x = left;
            for series in &chart.series {
                let Some(value) = series.values.get(row).copied().flatten().filter(|value| *value > 0) else {
                    continue;
                };
                let wide = real(value) * scale;
                self.rect(x, y, (wide - 1.0).max(1.0), height, series);
                let text = self.language.number(value);
                if chart.series.len() > 1 && measure(&text, font) + font * 0.4 < wide {
                    let colour = format!(" fill=\"{}\" class=\"on\"", palette::of(series.tone).text);
                    self.text(x + wide / 2.0, base, Anchor::Middle, &text, &colour);
                }
                x += wide;
            }
            let total = self.language.number(*total);
            self.text(x + font * 0.4, base, Anchor::Start, &total, " font-weight=\"600\"");
        }
        top + place(totals.len()) * line
    }

    /// Days along the foot, numbers up the side.
    fn standing(&mut self, chart: &Chart, top: f64) -> f64 {
        let Frame { width, font, .. } = self.frame;
        let (days, number) =
            (chart.categories.len(), |series: &Series, day: usize| series.values.get(day).copied().flatten());
        let of_day = |day: usize| chart.series.iter().filter_map(move |series| number(series, day));
        let peak = |day: usize| {
            if chart.shape == Shape::Columns { of_day(day).sum() } else { of_day(day).max().unwrap_or(0) }
        };
        let most = (0..days).map(peak).max().unwrap_or(0).max(1);
        let step = step(most);
        let ceiling = (most + step - 1) / step * step;
        let left = measure(&self.language.number(ceiling), font) + font * 0.8;
        let (graph_top, graph) = (top + font * 1.7, (width * 0.34).clamp(font * 9.0, font * 14.0));
        let foot = graph_top + graph;
        let y_of = move |value: i64| foot - real(value) / real(ceiling) * graph;
        self.text(0.0, top + font * 0.8, Anchor::Start, &chart.unit, " opacity=\"0.75\"");
        let mut mark = 0;
        while mark <= ceiling {
            let y = y_of(mark);
            let strength = if mark == 0 { "0.55" } else { "0.16" };
            self.body.push_str(&format!(
                "<line x1=\"{left:.1}\" x2=\"{width:.1}\" y1=\"{y:.1}\" y2=\"{y:.1}\" stroke=\"currentColor\" stroke-opacity=\"{strength}\"/>"
            ));
            let text = self.language.number(mark);
            self.text(left - font * 0.5, y + font * 0.35, Anchor::End, &text, "");
            mark += step;
        }
        let slot = (width - left) / place(days.max(1));
        let grid = Grid { left, slot, foot, top: graph_top, y_of: &y_of };
        match chart.shape {
            Shape::Lines => self.lines(chart, &grid),
            Shape::Pairs => self.pairs(chart, &grid),
            _ => self.columns(chart, &grid),
        }
        self.day_labels(chart, &grid);
        foot + font * 2.0
    }

    /// As many days by name as fit, the last one always.
    fn day_labels(&mut self, chart: &Chart, grid: &Grid<'_>) {
        let font = self.frame.font;
        let widest = chart.categories.iter().map(|name| measure(name, font)).fold(font, f64::max) + font * 1.2;
        let mut every = 1;
        while place(every) * grid.slot < widest {
            every += 1;
        }
        let last = chart.categories.len().saturating_sub(1);
        for (day, name) in chart.categories.iter().enumerate().filter(|(day, _)| (last - day).is_multiple_of(every)) {
            let half = measure(name, font) / 2.0;
            let x = grid.middle(day).clamp(half, self.frame.width - half);
            self.text(x, grid.foot + font * 1.4, Anchor::Middle, name, "");
        }
    }

    fn columns(&mut self, chart: &Chart, grid: &Grid<'_>) {
        let wide = (grid.slot * 0.78).min(self.frame.font * 4.0);
        for day in 0..chart.categories.len() {
            let known = chart.series.iter().any(|series| series.values.get(day).copied().flatten().is_some());
            let x = grid.middle(day) - wide / 2.0;
            if !known {
                self.body.push_str(&format!(
                    "<rect x=\"{x:.1}\" y=\"{:.1}\" width=\"{wide:.1}\" height=\"{:.1}\" fill=\"none\" stroke=\"currentColor\" stroke-opacity=\"0.3\" stroke-dasharray=\"2 3\"/>",
                    grid.top, grid.foot - grid.top
                ));
                continue;
            }
            let mut below = 0;
            for series in &chart.series {
                let value = series.values.get(day).copied().flatten().unwrap_or(0);
                let (from, to) = ((grid.y_of)(below), (grid.y_of)(below + value));
                if value > 0 {
                    self.rect(x, to, wide, (from - to - 0.8).max(0.6), series);
                }
                below += value;
            }
        }
    }

    fn pairs(&mut self, chart: &Chart, grid: &Grid<'_>) {
        let wide = grid.slot * 0.8 / place(chart.series.len().max(1));
        for (nth, series) in chart.series.iter().enumerate() {
            for (day, value) in series.values.iter().enumerate() {
                let Some(value) = value.filter(|value| *value > 0) else { continue };
                let x = grid.left + place(day) * grid.slot + grid.slot * 0.1 + place(nth) * wide;
                let y = (grid.y_of)(value);
                self.rect(x, y, wide - 0.6, grid.foot - y, series);
            }
        }
    }

    fn lines(&mut self, chart: &Chart, grid: &Grid<'_>) {
        let font = self.frame.font;
        for series in chart.series.iter().rev() {
            let colour = palette::of(series.tone);
            let dash = if series.dashed { " stroke-dasharray=\"4 4\"" } else { "" };
            let mut path = String::new();
            let mut pen_down = false;
            let mut dots = Vec::new();
            for (day, value) in series.values.iter().enumerate() {
                let Some(value) = value else {
                    pen_down = false;
                    continue;
                };
                let (x, y) = (grid.middle(day), (grid.y_of)(*value));
                path.push_str(&format!("{}{x:.1} {y:.1}", if pen_down { "L" } else { "M" }));
                pen_down = true;
                dots.push((x, y, *value));
            }
            self.body.push_str(&format!(
                "<path class=\"s-{}\" d=\"{path}\" fill=\"none\" stroke=\"{}\" stroke-width=\"2.5\" stroke-linejoin=\"round\"{dash}/>",
                colour.class, colour.fill
            ));
            if series.dashed {
                continue;
            }
            for (x, y, _) in &dots {
                self.body.push_str(&format!(
                    "<circle class=\"c-{}\" cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"2.6\" fill=\"{}\"/>",
                    colour.class, colour.fill
                ));
            }
            if let Some((x, y, value)) = dots.last() {
                let text = self.language.number(*value);
                let half = measure(&text, font) / 2.0;
                let x = x.min(self.frame.width - half);
                self.text(
                    x,
                    (y - font * 0.6).max(grid.top - font * 0.4),
                    Anchor::Middle,
                    &text,
                    " font-weight=\"600\"",
                );
            }
        }
    }
}

/// The measures of a standing chart.
struct Grid<'a> {
    left: f64,
    slot: f64,
    foot: f64,
    top: f64,
    y_of: &'a dyn Fn(i64) -> f64,
}

impl Grid<'_> {
    fn middle(&self, day: usize) -> f64 {
        self.left + (place(day) + 0.5) * self.slot
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chart_ticks_are_round_and_few() {
        for (most, wanted) in [(1, 1), (5, 1), (6, 2), (11, 5), (26, 10), (134, 50), (9000, 2000)] {
            assert_eq!(step(most), wanted, "{most}");
        }
    }

    #[test]
    fn chart_label_is_truncated_before_the_plot() {
        let label = fit("Maximiliane Freifrau von und zu Hohenstein-Lichtenberg", 12.0, 120.0);
        assert!(label.ends_with('…') && measure(&label, 12.0) <= 125.0, "{label}");
        assert_eq!(fit("Ada", 12.0, 120.0), "Ada");
    }
}
