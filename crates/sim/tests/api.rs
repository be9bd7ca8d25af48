//! A tenant as another program's tests use it: started, turned and asked by Rust alone.

#![allow(missing_docs, clippy::unwrap_used, clippy::indexing_slicing, clippy::disallowed_methods)]

use chrono::TimeDelta;
use graphgate_sim::{Config, FaultKind, Rule, Running, Scenario, start};
use serde_json::Value;

/// The seeded application's token.
async fn token(tenant: &Running) -> String {
    let url = format!("{}{}/oauth2/v2.0/token", tenant.authority_url, tenant.tenant_id);
    let form = format!(
        "grant_type=client_credentials&scope=https%3A%2F%2Fgraph.microsoft.com%2F.default&client_id={}&client_secret={}",
        tenant.client_id, tenant.client_secret
    );
    let request = reqwest::Client::new().post(url).header("content-type", "application/x-www-form-urlencoded");
    let answer = request.body(form).send().await.unwrap();
    let answer: Value = serde_json::from_slice(&answer.bytes().await.unwrap()).unwrap();
    answer["access_token"].as_str().unwrap().to_owned()
}

async fn groups(tenant: &Running, token: &str) -> reqwest::Response {
    let url = format!("{}/groups", tenant.graph_url);
    reqwest::Client::new().get(url).bearer_auth(token).send().await.unwrap()
}

#[tokio::test]
async fn a_fault_hits_as_often_as_it_says_and_is_in_the_requests() {
    let tenant = start(Config::default()).await.unwrap();
    let token = token(&tenant).await;
    let mut refusal = Rule::of(FaultKind::Status);
    refusal.path_contains = Some("/groups".to_owned());
    (refusal.times, refusal.status, refusal.retry_after) = (Some(2), Some(429), Some(7));
    tenant.add_fault(refusal);
    let mut statuses = Vec::new();
    for _ in 0..3 {
        let answer = groups(&tenant, &token).await;
        let wait = answer.headers().get("retry-after").map(|wait| wait.to_str().unwrap().to_owned());
        statuses.push((answer.status().as_u16(), wait));
    }
    let refused = (429, Some("7".to_owned()));
    assert_eq!(statuses, [refused.clone(), refused, (200, None)]);
    let seen: Vec<u64> = tenant.requests(3).iter().map(|request| request["status"].as_u64().unwrap()).collect();
    assert_eq!(seen, [429, 429, 200]);
    tenant.add_fault(Rule::of(FaultKind::Status));
    tenant.clear_faults();
    assert_eq!(groups(&tenant, &token).await.status(), 200);
    tenant.stop().await;
}

#[tokio::test]
async fn simulated_token_expires_with_the_clock() {
    let tenant = start(Config { scenario: Scenario::Empty, ..Config::default() }).await.unwrap();
    let old = token(&tenant).await;
    assert_eq!(groups(&tenant, &old).await.status(), 200);
    let before = tenant.now();
    tenant.advance_clock(TimeDelta::hours(2));
    assert!(tenant.now() - before >= TimeDelta::hours(2));
    assert_eq!(groups(&tenant, &old).await.status(), 401);
    assert_eq!(groups(&tenant, &token(&tenant).await).await.status(), 200);
}
