//! Entra's error bodies, with their AADSTS numbers.

use serde_json::json;

use super::super::http::Reply;
use super::super::simulator::Simulator;

/// An OAuth error as Entra words it.
pub fn answer(simulator: &Simulator, status: u16, error: &str, number: u32, description: &str) -> Reply {
    let (trace, correlation) = (uuid::Uuid::new_v4(), uuid::Uuid::new_v4());
    let timestamp = simulator.clock.now().format("%Y-%m-%d %H:%M:%SZ").to_string();
    let body = json!({
        "error": error,
        "error_description": format!("AADSTS{number}: {description} Trace ID: {trace} Correlation ID: {correlation} Timestamp: {timestamp}"),
        "error_codes": [number],
        "timestamp": timestamp,
        "trace_id": trace,
        "correlation_id": correlation,
        "error_uri": format!("https://login.microsoftonline.com/error?code={number}"),
    });
    Reply::json(status, &body)
}
