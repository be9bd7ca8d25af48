//! Why a storage service did not do what it was asked. Decided by the service's error code, never by the status
//! alone: a missing table and a missing row are both 404, an existing table and one being deleted both 409.

use http::StatusCode;
use serde_json::Value;

/// Longest message of the service that is passed on.
const LONGEST_MESSAGE: usize = 200;

/// What an error code means to us.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Code {
    /// The row to insert is there already.
    RowExists,
    /// The row to replace or delete is not there.
    NoSuchRow,
    /// The row has another version.
    OtherVersion,
    /// The table is not there.
    NoSuchTable,
    /// The table to create is there already.
    TableExists,
    /// The queue is not there.
    NoSuchQueue,
    /// The queue to create is there already.
    QueueExists,
    /// The container is not there.
    NoSuchContainer,
    /// The container to create is there already.
    ContainerExists,
    /// The blob is not there.
    NoSuchBlob,
    /// The message is not there, or somebody else has received it since.
    NoSuchMessage,
    /// A row, a property or the whole transaction is beyond the service's limits.
    TooLarge,
    /// The service asks for less load; the request had no effect.
    Busy,
    /// The token is not accepted.
    Unauthorized,
    /// The identity or the SAS lacks a right.
    Forbidden,
    /// Anything else, an unreadable body included.
    Other,
}

impl Code {
    /// The meaning of a code as the service writes it.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        match text {
            "EntityAlreadyExists" => Self::RowExists,
            "ResourceNotFound" | "EntityNotFound" => Self::NoSuchRow,
            "UpdateConditionNotSatisfied" | "ConditionNotMet" => Self::OtherVersion,
            "TableNotFound" => Self::NoSuchTable,
            "TableAlreadyExists" => Self::TableExists,
            "QueueNotFound" => Self::NoSuchQueue,
            "QueueAlreadyExists" => Self::QueueExists,
            "ContainerNotFound" => Self::NoSuchContainer,
            "ContainerAlreadyExists" => Self::ContainerExists,
            "BlobNotFound" => Self::NoSuchBlob,
            "MessageNotFound" | "PopReceiptMismatch" => Self::NoSuchMessage,
            "EntityTooLarge" | "PropertyValueTooLarge" | "RequestBodyTooLarge" | "TooManyProperties" => Self::TooLarge,
            "ServerBusy" => Self::Busy,
            "InvalidAuthenticationInfo" | "NoAuthenticationInformation" => Self::Unauthorized,
            "AuthenticationFailed"
            | "AuthorizationFailure"
            | "AuthorizationPermissionMismatch"
            | "AuthorizationProtocolMismatch"
            | "AuthorizationResourceTypeMismatch"
            | "AuthorizationServiceMismatch"
            | "InsufficientAccountPermissions" => Self::Forbidden,
            _ => Self::Other,
        }
    }
}

/// A call that failed.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Error {
    /// The service refused: nothing was written.
    #[error("{status} `{name}`: {message}")]
    Refused {
        /// The HTTP status.
        status: StatusCode,
        /// What the code means to us.
        code: Code,
        /// The code as it came; empty when there was none.
        name: String,
        /// The first line of the service's message, redacted.
        message: String,
        /// The place of the operation that failed, for a transaction.
        index: Option<usize>,
    },
    /// Nothing was sent, so nothing was written.
    #[error("{0}")]
    NotSent(String),
    /// The answer got lost or cannot be read, or a failing service may have done it all the same.
    #[error("{0}")]
    Ambiguous(String),
    /// The request would be beyond the service's limits and was not sent.
    #[error("{bytes} bytes are too many")]
    TooLarge {
        /// The bytes as the service counts them.
        bytes: usize,
    },
    /// A row is not one of ours, or damaged.
    #[error("row `{key}` is not one this program wrote: {reason}")]
    Damaged {
        /// The row key.
        key: String,
        /// What is missing.
        reason: String,
    },
}

impl Error {
    /// What the service's code means; `Other` when there was no refusal.
    #[must_use]
    pub const fn code(&self) -> Code {
        match self {
            Self::Refused { code, .. } => *code,
            _ => Code::Other,
        }
    }

    /// Reads an answer that is no success. `secret` is cut from the message, should the service repeat it.
    pub(in crate::azure) fn read(status: StatusCode, header: Option<&str>, body: &str, secret: Option<&str>) -> Self {
        let (name, message) = parse(body).unwrap_or_default();
        let name = if name.is_empty() { header.unwrap_or_default().to_owned() } else { name };
        let (index, message) = split_index(&message);
        let message = shown(message, secret);
        let code = Code::parse(&name);
        let unsure = status.is_server_error() || status == StatusCode::REQUEST_TIMEOUT;
        if unsure && code != Code::Busy {
            return Self::Ambiguous(format!("{status} `{name}`: {message}"));
        }
        Self::Refused { status, code, name, message, index }
    }
}

/// Code and message of an error body: JSON, or XML on failed authentication.
fn parse(body: &str) -> Option<(String, String)> {
    let body = body.trim_start_matches('\u{feff}').trim_start();
    if body.starts_with('<') {
        let code = element(body, &["Code", "code", "m:code"])?;
        let message = element(body, &["Message", "message", "m:message"]).unwrap_or_default();
        return Some((code, message));
    }
    let body: Value = serde_json::from_str(body).ok()?;
    let error = body.get("odata.error").or_else(|| body.get("error"))?;
    let message = error.get("message");
    let message = message.and_then(|message| message.get("value").or(Some(message))).and_then(Value::as_str);
    Some((error.get("code")?.as_str()?.to_owned(), message.unwrap_or_default().to_owned()))
}

/// The text of the first element with one of these names, unescaped.
pub(in crate::azure) fn element(xml: &str, names: &[&str]) -> Option<String> {
    names.iter().find_map(|name| {
        let (_, rest) = xml.split_once(&format!("<{name}"))?;
        let (attributes, rest) = rest.split_once('>')?;
        if attributes.ends_with('/') || !(attributes.is_empty() || attributes.starts_with(' ')) {
            return None;
        }
        let (text, _) = rest.split_once(&format!("</{name}>"))?;
        Some(unescape(text).trim().to_owned())
    })
}

fn unescape(text: &str) -> String {
    let text = text.replace("&lt;", "<").replace("&gt;", ">").replace("&quot;", "\"").replace("&apos;", "'");
    text.replace("&#xD;", "\r").replace("&#xA;", "\n").replace("&amp;", "&")
}

/// A transaction's message starts with the place of the operation that failed: `3:The specified …`.
fn split_index(message: &str) -> (Option<usize>, &str) {
    match message.split_once(':').map(|(index, rest)| (index.parse(), rest)) {
        Some((Ok(index), rest)) => (Some(index), rest),
        _ => (None, message),
    }
}

/// The first line, short, without the secret in any form it may be repeated in.
fn shown(message: &str, secret: Option<&str>) -> String {
    let line = message.lines().next().unwrap_or_default();
    let line = crate::http_client::redact::queries(line);
    let line = secret.map_or(line.clone(), |secret| hide(&line, secret));
    line.chars().take(LONGEST_MESSAGE).collect()
}

/// `text` without the `sig` of a SAS, as sent or decoded.
fn hide(text: &str, sas: &str) -> String {
    let raw = sas.split('&').find_map(|pair| pair.strip_prefix("sig="));
    let decoded = url::form_urlencoded::parse(sas.as_bytes()).find(|(name, _)| name == "sig").map(|(_, value)| value);
    let mut text = text.to_owned();
    for form in [raw, decoded.as_deref()].into_iter().flatten().filter(|form| !form.is_empty()) {
        text = text.replace(form, "…");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(status: u16, body: &str) -> Error {
        Error::read(StatusCode::from_u16(status).unwrap(), None, body, Some("sv=1&sig=ab%2Bc%3D"))
    }

    fn json(code: &str, message: &str) -> String {
        serde_json::json!({"odata.error": {"code": code, "message": {"lang": "en-US", "value": message}}}).to_string()
    }

    #[test]
    fn table_404_is_not_a_missing_row() {
        assert_eq!(read(404, &json("TableNotFound", "x")).code(), Code::NoSuchTable);
        assert_eq!(read(404, &json("ResourceNotFound", "x")).code(), Code::NoSuchRow);
        assert_eq!(read(404, "").code(), Code::Other, "a status alone says nothing");
    }

    #[test]
    fn table_being_deleted_is_not_already_exists() {
        assert_eq!(read(409, &json("TableAlreadyExists", "x")).code(), Code::TableExists);
        assert_eq!(read(409, &json("TableBeingDeleted", "x")).code(), Code::Other);
    }

    #[test]
    fn xml_authentication_errors_parse() {
        let xml = "\u{feff}<?xml version=\"1.0\"?><Error><Code>AuthorizationFailure</Code><Message>No &lt;way&gt;.\nRequestId:1</Message></Error>";
        assert_eq!(read(403, xml).to_string(), "403 Forbidden `AuthorizationFailure`: No <way>.");
        let namespaced =
            "<m:error xmlns:m=\"u\"><m:code>TableNotFound</m:code><m:message xml:lang=\"en\">no</m:message></m:error>";
        assert_eq!(read(404, namespaced).code(), Code::NoSuchTable);
        assert_eq!(read(400, "<Error>\n <Code/>\n <Message>x</Message></Error>").code(), Code::Other);
    }

    #[test]
    fn transaction_error_names_its_operation() {
        let Error::Refused { index, message, .. } = read(409, &json("EntityAlreadyExists", "17:exists: so")) else {
            panic!("a refusal")
        };
        assert_eq!((index, message.as_str()), (Some(17), "exists: so"));
    }

    #[test]
    fn error_500_has_unknown_outcome_and_server_busy_has_no_effect() {
        assert!(matches!(read(500, &json("OperationTimedOut", "x")), Error::Ambiguous(_)));
        assert!(matches!(read(503, "<html>"), Error::Ambiguous(_)));
        assert_eq!(read(503, &json("ServerBusy", "x")).code(), Code::Busy);
    }

    #[test]
    fn sas_signature_in_an_error_answer_is_redacted() {
        for message in ["bad sig ab+c=", "bad sig=ab%2Bc%3D", "at https://h/t?sig=ab%2Bc%3D"] {
            let text = read(403, &json("AuthenticationFailed", message)).to_string();
            assert!(!text.contains("ab+c=") && !text.contains("ab%2Bc%3D"), "{text}");
        }
    }
}
