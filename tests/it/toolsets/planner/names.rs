//! Names and text as people write them: composed or not, in any case, with and without accents.

use serde_json::{Value, json};

use crate::support::{PLAN, World};

/// A `u` and the mark that makes it an `ü`, as macOS writes file names.
const MUELL: &str = "Mu\u{308}ll";

fn total(page: &Value) -> u64 {
    page["total"].as_u64().expect("a total")
}

#[tokio::test]
async fn names_match_in_decomposed_unicode_form() {
    let world = World::start().await;
    let bucket = world.ok("create_bucket", json!({"plan_id": PLAN, "name": "Müll"})).await;
    let again = world.ok("create_bucket", json!({"plan_id": PLAN, "name": MUELL})).await;
    assert_eq!(bucket["id"], again["id"], "no second bucket of the same name");
    let made = world.ok("create_task", json!({"plan_id": PLAN, "title": "Tonne", "bucket_id": MUELL})).await;
    assert_eq!(made["bucket"], "Müll");
    let found = world.ok("query_tasks", json!({"plan_id": PLAN, "bucket": "MU\u{308}LL"})).await;
    assert_eq!(total(&found), 1, "{found}");

    let plan = world.ok("create_plan", json!({"title": "Übersicht", "group_id": "Digital"})).await;
    let again = world.ok("create_plan", json!({"title": "U\u{308}bersicht", "group_id": "Digital"})).await;
    assert_eq!(plan["id"], again["id"], "no second plan of the same title");
    assert_eq!(world.ok("get_plan", json!({"plan_id": "u\u{308}bersicht"})).await["id"], plan["id"]);

    let composed = world.ok("query_tasks", json!({"assignee": "Søren Kjærgaard"})).await;
    let decomposed = world.ok("query_tasks", json!({"assignee": "José Núñez"})).await;
    let same = world.ok("query_tasks", json!({"assignee": "Jose\u{301} Nu\u{301}n\u{303}ez"})).await;
    assert_eq!(total(&decomposed), total(&same));
    assert!(total(&composed) > 0);
}

#[tokio::test]
async fn names_without_accents_are_refused_with_suggestions() {
    let world = World::start().await;
    world.ok("create_bucket", json!({"plan_id": PLAN, "name": "Müll"})).await;
    let (code, message, hint) =
        world.refused("create_task", json!({"plan_id": PLAN, "title": "x", "bucket_id": "mull"})).await;
    assert_eq!((code.as_str(), message.as_str()), ("BUCK_001", "there is no bucket `mull`; nothing was changed"));
    assert!(hint.starts_with("close: `Müll`"), "{hint}");
    let (code, _, hint) = world
        .refused("create_task", json!({"plan_id": PLAN, "title": "x", "assignee_ids": ["Soren Kjaergaard"]}))
        .await;
    assert_eq!(code, "USER_002");
    assert!(hint.contains("close: Søren Kjærgaard <"), "{hint}");
    let (code, _, hint) = world.refused("get_plan", json!({"plan_id": "relaunch website"})).await;
    assert_eq!(code, "PLAN_001");
    assert!(hint.starts_with("close: `Website relaunch`"), "{hint}");
}

#[tokio::test]
async fn text_search_finds_words_in_any_order_and_without_accents() {
    let world = World::start().await;
    world
        .ok(
            "create_task",
            json!({
                "plan_id": PLAN, "title": "Translate the cookie banner, übermorgen", "description": "Ask the Überprüfer.",
                "checklist": ["Français", "Kontrolle"],
            }),
        )
        .await;
    let hits = async |text: &str| total(&world.ok("query_tasks", json!({"plan_id": PLAN, "text": text})).await);
    for text in [
        "ÜBERMORGEN",
        "u\u{308}bermorgen",
        "ubermorgen",
        "banner ubermorgen",
        "übermorgen  cookie",
        "überprüfer banner übermorgen",
        "kontrolle übermorgen",
        "francais ubermorgen",
    ] {
        assert_eq!(hits(text).await, 1, "{text}");
    }
    assert_eq!(hits("übermorgen nowhere").await, 0);
    assert_eq!(hits("  ").await, hits("").await, "no words, no filter");
}
