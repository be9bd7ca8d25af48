//! Access tokens, id tokens and refresh tokens. Tokens for Graph and other Microsoft services have version 1 claims, those
//! for own APIs version 2.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use chrono::{DateTime, TimeDelta, Utc};
use serde_json::{Map, Value, json};

use super::super::http::Request;
use super::super::simulator::Simulator;
use super::super::state::Application;
use super::clients::Platform;
use super::consent::{self, Asked};
use super::people::{Directory, Person};
use super::refusal::Refusal;
use super::{GRAPH, Refresh, SignIn, issuer};

/// What the token endpoint answers.
pub type Granted = Result<Value, Refusal>;

/// A single-page application has to ask for a new sign-in after a day.
const SPA_LIFETIME: i64 = 86_400;

/// A delegated token to be made.
pub struct Order<'a> {
    pub directory: &'a Directory,
    pub app: &'a Application,
    pub sign_in: &'a SignIn,
    pub scope: &'a str,
    pub nonce: Option<&'a str>,
    /// Whether the client said that it understands claims challenges (`cp1`).
    pub capable: bool,
    pub refresh: Family,
}

/// What a refresh token inherits.
#[derive(Clone, Debug)]
pub struct Family {
    pub platform: Platform,
    pub confidential: bool,
    /// The end of all tokens of a single-page application; set with the first.
    pub until: Option<DateTime<Utc>>,
    /// The scopes asked for at first; those of the order if absent.
    pub scope: Option<String>,
}

impl Family {
    /// A first refresh token.
    pub fn new(platform: Platform, confidential: bool) -> Self {
        Self { platform, confidential, until: None, scope: None }
    }
}

/// A token for the application itself; only `.default` can be asked for.
pub async fn application(
    simulator: &Simulator,
    request: &Request,
    directory: &Directory,
    app: &Application,
    scope: &str,
) -> Granted {
    let asked = Asked::parse(scope);
    let resource = match asked.resources.as_slice() {
        [(resource, names)] if *names == [".default"] => resource.clone(),
        _ => {
            return Err(Refusal::new(
                "invalid_scope",
                1_002_012,
                format!(
                    "The provided value for scope {scope} is not valid. Client credential flows must have a scope value with /.default suffixed to the resource identifier (application ID URI)."
                ),
            ));
        }
    };
    let lifetime = simulator.entra.lifetimes().access;
    let mut claims = common(simulator, request, directory, app, &resource, lifetime);
    claims.insert("idtyp".to_owned(), "app".into());
    claims.insert("oid".to_owned(), app.object_id.clone().into());
    claims.insert("sub".to_owned(), app.object_id.clone().into());
    if resource == GRAPH {
        claims.insert("roles".to_owned(), json!(app.roles));
    }
    let token = sign(simulator, directory, claims).await?;
    Ok(json!({"token_type": "Bearer", "expires_in": lifetime, "ext_expires_in": lifetime, "access_token": token}))
}

/// A token for a user, with an id token and a refresh token when they were asked for. Every check of the person, their
/// consent and Conditional Access is here, so no grant leaves one out.
pub async fn delegated(simulator: &Simulator, request: &Request, order: Order<'_>) -> Granted {
    let Order { directory, app, sign_in, scope, .. } = order;
    let asked = Asked::parse(scope);
    let (resource, names) = asked.single(scope)?;
    let (person, names) = simulator.read(|t| {
        let person = directory.person(t, app, &sign_in.user)?;
        let names = consent::granted(t, directory, app, &person, &resource, &names)?;
        t.rights.admit(app, &person, &resource, sign_in.mfa)?;
        Ok::<_, Refusal>((person, names))
    })?;
    let lifetimes = simulator.entra.lifetimes();
    let evaluated = order.capable && resource == GRAPH;
    let lifetime = if evaluated { lifetimes.evaluated } else { lifetimes.access };
    let mut claims = common(simulator, request, directory, app, &resource, lifetime);
    let shown: Vec<String> = asked.oidc.iter().filter(|name| *name != "offline_access").cloned().collect();
    let listed = if resource == GRAPH { [names.as_slice(), &shown].concat() } else { names.clone() };
    let personal = json!({
        "oid": person.id, "sub": pairwise(&person.id, &resource), "name": person.name, "idtyp": "user", "acr": "1",
        "upn": person.upn, "unique_name": person.preferred, "preferred_username": person.preferred,
        "amr": if sign_in.mfa { json!(["pwd", "mfa"]) } else { json!(["pwd"]) }, "scp": listed.join(" "),
    });
    claims.extend(personal.as_object().cloned().unwrap_or_default());
    claims.extend(person.provider.as_ref().map(|idp| ("idp".to_owned(), idp.clone().into())));
    if order.capable {
        claims.insert("xms_cc".to_owned(), json!(["cp1"]));
    }
    let token = sign(simulator, directory, claims).await?;
    let scopes: Vec<String> =
        if resource == GRAPH { listed } else { names.iter().map(|n| format!("{resource}/{n}")).chain(shown).collect() };
    let mut body = json!({"token_type": "Bearer", "scope": scopes.join(" "), "expires_in": lifetime, "ext_expires_in": lifetime, "access_token": token});
    if asked.has("openid") {
        let claims = identity(simulator, request, &order, &asked, &person);
        insert(&mut body, "id_token", sign(simulator, directory, claims).await?);
    }
    if asked.has("offline_access") {
        let (token, expires) = keep(simulator, &order, lifetimes.refresh);
        insert(&mut body, "refresh_token", token);
        if order.refresh.platform == Platform::Spa {
            insert(&mut body, "refresh_token_expires_in", (expires - simulator.clock.now()).num_seconds().max(0));
        }
    }
    Ok(body)
}

/// Makes a refresh token and remembers it; the one it descends from stays good.
fn keep(simulator: &Simulator, order: &Order<'_>, lifetime: i64) -> (String, DateTime<Utc>) {
    let now = simulator.clock.now();
    let spa = order.refresh.platform == Platform::Spa;
    let lifetime = if spa { SPA_LIFETIME.min(lifetime) } else { lifetime };
    let expires = order.refresh.until.unwrap_or(now + TimeDelta::seconds(lifetime));
    let token = simulator.write(|t| format!("1.A{}", t.rng.opaque(64)));
    let refresh = Refresh {
        client_id: order.app.client_id.clone(),
        sign_in: order.sign_in.clone(),
        issued: now,
        expires,
        family: Family {
            until: spa.then_some(expires),
            scope: Some(order.refresh.scope.clone().unwrap_or_else(|| order.scope.to_owned())),
            ..order.refresh.clone()
        },
    };
    simulator.entra.sessions().refresh.insert(token.clone(), refresh);
    (token, expires)
}

fn insert(body: &mut Value, name: &str, value: impl Into<Value>) {
    if let Value::Object(body) = body {
        body.insert(name.to_owned(), value.into());
    }
}

/// The claims of an id token.
fn identity(
    simulator: &Simulator,
    request: &Request,
    order: &Order<'_>,
    asked: &Asked,
    person: &Person,
) -> Map<String, Value> {
    let Order { directory, app, sign_in, .. } = order;
    let now = simulator.clock.now().timestamp();
    let claims = json!({
        "aud": app.client_id, "iss": issuer(&request.origin, &directory.tenant_id), "ver": "2.0", "tid": directory.tenant_id,
        "iat": now, "nbf": now, "exp": now + 3_600, "auth_time": sign_in.at.timestamp(),
        "sub": pairwise(&person.id, &app.client_id), "uti": uuid::Uuid::new_v4().simple().to_string(),
    });
    let mut claims = claims.as_object().cloned().unwrap_or_default();
    let mut add = |name: &str, value: Option<&str>| {
        claims.extend(value.map(|value| (name.to_owned(), value.into())));
    };
    if asked.has("profile") {
        add("oid", Some(&person.id));
        add("name", Some(&person.name));
        add("preferred_username", Some(&person.preferred));
    }
    if asked.has("email") {
        add("email", person.mail.as_deref());
    }
    add("idp", person.provider.as_deref());
    add("nonce", order.nonce);
    claims
}

/// A subject that no other application sees.
fn pairwise(user: &str, audience: &str) -> String {
    let text = format!("{user}|{audience}");
    URL_SAFE_NO_PAD.encode(aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, text.as_bytes()))
}

/// The claims that every access token has.
fn common(
    simulator: &Simulator,
    request: &Request,
    directory: &Directory,
    app: &Application,
    resource: &str,
    lifetime: i64,
) -> Map<String, Value> {
    let now = simulator.clock.now().timestamp();
    let (tenant, born) = (&directory.tenant_id, simulator.read(|t| t.changes));
    let microsoft = resource.starts_with("https://");
    let claims = json!({
        "aud": resource,
        "iss": if microsoft { format!("https://sts.windows.net/{tenant}/") } else { issuer(&request.origin, tenant) },
        "iat": now, "nbf": now, "exp": now + lifetime.max(0),
        "appid": app.client_id, "azp": app.client_id, "app_displayname": app.display_name,
        "tid": tenant, "ver": if microsoft { "1.0" } else { "2.0" },
        // The token's id says when it was made, in changes of the tenant: see `Rights::holds`.
        "uti": format!("{}{born:016x}", uuid::Uuid::new_v4().simple()),
    });
    claims.as_object().cloned().unwrap_or_default()
}

/// When a token was made, in changes of the tenant; none for one that was forged or made elsewhere.
pub fn born(uti: &str) -> Option<u64> {
    let (_, born) = (uti.len() == 48).then(|| uti.split_at_checked(32)).flatten()?;
    u64::from_str_radix(born, 16).ok()
}

async fn sign(simulator: &Simulator, directory: &Directory, claims: Map<String, Value>) -> Result<String, Refusal> {
    let failed =
        |error: anyhow::Error| Refusal { status: 500, ..Refusal::new("server_error", 50_000, error.to_string()) };
    simulator.entra.keys_of(directory).await.map_err(failed)?.sign(&Value::Object(claims)).map_err(failed)
}
