//! Mail, sent from a mailbox of the tenant.
//!
//! A mail that must not be sent twice is a draft first. The draft has an immutable id, by which it is found when it was
//! sent, too: <https://learn.microsoft.com/graph/outlook-immutable-id>. So after a lost answer it can be known.
//!
//! <https://learn.microsoft.com/graph/api/user-sendmail>: a request holds up to 4 MB, so attachments of more than 3 MB
//! are uploaded to a draft: <https://learn.microsoft.com/graph/outlook-large-attachments>.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use http::header::{CONTENT_RANGE, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue, Method};
use hyper::body::Bytes;
use serde::Deserialize;
use serde_json::{Value, json};
use url::Url;

use super::call::Call;
use super::client::Client;
use super::error::{Error, ErrorKind};
use super::request::{Request, encode};
use crate::http_client::{Outgoing, Repeat, Workload};

/// Attachments up to this size travel within the message.
const INLINE: usize = 3_000_000;
/// Bytes of a part of an upload: a multiple of 320 KiB, below 4 MB.
const PART: usize = 10 * 320 * 1024;

/// A mail.
#[derive(Debug, Clone)]
pub struct Message {
    /// The subject.
    pub subject: String,
    /// The text, as HTML.
    pub html: String,
    /// Who gets it.
    pub to: Vec<String>,
    /// What goes with it.
    pub attachments: Vec<Attachment>,
}

/// A file that goes with a mail.
#[derive(Debug, Clone)]
pub struct Attachment {
    /// Its name.
    pub name: String,
    /// Its media type.
    pub media_type: String,
    /// Its bytes.
    pub content: Vec<u8>,
}

#[derive(Deserialize)]
struct Draft {
    id: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Sent {
    is_draft: bool,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Session {
    upload_url: String,
}

impl Client {
    /// Sends a mail from a mailbox, named by sign-in name or id. A mail is sent once: after an answer that was lost it may
    /// have been sent all the same.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn send_mail(&self, call: &Call, sender: &str, message: &Message) -> Result<(), Error> {
        let size: usize = message.attachments.iter().map(|attachment| attachment.content.len()).sum();
        let mailbox = format!("/users/{}", encode(sender));
        if size <= INLINE {
            let body = json!({ "message": wire(message, &message.attachments), "saveToSentItems": true });
            let request = Request::post("send_mail", Workload::Exchange, &format!("{mailbox}/sendMail"), &body);
            return self.send(call, &request).await.map(drop);
        }
        let draft = self.create_draft(call, sender, message).await?;
        self.send_draft(call, sender, &draft).await
    }

    /// Writes a mail into a mailbox's drafts and answers its immutable id. Each call makes another draft.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn create_draft(&self, call: &Call, sender: &str, message: &Message) -> Result<String, Error> {
        let size: usize = message.attachments.iter().map(|attachment| attachment.content.len()).sum();
        let mailbox = format!("/users/{}", encode(sender));
        let along = if size <= INLINE { message.attachments.as_slice() } else { &[] };
        let body = wire(message, along);
        let request = Request::post("create_draft", Workload::Exchange, &format!("{mailbox}/messages"), &body);
        let draft: Draft = self.fetch(call, &request.immutable_id()).await?;
        let path = format!("{mailbox}/messages/{}", encode(&draft.id));
        for attachment in message.attachments.iter().filter(|_| along.is_empty()) {
            if attachment.content.len() > INLINE {
                self.upload(call, &path, attachment).await?;
            } else {
                let file = file(attachment);
                let request = Request::post("attach", Workload::Exchange, &format!("{path}/attachments"), &file);
                self.send(call, &request.immutable_id()).await?;
            }
        }
        Ok(draft.id)
    }

    /// Sends a draft. After an answer that was lost, [`Self::is_sent`] tells whether it was sent.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn send_draft(&self, call: &Call, sender: &str, draft: &str) -> Result<(), Error> {
        let path = format!("/users/{}/messages/{}/send", encode(sender), encode(draft));
        let request = Request::post("send_draft", Workload::Exchange, &path, &json!({}));
        self.send(call, &request.immutable_id()).await.map(drop)
    }

    /// Whether a draft was sent; `None` when the mailbox has it neither as a draft nor among sent mail.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn is_sent(&self, call: &Call, sender: &str, draft: &str) -> Result<Option<bool>, Error> {
        let path = format!("/users/{}/messages/{}?$select=id,isDraft", encode(sender), encode(draft));
        let request = Request::get("get_message", Workload::Exchange, path).immutable_id();
        match self.fetch::<Sent>(call, &request).await {
            Ok(message) => Ok(Some(!message.is_draft)),
            Err(error) if error.is_not_found() => Ok(None),
            Err(error) => Err(error),
        }
    }

    async fn upload(&self, call: &Call, draft: &str, attachment: &Attachment) -> Result<(), Error> {
        let item = json!({ "AttachmentItem": { "attachmentType": "file", "name": attachment.name, "size": attachment.content.len() } });
        let path = format!("{draft}/attachments/createUploadSession");
        let request = Request::post("create_upload_session", Workload::Exchange, &path, &item);
        let session: Session = self.fetch(call, &request).await?;
        let refuse = |why: &str| Error::new("upload_attachment", &Method::PUT, ErrorKind::BadRequest(why.to_owned()));
        let url = Url::parse(&session.upload_url).map_err(|_| refuse("the upload's address is none"))?;
        // The address carries its own right, and no token goes there; a file goes over https alone, but for this machine.
        let local = matches!(url.host(), Some(url::Host::Ipv4(ip)) if ip.is_loopback());
        if url.scheme() != "https" && !local {
            return Err(refuse("the upload's address is not https"));
        }
        let total = attachment.content.len();
        let mut from = 0;
        for part in attachment.content.chunks(PART) {
            let to = from + part.len();
            let mut headers = HeaderMap::new();
            headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
            if let Ok(range) = HeaderValue::from_str(&format!("bytes {from}-{}/{total}", to - 1)) {
                headers.insert(CONTENT_RANGE, range);
            }
            let outgoing = Outgoing {
                operation: "upload_attachment",
                workload: Workload::Exchange,
                target: None,
                method: Method::PUT,
                url: url.clone(),
                headers,
                body: Some(Bytes::copy_from_slice(part)),
                repeat: Repeat::Safe,
                mode: call.mode,
                deadline: self.deadline(call),
            };
            let answer = self.http().send(&outgoing).await;
            let answer = answer.map_err(|failure| Error::from_failure("upload_attachment", &Method::PUT, failure))?;
            if !answer.status.is_success() {
                return Err(Error::from_answer("upload_attachment", &Method::PUT, &answer, self.clock().now()));
            }
            from = to;
        }
        Ok(())
    }
}

fn wire(message: &Message, attachments: &[Attachment]) -> Value {
    let recipient = |address: &String| json!({ "emailAddress": { "address": address } });
    let mut value = json!({
        "subject": message.subject,
        "body": { "contentType": "html", "content": message.html },
        "toRecipients": message.to.iter().map(recipient).collect::<Vec<_>>(),
    });
    if let (Value::Object(value), false) = (&mut value, attachments.is_empty()) {
        value.insert("attachments".into(), attachments.iter().map(file).collect());
    }
    value
}

fn file(attachment: &Attachment) -> Value {
    json!({
        "@odata.type": "#microsoft.graph.fileAttachment",
        "name": attachment.name,
        "contentType": attachment.media_type,
        "contentBytes": BASE64.encode(&attachment.content),
    })
}
