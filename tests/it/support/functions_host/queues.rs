//! Queues: a client of the storage service as small as this needs it, and the host's polling.

use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use futures::future::join_all;
use serde_json::{Map, Value, json};

use super::Inner;

/// How long the host hides a message while its function works on it.
const VISIBILITY: u32 = 600;
/// The shortest pause between two looks.
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
            http: reqwest::Client::new(),
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

    async fn receive(&self, most: u64) -> Vec<Received> {
        let (status, xml) =
            self.call("GET", "/messages", &format!("numofmessages={most}&visibilitytimeout={VISIBILITY}"), None).await;
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
            text: part(text, "MessageText"),
        });
        messages.collect()
    }

    async fn delete(&self, message: &Received) {
        let receipt: String = url::form_urlencoded::byte_serialize(message.receipt.as_bytes()).collect();
        self.call("DELETE", &format!("/messages/{}", message.id), &format!("popreceipt={receipt}"), None).await;
    }

    async fn release(&self, message: &Received, seconds: u64) {
        let receipt: String = url::form_urlencoded::byte_serialize(message.receipt.as_bytes()).collect();
        let query = format!("popreceipt={receipt}&visibilitytimeout={seconds}");
        let body = format!("<QueueMessage><MessageText>{}</MessageText></QueueMessage>", escaped(&message.text));
        self.call("PUT", &format!("/messages/{}", message.id), &query, Some(body)).await;
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

/// `hh:mm:ss`
fn seconds(time: &Value) -> u64 {
    time.as_str().unwrap().split(':').fold(0, |sum, part| sum * 60 + part.parse::<u64>().unwrap())
}

/// Polls a queue for its function for ever: at once after a message, ever more rarely while there are none.
pub async fn poll(inner: Arc<Inner>, function: String, queue: StorageQueue) {
    let settings = inner.app.host["extensions"]["queues"].clone();
    let longest = Duration::from_secs(seconds(&settings["maxPollingInterval"]));
    let mut pause = SHORTEST_PAUSE;
    loop {
        let messages = queue.receive(settings["batchSize"].as_u64().unwrap()).await;
        if messages.is_empty() {
            tokio::time::sleep(pause).await;
            pause = longest.min(pause * 2);
            continue;
        }
        pause = SHORTEST_PAUSE;
        join_all(messages.into_iter().map(|message| deliver(&inner, &function, &queue, message, &settings))).await;
    }
}

async fn deliver(inner: &Inner, function: &str, queue: &StorageQueue, message: Received, settings: &Value) {
    let name = inner.app.functions[function]["name"].as_str().unwrap();
    let (data, metadata) = envelope(name, &message);
    let done = inner.invoke(function, data, metadata, Some(message.text.clone())).await;
    if done.succeeded {
        queue.delete(&message).await;
    } else if u64::from(message.count) >= settings["maxDequeueCount"].as_u64().unwrap() {
        queue.named(&format!("{}-poison", queue.name)).send(&message.text).await;
        queue.delete(&message).await;
    } else {
        queue.release(&message, seconds(&settings["visibilityTimeout"])).await;
    }
}

/// The host's encoding: whatever is no object, date or bytes is a string that holds its JSON encoding; a JSON message's
/// own plain properties are put among the metadata.
fn envelope(binding: &str, message: &Received) -> (Value, Value) {
    let encoded = |value: &Value| Value::String(value.to_string());
    let mut metadata = Map::from_iter([
        ("DequeueCount".to_owned(), encoded(&json!(message.count))),
        ("Id".to_owned(), encoded(&json!(message.id))),
        ("PopReceipt".to_owned(), encoded(&json!(message.receipt))),
        ("InsertionTime".to_owned(), json!(message.inserted)),
    ]);
    if let Ok(Value::Object(properties)) = serde_json::from_str::<Value>(&message.text) {
        for (name, value) in properties.into_iter().filter(|(_, value)| !value.is_array()) {
            let value = if value.is_object() { value } else { encoded(&value) };
            metadata.insert(name, value);
        }
    }
    (json!({ binding: encoded(&json!(message.text)) }), Value::Object(metadata))
}
