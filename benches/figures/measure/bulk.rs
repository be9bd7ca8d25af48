//! Two hundred tasks in one call.

use std::time::Instant;

use anyhow::ensure;
use serde_json::{Value, json};

use crate::Effort;
use crate::cores::Cores;
use crate::report::{Figure, median, ms};
use crate::stack::{PLAN, Server, Tenant};

const TASKS: u64 = 200;

/// Measures `bulk_create_tasks` while every call of Graph takes 100 ms.
pub async fn run(effort: Effort) -> anyhow::Result<Vec<Figure>> {
    let tenant = Tenant::start("demo", Cores::All)?;
    let server = Server::start(&tenant, Cores::All)?;
    server.warm_up().await?;
    tenant.delay(100).await?;
    let mut connection = server.connect().await?;
    let (mut took, mut concurrency, mut batches) = (Vec::new(), 0, 0);
    let runs = effort.of(5, 1);
    for run in 0..runs {
        tenant.control("DELETE", "stats", None).await?;
        let tasks: Vec<Value> = (0..TASKS)
            .map(|number| json!({ "title": format!("Run {run}: step {number}"), "bucket_id": "Ideas" }))
            .collect();
        let started = Instant::now();
        let receipt = connection.call("bulk_create_tasks", &json!({ "plan_id": PLAN, "tasks": tasks })).await?;
        took.push(ms(started.elapsed()));
        let synced = receipt.get("synced").and_then(Value::as_u64);
        ensure!(
            synced == Some(TASKS),
            "{synced:?} of {TASKS} are in Planner: {}",
            receipt.get("attention").unwrap_or(&receipt)
        );
        let stats = tenant.control("GET", "stats", None).await?;
        concurrency = concurrency.max(stats.get("max_concurrency").and_then(Value::as_u64).unwrap_or_default());
        batches =
            batches.max(stats.pointer("/by_operation/POST ~1$batch/200").and_then(Value::as_u64).unwrap_or_default());
    }
    let median = median(&took) / 1_000.0;
    #[allow(clippy::cast_precision_loss)] // a handful
    let concurrency = Figure::shown("calls of Graph in flight at once meanwhile, most", concurrency as f64, "");
    Ok(vec![
        Figure::at_most("`bulk_create_tasks` of 200 at 100 ms a Graph call", 2.5, median, "s")
            .noting(&format!("median of {runs}, {batches} batches")),
        concurrency,
    ])
}
