//! Kills, full disks, taken ports.

use std::process::Command;
use std::time::Duration;

use serde_json::json;

use super::Deployment;
use crate::support::PLAN;
use crate::support::process::{Folder, GRAPHGATE, Process};

#[tokio::test]
async fn binary_trusts_a_private_ca_from_ssl_cert_file() {
    let deployment = Deployment::start().await;
    let made = deployment.call("create_task", json!({"plan_id": PLAN, "title": "Over TLS"})).await.unwrap();
    assert_eq!(made["sync"], "synced", "{made}");
    assert_eq!(deployment.tasks().await["Over TLS"].len(), 1);
}

#[tokio::test]
async fn kill_9_loses_no_write_and_creates_no_duplicate() {
    let mut deployment = Deployment::start().await;
    deployment.control("PUT", "latency", json!({"ms": 20})).await;
    let mut acknowledged = Vec::new();
    for round in 0..40u64 {
        if round >= 5 && acknowledged.len() >= 5 {
            break; // a slow machine needs more rounds
        }
        let writes = async {
            for number in 0..40 {
                let title = format!("Round {round} task {number}");
                let call = json!({"plan_id": PLAN, "title": title, "idempotency_key": title});
                if let Ok(made) = deployment.call("create_task", call).await {
                    acknowledged.push((title, made["id"].as_str().unwrap().to_owned()));
                }
            }
        };
        let _ = tokio::time::timeout(Duration::from_millis(150 + 130 * round), writes).await;
        deployment.serve(Command::new(env!("CARGO_BIN_EXE_graphgate"))).await; // kills the one that runs
    }
    assert!(acknowledged.len() >= 5, "the rounds did something: {}", acknowledged.len());
    for (title, id) in &acknowledged {
        let task = deployment.call("get_task", json!({"task_id": id})).await.unwrap();
        assert_eq!(task["title"], title.as_str());
    }
    // A create whose answer was lost is settled only after Planner has had half a minute to show it.
    for _ in 0..900 {
        let pending = deployment
            .call("query_tasks", json!({"plan_id": PLAN, "text": "Round ", "fields": ["sync"], "limit": 1000}))
            .await
            .unwrap();
        if pending["rows"].as_array().unwrap().iter().all(|row| row[0] == "synced") {
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let tasks = deployment.tasks().await;
    for (title, _) in &acknowledged {
        assert_eq!(tasks.get(title).map(Vec::len), Some(1), "{title} is on Planner exactly once");
    }
    let twins: Vec<_> =
        tasks.iter().filter(|(title, copies)| title.starts_with("Round ") && copies.len() > 1).collect();
    assert!(twins.is_empty(), "{twins:?}");
}

#[cfg(unix)]
#[tokio::test]
async fn full_disk_refuses_writes_and_keeps_reads_working() {
    let mut deployment = Deployment::start().await;
    deployment.call("get_plan", json!({"plan_id": PLAN})).await.unwrap();
    // A limit on the size of files stands for a full disk: the write fails in the same place.
    let mut command = Command::new("bash");
    command.args(["-c", "trap '' XFSZ; ulimit -f 900; exec \"$0\" \"$@\"", env!("CARGO_BIN_EXE_graphgate")]);
    deployment.serve(command).await;
    deployment.call("get_plan", json!({"plan_id": PLAN})).await.unwrap();
    let text = "x".repeat(20_000);
    let mut refused = None;
    for number in 0..100 {
        let call = json!({"plan_id": PLAN, "title": format!("Full {number}"), "description": text});
        if let Err(error) = deployment.call("create_task", call).await {
            refused = Some(error);
            break;
        }
    }
    let error = refused.expect("the disk fills up");
    assert_eq!(error["code"], "STORE_001", "{error}");
    let page = deployment.call("query_tasks", json!({"plan_id": PLAN, "limit": 1})).await.unwrap();
    assert!(page["total"].as_u64().unwrap() >= 200, "reads go on: {page}");
}

#[test]
fn port_in_use_is_reported_with_a_hint() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let folder = Folder::new();
    let output = Command::new(env!("CARGO_BIN_EXE_graphgate"))
        .args(["dev", "--sim-port", "0", "--port", &port])
        .current_dir(&folder.0)
        .output()
        .unwrap();
    let told = String::from_utf8(output.stderr).unwrap();
    assert!(!output.status.success());
    assert!(told.contains(&port) && told.contains("--port 0"), "{told}");
}

#[test]
fn all_invalid_settings_are_reported_at_once() {
    let output = Command::new(env!("CARGO_BIN_EXE_graphgate"))
        .arg("serve")
        .env_remove("AZURE_TENANT_ID")
        .env("PLANNER_PLAN_IDS", "nonsense")
        .output()
        .unwrap();
    let told = String::from_utf8(output.stderr).unwrap();
    assert!(!output.status.success());
    assert!(told.contains("AZURE_TENANT_ID") && told.contains("PLANNER_PLAN_IDS"), "{told}");
}

#[tokio::test]
async fn functions_key_is_refused_where_functions_are_anonymous() {
    let folder = Folder::new();
    let levels = |level: &str| {
        for function in ["mcp", "metrics", "rest"] {
            let text = std::fs::read_to_string(format!("functions/{function}/function.json")).unwrap();
            let text = text.replace(r#""authLevel": "function""#, &format!(r#""authLevel": "{level}""#));
            std::fs::create_dir_all(folder.0.join(function)).unwrap();
            std::fs::write(folder.0.join(function).join("function.json"), text).unwrap();
        }
    };
    let serve = |more: &[(&str, &str)]| {
        let port = crate::support::free_port().to_string();
        let mut command = Command::new(GRAPHGATE);
        command.arg("serve").current_dir(&folder.0).envs(more.iter().copied()).envs([
            ("FUNCTIONS_CUSTOMHANDLER_PORT", port.as_str()),
            ("HOST_KEY_ROLE", "GraphGate.Admin"),
            ("DATA_DIR", ":memory:"),
            ("AZURE_TENANT_ID", "00000000-0000-0000-0000-000000000001"),
            ("AZURE_CLIENT_ID", "00000000-0000-0000-0000-000000000002"),
            ("AZURE_CLIENT_SECRET", "unused"),
        ]);
        command
    };
    let ready = folder.0.join("ready.json");
    let made_up = async |process: &Process| {
        let metrics = process.text("api_url").to_owned() + "metrics";
        let request = reqwest::Client::new().get(metrics).header("x-functions-key", "made up");
        request.header("x-ms-invocation-id", "made up").send().await.unwrap().status().as_u16()
    };
    levels("function");
    let checked = Process::start(serve(&[]), &ready).await;
    assert_eq!(made_up(&checked).await, 200, "the host has checked it");
    drop(checked);
    levels("anonymous");
    let open = Process::start(serve(&[("REQUIRE_API_KEY", "true")]), &ready).await;
    assert_eq!(made_up(&open).await, 401, "nobody has");
    assert!(Process::try_start(serve(&[]), &ready).await.is_none(), "nobody would be asked");
}

/// What a client hears that speaks only over standard input and output.
#[tokio::test]
async fn stdio_reports_have_no_download_address() {
    use std::io::{BufRead, BufReader, Write};
    let mut child = Command::new(GRAPHGATE)
        .args(["stdio", "--dev"])
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let (mut input, mut lines) = (child.stdin.take().unwrap(), BufReader::new(child.stdout.take().unwrap()).lines());
    let mut ask = |message: serde_json::Value| writeln!(input, "{message}").unwrap();
    let mut hear = |id: u32| loop {
        let message: serde_json::Value = serde_json::from_str(&lines.next().unwrap().unwrap()).unwrap();
        if message["id"] == id {
            return message["result"].clone();
        }
    };
    let client = json!({"name": "test", "version": "1"});
    let hello = json!({"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": client});
    ask(json!({"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": hello}));
    hear(1);
    ask(json!({"jsonrpc": "2.0", "method": "notifications/initialized"}));
    let call = json!({"name": "generate_report", "arguments": {"plans": [PLAN], "formats": ["html"]}});
    ask(json!({"jsonrpc": "2.0", "id": 2, "method": "tools/call", "params": call}));
    let made = hear(2)["structuredContent"].clone();
    assert!(made["summary"].is_string(), "{made}");
    assert!(!made.to_string().contains("/downloads/"), "{made}");
    drop(input); // the client is gone
    let ended = tokio::task::spawn_blocking(move || child.wait().unwrap());
    let ended = tokio::time::timeout(Duration::from_secs(15), ended).await.expect("it ends with its client").unwrap();
    assert!(ended.success(), "{ended}");
}
