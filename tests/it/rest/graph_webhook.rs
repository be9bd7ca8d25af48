//! The endpoint: what comes in, what stays out, and what happens when it cannot be kept.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use graphgate::azure::Secret;
use graphgate::clock::Clock;
use graphgate::ids::Entropy;
use graphgate::queue::{Mailbox, Message, Poisoned, Queue, QueueState};
use graphgate::rows::{StoreError, Tables, TenantTables};
use graphgate::services::notifications::{Received, Receiver, Samples};
use graphgate::services::subscriptions::{Content, Kind, Origin, Record, SubscriptionStore, Target};
use graphgate::store::MemoryTables;
use serde_json::{Value, json};

use crate::support::World;

const TENANT: &str = "11111111-1111-1111-1111-111111111111";

/// A queue that can be out of order.
#[derive(Default)]
struct Sink {
    down: AtomicBool,
    hangs: AtomicBool,
    texts: std::sync::Mutex<Vec<String>>,
}

#[async_trait]
impl Queue for Sink {
    fn name(&self) -> &'static str {
        "sink"
    }

    async fn send(&self, text: &str, _: Duration) -> Result<(), StoreError> {
        if self.hangs.load(Ordering::Relaxed) {
            std::future::pending::<()>().await;
        }
        if self.down.load(Ordering::Relaxed) {
            return Err(StoreError::Unavailable { reason: "out of order".into() });
        }
        self.texts.lock().unwrap().push(text.to_owned());
        Ok(())
    }

    async fn receive(&self, _: usize, _: Duration) -> Result<Vec<Message>, StoreError> {
        Ok(Vec::new())
    }

    async fn delete(&self, _: &Message) -> Result<(), StoreError> {
        Ok(())
    }

    async fn postpone(&self, _: &Message, _: Duration) -> Result<(), StoreError> {
        Ok(())
    }

    async fn state(&self) -> Result<QueueState, StoreError> {
        Ok(QueueState::default())
    }

    async fn poisoned(&self, _: usize) -> Result<Vec<Poisoned>, StoreError> {
        Ok(Vec::new())
    }

    async fn redrive(&self, _: usize, _: graphgate::queue::Wanted<'_>) -> Result<usize, StoreError> {
        Ok(0)
    }
}

/// An endpoint with one subscription, and the secret it knows.
async fn door(sink: Arc<Sink>) -> (Receiver, String) {
    let (clock, entropy) = (Clock::system(), Entropy::system());
    let tables: Arc<dyn Tables> = Arc::new(MemoryTables::default());
    let book = SubscriptionStore::new(&TenantTables::new(tables.clone(), TENANT));
    let target = Target::new(Kind::Groups, Vec::new(), Content::Without).unwrap();
    let mut record = Record::new(target, "groups".into(), Origin::Settings, clock.now());
    let secret = record.make_secret(&entropy);
    let expires_at = clock.now() + chrono::TimeDelta::days(1);
    let live = json!({"id": "sub", "url": "https://h", "granted_at": clock.now(), "expires_at": expires_at});
    record.live = serde_json::from_value(live).unwrap();
    book.insert(&record).await.unwrap();
    let mailbox = Mailbox::new(sink, tables, clock.clone(), entropy);
    let ring = graphgate::keyring::generate(&Entropy::system());
    let ring = graphgate::keyring::Keyring::parse(&ring, TENANT).unwrap();
    let samples = Arc::new(Samples::new(ring, clock.clone()));
    (Receiver::new(book, mailbox, TENANT.to_owned(), samples, clock), secret)
}

fn body(secret: &str) -> Value {
    json!({"value": [{"subscriptionId": "sub", "clientState": secret, "changeType": "updated", "tenantId": TENANT,
        "resource": "groups/1", "resourceData": {"id": "1"}}]})
}

/// Bodies nobody should act on, each with a word on what is wrong.
fn hostile(secret: &str) -> Vec<(&'static str, Vec<u8>)> {
    let good = body(secret);
    let with = |pointer: &str, value: Value| {
        let mut changed = good.clone();
        *changed.pointer_mut(pointer).unwrap() = value;
        changed.to_string().into_bytes()
    };
    let without = |name: &str| {
        let mut changed = good.clone();
        changed["value"][0].as_object_mut().unwrap().remove(name);
        changed.to_string().into_bytes()
    };
    let text = good.to_string();
    let deep = |depth: usize| format!("{{\"value\":{}{}}}", "[".repeat(depth), "]".repeat(depth)).into_bytes();
    let many: Vec<Value> = vec![good["value"][0].clone(); 1001];
    vec![
        ("empty", Vec::new()),
        ("a space", b" ".to_vec()),
        ("no JSON", b"hello".to_vec()),
        ("half of it", text.as_bytes()[..text.len() / 2].to_vec()),
        ("two of it", [text.as_bytes(), text.as_bytes()].concat()),
        ("a NUL behind it", [text.as_bytes(), b"\0"].concat()),
        ("a byte order mark", [b"\xef\xbb\xbf", text.as_bytes()].concat()),
        ("UTF-16", text.encode_utf16().flat_map(u16::to_le_bytes).collect()),
        ("bytes that are no text", vec![0xff; 64]),
        ("null", b"null".to_vec()),
        ("a list", b"[]".to_vec()),
        ("a text", b"\"value\"".to_vec()),
        ("a number", b"1e999".to_vec()),
        ("no value", b"{}".to_vec()),
        ("value null", b"{\"value\":null}".to_vec()),
        ("value an object", b"{\"value\":{}}".to_vec()),
        ("value a text", b"{\"value\":\"x\"}".to_vec()),
        ("an item null", b"{\"value\":[null]}".to_vec()),
        ("an item a number", b"{\"value\":[1]}".to_vec()),
        ("nothing in it", b"{\"value\":[]}".to_vec()),
        ("value twice", format!("{{\"value\":[],\"value\":{}}}", good["value"]).into_bytes()),
        ("a secret twice", text.replace("\"clientState\":", "\"clientState\":\"x\",\"clientState\":").into_bytes()),
        ("deep", deep(100)),
        ("deeper", deep(100_000)),
        ("too many", json!({ "value": many }).to_string().into_bytes()),
        ("no secret", without("clientState")),
        ("secret null", with("/value/0/clientState", Value::Null)),
        ("secret a number", with("/value/0/clientState", json!(1))),
        ("secret a list", with("/value/0/clientState", json!([secret]))),
        ("secret empty", with("/value/0/clientState", json!(""))),
        ("secret wrong", with("/value/0/clientState", json!("0".repeat(48)))),
        ("secret cut", with("/value/0/clientState", json!(&secret[1..]))),
        ("secret longer", with("/value/0/clientState", json!(format!("{secret}0")))),
        (
            "secret in capitals",
            with("/value/0/clientState", json!(secret.to_uppercase().replace(char::is_numeric, "A"))),
        ),
        ("secret with a NUL", with("/value/0/clientState", json!(format!("{secret}\0")))),
        ("secret of 10,000 characters", with("/value/0/clientState", json!("a".repeat(10_000)))),
        ("no subscription", without("subscriptionId")),
        ("another subscription", with("/value/0/subscriptionId", json!("other"))),
        ("subscription empty", with("/value/0/subscriptionId", json!(""))),
        ("subscription a path", with("/value/0/subscriptionId", json!("../../sub"))),
        ("subscription a filter", with("/value/0/subscriptionId", json!("' or '1' eq '1"))),
        ("subscription an object", with("/value/0/subscriptionId", json!({"$ne": null}))),
        ("another tenant", with("/value/0/tenantId", json!("22222222-2222-2222-2222-222222222222"))),
        ("tenant empty", with("/value/0/tenantId", json!(""))),
        ("tenant a number", with("/value/0/tenantId", json!(7))),
        ("resource too long", with("/value/0/resource", json!("g/".repeat(5000)))),
        ("data a text", with("/value/0/resourceData", json!("x"))),
        ("data's id a list", with("/value/0/resourceData", json!({"id": ["1"]}))),
        ("tokens no list", format!("{{\"validationTokens\":\"x\",\"value\":{}}}", good["value"]).into_bytes()),
    ]
}

#[tokio::test]
async fn hostile_notifications_are_never_enqueued() {
    let sink = Arc::new(Sink::default());
    let (door, secret) = door(sink.clone()).await;
    let hostile = hostile(&secret);
    assert!(hostile.len() >= 40, "{}", hostile.len());
    for (what, bytes) in &hostile {
        match door.receive(bytes).await {
            Received::Taken { kept, .. } => assert_eq!(kept, 0, "{what}"),
            Received::Malformed(why) => assert!(!why.contains(&secret), "{what}: {why}"),
            Received::NotNow => panic!("{what}: it would come again"),
        }
    }
    assert!(sink.texts.lock().unwrap().is_empty());
    let good = door.receive(body(&secret).to_string().as_bytes()).await;
    assert_eq!(good, Received::Taken { kept: 1, dropped: 0 }, "the door still opens");
    let mixed = json!({"value": [body(&secret)["value"][0], body("wrong")["value"][0], body(&secret)["value"][0]]});
    let mixed = door.receive(mixed.to_string().as_bytes()).await;
    assert_eq!(mixed, Received::Taken { kept: 2, dropped: 1 });
    assert_eq!(sink.texts.lock().unwrap().len(), 2, "one message a POST");
}

#[tokio::test]
async fn queue_messages_do_not_contain_the_client_state() {
    let sink = Arc::new(Sink::default());
    let (door, secret) = door(sink.clone()).await;
    door.receive(body(&secret).to_string().as_bytes()).await;
    let text = sink.texts.lock().unwrap()[0].clone();
    assert!(!text.contains(&secret), "{text}");
    let queued: Value = serde_json::from_str(&text).unwrap();
    let state = queued["notifications"][0]["clientState"].as_str().unwrap().to_owned();
    let forged = door.receive(body(&state).to_string().as_bytes()).await;
    assert_eq!(forged, Received::Taken { kept: 0, dropped: 1 }, "who reads the queue cannot notify");
}

#[tokio::test]
async fn notification_that_cannot_be_enqueued_is_answered_503_in_time() {
    let sink = Arc::new(Sink::default());
    let (door, secret) = door(sink.clone()).await;
    let bytes = body(&secret).to_string().into_bytes();
    for (down, hangs) in [(true, false), (false, true)] {
        sink.down.store(down, Ordering::Relaxed);
        sink.hangs.store(hangs, Ordering::Relaxed);
        let began = Instant::now();
        let all = futures::future::join_all((0..50).map(|_| door.receive(&bytes))).await;
        assert!(all.iter().all(|received| *received == Received::NotNow));
        assert!(began.elapsed() < Duration::from_millis(1500), "{:?}", began.elapsed());
    }
    sink.hangs.store(false, Ordering::Relaxed);
    assert_eq!(door.receive(&bytes).await, Received::Taken { kept: 1, dropped: 0 });
}

#[tokio::test]
async fn webhook_needs_no_key_and_echoes_the_validation_token() {
    let world = World::with(|config| config.auth.key = Some(Secret::new("k3y"))).await;
    let door = world.api_url().join("api/graph_webhook").unwrap();
    let post = async |url: &str, body: Vec<u8>| {
        reqwest::Client::new().post(url).header("content-type", "text/plain").body(body).send().await.unwrap()
    };
    let token = "Validation: Testing client reachability + % & ä 任 \u{1f600}";
    for path in ["", "/lifecycle"] {
        let mut url = url::Url::parse(&format!("{door}{path}")).unwrap();
        url.query_pairs_mut().append_pair("validationToken", token);
        let answer = post(url.as_str(), Vec::new()).await;
        assert_eq!(answer.status(), 200);
        assert_eq!(answer.headers()["content-type"], "text/plain; charset=utf-8");
        assert_eq!(answer.headers()["x-content-type-options"], "nosniff");
        assert_eq!(answer.bytes().await.unwrap(), token.as_bytes());
    }
    for (query, status) in [("?validationToken=%3Cscript%3Ealert(1)%3C/script%3E", 400), ("", 400), ("?code=x", 400)] {
        let answer = post(&format!("{door}{query}"), Vec::new()).await;
        assert_eq!(answer.status(), status, "{query}");
        assert!(!answer.text().await.unwrap().contains("<script"));
    }
    // Everything else about it needs the key.
    for path in ["api/webhook/health", "api/webhook/log"] {
        let answer = reqwest::get(world.api_url().join(path).unwrap()).await.unwrap();
        assert_eq!(answer.status(), 401, "{path}");
    }
}

#[tokio::test]
async fn hostile_webhook_bodies_never_cause_a_server_error() {
    let world = World::start().await;
    let door = world.api_url().join("api/graph_webhook").unwrap();
    let http = reqwest::Client::new();
    let mut bodies = hostile("0123456789abcdef0123456789abcdef0123456789abcdef");
    bodies.push(("2 MiB", format!("{{\"value\":[],\"x\":\"{}\"}}", "a".repeat(2 << 20)).into_bytes()));
    for (what, bytes) in bodies {
        for chunked in [false, true] {
            let request = http.post(door.clone()).header("content-type", "application/xml");
            let request = if chunked {
                let pieces: Vec<Result<Vec<u8>, std::io::Error>> =
                    bytes.chunks(4096).map(|chunk| Ok(chunk.to_vec())).collect();
                request.body(reqwest::Body::wrap_stream(futures::stream::iter(pieces)))
            } else {
                request.body(bytes.clone())
            };
            // A body that is refused for its size may be cut off while it is sent.
            if let Ok(answer) = request.send().await {
                assert!(answer.status().as_u16() < 500, "{what}: {}", answer.status());
            } else {
                assert_eq!(what, "2 MiB");
            }
        }
    }
    let health: Value =
        http.get(world.api_url().join("api/webhook/health").unwrap()).send().await.unwrap().json().await.unwrap();
    assert_eq!((&health["received"]["kept"], &health["queue"]["waiting"]), (&json!(0), &json!(0)), "{health:#}");
}
