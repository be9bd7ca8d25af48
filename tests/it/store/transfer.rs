//! The store as one file: from one backend to another and back, and what is refused.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use graphgate::clock::Clock;
use graphgate::rows::{Whole, Write};
use graphgate::services::transfer::{Existing, Keys, Transfer};
use graphgate::store::{EmbeddedTables, MemoryTables};
use serde_json::{Value, json};

use crate::support::azurite::{Azurite, TENANT};
use crate::support::{PLAN, World};

/// A folder that is gone with the test.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Self {
        let folder = std::env::temp_dir().join(format!("graphgate-transfer-{}", uuid::Uuid::new_v4()));
        std::fs::create_dir_all(&folder).unwrap();
        Self(folder)
    }

    fn file(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn transfer(store: &Arc<dyn Whole>, tenant: &str) -> Transfer {
    Transfer::new(store.clone(), tenant, Clock::system())
}

fn lines(file: &Path) -> Vec<String> {
    std::fs::read_to_string(file).unwrap().lines().map(str::to_owned).collect()
}

/// Everything but the head, which tells the time, and the foot, whose digest covers it.
fn rows(file: &Path) -> Vec<String> {
    let lines = lines(file);
    lines[1..lines.len() - 1].to_vec()
}

#[tokio::test]
#[ignore = "needs AZURITE"]
async fn export_and_import_move_a_deployment_to_azurite_and_back() {
    let azurite = Azurite::start();
    let (folder, first, last) = (Folder::new(), Folder::new(), Folder::new());
    let mut world = World::in_folder(&first.0).await;
    let tenant = world.tenant.tenant_id.clone();
    let (id, _) = world.task("Moves house").await;
    let long = "Überlänge 😀 ".repeat(6_000);
    world.ok("update_task", json!({"task_id": id, "description": long})).await;
    world.faults(json!([{"kind": "drop_without_effect"}])).await;
    let waiting = world.ok("update_task", json!({"task_id": id, "title": "Moved house"})).await;
    assert_eq!(waiting["sync"], "pending", "{waiting}");
    world.stop().await;

    let stores: [Arc<dyn Whole>; 3] = [
        Arc::new(EmbeddedTables::open(&first.0).unwrap()),
        Arc::new(azurite.tables().await),
        Arc::new(EmbeddedTables::open(&last.0).unwrap()),
    ];
    let files = ["first", "second", "third"].map(|name| folder.file(name));
    for place in 0..3 {
        let store = transfer(&stores[place], &tenant);
        if place > 0 {
            let done = store.import(&files[place - 1], Existing::Refuse).await.unwrap();
            assert!(done.rows > 200 && done.partitions > 1, "{done:?}");
        }
        store.export(&files[place], Keys::Included).await.unwrap();
        assert_eq!(rows(&files[place]), rows(&files[0]), "byte for byte");
    }
    drop(stores);

    world.heal().await;
    world.restart(&last.0).await;
    let task = world.ok("get_task", json!({"task_id": id})).await;
    assert_eq!(task["title"], "Moved house");
    assert_eq!(task["description"].as_str().map(str::trim_end), Some(long.trim_end()));
    world
        .until("what was journalled before the move arrives", async || {
            world.tasks_called("Moved house").await.len() == 1
        })
        .await;
    world.ok("query_tasks", json!({"plan_id": PLAN, "fresh": true})).await;
}

async fn small() -> Arc<dyn Whole> {
    let store: Arc<dyn Whole> = Arc::new(MemoryTables::default());
    for partition in ["a|plan", "b|o'brien", &format!("{TENANT}|keys")] {
        let rows = (0..250).map(|number| Write::insert(format!("t|{number:04}"), &json!({"n": number})).unwrap());
        for chunk in rows.collect::<Vec<_>>().chunks(100) {
            store.commit(partition, chunk.to_vec()).await.unwrap();
        }
    }
    store
}

#[tokio::test]
async fn import_replaces_a_store_only_on_demand_by_partition() {
    let folder = Folder::new();
    let file = folder.file("export");
    let done = transfer(&small().await, TENANT).export(&file, Keys::LeftOut).await.unwrap();
    assert_eq!((done.partitions, done.rows, done.bytes), (2, 500, std::fs::metadata(&file).unwrap().len()));
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600, "for nobody else");
    }
    let other: Arc<dyn Whole> = Arc::new(MemoryTables::default());
    other.commit("a|plan", vec![Write::insert("t|old", &1).unwrap()]).await.unwrap();
    other.commit("c|other", vec![Write::insert("t|kept", &1).unwrap()]).await.unwrap();
    let target = transfer(&other, TENANT);
    let refused = target.import(&file, Existing::Refuse).await.unwrap_err();
    assert!(refused.message.contains("not empty"), "{refused}");
    assert!(other.get("b|o'brien", "t|0000").await.unwrap().is_none(), "nothing was changed");
    target.import(&file, Existing::Replace).await.unwrap();
    assert!(other.get("a|plan", "t|old").await.unwrap().is_none());
    assert!(other.get("a|plan", "t|0249").await.unwrap().is_some());
    assert!(other.get("c|other", "t|kept").await.unwrap().is_some());
}

#[tokio::test]
async fn damaged_export_file_changes_nothing() {
    let folder = Folder::new();
    let file = folder.file("export");
    transfer(&small().await, TENANT).export(&file, Keys::Included).await.unwrap();
    let good = lines(&file);
    let head = |change: &dyn Fn(&mut Value)| {
        let mut head: Value = serde_json::from_str(&good[0]).unwrap();
        change(&mut head);
        [vec![head.to_string()], good[1..].to_vec()].concat()
    };
    let mut swapped = good.clone();
    swapped.swap(1, 2);
    let mut altered = good.clone();
    altered[7] = altered[7].replace("\"n\":6", "\"n\":7");
    let cases = [
        ("cut off", good[..300].to_vec(), "its end is missing"),
        ("without a foot", good[..good.len() - 1].to_vec(), "its end is missing"),
        ("altered", altered, "its digest does not fit"),
        ("in another order", swapped, "its digest does not fit"),
        ("a row less", [good[..5].to_vec(), good[6..].to_vec()].concat(), "its digest does not fit"),
        ("more behind", [good.clone(), vec!["{}".to_owned()]].concat(), "its digest does not fit"),
        ("newer", head(&|head| head["version"] = json!(2)), "version 2"),
        ("another tenant's", head(&|head| head["tenant"] = json!("elsewhere")), "tenant `elsewhere`"),
        ("something else", vec!["{\"format\":\"x\"}".to_owned()], "no export"),
        ("empty", Vec::new(), "no export"),
        ("no rows", vec![good[0].clone(), "what?".to_owned()], "a row cannot be read"),
    ];
    for (what, content, why) in cases {
        let mut text = content.join("\n");
        text.push('\n');
        std::fs::write(&file, text).unwrap();
        let store: Arc<dyn Whole> = Arc::new(MemoryTables::default());
        let refused = transfer(&store, TENANT).import(&file, Existing::Replace).await.unwrap_err();
        assert!(
            refused.message.contains(why) && refused.sentence().contains("nothing was changed"),
            "{what}: {refused}"
        );
        assert_eq!(store.next_partition("").await.unwrap(), None, "{what}");
    }
    let store: Arc<dyn Whole> = Arc::new(MemoryTables::default());
    let nowhere = transfer(&store, TENANT).import(&folder.file("nowhere"), Existing::Refuse).await.unwrap_err();
    assert!(nowhere.message.contains("cannot be read"), "{nowhere}");
}

#[tokio::test(flavor = "multi_thread")]
async fn export_during_writes_is_consistent_per_plan() {
    let folder = Folder::new();
    let store: Arc<dyn Whole> = Arc::new(EmbeddedTables::open(&folder.0).unwrap());
    let write = |store: Arc<dyn Whole>, number: u64| async move {
        let keys = (0..40).map(|key| format!("t|{key:02}")).chain(["v".to_owned()]);
        let writes = keys.map(|key| Write::upsert(key, &number).unwrap()).collect();
        store.commit("plan", writes).await.unwrap();
    };
    write(store.clone(), 0).await;
    let writer = tokio::spawn({
        let store = store.clone();
        async move {
            for number in 1.. {
                write(store.clone(), number).await;
                tokio::time::sleep(std::time::Duration::from_millis(40)).await;
            }
        }
    });
    for _ in 0..10 {
        let file = folder.file("export");
        transfer(&store, TENANT).export(&file, Keys::LeftOut).await.unwrap();
        let values: std::collections::BTreeSet<u64> =
            rows(&file).iter().map(|row| serde_json::from_str::<Value>(row).unwrap()["v"].as_u64().unwrap()).collect();
        assert_eq!((values.len(), rows(&file).len()), (1, 41), "one transaction's rows: {values:?}");
    }
    writer.abort();
}

#[tokio::test]
async fn store_command_exports_and_imports() {
    let folder = Folder::new();
    let run = |arguments: &str, data: &str| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_graphgate"));
        command.args(arguments.split(' ')).current_dir(&folder.0).env("DATA_DIR", folder.file(data));
        command.env("AZURE_TENANT_ID", TENANT).env("AZURE_CLIENT_ID", TENANT).env("AZURE_CLIENT_SECRET", "unused");
        let output = command.output().unwrap();
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        (output.status.code().unwrap(), text(&output.stdout), text(&output.stderr))
    };
    let store: Arc<dyn Whole> = Arc::new(EmbeddedTables::open(&folder.file("one")).unwrap());
    store.commit("p", vec![Write::insert("k", &"v").unwrap()]).await.unwrap();
    let (code, out, err) = run("store export backup --query rows", "one");
    assert_eq!((code, out.as_str()), (0, "1\n"), "{err}");
    assert!(err.contains("keep it as you keep the store"), "{err}");
    let (code, out, err) = run("store import backup --query rows", "two");
    assert_eq!((code, out.as_str()), (0, "1\n"), "{err}");
    let (code, _, err) = run("store import backup --replace --force", "one");
    assert_eq!(code, 6, "a store that another process has open is not written over: {err}");
    assert!(err.contains("has this data folder open; nothing was changed"), "{err}");
    let (code, _, err) = run("store import backup", "two");
    assert!(code == 6 && err.contains("--replace"), "{code} {err}");
    assert_eq!(run("store import backup --replace --force --query rows", "two").0, 0);
    assert_eq!(run("store import backup --replace", "two").0, 2, "it asks");
    let store = EmbeddedTables::open(&folder.file("two")).unwrap();
    assert_eq!(store.next_partition("").await.unwrap().as_deref(), Some("p"));
}
