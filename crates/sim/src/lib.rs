#![doc = include_str!("../README.md")]
//!
//! # Inside
//!
//! [`graph`] has an area a folder, [`entra`] signs in and signs tokens, [`seed`] makes the scenarios, [`notify`] delivers
//! change notifications, [`faults`] and [`clock`] are what tests turn. It shares no type with the program it tests. What it
//! does not do: reading mail, files, Teams and most of the rest of Microsoft 365.

#![allow(clippy::disallowed_methods)] // the tenant is a simulator of its own: it keeps its own time and chance
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
mod scenario;
mod seed;
mod simulator;
mod state;
mod table;
mod tls;
mod vault;

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Context;
use axum::body::Body;
use chrono::{DateTime, TimeDelta, Utc};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use url::Url;

use clock::Clock;
use http::{Reply, Request};
use log::Log;
use simulator::Simulator;

pub use entra::Platform;
pub use faults::{FaultKind, Rule, Scope};
pub use scenario::{Scenario, Size};
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
    simulator: Arc<Simulator>,
    tasks: JoinSet<()>,
}

impl Running {
    /// Adds a rule by which calls fail, behind those there are.
    pub fn add_fault(&self, rule: Rule) {
        self.simulator.faults(|faults| faults.rules.push(rule));
    }

    /// Removes all rules by which calls fail.
    pub fn clear_faults(&self) {
        self.simulator.faults(faults::Faults::clear);
    }

    /// Registers where people of the seeded application come back to after they signed in.
    pub fn add_redirect_uri(&self, platform: Platform, uri: &str) {
        self.simulator.write(|tenant| {
            if let Some(app) = tenant.applications.first_mut() {
                app.redirect_uris.of(platform).push(uri.to_owned());
            }
        });
    }

    /// The tenant's present.
    pub fn now(&self) -> DateTime<Utc> {
        self.simulator.clock.now()
    }

    /// Moves the tenant's present forward, or back: dates, lifetimes of tokens and `Retry-After` follow it.
    pub fn advance_clock(&self, by: TimeDelta) {
        self.simulator.clock.advance(by);
    }

    /// The last Graph requests, oldest first, at most `count` (500 are remembered), each with method, path, status, body
    /// and response.
    pub fn requests(&self, count: usize) -> Vec<serde_json::Value> {
        self.simulator.log.last(count).1
    }

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
    let simulator = Arc::new(Simulator::new(config.scenario, tenant, clock, log));

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
            tasks.spawn(serve_tls(listener, acceptor, Arc::clone(&simulator)));
            Some(Https { graph_url: url(&origin, "/v1.0")?, authority_url: url(&origin, "/")?, ca_pem })
        }
    };
    let resets = simulator.resets.subscribe();
    tasks.spawn(serve_plain(listener, Arc::clone(&simulator)));
    tasks.spawn(colleague::work(Arc::clone(&simulator)));
    tasks.spawn(notify::work(Arc::clone(&simulator)));
    let early = Arc::clone(&simulator);
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
        identity_header: simulator::IDENTITY_HEADER.to_owned(),
        https,
        request_log: config.request_log,
        resets,
        simulator,
        tasks,
    })
}

fn url(origin: &str, path: &str) -> anyhow::Result<Url> {
    Ok(Url::parse(&format!("{origin}{path}"))?)
}

async fn serve_plain(listener: TcpListener, simulator: Arc<Simulator>) {
    let mut connections = JoinSet::new();
    loop {
        let Some(stream) = accept(&listener, &mut connections).await else {
            continue;
        };
        connections.spawn(converse(stream, Arc::clone(&simulator), "http"));
    }
}

async fn serve_tls(listener: TcpListener, acceptor: tokio_rustls::TlsAcceptor, simulator: Arc<Simulator>) {
    let mut connections = JoinSet::new();
    loop {
        let Some(stream) = accept(&listener, &mut connections).await else {
            continue;
        };
        let (acceptor, simulator) = (acceptor.clone(), Arc::clone(&simulator));
        connections.spawn(async move {
            match acceptor.accept(stream).await {
                Ok(stream) => converse(stream, simulator, "https").await,
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
    simulator: Arc<Simulator>,
    scheme: &'static str,
) {
    let service = service_fn(move |request| {
        let simulator = Arc::clone(&simulator);
        async move { answer(&simulator, scheme, request).await }
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
    simulator: &Simulator,
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
            route(simulator, &Request { method, path, target, headers, body, origin }).await
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
async fn route(simulator: &Simulator, request: &Request) -> Reply {
    // A page on another site must not reach the simulator through DNS rebinding.
    let host = request.origin.split("://").nth(1).unwrap_or_default();
    let name = host.rsplit_once(':').map_or(host, |(name, _)| name);
    if !matches!(name, "127.0.0.1" | "localhost" | "[::1]") {
        return Reply::text(421, format!("the simulated tenant is not '{name}'"));
    }
    if let Some(below) = request.target.strip_prefix("/v1.0").filter(|b| b.is_empty() || b.starts_with(['/', '?'])) {
        return graph::serve(simulator, request, below).await;
    }
    if request.path.starts_with("/_control") {
        // Nor may it steer the tenant with a plain cross-site request.
        if request.header("origin").is_some_and(|origin| origin != request.origin) {
            return Reply::text(403, "the control API does not answer pages of other sites".to_owned());
        }
        return control::route(simulator, request).await;
    }
    match request.path.as_str() {
        path if path.starts_with("/upload/") => graph::mail::upload(simulator, request),
        path if path.starts_with("/workflows/") => graph::mail::workflow(simulator, request),
        "/" => page::page(),
        "/favicon.ico" => Reply::new(204, &[], ""),
        path if path.starts_with("/beta/") => Reply::text(404, "the simulated tenant serves v1.0 only".to_owned()),
        _ => match entra::route(simulator, request).await {
            Some(reply) => reply,
            None => match vault::route(simulator, request).await {
                Some(reply) => reply,
                None => Reply::text(404, format!("nothing is served at {}", request.path)),
            },
        },
    }
}
