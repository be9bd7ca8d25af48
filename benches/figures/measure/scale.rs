//! How cost grows with the tenant: the same questions on tenants of five sizes, first with an empty store, then with a
//! full one and a slow Graph.

use std::time::{Duration, Instant};

use anyhow::Context as _;
use serde_json::{Value, json};

use crate::Effort;
use crate::cores::Cores;
use crate::http::{Connection, Request};
use crate::load::{self, Until};
use crate::process::Folder;
use crate::report::{Figure, median, ms, table};
use crate::stack::{Server, Tenant};

/// A tenant: its letter, what it holds, and how many tasks that are.
struct Size {
    letter: char,
    scenario: &'static str,
    plans: usize,
    tasks: usize,
}

const SIZES: [Size; 5] = [
    Size { letter: 'a', scenario: "plans=20,tasks=200", plans: 20, tasks: 200 },
    Size { letter: 'b', scenario: "plans=200,tasks=200", plans: 200, tasks: 200 },
    Size { letter: 'c', scenario: "plans=1000,tasks=200", plans: 1_000, tasks: 200 },
    Size { letter: 'd', scenario: "plans=50,tasks=9000", plans: 50, tasks: 9_000 },
    Size { letter: 'e', scenario: "plans=300,tasks=200,groups=5000,people=10000", plans: 300, tasks: 200 },
];
/// Latency of Graph when everything is known already, in ms.
const SLOW: u64 = 250;
/// Latency of Graph while tasks are created, in ms.
const USUAL: u64 = 100;
/// Clients that create tasks at once.
const CLIENTS: usize = 64;
/// Longest time in which everything must have been read.
const PATIENCE: Duration = Duration::from_mins(10);

/// Measures the sizes: all of them, or the two smallest.
pub async fn run(effort: Effort) -> anyhow::Result<Vec<Figure>> {
    let mut figures = Vec::new();
    for size in SIZES.iter().take(effort.of(SIZES.len(), 2)) {
        eprintln!("  {}: {}", size.letter, size.scenario);
        let measured = measure(size, effort).await.with_context(|| format!("size {}", size.letter))?;
        eprint!("{}", table(&measured)); // the next size takes minutes
        figures.extend(measured);
    }
    Ok(figures)
}

async fn measure(size: &Size, effort: Effort) -> anyhow::Result<Vec<Figure>> {
    let tenant = Tenant::start(size.scenario, Cores::All)?;
    tenant
        .control(
            "PUT",
            "limits",
            Some(&json!({ "MaximumTasksInProject": 100_000, "MaximumActiveTasksInProject": 100_000 })),
        )
        .await?;
    let folder = Folder::new()?;
    let data = folder.join("data").display().to_string();
    let start = || Server::start_with(&tenant, &["--port", "0"], &[("DATA_DIR", data.clone())]);
    let named = |what: &str| format!("{}: {what}", size.letter);
    #[allow(clippy::cast_precision_loss)] // less than a million tasks
    let all = (size.plans * size.tasks) as f64;
    let mut figures = Vec::new();

    let server = start()?;
    let mut connection = server.connect().await?;
    let before = calls(&tenant).await?;
    let began = Instant::now();
    connection.call("list_plans", &json!({})).await?;
    let listed = calls(&tenant).await? - before;
    figures.push(
        Figure::shown(&named("`list_plans`, first"), ms(began.elapsed()), "ms").noting(&format!("{listed} calls")),
    );
    let (before, cpu) = (calls(&tenant).await?, server.process.cpu()?);
    let first = Instant::now();
    until_whole(&mut connection).await?;
    let (took, read) = (ms(first.elapsed()) / 1_000.0, calls(&tenant).await? - before);
    figures.push(
        Figure::shown(&named("`query_tasks` of all plans until nothing is missing, empty store"), took, "s")
            .noting(&format!("{read} calls")),
    );
    let per_task = (server.process.cpu()? - cpu) / all;
    figures.push(Figure::at_most(&named("CPU of a task read for the first time"), 15.0, per_task, "µs"));
    figures.push(Figure::shown(
        &named("`query_tasks` of all plans, everything in memory"),
        warm(&mut connection, effort).await?,
        "ms",
    ));
    figures.push(Figure::at_most(
        &named("resident memory once everything was asked for"),
        256.0,
        server.process.resident()?,
        "MB",
    ));
    let (created, bytes, hits) = creates(&tenant, &server, effort).await?;
    figures.push(Figure::at_least(&named("`create_task`, 64 clients, Graph at 100 ms"), 400.0, created.rate(), "/s"));
    figures.push(Figure::at_most(&named("the same, p90"), 400.0, created.latency(0.9), "ms"));
    figures.push(Figure::at_most(&named("written to disk for each created task"), 20.0, bytes / 1_000.0, "kB"));
    figures.push(Figure::at_least(&named("reads answered without asking, of all caches"), 0.8, hits, ""));
    drop(server);

    tenant.delay(SLOW).await?;
    let server = start()?;
    let mut connection = server.connect().await?;
    let began = Instant::now();
    let answer = connection.call("query_tasks", &json!({ "limit": 20 })).await?;
    let took = ms(began.elapsed()) / 1_000.0;
    let total = answer.get("total").and_then(Value::as_f64).unwrap_or_default();
    anyhow::ensure!(total >= all, "only {total} of {all} tasks are known");
    figures.push(Figure::at_most(
        &named("`query_tasks` of all plans from a full store, Graph at 250 ms"),
        3.0,
        took,
        "s",
    ));
    tenant.delay(0).await?;
    Ok(figures)
}

/// Asks until the answer lacks no plan.
async fn until_whole(connection: &mut Connection) -> anyhow::Result<()> {
    let began = Instant::now();
    loop {
        let answer = connection.call("query_tasks", &json!({ "limit": 20 })).await?;
        let note = answer.get("note").and_then(Value::as_str).unwrap_or_default();
        if !note.contains("missing") {
            return Ok(());
        }
        anyhow::ensure!(began.elapsed() < PATIENCE, "not all plans are read: {note}");
    }
}

async fn warm(connection: &mut Connection, effort: Effort) -> anyhow::Result<f64> {
    let mut took = Vec::new();
    for _ in 0..effort.of(9, 3) {
        let began = Instant::now();
        connection.call("query_tasks", &json!({ "limit": 20 })).await?;
        took.push(ms(began.elapsed()));
    }
    Ok(median(&took))
}

/// Creates tasks in all plans in turn; answers what it took, the bytes written for each, and how many reads of all caches
/// were answered without asking.
async fn creates(tenant: &Tenant, server: &Server, effort: Effort) -> anyhow::Result<(load::Outcome, f64, f64)> {
    tenant.delay(USUAL).await?;
    let listed = server.connect().await?.call("list_plans", &json!({})).await?;
    let plans: Vec<String> = listed
        .get("plans")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .filter_map(|plan| Some(plan.get("id")?.as_str()?.to_owned()))
        .collect();
    anyhow::ensure!(!plans.is_empty(), "there are no plans");
    let count = effort.of(4_000, 400);
    let written = server.process.written()?;
    let next = |number: usize| {
        let plan = &plans[number % plans.len()];
        Request::tool("create_task", &json!({ "plan_id": plan, "title": format!("Made {number}") }))
    };
    let outcome = load::run(&server.address, CLIENTS, Until::Calls(count), next).await?;
    anyhow::ensure!(outcome.errors == 0, "{} failed: {:?}", outcome.errors, outcome.first_error);
    #[allow(clippy::cast_precision_loss)] // some thousands
    let bytes = (server.process.written()? - written) / count as f64;
    tenant.delay(0).await?;
    let request = Request::new("GET", "/metrics", "", None);
    let mut connection = server.connect().await?;
    let (_, page) = connection.send(&request).await?;
    let page = String::from_utf8_lossy(page);
    let line = page.lines().find(|line| line.starts_with("graphgate_cache_hit_ratio")).context("no ratio")?;
    let hits = line.rsplit(' ').next().unwrap_or_default().parse()?;
    Ok((outcome, bytes, hits))
}

/// Calls the tenant has had.
async fn calls(tenant: &Tenant) -> anyhow::Result<u64> {
    let stats = tenant.control("GET", "stats", None).await?;
    stats.get("calls").and_then(Value::as_u64).context("no count of calls")
}
