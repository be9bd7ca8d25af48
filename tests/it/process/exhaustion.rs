//! Sockets and bodies of strangers without a key: the real binary keeps answering, in bounded memory.

use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::Deployment;

/// The median of twenty health checks, each over a connection of its own; every one is answered.
async fn health(base: &str) -> Duration {
    let mut took = Vec::new();
    for _ in 0..20 {
        let begun = Instant::now();
        let client =
            reqwest::Client::builder().pool_max_idle_per_host(0).timeout(Duration::from_secs(5)).build().unwrap();
        let answer = client.get(format!("{base}/health")).send().await.expect("the health check is answered");
        assert!(answer.status().is_success() || answer.status() == 503, "{}", answer.status());
        took.push(begun.elapsed());
    }
    took.sort();
    took[took.len() / 2]
}

const MOST_MEMORY: u64 = 256 * 1024;
const SOON: Duration = Duration::from_millis(100);

#[tokio::test]
async fn server_answers_with_ten_thousand_idle_sockets_open() {
    let _missing = graphgate::os::prepare();
    let deployment = Deployment::start().await;
    let base = deployment.server(0).text("api_url").trim_end_matches('/').to_owned();
    let address = base.trim_start_matches("http://").to_owned();
    let possible = graphgate::os::most_files().map_or(10_000, |files| files.saturating_sub(200).min(10_000));
    let mut silent = Vec::new();
    for number in 0..possible {
        let mut stream = TcpStream::connect(&address).await.unwrap();
        if number % 2 == 0 {
            let _ = stream.write_all(b"POST /mcp HTTP/1.1\r\nhost: localhost\r\n").await;
        }
        silent.push(stream);
    }
    let median = health(&base).await;
    assert!(median <= SOON, "{median:?} with {} sockets", silent.len());
    let memory = deployment.server(0).resident();
    assert!(memory <= MOST_MEMORY, "{memory} KiB");
}

#[tokio::test]
async fn server_answers_during_a_thousand_unfinished_bodies() {
    let _missing = graphgate::os::prepare();
    let mut deployment = Deployment::start().await;
    let base = deployment.server(0).text("api_url").trim_end_matches('/').to_owned();
    let address = base.trim_start_matches("http://").to_owned();
    let half = vec![b' '; 1_000_000];
    let mut unfinished = Vec::new();
    for path in ["/api/graph_webhook", "/mcp"] {
        for _ in 0..500 {
            let mut stream = TcpStream::connect(&address).await.unwrap();
            let head = format!(
                "POST {path} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: 1048576\r\n\r\n"
            );
            let half = &half;
            let send = async {
                stream.write_all(head.as_bytes()).await?;
                stream.write_all(half).await
            };
            // Beyond its share a sender is cut off.
            let _ = tokio::time::timeout(Duration::from_secs(1), send).await;
            unfinished.push(stream);
        }
    }
    let median = health(&base).await;
    assert!(median <= SOON, "{median:?}");
    let memory = deployment.server(0).resident();
    assert!(memory <= MOST_MEMORY, "{memory} KiB");
    // Graph's handshake has no body, and is answered meanwhile.
    let shake = deployment.http.post(format!("{base}/api/graph_webhook?validationToken=hello")).send().await.unwrap();
    assert_eq!((shake.status().as_u16(), shake.text().await.unwrap().as_str()), (200, "hello"));
    // None of them is waited for for long, and then there is room again.
    let mut statuses = std::collections::BTreeMap::<String, usize>::new();
    for mut stream in unfinished {
        let mut answer = Vec::new();
        let read = stream.read_to_end(&mut answer);
        let _ = tokio::time::timeout(Duration::from_secs(40), read).await.expect("the connection is closed");
        let status = String::from_utf8_lossy(&answer).split(' ').nth(1).unwrap_or("cut off").to_owned();
        *statuses.entry(status).or_default() += 1;
    }
    assert!(statuses.keys().all(|status| ["408", "503", "cut off"].contains(&status.as_str())), "{statuses:?}");
    assert!(statuses.contains_key("408") && statuses.contains_key("503"), "{statuses:?}");
    let body = serde_json::json!({"value": []}).to_string();
    let taken = deployment.http.post(format!("{base}/api/graph_webhook")).body(body).send().await.unwrap();
    assert!(taken.status().as_u16() < 500, "{}", taken.status());
    assert!(deployment.servers[0].as_mut().unwrap().lives());
}

#[tokio::test]
async fn expect_100_continue_refuses_too_large_a_body_before_it_is_sent() {
    let deployment = Deployment::start().await;
    let address = deployment.server(0).text("api_url").trim_start_matches("http://").trim_end_matches('/').to_owned();
    for (path, length) in [("/api/graph_webhook", 1_048_577), ("/mcp", 99_999_999), ("/api/agent/tasks", 99_999_999)] {
        let mut stream = TcpStream::connect(&address).await.unwrap();
        let head = format!(
            "POST {path} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\nexpect: 100-continue\r\ncontent-length: {length}\r\n\r\n"
        );
        stream.write_all(head.as_bytes()).await.unwrap();
        let mut answer = vec![0; 2000];
        let read =
            tokio::time::timeout(Duration::from_secs(5), stream.read(&mut answer)).await.expect("an answer").unwrap();
        let answer = String::from_utf8_lossy(&answer[..read]).into_owned();
        assert!(answer.starts_with("HTTP/1.1 413 "), "{path}: {answer}");
    }
}
