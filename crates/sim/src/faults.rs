//! The fault plan: which calls fail, how, and whether their effect happens all the same. Also the memory of
//! `Retry-After` deadlines, to catch clients that come back too early.

use std::collections::HashMap;

use chrono::{DateTime, TimeDelta, Utc};
use serde::{Deserialize, Serialize};

use super::rng::Rng;

/// Statuses of the `random` preset, after Microsoft's Dev Proxy.
const RANDOM_READ: [u16; 5] = [429, 500, 502, 503, 504];
const RANDOM_WRITE: [u16; 6] = [429, 500, 502, 503, 504, 507];

/// What a fault does to a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FaultKind {
    /// Answers `status`; nothing happens.
    Status,
    /// Does what was asked, then answers `status`.
    EffectThenStatus,
    /// Never answers (until `seconds` are over); nothing happens.
    TimeoutWithoutEffect,
    /// Does what was asked, then never answers (until `seconds` are over).
    TimeoutWithEffect,
    /// Closes the connection without an answer; nothing happens.
    DropWithoutEffect,
    /// Does what was asked, then closes the connection without an answer.
    DropWithEffect,
    /// Does what was asked and answers, `seconds` later.
    Delay,
}

impl FaultKind {
    /// Whether what was asked happens.
    pub(crate) const fn has_effect(self) -> bool {
        matches!(self, Self::EffectThenStatus | Self::TimeoutWithEffect | Self::DropWithEffect | Self::Delay)
    }
}

/// Which kind of call a rule applies to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Scope {
    /// Single calls, and each call inside a batch; not the batch itself.
    #[default]
    Any,
    /// Calls of their own, the `$batch` call included.
    Single,
    /// Calls inside a batch.
    Batch,
}

/// A rule by which calls fail: which ones, how often, and how. [`Rule::of`] makes one for every call.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rule {
    /// Only calls of this method.
    pub method: Option<String>,
    /// Only calls whose path and query contain this. Entra's endpoints (`/oauth2/v2.0/token`, `/discovery/`, …) fail only
    /// by rules that name them here.
    pub path_contains: Option<String>,
    /// Calls of their own, inside a batch, or both.
    #[serde(default)]
    pub scope: Scope,
    /// The rule is used up after this many hits.
    pub times: Option<u64>,
    /// Only each n-th matching call: n, 2n, 3n, …
    pub every_nth: Option<u64>,
    /// Only this share of the matching calls, 0 to 1.
    pub probability: Option<f64>,
    /// Seed of `probability` (default 1).
    pub seed: Option<u64>,
    /// What happens to the call.
    pub kind: FaultKind,
    /// Answered status (default 503); for the random preset none is given.
    pub status: Option<u16>,
    /// Value of `Retry-After` in seconds; absent = header absent.
    pub retry_after: Option<u64>,
    /// `error.code` of the answer, if not the usual one.
    pub code: Option<String>,
    /// `error.message` of the answer, if not the usual one.
    pub message: Option<String>,
    /// How long a timeout holds the connection, or a delay the answer (default 600, 1 of a delay).
    pub seconds: Option<f64>,
    /// Set by the random preset: the status is drawn per hit.
    #[serde(default)]
    pub random_status: bool,
    /// Calls that matched so far.
    #[serde(default)]
    pub matched: u64,
    /// Calls it hit so far.
    #[serde(default)]
    pub hits: u64,
    #[serde(skip)]
    rng: Option<Rng>,
}

impl Rule {
    /// A rule that hits every call, for good.
    #[must_use]
    pub const fn of(kind: FaultKind) -> Self {
        Self {
            method: None,
            path_contains: None,
            scope: Scope::Any,
            times: None,
            every_nth: None,
            probability: None,
            seed: None,
            kind,
            status: None,
            retry_after: None,
            code: None,
            message: None,
            seconds: None,
            random_status: false,
            matched: 0,
            hits: 0,
            rng: None,
        }
    }
}

/// A fault that hits one call.
#[derive(Clone, Debug)]
pub struct Fault {
    pub kind: FaultKind,
    pub status: u16,
    pub retry_after: Option<u64>,
    pub code: Option<String>,
    pub message: Option<String>,
    pub seconds: f64,
}

impl Fault {
    /// The fault's name in log and page.
    pub fn name(&self) -> String {
        let kind = match self.kind {
            FaultKind::Status => return format!("status {}", self.status),
            FaultKind::EffectThenStatus => return format!("effect, then status {}", self.status),
            FaultKind::TimeoutWithoutEffect => "timeout without effect",
            FaultKind::TimeoutWithEffect => "timeout with effect",
            FaultKind::DropWithoutEffect => "connection dropped without effect",
            FaultKind::DropWithEffect => "connection dropped after the effect",
            FaultKind::Delay => return format!("answered {} s late", self.seconds),
        };
        kind.to_owned()
    }

    /// How long a timeout or a delay lasts.
    pub fn time(&self) -> std::time::Duration {
        std::time::Duration::from_secs_f64(self.seconds.clamp(0.0, 86_400.0))
    }
}

/// The rules in force and the deadlines given.
#[derive(Debug, Default)]
pub struct Faults {
    pub rules: Vec<Rule>,
    pub punish_early: bool,
    pub early_calls: u64,
    deadlines: HashMap<String, Deadline>,
}

#[derive(Clone, Copy, Debug)]
struct Deadline {
    /// When the refusal left; calls that arrived before cannot have known.
    given: DateTime<Utc>,
    until: DateTime<Utc>,
    wait: u64,
}

/// A refusal needs this long to reach the client; calls inside that window are not early.
const GRACE: TimeDelta = TimeDelta::milliseconds(25);

/// Which service a call goes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Service {
    Graph,
    Entra,
}

/// A call as rules see it.
#[derive(Clone, Copy, Debug)]
pub struct Candidate<'a> {
    pub service: Service,
    pub method: &'a str,
    pub path: &'a str,
    pub in_batch: bool,
    pub is_batch: bool,
}

impl Faults {
    /// The rule of the `random` preset: half of all calls fail with a status that suits the method.
    pub fn random(rate: f64, seed: u64, retry_after: u64) -> Rule {
        Rule {
            probability: Some(rate),
            seed: Some(seed),
            retry_after: Some(retry_after),
            random_status: true,
            ..Rule::of(FaultKind::Status)
        }
    }

    /// Decides what happens to a call that arrived at `now`. The first rule that fires wins.
    pub fn decide(&mut self, now: DateTime<Utc>, call: Candidate<'_>) -> Option<Fault> {
        if let Some(early) = self.early(now, call) {
            return Some(early);
        }
        let write = call.method != "GET";
        self.rules.iter_mut().find_map(|rule| rule.fires(call, write))
    }

    fn early(&mut self, now: DateTime<Utc>, call: Candidate<'_>) -> Option<Fault> {
        if call.is_batch || call.service == Service::Entra {
            return None;
        }
        let deadline = self.deadlines.get(workload(call.path))?;
        if now < deadline.given + GRACE || now >= deadline.until {
            return None;
        }
        self.early_calls += 1;
        let left = (deadline.until - now).num_milliseconds().max(0) as u64;
        self.punish_early.then(|| Fault {
            kind: FaultKind::Status,
            status: 429,
            retry_after: Some(left.div_ceil(1_000) + deadline.wait.max(1)),
            code: None,
            message: Some("Too many requests: the call came before the previous Retry-After had elapsed.".to_owned()),
            seconds: 0.0,
        })
    }

    /// Notes that an answer with `Retry-After` leaves now.
    pub fn refused(&mut self, now: DateTime<Utc>, path: &str, seconds: u64) {
        let until = now + TimeDelta::seconds(i64::try_from(seconds).unwrap_or(i64::MAX / 2_000));
        let deadline = Deadline { given: now, until, wait: seconds };
        let known = self.deadlines.entry(workload(path).to_owned()).or_insert(deadline);
        if until > known.until {
            *known = deadline;
        }
    }

    /// Removes all rules, deadlines and counts.
    pub fn clear(&mut self) {
        *self = Self { punish_early: self.punish_early, ..Self::default() };
    }
}

impl Rule {
    fn fires(&mut self, call: Candidate<'_>, write: bool) -> Option<Fault> {
        let in_scope = match self.scope {
            Scope::Any => !call.is_batch,
            Scope::Single => !call.in_batch,
            Scope::Batch => call.in_batch,
        };
        let fits = in_scope
            && self.method.as_ref().is_none_or(|m| m.eq_ignore_ascii_case(call.method))
            && match &self.path_contains {
                Some(part) => call.path.contains(part.as_str()),
                None => call.service == Service::Graph,
            }
            && self.times.is_none_or(|times| self.hits < times);
        if !fits {
            return None;
        }
        self.matched += 1;
        if self.every_nth.is_some_and(|n| n > 0 && !self.matched.is_multiple_of(n)) {
            return None;
        }
        let seed = self.seed.unwrap_or(1);
        let rng = self.rng.get_or_insert_with(|| Rng::new(seed));
        if self.probability.is_some_and(|p| !rng.chance(p)) {
            return None;
        }
        self.hits += 1;
        let drawn = if write { rng.pick(&RANDOM_WRITE) } else { rng.pick(&RANDOM_READ) };
        let status = if self.random_status { drawn.copied() } else { self.status };
        Some(Fault {
            kind: self.kind,
            status: status.unwrap_or(503),
            retry_after: self.retry_after,
            code: self.code.clone(),
            message: self.message.clone(),
            seconds: self.seconds.unwrap_or(if self.kind == FaultKind::Delay { 1.0 } else { 600.0 }),
        })
    }
}

/// The workload behind a path; throttling is counted per workload.
fn workload(path: &str) -> &'static str {
    if path.contains("/planner") {
        "planner"
    } else if path.starts_with("/subscriptions") {
        "subscriptions"
    } else {
        "directory"
    }
}

/// Graph's usual code for a status.
pub fn usual_code(status: u16) -> &'static str {
    match status {
        401 => "InvalidAuthenticationToken",
        403 => "Forbidden",
        404 => "itemNotFound",
        409 => "Conflict",
        412 => "PreconditionFailed",
        429 => "TooManyRequests",
        500 => "InternalServerError",
        502 => "BadGateway",
        503 => "ServiceUnavailable",
        504 => "GatewayTimeout",
        507 => "InsufficientStorage",
        _ => "UnknownError",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call<'a>(method: &'a str, path: &'a str) -> Candidate<'a> {
        Candidate { service: Service::Graph, method, path, in_batch: false, is_batch: false }
    }

    fn rule(json: &str) -> Rule {
        serde_json::from_str(json).unwrap()
    }

    #[test]
    fn counted_fault_rule_is_used_up() {
        let now = DateTime::from_timestamp(0, 0).unwrap();
        let mut faults = Faults::default();
        faults
            .rules
            .push(rule(r#"{"method":"patch","path_contains":"/planner/","times":2,"kind":"status","status":412}"#));
        assert!(faults.decide(now, call("GET", "/planner/tasks/x")).is_none());
        let hits = (0..5).filter(|_| faults.decide(now, call("PATCH", "/planner/tasks/x")).is_some()).count();
        assert_eq!(hits, 2);
    }

    #[test]
    fn only_a_rule_that_names_an_address_of_entra_hits_it() {
        let now = DateTime::from_timestamp(0, 0).unwrap();
        let token = Candidate { service: Service::Entra, ..call("POST", "/t/oauth2/v2.0/token") };
        let mut faults = Faults::default();
        faults.rules.push(rule(r#"{"kind":"status"}"#));
        assert!(faults.decide(now, token).is_none());
        faults.rules.push(rule(r#"{"path_contains":"/oauth2/v2.0/token","kind":"status","status":429}"#));
        assert_eq!(faults.decide(now, token).unwrap().status, 429);
    }

    #[test]
    fn every_second_call_fault_hits_alternate_calls() {
        let now = DateTime::from_timestamp(0, 0).unwrap();
        let mut faults = Faults::default();
        faults.rules.push(rule(r#"{"every_nth":2,"kind":"status","status":429}"#));
        let hit: Vec<bool> = (0..6).map(|_| faults.decide(now, call("GET", "/users")).is_some()).collect();
        assert_eq!(hit, [false, true, false, true, false, true]);
    }

    #[test]
    fn calls_before_retry_after_are_counted_and_extended() {
        let start = DateTime::from_timestamp(1_000, 0).unwrap();
        let mut faults = Faults { punish_early: true, ..Faults::default() };
        faults.refused(start, "/planner/tasks", 10);
        assert!(faults.decide(start, call("GET", "/planner/tasks")).is_none(), "it was under way already");
        let early = faults.decide(start + TimeDelta::seconds(4), call("GET", "/planner/plans/x")).unwrap();
        assert_eq!((early.status, early.retry_after), (429, Some(16)));
        assert!(faults.decide(start + TimeDelta::seconds(4), call("GET", "/users")).is_none());
        assert!(faults.decide(start + TimeDelta::seconds(10), call("GET", "/planner/tasks")).is_none());
        assert_eq!(faults.early_calls, 1);
    }
}
