//! The standalone scheduler: what timers do under the Functions host is done here by a loop.

use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::clock::Clock;
use crate::services::planner::Planner;

/// Keeps the plans in use close to Planner until told to stop.
pub async fn run(planner: Arc<Planner>, clock: Clock, every: Option<Duration>, stop: CancellationToken) {
    let Some(every) = every else { return stop.cancelled().await };
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = clock.sleep(every) => planner.refresh_used().await,
        }
    }
}
