//! A simulated Microsoft 365 tenant behind real sockets: Microsoft Entra sign-in, Microsoft Graph v1.0 for users,
//! groups, subscriptions, `$batch` and Planner in full, written from Microsoft's documentation, with faults on
//! demand. It serves development and tests only and binds to the loopback address only.
//!
//! Mail can be sent, and a Teams workflow takes cards. What it does not do: reading mail, files, Teams and most of the rest of Microsoft 365. Its data live in memory and end with the process, unless a
//! snapshot is taken over the control API ([`control`] has the table).

#![allow(clippy::disallowed_methods)] // the tenant is a world of its own: it keeps its own time and chance
#![allow(
    clippy::cast_possible_truncation,
    clippy::cast_possible_wrap,
    clippy::cast_precision_loss,
    clippy::cast_sign_loss
)]
// ... and its numbers are small: counts of tasks, seconds, places in a list
#![allow(clippy::unnecessary_wraps, clippy::needless_pass_by_value, clippy::unused_self)] // its routes share one shape
#![allow(clippy::struct_field_names, clippy::unused_async, clippy::maybe_infinite_iter)]

mod clock;
mod colleague;
mod control;
mod entra;
mod faults;
mod graph;
mod http;
mod log;
mod notify;
mod page;
mod rng;
mod seed;
mod state;
mod table;
mod tls;
mod vault;
mod world;

use std::convert::Infallible;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;

use anyhow::Context;
use axum::body::Body;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use url::Url;

use clock::Clock;
use http::{Reply, Request};
use log::Log;
use world::World;

pub use seed::{DOMAIN, EXPLORER, EXPLORER_SECRET};

/// Requests beyond this size are refused, as Graph does.
const MAX_BODY: usize = 4 * 1024 * 1024;
/// A snapshot of a big tenant needs more.
const MAX_SNAPSHOT: usize = 256 * 1024 * 1024;

/// How a simulated tenant is started.
#[derive(Clone, Debug, Default)]
pub struct Config {
    /// Port on 127.0.0.1; 0 takes a free one.
    pub port: u16,
    /// Serves HTTPS too, with a private CA made at start.
    pub tls: Option<TlsConfig>,
    /// What the tenant holds at first.
    pub scenario: Scenario,
    /// File for the request log (JSON Lines, emptied at start); `None` keeps the last requests in memory only.
    pub request_log: Option<PathBuf>,
}

/// Where HTTPS is served.
#[derive(Clone, Debug)]
pub struct TlsConfig {
    /// Port on 127.0.0.1; 0 takes a free one.
    pub port: u16,
    /// Directory that receives `ca.pem`.
    pub directory: PathBuf,
}

/// What a tenant holds when it starts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Scenario {
    /// Contoso: 40 users, 5 groups, 8 plans, 1,200 tasks.
    #[default]
    Demo,
    /// One user in one group, no plan.
    Empty,
    /// So many of each, made of the demo tenant's words.
    Sized(Size),
    /// A snapshot saved over the control API.
    File(PathBuf),
}

/// How large a tenant is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Size {
    /// People in the directory.
    pub people: usize,
    /// Groups; the first ones have a plan each.
    pub groups: usize,
    /// Plans.
    pub plans: usize,
    /// Tasks of each plan.
    pub tasks: usize,
}

impl Size {
    /// Reads `plans=200,tasks=200`, with `people` and `groups` beside it where they differ from forty and one a plan.
    fn parse(text: &str) -> Option<Self> {
        let mut size = Self { people: 40, groups: 0, plans: 0, tasks: 0 };
        for part in text.split(',') {
            let (name, number) = part.split_once('=')?;
            let place = match name {
                "people" => &mut size.people,
                "groups" => &mut size.groups,
                "plans" => &mut size.plans,
                "tasks" => &mut size.tasks,
                _ => return None,
            };
            *place = number.parse().ok()?;
        }
        size.groups = size.groups.max(size.plans);
        Some(size)
    }
}

impl std::fmt::Display for Size {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { people, groups, plans, tasks } = self;
        write!(f, "people={people},groups={groups},plans={plans},tasks={tasks}")
    }
}

impl FromStr for Scenario {
    type Err = Infallible;

    fn from_str(text: &str) -> Result<Self, Infallible> {
        Ok(match text {
            "demo" => Self::Demo,
            "empty" => Self::Empty,
            text => Size::parse(text).map_or_else(|| Self::File(text.into()), Self::Sized),
        })
    }
}

/// The HTTPS side of a running tenant.
#[derive(Clone, Debug)]
pub struct Https {
    /// Ends in `/v1.0`.
    pub graph_url: Url,
    /// As [`Running::authority_url`], over HTTPS.
    pub authority_url: Url,
    /// The CA certificate a client has to trust, for example through `SSL_CERT_FILE`.
    pub ca_pem: PathBuf,
}

/// A running tenant. Dropping it ends it; [`Running::stop`] also waits for that.
pub struct Running {
    /// Where it listens.
    pub address: SocketAddr,
    /// Ends in `/v1.0`.
    pub graph_url: Url,
    /// Tokens at `{authority}/{tenant}/oauth2/v2.0/token`.
    pub authority_url: Url,
    /// Knobs and eyes: see the module `control`.
    pub control_url: Url,
    /// A page that shows the boards and the last requests.
    pub page_url: Url,
    /// The directory id.
    pub tenant_id: String,
    /// The seeded application.
    pub client_id: String,
    /// Its secret, of no value anywhere else.
    pub client_secret: String,
    /// For `IDENTITY_ENDPOINT`.
    pub identity_endpoint: Url,
    /// For `IDENTITY_HEADER`.
    pub identity_header: String,
    /// The HTTPS side, if there is one.
    pub https: Option<Https>,
    /// Where the requests are logged.
    pub request_log: Option<PathBuf>,
    /// Counts the resets over the control API. What a program knew of the tenant no longer holds after one.
    pub resets: tokio::sync::watch::Receiver<u64>,
    tasks: JoinSet<()>,
}

impl Running {
    /// Closes all sockets and waits until that is done.
    pub async fn stop(mut self) {
        self.tasks.shutdown().await;
    }
}

/// Starts a tenant. Returns once its sockets are bound and its data are loaded; the signing key is made in the
/// background, and the first token waits for it.
///
/// # Errors
/// A taken port, an unreadable scenario file, an unwritable log or CA directory.
pub async fn start(config: Config) -> anyhow::Result<Running> {
    let clock = Clock::real();
    let tenant = seed::load(&config.scenario, clock.now())?;
    let log = Log::open(config.request_log.as_deref()).context("the request log cannot be opened")?;
    let named = tenant.applications.first().cloned().context("the scenario has no application")?;
    let tenant_id = tenant.tenant_id.clone();
    let world = Arc::new(World::new(config.scenario, tenant, clock, log));

    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, config.port)).await;
    let listener = listener.with_context(|| {
        format!(
            "port {} cannot be bound; another one is taken with `--sim-port` (`--port` of `sim`), a free one with 0",
            config.port
        )
    })?;
    let address = listener.local_addr()?;
    let mut tasks = JoinSet::new();
    let https = match config.tls {
        None => None,
        Some(tls) => {
            let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, tls.port)).await;
            let listener = listener.with_context(|| {
                format!("port {} cannot be bound; another one is taken with `--tls-port`", tls.port)
            })?;
            let origin = format!("https://localhost:{}", listener.local_addr()?.port());
            let (acceptor, ca_pem) = tls::prepare(&tls.directory)?;
            tasks.spawn(serve_tls(listener, acceptor, Arc::clone(&world)));
            Some(Https { graph_url: url(&origin, "/v1.0")?, authority_url: url(&origin, "/")?, ca_pem })
        }
    };
    let resets = world.resets.subscribe();
    tasks.spawn(serve_plain(listener, Arc::clone(&world)));
    tasks.spawn(colleague::work(Arc::clone(&world)));
    tasks.spawn(notify::work(Arc::clone(&world)));
    let early = Arc::clone(&world);
    tasks.spawn(async move {
        if let Err(error) = early.entra.keys().await {
            tracing::error!(%error, "the simulated tenant has no signing key");
        }
    });
    let origin = format!("http://{address}");
    Ok(Running {
        address,
        graph_url: url(&origin, "/v1.0")?,
        authority_url: url(&origin, "/")?,
        control_url: url(&origin, "/_control")?,
        page_url: url(&origin, "/")?,
        tenant_id,
        client_id: named.client_id,
        client_secret: named.secret,
        identity_endpoint: url(&origin, "/msi/token")?,
        identity_header: world::IDENTITY_HEADER.to_owned(),
        https,
        request_log: config.request_log,
        resets,
        tasks,
    })
}

fn url(origin: &str, path: &str) -> anyhow::Result<Url> {
    Ok(Url::parse(&format!("{origin}{path}"))?)
}

async fn serve_plain(listener: TcpListener, world: Arc<World>) {
    let mut connections = JoinSet::new();
    loop {
        let Some(stream) = accept(&listener, &mut connections).await else {
            continue;
        };
        connections.spawn(converse(stream, Arc::clone(&world), "http"));
    }
}

async fn serve_tls(listener: TcpListener, acceptor: tokio_rustls::TlsAcceptor, world: Arc<World>) {
    let mut connections = JoinSet::new();
    loop {
        let Some(stream) = accept(&listener, &mut connections).await else {
            continue;
        };
        let (acceptor, world) = (acceptor.clone(), Arc::clone(&world));
        connections.spawn(async move {
            match acceptor.accept(stream).await {
                Ok(stream) => converse(stream, world, "https").await,
                Err(error) => tracing::debug!(%error, "a TLS handshake failed"),
            }
        });
    }
}

/// Waits for the next connection and meanwhile forgets the finished ones.
async fn accept(listener: &TcpListener, connections: &mut JoinSet<()>) -> Option<TcpStream> {
    tokio::select! {
        accepted = listener.accept() => match accepted {
            Ok((stream, _)) => {
                // Answers are small and awaited: never hold them back to fill a packet.
                let _ = stream.set_nodelay(true);
                Some(stream)
            }
            Err(error) => {
                tracing::warn!(%error, "a connection could not be accepted");
                tokio::time::sleep(std::time::Duration::from_millis(50)).await;
                None
            }
        },
        Some(_) = connections.join_next() => None,
    }
}

async fn converse(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    world: Arc<World>,
    scheme: &'static str,
) {
    let service = service_fn(move |request| {
        let world = Arc::clone(&world);
        async move { answer(&world, scheme, request).await }
    });
    let connection = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service);
    if let Err(error) = connection.await {
        tracing::debug!(%error, "a connection ended early");
    }
}

/// The connection ends without an answer; hyper closes it when a service fails.
#[derive(Debug, thiserror::Error)]
#[error("closed on purpose")]
struct Closed;

async fn answer(
    world: &World,
    scheme: &str,
    request: hyper::Request<hyper::body::Incoming>,
) -> Result<hyper::Response<Body>, Closed> {
    let (parts, body) = request.into_parts();
    let headers: Vec<(String, String)> = parts
        .headers
        .iter()
        .map(|(name, value)| (name.as_str().to_owned(), String::from_utf8_lossy(value.as_bytes()).into_owned()))
        .collect();
    let host = headers.iter().find(|(name, _)| name == "host").map_or("127.0.0.1", |(_, host)| host.as_str());
    let origin = format!("{scheme}://{host}");
    let path = parts.uri.path().to_owned();
    let target = parts.uri.path_and_query().map_or_else(|| path.clone(), |both| both.as_str().to_owned());
    let most = if path.starts_with("/_control") { MAX_SNAPSHOT } else { MAX_BODY };
    let read = axum::body::to_bytes(Body::new(body), most).await;
    let reply = match read {
        Ok(body) => {
            let method = parts.method.as_str().to_owned();
            route(world, &Request { method, path, target, headers, body, origin }).await
        }
        Err(_) => Reply::text(413, "the request is too large or broke off".to_owned()),
    };
    match reply {
        Reply::Answer(response) => Ok(response),
        Reply::Drop => Err(Closed),
        Reply::Hold(time) => {
            tokio::time::sleep(time).await;
            Err(Closed)
        }
    }
}

/// The whole address space on one page.
async fn route(world: &World, request: &Request) -> Reply {
    // A page on another site must not reach the simulator through DNS rebinding.
    let host = request.origin.split("://").nth(1).unwrap_or_default();
    let name = host.rsplit_once(':').map_or(host, |(name, _)| name);
    if !matches!(name, "127.0.0.1" | "localhost" | "[::1]") {
        return Reply::text(421, format!("the simulated tenant is not '{name}'"));
    }
    if let Some(below) = request.target.strip_prefix("/v1.0").filter(|b| b.is_empty() || b.starts_with(['/', '?'])) {
        return graph::serve(world, request, below).await;
    }
    if request.path.starts_with("/_control") {
        // Nor may it steer the tenant with a plain cross-site request.
        if request.header("origin").is_some_and(|origin| origin != request.origin) {
            return Reply::text(403, "the control API does not answer pages of other sites".to_owned());
        }
        return control::route(world, request).await;
    }
    match request.path.as_str() {
        path if path.starts_with("/upload/") => graph::mail::upload(world, request),
        path if path.starts_with("/workflows/") => graph::mail::workflow(world, request),
        "/" => page::page(),
        "/favicon.ico" => Reply::new(204, &[], ""),
        path if path.starts_with("/beta/") => Reply::text(404, "the simulated tenant serves v1.0 only".to_owned()),
        _ => match entra::route(world, request).await {
            Some(reply) => reply,
            None => match vault::route(world, request).await {
                Some(reply) => reply,
                None => Reply::text(404, format!("nothing is served at {}", request.path)),
            },
        },
    }
}
