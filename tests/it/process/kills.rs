//! Processes that die at named places of the engine, one after another, and what is left.
//!
//! `GRAPHGATE_KILLS` says how many processes die in each variant (25), `GRAPHGATE_KILLS_FROM` with which place to begin:
//! `scripts/long-run.sh kills` makes a long run of them that can be stopped and gone on with.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;
use std::time::{Duration, Instant};

use graphgate::crash::POINTS;
use serde_json::{Value, json};

use super::Deployment;
use super::dying::{self, CAUGHT_UP, Died, Herd};
use crate::support::PLAN;
use crate::support::azurite::Azurite;
use crate::support::process::Tasks;

#[derive(Clone, Copy)]
enum Kept {
    InAFolder,
    InAzureStorage,
}

/// What is known of a task whose create was tried.
#[derive(Default)]
struct Known {
    /// Our id, once a create was acknowledged.
    id: Option<String>,
    /// What its progress may be: several values while an answer is missing.
    progress: BTreeSet<u64>,
    /// A delete was tried, or acknowledged.
    delete: Option<bool>,
}

struct Kills {
    deployment: Deployment,
    azurite: Option<Azurite>,
    servers: usize,
    /// Planner's id of the plan.
    plan: String,
    known: BTreeMap<String, Known>,
}

/// Runs one variant.
async fn kill(kept: Kept, servers: usize) {
    let azurite = match kept {
        Kept::InAFolder => None,
        Kept::InAzureStorage => Some(Azurite::start()),
    };
    let deployment = Deployment::tenant_alone("kills").await;
    let mut herd = Kills { deployment, azurite, servers, plan: String::new(), known: BTreeMap::new() };
    dying::begin(&mut herd, servers).await;
    let plan = herd.call(0, "get_plan", json!({"plan_id": PLAN})).await.unwrap();
    plan["id"].as_str().unwrap().clone_into(&mut herd.plan);
    let died = dying::die_in_turn(&mut herd, POINTS, 3).await;
    herd.check(&died).await;
}

impl Herd for Kills {
    fn deployment(&mut self) -> &mut Deployment {
        &mut self.deployment
    }

    async fn start(&mut self, server: usize, place: Option<&str>) {
        let (azurite, servers) = (self.azurite.as_ref(), self.servers);
        let change = |command: &mut Command| {
            if let Some(azurite) = azurite {
                command.env("AzureWebJobsStorage", azurite.connection_string());
            }
            if servers > 1 || azurite.is_some() {
                // Leases that expire while their holders are at work, and soon after their death.
                command.args(["--lease", if server == 0 { "300" } else { "800" }]);
            }
        };
        self.deployment.serve_until(server, place, change).await;
    }

    /// A handful of writes through one of the servers, and an edit of a person.
    async fn write(&mut self, cycle: usize, round: usize) {
        let server = round % self.deployment.servers.len();
        let title = format!("Kill {cycle}-{round}");
        let mut create = json!({"plan_id": PLAN, "title": title, "idempotency_key": title});
        if round.is_multiple_of(2) {
            create["description"] = json!("With details");
        }
        self.known.insert(title.clone(), Known { progress: BTreeSet::from([0]), ..Known::default() });
        let made = self.call(server, "create_task", create).await;
        self.known.get_mut(&title).unwrap().id = made.and_then(|made| Some(made["id"].as_str()?.to_owned()));
        let open: Vec<(String, String)> = self
            .known
            .iter()
            .filter(|(_, known)| known.delete.is_none())
            .filter_map(|(title, known)| Some((title.clone(), known.id.clone()?)))
            .collect();
        if let Some((title, id)) = open.get((cycle * 7 + round * 3) % open.len().max(1)) {
            let progress = [50, 100][round % 2];
            self.known.get_mut(title).unwrap().progress.insert(progress);
            let update = json!({"task_id": id, "percent_complete": progress, "description": format!("Round {round}")});
            if self.call(server, "update_task", update).await.is_some() {
                self.known.get_mut(title).unwrap().progress = BTreeSet::from([progress]);
            }
        }
        if round % 3 == 2
            && let Some((title, id)) = open.first()
        {
            self.known.get_mut(title).unwrap().delete = Some(false);
            let deleted = self.call(server, "delete_task", json!({"task_id": id})).await;
            self.known.get_mut(title).unwrap().delete = Some(deleted.is_some());
        }
        if round == 1 {
            let task = json!({"create": {"planId": self.plan, "title": format!("Person {cycle}")}});
            self.deployment.control("POST", "colleague/edit", task).await;
        }
    }
}

impl Kills {
    async fn call(&self, server: usize, tool: &str, arguments: Value) -> Option<Value> {
        self.deployment.call_of(server, tool, arguments).await?.ok()
    }

    /// Tasks of the tenant whose titles are ours or the person's.
    async fn tasks(&self) -> Tasks {
        let mut found = self.deployment.tasks().await;
        found.retain(|title: &String, _| title.starts_with("Kill ") || title.starts_with("Person "));
        found
    }

    #[allow(clippy::print_stdout)] // a long run shows what came of it
    async fn check(&mut self, died: &Died) {
        let cycles = died.cycles;
        dying::end(self).await;
        let started = Instant::now();
        loop {
            let rows = self.titles_here(0).await;
            let there = self.tasks().await;
            let all = there.iter().flat_map(|(title, copies)| copies.iter().map(move |_| title.clone()));
            let mut all: Vec<String> = all.collect();
            all.sort();
            if rows.as_ref().is_some_and(|(pending, titles)| *pending == 0 && *titles == all) {
                break;
            }
            if started.elapsed() > CAUGHT_UP {
                let here = rows.map(|(_, titles)| titles).unwrap_or_default();
                let differing: Vec<&String> = here
                    .iter()
                    .filter(|title| !all.contains(*title))
                    .chain(all.iter().filter(|title| !here.contains(*title)))
                    .collect();
                let standing = self.call(0, "sync_status", json!({"plan_id": PLAN})).await;
                panic!("not caught up: {differing:?} on one side alone; {standing:?}; {:#?}", self.waiting());
            }
            tokio::time::sleep(Duration::from_millis(250)).await;
        }
        let took = started.elapsed();
        let there = self.tasks().await;
        for (title, copies) in &there {
            assert_eq!(copies.len(), 1, "{title} is there {} times", copies.len());
        }
        for (title, known) in &self.known {
            let copies = there.get(title);
            match (&known.id, known.delete) {
                (_, Some(true)) => assert_eq!(copies, None, "{title} was deleted"),
                (Some(_), None) => {
                    let progress = copies.unwrap_or_else(|| panic!("{title} is lost"))[0];
                    assert!(known.progress.contains(&progress), "{title}: {progress}, expected {:?}", known.progress);
                }
                _ => {} // no caller got its outcome
            }
        }
        self.check_audit(&there).await;
        let acknowledged = self.known.values().filter(|known| known.id.is_some()).count();
        println!(
            "{cycles} starts, {} died at {} of {} places; {acknowledged} creates acknowledged of {}, 0 lost, 0 doubled, caught up in {:.1} s",
            died.all(),
            died.at.len(),
            POINTS.len(),
            self.known.len(),
            took.as_secs_f64(),
        );
        assert!(acknowledged * 2 >= cycles, "the processes did something");
        assert!(died.all() * 2 >= cycles, "most died where they should: {:?}", died.at);
    }

    /// Every task an agent made, changed or deleted has its row in the audit log, no matter what died when.
    async fn check_audit(&self, there: &Tasks) {
        let mut rows: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        let today = chrono::Utc::now().date_naive();
        let base = self.deployment.server(0).text("mcp_url").trim_end_matches("mcp").to_owned();
        for day in [today.pred_opt().unwrap(), today] {
            let mut cursor = String::new();
            loop {
                let url = format!("{base}api/audit?limit=1000&day={day}{cursor}");
                let page: Value = self.deployment.http.get(url).send().await.unwrap().json().await.unwrap();
                for row in page["entries"].as_array().unwrap_or_else(|| panic!("{page}")) {
                    let operation = row["operation"].as_str().unwrap().to_owned();
                    let ids = row["target"]["task_id"].as_str().unwrap_or_default().split(' ').map(str::to_owned);
                    rows.entry(operation).or_default().extend(ids);
                }
                let Some(next) = page["cursor"].as_str() else { break };
                cursor = format!("&cursor={next}");
            }
        }
        let has = |operation: &str, id: &str| rows.get(operation).is_some_and(|ids| ids.contains(id));
        let query = json!({"plan_id": PLAN, "text": "Kill ", "fields": ["id", "title"], "limit": 1000, "fresh": true});
        let page = self.call(0, "query_tasks", query).await.unwrap();
        let ours = page["rows"].as_array().unwrap().iter();
        let ours: Vec<(&str, &str)> = ours.map(|row| (row[0].as_str().unwrap(), row[1].as_str().unwrap())).collect();
        let without: Vec<_> =
            ours.iter().filter(|(id, title)| there.contains_key(*title) && !has("create_task", id)).collect();
        assert!(without.is_empty(), "created without a row in the audit log: {without:?}");
        for (title, known) in &self.known {
            if let (Some(id), Some(true)) = (&known.id, known.delete) {
                assert!(has("delete_task", id), "{title} was deleted without a row in the audit log");
            }
        }
    }

    /// The rows of what waits in the folder's store.
    fn waiting(&self) -> Vec<String> {
        let Ok(store) = rusqlite::Connection::open(self.deployment.folder.0.join("data/graphgate.db")) else {
            return Vec::new();
        };
        let query = "SELECT key || ' ' || json FROM rows WHERE key LIKE 'o|%' OR key IN ('f', 'h') OR key IN \
            (SELECT 't|' || substr(key, 3, 14) FROM rows WHERE key LIKE 'o|%')";
        let Ok(mut rows) = store.prepare(query) else { return Vec::new() };
        rows.query_map([], |row| row.get(0)).map(|rows| rows.flatten().collect()).unwrap_or_default()
    }

    /// How many tasks wait here, and the titles of all.
    async fn titles_here(&mut self, server: usize) -> Option<(usize, Vec<String>)> {
        let (mut pending, mut titles) = (0, Vec::new());
        for text in ["Kill ", "Person "] {
            let query =
                json!({"plan_id": PLAN, "text": text, "fields": ["title", "sync"], "limit": 1000, "fresh": true});
            let page = self.call(server, "query_tasks", query).await?;
            let rows = page["rows"].as_array()?;
            assert!(page["cursor"].is_null(), "one page holds all");
            pending += rows.iter().filter(|row| row[1] != "synced").count();
            titles.extend(
                rows.iter()
                    .filter_map(|row| row[0].as_str())
                    .filter(|title| title.starts_with(text))
                    .map(str::to_owned),
            );
        }
        titles.sort();
        Some((pending, titles))
    }
}

#[tokio::test]
async fn one_process_on_a_folder() {
    kill(Kept::InAFolder, 1).await;
}

#[tokio::test]
async fn two_processes_on_a_folder() {
    kill(Kept::InAFolder, 2).await;
}

#[tokio::test]
#[ignore = "needs AZURITE"]
async fn one_process_on_azurite() {
    kill(Kept::InAzureStorage, 1).await;
}

#[tokio::test]
#[ignore = "needs AZURITE"]
async fn three_processes_on_azurite() {
    kill(Kept::InAzureStorage, 3).await;
}
