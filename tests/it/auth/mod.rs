//! Who comes in: tokens of Entra, keys of the book, and what each may then do and see.

mod audited;
mod bounds;
mod callers;
mod ended;
mod keys;
mod limits;
mod operator;
mod sign_in;
mod signed;
mod tokens;

use std::sync::Arc;

use chrono::{DateTime, Utc};
use graphgate::auth::entra::{Config, Entra, TokenError};
use graphgate::auth::{Caller, Roles};
use graphgate::clock::{Clock, ManualClock};
use graphgate::http_client::HttpClient;
use graphgate::ids::Entropy;
use graphgate_sim as sim;
use serde_json::{Value, json};

pub const AUDIENCE: &str = "api://22222222-2222-2222-2222-222222222222";
pub const APP_ID: &str = "22222222-2222-2222-2222-222222222222";
pub const CLIENT: &str = "33333333-3333-3333-3333-333333333333";
pub const PERSON: &str = "44444444-4444-4444-4444-444444444444";

/// A sign-in service that signs anything, and a check of its tokens on a clock of our own.
pub struct Desk {
    pub tenant: sim::Running,
    pub time: Arc<ManualClock>,
    pub entra: Entra,
    pub start: DateTime<Utc>,
    http: reqwest::Client,
}

impl Desk {
    pub async fn start() -> Self {
        let config = sim::Config { scenario: sim::Scenario::Empty, ..sim::Config::default() };
        let tenant = sim::start(config).await.unwrap();
        let start = Utc::now();
        let time = ManualClock::at(start);
        let config = Config {
            audiences: vec![APP_ID.to_owned(), AUDIENCE.to_owned()],
            tenants: vec![tenant.tenant_id.clone()],
            clients: vec![CLIENT.to_owned()],
            authority: tenant.authority_url.clone(),
        };
        let clock = Clock::from_source(time.clone());
        let http = HttpClient::new(clock.clone(), Entropy::seeded(1)).unwrap();
        Self { entra: Entra::new(config, &http, clock), tenant, time, start, http: reqwest::Client::new() }
    }

    /// The issuer of version 2 tokens.
    pub fn issuer(&self) -> String {
        format!("{}/{}/v2.0", self.tenant.authority_url.as_str().trim_end_matches('/'), self.tenant.tenant_id)
    }

    /// The claims of a good token of a person, version 2.
    pub fn person(&self) -> Value {
        let now = self.start.timestamp();
        json!({
            "iss": self.issuer(), "aud": APP_ID, "iat": now, "nbf": now, "exp": now + 3600,
            "tid": self.tenant.tenant_id, "ver": "2.0", "azp": CLIENT, "oid": PERSON, "sub": "pairwise",
            "scp": "Planner.ReadWrite", "name": "Ada", "preferred_username": "ada@contoso.com",
        })
    }

    /// The claims of a good token of an application, version 1.
    pub fn application(&self) -> Value {
        let now = self.start.timestamp();
        json!({
            "iss": format!("https://sts.windows.net/{}/", self.tenant.tenant_id), "aud": AUDIENCE,
            "iat": now, "nbf": now, "exp": now + 3600, "tid": self.tenant.tenant_id, "ver": "1.0",
            "appid": CLIENT, "oid": PERSON, "sub": PERSON, "roles": ["Planner.Read"], "idtyp": "app",
        })
    }

    /// A token with these claims, signed by the service's own key.
    pub async fn sign(&self, claims: &Value, header: &Value) -> String {
        let answer = self.control("entra/sign", json!({"claims": claims, "header": header})).await;
        answer["token"].as_str().unwrap().to_owned()
    }

    pub async fn control(&self, path: &str, body: Value) -> Value {
        let url = format!("{}/{path}", self.tenant.control_url);
        let answer = self.http.post(url).json(&body).send().await.unwrap();
        assert!(answer.status().is_success(), "{path}: {}", answer.status());
        answer.json().await.unwrap()
    }

    pub async fn identify(&self, token: &str) -> Result<Caller, TokenError> {
        self.entra.identify(token, &Roles::default()).await
    }
}
