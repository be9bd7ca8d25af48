//! Everything one running tenant shares: what it holds, its clock, its sign-in service, its fault plan, its
//! knobs and what it counted.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

use serde::{Deserialize, Serialize};

use super::Scenario;
use super::clock::Clock;
use super::entra::Entra;
use super::faults::Faults;
use super::graph::Rules;
use super::log::Log;
use super::notify::Post;
use super::rng::Rng;
use super::state::Tenant;
use super::vault::Vault;

/// The secret of the managed identity endpoint.
pub const IDENTITY_HEADER: &str = "simulated-identity-header";

/// How long calls take, and what else can be turned.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Knobs {
    pub latency: Latency,
    #[serde(skip)]
    pub rules: Rules,
    pub colleague: Colleague,
}

/// Time added to every Graph call.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Latency {
    pub ms: u64,
    /// Up to this much more, evenly distributed.
    pub jitter_ms: u64,
}

/// The colleague who edits now and then.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[serde(default)]
pub struct Colleague {
    /// Pause between edits; absent = off.
    pub every_ms: Option<u64>,
    pub seed: u64,
    pub edits: u64,
}

impl Default for Colleague {
    fn default() -> Self {
        Self { every_ms: None, seed: 1, edits: 0 }
    }
}

/// What was counted since the start or the last reset.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Stats {
    /// Graph calls, a batch and each call in it counted.
    pub calls: u64,
    pub tokens_issued: u64,
    pub faults: u64,
    pub in_flight: usize,
    pub max_concurrency: usize,
    /// By `METHOD /path/{id}`, then by status (`none` = no answer).
    pub by_operation: BTreeMap<String, BTreeMap<String, u64>>,
    /// Calls of the sign-in service, by `METHOD /{tenant}/path` and the grant, then by status.
    pub entra: BTreeMap<String, BTreeMap<String, u64>>,
}

/// A running tenant.
pub struct Simulator {
    pub clock: Clock,
    pub entra: Entra,
    pub vault: Vault,
    pub log: Log,
    /// Change notifications on their way.
    pub post: Post,
    pub scenario: Mutex<Scenario>,
    /// Wakes the colleague when its pace changes.
    pub colleague_changed: tokio::sync::Notify,
    /// How often the tenant was reset.
    pub resets: tokio::sync::watch::Sender<u64>,
    client: OnceLock<reqwest::Client>,
    tenant: Mutex<Tenant>,
    faults: Mutex<Faults>,
    knobs: Mutex<Knobs>,
    stats: Mutex<Stats>,
    chance: Mutex<Rng>,
}

/// A panic while a lock was held left at worst a half-made change of simulated data: keep using it.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Simulator {
    /// A tenant with default knobs.
    pub fn new(scenario: Scenario, tenant: Tenant, clock: Clock, log: Log) -> Self {
        Self {
            clock,
            entra: Entra::new(),
            vault: Vault::default(),
            log,
            post: Post::default(),
            scenario: Mutex::new(scenario),
            colleague_changed: tokio::sync::Notify::new(),
            resets: tokio::sync::watch::Sender::default(),
            client: OnceLock::new(),
            tenant: Mutex::new(tenant),
            faults: Mutex::default(),
            knobs: Mutex::default(),
            stats: Mutex::default(),
            chance: Mutex::new(Rng::new(11)),
        }
    }

    /// Reads the tenant's data.
    pub fn read<T>(&self, of: impl FnOnce(&Tenant) -> T) -> T {
        of(&lock(&self.tenant))
    }

    /// Changes the tenant's data.
    pub fn write<T>(&self, change: impl FnOnce(&mut Tenant) -> T) -> T {
        change(&mut lock(&self.tenant))
    }

    /// Uses the fault plan.
    pub fn faults<T>(&self, with: impl FnOnce(&mut Faults) -> T) -> T {
        with(&mut lock(&self.faults))
    }

    /// Uses the knobs.
    pub fn knobs<T>(&self, with: impl FnOnce(&mut Knobs) -> T) -> T {
        with(&mut lock(&self.knobs))
    }

    /// Uses the counters.
    pub fn stats<T>(&self, with: impl FnOnce(&mut Stats) -> T) -> T {
        with(&mut lock(&self.stats))
    }

    /// The client for calls to notification receivers, made when the first one is due: loading trusted roots
    /// would slow every start. No proxy, because receivers are on the loopback address.
    pub fn client(&self) -> Result<&reqwest::Client, reqwest::Error> {
        if let Some(client) = self.client.get() {
            return Ok(client);
        }
        let client = reqwest::Client::builder().no_proxy().redirect(reqwest::redirect::Policy::none()).build()?;
        Ok(self.client.get_or_init(|| client))
    }

    /// The delay of the next call.
    pub fn delay(&self) -> std::time::Duration {
        let Latency { ms, jitter_ms } = self.knobs(|k| k.latency);
        let more = if jitter_ms == 0 { 0 } else { lock(&self.chance).next() % (jitter_ms + 1) };
        std::time::Duration::from_millis(ms + more)
    }
}
