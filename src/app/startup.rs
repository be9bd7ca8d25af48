//! The start of a deployed server: it listens first, says what it waits for, and keeps trying.
//!
//! Storage, a vault or a role may be missing for a while, above all in the minutes after a deployment was made. Ending
//! the process does not help then: the Functions host restarts it at once and gives up after three times. What cannot
//! pass ends the start: a setting that cannot be right, and, on a machine of one's own, a data folder that cannot be used.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Context as _;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::secrets::{self, NoKeyring};
use super::{App, Running, running, server};
use crate::api::{self, Front};
use crate::azure::{CertificateError, CredentialError};
use crate::clock::Clock;
use crate::config::{self, Config, Listening, Lookup, Problems};
use crate::error::ErrorCode;
use crate::host::HostMode;
use crate::http_client::{BuildError, redact};
use crate::ids::Entropy;
use crate::keyring::KeyringError;
use crate::rows::StoreError;
use crate::store;

/// The pause after the first failure; it doubles.
const FIRST_PAUSE: Duration = Duration::from_millis(500);
/// The longest pause between two tries.
const LONGEST_PAUSE: Duration = Duration::from_secs(10);
/// For how long a former process of the same host may still hold the port.
const PORT_HELD: Duration = Duration::from_secs(20);
const PORT_PAUSE: Duration = Duration::from_millis(50);

/// What a server cannot start without; the context of the error when it is not there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Need {
    /// Secrets that settings refer to.
    Secrets,
    /// Rows.
    Store,
    /// What signs.
    Keyring,
    /// Queues.
    Queues,
}

impl std::fmt::Display for Need {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Secrets => "secrets that settings refer to cannot be read",
            Self::Store => "the store cannot be opened",
            Self::Keyring => "the keyring cannot be read",
            Self::Queues => "the queues cannot be opened",
        })
    }
}

impl Need {
    /// The word for it in answers.
    const fn as_str(self) -> &'static str {
        match self {
            Self::Secrets => "secrets",
            Self::Store => "store",
            Self::Keyring => "keyring",
            Self::Queues => "queues",
        }
    }
}

/// How a server ended that was not stopped by a failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// It was asked to.
    Asked,
    /// The Functions host asked it to: only exit code 200 has the host start it again without counting a failure.
    AskedByHost,
}

/// Starts a server with the settings of `lookup` and runs it until it is asked to stop. `change` may alter the settings;
/// `ready` is called once everything answers.
///
/// # Errors
/// When the start cannot succeed however long one waits, or the port cannot be used.
pub async fn serve(
    lookup: Lookup<'_>,
    change: impl Fn(&mut Config) -> anyhow::Result<()>,
    ready: impl FnOnce(&Running) -> anyhow::Result<()>,
) -> anyhow::Result<Ended> {
    let (clock, entropy) = (Clock::system(), Entropy::system());
    for doubtful in config::doubtful_names() {
        tracing::warn!("{doubtful}");
    }
    let listening = secrets::listening(lookup)?;
    let ended = if listening.host.is_functions() { Ended::AskedByHost } else { Ended::Asked };
    let starting = Starting::listen(&listening, &clock, CancellationToken::new()).await?;
    let stop = starting.stop.clone();
    let app = tokio::select! {
        app = starting.build(lookup, change, &entropy) => app?,
        _ = running::stop_signal() => {
            stop.cancel();
            return Ok(ended);
        }
    };
    let running = app.answer(starting);
    tracing::info!(mcp = %format!("http://{}/mcp", running.address), "ready");
    ready(&running)?;
    running.wait().await;
    Ok(ended)
}

/// A server that listens.
pub(super) struct Starting {
    pub(super) address: SocketAddr,
    pub(super) front: Front,
    pub(super) server: JoinHandle<()>,
    host: HostMode,
    stop: CancellationToken,
    clock: Clock,
}

impl Starting {
    /// Listens; `stop` ends it.
    pub(super) async fn listen(listening: &Listening, clock: &Clock, stop: CancellationToken) -> anyhow::Result<Self> {
        let listener = bind(listening, clock).await?;
        let address = listener.local_addr()?;
        let front = Front::new(clock.clone());
        let router = api::read_to_the_end(front.router(), clock.clone());
        let serving = server::serve(listener, router, server::Limits::of_this_process(), clock.clone(), stop.clone());
        let server = tokio::spawn(serving);
        Ok(Self { address, front, server, host: listening.host, stop, clock: clock.clone() })
    }

    /// Builds the program, as often as it takes.
    async fn build(
        &self,
        lookup: Lookup<'_>,
        change: impl Fn(&mut Config) -> anyhow::Result<()>,
        entropy: &Entropy,
    ) -> anyhow::Result<App> {
        let mut pause = FIRST_PAUSE;
        loop {
            let error = match self.try_to_build(lookup, &change, entropy).await {
                Ok(app) => return Ok(app),
                Err((error, store)) if cannot_pass(&error, store.as_ref(), self.host) => return Err(error),
                Err((error, _)) => error,
            };
            let reason = redact::chain(error.as_ref());
            let what = error.downcast_ref::<Need>().copied().unwrap_or(Need::Store).as_str();
            tracing::warn!(what, reason, again_in_ms = pause.as_millis(), "the start waits");
            self.front.failed(what, reason, pause);
            self.clock.sleep(pause).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    /// One try; a failure comes with the store that was to be used, if that is known.
    async fn try_to_build(
        &self,
        lookup: Lookup<'_>,
        change: &impl Fn(&mut Config) -> anyhow::Result<()>,
        entropy: &Entropy,
    ) -> Result<App, (anyhow::Error, Option<store::Config>)> {
        let settings = async {
            self.front.tries(Need::Secrets.as_str());
            let mut config = secrets::settings(lookup, &self.clock, entropy).await?;
            change(&mut config)?;
            Ok(config)
        };
        let config = settings.await.map_err(|error| (error, None))?;
        let store = config.store.clone();
        let tries = |need: Need| self.front.tries(need.as_str());
        let built = App::build_for(config, self.clock.clone(), entropy.clone(), self.stop.clone(), &tries);
        Box::pin(built).await.map_err(|error| (error, Some(store)))
    }
}

/// Binds the port. A process that the Functions host has just ended may hold it a little longer.
async fn bind(listening: &Listening, clock: &Clock) -> anyhow::Result<TcpListener> {
    let Listening { address, port, host } = *listening;
    let began = clock.steady();
    loop {
        match TcpListener::bind(SocketAddr::new(address, port)).await {
            Err(error)
                if host.is_functions()
                    && error.kind() == std::io::ErrorKind::AddrInUse
                    && (clock.steady() - began).to_std().unwrap_or_default() < PORT_HELD =>
            {
                clock.sleep(PORT_PAUSE).await;
            }
            bound => {
                return bound.with_context(|| {
                    format!(
                        "port {port} on {address} cannot be used (is another server running there? `--port 0` takes a free one)"
                    )
                });
            }
        }
    }
}

/// Whether a start that failed so would fail for ever.
fn cannot_pass(error: &anyhow::Error, store: Option<&store::Config>, host: HostMode) -> bool {
    let own_folder = !host.is_functions() && matches!(store, Some(store::Config::Folder(_)));
    match error.downcast_ref::<Need>() {
        None => true, // settings, certificates, the set-up of TLS
        Some(Need::Secrets) => false,
        Some(Need::Store) => own_folder,
        Some(Need::Keyring | Need::Queues) => own_folder && error_code(error) == Some(ErrorCode::StoreFailed),
    }
}

/// What a failure of the wiring is in the table of error codes, if it is in it.
#[must_use]
pub fn error_code(error: &anyhow::Error) -> Option<ErrorCode> {
    let any = |is: fn(&(dyn std::error::Error + 'static)) -> bool| error.chain().any(is);
    if any(|cause| cause.is::<StoreError>() || cause.is::<KeyringError>()) {
        return Some(ErrorCode::StoreFailed);
    }
    let setting = error.downcast_ref::<Problems>().is_some()
        || any(|cause| {
            cause.is::<CertificateError>()
                || matches!(cause.downcast_ref(), Some(CredentialError::Unusable(_)))
                || cause.is::<BuildError>()
                || matches!(cause.downcast_ref(), Some(NoKeyring::Missing))
        });
    setting.then_some(ErrorCode::Configuration)
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;

    #[test]
    fn only_permanent_errors_end_a_start() {
        let store = || StoreError::Unavailable { reason: "gone".into() };
        let folder = store::Config::Folder(PathBuf::from("data"));
        let wrong = anyhow::Error::from(Problems(vec!["no".into()]));
        for host in [HostMode::Functions, HostMode::Standalone] {
            assert!(cannot_pass(&wrong, None, host));
            let secret = anyhow::Error::from(Problems(vec!["no".into()])).context(Need::Secrets);
            assert!(!cannot_pass(&secret, None, host), "a secret may be made any moment");
            for need in [Need::Store, Need::Keyring, Need::Queues] {
                let error = anyhow::Error::from(store()).context(need);
                assert!(!cannot_pass(&error, Some(&store::Config::Memory), host));
                assert_eq!(cannot_pass(&error, Some(&folder), host), !host.is_functions(), "{need}");
            }
            let missing = anyhow::Error::from(NoKeyring::Missing).context(Need::Keyring);
            assert!(!cannot_pass(&missing, Some(&folder), host));
        }
        assert_eq!(error_code(&wrong), Some(ErrorCode::Configuration));
        assert_eq!(error_code(&anyhow::Error::from(store()).context(Need::Store)), Some(ErrorCode::StoreFailed));
    }
}
