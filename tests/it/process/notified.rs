//! The endpoint for notifications of the real program: killed under load, and under a hail of things that are none.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::process::Command;
use std::time::Duration;

use serde_json::{Value, json};

use super::Deployment;
use crate::support::process::Process;

/// A subscription as Graph knows it.
async fn subscribed(deployment: &Deployment) -> Value {
    let made = deployment.call("create_subscription", json!({"kind": "group", "names": ["Digital"]})).await.unwrap();
    assert_eq!(made["subscription"]["state"], "active", "{made:#}");
    let snapshot = deployment.control("GET", "snapshot", Value::Null).await;
    let known = find(&snapshot, "clientState").expect("the tenant's subscription");
    json!({"subscriptionId": known["id"], "clientState": known["clientState"], "changeType": "updated",
        "resource": "groups/1", "resourceData": {"id": "1"}})
}

fn find<'a>(value: &'a Value, name: &str) -> Option<&'a Value> {
    match value {
        Value::Object(object) if object.contains_key(name) => Some(value),
        Value::Object(object) => object.values().find_map(|inner| find(inner, name)),
        Value::Array(items) => items.iter().find_map(|inner| find(inner, name)),
        _ => None,
    }
}

fn door(server: &Process) -> String {
    format!("{}api/graph_webhook", server.text("api_url"))
}

/// The identities of all notifications in the store's file: those that wait, and those that were worked on.
fn kept(deployment: &Deployment) -> BTreeSet<String> {
    let mut store = rusqlite::Connection::open(deployment.folder.0.join("data/graphgate.db")).unwrap();
    let moment = store.transaction().unwrap(); // one leaves the queue only after it is noted as worked on
    let texts = |query: &str| {
        let mut rows = moment.prepare(query).unwrap();
        let texts = rows.query_map([], |row| row.get::<_, String>(0)).unwrap();
        texts.map(Result::unwrap).collect::<Vec<_>>()
    };
    let worked_on = texts("SELECT key FROM rows WHERE partition LIKE '%|notifications' AND key LIKE 'n|%'");
    let mut kept: BTreeSet<String> =
        worked_on.iter().filter_map(|key| key.rsplit('|').next().map(str::to_owned)).collect();
    for row in texts("SELECT json FROM rows WHERE partition = 'queue|graphgate-notifications' AND key LIKE 'm|%'") {
        let message: Value = serde_json::from_str(&row).unwrap();
        let parcel: graphgate::services::notifications::Batch =
            serde_json::from_str(message["text"].as_str().unwrap()).unwrap();
        kept.extend(parcel.notifications.iter().filter_map(graphgate::services::notifications::Notification::identity));
    }
    kept
}

fn identity(notification: &Value) -> String {
    let body = json!({ "value": [notification] }).to_string();
    graphgate::services::notifications::parse(body.as_bytes()).unwrap().value[0].identity().unwrap()
}

/// `KILLS` says how often; 25 unless it does.
#[tokio::test]
async fn kill_9_under_load_loses_no_accepted_notification() {
    let kills: u64 = std::env::var("KILLS").ok().map_or(25, |kills| kills.parse().unwrap());
    let mut deployment = Deployment::start().await;
    let notification = subscribed(&deployment).await;
    let taken = RefCell::new(Vec::new());
    for kill in 0..kills {
        let server = deployment.servers[0].take().unwrap();
        let door = door(&server);
        let client = async |client: usize| {
            for number in 0.. {
                let mut one = notification.clone();
                one["id"] = json!(format!("{kill}-{client}-{number}"));
                let Ok(answer) = deployment.http.post(&door).json(&json!({"value": [one]})).send().await else {
                    return;
                };
                assert_eq!(answer.status(), 202);
                taken.borrow_mut().push(one);
            }
        };
        let load = futures::future::join_all((0..8).map(client));
        let end = async {
            tokio::time::sleep(Duration::from_millis(20 + kill * 37 % 180)).await;
            drop(server); // kills it while all of them are under way
        };
        tokio::join!(load, end);
        deployment.serve(Command::new(env!("CARGO_BIN_EXE_graphgate"))).await;
    }
    let taken = taken.into_inner();
    assert!(taken.len() as u64 > kills * 4, "the load was one: {}", taken.len());
    let kept = kept(&deployment);
    let lost: Vec<_> = taken.iter().filter(|one| !kept.contains(&identity(one))).collect();
    println!("{kills} kills, {} answered with 202, {} lost", taken.len(), lost.len());
    assert!(lost.is_empty(), "{lost:?}");
}

/// A generator good enough to choose what to damage.
struct Chance(u64);

impl Chance {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % u64::try_from(limit.max(1)).unwrap()).unwrap()
    }
}

const PIECES: &[&str] = &[
    "null",
    "[]",
    "{}",
    "\"",
    "\\u0000",
    "\\ud800",
    "1e999",
    "-0",
    "\u{feff}",
    "\u{202e}",
    "\"clientState\":",
    "\"value\":[",
    "\"encryptedContent\":{\"data\":\"AAAA\",\"dataSignature\":\"\",\"dataKey\":\"/w==\"},",
    "\"validationTokens\":[\"eyJ\"],",
    "\"lifecycleEvent\":\"missed\",",
    "\"subscriptionId\":\"sample\",",
    "{\"overflow\":\"01h\"}",
    "../../",
    "' or 1=1 --",
    "[[[[[[[[",
];

/// A body that was one, and is damaged in a few places.
fn damaged(whole: &str, chance: &mut Chance) -> Vec<u8> {
    let mut bytes = whole.as_bytes().to_vec();
    for _ in 0..=chance.below(6) {
        let at = chance.below(bytes.len());
        match chance.below(6) {
            0 => bytes[at] ^= 1 << chance.below(8),
            1 => bytes.truncate(at.max(1)),
            2 => drop(bytes.splice(at..at, PIECES[chance.below(PIECES.len())].bytes())),
            3 => drop(bytes.drain(at..(at + chance.below(40)).min(bytes.len()))),
            4 => {
                let copy = bytes[at..(at + chance.below(400)).min(bytes.len())].to_vec();
                drop(bytes.splice(at..at, copy.into_iter().cycle().take(chance.below(20_000))));
            }
            _ => bytes.insert(at, u8::try_from(chance.below(256)).unwrap()),
        }
        if bytes.is_empty() {
            bytes.push(b'{');
        }
    }
    bytes
}

/// `FUZZ_SECONDS` says how long, `FUZZ_SEED` where chance begins; a few seconds unless they do.
#[cfg(target_os = "linux")]
#[tokio::test]
async fn damaged_webhook_bodies_are_not_processed_cause_no_error_and_no_memory_growth() {
    let number = |name: &str, or: u64| std::env::var(name).ok().map_or(or, |text| text.parse().unwrap());
    let lasts = Duration::from_secs(number("FUZZ_SECONDS", 4));
    let deployment = Deployment::start().await;
    let mut notification = subscribed(&deployment).await;
    // Sixteen letters off: wherever the damage is, none of them ever opens. A single one is put right once in a while.
    let secret = notification["clientState"].as_str().unwrap();
    notification["clientState"] = json!(format!("{}{}", "~".repeat(16), &secret[16..]));
    notification["id"] = json!("fuzz");
    let whole = json!({"value": [notification, notification], "validationTokens": ["eyJhbGciOiJSUzI1NiJ9.e30.AAAA"]})
        .to_string();
    let server = deployment.server(0);
    let door = door(server);
    let sent = std::cell::Cell::new(0_usize);
    let client = async |seed: u64, until: std::time::Instant| {
        let mut chance = Chance(seed);
        while std::time::Instant::now() < until {
            let paths = ["/lifecycle", "?validationToken=%3Cscript%3E", "?validationToken=a"];
            let path = if chance.below(10) == 0 { paths[chance.below(paths.len())] } else { "" };
            let bytes = damaged(&whole, &mut chance);
            let request = deployment.http.post(format!("{door}{path}")).body(bytes.clone());
            if let Ok(answer) = request.send().await {
                let status = answer.status().as_u16();
                assert!(status < 500, "{status} to {path} {:?}", String::from_utf8_lossy(&bytes));
            }
            sent.set(sent.get() + 1);
        }
    };
    let seed = number("FUZZ_SEED", 0x9e37_79b9_7f4a_7c15);
    let hail = async |lasts: Duration, seed: u64| {
        let until = std::time::Instant::now() + lasts;
        futures::future::join_all((1..=8).map(|place| client(seed.wrapping_mul(2 * place + 1) | 1, until))).await;
    };
    hail(lasts / 2, seed).await; // all that is allocated once is allocated
    let before = server.resident();
    hail(lasts / 2, seed.rotate_left(7)).await;
    let grown = server.resident().saturating_sub(before);
    println!("{} bodies, memory {before} KiB and {grown} KiB more after {} s", sent.get(), lasts.as_secs());
    assert!(grown < 8 * 1024, "{grown} KiB more than {before} KiB");
    let url = format!("{}api/webhook/health", server.text("api_url"));
    let health: Value = deployment.http.get(url).send().await.unwrap().json().await.unwrap();
    assert_eq!((&health["received"]["kept"], &health["queue"]["waiting"]), (&json!(0), &json!(0)), "{health:#}");
    assert!(health["received"]["malformed"].as_u64() > Some(0) && health["received"]["refused"].as_u64() > Some(0));
}
