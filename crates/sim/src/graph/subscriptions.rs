//! Change notification subscriptions: who may have one on what, for how long, the validation call to the
//! receiver, renewal. Long because creation is a series of checks whose order matters. Planner has no change notifications: such a subscription is refused.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use serde_json::{Value, json};

use super::super::simulator::Simulator;
use super::super::state::Object;
use super::super::{clock, notify};
use super::call::{Answer, Call, Outcome};
use super::error::GraphError;

/// The receiver has this long to answer the validation call.
const VALIDATION: Duration = Duration::from_secs(10);
const CLIENT_STATE: usize = 128;

const PROPERTIES: &[&str] = &[
    "changeType",
    "notificationUrl",
    "resource",
    "expirationDateTime",
    "clientState",
    "lifecycleNotificationUrl",
    "latestSupportedTlsVersion",
    "includeResourceData",
    "encryptionCertificate",
    "encryptionCertificateId",
    "notificationQueryOptions",
    "notificationUrlAppId",
];

/// What can be watched: a part of the resource, minutes, minutes with resource data, and the permissions for it.
const KINDS: &[(&str, i64, i64, &[&str])] = &[
    ("communications/presences", 60, 60, &["Presence.Read.All"]),
    ("communications/callrecords", 4_230, 4_230, &["CallRecords.Read.All"]),
    ("communications/", 4_230, 4_230, &["OnlineMeetings.Read.All", "OnlineMeetings.Read"]),
    ("/todo/lists", 4_230, 4_230, &["Tasks.ReadWrite", "Tasks.Read"]),
    ("/conversations", 4_230, 4_230, &["Group.Read.All", "Group.ReadWrite.All"]),
    ("print/", 4_230, 4_230, &["PrintTaskDefinition.ReadWrite.All"]),
    ("/channels", 4_320, 4_320, &["ChannelMessage.Read.All", "Channel.ReadBasic.All"]),
    ("teams", 4_320, 4_320, &["ChannelMessage.Read.All", "Team.ReadBasic.All"]),
    ("chats", 4_320, 4_320, &["Chat.Read.All", "Chat.Read", "Chat.ReadWrite.All", "Chat.ReadWrite"]),
    ("/messages", 10_080, 1_440, &["Mail.Read", "Mail.ReadWrite", "Mail.ReadBasic", "Mail.ReadBasic.All"]),
    ("/events", 10_080, 1_440, &["Calendars.Read", "Calendars.ReadWrite"]),
    ("/contacts", 10_080, 1_440, &["Contacts.Read", "Contacts.ReadWrite"]),
    ("drive", 42_300, 42_300, &["Files.Read.All", "Files.ReadWrite.All", "Files.Read", "Files.ReadWrite"]),
    ("sites", 42_300, 42_300, &["Sites.Read.All", "Sites.ReadWrite.All"]),
    ("security/", 43_200, 43_200, &["SecurityEvents.Read.All", "SecurityAlert.Read.All"]),
    (
        "users",
        41_760,
        41_760,
        &["User.Read.All", "User.ReadWrite.All", "Directory.Read.All", "Directory.ReadWrite.All"],
    ),
    (
        "groups",
        41_760,
        41_760,
        &[
            "Group.Read.All",
            "Group.ReadWrite.All",
            "GroupMember.Read.All",
            "Directory.Read.All",
            "Directory.ReadWrite.All",
        ],
    ),
];

/// Answers a request under `/subscriptions`. An application sees its own subscriptions only.
pub async fn route(simulator: &Simulator, call: &Call) -> Outcome {
    drop_expired(simulator, call.now);
    let path = call.path();
    match (call.method.as_str(), path.as_slice()) {
        ("GET", [_]) => {
            let own = simulator.read(|t| {
                let all = t.subscriptions.all().into_iter().map(|(_, e)| e.object());
                all.filter(|s| s.get("applicationId").and_then(Value::as_str) == Some(&call.claims.client_id))
                    .map(|subscription| Value::Object(without_secret(subscription)))
                    .collect::<Vec<_>>()
            });
            Ok(Answer::json(200, &json!({"@odata.context": call.context("subscriptions"), "value": own})))
        }
        ("POST", [_]) => create(simulator, call).await,
        ("GET", [_, id]) => Ok(entity(call, &without_secret(find(simulator, call, id)?))),
        ("PATCH", [_, id]) => renew(simulator, call, id).await,
        ("DELETE", [_, id]) => {
            find(simulator, call, id)?;
            simulator.write(|t| t.remove(|t| &mut t.subscriptions, id));
            Ok(Answer::no_content())
        }
        ("POST", [_, id, "reauthorize"]) => {
            find(simulator, call, id)?;
            Ok(Answer::no_content())
        }
        (method, [_] | [_, _]) => Err(GraphError::method(method)),
        _ => Err(GraphError::no_segment(path.last().copied().unwrap_or_default())),
    }
}

fn refused(message: impl Into<String>) -> GraphError {
    GraphError::new(400, "InvalidRequest", message)
}

fn find(simulator: &Simulator, call: &Call, id: &str) -> Result<Object, GraphError> {
    let found = simulator.read(|t| t.subscriptions.get(id).map(super::super::table::Entity::object));
    found
        .filter(|s| s.get("applicationId").and_then(Value::as_str) == Some(&call.claims.client_id))
        .ok_or_else(|| GraphError::new(404, "ResourceNotFound", "The object was not found."))
}

/// Reads show no `clientState`: only who made the subscription knows it.
fn without_secret(mut subscription: Object) -> Object {
    subscription.insert("clientState".to_owned(), Value::Null);
    subscription
}

fn entity(call: &Call, subscription: &Object) -> Answer {
    let mut body = Object::new();
    body.insert("@odata.context".to_owned(), call.context("subscriptions/$entity").into());
    body.extend(subscription.clone());
    Answer::json(200, &body)
}

fn drop_expired(simulator: &Simulator, now: DateTime<Utc>) {
    let over: Vec<String> = simulator.read(|t| {
        let ends = |s: &Object| s.get("expirationDateTime").and_then(Value::as_str).and_then(instant);
        t.subscriptions
            .all()
            .into_iter()
            .filter(|(_, e)| ends(&e.object()).is_some_and(|end| end <= now))
            .map(|(id, _)| id.to_owned())
            .collect()
    });
    for id in over {
        simulator.write(|t| t.remove(|t| &mut t.subscriptions, &id));
    }
}

fn instant(text: &str) -> Option<DateTime<Utc>> {
    DateTime::parse_from_rfc3339(text).ok().map(|at| at.to_utc())
}

fn text<'a>(body: &'a Object, name: &str) -> Result<Option<&'a str>, GraphError> {
    match body.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(_) => Err(refused(format!("The value of '{name}' is not valid."))),
    }
}

fn needed<'a>(body: &'a Object, name: &str) -> Result<&'a str, GraphError> {
    text(body, name)?
        .filter(|t| !t.is_empty())
        .ok_or_else(|| refused(format!("The required property '{name}' is missing.")))
}

async fn create(simulator: &Simulator, call: &Call) -> Outcome {
    let body = call.object()?;
    if let Some(unknown) = body.keys().find(|n| !n.contains('@') && !PROPERTIES.contains(&n.as_str())) {
        return Err(refused(format!(
            "The property '{unknown}' does not exist on type 'microsoft.graph.subscription'."
        )));
    }
    let (changes, resource, url) =
        (needed(body, "changeType")?, needed(body, "resource")?, needed(body, "notificationUrl")?);
    if let Some(bad) = changes.split(',').map(str::trim).find(|c| !["created", "updated", "deleted"].contains(c)) {
        return Err(refused(format!("The change type '{bad}' is not supported.")));
    }
    let rich = body.get("includeResourceData") == Some(&Value::Bool(true));
    if rich && (text(body, "encryptionCertificate")?.is_none() || text(body, "encryptionCertificateId")?.is_none()) {
        return Err(refused("includeResourceData needs encryptionCertificate and encryptionCertificateId."));
    }
    if text(body, "clientState")?.is_some_and(|s| s.chars().count() > CLIENT_STATE) {
        return Err(refused(format!("The clientState is longer than {CLIENT_STATE} characters.")));
    }
    let (minutes, permissions) = watchable(resource, rich)?;
    call.require("Forbidden", permissions, permissions)?;
    let expires = lifetime(call.now, needed(body, "expirationDateTime")?, minutes)?;
    let lifecycle = text(body, "lifecycleNotificationUrl")?;
    for url in std::iter::once(url).chain(lifecycle) {
        addressable(url)?;
    }
    if duplicate(simulator, call, changes, resource) {
        return Err(GraphError::new(
            409,
            "Conflict",
            "A subscription with the same change type and resource already exists.",
        ));
    }
    for url in std::iter::once(url).chain(lifecycle) {
        validate(simulator, url).await?;
    }
    let mut subscription = Object::new();
    let id = simulator.write(|t| t.rng.guid());
    subscription.insert("id".to_owned(), id.clone().into());
    for name in PROPERTIES {
        subscription.insert((*name).to_owned(), body.get(*name).cloned().unwrap_or_default());
    }
    subscription.insert("includeResourceData".to_owned(), rich.into());
    subscription.insert("expirationDateTime".to_owned(), clock::ticks(expires).into());
    if subscription.get("latestSupportedTlsVersion") == Some(&Value::Null) {
        subscription.insert("latestSupportedTlsVersion".to_owned(), "v1_2".into());
    }
    if let (true, Some(certificate), Some(name)) =
        (rich, text(body, "encryptionCertificate")?, text(body, "encryptionCertificateId")?)
    {
        let key = notify::public_key(certificate)
            .ok_or_else(|| refused("The encryptionCertificate is no certificate with an RSA key."))?;
        simulator.post.keep_certificate(&id, name, key);
    }
    // The certificate is write-only in the service too.
    subscription.insert("encryptionCertificate".to_owned(), Value::Null);
    subscription.insert("applicationId".to_owned(), call.claims.client_id.clone().into());
    let creator = call
        .user()
        .map(str::to_owned)
        .or_else(|| simulator.read(|t| t.application(&call.claims.client_id).map(|a| a.object_id.clone())));
    subscription.insert("creatorId".to_owned(), creator.into());
    // Somebody may have made the same one while the receiver was being asked.
    if duplicate(simulator, call, changes, resource) {
        return Err(GraphError::new(
            409,
            "Conflict",
            "A subscription with the same change type and resource already exists.",
        ));
    }
    simulator.post.begin_life(&id, call.now, expires);
    simulator.write(|t| t.add(|t| &mut t.subscriptions, &id, "", &subscription));
    let mut answer = entity(call, &subscription);
    answer.status = 201;
    Ok(answer.with("location", format!("{}/subscriptions('{id}')", call.root)))
}

fn duplicate(simulator: &Simulator, call: &Call, changes: &str, resource: &str) -> bool {
    let set = |text: &str| {
        let mut all: Vec<String> = text.split(',').map(|c| c.trim().to_ascii_lowercase()).collect();
        all.sort();
        all
    };
    let bare = |text: &str| text.trim_start_matches('/').to_ascii_lowercase();
    let same = |s: &Object, name: &str| s.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
    simulator.read(|t| {
        t.subscriptions.all().into_iter().map(|(_, e)| e.object()).any(|s| {
            same(&s, "applicationId") == call.claims.client_id
                && set(&same(&s, "changeType")) == set(changes)
                && bare(&same(&s, "resource")) == bare(resource)
        })
    })
}

/// The longest lifetime of a subscription on a resource, and who may have it.
fn watchable(resource: &str, rich: bool) -> Result<(i64, &'static [&'static str]), GraphError> {
    let bare = resource.trim_start_matches('/').to_ascii_lowercase();
    let path = bare.split('?').next().unwrap_or_default();
    if path.contains("planner") {
        return Err(refused(format!(
            "The resource '{resource}' is not supported: Planner has no change notifications."
        )));
    }
    let root = path.split(['/', '(']).next().unwrap_or_default();
    let roots = [
        "users",
        "me",
        "groups",
        "teams",
        "chats",
        "drives",
        "sites",
        "communications",
        "security",
        "print",
        "app",
        "appcatalogs",
    ];
    if !roots.contains(&root) {
        return Err(refused(format!("The resource '{resource}' is not supported for change notifications.")));
    }
    let fits = |part: &str| {
        if part.starts_with('/') {
            path.contains(part)
        } else {
            path.starts_with(part) || (part == "drive" && path.contains("/drive"))
        }
    };
    KINDS
        .iter()
        .find(|(part, ..)| fits(part))
        .map(|(_, minutes, rich_minutes, permissions)| (if rich { *rich_minutes } else { *minutes }, *permissions))
        .ok_or_else(|| refused(format!("The resource '{resource}' is not supported for change notifications.")))
}

fn lifetime(now: DateTime<Utc>, text: &str, minutes: i64) -> Result<DateTime<Utc>, GraphError> {
    let expires = instant(text).ok_or_else(|| refused("The expirationDateTime is no date with an offset."))?;
    if expires <= now {
        return Err(refused("Subscription expiration must be in the future."));
    }
    if expires > now + TimeDelta::minutes(minutes) + TimeDelta::seconds(60) {
        return Err(refused(format!("Subscription expiration can only be {minutes} minutes in the future.")));
    }
    Ok(expires)
}

/// Receivers speak https; this simulator allows http on the loopback address, and nothing else.
fn addressable(text: &str) -> Result<(), GraphError> {
    if text.starts_with("EventHub:") || text.starts_with("EventGrid:") {
        return Ok(());
    }
    let parsed = url::Url::parse(text).map_err(|_| refused(format!("'{text}' is no URL.")))?;
    let loopback = matches!(parsed.host_str(), Some("localhost" | "127.0.0.1" | "[::1]"));
    match parsed.scheme() {
        "https" => Ok(()),
        "http" if loopback => Ok(()),
        _ => Err(refused("The notification URL has to be an https URL (http on the loopback address only).")),
    }
}

/// The handshake: POST with a token in the query, which has to come back as plain text with 200 within 10 s.
async fn validate(simulator: &Simulator, text: &str) -> Result<(), GraphError> {
    if text.starts_with("Event") {
        return Ok(());
    }
    let failed = |why: String| refused(format!("Subscription validation request failed. {why}"));
    let mut target = url::Url::parse(text).map_err(|e| failed(e.to_string()))?;
    // The simulator calls no machine but its own.
    if !matches!(target.host_str(), Some("localhost" | "127.0.0.1" | "[::1]")) {
        return Err(failed(format!(
            "The simulated tenant reaches receivers on the loopback address only, not '{}'.",
            target.host_str().unwrap_or_default()
        )));
    }
    let token = format!(
        "Validation: Testing client application reachability for subscription Request-Id: {}",
        uuid::Uuid::new_v4()
    );
    target.query_pairs_mut().append_pair("validationToken", &token);
    let client = simulator.client().map_err(|e| failed(e.to_string()))?;
    let call = client.post(target).header("content-type", "text/plain; charset=utf-8").timeout(VALIDATION);
    let answer = call.send().await.map_err(|e| {
        failed(if e.is_timeout() {
            "The request timed out.".to_owned()
        } else {
            "The receiver cannot be reached.".to_owned()
        })
    })?;
    let status = answer.status();
    let plain =
        answer.headers().get("content-type").and_then(|v| v.to_str().ok()).is_some_and(|t| t.starts_with("text/plain"));
    let body = answer.text().await.map_err(|_| failed("The answer broke off.".to_owned()))?;
    if status.as_u16() != 200 || body != token {
        return Err(failed(format!(
            "Notification endpoint must respond with 200 OK and the validation token; it answered {status}."
        )));
    }
    if plain { Ok(()) } else { Err(failed("The validation token has to come as text/plain.".to_owned())) }
}

async fn renew(simulator: &Simulator, call: &Call, id: &str) -> Outcome {
    let mut subscription = find(simulator, call, id)?;
    let body = call.object()?;
    let mut life = None;
    for (name, value) in body.iter().filter(|(n, _)| !n.contains('@')) {
        match (name.as_str(), value) {
            ("expirationDateTime", Value::String(until)) => {
                let resource = subscription.get("resource").and_then(Value::as_str).unwrap_or_default().to_owned();
                let rich = subscription.get("includeResourceData") == Some(&Value::Bool(true));
                let expires = lifetime(call.now, until, watchable(&resource, rich)?.0)?;
                subscription.insert(name.clone(), clock::ticks(expires).into());
                life = Some(expires);
            }
            ("notificationUrl", Value::String(url)) => {
                addressable(url)?;
                validate(simulator, url).await?;
                subscription.insert(name.clone(), value.clone());
            }
            ("expirationDateTime" | "notificationUrl", _) => {
                return Err(refused(format!("The value of '{name}' is not valid.")));
            }
            _ => {
                return Err(refused(format!("The property '{name}' of a subscription cannot be changed.")));
            }
        }
    }
    if let Some(end) = life {
        simulator.post.begin_life(id, call.now, end);
    }
    simulator.write(|t| t.replace(|t| &mut t.subscriptions, id, &subscription));
    Ok(entity(call, &subscription))
}
