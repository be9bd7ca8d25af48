//! Friday at four: a definition, a timer on several instances, a mail and a card.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Datelike, Utc, Weekday};
use graphgate::app::App;
use graphgate::auth::{ApiKeys, Caller, Limit, NewKey, PlanScope, Role, Roles};
use graphgate::clock::{Clock, ManualClock};
use graphgate::config::Config;
use graphgate::error::ErrorCode;
use graphgate::ids::{Entropy, PlanId, UserId};
use graphgate::services::reports::delivery::Delivery;
use graphgate::services::reports::request::Kind;
use graphgate::services::reports::schedule::ScheduleRequest;
use graphgate::services::reports::{Format, ReportRequest};
use graphgate::store;
use graphgate_sim as sim;
use serde_json::{Value, json};

use crate::support::{PLAN, token};

const DAY: Duration = Duration::from_hours(24);

/// A tenant, a store that several instances share, and a clock that stands until it is moved.
struct Office {
    tenant: sim::Running,
    clock: Arc<ManualClock>,
    folder: PathBuf,
}

impl Office {
    async fn open() -> Self {
        Self::logging(crate::support::request_log()).await
    }

    /// As [`Self::open`], its requests kept for a checker in the given file, if any.
    async fn logging(request_log: Option<PathBuf>) -> Self {
        let config = sim::Config { port: 0, tls: None, scenario: sim::Scenario::Demo, request_log };
        let tenant = sim::start(config).await.unwrap();
        let folder = std::env::temp_dir().join(format!("graphgate-office-{}", uuid::Uuid::new_v4()));
        Self { tenant, clock: ManualClock::at(Utc::now()), folder }
    }

    async fn instance(&self) -> App {
        let mut config = graphgate::cli::dev::config(&self.tenant, Some(&self.folder)).unwrap();
        config.store = store::Config::Folder(self.folder.clone());
        App::build(config, Clock::from_source(self.clock.clone()), Entropy::system()).await.unwrap()
    }

    fn now(&self) -> DateTime<Utc> {
        Clock::from_source(self.clock.clone()).now()
    }

    async fn see(&self, path: &str) -> Vec<Value> {
        let answer = reqwest::get(format!("{}/{path}", self.tenant.control_url)).await.unwrap();
        let answer: Value = answer.json().await.unwrap();
        answer.as_object().unwrap().values().next().unwrap().as_array().unwrap().clone()
    }

    async fn faults(&self, rules: Value) {
        let url = format!("{}/faults", self.tenant.control_url);
        let answer = reqwest::Client::new().put(url).json(&json!({"rules": rules})).send().await.unwrap();
        assert!(answer.status().is_success(), "{answer:?}");
    }

    fn friday(&self) -> ScheduleRequest {
        ScheduleRequest {
            name: "Friday report".into(),
            schedule: "0 16 * * fri".into(),
            report: ReportRequest {
                kind: Some(Kind::Weekly),
                plans: Some(vec![PLAN.into()]),
                time_zone: Some("Europe/Berlin".into()),
                ..ReportRequest::default()
            },
            formats: Some(vec![Format::Html, Format::Xlsx]),
            mail_to: Some(vec![format!("ZoeM@{}", sim::DOMAIN)]),
            webhook_url: Some(format!("http://{}/workflows/digital", self.tenant.address)),
            ..ScheduleRequest::default()
        }
    }
}

impl Drop for Office {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

#[tokio::test]
async fn due_schedule_is_delivered_once_by_many_instances() {
    let office = Office::open().await;
    let (one, two, three) = (office.instance().await, office.instance().await, office.instance().await);
    let item = one.services.reports.schedule(&Caller::local(), &office.friday()).await.unwrap();
    let berlin = item.next.with_timezone(&chrono_tz::Europe::Berlin);
    assert_eq!((berlin.weekday(), berlin.format("%H:%M").to_string()), (Weekday::Fri, "16:00".into()));
    assert_eq!(one.services.reports.run_due().await.unwrap().run, 0, "not yet");
    let wait = (item.next - office.now()).to_std().unwrap();
    office.clock.advance(wait);
    let runs = futures::future::join_all([&one, &two, &three].map(|app| app.services.reports.run_due())).await;
    assert_eq!(runs.into_iter().map(|run| run.unwrap().run).sum::<usize>(), 1);
    for app in [&one, &two] {
        assert_eq!(app.services.reports.run_due().await.unwrap().run, 0, "it ran already");
    }
    let mail = office.see("mail").await;
    assert_eq!(mail.len(), 1);
    assert_eq!(mail[0]["subject"], format!("Weekly report: {PLAN}"));
    let files: Vec<&str> =
        mail[0]["files"].as_array().unwrap().iter().map(|file| file["name"].as_str().unwrap()).collect();
    assert!(
        files.len() == 2 && files[0].starts_with("weekly-website-relaunch-") && files[1].contains("xlsx"),
        "{files:?}"
    );
    let posts = office.see("posts").await;
    assert_eq!(posts.len(), 1);
    let page = reqwest::get(format!("{}/page-state", office.tenant.control_url)).await.unwrap();
    let page: Value = page.json().await.unwrap();
    let kinds: Vec<&Value> = page["delivered"].as_array().unwrap().iter().map(|item| &item["kind"]).collect();
    assert!(kinds.len() == 2 && kinds.contains(&&json!("mail")) && kinds.contains(&&json!("card")), "{page}");
    let list = two.services.reports.list_schedules(&Caller::local()).await.unwrap();
    let last = list.schedules[0].last.clone().unwrap();
    assert!(last.ok, "{:?}", last.problems);
    let kept = three.services.reports.list(&Caller::local()).await.unwrap();
    assert_eq!(kept.reports[0].id, last.report.unwrap());
    assert_eq!(kept.reports[0].by, "schedule Friday report");
}

#[tokio::test]
async fn missed_runs_are_made_up_by_one_run() {
    let office = Office::open().await;
    office.instance().await.services.reports.schedule(&Caller::local(), &office.friday()).await.unwrap();
    office.clock.advance(23 * DAY);
    let back = office.instance().await;
    assert_eq!(back.services.reports.run_due().await.unwrap().run, 1);
    assert_eq!(back.services.reports.run_due().await.unwrap().run, 0);
    assert_eq!(office.see("mail").await.len(), 1);
    let next = back.services.reports.list_schedules(&Caller::local()).await.unwrap().schedules[0].next;
    assert!(next > office.now() && next - office.now() <= chrono::TimeDelta::days(7));
}

#[tokio::test]
async fn failed_delivery_is_reported_and_the_other_is_sent() {
    let office = Office::open().await;
    let app = office.instance().await;
    app.services.reports.schedule(&Caller::local(), &office.friday()).await.unwrap();
    let url = format!("{}/permissions", office.tenant.control_url);
    let roles = json!({"roles": ["Tasks.ReadWrite.All", "Group.Read.All", "User.Read.All"]});
    reqwest::Client::new().put(url).json(&roles).send().await.unwrap();
    office.clock.advance(8 * DAY);
    let report = app.services.reports.run_due().await.unwrap();
    assert_eq!((report.run, report.failed), (1, 1));
    let item = &app.services.reports.list_schedules(&Caller::local()).await.unwrap().schedules[0];
    let last = item.last.clone().unwrap();
    assert!(!last.ok && last.problems.len() == 1 && last.problems[0].contains("Mail.Send"), "{:?}", last.problems);
    assert_eq!((office.see("mail").await.len(), office.see("posts").await.len()), (0, 1));
    let health = app.services.reports.schedule_health().await.unwrap();
    assert_eq!((health.schedules, health.failing, health.overdue), (1, 1, 0));
}

/// Runs a due schedule with a fault at the tenant, then without one, a while later; answers how the last run ended.
async fn run_with(fault: Value) -> (Office, graphgate::services::reports::schedule::Outcome) {
    let office = Office::logging(None).await; // which no pause before a repetition could be read from, as fast as time passes
    let app = office.instance().await;
    let request = ScheduleRequest { webhook_url: None, ..office.friday() };
    app.services.reports.schedule(&Caller::local(), &request).await.unwrap();
    office.clock.advance(8 * DAY);
    office.faults(json!([fault])).await;
    // Each run may have to repeat a call, and so to wait: time passes meanwhile.
    let run_due = async || {
        let time_passes = async {
            loop {
                tokio::time::sleep(Duration::from_millis(20)).await;
                office.clock.advance(Duration::from_secs(1));
            }
        };
        tokio::select! {
            ran = Box::pin(app.services.reports.run_due()) => ran.unwrap(),
            () = time_passes => unreachable!("time does not end"),
        }
    };
    run_due().await;
    office.faults(json!([])).await;
    office.clock.advance(Duration::from_mins(2));
    run_due().await;
    office.clock.advance(Duration::from_hours(1));
    assert_eq!(run_due().await.run, 0, "nothing is left to do");
    let last = app.services.reports.list_schedules(&Caller::local()).await.unwrap().schedules[0].last.clone().unwrap();
    (office, last)
}

#[tokio::test]
async fn mail_refused_temporarily_is_sent_by_a_later_run() {
    for path in ["/messages", "/send"] {
        for kind in ["status", "drop_without_effect"] {
            let fault = json!({"method": "POST", "path_contains": path, "kind": kind, "status": 503});
            let (office, last) = Box::pin(run_with(fault)).await;
            assert!(last.ok, "{path} {kind}: {:?}", last.problems);
            assert_eq!(office.see("mail").await.len(), 1, "{path} {kind}");
        }
    }
}

#[tokio::test]
async fn mail_with_a_lost_answer_is_sent_once() {
    for (kind, status) in [("drop_with_effect", 0), ("effect_then_status", 500), ("effect_then_status", 429)] {
        let fault = json!({"method": "POST", "path_contains": "/send", "kind": kind, "status": status});
        let (office, last) = Box::pin(run_with(fault)).await;
        assert!(last.ok, "{kind} {status}: {:?}", last.problems);
        assert_eq!(office.see("mail").await.len(), 1, "{kind} {status}");
    }
}

#[tokio::test]
async fn interrupted_report_run_is_resumed() {
    for kind in ["timeout_with_effect", "timeout_without_effect"] {
        let office = Office::open().await;
        let (app, other) = (office.instance().await, office.instance().await);
        let request = ScheduleRequest { webhook_url: None, ..office.friday() };
        app.services.reports.schedule(&Caller::local(), &request).await.unwrap();
        office.clock.advance(8 * DAY);
        office.faults(json!([{"method": "POST", "path_contains": "/send", "kind": kind}])).await;
        let cut = tokio::time::timeout(Duration::from_secs(3), app.services.reports.run_due()).await;
        assert!(cut.is_err(), "the call hangs, and then the process dies");
        office.faults(json!([])).await;
        assert_eq!(other.services.reports.run_due().await.unwrap().run, 0, "somebody may be on it");
        office.clock.advance(Duration::from_mins(11));
        assert_eq!(other.services.reports.run_due().await.unwrap().run, 1);
        let last =
            other.services.reports.list_schedules(&Caller::local()).await.unwrap().schedules[0].last.clone().unwrap();
        assert!(last.ok, "{kind}: {:?}", last.problems);
        assert_eq!(office.see("mail").await.len(), 1, "{kind}");
    }
}

#[tokio::test]
async fn reworded_display_sentence_does_not_repeat_a_delivery() {
    let office = Office::open().await;
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap(); // which takes a card and never answers
    let host = silent.local_addr().unwrap().to_string();
    let mut config = office.config();
    config.auth.requires_key = false;
    config.delivery.webhook_hosts.push(host.clone());
    let (app, other) = (office.instance_with(config.clone()).await, office.instance_with(config).await);
    let request = ScheduleRequest { webhook_url: Some(format!("http://{host}/x")), ..office.friday() };
    let mail = Delivery::Mail(request.mail_to.clone().unwrap());
    let card = Delivery::Card(request.webhook_url.clone().unwrap());
    app.services.reports.schedule(&Caller::local(), &request).await.unwrap();
    office.clock.advance(8 * DAY);
    tokio::select! {
        ran = Box::pin(app.services.reports.run_due()) => panic!("the card was answered: {ran:?}"),
        _ = silent.accept() => {} // then the process dies
    }
    assert_eq!(office.see("mail").await.len(), 1);
    // What the next run knows a delivery by is its id alone, so sentences may change meanwhile.
    let store = rusqlite::Connection::open(office.folder.join("graphgate.db")).unwrap();
    let query = "SELECT json FROM rows WHERE partition LIKE '%|schedules' AND key LIKE 's|%'";
    let row: String = store.query_row(query, [], |row| row.get(0)).unwrap();
    for delivery in [&mail, &card] {
        assert!(!row.contains(&delivery.to_string()) && row.contains(&delivery.id()), "{delivery} in {row}");
    }
    office.clock.advance(Duration::from_mins(11));
    assert_eq!(other.services.reports.run_due().await.unwrap().run, 1);
    let posted = tokio::time::timeout(Duration::from_millis(200), silent.accept()).await;
    assert!(office.see("mail").await.len() == 1 && posted.is_err(), "neither is repeated");
    let last =
        other.services.reports.list_schedules(&Caller::local()).await.unwrap().schedules[0].last.clone().unwrap();
    assert!(last.problems.len() == 1 && last.problems[0].starts_with(&card.to_string()), "{:?}", last.problems);
}

#[tokio::test]
async fn health_reports_overdue_schedules() {
    let office = Office::open().await;
    let app = office.instance().await;
    app.services.reports.schedule(&Caller::local(), &office.friday()).await.unwrap();
    assert_eq!(app.services.reports.schedule_health().await.unwrap().overdue, 0);
    office.clock.advance(8 * DAY);
    assert_eq!(app.services.reports.schedule_health().await.unwrap().overdue, 1);
    app.services.reports.run_due().await.unwrap();
    assert_eq!(app.services.reports.schedule_health().await.unwrap().overdue, 0);
}

#[tokio::test]
async fn schedule_report_refuses_impossible_deliveries() {
    let office = Office::open().await;
    let app = office.instance().await;
    let refused = async |change: &dyn Fn(&mut ScheduleRequest)| {
        let mut request = office.friday();
        change(&mut request);
        app.services.reports.schedule(&Caller::local(), &request).await.unwrap_err().message
    };
    assert!(refused(&|request| request.schedule = "every friday".into()).await.contains("no schedule"));
    assert!(refused(&|request| request.report.plans = Some(vec!["Nowhere".into()])).await.contains("no plan"));
    assert!(refused(&|request| request.mail_to = Some(vec!["eve@evil.example".into()])).await.contains("evil.example"));
    assert!(refused(&|request| request.mail_to = Some(vec!["no address".into()])).await.contains("no mail address"));
    for url in [
        "https://evil.example/x",
        "http://169.254.169.254/metadata",
        "http://127.0.0.1:1/x",
        "https://user:secret@127.0.0.1/x",
        "file:///etc/passwd",
    ] {
        let message = refused(&|request| request.webhook_url = Some(url.into())).await;
        assert!(message.contains("no card may be posted"), "{url}: {message}");
    }
}

impl Office {
    /// Asks Graph as an administrator, past the program.
    async fn graph(&self, method: &str, path: &str) -> Value {
        let http = reqwest::Client::new();
        let request = http.request(method.parse().unwrap(), format!("{}/{path}", self.tenant.graph_url));
        let answer =
            request.bearer_auth(token(&self.tenant, sim::EXPLORER, sim::EXPLORER_SECRET).await).send().await.unwrap();
        assert!(answer.status().is_success(), "{method} {path}: {}", answer.status());
        answer.json().await.unwrap_or_default()
    }
}

#[tokio::test]
async fn schedule_report_refuses_channel_posts_as_application() {
    let office = Office::open().await;
    let http = reqwest::Client::new();
    let token = token(&office.tenant, &office.tenant.client_id, &office.tenant.client_secret).await;
    let url = format!("{}/teams/x/channels/y/messages", office.tenant.graph_url);
    let message = json!({"body": {"content": "hello"}});
    let answer = http.post(url).bearer_auth(token).json(&message).send().await.unwrap();
    assert_eq!(answer.status(), 403);
}

#[tokio::test]
async fn schedule_of_a_caller_without_plans_mails_nothing() {
    let office = Office::open().await;
    let app = office.instance().await;
    let nowhere = Limit { plans: [PlanId::parse("AAAAAAAAAAAAAAAAAAAAAAAAAAAA").unwrap()].into(), groups: [].into() };
    let caller =
        Caller { name: "limited".into(), plan_scope: PlanScope::everywhere().within(nowhere), ..Caller::local() };
    for kind in [Kind::Portfolio, Kind::SyncHealth] {
        let report = ReportRequest { kind: Some(kind), ..ReportRequest::default() };
        let request = ScheduleRequest { report, ..office.friday() };
        let refused = app.services.reports.schedule(&caller, &request).await.unwrap_err();
        assert_eq!(refused.code, ErrorCode::PlanNotFound, "{refused}");
    }
    assert!(app.services.reports.list_schedules(&Caller::local()).await.unwrap().schedules.is_empty());
}

#[tokio::test]
async fn schedule_stops_reporting_a_plan_its_creator_lost() {
    let office = Office::open().await;
    let app = office.instance().await;
    let plans = app.services.planner.list_plans(&Caller::local(), None, None).await.unwrap().plans;
    let id = |title: &str| PlanId::parse(&plans.iter().find(|plan| plan.title == title).unwrap().id).unwrap();
    let reaching = |title: &str| {
        let limit = Limit { plans: [id(title)].into(), groups: [].into() };
        Caller { name: "limited".into(), plan_scope: PlanScope::everywhere().within(limit), ..Caller::local() }
    };
    app.services.reports.schedule(&reaching(PLAN), &office.friday()).await.unwrap();
    let refused = app.services.reports.run_schedule(&reaching("Office move"), "Friday report").await.unwrap_err();
    assert_eq!(refused.code, ErrorCode::PlanNotFound, "{refused}");
    assert!(office.see("mail").await.is_empty());
    app.services.reports.run_schedule(&reaching(PLAN), "Friday report").await.unwrap();
    assert_eq!(office.see("mail").await.len(), 1);
}

#[tokio::test]
async fn schedules_run_without_reconciliation() {
    let office = Office::open().await;
    let mut config = graphgate::cli::dev::config(&office.tenant, Some(&office.folder)).unwrap();
    config.reconciles = false;
    let app = App::build(config, Clock::system(), Entropy::system()).await.unwrap();
    let pace = |name: &str| app.jobs().timers.iter().find(|timer| timer.name == name).unwrap().standalone;
    assert_eq!((pace("reconcile_plans"), pace("run_reports")), (None, Some(Duration::from_mins(1))));
}

impl Office {
    fn config(&self) -> Config {
        let mut config = graphgate::cli::dev::config(&self.tenant, Some(&self.folder)).unwrap();
        config.store = store::Config::Folder(self.folder.clone());
        config.auth.requires_key = true;
        config
    }

    async fn instance_with(&self, config: Config) -> App {
        App::build(config, Clock::from_source(self.clock.clone()), Entropy::system()).await.unwrap()
    }

    /// What a run that is due comes to, a week later: runs, stops, and the mails there are then.
    async fn a_week_later(&self, app: &App) -> (usize, usize, usize) {
        self.clock.advance(8 * DAY);
        let report = app.services.reports.run_due().await.unwrap();
        (report.run - report.failed, report.stopped + report.failed, self.see("mail").await.len())
    }

    async fn keys(&self) -> ApiKeys {
        let clock = Clock::from_source(self.clock.clone());
        graphgate::app::api_keys(&self.config(), &clock, &Entropy::system()).await.unwrap()
    }
}

#[tokio::test]
async fn schedule_stops_when_its_creators_key_is_revoked_or_expires() {
    let office = Office::open().await;
    let app = office.instance_with(office.config()).await;
    let (keys, entropy) = (office.keys().await, Entropy::system());
    let role = Role { toolsets: Some(["reports".to_owned(), "planner".to_owned()].into()), ..Role::default() };
    let (key, row) = keys
        .create(&Caller::local(), &entropy, NewKey { name: "leaver".into(), role: role.clone(), ..NewKey::default() })
        .await
        .unwrap();
    let end = office.now() + chrono::TimeDelta::days(12);
    let (short, _) = keys
        .create(
            &Caller::local(),
            &entropy,
            NewKey { name: "short".into(), role, expires_at: Some(end), ..NewKey::default() },
        )
        .await
        .unwrap();
    let (leaver, temporary) = (keys.identify(&key).await.unwrap().0, keys.identify(&short).await.unwrap().0);
    app.services.reports.schedule(&leaver, &office.friday()).await.unwrap();
    let other = ScheduleRequest { name: "Other".into(), ..office.friday() };
    app.services.reports.schedule(&temporary, &other).await.unwrap();
    assert_eq!(office.a_week_later(&app).await, (2, 0, 2));
    keys.revoke(&Caller::local(), &row.id).await.unwrap().unwrap();
    assert_eq!(office.a_week_later(&app).await, (0, 2, 2), "neither is mailed any more");
    let list = app.services.reports.list_schedules(&Caller::local()).await.unwrap().schedules;
    for item in &list {
        let stopped = item.stopped.as_deref().unwrap_or_default();
        assert!(stopped.contains("the key is expired or revoked"), "{item:?}");
    }
    let health = app.services.reports.schedule_health().await.unwrap();
    assert_eq!((health.schedules, health.failing), (2, 2), "health counts them");
}

#[tokio::test]
async fn schedule_runs_with_the_current_rights_of_its_creator() {
    let office = Office::open().await;
    let tenant = office.tenant.tenant_id.clone();
    let with_roles = |roles: &str| {
        let mut config = office.config();
        config.auth.easy_auth = true;
        config.auth.roles = Roles::parse(roles).unwrap();
        config
    };
    let reports = r#"{"Reporting":{"toolsets":["planner","reports"]}}"#;
    let app = office.instance_with(with_roles(reports)).await;
    let plans = app.services.planner.list_plans(&Caller::local(), None, None).await.unwrap().plans;
    let elsewhere = plans.iter().find(|plan| plan.title != PLAN).unwrap().id.clone();
    let maker = Roles::parse(reports).unwrap().application("bot", tenant, vec!["Reporting".into()]);
    app.services.reports.schedule(&maker, &office.friday()).await.unwrap();
    assert_eq!(office.a_week_later(&app).await, (1, 0, 1));
    for ended in [
        r#"{"Reporting":{"toolsets":["planner"]}}"#.to_owned(),
        r#"{"Reporting":{"toolsets":[]}}"#.to_owned(),
        format!(r#"{{"Reporting":{{"toolsets":["planner","reports"],"plans":["{elsewhere}"]}}}}"#),
    ] {
        let narrowed = office.instance_with(with_roles(&ended)).await;
        assert_eq!(office.a_week_later(&narrowed).await, (0, 1, 1), "{ended}");
        let item = &narrowed.services.reports.list_schedules(&Caller::local()).await.unwrap().schedules[0];
        assert!(item.stopped.is_some() || !item.last.as_ref().unwrap().ok, "{item:?}");
    }
    let back = office.instance_with(with_roles(reports)).await;
    assert_eq!(office.a_week_later(&back).await, (1, 0, 2), "a role that comes back is as good as before");
    office.clock.advance(91 * DAY);
    assert_eq!(office.a_week_later(&back).await, (0, 1, 2), "its maker has not called for long");
    assert_eq!(back.services.reports.list_schedules(&maker).await.unwrap().schedules.len(), 1);
    assert_eq!(office.a_week_later(&back).await, (1, 0, 3), "until it calls again");
}

#[tokio::test]
async fn schedule_stops_when_its_creator_leaves_the_plans_group() {
    let office = Office::open().await;
    let mut config = office.config();
    config.auth.easy_auth = true;
    let app = office.instance_with(config).await;
    let group = app.services.planner.find_group("Digital").await.unwrap().0;
    let people = office.graph("GET", &format!("groups/{group}/members")).await;
    let person = people["value"][0]["id"].as_str().unwrap().to_owned();
    let scopes = vec!["user_impersonation".to_owned()];
    let maker = UserId::parse(&person).unwrap();
    let maker = Roles::default().person(maker, office.tenant.tenant_id.clone(), scopes, Vec::new());
    app.services.reports.schedule(&maker, &office.friday()).await.unwrap();
    assert_eq!(office.a_week_later(&app).await, (1, 0, 1));
    office.graph("DELETE", &format!("groups/{group}/members/{person}/$ref")).await;
    assert_eq!(office.a_week_later(&app).await, (0, 1, 1), "it is mailed no more");
}
