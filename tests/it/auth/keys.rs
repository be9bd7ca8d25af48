//! Signing keys (T-03, R-7): rollover, outage, storm.

use std::time::Duration;

use futures::future::join_all;
use graphgate::auth::Roles;
use graphgate::auth::entra::{Config, Entra, TokenError};
use graphgate::clock::Clock;
use graphgate::http_client::HttpClient;
use graphgate::ids::Entropy;
use serde_json::{Value, json};
use wiremock::matchers::path_regex;
use wiremock::{Mock, MockServer, ResponseTemplate};

use super::{APP_ID, Desk};

/// A scripted sign-in service before the desk's keys: it counts, fails and lies as scripted.
struct Script {
    desk: Desk,
    server: MockServer,
    entra: Entra,
}

impl Script {
    async fn start() -> Self {
        let desk = Desk::start().await;
        let server = MockServer::start().await;
        let clock = Clock::from_source(desk.time.clone());
        let http = HttpClient::new(clock.clone(), Entropy::seeded(1)).unwrap();
        let config = Config {
            audiences: vec![APP_ID.to_owned()],
            tenants: vec![desk.tenant.tenant_id.clone()],
            clients: Vec::new(),
            authority: server.uri().parse().unwrap(),
        };
        let script = Self { entra: Entra::new(config, &http, clock), desk, server };
        script.publish().await;
        script
    }

    fn issuer(&self) -> String {
        format!("{}/{}/v2.0", self.server.uri(), self.desk.tenant.tenant_id)
    }

    /// Serves the desk's present keys.
    async fn publish(&self) {
        let authority = self.desk.tenant.authority_url.as_str().trim_end_matches('/');
        let keys = format!("{authority}/{}/discovery/v2.0/keys", self.desk.tenant.tenant_id);
        let keys: Value = reqwest::get(keys).await.unwrap().json().await.unwrap();
        self.serve(json!({"issuer": self.issuer(), "jwks_uri": format!("{}/keys", self.server.uri())}), keys).await;
    }

    async fn serve(&self, discovery: Value, keys: Value) {
        self.server.reset().await;
        let answer = |body| ResponseTemplate::new(200).set_body_json(body);
        Mock::given(path_regex("openid-configuration$")).respond_with(answer(discovery)).mount(&self.server).await;
        Mock::given(path_regex("^/keys$")).respond_with(answer(keys)).mount(&self.server).await;
    }

    async fn fail(&self) {
        self.server.reset().await;
        Mock::given(path_regex(".*")).respond_with(ResponseTemplate::new(503)).mount(&self.server).await;
    }

    async fn fetches(&self) -> usize {
        let received = self.server.received_requests().await.unwrap();
        received.iter().filter(|request| request.url.path().ends_with("openid-configuration")).count()
    }

    async fn token(&self, header: Value) -> String {
        let mut claims = self.desk.person();
        claims["iss"] = self.issuer().into();
        claims["exp"] = (self.desk.start.timestamp() + 90_000_000).into();
        self.desk.sign(&claims, &header).await
    }

    async fn check(&self, token: &str) -> Result<(), TokenError> {
        self.entra.identify(token, &Roles::default()).await.map(drop)
    }
}

fn is_unavailable(result: &Result<(), TokenError>) -> bool {
    matches!(result, Err(TokenError::Unavailable(_)))
}

#[tokio::test]
async fn thousand_concurrent_tokens_fetch_signing_keys_once() {
    let script = Script::start().await;
    let token = script.token(json!({})).await;
    let checked = join_all((0..1000).map(|_| script.check(&token))).await;
    assert!(checked.iter().all(Result::is_ok));
    assert_eq!(script.fetches().await, 1);
}

#[tokio::test]
async fn forged_key_ids_do_not_cause_repeated_key_fetches() {
    let script = Script::start().await;
    let good = script.token(json!({})).await;
    script.check(&good).await.unwrap();
    let forged = script.token(json!({"kid": "forged-KKKK"})).await;
    let (_, rest) = forged.split_once('.').unwrap();
    script.desk.time.advance(Duration::from_secs(301));
    for number in 0..10_000 {
        use base64::Engine as _;
        let header = json!({"alg": "RS256", "typ": "JWT", "kid": format!("forged-{number}")}).to_string();
        let header = base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(header);
        assert!(matches!(script.check(&format!("{header}.{rest}")).await, Err(TokenError::Refused(_))));
    }
    assert_eq!(script.fetches().await, 2, "the first fetch and one more");
    script.check(&good).await.unwrap();
}

#[tokio::test]
async fn rotated_signing_key_is_accepted_after_one_fetch() {
    let script = Script::start().await;
    let before = script.token(json!({})).await;
    script.check(&before).await.unwrap();
    script.desk.control("entra/roll", json!({})).await;
    script.publish().await;
    script.desk.time.advance(Duration::from_secs(301));
    let after = script.token(json!({})).await;
    script.check(&after).await.unwrap();
    script.check(&before).await.unwrap();
    assert_eq!(script.fetches().await, 1, "since the keys were published again");
    script.desk.control("entra/roll", json!({"forget": true})).await;
    script.publish().await;
    script.desk.time.advance(Duration::from_hours(2));
    let latest = script.token(json!({})).await;
    script.check(&latest).await.unwrap();
    assert!(matches!(script.check(&after).await, Err(TokenError::Refused(_))), "a withdrawn key opens nothing");
}

#[tokio::test]
async fn forged_key_ids_do_not_block_tokens_of_a_rotated_key() {
    let script = Script::start().await;
    let good = script.token(json!({})).await;
    script.check(&good).await.unwrap();
    script.desk.time.advance(Duration::from_secs(10));
    let forged = script.token(json!({"kid": "forged"})).await;
    assert!(matches!(script.check(&forged).await, Err(TokenError::Refused(_))));
    // An emergency: the new key was not published before.
    script.desk.control("entra/roll", json!({})).await;
    script.publish().await;
    script.desk.time.advance(Duration::from_secs(6));
    let rolled = script.token(json!({})).await;
    script.check(&rolled).await.unwrap();
    assert_eq!(script.fetches().await, 1, "since the keys were published again");
    // More forged ids than are looked up: a caller with a new key is asked to come again, and is not refused.
    for number in 0..5 {
        script.desk.time.advance(Duration::from_secs(6));
        let forged = script.token(json!({"kid": format!("forged-{number}")})).await;
        assert!(script.check(&forged).await.is_err());
    }
    assert!(script.fetches().await <= 3, "so few are looked up in five minutes");
    script.desk.control("entra/roll", json!({})).await;
    script.publish().await;
    let latest = script.token(json!({})).await;
    let Err(TokenError::NotYet(wait)) = script.check(&latest).await else { panic!("it is too early") };
    assert!(wait <= Duration::from_mins(5), "{wait:?}");
    script.desk.time.advance(wait);
    script.check(&latest).await.unwrap();
}

#[tokio::test]
async fn cached_signing_keys_work_through_a_day_of_entra_outage() {
    let script = Script::start().await;
    let token = script.token(json!({})).await;
    script.check(&token).await.unwrap();
    script.fail().await;
    for hour in 0..24 {
        script.desk.time.advance(Duration::from_hours(1));
        script.check(&token).await.unwrap_or_else(|error| panic!("hour {hour}: {error}"));
    }
    assert!(script.fetches().await <= 24);
    script.desk.time.advance(Duration::from_hours(3));
    assert!(is_unavailable(&script.check(&token).await), "after that nobody is let in, and nobody is blamed");
    script.publish().await;
    script.desk.time.advance(Duration::from_mins(6));
    script.check(&token).await.unwrap();
}

#[tokio::test]
async fn without_signing_keys_a_token_is_unavailable_not_unauthorized() {
    let script = Script::start().await;
    let token = script.token(json!({})).await;
    script.fail().await;
    for _ in 0..5 {
        assert!(is_unavailable(&script.check(&token).await));
    }
    assert_eq!(script.fetches().await, 1);
    script.publish().await;
    script.desk.time.advance(Duration::from_secs(6));
    script.check(&token).await.unwrap();
}

#[tokio::test]
async fn metadata_documents_naming_another_host_are_not_followed() {
    let script = Script::start().await;
    let token = script.token(json!({})).await;
    let authority = script.desk.tenant.authority_url.as_str().trim_end_matches('/').to_owned();
    let elsewhere = format!("{authority}/{}/discovery/v2.0/keys", script.desk.tenant.tenant_id);
    let own = format!("{}/keys", script.server.uri());
    for discovery in [
        json!({"issuer": script.issuer(), "jwks_uri": elsewhere}),
        json!({"issuer": format!("{}/common/v2.0", script.server.uri()), "jwks_uri": own}),
        json!({"issuer": script.issuer()}),
        json!({"issuer": script.issuer(), "jwks_uri": "/keys"}),
    ] {
        script.serve(discovery, json!({"keys": []})).await;
        assert!(is_unavailable(&script.check(&token).await));
        script.desk.time.advance(Duration::from_secs(6));
    }
    let useless = json!({"keys": [
        {"kty": "EC", "kid": "a", "crv": "P-256", "x": "AA", "y": "AA"},
        {"kty": "RSA", "kid": "b", "use": "enc", "n": "AQAB", "e": "AQAB"},
        {"kty": "RSA", "n": "AQAB", "e": "AQAB"},
        {"kty": "oct", "kid": "c", "k": "AA"},
    ]});
    script.serve(json!({"issuer": script.issuer(), "jwks_uri": own}), useless).await;
    assert!(is_unavailable(&script.check(&token).await));
}
