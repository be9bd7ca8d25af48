//! The control API: JSON over HTTP under `/_control`, for tests and for people who try things out. Every PUT and
//! POST answers the new state; an unknown field is refused with its name. Long because each knob has its row and its few lines.
//!
//! | call | body | effect |
//! |---|---|---|
//! | `GET /_control/health` | | `{"ready":true, "scenario", "plans", "tasks", …}` |
//! | `GET, PUT /_control/latency` | `{"ms":100,"jitter_ms":20}` | added to every Graph call |
//! | `GET /_control/faults` | | rules with their `matched` and `hits`, `punish_early`, `early_calls` |
//! | `POST /_control/faults` | one rule, a list, or `{"rules":[…],"punish_early":true}` | adds rules (table below) |
//! | `PUT /_control/faults` | the same | replaces all rules |
//! | `DELETE /_control/faults` | | removes rules, deadlines and counts |
//! | `GET, PUT /_control/clock` | `{"now":"2026-03-01T10:00:00Z","frozen":true}`, `{"advance_seconds":90}`, `{"real":true}` | the tenant's present |
//! | `GET, PUT /_control/colleague` | `{"every_ms":3000,"seed":1}`, `{"every_ms":null}` | somebody edits tasks now and then |
//! | `POST /_control/colleague/edit` | empty = any edit; `{"task_id","set":{…},"details":{…}}`, `{"task_id","repeat_days":7}`, `{"create":{…}}`, `{"delete":"task id"}`; optional `"user"` | one edit now, as a person; a task that repeats makes the next one when it is completed |
//! | `POST /_control/reset` | `{"scenario":"demo","now":"2026-11-20T15:00:00Z"}` (both optional) | data, faults, knobs, counters as at start, under new ETags; with `now` as if started then, and the clock stands |
//! | `GET, PUT /_control/snapshot` | the whole tenant | saves, restores |
//! | `GET, PUT /_control/permissions` | `{"client_id"?, "roles"?:[…], "scopes"?:[…]}` | grants of an application, in new tokens |
//! | `GET, PUT /_control/tokens` | `{"expires_in":60,"cae_expires_in"?:…,"refresh_expires_in"?:…}` | lifetimes of new tokens |
//! | `GET, PUT /_control/entra/people` | `{"user":"AdeleV@…","enabled"?:false,"administrator"?:true,"deleted"?:true}` | an account of either tenant |
//! | `POST /_control/entra/revoke` | `{"user","cause"?:"revoked"}` | ends sessions: `revoked`, `password_changed`, `password_reset`; `challenge` lets Graph refuse access tokens only |
//! | `GET, PUT, DELETE /_control/entra/consents` | `{"client_id"?,"user"?,"scope":"User.Read api://…/access"}` | gives or withdraws consent, without `user` for all |
//! | `GET, PUT /_control/entra/policies` | `{"policies":[{"user"?,"client_id"?,"resource"?,"require":"mfa"}]}` | Conditional Access: `mfa` (50076), `enrol` (50079), `block` (53003) |
//! | `GET, PUT /_control/entra/applications` | `{"client_id"?,"redirect_uris"?:{"web":[…],"spa":[…],"public":[…]},…}` | changes a registration, or makes one; `GET` shows its members |
//! | `GET, PUT /_control/entra/partner`, `POST /_control/entra/guests` | `{"people":[…]}`, `{"user":"MariaS@fabrikam.onmicrosoft.com"}` | the second tenant; makes one of its people a guest of the first |
//! | `POST /_control/entra/sign` | `{"claims":{…},"header"?:{…}}`, or both as texts | a token with exactly these claims, really signed |
//! | `POST /_control/entra/roll` | `{"forget"?:true}` | signs with another key; forgets the former ones |
//! | `PUT /_control/vault` | `{"NAME":"value","fails_with"?:503}` | fills the vault; `null` removes a secret |
//! | `GET, PUT /_control/stale_reads` | `{"seconds":20}` | Planner lists show that long ago |
//! | `GET, PUT /_control/page_size` | `{"planner":50}` | items per page of Planner lists |
//! | `GET, PUT /_control/limits` | `{"MaximumTasksInProject":10}` | Planner's limits |
//! | `GET, PUT /_control/planner` | `{"details_change_task_etag":true}` | habits of the service that are not documented |
//! | `GET, PUT /_control/notifications` | `{"loss":0.5,"copies":5,"reorder_ms":200,"paused":true,"retry_ms":100,"batch":20,"odd":["no_client_state"],"reauthorize":false,"seed":1}` | how change notifications fare: up to `batch` in a POST, beside them one of each `odd` shape (`no_client_state`, `null_client_state`, `no_subscription`, `numeric_id`, `unknown_members`, `not_an_object`); counts, and how many are on their way |
//! | `POST /_control/notifications` | `{"resource":"groups/{id}","id","change"?:"updated","content"?:{…}}`, or with `"lifecycle":"missed"` | tells subscribers of a change |
//! | `GET /_control/requests?last=20` | | the last Graph requests |
//! | `GET /_control/mail`, `GET /_control/posts` | | mail sent, cards posted to `/workflows/{name}` |
//! | `GET /_control/stats` | | calls by operation and status, those of Entra by grant too, tokens, concurrency, early calls |
//! | `DELETE /_control/stats` | | counts from zero |
//!
//! A rule: `{"method"?, "path_contains"?, "scope"?: "any" | "single" | "batch", "times"?, "every_nth"?,
//! "probability"?, "seed"?, "kind", "status"?, "retry_after"?, "seconds"?, "code"?, "message"?}`. `scope` `any` means
//! single calls and the calls inside a batch, `single` calls of their own (the batch call too), `batch` calls
//! inside a batch. Kinds: `status`, `effect_then_status`, `timeout_without_effect`, `timeout_with_effect`,
//! `drop_without_effect`, `drop_with_effect`, `delay` (answers `seconds` later). Entra's endpoints fail only by rules that
//! name them in `path_contains`. `{"preset":"random","rate":0.5,"seed":1,"retry_after":5}` is a rule too:
//! half of all calls answer 429, 500, 502, 503, 504, and 507 on writes.

use chrono::{DateTime, TimeDelta, Utc};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::clock::Running;
use super::entra::{forge, knobs};
use super::faults::{Faults, Rule};
use super::graph::etag::Kind;
use super::http::{Reply, Request};
use super::simulator::{Latency, Simulator, Stats};
use super::{Scenario, colleague, notify, seed};

type Answer = Result<Value, String>;

/// Answers a request under `/_control`.
pub async fn route(simulator: &Simulator, request: &Request) -> Reply {
    let segments: Vec<&str> = request.path.split('/').filter(|s| !s.is_empty()).skip(1).collect();
    let write = matches!(request.method.as_str(), "PUT" | "POST");
    let answer = match (request.method.as_str(), segments.as_slice()) {
        ("GET", [] | ["health"]) => Ok(health(simulator)),
        ("GET" | "PUT", ["latency"]) => latency(simulator, request, write),
        ("GET", ["faults"]) => Ok(faults_shown(simulator)),
        ("POST" | "PUT", ["faults"]) => faults(simulator, request),
        ("DELETE", ["faults"]) => {
            simulator.faults(|f| {
                f.clear();
                f.punish_early = false;
            });
            Ok(faults_shown(simulator))
        }
        ("GET" | "PUT", ["clock"]) => clock(simulator, request, write),
        ("GET" | "PUT", ["colleague"]) => colleague_pace(simulator, request, write),
        ("POST", ["colleague", "edit"]) => {
            read::<colleague::Edit>(request).and_then(|edit| colleague::edit(simulator, edit))
        }
        ("POST", ["reset"]) => reset(simulator, request),
        ("GET", ["snapshot"]) => return snapshot(simulator),
        ("PUT", ["snapshot"]) => restore(simulator, request),
        ("GET" | "PUT", ["permissions"]) => permissions(simulator, request, write),
        ("GET" | "PUT", ["tokens"]) => tokens(simulator, request, write),
        ("PUT", ["vault"]) => read::<Value>(request).and_then(|values| simulator.vault.fill(&values)),
        ("POST", ["entra", "sign"]) => forge::sign(simulator, &request.body).await,
        ("POST", ["entra", "roll"]) => forge::roll(simulator, &request.body).await,
        (_, ["entra", rest @ ..]) => match knobs::route(simulator, request, rest) {
            Some(answer) => answer,
            None => return unknown(request),
        },
        ("GET" | "PUT", ["stale_reads"]) => stale_reads(simulator, request, write),
        ("GET" | "PUT", ["page_size"]) => page_size(simulator, request, write),
        ("GET" | "PUT", ["limits"]) => limits(simulator, request, write),
        ("GET" | "PUT", ["planner"]) => planner(simulator, request, write),
        ("GET", ["notifications"]) => Ok(simulator.post.shown()),
        ("PUT", ["notifications"]) => read::<notify::Knobs>(request).map(|knobs| {
            simulator.post.set(knobs);
            simulator.post.shown()
        }),
        ("POST", ["notifications"]) => match read::<notify::Change>(request) {
            Ok(change) => notify::publish(simulator, &change).await.map(|sent| json!({ "sent": sent })),
            Err(why) => Err(why),
        },
        ("GET", ["requests"]) => {
            let last = request.query().get("last").and_then(|n| n.parse().ok()).unwrap_or(50);
            Ok(json!({"requests": simulator.log.last(last).1}))
        }
        ("POST", ["requests", "clear"]) => {
            simulator.log.clear();
            Ok(json!({"requests": []}))
        }
        ("GET", ["mail"]) => Ok(json!({"sent": simulator.read(super::graph::mail::sent)})),
        ("GET", ["posts"]) => Ok(json!({"posts": simulator.read(super::graph::mail::posts)})),
        ("GET", ["stats"]) => Ok(stats(simulator)),
        ("DELETE", ["stats"]) => {
            simulator.stats(|s| *s = Stats { in_flight: s.in_flight, ..Stats::default() });
            Ok(stats(simulator))
        }
        ("GET", ["page-state"]) => return super::page::state(simulator, request),
        _ => return unknown(request),
    };
    match answer {
        Ok(body) => Reply::json(200, &body),
        Err(why) => Reply::json(400, &json!({"error": why})),
    }
}

fn unknown(request: &Request) -> Reply {
    Reply::json(404, &json!({"error": format!("there is no {} {}", request.method, request.path)}))
}

/// The body as a type; an empty body is an empty object.
fn read<T: DeserializeOwned>(request: &Request) -> Result<T, String> {
    let body: &[u8] = if request.body.is_empty() { b"{}" } else { &request.body };
    serde_json::from_slice(body).map_err(|error| error.to_string())
}

fn health(simulator: &Simulator) -> Value {
    let count = |kind| simulator.read(|t| t.planner(kind).len());
    json!({
        "ready": true, "scenario": scenario_name(simulator), "plans": count(Kind::Plan), "tasks": count(Kind::Task),
        "users": simulator.read(|t| t.users.len()), "groups": simulator.read(|t| t.groups.len()),
    })
}

fn scenario_name(simulator: &Simulator) -> String {
    match &*simulator.scenario.lock().unwrap_or_else(std::sync::PoisonError::into_inner) {
        Scenario::Demo => "demo".to_owned(),
        Scenario::Empty => "empty".to_owned(),
        Scenario::Sized(size) => size.to_string(),
        Scenario::File(path) => path.display().to_string(),
    }
}

fn latency(simulator: &Simulator, request: &Request, write: bool) -> Answer {
    if write {
        let latency: Latency = read(request)?;
        simulator.knobs(|k| k.latency = latency);
    }
    Ok(json!(simulator.knobs(|k| k.latency)))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Preset {
    preset: String,
    rate: Option<f64>,
    seed: Option<u64>,
    retry_after: Option<u64>,
}

/// Reads rules out of one rule, a list, or an object with `rules`.
fn rules_in(value: Value) -> Result<Vec<Rule>, String> {
    match value {
        Value::Array(list) => {
            list.into_iter().map(rules_in).collect::<Result<Vec<_>, _>>().map(|l| l.into_iter().flatten().collect())
        }
        Value::Object(object) if object.contains_key("preset") => {
            let preset: Preset = serde_json::from_value(Value::Object(object)).map_err(|e| e.to_string())?;
            if preset.preset != "random" {
                return Err(format!("there is no preset '{}', only 'random'", preset.preset));
            }
            Ok(vec![Faults::random(
                preset.rate.unwrap_or(0.5),
                preset.seed.unwrap_or(1),
                preset.retry_after.unwrap_or(5),
            )])
        }
        other => serde_json::from_value(other).map(|rule| vec![rule]).map_err(|e| format!("this is no rule: {e}")),
    }
}

fn faults(simulator: &Simulator, request: &Request) -> Answer {
    let mut body: Value = read(request)?;
    let mut punish = None;
    let list = match &mut body {
        Value::Object(object) if object.contains_key("rules") || object.contains_key("punish_early") => {
            punish = object
                .shift_remove("punish_early")
                .map(|p| p.as_bool().ok_or("punish_early is true or false"))
                .transpose()?;
            object
                .shift_remove("rules")
                .or_else(|| object.contains_key("kind").then(|| Value::Object(object.clone())))
                .unwrap_or(json!([]))
        }
        _ => body,
    };
    let rules = rules_in(list)?;
    simulator.faults(|f| {
        if request.method == "PUT" {
            f.clear();
        }
        f.rules.extend(rules);
        if let Some(punish) = punish {
            f.punish_early = punish;
        }
    });
    Ok(faults_shown(simulator))
}

fn faults_shown(simulator: &Simulator) -> Value {
    simulator.faults(|f| json!({"rules": f.rules, "punish_early": f.punish_early, "early_calls": f.early_calls}))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ClockChange {
    now: Option<DateTime<Utc>>,
    frozen: Option<bool>,
    advance_seconds: Option<f64>,
    real: Option<bool>,
}

fn clock(simulator: &Simulator, request: &Request, write: bool) -> Answer {
    if write {
        let change: ClockChange = read(request)?;
        if change.real == Some(true) {
            simulator.clock.reset();
        }
        if change.now.is_some() || change.frozen.is_some() {
            let running = if change.frozen == Some(true) { Running::Frozen } else { Running::On };
            simulator.clock.set(change.now.unwrap_or_else(|| simulator.clock.now()), running);
        }
        if let Some(seconds) = change.advance_seconds {
            simulator.clock.advance(TimeDelta::milliseconds((seconds * 1e3) as i64));
        }
    }
    let (frozen, shifted) = simulator.clock.describe();
    Ok(json!({"now": super::clock::ticks(simulator.clock.now()), "frozen": frozen, "real": !shifted}))
}

fn colleague_pace(simulator: &Simulator, request: &Request, write: bool) -> Answer {
    if write {
        let change: Value = read(request)?;
        simulator.knobs(|k| {
            if let Some(pace) = change.get("every_ms") {
                k.colleague.every_ms = pace.as_u64().map(|ms| ms.max(10));
            }
            if change.get("off") == Some(&Value::Bool(true)) {
                k.colleague.every_ms = None;
            }
            if let Some(seed) = change.get("seed").and_then(Value::as_u64) {
                k.colleague.seed = seed;
                k.colleague.edits = 0;
            }
        });
        simulator.colleague_changed.notify_one();
    }
    Ok(json!(simulator.knobs(|k| k.colleague)))
}

fn reset(simulator: &Simulator, request: &Request) -> Answer {
    let body: Value = read(request)?;
    if let Some(name) = body.get("scenario").and_then(Value::as_str) {
        let Ok(scenario) = name.parse::<Scenario>();
        *simulator.scenario.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = scenario;
    }
    let scenario = simulator.scenario.lock().unwrap_or_else(std::sync::PoisonError::into_inner).clone();
    match body.get("now") {
        Some(now) => {
            let now = now.as_str().and_then(|now| now.parse().ok()).ok_or("`now` is no instant")?;
            simulator.clock.set(now, Running::Frozen);
        }
        None => simulator.clock.reset(),
    }
    let fresh = seed::load(&scenario, simulator.clock.now()).map_err(|e| format!("{e:#}"))?;
    simulator.write(|t| {
        let mut fresh = fresh;
        fresh.follow(t);
        *t = fresh;
    });
    simulator.faults(|f| *f = Faults::default());
    simulator.knobs(|k| *k = super::simulator::Knobs::default());
    simulator.stats(|s| *s = Stats { in_flight: s.in_flight, ..Stats::default() });
    simulator.entra.reset();
    simulator.post.reset();
    simulator.log.clear();
    simulator.colleague_changed.notify_one();
    simulator.resets.send_modify(|resets| *resets += 1);
    Ok(health(simulator))
}

fn snapshot(simulator: &Simulator) -> Reply {
    match simulator.read(serde_json::to_string) {
        Ok(text) => Reply::text(200, text).with("content-type", "application/json; charset=utf-8"),
        Err(error) => Reply::text(500, error.to_string()),
    }
}

fn restore(simulator: &Simulator, request: &Request) -> Answer {
    let text = std::str::from_utf8(&request.body).map_err(|e| e.to_string())?;
    let fresh = seed::parse(text).map_err(|e| format!("this is no snapshot: {e:#}"))?;
    simulator.write(|t| {
        let changes = t.changes.max(fresh.changes) + 1;
        *t = fresh;
        t.changes = changes;
    });
    Ok(health(simulator))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Grant {
    client_id: Option<String>,
    roles: Option<Vec<String>>,
    scopes: Option<Vec<String>>,
}

fn permissions(simulator: &Simulator, request: &Request, write: bool) -> Answer {
    if write {
        let grant: Grant = read(request)?;
        simulator.write(|t| {
            let wanted =
                grant.client_id.or_else(|| t.applications.first().map(|a| a.client_id.clone())).unwrap_or_default();
            let app = t
                .applications
                .iter_mut()
                .find(|a| a.client_id == wanted)
                .ok_or(format!("there is no application '{wanted}'"))?;
            if let Some(roles) = grant.roles {
                app.roles = roles;
            }
            if let Some(scopes) = grant.scopes {
                app.scopes = scopes;
            }
            Ok::<(), String>(())
        })?;
    }
    Ok(json!({"applications": simulator.read(|t| t.applications.clone())}))
}

fn tokens(simulator: &Simulator, request: &Request, write: bool) -> Answer {
    if write {
        let given: Value = read(request)?;
        let mut all = json!(simulator.entra.lifetimes());
        if let (Value::Object(all), Value::Object(given)) = (&mut all, given) {
            all.extend(given);
        }
        simulator.entra.set_lifetimes(serde_json::from_value(all).map_err(|error| error.to_string())?);
    }
    Ok(json!(simulator.entra.lifetimes()))
}

fn stale_reads(simulator: &Simulator, request: &Request, write: bool) -> Answer {
    if write {
        let body: Value = read(request)?;
        let seconds = body.get("seconds").and_then(Value::as_i64).ok_or("seconds is a whole number")?;
        simulator.write(|t| t.keep_past(seconds));
    }
    Ok(json!({"seconds": simulator.read(|t| t.stale_seconds)}))
}

fn page_size(simulator: &Simulator, request: &Request, write: bool) -> Answer {
    if write {
        let body: Value = read(request)?;
        let size =
            body.get("planner").and_then(Value::as_u64).filter(|n| *n > 0).ok_or("planner is a number above 0")?;
        simulator.knobs(|k| k.rules.page_size = usize::try_from(size).unwrap_or(usize::MAX));
    }
    Ok(json!({"planner": simulator.knobs(|k| k.rules.page_size)}))
}

fn limits(simulator: &Simulator, request: &Request, write: bool) -> Answer {
    if write {
        let given: Value = read(request)?;
        let mut all = json!(simulator.knobs(|k| k.rules.limits.clone()));
        if let (Value::Object(all), Value::Object(given)) = (&mut all, given) {
            all.extend(given);
        }
        let limits = serde_json::from_value(all).map_err(|e| e.to_string())?;
        simulator.knobs(|k| k.rules.limits = limits);
    }
    Ok(json!(simulator.knobs(|k| k.rules.limits.clone())))
}

fn planner(simulator: &Simulator, request: &Request, write: bool) -> Answer {
    if write {
        let body: Value = read(request)?;
        let on = body
            .get("details_change_task_etag")
            .and_then(Value::as_bool)
            .ok_or("details_change_task_etag is true or false")?;
        simulator.knobs(|k| k.rules.details_change_task_etag = on);
    }
    Ok(json!({"details_change_task_etag": simulator.knobs(|k| k.rules.details_change_task_etag)}))
}

fn stats(simulator: &Simulator) -> Value {
    let mut shown = json!(simulator.stats(|s| s.clone()));
    if let Value::Object(shown) = &mut shown {
        shown.insert("early_calls".to_owned(), simulator.faults(|f| f.early_calls).into());
    }
    shown
}
