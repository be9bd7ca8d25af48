//! Azure Table Storage on the emulator: the suite of every store, and what only a lossy connection to it shows.

use std::sync::Arc;

use base64::Engine as _;
use graphgate::app::{App, Running};
use graphgate::azure::{Loopback, tables};
use graphgate::clock::Clock;
use graphgate::ids::Entropy;
use graphgate::rows::{Expect, Found, StoreError, Tables, Write};
use graphgate::store::{AzureTables, Config};
use graphgate_sim as sim;
use serde_json::{Value, json};
use wiremock::matchers::{body_string_contains, method};
use wiremock::{Mock, MockServer, ResponseTemplate};

use super::proxy::{self, Fate};
use crate::support::PLAN;
use crate::support::azurite::{Azurite, TENANT, connector, connector_to, open};

#[tokio::test]
#[ignore = "needs AZURITE"]
async fn azurite_tables_pass_the_store_suite() {
    let azurite = Azurite::start();
    let tables = azurite.tables().await;
    super::suite(Arc::new(tables.clone())).await;
    super::one_of_many_writers_wins(Arc::new(tables.clone())).await;
    // A second instance finds the table and its rows.
    let again = azurite.tables().await;
    assert_eq!(again.get("p", "a").await.unwrap().unwrap().decode::<i32>().unwrap(), 10);
    // Only one of two may delete.
    let version = tables.commit("p", vec![Write::insert("once", &1).unwrap()]).await.unwrap().remove(0).unwrap();
    let delete = || tables.commit("p", vec![Write::delete("once", Expect::Version(version.clone()))]);
    let both = futures::future::join(delete(), delete()).await;
    assert!(both.0.is_ok() != both.1.is_ok(), "{both:?}");
}

#[tokio::test]
#[ignore = "needs AZURITE"]
async fn table_conflict_names_its_row_and_delete_of_a_missing_row_succeeds() {
    let azurite = Azurite::start();
    let tables = azurite.tables().await;
    let version = tables.commit("p", vec![Write::insert("old", &1).unwrap()]).await.unwrap().remove(0).unwrap();
    tables.commit("p", vec![Write::upsert("old", &2).unwrap()]).await.unwrap();
    let many = |at: usize, write: Write| {
        let mut writes: Vec<Write> = (0..20).map(|n| Write::upsert(format!("n{n:02}"), &n).unwrap()).collect();
        writes.insert(at, write);
        writes
    };
    for (write, key, expected) in [
        (Write::insert("old", &3).unwrap(), "old", Found::Exists),
        (Write::replace("old", &version, &3).unwrap(), "old", Found::OtherVersion),
        (Write::replace("none", &version, &3).unwrap(), "none", Found::Nothing),
        (Write::delete("old", Expect::Version(version.clone())), "old", Found::OtherVersion),
        (Write::delete("none's", Expect::Version(version.clone())), "none's", Found::Nothing),
        (Write::delete("old", Expect::Absent), "old", Found::Exists),
    ] {
        for at in [0, 13, 20] {
            let refused = tables.commit("p", many(at, write.clone())).await.unwrap_err();
            let StoreError::Conflict { key: named, found } = &refused else { panic!("{refused:?}") };
            assert_eq!((named.as_str(), *found), (key, expected));
        }
    }
    assert!(tables.get("p", "n00").await.unwrap().is_none(), "nothing was written");
    let mut writes = many(3, Write::delete("none", Expect::Anything));
    writes.extend([
        Write::delete("old", Expect::Anything),
        Write::delete("none, too", Expect::Anything),
        Write::delete("nor this", Expect::Absent),
    ]);
    let versions = tables.commit("p", writes).await.unwrap();
    let written: Vec<bool> = versions.iter().map(Option::is_some).collect();
    assert_eq!(written, [vec![true; 3], vec![false], vec![true; 17], vec![false; 3]].concat());
    let row = tables.get("p", "n19").await.unwrap().unwrap();
    assert_eq!(Some(row.version), versions[20], "versions stand at their rows' places");
    assert!(tables.get("p", "old").await.unwrap().is_none());
}

#[tokio::test]
#[ignore = "needs AZURITE"]
async fn long_rows_round_trip_and_too_long_rows_are_refused() {
    let azurite = Azurite::start();
    let tables = azurite.tables().await;
    for text in ["x".repeat(479 * 1024), "任务😀".repeat(90_000), "\"\\\n".repeat(50_000)] {
        tables.commit("p", vec![Write::upsert("long", &text).unwrap()]).await.unwrap();
        assert_eq!(tables.get("p", "long").await.unwrap().unwrap().decode::<String>().unwrap(), text);
    }
    for text in ["x".repeat(500 * 1024), "x".repeat(2 * 1024 * 1024)] {
        let refused = tables.commit("p", vec![Write::upsert("long", &text).unwrap()]).await.unwrap_err();
        assert!(matches!(refused, StoreError::TooLarge { rows: 1, .. }), "{refused}");
    }
}

#[tokio::test]
#[ignore = "needs AZURITE"]
async fn missing_table_is_not_a_missing_row_and_errors_hide_the_sas() {
    let azurite = Azurite::start();
    let config = Azurite::config(azurite.port, "graphgate");
    let tables = open(config.clone()).await;
    assert!(tables.get("p", "a").await.unwrap().is_none());
    let sas = config.sas.as_ref().unwrap().expose();
    let url = format!("{}/Tables('graphgate')?{sas}", config.endpoint);
    let deleted = reqwest::Client::new().delete(url).header("accept", "application/json").send().await.unwrap();
    assert!(deleted.status().is_success(), "{}", deleted.text().await.unwrap());
    let write = || vec![Write::upsert("a", &1).unwrap()];
    for failed in [tables.get("p", "a").await.map(drop), tables.commit("p", write()).await.map(drop)] {
        let StoreError::Unavailable { reason } = failed.unwrap_err() else { panic!("unavailable expected") };
        assert_eq!(reason, "Azure Table Storage: table `graphgate` does not exist");
    }
    let forged = format!("{}?{sas}f0rged", config.endpoint);
    let forged = tables::Config::from_endpoint(&forged, "graphgate").unwrap();
    let refused = AzureTables::open(forged, connector()).await.unwrap_err().to_string();
    assert!(refused.contains("AuthorizationFailure") && !refused.contains("f0rged"), "{refused}");
}

/// Counts up one row, each count noted in a row of its own, until that was acknowledged `times` times. Answers how often
/// a commit's end stayed unknown; each such commit is looked up, and did not happen.
async fn count_up(tables: &dyn Tables, name: &str, times: u32) -> u32 {
    let (mut done, mut unknown) = (0, 0);
    let mut row = tables.get("p", "count").await.unwrap().unwrap();
    while done < times {
        let count = row.decode::<u32>().unwrap() + 1;
        let note = format!("note|{count:05}");
        let mut writes =
            vec![Write::replace("count", &row.version, &count).unwrap(), Write::insert(&*note, &name).unwrap()];
        if name == "two" && count % 50 == 0 {
            writes.push(Write::delete("never there", Expect::Anything));
        }
        match tables.commit("p", writes).await {
            Ok(versions) => {
                row.version = versions[0].clone().unwrap();
                row.json = count.to_string().into();
                done += 1;
                continue;
            }
            Err(StoreError::Conflict { key, .. }) => {
                assert_eq!(key, "count", "a note of a commit that was denied");
                let current = tables.get("p", "count").await.unwrap().unwrap();
                assert_ne!(current.version, row.version, "a conflict with nobody");
            }
            Err(StoreError::Unavailable { .. }) => {
                unknown += 1;
                let note = tables.get("p", &note).await.unwrap();
                assert!(note.is_none_or(|note| note.decode::<String>().unwrap() != name), "it happened after all");
            }
            Err(error) => panic!("commit {done}: {error}"),
        }
        row = tables.get("p", "count").await.unwrap().unwrap();
    }
    unknown
}

async fn with_lost_answers(azurite: &Azurite) -> AzureTables {
    azurite.tables().await.commit("p", vec![Write::insert("count", &0).unwrap()]).await.unwrap();
    let lose = |transaction, number: u32| {
        if transaction && number % 2 == 1 { Fate::LoseAnswer } else { Fate::Pass }
    };
    open(Azurite::config(proxy::before(azurite.port, lose).await, "graphgate")).await
}

async fn notes(azurite: &Azurite) -> Vec<String> {
    let tables = azurite.tables().await;
    let notes = graphgate::rows::scan_prefix(&tables, "p", "note|").await.unwrap();
    let count: usize = tables.get("p", "count").await.unwrap().unwrap().decode().unwrap();
    assert_eq!(count, notes.len());
    notes.iter().map(|note| note.decode().unwrap()).collect()
}

#[tokio::test]
#[ignore = "needs AZURITE"]
async fn lost_answers_apply_10000_commits_once_each() {
    let azurite = Azurite::start();
    let tables = with_lost_answers(&azurite).await;
    assert_eq!(count_up(&tables, "one", 10_000).await, 0, "a writer alone is never left in doubt");
    assert_eq!(notes(&azurite).await, vec!["one"; 10_000]);
}

#[tokio::test]
#[ignore = "needs AZURITE"]
async fn lost_answers_of_two_writers_lose_and_repeat_nothing() {
    let azurite = Azurite::start();
    let tables = with_lost_answers(&azurite).await;
    futures::future::join(count_up(&tables, "one", 200), count_up(&tables, "two", 200)).await;
    let notes = notes(&azurite).await;
    assert_eq!((notes.len(), notes.iter().filter(|name| *name == "one").count()), (400, 200));
}

#[tokio::test]
#[ignore = "needs AZURITE"]
async fn lost_and_repeated_requests_are_distinguished_from_conflicts() {
    let azurite = Azurite::start();
    let direct = azurite.tables().await;
    let through = async |transactions: Fate| {
        let fate = move |transaction, _| if transaction { transactions } else { Fate::Pass };
        open(Azurite::config(proxy::before(azurite.port, fate).await, "graphgate")).await
    };
    let (lossy, doubling) = (through(Fate::LoseAnswer).await, through(Fate::Twice).await);
    // A request that a proxy repeats meets its own effect.
    let version = doubling.commit("p", vec![Write::insert("a", &1).unwrap()]).await.unwrap().remove(0).unwrap();
    let versions = doubling.commit("p", vec![Write::replace("a", &version, &2).unwrap()]).await.unwrap();
    let row = direct.get("p", "a").await.unwrap().unwrap();
    assert_eq!((row.decode::<i32>().unwrap(), Some(row.version)), (2, versions[0].clone()));
    let refused = doubling.commit("p", vec![Write::replace("a", &version, &3).unwrap()]).await.unwrap_err();
    assert!(refused.is_conflict(), "a real conflict stays one: {refused}");
    // Deletions leave no id: what is gone counts as deleted, what is there was not.
    let delete = |expect| vec![Write::delete("a", expect)];
    assert_eq!(lossy.commit("p", delete(Expect::Version(versions[0].clone().unwrap()))).await.unwrap(), [None]);
    assert!(direct.get("p", "a").await.unwrap().is_none());
    assert_eq!(lossy.commit("p", delete(Expect::Anything)).await.unwrap(), [None]);
    // A refusal that is lost, and a request that never arrives: unknown, and nothing is claimed.
    direct.commit("p", vec![Write::insert("b", &1).unwrap()]).await.unwrap();
    let unknown = lossy.commit("p", vec![Write::insert("b", &2).unwrap()]).await.unwrap_err();
    assert!(matches!(unknown, StoreError::Unavailable { .. }), "{unknown}");
    let losing = through(Fate::LoseRequest).await;
    let unknown = losing.commit("p", vec![Write::upsert("b", &3).unwrap()]).await.unwrap_err();
    assert!(matches!(unknown, StoreError::Unavailable { .. }), "{unknown}");
    assert_eq!(direct.get("p", "b").await.unwrap().unwrap().decode::<i32>().unwrap(), 1);
}

/// Starts the whole program on a tenant and a store.
async fn serve(tenant: &sim::Running, store: Config) -> Running {
    let mut config = graphgate::cli::dev::config(tenant, None).unwrap();
    (config.port, config.reconciles, config.store) = (0, false, store);
    let app = App::build(config, Clock::system(), Entropy::system()).await.expect("the program starts");
    app.listen().await.expect("a free port")
}

async fn call(server: &Running, tool: &str, arguments: Value) -> Value {
    let call =
        json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": tool, "arguments": arguments}});
    let request = reqwest::Client::new().post(format!("http://{}/mcp", server.address)).json(&call);
    let answer = request.header("accept", "application/json, text/event-stream").send().await.unwrap();
    let answer: Value = answer.json().await.unwrap();
    assert_eq!(answer["result"]["isError"], false, "{answer:#}");
    answer["result"]["structuredContent"].clone()
}

#[tokio::test]
#[ignore = "needs AZURITE"]
async fn task_survives_a_crash_of_the_server() {
    let azurite = Azurite::start();
    let store = Config::Azure(Azurite::config(azurite.port, "graphgate"));
    let tenant = sim::Config { port: 0, tls: None, scenario: sim::Scenario::Demo, request_log: None };
    let tenant = sim::start(tenant).await.unwrap();
    let server = serve(&tenant, store.clone()).await;
    let made = call(&server, "create_task", json!({"plan_id": PLAN, "title": "Kept in a table"})).await;
    server.abandon();
    let server = serve(&tenant, store).await;
    let found = call(&server, "get_task", json!({"task_id": made["id"]})).await;
    assert_eq!((&found["title"], &found["sync"]), (&json!("Kept in a table"), &json!("synced")), "{found:#}");
    let done = call(&server, "update_task", json!({"task_id": made["id"], "percent_complete": 100})).await;
    assert_eq!(done["sync"], "synced", "{done:#}");
    server.stop().await;
    tenant.stop().await;
}

/// Two processes of this test: the inner one trusts the emulator's certificate, which only its environment can say.
#[tokio::test]
#[ignore = "needs AZURITE"]
async fn managed_identity_opens_the_table_over_https() {
    if let Ok(endpoint) = std::env::var("TABLES_OVER_HTTPS") {
        return with_an_identity(&endpoint).await;
    }
    let folder = std::env::temp_dir().join(format!("graphgate-tls-{}", uuid::Uuid::new_v4()));
    std::fs::create_dir_all(&folder).unwrap();
    let made = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
    let (certificate, key) = (folder.join("cert.pem"), folder.join("key.pem"));
    std::fs::write(&certificate, made.cert.pem()).unwrap();
    std::fs::write(&key, made.signing_key.serialize_pem()).unwrap();
    let arguments = ["--oauth".as_ref(), "basic".as_ref(), "--cert".as_ref(), certificate.as_os_str()];
    let azurite = Azurite::start_with(&[arguments.as_slice(), &["--key".as_ref(), key.as_os_str()]].concat());
    let inner = std::process::Command::new(std::env::current_exe().unwrap())
        .args([
            "--exact",
            "store::azurite::managed_identity_opens_the_table_over_https",
            "--include-ignored",
            "--nocapture",
        ])
        .env("SSL_CERT_FILE", &certificate)
        .env("TABLES_OVER_HTTPS", format!("https://127.0.0.1:{}/devstoreaccount1", azurite.port))
        .output();
    let inner = inner.unwrap();
    let (said, stderr) = (String::from_utf8_lossy(&inner.stdout), String::from_utf8_lossy(&inner.stderr));
    assert!(inner.status.success() && said.contains("1 passed"), "{said}{stderr}");
    std::fs::remove_dir_all(folder).unwrap();
}

async fn with_an_identity(endpoint: &str) {
    let sign_in = MockServer::start().await;
    let now = Clock::system().now().timestamp();
    let claims = json!({"aud": "https://storage.azure.com", "iss": format!("https://sts.windows.net/{TENANT}/"),
        "iat": now - 60, "nbf": now - 60, "exp": now + 3600});
    let part = |text: String| base64::prelude::BASE64_URL_SAFE_NO_PAD.encode(text);
    let token =
        format!("{}.{}.c2ln", part(json!({"alg": "RS256", "typ": "JWT"}).to_string()), part(claims.to_string()));
    let answer = json!({"token_type": "Bearer", "expires_in": 3600, "ext_expires_in": 3600, "access_token": token});
    Mock::given(method("POST"))
        .and(body_string_contains("storage.azure.com"))
        .respond_with(ResponseTemplate::new(200).set_body_json(answer))
        .expect(1)
        .mount(&sign_in)
        .await;
    let config = tables::Config::from_endpoint(endpoint, "graphgate").unwrap();
    let loopback = Loopback::one("login.microsoftonline.com", sign_in.address().port());
    let tables = AzureTables::open(config, connector_to(Some(loopback))).await.expect("the identity is accepted");
    tables.commit("p", vec![Write::insert("o'brien", &1).unwrap()]).await.unwrap();
    assert_eq!(tables.get("p", "o'brien").await.unwrap().unwrap().decode::<i32>().unwrap(), 1);
}
