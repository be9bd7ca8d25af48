//! What the operator of a deployment sees: the audit log, `doctor`, `permissions`, secrets that rotate.

use std::collections::BTreeMap;

use graphgate::app::doctor::Finding;
use graphgate::app::{doctor, secrets};
use graphgate::auth::Caller;
use graphgate::azure::{Credential, Loopback, Secret, Vault};
use graphgate::clock::{Clock, ManualClock};
use graphgate::config::{Bootstrap, Config};
use graphgate::http_client::HttpClient;
use graphgate::ids::Entropy;
use graphgate::rows::{Tables, TenantTables};
use graphgate::services::audit::{Audit, AuditQuery, Operation, Policy, Scope, Visible};
use graphgate::store::MemoryTables;
use graphgate::store::secrets::{Cached, FolderSecrets, Secrets};
use graphgate_sim as sim;
use serde_json::json;
use std::sync::Arc;
use std::time::Duration;

use crate::support::rest::{ask, send};
use crate::support::{PLAN, World};

#[tokio::test]
async fn every_operation_writes_an_audit_row_without_user_text() {
    let folder = std::env::temp_dir().join(format!("graphgate-audit-{}", uuid::Uuid::new_v4()));
    let world = World::in_folder_with(&folder, |config| config.audit.scope = Scope::All).await;
    let base = world.api_url();
    let title = "canary-title of a secret project";
    let made = world.ok("create_task", json!({"plan_id": PLAN, "title": title})).await;
    let id = made["id"].as_str().unwrap();
    world.ok("get_task", json!({"task_id": id})).await;
    assert!(world.call("delete_task", json!({"task_id": "00000000000000"})).await.is_err());
    let plan = world.ok("get_plan", json!({"plan_id": PLAN})).await["id"].as_str().unwrap().to_owned();
    world.rpc("resources/read", json!({"uri": format!("planner://plans/{plan}/tasks/{id}")}), &[]).await;
    let headers = [("content-type", "application/json")];
    let change = json!({"title": "canary-title again"}).to_string();
    send(&base, "PATCH", &format!("/api/agent/tasks/{id}"), &headers, Some(change)).await;
    let page = ask(&base, "GET", "/api/audit").await;
    assert_eq!(page.status, 200, "{page:#?}");
    let rows = page.body["entries"].as_array().unwrap();
    let row = |operation: &str| {
        rows.iter().find(|row| row["operation"] == operation).unwrap_or_else(|| panic!("{operation} in {page:#?}"))
    };
    assert_eq!(row("create_task")["outcome"], "ok");
    assert_eq!((&row("get_task")["target"]["task_id"], &row("get_task")["writes"]), (&json!(id), &json!(false)));
    assert_eq!(row("delete_task")["outcome"], "TASK_001");
    let read = row("resources/read");
    assert_eq!((&read["outcome"], &read["target"]), (&json!("ok"), &json!({"plan_id": plan, "task_id": id})));
    let patch = row("PATCH /api/agent/tasks/{id}");
    assert_eq!((&patch["target"]["task_id"], &patch["caller"]), (&json!(id), &json!("local")));
    assert!(!page.text.contains("canary") && !page.text.contains(PLAN), "{}", page.text);
    let only = ask(&base, "GET", "/api/audit?operation=create_task&limit=1").await;
    assert_eq!(only.body["entries"].as_array().unwrap().len(), 1);
    let first = ask(&base, "GET", "/api/audit?limit=1").await;
    assert_eq!(first.body["complete"], false);
    let cursor = first.body["cursor"].as_str().unwrap();
    let second = ask(&base, "GET", &format!("/api/audit?limit=1&cursor={cursor}")).await;
    assert_ne!(second.body["entries"][0]["id"], first.body["entries"][0]["id"]);
    assert_eq!(ask(&base, "GET", "/api/audit?day=2000-01-01").await.body["entries"], json!([]));
    ask(&base, "GET", "/api/audit?day=yesterday").await.assert_problem(400, "VAL_001");
    let _ = std::fs::remove_dir_all(&folder);
}

#[tokio::test]
async fn expired_audit_rows_are_deleted_and_no_others() {
    let hands = ManualClock::at("2026-11-01T23:00:00Z".parse().unwrap());
    let clock = Clock::from_source(hands.clone());
    let tables: Arc<dyn Tables> = Arc::new(MemoryTables::default());
    let log = |days| {
        let policy = Policy { scope: Scope::All, days };
        let (audit, writer) =
            Audit::new(TenantTables::new(tables.clone(), "tenant"), policy, clock.clone(), Entropy::seeded(1));
        tokio::spawn(writer.run());
        audit
    };
    let audit = log(Some(7));
    let record = async || {
        let caller = Caller::local();
        let operation =
            Operation { caller: &caller, name: "update_task".into(), writes: true, arguments: None, ids: Vec::new() };
        audit.record(audit.begin(&operation), "ok", Duration::ZERO).await;
    };
    let rows = async |day: &str| {
        let query = AuditQuery { day: Some(day.parse().unwrap()), limit: Some(1000), ..AuditQuery::default() };
        audit.list(&query, &Visible::All).await.unwrap().entries.len()
    };
    for _ in 0..250 {
        record().await;
    }
    hands.advance(Duration::from_hours(2));
    record().await;
    hands.advance(Duration::from_hours(7 * 24 - 2));
    assert_eq!(audit.sweep().await.unwrap().rows, 0, "the first day is seven days ago");
    hands.advance(Duration::from_hours(2));
    assert_eq!(log(None).sweep().await.unwrap().rows, 0, "for ever");
    assert_eq!(audit.sweep().await.unwrap().rows, 250);
    assert_eq!((rows("2026-11-01").await, rows("2026-11-02").await), (0, 1));
    assert_eq!(audit.sweep().await.unwrap().rows, 0);
}

async fn examined(world: &World, more: &[(&str, &str)]) -> BTreeMap<&'static str, (Finding, String)> {
    let settings: BTreeMap<&str, String> = BTreeMap::from([
        ("AZURE_TENANT_ID", world.tenant.tenant_id.clone()),
        ("AZURE_CLIENT_ID", world.tenant.client_id.clone()),
        ("AZURE_CLIENT_SECRET", world.tenant.client_secret.clone()),
        ("GRAPH_BASE_URL", world.tenant.graph_url.to_string()),
        ("DATA_DIR", ":memory:".to_owned()),
    ]);
    let more: BTreeMap<&str, &str> = more.iter().copied().collect();
    let lookup = |name: &str| more.get(name).map(|text| (*text).to_owned()).or_else(|| settings.get(name).cloned());
    let authority = world.tenant.authority_url.clone();
    let simulated = |config: &mut Config| config.loopback_authority = Some(authority);
    let checks = doctor::examine(&lookup, &Clock::system(), &Entropy::system(), simulated).await;
    checks
        .into_iter()
        .map(|check| (check.check, (check.status, format!("{} {}", check.found, check.hint.unwrap_or_default()))))
        .collect()
}

#[tokio::test]
async fn doctor_names_missing_permissions_and_the_remedy() {
    let world = World::start().await;
    let healthy = examined(&world, &[]).await;
    for check in ["settings", "store", "queue", "clock", "credential", "graph"] {
        assert_eq!(healthy[check].0, Finding::Ok, "{check}: {healthy:#?}");
    }
    assert_eq!(healthy["callers"].0, Finding::Warning, "nobody is asked: {healthy:#?}");
    assert_ne!(healthy["permissions"].0, Finding::Failed, "{healthy:#?}");
    world.control("PUT", "permissions", json!({"roles": ["Tasks.Read.All", "User.ReadBasic.All"]})).await;
    let lacking = examined(&world, &[]).await;
    let (status, told) = &lacking["permissions"];
    assert_eq!(*status, Finding::Failed);
    assert!(
        told.contains("Tasks.ReadWrite.All") && told.contains("Group.Read.All") && told.contains("grant-graph"),
        "{told}"
    );
    assert!(examined(&world, &[("READ_ONLY", "true")]).await["permissions"].1.contains("Group.Read.All"));
    let locked = examined(&world, &[("AZURE_CLIENT_SECRET", "wrong")]).await;
    assert!(locked["credential"].1.contains("AADSTS"), "{locked:#?}");
    assert_eq!((locked["credential"].0, locked["permissions"].0), (Finding::Failed, Finding::Skipped));
    let wrong = examined(&world, &[("PORT", "x")]).await;
    assert!(wrong["settings"].0 == Finding::Failed && wrong["settings"].1.contains("PORT"), "{wrong:#?}");
}

#[tokio::test]
async fn doctor_reports_unknown_names_and_weak_keys() {
    let world = World::start().await;
    let good = examined(&world, &[("DEFAULT_PLANNER_PLAN_ID", "website relaunch"), ("SUBSCRIPTIONS", "group:Digital")]);
    let good = good.await;
    assert_eq!((good["default_plan"].0, good["subscriptions"].0), (Finding::Ok, Finding::Ok), "{good:#?}");
    let named = [
        ("DEFAULT_PLANNER_PLAN_ID", "nope"),
        ("SUBSCRIPTIONS", "group:Nope,user:nobody@contoso.com"),
        ("GRAPHGATE_API_KEY", "short"),
    ];
    let wrong = examined(&world, &named).await;
    assert!(wrong["default_plan"].0 == Finding::Failed && wrong["default_plan"].1.contains("`nope`"), "{wrong:#?}");
    let (status, told) = &wrong["subscriptions"];
    assert!(*status == Finding::Failed && told.contains("`Nope`, `nobody@contoso.com`"), "{told}");
    assert!(wrong["callers"].0 == Finding::Warning && wrong["callers"].1.contains("fewer than 20"), "{wrong:#?}");
    let misspelt = examined(&world, &[("ENABLED_TOOLSETS", "planer")]).await;
    assert!(misspelt["settings"].0 == Finding::Failed && misspelt["settings"].1.contains("`planner`"), "{misspelt:#?}");
    assert!(!misspelt.contains_key("permissions"), "nothing is advised about permissions: {misspelt:#?}");
}

/// A simulated vault, and the program's client for it.
struct VaultDesk {
    tenant: sim::Running,
    time: Arc<ManualClock>,
    vault: Vault,
}

impl VaultDesk {
    async fn open() -> Self {
        let config = sim::Config { scenario: sim::Scenario::Empty, ..sim::Config::default() };
        let tenant = sim::start(config).await.unwrap();
        let time = ManualClock::at(chrono::Utc::now());
        let clock = Clock::from_source(time.clone());
        let entropy = Entropy::seeded(1);
        let http = HttpClient::new(clock.clone(), entropy.clone()).unwrap();
        let port = tenant.address.port();
        let mut loopback = Loopback::one("login.microsoftonline.com", port);
        loopback.hosts.push(("gate.vault.azure.net".to_owned(), port));
        let credential = graphgate::azure::CredentialConfig::ClientSecret {
            tenant: tenant.tenant_id.clone(),
            client_id: tenant.client_id.clone(),
            secret: Secret::new(&tenant.client_secret),
            authority: None,
        };
        let credential = Credential::new(credential, &http, clock, entropy, Some(loopback.clone())).unwrap();
        let url = "https://gate.vault.azure.net/".parse().unwrap();
        let vault = Vault::new(&url, &http, credential, Some(loopback)).unwrap();
        Self { tenant, time, vault }
    }

    async fn fill(&self, wish: serde_json::Value) -> serde_json::Value {
        let url = format!("{}/vault", self.tenant.control_url);
        reqwest::Client::new().put(url).json(&wish).send().await.unwrap().json().await.unwrap()
    }
}

#[tokio::test]
async fn key_vault_failure_keeps_cached_secrets_in_use() {
    let desk = VaultDesk::open().await;
    assert!(desk.vault.get("nothing").await.unwrap().is_none());
    Secrets::set(&desk.vault, "key", &Secret::new("one")).await.unwrap();
    let cached = Arc::new(Cached::new(Arc::new(desk.vault.clone()), Clock::from_source(desk.time.clone())));
    let reads_before = desk.fill(json!({})).await["reads"].as_u64().unwrap();
    let many = futures::future::join_all((0..1000).map(|_| cached.get("key"))).await;
    assert!(many.iter().all(|secret| secret.as_ref().unwrap().as_ref().unwrap().expose() == "one"));
    assert_eq!(
        desk.fill(json!({})).await["reads"].as_u64().unwrap() - reads_before,
        1,
        "one look for a thousand callers"
    );
    desk.fill(json!({"key": "two"})).await;
    assert_eq!(cached.get("key").await.unwrap().unwrap().expose(), "one", "believed for some minutes");
    desk.time.advance(Duration::from_mins(6));
    assert_eq!(cached.get("key").await.unwrap().unwrap().expose(), "two", "rotated without a restart");
    desk.fill(json!({"fails_with": 503})).await;
    desk.time.advance(Duration::from_hours(10));
    assert_eq!(cached.get("key").await.unwrap().unwrap().expose(), "two", "the last answer holds");
    let error = cached.get("never-read").await.unwrap_err().to_string();
    assert!(error.contains("gate.vault.azure.net") && error.contains("503"), "{error}");
    desk.time.advance(Duration::from_hours(25));
    assert!(cached.get("key").await.is_err(), "but not for ever");
    assert!(Secrets::get(&desk.vault, "../other").await.is_err(), "a name is a name");
}

/// A folder of secrets, and settings of which one is kept there.
struct Kept(std::path::PathBuf);

impl Kept {
    fn new() -> Self {
        Self(std::env::temp_dir().join(format!("graphgate-secrets-{}", uuid::Uuid::new_v4())))
    }

    fn setting(&self, name: &str) -> Option<String> {
        match name {
            "AZURE_TENANT_ID" => Some("t".to_owned()),
            "SECRETS_DIR" => Some(self.0.display().to_string()),
            "GRAPHGATE_API_KEY" => Some("@keyvault:api-key".to_owned()),
            _ => None,
        }
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

#[tokio::test]
async fn setting_with_a_secret_reference_is_read_from_the_secrets_and_never_printed() {
    let kept = Kept::new();
    let (clock, entropy) = (Clock::system(), Entropy::seeded(1));
    let lookup = |name: &str| kept.setting(name);
    let missing = format!("{:#}", secrets::settings(&lookup, &clock, &entropy).await.unwrap_err());
    assert!(missing.contains("GRAPHGATE_API_KEY") && missing.contains("api-key"), "{missing}");
    FolderSecrets(kept.0.clone()).set("api-key", &Secret::new("sesame\n")).await.unwrap();
    let config = secrets::settings(&lookup, &clock, &entropy).await.unwrap();
    assert_eq!(config.auth.key.as_ref().unwrap().expose(), "sesame");
    assert!(!format!("{config:?}").contains("sesame"));
    assert_eq!(config.references.len(), 1);
}

#[tokio::test]
async fn keyring_init_creates_one_version_and_rotate_adds_another() {
    let kept = Kept::new();
    let (clock, entropy) = (Clock::system(), Entropy::seeded(1));
    let lookup = |name: &str| kept.setting(name);
    assert_eq!(secrets::init(&lookup, &clock, &entropy).await.unwrap(), (1, true));
    assert_eq!(secrets::init(&lookup, &clock, &entropy).await.unwrap(), (1, false), "one that is there stays");
    assert_eq!(secrets::rotate(&lookup, &clock, &entropy).await.unwrap(), 2);
}

#[test]
fn secret_reference_without_a_vault_is_refused_with_the_setting_that_names_one() {
    let kept = Kept::new();
    let nowhere = |name: &str| if name == "SECRETS_DIR" { None } else { kept.setting(name) };
    let refused = Bootstrap::read(&nowhere).unwrap_err().to_string();
    assert!(refused.contains("GRAPHGATE_API_KEY") && refused.contains("KEY_VAULT_URL"), "{refused}");
}

#[test]
fn credential_of_the_vault_cannot_be_kept_in_the_vault() {
    let kept = Kept::new();
    let itself = |name: &str| match name {
        "SECRETS_DIR" => None,
        "KEY_VAULT_URL" => Some("https://v.vault.azure.net".to_owned()),
        "AZURE_CLIENT_SECRET" => Some("@keyvault:x".to_owned()),
        _ => kept.setting(name),
    };
    assert!(Bootstrap::read(&itself).unwrap_err().to_string().contains("the vault that it opens"));
}

#[tokio::test]
async fn write_completes_and_is_audited_after_the_client_disconnects() {
    let folder = std::env::temp_dir().join(format!("graphgate-audit-{}", uuid::Uuid::new_v4()));
    let world = World::in_folder_with(&folder, |_| ()).await;
    let (id, _) = world.task("Hung up").await;
    world.control("PUT", "latency", json!({"ms": 800})).await;
    let base = world.api_url();
    let body = json!({"title": "Hung up, and done"}).to_string();
    let request = format!(
        "PATCH /api/agent/tasks/{id} HTTP/1.1\r\nhost: 127.0.0.1:{}\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        base.port().unwrap(),
        body.len()
    );
    let mut connection = tokio::net::TcpStream::connect(("127.0.0.1", base.port().unwrap())).await.unwrap();
    tokio::io::AsyncWriteExt::write_all(&mut connection, request.as_bytes()).await.unwrap();
    tokio::time::sleep(Duration::from_millis(200)).await; // it is under way
    drop(connection);
    let noted = async || {
        let page = ask(&base, "GET", "/api/audit?operation=PATCH%20/api/agent/tasks/%7Bid%7D").await;
        page.body["entries"].as_array().is_some_and(|rows| rows.iter().any(|row| row["target"]["task_id"] == json!(id)))
    };
    world.until("the write is in the audit log", noted).await;
    assert_eq!(world.ok("get_task", json!({"task_id": id})).await["title"], "Hung up, and done");
    let _ = std::fs::remove_dir_all(&folder);
}

#[tokio::test]
async fn doctor_resolves_secret_references_of_settings() {
    let world = World::start().await;
    let folder = std::env::temp_dir().join(format!("graphgate-secrets-{}", uuid::Uuid::new_v4()));
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(folder.join("client-secret"), &world.tenant.client_secret).unwrap();
    let place = folder.to_str().unwrap();
    let with = async |secret: &str| {
        examined(&world, &[("SECRETS_DIR", place), ("AZURE_CLIENT_SECRET", &format!("@keyvault:{secret}"))]).await
    };
    let found = with("client-secret").await;
    assert_eq!(found["credential"].0, Finding::Ok, "{found:#?}");
    let missing = with("nowhere").await;
    assert!(missing["settings"].0 == Finding::Failed && missing["settings"].1.contains("nowhere"), "{missing:#?}");
    std::fs::remove_dir_all(&folder).unwrap();
}
