//! Mail, as far as a program sends it: `sendMail`, drafts, attachments within the message or by upload session, `send`.
//! Sent mail lands in the sender's Sent Items and, for people of this tenant, in their Inbox; both can be listed.
//!
//! <https://learn.microsoft.com/graph/api/user-sendmail>,
//! <https://learn.microsoft.com/graph/api/attachment-createuploadsession>

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::{Value, json};

use super::super::clock;
use super::super::http::{Reply, Request};
use super::super::simulator::Simulator;
use super::super::state::{Object, Tenant, object};
use super::call::{Answer, Call, Outcome};
use super::directory::DENIED;
use super::error::GraphError;

const SEND: &[&str] = &["Mail.Send"];
const WRITE: &[&str] = &["Mail.ReadWrite"];
const READ: &[&str] = &["Mail.ReadBasic.All", "Mail.Read", "Mail.ReadWrite"];
/// Bytes of attachments a message within a request may carry.
const INLINE: usize = 3_000_000;
/// The smallest and the largest file an upload session is for.
const UPLOAD: std::ops::RangeInclusive<u64> = 3_000_000..=(150 * 1024 * 1024);
/// Messages a list shows.
const SHOWN: usize = 50;

/// Whether a path below `/users/{id}` is about mail.
pub fn is_mail(path: &[&str]) -> bool {
    matches!(path, ["users", _, "sendMail" | "microsoft.graph.sendMail" | "messages" | "mailFolders", ..])
}

/// Answers requests under `/users/{id}` that are about mail.
pub fn route(call: &Call, tenant: &mut Tenant) -> Outcome {
    let path = call.path();
    let [_, key, rest @ ..] = path.as_slice() else { return Err(GraphError::no_segment("users")) };
    let Some((owner, user)) = tenant.find_user(key) else {
        return Err(GraphError::new(404, "ErrorInvalidUser", format!("The requested user '{key}' is invalid.")));
    };
    match (call.method.as_str(), rest) {
        ("POST", ["sendMail" | "microsoft.graph.sendMail"]) => send_mail(call, tenant, &owner, &user),
        ("POST", ["messages"]) => create_draft(call, tenant, &owner),
        ("GET", ["messages"]) => list(call, tenant, &owner, None),
        ("GET", ["mailFolders", folder, "messages"]) => list(call, tenant, &owner, Some(folder)),
        ("POST", ["messages", id, "attachments", "createUploadSession"]) => create_session(call, tenant, &owner, id),
        ("POST", ["messages", id, "attachments"]) => attach(call, tenant, &owner, id),
        ("GET", ["messages", id]) => show(call, tenant, &owner, id),
        ("POST", ["messages", id, "send"]) => send_draft(call, tenant, &owner, &user, id),
        (_, ["sendMail" | "messages" | "mailFolders", ..]) => Err(GraphError::method(&call.method)),
        (_, rest) => Err(GraphError::no_segment(rest.first().copied().unwrap_or_default())),
    }
}

fn bad(message: impl Into<String>) -> GraphError {
    GraphError::new(400, "ErrorInvalidRequest", message.into())
}

/// Checks a message as it is sent: names, types, recipients, sizes.
fn check(message: &Object) -> Result<(), GraphError> {
    const KNOWN: [&str; 9] = [
        "subject",
        "body",
        "toRecipients",
        "ccRecipients",
        "bccRecipients",
        "attachments",
        "importance",
        "replyTo",
        "@odata.type",
    ];
    if let Some(unknown) = message.keys().find(|name| !KNOWN.contains(&name.as_str())) {
        return Err(GraphError::malformed(format!(
            "The property '{unknown}' does not exist on type 'microsoft.graph.message'."
        )));
    }
    for address in recipients(message) {
        if !address.contains('@') || address.contains(char::is_whitespace) {
            return Err(GraphError::new(400, "ErrorInvalidRecipients", "At least one recipient isn't valid."));
        }
    }
    let mut size = 0;
    for attachment in message.get("attachments").and_then(Value::as_array).into_iter().flatten() {
        if attachment.get("@odata.type") != Some(&json!("#microsoft.graph.fileAttachment")) {
            return Err(bad("An attachment needs the type '#microsoft.graph.fileAttachment'."));
        }
        let bytes = attachment.get("contentBytes").and_then(Value::as_str).and_then(|text| BASE64.decode(text).ok());
        size += bytes.ok_or_else(|| bad("'contentBytes' is no base64 text."))?.len();
    }
    if size > INLINE {
        return Err(GraphError::new(
            413,
            "ErrorMessageSizeExceeded",
            "The message exceeds the maximum supported size.",
        ));
    }
    Ok(())
}

fn recipients(message: &Object) -> Vec<String> {
    let lists = ["toRecipients", "ccRecipients", "bccRecipients"];
    let all = lists.iter().filter_map(|name| message.get(*name)?.as_array()).flatten();
    all.map(|recipient| {
        recipient.pointer("/emailAddress/address").and_then(Value::as_str).unwrap_or_default().to_owned()
    })
    .collect()
}

fn send_mail(call: &Call, tenant: &mut Tenant, owner: &str, user: &Object) -> Outcome {
    call.require(DENIED, SEND, SEND)?;
    let body = call.object()?;
    let message = body.get("message").and_then(Value::as_object).ok_or_else(|| bad("'message' is required."))?;
    check(message)?;
    if recipients(message).is_empty() {
        return Err(GraphError::new(
            400,
            "ErrorInvalidRecipients",
            "At least one recipient isn't valid, A message can't be sent because it contains no recipients.",
        ));
    }
    let save = body.get("saveToSentItems") != Some(&Value::Bool(false));
    let save = save.then(|| new_id(tenant));
    deliver(call, tenant, owner, user, message.clone(), save);
    Ok(Answer { status: 202, ..Answer::default() })
}

/// Puts a message where it belongs, and among the sent ones under `save`. What is attached is kept by name and size
/// alone: tests check files elsewhere.
fn deliver(call: &Call, tenant: &mut Tenant, owner: &str, user: &Object, mut message: Object, save: Option<String>) {
    let at = clock::seconds(call.now);
    let mut files = Vec::new();
    for attachment in message.remove("attachments").and_then(|list| list.as_array().cloned()).unwrap_or_default() {
        let size = match attachment.get("contentBytes").and_then(Value::as_str) {
            Some(text) => BASE64.decode(text).map_or(0, |bytes| bytes.len() as u64),
            None => attachment.get("size").and_then(Value::as_u64).unwrap_or(0),
        };
        files.push(json!({"name": attachment.get("name"), "contentType": attachment.get("contentType"), "size": size}));
    }
    message.insert(
        "from".to_owned(),
        json!({"emailAddress": {"name": user.get("displayName"), "address": user.get("mail")}}),
    );
    message.insert("sentDateTime".to_owned(), at.clone().into());
    message.insert("hasAttachments".to_owned(), (!files.is_empty()).into());
    message.insert("isDraft".to_owned(), false.into());
    message.insert("files".to_owned(), files.into());
    for address in recipients(&message) {
        if let Some((reader, _)) = tenant.find_user(&address) {
            let id = new_id(tenant);
            put(tenant, &reader, "inbox", id, message.clone());
        }
    }
    if let Some(id) = save {
        put(tenant, owner, "sentitems", id, message);
    }
}

fn new_id(tenant: &mut Tenant) -> String {
    format!("AAMk{}", tenant.rng.guid().replace('-', ""))
}

/// Whether the request asks for ids that stay when a message is moved.
/// <https://learn.microsoft.com/graph/outlook-immutable-id>
fn wants_immutable_ids(call: &Call) -> bool {
    call.header("prefer").is_some_and(|prefer| prefer.to_lowercase().contains("idtype=\"immutableid\""))
}

fn put(tenant: &mut Tenant, owner: &str, folder: &str, id: String, mut message: Object) -> String {
    message.insert("id".to_owned(), id.clone().into());
    message.insert("folder".to_owned(), folder.into());
    tenant.add(|t| &mut t.mail, &id, owner, &message);
    id
}

fn create_draft(call: &Call, tenant: &mut Tenant, owner: &str) -> Outcome {
    call.require(DENIED, WRITE, WRITE)?;
    let mut message = call.object()?.clone();
    check(&message)?;
    message.insert("isDraft".to_owned(), true.into());
    let mut id = new_id(tenant);
    if wants_immutable_ids(call) {
        id.replace_range(..4, "AAkA");
    }
    let id = put(tenant, owner, "drafts", id, message);
    let mut shown = tenant.mail.get(&id).map(super::super::state::Entity::object).unwrap_or_default();
    shown.shift_insert(0, "@odata.context".to_owned(), call.context("users('x')/messages/$entity").into());
    shown.remove("folder");
    Ok(Answer::json(201, &shown))
}

fn draft(tenant: &Tenant, owner: &str, id: &str) -> Result<Object, GraphError> {
    let missing = || GraphError::new(404, "ErrorItemNotFound", "The specified object was not found in the store.");
    if tenant.mail.parent(id) != Some(owner) {
        return Err(missing());
    }
    let message = tenant.mail.get(id).ok_or_else(missing)?.object();
    if message.get("isDraft") == Some(&Value::Bool(true)) { Ok(message) } else { Err(missing()) }
}

fn attach(call: &Call, tenant: &mut Tenant, owner: &str, id: &str) -> Outcome {
    call.require(DENIED, WRITE, WRITE)?;
    let mut message = draft(tenant, owner, id)?;
    let file = call.object()?.clone();
    check(&object(json!({"attachments": [file]})))?;
    let mut shown = file.clone();
    shown.remove("contentBytes");
    shown.insert("id".to_owned(), format!("AAMk{}", tenant.rng.guid().replace('-', "")).into());
    match message.get_mut("attachments").and_then(Value::as_array_mut) {
        Some(list) => list.push(Value::Object(file)),
        None => {
            message.insert("attachments".to_owned(), json!([file]));
        }
    }
    tenant.replace(|t| &mut t.mail, id, &message);
    Ok(Answer::json(201, &shown))
}

fn create_session(call: &Call, tenant: &mut Tenant, owner: &str, id: &str) -> Outcome {
    call.require(DENIED, WRITE, WRITE)?;
    let mut message = draft(tenant, owner, id)?;
    let item = call
        .object()?
        .get("AttachmentItem")
        .and_then(Value::as_object)
        .ok_or_else(|| bad("'AttachmentItem' is required."))?;
    let size = item.get("size").and_then(Value::as_u64).ok_or_else(|| bad("'size' is required."))?;
    let name = item.get("name").and_then(Value::as_str).ok_or_else(|| bad("'name' is required."))?;
    if !UPLOAD.contains(&size) {
        return Err(bad("An upload session is for files from 3 MB to 150 MB."));
    }
    let session = tenant.rng.guid().replace('-', "");
    let entry = json!({"name": name, "contentType": "application/octet-stream", "size": size, "session": session, "received": 0});
    match message.get_mut("attachments").and_then(Value::as_array_mut) {
        Some(list) => list.push(entry),
        None => {
            message.insert("attachments".to_owned(), json!([entry]));
        }
    }
    tenant.replace(|t| &mut t.mail, id, &message);
    let origin = call.root.trim_end_matches("/v1.0");
    Ok(Answer::json(
        201,
        &json!({
            "@odata.context": call.context("microsoft.graph.uploadSession"),
            "uploadUrl": format!("{origin}/upload/{id}/{session}"),
            "expirationDateTime": clock::seconds(call.now + chrono::TimeDelta::hours(1)),
            "nextExpectedRanges": ["0-"],
        }),
    ))
}

/// PUT `/upload/{message}/{session}`: the next bytes of a file. The address is the right to it; a token is refused.
pub fn upload(simulator: &Simulator, request: &Request) -> Reply {
    let parts: Vec<&str> = request.path.trim_start_matches("/upload/").split('/').collect();
    let [id, session] = parts.as_slice() else { return Reply::text(404, String::new()) };
    if request.method != "PUT" || request.header("authorization").is_some() {
        return Reply::text(400, "an upload takes PUT without a token".to_owned());
    }
    let range = request.header("content-range").and_then(range);
    simulator.write(|tenant| {
        let Some(mut message) = tenant.mail.get(id).map(super::super::state::Entity::object) else {
            return Reply::text(404, String::new());
        };
        let files = message.get_mut("attachments").and_then(Value::as_array_mut);
        let Some(file) = files.into_iter().flatten().find(|file| file["session"] == *session) else {
            return Reply::text(404, String::new());
        };
        let (size, received) = (file["size"].as_u64().unwrap_or(0), file["received"].as_u64().unwrap_or(0));
        let length = request.body.len() as u64;
        match range {
            Some((from, to, total)) if from == received && total == size && to + 1 - from == length && to < total => {}
            _ => return Reply::text(416, format!("bytes from {received} of {size} are expected")),
        }
        file["received"] = json!(received + length);
        let done = received + length == size;
        tenant.replace(|t| &mut t.mail, id, &message);
        if done {
            return Reply::new(201, &[], String::new());
        }
        Reply::json(200, &json!({"nextExpectedRanges": [format!("{}-", received + length)]}))
    })
}

/// `bytes 0-9/100`
fn range(text: &str) -> Option<(u64, u64, u64)> {
    let (span, total) = text.strip_prefix("bytes ")?.split_once('/')?;
    let (from, to) = span.split_once('-')?;
    Some((from.parse().ok()?, to.parse().ok()?, total.parse().ok()?))
}

fn send_draft(call: &Call, tenant: &mut Tenant, owner: &str, user: &Object, id: &str) -> Outcome {
    call.require(DENIED, SEND, SEND)?;
    let mut message = draft(tenant, owner, id)?;
    let unfinished = |file: &Value| file.get("session").is_some() && file["received"] != file["size"];
    if message.get("attachments").and_then(Value::as_array).is_some_and(|files| files.iter().any(unfinished)) {
        return Err(bad("An attachment has not been uploaded to its end."));
    }
    tenant.remove(|t| &mut t.mail, id);
    for name in ["id", "folder", "isDraft"] {
        message.remove(name);
    }
    // A draft whose id stays is found by it among the sent ones.
    let id = if id.starts_with("AAkA") { (*id).to_owned() } else { new_id(tenant) };
    deliver(call, tenant, owner, user, message, Some(id));
    Ok(Answer { status: 202, ..Answer::default() })
}

fn show(call: &Call, tenant: &Tenant, owner: &str, id: &str) -> Outcome {
    call.require(DENIED, READ, READ)?;
    let missing = || GraphError::new(404, "ErrorItemNotFound", "The specified object was not found in the store.");
    if tenant.mail.parent(id) != Some(owner) {
        return Err(missing());
    }
    let mut message = tenant.mail.get(id).ok_or_else(missing)?.object();
    for name in ["folder", "files", "attachments"] {
        message.remove(name);
    }
    message.shift_insert(0, "@odata.context".to_owned(), call.context("users('x')/messages/$entity").into());
    Ok(Answer::json(200, &message))
}

fn list(call: &Call, tenant: &Tenant, owner: &str, folder: Option<&str>) -> Outcome {
    call.require(DENIED, READ, READ)?;
    let mut messages: Vec<Object> = tenant.mail.of(owner).map(|(_, entity)| entity.object()).collect();
    messages.retain(|message| folder.is_none_or(|folder| message.get("folder") == Some(&json!(folder.to_lowercase()))));
    messages.reverse();
    messages.truncate(SHOWN);
    for message in &mut messages {
        message.remove("folder");
        message.remove("files");
    }
    Ok(Answer::json(200, &json!({"@odata.context": call.context("users('x')/messages"), "value": messages})))
}

/// All sent mail of the tenant, the newest first: for the control API and the page.
pub fn sent(tenant: &Tenant) -> Vec<Value> {
    let all = tenant.mail.all().into_iter().map(|(_, entity)| entity.object());
    let mut sent: Vec<Value> =
        all.filter(|message| message.get("folder") == Some(&json!("sentitems"))).map(Value::Object).collect();
    sent.reverse();
    sent.truncate(SHOWN);
    sent
}

/// POST `/workflows/{name}`: what a Teams workflow "when a webhook request is received" takes: a message with one
/// adaptive card, up to 28 KB. It is shown where mail is.
pub fn workflow(simulator: &Simulator, request: &Request) -> Reply {
    let card: Option<Value> = serde_json::from_slice(&request.body).ok();
    let fits = card.as_ref().is_some_and(|card| {
        card["type"] == "message"
            && card.pointer("/attachments/0/contentType") == Some(&json!("application/vnd.microsoft.card.adaptive"))
            && card.pointer("/attachments/0/content/type") == Some(&json!("AdaptiveCard"))
    });
    if request.method != "POST" || !fits || request.body.len() > 28 * 1024 {
        return Reply::json(
            400,
            &json!({"error": {"code": "TriggerInputSchemaMismatch", "message": "The input body for trigger 'manual' of type 'Request' did not match its schema definition."}}),
        );
    }
    let at = clock::seconds(simulator.clock.now());
    simulator.write(|tenant| {
        let id = tenant.rng.guid();
        let name = request.path.trim_start_matches("/workflows/").to_owned();
        let post = object(json!({"id": id, "workflow": name, "at": at, "card": card}));
        tenant.add(|t| &mut t.posts, &id, "", &post);
    });
    Reply::new(202, &[], String::new())
}

/// All cards posted, the newest first.
pub fn posts(tenant: &Tenant) -> Vec<Value> {
    let mut posts: Vec<Value> =
        tenant.posts.all().into_iter().map(|(_, entity)| Value::Object(entity.object())).collect();
    posts.reverse();
    posts.truncate(SHOWN);
    posts
}

/// POST `/teams/{id}/channels/{id}/messages`: Graph has no application permission for it but that of migrations.
pub fn channel_message(call: &Call) -> Outcome {
    call.require("Forbidden", &["Teamwork.Migrate.All"], &["ChannelMessage.Send", "Group.ReadWrite.All"])?;
    Err(GraphError::new(404, "NotFound", "The simulated tenant has no channels."))
}
