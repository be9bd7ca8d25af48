//! What was demanded, what was measured, whether it holds; as a Markdown table and as JSON.

use std::time::Duration;

use serde_json::{Value, json};

/// A line of the table.
#[derive(Debug, Clone)]
pub struct Figure {
    /// What was measured.
    pub name: String,
    /// The demand, in words; empty if the figure is only reported.
    pub demanded: String,
    /// The measurement, in words.
    pub measured: String,
    /// The measurement as a number.
    pub value: f64,
    /// Whether the demand holds; `None` if there is none.
    pub holds: Option<bool>,
}

impl Figure {
    /// A figure that may not exceed a limit.
    pub fn at_most(name: &str, limit: f64, value: f64, unit: &str) -> Self {
        Self {
            name: name.to_owned(),
            demanded: format!("≤ {}", with_unit(limit, unit)),
            measured: with_unit(value, unit),
            value,
            holds: Some(value <= limit),
        }
    }

    /// A figure that has to reach a limit.
    pub fn at_least(name: &str, limit: f64, value: f64, unit: &str) -> Self {
        let demanded = format!("≥ {}", with_unit(limit, unit));
        Self { demanded, holds: Some(value >= limit), ..Self::at_most(name, limit, value, unit) }
    }

    /// A figure nothing is demanded of.
    pub fn shown(name: &str, value: f64, unit: &str) -> Self {
        Self { demanded: String::new(), holds: None, ..Self::at_most(name, value, value, unit) }
    }

    /// Adds words to the measurement.
    pub fn noting(mut self, note: &str) -> Self {
        self.measured = format!("{} ({note})", self.measured);
        self
    }
}

fn with_unit(value: f64, unit: &str) -> String {
    let number = if unit.is_empty() && value.fract() != 0.0 {
        format!("{value:.3}")
    } else if value.fract() == 0.0 || value >= 1_000.0 {
        format!("{value:.0}")
    } else if value >= 100.0 {
        format!("{value:.1}")
    } else {
        format!("{value:.2}")
    };
    if unit.is_empty() { number } else { format!("{number} {unit}") }
}

/// The table in Markdown.
pub fn table(figures: &[Figure]) -> String {
    let mut text = "| figure | demanded | measured | holds |\n|---|---|---|---|\n".to_owned();
    for figure in figures {
        let holds = figure.holds.map_or("", |holds| if holds { "yes" } else { "**no**" });
        text.push_str(&format!("| {} | {} | {} | {holds} |\n", figure.name, figure.demanded, figure.measured));
    }
    text
}

/// The table as JSON.
pub fn json(figures: &[Figure]) -> Value {
    let line = |figure: &Figure| {
        json!({
            "figure": figure.name,
            "demanded": figure.demanded,
            "measured": figure.measured,
            "value": figure.value,
            "holds": figure.holds,
        })
    };
    figures.iter().map(line).collect()
}

/// Milliseconds with fractions.
pub fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1_000.0
}

/// The value at a share of the sorted list, 0.5 being the median; zero of an empty list.
pub fn quantile(values: &[f64], share: f64) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    #[allow(clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss)] // a place in a list
    let place = ((sorted.len().saturating_sub(1)) as f64 * share).round() as usize;
    sorted.get(place).copied().unwrap_or_default()
}

/// The middle of the sorted list.
pub fn median(values: &[f64]) -> f64 {
    quantile(values, 0.5)
}
