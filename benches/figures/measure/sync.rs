//! Both ways between the replica and Planner: how soon a write is there, what a refresh of a large plan costs, and what a
//! read after a write takes within the process.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use graphgate::clock::Clock;
use graphgate::ids::{Entropy, PlanId, PlanKey, TaskId};
use graphgate::rows::{StoreError, TenantTables};
use graphgate::store::EmbeddedTables;
use graphgate::sync::journal::{self, Edit};
use graphgate::sync::model::{Few, TaskFields};
use graphgate::sync::{PlanHandle, Replica};
use serde_json::{Value, json};

use super::cold::multiply;
use crate::Effort;
use crate::cores::Cores;
use crate::process::Folder;
use crate::report::{Figure, median, ms, quantile};
use crate::stack::{PLAN, Server, Tenant};

/// Tasks of the large plan.
const MANY: usize = 5_000;

/// Measures.
pub async fn run(effort: Effort) -> anyhow::Result<Vec<Figure>> {
    let mut figures = writes(effort).await?;
    figures.extend(reads(effort).await?);
    figures.extend(large_plan().await?);
    Ok(figures)
}

/// A write is on Planner when its tool answers `synced`.
async fn writes(effort: Effort) -> anyhow::Result<Vec<Figure>> {
    let tenant = Tenant::start("demo", Cores::All)?;
    let server = Server::start(&tenant, Cores::All)?;
    server.warm_up().await?;
    tenant.delay(100).await?;
    let mut connection = server.connect().await?;
    let (mut created, mut updated) = (Vec::new(), Vec::new());
    for number in 0..effort.of(100, 20) {
        let started = Instant::now();
        let made =
            connection.call("create_task", &json!({"plan_id": PLAN, "title": format!("Measured {number}")})).await?;
        created.push(ms(started.elapsed()));
        anyhow::ensure!(made.get("sync").and_then(Value::as_str) == Some("synced"), "{made}");
        let id = made.get("id").context("no id")?;
        let started = Instant::now();
        let done = connection.call("update_task", &json!({"task_id": id, "status": "completed"})).await?;
        updated.push(ms(started.elapsed()));
        anyhow::ensure!(done.get("sync").and_then(Value::as_str) == Some("synced"), "{done}");
    }
    Ok(vec![
        Figure::at_most("a created task is on Planner, Graph at 100 ms, p95", 1_000.0, quantile(&created, 0.95), "ms"),
        Figure::at_most("an update is on Planner, Graph at 100 ms, p95", 1_000.0, quantile(&updated, 0.95), "ms"),
    ])
}

/// What a read after a write takes in the process: one point read of the plan's version row, and memory.
async fn reads(effort: Effort) -> anyhow::Result<Vec<Figure>> {
    let folder = Folder::new()?;
    let tables = TenantTables::new(Arc::new(EmbeddedTables::open(&folder.join("store"))?), "tenant");
    let (clock, entropy) = (Clock::system(), Entropy::system());
    let id = PlanId::parse("plan000000000000000000000000").context("no plan id")?;
    let key = PlanKey::derive(&id, 0);
    let plan = PlanHandle::new(&tables, id, key.clone(), clock.clone(), "only".to_owned());
    let (mut written, mut read) = (Vec::new(), Vec::new());
    for number in 0..effort.of(500, 100) {
        let task = TaskId::random(&key, &entropy);
        let edit =
            Edit { operation: entropy.ulid(clock.now()), at: clock.now(), by: "figures".to_owned(), rows: Vec::new() };
        let started = Instant::now();
        plan.transact(|_: &Replica| {
            Ok::<_, StoreError>((journal::create(task.clone(), fields(number), edit.clone()), ()))
        })
        .await?;
        written.push(ms(started.elapsed()));
        let started = Instant::now();
        plan.ensure_current().await?;
        let found = plan.read().task(&task).map(|record| record.fields.title.clone());
        read.push(ms(started.elapsed()));
        anyhow::ensure!(found.is_some(), "what was written is read");
    }
    Ok(vec![
        Figure::at_most("a read after a write, in process, p95", 1.0, quantile(&read, 0.95), "ms"),
        Figure::shown("a journalled write, in process, on this disk, p50", median(&written), "ms"),
    ])
}

fn fields(number: usize) -> TaskFields {
    TaskFields {
        title: format!("Task {number}"),
        bucket: None,
        percent_complete: 0,
        priority: 5,
        start: None,
        due: None,
        assignees: Few::new(),
        categories: Few::new(),
        details: Some(Box::default()),
    }
}

/// A plan of 5,000 tasks: the first pass, and one that finds nothing new.
async fn large_plan() -> anyhow::Result<Vec<Figure>> {
    let demo = Tenant::start("demo", Cores::All)?;
    let mut snapshot = demo.control("GET", "snapshot", None).await?;
    drop(demo);
    multiply(&mut snapshot, MANY)?;
    let folder = Folder::new()?;
    let file = folder.join("large.json");
    std::fs::write(&file, snapshot.to_string())?;
    let tenant = Tenant::start(&file.display().to_string(), Cores::All)?;
    tenant.delay(50).await?;
    let server = Server::start_with(&tenant, &["--port", "0"], &[("REFRESH_SECONDS", "0".to_owned())])?;
    let mut connection = server.connect().await?;
    let started = Instant::now();
    let answer = connection.call("query_tasks", &json!({"plan_id": PLAN})).await?;
    let full = started.elapsed();
    anyhow::ensure!(answer.get("total").and_then(Value::as_u64) == Some(MANY as u64), "not all tasks are known");
    Clock::system().sleep(Duration::from_millis(500)).await; // until what the first query set off is done
    tenant.control("DELETE", "stats", None).await?;
    connection.call("query_tasks", &json!({"plan_id": PLAN, "fresh": true, "limit": 1})).await?;
    let stats = tenant.control("GET", "stats", None).await?;
    let operations = stats.get("by_operation").and_then(Value::as_object).context("no calls by operation")?;
    let count = |reads: bool| -> u64 {
        let wanted = operations.iter().filter(|(name, _)| name.starts_with("GET ") == reads);
        wanted
            .filter_map(|(_, by_status)| by_status.as_object())
            .flatten()
            .filter_map(|(_, count)| count.as_u64())
            .sum()
    };
    let (listings, writes) = (count(true), count(false));
    #[allow(clippy::cast_precision_loss)] // some dozen calls
    let (pages, calls, writes) = (MANY.div_ceil(400) as f64, listings as f64, writes as f64);
    Ok(vec![
        Figure::at_most("first pass over a plan of 5000 tasks at 50 ms a Graph call", 60.0, full.as_secs_f64(), "s"),
        Figure::at_most("calls of a pass that finds nothing new: one listing, in pages of 400", pages, calls, ""),
        Figure::at_most("writes of such a pass", 0.0, writes, ""),
    ])
}
