//! What is watched in Microsoft 365, and where Microsoft Graph tells of it.

use url::Url;

use super::Reader;
use crate::services::notifications::ContentDecryptor;
use crate::services::subscriptions::{Config, SubscriptionSpec};

pub(super) fn subscriptions(reader: &mut Reader<'_>, public_url: Option<Url>) -> Config {
    let mut specs = Vec::new();
    for text in reader.list("SUBSCRIPTIONS") {
        match SubscriptionSpec::parse(&text) {
            Ok(spec) => specs.push(spec),
            Err(error) => reader.problems.push(format!("`SUBSCRIPTIONS`: {error}")),
        }
    }
    Config { specs, public_url }
}

pub(super) fn decryptor(reader: &mut Reader<'_>) -> Option<ContentDecryptor> {
    let path = reader.text("NOTIFICATION_CERTIFICATE_PATH")?;
    let read = std::fs::read_to_string(&path).map_err(|error| error.to_string());
    match read.and_then(|pem| ContentDecryptor::parse(&pem).map_err(|error| error.to_string())) {
        Ok(decryptor) => Some(decryptor),
        Err(error) => {
            reader.problems.push(format!("`NOTIFICATION_CERTIFICATE_PATH`: `{path}` cannot be used: {error}"));
            None
        }
    }
}
