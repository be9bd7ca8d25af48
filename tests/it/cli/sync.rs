//! A person reads the sync state, and acts on it.

use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::net::{TcpListener, TcpStream};
use tokio::process::{Child, ChildStdout, Command};
use tokio::sync::Notify;

use super::Shell;
use crate::support::PLAN;

impl Shell {
    /// Both sides change a title; answers the id of the conflict.
    async fn conflict(&self) -> String {
        let (id, planner_id) = self.world.task("Contested").await;
        self.world.colleague(json!({"task_id": planner_id, "set": {"title": "The person's title"}})).await;
        self.world.ok("update_task", json!({"task_id": id, "title": "The agent's title"})).await;
        self.ok("sync conflicts --open --query conflicts[0].id").await.trim_matches('"').to_owned()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn sync_status_and_log_print_as_table_and_json() {
    let shell = Shell::start().await;
    assert_eq!(shell.run("sync status -o table").await, "exit 0\n--\nnote: there is nothing to show\n");
    let id = shell.task("Refreshed").await;
    shell.ok(&format!("task update {id} --priority urgent")).await;
    let status = shell.ok("sync status -o csv").await;
    let mut lines = status.lines();
    assert_eq!(lines.next(), Some("plan,status,tasks,pending,as_of"));
    assert!(lines.next().unwrap().starts_with("Website relaunch,up_to_date,201,0,"), "{status}");
    assert_eq!(shell.ok("sync status --query status").await, "\"up_to_date\"");
    let log = shell.ok(&format!("sync log --task {id} --query 'events[].[event, title, fields[0]]' -o csv")).await;
    let expected = "1,2,3\nsynced,Refreshed,\nupdated,Refreshed,priority\nsynced,Refreshed,\ncreated,Refreshed,";
    assert_eq!(log, expected);
    let page = shell.run(&format!("sync log --task {id} --limit 1 -o csv")).await;
    assert!(page.contains("note: there is more: `--cursor "), "{page}");
    assert!(shell.run("sync log --event moved").await.starts_with("exit 2\n"));
    assert!(shell.run("sync status --plan Nowhere").await.starts_with("exit 3\n"));
}

#[tokio::test(flavor = "multi_thread")]
async fn cli_lists_and_restores_a_conflict() {
    let shell = Shell::start().await;
    let conflict = shell.conflict().await;
    let listed = shell.ok("sync conflicts --open -o csv").await;
    assert!(listed.starts_with("id,title,field,kind,winner,agent,planner\n"), "{listed}");
    assert!(listed.contains("title,both_changed,planner,The agent's title,The person's title"), "{listed}");
    assert_eq!(shell.ok(&format!("sync restore {conflict} --query sync")).await, "\"synced\"");
    assert_eq!(shell.world.tasks_called("The agent's title").await.len(), 1);
    assert!(shell.run(&format!("sync restore {conflict}")).await.contains("was restored by"));
    assert_eq!(shell.ok("sync conflicts --open --query 'length(conflicts)'").await, "0");
    assert!(shell.run("sync restore nonsense").await.starts_with("exit 3\n"));
}

#[tokio::test(flavor = "multi_thread")]
async fn cli_confirms_a_plan_held_by_the_mass_change_guard() {
    let shell = Shell::start().await;
    shell.ok("plan get 'Website relaunch'").await;
    for task in shell.world.planner_tasks().await.iter().take(60) {
        shell.world.colleague(json!({"delete": task["id"]})).await;
    }
    shell.ok("task list --plan 'Website relaunch' --limit 1 --fresh").await;
    assert_eq!(shell.ok("sync status --query status").await, "\"stopped\"");
    let refused = shell.run("sync confirm 'Website relaunch'").await;
    assert!(refused.starts_with("exit 2\n") && refused.contains("--force"), "{refused}");
    assert_eq!(shell.ok("sync confirm 'Website relaunch' --force --query removed").await, "60");
    assert_eq!(
        shell.ok("sync status --query '[status, plans[0].tasks]'").await.split_whitespace().collect::<String>(),
        "[\"up_to_date\",140]"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn cli_retries_pending_and_refused_operations() {
    let shell = Shell::start().await;
    let (id, planner_id) = shell.world.task("Waits").await;
    shell.world.faults(json!([{"method": "PATCH", "kind": "drop_without_effect"}])).await;
    let changed = shell.world.ok("update_task", json!({"task_id": id, "priority": "urgent"})).await;
    assert_eq!(changed["sync"], "pending", "{changed}");
    shell.world.heal().await;
    let replayed = shell.ok("sync replay --plan 'Website relaunch' --query 'plans[0].[arrived, pending]' -o csv").await;
    assert_eq!(replayed, "value\n1\n0");
    assert_eq!(shell.world.tasks_called("Waits").await[0]["priority"], 1);
    assert_eq!(shell.run("sync replay -o table").await, "exit 0\n--\nnote: there is nothing to show\n");

    let refusal = json!({"method": "PATCH", "times": 1, "kind": "status", "status": 400});
    shell.world.faults(json!([refusal])).await;
    shell.world.call("update_task", json!({"task_id": id, "title": "Refused at first"})).await.unwrap_err();
    shell.world.heal().await;
    assert_eq!(shell.ok("sync replay --query 'length(plans)'").await, "0", "it is not tried by itself");
    assert_eq!(shell.ok("sync replay --refused --query 'plans[0].arrived'").await, "1");
    let renamed = shell.world.tasks_called("Refused at first").await;
    assert_eq!(renamed[0]["id"], planner_id, "{renamed:?}");
}

/// A connection to the server that can be cut.
struct Line {
    port: u16,
    cut: Arc<Notify>,
}

impl Line {
    async fn to(server: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (port, cut) = (listener.local_addr().unwrap().port(), Arc::new(Notify::new()));
        let breaker = cut.clone();
        tokio::spawn(async move {
            while let Ok((mut client, _)) = listener.accept().await {
                let breaker = breaker.clone();
                tokio::spawn(async move {
                    let mut server = TcpStream::connect(("127.0.0.1", server)).await.unwrap();
                    tokio::select! {
                        _ = tokio::io::copy_bidirectional(&mut client, &mut server) => {}
                        () = breaker.notified() => {}
                    }
                });
            }
        });
        Self { port, cut }
    }
}

/// A `sync watch` that runs.
struct Watching {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Watching {
    fn start(server: &str, arguments: &[&str]) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_graphgate"));
        command.args(["sync", "watch", "--server", server, "--seconds", "60"]).args(arguments);
        command.env_remove("GRAPHGATE_API_KEY").stdout(Stdio::piped()).stderr(Stdio::null()).kill_on_drop(true);
        let mut child = command.spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        Self { child, lines }
    }

    async fn line(&mut self) -> String {
        let line = tokio::time::timeout(Duration::from_secs(20), self.lines.next_line()).await;
        line.expect("a line in time").unwrap().expect("a line")
    }

    async fn event(&mut self) -> Value {
        serde_json::from_str(&self.line().await).unwrap()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn watch_resumes_after_a_disconnection_without_loss_or_repetition() {
    let shell = Shell::start().await;
    let (id, _) = shell.world.task("Watched").await;
    let begin = shell.world.ok("get_changes", json!({"plan_id": PLAN})).await["cursor"].as_str().unwrap().to_owned();
    let line = Line::to(shell.world.api_url().port().unwrap()).await;
    let server = format!("http://127.0.0.1:{}/mcp", line.port);
    let mut watching = Watching::start(&server, &["--plan", PLAN, "--since", &begin, "-o", "json"]);
    shell.world.ok("update_task", json!({"task_id": id, "priority": "urgent"})).await;
    let heard = watching.event().await;
    assert_eq!((&heard["event"], &heard["fields"]), (&json!("updated"), &json!(["priority"])), "{heard}");
    assert_eq!(watching.event().await["event"], "synced");
    line.cut.notify_waiters();
    for title in ["Renamed while cut off", "And once more"] {
        shell.world.ok("update_task", json!({"task_id": id, "title": title})).await;
    }
    let mut names = Vec::new();
    for _ in 0..4 {
        names.push(watching.event().await["event"].clone());
    }
    assert_eq!(names, ["updated", "synced", "updated", "synced"]);
    line.cut.notify_waiters();
    shell.world.ok("delete_task", json!({"task_id": id})).await;
    let heard = watching.event().await;
    assert_eq!((&heard["event"], heard["cursor"].is_string()), (&json!("deleted"), true), "{heard}");
    watching.child.kill().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn watch_prints_lines_and_ends_at_its_limit_or_closed_pipe() {
    let shell = Shell::start().await;
    let begin = shell.world.ok("get_changes", json!({"plan_id": PLAN})).await["cursor"].as_str().unwrap().to_owned();
    let server = shell.server();
    let mut watching = Watching::start(&server, &["--since", &begin, "-o", "table"]);
    shell.world.task("For people").await;
    let heard = watching.line().await;
    assert!(heard.contains("plan_changed") || heard.contains("created"), "{heard}");
    drop(watching.lines);
    shell.world.task("Nobody reads any more").await;
    let ended = tokio::time::timeout(Duration::from_secs(20), watching.child.wait()).await;
    assert!(ended.expect("it ends when nobody reads").unwrap().success());
    assert_eq!(shell.run("sync watch --seconds 1 -o json").await, "exit 0\n--\n");
    assert!(shell.run("sync watch --plan Nowhere").await.starts_with("exit 3\n"));
    assert!(shell.run("sync watch --since garbage!").await.starts_with("exit 2\n"));
    assert!(shell.run("sync watch --server http://127.0.0.1:9/mcp").await.starts_with("exit 10\n"));
}
