//! The calls that tell how change notifications are doing. Where Graph sends them is no call for anybody else.

use serde_json::{Value, json};

use super::paths::{ANY, answers};

const RECEIVED_AT: &str = "2026-11-21T09:30:00Z";

pub fn health() -> Value {
    let gap = json!({
        "subscription": "group-0a1b2c3d4e5f6", "cause": "missed", "began_at": "2026-11-20T21:00:00Z",
        "ended_at": "2026-11-20T21:04:00Z", "resynced_at": "2026-11-20T21:04:01Z",
    });
    let example = json!({
        "status": "ok", "problems": [], "public_url": "https://graphgate.example.com/", "wanted": 3, "active": 3,
        "next_expiry": "2026-12-19T09:30:00Z", "looked_after_at": RECEIVED_AT,
        "queue": { "waiting": 0, "poisoned": 0 }, "last_notification_at": RECEIVED_AT,
        "received": { "posts": 210, "kept": 230, "refused": 0, "malformed": 0, "unreadable": 0, "not_taken": 0 }, "gaps": [gap],
    });
    json!({
        "operationId": "get_webhook_health", "tags": ["webhooks"],
        "summary": "Say whether everything that should be watched is, and what waits",
        "responses": answers("WebhookHealth", &example, ANY),
    })
}

pub fn log() -> Value {
    let line = json!({
        "received_at": RECEIVED_AT, "took_ms": 420, "subscription": "group-0a1b2c3d4e5f6", "change": "updated",
        "outcome": "done", "note": "2 plans compared",
    });
    let limit = json!({
        "name": "limit", "in": "query", "description": "How many lines, the latest first",
        "schema": { "type": "integer", "minimum": 1, "maximum": 500, "default": 50 },
    });
    json!({
        "operationId": "get_webhook_log", "tags": ["webhooks"],
        "summary": "List the latest notifications and what became of them",
        "parameters": [limit],
        "responses": answers("NotificationLog", &json!({ "notifications": [line] }), ANY),
    })
}

pub fn test() -> Value {
    let step = |step: &str, ms: i64, said: &str| json!({ "step": step, "ok": true, "ms": ms, "said": said });
    let example = json!({
        "status": "ok", "address": "https://graphgate.example.com/api/graph_webhook",
        "steps": [step("handshake", 41, "the token came back"), step("delivery", 38, "taken"), step("work", 640, "worked on")],
    });
    json!({
        "operationId": "test_webhook", "tags": ["webhooks"],
        "summary": "Send a signed sample through the public address and follow it to the worker",
        "responses": answers("WebhookTest", &example, ANY),
    })
}
