//! Microsoft Entra ID as far as a Graph program meets it: the token endpoint with its grants, OIDC discovery and
//! keys, sign-in and consent pages, device codes, a second tenant, and the managed identity endpoint of App Service.

mod authorize;
mod clients;
mod consent;
mod device;
pub mod forge;
mod grants;
mod identity;
mod keys;
pub mod knobs;
mod pages;
mod people;
mod refusal;
pub mod rights;
mod sessions;
mod tokens;

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use chrono::{DateTime, Utc};
use serde_json::{Value, json};

use super::faults::{Candidate, Fault, FaultKind, Service};
use super::graph::GraphError;
use super::http::{Reply, Request};
use super::simulator::Simulator;
use keys::Keys;
use people::Directory;
use refusal::Refusal;
use sessions::{Challenge, Code, Device, Lifetimes, Refresh, Sessions, SignIn};

pub use clients::{Platform, Redirects};
pub use rights::Rights;

/// Microsoft Graph, as a token's audience.
pub const GRAPH: &str = "https://graph.microsoft.com";
/// The application id of Microsoft Graph, which is an accepted audience too.
const GRAPH_APP: &str = "00000003-0000-0000-c000-000000000000";
/// Where Entra's own addresses begin, which clients may put into their assertions.
const ISSUED_FOR: &str = "https://login.microsoftonline.com";
/// Verified tokens kept, so that a signature is not checked on every call.
const MAX_TOKENS: usize = 256;

/// What a request may do, read from its access token.
#[derive(Clone, Debug, Default)]
pub struct Claims {
    pub client_id: String,
    /// Object id of the signed-in user; `None` for an application acting as itself.
    pub user: Option<String>,
    /// Roles of an application, or scopes of a user.
    pub permissions: Vec<String>,
    pub audience: String,
    pub not_before: i64,
    pub expires: i64,
    /// When the token was made, in changes of the tenant.
    pub born: Option<u64>,
    /// The client understands claims challenges: Graph evaluates the token continuously.
    pub evaluated: bool,
    pub mfa: bool,
    /// Neither a person's access token nor an id token.
    pub is_application: bool,
}

/// The sign-in service of the tenant.
pub struct Entra {
    /// The signing keys, the one in use last.
    keys: tokio::sync::Mutex<Vec<Arc<Keys>>>,
    /// The signing key of the second tenant.
    partner: tokio::sync::OnceCell<Arc<Keys>>,
    sessions: Mutex<Sessions>,
    verified: Mutex<VecDeque<(Box<str>, Arc<Claims>)>>,
    lifetimes: Mutex<Lifetimes>,
}

impl Entra {
    /// A service without keys; they are made when the first token is wanted.
    pub fn new() -> Self {
        Self {
            keys: tokio::sync::Mutex::default(),
            partner: tokio::sync::OnceCell::new(),
            sessions: Mutex::default(),
            verified: Mutex::default(),
            lifetimes: Mutex::default(),
        }
    }

    fn sessions(&self) -> std::sync::MutexGuard<'_, Sessions> {
        self.sessions.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How long new tokens live.
    pub fn lifetimes(&self) -> Lifetimes {
        *self.lifetimes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sets how long new tokens live.
    pub fn set_lifetimes(&self, lifetimes: Lifetimes) {
        *self.lifetimes.lock().unwrap_or_else(PoisonError::into_inner) = lifetimes;
    }

    /// Forgets codes and refresh tokens; keys and issued access tokens stay good.
    pub fn reset(&self) {
        *self.sessions() = Sessions::default();
        self.set_lifetimes(Lifetimes::default());
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

    /// The signing key of one of the two tenants.
    async fn keys_of(&self, directory: &Directory) -> anyhow::Result<Arc<Keys>> {
        if directory.first {
            return self.keys().await;
        }
        let make = || async { anyhow::Ok(Arc::new(tokio::task::spawn_blocking(Keys::generate).await??)) };
        self.partner.get_or_try_init(make).await.cloned()
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

fn read_claims(body: &Value) -> Claims {
    let text = |name: &str| body.get(name).and_then(Value::as_str).map(str::to_owned);
    let roles = body.get("roles").and_then(Value::as_array).into_iter().flatten();
    let lists = |name: &str, value: &str| {
        let list = body.get(name).and_then(Value::as_array).into_iter().flatten();
        list.filter_map(Value::as_str).any(|item| item.eq_ignore_ascii_case(value))
    };
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
        born: text("uti").as_deref().and_then(tokens::born),
        evaluated: lists("xms_cc", "cp1"),
        mfa: lists("amr", "mfa"),
        is_application: body.get("roles").is_some() || text("idtyp").as_deref() == Some("app"),
    }
}

/// Continuous access evaluation: a token of a client that understands claims challenges is worth nothing once its person
/// was disabled or deleted or the sessions were ended. Tokens of other clients live until they expire.
pub fn evaluate(simulator: &Simulator, claims: &Claims, now: DateTime<Utc>) -> Result<(), GraphError> {
    let Some(user) = claims.user.as_deref().filter(|_| claims.evaluated) else { return Ok(()) };
    simulator.read(|t| {
        let account = t.users.get(user).map(super::table::Entity::object);
        if account.is_none_or(|account| account.get("accountEnabled") == Some(&Value::Bool(false))) {
            return Err(GraphError::challenge("AccountDisabled", now));
        }
        match claims.born {
            Some(born) if !t.rights.holds(user, rights::Held::Access, born) => {
                Err(GraphError::challenge("TokenIssuedBeforeRevocationTimestamp", now))
            }
            _ => Ok(()),
        }
    })
}

/// Answers a request to the sign-in service, and counts it; `None` if the address is none of its.
pub async fn route(simulator: &Simulator, request: &Request) -> Option<Reply> {
    let reply = attempt(simulator, request).await?;
    let status = match &reply {
        Reply::Answer(response) => response.status().as_str().to_owned(),
        Reply::Drop | Reply::Hold(_) => "none".to_owned(),
    };
    simulator.stats(|s| *s.entra.entry(operation(request)).or_default().entry(status).or_default() += 1);
    Some(reply)
}

/// The name of a request in the statistics: the tenant is replaced, and a token request names its grant.
fn operation(request: &Request) -> String {
    let form = request.form();
    let path = match request.path.trim_start_matches('/').split_once('/') {
        Some((tenant, rest)) if tenant != "msi" => format!("/{{tenant}}/{rest}"),
        _ => request.path.clone(),
    };
    let grant = form.get("grant_type").and_then(|grant| grant.rsplit(':').next()).filter(|_| path.ends_with("/token"));
    format!("{} {path}{}", request.method, grant.map(|grant| format!(" {grant}")).unwrap_or_default())
}

/// One attempt: rules that name an address of Entra (`path_contains`) have their way first.
async fn attempt(simulator: &Simulator, request: &Request) -> Option<Reply> {
    let segments: Vec<&str> = request.path.split('/').filter(|s| !s.is_empty()).collect();
    let tenant = match segments.as_slice() {
        ["msi", "token"] | ["common" | "organizations", ..] => "common",
        [tenant, "oauth2" | "v2.0" | "discovery" | "adminconsent", ..] | [tenant, "kerberos"] => tenant,
        _ => return None,
    };
    let call = Candidate {
        method: &request.method,
        path: &request.target,
        in_batch: false,
        is_batch: false,
        service: Service::Entra,
    };
    let Some(fault) = simulator.faults(|f| f.decide(simulator.clock.now(), call)) else {
        return answer(simulator, request, &segments, tenant).await;
    };
    simulator.stats(|s| s.faults += 1);
    if fault.kind == FaultKind::Delay {
        tokio::time::sleep(fault.time()).await;
        return answer(simulator, request, &segments, tenant).await;
    }
    if fault.kind.has_effect() {
        answer(simulator, request, &segments, tenant).await?;
    }
    Some(match fault.kind {
        FaultKind::Status | FaultKind::EffectThenStatus => refused(simulator, &fault),
        FaultKind::DropWithoutEffect | FaultKind::DropWithEffect => Reply::Drop,
        _ => Reply::Hold(fault.time()),
    })
}

/// An answer that a rule gives in Entra's place.
fn refused(simulator: &Simulator, fault: &Fault) -> Reply {
    let words = fault.message.as_deref().unwrap_or(match fault.status {
        429 => "Too many requests were sent. Wait before the next one.",
        _ => "A transient error has occurred. Please try again.",
    });
    let number = if fault.status == 429 { 90_055 } else { 90_033 };
    let refusal = Refusal { status: fault.status, ..Refusal::new("temporarily_unavailable", number, words) };
    let refusal = match fault.code.as_deref() {
        Some("invalid_grant") => refusal.named("invalid_grant"),
        Some("interaction_required") => refusal.named("interaction_required"),
        Some("server_error") => refusal.named("server_error"),
        _ => refusal,
    };
    let reply = refusal.reply(simulator);
    match fault.retry_after {
        Some(seconds) => reply.with("retry-after", seconds.to_string()),
        None => reply,
    }
}

async fn answer(simulator: &Simulator, request: &Request, segments: &[&str], tenant: &str) -> Option<Reply> {
    if segments == ["msi", "token"] {
        return Some(identity::token(simulator, request).await);
    }
    let Some(directory) = simulator.read(|t| Directory::named(t, tenant)) else {
        let why = format!(
            "Tenant '{tenant}' not found. Check to make sure you have the correct tenant ID and are signing into the correct cloud."
        );
        return Some(Refusal::new("invalid_request", 90_002, why).reply(simulator));
    };
    let reply = match segments.get(1..).unwrap_or_default() {
        ["v2.0", ".well-known", "openid-configuration"] | [".well-known", "openid-configuration"] => {
            discovery(request, &directory.tenant_id)
        }
        ["discovery", "v2.0", "keys"] | ["discovery", "keys"] => {
            let keys = if directory.first {
                simulator.entra.published().await
            } else {
                simulator.entra.keys_of(&directory).await.map(|keys| json!({"keys": [keys.jwk()]}))
            };
            match keys {
                Ok(keys) => Reply::json(200, &keys),
                Err(error) => Reply::text(500, error.to_string()),
            }
        }
        ["oauth2", "v2.0", "token"] => grants::token(simulator, request, &directory).await,
        ["oauth2", "v2.0", "authorize"] => authorize::authorize(simulator, request, &directory),
        ["v2.0", "adminconsent"] | ["adminconsent"] => authorize::admin_consent(simulator, request, &directory),
        ["oauth2", "v2.0", "logout"] => authorize::logout(simulator, request),
        ["oauth2", "v2.0", "devicecode"] => device::start(simulator, request, &directory),
        ["oauth2", "deviceauth"] | ["oauth2", "v2.0", "deviceauth"] => {
            authorize::device(simulator, request, &directory)
        }
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
            "end_session_endpoint": format!("{base}/oauth2/v2.0/logout"),
            "device_authorization_endpoint": format!("{base}/oauth2/v2.0/devicecode"),
            "jwks_uri": format!("{base}/discovery/v2.0/keys"),
            "token_endpoint_auth_methods_supported": ["client_secret_post", "private_key_jwt", "client_secret_basic"],
            "response_modes_supported": ["query", "fragment", "form_post"],
            "response_types_supported": ["code"],
            "subject_types_supported": ["pairwise"],
            "id_token_signing_alg_values_supported": ["RS256"],
            "code_challenge_methods_supported": ["plain", "S256"],
            "scopes_supported": ["openid", "profile", "email", "offline_access"],
            "claims_supported": ["sub", "iss", "aud", "exp", "iat", "nonce", "preferred_username", "name", "tid", "oid", "ver"],
            "tenant_region_scope": "EU",
            "cloud_instance_name": "microsoftonline.com",
        }),
    )
}
