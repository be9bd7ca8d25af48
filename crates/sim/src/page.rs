//! The page of the tenant: its boards and its last requests, live. One file without outside assets; it asks for
//! the state once a second and gets a short answer while nothing has changed.

use serde_json::{Value, json};

use super::graph::etag::Kind;
use super::graph::mail::{posts, sent};
use super::http::{Reply, Request};
use super::simulator::Simulator;
use super::state::{Table, Tenant};

/// GET /
pub fn page() -> Reply {
    Reply::html(200, include_str!("page.html").to_owned()).with("cache-control", "no-cache")
}

/// GET /_control/page-state?plan=…&since=…: the board only if it changed since that count.
pub fn state(simulator: &Simulator, request: &Request) -> Reply {
    let query = request.query();
    let since = query.get("since").and_then(|n| n.parse::<u64>().ok());
    let (newest, requests) = simulator.log.last(40);
    let (board, delivered, changes) = simulator.read(|t| {
        let shown = (since != Some(t.changes)).then(|| (board(t, query.get("plan")), delivered(t)));
        let (board, delivered) = shown.unzip();
        (board, delivered, t.changes)
    });
    Reply::json(
        200,
        &json!({
            "changes": changes,
            "board": board,
            "delivered": delivered,
            "newest_request": newest,
            "requests": requests.into_iter().map(short).collect::<Vec<_>>(),
            "stats": simulator.stats(|s| json!({"calls": s.calls, "faults": s.faults, "tokens": s.tokens_issued})),
            "faults": simulator.faults(|f| json!({"rules": f.rules.len(), "early_calls": f.early_calls})),
            "latency": simulator.knobs(|k| k.latency),
            "colleague": simulator.knobs(|k| k.colleague),
            "now": super::clock::seconds(simulator.clock.now()),
        }),
    )
}

fn short(mut request: Value) -> Value {
    if let Value::Object(members) = &mut request {
        members.shift_remove("body");
        members.shift_remove("response");
    }
    request
}

/// The last mail that was sent and the last cards that were posted, the newest first.
#[allow(clippy::indexing_slicing)] // of JSON: what is missing is null
fn delivered(tenant: &Tenant) -> Vec<Value> {
    let addresses = |mail: &Value| -> Vec<Value> {
        let to = mail["toRecipients"].as_array().into_iter().flatten();
        to.map(|to| to["emailAddress"]["address"].clone()).collect()
    };
    let mails = sent(tenant).into_iter().map(|mail| {
        json!({"kind": "mail", "at": mail["sentDateTime"], "title": mail["subject"], "to": addresses(&mail),
            "html": mail["body"]["content"], "files": mail["files"]})
    });
    let cards = posts(tenant).into_iter().map(|post| {
        let content = post.pointer("/card/attachments/0/content").cloned().unwrap_or_default();
        json!({"kind": "card", "at": post["at"], "title": content["body"][0]["text"], "to": [post["workflow"]],
            "card": content})
    });
    let mut all: Vec<Value> = mails.chain(cards).collect();
    all.sort_by(|left, right| right["at"].as_str().cmp(&left["at"].as_str()));
    all.truncate(8);
    all
}

fn board(tenant: &Tenant, wanted: Option<&str>) -> Value {
    let list =
        |table: &Table| -> Vec<Value> { table.all().into_iter().map(|(_, e)| Value::Object(e.object())).collect() };
    let plans = list(tenant.planner(Kind::Plan));
    let shown = wanted
        .filter(|id| tenant.planner(Kind::Plan).get(id).is_some())
        .or_else(|| plans.first().and_then(|p| p.get("id")).and_then(Value::as_str))
        .unwrap_or_default()
        .to_owned();
    let of = |kind: Kind| -> Vec<Value> {
        tenant.planner(kind).of(&shown).map(|(_, e)| Value::Object(e.object())).collect()
    };
    let people: serde_json::Map<String, Value> = tenant
        .users
        .all()
        .into_iter()
        .map(|(id, user)| (id.to_owned(), user.object().get("displayName").cloned().unwrap_or_default()))
        .collect();
    let details = tenant.planner(Kind::PlanDetails).get(&shown).map(super::table::Entity::object);
    json!({
        "tenant": tenant.display_name,
        "plans": plans.iter().map(|p| json!({"id": p["id"], "title": p["title"],
            "tasks": p["id"].as_str().map_or(0, |id| tenant.planner(Kind::Task).count(id))})).collect::<Vec<_>>(),
        "plan": shown,
        "labels": details.and_then(|d| d.get("categoryDescriptions").cloned()),
        "buckets": of(Kind::Bucket),
        "tasks": of(Kind::Task),
        "people": people,
    })
}
