//! The outbound HTTP client: one connection pool, and one retry layer in front of it.
//!
//! Every call belongs to a [`Workload`], which has a gate (`throttle`), a circuit breaker and a retry budget of its
//! own, so that one failing service does not slow the others. What to do after an attempt is decided by
//! [`retry::decide`]; the loop in `send` only carries it out. This module knows nothing of Graph or of tokens.

pub mod breaker;
mod counters;
mod deadline;
mod lane;
pub mod outbound;
pub mod redact;
pub mod retry;
mod send;
mod shared;
mod targets;
pub mod throttle;
mod trace;

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use url::Url;

pub use counters::WorkloadCounts;
pub use deadline::Deadline;
pub use retry::{Decision, Mode, Outcome, Repeat};
pub use send::{Answer, Delivery, Ended, Failure, Outgoing, delivery, retry_after};

use crate::clock::Clock;
use crate::ids::Entropy;
use crate::rows::TenantTables;
use breaker::Rest;
use counters::Attempts;
use lane::Lane;
use shared::Shared;

/// Microsoft drops idle connections after minutes; Azurite after 5 s, which its own client has to respect.
const POOL_IDLE: Duration = Duration::from_mins(1);
/// Idle connections kept for each host. One that has read long listings holds a buffer of four hundred kilobytes.
const POOL_SIZE: usize = 32;
/// How long an attempt at Microsoft 365 may take where nobody waits and no setting says otherwise.
const GRAPH_LIMIT: Duration = Duration::from_secs(30);
const CONNECT: Duration = Duration::from_secs(5);

/// A service that throttles and fails by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Workload {
    /// Plans, buckets, tasks.
    Planner,
    /// Users and groups.
    Directory,
    /// Mail, calendars, message trace. The service allows 4 concurrent requests per app and mailbox.
    Exchange,
    /// Teams and channels.
    Teams,
    /// Change-notification subscriptions.
    Subscriptions,
    /// Key Vault.
    KeyVault,
    /// Tables, queues, blobs.
    Storage,
}

impl Workload {
    /// All workloads.
    pub const ALL: [Self; 7] = [
        Self::Planner,
        Self::Directory,
        Self::Exchange,
        Self::Teams,
        Self::Subscriptions,
        Self::KeyVault,
        Self::Storage,
    ];

    /// The name in logs and metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Planner => "planner",
            Self::Directory => "directory",
            Self::Exchange => "exchange",
            Self::Teams => "teams",
            Self::Subscriptions => "subscriptions",
            Self::KeyVault => "key_vault",
            Self::Storage => "storage",
        }
    }

    /// Whether instances tell each other of its waits: the store, by which they do, and the vault are no part of that.
    const fn is_shared(self) -> bool {
        !matches!(self, Self::Storage | Self::KeyVault)
    }

    /// How long it is left alone after failures. Everything rests on the store: it is tried all the time.
    const fn rest(self) -> Rest {
        match self {
            Self::Storage => Rest::SHORT,
            _ => Rest::LONG,
        }
    }

    /// Requests in flight per tenant and instance at first.
    const fn places(self) -> u32 {
        match self {
            Self::Planner => 8,
            _ => self.cap(),
        }
    }

    /// The most requests in flight per tenant and instance. Planner publishes no limit of its own, so its places grow
    /// while it answers and shrink with every 429.
    const fn cap(self) -> u32 {
        match self {
            Self::Planner => 64,
            Self::Directory => 8,
            Self::Exchange | Self::Teams | Self::Subscriptions | Self::KeyVault => 4,
            Self::Storage => 32,
        }
    }
}

/// The TLS or resolver set-up of this machine is unusable.
#[derive(Debug, thiserror::Error)]
#[error("the HTTP client cannot be set up")]
pub struct BuildError(#[from] reqwest::Error);

/// A cheap handle to the one outbound client.
#[derive(Debug, Clone)]
pub struct HttpClient {
    reqwest: reqwest::Client,
    local: reqwest::Client,
    lanes: Arc<[Lane; Workload::ALL.len()]>,
    /// How long an attempt at Microsoft 365 may take where nobody waits.
    graph_limit: Duration,
    shared: Arc<OnceLock<Shared>>,
    attempts: Attempts,
    clock: Clock,
    entropy: Entropy,
}

impl HttpClient {
    /// Builds the client. Redirects are off: a download's `302` is followed by hand, without the token.
    ///
    /// # Errors
    /// When TLS cannot be set up.
    pub fn new(clock: Clock, entropy: Entropy) -> Result<Self, BuildError> {
        let reqwest = builder().build()?;
        let local = builder().no_proxy().build()?;
        let (lanes, shared, attempts) = (Arc::new(lanes(&clock)), Arc::default(), Attempts::default());
        Ok(Self { reqwest, local, lanes, graph_limit: GRAPH_LIMIT, shared, attempts, clock, entropy })
    }

    /// The same client, where one attempt at Microsoft 365 takes at most `limit`, and half of that while a caller waits.
    #[must_use]
    pub fn with_graph_limit(self, limit: Duration) -> Self {
        Self { graph_limit: limit, ..self }
    }

    /// How long one attempt may take before it counts as a timeout.
    fn attempt_limit(&self, workload: Workload, mode: Mode) -> Duration {
        match mode {
            _ if !workload.is_shared() => mode.attempt_limit(),
            Mode::Interactive => self.graph_limit / 2,
            Mode::Background => self.graph_limit,
        }
    }

    /// A handle for another tenant: the same connections, gates and breakers of its own.
    #[must_use]
    pub fn for_other_tenant(&self) -> Self {
        let (lanes, shared, attempts) = (Arc::new(lanes(&self.clock)), Arc::default(), Attempts::default());
        Self { lanes, shared, attempts, ..self.clone() }
    }

    /// The connection pool for calls to `url`. This machine itself and the platform's own addresses (managed
    /// identity) are never called through a proxy, even if the environment names one.
    #[must_use]
    pub fn reqwest_client(&self, url: &Url) -> &reqwest::Client {
        if is_local(url) { &self.local } else { &self.reqwest }
    }

    /// The program's clock.
    #[must_use]
    pub const fn clock(&self) -> &Clock {
        &self.clock
    }

    /// How long the workload's gate stays closed; zero when it is open.
    #[must_use]
    pub fn closed_for(&self, workload: Workload) -> Duration {
        self.lane(workload).throttle.closed_for()
    }

    /// Shares every `Retry-After` of the tenant with the other instances on a store, and with the next start of this
    /// one. The first store counts.
    pub fn share(&self, tables: &TenantTables) {
        let _ = self.shared.set(Shared::new(tables, self.clock.clone()));
    }

    /// Closes the gates that other instances have closed.
    async fn adopt_waits(&self, workload: Workload) {
        if let Some(shared) = self.shared.get().filter(|_| workload.is_shared()) {
            for (workload, wait) in shared.new_waits().await {
                if wait.is_zero() {
                    self.lane(workload).lift();
                } else {
                    self.lane(workload).throttle.close_for(wait);
                }
            }
        }
    }

    /// Ends every wait a service has asked for and every rest after failures, here and at the other instances: for an
    /// operator who knows better. What a service says to the next call counts again.
    pub async fn lift(&self) {
        for workload in Workload::ALL {
            let lane = self.lane(workload);
            let waited = !lane.throttle.closed_for().is_zero();
            lane.lift();
            if let Some(shared) = self.shared.get().filter(|_| waited && workload.is_shared()) {
                shared.lift(workload).await;
            }
        }
    }

    /// Announces to the other instances for how long the workload's gate is closed, if it is.
    pub async fn announce_wait(&self, workload: Workload) {
        let wait = self.closed_for(workload);
        if let Some(shared) = self.shared.get().filter(|_| workload.is_shared() && !wait.is_zero()) {
            shared.announce(workload, wait).await;
        }
    }

    fn lane(&self, workload: Workload) -> &Lane {
        let [planner, directory, exchange, teams, subscriptions, key_vault, storage] = &*self.lanes;
        match workload {
            Workload::Planner => planner,
            Workload::Directory => directory,
            Workload::Exchange => exchange,
            Workload::Teams => teams,
            Workload::Subscriptions => subscriptions,
            Workload::KeyVault => key_vault,
            Workload::Storage => storage,
        }
    }
}

fn lanes(clock: &Clock) -> [Lane; Workload::ALL.len()] {
    Workload::ALL.map(|workload| Lane::new(clock.clone(), (workload.places(), workload.cap()), workload.rest()))
}

/// The settings every outbound connection shares.
fn builder() -> reqwest::ClientBuilder {
    reqwest::Client::builder()
        .user_agent(concat!("graphgate/", env!("CARGO_PKG_VERSION")))
        .redirect(reqwest::redirect::Policy::none())
        .connect_timeout(CONNECT)
        .pool_idle_timeout(POOL_IDLE)
        .pool_max_idle_per_host(POOL_SIZE)
        .tcp_keepalive(Duration::from_secs(30))
}

fn is_local(url: &Url) -> bool {
    match url.host() {
        Some(url::Host::Ipv4(address)) => address.is_loopback() || address.is_link_local(),
        Some(url::Host::Ipv6(address)) => address.is_loopback(),
        Some(url::Host::Domain(name)) => name == "localhost",
        None => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limit_of_graph_requests_is_the_setting_and_half_of_it_while_a_caller_waits() {
        let client = HttpClient::new(Clock::system(), Entropy::seeded(1)).unwrap();
        let limits = |client: &HttpClient, workload| {
            [Mode::Interactive, Mode::Background].map(|mode| client.attempt_limit(workload, mode).as_secs())
        };
        assert_eq!(limits(&client, Workload::Planner), [15, 30]);
        let storage = limits(&client, Workload::Storage);
        let client = client.with_graph_limit(Duration::from_secs(8));
        assert_eq!(limits(&client, Workload::Planner), [4, 8]);
        assert_eq!(limits(&client, Workload::Storage), storage, "storage is no Graph");
    }
}
