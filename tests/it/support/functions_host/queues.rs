//! Queues: a client of the storage service as small as this needs it, and the host's polling.

use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::{Map, Value, json};
use tokio::task::JoinSet;

use super::Inner;
use super::time::seconds;

/// How many seconds the host hides a message while its function works on it; half of that later it hides it again.
pub const VISIBILITY: u64 = 600;
/// How long an idle connection is used again: the emulator closes one after five seconds, without asking whether a
/// request is already on its way.
const IDLE: Duration = Duration::from_secs(2);
/// The shortest pause between two polls.
const SHORTEST_PAUSE: Duration = Duration::from_millis(100);

/// A queue of a storage service, or the service itself while it has no name.
#[derive(Clone)]
pub struct StorageQueue {
    endpoint: String,
    sas: String,
    name: String,
    http: reqwest::Client,
}

struct Received {
    id: String,
    receipt: String,
    count: u32,
    inserted: String,
    expires: String,
    visible: String,
    text: String,
}

impl StorageQueue {
    /// The emulator's queue service on a port of this machine, opened with its account's key.
    pub fn emulator(port: u16, account: &str, key: &str) -> Self {
        let fields = [
            ("sp", "rwdlacup"),
            ("ss", "q"),
            ("srt", "sco"),
            ("se", "2100-01-01T00:00:00Z"),
            ("spr", "https,http"),
            ("sv", "2018-11-09"),
        ];
        let [sp, ss, srt, se, spr, sv] = fields.map(|(_, value)| value);
        let text = format!("{account}\n{sp}\n{ss}\n{srt}\n\n{se}\n\n{spr}\n{sv}\n");
        let key = hmac::Key::new(hmac::HMAC_SHA256, &BASE64.decode(key).unwrap());
        let signature = BASE64.encode(hmac::sign(&key, text.as_bytes()));
        let mut query = url::form_urlencoded::Serializer::new(String::new());
        let sas = query.extend_pairs(fields).append_pair("sig", &signature).finish();
        Self {
            endpoint: format!("http://127.0.0.1:{port}/{account}"),
            sas,
            name: String::new(),
            http: reqwest::Client::builder().pool_idle_timeout(IDLE).build().unwrap(),
        }
    }

    /// The queue of this name.
    pub fn named(&self, name: &str) -> Self {
        Self { name: name.to_owned(), ..self.clone() }
    }

    async fn call(&self, method: &str, path: &str, query: &str, body: Option<String>) -> (u16, String) {
        let url = format!("{}/{}{path}?{query}&{}", self.endpoint, self.name, self.sas);
        let mut request = self.http.request(method.parse().unwrap(), url).header("x-ms-version", "2020-12-06");
        if let Some(body) = body {
            request = request.header("content-type", "application/xml").body(body);
        }
        let answer = request.send().await.expect("the storage service answers");
        let count = answer
            .headers()
            .get("x-ms-approximate-messages-count")
            .and_then(|count| count.to_str().ok())
            .map(str::to_owned);
        let status = answer.status().as_u16();
        (status, count.unwrap_or(answer.text().await.unwrap_or_default()))
    }

    /// Puts a message; the queue is created if need be.
    pub async fn send(&self, text: &str) {
        let body = format!("<QueueMessage><MessageText>{}</MessageText></QueueMessage>", escaped(text));
        let (mut status, mut told) = self.call("POST", "/messages", "", Some(body.clone())).await;
        if status == 404 {
            self.call("PUT", "", "", None).await;
            (status, told) = self.call("POST", "/messages", "", Some(body)).await;
        }
        assert_eq!(status, 201, "{}: {told}", self.name);
    }

    /// Messages in it, those not yet to be seen too.
    pub async fn count(&self) -> usize {
        let (status, count) = self.call("GET", "", "comp=metadata", None).await;
        if status == 404 { 0 } else { count.parse().unwrap_or_else(|_| panic!("{status} {count}")) }
    }

    async fn receive(&self, most: u64, visibility: u64) -> Vec<Received> {
        let query = format!("numofmessages={most}&visibilitytimeout={visibility}");
        let (status, xml) = self.call("GET", "/messages", &query, None).await;
        if status != 200 {
            return Vec::new();
        }
        let part = |text: &str, name: &str| {
            let inner =
                text.split_once(&format!("<{name}>")).and_then(|(_, rest)| rest.split_once(&format!("</{name}>")));
            unescaped(inner.unwrap_or_default().0)
        };
        let messages = xml.split("<QueueMessage>").skip(1).map(|text| Received {
            id: part(text, "MessageId"),
            receipt: part(text, "PopReceipt"),
            count: part(text, "DequeueCount").parse().unwrap(),
            inserted: part(text, "InsertionTime"),
            expires: part(text, "ExpirationTime"),
            visible: part(text, "TimeNextVisible"),
            text: part(text, "MessageText"),
        });
        messages.collect()
    }

    async fn delete(&self, message: &Received) {
        let receipt: String = url::form_urlencoded::byte_serialize(message.receipt.as_bytes()).collect();
        self.call("DELETE", &format!("/messages/{}", message.id), &format!("popreceipt={receipt}"), None).await;
    }

    /// Hides a message for so long; its receipt becomes another.
    async fn release(&self, message: &mut Received, seconds: u64) {
        let receipt: String = url::form_urlencoded::byte_serialize(message.receipt.as_bytes()).collect();
        let query = format!("popreceipt={receipt}&visibilitytimeout={seconds}");
        let body = format!("<QueueMessage><MessageText>{}</MessageText></QueueMessage>", escaped(&message.text));
        let url = format!("{}/{}/messages/{}?{query}&{}", self.endpoint, self.name, message.id, self.sas);
        let request = self.http.put(url).header("x-ms-version", "2020-12-06").header("content-type", "application/xml");
        let answer = request.body(body).send().await.expect("the storage service answers");
        if let Some(receipt) = answer.headers().get("x-ms-popreceipt") {
            receipt.to_str().unwrap().clone_into(&mut message.receipt);
        }
    }
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

fn unescaped(text: &str) -> String {
    text.replace("&lt;", "<")
        .replace("&gt;", ">")
        .replace("&quot;", "\"")
        .replace("&apos;", "'")
        .replace("&#xD;", "\r")
        .replace("&amp;", "&")
}

/// Polls a queue for its function for ever: at once after a message, ever more rarely while there are none. The next batch
/// is fetched as soon as no more than the threshold are under way.
pub async fn poll(inner: Arc<Inner>, function: String, queue: StorageQueue) {
    let settings = inner.app.host["extensions"]["queues"].clone();
    let longest = Duration::from_secs(seconds(&settings["maxPollingInterval"]));
    let threshold = usize::try_from(settings["newBatchThreshold"].as_u64().unwrap()).unwrap();
    let mut pause = SHORTEST_PAUSE;
    let mut under_way = JoinSet::new();
    loop {
        while under_way.len() > threshold {
            under_way.join_next().await;
        }
        let messages = queue.receive(settings["batchSize"].as_u64().unwrap(), inner.visibility).await;
        if messages.is_empty() {
            tokio::time::sleep(pause).await;
            pause = longest.min(pause * 2);
            while under_way.try_join_next().is_some() {}
            continue;
        }
        pause = SHORTEST_PAUSE;
        for message in messages {
            let (inner, function, queue) = (inner.clone(), function.clone(), queue.clone());
            under_way.spawn(deliver(inner, function, queue, message, settings.clone()));
        }
    }
}

async fn deliver(inner: Arc<Inner>, function: String, queue: StorageQueue, mut message: Received, settings: Value) {
    let most = settings["maxDequeueCount"].as_u64().unwrap();
    // After crashes: it was tried often enough, and is set aside without another try.
    let succeeded = u64::from(message.count) <= most && {
        let name = inner.app.functions[&function]["name"].as_str().unwrap();
        let (data, metadata) = envelope(name, &message);
        let mut call = Box::pin(inner.clone().invoke(&function, data, metadata, Some(message.text.clone())));
        loop {
            tokio::select! {
                done = &mut call => break done.succeeded,
                () = tokio::time::sleep(Duration::from_secs(inner.visibility) / 2) => {
                    queue.release(&mut message, inner.visibility).await;
                }
            }
        }
    };
    if succeeded {
        queue.delete(&message).await;
    } else if u64::from(message.count) >= most {
        queue.named(&format!("{}-poison", queue.name)).send(&message.text).await;
        queue.delete(&message).await;
    } else {
        queue.release(&mut message, seconds(&settings["visibilityTimeout"])).await;
    }
}

/// The host's encoding: what is no object, date or bytes is a string that holds its JSON encoding; a JSON message's
/// own plain properties, as strings, take the place of metadata of their name, in any case.
fn envelope(binding: &str, message: &Received) -> (Value, Value) {
    let encoded = |value: &Value| Value::String(value.to_string());
    let date = |text: &str| json!(chrono::DateTime::parse_from_rfc2822(text).unwrap().to_rfc3339());
    let mut metadata = Map::from_iter([
        ("DequeueCount".to_owned(), encoded(&json!(message.count))),
        ("Id".to_owned(), encoded(&json!(message.id))),
        ("PopReceipt".to_owned(), encoded(&json!(message.receipt))),
        ("InsertionTime".to_owned(), date(&message.inserted)),
        ("ExpirationTime".to_owned(), date(&message.expires)),
        ("NextVisibleTime".to_owned(), date(&message.visible)),
    ]);
    if let Ok(Value::Object(properties)) = serde_json::from_str::<Value>(&message.text) {
        for (name, value) in properties {
            let value = match value {
                Value::Null | Value::Array(_) => continue,
                Value::Object(_) => value,
                Value::String(_) => encoded(&value),
                Value::Bool(true) => encoded(&json!("True")),
                Value::Bool(false) => encoded(&json!("False")),
                Value::Number(number) => encoded(&json!(number.to_string())),
            };
            let same = metadata.keys().find(|known| known.eq_ignore_ascii_case(&name)).cloned();
            metadata.insert(same.unwrap_or(name), value);
        }
    }
    (json!({ binding: encoded(&json!(message.text)) }), Value::Object(metadata))
}
