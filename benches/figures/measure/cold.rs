//! The first query of a plan after a start, which fetches the plan from Planner, and what later ones take.

use std::time::Instant;

use anyhow::Context as _;
use serde_json::{Map, Value, json};

use crate::Effort;
use crate::cores::Cores;
use crate::http::Request;
use crate::load::{self, Until};
use crate::process::Folder;
use crate::report::{Figure, median, ms};
use crate::stack::{PLAN, Server, Tenant};

/// Tasks of the large plan: Planner's limit.
const MANY: usize = 9_000;
/// Where the simulator's snapshot keeps tasks and their details.
const TASKS: &str = "/planner/3/rows";
const DETAILS: &str = "/planner/4/rows";

/// Measures plans of 200 and of 9,000 tasks.
pub async fn run(effort: Effort) -> anyhow::Result<Vec<Figure>> {
    let demo = Tenant::start("demo", Cores::All)?;
    let mut figures = first_queries(&demo, 200, effort).await?;
    let mut snapshot = demo.control("GET", "snapshot", None).await?;
    drop(demo);
    multiply(&mut snapshot, MANY)?;
    let folder = Folder::new()?;
    let file = folder.join("large.json");
    std::fs::write(&file, snapshot.to_string())?;
    let large = Tenant::start(&file.display().to_string(), Cores::All)?;
    figures.extend(first_queries(&large, MANY, effort).await?);
    Ok(figures)
}

async fn first_queries(tenant: &Tenant, tasks: usize, effort: Effort) -> anyhow::Result<Vec<Figure>> {
    let arguments = json!({ "plan_id": PLAN });
    let (mut cold, mut warm) = (Vec::new(), Vec::new());
    for _ in 0..effort.of(5, 3) {
        let server = Server::start(tenant, Cores::All)?;
        let mut connection = server.connect().await?;
        let started = Instant::now();
        let answer = connection.call("query_tasks", &arguments).await?;
        cold.push(ms(started.elapsed()));
        let total = answer.get("total").and_then(Value::as_u64);
        anyhow::ensure!(total == Some(tasks as u64), "{total:?} tasks instead of {tasks}");
        let request = Request::tool("query_tasks", &arguments);
        warm.push(load::run(&server.address, 1, Until::Calls(50), |_| request.clone()).await?.latency(0.5));
    }
    Ok(vec![
        Figure::shown(&format!("first query of a plan of {tasks} tasks after start"), median(&cold), "ms")
            .noting("token, catalogue, people and plan are fetched"),
        Figure::shown(&format!("`query_tasks` warm, plan of {tasks} tasks, p50"), median(&warm), "ms"),
    ])
}

/// Copies the plan's tasks until there are so many.
pub fn multiply(snapshot: &mut Value, many: usize) -> anyhow::Result<()> {
    let rows = |snapshot: &Value, place: &str| snapshot.pointer(place).and_then(Value::as_object).cloned();
    let plans = rows(snapshot, "/planner/0/rows").context("no plans")?;
    let is_plan = |row: &&Value| row.pointer("/text/title").and_then(Value::as_str) == Some(PLAN);
    let plan = plans.iter().find(|(_, row)| is_plan(row)).map(|(id, _)| id.clone()).context("no plan")?;
    let details = rows(snapshot, DETAILS).context("no details")?;
    let all = rows(snapshot, TASKS).context("no tasks")?;
    let own: Vec<(&String, &Value)> = all.iter().filter(|(_, row)| row.get("parent") == Some(&json!(plan))).collect();
    let mut order = snapshot.get("order").and_then(Value::as_u64).unwrap_or_default();
    let (mut more, mut more_details) = (Map::new(), Map::new());
    for number in 0..many - own.len() {
        let (id, row) = own.get(number % own.len()).context("an empty plan")?;
        let copy = format!("{number:05}{}", id.get(5..).unwrap_or_default());
        order += 1;
        more.insert(copy.clone(), copied(row, &copy, order));
        if let Some(row) = details.get(*id) {
            more_details.insert(copy.clone(), copied(row, &copy, order));
        }
    }
    for (place, rows) in [(TASKS, more), (DETAILS, more_details)] {
        snapshot.pointer_mut(place).and_then(Value::as_object_mut).context("no table")?.extend(rows);
    }
    snapshot["order"] = order.into();
    Ok(())
}

fn copied(row: &Value, id: &str, order: u64) -> Value {
    let mut row = row.clone();
    row["text"]["id"] = id.into();
    row["order"] = order.into();
    row
}
