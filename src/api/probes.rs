//! What the interface reports about parts it does not depend on: plain data, fetched by functions the wiring supplies.

use std::time::Duration;

use chrono::{DateTime, Utc};
use futures::future::BoxFuture;

/// A function that examines a part of the process.
pub type Probe<T> = Box<dyn Fn() -> T + Send + Sync>;

/// How to examine the parts.
pub struct Probes {
    /// Examines the store; `Err` says why nothing can be read, `Ok(Some(…))` what is wrong though it answers.
    pub store: Probe<BoxFuture<'static, Result<Option<StoreTrouble>, String>>>,
    /// What is known of the tokens; asks nobody.
    pub tokens: Probe<Tokens>,
    /// The state of every upstream workload.
    pub upstream: Probe<Vec<Upstream>>,
    /// Whether Redis is there, and since when; `None` where none is used.
    pub redis: Option<Probe<(bool, DateTime<Utc>)>>,
}

/// What is wrong with a store that answers.
#[derive(Debug, Clone)]
pub struct StoreTrouble {
    /// For everybody.
    pub summary: &'static str,
    /// For the log.
    pub reason: String,
}

/// The identity towards Microsoft and its tokens.
#[derive(Debug, Clone)]
pub struct Tokens {
    /// The kind of identity, as in `client_secret`.
    pub kind: &'static str,
    /// Every scope asked for so far.
    pub scopes: Vec<TokenState>,
}

/// What is known about one scope's token.
#[derive(Debug, Clone)]
pub struct TokenState {
    /// What the token is for.
    pub scope: String,
    /// When the token at hand ends; `None` without one.
    pub expires_at: Option<DateTime<Utc>>,
    /// When and why the last fetch failed; `None` once one succeeded.
    pub last_error: Option<(DateTime<Utc>, String)>,
}

/// One upstream workload.
#[derive(Debug, Clone, Copy)]
pub struct Upstream {
    /// The workload's name.
    pub workload: &'static str,
    /// How long the workload's gate stays closed by throttling; zero when it is open.
    pub closed_for: Duration,
    /// Whether the circuit breaker refuses calls.
    pub breaker_open: bool,
}
