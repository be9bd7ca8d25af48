//! The endpoint for change notifications under more load than Graph makes: all are taken, none is lost, and soon.
//!
//! What was answered with 202 is searched for afterwards where the program stores it, without asking the program: in the
//! queue, or among those that were worked on.

use std::collections::HashSet;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use graphgate::azure::queues;
use graphgate::azure::tables::Connector;
use graphgate::azure::{Credential, CredentialConfig, Secret};
use graphgate::clock::Clock;
use graphgate::http_client::HttpClient;
use graphgate::ids::Entropy;
use graphgate::queue::Queue;
use graphgate::services::notifications::{Batch, QUEUE, parse};
use graphgate::store::AzureQueue;
use serde_json::{Value, json};

use crate::Effort;
use crate::cores::Cores;
use crate::http::Request;
use crate::load::{self, Outcome, Until};
use crate::process::Process;
use crate::report::Figure;
use crate::stack::{Server, Tenant};

const CLIENTS: usize = 100;
/// POSTs a second in the load that does not wait for answers.
const RATE: u32 = 2_000;
/// The emulator's account, whose key is published.
const ACCOUNT: &str = "AccountName=devstoreaccount1;AccountKey=Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw==";

/// Measures the embedded store, and the storage emulator where `AZURITE` names one.
pub async fn run(effort: Effort) -> anyhow::Result<Vec<Figure>> {
    let mut figures = embedded(effort).await?;
    match std::env::var_os("AZURITE") {
        Some(program) => figures.extend(emulated(Path::new(&program)).await?),
        None => eprintln!("`AZURITE` does not name the storage emulator: its figures are left out"),
    }
    Ok(figures)
}

/// A subscription as Graph knows it, for notifications that nobody can tell from Graph's.
struct Sender {
    subscription: Value,
}

impl Sender {
    /// Has the server watch a group, and looks up in the tenant what only Graph knows.
    async fn subscribed(tenant: &Tenant, server: &Server, headers: &str) -> anyhow::Result<Self> {
        let wish = json!({ "kind": "group", "names": ["Digital"] });
        let params = json!({ "name": "create_subscription", "arguments": wish });
        let body = json!({ "jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params });
        let headers = format!("accept: application/json, text/event-stream\r\n{headers}");
        let made = server.connect().await?.json(&Request::new("POST", "/mcp", &headers, Some(&body))).await?;
        let state = made.pointer("/result/structuredContent/subscription/state").and_then(Value::as_str);
        ensure!(state == Some("active"), "the group is not watched: {made}\n{}", server.process.log());
        let snapshot = tenant.control("GET", "snapshot", None).await?;
        let subscription = member(&snapshot, "clientState").context("the tenant has no subscription")?.clone();
        Ok(Self { subscription })
    }

    /// What Graph would post about change `number` of a run.
    fn body(&self, run: &str, number: usize) -> Value {
        let of = |name: &str| self.subscription.get(name).cloned().unwrap_or_default();
        let group = "02bd9fd6-8f93-4758-87c3-1fb73740a315";
        json!({ "value": [{
            "id": format!("{run}-{number}"), "subscriptionId": of("id"), "clientState": of("clientState"),
            "subscriptionExpirationDateTime": of("expirationDateTime"), "changeType": "updated",
            "resource": format!("groups/{group}"),
            "resourceData": { "@odata.type": "#Microsoft.Graph.Group", "@odata.id": format!("Groups/{group}"), "id": group },
        }] })
    }

    fn post(&self, run: &str, number: usize) -> Request {
        Request::new("POST", "/api/graph_webhook", "", Some(&self.body(run, number)))
    }

    /// How many of a run's notifications are not among those found.
    fn lost(&self, run: &str, count: usize, found: &HashSet<String>) -> anyhow::Result<usize> {
        let mut lost = 0;
        for number in 0..count {
            let bytes = serde_json::to_vec(&self.body(run, number))?;
            let identity =
                parse(&bytes)?.value.first().and_then(graphgate::services::notifications::Notification::identity);
            lost += usize::from(!found.contains(&identity.context("a notification without identity")?));
        }
        Ok(lost)
    }
}

/// The first object within `value` that has a member of this name.
fn member<'a>(value: &'a Value, name: &str) -> Option<&'a Value> {
    match value {
        Value::Object(object) if object.contains_key(name) => Some(value),
        Value::Object(object) => object.values().find_map(|inner| member(inner, name)),
        Value::Array(items) => items.iter().find_map(|inner| member(inner, name)),
        _ => None,
    }
}

fn taken(status: u16, body: &[u8]) -> anyhow::Result<()> {
    ensure!(status == 202, "HTTP {status}: {}", String::from_utf8_lossy(body));
    Ok(())
}

async fn embedded(effort: Effort) -> anyhow::Result<Vec<Figure>> {
    let tenant = Tenant::start("demo", Cores::All)?;
    let server = Server::start(&tenant, Cores::All)?;
    let sender = Sender::subscribed(&tenant, &server, "").await?;
    let data = server.process.file("data").join("graphgate.db");

    let count = effort.of(10_000, 2_000);
    let next = |number| sender.post("closed", number);
    let closed = load::run_judged(&server.address, CLIENTS, Until::Calls(count), next, taken).await?;
    let lost = sender.lost("closed", count, &kept_in(&data)?)?;
    let mut figures = judge(&format!("{count} POSTs on {CLIENTS} connections"), &closed, lost, 50.0);

    let lasts = Duration::from_secs(effort.of(60, 10) as u64);
    let due = RATE as usize * effort.of(60, 10);
    let next = |number| sender.post("open", number);
    let open = load::run_open(&server.address, CLIENTS, (RATE, lasts), next, taken).await?;
    let lost = sender.lost("open", due, &kept_in(&data)?)?;
    figures.extend(judge(
        &format!("{RATE} POSTs a second for {} s, with any answers", lasts.as_secs()),
        &open,
        lost,
        25.0,
    ));
    Ok(figures)
}

fn judge(name: &str, outcome: &Outcome, lost: usize, p99: f64) -> Vec<Figure> {
    let said = outcome.first_error.as_ref().map(|error| format!("; {error}")).unwrap_or_default();
    let latencies = format!("p50 {:.1} ms, {:.0}/s", outcome.latency(0.5), outcome.rate());
    #[allow(clippy::cast_precision_loss)] // some thousands
    let count = |what: &str, count: usize| Figure::at_most(&format!("{name}: {what}"), 0.0, count as f64, "");
    vec![
        count("not answered with 202", outcome.errors).noting(&format!("{} were{said}", outcome.took.len())),
        count("lost", lost),
        Figure::at_most(&format!("{name}: p99"), p99, outcome.latency(0.99), "ms").noting(&latencies),
    ]
}

/// The identities of all notifications in a store's file: those that wait and those that were worked on.
fn kept_in(file: &Path) -> anyhow::Result<HashSet<String>> {
    let mut connection = rusqlite::Connection::open(file)?;
    let moment = connection.transaction()?; // a message leaves the queue only after it is noted as worked on
    let mut found = HashSet::new();
    let mut rows = moment.prepare("SELECT key FROM rows WHERE partition LIKE '%|notifications' AND key LIKE 'n|%'")?;
    for key in rows.query_map([], |row| row.get::<_, String>(0))? {
        found.extend(key?.rsplit('|').next().map(str::to_owned));
    }
    let mut rows = moment.prepare("SELECT json FROM rows WHERE partition = 'queue|' || ?1 AND key LIKE 'm|%'")?;
    for row in rows.query_map([QUEUE], |row| row.get::<_, String>(0))? {
        let message: Value = serde_json::from_str(&row?)?;
        found.extend(identities(message.get("text").and_then(Value::as_str).unwrap_or_default())?);
    }
    Ok(found)
}

fn identities(text: &str) -> anyhow::Result<Vec<String>> {
    let batch: Batch = serde_json::from_str(text)?;
    Ok(batch.notifications.iter().filter_map(graphgate::services::notifications::Notification::identity).collect())
}

/// A burst on Azure's storage, as an instance takes it that the Functions host started: it only puts into the queue.
async fn emulated(program: &Path) -> anyhow::Result<Vec<Figure>> {
    const BURST: usize = 1_000;
    let arguments = [
        "--inMemoryPersistence",
        "--disableTelemetry",
        "--silent",
        "--blobPort",
        "0",
        "--queuePort",
        "0",
        "--tablePort",
        "0",
    ];
    let azurite = Process::start(program, &arguments, &[], Cores::All)?;
    let mut ports = Vec::new();
    let started = Instant::now();
    while ports.len() < 3 {
        ensure!(started.elapsed() < Duration::from_secs(30), "the storage emulator is not ready:\n{}", azurite.log());
        std::thread::sleep(Duration::from_millis(20)); // nothing else runs here yet
        let log = azurite.log();
        let listening = log.lines().filter(|line| line.contains("successfully listening"));
        ports = listening.filter_map(|line| line.rsplit_once(':')?.1.trim().parse::<u16>().ok()).collect();
    }
    let [blobs, queues, tables] = ports.as_slice() else { anyhow::bail!("three ports expected: {ports:?}") };
    let at = |port| format!("http://127.0.0.1:{port}/devstoreaccount1");
    let account = format!(
        "DefaultEndpointsProtocol=http;{ACCOUNT};BlobEndpoint={};QueueEndpoint={};TableEndpoint={}",
        at(blobs),
        at(queues),
        at(tables)
    );
    let port = std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
    let tenant = Tenant::start("demo", Cores::All)?;
    let settings = [
        ("AzureWebJobsStorage", account.clone()),
        ("FUNCTIONS_CUSTOMHANDLER_PORT", port.to_string()),
        ("GRAPHGATE_API_KEY", "figures".to_owned()),
        ("PUBLIC_URL", format!("http://127.0.0.1:{port}")),
    ];
    let server = Server::start_with(&tenant, &[], &settings)?;
    let sender = Sender::subscribed(&tenant, &server, "x-api-key: figures\r\n").await?;
    let next = |number| sender.post("burst", number);
    let outcome = load::run_judged(&server.address, CLIENTS, Until::Calls(BURST), next, taken).await?;
    let found = drained(&account).await?;
    let lost = sender.lost("burst", BURST, &found)?;
    Ok(judge(&format!("Azurite: {BURST} POSTs at once on {CLIENTS} connections"), &outcome, lost, 1_000.0))
}

/// The identities of all notifications that wait in the emulator's queue, which is empty afterwards.
async fn drained(account: &str) -> anyhow::Result<HashSet<String>> {
    let (clock, entropy) = (Clock::system(), Entropy::system());
    let http = HttpClient::new(clock.clone(), entropy.clone())?;
    let nobody = CredentialConfig::ClientSecret {
        tenant: "11111111-1111-1111-1111-111111111111".to_owned(),
        client_id: "22222222-2222-2222-2222-222222222222".to_owned(),
        secret: Secret::new("unused"),
        authority: None,
    };
    let credential = Credential::new(nobody, &http, clock, entropy.clone(), None)?;
    let config = queues::Config::from_connection_string(account)?;
    let queue = AzureQueue::open(config, QUEUE, Connector { http, credential, entropy }).await?;
    let mut found = HashSet::new();
    loop {
        let messages = queue.receive(32, Duration::from_mins(10)).await?;
        if messages.is_empty() {
            return Ok(found);
        }
        for message in &messages {
            found.extend(identities(&message.text)?);
        }
    }
}
