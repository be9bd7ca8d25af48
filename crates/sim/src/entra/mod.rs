//! Microsoft Entra ID as far as a Graph program meets it: the token endpoint with its grants, OIDC discovery and
//! keys, a consent page, device codes, and the managed identity endpoint of App Service.

mod device;
mod errors;
pub mod forge;
mod grants;
mod identity;
mod keys;
mod pages;

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};

use chrono::{DateTime, Utc};
use serde_json::{Value, json};

use super::graph::GraphError;
use super::http::{Reply, Request};
use super::simulator::Simulator;
use keys::Keys;

/// Microsoft Graph, as a token's audience.
pub const GRAPH: &str = "https://graph.microsoft.com";
/// The application id of Microsoft Graph, which is an accepted audience too.
const GRAPH_APP: &str = "00000003-0000-0000-c000-000000000000";
/// Verified tokens kept, so that a signature is not checked on every call.
const MAX_TOKENS: usize = 256;

/// What a request may do, read from its access token.
#[derive(Clone, Debug)]
pub struct Claims {
    pub client_id: String,
    /// Object id of the signed-in user; `None` for an application acting as itself.
    pub user: Option<String>,
    /// Roles of an application, or scopes of a user.
    pub permissions: Vec<String>,
    pub audience: String,
    pub not_before: i64,
    pub expires: i64,
}

/// An authorization code that was issued and not redeemed.
struct Code {
    client_id: String,
    redirect_uri: String,
    user: String,
    scope: String,
    challenge: Option<String>,
    nonce: Option<String>,
    expires: DateTime<Utc>,
}

/// A device code on its way.
struct Device {
    client_id: String,
    user_code: String,
    scope: String,
    expires: DateTime<Utc>,
    last_poll: Option<DateTime<Utc>>,
    interval: i64,
    approved_by: Option<String>,
    declined: bool,
}

/// A refresh token that was issued; using it replaces it.
struct Refresh {
    client_id: String,
    user: String,
    scope: String,
}

#[derive(Default)]
struct Sessions {
    codes: HashMap<String, Code>,
    devices: HashMap<String, Device>,
    refresh: HashMap<String, Refresh>,
}

/// The sign-in service of the tenant.
pub struct Entra {
    /// The signing keys, the one in use last.
    keys: tokio::sync::Mutex<Vec<Arc<Keys>>>,
    sessions: Mutex<Sessions>,
    verified: Mutex<VecDeque<(Box<str>, Arc<Claims>)>>,
    /// Lifetime of access tokens in seconds.
    pub expires_in: Mutex<i64>,
}

impl Entra {
    /// A service without keys; they are made when the first token is wanted.
    pub fn new() -> Self {
        Self {
            keys: tokio::sync::Mutex::default(),
            sessions: Mutex::default(),
            verified: Mutex::default(),
            expires_in: Mutex::new(DEFAULT_LIFETIME),
        }
    }

    fn sessions(&self) -> std::sync::MutexGuard<'_, Sessions> {
        self.sessions.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lifetime of new access tokens in seconds.
    pub fn lifetime(&self) -> i64 {
        *self.expires_in.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sets the lifetime of new access tokens.
    pub fn set_lifetime(&self, seconds: i64) {
        *self.expires_in.lock().unwrap_or_else(PoisonError::into_inner) = seconds;
    }

    /// Forgets codes and refresh tokens; keys and issued access tokens stay good.
    pub fn reset(&self) {
        *self.sessions() = Sessions::default();
        self.set_lifetime(DEFAULT_LIFETIME);
    }

    /// The signing key in use; the first caller makes it, on a thread of its own because it takes a while.
    pub async fn keys(&self) -> anyhow::Result<Arc<Keys>> {
        let mut keys = self.keys.lock().await;
        if let Some(current) = keys.last() {
            return Ok(current.clone());
        }
        let made = Arc::new(tokio::task::spawn_blocking(Keys::generate).await??);
        keys.push(made.clone());
        Ok(made)
    }

    /// Signs with another key from here on. Former keys stay published unless they are to be forgotten.
    pub async fn roll(&self, forget: bool) -> anyhow::Result<()> {
        let made = Arc::new(tokio::task::spawn_blocking(Keys::generate).await??);
        let mut keys = self.keys.lock().await;
        if forget {
            keys.clear();
            self.verified.lock().unwrap_or_else(PoisonError::into_inner).clear();
        }
        keys.push(made);
        Ok(())
    }

    /// The keys as published.
    pub async fn published(&self) -> anyhow::Result<Value> {
        self.keys().await?;
        Ok(json!({"keys": self.keys.lock().await.iter().map(|keys| keys.jwk()).collect::<Vec<_>>()}))
    }

    /// Checks the bearer token of a Graph request.
    pub async fn authenticate(&self, header: Option<&str>, now: DateTime<Utc>) -> Result<Arc<Claims>, GraphError> {
        let token = header
            .and_then(|h| h.split_once(' '))
            .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"))
            .map(|(_, token)| token.trim())
            .ok_or_else(|| GraphError::unauthenticated("Access token is empty."))?;
        let claims = self
            .verify(token)
            .await
            .map_err(|why| GraphError::unauthenticated(&format!("CompactToken validation failed: {why}.")))?;
        if ![GRAPH, GRAPH_APP].contains(&claims.audience.trim_end_matches('/')) {
            return Err(GraphError::unauthenticated("Access token validation failure. Invalid audience."));
        }
        if now.timestamp() >= claims.expires {
            return Err(GraphError::unauthenticated("Lifetime validation failed, the token is expired."));
        }
        if now.timestamp() + 300 < claims.not_before {
            return Err(GraphError::unauthenticated("Lifetime validation failed, the token is not yet valid."));
        }
        Ok(claims)
    }

    /// Whether a bearer token is one for a vault, and alive.
    pub async fn opens_vault(&self, header: Option<&str>, audience: &str, now: DateTime<Utc>) -> bool {
        let Some(("Bearer", token)) = header.and_then(|header| header.split_once(' ')) else { return false };
        let claims = self.verify(token).await;
        claims.is_ok_and(|claims| claims.audience == audience && now.timestamp() < claims.expires)
    }

    /// Checks the signature of a token of this tenant and reads its claims; lifetime and audience are the
    /// caller's business.
    async fn verify(&self, token: &str) -> Result<Arc<Claims>, &'static str> {
        let known = |list: &VecDeque<(Box<str>, Arc<Claims>)>| {
            list.iter().find(|(known, _)| **known == *token).map(|(_, claims)| Arc::clone(claims))
        };
        if let Some(claims) = known(&self.verified.lock().unwrap_or_else(PoisonError::into_inner)) {
            return Ok(claims);
        }
        let keys = self.keys.lock().await.clone();
        let body = keys.iter().find_map(|keys| keys.open(token)).ok_or("the signature is not valid")?;
        let claims = Arc::new(read_claims(&body));
        let mut verified = self.verified.lock().unwrap_or_else(PoisonError::into_inner);
        if verified.len() >= MAX_TOKENS {
            verified.pop_front();
        }
        verified.push_back((token.into(), Arc::clone(&claims)));
        Ok(claims)
    }
}

const DEFAULT_LIFETIME: i64 = 3_599;

fn read_claims(body: &Value) -> Claims {
    let text = |name: &str| body.get(name).and_then(Value::as_str).map(str::to_owned);
    let roles = body.get("roles").and_then(Value::as_array).into_iter().flatten();
    let scopes = text("scp");
    Claims {
        client_id: text("appid").or_else(|| text("azp")).unwrap_or_default(),
        user: scopes.as_ref().and(text("oid")),
        permissions: match &scopes {
            Some(scopes) => scopes.split(' ').map(str::to_owned).collect(),
            None => roles.filter_map(Value::as_str).map(str::to_owned).collect(),
        },
        audience: text("aud").unwrap_or_default(),
        not_before: body.get("nbf").and_then(Value::as_i64).unwrap_or_default(),
        expires: body.get("exp").and_then(Value::as_i64).unwrap_or_default(),
    }
}

/// Answers a request to the sign-in service; `None` if the address is none of its.
pub async fn route(simulator: &Simulator, request: &Request) -> Option<Reply> {
    let segments: Vec<&str> = request.path.split('/').filter(|s| !s.is_empty()).collect();
    let tenant = match segments.as_slice() {
        ["msi", "token"] => return Some(identity::token(simulator, request).await),
        [tenant, "oauth2" | "v2.0" | "discovery", ..] | [tenant, "kerberos"] => (*tenant).to_owned(),
        ["common" | "organizations", ..] => "common".to_owned(),
        _ => return None,
    };
    let (known, domain) = simulator.read(|t| (t.tenant_id.clone(), t.domain.clone()));
    let same =
        [known.as_str(), domain.as_str(), "common", "organizations"].iter().any(|n| n.eq_ignore_ascii_case(&tenant));
    if !same {
        let why = format!(
            "Tenant '{tenant}' not found. Check to make sure you have the correct tenant ID and are signing into the correct cloud."
        );
        return Some(errors::answer(simulator, 400, "invalid_request", 90002, &why));
    }
    let reply = match segments.get(1..).unwrap_or_default() {
        ["v2.0", ".well-known", "openid-configuration"] | [".well-known", "openid-configuration"] => {
            discovery(request, &known)
        }
        ["discovery", "v2.0", "keys"] | ["discovery", "keys"] => match simulator.entra.published().await {
            Ok(keys) => Reply::json(200, &keys),
            Err(error) => Reply::text(500, error.to_string()),
        },
        ["oauth2", "v2.0", "token"] => grants::token(simulator, request, &known).await,
        ["oauth2", "v2.0", "authorize"] => pages::authorize(simulator, request),
        ["oauth2", "v2.0", "devicecode"] => device::start(simulator, request, &known),
        ["oauth2", "deviceauth"] | ["oauth2", "v2.0", "deviceauth"] => pages::device(simulator, request),
        _ => return None,
    };
    Some(reply)
}

/// Where tokens of this tenant say they come from.
pub fn issuer(origin: &str, tenant: &str) -> String {
    format!("{origin}/{tenant}/v2.0")
}

fn discovery(request: &Request, tenant: &str) -> Reply {
    let origin = &request.origin;
    let base = format!("{origin}/{tenant}");
    Reply::json(
        200,
        &json!({
            "issuer": issuer(origin, tenant),
            "authorization_endpoint": format!("{base}/oauth2/v2.0/authorize"),
            "token_endpoint": format!("{base}/oauth2/v2.0/token"),
            "device_authorization_endpoint": format!("{base}/oauth2/v2.0/devicecode"),
            "jwks_uri": format!("{base}/discovery/v2.0/keys"),
            "token_endpoint_auth_methods_supported": ["client_secret_post", "private_key_jwt", "client_secret_basic"],
            "response_modes_supported": ["query"],
            "response_types_supported": ["code"],
            "subject_types_supported": ["pairwise"],
            "id_token_signing_alg_values_supported": ["RS256"],
            "code_challenge_methods_supported": ["S256"],
            "scopes_supported": ["openid", "profile", "email", "offline_access"],
            "claims_supported": ["sub", "iss", "aud", "exp", "iat", "nonce", "preferred_username", "name", "tid", "oid", "ver"],
            "tenant_region_scope": "EU",
            "cloud_instance_name": "microsoftonline.com",
        }),
    )
}
