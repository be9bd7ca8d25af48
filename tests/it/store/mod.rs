//! One suite, every backend: what a store promises.

mod azure_tables;
mod azurite;
mod blobs;
mod notification_journal;
mod older;
mod proxy;
mod queue;
mod transfer;

use std::sync::Arc;

use graphgate::clock::{Clock, ManualClock};
use graphgate::rows::{Expect, Page, Row, RowVersion, StoreError, Tables, Write, scan_prefix};
use graphgate::store::{EmbeddedTables, MemoryTables, Watched};
use serde_json::json;

async fn suite(tables: Arc<dyn Tables>) {
    let tables = tables.as_ref();
    // A transaction happens whole or not at all.
    let versions =
        tables.commit("p", vec![Write::insert("a", &1).unwrap(), Write::insert("b", &2).unwrap()]).await.unwrap();
    let conflict = vec![Write::insert("c", &3).unwrap(), Write::insert("a", &4).unwrap()];
    assert!(matches!(tables.commit("p", conflict).await, Err(StoreError::Conflict { key, .. }) if key == "a"));
    assert!(tables.get("p", "c").await.unwrap().is_none(), "a conflicting last insert leaves nothing");
    // A stale version writes nothing.
    let version = versions[0].clone().unwrap();
    tables.commit("p", vec![Write::replace("a", &version, &10).unwrap()]).await.unwrap();
    let stale = vec![Write::upsert("d", &0).unwrap(), Write::replace("a", &version, &11).unwrap()];
    assert!(tables.commit("p", stale).await.unwrap_err().is_conflict());
    assert_eq!(tables.get("p", "a").await.unwrap().unwrap().decode::<i32>().unwrap(), 10);
    assert!(tables.get("p", "d").await.unwrap().is_none());
    // Row 101 is refused, so are a row twice and keys no store takes.
    let too_many = (0..101).map(|n| Write::upsert(format!("n{n}"), &n).unwrap()).collect();
    assert!(matches!(tables.commit("p", too_many).await, Err(StoreError::TooLarge { rows: 101, .. })));
    let twice = vec![Write::upsert("e", &1).unwrap(), Write::upsert("e", &2).unwrap()];
    assert!(tables.commit("p", twice).await.is_err());
    for key in ["a/b", "a\\b", "a#b", "a?b", "a\nb"] {
        assert!(
            matches!(
                tables.commit("p", vec![Write::upsert(key, &1).unwrap()]).await,
                Err(StoreError::InvalidKey { .. })
            ),
            "{key}"
        );
    }
    let big = "x".repeat(1024 * 1024);
    assert!(matches!(
        tables.commit("p", vec![Write::upsert("big", &big).unwrap()]).await,
        Err(StoreError::TooLarge { .. })
    ));
    // Keys with quotes, spaces and other scripts come back; partitions do not mix.
    for key in ["t|o'brien", "t| lead", "t|%2F+&=", "t|你好", "t|\u{10FFFF}"] {
        tables.commit("q|tenant", vec![Write::insert(key, &json!({"key": key})).unwrap()]).await.unwrap();
        assert_eq!(
            tables.get("q|tenant", key).await.unwrap().unwrap().decode::<serde_json::Value>().unwrap()["key"],
            key
        );
        assert!(tables.get("p", key).await.unwrap().is_none());
    }
    // A scan continues where its page ended.
    for chunk in 0..25 {
        let rows = (0..100).map(|n| Write::upsert(format!("s|{:05}", chunk * 100 + n), &n).unwrap()).collect();
        tables.commit("scan", rows).await.unwrap();
    }
    tables.commit("scan", vec![Write::upsert("t|other", &0).unwrap()]).await.unwrap();
    let page = tables.scan("scan", "s|", "s}", 5000).await.unwrap();
    assert_eq!((page.rows.len(), page.next.as_deref()), (1000, Some("s|01000")));
    let keys: Vec<String> = scan_prefix(tables, "scan", "s|").await.unwrap().into_iter().map(|row| row.key).collect();
    assert_eq!(keys.len(), 2500);
    assert!(keys.is_sorted());
    // Deleting asks for the version; without one it deletes any version, and nothing is fine too.
    let row = tables.get("p", "b").await.unwrap().unwrap();
    assert!(tables.commit("p", vec![Write::delete("b", Expect::Version(version))]).await.unwrap_err().is_conflict());
    tables.commit("p", vec![Write::delete("b", Expect::Version(row.version))]).await.unwrap();
    tables.commit("p", vec![Write::delete("b", Expect::Anything)]).await.unwrap();
    assert!(tables.get("p", "b").await.unwrap().is_none());
}

async fn one_of_many_writers_wins(tables: Arc<dyn Tables>) {
    tables.commit("race", vec![Write::insert("row", &0).unwrap()]).await.unwrap();
    let version = tables.get("race", "row").await.unwrap().unwrap().version;
    let attempts = (0..50).map(|number| {
        let (tables, version) = (tables.clone(), version.clone());
        async move { tables.commit("race", vec![Write::replace("row", &version, &number).unwrap()]).await.is_ok() }
    });
    let won = futures::future::join_all(attempts).await.into_iter().filter(|won| *won).count();
    assert_eq!(won, 1);
}

#[tokio::test]
async fn memory_tables_pass_the_store_suite() {
    suite(Arc::new(MemoryTables::default())).await;
    one_of_many_writers_wins(Arc::new(MemoryTables::default())).await;
}

pub(crate) fn folder() -> std::path::PathBuf {
    std::env::temp_dir().join(format!("graphgate-store-{}", uuid::Uuid::new_v4()))
}

#[tokio::test]
async fn embedded_store_passes_the_store_suite_and_keeps_rows() {
    let folder = folder();
    suite(Arc::new(EmbeddedTables::open(&folder).unwrap())).await;
    let again = Arc::new(EmbeddedTables::open(&folder).unwrap());
    assert_eq!(again.get("p", "a").await.unwrap().unwrap().decode::<i32>().unwrap(), 10, "rows outlive the process");
    one_of_many_writers_wins(again).await;
    std::fs::remove_dir_all(folder).unwrap();
}

#[tokio::test]
async fn unusable_data_folder_error_has_a_reason() {
    let file = std::env::temp_dir().join(format!("graphgate-file-{}", uuid::Uuid::new_v4()));
    std::fs::write(&file, "not a folder").unwrap();
    let Err(StoreError::ReadOnly { reason }) = EmbeddedTables::open(&file) else { panic!("a file is no folder") };
    assert!(reason.contains("cannot create folder"), "{reason}");
    std::fs::remove_file(file).unwrap();
}

#[tokio::test]
async fn store_of_a_newer_version_is_refused() {
    let folder = folder();
    drop(EmbeddedTables::open(&folder).unwrap());
    let file = rusqlite::Connection::open(folder.join("graphgate.db")).unwrap();
    file.execute_batch("PRAGMA user_version=99").unwrap();
    let Err(StoreError::Broken { reason, remedy }) = EmbeddedTables::open(&folder) else { panic!("must not open") };
    assert!(reason.contains("newer version") && remedy.contains("run that version"), "{reason}: {remedy}");
    std::fs::remove_dir_all(folder).unwrap();
}

#[tokio::test]
async fn removed_data_folder_refuses_writes() {
    let folder = folder();
    let tables = EmbeddedTables::open(&folder).unwrap();
    tables.commit("p", vec![Write::insert("a", &1).unwrap()]).await.unwrap();
    std::fs::remove_dir_all(&folder).unwrap();
    let refused = tables.commit("p", vec![Write::insert("b", &2).unwrap()]).await.unwrap_err();
    assert!(matches!(refused, StoreError::Broken { .. }), "{refused}");
    // Another file at the same place is not the one that was opened.
    drop(EmbeddedTables::open(&folder).unwrap());
    assert!(tables.commit("p", vec![Write::insert("b", &2).unwrap()]).await.is_err());
    std::fs::remove_dir_all(folder).unwrap();
}

#[tokio::test]
async fn damaged_database_page_is_found_by_verify_and_shown_in_health() {
    let folder = folder();
    let tables = EmbeddedTables::open(&folder).unwrap();
    for number in 0..50 {
        let row = Write::insert(format!("k{number:03}"), &"x".repeat(4000)).unwrap();
        tables.commit("p", vec![row]).await.unwrap();
    }
    tables.verify().await.unwrap();
    drop(tables);
    let file = folder.join("graphgate.db");
    rusqlite::Connection::open(&file).unwrap().query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(())).unwrap();
    let mut bytes = std::fs::read(&file).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle - 16_384..middle + 16_384].fill(0xa5);
    std::fs::write(&file, bytes).unwrap();
    let watched = Watched::new(Arc::new(EmbeddedTables::open(&folder).unwrap()), Clock::system());
    assert!(matches!(watched.verify().await.unwrap_err(), StoreError::Broken { .. }));
    assert!(matches!(watched.trouble("health").await.unwrap(), Some(StoreError::Broken { .. })));
    std::fs::remove_dir_all(folder).unwrap();
}

/// A medium that is full while it is set to be.
#[derive(Default)]
struct Medium {
    tables: MemoryTables,
    full: std::sync::atomic::AtomicBool,
}

#[async_trait::async_trait]
impl Tables for Medium {
    async fn get(&self, partition: &str, key: &str) -> Result<Option<Row>, StoreError> {
        self.tables.get(partition, key).await
    }

    async fn scan(&self, partition: &str, from: &str, to: &str, limit: usize) -> Result<Page, StoreError> {
        self.tables.scan(partition, from, to, limit).await
    }

    async fn commit(&self, partition: &str, writes: Vec<Write>) -> Result<Vec<Option<RowVersion>>, StoreError> {
        if self.full.load(std::sync::atomic::Ordering::Relaxed) {
            return Err(StoreError::ReadOnly { reason: "database or disk is full".into() });
        }
        self.tables.commit(partition, writes).await
    }
}

#[tokio::test]
async fn store_health_counts_failed_writes() {
    let medium = Arc::new(Medium::default());
    let source = ManualClock::at(chrono::DateTime::UNIX_EPOCH);
    let watched = Watched::new(medium.clone(), Clock::from_source(source.clone()));
    let full = |full| medium.full.store(full, std::sync::atomic::Ordering::Relaxed);
    assert!(watched.trouble("health").await.unwrap().is_none());
    full(true);
    assert!(watched.commit("p", vec![Write::insert("a", &1).unwrap()]).await.is_err());
    assert!(matches!(watched.trouble("health").await.unwrap(), Some(StoreError::ReadOnly { .. })));
    full(false);
    assert!(watched.trouble("health").await.unwrap().is_none(), "it is over as soon as it is");
    full(true);
    source.advance(std::time::Duration::from_mins(2));
    assert!(watched.trouble("health").await.unwrap().is_some(), "it is found although nobody writes");
}
