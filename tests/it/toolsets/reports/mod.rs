//! Scheduled reports: `schedule_report`, `list_report_schedules`, `run_report_schedule`, `remove_report_schedule`; and what a
//! report looks like in every format.

mod golden;
mod mail;
mod schedule;
mod seeded;

use serde_json::{Value, json};

use crate::support::{PLAN, World};

async fn mails(world: &World) -> Vec<Value> {
    world.control("GET", "mail", json!({})).await["sent"].as_array().unwrap().clone()
}

async fn schedules(world: &World) -> Vec<Value> {
    world.ok("list_report_schedules", json!({})).await["schedules"].as_array().unwrap().clone()
}

/// Mails a report of [`PLAN`] on New Year's morning, and so not during a test.
async fn yearly(world: &World, kind: &str) -> Value {
    let recipient = format!("ZoeM@{}", graphgate_sim::DOMAIN);
    let definition = json!({"name": "Yearly", "schedule": "0 4 1 1 *", "time_zone": "Europe/Berlin", "plans": [PLAN],
        "type": kind, "formats": ["html"], "mail_to": [recipient]});
    world.ok("schedule_report", definition).await
}

#[tokio::test]
async fn schedule_report_of_the_same_name_replaces_the_schedule() {
    let world = World::start().await;
    let made = yearly(&world, "summary").await;
    assert_eq!((&made["name"], &made["type"]), (&json!("Yearly"), &json!("summary")), "{made}");
    assert_eq!(made["plans"], json!([world.plan_id().await]), "by id");
    assert!(made["next"].as_str().unwrap().ends_with("-01-01T03:00:00Z"), "04:00 in Berlin: {made}");
    let replaced = yearly(&world, "overdue").await;
    assert_eq!(replaced["type"], "overdue", "{replaced}");
    let listed = schedules(&world).await;
    assert_eq!((listed.len(), &listed[0]["type"], &listed[0]["last"]), (1, &json!("overdue"), &Value::Null));
    assert!(mails(&world).await.is_empty(), "it is not due");
    let (code, message, _) = world
        .refused(
            "schedule_report",
            json!({"name": "Never", "schedule": "0 0 31 2 *", "plans": [PLAN], "mail_to": ["a@b.c"]}),
        )
        .await;
    assert_eq!(code, "VAL_001", "{message}");
    assert_eq!(schedules(&world).await.len(), 1, "what is refused is not stored");
}

#[tokio::test]
async fn run_report_schedule_delivers_now_and_keeps_the_next_date() {
    let world = World::start().await;
    let made = yearly(&world, "overdue").await;
    let ran = world.ok("run_report_schedule", json!({"name": "yearly"})).await;
    assert_eq!((&ran["last"]["ok"], &ran["next"]), (&json!(true), &made["next"]), "{ran}");
    let sent = mails(&world).await;
    assert_eq!((sent.len(), &sent[0]["subject"]), (1, &json!(format!("Overdue tasks: {PLAN}"))), "{sent:?}");
    assert_eq!(schedules(&world).await[0]["last"]["report"], ran["last"]["report"]);
    world.ok("run_report_schedule", json!({"name": "Yearly"})).await;
    assert_eq!(mails(&world).await.len(), 2, "each call sends one");
    let (code, message, _) = world.refused("run_report_schedule", json!({"name": "Monthly"})).await;
    assert_eq!((code.as_str(), message.contains("there is no schedule `Monthly`")), ("FIND_001", true), "{message}");
}

#[tokio::test]
async fn remove_report_schedule_deletes_the_schedule_and_keeps_its_reports() {
    let world = World::start().await;
    yearly(&world, "summary").await;
    let report = world.ok("run_report_schedule", json!({"name": "Yearly"})).await["last"]["report"].clone();
    let removed = world.ok("remove_report_schedule", json!({"name": "YEARLY"})).await;
    assert_eq!(removed["removed"], "Yearly");
    assert!(schedules(&world).await.is_empty());
    let kept = crate::support::rest::ask(&world.api_url(), "GET", "/api/reports").await;
    assert!(kept.body.to_string().contains(report.as_str().unwrap()), "{kept:#?}");
    for tool in ["remove_report_schedule", "run_report_schedule"] {
        let (code, message, _) = world.refused(tool, json!({"name": "Yearly"})).await;
        assert_eq!(code, "FIND_001", "{message}");
    }
    assert_eq!(mails(&world).await.len(), 1, "nothing is sent any more");
}
