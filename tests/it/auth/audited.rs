//! The audit log: what was done, by whom, to what; what was refused; and what readers of it may see.

use std::sync::Arc;
use std::time::Duration;

use graphgate::app;
use graphgate::auth::{Caller, NewKey, Role};
use graphgate::clock::{Clock, ManualClock};
use graphgate::ids::{Entropy, PlanId};
use graphgate::rows::{Tables, TenantTables, Write};
use graphgate::services::audit::{Audit, AuditQuery, Entry, Operation, Policy, Scope, Visible};
use graphgate::store::MemoryTables;
use serde_json::{Value, json};

use super::callers::Gate;
use crate::support::PLAN;
use crate::support::rest::{ask, send};

async fn rows(gate: &Gate, key: &str) -> Vec<Value> {
    let page = gate.ask("GET", "/api/audit?limit=1000", key).await;
    assert_eq!(page.status, 200, "{page:#?}");
    page.body["entries"].as_array().unwrap().clone()
}

fn of<'a>(rows: &'a [Value], operation: &str) -> &'a Value {
    let found = rows.iter().find(|row| row["operation"] == operation);
    found.unwrap_or_else(|| panic!("{operation} in {rows:#?}"))
}

#[tokio::test]
async fn audit_rows_name_created_targets_and_refusals() {
    let gate = Gate::open(|_| ()).await;
    let operator = Role { operator: true, ..Role::default() };
    let (key, _) = gate.key(operator, 1).await;
    let (reader, reader_id) = gate.key(Role { read_only: true, ..Role::default() }, 1).await;
    let made = |answer: Value| answer["result"]["structuredContent"].clone();
    let task = made(gate.call(&key, "create_task", json!({"plan_id": PLAN, "title": "Audited"})).await);
    let tasks = json!([{"title": "One"}, {"title": "Two"}]);
    let bulk = made(gate.call(&key, "bulk_create_tasks", json!({"plan_id": PLAN, "tasks": tasks})).await);
    let bucket = made(gate.call(&key, "create_bucket", json!({"plan_id": PLAN, "name": "Audited"})).await);
    let report = made(gate.call(&key, "generate_report", json!({"plans": [PLAN], "formats": ["json"]})).await);
    let schedule = json!({"name": "Audited", "schedule": "0 16 * * fri", "plans": [PLAN],
        "mail_to": [format!("ZoeM@{}", graphgate_sim::DOMAIN)]});
    gate.call(&key, "schedule_report", schedule).await;
    let ran = gate.ask("POST", "/api/report-schedules/Audited/run", &key).await;
    assert!(ran.status < 500, "{ran:#?}");
    let download = reqwest::Url::parse(report["downloads"]["json"].as_str().unwrap()).unwrap();
    let followed = ask(&gate.world.api_url(), "GET", &download[url::Position::BeforePath..]).await;
    assert_eq!(followed.status, 200, "{followed:#?}");
    // Refused: nothing proven, a role that may not, a tool that writes, a tool that is not there.
    send(&gate.world.api_url(), "GET", "/api/agent/tasks", &[], None).await.assert_problem(401, "AUTH_001");
    gate.ask("POST", "/api/agent/tasks", &reader).await.assert_problem(403, "PERM_001");
    gate.call(&reader, "delete_task", json!({"task_id": task["id"]})).await;
    gate.call(&reader, "no_such_tool", json!({})).await;
    let (reporting, reporting_id) =
        gate.key(Role { toolsets: Some(["reports".to_owned()].into()), ..Role::default() }, 1).await;
    gate.ask("GET", "/api/resources?uri=planner://plans", &reporting).await.assert_problem(403, "PERM_001");

    let rows = rows(&gate, &key).await;
    let target = |operation: &str, kind: &str| of(&rows, operation)["target"][kind].as_str().unwrap_or("").to_owned();
    assert_eq!(target("create_task", "task_id"), task["id"].as_str().unwrap());
    assert_eq!(target("create_task", "plan_id").len(), 28);
    let mut ids: Vec<&str> = bulk["ids"].as_array().unwrap().iter().map(|id| id.as_str().unwrap()).collect();
    ids.sort_unstable();
    assert_eq!(target("bulk_create_tasks", "task_id"), ids.join(" "));
    assert_eq!(target("create_bucket", "bucket_id"), bucket["id"].as_str().unwrap());
    assert_eq!(target("generate_report", "report_id"), report["id"].as_str().unwrap());
    assert_eq!(of(&rows, "generate_report")["writes"], true, "what keeps a file writes");
    assert_eq!(target("schedule_report", "schedule"), "Audited");
    assert_eq!(target("POST /api/report-schedules/{name}/run", "schedule"), "Audited");
    assert!(target("POST /api/report-schedules/{name}/run", "delivered").starts_with("mail-"));
    assert_eq!(target("GET /downloads/{name}", "report_id"), report["id"].as_str().unwrap());
    assert_eq!(of(&rows, "GET /downloads/{name}")["caller"], "link");
    let refused = of(&rows, "GET /api/agent/tasks");
    assert_eq!((&refused["outcome"], &refused["caller"]), (&json!("AUTH_001"), &json!("nobody")));
    let by_reader = format!("key:{reader_id}");
    for (operation, outcome) in
        [("POST /api/agent/tasks", "PERM_001"), ("delete_task", "PERM_002"), ("unknown tool", "FIND_001")]
    {
        let row = of(&rows, operation);
        assert_eq!((&row["outcome"], &row["caller"]), (&json!(outcome), &json!(by_reader)), "{row}");
    }
    let read = of(&rows, "resources/read");
    assert_eq!(
        (&read["outcome"], &read["caller"]),
        (&json!("PERM_001"), &json!(format!("key:{reporting_id}"))),
        "{read}"
    );
    assert!(rows.iter().all(|row| row["outcome"] != "unfinished"), "{rows:#?}");
}

#[tokio::test]
async fn repeated_refusals_are_limited_in_the_audit_log() {
    let gate = Gate::open(|_| ()).await;
    let (key, _) = gate.key(Role { operator: true, ..Role::default() }, 1).await;
    for _ in 0..60 {
        send(&gate.world.api_url(), "GET", "/metrics", &[("x-api-key", "wrong")], None).await;
    }
    let rows = rows(&gate, &key).await;
    let refused: Vec<&Value> = rows.iter().filter(|row| row["operation"] == "GET /metrics").collect();
    let counted: u64 = refused.iter().map(|row| row["count"].as_u64().unwrap_or(1)).sum();
    assert_eq!(counted, 60, "{refused:#?}");
    assert!(refused.len() <= 42, "twenty of an hour: {refused:#?}");
}

#[tokio::test]
async fn audit_counts_reads_by_caller_and_hour_and_writes_read_rows_if_configured() {
    for scope in [Scope::Counted, Scope::All, Scope::Writes] {
        let gate = Gate::open(|config| config.audit.scope = scope).await;
        let (key, id) = gate.key(Role { operator: true, ..Role::default() }, 1).await;
        let plan = gate.plans(&key).await[0].0.clone();
        for _ in 0..30 {
            gate.call(&key, "query_tasks", json!({"plan_id": plan, "limit": 1})).await;
        }
        let rows = rows(&gate, &key).await;
        let reads: Vec<&Value> = rows.iter().filter(|row| row["operation"] == "query_tasks").collect();
        match scope {
            Scope::Counted => {
                let sum: u64 = reads.iter().map(|row| row["count"].as_u64().unwrap()).sum();
                assert!(sum == 30 && reads.len() <= 2, "one for each hour: {reads:#?}");
                let by = (&reads[0]["caller"], &reads[0]["target"]["plan_id"], &reads[0]["writes"]);
                assert_eq!(by, (&json!(format!("key:{id}")), &json!(plan), &json!(false)));
            }
            Scope::All => assert_eq!(reads.len(), 30),
            Scope::Writes => assert!(reads.is_empty(), "{reads:#?}"),
        }
    }
}

#[tokio::test]
async fn operator_limited_to_plans_sees_audit_rows_of_these_plans_only() {
    let gate = Gate::open(|_| ()).await;
    let (all, _) = gate.key(Role { operator: true, ..Role::default() }, 1).await;
    let plans = gate.plans(&all).await;
    let mine = PlanId::parse(&plans[0].0).unwrap();
    let (narrow, _) = gate.key(Role { operator: true, plans: [mine].into(), ..Role::default() }, 1).await;
    for (plan, _) in &plans[..2] {
        gate.call(&all, "create_task", json!({"plan_id": plan, "title": "x"})).await;
    }
    let seen = |rows: Vec<Value>| {
        let plans = rows.iter().filter_map(|row| row["target"]["plan_id"].as_str().map(str::to_owned));
        plans.collect::<std::collections::BTreeSet<String>>()
    };
    assert!(seen(rows(&gate, &all).await).len() >= 2);
    let narrowed = rows(&gate, &narrow).await;
    assert_eq!(seen(narrowed.clone()), [plans[0].0.clone()].into());
    assert!(narrowed.iter().all(|row| row["target"]["plan_id"] == plans[0].0.as_str()), "{narrowed:#?}");
}

#[tokio::test]
async fn creating_and_revoking_api_keys_writes_audit_rows() {
    let gate = Gate::open(|_| ()).await;
    let (audit, writer) = app::audit(&gate.config, &Clock::system(), &Entropy::system()).await.unwrap();
    let keys = app::api_keys(&gate.config, &Clock::system(), &Entropy::system()).await.unwrap();
    let caller = Caller::local();
    let begin = |name: &str| {
        let name = name.to_owned();
        audit.begin(&Operation { caller: &caller, name, writes: true, arguments: None, ids: Vec::new() })
    };
    let (entropy, role) = (Entropy::system(), Role::default());
    let noted = begin("keys create");
    let (_, row) = keys
        .create(&noted.of(Caller::local()), &entropy, NewKey { name: "audited".into(), role, ..NewKey::default() })
        .await
        .unwrap();
    // The command dies here: the key is there, and so is its row.
    drop((noted, writer));
    let page = audit.list(&AuditQuery::default(), &Visible::All).await.unwrap();
    let made: Vec<&Entry> = page.entries.iter().filter(|entry| entry.operation == "keys create").collect();
    assert_eq!((made.len(), made[0].outcome.as_str()), (1, "unfinished"));
    assert_eq!(made[0].target["key_id"], row.id);
}

#[tokio::test]
async fn audit_row_is_written_before_the_operation_ends() {
    let time = ManualClock::at("2026-11-01T23:59:59Z".parse().unwrap());
    let clock = Clock::from_source(time.clone());
    let tables: Arc<dyn Tables> = Arc::new(MemoryTables::default());
    let policy = Policy { scope: Scope::Counted, days: None };
    let (audit, writer) = Audit::new(TenantTables::new(tables.clone(), "tenant"), policy, clock, Entropy::seeded(1));
    tokio::spawn(writer.run());
    let caller = Caller::local();
    let noted = audit.begin(&Operation {
        caller: &caller,
        name: "generate_report".into(),
        writes: false,
        arguments: None,
        ids: Vec::new(),
    });
    let caller = noted.of(Caller::local());
    for report in ["one", "two"] {
        let trace = caller.trace("tenant|reports", &[("report_id", report)]).unwrap().unwrap();
        let effect = Write::upsert(format!("r|{report}"), &report).unwrap();
        tables.commit("tenant|reports", vec![effect, trace]).await.unwrap();
    }
    let day = Some("2026-11-01".parse().unwrap());
    let query = AuditQuery { day, ..AuditQuery::default() };
    let listed = async || audit.list(&query, &Visible::All).await.unwrap().entries;
    let rows = listed().await;
    assert_eq!((rows.len(), rows[0].outcome.as_str()), (1, "unfinished"), "{rows:#?}");
    assert_eq!(rows[0].target["report_id"], "one two");
    time.advance(Duration::from_secs(5));
    audit.record(noted, "ok", Duration::from_secs(5)).await;
    let rows = listed().await;
    assert_eq!(
        (rows.len(), rows[0].outcome.as_str(), rows[0].ms),
        (1, "ok", 5000),
        "the end writes over it: {rows:#?}"
    );
    assert!(rows[0].writes, "it had effects");
    let left = tables.scan("tenant|reports", "a|", "a}", 10).await.unwrap().rows;
    assert!(left.is_empty(), "what the log has is tidied away");
}
