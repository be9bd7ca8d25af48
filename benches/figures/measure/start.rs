//! From the start of the process to the first answered `tools/list`.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::bail;
use serde_json::json;

use crate::Effort;
use crate::cores::Cores;
use crate::http::Request;
use crate::process::{GRAPHGATE, Process};
use crate::report::{Figure, median, ms};

/// Measures `serve` and `dev`, each in empty folders.
pub fn run(effort: Effort) -> anyhow::Result<Vec<Figure>> {
    let starts = effort.of(11, 5);
    let mut figures = Vec::new();
    for (command, limit) in [("serve", 50.0), ("dev", 100.0)] {
        let mut took = Vec::with_capacity(starts);
        for _ in 0..starts {
            took.push(ms(first_answer(command)?));
        }
        let name = format!("exec to first answered `tools/list`, `{command}`");
        let best = took.iter().copied().fold(f64::INFINITY, f64::min);
        let note = format!("median of {starts} starts, best {best:.1} ms");
        figures.push(Figure::at_most(&name, limit, median(&took), "ms").noting(&note));
    }
    Ok(figures)
}

fn first_answer(command: &str) -> anyhow::Result<Duration> {
    let port = TcpListener::bind(("127.0.0.1", 0))?.local_addr()?.port();
    let number = port.to_string();
    let mut arguments = vec![command, "--port", &number];
    if command == "dev" {
        arguments.extend(["--sim-port", "0"]);
    }
    let variables = [
        ("AZURE_TENANT_ID", "8f2c6a10-5b1d-4f0e-9c57-3a1e6d2b4c90".to_owned()),
        ("AZURE_CLIENT_ID", "3d9e1f64-7c2a-4b8d-a5f0-6e4b9c1d2a73".to_owned()),
        ("AZURE_CLIENT_SECRET", "not-used-before-the-first-call".to_owned()),
        ("DATA_DIR", "{folder}/data".to_owned()),
    ];
    let variables = if command == "dev" { &[][..] } else { &variables[..] };
    let request = Request::mcp("tools/list", &json!({}));
    let started = Instant::now();
    let process = Process::start(Path::new(GRAPHGATE), &arguments, variables, Cores::All)?;
    let mut stream = loop {
        match TcpStream::connect(("127.0.0.1", port)) {
            Ok(stream) => break stream,
            Err(_) if started.elapsed() < Duration::from_secs(10) => std::thread::sleep(Duration::from_micros(100)),
            Err(error) => bail!("`{command}` does not answer: {error}\n{}", process.log()),
        }
    };
    stream.write_all(request.bytes())?;
    let mut answer = [0; 4_096];
    let length = stream.read(&mut answer)?;
    let took = started.elapsed();
    if !answer.get(..length).unwrap_or_default().starts_with(b"HTTP/1.1 200") {
        bail!("`tools/list`: {}", String::from_utf8_lossy(answer.get(..length).unwrap_or_default()));
    }
    Ok(took)
}
