//! The deterministic simulation of the sync engine: the code that ships, over ports that fail in every known way.
//!
//! `cargo test --release --test sync_sim -- [--histories N] [--seed S] [--instances N] [--replay SEED]`
//!
//! `--figures` counts what following Planner costs, in virtual time, and fails unless the demands hold.
//!
//! With `--features mutants`, `--mutants` switches seeded bugs on, one after another and in pairs, and fails unless each is
//! caught.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::pedantic,
    missing_docs
)]

mod check;
mod exec;
mod faults;
mod figures;
mod history;
#[cfg(feature = "mutants")]
mod mutants;
mod tables;
mod truth;
mod world;

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

/// A fifth of the time goes into small allocations.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Histories of a plain `cargo test`.
const HISTORIES: u64 = 20_000;
/// Seeds that once failed; they run first, for ever.
const REGRESSIONS: &str = include_str!("regressions.txt");

#[derive(Default)]
struct Total {
    failed: Vec<(u64, usize, String)>,
    kinds: BTreeMap<String, (u64, u64)>,
    seen: BTreeMap<&'static str, u64>,
    steps: u64,
    twice: u64,
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let number = |name: &str| {
        let at = arguments.iter().position(|argument| argument == name)?;
        Some(arguments.get(at + 1)?.parse::<u64>().expect("a number"))
    };
    if arguments.iter().any(|argument| argument == "--list") {
        return;
    }
    // Every fourth history has two instances, unless an option says otherwise.
    let given = number("--instances");
    let instances = |seed: u64| given.map_or(if seed.is_multiple_of(4) { 2 } else { 1 }, |given| given as usize);
    if let Some(seed) = number("--replay") {
        let report = history::run(seed, instances(seed), true);
        println!("{}", report.trace.join("\n"));
        println!("seed {seed}: hash {:016x}, {} steps", report.hash, report.steps);
        for breach in &report.breaches {
            println!("VIOLATION {breach}");
        }
        std::process::exit(i32::from(!report.breaches.is_empty()));
    }
    if arguments.iter().any(|argument| argument == "--figures") {
        std::process::exit(figures::run());
    }
    let first = number("--seed").unwrap_or(1);
    if arguments.iter().any(|argument| argument == "--mutants") {
        #[cfg(feature = "mutants")]
        std::process::exit(mutants::run(first, number("--histories").unwrap_or(300_000)));
        #[cfg(not(feature = "mutants"))]
        panic!("the seeded bugs are compiled in with `--features mutants` only");
    }
    let histories = number("--histories").unwrap_or(HISTORIES);
    let kept: Vec<(u64, usize)> = REGRESSIONS
        .lines()
        .filter(|line| !line.starts_with('#'))
        .filter_map(|line| {
            let mut words = line.split_whitespace();
            let instances = words.next()?.parse().ok()?;
            Some((words.next()?.parse().ok()?, instances))
        })
        .collect();
    let total = Mutex::new(Total::default());
    let next = AtomicU64::new(0);
    let started = std::time::Instant::now();
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let index = next.fetch_add(1, Ordering::Relaxed);
                    if index >= histories + kept.len() as u64 {
                        return;
                    }
                    let (seed, instances) = kept.get(index as usize).copied().unwrap_or_else(|| {
                        let seed = first + index - kept.len() as u64;
                        (seed, instances(seed))
                    });
                    one(seed, index, instances, &total);
                }
            });
        }
    });
    let total = total.into_inner().unwrap();
    let seconds = started.elapsed().as_secs_f64();
    println!(
        "{histories} histories from seed {first} and {} kept ones in {seconds:.1} s: {:.0}/s, {} steps each, {} run twice",
        kept.len(),
        (histories + kept.len() as u64) as f64 / seconds,
        total.steps / (histories + kept.len() as u64).max(1),
        total.twice,
    );
    for (what, count) in &total.seen {
        println!("{count:>9}  {what}");
    }
    if total.failed.is_empty() {
        println!("0 violations");
        return;
    }
    for (kind, (count, seed)) in &total.kinds {
        println!("{count:>9} x {kind} (seed {seed})");
    }
    println!("{} violations; the first:", total.failed.len());
    for (seed, instances, breach) in total.failed.iter().take(10) {
        println!("  --instances {instances} --replay {seed}  {breach}");
    }
    std::process::exit(1);
}

fn one(seed: u64, index: u64, instances: usize, total: &Mutex<Total>) {
    let report = history::run(seed, instances, false);
    let again = index.is_multiple_of(100).then(|| history::run(seed, instances, false));
    let mut total = total.lock().unwrap();
    total.steps += report.steps;
    for (what, count) in report.seen {
        *total.seen.entry(what).or_insert(0) += count;
    }
    for breach in report.breaches {
        let kind: String = breach
            .split_whitespace()
            .filter(|word| !word.chars().any(|c| c.is_ascii_digit()) || word.starts_with("I-"))
            .take(8)
            .collect::<Vec<_>>()
            .join(" ");
        let kind = total.kinds.entry(kind).or_insert((0, seed));
        kind.0 += 1;
        total.failed.push((seed, instances, breach));
    }
    if let Some(again) = again {
        total.twice += 1;
        if again.hash != report.hash {
            total.failed.push((seed, instances, "the same seed ran differently the second time".into()));
        }
    }
}
