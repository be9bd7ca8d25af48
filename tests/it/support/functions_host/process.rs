//! The processes: environment, port, readiness, output, restarts.

use std::io::{BufRead, BufReader, Read};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use super::App;

/// How often the host knocks, and for how long.
const KNOCK: Duration = Duration::from_millis(25);
const PATIENCE: Duration = Duration::from_secs(30);
/// Errors within half an hour that end the host.
const MAX_ERRORS: usize = 3;

type Output = Arc<Mutex<Vec<(&'static str, String)>>>;

/// A scale group: at most one process here, though the real host may have many.
pub struct Group {
    name: String,
    program: PathBuf,
    arguments: Vec<String>,
    folder: PathBuf,
    settings: Vec<(String, String)>,
    running: tokio::sync::Mutex<State>,
    output: Output,
}

#[derive(Default)]
struct State {
    process: Option<Process>,
    errors: usize,
}

struct Process {
    child: Child,
    port: u16,
    ready_after: Duration,
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Group {
    pub fn new(name: &str, app: &App, settings: &[(String, String)]) -> Self {
        let description = &app.host["customHandler"]["description"];
        let arguments = description["arguments"].as_array().into_iter().flatten();
        Self {
            name: name.to_owned(),
            program: app.folder.join(description["defaultExecutablePath"].as_str().unwrap()),
            arguments: arguments.map(|argument| argument.as_str().unwrap().to_owned()).collect(),
            folder: app.folder.clone(),
            settings: settings.to_vec(),
            running: tokio::sync::Mutex::default(),
            output: Output::default(),
        }
    }

    /// The port of the process, which is started if there is none, and how long it took to answer first.
    ///
    /// A process that ended by itself with 0 is not started again; 200 asks for it; anything else is an error, and the
    /// third ends the host.
    pub async fn ready(&self) -> Result<(u16, Duration), String> {
        let mut state = self.running.lock().await;
        loop {
            if let Some(process) = &mut state.process {
                match process.child.try_wait().unwrap() {
                    None => return Ok((process.port, process.ready_after)),
                    Some(status) if status.code() == Some(0) => return Err(format!("{} ended with 0", self.name)),
                    Some(status) if status.code() == Some(200) => {}
                    Some(_) => state.errors += 1,
                }
                state.process = None;
            }
            if state.errors >= MAX_ERRORS {
                let told: Vec<String> = self.output().into_iter().map(|(_, line)| line).collect();
                return Err(format!(
                    "Exceeded http worker restart retry count. Shutting down Functions Host\n{}",
                    told.join("\n")
                ));
            }
            state.process = Some(self.start().await);
        }
    }

    pub async fn kill(&self) {
        self.running.lock().await.process = None;
    }

    pub fn output(&self) -> Vec<(&'static str, String)> {
        self.output.lock().unwrap().clone()
    }

    async fn start(&self) -> Process {
        // Between this and the program's own bind the port is free for all; the real host has the same gap.
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let id = uuid::Uuid::new_v4().to_string();
        let begun = Instant::now();
        let mut child = Command::new(&self.program)
            .args(&self.arguments)
            .current_dir(&self.folder)
            .env_clear()
            .env("PATH", "/usr/bin:/bin")
            .envs(self.settings.iter().map(|(name, value)| (name, value)))
            .env("FUNCTIONS_CUSTOMHANDLER_PORT", port.to_string())
            .env("FUNCTIONS_HTTPWORKER_PORT", port.to_string())
            .env("FUNCTIONS_CUSTOMHANDLER_WORKER_ID", &id)
            .env("FUNCTIONS_HTTPWORKER_ID", &id)
            .env("FUNCTIONS_APP_ROOT_PATH", &self.folder)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("{}: {error}", self.program.display()));
        self.keep("stdout", child.stdout.take().unwrap());
        self.keep("stderr", child.stderr.take().unwrap());
        let mut process = Process { child, port, ready_after: Duration::ZERO };
        let http = reqwest::Client::new();
        while begun.elapsed() < PATIENCE {
            if process.child.try_wait().unwrap().is_some() {
                break;
            }
            // Any answer will do, a refused connection will not.
            if http.get(format!("http://127.0.0.1:{port}/")).send().await.is_ok() {
                process.ready_after = begun.elapsed();
                break;
            }
            tokio::time::sleep(KNOCK).await;
        }
        process
    }

    fn keep(&self, stream: &'static str, from: impl Read + Send + 'static) {
        let output = self.output.clone();
        std::thread::spawn(move || {
            for line in BufReader::new(from).lines().map_while(Result::ok) {
                output.lock().unwrap().push((stream, line));
            }
        });
    }
}
