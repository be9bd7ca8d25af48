//! POST /{tenant}/oauth2/v2.0/token: who is the client, which grant, for which audience, and the token itself.
//! Long because the grants share everything but a few lines each, and are best compared side by side.

use base64::{
    Engine,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
};
use serde_json::{Map, Value, json};

use super::super::http::{Reply, Request};
use super::super::simulator::Simulator;
use super::super::state::Application;
use super::{GRAPH, Refresh, device, errors, issuer, keys};

const JWT_BEARER: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";
const OBO: &str = "urn:ietf:params:oauth:grant-type:jwt-bearer";
const DEVICE: &str = "urn:ietf:params:oauth:grant-type:device_code";

/// A refusal: status, OAuth error, AADSTS number, words.
pub struct Refusal(pub u16, pub &'static str, pub u32, pub String);

type Granted = Result<Value, Refusal>;

/// Answers the token endpoint.
pub async fn token(simulator: &Simulator, request: &Request, tenant: &str) -> Reply {
    let form = request.form();
    let grant = form.get("grant_type").unwrap_or_default();
    let granted = match client(
        simulator,
        request,
        tenant,
        grant == DEVICE || grant == "authorization_code" || grant == "refresh_token",
    )
    .await
    {
        Err(refusal) => Err(refusal),
        Ok(client) => match grant {
            "client_credentials" => {
                application(simulator, request, &client, form.get("scope").unwrap_or_default()).await
            }
            OBO => on_behalf_of(simulator, request, &client).await,
            "authorization_code" => code(simulator, request, &client).await,
            "refresh_token" => refresh(simulator, request, &client).await,
            DEVICE => match device::redeem(simulator, form.get("device_code").unwrap_or_default(), &client.client_id) {
                Ok((user, scope)) => delegated(simulator, request, &client, &user, &scope, None).await,
                Err(refusal) => Err(refusal),
            },
            "" => Err(Refusal(
                400,
                "invalid_request",
                900144,
                "The request body must contain the following parameter: 'grant_type'.".to_owned(),
            )),
            other => Err(Refusal(
                400,
                "unsupported_grant_type",
                70003,
                format!("The app requested an unsupported grant type '{other}'."),
            )),
        },
    };
    match granted {
        Ok(body) => {
            simulator.stats(|s| s.tokens_issued += 1);
            Reply::json(200, &body).with("cache-control", "no-store").with("pragma", "no-cache")
        }
        Err(Refusal(status, error, number, words)) => errors::answer(simulator, status, error, number, &words),
    }
}

/// Finds and authenticates the client application. Public clients may do without a secret where the user's
/// own proof (a code with PKCE, a device code, a refresh token) takes its place.
async fn client(
    simulator: &Simulator,
    request: &Request,
    tenant: &str,
    may_be_public: bool,
) -> Result<Application, Refusal> {
    let form = request.form();
    let basic = request.header("authorization").and_then(|h| h.strip_prefix("Basic ")).and_then(|b| {
        let text = String::from_utf8(STANDARD.decode(b.trim()).ok()?).ok()?;
        let (id, secret) = text.split_once(':')?;
        Some((super::super::graph::decode(id), super::super::graph::decode(secret)))
    });
    let id = form.get("client_id").map(str::to_owned).or_else(|| basic.as_ref().map(|(id, _)| id.clone()));
    let Some(id) = id else {
        return Err(Refusal(
            400,
            "invalid_request",
            900144,
            "The request body must contain the following parameter: 'client_id'.".to_owned(),
        ));
    };
    let Some(app) = simulator.read(|t| t.application(&id).cloned()) else {
        return Err(Refusal(
            400,
            "unauthorized_client",
            700016,
            format!("Application with identifier '{id}' was not found in the directory."),
        ));
    };
    let secret = form.get("client_secret").map(str::to_owned).or(basic.map(|(_, secret)| secret));
    if let Some(secret) = secret {
        return if secret == app.secret {
            Ok(app)
        } else {
            Err(Refusal(
                401,
                "invalid_client",
                7000215,
                format!(
                    "Invalid client secret provided. Ensure the secret being sent in the request is the client secret value, not the client secret ID, for a secret added to app '{id}'."
                ),
            ))
        };
    }
    if let Some(assertion) = form.get("client_assertion") {
        if form.get("client_assertion_type") != Some(JWT_BEARER) {
            return Err(Refusal(
                400,
                "invalid_request",
                900144,
                "The request body must contain the following parameter: 'client_assertion_type'.".to_owned(),
            ));
        }
        return assertion_holds(simulator, request, tenant, &app, assertion).await.map(|()| app);
    }
    if may_be_public {
        return Ok(app);
    }
    Err(Refusal(
        401,
        "invalid_client",
        7000218,
        "The request body must contain the following parameter: 'client_assertion' or 'client_secret'.".to_owned(),
    ))
}

/// A client assertion is a JWT of the client itself (iss = sub = client id, aud = this endpoint), or a token of
/// a managed identity that the application trusts.
async fn assertion_holds(
    simulator: &Simulator,
    request: &Request,
    tenant: &str,
    app: &Application,
    assertion: &str,
) -> Result<(), Refusal> {
    let refuse = |number, words: &str| Err(Refusal(401, "invalid_client", number, words.to_owned()));
    let Some(claims) = keys::claims_of(assertion) else {
        return refuse(50027, "JWT token is invalid or malformed.");
    };
    let text = |name: &str| claims.get(name).and_then(Value::as_str).unwrap_or_default();
    if claims.get("exp").and_then(Value::as_i64).is_some_and(|exp| exp <= simulator.clock.now().timestamp()) {
        return refuse(700024, "Client assertion is not within its valid time range.");
    }
    let own = text("iss").eq_ignore_ascii_case(&app.client_id) && text("sub").eq_ignore_ascii_case(&app.client_id);
    let audiences = [
        format!("{}/{tenant}/oauth2/v2.0/token", request.origin),
        format!("{}/{tenant}/v2.0", request.origin),
        format!("https://login.microsoftonline.com/{tenant}/oauth2/v2.0/token"),
        format!("https://login.microsoftonline.com/{tenant}/v2.0"),
    ];
    if own && audiences.iter().any(|a| a == text("aud")) {
        return Ok(());
    }
    if own {
        return refuse(700027, "Client assertion contains an invalid audience.");
    }
    let federated = text("aud") == "api://AzureADTokenExchange" && simulator.entra.verify(assertion).await.is_ok();
    if federated {
        Ok(())
    } else {
        refuse(700213, "No matching federated identity record found for presented assertion.")
    }
}

/// The resource and the names in a scope parameter: `https://graph.microsoft.com/User.Read` has both.
fn resource_of(scope: &str) -> (String, Vec<String>) {
    let mut resource = None;
    let mut names = Vec::new();
    for part in scope.split_whitespace() {
        if ["openid", "profile", "email", "offline_access"].contains(&part) {
            continue;
        }
        match part.rsplit_once('/') {
            Some((owner, name)) if owner.contains(':') => {
                resource.get_or_insert_with(|| owner.trim_end_matches('/').to_owned());
                names.push(name.to_owned());
            }
            _ => names.push(part.to_owned()),
        }
    }
    (resource.unwrap_or_else(|| GRAPH.to_owned()), names)
}

/// A token for the application itself; only `.default` can be asked for.
pub async fn application(simulator: &Simulator, request: &Request, app: &Application, scope: &str) -> Granted {
    let (resource, names) = resource_of(scope);
    if names != [".default"] {
        return Err(Refusal(
            400,
            "invalid_scope",
            1002012,
            format!(
                "The provided value for scope {scope} is not valid. Client credential flows must have a scope value with /.default suffixed to the resource identifier (application ID URI)."
            ),
        ));
    }
    let lifetime = simulator.entra.lifetime();
    let mut claims = common(simulator, request, app, &resource, lifetime);
    claims.insert("idtyp".to_owned(), "app".into());
    claims.insert("oid".to_owned(), app.object_id.clone().into());
    claims.insert("sub".to_owned(), app.object_id.clone().into());
    if resource == GRAPH {
        claims.insert("roles".to_owned(), json!(app.roles));
    }
    let token = sign(simulator, claims).await?;
    Ok(json!({"token_type": "Bearer", "expires_in": lifetime, "ext_expires_in": lifetime, "access_token": token}))
}

/// A token for a user, with an id token and a refresh token when they were asked for.
async fn delegated(
    simulator: &Simulator,
    request: &Request,
    app: &Application,
    user: &str,
    scope: &str,
    nonce: Option<&str>,
) -> Granted {
    let (resource, mut names) = resource_of(scope);
    let Some((user, profile)) = simulator.read(|t| t.find_user(user)) else {
        return Err(Refusal(
            400,
            "invalid_grant",
            50034,
            format!("The user account {user} does not exist in the directory."),
        ));
    };
    if resource == GRAPH {
        if names.is_empty() || names.iter().any(|n| n == ".default") {
            names.clone_from(&app.scopes);
        }
        let missing: Vec<&String> = names.iter().filter(|n| !app.scopes.contains(n)).collect();
        if let Some(name) = missing.first() {
            return Err(Refusal(
                400,
                "invalid_grant",
                65001,
                format!(
                    "The user or administrator has not consented to use the application with ID '{}'. The permission '{name}' was not granted.",
                    app.client_id
                ),
            ));
        }
    } else if names.iter().any(|n| n == ".default") {
        names = vec!["user_impersonation".to_owned()];
    }
    let text = |name: &str| profile.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
    let lifetime = simulator.entra.lifetime();
    let mut claims = common(simulator, request, app, &resource, lifetime);
    let personal = [
        ("oid", user.clone()),
        ("sub", user.clone()),
        ("upn", text("userPrincipalName")),
        ("preferred_username", text("userPrincipalName")),
        ("name", text("displayName")),
        ("idtyp", "user".to_owned()),
    ];
    let mut id_claims = claims.clone();
    for (name, value) in personal {
        claims.insert(name.to_owned(), value.clone().into());
        id_claims.insert(name.to_owned(), value.into());
    }
    claims.insert("scp".to_owned(), names.join(" ").into());
    let token = sign(simulator, claims).await?;
    let shown: Vec<String> =
        names.iter().map(|n| if resource == GRAPH { n.clone() } else { format!("{resource}/{n}") }).collect();
    let mut body = json!({"token_type": "Bearer", "scope": shown.join(" "), "expires_in": lifetime, "ext_expires_in": lifetime, "access_token": token});
    let asked = |name: &str| scope.split_whitespace().any(|s| s == name);
    if asked("openid") {
        id_claims.insert("aud".to_owned(), app.client_id.clone().into());
        id_claims.insert("ver".to_owned(), "2.0".into());
        id_claims.insert("iss".to_owned(), issuer(&request.origin, &simulator.read(|t| t.tenant_id.clone())).into());
        if let Some(nonce) = nonce {
            id_claims.insert("nonce".to_owned(), nonce.into());
        }
        let id_token = sign(simulator, id_claims).await?;
        insert(&mut body, "id_token", id_token);
    }
    if asked("offline_access") {
        let refresh = simulator.write(|t| t.rng.opaque(64));
        let kept = Refresh { client_id: app.client_id.clone(), user, scope: scope.to_owned() };
        simulator.entra.sessions().refresh.insert(refresh.clone(), kept);
        insert(&mut body, "refresh_token", refresh);
    }
    Ok(body)
}

fn insert(body: &mut Value, name: &str, token: String) {
    if let Value::Object(body) = body {
        body.insert(name.to_owned(), token.into());
    }
}

/// Tokens for Graph and other Microsoft services have version 1 claims, those for own APIs version 2.
fn common(
    simulator: &Simulator,
    request: &Request,
    app: &Application,
    resource: &str,
    lifetime: i64,
) -> Map<String, Value> {
    let now = simulator.clock.now().timestamp();
    let tenant = simulator.read(|t| t.tenant_id.clone());
    let microsoft = resource.starts_with("https://");
    let claims = json!({
        "aud": resource,
        "iss": if microsoft { format!("https://sts.windows.net/{tenant}/") } else { issuer(&request.origin, &tenant) },
        "iat": now, "nbf": now, "exp": now + lifetime.max(0),
        "appid": app.client_id, "azp": app.client_id, "app_displayname": app.display_name,
        "tid": tenant, "ver": if microsoft { "1.0" } else { "2.0" },
        "uti": uuid::Uuid::new_v4().simple().to_string(),
    });
    claims.as_object().cloned().unwrap_or_default()
}

async fn sign(simulator: &Simulator, claims: Map<String, Value>) -> Result<String, Refusal> {
    let failed = |error: anyhow::Error| Refusal(500, "server_error", 50000, error.to_string());
    simulator.entra.keys().await.map_err(failed)?.sign(&Value::Object(claims)).map_err(failed)
}

/// On behalf of: the assertion is a user's token for the calling API, made by this tenant.
async fn on_behalf_of(simulator: &Simulator, request: &Request, app: &Application) -> Granted {
    let form = request.form();
    if form.get("requested_token_use") != Some("on_behalf_of") {
        return Err(Refusal(
            400,
            "invalid_request",
            900144,
            "The request body must contain the following parameter: 'requested_token_use'.".to_owned(),
        ));
    }
    let assertion = form.get("assertion").unwrap_or_default();
    let refuse = |number, words: String| Err(Refusal(400, "invalid_grant", number, words));
    let claims = match simulator.entra.verify(assertion).await {
        Ok(claims) => claims,
        Err(why) => return refuse(50013, format!("Assertion failed signature validation: {why}.")),
    };
    if claims.expires <= simulator.clock.now().timestamp() {
        return refuse(500133, "Assertion is not within its valid time range. Ensure that the access token is not expired before using it for user assertion.".to_owned());
    }
    let bare = claims.audience.trim_start_matches("api://");
    if !bare.eq_ignore_ascii_case(&app.client_id) {
        return refuse(
            50013,
            format!(
                "Assertion audience claim does not match the required value: the token is for '{}', not for this application.",
                claims.audience
            ),
        );
    }
    match &claims.user {
        Some(user) => delegated(simulator, request, app, user, form.get("scope").unwrap_or_default(), None).await,
        None => refuse(50013, "Assertion contains no user: only tokens with a scope can be exchanged.".to_owned()),
    }
}

/// Redeems an authorization code; with PKCE the verifier has to fit.
async fn code(simulator: &Simulator, request: &Request, app: &Application) -> Granted {
    let form = request.form();
    let code = simulator.entra.sessions().codes.remove(form.get("code").unwrap_or_default());
    let refuse = |number, words: &str| Err(Refusal(400, "invalid_grant", number, words.to_owned()));
    let Some(code) = code else {
        return refuse(70008, "The provided authorization code is expired, was redeemed already, or never existed.");
    };
    if code.expires < simulator.clock.now() {
        return refuse(70008, "The provided authorization code or refresh token has expired due to inactivity.");
    }
    if code.client_id != app.client_id {
        return refuse(700005, "The provided authorization code was issued to another application.");
    }
    if form.get("redirect_uri").is_some_and(|uri| uri != code.redirect_uri) {
        return refuse(
            50011,
            "The redirect URI specified in the request does not match the one the code was issued for.",
        );
    }
    if let Some(challenge) = &code.challenge {
        let verifier = form.get("code_verifier").unwrap_or_default();
        let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, verifier.as_bytes());
        if URL_SAFE_NO_PAD.encode(digest.as_ref()) != *challenge {
            return refuse(
                501481,
                "The Code_Verifier does not match the code_challenge supplied in the authorization request.",
            );
        }
    } else if form.get("client_secret").is_none() && form.get("client_assertion").is_none() {
        return Err(Refusal(
            401,
            "invalid_client",
            7000218,
            "The request body must contain 'client_secret', 'client_assertion' or a PKCE 'code_verifier'.".to_owned(),
        ));
    }
    let scope = form.get("scope").unwrap_or(&code.scope);
    delegated(simulator, request, app, &code.user, scope, code.nonce.as_deref()).await
}

/// Redeems a refresh token, which is replaced by the one in the answer.
async fn refresh(simulator: &Simulator, request: &Request, app: &Application) -> Granted {
    let form = request.form();
    let known = simulator.entra.sessions().refresh.remove(form.get("refresh_token").unwrap_or_default());
    match known {
        Some(known) if known.client_id == app.client_id => {
            let wanted = form.get("scope").unwrap_or(&known.scope);
            let scope =
                if wanted.contains("offline_access") { wanted.to_owned() } else { format!("{wanted} offline_access") };
            delegated(simulator, request, app, &known.user, &scope, None).await
        }
        _ => Err(Refusal(
            400,
            "invalid_grant",
            70000,
            "The provided refresh token is malformed, was used already or is not valid for this application."
                .to_owned(),
        )),
    }
}
