//! People sign in over HTTP, as a program and its users do: consent, refresh tokens, on-behalf-of, challenges, Conditional
//! Access, device codes, guests, and Entra's endpoints when they fail.
//!
//! Long because every flow is a story of its own.

#![allow(missing_docs, clippy::unwrap_used, clippy::indexing_slicing, clippy::disallowed_methods, clippy::panic)]

use base64::{
    Engine,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
};
use chrono::TimeDelta;
use graphgate_sim::{Config, EXPLORER, EXPLORER_SECRET, Platform, Running, Scenario, start};
use serde_json::{Value, json};

const ADELE: &str = "AdeleV@contoso.onmicrosoft.com";
const EMRE: &str = "EmreO@contoso.onmicrosoft.com";
const MARIA: &str = "MariaS@fabrikam.onmicrosoft.com";
const FABRIKAM: &str = "fabrikam.onmicrosoft.com";
const BACK: &str = "http://localhost:5001/auth/callback";
const NATIVE: &str = "http://localhost:5002/callback";
/// The pair of RFC 7636, appendix B.
const VERIFIER: &str = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
const CHALLENGE: &str = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM";
const OBO: &str = "urn:ietf:params:oauth:grant-type:jwt-bearer";
const DEVICE: &str = "urn:ietf:params:oauth:grant-type:device_code";
const CP1: &str = r#"{"access_token":{"xms_cc":{"values":["cp1"]}}}"#;

struct World {
    tenant: Running,
    http: reqwest::Client,
}

/// An answer of a page or of the authorization endpoint.
#[derive(Debug)]
struct Page {
    status: u16,
    location: Option<url::Url>,
    cookie: Option<String>,
    text: String,
}

impl Page {
    /// A parameter that went back to the application.
    fn back(&self, name: &str) -> String {
        let url = self.location.as_ref().unwrap_or_else(|| panic!("nothing goes back: {self:?}"));
        url.query_pairs().find(|(n, _)| n == name).map(|(_, v)| v.into_owned()).unwrap_or_default()
    }

    /// The error that went back, as OAuth's name and the AADSTS number.
    fn error(&self) -> (String, String) {
        let words = self.back("error_description");
        (self.back("error"), words.split(':').next().unwrap_or_default().to_owned())
    }
}

fn encoded(pairs: &[(&str, &str)]) -> String {
    url::form_urlencoded::Serializer::new(String::new()).extend_pairs(pairs).finish()
}

/// The claims of a token.
fn claims(token: &Value) -> Value {
    let part = token.as_str().unwrap().split('.').nth(1).unwrap();
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).unwrap()).unwrap()
}

/// The AADSTS number of a refused request, after a check of the shape that all refusals have.
fn number((status, body): &(u16, Value)) -> u64 {
    assert!(*status >= 400, "{body}");
    let number = body["error_codes"][0].as_u64().unwrap();
    assert!(body["error_description"].as_str().unwrap().starts_with(&format!("AADSTS{number}: ")), "{body}");
    for name in ["error", "timestamp", "trace_id", "correlation_id", "error_uri"] {
        assert!(body[name].is_string(), "{name} in {body}");
    }
    number
}

impl World {
    async fn start() -> Self {
        let tenant = start(Config { scenario: Scenario::Demo, ..Config::default() }).await.unwrap();
        let http = reqwest::Client::builder().no_proxy().redirect(reqwest::redirect::Policy::none());
        Self { tenant, http: http.build().unwrap() }
    }

    async fn send(&self, request: reqwest::RequestBuilder) -> Page {
        let answer = request.send().await.unwrap();
        let header = |name: &str| answer.headers().get(name).map(|v| v.to_str().unwrap().to_owned());
        let (location, cookie) = (header("location"), header("set-cookie"));
        Page {
            status: answer.status().as_u16(),
            location: location.map(|l| l.parse().unwrap()),
            cookie: cookie.map(|c| c.split(';').next().unwrap().to_owned()),
            text: answer.text().await.unwrap(),
        }
    }

    fn form(&self, url: String, pairs: &[(&str, &str)]) -> reqwest::RequestBuilder {
        self.http.post(url).header("content-type", "application/x-www-form-urlencoded").body(encoded(pairs))
    }

    fn endpoint(&self, tenant: &str, name: &str) -> String {
        format!("{}{tenant}/oauth2/v2.0/{name}", self.tenant.authority_url)
    }

    /// The address of a sign-in, with the usual parameters unless `more` has others.
    fn sign_in_url(&self, tenant: &str, scope: &str, more: &[(&str, &str)]) -> String {
        let mut pairs = vec![
            ("client_id", self.tenant.client_id.as_str()),
            ("response_type", "code"),
            ("redirect_uri", BACK),
            ("scope", scope),
            ("state", "s-1"),
        ];
        pairs.retain(|(name, _)| !more.iter().any(|(other, _)| other == name));
        pairs.extend(more);
        format!("{}?{}", self.endpoint(tenant, "authorize"), encoded(&pairs))
    }

    /// Opens the page, with a cookie perhaps.
    async fn open(&self, scope: &str, more: &[(&str, &str)], cookie: Option<&str>) -> Page {
        let request = self.http.get(self.sign_in_url(&self.tenant.tenant_id, scope, more));
        self.send(match cookie {
            Some(cookie) => request.header("cookie", cookie),
            None => request,
        })
        .await
    }

    /// Signs in as somebody and consents.
    async fn enter(&self, user: &str, scope: &str, more: &[(&str, &str)]) -> Page {
        let url = self.sign_in_url(&self.tenant.tenant_id, scope, more);
        self.send(self.form(url, &[("user", user), ("answer", "yes")])).await
    }

    /// Asks the token endpoint as the seeded application.
    async fn token(&self, pairs: &[(&str, &str)]) -> (u16, Value) {
        let own = [("client_id", self.tenant.client_id.as_str()), ("client_secret", &self.tenant.client_secret)];
        self.token_of(&self.tenant.tenant_id, &[&own, pairs].concat()).await
    }

    async fn token_of(&self, tenant: &str, pairs: &[(&str, &str)]) -> (u16, Value) {
        let answer = self.form(self.endpoint(tenant, "token"), pairs).send().await.unwrap();
        (answer.status().as_u16(), serde_json::from_slice(&answer.bytes().await.unwrap()).unwrap())
    }

    async fn redeem(&self, page: &Page, more: &[(&str, &str)]) -> (u16, Value) {
        let code = page.back("code");
        let pairs = [("grant_type", "authorization_code"), ("code", &code), ("redirect_uri", BACK)];
        self.token(&[&pairs, more].concat()).await
    }

    /// Signs somebody in all the way to tokens.
    async fn tokens(&self, user: &str, scope: &str) -> Value {
        let (status, body) = self.redeem(&self.enter(user, scope, &[]).await, &[]).await;
        assert_eq!(status, 200, "{body}");
        body
    }

    async fn refresh(&self, token: &Value, more: &[(&str, &str)]) -> (u16, Value) {
        let pairs = [("grant_type", "refresh_token"), ("refresh_token", token.as_str().unwrap())];
        self.token(&[&pairs, more].concat()).await
    }

    async fn on_behalf_of(&self, assertion: &Value, scope: &str, more: &[(&str, &str)]) -> (u16, Value) {
        let assertion = assertion.as_str().unwrap();
        let pairs =
            [("grant_type", OBO), ("requested_token_use", "on_behalf_of"), ("assertion", assertion), ("scope", scope)];
        self.token(&[&pairs, more].concat()).await
    }

    async fn control(&self, method: &str, path: &str, body: Value) -> Value {
        let url = format!("{}/{path}", self.tenant.control_url);
        let request = self.http.request(method.parse().unwrap(), url).body(body.to_string());
        let answer = request.send().await.unwrap();
        let (status, text) = (answer.status(), answer.text().await.unwrap());
        assert_eq!(status, 200, "{text}");
        serde_json::from_str(&text).unwrap()
    }

    /// Asks Graph with a token.
    async fn graph(&self, method: &str, path: &str, token: &Value) -> reqwest::Response {
        let url = format!("{}{path}", self.tenant.graph_url);
        let request = self.http.request(method.parse().unwrap(), url);
        request.bearer_auth(token.as_str().unwrap()).send().await.unwrap()
    }

    /// A token of the application of an administrator.
    async fn administrator(&self) -> Value {
        let pairs = [
            ("client_id", EXPLORER),
            ("client_secret", EXPLORER_SECRET),
            ("grant_type", "client_credentials"),
            ("scope", "https://graph.microsoft.com/.default"),
        ];
        self.token_of(&self.tenant.tenant_id, &pairs).await.1["access_token"].take()
    }
}

#[tokio::test]
async fn consent_is_asked_for_once_and_then_sign_in_is_silent() {
    let world = World::start().await;
    let scope = "openid profile email offline_access User.Read";
    let none = world.open(scope, &[("prompt", "none")], None).await;
    assert_eq!(none.error(), ("login_required".into(), "AADSTS50058".into()));
    let page = world.open(scope, &[], None).await;
    assert_eq!(page.status, 200);
    assert!(page.text.contains("<form method=post>") && page.text.contains(ADELE), "{}", page.text);
    let url = world.sign_in_url(&world.tenant.tenant_id, scope, &[]);
    let signed_in = world.send(world.form(url.clone(), &[("user", ADELE)])).await;
    assert!(signed_in.text.contains("Permissions requested") && signed_in.text.contains("User.Read"));
    let cookie = signed_in.cookie.clone().unwrap();
    let early = world.open(scope, &[("prompt", "none")], Some(&cookie)).await;
    assert_eq!(early.error(), ("consent_required".into(), "AADSTS65001".into()));
    let declined = world.send(world.form(url.clone(), &[("answer", "no")]).header("cookie", &cookie)).await;
    assert_eq!(declined.error(), ("access_denied".into(), "AADSTS65004".into()));
    let agreed = world.send(world.form(url, &[("answer", "yes")]).header("cookie", &cookie)).await;
    assert_eq!((agreed.status, agreed.back("state")), (302, "s-1".to_owned()));

    let silent = world
        .open(
            scope,
            &[
                ("prompt", "none"),
                ("login_hint", ADELE),
                ("nonce", "n-1"),
                ("code_challenge", CHALLENGE),
                ("code_challenge_method", "S256"),
            ],
            Some(&cookie),
        )
        .await;
    let wrong = world.redeem(&silent, &[("code_verifier", "wrong")]).await;
    assert_eq!((wrong.1["error"].clone(), number(&wrong)), (json!("invalid_grant"), 501_481));
    let (status, body) = world.redeem(&silent, &[("code_verifier", VERIFIER)]).await;
    assert_eq!(status, 200, "{body}");
    let id = claims(&body["id_token"]);
    assert_eq!((&id["nonce"], &id["aud"]), (&json!("n-1"), &json!(world.tenant.client_id)));
    assert_eq!((&id["preferred_username"], &id["email"]), (&json!(ADELE), &json!(ADELE)));
    assert_eq!(claims(&body["access_token"])["scp"], "User.Read openid profile email");
    assert!(body["refresh_token"].is_string());
    assert_eq!(number(&world.redeem(&silent, &[("code_verifier", VERIFIER)]).await), 54_005);

    for prompt in ["login", "select_account"] {
        let page = world.open(scope, &[("prompt", prompt)], Some(&cookie)).await;
        assert!(page.text.contains("<h1>Sign in</h1>"), "{prompt}: {}", page.text);
    }
    let page = world.open(scope, &[("prompt", "consent")], Some(&cookie)).await;
    assert!(page.text.contains("Permissions requested"));
    let other = world.open(scope, &[("prompt", "none"), ("login_hint", EMRE)], Some(&cookie)).await;
    assert_eq!(other.error().0, "login_required");
}

#[tokio::test]
async fn a_request_answers_where_and_how_it_was_told() {
    let world = World::start().await;
    for uri in ["https://elsewhere.example/", "http://localhost:5001/other", "http://localhost.example:1/auth/callback"]
    {
        let page = world.open("User.Read", &[("redirect_uri", uri)], None).await;
        assert_eq!((page.status, page.location), (400, None), "{uri}");
        assert!(page.text.contains("AADSTS50011"), "{}", page.text);
    }
    let fragment = world.enter(ADELE, "User.Read", &[("response_mode", "fragment")]).await;
    assert!(fragment.location.as_ref().unwrap().fragment().unwrap().starts_with("code="), "{fragment:?}");
    let posted = world.enter(ADELE, "User.Read", &[("response_mode", "form_post")]).await;
    assert_eq!(posted.status, 200);
    assert!(posted.text.contains(&format!("action=\"{BACK}\"")) && posted.text.contains("name=code value"));
    world.tenant.add_redirect_uri(Platform::Web, "https://app.contoso.com/back");
    let registered = world.enter(ADELE, "User.Read", &[("redirect_uri", "https://app.contoso.com/back")]).await;
    assert!(registered.location.unwrap().as_str().starts_with("https://app.contoso.com/back?code="));
    let unknown = world.open("User.Read", &[("client_id", "00000000-0000-0000-0000-000000000001")], None).await;
    assert!(unknown.status == 400 && unknown.text.contains("AADSTS700016"));
    let made_up = world.enter(ADELE, "Made.Up", &[]).await;
    assert_eq!(made_up.error(), ("invalid_client".into(), "AADSTS650053".into()));

    // A confidential client needs its secret, PKCE or not; a public one has none.
    let page = world.enter(ADELE, "User.Read", &[]).await;
    let code = page.back("code");
    let bare = [("client_id", world.tenant.client_id.as_str()), ("grant_type", "authorization_code"), ("code", &code)];
    let refused = world.token_of(&world.tenant.tenant_id, &[&bare[..], &[("redirect_uri", BACK)]].concat()).await;
    assert_eq!((refused.0, number(&refused)), (401, 7_000_218));
    let moved = [("grant_type", "authorization_code"), ("code", &code), ("redirect_uri", NATIVE)];
    assert_eq!(number(&world.token(&moved).await), 500_112);
    let plain = [("redirect_uri", NATIVE), ("code_challenge", VERIFIER), ("code_challenge_method", "plain")];
    let code = world.enter(ADELE, "User.Read", &plain).await.back("code");
    let native = [
        ("client_id", world.tenant.client_id.as_str()),
        ("grant_type", "authorization_code"),
        ("code", &code),
        ("redirect_uri", NATIVE),
        ("code_verifier", VERIFIER),
    ];
    assert_eq!(world.token_of(&world.tenant.tenant_id, &native).await.0, 200);

    // A page in a browser has to use PKCE with S256, and its code is redeemed across origins.
    let spa = ("redirect_uri", "http://localhost:5003/spa");
    let without = world.enter(ADELE, "User.Read", &[spa]).await;
    assert_eq!(without.error().1, "AADSTS9002325");
    let with = [spa, ("code_challenge", CHALLENGE), ("code_challenge_method", "S256")];
    let code = world.enter(ADELE, "User.Read offline_access", &with).await.back("code");
    let redemption = [
        ("client_id", world.tenant.client_id.as_str()),
        ("grant_type", "authorization_code"),
        ("code", &code),
        spa,
        ("code_verifier", VERIFIER),
    ];
    assert_eq!(number(&world.token_of(&world.tenant.tenant_id, &redemption).await), 9_002_327);
    let request = world.form(world.endpoint(&world.tenant.tenant_id, "token"), &redemption);
    let answer = world.send(request.header("origin", "http://localhost:5003")).await;
    let body: Value = serde_json::from_str(&answer.text).unwrap();
    assert!((86_000..=86_400).contains(&body["refresh_token_expires_in"].as_i64().unwrap()), "{body}");
    world.tenant.advance_clock(TimeDelta::hours(25));
    let pairs = [
        ("client_id", world.tenant.client_id.as_str()),
        ("grant_type", "refresh_token"),
        ("refresh_token", body["refresh_token"].as_str().unwrap()),
    ];
    let request = world.form(world.endpoint(&world.tenant.tenant_id, "token"), &pairs);
    let answer = world.send(request.header("origin", "http://localhost:5003")).await;
    assert_eq!(number(&(answer.status, serde_json::from_str(&answer.text).unwrap())), 700_084);

    let json =
        world.http.post(world.endpoint(&world.tenant.tenant_id, "token")).header("content-type", "application/json");
    let answer = world.send(json.body("{}")).await;
    assert!(answer.text.contains("AADSTS9002313"), "{}", answer.text);
    let again = world.token(&[("grant_type", "authorization_code"), ("code", "x"), ("redirect_uri", BACK)]).await;
    assert_eq!(number(&again), 9_002_313);
    let late = world.enter(ADELE, "User.Read", &[]).await;
    world.tenant.advance_clock(TimeDelta::minutes(11));
    assert_eq!(number(&world.redeem(&late, &[]).await), 70_008);
}

#[tokio::test]
async fn further_scopes_are_asked_for_alone_and_some_by_an_administrator() {
    let world = World::start().await;
    let first = world.enter(ADELE, "openid offline_access User.Read", &[]).await;
    let (_, first) = world.redeem(&first, &[]).await;
    let early = world.refresh(&first["refresh_token"], &[("scope", "Tasks.ReadWrite")]).await;
    assert_eq!((number(&early), &early.1["suberror"]), (65_001, &json!("consent_required")));
    let url = world.sign_in_url(&world.tenant.tenant_id, "openid User.Read Tasks.ReadWrite", &[]);
    let page = world.send(world.form(url, &[("user", ADELE)])).await;
    assert!(page.text.contains("Tasks.ReadWrite") && !page.text.contains("User.Read<"), "{}", page.text);
    world.enter(ADELE, "Tasks.ReadWrite", &[]).await;
    let (status, body) = world.refresh(&first["refresh_token"], &[("scope", "Tasks.ReadWrite")]).await;
    assert_eq!((status, &body["scope"]), (200, &json!("Tasks.ReadWrite")));

    let denied = world.enter(ADELE, "Group.Read.All", &[]).await;
    assert_eq!(denied.error(), ("access_denied".into(), "AADSTS90094".into()));
    let base = format!("{}{}/v2.0/adminconsent?", world.tenant.authority_url, world.tenant.tenant_id);
    let pairs = [
        ("client_id", world.tenant.client_id.as_str()),
        ("redirect_uri", BACK),
        ("scope", "https://graph.microsoft.com/Group.Read.All"),
        ("state", "a-1"),
    ];
    let url = base + &encoded(&pairs);
    let by_adele = world.send(world.form(url.clone(), &[("user", ADELE), ("answer", "yes")])).await;
    assert_eq!(by_adele.error().1, "AADSTS90093");
    let cancelled = world.send(world.form(url.clone(), &[("answer", "no")])).await;
    assert_eq!(cancelled.error(), ("permission_denied".into(), "AADSTS65004".into()));
    let by_emre = world.send(world.form(url, &[("user", EMRE), ("answer", "yes")])).await;
    assert_eq!((by_emre.back("admin_consent"), by_emre.back("state")), ("True".to_owned(), "a-1".to_owned()));
    let (status, body) = world.refresh(&first["refresh_token"], &[("scope", "Group.Read.All")]).await;
    assert_eq!(status, 200, "{body}");

    let other = world.tokens("ZoeM@contoso.onmicrosoft.com", "openid Group.Read.All").await;
    assert_eq!(claims(&other["access_token"])["scp"], "Group.Read.All openid");
    let url = world.sign_in_url(&world.tenant.tenant_id, "openid Mail.Read", &[]);
    let page = world.send(world.form(url.clone(), &[("user", EMRE)])).await;
    assert!(page.text.contains("Consent on behalf of your organization"), "{page:?}");
    world.send(world.form(url.clone(), &[("user", EMRE), ("answer", "yes"), ("all", "yes")])).await;
    let covered = world.send(world.form(url, &[("user", ADELE)])).await;
    assert!(!covered.back("code").is_empty());
    world.control("DELETE", "entra/consents", json!({"user": ADELE, "scope": "Tasks.ReadWrite"})).await;
    assert_eq!(number(&world.refresh(&first["refresh_token"], &[("scope", "Tasks.ReadWrite")]).await), 65_001);
}

#[tokio::test]
async fn graph_checks_delegated_scopes() {
    let world = World::start().await;
    let token = world.tokens(ADELE, "User.Read").await["access_token"].take();
    let me: Value = serde_json::from_str(&world.graph("GET", "/me", &token).await.text().await.unwrap()).unwrap();
    assert_eq!(me["userPrincipalName"], ADELE);
    for path in ["/users", "/groups", "/me/planner/tasks", "/me/messages"] {
        assert_eq!(world.graph("GET", path, &token).await.status(), 403, "{path}");
    }
    let tasks = world.tokens(ADELE, "Tasks.Read").await["access_token"].take();
    assert_eq!(world.graph("GET", "/me/planner/tasks", &tasks).await.status(), 200);
    assert_eq!(world.graph("GET", "/me", &tasks).await.status(), 403);
    let administrator = world.administrator().await;
    let grants = world.graph("GET", "/oauth2PermissionGrants", &administrator).await.text().await.unwrap();
    let grants: Value = serde_json::from_str(&grants).unwrap();
    assert_eq!(grants["value"][0]["scope"], "User.Read Tasks.Read", "{grants}");
    let id = grants["value"][0]["id"].as_str().unwrap().to_owned();
    let path = format!("/oauth2PermissionGrants/{id}");
    assert_eq!(world.graph("DELETE", &path, &administrator).await.status(), 204);
    let again = world.open("User.Read", &[], world.enter(ADELE, "openid", &[]).await.cookie.as_deref()).await;
    assert!(again.text.contains("Permissions requested"), "{again:?}");
}

#[tokio::test]
async fn a_refresh_token_is_replaced_and_the_old_one_stays_good_until_it_is_revoked() {
    let world = World::start().await;
    world
        .control("PUT", "entra/consents", json!({"user": ADELE, "scope": "User.Read Tasks.ReadWrite offline_access"}))
        .await;
    let without = world.tokens(ADELE, "User.Read").await;
    assert!(without.get("refresh_token").is_none(), "it takes offline_access");
    let first = world.tokens(ADELE, "User.Read offline_access").await;
    let (_, second) = world.refresh(&first["refresh_token"], &[]).await;
    assert_ne!(first["refresh_token"], second["refresh_token"]);
    let (status, third) = world.refresh(&first["refresh_token"], &[("scope", "Tasks.ReadWrite")]).await;
    assert_eq!((status, &claims(&third["access_token"])["scp"]), (200, &json!("Tasks.ReadWrite")));
    assert_eq!(number(&world.refresh(&json!("1.Aunknown"), &[]).await), 70_000);
    assert_eq!(number(&world.refresh(&json!("garbage"), &[]).await), 9_002_313);
    let explorer = [
        ("client_id", EXPLORER),
        ("client_secret", EXPLORER_SECRET),
        ("grant_type", "refresh_token"),
        ("refresh_token", second["refresh_token"].as_str().unwrap()),
    ];
    assert_eq!(number(&world.token_of(&world.tenant.tenant_id, &explorer).await), 70_000);

    // A password that the person changed spares a confidential client, one that was reset does not.
    world.control("POST", "entra/revoke", json!({"user": ADELE, "cause": "password_changed"})).await;
    assert_eq!(world.refresh(&second["refresh_token"], &[]).await.0, 200);
    world.control("POST", "entra/revoke", json!({"user": ADELE, "cause": "password_reset"})).await;
    let ended = world.refresh(&second["refresh_token"], &[]).await;
    assert_eq!((number(&ended), &ended.1["error"]), (50_173, &json!("invalid_grant")));

    let fresh = world.tokens(ADELE, "User.Read offline_access").await;
    let administrator = world.administrator().await;
    let path = format!("/users/{ADELE}/revokeSignInSessions");
    assert_eq!(world.graph("POST", &path, &administrator).await.status(), 200);
    assert_eq!(number(&world.refresh(&fresh["refresh_token"], &[]).await), 50_173);

    world.control("PUT", "tokens", json!({"refresh_expires_in": 172_800})).await;
    let short = world.tokens(ADELE, "User.Read offline_access").await;
    world.tenant.advance_clock(TimeDelta::hours(47));
    let (_, renewed) = world.refresh(&short["refresh_token"], &[]).await;
    world.tenant.advance_clock(TimeDelta::hours(2));
    assert_eq!(number(&world.refresh(&short["refresh_token"], &[]).await), 700_082);
    assert_eq!(world.refresh(&renewed["refresh_token"], &[]).await.0, 200, "each use starts the time again");
}

#[tokio::test]
async fn disabled_deleted_and_unassigned_accounts_are_refused() {
    let world = World::start().await;
    let tokens = world.tokens(ADELE, "User.Read offline_access").await;
    world.control("PUT", "entra/people", json!({"user": ADELE, "enabled": false})).await;
    assert_eq!(world.enter(ADELE, "User.Read", &[]).await.error().1, "AADSTS50057");
    assert_eq!(number(&world.refresh(&tokens["refresh_token"], &[]).await), 50_057);
    world.control("PUT", "entra/people", json!({"user": ADELE, "enabled": true})).await;
    assert_eq!(world.refresh(&tokens["refresh_token"], &[]).await.0, 200);
    world.control("PUT", "entra/people", json!({"user": ADELE, "deleted": true})).await;
    assert_eq!(world.enter(ADELE, "User.Read", &[]).await.error().1, "AADSTS500341");
    assert_eq!(number(&world.refresh(&tokens["refresh_token"], &[]).await), 500_341);
    assert_eq!(world.enter("NoSuchPerson@contoso.onmicrosoft.com", "User.Read", &[]).await.error().1, "AADSTS50034");

    world.control("PUT", "entra/applications", json!({"assignment_required": true, "assigned": [EMRE]})).await;
    assert_eq!(world.enter("ZoeM@contoso.onmicrosoft.com", "User.Read", &[]).await.error().1, "AADSTS50105");
    assert!(!world.enter(EMRE, "User.Read", &[]).await.back("code").is_empty());
}

#[tokio::test]
async fn on_behalf_of_a_person_needs_a_token_for_the_api_and_consent() {
    let world = World::start().await;
    let own = format!("api://{}/access", world.tenant.client_id);
    let user = world.tokens(ADELE, &format!("openid {own}")).await;
    let graph = "https://graph.microsoft.com/User.Read";
    let early = world.on_behalf_of(&user["access_token"], graph, &[]).await;
    let shape = (number(&early), &early.1["error"], &early.1["suberror"]);
    assert_eq!(shape, (65_001, &json!("invalid_grant"), &json!("consent_required")));
    world.control("PUT", "entra/consents", json!({"scope": "User.Read offline_access"})).await;
    let (status, body) = world.on_behalf_of(&user["access_token"], &format!("{graph} offline_access"), &[]).await;
    assert_eq!(status, 200, "{body}");
    let of_graph = claims(&body["access_token"]);
    assert_eq!((&of_graph["scp"], &of_graph["oid"]), (&json!("User.Read"), &claims(&user["access_token"])["oid"]));
    assert_eq!(world.graph("GET", "/me", &body["access_token"]).await.status(), 200);
    assert_eq!(world.refresh(&body["refresh_token"], &[]).await.0, 200);

    // A token for another audience, of an application, an id token, and no token at all.
    assert_eq!(number(&world.on_behalf_of(&body["access_token"], graph, &[]).await), 500_131);
    let scope = format!("api://{}/.default", world.tenant.client_id);
    let (_, of_app) = world.token(&[("grant_type", "client_credentials"), ("scope", &scope)]).await;
    assert_eq!(number(&world.on_behalf_of(&of_app["access_token"], graph, &[]).await), 7_000_114);
    assert_eq!(number(&world.on_behalf_of(&user["id_token"], graph, &[]).await), 240_002);
    assert_eq!(number(&world.on_behalf_of(&json!("x.y.z"), graph, &[]).await), 50_013);

    let policy = json!({"policies": [{"user": ADELE, "resource": "https://graph.microsoft.com", "require": "mfa"}]});
    world.control("PUT", "entra/policies", policy).await;
    let refused = world.on_behalf_of(&user["access_token"], graph, &[]).await;
    assert_eq!((number(&refused), &refused.1["error"]), (50_076, &json!("interaction_required")));
    let demanded: Value = serde_json::from_str(refused.1["claims"].as_str().unwrap()).unwrap();
    assert!(demanded["access_token"]["capolids"]["essential"].as_bool().unwrap());
    world.control("PUT", "entra/policies", json!({"policies": []})).await;

    // A second API in between: the chain ends at Graph for the same person.
    let next = "3b1c5e9a-0000-4000-8000-000000000002";
    world
        .control(
            "PUT",
            "entra/applications",
            json!({"client_id": next, "secret": "next", "scopes": ["User.Read"], "exposes": ["read"]}),
        )
        .await;
    world.control("PUT", "entra/consents", json!({"scope": format!("api://{next}/read")})).await;
    world.control("PUT", "entra/consents", json!({"client_id": next, "scope": "User.Read"})).await;
    let (status, middle) = world.on_behalf_of(&user["access_token"], &format!("api://{next}/read"), &[]).await;
    assert_eq!(status, 200, "{middle}");
    let pairs = [
        ("client_id", next),
        ("client_secret", "next"),
        ("grant_type", OBO),
        ("requested_token_use", "on_behalf_of"),
        ("assertion", middle["access_token"].as_str().unwrap()),
        ("scope", graph),
    ];
    let (status, last) = world.token_of(&world.tenant.tenant_id, &pairs).await;
    assert_eq!((status, &claims(&last["access_token"])["oid"]), (200, &of_graph["oid"]));

    world.control("POST", "entra/revoke", json!({ "user": ADELE })).await;
    assert_eq!(number(&world.on_behalf_of(&user["access_token"], graph, &[]).await), 50_173);
    world.tenant.advance_clock(TimeDelta::hours(2));
    assert_eq!(number(&world.on_behalf_of(&user["access_token"], graph, &[]).await), 500_133);
}

#[tokio::test]
async fn consent_to_an_api_covers_what_the_api_needs_when_it_knows_the_client() {
    let world = World::start().await;
    let api = &world.tenant.client_id;
    world
        .control(
            "PUT",
            "entra/applications",
            json!({"scopes": ["User.Read"], "exposes": ["access"], "known_clients": [EXPLORER]}),
        )
        .await;
    let scope = format!("api://{api}/.default");
    let page = world.enter(ADELE, &scope, &[("client_id", EXPLORER), ("redirect_uri", NATIVE)]).await;
    let code = page.back("code");
    let pairs =
        [("client_id", EXPLORER), ("grant_type", "authorization_code"), ("code", &code), ("redirect_uri", NATIVE)];
    let (status, user) = world.token_of(&world.tenant.tenant_id, &pairs).await;
    assert_eq!((status, &user["scope"]), (200, &json!(format!("api://{api}/access"))));
    let (status, body) = world.on_behalf_of(&user["access_token"], "https://graph.microsoft.com/.default", &[]).await;
    assert_eq!((status, &body["scope"]), (200, &json!("User.Read")), "{body}");
}

#[tokio::test]
async fn graph_challenges_a_capable_client_after_revocation() {
    let world = World::start().await;
    let plain = world.tokens(ADELE, "User.Read offline_access").await;
    let (_, capable) = world.refresh(&plain["refresh_token"], &[("claims", CP1)]).await;
    assert!(capable["expires_in"].as_i64().unwrap() > 86_400 && plain["expires_in"].as_i64().unwrap() < 3_601);
    assert_eq!(claims(&capable["access_token"])["xms_cc"], json!(["cp1"]));
    assert_eq!(world.graph("GET", "/me", &capable["access_token"]).await.status(), 200);

    world.control("POST", "entra/revoke", json!({"user": ADELE, "cause": "challenge"})).await;
    let refused = world.graph("GET", "/me", &capable["access_token"]).await;
    assert_eq!(refused.status(), 401);
    let header = refused.headers()["www-authenticate"].to_str().unwrap().to_owned();
    assert!(header.starts_with("Bearer ") && header.contains("error=\"insufficient_claims\""), "{header}");
    let encoded = header.split("claims=\"").nth(1).unwrap().trim_end_matches('"');
    let demanded: Value = serde_json::from_slice(&STANDARD.decode(encoded).unwrap()).unwrap();
    assert_eq!(demanded["access_token"]["nbf"]["essential"], true);
    assert_eq!(world.graph("GET", "/me", &plain["access_token"]).await.status(), 200, "without cp1 a token lives on");
    let (_, next) = world.refresh(&capable["refresh_token"], &[("claims", CP1)]).await;
    assert_eq!(world.graph("GET", "/me", &next["access_token"]).await.status(), 200);

    world.control("POST", "entra/revoke", json!({ "user": ADELE })).await;
    assert_eq!(world.graph("GET", "/me", &next["access_token"]).await.status(), 401);
    assert_eq!(number(&world.refresh(&next["refresh_token"], &[("claims", CP1)]).await), 50_173);
    let page = world.enter(ADELE, "User.Read", &[("claims", CP1)]).await;
    let (_, again) = world.redeem(&page, &[]).await;
    assert_eq!(world.graph("GET", "/me", &again["access_token"]).await.status(), 200);
    world.control("PUT", "entra/people", json!({"user": ADELE, "enabled": false})).await;
    assert_eq!(world.graph("GET", "/me", &again["access_token"]).await.status(), 401);

    // A challenge at the page asks for a fresh sign-in in spite of the cookie.
    let cookie = world.enter(EMRE, "User.Read", &[]).await.cookie.unwrap();
    let later = (world.tenant.now() + TimeDelta::seconds(5)).timestamp();
    let demand = json!({"access_token": {"nbf": {"essential": true, "value": later.to_string()}}}).to_string();
    let page = world.open("User.Read", &[("claims", &demand)], Some(&cookie)).await;
    assert!(page.text.contains("<h1>Sign in</h1>"), "{page:?}");
}

#[tokio::test]
async fn conditional_access_demands_a_second_factor_or_blocks() {
    let world = World::start().await;
    let tokens = world.tokens(ADELE, "User.Read offline_access").await;
    for (require, number_of, words) in
        [("mfa", 50_076, "use multi-factor"), ("enrol", 50_079, "enroll in multi-factor")]
    {
        world.control("PUT", "entra/policies", json!({"policies": [{"user": ADELE, "require": require}]})).await;
        let refused = world.refresh(&tokens["refresh_token"], &[]).await;
        assert_eq!((number(&refused), &refused.1["error"]), (number_of, &json!("interaction_required")));
        assert!(refused.1["claims"].as_str().unwrap().contains("capolids"));
        let page = world.enter(ADELE, "User.Read", &[]).await;
        assert!(page.text.contains(words) && page.text.contains("name=mfa value=yes"), "{page:?}");
    }
    let url = world.sign_in_url(&world.tenant.tenant_id, "User.Read offline_access", &[]);
    let strong = world.send(world.form(url, &[("user", ADELE), ("mfa", "yes"), ("answer", "yes")])).await;
    let (_, strong) = world.redeem(&strong, &[]).await;
    assert_eq!(claims(&strong["access_token"])["amr"], json!(["pwd", "mfa"]));
    assert_eq!(world.refresh(&strong["refresh_token"], &[]).await.0, 200);
    let cookie = world.enter(ADELE, "User.Read", &[]).await.cookie.unwrap();
    let silent = world.open("User.Read", &[("prompt", "none")], Some(&cookie)).await;
    assert_eq!(silent.error(), ("interaction_required".into(), "AADSTS50079".into()));

    let block = json!({"policies": [{"client_id": world.tenant.client_id, "require": "block"}]});
    world.control("PUT", "entra/policies", block).await;
    assert_eq!(world.enter(EMRE, "User.Read", &[]).await.error(), ("access_denied".into(), "AADSTS53003".into()));
    assert_eq!(number(&world.refresh(&strong["refresh_token"], &[]).await), 53_003);
}

#[tokio::test]
async fn a_device_waits_until_a_person_decides() {
    let world = World::start().await;
    let client = world.tenant.client_id.clone();
    let tenant = world.tenant.tenant_id.clone();
    world.control("PUT", "clock", json!({"frozen": true})).await;
    let begin = async || {
        let pairs = [("client_id", client.as_str()), ("scope", "openid offline_access User.Read")];
        let page = world.send(world.form(world.endpoint(&tenant, "devicecode"), &pairs)).await;
        serde_json::from_str::<Value>(&page.text).unwrap()
    };
    let poll = async |device: &Value| {
        let code = device["device_code"].as_str().unwrap();
        let pairs = [("client_id", client.as_str()), ("grant_type", DEVICE), ("device_code", code)];
        world.token_of(&tenant, &pairs).await
    };
    let decide = async |device: &Value, user: &str, answer: &str| {
        let url = device["verification_uri"].as_str().unwrap().to_owned();
        let code = device["user_code"].as_str().unwrap();
        world.send(world.form(url, &[("user_code", code), ("user", user), ("answer", answer)])).await
    };
    // Conditional Access asks on the same page.
    world.control("PUT", "entra/policies", json!({"policies": [{"user": ADELE, "require": "mfa"}]})).await;
    let strong = begin().await;
    let page = decide(&strong, ADELE, "yes").await;
    assert!(page.text.contains("name=mfa value=yes") && page.text.contains("name=user_code"), "{page:?}");
    let url = strong["verification_uri"].as_str().unwrap().to_owned();
    let code = strong["user_code"].as_str().unwrap();
    let fields = [("user_code", code), ("user", ADELE), ("answer", "yes"), ("mfa", "yes")];
    assert_eq!(world.send(world.form(url, &fields)).await.status, 200);
    assert_eq!(poll(&strong).await.0, 200);
    world.control("PUT", "entra/policies", json!({"policies": []})).await;

    let device = begin().await;
    let error = async |device: &Value| poll(device).await.1["error"].as_str().unwrap_or_default().to_owned();
    assert_eq!(error(&device).await, "authorization_pending");
    assert_eq!(error(&device).await, "slow_down");
    world.tenant.advance_clock(TimeDelta::seconds(6));
    assert_eq!(error(&device).await, "slow_down", "the interval grew");
    world.control("PUT", "entra/people", json!({"user": EMRE, "enabled": false})).await;
    let refused = decide(&device, EMRE, "yes").await;
    assert!(refused.text.contains("AADSTS50057"), "{refused:?}");
    assert_eq!(decide(&device, ADELE, "yes").await.status, 200);
    let (status, body) = poll(&device).await;
    assert_eq!(status, 200, "{body}");
    assert_eq!(claims(&body["access_token"])["unique_name"], ADELE);
    assert_eq!(error(&device).await, "bad_verification_code");

    // A public client's refresh token ends with the password.
    let pairs = [
        ("client_id", client.as_str()),
        ("grant_type", "refresh_token"),
        ("refresh_token", body["refresh_token"].as_str().unwrap()),
    ];
    assert_eq!(world.token_of(&tenant, &pairs).await.0, 200);
    world.control("POST", "entra/revoke", json!({"user": ADELE, "cause": "password_changed"})).await;
    assert_eq!(number(&world.token_of(&tenant, &pairs).await), 50_173);

    let declined = begin().await;
    decide(&declined, ADELE, "no").await;
    assert_eq!(error(&declined).await, "authorization_declined");
    let late = begin().await;
    world.tenant.advance_clock(TimeDelta::seconds(901));
    assert_eq!(error(&late).await, "expired_token");
    world.control("PUT", "entra/applications", json!({"public_flows": false})).await;
    assert_eq!(number(&poll(&begin().await).await), 7_000_218);
}

#[tokio::test]
async fn a_stranger_is_refused_until_they_are_a_guest() {
    let world = World::start().await;
    let refused = world.enter(MARIA, "User.Read", &[]).await;
    assert_eq!(refused.error(), ("access_denied".into(), "AADSTS50020".into()));
    world.control("POST", "entra/guests", json!({ "user": MARIA })).await;
    let as_guest = world.tokens(MARIA, "openid profile User.Read").await;
    let guest = claims(&as_guest["access_token"]);
    assert_eq!(guest["upn"], "MariaS_fabrikam.onmicrosoft.com#EXT#@contoso.onmicrosoft.com");
    assert_eq!(claims(&as_guest["id_token"])["preferred_username"], MARIA);
    let me = world.graph("GET", "/me", &as_guest["access_token"]).await.text().await.unwrap();
    assert!(me.contains("#EXT#"), "{me}");

    // At home the application is unknown until it is made for several tenants; then another issuer and other keys sign.
    let at_home = |more: &[(&str, &str)]| world.sign_in_url(FABRIKAM, "openid profile User.Read", more);
    let page = world.send(world.http.get(at_home(&[]))).await;
    assert!(page.status == 400 && page.text.contains("AADSTS700016"), "{page:?}");
    world.control("PUT", "entra/applications", json!({"multi_tenant": true})).await;
    let strange = world.send(world.form(at_home(&[]), &[("user", ADELE)])).await;
    assert_eq!(strange.error().1, "AADSTS50020");
    let page = world.send(world.form(at_home(&[]), &[("user", MARIA), ("answer", "yes")])).await;
    let code = page.back("code");
    let pairs = [
        ("client_id", world.tenant.client_id.as_str()),
        ("client_secret", &world.tenant.client_secret),
        ("grant_type", "authorization_code"),
        ("code", &code),
        ("redirect_uri", BACK),
    ];
    assert_eq!(number(&world.token_of(&world.tenant.tenant_id, &pairs).await), 700_005);
    let (status, body) = world.token_of(FABRIKAM, &pairs).await;
    assert_eq!(status, 200, "{body}");
    let member = claims(&body["id_token"]);
    assert_ne!(member["oid"], guest["oid"], "a person has another id in each tenant");
    let home = format!("https://sts.windows.net/{}/", member["tid"].as_str().unwrap());
    assert_eq!((&guest["idp"], member.get("idp")), (&json!(home), None));
    assert_ne!(member["iss"], claims(&as_guest["id_token"])["iss"]);
    let keys = async |tenant: &str| {
        let url = format!("{}{tenant}/discovery/v2.0/keys", world.tenant.authority_url);
        world.send(world.http.get(url)).await.text
    };
    assert_ne!(keys(FABRIKAM).await, keys(&world.tenant.tenant_id).await);
    assert_eq!(world.graph("GET", "/me", &body["access_token"]).await.status(), 401, "Graph serves the first tenant");

    world.control("PUT", "entra/people", json!({"user": MARIA, "enabled": false})).await;
    assert_eq!(world.enter(MARIA, "User.Read", &[]).await.error().1, "AADSTS50057");
}

#[tokio::test]
async fn faults_reach_the_endpoints_of_entra() {
    let world = World::start().await;
    let rule = |kind: &str| json!({"path_contains": "/oauth2/v2.0/token", "kind": kind, "times": 1});
    let with = |kind: &str, more: Value| {
        let mut rule = rule(kind);
        rule.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        rule
    };
    let post = async |rule: Value| world.control("POST", "faults", rule).await;
    post(json!({"kind": "status", "status": 500})).await;
    let tokens = world.tokens(ADELE, "User.Read offline_access").await;
    assert_eq!(world.graph("GET", "/me", &tokens["access_token"]).await.status(), 500, "that rule is for Graph");
    world.control("DELETE", "faults", json!({})).await;

    post(with("status", json!({"status": 429, "retry_after": 3}))).await;
    let pairs = [("grant_type", "refresh_token"), ("refresh_token", tokens["refresh_token"].as_str().unwrap())];
    let own = [("client_id", world.tenant.client_id.as_str()), ("client_secret", &world.tenant.client_secret)];
    let ask = |pairs: &[(&str, &str)]| {
        world.form(world.endpoint(&world.tenant.tenant_id, "token"), &[&own, pairs].concat()).send()
    };
    let refused = ask(&pairs).await.unwrap();
    assert_eq!((refused.status().as_u16(), refused.headers()["retry-after"].to_str().unwrap()), (429, "3"));
    let body: Value = serde_json::from_str(&refused.text().await.unwrap()).unwrap();
    assert_eq!(number(&(429, body)), 90_055);
    assert_eq!(ask(&pairs).await.unwrap().status(), 200, "the rule is used up");

    post(with("delay", json!({"seconds": 0.3}))).await;
    let begun = std::time::Instant::now();
    assert_eq!(ask(&pairs).await.unwrap().status(), 200);
    assert!(begun.elapsed() >= std::time::Duration::from_millis(300));

    // An answer that is lost: with an effect the code is used up, without one it is still good.
    for (kind, expected) in [("drop_without_effect", 200), ("drop_with_effect", 400), ("effect_then_status", 400)] {
        let code = world.enter(ADELE, "User.Read", &[]).await.back("code");
        let redemption = [("grant_type", "authorization_code"), ("code", code.as_str()), ("redirect_uri", BACK)];
        post(rule(kind)).await;
        let lost = ask(&redemption).await;
        assert!(lost.is_err() || lost.unwrap().status() == 503, "{kind}");
        assert_eq!(world.token(&redemption).await.0, expected, "{kind}");
    }
    let stats = world.control("GET", "stats", json!({})).await;
    let redemptions = &stats["entra"]["POST /{tenant}/oauth2/v2.0/token authorization_code"];
    assert_eq!(*redemptions, json!({"200": 2, "400": 2, "503": 1, "none": 2}), "{stats}");
    post(json!({"path_contains": "/oauth2/v2.0/authorize", "kind": "status", "status": 503, "times": 1})).await;
    assert_eq!(world.open("User.Read", &[], None).await.status, 503);
    post(json!({"path_contains": "/discovery/", "kind": "drop_without_effect", "times": 1})).await;
    let keys = format!("{}{}/discovery/v2.0/keys", world.tenant.authority_url, world.tenant.tenant_id);
    assert!(world.http.get(&keys).send().await.is_err());
    assert_eq!(world.http.get(&keys).send().await.unwrap().status(), 200);
}

#[tokio::test]
async fn consent_and_revocation_survive_a_snapshot() {
    let world = World::start().await;
    world.tokens(ADELE, "openid User.Read").await;
    let saved = world.control("GET", "snapshot", json!({})).await;
    world.control("POST", "reset", json!({})).await;
    let fresh = world.control("GET", "entra/consents", json!({})).await;
    assert_eq!(fresh["consents"], json!([]));
    world.control("PUT", "snapshot", saved).await;
    let url = world.sign_in_url(&world.tenant.tenant_id, "openid User.Read", &[]);
    let page = world.send(world.form(url, &[("user", ADELE)])).await;
    assert!(!page.back("code").is_empty(), "no consent is asked for");
}
