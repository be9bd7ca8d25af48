//! Refusals of the sign-in service, with the AADSTS numbers and words of Entra: as the JSON of the token endpoint, or as
//! parameters on the way back to the application.
//!
//! The numbers follow <https://learn.microsoft.com/entra/identity-platform/reference-error-codes>.

use serde_json::{Value, json};

use super::super::http::Reply;
use super::super::simulator::Simulator;
use super::super::state::Application;

/// Why a request was refused.
#[derive(Clone, Debug)]
pub struct Refusal {
    pub status: u16,
    /// OAuth's name of the error.
    pub error: &'static str,
    /// The AADSTS number.
    pub number: u32,
    pub words: String,
    /// What a client library decides by, beside `error`.
    pub suberror: Option<&'static str>,
    /// The claims that a new request has to carry: JSON as text, ready to be sent back as the parameter of the same name.
    pub claims: Option<String>,
}

impl Refusal {
    /// A refusal with status 400.
    pub fn new(error: &'static str, number: u32, words: impl Into<String>) -> Self {
        Self { status: 400, error, number, words: words.into(), suberror: None, claims: None }
    }

    /// The grant is of no use (any more).
    pub fn grant(number: u32, words: impl Into<String>) -> Self {
        Self::new("invalid_grant", number, words)
    }

    /// The client did not prove who it is.
    pub fn client(number: u32, words: impl Into<String>) -> Self {
        Self { status: 401, ..Self::new("invalid_client", number, words) }
    }

    /// A parameter is missing.
    pub fn missing(name: &str) -> Self {
        let words = format!("The request body must contain the following parameter: '{name}'.");
        Self::new("invalid_request", 900_144, words)
    }

    /// The request cannot be read.
    pub fn malformed(error: &'static str) -> Self {
        Self::new(error, 9_002_313, "Invalid request. Request is malformed or invalid.")
    }

    /// The application is not known in the tenant.
    pub fn no_application(id: &str, directory: &str) -> Self {
        let words = format!(
            "Application with identifier '{id}' was not found in the directory '{directory}'. This can happen if the application has not been installed by the administrator of the tenant or consented to by any user in the tenant. You may have sent your authentication request to the wrong tenant."
        );
        Self::new("unauthorized_client", 700_016, words)
    }

    /// The person, or an administrator, has yet to consent.
    pub fn consent(app: &Application) -> Self {
        let words = format!(
            "The user or administrator has not consented to use the application with ID '{}' named '{}'. Send an interactive authorization request for this user and resource.",
            app.client_id, app.display_name
        );
        Self { suberror: Some("consent_required"), ..Self::grant(65_001, words) }
    }

    /// Adds what client libraries decide by.
    pub fn sub(self, suberror: &'static str) -> Self {
        Self { suberror: Some(suberror), ..self }
    }

    /// The same under another OAuth name: the authorization endpoint has its own.
    pub fn named(self, error: &'static str) -> Self {
        Self { error, ..self }
    }

    /// The members of the error as Entra answers them.
    fn members(&self, simulator: &Simulator) -> Value {
        let (trace, correlation) = (uuid::Uuid::new_v4(), uuid::Uuid::new_v4());
        let timestamp = simulator.clock.now().format("%Y-%m-%d %H:%M:%SZ").to_string();
        let Self { error, number, words, .. } = self;
        let mut body = json!({
            "error": error,
            "error_description": format!("AADSTS{number}: {words} Trace ID: {trace} Correlation ID: {correlation} Timestamp: {timestamp}"),
            "error_codes": [number],
            "timestamp": timestamp,
            "trace_id": trace,
            "correlation_id": correlation,
            "error_uri": format!("https://login.microsoftonline.com/error?code={number}"),
        });
        if let Value::Object(body) = &mut body {
            body.extend(self.suberror.map(|name| ("suberror".to_owned(), name.into())));
            body.extend(self.claims.as_ref().map(|claims| ("claims".to_owned(), claims.clone().into())));
        }
        body
    }

    /// The answer of the token endpoint.
    pub fn reply(&self, simulator: &Simulator) -> Reply {
        let reply = Reply::json(self.status, &self.members(simulator));
        reply.with("cache-control", "no-store").with("pragma", "no-cache")
    }

    /// The parameters of the answer of the authorization endpoint.
    pub fn parameters(&self, simulator: &Simulator) -> Vec<(&'static str, String)> {
        let members = self.members(simulator);
        let names = ["error", "error_description", "error_uri", "suberror", "claims"];
        let value = |name: &str| members.get(name).and_then(Value::as_str).map(str::to_owned);
        names.into_iter().filter_map(|name| Some((name, value(name)?))).collect()
    }
}
