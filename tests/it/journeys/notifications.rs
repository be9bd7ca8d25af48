//! A notification arrives: from Graph through the endpoint and the queue to plans that are compared.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::listener::Listener;
use crate::support::{PLAN, World};

async fn group(world: &World) -> String {
    let plan = world.ok("get_plan", json!({"plan_id": PLAN})).await;
    let plans = world.ok("list_plans", json!({})).await;
    let plans = plans["plans"].as_array().unwrap();
    plans.iter().find(|listed| listed["id"] == plan["id"]).unwrap()["group"].as_str().unwrap().to_owned()
}

async fn page(world: &World, path: &str) -> Value {
    reqwest::get(world.api_url().join(path).unwrap()).await.unwrap().json().await.unwrap()
}

/// Watches a group; answers its id and the subscription's.
async fn watch(world: &World) -> (String, String) {
    let name = group(world).await;
    let made = world.ok("create_subscription", json!({"kind": "group", "names": [name]})).await;
    assert_eq!((&made["outcome"], &made["subscription"]["state"]), (&json!("created"), &json!("active")), "{made:#}");
    let listed = page(world, &format!("api/metadata?type=group&id={}", name.replace(' ', "%20"))).await;
    (listed["id"].as_str().unwrap().to_owned(), made["subscription"]["id"].as_str().unwrap().to_owned())
}

async fn titles(world: &World) -> Vec<String> {
    let found = world.ok("query_tasks", json!({"plan_id": PLAN, "text": "Heard of", "format": "json"})).await;
    let tasks = found["tasks"].as_array().cloned().unwrap_or_default();
    tasks.iter().map(|task| task["title"].as_str().unwrap().to_owned()).collect()
}

async fn colleague_adds(world: &World, title: &str) {
    let plan = world.ok("get_plan", json!({"plan_id": PLAN})).await["id"].clone();
    world.colleague(json!({"create": {"planId": plan, "title": title}})).await;
}

fn patient(config: &mut graphgate::config::Config) {
    config.planner.max_age = Duration::from_hours(1); // nobody asks Planner but the worker
}

#[tokio::test]
async fn group_notification_refreshes_its_plans_within_two_seconds() {
    let world = World::with(patient).await;
    let (id, key) = watch(&world).await;
    assert!(titles(&world).await.is_empty());
    colleague_adds(&world, "Heard of").await;
    assert!(titles(&world).await.is_empty(), "nobody has told");
    let told = world.control("POST", "notifications", json!({"resource": format!("groups/{id}"), "id": id})).await;
    assert_eq!(told["sent"], 1);
    let began = Instant::now();
    world.until("the plan is compared", async || titles(&world).await == ["Heard of"]).await;
    assert!(began.elapsed() < Duration::from_secs(2), "{:?}", began.elapsed());
    world
        .until("it stands in the log", async || {
            let log = page(&world, "api/webhook/log").await;
            log["notifications"][0]["outcome"] == "done" && log["notifications"][0]["subscription"] == json!(key)
        })
        .await;
    let health = page(&world, "api/webhook/health").await;
    assert_eq!((&health["wanted"], &health["active"]), (&json!(1), &json!(1)), "{health:#}");
    let deleted = world.ok("delete_subscription", json!({"id": key})).await;
    assert_eq!(deleted["outcome"], "deleted");
    assert_eq!(world.ok("list_subscriptions", json!({})).await["subscriptions"], json!([]));
    let told = world.control("POST", "notifications", json!({"resource": format!("groups/{id}"), "id": id})).await;
    assert_eq!(told["sent"], 0, "Graph has none either");
}

#[tokio::test]
async fn notification_reaches_an_event_listener_within_two_seconds() {
    let world = World::with(patient).await;
    let (id, _) = watch(&world).await;
    assert!(titles(&world).await.is_empty());
    let mut listener = Listener::open(&world, "", None).await;
    assert_eq!(listener.hear().await.unwrap().name, "hello");
    colleague_adds(&world, "Heard of").await;
    let began = Instant::now();
    world.control("POST", "notifications", json!({"resource": format!("groups/{id}"), "id": id})).await;
    loop {
        let heard = listener.hear().await.expect("the stream goes on");
        if heard.name == "created" && heard.data["title"] == "Heard of" {
            assert_eq!((&heard.data["side"], &heard.data["plan"]), (&json!("planner"), &json!(PLAN)), "{heard:?}");
            break;
        }
    }
    assert!(began.elapsed() < Duration::from_secs(2), "{:?}", began.elapsed());
}

/// What is kept only for a moment somebody holds the store: the answers say so in time, and nothing is lost.
#[tokio::test]
async fn notification_is_answered_503_while_the_store_is_down_and_sent_again() {
    let folder = crate::support::process::Folder::new();
    let world = World::in_folder_with(&folder.0, patient).await;
    let (id, _) = watch(&world).await;
    world.control("PUT", "notifications", json!({"retry_ms": 300})).await;
    let snapshot = world.control("GET", "snapshot", json!({})).await;
    let subscription = find(&snapshot, "clientState").expect("the tenant's subscription");
    let http = reqwest::Client::new();
    let post = async |number: usize| {
        let body = json!({"value": [{"id": format!("direct-{number}"), "subscriptionId": subscription["id"],
            "clientState": subscription["clientState"], "changeType": "updated", "resource": format!("groups/{id}")}]});
        let door = world.api_url().join("api/graph_webhook").unwrap();
        let began = Instant::now();
        let answer = http.post(door).json(&body).send().await.unwrap();
        (answer.status().as_u16(), began.elapsed())
    };
    assert_eq!(post(0).await.0, 202);
    // A writer has to wait for this transaction.
    let store = rusqlite::Connection::open(folder.0.join("graphgate.db")).unwrap();
    store.execute_batch("BEGIN IMMEDIATE").unwrap();
    for _ in 0..20 {
        let told = world.control("POST", "notifications", json!({"resource": format!("groups/{id}"), "id": id})).await;
        assert_eq!(told["sent"], 1);
    }
    let answers = futures::future::join_all((1..=20).map(post)).await;
    for (status, took) in &answers {
        assert_eq!(*status, 503, "{answers:?}");
        assert!(*took < Duration::from_millis(1500), "{answers:?}");
    }
    world
        .until("Graph has been refused", async || {
            world.control("GET", "notifications", json!({})).await["counts"]["failed_posts"].as_u64() >= Some(20)
        })
        .await;
    store.execute_batch("ROLLBACK").unwrap();
    for number in 1..=20 {
        assert_eq!(post(number).await.0, 202, "as Graph does, again");
    }
    world
        .until("everything is delivered", async || {
            world.control("GET", "notifications", json!({})).await["pending"] == 0
        })
        .await;
    world
        .until("everything is worked on", async || page(&world, "api/webhook/health").await["queue"]["waiting"] == 0)
        .await;
    let log = page(&world, "api/webhook/log?limit=500").await;
    let lines = log["notifications"].as_array().unwrap();
    let once = lines.iter().filter(|line| line["outcome"] == "done" || line["outcome"] == "merged").count();
    assert_eq!(once, 41, "each once: {log:#}");
}

#[tokio::test]
async fn webhook_self_test_passes_through_the_public_url() {
    let world = World::start().await;
    let test = async |world: &World| {
        let mut command = tokio::process::Command::new(env!("CARGO_BIN_EXE_graphgate"));
        let server = world.api_url().join("mcp").unwrap();
        command.args(["webhook", "test", "-o", "json", "--server", server.as_str()]).env_remove("GRAPHGATE_API_KEY");
        let output = command.output().await.unwrap();
        let said: Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
        (output.status.code(), said, String::from_utf8(output.stderr).unwrap())
    };
    let (code, said, told) = test(&world).await;
    assert_eq!((code, &said["status"]), (Some(0), &json!("ok")), "{said:#} {told}");
    let steps: Vec<&Value> = said["steps"].as_array().unwrap().iter().map(|step| &step["step"]).collect();
    assert_eq!(steps, ["handshake", "delivery", "work"]);
    let log = page(&world, "api/webhook/log").await;
    assert_eq!(log["notifications"][0]["subscription"], "sample", "{log:#}");
    let (_held, refusing) = crate::support::refusing_address();
    let world = World::with(|config| {
        config.subscriptions.public_url = Some(format!("http://{refusing}/").parse().unwrap());
    })
    .await;
    let (code, said, told) = test(&world).await;
    assert_eq!((code, &said["status"]), (Some(1), &json!("failing")), "{said:#} {told}");
    assert!(told.contains("handshake") && told.contains("from the internet"), "{told}");
}

#[tokio::test]
async fn duplicate_reordered_and_lost_notifications_end_in_the_same_state() {
    for (loss, copies) in [(0.0, 5), (0.5, 3), (1.0, 1)] {
        let world = World::with(patient).await;
        let (id, _) = watch(&world).await;
        world
            .control("PUT", "notifications", json!({"loss": loss, "copies": copies, "reorder_ms": 150, "seed": 7}))
            .await;
        let mut expected = Vec::new();
        for number in 0..6 {
            let title = format!("Heard of {number}");
            colleague_adds(&world, &title).await;
            world.control("POST", "notifications", json!({"resource": format!("groups/{id}"), "id": id})).await;
            expected.push(title);
        }
        world
            .until("everything is on its way no more", async || {
                world.control("GET", "notifications", json!({})).await["pending"] == 0
            })
            .await;
        world
            .until("everything is worked on", async || {
                page(&world, "api/webhook/health").await["queue"]["waiting"] == 0
            })
            .await;
        let log = page(&world, "api/webhook/log?limit=500").await;
        let count = |outcome: &str| {
            log["notifications"].as_array().unwrap().iter().filter(|line| line["outcome"] == outcome).count()
        };
        let counts = world.control("GET", "notifications", json!({})).await["counts"].clone();
        let told = counts["published"].as_u64().unwrap() - counts["lost"].as_u64().unwrap();
        let once = (count("done") + count("merged")) as u64;
        assert_eq!(once, told, "each once, with any number of copies: {counts} {log:#}");
        if loss == 0.0 {
            assert!(count("repeated") > 0, "{log:#}");
        }
        // What was lost is found by the comparison that is due anyway.
        world.ok("query_tasks", json!({"plan_id": PLAN, "fresh": true})).await;
        let mut found = titles(&world).await;
        found.sort();
        assert_eq!(found, expected);
    }
}

#[tokio::test]
async fn lifecycle_notifications_renew_or_recreate_the_subscription() {
    let world = World::with(patient).await;
    let (id, key) = watch(&world).await;
    let say = async |event: &str| {
        let body = json!({"resource": format!("groups/{id}"), "lifecycle": event});
        assert_eq!(world.control("POST", "notifications", body).await["sent"], 1);
        world.until(event, async || page(&world, "api/webhook/log").await["notifications"][0]["change"] == event).await;
        let log = page(&world, "api/webhook/log").await;
        log["notifications"][0]["note"].as_str().unwrap().to_owned()
    };
    assert_eq!(say("reauthorizationRequired").await, "renewed");
    colleague_adds(&world, "Heard of 1").await;
    assert_eq!(say("missed").await, "resynced");
    assert_eq!(titles(&world).await, ["Heard of 1"]);
    colleague_adds(&world, "Heard of 2").await;
    assert_eq!(say("subscriptionRemoved").await, "made again, resynced");
    assert_eq!(titles(&world).await.len(), 2);
    let health = page(&world, "api/webhook/health").await;
    let gaps = health["gaps"].as_array().unwrap();
    assert_eq!(gaps.len(), 2, "{health:#}");
    for gap in gaps {
        assert!(gap["resynced_at"].as_str().unwrap() >= gap["ended_at"].as_str().unwrap(), "{gap}");
        assert_eq!(gap["subscription"], json!(key));
    }
    assert_eq!(health["status"], "ok", "{health:#}");
}

#[tokio::test]
async fn cached_names_expire_after_a_day_or_on_a_notification() {
    let world = World::with(patient).await;
    let (id, _) = watch(&world).await;
    let path = format!("api/metadata?type=group&id={id}");
    for _ in 0..10 {
        assert_eq!(page(&world, &path).await["id"], json!(id));
    }
    let rate = async || {
        let text = reqwest::get(world.api_url().join("metrics").unwrap()).await.unwrap().text().await.unwrap();
        let count = |name: &str| {
            let line =
                text.lines().find(|line| line.starts_with(&format!("graphgate_{name}_total{{cache=\"metadata\"}} ")));
            line.and_then(|line| line.rsplit_once(' ')?.1.parse::<u64>().ok()).unwrap_or_default()
        };
        (count("cache_hits"), count("cache_misses"))
    };
    assert_eq!(rate().await, (9, 1));
    world.control("POST", "notifications", json!({"resource": format!("groups/{id}"), "id": id})).await;
    world
        .until("it is forgotten", async || {
            page(&world, &path).await;
            rate().await.1 == 2
        })
        .await;
}

/// A certificate with its RSA key, as a deployment would have it.
fn decryptor() -> graphgate::services::notifications::ContentDecryptor {
    let key = rcgen::KeyPair::generate_rsa_for(&rcgen::PKCS_RSA_SHA256, rcgen::RsaKeySize::_2048).unwrap();
    let certificate = rcgen::CertificateParams::new(Vec::new()).unwrap().self_signed(&key).unwrap();
    let pem = format!("{}{}", certificate.pem(), key.serialize_pem());
    graphgate::services::notifications::ContentDecryptor::parse(&pem).unwrap()
}

#[tokio::test]
async fn rich_notifications_are_decrypted_only_with_a_valid_validation_token() {
    let world = World::with(|config| {
        patient(config);
        config.decryptor = Some(decryptor());
    })
    .await;
    world
        .control("PUT", "permissions", json!({"roles": ["Chat.Read.All", "Group.Read.All", "Tasks.ReadWrite.All"]}))
        .await;
    let chat = json!({"kind": "chat", "names": ["19:chat@thread.v2"], "include_content": true});
    let made = world.ok("create_subscription", chat).await;
    assert_eq!(made["subscription"]["state"], "active", "{made:#}");
    let change = json!({"resource": "chats/19:chat@thread.v2/messages", "id": "m1", "change": "created",
        "content": {"body": {"content": "hello"}}});
    assert_eq!(world.control("POST", "notifications", change).await["sent"], 1);
    world
        .until("it is opened", async || {
            page(&world, "api/webhook/log").await["notifications"][0]["note"] == "content opened"
        })
        .await;
    // The same subscription, the right secret, and no proof, a forged one, or one made out for somebody else.
    let snapshot = world.control("GET", "snapshot", json!({})).await;
    let subscription = find(&snapshot, "clientState").expect("the tenant's subscription");
    let now = chrono::Utc::now().timestamp();
    let claims = json!({
        "aud": world.tenant.client_id, "iss": format!("https://sts.windows.net/{}/", world.tenant.tenant_id),
        "tid": world.tenant.tenant_id, "appid": "0bf30f3b-4a52-48df-9a82-234910c4a086", "nbf": now - 60, "exp": now + 600,
    });
    let signed = async |name: &str, value: Value| {
        let mut claims = claims.clone();
        claims[name] = value;
        if claims[name].is_null() {
            claims.as_object_mut().unwrap().remove(name);
        }
        world.control("POST", "entra/sign", json!({ "claims": claims })).await["token"].clone()
    };
    let mut cases = vec![
        (json!([]), "no validation token"),
        (json!(["eyJhbGciOiJub25lIn0.e30."]), "its validation token"),
        (json!(["x"]), "it has not three parts"),
    ];
    for (name, value, expected) in [
        ("exp", json!(now - 120), "has expired"),
        ("nbf", json!(now + 120), "not valid yet"),
        ("aud", json!("22222222-2222-2222-2222-222222222222"), "for another audience"),
        ("aud", json!(["22222222-2222-2222-2222-222222222222"]), "claims cannot be read"),
        ("iss", json!("https://sts.windows.net/22222222-2222-2222-2222-222222222222/"), "another issuer"),
        ("iss", json!(format!("http://evil.example/{}/v2.0", world.tenant.tenant_id)), "another issuer"),
        ("tid", json!("22222222-2222-2222-2222-222222222222"), "another tenant"),
        ("appid", json!("22222222-2222-2222-2222-222222222222"), "client is not among"),
        ("exp", Value::Null, "claims cannot be read"),
        ("nbf", Value::Null, "claims cannot be read"),
        ("aud", Value::Null, "claims cannot be read"),
        ("iss", Value::Null, "claims cannot be read"),
        ("tid", Value::Null, "names no tenant"),
        ("appid", Value::Null, "names no client"),
    ] {
        cases.push((json!([signed(name, value).await]), expected));
    }
    let good = signed("nbf", json!(now - 60)).await;
    cases.push((json!([good, "x"]), "it has not three parts")); // every proof must hold
    for (place, (tokens, expected)) in cases.into_iter().enumerate() {
        let body = json!({"validationTokens": tokens, "value": [{
            "subscriptionId": subscription["id"], "clientState": subscription["clientState"], "changeType": "created",
            "resource": "chats/1", "encryptedContent": {"data": "AAAA", "dataSignature": "AAAA", "dataKey": "AAAA"}}]});
        let door = world.api_url().join("api/graph_webhook").unwrap();
        let answer = reqwest::Client::new().post(door).json(&body).send().await.unwrap();
        assert_eq!(answer.status(), 202);
        // One after another: two that are under way together may end in any order.
        let log = async || page(&world, "api/webhook/log").await["notifications"].as_array().unwrap().clone();
        world.until("it is dealt with", async || log().await.len() == place + 2).await;
        let told = log().await[0].clone();
        assert_eq!(told["outcome"], "refused", "{expected}: {told:#}");
        assert!(told["note"].as_str().unwrap().contains(expected), "{expected}: {told:#}");
    }
    // A proof that holds, and content that was sealed for somebody else's certificate.
    let body = json!({"validationTokens": [good], "value": [{
        "subscriptionId": subscription["id"], "clientState": subscription["clientState"], "changeType": "created",
        "resource": "chats/1", "encryptedContent": {"data": "AAAA", "dataSignature": "AAAA", "dataKey": "AAAA"}}]});
    let door = world.api_url().join("api/graph_webhook").unwrap();
    assert_eq!(reqwest::Client::new().post(door).json(&body).send().await.unwrap().status(), 202);
    world
        .until("it is not opened", async || {
            let log = page(&world, "api/webhook/log").await;
            log["notifications"][0]["note"].as_str().unwrap().starts_with("content not opened")
        })
        .await;
}

/// The first object in `value` that has a member of this name.
fn find<'a>(value: &'a Value, name: &str) -> Option<&'a Value> {
    match value {
        Value::Object(object) if object.contains_key(name) => Some(value),
        Value::Object(object) => object.values().find_map(|inner| find(inner, name)),
        Value::Array(items) => items.iter().find_map(|inner| find(inner, name)),
        _ => None,
    }
}
