//! The figures GraphGate promises, measured on the release binary and printed as a table.
//!
//! `cargo bench --bench figures [-- --only NAME --json FILE --quick]` starts the program as its users do, as processes
//! of their own, beside a simulated tenant. Speed is judged by ratios within one run, because absolute times say more
//! about the machine. The exit code tells whether every demand holds.

// A benchmark prints to the terminal, and may end with a panic.
#![allow(clippy::print_stdout, clippy::print_stderr, clippy::indexing_slicing)]

mod cores;
mod http;
mod load;
mod measure;
mod no_op;
mod process;
mod report;
mod stack;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;
use clap::{Parser, ValueEnum};

use report::Figure;

/// Measure GraphGate's figures.
#[derive(Debug, Parser)]
#[command(name = "figures")]
struct Args {
    /// Only these groups of figures
    #[arg(long, value_enum, value_delimiter = ',')]
    only: Vec<Group>,
    /// Also write the table to this file as JSON
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Fewer repetitions: for CI
    #[arg(long)]
    quick: bool,
    /// What `cargo bench` says to every benchmark
    #[arg(long, hide = true)]
    bench: bool,
    /// Serve this answer instead of measuring: the tool without work that `query_tasks` is compared with
    #[arg(long, hide = true, value_name = "FILE", requires = "ready_file")]
    no_op: Option<PathBuf>,
    #[arg(long, hide = true, value_name = "PATH")]
    ready_file: Option<PathBuf>,
}

/// Figures that are measured together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Group {
    Start,
    Memory,
    Throughput,
    Cold,
    Fresh,
    Bulk,
    Sync,
    Throttled,
    Reports,
    Webhooks,
    Telemetry,
    /// How cost grows with the tenant; minutes, and only when asked for
    Scale,
}

/// How often things are repeated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effort {
    /// As often as a median needs.
    Full,
    /// Often enough to notice a break.
    Quick,
}

impl Effort {
    /// One of two counts.
    fn of(self, full: usize, quick: usize) -> usize {
        match self {
            Self::Full => full,
            Self::Quick => quick,
        }
    }
}

fn main() -> ExitCode {
    let args = Args::parse();
    let outcome = match (&args.no_op, &args.ready_file) {
        (Some(answer), Some(ready)) => no_op::serve(answer, ready).map(|()| ExitCode::SUCCESS),
        _ => measure_all(&args),
    };
    outcome.unwrap_or_else(|error| {
        eprintln!("error: {error:#}");
        ExitCode::FAILURE
    })
}

fn measure_all(args: &Args) -> anyhow::Result<ExitCode> {
    // One thread: the load shares a core with the tenant, and nothing may wait for another thread of ours.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let mut groups = args.only.clone();
    if groups.is_empty() {
        groups.extend(Group::value_variants().iter().filter(|group| **group != Group::Scale));
    }
    let effort = if args.quick { Effort::Quick } else { Effort::Full };
    let mut figures = Vec::new();
    for group in groups {
        eprintln!("measuring {group:?} …");
        let measured = runtime.block_on(run(group, effort));
        figures.extend(measured.with_context(|| format!("{group:?} cannot be measured"))?);
    }
    print!("{}", report::table(&figures));
    if let Some(path) = &args.json {
        let text = format!("{:#}\n", report::json(&figures));
        std::fs::write(path, text).with_context(|| format!("`{}` cannot be written", path.display()))?;
    }
    let broken = figures.iter().filter(|figure| figure.holds == Some(false)).count();
    if broken > 0 {
        eprintln!("{broken} figure(s) do not hold");
    }
    Ok(if broken == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

async fn run(group: Group, effort: Effort) -> anyhow::Result<Vec<Figure>> {
    match group {
        Group::Start => measure::start::run(effort),
        Group::Memory => measure::memory::run(effort).await,
        Group::Throughput => measure::throughput::run(effort).await,
        Group::Cold => measure::cold::run(effort).await,
        Group::Fresh => measure::fresh::run(effort).await,
        Group::Bulk => measure::bulk::run(effort).await,
        Group::Sync => measure::sync::run(effort).await,
        Group::Throttled => measure::throttled::run(effort).await,
        Group::Reports => measure::reports::run(effort),
        Group::Webhooks => measure::webhooks::run(effort).await,
        Group::Telemetry => measure::telemetry::run(effort).await,
        Group::Scale => measure::scale::run(effort).await,
    }
}
