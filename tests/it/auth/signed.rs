//! Signed requests against the real program: what holds, what does not, and what comes twice.

use std::process::Command;

use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::support::process::{Folder, GRAPHGATE, Process};

/// A deployment on a data folder, which the command line makes keys in before it starts.
struct Gate {
    process: Process,
    folder: Folder,
    http: reqwest::Client,
}

fn cli(folder: &Folder, arguments: &[&str]) -> Value {
    let tenant = "8f2c6a10-5b1d-4f0e-9c57-3a1e6d2b4c90";
    let output = Command::new(GRAPHGATE)
        .args(arguments)
        .args(["-o", "json"])
        .env("DATA_DIR", folder.0.join("data"))
        .env("AZURE_TENANT_ID", tenant)
        .env("AZURE_CLIENT_ID", "3d9e1f64-7c2a-4b8d-a5f0-6e4b9c1d2a73")
        .env("AZURE_CLIENT_SECRET", "x")
        .output()
        .unwrap();
    assert!(output.status.success(), "{arguments:?}: {output:?}");
    serde_json::from_slice(&output.stdout).unwrap()
}

impl Gate {
    async fn over(folder: Folder) -> Self {
        let mut command = Command::new(GRAPHGATE);
        command.args(["dev", "--port", "0", "--sim-port", "0", "--data"]).arg(folder.0.join("data"));
        command.env("REQUIRE_API_KEY", "true").env("SIGNATURE_WINDOW_SECONDS", "300");
        let process = Process::start(command, &folder.0.join("ready.json")).await;
        let http = reqwest::Client::builder().no_proxy().build().unwrap();
        Self { process, folder, http }
    }

    async fn send(&self, signed: &Signed) -> (u16, Value) {
        let url = format!("{}{}", self.process.text("api_url").trim_end_matches('/'), signed.target);
        let mut request = self.http.request(signed.method.parse().unwrap(), url).body(signed.body.clone());
        request = request.header("content-type", "application/json");
        for (name, value) in &signed.headers {
            request = request.header(name.as_str(), value);
        }
        let answer = request.send().await.unwrap();
        let status = answer.status().as_u16();
        (status, serde_json::from_str(&answer.text().await.unwrap()).unwrap_or_default())
    }
}

/// A signed request, to be changed before it is sent.
#[derive(Clone)]
struct Signed {
    method: String,
    target: String,
    body: String,
    headers: Vec<(String, String)>,
}

/// What is signed.
struct Ask<'a> {
    keys: &'a [&'a str],
    id: &'a str,
    timestamp: i64,
    method: &'a str,
    target: &'a str,
    body: String,
}

impl Ask<'_> {
    fn sign(&self) -> Signed {
        let Ask { keys, id, timestamp, method, target, body } = self;
        let text = format!("v1\n{id}\n{timestamp}\n{method}\n{target}\n{body}");
        let tag = |key: &&str| {
            let key = hmac::Key::new(hmac::HMAC_SHA256, key.as_bytes());
            format!("v1,{}", STANDARD.encode(hmac::sign(&key, text.as_bytes())))
        };
        let tags: Vec<String> = keys.iter().map(tag).collect();
        let key = keys[0].split('_').nth(1).unwrap().to_owned();
        let pairs = [
            ("x-graphgate-key", key),
            ("x-graphgate-request-id", (*id).to_owned()),
            ("x-graphgate-timestamp", timestamp.to_string()),
            ("x-graphgate-signature", tags.join(" ")),
        ];
        Signed {
            method: (*method).to_owned(),
            target: (*target).to_owned(),
            body: body.clone(),
            headers: pairs.into_iter().map(|(name, value)| (name.to_owned(), value)).collect(),
        }
    }
}

impl Signed {
    fn with(&self, name: &str, value: &str) -> Self {
        let mut changed = self.clone();
        for (known, old) in &mut changed.headers {
            if known == name {
                value.clone_into(old);
            }
        }
        changed
    }
}

fn now() -> i64 {
    chrono::Utc::now().timestamp()
}

fn create(keys: &[&str], id: &str, title: &str, plan: &str) -> Signed {
    let body = json!({ "plan_id": plan, "title": title }).to_string();
    Ask { keys, id, timestamp: now(), method: "POST", target: "/api/tools/create_task", body }.sign()
}

#[tokio::test]
async fn signed_request_is_carried_out_once_and_only_as_it_was_signed() {
    let folder = Folder::new();
    let made = cli(&folder, &["keys", "create", "scheduler", "--signing", "--toolsets", "planner"]);
    assert_eq!(made["kind"], "signing");
    let (key, id) = (made["key"].as_str().unwrap().to_owned(), made["id"].as_str().unwrap().to_owned());
    let gate = Gate::over(folder).await;
    let plans = Ask {
        keys: &[&key],
        id: "p-1",
        timestamp: now(),
        method: "POST",
        target: "/api/tools/list_plans",
        body: "{}".into(),
    };
    let (status, plans) = gate.send(&plans.sign()).await;
    assert_eq!(status, 200, "{plans}");
    let plan = plans["plans"][0]["id"].as_str().unwrap().to_owned();

    let request = create(&[&key], "r-1", "Signed once", &plan);
    let (status, first) = gate.send(&request).await;
    assert_eq!(status, 200, "{first}");
    for _ in 0..3 {
        assert_eq!(gate.send(&request).await, (200, first.clone()), "a repetition gets the first answer");
    }
    let count = async |title: &str| {
        let body = json!({"plan_id": plan, "text": title, "format": "json"}).to_string();
        let id = uuid::Uuid::new_v4().to_string();
        let ask =
            Ask { keys: &[&key], id: &id, timestamp: now(), method: "POST", target: "/api/tools/query_tasks", body };
        let (status, found) = gate.send(&ask.sign()).await;
        assert_eq!(status, 200, "{found}");
        found["tasks"].as_array().unwrap().len()
    };
    assert_eq!(count("Signed once").await, 1);
    // The same id for something else is refused, and does nothing.
    let (status, told) = gate.send(&create(&[&key], "r-1", "Another", &plan)).await;
    assert_eq!((status, &told["code"]), (409, &json!("CONF_001")), "{told}");
    assert_eq!(count("Another").await, 0);

    // What failed without an effect may be tried again under its id.
    let control = gate.process.text("control_url").to_owned();
    let fault = json!({"path_contains": "/users", "kind": "status", "status": 503});
    gate.http.post(format!("{control}/faults")).body(fault.to_string()).send().await.unwrap();
    let body = r#"{"plan_id":"x","title":"In no plan"}"#.to_owned();
    let ask =
        Ask { keys: &[&key], id: "f-1", timestamp: now(), method: "POST", target: "/api/tools/create_task", body };
    let (first, again) = (gate.send(&ask.sign()).await, gate.send(&ask.sign()).await);
    assert_eq!((first.0, first.1["code"].clone()), (again.0, again.1["code"].clone()), "{first:?} {again:?}");
    assert_ne!(first.1["request_id"], again.1["request_id"], "it was tried again");
    gate.http.delete(format!("{control}/faults")).send().await.unwrap();

    // Everything that was signed counts; the refusal is the same for each.
    let good = create(&[&key], "r-2", "Changed", &plan);
    let elsewhere = Signed { target: "/api/tools/create_task?x=1".into(), ..good.clone() };
    let aged = |timestamp| {
        Ask { keys: &[&key], id: "r-3", timestamp, method: "POST", target: "/api/tools/list_plans", body: "{}".into() }
            .sign()
    };
    let wrong = [
        elsewhere,
        Signed { body: good.body.replace("Changed", "Forged!"), ..good.clone() },
        Signed { target: "/api/tools/query_tasks".into(), ..good.clone() },
        good.with("x-graphgate-request-id", "r-9"),
        good.with("x-graphgate-timestamp", &(now() - 1).to_string()),
        good.with("x-graphgate-key", "00000000"),
        good.with("x-graphgate-key", ""),
        good.with("x-graphgate-signature", "v1,AAAA"),
        good.with("x-graphgate-signature", ""),
        good.with("x-graphgate-signature", &good.headers[3].1.replace("v1,", "v2,")),
        create(&[&format!("ggsk_{id}_{}", "0".repeat(64))], "r-4", "Changed", &plan),
        aged(now() - 302),
        aged(now() + 63),
        aged(0),
    ];
    let mut texts = std::collections::BTreeSet::new();
    for request in &wrong {
        let (status, told) = gate.send(request).await;
        assert_eq!((status, &told["code"]), (401, &json!("AUTH_001")), "{told}");
        texts.insert(told["detail"].to_string());
    }
    assert_eq!(texts.len(), 1, "one text for all causes: {texts:?}");
    assert_eq!(count("Changed").await + count("Forged!").await, 0);
    assert_eq!(gate.send(&good).await.0, 200, "what was refused used no id up");
    for timestamp in [now() - 290, now() + 50] {
        let id = format!("t{timestamp}");
        let ask = Ask {
            keys: &[&key],
            id: &id,
            timestamp,
            method: "POST",
            target: "/api/tools/list_plans",
            body: "{}".into(),
        };
        assert_eq!(gate.send(&ask.sign()).await.0, 200);
    }
    // The text of a signing key is no key to be sent, and its rights hold as those of any key.
    let sent = gate.http.get(format!("{}mcp/status", gate.process.text("api_url"))).bearer_auth(&key).send().await;
    assert_eq!(sent.unwrap().status(), 401);
    let ask = Ask {
        keys: &[&key],
        id: "g-1",
        timestamp: now(),
        method: "GET",
        target: "/mcp/status?x=%20y",
        body: String::new(),
    };
    let (status, told) = gate.send(&ask.sign()).await;
    assert!(status == 200 || told["code"] == "VAL_001", "{status} {told}");
    let ask =
        Ask { keys: &[&key], id: "g-2", timestamp: now(), method: "GET", target: "/metrics", body: String::new() };
    assert_eq!(gate.send(&ask.sign()).await.0, 403);
}

#[tokio::test]
async fn two_signing_keys_hold_at_once_and_a_third_ends_the_first() {
    let folder = Folder::new();
    let made = cli(&folder, &["keys", "create", "scheduler", "--signing"]);
    let (first, id) = (made["key"].as_str().unwrap().to_owned(), made["id"].as_str().unwrap().to_owned());
    let second = cli(&folder, &["keys", "renew", &id])["key"].as_str().unwrap().to_owned();
    let gate = Gate::over(folder).await;
    let ask = |keys: &[&str], request: &str| {
        Ask { keys, id: request, timestamp: now(), method: "POST", target: "/api/tools/list_plans", body: "{}".into() }
            .sign()
    };
    for (keys, request) in [(vec![first.as_str()], "a"), (vec![second.as_str()], "b"), (vec![&second, &first], "c")] {
        assert_eq!(gate.send(&ask(&keys, request)).await.0, 200, "{request}");
    }
    // A repetition under the other key is the same request.
    assert_eq!(gate.send(&ask(&[&second], "a")).await.0, 200);
    let Gate { process, folder, .. } = gate;
    drop(process);
    let third = cli(&folder, &["keys", "renew", &id])["key"].as_str().unwrap().to_owned();
    let gate = Gate::over(folder).await;
    assert_eq!(gate.send(&ask(&[&first], "d")).await.0, 401);
    assert_eq!(gate.send(&ask(&[&first, &third], "e")).await.0, 200, "one that holds is enough");
    assert_eq!(gate.send(&ask(&[&second], "f")).await.0, 200);
    let listed = {
        let Gate { process, folder, .. } = gate;
        drop(process);
        cli(&folder, &["keys", "revoke", &id]);
        (cli(&folder, &["keys", "list"]), Gate::over(folder).await)
    };
    assert_eq!(listed.0["keys"][0]["state"], "revoked");
    assert_eq!(listed.1.send(&ask(&[&third], "g")).await.0, 401);
}

#[tokio::test]
async fn documented_signing_code_calls_a_tool() {
    let folder = Folder::new();
    let made = cli(&folder, &["keys", "create", "scheduler", "--signing", "--toolsets", "planner"]);
    let key = made["key"].as_str().unwrap().to_owned();
    let gate = Gate::over(folder).await;
    let base = gate.process.text("api_url").trim_end_matches('/').to_owned();
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/clients");
    for (program, file) in [("python3", "signed_call.py"), ("sh", "signed_call.sh")] {
        let mut command = Command::new(program);
        command.arg(format!("{folder}/{file}")).args([&base, &key, "list_plans", "{}"]).env("no_proxy", "*");
        let output = command.output().unwrap();
        let told: Value = serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{program}: {output:?}"));
        assert!(!told["plans"].as_array().unwrap().is_empty(), "{program}: {told}");
    }
}
