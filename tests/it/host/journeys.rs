//! What a user of a deployment sees.

use std::collections::BTreeMap;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use serde_json::{Value, json};

use super::Deployment;
use crate::support::PLAN;
use crate::support::functions_host::{KEY, is_packaged};

#[tokio::test]
#[ignore = "needs AZURITE"]
async fn completed_task_is_completed_in_planner() {
    let deployment = Deployment::start().await;
    let made = deployment.ok("create_task", json!({"plan_id": PLAN, "title": "From the cloud"})).await;
    assert_eq!(made["sync"], "synced", "{made}");
    let done = deployment.ok("update_task", json!({"task_id": made["id"], "status": "completed"})).await;
    assert_eq!((&done["sync"], &done["status"]), (&json!("synced"), &json!("completed")));
    assert_eq!(deployment.copies("From the cloud").await, 1);
    // The same task over REST, on an instance that has never seen it.
    deployment.host.kill("http").await;
    let path = format!("api/agent/tasks/{}?code={KEY}", made["id"].as_str().unwrap());
    let request = deployment.http.get(deployment.host.url.join(&path).unwrap());
    let task: Value = request.send().await.unwrap().json().await.unwrap();
    assert_eq!((&task["title"], &task["status"]), (&json!("From the cloud"), &json!("completed")), "{task}");
    let output = deployment.host.output();
    assert!(output.iter().all(|(stream, _)| *stream == "stdout"), "stderr becomes an error each: {output:#?}");
    assert!(output.iter().all(|(_, line)| !line.contains('\u{1b}') && !line.contains(KEY)), "{output:#?}");
}

#[tokio::test]
#[ignore = "needs AZURITE"]
async fn write_during_a_graph_outage_is_finished_by_another_instance() {
    let deployment = Deployment::with(&[("WRITE_WAIT_MS", "300")]).await;
    let made = deployment.ok("create_task", json!({"plan_id": PLAN, "title": "Impatient"})).await;
    deployment.control("PUT", "faults", json!({"rules": [{"method": "PATCH", "kind": "status", "status": 503}]})).await;
    let changed = deployment.ok("update_task", json!({"task_id": made["id"], "title": "Patient"})).await;
    assert_eq!(changed["sync"], "pending", "{changed}");
    // Before the caller heard it, the reminder lay in the queue; the instance that was asked need not live any longer.
    let outbox = deployment.storage.named("graphgate-outbox");
    assert!(outbox.count().await >= 1, "a look at the plan may have left another");
    deployment.host.kill("http").await;
    deployment.control("DELETE", "faults", json!({})).await;
    deployment.until("the change arrives", async || deployment.copies("Patient").await == 1).await;
    deployment.until("the outbox is empty", async || outbox.count().await == 0).await;
    let task = deployment.ok("get_task", json!({"task_id": made["id"]})).await;
    assert_eq!(task["sync"], "synced", "{task}");
    assert!(deployment.host.invocations().iter().all(|invocation| invocation.succeeded));
}

#[tokio::test]
#[ignore = "needs AZURITE"]
async fn reconcile_message_finds_an_edit_made_in_planner() {
    let settings = [("REPLICA_MAX_AGE_SECONDS", "3600"), ("REFRESH_SECONDS", "2")];
    let deployment = Deployment::with(&settings).await;
    let made = deployment.ok("create_task", json!({"plan_id": PLAN, "title": "Drag me"})).await;
    let edit = json!({"task_id": made["planner_id"], "set": {"percentComplete": 50}});
    deployment.control("POST", "colleague/edit", edit).await;
    // Messages are worked on in a process of its own, which shares nothing with the one that answers but the store.
    let moved = async |status: &str| {
        let page = deployment.ok("query_tasks", json!({"plan_id": PLAN, "text": "Drag me"})).await;
        page["rows"][0][3] == status
    };
    deployment.until("the plan is refreshed", async || moved("in_progress").await).await;
    // No timer has been due; one message leads to the next.
    let edit = json!({"task_id": made["planner_id"], "set": {"percentComplete": 100}});
    deployment.control("POST", "colleague/edit", edit).await;
    deployment.until("the plan is refreshed again", async || moved("completed").await).await;
    let fired = deployment.host.fire("reconcile_plans").await;
    assert!(fired.succeeded && fired.log.contains(r#""plans":0,"failed":0"#), "nothing is overdue: {fired:?}");
    for timer in ["refresh_metadata"] {
        let fired = deployment.host.fire(timer).await;
        assert!(fired.succeeded, "{fired:?}");
    }
}

/// The timer comes to every instance; one of them runs what is due, and the mail is there once. The package has the
/// typesetter, so that paper comes from it.
#[tokio::test]
#[ignore = "needs AZURITE"]
async fn due_report_is_mailed_once_by_two_instances() {
    let sender = format!("AdeleV@{}", graphgate_sim::DOMAIN);
    let deployment = Deployment::with(&[("REPORT_SENDER", &sender)]).await;
    let (format, media_type) =
        if is_packaged() { ("pdf", "application/pdf") } else { ("html", "text/html; charset=utf-8") };
    let due = Utc::now() + TimeDelta::seconds(65); // to the minute, and not over before it is scheduled
    let definition = json!({
        "name": "Once", "schedule": due.format("%-M %-H %-d %-m *").to_string(), "plans": [PLAN],
        "formats": [format, "xlsx"], "mail_to": [format!("ZoeM@{}", graphgate_sim::DOMAIN)],
    });
    let item = deployment.ok("schedule_report", definition).await;
    let due: DateTime<Utc> = item["next"].as_str().unwrap().parse().unwrap();
    let second = deployment.scaled_out().await;
    for instance in [&deployment.host, &second] {
        assert!(instance.fire("run_reports").await.log.contains(r#""run":0"#), "not yet, or never again");
    }
    deployment.until("the hour comes", async || Utc::now() >= due).await;
    let fired = tokio::join!(deployment.host.fire("run_reports"), second.fire("run_reports"));
    let after = deployment.host.fire("run_reports").await;
    let fired = [fired.0, fired.1, after];
    assert!(fired.iter().all(|fired| fired.succeeded && fired.log.contains(r#""failed":0"#)), "{fired:#?}");
    let runs: Vec<bool> = fired.iter().map(|fired| fired.log.contains(r#""run":1"#)).collect();
    assert!(runs == [true, false, false] || runs == [false, true, false], "{fired:#?}");
    let sent = deployment.see("mail").await["sent"].as_array().unwrap().clone();
    let files = sent[0]["files"].as_array().unwrap();
    assert!(sent.len() == 1 && files.len() == 2, "{sent:#?}");
    assert!(files[0]["contentType"] == media_type && files[0]["size"].as_u64().unwrap() > 4_000, "{sent:#?}");
    // The instance that answers people was neither of them.
    let list = deployment.ok("list_report_schedules", json!({})).await;
    assert_eq!(list["schedules"][0]["last"]["ok"], true, "{list}");
    let kept = deployment.http.get(deployment.host.url.join(&format!("api/reports?code={KEY}")).unwrap());
    let kept: Value = kept.send().await.unwrap().json().await.unwrap();
    assert_eq!(kept["reports"][0]["id"], list["schedules"][0]["last"]["report"], "{kept}");
}

#[tokio::test]
#[ignore = "needs AZURITE"]
async fn notification_reaches_listeners_of_all_instances() {
    let deployment = Deployment::with(&[("REPLICA_MAX_AGE_SECONDS", "3600")]).await;
    let made = deployment.ok("create_subscription", json!({"kind": "group", "names": ["Digital"]})).await;
    assert_eq!(made["subscription"]["state"], "active", "{made:#}");
    let plan = deployment.ok("get_plan", json!({"plan_id": PLAN})).await["id"].clone();
    let heard_of = json!({"plan_id": PLAN, "text": "Heard of"});
    assert_eq!(deployment.ok("query_tasks", heard_of.clone()).await["total"], 0);
    let mut listener = deployment.http.get(deployment.host.url.join(&format!("api/events?code={KEY}")).unwrap());
    listener = listener.header("accept", "text/event-stream");
    let mut listener = listener.send().await.unwrap();
    assert!(listener.chunk().await.unwrap().unwrap().starts_with(b"event: hello"));
    let add = json!({"create": {"planId": plan, "title": "Heard of"}});
    deployment.control("POST", "colleague/edit", add).await;
    let group = deployment.page("api/metadata?type=group&id=Digital").await["id"].as_str().unwrap().to_owned();
    let change = json!({"resource": format!("groups/{group}"), "id": group});
    let told = deployment.control("POST", "notifications", change).await;
    assert_eq!(told["sent"], 1);
    // Receiver, worker and the answering one are three processes that share nothing but the store.
    deployment.until("it is found", async || deployment.ok("query_tasks", heard_of.clone()).await["total"] == 1).await;
    let mut text = String::new();
    while !text.contains("Heard of") {
        let chunk = tokio::time::timeout(Duration::from_secs(20), listener.chunk()).await;
        text.push_str(std::str::from_utf8(&chunk.expect("the listener hears").unwrap().unwrap()).unwrap());
    }
    assert!(text.contains("event: created"), "{text}");
    // The listener may hear before the host has the worker's answer.
    let worked_on = async || deployment.host.invocations().iter().any(|one| one.function == "on_notification");
    deployment.until("the worker is done", worked_on).await;
    let invocations = deployment.host.invocations();
    assert!(invocations.iter().all(|one| one.succeeded), "{invocations:#?}");
    let worked: Vec<_> = invocations.iter().filter(|one| one.function == "on_notification").collect();
    assert!(worked.len() == 1 && worked[0].log.contains(r#""done":1"#), "{invocations:#?}");
    assert_eq!(deployment.page("api/webhook/health").await["status"], "ok");
    let fired = deployment.host.fire("renew_subscriptions").await;
    assert!(fired.succeeded && fired.log.contains(r#""failed":0"#), "{fired:?}");
    // The same way once more for a sample of ours.
    let test = deployment.http.post(deployment.host.url.join("api/webhook/test").unwrap());
    let test: Value = test.header("x-functions-key", KEY).send().await.unwrap().json().await.unwrap();
    assert_eq!(test["status"], "ok", "{test:#}");
}

#[tokio::test]
#[ignore = "needs AZURITE"]
async fn poison_message_is_set_aside_after_five_tries() {
    let deployment = Deployment::start().await;
    let plan = deployment.ok("get_plan", json!({"plan_id": PLAN})).await["id"].clone();
    let outbox = deployment.storage.named("graphgate-outbox");
    outbox.send("no message of ours").await;
    outbox.send(&json!({ "plan": plan }).to_string()).await;
    let poison = deployment.storage.named("graphgate-outbox-poison");
    deployment.until("it is set aside", async || poison.count().await == 1 && outbox.count().await == 0).await;
    let mut invocations = deployment.host.invocations();
    invocations.retain(|invocation| invocation.function == "on_outbox");
    let tries = |succeeded: bool| invocations.iter().filter(|invocation| invocation.succeeded == succeeded).count();
    assert_eq!((tries(false), tries(true)), (5, 1), "{invocations:#?}");
    // Somebody hears of it, and can have it tried again.
    let swept = deployment.host.fire("sweep_poison").await;
    assert!(swept.succeeded && swept.log.contains(r#""poisoned":1"#), "{swept:?}");
    let alerts = |line: &str| line.contains("poison queue"); // what `infra/app/alerts.bicep` searches for
    deployment
        .until("an alert is raised", async || deployment.host.output().iter().any(|(_, line)| alerts(line)))
        .await;
    let health = deployment.page("health/ready").await;
    assert_eq!((&health["status"], &health["queues"]["poisoned"]), (&json!("degraded"), &json!(1)), "{health:#}");
    let command = async |arguments: &[&str]| {
        let mut command = tokio::process::Command::new(env!("CARGO_BIN_EXE_graphgate"));
        command.arg("queue").args(arguments).args(["-o", "json"]).envs(deployment.settings.iter().cloned());
        let output = command.output().await.unwrap();
        assert!(output.status.success(), "{output:?}");
        serde_json::from_slice::<Value>(&output.stdout).unwrap()
    };
    let shown = command(&["poison"]).await;
    assert_eq!(shown["messages"][0]["queue"], "graphgate-outbox", "{shown:#}");
    assert!(!shown.to_string().contains("no message of ours"), "no text is shown: {shown:#}");
    let redriven = command(&["redrive", "graphgate-outbox"]).await;
    assert_eq!(redriven["queues"], json!([{"queue": "graphgate-outbox", "messages": 1}]));
    let failed = async || deployment.host.invocations().iter().filter(|one| !one.succeeded).count() == 10;
    deployment.until("it is tried five times more", failed).await;
}

/// A burst: everything is handled, for every plan, and nothing comes twice.
#[tokio::test]
#[ignore = "needs AZURITE"]
async fn thousand_queue_messages_are_all_handled() {
    let deployment = Deployment::start().await;
    let plans = deployment.ok("list_plans", json!({})).await["plans"].as_array().unwrap().clone();
    assert!(plans.len() >= 8);
    let outbox = deployment.storage.named("graphgate-outbox");
    let messages: Vec<String> = (0..1000)
        .map(|number| json!({"plan": plans[number % plans.len()]["id"], "number": number}).to_string())
        .collect();
    for burst in messages.chunks(50) {
        futures::future::join_all(burst.iter().map(|message| outbox.send(message))).await;
    }
    deployment.until("the outbox is empty", async || outbox.count().await == 0).await;
    let mut invocations = deployment.host.invocations();
    invocations.retain(|invocation| invocation.function == "on_outbox");
    let mut handled: Vec<&str> = invocations.iter().filter_map(|invocation| invocation.message.as_deref()).collect();
    handled.sort_unstable();
    let mut sent: Vec<&str> = messages.iter().map(String::as_str).collect();
    sent.sort_unstable();
    assert!(handled == sent, "{} of 1000", handled.len());
    assert!(invocations.iter().all(|invocation| invocation.succeeded));
    assert_eq!(deployment.storage.named("graphgate-outbox-poison").count().await, 0);
    let mut took: Vec<Duration> = invocations.iter().map(|invocation| invocation.took).collect();
    took.sort_unstable();
    let (p50, p99) = (took[took.len() / 2], took[took.len() * 99 / 100]);
    println!("1,000 messages: p50 {} ms, p99 {} ms", p50.as_millis(), p99.as_millis());
    assert!(p99 < Duration::from_secs(5), "p99 {p99:?}");
}

/// Every message is a nudge; what is sent, and in which order, the plan's journal says. So messages overtake each other
/// and meet a tenant that refuses every third change, and writes still do not overtake each other.
#[tokio::test]
#[ignore = "needs AZURITE"]
async fn thousand_messages_during_writes_keep_the_order_of_each_plan() {
    const WRITES: usize = 25;
    const MESSAGES: usize = 5;
    let deployment = Deployment::with(&[("WRITE_WAIT_MS", "1")]).await;
    let plans = deployment.ok("list_plans", json!({})).await["plans"].as_array().unwrap().clone();
    assert_eq!(plans.len() * WRITES * MESSAGES, 1000);
    let synced = async |id: &Value| deployment.ok("get_task", json!({"task_id": id})).await["sync"] == "synced";
    let mut tasks = Vec::new();
    for plan in &plans {
        let made = deployment.ok("create_task", json!({"plan_id": plan["id"], "title": "Ordered 0"})).await;
        deployment.until("it is on Planner", async || synced(&made["id"]).await).await;
        tasks.push(made["id"].clone());
    }
    let fault = json!({"method": "PATCH", "every_nth": 3, "kind": "status", "status": 503});
    deployment.control("POST", "faults", fault).await;
    let outbox = deployment.storage.named("graphgate-outbox");
    let write = async |(plan, id): (&Value, &Value)| {
        for number in 1..=WRITES {
            let nudge = json!({"plan": plan["id"], "number": number}).to_string();
            let nudges = futures::future::join_all((0..MESSAGES).map(|_| outbox.send(&nudge)));
            let change = json!({"task_id": id, "title": format!("Ordered {number}")});
            futures::future::join(nudges, deployment.ok("update_task", change)).await;
        }
    };
    let mut writing = std::pin::pin!(futures::future::join_all(plans.iter().zip(&tasks).map(write)));
    // The tenant remembers its last 500 requests: they are collected as they come.
    let (mut written, mut requests) = (false, BTreeMap::new());
    loop {
        tokio::select! {
            _ = &mut writing, if !written => {
                written = true;
                deployment.control("DELETE", "faults", json!({})).await;
            }
            () = tokio::time::sleep(Duration::from_millis(300)) => {}
        }
        for request in deployment.see("requests?last=500").await["requests"].as_array().unwrap() {
            requests.insert(request["n"].as_u64().unwrap(), request.clone());
        }
        let all_synced =
            async || futures::future::join_all(tasks.iter().map(synced)).await.iter().all(|synced| *synced);
        if written && outbox.count().await == 0 && all_synced().await {
            break;
        }
    }
    let mut arrived: BTreeMap<String, Vec<usize>> = BTreeMap::new();
    let mut refused = 0;
    for request in requests.values().filter(|request| request["method"] == "PATCH") {
        let title = request["body"]["title"].as_str().and_then(|title| title.strip_prefix("Ordered "));
        let Some(number) = title.and_then(|number| number.parse().ok()) else { continue };
        match request["status"].as_u64() {
            Some(200 | 204) => arrived.entry(request["path"].as_str().unwrap().to_owned()).or_default().push(number),
            Some(503) => refused += 1,
            // A process that stood still while another went on comes too late: its ETag is old, and nothing arrives.
            Some(409 | 412) => {}
            _ => panic!("{request}"),
        }
    }
    assert_eq!(arrived.len(), tasks.len());
    for (task, numbers) in &arrived {
        assert!(numbers.is_sorted_by(|earlier, later| earlier < later), "{task}: {numbers:?}");
        assert_eq!(numbers.last(), Some(&WRITES), "{task}: {numbers:?}");
    }
    assert_eq!(deployment.copies(&format!("Ordered {WRITES}")).await, tasks.len());
    let calls: usize = arrived.values().map(Vec::len).sum();
    println!("{} writes arrived in {calls} calls, {refused} were refused", tasks.len() * WRITES);
    assert!(refused > 0);
}
