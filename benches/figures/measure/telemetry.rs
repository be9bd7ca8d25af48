//! What the export of spans and metrics costs while the collector hangs: the same calls with it and without it.
//!
//! Both servers have one core between them and are called in turns, in an order that changes with every round, so that
//! what else the machine does meets both alike.

use serde_json::json;

use crate::Effort;
use crate::cores::{Confined, Cores, can_pin};
use crate::http::Request;
use crate::load::{self, Outcome, Until};
use crate::report::{Figure, median};
use crate::stack::{PLAN, Server, Tenant};

const CLIENTS: usize = 16;

/// A server, and what it did.
struct Measured {
    server: Server,
    rounds: Vec<Outcome>,
    /// Microseconds of a core it took for them.
    cpu: f64,
}

impl Measured {
    async fn start(tenant: &Tenant, settings: &[(&'static str, String)]) -> anyhow::Result<Self> {
        let server = Server::start_on(tenant, Cores::Server, settings)?;
        server.warm_up().await?;
        Ok(Self { server, rounds: Vec::new(), cpu: 0.0 })
    }

    async fn round(&mut self, calls: usize) -> anyhow::Result<()> {
        let request = Request::tool("query_tasks", &json!({ "plan_id": PLAN }));
        let before = self.server.process.cpu()?;
        let outcome = load::run(&self.server.address, CLIENTS, Until::Calls(calls), |_| request.clone()).await?;
        self.cpu += self.server.process.cpu()? - before;
        self.rounds.push(outcome);
        Ok(())
    }

    fn rates(&self) -> Vec<f64> {
        self.rounds.iter().map(Outcome::rate).collect()
    }
}

/// Measures 10,000 calls of each.
pub async fn run(effort: Effort) -> anyhow::Result<Vec<Figure>> {
    let _confined = Confined::to_rest();
    let tenant = Tenant::start("demo", Cores::Rest)?;
    // It takes connections, as long as the kernel has room for them, and never reads.
    let silent = std::net::TcpListener::bind(("127.0.0.1", 0))?;
    let hanging = [
        ("OTEL_EXPORTER_OTLP_ENDPOINT", format!("http://{}", silent.local_addr()?)),
        ("OTEL_METRIC_EXPORT_INTERVAL", "1000".to_owned()),
    ];
    let mut without = Measured::start(&tenant, &[]).await?;
    let mut with = Measured::start(&tenant, &hanging).await?;
    let (rounds, calls) = (effort.of(20, 4), effort.of(500, 250));
    for number in 0..=rounds {
        let order = if number % 2 == 0 { [&mut without, &mut with] } else { [&mut with, &mut without] };
        for measured in order {
            measured.round(calls).await?;
        }
        if number == 0 {
            // The first round fills caches, and the queue of spans.
            for measured in [&mut without, &mut with] {
                measured.cpu = 0.0;
                let first = measured.rounds.pop();
                anyhow::ensure!(first.is_some_and(|first| first.errors == 0), "a call failed before it was measured");
            }
        }
    }
    Ok(judge(&without, &with, rounds * calls))
}

fn judge(without: &Measured, with: &Measured, calls: usize) -> Vec<Figure> {
    let ratios: Vec<f64> = with.rates().iter().zip(without.rates()).map(|(with, without)| with / without).collect();
    let lost: usize = with.rounds.iter().map(|round| round.errors).sum();
    let pinned = if can_pin() { "" } else { "; cores are shared" };
    let (ours, bare) = (median(&with.rates()), median(&without.rates()));
    #[allow(clippy::cast_precision_loss)] // some thousands of calls
    let (cost, bare_cost) = (with.cpu / calls as f64, without.cpu / calls as f64);
    #[allow(clippy::cast_precision_loss)] // none, it is hoped
    let lost = Figure::at_most(&format!("{calls} calls while the collector hangs: lost"), 0.0, lost as f64, "");
    vec![
        Figure::at_least(
            &format!("{calls} calls while the collector hangs ÷ without export"),
            0.98,
            median(&ratios),
            "",
        )
        .noting(&format!("median of {} rounds, {ours:.0}/s ÷ {bare:.0}/s{pinned}", ratios.len())),
        Figure::shown("the same: time of a core for a call", cost, "µs").noting(&format!("{bare_cost:.0} µs without")),
        lost,
    ]
}
