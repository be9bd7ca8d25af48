//! Reports, computed and written: in this very process, from plans made up for it.

use std::time::Instant;

use graphgate::services::reports::build::build;
use graphgate::services::reports::render::write;
use graphgate::services::reports::request::Kind;
use graphgate::services::reports::{Format, ReportRequest, sample};

use crate::Effort;
use crate::report::{Figure, median, ms};

/// Measures a weekly report of a large plan in the formats that need no typesetter, and as PDF where this build has one.
pub fn run(effort: Effort) -> anyhow::Result<Vec<Figure>> {
    let mut figures = Vec::new();
    let request = ReportRequest { kind: Some(Kind::Weekly), ..ReportRequest::default() };
    let options = request.understand(sample::now(), chrono_tz::Tz::Europe__Berlin).map_err(anyhow::Error::new)?;
    for (tasks, demanded) in [(200, [50.0, 400.0]), (9000, [50.0, 3000.0])] {
        let plans = [sample::plan(tasks, sample::today())];
        let histories = [sample::history(&plans[0], sample::today())];
        let report = || build("01kb4x5t0m8q7w9z3c6v1n2p4r".to_owned(), &options, &plans, &histories);
        let mut took = Vec::new();
        for _ in 0..effort.of(11, 3) {
            let started = Instant::now();
            write(&report(), Format::Json).map_err(anyhow::Error::new)?;
            took.push(ms(started.elapsed()));
        }
        let [json, _pdf] = demanded;
        figures.push(Figure::at_most(
            &format!("weekly report of {tasks} tasks, computed and as JSON"),
            json,
            median(&took),
            "ms",
        ));
        for format in [Format::Html, Format::Xlsx] {
            let made = report();
            let started = Instant::now();
            write(&made, format).map_err(anyhow::Error::new)?;
            let name = format!("the same as {}", format.word());
            figures.push(Figure::shown(&name, ms(started.elapsed()), "ms"));
        }
        #[cfg(feature = "pdf")]
        {
            let (made, started) = (report(), Instant::now());
            graphgate::services::reports::render::typeset::typeset(&made, None)?;
            figures.push(Figure::at_most("the same as pdf, the fonts loaded anew", _pdf, ms(started.elapsed()), "ms"));
        }
    }
    Ok(figures)
}
