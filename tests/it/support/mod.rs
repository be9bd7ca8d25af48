//! A world to test in: a simulated tenant and the whole program on it, both on free ports of this machine.

pub mod azurite;
#[cfg(unix)]
pub mod functions_host;
pub mod listener;
pub mod process;
pub mod rest;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU16, Ordering};
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use futures::future::BoxFuture;
use graphgate::app::{App, Running};
use graphgate::clock::{Clock, TimeSource};
use graphgate::config::Config;
use graphgate::ids::Entropy;
use graphgate::services::events::Events;
use graphgate::services::notifications::Notifications;
use graphgate::services::subscriptions::Subscriptions;
use graphgate_sim as sim;
use serde_json::{Value, json};
use url::Url;

/// The tenant and the program.
pub struct World {
    /// The simulated tenant.
    pub tenant: sim::Running,
    server: Option<Running>,
    /// What the running server watches.
    pub subscriptions: Option<Arc<Subscriptions>>,
    /// The settings of the running server.
    pub notifications: Option<Arc<Notifications>>,
    /// What has happened, as the running server knows it.
    pub events: Option<Arc<Events>>,
    http: reqwest::Client,
    base: String,
    clock: Clock,
}

/// A clock that runs ten times as fast as the machine's: waits of minutes pass in seconds.
struct Hurried(DateTime<Utc>);

const HURRY: u32 = 10;

impl TimeSource for Hurried {
    fn now(&self) -> DateTime<Utc> {
        self.0 + (Utc::now() - self.0) * i32::try_from(HURRY).unwrap()
    }

    fn sleep(&self, duration: Duration) -> BoxFuture<'static, ()> {
        Box::pin(tokio::time::sleep(duration / HURRY))
    }
}

/// A clock that keeps pace with the machine's, and leaps ahead of it, or back, on demand.
#[derive(Clone, Default)]
pub struct Leaping(Arc<Ahead>);

/// How many milliseconds a clock is ahead of the machine's, and was at most.
#[derive(Default)]
struct Ahead {
    now: AtomicI64,
    most: AtomicI64,
}

impl Leaping {
    /// Sets the time of day forward, or back.
    pub fn leap(&self, ahead: TimeDelta) {
        let ahead = ahead.num_milliseconds();
        let now = self.0.now.fetch_add(ahead, Ordering::Relaxed) + ahead;
        self.0.most.fetch_max(now, Ordering::Relaxed);
    }
}

impl TimeSource for Leaping {
    fn now(&self) -> DateTime<Utc> {
        Utc::now() + TimeDelta::milliseconds(self.0.now.load(Ordering::Relaxed))
    }

    fn steady(&self) -> DateTime<Utc> {
        Utc::now() + TimeDelta::milliseconds(self.0.most.load(Ordering::Relaxed))
    }

    fn sleep(&self, duration: Duration) -> BoxFuture<'static, ()> {
        Box::pin(tokio::time::sleep(duration))
    }
}

/// Another program on the tenant and store of a world.
pub struct Neighbour {
    server: Running,
    base: String,
}

impl Neighbour {
    /// Calls a tool; `Err` is the error of a call that failed.
    pub async fn call(&self, tool: &str, arguments: Value) -> Result<Value, Value> {
        let params = json!({"name": tool, "arguments": arguments});
        let answer = rpc(&reqwest::Client::new(), &self.base, "tools/call", params, &[]).await;
        let result = answer.get("result").unwrap_or_else(|| panic!("no result of `{tool}`: {answer}"));
        let content = result["structuredContent"].clone();
        if result["isError"] == true { Err(content["error"].clone()) } else { Ok(content) }
    }

    /// Calls a tool that must succeed.
    pub async fn ok(&self, tool: &str, arguments: Value) -> Value {
        self.call(tool, arguments).await.unwrap_or_else(|error| panic!("`{tool}` failed: {error:#}"))
    }

    /// The address of the REST interface.
    pub fn api_url(&self) -> Url {
        Url::parse(&format!("{}/", self.base)).expect("an address")
    }

    /// Ends it in good order.
    pub async fn stop(self) {
        self.server.stop().await;
    }
}

/// A JSON-RPC call with further headers.
async fn rpc(http: &reqwest::Client, base: &str, method: &str, params: Value, headers: &[(&str, &str)]) -> Value {
    let mut request = http
        .post(format!("{base}/mcp"))
        .header("accept", "application/json, text/event-stream")
        .json(&json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": params}));
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let text = request.send().await.expect("an answer").text().await.expect("a body");
    serde_json::from_str(&text).unwrap_or_else(|_| panic!("no JSON: {text}"))
}

/// A file for the requests a tenant of a test receives, for a checker; none unless `GRAPH_LOG_DIR` names a folder.
pub fn request_log() -> Option<std::path::PathBuf> {
    std::env::var_os("GRAPH_LOG_DIR").map(log_in)
}

fn log_in(folder: std::ffi::OsString) -> std::path::PathBuf {
    std::path::PathBuf::from(folder).join(format!("it-{}-{}.jsonl", std::process::id(), uuid::Uuid::new_v4()))
}

impl World {
    /// The demo tenant, everything in memory, nothing refreshed unless asked.
    pub async fn start() -> Self {
        Self::with(|_| ()).await
    }

    /// As [`Self::start`], with other settings.
    pub async fn with(change: impl FnOnce(&mut Config)) -> Self {
        Self::at(Clock::system(), std::env::var_os("GRAPH_LOG_DIR"), sim::Scenario::Demo, change).await
    }

    /// As [`Self::leaping`], in a tenant of another size, such as `plans=3,tasks=10`.
    pub async fn sized(size: &str, time: &Leaping) -> Self {
        let Ok(scenario) = size.parse();
        Self::at(Clock::from_source(Arc::new(time.clone())), None, scenario, |_| ()).await
    }

    /// As [`Self::start`], but the program's time passes ten times as fast.
    /// Its requests are not kept for checking: the tenant's clock, and so every `Retry-After`, runs at the usual pace.
    pub async fn hurried() -> Self {
        Self::hurried_with(|_| ()).await
    }

    /// As [`Self::hurried`], with other settings.
    pub async fn hurried_with(change: impl FnOnce(&mut Config)) -> Self {
        Self::at(Clock::from_source(Arc::new(Hurried(Utc::now()))), None, sim::Scenario::Demo, change).await
    }

    /// As [`Self::start`], on a clock that can be set forward. Its requests are not kept for checking either.
    pub async fn leaping(time: &Leaping) -> Self {
        Self::at(Clock::from_source(Arc::new(time.clone())), None, sim::Scenario::Demo, |_| ()).await
    }

    async fn at(
        clock: Clock,
        logs: Option<std::ffi::OsString>,
        scenario: sim::Scenario,
        change: impl FnOnce(&mut Config),
    ) -> Self {
        let log = logs.map(log_in);
        let config = sim::Config { port: 0, tls: None, scenario, request_log: log };
        let tenant = sim::start(config).await.expect("the simulated tenant starts");
        let mut world = Self {
            tenant,
            server: None,
            subscriptions: None,
            notifications: None,
            events: None,
            http: reqwest::Client::new(),
            base: String::new(),
            clock,
        };
        world.serve(None, change).await;
        world
    }

    /// As [`Self::start`], with the embedded store in a folder.
    pub async fn in_folder(folder: &Path) -> Self {
        let mut world = Self::start().await;
        world.restart(folder).await;
        world
    }

    /// As [`Self::in_folder`], with other settings that may read the tenant.
    pub async fn in_folder_with(folder: &Path, change: impl FnOnce(&mut Config)) -> Self {
        let mut world = Self::start().await;
        if let Some(server) = world.server.take() {
            server.abandon();
        }
        world.serve(Some(folder), change).await;
        world
    }

    /// Ends the server as a crash would, without a word, and starts another one on the same tenant and folder.
    pub async fn restart(&mut self, folder: &Path) {
        if let Some(server) = self.server.take() {
            server.abandon();
        }
        self.serve(Some(folder), |_| ()).await;
    }

    /// As [`Self::restart`], with other settings from then on.
    pub async fn restart_with(&mut self, folder: &Path, change: impl FnOnce(&mut Config)) {
        if let Some(server) = self.server.take() {
            server.abandon();
        }
        self.serve(Some(folder), change).await;
    }

    /// The requests Graph has had since the tenant's memory of them was cleared, by method and path.
    pub async fn requests(&self) -> Vec<(String, String)> {
        let requests = self.control("GET", "requests?last=500", json!(null)).await;
        let text = |request: &Value, name: &str| request[name].as_str().unwrap_or_default().to_owned();
        let requests = requests["requests"].as_array().expect("requests").iter();
        requests.map(|request| (text(request, "method"), text(request, "path"))).collect()
    }

    /// Ends the server in good order.
    pub async fn stop(&mut self) {
        if let Some(server) = self.server.take() {
            server.stop().await;
        }
    }

    /// Starts another program on the same tenant and folder, beside the one that runs.
    pub async fn beside(&self, folder: &Path) -> Neighbour {
        self.beside_with(folder, |_| ()).await
    }

    /// As [`Self::beside`], with other settings.
    pub async fn beside_with(&self, folder: &Path, change: impl FnOnce(&mut Config)) -> Neighbour {
        self.beside_at(folder, self.clock.clone(), change).await
    }

    /// As [`Self::beside_with`], by another clock.
    pub async fn beside_at(&self, folder: &Path, clock: Clock, change: impl FnOnce(&mut Config)) -> Neighbour {
        let mut config = graphgate::cli::dev::config(&self.tenant, Some(folder)).expect("the settings are usable");
        config.port = 0;
        config.reconciles = false;
        change(&mut config);
        let app = App::build(config, clock, Entropy::system()).await.expect("the program starts");
        let server = app.listen().await.expect("a free port");
        let base = format!("http://{}", server.address);
        Neighbour { server, base }
    }

    async fn serve(&mut self, folder: Option<&Path>, change: impl FnOnce(&mut Config)) {
        let mut config = graphgate::cli::dev::config(&self.tenant, folder).expect("the settings are usable");
        config.port = 0;
        config.reconciles = false;
        change(&mut config);
        let app = App::build(config, self.clock.clone(), Entropy::system()).await.expect("the program starts");
        self.subscriptions = Some(app.services.subscriptions.clone());
        self.notifications = Some(app.services.notifications.clone());
        self.events = Some(app.services.events.clone());
        let running = app.listen().await.expect("a free port");
        self.base = format!("http://{}", running.address);
        self.server = Some(running);
    }

    /// The address of the REST interface.
    pub fn api_url(&self) -> Url {
        Url::parse(&format!("{}/", self.base)).expect("an address")
    }

    /// Calls a tool; `Err` is the error of a call that failed.
    pub async fn call(&self, tool: &str, arguments: Value) -> Result<Value, Value> {
        let answer = self.rpc("tools/call", json!({"name": tool, "arguments": arguments}), &[]).await;
        let result = answer.get("result").unwrap_or_else(|| panic!("no result of `{tool}`: {answer}"));
        let content = result["structuredContent"].clone();
        if result["isError"] == true { Err(content["error"].clone()) } else { Ok(content) }
    }

    /// Calls a tool that must succeed.
    pub async fn ok(&self, tool: &str, arguments: Value) -> Value {
        self.call(tool, arguments).await.unwrap_or_else(|error| panic!("`{tool}` failed: {error:#}"))
    }

    /// Calls a tool that must fail, and answers its code, message and hint.
    pub async fn refused(&self, tool: &str, arguments: Value) -> (String, String, String) {
        let error = self.call(tool, arguments).await.expect_err("the call is refused");
        let text = |name: &str| error[name].as_str().unwrap_or_default().to_owned();
        (text("code"), text("message"), text("hint"))
    }

    /// A JSON-RPC call with further headers.
    pub async fn rpc(&self, method: &str, params: Value, headers: &[(&str, &str)]) -> Value {
        rpc(&self.http, &self.base, method, params, headers).await
    }

    /// Steers the tenant.
    pub async fn control(&self, method: &str, path: &str, body: Value) -> Value {
        let url = format!("{}/{path}", self.tenant.control_url);
        let method = method.parse().expect("a method");
        let answer = self.http.request(method, url).json(&body).send().await.expect("the tenant answers");
        let status = answer.status();
        let text = answer.text().await.expect("a body");
        assert!(status.is_success(), "{path}: {status} {text}");
        serde_json::from_str(&text).expect("JSON")
    }

    /// Sets the tenant's faults.
    pub async fn faults(&self, rules: Value) {
        self.control("PUT", "faults", json!({"rules": rules})).await;
    }

    /// Ends all faults.
    pub async fn heal(&self) {
        self.control("DELETE", "faults", json!({})).await;
    }

    /// A person changes a task in Planner.
    pub async fn colleague(&self, edit: Value) {
        self.control("POST", "colleague/edit", edit).await;
    }

    /// The tenant's own tasks whose title is `title`.
    pub async fn tasks_called(&self, title: &str) -> Vec<Value> {
        let answer = self.planner_tasks().await;
        answer.into_iter().filter(|task| task["title"] == title).collect()
    }

    /// The id of [`PLAN`].
    pub async fn plan_id(&self) -> String {
        self.ok("get_plan", json!({"plan_id": PLAN})).await["id"].as_str().expect("an id").to_owned()
    }

    /// The tenant's own tasks of [`PLAN`].
    pub async fn planner_tasks(&self) -> Vec<Value> {
        let plan = self.plan_id().await;
        let mut path = Some(format!("planner/plans/{plan}/tasks"));
        let mut tasks = Vec::new();
        while let Some(next) = path {
            let (_, page) = self.graph("GET", &next).await;
            tasks.extend(page["value"].as_array().cloned().unwrap_or_default());
            let link = page["@odata.nextLink"].as_str();
            path = link.and_then(|link| Some(link.split_once("/v1.0/")?.1.to_owned()));
        }
        tasks
    }

    /// Asks the tenant's Graph as an administrator, past the program; a change goes under the current ETag.
    pub async fn graph(&self, method: &str, path: &str) -> (u16, Value) {
        self.graph_with(method, path, None).await
    }

    /// As [`Self::graph`], with a body.
    pub async fn graph_with(&self, method: &str, path: &str, body: Option<Value>) -> (u16, Value) {
        let token = token(&self.tenant, sim::EXPLORER, sim::EXPLORER_SECRET).await;
        let url = format!("{}/{path}", self.tenant.graph_url);
        let mut request = self.http.request(method.parse().expect("a method"), &url).bearer_auth(&token);
        if !matches!(method, "GET" | "POST") {
            let known = self.http.get(&url).bearer_auth(&token).send().await.expect("an answer");
            let known: Value = known.json().await.expect("JSON");
            request = request.header("if-match", known["@odata.etag"].as_str().expect("an ETag"));
        }
        if let Some(body) = body {
            request = request.json(&body);
        }
        let answer = request.send().await.expect("an answer");
        (answer.status().as_u16(), answer.json().await.unwrap_or_default())
    }

    /// How many tasks of a title the tenant itself has in a plan.
    pub async fn tasks_titled(&self, plan: &str, title: &str) -> usize {
        fn tasks<'a>(value: &'a Value, found: &mut Vec<&'a Value>) {
            match value {
                Value::Array(items) => items.iter().for_each(|item| tasks(item, found)),
                Value::Object(members) if members.contains_key("percentComplete") => found.push(value),
                Value::Object(members) => members.values().for_each(|member| tasks(member, found)),
                _ => {}
            }
        }
        let plan = self.ok("get_plan", json!({"plan_id": plan})).await["id"].as_str().expect("an id").to_owned();
        let snapshot = self.control("GET", "snapshot", json!(null)).await;
        let mut found = Vec::new();
        tasks(&snapshot, &mut found);
        found.into_iter().filter(|task| task["planId"] == plan.as_str() && task["title"] == title).count()
    }

    /// Creates a task in [`PLAN`] that has arrived; answers our id and Planner's.
    pub async fn task(&self, title: &str) -> (String, String) {
        let made = self.ok("create_task", json!({"plan_id": PLAN, "title": title})).await;
        assert_eq!(made["sync"], "synced", "{made}");
        (made["id"].as_str().expect("an id").to_owned(), made["planner_id"].as_str().expect("an id").to_owned())
    }

    /// Waits until a condition holds; fails after half a minute.
    pub async fn until<F: Future<Output = bool>>(&self, what: &str, condition: impl Fn() -> F) {
        for _ in 0..600 {
            if condition().await {
                return;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("never happened: {what}");
    }
}

/// An address that refuses connections, and what keeps it from others while it is held: bound, and not listened on.
pub fn refusing_address() -> (tokio::net::TcpSocket, std::net::SocketAddr) {
    let socket = tokio::net::TcpSocket::new_v4().expect("a socket");
    socket.bind("127.0.0.1:0".parse().expect("an address")).expect("a free port");
    let address = socket.local_addr().expect("its address");
    (socket, address)
}

/// A free port for a process that has to be given one: outside the range from which the system gives ports to sockets, so
/// that none takes it meanwhile, and another for each test, because each is a process of its own.
pub fn free_port() -> u16 {
    static GIVEN: AtomicU16 = AtomicU16::new(0);
    let own = u16::try_from(std::process::id() % 1_000).expect("a small number");
    let is_free = |port: &u16| std::net::TcpListener::bind(("127.0.0.1", *port)).is_ok();
    std::iter::from_fn(|| Some(20_000 + own * 10 + GIVEN.fetch_add(1, Ordering::Relaxed) % 10))
        .take(10)
        .find(is_free)
        .expect("a free port")
}

/// The plan the tests work on: 200 tasks.
pub const PLAN: &str = "Website relaunch";

/// A token of a simulated tenant for one of its applications.
pub async fn token(tenant: &sim::Running, client_id: &str, secret: &str) -> String {
    let url = format!("{}{}/oauth2/v2.0/token", tenant.authority_url, tenant.tenant_id);
    let form = [
        ("grant_type", "client_credentials"),
        ("client_id", client_id),
        ("client_secret", secret),
        ("scope", "https://graph.microsoft.com/.default"),
    ];
    let form = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(form).finish();
    let request =
        reqwest::Client::new().post(url).header("content-type", "application/x-www-form-urlencoded").body(form);
    let answer: Value = request.send().await.expect("an answer").json().await.expect("JSON");
    answer["access_token"].as_str().unwrap_or_else(|| panic!("{answer}")).to_owned()
}
