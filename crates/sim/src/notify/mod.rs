//! Change notifications, delivered as Microsoft documents it: an answer within 3 s or again with growing waits for up to
//! 4 h of the tenant's time; a receiver that is often slow gets new ones late, one that is very slow gets none for a
//! while. Notifications may be lost, doubled and reordered, by knobs.
//!
//! <https://learn.microsoft.com/graph/change-notifications-delivery-webhooks>

mod delivery;
mod odd;
mod rich;

use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::rng::Rng;
use super::simulator::Simulator;
use super::state::{Object, Tenant};
use delivery::{Late, WINDOW, late};

pub use delivery::work;
pub use odd::Odd;
pub use rich::public_key;

/// A subscription of which less than this part of its life is left asks for reauthorization.
const REAUTHORIZED_AT: i32 = 8;

/// How notifications fare on their way.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Knobs {
    /// Part of the notifications that is lost.
    pub loss: f64,
    /// Most copies of one that are sent; each at least once.
    pub copies: u64,
    /// Each waits up to this long, so that they overtake each other.
    pub reorder_ms: u64,
    /// Nothing is sent while set.
    pub paused: bool,
    /// Wait before the first repetition, in milliseconds of the tenant's time; it doubles each time.
    pub retry_ms: u64,
    /// Most notifications of one receiver that travel in one POST.
    pub batch: usize,
    /// Shapes that go along in every POST, before what it is sent for.
    pub odd: Vec<Odd>,
    /// `reauthorizationRequired` is sent by itself when an eighth of a subscription's life is left.
    pub reauthorize: bool,
    /// Where chance begins.
    pub seed: u64,
}

impl Default for Knobs {
    fn default() -> Self {
        Self {
            loss: 0.0,
            copies: 1,
            reorder_ms: 0,
            paused: false,
            retry_ms: 10_000,
            batch: 1,
            odd: Vec::new(),
            reauthorize: true,
            seed: 1,
        }
    }
}

/// What was counted.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct Counts {
    pub published: u64,
    pub lost: u64,
    pub posts: u64,
    pub delivered: u64,
    pub failed_posts: u64,
    /// Given up on after four hours.
    pub given_up: u64,
    /// Dropped because the receiver was very slow.
    pub dropped: u64,
}

struct Pending {
    url: String,
    body: Value,
    due: DateTime<Utc>,
    published: DateTime<Utc>,
    attempts: u32,
}

/// A receiver's latest answers: when, and how long they took.
type Answers = VecDeque<(DateTime<Utc>, Duration)>;

#[derive(Default)]
struct Inner {
    knobs: Knobs,
    counts: Counts,
    pending: Vec<Pending>,
    chance: Option<Rng>,
    answers: HashMap<String, Answers>,
    /// Certificates of subscriptions with content: write-only in the service, so not part of the subscription.
    certificates: HashMap<String, (String, Vec<u8>)>,
    /// The life of each subscription: when it began, when it ends, and whether reauthorization was asked for.
    lives: HashMap<String, (DateTime<Utc>, DateTime<Utc>, bool)>,
}

/// Notifications on their way.
#[derive(Default)]
pub struct Post {
    inner: Mutex<Inner>,
    /// Told when something is to be sent.
    changed: tokio::sync::Notify,
}

impl Post {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sets the knobs.
    pub fn set(&self, knobs: Knobs) {
        let mut inner = self.lock();
        inner.chance = Some(Rng::new(knobs.seed));
        inner.knobs = knobs;
        drop(inner);
        self.changed.notify_one();
    }

    /// Forgets everything.
    pub fn reset(&self) {
        *self.lock() = Inner::default();
    }

    /// Keeps the certificate of a subscription.
    pub fn keep_certificate(&self, subscription: &str, id: &str, key: Vec<u8>) {
        self.lock().certificates.insert(subscription.to_owned(), (id.to_owned(), key));
    }

    /// A subscription is made or renewed: a life begins.
    pub fn begin_life(&self, subscription: &str, now: DateTime<Utc>, end: DateTime<Utc>) {
        self.lock().lives.insert(subscription.to_owned(), (now, end, false));
    }

    /// Knobs, counts and what is on its way.
    pub fn shown(&self) -> Value {
        let inner = self.lock();
        json!({ "knobs": inner.knobs, "counts": inner.counts, "pending": inner.pending.len() })
    }

    fn put(&self, url: &str, body: Value, now: DateTime<Utc>) {
        let mut inner = self.lock();
        inner.counts.published += 1;
        let Knobs { loss, copies, reorder_ms, .. } = inner.knobs;
        let late = late(inner.answers.get(url), now);
        let chance = inner.chance.get_or_insert_with(|| Rng::new(1));
        if chance.chance(loss) {
            inner.counts.lost += 1;
            return;
        }
        let copies = 1 + if copies > 1 { chance.next() % copies } else { 0 };
        let waits: Vec<u64> =
            (0..copies).map(|_| if reorder_ms == 0 { 0 } else { chance.next() % (reorder_ms + 1) }).collect();
        let due = match late {
            Late::No => now,
            Late::Slow => now + WINDOW,
            Late::VerySlow => {
                inner.counts.dropped += 1;
                return;
            }
        };
        for wait in waits {
            let due = due + TimeDelta::milliseconds(wait as i64);
            inner.pending.push(Pending { url: url.to_owned(), body: body.clone(), due, published: now, attempts: 0 });
        }
        drop(inner);
        self.changed.notify_one();
    }
}

/// A change somebody may have subscribed to.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Change {
    /// As in a subscription: `groups/{id}`, `users/{id}/messages`.
    pub resource: String,
    /// The id of what changed.
    #[serde(default)]
    pub id: String,
    /// `created`, `updated`, `deleted`.
    #[serde(default = "updated")]
    pub change: String,
    /// The changed resource, for subscriptions that want it.
    #[serde(default)]
    pub content: Option<Value>,
    /// Tells subscriptions of the resource about themselves instead: `missed`, `subscriptionRemoved`, …
    #[serde(default)]
    pub lifecycle: Option<String>,
}

fn updated() -> String {
    "updated".to_owned()
}

/// Tells everybody who subscribed; answers how many notifications were made.
pub async fn publish(simulator: &Simulator, change: &Change) -> Result<usize, String> {
    let now = simulator.clock.now();
    let subscriptions = simulator.read(|t| matching(t, change, now));
    tell(simulator, change, &subscriptions, now).await?;
    Ok(subscriptions.len())
}

async fn tell(
    simulator: &Simulator,
    change: &Change,
    subscriptions: &[Object],
    now: DateTime<Utc>,
) -> Result<(), String> {
    let (tenant_id, notification) = simulator.write(|t| (t.tenant_id.clone(), t.rng.guid()));
    for subscription in subscriptions {
        let text = |name: &str| subscription.get(name).and_then(Value::as_str).unwrap_or_default();
        let mut item = json!({
            "subscriptionId": text("id"), "clientState": subscription.get("clientState"), "tenantId": tenant_id,
            "subscriptionExpirationDateTime": text("expirationDateTime"),
        });
        let to = match (&change.lifecycle, &mut item) {
            (Some(event), Value::Object(item)) => {
                item.insert("lifecycleEvent".into(), event.clone().into());
                let url = text("lifecycleNotificationUrl");
                if url.is_empty() { text("notificationUrl") } else { url }
            }
            (None, Value::Object(item)) => {
                item.insert("id".into(), format!("{notification}-{}", text("id")).into());
                item.insert("changeType".into(), change.change.clone().into());
                item.insert("resource".into(), change.resource.clone().into());
                item.insert("resourceData".into(), resource_data(&change.resource, &change.id));
                text("notificationUrl")
            }
            _ => continue,
        };
        let mut body = json!({ "value": [item] });
        if change.lifecycle.is_none() && subscription.get("includeResourceData") == Some(&Value::Bool(true)) {
            let certificate = simulator.post.lock().certificates.get(text("id")).cloned();
            let certificate = certificate.ok_or("the subscription's certificate is not known")?;
            rich::enclose(simulator, &mut body, subscription, &certificate, change.content.as_ref()).await?;
        }
        simulator.post.put(to, body, now);
        if change.lifecycle.as_deref() == Some("subscriptionRemoved") {
            simulator.write(|t| t.remove(|t| &mut t.subscriptions, text("id")));
        }
    }
    Ok(())
}

/// Asks for reauthorization of every subscription whose life is nearly over, once for each life.
async fn reauthorize(simulator: &Simulator) {
    let now = simulator.clock.now();
    let all: Vec<Object> = simulator.read(|t| t.subscriptions.all().into_iter().map(|(_, e)| e.object()).collect());
    let mut wanted = Vec::new();
    {
        let mut inner = simulator.post.lock();
        if !inner.knobs.reauthorize {
            return;
        }
        for subscription in all {
            let text = |name: &str| subscription.get(name).and_then(Value::as_str).unwrap_or_default();
            let Ok(end) = DateTime::parse_from_rfc3339(text("expirationDateTime")) else { continue };
            let end = end.to_utc();
            let life = inner.lives.entry(text("id").to_owned()).or_insert((now, end, false));
            if (life.1 - end).num_milliseconds() != 0 {
                *life = (now, end, false);
            }
            if !life.2 && now < end && end - now < (end - life.0) / REAUTHORIZED_AT {
                life.2 = true;
                wanted.push(subscription);
            }
        }
    }
    for subscription in wanted {
        let resource = subscription.get("resource").and_then(Value::as_str).unwrap_or_default().to_owned();
        let lifecycle = Some("reauthorizationRequired".to_owned());
        let change = Change { resource, id: String::new(), change: updated(), content: None, lifecycle };
        if let Err(why) = tell(simulator, &change, &[subscription], now).await {
            tracing::warn!(why, "reauthorization could not be asked for");
        }
    }
}

fn resource_data(resource: &str, id: &str) -> Value {
    let kind = match resource.split('/').next().unwrap_or_default() {
        "groups" => "#Microsoft.Graph.Group",
        "users" => "#Microsoft.Graph.User",
        _ => "#Microsoft.Graph.entity",
    };
    json!({ "@odata.type": kind, "@odata.id": resource, "id": id })
}

/// Living subscriptions on the resource or on the collection it is in, for this kind of change.
fn matching(tenant: &Tenant, change: &Change, now: DateTime<Utc>) -> Vec<Object> {
    let bare = |text: &str| text.trim_start_matches('/').split('?').next().unwrap_or_default().to_ascii_lowercase();
    let resource = bare(&change.resource);
    let fits = |subscription: &Object| {
        let text = |name: &str| subscription.get(name).and_then(Value::as_str).unwrap_or_default();
        let watched = bare(text("resource"));
        let alive = DateTime::parse_from_rfc3339(text("expirationDateTime")).is_ok_and(|end| end.to_utc() > now);
        let wanted =
            change.lifecycle.is_some() || text("changeType").split(',').any(|kind| kind.trim() == change.change);
        alive
            && wanted
            && (resource == watched
                || resource
                    .strip_prefix(&watched)
                    .is_some_and(|rest| rest.starts_with('/') && rest.matches('/').count() == 1))
    };
    tenant.subscriptions.all().into_iter().map(|(_, entity)| entity.object()).filter(fits).collect()
}

/// Tells of a change made through Graph, if it is one somebody can subscribe to. Planner's are not.
pub async fn after_call(simulator: &Simulator, method: &str, segments: &[String], body: Option<&str>) {
    let segments: Vec<&str> = segments.iter().map(String::as_str).collect();
    let (kind, id, change) = match (method, segments.as_slice()) {
        ("POST", [kind @ ("users" | "groups")]) => {
            let made: Option<Value> = body.and_then(|body| serde_json::from_str(body).ok());
            let id = made.and_then(|made| made.get("id")?.as_str().map(str::to_owned)).unwrap_or_default();
            (*kind, id, "updated") // the service tells of an update here, too
        }
        ("DELETE", [kind @ ("users" | "groups"), id]) => (*kind, (*id).to_owned(), "deleted"),
        ("PATCH", [kind @ ("users" | "groups"), id])
        | ("POST" | "DELETE", [kind @ "groups", id, "members" | "owners", ..]) => (*kind, (*id).to_owned(), "updated"),
        _ => return,
    };
    let change =
        Change { resource: format!("{kind}/{id}"), id, change: change.to_owned(), content: None, lifecycle: None };
    if let Err(why) = publish(simulator, &change).await {
        tracing::warn!(why, "a change could not be told of");
    }
}
