//! Resident memory: at rest, under 100 clients, and whether it grows with the number of calls.

use std::time::Duration;

use anyhow::{Context as _, ensure};
use serde_json::{Value, json};

use crate::Effort;
use crate::cores::Cores;
use crate::http::Request;
use crate::load::{self, Until};
use crate::report::Figure;
use crate::stack::{PLAN, Server, Tenant};

/// How long a process is left alone before its memory is read.
const REST: Duration = Duration::from_secs(1);

/// Measures `serve` and `dev`.
pub async fn run(effort: Effort) -> anyhow::Result<Vec<Figure>> {
    let dev = Server::dev(Cores::All)?;
    std::thread::sleep(REST);
    let dev_at_rest = dev.process.resident()?;
    drop(dev);

    let tenant = Tenant::start("demo", Cores::All)?;
    let server = Server::start(&tenant, Cores::All)?;
    std::thread::sleep(REST);
    let at_rest = server.process.resident()?;

    let answer = server.warm_up().await?;
    let task = answer.pointer("/rows/0/0").and_then(Value::as_str).context("the plan has no task")?.to_owned();
    server.process.forget_peak()?;
    calls(&server, 100, effort.of(5_000, 1_000), &task).await?;
    let peak = server.process.peak()?;

    calls(&server, 16, effort.of(5_000, 1_000), &task).await?; // what 100 clients left behind is used again here
    let before = server.process.resident()?;
    let count = effort.of(10_000, 2_000);
    calls(&server, 16, count, &task).await?;
    let growth = server.process.resident()? - before;
    Ok(vec![
        Figure::at_most("resident memory after start, `serve`", 30.0, at_rest, "MB"),
        Figure::at_most("resident memory after start, `dev`", 50.0, dev_at_rest, "MB"),
        Figure::at_most("resident memory under 100 clients, peak", 60.0, peak, "MB"),
        Figure::at_most(&format!("growth over {count} calls after warm-up"), 2.0, growth, "MB")
            .noting(&format!("from {before:.1} MB")),
    ])
}

/// Reading calls of four kinds, mostly of tasks.
async fn calls(server: &Server, clients: usize, count: usize, task: &str) -> anyhow::Result<()> {
    let kinds = [
        Request::tool("query_tasks", &json!({ "plan_id": PLAN })),
        Request::tool("query_tasks", &json!({ "plan_id": PLAN, "status": "open", "format": "json" })),
        Request::tool("get_plan", &json!({ "plan_id": PLAN })),
        Request::tool("get_task", &json!({ "task_id": task })),
        Request::tool("list_plans", &json!({})),
    ];
    let next = |number: usize| kinds.get(number % kinds.len()).unwrap_or(&kinds[0]).clone();
    let outcome = load::run(&server.address, clients, Until::Calls(count), next).await?;
    ensure!(outcome.errors == 0, "{} calls failed: {:?}", outcome.errors, outcome.first_error);
    Ok(())
}
