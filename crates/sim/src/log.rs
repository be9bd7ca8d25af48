//! The request log: one JSON line per Graph attempt, as it went over the wire, and a short memory of the last
//! requests for the page. The `Authorization` header is never written. A line is in the file before the answer
//! leaves, so a test may read the log right after its call.

use std::collections::VecDeque;
use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use chrono::{DateTime, Utc};
use serde_json::{Value, json};

/// Requests kept in memory.
const RING: usize = 500;
/// Bodies longer than this are kept in the file only.
const RING_BODY: usize = 2_048;

/// One attempt.
pub struct Line<'a> {
    pub method: &'a str,
    pub path: &'a str,
    pub headers: &'a [(String, String)],
    /// Request body as sent, empty = none.
    pub body: &'a [u8],
    /// `None` when the client got no answer.
    pub status: Option<u16>,
    pub response: Option<&'a str>,
    pub response_headers: &'a [(&'static str, String)],
    pub time: DateTime<Utc>,
    pub app_only: Option<bool>,
    pub permissions: &'a [String],
    pub took_ms: f64,
    pub fault: Option<&'a str>,
}

/// Where lines go.
pub struct Log {
    file: Option<Mutex<File>>,
    ring: Mutex<Ring>,
}

#[derive(Default)]
struct Ring {
    serial: u64,
    lines: VecDeque<Value>,
}

impl Log {
    /// Opens (and empties) the file, if one is wanted.
    pub fn open(path: Option<&Path>) -> std::io::Result<Self> {
        let file = path.map(File::create).transpose()?.map(Mutex::new);
        Ok(Self { file, ring: Mutex::default() })
    }

    /// Writes one attempt.
    pub fn write(&self, line: &Line<'_>) {
        let body = match line.body {
            [] => None,
            bytes => match serde_json::from_slice::<&serde_json::value::RawValue>(bytes) {
                Ok(raw) => Some(raw.get().to_owned()),
                Err(_) => Some(Value::String(String::from_utf8_lossy(bytes).into_owned()).to_string()),
            },
        };
        if let Some(file) = &self.file {
            let text = full(line, body.as_deref());
            let mut file = file.lock().unwrap_or_else(PoisonError::into_inner);
            if let Err(error) = file.write_all(text.as_bytes()) {
                tracing::warn!(%error, "the request log cannot be written");
            }
        }
        self.remember(line, body.as_deref());
    }

    fn remember(&self, line: &Line<'_>, body: Option<&str>) {
        let short = |text: Option<&str>| match text {
            Some(text) if text.len() <= RING_BODY => serde_json::from_str(text).unwrap_or(Value::Null),
            _ => Value::Null,
        };
        let mut ring = self.ring.lock().unwrap_or_else(PoisonError::into_inner);
        ring.serial += 1;
        let entry = json!({
            "n": ring.serial, "time": line.time.to_rfc3339(), "method": line.method, "path": line.path,
            "status": line.status, "ms": (line.took_ms * 10.0).round() / 10.0, "fault": line.fault,
            "auth": line.app_only.map(|app| if app { "app" } else { "delegated" }),
            "body": short(body), "response": short(line.response), "bytes": line.response.map_or(0, str::len),
        });
        if ring.lines.len() >= RING {
            ring.lines.pop_front();
        }
        ring.lines.push_back(entry);
    }

    /// The last requests, newest last, at most `count`; and the number of the newest.
    pub fn last(&self, count: usize) -> (u64, Vec<Value>) {
        let ring = self.ring.lock().unwrap_or_else(PoisonError::into_inner);
        let skip = ring.lines.len().saturating_sub(count);
        (ring.serial, ring.lines.iter().skip(skip).cloned().collect())
    }

    /// Forgets the requests in memory; the file keeps them.
    pub fn clear(&self) {
        self.ring.lock().unwrap_or_else(PoisonError::into_inner).lines.clear();
    }
}

/// Puts a line together from parts that are JSON text already, so that a big answer is not parsed again.
fn full(line: &Line<'_>, body: Option<&str>) -> String {
    let headers: serde_json::Map<String, Value> = line
        .headers
        .iter()
        .filter(|(name, _)| !name.eq_ignore_ascii_case("authorization"))
        .map(|(name, value)| (name.clone(), Value::String(value.clone())))
        .collect();
    let answered: serde_json::Map<String, Value> =
        line.response_headers.iter().map(|(n, v)| ((*n).to_owned(), Value::String(v.clone()))).collect();
    let mut text = format!(
        "{{\"time\":\"{}\",\"method\":\"{}\",\"path\":{},\"headers\":{}",
        line.time.to_rfc3339(),
        line.method,
        Value::String(line.path.to_owned()),
        Value::Object(headers)
    );
    if let Some(body) = body {
        // A raw body may be spread over several lines; a JSON line may not.
        text.push_str(&format!(",\"body\":{}", body.replace(['\n', '\r'], " ")));
    }
    if let Some(status) = line.status {
        text.push_str(&format!(",\"status\":{status},\"response_headers\":{}", Value::Object(answered)));
        text.push_str(&format!(",\"response\":{}", line.response.unwrap_or("null")));
    }
    if let Some(app_only) = line.app_only {
        let auth = if app_only { "app" } else { "delegated" };
        text.push_str(&format!(",\"auth\":\"{auth}\",\"permissions\":{}", json!(line.permissions)));
    }
    if let Some(fault) = line.fault {
        text.push_str(&format!(",\"fault\":{}", Value::String(fault.to_owned())));
    }
    text.push_str("}\n");
    text
}
