//! Connected accounts on several instances that share a store, beside Entra as the simulated tenant plays it.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use chrono::TimeDelta;
use graphgate::auth::delegated::accounts::{AccountError, Accounts};
use graphgate::auth::delegated::microsoft::{Ask, Config, Microsoft, MicrosoftError};
use graphgate::azure::{ClientProof, Secret};
use graphgate::clock::Clock;
use graphgate::http_client::HttpClient;
use graphgate::ids::{Entropy, UserId};
use graphgate::keyring::{self, Keyring};
use graphgate::rows::{Tables, TenantTables, Write};
use graphgate::store::MemoryTables;
use graphgate_sim as sim;
use serde_json::{Value, json};

use super::{ADELE, EMRE};
use crate::support::Leaping;

const BACK: &str = "http://localhost:5001/auth/callback";

/// Three instances over one store.
struct Deployment {
    tenant: sim::Running,
    tables: TenantTables,
    leaping: Leaping,
    ring: String,
    instances: Vec<Accounts>,
}

impl Deployment {
    async fn start() -> Self {
        let config = sim::Config { scenario: sim::Scenario::Demo, ..sim::Config::default() };
        let tenant = sim::start(config).await.unwrap();
        let store: Arc<dyn Tables> = Arc::new(MemoryTables::default());
        let tables = TenantTables::new(store, &tenant.tenant_id);
        let (leaping, ring) = (Leaping::default(), keyring::generate(&Entropy::system()));
        let mut deployment = Self { tenant, tables, leaping, ring, instances: Vec::new() };
        deployment.instances = (0..3).map(|_| deployment.instance(&deployment.ring)).collect();
        deployment
    }

    fn instance(&self, ring: &str) -> Accounts {
        let clock = Clock::from_source(Arc::new(self.leaping.clone()));
        let http = HttpClient::new(clock.clone(), Entropy::system()).unwrap();
        let config = Config {
            authority: self.tenant.authority_url.clone(),
            tenant: self.tenant.tenant_id.clone(),
            client_id: self.tenant.client_id.clone(),
            redirect_uri: BACK.to_owned(),
            graph: "https://graph.microsoft.com".to_owned(),
            permissions: Vec::new(),
        };
        let proof = ClientProof::secret(Secret::new(&self.tenant.client_secret));
        let microsoft = Arc::new(Microsoft::new(config, proof, http, clock.clone()));
        let keyring = Keyring::parse(ring, &self.tenant.tenant_id).unwrap();
        let page = "https://gate.example/pages/accounts".to_owned();
        Accounts::new(self.tables.partition("accounts"), keyring, microsoft, clock, Entropy::system(), page)
    }

    /// Somebody signs in at one of the instances.
    async fn connect(&self, who: &str) -> UserId {
        let accounts = &self.instances[0];
        let permissions = vec!["User.Read".to_owned()];
        let (verifier, nonce) = ("v".repeat(43), "n-1");
        let ask = Ask { state: "s", nonce, verifier: &verifier, permissions: &permissions, ..Ask::default() };
        let url = accounts.microsoft().sign_in_address(&ask).unwrap();
        let request = reqwest::Client::builder().no_proxy().build().unwrap().post(url);
        let request = request.header("content-type", "application/x-www-form-urlencoded");
        let page = request.body(format!("user={who}&answer=yes")).send().await.unwrap().text().await.unwrap();
        let code = page.split("name=code value=\"").nth(1).or_else(|| page.split("name=\"code\" value=\"").nth(1));
        let code = code.unwrap_or_else(|| panic!("{page}")).split('"').next().unwrap();
        let granted = accounts.microsoft().redeem(&Secret::new(code), &verifier, &permissions).await.unwrap();
        let id = granted.id_token.as_ref().unwrap();
        assert!(matches!(accounts.microsoft().signed_in(id, Some("n-2")).await, Err(MicrosoftError::Untrue(_))));
        let who = accounts.microsoft().signed_in(id, Some(nonce)).await.unwrap();
        accounts.connect(&who, &granted).await.unwrap();
        who.person
    }

    async fn number(&self) -> u64 {
        self.instances[0].list().await.unwrap()[0].number
    }

    fn leap(&self, by: TimeDelta) {
        self.leaping.leap(by);
    }

    fn entra(&self, fault: Value) {
        let mut fault = fault;
        fault["path_contains"] = json!("/oauth2/v2.0/token");
        self.tenant.add_fault(serde_json::from_value(fault).unwrap());
    }
}

#[tokio::test]
async fn three_instances_refresh_one_account_once_each_time() {
    let deployment = Deployment::start().await;
    let person = deployment.connect(ADELE).await;
    deployment.entra(json!({"kind": "delay", "seconds": 0.05}));
    for round in 0..25 {
        deployment.leap(TimeDelta::hours(30));
        let before = deployment.number().await;
        let calls = deployment.instances.iter().flat_map(|accounts| (0..4).map(|_| accounts.token(&person)));
        let tokens = futures::future::join_all(calls).await;
        let texts: BTreeSet<String> =
            tokens.into_iter().map(|token| token.unwrap().secret.expose().to_owned()).collect();
        assert_eq!(texts.len(), 1, "round {round}: one token for all");
        assert_eq!(deployment.number().await, before + 1, "round {round}: one refresh");
    }
}

#[tokio::test]
async fn refresh_of_an_instance_that_died_is_made_by_another() {
    let deployment = Deployment::start().await;
    let person = deployment.connect(ADELE).await;
    for (round, kind) in ["timeout_without_effect", "timeout_with_effect"].into_iter().cycle().take(10).enumerate() {
        deployment.leap(TimeDelta::hours(30));
        deployment.entra(json!({"kind": kind, "times": 1}));
        let (dying, person_then) = (deployment.instances[round % 3].clone(), person.clone());
        let dies = tokio::spawn(async move { dying.token(&person_then).await });
        tokio::time::sleep(Duration::from_millis(100)).await;
        dies.abort();
        deployment.tenant.clear_faults();
        deployment.leap(TimeDelta::seconds(41)); // its lease has ended
        let other = &deployment.instances[(round + 1) % 3];
        other.token(&person).await.unwrap_or_else(|error| panic!("round {round} ({kind}): {error}"));
        // Another process takes the place of the one that died: what it knew is gone.
    }
}

#[tokio::test]
async fn outage_of_entra_is_told_as_one_and_loses_nothing() {
    let deployment = Deployment::start().await;
    let person = deployment.connect(ADELE).await;
    for fault in [
        json!({"kind": "status", "status": 503}),
        json!({"kind": "status", "status": 429}),
        json!({"kind": "drop_without_effect"}),
        json!({"kind": "drop_with_effect"}),
    ] {
        deployment.leap(TimeDelta::hours(30));
        deployment.entra(fault.clone());
        let error = deployment.instances[1].token(&person).await.unwrap_err();
        assert!(matches!(error, AccountError::Microsoft(MicrosoftError::Outage(_))), "{fault}: {error}");
        deployment.tenant.clear_faults();
        deployment.instances[2].token(&person).await.unwrap_or_else(|error| panic!("{fault}: {error}"));
        deployment.leap(TimeDelta::seconds(4)); // the failure is not remembered for longer
        deployment.instances[1].token(&person).await.unwrap();
    }
    assert!(deployment.instances[0].list().await.unwrap()[0].trouble.is_none());
}

#[tokio::test]
async fn sealed_token_opens_only_where_and_as_what_it_was_kept() {
    let deployment = Deployment::start().await;
    let (adele, emre) = (deployment.connect(ADELE).await, deployment.connect(EMRE).await);
    let rows = deployment.tables.partition("accounts");
    let read = async |person: &UserId| rows.get(&format!("account|{person}")).await.unwrap().unwrap();
    let of = async |person: &UserId| read(person).await.decode::<Value>().unwrap();
    let first = of(&adele).await;
    deployment.leap(TimeDelta::hours(30));
    deployment.instances[0].token(&adele).await.unwrap();
    let (hers, his) = (of(&adele).await, of(&emre).await);
    assert_ne!(first["refresh"], hers["refresh"]);
    let cases = [
        ("of another person", json!({"refresh": his["refresh"]})),
        ("an older one", json!({"refresh": first["refresh"]})),
        ("the access token in its place", json!({"refresh": hers["access"]["token"]})),
        ("damaged", json!({"refresh": hers["refresh"].as_str().unwrap().replace('A', "B")})),
        ("none", json!({"refresh": ""})),
    ];
    for (what, changes) in cases {
        let mut row = hers.clone();
        row.as_object_mut().unwrap().remove("access");
        row.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
        rows.commit(vec![Write::upsert(format!("account|{adele}"), &row).unwrap()]).await.unwrap();
        let error = deployment.instance(&deployment.ring).token(&adele).await.unwrap_err();
        assert!(matches!(error, AccountError::Keyring(_)), "{what}: {error}");
    }
    rows.commit(vec![Write::upsert(format!("account|{adele}"), &hers).unwrap()]).await.unwrap();
    let other = keyring::generate(&Entropy::system());
    let error = deployment.instance(&other).token(&adele).await.unwrap_err();
    assert!(matches!(error, AccountError::Keyring(_)), "another key: {error}");
    deployment.instance(&deployment.ring).token(&adele).await.unwrap();
}

#[tokio::test]
async fn disconnected_person_has_no_token_at_any_instance() {
    let deployment = Deployment::start().await;
    let person = deployment.connect(ADELE).await;
    assert!(deployment.instances[0].disconnect(&person).await.unwrap());
    let error = deployment.instances[0].token(&person).await.unwrap_err();
    assert!(matches!(error, AccountError::NotConnected { .. }), "{error}");
    assert!(!deployment.instances[0].disconnect(&person).await.unwrap());
    let again = deployment.connect(ADELE).await;
    assert_eq!(again, person);
    for accounts in &deployment.instances {
        accounts.token(&person).await.unwrap();
    }
}

#[tokio::test]
async fn person_whom_entra_lets_in_no_more_is_noticed_when_a_client_refreshes() {
    let deployment = Deployment::start().await;
    let person = deployment.connect(ADELE).await;
    let accounts = &deployment.instances[1];
    accounts.confirm(&person).await.unwrap();
    let before = deployment.number().await;
    deployment.leap(TimeDelta::minutes(6));
    accounts.confirm(&person).await.unwrap();
    assert_eq!(deployment.number().await, before + 1, "Entra was asked");
    // While Entra does not answer, what it said last holds for a day.
    deployment.leap(TimeDelta::minutes(6));
    deployment.entra(json!({"kind": "status", "status": 503}));
    accounts.confirm(&person).await.unwrap();
    deployment.leap(TimeDelta::hours(25));
    assert!(matches!(accounts.confirm(&person).await, Err(AccountError::Microsoft(MicrosoftError::Outage(_)))));
    deployment.tenant.clear_faults();
    let url = format!("{}/entra/people", deployment.tenant.control_url);
    let disabled = json!({"user": ADELE, "enabled": false}).to_string();
    let answer = reqwest::Client::builder().no_proxy().build().unwrap().put(url).body(disabled).send().await.unwrap();
    assert!(answer.status().is_success());
    for accounts in &deployment.instances {
        deployment.leap(TimeDelta::minutes(6));
        let error = accounts.confirm(&person).await.unwrap_err();
        assert!(matches!(error, AccountError::SignIn { .. }), "{error}");
    }
}

#[tokio::test]
async fn account_nobody_uses_is_among_those_to_be_forgotten() {
    let deployment = Deployment::start().await;
    let (adele, emre) = (deployment.connect(ADELE).await, deployment.connect(EMRE).await);
    deployment.leap(TimeDelta::days(80));
    deployment.instances[0].token(&adele).await.unwrap();
    let clock = Clock::from_source(Arc::new(deployment.leaping.clone()));
    let since = clock.now() - TimeDelta::days(60);
    assert_eq!(deployment.instances[1].unused(since).await.unwrap(), [emre]);
}

#[tokio::test]
async fn disabled_person_is_found_out_without_any_call_of_graph() {
    let deployment = Deployment::start().await;
    let person = deployment.connect(ADELE).await;
    let accounts = &deployment.instances[1];
    let account = accounts.current(&person).await.unwrap().unwrap();
    let url = format!("{}/entra/people", deployment.tenant.control_url);
    let request = reqwest::Client::builder().no_proxy().build().unwrap().put(url);
    let disabled = request.body(json!({"user": ADELE, "enabled": false}).to_string()).send().await.unwrap();
    assert!(disabled.status().is_success());
    accounts.confirm_believed(&account).await.expect("Entra said so just now");
    deployment.leap(TimeDelta::minutes(6));
    let refused = accounts.confirm_believed(&account).await.unwrap_err();
    assert!(matches!(refused, AccountError::SignIn { .. }), "{refused}");
    assert!(accounts.believed(&person).await.unwrap().unwrap().trouble.is_some(), "and what is believed says so");
}

#[tokio::test]
async fn token_that_many_calls_hold_is_replaced_once_and_for_all_of_them() {
    let deployment = Deployment::start().await;
    let person = deployment.connect(ADELE).await;
    let tokens = deployment.instances[0].provider(&person);
    let held = tokens.token("s").await.unwrap();
    let before = deployment.number().await;
    assert!(!tokens.reject("s", &held, None), "a young one has another reason to be refused");
    let challenge = r#"{"access_token":{"acrs":{"essential":true,"value":"c1"}}}"#;
    let calls = (0..8).map(|_| async {
        assert!(tokens.reject("s", &held, Some(challenge)), "each may try again");
        tokens.token("s").await.unwrap().secret
    });
    let next = futures::future::join_all(calls).await;
    assert!(next.iter().all(|secret| *secret == next[0] && *secret != held.secret));
    assert_eq!(deployment.number().await, before + 1, "one refresh for all");
    assert!(tokens.reject("s", &held, None), "who comes late finds the next one");
    assert_eq!(tokens.token("s").await.unwrap().secret, next[0]);
}
