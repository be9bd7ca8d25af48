//! Every type in every format on the seeded tenant, at one moment that never passes: five days after recording began,
//! with colleagues at work in between. As in `golden`, `INSTA_UPDATE=always` writes again what has been read and found good.
//!
//! `REPORT_FILES` names a folder that gets the files themselves: the proofs set the PDFs from them, read them with programs
//! of others and compare their pictures.

use std::io::Cursor;
use std::time::Duration;

use calamine::{Data, Reader, Xlsx};
use chrono::{DateTime, Utc};
use graphgate::app::App;
use graphgate::auth::Caller;
use graphgate::clock::{Clock, ManualClock};
use graphgate::ids::Entropy;
use graphgate::services::reports::request::Kind;
use graphgate::services::reports::{Format, ReportRequest};
use graphgate_sim as sim;
use serde_json::{Value, json};

use crate::support::PLAN;

/// A Friday, as work begins in Berlin.
const BEGIN: &str = "2026-11-20T08:00:00Z";
const DAYS: u64 = 5;
/// Tasks that are shown of all.
const SHOWN: usize = 25;

/// The tenant and the program, with clocks that stand.
struct Museum {
    tenant: sim::Running,
    app: App,
    clock: std::sync::Arc<ManualClock>,
    http: reqwest::Client,
}

impl Museum {
    async fn open() -> Self {
        let config = sim::Config {
            port: 0,
            tls: None,
            scenario: sim::Scenario::Demo,
            request_log: None, // its time stands still, and so no `Retry-After` of it could ever be kept
        };
        let tenant = sim::start(config).await.unwrap();
        let http = reqwest::Client::new();
        let begin: DateTime<Utc> = BEGIN.parse().unwrap();
        let clock = ManualClock::at(begin);
        let mut config = graphgate::cli::dev::config(&tenant, None).unwrap();
        config.reports.time_zone = chrono_tz::Tz::Europe__Berlin;
        let time = Clock::from_source(clock.clone());
        let museum = Self { tenant, app: App::build(config, time, Entropy::seeded(1)).await.unwrap(), clock, http };
        museum.control("POST", "reset", json!({"now": BEGIN})).await;
        museum
    }

    async fn control(&self, method: &str, path: &str, body: Value) {
        let url = format!("{}/{path}", self.tenant.control_url);
        let answer = self.http.request(method.parse().unwrap(), url).json(&body).send().await.unwrap();
        assert!(answer.status().is_success(), "{path}: {}", answer.text().await.unwrap());
    }

    /// A report as its stored JSON.
    async fn make(&self, kind: Kind) -> String {
        let plans = (!kind.spans_plans()).then(|| vec![PLAN.to_owned()]);
        let request = ReportRequest { kind: Some(kind), plans, ..ReportRequest::default() };
        self.app
            .services
            .reports
            .generate(&Caller::local(), &request, &[], graphgate::services::reports::Keep::Yes)
            .await
            .unwrap()
            .id
    }

    async fn file(&self, id: &str, format: Format) -> Vec<u8> {
        self.app.services.reports.file(&Caller::local(), id, format).await.unwrap().content
    }

    /// The days pass: every morning somebody makes progress, finishes things and has an idea.
    async fn work(&self) {
        for day in 0..DAYS {
            let report = self.file(&self.make(Kind::Weekly).await, Format::Json).await;
            let report: Value = serde_json::from_slice(&report).unwrap();
            let tasks = report["tasks"].as_array().unwrap();
            let plan = &report["plans"][0]["id"];
            let of = |status: &'static str| tasks.iter().filter(move |task| task["status"] == status);
            for (nth, task) in of("In progress").take(2 + usize::try_from(day % 3).unwrap()).enumerate() {
                let edit = json!({"task_id": task["id"], "set": {"percentComplete": if nth == 0 { 50 } else { 100 }}});
                self.control("POST", "colleague/edit", edit).await;
            }
            for task in of("Not started").take(1) {
                let edit = json!({"task_id": task["id"], "set": {"percentComplete": 50}});
                self.control("POST", "colleague/edit", edit).await;
            }
            let idea = json!({"create": {"planId": plan, "title": format!("An idea of day {}", day + 1)}});
            self.control("POST", "colleague/edit", idea).await;
            self.clock.advance(Duration::from_hours(24));
            self.control("PUT", "clock", json!({"advance_seconds": 24 * 3600})).await;
        }
    }
}

/// What is in a workbook, a line a row.
fn cells(workbook: Vec<u8>) -> String {
    let mut book = Xlsx::new(Cursor::new(workbook)).unwrap();
    let mut text = String::new();
    for sheet in book.sheet_names() {
        let range = book.worksheet_range(&sheet).unwrap();
        text.push_str(&format!("── {sheet}: {} × {}\n", range.height(), range.width()));
        let most = if sheet == "Tasks" { SHOWN } else { usize::MAX };
        for row in range.rows().take(most) {
            let cell = |cell: &Data| cell.to_string().replace('\n', " ⏎ ");
            text.push_str(row.iter().map(cell).collect::<Vec<_>>().join(" | ").trim_end_matches(" | "));
            text.push('\n');
        }
    }
    text
}

#[tokio::test]
async fn reports_of_the_seeded_tenant_match_their_snapshots() {
    let museum = Museum::open().await;
    museum.work().await;
    let folder = std::env::var_os("REPORT_FILES").map(std::path::PathBuf::from);
    for kind in Kind::ALL {
        let id = museum.make(kind).await;
        for format in Format::ALL.into_iter().filter(|format| *format != Format::Pdf) {
            let content = museum.file(&id, format).await;
            let name = format!("{}.{}", kind.word(), format.extension());
            if let Some(folder) = &folder {
                std::fs::write(folder.join(&name), &content).unwrap();
            }
            let text = match format {
                Format::Xlsx => cells(content),
                Format::Html => continue, // a picture of it tells more; its words are among the golden files of `golden`
                _ => String::from_utf8(content).unwrap(),
            };
            let text = match format {
                Format::Json => {
                    let mut report: Value = serde_json::from_str(&text).unwrap();
                    let tasks = report["tasks"].as_array_mut().unwrap();
                    tasks.truncate(2); // the others are those of the CSV
                    serde_json::to_string_pretty(&report).unwrap()
                }
                Format::Csv => {
                    let rows = text.lines().count();
                    text.lines().take(SHOWN).chain([format!("{rows} lines").as_str()]).collect::<Vec<_>>().join("\n")
                }
                _ => text,
            };
            insta::assert_snapshot!(format!("seeded_{name}"), text);
        }
    }
}
