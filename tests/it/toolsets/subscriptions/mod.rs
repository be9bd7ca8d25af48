//! `create_subscription`, `list_subscriptions`, `delete_subscription`, and the reconciler that keeps subscriptions alive.

mod reconciler;

use serde_json::json;

use crate::support::World;

#[tokio::test]
async fn what_the_settings_declare_is_watched_and_what_they_drop_is_not() {
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
async fn what_cannot_be_watched_is_refused_with_the_way_out() {
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
