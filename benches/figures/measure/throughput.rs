//! `query_tasks` from the warm replica against a tool on the same stack that has its answer ready.
//!
//! The server has a core for itself, load and tenant share the rest. Both servers take turns, so that anything else
//! the machine does meets both alike.

use std::time::Duration;

use serde_json::json;

use crate::Effort;
use crate::cores::{Confined, Cores, can_pin};
use crate::http::Request;
use crate::load::{self, Outcome, Until};
use crate::process::{Folder, Process};
use crate::report::{Figure, median};
use crate::stack::{PLAN, Server, Tenant};

/// Measures with 16 and with 100 clients.
pub async fn run(effort: Effort) -> anyhow::Result<Vec<Figure>> {
    let _confined = Confined::to_rest();
    let tenant = Tenant::start("demo", Cores::Rest)?;
    let server = Server::start(&tenant, Cores::Server)?;
    let answer = server.warm_up().await?;
    let folder = Folder::new()?;
    let file = folder.join("answer.json");
    std::fs::write(&file, answer.to_string())?;
    let arguments = ["--no-op", &file.display().to_string()];
    let no_op = Server::of(Process::ready(&std::env::current_exe()?, &arguments, &[], Cores::Server)?)?;

    let request = Request::tool("query_tasks", &json!({ "plan_id": PLAN }));
    let (rounds, time) = (effort.of(5, 3), Duration::from_millis(effort.of(2_000, 1_000) as u64));
    let mut figures = Vec::new();
    for clients in [16, 100] {
        let load = async |server: &Server, time| {
            load::run(&server.address, clients, Until::Time(time), |_| request.clone()).await
        };
        load(&server, Duration::from_millis(500)).await?;
        load(&no_op, Duration::from_millis(500)).await?;
        let (mut ours, mut theirs) = (Vec::new(), Vec::new());
        for _ in 0..rounds {
            ours.push(load(&server, time).await?);
            theirs.push(load(&no_op, time).await?);
        }
        figures.extend(judge(clients, &ours, &theirs));
    }
    let one = load::run(&server.address, 1, Until::Calls(effort.of(500, 100)), |_| request.clone()).await?;
    figures.push(Figure::shown("`query_tasks` warm, one client, p50", one.latency(0.5), "ms"));
    Ok(figures)
}

fn judge(clients: usize, ours: &[Outcome], theirs: &[Outcome]) -> Vec<Figure> {
    let rates = |runs: &[Outcome]| runs.iter().map(Outcome::rate).collect::<Vec<_>>();
    let of = |share: f64| median(&ours.iter().map(|run| run.latency(share)).collect::<Vec<_>>());
    let (rate, bare) = (median(&rates(ours)), median(&rates(theirs)));
    let errors: usize = ours.iter().chain(theirs).map(|run| run.errors).sum();
    let first = ours.iter().chain(theirs).find_map(|run| run.first_error.clone()).unwrap_or_default();
    let pinned = if can_pin() { "" } else { "; cores are shared" };
    #[allow(clippy::cast_precision_loss)] // a handful
    let errors = Figure::at_most(&format!("`query_tasks`, {clients} clients, errors"), 0.0, errors as f64, "");
    vec![
        Figure::at_least(
            &format!("`query_tasks` over 200 tasks ÷ no-op tool, {clients} clients"),
            0.5,
            rate / bare,
            "",
        )
        .noting(&format!("{rate:.0}/s ÷ {bare:.0}/s{pinned}")),
        Figure::shown(&format!("`query_tasks`, {clients} clients, one core"), rate, "calls/s").noting(&format!(
            "p50 {:.1} ms, p99 {:.1} ms",
            of(0.5),
            of(0.99)
        )),
        if first.is_empty() { errors } else { errors.noting(&first) },
    ]
}
