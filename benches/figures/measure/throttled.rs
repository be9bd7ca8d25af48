//! Calls of tools while Graph refuses every second call with 429 and counts those that come back too early.

use std::time::Duration;

use anyhow::Context as _;
use serde_json::{Value, json};

use crate::Effort;
use crate::cores::Cores;
use crate::http::Request;
use crate::load::{self, Until};
use crate::report::Figure;
use crate::stack::{PLAN, Server, Tenant};

const CLIENTS: usize = 16;
/// Beyond this the load is given up.
const LIMIT: Duration = Duration::from_mins(10);

/// Measures 1,000 calls: 70 % queries, 20 % reads and changes of one task, 10 % queries that insist on Planner.
pub async fn run(effort: Effort) -> anyhow::Result<Vec<Figure>> {
    let tenant = Tenant::start("demo", Cores::All)?;
    let server = Server::start(&tenant, Cores::All)?;
    let answer = server.warm_up().await?;
    let rows = answer.get("rows").and_then(Value::as_array).context("no rows")?;
    let tasks: Vec<&str> = rows.iter().filter_map(|row| row.get(0)?.as_str()).collect();
    tenant.control("DELETE", "stats", None).await?;
    let rule = json!({ "every_nth": 2, "kind": "status", "status": 429, "retry_after": 1 });
    tenant.control("PUT", "faults", Some(&json!({ "rules": [rule], "punish_early": true }))).await?;
    let next = |number: usize| {
        let task = tasks.get(number % tasks.len()).copied().unwrap_or_default();
        match number % 10 {
            0 => Request::tool("query_tasks", &json!({ "plan_id": PLAN, "fresh": true })),
            3 => Request::tool("get_task", &json!({ "task_id": task })),
            6 => Request::tool("update_task", &json!({ "task_id": task, "percent_complete": number % 100 })),
            _ => Request::tool("query_tasks", &json!({ "plan_id": PLAN })),
        }
    };
    let count = effort.of(1_000, 200);
    let load = load::run(&server.address, CLIENTS, Until::Calls(count), next);
    let outcome = tokio::time::timeout(LIMIT, load).await.context("the calls are not answered in time")??;
    let stats = tenant.control("GET", "stats", None).await?;
    let early = stats.get("early_calls").and_then(Value::as_u64).unwrap_or_default();
    let refused: u64 = stats
        .get("by_operation")
        .and_then(Value::as_object)
        .into_iter()
        .flatten()
        .filter_map(|(_, statuses)| statuses.get("429")?.as_u64())
        .sum();
    let note = format!(
        "{} refusals, {:.0} s, p99 {:.1} s{}",
        refused,
        outcome.elapsed.as_secs_f64(),
        outcome.latency(0.99) / 1_000.0,
        outcome.first_error.as_ref().map(|error| format!("; {error}")).unwrap_or_default(),
    );
    #[allow(clippy::cast_precision_loss)] // some hundreds
    Ok(vec![
        Figure::at_most(
            &format!("every second Graph call 429: tool calls of {count} that fail"),
            0.0,
            outcome.errors as f64,
            "",
        )
        .noting(&note),
        Figure::at_most("every second Graph call 429: calls before `Retry-After`", 0.0, early as f64, ""),
    ])
}
