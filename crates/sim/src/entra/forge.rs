//! Tokens as somebody else's tests want them: any header, any claims, really signed; and keys that roll.

use serde::Deserialize;
use serde_json::{Value, json};

use super::super::simulator::Simulator;

/// What to sign: JSON, or texts that stand for themselves.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Wanted {
    claims: Value,
    header: Option<Value>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Roll {
    #[serde(default)]
    forget: bool,
}

/// Signs a token as asked. A header's members are added to the usual ones, or take their place; `null` removes one.
pub async fn sign(simulator: &Simulator, body: &[u8]) -> Result<Value, String> {
    let Wanted { claims, header } = serde_json::from_slice(body).map_err(|error| error.to_string())?;
    let keys = simulator.entra.keys().await.map_err(|error| error.to_string())?;
    let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let header = match (header, keys.header()) {
        (Some(Value::Object(members)), Value::Object(mut header)) => {
            header.extend(members);
            header.retain(|_, value| !value.is_null());
            Value::Object(header)
        }
        (Some(other), _) => other,
        (None, usual) => usual,
    };
    let token = keys.sign_text(&text(&header), &text(&claims)).map_err(|error| error.to_string())?;
    Ok(json!({ "token": token }))
}

/// Signs with another key from here on, and answers the keys as published.
pub async fn roll(simulator: &Simulator, body: &[u8]) -> Result<Value, String> {
    let body = if body.is_empty() { b"{}" } else { body };
    let Roll { forget } = serde_json::from_slice(body).map_err(|error| error.to_string())?;
    simulator.entra.roll(forget).await.map_err(|error| error.to_string())?;
    simulator.entra.published().await.map_err(|error| error.to_string())
}
