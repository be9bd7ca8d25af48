//! A folder that an older version of the program left amid its work.

use serde_json::{Value, json};

use crate::support::World;
use crate::support::process::{Folder, tasks_in};

const QUICK_WINS: &str = "Security quick wins";

#[tokio::test]
async fn store_of_an_older_version_is_migrated_with_pending_writes() {
    let folder = Folder::new();
    let file = folder.0.join("graphgate.db");
    rusqlite::Connection::open(&file).unwrap().execute_batch(include_str!("older.sql")).unwrap();
    let mut world = World::hurried().await; // a create that may have happened is searched for during half a minute
    world.restart(&folder.0).await;
    let tasks = async || {
        let query = json!({"plan_id": QUICK_WINS, "fields": ["id", "title", "sync"], "limit": 100, "fresh": true});
        world.ok("query_tasks", query).await["rows"].as_array().unwrap().clone()
    };
    assert_eq!(tasks().await.len(), 20, "one of twenty-one is being deleted");
    world.until("all has arrived", async || tasks().await.iter().all(|row| row[2] == "synced")).await;

    let tasks = tasks().await;
    let id_of = |title: &str| tasks.iter().find(|row| row[1] == title).map(|row| row[0].clone());
    assert_eq!(id_of("Renamed by the older program"), Some(json!("v40yx5tkzrnzn2")), "tasks keep their ids");
    assert_eq!(id_of("Made by the older program"), Some(json!("v40y7y1aq29rwc")));
    let there = tasks_in(&world.control("GET", "snapshot", Value::Null).await);
    for (title, copies) in [
        ("Renamed by the older program", 1),
        ("Made by the older program", 1),
        ("Check USB control", 0),
        ("Check admin account separation", 0),
    ] {
        assert_eq!(there.get(title).map_or(0, Vec::len), copies, "{title}, on Planner");
    }
    let made = world.ok("get_task", json!({"task_id": "v40y7y1aq29rwc"})).await;
    assert_eq!(made["description"], "With details", "{made:#}");

    let stamp: String = rusqlite::Connection::open(&file)
        .unwrap()
        .query_row(
            "SELECT json FROM rows WHERE key = 'v' AND partition LIKE '%|rSKK3dxr5StfkLIRI1rl6bfDFV6K'",
            [],
            |row| row.get(0),
        )
        .unwrap();
    let stamp: Value = serde_json::from_str(&stamp).unwrap();
    assert_eq!(stamp["shape"], 1, "the plan has today's shape: {stamp}");
    assert!(stamp["sequence"].as_u64() > Some(0), "and its transactions are counted: {stamp}");
}

#[tokio::test]
async fn plan_row_of_a_newer_version_is_refused_and_unchanged() {
    let folder = Folder::new();
    let file = folder.0.join("graphgate.db");
    let store = rusqlite::Connection::open(&file).unwrap();
    store.execute_batch(include_str!("older.sql")).unwrap();
    let newer = "UPDATE rows SET json = json_set(json, '$.shape', 99) WHERE key = 'v'";
    assert_eq!(store.execute(newer, []).unwrap(), 1);
    drop(store);
    let world = World::in_folder(&folder.0).await;
    for (tool, arguments) in [
        ("query_tasks", json!({"plan_id": QUICK_WINS})),
        ("create_task", json!({"plan_id": QUICK_WINS, "title": "Must not appear"})),
    ] {
        let (code, message, _) = world.refused(tool, arguments).await;
        assert_eq!(code, "STORE_001");
        assert!(message.contains("a newer version of the program"), "{message}");
    }
    let there = tasks_in(&world.control("GET", "snapshot", Value::Null).await);
    assert!(!there.contains_key("Must not appear"));
    let pending = "SELECT count(*) FROM rows WHERE key LIKE 'o|%'";
    let pending: i64 = rusqlite::Connection::open(&file).unwrap().query_row(pending, [], |row| row.get(0)).unwrap();
    assert_eq!(pending, 3, "what waits goes on waiting");
}
