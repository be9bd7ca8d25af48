//! Azure Key Vault as far as a program that reads and sets secrets meets it: the challenge, the token's audience,
//! versions, and the errors. `PUT /_control/vault {"NAME":"value"}` fills it.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use serde_json::{Value, json};

use super::http::{Reply, Request};
use super::simulator::Simulator;

const AUDIENCE: &str = "https://vault.azure.net";

/// The secrets, and whether the vault answers.
#[derive(Default)]
pub struct Vault(Mutex<Content>);

#[derive(Default)]
struct Content {
    secrets: BTreeMap<String, Vec<String>>,
    /// The status it answers everything with, while it is out of order.
    fails_with: Option<u16>,
    reads: u64,
}

impl Vault {
    fn content(&self) -> std::sync::MutexGuard<'_, Content> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sets secrets by name; `null` removes one. A number under the name `fails_with` puts the vault out of order.
    pub fn fill(&self, values: &Value) -> Result<Value, String> {
        let values = values.as_object().ok_or("an object of names and values expected")?;
        let mut content = self.content();
        for (name, value) in values {
            match (name.as_str(), value) {
                ("fails_with", Value::Null) => content.fails_with = None,
                ("fails_with", status) => content.fails_with = status.as_u64().and_then(|n| u16::try_from(n).ok()),
                (_, Value::Null) => drop(content.secrets.remove(name)),
                (_, Value::String(text)) => content.secrets.entry(name.clone()).or_default().push(text.clone()),
                _ => return Err(format!("`{name}` is no text")),
            }
        }
        Ok(
            json!({"names": content.secrets.keys().collect::<Vec<_>>(), "fails_with": content.fails_with, "reads": content.reads}),
        )
    }
}

/// Answers a request to the vault; `None` if the address is none of its.
pub async fn route(simulator: &Simulator, request: &Request) -> Option<Reply> {
    let segments: Vec<&str> = request.path.split('/').filter(|s| !s.is_empty()).collect();
    let ["secrets", name, ..] = segments.as_slice() else { return None };
    let error = |status, code: &str, message: &str| {
        Some(Reply::json(status, &json!({"error": {"code": code, "message": message}})))
    };
    if !simulator.entra.opens_vault(request.header("authorization"), AUDIENCE, simulator.clock.now()).await {
        let challenge = format!(
            "Bearer authorization=\"https://login.microsoftonline.com/{}\", resource=\"{AUDIENCE}\"",
            simulator.read(|t| t.tenant_id.clone())
        );
        return error(401, "Unauthorized", "AKV10000: Request is missing a Bearer or PoP token.")
            .map(|reply| reply.with("www-authenticate", challenge));
    }
    if let Some(status) = simulator.vault.content().fails_with {
        return error(status, "Throttled", "The vault is out of order.");
    }
    let host = format!("https://{}", request.header("host").unwrap_or_default());
    let shown = |versions: &[String]| {
        let version = format!("{:032x}", versions.len());
        json!({"value": versions.last(), "id": format!("{host}/secrets/{name}/{version}"), "attributes": {"enabled": true}})
    };
    let mut content = simulator.vault.content();
    match request.method.as_str() {
        "GET" => {
            content.reads += 1;
            match content.secrets.get(*name) {
                Some(versions) => Some(Reply::json(200, &shown(versions))),
                None => error(
                    404,
                    "SecretNotFound",
                    &format!("A secret with (name/id) {name} was not found in this key vault."),
                ),
            }
        }
        "PUT" => {
            let body: Value = serde_json::from_slice(&request.body).unwrap_or_default();
            let Some(value) = body.get("value").and_then(Value::as_str) else {
                return error(400, "BadParameter", "Property value is missing.");
            };
            let versions = content.secrets.entry((*name).to_owned()).or_default();
            versions.push(value.to_owned());
            Some(Reply::json(200, &shown(versions)))
        }
        _ => error(405, "MethodNotAllowed", "The method is not known here."),
    }
}
