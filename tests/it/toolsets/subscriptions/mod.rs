//! `create_subscription`, `list_subscriptions`, `delete_subscription`, and the reconciler that keeps subscriptions alive.

mod reconciler;

use serde_json::json;

use crate::support::World;

async fn listed(world: &World) -> Vec<serde_json::Value> {
    world.ok("list_subscriptions", json!({})).await["subscriptions"].as_array().unwrap().clone()
}

#[tokio::test]
async fn create_list_and_delete_subscription_agree_with_graph() {
    let world = World::start().await;
    assert!(listed(&world).await.is_empty());
    let spec = json!({"kind": "group", "names": ["Digital"]});
    let made = world.ok("create_subscription", spec.clone()).await;
    assert_eq!((&made["outcome"], &made["subscription"]["state"]), (&json!("created"), &json!("active")), "{made:#}");
    let again = world.ok("create_subscription", spec).await;
    assert_eq!(again["subscription"]["id"], made["subscription"]["id"], "one subscription for one target: {again:#}");
    let shown = listed(&world).await;
    assert_eq!((shown.len(), &shown[0]["id"]), (1, &made["subscription"]["id"]), "{shown:#?}");
    let in_graph = async || world.control("GET", "snapshot", json!(null)).await["subscriptions"].clone();
    assert!(in_graph().await.to_string().contains("groups/"), "Graph has it: {:#}", in_graph().await);
    world.ok("delete_subscription", json!({"id": made["subscription"]["id"]})).await;
    assert!(listed(&world).await.is_empty());
    assert!(!in_graph().await.to_string().contains("groups/"), "Graph has it no more: {:#}", in_graph().await);
    let (code, _, _) = world.refused("delete_subscription", json!({"id": made["subscription"]["id"]})).await;
    assert_eq!(code, "FIND_001");
}

#[tokio::test]
async fn subscriptions_setting_creates_and_removes_subscriptions() {
    use graphgate::services::subscriptions::SubscriptionSpec;
    let world = World::with(|config| {
        config.planner.max_age = std::time::Duration::from_hours(1); // nobody asks Planner but the worker
        config.subscriptions.specs = ["groups", "users"].map(|text| SubscriptionSpec::parse(text).unwrap()).to_vec();
    })
    .await;
    world
        .until("both are watched", async || {
            let listed = world.ok("list_subscriptions", json!({})).await;
            let all = listed["subscriptions"].as_array().unwrap();
            all.len() == 2 && all.iter().all(|one| one["state"] == "active" && one["declared_by"] == "settings")
        })
        .await;
    let key = world.ok("list_subscriptions", json!({})).await["subscriptions"][0]["id"].clone();
    let (_, message, _) = world.refused("delete_subscription", json!({"id": key})).await;
    assert!(message.contains("declared by the settings"), "{message}");
}

#[tokio::test]
async fn create_subscription_refuses_invalid_targets_with_a_hint() {
    let world = World::start().await;
    for (arguments, expected) in [
        (json!({"kind": "group", "names": []}), "`group:GROUP`"),
        (json!({"kind": "group", "names": ["No such group"]}), "there is no group"),
        (json!({"kind": "chat", "names": ["../users"]}), "is not an id"),
        (json!({"kind": "group", "names": ["Digital"], "include_content": true}), "never carry"),
    ] {
        let (_, message, _) = world.refused("create_subscription", arguments).await;
        assert!(message.contains(expected), "{message}");
    }
    let (code, message, hint) = world.refused("delete_subscription", json!({"id": "group-1"})).await;
    assert_eq!((code.as_str(), hint.contains("list_subscriptions")), ("FIND_001", true), "{message}");
}
