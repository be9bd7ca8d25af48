//! POST /{tenant}/oauth2/v2.0/token: which grant, and whether it holds. The tokens themselves are made in `tokens`.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use chrono::SecondsFormat;
use serde_json::Value;

use super::super::http::{Form, Reply, Request};
use super::super::simulator::Simulator;
use super::clients::{Client, Platform, client};
use super::people::Directory;
use super::refusal::Refusal;
use super::rights::Held;
use super::tokens::{self, Family, Granted, Order, application};
use super::{Challenge, Code, SignIn, device};

const OBO: &str = "urn:ietf:params:oauth:grant-type:jwt-bearer";
const DEVICE: &str = "urn:ietf:params:oauth:grant-type:device_code";

/// Answers the token endpoint.
pub async fn token(simulator: &Simulator, request: &Request, directory: &Directory) -> Reply {
    let reply = match grant(simulator, request, directory).await {
        Ok(body) => {
            simulator.stats(|s| s.tokens_issued += 1);
            Reply::json(200, &body).with("cache-control", "no-store").with("pragma", "no-cache")
        }
        Err(refusal) => refusal.reply(simulator),
    };
    match request.header("origin") {
        Some(origin) => reply.with("access-control-allow-origin", origin),
        None => reply,
    }
}

async fn grant(simulator: &Simulator, request: &Request, directory: &Directory) -> Granted {
    if request.header("content-type").is_some_and(|kind| !kind.starts_with("application/x-www-form-urlencoded")) {
        return Err(Refusal::malformed("invalid_request"));
    }
    let form = request.form();
    let client = client(simulator, request, directory).await?;
    match form.get("grant_type").unwrap_or_default() {
        "client_credentials" => {
            client.prove()?;
            application(simulator, request, directory, &client.app, form.get("scope").unwrap_or_default()).await
        }
        OBO => on_behalf_of(simulator, request, directory, &client).await,
        "authorization_code" => code(simulator, request, directory, &client).await,
        "refresh_token" => refresh(simulator, request, directory, &client).await,
        DEVICE => device_code(simulator, request, directory, &client).await,
        "" => Err(Refusal::missing("grant_type")),
        other => Err(Refusal::new(
            "unsupported_grant_type",
            70_003,
            format!("The app requested an unsupported grant type '{other}'."),
        )),
    }
}

/// The claims parameter: what the client can do, and how fresh a sign-in has to be.
#[derive(Clone, Copy, Debug, Default)]
pub struct Demand {
    /// The client understands claims challenges.
    pub capable: bool,
    /// A sign-in from before this instant is not good enough.
    pub not_before: Option<i64>,
}

impl Demand {
    /// Reads the parameter of a request.
    pub fn of(parameters: &Form) -> Result<Self, Refusal> {
        let Some(text) = parameters.get("claims") else { return Ok(Self::default()) };
        let claims: Value = serde_json::from_str(text).map_err(|_| Refusal::malformed("invalid_request"))?;
        let capabilities = claims.pointer("/access_token/xms_cc/values").and_then(Value::as_array);
        let cp1 = |value: &Value| value.as_str().is_some_and(|value| value.eq_ignore_ascii_case("cp1"));
        let not_before = claims.pointer("/access_token/nbf/value");
        Ok(Self {
            capable: capabilities.is_some_and(|values| values.iter().any(cp1)),
            not_before: not_before.and_then(|at| at.as_i64().or_else(|| at.as_str()?.parse().ok())),
        })
    }
}

/// On behalf of: the assertion is a user's access token for the calling API, made by this tenant.
async fn on_behalf_of(simulator: &Simulator, request: &Request, directory: &Directory, client: &Client) -> Granted {
    client.prove()?;
    let (form, app) = (request.form(), &client.app);
    if form.get("requested_token_use") != Some("on_behalf_of") {
        return Err(Refusal::missing("requested_token_use"));
    }
    let assertion = form.get("assertion").ok_or_else(|| Refusal::missing("assertion"))?;
    let scope = form.get("scope").ok_or_else(|| Refusal::missing("scope"))?;
    let claims = simulator.entra.verify(assertion).await;
    let claims = claims
        .map_err(|why| Refusal::grant(50_013, format!("Assertion failed signature validation. [Reason - {why}.]")))?;
    let bare = claims.audience.trim_start_matches("api://");
    let own = bare.eq_ignore_ascii_case(&app.client_id)
        || app.identifier_uris.iter().any(|uri| uri.eq_ignore_ascii_case(&claims.audience));
    if !own {
        let words = format!(
            "Assertion audience claim does not match the required value. The audience in the assertion was '{}' and the expected audience is one of the Application Uris of this application with App ID '{}'. The downstream client must request a token for the expected audience (the application that made the OBO request) and this application should use that token as the assertion.",
            claims.audience, app.client_id
        );
        return Err(Refusal::grant(500_131, words));
    }
    let Some(user) = &claims.user else {
        return Err(if claims.is_application {
            let words =
                format!("Application '{}' is not allowed to make application on-behalf-of calls.", claims.client_id);
            Refusal::grant(7_000_114, words)
        } else {
            Refusal::grant(240_002, format!("Input id_token cannot be used as '{OBO}' grant."))
        });
    };
    let now = simulator.clock.now();
    if claims.expires <= now.timestamp() {
        return Err(Refusal::grant(
            500_133,
            "Assertion is not within its valid time range. Ensure that the access token is not expired before using it for user assertion, or request a new token.",
        ));
    }
    let born = claims.born.unwrap_or_else(|| simulator.read(|t| t.changes));
    let sign_in = SignIn { tenant: directory.tenant_id.clone(), user: user.clone(), born, at: now, mfa: claims.mfa };
    still_holds(simulator, &sign_in, Held::Confidential, sign_in.at)?;
    let order = Order {
        directory,
        app,
        sign_in: &sign_in,
        scope,
        nonce: None,
        capable: Demand::of(&form)?.capable,
        refresh: Family::new(Platform::Web, true),
    };
    tokens::delegated(simulator, request, order).await
}

/// Refuses a sign-in that was ended since.
fn still_holds(
    simulator: &Simulator,
    sign_in: &SignIn,
    held: Held,
    issued: chrono::DateTime<chrono::Utc>,
) -> Result<(), Refusal> {
    simulator.read(|t| {
        if t.rights.holds(&sign_in.user, held, sign_in.born) {
            return Ok(());
        }
        let written = |at: chrono::DateTime<chrono::Utc>| at.to_rfc3339_opts(SecondsFormat::Micros, true);
        let words = format!(
            "The provided grant has expired due to it being revoked, a fresh auth token is needed. The user might have changed or reset their password. The grant was issued on '{}' and the TokensValidFrom date (before which tokens are not valid) for this user is '{}'.",
            written(issued),
            t.rights.ended_at(&sign_in.user).map(written).unwrap_or_default()
        );
        Err(Refusal::grant(50_173, words).sub("bad_token"))
    })
}

/// Redeems an authorization code, once; with PKCE the verifier has to fit.
async fn code(simulator: &Simulator, request: &Request, directory: &Directory, client: &Client) -> Granted {
    let form = request.form();
    let value = form.get("code").ok_or_else(|| Refusal::missing("code"))?;
    let uri = form.get("redirect_uri").ok_or_else(|| Refusal::missing("redirect_uri"))?;
    let known = simulator.entra.sessions().codes.get(value).cloned();
    let expired = || {
        Refusal::grant(
            70_008,
            "The provided authorization code or refresh token has expired due to inactivity. Send a new interactive authorization request for this user and resource.",
        )
    };
    let Some(code) = known else {
        return Err(if value.starts_with("1.A") { expired() } else { Refusal::malformed("invalid_grant") });
    };
    if code.client_id != client.app.client_id {
        return Err(Refusal::grant(70_000, "Provided grant is invalid or malformed."));
    }
    if code.sign_in.tenant != directory.tenant_id {
        let words = "The provided authorization code is intended to use against other tenant, thus rejected.";
        return Err(Refusal::grant(700_005, words));
    }
    if code.expires <= simulator.clock.now() {
        return Err(expired());
    }
    if code.redeemed {
        return Err(Refusal::grant(
            54_005,
            "OAuth2 Authorization code was already redeemed, please retry with a new valid code or use an existing refresh token.",
        ));
    }
    if uri != code.redirect_uri {
        let words = format!(
            "The reply address '{uri}' does not match the reply address '{}' provided when requesting Authorization code.",
            code.redirect_uri
        );
        return Err(Refusal::grant(500_112, words));
    }
    may_redeem(request, client, code.platform)?;
    verifier_fits(&form, &code)?;
    if let Some(known) = simulator.entra.sessions().codes.get_mut(value) {
        known.redeemed = true;
    }
    let scope = form.get("scope").unwrap_or(&code.scope);
    // Scopes of one resource a token: without any in the request, those of the first.
    let first = super::consent::Asked::parse(&code.scope);
    let scope = match first.resources.as_slice() {
        [(resource, names), _, ..] if form.get("scope").is_none() => {
            let named = names.iter().map(|name| format!("{resource}/{name}"));
            &first.oidc.iter().cloned().chain(named).collect::<Vec<_>>().join(" ")
        }
        _ => scope,
    };
    let order = Order {
        directory,
        app: &client.app,
        sign_in: &code.sign_in,
        scope,
        nonce: code.nonce.as_deref(),
        capable: code.capable || Demand::of(&form)?.capable,
        refresh: Family::new(code.platform, code.platform == Platform::Web),
    };
    tokens::delegated(simulator, request, order).await
}

/// What the platform of the redirect URI demands of a redemption.
fn may_redeem(request: &Request, client: &Client, platform: Platform) -> Result<(), Refusal> {
    match (platform, request.header("origin")) {
        (Platform::Spa, None) => Err(Refusal::new(
            "invalid_request",
            9_002_327,
            "Tokens issued for the 'Single-Page Application' client-type may only be redeemed via cross-origin requests.",
        )),
        (Platform::Web, Some(origin)) => Err(Refusal::new(
            "invalid_request",
            9_002_326,
            format!(
                "Cross-origin token redemption is permitted only for the 'Single-Page Application' client-type. Request origin: '{origin}'."
            ),
        )),
        (Platform::Web, None) => client.prove(),
        _ => Ok(()),
    }
}

fn verifier_fits(form: &Form, code: &Code) -> Result<(), Refusal> {
    let Some(challenge) = &code.challenge else { return Ok(()) };
    let verifier = form.get("code_verifier").unwrap_or_default();
    let fits = match challenge {
        Challenge::Plain(wanted) => verifier == wanted,
        Challenge::S256(wanted) => {
            let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, verifier.as_bytes());
            URL_SAFE_NO_PAD.encode(digest) == *wanted
        }
    };
    if fits {
        return Ok(());
    }
    let words = "The Code_Verifier does not match the code_challenge supplied in the authorization request.";
    Err(Refusal::grant(501_481, words))
}

/// Redeems a refresh token for a token of any resource that was consented to. The answer has a new one; the old one stays
/// good, as it does at Entra.
async fn refresh(simulator: &Simulator, request: &Request, directory: &Directory, client: &Client) -> Granted {
    let (form, app) = (request.form(), &client.app);
    let value = form.get("refresh_token").ok_or_else(|| Refusal::missing("refresh_token"))?;
    let known = simulator.entra.sessions().refresh.get(value).cloned();
    let invalid = || Refusal::grant(70_000, "Provided grant is invalid or malformed.");
    let Some(known) = known else {
        return Err(if value.starts_with("1.A") { invalid() } else { Refusal::malformed("invalid_grant") });
    };
    if known.client_id != app.client_id || known.sign_in.tenant != directory.tenant_id {
        return Err(invalid());
    }
    if known.family.platform == Platform::Spa || known.family.confidential {
        may_redeem(request, client, known.family.platform)?;
    }
    if known.expires <= simulator.clock.now() {
        let issued = known.issued.to_rfc3339_opts(SecondsFormat::Micros, true);
        let days = (known.expires - known.issued).num_days();
        return Err(if known.family.platform == Platform::Spa {
            let words = format!(
                "The refresh token was issued to a single page app (SPA), and therefore has a fixed, limited lifetime of 1.00:00:00, which cannot be extended. It is now expired and a new sign in request must be sent by the SPA to the sign in page. The token was issued on {issued}."
            );
            Refusal::grant(700_084, words).sub("token_expired")
        } else {
            let words = format!(
                "The refresh token has expired due to inactivity. The token was issued on {issued} and was inactive for {days}.00:00:00."
            );
            Refusal::grant(700_082, words).sub("token_expired")
        });
    }
    simulator.read(|t| directory.person(t, app, &known.sign_in.user))?;
    let held = if known.family.confidential { Held::Confidential } else { Held::Public };
    still_holds(simulator, &known.sign_in, held, known.issued)?;
    let first = known.family.scope.as_deref().unwrap_or_default();
    let wanted = form.get("scope").unwrap_or(first);
    let scope = if wanted.contains("offline_access") { wanted.to_owned() } else { format!("{wanted} offline_access") };
    let order = Order {
        directory,
        app,
        sign_in: &known.sign_in,
        scope: &scope,
        nonce: None,
        capable: Demand::of(&form)?.capable,
        refresh: known.family.clone(),
    };
    tokens::delegated(simulator, request, order).await
}

/// Redeems a device code that a person approved.
async fn device_code(simulator: &Simulator, request: &Request, directory: &Directory, client: &Client) -> Granted {
    let form = request.form();
    if !client.app.public_flows {
        client.prove()?;
    }
    let value = form.get("device_code").ok_or_else(|| Refusal::missing("device_code"))?;
    let (sign_in, scope) = device::redeem(simulator, value, &client.app.client_id)?;
    let order = Order {
        directory,
        app: &client.app,
        sign_in: &sign_in,
        scope: &scope,
        nonce: None,
        capable: Demand::of(&form)?.capable,
        refresh: Family::new(Platform::Public, false),
    };
    tokens::delegated(simulator, request, order).await
}
