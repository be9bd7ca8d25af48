//! What the host does to the process, and what strangers send it.

use std::time::Duration;

use reqwest::header::HeaderValue;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::Deployment;
use crate::support::PLAN;
use crate::support::functions_host::{FunctionsHost, KEY, is_packaged};

/// A package answers within this; the unoptimised program under test within the other.
const READY: (Duration, Duration) = (Duration::from_millis(300), Duration::from_secs(3));

#[tokio::test]
#[ignore = "needs AZURITE"]
async fn cold_start_answers_in_time_and_again_after_a_kill() {
    let deployment = Deployment::start().await;
    deployment.host.ready_after("http").await.unwrap(); // all that the machine had to read from its disk is read
    let mut starts = Vec::new();
    for _ in 0..5 {
        deployment.host.kill("http").await;
        starts.push(deployment.host.ready_after("http").await.unwrap());
    }
    starts.sort_unstable();
    println!("exec to the first answer, with Azure's storage: {starts:?}");
    assert!(starts[2] <= if is_packaged() { READY.0 } else { READY.1 }, "{starts:?}");
    let made = deployment.ok("create_task", json!({"plan_id": PLAN, "title": "After the kill"})).await;
    assert_eq!(made["sync"], "synced");
}

#[tokio::test]
#[ignore = "needs AZURITE"]
async fn failing_start_logs_the_reason_and_ends_the_host_after_three_tries() {
    let deployment = Deployment::with(&[("PLANNER_PLAN_IDS", "nonsense")]).await;
    let refused = deployment.host.ready_after("http").await.unwrap_err();
    assert!(refused.contains("Exceeded http worker restart retry count"), "{refused}");
    let told = |line: &str| line.contains("PLANNER_PLAN_IDS");
    for _ in 0..100 {
        if deployment.host.output().iter().filter(|(_, line)| told(line)).count() == 3 {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await; // the reader of its output comes after its end
    }
    panic!("{:#?}", deployment.host.output());
}

#[tokio::test]
#[ignore = "needs AZURITE"]
async fn functions_host_requires_a_key_on_guarded_routes_only() {
    let deployment = Deployment::start().await;
    let status = async |path: &str, key: Option<&'static str>| {
        let mut request = deployment.http.get(deployment.host.url.join(path).unwrap());
        if let Some(key) = key {
            request = request.header("x-functions-key", HeaderValue::from_static(key));
        }
        request.send().await.unwrap().status().as_u16()
    };
    for path in ["mcp", "api/agent/tasks", "api/openapi.json", "metrics"] {
        assert_eq!(status(path, None).await, 401, "{path}");
        assert_eq!(status(path, Some("guess")).await, 401, "{path}");
    }
    assert_eq!(status("api/openapi.json", Some(KEY)).await, 200);
    assert_eq!(status("metrics", Some(KEY)).await, 200);
    assert_eq!(
        status("mcp", Some(KEY)).await,
        405,
        "GET there is a stream we do not have, and the client must hear it"
    );
    for path in ["health", "health/live", "health/ready"] {
        assert_eq!(status(path, None).await, 200, "{path}");
    }
    for path in ["openapi.json", "nowhere", "health//live"] {
        assert_eq!(status(path, Some(KEY)).await, 404, "{path}: no function has this route");
    }
    assert_eq!(status("", None).await, 204, "the home page is switched off");
    assert_eq!(status("admin/functions/reconcile_plans", None).await, 401);
    assert_eq!(status("admin/functions/reconcile_plans", Some(KEY)).await, 403, "that takes the master key");
    let refused = deployment.http.get(deployment.host.url.join("mcp").unwrap()).send().await.unwrap();
    assert!(refused.headers().get("www-authenticate").is_none(), "the host tells no client where to sign in");
    assert!(refused.bytes().await.unwrap().is_empty());
}

/// Microsoft Graph has no key, and writes the path as it was given; the host knows no letter case.
#[tokio::test]
#[ignore = "needs AZURITE"]
async fn webhook_is_open_without_a_functions_key() {
    let deployment = Deployment::start().await;
    for path in ["api/graph_webhook", "api/graph_webhook/lifecycle", "API/Graph_Webhook"] {
        let url = deployment.host.url.join(&format!("{path}?validationToken=echo%20me")).unwrap();
        let answer = deployment.http.post(url).send().await.unwrap();
        assert_eq!((answer.status().as_u16(), answer.text().await.unwrap().as_str()), (200, "echo me"), "{path}");
    }
    let other = deployment.http.get(deployment.host.url.join("api/graph_webhook").unwrap()).send().await.unwrap();
    assert_eq!(other.status(), 401, "another method falls through to the next route, which asks for a key");
}

/// The scripts an operator runs fail where no subscription could be made.
#[tokio::test]
#[ignore = "needs AZURITE"]
async fn test_connection_script_checks_the_validation_token() {
    let deployment = Deployment::start().await;
    let run = async |script: &'static str, arguments: Vec<String>, url: &url::Url| {
        let settings = [
            ("GRAPHGATE_URL", url.as_str().trim_end_matches('/')),
            ("AZURE_FUNCTION_NAME", "app"),
            ("AZURE_RESOURCE_GROUP", "group"),
            ("AZURE_TENANT_ID", "tenant"),
            ("MANAGED_IDENTITY_PRINCIPAL_ID", "id"),
            ("TRIES", "1"),
            ("PAUSE", "0"),
        ];
        let script = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts").join(script);
        let run = tokio::process::Command::new("bash").arg(script).args(arguments).envs(settings).output().await;
        let run = run.unwrap();
        (run.status.success(), String::from_utf8_lossy(&[run.stdout, run.stderr].concat()).into_owned())
    };
    let url = &deployment.host.url;
    let (works, said) = run("test-connection.sh", vec![url.to_string(), KEY.to_owned()], url).await;
    assert!(works && said.contains("works: connect clients"), "{said}");
    let (works, said) = run("next-steps.sh", Vec::new(), url).await;
    assert!(works && said.contains("Microsoft Graph reaches it"), "{said}");
    // A package whose webhook asks for a key.
    let function = deployment.folder.0.join("dist/graph_webhook/function.json");
    if is_packaged() {
        return; // it is not ours to change
    }
    let guarded = std::fs::read_to_string(&function).unwrap().replace("anonymous", "function");
    std::fs::write(&function, guarded).unwrap();
    let shut = deployment.host_of_staged(&[]).await;
    let (works, said) = run("test-connection.sh", vec![shut.url.to_string(), KEY.to_owned()], &shut.url).await;
    assert!(!works && said.contains("graph_webhook): HTTP 401"), "{said}");
    let (works, said) = run("next-steps.sh", Vec::new(), &shut.url).await;
    assert!(!works && said.contains("no subscription can be made yet"), "{said}");
}

/// The host's own refusal tells no client where to sign in: where people do, its functions let everybody through, and the
/// program asks.
#[tokio::test]
#[ignore = "needs AZURITE"]
async fn sign_in_by_people_is_required_by_the_program_with_metadata() {
    let deployment = Deployment::start().await;
    assert!(!is_packaged(), "a package is made for the host's keys: the step `host` leaves this test out");
    for function in graphgate::triggers::GUARDED {
        let file = deployment.folder.0.join(format!("dist/{function}/function.json"));
        let open = std::fs::read_to_string(&file)
            .unwrap()
            .replace(r#""authLevel": "function""#, r#""authLevel": "anonymous""#);
        std::fs::write(file, open).unwrap();
    }
    let host = deployment.host_of_staged(&[("ENTRA_AUDIENCE", "api://graphgate")]).await;
    let refused = deployment.http.post(host.url.join("mcp").unwrap()).json(&json!({})).send().await.unwrap();
    assert_eq!(refused.status(), 401);
    let challenge = refused.headers()["www-authenticate"].to_str().unwrap().to_owned();
    let (_, address) = challenge.split_once("resource_metadata=\"").unwrap_or_else(|| panic!("{challenge}"));
    let metadata = deployment.http.get(address.split('"').next().unwrap()).send().await.unwrap();
    let metadata: serde_json::Value = metadata.json().await.unwrap();
    assert_eq!(metadata["resource"], host.url.join("mcp").unwrap().as_str(), "{metadata}");
    for path in ["metrics", "api/agent/tasks"] {
        let key = deployment.http.get(host.url.join(path).unwrap()).header("x-functions-key", KEY);
        let refused = key.send().await.unwrap();
        assert_eq!(refused.status(), 401, "{path}: nobody has checked the key");
        assert!(!refused.bytes().await.unwrap().is_empty(), "{path}: it is the program that refuses");
    }
}

/// Sends a request line as it is; answers everything that came back.
async fn raw(host: &FunctionsHost, line: &str) -> String {
    let address = (host.url.host_str().unwrap(), host.url.port().unwrap());
    let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
    let body = r#"{"Data":{"timer":{"IsPastDue":false}},"Metadata":{}}"#;
    let request = format!(
        "{line} HTTP/1.1\r\nhost: gate.example.com\r\nx-functions-key: {KEY}\r\nuser-agent: Azure-Functions-Host/4.1048\r\n\
         content-type: application/json\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer).await;
    String::from_utf8_lossy(&answer).into_owned()
}

/// Even somebody with the key calls no trigger by public HTTP, however the path is written.
#[tokio::test]
#[ignore = "needs AZURITE"]
async fn trigger_paths_are_unreachable_in_any_spelling() {
    let deployment = Deployment::start().await;
    let names: Vec<String> = std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/functions"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    let mut tried = 0;
    for name in &names {
        if ["mcp", "rest", "health", "metrics", "well_known", "graph_webhook"].contains(&name.as_str()) {
            continue;
        }
        let encoded: String = name.bytes().map(|byte| format!("%{byte:02x}")).collect();
        for first in ["", "mcp/", "api/", "health/", ".well-known/", "mcp/x/"] {
            for path in [
                name.clone(),
                encoded.clone(),
                name.to_uppercase(),
                format!("/{name}"),
                format!("../{name}"),
                format!("..%2f{name}"),
                format!("%2e%2e/{name}"),
                format!("%2e%2e%2f{name}"),
                format!("..;/{name}"),
                format!("./{name}"),
                format!("{name}/"),
                format!("{name}."),
                format!("{name}%00"),
                format!("{name}?code={KEY}"),
                format!("..\\{name}"),
            ] {
                for line in [format!("POST /{first}{path}"), format!("POST http://127.0.0.1/{first}{path}")] {
                    let answer = raw(&deployment.host, &line).await;
                    assert!(!answer.contains("Outputs"), "{line}: {answer}");
                    let status = answer.split(' ').nth(1).unwrap_or("reset").to_owned();
                    assert!(
                        ["400", "401", "403", "404", "405", "406", "415", "reset"].contains(&status.as_str()),
                        "{line}: {answer}"
                    );
                    tried += 1;
                }
            }
        }
    }
    assert!(tried >= 500, "{tried}");
    assert!(deployment.host.invocations().is_empty());
    let output = deployment.host.output();
    assert!(output.iter().all(|(_, line)| !line.contains("invocation function=")), "{output:#?}");
}

/// What a proxy does to a request: the body comes in pieces of unknown length and goes out the same way.
#[tokio::test]
#[ignore = "needs AZURITE"]
async fn chunked_bodies_pass_in_both_directions() {
    let deployment = Deployment::start().await;
    let tasks: Vec<_> = (0..40).map(|number| json!({"title": format!("Piece {number} {}", "x".repeat(200))})).collect();
    let call = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params":
        {"name": "bulk_create_tasks", "arguments": {"plan_id": PLAN, "tasks": tasks}}});
    let pieces: Vec<_> =
        call.to_string().into_bytes().chunks(999).map(|part| Ok::<_, std::io::Error>(part.to_vec())).collect();
    let request = deployment
        .http
        .post(deployment.host.url.join("mcp").unwrap())
        .header("x-functions-key", KEY)
        .header("content-type", "application/json")
        .header("accept", "application/json, text/event-stream")
        .body(reqwest::Body::wrap_stream(futures::stream::iter(pieces)));
    let answer: serde_json::Value = request.send().await.unwrap().json().await.unwrap();
    assert_eq!(answer["result"]["structuredContent"]["synced"], 40, "{answer}");
}
