//! A queue's messages meet an outage of half an hour, at a thirtieth of all times; `OUTAGE_PACE=1` takes the real ones.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::Deployment;
use crate::support::functions_host::is_packaged;

/// Notifications that arrive while Microsoft Graph is away.
const MESSAGES: usize = 6;

#[tokio::test]
#[ignore = "needs AZURITE"]
async fn messages_during_a_half_hour_outage_are_applied_once_afterwards() {
    assert!(!is_packaged(), "a package knows no other pace: the step `host` leaves this test out");
    let pace: u32 = std::env::var("OUTAGE_PACE").map_or(30, |pace| pace.parse().unwrap());
    let scaled = |seconds: u32| Duration::from_secs(u64::from(seconds)) / pace;
    let hold = scaled(240).as_millis().to_string();
    let patience = scaled(120).as_millis().to_string();
    let change = |host: &mut Value| {
        host["extensions"]["queues"]["visibilityTimeout"] = json!(format!("00:00:{:02}", scaled(30).as_secs()));
        host["customHandler"]["description"]["arguments"] = json!(["serve", "--hold", hold, "--patience", patience]);
        host["visibility"] = json!(scaled(600).as_secs());
        if pace != 1 {
            // Messages about one thing wait for each other; a try takes longer than its share of the outage.
            host["extensions"]["queues"]["maxDequeueCount"] = json!(1);
        }
    };
    let deployment = Deployment::on(change, &[]).await;
    let made = deployment.ok("create_subscription", json!({"kind": "group", "names": ["Digital"]})).await;
    assert_eq!(made["subscription"]["state"], "active", "{made:#}");
    let group = deployment.page("api/metadata?type=group&id=Digital").await["id"].as_str().unwrap().to_owned();
    let outage = json!({"rules": [{"kind": "status", "status": 503}]});
    deployment.control("PUT", "faults", outage).await;
    let begun = Instant::now();
    for _ in 0..MESSAGES {
        let change = json!({"resource": format!("groups/{group}"), "id": group});
        assert_eq!(deployment.control("POST", "notifications", change).await["sent"], 1);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let queue = deployment.storage.named("graphgate-notifications");
    let poison = deployment.storage.named("graphgate-notifications-poison");
    let mut swept_at = begun;
    let (mut poisoned, mut over_at) = (0, None);
    // The timer comes every quarter of an hour.
    loop {
        if over_at.is_none() && begun.elapsed() >= scaled(1_800) {
            deployment.control("DELETE", "faults", json!({})).await;
            over_at = Some(Instant::now());
        }
        poisoned = poisoned.max(poison.count().await);
        if swept_at.elapsed() >= scaled(900) {
            swept_at = Instant::now();
            assert!(deployment.host.fire("sweep_poison").await.succeeded);
        }
        if over_at.is_some() && queue.count().await == 0 && poison.count().await == 0 {
            break;
        }
        assert!(begun.elapsed() < scaled(3_600) + Duration::from_secs(30), "{:#?}", deployment.host.invocations());
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    assert!(poisoned > 0, "the outage was long enough to use up all tries");
    let invocations = deployment.host.invocations();
    let worked: Vec<_> = invocations.iter().filter(|one| one.function == "on_notification").collect();
    let done: Vec<&str> =
        worked.iter().filter(|one| one.succeeded).map(|one| one.message.as_deref().unwrap()).collect();
    assert_eq!(done.len(), MESSAGES, "each once: {worked:#?}");
    assert_eq!(done.iter().collect::<BTreeSet<_>>().len(), MESSAGES);
    assert!(deployment.host.timeouts().is_empty());
    let outcome = deployment.page("api/webhook/log").await;
    let outcomes: Vec<&str> =
        outcome["notifications"].as_array().unwrap().iter().map(|one| one["outcome"].as_str().unwrap()).collect();
    assert!(outcomes.contains(&"done"), "{outcome:#}");
    println!(
        "{MESSAGES} messages, {} tries, {poisoned} in the poison queue; all applied {:?} after the outage of {:?}",
        worked.len(),
        over_at.unwrap().elapsed(),
        scaled(1_800)
    );
}
