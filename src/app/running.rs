//! A server that answers, and how it ends.

use std::net::SocketAddr;
use std::time::Duration;

use futures::future::OptionFuture;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::api;
use crate::clock::Clock;
use crate::services::audit::Audit;
use crate::telemetry::metrics::export::Exporter;

/// How long requests in flight, and jobs, may take after the server was asked to stop.
pub(super) const DRAIN: Duration = Duration::from_secs(10);

/// A server that answers.
pub struct Running {
    /// Where it listens.
    pub address: SocketAddr,
    pub(super) stop: CancellationToken,
    pub(super) ready: api::Readiness,
    pub(super) drain_notice: Duration,
    pub(super) clock: Clock,
    pub(super) server: JoinHandle<()>,
    pub(super) scheduler: Option<JoinHandle<()>>,
    /// Handlers that write and whose callers may have hung up.
    pub(super) writes: TaskTracker,
    pub(super) worker: JoinHandle<()>,
    pub(super) audit: Audit,
    pub(super) auditor: JoinHandle<()>,
    /// Sends metrics to a collector, where one is named.
    pub(super) exporter: Option<Exporter>,
}

impl Running {
    /// Stops: readiness turns red, requests in flight finish, what is journalled stays for the next start.
    pub async fn stop(self) {
        self.ready.drain();
        self.stop.cancel();
        if tokio::time::timeout(DRAIN, self.server).await.is_err() {
            tracing::warn!("requests in flight were cut off; what they journalled is pushed at the next start");
        }
        end(self.scheduler).await;
        self.writes.close();
        let _ = tokio::time::timeout(DRAIN, self.writes.wait()).await;
        let _ = tokio::time::timeout(DRAIN, self.audit.flush()).await;
        self.auditor.abort();
        self.worker.abort(); // a push in flight is found again in the journal
        OptionFuture::from(self.exporter.map(Exporter::end)).await;
    }

    /// Lets go of everything at once, as a crash would: for tests of what survives one.
    pub fn abandon(self) {
        self.server.abort();
        if let Some(scheduler) = self.scheduler {
            scheduler.abort();
        }
        self.worker.abort();
    }

    /// Runs until the process is asked to stop. A platform that terminates it needs a moment to see the red readiness and
    /// to send its requests elsewhere; Ctrl-C, or a second signal, does not wait.
    pub async fn wait(self) {
        let signal = stop_signal().await;
        tracing::info!("stopping");
        self.ready.drain();
        if signal == Signal::Terminate {
            tokio::select! {
                () = self.clock.sleep(self.drain_notice) => {}
                _ = stop_signal() => {}
            }
        }
        tokio::select! {
            () = self.stop() => {}
            _ = stop_signal() => tracing::warn!("stopped at once; what is journalled is pushed after the next start"),
        }
    }
}

/// Waits for jobs that were asked to stop, for a limited time.
pub(super) async fn end(scheduler: Option<JoinHandle<()>>) {
    let Some(mut scheduler) = scheduler else { return };
    if tokio::time::timeout(DRAIN, &mut scheduler).await.is_err() {
        tracing::warn!("a job was cut off; it is done again after the next start");
        scheduler.abort();
    }
}

/// What ends a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Signal {
    /// Somebody at the keyboard.
    Interrupt,
    /// The platform.
    Terminate,
}

/// Completes at Ctrl-C or a request to terminate.
pub(super) async fn stop_signal() -> Signal {
    let interrupt = async {
        let _ = tokio::signal::ctrl_c().await;
    };
    #[cfg(unix)]
    {
        use tokio::signal::unix::{SignalKind, signal};
        match signal(SignalKind::terminate()) {
            Ok(mut terminate) => tokio::select! {
                () = interrupt => Signal::Interrupt,
                _ = terminate.recv() => Signal::Terminate,
            },
            Err(_) => {
                interrupt.await;
                Signal::Interrupt
            }
        }
    }
    #[cfg(not(unix))]
    {
        interrupt.await;
        Signal::Interrupt
    }
}
