//! Reports, computed and written in this very process, from plans made up for it; PDFs by the program that sets them.

use std::time::Instant;

use graphgate::services::reports::build::build;
use graphgate::services::reports::model::Report;
use graphgate::services::reports::render::write;
use graphgate::services::reports::request::Kind;
use graphgate::services::reports::{Format, ReportRequest, sample};

use crate::Effort;
use crate::report::{Figure, median, ms};

/// Measures a weekly report of a usual and of a large plan; as PDF where this build sets any.
pub fn run(effort: Effort) -> anyhow::Result<Vec<Figure>> {
    let mut figures = Vec::new();
    let request = ReportRequest { kind: Some(Kind::Weekly), ..ReportRequest::default() };
    let options = request.understand(sample::now(), chrono_tz::Tz::Europe__Berlin).map_err(anyhow::Error::new)?;
    for (tasks, pdf) in [(200, Demand { ms: 400.0, mb: 120.0 }), (9000, Demand { ms: 3000.0, mb: 300.0 })] {
        let plans = [sample::plan(tasks, sample::today())];
        let histories = [sample::history(&plans[0], sample::today())];
        let report = || build("01kb4x5t0m8q7w9z3c6v1n2p4r".to_owned(), &options, &plans, &histories);
        let mut took = Vec::new();
        for _ in 0..effort.of(11, 3) {
            let started = Instant::now();
            write(&report(), Format::Json).map_err(anyhow::Error::new)?;
            took.push(ms(started.elapsed()));
        }
        let name = format!("weekly report of {tasks} tasks");
        figures.push(Figure::at_most(&format!("{name}, computed and as JSON"), 50.0, median(&took), "ms"));
        for format in [Format::Html, Format::Xlsx] {
            let made = report();
            let started = Instant::now();
            write(&made, format).map_err(anyhow::Error::new)?;
            let name = format!("{name} as {}", format.word().to_uppercase());
            figures.push(Figure::shown(&name, ms(started.elapsed()), "ms"));
        }
        figures.extend(pdf.measure(&name, &report(), effort)?);
    }
    Ok(figures)
}

/// What is demanded of a PDF, the start of its process and the fonts included.
#[cfg_attr(not(feature = "pdf"), expect(dead_code))]
struct Demand {
    ms: f64,
    mb: f64,
}

impl Demand {
    #[cfg(feature = "pdf")]
    fn measure(&self, name: &str, report: &Report, effort: Effort) -> anyhow::Result<Vec<Figure>> {
        let text = serde_json::to_vec(report)?;
        let (mut took, mut peak) = (Vec::new(), 0.0_f64);
        for _ in 0..effort.of(7, 3) {
            let (time, memory) = typeset(&text)?;
            took.push(ms(time));
            peak = peak.max(memory);
        }
        Ok(vec![
            Figure::at_most(&format!("{name} as PDF, in a process of its own"), self.ms, median(&took), "ms"),
            Figure::at_most(&format!("{name} as PDF: resident memory of that process, peak"), self.mb, peak, "MB"),
        ])
    }

    #[cfg(not(feature = "pdf"))]
    #[expect(clippy::unused_self, clippy::unnecessary_wraps)]
    fn measure(&self, _: &str, _: &Report, _: Effort) -> anyhow::Result<Vec<Figure>> {
        Ok(Vec::new())
    }
}

/// Sets a report as the server does; answers how long it took and the most memory seen, in MB.
#[cfg(feature = "pdf")]
fn typeset(report: &[u8]) -> anyhow::Result<(std::time::Duration, f64)> {
    use std::io::{Read as _, Write as _};
    use std::process::{Command, Stdio};

    use graphgate::services::reports::render::pdf::COMMAND;

    let started = Instant::now();
    let mut child = Command::new(crate::process::GRAPHGATE)
        .arg(COMMAND)
        .env_clear()
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()?;
    let (status, report) = (format!("/proc/{}/status", child.id()), report.to_owned());
    let stdin = child.stdin.take();
    let feeder = std::thread::spawn(move || stdin.map(|mut stdin| stdin.write_all(&report)));
    let stdout = child.stdout.take();
    let reader = std::thread::spawn(move || {
        let mut pdf = Vec::new();
        stdout.map(|mut stdout| stdout.read_to_end(&mut pdf));
        pdf
    });
    let mut peak = 0.0_f64;
    let ended = loop {
        let kib = std::fs::read_to_string(&status).ok().and_then(|text| {
            let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
            line.trim().trim_end_matches(" kB").parse::<f64>().ok()
        });
        peak = peak.max(kib.unwrap_or_default() * 1_024.0 / 1_000_000.0);
        if let Some(ended) = child.try_wait()? {
            break ended;
        }
        std::thread::sleep(std::time::Duration::from_millis(1));
    };
    let took = started.elapsed();
    let _ = feeder.join();
    let pdf = reader.join().unwrap_or_default();
    anyhow::ensure!(ended.success() && pdf.starts_with(b"%PDF"), "no PDF came of it");
    Ok((took, peak))
}
