//! The standalone scheduler: runs the jobs that the Functions host would call, by our own clock.

use std::sync::Arc;

use futures::future::join_all;
use tokio_util::sync::CancellationToken;

use crate::clock::Clock;
use crate::services::jobs::{Jobs, Timer};

/// Runs every job until told to stop.
pub async fn run(jobs: Arc<Jobs>, clock: Clock, stop: CancellationToken) {
    join_all(jobs.timers.iter().map(|timer| tick(timer, &clock, &stop))).await;
}

/// One timer: it pauses, works, pauses; a run that takes long delays the next and never meets it.
async fn tick(timer: &Timer, clock: &Clock, stop: &CancellationToken) {
    let Some(every) = timer.standalone else { return };
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = clock.sleep(every) => {}
        }
        match timer.run(clock).await {
            Ok(status) => tracing::debug!(job = timer.name, %status, "done"),
            Err(error) => tracing::warn!(job = timer.name, code = error.code.as_str(), %error, "failed"),
        }
    }
}
