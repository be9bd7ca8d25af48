//! What GraphGate adds to a call of Graph when the caller insists on asking Planner.

use std::time::Instant;

use anyhow::{Context as _, ensure};
use serde_json::{Value, json};

use crate::Effort;
use crate::cores::Cores;
use crate::http::{Connection, Request};
use crate::report::{Figure, median, ms};
use crate::stack::{PLAN, Server, Tenant};

/// Measures `query_tasks` with `fresh: true` and the listing of the same plan's tasks by Graph in turns.
pub async fn run(effort: Effort) -> anyhow::Result<Vec<Figure>> {
    let tenant = Tenant::start("demo", Cores::All)?;
    let server = Server::start(&tenant, Cores::All)?;
    server.warm_up().await?;
    let mut ours = server.connect().await?;
    let plans = ours.call("list_plans", &json!({})).await?;
    let mut listed = plans.get("plans").and_then(Value::as_array).into_iter().flatten();
    let plan = listed.find(|plan| plan.get("title").and_then(Value::as_str) == Some(PLAN));
    let plan = plan.and_then(|plan| plan.get("id")?.as_str()).context("the plan is not listed")?;
    let headers = format!("authorization: Bearer {}\r\n", tenant.token().await?);
    let listing = Request::new("GET", &format!("/v1.0/planner/plans/{plan}/tasks"), &headers, None);
    let mut graph = Connection::open(tenant.address()).await?;
    tenant.delay(100).await?;
    let (mut fresh, mut raw) = (Vec::new(), Vec::new());
    for _ in 0..effort.of(41, 11) {
        let started = Instant::now();
        let (status, _) = graph.send(&listing).await?;
        raw.push(ms(started.elapsed()));
        ensure!(status == 200, "Graph answers {status}");
        let started = Instant::now();
        ours.call("query_tasks", &json!({ "plan_id": PLAN, "fresh": true })).await?;
        fresh.push(ms(started.elapsed()));
    }
    let (fresh, raw) = (median(&fresh), median(&raw));
    let name = "`query_tasks` with `fresh: true` ÷ raw Graph call at 100 ms, p50";
    Ok(vec![Figure::at_most(name, 1.15, fresh / raw, "").noting(&format!("{fresh:.1} ms ÷ {raw:.1} ms"))])
}
