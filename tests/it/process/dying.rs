//! Servers that die at named places, one after another, while something is written through them.

use std::collections::BTreeMap;
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::json;

use super::Deployment;
use crate::support::process::{GRAPHGATE, Process};

/// Everything has ended within this, counted from the last start.
pub const CAUGHT_UP: Duration = Duration::from_mins(1);
/// How long one process is given to come to its place.
const PATIENCE: Duration = Duration::from_secs(2);

/// Servers of one deployment, and what is written through them.
pub trait Herd {
    fn deployment(&mut self) -> &mut Deployment;

    /// Starts a server, which dies at a place if one is named; one that runs is killed first.
    async fn start(&mut self, server: usize, place: Option<&str>);

    /// Writes something through one of the servers.
    async fn write(&mut self, cycle: usize, round: usize);
}

/// How many processes died at each place, of so many that were to.
pub struct Died {
    pub cycles: usize,
    pub at: BTreeMap<&'static str, usize>,
}

impl Died {
    pub fn all(&self) -> usize {
        self.at.values().sum()
    }
}

/// Starts so many servers. One in ten creates is carried out and its answer lost.
pub async fn begin(herd: &mut impl Herd, servers: usize) {
    let lost =
        json!({"method": "POST", "path_contains": "/planner/tasks", "every_nth": 10, "kind": "drop_with_effect"});
    herd.deployment().control("POST", "faults", lost).await;
    for server in 0..servers {
        herd.start(server, None).await;
    }
}

/// Has the servers die in turn, each at the next place, at one of the first `visits` times it comes there.
pub async fn die_in_turn(herd: &mut impl Herd, places: &[&'static str], visits: usize) -> Died {
    let servers = herd.deployment().servers.len();
    let (cycles, from) = (number("GRAPHGATE_KILLS", 25), number("GRAPHGATE_KILLS_FROM", 0));
    let mut at = BTreeMap::new();
    for cycle in from..from + cycles {
        let (victim, place) = (cycle % servers, places[cycle % places.len()]);
        herd.start(victim, Some(&format!("{place}:{}", 1 + cycle % visits))).await;
        let deadline = Instant::now() + PATIENCE;
        let mut round = 0;
        while Instant::now() < deadline && herd.deployment().lives(victim) {
            herd.write(cycle, round).await;
            round += 1;
        }
        if !herd.deployment().lives(victim) {
            *at.entry(place).or_insert(0) += 1;
        }
    }
    Died { cycles, at }
}

/// Ends the lost answers, and starts every server once more, to live.
pub async fn end(herd: &mut impl Herd) {
    herd.deployment().control("DELETE", "faults", json!({})).await;
    for server in 0..herd.deployment().servers.len() {
        herd.start(server, None).await;
    }
}

fn number(name: &str, otherwise: usize) -> usize {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(otherwise)
}

impl Deployment {
    /// Starts a server that dies at a place, if one is named.
    pub async fn serve_until(&mut self, server: usize, place: Option<&str>, change: impl Fn(&mut Command)) {
        // A place on the way to readiness kills it before it is ready: then it starts without one.
        for place in [place, None] {
            let with_place = |command: &mut Command| {
                command.env("REFRESH_FASTEST_SECONDS", "1").stderr(std::process::Stdio::null());
                change(command);
                if let Some(place) = place {
                    command.args(["--crash-at", place]);
                }
            };
            if self.serve_as(server, Command::new(GRAPHGATE), with_place).await {
                return;
            }
            assert!(place.is_some(), "a server cannot be started again");
        }
    }

    fn lives(&mut self, server: usize) -> bool {
        self.servers[server].as_mut().is_some_and(Process::lives)
    }
}
