//! The processes: environment, port, readiness, output, restarts.

use std::io::{BufRead, BufReader, Read};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use super::App;
use super::time::seconds;

/// How often the host checks whether the process answers, and for how long while nobody listens.
const EVERY: Duration = Duration::from_millis(25);
const PATIENCE: Duration = Duration::from_secs(34);
/// Errors that end the host, each at most this long after the one before.
const MAX_ERRORS: usize = 3;
const WINDOW: Duration = Duration::from_mins(30);
/// What Azure itself sets on an instance of a Linux consumption plan.
const PLATFORM: [(&str, &str); 9] = [
    ("CONTAINER_NAME", "0--8f1c2d3e-4b5a-6978-8796-a5b4c3d2e1f0"),
    ("WEBSITE_POD_NAME", "0--8f1c2d3e-4b5a-6978-8796-a5b4c3d2e1f0"),
    ("WEBSITE_INSTANCE_ID", "0--8f1c2d3e-4b5a-6978-8796-a5b4c3d2e1f0"),
    ("WEBSITE_SITE_NAME", "func-graphgate"),
    ("WEBSITE_HOSTNAME", "func-graphgate.azurewebsites.net"),
    ("WEBSITE_SKU", "FlexConsumption"),
    ("WEBSITE_AUTH_ENABLED", "False"),
    ("FUNCTIONS_EXTENSION_VERSION", "~4"),
    ("FUNCTIONS_WORKER_RUNTIME", "custom"),
];

type Output = Arc<Mutex<Vec<(&'static str, String)>>>;

/// A scale group: at most one process here, though the real host may have many.
pub struct Group {
    name: String,
    program: PathBuf,
    arguments: Vec<String>,
    folder: PathBuf,
    settings: Vec<(String, String)>,
    /// How long a `GET /` may stay unanswered.
    unanswered: Duration,
    /// One for all starts, and kept from everybody else: a socket that is bound and does not listen.
    port: u16,
    _bound: tokio::net::TcpSocket,
    running: tokio::sync::Mutex<State>,
    kills: AtomicUsize,
    output: Output,
}

#[derive(Default)]
struct State {
    process: Option<Process>,
    errors: usize,
    last_error: Option<Instant>,
}

impl State {
    /// Errors are forgotten only by one that comes long after the one before.
    fn note_error(&mut self) {
        if self.last_error.is_some_and(|at| at.elapsed() > WINDOW) {
            self.errors = 0;
        }
        self.errors += 1;
        self.last_error = Some(Instant::now());
    }
}

struct Process {
    child: Child,
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
        let bound = tokio::net::TcpSocket::new_v4().unwrap();
        bound.set_reuseaddr(true).unwrap();
        bound.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        Self {
            name: name.to_owned(),
            program: app.folder.join(description["defaultExecutablePath"].as_str().unwrap()),
            arguments: arguments.map(|argument| argument.as_str().unwrap().to_owned()).collect(),
            folder: app.folder.clone(),
            settings: settings.to_vec(),
            unanswered: Duration::from_secs(seconds(&app.host["functionTimeout"]) + 60),
            port: bound.local_addr().unwrap().port(),
            _bound: bound,
            running: tokio::sync::Mutex::default(),
            kills: AtomicUsize::new(0),
            output: Output::default(),
        }
    }

    /// The port of the process, which is started if there is none, and how long it took to answer first.
    ///
    /// A process that ended by itself with 0 is not started again; 200 asks for it; anything else is an error, and the
    /// third ends the host. There is no pause between two starts.
    pub async fn ready(&self) -> Result<(u16, Duration), String> {
        let mut state = self.running.lock().await;
        loop {
            if let Some(process) = &mut state.process {
                match process.child.try_wait().unwrap() {
                    None => return Ok((self.port, process.ready_after)),
                    Some(status) if status.code() == Some(0) => return Err(format!("{} ended with 0", self.name)),
                    Some(status) if status.code() == Some(200) => {}
                    Some(_) => state.note_error(),
                }
                state.process = None;
            }
            if state.errors >= MAX_ERRORS {
                let written: Vec<String> = self.output().into_iter().map(|(_, line)| line).collect();
                return Err(format!(
                    "Exceeded http worker restart retry count. Shutting down Functions Host\n{}",
                    written.join("\n")
                ));
            }
            match self.start().await {
                Some(process) => state.process = Some(process),
                None => state.note_error(), // killed, as it does not answer
            }
        }
    }

    /// The host's own kill: no error.
    pub async fn kill(&self) {
        self.running.lock().await.process = None;
    }

    /// The same because a function's time is over: the next process starts at once.
    pub async fn kill_and_restart(&self) {
        self.kills.fetch_add(1, Ordering::SeqCst);
        self.kill().await;
        let _host_has_ended = self.ready().await;
    }

    pub fn kills(&self) -> usize {
        self.kills.load(Ordering::SeqCst)
    }

    /// What somebody outside does to the process, and waits until it has ended or, for a signal it may take, a moment.
    pub async fn signal(&self, signal: i32) {
        let mut state = self.running.lock().await;
        let Some(process) = &mut state.process else { return };
        let id = process.child.id().to_string();
        let sent = Command::new("kill").arg(format!("-{signal}")).arg(id).status().unwrap();
        assert!(sent.success());
        for _ in 0..200 {
            if process.child.try_wait().unwrap().is_some() {
                return;
            }
            tokio::time::sleep(EVERY).await;
        }
    }

    pub fn output(&self) -> Vec<(&'static str, String)> {
        self.output.lock().unwrap().clone()
    }

    /// Starts a process; `None` when nothing answers in time.
    async fn start(&self) -> Option<Process> {
        let id = uuid::Uuid::new_v4().to_string();
        let port = self.port.to_string();
        let begun = Instant::now();
        let mut child = Command::new(&self.program)
            .args(&self.arguments)
            .current_dir(&self.folder)
            .env_clear()
            .env("PATH", "/usr/bin:/bin")
            .envs(PLATFORM)
            .envs(self.settings.iter().map(|(name, value)| (name, value)))
            .envs(self.settings.iter().map(|(name, value)| (format!("APPSETTING_{name}"), value)))
            .env("FUNCTIONS_CUSTOMHANDLER_PORT", &port)
            .env("FUNCTIONS_HTTPWORKER_PORT", &port)
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
        let mut process = Process { child, ready_after: Duration::ZERO };
        let http = reqwest::Client::builder().timeout(self.unanswered).build().unwrap();
        while begun.elapsed() < PATIENCE {
            if process.child.try_wait().unwrap().is_some() {
                return Some(process); // its exit code decides
            }
            // Any answer will do, a refused connection will not; one that is taken and not answered is waited for.
            match http.get(format!("http://127.0.0.1:{port}/")).send().await {
                Err(error) if error.is_timeout() => return None,
                Err(error) if error.is_connect() => {}
                _ => {
                    process.ready_after = begun.elapsed();
                    return Some(process);
                }
            }
            tokio::time::sleep(EVERY).await;
        }
        None
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
