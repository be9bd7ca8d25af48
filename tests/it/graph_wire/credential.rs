//! Tokens: how many are fetched, and what is said when none comes.

use std::sync::Arc;
use std::time::Duration;

use chrono::DateTime;
use futures::future::join_all;
use graphgate::azure::{BroughtToken, Credential, CredentialConfig, Loopback, Secret, TokenProvider};
use graphgate::clock::{Clock, ManualClock};
use graphgate::graph::tasks::TaskPatch;
use graphgate::graph::{Call, ErrorKind, Identity, Person};
use graphgate::http_client::HttpClient;
use graphgate::ids::{Entropy, UserId};
use serde_json::json;
use wiremock::matchers::method;
use wiremock::{Mock, MockServer, ResponseTemplate};

use super::support::{ETAG, TOKEN, World, client_secret, task, task_id};

const SCOPE: &str = "https://graph.microsoft.com/.default";

struct Login {
    server: MockServer,
    time: Arc<ManualClock>,
    credential: Credential,
}

impl Login {
    async fn start() -> Self {
        let server = MockServer::start().await;
        let time = ManualClock::at(DateTime::UNIX_EPOCH);
        let clock = Clock::from_source(time.clone());
        let entropy = Entropy::seeded(1);
        let http = HttpClient::new(clock.clone(), entropy.clone()).unwrap();
        let loopback = Loopback::one("login.microsoftonline.com", server.address().port());
        let credential = Credential::new(client_secret(), &http, clock, entropy, Some(loopback)).unwrap();
        Self { server, time, credential }
    }

    async fn grant(&self, token: &str) {
        self.server.reset().await;
        let body = json!({ "token_type": "Bearer", "expires_in": 3600, "ext_expires_in": 3600, "access_token": token });
        self.answer(ResponseTemplate::new(200).set_body_json(body)).await;
    }

    async fn refuse(&self) {
        self.server.reset().await;
        let text = "AADSTS7000215: Invalid client secret provided.";
        let body = json!({ "error": "invalid_client", "error_codes": [7_000_215], "error_description": text });
        self.answer(ResponseTemplate::new(401).set_body_json(body)).await;
    }

    async fn answer(&self, answer: ResponseTemplate) {
        Mock::given(method("POST")).respond_with(answer).mount(&self.server).await;
    }

    async fn fetches(&self) -> usize {
        self.server.received_requests().await.unwrap().len()
    }
}

#[tokio::test]
async fn thousand_concurrent_callers_request_one_token() {
    let login = Login::start().await;
    login.grant("one").await;
    let tokens = join_all((0..1000).map(|_| login.credential.token(SCOPE))).await;
    assert!(tokens.iter().all(|token| token.as_ref().unwrap().secret.expose() == "one"));
    assert_eq!(login.fetches().await, 1);
    let request = &login.server.received_requests().await.unwrap()[0];
    let body = String::from_utf8(request.body.clone()).unwrap();
    assert!(body.contains("grant_type=client_credentials") && body.contains("client_secret=secret"), "{body}");
    assert_eq!(request.url.path(), "/tenant/oauth2/v2.0/token");
}

#[tokio::test]
async fn token_is_renewed_at_four_fifths_of_its_lifetime() {
    let login = Login::start().await;
    login.grant("one").await;
    login.credential.token(SCOPE).await.unwrap();
    login.grant("two").await;
    login.time.advance(Duration::from_secs(2800));
    assert_eq!(login.credential.token(SCOPE).await.unwrap().secret.expose(), "one");
    login.time.advance(Duration::from_secs(100));
    assert_eq!(login.credential.token(SCOPE).await.unwrap().secret.expose(), "two");
    assert_eq!(login.fetches().await, 1);
}

#[tokio::test]
async fn failed_token_renewal_keeps_the_valid_token() {
    let login = Login::start().await;
    login.grant("one").await;
    login.credential.token(SCOPE).await.unwrap();
    login.refuse().await;
    login.time.advance(Duration::from_mins(50));
    for _ in 0..10 {
        assert_eq!(login.credential.token(SCOPE).await.unwrap().secret.expose(), "one");
    }
    assert_eq!(login.fetches().await, 1);
    login.time.advance(Duration::from_secs(590));
    assert!(login.credential.token(SCOPE).await.is_err(), "too close to its end");
}

#[tokio::test]
async fn token_refusal_is_quoted_cached_for_seconds_and_shown() {
    let login = Login::start().await;
    login.refuse().await;
    for _ in 0..10 {
        let error = login.credential.token(SCOPE).await.unwrap_err().to_string();
        assert!(error.contains("AADSTS7000215: Invalid client secret provided."), "{error}");
    }
    assert_eq!(login.fetches().await, 1);
    let status = login.credential.status();
    assert_eq!(status[0].scope, SCOPE);
    assert!(status[0].last_error.as_ref().unwrap().1.contains("AADSTS7000215"));
    login.time.advance(Duration::from_secs(5));
    login.grant("one").await;
    login.credential.token(SCOPE).await.unwrap();
    assert_eq!(login.credential.status()[0].last_error, None);
}

#[tokio::test]
async fn graph_401_is_a_credential_error() {
    let (graph, login) = (MockServer::start().await, MockServer::start().await);
    Mock::given(method("POST")).respond_with(ResponseTemplate::new(503)).mount(&login).await;
    let world = World::over(graph, login, Clock::system());
    let error = world.client.get_task(&Call::interactive(Identity::Application), &task_id()).await.unwrap_err();
    assert!(matches!(error.kind, ErrorKind::Credential(_)) && !error.is_ambiguous(), "{error}");
    assert!(world.received().await.is_empty());
}

#[tokio::test]
async fn rejected_token_is_replaced_after_a_minute() {
    let world = World::fast().await;
    let refusal = || ResponseTemplate::new(401);
    world.answer_once("GET", ".*", refusal()).await;
    let error = world.client.get_task(&Call::interactive(Identity::Application), &task_id()).await.unwrap_err();
    assert!(matches!(error.kind, ErrorKind::Unauthorized) && !error.is_ambiguous(), "a young token is kept: {error}");
    world.clock.sleep(Duration::from_secs(61)).await;
    world.answer_once("PATCH", ".*", refusal()).await;
    world.answer("PATCH", ".*", ResponseTemplate::new(200).set_body_json(task(&task_id(), "t"))).await;
    let patch = TaskPatch { title: Some("t".to_owned()), ..TaskPatch::default() };
    world.client.update_task(&Call::interactive(Identity::Application), &task_id(), ETAG, &patch).await.unwrap();
    assert_eq!(world.login.received_requests().await.unwrap().len(), 2, "one more token was fetched");
    assert_eq!(world.received().await.len(), 3);
}

#[tokio::test]
async fn delegated_call_uses_the_persons_token() {
    let world = World::start().await;
    world.answer("GET", ".*", ResponseTemplate::new(200).set_body_json(task(&task_id(), "t"))).await;
    let token = BroughtToken::new(Secret::new("of-ann"), world.clock.now() + chrono::TimeDelta::hours(1));
    let id = UserId::parse("00000000-0000-0000-0000-0000000000a1").unwrap();
    let call = Call::interactive(Identity::Person(Person { id, tokens: Arc::new(token) }));
    world.client.get_task(&call, &task_id()).await.unwrap();
    world.client.get_task(&Call::interactive(Identity::Application), &task_id()).await.unwrap();
    let received = world.received().await;
    assert_eq!(received[0].headers["authorization"], "Bearer of-ann");
    assert_eq!(received[1].headers["authorization"].to_str().unwrap(), format!("Bearer {TOKEN}"));
    assert_eq!(world.login.received_requests().await.unwrap().len(), 1);
}

#[tokio::test]
async fn loopback_credential_refuses_other_hosts() {
    let login = Login::start().await;
    let clock = Clock::system();
    let http = HttpClient::new(clock.clone(), Entropy::seeded(1)).unwrap();
    let loopback = Loopback::one("login.example", login.server.address().port());
    let credential = Credential::new(client_secret(), &http, clock, Entropy::seeded(1), Some(loopback)).unwrap();
    let error = credential.token(SCOPE).await.unwrap_err().to_string();
    assert!(error.contains("`login.microsoftonline.com` is not part of the simulated tenant"), "{error}");
}

#[tokio::test]
async fn authority_without_https_is_refused() {
    let clock = Clock::system();
    let http = HttpClient::new(clock.clone(), Entropy::seeded(1)).unwrap();
    let CredentialConfig::ClientSecret { tenant, client_id, secret, .. } = client_secret() else { unreachable!() };
    let config = CredentialConfig::ClientSecret {
        tenant,
        client_id,
        secret,
        authority: Some("http://login.example".to_owned()),
    };
    assert!(Credential::new(config, &http, clock, Entropy::seeded(1), None).is_err());
}

#[tokio::test]
async fn token_request_is_retried_after_a_server_error() {
    let login = Login::start().await;
    login.grant("one").await;
    let hiccup = Mock::given(method("POST")).respond_with(ResponseTemplate::new(503));
    hiccup.up_to_n_times(2).with_priority(1).mount(&login.server).await;
    assert_eq!(login.credential.token(SCOPE).await.unwrap().secret.expose(), "one");
    assert_eq!(login.fetches().await, 3);
}
