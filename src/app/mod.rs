//! The wiring: builds every part once, in the order they need each other, and listens.
//!
//! Long because every part is named here once, and nowhere else.

pub mod doctor;
mod probes;
mod running;
pub mod secrets;
mod server;
mod sign_in;
pub mod startup;
mod watch;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use futures::future::OptionFuture;
use rmcp::ServiceExt as _;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use url::Url;

use self::running::DRAIN;
pub use self::running::Running;
use self::secrets::Rotation;
use self::startup::{Need, Starting};
use crate::api;
use crate::auth::{ApiKeys, AuthorizationServer, Gate, Streams};
use crate::azure::tables::Connector;
use crate::azure::{Credential, Loopback};
use crate::clock::Clock;
use crate::config::{Config, Listening};
use crate::graph;
use crate::http_client::{Deadline, HttpClient, Mode, Outgoing, Repeat, Workload};
use crate::ids::Entropy;
use crate::keyring::Keyring;
use crate::mcp;
use crate::queue::Queue;
use crate::rows::{Tables as _, TenantTables};
use crate::runtime::{self, Relay};
use crate::services::audit::{Audit, Writer};
use crate::services::directory::Directory;
use crate::services::events::Events;
use crate::services::jobs::Jobs;
use crate::services::notifications;
use crate::services::planner::{self, GraphPlanner, OUTBOX, Planner, RECONCILE};
use crate::services::poison::Poison;
use crate::services::reports::Reports;
use crate::services::reports::delivery::{Post, ReportSender};
use crate::services::transfer::Transfer;
use crate::services::{Environment, Services};
use crate::store;
use crate::store::Watched;
use crate::store::secrets::Cached;
use crate::sync::worker::Worker;
use crate::sync::{self, Engine, Pushes};
use crate::telemetry::metrics::Metrics;
use crate::telemetry::metrics::export::Exporter;
use crate::toolsets::Catalogue;
use crate::triggers;

/// The longest an address outside Microsoft Graph may take to answer.
const POST_LIMIT: Duration = Duration::from_secs(30);

/// The parts that interfaces are built from.
pub struct App {
    /// The services.
    pub services: Services,
    /// The queues of the Planner service.
    queues: planner::Queues,
    /// The MCP server.
    pub mcp: mcp::Server,
    /// What the REST interface needs.
    api: api::State,
    config: Config,
    worker: JoinHandle<()>,
    auditor: JoinHandle<()>,
    /// Ends the background work.
    stop: CancellationToken,
    store: Arc<Watched>,
    /// Announces changes to other instances, where Redis is used.
    relay: Option<Relay>,
    /// Takes rotated secrets over, where secrets are kept outside.
    pub rotation: Option<Rotation>,
    /// What every part counts.
    metrics: Metrics,
}

impl App {
    /// Builds everything; nothing listens yet and nobody has been asked for a token.
    ///
    /// # Errors
    /// When the store cannot be opened or the credential cannot work.
    pub async fn build(config: Config, clock: Clock, entropy: Entropy) -> anyhow::Result<Self> {
        Box::pin(Self::build_for(config, clock, entropy, CancellationToken::new(), &|_| ())).await
    }

    /// As [`Self::build`], for a server that `stop` ends; `tries` receives what is tried.
    async fn build_for(
        config: Config,
        clock: Clock,
        entropy: Entropy,
        stop: CancellationToken,
        tries: &(dyn Fn(Need) + Sync),
    ) -> anyhow::Result<Self> {
        tries(Need::Store);
        let infrastructure = Infrastructure::lay(&config, &clock, &entropy).await?;
        let Infrastructure { http, credential, tables, store, connector, secrets } = infrastructure;
        tries(Need::Keyring);
        let keyring = secrets::keyring(secrets.as_deref(), &tables, &entropy).await.context(Need::Keyring)?;
        tries(Need::Queues);
        let queues = Queues::open(&config, &tables, &connector).await?;
        let poison = Arc::new(queues.poison(&tables, &clock));
        let Queues { planner: queues, received } = queues;
        let (graph, pushes) = graph(&config, &http, &credential, &clock);
        let environment = Environment {
            tables: tables.clone(),
            clock: clock.clone(),
            entropy: entropy.clone(),
            keyring: keyring.clone(),
            graph: graph.clone(),
        };
        let server = sign_in::server(&config, &tables, &keyring, &http, &credential, &entropy)?;
        let gate = Gate::new(config.auth.clone(), config.mcp.offer.most(), &http, &tables, clock.clone());
        let gate = Arc::new(gate.with_server(server.clone()).with_keyring(keyring.clone()));
        let settings = sync::Settings { application_id: config.application_id.clone(), pushes };
        let engine = Arc::new(Engine::new(Arc::new(GraphPlanner(graph.clone())), clock.clone(), settings));
        let (worker, pusher) = Worker::new(engine.clone(), clock.clone());
        let settings = config.planner.clone();
        let directory = Arc::new(Directory::new(&environment, config.lookups_per_minute));
        let sync = (engine, pusher);
        let planner = Arc::new(Planner::new(&environment, sync, directory.clone(), queues.clone(), settings));
        let (audit, auditor) = Audit::new(tables.clone(), config.audit, clock.clone(), entropy.clone());
        let sender = ReportSender { config: config.delivery.clone(), graph: graph.clone(), post: post(&http) };
        let output = (store::open_blobs(&config.blobs, connector), sender);
        let access = (gate.clone(), audit.clone());
        let reports = Reports::new(&environment, planner.clone(), access, output, config.reports.clone());
        let events =
            Events::new(planner.clone(), directory.clone(), clock.clone()).under(config.host).on(&tables, &entropy);
        let subscriptions = watch::subscriptions(&config, &environment, (&planner, &directory), gate.clone());
        let watched = watch::Watched { planner: &planner, directory: &directory, subscriptions: &subscriptions };
        let notifications = watch::notifications(&config, &environment, &watched, received, &http);
        let services = Services {
            planner,
            reports: Arc::new(reports),
            subscriptions,
            notifications,
            events: Arc::new(events),
            directory,
            poison,
            authorization_server: server,
            audit,
            graph: environment.graph.clone(),
            clock,
            entropy,
        };
        let Services { clock, .. } = &services;
        let streams = Streams::new(gate.clone(), clock.clone());
        let catalogue = Arc::new(Catalogue::new(services.clone(), config.mcp.offer.clone()));
        let mcp = mcp::Server::new(catalogue.clone(), &config.mcp, streams.clone(), stop.clone());
        let metrics = Metrics::default();
        http.register(&metrics);
        services.register(&metrics);
        catalogue.register(&metrics);
        mcp.register(&metrics);
        let rotation = secrets.map(|place| Rotation {
            place,
            references: config.references.clone(),
            gate: gate.clone(),
            credential: credential.clone(),
            keyring,
            clock: clock.clone(),
        });
        let relay = relay(&config, &services)?;
        let probes = probes::probes(store.clone(), tables.partition("health"), http, credential);
        let probes = api::Probes { redis: relay.as_ref().map(probes::redis), ..probes };
        let api = api::State::new(catalogue, gate, streams, access_of(&config), probes, metrics.clone());
        let api = api.with_signed(&tables);
        let api = if config.host.is_functions() { api.hosted(&tables) } else { api };
        Ok(Self {
            services,
            queues,
            mcp,
            api,
            config,
            worker: tokio::spawn(worker.run()),
            auditor: tokio::spawn(auditor.run()),
            stop,
            store,
            relay,
            rotation,
            metrics,
        })
    }

    /// Every timer and queue of the program.
    #[must_use]
    pub fn jobs(&self) -> Jobs {
        let jobs = Jobs::new(&self.services, &self.queues, self.config.host).holding(self.config.hold);
        if self.config.reconciles { jobs } else { jobs.without_reconciling() }
    }

    /// Begins the background work: jobs, unless the Functions host calls them, word of other instances, rotated
    /// secrets. What is not `reachable` leaves subscriptions alone: it could not receive their notifications.
    fn work(&mut self, reachable: bool) -> Option<JoinHandle<()>> {
        if let Some(rotation) = self.rotation.take() {
            tokio::spawn(rotation.run(self.stop.clone()));
        }
        if let Some(relay) = self.relay.take() {
            tokio::spawn(relay.run(self.stop.clone()));
        }
        tokio::spawn(self.services.events.clone().tell_others(self.stop.clone()));
        let store = self.store.clone();
        tokio::spawn(async move {
            if let Err(error) = store.verify().await {
                tracing::error!(%error, "the store is not whole");
            }
        });
        if self.config.host.is_functions() {
            return None;
        }
        let mut jobs = self.jobs();
        if !reachable {
            jobs.timers.retain(|timer| timer.name != "renew_subscriptions");
        }
        let subscriptions = reachable.then(|| self.services.subscriptions.clone());
        let rest = runtime::run(Arc::new(jobs), self.services.clock.clone(), self.stop.clone());
        Some(tokio::spawn(async move {
            tokio::join!(OptionFuture::from(subscriptions.map(watch::first_renewal)), rest);
        }))
    }

    /// Begins to send metrics to a collector, if the settings name one.
    fn export(&self) -> Option<Exporter> {
        let Services { clock, entropy, .. } = &self.services;
        Exporter::start(&self.config.metrics, self.metrics.clone(), clock.clone(), entropy.guid())
    }

    /// Serves one client over standard input and output until it closes them. Jobs are done meanwhile.
    ///
    /// # Errors
    /// When the client does not speak the protocol.
    pub async fn talk(mut self) -> anyhow::Result<()> {
        let exporter = self.export();
        let scheduler = self.work(false);
        let session = self.mcp.clone().serve(rmcp::transport::stdio()).await?;
        let ended = session.waiting().await;
        self.stop.cancel();
        running::end(scheduler).await;
        let _ = tokio::time::timeout(DRAIN, self.services.audit.flush()).await;
        OptionFuture::from(exporter.map(Exporter::end)).await;
        ended.map(drop).context("the session broke off")
    }

    /// Starts listening.
    ///
    /// # Errors
    /// When the port is taken or may not be used.
    pub async fn listen(self) -> anyhow::Result<Running> {
        let Config { address, port, host, .. } = self.config;
        let listening = Listening { address, port, host };
        let starting = Starting::listen(&listening, &self.services.clock, self.stop.clone()).await?;
        Ok(self.answer(starting))
    }

    /// Answers what comes to a server that listens.
    fn answer(mut self, starting: Starting) -> Running {
        let Starting { address, front, server, .. } = starting;
        self.services.reports.listens_at(&format!("http://{address}"));
        self.services.subscriptions.listens_at(address);
        let stop = self.stop.clone();
        let exporter = self.export();
        let scheduler = self.work(true);
        let jobs = self.config.host.is_functions().then(|| Arc::new(self.jobs()));
        let ready = api::Readiness::default();
        let router = mcp::router(self.mcp, &self.config.mcp).merge(api::router(self.api.clone(), ready.clone()));
        let mut router = api::guard(router, &self.api);
        if let Some(jobs) = jobs {
            router = triggers::before(router, jobs, self.services.clock.clone(), api::paths(&self.api));
        }
        front.take_over(router);
        let drain_notice = self.config.drain_notice;
        Running {
            address,
            stop,
            ready,
            drain_notice,
            clock: self.services.clock,
            server,
            scheduler,
            writes: self.api.writes(),
            worker: self.worker,
            audit: self.services.audit,
            auditor: self.auditor,
            exporter,
        }
    }
}

/// Microsoft Graph as the deployment may use it. This alone makes it read-only: no request that changes anything leaves.
fn graph(config: &Config, http: &HttpClient, credential: &Credential, clock: &Clock) -> (graph::Client, Pushes) {
    let (access, pushes) = if config.mcp.offer.read_only {
        (graph::Access::ReadOnly, Pushes::Held)
    } else {
        (graph::Access::Write, Pushes::Sent)
    };
    let client = graph::Client::new(http.clone(), credential.clone(), config.graph_url.clone(), clock.clone());
    (client.with_access(access), pushes)
}

fn relay(config: &Config, services: &Services) -> anyhow::Result<Option<Relay>> {
    let Some(address) = &config.redis else { return Ok(None) };
    let relay = Relay::new(address.expose(), &config.tenant, services.events.clone(), services.clock.clone());
    Ok(Some(relay.context("`REDIS_URL` cannot be used")?))
}

/// What everything else is built on.
struct Infrastructure {
    http: HttpClient,
    credential: Credential,
    tables: TenantTables,
    /// The same, to be asked how it is.
    store: Arc<Watched>,
    connector: Connector,
    /// Where secrets are kept, if they are kept outside.
    secrets: Option<Arc<Cached>>,
}

impl Infrastructure {
    async fn lay(config: &Config, clock: &Clock, entropy: &Entropy) -> anyhow::Result<Self> {
        let (connector, loopback) = connector(config, clock, entropy)?;
        let Connector { http, credential, .. } = connector.clone();
        let tables = store::open(&config.store, connector.clone()).await.context(Need::Store)?;
        let store = Arc::new(Watched::new(tables, clock.clone()));
        let tables = TenantTables::new(store.clone(), &config.tenant);
        http.share(&tables);
        let open = |place| secrets::open(place, &http, &credential, loopback);
        let place = config.secrets.as_ref().map(open).transpose()?;
        let secrets = place.map(|place| Arc::new(Cached::new(place, clock.clone())));
        Ok(Self { http, credential, tables, store, connector, secrets })
    }
}

/// What calls Azure's storage, and the simulated tenant's hosts where there is one.
fn connector(config: &Config, clock: &Clock, entropy: &Entropy) -> anyhow::Result<(Connector, Option<Loopback>)> {
    let http = HttpClient::new(clock.clone(), entropy.clone())?.with_graph_limit(config.graph_timeout);
    let loopback = config
        .loopback_authority
        .as_ref()
        .and_then(Url::port_or_known_default)
        .map(|port| simulated(port, config.secrets.as_ref()));
    let credential =
        Credential::new(config.credential.clone(), &http, clock.clone(), entropy.clone(), loopback.clone())?;
    Ok((Connector { http, credential, entropy: entropy.clone() }, loopback))
}

/// The queues of a deployment.
struct Queues {
    planner: planner::Queues,
    received: Arc<dyn Queue>,
}

impl Queues {
    async fn open(config: &Config, tables: &TenantTables, connector: &Connector) -> anyhow::Result<Self> {
        let open = async |name: &str| {
            let opened = store::open_queue(&config.queues, name, tables.tables(), connector.clone()).await;
            opened.with_context(|| format!("the queue `{name}`")).context(Need::Queues)
        };
        let planner = planner::Queues { outbox: open(OUTBOX).await?, reconcile: open(RECONCILE).await? };
        Ok(Self { planner, received: open(notifications::QUEUE).await? })
    }

    /// What was given up on in any of them.
    fn poison(&self, tables: &TenantTables, clock: &Clock) -> Poison {
        let queues = vec![self.planner.outbox.clone(), self.planner.reconcile.clone(), self.received.clone()];
        Poison::new(queues, tables, clock.clone())
    }
}

/// The hosts a simulated tenant plays: the sign-in service, and the vault if there is one.
fn simulated(port: u16, place: Option<&store::secrets::Config>) -> Loopback {
    let mut loopback = Loopback::one("login.microsoftonline.com", port);
    if let Some(store::secrets::Config::Vault(url)) = place {
        loopback.hosts.extend(url.host_str().map(|host| (host.to_owned(), port)));
    }
    loopback
}

/// The keys of a deployment's callers, without a server.
///
/// # Errors
/// When the store cannot be opened or the credential cannot work.
pub async fn api_keys(config: &Config, clock: &Clock, entropy: &Entropy) -> anyhow::Result<ApiKeys> {
    let Infrastructure { tables, .. } = Infrastructure::lay(config, clock, entropy).await?;
    Ok(ApiKeys::new(&tables, clock.clone()))
}

/// The keyring of a deployment, without a server.
///
/// # Errors
/// When the store cannot be opened, or there is no keyring.
pub async fn keyring(config: &Config, clock: &Clock, entropy: &Entropy) -> anyhow::Result<Keyring> {
    let Infrastructure { tables, secrets, .. } = Infrastructure::lay(config, clock, entropy).await?;
    Ok(secrets::keyring(secrets.as_deref(), &tables, entropy).await?)
}

/// The authorization server of a deployment, without a server that answers.
///
/// # Errors
/// When people do not sign in there, the store cannot be opened, or there is no keyring.
pub async fn authorization_server(
    config: &Config,
    clock: &Clock,
    entropy: &Entropy,
) -> anyhow::Result<AuthorizationServer> {
    let Infrastructure { http, credential, tables, secrets, .. } = Infrastructure::lay(config, clock, entropy).await?;
    let keyring = secrets::keyring(secrets.as_deref(), &tables, entropy).await?;
    let server = sign_in::server(config, &tables, &keyring, &http, &credential, entropy)?;
    server.context("people do not sign in to this deployment: set `SIGN_IN_CLIENT_ID` and `PUBLIC_URL`")
}

/// The queues of a deployment, without a server.
///
/// # Errors
/// When the store cannot be opened or the credential cannot work.
pub async fn poison(config: &Config, clock: &Clock, entropy: &Entropy) -> anyhow::Result<Poison> {
    let Infrastructure { tables, connector, .. } = Infrastructure::lay(config, clock, entropy).await?;
    Ok(Queues::open(config, &tables, &connector).await?.poison(&tables, clock))
}

/// The audit log of a deployment, without a server, and what writes it.
///
/// # Errors
/// When the store cannot be opened or the credential cannot work.
pub async fn audit(config: &Config, clock: &Clock, entropy: &Entropy) -> anyhow::Result<(Audit, Writer)> {
    let Infrastructure { tables, .. } = Infrastructure::lay(config, clock, entropy).await?;
    Ok(Audit::new(tables, config.audit, clock.clone(), entropy.clone()))
}

/// The store of a deployment as one file, for commands.
///
/// # Errors
/// When the store cannot be opened.
pub async fn transfer(config: &Config, clock: &Clock, entropy: &Entropy) -> anyhow::Result<Transfer> {
    let (connector, _) = connector(config, clock, entropy)?;
    let whole = store::open_whole(&config.store, connector).await.context(Need::Store)?;
    Ok(Transfer::new(whole, &config.tenant, clock.clone()))
}

/// Takes no key of the Functions host for proof where the host, by the functions in `folder`, asks for none: a package
/// made with `HTTP_AUTH_LEVEL=anonymous` may run with the settings of another for a while.
///
/// # Errors
/// When nobody would be asked who they are without it.
pub fn doubt_host_keys(config: &mut Config, folder: &Path) -> anyhow::Result<()> {
    if config.auth.host_key_role.is_none() {
        return Ok(());
    }
    let Err(why) = triggers::keys_are_checked(folder) else { return Ok(()) };
    config.auth.host_key_role = None;
    let problem = format!("{why}, so `HOST_KEY_ROLE` opens nothing");
    anyhow::ensure!(
        config.auth.asks() || config.auth.lets_anybody_in,
        "{problem}; set `ENTRA_AUDIENCE` or `REQUIRE_API_KEY`, or deploy a package whose functions ask for keys"
    );
    tracing::error!("{problem}; provision again, so that settings and package fit");
    Ok(())
}

/// Authentication, from the settings of both interfaces.
fn access_of(config: &Config) -> api::Access {
    api::Access {
        proof: if config.auth.asks() { api::Proof::Demanded } else { api::Proof::NotDemanded },
        hosts: config.mcp.allowed_hosts.clone(),
        origins: config.mcp.allowed_origins.clone(),
        networks: config.networks.clone(),
        writes: if config.mcp.offer.read_only { api::Writes::Refused } else { api::Writes::Allowed },
    }
}

/// The way to addresses outside Microsoft Graph: one try for each, no redirects, no token.
fn post(http: &HttpClient) -> Post {
    let http = http.clone();
    Arc::new(move |url, body| {
        let http = http.clone();
        Box::pin(async move {
            let mut headers = http::HeaderMap::new();
            headers.insert(http::header::CONTENT_TYPE, http::HeaderValue::from_static("application/json"));
            let outgoing = Outgoing {
                operation: "post_card",
                workload: Workload::Teams,
                target: None,
                method: http::Method::POST,
                url,
                headers,
                body: Some(body.to_string().into()),
                repeat: Repeat::OnlyIfUnsent,
                mode: Mode::Background,
                deadline: Deadline::after(http.clock(), POST_LIMIT),
            };
            let answer = http.send(&outgoing).await.map_err(|failure| failure.to_string())?;
            if answer.status.is_success() { Ok(()) } else { Err(format!("it answered {}", answer.status)) }
        })
    })
}
