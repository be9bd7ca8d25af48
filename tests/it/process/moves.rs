//! Processes that die while they move tasks to another plan, and what is left: one of each, with every edit.
//!
//! `GRAPHGATE_KILLS` says how many processes die (25); `scripts/long-run.sh moves` makes a long run of it.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;
use std::time::{Duration, Instant};

use graphgate::crash::MOVES;
use serde_json::{Value, json};

use super::Deployment;
use super::dying::{self, CAUGHT_UP, Died, Herd};
use crate::support::PLAN;

const THERE: &str = "Office move";
struct Known {
    /// Our id of the original, if its create was answered.
    id: Option<String>,
    /// What its progress may be: several values while an answer is missing.
    progress: BTreeSet<u64>,
    /// A move was tried.
    moving: bool,
}

struct Moves {
    deployment: Deployment,
    known: BTreeMap<String, Known>,
}

async fn kill(servers: usize) {
    let deployment = Deployment::tenant_alone("moves").await;
    let mut herd = Moves { deployment, known: BTreeMap::new() };
    dying::begin(&mut herd, servers).await;
    let died = dying::die_in_turn(&mut herd, MOVES, 2).await;
    herd.check(&died).await;
}

impl Herd for Moves {
    fn deployment(&mut self) -> &mut Deployment {
        &mut self.deployment
    }

    async fn start(&mut self, server: usize, place: Option<&str>) {
        let lease = if server > 0 { "800" } else { "300" };
        let change = |command: &mut Command| {
            command.args(["--lease", lease]);
        };
        self.deployment.serve_until(server, place, change).await;
    }

    /// A task is made and moved, while it is edited through another server and by a person.
    async fn write(&mut self, cycle: usize, round: usize) {
        let servers = self.deployment.servers.len();
        let (server, other) = (round % servers, (round + 1) % servers);
        let title = format!("Move {cycle}-{round}");
        let create = json!({"plan_id": PLAN, "title": title, "idempotency_key": title, "description": "With details"});
        let known = Known { id: None, progress: BTreeSet::from([0]), moving: false };
        self.known.insert(title.clone(), known);
        let Some(Ok(made)) = self.call(server, "create_task", create).await else { return };
        let id = made["id"].as_str().unwrap().to_owned();
        let known = self.known.get_mut(&title).unwrap();
        (known.id, known.moving) = (Some(id.clone()), true);
        let percent = [50, 100][round % 2];
        let move_it = self.call(server, "move_task", json!({"task_id": id, "plan_id": THERE}));
        let edit = async {
            tokio::time::sleep(Duration::from_millis(u64::try_from(cycle * 13 % 60).unwrap())).await;
            self.call(other, "update_task", json!({"task_id": id, "percent_complete": percent})).await
        };
        let (_, edited) = tokio::join!(move_it, edit);
        let known = self.known.get_mut(&title).unwrap();
        match edited {
            Some(Ok(_)) => known.progress = BTreeSet::from([percent]),
            Some(Err(error)) if error["changed"] != "unknown" => {}
            _ => {
                known.progress.insert(percent);
            }
        }
    }
}

impl Moves {
    async fn call(&self, server: usize, tool: &str, arguments: Value) -> Option<Result<Value, Value>> {
        self.deployment.call_of(server, tool, arguments).await
    }

    #[allow(clippy::print_stdout)] // a long run shows what came of it
    async fn check(&mut self, died: &Died) {
        let cycles = died.cycles;
        dying::end(self).await;
        let started = Instant::now();
        loop {
            let status = self.call(0, "sync_status", json!({})).await;
            let left = self.left_behind().await;
            let at_rest = matches!(&status, Some(Ok(status)) if status["status"] == "up_to_date");
            if at_rest && left == Some(BTreeSet::new()) {
                break;
            }
            assert!(started.elapsed() < CAUGHT_UP, "not caught up: {status:?}, {left:?} not moved");
            tokio::time::sleep(Duration::from_millis(250)).await;
        }
        let took = started.elapsed();
        let tasks = self.deployment.tasks().await;
        let (mut moved, mut unsure) = (0, 0);
        for (title, known) in &self.known {
            let copies = tasks.get(title).map(Vec::as_slice).unwrap_or_default();
            match &known.id {
                Some(_) => {
                    assert_eq!(copies.len(), 1, "{title} is there {} times", copies.len());
                    assert!(known.progress.contains(&copies[0]), "{title}: {copies:?}, expected {:?}", known.progress);
                    moved += 1;
                }
                None => {
                    assert!(copies.len() <= 1, "{title} is there {} times", copies.len());
                    unsure += 1;
                }
            }
        }
        println!(
            "{cycles} starts, {} died at {} of {} places; {moved} moves begun, {unsure} creates unanswered, 0 pairs, 0 lost, caught up in {:.1} s",
            died.all(),
            died.at.len(),
            MOVES.len(),
            took.as_secs_f64(),
        );
        assert!(moved >= cycles, "the processes did something");
        assert!(died.all() * 2 >= cycles, "most died where they should: {:?}", died.at);
    }

    /// Titles of tasks in their former plan whose move has begun; a move whose call was cut off before it began stays
    /// there, so each is tried again.
    async fn left_behind(&self) -> Option<BTreeSet<String>> {
        let query = json!({"plan_id": PLAN, "text": "Move ", "fields": ["id", "title"], "limit": 1000, "fresh": true});
        let page = self.call(0, "query_tasks", query).await?.ok()?;
        assert_eq!(page["complete"], true, "one page holds all");
        let mut left = BTreeSet::new();
        for row in page["rows"].as_array()? {
            let (id, title) = (row[0].as_str()?, row[1].as_str()?);
            if self.known.get(title).is_some_and(|known| known.moving) {
                left.insert(title.to_owned());
                // Whether it is the call that moves it or the timer: it must be one.
                let _ = self.call(0, "move_task", json!({"task_id": id, "plan_id": THERE})).await;
            }
        }
        Some(left)
    }
}

#[tokio::test]
async fn crashes_of_one_process_lose_no_move() {
    kill(1).await;
}

#[tokio::test]
async fn crashes_of_two_processes_lose_no_move() {
    kill(2).await;
}
