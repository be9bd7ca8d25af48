//! A stand-in for the Azure Functions host, written from what is known of the real one: it starts what a package holds
//! as that would, and sends it what that would send.
//!
//! One process for each scale group: all HTTP functions share one, every timer and every queue has its own, and none
//! shares memory with another. [`process`] starts and restarts them, [`front`] proxies what the public sends to the function
//! that [`routes`] finds, [`queues`] polls, and [`time`] ends what takes longer than `functionTimeout`.

mod front;
mod process;
mod queues;
mod routes;
mod time;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::{Value, json};
use url::Url;

use process::Group;
pub use queues::StorageQueue;

/// The key of one function app; the host asks for it where the auth level says so.
pub const KEY: &str = "the-host-key";
/// The key that opens the host's own administration too.
pub const MASTER_KEY: &str = "the-master-key";
/// The trace the host puts requests in that have none.
const TRACE: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
/// The most a request's body may have, unless a setting says otherwise.
const BODY_LIMIT: usize = 104_857_600;
/// What this host calls itself.
const VERSION: &str = "4.1048.200.26180";

/// A running host.
pub struct FunctionsHost {
    inner: Arc<Inner>,
    /// The public address.
    pub url: Url,
    front: tokio::task::JoinHandle<()>,
    pollers: Vec<tokio::task::JoinHandle<()>>,
}

struct Inner {
    app: App,
    groups: BTreeMap<String, Group>,
    http: reqwest::Client,
    invocations: Mutex<Vec<Invocation>>,
    /// Functions whose time was over before they ended.
    timeouts: Mutex<Vec<String>>,
    body_limit: usize,
    /// For how many seconds a message that is worked on is hidden.
    visibility: u64,
}

/// A timer's or a message's call and how it went.
#[derive(Debug, Clone)]
pub struct Invocation {
    /// The function.
    pub function: String,
    /// The message, for a queue.
    pub message: Option<String>,
    /// Whether it succeeded.
    pub succeeded: bool,
    /// What the function logged.
    pub log: String,
    /// How long it took.
    pub took: Duration,
}

/// What is in the package.
pub struct App {
    folder: PathBuf,
    host: Value,
    functions: BTreeMap<String, Value>,
}

impl App {
    /// Reads a staged folder as the host does: functions are the direct sub-folders beside `host.json`.
    fn read(folder: &Path) -> Self {
        let json = |path: PathBuf| -> Value {
            let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
            serde_json::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
        };
        let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
        let functions = entries.filter(|path| path.join("function.json").exists()).map(|path| {
            let name = path.file_name().unwrap().to_str().unwrap().to_owned();
            (name, json(path.join("function.json"))["bindings"][0].clone())
        });
        let app =
            Self { folder: folder.to_owned(), host: json(folder.join("host.json")), functions: functions.collect() };
        assert!(!app.functions.is_empty(), "no functions directly beside host.json in {}", folder.display());
        assert!(
            app.host["customHandler"].get("http").is_none(),
            "routes in host.json and function.json exclude each other"
        );
        assert_eq!(app.host["customHandler"]["enableProxyingHttpRequest"], true, "only the proxy mode is modelled");
        app
    }

    fn of_kind(&self, kind: &'static str) -> impl Iterator<Item = (&String, &Value)> {
        self.functions.iter().filter(move |(_, trigger)| trigger["type"] == kind)
    }
}

/// Whether the package is tried, and not the program under test.
pub fn is_packaged() -> bool {
    std::env::var_os("GRAPHGATE_DIST").is_some()
}

/// Where the package is: what `GRAPHGATE_DIST` names, else the functions of this source beside the binary under test.
pub fn staged(folder: &Path) -> PathBuf {
    if let Some(dist) = std::env::var_os("GRAPHGATE_DIST") {
        return dist.into();
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let dist = folder.join("dist");
    std::fs::create_dir_all(&dist).unwrap();
    std::fs::copy(root.join("host.json"), dist.join("host.json")).unwrap();
    for entry in std::fs::read_dir(root.join("functions")).unwrap() {
        let function = entry.unwrap();
        let to = dist.join(function.file_name());
        std::fs::create_dir_all(&to).unwrap();
        std::fs::copy(function.path().join("function.json"), to.join("function.json")).unwrap();
    }
    let program = dist.join("graphgate");
    if !program.exists() {
        std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_graphgate"), program).unwrap();
    }
    dist
}

impl FunctionsHost {
    /// Starts a host over a staged folder with these app settings, its `host.json` changed for the test; processes start
    /// when they are first needed.
    pub async fn start(folder: &Path, settings: &[(String, String)], change: impl FnOnce(&mut Value)) -> Self {
        let mut app = App::read(folder);
        change(&mut app.host);
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = Url::parse(&format!("http://{}/", listener.local_addr().unwrap())).unwrap();
        // Azure tells its own name in `WEBSITE_HOSTNAME`, which stands for an https address.
        let settings = [settings, &[("PUBLIC_URL".to_owned(), url.to_string())]].concat();
        let groups = app.functions.iter().map(|(name, trigger)| group(name, trigger)).map(|name| {
            let group = Group::new(&name, &app, &settings);
            (name, group)
        });
        let groups = groups.collect();
        let http = reqwest::Client::builder().redirect(reqwest::redirect::Policy::none()).build().unwrap();
        let limit = settings.iter().find(|(name, _)| name == "FUNCTIONS_REQUEST_BODY_SIZE_LIMIT");
        let body_limit = limit.map_or(BODY_LIMIT, |(_, bytes)| bytes.parse().unwrap());
        let (invocations, timeouts) = (Mutex::default(), Mutex::default());
        // No setting of the real host: tests at another pace shorten it.
        let visibility = app.host["visibility"].as_u64().unwrap_or(queues::VISIBILITY);
        let inner = Arc::new(Inner { app, groups, http, invocations, timeouts, body_limit, visibility });
        let door = front::router(inner.clone());
        let front = tokio::spawn(async move { axum::serve(listener, door).await.unwrap() });
        Self { inner, url, front, pollers: Vec::new() }
    }

    /// Polls the queues of all queue functions in this storage service.
    pub fn poll(&mut self, storage: &StorageQueue) {
        for (name, trigger) in self.inner.app.of_kind("queueTrigger") {
            let queue = storage.named(trigger["queueName"].as_str().unwrap());
            self.pollers.push(tokio::spawn(queues::poll(self.inner.clone(), name.clone(), queue)));
        }
    }

    /// Fires a timer, as its schedule or `/admin/functions/NAME` would.
    pub async fn fire(&self, function: &str) -> Invocation {
        assert_eq!(self.inner.app.functions[function]["type"], "timerTrigger", "{function}");
        let never = "0001-01-01T00:00:00+00:00";
        let status = json!({"Last": never, "Next": "2026-11-20T18:00:00+00:00", "LastUpdated": never});
        let data = json!({"timer": {"Schedule": {"AdjustForDST": true}, "ScheduleStatus": status, "IsPastDue": false}});
        self.inner.clone().invoke(function, data, json!({}), None).await
    }

    /// Every timer and message so far.
    pub fn invocations(&self) -> Vec<Invocation> {
        self.inner.invocations.lock().unwrap().clone()
    }

    /// Functions whose time was over before they ended, requests over HTTP among them.
    pub fn timeouts(&self) -> Vec<String> {
        self.inner.timeouts.lock().unwrap().clone()
    }

    /// Kills the process of a scale group without a word, as the host ends one: `http`, or `function:NAME`.
    pub async fn kill(&self, group: &str) {
        self.inner.groups[group].kill().await;
    }

    /// How often the host itself has killed a group's process because a function's time was over.
    pub fn kills(&self, group: &str) -> usize {
        self.inner.groups[group].kills()
    }

    /// Sends a signal to the process of a scale group, as something outside the host does.
    pub async fn signal(&self, group: &str, signal: i32) {
        self.inner.groups[group].signal(signal).await;
    }

    /// The port of a scale group's process.
    pub async fn port_of(&self, group: &str) -> u16 {
        self.inner.groups[group].ready().await.unwrap().0
    }

    /// How long the last process of a scale group took from its start to its first answer.
    pub async fn ready_after(&self, group: &str) -> Result<Duration, String> {
        self.inner.groups[group].ready().await.map(|(_, ready_after)| ready_after)
    }

    /// What the processes of a scale group have written, as (stream, line).
    pub fn output_of(&self, group: &str) -> Vec<(&'static str, String)> {
        self.inner.groups[group].output()
    }

    /// Everything the processes have written, as (stream, line).
    pub fn output(&self) -> Vec<(&'static str, String)> {
        self.inner.groups.values().flat_map(Group::output).collect()
    }
}

impl Drop for FunctionsHost {
    fn drop(&mut self) {
        self.front.abort();
        self.pollers.iter().for_each(tokio::task::JoinHandle::abort);
    }
}

/// HTTP functions scale together, any other alone.
fn group(function: &str, trigger: &Value) -> String {
    if trigger["type"] == "httpTrigger" { "http".to_owned() } else { format!("function:{function}") }
}

impl Inner {
    /// Sends an envelope to a function's process: in chunks, without a length, to the path of the function's name.
    async fn invoke(
        self: Arc<Self>,
        function: &str,
        data: Value,
        mut metadata: Value,
        message: Option<String>,
    ) -> Invocation {
        // What a message itself calls `sys` takes the place of the host's, in any case.
        if !metadata.as_object().unwrap().keys().any(|name| name.eq_ignore_ascii_case("sys")) {
            metadata["sys"] = json!({
                "MethodName": function, "UtcNow": "2026-11-20T17:58:32.2205399Z", "RandGuid": uuid::Uuid::new_v4(),
            });
        }
        let envelope = json!({"Data": data, "Metadata": metadata}).to_string();
        let begun = std::time::Instant::now();
        let watched = self.clone().watched(function, &group(function, &self.app.functions[function]));
        let outcome = tokio::select! {
            outcome = self.post(function, envelope) => outcome,
            () = watched.torn.cancelled() => {
                // A process that ends the work now is spared.
                watched.killed.cancelled().await;
                Err("Timeout value exceeded".to_owned())
            }
        };
        let invocation = Invocation {
            function: function.to_owned(),
            message,
            succeeded: outcome.is_ok(),
            log: outcome.unwrap_or_else(|failure| failure),
            took: begun.elapsed(),
        };
        self.invocations.lock().unwrap().push(invocation.clone());
        invocation
    }

    async fn post(&self, function: &str, envelope: String) -> Result<String, String> {
        let group = group(function, &self.app.functions[function]);
        let (port, _) = self.groups[&group].ready().await?;
        let chunks: Vec<_> =
            envelope.into_bytes().chunks(1024).map(|part| Ok::<_, std::io::Error>(part.to_vec())).collect();
        let request = self
            .http
            .post(format!("http://127.0.0.1:{port}/{function}"))
            .header("content-type", "application/json; charset=utf-8")
            .header("user-agent", format!("Azure-Functions-Host/{VERSION}"))
            .header("x-azure-functions-hostversion", VERSION)
            .header("x-azure-functions-invocationid", uuid::Uuid::new_v4().to_string())
            .header("traceparent", TRACE)
            .body(reqwest::Body::wrap_stream(futures::stream::iter(chunks)));
        let answer = request.send().await.map_err(|error| error.to_string())?;
        let status = answer.status();
        if !status.is_success() {
            return Err(status.to_string()); // the body of a failure is not read
        }
        let kind = answer.headers().get("content-type").and_then(|kind| kind.to_str().ok()).unwrap_or_default();
        if !kind.is_empty() && !kind.starts_with("application/json") {
            return Err(format!("no formatter for {kind}"));
        }
        let body = answer.bytes().await.map_err(|error| error.to_string())?;
        match serde_json::from_slice::<Value>(&body) {
            Ok(Value::Object(body)) => {
                let lines = body.get("Logs").and_then(Value::as_array).into_iter().flatten();
                Ok(lines.filter_map(Value::as_str).collect::<Vec<_>>().join("\n"))
            }
            Ok(Value::Null) => std::future::pending().await, // never seen as ended
            Err(_) if body.is_empty() => std::future::pending().await,
            _ => Err("the answer cannot be read".to_owned()),
        }
    }
}
