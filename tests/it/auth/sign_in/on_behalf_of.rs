//! Callers with tokens of Entra act as the person whose token it is, and what Entra asks for more reaches them.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use url::Url;

use super::{ADELE, Answer, Browser, Deployment, EMRE};

/// A client of the tenant that is no part of GraphGate.
const CLIENT: &str = graphgate_sim::EXPLORER;
const BACK: &str = "http://localhost/callback";
/// The application of the simulated tenant.
const API: &str = "3d9e1f64-7c2a-4b8d-a5f0-6e4b9c1d2a73";
/// Another application whose tokens are accepted too.
const OTHER: &str = "11111111-7c2a-4b8d-a5f0-6e4b9c1d2a73";

/// A deployment that takes tokens of Entra for the application people sign in to.
struct World {
    gate: Deployment,
}

impl World {
    async fn start() -> Self {
        let audience = format!("{API},api://{API},{OTHER}");
        let gate = Deployment::with(&[], &[("ENTRA_AUDIENCE", &audience), ("ACCESS_TOKEN_SECONDS", "5")]).await;
        gate.control("PUT", "entra/applications", json!({"preauthorized": [CLIENT]})).await;
        Self { gate }
    }

    /// A token of Entra for GraphGate, got by the client.
    async fn token(&self, who: &str, more: &[(&str, &str)]) -> String {
        let scope = format!("openid api://{API}/user_impersonation");
        let authority = self.gate.process.text("authority_url");
        let mut url =
            Url::parse(&format!("{authority}{}/oauth2/v2.0/authorize", self.gate.process.text("tenant_id"))).unwrap();
        url.query_pairs_mut().extend_pairs([
            ("client_id", CLIENT),
            ("response_type", "code"),
            ("redirect_uri", BACK),
            ("scope", &scope),
            ("state", "s-1"),
        ]);
        url.query_pairs_mut().extend_pairs(more);
        let form = [("user", who), ("answer", "yes"), ("mfa", if more.is_empty() { "no" } else { "yes" })];
        let code = self.gate.post(url.as_str(), &form, None).await.back("code");
        let token = url.as_str().split('?').next().unwrap().replace("authorize", "token");
        let form =
            [("client_id", CLIENT), ("grant_type", "authorization_code"), ("code", &code), ("redirect_uri", BACK)];
        let answer = self.gate.post(&token, &form, None).await;
        answer.json()["access_token"].as_str().unwrap_or_else(|| panic!("{answer:?}")).to_owned()
    }

    async fn consent(&self, scope: &str) {
        self.gate.control("PUT", "entra/consents", json!({ "scope": scope })).await;
    }

    async fn find(&self, token: &str) -> Answer {
        self.gate.call(token, "find_people", json!({"search": "Emre"})).await
    }

    /// How often Entra was asked to exchange a token.
    async fn exchanges(&self) -> u64 {
        let stats = self.gate.control("GET", "stats", Value::Null).await;
        let calls = stats["entra"].as_object().unwrap_or_else(|| panic!("{stats}"));
        let exchanges = calls.iter().filter(|(name, _)| name.ends_with("jwt-bearer"));
        exchanges.flat_map(|(_, answers)| answers.as_object().unwrap().values()).filter_map(Value::as_u64).sum()
    }
}

#[tokio::test]
async fn caller_with_a_token_of_entra_acts_as_that_person() {
    let world = World::start().await;
    let token = world.token(ADELE, &[]).await;
    // What nobody has consented to is told with its name and where an administrator consents.
    let refused = world.find(&token).await;
    assert_eq!(refused.json()["code"], "AUTH_003", "{refused:?}");
    for part in ["AADSTS65001", "User.ReadBasic.All", "/v2.0/adminconsent?client_id="] {
        assert!(refused.text.contains(part), "{part}: {refused:?}");
    }
    // Planner needs nothing of the person, and goes on.
    assert_eq!(world.gate.call(&token, "list_plans", json!({})).await.status, 200);
    world.consent("User.Read User.ReadBasic.All").await;
    let token = world.token(ADELE, &[]).await;
    let before = world.exchanges().await;
    for _ in 0..3 {
        let found = world.find(&token).await;
        assert_eq!((found.status, &found.json()["people"][0]["upn"]), (200, &json!(EMRE)), "{found:?}");
    }
    assert_eq!(world.exchanges().await - before, 1, "one token is exchanged once");
    let requests = world.gate.control("GET", "requests?last=200", Value::Null).await;
    let is_search = |request: &&Value| request["path"].as_str().is_some_and(|path| path.contains("/users?"));
    let searches: Vec<_> = requests["requests"].as_array().unwrap().iter().filter(is_search).collect();
    assert!(!searches.is_empty() && searches.iter().all(|request| request["auth"] == "delegated"), "{searches:?}");
}

#[tokio::test]
async fn token_for_another_application_is_not_exchanged() {
    let world = World::start().await;
    let tenant = world.gate.process.text("tenant_id");
    let authority = world.gate.process.text("authority_url").trim_end_matches('/').to_owned();
    let now = chrono::Utc::now().timestamp();
    let claims = json!({
        "iss": format!("{authority}/{tenant}/v2.0"), "aud": OTHER, "nbf": now, "exp": now + 600, "tid": tenant,
        "ver": "2.0", "azp": CLIENT, "oid": "6e7b768e-07e2-4810-8459-485f84f8f204", "sub": "x", "scp": "user_impersonation",
    });
    let signed = world.gate.control("POST", "entra/sign", json!({ "claims": claims })).await;
    let answer = world.gate.call(signed["token"].as_str().unwrap(), "list_plans", json!({})).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(world.exchanges().await, 0);
}

#[tokio::test]
async fn claims_challenge_reaches_the_caller_and_nothing_loops() {
    let world = World::start().await;
    world.consent("User.Read User.ReadBasic.All").await;
    let policy = json!({"policies": [{"user": ADELE, "resource": "https://graph.microsoft.com", "require": "mfa"}]});
    world.gate.control("PUT", "entra/policies", policy).await;
    let token = world.token(ADELE, &[]).await;
    let before = world.exchanges().await;
    let refused = world.find(&token).await;
    assert_eq!((refused.status, refused.json()["code"].as_str()), (401, Some("AUTH_001")), "{refused:?}");
    let header = refused.headers["www-authenticate"].to_str().unwrap().to_owned();
    assert!(header.contains("error=\"insufficient_claims\"") && header.contains("authorization_uri="), "{header}");
    let claims = header.split("claims=\"").nth(1).unwrap().split('"').next().unwrap();
    let claims = String::from_utf8(STANDARD.decode(claims).unwrap()).unwrap();
    assert!(claims.contains("capolids"), "{claims}");
    // The same token again is refused without Entra being asked again.
    for _ in 0..5 {
        assert_eq!(world.find(&token).await.status, 401);
    }
    assert_eq!(world.exchanges().await - before, 1);
    // Others are not affected, and with what was asked for it works.
    assert_eq!(world.find(&world.token(EMRE, &[]).await).await.status, 200);
    let stronger = world.token(ADELE, &[("claims", &claims)]).await;
    let found = world.find(&stronger).await;
    assert_eq!(found.status, 200, "{found:?}");
}

#[tokio::test]
async fn session_that_ends_in_the_middle_challenges_the_caller() {
    let world = World::start().await;
    world.consent("User.Read User.ReadBasic.All").await;
    let token = world.token(ADELE, &[]).await;
    assert_eq!(world.find(&token).await.status, 200);
    world.gate.control("PUT", "clock", json!({"advance_seconds": 2})).await;
    world.gate.control("POST", "entra/revoke", json!({"user": ADELE, "cause": "revoked"})).await;
    let refused = world.gate.call(&token, "find_people", json!({"search": "Grady"})).await;
    assert_eq!(refused.json()["code"], "AUTH_003", "{refused:?}");
    let challenged = world.gate.call(&token, "find_people", json!({"search": "Grady"})).await;
    assert_eq!(challenged.status, 401, "{challenged:?}");
    assert!(challenged.headers["www-authenticate"].to_str().unwrap().contains("insufficient_claims"));
    let again = world.token(ADELE, &[]).await;
    assert_eq!(world.gate.call(&again, "find_people", json!({"search": "Grady"})).await.status, 200);
}

#[tokio::test]
async fn outage_of_entra_keeps_no_call_that_needs_nothing_of_it() {
    let world = World::start().await;
    world.consent("User.Read User.ReadBasic.All").await;
    let token = world.token(ADELE, &[]).await;
    let rule = json!({"path_contains": "/oauth2/v2.0/token", "kind": "status", "status": 503});
    world.gate.control("POST", "faults", rule).await;
    let told = world.find(&token).await;
    assert!(told.status >= 500 && told.text.contains("does not answer at present"), "{told:?}");
    assert_eq!(world.gate.call(&token, "list_plans", json!({})).await.status, 200);
}

#[tokio::test]
async fn challenge_for_a_connected_account_is_met_at_the_next_sign_in() {
    let world = World::start().await;
    let gate = &world.gate;
    let client = gate.register("Challenged").await;
    let tokens = gate.tokens(&client, &["directory.read"], ADELE).await;
    assert_eq!(gate.call(&tokens.access, "find_people", json!({"search": "Emre"})).await.status, 200);
    gate.control("PUT", "clock", json!({"advance_seconds": 2})).await;
    gate.control("POST", "entra/revoke", json!({"user": ADELE, "cause": "revoked"})).await;
    let refused = gate.call(&tokens.access, "find_people", json!({"search": "Grady"})).await;
    assert_eq!(refused.json()["code"], "AUTH_003", "{refused:?}");
    assert_eq!(gate.call(&tokens.access, "find_people", json!({"search": "Grady"})).await.status, 401);
    // The first way over Entra finds out who it is, the second brings what Entra asked this person for.
    let mut browser = Browser::default();
    let entra = gate.consent(&client, &["directory.read"], &mut browser).await;
    assert!(!entra.back("claims").contains("nbf"), "{entra:?}");
    let form = gate.at_entra(entra.location.as_ref().unwrap(), ADELE).await;
    let onwards = gate.callback(&form, &mut browser).await;
    assert!(onwards.back("claims").contains("nbf") && onwards.back("login_hint") == ADELE, "{onwards:?}");
    let form = gate.at_entra(onwards.location.as_ref().unwrap(), ADELE).await;
    let landed = gate.callback(&form, &mut browser).await;
    let again = super::Tokens::of(&gate.redeem(&client, &landed.back("code")).await);
    assert_eq!(gate.call(&again.access, "find_people", json!({"search": "Grady"})).await.status, 200);
}

#[tokio::test]
async fn administrators_consent_comes_back_to_a_page() {
    let world = World::start().await;
    let page = world.gate.get(&world.gate.url("oauth/callback?admin_consent=True&tenant=t"), None).await;
    assert!(page.status == 200 && page.text.contains("Consent is given"), "{page:?}");
    let said = "oauth/callback?error=access_denied&error_description=Call%20us%20at%20555&admin_consent=True";
    let page = world.gate.get(&world.gate.url(said), None).await;
    assert!(page.text.contains("access_denied") && !page.text.contains("555"), "{page:?}");
}
