//! How `graphgate serve` starts where something is missing, and what it ends with.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::support::process::{Folder, GRAPHGATE};

/// An unoptimised program on a busy machine answers within this; a package within 100 ms.
const SOON: Duration = Duration::from_secs(3);

/// A program that was started, with the port it is meant to listen on.
struct Started {
    child: Child,
    base: String,
    began: Instant,
    http: reqwest::Client,
    folder: Folder,
}

impl Started {
    fn new(hosted: bool, settings: &[(&str, &str)]) -> Self {
        let port = crate::support::free_port().to_string();
        let folder = Folder::new();
        let mut command = serve(&folder.0);
        command.env(if hosted { "FUNCTIONS_CUSTOMHANDLER_PORT" } else { "PORT" }, &port);
        command.env("ALLOW_ANONYMOUS", "true").env("DRAIN_SECONDS", "0").envs(settings.iter().copied());
        let began = Instant::now();
        let child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        Self { child, base: format!("http://127.0.0.1:{port}/"), began, http: reqwest::Client::new(), folder }
    }

    /// The first answer, and how long after the start of the process it came.
    async fn first(&self, path: &str) -> (u16, Value, Duration) {
        loop {
            if let Ok(answer) = self.http.get(format!("{}{path}", self.base)).send().await {
                let took = self.began.elapsed();
                return (answer.status().as_u16(), answer.json().await.unwrap(), took);
            }
            assert!(self.began.elapsed() < Duration::from_secs(30), "it never listens");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    async fn live(&self) -> Value {
        self.http.get(format!("{}health/live", self.base)).send().await.unwrap().json().await.unwrap()
    }

    /// Asks it to end; answers the exit code.
    async fn terminate(mut self) -> Option<i32> {
        let id = self.child.id().to_string();
        assert!(Command::new("kill").args(["-TERM", &id]).status().unwrap().success());
        for _ in 0..1500 {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status.code();
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("it does not end");
    }
}

impl Drop for Started {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// `graphgate serve` with settings that can be right.
fn serve(folder: &Path) -> Command {
    let mut command = Command::new(GRAPHGATE);
    let id = "11111111-1111-4111-8111-111111111111";
    command
        .arg("serve")
        .current_dir(folder)
        .env("AZURE_TENANT_ID", id)
        .env("AZURE_CLIENT_ID", id)
        .env("AZURE_CLIENT_SECRET", "unused")
        .env("GRAPH_BASE_URL", "http://127.0.0.1:1/v1.0")
        .env("REFRESH_SECONDS", "0")
        .env("DATA_DIR", folder.join("data"));
    command
}

/// A storage account that refuses everything, as before its role assignments take effect.
fn forbidding() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let _ = stream.read(&mut [0; 4096]);
            let body = r#"{"odata.error":{"code":"AuthorizationPermissionMismatch","message":{"value":"no"}}}"#;
            let head =
                "HTTP/1.1 403 Forbidden\r\ncontent-type: application/json\r\nconnection: close\r\ncontent-length: ";
            let _ = write!(stream, "{head}{}\r\n\r\n{body}", body.len());
        }
    });
    format!("http://{address}/devstoreaccount1?sv=2024-05-04&sig=none")
}

#[tokio::test]
async fn server_listens_and_health_names_unavailable_storage_at_start() {
    let silent = TcpListener::bind("127.0.0.1:0").unwrap(); // takes connections, and never answers
    let silent = format!("http://{}/devstoreaccount1?sv=2024-05-04&sig=none", silent.local_addr().unwrap());
    let refused = "http://127.0.0.1:1/devstoreaccount1?sv=2024-05-04&sig=none".to_owned();
    for (storage, why) in [(silent, ""), (refused, "refused"), (forbidding(), "Storage Table Data Contributor")] {
        for hosted in [true, false] {
            let started = Started::new(hosted, &[("AZURE_TABLES_ENDPOINT", &storage)]);
            let (status, body, took) = started.first("").await;
            assert_eq!(status, 200, "{body}");
            assert!(took < SOON && body["waiting_for"]["what"].is_string(), "{took:?} {body}");
            while started.live().await["waiting_for"]["what"] != "store" {
                assert!(started.began.elapsed() < Duration::from_mins(1), "{}", started.live().await);
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            let post = started.http.post(format!("{}mcp", started.base)).body("{}").send().await.unwrap();
            assert_eq!(post.status(), 503);
            assert!(post.headers()["retry-after"].to_str().unwrap().parse::<u64>().unwrap() > 0);
            let problem: Value = post.json().await.unwrap();
            assert_eq!(problem["code"], "STORE_001", "{problem}");
            assert!(problem["detail"].as_str().unwrap().contains("waits for the store"), "{problem}");
            let ready = started.http.get(format!("{}health/ready", started.base)).send().await.unwrap();
            assert_eq!(ready.status(), 503);
            if !why.is_empty() {
                let told =
                    async || started.live().await["waiting_for"]["reason"].as_str().unwrap_or_default().to_owned();
                while !told().await.contains(why) {
                    assert!(started.began.elapsed() < Duration::from_mins(1), "{}", told().await);
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
            }
            let code = started.terminate().await;
            assert_eq!(code, Some(if hosted { 200 } else { 0 }), "after 0 the host never starts it again");
        }
    }
}

#[tokio::test]
async fn start_waits_for_a_key_vault_secret_that_appears_later() {
    let started = Started::new(false, &[("SECRETS_DIR", "secrets"), ("GRAPHGATE_API_KEY", "@keyvault:the-key")]);
    let (status, body, _) = started.first("health/live").await;
    assert_eq!(status, 200, "{body}");
    // The first answer may come while the settings are still being read.
    while started.live().await["waiting_for"]["what"] != "secrets" {
        assert!(started.began.elapsed() < Duration::from_mins(1), "{}", started.live().await);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let folder = started.folder.0.join("secrets");
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(folder.join("the-key"), "0123456789abcdef0123456789abcdef").unwrap();
    while started.live().await["waiting_for"]["what"] != "keyring" {
        assert!(started.began.elapsed() < Duration::from_mins(1), "{}", started.live().await);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let mut init = Command::new(GRAPHGATE);
    init.args(["keys", "init"]).current_dir(&started.folder.0).env("SECRETS_DIR", "secrets");
    let init = init.env("AZURE_TENANT_ID", "t").output().unwrap();
    assert!(init.status.success(), "{}", String::from_utf8_lossy(&init.stderr));
    while started.live().await.get("waiting_for").is_some() {
        assert!(started.began.elapsed() < Duration::from_mins(1), "{}", started.live().await);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let refused = started.http.get(format!("{}api/agent/tasks", started.base)).send().await.unwrap();
    assert_eq!(refused.status(), 401, "the key holds from the first request on");
    assert_eq!(started.terminate().await, Some(0));
}

/// Runs a command to its end; answers exit code and output.
fn ended(mut command: Command) -> (Option<i32>, String) {
    let output = command.output().unwrap();
    (output.status.code(), String::from_utf8(output.stderr).unwrap())
}

#[test]
fn invalid_settings_exit_with_11_and_one_line_each() {
    let folder = Folder::new();
    for hosted in [false, true] {
        let mut command = serve(&folder.0);
        command.env("READ_ONLY", "maybe").env("PORT", "http").env("CALLS_PER_MINUTE", "many");
        if hosted {
            command.env("FUNCTIONS_CUSTOMHANDLER_PORT", "65534");
        }
        let (code, told) = ended(command);
        assert_eq!(code, Some(11), "{told}");
        for name in ["READ_ONLY", "PORT", "CALLS_PER_MINUTE"] {
            let lines = told.lines().filter(|line| line.starts_with(&format!("  - `{name}`"))).count();
            assert_eq!(lines, 1, "{name}: {told}");
        }
    }
}

#[test]
fn unusable_data_folder_exits_with_9() {
    let folder = Folder::new();
    std::fs::write(folder.0.join("data"), "a file").unwrap();
    let (code, told) = ended(serve(&folder.0));
    assert_eq!(code, Some(9), "{told}");
    assert!(told.contains("cannot create folder"), "{told}");
    let folder = Folder::new();
    std::fs::create_dir_all(folder.0.join("data")).unwrap();
    std::fs::write(folder.0.join("data").join("graphgate.db"), "no database ".repeat(1000)).unwrap();
    let (code, told) = ended(serve(&folder.0));
    assert_eq!(code, Some(9), "{told}");
    assert!(told.contains("damaged") && told.contains("graphgate store import"), "{told}");
}
