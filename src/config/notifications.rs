//! What is watched in Microsoft 365, and where Microsoft Graph tells of it.

use url::Url;

use super::Reader;
use crate::services::notifications::Opener;
use crate::services::subscriptions::{Config, Wish};

pub(super) fn subscriptions(reader: &mut Reader<'_>, public_url: Option<Url>) -> Config {
    let mut wishes = Vec::new();
    for text in reader.list("SUBSCRIPTIONS") {
        match Wish::parse(&text) {
            Ok(wish) => wishes.push(wish),
            Err(error) => reader.problems.push(format!("`SUBSCRIPTIONS`: {error}")),
        }
    }
    Config { wishes, public_url }
}

pub(super) fn opener(reader: &mut Reader<'_>) -> Option<Opener> {
    let path = reader.text("NOTIFICATION_CERTIFICATE_PATH")?;
    let read = std::fs::read_to_string(&path).map_err(|error| error.to_string());
    match read.and_then(|pem| Opener::parse(&pem).map_err(|error| error.to_string())) {
        Ok(opener) => Some(opener),
        Err(error) => {
            reader.problems.push(format!("`NOTIFICATION_CERTIFICATE_PATH`: `{path}` cannot be used: {error}"));
            None
        }
    }
}
